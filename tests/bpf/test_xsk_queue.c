// SPDX-License-Identifier: BSD-2-Clause
/*
 * test_xsk_queue.c - AF_XDP queues on a veth pair: vx0 carries the queue, frames go to and come
 * from vx1. Each test has a pair of its own.
 */
#include <errno.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "netenv.h"
#include "steer.h"
#include "xsk_compat.h"
#include "xsk_queue.h"

static const uint8_t mac[6] = {0x52, 0x54, 0, 0, 0, 0x0a};

struct pair {
	struct steer *steer[2]; /* of vx0, vx1; NULL: no program */
	struct xsk_queue *q[2];
};

static struct xsk_queue_params params_of(const char *ifname)
{
	return (struct xsk_queue_params){
		.ifindex = if_nametoindex(ifname),
		.mode = XSK_MODE_AUTO,
		.ring_size = 256,
		.frame_size = 2048,
		.node = MEM_NODE_ANY,
		.bind_timeout_ms = 1000,
	};
}

static struct xsk_queue *open_queue(const struct xsk_queue_params *params)
{
	struct xsk_queue *q = NULL;
	const char *why = "";
	int err = xsk_queue_open(params, &q, &why);

	if (err < 0)
		fail_msg("xsk_queue_open: %d, %s", err, why);
	assert_true(xsk_queue_check(q));
	return q;
}

/* A program that gives every frame to the queue. */
static struct steer *open_steer(const char *ifname, const struct xsk_queue *q)
{
	const struct steer_params params = {
		.pin_dir = NETENV_PIN_DIR,
		.nic = ifname,
		.ifindex = if_nametoindex(ifname),
		.config = {.mode = STEER_MODE_DEDICATED, .no_daemon = STEER_DROP},
	};
	struct steer *steer = NULL;
	char *why = NULL;
	int err = steer_open(&params, &steer, &why);

	if (err < 0)
		fail_msg("steer_open: %d, %s", err, why);
	assert_int_equal(steer_bind_queue(steer, q->queue, q->rx_fd, STEER_QUEUE_COPY), 0);
	return steer;
}

/* Wait until @n frames have arrived, or nothing more comes. */
static uint32_t wait_rx(struct xsk_queue *q, uint32_t n)
{
	struct pollfd pfd = {.fd = q->rx_fd, .events = POLLIN};
	uint64_t end = netenv_now_ms() + 2000;
	uint32_t have;

	while ((have = __atomic_load_n(q->rx.producer, __ATOMIC_ACQUIRE) - *q->rx.consumer) < n &&
	       netenv_now_ms() < end)
		(void)poll(&pfd, 1, 20);
	return have;
}

/* Flush until every frame is completed. */
static void drain_tx(struct xsk_queue *q)
{
	uint64_t end = netenv_now_ms() + 2000;

	while (q->n_tx_kernel && netenv_now_ms() < end)
		xsk_tx_flush(q);
	assert_int_equal(q->n_tx_kernel, 0);
	assert_int_equal(q->n_tx_free, q->n_tx);
	assert_true(xsk_queue_check(q));
}

static void send_frame(struct xsk_queue *q, uint32_t len, uint8_t seed)
{
	uint8_t *data = xsk_tx_reserve(q);

	assert_non_null(data);
	netenv_frame(data, len, mac, seed);
	xsk_tx_submit(q, len);
}

static int setup(void **state)
{
	netenv_veth("vx0", "vx1", 1, 1500);
	*state = calloc(1, sizeof(struct pair));
	return 0;
}

static int teardown(void **state)
{
	struct pair *p = *state;

	for (int i = 0; i < 2; i++) {
		xsk_queue_close(p->q[i]);
		steer_close(p->steer[i]);
		(void)steer_unload(NETENV_PIN_DIR, i ? "vx1" : "vx0");
	}
	free(p);
	if (if_nametoindex("vx0"))
		netenv_run("ip link del vx0");
	return 0;
}

