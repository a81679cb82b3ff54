/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdlib.h>
#include "vhost_log.h"
#include "vhost_mapping.h"

int vhost_log_new(int fd, uint64_t size, uint64_t offset, struct vhost_log **ret_log,
                  const char **ret_why)
{
	struct vhost_log *log;
	int err;

	if (size == 0) {
		*ret_why = "size 0";
		return -EINVAL;
	}
	/* So their sum does not wrap, either. */
	if (size > VHOST_LOG_MAX_BYTES || offset > INT64_MAX - VHOST_LOG_MAX_BYTES) {
		*ret_why = "size or offset beyond what a guest can need";
		return -EINVAL;
	}
	log = calloc(1, sizeof(*log));
	if (!log) {
		*ret_why = "out of memory";
		return -ENOMEM;
	}
	log->size = size;
	err = vhost_mapping_new(fd, offset, size, &log->mapping, &log->bits, ret_why);
	if (err < 0) {
		vhost_log_free(log);
		return err;
	}
	*ret_log = log;
	return 0;
}

void vhost_log_free(struct vhost_log *log)
{
	if (!log)
		return;
	vhost_mapping_unref(log->mapping);
	free(log);
}

bool vhost_log_lost(const struct vhost_log *log)
{
	return log && vhost_mapping_lost(log->mapping);
}

bool vhost_log_covers(const struct vhost_log *log, uint64_t gpa, uint64_t len)
{
	return len - 1 <= UINT64_MAX - gpa && (gpa + (len - 1)) / VHOST_LOG_PAGE / 8 < log->size;
}

void vhost_log_mark(const struct vhost_log *log, uint64_t gpa, uint64_t len)
{
	const uint64_t n_pages = log->size * 8;
	uint64_t page = gpa / VHOST_LOG_PAGE, last;

	if (!len || page >= n_pages)
		return;
	last = len - 1 > UINT64_MAX - gpa ? UINT64_MAX : gpa + (len - 1);
	last /= VHOST_LOG_PAGE;
	for (; page <= last && page < n_pages; page++)
		/*
		 * vhost-user, "Migration": "Use atomic operations, as the log may be concurrently
		 * manipulated". Release: pairs with the front end's exchange of the word, after
		 * which it reads the page. To look first and spare the store would need a fence.
		 */
		__atomic_fetch_or(&log->bits[page / 8], (uint8_t)(1u << page % 8),
		                  __ATOMIC_RELEASE);
}

void vhost_log_wrote(const struct vhost_log *log, const struct vhost_mem *mem, const void *host,
                     uint64_t len)
{
	uint64_t gpa;

	if (vhost_mem_gpa_of(mem, host, &gpa))
		vhost_log_mark(log, gpa, len);
}

void vhost_log_mark_all(const struct vhost_log *log, const struct vhost_mem *mem)
{
	for (uint32_t i = 0; i < mem->n_regions; i++)
		vhost_log_mark(log, mem->regions[i].gpa, mem->regions[i].size);
}
