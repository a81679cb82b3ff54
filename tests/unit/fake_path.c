/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <cmocka.h>

#include "fake_path.h"

static void *must(void *p)
{
	if (!p)
		abort();
	return p;
}

/* Whole pages, so that a test can take away the rights to one. */
static void *zalloc_pages(size_t n)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), size = (n + page - 1) & ~(page - 1);

	return memset(must(aligned_alloc(page, size)), 0, size);
}

uint16_t fp_packed;

static void ring_packed(struct fp_ring *r)
{
	r->slots = zalloc_pages(FP_RING * sizeof(*r->slots));
	r->driver_event = zalloc_pages(sizeof(*r->driver_event));
	r->device_event = zalloc_pages(sizeof(*r->device_event));
	r->avail_wrap = r->used_wrap = true;
	r->map.packed = true;
	r->map.kept = &r->kept;
	r->map.size = fp_packed;
	r->map.packed_desc = r->slots;
	r->map.driver_event = r->driver_event;
	r->map.device_event = r->device_event;
	r->vq.avail_bits = 1u << VRING_PACKED_DESC_F_AVAIL;
	r->vq.used_bits = 1u << VRING_PACKED_DESC_F_AVAIL | 1u << VRING_PACKED_DESC_F_USED;
}

static void ring_new(struct fp_port *p, struct fp_ring *r, uint16_t index)
{
	*r = (struct fp_ring){.call_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), .owner = p};
	r->desc = zalloc_pages(FP_RING * sizeof(*r->desc));
	r->avail = zalloc_pages(6 + FP_RING * 2);
	r->used = zalloc_pages(6 + FP_RING * sizeof(struct vring_used_elem));
	r->vq.index = index;
	r->map = (struct vhost_vq_map){
		.desc = r->desc,
		.avail = r->avail,
		.used = r->used,
		.mem = p->mem,
		.size = FP_RING,
		.hdr_len = 12,
		.enabled = true,
		.mergeable = true,
		.indirect = true,
		.call_fd = r->call_fd,
		.serial = 1,
	};
	if (fp_packed)
		ring_packed(r);
	atomic_store(&r->vq.map, &r->map);
}

static void ring_free(struct fp_ring *r)
{
	close(r->call_fd);
	free(r->desc);
	free(r->avail);
	free(r->used);
	free(r->slots);
	free(r->driver_event);
	free(r->device_event);
}

static void port_mem(struct fp_port *p)
{
	p->bytes = zalloc_pages(FP_MEM);
	p->mem = must(calloc(1, sizeof(*p->mem) + 2 * sizeof(p->mem->regions[0])));
	p->mem->n_regions = 2;
	p->mem->regions[0] = (struct vhost_region){.gpa = 0, .size = FP_MEM / 2, .host = p->bytes};
	p->mem->regions[1] = (struct vhost_region){
		.gpa = FP_GAP, .size = FP_MEM / 2, .host = p->bytes + FP_MEM / 2};
}

static void port_init(struct fake_path *fp, uint32_t i, uint16_t vlan)
{
	struct fp_port *p = &fp->ports[i];
	struct port_rxset *set = must(calloc(1, sizeof(*set) + sizeof(set->vq[0])));

	port_mem(p);
	p->mac = 0x0a0000000002ull | (uint64_t)(i + 1) << 32;
	ring_new(p, &p->rx, 0);
	ring_new(p, &p->tx, 1);
	set->n = 1;
	set->vq[0] = &p->rx.vq;
	p->port.id = i + 1;
	p->port.vlan = vlan;
	p->port.nic = &fp->nic;
	p->port.n_macs = 1;
	p->port.mac_keys = &p->mac;
	p->port.queues = zalloc_pages(2 * sizeof(struct port_queue));
	p->port.conf = &p->conf;
	atomic_store(&p->port.rxset, set);
	p->src = (struct fwd_guest_source){.port = &p->port,
	                                   .vq = &p->tx.vq,
	                                   .pq = &p->port.queues[1],
	                                   .nic_counters = fp->counters};
}

