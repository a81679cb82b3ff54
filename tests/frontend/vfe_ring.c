// SPDX-License-Identifier: BSD-2-Clause
/*
 * vfe_ring.c - the driver's end of split virtqueues
 *
 * Every descriptor has one buffer of its own, used when it is the head of a chain; the pieces of
 * a chain lie in the head's buffer with gaps between them, so that a back end which takes the
 * pieces for one run of bytes is found out by the payload check. Free descriptors are chained in
 * private memory, never in the ring: what a device writes to the ring cannot confuse the test.
 *
 * Order (virtio 1.3, 2.7.13 and 2.7.14): descriptors, then avail->ring, then a release store of
 * avail->idx; a full fence; then the device's notification wish. Completions: acquire load of
 * used->idx, then the entries.
 */
#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "vfe.h"

struct piece {
	char *at;
	uint32_t len;
};

static uint16_t load16(const uint16_t *p)
{
	return le16toh(__atomic_load_n(p, __ATOMIC_ACQUIRE));
}

static void store16(uint16_t *p, uint16_t value)
{
	__atomic_store_n(p, htole16(value), __ATOMIC_RELEASE);
}

static uint16_t *used_event(struct vfe_ring *r)
{
	return &r->avail->ring[r->size];
}

static const uint16_t *avail_event(const struct vfe_ring *r)
{
	return (const uint16_t *)(const void *)&r->used->ring[r->size];
}

/* A rule of the specification is broken: count it, say which, give up the call. */
#define broken(r, fmt, ...)                                                                        \
	((r)->v->faults++,                                                                         \
	 vfe_fail((r)->v, -EPROTO, "ring %u: " fmt, (r)->index __VA_OPT__(, ) __VA_ARGS__))

uint32_t vfe_hdr_len(const struct vfe_ring *r)
{
	return vfe_has(r->v, VFE_F_VERSION_1) || vfe_has(r->v, VFE_NET_F_MRG_RXBUF)
	               ? VFE_HDR_LEN
	               : VFE_HDR_LEGACY_LEN;
}

/* ---- birth and state ---------------------------------------------------------------------------
 */

static int ring_memory(struct vfe *v, struct vfe_ring *r)
{
	const struct vfe_buf_config *b = &v->config.bufs;
	size_t n = r->size;

	r->desc = vfe_mem_alloc(v, 0, n * sizeof(*r->desc), 64);
	r->avail = vfe_mem_alloc(v, 0, sizeof(*r->avail) + 2 * n + 2, 64);
	r->used = vfe_mem_alloc(v, 0, sizeof(*r->used) + 8 * n + 2, 64);
	r->tables = vfe_mem_alloc(v, 1, n * VFE_MAX_PIECES * sizeof(*r->tables), 64);
	if (!r->desc || !r->avail || !r->used || !r->tables)
		return -ENOSPC;
	r->buf_size = r->rx ? b->rx_size : b->tx_size;
	for (uint32_t i = 0; i < n; i++) {
		r->bufs[i] = vfe_mem_alloc(v, i, r->buf_size + VFE_PIECE_GAP * VFE_MAX_PIECES, 64);
		if (!r->bufs[i])
			return -ENOSPC;
	}
	return 0;
}

int vfe_ring_init(struct vfe *v, uint32_t index)
{
	struct vfe_ring *r = &v->rings[index];
	uint16_t n = v->config.ring_size;
	int err;

	*r = (struct vfe_ring){.v = v,
	                       .index = index,
	                       .size = n,
	                       .rx = index % 2 == 0,
	                       .kick_fd = -1,
	                       .call_fd = -1,
	                       .err_fd = -1};
	if (n & (n - 1))
		return -EINVAL;
	r->bufs = calloc(n, sizeof(*r->bufs));
	r->slots = calloc(n, sizeof(*r->slots));
	r->order = calloc(n, sizeof(*r->order));
	if (!r->bufs || !r->slots || !r->order)
		return -ENOMEM;
	r->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r->call_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r->err_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (r->kick_fd < 0 || r->call_fd < 0 || r->err_fd < 0)
		return -errno;
	err = ring_memory(v, r);
	if (!err)
		vfe_ring_empty(r);
	return err;
}

void vfe_ring_release(struct vfe_ring *r)
{
	const int fds[] = {r->kick_fd, r->call_fd, r->err_fd};

	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
		if (fds[i] >= 0)
			close(fds[i]);
	}
	free(r->bufs);
	free(r->slots);
	free(r->order);
	*r = (struct vfe_ring){.kick_fd = -1, .call_fd = -1, .err_fd = -1};
}

