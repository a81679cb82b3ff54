/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * forward.h - move frames between guests, and between guests and nics
 *
 * Theory of operation
 * -------------------
 * A worker takes a burst from one source and forwards it frame by frame in one short loop
 * (forward.c): descriptor loaded once, checked and translated, header and addresses classified from
 * registers, the bytes copied straight to where they belong. There is no buffer in between, and no
 * second pass; the CPU overlaps the independent iterations by itself.
 *
 * Destinations are *opened* when the first frame for them turns up in a burst, and stay open until
 * fwd_flush_rings(): the used index of each is then published once, one fence follows, and each is
 * asked once whether its guest wants an interrupt. The lock word of a ring holds the tag of the
 * worker that has it open, so "is it open?" is one load.
 *
 * Two shapes besides the single descriptor are common, and handled next to the loop: header and
 * frame apart, in the ring or in an indirect table (vhost_pair.h), and a frame that fills several
 * receive buffers (forward_merge.c). A plain frame that comes alone, to another guest, takes a
 * shorter way (forward_lone.c). Whatever else there is, and every frame whose header is not
 * plain, goes through forward_slow.c: chains, VLAN tags, floods, drops. It makes the frame a list
 * of segments whose first 64 bytes were copied once, decides from that copy, and writes the list to
 * wherever it has to go.
 *
 * Trust: everything read from a ring or from a frame is read once into a register or a local
 * before it is checked. A ring that breaks the rules is given up (vhost_vq_fail()); its burst
 * ends, the others do not notice.
 */
#ifndef FORWARD_H
#define FORWARD_H

#include "base.h"
#include "fdb.h"
#include "nic.h"
#include "port.h"
#include "vhost_ring.h"

#define FWD_BURST       128   /* frames from one source before the next one's turn */
#define FWD_FEW         8u    /* frames: a burst for which latency counts */
#define FWD_MAX_OPEN    64    /* rings open at a time; more are flushed in between */
#define FWD_MAX_UPLINKS 16    /* nic queues with unflushed frames, likewise */
#define FWD_HEAD        64    /* bytes of a frame that the slow path copies before it decides */
#define FWD_MAX_BUFS    1024  /* receive buffers for one frame */
#define FWD_FEW_SEGS    2048  /* parts of one frame, or of the buffers for it, with usual rings */
#define FWD_MAX_SEGS    33280 /* with rings of 32768: a whole ring, and each region left once */
#define FWD_WORK        8192  /* parts and 256-byte blocks that a burst's slow frames may cost */
#define FWD_STALL_NS    10000000ull /* a nic queue that takes nothing for so long: drop, not wait */
#define FWD_ETH_HLEN    14u
#define FWD_VLAN_HLEN   4u
#define FWD_MAX_FRAME   65600u /* 64 KiB of payload and headers; virtio-net has no longer ones */
#define FWD_MIN_WIRE    60u    /* shortest frame on a wire, without checksum */

/* Why a frame that came in from a nic was not forwarded. Keep nic_drop_name() in step. */
enum nic_drop {
	NIC_DROP_MALFORMED, /* shorter than an Ethernet header */
	NIC_DROP_NO_PORT,   /* no port owns the address */
	NIC_DROP_VLAN,      /* tag does not belong to the port */
	NIC_DROP_N
};

/* Counters of one nic queue, or of a nic's group tap. */
struct nic_counters {
	/* The worker that receives */
	alignas(CACHE_LINE) _Atomic uint64_t rx_frames;
	_Atomic uint64_t rx_bytes;
	_Atomic uint64_t drops[NIC_DROP_N];
	_Atomic uint64_t busy_ns; /* its time that went into them; see worker.c */
	/* The worker that transmits, or the holder of tx_lock */
	alignas(CACHE_LINE) _Atomic uint64_t tx_frames;
	_Atomic uint64_t tx_bytes;
};
static_assert(offsetof(struct nic_counters, tx_frames) == CACHE_LINE, "receive outgrew its line");

/* What a source may send to rings that are crowded, see forward_crowd.h. Starts as 0. */
struct fwd_credit {
	uint64_t since_ns; /* CLOCK_MONOTONIC; grows from then on */
	int32_t frames;    /* below 0: taken beyond what was paid for */
};

