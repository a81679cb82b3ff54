/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_vhost_bad.c - what no honest front end sends, and what exactly comes of it
 *
 * After each attack an honest conversation must still work, on the same connection if the attack
 * was only refused, on the next one if it ended the connection; and the tear-down counts what was
 * left behind.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include "fake_fe.h"
#include "vhost_io.h"

/* What a well-formed request looks like. Sizes and descriptors as in the specification. */
static const struct shape {
	uint32_t id, size, size_max, fds_min, fds_max;
	bool ring_u32, ring_u64;
} shapes[] = {
	{.id = VHOST_MSG_GET_FEATURES},
	{.id = VHOST_MSG_SET_FEATURES, .size = 8},
	{.id = VHOST_MSG_SET_OWNER},
	{.id = VHOST_MSG_RESET_OWNER},
	{.id = VHOST_MSG_SET_MEM_TABLE, .size = 40, .size_max = 264, .fds_min = 1, .fds_max = 8},
	{.id = VHOST_MSG_SET_VRING_NUM, .size = 8, .ring_u32 = true},
	{.id = VHOST_MSG_SET_VRING_ADDR, .size = 40, .ring_u32 = true},
	{.id = VHOST_MSG_SET_VRING_BASE, .size = 8, .ring_u32 = true},
	{.id = VHOST_MSG_GET_VRING_BASE, .size = 8, .ring_u32 = true},
	{.id = VHOST_MSG_SET_VRING_KICK, .size = 8, .fds_max = 1, .ring_u64 = true},
	{.id = VHOST_MSG_SET_VRING_CALL, .size = 8, .fds_max = 1, .ring_u64 = true},
	{.id = VHOST_MSG_SET_VRING_ERR, .size = 8, .fds_max = 1, .ring_u64 = true},
	{.id = VHOST_MSG_GET_PROTOCOL_FEATURES},
	{.id = VHOST_MSG_SET_PROTOCOL_FEATURES, .size = 8},
	{.id = VHOST_MSG_GET_QUEUE_NUM},
	{.id = VHOST_MSG_SET_VRING_ENABLE, .size = 8, .ring_u32 = true},
	{.id = VHOST_MSG_NET_SET_MTU, .size = 8},
	{.id = VHOST_MSG_GET_INFLIGHT_FD, .size = 20, .size_max = 24},
	{.id = VHOST_MSG_SET_INFLIGHT_FD, .size = 20, .size_max = 24, .fds_min = 1, .fds_max = 1},
	{.id = VHOST_MSG_GET_MAX_MEM_SLOTS},
	{.id = VHOST_MSG_ADD_MEM_REG, .size = 40, .fds_min = 1, .fds_max = 1},
	{.id = VHOST_MSG_REM_MEM_REG, .size = 40, .fds_max = 1},
	{.id = VHOST_MSG_GET_CONFIG, .size = 12, .size_max = 268},
	{.id = VHOST_MSG_SET_CONFIG, .size = 12, .size_max = 268},
	{.id = VHOST_MSG_SET_STATUS, .size = 8},
	{.id = VHOST_MSG_GET_STATUS},
};

/* Every size that a request does not have */
static void wrong_sizes(void **state)
{
	struct rig *rig = *state;
	int fds[8];
	char word[64];

	for (int i = 0; i < 8; i++)
		fds[i] = rig->guest_fd;
	for (size_t i = 0; i < ARRAY_SIZE(shapes); i++) {
		const struct shape *s = &shapes[i];
		uint32_t max = s->size_max ? s->size_max : s->size;

		for (uint32_t size = 0; size <= 512; size += size < 48 ? 1 : 31) {
			uint8_t zeros[512] = {0};

			if (size >= s->size && size <= max)
				continue;
			rig_fresh(rig);
			fe_send(rig, s->id, 0, zeros, size, fds, s->fds_min);
			snprintf(word, sizeof(word), "payload of %u bytes, expected %u to %u", size,
			         s->size, max);
			rig_expect_end(rig, word);
		}
	}
	fe_honest(rig);
}