static void test_refuses_parameters(void **state)
{
	static const struct {
		uint32_t ring_size, frame_size;
		enum xsk_mode mode;
	} bad[] = {
		{0, 2048, XSK_MODE_AUTO},     {32, 2048, XSK_MODE_AUTO}, {100, 2048, XSK_MODE_AUTO},
		{32768, 2048, XSK_MODE_AUTO}, {64, 1024, XSK_MODE_AUTO}, {64, 3000, XSK_MODE_AUTO},
		{64, 8192, XSK_MODE_AUTO},    {64, 2048, XSK_N_MODES},
	};
	struct xsk_queue_params params = params_of("vx0");
	struct xsk_queue *q = NULL;
	const char *why = NULL;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		params.ring_size = bad[i].ring_size;
		params.frame_size = bad[i].frame_size;
		params.mode = bad[i].mode;
		assert_int_equal(xsk_queue_open(&params, &q, &why), -EINVAL);
		assert_null(q);
		assert_non_null(why);
	}
	xsk_queue_close(NULL);
}

static void test_no_device(void **state)
{
	struct xsk_queue_params params = params_of("vx0");
	struct xsk_queue *q = NULL;
	const char *why = NULL;

	(void)state;
	params.ifindex = 999999;
	assert_int_equal(xsk_queue_open(&params, &q, &why), -ENODEV);
	assert_string_equal(why, "the device is gone");
	params = params_of("vx0");
	params.queue = 5;
	assert_int_equal(xsk_queue_open(&params, &q, &why), -EINVAL);
	assert_non_null(strstr(why, "queue number"));
	assert_null(q);
}

static void test_modes(void **state)
{
	struct xsk_queue_params params = params_of("vx0");
	struct pair *p = *state;
	struct xsk_queue *q = NULL;
	const char *why = NULL;

	/* veth has no zero copy: asked for it is refused, automatic means copy and says so. */
	params.mode = XSK_MODE_ZEROCOPY;
	assert_int_equal(xsk_queue_open(&params, &q, &why), -EOPNOTSUPP);
	assert_non_null(strstr(why, "zero copy"));
	params.mode = XSK_MODE_AUTO;
	p->q[0] = open_queue(&params);
	assert_false(p->q[0]->zerocopy);
	xsk_queue_close(p->q[0]);
	params.mode = XSK_MODE_COPY;
	p->q[0] = open_queue(&params);
	assert_false(p->q[0]->zerocopy);
}

/* A closed socket holds its queue for some 20 ms; opening again waits for that. */
static void test_open_again(void **state)
{
	struct xsk_queue_params params = params_of("vx0");
	struct pair *p = *state;

	for (int i = 0; i < 5; i++) {
		p->q[0] = open_queue(&params);
		send_frame(p->q[0], 60, 1);
		xsk_tx_flush(p->q[0]);
		if (i < 4)
			xsk_queue_close(p->q[0]);
	}
	drain_tx(p->q[0]);
}

static void test_busy(void **state)
{
	struct xsk_queue_params params = params_of("vx0");
	struct pair *p = *state;
	struct xsk_queue *q = NULL;
	const char *why = NULL;
	uint64_t start;

	p->q[0] = open_queue(&params);
	params.bind_timeout_ms = 100;
	start = netenv_now_ms();
	assert_int_equal(xsk_queue_open(&params, &q, &why), -EBUSY);
	assert_in_range(netenv_now_ms() - start, 50, 1000);
	assert_non_null(strstr(why, "another AF_XDP socket"));
	assert_null(q);
	params.bind_timeout_ms = 0;
	assert_int_equal(xsk_queue_open(&params, &q, NULL), -EBUSY);
	/* The failed attempts have not hurt the socket that works. */
	send_frame(p->q[0], 60, 1);
	xsk_tx_flush(p->q[0]);
	drain_tx(p->q[0]);
}

