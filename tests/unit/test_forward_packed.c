/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The data path with packed rings that are written slot by slot: guests that break the rules, and
 * layouts at the limits. What any guest sends is in test_forward.c, for both layouts.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "fake_path.h"

#define AVAIL (1u << VRING_PACKED_DESC_F_AVAIL)
#define USED  (1u << VRING_PACKED_DESC_F_USED)
#define NEXT  VRING_DESC_F_NEXT
#define WRITE VRING_DESC_F_WRITE
#define TABLE VRING_DESC_F_INDIRECT

static uint8_t frame[20000];

/* ---- slots by hand ----------------------------------------------------------------------------
 */

/* Available on the first lap, unless @flags has USED */
static void put(struct fp_ring *r, uint32_t slot, uint64_t gpa, uint32_t len, uint16_t flags,
                uint16_t id)
{
	r->slots[slot % r->map.size] = (struct vring_packed_desc){
		.addr = gpa, .len = len, .id = id, .flags = flags & USED ? flags : flags | AVAIL};
}

static void put_rows(struct fp_ring *r, const struct vring_packed_desc *rows, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		put(r, i, rows[i].addr, rows[i].len, rows[i].flags, 0);
}

/* A frame from @from to @to at @gpa of the sender's memory, header first; its length with header */
static uint32_t write_frame(struct fp_port *from, const struct fp_port *to, uint64_t gpa,
                            uint32_t len)
{
	memset(fp_host(from, gpa), 0, 12);
	fp_frame(frame, len, to->mac, from->mac, len);
	memcpy(fp_host(from, gpa) + 12, frame, len);
	return len + 12;
}

static void expect_used(const struct fp_ring *r, uint32_t slot, uint16_t id, uint32_t len)
{
	const struct vring_packed_desc *d = &r->slots[slot];

	assert_int_equal(d->id, id);
	assert_int_equal(d->flags, AVAIL | USED | (len ? WRITE : 0));
	assert_int_equal(d->len, len);
}

/* ---- guests that break the rules --------------------------------------------------------------
 */

struct row {
	const char *name;
	struct vring_packed_desc slots[3];
	enum vhost_vq_fault fault;
};

#define SLOT(at, n, f)                                                                             \
	{                                                                                          \
		.addr = (at), .len = (n), .flags = (f)                                             \
	}

static void hostile_tx(void **state)
{
	static const struct row rows[] = {
		{"empty", {SLOT(0, 0, 0)}, VHOST_VQ_BAD_LENGTH},
		{"empty tail", {SLOT(0, 64, NEXT), SLOT(0, 0, 0)}, VHOST_VQ_BAD_LENGTH},
		{"open end", {SLOT(0, 64, NEXT)}, VHOST_VQ_BAD_LENGTH}, /* the next slot is zero */
		{"writable", {SLOT(0, 64, WRITE)}, VHOST_VQ_BAD_DIRECTION},
		{"writable tail", {SLOT(0, 64, NEXT), SLOT(0, 64, WRITE)}, VHOST_VQ_BAD_DIRECTION},
		{"in the hole", {SLOT(FP_MEM, 64, 0)}, VHOST_VQ_BAD_ADDRESS},
		{"last byte in the hole", {SLOT(FP_MEM / 2 - 63, 64, 0)}, VHOST_VQ_BAD_ADDRESS},
		{"address wraps", {SLOT(UINT64_MAX - 31, 64, 0)}, VHOST_VQ_BAD_ADDRESS},
		{"4 GiB long", {SLOT(0, UINT32_MAX, 0)}, VHOST_VQ_BAD_ADDRESS},
		{"tail in the hole",
	         {SLOT(0, 64, NEXT), SLOT(FP_MEM, 64, 0)},
	         VHOST_VQ_BAD_ADDRESS},
		{"table and next", {SLOT(0, 32, TABLE | NEXT), SLOT(0, 64, 0)}, VHOST_VQ_BAD_CHAIN},
		{"table without entries", {SLOT(0, 0, TABLE)}, VHOST_VQ_BAD_CHAIN},
		{"half an entry", {SLOT(0, 24, TABLE)}, VHOST_VQ_BAD_CHAIN},
		{"huge table", {SLOT(0, 1u << 30, TABLE)}, VHOST_VQ_BAD_CHAIN},
		{"table in the hole", {SLOT(FP_MEM, 32, TABLE)}, VHOST_VQ_BAD_ADDRESS},
		{"table across the end", {SLOT(FP_MEM / 2 - 16, 32, TABLE)}, VHOST_VQ_BAD_ADDRESS},
	};

	(void)state;
	for (uint32_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
		struct fp_port *a = &fp->ports[0];

		print_message("%s\n", rows[i].name);
		put_rows(&a->tx, rows[i].slots, ARRAY_SIZE(rows[i].slots));
		fp_expect_fault(fp, a, &a->tx, rows[i].fault);
		fp_expect_returned(a, 0);
		fp_free(fp);
	}
}

