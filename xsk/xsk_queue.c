// SPDX-License-Identifier: BSD-2-Clause
/*
 * xsk_queue.c - open and close the AF_XDP sockets of a queue
 *
 * Theory of operation
 * -------------------
 * The kernel keeps one buffer pool per (device, queue), in copy mode too, so a queue has exactly
 * one UMEM and one owner. libxdp registers the UMEM, maps the rings and binds; it loads
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
 * The socket that was bound first, with the UMEM, is the transmit one: a pool that is made without
 * a transmit ring had no room for transmit descriptors before Linux 6.4. The receive socket joins
 * its pool (XDP_SHARED_UMEM) and inherits its flags.
 */
#include <errno.h>
#include <net/if.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "clock.h"
#include "lines.h"
#include "xsk_compat.h"
#include "xsk_queue.h"

#define XSK_RING_MIN     64u
#define XSK_HUGE_PAGE    (2ul << 20)
#define XSK_RING_MAX     16384u
#define XSK_BUSY_POLL_US 20 /* of one system call; a worker makes the next one at once */

static bool xsk_params_valid(const struct xsk_queue_params *p)
{
	return p->ring_size >= XSK_RING_MIN && p->ring_size <= XSK_RING_MAX &&
	       !(p->ring_size & (p->ring_size - 1)) &&
	       (p->frame_size == 2048 || p->frame_size == 4096) && p->mode < XSK_N_MODES;
}

