/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vhost_late.h - a mapping of guest memory whose pages arrive late (post-copy migration)
 *
 * Theory of operation
 * -------------------
 * After the switch of a post-copy migration the guest runs here while many of its pages are still
 * at the source. Whoever touches such a page sleeps until the front end has fetched it, and a
 * worker must never sleep for one guest. So the file behind a region is mapped twice:
 *
 *  - the mapping that workers use is registered with a userfaultfd of our own that turns a touch of
 *    a missing page into SIGBUS, at once. Nobody who uses it can sleep. An access that got past
 *    the check below, because a front end took a page back, is caught like a truncated file
 *    (vhost_sigbus.h) and costs that front end its connection.
 *
 *  - the second mapping is registered with the userfaultfd that the front end has got. Only helper
 *    threads touch it, one page at a time, and sleep there for as long as the front end likes.
 *
 * A bit per page says "it is here": workers look at nothing else, and do so before they use an
 * address. Helpers set it. Whether a page is here is asked by MADV_POPULATE_WRITE on the first
 * mapping, which fails instead of waiting; pages around one that is here are then looked up in one
 * mincore(), as most of the memory was copied before the switch. mincore() says "yes" to everything
 * when this process may not write the file, so it is believed once it has said "no".
 *
 * Both userfaultfds are opened with UFFD_USER_MODE_ONLY, which needs no privilege: nobody hands
 * guest memory to the kernel.
 */
#ifndef VHOST_LATE_H
#define VHOST_LATE_H

#include "base.h"

struct vhost_sigbus_slot;

struct vhost_late {
	const uint8_t *host; /* first byte of the mapping that workers use */
	size_t n_pages;
	uint32_t page_shift;    /* of the file's pages */
	_Atomic uint64_t *here; /* a bit per page; set by helpers, read by all */

	/* Of the helper threads and vhost_postcopy.c */
	uint8_t *ask; /* the second mapping; MAP_FAILED: none */
	struct vhost_sigbus_slot *ask_slot;
	int fault_fd, bus_fd; /* borrowed */
	_Atomic bool mincore_is_true;
	_Atomic bool released;
	struct vhost_postcopy *postcopy; /* whose helpers fetch pages; borrowed */
};

/**
 * vhost_late_new() - map a mapping's file once more and register both
 * @host: first byte of a MAP_SHARED mapping of a memfd, shm or hugetlbfs file, never touched so far
 * @len: bytes mapped, a multiple of @page
 * @page: page size of the file
 * @fd, @offset: the file, and where in it @host is; borrowed
 * @fault_fd: userfaultfd that the front end reads; borrowed
 * @bus_fd: userfaultfd with UFFD_FEATURE_SIGBUS; borrowed
 * @ret_why: on failure a static sentence for the log
 *
 * Touches no page. Context: control thread.
 * Return: 0, -ENOMEM, or the error of mmap() or of the registration.
 */
int vhost_late_new(void *host, size_t len, size_t page, int fd, uint64_t offset, int fault_fd,
                   int bus_fd, struct vhost_late **ret_late, const char **ret_why);

/**
 * vhost_late_free() - back to a plain mapping; pages that have not come read as zeros
 *
 * No helper is inside vhost_late_fetch() for it any more. Takes NULL.
 */
void vhost_late_free(struct vhost_late *late);

/** vhost_late_page() - number of the page that holds @host */
static inline size_t vhost_late_page(const struct vhost_late *late, const void *host)
{
	return (size_t)((const uint8_t *)host - late->host) >> late->page_shift;
}

/**
 * vhost_late_is_here() - may a range be used?
 * @host: inside the mapping
 * @len: bytes, at least 1; the range ends inside the mapping
 *
 * Context: any thread. Does not block.
 */
static inline bool vhost_late_is_here(const struct vhost_late *late, const void *host, uint64_t len)
{
	size_t last = vhost_late_page(late, (const uint8_t *)host + len - 1);

	for (size_t i = vhost_late_page(late, host); i <= last; i++) {
		/* R: release in late_set(); what the front end put there is visible after it */
		if (!(atomic_load_explicit(&late->here[i / 64], memory_order_acquire) >> i % 64 &
		      1))
			return false;
	}
	return true;
}

/**
 * vhost_late_fetch() - wait until a page is here
 *
 * Sleeps until the front end has provided it, or until vhost_late_release().
 * Context: helper thread.
 * Return: 0; 1 if it was slept for; -ECANCELED after a release; -EFAULT if it cannot be had: the
 * file is too short.
 */
int vhost_late_fetch(struct vhost_late *late, size_t page);

/**
 * vhost_late_release() - let go whoever sleeps in vhost_late_fetch(), now and from now on
 *
 * The missing page stays missing: to fill it with zeros would spoil the migration for the guest,
 * which may live on with another connection.
 */
void vhost_late_release(struct vhost_late *late);

/**
 * vhost_late_unguard() - a missing page, touched by a worker, is a page of zeros from now on
 *
 * No helper may be at it: it would fill the missing page for good. See vhost_late_release().
 */
void vhost_late_unguard(struct vhost_late *late);

/** vhost_late_ask_addr() - where the front end will see faults for @host */
static inline uint64_t vhost_late_ask_addr(const struct vhost_late *late, const void *host)
{
	return (uint64_t)(uintptr_t)(late->ask + ((const uint8_t *)host - late->host));
}

#endif
