/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fuzz_config.c - the configuration file: any bytes give a configuration that holds every rule, or
 * one line that says what is wrong
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include "conf_priv.h"
#include "fuzz.h"

static int file = -1;
static char path[32];

static void check_conf(const struct conf *c)
{
	fuzz_promise(c->n_workers >= 1 && c->n_workers <= CONF_MAX_WORKERS);
	fuzz_promise(c->n_nics <= CONF_MAX_NICS && c->n_ports <= CONF_MAX_PORTS);
	fuzz_promise(c->control_socket[0] == '/' && c->pin_dir[0] == '/');
	for (uint32_t i = 0; i < c->n_nics; i++) {
		const struct conf_nic *n = &c->nics[i];

		fuzz_promise(n->name[0] && strlen(n->name) <= CONF_MAX_NAME);
		fuzz_promise((n->miss == CONF_MISS_REDIRECT) == !!n->redirect_to);
	}
	for (uint32_t i = 0; i < c->n_ports; i++) {
		const struct conf_port *p = &c->ports[i];

		fuzz_promise(p->name[0] && strlen(p->name) <= CONF_MAX_NAME);
		fuzz_promise(p->socket[0] == '/' && strlen(p->socket) < 108);
		fuzz_promise(p->nic_index < c->n_nics && p->vlan <= 4094);
		fuzz_promise(!strcmp(p->nic, c->nics[p->nic_index].name));
		fuzz_promise(p->queues >= 1 && p->queues <= 128);
		for (uint32_t k = 0; k < p->n_macs; k++)
			fuzz_promise(!(p->macs[k].addr[0] & 1));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct conf *conf = NULL;
	char *error = NULL;
	int err;

	if (file < 0) {
		file = memfd_create("config", MFD_CLOEXEC);
		fuzz_promise(file >= 0);
		snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	}
	fuzz_fds_mark();
	fuzz_promise(ftruncate(file, 0) == 0);
	fuzz_promise(pwrite(file, data, size, 0) == (ssize_t)size);
	err = conf_load(path, &conf, &error);
	if (err == 0) {
		fuzz_promise(conf && !error);
		check_conf(conf);
		conf_free(conf);
	} else {
		fuzz_promise(!conf && error && !strchr(error, '\n'));
		fuzz_promise(!strncmp(error, path, strlen(path)));
		free(error);
	}
	fuzz_fds_check();
	return 0;
}
