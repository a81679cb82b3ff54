/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fuzz_rings.c - hostile rings through the real forwarding functions
 *
 * Two targets, fuzz_split and fuzz_packed: the layout that most rings have (FUZZ_PACKED); one flag
 * gives a ring the other one, since frames go between rings of both.
 *
 * Ports 0 and 1 of a fake data path (tests/unit/fake_path.c) belong to the input: it writes their
 * descriptors, indices and buffers, lets the worker take bursts from port 0, port 1 and the nic,
 * and plans changes to memory that the worker is just reading. Ports 2 and 3 are honest; after each
 * input a frame still has to get from one to the other, unchanged.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>
#include "fake_path.h"
#include "fuzz.h"

#define HOSTILE     2
#define RING_MAX    64
#define MAX_OPS     96
#define MAX_LOADS   (1u << 22) /* of guest memory in one burst: it ends */
#define DATA_LOW    6000u
#define DATA_MIDDLE 3001u
#define DATA_TOP    2048u

/* Where a hostile guest's memory lies. Low and middle are neighbours, but only for the guest. */
#define GPA_LOW    0x1000ull
#define GPA_MIDDLE (GPA_LOW + DATA_LOW)
#define GPA_RINGS  0x10000000ull
#define GPA_STEP   0x10000ull
#define GPA_TOP    (UINT64_MAX - 2 * DATA_TOP)

enum part { PART_DESC, PART_AVAIL, PART_USED, N_PARTS };

struct ring {
	struct fp_ring *r;
	struct fuzz_block part[N_PARTS];
	struct vhost_vq_map *map; /* r's: where the parts are, and which layout */
	uint16_t avail_pos;       /* the guest's: avail->idx, or the slot of a packed ring */
	bool avail_wrap;
};

struct guest {
	struct fp_port *port;
	struct fuzz_block low, middle, top;
	struct vhost_mem *mem;
	struct ring rx, tx;
};

static struct fake_path *fp;
static struct guest guests[HOSTILE];

/* ---- set-up ---- */

static void ring_new(struct ring *ring, struct fp_ring *r)
{
	static const uint32_t room[N_PARTS] = {16 * RING_MAX, 6 + 2 * RING_MAX, 8 + 8 * RING_MAX};

	ring->r = r;
	ring->map = &r->map;
	for (uint32_t i = 0; i < N_PARTS; i++)
		fuzz_block_new(&ring->part[i], room[i]);
}

static void rig_new(void)
{
	/* Once, and kept reachable: none of it is a leak. */
	fp_packed = FUZZ_PACKED ? 243 : 0;
	fp = fp_new(CONF_NIC_STEERED, NULL);
	for (uint32_t i = 0; i < HOSTILE; i++) {
		struct guest *g = &guests[i];

		g->port = &fp->ports[i];
		g->mem = calloc(1, sizeof(*g->mem) + 16 * sizeof(g->mem->regions[0]));
		fuzz_promise(g->mem);
		fuzz_block_new(&g->low, DATA_LOW);
		fuzz_block_new(&g->middle, DATA_MIDDLE);
		fuzz_block_new(&g->top, DATA_TOP);
		ring_new(&g->rx, &g->port->rx);
		ring_new(&g->tx, &g->port->tx);
	}
}

static void add_region(struct vhost_mem *mem, uint64_t gpa, const struct fuzz_block *b)
{
	mem->regions[mem->n_regions++] =
		(struct vhost_region){.gpa = gpa, .size = b->size, .host = b->at};
}

static void place_split(struct ring *ring, uint16_t start, uint32_t lag)
{
	struct vhost_vq_map *map = ring->map;
	struct vhost_vq *vq = &ring->r->vq;

	map->desc = (void *)fuzz_block_place(&ring->part[PART_DESC], 16 * map->size, 16);
	map->avail = (void *)fuzz_block_place(&ring->part[PART_AVAIL], 6 + 2 * map->size, 2);
	map->used = (void *)fuzz_block_place(&ring->part[PART_USED], 6 + 8 * map->size, 4);
	map->avail->idx = ring->avail_pos = start;
	vq->last_avail = vq->avail_seen = start;
	vq->used_idx = vq->used_pub = (uint16_t)(start - lag);
}

static void place_packed(struct ring *ring, uint16_t start, uint32_t lag)
{
	const uint16_t avail = 1u << VRING_PACKED_DESC_F_AVAIL;
	const uint16_t used = 1u << VRING_PACKED_DESC_F_USED;
	struct vhost_vq_map *map = ring->map;
	struct vhost_vq *vq = &ring->r->vq;
	bool wrap = start & 0x8000;

	map->packed_desc = (void *)fuzz_block_place(&ring->part[PART_DESC], 16 * map->size, 16);
	map->driver_event = (void *)fuzz_block_place(&ring->part[PART_AVAIL], 4, 4);
	map->device_event = (void *)fuzz_block_place(&ring->part[PART_USED], 4, 4);
	start %= map->size;
	ring->avail_pos = vq->last_avail = start;
	ring->avail_wrap = wrap;
	vq->avail_bits = wrap ? avail : used;
	if (lag > start) {
		wrap = !wrap;
		lag -= map->size;
	}
	vq->used_idx = (uint16_t)(start - lag);
	vq->used_bits = wrap ? avail | used : 0;
	vq->used_slots = 0;
}

