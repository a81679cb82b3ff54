/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * spin.h - a lock that knows its owner, for rings that several workers feed
 *
 * Held for one burst, so waiting is short; an owner that was preempted gets the CPU by
 * sched_yield(). The value is the owner's tag (a worker's id + 1), which lets a worker ask "do I
 * hold this?" with one relaxed load: only the owner itself ever stores its tag.
 *
 * A worker that holds one lock must not wait for another (two workers could wait for each other):
 * it tries, and if that fails gives up what it holds first. fwd_open_ring() does this.
 */
#ifndef VX_SPIN_H
#define VX_SPIN_H

#include <sched.h>
#include "base.h"
#include "ring_order.h"

#define SPIN_TRIES 1000 /* about 40 us of cpu_relax() before the CPU is given away */

static always_inline bool spin_is_mine(const _Atomic uint32_t *lock, uint32_t tag)
{
	return atomic_load_explicit((_Atomic uint32_t *)(uintptr_t)lock, memory_order_relaxed) ==
	       tag;
}

static always_inline bool spin_try(_Atomic uint32_t *lock, uint32_t tag)
{
	uint32_t none = 0;

	return atomic_compare_exchange_strong_explicit(lock, &none, tag, memory_order_acquire,
	                                               memory_order_relaxed);
}

static inline void spin_lock(_Atomic uint32_t *lock, uint32_t tag)
{
	uint32_t tries = 0;

	while (!spin_try(lock, tag)) {
		while (atomic_load_explicit(lock, memory_order_relaxed)) {
			cpu_relax();
			if (++tries % SPIN_TRIES == 0)
				sched_yield();
		}
	}
}

static always_inline void spin_unlock(_Atomic uint32_t *lock)
{
	atomic_store_explicit(lock, 0, memory_order_release);
}

/** spin_mark() - take a lock that only this worker ever takes: no bus traffic */
static always_inline void spin_mark(_Atomic uint32_t *lock, uint32_t tag)
{
	atomic_store_explicit(lock, tag, memory_order_relaxed);
}

#endif
