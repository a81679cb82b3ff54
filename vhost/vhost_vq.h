/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vhost_vq.h - one virtqueue as the data path sees it
 *
 * Theory of operation
 * -------------------
 * A queue has two halves with one owner each.
 *
 *  - `struct vhost_vq_map` says where the ring lies and what was negotiated. It is immutable. The
 *    control thread builds one, publishes it with one pointer store, and unpublishes it by storing
 *    NULL (stopped) or a successor (new memory table, new call descriptor, enabled or disabled).
 *    A worker loads the pointer once per burst and uses that map until the burst ends; the control
 *    thread frees a map only after every worker has passed a quiescent point. So a ring is quiet,
 *    with exact indices, as soon as the wait after the NULL store returns.
 *
 *  - the positions (`last_avail`, `used_idx`, ...) belong to the worker that serves the ring, or to
 *    whoever holds `lock` when several workers feed one receive ring. The control thread reads
 *    and writes them only while the map is NULL and the wait is over.
 *
 * Everything read from the ring is the guest's word: an index that jumps, a head out of range or a
 * buffer outside guest memory ends in vhost_vq_fail(), which records the reason. From then on
 * workers skip the ring, and the control thread reports it and stops it. Nothing else is affected.
 *
 * Memory may be usable only in part (`map->partial`): behind an IOMMU an address means nothing
 * before the front end has translated it, and during post-copy migration a page may still be
 * elsewhere. The hot path notices nothing: the address is not in the table, which takes the frame
 * to the slow path, and that says VHOST_VQ_WAIT instead of a fault. The worker lists what the ring
 * waits for (vhost_vq_want()) and hands the list over, once (vhost_vq_ask()); until it gets the
 * list back it keeps the ring as it is. The control thread makes the addresses usable, publishes a
 * map with another table, gives the list back (vhost_vq_answer()) and has sleeping workers woken.
 * Workers never wait, only rings do.
 *
 * There are two layouts of a ring; the map says which one is in force. Hot loops use the accessors
 * of vhost_split.h and vhost_packed.h and choose between them once per burst or run, everybody else
 * calls vhost_ring.h, which does not care.
 */
#ifndef VHOST_VQ_H
#define VHOST_VQ_H

#include <errno.h>
#include <linux/virtio_ring.h>
#include "base.h"
#include "mem_node.h"
#include "ring_order.h"
#include "vhost_log.h"
#include "vhost_mem.h"
#include "vhost_signal.h"

#define VHOST_VQ_MAX_SIZE 32768 /* virtio 1.3, 2.7 and 2.8: maximum queue size of either layout */

/* Why a ring was given up. Shown to operators; keep vhost_vq_fault_name() in step. */
enum vhost_vq_fault {
	VHOST_VQ_OK,
	VHOST_VQ_BAD_AVAIL_IDX, /* avail->idx ran ahead by more than the ring size */
	VHOST_VQ_BAD_HEAD,  /* avail entry or descriptor chain names a descriptor out of range */
	VHOST_VQ_BAD_CHAIN, /* loop, nested indirect table, wrong table size, too many parts */
	VHOST_VQ_BAD_DIRECTION, /* device-writable buffer in a transmit chain, or the reverse */
	VHOST_VQ_BAD_ADDRESS,   /* buffer not inside one region of guest memory */
	VHOST_VQ_BAD_LENGTH,    /* transmit chain shorter than header and addresses; receive buffer
	                         * shorter than the header */
	VHOST_VQ_BAD_CALL,      /* call descriptor can no longer be written */
	VHOST_VQ_N_FAULTS,

	/* No faults, and no reason to give a ring up: there is no buffer; there is one with an
	 * address that cannot be used yet. */
	VHOST_VQ_EMPTY = VHOST_VQ_N_FAULTS,
	VHOST_VQ_WAIT
};

/* A descriptor, copied out of the guest's table once. */
struct vhost_desc {
	uint64_t gpa;
	uint32_t len;
	uint16_t flags;
	uint16_t next; /* packed: buffer id */
};

/* Flags that tell what a descriptor is; a plain one to read has none of them. */
#define VHOST_DESC_KIND (VRING_DESC_F_WRITE | VRING_DESC_F_NEXT | VRING_DESC_F_INDIRECT)

