/* SPDX-License-Identifier: BSD-2-Clause */
/* forward_priv.h - what the hot and the slow half of forwarding share */
#ifndef FORWARD_PRIV_H
#define FORWARD_PRIV_H

#include "flow.h"
#include "forward.h"
#include "forward_crowd.h"
#include "frame_copy.h"
#include "spin.h"
#include "vhost_pair.h"
#include "vhost_ring.h"

/* Ethertypes of tags as they lie in memory, read little endian: 0x8100, 0x88a8, 0x9100 */
#define FWD_ETHERTYPE_VLAN  0x0081
#define FWD_ETHERTYPE_QINQ  0xa888
#define FWD_ETHERTYPE_QINQ2 0x0091

/* Length of struct virtio_net_hdr_mrg_rxbuf: VERSION_1 or MRG_RXBUF. The fast path's only header.
 */
#define FWD_HDR 12u

#define FWD_SHORTEST 16u /* bytes of a frame: what is read before the copy, in 8-byte words */

/* A frame as the slow path handles it. */
struct fwd_frame {
	struct vhost_segs segs; /* its bytes; the first min(len, FWD_HEAD) are fwd.head */
	uint32_t len;           /* without virtio header */
	uint64_t dst, src;      /* MACs, see fdb.h */
	uint16_t vid;           /* of its 802.1Q tag, 0: none or priority tag */
	bool tagged;
	bool stacked; /* another tag in front of that one, or behind it */
};

static always_inline bool fwd_is_tag(uint16_t type)
{
	return type == FWD_ETHERTYPE_VLAN || type == FWD_ETHERTYPE_QINQ ||
	       type == FWD_ETHERTYPE_QINQ2;
}

/** fwd_put_hdr() - the virtio header of a frame without offloads: all zero, but num_buffers */
static always_inline void fwd_put_hdr(uint8_t *dst, uint16_t n_buffers)
{
	frame_store8(dst, 0);
	frame_store4(dst + 8, (uint32_t)n_buffers << 16); /* csum_offset, num_buffers */
}

/**
 * fwd_put_frame() - the first @len bytes of a frame, FWD_SHORTEST at least
 * @w0, @w1: its first FWD_SHORTEST bytes, as they were checked
 */
static always_inline void fwd_put_frame(uint8_t *dst, uint64_t w0, uint64_t w1,
                                        const uint8_t *frame, uint32_t len)
{
	static_assert(FWD_SHORTEST == 2 * sizeof(w0), "two words");
	frame_store8(dst, w0);
	frame_store8(dst + 8, w1);
	frame_copy(dst + FWD_SHORTEST, frame + FWD_SHORTEST, len - FWD_SHORTEST);
}

/** fwd_drop_from() - count a frame of a guest as dropped */
static inline void fwd_drop_from(struct fwd_guest_source *src, enum port_from_drop why)
{
	counter_add(&src->pq->from_drops[why], 1);
}

static inline void fwd_drop_to(struct port *port, const struct vhost_vq *vq, enum port_to_drop why)
{
	counter_add(&port->queues[vq->index].to_drops[why], 1);
}

/** fwd_drop_no_buffer() - an open ring has no buffer for a frame, or none for this source */
static inline void fwd_drop_no_buffer(struct port *port, struct vhost_vq *vq)
{
	fwd_drop_to(port, vq, PORT_TO_NO_BUFFER);
	vq->crowd |= VHOST_VQ_LOST;
}

static inline void fwd_drop_no_guest(struct port *port)
{
	atomic_fetch_add_explicit(&port->to_no_guest, 1, memory_order_relaxed);
}

struct vhost_vq *fwd_open_ring_slow(struct fwd *f, struct port *port, struct vhost_vq *vq);

/** fwd_rxset() - the rings of @port that take frames; good for this burst */
static always_inline const struct port_rxset *fwd_rxset(const struct port *port)
{
	return atomic_load_explicit(&((struct port *)(uintptr_t)port)->rxset, memory_order_acquire);
}

