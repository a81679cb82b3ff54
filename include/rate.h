/* SPDX-License-Identifier: BSD-2-Clause */
/* rate.h - how often may a peer make us do something: some times at once, then in steps */
#ifndef VX_RATE_H
#define VX_RATE_H

#include "base.h"

/* All zero: never used. One thread at a time. */
struct rate {
	uint64_t last_ms; /* when it earned something last */
	uint32_t tokens;
};

/**
 * rate_take() - once more?
 * @now_ms: CLOCK_MONOTONIC, not 0
 * @burst: times at once
 * @refill_ms: then one more each so many milliseconds
 */
static inline bool rate_take(struct rate *r, uint64_t now_ms, uint32_t burst, uint32_t refill_ms)
{
	uint64_t earned = r->last_ms ? (now_ms - r->last_ms) / refill_ms : burst;

	if (earned) {
		r->tokens = earned > burst - r->tokens ? burst : r->tokens + (uint32_t)earned;
		r->last_ms = now_ms;
	}
	if (!r->tokens)
		return false;
	r->tokens--;
	return true;
}

#endif
