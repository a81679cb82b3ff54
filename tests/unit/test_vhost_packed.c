/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_vhost_packed.c - packed rings as front ends set them up: sizes, positions, event structures,
 * changes while they run; and that nobody sleeps while there is work
 */
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include "fake_fe.h"
#include "vhost_ring.h"

#define PACKED VHOST_BIT(VIRTIO_F_RING_PACKED)
#define EVENTS VHOST_BIT(VIRTIO_RING_F_EVENT_IDX)
#define START  0x80008000u /* both positions: slot 0, wrap counter 1 */
#define DESC   (VRING_PACKED_EVENT_FLAG_DESC << 16)

static struct vhost_vq *ring(struct rig *rig)
{
	return vhost_dev_vq(rig->dev, 1);
}

static const struct vhost_vq_map *map_of(struct rig *rig)
{
	return vhost_vq_get_map(ring(rig));
}

static void negotiate(struct rig *rig)
{
	fe_negotiate(rig, fe_features() | PACKED);
	fe_mem_table(rig);
}

static struct vring_packed_desc *slots(struct rig *rig)
{
	return (void *)(rig->guest + RIG_RING_SPAN + RIG_DESC);
}

static uint32_t *driver_event(struct rig *rig)
{
	return (void *)guest_avail(rig, 1);
}

static uint32_t *device_event(struct rig *rig)
{
	return (void *)guest_used(rig, 1);
}

/* ---- sizes and addresses ---- */

static void sizes(void **state)
{
	static const uint32_t good[] = {1, 2, 3, 7, 243, 256, 1000, 12345, 32767, 32768};
	struct rig *rig = *state;
	struct vhost_vring_addr a = {.index = 1,
	                             .desc_user_addr = RIG_UVA + 0x100000,
	                             .avail_user_addr = RIG_UVA + 0x200000 - 4,
	                             .used_user_addr = RIG_UVA + 0x200000};

	negotiate(rig);
	for (uint32_t n = 0; n <= 70000; n += n < 40 ? 1 : 997) {
		struct vhost_vring_state s = {.index = 1, .num = n};

		assert_int_equal(fe_ask(rig, VHOST_MSG_SET_VRING_NUM, &s, sizeof(s), NULL, 0),
		                 !n || n > 32768);
	}
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		fe_ring_state(rig, VHOST_MSG_SET_VRING_NUM, 1, good[i]);
		fe_ring_state(rig, VHOST_MSG_SET_VRING_BASE, 1, START);
		fe_set(rig, VHOST_MSG_SET_VRING_ADDR, &a, sizeof(a), NULL, 0);
		fe_ring_fd(rig, VHOST_MSG_SET_VRING_KICK, 1, -1);
		assert_non_null(map_of(rig));
		assert_true(map_of(rig)->packed);
		assert_int_equal(map_of(rig)->size, good[i]);
		assert_ptr_equal((uint8_t *)map_of(rig)->driver_event + 4,
		                 map_of(rig)->device_event);
		assert_int_equal(fe_get_base(rig, 1), START);
	}
}

/* A size that only a packed ring may have, and a front end that takes the layout back */
static void odd_size_without_the_feature(void **state)
{
	struct rig *rig = *state;

	negotiate(rig);
	fe_ring_state(rig, VHOST_MSG_SET_VRING_NUM, 1, 100);
	fe_set_u64(rig, VHOST_MSG_SET_FEATURES, fe_features());
	fe_ring_state(rig, VHOST_MSG_SET_VRING_BASE, 1, 0);
	fe_ring_addr(rig, 1);
	assert_int_equal(fe_ask(rig, VHOST_MSG_SET_VRING_KICK, &(uint64_t){1 | 1 << 8}, 8, NULL, 0),
	                 1);
	assert_null(map_of(rig));
	assert_warned(rig, "power of two");
}

struct parts {
	uint64_t desc, driver, device; /* from the start of guest memory */
	const char *says;              /* NULL: good */
};

