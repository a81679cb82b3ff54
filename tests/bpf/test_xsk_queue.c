// SPDX-License-Identifier: BSD-2-Clause
/*
 * test_xsk_queue.c - AF_XDP queues: opening them, receiving, links that go. Transmitting has its
 * own file, test_xsk_transmit.c.
 */
#include <errno.h>
#include <net/if.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "xskenv.h"

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
	struct xsk_queue_params params = xskenv_params("vx0");
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
	struct xsk_queue_params params = xskenv_params("vx0");
	struct xsk_queue *q = NULL;
	const char *why = NULL;

	(void)state;
	params.ifindex = 999999;
	assert_int_equal(xsk_queue_open(&params, &q, &why), -ENODEV);
	assert_string_equal(why, "the device is gone");
	params = xskenv_params("vx0");
	params.queue = 5;
	assert_int_equal(xsk_queue_open(&params, &q, &why), -EINVAL);
	assert_non_null(strstr(why, "queue number"));
	assert_null(q);
}

static void test_modes(void **state)
{
	struct xsk_queue_params params = xskenv_params("vx0");
	struct xskenv_pair *p = *state;
	struct xsk_queue *q = NULL;
	const char *why = NULL;

	/* veth has no zero copy: asked for it is refused, automatic means copy and says so. */
	params.mode = XSK_MODE_ZEROCOPY;
	assert_int_equal(xsk_queue_open(&params, &q, &why), -EOPNOTSUPP);
	assert_non_null(strstr(why, "zero copy"));
	params.mode = XSK_MODE_AUTO;
	p->q[0] = xskenv_open(&params);
	assert_false(p->q[0]->zerocopy);
	xsk_queue_close(p->q[0]);
	params.mode = XSK_MODE_COPY;
	p->q[0] = xskenv_open(&params);
	assert_false(p->q[0]->zerocopy);
}

/* A closed socket holds its queue for some 20 ms; opening again waits for that. */
static void test_open_again(void **state)
{
	struct xsk_queue_params params = xskenv_params("vx0");
	struct xskenv_pair *p = *state;

	for (int i = 0; i < 5; i++) {
		p->q[0] = xskenv_open(&params);
		xskenv_send(p->q[0], 60, 1);
		xsk_tx_flush(p->q[0]);
		if (i < 4)
			xsk_queue_close(p->q[0]);
	}
	xskenv_drain_tx(p->q[0]);
}

static void test_busy(void **state)
{
	struct xsk_queue_params params = xskenv_params("vx0");
	struct xskenv_pair *p = *state;
	struct xsk_queue *q = NULL;
	const char *why = NULL;
	uint64_t start;

	p->q[0] = xskenv_open(&params);
	params.bind_timeout_ms = 100;
	start = netenv_now_ms();
	assert_int_equal(xsk_queue_open(&params, &q, &why), -EBUSY);
	assert_in_range(netenv_now_ms() - start, 50, 1000);
	assert_non_null(strstr(why, "another AF_XDP socket"));
	assert_null(q);
	params.bind_timeout_ms = 0;
	assert_int_equal(xsk_queue_open(&params, &q, NULL), -EBUSY);
	/* The failed attempts have not hurt the socket that works. */
	xskenv_send(p->q[0], 60, 1);
	xsk_tx_flush(p->q[0]);
	xskenv_drain_tx(p->q[0]);
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
	struct xsk_queue_params params = xskenv_params("vx0");
	struct xskenv_pair *p = *state;
	struct xsk_queue *q;
	char line[512];

	params.ring_size = 1024;
	params.tx_window = 64;
	params.node = 0; /* exists everywhere */
	q = p->q[0] = xskenv_open(&params);
	assert_int_equal(q->map_size, (1024 + 64) * 2048);
	assert_int_equal((uintptr_t)q->map % (2 << 20), 0);
	if (access("/sys/kernel/mm/transparent_hugepage/enabled", F_OK) < 0)
		skip();
	assert_true(smaps_line(q->map, "VmFlags:", line, sizeof(line)));
	assert_non_null(strstr(line, " hg")); /* MADV_HUGEPAGE */
	assert_non_null(strstr(line, " dd")); /* MADV_DONTDUMP */
	xskenv_fill_tx(q);
	xsk_tx_flush(q);
	xskenv_drain_tx(q);
}