/* Every length, with its contents, to a packet socket. */
static void test_transmit(void **state)
{
	static const uint32_t lens[] = {14,  15,  59,   60,   61,   64,  65,
	                                127, 128, 1000, 1500, 1514, 1518};
	struct xsk_queue_params params = params_of("vx0");
	struct pair *p = *state;
	struct xsk_queue *q = p->q[0] = open_queue(&params);
	int fd = netenv_packet_socket("vx1");
	uint8_t want[2048], got[4096];

	for (uint32_t i = 0; i < ARRAY_SIZE(lens); i++)
		send_frame(q, lens[i], (uint8_t)i);
	assert_int_equal(q->n_tx_held, ARRAY_SIZE(lens));
	assert_true(xsk_queue_check(q));
	xsk_tx_flush(q);
	for (uint32_t i = 0; i < ARRAY_SIZE(lens); i++) {
		netenv_frame(want, lens[i], mac, (uint8_t)i);
		assert_int_equal(netenv_packet_recv(fd, got, sizeof(got), 1000), lens[i]);
		assert_memory_equal(got, want, lens[i]);
	}
	drain_tx(q);
	assert_true(counter_get(&q->kicks) >= 1);
	assert_int_equal(counter_get(&q->kick_lost) + counter_get(&q->kick_error), 0);
	close(fd);
}

/* More frames than the ring has slots, in one go: reserve says no, nothing is lost or doubled. */
static void test_transmit_full_ring(void **state)
{
	struct xsk_queue_params params = params_of("vx0");
	struct pair *p = *state;
	int fd = netenv_packet_socket("vx1");
	uint32_t sent = 0, got = 0;
	uint8_t buf[4096];
	struct xsk_queue *q;

	params.ring_size = 128; /* below the 256 frames that veth queues */
	q = p->q[0] = open_queue(&params);
	for (uint32_t round = 0; round < 50; round++) {
		uint8_t *data;

		while ((data = xsk_tx_reserve(q))) {
			netenv_frame(data, 100, mac, (uint8_t)sent++);
			xsk_tx_submit(q, 100);
		}
		assert_int_equal(q->n_tx_free, 0);
		assert_int_equal(q->n_tx_held + q->n_tx_kernel, q->ring_size);
		xsk_tx_flush(q);
		assert_false(xsk_tx_waiting(q));
		while (netenv_packet_recv(fd, buf, sizeof(buf), 100) == 100) {
			uint8_t want[100];

			netenv_frame(want, 100, mac, (uint8_t)got++);
			assert_memory_equal(buf, want, 100);
			if (got == sent)
				break;
		}
		assert_int_equal(got, sent);
		drain_tx(q);
	}
	assert_true(sent >= 50 * 128);
	close(fd);
}

static void fill_tx(struct xsk_queue *q)
{
	while (xsk_tx_reserve(q))
		send_frame(q, 60, 1);
}

/*
 * Kernels before 6.17 move 32 frames per system call, newer ones as many as the ring has. Either
 * way one flush sends everything.
 */
static void test_kernel_budget(void **state)
{
	struct xsk_queue_params params = params_of("vx0");
	struct pair *p = *state;
	struct xsk_queue *q;
	int budget = 32;
	bool settable;

	params.ring_size = 128;
	q = p->q[0] = open_queue(&params);
	fill_tx(q);
	xsk_tx_flush(q);
	assert_false(xsk_tx_waiting(q));
	settable = !setsockopt(q->tx_fd, SOL_XDP, XDP_MAX_TX_SKB_BUDGET, &budget, sizeof(budget));
	assert_int_equal(counter_get(&q->kicks), settable ? 1 : 4);
	drain_tx(q);
	if (!settable)
		return;
	fill_tx(q);
	xsk_tx_flush(q);
	assert_false(xsk_tx_waiting(q));
	assert_true(counter_get(&q->kicks) >= 1 + 4);
	assert_true(counter_get(&q->kick_again) >= 3);
	assert_int_equal(counter_get(&q->kick_lost) + counter_get(&q->kick_error), 0);
	drain_tx(q);
}

