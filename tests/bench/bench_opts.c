// SPDX-License-Identifier: BSD-2-Clause
/* bench_opts.c - the command line of vbench */
#include <getopt.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench_opts.h"
#include "vfe_args.h"
#include "vfe_proto.h"

/* Options that have no short form */
enum {
	OPT_RX_STRIDE = 256,
	OPT_EVENT_IDX,
	OPT_INDIRECT,
	OPT_ACTIVE,
	OPT_NAP_US,
	OPT_GAP_US,
	OPT_PPS,
	OPT_WATCH_PID,
};

static void usage(FILE *out)
{
	fputs("usage: vbench [options] c2c|copy|pair|fan|ports|tx|rx|lat|idle|wake|rate\n"
	      "\n"
	      "  --socket PATH         vhost-user socket of a guest; once for each guest\n"
	      "  --mac MAC             of the first guest (02:00:00:00:00:01); the others count "
	      "on\n"
	      "  --dst MAC             send there instead of to the other guest\n"
	      "  --size N              bytes without FCS (64)     --ring N    descriptors (1024)\n"
	      "  --stride N            bytes from buffer to buffer, a multiple of 64 (2048)\n"
	      "  --rx-stride N         size of receive buffers (as --stride); frames that are "
	      "longer "
	      "need --mergeable\n"
	      "  --touch               write each line before sending, read each received line\n"
	      "  --both                pair, ports: both ways\n"
	      "  --mergeable           negotiate MRG_RXBUF        --in-order  negotiate IN_ORDER\n"
	      "  --event-idx           negotiate EVENT_IDX\n"
	      "  --indirect            frames in indirect tables of two entries\n"
	      "  --packed              packed rings\n"
	      "  --active N            ports: guests with traffic, the first N (all)\n"
	      "  --nap-us N            rx: sleep between two looks (0)\n"
	      "  --gap-us N            idle, wake: mean time between two frames (10000)\n"
	      "  --pps N               rate: frames a second (10000)\n"
	      "  --watch-pid N         rate: count this process's CPU time\n"
	      "  --fifo                real-time priority: nothing else runs on our CPUs "
	      "meanwhile\n"
	      "  --hugepages           2 MiB pages for guest memory\n"
	      "  --cpu N (1)  --peer-cpu N (0; c2c, wake)  --ms N (1000)  --warmup-ms N (300)\n",
	      out);
}

static void add_socket(struct bench_options *o, const char *path)
{
	if (o->n_sockets == BENCH_MAX_GUESTS)
		vfe_arg_die("--socket", "too many guests");
	o->sockets[o->n_sockets++] = path;
}

/* Options that are either there or not. Returns NULL for another one. */
static bool *flag(int c, struct bench_options *o)
{
	switch (c) {
	case 't':
		return &o->touch;
	case 'b':
		return &o->both;
	case 'g':
		return &o->mergeable;
	case 'i':
		return &o->in_order;
	case 'P':
		return &o->packed;
	case 'f':
		return &o->fifo;
	case 'H':
		return &o->hugepages;
	case OPT_EVENT_IDX:
		return &o->event_idx;
	case OPT_INDIRECT:
		return &o->indirect;
	default:
		return NULL;
	}
}

static void one_option(int c, struct bench_options *o)
{
	bool *set = flag(c, o);

	if (set) {
		*set = true;
		return;
	}
	switch (c) {
	case 's':
		add_socket(o, optarg);
		break;
	case 'm':
		vfe_arg_mac("--mac", optarg, &o->mac);
		break;
	case 'd':
		vfe_arg_mac("--dst", optarg, &o->dst);
		o->has_dst = true;
		break;
	case 'z':
		o->size = (uint32_t)vfe_arg_number("--size", optarg, 18, 65000);
		break;
	case 'r':
		o->ring = (uint16_t)vfe_arg_number("--ring", optarg, 2, 32768);
		break;
	case 'p':
		o->stride = (uint32_t)vfe_arg_number("--stride", optarg, 64, 1 << 20);
		break;
	case OPT_RX_STRIDE:
		o->rx_stride = (uint32_t)vfe_arg_number("--rx-stride", optarg, 64, 1 << 20);
		break;
	case 'c':
		o->cpu = (int)vfe_arg_number("--cpu", optarg, 0, CPU_SETSIZE - 1);
		break;
	case 'C':
		o->cpu_b = (int)vfe_arg_number("--peer-cpu", optarg, 0, CPU_SETSIZE - 1);
		break;
	case 'n':
		o->ms = (int)vfe_arg_number("--ms", optarg, 1, 3600000);
		break;
	case 'w':
		o->warmup_ms = (int)vfe_arg_number("--warmup-ms", optarg, 0, 3600000);
		break;
	case OPT_ACTIVE:
		o->active = (int)vfe_arg_number("--active", optarg, 2, BENCH_MAX_GUESTS);
		break;
	case OPT_NAP_US:
		o->nap_us = (uint32_t)vfe_arg_number("--nap-us", optarg, 0, 1000000);
		break;
	case OPT_GAP_US:
		o->gap_us = (uint32_t)vfe_arg_number("--gap-us", optarg, 1, 10000000);
		break;
	case OPT_PPS:
		o->pps = (uint32_t)vfe_arg_number("--pps", optarg, 1, 100000000);
		break;
	case OPT_WATCH_PID:
		o->watch_pid = (int)vfe_arg_number("--watch-pid", optarg, 1, 1 << 30);
		break;
	case 'h':
		usage(stdout);
		exit(0);
	default:
		usage(stderr);
		exit(2);
	}
}

