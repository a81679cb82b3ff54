/* SPDX-License-Identifier: BSD-2-Clause */
#include "vhost_chain.h"
#include "frame_copy.h"
#include "vhost_split.h"

/*
 * One descriptor of a table whose alignment the guest chooses (indirect tables). The empty asm
 * statement keeps the compiler from reading the table a second time to get the values back.
 */
static struct vhost_desc chain_desc_at(const uint8_t *table, uint32_t i)
{
	uint64_t word[2];

	memcpy(word, table + (size_t)i * sizeof(struct vring_desc), sizeof(word));
	__asm__ volatile("" : "+r"(word[0]), "+r"(word[1]) : : "memory");
	word[1] = le64toh(word[1]);
	return (struct vhost_desc){.gpa = le64toh(word[0]),
	                           .len = (uint32_t)word[1],
	                           .flags = (uint16_t)(word[1] >> 32),
	                           .next = (uint16_t)(word[1] >> 48)};
}

/* Append one buffer, cut where guest memory goes from one region to the next. */
static enum vhost_vq_fault chain_add(struct vhost_vq *vq, const struct vhost_vq_map *map,
                                     const struct vhost_desc *d, struct vhost_segs *segs)
{
	uint64_t gpa = d->gpa;
	uint32_t left = d->len;

	/* No driver makes them; accepted, they would let a walk cost without bound. */
	if (!left)
		return VHOST_VQ_BAD_LENGTH;
	while (left) {
		const struct vhost_region *r;
		uint8_t *host = vhost_mem_gpa(map->mem, &vq->hint, gpa, left);
		uint32_t len = left;

		if (segs->n == segs->max)
			return VHOST_VQ_BAD_CHAIN;
		if (unlikely(!host)) {
			r = vhost_mem_find(map->mem, gpa, 1);
			if (!r)
				return VHOST_VQ_BAD_ADDRESS;
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

static bool chain_direction_ok(const struct vhost_desc *d, bool write)
{
	return !(d->flags & VRING_DESC_F_WRITE) == !write;
}

static enum vhost_vq_fault chain_indirect(struct vhost_vq *vq, const struct vhost_vq_map *map,
                                          const struct vhost_desc *outer, bool write,
                                          struct vhost_segs *segs)
{
	uint32_t n = outer->len / sizeof(struct vring_desc);
	enum vhost_vq_fault fault;
	const uint8_t *table;
	uint32_t i = 0;

	if (!map->indirect || outer->flags & VRING_DESC_F_NEXT || !n ||
	    outer->len % sizeof(struct vring_desc) || n > VHOST_VQ_MAX_SIZE)
		return VHOST_VQ_BAD_CHAIN;
	/* A table that crosses regions would need a copy; no driver makes one. */
	table = vhost_mem_gpa(map->mem, &vq->hint, outer->gpa, outer->len);
	if (!table)
		return VHOST_VQ_BAD_ADDRESS;
	for (uint32_t walked = 0; walked < n; walked++) {
		struct vhost_desc d = chain_desc_at(table, i);

		if (d.flags & VRING_DESC_F_INDIRECT)
			return VHOST_VQ_BAD_CHAIN;
		if (!chain_direction_ok(&d, write))
			return VHOST_VQ_BAD_DIRECTION;
		fault = chain_add(vq, map, &d, segs);
		if (fault != VHOST_VQ_OK)
			return fault;
		if (!(d.flags & VRING_DESC_F_NEXT))
			return VHOST_VQ_OK;
		i = d.next;
		if (i >= n)
			return VHOST_VQ_BAD_CHAIN;
	}
	return VHOST_VQ_BAD_CHAIN; /* a loop: more links than entries */
}

static enum vhost_vq_fault chain_walk(struct vhost_vq *vq, const struct vhost_vq_map *map,
                                      uint16_t head, bool write, struct vhost_segs *segs)
{
	enum vhost_vq_fault fault;
	uint32_t i = head;

	for (uint32_t walked = 0; walked < map->size; walked++) {
		struct vhost_desc d;

		if (i >= map->size)
			return VHOST_VQ_BAD_HEAD;
		d = vhost_split_desc(map->desc, i);
		if (d.flags & VRING_DESC_F_INDIRECT)
			return chain_indirect(vq, map, &d, write, segs);
		if (!chain_direction_ok(&d, write))
			return VHOST_VQ_BAD_DIRECTION;
		fault = chain_add(vq, map, &d, segs);
		if (fault != VHOST_VQ_OK)
			return fault;
		if (!(d.flags & VRING_DESC_F_NEXT))
			return VHOST_VQ_OK;
		i = d.next;
	}
	return VHOST_VQ_BAD_CHAIN;
}

enum vhost_vq_fault vhost_split_chain(struct vhost_vq *vq, const struct vhost_vq_map *map,
                                      uint16_t head, bool write, struct vhost_segs *segs)
{
	uint32_t n = segs->n;
	uint64_t total = segs->total;
	enum vhost_vq_fault fault = chain_walk(vq, map, head, write, segs);

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
