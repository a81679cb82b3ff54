/* SPDX-License-Identifier: BSD-2-Clause */
/* The data path: every shape of frame, every destination, every reason to drop. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "fake_path.h"

#define BCAST 0xffffffffffffull

static uint8_t frame[70000];

/* The next frame in the port's receive ring: used entries, header and bytes are as they must be. */
static void expect_frame(struct fp_port *p, const uint8_t *want, uint32_t len)
{
	uint32_t got = 0, n = 0, bufs = 1;

	while (n < bufs) {
		uint32_t used_len, from = 0;
		uint16_t head;
		uint8_t *buf;

		assert_true(fp_used(&p->rx, &head, &used_len));
		buf = fp_host(p, p->rx.desc[head].addr);
		if (!n++) {
			assert_memory_equal(buf, "\0\0\0\0\0\0\0\0\0\0", 10);
			bufs = buf[10] | (uint32_t)buf[11] << 8;
			assert_in_range(bufs, 1, FP_RING);
			from = 12;
		}
		assert_true(used_len >= from && used_len <= p->rx.desc[head].len);
		assert_true(got + used_len - from <= len);
		assert_memory_equal(buf + from, want + got, used_len - from);
		got += used_len - from;
	}
	assert_int_equal(got, len);
}

static void expect_nothing(struct fp_port *p)
{
	assert_int_equal(p->rx.used->idx, p->rx.used_seen);
}

/* The sender got all its descriptors back. */
static void expect_returned(struct fp_port *p, uint32_t n)
{
	uint32_t len;
	uint16_t head;

	while (n--)
		assert_true(fp_used(&p->tx, &head, &len));
	assert_false(fp_used(&p->tx, &head, &len));
}

static uint64_t from_drops(const struct fp_port *p, enum port_from_drop why)
{
	return counter_get(&p->port.queues[1].from_drops[why]);
}

static uint64_t to_drops(const struct fp_port *p, enum port_to_drop why)
{
	return counter_get(&p->port.queues[0].to_drops[why]);
}

/* ---- guest to guest ------------------------------------------------------------------------- */

static void test_every_length(void **state)
{
	struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
	struct fp_port *a = &fp->ports[0], *b = &fp->ports[1];

	(void)state;
	for (uint32_t len = 14; len < 1600; len++) {
		fp_frame(frame, len, b->mac, a->mac, len);
		fp_post(b, 1700);
		fp_send(a, frame, len);
		assert_int_equal(fp_run(fp, a), 1);
		expect_frame(b, frame, len);
		expect_returned(a, 1);
	}
	assert_int_equal(counter_get(&b->rx.vq.frames), 1600 - 14);
	assert_int_equal(counter_get(&a->tx.vq.frames), 1600 - 14);
	assert_int_equal(counter_get(&a->tx.vq.bytes), counter_get(&b->rx.vq.bytes));
	fp_free(fp);
}

/* A buffer of exactly the right size is used; the byte behind it is left alone. */
static void test_exact_buffer(void **state)
{
	struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
	struct fp_port *a = &fp->ports[0], *b = &fp->ports[1];
	uint64_t gpa;

	(void)state;
	b->rx.map.mergeable = false;
	for (uint32_t len = 60; len < 400; len += 17) {
		fp_frame(frame, len, b->mac, a->mac, len);
		gpa = fp_post(b, len + 12);
		fp_host(b, gpa)[len + 12] = 0x5a;
		fp_send(a, frame, len);
		fp_run(fp, a);
		expect_frame(b, frame, len);
		assert_int_equal(fp_host(b, gpa)[len + 12], 0x5a);
	}
	fp_free(fp);
}

static void test_chains(void **state)
{
	struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
	struct fp_port *a = &fp->ports[0], *b = &fp->ports[1];
	static const uint32_t cuts[][4] = {
		/* pieces of header + frame; the last takes the rest */
		{12, 0},       {10, 2, 0}, {5, 7, 0},   {12, 14, 0},
		{12, 3, 5, 0}, {30, 0},    {12, 64, 0}, {1, 1, 1, 0},
	};

	(void)state;
	for (uint32_t k = 0; k < ARRAY_SIZE(cuts); k++) {
		uint32_t len = 700, left = len + 12, at = 0;
		uint64_t gpa = fp_alloc(a, left);
		uint16_t head = a->tx.next_desc % FP_RING;

		fp_frame(frame, len, b->mac, a->mac, k);
		memset(fp_host(a, gpa), 0, 12);
		memcpy(fp_host(a, gpa) + 12, frame, len);
		for (uint32_t i = 0; left; i++) {
			uint32_t n = cuts[k][i] ? cuts[k][i] : left;
			uint16_t next = (uint16_t)((a->tx.next_desc + 1) % FP_RING);

			left -= n;
			fp_desc(&a->tx, gpa + at, n, left ? VRING_DESC_F_NEXT : 0, next);
			at += n;
		}
		fp_post(b, 1700);
		fp_avail(&a->tx, head);
		assert_int_equal(fp_run(fp, a), 1);
		expect_frame(b, frame, len);
		expect_returned(a, 1);
	}
	fp_free(fp);
}