/* A table whose size and number of regions contradict each other */
static void mem_table_contradictions(void **state)
{
	struct rig *rig = *state;
	static const struct {
		uint32_t n_regions, size, n_fds;
	} rows[] = {
		{0, 40, 1},           {2, 40, 1},          {2, 40, 2},  {1, 72, 1},
		{1, 40, 2},           {2, 72, 1},          {1, 41, 1},  {1, 71, 1},
		{8, 264, 7},          {9, 264, 8},         {7, 264, 8}, {0xffffffff, 40, 1},
		{0x08000000, 264, 8}, {0x80000001, 40, 1},
	};
	int fds[8];

	for (int i = 0; i < 8; i++)
		fds[i] = rig->guest_fd;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct vhost_msg_mem_table t = {.n_regions = rows[i].n_regions};

		for (uint64_t r = 0; r < 8; r++)
			t.regions[r] = (struct vhost_region_desc){r << 20, 4096, r << 20, 0};
		rig_fresh(rig);
		fe_send(rig, VHOST_MSG_SET_MEM_TABLE, VHOST_HDR_NEED_REPLY, &t, rows[i].size, fds,
		        rows[i].n_fds);
		rig_expect_end(rig, "SET_MEM_TABLE");
	}
	fe_honest(rig);
}

/* More descriptors than a request takes, and fewer than it needs; bit 8 of KICK, CALL and ERR */
static void wrong_descriptors(void **state)
{
	struct rig *rig = *state;
	int event = make_eventfd(), fds[8];

	for (int i = 0; i < 8; i++)
		fds[i] = event;
	for (size_t i = 0; i < ARRAY_SIZE(shapes); i++) {
		const struct shape *s = &shapes[i];

		for (uint32_t n = 0; n <= 8; n++) {
			if (n >= s->fds_min && n <= s->fds_max)
				continue;
			rig_fresh(rig);
			fe_send(rig, s->id, 0, NULL, s->size, fds, n);
			rig_expect_end(rig, "file descriptors, expected");
		}
		if (!s->ring_u64)
			continue;
		rig_fresh(rig);
		fe_send(rig, s->id, 0, &(uint64_t){0}, 8, NULL, 0);
		rig_expect_end(rig, "contradicts");
		rig_fresh(rig);
		fe_send(rig, s->id, 0, &(uint64_t){VHOST_RING_FD_NONE}, 8, fds, 1);
		rig_expect_end(rig, "contradicts");
	}
	close(event);
	fe_honest(rig);
}

/* More descriptors than any request may bring: the kernel cuts, we close what we got. */
static void flood_of_descriptors(void **state)
{
	struct rig *rig = *state;
	int fds[253];
	uint32_t before;

	for (int i = 0; i < 253; i++)
		fds[i] = rig->guest_fd;
	for (uint32_t n = 9; n <= 253; n += 61) {
		rig_fresh(rig);
		before = count_fds();
		fe_send(rig, VHOST_MSG_SET_MEM_TABLE, 0, NULL, 264, fds, n);
		assert_int_equal(rig_receive(rig), -EPROTO);
		assert_warned(rig, "more file descriptors than allowed");
		vhost_dev_detach(rig->dev);
		assert_int_equal(count_fds(), before - 1);
		assert_true(fe_closed(rig));
		rig_attach(rig);
	}
	fe_honest(rig);
}

