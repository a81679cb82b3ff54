// SPDX-License-Identifier: BSD-2-Clause
/*
 * bench_pace.c - measurements in which the guest sets the pace, see bench_pace.h
 *
 * The guests poll: what is measured is the back end and the way to it, not a guest's interrupts.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench_guests.h"
#include "bench_pace.h"
#include "bench_times.h"

enum { PATIENCE_NS = 100000000 };

struct times {
	struct bench_guests guests;
	struct bench_port *a, *b;
	struct bench_times taken;
	uint32_t lost;
	double waited; /* share of the time in which another process had our CPU */
};

/*
 * Sends one frame and waits for it at the other guest. False: lost. The buffer is not given back
 * yet: a guest that is in a hurry answers first.
 */
static bool one_hop(struct bench_port *from, struct bench_port *to)
{
	uint64_t deadline;

	bench_queue_publish(&from->tx, 1);
	for (int i = 0; i < 100000; i++) {
		if (bench_queue_used(&to->rx))
			return true;
	}
	deadline = bench_now_ns() + PATIENCE_NS;
	while (!bench_queue_used(&to->rx)) {
		if (bench_now_ns() > deadline)
			return false;
	}
	return true;
}

/* Takes the completion of the one frame in flight. False: it does not come. */
static bool take_back(struct bench_port *p)
{
	uint64_t deadline = bench_now_ns() + PATIENCE_NS;

	while (!bench_queue_take(&p->tx)) {
		if (bench_now_ns() > deadline)
			return false;
	}
	return true;
}

static void round_trips(struct times *t, const struct bench_options *o)
{
	uint64_t start = bench_now_ns(), now = start;
	uint64_t from = start + (uint64_t)o->warmup_ms * 1000000;
	uint64_t end = from + (uint64_t)o->ms * 1000000;

	while (now < end && !bench_times_full(&t->taken) && t->lost <= 100 && !bench_stopped) {
		uint64_t before = bench_now_ns();
		bool ok = one_hop(t->a, t->b) && one_hop(t->b, t->a);

		now = bench_now_ns();
		if (!ok)
			t->lost++;
		else if (now >= from)
			bench_times_add(&t->taken, now - before);
		bench_queue_turn(&t->a->rx);
		bench_queue_turn(&t->b->rx);
		if (!take_back(t->a) || (ok && !take_back(t->b)))
			break;
	}
}

/*
 * One frame through each buffer: the first use of a page of the guest's memory costs the back end a
 * page fault, whether it slept or not.
 */
static bool use_all_buffers(struct times *t, const struct bench_options *o)
{
	for (uint32_t i = 0; i < o->ring; i++) {
		if (!one_hop(t->a, t->b) || !take_back(t->a))
			return false;
		bench_queue_turn(&t->b->rx);
	}
	return true;
}

static void after_pauses(struct times *t, const struct bench_options *o)
{
	unsigned int seed = 1;
	uint64_t end;

	if (!use_all_buffers(t, o))
		return;
	end = bench_now_ns() + (uint64_t)o->ms * 1000000;
	while (bench_now_ns() < end && !bench_times_full(&t->taken) && t->lost <= 100 &&
	       !bench_stopped) {
		uint64_t before = bench_pause(o->gap_us, &seed);

		if (one_hop(t->a, t->b))
			bench_times_add(&t->taken, bench_now_ns() - before);
		else
			t->lost++;
		bench_queue_turn(&t->b->rx);
		if (!take_back(t->a))
			break;
	}
}

static int print_times(struct times *t, const struct bench_options *o)
{
	bench_print_setting(o);
	bench_times_print(&t->taken);
	printf("\"lost\": %u, \"kicks\": %" PRIu64 ", \"waited\": %.4f, ", t->lost,
	       t->a->tx.ring->kicks + t->b->tx.ring->kicks, t->waited);
	return bench_print_end(!bench_stopped && t->lost * 1000 <= t->taken.n);
}

