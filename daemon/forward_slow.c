/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The slow half of forwarding: every frame that is not one plain descriptor. Read forward.h first.
 *
 * A frame becomes a list of segments. Its first bytes are copied to fwd.head once and replace the
 * original in the list, so that addresses and tags cannot change between the decision and the copy;
 * the payload behind them may, and decides nothing.
 */
#include <errno.h>
#include <stdlib.h>

#include "clock.h"
#include "csum.h"
#include "forward_priv.h"
#include "group_tap.h"

int fwd_new(uint32_t worker, uint32_t n_workers, struct fwd **ret_fwd)
{
	struct fwd *f =
		aligned_alloc(CACHE_LINE, (sizeof(*f) + CACHE_LINE - 1) & ~(CACHE_LINE - 1ul));

	if (!f)
		return -ENOMEM;
	*f = (struct fwd){.worker = worker, .tag = worker + 1, .n_workers = n_workers};
	/* Touched only as far as chains are long: costs address space, not memory. */
	f->frame_segs = calloc(FWD_MAX_SEGS + 1, sizeof(*f->frame_segs));
	f->buf_segs = calloc(FWD_MAX_SEGS, sizeof(*f->buf_segs));
	if (!f->frame_segs || !f->buf_segs) {
		fwd_free(f);
		return -ENOMEM;
	}
	*ret_fwd = f;
	return 0;
}

void fwd_free(struct fwd *f)
{
	if (!f)
		return;
	free(f->frame_segs);
	free(f->buf_segs);
	free(f);
}

/* ---- opening and closing destinations ------------------------------------------------------- */

struct vhost_vq *fwd_open_ring_slow(struct fwd *f, struct port *port, struct vhost_vq *vq)
{
	const struct vhost_vq_map *map;

	if (f->n_open == FWD_MAX_OPEN)
		fwd_flush_rings(f, NULL, NULL);
	if (f->n_workers == 1) {
		spin_mark(&vq->lock, f->tag);
	} else if (!spin_try(&vq->lock, f->tag)) {
		/* Never wait while holding: the holder may be waiting for one of ours. */
		fwd_flush_rings(f, NULL, NULL);
		spin_lock(&vq->lock, f->tag);
	}
	map = vhost_vq_get_map(vq);
	if (!map || !map->enabled) {
		spin_unlock(&vq->lock);
		return NULL;
	}
	vhost_vq_use_map(vq, map);
	vq->open_map = map;
	f->open_ports[f->n_open] = port;
	f->open[f->n_open++] = vq;
	return vq;
}

/* What a ring lacks, and will lack soon, goes to the control thread. */
cold_noinline void fwd_ask(struct fwd *f, struct vhost_vq *vq, const struct vhost_vq_map *map,
                           bool write)
{
	vhost_ring_look_ahead(vq, map, write);
	f->fault |= vhost_vq_ask(vq);
}

bool fwd_publish_rings(struct fwd *f, struct vhost_vq *src, const struct vhost_vq_map *src_map)
{
	bool any = false;

	/* First the source: should we die in between, its frames are lost, but none comes twice. */
	if (src && vhost_ring_is_dirty(src, src_map)) {
		vhost_ring_publish(src, src_map);
		any = true;
	}
	for (uint32_t i = 0; i < f->n_open; i++) {
		struct vhost_vq *vq = f->open[i];

		if (!vhost_ring_is_dirty(vq, vq->open_map))
			continue;
		vhost_ring_publish(vq, vq->open_map);
		any = true;
	}
	return any;
}

void fwd_settle_rings(struct fwd *f, struct vhost_vq *src, const struct vhost_vq_map *src_map,
                      bool published)
{
	/* F: the published indices before the guests' wishes below; see vhost_ring_notify() */
	if (published)
		ring_fence_full();
	for (uint32_t i = 0; i < f->n_open; i++)
		fwd_close_ring(f, f->open[i]);
	f->n_open = 0;
	if (src)
		fwd_settle_source(f, src, src_map);
}

void fwd_flush_rings(struct fwd *f, struct vhost_vq *src, const struct vhost_vq_map *src_map)
{
	fwd_settle_rings(f, src, src_map, fwd_publish_rings(f, src, src_map));
}

struct xsk_queue *fwd_open_uplink(struct fwd *f, const struct nic_view *view, uint32_t *ret_queue)
{
	bool shared = f->n_workers > view->n_queues;
	struct xsk_queue *q;

