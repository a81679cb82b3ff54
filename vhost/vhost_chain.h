/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vhost_chain.h - descriptor chains of every shape, out of the hot path
 *
 * The forwarding loop handles the buffer that is one descriptor in one region. All others (header
 * and data apart, many parts, indirect tables, buffers that span two regions of memory) are walked
 * here into a list of segments.
 */
#ifndef VHOST_CHAIN_H
#define VHOST_CHAIN_H

#include "vhost_vq.h"

/*
 * Nobody reads or writes more of one buffer than this, however long it is: the longest frame with
 * its header is half of it. Behind that, memory need not be here (post-copy).
 */
#define VHOST_CHAIN_REACH ((uint64_t)128 << 10)

struct vhost_seg {
	uint8_t *base; /* ours */
	uint32_t len;  /* bytes, > 0 */
};

struct vhost_segs {
	struct vhost_seg *seg;
	uint32_t max; /* elements of seg */
	uint32_t n;
	uint64_t total; /* bytes */
};

/**
 * vhost_split_chain() - append the buffer that starts at @head to a list of segments
 * @vq: ring, for its address hint
 * @map: its map for this burst
 * @head: first descriptor, from the avail ring; untrusted
 * @write: true for receive rings: every descriptor must be device-writable; false: none may be
 * @segs: list to append to; unchanged length on failure
 *
 * Each descriptor is read once. The walk ends after at most as many descriptors as the ring (or the
 * indirect table) has, whatever the guest wrote. A descriptor of length zero is
 * refused: no driver makes one, and a walk over them would cost much and count for nothing.
 *
 * Spec: virtio 1.3, 2.7.5 (descriptor table), 2.7.5.3 (indirect; after zero or more direct ones).
 * Context: the worker that owns the ring. Does not allocate, log or block.
 * Return: VHOST_VQ_OK; VHOST_VQ_WAIT if an address cannot be used yet (listed, see vhost_vq_ask());
 * or why the ring must be given up (the caller calls vhost_vq_fail()).
 */
enum vhost_vq_fault vhost_split_chain(struct vhost_vq *vq, const struct vhost_vq_map *map,
                                      uint16_t head, bool write, struct vhost_segs *segs);

/**
 * vhost_packed_chain() - the same for the buffer that starts in slot @slot of a packed ring
 * @slot: less than the ring's size; available
 * @ret_id, @ret_slots: the buffer's id, and how many slots it takes: at most the ring's size
 *
 * Spec: virtio 1.3, 2.8.5 (descriptors), 2.8.6 (chains), 2.8.7 (indirect).
 */
enum vhost_vq_fault vhost_packed_chain(struct vhost_vq *vq, const struct vhost_vq_map *map,
                                       uint16_t slot, bool write, struct vhost_segs *segs,
                                       uint16_t *ret_id, uint16_t *ret_slots);

/**
 * vhost_segs_read() - copy the first @len bytes of a list out
 * Return: bytes copied, less than @len if the list is shorter.
 */
uint32_t vhost_segs_read(const struct vhost_segs *segs, uint8_t *dst, uint32_t len);

/** vhost_segs_skip() - drop the first @len bytes of a list, which has at least that many */
void vhost_segs_skip(struct vhost_segs *segs, uint32_t len);

/**
 * vhost_segs_copy() - copy @len bytes from one list of segments to another
 * Both have at least @len bytes.
 */
void vhost_segs_copy(const struct vhost_segs *dst, const struct vhost_segs *src, uint32_t len);

/** vhost_segs_log() - the first @len bytes of a list in guest memory were written. @map->log is set
 */
void vhost_segs_log(const struct vhost_segs *segs, const struct vhost_vq_map *map, uint32_t len);

#endif
