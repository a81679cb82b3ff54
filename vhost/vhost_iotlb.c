/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "vhost_iotlb.h"

/* A range: all of it in one mapping, with one permission. */
struct range {
	uint64_t iova;
	uint64_t size; /* > 0; iova + size and uva + size do not wrap */
	uint64_t uva;
	uint8_t *host;
	uint64_t age; /* larger: younger */
	uint8_t perm; /* VHOST_ACCESS_* */
};

struct vhost_iotlb {
	uint32_t n;
	uint32_t room;
	uint64_t clock; /* counts updates */
	struct range *ranges;
};

int vhost_iotlb_new(struct vhost_iotlb **ret_tlb)
{
	struct vhost_iotlb *tlb = calloc(1, sizeof(*tlb));

	if (!tlb)
		return -ENOMEM;
	*ret_tlb = tlb;
	return 0;
}

void vhost_iotlb_free(struct vhost_iotlb *tlb)
{
	if (!tlb)
		return;
	free(tlb->ranges);
	free(tlb);
}

uint32_t vhost_iotlb_n(const struct vhost_iotlb *tlb)
{
	return tlb->n;
}

static uint64_t range_last(const struct range *r)
{
	return r->iova + (r->size - 1);
}

/* Index of the first range that ends at or behind @iova */
static uint32_t find(const struct vhost_iotlb *tlb, uint64_t iova)
{
	uint32_t lo = 0, hi = tlb->n;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (range_last(&tlb->ranges[mid]) < iova)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static void take_out(struct vhost_iotlb *tlb, uint32_t i, uint32_t n)
{
	memmove(&tlb->ranges[i], &tlb->ranges[i + n], (tlb->n - i - n) * sizeof(tlb->ranges[0]));
	tlb->n -= n;
}

static void put_in(struct vhost_iotlb *tlb, uint32_t i, const struct range *r)
{
	memmove(&tlb->ranges[i + 1], &tlb->ranges[i], (tlb->n - i) * sizeof(tlb->ranges[0]));
	tlb->ranges[i] = *r;
	tlb->n++;
}

/* Make sure that @more ranges fit, up to the limit. */
static int reserve(struct vhost_iotlb *tlb, uint32_t more)
{
	uint32_t want = min_u32(tlb->n + more, VHOST_IOTLB_MAX), room = tlb->room ? tlb->room : 64;
	struct range *ranges;

	if (want <= tlb->room)
		return 0;
	while (room < want)
		room *= 2;
	ranges = realloc(tlb->ranges, room * sizeof(*ranges));
	if (!ranges)
		return -ENOMEM;
	tlb->ranges = ranges;
	tlb->room = room;
	return 0;
}

/* The part of @r from @iova on */
static struct range tail_of(const struct range *r, uint64_t iova)
{
	uint64_t skip = iova - r->iova;
	struct range tail = *r;

	tail.iova += skip;
	tail.size -= skip;
	tail.uva += skip;
	tail.host += skip;
	return tail;
}

/* Forget [first, last]. Return: whether anything was known of it. */
static bool forget(struct vhost_iotlb *tlb, uint64_t first, uint64_t last)
{
	uint32_t i = find(tlb, first), end;

	if (i == tlb->n || tlb->ranges[i].iova > last)
		return false;
	if (tlb->ranges[i].iova < first) {
		struct range *r = &tlb->ranges[i++], whole = *r;

		r->size = first - r->iova;
		if (range_last(&whole) > last) {
			struct range tail = tail_of(&whole, last + 1);

			/* A hole in the middle makes two of one. Without room for the second, it is
			 * forgotten, too. */
			if (reserve(tlb, 1) == 0 && tlb->n < tlb->room && tlb->n < VHOST_IOTLB_MAX)
				put_in(tlb, i, &tail);
			return true;
		}
	}
	for (end = i; end < tlb->n && range_last(&tlb->ranges[end]) <= last; end++)
		;
	take_out(tlb, i, end - i);
	if (i < tlb->n && tlb->ranges[i].iova <= last)
		tlb->ranges[i] = tail_of(&tlb->ranges[i], last + 1);
	return true;
}

static uint64_t last_of(uint64_t iova, uint64_t size)
{
	/* Size 0 gives the end of the address space, too. */
	return size - 1 > UINT64_MAX - iova ? UINT64_MAX : iova + (size - 1);
}

bool vhost_iotlb_invalidate(struct vhost_iotlb *tlb, uint64_t iova, uint64_t size)
{
	return forget(tlb, iova, last_of(iova, size));
}

/* Does @b go on where @a ends, for all that workers can see? */
static bool continues(const struct range *a, const struct range *b)
{
	return a->iova + a->size == b->iova && a->uva + a->size == b->uva &&
	       a->host + a->size == b->host && a->perm == b->perm;
}

static void forget_oldest(struct vhost_iotlb *tlb)
{
	uint32_t oldest = 0;

	for (uint32_t i = 1; i < tlb->n; i++)
		if (tlb->ranges[i].age < tlb->ranges[oldest].age)
			oldest = i;
	take_out(tlb, oldest, 1);
}

/* Add a range of which nothing is known. */
static void add(struct vhost_iotlb *tlb, const struct range *r)
{
	uint32_t i;

	if (tlb->n == VHOST_IOTLB_MAX)
		forget_oldest(tlb);
	i = find(tlb, r->iova);
	if (i > 0 && continues(&tlb->ranges[i - 1], r)) {
		i--;
		tlb->ranges[i].size += r->size;
		tlb->ranges[i].age = r->age;
	} else {
		put_in(tlb, i, r);
	}
	if (i + 1 < tlb->n && continues(&tlb->ranges[i], &tlb->ranges[i + 1])) {
		tlb->ranges[i].size += tlb->ranges[i + 1].size;
		take_out(tlb, i + 1, 1);
	}
}

/* The part of [msg->uaddr, + span] that lies in @region. False if there is none. */
static bool cut(const struct vhost_region *region, const struct vhost_iotlb_msg *msg, uint64_t span,
                struct range *ret_range)
{
	uint64_t first = msg->uaddr > region->uva ? msg->uaddr : region->uva;
	uint64_t last = msg->uaddr + span, region_last = region->uva + (region->size - 1);

	if (region_last < last)
		last = region_last;
	if (first > last)
		return false;
	*ret_range = (struct range){.iova = msg->iova + (first - msg->uaddr),
	                            .size = last - first + 1,
	                            .uva = first,
	                            .host = region->host + (first - region->uva),
	                            .perm = msg->perm};
	return true;
}

/* Would workers that use what is known of [first, last] do what @msg does not say? */
static bool contradicts(const struct vhost_iotlb *tlb, const struct vhost_iotlb_msg *msg,
                        uint64_t first, uint64_t last)
{
	for (uint32_t i = find(tlb, first); i < tlb->n && tlb->ranges[i].iova <= last; i++) {
		const struct range *r = &tlb->ranges[i];

		if (r->uva - r->iova != msg->uaddr - msg->iova || r->perm & ~msg->perm)
			return true;
	}
	return false;
}

int vhost_iotlb_update(struct vhost_iotlb *tlb, const struct vhost_mem *mem,
                       const struct vhost_iotlb_msg *msg, bool *ret_changed)
{
	uint64_t span = msg->size - 1; /* bytes less one: 2^64 has no number */
	uint32_t n_parts = 0;
	struct range r;

	if (!msg->perm || msg->perm & ~VHOST_ACCESS_RW || (!msg->size && msg->iova) ||
	    span > UINT64_MAX - msg->iova || msg->iova == UINT64_MAX || msg->uaddr == UINT64_MAX)
		return -EINVAL;
	/* A range that would end with the address space loses its last byte, so that no end wraps.
	 */
	if (span == UINT64_MAX - msg->iova)
		span--;
	if (span > UINT64_MAX - 1 - msg->uaddr)
		span = UINT64_MAX - 1 - msg->uaddr;
	for (uint32_t i = 0; mem && i < mem->n_regions; i++)
		n_parts += cut(&mem->regions[i], msg, span, &r);
	if (!n_parts)
		return -EFAULT;
	if (reserve(tlb, n_parts + 1) < 0) /* one more: what is forgotten may split a range */
		return -ENOMEM;
	*ret_changed = contradicts(tlb, msg, msg->iova, msg->iova + span);
	forget(tlb, msg->iova, msg->iova + span);
	tlb->clock++;
	for (uint32_t i = 0; i < mem->n_regions; i++) {
		if (!cut(&mem->regions[i], msg, span, &r))
			continue;
		r.age = tlb->clock;
		add(tlb, &r);
	}
	return 0;
}

void vhost_iotlb_remap(struct vhost_iotlb *tlb, const struct vhost_mem *mem)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < tlb->n; i++) {
		struct range r = tlb->ranges[i];

		r.host = mem ? vhost_mem_uva(mem, r.uva, r.size) : NULL;
		if (r.host)
			tlb->ranges[n++] = r;
	}
	tlb->n = n;
}

