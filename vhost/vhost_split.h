/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vhost_split.h - hot accessors of a split virtqueue (virtio 1.3, 2.7)
 *
 * A burst on a ring is: take avail entries and write used entries, then publish the used index
 * once, fence, and decide once whether the guest wants to be interrupted. Everything in between
 * touches only cache lines that the frame itself needs.
 *
 * Buffers are completed in the order in which they were taken (VIRTIO_F_IN_ORDER).
 */
#ifndef VHOST_SPLIT_H
#define VHOST_SPLIT_H

#include <string.h>
#include "vhost_vq.h"

/**
 * vhost_split_desc() - copy one descriptor
 *
 * Two 8-byte loads, each read once: every later check and use sees the same values, whatever the
 * guest does to its table meanwhile.
 */
static always_inline struct vhost_desc vhost_split_desc(const struct vring_desc *table, uint32_t i)
{
	const uint64_t *p = (const uint64_t *)(const void *)&table[i];
	uint64_t lo = le64toh(__atomic_load_n(p, __ATOMIC_RELAXED));
	uint64_t hi = le64toh(__atomic_load_n(p + 1, __ATOMIC_RELAXED));

	return vhost_desc_of(lo, hi, false);
}

/**
 * vhost_split_avail() - how many buffers the guest has made available and we have not taken
 * @want: look at guest memory only if fewer than this are known
 *
 * Return: 0..size. A larger jump of the index gives the ring up and returns 0.
 */
static always_inline uint32_t vhost_split_avail(struct vhost_vq *vq, const struct vhost_vq_map *map,
                                                uint32_t want)
{
	uint16_t n = (uint16_t)(vq->avail_seen - vq->last_avail);

	if (n >= want)
		return n;
	/* R: driver's release of idx; the entries and descriptors it covers are visible after it */
	vq->avail_seen = ring_load_acquire16(&map->avail->idx);
	n = (uint16_t)(vq->avail_seen - vq->last_avail);
	if (unlikely(n > map->size)) {
		vhost_vq_fail(vq, VHOST_VQ_BAD_AVAIL_IDX);
		vq->avail_seen = vq->last_avail;
		return 0;
	}
	return n;
}

/** vhost_split_head() - head of the avail entry at position @pos; may be out of range */
static always_inline uint16_t vhost_split_head(const struct vhost_vq_map *map, uint16_t pos)
{
	return ring_load_relaxed16(&map->avail->ring[pos & (map->size - 1)]);
}

/** vhost_split_put_used() - write used entry @pos in one store; visible after publication */
static always_inline void vhost_split_put_used(const struct vhost_vq_map *map, uint16_t pos,
                                               uint16_t head, uint32_t len)
{
	/* Used entries are 4-byte aligned only; the store may be torn, as nobody looks before the
	 * index is published. */
	uint64_t elem = htole64((uint64_t)len << 32 | head);

	memcpy(&map->used->ring[pos & (map->size - 1)], &elem, sizeof(elem));
}

/** vhost_split_take() - a buffer was handled: complete it and go on to the next */
static always_inline void vhost_split_take(struct vhost_vq *vq, const struct vhost_vq_map *map,
                                           uint16_t head, uint32_t len)
{
	vhost_split_put_used(map, vq->used_idx, head, len);
	vq->last_avail++;
	vq->used_idx++;
}

/** vhost_split_log_used() - used entries since the last publication, and the index, were written */
void vhost_split_log_used(const struct vhost_vq *vq, const struct vhost_vq_map *map);

/*
 * What a loop needs of a ring, in registers. Guest memory may alias anything, so a compiler has to
 * load and store a struct vhost_vq anew for each frame; a copy whose address nobody has, it keeps.
 */
struct vhost_split_hot {
	const struct vring_desc *desc;
	const uint8_t *avail; /* entries */
	uint8_t *used;        /* entries */
	const struct vhost_mem *mem;
	struct vhost_mem_hint hint;
	uint32_t mask;
	uint32_t next;        /* last_avail; counts on beyond 16 bits */
	uint32_t end;         /* the first that is not known to be available */
	uint32_t used_behind; /* used_idx is next minus this */
};

/** vhost_split_load() - begin a loop. The ring is the caller's until vhost_split_store(). */
static always_inline struct vhost_split_hot vhost_split_load(const struct vhost_vq *vq,
                                                             const struct vhost_vq_map *map)
{
	return (struct vhost_split_hot){
		.desc = map->desc,
		.avail = (const uint8_t *)map->avail->ring,
		.used = (uint8_t *)map->used->ring,
		.mem = map->mem,
		.hint = vq->hint,
		.mask = map->size - 1,
		.next = vq->last_avail,
		.end = vq->last_avail + (uint16_t)(vq->avail_seen - vq->last_avail),
		.used_behind = (uint16_t)(vq->last_avail - vq->used_idx),
	};
}

