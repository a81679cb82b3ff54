/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_vhost_inflight.c - the file that a front end keeps for back ends to come (INFLIGHT_SHMFD)
 *
 * The region's layout is written down here a second time, as numbers: from the specification's
 * text, not from the header under test.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include "fake_fe.h"
#include "page_watch.h"
#include "vhost_inflight.h"
#include "vhost_packed.h"
#include "vhost_split.h"

#define N_RINGS   4 /* of the rig's device */
#define SIZE      256u
#define REGION    4160u /* 16 + 256 * 16, rounded up to 64 */
#define VERSION   8     /* offsets in a region */
#define N_DESC    10
#define LAST_HEAD 12
#define USED_IDX  14
#define DESC(i)   (16 + 16 * (size_t)(i))
#define NEXT      6 /* in an entry */
#define COUNTER   8

/* Of a packed ring */
#define P_REGION   8256u /* 32 + 256 * 32, rounded up to 64 */
#define P_USED     16
#define P_OLD_USED 18
#define P_WRAP     20
#define P_OLD_WRAP 21
#define P_DESC(i)  (32 + 32 * (size_t)(i))
#define P_LAST     4 /* in an entry */
#define P_NUM      6
#define P_ID       16

struct area {
	uint8_t *at;
	size_t len;
	int fd;
};

/* Ask, and take the answer with its descriptor; -1: none came. */
static int ask_fd(struct rig *rig, struct vhost_msg_inflight *m, uint32_t size)
{
	struct vhost_msg_hdr hdr;
	struct iovec iov[] = {{&hdr, sizeof(hdr)}, {m, size}};
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct msghdr mh = {.msg_iov = iov,
	                    .msg_iovlen = 2,
	                    .msg_control = control.bytes,
	                    .msg_controllen = sizeof(control.bytes)};
	int fd = -1;

	fe_send(rig, VHOST_MSG_GET_INFLIGHT_FD, 0, m, size, NULL, 0);
	assert_int_equal(rig_receive(rig), 0);
	assert_int_equal(recvmsg(rig->fe, &mh, MSG_CMSG_CLOEXEC), sizeof(hdr) + size);
	assert_int_equal(hdr.id, VHOST_MSG_GET_INFLIGHT_FD);
	assert_int_equal(hdr.flags, 5);
	assert_int_equal(hdr.size, size);
	if (CMSG_FIRSTHDR(&mh))
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&mh)), sizeof(fd));
	return fd;
}

static void give(struct rig *rig, const struct area *area, uint16_t n, uint16_t size)
{
	struct vhost_msg_inflight m = {.size = area->len, .n_queues = n, .queue_size = size};

	assert_int_equal(fe_ask(rig, VHOST_MSG_SET_INFLIGHT_FD, &m, sizeof(m), &area->fd, 1), 0);
}

/* An area as the device makes it, mapped and given to it */
static void area_new(struct rig *rig, struct area *ret)
{
	struct vhost_msg_inflight m = {.n_queues = N_RINGS, .queue_size = SIZE};

	ret->fd = ask_fd(rig, &m, sizeof(m));
	assert_true(ret->fd >= 0);
	ret->len = m.size;
	ret->at = mmap(NULL, ret->len, PROT_READ | PROT_WRITE, MAP_SHARED, ret->fd, 0);
	assert_true(ret->at != MAP_FAILED);
}

static void area_free(struct area *area)
{
	munmap(area->at, area->len);
	close(area->fd);
}

/* Of the layout that was negotiated when the area was made */
static uint8_t *region(const struct area *area, uint32_t ring)
{
	return area->at + ring * (area->len / N_RINGS);
}

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
}

static void put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)v;
	p[1] = (uint8_t)(v >> 8);
}

/* As a predecessor left it: heads in flight, in the order of @heads */
static void hold(uint8_t *r, const uint16_t *heads, uint32_t n, uint16_t used)
{
	put16(r + VERSION, 1);
	put16(r + N_DESC, SIZE);
	put16(r + USED_IDX, used);
	for (uint32_t i = 0; i < n; i++) {
		r[DESC(heads[i])] = 1;
		put16(r + DESC(heads[i]) + COUNTER, 1000 + i);
	}
}

