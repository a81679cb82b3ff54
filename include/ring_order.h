/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ring_order.h - the only place where memory that a guest also writes is ordered
 *
 * Ring fields lie in memory that the other side lays out and changes at any time, so they cannot
 * be declared _Atomic in our structs. Every access goes through these helpers, which make it a
 * single load or store of the natural width, with the order in the name. Values are little
 * endian in memory (virtio 1.x, 1.4); the helpers return and take host order.
 *
 * Pairing (virtio 1.3, 2.7.13 for split rings):
 *   ring_load_acquire(avail->idx)   with the driver's release of avail->idx
 *   ring_store_release(used->idx)   with the driver's acquire of used->idx
 *   ring_fence_full()               between the store of an index and the load of the other
 *                                   side's notification wish; the driver has the mirror image
 */
#ifndef VX_RING_ORDER_H
#define VX_RING_ORDER_H

#include <endian.h>
#include "base.h"

static always_inline uint16_t ring_load_relaxed16(const void *p)
{
	return le16toh(__atomic_load_n((const uint16_t *)p, __ATOMIC_RELAXED));
}

static always_inline uint16_t ring_load_acquire16(const void *p)
{
	return le16toh(__atomic_load_n((const uint16_t *)p, __ATOMIC_ACQUIRE));
}

static always_inline void ring_store_relaxed16(void *p, uint16_t v)
{
	__atomic_store_n((uint16_t *)p, htole16(v), __ATOMIC_RELAXED);
}

static always_inline void ring_store_release16(void *p, uint16_t v)
{
	__atomic_store_n((uint16_t *)p, htole16(v), __ATOMIC_RELEASE);
}

/**
 * ring_fence_full() - order an earlier store before a later load
 *
 * A locked add to the stack is the cheapest full barrier on x86 (mfence costs 5 % of a 64-byte
 * forwarding loop). ThreadSanitizer does not model fences; it sees the accesses above as atomics.
 */
static always_inline void ring_fence_full(void)
{
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
	__asm__ volatile("lock; addl $0,-4(%%rsp)" ::: "memory", "cc");
#else
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

/**
 * ring_fetch() - bring a line that the other side has just written, before it is read
 * ring_fetch_to_write() - take a line from the other side's cache, before it is written
 *
 * Hints: any address will do, also one that is no longer mapped.
 */
static always_inline void ring_fetch(const void *p)
{
	__builtin_prefetch(p);
}

static always_inline void ring_fetch_to_write(const void *p)
{
#if defined(__x86_64__)
	/* The builtin means it only where the compiler may assume the instruction. All 64-bit CPUs
	 * take it, some as a no-op. */
	__asm__ volatile("prefetchw %0" ::"m"(*(const char *)p));
#else
	__builtin_prefetch(p, 1);
#endif
}

static always_inline void cpu_relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield" ::: "memory");
#endif
}

#endif
