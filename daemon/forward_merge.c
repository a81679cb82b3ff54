/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One frame in several receive buffers (VIRTIO_NET_F_MRG_RXBUF), each of them one plain descriptor.
 * Out of the hot loop, but not far: a guest whose buffers are shorter than its frames needs it for
 * every frame.
 */
#include "forward_priv.h"

#define FWD_MERGE_MAX 16u /* buffers; frames that need more take the slow path */

struct fwd_merge_part {
	uint8_t *base;
	uint32_t len;
	uint16_t id;
};

/*
 * The buffer @ahead of the next one. Returns false if it is not plain, or not there: *ret_empty.
 */
static always_inline bool fwd_merge_look(struct vhost_vq *vq, const struct vhost_vq_map *map,
                                         uint32_t ahead, struct vhost_cursor *cursor,
                                         struct fwd_merge_part *ret_part, bool *ret_empty)
{
	struct fwd_plain buf;

	if (!fwd_plain_at(vq, map, cursor, ahead, VRING_DESC_F_WRITE, &buf, ret_empty) ||
	    buf.len < FWD_HDR + FWD_SHORTEST)
		return false;
	ret_part->id = buf.id;
	ret_part->len = buf.len;
	ret_part->base = vhost_mem_gpa(map->mem, &vq->hint, buf.gpa, buf.len);
	return ret_part->base;
}

enum fwd_merge_result fwd_merge(struct vhost_vq *vq, const struct vhost_vq_map *map, uint64_t w0,
                                uint64_t w1, const uint8_t *frame, uint32_t len)
{
	struct vhost_cursor cursor = vhost_ring_cursor(vq);
	struct fwd_merge_part parts[FWD_MERGE_MAX];
	uint32_t need = len + FWD_HDR, room = 0, n = 0;

	while (room < need) {
		bool empty;

		if (n == FWD_MERGE_MAX)
			return FWD_MERGE_SLOW;
		if (!fwd_merge_look(vq, map, n, &cursor, &parts[n], &empty))
			return empty ? FWD_MERGE_EMPTY : FWD_MERGE_SLOW;
		/* The last one is filled only as far as the frame goes. */
		parts[n].len = min_u32(parts[n].len, need - room);
		room += parts[n++].len;
	}
	fwd_put_hdr(parts[0].base, (uint16_t)n);
	fwd_put_frame(parts[0].base + FWD_HDR, w0, w1, frame, parts[0].len - FWD_HDR);
	frame += parts[0].len - FWD_HDR;
	for (uint32_t i = 1; i < n; i++) {
		frame_copy(parts[i].base, frame, parts[i].len);
		frame += parts[i].len;
	}
	for (uint32_t i = 0; i < n; i++)
		vhost_ring_done(vq, map, (struct vhost_buf){.id = parts[i].id, .slots = 1},
		                parts[i].len);
	return FWD_MERGE_DONE;
}