static void xsk_new(struct fake_path *fp)
{
	struct fp_xsk *x = zalloc_pages(sizeof(*x));

	x->area = zalloc_pages(2 * FP_XSK_RING * FP_XSK_FRAME);
#define RING(name, w, array)                                                                       \
	x->q.name.producer = &x->words[w];                                                         \
	x->q.name.consumer = &x->words[(w) + 1];                                                   \
	x->q.name.mask = FP_XSK_RING - 1;                                                          \
	x->q.name.size = FP_XSK_RING;                                                              \
	x->q.name.flags = &x->flags;                                                               \
	x->q.name.ring = array
	RING(rx, 0, x->rx);
	RING(fill, 2, x->fill);
	RING(tx, 4, x->tx);
	RING(comp, 6, x->comp);
#undef RING
	x->q.fill.cached_cons = FP_XSK_RING;
	x->q.tx.cached_cons = FP_XSK_RING;
	x->q.area = x->q.tx_area = x->area;
	x->q.tx_free = x->free;
	x->q.rx_fd = x->q.tx_fd = -1;
	x->q.n_tx = FP_XSK_RING;
	x->q.n_chunks = 2 * FP_XSK_RING;
	x->q.ring_size = FP_XSK_RING;
	x->q.frame_size = FP_XSK_FRAME;
	x->q.max_frame = 1514;
	for (uint32_t i = 0; i < FP_XSK_RING; i++) {
		x->fill[i] = (uint64_t)i * FP_XSK_FRAME;
		x->free[i] = (uint64_t)(FP_XSK_RING + i) * FP_XSK_FRAME;
	}
	x->q.n_tx_free = FP_XSK_RING;
	x->words[2] = FP_XSK_RING;
	x->q.fill.cached_prod = FP_XSK_RING;
	fp->xsk = x;
	fp->view->up = true;
	fp->view->n_queues = 1;
	fp->view->max_frame = 1514;
	fp->view->queues[0] = &x->q;
}

void fp_rebuild(struct fake_path *fp)
{
	struct port *ports[FP_PORTS];

	for (uint32_t i = 0; i < FP_PORTS; i++)
		ports[i] = &fp->ports[i].port;
	fdb_free(fp->fdb);
	if (fdb_build(&fp->nic, ports, FP_PORTS, &fp->fdb) < 0)
		abort();
	atomic_store(&fp->nic.fdb, fp->fdb);
}

struct fake_path *fp_new(enum conf_nic_mode mode, const uint16_t vlans[FP_PORTS])
{
	struct fake_path *fp = must(calloc(1, sizeof(*fp)));

	fp->nic_conf.mode = mode;
	fp->nic.conf = &fp->nic_conf;
	fp->view = must(calloc(1, sizeof(*fp->view) + sizeof(fp->view->queues[0])));
	atomic_store(&fp->nic.view, fp->view);
	fp->counters = zalloc_pages(2 * sizeof(*fp->counters));
	fp->ports = zalloc_pages(FP_PORTS * sizeof(*fp->ports));
	if (mode != CONF_NIC_INTERNAL)
		xsk_new(fp);
	for (uint32_t i = 0; i < FP_PORTS; i++)
		port_init(fp, i, vlans ? vlans[i] : 0);
	fp_rebuild(fp);
	if (fwd_new(0, 1, &fp->fwd) < 0)
		abort();
	return fp;
}

void fp_free(struct fake_path *fp)
{
	for (uint32_t i = 0; i < FP_PORTS; i++) {
		struct fp_port *p = &fp->ports[i];

		ring_free(&p->rx);
		ring_free(&p->tx);
		free(atomic_load(&p->port.rxset));
		free(p->port.queues);
		free(p->mem);
		free(p->bytes);
	}
	if (fp->xsk)
		free(fp->xsk->area);
	free(fp->xsk);
	fdb_free(fp->fdb);
	fwd_free(fp->fwd);
	free(fp->ports);
	free(fp->counters);
	free(fp->view);
	free(fp);
}