/* All bits of a ring's number count, also those that a narrow variable would lose. */
static void ring_out_of_range(void **state)
{
	struct rig *rig = *state;
	static const uint64_t indexes[] = {4,        5,          127,           128,   255,
	                                   256,      257,        65536,         65537, 1u << 24,
	                                   1u << 31, UINT32_MAX, UINT32_MAX - 3};
	static const uint64_t wide[] = {
		4,        255,        1u << 9,    1u << 16,
		1u << 31, 1ULL << 32, 1ULL << 63, UINT64_MAX & ~(uint64_t)VHOST_RING_FD_NONE};
	int event = make_eventfd();

	for (size_t i = 0; i < ARRAY_SIZE(shapes); i++) {
		const struct shape *s = &shapes[i];

		for (size_t k = 0; s->ring_u32 && k < ARRAY_SIZE(indexes); k++) {
			struct vhost_vring_addr a = {.index = (uint32_t)indexes[k]};

			rig_fresh(rig);
			fe_send(rig, s->id, VHOST_HDR_NEED_REPLY, &a, s->size, NULL, 0);
			rig_expect_end(rig, "there is no ring");
		}
		for (size_t k = 0; s->ring_u64 && k < ARRAY_SIZE(wide); k++) {
			uint64_t v = wide[k] | VHOST_RING_FD_NONE;

			rig_fresh(rig);
			fe_send(rig, s->id, 0, &wide[k], 8, &event, 1);
			rig_expect_end(rig, "there is no ring");
			rig_fresh(rig);
			fe_send(rig, s->id, 0, &v, 8, NULL, 0);
			rig_expect_end(rig, "there is no ring");
		}
	}
	close(event);
	fe_honest(rig);
}

/* Version, direction, length */
static void bad_headers(void **state)
{
	struct rig *rig = *state;
	static const struct {
		struct vhost_msg_hdr hdr;
		const char *word;
	} rows[] = {
		{{1, 0, 0}, "protocol version"},
		{{1, 2, 0}, "protocol version"},
		{{1, 3, 0}, "protocol version"},
		{{1, 0xfffffffc, 0}, "protocol version"},
		{{1, 5, 0}, "reply to a request"},
		{{2, 5, 8}, "reply to a request"},
		{{1, 1, 513}, "payload larger"},
		{{5, 1, 0x7fffffff}, "payload larger"},
		{{5, 1, 0xffffffff}, "payload larger"},
		{{0xffffffff, 1, 0xfffffff4}, "payload larger"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		rig_fresh(rig);
		assert_int_equal(write(rig->fe, &rows[i].hdr, 12), 12);
		rig_expect_end(rig, rows[i].word);
	}
	/* Reserved flags are ignored. */
	rig_fresh(rig);
	fe_send(rig, VHOST_MSG_GET_FEATURES, 0xfffffff0, NULL, 0, NULL, 0);
	assert_int_equal(rig_receive(rig), 0);
	fe_expect_reply(rig, VHOST_MSG_GET_FEATURES, &(uint64_t){0}, 8);
	fe_honest(rig);
}

/* Numbers that nobody has assigned, and requests of features that were not offered */
static void unknown_requests(void **state)
{
	struct rig *rig = *state;
	static const uint32_t ids[] = {0,
	                               45,
	                               46,
	                               63,
	                               64,
	                               65,
	                               127,
	                               1u << 16,
	                               1u << 31,
	                               UINT32_MAX,
	                               VHOST_MSG_SET_VRING_ENDIAN,
	                               VHOST_MSG_CLOSE_CRYPTO_SESSION,
	                               VHOST_MSG_GPU_SET_SOCKET,
	                               VHOST_MSG_RESET_DEVICE,
	                               VHOST_MSG_VRING_KICK};
	/* The front end waits for an answer that we do not have. */
	static const uint32_t hopeless[] = {
		VHOST_MSG_CREATE_CRYPTO_SESSION, VHOST_MSG_GET_SHARED_OBJECT,
		VHOST_MSG_SET_DEVICE_STATE_FD,   VHOST_MSG_CHECK_DEVICE_STATE,
		VHOST_MSG_GET_SHMEM_CONFIG,
	};
	int fds[8];
	uint32_t before;

	for (int i = 0; i < 8; i++)
		fds[i] = rig->guest_fd;
	rig_fresh(rig);
	before = count_fds();
	for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
		rig_fresh(rig);
		fe_set(rig, ids[i], NULL, 0, NULL, 0);
		assert_int_equal(rig->n_warn, 1);
		assert_warned(rig, "ignored");
		fe_set(rig, ids[i], NULL, 512, fds, 8);
		fe_set(rig, ids[i], NULL, 24, fds, 1);
		assert_int_equal(rig->n_warn, 1); /* once per connection */
		assert_int_equal(fe_ask(rig, ids[i], NULL, 8, fds, 2), 1);
		assert_int_equal(count_fds(), before);
		fe_honest(rig);
	}
	for (size_t i = 0; i < ARRAY_SIZE(hopeless); i++) {
		rig_fresh(rig);
		fe_send(rig, hopeless[i], 0, NULL, 16, fds, 1);
		rig_expect_end(rig, "waits for an answer");
	}
	fe_honest(rig);
}