/* veth has no poll function for us: busy polling ends with the first frame, and traffic goes on. */
static void test_busy_poll(void **state)
{
	struct xsk_queue_params params = xskenv_params("vx0");
	struct xskenv_pair *p = *state;

	params.busy_budget = 64;
	p->q[0] = xskenv_open(&params);
	if (!xsk_busy_polls(p->q[0])) {
		params.busy_budget = 0; /* a kernel before 5.11: refused, and nothing else */
		xskenv_fill_tx(p->q[0]);
		xskenv_drain_tx(p->q[0]);
		skip();
	}
	params.ifindex = if_nametoindex("vx1");
	p->q[1] = xskenv_open(&params);
	p->steer[0] = xskenv_open_steer("vx0", p->q[0]);
	p->steer[1] = xskenv_open_steer("vx1", p->q[1]);
	xskenv_send_and_count(p, 2000);
	assert_int_equal(xsk_busy_polls(p->q[1]), xsk_queue_napi_id(p->q[1]) != 0);
	assert_true(xsk_queue_check(p->q[1]));
}

/* The longest frame arrives to the byte, one byte more is dropped and counted by the kernel. */
static void check_limit(struct xskenv_pair *p, uint32_t frame_size, uint32_t mtu)
{
	struct xsk_queue_params params = xskenv_params("vx0");
	struct xsk_kernel_stats stats;
	uint8_t want[8192];
	struct xsk_frame f;
	struct xsk_queue *q;
	uint32_t pos = 0;
	int fd;

	netenv_run("ip link set dev vx0 mtu %u; ip link set dev vx1 mtu %u", mtu, mtu);
	params.frame_size = frame_size;
	q = p->q[0] = xskenv_open(&params);
	assert_int_equal(q->max_frame, frame_size - 256);
	p->steer[0] = xskenv_open_steer("vx0", q);
	fd = netenv_packet_socket("vx1");

	netenv_frame(want, q->max_frame + 1, xskenv_mac, 5);
	assert_int_equal(send(fd, want, q->max_frame + 1, 0), q->max_frame + 1);
	netenv_frame(want, q->max_frame, xskenv_mac, 6);
	assert_int_equal(send(fd, want, q->max_frame, 0), q->max_frame);

	assert_int_equal(xskenv_wait_rx(q, 1), 1);
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

/* Socket to socket, many frames: order, contents, conservation on both sides. */
static void test_two_sockets(void **state)
{
	struct xsk_queue_params params = xskenv_params("vx0");
	struct xskenv_pair *p = *state;
	uint32_t sent = 0, got = 0, seed = 12345;

	p->q[0] = xskenv_open(&params);
	params.ifindex = if_nametoindex("vx1");
	p->q[1] = xskenv_open(&params);
	p->steer[0] = xskenv_open_steer("vx0", p->q[0]);
	p->steer[1] = xskenv_open_steer("vx1", p->q[1]);
	while (got < 20000) {
		uint32_t burst = 1 + (seed >> 16) % 64, pos = 0, n;

		for (uint32_t i = 0; i < burst; i++) {
			seed = seed * 1103515245 + 12345;
			xskenv_send(p->q[0], 60 + sent % 1440, (uint8_t)sent);
			sent++;
		}
		xsk_tx_flush(p->q[0]);
		assert_int_equal(xskenv_wait_rx(p->q[1], burst), burst);
		/* In two parts, to release less than was peeked. */
		n = xsk_rx_peek(p->q[1], 256, &pos);
		assert_int_equal(n, burst);
		for (uint32_t i = 0; i < n; i++, got++) {
			struct xsk_frame f = xsk_rx_frame(p->q[1], pos + i);
			uint8_t want[2048];

			assert_int_equal(f.len, 60 + got % 1440);
			netenv_frame(want, f.len, xskenv_mac, (uint8_t)got);
			assert_memory_equal(f.data, want, f.len);
		}
		xsk_rx_release(p->q[1], pos, n / 2);
		xsk_rx_release(p->q[1], pos + n / 2, n - n / 2);
		assert_true(xsk_queue_check(p->q[1]));
		xskenv_drain_tx(p->q[0]);
	}
	assert_int_equal(sent, got);
}

/* A receiver that does not look loses frames, the kernel counts them, and it recovers. */
static void test_receive_overrun(void **state)
{
	struct xsk_queue_params params = xskenv_params("vx0");
	struct xskenv_pair *p = *state;
	struct xsk_kernel_stats stats;
	uint8_t frame[60];
	uint32_t pos = 0, n;
	int fd;

	params.ring_size = 64;
	p->q[0] = xskenv_open(&params);
	p->steer[0] = xskenv_open_steer("vx0", p->q[0]);
	fd = netenv_packet_socket("vx1");
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 100; i++) {
			netenv_frame(frame, sizeof(frame), xskenv_mac, (uint8_t)i);
			assert_int_equal(send(fd, frame, sizeof(frame), 0), sizeof(frame));
		}
		assert_int_equal(xskenv_wait_rx(p->q[0], 64), 64);
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
	struct xsk_queue_params params = xskenv_params("vx0");
	struct xskenv_pair *p = *state;
	struct xsk_queue *q = p->q[0] = xskenv_open(&params);

	netenv_run("ip link set dev vx0 down");
	for (uint32_t i = 0; i < 10; i++)
		xskenv_send(q, 60, (uint8_t)i);
	xsk_tx_flush(q);
	assert_true(xsk_queue_check(q));
	assert_true(counter_get(&q->kick_error) + counter_get(&q->kick_lost) > 0);
	netenv_run("ip link set dev vx0 up");
	xskenv_drain_tx(q);
	xskenv_send(q, 60, 1);
	xsk_tx_flush(q);
	xskenv_drain_tx(q);
}