uint64_t fp_alloc(struct fp_port *p, uint32_t len)
{
	uint32_t at = p->next_byte;

	/* Round and round through region 0; the last page is left for tests of its end. */
	if (at + len > FP_MEM / 2 - 4096)
		at = 0;
	p->next_byte = at + ((len + 63) & ~63u);
	return at;
}

uint8_t *fp_host(struct fp_port *p, uint64_t gpa)
{
	return gpa >= FP_GAP ? p->bytes + FP_MEM / 2 + (gpa - FP_GAP) : p->bytes + gpa;
}

uint16_t fp_desc(struct fp_ring *r, uint64_t gpa, uint32_t len, uint16_t flags, uint16_t next)
{
	uint16_t i = r->next_desc++ % FP_RING;

	r->desc[i] = (struct vring_desc){.addr = gpa, .len = len, .flags = flags, .next = next};
	return i;
}

/* The table of a split chain becomes that of a packed one: in order, without links. */
static uint32_t pack_table(struct fp_ring *r, uint64_t gpa, uint32_t len)
{
	uint8_t *table = fp_host(r->owner, gpa); /* of any alignment */
	struct vring_packed_desc out[FP_RING];
	struct vring_desc in = {0};
	uint32_t n = 0;

	do {
		memcpy(&in, table + in.next * sizeof(in), sizeof(in));
		out[n++] = (struct vring_packed_desc){
			.addr = in.addr,
			.len = in.len,
			.flags = in.flags & (VRING_DESC_F_WRITE | VRING_DESC_F_INDIRECT)};
	} while (in.flags & VRING_DESC_F_NEXT && n < FP_RING && in.next < len / sizeof(in));
	memcpy(table, out, n * sizeof(*out));
	return n * (uint32_t)sizeof(*out);
}

/* The first slot's flags come last, as a driver does it. */
static void avail_packed(struct fp_ring *r, uint16_t head)
{
	uint16_t first = r->avail_slot, first_flags = 0, d = head, n = 0;

	for (;;) {
		struct vring_desc *desc = &r->desc[d];
		struct vring_packed_desc *slot = &r->slots[r->avail_slot];
		uint16_t flags = desc->flags;

		if (flags & VRING_DESC_F_INDIRECT)
			desc->len = pack_table(r, desc->addr, desc->len);
		flags |= r->avail_wrap ? 1u << VRING_PACKED_DESC_F_AVAIL
		                       : 1u << VRING_PACKED_DESC_F_USED;
		slot->addr = desc->addr;
		slot->len = desc->len;
		slot->id =
			desc->flags & VRING_DESC_F_NEXT ? 0x8000 : head; /* the last one says it */
		if (n++)
			slot->flags = flags;
		else
			first_flags = flags;
		if (++r->avail_slot == r->map.size) {
			r->avail_slot = 0;
			r->avail_wrap = !r->avail_wrap;
		}
		if (!(desc->flags & VRING_DESC_F_NEXT))
			break;
		d = desc->next;
	}
	r->n_slots[head] = n;
	__atomic_store_n(&r->slots[first].flags, first_flags, __ATOMIC_RELEASE);
}

static bool packed_used(const struct fp_ring *r)
{
	uint16_t flags = __atomic_load_n(&r->slots[r->used_slot].flags, __ATOMIC_ACQUIRE);

	return (flags >> VRING_PACKED_DESC_F_AVAIL & 1) == r->used_wrap &&
	       (flags >> VRING_PACKED_DESC_F_USED & 1) == r->used_wrap;
}

