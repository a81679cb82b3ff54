/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * xsk_queue.h - one AF_XDP socket on one queue of one network device
 *
 * Theory of operation
 * -------------------
 * A queue owns a UMEM area, cut into chunks, and four rings. Chunks never change sides:
 *
 *      receive chunks:   fill ring -> kernel -> rx ring -> (copied out) -> fill ring
 *      transmit chunks:  free stack -> (copied in) -> tx ring -> kernel -> completion ring -> stack
 *
 * so the receive half belongs to one worker, the transmit half to one worker or to the holder of
 * `tx_lock`, and the two halves share no state. Frames are conserved: xsk_queue_check() proves it.
 *
 * Each half has a socket of its own, both on one UMEM and one queue of the device. When a frame
 * that was sent is done with, the kernel wakes whoever waits for the socket that it was sent from;
 * an epoll set with the receive side in it would be asked for every single frame, although nobody
 * sleeps there: one part in fifteen of a frame's cost. Nobody ever waits for the transmit socket.
 *
 * The verbs of the data path are inline, work in bursts and never fail for more than the moment:
 *
 *   receive    n = xsk_rx_peek(q, max, &pos); xsk_rx_frame(q, pos + i); ... xsk_rx_release(q, pos,
 * n); transmit   p = xsk_tx_reserve(q); write the frame; xsk_tx_submit(q, len); ...
 * xsk_tx_flush(q);
 *
 * System calls: xsk_tx_flush() makes one for all frames since the last, and one more where
 * somebody else has to run on this CPU to receive them (`yield`); xsk_rx_release() one when the
 * driver has asked to be woken up for its fill ring; xsk_rx_peek() one when it finds nothing and
 * the worker polls the driver itself (`busy_budget`).
 */
#ifndef XSK_QUEUE_H
#define XSK_QUEUE_H

#include <xdp/xsk.h>
#include "base.h"
#include "mem_node.h"

enum xsk_mode {
	XSK_MODE_AUTO, /* zero copy where the driver has it, else copy; never silently: see bound */
	XSK_MODE_COPY,
	XSK_MODE_ZEROCOPY,
	XSK_N_MODES
};

struct xsk_queue_params {
	const char *ifname;
	uint32_t ifindex;
	uint32_t queue;
	enum xsk_mode mode;
	uint32_t ring_size;   /* entries of each of the four rings: a power of two, 64..16384 */
	uint32_t frame_size;  /* 2048 or 4096 bytes */
	uint32_t tx_window;   /* frames outstanding at most; 0, or more than ring_size: ring_size */
	bool yield;           /* copy mode: give the CPU away while frames are outstanding */
	uint32_t busy_budget; /* frames per poll of the driver by the worker; 0: interrupts */
	int node;             /* NUMA node for the packet memory, or MEM_NODE_ANY */
	uint32_t
		bind_timeout_ms; /* how long EBUSY is retried: a closed socket lingers some 20 ms */
};

struct xsk_frame {
	uint8_t *data;
	uint32_t len;
};

struct xsk_queue {
	/* Receive: the owning worker */
	alignas(CACHE_LINE) struct xsk_ring_cons rx;
	struct xsk_ring_prod fill;
	uint8_t *area; /* UMEM, borrowed from whoever gave it */
	uint32_t headroom;
	int rx_fd;
	_Atomic bool busy_poll; /* the workers call the driver's poll function */
	bool busy_sure;         /* ... and are known to reach it, or not to */

	/* Transmit: one worker, or the holder of tx_lock */
	alignas(CACHE_LINE) struct xsk_ring_prod tx;
	struct xsk_ring_cons comp;
	uint64_t *tx_free; /* stack of chunk addresses */
	uint8_t *tx_area;
	uint32_t n_tx_free;
	uint32_t n_tx_held;   /* written since the last flush, not published yet */
	uint32_t n_tx_kernel; /* published, completion outstanding */
	uint32_t tx_batch;    /* flush by itself when so many are held; 0: never */
	/* ... once per burst */
	int tx_fd;
	_Atomic uint32_t tx_lock;
	uint32_t yield_pause; /* kicks until the next yield */
	bool yield;

	/* Counters of the transmit side: its holder writes, anyone reads */
	alignas(CACHE_LINE) _Atomic uint64_t kicks;
	_Atomic uint64_t kick_again; /* EAGAIN: the kernel has not taken all; it goes on later */
	_Atomic uint64_t kick_lost;  /* EBUSY: the device dropped frames */
	_Atomic uint64_t kick_error; /* anything else: the device is down or gone */
	_Atomic uint64_t yields;     /* somebody else was to receive what a kick had sent */

