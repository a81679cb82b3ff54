/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_forward_shapes.c - buffers of every usual shape, and what is nearly one
 *
 * A transmit buffer of one or two parts, and frames that fill several plain receive buffers, are
 * handled near the hot loop; all else is not. Which path a frame takes must not show.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "fake_path.h"

static uint8_t frame[65536];

/* Every shape and length, to one buffer or to several. */
static void test_every_shape(void **state)
{
	static const uint32_t buffers[] = {1700, 28, 27, 29, 64, 200, 801};
	struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
	struct fp_port *a = &fp->ports[0], *b = &fp->ports[1];

	(void)state;
	for (enum fp_shape shape = 0; shape < FP_N_SHAPES; shape++) {
		for (uint32_t len = 14; len < 1600; len += 1 + (len > 100) * 7) {
			uint32_t size = buffers[len % ARRAY_SIZE(buffers)];

			fp_frame(frame, len, b->mac, a->mac, len);
			for (uint32_t room = 0; room < len + 12; room += size)
				fp_post(b, size);
			fp_send_as(a, shape, frame, len);
			assert_int_equal(fp_run(fp, a), 1);
			fp_expect_frame(b, frame, len);
			fp_expect_nothing(b);
			fp_expect_returned(a, 1);
		}
	}
	assert_int_equal(counter_get(&a->tx.vq.bytes), counter_get(&b->rx.vq.bytes));
	assert_int_equal(counter_get(&a->tx.vq.frames), counter_get(&b->rx.vq.frames));
	fp_free(fp);
}

/* Shapes, lengths, destinations and sizes of buffers, mixed: order holds and nothing is lost. */
static void test_mix(void **state)
{
	struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
	struct fp_port *a = &fp->ports[0];
	uint32_t len[FP_RING], to[FP_RING], seed = 0;

	(void)state;
	srandom(11);
	for (uint32_t round = 0; round < 3000; round++) {
		uint32_t n = 1 + (uint32_t)random() % 40;

		for (uint32_t i = 0; i < n; i++) {
			struct fp_port *b = &fp->ports[to[i] = 1 + (uint32_t)random() % 3];
			uint32_t size = random() % 3 ? 2048 : 500 + (uint32_t)random() % 1000;

			len[i] = 14 + (uint32_t)random() % 1487;
			for (uint32_t room = 0; room < len[i] + 12; room += size)
				fp_post(b, size);
			fp_frame(frame, len[i], b->mac, a->mac, seed + i);
			fp_send_as(a, (enum fp_shape)(random() % FP_N_SHAPES), frame, len[i]);
		}
		for (uint32_t taken = 0; taken < n;)
			taken += fp_run(fp, a);
		for (uint32_t i = 0; i < n; i++) {
			struct fp_port *b = &fp->ports[to[i]];

			fp_frame(frame, len[i], b->mac, a->mac, seed + i);
			fp_expect_frame(b, frame, len[i]);
		}
		fp_expect_returned(a, n);
		seed += n;
	}
	fp_free(fp);
}

/* A header in the descriptor of its own that is no plain one still decides. */
static void test_header_of_its_own(void **state)
{
	struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
	struct fp_port *a = &fp->ports[0], *b = &fp->ports[1];

	(void)state;
	fp_post(b, 1600);
	for (enum fp_shape shape = FP_CHAINED; shape < FP_N_SHAPES; shape++) {
		uint64_t gpa;

		fp_frame(frame, 100, b->mac, a->mac, 1);
		gpa = fp_send_as(a, shape, frame, 100);
		fp_host(a, gpa - 12)[1] = 1; /* gso_type TCPv4 */
		fp_run(fp, a);
		assert_int_equal(fp_from_drops(a, PORT_FROM_OFFLOAD), shape - FP_CHAINED + 1u);
		fp_expect_nothing(b);
		memcpy(frame + 12, "\x81\x00\x00\x05", 4);
		fp_send_as(a, shape, frame, 100);
		fp_run(fp, a);
		assert_int_equal(fp_from_drops(a, PORT_FROM_VLAN), shape - FP_CHAINED + 1u);
	}
	fp_expect_nothing(b);
	fp_free(fp);
}

