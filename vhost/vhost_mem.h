/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vhost_mem.h - guest memory: mappings, and tables that translate addresses
 *
 * A `struct vhost_mem` is an immutable table of the regions that a front end has shared. Workers
 * read it without locks; the control thread replaces it whole and frees the old one after every
 * worker has passed a quiescent point. The mmap() behind a region is counted, so that a table
 * that adds or removes one region shares the others with its predecessor.
 *
 * Addresses: gpa = guest-physical (in descriptors), uva = the front end's own virtual address (in
 * SET_VRING_ADDR), host = ours.
 */
#ifndef VHOST_MEM_H
#define VHOST_MEM_H

#include "base.h"

#define VHOST_MEM_MAX_REGIONS                                                                      \
	509 /* what GET_MAX_MEM_SLOTS answers; as rust-vmm and libvhost-user */

/* Guest memory per device; keeps one front end from using up our address space (sparse files) */
#define VHOST_MEM_MAX_BYTES ((uint64_t)1 << 44)

struct vhost_late;
struct vhost_mapping;
struct vhost_postcopy;

struct vhost_region {
	uint64_t gpa;
	uint64_t size; /* bytes, > 0; gpa + size and uva + size do not wrap */
	uint64_t uva;
	uint8_t *host; /* of the region's first byte */
	struct vhost_mapping *mapping;
	struct vhost_late *late; /* its pages may not be here yet, vhost_late.h; NULL: they are */
};

struct vhost_mem {
	uint32_t n_regions;
	struct vhost_region regions[]; /* sorted by gpa, disjoint */
};

/* The region that the last translation hit: nearly every address of a ring lies in the same one. */
struct vhost_mem_hint {
	uint64_t gpa;
	uint64_t size; /* 0: empty */
	uint8_t *host;
};

/* What a front end says of a region; layout of the message's "single memory region description". */
struct vhost_region_desc {
	uint64_t gpa;
	uint64_t size;
	uint64_t uva;
	uint64_t mmap_offset;
};

/**
 * vhost_mem_new() - map a whole table (SET_MEM_TABLE)
 * @descs: what the front end said, host order; untrusted
 * @fds: one descriptor per region; borrowed, the caller closes them
 * @n: regions, 0..VHOST_MEM_MAX_REGIONS
 * @ret_mem: new table, caller owns it
 * @ret_why: on failure a static sentence for the log; may be NULL
 *
 * Refuses sizes of zero, wrapping ranges, overlaps in gpa or uva, offsets that are not a multiple
 * of the system's page size (within a hugetlbfs file any such offset will do: QEMU splits memory
 * around the BIOS), more than VHOST_MEM_MAX_BYTES in all, descriptors that are no plain file, and
 * files shorter than offset + size (a later access would be SIGBUS).
 * Context: control thread.
 * Return: 0, -EINVAL, -ENOMEM, or the error of mmap()/fstat().
 */
int vhost_mem_new(const struct vhost_region_desc *descs, const int *fds, uint32_t n,
                  struct vhost_mem **ret_mem, const char **ret_why);

/** vhost_mem_add() - a copy of @old (may be NULL) with one more region (ADD_MEM_REG). As above. */
int vhost_mem_add(const struct vhost_mem *old, const struct vhost_region_desc *desc, int fd,
                  struct vhost_mem **ret_mem, const char **ret_why);

/**
 * vhost_mem_remove() - a copy of @old without one region (REM_MEM_REG)
 * @desc: matched by gpa, uva and size; the offset is ignored, as front ends send any
 * Return: 0, -ENOENT if there is no such region, -ENOMEM.
 */
int vhost_mem_remove(const struct vhost_mem *old, const struct vhost_region_desc *desc,
                     struct vhost_mem **ret_mem);

/** vhost_mem_free() - drop a table; unmaps what no other table uses. Takes NULL. */
void vhost_mem_free(struct vhost_mem *mem);

