/* SPDX-License-Identifier: BSD-2-Clause */
/* The data path between guests and a nic. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "fake_clock.h"
#include "fake_path.h"

#define BCAST 0xffffffffffffull

static uint8_t frame[2048];

/* So long that a nic which takes nothing is stuck. */
static void stall(void)
{
	fake_clock_pass_ms(1000 + FWD_STALL_NS / 1000000);
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
		fp_expect_returned(a, 1);
	}
	fp_send(a, frame, 1515);
	fp_run(fp, a);
	assert_int_equal(fp_from_drops(a, PORT_FROM_OVERSIZE), 1);
	assert_null(fp_xsk_sent(fp, &len));
	/* Group frames go to the wire and to the other guests. */
	fp_post(&fp->ports[3], 1600);
	fp_frame(frame, 300, BCAST, a->mac, 1);
	fp_send(a, frame, 300);
	fp_run(fp, a);
	expect_wire(fp, frame, 300);
	fp_expect_frame(&fp->ports[3], frame, 300);
	fp_free(fp);
}

/* The guest that owns the address runs elsewhere, now or again: its frames follow it. */
static void test_absent_guest(void **state)
{
	static const uint16_t vlans[FP_PORTS] = {0, 0, 100, 100};
	struct fake_path *fp = fp_new(CONF_NIC_STEERED, vlans);
	uint32_t len;

	(void)state;
	for (uint32_t pair = 0; pair < FP_PORTS; pair += 2) {
		struct fp_port *a = &fp->ports[pair], *b = &fp->ports[pair + 1];
		struct port_rxset none = {0}, *set = atomic_load(&b->port.rxset);

		fp_post(b, 1600);
		fp_frame(frame, 200, b->mac, a->mac, 1);
		for (int i = 0; i < 3; i++) {
			atomic_store(&b->port.rxset, i == 1 ? &none : set);
			fp_post(b, 1600);
			fp_send(a, frame, 200);
			assert_int_equal(fp_run(fp, a), 1);
			fp_expect_returned(a, 1);
			if (i == 1) {
				fp_expect_nothing(b);
				assert_non_null(fp_xsk_sent(fp, &len));
				assert_int_equal(len, 200 + (pair ? 4 : 0));
			} else {
				fp_expect_frame(b, frame, 200);
				assert_null(fp_xsk_sent(fp, &len));
			}
		}
		assert_int_equal(counter_get(&b->port.to_no_guest), 0);
		/* What comes in from the wire for it is not sent back. */
		atomic_store(&b->port.rxset, &none);
		fp_xsk_receive(fp, frame, 200, b->port.id, 0);
		assert_int_equal(fp_run_nic(fp), 1);
		assert_null(fp_xsk_sent(fp, &len));
		atomic_store(&b->port.rxset, set);
	}
	fp_free(fp);
}