static void prepare(struct rig *rig)
{
	fe_negotiate(rig, fe_features());
	fe_mem_table(rig);
}

static void prepare_packed(struct rig *rig)
{
	fe_negotiate(rig, fe_features() | VHOST_BIT(VIRTIO_F_RING_PACKED));
	fe_mem_table(rig);
}

static struct ring_fds start(struct rig *rig, uint16_t used, uint16_t avail)
{
	guest_used(rig, 1)->idx = used;
	guest_avail(rig, 1)->idx = avail;
	return fe_start_ring(rig, 1, SIZE, used);
}

static void finish(struct ring_fds r, struct area *area)
{
	close_ring_fds(r);
	area_free(area);
}

/* What belongs to the rings beside ring 1 */
static void expect_untouched_neighbours(const struct area *area)
{
	const uint8_t *ring = region(area, 1), *end = region(area, 2);

	for (const uint8_t *p = area->at; p < area->at + area->len; p++) {
		if (*p && (p < ring || p >= end))
			fail_msg("byte %td of the area was written", p - area->at);
	}
}

/* Any bytes, and in some rounds nothing but 1, which says "in flight" */
static void fill_with_noise(uint8_t *bytes, size_t n, int round)
{
	static uint32_t seed = 1;

	for (size_t i = 0; i < n; i++) {
		seed = seed * 1664525 + 1013904223;
		bytes[i] = (uint8_t)(round % 3 == 0 ? 1 : seed >> 24);
	}
}

/* ---- messages ---- */

static void file_is_made(void **state)
{
	struct rig *rig = *state;
	struct vhost_msg_inflight m = {.n_queues = N_RINGS, .queue_size = SIZE, .offset = 4096};
	struct area area;

	prepare(rig);
	area_new(rig, &area);
	assert_int_equal(area.len, N_RINGS * REGION);
	for (size_t i = 0; i < area.len; i++)
		assert_int_equal(area.at[i], 0);
	/* A front end that truncates it by mistake harms nobody. */
	assert_int_equal(ftruncate(area.fd, 0), -1);
	assert_int_equal(fcntl(area.fd, F_GET_SEALS), F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
	area_free(&area);
	/* Without the padding; the offset asked for means nothing. */
	area.fd = ask_fd(rig, &m, 20);
	assert_true(area.fd >= 0);
	assert_int_equal(m.offset, 0);
	assert_int_equal(m.size, N_RINGS * REGION);
	close(area.fd);
	for (int i = 0; i < 100; i++)
		close(ask_fd(rig, &m, sizeof(m)));
	assert_int_equal(rig->n_warn, 0);
}

static void file_is_refused(void **state)
{
	struct rig *rig = *state;
	static const struct {
		uint16_t n, size;
	} bad[] = {{0, SIZE},       {N_RINGS + 1, SIZE}, {UINT16_MAX, SIZE},   {N_RINGS, 0},
	           {N_RINGS, 1000}, {N_RINGS, 40000},    {N_RINGS, UINT16_MAX}};

	prepare(rig);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct vhost_msg_inflight m = {
			.size = 77, .n_queues = bad[i].n, .queue_size = bad[i].size};

		assert_int_equal(ask_fd(rig, &m, sizeof(m)), -1);
		assert_int_equal(m.size, 0);
		assert_warned(rig, "GET_INFLIGHT_FD: no area");
	}
	assert_int_equal(rig->n_warn, ARRAY_SIZE(bad));
	fe_honest(rig);
}

