/* SPDX-License-Identifier: BSD-2-Clause */
/* test_vhost_log.c - the dirty log as a front end sees it: shared, switched on and off, replaced */
#include <sys/mman.h>
#include "fake_fe.h"
#include "vhost_log.h"
#include "vhost_ring.h"

#define LOG_ALL   VHOST_BIT(VHOST_F_LOG_ALL)
#define ALL       fe_features()
#define LOG_BYTES ((RIG_GPA + RIG_GUEST_SIZE) / VHOST_LOG_PAGE / 8)

static const struct vhost_vq_map *map_of(struct rig *rig, uint16_t i)
{
	return vhost_vq_get_map(vhost_dev_vq(rig->dev, i));
}

/* SET_LOG_BASE; the answer is the request, all 16 bytes of it. */
static void fe_log_base(struct rig *rig, int fd, uint64_t size, uint64_t offset)
{
	struct vhost_msg_log l = {.mmap_size = size, .mmap_offset = offset}, answer;

	fe_send(rig, VHOST_MSG_SET_LOG_BASE, 0, &l, sizeof(l), &fd, 1);
	assert_int_equal(rig_receive(rig), 0);
	fe_expect_reply(rig, VHOST_MSG_SET_LOG_BASE, &answer, sizeof(answer));
	assert_memory_equal(&answer, &l, sizeof(l));
	fe_expect_nothing(rig);
}

static uint64_t fe_ask_features(struct rig *rig, uint64_t bits)
{
	return fe_ask(rig, VHOST_MSG_SET_FEATURES, &bits, sizeof(bits), NULL, 0);
}

static struct ring_fds start(struct rig *rig)
{
	fe_negotiate(rig, ALL & ~LOG_ALL);
	fe_mem_table(rig);
	return fe_start_ring(rig, 0, 256, 0);
}

static uint8_t *map_log(int fd, uint64_t size)
{
	uint8_t *bits = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	assert_true(bits != MAP_FAILED);
	return bits;
}

static uint64_t count_bits(const uint8_t *bits, uint64_t size)
{
	uint64_t n = 0;

	for (uint64_t i = 0; i < size; i++)
		n += (uint64_t)__builtin_popcount(bits[i]);
	return n;
}

static bool bit(const uint8_t *bits, uint64_t gpa)
{
	return bits[gpa / VHOST_LOG_PAGE / 8] >> gpa / VHOST_LOG_PAGE % 8 & 1;
}

static void ranges(void **state)
{
	static const struct {
		uint64_t gpa, len, first, n;
	} rows[] = {
		{0, 1, 0, 1},
		{4095, 1, 0, 1},
		{4095, 2, 0, 2},
		{4096, 4096, 1, 1},
		{4096, 4097, 1, 2},
		{7 * 4096 + 1, 2 * 4096, 7, 3},
		{0, 0, 0, 0},
		{127 * 4096, 4096, 127, 1},
		{127 * 4096, 8192, 127, 1}, /* behind the end: left out */
		{128 * 4096, 1, 0, 0},
		{UINT64_MAX, 1, 0, 0},
		{UINT64_MAX, UINT64_MAX, 0, 0},
		{126 * 4096, UINT64_MAX, 126, 2},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		uint8_t bits[18] = {0};
		struct vhost_log log = {.bits = bits + 1, .size = 16};

		vhost_log_mark(&log, rows[i].gpa, rows[i].len);
		assert_int_equal(count_bits(bits, sizeof(bits)), rows[i].n);
		for (uint64_t k = 0; k < rows[i].n; k++)
			assert_true(bit(bits + 1, (rows[i].first + k) * 4096));
	}
	{
		struct vhost_log log = {.size = 16};

		assert_true(vhost_log_covers(&log, 0, 128 * 4096));
		assert_false(vhost_log_covers(&log, 0, 128 * 4096 + 1));
		assert_false(vhost_log_covers(&log, 128 * 4096, 1));
		assert_false(vhost_log_covers(&log, UINT64_MAX, 2));
		assert_false(vhost_log_covers(&log, 4096, UINT64_MAX));
	}
}