static void check_sizes(const struct bench_options *o)
{
	if (o->size + VFE_HDR_LEN > o->stride || o->stride % 64)
		vfe_arg_die("--stride", "must be a multiple of 64 and hold header and frame");
	if (o->rx_stride % 64)
		vfe_arg_die("--rx-stride", "must be a multiple of 64");
	if (o->size + VFE_HDR_LEN > o->rx_stride && !o->mergeable)
		vfe_arg_die("--rx-stride", "frames do not fit; see --mergeable");
	if (o->ring & (o->ring - 1))
		vfe_arg_die("--ring", "must be a power of two");
}

static void check_guests(struct bench_options *o)
{
	static const struct {
		const char *mode;
		int min, max;
	} guests[] = {
		{"c2c", 0, 0},
		{"copy", 0, 0},
		{"pair", 2, 2},
		{"fan", 2, BENCH_MAX_GUESTS},
		{"ports", 2, BENCH_MAX_GUESTS},
		{"tx", 1, 1},
		{"rx", 1, 1},
		{"wake", 0, BENCH_MAX_GUESTS}, /* it uses none */
		{"lat", 2, 2},
		{"idle", 2, 2},
		{"rate", 2, 2},
	};

	for (size_t i = 0; i < sizeof(guests) / sizeof(guests[0]); i++) {
		if (strcmp(o->mode, guests[i].mode) != 0)
			continue;
		if (o->n_sockets < guests[i].min || o->n_sockets > guests[i].max)
			vfe_arg_die(o->mode, "wrong number of guests (--socket)");
		if (!o->active)
			o->active = o->n_sockets;
		if (o->active > o->n_sockets || o->active % 2)
			o->active = o->n_sockets & ~1;
		return;
	}
	vfe_arg_die("unknown mode", o->mode);
}

void bench_options_parse(int argc, char **argv, struct bench_options *o)
{
	static const struct option options[] = {
		{"socket", required_argument, NULL, 's'},
		{"mac", required_argument, NULL, 'm'},
		{"dst", required_argument, NULL, 'd'},
		{"size", required_argument, NULL, 'z'},
		{"ring", required_argument, NULL, 'r'},
		{"stride", required_argument, NULL, 'p'},
		{"rx-stride", required_argument, NULL, OPT_RX_STRIDE},
		{"touch", no_argument, NULL, 't'},
		{"both", no_argument, NULL, 'b'},
		{"mergeable", no_argument, NULL, 'g'},
		{"event-idx", no_argument, NULL, OPT_EVENT_IDX},
		{"indirect", no_argument, NULL, OPT_INDIRECT},
		{"in-order", no_argument, NULL, 'i'},
		{"packed", no_argument, NULL, 'P'},
		{"fifo", no_argument, NULL, 'f'},
		{"hugepages", no_argument, NULL, 'H'},
		{"cpu", required_argument, NULL, 'c'},
		{"peer-cpu", required_argument, NULL, 'C'},
		{"ms", required_argument, NULL, 'n'},
		{"warmup-ms", required_argument, NULL, 'w'},
		{"active", required_argument, NULL, OPT_ACTIVE},
		{"nap-us", required_argument, NULL, OPT_NAP_US},
		{"gap-us", required_argument, NULL, OPT_GAP_US},
		{"pps", required_argument, NULL, OPT_PPS},
		{"watch-pid", required_argument, NULL, OPT_WATCH_PID},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	int c;

	*o = (struct bench_options){.mac = {{2, 0, 0, 0, 0, 1}},
	                            .size = 64,
	                            .stride = 2048,
	                            .ring = 1024,
	                            .cpu = 1,
	                            .ms = 1000,
	                            .warmup_ms = 300,
	                            .gap_us = 10000,
	                            .pps = 10000};
	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1)
		one_option(c, o);
	if (optind != argc - 1) {
		usage(stderr);
		exit(2);
	}
	o->mode = argv[optind];
	if (!o->rx_stride)
		o->rx_stride = o->stride;
	check_guests(o);
	check_sizes(o);
}
