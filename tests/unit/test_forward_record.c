/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_forward_record.c - what has broken other back ends' data paths
 *
 * Each test is one class of published weakness, as docs/security.md lists them; those that are not
 * here are tested elsewhere. With split rings, then with packed ones.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <cmocka.h>

#include "fake_path.h"

#define GIB ((uint64_t)1 << 30)

static uint8_t frame[2048];

/* A chain of @n parts of @piece bytes each, the last one longer by @rest; returns its head. */
static uint16_t make_chain(struct fp_port *p, uint64_t gpa, uint32_t n, uint32_t piece,
                           uint32_t rest)
{
	uint16_t head = p->tx.next_desc % FP_RING;

	for (uint32_t i = 0; i < n; i++) {
		uint16_t next = (uint16_t)((p->tx.next_desc + 1) % FP_RING);
		bool last = i + 1 == n;

		fp_desc(&p->tx, gpa + (uint64_t)i * piece, piece + (last ? rest : 0),
		        last ? 0 : VRING_DESC_F_NEXT, next);
	}
	return head;
}

/*
 * CVE-2022-2132: chains that end within the header, with it, or within the addresses; and headers
 * over more descriptors than two. Short ones are dropped and counted, long ones delivered.
 */
static void header_over_many_descriptors(void **state)
{
	static const struct {
		uint32_t n, piece, rest;
		bool good;
	} rows[] = {
		{1, 1, 0, false},   {1, 11, 0, false}, {1, 12, 0, false}, {1, 25, 0, false},
		{2, 6, 0, false},   {3, 4, 0, false},  {12, 1, 0, false}, {25, 1, 0, false},
		{12, 1, 100, true}, {26, 1, 0, true},  {3, 4, 60, true},  {60, 2, 0, true},
	};

	(void)state;
	for (uint32_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
		struct fp_port *a = &fp->ports[0], *b = &fp->ports[1];
		uint32_t len = rows[i].n * rows[i].piece + rows[i].rest;
		uint64_t gpa = fp_alloc(a, 256);

		fp_post(b, 1600);
		memset(fp_host(a, gpa), 0, 12);
		fp_frame(fp_host(a, gpa) + 12, 200, b->mac, a->mac, i);
		memcpy(frame, fp_host(a, gpa) + 12, 200);
		fp_avail(&a->tx, make_chain(a, gpa, rows[i].n, rows[i].piece, rows[i].rest));
		assert_int_equal(fp_run(fp, a), 1);
		fp_expect_returned(a, 1);
		assert_int_equal(fp_from_drops(a, PORT_FROM_MALFORMED), !rows[i].good);
		if (rows[i].good)
			fp_expect_frame(b, frame, len - 12);
		else
			fp_expect_nothing(b);
		fp_expect_peace(fp);
		fp_free(fp);
	}
}

/* CVE-2020-10725: an address that is none, excused by a length of zero. */
static void nothing_at_no_address(void **state)
{
	static const uint64_t gpas[] = {0, FP_MEM, FP_GAP - 1, UINT64_MAX};

	(void)state;
	for (uint32_t i = 0; i < 2 * ARRAY_SIZE(gpas); i++) {
		struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
		struct fp_port *a = &fp->ports[0], *b = &fp->ports[1];
		uint64_t gpa = gpas[i / 2];

		if (i & 1) { /* a buffer to receive into */
			fp_avail(&b->rx, fp_desc(&b->rx, gpa, 0, VRING_DESC_F_WRITE, 0));
			fp_expect_rx_fault(fp, a, b, VHOST_VQ_BAD_LENGTH);
		} else {
			fp_avail(&a->tx, fp_desc(&a->tx, gpa, 0, 0, 0));
			fp_expect_fault(fp, a, &a->tx, VHOST_VQ_BAD_LENGTH);
		}
		fp_free(fp);
	}
}

