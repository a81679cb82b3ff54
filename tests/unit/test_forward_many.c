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
#include "forward_priv.h"

#define BCAST    0xffffffffffffull
#define WIRE_MAC 0x900000000012ull /* somebody there */
#define N_MACS   40                /* of a port: with three of them, more than runs are kept */
#define N_WIRE   12                /* addresses on the wire */
#define BURST    100
#define ROUNDS   500
#define TO_WIRE  4 /* in the place of a port's number */
#define TO_ALL   5

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

uint16_t __wrap_fwd_crowd_keep_slow(struct fwd *f, struct vhost_vq *vq);

/* The linker puts this in its place: rings that are full are no less for those who filled them. */
uint16_t __wrap_fwd_crowd_keep_slow(struct fwd *f, struct vhost_vq *vq)
{
	(void)f;
	(void)vq;
	return 0;
}

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

/* What the frames of many bursts have in common. */
struct how {
	enum conf_nic_mode mode;
	uint32_t n_workers;
	uint32_t n_macs; /* addresses of each port that take part */
	bool rings;  /* port 2 has two rings, and the second is that of port 3, to which no frame
	              * goes */
	bool learns; /* the sender has two, too: its flows are learned, one by one */
	bool shapes; /* now and then, buffers are of any shape, and port 1's are short */
};

static bool has_wire(const struct how *how)
{
	return how->mode != CONF_NIC_INTERNAL;
}

static void two_rings(struct fp_port *p, struct vhost_vq *second)
{
	struct port_rxset *set = calloc(1, sizeof(*set) + 2 * sizeof(set->vq[0]));

	assert_non_null(set);
	set->n = 2;
	set->vq[0] = &p->rx.vq;
	set->vq[1] = second;
	free(atomic_exchange(&p->port.rxset, set));
	p->port.flows = calloc(1, sizeof(*p->port.flows));
	assert_non_null(p->port.flows);
}

static struct fake_path *path_for(const struct how *how)
{
	struct fake_path *fp = many_new(how->mode, how->n_workers);

	if (how->rings) {
		two_rings(&fp->ports[2], &fp->ports[3].rx.vq);
		fp->ports[3].rx.vq.index = 1;
		fp->ports[3].port.n_macs = 0;
		fp_rebuild(fp);
	}
	if (how->learns)
		two_rings(&fp->ports[0], &fp->ports[0].rx.vq);
	fp->ports[1].rx.map.mergeable = how->shapes;
	return fp;
}

static void path_free(struct fake_path *fp)
{
	for (uint32_t i = 0; i < FP_PORTS; i++)
		free(fp->ports[i].port.flows);
	fp_free(fp);
}

static uint32_t buffer_size(const struct how *how, uint32_t port)
{
	return how->shapes && port == 1 ? 300 : 1600;
}

static uint32_t buffers_for(const struct how *how, uint32_t port, uint32_t len)
{
	return (len + 12 + buffer_size(how, port) - 1) / buffer_size(how, port);
}

static struct sent choose(const struct how *how, uint32_t seed)
{
	bool wire = has_wire(how);
	struct sent s = {.len = 60 + (uint32_t)random() % 700, .seed = seed};
	uint32_t dice = (uint32_t)random() % 100;

	s.to = 1 + (uint32_t)random() % (how->rings ? 2 : 3);
	if (wire && dice < 12)
		s.to = TO_WIRE;
	else if (wire && !how->rings && dice < 15)
		s.to = TO_ALL;
	if (s.to == TO_ALL)
		s.mac = BCAST;
	else if (s.to == TO_WIRE)
		s.mac = WIRE_MAC | (uint64_t)((uint32_t)random() % N_WIRE) << 32;
	else
		s.mac = macs[s.to][(uint32_t)random() % how->n_macs];
	return s;
}

