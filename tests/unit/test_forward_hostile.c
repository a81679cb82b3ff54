/* SPDX-License-Identifier: BSD-2-Clause */
/* The data path with guests that break the rules of their rings. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "fake_path.h"

static uint8_t frame[VHOST_VQ_MAX_SIZE];

/* An indirect table of @n parts of one byte each, @step apart */
static uint64_t table_of_bytes(struct fp_port *p, uint64_t gpa, int64_t step, uint32_t n)
{
	uint64_t table = fp_alloc(p, 16 * n);

	for (uint32_t i = 0; i < n; i++) {
		struct vring_desc d = {.addr = gpa + (uint64_t)(i * step),
		                       .len = 1,
		                       .flags = i + 1 < n ? VRING_DESC_F_NEXT : 0,
		                       .next = (uint16_t)(i + 1)};

		memcpy(fp_host(p, table) + 16 * i, &d, sizeof(d));
	}
	return table;
}

/* ---- hostile guests ------------------------------------------------------------------------- */

struct bad_tx {
	const char *name;
	struct vring_desc desc[3];
	uint16_t head;
	enum vhost_vq_fault fault;
};

static void test_hostile_tx(void **state)
{
	static const struct bad_tx rows[] = {
		{"head out of range", {{0}}, FP_RING, VHOST_VQ_BAD_HEAD},
		{"head far out of range", {{0}}, 0xffff, VHOST_VQ_BAD_HEAD},
		{"next out of range", {{0, 64, VRING_DESC_F_NEXT, FP_RING}}, 0, VHOST_VQ_BAD_HEAD},
		{"loop of one", {{0, 64, VRING_DESC_F_NEXT, 0}}, 0, VHOST_VQ_BAD_CHAIN},
		{"loop of two",
	         {{0, 64, VRING_DESC_F_NEXT, 1}, {0, 64, VRING_DESC_F_NEXT, 0}},
	         0,
	         VHOST_VQ_BAD_CHAIN},
		{"loop of empty ones", {{0, 0, VRING_DESC_F_NEXT, 0}}, 0, VHOST_VQ_BAD_LENGTH},
		{"writable", {{0, 64, VRING_DESC_F_WRITE, 0}}, 0, VHOST_VQ_BAD_DIRECTION},
		{"writable tail",
	         {{0, 64, VRING_DESC_F_NEXT, 1}, {0, 64, VRING_DESC_F_WRITE, 0}},
	         0,
	         VHOST_VQ_BAD_DIRECTION},
		{"in the hole", {{FP_MEM, 64, 0, 0}}, 0, VHOST_VQ_BAD_ADDRESS},
		{"last byte in the hole", {{FP_MEM / 2 - 63, 64, 0, 0}}, 0, VHOST_VQ_BAD_ADDRESS},
		{"address wraps", {{UINT64_MAX - 31, 64, 0, 0}}, 0, VHOST_VQ_BAD_ADDRESS},
		{"4 GiB long", {{0, UINT32_MAX, 0, 0}}, 0, VHOST_VQ_BAD_ADDRESS},
		{"tail in the hole",
	         {{0, 64, VRING_DESC_F_NEXT, 1}, {FP_MEM, 64, 0, 0}},
	         0,
	         VHOST_VQ_BAD_ADDRESS},
		{"indirect and next",
	         {{0, 32, VRING_DESC_F_INDIRECT | VRING_DESC_F_NEXT, 0}},
	         0,
	         VHOST_VQ_BAD_CHAIN},
		{"indirect, no entry", {{0, 0, VRING_DESC_F_INDIRECT, 0}}, 0, VHOST_VQ_BAD_CHAIN},
		{"indirect, half an entry",
	         {{0, 24, VRING_DESC_F_INDIRECT, 0}},
	         0,
	         VHOST_VQ_BAD_CHAIN},
		{"indirect, huge",
	         {{0, 1u << 30, VRING_DESC_F_INDIRECT, 0}},
	         0,
	         VHOST_VQ_BAD_CHAIN},
		{"indirect in the hole",
	         {{FP_MEM, 32, VRING_DESC_F_INDIRECT, 0}},
	         0,
	         VHOST_VQ_BAD_ADDRESS},
	};

	(void)state;
	for (uint32_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
		struct fp_port *a = &fp->ports[0];

		print_message("%s\n", rows[i].name);
		memcpy(a->tx.desc, rows[i].desc, sizeof(rows[i].desc));
		fp_avail(&a->tx, rows[i].head);
		fp_expect_fault(fp, a, &a->tx, rows[i].fault);
		fp_expect_returned(a, 0);
		fp_free(fp);
	}
}