/**
 * fwd_flow_ring() - the ring for frames of one flow to @port
 * @set: of that port, with at least one ring
 * @hash: flow_hash() of the frame
 *
 * All frames of a flow to one ring, so that they stay in order: that of the queue pair on which the
 * guest sends the flow, else one that its hash picks.
 */
static inline struct vhost_vq *fwd_flow_ring(const struct port *port, const struct port_rxset *set,
                                             uint32_t hash)
{
	uint32_t pair = flow_pair(port->flows, hash);
	uint32_t slot = pair ? set->slot[pair - 1] : 0;

	return set->vq[slot ? slot - 1 : (uint64_t)hash * set->n >> 32];
}

/** fwd_learns() - does @port have use for where its guest's flows are sent? */
static inline bool fwd_learns(const struct port *port)
{
	return port->flows && fwd_rxset(port)->n > 1;
}

/** fwd_opens_at_once() - can a ring that is not open be opened without flushing those that are? */
static always_inline bool fwd_opens_at_once(const struct fwd *f)
{
	return f->n_workers == 1 && f->n_open < FWD_MAX_OPEN;
}

/**
 * fwd_open_ring() - open a receive ring of @port for this worker
 *
 * While it is open, its map is vq->open_map. Opening another ring may close this one.
 * Return: NULL if it takes no frames.
 */
static always_inline struct vhost_vq *fwd_open_ring(struct fwd *f, struct port *port,
                                                    struct vhost_vq *vq)
{
	return spin_is_mine(&vq->lock, f->tag) ? vq : fwd_open_ring_slow(f, port, vq);
}

/**
 * fwd_is_away() - is this port's guest not here, and to be looked for behind the nic?
 *
 * It may run on another host, after a migration or before one, while both have it configured.
 */
static always_inline bool fwd_is_away(const struct port *port)
{
	return !fwd_rxset(port)->n && port->nic->conf->mode != CONF_NIC_INTERNAL;
}

void fwd_ask(struct fwd *f, struct vhost_vq *vq, const struct vhost_vq_map *map, bool write);

static always_inline bool fwd_has_failed(const struct vhost_vq *vq)
{
	return atomic_load_explicit(&vq->fault, memory_order_relaxed) != VHOST_VQ_OK;
}

/** fwd_close_ring() - interrupt and close an open ring; published and fenced before. See below. */
static always_inline void fwd_close_ring(struct fwd *f, struct vhost_vq *vq)
{
	const struct vhost_vq_map *map = vq->open_map;

	if (vhost_ring_is_dirty(vq, map)) {
		vhost_ring_notify(vq, map);
		counter_add(&vq->bursts, 1);
	}
	if (unlikely(map->partial || map->late_mem))
		fwd_ask(f, vq, map, true);
	f->fault |= fwd_has_failed(vq);
	vq->open_map = NULL;
	spin_unlock(&vq->lock);
}

/** fwd_settle_source() - the same for the ring that frames came from */
static always_inline void fwd_settle_source(struct fwd *f, struct vhost_vq *src,
                                            const struct vhost_vq_map *map)
{
	if (vhost_ring_is_dirty(src, map))
		vhost_ring_notify(src, map);
	if (unlikely(map->partial || map->late_mem))
		fwd_ask(f, src, map, false);
	f->fault |= fwd_has_failed(src);
}

/**
 * fwd_publish_rings() - let guests see what was done on @src, if there is one, and all open rings
 * Return: true if there was anything. fwd_settle_rings() has to follow.
 */
bool fwd_publish_rings(struct fwd *f, struct vhost_vq *src, const struct vhost_vq_map *src_map);

/** fwd_settle_rings() - fence, if something was @published; interrupt; close the open rings */
void fwd_settle_rings(struct fwd *f, struct vhost_vq *src, const struct vhost_vq_map *src_map,
                      bool published);