/* Sizes, offsets and files that do not fit: refused, and nothing of them stays. */
static void area_is_refused(void **state)
{
	struct rig *rig = *state;
	int small = make_memfd(4096), good = make_memfd(N_RINGS * REGION), event = make_eventfd();
	const uint64_t len = N_RINGS * REGION;
	const struct {
		struct vhost_msg_inflight m;
		int fd;
		const char *why;
	} bad[] = {
		{{len, 0, 0, SIZE}, good, "number or size"},
		{{len, 0, N_RINGS, 0}, good, "number or size"},
		{{len, 0, N_RINGS, 100}, good, "number or size"},
		{{len, 0, N_RINGS + 1, SIZE}, good, "the device has 4"},
		{{len, 0, N_RINGS, 512}, good, "smaller than"},
		{{0, 0, N_RINGS, SIZE}, good, "smaller than"},
		{{len - 1, 0, N_RINGS, SIZE}, good, "smaller than"},
		{{len, 4096, N_RINGS, SIZE}, good, "shorter than"},
		{{len, 1, N_RINGS, SIZE}, good, "multiple of the page"},
		{{len, UINT64_MAX - 4095, N_RINGS, SIZE}, good, "SET_INFLIGHT_FD"},
		{{UINT64_MAX, 0, N_RINGS, SIZE}, good, "SET_INFLIGHT_FD"},
		{{len, 0, N_RINGS, SIZE}, small, "shorter than"},
		{{len, 0, N_RINGS, SIZE}, event, "not a file"},
	};
	uint32_t maps = count_memfd_mappings(), fds;

	prepare(rig);
	maps = count_memfd_mappings();
	fds = count_fds();
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		uint32_t before = rig->n_warn;

		assert_int_equal(
			fe_ask(rig, VHOST_MSG_SET_INFLIGHT_FD, &bad[i].m, 24, &bad[i].fd, 1), 1);
		assert_int_equal(rig->n_warn, before + 1);
		assert_warned(rig, bad[i].why);
	}
	assert_int_equal(count_memfd_mappings(), maps);
	assert_int_equal(count_fds(), fds);
	close(small);
	close(good);
	close(event);
	fe_honest(rig);
}

static void repeats_do_not_pile_up(void **state)
{
	struct rig *rig = *state;
	uint32_t maps, fds;
	struct ring_fds r;
	struct area area;

	prepare(rig);
	area_new(rig, &area);
	maps = count_memfd_mappings();
	fds = count_fds();
	for (int i = 0; i < 50; i++)
		give(rig, &area, N_RINGS, SIZE);
	assert_int_equal(count_memfd_mappings(), maps + 1);
	assert_int_equal(count_fds(), fds);
	/* Not under rings that run */
	r = start(rig, 0, 0);
	struct vhost_msg_inflight m = {.size = area.len, .n_queues = 1, .queue_size = SIZE};
	assert_int_equal(fe_ask(rig, VHOST_MSG_SET_INFLIGHT_FD, &m, 24, &area.fd, 1), 1);
	assert_warned(rig, "rings are running");
	fe_get_base(rig, 1);
	give(rig, &area, N_RINGS, SIZE);
	vhost_dev_detach(rig->dev);
	assert_int_equal(count_memfd_mappings(), maps - 1); /* guest memory went, too */
	finish(r, &area);
}

/* Ring sizes may be set after the area was: then the ring is not tracked, and nothing is written
 * beyond its region. */
static void ring_of_another_size(void **state)
{
	struct rig *rig = *state;
	struct ring_fds r;
	struct area area;

	prepare(rig);
	area_new(rig, &area);
	give(rig, &area, N_RINGS, SIZE);
	r = fe_start_ring(rig, 1, 1024, 0);
	assert_warned(rig, "ring 1: SET_INFLIGHT_FD was for rings of 256, not of 1024");
	assert_null(vhost_vq_get_map(vhost_dev_vq(rig->dev, 1))->inflight_idx);
	for (size_t i = 0; i < area.len; i++)
		assert_int_equal(area.at[i], 0);
	fe_get_base(rig, 1);
	close_ring_fds(r);
	/* A ring beyond the area's last */
	give(rig, &area, 1, SIZE);
	r = fe_start_ring(rig, 1, SIZE, 0);
	assert_null(vhost_vq_get_map(vhost_dev_vq(rig->dev, 1))->inflight_idx);
	finish(r, &area);
}