/* CVE-2026-86566: receive buffers shorter than the header, alone or as the first of many. */
static void runt_receive_buffers(void **state)
{
	(void)state;
	for (uint32_t len = 1; len < 40; len++) {
		struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
		struct fp_port *a = &fp->ports[0], *b = &fp->ports[1];

		for (uint32_t i = 0; i < 200; i++)
			fp_post(b, len);
		if (len < 12) {
			fp_expect_rx_fault(fp, a, b, VHOST_VQ_BAD_LENGTH);
		} else {
			fp_frame(frame, 100, b->mac, a->mac, len);
			fp_send(a, frame, 100);
			assert_int_equal(fp_run(fp, a), 1);
			fp_expect_frame(b, frame, 100);
			fp_expect_peace(fp);
		}
		fp_free(fp);
	}
}

/* A region of 8 GiB in front of a hole; nothing in it is ever touched but where it should. */
static uint8_t *add_large_region(struct fp_port *p, uint64_t gpa)
{
	struct vhost_mem *mem = calloc(1, sizeof(*mem) + 3 * sizeof(mem->regions[0]));
	uint8_t *bytes = mmap(NULL, 8 * GIB, PROT_READ | PROT_WRITE,
	                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	assert_non_null(mem);
	assert_true(bytes != MAP_FAILED);
	memcpy(mem->regions, p->mem->regions, 2 * sizeof(mem->regions[0]));
	mem->regions[2] = (struct vhost_region){.gpa = gpa, .size = 8 * GIB, .host = bytes};
	mem->n_regions = 3;
	free(p->mem);
	p->mem = mem;
	p->rx.map.mem = p->tx.map.mem = mem;
	return bytes;
}

/* Lengths whose sum does not fit 32 bits. */
static void chains_of_many_gib(void **state)
{
	struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
	struct fp_port *a = &fp->ports[0], *b = &fp->ports[1];
	const uint64_t gpa = 64 * GIB;
	uint8_t *from = add_large_region(a, gpa), *to = add_large_region(b, gpa);
	uint16_t head;

	(void)state;
	/* 2^32 + 100 bytes: were the sum cut, this would be a frame. */
	fp_frame(from + 12, 88, b->mac, a->mac, 1);
	fp_desc(&a->tx, gpa, UINT32_MAX, VRING_DESC_F_NEXT, 1);
	fp_desc(&a->tx, gpa, 101, 0, 0);
	fp_avail(&a->tx, 0);
	fp_post(b, 1600);
	assert_int_equal(fp_run(fp, a), 1);
	assert_int_equal(fp_from_drops(a, PORT_FROM_OVERSIZE), 1);
	fp_expect_nothing(b);
	fp_expect_returned(a, 1);
	fp_free(fp);

	/* The same to receive into: what is told as used is the frame's length. */
	munmap(from, 8 * GIB);
	munmap(to, 8 * GIB);
	fp = fp_new(CONF_NIC_INTERNAL, NULL);
	a = &fp->ports[0];
	b = &fp->ports[1];
	to = add_large_region(b, gpa);
	head = b->rx.next_desc % FP_RING;
	fp_desc(&b->rx, gpa, UINT32_MAX, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT,
	        (uint16_t)(head + 1));
	fp_desc(&b->rx, gpa + UINT32_MAX, UINT32_MAX, VRING_DESC_F_WRITE, 0);
	fp_avail(&b->rx, head);
	fp_frame(frame, 100, b->mac, a->mac, 1);
	fp_send(a, frame, 100);
	assert_int_equal(fp_run(fp, a), 1);
	fp_expect_used(&b->rx, 112);
	assert_memory_equal(to + 12, frame, 100);
	fp_expect_peace(fp);
	fp_free(fp);
	munmap(to, 8 * GIB);
}

/* The guest's wishes for interrupts are any bytes: they cost nobody more than an interrupt each. */
static void wishes_of_noise(void **state)
{
	struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
	struct fp_port *a = &fp->ports[0], *b = &fp->ports[1];
	uint32_t noise = 1;

	(void)state;
	a->tx.map.event_idx = b->rx.map.event_idx = true;
	for (uint32_t i = 0; i < 2000; i++) {
		uint64_t before = counter_get(&b->rx.vq.calls) + counter_get(&a->tx.vq.calls);

		noise = noise * 1664525 + 1013904223;
		if (b->rx.map.packed) {
			memcpy(b->rx.driver_event, &noise, sizeof(noise));
			memcpy(a->tx.driver_event, &noise, sizeof(noise));
		} else {
			b->rx.avail->ring[FP_RING] = (uint16_t)(noise >> 16);
			a->tx.avail->ring[FP_RING] = b->rx.avail->flags = (uint16_t)(noise >> 8);
		}
		fp_post(b, 1600);
		fp_frame(frame, 100, b->mac, a->mac, i);
		fp_send(a, frame, 100);
		assert_int_equal(fp_run(fp, a), 1);
		fp_expect_frame(b, frame, 100);
		fp_expect_returned(a, 1);
		assert_in_range(
			counter_get(&b->rx.vq.calls) + counter_get(&a->tx.vq.calls) - before, 0, 2);
	}
	fp_free(fp);
}

/* More small buffers than the list of parts has places for, in one chain and in many. */
static void receive_buffers_of_one_byte(void **state)
{
	struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
	struct fp_port *a = &fp->ports[0], *b = &fp->ports[1];
	const uint32_t parts = FWD_FEW_SEGS + 1;
	uint64_t gpa = fp_alloc(b, parts), table = fp_alloc(b, 16 * parts);

	(void)state;
	for (uint32_t i = 0; i < parts; i++) {
		struct vring_desc d = {.addr = gpa + i,
		                       .len = 1,
		                       .flags = VRING_DESC_F_WRITE | VRING_DESC_F_NEXT,
		                       .next = (uint16_t)(i + 1)};
		struct vring_packed_desc p = {
			.addr = gpa + i, .len = 1, .flags = VRING_DESC_F_WRITE};

		memcpy(fp_host(b, table) + 16 * i, b->rx.map.packed ? (void *)&p : (void *)&d, 16);
	}
	fp_desc(&b->rx, table, 16 * parts, VRING_DESC_F_INDIRECT, 0);
	if (b->rx.map.packed) /* fp_avail() would rewrite the table */
		b->rx.slots[0] = (struct vring_packed_desc){
			.addr = table,
			.len = 16 * parts,
			.flags = VRING_DESC_F_INDIRECT | 1u << VRING_PACKED_DESC_F_AVAIL};
	else
		fp_avail(&b->rx, 0);
	fp_frame(frame, 1500, b->mac, a->mac, 1);
	fp_send(a, frame, 1500);
	fp_expect_fault(fp, a, &b->rx, VHOST_VQ_BAD_CHAIN);
	fp_free(fp);
}

/*
 * A frame to 00:00:00:00:00:00, which is the key of no destination, after one to the wire and one
 * that closes what was open. (Our own: it was taken for a frame to the nic queue that was open
 * before.)
 */
static void address_of_zeros(void **state)
{
	struct fake_path *fp = fp_new(CONF_NIC_STEERED, NULL);
	struct fp_port *a = &fp->ports[0];
	const uint64_t dst[] = {0x060504030202, 0xffffffffffff, 0, 0x060504030202, 0};
	uint32_t len;

	(void)state;
	for (uint32_t i = 0; i < ARRAY_SIZE(dst); i++) {
		fp_frame(frame, 100, dst[i], a->mac, i);
		fp_send(a, frame, 100);
	}
	assert_int_equal(fp_run(fp, a), ARRAY_SIZE(dst));
	for (uint32_t i = 0; i < ARRAY_SIZE(dst); i++) {
		const uint8_t *sent = fp_xsk_sent(fp, &len);

		assert_non_null(sent);
		fp_frame(frame, 100, dst[i], a->mac, i);
		assert_int_equal(len, 100);
		assert_memory_equal(sent, frame, 100);
	}
	assert_null(fp_xsk_sent(fp, &len));
	fp_free(fp);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(header_over_many_descriptors),
		cmocka_unit_test(nothing_at_no_address),
		cmocka_unit_test(runt_receive_buffers),
		cmocka_unit_test(chains_of_many_gib),
		cmocka_unit_test(wishes_of_noise),
		cmocka_unit_test(receive_buffers_of_one_byte),
		cmocka_unit_test(address_of_zeros),
	};

	return fp_run_tests(tests);
}
