// SPDX-License-Identifier: BSD-2-Clause
/* test_xsk_transmit.c - AF_XDP queues: frames towards the device */
#include <net/if.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "xsk_compat.h"
#include "xskenv.h"

/* Every length, with its contents, to a packet socket. */
static void test_transmit(void **state)
{
	static const uint32_t lens[] = {14,  15,  59,   60,   61,   64,  65,
	                                127, 128, 1000, 1500, 1514, 1518};
	struct xsk_queue_params params = xskenv_params("vx0");
	struct xskenv_pair *p = *state;
	struct xsk_queue *q = p->q[0] = xskenv_open(&params);
	int fd = netenv_packet_socket("vx1");
	uint8_t want[2048], got[4096];

	for (uint32_t i = 0; i < ARRAY_SIZE(lens); i++)
		xskenv_send(q, lens[i], (uint8_t)i);
	assert_int_equal(q->n_tx_held, ARRAY_SIZE(lens));
	assert_true(xsk_queue_check(q));
	xsk_tx_flush(q);
	for (uint32_t i = 0; i < ARRAY_SIZE(lens); i++) {
		netenv_frame(want, lens[i], xskenv_mac, (uint8_t)i);
		assert_int_equal(netenv_packet_recv(fd, got, sizeof(got), 1000), lens[i]);
		assert_memory_equal(got, want, lens[i]);
	}
	xskenv_drain_tx(q);
	assert_true(counter_get(&q->kicks) >= 1);
	assert_int_equal(counter_get(&q->kick_lost) + counter_get(&q->kick_error), 0);
	close(fd);
}

/* More frames than the ring has slots, in one go: reserve says no, nothing is lost or doubled. */
static void test_transmit_full_ring(void **state)
{
	struct xsk_queue_params params = xskenv_params("vx0");
	struct xskenv_pair *p = *state;
	int fd = netenv_packet_socket("vx1");
	uint32_t sent = 0, got = 0;
	uint8_t buf[4096];
	struct xsk_queue *q;

	params.ring_size = 128; /* below the 256 frames that veth queues */
	q = p->q[0] = xskenv_open(&params);
	for (uint32_t round = 0; round < 50; round++) {
		uint8_t *data;

		while ((data = xsk_tx_reserve(q))) {
			netenv_frame(data, 100, xskenv_mac, (uint8_t)sent++);
			xsk_tx_submit(q, 100);
		}
		assert_int_equal(q->n_tx_free, 0);
		assert_int_equal(q->n_tx_held + q->n_tx_kernel, q->ring_size);
		xsk_tx_flush(q);
		assert_false(xsk_tx_waiting(q));
		while (netenv_packet_recv(fd, buf, sizeof(buf), 100) == 100) {
			uint8_t want[100];

			netenv_frame(want, 100, xskenv_mac, (uint8_t)got++);
			assert_memory_equal(buf, want, 100);
			if (got == sent)
				break;
		}
		assert_int_equal(got, sent);
		xskenv_drain_tx(q);
	}
	assert_true(sent >= 50 * 128);
	close(fd);
}

/*
 * Kernels before 6.17 move 32 frames per system call, newer ones as many as the ring has. Either
 * way one flush sends everything.
 */
static void test_kernel_budget(void **state)
{
	struct xsk_queue_params params = xskenv_params("vx0");
	struct xskenv_pair *p = *state;
	struct xsk_queue *q;
	int budget = 32;
	bool settable;

	params.ring_size = 128;
	q = p->q[0] = xskenv_open(&params);
	xskenv_fill_tx(q);
	xsk_tx_flush(q);
	assert_false(xsk_tx_waiting(q));
	settable = !setsockopt(q->tx_fd, SOL_XDP, XDP_MAX_TX_SKB_BUDGET, &budget, sizeof(budget));
	assert_int_equal(counter_get(&q->kicks), settable ? 1 : 4);
	xskenv_drain_tx(q);
	if (!settable)
		return;
	xskenv_fill_tx(q);
	xsk_tx_flush(q);
	assert_false(xsk_tx_waiting(q));
	assert_true(counter_get(&q->kicks) >= 1 + 4);
	assert_true(counter_get(&q->kick_again) >= 3);
	assert_int_equal(counter_get(&q->kick_lost) + counter_get(&q->kick_error), 0);
	xskenv_drain_tx(q);
}

/*
 * What is sent must not trouble who waits for received frames: with one socket for both, epoll
 * would be called for each frame that is done with.
 */
