/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * conf_single.h - the configuration of one port from options of the command line
 *
 * For programs that start a back end of their own for each device, as vhost-user's "Backend program
 * conventions" have it. The options become the text of a configuration, so that they mean what the
 * keys of the same names mean, and break the same rules.
 */
#ifndef CONF_SINGLE_H
#define CONF_SINGLE_H

#include "conf.h"

#define CONF_SINGLE_MACS 16

/* Option arguments, borrowed; NULL: not given. */
struct conf_single {
	const char *socket_path; /* either this: where to listen */
	const char *fd;          /* or this: a connected or listening socket that was inherited */
	const char *nic;         /* NULL: none, the guest reaches nobody */
	const char *macs[CONF_SINGLE_MACS];
	uint32_t n_macs; /* 0: the device is for this guest alone */
	const char *vlan, *queues, *mtu, *cpu;
	const char *pin_dir;
	const char *control_socket; /* NULL: none */
};

/**
 * conf_single() - make the configuration that the options stand for
 * @ret_conf: caller owns it, conf_free()
 * @ret_error: on failure one line for the user, without a newline; caller frees it
 * Return: 0, -EINVAL for a mistake in the options, -ENOMEM.
 */
int conf_single(const struct conf_single *options, struct conf **ret_conf, char **ret_error);

#endif
