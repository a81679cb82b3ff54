/* SPDX-License-Identifier: BSD-2-Clause */
/* test_flow.c - the hash of a flow, and the ring that a flow goes to */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "forward_priv.h"

struct flow {
	uint8_t mac[2][6];
	uint8_t ip[2][16]; /* IPv4: the first four */
	uint16_t port[2];
	uint8_t proto;
	bool v6;
	uint16_t fragment; /* IPv4: flags and offset as in the header */
	unsigned int tags;
	unsigned int options; /* IPv4: words */
};

/* Write a frame of the flow in one direction; returns its length. */
static uint32_t build(const struct flow *f, int from, uint8_t *out)
{
	int to = !from;
	uint32_t at = 12;

	memset(out, 0, 128);
	memcpy(out, f->mac[to], 6);
	memcpy(out + 6, f->mac[from], 6);
	for (unsigned int i = 0; i < f->tags; i++, at += 4) {
		out[at] = i ? 0x81 : 0x88;
		out[at + 1] = i ? 0x00 : 0xa8;
		out[at + 3] = (uint8_t)(i + 7);
	}
	if (f->tags == 1)
		memcpy(out + 12, "\x81\x00", 2);
	memcpy(out + at, f->v6 ? "\x86\xdd" : "\x08\x00", 2);
	at += 2;
	if (f->v6) {
		out[at] = 0x60;
		out[at + 6] = f->proto;
		memcpy(out + at + 8, f->ip[from], 16);
		memcpy(out + at + 24, f->ip[to], 16);
		at += 40;
	} else {
		out[at] = (uint8_t)(0x45 + f->options);
		out[at + 6] = (uint8_t)(f->fragment >> 8);
		out[at + 7] = (uint8_t)f->fragment;
		out[at + 9] = f->proto;
		memcpy(out + at + 12, f->ip[from], 4);
		memcpy(out + at + 16, f->ip[to], 4);
		at += 20 + 4 * f->options;
	}
	out[at] = (uint8_t)(f->port[from] >> 8);
	out[at + 1] = (uint8_t)f->port[from];
	out[at + 2] = (uint8_t)(f->port[to] >> 8);
	out[at + 3] = (uint8_t)f->port[to];
	return at + 40;
}

static uint32_t hash_of(const struct flow *f, int from)
{
	uint8_t frame[128];
	uint32_t len = build(f, from, frame);

	return flow_hash(frame, len);
}

static struct flow random_flow(void)
{
	struct flow f;

	for (size_t i = 0; i < sizeof(f.mac); i++)
		((uint8_t *)f.mac)[i] = (uint8_t)rand();
	for (size_t i = 0; i < sizeof(f.ip); i++)
		((uint8_t *)f.ip)[i] = (uint8_t)rand();
	f.port[0] = (uint16_t)rand();
	f.port[1] = (uint16_t)rand();
	f.proto = rand() & 1 ? 6 : 17;
	f.v6 = rand() & 1;
	f.fragment = 0;
	f.tags = 0;
	f.options = 0;
	return f;
}

static void symmetric(void **state)
{
	static const uint8_t protos[] = {1, 6, 17, 47, 50, 58, 132};

	(void)state;
	for (int i = 0; i < 20000; i++) {
		struct flow f = random_flow();
		uint32_t hash = hash_of(&f, 0);

		f.proto = protos[(unsigned int)i % sizeof(protos)];
		f.options = f.v6 ? 0 : (unsigned int)rand() % 6;
		hash = hash_of(&f, 0);
		assert_int_equal(hash_of(&f, 1), hash);
		/* Tags come and go on the way; other hosts may stand behind the same addresses. */
		f.tags = 1;
		assert_int_equal(hash_of(&f, 0), hash);
		assert_int_equal(hash_of(&f, 1), hash);
		memset(f.mac, 0xaa, sizeof(f.mac));
		assert_int_equal(hash_of(&f, 0), hash);
	}
}

/* One part of the five that differs makes another flow; the others go round the table evenly. */
static void spread(void **state)
{
	uint32_t same = 0, counts[4] = {0}, low[16] = {0};

	(void)state;
	for (int i = 0; i < 20000; i++) {
		struct flow f = random_flow(), g = f;

		switch (i % 4) {
		case 0:
			g.port[i & 4 ? 1 : 0]++;
			break;
		case 1:
			g.ip[i & 4 ? 1 : 0][i % 8 == 1 ? 3 : 0]++;
			break;
		case 2:
			g.proto = f.proto == 6 ? 17 : 6;
			break;
		default:
			g.v6 = !f.v6;
		}
		same += hash_of(&f, 0) == hash_of(&g, 0);
		counts[hash_of(&f, 0) >> 30]++;
		low[(hash_of(&f, 0) >> 1) % 16]++;
	}
	assert_in_range(same, 0, 4);
	/* Clients of one server: consecutive ports, nothing else. */
	struct flow f = random_flow();
	uint32_t client[4] = {0};

	f.v6 = false;
	for (uint16_t p = 0; p < 4000; p++) {
		f.port[0] = (uint16_t)(32768 + p);
		client[hash_of(&f, 0) >> 30]++;
	}
	for (int i = 0; i < 4; i++) {
		assert_in_range(counts[i], 4500, 5500);
		assert_in_range(client[i], 800, 1200);
	}
	for (int i = 0; i < 16; i++)
		assert_in_range(low[i], 1000, 1500);
}

