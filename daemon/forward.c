/* SPDX-License-Identifier: BSD-2-Clause */
/* The hot half of forwarding. Read forward.h first, and forward_run.h. */
#include "forward_run.h"

/* Flags that decide whether a buffer of a packed ring is one plain descriptor */
#define FWD_PACKED_PLAIN (VHOST_DESC_KIND | VHOST_PACKED_BITS)

/*
 * The next buffer of the run's ring does not do for the frame: several of them perhaps. Returns
 * false if that needs the slow path, too.
 */
static always_inline bool fwd_now_merge(struct fwd_now *now, uint64_t w0, uint64_t w1,
                                        const uint8_t *frame, uint32_t len, bool *ret_empty)
{
	struct fwd_run *run = now->run;
	enum fwd_merge_result result;

	if (!run->map->mergeable || len < FWD_SHORTEST)
		return false;
	if (!run->packed) {
		run->rx.next = now->next;
		vhost_split_store(run->vq, &run->rx);
	}
	result = fwd_merge(run->vq, run->map, w0, w1, frame, len);
	if (!run->packed) {
		run->rx = vhost_split_load(run->vq, run->map);
		now->next = run->rx.next;
		now->end = run->keep ? now->next : run->rx.end;
	}
	*ret_empty = result == FWD_MERGE_EMPTY;
	return result != FWD_MERGE_SLOW;
}

/* The open ring has no buffer for a frame. */
static cold_noinline void fwd_drop_open(struct fwd *f, struct vhost_vq *vq)
{
	for (uint32_t i = 0; i < f->n_open; i++) {
		if (f->open[i] == vq)
			fwd_drop_no_buffer(f->open_ports[i], vq);
	}
}

/* Nothing is known to be available. Returns whether there is something after all. */
static always_inline bool fwd_now_more(struct fwd_now *now)
{
	struct fwd_run *run = now->run;

	run->rx.next = now->next;
	vhost_split_store(run->vq, &run->rx);
	if (unlikely(run->keep))
		now->end += fwd_crowd_spares(run->vq, run->map, run->keep);
	else
		now->end += vhost_split_avail(run->vq, run->map, 1);
	return now->next != now->end;
}

/*
 * The next buffer of the run's ring, if it is one descriptor with room for @len bytes in one
 * region. Returns NULL otherwise, and then *ret_empty tells "the ring is empty or was given up"
 * from "slow". The buffer is taken by fwd_now_take().
 */
static always_inline uint8_t *fwd_now_buffer(struct fwd_now *now, uint32_t len, uint32_t *ret_id,
                                             bool *ret_empty)
{
	struct fwd_run *run = now->run;
	struct vhost_split_hot *rx = &run->rx;
	struct vhost_desc d;
	uint32_t head;

	*ret_empty = false;
	if (run->packed) {
		struct vhost_vq *vq = run->vq;
		uint64_t word;

		if (unlikely(run->keep) && !fwd_crowd_spares(vq, run->map, run->keep)) {
			*ret_empty = true;
			return NULL;
		}
		word = vhost_packed_word(run->map, vq->last_avail);
		if (unlikely((vhost_packed_flags(word) & FWD_PACKED_PLAIN) !=
		                     (vq->avail_bits | VRING_DESC_F_WRITE) ||
		             (uint32_t)word < len)) {
			*ret_empty = !vhost_packed_is_avail(vq, word);
			return NULL;
		}
		*ret_id = (uint16_t)(word >> 32);
		return vhost_mem_gpa(run->map->mem, &vq->hint,
		                     vhost_packed_gpa(run->map, vq->last_avail), len);
	}
	if (unlikely(now->next == now->end) && !fwd_now_more(now)) {
		*ret_empty = true;
		return NULL;
	}
	head = vhost_split_hot_head(rx, now->next);
	if (unlikely(head > rx->mask))
		return NULL; /* the slow path finds the same and gives the ring up */
	d = vhost_split_desc(rx->desc, head);
	if (unlikely((d.flags & VHOST_DESC_KIND) != VRING_DESC_F_WRITE || d.len < len))
		return NULL;
	*ret_id = head;
	return vhost_mem_gpa(rx->mem, &rx->hint, d.gpa, len);
}

