/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * notify.h - tell the service manager that the daemon is ready, alive, and what it does
 *
 * sd_notify(3): the manager names a socket in NOTIFY_SOCKET and, if it wants signs of life, a
 * period in WATCHDOG_USEC. Without a manager all of this does nothing. Control thread only.
 */
#ifndef NOTIFY_H
#define NOTIFY_H

#include "base.h"
#include "loop.h"

struct notify;

/**
 * notify_open() - start sending signs of life, twice in the manager's period
 *
 * They come from @loop: a control thread that hangs misses them, and is restarted.
 * Return: 0 or -errno.
 */
int notify_open(struct loop *loop, struct notify **ret_notify);
void notify_close(struct notify *notify); /* takes NULL */

/** notify_ready() - start is complete; @n_ports: how many ports are served */
void notify_ready(struct notify *notify, uint32_t n_ports);

/** notify_status() - one line for `systemctl status` */
void notify_status(struct notify *notify, const char *fmt, ...) printf_like(2, 3);

void notify_stopping(struct notify *notify);

#endif