	if (!view->up || !view->n_queues)
		return NULL;
	*ret_queue = f->worker % view->n_queues;
	q = view->queues[*ret_queue];
	if (spin_is_mine(&q->tx_lock, f->tag))
		return q;
	if (f->n_uplinks == FWD_MAX_UPLINKS)
		fwd_flush_uplinks(f);
	if (!shared) {
		spin_mark(&q->tx_lock, f->tag);
	} else if (!spin_try(&q->tx_lock, f->tag)) {
		fwd_flush_uplinks(f);
		fwd_flush_rings(f, NULL, NULL);
		spin_lock(&q->tx_lock, f->tag);
	}
	f->uplinks[f->n_uplinks++] = q;
	f->uplink_shared |= shared;
	return q;
}

void fwd_flush_uplinks(struct fwd *f)
{
	for (uint32_t i = 0; i < f->n_uplinks; i++) {
		xsk_tx_flush(f->uplinks[i]);
		spin_unlock(&f->uplinks[i]->tx_lock);
	}
	f->n_uplinks = 0;
	f->uplink_shared = false;
}

/*
 * A chain may be as long as its ring (virtio 1.3, 2.7.5.3.1). QEMU's rings have 1024 entries at
 * most; only who has larger ones may keep a worker busy for longer with one frame.
 */
static uint32_t fwd_max_segs(const struct vhost_vq_map *map)
{
	return map->size <= FWD_FEW_SEGS / 2 ? FWD_FEW_SEGS
	                                     : map->size + (FWD_MAX_SEGS - VHOST_VQ_MAX_SIZE);
}

/* ---- to a guest ----------------------------------------------------------------------------- */

/* May a frame have one of the buffers that are left? */
static bool fwd_may_take(struct fwd *f, struct vhost_vq *vq, const struct vhost_vq_map *map)
{
	uint32_t keep = fwd_crowd_keep(f, vq);

	return !keep || fwd_crowd_spares(vq, map, keep);
}

/*
 * Take receive buffers until @need bytes fit, into f->bufs and @room. Returns their number, or 0
 * with nothing taken: dropped and counted; perhaps the ring was given up.
 */
static uint32_t fwd_gather(struct fwd *f, struct port *port, struct vhost_vq *vq,
                           const struct vhost_vq_map *map, uint32_t need, struct vhost_segs *room)
{
	struct vhost_cursor cursor = vhost_ring_cursor(vq);
	uint32_t n = 0;

	while (room->total < need) {
		uint64_t before = room->total;
		enum vhost_vq_fault fault;

		if (n == FWD_MAX_BUFS || (n && !map->mergeable)) {
			fwd_drop_to(port, vq, PORT_TO_TOO_BIG);
			return 0;
		}
		fault = vhost_ring_next(vq, map, &cursor, true, room, &f->bufs[n].buf);
		if (fault == VHOST_VQ_WAIT) {
			fwd_drop_to(port, vq, PORT_TO_GUEST_MEMORY);
			return 0;
		}
		if (fault == VHOST_VQ_EMPTY) {
			fwd_drop_no_buffer(port, vq);
			return 0;
		}
		if (fault == VHOST_VQ_OK && !n && room->total < map->hdr_len)
			fault = VHOST_VQ_BAD_LENGTH;
		if (fault != VHOST_VQ_OK) {
			vhost_vq_fail(vq, fault);
			fwd_drop_no_guest(port);
			return 0;
		}
		f->bufs[n].len = (uint32_t)(room->total - before);
		n++;
	}
	/* The last buffer is filled only as far as the frame goes. */
	f->bufs[n - 1].len -= (uint32_t)(room->total - need);
	return n;
}

/* Write to a guest's memory; a migration has to know where. */
static void fwd_write_guest(const struct vhost_vq_map *map, const struct vhost_segs *dst,
                            const struct vhost_segs *src, uint32_t len)
{
	vhost_segs_copy(dst, src, len);
	if (unlikely(map->log))
		vhost_segs_log(dst, map, len);
}

/* The first segment of a frame is a copy of its head; see fwd_frame_parse(). */
static uint32_t fwd_frame_hash(const struct fwd_frame *frame)
{
	return flow_hash(frame->segs.seg[0].base, frame->segs.seg[0].len);
}