static void test_announce(void **state)
{
	static const uint16_t vlans[FP_PORTS] = {0, 0, 100, 100};
	struct fake_path *fp = fp_new(CONF_NIC_STEERED, vlans);
	uint8_t rarp[60] = {[12] = 0x80, 0x35, 0, 1, 8, 0, 6, 4, 0, 3};

	(void)state;
	for (uint32_t i = 0; i < FP_PORTS; i++)
		fp_post(&fp->ports[i], 1600);
	memset(rarp, 0xff, 6);
	memcpy(rarp + 6, &fp->ports[0].mac, 6);
	memcpy(rarp + 22, &fp->ports[0].mac, 6);
	memcpy(rarp + 32, &fp->ports[0].mac, 6);
	fwd_announce(fp->fwd, &fp->ports[0].src, fp->ports[0].mac);
	fwd_flush_uplinks(fp->fwd);
	expect_wire(fp, rarp, 60);
	fp_expect_frame(&fp->ports[1], rarp, 60);
	for (uint32_t i = 0; i < FP_PORTS; i++)
		fp_expect_nothing(&fp->ports[i]);

	memcpy(rarp + 6, &fp->ports[2].mac, 6);
	memcpy(rarp + 22, &fp->ports[2].mac, 6);
	memcpy(rarp + 32, &fp->ports[2].mac, 6);
	fwd_announce(fp->fwd, &fp->ports[2].src, fp->ports[2].mac);
	fwd_flush_uplinks(fp->fwd);
	memmove(frame + 16, rarp + 12, 48);
	memcpy(frame, rarp, 12);
	memcpy(frame + 12, "\x81\x00\x00\x64", 4);
	expect_wire(fp, frame, 64);
	fp_expect_frame(&fp->ports[3], rarp, 60);
	for (uint32_t i = 0; i < FP_PORTS; i++)
		fp_expect_nothing(&fp->ports[i]);
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

/* Ten frames more than the nic's ring takes. */
static void fill_wire(struct fake_path *fp, struct fp_port *a)
{
	fp_frame(frame, 100, 0x123400000002ull, a->mac, 1);
	for (uint32_t i = 0; i < FP_XSK_RING + 10; i++)
		fp_send(a, frame, 100);
	assert_int_equal(fp_run(fp, a), FP_XSK_RING);
}

static void test_wire_full(void **state)
{
	struct fake_path *fp = fp_new(CONF_NIC_STEERED, NULL);
	struct fp_port *a = &fp->ports[0];
	uint32_t len;

	(void)state;
	/* No room: what is left stays in the guest's ring. */
	fill_wire(fp, a);
	assert_true(fp->fwd->blocked);
	assert_int_equal(fp_run(fp, a), 0);
	for (uint32_t i = 0; i < 4; i++)
		assert_non_null(fp_xsk_sent(fp, &len));
	assert_int_equal(fp_run(fp, a), 4);
	assert_int_equal(fp_from_drops(a, PORT_FROM_NIC_FULL), 0);
	/* Stuck for too long: the guest gets its descriptors back. */
	fp_run(fp, a);
	stall();
	assert_int_equal(fp_run(fp, a), 6);
	assert_int_equal(fp_from_drops(a, PORT_FROM_NIC_FULL), 6);
	fp_expect_returned(a, FP_XSK_RING + 10);
	/* It works again at once when the device does. */
	for (uint32_t i = 0; i < FP_XSK_RING; i++)
		assert_non_null(fp_xsk_sent(fp, &len));
	fp_send(a, frame, 100);
	assert_int_equal(fp_run(fp, a), 1);
	expect_wire(fp, frame, 100);
	fp_expect_returned(a, 1);
	fp->view->up = false;
	fp_expect_drop(fp, a, frame, 100, PORT_FROM_NIC_DOWN);
	fp_free(fp);
}

/* A nic that takes frames is slow, not stuck: its guest waits, however long, and loses none. */
static void test_slow_wire(void **state)
{
	struct fake_path *fp = fp_new(CONF_NIC_STEERED, NULL);
	struct fp_port *a = &fp->ports[0];
	uint32_t len;

	(void)state;
	fill_wire(fp, a);
	assert_int_equal(fwd_from_guest(fp->fwd, &a->src), 0);
	for (uint32_t i = 0; i < 3; i++) {
		for (uint32_t k = 0; k < 2; k++)
			expect_wire(fp, frame, 100);
		fwd_flush_uplinks(fp->fwd);
		stall();
		assert_int_equal(fwd_from_guest(fp->fwd, &a->src), 2);
		assert_true(fp->fwd->blocked);
	}
	assert_int_equal(fp_from_drops(a, PORT_FROM_NIC_FULL), 0);
	/* Now it is stuck. */
	stall();
	assert_int_equal(fp_run(fp, a), 4);
	assert_int_equal(fp_from_drops(a, PORT_FROM_NIC_FULL), 4);
	for (uint32_t i = 0; i < FP_XSK_RING; i++)
		assert_non_null(fp_xsk_sent(fp, &len));
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
		fp_expect_frame(b, frame, len);
	}
	/* Metadata that names no port is not believed. */
	fp_post(b, 1600);
	fp_xsk_receive(fp, frame, 1000, 4711, 0);
	fp_run_nic(fp);
	fp_expect_frame(b, frame, 1000);
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
		fp_expect_frame(to, frame, 100);
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
	fp_expect_frame(a, frame, 500);
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
	fp_expect_frame(a, frame, 500);
	fp_expect_frame(&fp->ports[3], frame, 500);
	fp_expect_nothing(b);
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
	fp_expect_frame(d, frame, 500); /* any address, tags and all */
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
	fp_expect_frame(d, frame, 496);
	fp_expect_nothing(d);
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
		fp_expect_frame(&fp->ports[i % 4], frame, 60 + i);
	}
	assert_int_equal(fp_to_drops(&fp->ports[3], PORT_TO_NO_BUFFER), 10);
	/* Every chunk is back in the fill ring. */
	assert_int_equal(fp->xsk->words[2] - fp->xsk->words[3], FP_XSK_RING);
	fp_free(fp);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_to_wire),        cmocka_unit_test(test_absent_guest),
		cmocka_unit_test(test_announce),       cmocka_unit_test(test_vlan_to_wire),
		cmocka_unit_test(test_wire_full),      cmocka_unit_test(test_slow_wire),
		cmocka_unit_test(test_from_wire),      cmocka_unit_test(test_stale_metadata),
		cmocka_unit_test(test_vlan_from_wire), cmocka_unit_test(test_dedicated),
		cmocka_unit_test(test_wire_burst),
	};

	fake_clock_stop();
	return fp_run_tests(tests);
}
