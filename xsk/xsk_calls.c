// SPDX-License-Identifier: BSD-2-Clause
/*
 * xsk_calls.c - the system calls of the data path
 *
 * Theory of operation
 * -------------------
 * Transmit in copy mode happens inside sendto(): the kernel walks the tx ring, at most
 * XDP_MAX_TX_SKB_BUDGET frames, builds an skb for each and hands it to the driver. What a
 * return value means there:
 *
 *   0        the ring is empty
 *   EAGAIN   frames remain: budget used up, send buffer full, or the driver's queue is stopped
 *   EBUSY    the driver refused a frame: it is completed and lost; frames behind it remain
 *   ENOBUFS  no memory for an skb; frames remain
 *   others   the device is down or gone; frames remain
 *
 * The completion ring can never be what is full: it has a slot for every transmit chunk.
 *
 * xsk_tx_kick() repeats the call while frames remain and the kernel makes progress. What is left
 * then stays in the ring, and xsk_tx_complete() kicks again, so a holder that goes on calling
 * xsk_tx_flush() while frames are outstanding (xsk_tx_waiting()) never strands a frame.
 *
 * Who receives on a veth? By default a softirq, inside sendto(), frame by frame. With threaded NAPI
 * on the receiving end (/sys/class/net/X/threaded) a kernel thread does it, 64 frames at a time,
 * which costs a quarter less for each frame; but a worker never sleeps under load, so that thread
 * comes to its turn on this CPU only when its time slice says so. So the worker gives the CPU away
 * after each kick that left frames outstanding (`yield`). Such frames prove that somebody else
 * receives: nothing has to be known about the other end, and where nobody else waits for the CPU
 * the call returns at once. Batches are 64 frames then, the thread's own budget, and `tx_window`
 * keeps frames on the way from overrunning the receiver's queue.
 *
 * Somebody else than that thread may have been waiting, for much more of the CPU's time. Who got it
 * for longer than a receiver can take for what is on the way makes us keep it for the next kicks.
 */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "clock.h"
#include "xsk_queue.h"

#define XSK_YIELD_LONG_NS 500000 /* no receiver of ours was that */
#define XSK_YIELD_PAUSE   256    /* kicks; some 15 ms */
#define XSK_KICK_STALLS   5      /* of these, at most so many without progress that shows */
#define XSK_KICK_ROUNDS   64     /* system calls per kick, at most; each made progress */
#define XSK_YIELD_BATCH   64 /* frames for a receiver that has its turn when we yield: its budget */

uint32_t xsk_rx_drive(struct xsk_queue *q, uint32_t max, uint32_t *ret_pos)
{
	(void)recvfrom(q->rx_fd, NULL, 0, MSG_DONTWAIT, NULL, NULL);
	return (uint32_t)xsk_ring_cons__peek(&q->rx, max, ret_pos);
}

void xsk_rx_release(struct xsk_queue *q, uint32_t pos, uint32_t n)
{
	uint64_t chunk_mask = ~(uint64_t)(q->frame_size - 1);
	uint32_t fill;

	if (!n)
		return;
	/* Each receive chunk is in the fill ring, in the kernel, in the rx ring or held here. */
	if (xsk_ring_prod__reserve(&q->fill, n, &fill) != n)
		abort();
	for (uint32_t i = 0; i < n; i++)
		*xsk_ring_prod__fill_addr(&q->fill, fill + i) =
			xsk_ring_cons__rx_desc(&q->rx, pos + i)->addr & chunk_mask;
	xsk_ring_cons__release(&q->rx, n);
	xsk_ring_prod__submit(&q->fill, n);

	/* With the first frame the kernel has learned the driver's poll function, if it has one. */
	if (unlikely(!q->busy_sure)) {
		q->busy_sure = true;
		atomic_store_explicit(&q->busy_poll, xsk_queue_napi_id(q) != 0,
		                      memory_order_relaxed);
	}
	/* Never set in copy mode. poll() works on every kernel, recvfrom() from 5.11 on. */
	if (unlikely(xsk_ring_prod__needs_wakeup(&q->fill))) {
		struct pollfd pfd = {.fd = q->rx_fd, .events = POLLIN};

		(void)poll(&pfd, 1, 0);
	}
}

