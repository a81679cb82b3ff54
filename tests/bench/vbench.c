// SPDX-License-Identifier: BSD-2-Clause
/*
 * vbench.c - measure a vhost-user back end from the guest's side
 *
 *   vbench c2c      distance of two CPUs
 *   vbench pair     two guests: frames consumed and delivered in a second, one or both ways
 *   vbench lat      two guests: one frame at a time, there and back
 *   vbench tx       one guest: frames consumed in a second
 *   vbench rx       one guest: frames delivered in a second
 *
 * One thread on one CPU plays both guests; the back end belongs on another CPU. Prints one JSON
 * object. How it stays cheaper than what it measures: bench_port.h.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench_port.h"
#include "c2c.h"

enum { MAX_SAMPLES = 2000000 };

struct options {
	const char *mode;
	const char *socket_a;
	const char *socket_b;
	struct vfe_mac mac_a;
	struct vfe_mac mac_b;
	struct vfe_mac dst;
	bool has_dst;
	uint32_t size;
	uint32_t stride;
	uint16_t ring;
	bool touch;
	bool both;
	bool hugepages;
	bool mergeable;
	bool in_order;
	bool packed;
	bool fifo;
	int cpu;
	int cpu_b;
	int ms;
	int warmup_ms;
};

static volatile sig_atomic_t stopped;

static void on_signal(int sig)
{
	(void)sig;
	stopped = 1;
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* ---- throughput
 * ----------------------------------------------------------------------------------- */

struct run {
	struct bench_queue *queues[4];
	int n;
	uint64_t counted[4]; /* in the measured time */
	double seconds;
	double waited; /* share of that time in which another process had our CPU */
};

/* Time this thread has waited for a CPU, nanoseconds; 0 where the kernel keeps no account. */
static uint64_t waited_ns(void)
{
	FILE *f = fopen("/proc/thread-self/schedstat", "re");
	uint64_t ran, waited = 0;

	if (!f)
		return 0;
	if (fscanf(f, "%" SCNu64 " %" SCNu64, &ran, &waited) != 2)
		waited = 0;
	fclose(f);
	return waited;
}

/* Turns all queues for @ms. Looking at the clock is dear, so it is done once in 64 rounds. */
static double spin(struct run *r, int ms)
{
	uint64_t start = now_ns(), now = start, end = start + (uint64_t)ms * 1000000;

	while (now < end && !stopped) {
		for (int i = 0; i < 64; i++) {
			for (int k = 0; k < r->n; k++)
				bench_queue_turn(r->queues[k]);
		}
		now = now_ns();
	}
	return (double)(now - start) / 1e9;
}

static void measure(struct run *r, const struct options *o)
{
	uint64_t before[4], waited;

	spin(r, o->warmup_ms);
	waited = waited_ns();
	for (int i = 0; i < r->n; i++)
		before[i] = r->queues[i]->count;
	r->seconds = spin(r, o->ms);
	r->waited = (double)(waited_ns() - waited) / 1e9 / r->seconds;
	for (int i = 0; i < r->n; i++)
		r->counted[i] = r->queues[i]->count - before[i];
}

static double mpps(const struct run *r, int i)
{
	return r->seconds > 0 ? (double)r->counted[i] / r->seconds / 1e6 : 0;
}

static int print_failure(const struct options *o, const struct vfe *v, int err)
{
	printf("{\"mode\": \"%s\", \"ok\": false, \"error\": \"%s\"}\n", o->mode,
	       v && v->error[0] ? vfe_error(v) : strerror(-err));
	return 1;
}

static void print_setting(const struct options *o)
{
	printf("{\"mode\": \"%s\", \"size\": %u, \"ring\": %u, \"touch\": %s, \"both\": %s, "
	       "\"packed\": %s, \"cpu\": %d, ",
	       o->mode, o->size, o->ring, o->touch ? "true" : "false", o->both ? "true" : "false",
	       o->packed ? "true" : "false", o->cpu);
}

