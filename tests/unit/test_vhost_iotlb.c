/* SPDX-License-Identifier: BSD-2-Clause */
/* What front ends say of I/O virtual addresses: every range they can think of, and the tables. */
#include <errno.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "vhost_iotlb.h"

#define KIB    1024ull
#define MIB    (1024 * KIB)
#define UVA    0x7f0000000000ull
#define HOST   ((uint8_t *)0x100000000000ull) /* never touched */
#define RO     VHOST_ACCESS_RO
#define WO     VHOST_ACCESS_WO
#define RW     VHOST_ACCESS_RW
#define N_REGS 3

struct world {
	struct vhost_iotlb *tlb;
	struct vhost_mem *mem;
};

/* Three regions of 1 MiB; the first two adjacent for the front end, but not for us. */
static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	if (!w)
		return -1;
	w->mem = calloc(1, sizeof(*w->mem) + N_REGS * sizeof(w->mem->regions[0]));
	if (!w->mem || vhost_iotlb_new(&w->tlb) < 0)
		return -1;
	w->mem->n_regions = N_REGS;
	for (uint32_t i = 0; i < N_REGS; i++)
		w->mem->regions[i] = (struct vhost_region){
			.gpa = 0x40000000 + i * 16 * MIB,
			.size = MIB,
			.uva = UVA + (i < 2 ? i * MIB : 64 * MIB),
			.host = HOST + i * 1024 * MIB,
		};
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	vhost_iotlb_free(w->tlb);
	free(w->mem);
	free(w);
	return 0;
}

static int say(struct world *w, uint64_t iova, uint64_t size, uint64_t uaddr, uint8_t perm)
{
	const struct vhost_iotlb_msg msg = {
		.iova = iova, .size = size, .uaddr = uaddr, .perm = perm};
	bool changed;

	return vhost_iotlb_update(w->tlb, w->mem, &msg, &changed);
}

static bool changes(struct world *w, uint64_t iova, uint64_t size, uint64_t uaddr, uint8_t perm)
{
	const struct vhost_iotlb_msg msg = {
		.iova = iova, .size = size, .uaddr = uaddr, .perm = perm};
	bool changed = false;

	assert_int_equal(vhost_iotlb_update(w->tlb, w->mem, &msg, &changed), 0);
	return changed;
}

static uint8_t *look(const struct vhost_mem *mem, uint64_t iova, uint64_t len)
{
	const struct vhost_region *r = vhost_mem_find(mem, iova, len);

	return r ? r->host + (iova - r->gpa) : NULL;
}

/* Is [iova, iova + len) translated in one piece to @host (or not at all: NULL), for reading and
 * for writing? */
static void expect(struct world *w, uint64_t iova, uint64_t len, uint8_t *read, uint8_t *write)
{
	struct vhost_iotlb_tables t;

	assert_int_equal(vhost_iotlb_build(w->tlb, &t), 0);
	for (uint32_t i = 1; i < t.read->n_regions; i++)
		assert_true(t.read->regions[i].gpa >=
		            t.read->regions[i - 1].gpa + t.read->regions[i - 1].size);
	assert_ptr_equal(look(t.read, iova, len), read);
	assert_ptr_equal(look(t.write, iova, len), write);
	vhost_mem_free(t.read);
	vhost_mem_free(t.write);
}

static void test_permissions(void **state)
{
	struct world *w = *state;

	assert_int_equal(say(w, 0x10000, 0x1000, UVA, RO), 0);
	assert_int_equal(say(w, 0x11000, 0x1000, UVA + 0x1000, WO), 0);
	assert_int_equal(say(w, 0x12000, 0x1000, UVA + 0x2000, RW), 0);
	expect(w, 0x10000, 0x1000, HOST, NULL);
	expect(w, 0x11000, 0x1000, NULL, HOST + 0x1000);
	expect(w, 0x12000, 0x1000, HOST + 0x2000, HOST + 0x2000);
	expect(w, 0x11800, 0x1000, NULL, HOST + 0x1800); /* both may be written: one piece */
	expect(w, 0x10800, 0x1000, NULL, NULL);
	expect(w, 0x12fff, 2, NULL, NULL);
	expect(w, 0xffff, 1, NULL, NULL);
	assert_int_equal(say(w, 0x10000, 0x1000, UVA, 0), -EINVAL);
	assert_int_equal(say(w, 0x10000, 0x1000, UVA, 4), -EINVAL);
	assert_int_equal(say(w, 0x10000, 0x1000, UVA, 0xff), -EINVAL);
	assert_int_equal(vhost_iotlb_n(w->tlb), 3);
}