/* ---- one rule broken in each ---- */

struct broken {
	const char *what;
	struct vring_desc hdr, frame; /* addresses are added to where the buffer is */
	enum vhost_vq_fault fault;    /* VHOST_VQ_OK: odd, but allowed */
};

#define HOLE 0x123400000000ull /* no guest memory there */

static const struct broken broken[] = {
	{"header across two", {.len = 11}, {.addr = 11, .len = 101}, VHOST_VQ_OK},
	{"more than the header", {.len = 13}, {.addr = 13, .len = 99}, VHOST_VQ_OK},
	{"header nowhere",
         {.addr = HOLE, .len = 12},
         {.addr = 12, .len = 100},
         VHOST_VQ_BAD_ADDRESS},
	{"frame nowhere", {.len = 12}, {.addr = HOLE, .len = 100}, VHOST_VQ_BAD_ADDRESS},
	{"frame of 4 GiB", {.len = 12}, {.addr = 12, .len = UINT32_MAX}, VHOST_VQ_BAD_ADDRESS},
	{"frame that wraps",
         {.len = 12},
         {.addr = UINT64_MAX - 20, .len = 100},
         VHOST_VQ_BAD_ADDRESS},
	{"no header", {.len = 0}, {.addr = 12, .len = 100}, VHOST_VQ_BAD_LENGTH},
	{"no frame", {.len = 12}, {.addr = 12, .len = 0}, VHOST_VQ_BAD_LENGTH},
};

/* Where the buffer's descriptors are: in the ring, or in a table */
static void send_broken(struct fp_port *a, const struct broken *b, bool table)
{
	uint64_t gpa = fp_alloc(a, 256), at = gpa + 128;
	struct vring_desc t[2] = {b->hdr, b->frame};
	uint16_t head;

	memset(fp_host(a, gpa), 0, 12);
	memcpy(fp_host(a, gpa) + 12, frame, 100);
	t[0].addr += gpa;
	t[1].addr += gpa;
	t[0].flags |= VRING_DESC_F_NEXT;
	t[0].next = 1;
	if (table) {
		memcpy(fp_host(a, at), t, sizeof(t));
		head = fp_desc(&a->tx, at, sizeof(t), VRING_DESC_F_INDIRECT, 0);
	} else {
		head = fp_desc(&a->tx, t[0].addr, t[0].len, t[0].flags,
		               (uint16_t)((a->tx.next_desc + 1) % FP_RING));
		fp_desc(&a->tx, t[1].addr, t[1].len, t[1].flags, 0);
	}
	fp_avail(&a->tx, head);
}

static void test_broken_pairs(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < 2 * ARRAY_SIZE(broken); i++) {
		struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
		const struct broken *row = &broken[i / 2];
		struct fp_port *a = &fp->ports[0], *b = &fp->ports[1];

		print_message("%s, %s\n", row->what, i % 2 ? "in a table" : "in the ring");
		fp_post(b, 1600);
		fp_frame(frame, 100, b->mac, a->mac, 1);
		send_broken(a, row, i % 2);
		if (row->fault == VHOST_VQ_OK) {
			assert_int_equal(fp_run(fp, a), 1);
			fp_expect_frame(b, frame, 100);
		} else {
			fp_expect_fault(fp, a, &a->tx, row->fault);
		}
		fp_expect_nothing(b);
		fp_free(fp);
	}
}

