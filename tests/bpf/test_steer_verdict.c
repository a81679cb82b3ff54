// SPDX-License-Identifier: BSD-2-Clause
/*
 * test_steer_verdict.c - packet in; verdict, metadata and counters out
 *
 * Each row runs one frame through the loaded program (BPF_PROG_TEST_RUN) as if it had come in on
 * queue 0, where an AF_XDP socket is bound, or on queue 1, where none is.
 */
#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <net/if.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "netenv.h"
#include "steer_entry.h"
#include "steer_priv.h"
#include "xsk_queue.h"

enum { QUEUE_BOUND = 0, QUEUE_EMPTY = 1 };
enum { PORT_A = 1, PORT_B = 2, PORT_DEDICATED = 7 };

#define MAC_A                                                                                      \
	{                                                                                          \
		0x52, 0x54, 0, 0, 0, 0x0a                                                          \
	} /* PORT_A, untagged */
#define MAC_B                                                                                      \
	{                                                                                          \
		0x52, 0x54, 0, 0, 0, 0x0b                                                          \
	} /* PORT_B, VLAN 100 */
#define MAC_OTHER                                                                                  \
	{                                                                                          \
		0x52, 0x54, 0, 0, 0, 0x99                                                          \
	}
#define MAC_BCAST                                                                                  \
	{                                                                                          \
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff                                                 \
	}
#define MAC_MCAST                                                                                  \
	{                                                                                          \
		0x33, 0x33, 0, 0, 0, 1                                                             \
	}

struct row {
	const char *name;
	uint8_t dst[6];
	uint16_t tpid; /* 0: untagged */
	uint16_t tci;
	uint32_t len;      /* of the frame; 0: 60 */
	uint32_t meta_len; /* metadata that somebody left before us */
	uint32_t queue;
	enum steer_mode mode;
	enum steer_action miss;
	enum steer_action no_daemon;
	bool back; /* run the program of the redirect device */
	/* expected */
	uint32_t action;
	enum steer_verdict verdict;
	bool has_meta;
	uint16_t meta_flags;
	uint32_t port; /* whose counter goes up; 0: nobody's */
};