/* Only the first fragment has ports; all of a datagram must take one way. */
static void fragments(void **state)
{
	struct flow f = random_flow(), g;

	(void)state;
	f.v6 = false;
	g = f;
	f.fragment = 0x2000; /* more to come */
	g.fragment = 0x2001; /* at offset 8: what stands there are no ports */
	g.port[0] ^= 0x5a5a;
	assert_int_equal(hash_of(&f, 0), hash_of(&g, 0));
	g.fragment = 0x00ff; /* the last */
	assert_int_equal(hash_of(&f, 0), hash_of(&g, 0));
	f.fragment = 0x4000; /* "don't fragment" is no fragment */
	g = f;
	g.port[0] ^= 0x5a5a;
	assert_int_not_equal(hash_of(&f, 0), hash_of(&g, 0));
}

/* Frames that end early, at any byte, and that are no IP; read in a buffer of exactly that size */
static void short_frames(void **state)
{
	uint8_t frame[128];

	(void)state;
	for (int i = 0; i < 200; i++) {
		struct flow f = random_flow();
		uint32_t len;

		f.tags = (unsigned int)i % 3;
		f.options = i % 16 < 11 ? (unsigned int)i % 11 : 10;
		len = build(&f, 0, frame);
		for (uint32_t n = 14; n <= len; n++) {
			uint8_t *exact = malloc(n);

			assert_non_null(exact);
			memcpy(exact, frame, n);
			(void)flow_hash(exact, n);
			free(exact);
		}
	}
	for (int type = 0; type < 65536; type += 257) {
		memset(frame, 0x55, sizeof(frame));
		memcpy(frame, "\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02", 12);
		frame[12] = (uint8_t)(type >> 8);
		frame[13] = (uint8_t)type;
		uint32_t there = flow_hash(frame, 60);

		memcpy(frame, "\x02\x00\x00\x00\x00\x02\x02\x00\x00\x00\x00\x01", 12);
		assert_int_equal(flow_hash(frame, 60), there);
		assert_int_equal(there & FLOW_IS_IP, type == 0x0800);
	}
}

/* ---- rings ---- */

struct rings {
	struct flow_table table;
	struct vhost_vq vq[8];
	struct port port;
	struct port_rxset *set;
};

static struct rings *rings_new(void)
{
	struct rings *r = aligned_alloc(CACHE_LINE, (sizeof(*r) + 63) & ~63ul);

	assert_non_null(r);
	memset(r, 0, sizeof(*r));
	r->set = calloc(1, sizeof(*r->set) + 8 * sizeof(r->set->vq[0]));
	assert_non_null(r->set);
	r->port.flows = &r->table;
	return r;
}

static void rings_enable(struct rings *r, const uint8_t *pairs, uint32_t n)
{
	memset(r->set->slot, 0, sizeof(r->set->slot));
	r->set->n = 0;
	for (uint32_t i = 0; i < n; i++) {
		r->set->vq[r->set->n++] = &r->vq[pairs[i]];
		r->set->slot[pairs[i]] = (uint8_t)r->set->n;
	}
}

static void flows_follow_the_guest(void **state)
{
	static const uint8_t all[] = {0, 1, 2, 3, 4, 5, 6, 7}, some[] = {1, 4, 6};
	struct rings *r = rings_new();
	uint32_t used[8] = {0};
	struct vhost_vq *vq;

	(void)state;
	rings_enable(r, all, 8);
	for (uint32_t i = 0; i < 1000; i++) {
		uint32_t hash = i * 0x9e3779b9u | FLOW_IS_IP;

		vq = fwd_flow_ring(&r->port, r->set, hash);

		used[vq - r->vq]++;
		assert_ptr_equal(fwd_flow_ring(&r->port, r->set, hash), vq);
	}
	for (int i = 0; i < 8; i++)
		assert_in_range(used[i], 90, 160);
	for (uint32_t pair = 0; pair < 8; pair++) {
		flow_learn(&r->table, 12345u, pair);
		assert_ptr_equal(fwd_flow_ring(&r->port, r->set, 12345u), &r->vq[pair]);
	}
	/* The pair of an entry is gone, and comes back. */
	flow_learn(&r->table, 12345u, 7);
	rings_enable(r, some, 3);
	assert_ptr_not_equal(fwd_flow_ring(&r->port, r->set, 12345u), &r->vq[7]);
	for (uint32_t i = 0; i < 1000; i++) {
		ptrdiff_t k = fwd_flow_ring(&r->port, r->set, i * 0x9e3779b9u) - r->vq;

		assert_true(k == 1 || k == 4 || k == 6);
	}
	flow_learn(&r->table, 12345u, 4);
	assert_ptr_equal(fwd_flow_ring(&r->port, r->set, 12345u), &r->vq[4]);
	rings_enable(r, all, 8);
	assert_ptr_equal(fwd_flow_ring(&r->port, r->set, 12345u), &r->vq[4]);
	/* What is no IP has no flows: always the same ring, whatever the guest does. */
	vq = fwd_flow_ring(&r->port, r->set, 12344u);
	for (uint32_t pair = 0; pair < 8; pair++) {
		flow_learn(&r->table, 12344u, pair);
		assert_ptr_equal(fwd_flow_ring(&r->port, r->set, 12344u), vq);
	}
	assert_ptr_equal(fwd_flow_ring(&r->port, r->set, 12345u), &r->vq[4]);
	/* The largest pair there is */
	flow_learn(&r->table, 5, VHOST_MAX_QUEUE_PAIRS - 1);
	assert_int_equal(flow_pair(&r->table, 5), VHOST_MAX_QUEUE_PAIRS);
	assert_non_null(fwd_flow_ring(&r->port, r->set, 5));
	free(r->set);
	free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(symmetric),
		cmocka_unit_test(spread),
		cmocka_unit_test(fragments),
		cmocka_unit_test(short_frames),
		cmocka_unit_test(flows_follow_the_guest),
	};
	srand(1);
	return cmocka_run_group_tests_name("flow", tests, NULL, NULL);
}
