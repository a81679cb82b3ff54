// SPDX-License-Identifier: BSD-2-Clause
/* bench_port.c - pre-filled rings, see bench_port.h */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench_port.h"

enum { CHUNK = 64, LINE = 64, ETH = 14 };

static char *buffer(const struct bench_queue *q, uint32_t slot)
{
	return q->bufs + (size_t)(slot & q->mask) * q->stride;
}

/* The value that belongs at byte @at of the frame in @slot; also tells slots apart. */
static uint64_t stamp(uint32_t slot, uint32_t at)
{
	return ((uint64_t)slot << 32 | at) * UINT64_C(0x9e3779b97f4a7c15) + slot;
}

static void fill_frame(struct bench_queue *q, uint32_t slot, const struct bench_port_config *c)
{
	char *frame = buffer(q, slot) + VFE_HDR_LEN;
	uint32_t at = ETH;

	memset(buffer(q, slot), 0, VFE_HDR_LEN);
	memcpy(frame, c->dst.b, 6);
	memcpy(frame + 6, c->mac.b, 6);
	frame[12] = (char)0x88;
	frame[13] = (char)0xb5;
	memcpy(frame + at, &slot, sizeof(slot));
	for (at += sizeof(slot); at < c->size; at += 8) {
		uint64_t v = stamp(slot, at);

		memcpy(frame + at, &v, c->size - at < 8 ? c->size - at : 8);
	}
}

/* Dirties every line of a frame behind its Ethernet header, without changing a byte. */
static void touch_tx(char *buf, uint32_t len)
{
	for (uint32_t at = 32; at + 8 <= len; at += LINE) {
		uint64_t *p = (uint64_t *)(void *)(buf + at);

		__atomic_store_n(p, __atomic_load_n(p, __ATOMIC_RELAXED), __ATOMIC_RELAXED);
	}
}

static uint64_t touch_rx(const char *buf, uint32_t len)
{
	uint64_t sum = 0;

	for (uint32_t at = 0; at + 8 <= len; at += LINE)
		sum += __atomic_load_n((const uint64_t *)(const void *)(buf + at),
		                       __ATOMIC_RELAXED);
	return sum;
}

static void touch(struct bench_queue *q, uint16_t first, uint16_t n)
{
	for (uint16_t i = 0; i < n; i++) {
		char *buf = buffer(q, (uint32_t)first + i);

		if (q->rx)
			q->sum += touch_rx(buf, q->len);
		else
			touch_tx(buf, q->len);
	}
}

/* The wrap counter of buffer @count; 16 bits hold an even number of laps of any ring. */
static bool wrap_of(const struct bench_queue *q, uint16_t count)
{
	return !(count & (q->mask + 1U));
}

/* Length, identifier and flags of a slot, as one word */
static uint64_t *slot_word(const struct bench_queue *q, uint16_t count)
{
	return (uint64_t *)(void *)&q->slots[count & q->mask] + 1;
}

/* What makes buffer @count available, little endian as the rest of this file */
static uint64_t avail_word(const struct bench_queue *q, uint16_t count)
{
	uint64_t flags = wrap_of(q, count) ? VFE_DESC_AVAIL : VFE_DESC_USED;

	flags |= q->rx ? VFE_DESC_WRITE : 0;
	return flags << 48 | (uint64_t)(count & q->mask) << 32 | (q->rx ? q->stride : q->len);
}

uint16_t bench_packed_used(struct bench_queue *q)
{
	uint16_t left = (uint16_t)(q->published - q->seen), n;

	for (n = 0; n < left; n++) {
		uint16_t at = (uint16_t)(q->seen + n);
		uint64_t both = (uint64_t)(VFE_DESC_AVAIL | VFE_DESC_USED) << 48;
		uint64_t word = __atomic_load_n(slot_word(q, at), __ATOMIC_ACQUIRE);

		if ((word & both) != (wrap_of(q, at) ? both : 0))
			break;
		q->disorder += (uint16_t)(word >> 32) != (at & q->mask) ||
		               (q->rx && (uint32_t)word != q->len);
	}
	return n;
}

static bool publish_packed(struct bench_queue *q, uint16_t n)
{
	uint16_t first = q->published;

	for (uint16_t i = 1; i < n; i++)
		__atomic_store_n(slot_word(q, (uint16_t)(first + i)),
		                 avail_word(q, (uint16_t)(first + i)), __ATOMIC_RELAXED);
	__atomic_store_n(slot_word(q, first), avail_word(q, first), __ATOMIC_RELEASE);
	q->published += n;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return __atomic_load_n(&q->device_event->flags, __ATOMIC_RELAXED) != VFE_EVENT_DISABLE;
}

static bool publish_split(struct bench_queue *q, uint16_t n)
{
	for (uint16_t i = 0; i < n; i++) {
		uint16_t slot = (uint16_t)(q->published + i) & q->mask;

		__atomic_store_n(&q->avail->ring[slot], slot, __ATOMIC_RELAXED);
	}
	q->published += n;
	__atomic_store_n(&q->avail->idx, q->published, __ATOMIC_RELEASE);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return !(__atomic_load_n(&q->used->flags, __ATOMIC_RELAXED) & VFE_USED_NO_NOTIFY);
}

/* Makes the next @n buffers available, then kicks if the device sleeps. */
static void publish(struct bench_queue *q, uint16_t n)
{
	bool kick = q->slots ? publish_packed(q, n) : publish_split(q, n);
	uint64_t one = 1;

	if (kick && write(q->ring->kick_fd, &one, sizeof(one)) == sizeof(one))
		q->ring->kicks++;
}

