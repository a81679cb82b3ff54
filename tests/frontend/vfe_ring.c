// SPDX-License-Identifier: BSD-2-Clause
/*
 * vfe_ring.c - the driver's end of virtqueues: buffers, frames, sleeping
 *
 * Every identifier has one buffer of its own; the pieces of a chain lie in it with gaps between
 * them, so that a back end which takes the pieces for one run of bytes is found out by the payload
 * check. What is free is kept in private memory, never in the ring: what a device writes to the
 * ring cannot confuse the test. How rings are written and read: vfe_split.c, vfe_packed.c.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "vfe_layout.h"

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
	                       .ops = &vfe_split_ops,
	                       .kick_fd = -1,
	                       .call_fd = -1,
	                       .err_fd = -1};
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
	for (uint16_t i = 0; i < r->size; i++)
		r->slots[i] = (struct vfe_slot){.next = (uint16_t)(i + 1)};
	r->free_head = 0;
	r->n_free = r->size;
	r->n_posted = r->n_taken = 0;
	r->resume = false;
	r->ops->empty(r);
}

void vfe_ring_resume(struct vfe_ring *r)
{
	enum vfe_resume how = r->v->config.resume;

	if (r->resume && how == VFE_RESUME_USED)
		r->base = r->ops->position(r);
	else if (r->resume && how == VFE_RESUME_ZERO)
		r->base = vfe_has(r->v, VFE_F_RING_PACKED) ? VFE_PACKED_BASE : 0;
	else if (r->resume && how == VFE_RESUME_AVAIL)
		r->base = r->published;
	r->resume = false;
}

int vfe_ring_negotiated(struct vfe_ring *r)
{
	bool packed = vfe_has(r->v, VFE_F_RING_PACKED);

	/* virtio 1.3, 2.7 and 2.8: a split ring's size is a power of two, a packed one's any */
	if (!packed && r->size & (r->size - 1))
		return vfe_fail(r->v, -EINVAL, "a split ring of %u descriptors", r->size);
	r->event_idx = vfe_has(r->v, VFE_F_EVENT_IDX);
	r->in_order = vfe_has(r->v, VFE_F_IN_ORDER);
	if (packed != r->packed) {
		r->packed = packed;
		r->ops = packed ? &vfe_packed_ops : &vfe_split_ops;
		vfe_ring_empty(r);
	}
	r->ops->want_call(r, false);
	return 0;
}

/* ---- posting ------------------------------------------------------------------------------------
 */

/*
 * Cuts @total bytes of @buf into pieces: the header alone if @hdr_apart, then @n data pieces.
 * The virtio-net header may well be torn apart by the cut; a device must not mind.
 */
static uint16_t cut(const struct vfe_ring *r, char *buf, uint32_t total, uint16_t n, bool hdr_apart,
                    struct vfe_piece *pieces)
{
	uint32_t rest = total;
	uint16_t count = 0;

	if (hdr_apart) {
		pieces[count++] = (struct vfe_piece){.at = buf, .len = vfe_hdr_len(r)};
		rest -= vfe_hdr_len(r);
		buf += vfe_hdr_len(r) + VFE_PIECE_GAP;
	}
	for (uint16_t i = 0; i < n && rest; i++) {
		uint32_t len = rest / (n - i);

		if (!len)
			continue;
		pieces[count++] = (struct vfe_piece){.at = buf, .len = len};
		rest -= len;
		buf += len + VFE_PIECE_GAP;
	}
	return count;
}

static uint16_t cut_rx(const struct vfe_ring *r, uint16_t head, struct vfe_piece *pieces)
{
	const struct vfe_buf_config *b = &r->v->config.bufs;

	return cut(r, r->bufs[head], r->buf_size, b->rx_pieces - (b->rx_hdr_first ? 1 : 0),
	           b->rx_hdr_first, pieces);
}

uint16_t vfe_take_free(struct vfe_ring *r)
{
	uint16_t d = r->free_head;

	r->free_head = r->slots[d].next;
	r->n_free--;
	return d;
}

