/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vfe_layout.h - between the files of the library: what the two layouts of a virtqueue do
 * differently
 *
 * vfe_ring.c keeps the buffers and their identifiers and knows what a frame is; vfe_split.c and
 * vfe_packed.c write descriptors, read what the device wrote, and check it.
 */
#ifndef VFE_LAYOUT_H
#define VFE_LAYOUT_H

#include <endian.h>
#include "vfe.h"

/* A part of a buffer */
struct vfe_piece {
	char *at;
	uint32_t len;
};

/* What the device says about a buffer that it is done with */
struct vfe_used_buf {
	uint16_t id;
	uint32_t len;
};

struct vfe_layout_ops {
	/* Nothing in flight, at the start of the ring, calls unwanted */
	void (*empty)(struct vfe_ring *r);
	/* How far the device has used buffers, as SET_VRING_BASE says it */
	uint32_t (*position)(const struct vfe_ring *r);
	/* Write the descriptors of buffer @id; the device sees them after publish() */
	void (*post)(struct vfe_ring *r, uint16_t id, const struct vfe_piece *pieces, uint16_t n,
	             bool indirect);
	/* Return: does the device want a kick? */
	bool (*publish)(struct vfe_ring *r);
	/* Has the device used anything that was not taken? */
	bool (*is_used)(const struct vfe_ring *r);
	/* Are @n buffers used? 1, 0, or -EPROTO */
	int (*are_used)(struct vfe_ring *r, uint16_t n);
	/* The next used entry, without taking it. Return: how many buffers it completes (several
	 * only with IN_ORDER), 0: there is none, -EPROTO. */
	int (*next)(struct vfe_ring *r, struct vfe_used_buf *ret);
	/* Take it: @n buffers of @n_desc descriptors altogether */
	void (*step)(struct vfe_ring *r, uint16_t n, uint32_t n_desc);
	void (*want_call)(struct vfe_ring *r, bool want);
	/* Judge what GET_VRING_BASE said. Return: split: buffers, packed: descriptors that the
	 * device took and did not return; -EPROTO */
	int (*check_base)(struct vfe_ring *r, uint32_t base);
};

extern const struct vfe_layout_ops vfe_split_ops;
extern const struct vfe_layout_ops vfe_packed_ops;

static inline uint16_t vfe_load16(const uint16_t *p)
{
	return le16toh(__atomic_load_n(p, __ATOMIC_ACQUIRE));
}

static inline void vfe_store16(uint16_t *p, uint16_t value)
{
	__atomic_store_n(p, htole16(value), __ATOMIC_RELEASE);
}

/* A rule of the specification is broken: count it, say which, give up the call. */
#define vfe_broken(r, fmt, ...)                                                                    \
	((r)->v->faults++,                                                                         \
	 vfe_fail((r)->v, -EPROTO, "ring %u: " fmt, (r)->index __VA_OPT__(, ) __VA_ARGS__))

/* One descriptor less that is free, and the identifier (split: the descriptor) that goes with it */
uint16_t vfe_take_free(struct vfe_ring *r);

/* The buffer published as number @n behind the oldest that is in flight (IN_ORDER) */
static inline uint16_t vfe_in_order(const struct vfe_ring *r, uint32_t n)
{
	return r->order[(r->n_taken + n) % r->size];
}

/*
 * IN_ORDER allows a device to write one entry for a whole batch, naming the batch's last buffer, at
 * the position of the batch's first. Return: how many of the first @max it covers, or -EPROTO.
 */
int vfe_in_order_batch(struct vfe_ring *r, uint32_t id, uint32_t max);

#endif