static always_inline void fwd_now_take(struct fwd_now *now, uint32_t id, uint32_t len)
{
	struct fwd_run *run = now->run;

	if (run->packed)
		vhost_packed_take(run->vq, run->map, (uint16_t)id, len);
	else
		vhost_split_hot_put(&run->rx, now->next++, id, len);
}

/* What a burst of a guest needs all the time. */
struct fwd_burst {
	struct fwd *f;
	struct fwd_guest_source *src;
	bool own_macs_only;
	uint64_t bytes; /* that the fast path has handled, without those of open runs */
	struct fwd_lot *lot;
};

/*
 * The run for a frame to another address than the last one's; NULL if it needs the slow path. After
 * fwd_now_leave().
 */
static __attribute__((noinline)) struct fwd_run *fwd_run_for(struct fwd_burst *burst, uint64_t mac,
                                                             const uint8_t *frame, uint32_t len)
{
	struct fwd_target to = fwd_find_route(burst->f, burst->src, mac, frame, len);

	if (!to.key)
		return NULL;
	if (to.vq)
		return fwd_lot_to_ring(burst->lot, burst->f, to, &burst->bytes);
	return fwd_lot_to_uplink(burst->lot, burst->f, burst->src, to, &burst->bytes);
}

/* The frame is for @mac. False if it needs the slow path. */
static always_inline bool fwd_now_change(struct fwd_burst *burst, struct fwd_now *now, uint64_t mac,
                                         const uint8_t *frame, uint32_t len)
{
	struct fwd_run *run = fwd_lot_find(burst->lot, mac);

	fwd_now_leave(now);
	if (!run)
		run = fwd_run_for(burst, mac, frame, len);
	return fwd_now_go(now, burst->lot, run);
}

/*
 * One frame of a guest. Returns false if it needs the slow path; nothing was done then.
 */
static always_inline bool fwd_guest_fast(struct fwd_burst *burst, struct fwd_now *now,
                                         const struct vhost_pair *tx)
{
	/*
	 * Each byte up to the 16th is read once, here: what was checked is what gets stored.
	 * w0: dst, src[0..1]; w1: src[2..5], ethertype, ...
	 */
	uint64_t w0 = frame_load8(tx->frame), w1 = frame_load8(tx->frame + 8);
	uint64_t mac = w0 & FDB_MAC_MASK;
	const uint32_t len = tx->len;
	uint32_t id;
	uint8_t *dst;
	bool empty;

	if (unlikely(!fwd_is_plain(burst->src->port, burst->own_macs_only, tx->hdr, w0, w1)))
		return false;
	if (unlikely(mac != now->key) && !fwd_now_change(burst, now, mac, tx->frame, len))
		return false;
	if (now->run->vq) {
		dst = fwd_now_buffer(now, len + FWD_HDR, &id, &empty);
		if (likely(dst)) {
			fwd_put_hdr(dst, 1);
			fwd_put_frame(dst + FWD_HDR, w0, w1, tx->frame, len);
			fwd_now_take(now, id, len + FWD_HDR);
		} else if (!empty && !fwd_now_merge(now, w0, w1, tx->frame, len, &empty)) {
			return false;
		}
		if (unlikely(empty)) {
			fwd_drop_open(burst->f, now->run->vq);
			burst->bytes += len;
			return true;
		}
	} else {
		struct fwd_run *run = now->run;

		if (unlikely(len < FWD_MIN_WIRE || len > run->max_frame))
			return false;
		dst = xsk_tx_reserve(run->q);
		if (unlikely(!dst))
			return false;
		fwd_put_frame(dst, w0, w1, tx->frame, len);
		xsk_tx_submit(run->q, len);
	}
	now->frames++;
	now->bytes += len;
	return true;
}

/* A ring that the front end has disabled: take what is there and throw it away. */
static cold_noinline uint32_t fwd_discard(struct fwd *f, struct fwd_guest_source *src,
                                          const struct vhost_vq_map *map)
{
	struct vhost_vq *vq = src->vq;
	uint32_t i;

	f->work = 0;
	for (i = 0; i < FWD_BURST && f->work < FWD_WORK; i++) {
		struct vhost_cursor cursor = vhost_ring_cursor(vq);
		struct vhost_buf buf = {0};
		enum vhost_vq_fault fault = vhost_ring_skip(vq, map, &cursor, &buf);

		if (fault != VHOST_VQ_OK && fault != VHOST_VQ_EMPTY)
			vhost_vq_fail(vq, fault);
		if (fault != VHOST_VQ_OK)
			break;
		f->work += buf.slots; /* each was looked at */
		vhost_ring_done(vq, map, buf, 0);
	}
	counter_add(&src->pq->from_drops[PORT_FROM_DISABLED], i);
	fwd_flush_rings(f, vq, map);
	return i;
}