static void hostile_rx(void **state)
{
	static const struct row rows[] = {
		{"read only", {SLOT(0, 2048, 0)}, VHOST_VQ_BAD_DIRECTION},
		{"read only tail",
	         {SLOT(0, 64, WRITE | NEXT), SLOT(0, 2048, 0)},
	         VHOST_VQ_BAD_DIRECTION},
		{"in the hole", {SLOT(FP_MEM, 2048, WRITE)}, VHOST_VQ_BAD_ADDRESS},
		{"reaches into the hole",
	         {SLOT(FP_MEM / 2 - 50, 2048, WRITE)},
	         VHOST_VQ_BAD_ADDRESS},
		{"shorter than the header", {SLOT(0, 11, WRITE)}, VHOST_VQ_BAD_LENGTH},
		{"empty", {SLOT(0, 0, WRITE)}, VHOST_VQ_BAD_LENGTH},
		{"open end", {SLOT(0, 64, WRITE | NEXT), SLOT(0, 0, WRITE)}, VHOST_VQ_BAD_LENGTH},
		{"table in the hole", {SLOT(FP_MEM, 32, TABLE)}, VHOST_VQ_BAD_ADDRESS},
		{"second buffer in the hole",
	         {SLOT(0, 64, WRITE), SLOT(FP_MEM, 2048, WRITE)},
	         VHOST_VQ_BAD_ADDRESS},
	};

	(void)state;
	for (uint32_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
		struct fp_port *a = &fp->ports[0], *b = &fp->ports[1];

		print_message("%s\n", rows[i].name);
		put_rows(&b->rx, rows[i].slots, ARRAY_SIZE(rows[i].slots));
		fp_expect_rx_fault(fp, a, b, rows[i].fault);
		fp_free(fp);
	}
}

/* Each slot leads to the next, round and round. */
static void loops(void **state)
{
	(void)state;
	for (uint32_t round = 0; round < 3; round++) {
		struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
		struct fp_port *a = &fp->ports[0], *b = &fp->ports[1];
		struct fp_ring *r = round == 2 ? &b->rx : &a->tx;

		for (uint32_t i = 0; i < r->map.size; i++)
			put(r, i, 64, 64, NEXT | (r == &b->rx ? WRITE : 0), (uint16_t)i);
		if (round == 1)
			a->tx.map.enabled = false;
		if (round == 2)
			fp_send(a, frame, write_frame(a, b, 0, 20000 - 12) - 12);
		fp_expect_fault(fp, a, r, VHOST_VQ_BAD_CHAIN);
		fp_free(fp);
	}
}

/* Entries of a table that misbehave. */
static void hostile_tables(void **state)
{
	static const struct row rows[] = {
		{"nested", {SLOT(0, 32, TABLE)}, VHOST_VQ_BAD_CHAIN},
		{"in the hole", {SLOT(FP_MEM, 64, 0)}, VHOST_VQ_BAD_ADDRESS},
		{"empty entry", {SLOT(0, 64, 0), SLOT(0, 0, 0)}, VHOST_VQ_BAD_LENGTH},
	};

	(void)state;
	for (uint32_t i = 0; i <= ARRAY_SIZE(rows); i++) {
		struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
		struct fp_port *a = &fp->ports[0];
		uint64_t table = fp_alloc(a, 64);

		/* The last round: a good table, but the feature was not negotiated. */
		if (i < ARRAY_SIZE(rows))
			memcpy(fp_host(a, table), rows[i].slots, sizeof(rows[i].slots));
		else
			a->tx.map.indirect = false;
		put(&a->tx, 0, table, 32, TABLE, 0);
		fp_expect_fault(fp, a, &a->tx,
		                i < ARRAY_SIZE(rows) ? rows[i].fault : VHOST_VQ_BAD_CHAIN);
		fp_free(fp);
	}
}