static bool used_packed(struct fp_ring *r, uint16_t *ret_head, uint32_t *ret_len)
{
	const struct vring_packed_desc *slot = &r->slots[r->used_slot];

	if (!packed_used(r))
		return false;
	*ret_head = slot->id;
	assert_in_range(slot->id, 0, FP_RING - 1);
	assert_true(r->n_slots[slot->id] > 0); /* each buffer comes back once */
	*ret_len = slot->flags & VRING_DESC_F_WRITE ? slot->len : 0;
	r->used_slot = (uint16_t)(r->used_slot + r->n_slots[slot->id]);
	r->n_slots[slot->id] = 0;
	if (r->used_slot >= r->map.size) {
		r->used_slot = (uint16_t)(r->used_slot - r->map.size);
		r->used_wrap = !r->used_wrap;
	}
	return true;
}

void fp_avail(struct fp_ring *r, uint16_t head)
{
	if (r->map.packed) {
		avail_packed(r, head);
		return;
	}
	r->avail->ring[r->avail_idx % FP_RING] = head;
	r->avail->idx = ++r->avail_idx;
}

void fp_avail_table(struct fp_ring *r, uint64_t gpa, uint32_t len)
{
	fp_avail(r, fp_desc(r, gpa, len, VRING_DESC_F_INDIRECT, 0));
}

bool fp_used(struct fp_ring *r, uint16_t *ret_head, uint32_t *ret_len)
{
	const struct vring_used_elem *e = &r->used->ring[r->used_seen % FP_RING];

	if (r->map.packed)
		return used_packed(r, ret_head, ret_len);
	if (r->used->idx == r->used_seen)
		return false;
	*ret_head = (uint16_t)e->id;
	*ret_len = e->len;
	r->used_seen++;
	return true;
}

void fp_expect_used(struct fp_ring *r, uint32_t len)
{
	uint32_t got = 0;
	uint16_t head;

	assert_true(fp_used(r, &head, &got));
	assert_int_equal(got, len);
}

void fp_no_interrupts(struct fp_ring *r)
{
	if (r->map.packed)
		r->driver_event->flags = VRING_PACKED_EVENT_FLAG_DISABLE;
	else
		r->avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
}

void fp_interrupt_at(struct fp_ring *r, uint32_t index)
{
	uint32_t lap = index / r->map.size;

	if (!r->map.packed) {
		r->avail->ring[FP_RING] = (uint16_t)index;
		return;
	}
	r->driver_event->off_wrap = (uint16_t)(index % r->map.size | (lap & 1 ? 0 : 1u << 15));
	r->driver_event->flags = VRING_PACKED_EVENT_FLAG_DESC;
}

uint64_t fp_post(struct fp_port *p, uint32_t len)
{
	uint64_t gpa = fp_alloc(p, len);

	memset(fp_host(p, gpa), 0xee, len);
	fp_avail(&p->rx, fp_desc(&p->rx, gpa, len, VRING_DESC_F_WRITE, 0));
	return gpa;
}

void fp_frame(uint8_t *buf, uint32_t len, uint64_t dst, uint64_t src, uint32_t seed)
{
	for (uint32_t i = 0; i < len; i++)
		buf[i] = (uint8_t)(seed * 31 + i * 7 + (i >> 8));
	for (uint32_t i = 0; i < 6; i++) {
		buf[i] = (uint8_t)(dst >> (8 * i));
		buf[6 + i] = (uint8_t)(src >> (8 * i));
	}
	buf[12] = 0x08;
	buf[13] = 0x00;
}

void fp_send(struct fp_port *p, const uint8_t *frame, uint32_t len)
{
	uint64_t gpa = fp_alloc(p, len + 12);

	memset(fp_host(p, gpa), 0, 12);
	memcpy(fp_host(p, gpa) + 12, frame, len);
	fp_avail(&p->tx, fp_desc(&p->tx, gpa, len + 12, 0, 0));
}