/* A guest that maps page after page of one buffer leaves one range. */
static void test_adjacent_ranges_join(void **state)
{
	struct world *w = *state;

	for (uint64_t i = 0; i < 16; i += 2)
		assert_int_equal(say(w, i * 0x1000, 0x1000, UVA + i * 0x1000, RW), 0);
	assert_int_equal(vhost_iotlb_n(w->tlb), 8);
	for (uint64_t i = 1; i < 16; i += 2)
		assert_int_equal(say(w, i * 0x1000, 0x1000, UVA + i * 0x1000, RW), 0);
	assert_int_equal(vhost_iotlb_n(w->tlb), 1);
	expect(w, 0, 0x10000, HOST, HOST);
	/* The same again is nothing new, and no reason to wait for anybody. */
	assert_false(changes(w, 0x3000, 0x1000, UVA + 0x3000, RW));
	assert_int_equal(vhost_iotlb_n(w->tlb), 1);
}

static void test_what_contradicts(void **state)
{
	struct world *w = *state;

	assert_false(changes(w, 0x10000, 0x4000, UVA, RW));
	assert_true(changes(w, 0x11000, 0x1000, UVA + 0x8000, RW)); /* elsewhere */
	expect(w, 0x10000, 0x1000, HOST, HOST);
	expect(w, 0x11000, 0x1000, HOST + 0x8000, HOST + 0x8000);
	expect(w, 0x12000, 0x2000, HOST + 0x2000, HOST + 0x2000);
	expect(w, 0x10000, 0x1001, NULL, NULL);
	assert_true(changes(w, 0x13000, 0x1000, UVA + 0x3000, RO)); /* less is allowed */
	expect(w, 0x13000, 0x1000, HOST + 0x3000, NULL);
	assert_false(changes(w, 0x13000, 0x1000, UVA + 0x3000, RW)); /* more is */
	assert_false(changes(w, 0x14000, 0x1000, UVA, RW));          /* new */
}

static void test_invalidate(void **state)
{
	struct world *w = *state;

	assert_false(vhost_iotlb_invalidate(w->tlb, 0, 0));
	say(w, 0x10000, 0x10000, UVA, RW);
	/* Next to it, on both sides */
	assert_false(vhost_iotlb_invalidate(w->tlb, 0xf000, 0x1000));
	assert_false(vhost_iotlb_invalidate(w->tlb, 0x20000, 0x1000));
	assert_false(vhost_iotlb_invalidate(w->tlb, 0x20000, 0));
	expect(w, 0x10000, 0x10000, HOST, HOST);
	/* A hole */
	assert_true(vhost_iotlb_invalidate(w->tlb, 0x14000, 0x1000));
	assert_false(vhost_iotlb_invalidate(w->tlb, 0x14000, 0x1000));
	expect(w, 0x10000, 0x4000, HOST, HOST);
	expect(w, 0x14000, 1, NULL, NULL);
	expect(w, 0x14fff, 1, NULL, NULL);
	expect(w, 0x15000, 0xb000, HOST + 0x5000, HOST + 0x5000);
	/* The head, the tail, and across the hole */
	assert_true(vhost_iotlb_invalidate(w->tlb, 0x8000, 0x8001));
	expect(w, 0x10000, 1, NULL, NULL);
	expect(w, 0x10001, 1, HOST + 1, HOST + 1);
	assert_true(vhost_iotlb_invalidate(w->tlb, 0x1ffff, 0x1000));
	expect(w, 0x1fffe, 1, HOST + 0xfffe, HOST + 0xfffe);
	expect(w, 0x1ffff, 1, NULL, NULL);
	assert_true(vhost_iotlb_invalidate(w->tlb, 0x12000, 0x6000));
	expect(w, 0x11000, 0x1000, HOST + 0x1000, HOST + 0x1000);
	expect(w, 0x12000, 1, NULL, NULL);
	expect(w, 0x18000, 0x1000, HOST + 0x8000, HOST + 0x8000);
	/* Beyond the end of the address space; and all of it, which has size 0 */
	assert_true(vhost_iotlb_invalidate(w->tlb, 0x18000, UINT64_MAX));
	expect(w, 0x18000, 1, NULL, NULL);
	say(w, UINT64_MAX - 0xfff, 0x1000, UVA, RW);
	assert_int_equal(vhost_iotlb_n(w->tlb), 2);
	assert_true(vhost_iotlb_invalidate(w->tlb, 0, 0));
	assert_int_equal(vhost_iotlb_n(w->tlb), 0);
}

