/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * insns - forward frames between guests that live in this process, for a count of instructions
 *
 * usage: insns CASE BURSTS
 *
 * A guest makes a burst of frames available, the worker's fwd_from_guest() forwards it, the other
 * guest takes the frames; tests/bench/insns.py runs this under callgrind, which counts only what
 * fwd_from_guest() and its callees do. The counts are the same on every run of a binary, whatever
 * else the machine does.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "fake_path.h"

#define BURST 100u /* frames */

struct insns_case {
	const char *name;
	uint16_t packed; /* size of the rings; 0: split */
	uint32_t len;
	uint32_t n_dst;  /* destinations that take turns */
	uint32_t buffer; /* size of receive buffers */
	bool lone;       /* a burst is BURST times one frame */
	enum fp_shape shape;
	bool own_macs_only;
};

static const struct insns_case cases[] = {
	{.name = "split-64", .len = 60, .n_dst = 1, .buffer = 1600},
	{.name = "split-1518", .len = 1514, .n_dst = 1, .buffer = 1600},
	{.name = "split-64-alternating", .len = 60, .n_dst = 2, .buffer = 1600},
	{.name = "split-64-lone", .len = 60, .n_dst = 1, .buffer = 1600, .lone = true},
	{.name = "packed-64-lone",
         .packed = 256,
         .len = 60,
         .n_dst = 1,
         .buffer = 1600,
         .lone = true},
	{.name = "split-64-own-macs", .len = 60, .n_dst = 1, .buffer = 1600, .own_macs_only = true},
	{.name = "split-64-chained", .len = 60, .n_dst = 1, .buffer = 1600, .shape = FP_CHAINED},
	{.name = "split-64-indirect",
         .len = 60,
         .n_dst = 1,
         .buffer = 1600,
         .shape = FP_TABLE_OF_TWO},
	{.name = "split-1518-mergeable", .len = 1514, .n_dst = 1, .buffer = 800},
	{.name = "packed-64", .packed = 256, .len = 60, .n_dst = 1, .buffer = 1600},
	{.name = "packed-1518", .packed = 256, .len = 1514, .n_dst = 1, .buffer = 1600},
	{.name = "packed-64-chained",
         .packed = 256,
         .len = 60,
         .n_dst = 1,
         .buffer = 1600,
         .shape = FP_CHAINED},
	{.name = "packed-64-indirect",
         .packed = 256,
         .len = 60,
         .n_dst = 1,
         .buffer = 1600,
         .shape = FP_TABLE_OF_TWO},
	{.name = "packed-1518-mergeable", .packed = 256, .len = 1514, .n_dst = 1, .buffer = 800},
};

static uint8_t frame[2048];

static void one_burst(struct fake_path *fp, const struct insns_case *c, uint32_t n)
{
	struct fp_port *a = &fp->ports[0];

	for (uint32_t i = 0; i < n; i++) {
		struct fp_port *b = &fp->ports[1 + i % c->n_dst];

		for (uint32_t room = 0; room < c->len + 12; room += c->buffer)
			fp_post(b, c->buffer);
		fp_frame(frame, c->len, b->mac, a->mac, i);
		fp_send_as(a, c->shape, frame, c->len);
	}
	assert_int_equal(fp_run(fp, a), n);
	for (uint32_t i = 0; i < n; i++) {
		struct fp_port *b = &fp->ports[1 + i % c->n_dst];

		fp_frame(frame, c->len, b->mac, a->mac, i);
		fp_expect_frame(b, frame, c->len);
	}
	fp_expect_returned(a, n);
}

static const struct insns_case *chosen;
static uint32_t n_bursts;

static void run(void **state)
{
	struct fake_path *fp;

	(void)state;
	fp_packed = chosen->packed;
	fp = fp_new(CONF_NIC_INTERNAL, NULL);
	fp->ports[0].port.own_macs_only = chosen->own_macs_only;
	fp_no_interrupts(&fp->ports[0].tx);
	for (uint32_t i = 1; i <= chosen->n_dst; i++)
		fp_no_interrupts(&fp->ports[i].rx);
	for (uint32_t i = 0; i < n_bursts * (chosen->lone ? BURST : 1); i++)
		one_burst(fp, chosen, chosen->lone ? 1 : BURST);
	fp_free(fp);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(run)};

	for (uint32_t i = 0; argc == 3 && i < ARRAY_SIZE(cases); i++) {
		if (strcmp(argv[1], cases[i].name) == 0)
			chosen = &cases[i];
	}
	n_bursts = argc == 3 ? (uint32_t)strtoul(argv[2], NULL, 10) : 0;
	if (!chosen || !n_bursts) {
		fprintf(stderr, "usage: insns CASE BURSTS\ncases:");
		for (uint32_t i = 0; i < ARRAY_SIZE(cases); i++)
			fprintf(stderr, " %s", cases[i].name);
		fprintf(stderr, "\n");
		return 2;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
