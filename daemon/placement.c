/* SPDX-License-Identifier: BSD-2-Clause */
#include "placement.h"

#define NO_WORKER UINT32_MAX

static uint32_t max_u32(uint32_t a, uint32_t b)
{
	return a > b ? a : b;
}

/* Of the workers in @near (NULL: of all), who has least to do; the first of several. */
static uint32_t least_loaded(const uint32_t *loads, uint32_t n_workers, const bool *near)
{
	uint32_t least = NO_WORKER;

	for (uint32_t i = 0; i < n_workers; i++) {
		if ((!near || near[i]) && (least == NO_WORKER || loads[i] < loads[least]))
			least = i;
	}
	return least;
}

/* What a move takes from the fuller of both workers, less its price; 0 if that is too little. */
static uint32_t worth(const uint32_t *loads, const struct placement_source *s, uint32_t to,
                      uint32_t load)
{
	bool leaves = s->near && s->near[s->worker] && !s->near[to];
	uint32_t from = loads[s->worker], after = max_u32(from - load, loads[to] + load);
	uint32_t price = leaves ? PLACEMENT_FAR_GAIN - PLACEMENT_GAIN : 0;

	return after + price + PLACEMENT_GAIN <= from ? from - after - price : 0;
}

bool placement_decide(const uint32_t *loads, uint32_t n_workers,
                      const struct placement_source *sources, uint32_t n_sources,
                      struct placement_move *ret_move)
{
	uint32_t anywhere = least_loaded(loads, n_workers, NULL), best = 0, moved = 0;

	for (uint32_t i = 0; i < n_sources; i++) {
		const struct placement_source *s = &sources[i];
		uint32_t load = min_u32(s->load, loads[s->worker]), to, value;

		if (s->fixed || !load || loads[s->worker] < PLACEMENT_FULL)
			continue;
		to = s->near ? least_loaded(loads, n_workers, s->near) : anywhere;
		value = worth(loads, s, to, load);
		if (!value) {
			to = anywhere;
			value = worth(loads, s, to, load);
		}
		/* Of two moves that are as good, that of less. */
		if (value < best || (value == best && load >= moved))
			continue;
		best = value;
		moved = load;
		*ret_move = (struct placement_move){.source = i, .to = to};
	}
	return best;
}
