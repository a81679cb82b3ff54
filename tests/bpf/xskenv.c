// SPDX-License-Identifier: BSD-2-Clause
#include <net/if.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "xskenv.h"

const uint8_t xskenv_mac[6] = {0x52, 0x54, 0, 0, 0, 0x0a};

struct xsk_queue_params xskenv_params(const char *ifname)
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

struct xsk_queue *xskenv_open(const struct xsk_queue_params *params)
{
	struct xsk_queue *q = NULL;
	const char *why = "";
	int err = xsk_queue_open(params, &q, &why);

	if (err < 0)
		fail_msg("xsk_queue_open: %d, %s", err, why);
	assert_true(xsk_queue_check(q));
	return q;
}

struct steer *xskenv_open_steer(const char *ifname, const struct xsk_queue *q)
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

uint32_t xskenv_wait_rx(struct xsk_queue *q, uint32_t n)
{
	struct pollfd pfd = {.fd = q->rx_fd, .events = POLLIN};
	uint64_t end = netenv_now_ms() + 2000;
	uint32_t have;

	while ((have = __atomic_load_n(q->rx.producer, __ATOMIC_ACQUIRE) - *q->rx.consumer) < n &&
	       netenv_now_ms() < end)
		(void)poll(&pfd, 1, 20);
	return have;
}

void xskenv_drain_tx(struct xsk_queue *q)
{
	uint64_t end = netenv_now_ms() + 2000;

	while (q->n_tx_kernel && netenv_now_ms() < end)
		xsk_tx_flush(q);
	assert_int_equal(q->n_tx_kernel, 0);
	assert_int_equal(q->n_tx_free, q->n_tx);
	assert_true(xsk_queue_check(q));
}

void xskenv_send(struct xsk_queue *q, uint32_t len, uint8_t seed)
{
	uint8_t *data = xsk_tx_reserve(q);

	assert_non_null(data);
	netenv_frame(data, len, xskenv_mac, seed);
	xsk_tx_submit(q, len);
}

int xskenv_setup(void **state)
{
	netenv_veth("vx0", "vx1", 1, 1500);
	*state = calloc(1, sizeof(struct xskenv_pair));
	return 0;
}

int xskenv_teardown(void **state)
{
	struct xskenv_pair *p = *state;

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

void xskenv_fill_tx(struct xsk_queue *q)
{
	while (xsk_tx_reserve(q))
		xskenv_send(q, 60, 1);
}

void xskenv_send_and_count(struct xskenv_pair *p, uint32_t n)
{
	uint64_t end = netenv_now_ms() + 20000;
	uint32_t sent = 0, got = 0, pos = 0;

	while (got < n && netenv_now_ms() < end) {
		for (uint32_t i = 0; i < 128 && sent < n && xsk_tx_reserve(p->q[0]); i++)
			xskenv_send(p->q[0], 60, (uint8_t)sent++);
		xsk_tx_flush(p->q[0]);
		for (uint32_t k; (k = xsk_rx_peek(p->q[1], 256, &pos)); got += k)
			xsk_rx_release(p->q[1], pos, k);
	}
	assert_int_equal(got, n);
	xskenv_drain_tx(p->q[0]);
}
