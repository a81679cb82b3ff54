/* SPDX-License-Identifier: BSD-2-Clause */
/* core_share.h - how much of its core a CPU has right now */
#ifndef BENCH_CORE_SHARE_H
#define BENCH_CORE_SHARE_H

/**
 * bench_core_share() - how many additions a CPU does at once
 * @cpu: the caller's thread is moved there and stays
 * @ms: how long to measure
 * @ret_at_once: median; what it is at best is a property of the core
 * Return: 0 or -errno (the CPU may not be used).
 */
int bench_core_share(int cpu, int ms, double *ret_at_once);

#endif
