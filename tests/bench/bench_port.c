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
	memcpy(frame, c->dst[slot % c->n_dst].b, 6);
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

/* Of a frame in several buffers the last one is touched to its end, like the others. */
static void touch(struct bench_queue *q, uint16_t first, uint16_t n)
{
	uint32_t len = q->len < q->stride ? q->len : q->stride;

	for (uint16_t i = 0; i < n; i++) {
		char *buf = buffer(q, (uint32_t)first + i);

		if (q->rx)
			q->sum += touch_rx(buf, len);
		else
			touch_tx(buf, len);
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

	flags |= q->desc_flags;
	return flags << 48 | (uint64_t)(count & q->mask) << 32 | q->desc_len;
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
		               (q->rx && q->per_frame == 1 && (uint32_t)word != q->len);
	}
	return n;
}

/*
 * EVENT_IDX: do the @n slots up to the one in front of the next reach the one that the device
 * named? Both ends are counted from the start of the lap before the next slot's
 * (virtio 1.3, 2.8.10).
 */
static bool packed_event_reached(const struct bench_queue *q, uint16_t off_wrap, uint16_t n)
{
	uint32_t size = q->mask + 1U, end = (q->published & q->mask) + size;
	uint32_t at = off_wrap & 0x7fff;

	if ((off_wrap >> 15) == wrap_of(q, q->published))
		at += size;
	return at < end && at + n >= end;
}

static bool packed_kick_wanted(const struct bench_queue *q, uint16_t n)
{
	uint32_t word = __atomic_load_n((uint32_t *)(void *)q->device_event, __ATOMIC_RELAXED);
	struct vfe_event e;

	memcpy(&e, &word, sizeof(e));
	if (q->event_idx && e.flags == VFE_EVENT_DESC)
		return packed_event_reached(q, e.off_wrap, n);
	return e.flags != VFE_EVENT_DISABLE;
}