static struct vhost_vq *fwd_frame_ring(const struct port *port, const struct port_rxset *set,
                                       const struct fwd_frame *frame)
{
	return set->n > 1 ? fwd_flow_ring(port, set, fwd_frame_hash(frame)) : set->vq[0];
}

/* Deliver a frame to a port's guest. Drops are counted where they belong. */
static void fwd_to_guest(struct fwd *f, struct port *port, const struct fwd_frame *frame)
{
	struct vhost_segs room = {.seg = f->buf_segs};
	const struct port_rxset *set = fwd_rxset(port);
	uint8_t hdr[FWD_HDR] = {0};
	struct vhost_seg hdr_seg = {.base = hdr};
	const struct vhost_vq_map *map;
	struct vhost_vq *vq;
	uint32_t n;

	vq = set->n ? fwd_open_ring(f, port, fwd_frame_ring(port, set, frame)) : NULL;
	if (!vq) {
		fwd_drop_no_guest(port);
		return;
	}
	map = vq->open_map;
	if (!fwd_may_take(f, vq, map)) {
		fwd_drop_no_buffer(port, vq);
		return;
	}
	room.max = fwd_max_segs(map);
	n = fwd_gather(f, port, vq, map, frame->len + map->hdr_len, &room);
	f->work += 1 + room.n + frame->len / 256;
	if (!n)
		return;
	hdr_seg.len = map->hdr_len;
	if (map->hdr_len == FWD_HDR) {
		hdr[10] = (uint8_t)n; /* num_buffers, little endian */
		hdr[11] = (uint8_t)(n >> 8);
	}
	fwd_write_guest(map, &room, &(struct vhost_segs){.seg = &hdr_seg, .n = 1}, map->hdr_len);
	vhost_segs_skip(&room, map->hdr_len);
	fwd_write_guest(map, &room, &frame->segs, frame->len);
	for (uint32_t i = 0; i < n; i++)
		vhost_ring_done(vq, map, f->bufs[i].buf, f->bufs[i].len);
	counter_add(&vq->frames, 1);
	counter_add(&vq->bytes, frame->len);
}

/* To every port of the broadcast domain but the sender. */
static void fwd_flood(struct fwd *f, const struct fdb *fdb, uint16_t vlan,
                      const struct port *sender, const struct fwd_frame *frame)
{
	const struct fdb_group *g = fdb_find_group(fdb, vlan);

	for (uint32_t i = 0; g && i < g->n; i++) {
		if (g->ports[i] != sender)
			fwd_to_guest(f, g->ports[i], frame);
	}
}

/* ---- to a nic ------------------------------------------------------------------------------- */

/* Bytes that a tag of @vlan adds: a priority tag of the guest's becomes that tag instead. */
static uint32_t fwd_tag_room(const struct fwd_frame *frame, uint16_t vlan)
{
	return vlan && !frame->tagged ? FWD_VLAN_HLEN : 0;
}

/* Write a frame into a transmit chunk, with the tag of @vlan unless that is 0. Returns its length.
 */
static uint32_t fwd_write_wire(uint8_t *dst, const struct fwd_frame *frame, uint16_t vlan)
{
	struct vhost_seg seg = {.base = dst, .len = frame->len};
	uint32_t len = frame->len;

	vhost_segs_copy(&(struct vhost_segs){.seg = &seg, .n = 1}, &frame->segs, len);
	if (fwd_tag_room(frame, vlan)) {
		memmove(dst + 12 + FWD_VLAN_HLEN, dst + 12, len - 12);
		dst[12] = 0x81;
		dst[13] = 0x00;
		dst[14] = 0;
		len += FWD_VLAN_HLEN;
	}
	if (vlan) {
		dst[14] = (uint8_t)((dst[14] & 0xf0) | vlan >> 8); /* its priority stays */
		dst[15] = (uint8_t)vlan;
	}
	/* Ethernet's shortest frame; zeros, not what the chunk held before. */
	if (len < FWD_MIN_WIRE) {
		memset(dst + len, 0, FWD_MIN_WIRE - len);
		len = FWD_MIN_WIRE;
	}
	return len;
}

/*
 * Wait for the nic, or has it been stuck for so long that its frames are dropped? Not if anybody's
 * frames found room meanwhile: those of the fast path, or of another guest.
 */
static enum fwd_result fwd_nic_is_full(struct fwd_guest_source *src, const struct xsk_queue *q)
{
	uint64_t now = clock_now_ns();