	/* Control thread */
	alignas(CACHE_LINE) struct xsk_umem *umem;
	struct xsk_socket *tx_socket; /* has the UMEM, the fill and the completion ring */
	struct xsk_socket *rx_socket;
	void *map;
	size_t map_size;
	uint32_t n_chunks;
	uint32_t n_tx; /* of them for transmission, the last ones; ring_size others are for
	                  reception */
	uint32_t frame_size;
	uint32_t ring_size;
	uint32_t max_frame; /* longest frame, both ways: frame_size - 256, bytes */
	bool zerocopy;      /* what the kernel really gave (getsockopt XDP_OPTIONS) */
	uint32_t queue;
	uint32_t ifindex;
	int node; /* as asked for */
};
static_assert(offsetof(struct xsk_queue, tx) == 2 * CACHE_LINE, "receive side outgrew its lines");
static_assert(offsetof(struct xsk_queue, tx_fd) == offsetof(struct xsk_queue, tx) + 2 * CACHE_LINE,
              "what each frame sent touches outgrew its lines");

/* The kernel's own counters of a socket (getsockopt XDP_STATISTICS). */
struct xsk_kernel_stats {
	uint64_t rx_dropped; /* no chunk was free (see fill_ring_empty), or longer than a chunk */
	uint64_t rx_invalid_descs;
	uint64_t tx_invalid_descs;
	uint64_t rx_ring_full;    /* the daemon was too slow */
	uint64_t fill_ring_empty; /* the daemon was too slow to hand chunks back */
	uint64_t tx_ring_empty;
};

/**
 * xsk_queue_open() - UMEM, socket, rings and bind for one queue
 * @params: copied
 * @ret_q: caller owns it
 * @ret_why: on failure a static sentence that says what to do; may be NULL
 *
 * Tries the modes that @params allows, each forced (XDP_ZEROCOPY or XDP_COPY), so that what is
 * bound is what is reported. EBUSY is retried with back-off up to bind_timeout_ms. The socket is
 * not in any XSKMAP yet. Needs CAP_NET_RAW, and CAP_IPC_LOCK or memory lock limit.
 * Context: control thread. May sleep up to bind_timeout_ms.
 * Return: 0, -EBUSY (another socket has the queue), -EOPNOTSUPP (mode), -ENOBUFS (memory lock
 * limit), -ENODEV, -ENOMEM or another error of the kernel.
 */
int xsk_queue_open(const struct xsk_queue_params *params, struct xsk_queue **ret_q,
                   const char **ret_why);

/**
 * xsk_queue_close() - unmap rings, close the socket, free the area
 *
 * The caller has removed it from the XSKMAP and from every worker. Takes NULL and half-built ones.
 */
void xsk_queue_close(struct xsk_queue *q);

/** xsk_queue_kernel_stats() - Return: 0 or -errno. Any thread. */
int xsk_queue_kernel_stats(const struct xsk_queue *q, struct xsk_kernel_stats *ret_stats);

/**
 * xsk_queue_check() - count every chunk
 *
 * Context: nobody else uses the queue. Return: true if no chunk is lost or duplicated.
 */
bool xsk_queue_check(const struct xsk_queue *q);

/**
 * xsk_queue_napi_id() - what the kernel calls the driver's poll function of this queue
 *
 * Older kernels know it only after the first frame. Return: 0 if the driver has none to be
 * called by us. Any thread.
 */
uint32_t xsk_queue_napi_id(const struct xsk_queue *q);

/** xsk_tx_complete() - take finished transmit chunks back. Return: how many. tx holder. */
uint32_t xsk_tx_complete(struct xsk_queue *q);

/** xsk_tx_kick() - tell the kernel that frames wait (sendto). Counts what comes back. tx holder. */
void xsk_tx_kick(struct xsk_queue *q);

/** xsk_tx_collect() - take back what is finished, when nothing is held. tx holder. */
void xsk_tx_collect(struct xsk_queue *q);

/** xsk_tx_push() - publish what is held, at least one frame; see xsk_tx_flush(). tx holder. */
void xsk_tx_push(struct xsk_queue *q);

/** xsk_busy_polls() - is the driver polled by who uses the queue? Any thread. */
static always_inline bool xsk_busy_polls(const struct xsk_queue *q)
{
	return atomic_load_explicit((_Atomic bool *)(uintptr_t)&q->busy_poll, memory_order_relaxed);
}