static void test_link_deleted(void **state)
{
	struct xsk_queue_params params = xskenv_params("vx0");
	struct xskenv_pair *p = *state;
	struct xsk_queue *q = p->q[0] = xskenv_open(&params);
	uint64_t errors;
	uint32_t pos = 0;

	p->steer[0] = xskenv_open_steer("vx0", q);
	netenv_run("ip link del vx0");
	for (uint32_t i = 0; i < 3 * q->ring_size; i++) {
		if (xsk_tx_reserve(q))
			xskenv_send(q, 60, (uint8_t)i);
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
	params = xskenv_params("vx0");
	params.bind_timeout_ms = 0;
	p->q[0] = xskenv_open(&params);
}

/* The check finds what it is there for. */
static void test_check_finds_mistakes(void **state)
{
	struct xsk_queue_params params = xskenv_params("vx0");
	struct xskenv_pair *p = *state;
	struct xsk_queue *q = p->q[0] = xskenv_open(&params);
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

#define TEST(f) cmocka_unit_test_setup_teardown(f, xskenv_setup, xskenv_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_refuses_parameters),
		TEST(test_no_device),
		TEST(test_modes),
		TEST(test_open_again),
		TEST(test_busy),
		TEST(test_huge_pages),
		TEST(test_busy_poll),
		TEST(test_limit_2048),
		TEST(test_limit_4096),
		TEST(test_two_sockets),
		TEST(test_receive_overrun),
		TEST(test_link_down),
		TEST(test_link_deleted),
		TEST(test_check_finds_mistakes),
	};

	netenv_enter();
	return cmocka_run_group_tests_name("xsk_queue", tests, NULL, NULL);
}