/* Indirect tables whose entries misbehave. */
static void test_hostile_indirect(void **state)
{
	static const struct bad_tx rows[] = {
		{"nested", {{0, 32, VRING_DESC_F_INDIRECT, 0}}, 0, VHOST_VQ_BAD_CHAIN},
		{"next behind the table", {{0, 64, VRING_DESC_F_NEXT, 3}}, 0, VHOST_VQ_BAD_CHAIN},
		{"loop", {{0, 64, VRING_DESC_F_NEXT, 0}}, 0, VHOST_VQ_BAD_CHAIN},
		{"writable", {{0, 64, VRING_DESC_F_WRITE, 0}}, 0, VHOST_VQ_BAD_DIRECTION},
		{"in the hole", {{FP_MEM, 64, 0, 0}}, 0, VHOST_VQ_BAD_ADDRESS},
	};

	(void)state;
	for (uint32_t i = 0; i <= ARRAY_SIZE(rows); i++) {
		struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
		struct fp_port *a = &fp->ports[0];
		uint64_t table = fp_alloc(a, 64);

		/* The last round: a good table, but the feature was not negotiated. */
		if (i < ARRAY_SIZE(rows))
			memcpy(fp_host(a, table), rows[i].desc, sizeof(rows[i].desc));
		else
			a->tx.map.indirect = false;
		fp_avail_table(&a->tx, table, 48);
		fp_expect_fault(fp, a, &a->tx,
		                i < ARRAY_SIZE(rows) ? rows[i].fault : VHOST_VQ_BAD_CHAIN);
		fp_free(fp);
	}
}

static void test_hostile_avail_idx(void **state)
{
	static const uint16_t jumps[] = {FP_RING + 1, 0x7fff, 0xffff};

	(void)state;
	for (uint32_t i = 0; i < ARRAY_SIZE(jumps); i++) {
		struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
		struct fp_port *a = &fp->ports[0], *b = &fp->ports[1];

		b->rx.avail->idx = jumps[i];
		fp_expect_rx_fault(fp, a, b, VHOST_VQ_BAD_AVAIL_IDX);
		a->tx.avail->idx = (uint16_t)(a->tx.avail_idx + jumps[i]);
		fp_expect_fault(fp, a, &a->tx, VHOST_VQ_BAD_AVAIL_IDX);
		fp_free(fp);
	}
}

/* A bad head on a ring that is only drained is told like any other. */
static void test_hostile_disabled(void **state)
{
	struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
	struct fp_port *a = &fp->ports[0];

	(void)state;
	a->tx.map.enabled = false;
	fp_send(a, frame, 100);
	fp_avail(&a->tx, FP_RING);
	fp_expect_fault(fp, a, &a->tx, VHOST_VQ_BAD_HEAD);
	fp_expect_returned(a, 1); /* what was taken before is published */
	fp_free(fp);
}

/*
 * Frames of very many parts end the burst early, so that one guest cannot hold the worker; what is
 * left is forwarded in later bursts, whole and in order.
 */
static void test_work_is_bounded(void **state)
{
	struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
	struct fp_port *a = &fp->ports[0], *b = &fp->ports[1];
	const uint32_t parts = 1200, n = 32;
	uint64_t gpa = fp_alloc(a, parts), table = table_of_bytes(a, gpa, 1, parts);
	uint32_t taken = 0, bursts = 0;

	(void)state;
	memset(fp_host(a, gpa), 0, 12);
	fp_frame(fp_host(a, gpa) + 12, parts - 12, b->mac, a->mac, 1);
	memcpy(frame, fp_host(a, gpa) + 12, parts - 12);
	for (uint32_t i = 0; i < n; i++) {
		fp_post(b, 2048);
		fp_avail_table(&a->tx, table, 16 * parts);
	}
	for (; taken < n; bursts++) {
		uint32_t now = fp_run(fp, a);

		assert_in_range(now, 1, FWD_WORK / parts + 1);
		taken += now;
	}
	assert_true(bursts > 1);
	for (uint32_t i = 0; i < n; i++)
		fp_expect_frame(b, frame, parts - 12);
	fp_free(fp);
}

