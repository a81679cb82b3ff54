// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench_times.h"

enum { MAX_TIMES = 2000000 };

int bench_times_init(struct bench_times *t)
{
	*t = (struct bench_times){.ns = malloc(MAX_TIMES * sizeof(*t->ns))};
	return t->ns ? 0 : -ENOMEM;
}

void bench_times_free(struct bench_times *t)
{
	free(t->ns);
	*t = (struct bench_times){0};
}

void bench_times_add(struct bench_times *t, uint64_t ns)
{
	if (!bench_times_full(t))
		t->ns[t->n++] = ns > UINT32_MAX ? UINT32_MAX : (uint32_t)ns;
}

bool bench_times_full(const struct bench_times *t)
{
	return t->n == MAX_TIMES;
}

static int by_size(const void *x, const void *y)
{
	uint32_t a = *(const uint32_t *)x, b = *(const uint32_t *)y;

	return (a > b) - (a < b);
}

static uint32_t quantile(const struct bench_times *t, uint32_t per_mille)
{
	return t->ns[(uint64_t)t->n * per_mille / 1000];
}

void bench_times_print(struct bench_times *t)
{
	qsort(t->ns, t->n, sizeof(*t->ns), by_size);
	printf("\"samples\": %u, \"min_ns\": %u, \"p50_ns\": %u, \"p90_ns\": %u, "
	       "\"p99_ns\": %u, \"p999_ns\": %u, \"max_ns\": %u, ",
	       t->n, t->ns[0], quantile(t, 500), quantile(t, 900), quantile(t, 990),
	       quantile(t, 999), t->ns[t->n - 1]);
}