static struct bench_port_config port_config(const struct options *o, const char *path,
                                            const struct vfe_mac *mac, const struct vfe_mac *dst)
{
	return (struct bench_port_config){
		.socket_path = path,
		.mac = *mac,
		.dst = o->has_dst ? o->dst : *dst,
		.features = VFE_BIT(VFE_F_VERSION_1) | VFE_BIT(VFE_F_PROTOCOL_FEATURES) |
	                    (o->mergeable ? VFE_BIT(VFE_NET_F_MRG_RXBUF) : 0) |
	                    (o->in_order ? VFE_BIT(VFE_F_IN_ORDER) : 0),
		.ring_size = o->ring,
		.size = o->size,
		.stride = o->stride,
		.touch = o->touch,
		.hugepages = o->hugepages,
		.packed = o->packed,
	};
}

static int open_both(const struct options *o, struct bench_port *a, struct bench_port *b)
{
	struct bench_port_config ca = port_config(o, o->socket_a, &o->mac_a, &o->mac_b);
	struct bench_port_config cb = port_config(o, o->socket_b, &o->mac_b, &o->mac_a);
	int err = bench_port_open(a, &ca);

	return err ? err : bench_port_open(b, &cb);
}

/* Lets frames on the way arrive, stops both, and counts what must not be. */
static int check_run(struct bench_port *a, struct bench_port *b, bool both, uint32_t *ret_disorder,
                     uint32_t *ret_bad, uint32_t *ret_seen)
{
	struct bench_queue *queues[] = {&a->tx, &a->rx, &b->tx, &b->rx};
	uint32_t seen = 0;
	int err = bench_port_stop(a);

	if (!err)
		err = bench_port_stop(b);
	if (err)
		return err;
	*ret_disorder = 0;
	for (int i = 0; i < 4; i++) {
		queues[i]->count += bench_queue_used(queues[i]);
		*ret_disorder += bench_queue_check(queues[i]);
	}
	*ret_bad = bench_compare(&b->rx, &a->tx, ret_seen);
	if (both)
		*ret_bad += bench_compare(&a->rx, &b->tx, &seen);
	*ret_seen += seen;
	return 0;
}

static int run_pair(const struct options *o)
{
	struct bench_port a = {0}, b = {0};
	struct run r = {.queues = {&a.tx, &b.rx, &b.tx, &a.rx}, .n = o->both ? 4 : 2};
	uint32_t disorder, bad, seen;
	int err = open_both(o, &a, &b), status;

	if (!err) {
		bench_queue_publish(&a.tx, o->ring);
		if (o->both)
			bench_queue_publish(&b.tx, o->ring);
		measure(&r, o);
		err = check_run(&a, &b, o->both, &disorder, &bad, &seen);
	}
	if (err) {
		status = print_failure(o, a.v && a.v->error[0] ? a.v : b.v, err);
	} else {
		bool ok = !disorder && !bad && r.counted[1] && !stopped;

		print_setting(o);
		printf("\"seconds\": %.4f, \"consumed_mpps\": %.4f, \"delivered_mpps\": %.4f, "
		       "\"disorder\": %u, \"checked\": %u, \"bad\": %u, \"kicks\": %" PRIu64
		       ", \"waited\": %.4f, \"ok\": %s}\n",
		       r.seconds, mpps(&r, 0) + mpps(&r, 2), mpps(&r, 1) + mpps(&r, 3), disorder,
		       seen, bad, a.tx.ring->kicks + b.rx.ring->kicks, r.waited,
		       ok ? "true" : "false");
		status = ok ? 0 : 1;
	}
	bench_port_close(&a);
	bench_port_close(&b);
	return status;
}

