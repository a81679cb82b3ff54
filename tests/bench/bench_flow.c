// SPDX-License-Identifier: BSD-2-Clause
/*
 * bench_flow.c - throughput, see bench_flow.h
 *
 * A list of queues that are turned one after the other for a given time. What each sender consumed
 * and each receiver got in that time is counted; what arrived is compared with what was sent at the
 * end.
 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench_flow.h"
#include "bench_guests.h"

struct flow {
	int from; /* guest whose frames are counted as consumed; -1: they come from elsewhere */
	int to;   /* guest that gets them; -1: none of ours */
};

struct run {
	struct bench_guests guests;
	struct flow flows[2 * BENCH_MAX_GUESTS];
	int n_flows;
	struct bench_queue *queues[2 * BENCH_MAX_GUESTS];
	uint64_t before[2 * BENCH_MAX_GUESTS];
	int n_queues;
	double seconds;
	double waited; /* share of that time in which another process had our CPU */
};

static void add_flow(struct run *r, int from, int to)
{
	r->flows[r->n_flows++] = (struct flow){.from = from, .to = to};
}

static void make_flows(struct run *r, const struct bench_options *o)
{
	if (strcmp(o->mode, "tx") == 0)
		add_flow(r, 0, -1);
	else if (strcmp(o->mode, "rx") == 0)
		add_flow(r, -1, 0);
	else if (strcmp(o->mode, "fan") == 0)
		for (int i = 1; i < o->n_sockets; i++)
			add_flow(r, 0, i);
	else
		for (int i = 0; i + 1 < o->active; i += 2) {
			add_flow(r, i, i + 1);
			if (o->both)
				add_flow(r, i + 1, i);
		}
}

static void add_queue(struct run *r, struct bench_queue *q)
{
	for (int i = 0; i < r->n_queues; i++) {
		if (r->queues[i] == q)
			return;
	}
	r->queues[r->n_queues++] = q;
}

static void make_queues(struct run *r)
{
	struct bench_port *ports = r->guests.ports;

	for (int i = 0; i < r->n_flows; i++) {
		const struct flow *f = &r->flows[i];

		if (f->from >= 0)
			add_queue(r, &ports[f->from].tx);
		/* A lone sender keeps its receive side open: a flood must not stop at a full ring.
		 */
		add_queue(r, &ports[f->to >= 0 ? f->to : f->from].rx);
	}
}

/* All queues once around, 64 times: looking at the clock is dear. */
static void rounds(struct run *r, uint32_t nap_us)
{
	for (int i = 0; i < 64; i++) {
		for (int k = 0; k < r->n_queues; k++)
			bench_queue_turn(r->queues[k]);
		if (nap_us)
			bench_sleep_us(nap_us);
	}
}

static double spin(struct run *r, const struct bench_options *o, int ms)
{
	uint64_t start = bench_now_ns(), now = start, end = start + (uint64_t)ms * 1000000;

	while (now < end && !bench_stopped) {
		rounds(r, o->nap_us);
		now = bench_now_ns();
	}
	return (double)(now - start) / 1e9;
}

static void measure(struct run *r, const struct bench_options *o)
{
	uint64_t waited;

	for (int i = 0; i < r->n_queues; i++) {
		if (!r->queues[i]->rx)
			bench_queue_publish(r->queues[i], o->ring);
	}
	spin(r, o, o->warmup_ms);
	waited = bench_waited_ns();
	for (int i = 0; i < r->n_queues; i++)
		r->before[i] = bench_queue_frames(r->queues[i]);
	r->seconds = spin(r, o, o->ms);
	r->waited = (double)(bench_waited_ns() - waited) / 1e9 / r->seconds;
	for (int i = 0; i < r->n_queues; i++)
		r->before[i] = bench_queue_frames(r->queues[i]) - r->before[i];
}

struct totals {
	double consumed, delivered, least, most; /* Mpps; the last two: of a receiver */
	uint64_t sent;                           /* frames, ever */
	uint64_t kicks;
	uint32_t bad, seen;
};

/* Every queue of the list once: a sender's, or a receiver's if something is meant for it */
static void count_queues(const struct run *r, struct totals *t)
{
	for (int i = 0; i < r->n_queues; i++) {
		const struct bench_queue *q = r->queues[i];
		double mpps = (double)r->before[i] / r->seconds / 1e6;

		t->kicks += q->ring->kicks;
		if (!q->rx) {
			t->consumed += mpps;
			t->sent += q->count;
		} else {
			t->delivered += mpps;
			t->least = mpps < t->least ? mpps : t->least;
			t->most = mpps > t->most ? mpps : t->most;
		}
	}
}

static void compare(const struct run *r, struct totals *t)
{
	const struct bench_port *ports = r->guests.ports;

	for (int i = 0; i < r->n_flows; i++) {
		const struct flow *f = &r->flows[i];
		uint32_t seen;

		if (f->from < 0 || f->to < 0)
			continue;
		t->bad += bench_compare(&ports[f->to].rx, &ports[f->from].tx, &seen);
		t->seen += seen;
	}
}

static int print(const struct run *r, const struct bench_options *o, uint32_t disorder)
{
	struct totals t = {.least = HUGE_VAL};
	bool arrives = r->flows[0].to >= 0;

	count_queues(r, &t);
	compare(r, &t);
	bench_print_setting(o);
	printf("\"active\": %d, \"seconds\": %.4f, \"consumed_mpps\": %.4f, ", o->active,
	       r->seconds, t.consumed);
	if (arrives)
		printf("\"delivered_mpps\": %.4f, \"least_mpps\": %.4f, \"most_mpps\": %.4f, ",
		       t.delivered, t.least, t.most);
	printf("\"total\": %" PRIu64 ", \"disorder\": %u, \"checked\": %u, \"bad\": %u, "
	       "\"kicks\": %" PRIu64 ", \"waited\": %.4f, ",
	       t.sent, disorder, t.seen, t.bad, t.kicks, r->waited);
	return bench_print_end(!disorder && !t.bad && !bench_stopped &&
	                       (arrives ? t.delivered : t.consumed) > 0);
}

int bench_flow(const struct bench_options *o)
{
	struct run *r = calloc(1, sizeof(*r));
	uint32_t disorder = 0;
	int err, status;

	if (!r)
		return bench_print_failure(NULL, -ENOMEM);
	err = bench_guests_open(&r->guests, o);
	if (!err) {
		make_flows(r, o);
		make_queues(r);
		measure(r, o);
		err = bench_guests_stop(&r->guests, &disorder);
	}
	status = err ? bench_print_failure(&r->guests, err) : print(r, o, disorder);
	bench_guests_close(&r->guests);
	free(r);
	return status;
}