static void test_odd_sizes(void **state)
{
	struct world *w = *state;

	assert_int_equal(say(w, 0x1000, 0, UVA, RW), -EINVAL);
	assert_int_equal(say(w, UINT64_MAX - 0xfff, 0x2000, UVA, RW), -EINVAL); /* wraps around */
	assert_int_equal(say(w, UINT64_MAX, 1, UVA, RW), -EINVAL);
	assert_int_equal(say(w, 0x1000, UINT64_MAX, UVA, RW), -EINVAL);
	assert_int_equal(say(w, 0x1000, 0x1000, UVA - 0x1000, RW), -EFAULT);
	assert_int_equal(say(w, 0x1000, 0x1000, UVA + 2 * MIB, RW), -EFAULT);
	assert_int_equal(say(w, 0x1000, 0x1000, UINT64_MAX, RW), -EINVAL);
	assert_int_equal(say(w, 0x1000, 0x1000, UINT64_MAX - 0xff, RW), -EFAULT);
	assert_int_equal(say(w, 0x1000, 0x1000, 0, RW), -EFAULT);
	assert_int_equal(vhost_iotlb_n(w->tlb), 0);
	/* The last page there is; its last byte is not worth a special case. */
	assert_int_equal(say(w, UINT64_MAX - 0xfff, 0x1000, UVA, RW), 0);
	expect(w, UINT64_MAX - 0xfff, 0xfff, HOST, HOST);
	expect(w, UINT64_MAX, 1, NULL, NULL);
	expect(w, 0, 1, NULL, NULL);
	vhost_iotlb_invalidate(w->tlb, 0, 0);
	/* 2^64 has no number: all addresses are what the front end calls them. */
	assert_int_equal(say(w, 0, 0, 0, RW), 0);
	assert_int_equal(vhost_iotlb_n(w->tlb), N_REGS);
	expect(w, UVA, MIB, HOST, HOST);
	expect(w, UVA + MIB, MIB, HOST + 1024 * MIB, HOST + 1024 * MIB);
	expect(w, UVA + 64 * MIB, MIB, HOST + 2048 * MIB, HOST + 2048 * MIB);
	expect(w, UVA - 1, 1, NULL, NULL);
	/* All addresses again, beginning in the middle of a region */
	vhost_iotlb_invalidate(w->tlb, 0, 0);
	assert_int_equal(say(w, 0, 0, UVA + MIB / 2, RO), 0);
	expect(w, 0, MIB / 2, HOST + MIB / 2, NULL);
	expect(w, 0, MIB / 2 + 1, NULL, NULL);
	expect(w, MIB / 2, MIB, HOST + 1024 * MIB, NULL);
}

/* What is adjacent for the front end may be apart for us; and a hole stays a hole. */
static void test_across_regions(void **state)
{
	struct world *w = *state;

	assert_int_equal(say(w, 0x100000, 0x4000, UVA + MIB - 0x1000, RW), 0);
	assert_int_equal(vhost_iotlb_n(w->tlb), 2);
	expect(w, 0x100000, 0x1000, HOST + MIB - 0x1000, HOST + MIB - 0x1000);
	expect(w, 0x101000, 0x3000, HOST + 1024 * MIB, HOST + 1024 * MIB);
	expect(w, 0x100000, 0x1001, NULL, NULL);
	assert_int_equal(say(w, 0x200000, 64 * MIB, UVA + MIB, RW), 0);
	expect(w, 0x200000, MIB, HOST + 1024 * MIB, HOST + 1024 * MIB);
	expect(w, 0x200000 + MIB, 1, NULL, NULL);
	expect(w, 0x200000 + 63 * MIB, MIB, HOST + 2048 * MIB, HOST + 2048 * MIB);
}

