/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vhost_iommu.h - a device behind the guest's IOMMU (VIRTIO_F_ACCESS_PLATFORM)
 *
 * Theory of operation
 * -------------------
 * All addresses are I/O virtual: those in descriptors, and those of the rings. What they mean is
 * known only as far as the front end has told (vhost_iotlb.h), so the memory of such a device is
 * usable in part (vhost_vq.h): what is missing is asked for (IOTLB_MISS on the back-end channel),
 * and the answer (IOTLB_UPDATE) is published to the workers as new tables with new maps. They
 * replace tables that are still right; nobody has to wait for that.
 *
 * A ring starts when its own parts are known. When they are invalidated while it runs it is
 * *suspended*: it counts as started, but its map is NULL, and it goes on from where it was when
 * they are known again. A guest that flushes its whole IOTLB now and then does not even lose the
 * link by that.
 *
 * An invalidation is answered only after the wait for the workers (vhost_dev_settle()): from then
 * on nobody uses the old translation, nor a ring that lay there.
 *
 * To avoid that frames are dropped one miss at a time, workers list the buffers behind the current
 * one, too (vhost_ring_look_ahead()), and so does this thread when a ring starts.
 *
 * Trust: the record is bounded, see vhost_iotlb.h; so is the number of questions under way, and
 * each is asked once in VHOST_MISS_RETRY_MS at most. An address that never gets a meaning holds up
 * the ring that named it, nothing else.
 *
 * Spec: vhost-user, "IOMMU support". Context: control thread.
 */
#ifndef VHOST_IOMMU_H
#define VHOST_IOMMU_H

#include "vhost_iotlb.h"
#include "vhost_wire.h"

#define VHOST_MISS_RETRY_MS 1000

struct vhost_dev;
struct vhost_iommu;

/** vhost_iommu_on() - does the front end use the device with ACCESS_PLATFORM? */
bool vhost_iommu_on(const struct vhost_dev *dev);

/** vhost_iommu_prepare() - to be called before the feature is in force. Return: 0 or -ENOMEM */
int vhost_iommu_prepare(struct vhost_dev *dev);

/** vhost_iommu_tables() - what maps are made with, while vhost_iommu_on() */
struct vhost_iotlb_tables vhost_iommu_tables(const struct vhost_dev *dev);

/**
 * vhost_iommu_ring_part() - host address of a part of a ring
 * @access: VHOST_ACCESS_RO, _WO or _RW
 * Return: 0; -EAGAIN: the front end was asked for it; -EFAULT: it is in several pieces (warned).
 */
int vhost_iommu_ring_part(struct vhost_dev *dev, uint16_t ring, uint64_t iova, uint64_t len,
                          uint8_t access, void **ret_host);

/** vhost_iommu_serve() - ask the front end for what rings wait for, and let those go on that can */
void vhost_iommu_serve(struct vhost_dev *dev);

/** vhost_iommu_message() - an IOTLB_MSG of the front end. Return: 0 or -errno (warned) */
int vhost_iommu_message(struct vhost_dev *dev, const struct vhost_iotlb_msg *msg);

/** vhost_iommu_set_channel() - a new socket to ask on; takes @fd. Return: 0 or -EINVAL (warned) */
int vhost_iommu_set_channel(struct vhost_dev *dev, int fd);

/** vhost_iommu_mem_replaced() - dev->mem is another one; maps have to be replaced after this */
void vhost_iommu_mem_replaced(struct vhost_dev *dev);

/**
 * vhost_iommu_flush() - forget all translations, when no ring is left that could use them
 *
 * While no ring runs, QEMU does not tell what the guest invalidates.
 */
void vhost_iommu_flush(struct vhost_dev *dev);

/** vhost_iommu_free_replaced() - the wait for the workers is over */
void vhost_iommu_free_replaced(struct vhost_dev *dev);

/** vhost_iommu_end() - the connection is over, and the wait for the workers, too */
void vhost_iommu_end(struct vhost_dev *dev);

#endif
