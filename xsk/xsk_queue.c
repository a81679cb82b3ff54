// SPDX-License-Identifier: BSD-2-Clause
/*
 * xsk_queue.c - open, close and the system calls of an AF_XDP socket
 *
 * Theory of operation
 * -------------------
 * The kernel keeps one buffer pool per (device, queue), in copy mode too, so a queue has exactly
 * one UMEM, one socket, one owner. libxdp registers the UMEM, maps the rings and binds; it loads
 * no program (INHIBIT_PROG_LOAD), because the steering program is ours.
 *
 * Binding is tried with the mode forced. Without force the kernel falls back from zero copy to
 * copy silently, and a bonding device even advertises a zero copy that it cannot do; what the
 * kernel really gave is read back (XDP_OPTIONS). A socket that was closed lets go of its queue
 * only some 20 ms later, from a work queue, hence the retries on EBUSY.
 *
 * Each attempt starts from a new UMEM. Registering 8 MiB costs less than a millisecond and leaves
 * no half-used ring state behind a failed bind.
 *
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
 */
#include <errno.h>
#include <net/if.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "clock.h"
#include "xsk_compat.h"
#include "xsk_queue.h"

#define XSK_RING_MIN    64u
#define XSK_RING_MAX    16384u
#define XSK_KICK_STALLS 5  /* of these, at most so many without progress that shows */
#define XSK_KICK_ROUNDS 64 /* system calls per kick, at most; each made progress */

static bool xsk_params_valid(const struct xsk_queue_params *p)
{
	return p->ring_size >= XSK_RING_MIN && p->ring_size <= XSK_RING_MAX &&
	       !(p->ring_size & (p->ring_size - 1)) &&
	       (p->frame_size == 2048 || p->frame_size == 4096) && p->mode < XSK_N_MODES;
}

