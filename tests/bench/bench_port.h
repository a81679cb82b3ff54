/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench_port.h - rings that cost their owner next to nothing
 *
 * Theory of operation. A front end that builds descriptors and frees buffers is slower than a good
 * back end and would be the thing measured. So everything is written before the run: descriptor i
 * points at buffer i for ever, and avail entry i names descriptor i for ever. A back end that
 * completes in order returns descriptor i in used entry i, so turning a completion into a new
 * buffer means: write the same avail entry again (a driver would, and the back end shall pay for
 * fetching the line), and raise avail->idx by as much as used->idx has risen. Nothing in the used
 * ring is read while it runs.
 *
 * That this holds is checked after the run: every used entry must name its own position, or the
 * result is refused (bench_queue_check()). What arrived is compared byte by byte with what was
 * sent.
 *
 * A packed ring has descriptors and completions in the same places: slot i holds buffer i for ever.
 * Turning completions into new buffers means to read the words with length, identifier and flags of
 * a run of slots, and to write them anew, the first one last. What a completion says is checked on
 * the way, as nothing is left of it later.
 *
 * Every transmit buffer is a complete frame with its slot number inside. With "touch", the sender
 * writes each cache line of a frame again before it is republished (with the value that stands
 * there, so that the check after the run holds), and the receiver reads each line: this is what a
 * guest does, and it takes the buffers out of the back end's cache.
 *
 * Variants that stay within this scheme: transmit buffers behind indirect tables (header and frame
 * in an entry each), receive buffers that are smaller than a frame (MRG_RXBUF; every frame then
 * takes the same number of them), EVENT_IDX (interrupts are never asked for, as by a driver that
 * polls; kicks as the device asks for them), and frames for several destinations, slot by slot in
 * turn.
 */
#ifndef BENCH_PORT_H
#define BENCH_PORT_H

#include "vfe.h"
#include "vfe_frame.h"

struct bench_port_config {
	const char *socket_path;
	struct vfe_mac mac;
	const struct vfe_mac *dst; /* slot i is for dst[i % n_dst]; borrowed until opened */
	uint32_t n_dst;
	uint64_t features; /* all of them must be offered */
	uint16_t ring_size;
	uint32_t size;      /* bytes of a frame, without virtio-net header and FCS */
	uint32_t stride;    /* bytes from transmit buffer to transmit buffer */
	uint32_t rx_stride; /* size of a receive buffer; less than a frame needs MRG_RXBUF */
	bool touch;
	bool hugepages;
	bool packed;
	bool indirect; /* needs INDIRECT_DESC among the features */
};

struct bench_queue {
	/* Guest memory; read and written in every turn */
	struct vfe_avail *avail;
	struct vfe_used *used;
	const uint16_t *avail_event;   /* split, EVENT_IDX: behind the used ring */
	struct vfe_packed_desc *slots; /* packed, else NULL */
	struct vfe_event *device_event;
	char *bufs;
	uint16_t mask;
	uint16_t seen;      /* buffers up to here were taken: used->idx */
	uint16_t published; /* buffers up to here were made available: avail->idx */
	bool touch;
	bool rx;
	bool event_idx;
	uint32_t stride;
	uint32_t len;        /* bytes of header and frame */
	uint32_t per_frame;  /* buffers that a frame takes */
	uint32_t desc_len;   /* what a descriptor says, */
	uint16_t desc_flags; /* likewise */
	uint64_t count;      /* buffers used */
	uint64_t sum;        /* keeps the reads of touched payload */
	uint32_t disorder;   /* packed: completions that are not what they must be */
	struct vfe_mac mac;  /* of the port */
	struct vfe_ring *ring;
};

struct bench_port {
	struct vfe *v;
	struct bench_queue rx;
	struct bench_queue tx;
};

/**
 * bench_port_open() - connect, start, post all receive buffers, prepare all frames
 * Return: 0 or -errno; bench_port_close() in any case. vfe_error(p->v) tells.
 */
int bench_port_open(struct bench_port *p, const struct bench_port_config *c);

void bench_port_close(struct bench_port *p);

/** bench_port_stop() - stop the rings, so that they can be checked. 0 or -errno. */
int bench_port_stop(struct bench_port *p);

/** bench_queue_turn() - give every used buffer back. Return: how many. */
uint32_t bench_queue_turn(struct bench_queue *q);

/**
 * bench_queue_take() - take used buffers back, without giving them out again
 * Return: how many
 */
uint32_t bench_queue_take(struct bench_queue *q);

/** bench_queue_publish() - hand out @n more buffers that were not in flight (at start, or one by
 * one) */
void bench_queue_publish(struct bench_queue *q, uint16_t n);

/** bench_packed_used() - bench_queue_used() of a packed ring */
uint16_t bench_packed_used(struct bench_queue *q);

/** bench_queue_used() - buffers used since the last turn */
static inline uint16_t bench_queue_used(struct bench_queue *q)
{
	if (q->slots)
		return bench_packed_used(q);
	return (uint16_t)(__atomic_load_n(&q->used->idx, __ATOMIC_ACQUIRE) - q->seen);
}

/**
 * bench_queue_check() - after the run: was every buffer used in order, at its place?
 * Return: entries that break the assumption; then the counts mean nothing.
 */
uint32_t bench_queue_check(const struct bench_queue *q);

/** bench_queue_frames() - frames so far */
static inline uint64_t bench_queue_frames(const struct bench_queue *q)
{
	return q->count / q->per_frame;
}

/**
 * bench_compare() - frames in @rx that differ from what @tx sent, or are for someone else
 * @ret_seen: frames looked at
 */
uint32_t bench_compare(const struct bench_queue *rx, const struct bench_queue *tx,
                       uint32_t *ret_seen);

#endif
