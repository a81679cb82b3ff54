/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vhost_postcopy.h - a device during post-copy migration: userfaultfds, and threads that may wait
 *
 * vhost-user, "POSTCOPY_ADVISE" to "POSTCOPY_END". The object lives from the first of these
 * messages to the last, or to the end of the connection. From POSTCOPY_LISTEN on it has helper
 * threads: the only ones that ever sleep for a missing page. What a ring needs is handed to them as
 * one job per ring; when it is done they have the control thread called, which lets the ring go on.
 *
 * All functions: control thread, unless told otherwise.
 */
#ifndef VHOST_POSTCOPY_H
#define VHOST_POSTCOPY_H

#include "vhost_late.h"

struct vhost_postcopy;

#define VHOST_POSTCOPY_MAX_RANGES 64 /* in one job */

/** vhost_postcopy_missing() - what this host lacks for post-copy, or NULL: nothing. Asked once. */
const char *vhost_postcopy_missing(void);

/**
 * vhost_postcopy_open() - open the userfaultfds
 * @n_rings: of the device
 * @attend: called by helper threads when a job is done
 * @owner: its argument
 * Return: 0, -ENOMEM, or the error of userfaultfd().
 */
int vhost_postcopy_open(uint32_t n_rings, void (*attend)(void *owner), void *owner,
                        struct vhost_postcopy **ret_postcopy);

/** vhost_postcopy_close() - end helper threads, late or not, and close. Takes NULL.
 *
 * Every mapping was taken out before, see vhost_postcopy_remove().
 */
void vhost_postcopy_close(struct vhost_postcopy *pc);

/** vhost_postcopy_fd() - the userfaultfd for the front end; borrowed */
int vhost_postcopy_fd(const struct vhost_postcopy *pc);

/** vhost_postcopy_listen() - start the helper threads. Again: no effect. Return: 0 or -errno. */
int vhost_postcopy_listen(struct vhost_postcopy *pc);
bool vhost_postcopy_is_listening(const struct vhost_postcopy *pc); /* takes NULL: false */

/**
 * vhost_postcopy_hold() - addresses were told: no fault before the front end has acknowledged them
 * vhost_postcopy_go() - it has
 */
void vhost_postcopy_hold(struct vhost_postcopy *pc);
void vhost_postcopy_go(struct vhost_postcopy *pc);

/** vhost_postcopy_slept() - pages that were asked for and waited for so far */
uint64_t vhost_postcopy_slept(struct vhost_postcopy *pc);

/**
 * vhost_postcopy_add() - pages of a mapping may come late; as vhost_late_new()
 * @ret_late: the caller's, to be given to vhost_postcopy_remove()
 */
int vhost_postcopy_add(struct vhost_postcopy *pc, void *host, size_t len, size_t page, int fd,
                       uint64_t offset, struct vhost_late **ret_late, const char **ret_why);

/**
 * vhost_postcopy_unguard() - all pages are said to be here; vhost_late_unguard()
 *
 * Jobs for it end, as in vhost_postcopy_remove().
 */
void vhost_postcopy_unguard(struct vhost_late *late);

/**
 * vhost_postcopy_remove() - a plain mapping again; vhost_late_free()
 *
 * Workers do not look at @late any more. Jobs for it end. Helpers that sleep in it are let go and
 * waited for. Takes NULL.
 */
void vhost_postcopy_remove(struct vhost_late *late);

/* What became of a ring's job. */
enum vhost_postcopy_job {
	VHOST_POSTCOPY_NO_JOB,
	VHOST_POSTCOPY_BUSY,
	VHOST_POSTCOPY_DONE,   /* every page is here; told once */
	VHOST_POSTCOPY_FAILED, /* a page cannot be had, its file is too short; told once */
};

/**
 * vhost_postcopy_want() - add a range to the job of @ring, which helpers may be at already
 * @urgent: part of the ring itself: one helper does nothing else
 *
 * Nothing is added if the range is here. Return: false if it is here, or there is no room.
 */
bool vhost_postcopy_want(struct vhost_postcopy *pc, uint32_t ring, struct vhost_late *late,
                         const void *host, uint64_t len, bool urgent);

/** vhost_postcopy_poll() - how is the job of @ring? Takes NULL. */
enum vhost_postcopy_job vhost_postcopy_poll(struct vhost_postcopy *pc, uint32_t ring);

/** vhost_postcopy_drop() - forget the job of @ring: it was stopped. Takes NULL. */
void vhost_postcopy_drop(struct vhost_postcopy *pc, uint32_t ring);

#endif