/** vhost_desc_of() - a descriptor from its two words */
static always_inline struct vhost_desc vhost_desc_of(uint64_t lo, uint64_t hi, bool packed)
{
	struct vhost_desc d = {.gpa = lo, .len = (uint32_t)hi};

	d.flags = (uint16_t)(packed ? hi >> 48 : hi >> 32);
	d.next = (uint16_t)(packed ? hi >> 32 : hi >> 48);
	return d;
}

/* A receive ring that cannot take all that is sent to it; bits. See forward_crowd.h. */
enum vhost_vq_crowd {
	VHOST_VQ_LOST = 1,    /* there was no buffer for a frame */
	VHOST_VQ_WATCHED = 2, /* will that happen again? */
	VHOST_VQ_CROWDED = 4, /* it does */
	VHOST_VQ_KEPT = 8,    /* somebody had to leave some buffers free, */
	VHOST_VQ_SPARED = 16, /* and there were more */
};

#define VHOST_VQ_MAX_WANTS 64

/* An address that a ring waits for. */
struct vhost_want {
	uint64_t addr; /* as in a descriptor; untrusted */
	uint32_t len;  /* bytes, > 0 */
	bool write;
};

struct vhost_vq_map {
	/* Ring parts, each wholly inside guest memory and aligned */
	union {
		struct { /* virtio 1.3, 2.7 */
			struct vring_desc *desc;
			struct vring_avail *avail;
			struct vring_used *used;
		};
		struct { /* 2.8 */
			struct vring_packed_desc *packed_desc;
			struct vring_packed_desc_event *driver_event;
			struct vring_packed_desc_event *device_event;
		};
	};
	const struct vhost_mem *mem; /* owned by the device, outlives the map */
	/* Post-copy: the table, whose pages may come late. `mem` is empty then, so that each buffer
	 * takes the slow path, which looks; the ring's own pages are here. Else NULL. */
	const struct vhost_mem *late_mem;
	/* Behind an IOMMU, where mem is what the guest has mapped for the device; else NULL */
	const struct vhost_mem *table_mem; /* for indirect tables: what may be read */
	const struct vhost_mem *guest_mem; /* all of the guest's memory */
	uint32_t size;    /* descriptors, 1..VHOST_VQ_MAX_SIZE; split: a power of two */
	uint16_t hdr_len; /* bytes of virtio_net_hdr in front of each frame: 10 or 12 */
	bool packed;
	bool enabled; /* SET_VRING_ENABLE; a disabled tx ring is drained and dropped */
	union {       /* kept for the next back end, see vhost_inflight.h; NULL: not negotiated */
		uint16_t *inflight_idx; /* split: used index */
		uint64_t *inflight_pos; /* packed: both sides of a publication */
	};
	_Atomic uint32_t *kept; /* packed: position for after a crash, see vhost_kept.h */
	bool event_idx;
	bool mergeable;
	bool indirect;
	bool notify_on_empty; /* legacy: interrupt when all buffers are used, wanted or not */
	bool partial; /* what mem does not hold may become usable: wait, do not give the ring up */
	int call_fd;  /* eventfd to interrupt the guest, or -1; owned by the device */
	const struct vhost_log *log; /* of a migration, else NULL; owned by the device */
	uint64_t log_used_gpa;       /* where the used ring (packed: device_event) is in the log */
	/* Never 0, never reused, unlike the map's address: a worker that slept through two changes
	 * must not take a new map for the one it knew. */
	uint64_t serial;
};

/* What a guest was told about kicks. One that is not told stop kicks with every burst. */
enum vhost_vq_kicks {
	VHOST_KICKS_OFF,
	VHOST_KICKS_ON,      /* the worker sleeps, or is about to */
	VHOST_KICKS_UNKNOWN, /* the map is another one since */
};

struct vhost_vq {
	/* Read by workers every burst, written by the control thread (and fault by workers) */
	alignas(CACHE_LINE) _Atomic(struct vhost_vq_map *) map;
	_Atomic uint32_t fault; /* enum vhost_vq_fault; reset by the control thread at start */
	_Atomic uint32_t lock;  /* receive rings fed by several workers; see spin.h */