	if (!src->blocked_since_ns || src->blocked_at != xsk_tx_mark(q)) {
		src->blocked_since_ns = now;
		src->blocked_at = xsk_tx_mark(q);
	}
	if (now - src->blocked_since_ns < FWD_STALL_NS)
		return FWD_BLOCKED;
	fwd_drop_from(src, PORT_FROM_NIC_FULL);
	return FWD_DONE;
}

/* @may_wait: leave the frame in the guest's ring if the nic is full, instead of dropping it. */
static enum fwd_result fwd_to_wire(struct fwd *f, struct fwd_guest_source *src,
                                   const struct fwd_frame *frame, bool may_wait)
{
	struct port *port = src->port;
	const struct nic_view *view = nic_view_get(port->nic);
	struct nic_counters *counters;
	struct xsk_queue *q;
	uint32_t queue, len;
	uint8_t *dst;

	if (port->nic->conf->mode == CONF_NIC_INTERNAL) {
		if (may_wait) /* unicast: nobody else got it */
			fwd_drop_from(src, PORT_FROM_NO_ROUTE);
		return FWD_DONE;
	}
	q = fwd_open_uplink(f, view, &queue);
	if (!q) {
		fwd_drop_from(src, PORT_FROM_NIC_DOWN);
		return FWD_DONE;
	}
	if (frame->len + fwd_tag_room(frame, port->vlan) > view->max_frame) {
		fwd_drop_from(src, PORT_FROM_OVERSIZE);
		return FWD_DONE;
	}
	dst = xsk_tx_reserve(q);
	if (!dst) {
		/* Nothing was collected since the last round, or frames wait for a kick. */
		xsk_tx_flush(q);
		dst = xsk_tx_reserve(q);
	}
	if (!dst && may_wait)
		return fwd_nic_is_full(src, q);
	if (!dst) {
		fwd_drop_from(src, PORT_FROM_NIC_FULL);
		return FWD_DONE;
	}
	src->blocked_since_ns = 0;
	len = fwd_write_wire(dst, frame, port->vlan);
	xsk_tx_submit(q, len);
	counters = &src->nic_counters[queue];
	counter_add(&counters->tx_frames, 1);
	counter_add(&counters->tx_bytes, len);
	return FWD_DONE;
}

/* ---- from a guest --------------------------------------------------------------------------- */

/*
 * Put fwd.head in front of the segments in frame->segs (which start at f->frame_segs + 1) instead
 * of the bytes it is a copy of, and read the addresses from it. At least an Ethernet header is
 * there.
 */
static void fwd_frame_parse(struct fwd *f, struct fwd_frame *frame)
{
	uint32_t n = min_u32((uint32_t)frame->segs.total, FWD_HEAD);
	const uint8_t *h = f->head;
	uint16_t type;

	frame->len = (uint32_t)frame->segs.total;
	vhost_segs_read(&frame->segs, f->head, n);
	vhost_segs_skip(&frame->segs, n);
	frame->segs.seg--;
	frame->segs.seg[0] = (struct vhost_seg){.base = f->head, .len = n};
	frame->segs.n++;
	frame->segs.total += n;

	frame->dst = fdb_mac(h);
	frame->src = fdb_mac(h + 6);
	type = (uint16_t)(h[12] | h[13] << 8);
	frame->tagged = type == FWD_ETHERTYPE_VLAN && n >= FWD_ETH_HLEN + FWD_VLAN_HLEN;
	frame->stacked =
		frame->tagged ? fwd_is_tag((uint16_t)(h[16] | h[17] << 8)) : fwd_is_tag(type);
	frame->vid = frame->tagged ? (uint16_t)((h[14] & 0x0f) << 8 | h[15]) : 0;
}

/* Which rule forbids the guest to send this frame? Returns PORT_FROM_N if none does. */
static enum port_from_drop fwd_refusal(const struct port *port, const struct fwd_frame *frame)
{
	if (port->own_macs_only && !port_owns(port, frame->src))
		return PORT_FROM_SPOOFED;
	/* Only a port that has its nic for itself and is in no VLAN may choose tags. */
	if ((frame->vid || frame->stacked) &&
	    (port->vlan || port->nic->conf->mode != CONF_NIC_DEDICATED))
		return PORT_FROM_VLAN;
	return PORT_FROM_N;
}