static void area_is_truncated(void **state)
{
	struct rig *rig = *state;
	struct area area = {.len = N_RINGS * REGION, .fd = make_memfd(N_RINGS * REGION)};
	struct vhost_vq *vq = vhost_dev_vq(rig->dev, 1);
	struct ring_fds r;

	prepare(rig);
	give(rig, &area, N_RINGS, SIZE);
	r = start(rig, 0, 0);
	assert_int_equal(ftruncate(area.fd, 0), 0);
	vhost_split_publish(vq, vhost_vq_get_map(vq)); /* the worker lives */
	assert_int_equal(vhost_dev_report_faults(rig->dev), 1);
	assert_warned(rig, "the area of SET_INFLIGHT_FD disappeared");
	assert_true(vhost_dev_broken(rig->dev));
	vhost_dev_detach(rig->dev);
	close_ring_fds(r);
	close(area.fd);
}

/* ---- rings ---- */

static void publication_is_noted(void **state)
{
	struct rig *rig = *state;
	struct vhost_vq *vq = vhost_dev_vq(rig->dev, 1);
	const struct vhost_vq_map *map;
	struct ring_fds r;
	struct area area;
	uint8_t *reg;

	prepare(rig);
	area_new(rig, &area);
	reg = region(&area, 1);
	give(rig, &area, N_RINGS, SIZE);
	r = start(rig, 65530, 65530);
	assert_int_equal(get16(reg + VERSION), 1);
	assert_int_equal(get16(reg + N_DESC), SIZE);
	assert_int_equal(get16(reg + USED_IDX), 65530);
	map = vhost_vq_get_map(vq);
	for (int i = 0; i < 10; i++) {
		vq->used_idx++;
		vhost_split_publish(vq, map);
		assert_int_equal(get16(reg + USED_IDX), (uint16_t)(65531 + i));
	}
	assert_int_equal(get16(region(&area, 0) + VERSION), 0); /* the other ring's */
	assert_int_equal(get16(region(&area, 2) + VERSION), 0);
	finish(r, &area);
}

/* A predecessor that works out of order: what it held is given back, oldest first. */
static void held_buffers_are_given_back(void **state)
{
	struct rig *rig = *state;
	static const uint16_t heads[] = {200, 3, 255, 0};
	struct vhost_vq *vq = vhost_dev_vq(rig->dev, 1);
	struct ring_fds r;
	struct area area;

	prepare(rig);
	area_new(rig, &area);
	hold(region(&area, 1), heads, 4, 65534);
	give(rig, &area, N_RINGS, SIZE);
	r = start(rig, 65534, 10);
	assert_int_equal(guest_used(rig, 1)->idx, 2);
	for (uint16_t i = 0; i < 4; i++) {
		const struct vring_used_elem *e =
			&guest_used(rig, 1)->ring[(uint16_t)(65534 + i) % SIZE];

		assert_int_equal(e->id, heads[i]);
		assert_int_equal(e->len, 0);
		assert_int_equal(region(&area, 1)[DESC(heads[i])], 0);
	}
	assert_int_equal(vq->last_avail, 2);
	assert_int_equal(vq->used_idx, 2);
	assert_int_equal(vhost_split_avail(vq, vhost_vq_get_map(vq), 1), 8);
	assert_int_equal(get16(region(&area, 1) + USED_IDX), 2);
	finish(r, &area);
}

/* It died between publishing a batch and noting that. */
static void last_batch_is_finished(void **state)
{
	struct rig *rig = *state;
	static const uint16_t heads[] = {9, 5, 7, 8};
	struct ring_fds r;
	struct area area;
	uint8_t *reg;

	prepare(rig);
	area_new(rig, &area);
	reg = region(&area, 1);
	hold(reg, heads, 4, 100);
	put16(reg + LAST_HEAD, 7); /* the batch: 7, then 5 */
	put16(reg + DESC(7) + NEXT, 5);
	put16(reg + DESC(5) + NEXT, 9);
	give(rig, &area, N_RINGS, SIZE);
	r = start(rig, 102, 110);
	assert_int_equal(guest_used(rig, 1)->idx, 104);
	assert_int_equal(guest_used(rig, 1)->ring[102].id, 9);
	assert_int_equal(guest_used(rig, 1)->ring[103].id, 8);
	finish(r, &area);
}