/* @where: of the first part in guest memory */
static void ring_reset(struct guest *g, struct ring *ring, uint64_t where, struct fuzz_in *in)
{
	uint8_t shape = fuzz_u8(in), flags = fuzz_u8(in), more = fuzz_u8(in);
	uint16_t start = fuzz_u16(in);
	struct fp_ring *r = ring->r;
	bool packed = FUZZ_PACKED ^ (more >> 7);
	uint32_t size = packed ? shape % RING_MAX + 1 : 1u << shape % 7;
	static uint64_t serial = 1;

	*ring->map = (struct vhost_vq_map){
		.mem = g->mem,
		.size = size,
		.packed = packed,
		.kept = &r->kept,
		.hdr_len = flags & 1 ? 10 : 12,
		.enabled = !(flags & 2),
		.event_idx = flags & 4,
		.mergeable = flags & 8,
		.indirect = flags & 16,
		.call_fd = (flags & 0xe0) == 0xe0 ? r->call_fd : -1,
		.serial = ++serial,
	};
	if (packed)
		place_packed(ring, start, (more & 31) % (size + 1));
	else
		place_split(ring, start, (more & 31) % (size + 1));
	for (uint32_t i = 0; i < N_PARTS; i++)
		add_region(g->mem, where + i * GPA_STEP, &ring->part[i]);
	r->vq.kicks = more & 0x40 ? VHOST_KICKS_ON : VHOST_KICKS_OFF;
	r->vq.hint_serial = 0;
	atomic_store(&r->vq.fault, VHOST_VQ_OK);
	fuzz_promise(atomic_load(&r->vq.lock) == 0);
}

static void guest_reset(struct guest *g, struct fuzz_in *in)
{
	fuzz_block_place(&g->low, DATA_LOW, 1);
	fuzz_block_place(&g->middle, DATA_MIDDLE, 1);
	fuzz_block_place(&g->top, DATA_TOP, 1);
	g->mem->n_regions = 0;
	add_region(g->mem, GPA_LOW, &g->low);
	add_region(g->mem, GPA_MIDDLE, &g->middle);
	ring_reset(g, &g->rx, GPA_RINGS, in);
	ring_reset(g, &g->tx, GPA_RINGS + N_PARTS * GPA_STEP, in);
	add_region(g->mem, GPA_TOP, &g->top);
	g->port->src.blocked_since_ns = 0;
}

/* ---- what the input does ---- */

/* A region's start or end, mostly; the ends matter more. */
static uint64_t take_gpa(const struct guest *g, struct fuzz_in *in)
{
	uint8_t sel = fuzz_u8(in);
	uint16_t off = fuzz_u16(in);
	const struct vhost_region *r = &g->mem->regions[sel % g->mem->n_regions];

	switch (sel >> 5) {
	case 0:
	case 1:
	case 2:
		return r->gpa + off;
	case 3:
	case 4:
		return r->gpa + r->size - off;
	case 5:
		return r->gpa + r->size + off;
	case 6:
		return 0 - (uint64_t)off;
	default:
		return (uint64_t)off << 48 | fuzz_u32(in);
	}
}

static uint32_t take_len(struct fuzz_in *in)
{
	uint8_t sel = fuzz_u8(in);

	if (sel < 0xf0)
		return sel;
	if (sel == 0xff)
		return fuzz_u32(in);
	return fuzz_u16(in);
}

static uint8_t *host_of(const struct guest *g, uint64_t gpa, uint32_t *ret_room)
{
	const struct vhost_region *r = vhost_mem_find(g->mem, gpa, 1);

	if (!r)
		return NULL;
	*ret_room = (uint32_t)(r->size - (gpa - r->gpa));
	return r->host + (gpa - r->gpa);
}

/* What makes a slot of a packed ring available this lap, and what it looks like when used */
static uint16_t packed_bits(const struct ring *ring, bool used)
{
	return (uint16_t)(ring->avail_wrap << VRING_PACKED_DESC_F_AVAIL |
	                  (ring->avail_wrap == used) << VRING_PACKED_DESC_F_USED);
}