/**
 * vhost_mem_make_late() - pages of a region that is new in @mem may come late
 * @mem: not published yet
 * @gpa: of the region, @fd: its file; borrowed
 * @ret_ask: where we will fault for its first byte
 * @ret_why: on failure a static sentence for the log
 * Context: control thread. Return: 0, or the error of vhost_postcopy_add().
 */
int vhost_mem_make_late(struct vhost_mem *mem, uint64_t gpa, int fd,
                        struct vhost_postcopy *postcopy, uint64_t *ret_ask, const char **ret_why);

/** vhost_mem_arrived() - a copy of @old in which no page is late. Return: 0, -ENOMEM. */
int vhost_mem_arrived(const struct vhost_mem *old, struct vhost_mem **ret_mem);

/**
 * vhost_mem_unguard() - missing pages read as zeros from now on; vhost_postcopy_unguard()
 * vhost_mem_end_late() - plain mappings from now on; no table says otherwise
 */
void vhost_mem_unguard(const struct vhost_mem *mem);
void vhost_mem_end_late(struct vhost_mem *mem);

/** vhost_mem_is_here() - are all pages of a range, which lies in one region, here? */
bool vhost_mem_is_here(const struct vhost_mem *mem, const void *host, uint64_t len,
                       struct vhost_late **ret_late);

/** vhost_mem_bytes() - sum of the regions' sizes. Takes NULL. */
uint64_t vhost_mem_bytes(const struct vhost_mem *mem);

/**
 * vhost_mem_lost() - has a file behind this table become shorter than its regions?
 *
 * Accesses to such a region go to anonymous memory that the guest does not see; vhost_sigbus.h.
 */
bool vhost_mem_lost(const struct vhost_mem *mem);

/* A byte of guest memory, in terms that outlive a connection and a process. */
struct vhost_origin {
	uint64_t dev, ino; /* of the file */
	uint64_t offset;
};

/** vhost_mem_origin() - where in which file a byte at @host lies. Return: false: in no region */
bool vhost_mem_origin(const struct vhost_mem *mem, const void *host,
                      struct vhost_origin *ret_origin);

/** vhost_mem_uva() - host address of a range in the front end's address space, or NULL. */
void *vhost_mem_uva(const struct vhost_mem *mem, uint64_t uva, uint64_t len);

/**
 * vhost_mem_gpa_of() - guest-physical address of a byte that was translated by @mem
 * Looks at one region after the other: not for the plain path. Return: false if it is in none.
 */
bool vhost_mem_gpa_of(const struct vhost_mem *mem, const void *host, uint64_t *ret_gpa);

/** vhost_mem_find() - the region that holds all of [gpa, gpa + len), or NULL. Binary search. */
const struct vhost_region *vhost_mem_find(const struct vhost_mem *mem, uint64_t gpa, uint64_t len);

/**
 * vhost_mem_gpa() - host address of a guest-physical byte range
 * @mem: table, borrowed for the current burst
 * @hint: last region used; updated. Must be emptied when @mem is replaced
 * @gpa: guest-physical address of the first byte; untrusted
 * @len: bytes; the range must lie inside one region
 *
 * Spec: virtio 1.3, 2.7.5; vhost-user, "Memory regions description".
 * Context: the worker that owns the ring. Does not allocate, log or block.
 * Return: address of the first byte, or NULL if any byte is unmapped.
 */
static always_inline void *vhost_mem_gpa(const struct vhost_mem *mem, struct vhost_mem_hint *hint,
                                         uint64_t gpa, uint32_t len)
{
	uint64_t off = gpa - hint->gpa;
	const struct vhost_region *r;

	/* Subtract, never add: gpa + len may wrap. */
	if (likely(off < hint->size && len <= hint->size - off))
		return hint->host + off;
	r = vhost_mem_find(mem, gpa, len);
	if (!r)
		return NULL;
	*hint = (struct vhost_mem_hint){.gpa = r->gpa, .size = r->size, .host = r->host};
	return r->host + (gpa - r->gpa);
}

#endif