/*
 * The next frame of a guest's transmit ring, if its buffer has one of the usual shapes; false if it
 * needs the slow path, or there is none: *ret_empty. The fast path takes @n_lengths lengths, from
 * FWD_SHORTEST on.
 */
static always_inline bool fwd_source_next(struct vhost_vq *vq, const struct vhost_vq_map *map,
                                          struct vhost_split_hot *hot, const bool packed,
                                          uint32_t n_lengths, struct vhost_pair *ret_tx,
                                          bool *ret_empty)
{
	uint32_t len; /* of header and frame */
	uint64_t gpa;

	*ret_empty = false;
	if (packed) {
		uint64_t word = vhost_packed_word(map, vq->last_avail);

		if (unlikely((vhost_packed_flags(word) & FWD_PACKED_PLAIN) != vq->avail_bits)) {
			struct vhost_pair odd; /* not *ret_tx, which lives in registers */

			*ret_empty = !vhost_packed_is_avail(vq, word);
			if (*ret_empty ||
			    !vhost_packed_pair(vq, map, vq->last_avail, word, FWD_HDR, &odd))
				return false;
			*ret_tx = odd;
			return odd.len - FWD_SHORTEST < n_lengths;
		}
		ret_tx->id = (uint16_t)(word >> 32);
		ret_tx->slots = 1;
		len = (uint32_t)word;
		gpa = vhost_packed_gpa(map, vq->last_avail);
	} else {
		uint32_t head = vhost_split_hot_head(hot, hot->next);
		struct vhost_desc d;

		if (unlikely(head > hot->mask))
			return false;
		d = vhost_split_desc(hot->desc, head);
		if (unlikely(d.flags & VHOST_DESC_KIND)) {
			struct vhost_pair odd;

			if (!vhost_split_pair(vq, map, d, FWD_HDR, &odd))
				return false;
			*ret_tx = odd;
			ret_tx->id = (uint16_t)head;
			return odd.len - FWD_SHORTEST < n_lengths;
		}
		ret_tx->id = (uint16_t)head;
		len = d.len;
		gpa = d.gpa;
	}
	ret_tx->len = len - FWD_HDR;
	if (unlikely(len - FWD_HDR - FWD_SHORTEST >= n_lengths))
		return false;
	if (packed)
		ret_tx->hdr = vhost_mem_gpa(map->mem, &vq->hint, gpa, len);
	else
		ret_tx->hdr = vhost_mem_gpa(hot->mem, &hot->hint, gpa, len);
	if (unlikely(!ret_tx->hdr))
		return false;
	ret_tx->frame = ret_tx->hdr + FWD_HDR;
	return true;
}

/*
 * Lines that the guests write before they make a frame available: a lone frame would wait for them
 * one after the other. So while lone frames are what comes, each look at the ring asks for these
 * lines, too. Not for those that we write and a guest reads: to take its transmit ring's used
 * index, whose line holds the flags that it reads after each frame, makes that guest wait and then
 * us. With long bursts all this is in vain.
 */
static always_inline void fwd_warm(const struct fwd_guest_source *src,
                                   const struct vhost_vq_map *map)
{
	if (!map->packed)
		ring_fetch(&map->avail->ring[src->vq->last_avail & (map->size - 1)]);
	ring_fetch(src->warm);
}

