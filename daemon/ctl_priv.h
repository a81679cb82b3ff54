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

#define CTL_PIECE 16384 /* bytes of text after which a list goes on in another piece */

/* An answer: one line, of which a piece is there at a time. All 0: none. */
struct ctl_answer {
	char *text; /* the piece in hand, not terminated; NULL: none */
	size_t len, room;
	const struct ctl_list *list; /* the one in hand; NULL: nothing follows the text */
	struct ctl_place place;
	bool begun; /* the list has an entry */
	void *owner;
};

/**
 * ctl_rpc_answer() - carry out one request
 * @line: not terminated, at most CTL_MAX_LINE bytes
 * @may_mutate: the client may call methods that change something
 * @ret_answer: its first piece; none for a notification or when memory is short. To be released
 * with ctl_rpc_drop().
 */
void ctl_rpc_answer(const struct ctl_table *table, const char *line, size_t len, bool may_mutate,
                    struct ctl_answer *ret_answer);

/** ctl_rpc_error() - an answer to something that has no id */
void ctl_rpc_error(enum ctl_code code, const char *message, struct ctl_answer *ret_answer);

/**
 * ctl_rpc_more() - the next piece, in the place of the one in hand
 * Return: 1; 0 if there is none, and then the answer is released; -ENOMEM.
 */
int ctl_rpc_more(struct ctl_answer *answer);

void ctl_rpc_drop(struct ctl_answer *answer);

/**
 * ctl_socket_listen() - make the socket at @path
 * @ret_stat: of the socket's file
 */
int ctl_socket_listen(const char *path, int *ret_fd, struct stat *ret_stat, char **ret_why);

enum ctl_access { CTL_ACCESS_NONE, CTL_ACCESS_READ, CTL_ACCESS_ALL };

/** ctl_socket_access() - what the process at the other end of @fd may do; @gid: the socket's */
enum ctl_access ctl_socket_access(int fd, unsigned int gid, int *ret_pid);

#endif
