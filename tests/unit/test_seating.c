/* SPDX-License-Identifier: BSD-2-Clause */
/* test_seating.c - which workers are near, with a made-up sysfs */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "fake_sysfs.h"
#include "numa.h"
#include "seating.h"

#define MAX 8

static const uint32_t none[MAX]; /* nobody serves anything */

/* CPU 10 n + i is on node n; the nodes that are `online`, each with its line of distances. */
static void nodes(const char *online, const int *ids, const char *const *distances, int n)
{
	char path[128];

	fake_sysfs_put("devices/system/node/online", online);
	for (int i = 0; i < n; i++) {
		snprintf(path, sizeof(path), "devices/system/node/node%d/distance", ids[i]);
		fake_sysfs_put(path, distances[i]);
		for (int cpu = 10 * ids[i]; cpu < 10 * ids[i] + 4; cpu++) {
			snprintf(path, sizeof(path), "devices/system/cpu/cpu%d/node%d", cpu,
			         ids[i]);
			fake_sysfs_put(path, "");
		}
	}
}

static struct seating *seat(const int *cpus, uint32_t n)
{
	struct conf_worker workers[MAX];
	const struct conf conf = {.workers = workers, .n_workers = n};
	struct seating *s;

	for (uint32_t i = 0; i < n; i++)
		workers[i].cpu = cpus[i];
	assert_int_equal(seating_new(fake_sysfs, &conf, &s), 0);
	return s;
}

/* "1010": worker 0 and 2 */
static void assert_near(const struct seating *s, int node, const char *want)
{
	const bool *near = seating_near(s, node);

	for (uint32_t i = 0; want[i]; i++) {
		if ((!near || near[i]) != (want[i] == '1'))
			fail_msg("node %d: worker %u, not as in %s", node, i, want);
	}
}

static uint32_t distance(int from, int to)
{
	uint32_t distances[NUMA_MAX], n;
	uint16_t online[NUMA_MAX];

	n = numa_online(fake_sysfs, online);
	numa_distances(fake_sysfs, (uint16_t)from, online, n, distances);
	return distances[to];
}

static void test_distance(void **state)
{
	static const int ids[] = {0, 2, 5};
	static const char *const lines[] = {"10 20 31\n", "20 10 x\n", "31 22\n"};

	(void)state;
	assert_int_equal(distance(0, 0), NUMA_FAR); /* no nodes at all */
	nodes("0,2,5\n", ids, lines, 3);
	assert_int_equal(distance(0, 0), 10);
	assert_int_equal(distance(0, 2), 20);
	assert_int_equal(distance(0, 5), 31);
	assert_int_equal(distance(5, 2), 22);
	assert_int_equal(distance(2, 5), NUMA_FAR); /* no number */
	assert_int_equal(distance(5, 5), NUMA_FAR); /* the line is short */
	assert_int_equal(distance(0, 1), NUMA_FAR); /* no such node */
	assert_int_equal(distance(1, 0), NUMA_FAR);
	assert_int_equal(distance(MEM_NODE_ANY, 0), NUMA_FAR);
}

static void test_two_nodes(void **state)
{
	static const int ids[] = {0, 1}, cpus[] = {0, 10, 1, 11};
	static const char *const lines[] = {"10 21\n", "21 10\n"};
	struct seating *s;

	(void)state;
	nodes("0-1\n", ids, lines, 2);
	s = seat(cpus, 4);
	assert_true(seating_matters(s));
	assert_int_equal(seating_node(s, 1), 1);
	assert_int_equal(seating_node(s, 2), 0);
	assert_near(s, 0, "1010");
	assert_near(s, 1, "0101");
	/* Nobody knows where: all are alike. */
	assert_near(s, MEM_NODE_ANY, "1111");
	assert_near(s, 2, "1111");
	assert_near(s, 1023, "1111");
	assert_null(seating_near(s, -5));
	seating_free(s);
}

/* Guests one after the other, each of the node in the text: who serves them, and where were they by
 * number? All near, and as even as can be. */