void bench_queue_publish(struct bench_queue *q, uint16_t n)
{
	if (q->touch && !q->rx)
		touch(q, q->published, n);
	publish(q, n);
}

uint32_t bench_queue_turn(struct bench_queue *q)
{
	uint16_t used = bench_queue_used(q);

	for (uint16_t left = used; left;) {
		uint16_t n = left < CHUNK ? left : CHUNK;

		if (q->touch)
			touch(q, q->seen, n);
		q->seen += n;
		publish(q, n);
		left -= n;
	}
	q->count += used;
	return used;
}

static int queue_init(struct bench_queue *q, struct vfe *v, uint32_t index,
                      const struct bench_port_config *c)
{
	struct vfe_ring *r = &v->rings[index];

	*q = (struct bench_queue){.avail = r->avail,
	                          .used = r->used,
	                          .slots = r->packed ? r->packed_desc : NULL,
	                          .device_event = r->device_event,
	                          .mask = (uint16_t)(r->size - 1),
	                          .touch = c->touch,
	                          .rx = r->rx,
	                          .stride = c->stride,
	                          .len = VFE_HDR_LEN + c->size,
	                          .ring = r};
	q->bufs = vfe_mem_alloc(v, 0, (size_t)r->size * c->stride, 4096);
	if (!q->bufs)
		return vfe_fail(v, -ENOSPC, "guest memory is too small");
	for (uint32_t i = 0; i < r->size; i++) {
		if (r->packed) /* the rest comes with each publication */
			r->packed_desc[i].addr = vfe_gpa(v, buffer(q, i));
		else
			r->desc[i] = (struct vfe_desc){.addr = vfe_gpa(v, buffer(q, i)),
			                               .len = r->rx ? c->stride : q->len,
			                               .flags = r->rx ? VFE_DESC_WRITE : 0};
		if (r->rx)
			memset(buffer(q, i), 0, c->stride);
		else
			fill_frame(q, i, c);
	}
	return 0;
}

int bench_port_open(struct bench_port *p, const struct bench_port_config *c)
{
	struct vfe_config vc = {
		.socket_path = c->socket_path,
		.features = c->features,
		.packed = c->packed,
		.bufs.lenient = c->packed, /* testpmd tells one of the two positions */
		.protocol_features = vfe_all_protocol_features(),
		.ring_size = c->ring_size,
		.hugepages = c->hugepages,
		.mem_size = ((size_t)16 << 20) + (size_t)c->ring_size * (2 * c->stride + 16384),
	};
	int err;

	*p = (struct bench_port){0};
	if (c->size + VFE_HDR_LEN > c->stride || c->stride % 64)
		return -EINVAL;
	err = vfe_open(&vc, &p->v);
	if (err)
		return err;
	/* The header has 12 bytes and the driver polls: the hot path knows nothing else. */
	if (!vfe_has(p->v, VFE_F_VERSION_1) || vfe_has(p->v, VFE_F_EVENT_IDX))
		return vfe_fail(p->v, -ENOTSUP, "needs VERSION_1, and no EVENT_IDX");
	for (uint32_t i = 0; !err && i < p->v->n_rings; i++)
		err = vfe_ring_negotiated(&p->v->rings[i]); /* empties it, if it is packed */
	if (!err)
		err = queue_init(&p->rx, p->v, 0, c);
	if (!err)
		err = queue_init(&p->tx, p->v, 1, c);
	if (!err)
		err = vfe_start(p->v);
	if (!err)
		publish(&p->rx, c->ring_size);
	return err;
}

/* vfe_stop() judges the answer by what the library knows of the ring. */
static void tell_ring(const struct bench_queue *q)
{
	struct vfe_ring *r = q->ring;

	r->published = q->published;
	if (!r->packed)
		return;
	r->avail_slot = q->published & q->mask;
	r->avail_wrap = wrap_of(q, q->published);
	r->used_slot = q->seen & q->mask;
	r->used_wrap = wrap_of(q, q->seen);
	r->n_free = (uint16_t)(r->size - (uint16_t)(q->published - q->seen));
	for (uint16_t i = 0; i < r->size; i++)
		r->slots[i] = (struct vfe_slot){.in_flight = true, .n_desc = 1};
}

int bench_port_stop(struct bench_port *p)
{
	tell_ring(&p->rx);
	tell_ring(&p->tx);
	return vfe_stop(p->v);
}

void bench_port_close(struct bench_port *p)
{
	vfe_close(p->v);
	p->v = NULL;
}

uint32_t bench_queue_check(const struct bench_queue *q)
{
	uint32_t n = q->count > q->mask ? q->mask + 1U : (uint32_t)q->count, bad = 0;

	if (q->slots)
		return q->disorder;
	for (uint32_t i = 0; i < n; i++)
		bad += q->used->ring[i].id != i;
	return bad;
}

uint32_t bench_compare(const struct bench_queue *rx, const struct bench_queue *tx,
                       uint32_t *ret_seen)
{
	uint32_t bad = 0, seen = 0;

	for (uint32_t i = 0; i <= rx->mask; i++) {
		const char *got = buffer(rx, i) + VFE_HDR_LEN;
		uint32_t slot;

		if (i >= rx->count)
			break;
		seen++;
		memcpy(&slot, got + ETH, sizeof(slot));
		bad += slot > tx->mask || (!rx->slots && rx->used->ring[i].len != tx->len) ||
		       memcmp(got, buffer(tx, slot) + VFE_HDR_LEN, tx->len - VFE_HDR_LEN) != 0;
	}
	*ret_seen = seen;
	return bad;
}