static uint32_t xsk_tx_reap(struct xsk_queue *q)
{
	uint64_t first = (uint64_t)q->ring_size * q->frame_size;
	uint64_t end = (uint64_t)q->n_chunks * q->frame_size;
	uint32_t pos, n = xsk_ring_cons__peek(&q->comp, q->n_tx_kernel, &pos);

	if (!n)
		return 0;
	for (uint32_t i = 0; i < n; i++) {
		/* Linux 6.18 returns the address with bit 0 cleared; ours are even, so are they. */
		uint64_t addr = *xsk_ring_cons__comp_addr(&q->comp, pos + i);

		addr &= ~(uint64_t)(q->frame_size - 1);
		/* n <= n_tx_kernel, so the stack cannot overflow, whatever the ring holds. */
		if (likely(addr >= first && addr < end))
			q->tx_free[q->n_tx_free++] = addr;
	}
	xsk_ring_cons__release(&q->comp, n);
	q->n_tx_kernel -= n;
	return n;
}

uint32_t xsk_tx_complete(struct xsk_queue *q)
{
	uint32_t n = xsk_tx_reap(q);

	/* Frames that an earlier kick had to leave behind, see the theory of operation. */
	if (unlikely(xsk_tx_waiting(q)) && xsk_ring_prod__needs_wakeup(&q->tx)) {
		xsk_tx_kick(q);
		n += xsk_tx_reap(q);
	}
	return n;
}

void xsk_tx_kick(struct xsk_queue *q)
{
	int stalls = 0;

	for (int round = 0; round < XSK_KICK_ROUNDS; round++) {
		uint32_t before = __atomic_load_n(q->tx.consumer, __ATOMIC_RELAXED);
		ssize_t ret = sendto(q->tx_fd, NULL, 0, MSG_DONTWAIT, NULL, 0);

		counter_add(&q->kicks, 1);
		if (ret >= 0)
			return;
		switch (errno) {
		case EAGAIN:
			counter_add(&q->kick_again, 1);
			break;
		case EBUSY:
			counter_add(&q->kick_lost, 1);
			break;
		default: /* ENOBUFS, ENETDOWN, ENXIO, ... */
			counter_add(&q->kick_error, 1);
			return;
		}
		if (!xsk_tx_waiting(q))
			return;
		/* Before 6.17 the index moves only when the ring is empty; 32 frames go each time.
		 */
		if (before == __atomic_load_n(q->tx.consumer, __ATOMIC_RELAXED) &&
		    ++stalls == XSK_KICK_STALLS)
			return;
	}
}

/*
 * veth: whoever receives has done so inside sendto(), in a softirq, and everything is completed.
 * If not, then a thread of the kernel receives, and it may be waiting for this very CPU.
 */
static void xsk_tx_yield(struct xsk_queue *q)
{
	uint64_t start;

	if (!q->n_tx_kernel) {
		q->tx_batch = 0;
		return;
	}
	q->tx_batch = XSK_YIELD_BATCH;
	if (q->yield_pause && q->n_tx_free) {
		q->yield_pause--;
		return;
	}
	start = clock_now_ns();
	(void)sched_yield();
	if (clock_now_ns() - start > XSK_YIELD_LONG_NS)
		q->yield_pause = XSK_YIELD_PAUSE;
	counter_add(&q->yields, 1);
	(void)xsk_tx_complete(q);
}

void xsk_tx_collect(struct xsk_queue *q)
{
	(void)xsk_tx_complete(q);
	/* With all chunks on the way there is nothing better to do. */
	if (q->yield && !q->n_tx_free)
		xsk_tx_yield(q);
}

void xsk_tx_push(struct xsk_queue *q)
{
	xsk_ring_prod__submit(&q->tx, q->n_tx_held);
	q->n_tx_kernel += q->n_tx_held;
	q->n_tx_held = 0;
	/* With busy polling the kernel asks for no wakeup: the call itself polls the driver. */
	if (xsk_ring_prod__needs_wakeup(&q->tx) || xsk_busy_polls(q))
		xsk_tx_kick(q);
	(void)xsk_tx_complete(q);
	if (q->yield)
		xsk_tx_yield(q);
}
