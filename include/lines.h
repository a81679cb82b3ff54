/* SPDX-License-Identifier: BSD-2-Clause */
/* lines.h - memory that shares no cache line with other allocations, for what one thread writes */
#ifndef VX_LINES_H
#define VX_LINES_H

#include <stdlib.h>
#include <string.h>
#include "base.h"

/** lines_alloc() - zeroed, for @n elements of @size bytes, at least one line; free() it */
static inline void *lines_alloc(size_t n, size_t size)
{
	size_t bytes = (n * size + CACHE_LINE) & ~(size_t)(CACHE_LINE - 1);
	void *p;

	if (size && n > SIZE_MAX / 2 / size)
		return NULL;
	p = aligned_alloc(CACHE_LINE, bytes);
	return p ? memset(p, 0, bytes) : NULL;
}

#endif
