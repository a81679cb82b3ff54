// SPDX-License-Identifier: BSD-2-Clause
/* vfe_mem.c - guest memory of the test front end, and telling the back end about it */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vfe.h"

#define HUGE_PAGE     ((size_t)2 << 20)
#define MFD_2MB_PAGES (21u << 26) /* MFD_HUGE_2MB: log2 of the size, in the upper bits */

static size_t round_up(size_t n, size_t to)
{
	return (n + to - 1) / to * to;
}

/* One memfd per region, as QEMU does for memory backends. Fills @r or returns -errno. */
static int region_make(const struct vfe_config *c, uint64_t gpa, size_t size, struct vfe_region *r)
{
	unsigned int flags = MFD_CLOEXEC | (c->hugepages ? MFD_HUGETLB | MFD_2MB_PAGES : 0);
	int err;

	*r = (struct vfe_region){.fd = memfd_create("vfe-guest", flags), .map = MAP_FAILED};
	if (r->fd < 0)
		return -errno;
	r->map_len = c->mmap_offset + size;
	if (ftruncate(r->fd, (off_t)r->map_len) < 0)
		goto fail;
	r->map = mmap(NULL, r->map_len, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, 0);
	if (r->map == MAP_FAILED)
		goto fail;
	r->host = r->map + c->mmap_offset;
	r->wire = (struct vfe_msg_region){
		.gpa = gpa, .size = size, .uva = (uintptr_t)r->host, .mmap_offset = c->mmap_offset};
	return 0;
fail:
	err = -errno;
	close(r->fd);
	r->fd = -1;
	return err;
}

static void region_free(struct vfe_region *r)
{
	if (r->map_len && r->map != MAP_FAILED)
		munmap(r->map, r->map_len);
	if (r->fd >= 0)
		close(r->fd);
	*r = (struct vfe_region){.fd = -1, .map = MAP_FAILED};
}

/* What rings and buffers need, so that the default memory size fits any configuration. */
static size_t mem_needed(const struct vfe_config *c)
{
	size_t ring = (size_t)c->ring_size * (sizeof(struct vfe_desc) * (1 + VFE_MAX_PIECES) + 16);
	size_t gaps = 2 * VFE_PIECE_GAP * VFE_MAX_PIECES;
	size_t bufs = (size_t)c->ring_size * (c->bufs.rx_size + c->bufs.tx_size + gaps + 128);

	return ((size_t)2 << 20) + c->n_pairs * (2 * ring + bufs + 65536) * 5 / 4;
}

int vfe_mem_init(struct vfe *v)
{
	struct vfe_config *c = &v->config;
	size_t page = c->hugepages ? HUGE_PAGE : 4096;
	size_t each;

	if (!c->n_regions)
		c->n_regions = 1;
	if (c->n_regions > VFE_MAX_REGIONS || c->mmap_offset % 4096)
		return vfe_fail(v, -EINVAL, "bad number of regions or mmap offset");
	if (!c->mem_size)
		c->mem_size = mem_needed(c);
	each = round_up(c->mem_size / c->n_regions + 1, page);
	for (uint32_t i = 0; i < c->n_regions; i++) {
		uint64_t gpa = c->gpa_base + i * (each + c->gpa_gap);
		int err = region_make(c, gpa, each, &v->regions[i]);

		if (err < 0)
			return vfe_fail(v, err, "guest memory region %u of %zu bytes: %s", i, each,
			                strerror(-err));
		v->n_regions = i + 1;
	}
	return 0;
}

void vfe_mem_free(struct vfe *v)
{
	for (uint32_t i = 0; i < v->n_regions; i++)
		region_free(&v->regions[i]);
	v->n_regions = 0;
}

void *vfe_mem_alloc(struct vfe *v, uint32_t region, size_t size, size_t align)
{
	for (uint32_t i = 0; i < v->n_regions; i++) {
		struct vfe_region *r = &v->regions[(region + i) % v->n_regions];
		size_t at = round_up(r->used, align);

		if (at <= r->wire.size && size <= r->wire.size - at) {
			r->used = at + size;
			return r->host + at;
		}
	}
	return NULL;
}

