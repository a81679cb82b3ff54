// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cpu_latency.h"

/* The file says "n/a" for a limit of 0, and "0" for no limit. */
#define CPU_LATENCY_ZERO    "n/a"
#define CPU_LATENCY_NOLIMIT "0"

static uint32_t cpu_latency_parse(const char *text)
{
	unsigned long us;

	if (!strcmp(text, CPU_LATENCY_ZERO))
		return 0;
	us = strtoul(text, NULL, 10);
	return us && us < CPU_LATENCY_NONE ? (uint32_t)us : CPU_LATENCY_NONE;
}

static void cpu_latency_set_state(struct cpu_latency *cl, enum cpu_latency_state state)
{
	atomic_store_explicit(&cl->state, state, memory_order_relaxed);
}

static void cpu_latency_fail(struct cpu_latency *cl)
{
	close(cl->fd);
	cl->fd = -1;
	cpu_latency_set_state(cl, CPU_LATENCY_FAILED);
}

static int cpu_latency_read(struct cpu_latency *cl)
{
	ssize_t n = pread(cl->fd, cl->before, sizeof(cl->before) - 1, 0);

	if (n <= 0)
		return n < 0 ? -errno : -ENODATA;
	cl->before[n] = 0;
	cl->before[strcspn(cl->before, "\n")] = 0;
	return 0;
}

int cpu_latency_open(struct cpu_latency *cl, const char *sysfs, int cpu, uint32_t us)
{
	char path[PATH_MAX];
	int err;

	*cl = (struct cpu_latency){.fd = -1};
	if (us == CPU_LATENCY_NONE)
		return 0;
	(void)snprintf(cl->ours, sizeof(cl->ours), us ? "%" PRIu32 : CPU_LATENCY_ZERO, us);
	(void)snprintf(path, sizeof(path),
	               "%s/devices/system/cpu/cpu%d/power/pm_qos_resume_latency_us", sysfs, cpu);
	cl->fd = open(path, O_RDWR | O_CLOEXEC);
	if (cl->fd < 0) {
		err = -errno;
		cpu_latency_set_state(cl, CPU_LATENCY_FAILED);
		return err;
	}
	err = cpu_latency_read(cl);
	if (err < 0) {
		cpu_latency_fail(cl);
		return err;
	}
	if (cpu_latency_parse(cl->before) < us) {
		close(cl->fd);
		cl->fd = -1;
		cpu_latency_set_state(cl, CPU_LATENCY_STRICTER);
	} else if (!strcmp(cl->before, cl->ours)) {
		strcpy(cl->before, CPU_LATENCY_NOLIMIT);
		cpu_latency_set_state(cl, CPU_LATENCY_HELD);
	} else {
		cpu_latency_set_state(cl, CPU_LATENCY_RELEASED);
	}
	return 0;
}

static void cpu_latency_write(struct cpu_latency *cl, const char *text,
                              enum cpu_latency_state state)
{
	char line[sizeof(cl->ours) + 1];
	int len = snprintf(line, sizeof(line), "%s\n", text);

	if (cl->fd < 0 || cpu_latency_get_state(cl) == state)
		return;
	if (pwrite(cl->fd, line, (size_t)len, 0) == len)
		cpu_latency_set_state(cl, state);
	else
		cpu_latency_fail(cl);
}

void cpu_latency_hold(struct cpu_latency *cl)
{
	cpu_latency_write(cl, cl->ours, CPU_LATENCY_HELD);
}

void cpu_latency_release(struct cpu_latency *cl)
{
	cpu_latency_write(cl, cl->before, CPU_LATENCY_RELEASED);
}

enum cpu_latency_state cpu_latency_get_state(const struct cpu_latency *cl)
{
	return (enum cpu_latency_state)atomic_load_explicit((_Atomic int *)(uintptr_t)&cl->state,
	                                                    memory_order_relaxed);
}

void cpu_latency_close(struct cpu_latency *cl)
{
	cpu_latency_release(cl);
	if (cl->fd >= 0)
		close(cl->fd);
	cl->fd = -1;
}