/* A mapping that starts where a huge page may start. */
static void *xsk_map_aligned(size_t size)
{
	size_t spare = size >= XSK_HUGE_PAGE ? XSK_HUGE_PAGE : 0;
	uint8_t *map = mmap(NULL, size + spare, PROT_READ | PROT_WRITE,
	                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	size_t front;

	if (map == MAP_FAILED || !spare)
		return map;
	front = -(uintptr_t)map & (XSK_HUGE_PAGE - 1);
	if (front)
		(void)munmap(map, front);
	if (spare - front)
		(void)munmap(map + front + size, spare - front);
	return map + front;
}

/*
 * All of it is pinned when the kernel registers it, so huge pages cost no memory; they come from
 * what is free, as transparent ones. Pages that the operator has set aside are for guests.
 */
static int xsk_map_area(struct xsk_queue *q)
{
	q->map_size = (size_t)q->n_chunks * q->frame_size;
	q->map = xsk_map_aligned(q->map_size);
	if (q->map == MAP_FAILED)
		return -errno;
	/* Guests' frames have no place in a core file. None of these has to work. */
	(void)madvise(q->map, q->map_size, MADV_DONTDUMP);
	(void)madvise(q->map, q->map_size, MADV_HUGEPAGE);
	(void)mem_prefer_node(q->map, q->map_size, q->node);
	q->area = q->map;
	q->tx_area = q->map;
	return 0;
}

static int xsk_alloc(const struct xsk_queue_params *params, struct xsk_queue **ret_q)
{
	struct xsk_queue *q = lines_alloc(1, sizeof(*q));
	int err;

	if (!q)
		return -ENOMEM;
	q->rx_fd = q->tx_fd = -1;
	q->map = MAP_FAILED;
	q->ring_size = params->ring_size;
	q->frame_size = params->frame_size;
	q->n_tx = params->ring_size;
	if (params->tx_window)
		q->n_tx = min_u32(q->n_tx, params->tx_window);
	q->n_chunks = q->ring_size + q->n_tx;
	q->queue = params->queue;
	q->ifindex = params->ifindex;
	q->node = params->node;
	/*
	 * Without XDP_USE_SG the kernel delivers what fits one chunk behind its own headroom, to
	 * the byte; one byte more and the frame is dropped and counted (rx_dropped). The transmit
	 * side could take a whole chunk, but a nic has one limit for both directions.
	 */
	q->max_frame = q->frame_size - XSK_PACKET_HEADROOM - q->headroom;

	q->tx_free = calloc(q->n_tx, sizeof(*q->tx_free));
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
	if (q->rx_socket)
		xsk_socket__delete(q->rx_socket);
	if (q->tx_socket)
		xsk_socket__delete(q->tx_socket);
	q->rx_socket = q->tx_socket = NULL;
	if (q->umem)
		(void)xsk_umem__delete(q->umem);
	q->umem = NULL;
	q->rx_fd = q->tx_fd = -1;
}

/* One attempt: UMEM, sockets, rings, bind with the mode forced. */
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
	*ret_why = "cannot bind an AF_XDP socket";
	err = xsk_socket__create(&q->tx_socket, ifname, q->queue, q->umem, NULL, &q->tx, &config);
	if (err < 0) {
		q->tx_socket = NULL;
		xsk_detach(q);
		return err;
	}
	err = xsk_socket__create(&q->rx_socket, ifname, q->queue, q->umem, &q->rx, NULL, &config);
	if (err < 0) {
		q->rx_socket = NULL;
		xsk_detach(q);
		return err;
	}
	q->tx_fd = xsk_socket__fd(q->tx_socket);
	q->rx_fd = xsk_socket__fd(q->rx_socket);
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

/*
 * What the kernel gave, and the limits of the transmit side. Nothing here may fail the socket.
 *
 * In copy mode each frame outstanding is an skb with room for itself, the driver's headers and some
 * 320 bytes of the kernel's own, rounded up to a power of two, and its descriptor: less than two
 * chunks and a half. The kernel doubles what it is given here.
 */
static void xsk_tune_tx(struct xsk_queue *q)
{
	struct xdp_options options = {0};
	socklen_t len = sizeof(options);
	int budget = (int)q->ring_size;
	int sndbuf = (int)(q->n_tx * 2 * q->frame_size);

	if (!getsockopt(q->tx_fd, SOL_XDP, XDP_OPTIONS, &options, &len))
		q->zerocopy = options.flags & XDP_OPTIONS_ZEROCOPY;
	if (setsockopt(q->tx_fd, SOL_SOCKET, SO_SNDBUFFORCE, &sndbuf, sizeof(sndbuf)) < 0)
		(void)setsockopt(q->tx_fd, SOL_SOCKET, SO_SNDBUF, &sndbuf, sizeof(sndbuf));
	if (!q->zerocopy)
		(void)setsockopt(q->tx_fd, SOL_XDP, XDP_MAX_TX_SKB_BUDGET, &budget, sizeof(budget));
}

static int xsk_set_option(int fd, int option, int value)
{
	return setsockopt(fd, SOL_SOCKET, option, &value, sizeof(value));
}

/* af_xdp.rst has nothing on it; Documentation/networking/napi.rst, "Busy polling". */
static bool xsk_prefer_busy_poll(int fd, uint32_t budget)
{
	return !xsk_set_option(fd, SO_PREFER_BUSY_POLL, 1) &&
	       !xsk_set_option(fd, SO_BUSY_POLL, XSK_BUSY_POLL_US) &&
	       !xsk_set_option(fd, SO_BUSY_POLL_BUDGET, (int)budget);
}

/* What the parameters ask of the data path, as far as it makes sense in this mode. */
static void xsk_tune(struct xsk_queue *q, const struct xsk_queue_params *params)
{
	bool busy = params->busy_budget && xsk_prefer_busy_poll(q->rx_fd, params->busy_budget) &&
	            xsk_prefer_busy_poll(q->tx_fd, params->busy_budget);

	xsk_tune_tx(q);
	q->yield = params->yield && !q->zerocopy;
	atomic_init(&q->busy_poll, busy);
	q->busy_sure = !busy;
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

	for (uint32_t i = 0; i < q->n_tx; i++)
		q->tx_free[i] = (uint64_t)(q->n_chunks - 1 - i) * q->frame_size;
	q->n_tx_free = q->n_tx;
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
	xsk_tune(q, params);
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

/* Old kernels fill in the first three only. */
static int xsk_socket_stats(int fd, struct xdp_statistics *ret_stats)
{
	socklen_t len = sizeof(*ret_stats);

	*ret_stats = (struct xdp_statistics){0};
	return getsockopt(fd, SOL_XDP, XDP_STATISTICS, ret_stats, &len) < 0 ? -errno : 0;
}

int xsk_queue_kernel_stats(const struct xsk_queue *q, struct xsk_kernel_stats *ret_stats)
{
	struct xdp_statistics rx, tx;
	int err = xsk_socket_stats(q->rx_fd, &rx);

	if (!err)
		err = xsk_socket_stats(q->tx_fd, &tx);
	if (err < 0)
		return err;
	*ret_stats = (struct xsk_kernel_stats){
		.rx_dropped = rx.rx_dropped,
		.rx_invalid_descs = rx.rx_invalid_descs,
		.tx_invalid_descs = tx.tx_invalid_descs,
		.rx_ring_full = rx.rx_ring_full,
		.fill_ring_empty = rx.rx_fill_ring_empty_descs,
		.tx_ring_empty = tx.tx_ring_empty_descs,
	};
	return 0;
}

uint32_t xsk_queue_napi_id(const struct xsk_queue *q)
{
	int id = 0;
	socklen_t len = sizeof(id);

	if (getsockopt(q->rx_fd, SOL_SOCKET, SO_INCOMING_NAPI_ID, &id, &len) < 0)
		return 0;
	return (uint32_t)id;
}
