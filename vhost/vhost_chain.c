/* SPDX-License-Identifier: BSD-2-Clause */
#include "vhost_chain.h"
#include "frame_copy.h"
#include "vhost_late.h"
#include "vhost_packed.h"
#include "vhost_split.h"
#include "vhost_pair.h"

/* An address that is not in the table: wrong, or not usable yet. */
static cold_noinline enum vhost_vq_fault chain_missing(struct vhost_vq *vq,
                                                       const struct vhost_vq_map *map,
                                                       const struct vhost_mem *mem, uint64_t gpa,
                                                       uint32_t len, bool write)
{
	while (map->partial && len) {
		const struct vhost_region *r = vhost_mem_find(mem, gpa, 1);
		uint64_t n;

		if (!r) {
			vhost_vq_want(vq, gpa, len, write);
			return VHOST_VQ_WAIT;
		}
		n = r->size - (gpa - r->gpa);
		gpa += n;
		len -= n < len ? (uint32_t)n : len;
	}
	return VHOST_VQ_BAD_ADDRESS; /* or all there, but in pieces */
}

/* A table is for reading, also that of a buffer to write to. */
static const uint8_t *chain_table(struct vhost_vq *vq, const struct vhost_vq_map *map,
                                  const struct vhost_desc *outer)
{
	const struct vhost_region *r;

	if (likely(!map->table_mem))
		return vhost_mem_gpa(map->mem, &vq->hint, outer->gpa, outer->len);
	r = vhost_mem_find(map->table_mem, outer->gpa, outer->len);
	return r ? r->host + (outer->gpa - r->gpa) : NULL;
}

/*
 * Where @gpa lies, and how many of *@len bytes lie there with it, when pages may come late. A frame
 * reaches no further than the first VHOST_CHAIN_REACH bytes of a buffer, of which @used are taken:
 * the rest need not be here.
 */
static cold_noinline enum vhost_vq_fault chain_late(struct vhost_vq *vq,
                                                    const struct vhost_vq_map *map, uint64_t gpa,
                                                    bool write, uint64_t used, uint32_t *len,
                                                    uint8_t **ret_host)
{
	const struct vhost_region *r = vhost_mem_find(map->late_mem, gpa, 1);
	uint64_t off, reach;

	if (!r)
		return VHOST_VQ_BAD_ADDRESS;
	off = gpa - r->gpa;
	if (*len > r->size - off)
		*len = (uint32_t)(r->size - off);
	reach = used < VHOST_CHAIN_REACH ? VHOST_CHAIN_REACH - used : 0;
	reach = reach < *len ? reach : *len;
	if (r->late && reach && !vhost_late_is_here(r->late, r->host + off, reach)) {
		vhost_vq_want(vq, gpa, (uint32_t)reach, write);
		return VHOST_VQ_WAIT;
	}
	*ret_host = r->host + off;
	return VHOST_VQ_OK;
}

/* Append one part of a buffer, cut where guest memory goes from one region to the next. */
static enum vhost_vq_fault chain_add(struct vhost_vq *vq, const struct vhost_vq_map *map,
                                     const struct vhost_desc *d, bool write,
                                     struct vhost_segs *segs)
{
	uint64_t gpa = d->gpa;
	uint32_t left = d->len;
	enum vhost_vq_fault fault;

	if (!(d->flags & VRING_DESC_F_WRITE) != !write)
		return VHOST_VQ_BAD_DIRECTION;
	/* No driver makes them; accepted, they would let a walk cost without bound. */
	if (!left)
		return VHOST_VQ_BAD_LENGTH;
	while (left) {
		const struct vhost_region *r;
		uint8_t *host = vhost_mem_gpa(map->mem, &vq->hint, gpa, left);
		uint32_t len = left;

		if (segs->n == segs->max)
			return VHOST_VQ_BAD_CHAIN;
		if (unlikely(map->late_mem)) {
			fault = chain_late(vq, map, gpa, write, segs->total, &len, &host);
			if (fault != VHOST_VQ_OK)
				return fault;
		} else if (unlikely(!host)) {
			r = vhost_mem_find(map->mem, gpa, 1);
			if (!r)
				return chain_missing(vq, map, map->mem, gpa, left, write);
			host = r->host + (gpa - r->gpa);
			/* Less than left, else the range had been inside the region. */
			len = (uint32_t)(r->size - (gpa - r->gpa));
		}
		segs->seg[segs->n++] = (struct vhost_seg){.base = host, .len = len};
		segs->total += len;
		gpa += len;
		left -= len;
	}
	return VHOST_VQ_OK;
}