/* Whatever stands in the file: no walk outside of it or without an end, and no buffer is given back
 * that the driver did not make available. */
static void hostile_area(void **state)
{
	struct rig *rig = *state;
	uint32_t given_back = 0;

	prepare(rig);
	for (int round = 0; round < 300; round++) {
		struct vhost_vq *vq = vhost_dev_vq(rig->dev, 1);
		struct ring_fds r;
		struct area area;
		uint8_t *reg;

		area_new(rig, &area);
		reg = region(&area, 1);
		fill_with_noise(reg, REGION, round);
		if (round % 2)
			put16(reg + VERSION, 1);
		if (round % 4 > 1)
			put16(reg + N_DESC, SIZE);
		give(rig, &area, N_RINGS, SIZE);
		r = start(rig, 40, 50);
		assert_in_range(guest_used(rig, 1)->idx, 40, 50);
		given_back += guest_used(rig, 1)->idx - 40u;
		assert_int_equal(vq->last_avail, vq->used_idx);
		assert_int_equal(fe_get_base(rig, 1), guest_used(rig, 1)->idx);
		expect_untouched_neighbours(&area);
		finish(r, &area);
	}
	assert_true(given_back > 0); /* noise that is believed, too */
	fe_honest(rig);
}

/* ---- packed rings ---- */

static struct vring_packed_desc *packed_slots(struct rig *rig)
{
	return (void *)(rig->guest + RIG_RING_SPAN + RIG_DESC);
}

/* One store before the publication says both: where it begins, and where it ends. */
static void packed_publication_is_noted(void **state)
{
	struct rig *rig = *state;
	struct vhost_vq *vq = vhost_dev_vq(rig->dev, 1);
	const struct vhost_vq_map *map;
	struct ring_fds r;
	struct area area;
	uint8_t *reg;

	prepare_packed(rig);
	area_new(rig, &area);
	assert_int_equal(area.len, N_RINGS * P_REGION);
	reg = region(&area, 1);
	give(rig, &area, N_RINGS, SIZE);
	r = fe_start_ring(rig, 1, SIZE, 0x80fe80feu); /* slot 254 of the first lap */
	assert_int_equal(get16(reg + VERSION), 1);
	assert_int_equal(get16(reg + N_DESC), SIZE);
	assert_int_equal(get16(reg + P_USED), 254);
	assert_int_equal(reg[P_WRAP], 1);
	map = vhost_vq_get_map(vq);
	vhost_packed_take(vq, map, 9, 0);
	vhost_packed_take(vq, map, 8, 0);
	vhost_packed_take(vq, map, 7, 0);
	assert_int_equal(get16(reg + P_USED), 254);
	vhost_packed_publish(vq, map);
	assert_int_equal(get16(reg + P_USED), 1);
	assert_int_equal(reg[P_WRAP], 0);
	assert_int_equal(get16(reg + P_OLD_USED), 254);
	assert_int_equal(reg[P_OLD_WRAP], 1);
	finish(r, &area);
}

static void packed_hold(uint8_t *reg, uint16_t entry, uint16_t id, uint16_t num, uint16_t counter)
{
	uint8_t *e = reg + P_DESC(entry);

	e[0] = 1;
	put16(e + P_LAST, entry);
	put16(e + P_NUM, num);
	put16(e + COUNTER, counter);
	put16(e + P_ID, id);
}

