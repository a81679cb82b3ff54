/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vhost_log.h - the dirty log of a live migration
 *
 * While a guest is migrated the front end copies its memory again and again, page by page, and has
 * to know which pages were written meanwhile. It shares a bitmap for that: one bit per 4096 bytes
 * of guest-physical address space. Who writes to guest memory sets the bits of the pages
 * afterwards; the front end takes words out by exchanging them with zero, and reads the pages after
 * that. So a bit that is set before its write is a lost write, and one that is set too often only
 * costs time.
 *
 * A log is immutable but for its bits: the control thread publishes it to the workers with the map
 * of a ring (vhost_vq.h), and frees it when no worker can hold such a map. What the device wrote is
 * told by *our* address of it, and looked up in the memory table: that is right for guests behind a
 * vIOMMU as well, needs nothing from the paths that translate addresses, and costs nothing while
 * there is no log.
 *
 * Spec: vhost-user, "Migration"; VHOST_USER_SET_LOG_BASE.
 */
#ifndef VHOST_LOG_H
#define VHOST_LOG_H

#include "vhost_mem.h"

#define VHOST_LOG_PAGE 4096u

/* Bits for every address that x86 can have; keeps a sparse file from using up our own addresses. */
#define VHOST_LOG_MAX_BYTES ((uint64_t)1 << 37)

struct vhost_mapping;

struct vhost_log {
	uint8_t *bits;
	uint64_t size; /* bytes, > 0 */
	struct vhost_mapping *mapping;
};

/**
 * vhost_log_new() - map a bitmap (SET_LOG_BASE)
 * @fd: borrowed
 * @size: bytes of the bitmap, @offset: where it begins in the file; untrusted
 * @ret_why: on failure a static sentence for the log
 *
 * Context: control thread. Return: 0, -EINVAL, -ENOMEM, or the error of fstat() or mmap().
 */
int vhost_log_new(int fd, uint64_t size, uint64_t offset, struct vhost_log **ret_log,
                  const char **ret_why);

/** vhost_log_free() - unmap. Takes NULL. Control thread. */
void vhost_log_free(struct vhost_log *log);

/** vhost_log_lost() - has the file become shorter than the log? Takes NULL. */
bool vhost_log_lost(const struct vhost_log *log);

/** vhost_log_covers() - has it a bit for each page of [gpa, gpa + len)? @len > 0 */
bool vhost_log_covers(const struct vhost_log *log, uint64_t gpa, uint64_t len);

/**
 * vhost_log_mark() - the pages of [gpa, gpa + len) were written; what the log does not cover is
 * left out
 *
 * The caller's stores come before the bits. Context: any thread. Does not allocate, log or block.
 */
void vhost_log_mark(const struct vhost_log *log, uint64_t gpa, uint64_t len);

/**
 * vhost_log_wrote() - @len bytes at @host, inside one region of @mem, were written
 *
 * Looks at one region after the other, as @host is not what tables are sorted by. Context: as
 * above.
 */
void vhost_log_wrote(const struct vhost_log *log, const struct vhost_mem *mem, const void *host,
                     uint64_t len);

/** vhost_log_mark_all() - every page of guest memory */
void vhost_log_mark_all(const struct vhost_log *log, const struct vhost_mem *mem);

#endif
