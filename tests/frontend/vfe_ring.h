/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vfe_ring.h - the driver's end of virtqueues, split or packed, with a suspicious eye on the device
 *
 * Posts receive buffers, sends frames in every layout a driver may choose, takes completions and
 * checks what the device wrote: buffers that were not in flight, lengths beyond the buffer, wrong
 * num_buffers, a used index that jumps, broken order under IN_ORDER, wrong flags. Each breach is
 * counted in vfe->faults and described by vfe_error().
 *
 * Spec: virtio 1.3, 2.7 (split virtqueues), 2.8 (packed ones), 5.1.6 (network device operation).
 */
#ifndef VFE_RING_H
#define VFE_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "vfe_proto.h"

struct vfe;

#define VFE_PACKED_BASE 0x80008000u /* position of a new packed ring */

#define VFE_MAX_PIECES 64 /* descriptors of one frame */
#define VFE_PIECE_GAP                                                                              \
	16 /* bytes between two pieces, so that none can be taken for its neighbour                \
	    */

/* What receive buffers and transmit slots look like. Zero: a sensible value. */
struct vfe_buf_config {
	uint32_t rx_size;   /* bytes of one receive buffer, header included; 0: 2048 */
	uint16_t rx_pieces; /* descriptors of one receive buffer; 0: 1; 2 with rx_hdr_first */
	bool rx_hdr_first;  /* a receive buffer's first descriptor is the header alone */
	bool rx_indirect;   /* receive chains go through an indirect table */
	bool unused_ok;     /* buffers may come back empty: a back end was lost */
	bool lenient;     /* do not insist on num_buffers = 1 without MRG_RXBUF (DPDK leaves it) */
	uint32_t tx_size; /* largest frame that can be sent, header included; 0: 2048 */
};

/* How one frame is laid out in descriptors */
struct vfe_tx_layout {
	uint16_t pieces;        /* data descriptors, 1..VFE_MAX_PIECES - 1; 0: 1 */
	bool hdr_apart;         /* the virtio-net header in a descriptor of its own */
	bool indirect;          /* through an indirect table, when negotiated */
	struct vfe_net_hdr hdr; /* offload requests; zero for a plain frame */
};

/* What belongs to an identifier. Split: a descriptor; whatever is not next only where it is a head
 */
struct vfe_slot {
	bool in_flight;
	uint16_t n_desc; /* descriptors taken from the ring */
	uint16_t next;   /* the following one, of the chain (split) or of the free list */
};

struct vfe_layout_ops;

struct vfe_ring {
	struct vfe *v;
	uint32_t index; /* even: receive, odd: transmit, from the guest's side */
	uint16_t size;
	bool rx;
	bool event_idx;
	bool in_order;
	bool packed;
	const struct vfe_layout_ops *ops;

	/* Guest memory; the layouts use the same */
	union {
		struct vfe_desc *desc;
		struct vfe_packed_desc *packed_desc;
	};
	union {
		struct vfe_avail *avail;
		struct vfe_event *driver_event;
	};
	union {
		struct vfe_used *used;
		struct vfe_event *device_event;
	};
	struct vfe_desc *tables; /* size * VFE_MAX_PIECES, indirect tables */
	char **bufs;             /* one buffer per identifier */
	uint32_t buf_size;

	int kick_fd;
	int call_fd;
	int err_fd;
	uint32_t base; /* for SET_VRING_BASE */
	bool resume;   /* take the base from how far buffers are used, at the next start */
	bool enabled;

	uint16_t free_head; /* list of free identifiers, through slots[].next */
	uint16_t n_free;    /* descriptors */
	struct vfe_slot *slots;
	uint16_t *order;            /* identifiers in the order of posting */
	uint64_t n_posted, n_taken; /* buffers ever */

	/* Split */
	uint16_t avail_idx; /* next to publish */
	uint16_t published; /* last value stored to avail->idx */
	uint16_t last_used;

	/* Packed: where to post and where to take next */
	uint16_t avail_slot, used_slot;
	bool avail_wrap, used_wrap;
	uint32_t n_held;     /* descriptors written and not published */
	uint16_t held_slot;  /* the first of these, */
	uint16_t held_flags; /* whose flags make them visible */

	uint64_t kicks; /* eventfd writes */
	uint64_t calls; /* wake-ups by the device */
};

/* What came with a received frame */
struct vfe_rx_info {
	struct vfe_net_hdr hdr;
	uint16_t n_buffers;
};

/** vfe_ring_init() - memory and descriptors of ring @index. 0 or -errno. */
int vfe_ring_init(struct vfe *v, uint32_t index);

/** vfe_ring_release() - close its descriptors. Guest memory goes with the device. */
void vfe_ring_release(struct vfe_ring *r);

/**
 * vfe_ring_negotiated() - take over what was negotiated; called by vfe_start()
 *
 * A ring that changes its layout is emptied. Return: 0, -EINVAL: the size does not suit the layout.
 */
int vfe_ring_negotiated(struct vfe_ring *r);

/** vfe_ring_empty() - nothing in flight, at the ring's start */
void vfe_ring_empty(struct vfe_ring *r);

/**
 * vfe_ring_resume() - after a lost connection, go on behind what was used
 *
 * What was not used is in flight again. To be called as late as possible: until the back end has
 * seen that the old connection is gone, it goes on using buffers.
 */
void vfe_ring_resume(struct vfe_ring *r);

/** vfe_rx_fill() - post every free receive buffer and kick. Return: buffers posted. */
uint32_t vfe_rx_fill(struct vfe_ring *r);

/**
 * vfe_rx() - take one received frame
 * @buf: receives the frame without virtio-net header
 * @cap: bytes; a longer frame is -EMSGSIZE and lost
 *
 * Gathers a frame that lies in several buffers (MRG_RXBUF). The buffers are free again: post them
 * with vfe_rx_fill().
 * Return: bytes of the frame, 0 when there is none, -EPROTO when the device broke a rule.
 */
int vfe_rx(struct vfe_ring *r, void *buf, uint32_t cap, struct vfe_rx_info *ret_info);

/**
 * vfe_tx() - queue one frame; vfe_flush() publishes it
 * @layout: borrowed; NULL for one descriptor
 * Return: 0, -ENOSPC when the ring is full, -EMSGSIZE.
 */
int vfe_tx(struct vfe_ring *r, const void *frame, uint32_t len, const struct vfe_tx_layout *layout);

/** vfe_flush() - publish what was queued, kick if the device wants it */
void vfe_flush(struct vfe_ring *r);

/** vfe_kick() - kick, wanted or not */
void vfe_kick(struct vfe_ring *r);

/** vfe_tx_reap() - take completions. Return: frames completed, or -EPROTO. */
int vfe_tx_reap(struct vfe_ring *r);

/** vfe_room() - descriptors free */
static inline uint16_t vfe_room(const struct vfe_ring *r)
{
	return r->n_free;
}

/**
 * vfe_wait() - sleep until the device calls one of the rings
 * @rings: to listen to
 *
 * Asks for a call, looks again, sleeps in poll(), takes the wish back.
 * Return: 1 when a ring has something new, 0 after @timeout_ms, -errno.
 */
int vfe_wait(struct vfe_ring *const *rings, uint32_t n_rings, int timeout_ms);

/** vfe_pending() - the device has used something we did not take yet */
bool vfe_pending(const struct vfe_ring *r);

/** vfe_hdr_len() - bytes of virtio-net header as negotiated: 12 or 10 */
uint32_t vfe_hdr_len(const struct vfe_ring *r);

#endif
