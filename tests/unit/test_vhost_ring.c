/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_vhost_ring.c - the life of a ring: when it starts, what changes while it runs, how it ends
 *
 * The test plays the worker too: it holds a map over a change, as a worker does until its burst
 * ends, and looks at it in quiesce(), the last moment at which a worker may.
 */
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include "fake_fe.h"
#include "vhost_split.h"

static struct vhost_vq *ring(struct rig *rig, uint16_t i)
{
	return vhost_dev_vq(rig->dev, i);
}

static const struct vhost_vq_map *map_of(struct rig *rig, uint16_t i)
{
	return vhost_vq_get_map(ring(rig, i));
}

/* What the worker still holds when the device waits for it */
struct held {
	const struct vhost_vq_map *map; /* of ring 1, from before the message */
	struct vhost_vq_map copy;
	uint8_t *byte; /* in old guest memory */
	uint32_t looked;
};

static void look_at_held(struct rig *rig)
{
	struct held *h = rig->hook_data;

	/* Under AddressSanitizer, a map that was freed too early is found here. */
	assert_memory_equal(h->map, &h->copy, sizeof(h->copy));
	assert_ptr_not_equal(map_of(rig, 1), h->map);
	h->map->desc[0].len++; /* mapped? */
	if (h->byte)
		(*h->byte)++;
	if (h->map->call_fd >= 0) {
		uint64_t one = 1;

		assert_int_equal(write(h->map->call_fd, &one, sizeof(one)), sizeof(one));
	}
	fe_expect_nothing(rig); /* the answer comes after the wait */
	h->looked++;
}

static void hold(struct rig *rig, struct held *h)
{
	*h = (struct held){.map = map_of(rig, 1)};
	assert_non_null(h->map);
	h->copy = *h->map;
	rig->hook_data = h;
	rig->on_quiesce = look_at_held;
	rig->n_quiesce = rig->n_changed = 0;
}

static void let_go(struct rig *rig)
{
	rig->on_quiesce = NULL;
}

static struct ring_fds start(struct rig *rig, uint64_t features)
{
	fe_negotiate(rig, features);
	fe_mem_table(rig);
	return fe_start_ring(rig, 1, 256, 0);
}

static void set_positions_mid_burst(struct vhost_vq *vq)
{
	vq->last_avail = 77;
	vq->avail_seen = 80;
	vq->used_idx = 70;
	vq->used_pub = 69;
	vq->kicks = VHOST_KICKS_ON;
}

static void assert_positions_kept(struct vhost_vq *vq)
{
	assert_int_equal(vq->last_avail, 77);
	assert_int_equal(vq->avail_seen, 80);
	assert_int_equal(vq->used_idx, 70);
	assert_int_equal(vq->used_pub, 69);
	assert_int_equal(vq->kicks, VHOST_KICKS_ON);
}

/* ---- start ---- */

enum piece { NUM, ADDR, KICK, MEM, ENABLE, N_PIECES };

static void give(struct rig *rig, enum piece piece, int kick)
{
	switch (piece) {
	case NUM:
		fe_ring_state(rig, VHOST_MSG_SET_VRING_NUM, 1, 256);
		break;
	case ADDR:
		fe_ring_addr(rig, 1);
		break;
	case KICK:
		fe_ring_fd(rig, VHOST_MSG_SET_VRING_KICK, 1, kick);
		break;
	case MEM:
		fe_mem_table(rig);
		break;
	default:
		fe_ring_state(rig, VHOST_MSG_SET_VRING_ENABLE, 1, 1);
		break;
	}
}

/* All 120 orders: the ring starts with the last of the four it needs, exactly then, once. */
static void starts_in_any_order(void **state)
{
	struct rig *rig = *state;
	int kick = make_eventfd();
	const uint32_t needed = 1u << NUM | 1u << ADDR | 1u << KICK | 1u << MEM;

	guest_used(rig, 1)->idx = 33;

	for (uint32_t code = 0; code < 3125; code++) {
		uint32_t order[N_PIECES], seen = 0, given = 0, changed = 0;

		for (uint32_t i = 0, c = code; i < N_PIECES; i++, c /= 5) {
			order[i] = c % 5;
			seen |= 1u << order[i];
		}
		if (seen != 31)
			continue;
		vhost_dev_detach(rig->dev);
		rig_attach(rig);
		fe_negotiate(rig, fe_features());
		fe_ring_state(rig, VHOST_MSG_SET_VRING_BASE, 1, 33);
		rig->n_changed = 0;
		for (uint32_t i = 0; i < N_PIECES; i++) {
			bool was = map_of(rig, 1) != NULL;

			give(rig, order[i], code % 2 ? kick : -1);
			given |= 1u << order[i];
			assert_int_equal(map_of(rig, 1) != NULL, (given & needed) == needed);
			changed += !was && map_of(rig, 1);
			if (was && order[i] == ENABLE)
				changed++;
			assert_int_equal(rig->n_changed, changed);
		}
		assert_true(map_of(rig, 1)->enabled);
		assert_int_equal(ring(rig, 1)->last_avail, 33);
	}
	assert_int_equal(rig->n_warn, 0);
	close(kick);
}