/*
 * What is sent must not trouble who waits for received frames: with one socket for both, epoll
 * would be called for each frame that is done with.
 */
static void test_transmit_wakes_nobody(void **state)
{
	struct xsk_queue_params params = params_of("vx0");
	struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLET};
	int fd = epoll_create1(EPOLL_CLOEXEC);
	struct pair *p = *state;
	uint8_t frame[60];
	struct xsk_queue *q;
	int wire;

	q = p->q[0] = open_queue(&params);
	p->steer[0] = open_steer("vx0", q);
	assert_int_not_equal(q->rx_fd, q->tx_fd);
	assert_int_equal(epoll_ctl(fd, EPOLL_CTL_ADD, q->rx_fd, &ev), 0);
	assert_int_equal(epoll_wait(fd, &ev, 1, 0), 0);
	fill_tx(q);
	xsk_tx_flush(q);
	drain_tx(q);
	assert_int_equal(epoll_wait(fd, &ev, 1, 0), 0);

	wire = netenv_packet_socket("vx1");
	netenv_frame(frame, sizeof(frame), mac, 1);
	assert_int_equal(send(wire, frame, sizeof(frame), 0), sizeof(frame));
	assert_int_equal(epoll_wait(fd, &ev, 1, 2000), 1);
	assert_true(ev.events & EPOLLIN);
	close(wire);
	close(fd);
}

/* Fewer transmit chunks than ring slots: so many frames are outstanding, and none is lost. */
static void test_transmit_window(void **state)
{
	struct xsk_queue_params params = params_of("vx0");
	struct pair *p = *state;
	struct xsk_queue *q;

	params.tx_window = 64;
	q = p->q[0] = open_queue(&params);
	assert_int_equal(q->n_chunks, 256 + 64);
	for (int round = 0; round < 20; round++) {
		fill_tx(q);
		assert_int_equal(q->n_tx_held + q->n_tx_kernel, 64);
		assert_true(xsk_queue_check(q));
		xsk_tx_flush(q);
		drain_tx(q);
	}
	xsk_queue_close(q);
	params.tx_window = 1000; /* more than the ring has */
	q = p->q[0] = open_queue(&params);
	assert_int_equal(q->n_tx, 256);
}

/* Room for every frame that can be outstanding, each with a page and a descriptor of its own. */
static void test_send_buffer(void **state)
{
	struct xsk_queue_params params = params_of("vx0");
	struct pair *p = *state;
	int size = 0;
	socklen_t len = sizeof(size);

	params.frame_size = 4096;
	p->q[0] = open_queue(&params);
	assert_int_equal(getsockopt(p->q[0]->tx_fd, SOL_SOCKET, SO_SNDBUF, &size, &len), 0);
	assert_true(size >= 256 * (8192 + 512));
}

/* The line of /proc/self/smaps about the mapping at @addr that begins with @what. */
static bool smaps_line(const void *addr, const char *what, char *line, int size)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	bool here = false, found = false;

	assert_non_null(f);
	while (!found && fgets(line, size, f)) {
		unsigned long start, end;

		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			here = start <= (uintptr_t)addr && (uintptr_t)addr < end;
		else
			found = here && !strncmp(line, what, strlen(what));
	}
	fclose(f);
	return found;
}