static void alignment_and_ends(void **state)
{
	static const struct parts rows[] = {
		{0, 0x1000, 0x1004, NULL},
		{RIG_GUEST_SIZE - 16 * 100, 0, 4, NULL},
		{0, RIG_GUEST_SIZE - 4, RIG_GUEST_SIZE - 8, NULL},
		{RIG_GUEST_SIZE - 16 * 99, 0, 4, "descriptor ring"},
		{8, 0x1000, 0x1004, "not aligned"},
		{0, 0x1002, 0x1004, "driver event structure"},
		{0, RIG_GUEST_SIZE, 4, "driver event structure"},
		{0, 0x1000, 0x1006, "not aligned"},
		{0, 0x1000, RIG_GUEST_SIZE, "device event structure"},
	};
	struct rig *rig = *state;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct vhost_vring_addr a = {.index = 1,
		                             .desc_user_addr = RIG_UVA + rows[i].desc,
		                             .avail_user_addr = RIG_UVA + rows[i].driver,
		                             .used_user_addr = RIG_UVA + rows[i].device};
		uint64_t none = 1 | 1 << 8, bad;

		rig_fresh(rig);
		fe_set_u64(rig, VHOST_MSG_SET_FEATURES, fe_features() | PACKED);
		fe_mem_table(rig);
		fe_ring_state(rig, VHOST_MSG_SET_VRING_NUM, 1, 100);
		fe_ring_state(rig, VHOST_MSG_SET_VRING_BASE, 1, START);
		bad = fe_ask(rig, VHOST_MSG_SET_VRING_ADDR, &a, sizeof(a), NULL, 0);
		bad |= fe_ask(rig, VHOST_MSG_SET_VRING_KICK, &none, sizeof(none), NULL, 0);
		assert_int_equal(bad, rows[i].says != NULL);
		if (rows[i].says)
			assert_warned(rig, rows[i].says);
		assert_int_equal(map_of(rig) == NULL, bad);
	}
}

/* ---- positions ---- */

struct base {
	uint32_t base;
	uint16_t size;
	uint32_t want; /* both positions as they are understood */
};

static void bases(void **state)
{
	static const struct base rows[] = {
		{START, 256, START},
		{0, 256, 0},
		{0x80058005, 256, 0x80058005},
		{0x00070007, 100, 0x00070007},
		/* One position only: the other is the same. */
		{0x8000, 256, START},
		{0x8063, 100, 0x80638063},
		{0x0063, 100, 0x00630063},
		/* A predecessor held buffers back. */
		{0x80058009, 256, 0x80058009},
		{0x80fb0003, 256, 0x80fb0003},
		{0x80630063, 100, 0x80630063}, /* all of them */
		{0x00018000, 100, 0x00018000 /* used on the last lap: all but one */},
		/* Used behind what was available: that cannot be meant. */
		{0x80098005, 256, 0x80058005},
		{0x80050009, 100, 0x00090009}, /* more than a lap */
		{0x00018000 ^ 0x80000000, 100, START},
		{0x80018000, 32768, START},
		{0x75308000 | 0x80000000, 32767, START},
	};
	struct rig *rig = *state;

	negotiate(rig);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct ring_fds fds;
		struct vhost_vring_addr a = {.index = 1,
		                             .desc_user_addr = RIG_UVA + 0x100000,
		                             .avail_user_addr = RIG_UVA,
		                             .used_user_addr = RIG_UVA + 4};

		print_message("0x%" PRIx32 " of %u\n", rows[i].base, rows[i].size);
		fe_set(rig, VHOST_MSG_SET_VRING_ADDR, &a, sizeof(a), NULL, 0);
		fds = (struct ring_fds){make_eventfd(), make_eventfd()};
		fe_ring_state(rig, VHOST_MSG_SET_VRING_NUM, 1, rows[i].size);
		fe_ring_state(rig, VHOST_MSG_SET_VRING_BASE, 1, rows[i].base);
		fe_ring_fd(rig, VHOST_MSG_SET_VRING_KICK, 1, fds.kick);
		assert_non_null(map_of(rig));
		assert_int_equal(vhost_packed_position(ring(rig)), rows[i].want);
		assert_int_equal(fe_get_base(rig, 1), rows[i].want);
		close_ring_fds(fds);
	}
}

static void bases_out_of_the_ring(void **state)
{
	static const struct base rows[] = {
		{0x80648064, 100, 0}, {0x0064, 100, 0},     {0x80648000, 100, 0},
		{0x80008064, 100, 0}, {UINT32_MAX, 256, 0}, {0x7fff0000, 32767, 0},
		{0x00010001, 1, 0},
	};
	struct rig *rig = *state;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		uint64_t none = 1 | 1 << 8;

		rig_fresh(rig);
		fe_set_u64(rig, VHOST_MSG_SET_FEATURES, fe_features() | PACKED);
		fe_mem_table(rig);
		fe_ring_state(rig, VHOST_MSG_SET_VRING_NUM, 1, rows[i].size);
		fe_ring_state(rig, VHOST_MSG_SET_VRING_BASE, 1, rows[i].base);
		fe_ring_addr(rig, 1);
		assert_int_equal(
			fe_ask(rig, VHOST_MSG_SET_VRING_KICK, &none, sizeof(none), NULL, 0), 1);
		assert_null(map_of(rig));
		assert_warned(rig, "is no position in a packed ring");
	}
}