void vfe_ring_empty(struct vfe_ring *r)
{
	memset(r->desc, 0, r->size * sizeof(*r->desc));
	memset(r->avail, 0, sizeof(*r->avail) + 2U * r->size + 2);
	memset(r->used, 0, sizeof(*r->used) + 8U * r->size + 2);
	for (uint16_t i = 0; i < r->size; i++)
		r->slots[i] = (struct vfe_slot){.next = (uint16_t)(i + 1)};
	r->free_head = 0;
	r->n_free = r->size;
	r->avail_idx = r->published = r->last_used = 0;
	r->base = 0;
	r->resume = false;
	store16(&r->avail->flags, VFE_AVAIL_NO_INTERRUPT);
}

void vfe_ring_resume(struct vfe_ring *r)
{
	if (r->resume)
		r->base = load16(&r->used->idx);
	r->resume = false;
}

void vfe_ring_negotiated(struct vfe_ring *r)
{
	r->event_idx = vfe_has(r->v, VFE_F_EVENT_IDX);
	r->in_order = vfe_has(r->v, VFE_F_IN_ORDER);
	/* Without EVENT_IDX the flag rules, with it the index does; a far one means "no call". */
	store16(&r->avail->flags, r->event_idx ? 0 : VFE_AVAIL_NO_INTERRUPT);
	store16(used_event(r), (uint16_t)(r->last_used - 1));
}

/* ---- posting ------------------------------------------------------------------------------------
 */

/*
 * Cuts @total bytes of @buf into pieces: the header alone if @hdr_apart, then @n data pieces.
 * The virtio-net header may well be torn apart by the cut; a device must not mind.
 */
static uint16_t cut(const struct vfe_ring *r, char *buf, uint32_t total, uint16_t n, bool hdr_apart,
                    struct piece *pieces)
{
	uint32_t rest = total;
	uint16_t count = 0;

	if (hdr_apart) {
		pieces[count++] = (struct piece){.at = buf, .len = vfe_hdr_len(r)};
		rest -= vfe_hdr_len(r);
		buf += vfe_hdr_len(r) + VFE_PIECE_GAP;
	}
	for (uint16_t i = 0; i < n && rest; i++) {
		uint32_t len = rest / (n - i);

		if (!len)
			continue;
		pieces[count++] = (struct piece){.at = buf, .len = len};
		rest -= len;
		buf += len + VFE_PIECE_GAP;
	}
	return count;
}

static uint16_t cut_rx(const struct vfe_ring *r, uint16_t head, struct piece *pieces)
{
	const struct vfe_buf_config *b = &r->v->config.bufs;

	return cut(r, r->bufs[head], r->buf_size, b->rx_pieces - (b->rx_hdr_first ? 1 : 0),
	           b->rx_hdr_first, pieces);
}

static void write_desc(const struct vfe *v, struct vfe_desc *d, const struct piece *p,
                       uint16_t flags, uint16_t next)
{
	*d = (struct vfe_desc){.addr = htole64(vfe_gpa(v, p->at)),
	                       .len = htole32(p->len),
	                       .flags = htole16(flags),
	                       .next = htole16(next)};
}

static uint16_t take_free(struct vfe_ring *r)
{
	uint16_t d = r->free_head;

	r->free_head = r->slots[d].next;
	r->n_free--;
	return d;
}

static void put_indirect(struct vfe_ring *r, uint16_t head, const struct piece *pieces, uint16_t n)
{
	struct vfe_desc *table = &r->tables[(size_t)head * VFE_MAX_PIECES];
	struct piece whole = {.at = (char *)table, .len = n * (uint32_t)sizeof(*table)};
	uint16_t dir = r->rx ? VFE_DESC_WRITE : 0;

	for (uint16_t i = 0; i < n; i++)
		write_desc(r->v, &table[i], &pieces[i], dir | (i + 1 < n ? VFE_DESC_NEXT : 0),
		           i + 1 < n ? i + 1 : 0);
	write_desc(r->v, &r->desc[head], &whole, VFE_DESC_INDIRECT, 0);
}

