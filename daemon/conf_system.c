// SPDX-License-Identifier: BSD-2-Clause
/* conf_system.c - what only the host can tell about a configuration */
#include <errno.h>
#include <grp.h>
#include <net/if.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf_priv.h"

/* Is @cpu in a list like "0-3,8"? */
static bool conf_cpu_in_list(const char *list, unsigned int cpu)
{
	while (*list) {
		unsigned int first, last;
		int n = 0;

		if (sscanf(list, "%u%n", &first, &n) != 1)
			return false;
		list += n;
		last = first;
		if (*list == '-' && sscanf(list + 1, "%u%n", &last, &n) == 1)
			list += n + 1;
		if (cpu >= first && cpu <= last)
			return true;
		list += strspn(list, ", \n");
	}
	return false;
}

static void conf_read_online(char *list, size_t size)
{
	FILE *f = fopen("/sys/devices/system/cpu/online", "re");

	/* Without sysfs (a container) count instead. */
	if (!f || !fgets(list, (int)size, f))
		snprintf(list, size, "0-%ld", sysconf(_SC_NPROCESSORS_ONLN) - 1);
	if (f)
		fclose(f);
	list[strcspn(list, "\n")] = '\0';
}

static int conf_check_cpus(const struct conf_full *full, char **ret_error)
{
	char online[1024];

	conf_read_online(online, sizeof(online));
	for (uint32_t i = 0; i < full->pub.n_workers; i++) {
		int cpu = full->pub.workers[i].cpu;

		if (!conf_cpu_in_list(online, (unsigned int)cpu))
			return conf_fail(ret_error, full->workers[i],
			                 "cpu: CPU %d is not online (online: %s)", cpu, online);
	}
	return 0;
}

static int conf_check_device(const char *key, const char *name, struct conf_pos pos,
                             char **ret_error)
{
	if (if_nametoindex(name))
		return 0;
	if (errno != ENODEV && errno != ENXIO)
		return conf_fail(ret_error, pos, "%s: cannot look up device '%s': %s", key, name,
		                 strerror(errno));
	return conf_fail(ret_error, pos, "%s: there is no network device '%s'", key, name);
}

static int conf_check_devices(const struct conf_full *full, char **ret_error)
{
	for (uint32_t i = 0; i < full->pub.n_nics; i++) {
		const struct conf_nic *nic = &full->pub.nics[i];
		int err = 0;

		if (nic->mode != CONF_NIC_INTERNAL)
			err = conf_check_device("name", nic->name, full->nics[i].name, ret_error);
		if (err == 0 && nic->redirect_to)
			err = conf_check_device("redirect-to", nic->redirect_to,
			                        full->nics[i].redirect_to, ret_error);
		if (err < 0)
			return err;
	}
	return 0;
}

/* The folder that a socket is to be made in, or is expected in. */
static int conf_check_folder(const char *key, const char *path, struct conf_pos pos,
                             char **ret_error)
{
	int len = (int)(strrchr(path, '/') - path);
	char folder[128];
	struct stat st;

	snprintf(folder, sizeof(folder), "%.*s", len ? len : 1, path);
	if (stat(folder, &st) < 0)
		return conf_fail(ret_error, pos, "%s: folder '%s': %s", key, folder,
		                 strerror(errno));
	if (!S_ISDIR(st.st_mode))
		return conf_fail(ret_error, pos, "%s: '%s' is not a folder", key, folder);
	return 0;
}

static int conf_check_owner(const char *name, struct conf_pos pos, char **ret_error)
{
	errno = 0;
	if (getpwnam(name))
		return 0;
	return conf_fail(ret_error, pos, "socket-owner: there is no user %s", conf_quote(name).s);
}

static int conf_check_group(const char *name, struct conf_pos pos, char **ret_error)
{
	errno = 0;
	if (getgrnam(name))
		return 0;
	return conf_fail(ret_error, pos, "socket-group: there is no group %s", conf_quote(name).s);
}

static int conf_check_ports(const struct conf_full *full, char **ret_error)
{
	for (uint32_t i = 0; i < full->pub.n_ports; i++) {
		const struct conf_port *port = &full->pub.ports[i];
		const struct conf_port_pos *pos = &full->ports[i];
		int err = conf_check_folder("socket", port->socket, pos->socket, ret_error);

		if (err == 0 && port->socket_owner)
			err = conf_check_owner(port->socket_owner, pos->owner, ret_error);
		if (err == 0 && port->socket_group)
			err = conf_check_group(port->socket_group, pos->group, ret_error);
		if (err < 0)
			return err;
	}
	return 0;
}

int conf_check_system(const struct conf *conf, char **ret_error)
{
	const struct conf_full *full = conf_full_of(conf);
	int err;

	*ret_error = NULL;
	err = conf_check_cpus(full, ret_error);
	if (err == 0)
		err = conf_check_devices(full, ret_error);
	if (err == 0 && conf->control_socket)
		err = conf_check_folder("control-socket", conf->control_socket,
		                        full->control_socket, ret_error);
	if (err == 0)
		err = conf_check_ports(full, ret_error);
	return err;
}