uint64_t vfe_gpa(const struct vfe *v, const void *ptr)
{
	const char *p = ptr;

	for (uint32_t i = 0; i < v->n_regions; i++) {
		const struct vfe_region *r = &v->regions[i];

		if (p >= r->host && p < r->host + r->wire.size)
			return r->wire.gpa + (uint64_t)(p - r->host) +
			       (v->config.iommu ? VFE_IOVA : 0);
	}
	abort(); /* a mistake of the test: not guest memory */
}

static int send_table(struct vfe *v)
{
	struct vfe_msg_mem_table table = {.n_regions = v->n_regions};
	int fds[VFE_TABLE_MAX];

	if (v->n_regions > VFE_TABLE_MAX)
		return vfe_fail(v, -E2BIG, "%u regions do not fit SET_MEM_TABLE", v->n_regions);
	for (uint32_t i = 0; i < v->n_regions; i++) {
		table.regions[i] = v->regions[i].wire;
		fds[i] = v->regions[i].fd;
	}
	return vfe_tell(v, "SET_MEM_TABLE", VFE_SET_MEM_TABLE, &table,
	                8 + v->n_regions * (uint32_t)sizeof(table.regions[0]), fds, v->n_regions,
	                true);
}

static int send_slot(struct vfe *v, const struct vfe_region *r)
{
	struct vfe_msg_mem_reg reg = {.region = r->wire};

	return vfe_tell(v, "ADD_MEM_REG", VFE_ADD_MEM_REG, &reg, sizeof(reg), &r->fd, 1, true);
}

int vfe_mem_send(struct vfe *v)
{
	if (!vfe_has_protocol(v, VFE_PF_CONFIGURE_MEM_SLOTS))
		return send_table(v);
	if (v->mem_sent)
		return 0;
	for (uint32_t i = 0; i < v->n_regions; i++) {
		int err = send_slot(v, &v->regions[i]);

		if (err < 0)
			return err;
	}
	v->mem_sent = true;
	return 0;
}

int vfe_mem_add(struct vfe *v, uint64_t gpa, size_t size)
{
	struct vfe_region *r = &v->regions[v->n_regions];
	int err;

	if (v->n_regions == VFE_MAX_REGIONS)
		return vfe_fail(v, -E2BIG, "too many regions");
	err = region_make(&v->config, gpa, round_up(size, 4096), r);
	if (err < 0)
		return vfe_fail(v, err, "new guest memory region: %s", strerror(-err));
	v->n_regions++;
	err = vfe_has_protocol(v, VFE_PF_CONFIGURE_MEM_SLOTS) ? send_slot(v, r) : send_table(v);
	if (err < 0) {
		v->n_regions--;
		region_free(r);
		return err;
	}
	return (int)v->n_regions - 1;
}

int vfe_mem_remove(struct vfe *v, uint32_t index)
{
	struct vfe_msg_mem_reg reg = {0};
	struct vfe_region gone;

	if (index >= v->n_regions)
		return vfe_fail(v, -EINVAL, "no region %u", index);
	gone = v->regions[index];
	reg.region = gone.wire;
	v->n_regions--;
	memmove(&v->regions[index], &v->regions[index + 1],
	        (v->n_regions - index) * sizeof(v->regions[0]));
	v->regions[v->n_regions] = (struct vfe_region){.fd = -1, .map = MAP_FAILED};
	int err = vfe_has_protocol(v, VFE_PF_CONFIGURE_MEM_SLOTS)
	                  ? vfe_tell(v, "REM_MEM_REG", VFE_REM_MEM_REG, &reg, sizeof(reg), NULL, 0,
	                             true)
	                  : send_table(v);
	region_free(&gone);
	return err;
}
