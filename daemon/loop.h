/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * loop.h - the control thread's event loop: descriptors, timers, signals
 *
 * One epoll set, level triggered. Sources may be removed from inside any callback, their own
 * included; a removed source is never called again. All calls belong to the control thread, except
 * loop_wake().
 */
#ifndef LOOP_H
#define LOOP_H

#include <sys/epoll.h>
#include "base.h"

struct loop;
struct loop_source; /* a descriptor, timer or signal */

typedef void (*loop_fd_fn)(void *arg, uint32_t epoll_events);
typedef void (*loop_fn)(void *arg);
typedef void (*loop_signal_fn)(void *arg, int signo);

int loop_new(struct loop **ret_loop);
void loop_free(struct loop *loop); /* takes NULL */

/** loop_run() - until loop_quit(); Return: the status given there */
int loop_run(struct loop *loop);
void loop_quit(struct loop *loop, int status);

/** loop_add_fd() - @fd is borrowed; close it after loop_remove(). Return: 0 or -errno. */
int loop_add_fd(struct loop *loop, int fd, uint32_t events, loop_fd_fn fn, void *arg,
                struct loop_source **ret_source);
int loop_modify_fd(struct loop_source *source, uint32_t events);

/**
 * loop_accept() - take a connection, non-blocking and close-on-exec
 *
 * When descriptors have run out the connection is hung up on, with a descriptor that is kept in
 * reserve for this: one that stays pending would be reported again and again.
 * Return: the caller's descriptor, or -errno; -EMFILE or -ENFILE if it was refused.
 */
int loop_accept(struct loop *loop, int listen_fd);

/** loop_add_timer() - one-shot or periodic timer, armed by loop_set_timer() */
int loop_add_timer(struct loop *loop, loop_fn fn, void *arg, struct loop_source **ret_source);

/** loop_set_timer() - fire in @first_ms, then every @every_ms (0: once); 0, 0 disarms */
void loop_set_timer(struct loop_source *source, uint32_t first_ms, uint32_t every_ms);

/** loop_add_signal() - block @signo in this thread and deliver it through the loop (signalfd) */
int loop_add_signal(struct loop *loop, int signo, loop_signal_fn fn, void *arg,
                    struct loop_source **ret_source);

/** loop_remove() - takes NULL */
void loop_remove(struct loop_source *source);

/** loop_set_wake() - what loop_wake() runs, once per batch of wake-ups */
void loop_set_wake(struct loop *loop, loop_fn fn, void *arg);

/** loop_wake() - run the wake function soon. Any thread, workers too (one eventfd write). */
void loop_wake(struct loop *loop);

#endif