static void test_indirect(void **state)
{
	struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
	struct fp_port *a = &fp->ports[0], *b = &fp->ports[1];
	uint32_t len = 900;
	uint64_t gpa = fp_alloc(a, len + 12), table = fp_alloc(a, 64) + 4; /* any alignment */
	struct vring_desc t[3] = {
		{.addr = gpa, .len = 12, .flags = VRING_DESC_F_NEXT, .next = 2},
		{.addr = gpa + 112, .len = len - 100, .flags = 0},
		{.addr = gpa + 12, .len = 100, .flags = VRING_DESC_F_NEXT, .next = 1},
	};

	(void)state;
	fp_frame(frame, len, b->mac, a->mac, 1);
	memset(fp_host(a, gpa), 0, 12);
	memcpy(fp_host(a, gpa) + 12, frame, len);
	memcpy(fp_host(a, table), t, sizeof(t));
	fp_post(b, 1700);
	fp_avail(&a->tx, fp_desc(&a->tx, table, sizeof(t), VRING_DESC_F_INDIRECT, 0));
	assert_int_equal(fp_run(fp, a), 1);
	expect_frame(b, frame, len);
	fp_free(fp);
}

/* Frame and buffer each span the end of one region and the start of the next, adjacent one. */
static void test_across_regions(void **state)
{
	struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
	struct fp_port *a = &fp->ports[0], *b = &fp->ports[1];
	const uint64_t edge = FP_MEM / 2;
	uint32_t len = 600;

	(void)state;
	a->mem->regions[1].gpa = b->mem->regions[1].gpa = edge;
	fp_frame(frame, len, b->mac, a->mac, 1);
	memset(a->bytes + edge - 300, 0, 12);
	memcpy(a->bytes + edge - 288, frame, len);
	fp_avail(&a->tx, fp_desc(&a->tx, edge - 300, len + 12, 0, 0));
	fp_avail(&b->rx, fp_desc(&b->rx, edge - 5, 1700, VRING_DESC_F_WRITE, 0));
	assert_int_equal(fp_run(fp, a), 1);
	assert_int_equal(b->rx.used->idx, 1);
	assert_int_equal(b->rx.used->ring[0].len, len + 12);
	assert_memory_equal(b->bytes + edge - 5 + 12, frame, len);
	fp_free(fp);
}

static void test_mergeable(void **state)
{
	struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
	struct fp_port *a = &fp->ports[0], *b = &fp->ports[1];

	(void)state;
	for (uint32_t size = 12; size <= 1024; size += 253) {
		uint32_t len = 1500, n = (len + 12 + size - 1) / size;

		fp_frame(frame, len, b->mac, a->mac, size);
		for (uint32_t i = 0; i < n; i++)
			fp_post(b, size);
		fp_send(a, frame, len);
		assert_int_equal(fp_run(fp, a), 1);
		expect_frame(b, frame, len);
		expect_nothing(b);
	}
	fp_free(fp);
}

/* A frame of 64 KiB, as a guest with segmentation offload would send it. */
static void test_largest_frame(void **state)
{
	struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
	struct fp_port *a = &fp->ports[0], *b = &fp->ports[1];

	(void)state;
	fp_frame(frame, FWD_MAX_FRAME, b->mac, a->mac, 3);
	for (uint32_t i = 0; i < 40; i++)
		fp_post(b, 2048);
	fp_send(a, frame, FWD_MAX_FRAME);
	assert_int_equal(fp_run(fp, a), 1);
	expect_frame(b, frame, FWD_MAX_FRAME);
	fp_send(a, frame, FWD_MAX_FRAME + 1);
	assert_int_equal(fp_run(fp, a), 1);
	assert_int_equal(from_drops(a, PORT_FROM_OVERSIZE), 1);
	fp_free(fp);
}

/* Too few buffers: the frame is dropped whole, no buffer is lost, the next frame uses them. */
static void test_no_buffer(void **state)
{
	struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
	struct fp_port *a = &fp->ports[0], *b = &fp->ports[1];

	(void)state;
	fp_frame(frame, 1500, b->mac, a->mac, 1);
	fp_post(b, 800);
	fp_send(a, frame, 1500);
	fp_send(a, frame, 700);
	assert_int_equal(fp_run(fp, a), 2);
	assert_int_equal(to_drops(b, PORT_TO_NO_BUFFER), 1);
	expect_frame(b, frame, 700);
	fp_send(a, frame, 700);
	fp_run(fp, a);
	assert_int_equal(to_drops(b, PORT_TO_NO_BUFFER), 2);
	expect_nothing(b);
	expect_returned(a, 3);
	fp_free(fp);
}

