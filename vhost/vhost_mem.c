/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vhost_mem.c - map guest memory and build the tables that translate its addresses
 *
 * Each region has its own mapping, counted by the tables that hold it; tables are copied, never
 * changed, see vhost_mem.h.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include "vhost_late.h"
#include "vhost_mapping.h"
#include "vhost_mem.h"
#include "vhost_postcopy.h"

static int check_desc(const struct vhost_region_desc *d, const char **why)
{
	if (d->size == 0) {
		*why = "memory region of size 0";
		return -EINVAL;
	}
	/* Subtract, never add. The end itself must be representable. */
	if (d->size > UINT64_MAX - d->gpa || d->size > UINT64_MAX - d->uva) {
		*why = "memory region wraps around the end of the address space";
		return -EINVAL;
	}
	if (d->size > VHOST_MEM_MAX_BYTES || d->mmap_offset > INT64_MAX - VHOST_MEM_MAX_BYTES) {
		*why = "memory region is larger than this back end maps";
		return -EINVAL;
	}
	if (d->mmap_offset % (uint64_t)sysconf(_SC_PAGESIZE)) {
		*why = "offset of a memory region is not a multiple of the page size";
		return -EINVAL;
	}
	return 0;
}

static bool overlaps(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size)
{
	return a < b ? b - a < a_size : a - b < b_size;
}

static int check_against(const struct vhost_mem *mem, const struct vhost_region_desc *d,
                         const char **why)
{
	if (mem->n_regions >= VHOST_MEM_MAX_REGIONS) {
		*why = "more memory regions than this back end has slots for";
		return -EINVAL;
	}
	for (uint32_t i = 0; i < mem->n_regions; i++) {
		const struct vhost_region *r = &mem->regions[i];

		if (overlaps(r->gpa, r->size, d->gpa, d->size)) {
			*why = "memory regions overlap in guest-physical addresses";
			return -EINVAL;
		}
		if (overlaps(r->uva, r->size, d->uva, d->size)) {
			*why = "memory regions overlap in the front end's addresses";
			return -EINVAL;
		}
	}
	if (d->size > VHOST_MEM_MAX_BYTES - vhost_mem_bytes(mem)) {
		*why = "memory regions are larger in all than this back end maps";
		return -EINVAL;
	}
	return 0;
}

static struct vhost_mem *mem_alloc(uint32_t n)
{
	return calloc(1, sizeof(struct vhost_mem) + n * sizeof(struct vhost_region));
}

/* Insert in the order of gpa. @mem has room. */
static void mem_insert(struct vhost_mem *mem, const struct vhost_region *region)
{
	uint32_t i = mem->n_regions++;

	for (; i > 0 && mem->regions[i - 1].gpa > region->gpa; i--)
		mem->regions[i] = mem->regions[i - 1];
	mem->regions[i] = *region;
}

/* Check and map one region into a table that has room. On failure the table is as before. */
static int mem_map_into(struct vhost_mem *mem, const struct vhost_region_desc *desc, int fd,
                        const char **why)
{
	struct vhost_region region;
	int err;

	err = check_desc(desc, why);
	if (err < 0)
		return err;
	err = check_against(mem, desc, why);
	if (err < 0)
		return err;
	region = (struct vhost_region){.gpa = desc->gpa, .size = desc->size, .uva = desc->uva};
	err = vhost_mapping_new(fd, desc->mmap_offset, desc->size, &region.mapping, &region.host,
	                        why);
	if (err < 0)
		return err;
	mem_insert(mem, &region);
	return 0;
}

int vhost_mem_new(const struct vhost_region_desc *descs, const int *fds, uint32_t n,
                  struct vhost_mem **ret_mem, const char **ret_why)
{
	const char *unused, **why = ret_why ? ret_why : &unused;
	struct vhost_mem *mem;

	if (n > VHOST_MEM_MAX_REGIONS) {
		*why = "more memory regions than this back end has slots for";
		return -EINVAL;
	}
	mem = mem_alloc(n);
	if (!mem) {
		*why = "out of memory";
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < n; i++) {
		int err = mem_map_into(mem, &descs[i], fds[i], why);

		if (err < 0) {
			vhost_mem_free(mem);
			return err;
		}
	}
	*ret_mem = mem;
	return 0;
}

/* A copy with room for one more; shares the mappings. @without: region to leave out, or NULL */
static struct vhost_mem *mem_copy(const struct vhost_mem *old, const struct vhost_region *without)
{
	uint32_t n = old ? old->n_regions : 0;
	struct vhost_mem *mem = mem_alloc(n + 1);

	if (!mem)
		return NULL;
	for (uint32_t i = 0; i < n; i++) {
		if (&old->regions[i] == without)
			continue;
		mem->regions[mem->n_regions++] = old->regions[i];
		vhost_mapping_ref(old->regions[i].mapping);
	}
	return mem;
}

int vhost_mem_add(const struct vhost_mem *old, const struct vhost_region_desc *desc, int fd,
                  struct vhost_mem **ret_mem, const char **ret_why)
{
	const char *unused, **why = ret_why ? ret_why : &unused;
	struct vhost_mem *mem = mem_copy(old, NULL);
	int err;