/* Memory that was taken away must not be in any table; what stays, stays. */
static void test_remap(void **state)
{
	struct world *w = *state;

	say(w, 0x0, 0x1000, UVA, RW);
	say(w, 0x10000, 0x1000, UVA + MIB, RW);
	say(w, 0x20000, 0x1000, UVA + 64 * MIB, RW);
	w->mem->regions[1] = w->mem->regions[2];
	w->mem->n_regions = 2;
	w->mem->regions[1].host += 0x5000; /* and what stays may move for us */
	vhost_iotlb_remap(w->tlb, w->mem);
	expect(w, 0x0, 0x1000, HOST, HOST);
	expect(w, 0x10000, 1, NULL, NULL);
	expect(w, 0x20000, 0x1000, HOST + 2048 * MIB + 0x5000, HOST + 2048 * MIB + 0x5000);
	vhost_iotlb_remap(w->tlb, NULL);
	assert_int_equal(vhost_iotlb_n(w->tlb), 0);
}

/* However much a front end says: the oldest is forgotten, the newest is there, all is sorted. */
static void test_flood(void **state)
{
	struct world *w = *state;
	const uint64_t n = 4ull * VHOST_IOTLB_MAX;

	for (uint64_t i = 0; i < n; i++) {
		/* Never adjacent; in an order that is not that of the addresses */
		uint64_t iova = i * 0x9e3779b1 % (n * 2) * 0x2000;

		assert_int_equal(say(w, iova, 0x1000, UVA + i % 200 * 0x1000, RW), 0);
		assert_true(vhost_iotlb_n(w->tlb) <= VHOST_IOTLB_MAX);
		if (i % 1000 == 999)
			expect(w, iova, 0x1000, HOST + i % 200 * 0x1000, HOST + i % 200 * 0x1000);
	}
	assert_int_equal(vhost_iotlb_n(w->tlb), VHOST_IOTLB_MAX);
	expect(w, 0, 1, NULL, NULL); /* the first one */
	/* A hole in a range when there is no room for its two halves: both go, or one */
	assert_int_equal(say(w, 0x7fff00000000, 0x4000, UVA, RW), 0);
	assert_true(vhost_iotlb_invalidate(w->tlb, 0x7fff00001000, 0x1000));
	assert_int_equal(vhost_iotlb_n(w->tlb), VHOST_IOTLB_MAX);
	expect(w, 0x7fff00001000, 1, NULL, NULL);
	expect(w, 0x7fff00000000, 0x1000, HOST, HOST);
	/* One that lies in all regions */
	assert_int_equal(say(w, 0, 0, UVA, RW), 0);
	assert_int_equal(vhost_iotlb_n(w->tlb), N_REGS);
}

/* Against a plain array of pages, whatever the order of messages. */
static void test_random(void **state)
{
	enum { PAGES = 64, STEPS = 20000 };
	struct world *w = *state;
	int64_t page[PAGES]; /* of guest memory, or -1 */
	uint8_t perm[PAGES];
	uint32_t seed = 1;

	for (uint32_t i = 0; i < PAGES; i++)
		page[i] = -1;
	for (uint32_t step = 0; step < STEPS; step++) {
		struct vhost_iotlb_tables t;
		uint32_t first, n, to;
		uint8_t p;

		seed = seed * 1664525 + 1013904223;
		first = seed >> 8 & (PAGES - 1);
		n = 1 + (seed >> 16) % 8;
		to = (seed >> 20) % 200;
		p = 1 + (seed >> 28) % 3;
		if (n > PAGES - first)
			n = PAGES - first;
		if (seed >> 14 & 1)
			say(w, first * 0x1000ull, n * 0x1000ull, UVA + to * 0x1000ull, p);
		else
			vhost_iotlb_invalidate(w->tlb, first * 0x1000ull, n * 0x1000ull);
		for (uint32_t i = 0; i < n; i++) {
			page[first + i] = seed >> 14 & 1 ? (int64_t)to + i : -1;
			perm[first + i] = p;
		}
		if (step % 16)
			continue;
		assert_int_equal(vhost_iotlb_build(w->tlb, &t), 0);
		for (uint32_t i = 0; i < PAGES; i++) {
			uint8_t *host = page[i] < 0 ? NULL : HOST + page[i] * 0x1000;

			assert_ptr_equal(look(t.read, i * 0x1000ull, 0x1000),
			                 host && perm[i] & RO ? host : NULL);
			assert_ptr_equal(look(t.write, i * 0x1000ull, 0x1000),
			                 host && perm[i] & WO ? host : NULL);
		}
		vhost_mem_free(t.read);
		vhost_mem_free(t.write);
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_permissions),
		TEST(test_adjacent_ranges_join),
		TEST(test_what_contradicts),
		TEST(test_invalidate),
		TEST(test_odd_sizes),
		TEST(test_across_regions),
		TEST(test_remap),
		TEST(test_flood),
		TEST(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