static void test_too_big(void **state)
{
	struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
	struct fp_port *a = &fp->ports[0], *b = &fp->ports[1];

	(void)state;
	b->rx.map.mergeable = false;
	fp_frame(frame, 1500, b->mac, a->mac, 1);
	fp_post(b, 1000);
	fp_post(b, 1000);
	fp_send(a, frame, 1500);
	fp_send(a, frame, 500);
	assert_int_equal(fp_run(fp, a), 2);
	assert_int_equal(to_drops(b, PORT_TO_TOO_BIG), 1);
	expect_frame(b, frame, 500);
	fp_free(fp);
}

/* A receive buffer whose header and data are separate descriptors (Windows, legacy drivers). */
static void test_split_receive_buffer(void **state)
{
	struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
	struct fp_port *a = &fp->ports[0], *b = &fp->ports[1];
	uint64_t hdr = fp_alloc(b, 12), data = fp_alloc(b, 1600);

	(void)state;
	fp_frame(frame, 333, b->mac, a->mac, 1);
	fp_desc(&b->rx, hdr, 12, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 1);
	fp_desc(&b->rx, data, 1600, VRING_DESC_F_WRITE, 0);
	fp_avail(&b->rx, 0);
	fp_send(a, frame, 333);
	fp_run(fp, a);
	assert_int_equal(b->rx.used->ring[0].len, 345);
	assert_memory_equal(fp_host(b, hdr), "\0\0\0\0\0\0\0\0\0\0\1\0", 12);
	assert_memory_equal(fp_host(b, data), frame, 333);
	fp_free(fp);
}

/* A legacy guest: 10 bytes of header, no num_buffers, on either side. */
static void test_legacy_header(void **state)
{
	struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
	struct fp_port *a = &fp->ports[0], *b = &fp->ports[1];
	uint64_t gpa;

	(void)state;
	b->rx.map.hdr_len = 10;
	b->rx.map.mergeable = false;
	fp_frame(frame, 200, b->mac, a->mac, 1);
	gpa = fp_post(b, 1600);
	fp_send(a, frame, 200);
	fp_run(fp, a);
	assert_int_equal(b->rx.used->ring[0].len, 210);
	assert_memory_equal(fp_host(b, gpa), "\0\0\0\0\0\0\0\0\0\0", 10);
	assert_memory_equal(fp_host(b, gpa) + 10, frame, 200);

	a->tx.map.hdr_len = 10;
	gpa = fp_alloc(a, 210);
	memset(fp_host(a, gpa), 0, 10);
	fp_frame(frame, 200, fp->ports[2].mac, a->mac, 2);
	memcpy(fp_host(a, gpa) + 10, frame, 200);
	fp_post(&fp->ports[2], 1600);
	fp_avail(&a->tx, fp_desc(&a->tx, gpa, 210, 0, 0));
	fp_run(fp, a);
	expect_frame(&fp->ports[2], frame, 200);
	fp_free(fp);
}

/* Many frames, lengths, destinations and buffer sizes: indices wrap, order holds, nothing is lost.
 */
static void test_random_mix(void **state)
{
	struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
	struct fp_port *a = &fp->ports[0];
	uint32_t len[FP_RING], to[FP_RING], seed = 0;

	(void)state;
	srandom(7);
	for (uint32_t round = 0; round < 4000; round++) {
		uint32_t n = 1 + (uint32_t)random() % 40, taken = 0;

		for (uint32_t i = 0; i < n; i++) {
			struct fp_port *b;

			len[i] = 14 + (uint32_t)random() % 1487;
			to[i] = 1 + (uint32_t)random() % 3;
			b = &fp->ports[to[i]];
			fp_post(b, 2048);
			fp_frame(frame, len[i], b->mac, a->mac, seed + i);
			fp_send(a, frame, len[i]);
		}
		while (taken < n)
			taken += fp_run(fp, a);
		for (uint32_t i = 0; i < n; i++) {
			struct fp_port *b = &fp->ports[to[i]];

			fp_frame(frame, len[i], b->mac, a->mac, seed + i);
			expect_frame(b, frame, len[i]);
		}
		expect_returned(a, n);
		seed += n;
	}
	assert_true(seed > 65536); /* the indices did wrap */
	fp_free(fp);
}

