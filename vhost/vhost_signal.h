/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vhost_signal.h - write to an eventfd that a front end gave us, without ever blocking
 *
 * O_NONBLOCK belongs to the open file, which the front end shares and may change: with the flag
 * cleared and the counter full, write() would hold a worker for ever, and with it every guest that
 * the worker serves. Asking poll() first leaves a race. So the kernel signals the eventfd itself,
 * as it does for its own completions: a one-byte asynchronous read of /dev/null that names the
 * eventfd as IOCB_FLAG_RESFD. It completes within io_submit() and adds one to the counter, or
 * nothing to a full one. That costs some hundred nanoseconds more than write().
 */
#ifndef VHOST_SIGNAL_H
#define VHOST_SIGNAL_H

/**
 * vhost_signal() - add one to an eventfd
 *
 * Context: any thread; the first call of a thread makes its context, vhost_signal_end() frees it.
 * Where the kernel has no asynchronous I/O, poll() and write() are used, with the race told above.
 * Return: 0 (also if the counter is full: an event is pending then), or -errno if @fd cannot be
 * signalled, e.g. because it is no eventfd.
 */
int vhost_signal(int fd);

/** vhost_signal_end() - release what the calling thread holds */
void vhost_signal_end(void);

#endif
