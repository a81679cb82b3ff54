// SPDX-License-Identifier: BSD-2-Clause
/*
 * core_share.c - how much of its core a CPU has
 *
 * A virtual CPU mostly is one of two threads of a core, and what the host runs on the other one
 * takes up to half of it. Nothing tells us, but arithmetic does: additions that need each other's
 * results take a cycle each whatever the other thread does, while those that do not are done
 * several at once, as many as the other thread leaves room for. The ratio does not depend on the
 * clock rate.
 * CPUs are asked one after the other: that two of ours are threads of one core is not seen.
 */
#include <stdint.h>

#include "bench_guests.h"
#include "c2c.h"
#include "core_share.h"

enum { ROUNDS = 1000, MAX_SLICES = 4096 };

/*
 * An addition that the compiler neither drops nor joins with another one. Of a register: some CPUs
 * add constants without executing anything.
 */
#define ADD(x)                                                                                     \
	do {                                                                                       \
		(x) += one;                                                                        \
		__asm__ volatile("" : "+r"(x));                                                    \
	} while (0)

static uint64_t in_a_row_ns(void)
{
	uint64_t start = bench_now_ns(), a = 0, one = start | 1;

	for (int i = 0; i < ROUNDS; i++) {
		ADD(a);
		ADD(a);
		ADD(a);
		ADD(a);
		ADD(a);
		ADD(a);
		ADD(a);
		ADD(a);
	}
	return bench_now_ns() - start;
}

static uint64_t at_once_ns(void)
{
	uint64_t start = bench_now_ns(), a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, g = 0, h = 0;
	uint64_t one = start | 1;

	for (int i = 0; i < ROUNDS; i++) {
		ADD(a);
		ADD(b);
		ADD(c);
		ADD(d);
		ADD(e);
		ADD(f);
		ADD(g);
		ADD(h);
	}
	return bench_now_ns() - start;
}

int bench_core_share(int cpu, int ms, double *ret_at_once)
{
	uint64_t end = bench_now_ns() + (uint64_t)ms * 1000000;
	double slices[MAX_SLICES];
	size_t n = 0;
	int err = bench_pin(cpu);

	if (err)
		return err;
	do {
		uint64_t in_a_row = in_a_row_ns(), at_once = at_once_ns();

		slices[n++] = (double)in_a_row / (double)(at_once ? at_once : 1);
	} while (n < MAX_SLICES && bench_now_ns() < end);
	bench_sort(slices, n);
	*ret_at_once = slices[n / 2];
	return 0;
}
