/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The dirty log of a migration: a bit for each page that the data path writes, and for no other.
 *
 * A shadow of the receiving guest's memory tells what was written; what the used entries say tells
 * what should have been.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "fake_path.h"
#include "vhost_split.h"

#define LOG_BYTES (0x30000000ull / VHOST_LOG_PAGE / 8)
#define USED_RX   (0x20000000ull + VHOST_LOG_PAGE - 4 - 8 * 100) /* 100 entries, then a new page */
#define USED_TX   (0x21000000ull)
#define N_PAGES   (FP_MEM / 2 / VHOST_LOG_PAGE)
#define ROUNDS    400
#define BCAST     0xffffffffffffull

static uint8_t frame[70000];
static uint32_t n_out; /* receive buffers that were posted and are not used yet */

struct logged {
	struct vhost_log log;
	uint8_t bits[LOG_BYTES], want[LOG_BYTES];
	uint8_t shadow[FP_MEM];
};

static struct logged *log_on(struct fp_port *p)
{
	struct logged *l = calloc(1, sizeof(*l));

	assert_non_null(l);
	l->log = (struct vhost_log){.bits = l->bits, .size = LOG_BYTES};
	p->rx.map.log = p->tx.map.log = &l->log;
	p->rx.map.log_used_gpa = USED_RX;
	p->tx.map.log_used_gpa = USED_TX;
	return l;
}

static bool marked(const struct logged *l, uint64_t gpa)
{
	uint64_t page = gpa / VHOST_LOG_PAGE;

	return l->bits[page / 8] >> page % 8 & 1;
}

/* Written by hand, not with vhost_log_mark(): it is what is tested. */
static void want(struct logged *l, uint64_t gpa, uint64_t len)
{
	for (uint64_t a = gpa; a < gpa + len; a++)
		l->want[a / VHOST_LOG_PAGE / 8] |= (uint8_t)(1 << a / VHOST_LOG_PAGE % 8);
}

static uint32_t rnd(uint32_t below)
{
	static uint32_t state = 12345;

	state = state * 1664525 + 1013904223;
	return (state >> 8) % below;
}

/* A receive buffer of a random shape and place, at least @len bytes, filled with a pattern. */
static void post_somewhere(struct fp_port *p, uint32_t len)
{
	uint64_t gpa = (rnd(2) ? FP_GAP : 0) + rnd(FP_MEM / 2 - 3 * 70000);
	uint32_t cut = rnd(3) ? 0 : 1 + rnd(len - 1);
	uint16_t head = p->rx.next_desc % FP_RING;
	uint16_t next = (uint16_t)((head + 1) % FP_RING);

	if (cut) {
		fp_desc(&p->rx, gpa, cut, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, next);
		fp_desc(&p->rx, gpa + 70000, len - cut, VRING_DESC_F_WRITE, 0);
	} else {
		fp_desc(&p->rx, gpa, len, VRING_DESC_F_WRITE, 0);
	}
	fp_avail(&p->rx, head);
	n_out++;
}

/* The same chain as an indirect table, in memory that is not written to */
static void post_indirect(struct fp_port *p, uint32_t len)
{
	uint64_t table = FP_GAP + FP_MEM / 2 - 4096, gpa = rnd(FP_MEM / 2 - 2 * 70000);
	struct vring_desc t[2] = {
		{.addr = gpa, .len = 5, .flags = VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, .next = 1},
		{.addr = FP_GAP + gpa, .len = len - 5, .flags = VRING_DESC_F_WRITE},
	};

	memcpy(fp_host(p, table), t, sizeof(t));
	fp_avail_table(&p->rx, table, sizeof(t));
	n_out++;
}

/* What one used entry of @len bytes says was written */
static void want_buffer(struct fp_port *p, struct logged *l, uint16_t head, uint32_t len)
{
	const struct vring_desc *d = &p->rx.desc[head];

	if (d->flags & VRING_DESC_F_INDIRECT)
		d = (const struct vring_desc *)(const void *)fp_host(p, d->addr);
	while (len) {
		uint32_t n = min_u32(len, d->len);

		want(l, d->addr, n);
		len -= n;
		if (p->rx.desc[head].flags & VRING_DESC_F_INDIRECT)
			d++;
		else
			d = &p->rx.desc[d->next];
	}
}

/*
 * Take what was used; the log must hold that, the used ring's pages, and nothing else. (A packed
 * ring of the fake path lies outside of guest memory: vhost-log tests those.)
 */
static void check_log(struct fp_port *p, struct logged *l)
{
	uint16_t head = 0;
	uint32_t len = 0;

	for (;;) {
		uint64_t entry = USED_RX + 4 + 8 * (uint64_t)(p->rx.used_seen % FP_RING);

		if (!fp_used(&p->rx, &head, &len))
			break;
		if (!p->rx.map.packed) {
			want(l, entry, 8);
			want(l, USED_RX + 2, 2);
		}
		want_buffer(p, l, head, len);
		n_out--;
	}
	assert_memory_equal(l->bits, l->want, LOG_BYTES);
	for (uint32_t i = 0; i < FP_MEM; i += VHOST_LOG_PAGE) {
		uint64_t gpa = i < FP_MEM / 2 ? i : FP_GAP + i - FP_MEM / 2;

		if (memcmp(p->bytes + i, l->shadow + i, VHOST_LOG_PAGE) != 0)
			assert_true(marked(l, gpa));
	}
}

static void begin(struct fp_port *p, struct logged *l)
{
	memset(p->bytes, 0xee, FP_MEM - 4096);
	memset(l->bits, 0, LOG_BYTES);
	memset(l->want, 0, LOG_BYTES);
}

