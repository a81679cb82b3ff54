/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>
#include "vhost_mapping.h"
#include "vhost_postcopy.h"
#include "vhost_sigbus.h"

#ifndef FUSE_SUPER_MAGIC
#define FUSE_SUPER_MAGIC 0x65735546
#endif

/* Control thread only: the count needs no atomics. */
struct vhost_mapping {
	uint32_t refs;
	void *addr;
	size_t len;
	size_t page; /* of the file */
	struct vhost_sigbus_slot *slot;
	uint64_t dev, ino, offset; /* the file, and where in it addr is */
	struct vhost_late *late;   /* during post-copy migration */
};

struct vhost_mapping *vhost_mapping_ref(struct vhost_mapping *m)
{
	m->refs++;
	return m;
}

void vhost_mapping_unref(struct vhost_mapping *m)
{
	if (!m || --m->refs > 0)
		return;
	vhost_mapping_end_late(m);
	vhost_sigbus_remove(m->slot);
	if (m->addr != MAP_FAILED)
		munmap(m->addr, m->len);
	free(m);
}

int vhost_mapping_make_late(struct vhost_mapping *m, int fd, struct vhost_postcopy *postcopy,
                            struct vhost_late **ret_late, const char **ret_why)
{
	int err = vhost_postcopy_add(postcopy, m->addr, m->len, m->page, fd, m->offset, &m->late,
	                             ret_why);

	if (!err)
		*ret_late = m->late;
	return err;
}

void vhost_mapping_end_late(struct vhost_mapping *m)
{
	vhost_postcopy_remove(m->late);
	m->late = NULL;
}

bool vhost_mapping_lost(const struct vhost_mapping *m)
{
	return vhost_sigbus_lost(m->slot);
}

void vhost_mapping_origin(const struct vhost_mapping *m, const void *host, uint64_t *ret_dev,
                          uint64_t *ret_ino, uint64_t *ret_offset)
{
	*ret_dev = m->dev;
	*ret_ino = m->ino;
	*ret_offset = m->offset + ((uintptr_t)host - (uintptr_t)m->addr);
}

/* Is this a file whose pages we may wait for? @ret_page: its page size. */
static int check_file(int fd, uint64_t end, size_t *ret_page, struct stat *ret_st, const char **why)
{
	struct statfs fs;
	struct stat st;

	if (fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0) {
		int err = -errno;

		*why = "descriptor cannot be examined";
		return err;
	}
	if (!S_ISREG(st.st_mode)) {
		*why = "descriptor is not a file";
		return -EINVAL;
	}
	if (fs.f_type == FUSE_SUPER_MAGIC) {
		/* Its owner answers page faults, or does not, and would hold a worker up. */
		*why = "file is on a FUSE file system";
		return -EINVAL;
	}
	if (st.st_size < 0 || (uint64_t)st.st_size < end) {
		*why = "file is shorter than offset and size say";
		return -EINVAL;
	}
	*ret_page = (size_t)sysconf(_SC_PAGESIZE);
	if (fs.f_type == HUGETLBFS_MAGIC && (size_t)st.st_blksize > *ret_page)
		*ret_page = (size_t)st.st_blksize;
	*ret_st = st;
	return 0;
}

int vhost_mapping_new(int fd, uint64_t offset, uint64_t len, struct vhost_mapping **ret_mapping,
                      uint8_t **ret_host, const char **why)
{
	struct vhost_mapping *m;
	struct stat st = {0};
	uint64_t lead;
	size_t page = 0;
	int err;

	err = check_file(fd, offset + len, &page, &st, why);
	if (err < 0)
		return err;
	m = malloc(sizeof(*m));
	if (!m) {
		*why = "out of memory";
		return -ENOMEM;
	}
	lead = offset & (page - 1);
	*m = (struct vhost_mapping){.refs = 1,
	                            .len = (lead + len + page - 1) & ~(page - 1),
	                            .page = page,
	                            .dev = st.st_dev,
	                            .ino = st.st_ino,
	                            .offset = offset - lead};
	m->addr = mmap(NULL, m->len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd,
	               (off_t)(offset - lead));
	if (m->addr == MAP_FAILED) {
		err = -errno;
		*why = "mmap failed";
		goto fail;
	}
	/* A core file must hold our state, not the guests'. Advice: its failure is harmless. */
	(void)madvise(m->addr, m->len, MADV_DONTDUMP);
	err = vhost_sigbus_add(m->addr, m->len, page, &m->slot);
	if (err < 0) {
		*why = "no protection against SIGBUS";
		goto fail;
	}
	*ret_mapping = m;
	*ret_host = (uint8_t *)m->addr + lead;
	return 0;
fail:
	vhost_mapping_unref(m);
	return err;
}
