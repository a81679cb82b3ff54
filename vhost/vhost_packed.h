/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vhost_packed.h - hot accessors of a packed virtqueue (virtio 1.3, 2.8)
 *
 * There is one ring of descriptors, which both sides write. A slot is available when its AVAIL bit
 * is the driver's wrap counter and its USED bit is not; it is used when both are the device's. The
 * counters start at 1 and flip at the end of each lap. We keep the two bits themselves instead of
 * the counters (avail_bits, used_bits), so that a look at a slot is one load and one compare.
 *
 * Publication: used descriptors of a burst are written as they come, but for the first, which is
 * held back. The driver takes them in order, so none is seen before the first is stored, and that
 * is the one store with release semantics.
 *
 * A buffer of several descriptors takes as many slots; its used descriptor is written to the first
 * of them, and both positions move by their number. Its id is in the last descriptor.
 *
 * Buffers are completed in the order in which they were taken (VIRTIO_F_IN_ORDER).
 */
#ifndef VHOST_PACKED_H
#define VHOST_PACKED_H

#include "vhost_vq.h"

#define VHOST_PACKED_AVAIL (1u << VRING_PACKED_DESC_F_AVAIL)
#define VHOST_PACKED_USED  (1u << VRING_PACKED_DESC_F_USED)
#define VHOST_PACKED_BITS  (VHOST_PACKED_AVAIL | VHOST_PACKED_USED)
/* The wrap counter in positions and in event offsets */
#define VHOST_PACKED_WRAP (1u << VRING_PACKED_EVENT_F_WRAP_CTR)

/**
 * vhost_packed_word() - length, id and flags of a slot, in one load
 *
 * Length in bits 0 to 31, id in 32 to 47, flags in 48 to 63. Whatever follows is read after it, so
 * the rest of an available slot is the driver's.
 */
static always_inline uint64_t vhost_packed_word(const struct vhost_vq_map *map, uint16_t slot)
{
	const uint64_t *p = (const uint64_t *)(const void *)&map->packed_desc[slot];

	/* R: driver's release of the flags */
	return le64toh(__atomic_load_n(p + 1, __ATOMIC_ACQUIRE));
}

static always_inline uint64_t vhost_packed_gpa(const struct vhost_vq_map *map, uint16_t slot)
{
	return le64toh(__atomic_load_n(&map->packed_desc[slot].addr, __ATOMIC_RELAXED));
}

static always_inline uint16_t vhost_packed_flags(uint64_t word)
{
	return (uint16_t)(word >> 48);
}

/** vhost_packed_is_avail() - does a slot with this word start a buffer that we have not taken? */
static always_inline bool vhost_packed_is_avail(const struct vhost_vq *vq, uint64_t word)
{
	return (vhost_packed_flags(word) & VHOST_PACKED_BITS) == vq->avail_bits;
}

/** vhost_packed_step() - move a position by @n slots, at most a lap, and flip its bits at the end
 */
static always_inline void vhost_packed_step(const struct vhost_vq_map *map, uint16_t *slot,
                                            uint16_t *bits, uint32_t n)
{
	uint32_t next = *slot + n;

	if (unlikely(next >= map->size)) {
		next -= map->size;
		*bits ^= VHOST_PACKED_BITS;
	}
	*slot = (uint16_t)next;
}

/** vhost_packed_has() - is the slot @n behind the next one available, too? @n: at most a lap */
static always_inline bool vhost_packed_has(const struct vhost_vq *vq,
                                           const struct vhost_vq_map *map, uint32_t n)
{
	uint16_t slot = vq->last_avail, bits = vq->avail_bits;

	vhost_packed_step(map, &slot, &bits, n);
	return (vhost_packed_flags(vhost_packed_word(map, slot)) & VHOST_PACKED_BITS) == bits;
}

/**
 * vhost_packed_put_used() - complete the next buffer, which takes @n slots
 * @len: bytes written to it; 0 for a buffer that the device only reads
 *
 * Visible after publication.
 */
static always_inline void vhost_packed_put_used(struct vhost_vq *vq, const struct vhost_vq_map *map,
                                                uint16_t id, uint32_t len, uint32_t n)
{
	/* Virtio 1.3, 2.8.4: without WRITE the driver ignores the length. */
	uint64_t flags = vq->used_bits | (len ? VRING_DESC_F_WRITE : 0u);
	uint64_t word = flags << 48 | (uint64_t)id << 32 | len;

	if (!vq->used_slots) {
		vq->first_slot = vq->used_idx;
		vq->first_used = word;
	} else {
		uint64_t *p = (uint64_t *)(void *)&map->packed_desc[vq->used_idx];

		__atomic_store_n(p + 1, htole64(word), __ATOMIC_RELAXED);
	}
	vq->used_slots = (uint16_t)(vq->used_slots + n);
	vhost_packed_step(map, &vq->used_idx, &vq->used_bits, n);
}

/** vhost_packed_take_slots() - a buffer of @n slots was handled: complete it, go on to the next */
static always_inline void vhost_packed_take_slots(struct vhost_vq *vq,
                                                  const struct vhost_vq_map *map, uint16_t id,
                                                  uint32_t len, uint32_t n)
{
	vhost_packed_put_used(vq, map, id, len, n);
	vhost_packed_step(map, &vq->last_avail, &vq->avail_bits, n);
}

