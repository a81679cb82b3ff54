/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ctl.h - the control socket: JSON-RPC 2.0, one object a line
 *
 * A stream socket in the file system, mode 0660. Who may connect: root, the daemon's own user, and
 * members of the socket's group; methods that change something are for the first two alone. What a
 * client can cost is bounded: 64 KiB a line, a piece of an answer waiting, some dozens of clients;
 * one that does not take its answer is dropped. Long lists are made while they are taken, a piece
 * at a time, so that nobody waits for the whole. Messages: docs/control-protocol.md. Control thread
 * only.
 */
#ifndef CTL_H
#define CTL_H

#include <jansson.h>

#include "base.h"
#include "loop.h"

#define CTL_MAX_LINE    65536 /* bytes of a request, without its newline */
#define CTL_MAX_CLIENTS 32

/* Error codes: those of JSON-RPC 2.0, and two of ours. */
enum ctl_code {
	CTL_E_PARSE = -32700,
	CTL_E_REQUEST = -32600,
	CTL_E_METHOD = -32601,
	CTL_E_PARAMS = -32602,
	CTL_E_INTERNAL = -32603,
	CTL_E_FAILED = -32000, /* the method says no; its message says why */
	CTL_E_DENIED = -32001,
};

/* Which entry of a list is next, in the terms of its maker; all 0 is the first. */
struct ctl_place {
	uint32_t i, k;
};

/* A list in a result whose entries are made while the client takes them. */
struct ctl_list {
	/* In the result; needs no escapes. NULL: there are no more lists. */
	const char *key;
	/*
	 * @place: moves on by one entry. What is listed may have changed since the last call.
	 * Return: false behind the last entry; else *@ret_entry is one that the caller owns, or
	 * NULL when memory is short.
	 */
	bool (*next)(void *owner, struct ctl_place *place, json_t **ret_entry);
};

/* A request in the hands of its method. */
struct ctl_call {
	void *owner;
	const json_t *params; /* an object, or NULL when the request has none */
	/* What the method may change: */
	const struct ctl_list *lists; /* they follow in the result; the method's own, constant */
	char *error;                  /* a sentence; the caller frees it */
};

struct ctl_method {
	const char *name;
	bool mutates;     /* for root and the daemon's own user only */
	const char *help; /* a few words, for rpc.methods */
	/*
	 * Return: the result, an object that the caller owns; or NULL with @call->error (NULL there
	 * too: out of memory).
	 */
	json_t *(*fn)(struct ctl_call *call); /* NULL: its lists are all of the result */
	const struct ctl_list *lists;         /* @call->lists when it is called; NULL: none */
};

struct ctl;

/**
 * ctl_open() - make the socket and serve it from @loop
 * @path: fits sun_path. A socket that nobody listens on is replaced; one that answers is not.
 * @methods: borrowed, must outlive the ctl. rpc.methods, which lists them, is built in.
 * @owner: passed to each method and list
 * @ret_why: on failure a sentence for the user, that names another daemon's pid if one listens;
 * caller frees it
 * Return: 0, -EADDRINUSE, or another -errno.
 */
int ctl_open(struct loop *loop, const char *path, const struct ctl_method *methods,
             size_t n_methods, void *owner, struct ctl **ret_ctl, char **ret_why);

/** ctl_close() - drop clients, remove the socket if it is still ours. Takes NULL. */
void ctl_close(struct ctl *ctl);

/** ctl_set_patience() - how long a client may leave its answer unread; default 5000 ms */
void ctl_set_patience(struct ctl *ctl, uint32_t ms);

/** ctl_n_clients() - connections right now */
uint32_t ctl_n_clients(const struct ctl *ctl);

#endif