/* Requests whose protocol feature was offered and not taken */
static void not_negotiated(void **state)
{
	struct rig *rig = *state;
	static const uint32_t answered[] = {VHOST_MSG_GET_QUEUE_NUM, VHOST_MSG_GET_MAX_MEM_SLOTS,
	                                    VHOST_MSG_GET_STATUS,    VHOST_MSG_GET_INFLIGHT_FD,
	                                    VHOST_MSG_GET_CONFIG,    VHOST_MSG_POSTCOPY_ADVISE,
	                                    VHOST_MSG_POSTCOPY_END};
	static const uint32_t silent[] = {VHOST_MSG_NET_SET_MTU,     VHOST_MSG_ADD_MEM_REG,
	                                  VHOST_MSG_REM_MEM_REG,     VHOST_MSG_SET_STATUS,
	                                  VHOST_MSG_SET_INFLIGHT_FD, VHOST_MSG_SET_CONFIG,
	                                  VHOST_MSG_POSTCOPY_LISTEN};

	for (size_t i = 0; i < ARRAY_SIZE(answered); i++) {
		rig_fresh(rig);
		fe_set_u64(rig, VHOST_MSG_SET_PROTOCOL_FEATURES, 0);
		fe_send(rig, answered[i], 0, NULL, 0, NULL, 0);
		rig_expect_end(rig, "was not negotiated");
	}
	for (size_t i = 0; i < ARRAY_SIZE(silent); i++) {
		rig_fresh(rig);
		fe_set_u64(rig, VHOST_MSG_SET_PROTOCOL_FEATURES, VHOST_BIT(VHOST_PROTO_REPLY_ACK));
		fe_set(rig, silent[i], NULL, 40, &rig->guest_fd, 1);
		assert_int_equal(rig->n_warn, 1);
		assert_warned(rig, "was not negotiated; ignored");
		assert_int_equal(fe_ask(rig, silent[i], NULL, 8, NULL, 0), 1);
		assert_null(vhost_dev_mem(rig->dev));
		assert_int_equal(vhost_dev_mtu(rig->dev), 0);
		fe_honest(rig);
	}
}

/* Bits that were not offered: refused if we may say so, else the connection ends. */
static void unoffered_features(void **state)
{
	struct rig *rig = *state;
	static const uint64_t bits[] = {1ULL << 42, 1ULL << 43, 1, 1ULL << 63, UINT64_MAX};
	static const uint64_t protocol[] = {1ULL << 6, 1ULL << 14, 1ULL << 63, UINT64_MAX};

	for (size_t i = 0; i < ARRAY_SIZE(bits); i++) {
		rig_fresh(rig);
		assert_int_equal(fe_ask(rig, VHOST_MSG_SET_FEATURES, &bits[i], 8, NULL, 0), 1);
		assert_warned(rig, "SET_FEATURES: not offered");
		assert_int_equal(vhost_dev_features(rig->dev), fe_features());
		fe_honest(rig);
		rig_fresh(rig);
		fe_send(rig, VHOST_MSG_SET_FEATURES, 0, &bits[i], 8, NULL, 0);
		assert_int_equal(rig_receive(rig), -EPROTO);
		assert_int_equal(rig->n_warn, 2);
	}
	for (size_t i = 0; i < ARRAY_SIZE(protocol); i++) {
		rig_fresh(rig);
		assert_int_equal(
			fe_ask(rig, VHOST_MSG_SET_PROTOCOL_FEATURES, &protocol[i], 8, NULL, 0), 1);
		assert_warned(rig, "SET_PROTOCOL_FEATURES: not offered");
		rig_fresh(rig);
		fe_send(rig, VHOST_MSG_SET_PROTOCOL_FEATURES, 0, &protocol[i], 8, NULL, 0);
		assert_int_equal(rig_receive(rig), -EPROTO);
	}
}

