/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_vhost_threads.c - a worker that forwards while the front end changes everything under it
 *
 * The worker consumes its transmit ring without pause and passes a quiescent point after each
 * burst. The control thread replaces memory, call descriptors, features and the enabled state, and
 * stops and starts the ring. The guest sees each of its buffers come back exactly once and in
 * order, GET_VRING_BASE names the exact position, and the sanitizers see no access to anything
 * freed.
 */
#include <pthread.h>
#include "fake_fe.h"
#include "vhost_split.h"

#define RING_SIZE 256
#define ROUNDS    400

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
	n = vhost_split_avail(vq, map, 1);
	for (uint32_t i = 0; i < n && i < 32; i++) {
		uint16_t head = vhost_split_head(map, vq->last_avail);
		struct vhost_desc d;
		uint32_t *p;

		if (head >= map->size) {
			vhost_vq_fail(vq, VHOST_VQ_BAD_HEAD);
			return;
		}
		d = vhost_split_desc(map->desc, head);
		p = vhost_mem_gpa(map->mem, &vq->hint, d.gpa, d.len);
		if (!p) {
			vhost_vq_fail(vq, VHOST_VQ_BAD_ADDRESS);
			return;
		}
		__atomic_fetch_add(p, 1, __ATOMIC_RELAXED);
		vq->last_avail++;
		vhost_split_put_used(map, vq->used_idx++, head, 0);
		w->done++;
	}
	if (n) {
		vhost_split_publish(vq, map);
		ring_fence_full();
		vhost_split_notify(vq, map);
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
	uint16_t avail, used;
	uint64_t given;
};

static void guest_init(struct guest *g)
{
	struct vring_desc *desc = (void *)(g->rig->guest + RIG_RING_SPAN + RIG_DESC);

	for (uint64_t i = 0; i < RING_SIZE; i++)
		desc[i] = (struct vring_desc){.addr = RIG_GPA + 0x100000 + i * 64, .len = 64};
}

static void guest_turn(struct guest *g)
{
	struct vring_avail *avail = guest_avail(g->rig, 1);
	struct vring_used *used = guest_used(g->rig, 1);
	uint16_t idx = ring_load_acquire16(&used->idx);

	assert_true((uint16_t)(idx - g->used) <= (uint16_t)(g->avail - g->used));
	for (; g->used != idx; g->used++) {
		uint64_t e = __atomic_load_n((uint64_t *)(void *)&used->ring[g->used % RING_SIZE],
		                             __ATOMIC_RELAXED);

		assert_int_equal((uint32_t)e, g->used % RING_SIZE); /* in order, each once */
	}
	while ((uint16_t)(g->avail - g->used) < RING_SIZE) {
		ring_store_relaxed16(&avail->ring[g->avail % RING_SIZE], g->avail % RING_SIZE);
		g->avail++;
		g->given++;
	}
	ring_store_release16(&avail->idx, g->avail);
}

static void change_something(struct rig *rig, uint32_t round, struct ring_fds *fds)
{
	const uint64_t all = fe_features();
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
		assert_int_equal(base, guest_used(rig, 1)->idx); /* nothing is in flight */
		close_ring_fds(*fds);
		*fds = fe_start_ring(rig, 1, RING_SIZE, (uint16_t)base);
		break;
	}
}

static void changes_under_load(void **state)
{
	struct rig *rig = *state;
	struct worker w = {.vq = vhost_dev_vq(rig->dev, 1)};
	struct guest g = {.rig = rig};
	struct ring_fds fds;
	uint16_t in_flight;
	uint32_t base;

	rig->hook_data = &w;
	rig->on_quiesce = wait_for_worker;
	guest_init(&g);
	assert_int_equal(pthread_create(&w.thread, NULL, work, &w), 0);
	fe_negotiate(rig, fe_features());
	fe_mem_table(rig);
	fds = fe_start_ring(rig, 1, RING_SIZE, 0);
	for (uint32_t round = 0; round < ROUNDS; round++) {
		guest_turn(&g);
		change_something(rig, round, &fds);
		assert_int_equal(vhost_dev_report_faults(rig->dev), 0);
	}
	guest_turn(&g);
	base = fe_get_base(rig, 1);
	assert_int_equal(base, guest_used(rig, 1)->idx);
	vhost_dev_detach(rig->dev);
	atomic_store_explicit(&w.stop, true, memory_order_release);
	assert_int_equal(pthread_join(w.thread, NULL), 0);
	/* All that came back was taken once; what is out was not touched. */
	in_flight = (uint16_t)(g.avail - guest_used(rig, 1)->idx);
	assert_int_equal(w.done, g.given - in_flight);
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
	struct vring_desc *desc = (void *)(rig->guest + RIG_RING_SPAN + RIG_DESC);

	rig->hook_data = &w;
	rig->on_quiesce = wait_for_worker;
	/* The ring in memory that stays, the buffers in memory that goes */
	for (uint64_t i = 0; i < RING_SIZE; i++)
		desc[i] = (struct vring_desc){.addr = (1ULL << 40) + i * 4096, .len = 64};
	assert_int_equal(pthread_create(&w.thread, NULL, work, &w), 0);
	fe_negotiate(rig, fe_features());
	fe_mem_table(rig);
	assert_int_equal(fe_ask(rig, VHOST_MSG_ADD_MEM_REG, &r, sizeof(r), &mem, 1), 0);
	fds = fe_start_ring(rig, 1, RING_SIZE, 0);
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
	return cmocka_run_group_tests_name("vhost_threads", tests, NULL, NULL);
}
