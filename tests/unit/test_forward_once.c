/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_forward_once.c - a guest that writes while it is read, between any two loads
 *
 * page_watch.h tells how, and what has to hold. Behind the guest's memory is a page without rights.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <cmocka.h>

#include "fake_path.h"
#include "page_watch.h"

#define PAGE    4096u
#define PORTS   3 /* sender and two receivers */
#define USABLE  (FP_MEM / 2 - PAGE)
#define END     (FP_GAP + USABLE) /* nothing behind it may be touched */
#define TABLE   0x10000u          /* indirect table; a page of its own */
#define BUF_LEN 100u
#define N_BUFS  3u
#define SLOTS   8u /* of a ring that are looked at */

/* ---- guests, and how a burst ended ---- */

/* What the guests have laid out when the burst begins: one frame, for the second guest or the wire
 */
enum scene { SHORT, LONG, PAIR, CHAIN, PAIR_IN_TABLE, TABLE_OF_ONE, INDIRECT, WIRE, N_SCENES };

static const struct {
	const char *name;
	uint32_t len; /* bytes of the frame: one receive buffer, or all of them */
} scenes[] = {{"short", 72},     {"long", 200},         {"header and frame", 200},
              {"chain", 200},    {"pair in table", 72}, {"table of one", 72},
              {"indirect", 200}, {"wire", 200}};

struct once {
	struct fake_path *fp;
	enum scene scene;
	uint32_t taken;              /* by the last burst */
	struct fp_port fresh[PORTS]; /* as made: what runs begin with */
};

struct result {
	uint32_t taken, faults[2 * PORTS];
	uint64_t from_drops[PORT_FROM_N], to_drops[PORTS][PORT_TO_N];
	uint16_t positions[2 * PORTS][2], used_idx[2 * PORTS];
	uint64_t used[2 * PORTS][SLOTS];
	uint8_t received[PORTS][PAGE];
	uint32_t wire_len;
	uint8_t wire[1600];
};

static struct once *once_new(enum scene scene)
{
	struct once *o = calloc(1, sizeof(*o));

	assert_non_null(o);
	o->scene = scene;
	o->fp = fp_new(scene == WIRE ? CONF_NIC_STEERED : CONF_NIC_INTERNAL, NULL);
	for (uint32_t i = 0; i < PORTS; i++) {
		struct fp_port *p = &o->fp->ports[i];

		p->mem->regions[1].size = USABLE;
		assert_int_equal(mprotect(fp_host(p, END), PAGE, PROT_NONE), 0);
		o->fresh[i] = *p;
	}
	return o;
}

static void once_free(struct once *o)
{
	for (uint32_t i = 0; i < PORTS; i++)
		mprotect(fp_host(&o->fp->ports[i], END), PAGE, PROT_READ | PROT_WRITE);
	fp_free(o->fp);
	free(o);
}

static void ring_reset(struct fp_ring *r)
{
	memset(r->desc, 0, FP_RING * sizeof(*r->desc));
	memset(r->avail, 0, 6 + FP_RING * 2);
	memset(r->used, 0, 6 + FP_RING * sizeof(struct vring_used_elem));
	if (r->slots)
		memset(r->slots, 0, FP_RING * sizeof(*r->slots));
}

static void once_reset(struct once *o)
{
	for (uint32_t i = 0; i < PORTS; i++) {
		struct fp_port *p = &o->fp->ports[i];

		memcpy(p, &o->fresh[i], sizeof(*p));
		memset(p->port.queues, 0, 2 * sizeof(*p->port.queues));
		ring_reset(&p->rx);
		ring_reset(&p->tx);
		memset(fp_host(p, END - PAGE), 0, PAGE);
		memset(fp_host(p, TABLE), 0, PAGE);
	}
}

static void result_of_ring(const struct fp_ring *r, uint32_t i, struct result *res)
{
	res->faults[i] = atomic_load(&r->vq.fault);
	res->positions[i][0] = r->vq.last_avail;
	res->positions[i][1] = r->vq.used_idx;
	res->used_idx[i] = r->used->idx;
	for (uint32_t k = 0; k < SLOTS; k++)
		memcpy(&res->used[i][k],
		       r->slots ? (void *)&r->slots[k].len : (void *)&r->used->ring[k], 8);
}

