/* SPDX-License-Identifier: BSD-2-Clause */
/* bench_wake.h - how long the kernel takes to wake a thread on another CPU, and nothing else */
#ifndef BENCH_WAKE_H
#define BENCH_WAKE_H

#include "bench_opts.h"

/**
 * bench_wake() - mode wake: after each pause a write to an eventfd, until the thread that waits for
 * it in epoll_wait() on the other CPU has seen it. What no back end that sleeps can be faster than.
 * Prints; returns exit status.
 */
int bench_wake(const struct bench_options *o);

#endif