static int take_times(const struct bench_options *o,
                      void (*take)(struct times *, const struct bench_options *))
{
	struct times t = {0};
	uint64_t start, waited;
	uint32_t disorder;
	int err = bench_times_init(&t.taken), status;

	if (err)
		return bench_print_failure(NULL, err);
	err = bench_guests_open(&t.guests, o);
	if (!err) {
		t.a = &t.guests.ports[0];
		t.b = &t.guests.ports[1];
		start = bench_now_ns();
		waited = bench_waited_ns();
		take(&t, o);
		t.waited = (double)(bench_waited_ns() - waited) / (double)(bench_now_ns() - start);
		err = bench_guests_stop(&t.guests, &disorder);
	}
	if (!err && !t.taken.n)
		err = -ETIMEDOUT;
	status = err ? bench_print_failure(&t.guests, err) : print_times(&t, o);
	bench_guests_close(&t.guests);
	bench_times_free(&t.taken);
	return status;
}

int bench_round_trip(const struct bench_options *o)
{
	return take_times(o, round_trips);
}

int bench_after_idle(const struct bench_options *o)
{
	return take_times(o, after_pauses);
}

/* ---- fixed rates ------------------------------------------------------------------------------
 */

struct paced {
	uint64_t sent, delivered, late; /* frames; late: there was no free descriptor */
	uint64_t cpu_ns;
	double seconds;
};

/* Sends what is due by the clock, for @ms. */
static void pace(const struct bench_options *o, struct bench_port *a, struct bench_port *b, int ms,
                 struct paced *ret)
{
	uint64_t start = bench_now_ns(), end = start + (uint64_t)ms * 1000000, now = start;
	uint64_t sent = 0, first = bench_queue_frames(&b->rx);

	while (now < end && !bench_stopped) {
		uint64_t due = (uint64_t)((double)(now - start) * o->pps / 1e9) - sent;
		uint32_t room = o->ring - (uint16_t)(a->tx.published - a->tx.seen);
		uint16_t n = (uint16_t)(due < room ? due : room);

		if (n)
			bench_queue_publish(&a->tx, n);
		sent += n;
		bench_queue_turn(&b->rx);
		bench_queue_take(&a->tx);
		now = bench_now_ns();
	}
	ret->late = (uint64_t)((double)(now - start) * o->pps / 1e9) - sent;
	ret->sent = sent;
	ret->delivered = bench_queue_frames(&b->rx) - first;
	ret->seconds = (double)(now - start) / 1e9;
}

static int print_pace(const struct bench_options *o, const struct paced *p, double waited,
                      uint64_t kicks, uint32_t disorder)
{
	/* What was on its way at either end of the time does not count as lost. */
	bool lossless = p->delivered + o->ring >= p->sent;

	bench_print_setting(o);
	printf("\"pps\": %u, \"seconds\": %.4f, \"sent\": %" PRIu64 ", \"delivered\": %" PRIu64
	       ", \"late\": %" PRIu64 ", \"cpu_percent\": %.3f, \"cpu_ns_per_frame\": %.1f, "
	       "\"kicks\": %" PRIu64 ", \"waited\": %.4f, ",
	       o->pps, p->seconds, p->sent, p->delivered, p->late,
	       (double)p->cpu_ns / p->seconds / 1e7,
	       (double)p->cpu_ns / (double)(p->delivered ? p->delivered : 1), kicks, waited);
	return bench_print_end(lossless && p->delivered && !disorder && !bench_stopped);
}

int bench_fixed_rate(const struct bench_options *o)
{
	struct bench_guests g;
	struct paced p = {0};
	uint64_t waited = 0;
	uint32_t disorder = 0;
	int err = bench_guests_open(&g, o), status;

	if (!err) {
		uint64_t cpu;

		pace(o, &g.ports[0], &g.ports[1], o->warmup_ms, &p);
		waited = bench_waited_ns();
		cpu = bench_cpu_ns(o->watch_pid);
		pace(o, &g.ports[0], &g.ports[1], o->ms, &p);
		p.cpu_ns = bench_cpu_ns(o->watch_pid) - cpu;
		waited = bench_waited_ns() - waited;
		err = bench_guests_stop(&g, &disorder);
	}
	status = err ? bench_print_failure(&g, err)
	             : print_pace(o, &p, (double)waited / 1e9 / p.seconds,
	                          g.ports[0].tx.ring->kicks, disorder);
	bench_guests_close(&g);
	return status;
}