static void test_transmit_wakes_nobody(void **state)
{
	struct xsk_queue_params params = xskenv_params("vx0");
	struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLET};
	int fd = epoll_create1(EPOLL_CLOEXEC);
	struct xskenv_pair *p = *state;
	uint8_t frame[60];
	struct xsk_queue *q;
	int wire;

	q = p->q[0] = xskenv_open(&params);
	p->steer[0] = xskenv_open_steer("vx0", q);
	assert_int_not_equal(q->rx_fd, q->tx_fd);
	assert_int_equal(epoll_ctl(fd, EPOLL_CTL_ADD, q->rx_fd, &ev), 0);
	assert_int_equal(epoll_wait(fd, &ev, 1, 0), 0);
	xskenv_fill_tx(q);
	xsk_tx_flush(q);
	xskenv_drain_tx(q);
	assert_int_equal(epoll_wait(fd, &ev, 1, 0), 0);

	wire = netenv_packet_socket("vx1");
	netenv_frame(frame, sizeof(frame), xskenv_mac, 1);
	assert_int_equal(send(wire, frame, sizeof(frame), 0), sizeof(frame));
	assert_int_equal(epoll_wait(fd, &ev, 1, 2000), 1);
	assert_true(ev.events & EPOLLIN);
	close(wire);
	close(fd);
}

/* Fewer transmit chunks than ring slots: so many frames are outstanding, and none is lost. */
static void test_transmit_window(void **state)
{
	struct xsk_queue_params params = xskenv_params("vx0");
	struct xskenv_pair *p = *state;
	struct xsk_queue *q;

	params.tx_window = 64;
	q = p->q[0] = xskenv_open(&params);
	assert_int_equal(q->n_chunks, 256 + 64);
	for (int round = 0; round < 20; round++) {
		xskenv_fill_tx(q);
		assert_int_equal(q->n_tx_held + q->n_tx_kernel, 64);
		assert_true(xsk_queue_check(q));
		xsk_tx_flush(q);
		xskenv_drain_tx(q);
	}
	xsk_queue_close(q);
	params.tx_window = 1000; /* more than the ring has */
	q = p->q[0] = xskenv_open(&params);
	assert_int_equal(q->n_tx, 256);
}

/* Room for every frame that can be outstanding, each with a page and a descriptor of its own. */
static void test_send_buffer(void **state)
{
	struct xsk_queue_params params = xskenv_params("vx0");
	struct xskenv_pair *p = *state;
	int size = 0;
	socklen_t len = sizeof(size);

	params.frame_size = 4096;
	p->q[0] = xskenv_open(&params);
	assert_int_equal(getsockopt(p->q[0]->tx_fd, SOL_SOCKET, SO_SNDBUF, &size, &len), 0);
	assert_true(size >= 256 * (8192 + 512));
}

/* Give vx1 threaded NAPI. Returns false if the kernel has none. */
static bool thread_napi(void)
{
	char dir[] = "/tmp/vx-sysfs-XXXXXX", path[64];
	bool ok;

	assert_non_null(mkdtemp(dir));
	/* The one that is mounted shows another network namespace. */
	netenv_run("mount -t sysfs sysfs %s", dir);
	snprintf(path, sizeof(path), "%s/class/net/vx1/threaded", dir);
	ok = !access(path, W_OK);
	if (ok)
		netenv_run("echo 1 > %s/class/net/vx1/threaded", dir);
	netenv_run("umount %s", dir);
	rmdir(dir);
	return ok;
}

/*
 * A receiver with threaded NAPI runs when we give the CPU away; then batches are its own, and what
 * is on the way never overruns it. With everybody on one CPU.
 */
static void test_yield(void **state)
{
	struct xsk_queue_params params = xskenv_params("vx0");
	struct xskenv_pair *p = *state;
	cpu_set_t old, one;

	params.tx_window = 224;
	params.ring_size = 1024;
	params.yield = true;
	p->q[0] = xskenv_open(&params);
	params.ifindex = if_nametoindex("vx1");
	params.yield = false;
	p->q[1] = xskenv_open(&params);
	p->steer[1] = xskenv_open_steer("vx1", p->q[1]);

	xskenv_send_and_count(p, 1000);
	assert_int_equal(counter_get(&p->q[0]->yields), 0); /* a softirq receives */
	assert_int_equal(p->q[0]->tx_batch, 0);
	if (!thread_napi())
		skip();
	assert_int_equal(sched_getaffinity(0, sizeof(old), &old), 0);
	CPU_ZERO(&one);
	CPU_SET((size_t)sched_getcpu(), &one);
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
	netenv_run("for p in $(pgrep '^napi/vx1-'); do taskset -cp %d $p >/dev/null; done",
	           sched_getcpu());
	xskenv_send_and_count(p, 20000);
	assert_true(counter_get(&p->q[0]->yields) > 0);
	assert_int_equal(counter_get(&p->q[0]->kick_lost), 0);
	assert_int_equal(sched_setaffinity(0, sizeof(old), &old), 0);
}

