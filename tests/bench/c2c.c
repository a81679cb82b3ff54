// SPDX-License-Identifier: BSD-2-Clause
/*
 * c2c.c - core-to-core ping-pong
 *
 * Virtual CPUs are moved between physical cores behind our back, and the price of passing a cache
 * line between two of them changes fivefold with it. A ring benchmark is made of such passes, so
 * every sample is tagged with what one costs just before and just after it.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#include "c2c.h"
#include "vfe_msg.h"

enum { SLICES = 10 };

struct court {
	alignas(64) _Atomic uint64_t ball; /* odd: the other side's turn */
	alignas(64) _Atomic bool over;
	_Atomic int ready; /* 1, or -errno */
	int cpu;
};

int bench_pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set) < 0 ? -errno : 0;
}

static inline void relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#endif
}

static void *partner(void *arg)
{
	struct court *c = arg;
	int err = bench_pin(c->cpu);

	atomic_store(&c->ready, err ? err : 1);
	while (!err && !atomic_load_explicit(&c->over, memory_order_relaxed)) {
		uint64_t v = atomic_load_explicit(&c->ball, memory_order_acquire);

		if (v & 1)
			atomic_store_explicit(&c->ball, v + 1, memory_order_release);
		else
			relax();
	}
	return NULL;
}

/* Plays for @us and returns nanoseconds for one round. */
static double play(struct court *c, uint64_t us)
{
	uint64_t start = vfe_now_us(), now = start, rounds = 0;
	uint64_t v = atomic_load_explicit(&c->ball, memory_order_acquire);

	while (now - start < us) {
		for (int i = 0; i < 100; i++) {
			atomic_store_explicit(&c->ball, v + 1, memory_order_release);
			while (atomic_load_explicit(&c->ball, memory_order_acquire) != v + 2)
				relax();
			v += 2;
		}
		rounds += 100;
		now = vfe_now_us();
	}
	return (double)(now - start) * 1000 / (double)rounds;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

void bench_sort(double *values, size_t n)
{
	qsort(values, n, sizeof(*values), by_size);
}

int bench_c2c(int cpu_a, int cpu_b, int ms, double *ret_median_ns, double *ret_min_ns,
              double *ret_max_ns)
{
	struct court c = {.cpu = cpu_b};
	double slices[SLICES];
	pthread_t thread;
	int err = cpu_a == cpu_b ? -EINVAL : bench_pin(cpu_a);

	if (err)
		return err;
	err = -pthread_create(&thread, NULL, partner, &c);
	if (err)
		return err;
	while (!atomic_load(&c.ready))
		sched_yield();
	err = atomic_load(&c.ready) < 0 ? atomic_load(&c.ready) : 0;
	if (!err) {
		play(&c, 1000);
		for (int i = 0; i < SLICES; i++)
			slices[i] = play(&c, (uint64_t)ms * 1000 / SLICES);
	}
	atomic_store(&c.over, true);
	pthread_join(thread, NULL);
	if (err)
		return err;
	bench_sort(slices, SLICES);
	*ret_median_ns = slices[SLICES / 2];
	*ret_min_ns = slices[0];
	*ret_max_ns = slices[SLICES - 1];
	return 0;
}
