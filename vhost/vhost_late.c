/* SPDX-License-Identifier: BSD-2-Clause */
/* vhost_late.c - guest memory whose pages arrive late; vhost_late.h has the theory */
#include <errno.h>
#include <linux/userfaultfd.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include "vhost_late.h"
#include "vhost_sigbus.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* since Linux 5.14 */
#endif

#define LATE_WINDOW 1024u /* pages, around one that is here, that are looked up with it */
#define LATE_TRIES  4     /* to get a page, before its file is taken for truncated */

static size_t late_len(const struct vhost_late *late)
{
	return late->n_pages << late->page_shift;
}

static int late_register(int fd, const void *start, size_t len)
{
	struct uffdio_register reg = {.range = {.start = (uintptr_t)start, .len = len},
	                              .mode = UFFDIO_REGISTER_MODE_MISSING};

	return ioctl(fd, UFFDIO_REGISTER, &reg) < 0 ? -errno : 0;
}

static int late_map(struct vhost_late *late, size_t page, int fd, uint64_t offset, const char **why)
{
	void *host = (void *)(uintptr_t)late->host;
	size_t len = late_len(late);
	int err;

	late->ask = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd,
	                 (off_t)offset);
	if (late->ask == MAP_FAILED) {
		*why = "memory region cannot be mapped a second time for post-copy";
		return -errno;
	}
	(void)madvise(late->ask, len, MADV_DONTDUMP);
	/* A huge page would be woken for only in part. Advice: kernels without them refuse it. */
	(void)madvise(late->ask, len, MADV_NOHUGEPAGE);
	err = vhost_sigbus_add(late->ask, len, page, &late->ask_slot);
	if (err < 0) {
		*why = "no protection against SIGBUS for a memory region";
		return err;
	}
	err = late_register(late->bus_fd, host, len);
	if (!err)
		err = late_register(late->fault_fd, late->ask, len);
	if (err < 0)
		*why = "post-copy needs guest memory on memfd, shm or hugetlbfs";
	return err;
}

int vhost_late_new(void *host, size_t len, size_t page, int fd, uint64_t offset, int fault_fd,
                   int bus_fd, struct vhost_late **ret_late, const char **ret_why)
{
	struct vhost_late *late = malloc(sizeof(*late));
	int err = -ENOMEM;

	if (!late) {
		*ret_why = "out of memory";
		return -ENOMEM;
	}
	*late = (struct vhost_late){.host = host,
	                            .page_shift = (uint32_t)__builtin_ctzl(page),
	                            .ask = MAP_FAILED,
	                            .fault_fd = fault_fd,
	                            .bus_fd = bus_fd};
	late->n_pages = len >> late->page_shift;
	/* Costs memory only where there are pages. */
	late->here =
		mmap(NULL, (late->n_pages + 63) / 64 * sizeof(*late->here), PROT_READ | PROT_WRITE,
	             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (late->here == MAP_FAILED) {
		*ret_why = "out of address space";
		goto fail;
	}
	err = late_map(late, page, fd, offset, ret_why);
	if (err < 0)
		goto fail;
	*ret_late = late;
	return 0;
fail:
	vhost_late_free(late);
	return err;
}

void vhost_late_unguard(struct vhost_late *late)
{
	struct uffdio_range range = {.start = (uintptr_t)late->host, .len = late_len(late)};

	(void)ioctl(late->bus_fd, UFFDIO_UNREGISTER, &range); /* fails if it is not registered */
}

void vhost_late_free(struct vhost_late *late)
{
	if (!late)
		return;
	vhost_late_unguard(late);
	vhost_sigbus_remove(late->ask_slot);
	if (late->ask != MAP_FAILED)
		munmap(late->ask, late_len(late));
	if (late->here != MAP_FAILED)
		munmap(late->here, (late->n_pages + 63) / 64 * sizeof(*late->here));
	free(late);
}

static void late_set(struct vhost_late *late, size_t page)
{
	/* W: acquire in vhost_late_is_here() */
	atomic_fetch_or_explicit(&late->here[page / 64], (uint64_t)1 << page % 64,
	                         memory_order_release);
}

/* Look up the pages around one that is here. Not for huge pages: they are few. */
static void late_learn(struct vhost_late *late, size_t page)
{
	unsigned char vec[LATE_WINDOW];
	size_t first = page - page % LATE_WINDOW;
	size_t n = late->n_pages - first < LATE_WINDOW ? late->n_pages - first : LATE_WINDOW;
	bool any_missing = false;

	if ((size_t)1 << late->page_shift != (size_t)sysconf(_SC_PAGESIZE) ||
	    mincore((void *)(uintptr_t)(late->host + (first << late->page_shift)),
	            n << late->page_shift, vec) < 0)
		return;
	for (size_t i = 0; i < n; i++)
		any_missing |= !(vec[i] & 1);
	if (any_missing)
		atomic_store_explicit(&late->mincore_is_true, true, memory_order_relaxed);
	if (!atomic_load_explicit(&late->mincore_is_true, memory_order_relaxed))
		return;
	for (size_t i = 0; i < n; i++)
		if (vec[i] & 1)
			late_set(late, first + i);
}

/* Is it here? Then it is mapped, too. Fails where a touch would be SIGBUS. */
static bool late_probe(struct vhost_late *late, size_t page)
{
	uint8_t *host = (uint8_t *)(uintptr_t)late->host + (page << late->page_shift);

	if (madvise(host, (size_t)1 << late->page_shift, MADV_POPULATE_WRITE) < 0)
		return false;
	late_set(late, page);
	late_learn(late, page);
	return true;
}

static bool late_is_released(const struct vhost_late *late)
{
	return atomic_load_explicit(&late->released, memory_order_acquire);
}

int vhost_late_fetch(struct vhost_late *late, size_t page)
{
	const _Atomic uint8_t *ask =
		(const _Atomic uint8_t *)late->ask + (page << late->page_shift);

	if (vhost_late_is_here(late, late->host + (page << late->page_shift), 1))
		return 0;
	/* Once may not be enough: the front end may give a page and take it back. */
	for (int i = 0; i < LATE_TRIES; i++) {
		if (late_is_released(late))
			return -ECANCELED;
		if (late_probe(late, page))
			return i > 0;
		(void)atomic_load_explicit(ask, memory_order_relaxed); /* sleeps here */
	}
	return late_is_released(late) ? -ECANCELED : -EFAULT;
}

void vhost_late_release(struct vhost_late *late)
{
	struct uffdio_range range = {.start = (uintptr_t)late->ask, .len = late_len(late)};

	atomic_store_explicit(&late->released, true, memory_order_release);
	/* A page of zeros that is nobody's: whoever is woken finds that and goes on. */
	(void)mmap(late->ask, range.len, PROT_READ,
	           MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	(void)ioctl(late->fault_fd, UFFDIO_WAKE, &range);
}
