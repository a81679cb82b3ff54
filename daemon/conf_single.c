// SPDX-License-Identifier: BSD-2-Clause
/* conf_single.c - see conf_single.h */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "conf_priv.h"
#include "conf_single.h"
#include "why.h"

/* A YAML string, whatever is in it. */
static void put_text(FILE *out, const char *text)
{
	fputc('"', out);
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (c < ' ')
			fprintf(out, "\\x%02x", c);
		else
			fprintf(out, c == '"' || c == '\\' ? "\\%c" : "%c", c);
	}
	fputc('"', out);
}

static void put_key(FILE *out, const char *indent, const char *key, const char *text)
{
	if (!text)
		return;
	fprintf(out, "%s%s: ", indent, key);
	put_text(out, text);
	fputc('\n', out);
}

/* What is no number is put as text, which the key's own rule then refuses. */
static void put_number(FILE *out, const char *key, const char *number)
{
	if (!number)
		return;
	fprintf(out, "    %s: ", key);
	if (*number && !number[strspn(number, "0123456789")])
		fputs(number, out);
	else
		put_text(out, number);
	fputc('\n', out);
}

static void put_macs(FILE *out, const struct conf_single *o)
{
	/* Without a device there is nobody to be reached by, but every port has an address. */
	static const char *const nobody[] = {"02:00:00:00:00:01"};
	const char *const *macs = o->n_macs ? o->macs : nobody;
	uint32_t n = o->n_macs ? o->n_macs : !o->nic;

	if (!n)
		return;
	fputs("    macs: [", out);
	for (uint32_t i = 0; i < n; i++) {
		put_text(out, macs[i]);
		fputs(i + 1 < n ? ", " : "]\n", out);
	}
}

/* The first CPU that this process may use. */
static int first_cpu(void)
{
	cpu_set_t cpus;
	int cpu = 0;

	if (sched_getaffinity(0, sizeof(cpus), &cpus) < 0)
		return 0;
	while (cpu < CPU_SETSIZE - 1 && !CPU_ISSET((size_t)cpu, &cpus))
		cpu++;
	return cpu;
}

static void put_all(FILE *out, const struct conf_single *o, const char *socket)
{
	char cpu[16];

	snprintf(cpu, sizeof(cpu), "%d", first_cpu());
	put_key(out, "", "control-socket", o->control_socket);
	put_key(out, "", "pin-dir", o->pin_dir);
	fputs("workers:\n  -\n", out);
	put_number(out, "cpu", o->cpu ? o->cpu : cpu);
	fputs("nics:\n  -\n", out);
	put_key(out, "    ", "name", o->nic ? o->nic : "none");
	put_key(out, "    ", "mode", !o->nic ? "internal" : o->n_macs ? "steered" : "dedicated");
	fputs("ports:\n  -\n", out);
	put_key(out, "    ", "name", "port0");
	put_key(out, "    ", "socket", socket);
	put_key(out, "    ", "nic", o->nic ? o->nic : "none");
	put_macs(out, o);
	put_number(out, "vlan", o->vlan);
	put_number(out, "queues", o->queues);
	put_number(out, "mtu", o->mtu);
}

static int check_macs(const struct conf_single *o, char **ret_error)
{
	for (uint32_t i = 0; i < o->n_macs; i++) {
		for (uint32_t k = 0; k < i; k++) {
			if (!strcasecmp(o->macs[i], o->macs[k]))
				return why_set(ret_error, -EINVAL,
				               "command line: --mac %s is there twice",
				               conf_quote(o->macs[i]).s);
		}
	}
	return 0;
}

/* A descriptor that the caller of this program left open. */
static int check_fd(const char *text, int *ret_fd, char **ret_error)
{
	int domain = 0, type = 0;
	socklen_t len = sizeof(int);
	char *end;
	long fd;

	errno = 0;
	fd = strtol(text, &end, 10);
	if (!*text || *end || errno || fd < 0 || fd > INT32_MAX)
		return why_set(ret_error, -EINVAL,
		               "command line: --fd: %s is no descriptor's number",
		               conf_quote(text).s);
	if (getsockopt((int)fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) < 0 ||
	    getsockopt((int)fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0)
		return why_set(ret_error, -EINVAL, "command line: --fd %ld: %s", fd,
		               strerror(errno));
	if (domain != AF_UNIX || type != SOCK_STREAM)
		return why_set(ret_error, -EINVAL,
		               "command line: --fd %ld is no unix stream socket", fd);
	*ret_fd = (int)fd;
	return 0;
}

/* Absolute, as the key wants it. Caller frees it. */
static char *absolute_path(const char *path)
{
	char *cwd, *full = NULL;

	if (path[0] == '/' || !path[0])
		return strdup(path);
	cwd = getcwd(NULL, 0);
	if (!cwd || asprintf(&full, "%s/%s", strcmp(cwd, "/") ? cwd : "", path) < 0)
		full = NULL;
	free(cwd);
	return full;
}

static int single_load(const struct conf_single *o, const char *socket, struct conf **ret_conf,
                       char **ret_error)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return -ENOMEM;
	put_all(out, o, socket);
	if (fclose(out) != 0) {
		free(text);
		return -ENOMEM;
	}
	return conf_load_text("command line", text, len, ret_conf, ret_error);
}

int conf_single(const struct conf_single *o, struct conf **ret_conf, char **ret_error)
{
	char *socket = NULL;
	int fd = -1;
	int err = check_macs(o, ret_error);

	if (err == 0 && o->fd)
		err = check_fd(o->fd, &fd, ret_error);
	if (err < 0)
		return err;
	/* A name for logs, of a folder that exists. */
	if (fd >= 0 && asprintf(&socket, "/proc/self/fd/%d", fd) < 0)
		socket = NULL;
	if (fd < 0)
		socket = absolute_path(o->socket_path);
	err = socket ? single_load(o, socket, ret_conf, ret_error) : -ENOMEM;
	free(socket);
	if (err < 0)
		return err;
	(*ret_conf)->ports[0].fd = fd;
	if (!o->control_socket) {
		free((*ret_conf)->control_socket);
		(*ret_conf)->control_socket = NULL;
	}
	return 0;
}