static void test_guests_come(void **state)
{
	static const int ids[] = {0, 1}, mixed[] = {0, 10, 1, 11}, blocks[] = {0, 1, 10, 11};
	static const char *const lines[] = {"10 21\n", "21 10\n"};
	static const struct {
		const int *cpus;
		const char *nodes, *want;
	} rows[] = {
		{mixed, "0101", "0123"},         {mixed, "0011", "0231"},  {mixed, "1111", "1331"},
		{mixed, "00000000", "02200220"}, {blocks, "0101", "0213"}, {blocks, "0011", "0123"},
		{blocks, "1111", "2323"},        {blocks, "1010", "2130"},
	};

	(void)state;
	nodes("0-1\n", ids, lines, 2);
	for (size_t r = 0; r < ARRAY_SIZE(rows); r++) {
		struct seating *s = seat(rows[r].cpus, 4);
		uint32_t n[4] = {0};

		for (uint32_t i = 0; rows[r].nodes[i]; i++) {
			int node = rows[r].nodes[i] - '0';
			uint32_t w = seating_pick(s, node, i % 4, n);

			n[w]++;
			assert_int_equal(seating_node(s, w), node);
			if (w != (uint32_t)(rows[r].want[i] - '0'))
				fail_msg("row %zu: guest %u at worker %u, not as in %s", r, i, w,
				         rows[r].want);
		}
		seating_free(s);
	}
}

/* No worker on the node: those on the nearest. A node between has a gap in the numbers. */
static void test_nearest(void **state)
{
	static const int ids[] = {0, 1, 3}, cpus[] = {0, 30, 31};
	static const char *const lines[] = {"10 12 32\n", "32 10 12\n", "32 12 10\n"};
	struct seating *s;

	(void)state;
	nodes("0-1,3\n", ids, lines, 3);
	s = seat(cpus, 3);
	assert_near(s, 0, "100");
	assert_near(s, 1, "011");
	assert_near(s, 3, "011");
	assert_near(s, 2, "111");
	assert_int_equal(seating_pick(s, 1, 0, none), 1);
	assert_int_equal(seating_pick(s, 1, 2, none), 2);
	assert_int_equal(seating_pick(s, 0, 2, none), 0);
	seating_free(s);
}

/* A worker of which nothing is known is near to nobody who has another one. */
static void test_one_is_nowhere(void **state)
{
	static const int ids[] = {0, 1}, cpus[] = {50, 0};
	static const char *const lines[] = {"10 21\n", "21 10\n"};
	struct seating *s;

	(void)state;
	nodes("0-1\n", ids, lines, 2);
	s = seat(cpus, 2);
	assert_near(s, 0, "01");
	assert_near(s, 1, "01");
	seating_free(s);
}

/* Nothing to choose: one node; all workers on one of two; nothing told of CPUs. */
static void test_all_alike(void **state)
{
	static const int ids[] = {0, 1}, here[] = {0, 1}, nowhere[] = {50, 51};
	static const char *const lines[] = {"10 21\n", "21 10\n"};
	struct seating *s = seat(here, 2);

	(void)state;
	assert_false(seating_matters(s)); /* a kernel without nodes */
	assert_null(seating_near(s, 0));
	assert_near(s, 0, "11");
	seating_free(s);
	fake_sysfs_put("devices/system/node/online", "0\n");
	s = seat(here, 2);
	assert_null(seating_near(s, 0));
	assert_null(seating_near(s, 1));
	assert_int_equal(seating_node(s, 0), MEM_NODE_ANY);
	seating_free(s);
	nodes("0-1\n", ids, lines, 2);
	s = seat(here, 2);
	assert_null(seating_near(s, 0));
	assert_null(seating_near(s, 1));
	assert_null(seating_near(s, 1));
	assert_int_equal(seating_pick(s, 1, 0, none), 0);
	assert_int_equal(seating_pick(s, 1, 1, none), 1);
	seating_free(s);
	s = seat(nowhere, 2);
	assert_null(seating_near(s, 0));
	assert_null(seating_near(s, 1));
	seating_free(s);
	seating_free(NULL);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, fake_sysfs_make, fake_sysfs_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_distance), TEST(test_two_nodes),      TEST(test_guests_come),
		TEST(test_nearest),  TEST(test_one_is_nowhere), TEST(test_all_alike),
	};

	return cmocka_run_group_tests_name("seating", tests, NULL, NULL);
}