static const struct row rows[] = {
	{"unicast of a guest", MAC_A, .action = XDP_REDIRECT, .verdict = STEER_V_GUEST,
         .has_meta = true, .port = PORT_A},
	{"unicast of a guest, nobody serves, drop", MAC_A, .queue = QUEUE_EMPTY,
         .no_daemon = STEER_DROP, .action = XDP_DROP, .verdict = STEER_V_GUEST_NO_DAEMON},
	{"unicast of a guest, nobody serves, pass", MAC_A, .queue = QUEUE_EMPTY,
         .no_daemon = STEER_PASS, .action = XDP_PASS, .verdict = STEER_V_GUEST_NO_DAEMON},
	{"priority tag means untagged", MAC_A, .tpid = 0x8100, .tci = 0xe000,
         .action = XDP_REDIRECT, .verdict = STEER_V_GUEST, .has_meta = true, .port = PORT_A},
	{"tag of the guest's VLAN", MAC_B, .tpid = 0x8100, .tci = 100, .action = XDP_REDIRECT,
         .verdict = STEER_V_GUEST, .has_meta = true, .meta_flags = STEER_META_TAGGED,
         .port = PORT_B},
	{"priority bits are not part of the VLAN id", MAC_B, .tpid = 0x8100, .tci = 0xb064,
         .action = XDP_REDIRECT, .verdict = STEER_V_GUEST, .has_meta = true,
         .meta_flags = STEER_META_TAGGED, .port = PORT_B},
	{"guest on a VLAN, untagged frame", MAC_B, .miss = STEER_PASS, .action = XDP_PASS,
         .verdict = STEER_V_PASS},
	{"untagged guest, tagged frame", MAC_A, .tpid = 0x8100, .tci = 100, .miss = STEER_DROP,
         .action = XDP_DROP, .verdict = STEER_V_DROP},
	{"802.1ad tag is for no guest", MAC_A, .tpid = 0x88a8, .tci = 0, .miss = STEER_PASS,
         .action = XDP_PASS, .verdict = STEER_V_PASS},
	{"802.1ad broadcast is for no guest", MAC_BCAST, .tpid = 0x88a8, .tci = 5,
         .miss = STEER_DROP, .action = XDP_DROP, .verdict = STEER_V_DROP},
	{"unknown unicast, pass", MAC_OTHER, .miss = STEER_PASS, .action = XDP_PASS,
         .verdict = STEER_V_PASS},
	{"unknown unicast, drop", MAC_OTHER, .miss = STEER_DROP, .action = XDP_DROP,
         .verdict = STEER_V_DROP},
	{"unknown unicast, redirect", MAC_OTHER, .miss = STEER_REDIRECT, .action = XDP_REDIRECT,
         .verdict = STEER_V_REDIRECT},
	{"broadcast, pass", MAC_BCAST, .miss = STEER_PASS, .action = XDP_PASS,
         .verdict = STEER_V_PASS},
	{"broadcast, drop", MAC_BCAST, .miss = STEER_DROP, .action = XDP_REDIRECT,
         .verdict = STEER_V_GROUP, .has_meta = true, .meta_flags = STEER_META_GROUP},
	{"broadcast, drop, nobody serves", MAC_BCAST, .queue = QUEUE_EMPTY, .miss = STEER_DROP,
         .action = XDP_DROP, .verdict = STEER_V_DROP},
	{"broadcast, redirect", MAC_BCAST, .miss = STEER_REDIRECT, .action = XDP_REDIRECT,
         .verdict = STEER_V_GROUP, .has_meta = true, .meta_flags = STEER_META_GROUP},
	{"broadcast, redirect, nobody serves", MAC_BCAST, .queue = QUEUE_EMPTY,
         .miss = STEER_REDIRECT, .action = XDP_REDIRECT, .verdict = STEER_V_REDIRECT},
	{"tagged multicast, drop", MAC_MCAST, .tpid = 0x8100, .tci = 100, .miss = STEER_DROP,
         .action = XDP_REDIRECT, .verdict = STEER_V_GROUP, .has_meta = true,
         .meta_flags = STEER_META_GROUP | STEER_META_TAGGED},
	{"priority tagged multicast, drop", MAC_MCAST, .tpid = 0x8100, .tci = 0x2000,
         .miss = STEER_DROP, .action = XDP_REDIRECT, .verdict = STEER_V_GROUP, .has_meta = true,
         .meta_flags = STEER_META_GROUP},
	{"tag cut off", MAC_A, .tpid = 0x8100, .tci = 0, .len = 16, .action = XDP_DROP,
         .verdict = STEER_V_MALFORMED},
	{"tag cut off by one byte", MAC_BCAST, .tpid = 0x8100, .tci = 0, .len = 17,
         .miss = STEER_PASS, .action = XDP_DROP, .verdict = STEER_V_MALFORMED},
	{"tag and nothing behind it", MAC_B, .tpid = 0x8100, .tci = 100, .len = 18,
         .action = XDP_REDIRECT, .verdict = STEER_V_GUEST, .has_meta = true,
         .meta_flags = STEER_META_TAGGED, .port = PORT_B},
	{"header and nothing behind it", MAC_A, .len = 14, .action = XDP_REDIRECT,
         .verdict = STEER_V_GUEST, .has_meta = true, .port = PORT_A},
	{"frame in several buffers", MAC_A, .len = 9000, .action = XDP_REDIRECT,
         .verdict = STEER_V_GUEST, .has_meta = true, .port = PORT_A},
	{"metadata of somebody else is replaced", MAC_A, .meta_len = 16, .action = XDP_REDIRECT,
         .verdict = STEER_V_GUEST, .has_meta = true, .port = PORT_A},
	{"nearly the longest metadata is replaced", MAC_A, .meta_len = 212, .action = XDP_REDIRECT,
         .verdict = STEER_V_GUEST, .has_meta = true, .port = PORT_A},
	{"metadata as long as ours is replaced", MAC_BCAST, .meta_len = 8, .miss = STEER_DROP,
         .action = XDP_REDIRECT, .verdict = STEER_V_GROUP, .has_meta = true,
         .meta_flags = STEER_META_GROUP},
	{"dedicated", MAC_OTHER, .mode = STEER_MODE_DEDICATED, .action = XDP_REDIRECT,
         .verdict = STEER_V_GUEST, .port = PORT_DEDICATED},
	{"dedicated, broadcast with a tag", MAC_BCAST, .tpid = 0x8100, .tci = 9,
         .mode = STEER_MODE_DEDICATED, .action = XDP_REDIRECT, .verdict = STEER_V_GUEST,
         .port = PORT_DEDICATED},
	{"dedicated, address of a steered guest", MAC_A, .mode = STEER_MODE_DEDICATED,
         .action = XDP_REDIRECT, .verdict = STEER_V_GUEST, .port = PORT_DEDICATED},
	{"dedicated, nobody serves, pass", MAC_OTHER, .mode = STEER_MODE_DEDICATED,
         .queue = QUEUE_EMPTY, .no_daemon = STEER_PASS, .action = XDP_PASS,
         .verdict = STEER_V_GUEST_NO_DAEMON},
	{"dedicated, nobody serves, drop", MAC_OTHER, .mode = STEER_MODE_DEDICATED,
         .queue = QUEUE_EMPTY, .no_daemon = STEER_DROP, .action = XDP_DROP,
         .verdict = STEER_V_GUEST_NO_DAEMON},
	{"way back", MAC_A, .back = true, .action = XDP_REDIRECT, .verdict = STEER_V_BACK},
};