/* A chain as long as the largest ring, of one byte each, none beside the next: forwarded whole. */
static void test_longest_chain(void **state)
{
	struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
	struct fp_port *a = &fp->ports[0], *b = &fp->ports[1];
	const uint32_t parts = VHOST_VQ_MAX_SIZE;
	/* Bytes from the end to the beginning */
	uint64_t last = fp_alloc(a, 2 * parts), first = last + 2 * (parts - 1);
	uint64_t table = table_of_bytes(a, first, -2, parts);

	(void)state;
	/* Its first entries lie in the small ring that is there. */
	a->tx.map.size = parts;
	fp_frame(frame, parts - 12u, b->mac, a->mac, 1);
	for (uint32_t i = 0; i < parts; i++)
		*fp_host(a, first - 2 * i) = i < 12u ? 0 : frame[i - 12u];
	for (uint32_t n = 0; n < 3; n++) {
		for (uint32_t i = 0; i < 17; i++)
			fp_post(b, 2048);
		fp_avail_table(&a->tx, table, 16 * parts);
	}
	for (uint32_t n = 0; n < 3; n++) {
		assert_int_equal(fp_run(fp, a), 1); /* that is enough for one burst */
		fp_expect_frame(b, frame, parts - 12u);
	}
	fp_free(fp);
}

/* More parts than any frame has. */
static void test_too_many_parts(void **state)
{
	struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
	struct fp_port *a = &fp->ports[0];
	const uint32_t parts = FWD_FEW_SEGS + 1;
	uint64_t table = table_of_bytes(a, fp_alloc(a, parts), 1, parts);

	(void)state;
	fp_avail_table(&a->tx, table, 16 * parts);
	fp_expect_fault(fp, a, &a->tx, VHOST_VQ_BAD_CHAIN);
	fp_free(fp);
}

static void test_hostile_rx(void **state)
{
	static const struct bad_tx rows[] = {
		{"head out of range", {{0}}, FP_RING, VHOST_VQ_BAD_HEAD},
		{"read only", {{0, 2048, 0, 0}}, 0, VHOST_VQ_BAD_DIRECTION},
		{"in the hole", {{FP_MEM, 2048, VRING_DESC_F_WRITE, 0}}, 0, VHOST_VQ_BAD_ADDRESS},
		{"reaches into the hole",
	         {{FP_MEM / 2 - 50, 2048, VRING_DESC_F_WRITE, 0}},
	         0,
	         VHOST_VQ_BAD_ADDRESS},
		{"loop",
	         {{0, 64, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 0}},
	         0,
	         VHOST_VQ_BAD_CHAIN},
		{"shorter than the header",
	         {{0, 11, VRING_DESC_F_WRITE, 0}},
	         0,
	         VHOST_VQ_BAD_LENGTH},
		{"empty", {{0, 0, VRING_DESC_F_WRITE, 0}}, 0, VHOST_VQ_BAD_LENGTH},
	};

	(void)state;
	for (uint32_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
		struct fp_port *a = &fp->ports[0], *b = &fp->ports[1];

		print_message("%s\n", rows[i].name);
		memcpy(b->rx.desc, rows[i].desc, sizeof(rows[i].desc));
		fp_avail(&b->rx, rows[i].head);
		fp_expect_rx_fault(fp, a, b, rows[i].fault);
		fp_free(fp);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hostile_tx),        cmocka_unit_test(test_hostile_indirect),
		cmocka_unit_test(test_hostile_avail_idx), cmocka_unit_test(test_hostile_disabled),
		cmocka_unit_test(test_work_is_bounded),   cmocka_unit_test(test_too_many_parts),
		cmocka_unit_test(test_longest_chain),     cmocka_unit_test(test_hostile_rx),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