static void split_ring_has_sixteen_bits(void **state)
{
	struct rig *rig = *state;
	struct vhost_vring_state s = {.index = 1, .num = START};

	fe_negotiate(rig, fe_features());
	assert_int_equal(fe_ask(rig, VHOST_MSG_SET_VRING_BASE, &s, sizeof(s), NULL, 0), 1);
	assert_warned(rig, "no index of a split ring");
}

/* Where it stops is where the ring shows that buffers were used, lap after lap; and it goes on. */
static void stops_where_it_is(void **state)
{
	enum { SIZE = 7 };
	struct rig *rig = *state;
	uint32_t base = START, taken = 0;

	negotiate(rig);
	for (uint32_t n = 0; n < 3 * SIZE; n = n % SIZE + 1 + n / SIZE) {
		struct ring_fds fds = fe_start_ring(rig, 1, SIZE, base);
		struct vhost_vq *vq = ring(rig);
		const struct vhost_vq_map *map = map_of(rig);

		for (uint32_t i = 0; i < n % SIZE; i++, taken++) {
			struct vring_packed_desc *d = &slots(rig)[taken % SIZE];
			bool lap = taken / SIZE % 2 == 0;

			*d = (struct vring_packed_desc){
				.len = 1, .id = 5, .flags = lap ? 0x80 : 0x8000};
			assert_true(
				vhost_packed_is_avail(vq, vhost_packed_word(map, vq->last_avail)));
			vhost_packed_take(vq, map, 5, 0);
			vhost_packed_publish(vq, map);
			vhost_packed_notify(vq, map);
			assert_int_equal(d->flags, lap ? 0x8080 : 0);
		}
		base = fe_get_base(rig, 1);
		assert_int_equal(base & 0x7fff, taken % SIZE);
		assert_int_equal(base >> 15 & 1, taken / SIZE % 2 == 0);
		assert_int_equal(base >> 16, base & 0xffff);
		close_ring_fds(fds);
		if (taken > 100)
			break;
	}
	assert_true(taken > 100);
}

/* ---- event structures ---- */

static void kicks(void **state)
{
	struct rig *rig = *state;

	for (int with = 0; with < 2; with++) {
		uint64_t features = (fe_features() & ~EVENTS) | PACKED | (with ? EVENTS : 0);
		struct vhost_vq *vq;
		struct ring_fds fds;

		rig_fresh(rig);
		memset(slots(rig), 0, 100 * sizeof(struct vring_packed_desc));
		fe_set_u64(rig, VHOST_MSG_SET_FEATURES, features);
		fe_mem_table(rig);
		*device_event(rig) = UINT32_MAX;
		fds = fe_start_ring(rig, 1, 100, 0x80058005);
		vq = ring(rig);
		assert_int_equal(*device_event(rig) >> 16, VRING_PACKED_EVENT_FLAG_DISABLE);
		vhost_packed_no_kicks(vq, map_of(rig)); /* already said */
		*device_event(rig) = 0x77770000;
		vhost_packed_no_kicks(vq, map_of(rig));
		assert_int_equal(*device_event(rig), 0x77770000);
		assert_false(vhost_ring_want_kicks(vq, map_of(rig)));
		assert_int_equal(*device_event(rig), with ? DESC | 0x8005 : 0);
		vhost_packed_no_kicks(vq, map_of(rig));
		assert_int_equal(*device_event(rig) >> 16, VRING_PACKED_EVENT_FLAG_DISABLE);
		slots(rig)[5].flags = VHOST_PACKED_AVAIL;
		assert_true(vhost_ring_want_kicks(vq, map_of(rig)));
		close_ring_fds(fds);
	}
}

struct call {
	uint32_t event; /* the driver's */
	uint32_t base, n;
	bool want, want_without;
};