/* A descriptor: of the ring, or of an indirect table anywhere in memory */
static void op_desc(struct guest *g, struct ring *ring, struct fuzz_in *in, bool indirect)
{
	uint64_t table = indirect ? take_gpa(g, in) : 0;
	uint8_t i = fuzz_u8(in);
	uint64_t gpa = take_gpa(g, in);
	uint32_t room, len = take_len(in);
	uint8_t flags = fuzz_u8(in);
	uint16_t next = flags & 0x80 ? fuzz_u16(in) : (uint16_t)(i + 1 + (flags >> 3 & 15));
	struct vring_desc d = {.addr = gpa, .len = len, .flags = flags & 7, .next = next};
	struct vring_packed_desc p = {.addr = gpa, .len = len, .id = next, .flags = flags & 7};
	uint8_t *to;

	if (flags & 0x40)
		p.flags |= packed_bits(ring, flags & 0x20);
	if (!indirect) {
		if (ring->map->packed)
			ring->map->packed_desc[i % ring->map->size] = p;
		else
			ring->map->desc[i % ring->map->size] = d;
		return;
	}
	to = host_of(g, table + i % 16 * sizeof(d), &room);
	if (to)
		memcpy(to, ring->map->packed ? (void *)&p : (void *)&d, min_u32(room, sizeof(d)));
}

static void offer(struct ring *ring, uint16_t head)
{
	struct vring_packed_desc *slot;

	if (!ring->map->packed) {
		ring->map->avail->ring[ring->avail_pos++ % ring->map->size] = head;
		return;
	}
	slot = &ring->map->packed_desc[ring->avail_pos];
	slot->id = head;
	slot->flags = (slot->flags & 7) | packed_bits(ring, false);
	if (++ring->avail_pos == ring->map->size) {
		ring->avail_pos = 0;
		ring->avail_wrap = !ring->avail_wrap;
	}
}

static void op_avail(struct ring *ring, struct fuzz_in *in)
{
	uint8_t n = fuzz_u8(in);

	if (n & 0x80) { /* the guest jumps */
		ring->avail_pos = fuzz_u16(in);
		ring->avail_wrap = ring->avail_pos & 0x8000;
		if (ring->map->packed)
			ring->avail_pos %= ring->map->size;
	} else {
		/* Some in a row: heads from the input, or one counted up */
		for (uint8_t head = fuzz_u8(in), i = 0; i <= (n & 31); i++) {
			offer(ring, head);
			head = (uint8_t)(n & 0x40 ? fuzz_u8(in) : n & 0x20 ? head : head + 1);
		}
	}
	if (!ring->map->packed)
		ring->map->avail->idx = ring->avail_pos;
}

static void op_poke(struct guest *g, struct fuzz_in *in)
{
	uint64_t gpa = take_gpa(g, in);
	uint8_t n = fuzz_u8(in) % 64, bytes[64];
	uint32_t room;
	uint8_t *to = host_of(g, gpa, &room);

	fuzz_bytes(in, bytes, n);
	if (to)
		memcpy(to, bytes, min_u32(room, n));
}

/* Header and the start of a frame for someone, so that the input need not find addresses. */
static uint32_t make_frame(uint8_t *f, uint32_t hdr_len, const struct guest *from,
                           struct fuzz_in *in)
{
	uint8_t to = fuzz_u8(in);
	uint64_t dst = to % 8 < FP_PORTS ? fp->ports[to % 8].mac : 0x060504030202ull;
	uint32_t at = hdr_len;

	memset(f, 0, hdr_len);
	if (to % 8 == 7)
		dst = 0xffffffffffff;
	fp_frame(f + at, 18, dst, from->port->mac, to);
	if (to & 0x40) { /* a tag, perhaps another one */
		f[at + 12] = 0x81;
		f[at + 13] = 0x00;
		f[at + 14] = to >> 7;
		f[at + 15] = to & 0x20;
		f[at + 16] = to & 0x10 ? 0x81 : 0x08;
		f[at + 17] = 0;
	}
	return at + 18;
}

static void op_frame(struct guest *g, struct fuzz_in *in)
{
	uint64_t gpa = take_gpa(g, in);
	uint8_t frame[64];
	uint32_t room, n = make_frame(frame, g->tx.map->hdr_len, g, in);
	uint8_t *to = host_of(g, gpa, &room);

	if (to)
		memcpy(to, frame, min_u32(room, n));
}

static void op_from_nic(struct fuzz_in *in)
{
	static uint8_t frame[FP_XSK_FRAME];
	uint8_t how = fuzz_u8(in);
	uint32_t n = make_frame(frame, 0, &guests[0], in), len = fuzz_u16(in) % 1515;

	if (len > n)
		fuzz_bytes(in, frame + n, min_u32(len - n, how & 15));
	fp_xsk_receive(fp, frame, len, how & 0x80 ? how & 7 : UINT32_MAX, how & 0x40);
	fuzz_race_run(true);
	fp_run_nic(fp);
	fuzz_race_run(false);
}

