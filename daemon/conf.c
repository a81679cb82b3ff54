// SPDX-License-Identifier: BSD-2-Clause
/* conf.c - which files make up the configuration, and releasing it */
#include <dirent.h>
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf_priv.h"

static int conf_nomem(char **ret_error)
{
	*ret_error = strdup("out of memory while reading the configuration");
	return -ENOMEM;
}

static int conf_is_part(const struct dirent *d)
{
	size_t len = strlen(d->d_name);

	return d->d_name[0] != '.' && len > 5 && !strcmp(d->d_name + len - 5, ".yaml");
}

/* By bytes, so that the order does not depend on the locale. */
static int conf_compare_parts(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static void conf_free_names(struct dirent **names, int n)
{
	for (int i = 0; i < n; i++)
		free(names[i]);
	free(names);
}

/* Names of the files in conf.d beside @path; no such folder means none. */
static int conf_list_parts(const char *folder, struct dirent ***ret_names, int *ret_n,
                           char **ret_error)
{
	int n = scandir(folder, ret_names, conf_is_part, conf_compare_parts);
	int err = -errno;

	if (n > CONF_MAX_FILES) {
		conf_free_names(*ret_names, n);
		n = -1;
		err = -E2BIG;
	}
	if (n >= 0) {
		*ret_n = n;
		return 0;
	}
	*ret_names = NULL;
	*ret_n = 0;
	if (err == -ENOENT || err == -ENOTDIR)
		return 0;
	if (asprintf(ret_error, "%s: cannot read the folder: %s", folder, strerror(-err)) < 0)
		*ret_error = NULL;
	return err;
}

static int conf_add_file(struct conf_full *full, const char *folder, const char *name)
{
	char **file = &full->files[full->n_files];

	if (asprintf(file, "%s%s", folder, name) < 0) {
		*file = NULL;
		return -ENOMEM;
	}
	full->n_files++;
	return 0;
}

/* Fills full->files: the main file, then those of conf.d. */
static int conf_find_files(struct conf_full *full, const char *path, char **ret_error)
{
	const char *slash = strrchr(path, '/');
	int len = slash ? (int)(slash - path) + 1 : 0;
	struct dirent **names = NULL;
	char *folder;
	int err, n = 0;

	if (asprintf(&folder, "%.*sconf.d/", len, path) < 0)
		return conf_nomem(ret_error);
	err = conf_list_parts(folder, &names, &n, ret_error);
	if (err < 0)
		goto out;
	full->files = calloc((size_t)n + 1, sizeof(*full->files));
	err = full->files ? conf_add_file(full, "", path) : -ENOMEM;
	for (int i = 0; i < n && err == 0; i++)
		err = conf_add_file(full, folder, names[i]->d_name);
	if (err < 0)
		conf_nomem(ret_error);
out:
	conf_free_names(names, n);
	free(folder);
	return err;
}

static int conf_load_docs(struct conf_full *full, struct conf_doc *docs, char **ret_error)
{
	for (uint32_t i = 0; i < full->n_files; i++) {
		const cyaml_schema_value_t *schema = i ? &conf_schema_part : &conf_schema_main;
		int err = conf_doc_load(&docs[i], full->files[i], schema, ret_error);

		if (err < 0)
			return err;
	}
	if (!docs[0].root)
		return conf_fail(ret_error, (struct conf_pos){full->files[0], 1, 1},
		                 "the file is empty");
	return conf_build(full, docs, full->n_files, ret_error);
}

int conf_load(const char *path, struct conf **ret_conf, char **ret_error)
{
	struct conf_full *full = calloc(1, sizeof(*full));
	struct conf_doc *docs = NULL;
	int err;

	*ret_error = NULL;
	if (!full)
		return conf_nomem(ret_error);
	err = conf_find_files(full, path, ret_error);
	if (err < 0)
		goto out;
	full->pub.path = strdup(path);
	docs = calloc(full->n_files, sizeof(*docs));
	if (!full->pub.path || !docs) {
		err = conf_nomem(ret_error);
		goto out;
	}
	err = conf_load_docs(full, docs, ret_error);
	for (uint32_t i = 0; i < full->n_files; i++)
		conf_doc_free(&docs[i]);
out:
	free(docs);
	/* The trees took many times what is left of them: give it back. */
	malloc_trim(0);
	if (err < 0)
		conf_free(&full->pub);
	else
		*ret_conf = &full->pub;
	return err;
}

int conf_load_text(const char *name, char *text, size_t len, struct conf **ret_conf,
                   char **ret_error)
{
	struct conf_full *full = calloc(1, sizeof(*full));
	struct conf_doc doc = {.text = text, .len = len, .no_lines = true};
	int err;

	*ret_error = NULL;
	if (full) {
		full->files = calloc(1, sizeof(*full->files));
		full->pub.path = strdup(name);
	}
	if (!full || !full->files || !full->pub.path || conf_add_file(full, "", name) < 0) {
		err = conf_nomem(ret_error);
		goto out;
	}
	err = conf_doc_parse(&doc, full->files[0], &conf_schema_main, ret_error);
	if (err == 0)
		err = conf_build(full, &doc, 1, ret_error);
out:
	conf_doc_free(&doc);
	if (err == 0)
		*ret_conf = &full->pub;
	else if (full)
		conf_free(&full->pub);
	return err;
}

static void conf_free_port(struct conf_port *p)
{
	free(p->name);
	free(p->socket);
	free(p->nic);
	free(p->macs);
	free(p->socket_owner);
	free(p->socket_group);
}

void conf_free(struct conf *conf)
{
	struct conf_full *full;

	if (!conf)
		return;
	full = container_of(conf, struct conf_full, pub);
	for (uint32_t i = 0; i < conf->n_nics; i++) {
		free(conf->nics[i].name);
		free(conf->nics[i].redirect_to);
	}
	for (uint32_t i = 0; i < conf->n_ports; i++)
		conf_free_port(&conf->ports[i]);
	for (uint32_t i = 0; i < full->n_files; i++)
		free(full->files[i]);
	free(full->files);
	free(full->workers);
	free(full->nics);
	free(full->ports);
	free(conf->workers);
	free(conf->nics);
	free(conf->ports);
	free(conf->path);
	free(conf->control_socket);
	free(conf->pin_dir);
	free(full);
}
