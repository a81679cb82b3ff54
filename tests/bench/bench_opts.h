/* SPDX-License-Identifier: BSD-2-Clause */
/* bench_opts.h - the command line of vbench */
#ifndef BENCH_OPTS_H
#define BENCH_OPTS_H

#include <stdbool.h>
#include <stdint.h>

#include "vfe_frame.h"

enum { BENCH_MAX_GUESTS = 256 };

struct bench_options {
	const char *mode;
	const char *sockets[BENCH_MAX_GUESTS];
	int n_sockets;
	struct vfe_mac mac; /* of the first guest; the others count on */
	struct vfe_mac dst;
	bool has_dst;
	uint32_t size;
	uint32_t stride;
	uint32_t rx_stride;
	uint16_t ring;
	bool touch;
	bool both;
	bool hugepages;
	bool mergeable;
	bool event_idx;
	bool indirect;
	bool in_order;
	bool packed;
	bool fifo;
	int cpu;
	int cpu_b;
	int ms;
	int warmup_ms;
	int active;      /* ports: so many of the guests have traffic */
	uint32_t nap_us; /* rx: sleep between two looks; 0: poll */
	uint32_t gap_us; /* idle: mean of the time between two frames */
	uint32_t pps;    /* rate: frames a second */
	int watch_pid;   /* rate: the process whose CPU time is counted; 0: none */
};

/** bench_options_parse() - read the command line; prints what is wrong and exits */
void bench_options_parse(int argc, char **argv, struct bench_options *ret);

#endif
