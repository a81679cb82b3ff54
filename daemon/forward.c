/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The hot half of forwarding. Read forward.h first.
 *
 * The loops keep the destination of the last frame (`struct fwd_run`): frames of a burst mostly go
 * to the same place. A run is closed, its counters written, when the destination changes, when the
 * slow path was called (it may have flushed the run's ring), and at the end of the burst.
 */
#include "forward_priv.h"

#define FWD_SHORTEST 32u /* header and frame: what is read before the copy, in 8-byte words */

/* Flags that decide whether a buffer is one plain descriptor */
#define FWD_SPLIT_PLAIN  (VRING_DESC_F_WRITE | VRING_DESC_F_NEXT | VRING_DESC_F_INDIRECT)
#define FWD_PACKED_PLAIN (FWD_SPLIT_PLAIN | VHOST_PACKED_BITS)

/*
 * Equal to no address: so frames of a steered run leave the loop for fwd_run_open(), and those of
 * all others pay nothing for it.
 */
#define FWD_STEERED (1ull << 63)

/* Where the last frame went. All zero: nowhere. */
struct fwd_run {
	/* Destination MAC, or FWD_STEERED if each frame has to be asked for its flow; not 0 */
	uint64_t key;
	struct port *port;   /* from a nic: destination, NULL if the run is steered */
	struct port *to;     /* whose ring it is */
	struct vhost_vq *vq; /* its open ring, or NULL */
	const struct vhost_vq_map *map;
	struct xsk_queue *q; /* or the nic's queue */
	uint32_t max_frame;
	_Atomic uint64_t *sum_frames, *sum_bytes; /* where the counts below go at the end */
	uint32_t frames, bytes;
	/* Steered: */
	uint64_t mac;
	const struct port_rxset *set;
	struct flow_table *learn; /* the sender's, if it has use for it */
};

static always_inline void fwd_run_close(struct fwd_run *run)
{
	if (run->frames) {
		counter_add(run->sum_frames, run->frames);
		counter_add(run->sum_bytes, run->bytes);
	}
	*run = (struct fwd_run){0};
}

/* A run to a port's ring. Leaves the run empty if that ring needs the slow path. */
static always_inline bool fwd_run_to_ring(struct fwd *f, struct fwd_run *run, struct port *port,
                                          struct vhost_vq *vq, uint64_t key)
{
	vq = fwd_open_ring(f, vq);
	if (!vq || vq->open_map->hdr_len != FWD_HDR || vq->open_map->log)
		return false;
	run->key = key;
	run->to = port;
	run->vq = vq;
	run->map = vq->open_map;
	run->sum_frames = &vq->frames;
	run->sum_bytes = &vq->bytes;
	return true;
}

/* The next frame of a steered run: note its flow for the sender, turn to the receiver's ring. */
static bool fwd_run_turn(struct fwd *f, struct fwd_run *run, uint32_t pair, const uint8_t *frame,
                         uint32_t len)
{
	uint32_t hash = flow_hash(frame, len);
	struct fwd_run was = *run;
	struct vhost_vq *vq;

	if (run->learn)
		flow_learn(run->learn, hash, pair);
	if (run->q)
		return true;
	vq = run->set->n > 1 ? fwd_flow_ring(run->to, run->set, hash) : run->set->vq[0];
	if (vq == run->vq)
		return true;
	fwd_run_close(run);
	if (!fwd_run_to_ring(f, run, was.to, vq, FWD_STEERED))
		return false;
	run->mac = was.mac;
	run->set = was.set;
	run->learn = was.learn;
	return true;
}

/* A run to @port. @mac: key of the run unless it is steered. */
static bool fwd_run_to_port(struct fwd *f, struct fwd_run *run, struct port *port, uint64_t mac,
                            struct flow_table *learn, uint32_t pair, const uint8_t *frame,
                            uint32_t len)
{
	const struct port_rxset *set = fwd_rxset(port);

	if (unlikely(!set->n))
		return false;
	if (set->n == 1 && !learn) {
		if (!fwd_run_to_ring(f, run, port, set->vq[0], mac))
			return false;
		run->port = port;
		return true;
	}
	run->key = FWD_STEERED;
	run->mac = mac;
	run->to = port;
	run->set = set;
	run->learn = learn;
	return fwd_run_turn(f, run, pair, frame, len);
}

/* A run to the wire. */
static bool fwd_run_to_uplink(struct fwd *f, struct fwd_run *run, struct fwd_guest_source *src,
                              uint64_t mac, struct flow_table *learn, const uint8_t *frame,
                              uint32_t len)
{
	const struct nic_view *view = nic_view_get(src->port->nic);
	uint32_t queue;

	if (src->port->vlan)
		return false; /* needs a tag */
	run->q = fwd_open_uplink(f, view, &queue);
	if (!run->q)
		return false;
	run->key = learn ? FWD_STEERED : mac;
	run->mac = mac;
	run->learn = learn;
	run->max_frame = view->max_frame;
	run->sum_frames = &src->nic_counters[queue].tx_frames;
	run->sum_bytes = &src->nic_counters[queue].tx_bytes;
	return !learn || fwd_run_turn(f, run, src->vq->index / 2, frame, len);
}

/*
 * Find out where @frame of @src, for the address @mac, goes; out of line, once per run unless that
 * is steered. Returns false if it needs the slow path; the run is empty then.
 */
static __attribute__((noinline)) bool fwd_run_open(struct fwd *f, struct fwd_run *run,
                                                   struct fwd_guest_source *src, uint64_t mac,
                                                   const uint8_t *frame, uint32_t len)
{
	uint32_t pair = src->vq->index / 2;
	struct flow_table *learn;
	struct port *port;

	if (run->key == FWD_STEERED && run->mac == mac)
		return fwd_run_turn(f, run, pair, frame, len);
	fwd_run_close(run);
	if (mac & FDB_GROUP_BIT)
		return false;
	port = fdb_lookup(atomic_load_explicit(&src->port->nic->fdb, memory_order_acquire),
	                  fdb_key(mac, src->port->vlan));
	if (port == src->port)
		return false;
	learn = fwd_learns(src->port) ? src->port->flows : NULL;
	if (port && !fwd_is_away(port))
		return fwd_run_to_port(f, run, port, mac, learn, pair, frame, len);
	return fwd_run_to_uplink(f, run, src, mac, learn, frame, len);
}

/*
 * The next buffer of an open ring, if it is one descriptor with room for @len bytes in one region.
 * Returns NULL otherwise, and then *ret_empty tells "the ring is empty or was given up" from
 * "slow". The buffer is taken by fwd_ring_take(). The branch on the layout goes the same way for a
 * whole run.
 */
static always_inline uint8_t *fwd_ring_next(struct vhost_vq *vq, const struct vhost_vq_map *map,
                                            uint32_t len, uint16_t *ret_id, bool *ret_empty)
{
	struct vhost_desc d;
	uint16_t head;

	*ret_empty = false;
	if (map->packed) {
		uint64_t word = vhost_packed_word(map, vq->last_avail);

		if (unlikely((vhost_packed_flags(word) & FWD_PACKED_PLAIN) !=
		                     (vq->avail_bits | VRING_DESC_F_WRITE) ||
		             (uint32_t)word < len)) {
			*ret_empty = !vhost_packed_is_avail(vq, word);
			return NULL;
		}
		*ret_id = (uint16_t)(word >> 32);
		return vhost_mem_gpa(map->mem, &vq->hint, vhost_packed_gpa(map, vq->last_avail),
		                     len);
	}
	if (unlikely(vq->last_avail == vq->avail_seen) && !vhost_split_avail(vq, map, 1)) {
		*ret_empty = true;
		return NULL;
	}
	head = vhost_split_head(map, vq->last_avail);
	if (unlikely(head >= map->size))
		return NULL; /* the slow path finds the same and gives the ring up */
	d = vhost_split_desc(map->desc, head);
	if (unlikely((d.flags & FWD_SPLIT_PLAIN) != VRING_DESC_F_WRITE || d.len < len))
		return NULL;
	*ret_id = head;
	return vhost_mem_gpa(map->mem, &vq->hint, d.gpa, len);
}

static always_inline void fwd_ring_take(struct vhost_vq *vq, const struct vhost_vq_map *map,
                                        uint16_t id, uint32_t len)
{
	if (map->packed)
		vhost_packed_take(vq, map, id, len);
	else
		vhost_split_take(vq, map, id, len);
}

static always_inline bool fwd_own_source(const struct port *port, uint64_t mac)
{
	for (uint32_t i = 0; i < port->n_macs; i++) {
		if (port->mac_keys[i] == mac)
			return true;
	}
	return false;
}

/*
 * One frame of a guest, whose buffer is one descriptor of @len bytes (virtio header and frame) at
 * @buf. Returns false if it needs the slow path; nothing was done then.
 */
static always_inline bool fwd_guest_fast(struct fwd *f, struct fwd_guest_source *src,
                                         struct fwd_run *run, const uint8_t *buf, uint32_t len)
{
	/*
	 * Each byte up to the 32nd is read once, here: what was checked is what gets stored.
	 * w0: flags, gso_type, ...; w1: ..., dst[0..3]; w2: dst[4..5], src; w3: ethertype, ...
	 */
	uint64_t w0 = frame_load8(buf), w1 = frame_load8(buf + 8);
	uint64_t w2 = frame_load8(buf + 16), w3 = frame_load8(buf + 24);
	uint64_t mac = w1 >> 32 | (w2 & 0xffff) << 32;
	uint32_t frame_len = len - FWD_HDR;
	uint16_t id;
	uint8_t *dst;
	bool empty;

	if (unlikely((w0 & 0xffff) || fwd_is_tag((uint16_t)w3)))
		return false;
	if (unlikely(src->port->own_macs_only) && !fwd_own_source(src->port, w2 >> 16))
		return false;
	if (unlikely(mac != run->key) && !fwd_run_open(f, run, src, mac, buf + FWD_HDR, frame_len))
		return false;
	if (run->vq) {
		dst = fwd_ring_next(run->vq, run->map, len, &id, &empty);
		if (unlikely(!dst)) {
			if (!empty)
				return false;
			fwd_drop_to(run->to, run->vq, PORT_TO_NO_BUFFER);
			return true;
		}
		frame_store8(dst, 0);
		/* csum_offset = 0, num_buffers = 1, and the first four bytes of the frame */
		frame_store8(dst + 8, (w1 & 0xffffffff00000000ull) | 0x00010000);
		frame_store8(dst + 16, w2);
		frame_store8(dst + 24, w3);
		frame_copy(dst + 32, buf + 32, len - 32);
		fwd_ring_take(run->vq, run->map, id, len);
	} else {
		if (unlikely(frame_len < FWD_MIN_WIRE || frame_len > run->max_frame))
			return false;
		dst = xsk_tx_reserve(run->q);
		if (unlikely(!dst))
			return false;
		frame_store4(dst, (uint32_t)(w1 >> 32));
		frame_store8(dst + 4, w2);
		frame_store8(dst + 12, w3);
		frame_copy(dst + 20, buf + 32, len - 32);
		xsk_tx_submit(run->q, frame_len);
	}
	run->frames++;
	run->bytes += frame_len;
	return true;
}

/* A ring that the front end has disabled: take what is there and throw it away. */
static uint32_t fwd_discard(struct fwd *f, struct fwd_guest_source *src,
                            const struct vhost_vq_map *map)
{
	struct vhost_vq *vq = src->vq;
	uint32_t i;

	for (i = 0; i < FWD_BURST; i++) {
		struct vhost_cursor cursor = vhost_ring_cursor(vq);
		struct vhost_buf buf;
		enum vhost_vq_fault fault = vhost_ring_skip(vq, map, &cursor, &buf);

		if (fault != VHOST_VQ_OK && fault != VHOST_VQ_EMPTY)
			vhost_vq_fail(vq, fault);
		if (fault != VHOST_VQ_OK)
			break;
		vhost_ring_done(vq, map, buf, 0);
	}
	counter_add(&src->pq->from_drops[PORT_FROM_DISABLED], i);
	fwd_flush_rings(f, vq, map);
	return i;
}

/*
 * The next buffer of a guest's transmit ring, if it is one plain descriptor in one region; NULL if
 * it needs the slow path, or there is none: *ret_empty.
 */
static always_inline const uint8_t *fwd_source_next(struct vhost_vq *vq,
                                                    const struct vhost_vq_map *map,
                                                    const bool packed, uint16_t *ret_id,
                                                    uint32_t *ret_len, bool *ret_empty)
{
	uint64_t gpa;

	*ret_empty = false;
	if (packed) {
		uint64_t word = vhost_packed_word(map, vq->last_avail);

		if (unlikely((vhost_packed_flags(word) & FWD_PACKED_PLAIN) != vq->avail_bits)) {
			*ret_empty = !vhost_packed_is_avail(vq, word);
			return NULL;
		}
		*ret_id = (uint16_t)(word >> 32);
		*ret_len = (uint32_t)word;
		gpa = vhost_packed_gpa(map, vq->last_avail);
	} else {
		uint16_t head = vhost_split_head(map, vq->last_avail);
		struct vhost_desc d;

		if (unlikely(head >= map->size))
			return NULL;
		d = vhost_split_desc(map->desc, head);
		if (unlikely(d.flags & FWD_SPLIT_PLAIN))
			return NULL;
		*ret_id = head;
		*ret_len = d.len;
		gpa = d.gpa;
	}
	if (unlikely(*ret_len < FWD_SHORTEST || *ret_len > FWD_MAX_FRAME ||
	             map->hdr_len != FWD_HDR))
		return NULL;
	return vhost_mem_gpa(map->mem, &vq->hint, gpa, *ret_len);
}

/* One burst; compiled once for each layout of the guest's ring. At most @n buffers are there. */
static always_inline uint32_t fwd_guest_burst(struct fwd *f, struct fwd_guest_source *src,
                                              const struct vhost_vq_map *map, const bool packed,
                                              uint32_t n)
{
	struct vhost_vq *vq = src->vq;
	enum fwd_result result = FWD_DONE;
	struct fwd_run run = {0};
	uint64_t bytes = 0;
	uint32_t i;

	f->work = 0;
	for (i = 0; i < n && f->work < FWD_WORK; i++) {
		const uint8_t *buf;
		uint32_t len;
		uint16_t id;
		bool empty;

		buf = fwd_source_next(vq, map, packed, &id, &len, &empty);
		if (unlikely(!buf || !fwd_guest_fast(f, src, &run, buf, len))) {
			if (empty)
				break;
			fwd_run_close(&run);
			result = fwd_guest_slow(f, src, map);
			if (result != FWD_DONE)
				break;
			continue;
		}
		bytes += len - FWD_HDR;
		if (packed)
			vhost_packed_take(vq, map, id, 0);
		else
			vhost_split_take(vq, map, id, 0);
	}
	fwd_run_close(&run);
	counter_add(&vq->frames, i);
	counter_add(&vq->bytes, bytes);
	if (i)
		counter_add(&vq->bursts, 1);
	if (result == FWD_BLOCKED)
		f->blocked = true;
	else
		src->blocked_since_ns = 0;
	src->waiting = result == FWD_WAITING;
	fwd_flush_rings(f, vq, map);
	if (f->uplink_shared)
		fwd_flush_uplinks(f);
	return i;
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
	if (map->packed)
		return fwd_packed_burst(f, src, map);
	return fwd_guest_burst(f, src, map, false, min_u32(n, FWD_BURST));
}

/* As fwd_run_open(), for a frame of a nic. */
static __attribute__((noinline)) bool fwd_nic_open(struct fwd *f, struct fwd_run *run,
                                                   struct port *port, const uint8_t *data,
                                                   uint32_t len)
{
	if (run->key == FWD_STEERED && run->to == port)
		return fwd_run_turn(f, run, 0, data, len);
	fwd_run_close(run);
	return fwd_run_to_port(f, run, port, 1, NULL, 0, data, len);
}

/* One untagged unicast frame of a nic for @port. Returns false if it needs the slow path. */
static always_inline bool fwd_nic_fast(struct fwd *f, struct fwd_run *run, struct port *port,
                                       const uint8_t *data, uint32_t len)
{
	uint16_t id;
	uint8_t *dst;
	bool empty;

	if (unlikely(port != run->port) && !fwd_nic_open(f, run, port, data, len))
		return false;
	dst = fwd_ring_next(run->vq, run->map, len + FWD_HDR, &id, &empty);
	if (unlikely(!dst)) {
		if (!empty)
			return false;
		fwd_drop_to(port, run->vq, PORT_TO_NO_BUFFER);
		return true;
	}
	frame_store8(dst, 0);
	frame_store4(dst + 8, 0x00010000); /* csum_offset = 0, num_buffers = 1 */
	frame_copy(dst + FWD_HDR, data, len);
	fwd_ring_take(run->vq, run->map, id, len + FWD_HDR);
	run->frames++;
	run->bytes += len;
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
	struct fwd_run run = {0};
	uint64_t bytes = 0;
	uint32_t pos, n;

	n = xsk_rx_peek(src->q, FWD_BURST, &pos);
	if (!n)
		return 0;
	f->work = 0;
	for (uint32_t i = 0; i < n; i++) {
		if (unlikely(f->work >= FWD_WORK)) {
			xsk_ring_cons__cancel(&src->q->rx, n - i);
			n = i;
			break;
		}
		struct xsk_frame fr = xsk_rx_frame(src->q, pos + i);
		struct steer_meta meta = fwd_take_meta(fr.data);
		struct port *port = fdb->dedicated;

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
			    likely(fwd_nic_fast(f, &run, port, fr.data, fr.len)))
				continue;
		}
		fwd_run_close(&run);
		fwd_nic_slow(f, src, fdb, fr.data, fr.len, meta.flags);
	}
	fwd_run_close(&run);
	counter_add(&src->counters->rx_frames, n);
	counter_add(&src->counters->rx_bytes, bytes);
	fwd_flush_rings(f, NULL, NULL);
	xsk_rx_release(src->q, pos, n);
	return n;
}