/* Well-formed, but senseless: refused, and the connection goes on. */
static void refused_values(void **state)
{
	struct rig *rig = *state;
	static const struct {
		uint32_t id, size;
		union {
			uint64_t u64;
			struct vhost_vring_state state;
			struct vhost_vring_addr addr;
		} p;
		const char *word;
	} rows[] = {
		{VHOST_MSG_NET_SET_MTU, 8, {.u64 = 0}, "not within"},
		{VHOST_MSG_NET_SET_MTU, 8, {.u64 = 67}, "not within"},
		{VHOST_MSG_NET_SET_MTU, 8, {.u64 = RIG_MAX_MTU + 1}, "not within"},
		{VHOST_MSG_NET_SET_MTU, 8, {.u64 = 65536 + 1500}, "not within"},
		{VHOST_MSG_NET_SET_MTU, 8, {.u64 = UINT64_MAX}, "not within"},
		{VHOST_MSG_SET_STATUS, 8, {.u64 = 256}, "no device status"},
		{VHOST_MSG_SET_STATUS, 8, {.u64 = 1ULL << 32}, "no device status"},
		{VHOST_MSG_SET_VRING_NUM, 8, {.state = {1, 0}}, "power of two"},
		{VHOST_MSG_SET_VRING_NUM, 8, {.state = {1, 100}}, "size 100 is not a power of two"},
		{VHOST_MSG_SET_VRING_NUM, 8, {.state = {1, 65536}}, "power of two"},
		{VHOST_MSG_SET_VRING_NUM, 8, {.state = {1, 1u << 31}}, "power of two"},
		{VHOST_MSG_SET_VRING_BASE, 8, {.state = {1, 65536}}, "no index of a split ring"},
		{VHOST_MSG_SET_VRING_BASE, 8, {.state = {1, 0x80008000}}, "no index"},
		{VHOST_MSG_SET_VRING_ENABLE, 8, {.state = {1, 2}}, "neither 0 nor 1"},
		{VHOST_MSG_SET_VRING_ENABLE, 8, {.state = {1, UINT32_MAX}}, "neither 0 nor 1"},
		{VHOST_MSG_SET_VRING_ADDR, 40, {.addr = {1, 0, 8, 0, 0, 0}}, "not aligned"},
		{VHOST_MSG_SET_VRING_ADDR, 40, {.addr = {1, 0, 0, 2, 0, 0}}, "not aligned"},
		{VHOST_MSG_SET_VRING_ADDR, 40, {.addr = {1, 0, 0, 0, 1, 0}}, "not aligned"},
		{VHOST_MSG_REM_MEM_REG, 40, {.u64 = 0}, "no region"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		rig_fresh(rig);
		assert_int_equal(fe_ask(rig, rows[i].id, &rows[i].p, rows[i].size, NULL, 0), 1);
		assert_int_equal(rig->n_warn, 1);
		assert_warned(rig, rows[i].word);
		fe_set(rig, rows[i].id, &rows[i].p, rows[i].size, NULL, 0);
		assert_int_equal(rig->n_warn, 2);
		assert_int_equal(vhost_dev_mtu(rig->dev), 0);
		assert_int_equal(vhost_dev_status(rig->dev), 0);
		assert_int_equal(vhost_dev_vq(rig->dev, 1)->size, 0);
		assert_int_equal(vhost_dev_vq(rig->dev, 1)->base, 0);
		assert_false(vhost_dev_vq(rig->dev, 1)->addr_set);
		assert_false(vhost_dev_vq(rig->dev, 1)->enable_wanted);
		fe_honest(rig);
	}
}

/* Memory that cannot be had: refused, what was there before stays in use. */
static void refused_memory(void **state)
{
	struct rig *rig = *state;
	int event = make_eventfd(), tiny = make_memfd(4096),
	    fds[2] = {rig->guest_fd, rig->guest_fd};
	struct vhost_msg_mem_table t = {.n_regions = 2};
	struct vhost_msg_mem_region r = {0};
	const struct vhost_mem *mem;
	uint32_t maps;

	rig_fresh(rig);
	fe_mem_table(rig);
	mem = vhost_dev_mem(rig->dev);
	maps = count_memfd_mappings();
	close_ring_fds(fe_start_ring(rig, 1, 256, 0));

	t.regions[0] = (struct vhost_region_desc){0, 4096, 0, 0};
	t.regions[1] = (struct vhost_region_desc){0, 4096, 4096, 0};
	assert_int_equal(fe_ask(rig, VHOST_MSG_SET_MEM_TABLE, &t, 72, fds, 2), 1);
	assert_warned(rig, "SET_MEM_TABLE: memory regions overlap");
	t.regions[1].gpa = 4096;
	fds[1] = event;
	assert_int_equal(fe_ask(rig, VHOST_MSG_SET_MEM_TABLE, &t, 72, fds, 2), 1);
	assert_warned(rig, "not a file");
	t.regions[1].size = 4097;
	fds[1] = tiny;
	assert_int_equal(fe_ask(rig, VHOST_MSG_SET_MEM_TABLE, &t, 72, fds, 2), 1);
	assert_warned(rig, "shorter");
	r.region = (struct vhost_region_desc){RIG_GPA + RIG_GUEST_SIZE - 1, 4096, 0, 0};
	assert_int_equal(fe_ask(rig, VHOST_MSG_ADD_MEM_REG, &r, sizeof(r), &tiny, 1), 1);
	assert_warned(rig, "ADD_MEM_REG: memory regions overlap");
	fe_set(rig, VHOST_MSG_ADD_MEM_REG, &r, sizeof(r), &tiny, 1); /* nobody asked; goes on */

	assert_ptr_equal(vhost_dev_mem(rig->dev), mem);
	assert_int_equal(count_memfd_mappings(), maps);
	assert_non_null(vhost_vq_get_map(vhost_dev_vq(rig->dev, 1)));
	close(event);
	close(tiny);
}

/* Descriptors that are no eventfds: a worker would block in them, or write into a file. */
static void descriptors_of_other_kinds(void **state)
{
	struct rig *rig = *state;
	static const uint32_t ids[] = {VHOST_MSG_SET_VRING_KICK, VHOST_MSG_SET_VRING_CALL,
	                               VHOST_MSG_SET_VRING_ERR};
	int sv[2], pipes[2], file = memfd_create("anon_inode:[eventfd]", MFD_CLOEXEC);
	int null = open("/dev/null", O_RDWR | O_CLOEXEC), path = open("/", O_PATH | O_CLOEXEC);

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	const int fds[] = {sv[0], pipes[0], pipes[1], file, null, path, rig->fe};

	for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
		for (size_t k = 0; k < ARRAY_SIZE(fds); k++) {
			rig_fresh(rig);
			assert_int_equal(fe_ask(rig, ids[i], &(uint64_t){1}, 8,
			                        k + 1 < ARRAY_SIZE(fds) ? &fds[k] : &rig->fe, 1),
			                 1);
			assert_warned(rig, "is not an eventfd");
			assert_int_equal(vhost_dev_vq(rig->dev, 1)->kick_fd, -1);
			assert_int_equal(vhost_dev_vq(rig->dev, 1)->call_fd, -1);
			assert_int_equal(vhost_dev_vq(rig->dev, 1)->err_fd, -1);
		}
		fe_honest(rig);
	}
	for (size_t k = 0; k + 1 < ARRAY_SIZE(fds); k++)
		close(fds[k]);
	close(sv[1]);
}