	if (!mem) {
		*why = "out of memory";
		return -ENOMEM;
	}
	err = mem_map_into(mem, desc, fd, why);
	if (err < 0) {
		vhost_mem_free(mem);
		return err;
	}
	*ret_mem = mem;
	return 0;
}

int vhost_mem_remove(const struct vhost_mem *old, const struct vhost_region_desc *desc,
                     struct vhost_mem **ret_mem)
{
	for (uint32_t i = 0; old && i < old->n_regions; i++) {
		const struct vhost_region *r = &old->regions[i];
		struct vhost_mem *mem;

		if (r->gpa != desc->gpa || r->uva != desc->uva || r->size != desc->size)
			continue;
		mem = mem_copy(old, r);
		if (!mem)
			return -ENOMEM;
		*ret_mem = mem;
		return 0;
	}
	return -ENOENT;
}

int vhost_mem_make_late(struct vhost_mem *mem, uint64_t gpa, int fd,
                        struct vhost_postcopy *postcopy, uint64_t *ret_ask, const char **ret_why)
{
	for (uint32_t i = 0; i < mem->n_regions; i++) {
		struct vhost_region *r = &mem->regions[i];
		int err;

		if (r->gpa != gpa)
			continue;
		err = vhost_mapping_make_late(r->mapping, fd, postcopy, &r->late, ret_why);
		if (err < 0)
			return err;
		*ret_ask = vhost_late_ask_addr(r->late, r->host);
		return 0;
	}
	*ret_why = "memory region is not in its own table";
	return -ENOENT;
}

int vhost_mem_arrived(const struct vhost_mem *old, struct vhost_mem **ret_mem)
{
	struct vhost_mem *mem = mem_copy(old, NULL);

	if (!mem)
		return -ENOMEM;
	for (uint32_t i = 0; i < mem->n_regions; i++)
		mem->regions[i].late = NULL;
	*ret_mem = mem;
	return 0;
}

void vhost_mem_unguard(const struct vhost_mem *mem)
{
	for (uint32_t i = 0; i < mem->n_regions; i++)
		if (mem->regions[i].late)
			vhost_postcopy_unguard(mem->regions[i].late);
}

void vhost_mem_end_late(struct vhost_mem *mem)
{
	for (uint32_t i = 0; i < mem->n_regions; i++)
		vhost_mapping_end_late(mem->regions[i].mapping);
}

bool vhost_mem_is_here(const struct vhost_mem *mem, const void *host, uint64_t len,
                       struct vhost_late **ret_late)
{
	for (uint32_t i = 0; i < mem->n_regions; i++) {
		const struct vhost_region *r = &mem->regions[i];

		if ((uintptr_t)host - (uintptr_t)r->host >= r->size || !r->late)
			continue;
		*ret_late = r->late;
		return vhost_late_is_here(r->late, host, len);
	}
	return true;
}

void vhost_mem_free(struct vhost_mem *mem)
{
	if (!mem)
		return;
	for (uint32_t i = 0; i < mem->n_regions; i++)
		vhost_mapping_unref(mem->regions[i].mapping);
	free(mem);
}

uint64_t vhost_mem_bytes(const struct vhost_mem *mem)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; mem && i < mem->n_regions; i++)
		sum += mem->regions[i].size;
	return sum;
}

bool vhost_mem_lost(const struct vhost_mem *mem)
{
	for (uint32_t i = 0; mem && i < mem->n_regions; i++)
		if (vhost_mapping_lost(mem->regions[i].mapping))
			return true;
	return false;
}

void *vhost_mem_uva(const struct vhost_mem *mem, uint64_t uva, uint64_t len)
{
	for (uint32_t i = 0; i < mem->n_regions; i++) {
		const struct vhost_region *r = &mem->regions[i];
		uint64_t off = uva - r->uva;

		if (off < r->size && len <= r->size - off)
			return r->host + off;
	}
	return NULL;
}

bool vhost_mem_gpa_of(const struct vhost_mem *mem, const void *host, uint64_t *ret_gpa)
{
	for (uint32_t i = 0; i < mem->n_regions; i++) {
		const struct vhost_region *r = &mem->regions[i];
		uint64_t off = (uint64_t)((uintptr_t)host - (uintptr_t)r->host);

		if (off < r->size) {
			*ret_gpa = r->gpa + off;
			return true;
		}
	}
	return false;
}

bool vhost_mem_origin(const struct vhost_mem *mem, const void *host,
                      struct vhost_origin *ret_origin)
{
	for (uint32_t i = 0; i < mem->n_regions; i++) {
		const struct vhost_region *r = &mem->regions[i];

		if ((uintptr_t)host - (uintptr_t)r->host < r->size) {
			vhost_mapping_origin(r->mapping, host, &ret_origin->dev, &ret_origin->ino,
			                     &ret_origin->offset);
			return true;
		}
	}
	return false;
}

const struct vhost_region *vhost_mem_find(const struct vhost_mem *mem, uint64_t gpa, uint64_t len)
{
	uint32_t lo = 0, hi = mem->n_regions;
	const struct vhost_region *r;

	/* The last region that begins at or below gpa */
	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (mem->regions[mid].gpa <= gpa)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo == 0)
		return NULL;
	r = &mem->regions[lo - 1];
	if (gpa - r->gpa >= r->size || len > r->size - (gpa - r->gpa))
		return NULL;
	return r;
}