/* Parts at the very end of memory fit, including the event fields; one element more does not. */
static void parts_at_the_end_of_memory(void **state)
{
	struct rig *rig = *state;
	const uint64_t end = RIG_UVA + RIG_GUEST_SIZE;
	/* last address of each part that still fits with 256 entries, at the alignment it needs */
	const uint64_t desc = end - 4096, avail = (end - 518) & ~1ULL, used = (end - 2054) & ~3ULL;
	struct vhost_vring_addr good, a;
	int kick = make_eventfd();

	fe_negotiate(rig, fe_features());
	fe_mem_table(rig);
	rig_ring_addr(1, &good);
	fe_ring_state(rig, VHOST_MSG_SET_VRING_NUM, 1, 256);
	fe_ring_fd(rig, VHOST_MSG_SET_VRING_KICK, 1, kick);
	const struct {
		uint64_t desc, avail, used;
		const char *word; /* NULL: fits */
	} rows[] = {
		{desc, good.avail_user_addr, good.used_user_addr, NULL},
		{desc + 16, good.avail_user_addr, good.used_user_addr, "descriptor table"},
		{good.desc_user_addr, avail, good.used_user_addr, NULL},
		{good.desc_user_addr, avail + 2, good.used_user_addr, "available ring"},
		{good.desc_user_addr, good.avail_user_addr, used, NULL},
		{good.desc_user_addr, good.avail_user_addr, used + 4, "used ring"},
		{end, good.avail_user_addr, good.used_user_addr, "descriptor table"},
		{RIG_UVA - 16, good.avail_user_addr, good.used_user_addr, "descriptor table"},
		{UINT64_MAX & ~15ULL, good.avail_user_addr, good.used_user_addr,
	         "descriptor table"},
		{0, 0, 0, "descriptor table"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		a = good;
		a.desc_user_addr = rows[i].desc;
		a.avail_user_addr = rows[i].avail;
		a.used_user_addr = rows[i].used;
		assert_int_equal(fe_ask(rig, VHOST_MSG_SET_VRING_ADDR, &a, sizeof(a), NULL, 0),
		                 rows[i].word != NULL);
		assert_int_equal(map_of(rig, 1) != NULL, !rows[i].word);
		if (rows[i].word)
			assert_warned(rig, rows[i].word);
		fe_get_base(rig, 1);
		fe_ring_fd(rig, VHOST_MSG_SET_VRING_KICK, 1, kick);
	}
	close(kick);
}

/* Two regions that touch in the front end's addresses are still two. */
static void part_across_regions(void **state)
{
	struct rig *rig = *state;
	struct vhost_msg_mem_table t = {.n_regions = 2};
	const uint64_t half = RIG_GUEST_SIZE / 2;
	int fds[] = {rig->guest_fd, rig->guest_fd};
	struct vhost_vring_addr a;

	fe_negotiate(rig, fe_features());
	/* one byte short, then whole */
	t.regions[0] = (struct vhost_region_desc){RIG_GPA, half - 1, RIG_UVA, half};
	t.regions[1] = (struct vhost_region_desc){RIG_GPA + half, half, RIG_UVA + half, 0};
	fe_set(rig, VHOST_MSG_SET_MEM_TABLE, &t, 8 + 64, fds, 2);
	fe_ring_state(rig, VHOST_MSG_SET_VRING_NUM, 1, 256);
	fe_ring_fd(rig, VHOST_MSG_SET_VRING_KICK, 1, -1);
	rig_ring_addr(1, &a);
	a.desc_user_addr = RIG_UVA + half - 16;
	assert_int_equal(fe_ask(rig, VHOST_MSG_SET_VRING_ADDR, &a, sizeof(a), NULL, 0), 1);
	assert_null(map_of(rig, 1));
	a.desc_user_addr = RIG_UVA + half - 4096;
	assert_int_equal(fe_ask(rig, VHOST_MSG_SET_VRING_ADDR, &a, sizeof(a), NULL, 0), 1);
	assert_null(map_of(rig, 1));
	t.regions[0].size = half;
	fe_set(rig, VHOST_MSG_SET_MEM_TABLE, &t, 8 + 64, fds, 2);
	assert_non_null(map_of(rig, 1)); /* the address was remembered */
	assert_ptr_equal((uint8_t *)map_of(rig, 1)->desc,
	                 vhost_dev_mem(rig->dev)->regions[0].host + half - 4096);
}

static void sizes(void **state)
{
	struct rig *rig = *state;

	fe_negotiate(rig, fe_features());
	for (uint64_t n = 0; n <= 70000; n += n < 40 ? 1 : 997) {
		struct vhost_vring_state s = {.index = 1, .num = (uint32_t)n};
		bool ok = n && n <= 32768 && !(n & (n - 1));

		ring(rig, 1)->size = 0;
		assert_int_equal(fe_ask(rig, VHOST_MSG_SET_VRING_NUM, &s, sizeof(s), NULL, 0), !ok);
		assert_int_equal(ring(rig, 1)->size, ok ? n : 0);
	}
	for (uint32_t shift = 0; shift < 32; shift++) {
		struct vhost_vring_state s = {.index = 1, .num = 1u << shift};

		assert_int_equal(fe_ask(rig, VHOST_MSG_SET_VRING_NUM, &s, sizeof(s), NULL, 0),
		                 shift > 15);
	}
}

/* ---- changes while it runs ---- */

static void call_is_replaced(void **state)
{
	struct rig *rig = *state;
	struct ring_fds fds = start(rig, fe_features());
	int call2 = make_eventfd();
	uint64_t v = 1;
	struct held h;

	set_positions_mid_burst(ring(rig, 1));
	read_eventfd(fds.call);
	hold(rig, &h);
	assert_int_equal(fe_ask(rig, VHOST_MSG_SET_VRING_CALL, &v, sizeof(v), &call2, 1), 0);
	assert_int_equal(h.looked, 1);
	assert_int_equal(read_eventfd(fds.call),
	                 1);                      /* the worker's, on the old one, while it could */
	assert_int_equal(read_eventfd(call2), 1); /* the device's, for what got lost */
	assert_positions_kept(ring(rig, 1));
	assert_int_equal(fcntl(h.copy.call_fd, F_GETFD), -1);
	assert_true(fcntl(map_of(rig, 1)->call_fd, F_GETFD) >= 0);

	/* And taken away: the guest polls. */
	hold(rig, &h);
	fe_ring_fd(rig, VHOST_MSG_SET_VRING_CALL, 1, -1);
	assert_int_equal(h.looked, 1);
	assert_int_equal(map_of(rig, 1)->call_fd, -1);
	assert_positions_kept(ring(rig, 1));
	let_go(rig);
	close(call2);
	close_ring_fds(fds);
}

/* A full counter must not hold the control thread up, not even if the front end makes it block. */
static void call_that_is_full(void **state)
{
	struct rig *rig = *state;
	struct ring_fds fds = start(rig, fe_features());
	int full = make_eventfd();
	uint64_t max = UINT64_MAX - 1;

	assert_int_equal(write(full, &max, sizeof(max)), sizeof(max));
	fe_ring_fd(rig, VHOST_MSG_SET_VRING_CALL, 1, full);
	assert_int_equal(fcntl(full, F_SETFL, fcntl(full, F_GETFL) & ~O_NONBLOCK), 0);
	fe_get_base(rig, 1);
	fe_ring_fd(rig, VHOST_MSG_SET_VRING_CALL, 1, full); /* remembered, and made non-blocking */
	assert_true(fcntl(full, F_GETFL) & O_NONBLOCK);
	assert_int_equal(fcntl(full, F_SETFL, fcntl(full, F_GETFL) & ~O_NONBLOCK), 0);
	fe_ring_addr(rig, 1);
	fe_ring_fd(rig, VHOST_MSG_SET_VRING_KICK, 1, fds.kick); /* starts, and signals */
	assert_non_null(map_of(rig, 1));
	close(full);
	close_ring_fds(fds);
}

/* The owner may still have the old descriptor in an epoll set when it is told. */
static void old_kick_is_open(struct rig *rig)
{
	int old = *(int *)rig->hook_data;

	assert_true(fcntl(old, F_GETFD) >= 0);
	assert_int_not_equal(ring(rig, 1)->kick_fd, old);
}

static void kick_is_replaced(void **state)
{
	struct rig *rig = *state;
	struct ring_fds fds = start(rig, fe_features());
	const struct vhost_vq_map *map = map_of(rig, 1);
	int old = ring(rig, 1)->kick_fd, kick2 = make_eventfd();

	rig->n_changed = rig->n_quiesce = 0;
	rig->hook_data = &old;
	rig->on_changed = rig->on_quiesce = old_kick_is_open;
	fe_ring_fd(rig, VHOST_MSG_SET_VRING_KICK, 1, kick2);
	rig->on_changed = rig->on_quiesce = NULL;
	assert_int_equal(rig->n_changed, 1);
	assert_int_equal(rig->n_quiesce, 1);
	assert_int_not_equal(ring(rig, 1)->kick_fd, old);
	assert_int_equal(fcntl(old, F_GETFD), -1);
	assert_ptr_equal(map_of(rig, 1), map); /* nothing in it has changed */
	fe_ring_fd(rig, VHOST_MSG_SET_VRING_KICK, 1, -1);
	assert_int_equal(rig->n_changed, 2);
	assert_int_equal(ring(rig, 1)->kick_fd, -1);
	assert_non_null(map_of(rig, 1));
	close(kick2);
	close_ring_fds(fds);
}

static void addresses_move(void **state)
{
	struct rig *rig = *state;
	struct ring_fds fds = start(rig, fe_features());
	struct vhost_vring_addr a;
	const struct vhost_vq_map *before = map_of(rig, 1);
	struct held h;

	set_positions_mid_burst(ring(rig, 1));
	/* The same with the log flag, as QEMU does around migration: nothing moves. */
	rig_ring_addr(1, &a);
	a.flags = 1;
	rig->n_quiesce = 0;
	assert_int_equal(fe_ask(rig, VHOST_MSG_SET_VRING_ADDR, &a, sizeof(a), NULL, 0), 0);
	assert_ptr_equal(map_of(rig, 1), before);
	assert_int_equal(rig->n_quiesce, 0);
	assert_int_equal(ring(rig, 1)->addr_flags, 1);
	assert_int_equal(ring(rig, 1)->log_gpa, a.log_guest_addr);

	hold(rig, &h);
	a.used_user_addr += 0x1000;
	assert_int_equal(fe_ask(rig, VHOST_MSG_SET_VRING_ADDR, &a, sizeof(a), NULL, 0), 0);
	assert_int_equal(h.looked, 1);
	assert_int_equal(rig->n_changed, 1);
	assert_int_equal((uint8_t *)map_of(rig, 1)->used - (uint8_t *)h.copy.used, 0x1000);
	assert_positions_kept(ring(rig, 1));
	let_go(rig);

	/* Somewhere that is not mapped: refused, the ring goes on where it was. */
	before = map_of(rig, 1);
	a.desc_user_addr = 0x1000;
	assert_int_equal(fe_ask(rig, VHOST_MSG_SET_VRING_ADDR, &a, sizeof(a), NULL, 0), 1);
	assert_ptr_equal(map_of(rig, 1), before);
	assert_int_equal(ring(rig, 1)->desc_uva, RIG_UVA + RIG_RING_SPAN + RIG_DESC);
	fe_mem_table(rig); /* translates the remembered addresses anew */
	assert_non_null(map_of(rig, 1));
	close_ring_fds(fds);
}

static void features_change(void **state)
{
	struct rig *rig = *state;
	struct ring_fds fds = start(rig, fe_features());
	struct held h;
	uint64_t bits = VHOST_BIT(VHOST_F_PROTOCOL_FEATURES);

	set_positions_mid_burst(ring(rig, 1));
	hold(rig, &h);
	assert_int_equal(fe_ask(rig, VHOST_MSG_SET_FEATURES, &bits, sizeof(bits), NULL, 0), 0);
	assert_int_equal(h.looked, 1);
	assert_int_equal(rig->n_changed, 1);
	assert_int_equal(map_of(rig, 1)->hdr_len, 10);
	assert_false(map_of(rig, 1)->event_idx || map_of(rig, 1)->mergeable ||
	             map_of(rig, 1)->indirect);
	assert_true(map_of(rig, 1)->enabled);
	assert_positions_kept(ring(rig, 1));
	let_go(rig);
	bits |= VHOST_BIT(VIRTIO_NET_F_MRG_RXBUF);
	fe_set_u64(rig, VHOST_MSG_SET_FEATURES, bits);
	assert_int_equal(map_of(rig, 1)->hdr_len, 12);
	close_ring_fds(fds);
}

static void enable_toggles(void **state)
{
	struct rig *rig = *state;
	struct ring_fds fds = start(rig, fe_features());
	struct held h;

	set_positions_mid_burst(ring(rig, 1));
	hold(rig, &h);
	fe_ring_state(rig, VHOST_MSG_SET_VRING_ENABLE, 1, 0);
	assert_int_equal(h.looked, 1);
	assert_int_equal(rig->n_changed, 1);
	assert_false(map_of(rig, 1)->enabled);
	assert_positions_kept(ring(rig, 1));
	let_go(rig);
	fe_ring_state(rig, VHOST_MSG_SET_VRING_ENABLE, 1, 0); /* no change */
	assert_int_equal(rig->n_changed, 1);
	fe_ring_state(rig, VHOST_MSG_SET_VRING_ENABLE, 1, 1);
	assert_int_equal(rig->n_changed, 2);
	assert_true(map_of(rig, 1)->enabled);
	close_ring_fds(fds);
}

static void running_ring_keeps_size_and_base(void **state)
{
	struct rig *rig = *state;
	struct ring_fds fds = start(rig, fe_features());
	struct vhost_vring_state s = {.index = 1, .num = 512};

	assert_int_equal(fe_ask(rig, VHOST_MSG_SET_VRING_NUM, &s, sizeof(s), NULL, 0), 1);
	assert_warned(rig, "SET_VRING_NUM: ring 1 is running");
	assert_int_equal(fe_ask(rig, VHOST_MSG_SET_VRING_BASE, &s, sizeof(s), NULL, 0), 1);
	assert_warned(rig, "SET_VRING_BASE: ring 1 is running");
	assert_int_equal(map_of(rig, 1)->size, 256);
	assert_int_equal(ring(rig, 1)->last_avail, 0);
	close_ring_fds(fds);
}

/* ---- memory under running rings ---- */

static void memory_is_replaced(void **state)
{
	struct rig *rig = *state;
	struct ring_fds fds = start(rig, fe_features());
	struct vhost_vq *vq = ring(rig, 1);
	struct vhost_msg_mem_table t = {.n_regions = 1};
	struct vhost_mem_hint hint;
	uint32_t maps = count_memfd_mappings();
	int other = make_memfd(RIG_GUEST_SIZE);
	struct held h;

	vhost_vq_use_map(vq, map_of(rig, 1));
	set_positions_mid_burst(vq);
	assert_non_null(vhost_mem_gpa(map_of(rig, 1)->mem, &vq->hint, RIG_GPA, 1));
	hint = vq->hint;
	hold(rig, &h);
	h.byte = hint.host;
	rig_region(&t.regions[0]);
	assert_int_equal(fe_ask(rig, VHOST_MSG_SET_MEM_TABLE, &t, 8 + 32, &other, 1), 0);
	assert_int_equal(h.looked, 1);
	assert_int_equal(rig->n_quiesce, 1);
	assert_int_equal(rig->n_changed, 1); /* a sleeping worker has to ask for kicks anew */
	assert_positions_kept(vq);
	assert_ptr_equal(map_of(rig, 1)->mem, vhost_dev_mem(rig->dev));
	assert_int_equal(count_memfd_mappings(), maps);
	/* The worker's next burst drops the hint into the old memory. */
	vhost_vq_use_map(vq, map_of(rig, 1));
	assert_int_equal(vq->hint.size, 0);
	assert_int_equal(vq->kicks, VHOST_KICKS_UNKNOWN);
	let_go(rig);
	close(other);
	close_ring_fds(fds);
}

/* A worker that slept through several changes, so that a map's address may have come back */
static void stale_hint_never_survives(void **state)
{
	struct rig *rig = *state;
	struct ring_fds fds = start(rig, fe_features());
	struct vhost_vq *vq = ring(rig, 1);

	for (int i = 0; i < 20; i++) {
		const struct vhost_vq_map *known = map_of(rig, 1);

		vhost_vq_use_map(vq, known);
		assert_non_null(vhost_mem_gpa(known->mem, &vq->hint, RIG_GPA, 1));
		for (int k = 0; k < 16; k++) {
			fe_mem_table(rig);
			if (map_of(rig, 1) == known)
				break; /* the allocator's choice; with glibc it happens */
		}
		vhost_vq_use_map(vq, map_of(rig, 1));
		assert_int_equal(vq->hint.size, 0);
	}
	close_ring_fds(fds);
}

static void memory_leaves_ring_behind(void **state)
{
	struct rig *rig = *state;
	struct ring_fds fds = start(rig, fe_features());
	struct vhost_msg_mem_table t = {.n_regions = 1};
	struct held h;

	ring(rig, 1)->last_avail = 5;
	hold(rig, &h);
	t.regions[0] = (struct vhost_region_desc){RIG_GPA, 4096, RIG_UVA, 0};
	assert_int_equal(fe_ask(rig, VHOST_MSG_SET_MEM_TABLE, &t, 8 + 32, &rig->guest_fd, 1), 0);
	let_go(rig);
	assert_int_equal(h.looked, 1);
	assert_int_equal(rig->n_changed, 1);
	assert_null(map_of(rig, 1));
	assert_warned(rig, "ring 1: stopped");
	/* Coming back does not start it: the front end has to say so. */
	fe_mem_table(rig);
	assert_null(map_of(rig, 1));
	assert_int_equal(fe_get_base(rig, 1), 5);
	close_ring_fds(fds);
}

static void region_is_removed_under_ring(void **state)
{
	struct rig *rig = *state;
	struct vhost_msg_mem_region r = {0}, extra = {0};
	struct ring_fds fds;
	int more = make_memfd(1 << 20);
	struct held h;

	fe_negotiate(rig, fe_features());
	rig_region(&r.region);
	extra.region = (struct vhost_region_desc){1ULL << 40, 1 << 20, 1ULL << 41, 0};
	assert_int_equal(fe_ask(rig, VHOST_MSG_ADD_MEM_REG, &r, sizeof(r), &rig->guest_fd, 1), 0);
	fds = fe_start_ring(rig, 1, 256, 0);
	set_positions_mid_burst(ring(rig, 1));

	hold(rig, &h);
	assert_int_equal(fe_ask(rig, VHOST_MSG_ADD_MEM_REG, &extra, sizeof(extra), &more, 1), 0);
	assert_int_equal(h.looked, 1);
	assert_non_null(map_of(rig, 1));
	hold(rig, &h);
	assert_int_equal(fe_ask(rig, VHOST_MSG_REM_MEM_REG, &extra, sizeof(extra), NULL, 0), 0);
	assert_int_equal(h.looked, 1);
	assert_non_null(map_of(rig, 1));
	assert_positions_kept(ring(rig, 1));
	assert_int_equal(fe_ask(rig, VHOST_MSG_REM_MEM_REG, &extra, sizeof(extra), NULL, 0), 1);
	assert_warned(rig, "no region");

	hold(rig, &h);
	assert_int_equal(fe_ask(rig, VHOST_MSG_REM_MEM_REG, &r, sizeof(r), NULL, 0), 0);
	assert_int_equal(h.looked, 1);
	let_go(rig);
	assert_null(map_of(rig, 1));
	assert_int_equal(rig->n_changed, 1);
	assert_int_equal(fe_get_base(rig, 1), 77);
	close(more);
	close_ring_fds(fds);
}

/* ---- end ---- */

/* Until the wait is over, the worker may write used entries, and call. */
static void stop_waits(void **state)
{
	struct rig *rig = *state;
	struct ring_fds fds = start(rig, fe_features());
	struct held h;

	read_eventfd(fds.call);
	hold(rig, &h);
	fe_get_base(rig, 1);
	assert_int_equal(h.looked, 1);
	assert_int_equal(read_eventfd(fds.call), 1);
	let_go(rig);
	close_ring_fds(fds);

	fds = fe_start_ring(rig, 1, 256, 0);
	hold(rig, &h);
	vhost_dev_detach(rig->dev);
	assert_int_equal(h.looked, 1);
	let_go(rig);
	close_ring_fds(fds);
}

/* What comes over the socket does not leak into programs that the daemon runs. */
static void descriptors_close_on_exec(void **state)
{
	struct rig *rig = *state;
	struct ring_fds fds = start(rig, fe_features());

	fe_ring_fd(rig, VHOST_MSG_SET_VRING_ERR, 1, fds.call);
	assert_int_equal(fcntl(ring(rig, 1)->kick_fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(fcntl(ring(rig, 1)->call_fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(fcntl(ring(rig, 1)->err_fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(fcntl(vhost_dev_fd(rig->dev), F_GETFD), FD_CLOEXEC);
	close_ring_fds(fds);
}

/* No write to guest memory and no call after the answer, whatever comes next */
static void stopped_ring_is_quiet(void **state)
{
	struct rig *rig = *state;
	struct ring_fds fds = start(rig, fe_features());
	uint8_t *copy = malloc(RIG_GUEST_SIZE);

	assert_non_null(copy);
	fe_get_base(rig, 1);
	read_eventfd(fds.call);
	memcpy(copy, rig->guest, RIG_GUEST_SIZE);
	fe_ring_state(rig, VHOST_MSG_SET_VRING_ENABLE, 1, 0);
	fe_ring_state(rig, VHOST_MSG_SET_VRING_ENABLE, 1, 1);
	fe_set_u64(rig, VHOST_MSG_SET_FEATURES, VHOST_BIT(VHOST_F_PROTOCOL_FEATURES));
	fe_mem_table(rig);
	fe_ring_state(rig, VHOST_MSG_SET_VRING_NUM, 1, 256);
	fe_ring_state(rig, VHOST_MSG_SET_VRING_BASE, 1, 9);
	fe_ring_fd(rig, VHOST_MSG_SET_VRING_KICK, 1, fds.kick); /* address is missing */
	assert_null(map_of(rig, 1));
	assert_int_equal(fe_get_base(rig, 1), 9);
	fe_ring_addr(rig, 1); /* kick is missing */
	assert_null(map_of(rig, 1));
	vhost_dev_detach(rig->dev);
	assert_int_equal(read_eventfd(fds.call), 0);
	assert_memory_equal(copy, rig->guest, RIG_GUEST_SIZE);
	free(copy);
	close_ring_fds(fds);
}

static void worker_gives_ring_up(void **state)
{
	struct rig *rig = *state;
	struct ring_fds fds = start(rig, fe_features());
	struct ring_fds fds0 = fe_start_ring(rig, 0, 256, 0);
	int err = make_eventfd();

	fe_ring_fd(rig, VHOST_MSG_SET_VRING_ERR, 1, err);
	assert_int_equal(vhost_dev_report_faults(rig->dev), 0);
	ring(rig, 1)->last_avail = ring(rig, 1)->avail_seen = 40;
	guest_avail(rig, 1)->idx = 500;
	assert_int_equal(vhost_split_avail(ring(rig, 1), map_of(rig, 1), 1), 0);
	assert_null(map_of(rig, 1));                    /* from now on workers skip it */
	vhost_vq_fail(ring(rig, 1), VHOST_VQ_BAD_HEAD); /* the first reason stays */
	rig->n_changed = rig->n_quiesce = 0;
	assert_int_equal(vhost_dev_report_faults(rig->dev), 1);
	assert_int_equal(rig->n_changed, 1);
	assert_int_equal(rig->n_quiesce, 1);
	assert_int_equal(rig->n_warn, 1);
	assert_warned(rig, "ring 1 was given up: available index ran ahead");
	assert_int_equal(read_eventfd(err), 1);
	assert_int_equal(vhost_dev_report_faults(rig->dev), 0);
	assert_int_equal(rig->n_warn, 1);
	assert_non_null(map_of(rig, 0)); /* nothing else is affected */
	assert_false(vhost_dev_broken(rig->dev));

	/* It stays stopped, until the front end starts it anew. */
	fe_mem_table(rig);
	fe_ring_state(rig, VHOST_MSG_SET_VRING_ENABLE, 1, 0);
	fe_ring_state(rig, VHOST_MSG_SET_VRING_ENABLE, 1, 1);
	assert_false(ring(rig, 1)->started);
	assert_int_equal(fe_get_base(rig, 1), 40);
	close_ring_fds(fds);
	fds = fe_start_ring(rig, 1, 256, 40);
	assert_int_equal(atomic_load(&ring(rig, 1)->fault), VHOST_VQ_OK);
	assert_non_null(map_of(rig, 1));
	close(err);
	close_ring_fds(fds);
	close_ring_fds(fds0);
}

/* The front end stops a ring that a worker gave up a moment ago: it is told once all the same. */
static void given_up_then_stopped(void **state)
{
	struct rig *rig = *state;
	struct ring_fds fds = start(rig, fe_features());

	vhost_vq_fail(ring(rig, 1), VHOST_VQ_BAD_CHAIN);
	fe_get_base(rig, 1);
	assert_int_equal(rig->n_warn, 1);
	assert_warned(rig, "malformed descriptor chain");
	assert_int_equal(vhost_dev_report_faults(rig->dev), 0);
	close_ring_fds(fds);
}

static void status_reset_stops(void **state)
{
	struct rig *rig = *state;
	struct ring_fds fds = start(rig, fe_features());

	fe_set_u64(rig, VHOST_MSG_SET_STATUS, 0xf);
	assert_non_null(map_of(rig, 1));
	ring(rig, 1)->last_avail = 3;
	fe_set_u64(rig, VHOST_MSG_SET_STATUS, 0);
	assert_null(map_of(rig, 1));
	assert_int_equal(fe_get_base(rig, 1), 3);
	close_ring_fds(fds);
}

/* ---- guest memory that disappears ---- */

static void memory_is_truncated(void **state)
{
	struct rig *rig = *state;
	struct ring_fds fds = start(rig, fe_features());
	struct pollfd p = {.fd = vhost_dev_fd(rig->dev), .events = POLLIN};

	assert_int_equal(ftruncate(rig->guest_fd, 0), 0);
	assert_int_equal(vhost_dev_report_faults(rig->dev), 0); /* nobody has noticed yet */
	/* The worker looks, lives, and sees an empty ring. */
	ring(rig, 1)->last_avail = ring(rig, 1)->avail_seen = 0;
	assert_int_equal(vhost_split_avail(ring(rig, 1), map_of(rig, 1), 1), 0);
	assert_int_equal(poll(&p, 1, 0), 0);
	assert_int_equal(vhost_dev_report_faults(rig->dev), 1);
	assert_true(vhost_dev_broken(rig->dev));
	assert_null(map_of(rig, 1));
	assert_warned(rig, "guest memory disappeared");
	assert_int_equal(rig->n_warn, 1);
	assert_int_equal(vhost_dev_report_faults(rig->dev), 0);
	/* A silent front end does not keep the connection: the socket becomes readable. */
	assert_int_equal(poll(&p, 1, 0), 1);
	assert_int_equal(rig_receive(rig), -EPROTO);
	assert_true(fe_closed(rig));
	vhost_dev_detach(rig->dev);
	assert_false(vhost_dev_broken(rig->dev));

	/* With whole memory again, it is served again. */
	assert_int_equal(ftruncate(rig->guest_fd, (off_t)RIG_GUEST_SIZE), 0);
	rig_attach(rig);
	close_ring_fds(fds);
	fds = start(rig, fe_features());
	assert_non_null(map_of(rig, 1));
	assert_int_equal(vhost_dev_report_faults(rig->dev), 0);
	close_ring_fds(fds);
}

/* The device itself is the first to touch what is gone: reading used->idx at start */
static void truncated_before_start(void **state)
{
	struct rig *rig = *state;
	struct ring_fds fds;

	fe_negotiate(rig, fe_features());
	fe_mem_table(rig);
	assert_int_equal(ftruncate(rig->guest_fd, 4096), 0);
	fds.kick = make_eventfd();
	fds.call = make_eventfd();
	fe_ring_state(rig, VHOST_MSG_SET_VRING_NUM, 1, 256);
	fe_ring_addr(rig, 1);
	fe_ring_fd(rig, VHOST_MSG_SET_VRING_KICK, 1, fds.kick);
	assert_int_equal(rig_receive(rig), -EPROTO);
	assert_warned(rig, "guest memory disappeared");
	assert_true(vhost_dev_broken(rig->dev));
	close_ring_fds(fds);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)
	const struct CMUnitTest tests[] = {
		T(starts_in_any_order),
		T(parts_at_the_end_of_memory),
		T(part_across_regions),
		T(sizes),
		T(call_is_replaced),
		T(call_that_is_full),
		T(kick_is_replaced),
		T(addresses_move),
		T(features_change),
		T(enable_toggles),
		T(running_ring_keeps_size_and_base),
		T(memory_is_replaced),
		T(stale_hint_never_survives),
		T(memory_leaves_ring_behind),
		T(region_is_removed_under_ring),
		T(stop_waits),
		T(descriptors_close_on_exec),
		T(stopped_ring_is_quiet),
		T(worker_gives_ring_up),
		T(given_up_then_stopped),
		T(status_reset_stops),
		T(memory_is_truncated),
		T(truncated_before_start),
	};
	return cmocka_run_group_tests_name("vhost_ring", tests, NULL, NULL);
}