/* Packet memory starts where a huge page can start, and asks for huge pages, in all of its size. */
static void test_huge_pages(void **state)
{
	struct xsk_queue_params params = params_of("vx0");
	struct pair *p = *state;
	struct xsk_queue *q;
	char line[512];

	params.ring_size = 1024;
	params.tx_window = 64;
	params.node = 0; /* exists everywhere */
	q = p->q[0] = open_queue(&params);
	assert_int_equal(q->map_size, (1024 + 64) * 2048);
	assert_int_equal((uintptr_t)q->map % (2 << 20), 0);
	if (access("/sys/kernel/mm/transparent_hugepage/enabled", F_OK) < 0)
		skip();
	assert_true(smaps_line(q->map, "VmFlags:", line, sizeof(line)));
	assert_non_null(strstr(line, " hg")); /* MADV_HUGEPAGE */
	assert_non_null(strstr(line, " dd")); /* MADV_DONTDUMP */
	fill_tx(q);
	xsk_tx_flush(q);
	drain_tx(q);
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

/* Send @n frames from q[0] while q[1] counts what arrives; all of them have to. */
static void send_and_count(struct pair *p, uint32_t n)
{
	uint64_t end = netenv_now_ms() + 20000;
	uint32_t sent = 0, got = 0, pos = 0;

	while (got < n && netenv_now_ms() < end) {
		for (uint32_t i = 0; i < 128 && sent < n && xsk_tx_reserve(p->q[0]); i++)
			send_frame(p->q[0], 60, (uint8_t)sent++);
		xsk_tx_flush(p->q[0]);
		for (uint32_t k; (k = xsk_rx_peek(p->q[1], 256, &pos)); got += k)
			xsk_rx_release(p->q[1], pos, k);
	}
	assert_int_equal(got, n);
	drain_tx(p->q[0]);
}

/*
 * A receiver with threaded NAPI runs when we give the CPU away; then batches are its own, and what
 * is on the way never overruns it. With everybody on one CPU.
 */
static void test_yield(void **state)
{
	struct xsk_queue_params params = params_of("vx0");
	struct pair *p = *state;
	cpu_set_t old, one;

	params.tx_window = 224;
	params.ring_size = 1024;
	params.yield = true;
	p->q[0] = open_queue(&params);
	params.ifindex = if_nametoindex("vx1");
	params.yield = false;
	p->q[1] = open_queue(&params);
	p->steer[1] = open_steer("vx1", p->q[1]);

	send_and_count(p, 1000);
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
	send_and_count(p, 20000);
	assert_true(counter_get(&p->q[0]->yields) > 0);
	assert_int_equal(counter_get(&p->q[0]->kick_lost), 0);
	assert_int_equal(sched_setaffinity(0, sizeof(old), &old), 0);
}

/* veth has no poll function for us: busy polling ends with the first frame, and traffic goes on. */
static void test_busy_poll(void **state)
{
	struct xsk_queue_params params = params_of("vx0");
	struct pair *p = *state;

	params.busy_budget = 64;
	p->q[0] = open_queue(&params);
	if (!xsk_busy_polls(p->q[0])) {
		params.busy_budget = 0; /* a kernel before 5.11: refused, and nothing else */
		fill_tx(p->q[0]);
		drain_tx(p->q[0]);
		skip();
	}
	params.ifindex = if_nametoindex("vx1");
	p->q[1] = open_queue(&params);
	p->steer[0] = open_steer("vx0", p->q[0]);
	p->steer[1] = open_steer("vx1", p->q[1]);
	send_and_count(p, 2000);
	assert_int_equal(xsk_busy_polls(p->q[1]), xsk_queue_napi_id(p->q[1]) != 0);
	assert_true(xsk_queue_check(p->q[1]));
}

/* Without a carrier the device refuses each frame: each is lost, counted, and its chunk returns. */
static void test_no_carrier(void **state)
{
	struct xsk_queue_params params = params_of("vx0");
	struct pair *p = *state;
	struct xsk_queue *q = p->q[0] = open_queue(&params);

	netenv_run("ip link set dev vx1 down");
	fill_tx(q);
	xsk_tx_flush(q);
	/* One burst makes a bounded number of system calls. */
	assert_true(counter_get(&q->kicks) <= 2 * 64 + 2);
	drain_tx(q);
	assert_int_equal(counter_get(&q->kick_lost), q->ring_size);
	netenv_run("ip link set dev vx1 up");
	fill_tx(q);
	xsk_tx_flush(q);
	drain_tx(q);
	assert_int_equal(counter_get(&q->kick_lost), q->ring_size);
}

/* A reserved chunk that is not submitted stays free. */
static void test_reserve_without_submit(void **state)
{
	struct xsk_queue_params params = params_of("vx0");
	struct pair *p = *state;
	struct xsk_queue *q = p->q[0] = open_queue(&params);
	const uint8_t *first = xsk_tx_reserve(q);

	for (int i = 0; i < 10; i++)
		assert_ptr_equal(xsk_tx_reserve(q), first);
	assert_int_equal(q->n_tx_free, q->ring_size);
	assert_int_equal((uintptr_t)first % q->frame_size, 0);
	xsk_tx_flush(q);
	assert_int_equal(counter_get(&q->kicks), 0);
	assert_true(xsk_queue_check(q));
}

/* The longest frame arrives to the byte, one byte more is dropped and counted by the kernel. */
static void check_limit(struct pair *p, uint32_t frame_size, uint32_t mtu)
{
	struct xsk_queue_params params = params_of("vx0");
	struct xsk_kernel_stats stats;
	uint8_t want[8192];
	struct xsk_frame f;
	struct xsk_queue *q;
	uint32_t pos = 0;
	int fd;

	netenv_run("ip link set dev vx0 mtu %u; ip link set dev vx1 mtu %u", mtu, mtu);
	params.frame_size = frame_size;
	q = p->q[0] = open_queue(&params);
	assert_int_equal(q->max_frame, frame_size - 256);
	p->steer[0] = open_steer("vx0", q);
	fd = netenv_packet_socket("vx1");

	netenv_frame(want, q->max_frame + 1, mac, 5);
	assert_int_equal(send(fd, want, q->max_frame + 1, 0), q->max_frame + 1);
	netenv_frame(want, q->max_frame, mac, 6);
	assert_int_equal(send(fd, want, q->max_frame, 0), q->max_frame);

	assert_int_equal(wait_rx(q, 1), 1);
	assert_int_equal(xsk_rx_peek(q, 8, &pos), 1);
	f = xsk_rx_frame(q, pos);
	assert_int_equal(f.len, q->max_frame);
	assert_memory_equal(f.data, want, f.len);
	/* The frame ends where its chunk ends. */
	assert_int_equal(((uintptr_t)f.data + f.len - (uintptr_t)q->area) % frame_size, 0);
	xsk_rx_release(q, pos, 1);
	assert_int_equal(xsk_queue_kernel_stats(q, &stats), 0);
	assert_int_equal(stats.rx_dropped, 1);
	assert_true(xsk_queue_check(q));
	close(fd);
}

static void test_limit_2048(void **state)
{
	check_limit(*state, 2048, 2000);
}

/* Frames beyond a page reach the program in several buffers and the socket in one. */
static void test_limit_4096(void **state)
{
	check_limit(*state, 4096, 4000);
}

/* And the transmit side takes frames of the same length. */
static void test_transmit_limit(void **state)
{
	struct xsk_queue_params params = params_of("vx0");
	struct pair *p = *state;
	uint8_t want[4096], got[4096];
	int fd;

	netenv_run("ip link set dev vx0 mtu 4000; ip link set dev vx1 mtu 4000");
	params.frame_size = 4096;
	p->q[0] = open_queue(&params);
	fd = netenv_packet_socket("vx1");
	send_frame(p->q[0], p->q[0]->max_frame, 9);
	xsk_tx_flush(p->q[0]);
	netenv_frame(want, p->q[0]->max_frame, mac, 9);
	assert_int_equal(netenv_packet_recv(fd, got, sizeof(got), 1000), p->q[0]->max_frame);
	assert_memory_equal(got, want, p->q[0]->max_frame);
	drain_tx(p->q[0]);
	close(fd);
}

/* Socket to socket, many frames: order, contents, conservation on both sides. */
static void test_two_sockets(void **state)
{
	struct xsk_queue_params params = params_of("vx0");
	struct pair *p = *state;
	uint32_t sent = 0, got = 0, seed = 12345;

	p->q[0] = open_queue(&params);
	params.ifindex = if_nametoindex("vx1");
	p->q[1] = open_queue(&params);
	p->steer[0] = open_steer("vx0", p->q[0]);
	p->steer[1] = open_steer("vx1", p->q[1]);
	while (got < 20000) {
		uint32_t burst = 1 + (seed >> 16) % 64, pos = 0, n;

		for (uint32_t i = 0; i < burst; i++) {
			seed = seed * 1103515245 + 12345;
			send_frame(p->q[0], 60 + sent % 1440, (uint8_t)sent);
			sent++;
		}
		xsk_tx_flush(p->q[0]);
		assert_int_equal(wait_rx(p->q[1], burst), burst);
		/* In two parts, to release less than was peeked. */
		n = xsk_rx_peek(p->q[1], 256, &pos);
		assert_int_equal(n, burst);
		for (uint32_t i = 0; i < n; i++, got++) {
			struct xsk_frame f = xsk_rx_frame(p->q[1], pos + i);
			uint8_t want[2048];

			assert_int_equal(f.len, 60 + got % 1440);
			netenv_frame(want, f.len, mac, (uint8_t)got);
			assert_memory_equal(f.data, want, f.len);
		}
		xsk_rx_release(p->q[1], pos, n / 2);
		xsk_rx_release(p->q[1], pos + n / 2, n - n / 2);
		assert_true(xsk_queue_check(p->q[1]));
		drain_tx(p->q[0]);
	}
	assert_int_equal(sent, got);
}

/* A receiver that does not look loses frames, the kernel counts them, and it recovers. */
static void test_receive_overrun(void **state)
{
	struct xsk_queue_params params = params_of("vx0");
	struct pair *p = *state;
	struct xsk_kernel_stats stats;
	uint8_t frame[60];
	uint32_t pos = 0, n;
	int fd;

	params.ring_size = 64;
	p->q[0] = open_queue(&params);
	p->steer[0] = open_steer("vx0", p->q[0]);
	fd = netenv_packet_socket("vx1");
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 100; i++) {
			netenv_frame(frame, sizeof(frame), mac, (uint8_t)i);
			assert_int_equal(send(fd, frame, sizeof(frame), 0), sizeof(frame));
		}
		assert_int_equal(wait_rx(p->q[0], 64), 64);
		n = xsk_rx_peek(p->q[0], 256, &pos);
		assert_int_equal(n, 64);
		assert_true(xsk_queue_check(p->q[0]));
		xsk_rx_release(p->q[0], pos, n);
	}
	assert_int_equal(xsk_queue_kernel_stats(p->q[0], &stats), 0);
	assert_int_equal(stats.rx_ring_full + stats.rx_dropped, 3 * 36);
	assert_true(stats.rx_ring_full + stats.fill_ring_empty > 0);
	close(fd);
}

