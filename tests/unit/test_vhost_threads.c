/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_vhost_threads.c - a worker that forwards while the front end changes everything under it
 *
 * The worker consumes its transmit ring without pause and passes a quiescent point after each
 * burst. The control thread replaces memory, call descriptors, features and the enabled state, and
 * stops and starts the ring. The guest sees each of its buffers come back exactly once and in
 * order, GET_VRING_BASE names the exact position, and the sanitizers see no access to anything
 * freed. All of it with split rings, then with packed ones.
 */
#include <pthread.h>
#include "fake_fe.h"
#include "vhost_ring.h"

#define RING_SIZE 256
#define ROUNDS    400

#define PACKED_SIZE 251

static bool packed;

static uint32_t ring_size(void)
{
	return packed ? PACKED_SIZE : RING_SIZE;
}

static uint64_t features(void)
{
	return fe_features() | (packed ? VHOST_BIT(VIRTIO_F_RING_PACKED) : 0);
}

struct worker {
	pthread_t thread;
	struct vhost_vq *vq;
	_Atomic uint64_t epoch; /* bursts finished; the worker adds, the control thread reads */
	_Atomic bool stop;
	uint64_t done; /* buffers completed */
};

static void burst(struct worker *w)
{
	struct vhost_vq *vq = w->vq;
	const struct vhost_vq_map *map = vhost_vq_get_map(vq);
	uint32_t n;

	if (!map)
		return;
	vhost_vq_use_map(vq, map);
	for (n = 0; n < 32; n++) {
		struct vhost_seg seg;
		struct vhost_segs segs = {.seg = &seg, .max = 1};
		struct vhost_cursor cursor = vhost_ring_cursor(vq);
		struct vhost_buf buf;
		enum vhost_vq_fault fault = vhost_ring_next(vq, map, &cursor, false, &segs, &buf);

		if (fault == VHOST_VQ_EMPTY)
			break;
		if (fault != VHOST_VQ_OK) {
			vhost_vq_fail(vq, fault);
			return;
		}
		__atomic_fetch_add((uint32_t *)(void *)seg.base, 1, __ATOMIC_RELAXED);
		vhost_ring_done(vq, map, buf, 0);
		w->done++;
	}
	if (n) {
		vhost_ring_publish(vq, map);
		ring_fence_full();
		vhost_ring_notify(vq, map);
	}
}

static void *work(void *arg)
{
	struct worker *w = arg;

	while (!atomic_load_explicit(&w->stop, memory_order_acquire)) {
		burst(w);
		/* W: acquire in wait_for_worker(): all of the burst is over */
		atomic_fetch_add_explicit(&w->epoch, 1, memory_order_acq_rel);
	}
	vhost_signal_end();
	return NULL;
}

/* Two steps: a burst that began before the call may end at the first. */
static void wait_for_worker(struct rig *rig)
{
	struct worker *w = rig->hook_data;
	uint64_t from = atomic_load_explicit(&w->epoch, memory_order_acquire);

	while (atomic_load_explicit(&w->epoch, memory_order_acquire) < from + 2)
		sched_yield();
}

/* The guest: one buffer behind each descriptor, all made available again when they come back */
struct guest {
	struct rig *rig;
	uint64_t given, taken; /* buffers ever */
};

static struct vring_packed_desc *guest_slots(struct guest *g)
{
	return (void *)(g->rig->guest + RIG_RING_SPAN + RIG_DESC);
}

/* The wrap counter of the lap in which buffer @n is handled */
static bool lap(uint64_t n)
{
	return n / PACKED_SIZE % 2 == 0;
}

/* How far the worker has come, as GET_VRING_BASE says it */
static uint32_t guest_base(struct guest *g)
{
	uint32_t at = (uint32_t)(g->taken % PACKED_SIZE) | (lap(g->taken) ? 0x8000 : 0);

	return packed ? at << 16 | at : guest_used(g->rig, 1)->idx;
}

static void guest_init(struct guest *g, uint64_t gpa, uint64_t step)
{
	struct vring_desc *desc = (void *)guest_slots(g);

	/* Packed: the flags come when a slot is made available. */
	for (uint64_t i = 0; i < ring_size(); i++)
		desc[i] = (struct vring_desc){.addr = gpa + i * step, .len = 64};
}

static void take_split(struct guest *g)
{
	struct vring_used *used = guest_used(g->rig, 1);
	uint16_t idx = ring_load_acquire16(&used->idx);

	assert_true((uint16_t)(idx - g->taken) <= (uint16_t)(g->given - g->taken));
	for (; (uint16_t)g->taken != idx; g->taken++) {
		uint64_t e = __atomic_load_n((uint64_t *)(void *)&used->ring[g->taken % RING_SIZE],
		                             __ATOMIC_RELAXED);

		assert_int_equal((uint32_t)e, g->taken % RING_SIZE); /* in order, each once */
	}
}

static void take_packed(struct guest *g)
{
	for (; g->taken != g->given; g->taken++) {
		struct vring_packed_desc *d = &guest_slots(g)[g->taken % PACKED_SIZE];

		if (ring_load_acquire16(&d->flags) != (lap(g->taken) ? 0x8080 : 0))
			break;
		/* in order, each once */
		assert_int_equal(__atomic_load_n(&d->id, __ATOMIC_RELAXED), (uint16_t)g->taken);
	}
}

static void give_split(struct guest *g)
{
	struct vring_avail *avail = guest_avail(g->rig, 1);

	for (; g->given - g->taken < RING_SIZE; g->given++)
		ring_store_relaxed16(&avail->ring[g->given % RING_SIZE], g->given % RING_SIZE);
	ring_store_release16(&avail->idx, (uint16_t)g->given);
}

