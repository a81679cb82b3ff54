/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vhost_iotlb.h - what the front end has said of I/O virtual addresses
 *
 * Behind an IOMMU the addresses in descriptors and of rings are not the guest's physical ones: they
 * mean what the guest's IOMMU makes of them, which the front end tells range by range (IOTLB_MSG).
 * This is the control thread's record of that: ranges, disjoint and sorted, each wholly inside one
 * region of guest memory. From it tables are made that workers use in place of the memory table,
 * through the same vhost_mem_gpa(): one of what may be read and one of what may be written, so that
 * the permission needs no check of its own. Tables are immutable.
 *
 * A front end may say as much as it likes: beyond VHOST_IOTLB_MAX ranges the oldest is forgotten,
 * which costs the ring that needs it a question.
 *
 * Spec: vhost-user, "IOMMU support". Context: control thread.
 */
#ifndef VHOST_IOTLB_H
#define VHOST_IOTLB_H

#include <linux/vhost_types.h>
#include "vhost_mem.h"

#define VHOST_IOTLB_MAX 4096 /* ranges per device */

struct vhost_iotlb;

/* For workers; the regions' gpa is an I/O virtual address. */
struct vhost_iotlb_tables {
	struct vhost_mem *read, *write;
};

/** vhost_iotlb_new() - an empty record. Return: 0 or -ENOMEM */
int vhost_iotlb_new(struct vhost_iotlb **ret_tlb);
void vhost_iotlb_free(struct vhost_iotlb *tlb); /* takes NULL */

/**
 * vhost_iotlb_update() - the front end tells a translation
 * @mem: guest memory; parts of the range that are not in it are left out
 * @msg: iova, size, uaddr (the front end's) and perm; untrusted. Size 0 from address 0 is all 2^64.
 * @ret_changed: was something else said of a part of the range before, that workers may be using?
 *
 * Return: 0; -EINVAL for sizes, permissions and ranges that mean nothing; -EFAULT if nothing of the
 * range is guest memory; -ENOMEM. A failure changes nothing.
 */
int vhost_iotlb_update(struct vhost_iotlb *tlb, const struct vhost_mem *mem,
                       const struct vhost_iotlb_msg *msg, bool *ret_changed);

/**
 * vhost_iotlb_invalidate() - forget a range
 *
 * @size 0 reaches to the end of the address space, as does one that goes beyond it.
 * Return: whether anything was known of it. Parts of ranges outside it stay known.
 */
bool vhost_iotlb_invalidate(struct vhost_iotlb *tlb, uint64_t iova, uint64_t size);

/** vhost_iotlb_remap() - guest memory was replaced: forget what is not in @mem (or NULL) any more
 */
void vhost_iotlb_remap(struct vhost_iotlb *tlb, const struct vhost_mem *mem);

/** vhost_iotlb_n() - number of ranges */
uint32_t vhost_iotlb_n(const struct vhost_iotlb *tlb);

/** vhost_iotlb_build() - tables of what is known now. Return: 0 or -ENOMEM */
int vhost_iotlb_build(const struct vhost_iotlb *tlb, struct vhost_iotlb_tables *ret_tables);

#endif
