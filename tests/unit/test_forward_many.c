/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Bursts whose frames go to many addresses in turn: of guests that have several, on the wire, and
 * to all. Runs are parked, taken again, pushed out of their places by others, and closed in
 * between; each guest must see its frames, whole, in order, and nothing else.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <pthread.h>
#include <cmocka.h>

#include "fake_path.h"
#include "spin.h"

#define BCAST   0xffffffffffffull
#define N_MACS  40 /* of a port: with three of them, more than runs are kept */
#define N_WIRE  12 /* addresses on the wire */
#define BURST   100
#define TO_WIRE 4 /* in the place of a port's number */
#define TO_ALL  5

static uint64_t macs[FP_PORTS][N_MACS];
static uint8_t frame[2048];

struct sent {
	uint64_t mac;
	uint32_t to, len, seed;
	bool arrives[FP_PORTS]; /* there was a buffer for it */
};

struct tally {
	uint64_t frames, bytes, drops;
};

static struct fake_path *many_new(enum conf_nic_mode mode, uint32_t n_workers)
{
	struct fake_path *fp = fp_new(mode, NULL);

	fp->fwd->n_workers = n_workers;
	for (uint32_t i = 0; i < FP_PORTS; i++) {
		for (uint32_t k = 0; k < N_MACS; k++)
			macs[i][k] = fp->ports[i].mac | (uint64_t)k << 40;
		fp->ports[i].port.mac_keys = macs[i];
		fp->ports[i].port.n_macs = N_MACS;
		fp->ports[i].rx.map.mergeable = false;
	}
	fp_rebuild(fp);
	return fp;
}

/* @n_macs: addresses of each port that take part; 0: no frame is for several, or for the wire */
static struct sent choose(uint32_t n_macs, bool wire, uint32_t seed)
{
	struct sent s = {.len = 60 + (uint32_t)random() % 700, .seed = seed};
	uint32_t dice = (uint32_t)random() % 100;

	s.to = 1 + (uint32_t)random() % 3;
	if (wire && dice < 12)
		s.to = TO_WIRE;
	else if (wire && dice < 15)
		s.to = TO_ALL;
	if (s.to == TO_ALL)
		s.mac = BCAST;
	else if (s.to == TO_WIRE)
		s.mac = 0x900000000012ull | (uint64_t)((uint32_t)random() % N_WIRE) << 32;
	else
		s.mac = macs[s.to][(uint32_t)random() % n_macs];
	return s;
}

static bool is_for(const struct sent *s, uint32_t port)
{
	return s->to == TO_ALL || s->to == port;
}

static void expect(struct fake_path *fp, const struct sent *sent, uint32_t n, uint32_t port,
                   bool wire)
{
	for (uint32_t i = 0; i < n; i++) {
		const struct sent *s = &sent[i];

		fp_frame(frame, s->len, s->mac, macs[0][0], s->seed);
		if (wire && is_for(s, TO_WIRE)) {
			uint32_t len;
			const uint8_t *got = fp_xsk_sent(fp, &len);

			assert_non_null(got);
			assert_int_equal(len, s->len);
			assert_memory_equal(got, frame, len);
		} else if (!wire && s->arrives[port]) {
			fp_expect_frame(&fp->ports[port], frame, s->len);
		}
	}
}