static void take_result(void *arg, void *ret)
{
	struct once *o = arg;
	struct result *res = ret;
	const uint8_t *wire = NULL;

	res->taken = o->taken;
	for (uint32_t i = 0; i < PORTS; i++) {
		struct fp_port *p = &o->fp->ports[i];

		result_of_ring(&p->rx, 2 * i, res);
		result_of_ring(&p->tx, 2 * i + 1, res);
		for (uint32_t k = 0; k < PORT_TO_N; k++)
			res->to_drops[i][k] = fp_to_drops(p, k);
		if (i > 0)
			memcpy(res->received[i], fp_host(p, END - PAGE), PAGE);
	}
	for (uint32_t k = 0; k < PORT_FROM_N; k++)
		res->from_drops[k] = fp_from_drops(&o->fp->ports[0], k);
	if (o->fp->xsk)
		wire = fp_xsk_sent(o->fp, &res->wire_len);
	if (wire)
		memcpy(res->wire, wire, min_u32(res->wire_len, sizeof(res->wire)));
}

/* ---- scenes ---- */

/* At the end of memory, header first */
static uint64_t frame_gpa(enum scene scene)
{
	return END - 12 - scenes[scene].len;
}

static void lay(void *arg)
{
	struct once *o = arg;
	enum scene scene = o->scene;
	struct fp_port *a = &o->fp->ports[0], *b = &o->fp->ports[1];
	struct vring_desc *table = (void *)fp_host(a, TABLE);
	uint32_t len = 12 + scenes[scene].len, first;
	uint64_t at = frame_gpa(scene);
	struct fp_ring *tx = &a->tx;

	once_reset(o);
	fp_frame(fp_host(a, at + 12), len - 12, scene == WIRE ? 0x123400000002ull : b->mac, a->mac,
	         1);
	for (uint32_t i = 0; i < 2 * N_BUFS; i++) {
		struct fp_ring *rx = &o->fp->ports[1 + i % 2].rx;

		fp_avail(rx,
		         fp_desc(rx, END - (i / 2 + 1) * BUF_LEN, BUF_LEN, VRING_DESC_F_WRITE, 0));
	}
	switch (scene) {
	case PAIR:
		fp_desc(tx, at, 12, VRING_DESC_F_NEXT, 1);
		fp_desc(tx, at + 12, len - 12, 0, 0);
		break;
	case CHAIN:
		fp_desc(tx, at, 20, VRING_DESC_F_NEXT, 1);
		fp_desc(tx, at + 20, 50, VRING_DESC_F_NEXT, 2);
		fp_desc(tx, at + 70, len - 70, 0, 0);
		break;
	case TABLE_OF_ONE:
		table[0] = (struct vring_desc){at, len, 0, 0};
		fp_desc(tx, TABLE, sizeof(*table), VRING_DESC_F_INDIRECT, 0);
		break;
	case PAIR_IN_TABLE:
	case INDIRECT:
		first = scene == INDIRECT ? 20 : 12;
		table[0] = (struct vring_desc){at, first, VRING_DESC_F_NEXT, 1};
		table[1] = (struct vring_desc){at + first, len - first, 0, 0};
		fp_desc(tx, TABLE, 2 * sizeof(*table), VRING_DESC_F_INDIRECT, 0);
		break;
	default:
		fp_desc(tx, at, len, 0, 0);
		break;
	}
	fp_avail(tx, 0);
}

static void run(void *arg)
{
	struct once *o = arg;

	o->taken = fp_run(o->fp, &o->fp->ports[0]);
}

static void try_word(struct once *o, const char *what, void *at, uint32_t size, uint64_t bad)
{
	const struct page_scene scene = {lay, run, take_result, o, sizeof(struct result)};
	const char *why = page_watch(&scene, at, size, bad);

	if (why)
		fail_msg("%s: %s becomes %s", scenes[o->scene].name, what, why);
}