/*
 * Is the walk over? Not for a part that cannot be used yet: the others are looked at all the same,
 * so that all that is missing gets listed at once.
 */
static bool chain_ends(enum vhost_vq_fault fault, enum vhost_vq_fault *result)
{
	if (fault == VHOST_VQ_WAIT)
		*result = fault;
	return fault != VHOST_VQ_OK && fault != VHOST_VQ_WAIT;
}

/* A split table is a chain of its own; of a packed one every entry counts, in its order. */
static enum vhost_vq_fault chain_indirect(struct vhost_vq *vq, const struct vhost_vq_map *map,
                                          const struct vhost_desc *outer, bool write,
                                          struct vhost_segs *segs)
{
	enum vhost_vq_fault fault, result = VHOST_VQ_OK;
	uint32_t n = outer->len / sizeof(struct vring_desc);
	const uint8_t *table;
	uint32_t i = 0, len = outer->len;

	if (!map->indirect || outer->flags & VRING_DESC_F_NEXT || !n ||
	    outer->len % sizeof(struct vring_desc) || n > VHOST_VQ_MAX_SIZE)
		return VHOST_VQ_BAD_CHAIN;
	/* A table that crosses regions would need a copy; no driver makes one. */
	if (unlikely(map->late_mem)) {
		uint8_t *host;

		fault = chain_late(vq, map, outer->gpa, false, 0, &len, &host);
		if (fault != VHOST_VQ_OK)
			return fault;
		if (len < outer->len)
			return VHOST_VQ_BAD_ADDRESS;
		table = host;
	} else {
		table = chain_table(vq, map, outer);
		if (!table)
			return chain_missing(vq, map, map->table_mem ? map->table_mem : map->mem,
			                     outer->gpa, outer->len, false);
	}
	for (uint32_t walked = 0; walked < n; walked++) {
		struct vhost_desc d = vhost_desc_at(table, i, map->packed);

		if (d.flags & VRING_DESC_F_INDIRECT)
			return VHOST_VQ_BAD_CHAIN;
		/*
		 * DPDK's driver leaves WRITE set in entries of packed transmit tables: in that of
		 * the header always, in others now and then. To read such a buffer is allowed
		 * ("a device SHOULD NOT read a device-writable buffer").
		 */
		if (map->packed && !write)
			d.flags &= (uint16_t)~VRING_DESC_F_WRITE;
		fault = chain_add(vq, map, &d, write, segs);
		if (chain_ends(fault, &result))
			return fault;
		if (map->packed) {
			i++;
			continue;
		}
		if (!(d.flags & VRING_DESC_F_NEXT))
			return result;
		i = d.next;
		if (i >= n)
			return VHOST_VQ_BAD_CHAIN;
	}
	/* Split: a loop, with more links than entries. */
	return map->packed ? result : VHOST_VQ_BAD_CHAIN;
}

static enum vhost_vq_fault chain_part(struct vhost_vq *vq, const struct vhost_vq_map *map,
                                      const struct vhost_desc *d, bool write,
                                      struct vhost_segs *segs)
{
	if (d->flags & VRING_DESC_F_INDIRECT)
		return chain_indirect(vq, map, d, write, segs);
	return chain_add(vq, map, d, write, segs);
}

static enum vhost_vq_fault chain_walk_split(struct vhost_vq *vq, const struct vhost_vq_map *map,
                                            uint16_t head, bool write, struct vhost_segs *segs)
{
	enum vhost_vq_fault result = VHOST_VQ_OK;
	uint32_t i = head;

	for (uint32_t walked = 0; walked < map->size; walked++) {
		enum vhost_vq_fault fault;
		struct vhost_desc d;

		if (i >= map->size)
			return VHOST_VQ_BAD_HEAD;
		d = vhost_split_desc(map->desc, i);
		fault = chain_part(vq, map, &d, write, segs);
		if (chain_ends(fault, &result))
			return fault;
		if (!(d.flags & VRING_DESC_F_NEXT))
			return result;
		i = d.next;
	}
	return VHOST_VQ_BAD_CHAIN;
}