/* The same message again and again: nothing may pile up. */
static void repetitions(void **state)
{
	struct rig *rig = *state;
	int event = make_eventfd();
	uint32_t fds, maps;
	struct vhost_msg_mem_region r = {0};

	rig_fresh(rig);
	for (int round = 0; round < 300; round++) {
		for (uint32_t i = 0; i < 4; i++) {
			fe_ring_fd(rig, VHOST_MSG_SET_VRING_KICK, i, event);
			fe_ring_fd(rig, VHOST_MSG_SET_VRING_CALL, i, event);
			fe_ring_fd(rig, VHOST_MSG_SET_VRING_ERR, i, event);
			fe_ring_state(rig, VHOST_MSG_SET_VRING_NUM, i, 1u << round % 9);
			fe_ring_addr(rig, i);
			fe_get_base(rig, i);
			fe_ring_fd(rig, VHOST_MSG_SET_VRING_CALL, i, event);
		}
		fe_mem_table(rig);
		if (round == 5) {
			fds = count_fds();
			maps = count_memfd_mappings();
		} else if (round > 5) {
			assert_int_equal(count_fds(), fds);
			assert_int_equal(count_memfd_mappings(), maps);
		}
		rig_region(&r.region);
		assert_int_equal(fe_ask(rig, VHOST_MSG_REM_MEM_REG, &r, sizeof(r), NULL, 0), 0);
		assert_int_equal(
			fe_ask(rig, VHOST_MSG_ADD_MEM_REG, &r, sizeof(r), &rig->guest_fd, 1), 0);
	}
	close(event);
}

