/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * xskenv.h - AF_XDP queues on a veth pair: vx0 carries the queue, frames go to and come from vx1.
 * Each test has a pair of its own, and fails when a step does not succeed.
 */
#ifndef XSKENV_H
#define XSKENV_H

#include "netenv.h"
#include "steer.h"
#include "xsk_queue.h"

extern const uint8_t xskenv_mac[6]; /* destination of all frames */

/* State of a test: what its end closes */
struct xskenv_pair {
	struct steer *steer[2]; /* of vx0, vx1; NULL: no program */
	struct xsk_queue *q[2];
};

int xskenv_setup(void **state);
int xskenv_teardown(void **state);

struct xsk_queue_params xskenv_params(const char *ifname);
struct xsk_queue *xskenv_open(const struct xsk_queue_params *params);

/** xskenv_open_steer() - a program that gives every frame to the queue */
struct steer *xskenv_open_steer(const char *ifname, const struct xsk_queue *q);

/** xskenv_wait_rx() - wait until @n frames have arrived, or nothing more comes. Return: how many */
uint32_t xskenv_wait_rx(struct xsk_queue *q, uint32_t n);

/** xskenv_drain_tx() - flush until every frame is completed */
void xskenv_drain_tx(struct xsk_queue *q);

/** xskenv_send() - reserve and submit a frame; its contents come from @seed */
void xskenv_send(struct xsk_queue *q, uint32_t len, uint8_t seed);

/** xskenv_fill_tx() - submit frames as long as there is room */
void xskenv_fill_tx(struct xsk_queue *q);

/** xskenv_send_and_count() - send from q[0] while q[1] counts what arrives; all @n have to */
void xskenv_send_and_count(struct xskenv_pair *p, uint32_t n);

#endif
