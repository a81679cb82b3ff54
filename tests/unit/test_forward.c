/* SPDX-License-Identifier: BSD-2-Clause */
/* The data path between guests: every shape of frame, every reason to drop, interrupts. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "fake_path.h"

#define BCAST 0xffffffffffffull

static uint8_t frame[70000];

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
		fp_expect_frame(b, frame, len);
		fp_expect_returned(a, 1);
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
		fp_expect_frame(b, frame, len);
		assert_int_equal(fp_host(b, gpa)[len + 12], 0x5a);
	}
	fp_free(fp);
}

/* One byte less than that: the frame is dropped, and nothing is written. */
static void test_short_buffer(void **state)
{
	struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
	struct fp_port *a = &fp->ports[0], *b = &fp->ports[1];
	uint32_t n = 0;

	(void)state;
	b->rx.map.mergeable = false;
	for (uint32_t len = 60; len < 400; len += 17) {
		uint64_t gpa = fp_post(b, len + 11);

		fp_frame(frame, len, b->mac, a->mac, len);
		memset(fp_host(b, gpa), 0x5a, len + 12);
		fp_send(a, frame, len);
		fp_run(fp, a);
		assert_int_equal(fp_to_drops(b, PORT_TO_TOO_BIG), ++n);
		fp_expect_nothing(b);
		for (uint32_t i = 0; i < len + 12; i++)
			assert_int_equal(fp_host(b, gpa)[i], 0x5a);
		fp_send(a, frame, len - 1);
		fp_run(fp, a);
		fp_expect_frame(b, frame, len - 1);
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
		fp_expect_frame(b, frame, len);
		fp_expect_returned(a, 1);
	}
	fp_free(fp);
}

static void test_indirect(void **state)
{
	struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
	struct fp_port *a = &fp->ports[0], *b = &fp->ports[1];
	uint32_t len = 900;
	uint64_t gpa = fp_alloc(a, len + 12), table = fp_alloc(a, 64) + 4; /* any alignment */
	/* DPDK's driver calls some entries of packed tables writable. */
	const uint16_t some = fp_packed ? VRING_DESC_F_WRITE : 0;
	struct vring_desc t[3] = {
		{.addr = gpa, .len = 12, .flags = some | VRING_DESC_F_NEXT, .next = 2},
		{.addr = gpa + 112, .len = len - 100, .flags = some},
		{.addr = gpa + 12, .len = 100, .flags = VRING_DESC_F_NEXT, .next = 1},
	};

	(void)state;
	fp_frame(frame, len, b->mac, a->mac, 1);
	memset(fp_host(a, gpa), 0, 12);
	memcpy(fp_host(a, gpa) + 12, frame, len);
	memcpy(fp_host(a, table), t, sizeof(t));
	fp_post(b, 1700);
	fp_avail_table(&a->tx, table, sizeof(t));
	assert_int_equal(fp_run(fp, a), 1);
	fp_expect_frame(b, frame, len);
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
	fp_expect_used(&b->rx, len + 12);
	fp_expect_nothing(b);
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
		fp_expect_frame(b, frame, len);
		fp_expect_nothing(b);
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
	for (uint32_t room = 0; room < FWD_MAX_FRAME + 12; room += 2048)
		fp_post(b, 2048);
	fp_send(a, frame, FWD_MAX_FRAME);
	assert_int_equal(fp_run(fp, a), 1);
	fp_expect_frame(b, frame, FWD_MAX_FRAME);
	fp_post(b, FWD_MAX_FRAME + 100); /* room is not what is missing */
	fp_send(a, frame, FWD_MAX_FRAME + 1);
	assert_int_equal(fp_run(fp, a), 1);
	assert_int_equal(fp_from_drops(a, PORT_FROM_OVERSIZE), 1);
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
	assert_int_equal(fp_to_drops(b, PORT_TO_NO_BUFFER), 1);
	fp_expect_frame(b, frame, 700);
	fp_send(a, frame, 700);
	fp_run(fp, a);
	assert_int_equal(fp_to_drops(b, PORT_TO_NO_BUFFER), 2);
	fp_expect_nothing(b);
	fp_expect_returned(a, 3);
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
	assert_int_equal(fp_to_drops(b, PORT_TO_TOO_BIG), 1);
	fp_expect_frame(b, frame, 500);
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
	fp_expect_used(&b->rx, 345);
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
	fp_expect_used(&b->rx, 210);
	assert_memory_equal(fp_host(b, gpa), "\0\0\0\0\0\0\0\0\0\0", 10);
	assert_memory_equal(fp_host(b, gpa) + 10, frame, 200);

	/* Two bytes further on, these addresses would be another guest's. */
	a->tx.map.hdr_len = 10;
	fp->ports[2].mac = 0x20002;
	fp_rebuild(fp);
	fp_frame(frame, 200, fp->ports[2].mac, fp->ports[3].mac >> 32, 2);
	for (uint32_t n = 2; n; n--) { /* the last one comes alone */
		for (uint32_t i = 0; i < n; i++) {
			gpa = fp_alloc(a, 210);
			memset(fp_host(a, gpa), 0, 10);
			memcpy(fp_host(a, gpa) + 10, frame, 200);
			fp_post(&fp->ports[2], 1600);
			fp_post(&fp->ports[3], 1600);
			fp_avail(&a->tx, fp_desc(&a->tx, gpa, 210, 0, 0));
		}
		assert_int_equal(fp_run(fp, a), n);
		for (uint32_t i = 0; i < n; i++)
			fp_expect_frame(&fp->ports[2], frame, 200);
	}
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
			fp_expect_frame(b, frame, len[i]);
		}
		fp_expect_returned(a, n);
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
	fp_expect_nothing(&fp->ports[0]);
	fp_expect_frame(&fp->ports[1], frame, 100);
	fp_expect_nothing(&fp->ports[2]);
	fp_expect_frame(&fp->ports[3], frame, 100);
	fp_free(fp);
}