/** xsk_rx_drive() - call the driver's poll function, then peek again. Rx owner. */
uint32_t xsk_rx_drive(struct xsk_queue *q, uint32_t max, uint32_t *ret_pos);

/**
 * xsk_rx_peek() - frames that have arrived
 * @max: at most this many
 * @ret_pos: position of the first, for xsk_rx_frame()
 * Return: how many. They stay ours until xsk_rx_release(). Rx owner.
 */
static always_inline uint32_t xsk_rx_peek(struct xsk_queue *q, uint32_t max, uint32_t *ret_pos)
{
	uint32_t n = (uint32_t)xsk_ring_cons__peek(&q->rx, max, ret_pos);

	if (unlikely(!n && xsk_busy_polls(q)))
		n = xsk_rx_drive(q, max, ret_pos);
	return n;
}

/** xsk_rx_frame() - the frame at a position that xsk_rx_peek() returned */
static always_inline struct xsk_frame xsk_rx_frame(const struct xsk_queue *q, uint32_t pos)
{
	const struct xdp_desc *d = xsk_ring_cons__rx_desc(&q->rx, pos);

	return (struct xsk_frame){.data = q->area + d->addr, .len = d->len};
}

/**
 * xsk_rx_release() - hand the first @n peeked frames' chunks back to the kernel
 * @pos: what xsk_rx_peek() returned
 *
 * The fill ring has room for every receive chunk, so this cannot fail. Rx owner.
 */
void xsk_rx_release(struct xsk_queue *q, uint32_t pos, uint32_t n);

/**
 * xsk_tx_reserve() - a chunk to write one frame into
 *
 * Call xsk_tx_submit() or simply nothing (the chunk stays free) before the next reserve.
 * Return: where the frame goes (q->max_frame bytes), or NULL: no chunk or ring slot is free. tx
 * holder.
 */
static always_inline uint8_t *xsk_tx_reserve(struct xsk_queue *q)
{
	if (unlikely(!q->n_tx_free))
		return NULL;
	return q->tx_area + q->tx_free[q->n_tx_free - 1];
}

/** xsk_tx_submit() - queue the reserved chunk with @len bytes. Published by xsk_tx_flush(). */
static always_inline void xsk_tx_submit(struct xsk_queue *q, uint32_t len)
{
	/* As many transmit chunks as ring slots: a free chunk means a free slot. */
	uint32_t pos = q->tx.cached_prod++;
	struct xdp_desc *d = xsk_ring_prod__tx_desc(&q->tx, pos);

	d->addr = q->tx_free[--q->n_tx_free];
	d->len = len;
	d->options = 0;
	if (unlikely(++q->n_tx_held == q->tx_batch))
		xsk_tx_push(q);
}

/**
 * xsk_tx_waiting() - published frames that the kernel has not looked at yet
 *
 * In copy mode that means a kick had to give up (send buffer full, driver's queue stopped): call
 * xsk_tx_flush() again soon, and do not sleep without a timeout before it is false. In zero copy
 * mode the driver takes them by itself. tx holder.
 */
static always_inline bool xsk_tx_waiting(const struct xsk_queue *q)
{
	return __atomic_load_n(q->tx.consumer, __ATOMIC_ACQUIRE) !=
	       q->tx.cached_prod - q->n_tx_held;
}

/** xsk_tx_mark() - how many frames were published so far. Any thread. */
static inline uint32_t xsk_tx_mark(const struct xsk_queue *q)
{
	return __atomic_load_n(q->tx.producer, __ATOMIC_ACQUIRE);
}

/** xsk_tx_passed() - has the kernel finished as many frames as that? Any thread. */
static inline bool xsk_tx_passed(const struct xsk_queue *q, uint32_t mark)
{
	return (int32_t)(__atomic_load_n(q->comp.producer, __ATOMIC_ACQUIRE) - mark) >= 0;
}

/**
 * xsk_tx_flush() - publish what was submitted and wake the kernel where it asks for it
 *
 * Call once per burst, and again while n_tx_kernel is not zero: it also collects completions and
 * repeats a kick that had to give up. tx holder.
 */
static always_inline void xsk_tx_flush(struct xsk_queue *q)
{
	if (q->n_tx_held)
		xsk_tx_push(q);
	else if (q->n_tx_kernel)
		xsk_tx_collect(q);
}

#endif
