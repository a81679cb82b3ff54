/* SPDX-License-Identifier: BSD-2-Clause */
/* base.h - the few macros and helpers that every folder uses */
#ifndef VX_BASE_H
#define VX_BASE_H

#include <assert.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CACHE_LINE        64
#define ARRAY_SIZE(a)     (sizeof(a) / sizeof((a)[0]))
#define likely(x)         __builtin_expect(!!(x), 1)
#define unlikely(x)       __builtin_expect(!!(x), 0)
#define always_inline     inline __attribute__((always_inline))
#define cold_noinline     __attribute__((noinline, cold))
#define printf_like(f, a) __attribute__((format(printf, f, a)))

#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

static always_inline uint32_t min_u32(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

/**
 * counter_add() - add to a counter that has a single writer
 * @c: counter, written by one thread (or under one lock), read by any
 * @n: what to add
 *
 * A plain load and store: no bus lock, and readers never see a torn value.
 */
static always_inline void counter_add(_Atomic uint64_t *c, uint64_t n)
{
	atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + n,
	                      memory_order_relaxed);
}

static always_inline uint64_t counter_get(const _Atomic uint64_t *c)
{
	return atomic_load_explicit((_Atomic uint64_t *)(uintptr_t)c, memory_order_relaxed);
}

#endif