	/* Positions: the serving worker only, or the holder of lock */
	alignas(CACHE_LINE) uint16_t last_avail; /* next avail entry to take; packed: its slot */
	uint16_t used_idx;                       /* next used entry to write; packed: its slot */
	union {
		uint16_t avail_seen; /* split: avail->idx as last read */
		uint16_t avail_bits; /* packed: AVAIL and USED of a buffer available this lap */
	};
	union {
		uint16_t used_pub;   /* split: used->idx as last published */
		uint16_t used_slots; /* packed: slots passed since the last publication */
	};
	uint16_t used_bits;                  /* packed: AVAIL and USED of a buffer used this lap */
	uint16_t first_slot;                 /* packed: where first_used belongs */
	uint8_t kicks;                       /* enum vhost_vq_kicks: what the guest was told */
	uint8_t crowd;                       /* receive ring: enum vhost_vq_crowd, daemon's */
	uint16_t most;                       /* buffers free at a time, as far as was seen */
	struct vhost_mem_hint hint;          /* of descriptors' addresses */
	uint64_t hint_serial;                /* of the map that hint belongs to */
	const struct vhost_vq_map *open_map; /* receive ring: its map while lock is held */
	uint64_t first_used;                 /* packed: used descriptor that publishes the rest */

	/* Counters: the same writer; any reader */
	alignas(CACHE_LINE) _Atomic uint64_t frames;
	_Atomic uint64_t bytes;
	_Atomic uint64_t calls; /* interrupts sent */
	_Atomic uint64_t bursts;
	_Atomic uint32_t position; /* packed: as last published, as GET_VRING_BASE says it */

	/* What the ring waits for: the serving worker's while `asked` is 0, else the control
	 * thread's */
	alignas(CACHE_LINE) _Atomic uint32_t asked; /* addresses handed over */
	uint32_t n_wants;                           /* worker: addresses listed so far */
	uint64_t ahead_serial; /* worker: map and position of its last vhost_ring_look_ahead() */
	uint16_t ahead_from;
	uint64_t crowd_ns; /* holder of lock: since when crowd says what it says */
	struct {           /* likewise: the last two who sent little, and when; only compared */
		const void *who;
		uint64_t ns;
	} little[2];
	struct vhost_want wants[VHOST_VQ_MAX_WANTS];

	/* Control thread only */
	alignas(CACHE_LINE) uint16_t index; /* ring index in the device: even = receive */
	uint32_t size;                      /* SET_VRING_NUM, 0: not set */
	uint64_t desc_uva, avail_uva, used_uva;
	uint64_t log_gpa;
	uint32_t addr_flags;
	bool addr_set;
	bool kick_set; /* SET_VRING_KICK came, with a descriptor or with "no descriptor" */
	bool enable_wanted;
	bool started;
	bool awaited;  /* not started: what is missing is pages of the ring (post-copy) */
	bool packed;   /* layout of the ring that runs, or ran last */
	bool stopping; /* unpublished, but the wait for the workers is not over */
	uint32_t base; /* SET_VRING_BASE, or where the ring stopped; vhost_vq.c tells its format */
	int kick_fd, call_fd, err_fd;
};
static_assert(offsetof(struct vhost_vq, last_avail) == CACHE_LINE, "positions left their line");
static_assert(offsetof(struct vhost_vq, frames) == 2 * CACHE_LINE, "positions outgrew their line");

/**
 * vhost_vq_node() - NUMA node of the memory that the ring itself is in
 *
 * Which is where the guest's driver runs, if the guest knows its nodes, and the node of all its
 * memory if it has one. Control thread. Return: MEM_NODE_ANY if the ring does not run, or nothing
 * of it has been used by this process yet.
 */
int vhost_vq_node(const struct vhost_vq *vq);

/** vhost_vq_fault_name() - short English text for a fault, "none" for VHOST_VQ_OK */
const char *vhost_vq_fault_name(enum vhost_vq_fault fault);

/**
 * vhost_vq_fail() - give a ring up
 *
 * The first fault wins. Context: worker that owns the ring.
 */
static cold_noinline void vhost_vq_fail(struct vhost_vq *vq, enum vhost_vq_fault fault)
	__attribute__((unused));
static cold_noinline void vhost_vq_fail(struct vhost_vq *vq, enum vhost_vq_fault fault)
{
	uint32_t none = VHOST_VQ_OK;

	atomic_compare_exchange_strong_explicit(&vq->fault, &none, fault, memory_order_relaxed,
	                                        memory_order_relaxed);
}

