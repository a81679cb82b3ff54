/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cpu_latency.h - keep a CPU out of idle states from which it takes long to come back
 *
 * A thread that sleeps is woken when its CPU is: out of a deep idle state, or by a hypervisor that
 * took the virtual CPU's time away, that takes longer than all that the thread does then. The
 * kernel lets one set a limit for each CPU ("resume latency", in sysfs), which its cpuidle governor
 * looks at whenever the CPU gets idle. It outlives who set it: it is set while it is needed, and
 * what was there before is put back. A file that already says what we would say is taken for the
 * rest of a process that was killed, and counts as free.
 *
 * The thread that holds and releases is one; cpu_latency_get_state() may be called from any.
 */
#ifndef CPU_LATENCY_H
#define CPU_LATENCY_H

#include <stdatomic.h>

#include "base.h"

#define CPU_LATENCY_SYSFS "/sys"  /* what @sysfs is, except in tests */
#define CPU_LATENCY_MAX   1000000 /* microseconds */
#define CPU_LATENCY_NONE  UINT32_MAX

struct cpu_latency {
	int fd;          /* -1: there is nothing to set */
	char ours[12];   /* what the file shall say while we hold */
	char before[12]; /* and otherwise */
	_Atomic int state;
};

enum cpu_latency_state {
	CPU_LATENCY_OFF,      /* nobody asked for a limit */
	CPU_LATENCY_RELEASED, /* there is none now */
	CPU_LATENCY_HELD,     /* there is one now */
	CPU_LATENCY_STRICTER, /* somebody else has set a stricter one, which is left alone */
	CPU_LATENCY_FAILED,   /* the file cannot be read or written */
};

/**
 * cpu_latency_open() - be ready to limit the wake-up time of @cpu to @us microseconds
 * @us: 0: the CPU does not sleep at all; CPU_LATENCY_NONE: no limit is wanted
 *
 * Return: 0, or -errno of the file, and all other calls do nothing then. cpu_latency_close() in any
 * case.
 */
int cpu_latency_open(struct cpu_latency *cl, const char *sysfs, int cpu, uint32_t us);

/** cpu_latency_hold(), cpu_latency_release() - cheap if it is so already */
void cpu_latency_hold(struct cpu_latency *cl);
void cpu_latency_release(struct cpu_latency *cl);

/** cpu_latency_is_open() - there is something to hold and to release */
static inline bool cpu_latency_is_open(const struct cpu_latency *cl)
{
	return cl->fd >= 0;
}

enum cpu_latency_state cpu_latency_get_state(const struct cpu_latency *cl);

/** cpu_latency_close() - release, for good */
void cpu_latency_close(struct cpu_latency *cl);

#endif