static void give_packed(struct guest *g)
{
	for (; g->given - g->taken < PACKED_SIZE; g->given++) {
		struct vring_packed_desc *d = &guest_slots(g)[g->given % PACKED_SIZE];

		__atomic_store_n(&d->id, (uint16_t)g->given, __ATOMIC_RELAXED);
		__atomic_store_n(&d->len, 64, __ATOMIC_RELAXED);
		ring_store_release16(&d->flags, lap(g->given) ? 0x80 : 0x8000);
	}
}

static void guest_take(struct guest *g)
{
	if (packed)
		take_packed(g);
	else
		take_split(g);
}

static void guest_turn(struct guest *g)
{
	guest_take(g);
	if (packed)
		give_packed(g);
	else
		give_split(g);
}

static void change_something(struct guest *g, uint32_t round, struct ring_fds *fds)
{
	struct rig *rig = g->rig;
	const uint64_t all = features();
	struct vhost_msg_mem_region extra = {
		.region = {1ULL << 40, 0x100000, 1ULL << 41, 0x100000}};
	uint32_t base;

	switch (round % 7) {
	case 0:
		fe_mem_table(rig);
		break;
	case 1:
		fe_ring_fd(rig, VHOST_MSG_SET_VRING_CALL, 1, round & 8 ? fds->call : -1);
		break;
	case 2:
		fe_ring_state(rig, VHOST_MSG_SET_VRING_ENABLE, 1, round & 1);
		break;
	case 3:
		fe_set_u64(rig, VHOST_MSG_SET_FEATURES,
		           round & 1 ? all : all & ~VHOST_BIT(VIRTIO_RING_F_EVENT_IDX));
		break;
	case 4:
		assert_int_equal(fe_ask(rig, VHOST_MSG_ADD_MEM_REG, &extra, sizeof(extra),
		                        &rig->guest_fd, 1),
		                 0);
		assert_int_equal(fe_ask(rig, VHOST_MSG_REM_MEM_REG, &extra, sizeof(extra), NULL, 0),
		                 0);
		break;
	case 5:
		fe_ring_fd(rig, VHOST_MSG_SET_VRING_KICK, 1, round & 8 ? fds->kick : -1);
		break;
	default:
		base = fe_get_base(rig, 1);
		guest_take(g);
		assert_int_equal(base, guest_base(g)); /* nothing is in flight */
		close_ring_fds(*fds);
		*fds = fe_start_ring(rig, 1, ring_size(), base);
		break;
	}
}

static void changes_under_load(void **state)
{
	struct rig *rig = *state;
	struct worker w = {.vq = vhost_dev_vq(rig->dev, 1)};
	struct guest g = {.rig = rig};
	struct ring_fds fds;
	uint32_t base;

	rig->hook_data = &w;
	rig->on_quiesce = wait_for_worker;
	guest_init(&g, RIG_GPA + 0x100000, 64);
	assert_int_equal(pthread_create(&w.thread, NULL, work, &w), 0);
	fe_negotiate(rig, features());
	fe_mem_table(rig);
	fds = fe_start_ring(rig, 1, ring_size(), guest_base(&g));
	for (uint32_t round = 0; round < ROUNDS; round++) {
		guest_turn(&g);
		change_something(&g, round, &fds);
		assert_int_equal(vhost_dev_report_faults(rig->dev), 0);
	}
	guest_turn(&g);
	base = fe_get_base(rig, 1);
	guest_take(&g);
	assert_int_equal(base, guest_base(&g));
	vhost_dev_detach(rig->dev);
	atomic_store_explicit(&w.stop, true, memory_order_release);
	assert_int_equal(pthread_join(w.thread, NULL), 0);
	/* All that came back was taken once; what is out was not touched. */
	assert_int_equal(w.done, g.taken);
	assert_true(w.done > ROUNDS);
	close_ring_fds(fds);
}

/* The front end truncates memory while the worker runs; the process lives, the connection ends. */
static void truncation_under_load(void **state)
{
	struct rig *rig = *state;
	struct worker w = {.vq = vhost_dev_vq(rig->dev, 1)};
	struct guest g = {.rig = rig};
	struct ring_fds fds;
	int mem = make_memfd(RIG_GUEST_SIZE);
	struct vhost_msg_mem_region r = {.region = {1ULL << 40, RIG_GUEST_SIZE, 1ULL << 41, 0}};

	rig->hook_data = &w;
	rig->on_quiesce = wait_for_worker;
	/* The ring in memory that stays, the buffers in memory that goes */
	guest_init(&g, 1ULL << 40, 4096);
	assert_int_equal(pthread_create(&w.thread, NULL, work, &w), 0);
	fe_negotiate(rig, features());
	fe_mem_table(rig);
	assert_int_equal(fe_ask(rig, VHOST_MSG_ADD_MEM_REG, &r, sizeof(r), &mem, 1), 0);
	fds = fe_start_ring(rig, 1, ring_size(), guest_base(&g));
	for (int i = 0; i < 20; i++)
		guest_turn(&g);
	assert_int_equal(ftruncate(mem, 0), 0);
	while (vhost_dev_report_faults(rig->dev) == 0)
		guest_turn(&g);
	assert_true(vhost_dev_broken(rig->dev));
	assert_int_equal(rig_receive(rig), -EPROTO);
	vhost_dev_detach(rig->dev);
	atomic_store_explicit(&w.stop, true, memory_order_release);
	assert_int_equal(pthread_join(w.thread, NULL), 0);
	close(mem);
	close_ring_fds(fds);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)
	const struct CMUnitTest tests[] = {
		T(changes_under_load),
		T(truncation_under_load),
	};
	int failed = cmocka_run_group_tests_name("split", tests, NULL, NULL);

	packed = true;
	return failed + cmocka_run_group_tests_name("packed", tests, NULL, NULL);
}
