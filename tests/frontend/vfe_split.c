// SPDX-License-Identifier: BSD-2-Clause
/*
 * vfe_split.c - split virtqueues (virtio 1.3, 2.7)
 *
 * Order (2.7.13 and 2.7.14): descriptors, then avail->ring, then a release store of avail->idx; a
 * full fence; then the device's notification wish. Completions: acquire load of used->idx, then the
 * entries.
 *
 * A buffer's identifier is its first descriptor.
 */
#include <errno.h>
#include <string.h>

#include "vfe_layout.h"

static uint16_t *used_event(struct vfe_ring *r)
{
	return &r->avail->ring[r->size];
}

static const uint16_t *avail_event(const struct vfe_ring *r)
{
	return (const uint16_t *)(const void *)&r->used->ring[r->size];
}

/* Without EVENT_IDX the flag rules, with it the index does; a far one means "no call". */
static void split_want_call(struct vfe_ring *r, bool want)
{
	vfe_store16(&r->avail->flags, r->event_idx || want ? 0 : VFE_AVAIL_NO_INTERRUPT);
	if (r->event_idx)
		vfe_store16(used_event(r), (uint16_t)(r->last_used - (want ? 0 : 1)));
}

static void split_empty(struct vfe_ring *r)
{
	memset(r->desc, 0, r->size * sizeof(*r->desc));
	memset(r->avail, 0, sizeof(*r->avail) + 2U * r->size + 2);
	memset(r->used, 0, sizeof(*r->used) + 8U * r->size + 2);
	r->avail_idx = r->published = r->last_used = 0;
	r->base = 0;
	split_want_call(r, false);
}

static uint32_t split_position(const struct vfe_ring *r)
{
	return vfe_load16(&r->used->idx);
}

static void write_desc(const struct vfe *v, struct vfe_desc *d, const struct vfe_piece *p,
                       uint16_t flags, uint16_t next)
{
	*d = (struct vfe_desc){.addr = htole64(vfe_gpa(v, p->at)),
	                       .len = htole32(p->len),
	                       .flags = htole16(flags),
	                       .next = htole16(next)};
}

static void put_indirect(struct vfe_ring *r, uint16_t head, const struct vfe_piece *pieces,
                         uint16_t n)
{
	struct vfe_desc *table = &r->tables[(size_t)head * VFE_MAX_PIECES];
	struct vfe_piece whole = {.at = (char *)table, .len = n * (uint32_t)sizeof(*table)};
	uint16_t dir = r->rx ? VFE_DESC_WRITE : 0;

	for (uint16_t i = 0; i < n; i++)
		write_desc(r->v, &table[i], &pieces[i], dir | (i + 1 < n ? VFE_DESC_NEXT : 0),
		           i + 1 < n ? i + 1 : 0);
	write_desc(r->v, &r->desc[head], &whole, VFE_DESC_INDIRECT, 0);
}

static void put_chain(struct vfe_ring *r, uint16_t head, const struct vfe_piece *pieces, uint16_t n)
{
	uint16_t dir = r->rx ? VFE_DESC_WRITE : 0;
	uint16_t d = head;

	for (uint16_t i = 0; i < n; i++) {
		bool more = i + 1 < n;
		uint16_t next = more ? vfe_take_free(r) : 0;

		write_desc(r->v, &r->desc[d], &pieces[i], dir | (more ? VFE_DESC_NEXT : 0), next);
		r->slots[d].next = next;
		d = next;
	}
}

static void split_post(struct vfe_ring *r, uint16_t head, const struct vfe_piece *pieces,
                       uint16_t n, bool indirect)
{
	if (indirect)
		put_indirect(r, head, pieces, n);
	else
		put_chain(r, head, pieces, n);
	r->avail->ring[r->avail_idx % r->size] = htole16(head);
	r->avail_idx++;
}

static bool split_publish(struct vfe_ring *r)
{
	uint16_t old = r->published, now = r->avail_idx;

	if (old == now)
		return false;
	vfe_store16(&r->avail->idx, now);
	r->published = now;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (r->event_idx) /* virtio 1.3, 2.7.10: has the index passed the device's wish? */
		return (uint16_t)(now - vfe_load16(avail_event(r)) - 1) < (uint16_t)(now - old);
	return !(vfe_load16(&r->used->flags) & VFE_USED_NO_NOTIFY);
}

static bool split_is_used(const struct vfe_ring *r)
{
	return vfe_load16(&r->used->idx) != r->last_used;
}

/* How many completions wait, or -EPROTO when the used index leaves what was published. */
static int used_pending(struct vfe_ring *r)
{
	uint16_t idx = vfe_load16(&r->used->idx);
	uint16_t n = (uint16_t)(idx - r->last_used);

	if (n > (uint16_t)(r->published - r->last_used))
		return vfe_broken(r, "used index %u, but only %u..%u are in flight", idx,
		                  r->last_used, r->published);
	return n;
}

static int split_are_used(struct vfe_ring *r, uint16_t n)
{
	int pending = used_pending(r);

	return pending < 0 ? pending : pending >= n;
}

static int split_next(struct vfe_ring *r, struct vfe_used_buf *ret)
{
	int pending = used_pending(r);
	struct vfe_used_elem e;

	if (pending <= 0)
		return pending;
	e = r->used->ring[r->last_used % r->size];
	e.id = le32toh(e.id);
	e.len = le32toh(e.len);
	if (e.id >= r->size || !r->slots[e.id].in_flight)
		return vfe_broken(r, "used entry %u names descriptor %u, which is not in flight",
		                  r->last_used, e.id);
	*ret = (struct vfe_used_buf){.id = (uint16_t)e.id, .len = e.len};
	return r->in_order ? vfe_in_order_batch(r, e.id, (uint32_t)pending) : 1;
}

static void split_step(struct vfe_ring *r, uint16_t n, uint32_t n_desc)
{
	(void)n_desc;
	r->last_used += n;
}

static int split_check_base(struct vfe_ring *r, uint32_t base)
{
	uint16_t used = vfe_load16(&r->used->idx);
	uint16_t in_flight = (uint16_t)(r->published - used);

	if (base > UINT16_MAX || (uint16_t)(base - used) > in_flight)
		return vfe_broken(r, "GET_VRING_BASE: %u is not within %u..%u", base, used,
		                  r->published);
	return (uint16_t)(base - used);
}

const struct vfe_layout_ops vfe_split_ops = {
	.empty = split_empty,
	.position = split_position,
	.post = split_post,
	.publish = split_publish,
	.is_used = split_is_used,
	.are_used = split_are_used,
	.next = split_next,
	.step = split_step,
	.want_call = split_want_call,
	.check_base = split_check_base,
};