/* As QEMU does it, all on a running ring; and once more, and with a larger log */
static void on_and_off(void **state)
{
	struct rig *rig = *state;
	struct ring_fds fds = start(rig);
	int fd = make_memfd(LOG_BYTES), larger = make_memfd(8 * LOG_BYTES);
	uint8_t *bits = map_log(fd, LOG_BYTES), *more = map_log(larger, 8 * LOG_BYTES);
	struct vhost_vring_addr a;

	for (int i = 0; i < 3; i++) {
		fe_log_base(rig, fd, LOG_BYTES, 0);
		assert_null(map_of(rig, 0)->log);
		assert_int_equal(fe_ask_features(rig, ALL), 0);
		assert_non_null(map_of(rig, 0)->log);
		assert_int_equal(map_of(rig, 0)->log_used_gpa, RIG_GPA + RIG_USED);
		rig_ring_addr(0, &a);
		a.flags = 1 << VHOST_VRING_F_LOG;
		assert_int_equal(fe_ask(rig, VHOST_MSG_SET_VRING_ADDR, &a, sizeof(a), NULL, 0), 0);

		memset(bits, 0, LOG_BYTES);
		vhost_vq_wrote_used(map_of(rig, 0), map_of(rig, 0)->used, 2);
		assert_int_equal(count_bits(bits, LOG_BYTES), 1);
		assert_true(bit(bits, RIG_GPA + RIG_USED));

		fe_log_base(rig, larger, 8 * LOG_BYTES, 0);
		memset(more, 0, 8 * LOG_BYTES);
		vhost_vq_wrote_used(map_of(rig, 0), map_of(rig, 0)->used, 2);
		assert_int_equal(count_bits(bits, LOG_BYTES), 1);
		assert_int_equal(count_bits(more, 8 * LOG_BYTES), 1);

		assert_int_equal(fe_ask_features(rig, ALL & ~LOG_ALL), 0);
		assert_null(map_of(rig, 0)->log);
	}
	assert_int_equal(fe_get_base(rig, 0), 0);
	munmap(bits, LOG_BYTES);
	munmap(more, 8 * LOG_BYTES);
	close(fd);
	close(larger);
	close_ring_fds(fds);
}

/* Nobody may hold the old log any more when the front end has its answer. */
static void look_at_old_log(struct rig *rig)
{
	const struct vhost_log *old = rig->hook_data;

	vhost_log_mark(old, RIG_GPA, 1); /* still mapped */
	assert_ptr_not_equal(map_of(rig, 0)->log, old);
	fe_expect_nothing(rig);
	rig->hook_data = NULL;
	rig->on_quiesce = NULL;
}

static void replaced_after_quiescence(void **state)
{
	struct rig *rig = *state;
	struct ring_fds fds = start(rig);
	int fd = make_memfd(LOG_BYTES);

	fe_log_base(rig, fd, LOG_BYTES, 0);
	fe_set_u64(rig, VHOST_MSG_SET_FEATURES, ALL);
	rig->hook_data = (void *)(uintptr_t)map_of(rig, 0)->log;
	rig->on_quiesce = look_at_old_log;
	fe_log_base(rig, fd, LOG_BYTES, 0);
	assert_null(rig->hook_data);
	close(fd);
	close_ring_fds(fds);
}

/* "log_guest_addr ... might be outside the legal guest physical address range" */
static void used_ring_logged_elsewhere(void **state)
{
	struct rig *rig = *state;
	struct ring_fds fds = start(rig);
	uint64_t size = 2 * LOG_BYTES, elsewhere = (2 * LOG_BYTES - 1) * 8 * VHOST_LOG_PAGE;
	int fd = make_memfd(size);
	const struct vhost_vq_map *before;
	struct vhost_vring_addr a;

	fe_log_base(rig, fd, size, 0);
	fe_set_u64(rig, VHOST_MSG_SET_FEATURES, ALL);
	rig_ring_addr(0, &a);
	a.log_guest_addr = elsewhere;
	fe_set(rig, VHOST_MSG_SET_VRING_ADDR, &a, sizeof(a), NULL, 0);
	assert_int_equal(map_of(rig, 0)->log_used_gpa, RIG_GPA + RIG_USED); /* flag is not set */
	a.flags = 1 << VHOST_VRING_F_LOG;
	fe_set(rig, VHOST_MSG_SET_VRING_ADDR, &a, sizeof(a), NULL, 0);
	assert_int_equal(map_of(rig, 0)->log_used_gpa, elsewhere);

	/* "... but the bit offset of the last byte of the ring must fall within the size" */
	before = map_of(rig, 0);
	a.log_guest_addr = size * 8 * VHOST_LOG_PAGE - (6 + 8 * 256) + 1;
	assert_int_equal(fe_ask(rig, VHOST_MSG_SET_VRING_ADDR, &a, sizeof(a), NULL, 0), 1);
	assert_warned(rig, "outside the dirty log");
	assert_ptr_equal(map_of(rig, 0), before);
	a.log_guest_addr = UINT64_MAX;
	assert_int_equal(fe_ask(rig, VHOST_MSG_SET_VRING_ADDR, &a, sizeof(a), NULL, 0), 1);
	a.log_guest_addr = size * 8 * VHOST_LOG_PAGE - (6 + 8 * 256);
	assert_int_equal(fe_ask(rig, VHOST_MSG_SET_VRING_ADDR, &a, sizeof(a), NULL, 0), 0);
	close(fd);
	close_ring_fds(fds);
}