static void put_chain(struct vfe_ring *r, uint16_t head, const struct piece *pieces, uint16_t n)
{
	uint16_t dir = r->rx ? VFE_DESC_WRITE : 0;
	uint16_t d = head;

	for (uint16_t i = 0; i < n; i++) {
		bool more = i + 1 < n;
		uint16_t next = more ? take_free(r) : 0;

		write_desc(r->v, &r->desc[d], &pieces[i], dir | (more ? VFE_DESC_NEXT : 0), next);
		r->slots[d].next = next;
		d = next;
	}
}

/* Queues the chain that starts with the free descriptor @head. */
static void put_avail(struct vfe_ring *r, uint16_t head, const struct piece *pieces, uint16_t n,
                      bool indirect)
{
	r->slots[head].in_flight = true;
	r->slots[head].indirect = indirect;
	r->slots[head].n_desc = indirect ? 1 : n;
	if (indirect)
		put_indirect(r, head, pieces, n);
	else
		put_chain(r, head, pieces, n);
	r->order[r->avail_idx % r->size] = head;
	r->avail->ring[r->avail_idx % r->size] = htole16(head);
	r->avail_idx++;
}

void vfe_kick(struct vfe_ring *r)
{
	uint64_t one = 1;

	if (write(r->kick_fd, &one, sizeof(one)) == sizeof(one))
		r->kicks++;
}

void vfe_flush(struct vfe_ring *r)
{
	uint16_t old = r->published, now = r->avail_idx;
	bool wanted;

	if (old == now)
		return;
	store16(&r->avail->idx, now);
	r->published = now;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (r->event_idx) /* virtio 1.3, 2.7.10: has the index passed the device's wish? */
		wanted = (uint16_t)(now - load16(avail_event(r)) - 1) < (uint16_t)(now - old);
	else
		wanted = !(load16(&r->used->flags) & VFE_USED_NO_NOTIFY);
	if (wanted)
		vfe_kick(r);
}

uint32_t vfe_rx_fill(struct vfe_ring *r)
{
	const struct vfe_buf_config *b = &r->v->config.bufs;
	bool indirect = b->rx_indirect && vfe_has(r->v, VFE_F_INDIRECT_DESC);
	uint16_t n_desc = indirect ? 1 : b->rx_pieces;
	struct piece pieces[VFE_MAX_PIECES];
	uint32_t posted = 0;

	while (r->n_free >= n_desc) {
		uint16_t head = take_free(r);
		uint16_t n = cut_rx(r, head, pieces);

		/* A header that the device forgets to write shall not look like a good one. */
		memset(pieces[0].at, 0xa5,
		       pieces[0].len < VFE_HDR_LEN ? pieces[0].len : VFE_HDR_LEN);
		put_avail(r, head, pieces, n, indirect);
		posted++;
	}
	vfe_flush(r);
	return posted;
}

static void scatter(const struct piece *pieces, uint16_t n, const void *hdr, uint32_t hdr_len,
                    const void *frame)
{
	const char *src = hdr;
	uint32_t left = hdr_len;

	for (uint16_t i = 0; i < n; i++) {
		uint32_t at = 0;

		while (at < pieces[i].len) {
			uint32_t len = pieces[i].len - at < left ? pieces[i].len - at : left;

			memcpy(pieces[i].at + at, src, len);
			at += len;
			src += len;
			left -= len;
			if (!left && src == (const char *)hdr + hdr_len) {
				src = frame;
				left = UINT32_MAX; /* the cut ends with the frame */
			}
		}
	}
}

int vfe_tx(struct vfe_ring *r, const void *frame, uint32_t len, const struct vfe_tx_layout *layout)
{
	static const struct vfe_tx_layout plain;
	struct piece pieces[VFE_MAX_PIECES];
	uint32_t hdr_len = vfe_hdr_len(r);
	bool indirect;
	uint16_t n, head;

	if (!layout)
		layout = &plain;
	n = layout->pieces ? layout->pieces : 1;
	indirect = layout->indirect && vfe_has(r->v, VFE_F_INDIRECT_DESC);
	if (hdr_len + len > r->buf_size || n >= VFE_MAX_PIECES)
		return -EMSGSIZE;
	if (r->n_free < (indirect ? 1 : n + layout->hdr_apart))
		return -ENOSPC;
	head = take_free(r);
	n = cut(r, r->bufs[head], hdr_len + len, n, layout->hdr_apart, pieces);
	scatter(pieces, n, &layout->hdr, hdr_len, frame);
	put_avail(r, head, pieces, n, indirect);
	return 0;
}

/* ---- completions
 * ---------------------------------------------------------------------------------- */

bool vfe_pending(const struct vfe_ring *r)
{
	return load16(&r->used->idx) != r->last_used;
}

