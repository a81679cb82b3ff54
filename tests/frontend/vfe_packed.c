// SPDX-License-Identifier: BSD-2-Clause
/*
 * vfe_packed.c - packed virtqueues (virtio 1.3, 2.8)
 *
 * Both sides write one ring. Each has a position, slot and wrap counter, for what it makes
 * available and for what it takes back. The flags of the first descriptor of a batch are held back
 * until publish(), with release semantics; everything behind it is written before, in the order of
 * the ring, so that a device which runs past a descriptor that is not available yet is found out.
 *
 * A buffer takes as many slots as it has descriptors and is returned in one, the first of them in
 * the device's own order. Its identifier stands in its last descriptor (2.8.6); in the others there
 * is a wrong one.
 */
#include <errno.h>
#include <string.h>

#include "vfe_layout.h"

enum { WRAP = 0x8000, NO_ID = 0xffff };

/* Move a position, slot and wrap counter, along the ring by at most a lap. */
static void move(const struct vfe_ring *r, uint16_t *slot, bool *wrap, uint32_t n)
{
	uint32_t next = *slot + n;

	if (next >= r->size) {
		next -= r->size;
		*wrap = !*wrap;
	}
	*slot = (uint16_t)next;
}

static uint16_t position(uint16_t slot, bool wrap)
{
	return (uint16_t)(slot | (wrap ? WRAP : 0));
}

static void packed_want_call(struct vfe_ring *r, bool want)
{
	struct vfe_event e = {.flags = htole16(VFE_EVENT_DISABLE)};
	uint32_t word;

	if (want && r->event_idx)
		e = (struct vfe_event){.off_wrap = htole16(position(r->used_slot, r->used_wrap)),
		                       .flags = htole16(VFE_EVENT_DESC)};
	else if (want)
		e.flags = htole16(VFE_EVENT_ENABLE);
	memcpy(&word, &e, sizeof(word));
	__atomic_store_n((uint32_t *)(void *)r->driver_event, word, __ATOMIC_RELEASE);
}

static void packed_empty(struct vfe_ring *r)
{
	memset(r->packed_desc, 0, r->size * sizeof(*r->packed_desc));
	memset(r->device_event, 0, sizeof(*r->device_event));
	r->avail_slot = r->used_slot = 0;
	r->avail_wrap = r->used_wrap = true;
	r->n_held = 0;
	r->base = (uint32_t)WRAP << 16 | WRAP;
	packed_want_call(r, false);
}

/* ---- posting ------------------------------------------------------------------------------------
 */

static void fill_desc(const struct vfe *v, struct vfe_packed_desc *d, const struct vfe_piece *p,
                      uint16_t id)
{
	d->addr = htole64(vfe_gpa(v, p->at));
	d->len = htole32(p->len);
	d->id = htole16(id);
}

/* The entries of a table follow each other; WRITE is their only flag (2.8.7). */
static void put_table(struct vfe_ring *r, struct vfe_packed_desc *table,
                      const struct vfe_piece *pieces, uint16_t n)
{
	for (uint16_t i = 0; i < n; i++) {
		fill_desc(r->v, &table[i], &pieces[i], NO_ID);
		table[i].flags = htole16(r->rx ? VFE_DESC_WRITE : 0);
	}
}

static void put_slot(struct vfe_ring *r, const struct vfe_piece *p, uint16_t id, uint16_t flags)
{
	struct vfe_packed_desc *d = &r->packed_desc[r->avail_slot];

	flags |= r->avail_wrap ? VFE_DESC_AVAIL : VFE_DESC_USED;
	fill_desc(r->v, d, p, id);
	if (!r->n_held) {
		r->held_slot = r->avail_slot;
		r->held_flags = flags;
	} else {
		vfe_store16(&d->flags, flags);
	}
	r->n_held++;
	move(r, &r->avail_slot, &r->avail_wrap, 1);
}

static void packed_post(struct vfe_ring *r, uint16_t id, const struct vfe_piece *pieces, uint16_t n,
                        bool indirect)
{
	uint16_t dir = r->rx ? VFE_DESC_WRITE : 0;
	struct vfe_packed_desc *table;
	struct vfe_piece whole;

	if (indirect) {
		table = (struct vfe_packed_desc *)(void *)&r->tables[(size_t)id * VFE_MAX_PIECES];
		put_table(r, table, pieces, n);
		whole = (struct vfe_piece){.at = (char *)table,
		                           .len = n * (uint32_t)sizeof(*table)};
		put_slot(r, &whole, id, VFE_DESC_INDIRECT);
		return;
	}
	r->n_free -= n - 1; /* one was taken with the identifier */
	for (uint16_t i = 0; i < n; i++) {
		bool more = i + 1 < n;

		put_slot(r, &pieces[i], more ? NO_ID : id, dir | (more ? VFE_DESC_NEXT : 0));
	}
}

/* 2.8.10 and 2.8.21: does a batch of @n slots, the last in front of ours, reach what it asks for?
 */
static bool kick_wanted(struct vfe_ring *r, uint32_t n)
{
	uint32_t word = __atomic_load_n((uint32_t *)(void *)r->device_event, __ATOMIC_ACQUIRE);
	uint32_t end = r->avail_slot + r->size, at;
	struct vfe_event e;

	memcpy(&e, &word, sizeof(e));
	switch (le16toh(e.flags)) {
	case VFE_EVENT_ENABLE:
		return true;
	case VFE_EVENT_DISABLE:
		return false;
	case VFE_EVENT_DESC:
		break;
	default:
		vfe_broken(r, "the device's event flags are 0x%x", le16toh(e.flags));
		return true;
	}
	at = le16toh(e.off_wrap) & ~WRAP;
	if (!r->event_idx || at >= r->size) {
		vfe_broken(r, "the device asks for a kick at 0x%x %s EVENT_IDX",
		           le16toh(e.off_wrap), r->event_idx ? "with" : "without");
		return true;
	}
	/* Both counted from the start of the lap before this one */
	if (!!(le16toh(e.off_wrap) & WRAP) == r->avail_wrap)
		at += r->size;
	return at < end && at + n >= end;
}