/* Packed: used descriptors by the memory table, the event structure where the front end says */
static void packed_ring(void **state)
{
	struct rig *rig = *state;
	const uint16_t size = 600; /* descriptors on three pages */
	const uint64_t desc = RIG_GPA + RIG_DESC, event = 123 * VHOST_LOG_PAGE;
	int fd = make_memfd(LOG_BYTES);
	uint8_t *bits = map_log(fd, LOG_BYTES);
	const struct vhost_vq_map *map;
	struct vhost_vring_addr a;
	struct ring_fds fds;
	struct vhost_vq *vq;

	fe_negotiate(rig, ALL | VHOST_BIT(VIRTIO_F_RING_PACKED));
	fe_log_base(rig, fd, LOG_BYTES, 0);
	fe_mem_table(rig);
	fds = fe_start_ring(rig, 0, size, 0x8000);
	rig_ring_addr(0, &a);
	a.flags = 1 << VHOST_VRING_F_LOG;
	a.log_guest_addr = event;
	fe_set(rig, VHOST_MSG_SET_VRING_ADDR, &a, sizeof(a), NULL, 0);
	map = map_of(rig, 0);
	vq = vhost_dev_vq(rig->dev, 0);
	assert_true(map->packed && map->log);

	memset(bits, 0, LOG_BYTES);
	vhost_ring_want_kicks(vq, map);
	assert_int_equal(count_bits(bits, LOG_BYTES), 1);
	assert_true(bit(bits, event));
	memset(bits, 0, LOG_BYTES);
	vhost_packed_no_kicks(vq, map);
	assert_int_equal(count_bits(bits, LOG_BYTES), 1);
	assert_true(bit(bits, event));

	for (uint32_t slot = 0, n = 0; slot < 5u * size; slot += n) {
		uint64_t pages[3] = {0};

		n = 1 + slot % 37 * 8;
		memset(bits, 0, LOG_BYTES);
		for (uint32_t i = 0; i < n; i++) {
			vhost_packed_take(vq, map, 1, 64);
			pages[(slot + i) % size / 256] = 1;
		}
		vhost_packed_publish(vq, map);
		vhost_packed_notify(vq, map);
		for (uint32_t i = 0; i < 3; i++)
			assert_int_equal(bit(bits, desc + i * VHOST_LOG_PAGE), pages[i]);
		assert_int_equal(count_bits(bits, LOG_BYTES), pages[0] + pages[1] + pages[2]);
	}
	munmap(bits, LOG_BYTES);
	close(fd);
	close_ring_fds(fds);
}

static void too_small(void **state)
{
	struct rig *rig = *state;
	struct ring_fds fds = start(rig);
	struct vhost_msg_mem_region r = {.region = {.gpa = RIG_GPA + RIG_GUEST_SIZE,
	                                            .size = RIG_GUEST_SIZE,
	                                            .uva = RIG_UVA + RIG_GUEST_SIZE}};
	int fd = make_memfd(2 * LOG_BYTES);

	fe_log_base(rig, fd, LOG_BYTES - 1, 0);
	assert_int_equal(fe_ask_features(rig, ALL), 1);
	assert_warned(rig, "SET_FEATURES: a dirty log");
	assert_false(vhost_dev_features(rig->dev) & LOG_ALL);
	assert_null(map_of(rig, 0)->log);

	/* Memory grows: the log has to grow first. */
	fe_log_base(rig, fd, LOG_BYTES, 0);
	assert_int_equal(fe_ask_features(rig, ALL), 0);
	assert_int_equal(fe_ask(rig, VHOST_MSG_ADD_MEM_REG, &r, sizeof(r), &rig->guest_fd, 1), 1);
	assert_warned(rig, "ADD_MEM_REG: a dirty log");
	assert_int_equal(vhost_dev_mem(rig->dev)->n_regions, 1);
	fe_log_base(rig, fd, 2 * LOG_BYTES, 0);
	assert_int_equal(fe_ask(rig, VHOST_MSG_ADD_MEM_REG, &r, sizeof(r), &rig->guest_fd, 1), 0);
	assert_non_null(map_of(rig, 0)->log);
	close(fd);
	close_ring_fds(fds);
	rig->n_warn = 0;
	{
		struct vhost_msg_log l = {.mmap_size = LOG_BYTES};

		fd = make_memfd(LOG_BYTES);
		fe_send(rig, VHOST_MSG_SET_LOG_BASE, 0, &l, sizeof(l), &fd, 1);
		rig_expect_end(rig, "SET_LOG_BASE: a dirty log");
		close(fd);
	}
}