/* The words of a descriptor; of a packed ring's slot if @packed */
static void try_desc(struct once *o, const char *what, void *desc, bool packed)
{
	struct vring_packed_desc *slot = desc;
	struct vring_desc *d = desc;
	uint16_t *flags = packed ? &slot->flags : &d->flags;
	static const uint64_t addrs[] = {END - 8, END, FP_GAP, 0x7fff00000000ull, UINT64_MAX - 8};
	static const uint32_t lens[] = {0, 11, 30, 150, 250, 4000, 65000, UINT32_MAX};
	static const uint16_t flips[] = {VRING_DESC_F_NEXT, VRING_DESC_F_WRITE,
	                                 VRING_DESC_F_INDIRECT};
	uint16_t good_flags;

	for (uint32_t i = 0; i < ARRAY_SIZE(addrs); i++)
		try_word(o, what, &d->addr, 8, addrs[i]);
	for (uint32_t i = 0; i < ARRAY_SIZE(lens); i++)
		try_word(o, what, &d->len, 4, lens[i]);
	/* Those that are good are known when the scene is laid out. */
	lay(o);
	good_flags = *flags;
	for (uint32_t i = 0; i < ARRAY_SIZE(flips); i++)
		try_word(o, what, flags, 2, good_flags ^ flips[i]);
	try_word(o, what, packed ? &slot->id : &d->next, 2, 0xffff);
	try_word(o, what, packed ? &slot->id : &d->next, 2, 1);
}

static void try_ring_desc(struct once *o, const char *what, struct fp_ring *r, uint32_t i)
{
	try_desc(o, what, r->slots ? (void *)&r->slots[i] : (void *)&r->desc[i], r->slots);
}

/* ---- tests ---- */

static void once_each(void (*test)(struct once *o))
{
	for (enum scene scene = SHORT; scene < N_SCENES; scene++) {
		struct once *o = once_new(scene);

		test(o);
		once_free(o);
	}
}

static void descriptors_of(struct once *o)
{
	struct fp_port *a = &o->fp->ports[0];
	struct vring_desc *table = (void *)fp_host(a, TABLE);

	const uint32_t in_ring = o->scene == CHAIN ? 3 : o->scene == PAIR ? 2 : 1;
	uint32_t in_table = 0;

	if (o->scene == INDIRECT || o->scene == PAIR_IN_TABLE)
		in_table = 2;
	else if (o->scene == TABLE_OF_ONE)
		in_table = 1;
	for (uint32_t i = 0; i < in_ring; i++)
		try_ring_desc(o, "transmit descriptor", &a->tx, i);
	for (uint32_t i = 0; i < in_table; i++)
		try_desc(o, "entry of an indirect table", &table[i], a->tx.slots);
}

static void test_transmit_descriptors(void **state)
{
	(void)state;
	once_each(descriptors_of);
}

static void test_receive_descriptors(void **state)
{
	(void)state;
	for (enum scene scene = SHORT; scene <= CHAIN; scene++) {
		struct once *o = once_new(scene);

		for (uint32_t i = 0; i < (scene == SHORT ? 1 : N_BUFS); i++)
			try_ring_desc(o, "receive descriptor", &o->fp->ports[1].rx, i);
		once_free(o);
	}
}

static void heads_of(struct once *o)
{
	struct fp_ring *rings[] = {&o->fp->ports[0].tx, &o->fp->ports[1].rx};

	for (uint32_t i = 0; i < (o->scene == WIRE ? 1 : 2) && !rings[i]->slots; i++) {
		const char *what = i ? "receive head" : "transmit head";

		try_word(o, what, &rings[i]->avail->ring[0], 2, 0xffff);
		try_word(o, what, &rings[i]->avail->ring[0], 2, FP_RING);
		try_word(o, what, &rings[i]->avail->ring[0], 2, 7);
		try_word(o, "available index", &rings[i]->avail->idx, 2, 0x7fff);
	}
}

static void test_heads_and_indices(void **state)
{
	(void)state;
	once_each(heads_of);
}

/* Header and addresses: what was looked at is what arrives. */
static void headers_of(struct once *o)
{
	uint8_t *at = fp_host(&o->fp->ports[0], frame_gpa(o->scene));

	try_word(o, "header flags", at, 1, 1);
	try_word(o, "segmentation type", at + 1, 1, 1);
	try_word(o, "address", at + 12 + 4, 1, 3);  /* the third guest's */
	try_word(o, "address", at + 12, 1, 0xff);   /* of a group */
	try_word(o, "address", at + 12 + 4, 1, 1);  /* the sender's */
	try_word(o, "ethertype", at + 24, 1, 0x81); /* with the next byte, a tag */
}

static void test_headers(void **state)
{
	(void)state;
	once_each(headers_of);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_transmit_descriptors),
		cmocka_unit_test(test_receive_descriptors),
		cmocka_unit_test(test_heads_and_indices),
		cmocka_unit_test(test_headers),
	};

	if (!PAGE_WATCH) {
		puts("skipped: needs the trap flag of x86-64");
		return 77;
	}
	return fp_run_tests(tests);
}