static int xsk_map_area(struct xsk_queue *q)
{
	q->map_size = (size_t)q->n_chunks * q->frame_size;
	q->map = mmap(NULL, q->map_size, PROT_READ | PROT_WRITE,
	              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (q->map == MAP_FAILED)
		return -errno;
	/* Guests' frames have no place in a core file. Without effect on older kernels. */
	(void)madvise(q->map, q->map_size, MADV_DONTDUMP);
	q->area = q->map;
	q->tx_area = q->map;
	return 0;
}

static int xsk_alloc(const struct xsk_queue_params *params, struct xsk_queue **ret_q)
{
	struct xsk_queue *q = aligned_alloc(alignof(struct xsk_queue), sizeof(*q));
	int err;

	if (!q)
		return -ENOMEM;
	memset(q, 0, sizeof(*q));
	q->fd = -1;
	q->map = MAP_FAILED;
	q->ring_size = params->ring_size;
	q->frame_size = params->frame_size;
	q->n_chunks = 2 * params->ring_size;
	q->queue = params->queue;
	q->ifindex = params->ifindex;
	/*
	 * Without XDP_USE_SG the kernel delivers what fits one chunk behind its own headroom, to
	 * the byte; one byte more and the frame is dropped and counted (rx_dropped). The transmit
	 * side could take a whole chunk, but a nic has one limit for both directions.
	 */
	q->max_frame = q->frame_size - XSK_PACKET_HEADROOM - q->headroom;

	q->tx_free = calloc(q->ring_size, sizeof(*q->tx_free));
	err = q->tx_free ? xsk_map_area(q) : -ENOMEM;
	if (err < 0) {
		xsk_queue_close(q);
		return err;
	}
	*ret_q = q;
	return 0;
}

/* Undo xsk_attach(). The rings are unmapped first: a mapped ring keeps the socket alive. */
static void xsk_detach(struct xsk_queue *q)
{
	if (q->socket)
		xsk_socket__delete(q->socket);
	q->socket = NULL;
	if (q->umem)
		(void)xsk_umem__delete(q->umem);
	q->umem = NULL;
	q->fd = -1;
}

/* One attempt: UMEM, socket, rings, bind with the mode forced. */
static int xsk_attach(struct xsk_queue *q, const char *ifname, uint16_t mode_flag,
                      const char **ret_why)
{
	const struct xsk_umem_config umem_config = {
		/*
	         * Twice the chunks: the kernel publishes received frames before it publishes that
	         * their fill entries are consumed (xsk_flush()), and may be interrupted in between.
	         * So up to one ring of entries looks taken that is not.
	         */
		.fill_size = 2 * q->ring_size,
		.comp_size = q->ring_size,
		.frame_size = q->frame_size,
		.frame_headroom = q->headroom,
	};
	const struct xsk_socket_config config = {
		.rx_size = q->ring_size,
		.tx_size = q->ring_size,
		.libxdp_flags = XSK_LIBXDP_FLAGS__INHIBIT_PROG_LOAD,
		.bind_flags = (uint16_t)(XDP_USE_NEED_WAKEUP | mode_flag),
	};
	int err;

	/* libxdp takes the cached indices as they are: they must start from zero. */
	memset(&q->rx, 0, sizeof(q->rx));
	memset(&q->fill, 0, sizeof(q->fill));
	memset(&q->tx, 0, sizeof(q->tx));
	memset(&q->comp, 0, sizeof(q->comp));
	err = xsk_umem__create(&q->umem, q->map, q->map_size, &q->fill, &q->comp, &umem_config);
	if (err < 0) {
		q->umem = NULL;
		switch (-err) {
		case ENOBUFS:
			*ret_why = "the memory lock limit is too small: raise LimitMEMLOCK= or "
				   "give the daemon CAP_IPC_LOCK";
			break;
		case EPERM:
			*ret_why = "AF_XDP sockets need CAP_NET_RAW";
			break;
		case EAFNOSUPPORT:
			*ret_why = "this kernel has no AF_XDP (CONFIG_XDP_SOCKETS)";
			break;
		default:
			*ret_why = "cannot register packet memory with the kernel";
		}
		return err;
	}
	err = xsk_socket__create(&q->socket, ifname, q->queue, q->umem, &q->rx, &q->tx, &config);
	if (err < 0) {
		q->socket = NULL;
		xsk_detach(q);
		*ret_why = "cannot bind an AF_XDP socket";
		return err;
	}
	q->fd = xsk_socket__fd(q->socket);
	return 0;
}

/* Attempts in the order that @mode allows. A busy queue is busy in every mode. */
static int xsk_attach_mode(struct xsk_queue *q, const char *ifname, enum xsk_mode mode,
                           const char **ret_why)
{
	int err = -EOPNOTSUPP;

	if (mode == XSK_MODE_AUTO || mode == XSK_MODE_ZEROCOPY)
		err = xsk_attach(q, ifname, XDP_ZEROCOPY, ret_why);
	if (err < 0 && err != -EBUSY && err != -ENODEV && err != -EPERM &&
	    mode != XSK_MODE_ZEROCOPY)
		err = xsk_attach(q, ifname, XDP_COPY, ret_why);

	if (err == -EBUSY)
		*ret_why = "another AF_XDP socket holds this queue: stop the program that has it";
	else if (err == -ENODEV)
		*ret_why = "the device is gone";
	else if (err == -EOPNOTSUPP && mode == XSK_MODE_ZEROCOPY)
		*ret_why = "the driver has no zero copy: set zero-copy to auto or off";
	else if (err == -EINVAL && mode == XSK_MODE_ZEROCOPY)
		*ret_why = "the kernel refuses zero copy on this queue (queue number, MTU, or the "
			   "program's mode)";
	else if (err == -EINVAL)
		*ret_why = "the kernel refuses this queue number";
	return err;
}

static int xsk_attach_retry(struct xsk_queue *q, const struct xsk_queue_params *params,
                            const char **ret_why)
{
	uint64_t deadline = clock_now_ms() + params->bind_timeout_ms;
	char ifname[IF_NAMESIZE];
	uint32_t wait_ms = 2;

	for (;;) {
		int err;

		/* The name may change at any time, the index means this device. */
		if (!if_indextoname(params->ifindex, ifname)) {
			*ret_why = "the device is gone";
			return -ENODEV;
		}
		err = xsk_attach_mode(q, ifname, params->mode, ret_why);
		if (err != -EBUSY || clock_now_ms() + wait_ms > deadline)
			return err;
		(void)poll(NULL, 0, (int)wait_ms);
		wait_ms = min_u32(wait_ms * 2, 32);
	}
}

/* What the kernel gave, and the limits of the transmit side. Nothing here may fail the socket. */
static void xsk_tune(struct xsk_queue *q)
{
	struct xdp_options options = {0};
	socklen_t len = sizeof(options);
	int budget = (int)q->ring_size;
	/* In copy mode each frame in flight is an skb; twice its chunk covers its true size. */
	int sndbuf = (int)(q->ring_size * 2 * q->frame_size);

	if (!getsockopt(q->fd, SOL_XDP, XDP_OPTIONS, &options, &len))
		q->zerocopy = options.flags & XDP_OPTIONS_ZEROCOPY;
	if (setsockopt(q->fd, SOL_SOCKET, SO_SNDBUFFORCE, &sndbuf, sizeof(sndbuf)) < 0)
		(void)setsockopt(q->fd, SOL_SOCKET, SO_SNDBUF, &sndbuf, sizeof(sndbuf));
	if (!q->zerocopy)
		(void)setsockopt(q->fd, SOL_XDP, XDP_MAX_TX_SKB_BUDGET, &budget, sizeof(budget));
}

/* Receive chunks into the fill ring, transmit chunks onto the stack (lowest address on top). */
static int xsk_deal_chunks(struct xsk_queue *q)
{
	uint32_t pos;

	if (xsk_ring_prod__reserve(&q->fill, q->ring_size, &pos) != q->ring_size)
		return -EPROTO;
	for (uint32_t i = 0; i < q->ring_size; i++)
		*xsk_ring_prod__fill_addr(&q->fill, pos + i) = (uint64_t)i * q->frame_size;
	xsk_ring_prod__submit(&q->fill, q->ring_size);

	for (uint32_t i = 0; i < q->ring_size; i++)
		q->tx_free[i] = (uint64_t)(q->n_chunks - 1 - i) * q->frame_size;
	q->n_tx_free = q->ring_size;
	return 0;
}

int xsk_queue_open(const struct xsk_queue_params *params, struct xsk_queue **ret_q,
                   const char **ret_why)
{
	const char *why = "not enough memory";
	struct xsk_queue *q = NULL;
	int err = -EINVAL;

	if (!xsk_params_valid(params)) {
		why = "ring size or frame size is out of range";
		goto fail;
	}
	err = xsk_alloc(params, &q);
	if (err < 0)
		goto fail;
	err = xsk_attach_retry(q, params, &why);
	if (err < 0)
		goto fail;
	xsk_tune(q);
	err = xsk_deal_chunks(q);
	if (err < 0) {
		why = "the kernel's fill ring is smaller than asked for";
		goto fail;
	}
	*ret_q = q;
	return 0;
fail:
	xsk_queue_close(q);
	if (ret_why)
		*ret_why = why;
	return err;
}

void xsk_queue_close(struct xsk_queue *q)
{
	if (!q)
		return;
	xsk_detach(q);
	if (q->map != MAP_FAILED)
		(void)munmap(q->map, q->map_size);
	free(q->tx_free);
	free(q);
}

int xsk_queue_kernel_stats(const struct xsk_queue *q, struct xsk_kernel_stats *ret_stats)
{
	struct xdp_statistics s = {0}; /* old kernels fill in the first three only */
	socklen_t len = sizeof(s);

	if (getsockopt(q->fd, SOL_XDP, XDP_STATISTICS, &s, &len) < 0)
		return -errno;
	*ret_stats = (struct xsk_kernel_stats){
		.rx_dropped = s.rx_dropped,
		.rx_invalid_descs = s.rx_invalid_descs,
		.tx_invalid_descs = s.tx_invalid_descs,
		.rx_ring_full = s.rx_ring_full,
		.fill_ring_empty = s.rx_fill_ring_empty_descs,
		.tx_ring_empty = s.tx_ring_empty_descs,
	};
	return 0;
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

	/* Never set in copy mode. poll() works on every kernel, recvfrom() from 5.11 on. */
	if (unlikely(xsk_ring_prod__needs_wakeup(&q->fill))) {
		struct pollfd pfd = {.fd = q->fd, .events = POLLIN};

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
		ssize_t ret = sendto(q->fd, NULL, 0, MSG_DONTWAIT, NULL, 0);

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