/* A link that is down: frames are lost or wait, every chunk comes back when it is up again. */
static void test_link_down(void **state)
{
	struct xsk_queue_params params = params_of("vx0");
	struct pair *p = *state;
	struct xsk_queue *q = p->q[0] = open_queue(&params);

	netenv_run("ip link set dev vx0 down");
	for (uint32_t i = 0; i < 10; i++)
		send_frame(q, 60, (uint8_t)i);
	xsk_tx_flush(q);
	assert_true(xsk_queue_check(q));
	assert_true(counter_get(&q->kick_error) + counter_get(&q->kick_lost) > 0);
	netenv_run("ip link set dev vx0 up");
	drain_tx(q);
	send_frame(q, 60, 1);
	xsk_tx_flush(q);
	drain_tx(q);
}

static void test_link_deleted(void **state)
{
	struct xsk_queue_params params = params_of("vx0");
	struct pair *p = *state;
	struct xsk_queue *q = p->q[0] = open_queue(&params);
	uint64_t errors;
	uint32_t pos = 0;

	p->steer[0] = open_steer("vx0", q);
	netenv_run("ip link del vx0");
	for (uint32_t i = 0; i < 3 * q->ring_size; i++) {
		if (xsk_tx_reserve(q))
			send_frame(q, 60, (uint8_t)i);
		xsk_tx_flush(q);
	}
	errors = counter_get(&q->kick_error);
	assert_true(errors > 0);
	assert_int_equal(q->n_tx_free, 0);
	assert_int_equal(q->n_tx_kernel, q->ring_size);
	assert_int_equal(xsk_rx_peek(q, 64, &pos), 0);
	assert_true(xsk_queue_check(q));
	assert_int_equal(steer_bind_queue(p->steer[0], 0, -1, STEER_QUEUE_NONE), 0);
	assert_false(steer_is_attached(p->steer[0]));
	xsk_queue_close(q);
	p->q[0] = NULL;

	/* A device of the same name is another device, and free at once. */
	netenv_veth("vx0", "vx1", 1, 1500);
	params = params_of("vx0");
	params.bind_timeout_ms = 0;
	p->q[0] = open_queue(&params);
}