static enum fwd_result fwd_guest_route(struct fwd *f, struct fwd_guest_source *src,
                                       const struct fwd_frame *frame)
{
	const struct fdb *fdb = atomic_load_explicit(&src->port->nic->fdb, memory_order_acquire);
	struct port *to;

	if (frame->dst & FDB_GROUP_BIT) {
		fwd_flood(f, fdb, src->port->vlan, src->port, frame);
		return fwd_to_wire(f, src, frame, false);
	}
	to = fdb_lookup(fdb, fdb_key(frame->dst, src->port->vlan));
	if (to == src->port) {
		fwd_drop_from(src, PORT_FROM_HAIRPIN);
		return FWD_DONE;
	}
	if (to && !fwd_is_away(to)) {
		fwd_to_guest(f, to, frame);
		return FWD_DONE;
	}
	return fwd_to_wire(f, src, frame, true);
}

/* What becomes of the frame in @segs, virtio header first */
static enum fwd_result fwd_guest_segs(struct fwd *f, struct fwd_guest_source *src,
                                      const struct vhost_vq_map *map, struct vhost_segs *segs)
{
	struct fwd_frame frame = {.segs = *segs};
	enum port_from_drop why;
	enum fwd_result result;
	uint8_t hdr[2];

	if (frame.segs.total < map->hdr_len + FWD_ETH_HLEN) {
		fwd_drop_from(src, PORT_FROM_MALFORMED);
		return FWD_DONE;
	}
	if (frame.segs.total > map->hdr_len + FWD_MAX_FRAME) {
		fwd_drop_from(src, PORT_FROM_OVERSIZE);
		return FWD_DONE;
	}
	vhost_segs_read(&frame.segs, hdr, sizeof(hdr));
	vhost_segs_skip(&frame.segs, map->hdr_len);
	if (hdr[0] || hdr[1]) { /* flags, gso_type */
		fwd_drop_from(src, PORT_FROM_OFFLOAD);
		return FWD_DONE;
	}
	fwd_frame_parse(f, &frame);
	why = fwd_refusal(src->port, &frame);
	if (why != PORT_FROM_N) {
		fwd_drop_from(src, why);
		return FWD_DONE;
	}
	if (fwd_learns(src->port))
		flow_learn(src->port->flows, fwd_frame_hash(&frame), src->vq->index / 2);
	result = fwd_guest_route(f, src, &frame);
	if (result == FWD_DONE)
		counter_add(&src->vq->bytes, frame.len);
	return result;
}

enum fwd_result fwd_guest_slow(struct fwd *f, struct fwd_guest_source *src,
                               const struct vhost_vq_map *map)
{
	struct vhost_segs segs = {.seg = f->frame_segs + 1, .max = fwd_max_segs(map)};
	struct vhost_cursor cursor = vhost_ring_cursor(src->vq);
	enum vhost_vq_fault fault;
	enum fwd_result result;
	struct vhost_buf buf;

	fault = vhost_ring_next(src->vq, map, &cursor, false, &segs, &buf);
	f->work += 1 + segs.n;
	if (fault == VHOST_VQ_EMPTY)
		return FWD_STOP;
	if (fault == VHOST_VQ_WAIT)
		return FWD_WAITING;
	if (fault != VHOST_VQ_OK) {
		vhost_vq_fail(src->vq, fault);
		return FWD_STOP;
	}
	result = fwd_guest_segs(f, src, map, &segs);
	if (result == FWD_DONE)
		vhost_ring_done(src->vq, map, buf, 0);
	return result;
}

/* ---- from a nic ----------------------------------------------------------------------------- */

/* Take the 802.1Q tag off: it must lie in fwd.head, which fwd_frame_parse() saw to. */
static void fwd_frame_untag(struct fwd *f, struct fwd_frame *frame)
{
	memmove(f->head + FWD_VLAN_HLEN, f->head, 12);
	frame->segs.seg[0].base += FWD_VLAN_HLEN;
	frame->segs.seg[0].len -= FWD_VLAN_HLEN;
	frame->segs.total -= FWD_VLAN_HLEN;
	frame->len -= FWD_VLAN_HLEN;
}

static void fwd_frame_of_bytes(struct fwd *f, const uint8_t *data, uint32_t len,
                               struct fwd_frame *frame)
{
	*frame = (struct fwd_frame){
		.segs = {.seg = f->frame_segs + 1, .n = 1, .max = 1, .total = len}};
	frame->segs.seg[0] = (struct vhost_seg){.base = (uint8_t *)(uintptr_t)data, .len = len};
	fwd_frame_parse(f, frame);
}

