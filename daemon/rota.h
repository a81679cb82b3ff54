/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rota.h - which of its guests' rings a worker looks at in a round, and in which order
 *
 * Theory of operation
 * -------------------
 * A look at a ring without frames costs half a dozen cache lines; with a hundred idle ports that
 * would be more than a burst of a busy one costs. So a ring that had nothing ROTA_PATIENCE times in
 * a row *rests*: it is looked at every ROTA_REST-th round only, while others are at work. All
 * others are *listed* and looked at in every round. When nobody is listed everybody is looked at,
 * since there is nothing better to do. So is everybody after a sleep, and when the worker was about
 * to sleep: a guest that was asked for kicks must not wait for a turn, as it may kick no more.
 *
 * A ring rests without its guest being told: it is not asked for kicks, and its frames wait for
 * ROTA_REST rounds at most, each of which is at most one burst of every listed ring.
 *
 * The order matters where several rings send to a nic that takes less than they have. What room
 * there is goes to the first that asks, so an order that never changed would give all of it to the
 * same ring. Therefore a ring that found no room at all keeps its place, and all others go behind
 * those: the room goes round, a burst at a time, each nic for itself.
 *
 * A rota belongs to a plan, and its state to the plan's worker.
 */
#ifndef ROTA_H
#define ROTA_H

#include "base.h"

#define ROTA_PATIENCE 64 /* looks without a frame before a ring rests */
#define ROTA_REST     16 /* rounds between two looks at a ring that rests */

struct rota_seat {
	uint8_t empty; /* looks in a row that found nothing; stops at ROTA_PATIENCE */
	bool listed;
	bool starved; /* had frames in this round, and found no room for any */
};

struct rota {
	uint32_t n, n_listed;
	uint32_t phase; /* which of those that rest have their turn */
	bool disorder;  /* somebody is to rest, or was starved: rota_end() has work */
	uint32_t *list; /* who is listed, in the order of this round */
	uint32_t *spare;
	struct rota_seat *seats;
};

/** rota_init() - of nobody, with room for @max rings. Return: 0 or -ENOMEM */
int rota_init(struct rota *r, uint32_t max);
void rota_free(struct rota *r); /* takes one that is all zero */

/** rota_add() - one ring more, listed. Before the rota is in use. */
void rota_add(struct rota *r);

/**
 * rota_resting() - those that rest and have their turn in this round
 * @all: all of them
 * @ret_step: to the next one
 *
 *	for (i = rota_resting(r, false, &step); i < r->n; i += step)
 *		if (!r->seats[i].listed) ...
 *
 * Return: the first.
 */
static inline uint32_t rota_resting(struct rota *r, bool all, uint32_t *ret_step)
{
	all |= !r->n_listed;
	*ret_step = all ? 1 : ROTA_REST;
	r->phase = (r->phase + 1) % ROTA_REST;
	return all ? 0 : r->phase;
}

/**
 * rota_note() - what a look at ring @i has found
 * @frames: how many were taken
 * @starved: there are frames, but no room for any where they go
 */
static inline void rota_note(struct rota *r, uint32_t i, uint32_t frames, bool starved)
{
	struct rota_seat *seat = &r->seats[i];

	if (likely(frames || starved)) {
		seat->empty = 0;
		seat->starved = starved;
		r->disorder |= starved;
		if (unlikely(!seat->listed)) {
			seat->listed = true;
			r->list[r->n_listed++] = i;
		}
	} else if (seat->listed && ++seat->empty == ROTA_PATIENCE) {
		r->disorder = true;
	}
}

void rota_reorder(struct rota *r);

/** rota_end() - end a round */
static inline void rota_end(struct rota *r)
{
	if (unlikely(r->disorder))
		rota_reorder(r);
}

#endif