/* Header and frame at @gpa as descriptors: the header, and the frame in @parts pieces. */
static void make_parts(struct vring_desc *t, uint64_t gpa, uint32_t len, uint32_t parts)
{
	uint32_t at = 0;

	t[0] = (struct vring_desc){.addr = gpa, .len = 12, .flags = VRING_DESC_F_NEXT, .next = 1};
	for (uint32_t i = 1; i <= parts; i++) {
		uint32_t n = i < parts ? len / parts : len - at;

		t[i] = (struct vring_desc){.addr = gpa + 12 + at,
		                           .len = n,
		                           .flags = i < parts ? VRING_DESC_F_NEXT : 0,
		                           .next = i < parts ? (uint16_t)(i + 1) : 0};
		at += n;
	}
}

uint64_t fp_send_as(struct fp_port *p, enum fp_shape shape, const uint8_t *frame, uint32_t len)
{
	uint64_t gpa = fp_alloc(p, len + 12 + 4 * sizeof(struct vring_desc));
	uint64_t table = gpa + len + 12; /* of any alignment */
	struct vring_desc t[4];
	uint16_t head;

	memset(fp_host(p, gpa), 0, 12);
	memcpy(fp_host(p, gpa) + 12, frame, len);
	if (shape == FP_PLAIN) {
		fp_avail(&p->tx, fp_desc(&p->tx, gpa, len + 12, 0, 0));
		return gpa + 12;
	}
	make_parts(t, gpa, len, shape == FP_TABLE_OF_FOUR ? 3 : 1);
	if (shape == FP_CHAINED) {
		head = fp_desc(&p->tx, t[0].addr, t[0].len, t[0].flags,
		               (uint16_t)((p->tx.next_desc + 1) % FP_RING));
		fp_desc(&p->tx, t[1].addr, t[1].len, 0, 0);
	} else {
		uint32_t n = shape == FP_TABLE_OF_ONE ? 1 : shape == FP_TABLE_OF_TWO ? 2 : 4;

		if (n == 1)
			t[0] = (struct vring_desc){.addr = gpa, .len = len + 12};
		memcpy(fp_host(p, table), t, n * sizeof(t[0]));
		head = fp_desc(&p->tx, table, n * (uint32_t)sizeof(t[0]), VRING_DESC_F_INDIRECT, 0);
	}
	fp_avail(&p->tx, head);
	return gpa + 12;
}

uint32_t fp_run(struct fake_path *fp, struct fp_port *p)
{
	uint32_t n = fwd_from_guest(fp->fwd, &p->src);

	fwd_flush_uplinks(fp->fwd);
	return n;
}

void fp_xsk_receive(struct fake_path *fp, const uint8_t *frame, uint32_t len, uint32_t port,
                    uint16_t flags)
{
	struct fp_xsk *x = fp->xsk;
	uint64_t chunk = x->fill[x->words[3]++ % FP_XSK_RING];
	uint8_t *data = x->area + chunk + 256;

	memcpy(data, frame, len);
	if (port != UINT32_MAX) {
		struct steer_meta meta = {.magic = STEER_META_MAGIC, .flags = flags, .port = port};

		memcpy(data - sizeof(meta), &meta, sizeof(meta));
	}
	x->rx[x->words[0]++ % FP_XSK_RING] = (struct xdp_desc){.addr = chunk + 256, .len = len};
}

uint32_t fp_run_nic(struct fake_path *fp)
{
	struct fwd_nic_source src = {
		.nic = &fp->nic, .q = &fp->xsk->q, .counters = &fp->counters[0]};

	return fwd_from_nic(fp->fwd, &src);
}

const uint8_t *fp_xsk_sent(struct fake_path *fp, uint32_t *ret_len)
{
	struct fp_xsk *x = fp->xsk;
	const struct xdp_desc *d = &x->tx[x->words[5] % FP_XSK_RING];

	if (x->words[4] == x->words[5])
		return NULL;
	x->words[5]++;
	x->comp[x->words[6]++ % FP_XSK_RING] = d->addr;
	*ret_len = d->len;
	return x->area + d->addr;
}