static void free_chain(struct vfe_ring *r, uint16_t head)
{
	uint16_t n = r->slots[head].n_desc;
	uint16_t last = head;

	r->slots[head].in_flight = false;
	for (uint16_t i = 1; i < n; i++)
		last = r->slots[last].next;
	r->slots[last].next = r->free_head;
	r->free_head = head;
	r->n_free += n;
}

/* How many completions wait, or -EPROTO when the used index leaves what was published. */
static int used_pending(struct vfe_ring *r)
{
	uint16_t idx = load16(&r->used->idx);
	uint16_t n = (uint16_t)(idx - r->last_used);

	if (n > (uint16_t)(r->published - r->last_used))
		return broken(r, "used index %u, but only %u..%u are in flight", idx, r->last_used,
		              r->published);
	return n;
}

/* Copies and checks the used entry @ahead of the next one. */
static int used_entry(struct vfe_ring *r, uint16_t ahead, struct vfe_used_elem *ret)
{
	uint16_t at = (uint16_t)(r->last_used + ahead);
	struct vfe_used_elem e = r->used->ring[at % r->size];

	e.id = le32toh(e.id);
	e.len = le32toh(e.len);
	if (e.id >= r->size || !r->slots[e.id].in_flight)
		return broken(r, "used entry %u names descriptor %u, which is not in flight", at,
		              e.id);
	if (e.len > (r->rx ? r->buf_size : 0) && r->rx)
		return broken(r, "used length %u in a buffer of %u", e.len, r->buf_size);
	*ret = e;
	return 0;
}

/*
 * IN_ORDER allows a device to write one entry for a whole batch, naming the batch's last head
 * (virtio 1.3, 2.7.9), at the position of the batch's first. Returns how many heads it covers.
 */
static int in_order_batch(struct vfe_ring *r, uint32_t id, uint16_t pending)
{
	for (uint16_t n = 0; n < pending; n++) {
		if (r->order[(uint16_t)(r->last_used + n) % r->size] == id)
			return n + 1;
	}
	return broken(r, "IN_ORDER, but descriptor %u is used before its turn", id);
}

int vfe_tx_reap(struct vfe_ring *r)
{
	int pending = used_pending(r);
	int done = 0;

	while (done < pending) {
		struct vfe_used_elem e;
		int batch = 1;
		int err = used_entry(r, 0, &e);

		if (err)
			return err;
		if (r->in_order)
			batch = in_order_batch(r, e.id, (uint16_t)(pending - done));
		if (batch < 0)
			return batch;
		for (int i = 0; i < batch; i++)
			free_chain(r, r->in_order ? r->order[(uint16_t)(r->last_used + i) % r->size]
			                          : (uint16_t)e.id);
		r->last_used += (uint16_t)batch;
		done += batch;
	}
	return pending < 0 ? pending : done;
}

/* Appends up to @len bytes of a receive chain to @out, leaving out the first @skip. */
static void gather(const struct vfe_ring *r, uint16_t head, uint32_t skip, uint32_t len, char *out)
{
	struct piece pieces[VFE_MAX_PIECES];
	uint16_t n = cut_rx(r, head, pieces);

	for (uint16_t i = 0; i < n && len; i++) {
		uint32_t part = pieces[i].len < len ? pieces[i].len : len;
		uint32_t cut_off = skip < part ? skip : part;

		memcpy(out, pieces[i].at + cut_off, part - cut_off);
		out += part - cut_off;
		skip -= cut_off;
		len -= part;
	}
}

static void read_hdr(const struct vfe_ring *r, uint16_t head, struct vfe_net_hdr *ret)
{
	*ret = (struct vfe_net_hdr){.num_buffers = 1};
	gather(r, head, 0, vfe_hdr_len(r), (char *)ret);
}

/* How many buffers the frame takes that starts with @first, or -EPROTO. */
static int count_buffers(struct vfe_ring *r, const struct vfe_used_elem *first, int pending,
                         struct vfe_net_hdr *ret_hdr)
{
	uint16_t n;

