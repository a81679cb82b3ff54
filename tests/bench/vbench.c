// SPDX-License-Identifier: BSD-2-Clause
/*
 * vbench.c - measure a vhost-user back end from the guests' side
 *
 *   vbench c2c      distance of two CPUs, and how much of its core each has
 *   vbench copy     no guest: bare copies of as many frames, what copying alone allows
 *   vbench pair     two guests: frames consumed and delivered in a second, one or both ways
 *   vbench fan      the first guest to all others, frame by frame in turn
 *   vbench ports    many guests, each with its neighbour, or some idle
 *   vbench tx       one guest: frames consumed in a second
 *   vbench rx       one guest: frames delivered in a second
 *   vbench lat      two guests: one frame at a time, there and back
 *   vbench idle     two guests: one frame after each pause
 *   vbench wake     no guest: until the kernel has woken a thread on the back end's CPU
 *   vbench rate     two guests: frames at a fixed rate, CPU time of the back end
 *
 * One thread on one CPU plays all guests; the back end belongs on another CPU. Prints one JSON
 * object. How it stays cheaper than what it measures: bench_port.h.
 */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "bench_copy.h"
#include "bench_flow.h"
#include "bench_guests.h"
#include "bench_pace.h"
#include "bench_wake.h"
#include "c2c.h"
#include "core_share.h"

enum { SHARE_MS = 3 };

static void on_signal(int sig)
{
	(void)sig;
	bench_stopped = 1;
}

static int run_c2c(const struct bench_options *o)
{
	double median, min, max, share[2];
	int err = bench_c2c(o->cpu, o->cpu_b, o->ms, &median, &min, &max);

	if (!err)
		err = bench_core_share(o->cpu, SHARE_MS, &share[0]);
	if (!err)
		err = bench_core_share(o->cpu_b, SHARE_MS, &share[1]);
	if (err)
		return bench_print_failure(NULL, err);
	printf("{\"mode\": \"c2c\", \"cpus\": [%d, %d], \"ns\": %.1f, \"min_ns\": %.1f, "
	       "\"max_ns\": %.1f, \"adds_at_once\": [%.2f, %.2f], \"ok\": true}\n",
	       o->cpu, o->cpu_b, median, min, max, share[0], share[1]);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *mode;
		int (*run)(const struct bench_options *);
	} others[] = {{"lat", bench_round_trip},
	              {"idle", bench_after_idle},
	              {"wake", bench_wake},
	              {"rate", bench_fixed_rate},
	              {"copy", bench_copy}};
	struct sigaction act = {.sa_handler = on_signal};
	struct bench_options o;
	int err;

	bench_options_parse(argc, argv, &o);
	sigaction(SIGINT, &act, NULL);
	sigaction(SIGTERM, &act, NULL);
	if (o.fifo && sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){1}) < 0)
		fprintf(stderr, "vbench: no real-time priority: %s\n", strerror(errno));
	if (strcmp(o.mode, "c2c") == 0)
		return run_c2c(&o);
	err = bench_pin(o.cpu);
	if (err) {
		fprintf(stderr, "vbench: CPU %d: %s\n", o.cpu, strerror(-err));
		return 1;
	}
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		if (strcmp(o.mode, others[i].mode) == 0)
			return others[i].run(&o);
	}
	return bench_flow(&o);
}