static struct steer *steer;
static struct xsk_queue *queue;

static void read_counters(struct steer_counter *verdicts, struct steer_counter *ports)
{
	static const uint32_t ids[] = {PORT_A, PORT_B, PORT_DEDICATED};

	assert_int_equal(steer_read_verdicts(steer, verdicts), 0);
	for (size_t i = 0; i < ARRAY_SIZE(ids); i++)
		assert_int_equal(steer_read_port(steer, ids[i], &ports[ids[i]]), 0);
}

static void expect_step(const char *what, const struct steer_counter *before,
                        const struct steer_counter *after, uint32_t n, uint32_t changed,
                        uint32_t len)
{
	for (uint32_t i = 0; i < n; i++) {
		uint64_t frames = i == changed ? 1 : 0;

		if (after[i].frames - before[i].frames != frames ||
		    after[i].bytes - before[i].bytes != frames * len)
			fail_msg("%s %u: %llu frames, %llu bytes more", what, i,
			         (unsigned long long)(after[i].frames - before[i].frames),
			         (unsigned long long)(after[i].bytes - before[i].bytes));
	}
}

/* Build the frame behind @meta_len bytes of somebody's metadata. Return: its length. */
static uint32_t build(const struct row *row, uint8_t *buf)
{
	uint32_t len = row->len ? row->len : 60;
	uint8_t frame[16384];

	netenv_frame(frame, len, row->dst, 3);
	if (row->tpid) {
		frame[12] = (uint8_t)(row->tpid >> 8);
		frame[13] = (uint8_t)row->tpid;
		frame[14] = (uint8_t)(row->tci >> 8);
		frame[15] = (uint8_t)row->tci;
	}
	memset(buf, 0xa5, row->meta_len);
	memcpy(buf + row->meta_len, frame, len);
	return len;
}

static void check_output(const struct row *row, const uint8_t *frame, uint32_t len,
                         const uint8_t *out, uint32_t out_len, uint32_t out_meta_len)
{
	struct steer_meta meta;
	uint32_t want_meta = row->has_meta ? sizeof(meta) : row->meta_len;

	assert_int_equal(out_meta_len, want_meta);
	assert_int_equal(out_len, want_meta + len);
	assert_memory_equal(out + out_meta_len, frame, len);
	if (!row->has_meta)
		return;
	memcpy(&meta, out, sizeof(meta));
	assert_int_equal(meta.magic, STEER_META_MAGIC);
	assert_int_equal(meta.flags, row->meta_flags);
	assert_int_equal(meta.port, row->port);
}

