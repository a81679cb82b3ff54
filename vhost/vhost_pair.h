/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vhost_pair.h - transmit buffers in two parts, for the hot path: virtio header, frame
 *
 * The forwarding loop takes the buffer that is one descriptor. Second to that come a descriptor for
 * the header and one for the frame, in the ring or in an indirect table, or both in the one entry
 * of such a table: drivers of Windows, BSD and boot firmware make them. What these functions
 * refuse, vhost_chain.h walks, and it knows what is wrong with it if anything is.
 *
 * Each descriptor is read once. Context: the worker that owns the ring. Nothing here allocates,
 * logs or blocks.
 */
#ifndef VHOST_PAIR_H
#define VHOST_PAIR_H

#include <string.h>
#include "vhost_packed.h"
#include "vhost_split.h"

/* Header and frame, each in one piece. */
struct vhost_pair {
	const uint8_t *hdr;
	const uint8_t *frame; /* @len bytes, > 0 */
	uint32_t len;
	uint16_t id;    /* split: head; packed: buffer id */
	uint16_t slots; /* packed: slots of the ring that the buffer takes */
};

/**
 * vhost_desc_at() - entry @i of an indirect table, whose alignment the guest chooses
 *
 * The empty asm statement keeps the compiler from reading the table a second time to get the values
 * back.
 */
static always_inline struct vhost_desc vhost_desc_at(const uint8_t *table, uint32_t i, bool packed)
{
	uint64_t word[2];

	memcpy(word, table + (size_t)i * sizeof(struct vring_desc), sizeof(word));
	__asm__ volatile("" : "+r"(word[0]), "+r"(word[1]) : : "memory");
	return vhost_desc_of(le64toh(word[0]), le64toh(word[1]), packed);
}

/* @hdr is the header alone and @frame the rest. */
static always_inline bool vhost_pair_of_two(struct vhost_vq *vq, const struct vhost_vq_map *map,
                                            struct vhost_desc hdr, struct vhost_desc frame,
                                            uint32_t hdr_len, struct vhost_pair *ret_pair)
{
	if (hdr.len != hdr_len || !frame.len)
		return false;
	ret_pair->hdr = vhost_mem_gpa(map->mem, &vq->hint, hdr.gpa, hdr_len);
	ret_pair->frame = vhost_mem_gpa(map->mem, &vq->hint, frame.gpa, frame.len);
	ret_pair->len = frame.len;
	return ret_pair->hdr && ret_pair->frame;
}

static always_inline bool vhost_pair_of_one(struct vhost_vq *vq, const struct vhost_vq_map *map,
                                            struct vhost_desc both, uint32_t hdr_len,
                                            struct vhost_pair *ret_pair)
{
	if (both.len <= hdr_len)
		return false;
	ret_pair->hdr = vhost_mem_gpa(map->mem, &vq->hint, both.gpa, both.len);
	if (!ret_pair->hdr)
		return false;
	ret_pair->frame = ret_pair->hdr + hdr_len;
	ret_pair->len = both.len - hdr_len;
	return true;
}

/* A table of one entry or of two */
static always_inline bool vhost_pair_in_table(struct vhost_vq *vq, const struct vhost_vq_map *map,
                                              struct vhost_desc outer, const bool packed,
                                              uint32_t hdr_len, struct vhost_pair *ret_pair)
{
	/* Of a packed table's entries WRITE says nothing (DPDK's driver sets it), nor does NEXT. */
	const uint16_t other = VRING_DESC_F_INDIRECT | (packed ? 0 : VRING_DESC_F_WRITE);
	const uint16_t next = packed ? 0 : VRING_DESC_F_NEXT;
	struct vhost_desc first, second;
	const uint8_t *table;

	if (!map->indirect || map->table_mem ||
	    (outer.len != 2 * sizeof(struct vring_desc) && outer.len != sizeof(struct vring_desc)))
		return false;
	table = vhost_mem_gpa(map->mem, &vq->hint, outer.gpa, outer.len);
	if (!table)
		return false;
	first = vhost_desc_at(table, 0, packed);
	if (outer.len == sizeof(struct vring_desc))
		return !(first.flags & (other | next)) &&
		       vhost_pair_of_one(vq, map, first, hdr_len, ret_pair);
	if ((first.flags & (other | next)) != next || (!packed && first.next != 1))
		return false;
	second = vhost_desc_at(table, 1, packed);
	return !(second.flags & (other | next)) &&
	       vhost_pair_of_two(vq, map, first, second, hdr_len, ret_pair);
}

/**
 * vhost_split_pair() - look at a buffer that starts with descriptor @first
 * @hdr_len: bytes of the virtio header
 * Return: false if it has another shape, or something is wrong with it.
 */
static always_inline bool vhost_split_pair(struct vhost_vq *vq, const struct vhost_vq_map *map,
                                           struct vhost_desc first, uint32_t hdr_len,
                                           struct vhost_pair *ret_pair)
{
	struct vhost_desc second;

	if (first.flags == VRING_DESC_F_INDIRECT)
		return vhost_pair_in_table(vq, map, first, false, hdr_len, ret_pair);
	if (first.flags != VRING_DESC_F_NEXT || first.next >= map->size)
		return false;
	second = vhost_split_desc(map->desc, first.next);
	return !second.flags && vhost_pair_of_two(vq, map, first, second, hdr_len, ret_pair);
}

/** vhost_packed_pair() - the same for the available buffer in slot @slot, whose word is @word */
static always_inline bool vhost_packed_pair(struct vhost_vq *vq, const struct vhost_vq_map *map,
                                            uint16_t slot, uint64_t word, uint32_t hdr_len,
                                            struct vhost_pair *ret_pair)
{
	struct vhost_desc first = vhost_desc_of(vhost_packed_gpa(map, slot), word, true);
	struct vhost_desc second;

	ret_pair->id = first.next;
	ret_pair->slots = 1;
	if ((first.flags & VHOST_DESC_KIND) == VRING_DESC_F_INDIRECT)
		return vhost_pair_in_table(vq, map, first, true, hdr_len, ret_pair);
	if ((first.flags & VHOST_DESC_KIND) != VRING_DESC_F_NEXT || map->size < 2)
		return false;
	slot = slot + 1u == map->size ? 0 : (uint16_t)(slot + 1);
	second = vhost_desc_of(vhost_packed_gpa(map, slot), vhost_packed_word(map, slot), true);
	ret_pair->id = second.next;
	ret_pair->slots = 2;
	return !(second.flags & VHOST_DESC_KIND) &&
	       vhost_pair_of_two(vq, map, first, second, hdr_len, ret_pair);
}

#endif