static bool packed_publish(struct vfe_ring *r)
{
	uint32_t n = r->n_held;

	if (!n)
		return false;
	vfe_store16(&r->packed_desc[r->held_slot].flags, r->held_flags);
	r->n_held = 0;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return kick_wanted(r, n);
}

/* ---- completions --------------------------------------------------------------------------------
 */

static bool is_used_at(const struct vfe_ring *r, uint16_t slot, bool wrap)
{
	uint16_t flags = vfe_load16(&r->packed_desc[slot].flags);

	return !(flags & VFE_DESC_AVAIL) == !wrap && !(flags & VFE_DESC_USED) == !wrap;
}

static bool packed_is_used(const struct vfe_ring *r)
{
	return is_used_at(r, r->used_slot, r->used_wrap);
}

static bool in_flight(const struct vfe_ring *r, uint16_t id)
{
	return id < r->size && r->slots[id].in_flight;
}

/* Descriptors that the device may own: published, and not taken back */
static uint32_t n_in_flight(const struct vfe_ring *r)
{
	return (uint32_t)r->size - r->n_free - r->n_held;
}

/*
 * How far the device has used buffers behind those taken: the position behind them, and their
 * number. What makes no sense ends the walk; packed_next() complains about it in its turn.
 */
static uint32_t walk_used(const struct vfe_ring *r, uint16_t *ret_slot, bool *ret_wrap)
{
	uint32_t left = n_in_flight(r), n = 0;

	*ret_slot = r->used_slot;
	*ret_wrap = r->used_wrap;
	while (left && is_used_at(r, *ret_slot, *ret_wrap)) {
		uint16_t id = le16toh(r->packed_desc[*ret_slot].id), each;

		if (!in_flight(r, id))
			break;
		do { /* one, or with IN_ORDER all up to the one that is named */
			each = r->in_order ? vfe_in_order(r, n) : id;
			if (r->slots[each].n_desc > left)
				return n;
			left -= r->slots[each].n_desc;
			move(r, ret_slot, ret_wrap, r->slots[each].n_desc);
			n++;
		} while (each != id && left);
	}
	return n;
}

static uint32_t packed_position(const struct vfe_ring *r)
{
	uint16_t slot;
	bool wrap;
	uint32_t at;

	walk_used(r, &slot, &wrap);
	at = position(slot, wrap);
	return at << 16 | at;
}

static int packed_are_used(struct vfe_ring *r, uint16_t n)
{
	uint16_t slot;
	bool wrap;

	return walk_used(r, &slot, &wrap) >= n;
}

static int packed_next(struct vfe_ring *r, struct vfe_used_buf *ret)
{
	const struct vfe_packed_desc *d = &r->packed_desc[r->used_slot];
	struct vfe_used_buf u;
	uint16_t flags;

	if (!packed_is_used(r))
		return 0;
	u = (struct vfe_used_buf){.id = le16toh(d->id), .len = le32toh(d->len)};
	flags = le16toh(d->flags);
	if (!in_flight(r, u.id))
		return vfe_broken(r, "slot %u: used, but buffer %u is not in flight", r->used_slot,
		                  u.id);
	/* 2.8.4: WRITE tells that the length counts, that is that the device wrote anything. */
	if (!(flags & VFE_DESC_WRITE))
		u.len = 0;
	else if (!r->rx)
		return vfe_broken(r,
		                  "slot %u: used flags 0x%x in a ring that the device only reads",
		                  r->used_slot, flags);
	*ret = u;
	return r->in_order ? vfe_in_order_batch(r, u.id, (uint32_t)(r->n_posted - r->n_taken)) : 1;
}

static void packed_step(struct vfe_ring *r, uint16_t n, uint32_t n_desc)
{
	(void)n;
	move(r, &r->used_slot, &r->used_wrap, n_desc);
}

/* From position @from to @to, in slots; -1 if that is more than a lap */
static int distance(const struct vfe_ring *r, uint16_t from, uint16_t to)
{
	int n = (to & ~WRAP) - (from & ~WRAP) + ((from ^ to) & WRAP ? r->size : 0);

	return n > r->size ? -1 : n;
}

static int packed_check_base(struct vfe_ring *r, uint32_t base)
{
	uint16_t used = (uint16_t)packed_position(r), avail = (uint16_t)base;
	int done = distance(r, position(r->used_slot, r->used_wrap), used);
	int taken = distance(r, used, avail);

	/* DPDK's back end knows one position. */
	if (r->v->config.bufs.lenient && base <= UINT16_MAX)
		base |= (uint32_t)avail << 16;
	if ((avail & ~WRAP) >= r->size || base >> 16 != used || taken < 0 ||
	    (uint32_t)taken > n_in_flight(r) - (uint32_t)done)
		return vfe_broken(r, "GET_VRING_BASE: 0x%x, but used up to 0x%x, available to 0x%x",
		                  base, used, position(r->avail_slot, r->avail_wrap));
	return taken;
}

const struct vfe_layout_ops vfe_packed_ops = {
	.empty = packed_empty,
	.position = packed_position,
	.post = packed_post,
	.publish = packed_publish,
	.is_used = packed_is_used,
	.are_used = packed_are_used,
	.next = packed_next,
	.step = packed_step,
	.want_call = packed_want_call,
	.check_base = packed_check_base,
};
