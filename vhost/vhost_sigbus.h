/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vhost_sigbus.h - survive guest memory that disappears
 *
 * A front end may truncate the file behind a region at any time; the next access by a worker is
 * then SIGBUS. See vhost_sigbus.c for how the process lives on.
 */
#ifndef VHOST_SIGBUS_H
#define VHOST_SIGBUS_H

#include "base.h"

struct vhost_sigbus_slot;

/**
 * vhost_sigbus_add() - protect accesses to a mapping
 * @start: first byte, page aligned
 * @len: bytes mapped, a multiple of @page
 * @page: page size of the mapped file
 * @ret_slot: to ask and to remove; owned by the caller
 *
 * Installs the process-wide handler if it is not in force. Threads that touch guest memory must not
 * block SIGBUS: the kernel kills a process whose fault signal is blocked.
 * Context: any thread but a signal handler.
 * Return: 0, -ENOMEM, or the error of sigaction().
 */
int vhost_sigbus_add(void *start, size_t len, size_t page, struct vhost_sigbus_slot **ret_slot);

/** vhost_sigbus_remove() - to be called before munmap(). Takes NULL. */
void vhost_sigbus_remove(struct vhost_sigbus_slot *slot);

/** vhost_sigbus_lost() - was the mapping, or a part of it, replaced? */
bool vhost_sigbus_lost(const struct vhost_sigbus_slot *slot);

/** vhost_sigbus_events() - how often any mapping was replaced: a cheap "did anything happen?" */
uint64_t vhost_sigbus_events(void);

#endif