static void test_flood(void **state)
{
	static const uint16_t vlans[FP_PORTS] = {5, 5, 6, 5};
	struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, vlans);

	(void)state;
	fp_frame(frame, 100, BCAST, fp->ports[0].mac, 1);
	for (uint32_t i = 0; i < FP_PORTS; i++)
		fp_post(&fp->ports[i], 1600);
	fp_send(&fp->ports[0], frame, 100);
	fp_run(fp, &fp->ports[0]);
	expect_nothing(&fp->ports[0]);
	expect_frame(&fp->ports[1], frame, 100);
	expect_nothing(&fp->ports[2]);
	expect_frame(&fp->ports[3], frame, 100);
	fp_free(fp);
}

static void send_and_expect_drop(struct fake_path *fp, struct fp_port *p, uint32_t len,
                                 enum port_from_drop why)
{
	uint64_t before = from_drops(p, why);

	fp_send(p, frame, len);
	assert_int_equal(fp_run(fp, p), 1);
	assert_int_equal(from_drops(p, why), before + 1);
	expect_returned(p, 1);
}

static void test_drops(void **state)
{
	struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
	struct fp_port *a = &fp->ports[0], *b = &fp->ports[1];

	(void)state;
	fp_post(b, 1600);
	fp_frame(frame, 100, 0x99ull << 40 | 2, a->mac, 1);
	send_and_expect_drop(fp, a, 100, PORT_FROM_NO_ROUTE);
	fp_frame(frame, 100, a->mac, a->mac, 1);
	send_and_expect_drop(fp, a, 100, PORT_FROM_HAIRPIN);
	for (uint32_t len = 0; len < 14; len++)
		send_and_expect_drop(fp, a, len, PORT_FROM_MALFORMED);

	fp_frame(frame, 100, b->mac, a->mac, 1);
	memcpy(frame + 12, "\x81\x00\x00\x05", 4);
	send_and_expect_drop(fp, a, 100, PORT_FROM_VLAN);
	/* Tags that hide a tag, or are another kind of it */
	memcpy(frame + 12, "\x81\x00\x00\x00\x81\x00\x00\x05", 8);
	send_and_expect_drop(fp, a, 100, PORT_FROM_VLAN);
	memcpy(frame + 12, "\x88\xa8\x00\x05\x08\x00", 6);
	send_and_expect_drop(fp, a, 100, PORT_FROM_VLAN);

	a->port.own_macs_only = true;
	for (uint32_t len = 14; len < 100; len += 10) { /* both paths */
		fp_frame(frame, len, b->mac, a->mac ^ 0x100, 1);
		send_and_expect_drop(fp, a, len, PORT_FROM_SPOOFED);
	}
	expect_nothing(b);
	fp_frame(frame, 100, b->mac, a->mac, 1);
	fp_send(a, frame, 100);
	fp_run(fp, a);
	expect_frame(b, frame, 100);
	fp_free(fp);
}

static void test_offload_header(void **state)
{
	struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
	struct fp_port *a = &fp->ports[0], *b = &fp->ports[1];
	uint64_t gpa = fp_alloc(a, 112);

	(void)state;
	fp_post(b, 1600);
	fp_frame(fp_host(a, gpa) + 12, 100, b->mac, a->mac, 1);
	memset(fp_host(a, gpa), 0, 12);
	fp_host(a, gpa)[1] = 1; /* gso_type TCPv4 */
	fp_avail(&a->tx, fp_desc(&a->tx, gpa, 112, 0, 0));
	fp_run(fp, a);
	assert_int_equal(from_drops(a, PORT_FROM_OFFLOAD), 1);
	expect_nothing(b);
	/* Lengths in the header mean nothing without flags, and do not leak to the receiver. */
	memset(fp_host(a, gpa), 0xff, 12);
	memset(fp_host(a, gpa), 0, 2);
	fp_avail(&a->tx, fp_desc(&a->tx, gpa, 112, 0, 0));
	fp_run(fp, a);
	expect_frame(b, fp_host(a, gpa) + 12, 100);
	fp_free(fp);
}

static void test_disabled_and_stopped(void **state)
{
	struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
	struct fp_port *a = &fp->ports[0], *b = &fp->ports[1];

	(void)state;
	fp_frame(frame, 100, b->mac, a->mac, 1);
	fp_post(b, 1600);
	a->tx.map.enabled = false;
	fp_send(a, frame, 100);
	assert_int_equal(fp_run(fp, a), 1);
	assert_int_equal(from_drops(a, PORT_FROM_DISABLED), 1);
	expect_returned(a, 1);
	a->tx.map.enabled = true;

	b->rx.map.enabled = false;
	fp_send(a, frame, 100);
	fp_run(fp, a);
	atomic_store(&b->rx.vq.map, NULL);
	fp_send(a, frame, 100);
	fp_run(fp, a);
	assert_int_equal(counter_get(&b->port.to_no_guest), 2);
	expect_nothing(b);

	atomic_store(&a->tx.vq.map, NULL);
	fp_send(a, frame, 100);
	assert_int_equal(fp_run(fp, a), 0);
	fp_free(fp);
}