/** vhost_packed_take() - the same for a buffer of one slot */
static always_inline void vhost_packed_take(struct vhost_vq *vq, const struct vhost_vq_map *map,
                                            uint16_t id, uint32_t len)
{
	vhost_packed_take_slots(vq, map, id, len, 1);
}

/** vhost_packed_position() - both positions as SET_VRING_BASE and GET_VRING_BASE carry them */
static always_inline uint32_t vhost_packed_position(const struct vhost_vq *vq)
{
	uint32_t avail =
		vq->last_avail | (vq->avail_bits == VHOST_PACKED_AVAIL ? VHOST_PACKED_WRAP : 0);
	uint32_t used = vq->used_idx | (vq->used_bits ? VHOST_PACKED_WRAP : 0);

	return used << 16 | avail;
}

/**
 * vhost_inflight_pos() - eight bytes of QueueRegionPacked: used_idx, old_used_idx, their wrap
 * counters
 * @old: first slot of a publication, @now: the slot behind it; bit 15: wrap counter
 */
static always_inline uint64_t vhost_inflight_pos(uint32_t old, uint32_t now)
{
	return htole64((now & 0x7fff) | (old & 0x7fff) << 16 | (uint64_t)(now >> 15) << 32 |
	               (uint64_t)(old >> 15) << 40);
}

/** vhost_packed_log_used() - used descriptors since the last publication were written */
void vhost_packed_log_used(const struct vhost_vq *vq, const struct vhost_vq_map *map);

/** vhost_packed_publish() - let the guest see the used descriptors written so far */
static always_inline void vhost_packed_publish(struct vhost_vq *vq, const struct vhost_vq_map *map)
{
	uint64_t *p = (uint64_t *)(void *)&map->packed_desc[vq->first_slot];
	/* USED is the uppermost flag, and the wrap counter of a used slot. */
	uint32_t first = vq->first_slot | (vq->first_used >> 63 ? VHOST_PACKED_WRAP : 0);
	uint32_t next = vhost_packed_position(vq) >> 16;

	/* Before the store below: should we die in between, the slot tells what has happened. */
	atomic_store_explicit(map->kept, first << 16 | next, memory_order_relaxed);
	if (unlikely(map->inflight_pos))
		__atomic_store_n(map->inflight_pos, vhost_inflight_pos(first, next),
		                 __ATOMIC_RELAXED);
	/* W: driver's acquire of the flags; other used descriptors and buffer contents first */
	__atomic_store_n(p + 1, htole64(vq->first_used), __ATOMIC_RELEASE);
	atomic_store_explicit(&vq->position, vhost_packed_position(vq), memory_order_relaxed);
	if (unlikely(map->log))
		vhost_packed_log_used(vq, map);
}

/**
 * vhost_packed_notify() - interrupt the guest if it asked for it
 *
 * The caller has published and then fenced, as for vhost_split_notify() (2.8.10).
 */
static always_inline void vhost_packed_notify(struct vhost_vq *vq, const struct vhost_vq_map *map)
{
	uint32_t event =
		le32toh(__atomic_load_n((uint32_t *)(void *)map->driver_event, __ATOMIC_RELAXED));
	uint16_t slots = vq->used_slots;

	vq->used_slots = 0;
	switch (event >> 16 & 3) {
	case VRING_PACKED_EVENT_FLAG_DISABLE:
		return;
	case VRING_PACKED_EVENT_FLAG_DESC:
		if (map->event_idx) {
			uint32_t at = event & (VHOST_PACKED_WRAP - 1);

			/* A slot of the last lap counts from before the ring's start. */
			if (!(event & VHOST_PACKED_WRAP) != !vq->used_bits)
				at -= map->size;
			if ((uint16_t)(vq->used_idx - at - 1) >= slots)
				return;
		}
		break;
	default:
		break;
	}
	vhost_vq_interrupt(vq, map);
}

/** vhost_packed_want_kicks() - as vhost_split_want_kicks() */
static inline bool vhost_packed_want_kicks(struct vhost_vq *vq, const struct vhost_vq_map *map)
{
	uint32_t event = VRING_PACKED_EVENT_FLAG_ENABLE << 16;

	if (map->event_idx)
		event = (vhost_packed_position(vq) & 0xffff) | VRING_PACKED_EVENT_FLAG_DESC << 16;
	__atomic_store_n((uint32_t *)(void *)map->device_event, htole32(event), __ATOMIC_RELAXED);
	vhost_vq_wrote_used(map, map->device_event, sizeof(*map->device_event));
	vq->kicks = VHOST_KICKS_ON;
	ring_fence_full();
	return vhost_packed_is_avail(vq, vhost_packed_word(map, vq->last_avail));
}

static always_inline void vhost_packed_no_kicks(struct vhost_vq *vq, const struct vhost_vq_map *map)
{
	if (likely(vq->kicks == VHOST_KICKS_OFF))
		return;
	ring_store_relaxed16(&map->device_event->flags, VRING_PACKED_EVENT_FLAG_DISABLE);
	vhost_vq_wrote_used(map, map->device_event, sizeof(*map->device_event));
	vq->kicks = VHOST_KICKS_OFF;
}

#endif
