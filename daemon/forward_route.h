/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * forward_route.h - where a guest's unicast frame goes
 *
 * Inline, for the loop over a burst (forward.c), which asks once per run of frames, and for frames
 * that come alone (forward_lone.c). Nothing is opened here: that may flush what a caller has open.
 */
#ifndef FORWARD_ROUTE_H
#define FORWARD_ROUTE_H

#include "forward_priv.h"

/*
 * Key of a run whose frames have to be asked for their flow, one by one. Equal to no address: so
 * such frames leave the loop for fwd_find_route(), and all others pay nothing for it.
 */
#define FWD_STEERED (1ull << 63)

/* Two words, for two registers. */
struct fwd_target {
	uint64_t key;        /* of a run to there; 0: slow path */
	struct vhost_vq *vq; /* ring of f->route_port, not open yet; NULL: the wire */
};

/**
 * fwd_route_to_port() - which ring of @port
 * @key: of the run, unless the port has several rings, or @steered
 */
static always_inline struct fwd_target fwd_route_to_port(struct fwd *f, struct port *port,
                                                         uint64_t key, bool steered, uint32_t hash,
                                                         const uint8_t *frame, uint32_t len)
{
	const struct port_rxset *set = fwd_rxset(port);
	struct fwd_target to = {.key = key};

	f->route_port = port;
	if (unlikely(!set->n))
		return (struct fwd_target){0};
	if (likely(set->n == 1)) {
		to.vq = set->vq[0];
	} else {
		to.vq = fwd_flow_ring(port, set, steered ? hash : flow_hash(frame, len));
		steered = true;
	}
	if (steered)
		to.key = FWD_STEERED;
	return to;
}

/** fwd_find_route() - where does @frame of @src, for the address @mac, go? */
static always_inline struct fwd_target fwd_find_route(struct fwd *f, struct fwd_guest_source *src,
                                                      uint64_t mac, const uint8_t *frame,
                                                      uint32_t len)
{
	bool learns = fwd_learns(src->port);
	uint32_t hash = 0;
	struct port *port;

	if (mac & FDB_GROUP_BIT)
		return (struct fwd_target){0};
	port = fdb_lookup_again(atomic_load_explicit(&src->port->nic->fdb, memory_order_acquire),
	                        fdb_key(mac, src->port->vlan), &src->last_place);
	if (port == src->port)
		return (struct fwd_target){0};
	if (learns) {
		hash = flow_hash(frame, len);
		flow_learn(src->port->flows, hash, src->vq->index / 2);
	}
	if (port && !fwd_is_away(port))
		return fwd_route_to_port(f, port, mac, learns, hash, frame, len);
	if (src->port->vlan)
		return (struct fwd_target){0}; /* needs a tag */
	return (struct fwd_target){.key = learns ? FWD_STEERED : mac};
}

/** fwd_is_fast_ring() - do frames to an open ring with this map need no more than the usual? */
static always_inline bool fwd_is_fast_ring(const struct vhost_vq_map *map)
{
	return map->hdr_len == FWD_HDR && !map->log;
}

/**
 * fwd_is_plain() - has a guest's frame no offloads, no tag, and an address that its port may use?
 * @hdr: its virtio header
 * @w0, @w1: its first 16 bytes
 */
static always_inline bool fwd_is_plain(const struct port *port, bool own_macs_only,
                                       const uint8_t *hdr, uint64_t w0, uint64_t w1)
{
	/* flags and gso_type */
	if (unlikely(frame_load2(hdr) || fwd_is_tag((uint16_t)(w1 >> 32))))
		return false;
	return likely(!own_macs_only) || port_owns(port, w0 >> 48 | (w1 & 0xffffffff) << 16);
}

/*
 * Ask for the lines of the buffer that the next frame to @vq will be written to: the guest may have
 * read or filled it last. What its descriptor says now decides nothing.
 */
static always_inline void fwd_fetch_buffer(struct vhost_vq *vq, const struct vhost_vq_map *map)
{
	struct vhost_desc d;
	uint32_t head;
	uint64_t off;

	if (map->packed) {
		d.gpa = vhost_packed_gpa(map, vq->last_avail);
	} else {
		head = vhost_split_head(map, vq->last_avail);
		if (head >= map->size)
			return;
		d = vhost_split_desc(map->desc, head);
	}
	off = d.gpa - vq->hint.gpa;
	if (off < vq->hint.size) {
		ring_fetch_to_write(vq->hint.host + off);
		ring_fetch_to_write(vq->hint.host + off + CACHE_LINE);
	}
}

/** fwd_remember_ring() - the frame just forwarded went to @vq: what fwd_warm() shall ask for */
static always_inline void fwd_remember_ring(struct fwd_guest_source *src, struct vhost_vq *vq,
                                            const struct vhost_vq_map *map)
{
	if (map->packed)
		src->warm = &map->packed_desc[vq->last_avail];
	else
		src->warm = &map->avail->ring[vq->last_avail & (map->size - 1)];
	fwd_fetch_buffer(vq, map);
}

#endif
