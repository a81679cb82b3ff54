/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * placement.h - which source should go from which worker to which, by load
 *
 * A decision and nothing else: loads in, at most one move out. It moves only what helps: from a
 * worker that is full to one with room, if that leaves the fuller of the two with much less to do
 * than the first has now. So two sources that fill a worker each stay where they are, and one
 * that fills a worker alone is not carried around.
 *
 * What a source would take of a worker that has time is not known while its worker is full: it
 * takes its share of that. A move on this ground may turn out to be too little, and the next
 * decision goes on from there.
 *
 * On a host with several NUMA nodes a source goes to a worker near its memory. Only if none of
 * those has room it goes to another, and only if that relieves its worker by far: there it costs
 * more than it did, nobody knows how much.
 */
#ifndef PLACEMENT_H
#define PLACEMENT_H

#include "base.h"

#define PLACEMENT_FULL     800 /* of 1000: a worker with so much to do may give a source away */
#define PLACEMENT_GAIN     100 /* what a move has to bring, at least */
#define PLACEMENT_FAR_GAIN 300 /* the same of one that takes a source away from its memory */

/* Loads are shares of a worker's time, of 1000. */
struct placement_source {
	uint32_t worker;
	uint32_t load;
	bool fixed;       /* not to be moved: pinned, or moved just now */
	const bool *near; /* which workers are near its memory, some; NULL: all are alike */
};

struct placement_move {
	uint32_t source, to;
};

/**
 * placement_decide() - the one move that relieves a full worker most
 * @loads: of @n_workers workers; room for what the sources do not explain
 *
 * Return: false if everything is well where it is, or cannot be made better.
 */
bool placement_decide(const uint32_t *loads, uint32_t n_workers,
                      const struct placement_source *sources, uint32_t n_sources,
                      struct placement_move *ret_move);

#endif