static void test_every_write(void **state)
{
	struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
	struct fp_port *a = &fp->ports[0], *b = &fp->ports[1];
	struct logged *l = log_on(b);

	(void)state;
	n_out = 0;
	for (uint32_t round = 0; round < ROUNDS; round++) {
		uint32_t n = 1 + rnd(4);

		b->rx.map.hdr_len = rnd(4) ? 12 : 10;
		begin(b, l);
		memcpy(l->shadow, b->bytes, FP_MEM);
		for (uint32_t i = 0; i < n; i++) {
			uint32_t len = 14 + rnd(rnd(8) ? 1500 : 65000);
			uint32_t room = rnd(2) ? len + 12 : len / (1 + rnd(5)) + 30;

			fp_frame(frame, len, rnd(4) ? b->mac : BCAST, a->mac, round * 7 + i);
			for (uint32_t have = 0; have < len + 12; have += room)
				post_somewhere(b, room);
			fp_send(a, frame, len);
		}
		if (round % 8 == 0)
			post_indirect(b, 1600);
		memcpy(l->shadow, b->bytes, FP_MEM);
		while (fp_run(fp, a))
			;
		fp_expect_returned(a, n);
		check_log(b, l);
		/* Buffers that are left over go into the next round. */
		for (uint32_t i = 0; i < FP_RING && n_out; i++) {
			fp_frame(frame, 60, b->mac, a->mac, round);
			fp_send(a, frame, 60);
			if (!fp_run(fp, a))
				break;
			fp_expect_returned(a, 1);
			check_log(b, l);
		}
	}
	free(l);
	fp_free(fp);
}

/* What goes out of a guest writes only its ring; and the ring that is disabled, too. */
static void test_transmit_ring(void **state)
{
	struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
	struct fp_port *a = &fp->ports[0], *b = &fp->ports[1];
	struct logged *l = log_on(a);

	(void)state;
	for (int disabled = 0; disabled < 2; disabled++) {
		begin(a, l);
		a->tx.map.enabled = !disabled;
		fp_frame(frame, 100, b->mac, a->mac, 1);
		fp_send(a, frame, 100);
		assert_int_equal(fp_run(fp, a), 1);
		fp_expect_returned(a, 1);
		want(l, USED_TX, 20);
		assert_memory_equal(l->bits, l->want, LOG_BYTES);
	}
	free(l);
	fp_free(fp);
}

/* The words by which the guest is told whether to kick */
static void test_kick_words(void **state)
{
	struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
	struct fp_port *a = &fp->ports[0];
	struct logged *l = log_on(a);

	(void)state;
	begin(a, l);
	vhost_split_want_kicks(&a->tx.vq, &a->tx.map);
	assert_true(marked(l, USED_TX));
	begin(a, l);
	vhost_split_no_kicks(&a->tx.vq, &a->tx.map);
	assert_true(marked(l, USED_TX));
	begin(a, l);
	a->tx.map.event_idx = true;
	a->tx.map.log_used_gpa = USED_RX;
	vhost_split_want_kicks(&a->tx.vq, &a->tx.map);
	assert_true(marked(l, USED_RX + 4 + 8 * FP_RING));
	assert_false(marked(l, USED_RX));
	free(l);
	fp_free(fp);
}

/* A burst wraps around the end of the used ring, which lies on two pages. */
static void test_used_ring_wraps(void **state)
{
	struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
	struct fp_port *a = &fp->ports[0], *b = &fp->ports[1];
	struct logged *l = log_on(b);

	(void)state;
	for (uint32_t n = 0; n < 3 * FP_RING; n += 50) {
		begin(b, l);
		for (uint32_t i = 0; i < 50; i++) {
			fp_frame(frame, 64, b->mac, a->mac, i);
			fp_post(b, 1600);
			n_out++;
			fp_send(a, frame, 64);
		}
		memcpy(l->shadow, b->bytes, FP_MEM);
		assert_int_equal(fp_run(fp, a), 50);
		fp_expect_returned(a, 50);
		check_log(b, l);
	}
	free(l);
	fp_free(fp);
}

/* Without a log the plain loop is used, and the same frames arrive with it and without. */
static void test_on_and_off(void **state)
{
	struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
	struct fp_port *a = &fp->ports[0], *b = &fp->ports[1];
	struct logged *l = log_on(b);

	(void)state;
	for (uint32_t i = 0; i < 100; i++) {
		b->rx.map.log = i % 3 ? &l->log : NULL;
		begin(b, l);
		fp_frame(frame, 60 + i, b->mac, a->mac, i);
		fp_post(b, 1600);
		fp_send(a, frame, 60 + i);
		assert_int_equal(fp_run(fp, a), 1);
		fp_expect_returned(a, 1);
		fp_expect_frame(b, frame, 60 + i);
		assert_int_equal(marked(l, USED_RX), i % 3 != 0);
	}
	free(l);
	fp_free(fp);
}

int main(void)
{
	const struct CMUnitTest split[] = {
		cmocka_unit_test(test_every_write), cmocka_unit_test(test_transmit_ring),
		cmocka_unit_test(test_kick_words),  cmocka_unit_test(test_used_ring_wraps),
		cmocka_unit_test(test_on_and_off),
	};
	const struct CMUnitTest packed[] = {
		cmocka_unit_test(test_every_write),
	};
	int failed = cmocka_run_group_tests_name("forward-log split", split, NULL, NULL);

	fp_packed = 201;
	return failed + cmocka_run_group_tests_name("forward-log packed", packed, NULL, NULL);
}