/* Which wishes a batch of @n slots from @base on fulfils, with and without EVENT_IDX */
static void calls(void **state)
{
	static const struct call rows[] = {
		{VRING_PACKED_EVENT_FLAG_ENABLE << 16, START, 1, true, true},
		{VRING_PACKED_EVENT_FLAG_DISABLE << 16, START, 5, false, false},
		{3u << 16 | 0x8000, START, 1, true, true}, /* reserved */
		{DESC | 0x8000, START, 1, true, true},
		{DESC | 0x8001, START, 1, false, true},
		{DESC | 0x8004, START, 5, true, true},
		{DESC | 0x8005, START, 5, false, true},
		{DESC | 0x0000, START, 5, false, true}, /* the next lap's */
		{DESC | 0x8063, 0x80638063, 1, true, true},
		{DESC | 0x8062, 0x80638063, 1, false, true},
		{DESC | 0x0002, 0x80608060, 7, true, true}, /* 96 to 99, 0 to 2 */
		{DESC | 0x0003, 0x80608060, 7, false, true},
		{DESC | 0x8060, 0x80608060, 7, true, true},
		{DESC | 0x805f, 0x80608060, 7, false, true},
		{DESC | 0x8000, 0x00630063, 1, false, true},
		{DESC | 0x8000, 0x00630063, 2, true, true},
		{DESC | 0x0005, 0x00050005, 100, true, true}, /* a whole lap */
		{DESC | 0x8004, 0x00050005, 100, true, true},
		{DESC | 0x8005, 0x00050005, 100, false, true},
	};
	struct rig *rig = *state;

	for (size_t i = 0; i < 2 * ARRAY_SIZE(rows); i++) {
		const struct call *row = &rows[i / 2];
		struct ring_fds fds;
		uint64_t before;

		if (i % 2 == 0)
			print_message("event 0x%" PRIx32 ", %" PRIu32 " from 0x%" PRIx32 "\n",
			              row->event, row->n, row->base);
		rig_fresh(rig);
		fe_set_u64(rig, VHOST_MSG_SET_FEATURES,
		           (fe_features() & ~EVENTS) | PACKED | (i % 2 ? 0 : EVENTS));
		fe_mem_table(rig);
		fds = fe_start_ring(rig, 1, 100, row->base);
		*driver_event(rig) = row->event;
		for (uint32_t k = 0; k < row->n; k++)
			vhost_packed_take(ring(rig), map_of(rig), 0, 0);
		vhost_ring_publish(ring(rig), map_of(rig));
		before = counter_get(&ring(rig)->calls);
		vhost_ring_notify(ring(rig), map_of(rig));
		assert_int_equal(counter_get(&ring(rig)->calls) - before,
		                 i % 2 ? row->want_without : row->want);
		assert_false(vhost_ring_is_dirty(ring(rig), map_of(rig)));
		close_ring_fds(fds);
	}
}

/* ---- changes while it runs ---- */

static void changes_keep_positions(void **state)
{
	struct rig *rig = *state;
	struct vhost_vq *vq = ring(rig);
	struct ring_fds fds;
	uint64_t serial;
	int call = make_eventfd();

	negotiate(rig);
	fds = fe_start_ring(rig, 1, 100, 0x80058005);
	for (int i = 0; i < 98; i++)
		vhost_packed_take(vq, map_of(rig), 0, 0);
	vhost_ring_publish(vq, map_of(rig));
	vhost_ring_notify(vq, map_of(rig));
	serial = map_of(rig)->serial;
	fe_mem_table(rig);
	assert_true(map_of(rig)->packed && map_of(rig)->serial != serial);
	fe_ring_fd(rig, VHOST_MSG_SET_VRING_CALL, 1, call);
	fe_ring_state(rig, VHOST_MSG_SET_VRING_ENABLE, 1, 0);
	assert_false(map_of(rig)->enabled);
	fe_set_u64(rig, VHOST_MSG_SET_FEATURES, (fe_features() & ~EVENTS) | PACKED);
	assert_false(map_of(rig)->event_idx);
	assert_int_equal(vhost_packed_position(vq), 0x00030003);
	read_eventfd(call);
	*driver_event(rig) = 0;
	vhost_packed_take(vq, map_of(rig), 0, 0);
	vhost_ring_publish(vq, map_of(rig));
	vhost_ring_notify(vq, map_of(rig));
	assert_true(read_eventfd(call) > 0);
	assert_int_equal(fe_get_base(rig, 1), 0x00040004);
	close(call);
	close_ring_fds(fds);
}