static enum fp_shape any_shape(const struct how *how)
{
	if (!how->shapes || random() % 8)
		return FP_PLAIN;
	return (enum fp_shape)(random() % FP_N_SHAPES);
}

/* The frame that was chosen; and now it is known to which ring it goes. */
static void make_frame(struct fake_path *fp, const struct how *how, struct sent *s)
{
	const struct port *port = &fp->ports[2].port;

	fp_frame(frame, s->len, s->mac, macs[0][0], s->seed);
	if (how->rings && s->to == 2 &&
	    fwd_flow_ring(port, fwd_rxset(port), flow_hash(frame, s->len)) != &fp->ports[2].rx.vq)
		s->to = 3;
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

static void rounds(struct how how)
{
	struct fake_path *fp = path_for(&how);
	struct tally in = {0}, out[FP_PORTS] = {0};
	uint32_t left[FP_PORTS] = {0}, seed = 0;
	struct fp_port *a = &fp->ports[0];
	struct sent sent[BURST];

	srandom(how.n_macs);
	for (uint32_t round = 0; round < ROUNDS; round++) {
		uint32_t n = 1 + (uint32_t)random() % BURST, len;

		/* Now and then a guest has fewer buffers than frames come. */
		for (uint32_t p = 1; p < FP_PORTS; p++) {
			uint32_t want = (uint32_t)random() % 60;

			for (; left[p] < want; left[p]++)
				fp_post(&fp->ports[p], buffer_size(&how, p));
		}
		for (uint32_t i = 0; i < n; i++) {
			sent[i] = choose(&how, seed++);
			make_frame(fp, &how, &sent[i]);
			fp_send_as(a, any_shape(&how), frame, sent[i].len);
			in.frames++;
			in.bytes += sent[i].len;
			for (uint32_t p = 1; p < FP_PORTS; p++) {
				uint32_t need = buffers_for(&how, p, sent[i].len);

				if (!is_for(&sent[i], p))
					continue;
				sent[i].arrives[p] = left[p] >= need;
				out[p].drops += left[p] < need;
				out[p].frames += left[p] >= need;
				out[p].bytes += left[p] >= need ? sent[i].len : 0;
				left[p] -= left[p] >= need ? need : 0;
			}
		}
		assert_int_equal(fp_run(fp, a), n);
		fp_expect_returned(a, n);
		for (uint32_t p = 1; p < FP_PORTS; p++) {
			expect(fp, sent, n, p, false);
			fp_expect_nothing(&fp->ports[p]);
		}
		if (has_wire(&how)) {
			expect(fp, sent, n, 0, true);
			assert_null(fp_xsk_sent(fp, &len));
		}
	}
	assert_int_equal(counter_get(&a->tx.vq.bursts), ROUNDS);
	assert_int_equal(counter_get(&a->tx.vq.frames), in.frames);
	assert_int_equal(counter_get(&a->tx.vq.bytes), in.bytes);
	for (uint32_t p = 1; p < FP_PORTS; p++) {
		const struct port *port = &fp->ports[how.rings && p == 3 ? 2 : p].port;
		const struct vhost_vq *vq = &fp->ports[p].rx.vq;

		assert_int_equal(counter_get(&vq->frames), out[p].frames);
		assert_int_equal(counter_get(&vq->bytes), out[p].bytes);
		assert_int_equal(counter_get(&port->queues[vq->index].to_drops[PORT_TO_NO_BUFFER]),
		                 out[p].drops);
		assert_true(out[p].drops > 0);
	}
	path_free(fp);
}

#define TEST_ROUNDS(name, ...)                                                                     \
	static void name(void **state)                                                             \
	{                                                                                          \
		(void)state;                                                                       \
		rounds((struct how){__VA_ARGS__});                                                 \
	}

TEST_ROUNDS(test_one_address_each, .mode = CONF_NIC_INTERNAL, .n_workers = 1, .n_macs = 1)
TEST_ROUNDS(test_two_addresses_each, .mode = CONF_NIC_INTERNAL, .n_workers = 1, .n_macs = 2)
TEST_ROUNDS(test_many_addresses, .mode = CONF_NIC_INTERNAL, .n_workers = 1, .n_macs = N_MACS)
/* Opening a ring may then flush those that are open. */
TEST_ROUNDS(test_several_workers, .mode = CONF_NIC_INTERNAL, .n_workers = 2, .n_macs = 5)
TEST_ROUNDS(test_guests_and_wire, .mode = CONF_NIC_STEERED, .n_workers = 1, .n_macs = 4)
TEST_ROUNDS(test_guests_and_shared_wire, .mode = CONF_NIC_STEERED, .n_workers = 2, .n_macs = 4)
/* Each frame asks for its ring, and that of the last one may be open, here or under an address. */
TEST_ROUNDS(test_several_rings, .mode = CONF_NIC_STEERED, .n_workers = 1, .n_macs = 3,
            .rings = true)
TEST_ROUNDS(test_learned_flows, .mode = CONF_NIC_STEERED, .n_workers = 2, .n_macs = 3,
            .rings = true, .learns = true)
/* Frames between which the slow path has all rings, and frames in several buffers */
TEST_ROUNDS(test_shapes, .mode = CONF_NIC_INTERNAL, .n_workers = 1, .n_macs = 4, .shapes = true)
TEST_ROUNDS(test_all_at_once, .mode = CONF_NIC_STEERED, .n_workers = 2, .n_macs = 3, .rings = true,
            .shapes = true)

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
	assert_int_equal(counter_get(&fp->ports[2].port.to_no_guest), 15); /* of 20 */
	assert_int_equal(atomic_load(&fp->ports[1].rx.vq.fault), VHOST_VQ_OK);
	assert_int_equal(atomic_load(&fp->ports[3].rx.vq.fault), VHOST_VQ_OK);
	fp_free(fp);
}