static void packed_held_buffers_are_given_back(void **state)
{
	struct rig *rig = *state;
	struct vhost_vq *vq = vhost_dev_vq(rig->dev, 1);
	struct ring_fds r;
	struct area area;
	uint8_t *reg;

	prepare_packed(rig);
	area_new(rig, &area);
	reg = region(&area, 1);
	put16(reg + VERSION, 1);
	put16(reg + N_DESC, SIZE);
	put16(reg + LAST_HEAD, 200); /* the free list: one entry, which claims to be in flight */
	put16(reg + LAST_HEAD + 2, 200);
	packed_hold(reg, 200, 66, 1, 0);
	put16(reg + P_DESC(200) + 2, 0xffff);
	put16(reg + P_USED, 250);
	put16(reg + P_OLD_USED, 250);
	reg[P_WRAP] = reg[P_OLD_WRAP] = 1;
	packed_hold(reg, 3, 33, 1, 20);
	packed_hold(reg, 7, 77, 4, 10);
	packed_hold(reg, 9, 99, 3, 30);
	give(rig, &area, N_RINGS, SIZE);
	r = fe_start_ring(rig, 1, SIZE, VHOST_KEPT_FRESH);
	assert_int_equal(packed_slots(rig)[250].id, 77);
	assert_int_equal(packed_slots(rig)[250].flags, VHOST_PACKED_BITS);
	assert_int_equal(packed_slots(rig)[254].id, 33);
	assert_int_equal(packed_slots(rig)[255].id, 99);
	assert_int_equal(packed_slots(rig)[255].len, 0);
	assert_int_equal(vq->last_avail, 2);
	assert_int_equal(vq->used_idx, 2);
	assert_int_equal(vq->avail_bits, VHOST_PACKED_USED); /* the second lap */
	assert_int_equal(get16(reg + P_USED), 2);
	assert_int_equal(reg[P_WRAP], 0);
	assert_int_equal(reg[P_DESC(7)], 0);
	finish(r, &area);
}

static void hostile_packed_area(void **state)
{
	struct rig *rig = *state;

	prepare_packed(rig);
	for (int round = 0; round < 300; round++) {
		struct vhost_vq *vq = vhost_dev_vq(rig->dev, 1);
		struct ring_fds r;
		struct area area;
		uint8_t *reg;

		area_new(rig, &area);
		reg = region(&area, 1);
		fill_with_noise(reg, P_REGION, round);
		put16(reg + VERSION, 1);
		put16(reg + N_DESC, SIZE);
		if (round % 2) {
			put16(reg + P_USED, round);
			put16(reg + P_OLD_USED, round / 2);
		}
		give(rig, &area, N_RINGS, SIZE);
		r = fe_start_ring(rig, 1, SIZE, VHOST_KEPT_FRESH);
		assert_true(vq->used_idx < SIZE);
		assert_int_equal(vq->last_avail, vq->used_idx);
		fe_get_base(rig, 1);
		expect_untouched_neighbours(&area);
		finish(r, &area);
	}
}

/* ---- an area that changes while it is read ---- */

#define FEW 8u /* descriptors: each load is a run of its own */

struct taken {
	bool packed;
	uint8_t *region; /* one page, and behind it one without rights */
	struct vhost_vq_map map;
	uint8_t *ring;    /* three pages: descriptors, avail, used */
	uint16_t goes_on; /* where the ring does */
};

static void taken_lay(void *arg)
{
	struct taken *t = arg;

	memset(t->region, 0, 4096);
	memset(t->ring, 0, 3 * 4096);
	put16(t->region + VERSION, 1);
	put16(t->region + N_DESC, FEW);
	if (t->packed) {
		put16(t->region + LAST_HEAD, 0); /* the free list: 0, 1 */
		put16(t->region + LAST_HEAD + 2, 0);
		packed_hold(t->region, 0, 66, 1, 0);
		put16(t->region + P_DESC(0) + 2, 1);
		put16(t->region + P_DESC(1) + 2, 0xffff);
		put16(t->region + P_USED, 6);
		put16(t->region + P_OLD_USED, 6);
		t->region[P_WRAP] = t->region[P_OLD_WRAP] = 1;
		packed_hold(t->region, 3, 33, 1, 20);
		packed_hold(t->region, 7, 44, 4, 10);
	} else {
		static const uint16_t heads[] = {1, 5, 7, 2};

		hold(t->region, heads, 4, 100);
		put16(t->region + N_DESC, FEW);
		put16(t->region + LAST_HEAD, 7); /* the last batch: 7, then 5 */
		put16(t->region + DESC(7) + NEXT, 5);
		put16(t->region + DESC(5) + NEXT, 1);
		put16((uint8_t *)t->map.used + 2, 102);
		put16((uint8_t *)t->map.avail + 2, 108);
	}
}