static void run_row(const struct row *row)
{
	struct steer_config config = {
		.mode = row->mode,
		.miss = row->miss,
		.no_daemon = row->no_daemon,
		.redirect_ifindex = if_nametoindex("vx1"),
		.dedicated_port = PORT_DEDICATED,
	};
	struct steer_counter v0[STEER_N_VERDICTS], v1[STEER_N_VERDICTS];
	struct steer_counter p0[PORT_DEDICATED + 1] = {0}, p1[PORT_DEDICATED + 1] = {0};
	uint8_t in[16384], out[16384 + 64];
	uint32_t len = build(row, in);
	struct xdp_md ctx_in = {
		.data = row->meta_len,
		.data_end = row->meta_len + len,
		.ingress_ifindex = if_nametoindex("vx0"),
		.rx_queue_index = row->queue,
	};
	struct xdp_md ctx_out = {0};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = in, .data_size_in = row->meta_len + len,
	            .data_out = out, .data_size_out = sizeof(out), .ctx_in = &ctx_in,
	            .ctx_size_in = sizeof(ctx_in), .ctx_out = &ctx_out,
	            .ctx_size_out = sizeof(ctx_out), .repeat = 1);

	assert_int_equal(steer_set_config(steer, &config), 0);
	read_counters(v0, p0);
	assert_int_equal(bpf_prog_test_run_opts(
				 steer->progs[row->back ? STEER_LINK_BACK : STEER_LINK_NIC], &opts),
	                 0);
	read_counters(v1, p1);
	assert_int_equal(opts.retval, row->action);
	expect_step("verdict", v0, v1, STEER_N_VERDICTS, row->verdict, len);
	expect_step("port", p0, p1, ARRAY_SIZE(p0), row->port ? row->port : UINT32_MAX, len);
	check_output(row, in + row->meta_len, len, out, opts.data_size_out, ctx_out.data);
}

/* Twice: the second time the program knows the address. */
static void test_row(void **state)
{
	run_row(*state);
	run_row(*state);
}

/* ------------------------------------------------------------------ addresses that move */

static void set_table(const struct steer_entry *entries, uint32_t n)
{
	struct steer_port_entry ports[] = {{.id = 1}, {.id = 2}, {.id = 3}};

	assert_int_equal(steer_set_table(steer, entries, n, ports, ARRAY_SIZE(ports)), 0);
}

/* The port to which a frame for the entry's address is steered; 0: none */
static uint32_t ask(struct steer_entry e)
{
	struct row row = {.tpid = 0x8100, .tci = e.key.vlan};
	uint8_t in[128], out[192];
	struct steer_meta meta;
	struct xdp_md ctx_in = {.ingress_ifindex = if_nametoindex("vx0"),
	                        .rx_queue_index = QUEUE_BOUND};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = in, .data_out = out,
	            .data_size_out = sizeof(out), .ctx_in = &ctx_in, .ctx_size_in = sizeof(ctx_in),
	            .repeat = 1);

	memcpy(row.dst, e.key.mac, sizeof(row.dst));
	opts.data_size_in = ctx_in.data_end = build(&row, in);
	assert_int_equal(bpf_prog_test_run_opts(steer->progs[STEER_LINK_NIC], &opts), 0);
	if (opts.retval != XDP_REDIRECT) {
		assert_int_equal(opts.retval, XDP_PASS);
		return 0;
	}
	memcpy(&meta, out, sizeof(meta));
	assert_int_equal(meta.magic, STEER_META_MAGIC);
	return meta.port;
}

static void run_on(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	assert_int_equal(sched_setaffinity(0, sizeof(set), &set), 0);
}

/* What a CPU has noted of an address holds until the table changes, and not a frame longer. */
static void test_owner_changes(void **state)
{
	const uint32_t owners[] = {1, 2, 0, 3, 1, 0, 2};
	const struct steer_config config = {.mode = STEER_MODE_STEERED, .miss = STEER_PASS};
	cpu_set_t all;

	(void)state;
	assert_int_equal(sched_getaffinity(0, sizeof(all), &all), 0);
	assert_int_equal(steer_set_config(steer, &config), 0);
	for (size_t i = 0; i < ARRAY_SIZE(owners); i++) {
		struct steer_entry e[] = {entry(1, 5, owners[i]), entry(2, 0, 3)};
		struct steer_entry other = entry(1, 6, 0);

		set_table(owners[i] ? e : e + 1, owners[i] ? 2 : 1);
		for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
			if (!CPU_ISSET(cpu, &all))
				continue;
			run_on(cpu);
			for (int twice = 0; twice < 2; twice++) {
				assert_int_equal(ask(e[0]), owners[i]);
				assert_int_equal(ask(e[1]), 3);
				assert_int_equal(ask(other), 0);
			}
		}
		assert_int_equal(sched_setaffinity(0, sizeof(all), &all), 0);
	}
}

