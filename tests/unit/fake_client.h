/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fake_client.h - clients of the control socket, and its server in the same thread
 *
 * Steps of a client alternate with short turns of the server's loop. What must happen is waited
 * for, however busy the machine is.
 */
#ifndef FAKE_CLIENT_H
#define FAKE_CLIENT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "ctl.h"

#define FC_ENOUGH_TURNS 10000 /* of 2 ms at least: for what must happen */

#define ANSWER(id, rest) "{\"jsonrpc\":\"2.0\",\"id\":" id "," rest "}\n"
#define ERROR(id, code, message)                                                                   \
	ANSWER(id, "\"error\":{\"code\":" code ",\"message\":\"" message "\"}")

#define ECHO        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"echo\"}\n"
#define ECHO_ANSWER ANSWER("1", "\"result\":{\"params\":null}")

struct fc {
	char dir[32], path[64]; /* of the socket */
	struct loop *loop;
	struct loop_source *turn_timer;
	struct ctl *ctl;
	int n_calls; /* of fc_echo(); its address is the methods' owner */
};
extern struct fc fc;

/* Fixtures of a group: the folder */
int fc_make_dir(void **state);
int fc_remove_dir(void **state);

/** fc_open() - a server with these methods, which include echo, and a clean slate */
void fc_open(const struct ctl_method *methods, size_t n_methods);
int fc_close(void **state); /* fixture of a test */

/** fc_echo() - the method echo: parameters, back */
json_t *fc_echo(struct ctl_call *call);

/** fc_turn() - let the server do what there is to do, for 2 ms or so */
void fc_turn(void);
void fc_turn_for(uint32_t ms);

/** fc_wait_clients() - turns until the server has @n clients */
void fc_wait_clients(uint32_t n);

/** fc_dial() - connect. Return: a descriptor that does not block */
int fc_dial(void);
void fc_say(int fd, const void *data, size_t len);

/**
 * fc_hear_now() - what the server has said after a turn; "" if nothing, "(closed)" at the end of
 * the connection. Good until the next call.
 */
const char *fc_hear_now(int fd);

/** fc_hear() - what the server says next; "" if it says nothing */
const char *fc_hear(int fd);
const char *fc_ask(int fd, const char *line);

struct fc_row {
	const char *request, *answer; /* "": none */
};

/**
 * fc_check_rows() - send each request, compare what comes, and tell what differs
 *
 * Where no answer is wanted, that of one more request (echo) must be the next thing that comes.
 * Return: how many differ.
 */
int fc_check_rows(int fd, const struct fc_row *rows, size_t n);

#endif