/*
 * Of the four patterns of AVAIL and USED one makes a slot available on the first lap, and another
 * one on the second; with the rest nothing happens, on either side.
 */
static void patterns(void **state)
{
	static const uint16_t all[] = {0, AVAIL, USED, AVAIL | USED};

	(void)state;
	for (uint32_t i = 0; i < 2 * ARRAY_SIZE(all); i++) {
		uint16_t pattern = all[i / 2], good = i & 1 ? USED : AVAIL;
		struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
		struct fp_port *a = &fp->ports[0], *b = &fp->ports[1];
		uint32_t size = a->tx.map.size;

		if (i & 1) {
			for (uint32_t k = 0; k < size; k++) {
				fp_post(b, 200);
				fp_frame(frame, 60, b->mac, a->mac, k);
				fp_send(a, frame, 60);
			}
			while (fp_run(fp, a))
				;
			for (uint32_t k = 0; k < size; k++)
				fp_expect_used(&b->rx, 72);
			fp_expect_returned(a, size);
		}
		b->rx.slots[0] = (struct vring_packed_desc){
			.addr = 0x1000, .len = 200, .id = 9, .flags = WRITE | pattern};
		a->tx.slots[0] = (struct vring_packed_desc){
			.addr = 0x2000, .len = write_frame(a, b, 0x2000, 90), .flags = pattern};
		assert_int_equal(fp_run(fp, a), pattern == good);
		if (pattern == good) {
			assert_int_equal(b->rx.slots[0].len, 102);
			assert_int_equal(fp_to_drops(b, PORT_TO_NO_BUFFER), 0);
		} else {
			assert_int_equal(a->tx.slots[0].flags, pattern);
			/* And a frame that finds such a receive ring */
			a->tx.slots[0].flags = good;
			assert_int_equal(fp_run(fp, a), 1);
			assert_int_equal(fp_to_drops(b, PORT_TO_NO_BUFFER), 1);
			assert_int_equal(b->rx.slots[0].flags, WRITE | pattern);
		}
		assert_int_equal(atomic_load(&a->tx.vq.fault), VHOST_VQ_OK);
		assert_int_equal(atomic_load(&b->rx.vq.fault), VHOST_VQ_OK);
		fp_free(fp);
	}
}

/* An identifier means nothing to us: any comes back as it was. That of a chain is in its last slot.
 */
static void any_identifier(void **state)
{
	struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
	struct fp_port *a = &fp->ports[0], *b = &fp->ports[1];
	uint32_t len = write_frame(a, b, 0x2000, 100);

	(void)state;
	put(&b->rx, 0, 0x1000, 200, WRITE, 0xffff);
	put(&b->rx, 1, 0x1100, 50, WRITE | NEXT, 3);
	put(&b->rx, 2, 0x1200, 150, WRITE, FP_RING);
	put(&a->tx, 0, 0x2000, len, 0, 0x8000);
	put(&a->tx, 1, 0x2000, 50, NEXT, 0x8000);
	put(&a->tx, 2, 0x2000 + 50, len - 50, 0, 0xfffe);
	assert_int_equal(fp_run(fp, a), 2);
	expect_used(&a->tx, 0, 0x8000, 0);
	expect_used(&a->tx, 1, 0xfffe, 0);
	expect_used(&b->rx, 0, 0xffff, len);
	expect_used(&b->rx, 1, FP_RING, len);
	assert_memory_equal(fp_host(b, 0x1000 + 12), frame, 100);
	fp_free(fp);
}