static int run_single(const struct options *o, bool tx)
{
	struct bench_port_config c = port_config(o, o->socket_a, &o->mac_a, &o->mac_b);
	struct bench_port p;
	/* A sender keeps its receive side open too: a flood must not stop at a full ring. */
	struct run r = {.queues = {tx ? &p.tx : &p.rx, &p.rx}, .n = tx ? 2 : 1};
	int err = bench_port_open(&p, &c), status;

	if (!err) {
		if (tx)
			bench_queue_publish(&p.tx, o->ring);
		measure(&r, o);
		err = bench_port_stop(&p);
	}
	if (err) {
		status = print_failure(o, p.v, err);
	} else {
		struct bench_queue *q = r.queues[0];
		uint32_t disorder;
		bool ok;

		q->count += bench_queue_used(q);
		disorder = bench_queue_check(q);
		ok = !disorder && r.counted[0] && !stopped;

		print_setting(o);
		printf("\"seconds\": %.4f, \"frames\": %" PRIu64 ", \"total\": %" PRIu64
		       ", \"%s_mpps\": %.4f, \"disorder\": %u, \"kicks\": %" PRIu64
		       ", \"waited\": %.4f, \"ok\": %s}\n",
		       r.seconds, r.counted[0], q->count, tx ? "consumed" : "delivered",
		       mpps(&r, 0), disorder, q->ring->kicks, r.waited, ok ? "true" : "false");
		status = ok ? 0 : 1;
	}
	bench_port_close(&p);
	return status;
}

/* ---- latency
 * --------------------------------------------------------------------------------------- */

/* Sends one frame from @from and waits for it at @to. False: lost. */
static bool one_hop(struct bench_port *from, struct bench_port *to)
{
	uint64_t deadline;

	bench_queue_publish(&from->tx, 1);
	for (int i = 0; i < 100000; i++) {
		if (bench_queue_used(&to->rx))
			goto arrived;
	}
	deadline = now_ns() + 100000000;
	while (!bench_queue_used(&to->rx)) {
		if (now_ns() > deadline)
			return false;
	}
arrived:
	bench_queue_turn(&to->rx);
	return true;
}

/* Takes the completion of the one frame in flight. False: it does not come. */
static bool take_back(struct bench_port *p)
{
	uint64_t deadline = now_ns() + 100000000;
	uint16_t n;

	while (!(n = bench_queue_used(&p->tx))) {
		if (now_ns() > deadline)
			return false;
	}
	p->tx.seen += n;
	p->tx.count += n;
	return true;
}

static int by_size(const void *x, const void *y)
{
	uint32_t a = *(const uint32_t *)x, b = *(const uint32_t *)y;

	return (a > b) - (a < b);
}

/* Fills @ns with round trips. Returns how many, for @o->ms or until it is full. */
static uint32_t sample_latency(const struct options *o, struct bench_port *a, struct bench_port *b,
                               uint32_t *ns, uint32_t *ret_lost)
{
	uint64_t start = now_ns();
	uint64_t from = start + (uint64_t)o->warmup_ms * 1000000;
	uint64_t end = from + (uint64_t)o->ms * 1000000, now = start;
	uint32_t n = 0;

	while (now < end && n < MAX_SAMPLES && !stopped) {
		uint64_t before = now_ns();
		bool ok = one_hop(a, b) && one_hop(b, a);

		now = now_ns();
		if (!ok)
			(*ret_lost)++;
		else if (now >= from)
			ns[n++] = now - before > UINT32_MAX ? UINT32_MAX : (uint32_t)(now - before);
		if (!ok && *ret_lost > 100)
			break;
		if (!take_back(a) || (ok && !take_back(b)))
			break;
	}
	return n;
}

