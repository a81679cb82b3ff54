/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vhost_mem.c - map guest memory and build the tables that translate its addresses
 *
 * Guest memory is never locked and never touched before a worker needs it: both would break
 * post-copy migration and make a sparse guest resident. Each region has its own mapping, counted
 * by the tables that hold it; tables are copied, never changed, see vhost_mem.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>
#include "vhost_mem.h"
#include "vhost_sigbus.h"

#ifndef FUSE_SUPER_MAGIC
#define FUSE_SUPER_MAGIC 0x65735546
#endif

/* Control thread only: the count needs no atomics. */
struct vhost_mapping {
	uint32_t refs;
	void *addr;
	size_t len;
	struct vhost_sigbus_slot *slot;
};

static void mapping_unref(struct vhost_mapping *m)
{
	if (!m || --m->refs > 0)
		return;
	vhost_sigbus_remove(m->slot);
	if (m->addr != MAP_FAILED)
		munmap(m->addr, m->len);
	free(m);
}

/* Is this a file whose pages we may wait for? @ret_page: its page size. */
static int check_file(int fd, uint64_t end, size_t *ret_page, const char **why)
{
	struct statfs fs;
	struct stat st;

	if (fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0) {
		int err = -errno;

		*why = "descriptor of a memory region cannot be examined";
		return err;
	}
	if (!S_ISREG(st.st_mode)) {
		*why = "descriptor of a memory region is not a file";
		return -EINVAL;
	}
	if (fs.f_type == FUSE_SUPER_MAGIC) {
		/* Its owner answers page faults, or does not, and would hold a worker up. */
		*why = "file behind a memory region is on a FUSE file system";
		return -EINVAL;
	}
	if (st.st_size < 0 || (uint64_t)st.st_size < end) {
		*why = "file behind a memory region is shorter than offset and size say";
		return -EINVAL;
	}
	*ret_page = (size_t)sysconf(_SC_PAGESIZE);
	if (fs.f_type == HUGETLBFS_MAGIC && (size_t)st.st_blksize > *ret_page)
		*ret_page = (size_t)st.st_blksize;
	return 0;
}

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

/*
 * map_region() - one region of a file, wholly
 *
 * A hugetlbfs file can be mapped only from a multiple of its page on, and munmap() wants whole
 * pages; so the mapping may begin before the region and end after it.
 */
static int map_region(const struct vhost_region_desc *d, int fd, struct vhost_region *ret_region,
                      const char **why)
{
	struct vhost_mapping *m;
	uint64_t lead;
	size_t page = 0;
	int err;

	err = check_file(fd, d->mmap_offset + d->size, &page, why);
	if (err < 0)
		return err;
	m = malloc(sizeof(*m));
	if (!m) {
		*why = "out of memory";
		return -ENOMEM;
	}
	lead = d->mmap_offset & (page - 1);
	*m = (struct vhost_mapping){.refs = 1, .len = (lead + d->size + page - 1) & ~(page - 1)};
	m->addr = mmap(NULL, m->len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd,
	               (off_t)(d->mmap_offset - lead));
	if (m->addr == MAP_FAILED) {
		err = -errno;
		*why = "mmap of a memory region failed";
		goto fail;
	}
	/* A core file must hold our state, not the guests'. Advice: its failure is harmless. */
	(void)madvise(m->addr, m->len, MADV_DONTDUMP);
	err = vhost_sigbus_add(m->addr, m->len, page, &m->slot);
	if (err < 0) {
		*why = "no protection against SIGBUS for a memory region";
		goto fail;
	}
	*ret_region = (struct vhost_region){.gpa = d->gpa,
	                                    .size = d->size,
	                                    .uva = d->uva,
	                                    .host = (uint8_t *)m->addr + lead,
	                                    .mapping = m};
	return 0;
fail:
	mapping_unref(m);
	return err;
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
	err = map_region(desc, fd, &region, why);
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
		mem->regions[mem->n_regions] = old->regions[i];
		mem->regions[mem->n_regions++].mapping->refs++;
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

void vhost_mem_free(struct vhost_mem *mem)
{
	if (!mem)
		return;
	for (uint32_t i = 0; i < mem->n_regions; i++)
		mapping_unref(mem->regions[i].mapping);
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
		if (vhost_sigbus_lost(mem->regions[i].mapping->slot))
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