/** vhost_vq_interrupt() - signal the call descriptor, if there is one, and count */
static always_inline void vhost_vq_interrupt(struct vhost_vq *vq, const struct vhost_vq_map *map)
{
	int err;

	if (map->call_fd < 0)
		return;
	err = vhost_signal(map->call_fd);
	if (unlikely(err && err != -EAGAIN))
		vhost_vq_fail(vq, VHOST_VQ_BAD_CALL);
	counter_add(&vq->calls, 1);
}

/** vhost_vq_wrote_used() - the device wrote to its used ring, or event structure: tell the log */
static always_inline void vhost_vq_wrote_used(const struct vhost_vq_map *map, const void *at,
                                              uint64_t len)
{
	if (unlikely(map->log))
		vhost_log_mark(map->log,
		               map->log_used_gpa +
		                       (uint64_t)((const uint8_t *)at - (const uint8_t *)map->used),
		               len);
}

/**
 * vhost_vq_want() - list an address that the ring cannot go on without, or will need soon
 *
 * Does nothing while an earlier list is with the control thread, or when this one is full.
 * Context: worker that owns the ring.
 */
static cold_noinline void vhost_vq_want(struct vhost_vq *vq, uint64_t addr, uint32_t len,
                                        bool write) __attribute__((unused));
static cold_noinline void vhost_vq_want(struct vhost_vq *vq, uint64_t addr, uint32_t len,
                                        bool write)
{
	/* R: release in vhost_vq_answer(); the control thread has read the old list */
	if (atomic_load_explicit(&vq->asked, memory_order_acquire) ||
	    vq->n_wants == VHOST_VQ_MAX_WANTS ||
	    (vq->n_wants && vq->wants[vq->n_wants - 1].addr == addr))
		return;
	vq->wants[vq->n_wants++] = (struct vhost_want){.addr = addr, .len = len, .write = write};
}

/**
 * vhost_vq_ask() - hand the list of wanted addresses to the control thread
 *
 * Context: worker that owns the ring.
 * Return: true if there is a new list, so that the control thread must be told.
 */
static inline bool vhost_vq_ask(struct vhost_vq *vq)
{
	uint32_t n = vq->n_wants;

	vq->n_wants = 0;
	/* W: acquire in vhost_vq_asked() */
	if (n)
		atomic_store_explicit(&vq->asked, n, memory_order_release);
	return n > 0;
}

/** vhost_vq_asked() - number of addresses in vq->wants that the ring waits for. Control thread. */
static inline uint32_t vhost_vq_asked(struct vhost_vq *vq)
{
	return atomic_load_explicit(&vq->asked, memory_order_acquire);
}

/**
 * vhost_vq_answer() - give the list back: the worker looks again, and may ask again
 *
 * To be called after a map was published with which the ring can go on; the owner of the device
 * then has to wake the ring's worker, which may be asleep. Control thread.
 */
static inline void vhost_vq_answer(struct vhost_vq *vq)
{
	/* W: acquire in vhost_vq_want() */
	atomic_store_explicit(&vq->asked, 0, memory_order_release);
}

/**
 * vhost_vq_get_map() - the map to use for this burst
 *
 * Return: NULL while the ring is stopped or given up. The pointer is good until the caller's next
 * quiescent point.
 */
static always_inline const struct vhost_vq_map *vhost_vq_get_map(struct vhost_vq *vq)
{
	const struct vhost_vq_map *map = atomic_load_explicit(&vq->map, memory_order_acquire);

	if (unlikely(atomic_load_explicit(&vq->fault, memory_order_relaxed) != VHOST_VQ_OK))
		return NULL;
	return map;
}

/** vhost_vq_table() - all of the guest's memory, whether it can be used or not */
static always_inline const struct vhost_mem *vhost_vq_table(const struct vhost_vq_map *map)
{
	if (unlikely(map->guest_mem))
		return map->guest_mem;
	return unlikely(map->late_mem) ? map->late_mem : map->mem;
}

/**
 * vhost_vq_use_map() - forget what came from another map
 *
 * That is the address hint, and what the guest was told about kicks: the ring may lie elsewhere
 * now, or the guest be told in another way. To be called before `kicks` is relied upon.
 */
static always_inline void vhost_vq_use_map(struct vhost_vq *vq, const struct vhost_vq_map *map)
{
	if (unlikely(vq->hint_serial != map->serial)) {
		vq->hint = (struct vhost_mem_hint){0};
		vq->kicks = VHOST_KICKS_UNKNOWN;
		vq->hint_serial = map->serial;
	}
}

#endif