/* A front end that accepts all that is offered, and never shares a log */
static void no_log(void **state)
{
	struct rig *rig = *state;

	fe_honest(rig);
	assert_int_equal(rig->n_warn, 0);
}

/*
 * A device reset in the middle of a migration: QEMU starts the rings with LOG_ALL and shares the
 * new log afterwards. What was written in between is unknown, so it is everything.
 */
static void started_before_the_log(void **state)
{
	struct rig *rig = *state;
	struct ring_fds fds = start(rig);
	int fd = make_memfd(LOG_BYTES);
	uint8_t *bits = map_log(fd, LOG_BYTES);

	fe_log_base(rig, fd, LOG_BYTES, 0);
	fe_set_u64(rig, VHOST_MSG_SET_FEATURES, ALL);
	assert_int_equal(count_bits(bits, LOG_BYTES), 0);
	fe_get_base(rig, 0);
	close_ring_fds(fds);
	fds = fe_start_ring(rig, 0, 256, 0);
	memset(bits, 0, LOG_BYTES);
	fe_log_base(rig, fd, LOG_BYTES, 0);
	assert_int_equal(count_bits(bits, LOG_BYTES), RIG_GUEST_SIZE / VHOST_LOG_PAGE);
	assert_true(bit(bits, RIG_GPA));
	assert_true(bit(bits, RIG_GPA + RIG_GUEST_SIZE - 1));
	memset(bits, 0, LOG_BYTES);
	fe_log_base(rig, fd, LOG_BYTES, 0);
	assert_int_equal(count_bits(bits, LOG_BYTES), 0);
	munmap(bits, LOG_BYTES);
	close(fd);
	close_ring_fds(fds);
}