/* ---- interrupts ----------------------------------------------------------------------------- */

static uint64_t calls(struct fp_ring *r)
{
	uint64_t n = 0;

	return read(r->call_fd, &n, sizeof(n)) == sizeof(n) ? n : 0;
}

static void test_interrupts(void **state)
{
	struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
	struct fp_port *a = &fp->ports[0], *b = &fp->ports[1];

	(void)state;
	fp_frame(frame, 100, b->mac, a->mac, 1);
	for (uint32_t i = 0; i < 20; i++)
		fp_post(b, 1600);
	/* One for each ring and burst, however many frames. */
	for (uint32_t i = 0; i < 5; i++)
		fp_send(a, frame, 100);
	fp_run(fp, a);
	assert_int_equal(calls(&a->tx), 1);
	assert_int_equal(calls(&b->rx), 1);
	a->tx.avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
	fp_send(a, frame, 100);
	fp_run(fp, a);
	assert_int_equal(calls(&a->tx), 0);
	assert_int_equal(calls(&b->rx), 1);
	/* EVENT_IDX: when used idx passes the wish, and only then. 6 frames are used so far. */
	b->rx.map.event_idx = true;
	b->rx.avail->ring[FP_RING] = 7;
	fp_send(a, frame, 100);
	fp_run(fp, a);
	assert_int_equal(calls(&b->rx), 0);
	fp_send(a, frame, 100);
	fp_run(fp, a);
	assert_int_equal(calls(&b->rx), 1);
	fp_send(a, frame, 100);
	fp_run(fp, a);
	assert_int_equal(calls(&b->rx), 0);
	fp_free(fp);
}

/* ---- hostile guests ------------------------------------------------------------------------- */

/* The ring of @p is given up with @fault; the others still work. */
static void expect_fault(struct fake_path *fp, struct fp_port *p, struct fp_ring *r,
                         enum vhost_vq_fault fault)
{
	struct fp_port *c = &fp->ports[2], *d = &fp->ports[3];

	fp->fwd->fault = false;
	fp_run(fp, p);
	assert_int_equal(atomic_load(&r->vq.fault), fault);
	assert_true(fp->fwd->fault);
	assert_int_equal(fp->fwd->n_open, 0);
	assert_int_equal(atomic_load(&r->vq.lock), 0);
	fp_frame(frame, 80, d->mac, c->mac, 1);
	fp_post(d, 1600);
	fp_send(c, frame, 80);
	assert_int_equal(fp_run(fp, c), 1);
	expect_frame(d, frame, 80);
}

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
		expect_fault(fp, a, &a->tx, rows[i].fault);
		expect_returned(a, 0);
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
		fp_avail(&a->tx, fp_desc(&a->tx, table, 48, VRING_DESC_F_INDIRECT, 0));
		expect_fault(fp, a, &a->tx,
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

		a->tx.avail->idx = jumps[i];
		expect_fault(fp, a, &a->tx, VHOST_VQ_BAD_AVAIL_IDX);
		b->rx.avail->idx = jumps[i];
		a = &fp->ports[2];
		fp_frame(frame, 100, b->mac, a->mac, 1);
		fp_send(a, frame, 100);
		expect_fault(fp, a, &b->rx, VHOST_VQ_BAD_AVAIL_IDX);
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
	expect_fault(fp, a, &a->tx, VHOST_VQ_BAD_HEAD);
	expect_returned(a, 1); /* what was taken before is published */
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
	uint64_t gpa = fp_alloc(a, 2 * parts + 12), table = fp_alloc(a, 16 * parts);
	uint32_t taken = 0, bursts = 0;

	(void)state;
	memset(fp_host(a, gpa), 0, 12);
	fp_frame(fp_host(a, gpa) + 12, parts - 12, b->mac, a->mac, 1);
	memcpy(frame, fp_host(a, gpa) + 12, parts - 12);
	for (uint32_t i = 0; i < parts; i++) {
		struct vring_desc d = {.addr = gpa + i,
		                       .len = 1,
		                       .flags = i + 1 < parts ? VRING_DESC_F_NEXT : 0,
		                       .next = (uint16_t)(i + 1)};

		memcpy(fp_host(a, table) + 16 * i, &d, sizeof(d));
	}
	for (uint32_t i = 0; i < n; i++) {
		fp_post(b, 2048);
		fp_avail(&a->tx, fp_desc(&a->tx, table, 16 * parts, VRING_DESC_F_INDIRECT, 0));
	}
	for (; taken < n; bursts++) {
		uint32_t now = fp_run(fp, a);

		assert_in_range(now, 1, FWD_WORK / parts + 1);
		taken += now;
	}
	assert_true(bursts > 1);
	for (uint32_t i = 0; i < n; i++)
		expect_frame(b, frame, parts - 12);
	fp_free(fp);
}