/* ---- anything at all ---- */

static uint64_t rng_state = 0x9e3779b97f4a7c15;

static uint32_t rng(uint32_t below)
{
	rng_state ^= rng_state << 13;
	rng_state ^= rng_state >> 7;
	rng_state ^= rng_state << 17;
	return (uint32_t)(rng_state >> 32) % below;
}

static void random_payload(union vhost_msg_payload *p, uint32_t id)
{
	static const uint32_t interesting[] = {0,   1,    2,     3,     4,     8,
	                                       256, 1024, 32768, 65535, 65536, UINT32_MAX};

	memset(p, 0, sizeof(*p));
	switch (id) {
	case VHOST_MSG_SET_MEM_TABLE:
		p->table.n_regions = 1 + rng(2);
		for (uint32_t i = 0; i < p->table.n_regions; i++)
			p->table.regions[i] = (struct vhost_region_desc){
				RIG_GPA + i * 0x200000ULL, 0x1000ULL << rng(11),
				RIG_UVA + i * 0x200000ULL, 0x1000ULL * rng(4)};
		break;
	case VHOST_MSG_ADD_MEM_REG:
	case VHOST_MSG_REM_MEM_REG:
		p->region.region =
			(struct vhost_region_desc){RIG_GPA + rng(4) * 0x100000ULL, 0x100000,
		                                   RIG_UVA + rng(4) * 0x100000ULL, 0};
		break;
	case VHOST_MSG_SET_VRING_ADDR:
		rig_ring_addr(rng(4), &p->addr);
		p->addr.index = rng(4);
		if (rng(8) == 0)
			p->addr.used_user_addr += 1ULL << rng(40);
		break;
	case VHOST_MSG_SET_FEATURES:
		p->u64 = fe_features() & ((uint64_t)rng(UINT32_MAX) << 15 | rng(65536));
		break;
	case VHOST_MSG_SET_PROTOCOL_FEATURES:
		p->u64 = fe_protocol_features();
		break;
	case VHOST_MSG_GET_CONFIG:
	case VHOST_MSG_SET_CONFIG:
		p->config.offset = rng(300);
		break;
	case VHOST_MSG_SET_VRING_KICK:
	case VHOST_MSG_SET_VRING_CALL:
	case VHOST_MSG_SET_VRING_ERR:
		p->u64 = rng(4);
		break;
	default:
		p->state.index = rng(4);
		p->state.num = interesting[rng(ARRAY_SIZE(interesting))];
		break;
	}
}

