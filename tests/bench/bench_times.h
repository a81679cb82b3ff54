/* SPDX-License-Identifier: BSD-2-Clause */
/* bench_times.h - a list of times, and its quantiles */
#ifndef BENCH_TIMES_H
#define BENCH_TIMES_H

#include <stdbool.h>
#include <stdint.h>

struct bench_times {
	uint32_t *ns;
	uint32_t n;
};

/** bench_times_init() - Return: 0 or -ENOMEM */
int bench_times_init(struct bench_times *t);
void bench_times_free(struct bench_times *t); /* takes one that is all zero */

void bench_times_add(struct bench_times *t, uint64_t ns);
bool bench_times_full(const struct bench_times *t);

/** bench_times_print() - number and quantiles as members of a JSON object; of one time at least */
void bench_times_print(struct bench_times *t);

#endif