static void rounds(enum conf_nic_mode mode, uint32_t n_workers, uint32_t n_macs)
{
	struct fake_path *fp = many_new(mode, n_workers);
	bool wire = mode != CONF_NIC_INTERNAL;
	struct tally in = {0}, out[FP_PORTS] = {0};
	uint32_t left[FP_PORTS] = {0}, seed = 0;
	struct fp_port *a = &fp->ports[0];
	struct sent sent[BURST];

	srandom(n_macs);
	for (uint32_t round = 0; round < 500; round++) {
		uint32_t n = 1 + (uint32_t)random() % BURST, len;

		/* Now and then a guest has fewer buffers than frames come. */
		for (uint32_t p = 1; p < FP_PORTS; p++) {
			uint32_t want = (uint32_t)random() % 60;

			for (; left[p] < want; left[p]++)
				fp_post(&fp->ports[p], 1600);
		}
		for (uint32_t i = 0; i < n; i++) {
			sent[i] = choose(n_macs, wire, seed++);
			fp_frame(frame, sent[i].len, sent[i].mac, macs[0][0], sent[i].seed);
			fp_send(a, frame, sent[i].len);
			in.frames++;
			in.bytes += sent[i].len;
			for (uint32_t p = 1; p < FP_PORTS; p++) {
				if (!is_for(&sent[i], p))
					continue;
				sent[i].arrives[p] = left[p] > 0;
				out[p].drops += !left[p];
				out[p].frames += left[p] > 0;
				out[p].bytes += left[p] ? sent[i].len : 0;
				left[p] -= left[p] > 0;
			}
		}
		assert_int_equal(fp_run(fp, a), n);
		fp_expect_returned(a, n);
		for (uint32_t p = 1; p < FP_PORTS; p++) {
			expect(fp, sent, n, p, false);
			fp_expect_nothing(&fp->ports[p]);
		}
		if (wire) {
			expect(fp, sent, n, 0, true);
			assert_null(fp_xsk_sent(fp, &len));
		}
	}
	assert_int_equal(counter_get(&a->tx.vq.frames), in.frames);
	assert_int_equal(counter_get(&a->tx.vq.bytes), in.bytes);
	for (uint32_t p = 1; p < FP_PORTS; p++) {
		assert_int_equal(counter_get(&fp->ports[p].rx.vq.frames), out[p].frames);
		assert_int_equal(counter_get(&fp->ports[p].rx.vq.bytes), out[p].bytes);
		assert_int_equal(fp_to_drops(&fp->ports[p], PORT_TO_NO_BUFFER), out[p].drops);
		assert_true(out[p].drops > 0);
	}
	fp_free(fp);
}

static void test_one_address_each(void **state)
{
	(void)state;
	rounds(CONF_NIC_INTERNAL, 1, 1);
}

static void test_two_addresses_each(void **state)
{
	(void)state;
	rounds(CONF_NIC_INTERNAL, 1, 2);
}

static void test_many_addresses(void **state)
{
	(void)state;
	rounds(CONF_NIC_INTERNAL, 1, N_MACS);
}

/* Opening a ring may then flush those that are open. */
static void test_several_workers(void **state)
{
	(void)state;
	rounds(CONF_NIC_INTERNAL, 2, 5);
}

static void test_guests_and_wire(void **state)
{
	(void)state;
	rounds(CONF_NIC_STEERED, 1, 4);
}

static void test_guests_and_shared_wire(void **state)
{
	(void)state;
	rounds(CONF_NIC_STEERED, 2, 4);
}

/* A guest breaks its ring in the middle of a burst: the others get their frames. */
static void test_ring_given_up_in_between(void **state)
{
	struct fake_path *fp = many_new(CONF_NIC_INTERNAL, 1);
	struct fp_port *a = &fp->ports[0];
	struct vring_desc *bad;

	(void)state;
	for (uint32_t i = 0; i < 20; i++) {
		for (uint32_t p = 1; p < FP_PORTS; p++)
			fp_post(&fp->ports[p], 1600);
	}
	bad = &fp->ports[2].rx.desc[fp->ports[2].rx.avail->ring[5]];
	if (fp_packed)
		fp->ports[2].rx.slots[5].addr = FP_MEM;
	else
		bad->addr = FP_MEM;
	for (uint32_t i = 0; i < 60; i++) {
		fp_frame(frame, 100 + i, macs[1 + i % 3][i % 4], macs[0][0], i);
		fp_send(a, frame, 100 + i);
	}
	assert_int_equal(fp_run(fp, a), 60);
	fp_expect_returned(a, 60);
	for (uint32_t i = 0; i < 60; i++) {
		uint32_t p = 1 + i % 3;

		fp_frame(frame, 100 + i, macs[p][i % 4], macs[0][0], i);
		if (p != 2 || i / 3 < 5)
			fp_expect_frame(&fp->ports[p], frame, 100 + i);
	}
	assert_int_equal(atomic_load(&fp->ports[2].rx.vq.fault), VHOST_VQ_BAD_ADDRESS);
	assert_int_equal(atomic_load(&fp->ports[1].rx.vq.fault), VHOST_VQ_OK);
	assert_int_equal(atomic_load(&fp->ports[3].rx.vq.fault), VHOST_VQ_OK);
	fp_free(fp);
}