/** vhost_split_store() - end a loop, or interrupt it for a function that works on the ring itself
 */
static always_inline void vhost_split_store(struct vhost_vq *vq, const struct vhost_split_hot *hot)
{
	vq->hint = hot->hint;
	vq->last_avail = (uint16_t)hot->next;
	vq->used_idx = (uint16_t)(hot->next - hot->used_behind);
}

/** vhost_split_hot_head() - the head at position @next; only if one is known to be available */
static always_inline uint32_t vhost_split_hot_head(const struct vhost_split_hot *hot, uint32_t next)
{
	return ring_load_relaxed16(hot->avail + 2u * (next & hot->mask));
}

/** vhost_split_hot_put() - complete the buffer at position @next; the caller then counts it on */
static always_inline void vhost_split_hot_put(const struct vhost_split_hot *hot, uint32_t next,
                                              uint32_t head, uint32_t len)
{
	uint64_t elem = htole64((uint64_t)len << 32 | head);

	memcpy(hot->used + 8u * ((next - hot->used_behind) & hot->mask), &elem, sizeof(elem));
}

/** vhost_split_publish() - let the guest see the used entries written so far */
static always_inline void vhost_split_publish(struct vhost_vq *vq, const struct vhost_vq_map *map)
{
	/* W: driver's acquire of idx; entries and buffer contents first (2.7.8.2) */
	ring_store_release16(&map->used->idx, vq->used_idx);
	if (unlikely(map->inflight_idx))
		ring_store_relaxed16(map->inflight_idx, vq->used_idx);
	if (unlikely(map->log))
		vhost_split_log_used(vq, map);
}

/**
 * vhost_split_notify() - interrupt the guest if it asked for it
 *
 * The caller has published and then fenced: without the fence both sides may miss each other and
 * the guest sleeps on a full ring (2.7.7.2). The avail index shares a line with the flags, so it
 * is read too, and the next burst often need not touch that line.
 */
static always_inline void vhost_split_notify(struct vhost_vq *vq, const struct vhost_vq_map *map)
{
	uint16_t seen = ring_load_acquire16(&map->avail->idx);
	uint16_t n = (uint16_t)(seen - vq->last_avail), most;
	uint16_t old = vq->used_pub, now = vq->used_idx;
	bool want;

	if (n <= map->size) {
		vq->avail_seen = seen;
		most = (uint16_t)(n + (uint16_t)(now - old)); /* before the burst */
		vq->most = most > vq->most ? most : vq->most;
	}
	vq->used_pub = now;
	if (map->event_idx) {
		uint16_t event = ring_load_relaxed16(&map->avail->ring[map->size]);

		want = (uint16_t)(now - event - 1) < (uint16_t)(now - old);
	} else {
		want = !(ring_load_relaxed16(&map->avail->flags) & VRING_AVAIL_F_NO_INTERRUPT);
	}
	/* Virtio 1.3, 6.3: interrupts then "even though notifications are suppressed" */
	if (unlikely(map->notify_on_empty))
		want |= seen == vq->last_avail;
	if (want)
		vhost_vq_interrupt(vq, map);
}

/**
 * vhost_split_want_kicks() - ask the guest to kick, or not to bother
 *
 * Return: true if something became available meanwhile, so that the caller must not sleep.
 * Without a fence between the wish and the look, the guest's last frame could wait for ever.
 */
static inline bool vhost_split_want_kicks(struct vhost_vq *vq, const struct vhost_vq_map *map)
{
	if (map->event_idx) {
		ring_store_relaxed16(&map->used->ring[map->size], vq->last_avail);
		vhost_vq_wrote_used(map, &map->used->ring[map->size], sizeof(uint16_t));
	} else {
		ring_store_relaxed16(&map->used->flags, 0);
		vhost_vq_wrote_used(map, &map->used->flags, sizeof(map->used->flags));
	}
	vq->kicks = VHOST_KICKS_ON;
	ring_fence_full();
	return ring_load_acquire16(&map->avail->idx) != vq->last_avail;
}

static always_inline void vhost_split_no_kicks(struct vhost_vq *vq, const struct vhost_vq_map *map)
{
	if (likely(vq->kicks == VHOST_KICKS_OFF))
		return;
	/* With EVENT_IDX the guest kicks once when it passes avail_event, which then stays behind.
	 */
	if (!map->event_idx) {
		ring_store_relaxed16(&map->used->flags, VRING_USED_F_NO_NOTIFY);
		vhost_vq_wrote_used(map, &map->used->flags, sizeof(map->used->flags));
	}
	vq->kicks = VHOST_KICKS_OFF;
}

#endif
