/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vhost_mapping.h - a range of a front end's file, mapped so that it can do us no harm
 *
 * The file is checked before (a plain file, long enough, nobody's page faults to wait for), the
 * mapping is kept out of core files, and it is protected against SIGBUS (vhost_sigbus.h). Nothing
 * is locked or touched: both would break post-copy migration and make a sparse guest resident.
 *
 * All calls: control thread.
 */
#ifndef VHOST_MAPPING_H
#define VHOST_MAPPING_H

#include "base.h"

struct vhost_late;
struct vhost_mapping;
struct vhost_postcopy;

/**
 * vhost_mapping_new() - map bytes of a file, shared and writable
 * @fd: borrowed
 * @offset: of the first byte in the file, @len: how many; untrusted, their sum must not wrap
 * @ret_mapping: one reference
 * @ret_host: address of the first byte
 * @ret_why: on failure a static sentence for the log
 *
 * The mapping may begin before @offset and end after the last byte: files are mapped by pages,
 * those on hugetlbfs by huge ones. Return: 0, -EINVAL, -ENOMEM, or the error of fstat() or mmap().
 */
int vhost_mapping_new(int fd, uint64_t offset, uint64_t len, struct vhost_mapping **ret_mapping,
                      uint8_t **ret_host, const char **ret_why);

struct vhost_mapping *vhost_mapping_ref(struct vhost_mapping *mapping);
void vhost_mapping_unref(struct vhost_mapping *mapping); /* the last one unmaps; takes NULL */

/**
 * vhost_mapping_make_late() - its pages may come late (post-copy); nothing of it was touched so far
 * @fd: its file; borrowed
 * @ret_late: valid until vhost_mapping_end_late(), or until the mapping goes
 * Return: 0 or the error of vhost_postcopy_add().
 */
int vhost_mapping_make_late(struct vhost_mapping *mapping, int fd, struct vhost_postcopy *postcopy,
                            struct vhost_late **ret_late, const char **ret_why);
void vhost_mapping_end_late(struct vhost_mapping *mapping);

/** vhost_mapping_lost() - has the file become shorter? Then parts are anonymous memory now. */
bool vhost_mapping_lost(const struct vhost_mapping *mapping);

/** vhost_mapping_origin() - which file a byte of the mapping is from, and where it lies in it */
void vhost_mapping_origin(const struct vhost_mapping *mapping, const void *host, uint64_t *ret_dev,
                          uint64_t *ret_ino, uint64_t *ret_offset);

#endif