/* So many rings are open that the next one has to wait for these to be flushed. */
static void test_more_rings_than_can_be_open(void **state)
{
	static struct vhost_vq others[FWD_MAX_OPEN - 2];
	struct fake_path *fp = many_new(CONF_NIC_INTERNAL, 1);
	struct fp_port *a = &fp->ports[0];

	(void)state;
	for (uint32_t i = 0; i < ARRAY_SIZE(others); i++) {
		others[i].open_map = &a->rx.map;
		spin_mark(&others[i].lock, fp->fwd->tag);
		fp->fwd->open[fp->fwd->n_open++] = &others[i];
	}
	for (uint32_t i = 0; i < 60; i++) {
		fp_post(&fp->ports[1 + i % 3], 1600);
		fp_frame(frame, 100 + i, macs[1 + i % 3][0], macs[0][0], i);
		fp_send(a, frame, 100 + i);
	}
	assert_int_equal(fp_run(fp, a), 60);
	fp_expect_returned(a, 60);
	for (uint32_t i = 0; i < 60; i++) {
		fp_frame(frame, 100 + i, macs[1 + i % 3][0], macs[0][0], i);
		fp_expect_frame(&fp->ports[1 + i % 3], frame, 100 + i);
	}
	for (uint32_t i = 0; i < ARRAY_SIZE(others); i++)
		assert_int_equal(atomic_load(&others[i].lock), 0);
	fp_free(fp);
}

/* Several workers share a nic's queue: who has sent a burst lets it go at once. */
static void test_shared_wire_is_let_go(void **state)
{
	struct fake_path *fp = many_new(CONF_NIC_STEERED, 2);
	struct fp_port *a = &fp->ports[0];
	uint32_t len;

	(void)state;
	fp_frame(frame, 100, WIRE_MAC, macs[0][0], 1);
	for (uint32_t i = 0; i < 10; i++)
		fp_send(a, frame, 100);
	assert_int_equal(fwd_from_guest(fp->fwd, &a->src), 10);
	assert_int_equal(atomic_load(&fp->xsk->q.tx_lock), 0);
	for (uint32_t i = 0; i < 10; i++)
		assert_non_null(fp_xsk_sent(fp, &len));
	assert_null(fp_xsk_sent(fp, &len));
	fp_free(fp);
}

