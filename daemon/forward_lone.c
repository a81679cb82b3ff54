/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest's frame that comes alone, to another guest. Read forward.h first.
 *
 * Who sends one frame and waits for the answer wants it to arrive soon. The loop over a burst keeps
 * the state of two rings in registers, and that is worth loading and storing it for many frames
 * only. Here it stays where it is, nothing is prepared for a second frame, and everything that
 * nobody waits for happens after the indices are published: 570 instructions instead of 790.
 */
#include "forward_route.h"

/* The next buffer of a ring. False if there is none, or it is not one plain descriptor. */
static always_inline bool fwd_plain_buffer(struct vhost_vq *vq, const struct vhost_vq_map *map,
                                           uint16_t kind, struct fwd_plain *ret_buf)
{
	struct vhost_cursor cursor = vhost_ring_cursor(vq);
	bool empty;

	return fwd_plain_at(vq, map, &cursor, 0, kind, ret_buf, &empty);
}

static always_inline void fwd_take(struct vhost_vq *vq, const struct vhost_vq_map *map, uint16_t id,
                                   uint32_t len)
{
	vhost_ring_done(vq, map, (struct vhost_buf){.id = id, .slots = 1}, len);
}

bool fwd_lone_frame(struct fwd *f, struct fwd_guest_source *src, const struct vhost_vq_map *map)
{
	struct vhost_vq *vq = src->vq, *rx;
	const struct vhost_vq_map *rx_map;
	const uint8_t *hdr, *frame;
	struct fwd_plain from, room;
	struct fwd_target to;
	uint64_t w0, w1;
	uint32_t len;
	uint8_t *dst;

	if (map->hdr_len != FWD_HDR || !fwd_plain_buffer(vq, map, 0, &from) ||
	    from.len < FWD_HDR + FWD_SHORTEST || from.len > FWD_MAX_FRAME)
		return false;
	hdr = vhost_mem_gpa(map->mem, &vq->hint, from.gpa, from.len);
	if (!hdr)
		return false;
	len = from.len - FWD_HDR;
	frame = hdr + FWD_HDR;
	/* Read once: what is checked is what gets stored. */
	w0 = frame_load8(frame);
	w1 = frame_load8(frame + 8);
	if (!fwd_is_plain(src->port, src->port->own_macs_only, hdr, w0, w1))
		return false;
	to = fwd_find_route(f, src, w0 & FDB_MAC_MASK, frame, len);
	if (!to.vq || f->n_open)
		return false;
	rx = fwd_open_ring(f, f->route_port, to.vq);
	if (!rx)
		return false;
	rx_map = rx->open_map;
	if (rx->crowd || !fwd_is_fast_ring(rx_map) ||
	    !fwd_plain_buffer(rx, rx_map, VRING_DESC_F_WRITE, &room) || room.len < from.len)
		return false;
	dst = vhost_mem_gpa(rx_map->mem, &rx->hint, room.gpa, from.len);
	if (!dst)
		return false;

	fwd_put_hdr(dst, 1);
	fwd_put_frame(dst + FWD_HDR, w0, w1, frame, len);
	fwd_take(rx, rx_map, room.id, from.len);
	fwd_take(vq, map, from.id, 0);
	vhost_ring_publish(vq, map); /* first: see fwd_publish_rings() */
	vhost_ring_publish(rx, rx_map);
	counter_add(&rx->frames, 1);
	counter_add(&rx->bytes, len);
	counter_add(&vq->frames, 1);
	counter_add(&vq->bytes, len);
	counter_add(&vq->bursts, 1);
	fwd_remember_ring(src, rx, rx_map);
	src->few = true;
	src->waiting = false;
	src->blocked_since_ns = 0;
	ring_fence_full();
	fwd_close_ring(f, rx);
	f->n_open = 0;
	fwd_settle_source(f, vq, map);
	return true;
}