/** fwd_flush_rings() - both, one after the other */
void fwd_flush_rings(struct fwd *f, struct vhost_vq *src, const struct vhost_vq_map *src_map);

/**
 * fwd_open_uplink() - the transmit queue of @nic that this worker uses
 * @ret_queue: its number, for counters
 * Return: NULL if the nic is down or has no wire.
 */
struct xsk_queue *fwd_open_uplink(struct fwd *f, const struct nic_view *view, uint32_t *ret_queue);

/* A buffer of one descriptor, as it was read. */
struct fwd_plain {
	uint64_t gpa;
	uint32_t len;
	uint16_t id; /* split: head; packed: buffer id */
};

/**
 * fwd_plain_at() - the buffer at @cursor, and on to the next one
 * @ahead: buffers between the ring's next one and @cursor
 * @kind: what its flags of VHOST_DESC_KIND must be
 * @ret_empty: tells "there is none, or the ring was given up" from "another shape"
 * Return: false if there is none, or it is not one descriptor of that kind.
 */
static always_inline bool fwd_plain_at(struct vhost_vq *vq, const struct vhost_vq_map *map,
                                       struct vhost_cursor *cursor, uint32_t ahead, uint16_t kind,
                                       struct fwd_plain *ret_buf, bool *ret_empty)
{
	struct vhost_desc d;

	*ret_empty = false;
	if (map->packed) {
		uint64_t word = vhost_packed_word(map, cursor->pos);

		if ((vhost_packed_flags(word) & VHOST_PACKED_BITS) != cursor->bits) {
			*ret_empty = true;
			return false;
		}
		d = vhost_desc_of(vhost_packed_gpa(map, cursor->pos), word, true);
		ret_buf->id = d.next;
		vhost_packed_step(map, &cursor->pos, &cursor->bits, 1);
	} else {
		if (ahead >= vhost_split_avail(vq, map, ahead + 1)) {
			*ret_empty = true;
			return false;
		}
		ret_buf->id = vhost_split_head(map, cursor->pos++);
		if (ret_buf->id >= map->size)
			return false;
		d = vhost_split_desc(map->desc, ret_buf->id);
	}
	ret_buf->gpa = d.gpa;
	ret_buf->len = d.len;
	return (d.flags & VHOST_DESC_KIND) == kind;
}

enum fwd_merge_result {
	FWD_MERGE_DONE,
	FWD_MERGE_EMPTY, /* the ring has not that many buffers: nothing was taken */
	FWD_MERGE_SLOW,  /* its buffers have other shapes: nothing was taken */
};

/**
 * fwd_merge() - write a frame to as many plain buffers of an open ring as it needs
 * @map: mergeable, with headers of FWD_HDR bytes
 * @w0, @w1: the first FWD_SHORTEST bytes of the frame, as they were checked
 * @frame, @len: all of it, and its length: FWD_SHORTEST at least
 */
enum fwd_merge_result fwd_merge(struct vhost_vq *vq, const struct vhost_vq_map *map, uint64_t w0,
                                uint64_t w1, const uint8_t *frame, uint32_t len);

/**
 * fwd_lone_frame() - forward the next frame of a guest, if it goes to a guest and is plain
 * Return: false if it is not; nothing was done then, but that its destination may be open.
 */
bool fwd_lone_frame(struct fwd *f, struct fwd_guest_source *src, const struct vhost_vq_map *map);

/**
 * fwd_guest_slow() - forward the next frame of a guest, whatever its shape
 *
 * With FWD_DONE its buffer is completed; otherwise nothing was taken from the ring.
 */
enum fwd_result fwd_guest_slow(struct fwd *f, struct fwd_guest_source *src,
                               const struct vhost_vq_map *map);
void fwd_nic_slow(struct fwd *f, struct fwd_nic_source *src, const struct fdb *fdb,
                  const uint8_t *data, uint32_t len, uint32_t meta_flags);

#endif