/* More parts than any frame has. */
static void test_too_many_parts(void **state)
{
	struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
	struct fp_port *a = &fp->ports[0];
	const uint32_t parts = FWD_MAX_SEGS + 1;
	uint64_t gpa = fp_alloc(a, parts), table = fp_alloc(a, 16 * parts);

	(void)state;
	for (uint32_t i = 0; i < parts; i++) {
		struct vring_desc d = {.addr = gpa + i,
		                       .len = 1,
		                       .flags = i + 1 < parts ? VRING_DESC_F_NEXT : 0,
		                       .next = (uint16_t)(i + 1)};

		memcpy(fp_host(a, table) + 16 * i, &d, sizeof(d));
	}
	fp_avail(&a->tx, fp_desc(&a->tx, table, 16 * parts, VRING_DESC_F_INDIRECT, 0));
	expect_fault(fp, a, &a->tx, VHOST_VQ_BAD_CHAIN);
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
		fp_frame(frame, 100, b->mac, a->mac, 1);
		fp_send(a, frame, 100);
		expect_fault(fp, a, &b->rx, rows[i].fault);
		expect_nothing(b);
		expect_returned(a, 1);
		fp_free(fp);
	}
}

/* ---- the wire ------------------------------------------------------------------------------- */

static void expect_wire(struct fake_path *fp, const uint8_t *want, uint32_t len)
{
	uint32_t got;
	const uint8_t *p = fp_xsk_sent(fp, &got);

	assert_non_null(p);
	assert_int_equal(got, len);
	assert_memory_equal(p, want, len);
}

static void test_to_wire(void **state)
{
	struct fake_path *fp = fp_new(CONF_NIC_STEERED, NULL);
	struct fp_port *a = &fp->ports[0];
	uint32_t len;

	(void)state;
	for (len = 14; len <= 1514; len++) {
		fp_frame(frame, len, 0x123400000002ull, a->mac, len);
		fp_send(a, frame, len);
		assert_int_equal(fp_run(fp, a), 1);
		if (len < 60)
			memset(frame + len, 0, 60 - len);
		expect_wire(fp, frame, len < 60 ? 60 : len);
		expect_returned(a, 1);
	}
	fp_send(a, frame, 1515);
	fp_run(fp, a);
	assert_int_equal(from_drops(a, PORT_FROM_OVERSIZE), 1);
	assert_null(fp_xsk_sent(fp, &len));
	/* Group frames go to the wire and to the other guests. */
	fp_post(&fp->ports[3], 1600);
	fp_frame(frame, 300, BCAST, a->mac, 1);
	fp_send(a, frame, 300);
	fp_run(fp, a);
	expect_wire(fp, frame, 300);
	expect_frame(&fp->ports[3], frame, 300);
	fp_free(fp);
}

static void test_vlan_to_wire(void **state)
{
	static const uint16_t vlans[FP_PORTS] = {100, 0, 0, 0};
	struct fake_path *fp = fp_new(CONF_NIC_STEERED, vlans);
	struct fp_port *a = &fp->ports[0];

	(void)state;
	fp_frame(frame, 500, 0x123400000002ull, a->mac, 1);
	fp_send(a, frame, 500);
	fp_run(fp, a);
	memmove(frame + 16, frame + 12, 488);
	memcpy(frame + 12, "\x81\x00\x00\x64", 4);
	expect_wire(fp, frame, 504);
	fp_free(fp);
}