static enum vhost_vq_fault chain_walk_packed(struct vhost_vq *vq, const struct vhost_vq_map *map,
                                             uint16_t slot, bool write, struct vhost_segs *segs,
                                             uint16_t *ret_id, uint16_t *ret_slots)
{
	enum vhost_vq_fault result = VHOST_VQ_OK;
	uint32_t i = slot;

	for (uint32_t walked = 1; walked <= map->size; walked++) {
		uint64_t hi = vhost_packed_word(map, (uint16_t)i);
		struct vhost_desc d = vhost_desc_of(vhost_packed_gpa(map, (uint16_t)i), hi, true);
		enum vhost_vq_fault fault = chain_part(vq, map, &d, write, segs);

		if (chain_ends(fault, &result))
			return fault;
		if (!(d.flags & VRING_DESC_F_NEXT)) {
			*ret_id = d.next;
			*ret_slots = (uint16_t)walked;
			return result;
		}
		i = i + 1 == map->size ? 0 : i + 1;
	}
	return VHOST_VQ_BAD_CHAIN;
}

enum vhost_vq_fault vhost_split_chain(struct vhost_vq *vq, const struct vhost_vq_map *map,
                                      uint16_t head, bool write, struct vhost_segs *segs)
{
	uint32_t n = segs->n;
	uint64_t total = segs->total;
	enum vhost_vq_fault fault = chain_walk_split(vq, map, head, write, segs);

	if (fault != VHOST_VQ_OK) {
		segs->n = n;
		segs->total = total;
	}
	return fault;
}

enum vhost_vq_fault vhost_packed_chain(struct vhost_vq *vq, const struct vhost_vq_map *map,
                                       uint16_t slot, bool write, struct vhost_segs *segs,
                                       uint16_t *ret_id, uint16_t *ret_slots)
{
	uint32_t n = segs->n;
	uint64_t total = segs->total;
	enum vhost_vq_fault fault =
		chain_walk_packed(vq, map, slot, write, segs, ret_id, ret_slots);

	if (fault != VHOST_VQ_OK) {
		segs->n = n;
		segs->total = total;
	}
	return fault;
}

uint32_t vhost_segs_read(const struct vhost_segs *segs, uint8_t *dst, uint32_t len)
{
	uint32_t done = 0;

	for (uint32_t i = 0; i < segs->n && done < len; i++) {
		uint32_t n = min_u32(segs->seg[i].len, len - done);

		memcpy(dst + done, segs->seg[i].base, n);
		done += n;
	}
	return done;
}

void vhost_segs_skip(struct vhost_segs *segs, uint32_t len)
{
	uint32_t first = 0;

	segs->total -= len;
	while (len && len >= segs->seg[first].len)
		len -= segs->seg[first++].len;
	if (first) {
		segs->n -= first;
		memmove(segs->seg, segs->seg + first, segs->n * sizeof(segs->seg[0]));
	}
	if (len) {
		segs->seg[0].base += len;
		segs->seg[0].len -= len;
	}
}

void vhost_segs_copy(const struct vhost_segs *dst, const struct vhost_segs *src, uint32_t len)
{
	uint32_t di = 0, si = 0, doff = 0, soff = 0;

	while (len) {
		const struct vhost_seg *d = &dst->seg[di], *s = &src->seg[si];
		uint32_t n = min_u32(len, min_u32(d->len - doff, s->len - soff));

		frame_copy(d->base + doff, s->base + soff, n);
		len -= n;
		doff += n;
		soff += n;
		if (doff == d->len) {
			di++;
			doff = 0;
		}
		if (soff == s->len) {
			si++;
			soff = 0;
		}
	}
}

void vhost_segs_log(const struct vhost_segs *segs, const struct vhost_vq_map *map, uint32_t len)
{
	for (uint32_t i = 0; len; i++) {
		uint32_t n = min_u32(segs->seg[i].len, len);

		vhost_log_wrote(map->log, vhost_vq_table(map), segs->seg[i].base, n);
		len -= n;
	}
}