static bool split_kick_wanted(const struct bench_queue *q, uint16_t n)
{
	uint16_t event;

	if (!q->event_idx)
		return !(__atomic_load_n(&q->used->flags, __ATOMIC_RELAXED) & VFE_USED_NO_NOTIFY);
	event = __atomic_load_n(q->avail_event, __ATOMIC_RELAXED);
	return (uint16_t)(q->published - event - 1) < n; /* 2.7.10 */
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
	return packed_kick_wanted(q, n);
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
	return split_kick_wanted(q, n);
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

uint32_t bench_queue_take(struct bench_queue *q)
{
	uint16_t used = bench_queue_used(q);

	q->seen += used;
	q->count += used;
	return used;
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

/* Hides the buffers of a transmit queue behind tables: an entry for the header, one for the frame.
 */
static int make_tables(struct bench_queue *q, struct vfe *v)
{
	struct vfe_ring *r = q->ring;
	char *tables = vfe_mem_alloc(v, 0, (size_t)r->size * LINE, LINE);

	if (!tables)
		return vfe_fail(v, -ENOSPC, "guest memory is too small");
	q->desc_len = 2 * sizeof(struct vfe_desc);
	q->desc_flags = VFE_DESC_INDIRECT;
	for (uint32_t i = 0; i < r->size; i++) {
		struct vfe_desc *t = (struct vfe_desc *)(void *)(tables + (size_t)i * LINE);
		uint64_t gpa = vfe_gpa(v, buffer(q, i));

		t[0] = (struct vfe_desc){.addr = gpa, .len = VFE_HDR_LEN};
		t[1] = (struct vfe_desc){.addr = gpa + VFE_HDR_LEN, .len = q->len - VFE_HDR_LEN};
		if (!r->packed) { /* a packed table has no flags, and its entries are in a row */
			t[0].flags = VFE_DESC_NEXT;
			t[0].next = 1;
		}
		r->desc[i].addr = vfe_gpa(v, t); /* at the same place in both layouts */
	}
	return 0;
}

static int queue_init(struct bench_queue *q, struct vfe *v, uint32_t index,
                      const struct bench_port_config *c)
{
	struct vfe_ring *r = &v->rings[index];
	uint32_t len = VFE_HDR_LEN + c->size;
	int err = 0;

	*q = (struct bench_queue){.avail = r->avail,
	                          .used = r->used,
	                          .avail_event = (uint16_t *)(void *)&r->used->ring[r->size],
	                          .slots = r->packed ? r->packed_desc : NULL,
	                          .device_event = r->device_event,
	                          .mask = (uint16_t)(r->size - 1),
	                          .touch = c->touch,
	                          .rx = r->rx,
	                          .event_idx = vfe_has(v, VFE_F_EVENT_IDX),
	                          .stride = r->rx ? c->rx_stride : c->stride,
	                          .len = len,
	                          .per_frame = r->rx ? (len + c->rx_stride - 1) / c->rx_stride : 1,
	                          .desc_len = r->rx ? c->rx_stride : len,
	                          .desc_flags = r->rx ? VFE_DESC_WRITE : 0,
	                          .mac = c->mac,
	                          .ring = r};
	q->bufs = vfe_mem_alloc(v, 0, (size_t)r->size * q->stride, 4096);
	if (!q->bufs)
		return vfe_fail(v, -ENOSPC, "guest memory is too small");
	for (uint32_t i = 0; i < r->size; i++) {
		r->desc[i].addr = vfe_gpa(v, buffer(q, i));
		if (r->rx)
			memset(buffer(q, i), 0, q->stride);
		else
			fill_frame(q, i, c);
	}
	if (c->indirect && !r->rx)
		err = make_tables(q, v);
	/* The rest of a packed descriptor comes with each publication. */
	for (uint32_t i = 0; i < r->size && !r->packed; i++) {
		r->desc[i].len = q->desc_len;
		r->desc[i].flags = q->desc_flags;
	}
	return err;
}

/* The features that decide what is measured: without one of them it would be something else. */
static int check_features(struct vfe *v, uint64_t wanted)
{
	uint64_t missing = wanted & ~v->acked;

	for (unsigned int bit = 0; bit < 64; bit++) {
		if (missing & VFE_BIT(bit))
			return vfe_fail(v, -ENOTSUP, "feature %u is not offered", bit);
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
		.mem_size = ((size_t)16 << 20) +
	                    (size_t)c->ring_size * (c->stride + c->rx_stride + 16384),
	};
	int err;

	*p = (struct bench_port){0};
	if (c->size + VFE_HDR_LEN > c->stride || c->stride % 64 || c->rx_stride % 64)
		return -EINVAL;
	err = vfe_open(&vc, &p->v);
	if (err)
		return err;
	err = check_features(p->v, c->features | VFE_BIT(VFE_F_VERSION_1));
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

/* Does frame number @n, as far as it is still in its buffers, hold what some slot of @tx does? */
static bool is_good(const struct bench_queue *rx, const struct bench_queue *tx, uint64_t n)
{
	uint32_t first = (uint32_t)(n * rx->per_frame), len = 0, slot;

	memcpy(&slot, buffer(rx, first) + VFE_HDR_LEN + ETH, sizeof(slot));
	if (slot > tx->mask || memcmp(buffer(rx, first) + VFE_HDR_LEN, rx->mac.b, 6) != 0)
		return false;
	for (uint32_t i = 0, at = 0; i < rx->per_frame; i++, at += rx->stride) {
		uint32_t part = tx->len - at < rx->stride ? tx->len - at : rx->stride;
		uint32_t skip = i ? 0 : VFE_HDR_LEN;

		len += rx->slots ? 0 : rx->used->ring[(first + i) & rx->mask].len;
		if (memcmp(buffer(rx, first + i) + skip, buffer(tx, slot) + at + skip,
		           part - skip) != 0)
			return false;
	}
	return rx->slots || len == tx->len;
}

uint32_t bench_compare(const struct bench_queue *rx, const struct bench_queue *tx,
                       uint32_t *ret_seen)
{
	uint64_t n = bench_queue_frames(rx), kept = (rx->mask + 1U) / rx->per_frame;
	uint32_t bad = 0;

	if (kept > n)
		kept = n;
	for (uint64_t i = n - kept; i < n; i++)
		bad += !is_good(rx, tx, i);
	*ret_seen = (uint32_t)kept;
	return bad;
}