/* A ring that is only drained: chains are skipped whole, and one without end is told. */
static void disabled(void **state)
{
	struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
	struct fp_port *a = &fp->ports[0];
	uint32_t size = a->tx.map.size;

	(void)state;
	a->tx.map.enabled = false;
	put(&a->tx, 0, UINT64_MAX, UINT32_MAX, NEXT | TABLE, 1); /* nobody looks at it */
	put(&a->tx, 1, 0, 0, WRITE, 2);
	put(&a->tx, 2, 0, 0, 0, 3);
	assert_int_equal(fp_run(fp, a), 2);
	assert_int_equal(fp_from_drops(a, PORT_FROM_DISABLED), 2);
	expect_used(&a->tx, 0, 2, 0);
	expect_used(&a->tx, 2, 3, 0);
	for (uint32_t i = 3; i < size; i++)
		put(&a->tx, i, 0, 64, NEXT, 4);
	for (uint32_t i = 0; i < 3; i++)
		a->tx.slots[i].flags = NEXT;
	fp_expect_fault(fp, a, &a->tx, VHOST_VQ_BAD_CHAIN);
	fp_free(fp);
}

/* ---- at the limits ----------------------------------------------------------------------------
 */

/* A frame in as many slots as there are, into a buffer of as many; the ends meet in mid-chain. */
static void chains_of_a_lap(void **state)
{
	struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
	struct fp_port *a = &fp->ports[0], *b = &fp->ports[1];
	uint32_t size = a->tx.map.size, n = 5 * (size - 1);
	uint32_t len = write_frame(a, b, 0x2000, n - 12);

	(void)state;
	/* Both rings stand at slot 5. */
	for (uint32_t i = 0; i < 5; i++) {
		put(&b->rx, i, 0x1000, 200, WRITE, 0);
		put(&a->tx, i, 0x9000, 112, 0, 0);
	}
	memset(fp_host(a, 0x9000), 0, 12);
	memcpy(fp_host(a, 0x9000) + 12, frame, 100);
	assert_int_equal(fp_run(fp, a), 5);
	for (uint32_t k = 0; k < size; k++) {
		uint16_t lap = k + 5 < size ? 0 : USED; /* the slots over the end: next lap */
		uint16_t more = k + 1 < size ? NEXT : 0;

		/* The sender's last slot is one byte more than it needs: 1 byte of header first. */
		put(&a->tx, k + 5, 0x2000 + (k ? 1 + 5 * (k - 1) : 0),
		    !k     ? 1
		    : more ? 5
		           : 4,
		    lap | more, 7);
		put(&b->rx, k + 5, 0x4000 + 5 * k, 5, WRITE | lap | more, 8);
	}
	assert_int_equal(fp_run(fp, a), 1);
	expect_used(&a->tx, 5, 7, 0);
	expect_used(&b->rx, 5, 8, len);
	assert_memory_equal(fp_host(b, 0x4000 + 12), frame, len - 12);
	assert_int_equal(a->tx.vq.last_avail, 5);
	assert_int_equal(vhost_packed_position(&a->tx.vq), 0x00050005);
	assert_int_equal(vhost_packed_position(&b->rx.vq), 0x00050005);
	fp_free(fp);
}

/* A frame for which all buffers are too little: dropped, and the ring is as it was. */
static void more_than_a_lap(void **state)
{
	struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
	struct fp_port *a = &fp->ports[0], *b = &fp->ports[1];
	uint32_t size = b->rx.map.size;

	(void)state;
	for (uint32_t i = 0; i < size; i++)
		put(&b->rx, i, 0x1000, 12 + (i == 0), WRITE, (uint16_t)i);
	put(&a->tx, 0, 0x2000, write_frame(a, b, 0x2000, 12 * size - 10), 0, 0);
	assert_int_equal(fp_run(fp, a), 1);
	assert_int_equal(fp_to_drops(b, PORT_TO_NO_BUFFER), 1);
	assert_int_equal(vhost_packed_position(&b->rx.vq), 0x80008000);
	assert_int_equal(b->rx.slots[0].flags, AVAIL | WRITE);
	put(&a->tx, 1, 0x2000, write_frame(a, b, 0x2000, 12 * size - 11), 0, 0);
	assert_int_equal(fp_run(fp, a), 1);
	assert_int_equal(b->rx.slots[size - 1].flags, AVAIL | USED | WRITE);
	assert_int_equal(vhost_packed_position(&b->rx.vq), 0);
	fp_free(fp);
}

