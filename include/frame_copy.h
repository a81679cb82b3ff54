/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * frame_copy.h - copy a frame between memories
 *
 * Short frames go through 16-byte registers with an overlapping tail, longer ones through the C
 * library, which picks the widest registers the CPU has. `rep movsb` loses at every length here.
 * Source and destination never overlap; the source may change while it is read (a guest owns it),
 * so nothing may be decided from bytes that are read a second time.
 */
#ifndef VX_FRAME_COPY_H
#define VX_FRAME_COPY_H

#include <string.h>
#include "base.h"

#define FRAME_COPY_INLINE 144 /* bytes; above, the call to memcpy() pays off */

/* Unaligned 16-byte and smaller pieces, which may alias anything. */
typedef long long frame_v2di __attribute__((vector_size(16)));
typedef frame_v2di frame_u128 __attribute__((aligned(1), may_alias));
typedef uint64_t frame_u64 __attribute__((aligned(1), may_alias));
typedef uint32_t frame_u32 __attribute__((aligned(1), may_alias));
typedef uint16_t frame_u16 __attribute__((aligned(1), may_alias));

static always_inline frame_v2di frame_load16(const uint8_t *p)
{
	return *(const frame_u128 *)p;
}

static always_inline void frame_store16(uint8_t *p, frame_v2di v)
{
	*(frame_u128 *)p = v;
}

static always_inline uint64_t frame_load8(const uint8_t *p)
{
	return *(const frame_u64 *)p;
}

static always_inline void frame_store8(uint8_t *p, uint64_t v)
{
	*(frame_u64 *)p = v;
}

static always_inline uint32_t frame_load4(const uint8_t *p)
{
	return *(const frame_u32 *)p;
}

static always_inline void frame_store4(uint8_t *p, uint32_t v)
{
	*(frame_u32 *)p = v;
}

static always_inline uint16_t frame_load2(const uint8_t *p)
{
	return *(const frame_u16 *)p;
}

static always_inline void frame_copy_small(uint8_t *d, const uint8_t *s, uint32_t n)
{
	if (n >= 8) {
		uint64_t tail = frame_load8(s + n - 8);

		frame_store8(d, frame_load8(s));
		frame_store8(d + n - 8, tail);
	} else if (n >= 4) {
		uint32_t tail = frame_load4(s + n - 4);

		frame_store4(d, frame_load4(s));
		frame_store4(d + n - 4, tail);
	} else {
		for (uint32_t i = 0; i < n; i++)
			d[i] = s[i];
	}
}

/* 16 to 48 bytes: the shortest frames, which come in the largest numbers. Pieces may overlap. */
static always_inline void frame_copy_short(uint8_t *d, const uint8_t *s, uint32_t n)
{
	uint32_t middle = n > 32 ? 16 : n - 16;
	frame_v2di first = frame_load16(s), second = frame_load16(s + middle);
	frame_v2di last = frame_load16(s + n - 16);

	frame_store16(d, first);
	frame_store16(d + middle, second);
	frame_store16(d + n - 16, last);
}

/** frame_copy() - @n bytes from @s to @d, any length */
static always_inline void frame_copy(uint8_t *d, const uint8_t *s, uint32_t n)
{
	if (unlikely(n < 16)) {
		frame_copy_small(d, s, n);
		return;
	}
	if (n > FRAME_COPY_INLINE) {
		memcpy(d, s, n);
		return;
	}
	if (n <= 48) {
		frame_copy_short(d, s, n);
		return;
	}
	for (uint32_t i = 0; i + 16 < n; i += 16)
		frame_store16(d + i, frame_load16(s + i));
	frame_store16(d + n - 16, frame_load16(s + n - 16));
}

#endif
