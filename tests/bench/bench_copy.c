// SPDX-License-Identifier: BSD-2-Clause
/* bench_copy.c - what no back end that copies frames one by one with one thread can exceed */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "bench_copy.h"
#include "bench_guests.h"
#include "frame_copy.h"
#include "vfe_proto.h"

enum { SLICES = 10 };

struct copy_area {
	uint8_t *from, *to;
	uint32_t n, stride, size;
};

/* Each once. */
static void by_memcpy(const struct copy_area *a)
{
	for (uint32_t i = 0; i < a->n; i++)
		memcpy(a->to + (size_t)i * a->stride, a->from + (size_t)i * a->stride, a->size);
}

static void by_frame_copy(const struct copy_area *a)
{
	for (uint32_t i = 0; i < a->n; i++)
		frame_copy(a->to + (size_t)i * a->stride, a->from + (size_t)i * a->stride, a->size);
}

/* Million frames a second: the best of some slices, as it is a limit that is looked for. */
static double best_rate(const struct copy_area *a, void (*copy)(const struct copy_area *),
                        uint32_t ms)
{
	double best = 0;

	copy(a);
	for (int i = 0; i < SLICES && !bench_stopped; i++) {
		uint64_t start = bench_now_ns(), end = start + (uint64_t)ms * 1000000 / SLICES;
		uint64_t now, frames = 0;
		double rate;

		do {
			copy(a);
			frames += a->n;
			now = bench_now_ns();
		} while (now < end);
		rate = (double)frames * 1000 / (double)(now - start);
		best = rate > best ? rate : best;
	}
	return best;
}

int bench_copy(const struct bench_options *o)
{
	size_t len = (size_t)o->ring * o->stride;
	struct copy_area a = {.n = o->ring, .stride = o->stride, .size = o->size + VFE_HDR_LEN};
	uint8_t *map =
		mmap(NULL, 2 * len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	double libc, ours;

	if (map == MAP_FAILED)
		return bench_print_failure(NULL, -errno);
	(void)madvise(map, 2 * len, MADV_HUGEPAGE);
	memset(map, 0x5a, 2 * len);
	a.from = map;
	a.to = map + len;
	libc = best_rate(&a, by_memcpy, o->ms / 2);
	ours = best_rate(&a, by_frame_copy, o->ms / 2);
	munmap(map, 2 * len);
	printf("{\"mode\": \"copy\", \"size\": %u, \"ring\": %u, \"stride\": %u, \"mpps\": %.2f, "
	       "\"memcpy_mpps\": %.2f, \"frame_copy_mpps\": %.2f, \"ok\": true}\n",
	       o->size, o->ring, o->stride, libc > ours ? libc : ours, libc, ours);
	return 0;
}