/* Ranges that allow @perm, joined where they go on. */
static struct vhost_mem *build(const struct vhost_iotlb *tlb, uint8_t perm)
{
	struct vhost_mem *mem = calloc(1, sizeof(*mem) + tlb->n * sizeof(struct vhost_region));

	for (uint32_t i = 0; mem && i < tlb->n; i++) {
		const struct range *r = &tlb->ranges[i];
		struct vhost_region *prev = &mem->regions[mem->n_regions];

		if (!(r->perm & perm))
			continue;
		if (mem->n_regions > 0 && (prev - 1)->gpa + (prev - 1)->size == r->iova &&
		    (prev - 1)->host + (prev - 1)->size == r->host) {
			(prev - 1)->size += r->size;
			continue;
		}
		mem->regions[mem->n_regions++] = (struct vhost_region){
			.gpa = r->iova, .size = r->size, .uva = r->uva, .host = r->host};
	}
	return mem;
}

int vhost_iotlb_build(const struct vhost_iotlb *tlb, struct vhost_iotlb_tables *ret_tables)
{
	struct vhost_iotlb_tables t = {.read = build(tlb, VHOST_ACCESS_RO),
	                               .write = build(tlb, VHOST_ACCESS_WO)};

	if (!t.read || !t.write) {
		vhost_mem_free(t.read);
		vhost_mem_free(t.write);
		return -ENOMEM;
	}
	*ret_tables = t;
	return 0;
}