/* A guest's transmit ring, as its worker sees it. */
struct fwd_guest_source {
	struct port *port;
	struct vhost_vq *vq;
	struct port_queue *pq;
	struct nic_counters *nic_counters; /* one per queue of the port's nic */
	uint64_t blocked_since_ns;         /* its first frame waits for the nic; 0: it does not */
	bool waiting;        /* ... or for memory that the control thread has to make usable */
	bool few;            /* its last burst was short: see fwd_warm() */
	uint32_t blocked_at; /* frames that its nic queue had been given at blocked_since_ns */
	const void *warm;    /* where the ring to which its last frame went is read next */
	uint32_t last_place; /* of its last frame's address: fdb_lookup_again() */
	struct fwd_credit credit;
};

/* A nic queue's receive side. */
struct fwd_nic_source {
	struct nic *nic;
	struct xsk_queue *q;
	struct nic_counters *counters;
	struct fwd_credit credit;
};

/* What one worker needs to forward. Nobody else touches it. */
struct fwd {
	uint32_t worker; /* its number */
	uint32_t tag;    /* worker + 1: never 0 */
	uint32_t n_workers;
	bool blocked;  /* a source waits for a nic: do not sleep for long */
	uint32_t work; /* that slow frames of this burst cost, see FWD_WORK */
	/* The source at hand, for forward_crowd.c */
	uint32_t burst;          /* frames in it; 0: to be counted in @packed */
	bool paid;               /* its burst is short, and was taken from its credit */
	struct vhost_vq *packed; /* its ring, ... */
	const struct vhost_vq_map *packed_map;
	struct fwd_credit *credit;
	struct fwd_credit others_credit; /* of sources that have none of their own */
	bool fault;         /* a ring was given up or waits; the worker tells the control thread */
	bool uplink_shared; /* an open uplink belongs to several workers: flush after the burst */
	uint32_t n_open;
	struct vhost_vq *open[FWD_MAX_OPEN];
	struct port *open_ports[FWD_MAX_OPEN]; /* whose they are */
	struct port *route_port;               /* whose ring was looked up last */
	uint32_t n_uplinks;
	struct xsk_queue *uplinks[FWD_MAX_UPLINKS]; /* with frames that are not flushed yet */
	/* Slow path: segments of the frame (one more in front for its head) and of buffers for it
	 */
	struct vhost_seg *frame_segs;
	struct vhost_seg *buf_segs;
	uint8_t head[FWD_HEAD];
	struct {
		struct vhost_buf buf;
		uint32_t len;
	} bufs[FWD_MAX_BUFS];
};

enum fwd_result {
	FWD_DONE,    /* forwarded, or dropped and counted: the descriptor goes back to the guest */
	FWD_BLOCKED, /* no room in the nic's ring: the frame stays in the guest's ring */
	FWD_WAITING, /* its memory cannot be used yet: the frame stays, and the worker may sleep */
	FWD_STOP,    /* the ring was given up, or has turned empty */
};

/** fwd_new() - Return: 0 or -ENOMEM */
int fwd_new(uint32_t worker, uint32_t n_workers, struct fwd **ret_fwd);
void fwd_free(struct fwd *f); /* takes NULL */

/**
 * fwd_from_guest() - forward up to one burst of a guest's transmit ring
 * fwd_from_nic() - forward up to one burst that arrived at a nic queue
 * fwd_from_tap() - forward up to one burst of group frames that the host got, too
 *
 * Context: the worker that owns the source, between two of its quiescent points.
 * Return: frames taken.
 */
uint32_t fwd_from_guest(struct fwd *f, struct fwd_guest_source *src);
uint32_t fwd_from_nic(struct fwd *f, struct fwd_nic_source *src);
uint32_t fwd_from_tap(struct fwd *f, struct nic *nic, struct group_tap *tap,
                      struct nic_counters *counters);

/**
 * fwd_announce() - a broadcast RARP from @mac, to where the guest's own would go
 *
 * Switches and other guests learn from it where the guest is now. Context: as above.
 */
void fwd_announce(struct fwd *f, struct fwd_guest_source *src, uint64_t mac);

/** fwd_flush_uplinks() - send what waits in nic queues; once per round of the worker */
void fwd_flush_uplinks(struct fwd *f);

const char *nic_drop_name(enum nic_drop reason);

#endif