/* Flows to one address on the wire, of a guest with two rings: each of them is learned. */
static void test_flows_to_the_wire_are_learned(void **state)
{
	struct fake_path *fp = many_new(CONF_NIC_STEERED, 1);
	struct fp_port *a = &fp->ports[0];

	(void)state;
	two_rings(a, &a->rx.vq);
	for (uint32_t i = 0; i < 20; i++) {
		fp_frame(frame, 100, WIRE_MAC, macs[0][0], i);
		fp_send(a, frame, 100);
	}
	assert_int_equal(fp_run(fp, a), 20);
	for (uint32_t i = 0; i < 20; i++) {
		fp_frame(frame, 100, WIRE_MAC, macs[0][0], i);
		assert_int_equal(flow_pair(a->port.flows, flow_hash(frame, 100)), 1);
	}
	path_free(fp);
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
		uint64_t mac = p < 3 || mode == CONF_NIC_INTERNAL ? macs[p][0] : WIRE_MAC;

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

		fp_frame(frame, 100 + i, wire ? WIRE_MAC : macs[p][0], macs[0][0], i);
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

/*
 * From a nic to many guests: the same runs, under the ports' names. The slow path has frames to
 * all, and to none: who is on the wire is no port.
 */
static void from_nic(struct how how)
{
	struct fake_path *fp = path_for(&how);
	struct sent sent[FP_XSK_RING];
	uint32_t seed = 0;

	for (uint32_t round = 0; round < 300; round++) {
		uint32_t n = 1 + (uint32_t)random() % (FP_XSK_RING - 1);

		for (uint32_t i = 0; i < n; i++) {
			struct sent *s = &sent[i];
			uint32_t id;

			*s = choose(&how, seed++);
			id = s->to < FP_PORTS && random() % 2 ? s->to + 1 : 0;
			make_frame(fp, &how, s);
			for (uint32_t p = 0; p < FP_PORTS; p++) {
				s->arrives[p] = is_for(s, p);
				if (s->arrives[p])
					fp_post(&fp->ports[p], 1600);
			}
			fp_xsk_receive(fp, frame, s->len, id, 0);
		}
		assert_int_equal(fp_run_nic(fp), n);
		for (uint32_t p = 0; p < FP_PORTS; p++) {
			expect(fp, sent, n, p, false);
			fp_expect_nothing(&fp->ports[p]);
		}
	}
	path_free(fp);
}

static void test_from_nic(void **state)
{
	(void)state;
	from_nic((struct how){.mode = CONF_NIC_STEERED, .n_workers = 1, .n_macs = N_MACS});
}

static void test_from_nic_to_several_rings(void **state)
{
	(void)state;
	from_nic(
		(struct how){.mode = CONF_NIC_STEERED, .n_workers = 2, .n_macs = 4, .rings = true});
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
		cmocka_unit_test(test_several_rings),
		cmocka_unit_test(test_learned_flows),
		cmocka_unit_test(test_shapes),
		cmocka_unit_test(test_all_at_once),
		cmocka_unit_test(test_ring_given_up_in_between),
		cmocka_unit_test(test_more_rings_than_can_be_open),
		cmocka_unit_test(test_shared_wire_is_let_go),
		cmocka_unit_test(test_flows_to_the_wire_are_learned),
		cmocka_unit_test(test_contended_ring),
		cmocka_unit_test(test_contended_wire),
		cmocka_unit_test(test_from_nic),
		cmocka_unit_test(test_from_nic_to_several_rings),
	};

	return fp_run_tests(tests);
}