/* The check finds what it is there for. */
static void test_check_finds_mistakes(void **state)
{
	struct xsk_queue_params params = params_of("vx0");
	struct pair *p = *state;
	struct xsk_queue *q = p->q[0] = open_queue(&params);
	uint64_t saved;

	q->n_tx_free--;
	assert_false(xsk_queue_check(q));
	q->n_tx_free++;

	saved = q->tx_free[3];
	q->tx_free[3] = q->tx_free[4];
	assert_false(xsk_queue_check(q));
	q->tx_free[3] = 0; /* a receive chunk */
	assert_false(xsk_queue_check(q));
	q->tx_free[3] = saved;

	saved = *xsk_ring_prod__fill_addr(&q->fill, 7);
	*xsk_ring_prod__fill_addr(&q->fill, 7) = *xsk_ring_prod__fill_addr(&q->fill, 8);
	assert_false(xsk_queue_check(q));
	*xsk_ring_prod__fill_addr(&q->fill, 7) = saved;
	assert_true(xsk_queue_check(q));
}

/* Completions that the kernel could never send do not overrun the stack. */
static void test_completion_garbage(void **state)
{
	struct xsk_queue_params params = params_of("vx0");
	struct pair *p = *state;
	struct xsk_queue *q = p->q[0] = open_queue(&params);
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

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_refuses_parameters),
		TEST(test_no_device),
		TEST(test_modes),
		TEST(test_open_again),
		TEST(test_busy),
		TEST(test_transmit),
		TEST(test_transmit_full_ring),
		TEST(test_kernel_budget),
		TEST(test_transmit_wakes_nobody),
		TEST(test_transmit_window),
		TEST(test_send_buffer),
		TEST(test_huge_pages),
		TEST(test_yield),
		TEST(test_busy_poll),
		TEST(test_no_carrier),
		TEST(test_reserve_without_submit),
		TEST(test_limit_2048),
		TEST(test_limit_4096),
		TEST(test_transmit_limit),
		TEST(test_two_sockets),
		TEST(test_receive_overrun),
		TEST(test_link_down),
		TEST(test_link_deleted),
		TEST(test_check_finds_mistakes),
		TEST(test_completion_garbage),
	};

	netenv_enter();
	return cmocka_run_group_tests_name("xsk_queue", tests, NULL, NULL);
}