static void *let_go_soon(void *lock)
{
	usleep(3000);
	spin_unlock(lock);
	return NULL;
}

/* Another worker has what the burst comes to need: it waits, but not with rings that are open. */
static void contend(enum conf_nic_mode mode)
{
	struct fake_path *fp = many_new(mode, 2);
	struct fp_port *a = &fp->ports[0];
	_Atomic uint32_t *lock =
		mode == CONF_NIC_INTERNAL ? &fp->ports[3].rx.vq.lock : &fp->xsk->q.tx_lock;
	pthread_t other;
	uint32_t len;

	for (uint32_t i = 0; i < 10; i++) {
		uint32_t p = i ? 3 - i % 2 : 1;
		uint64_t mac = p < 3 || mode == CONF_NIC_INTERNAL ? macs[p][0] : 0x900000000012ull;

		fp_post(&fp->ports[p], 1600);
		fp_frame(frame, 100 + i, mac, macs[0][0], i);
		fp_send(a, frame, 100 + i);
	}
	spin_mark(lock, 77);
	assert_int_equal(pthread_create(&other, NULL, let_go_soon, lock), 0);
	assert_int_equal(fp_run(fp, a), 10);
	pthread_join(other, NULL);
	fp_expect_returned(a, 10);
	for (uint32_t i = 0; i < 10; i++) {
		uint32_t p = i ? 3 - i % 2 : 1;
		bool wire = p == 3 && mode != CONF_NIC_INTERNAL;

		fp_frame(frame, 100 + i, wire ? 0x900000000012ull : macs[p][0], macs[0][0], i);
		if (!wire) {
			fp_expect_frame(&fp->ports[p], frame, 100 + i);
			continue;
		}
		assert_memory_equal(fp_xsk_sent(fp, &len), frame, 100 + i);
		assert_int_equal(len, 100 + i);
	}
	fp_free(fp);
}

static void test_contended_ring(void **state)
{
	(void)state;
	contend(CONF_NIC_INTERNAL);
}

static void test_contended_wire(void **state)
{
	(void)state;
	contend(CONF_NIC_STEERED);
}

/* From a nic to many guests: the same runs, under the ports' names. */
static void test_from_nic(void **state)
{
	struct fake_path *fp = many_new(CONF_NIC_STEERED, 1);
	uint32_t seed = 0;

	(void)state;
	for (uint32_t round = 0; round < 300; round++) {
		uint32_t n = 1 + (uint32_t)random() % (FP_XSK_RING - 1), to[FP_XSK_RING];

		for (uint32_t i = 0; i < n; i++) {
			to[i] = (uint32_t)random() % FP_PORTS;
			fp_post(&fp->ports[to[i]], 1600);
			fp_frame(frame, 60 + i, macs[to[i]][i % N_MACS], 0x900000000012ull,
			         seed + i);
			fp_xsk_receive(fp, frame, 60 + i, random() % 2 ? to[i] + 1 : 0, 0);
		}
		assert_int_equal(fp_run_nic(fp), n);
		for (uint32_t i = 0; i < n; i++) {
			fp_frame(frame, 60 + i, macs[to[i]][i % N_MACS], 0x900000000012ull,
			         seed + i);
			fp_expect_frame(&fp->ports[to[i]], frame, 60 + i);
		}
		for (uint32_t p = 0; p < FP_PORTS; p++)
			fp_expect_nothing(&fp->ports[p]);
		seed += n;
	}
	fp_free(fp);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_address_each),
		cmocka_unit_test(test_two_addresses_each),
		cmocka_unit_test(test_many_addresses),
		cmocka_unit_test(test_several_workers),
		cmocka_unit_test(test_guests_and_wire),
		cmocka_unit_test(test_guests_and_shared_wire),
		cmocka_unit_test(test_ring_given_up_in_between),
		cmocka_unit_test(test_contended_ring),
		cmocka_unit_test(test_contended_wire),
		cmocka_unit_test(test_from_nic),
	};

	return fp_run_tests(tests);
}
