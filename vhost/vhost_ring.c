/* SPDX-License-Identifier: BSD-2-Clause */
#include "vhost_ring.h"

enum vhost_vq_fault vhost_ring_next(struct vhost_vq *vq, const struct vhost_vq_map *map,
                                    struct vhost_cursor *cursor, bool write,
                                    struct vhost_segs *segs, struct vhost_buf *ret_buf)
{
	enum vhost_vq_fault fault;
	uint32_t ahead;

	if (map->packed) {
		uint64_t word = vhost_packed_word(map, cursor->pos);

		if ((vhost_packed_flags(word) & VHOST_PACKED_BITS) != cursor->bits)
			return VHOST_VQ_EMPTY;
		fault = vhost_packed_chain(vq, map, cursor->pos, write, segs, &ret_buf->id,
		                           &ret_buf->slots);
		if (fault == VHOST_VQ_OK)
			vhost_packed_step(map, &cursor->pos, &cursor->bits, ret_buf->slots);
		return fault;
	}
	ahead = (uint16_t)(cursor->pos - vq->last_avail);
	if (ahead >= vhost_split_avail(vq, map, ahead + 1))
		return VHOST_VQ_EMPTY;
	ret_buf->id = vhost_split_head(map, cursor->pos);
	fault = vhost_split_chain(vq, map, ret_buf->id, write, segs);
	if (fault == VHOST_VQ_OK)
		cursor->pos++;
	return fault;
}

static enum vhost_vq_fault skip_packed(const struct vhost_vq_map *map, struct vhost_cursor *cursor,
                                       struct vhost_buf *ret_buf)
{
	uint64_t word = vhost_packed_word(map, cursor->pos);
	uint32_t i = cursor->pos;

	if ((vhost_packed_flags(word) & VHOST_PACKED_BITS) != cursor->bits)
		return VHOST_VQ_EMPTY;
	for (uint32_t walked = 1; walked <= map->size; walked++) {
		if (!(vhost_packed_flags(word) & VRING_DESC_F_NEXT)) {
			*ret_buf = (struct vhost_buf){.id = (uint16_t)(word >> 32),
			                              .slots = (uint16_t)walked};
			vhost_packed_step(map, &cursor->pos, &cursor->bits, walked);
			return VHOST_VQ_OK;
		}
		i = i + 1 == map->size ? 0 : i + 1;
		word = vhost_packed_word(map, (uint16_t)i);
	}
	return VHOST_VQ_BAD_CHAIN;
}

enum vhost_vq_fault vhost_ring_skip(struct vhost_vq *vq, const struct vhost_vq_map *map,
                                    struct vhost_cursor *cursor, struct vhost_buf *ret_buf)
{
	uint32_t ahead;

	if (map->packed)
		return skip_packed(map, cursor, ret_buf);
	ahead = (uint16_t)(cursor->pos - vq->last_avail);
	if (ahead >= vhost_split_avail(vq, map, ahead + 1))
		return VHOST_VQ_EMPTY;
	ret_buf->id = vhost_split_head(map, cursor->pos);
	if (ret_buf->id >= map->size)
		return VHOST_VQ_BAD_HEAD;
	cursor->pos++;
	return VHOST_VQ_OK;
}

void vhost_split_log_used(const struct vhost_vq *vq, const struct vhost_vq_map *map)
{
	const struct vring_used_elem *ring = map->used->ring;
	uint32_t n = (uint16_t)(vq->used_idx - vq->used_pub);
	uint32_t at = vq->used_pub & (map->size - 1);
	uint32_t first = min_u32(n, map->size - at);

	vhost_vq_wrote_used(map, ring + at, first * sizeof(*ring));
	vhost_vq_wrote_used(map, ring, (n - first) * sizeof(*ring));
	vhost_vq_wrote_used(map, &map->used->idx, sizeof(map->used->idx));
}

void vhost_packed_log_used(const struct vhost_vq *vq, const struct vhost_vq_map *map)
{
	const struct vring_packed_desc *ring = map->packed_desc;
	/* A guest that makes slots available before it got them back can make it more than a lap.
	 */
	uint32_t n = min_u32(vq->used_slots, map->size);
	uint32_t first = min_u32(n, map->size - vq->first_slot);

	vhost_log_wrote(map->log, vhost_vq_table(map), ring + vq->first_slot,
	                first * sizeof(*ring));
	vhost_log_wrote(map->log, vhost_vq_table(map), ring, (n - first) * sizeof(*ring));
}

void vhost_ring_look_ahead(struct vhost_vq *vq, const struct vhost_vq_map *map, bool write)
{
	struct vhost_cursor cursor = vhost_ring_cursor(vq);
	uint16_t since = (uint16_t)(vq->last_avail - vq->ahead_from);

	if (vhost_vq_asked(vq) ||
	    (!vq->n_wants && vq->ahead_serial == map->serial && since < VHOST_RING_AHEAD / 2))
		return;
	vq->ahead_from = vq->last_avail;
	vq->ahead_serial = map->serial;
	for (uint32_t i = 0; i < VHOST_RING_AHEAD && vq->n_wants < VHOST_VQ_MAX_WANTS; i++) {
		struct vhost_seg seg[VHOST_RING_AHEAD_PARTS];
		struct vhost_segs segs = {.seg = seg, .max = ARRAY_SIZE(seg)};
		enum vhost_vq_fault fault;
		struct vhost_buf buf;

		fault = vhost_ring_next(vq, map, &cursor, write, &segs, &buf);
		if (fault == VHOST_VQ_WAIT)
			fault = vhost_ring_skip(vq, map, &cursor, &buf);
		if (fault != VHOST_VQ_OK)
			return; /* whoever takes the buffer sees the same */
	}
}
