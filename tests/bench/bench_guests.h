/* SPDX-License-Identifier: BSD-2-Clause */
/* bench_guests.h - the guests of a measurement, what a clock and the scheduler say, the result */
#ifndef BENCH_GUESTS_H
#define BENCH_GUESTS_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "bench_opts.h"
#include "bench_port.h"

extern volatile sig_atomic_t bench_stopped; /* SIGINT or SIGTERM came */

struct bench_guests {
	const struct bench_options *o;
	struct bench_port *ports;
	int n;      /* opened, the last one perhaps half */
	int failed; /* its number, if opening failed; -1 */
};

/**
 * bench_guests_open() - connect and start a port for each socket of the options
 *
 * Guest i has the MAC of the options plus i. In mode fan the first guest sends to all others in
 * turn; else each sends to its neighbour (0 and 1, 2 and 3, ...), or all to --dst. Every guest but
 * the first sends one frame, so that a learning switch knows where it is. Return: 0 or -errno;
 * bench_guests_close() in any case.
 */
int bench_guests_open(struct bench_guests *g, const struct bench_options *o);

/**
 * bench_guests_stop() - stop all rings and count in what was still used
 * @ret_disorder: entries that break the assumption of bench_port.h
 */
int bench_guests_stop(struct bench_guests *g, uint32_t *ret_disorder);

void bench_guests_close(struct bench_guests *g);

/** bench_print_failure() - the result of a measurement that failed, as JSON. Return: 1. */
int bench_print_failure(const struct bench_guests *g, int err);

/** bench_print_setting() - opens the JSON object of a result */
void bench_print_setting(const struct bench_options *o);

/** bench_print_end() - ends it. Return: exit status. */
int bench_print_end(bool ok);

/** bench_now_ns() - monotonic clock */
uint64_t bench_now_ns(void);

/** bench_sleep_us() - sleep, as exactly as the kernel does */
void bench_sleep_us(uint32_t us);

/**
 * bench_pause() - for half to one and a half of @mean_us, so that no timer of a back end keeps step
 * @seed: of the random numbers, as for rand_r()
 *
 * The CPU is awake at the end, as that of a guest is which sends: how long this program itself
 * takes to wake up is not what is asked.
 * Return: the time then, as bench_now_ns().
 */
uint64_t bench_pause(uint32_t mean_us, unsigned int *seed);

/** bench_waited_ns() - time this thread has waited for a CPU; 0 where the kernel keeps no account
 */
uint64_t bench_waited_ns(void);

/** bench_cpu_ns() - CPU time of all threads of a process so far, by the scheduler's account; 0:
 * gone */
uint64_t bench_cpu_ns(int pid);

#endif
