/* SPDX-License-Identifier: BSD-2-Clause */
#include "forward_run.h"

static void fwd_run_store(struct fwd_run *run)
{
	if (run->vq && !run->packed)
		vhost_split_store(run->vq, &run->rx);
}

static uint32_t fwd_run_count(struct fwd_run *run)
{
	if (run->vq) {
		counter_add(&run->vq->frames, run->frames);
		counter_add(&run->vq->bytes, run->bytes);
	} else {
		counter_add(&run->counters->tx_frames, run->frames);
		counter_add(&run->counters->tx_bytes, run->bytes);
	}
	return run->bytes;
}

void fwd_lot_store(struct fwd_lot *lot)
{
	for (uint32_t left = lot->used; left; left &= left - 1)
		fwd_run_store(&lot->runs[__builtin_ctz(left)]);
}

uint64_t fwd_lot_count(struct fwd_lot *lot)
{
	uint64_t bytes = 0;

	for (uint32_t left = lot->used; left; left &= left - 1)
		bytes += fwd_run_count(&lot->runs[__builtin_ctz(left)]);
	return bytes;
}

uint64_t fwd_lot_close(struct fwd_lot *lot)
{
	uint64_t bytes;

	fwd_lot_store(lot);
	bytes = fwd_lot_count(lot);
	lot->used = 0;
	return bytes;
}

static uint32_t fwd_lot_close_place(struct fwd_lot *lot, uint32_t place)
{
	lot->used &= ~(1u << place);
	fwd_run_store(&lot->runs[place]);
	return fwd_run_count(&lot->runs[place]);
}

/* Before a run to @vq is opened. Returns the bytes of runs that were closed for it. */
static uint64_t fwd_lot_make_way(const struct fwd *f, struct fwd_lot *lot,
                                 const struct vhost_vq *vq)
{
	uint64_t bytes = 0;

	if (!spin_is_mine(&vq->lock, f->tag))
		return fwd_opens_at_once(f) ? 0 : fwd_lot_close(lot);
	for (uint32_t left = lot->used; left; left &= left - 1) {
		uint32_t place = (uint32_t)__builtin_ctz(left);

		if (lot->runs[place].vq == vq)
			bytes += fwd_lot_close_place(lot, place);
	}
	return bytes;
}

/* An empty run for @key */
static struct fwd_run *fwd_lot_take_place(struct fwd_lot *lot, uint64_t key, uint64_t *bytes)
{
	uint32_t place = fwd_lot_place(key);

	if (lot->used >> place & 1)
		*bytes += fwd_lot_close_place(lot, place);
	lot->used |= 1u << place;
	lot->runs[place] = (struct fwd_run){.key = key};
	return &lot->runs[place];
}

struct fwd_run *fwd_lot_to_ring(struct fwd_lot *lot, struct fwd *f, struct fwd_target to,
                                uint64_t *bytes)
{
	struct fwd_run *run = fwd_lot_find(lot, to.key);
	const struct vhost_vq_map *map;
	struct vhost_vq *vq;

	if (run && run->vq == to.vq)
		return run; /* FWD_STEERED, and to the same ring */
	*bytes += fwd_lot_make_way(f, lot, to.vq);
	vq = fwd_open_ring(f, f->route_port, to.vq);
	if (!vq || !fwd_is_fast_ring(vq->open_map))
		return NULL;
	map = vq->open_map;
	run = fwd_lot_take_place(lot, to.key, bytes);
	run->vq = vq;
	run->map = map;
	run->packed = map->packed;
	run->keep = fwd_crowd_keep(f, vq);
	if (!map->packed)
		run->rx = vhost_split_load(vq, map);
	if (unlikely(run->keep))
		run->rx.end = run->rx.next;
	return run;
}

struct fwd_run *fwd_lot_to_uplink(struct fwd_lot *lot, struct fwd *f,
                                  const struct fwd_guest_source *src, struct fwd_target to,
                                  uint64_t *bytes)
{
	const struct nic_view *view = nic_view_get(src->port->nic);
	struct fwd_run *run = fwd_lot_find(lot, to.key);
	struct xsk_queue *q;
	uint32_t queue;

	if (run && !run->vq)
		return run;           /* FWD_STEERED, and to the wire */
	*bytes += fwd_lot_close(lot); /* opening may flush what is open */
	q = fwd_open_uplink(f, view, &queue);
	if (!q)
		return NULL;
	run = fwd_lot_take_place(lot, to.key, bytes);
	run->q = q;
	run->max_frame = view->max_frame;
	run->counters = &src->nic_counters[queue];
	return run;
}