/* One burst; compiled once for each layout of the guest's ring. At most @n buffers are there. */
static always_inline uint32_t fwd_guest_burst(struct fwd *f, struct fwd_guest_source *src,
                                              const struct vhost_vq_map *map, const bool packed,
                                              uint32_t n)
{
	const uint32_t n_lengths =
		map->hdr_len == FWD_HDR ? FWD_MAX_FRAME - FWD_HDR - FWD_SHORTEST + 1 : 0;
	struct fwd_lot lot;
	struct fwd_burst burst = {
		.f = f, .src = src, .own_macs_only = src->port->own_macs_only, .lot = &lot};
	struct vhost_vq *vq = src->vq;
	enum fwd_result result = FWD_DONE;
	struct vhost_split_hot tx = {0};
	struct fwd_now now = fwd_now_begin(&lot);
	bool published;
	uint32_t i;

	f->work = 0;
	if (!packed)
		tx = vhost_split_load(vq, map);
	for (i = 0; i < n; i++) {
		struct vhost_pair frame;
		bool empty;

		if (unlikely(!fwd_source_next(vq, map, &tx, packed, n_lengths, &frame, &empty) ||
		             !fwd_guest_fast(&burst, &now, &frame))) {
			if (empty || f->work >= FWD_WORK)
				break;
			burst.bytes += fwd_now_close(&now, &lot);
			if (!packed)
				vhost_split_store(vq, &tx);
			result = fwd_guest_slow(f, src, map);
			if (!packed)
				tx = vhost_split_load(vq, map);
			if (result != FWD_DONE)
				break;
			continue;
		}
		if (packed)
			vhost_packed_take_slots(vq, map, frame.id, 0, frame.slots);
		else
			vhost_split_hot_put(&tx, tx.next++, frame.id, 0);
	}
	fwd_now_leave(&now);
	fwd_lot_store(&lot);
	if (!packed)
		vhost_split_store(vq, &tx);
	published = fwd_publish_rings(f, vq, map);
	/* What nobody waits for, while the indices are on their way */
	burst.bytes += fwd_lot_count(&lot);
	src->few = i < FWD_FEW;
	if (src->few && now.run->vq)
		fwd_remember_ring(src, now.run->vq, now.run->map);
	counter_add(&vq->frames, i);
	counter_add(&vq->bytes, burst.bytes);
	if (i)
		counter_add(&vq->bursts, 1);
	if (result == FWD_BLOCKED)
		f->blocked = true;
	else
		src->blocked_since_ns = 0;
	src->waiting = result == FWD_WAITING;
	fwd_settle_rings(f, vq, map, published);
	if (f->uplink_shared)
		fwd_flush_uplinks(f);
	return i;
}

/* Out of line, so that a look at a ring without frames needs no room for what a burst needs. */
static __attribute__((noinline)) uint32_t fwd_split_burst(struct fwd *f,
                                                          struct fwd_guest_source *src,
                                                          const struct vhost_vq_map *map,
                                                          uint32_t n)
{
	return fwd_guest_burst(f, src, map, false, min_u32(n, FWD_BURST));
}

static __attribute__((noinline)) uint32_t
fwd_packed_burst(struct fwd *f, struct fwd_guest_source *src, const struct vhost_vq_map *map)
{
	return fwd_guest_burst(f, src, map, true, FWD_BURST);
}

uint32_t fwd_from_guest(struct fwd *f, struct fwd_guest_source *src)
{
	struct vhost_vq *vq = src->vq;
	const struct vhost_vq_map *map = vhost_vq_get_map(vq);
	uint32_t n;

	if (unlikely(!map))
		return 0;
	if (src->few)
		fwd_warm(src, map);
	if (map->packed)
		n = vhost_packed_is_avail(vq, vhost_packed_word(map, vq->last_avail));
	else
		n = vhost_split_avail(vq, map, 1);
	if (!n) {
		src->blocked_since_ns = 0;
		src->waiting = false;
		f->fault |= unlikely(!vhost_vq_get_map(vq));
		return 0;
	}
	vhost_vq_use_map(vq, map);
	if (map->packed)
		vhost_packed_no_kicks(vq, map);
	else
		vhost_split_no_kicks(vq, map);
	if (unlikely(!map->enabled))
		return fwd_discard(f, src, map);
	if ((map->packed ? src->few && !vhost_packed_has(vq, map, 1) : n == 1) &&
	    fwd_lone_frame(f, src, map))
		return 1;
	if (map->packed) {
		fwd_crowd_source(f, &src->credit, 0);
		f->packed = vq;
		f->packed_map = map;
		n = fwd_packed_burst(f, src, map);
		fwd_crowd_end(f, n);
		return n;
	}
	fwd_crowd_source(f, &src->credit, n);
	return fwd_split_burst(f, src, map, n);
}

/* The run for a frame of a nic to another port than the last one's, as fwd_run_for() */
static __attribute__((noinline)) struct fwd_run *
fwd_run_from_nic(struct fwd *f, struct fwd_lot *lot, struct port *port, const uint8_t *frame,
                 uint32_t len)
{
	struct fwd_target to = fwd_route_to_port(f, port, (uintptr_t)port, false, 0, frame, len);
	uint64_t bytes = 0; /* counted as received from the nic, not as sent by a guest */

	return to.key ? fwd_lot_to_ring(lot, f, to, &bytes) : NULL;
}