/* A split table of two with a wrong link or flag. Of a packed one neither says anything. */
static void test_entries_of_a_table(void **state)
{
	static const struct {
		struct vring_desc hdr, frame;
		enum vhost_vq_fault fault;
	} rows[] = {
		{{.flags = VRING_DESC_F_NEXT, .next = 0}, {0}, VHOST_VQ_BAD_CHAIN},
		{{.flags = VRING_DESC_F_NEXT, .next = 2}, {0}, VHOST_VQ_BAD_CHAIN},
		{{.flags = VRING_DESC_F_NEXT, .next = UINT16_MAX}, {0}, VHOST_VQ_BAD_CHAIN},
		{{.flags = VRING_DESC_F_NEXT, .next = 1},
	         {.flags = VRING_DESC_F_NEXT, .next = 2},
	         VHOST_VQ_BAD_CHAIN},
		{{.flags = VRING_DESC_F_NEXT, .next = 1},
	         {.flags = VRING_DESC_F_WRITE},
	         VHOST_VQ_BAD_DIRECTION},
		{{.flags = VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, .next = 1},
	         {0},
	         VHOST_VQ_BAD_DIRECTION},
	};

	(void)state;
	for (uint32_t i = 0; i < ARRAY_SIZE(rows) && !fp_packed; i++) {
		struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
		struct fp_port *a = &fp->ports[0], *b = &fp->ports[1];
		uint64_t gpa = fp_alloc(a, 256), table = fp_alloc(a, 64);
		struct vring_desc t[2] = {rows[i].hdr, rows[i].frame};

		t[0].addr = gpa;
		t[0].len = 12;
		t[1].addr = gpa + 12;
		t[1].len = 100;
		memset(fp_host(a, gpa), 0, 12);
		fp_frame(fp_host(a, gpa) + 12, 100, b->mac, a->mac, 1);
		memcpy(fp_host(a, table), t, sizeof(t));
		fp_post(b, 1600);
		fp_avail_table(&a->tx, table, sizeof(t));
		fp_expect_fault(fp, a, &a->tx, rows[i].fault);
		fp_expect_nothing(b);
		fp_free(fp);
	}
}

/* Not negotiated; or, behind an IOMMU, where we may not read. */
static void test_forbidden_tables(void **state)
{
	static const struct vhost_mem nothing;

	(void)state;
	for (uint32_t i = 0; i < 4; i++) {
		struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
		struct fp_port *a = &fp->ports[0], *b = &fp->ports[1];

		if (i < 2)
			a->tx.map.indirect = false;
		else
			a->tx.map.table_mem = &nothing;
		fp_post(b, 1600);
		fp_frame(frame, 100, b->mac, a->mac, 1);
		fp_send_as(a, i % 2 ? FP_TABLE_OF_TWO : FP_TABLE_OF_ONE, frame, 100);
		fp_expect_fault(fp, a, &a->tx, i < 2 ? VHOST_VQ_BAD_CHAIN : VHOST_VQ_BAD_ADDRESS);
		fp_expect_nothing(b);
		fp_free(fp);
	}
}

/* The last byte of a region may be used, the one behind it may not. */
static void test_end_of_memory(void **state)
{
	(void)state;
	for (uint32_t beyond = 0; beyond < 2; beyond++) {
		struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
		struct fp_port *a = &fp->ports[0], *b = &fp->ports[1];
		uint64_t gpa = FP_GAP + FP_MEM / 2 - 112;
		uint16_t head = fp_desc(&a->tx, gpa, 12, VRING_DESC_F_NEXT, 1);

		fp_post(b, 1600);
		fp_frame(fp_host(a, gpa) + 12, 100, b->mac, a->mac, 1);
		memset(fp_host(a, gpa), 0, 12);
		fp_desc(&a->tx, gpa + 12, 100 + beyond, 0, 0);
		fp_avail(&a->tx, head);
		if (beyond) {
			fp_expect_fault(fp, a, &a->tx, VHOST_VQ_BAD_ADDRESS);
		} else {
			assert_int_equal(fp_run(fp, a), 1);
			fp_expect_frame(b, fp_host(a, gpa) + 12, 100);
		}
		fp_free(fp);
	}
}

/* ---- several receive buffers ---- */

