/* SPDX-License-Identifier: BSD-2-Clause */
#include <time.h>

#include "clock.h"
#include "fake_clock.h"

static uint64_t shown_ns; /* 0: it runs */

int __real_clock_gettime(clockid_t id, struct timespec *ret);
int __wrap_clock_gettime(clockid_t id, struct timespec *ret);

/* The linker puts this in the place of the C library's. */
int __wrap_clock_gettime(clockid_t id, struct timespec *ret)
{
	if (!shown_ns)
		return __real_clock_gettime(id, ret);
	ret->tv_sec = (time_t)(shown_ns / 1000000000);
	ret->tv_nsec = (long)(shown_ns % 1000000000);
	return 0;
}

void fake_clock_stop(void)
{
	shown_ns = clock_now_ns();
}

void fake_clock_run(void)
{
	shown_ns = 0;
}

void fake_clock_pass_ms(uint32_t ms)
{
	shown_ns += ms * 1000000ull;
}