/* Buffers that go from one region of memory to the next, on both sides */
static void across_regions(void **state)
{
	struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
	struct fp_port *a = &fp->ports[0], *b = &fp->ports[1];
	const uint64_t end = FP_MEM / 2;
	uint32_t len;

	(void)state;
	a->mem->regions[1].gpa = b->mem->regions[1].gpa = end; /* host addresses follow, too */
	for (uint32_t k = 0; k < 5; k++) {
		uint64_t gpa = end - 5 - 30 * k;

		len = write_frame(a, b, gpa, 150);
		put(&a->tx, k, gpa, len, 0, 0);
		put(&b->rx, k, gpa - 3, 200, WRITE, 0);
		assert_int_equal(fp_run(fp, a), 1);
		expect_used(&b->rx, k, 0, len);
		assert_memory_equal(fp_host(b, gpa - 3 + 12), frame, 150);
	}
	fp_free(fp);
}

/* Only WRITE counts in a table: other flags and identifiers are reserved, and ignored (2.8.7). */
static void reserved_bits_of_tables(void **state)
{
	struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
	struct fp_port *a = &fp->ports[0], *b = &fp->ports[1];
	uint32_t len = write_frame(a, b, 0x2000, 100);
	struct vring_packed_desc tx[] = {
		/* DPDK's driver leaves WRITE behind. */
		{.addr = 0x2000, .len = 12, .id = 77, .flags = AVAIL | USED | WRITE},
		{.addr = 0x2000 + 12, .len = len - 12, .id = 5, .flags = NEXT | USED | WRITE},
	};
	struct vring_packed_desc rx[] = {
		{.addr = 0x1000, .len = 50, .id = 1, .flags = WRITE},
		{.addr = 0x1000 + 50, .len = 50, .id = 1, .flags = WRITE | AVAIL},
		{.addr = 0x1000 + 100, .len = 12, .id = 1, .flags = WRITE | NEXT},
	};

	(void)state;
	memcpy(fp_host(a, 0x3000), tx, sizeof(tx));
	memcpy(fp_host(b, 0x3001), rx, sizeof(rx)); /* aligned to nothing */
	put(&a->tx, 0, 0x3000, sizeof(tx), TABLE | WRITE, 4);
	put(&b->rx, 0, 0x3001, sizeof(rx), TABLE, 6);
	assert_int_equal(fp_run(fp, a), 1);
	expect_used(&a->tx, 0, 4, 0);
	expect_used(&b->rx, 0, 6, len);
	assert_memory_equal(fp_host(b, 0x1000 + 12), frame, 100);
	fp_free(fp);
}

/* Rings of very few slots: many laps, one frame at a time. */
static void tiny_rings(void **state)
{
	(void)state;
	for (uint16_t size = 1; size <= 5; size++) {
		struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
		struct fp_port *a = &fp->ports[0], *b = &fp->ports[1];

		a->tx.map.size = b->rx.map.size = size;
		for (uint32_t k = 0; k < 40; k++) {
			fp_frame(frame, 100, b->mac, a->mac, k);
			fp_post(b, 200);
			fp_send(a, frame, 100);
			assert_int_equal(fp_run(fp, a), 1);
			fp_expect_frame(b, frame, 100);
			fp_expect_returned(a, 1);
		}
		fp_free(fp);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hostile_tx),      cmocka_unit_test(hostile_rx),
		cmocka_unit_test(loops),           cmocka_unit_test(hostile_tables),
		cmocka_unit_test(patterns),        cmocka_unit_test(any_identifier),
		cmocka_unit_test(disabled),        cmocka_unit_test(chains_of_a_lap),
		cmocka_unit_test(more_than_a_lap), cmocka_unit_test(across_regions),
		cmocka_unit_test(tiny_rings),      cmocka_unit_test(reserved_bits_of_tables),
	};
	int failed;

	fp_packed = FP_RING;
	failed = cmocka_run_group_tests_name("256 slots", tests, NULL, NULL);
	fp_packed = 243;
	return failed + cmocka_run_group_tests_name("243 slots", tests, NULL, NULL);
}
