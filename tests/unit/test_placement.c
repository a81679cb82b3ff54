/* SPDX-License-Identifier: BSD-2-Clause */
/* Loads in, moves out. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#include "placement.h"

#define MAX_WORKERS 8
#define MAX_SOURCES 16

/* Sources of each worker; a negative load: fixed. Moves until nothing is to be done. */
struct row {
	const char *what;
	uint32_t n_workers, n_sources;
	struct {
		uint32_t worker;
		int load;
	} sources[MAX_SOURCES];
	uint32_t want[MAX_SOURCES]; /* the workers in the end */
};

static const struct row rows[] = {
	{"idle", 2, 2, {{0, 0}, {0, 0}}, {0, 0}},
	{"one worker", 1, 2, {{0, 500}, {0, 500}}, {0, 0}},
	{"nobody is full", 2, 3, {{0, 300}, {0, 300}, {0, 150}}, {0, 0, 0}},
	{"two floods on one worker, the other idle", 2, 2, {{0, 500}, {0, 500}}, {1, 0}},
	{"two floods beside others", 2, 4, {{0, 480}, {0, 20}, {0, 480}, {1, 30}}, {1, 0, 0, 1}},
	{"one flood fills a worker: a move helps nobody", 2, 2, {{0, 1000}, {1, 0}}, {0, 1}},
	{"one flood with a small one: too little to gain",
         2,
         3,
         {{0, 950}, {0, 50}, {1, 10}},
         {0, 0, 1}},
	{"all are full", 2, 4, {{0, 500}, {0, 500}, {1, 500}, {1, 500}}, {0, 0, 1, 1}},
	{"three floods on two workers stay where they are",
         2,
         3,
         {{0, 500}, {0, 500}, {1, 1000}},
         {0, 0, 1}},
	{"four on one, four workers: one after the other",
         4,
         4,
         {{0, 250}, {0, 250}, {0, 250}, {0, 250}},
         {1, 0, 0, 0}},
	{"pinned ones stay", 2, 3, {{0, -500}, {0, -450}, {0, 50}}, {0, 0, 0}},
	{"the one that is not pinned goes", 2, 3, {{0, -400}, {0, -300}, {0, 300}}, {0, 0, 1}},
	{"the fullest cannot give, another full one can",
         3,
         4,
         {{0, -1000}, {1, 450}, {1, 450}, {2, 0}},
         {0, 2, 1, 2}},
	{"room elsewhere, but not enough", 2, 3, {{0, 450}, {0, 450}, {1, 420}}, {0, 0, 1}},
	{"the move that evens out best",
         2,
         5,
         {{0, 600}, {0, 250}, {0, 100}, {1, 100}, {1, 0}},
         {0, 1, 0, 1, 1}},
};

/* The same on two nodes: even workers are on node 0, odd ones on node 1. Every source is of node 0.
 */
static const struct row far_rows[] = {
	{"two floods: to the worker on the same node, though the other is as idle",
         4,
         2,
         {{0, 500}, {0, 500}},
         {2, 0}},
	{"to the same node, though another worker has less to do",
         4,
         3,
         {{0, 500}, {0, 500}, {2, 100}},
         {2, 0, 2}},
	{"the same node is full: to the other one, since it helps by far",
         4,
         4,
         {{0, 500}, {0, 500}, {2, -900}, {1, 0}},
         {1, 0, 2, 1}},
	{"the same node is full, and the other one would help a little only",
         2,
         3,
         {{0, 850}, {0, 150}, {1, 10}},
         {0, 0, 1}},
	{"away from the memory anyhow: home, for what little it helps",
         2,
         3,
         {{1, 850}, {1, 150}, {0, 10}},
         {1, 0, 0}},
	{"one is enough: the node's other worker has room, and then nobody is full",
         4,
         4,
         {{0, 250}, {0, 250}, {0, 250}, {0, 250}},
         {2, 0, 0, 0}},
	{"four floods fill the node", 4, 4, {{0, 500}, {0, 500}, {2, 500}, {2, 500}}, {1, 0, 3, 2}},
};

static void run_row(const struct row *row, const bool *near)
{
	struct placement_source s[MAX_SOURCES];
	uint32_t loads[MAX_WORKERS] = {0}, n_moves = 0;
	struct placement_move move;

	for (uint32_t i = 0; i < row->n_sources; i++) {
		int load = row->sources[i].load;

		s[i] = (struct placement_source){
			.worker = row->sources[i].worker,
			.load = (uint32_t)(load < 0 ? -load : load),
			.fixed = load < 0,
			.near = near,
		};
		loads[s[i].worker] += s[i].load;
	}
	while (placement_decide(loads, row->n_workers, s, row->n_sources, &move)) {
		assert_true(++n_moves <= row->n_sources);
		assert_true(move.source < row->n_sources && move.to < row->n_workers);
		assert_false(s[move.source].fixed);
		assert_int_not_equal(s[move.source].worker, move.to);
		loads[s[move.source].worker] -= s[move.source].load;
		loads[move.to] += s[move.source].load;
		s[move.source].worker = move.to;
	}
	for (uint32_t i = 0; i < row->n_sources; i++) {
		if (s[i].worker != row->want[i])
			fail_msg("%s: source %u is at worker %u, not %u", row->what, i, s[i].worker,
			         row->want[i]);
	}
}

static void test_rows(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < ARRAY_SIZE(rows); i++)
		run_row(&rows[i], NULL);
}

static void test_far_rows(void **state)
{
	static const bool near[MAX_WORKERS] = {true, false, true, false, true, false, true, false};

	(void)state;
	for (uint32_t i = 0; i < ARRAY_SIZE(far_rows); i++)
		run_row(&far_rows[i], near);
}

/* Whatever the loads are: moves end, and each leaves the worst worker with less. */
static void test_moves_end(void **state)
{
	uint32_t seed = 1;

	(void)state;
	for (int round = 0; round < 20000; round++) {
		struct placement_source s[MAX_SOURCES];
		uint32_t loads[MAX_WORKERS] = {0}, n_moves = 0, n, n_workers;
		bool near[2][MAX_WORKERS];
		struct placement_move move;

		seed = seed * 1664525 + 1013904223;
		n_workers = 1 + (seed >> 8) % MAX_WORKERS;
		n = (seed >> 16) % (MAX_SOURCES + 1);
		for (uint32_t i = 0; i < n_workers; i++) {
			near[0][i] = i % 2 == 0;
			near[1][i] = n_workers == 1 || i % 2;
		}
		for (uint32_t i = 0; i < n; i++) {
			seed = seed * 1664525 + 1013904223;
			s[i] = (struct placement_source){
				.worker = (seed >> 8) % n_workers,
				.load = (seed >> 16) % 700,
				.fixed = seed >> 29 == 0,
				.near = seed >> 28 & 1 ? near[seed >> 27 & 1] : NULL};
			loads[s[i].worker] += s[i].load;
		}
		while (placement_decide(loads, n_workers, s, n, &move)) {
			const bool *its = s[move.source].near;
			uint32_t from = s[move.source].worker, before = loads[from], gain;

			assert_true(before >= PLACEMENT_FULL);
			loads[from] -= s[move.source].load;
			loads[move.to] += s[move.source].load;
			s[move.source].worker = move.to;
			gain = its && its[from] && !its[move.to] ? PLACEMENT_FAR_GAIN
			                                         : PLACEMENT_GAIN;
			assert_true(loads[from] + gain <= before);
			assert_true(loads[move.to] + gain <= before);
			assert_true(++n_moves < 1000);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_far_rows),
		cmocka_unit_test(test_moves_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