static void test_drops(void **state)
{
	struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
	struct fp_port *a = &fp->ports[0], *b = &fp->ports[1];

	(void)state;
	fp_post(b, 1600);
	fp_frame(frame, 100, 0x99ull << 40 | 2, a->mac, 1);
	fp_expect_drop(fp, a, frame, 100, PORT_FROM_NO_ROUTE);
	fp_frame(frame, 100, a->mac, a->mac, 1);
	fp_expect_drop(fp, a, frame, 100, PORT_FROM_HAIRPIN);
	for (uint32_t len = 0; len < 14; len++)
		fp_expect_drop(fp, a, frame, len, PORT_FROM_MALFORMED);

	fp_frame(frame, 100, b->mac, a->mac, 1);
	memcpy(frame + 12, "\x81\x00\x00\x05", 4);
	fp_expect_drop(fp, a, frame, 100, PORT_FROM_VLAN);
	/* Tags that hide a tag, or are another kind of it */
	memcpy(frame + 12, "\x81\x00\x00\x00\x81\x00\x00\x05", 8);
	fp_expect_drop(fp, a, frame, 100, PORT_FROM_VLAN);
	memcpy(frame + 12, "\x88\xa8\x00\x05\x08\x00", 6);
	fp_expect_drop(fp, a, frame, 100, PORT_FROM_VLAN);

	a->port.own_macs_only = true;
	for (uint32_t len = 14; len < 100; len += 10) { /* both paths */
		fp_frame(frame, len, b->mac, a->mac ^ 0x100, 1);
		fp_expect_drop(fp, a, frame, len, PORT_FROM_SPOOFED);
	}
	fp_expect_nothing(b);
	fp_frame(frame, 100, b->mac, a->mac, 1);
	fp_send(a, frame, 100);
	fp_run(fp, a);
	fp_expect_frame(b, frame, 100);
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
	assert_int_equal(fp_from_drops(a, PORT_FROM_OFFLOAD), 1);
	fp_expect_nothing(b);
	/* Lengths in the header mean nothing without flags, and do not leak to the receiver. */
	memset(fp_host(a, gpa), 0xff, 12);
	memset(fp_host(a, gpa), 0, 2);
	fp_avail(&a->tx, fp_desc(&a->tx, gpa, 112, 0, 0));
	fp_run(fp, a);
	fp_expect_frame(b, fp_host(a, gpa) + 12, 100);
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
	assert_int_equal(fp_from_drops(a, PORT_FROM_DISABLED), 1);
	fp_expect_returned(a, 1);
	a->tx.map.enabled = true;

	b->rx.map.enabled = false;
	fp_send(a, frame, 100);
	fp_run(fp, a);
	atomic_store(&b->rx.vq.map, NULL);
	fp_send(a, frame, 100);
	fp_run(fp, a);
	assert_int_equal(counter_get(&b->port.to_no_guest), 2);
	fp_expect_nothing(b);

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
	fp_no_interrupts(&a->tx);
	fp_send(a, frame, 100);
	fp_run(fp, a);
	assert_int_equal(calls(&a->tx), 0);
	assert_int_equal(calls(&b->rx), 1);
	/* EVENT_IDX: when used idx passes the wish, and only then. 6 frames are used so far. */
	b->rx.map.event_idx = true;
	fp_interrupt_at(&b->rx, 7);
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

/* The event is asked for in this lap or in the last one; the burst ends in this lap or the next. */
static void test_interrupts_across_the_end(void **state)
{
	struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
	struct fp_port *a = &fp->ports[0], *b = &fp->ports[1];
	const uint32_t size = b->rx.map.size;

	(void)state;
	b->rx.map.event_idx = true;
	fp_frame(frame, 100, b->mac, a->mac, 1);
	/* Bursts of 7 come to lie across the end in every way. */
	for (uint32_t done = 0; done < 7 * size; done += 7) {
		uint32_t at = done / 7 % 9;

		fp_interrupt_at(&b->rx, done + at);
		for (uint32_t i = 0; i < 7; i++) {
			fp_post(b, 1600);
			fp_send(a, frame, 100);
		}
		assert_int_equal(fp_run(fp, a), 7);
		assert_int_equal(calls(&b->rx), at < 7);
		for (uint32_t i = 0; i < 7; i++)
			fp_expect_frame(b, frame, 100);
		fp_expect_returned(a, 7);
	}
	fp_free(fp);
}

/* The receiver's record of what is published; it comes with the index, and its page has no rights.
 */
static struct {
	const struct fp_ring *from;
	void *record;
	size_t size;
	uint32_t returned; /* to the sender, at that moment */
} moment;

static void when_published(int sig)
{
	struct fp_ring from = *moment.from;
	uint16_t head;
	uint32_t len;

	(void)sig;
	while (fp_used(&from, &head, &len))
		moment.returned++;
	if (mprotect(moment.record, moment.size, PROT_READ | PROT_WRITE))
		abort();
}

/* First the source: should we die in between, its frames are lost, but none comes twice. */
static void test_source_is_published_first(void **state)
{
	struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
	struct fp_port *a = &fp->ports[0], *b = &fp->ports[1];
	const struct sigaction action = {.sa_handler = when_published};
	struct sigaction old;

	(void)state;
	moment.from = &a->tx;
	moment.size = (size_t)sysconf(_SC_PAGESIZE);
	moment.record = aligned_alloc(moment.size, moment.size);
	assert_non_null(moment.record);
	if (fp_packed)
		b->rx.map.inflight_pos = moment.record;
	else
		b->rx.map.inflight_idx = moment.record;
	assert_int_equal(sigaction(SIGSEGV, &action, &old), 0);
	for (uint32_t n = 3; n; n--) { /* the last one comes alone */
		for (uint32_t i = 0; i < n; i++) {
			fp_post(b, 1600);
			fp_frame(frame, 100, b->mac, a->mac, i);
			fp_send(a, frame, 100);
		}
		moment.returned = 0;
		assert_int_equal(mprotect(moment.record, moment.size, PROT_NONE), 0);
		assert_int_equal(fp_run(fp, a), n);
		assert_int_equal(moment.returned, n);
		fp_expect_returned(a, n);
	}
	assert_int_equal(sigaction(SIGSEGV, &old, NULL), 0);
	free(moment.record);
	fp_free(fp);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_length),
		cmocka_unit_test(test_exact_buffer),
		cmocka_unit_test(test_short_buffer),
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
		cmocka_unit_test(test_interrupts_across_the_end),
		cmocka_unit_test(test_source_is_published_first),
	};

	return fp_run_tests(tests);
}