/* One untagged unicast frame of a nic for @port. Returns false if it needs the slow path. */
static always_inline bool fwd_nic_fast(struct fwd *f, struct fwd_lot *lot, struct fwd_now *now,
                                       struct port *port, const uint8_t *data, uint32_t len)
{
	uint32_t id;
	uint8_t *dst;
	bool empty;

	if (unlikely((uintptr_t)port != now->key)) {
		struct fwd_run *run = fwd_lot_find(lot, (uintptr_t)port);

		fwd_now_leave(now);
		if (!run)
			run = fwd_run_from_nic(f, lot, port, data, len);
		if (!fwd_now_go(now, lot, run))
			return false;
	}
	dst = fwd_now_buffer(now, len + FWD_HDR, &id, &empty);
	if (likely(dst)) {
		fwd_put_hdr(dst, 1);
		frame_copy(dst + FWD_HDR, data, len);
		fwd_now_take(now, id, len + FWD_HDR);
	} else if (!empty && !fwd_now_merge(now, frame_load8(data), frame_load8(data + 8), data,
	                                    len, &empty)) {
		return false;
	}
	if (unlikely(empty)) {
		fwd_drop_open(f, now->run->vq);
		return true;
	}
	now->frames++;
	now->bytes += len;
	return true;
}

/* The steering program's word in front of the frame. Cleared, so that it is believed only once. */
static always_inline struct steer_meta fwd_take_meta(uint8_t *data)
{
	struct steer_meta meta;
	uint64_t word = frame_load8(data - sizeof(meta));

	static_assert(sizeof(meta) == sizeof(word), "metadata is read and cleared in one access");
	memcpy(&meta, &word, sizeof(meta));
	if (likely(word))
		frame_store8(data - sizeof(meta), 0);
	if (unlikely(meta.magic != STEER_META_MAGIC))
		return (struct steer_meta){0};
	return meta;
}

uint32_t fwd_from_nic(struct fwd *f, struct fwd_nic_source *src)
{
	const struct fdb *fdb = atomic_load_explicit(&src->nic->fdb, memory_order_acquire);
	struct fwd_lot lot;
	struct fwd_now now = fwd_now_begin(&lot);
	uint64_t bytes = 0;
	uint32_t pos, n;

	n = xsk_rx_peek(src->q, FWD_BURST, &pos);
	if (!n)
		return 0;
	f->work = 0;
	fwd_crowd_source(f, &src->credit, n);
	for (uint32_t i = 0; i < n; i++) {
		if (unlikely(f->work >= FWD_WORK)) {
			xsk_ring_cons__cancel(&src->q->rx, n - i);
			n = i;
			break;
		}
		struct xsk_frame fr = xsk_rx_frame(src->q, pos + i);
		struct port *port = fdb->dedicated;
		struct steer_meta meta = {0};

		/* A dedicated nic's program writes none; its line is not even looked at. */
		if (!port)
			meta = fwd_take_meta(fr.data);
		bytes += fr.len;
		if (likely(fr.len >= FWD_ETH_HLEN + 2)) {
			uint64_t w0 = frame_load8(fr.data), w1 = frame_load8(fr.data + 8);
			bool tagged = (uint16_t)(w1 >> 32) == FWD_ETHERTYPE_VLAN;

			if (!port && !tagged && !(w0 & FDB_GROUP_BIT)) {
				port = meta.port ? fdb_by_id(fdb, meta.port) : NULL;
				if (!port)
					port = fdb_lookup(fdb, w0 & FDB_MAC_MASK);
			}
			if (likely(port && !port->vlan) &&
			    likely(fwd_nic_fast(f, &lot, &now, port, fr.data, fr.len)))
				continue;
		}
		fwd_now_close(&now, &lot);
		fwd_nic_slow(f, src, fdb, fr.data, fr.len, meta.flags);
	}
	fwd_now_close(&now, &lot);
	counter_add(&src->counters->rx_frames, n);
	counter_add(&src->counters->rx_bytes, bytes);
	fwd_flush_rings(f, NULL, NULL);
	xsk_rx_release(src->q, pos, n);
	return n;
}