static void test_wire_full(void **state)
{
	struct fake_path *fp = fp_new(CONF_NIC_STEERED, NULL);
	struct fp_port *a = &fp->ports[0];
	uint32_t len;

	(void)state;
	fp_frame(frame, 100, 0x123400000002ull, a->mac, 1);
	for (uint32_t i = 0; i < FP_XSK_RING + 10; i++)
		fp_send(a, frame, 100);
	/* No room: what is left stays in the guest's ring. */
	assert_int_equal(fp_run(fp, a), FP_XSK_RING);
	assert_true(fp->fwd->blocked);
	assert_int_equal(fp_run(fp, a), 0);
	for (uint32_t i = 0; i < 4; i++)
		assert_non_null(fp_xsk_sent(fp, &len));
	assert_int_equal(fp_run(fp, a), 4);
	assert_int_equal(from_drops(a, PORT_FROM_NIC_FULL), 0);
	/* Stuck for too long: the guest gets its descriptors back. */
	fp_run(fp, a);
	usleep(FWD_STALL_NS / 1000 + 1000);
	assert_int_equal(fp_run(fp, a), 6);
	assert_int_equal(from_drops(a, PORT_FROM_NIC_FULL), 6);
	expect_returned(a, FP_XSK_RING + 10);
	/* It works again at once when the device does. */
	for (uint32_t i = 0; i < FP_XSK_RING; i++)
		assert_non_null(fp_xsk_sent(fp, &len));
	fp_send(a, frame, 100);
	assert_int_equal(fp_run(fp, a), 1);
	expect_wire(fp, frame, 100);
	expect_returned(a, 1);
	fp->view->up = false;
	send_and_expect_drop(fp, a, 100, PORT_FROM_NIC_DOWN);
	fp_free(fp);
}

static void test_from_wire(void **state)
{
	struct fake_path *fp = fp_new(CONF_NIC_STEERED, NULL);
	struct fp_port *b = &fp->ports[1];

	(void)state;
	for (uint32_t len = 14; len <= 1514; len++) {
		fp_frame(frame, len, b->mac, 0x123400000002ull, len);
		fp_post(b, 1600);
		/* With metadata, and without: a driver may have no room for it. */
		fp_xsk_receive(fp, frame, len, len & 1 ? 2 : UINT32_MAX, 0);
		assert_int_equal(fp_run_nic(fp), 1);
		expect_frame(b, frame, len);
	}
	/* Metadata that names no port is not believed. */
	fp_post(b, 1600);
	fp_xsk_receive(fp, frame, 1000, 4711, 0);
	fp_run_nic(fp);
	expect_frame(b, frame, 1000);
	assert_int_equal(counter_get(&fp->counters[0].rx_frames), 1502);
	fp_frame(frame, 100, 0x77ull << 40 | 2, 0x123400000002ull, 1);
	fp_xsk_receive(fp, frame, 100, UINT32_MAX, 0);
	fp_xsk_receive(fp, frame, 13, UINT32_MAX, 0);
	fp_run_nic(fp);
	assert_int_equal(counter_get(&fp->counters[0].drops[NIC_DROP_NO_PORT]), 1);
	assert_int_equal(counter_get(&fp->counters[0].drops[NIC_DROP_MALFORMED]), 1);
	fp_free(fp);
}

/* Metadata of an earlier frame in the same chunk must not steer a later one. */
static void test_stale_metadata(void **state)
{
	struct fake_path *fp = fp_new(CONF_NIC_STEERED, NULL);
	struct fp_port *a = &fp->ports[0], *b = &fp->ports[1];

	(void)state;
	for (uint32_t i = 0; i < 3 * FP_XSK_RING; i++) {
		bool meta = i < FP_XSK_RING;
		struct fp_port *to = meta ? a : b;

		fp_post(to, 1600);
		fp_frame(frame, 100, to->mac, 0x123400000002ull, i);
		fp_xsk_receive(fp, frame, 100, meta ? 1 : UINT32_MAX, 0);
		fp_run_nic(fp);
		expect_frame(to, frame, 100);
	}
	fp_free(fp);
}

static void test_vlan_from_wire(void **state)
{
	static const uint16_t vlans[FP_PORTS] = {100, 0, 200, 100};
	struct fake_path *fp = fp_new(CONF_NIC_STEERED, vlans);
	struct fp_port *a = &fp->ports[0], *b = &fp->ports[1];
	uint8_t tagged[504];

	(void)state;
	fp_post(a, 1600);
	fp_post(b, 1600);
	fp_frame(frame, 500, a->mac, 0x123400000002ull, 1);
	memcpy(tagged, frame, 12);
	memcpy(tagged + 12, "\x81\x00\x00\x64", 4);
	memcpy(tagged + 16, frame + 12, 488);
	fp_xsk_receive(fp, tagged, 504, 1, STEER_META_TAGGED);
	fp_run_nic(fp);
	expect_frame(a, frame, 500);
	/* The right address in the wrong VLAN */
	tagged[15] = 200;
	fp_xsk_receive(fp, tagged, 504, UINT32_MAX, 0);
	fp_xsk_receive(fp, frame, 500, UINT32_MAX, 0);
	fp_run_nic(fp);
	assert_int_equal(counter_get(&fp->counters[0].drops[NIC_DROP_NO_PORT]), 2);
	/* Broadcast in VLAN 100 reaches both its ports, untagged, and no other. */
	tagged[15] = 100;
	memset(tagged, 0xff, 6);
	memset(frame, 0xff, 6);
	fp_post(a, 1600);
	fp_post(&fp->ports[3], 1600);
	fp_xsk_receive(fp, tagged, 504, 0, STEER_META_GROUP | STEER_META_TAGGED);
	fp_run_nic(fp);
	expect_frame(a, frame, 500);
	expect_frame(&fp->ports[3], frame, 500);
	expect_nothing(b);
	fp_free(fp);
}

