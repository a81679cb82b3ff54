/* SPDX-License-Identifier: BSD-2-Clause */
/* ctl_priv.h - between ctl.c (socket and clients) and ctl_rpc.c (requests and answers) */
#ifndef CTL_PRIV_H
#define CTL_PRIV_H

#include "ctl.h"

struct stat;

struct ctl_table {
	const struct ctl_method *methods;
	size_t n_methods;
	void *owner;
};

/**
 * ctl_rpc_answer() - carry out one request
 * @line: not terminated, at most CTL_MAX_LINE bytes
 * @may_mutate: the client may call methods that change something
 * Return: the answer as one line with its newline, malloc()ed; NULL for a notification or when
 * memory is short.
 */
char *ctl_rpc_answer(const struct ctl_table *table, const char *line, size_t len, bool may_mutate);

/** ctl_rpc_error() - an answer to something that has no id */
char *ctl_rpc_error(enum ctl_code code, const char *message);

/**
 * ctl_socket_listen() - make the socket at @path
 * @ret_stat: of the socket's file
 */
int ctl_socket_listen(const char *path, int *ret_fd, struct stat *ret_stat, char **ret_why);

enum ctl_access { CTL_ACCESS_NONE, CTL_ACCESS_READ, CTL_ACCESS_ALL };

/** ctl_socket_access() - what the process at the other end of @fd may do; @gid: the socket's */
enum ctl_access ctl_socket_access(int fd, unsigned int gid, int *ret_pid);

#endif