static int run_latency(const struct options *o)
{
	uint32_t *ns = malloc(MAX_SAMPLES * sizeof(*ns)), n = 0, lost = 0;
	uint64_t start = now_ns(), waited = waited_ns();
	double share = 0;
	struct bench_port a = {0}, b = {0};
	int err = ns ? open_both(o, &a, &b) : -ENOMEM, status;

	if (!err) {
		n = sample_latency(o, &a, &b, ns, &lost);
		share = (double)(waited_ns() - waited) / (double)(now_ns() - start);
		err = bench_port_stop(&a);
	}
	if (!err)
		err = bench_port_stop(&b);
	if (!err && !n)
		err = vfe_fail(a.v, -ETIMEDOUT, "no frame came back");
	if (err) {
		status = print_failure(o, a.v && a.v->error[0] ? a.v : b.v, err);
	} else {
		bool ok = !stopped && lost * 1000 <= n;

		qsort(ns, n, sizeof(*ns), by_size);
		print_setting(o);
		printf("\"round_trips\": %u, \"lost\": %u, \"min_ns\": %u, \"p50_ns\": %u, "
		       "\"p99_ns\": %u, \"max_ns\": %u, \"waited\": %.4f, \"ok\": %s}\n",
		       n, lost, ns[0], ns[n / 2], ns[(uint64_t)n * 99 / 100], ns[n - 1], share,
		       ok ? "true" : "false");
		status = ok ? 0 : 1;
	}
	bench_port_close(&a);
	bench_port_close(&b);
	free(ns);
	return status;
}

static int run_c2c(const struct options *o)
{
	double median, min, max;
	int err = bench_c2c(o->cpu, o->cpu_b, o->ms, &median, &min, &max);

	if (err)
		return print_failure(o, NULL, err);
	printf("{\"mode\": \"c2c\", \"cpus\": [%d, %d], \"ns\": %.1f, \"min_ns\": %.1f, "
	       "\"max_ns\": %.1f, \"ok\": true}\n",
	       o->cpu, o->cpu_b, median, min, max);
	return 0;
}

/* ---- command line
 * ---------------------------------------------------------------------------------- */

static void usage(FILE *out)
{
	fputs("usage: vbench [options] c2c|pair|lat|tx|rx\n"
	      "\n"
	      "  --socket PATH         vhost-user socket of the (first) guest\n"
	      "  --peer-socket PATH    of the second guest: pair, lat\n"
	      "  --mac MAC --peer-mac MAC   of the guests (02:..:01, 02:..:02)\n"
	      "  --dst MAC             send there instead of to the other guest\n"
	      "  --size N              bytes without FCS (64)     --ring N    descriptors (1024)\n"
	      "  --stride N            bytes from buffer to buffer, a multiple of 64 (2048)\n"
	      "  --touch               write each line before sending, read each received line\n"
	      "  --both                pair: both ways\n"
	      "  --mergeable           negotiate MRG_RXBUF        --in-order  negotiate IN_ORDER\n"
	      "  --packed              packed rings\n"
	      "  --fifo                real-time priority: nothing else runs on our CPUs "
	      "meanwhile\n"
	      "  --hugepages           2 MiB pages for guest memory\n"
	      "  --cpu N (1)  --peer-cpu N (0, c2c)  --ms N (1000)  --warmup-ms N (300)\n",
	      out);
}

static void die(const char *what, const char *value)
{
	fprintf(stderr, "vbench: %s: %s\n", what, value);
	exit(2);
}

static uint32_t number(const char *what, const char *text, uint32_t min, uint32_t max)
{
	char *end;
	unsigned long n = strtoul(text, &end, 0);

	if (end == text || *end || *text == '-' || n < min || n > max)
		die(what, text);
	return (uint32_t)n;
}

static void mac(const char *what, const char *text, struct vfe_mac *ret)
{
	if (!vfe_mac_parse(text, ret))
		die(what, text);
}

