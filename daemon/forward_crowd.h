/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * forward_crowd.h - receive rings that cannot take all that is sent to them
 *
 * Theory of operation
 * -------------------
 * Who sends more than a guest takes finds its ring full, and whatever it frees is filled at once.
 * So would be lost what anybody else sends to that guest, however little it is. Therefore a ring
 * that has no buffer for a frame, and again a while later, is *crowded* until none was lost for a
 * longer while. Of a crowded ring the last eighth is for those who send little: others leave it
 * free, if there was anybody lately. A ring that is short of buffers now and then is left alone,
 * and so is one that a single source fills.
 *
 * Who sends little: each source has a credit of a few frames, which grows with time. A short burst
 * that is covered by the credit may use all of a crowded ring. That costs a look at the clock for
 * each burst to a crowded ring; other rings cost nothing but one test where they are opened.
 *
 * An eighth of what? Not of the ring: some guests keep a few buffers in a large one. It is of the
 * most buffers that were seen free at a time, which the accessors of vhost_split.h note in passing;
 * packed rings have no index to tell, so it is looked whether an eighth of the ring is there. That
 * may be long ago: a guest that is short of memory posts less. So if nobody who had to leave some
 * buffers found more for FWD_CROWD_NS, half is assumed.
 *
 * All of this belongs to who has the ring open.
 */
#ifndef FORWARD_CROWD_H
#define FORWARD_CROWD_H

#include "forward.h"

#define FWD_WATCH_NS   1000000ull  /* after a loss: if there is another one, the ring is crowded */
#define FWD_CROWD_NS   10000000ull /* without a loss: then a ring is no longer crowded */
#define FWD_LITTLE_NS  4000000000ull /* since somebody sent little: nothing is left any more */
#define FWD_CROWD_PART 8u            /* of its buffers, one is for those who send little */

/**
 * fwd_crowd_source() - a burst begins
 * @credit: of its source
 * @n: its frames; 0: fwd->packed tells
 */
static always_inline void fwd_crowd_source(struct fwd *f, struct fwd_credit *credit, uint32_t n)
{
	f->credit = credit;
	f->burst = n;
	f->paid = false;
}

/** fwd_crowd_end() - @n frames were taken from a packed ring; the guest may have added to them */
static always_inline void fwd_crowd_end(struct fwd *f, uint32_t n)
{
	if (unlikely(f->paid) && n > f->burst)
		f->credit->frames -= (int32_t)(n - f->burst);
}

/**
 * fwd_crowd_keep() - how many buffers of an open ring must the source at hand leave?
 *
 * To be asked before the frames are written. A short burst is paid for once, to however many rings
 * it goes.
 * Return: 0: none; less than the ring's size
 */
uint16_t fwd_crowd_keep_slow(struct fwd *f, struct vhost_vq *vq);

static always_inline uint16_t fwd_crowd_keep(struct fwd *f, struct vhost_vq *vq)
{
	const struct vhost_vq_map *map = vq->open_map;

	/* Remember of a packed ring that it was full. */
	if (unlikely(map->packed && vq->most < map->size) &&
	    vhost_ring_has(vq, map, map->size / FWD_CROWD_PART))
		vq->most = (uint16_t)map->size;
	return unlikely(vq->crowd) ? fwd_crowd_keep_slow(f, vq) : 0;
}

/**
 * fwd_crowd_spares() - how many buffers has an open ring more than the @keep that must be left?
 * Return: 0: none; packed: 1 for any number
 */
uint32_t fwd_crowd_spares(struct vhost_vq *vq, const struct vhost_vq_map *map, uint32_t keep);

#endif