/* More addresses than a CPU notes, known and unknown, in any order */
static void test_many_addresses(void **state)
{
	enum { N = 3000 };
	static struct steer_entry e[N];
	uint32_t random = 1;

	(void)state;
	for (uint32_t i = 0; i < N; i++)
		e[i] = entry(i * 2 / 3, i % 3 ? 0 : 7, 1 + i % 3);
	set_table(e, N);
	for (int i = 0; i < 20000; i++) {
		uint32_t k;

		random = random * 1664525 + 1013904223;
		k = (random >> 8) % N;
		if (random >> 31)
			k = k % 300 * 7 % N; /* these often */
		assert_int_equal(ask(e[k]), e[k].port);
		if (i % 8 == 0) {
			struct steer_entry stranger = e[k];

			stranger.key.vlan = 9;
			assert_int_equal(ask(stranger), 0);
		}
	}
}

/* Every verdict occurs in a row, so a new one cannot go untested. */
static void test_all_verdicts(void **state)
{
	(void)state;
	for (uint32_t v = 0; v < STEER_N_VERDICTS; v++) {
		bool seen = false;

		for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
			seen |= rows[i].verdict == v;
		if (!seen)
			fail_msg("no row for verdict %s", steer_verdict_name(v));
		assert_string_not_equal(steer_verdict_name(v), "unknown");
	}
	assert_string_equal(steer_verdict_name(STEER_N_VERDICTS), "unknown");
}

static int setup(void **state)
{
	const struct steer_entry entries[] = {
		{.key = {.mac = MAC_A, .vlan = 0}, .port = PORT_A},
		{.key = {.mac = MAC_B, .vlan = 100}, .port = PORT_B},
	};
	const struct steer_port_entry ports[] = {
		{.id = PORT_A, .port = {.name = "a", .n_macs = 1}},
		{.id = PORT_B, .port = {.name = "b", .vlan = 100, .n_macs = 1}},
		{.id = PORT_DEDICATED, .port = {.name = "d"}},
	};
	struct steer_params params = {.pin_dir = NETENV_PIN_DIR, .nic = "vx0"};
	struct xsk_queue_params qp = {.ring_size = 64, .frame_size = 2048, .bind_timeout_ms = 500};
	char *why = NULL;

	(void)state;
	netenv_veth("vx0", "vx1", 2, 1500);
	params.ifindex = qp.ifindex = if_nametoindex("vx0");
	if (steer_open(&params, &steer, &why) < 0) {
		fprintf(stderr, "steer_open: %s\n", why);
		return -1;
	}
	if (steer_set_table(steer, entries, ARRAY_SIZE(entries), ports, ARRAY_SIZE(ports)) < 0)
		return -1;
	if (xsk_queue_open(&qp, &queue, NULL) < 0)
		return -1;
	return steer_bind_queue(steer, QUEUE_BOUND, queue->rx_fd, STEER_QUEUE_COPY);
}

static int teardown(void **state)
{
	(void)state;
	xsk_queue_close(queue);
	steer_close(steer);
	return steer_unload(NETENV_PIN_DIR, "vx0");
}

int main(void)
{
	const struct CMUnitTest others[] = {
		cmocka_unit_test(test_all_verdicts),
		cmocka_unit_test(test_owner_changes),
		cmocka_unit_test(test_many_addresses),
	};
	struct CMUnitTest tests[ARRAY_SIZE(rows) + ARRAY_SIZE(others)];

	netenv_enter();
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		tests[i] = (struct CMUnitTest){
			.name = rows[i].name,
			.test_func = test_row,
			.initial_state = (void *)(uintptr_t)&rows[i],
		};
	memcpy(tests + ARRAY_SIZE(rows), others, sizeof(others));
	return cmocka_run_group_tests_name("verdicts", tests, setup, teardown);
}
