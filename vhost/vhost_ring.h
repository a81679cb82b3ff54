/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vhost_ring.h - a virtqueue of either layout, for those who do not count cycles per frame
 *
 * A buffer is looked at with vhost_ring_next(), any number of buffers ahead, and completed with
 * vhost_ring_done(), in order. vhost_ring_publish(), a fence and vhost_ring_notify() end a burst.
 */
#ifndef VHOST_RING_H
#define VHOST_RING_H

#include "vhost_chain.h"
#include "vhost_packed.h"
#include "vhost_split.h"

/* A place in the sequence of available buffers. */
struct vhost_cursor {
	uint16_t pos;
	uint16_t bits; /* packed */
};

/* What completing a buffer takes. */
struct vhost_buf {
	uint16_t id;    /* split: head; packed: buffer id */
	uint16_t slots; /* packed */
};

/** vhost_ring_cursor() - the first buffer that was not completed */
static inline struct vhost_cursor vhost_ring_cursor(const struct vhost_vq *vq)
{
	return (struct vhost_cursor){.pos = vq->last_avail, .bits = vq->avail_bits};
}

/**
 * vhost_ring_next() - append the next buffer to a list of segments
 * @cursor: moves on to the buffer behind it, on success
 * @write: receive ring: every descriptor must be device-writable; false: none may be
 * @segs: list to append to; its length is unchanged on failure
 * @ret_buf: for vhost_ring_done()
 *
 * Each descriptor is read once. The walk ends after at most as many descriptors as the ring (or the
 * indirect table) has, whatever the guest wrote. A descriptor of length zero is refused: no driver
 * makes one, and a walk over them would cost much and count for nothing.
 *
 * Spec: virtio 1.3, 2.7.5 and 2.8.5 to 2.8.8.
 * Context: the worker that owns the ring. Does not allocate, log or block.
 * Return: VHOST_VQ_OK, VHOST_VQ_EMPTY, VHOST_VQ_WAIT (an address cannot be used yet; it is listed
 * for vhost_vq_ask()), or why the ring must be given up (the caller calls vhost_vq_fail()).
 */
enum vhost_vq_fault vhost_ring_next(struct vhost_vq *vq, const struct vhost_vq_map *map,
                                    struct vhost_cursor *cursor, bool write,
                                    struct vhost_segs *segs, struct vhost_buf *ret_buf);

/** vhost_ring_skip() - vhost_ring_next() for a buffer whose contents are not wanted */
enum vhost_vq_fault vhost_ring_skip(struct vhost_vq *vq, const struct vhost_vq_map *map,
                                    struct vhost_cursor *cursor, struct vhost_buf *ret_buf);

#define VHOST_RING_AHEAD       128 /* buffers */
#define VHOST_RING_AHEAD_PARTS 64  /* of a buffer; it ends at one that has more */

/**
 * vhost_ring_look_ahead() - list what the buffers will need that are available (@map->partial, or
 * late)
 *
 * So that memory is made usable for many of them at a time, and before they are due. The caller
 * hands the list over with vhost_vq_ask().
 * Context: the worker that owns the ring.
 */
void vhost_ring_look_ahead(struct vhost_vq *vq, const struct vhost_vq_map *map, bool write);

/** vhost_ring_done() - complete the first buffer that is not, with @len bytes written to it */
static inline void vhost_ring_done(struct vhost_vq *vq, const struct vhost_vq_map *map,
                                   struct vhost_buf buf, uint32_t len)
{
	if (map->packed)
		vhost_packed_take_slots(vq, map, buf.id, len, buf.slots);
	else
		vhost_split_take(vq, map, buf.id, len);
}

/**
 * vhost_ring_has() - are there more than @n buffers?
 * @n: less than the ring's size
 *
 * Packed: slots, of which a buffer may take several.
 */
static inline bool vhost_ring_has(struct vhost_vq *vq, const struct vhost_vq_map *map, uint32_t n)
{
	return map->packed ? vhost_packed_has(vq, map, n) : vhost_split_avail(vq, map, n + 1) > n;
}

/** vhost_ring_is_dirty() - were buffers completed that are not published? */
static always_inline bool vhost_ring_is_dirty(const struct vhost_vq *vq,
                                              const struct vhost_vq_map *map)
{
	return map->packed ? vq->used_slots : vq->used_idx != vq->used_pub;
}

/** vhost_ring_publish() - let the guest see the buffers completed so far */
static always_inline void vhost_ring_publish(struct vhost_vq *vq, const struct vhost_vq_map *map)
{
	if (map->packed)
		vhost_packed_publish(vq, map);
	else
		vhost_split_publish(vq, map);
}

/** vhost_ring_notify() - interrupt the guest if it asked for it; after a full fence */
static always_inline void vhost_ring_notify(struct vhost_vq *vq, const struct vhost_vq_map *map)
{
	if (map->packed)
		vhost_packed_notify(vq, map);
	else
		vhost_split_notify(vq, map);
}

/**
 * vhost_ring_want_kicks() - ask the guest to kick
 * Return: true if something became available meanwhile, so that the caller must not sleep.
 */
static inline bool vhost_ring_want_kicks(struct vhost_vq *vq, const struct vhost_vq_map *map)
{
	return map->packed ? vhost_packed_want_kicks(vq, map) : vhost_split_want_kicks(vq, map);
}

#endif
