/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * forward_run.h - runs of frames to one destination
 *
 * Theory of operation
 * -------------------
 * Frames of a burst mostly go where the last one went. What the loop knows of that is a *run*. It
 * lies in a lot, in the place that the hash of its address gives; the few words of it that change
 * with each frame are in registers meanwhile (`struct fwd_now`). For another address these words
 * are written back and those of the other run are taken, so frames that go to many guests in turn
 * cost a lookup once per guest and burst, and a few loads and stores for each frame. At the end of
 * the burst all runs are closed: the state of their rings is stored, and their counters are
 * written.
 *
 * A ring's state must be in one run only, and stored before anybody else works on the ring:
 * - a ring that is open already may be in the lot, under another address of its guest; that run is
 *   closed before the ring's state is loaded (fwd_lot_make_way());
 * - what may flush open rings, or writes to any of them (opening another one, or a nic's queue, and
 *   the slow path), needs all runs closed before.
 */
#ifndef FORWARD_RUN_H
#define FORWARD_RUN_H

#include "forward_route.h"

struct fwd_run {
	uint64_t key; /* destination MAC, or a port's address; never 0 while the run is open */
	struct vhost_vq *vq; /* its open ring, or NULL */
	const struct vhost_vq_map *map;
	struct vhost_split_hot rx; /* a split ring's state, which vq does not have meanwhile */
	struct xsk_queue *q;       /* or the nic's queue */
	struct nic_counters *counters;
	uint32_t max_frame;
	uint32_t frames, bytes;
	bool packed;
	uint16_t keep; /* buffers of a crowded ring that must be left; then rx.end shows none */
};

#define FWD_LOT_BITS   5
#define FWD_LOT_PLACES (1u << FWD_LOT_BITS)

struct fwd_lot {
	uint32_t used;          /* one bit for each place */
	struct fwd_run nowhere; /* of no frame: any is too long for it */
	struct fwd_run runs[FWD_LOT_PLACES];
};
static_assert(FWD_LOT_PLACES == 32, "a bit of fwd_lot.used for each place");

/* The run to which the last frame went. Nobody gets the address of this who is not inlined. */
struct fwd_now {
	uint64_t key; /* run->key; 0: nowhere */
	struct fwd_run *run;
	uint32_t next, end;     /* run->rx's */
	uint32_t frames, bytes; /* run's */
};

/** fwd_now_begin() - a lot without runs, and no last frame */
static always_inline struct fwd_now fwd_now_begin(struct fwd_lot *lot)
{
	lot->used = 0;
	lot->nowhere = (struct fwd_run){0};
	return (struct fwd_now){.run = &lot->nowhere};
}

/** fwd_now_leave() - write back what is in registers; fwd_now_enter() or fwd_now_forget() next */
static always_inline void fwd_now_leave(const struct fwd_now *now)
{
	now->run->rx.next = now->next;
	now->run->rx.end = now->end;
	now->run->frames = now->frames;
	now->run->bytes = now->bytes;
}

static always_inline void fwd_now_enter(struct fwd_now *now, struct fwd_run *run)
{
	*now = (struct fwd_now){.key = run->key,
	                        .run = run,
	                        .next = run->rx.next,
	                        .end = run->rx.end,
	                        .frames = run->frames,
	                        .bytes = run->bytes};
}

/* A frame to address 0 meets key 0: it is too long for nowhere. */
static always_inline void fwd_now_forget(struct fwd_now *now, struct fwd_lot *lot)
{
	*now = (struct fwd_now){.run = &lot->nowhere};
}

/** fwd_now_go() - enter @run, or forget if there is none. Return: whether there is one. */
static always_inline bool fwd_now_go(struct fwd_now *now, struct fwd_lot *lot, struct fwd_run *run)
{
	if (!run) {
		fwd_now_forget(now, lot);
		return false;
	}
	fwd_now_enter(now, run);
	return true;
}

static always_inline uint32_t fwd_lot_place(uint64_t key)
{
	return (uint32_t)((key * 0x9e3779b97f4a7c15ull) >> (64 - FWD_LOT_BITS));
}

/** fwd_lot_find() - the open run to the address @key, or NULL */
static always_inline struct fwd_run *fwd_lot_find(struct fwd_lot *lot, uint64_t key)
{
	uint32_t place = fwd_lot_place(key);
	struct fwd_run *run = &lot->runs[place];

	return lot->used >> place & 1 && run->key == key ? run : NULL;
}

/**
 * fwd_lot_store() - before rings are published: store their state
 * fwd_lot_count() - before rings are settled: write the counters, which belong to who has them open
 * fwd_lot_close() - both, and no run is open any more
 *
 * After fwd_now_leave(). Return: bytes of the runs.
 */
void fwd_lot_store(struct fwd_lot *lot);
uint64_t fwd_lot_count(struct fwd_lot *lot);
uint64_t fwd_lot_close(struct fwd_lot *lot);

/** fwd_now_close() - before the slow path: no run is open any more. Return: bytes of the runs. */
static always_inline uint64_t fwd_now_close(struct fwd_now *now, struct fwd_lot *lot)
{
	fwd_now_leave(now);
	fwd_now_forget(now, lot);
	return fwd_lot_close(lot);
}

/**
 * fwd_lot_to_ring() - the run to a ring of f->route_port; opened, if need be
 * fwd_lot_to_uplink() - the run to the wire, likewise
 * @bytes: of runs that had to be closed, is added to
 *
 * After fwd_now_leave(). Return: NULL if that needs the slow path.
 */
struct fwd_run *fwd_lot_to_ring(struct fwd_lot *lot, struct fwd *f, struct fwd_target to,
                                uint64_t *bytes);
struct fwd_run *fwd_lot_to_uplink(struct fwd_lot *lot, struct fwd *f,
                                  const struct fwd_guest_source *src, struct fwd_target to,
                                  uint64_t *bytes);

#endif
