/* SPDX-License-Identifier: BSD-2-Clause */
#include "placement.h"

static uint32_t max_u32(uint32_t a, uint32_t b)
{
	return a > b ? a : b;
}

/*
 * A better move than the one so far, from @from to @to; of two that are as good, that of less.
 * @best: what the fuller of the two has then
 */
static bool decide_pair(const uint32_t *loads, uint32_t from, uint32_t to,
                        const struct placement_source *sources, uint32_t n_sources, uint32_t *best,
                        struct placement_move *ret_move)
{
	uint32_t moved = 0; /* 0: none yet */

	for (uint32_t i = 0; i < n_sources; i++) {
		const struct placement_source *s = &sources[i];
		uint32_t load = min_u32(s->load, loads[from]), after;

		if (s->worker != from || s->fixed || !load)
			continue;
		after = max_u32(loads[from] - load, loads[to] + load);
		if (after > *best || (after == *best && load >= moved))
			continue;
		*best = after;
		moved = load;
		*ret_move = (struct placement_move){.source = i, .to = to};
	}
	return moved;
}

bool placement_decide(const uint32_t *loads, uint32_t n_workers,
                      const struct placement_source *sources, uint32_t n_sources,
                      struct placement_move *ret_move)
{
	uint32_t to = 0, gained = PLACEMENT_GAIN - 1;
	bool found = false;

	for (uint32_t i = 1; i < n_workers; i++) {
		if (loads[i] < loads[to])
			to = i;
	}
	for (uint32_t from = 0; from < n_workers; from++) {
		uint32_t best;

		if (loads[from] < PLACEMENT_FULL || loads[from] < gained)
			continue;
		best = loads[from] - gained;
		if (!decide_pair(loads, from, to, sources, n_sources, &best, ret_move))
			continue;
		gained = loads[from] - best;
		found = true;
	}
	return found;
}