/* Without a carrier the device refuses each frame: each is lost, counted, and its chunk returns. */
static void test_no_carrier(void **state)
{
	struct xsk_queue_params params = xskenv_params("vx0");
	struct xskenv_pair *p = *state;
	struct xsk_queue *q = p->q[0] = xskenv_open(&params);

	netenv_run("ip link set dev vx1 down");
	xskenv_fill_tx(q);
	xsk_tx_flush(q);
	/* One burst makes a bounded number of system calls. */
	assert_true(counter_get(&q->kicks) <= 2 * 64 + 2);
	xskenv_drain_tx(q);
	assert_int_equal(counter_get(&q->kick_lost), q->ring_size);
	netenv_run("ip link set dev vx1 up");
	xskenv_fill_tx(q);
	xsk_tx_flush(q);
	xskenv_drain_tx(q);
	assert_int_equal(counter_get(&q->kick_lost), q->ring_size);
}

/* A reserved chunk that is not submitted stays free. */
static void test_reserve_without_submit(void **state)
{
	struct xsk_queue_params params = xskenv_params("vx0");
	struct xskenv_pair *p = *state;
	struct xsk_queue *q = p->q[0] = xskenv_open(&params);
	const uint8_t *first = xsk_tx_reserve(q);

	for (int i = 0; i < 10; i++)
		assert_ptr_equal(xsk_tx_reserve(q), first);
	assert_int_equal(q->n_tx_free, q->ring_size);
	assert_int_equal((uintptr_t)first % q->frame_size, 0);
	xsk_tx_flush(q);
	assert_int_equal(counter_get(&q->kicks), 0);
	assert_true(xsk_queue_check(q));
}

/* And the transmit side takes frames of the same length. */
static void test_transmit_limit(void **state)
{
	struct xsk_queue_params params = xskenv_params("vx0");
	struct xskenv_pair *p = *state;
	uint8_t want[4096], got[4096];
	int fd;

	netenv_run("ip link set dev vx0 mtu 4000; ip link set dev vx1 mtu 4000");
	params.frame_size = 4096;
	p->q[0] = xskenv_open(&params);
	fd = netenv_packet_socket("vx1");
	xskenv_send(p->q[0], p->q[0]->max_frame, 9);
	xsk_tx_flush(p->q[0]);
	netenv_frame(want, p->q[0]->max_frame, xskenv_mac, 9);
	assert_int_equal(netenv_packet_recv(fd, got, sizeof(got), 1000), p->q[0]->max_frame);
	assert_memory_equal(got, want, p->q[0]->max_frame);
	xskenv_drain_tx(p->q[0]);
	close(fd);
}

/* Completions that the kernel could never send do not overrun the stack. */
static void test_completion_garbage(void **state)
{
	struct xsk_queue_params params = xskenv_params("vx0");
	struct xskenv_pair *p = *state;
	struct xsk_queue *q = p->q[0] = xskenv_open(&params);
	uint64_t *addrs = q->comp.ring;

	for (uint32_t i = 0; i < 8; i++)
		addrs[(*q->comp.producer + i) & q->comp.mask] = i % 2 ? UINT64_MAX : 0;
	__atomic_store_n(q->comp.producer, *q->comp.producer + 8, __ATOMIC_RELEASE);
	assert_int_equal(xsk_tx_complete(q), 0); /* nothing is outstanding */
	q->n_tx_free -= 4;
	q->n_tx_kernel = 4;
	assert_int_equal(xsk_tx_complete(q), 4);
	assert_int_equal(q->n_tx_free, q->ring_size - 4); /* no chunk of ours among them */
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, xskenv_setup, xskenv_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_transmit),
		TEST(test_transmit_full_ring),
		TEST(test_kernel_budget),
		TEST(test_transmit_wakes_nobody),
		TEST(test_transmit_window),
		TEST(test_send_buffer),
		TEST(test_yield),
		TEST(test_no_carrier),
		TEST(test_reserve_without_submit),
		TEST(test_transmit_limit),
		TEST(test_completion_garbage),
	};

	netenv_enter();
	return cmocka_run_group_tests_name("xsk_transmit", tests, NULL, NULL);
}