static void test_dedicated(void **state)
{
	struct fake_path *fp = fp_new(CONF_NIC_DEDICATED, NULL);
	struct fp_port *d = &fp->ports[FP_PORTS - 1]; /* the last one wins in fdb_build() */

	(void)state;
	assert_ptr_equal(fp->fdb->dedicated, &d->port);
	fp_frame(frame, 500, 0x77ull << 40 | 2, 0x123400000002ull, 1);
	memcpy(frame + 12, "\x81\x00\x00\x64", 4);
	fp_post(d, 1600);
	fp_xsk_receive(fp, frame, 500, d->port.id, 0);
	fp_run_nic(fp);
	expect_frame(d, frame, 500); /* any address, tags and all */
	fp_send(d, frame, 500);
	fp_run(fp, d);
	expect_wire(fp, frame, 500);
	/* In a VLAN it gets that VLAN only, without the tag. */
	d->port.vlan = 100;
	fp_rebuild(fp);
	fp_post(d, 1600);
	fp_xsk_receive(fp, frame, 500, d->port.id, 0);
	frame[15] = 0x65;
	fp_xsk_receive(fp, frame, 500, d->port.id, 0);
	fp_run_nic(fp);
	memmove(frame + 12, frame + 16, 484);
	expect_frame(d, frame, 496);
	expect_nothing(d);
	assert_int_equal(counter_get(&fp->counters[0].drops[NIC_DROP_VLAN]), 1);
	fp_free(fp);
}

/* Frames from the wire in one burst for several guests, some without buffers. */
static void test_wire_burst(void **state)
{
	struct fake_path *fp = fp_new(CONF_NIC_STEERED, NULL);

	(void)state;
	for (uint32_t i = 0; i < 30; i++)
		fp_post(&fp->ports[i % 3], 1600);
	for (uint32_t i = 0; i < 40; i++) {
		fp_frame(frame, 60 + i, fp->ports[i % 4].mac, 0x123400000002ull, i);
		fp_xsk_receive(fp, frame, 60 + i, i % 4 + 1, 0);
	}
	assert_int_equal(fp_run_nic(fp), 40);
	for (uint32_t i = 0; i < 40; i++) {
		if (i % 4 == 3)
			continue;
		fp_frame(frame, 60 + i, fp->ports[i % 4].mac, 0x123400000002ull, i);
		expect_frame(&fp->ports[i % 4], frame, 60 + i);
	}
	assert_int_equal(to_drops(&fp->ports[3], PORT_TO_NO_BUFFER), 10);
	/* Every chunk is back in the fill ring. */
	assert_int_equal(fp->xsk->words[2] - fp->xsk->words[3], FP_XSK_RING);
	fp_free(fp);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_length),
		cmocka_unit_test(test_exact_buffer),
		cmocka_unit_test(test_chains),
		cmocka_unit_test(test_indirect),
		cmocka_unit_test(test_across_regions),
		cmocka_unit_test(test_mergeable),
		cmocka_unit_test(test_largest_frame),
		cmocka_unit_test(test_no_buffer),
		cmocka_unit_test(test_too_big),
		cmocka_unit_test(test_split_receive_buffer),
		cmocka_unit_test(test_legacy_header),
		cmocka_unit_test(test_random_mix),
		cmocka_unit_test(test_flood),
		cmocka_unit_test(test_drops),
		cmocka_unit_test(test_offload_header),
		cmocka_unit_test(test_disabled_and_stopped),
		cmocka_unit_test(test_interrupts),
		cmocka_unit_test(test_hostile_tx),
		cmocka_unit_test(test_hostile_indirect),
		cmocka_unit_test(test_hostile_avail_idx),
		cmocka_unit_test(test_hostile_disabled),
		cmocka_unit_test(test_work_is_bounded),
		cmocka_unit_test(test_too_many_parts),
		cmocka_unit_test(test_hostile_rx),
		cmocka_unit_test(test_to_wire),
		cmocka_unit_test(test_vlan_to_wire),
		cmocka_unit_test(test_wire_full),
		cmocka_unit_test(test_from_wire),
		cmocka_unit_test(test_stale_metadata),
		cmocka_unit_test(test_vlan_from_wire),
		cmocka_unit_test(test_dedicated),
		cmocka_unit_test(test_wire_burst),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