/* The positions of a running ring mean nothing in the other layout: it stops. */
static void layout_changes_under_a_ring(void **state)
{
	struct rig *rig = *state;

	for (int from_packed = 0; from_packed < 2; from_packed++) {
		uint64_t to = fe_features() | (from_packed ? 0 : PACKED);
		struct ring_fds fds;

		rig_fresh(rig);
		fe_set_u64(rig, VHOST_MSG_SET_FEATURES, to ^ PACKED);
		fe_mem_table(rig);
		fds = fe_start_ring(rig, 1, 64, from_packed ? START : 0);
		assert_int_equal(map_of(rig)->packed, from_packed);
		(void)fe_ask(rig, VHOST_MSG_SET_FEATURES, &to, sizeof(to), NULL, 0);
		assert_null(map_of(rig));
		close_ring_fds(fds);
		/* Stopped and started it takes the new layout. */
		(void)fe_get_base(rig, 1);
		fds = fe_start_ring(rig, 1, 64, from_packed ? 0 : START);
		assert_int_equal(map_of(rig)->packed, !from_packed);
		close_ring_fds(fds);
	}
}

/* ---- nobody sleeps while there is work ---- */

enum { TURNS = 20000, RACE_SIZE = 5 };

/* The device's side: sleeps as a worker does, and takes what is there */
static void *race_device(void *arg)
{
	struct rig *rig = arg;
	struct ring_fds *fds = rig->hook_data;
	struct vhost_vq *vq = ring(rig);
	const struct vhost_vq_map *map = map_of(rig);

	for (uint32_t n = 0; n < TURNS;) {
		struct pollfd p = {.fd = fds->kick, .events = POLLIN};

		vhost_packed_no_kicks(vq, map);
		while (vhost_packed_is_avail(vq, vhost_packed_word(map, vq->last_avail))) {
			vhost_packed_take(vq, map, 0, 0);
			n++;
		}
		if (vhost_ring_is_dirty(vq, map)) {
			vhost_ring_publish(vq, map);
			ring_fence_full();
			vhost_ring_notify(vq, map);
		}
		if (n < TURNS && !vhost_ring_want_kicks(vq, map)) {
			if (poll(&p, 1, 20000) != 1)
				return (void *)"a kick was lost";
			read_eventfd(fds->kick);
		}
	}
	vhost_signal_end();
	return NULL;
}

/* The driver's: one buffer at a time, a kick if it is wanted, then a sleep until it is used */
static void race(struct rig *rig, bool events)
{
	struct ring_fds fds;
	pthread_t thread;
	void *says;

	rig_fresh(rig);
	memset(slots(rig), 0, RACE_SIZE * sizeof(struct vring_packed_desc));
	fe_set_u64(rig, VHOST_MSG_SET_FEATURES,
	           (fe_features() & ~EVENTS) | PACKED | (events ? EVENTS : 0));
	fe_mem_table(rig);
	fds = fe_start_ring(rig, 1, RACE_SIZE, START);
	rig->hook_data = &fds;
	assert_int_equal(pthread_create(&thread, NULL, race_device, rig), 0);
	for (uint32_t n = 0; n < TURNS; n++) {
		struct vring_packed_desc *d = &slots(rig)[n % RACE_SIZE];
		bool lap = n / RACE_SIZE % 2 == 0;
		uint32_t at = n % RACE_SIZE | (lap ? 0x8000 : 0), event;
		struct pollfd p = {.fd = fds.call, .events = POLLIN};

		__atomic_store_n(driver_event(rig), events ? DESC | at : 0, __ATOMIC_RELAXED);
		ring_store_release16(&d->flags, lap ? 0x80 : 0x8000);
		ring_fence_full();
		event = __atomic_load_n(device_event(rig), __ATOMIC_RELAXED);
		if (event >> 16 == VRING_PACKED_EVENT_FLAG_ENABLE ||
		    event == (DESC | at)) /* it can only wait for this one */
			assert_int_equal(write(fds.kick, &(uint64_t){1}, 8), 8);
		while (ring_load_acquire16(&d->flags) != (lap ? 0x8080 : 0)) {
			if (poll(&p, 1, 20000) != 1)
				fail_msg("turn %u: an interrupt was lost", n);
			read_eventfd(fds.call);
		}
	}
	assert_int_equal(pthread_join(thread, &says), 0);
	if (says)
		fail_msg("%s", (const char *)says);
	vhost_dev_detach(rig->dev);
	close_ring_fds(fds);
}

static void no_wakeup_is_lost(void **state)
{
	race(*state, false);
	race(*state, true);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)
	const struct CMUnitTest tests[] = {
		T(sizes),
		T(odd_size_without_the_feature),
		T(alignment_and_ends),
		T(bases),
		T(bases_out_of_the_ring),
		T(split_ring_has_sixteen_bits),
		T(stops_where_it_is),
		T(kicks),
		T(calls),
		T(changes_keep_positions),
		T(layout_changes_under_a_ring),
		T(no_wakeup_is_lost),
	};
	return cmocka_run_group_tests_name("vhost_packed", tests, NULL, NULL);
}