static void check_everything(struct rig *rig)
{
	for (uint16_t i = 0; i < 4; i++) {
		struct vhost_vq *vq = vhost_dev_vq(rig->dev, i);
		const struct vhost_vq_map *map = vhost_vq_get_map(vq);

		assert_int_equal(map != NULL, vq->started);
		assert_false(vq->stopping);
		assert_true(vq->kick_set || vq->kick_fd == -1);
		if (!map)
			continue;
		assert_ptr_equal(map->mem, vhost_dev_mem(rig->dev));
		assert_int_equal(map->call_fd, vq->call_fd);
		/* Every byte of the ring is there. */
		(void)__atomic_load_n(&map->desc[map->size - 1].next, __ATOMIC_RELAXED);
		(void)ring_load_relaxed16(&map->avail->ring[map->size]);
		(void)ring_load_relaxed16(&map->used->ring[map->size]);
	}
}

static void random_messages(void **state)
{
	struct rig *rig = *state;
	int event = make_eventfd();
	char drain[4096];
	uint32_t ended = 0, ran = 0;

	rig_fresh(rig);
	for (int i = 0; i < 60000; i++) {
		const struct shape *s = &shapes[rng(ARRAY_SIZE(shapes))];
		union vhost_msg_payload p;
		uint32_t size = s->size, n_fds = s->fds_max == 0 ? 0 : 1;
		int fds[8];

		random_payload(&p, s->id);
		if (s->id == VHOST_MSG_SET_MEM_TABLE) {
			n_fds = p.table.n_regions;
			size = 8 + 32 * n_fds;
		}
		if (s->ring_u64 && rng(4) == 0) {
			p.u64 |= VHOST_RING_FD_NONE;
			n_fds = 0;
		}
		for (int k = 0; k < 8; k++)
			fds[k] = s->ring_u64 ? event : rig->guest_fd;
		if (rng(500) == 0)
			n_fds = rng(9);
		if (rng(500) == 0)
			size = rng(300);
		fe_send(rig, s->id, rng(2) ? VHOST_HDR_NEED_REPLY : 0, &p, size, fds, n_fds);
		if (rig_receive(rig) < 0) {
			ended++;
			vhost_dev_detach(rig->dev);
			rig_attach(rig);
			fe_negotiate(rig, fe_features());
		}
		while (recv(rig->fe, drain, sizeof(drain), 0) > 0)
			;
		if (rng(50) == 0)
			vhost_vq_fail(vhost_dev_vq(rig->dev, (uint16_t)rng(4)), VHOST_VQ_BAD_CHAIN);
		if (rng(10) == 0)
			vhost_dev_report_faults(rig->dev);
		for (uint16_t k = 0; k < 4; k++) {
			struct vhost_vq *vq = vhost_dev_vq(rig->dev, k);

			if (vq->started && atomic_load(&vq->fault))
				vhost_dev_report_faults(rig->dev);
		}
		check_everything(rig);
		ran += vhost_dev_get_state(rig->dev) == VHOST_DEV_RUNNING;
	}
	/* The dice must have been good for something. */
	assert_in_range(ended, 50, 20000);
	assert_in_range(ran, 1000, 60000);
	close(event);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)
	const struct CMUnitTest tests[] = {
		T(wrong_sizes),          T(mem_table_contradictions), T(wrong_descriptors),
		T(flood_of_descriptors), T(ring_out_of_range),        T(bad_headers),
		T(unknown_requests),     T(not_negotiated),           T(unoffered_features),
		T(refused_values),       T(refused_memory),           T(descriptors_of_other_kinds),
		T(repetitions),          T(random_messages),
	};
	return cmocka_run_group_tests_name("vhost_bad", tests, NULL, NULL);
}