void fwd_nic_slow(struct fwd *f, struct fwd_nic_source *src, const struct fdb *fdb,
                  const uint8_t *data, uint32_t len, uint32_t meta_flags)
{
	const struct nic_view *view = nic_view_get(src->nic);
	struct fwd_frame frame;
	struct port *port = fdb->dedicated;

	if (len < FWD_ETH_HLEN) {
		counter_add(&src->counters->drops[NIC_DROP_MALFORMED], 1);
		return;
	}
	fwd_frame_of_bytes(f, data, len, &frame);
	if (port) {
		/* vlan 0: the guest sees every tag. Otherwise only its own VLAN, without the tag.
		 */
		if (port->vlan && frame.vid != port->vlan) {
			counter_add(&src->counters->drops[NIC_DROP_VLAN], 1);
			return;
		}
		if (port->vlan)
			fwd_frame_untag(f, &frame);
		fwd_to_guest(f, port, &frame);
		return;
	}
	if (meta_flags & STEER_META_GROUP && view->redirect)
		group_tap_send(view->redirect, data, len);
	if (frame.tagged)
		fwd_frame_untag(f, &frame);
	if (frame.dst & FDB_GROUP_BIT) {
		fwd_flood(f, fdb, frame.vid, NULL, &frame);
		return;
	}
	port = fdb_lookup(fdb, fdb_key(frame.dst, frame.vid));
	if (port)
		fwd_to_guest(f, port, &frame);
	else
		counter_add(&src->counters->drops[NIC_DROP_NO_PORT], 1);
}

uint32_t fwd_from_tap(struct fwd *f, struct nic *nic, struct group_tap *tap,
                      struct nic_counters *counters)
{
	const struct fdb *fdb = atomic_load_explicit(&nic->fdb, memory_order_acquire);
	struct group_frame g;
	struct fwd_frame frame;
	uint64_t bytes = 0;
	uint32_t n = 0;

	fwd_crowd_source(f, &f->others_credit, FWD_BURST); /* there is no telling how many */
	while (n < FWD_BURST && group_tap_peek(tap, &g)) {
		n++;
		bytes += g.len;
		if (g.len < FWD_ETH_HLEN) {
			counter_add(&counters->drops[NIC_DROP_MALFORMED], 1);
		} else {
			if (g.partial_csum)
				csum_finish(g.data, g.len, g.csum_start, g.csum_offset);
			fwd_frame_of_bytes(f, g.data, g.len, &frame);
			fwd_flood(f, fdb, g.vlan, NULL, &frame);
		}
		/* The rings hold their copy; the tap's slot may go. */
		group_tap_release(tap);
	}
	if (n) {
		counter_add(&counters->rx_frames, n);
		counter_add(&counters->rx_bytes, bytes);
		fwd_flush_rings(f, NULL, NULL);
	}
	return n;
}

/* A "reverse request" of RFC 903: own hardware address, no protocol addresses. As QEMU sends them.
 */
void fwd_announce(struct fwd *f, struct fwd_guest_source *src, uint64_t mac)
{
	const struct fdb *fdb = atomic_load_explicit(&src->port->nic->fdb, memory_order_acquire);
	uint8_t rarp[FWD_MIN_WIRE] = {
		[0] = 0xff,  0xff, 0xff, 0xff, 0xff, 0xff, /* to all */
		[12] = 0x80, 0x35, 0,    1,    0x08, 0x00, 6, 4, 0, 3,
	};
	struct fwd_frame frame;

	fwd_crowd_source(f, &f->others_credit, 1);
	for (uint32_t i = 0; i < 6; i++)
		rarp[6 + i] = rarp[22 + i] = rarp[32 + i] = (uint8_t)(mac >> 8 * i);
	fwd_frame_of_bytes(f, rarp, sizeof(rarp), &frame);
	fwd_flood(f, fdb, src->port->vlan, src->port, &frame);
	(void)fwd_to_wire(f, src, &frame, false);
	fwd_flush_rings(f, NULL, NULL);
}

const char *nic_drop_name(enum nic_drop reason)
{
	static const char *const names[] = {
		[NIC_DROP_MALFORMED] = "malformed",
		[NIC_DROP_NO_PORT] = "no-port",
		[NIC_DROP_VLAN] = "vlan",
	};

	static_assert(ARRAY_SIZE(names) == NIC_DROP_N, "a name for each reason");
	return names[reason];
}