static void one_option(int c, struct options *o)
{
	switch (c) {
	case 's':
		o->socket_a = optarg;
		break;
	case 'S':
		o->socket_b = optarg;
		break;
	case 'm':
		mac("--mac", optarg, &o->mac_a);
		break;
	case 'M':
		mac("--peer-mac", optarg, &o->mac_b);
		break;
	case 'd':
		mac("--dst", optarg, &o->dst);
		o->has_dst = true;
		break;
	case 'z':
		o->size = number("--size", optarg, 18, 65000);
		break;
	case 'r':
		o->ring = (uint16_t)number("--ring", optarg, 2, 32768);
		break;
	case 'p':
		o->stride = number("--stride", optarg, 64, 1 << 20);
		break;
	case 't':
		o->touch = true;
		break;
	case 'b':
		o->both = true;
		break;
	case 'g':
		o->mergeable = true;
		break;
	case 'i':
		o->in_order = true;
		break;
	case 'P':
		o->packed = true;
		break;
	case 'f':
		o->fifo = true;
		break;
	case 'H':
		o->hugepages = true;
		break;
	case 'c':
		o->cpu = (int)number("--cpu", optarg, 0, CPU_SETSIZE - 1);
		break;
	case 'C':
		o->cpu_b = (int)number("--peer-cpu", optarg, 0, CPU_SETSIZE - 1);
		break;
	case 'n':
		o->ms = (int)number("--ms", optarg, 1, 3600000);
		break;
	case 'w':
		o->warmup_ms = (int)number("--warmup-ms", optarg, 0, 3600000);
		break;
	case 'h':
		usage(stdout);
		exit(0);
	default:
		usage(stderr);
		exit(2);
	}
}

static void parse(int argc, char **argv, struct options *o)
{
	static const struct option options[] = {
		{"socket", required_argument, NULL, 's'},
		{"peer-socket", required_argument, NULL, 'S'},
		{"mac", required_argument, NULL, 'm'},
		{"peer-mac", required_argument, NULL, 'M'},
		{"dst", required_argument, NULL, 'd'},
		{"size", required_argument, NULL, 'z'},
		{"ring", required_argument, NULL, 'r'},
		{"stride", required_argument, NULL, 'p'},
		{"touch", no_argument, NULL, 't'},
		{"both", no_argument, NULL, 'b'},
		{"mergeable", no_argument, NULL, 'g'},
		{"in-order", no_argument, NULL, 'i'},
		{"packed", no_argument, NULL, 'P'},
		{"fifo", no_argument, NULL, 'f'},
		{"hugepages", no_argument, NULL, 'H'},
		{"cpu", required_argument, NULL, 'c'},
		{"peer-cpu", required_argument, NULL, 'C'},
		{"ms", required_argument, NULL, 'n'},
		{"warmup-ms", required_argument, NULL, 'w'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	int c;

	*o = (struct options){.mac_a = {{2, 0, 0, 0, 0, 1}},
	                      .mac_b = {{2, 0, 0, 0, 0, 2}},
	                      .size = 64,
	                      .stride = 2048,
	                      .ring = 1024,
	                      .cpu = 1,
	                      .ms = 1000,
	                      .warmup_ms = 300};
	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1)
		one_option(c, o);
	if (optind != argc - 1) {
		usage(stderr);
		exit(2);
	}
	o->mode = argv[optind];
	if (strcmp(o->mode, "c2c") == 0)
		return;
	if (!o->socket_a)
		die("missing option", "--socket");
	if (!o->socket_b && (strcmp(o->mode, "pair") == 0 || strcmp(o->mode, "lat") == 0))
		die("missing option", "--peer-socket");
	if (o->size + VFE_HDR_LEN > o->stride || o->stride % 64)
		die("--stride", "must be a multiple of 64 and hold header and frame");
	if (o->ring & (o->ring - 1))
		die("--ring", "must be a power of two");
}

int main(int argc, char **argv)
{
	struct sigaction act = {.sa_handler = on_signal};
	struct options o;
	int err;

	parse(argc, argv, &o);
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
	if (strcmp(o.mode, "pair") == 0)
		return run_pair(&o);
	if (strcmp(o.mode, "lat") == 0)
		return run_latency(&o);
	if (strcmp(o.mode, "tx") == 0)
		return run_single(&o, true);
	if (strcmp(o.mode, "rx") == 0)
		return run_single(&o, false);
	fprintf(stderr, "vbench: unknown mode: %s\n", o.mode);
	return 2;
}