/* Queues buffer @id. */
static void put_avail(struct vfe_ring *r, uint16_t id, const struct vfe_piece *pieces, uint16_t n,
                      bool indirect)
{
	r->slots[id].in_flight = true;
	r->slots[id].n_desc = indirect ? 1 : n;
	r->order[r->n_posted++ % r->size] = id;
	r->ops->post(r, id, pieces, n, indirect);
}

void vfe_kick(struct vfe_ring *r)
{
	uint64_t one = 1;

	if (write(r->kick_fd, &one, sizeof(one)) == sizeof(one))
		r->kicks++;
}

void vfe_flush(struct vfe_ring *r)
{
	if (r->ops->publish(r))
		vfe_kick(r);
}

uint32_t vfe_rx_fill(struct vfe_ring *r)
{
	const struct vfe_buf_config *b = &r->v->config.bufs;
	bool indirect = b->rx_indirect && vfe_has(r->v, VFE_F_INDIRECT_DESC);
	uint16_t n_desc = indirect ? 1 : b->rx_pieces;
	struct vfe_piece pieces[VFE_MAX_PIECES];
	uint32_t posted = 0;

	while (r->n_free >= n_desc) {
		uint16_t head = vfe_take_free(r);
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

static void scatter(const struct vfe_piece *pieces, uint16_t n, const void *hdr, uint32_t hdr_len,
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
	struct vfe_piece pieces[VFE_MAX_PIECES];
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
	head = vfe_take_free(r);
	n = cut(r, r->bufs[head], hdr_len + len, n, layout->hdr_apart, pieces);
	scatter(pieces, n, &layout->hdr, hdr_len, frame);
	put_avail(r, head, pieces, n, indirect);
	return 0;
}

/* ---- completions
 * ---------------------------------------------------------------------------------- */

bool vfe_pending(const struct vfe_ring *r)
{
	return r->ops->is_used(r);
}

/* Buffer @id may be posted again. Returns how many descriptors it had. */
static uint16_t free_chain(struct vfe_ring *r, uint16_t id)
{
	uint16_t n = r->slots[id].n_desc;
	uint16_t last = id;

	r->slots[id].in_flight = false;
	for (uint16_t i = 1; i < n && !r->packed; i++)
		last = r->slots[last].next;
	r->slots[last].next = r->free_head;
	r->free_head = id;
	r->n_free += n;
	return n;
}

/* Takes the next @n buffers: @id, or with IN_ORDER those up to it. */
static void take_used(struct vfe_ring *r, uint16_t id, uint16_t n)
{
	uint32_t n_desc = 0;

	for (uint16_t i = 0; i < n; i++)
		n_desc += free_chain(r, r->in_order ? vfe_in_order(r, i) : id);
	r->n_taken += n;
	r->ops->step(r, n, n_desc);
}

int vfe_in_order_batch(struct vfe_ring *r, uint32_t id, uint32_t max)
{
	for (uint32_t n = 0; n < max; n++) {
		if (vfe_in_order(r, n) == id)
			return (int)n + 1;
	}
	return vfe_broken(r, "IN_ORDER, but buffer %u is used before its turn", id);
}

int vfe_tx_reap(struct vfe_ring *r)
{
	struct vfe_used_buf u;
	int done = 0;

	while (done < r->size) {
		int n = r->ops->next(r, &u);

		if (n < 0)
			return n;
		if (n == 0)
			break;
		take_used(r, u.id, (uint16_t)n);
		done += n;
	}
	return done;
}

/* Appends up to @len bytes of a receive chain to @out, leaving out the first @skip. */
static void gather(const struct vfe_ring *r, uint16_t head, uint32_t skip, uint32_t len, char *out)
{
	struct vfe_piece pieces[VFE_MAX_PIECES];
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
static int count_buffers(struct vfe_ring *r, const struct vfe_used_buf *first,
                         struct vfe_net_hdr *ret_hdr)
{
	uint16_t n;
	int used;

	if (first->len < vfe_hdr_len(r))
		return vfe_broken(r, "received %u bytes, less than a header", first->len);
	read_hdr(r, first->id, ret_hdr);
	n = le16toh(ret_hdr->num_buffers);
	if (!vfe_has(r->v, VFE_NET_F_MRG_RXBUF)) {
		/* virtio 1.3, 5.1.6.4.1: the device MUST set num_buffers to 1 */
		if (n != 1 && vfe_has(r->v, VFE_F_VERSION_1) && !r->v->config.bufs.lenient)
			return vfe_broken(r, "num_buffers %u without MRG_RXBUF", n);
		return 1;
	}
	if (n == 1)
		return 1;
	/* 5.1.6.3.2: all buffers of one frame become visible together */
	used = n ? r->ops->are_used(r, n) : 0;
	if (used < 0)
		return used;
	return used ? n : vfe_broken(r, "num_buffers %u, but so many are not used", n);
}

/* The next used buffer of a receive ring. 1, 0 or -EPROTO. */
static int next_received(struct vfe_ring *r, struct vfe_used_buf *ret)
{
	int n = r->ops->next(r, ret);

	if (n > 1)
		return vfe_broken(r, "IN_ORDER, but buffer %u is used before its turn", ret->id);
	if (n == 1 && ret->len > r->buf_size)
		return vfe_broken(r, "used length %u in a buffer of %u", ret->len, r->buf_size);
	return n;
}

int vfe_rx(struct vfe_ring *r, void *buf, uint32_t cap, struct vfe_rx_info *ret_info)
{
	struct vfe_rx_info info = {0};
	uint32_t total = 0;
	int n = 1;

	for (int i = 0; i < n; i++) {
		struct vfe_used_buf u;
		uint32_t skip = i == 0 ? vfe_hdr_len(r) : 0;
		int err = next_received(r, &u);

		if (err <= 0)
			return err;
		if (i == 0 && u.len == 0 && r->v->config.bufs.unused_ok) {
			take_used(r, u.id, 1);
			i--;
			continue;
		}
		if (i == 0)
			n = count_buffers(r, &u, &info.hdr);
		if (n < 0)
			return n;
		if (u.len - skip <= cap - total)
			gather(r, u.id, skip, u.len, (char *)buf + total);
		else
			cap = 0; /* too long; take its buffers back all the same */
		total += u.len - skip;
		take_used(r, u.id, 1);
		if (!cap)
			total = 0;
	}
	info.n_buffers = (uint16_t)n;
	if (ret_info)
		*ret_info = info;
	if (!cap)
		return -EMSGSIZE;
	return total ? (int)total : vfe_broken(r, "an empty frame was received");
}

/* ---- sleeping
 * -------------------------------------------------------------------------------------- */

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
	/* Between the store of used->idx and the call the back end may lose its CPU. */
	enum { GRACE_MS = 5000 };
	struct pollfd fds[64];
	int n;

	for (uint32_t i = 0; i < n_rings; i++)
		fds[i] = (struct pollfd){.fd = rings[i]->call_fd, .events = POLLIN};
	n = poll(fds, n_rings, timeout_ms);
	if (n == 0 && any_pending(rings, n_rings)) {
		n = poll(fds, n_rings, GRACE_MS);
		if (n == 0)
			return vfe_broken(rings[0], "buffers were used, and no call came");
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
		rings[i]->ops->want_call(rings[i], true);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	while (ret >= 0 && !any_pending(rings, n_rings)) {
		uint64_t now = vfe_now_us();

		if (now >= deadline)
			break;
		ret = sleep_for_call(rings, n_rings, (int)((deadline - now + 999) / 1000));
		drain_calls(rings, n_rings);
	}
	for (uint32_t i = 0; i < n_rings; i++)
		rings[i]->ops->want_call(rings[i], false);
	return ret < 0 ? ret : any_pending(rings, n_rings);
}