/* The next frame in the port's receive ring: used entries, header and bytes are as they must be. */
void fp_expect_frame(struct fp_port *p, const uint8_t *want, uint32_t len)
{
	uint32_t got = 0, n = 0, bufs = 1;

	while (n < bufs) {
		uint32_t used_len = 0, from = 0;
		uint16_t head = 0;
		uint8_t *buf;

		assert_true(fp_used(&p->rx, &head, &used_len));
		buf = fp_host(p, p->rx.desc[head].addr);
		if (!n++) {
			assert_memory_equal(buf, "\0\0\0\0\0\0\0\0\0\0", 10);
			bufs = buf[10] | (uint32_t)buf[11] << 8;
			assert_in_range(bufs, 1, FP_RING);
			from = 12;
		}
		assert_true(used_len >= from && used_len <= p->rx.desc[head].len);
		assert_true(got + used_len - from <= len);
		assert_memory_equal(buf + from, want + got, used_len - from);
		got += used_len - from;
	}
	assert_int_equal(got, len);
}

void fp_expect_nothing(struct fp_port *p)
{
	if (p->rx.map.packed)
		assert_false(packed_used(&p->rx));
	else
		assert_int_equal(p->rx.used->idx, p->rx.used_seen);
}

/* The sender got all its descriptors back. */
void fp_expect_returned(struct fp_port *p, uint32_t n)
{
	uint32_t len;
	uint16_t head;

	while (n--)
		assert_true(fp_used(&p->tx, &head, &len));
	assert_false(fp_used(&p->tx, &head, &len));
}

uint64_t fp_from_drops(const struct fp_port *p, enum port_from_drop why)
{
	return counter_get(&p->port.queues[1].from_drops[why]);
}

uint64_t fp_to_drops(const struct fp_port *p, enum port_to_drop why)
{
	return counter_get(&p->port.queues[0].to_drops[why]);
}

void fp_expect_drop(struct fake_path *fp, struct fp_port *p, const uint8_t *frame, uint32_t len,
                    enum port_from_drop why)
{
	uint64_t before = fp_from_drops(p, why);

	fp_send(p, frame, len);
	assert_int_equal(fp_run(fp, p), 1);
	assert_int_equal(fp_from_drops(p, why), before + 1);
	fp_expect_returned(p, 1);
}

void fp_expect_peace(struct fake_path *fp)
{
	struct fp_port *from = &fp->ports[2], *to = &fp->ports[3];
	uint8_t frame[80];

	fp_frame(frame, sizeof(frame), to->mac, from->mac, 9);
	fp_post(to, 1600);
	fp_send(from, frame, sizeof(frame));
	assert_int_equal(fp_run(fp, from), 1);
	fp_expect_frame(to, frame, sizeof(frame));
	fp_expect_returned(from, 1);
}

void fp_expect_fault(struct fake_path *fp, struct fp_port *p, struct fp_ring *r,
                     enum vhost_vq_fault fault)
{
	fp->fwd->fault = false;
	fp_run(fp, p);
	assert_int_equal(atomic_load(&r->vq.fault), fault);
	assert_true(fp->fwd->fault);
	assert_int_equal(fp->fwd->n_open, 0);
	assert_int_equal(atomic_load(&r->vq.lock), 0);
	fp_expect_peace(fp);
}

void fp_expect_rx_fault(struct fake_path *fp, struct fp_port *from, struct fp_port *to,
                        enum vhost_vq_fault fault)
{
	uint8_t frame[100];

	fp_frame(frame, sizeof(frame), to->mac, from->mac, 1);
	fp_send(from, frame, sizeof(frame));
	fp_expect_fault(fp, from, &to->rx, fault);
	fp_expect_nothing(to);
	fp_expect_returned(from, 1);
}