/* How far the ring has come, in buffers or slots, counted so that laps show */
static uint32_t progress(const struct ring *ring, bool used)
{
	const struct vhost_vq *vq = &ring->r->vq;
	bool wrap = used ? vq->used_bits : vq->avail_bits == 1u << VRING_PACKED_DESC_F_AVAIL;
	uint16_t at = used ? vq->used_idx : vq->last_avail;

	return ring->map->packed ? at + (wrap ? 0 : ring->map->size) : at;
}

/* Both positions went as far: what is taken is given back. */
static void check_progress(const struct ring *ring, uint32_t avail, uint32_t used)
{
	uint32_t lap = ring->map->packed ? 2 * ring->map->size : 0x10000;
	uint32_t taken = (progress(ring, false) + lap - avail) % lap;

	fuzz_promise(taken == (progress(ring, true) + lap - used) % lap);
	fuzz_promise(ring->r->vq.last_avail < ring->map->size || !ring->map->packed);
	fuzz_promise(ring->r->vq.used_idx < ring->map->size || !ring->map->packed);
}

static void op_run(struct guest *g)
{
	uint32_t avail = progress(&g->tx, false), used = progress(&g->tx, true);
	uint32_t n_taken;

	fuzz_race_run(true);
	n_taken = fp_run(fp, g->port);
	fuzz_race_run(false);
	fuzz_promise(n_taken <= FWD_BURST);
	fuzz_promise(fuzz_race_loads() < MAX_LOADS);
	check_progress(&g->tx, avail, used);
}

static void op_restart(struct ring *ring, struct fuzz_in *in)
{
	uint8_t how = fuzz_u8(in);

	atomic_store(&ring->r->vq.fault, VHOST_VQ_OK);
	if (ring->map->packed)
		place_packed(ring, (uint16_t)(how << 8), 0);
	else
		place_split(ring, (uint16_t)(how << 8), 0);
	ring->map->enabled = !(how & 1);
}

static void step(struct fuzz_in *in)
{
	uint8_t op = fuzz_u8(in);
	struct guest *g = &guests[op >> 7];
	struct ring *ring = op & 0x40 ? &g->rx : &g->tx;

	switch (op % 16) {
	case 0:
	case 1:
	case 2:
		op_desc(g, ring, in, false);
		break;
	case 3:
		op_desc(g, ring, in, true);
		break;
	case 4:
	case 5:
		op_avail(ring, in);
		break;
	case 6:
		op_poke(g, in);
		break;
	case 7:
	case 8:
		op_frame(g, in);
		break;
	case 9:
		op_from_nic(in);
		break;
	case 10:
		fuzz_race_plan(in);
		break;
	case 11:
		op_restart(ring, in);
		break;
	default:
		op_run(g);
		break;
	}
}

/* ---- what must be true whatever it did ---- */

static void check_ring(const struct ring *ring)
{
	const struct vhost_vq *vq = &ring->r->vq;

	fuzz_promise(atomic_load(&vq->lock) == 0);
	fuzz_promise(!vq->open_map);
	if (atomic_load(&vq->fault))
		return;
	if (ring->map->packed) {
		fuzz_promise(vq->used_slots == 0);
		fuzz_promise(vq->last_avail < ring->map->size && vq->used_idx < ring->map->size);
	} else {
		fuzz_promise(vq->used_idx == vq->used_pub);
		fuzz_promise((uint16_t)(vq->avail_seen - vq->last_avail) <= ring->map->size);
	}
}

static void check_wire(void)
{
	uint32_t len;

	while (fp_xsk_sent(fp, &len))
		fuzz_promise(len >= FWD_MIN_WIRE && len <= 1514);
	fuzz_promise(fp->fwd->n_open == 0 && fp->fwd->n_uplinks == 0);
}

static void check_honest(void)
{
	struct fp_port *from = &fp->ports[2], *to = &fp->ports[3];
	uint8_t frame[80];

	fp_frame(frame, sizeof(frame), to->mac, from->mac, 1);
	fp_post(to, 128);
	fp_send(from, frame, sizeof(frame));
	fuzz_promise(fp_run(fp, from) == 1);
	fp_expect_frame(to, frame, sizeof(frame));
	fp_expect_returned(from, 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = {data, data + size};

	if (!fp)
		rig_new();
	fuzz_race_reset();
	for (uint32_t i = 0; i < HOSTILE; i++)
		guest_reset(&guests[i], &in);
	for (uint32_t i = 0; i < MAX_OPS && fuzz_left(&in); i++) {
		step(&in);
		check_wire();
	}
	for (uint32_t i = 0; i < HOSTILE; i++) {
		op_run(&guests[i]);
		check_ring(&guests[i].rx);
		check_ring(&guests[i].tx);
	}
	check_wire();
	check_honest();
	return 0;
}