	if (first->len < vfe_hdr_len(r))
		return broken(r, "received %u bytes, less than a header", first->len);
	read_hdr(r, (uint16_t)first->id, ret_hdr);
	n = le16toh(ret_hdr->num_buffers);
	if (!vfe_has(r->v, VFE_NET_F_MRG_RXBUF)) {
		/* virtio 1.3, 5.1.6.4.1: the device MUST set num_buffers to 1 */
		if (n != 1 && vfe_has(r->v, VFE_F_VERSION_1) && !r->v->config.bufs.lenient)
			return broken(r, "num_buffers %u without MRG_RXBUF", n);
		return 1;
	}
	/* 5.1.6.3.2: all buffers of one frame become visible together */
	if (n == 0 || n > pending)
		return broken(r, "num_buffers %u, but %d buffers are used", n, pending);
	return n;
}

int vfe_rx(struct vfe_ring *r, void *buf, uint32_t cap, struct vfe_rx_info *ret_info)
{
	struct vfe_rx_info info = {0};
	uint32_t total = 0;
	int pending = used_pending(r);
	int n = 1;

	if (pending <= 0)
		return pending;
	for (int i = 0; i < n; i++) {
		struct vfe_used_elem e;
		uint32_t skip = i == 0 ? vfe_hdr_len(r) : 0;
		int err = used_entry(r, 0, &e);

		if (!err && r->in_order && r->order[r->last_used % r->size] != e.id)
			err = broken(r, "IN_ORDER, but buffer %u is used before its turn", e.id);
		if (err)
			return err;
		if (i == 0)
			n = count_buffers(r, &e, pending, &info.hdr);
		if (n < 0)
			return n;
		if (e.len - skip <= cap - total)
			gather(r, (uint16_t)e.id, skip, e.len, (char *)buf + total);
		else
			cap = 0; /* too long; take its buffers back all the same */
		total += e.len - skip;
		free_chain(r, (uint16_t)e.id);
		r->last_used++;
		if (!cap)
			total = 0;
	}
	info.n_buffers = (uint16_t)n;
	if (ret_info)
		*ret_info = info;
	if (!cap)
		return -EMSGSIZE;
	return total ? (int)total : broken(r, "an empty frame was received");
}

/* ---- sleeping
 * -------------------------------------------------------------------------------------- */

static void want_call(struct vfe_ring *r, bool want)
{
	if (r->event_idx)
		store16(used_event(r), (uint16_t)(r->last_used - (want ? 0 : 1)));
	else
		store16(&r->avail->flags, want ? 0 : VFE_AVAIL_NO_INTERRUPT);
}

static bool any_pending(struct vfe_ring *const *rings, uint32_t n_rings)
{
	for (uint32_t i = 0; i < n_rings; i++) {
		if (vfe_pending(rings[i]))
			return true;
	}
	return false;
}

static void drain_calls(struct vfe_ring *const *rings, uint32_t n_rings)
{
	for (uint32_t i = 0; i < n_rings; i++) {
		uint64_t n;

		if (read(rings[i]->call_fd, &n, sizeof(n)) == sizeof(n))
			rings[i]->calls += n;
	}
}

/* Sleeps until a call, or something used without one. 1, 0 after the time, -errno. */
static int sleep_for_call(struct vfe_ring *const *rings, uint32_t n_rings, int timeout_ms)
{
	enum { GRACE_MS = 200 }; /* between the store of used->idx and the call */
	struct pollfd fds[64];
	int n;

	for (uint32_t i = 0; i < n_rings; i++)
		fds[i] = (struct pollfd){.fd = rings[i]->call_fd, .events = POLLIN};
	n = poll(fds, n_rings, timeout_ms);
	if (n == 0 && any_pending(rings, n_rings)) {
		n = poll(fds, n_rings, GRACE_MS);
		if (n == 0)
			return broken(rings[0], "buffers were used, and no call came");
	}
	return n < 0 && errno != EINTR ? -errno : n > 0;
}

int vfe_wait(struct vfe_ring *const *rings, uint32_t n_rings, int timeout_ms)
{
	uint64_t deadline = vfe_now_us() + (uint64_t)timeout_ms * 1000;
	int ret = 0;

	if (n_rings == 0 || n_rings > 64)
		return -EINVAL;
	drain_calls(rings, n_rings);
	for (uint32_t i = 0; i < n_rings; i++)
		want_call(rings[i], true);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	while (ret >= 0 && !any_pending(rings, n_rings)) {
		uint64_t now = vfe_now_us();

		if (now >= deadline)
			break;
		ret = sleep_for_call(rings, n_rings, (int)((deadline - now + 999) / 1000));
		drain_calls(rings, n_rings);
	}
	for (uint32_t i = 0; i < n_rings; i++)
		want_call(rings[i], false);
	return ret < 0 ? ret : any_pending(rings, n_rings);
}
