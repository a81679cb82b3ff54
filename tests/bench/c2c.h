/* SPDX-License-Identifier: BSD-2-Clause */
/* c2c.h - how far two CPUs are from each other right now */
#ifndef BENCH_C2C_H
#define BENCH_C2C_H

#include <stddef.h>
#include <stdint.h>

/**
 * bench_c2c() - round trip of a cache line between two CPUs
 * @cpu_a: CPU of the first thread; the caller's thread is moved there and stays
 * @cpu_b: CPU of the second thread
 * @ms: how long to measure; cut in ten slices
 * @ret_median_ns: median of the slices
 * @ret_min_ns, @ret_max_ns: the fastest and the slowest slice
 * Return: 0 or -errno (-EINVAL: the CPUs are the same or may not be used).
 */
int bench_c2c(int cpu_a, int cpu_b, int ms, double *ret_median_ns, double *ret_min_ns,
              double *ret_max_ns);

/** bench_sort() - the smallest first */
void bench_sort(double *values, size_t n);

/** bench_pin() - keep the calling thread on one CPU. 0 or -errno. */
int bench_pin(int cpu);

#endif