/* CVE-2020-10722 (size + offset wraps), offset beyond the file, offset applied twice, ... */
static void hostile_values(void **state)
{
	struct rig *rig = *state;
	static const struct {
		uint64_t size, offset, file;
		const char *word;
	} rows[] = {
		{0, 0, LOG_BYTES, "size 0"},
		{UINT64_MAX, 0, LOG_BYTES, "beyond"},
		{UINT64_MAX, 1, LOG_BYTES, "beyond"},
		{LOG_BYTES, UINT64_MAX, LOG_BYTES, "beyond"},
		{LOG_BYTES, UINT64_MAX - LOG_BYTES + 1, LOG_BYTES, "beyond"},
		{LOG_BYTES, INT64_MAX, LOG_BYTES, "beyond"},
		{VHOST_LOG_MAX_BYTES + 1, 0, LOG_BYTES, "beyond"},
		{VHOST_LOG_MAX_BYTES, 0, LOG_BYTES, "shorter"},
		{LOG_BYTES, 1, LOG_BYTES, "shorter"},
		{LOG_BYTES + 1, 0, LOG_BYTES, "shorter"},
		{LOG_BYTES, 2 * LOG_BYTES, LOG_BYTES, "shorter"},
		{1, 0, 0, "shorter"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct vhost_msg_log l = {.mmap_size = rows[i].size, .mmap_offset = rows[i].offset};
		int fd = make_memfd(rows[i].file);

		rig_fresh(rig);
		fe_send(rig, VHOST_MSG_SET_LOG_BASE, 0, &l, sizeof(l), &fd, 1);
		rig_expect_end(rig, rows[i].word);
		close(fd);
	}
	{
		struct vhost_msg_log l = {.mmap_size = 4096};
		int fds[2] = {make_eventfd(), make_memfd(4096)};

		rig_fresh(rig);
		fe_send(rig, VHOST_MSG_SET_LOG_BASE, 0, &l, sizeof(l), fds, 1);
		rig_expect_end(rig, "not a file");
		rig_fresh(rig);
		fe_send(rig, VHOST_MSG_SET_LOG_BASE, 0, &l, sizeof(l), NULL, 0);
		rig_expect_end(rig, "0 file descriptors");
		rig_fresh(rig);
		fe_send(rig, VHOST_MSG_SET_LOG_BASE, 0, &l, sizeof(l), fds, 2);
		rig_expect_end(rig, "2 file descriptors");
		rig_fresh(rig);
		fe_send(rig, VHOST_MSG_SET_LOG_BASE, 0, &l, 8, fds + 1, 1);
		rig_expect_end(rig, "8 bytes");
		close(fds[0]);
		close(fds[1]);
	}
}

/* The log is where the file says, and nothing outside of it is touched, whatever the offset. */
static void at_an_offset(void **state)
{
	struct rig *rig = *state;
	struct ring_fds fds = start(rig);
	static const uint64_t offsets[] = {4096, 3 * 4096, 1, 4095, 5000};
	uint64_t size = 4 * LOG_BYTES;
	int fd = make_memfd(size);
	uint8_t *bytes = map_log(fd, size);

	fe_log_base(rig, fd, LOG_BYTES, 0);
	fe_set_u64(rig, VHOST_MSG_SET_FEATURES, ALL);
	for (size_t i = 0; i < ARRAY_SIZE(offsets); i++) {
		fe_log_base(rig, fd, LOG_BYTES, offsets[i]);
		memset(bytes, 0, size);
		vhost_log_mark(map_of(rig, 0)->log, 0, UINT64_MAX);
		assert_int_equal(count_bits(bytes, size), 8 * LOG_BYTES);
		assert_int_equal(count_bits(bytes + offsets[i], LOG_BYTES), 8 * LOG_BYTES);
	}
	munmap(bytes, size);
	close(fd);
	close_ring_fds(fds);
}

/* Asked a thousand times: one mapping, no descriptor */
static void repeated(void **state)
{
	struct rig *rig = *state;
	int fd = make_memfd(LOG_BYTES), event = make_eventfd();
	uint32_t fds, maps;

	fe_negotiate(rig, ALL & ~LOG_ALL);
	fe_log_base(rig, fd, LOG_BYTES, 0);
	fds = count_fds();
	maps = count_memfd_mappings();
	for (int i = 0; i < 1000; i++) {
		fe_log_base(rig, fd, LOG_BYTES, 0);
		fe_set(rig, VHOST_MSG_SET_LOG_FD, NULL, 0, &event, 1);
	}
	assert_int_equal(count_fds(), fds);
	assert_int_equal(count_memfd_mappings(), maps);
	close(fd);
	close(event);
}

/* The file of the log is cut off: a worker that marks a page gets SIGBUS, and lives. */
static void truncated(void **state)
{
	struct rig *rig = *state;
	struct ring_fds fds = start(rig);
	int fd = make_memfd(LOG_BYTES);

	fe_log_base(rig, fd, LOG_BYTES, 0);
	fe_set_u64(rig, VHOST_MSG_SET_FEATURES, ALL);
	assert_int_equal(ftruncate(fd, 0), 0);
	vhost_vq_wrote_used(map_of(rig, 0), map_of(rig, 0)->used, 2);
	assert_int_equal(vhost_dev_report_faults(rig->dev), 1);
	assert_true(vhost_dev_broken(rig->dev));
	assert_warned(rig, "dirty log disappeared");
	close(fd);
	close_ring_fds(fds);
}

/* SEND_RARP: six bytes of a word; whether it goes out the owner decides. */
static void announce(void **state)
{
	struct rig *rig = *state;
	uint64_t mac = 0xffff563412005452, group = 0x563412005453, none = 0xffff000000000000;

	fe_negotiate(rig, ALL);
	fe_set_u64(rig, VHOST_MSG_SEND_RARP, mac);
	assert_int_equal(rig->n_announced, 1);
	assert_memory_equal(rig->announced, "\x52\x54\x00\x12\x34\x56", 6);
	assert_int_equal(fe_ask(rig, VHOST_MSG_SEND_RARP, &group, 8, NULL, 0), 1);
	assert_warned(rig, "SEND_RARP: 53:54:00:12:34:56: not the address of one station");
	assert_int_equal(fe_ask(rig, VHOST_MSG_SEND_RARP, &none, 8, NULL, 0), 1);
	assert_int_equal(rig->n_announced, 1);
	rig->announce_why = "not now";
	assert_int_equal(fe_ask(rig, VHOST_MSG_SEND_RARP, &mac, 8, NULL, 0), 1);
	assert_warned(rig, "SEND_RARP: 52:54:00:12:34:56: not now");
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, rig_setup, rig_teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ranges),
		TEST(on_and_off),
		TEST(replaced_after_quiescence),
		TEST(used_ring_logged_elsewhere),
		TEST(packed_ring),
		TEST(too_small),
		TEST(no_log),
		TEST(started_before_the_log),
		TEST(hostile_values),
		TEST(at_an_offset),
		TEST(repeated),
		TEST(truncated),
		TEST(announce),
	};

	return cmocka_run_group_tests_name("vhost-log", tests, NULL, NULL);
}