static void taken_run(void *arg)
{
	struct taken *t = arg;
	void *region = t->region;

	t->goes_on = t->packed ? vhost_inflight_take_over_packed(region, &t->map, 1)
	                       : vhost_inflight_take_over(region, &t->map);
}

static void taken_result(void *arg, void *ret)
{
	struct taken *t = arg;

	memcpy(ret, t->ring, 3 * 4096);
	memcpy((uint8_t *)ret + 3 * 4096, &t->goes_on, sizeof(t->goes_on));
}

static void try_area(struct taken *t, size_t off, uint32_t size, uint64_t bad)
{
	const struct page_scene scene = {taken_lay, taken_run, taken_result, t,
	                                 3 * 4096 + sizeof(t->goes_on)};
	const char *why = page_watch(&scene, t->region + off, size, bad);

	if (why)
		fail_msg("%s area, byte %zu: %s", t->packed ? "packed" : "split", off, why);
}

static void area_changes_while_it_is_read(void **state)
{
	static const struct {
		size_t off;
		uint32_t size;
	} split[] = {{VERSION, 2}, {N_DESC, 2},         {LAST_HEAD, 2},         {USED_IDX, 2},
	             {DESC(7), 1}, {DESC(7) + NEXT, 2}, {DESC(2) + COUNTER, 8}, {DESC(3), 1}},
	  packed[] = {{VERSION, 2},
	              {N_DESC, 2},
	              {LAST_HEAD, 2},
	              {LAST_HEAD + 2, 2},
	              {P_USED, 2},
	              {P_OLD_USED, 2},
	              {P_DESC(0) + 2, 2},
	              {P_DESC(3), 1},
	              {P_DESC(3) + P_LAST, 2},
	              {P_DESC(3) + P_NUM, 2},
	              {P_DESC(3) + COUNTER, 8},
	              {P_DESC(7) + P_NUM, 2},
	              {P_DESC(7) + P_ID, 2}};
	static const uint64_t bad[] = {0, 1, 5, FEW, UINT64_MAX};
	struct taken t = {.map = {.size = FEW}};
	uint8_t *at =
		mmap(NULL, 5 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)state;
	if (!PAGE_WATCH)
		skip();
	assert_true(at != MAP_FAILED);
	assert_int_equal(mprotect(at + 4096, 4096, PROT_NONE), 0);
	t.region = at;
	t.ring = at + 2 * 4096;
	t.map.desc = (void *)t.ring;
	t.map.avail = (void *)(t.ring + 4096);
	t.map.used = (void *)(t.ring + 2 * 4096);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		t.packed = t.map.packed = false;
		for (size_t k = 0; k < ARRAY_SIZE(split); k++)
			try_area(&t, split[k].off, split[k].size, bad[i]);
		t.packed = t.map.packed = true;
		for (size_t k = 0; k < ARRAY_SIZE(packed); k++)
			try_area(&t, packed[k].off, packed[k].size, bad[i]);
	}
	munmap(at, 5 * 4096);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)
	const struct CMUnitTest tests[] = {
		T(file_is_made),
		T(file_is_refused),
		T(area_is_refused),
		T(repeats_do_not_pile_up),
		T(ring_of_another_size),
		T(area_is_truncated),
		T(publication_is_noted),
		T(held_buffers_are_given_back),
		T(last_batch_is_finished),
		T(hostile_area),
		T(packed_publication_is_noted),
		T(packed_held_buffers_are_given_back),
		T(hostile_packed_area),
		cmocka_unit_test(area_changes_while_it_is_read),
	};
	return cmocka_run_group_tests_name("vhost_inflight", tests, NULL, NULL);
}