/* The frame ends with the last buffer, or before its end: what is behind it is left alone. */
static void test_merge_ends(void **state)
{
	struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
	struct fp_port *a = &fp->ports[0], *b = &fp->ports[1];

	(void)state;
	for (uint32_t len = 101; len < 1400; len++) {
		uint64_t first, second;

		fp_frame(frame, len, b->mac, a->mac, len);
		first = fp_post(b, 100);
		second = fp_post(b, 1500);
		fp_send(a, frame, len);
		assert_int_equal(fp_run(fp, a), 1);
		fp_expect_frame(b, frame, len);
		assert_memory_equal(fp_host(b, first), "\0\0\0\0\0\0\0\0\0\0\2\0", 12);
		assert_int_equal(fp_host(b, first)[100], 0);
		assert_int_equal(fp_host(b, second)[len - 88], 0xee);
	}
	fp_free(fp);
}

/* As many buffers as are handled at a time, and one more: no difference but in the path. */
static void test_merge_many(void **state)
{
	struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
	struct fp_port *a = &fp->ports[0], *b = &fp->ports[1];

	(void)state;
	for (uint32_t n = 14; n < 20; n++) {
		uint32_t len = n * 100 - 12;

		fp_frame(frame, len, b->mac, a->mac, n);
		for (uint32_t i = 0; i < n; i++)
			fp_post(b, 100);
		fp_send(a, frame, len);
		assert_int_equal(fp_run(fp, a), 1);
		fp_expect_frame(b, frame, len);
		fp_expect_nothing(b);
	}
	fp_free(fp);
}

/* Too few: the frame is dropped, and its buffers are there for the next one. */
static void test_merge_too_few(void **state)
{
	struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
	struct fp_port *a = &fp->ports[0], *b = &fp->ports[1];

	(void)state;
	fp_frame(frame, 900, b->mac, a->mac, 1);
	for (uint32_t i = 0; i < 3; i++)
		fp_post(b, 300);
	fp_send(a, frame, 900); /* with its header 12 bytes too long */
	fp_send(a, frame, 888);
	assert_int_equal(fp_run(fp, a), 2);
	assert_int_equal(fp_to_drops(b, PORT_TO_NO_BUFFER), 1);
	fp_expect_frame(b, frame, 888);
	fp_expect_nothing(b);
	fp_free(fp);
}

/* A buffer of two parts among plain ones, and one that is wrong. */
static void test_merge_with_others(void **state)
{
	struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
	struct fp_port *a = &fp->ports[0], *b = &fp->ports[1];
	uint64_t plain = fp_post(b, 300), parts = fp_alloc(b, 700);
	uint16_t head = fp_desc(&b->rx, parts, 100, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 2);

	(void)state;
	fp_desc(&b->rx, parts + 100, 600, VRING_DESC_F_WRITE, 0);
	fp_avail(&b->rx, head);
	fp_frame(frame, 900, b->mac, a->mac, 1);
	fp_send(a, frame, 900);
	assert_int_equal(fp_run(fp, a), 1);
	fp_expect_used(&b->rx, 300);
	fp_expect_used(&b->rx, 612);
	assert_memory_equal(fp_host(b, plain) + 12, frame, 288);
	assert_memory_equal(fp_host(b, parts), frame + 288, 612);

	fp_post(b, 300);
	fp_avail(&b->rx, fp_desc(&b->rx, HOLE, 700, VRING_DESC_F_WRITE, 0));
	fp_send(a, frame, 900);
	fp_expect_fault(fp, a, &b->rx, VHOST_VQ_BAD_ADDRESS);
	fp_expect_nothing(b);
	fp_free(fp);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_shape),        cmocka_unit_test(test_mix),
		cmocka_unit_test(test_header_of_its_own),  cmocka_unit_test(test_broken_pairs),
		cmocka_unit_test(test_entries_of_a_table), cmocka_unit_test(test_forbidden_tables),
		cmocka_unit_test(test_end_of_memory),      cmocka_unit_test(test_merge_ends),
		cmocka_unit_test(test_merge_many),         cmocka_unit_test(test_merge_too_few),
		cmocka_unit_test(test_merge_with_others),
	};

	return fp_run_tests(tests);
}
