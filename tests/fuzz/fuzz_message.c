/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fuzz_message.c - a hostile front end, its descriptors, its guest and its memory
 *
 * The input says which messages go over a socket pair to a real device: raw ones, with any header,
 * payload and descriptors, and shorthand for the good ones (fuzz_message_good.c), of which any
 * field may be wrong, so that rings do start. In between it writes guest memory and the in-flight
 * area, lets a worker take bursts and go to sleep, sends the guest frames, truncates the files
 * behind its memory, takes pages back, and comes back after hanging up. When it hangs up, every
 * descriptor, every mapping and every thread has to be gone.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>
#include "fake_path.h"
#include "flow.h"
#include "fuzz_message.h"
#include "vhost_dev.h"
#include "vhost_ring.h"
#include "vhost_signal.h"

#define MAX_OPS 64
#define N_MEMS  3

struct front_end fe = {.sock = -1, .channel = -1, .area_fd = -1, .fault_fd = -1};

static const uint32_t mem_sizes[N_MEMS] = {MEM_SIZE, PAGE, 10000};
static bool mem_used[N_MEMS] = {true, true, true}; /* by this input */
static struct fake_path *fp;
static struct vhost_dev *devs[3]; /* all but IOMMU and post-copy, with IOMMU, with post-copy */
static struct vhost_dev *dev;     /* the one that this input talks to */
static struct vhost_kept kept[N_RINGS];
static struct port_rxset *own_rxset; /* port 0's, as fake_path made it */
static struct port_rxset *rxset;     /* of the rings that run now */

/* ---- the owner ---- */

/* Workers are this thread, between two bursts. */
static void owner_quiesce(void *owner)
{
	(void)owner;
}

static void owner_changed(void *owner)
{
	(void)owner;
	rxset->n = 0;
	for (uint16_t i = 0; i < vhost_dev_n_vqs(dev); i += 2) {
		struct vhost_vq *vq = vhost_dev_vq(dev, i);
		const struct vhost_vq_map *map = atomic_load(&vq->map);

		if (map && map->enabled)
			rxset->vq[rxset->n++] = vq;
	}
}

/* Workers are looked after between two steps; helpers of post-copy may call. */
static void owner_nothing(void *owner)
{
	(void)owner;
}

static const char *owner_announce(void *owner, const uint8_t mac[6])
{
	(void)owner;
	return mac[5] & 1 ? "too many" : NULL;
}

static void owner_text(void *owner, const char *text)
{
	(void)owner;
	fuzz_promise(!strchr(text, '\n') && strlen(text) < 512);
}

static const struct vhost_dev_ops owner_ops = {
	.quiesce = owner_quiesce,
	.rings_changed = owner_changed,
	.wake = owner_nothing,
	.attend = owner_nothing,
	.announce = owner_announce,
	.info = owner_text,
	.warn = owner_text,
	.refused = owner_text,
};

/* ---- set-up ---- */

static void make_fds(void)
{
	uint64_t full = UINT64_MAX - 1;
	int pair[2];

	fe.fds[FD_EVENT] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	fe.fds[FD_EVENT_FULL] = eventfd(0, EFD_CLOEXEC);
	fuzz_promise(write(fe.fds[FD_EVENT_FULL], &full, sizeof(full)) == sizeof(full));
	for (int i = 0; i < N_MEMS; i++)
		fe.fds[FD_MEM + i] = memfd_create("guest", MFD_CLOEXEC);
	fuzz_promise(pipe2(pair, O_CLOEXEC) == 0);
	fe.fds[FD_PIPE] = pair[0];
	fe.fds[FD_SOCKET] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	fe.fds[FD_NULL] = open("/dev/null", O_RDWR | O_CLOEXEC);
	fe.fds[FD_FOLDER] = open("/", O_RDONLY | O_CLOEXEC);
	for (int i = 0; i < N_FDS; i++)
		fuzz_promise(fe.fds[i] >= 0);
}

/* Port 0's queues become the device's. */
static void make_path(void)
{
	struct port *port;

	fp = fp_new(CONF_NIC_INTERNAL, NULL);
	port = &fp->ports[0].port;
	own_rxset = atomic_load(&port->rxset);
	rxset = calloc(1, sizeof(*rxset) + PAIRS * sizeof(rxset->vq[0]));
	fuzz_promise(rxset);
	atomic_store(&port->rxset, rxset);
	free(port->queues);
	port->queues = aligned_alloc(CACHE_LINE, N_RINGS * sizeof(*port->queues));
	port->flows = calloc(1, sizeof(*port->flows));
	fuzz_promise(port->queues && port->flows);
	memset(port->queues, 0, N_RINGS * sizeof(*port->queues));
}

static void rig_new(void)
{
	struct vhost_dev_config config = {
		.max_queue_pairs = PAIRS,
		.max_mtu = 9000,
		.mac = {0x52, 0x54, 0, 0, 0, 0x0a},
		.config_mtu = 1500,
		.kept = kept,
	};

	make_fds();
	make_path();
	for (uint32_t i = 0; i < ARRAY_SIZE(devs); i++) {
		config.features = vhost_dev_default_features();
		config.protocol_features = vhost_dev_default_protocol_features();
		if (i != 1)
			config.features &= ~VHOST_BIT(VIRTIO_F_ACCESS_PLATFORM);
		if (i != 2)
			config.protocol_features &= ~VHOST_BIT(VHOST_PROTO_PAGEFAULT);
		fuzz_promise(vhost_dev_new(&config, &owner_ops, NULL, &devs[i]) == 0);
	}
	(void)vhost_signal(-1); /* its descriptor is the process's, for good */
}

static void connect_again(void)
{
	int pair[2];

	fuzz_promise(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
	fe.sock = pair[0];
	fuzz_promise(vhost_dev_attach(dev, pair[1]) == 0);
}

static void rig_reset(uint8_t setup)
{
	/* Small again, so that what an earlier input wrote is gone. */
	for (int i = 0; i < N_MEMS; i++) {
		if (mem_used[i])
			fuzz_promise(ftruncate(fe.fds[FD_MEM + i], 0) == 0 &&
			             ftruncate(fe.fds[FD_MEM + i], mem_sizes[i]) == 0);
		mem_used[i] = false;
	}
	memset(kept, 0, sizeof(kept));
	fe.setup = setup;
	fe.base = 0;
	fe.area = (struct vhost_msg_inflight){0};
	dev = devs[fe_is_behind_iommu() ? 1 : (setup & SETUP_KIND) == SETUP_POSTCOPY ? 2 : 0];
	connect_again();
}

/* Nothing of the connection is left, and the device is as new. */
static void hang_up(void)
{
	close(fe.sock);
	fe.sock = -1;
	vhost_dev_detach(dev);
	fuzz_promise(vhost_dev_get_state(dev) == VHOST_DEV_DISCONNECTED);
	fuzz_promise(rxset->n == 0);
	fuzz_promise(fuzz_mappings() == 0);
}

static void forget_fds(void)
{
	fe_keep_fd(&fe.channel, -1);
	fe_keep_fd(&fe.area_fd, -1);
	fe_keep_fd(&fe.fault_fd, -1);
}

/* ---- messages ---- */

void fe_keep_fd(int *one, int fd)
{
	if (*one >= 0)
		close(*one);
	*one = fd;
}

void fe_send(const void *bytes, uint32_t n, const int *fds, uint32_t n_fds)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * 16)];
	} control;
	struct iovec iov = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = n};
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};

	if (n_fds) {
		mh.msg_control = control.bytes;
		mh.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
		memcpy(CMSG_DATA(&control.align), fds, sizeof(int) * n_fds);
	}
	(void)!sendmsg(fe.sock, &mh, MSG_NOSIGNAL | MSG_DONTWAIT);
	for (uint32_t i = 0; i < n_fds; i++)
		for (uint32_t k = 0; k < N_MEMS; k++)
			mem_used[k] |= fds[i] == fe.fds[FD_MEM + k];
}

static uint32_t take_fds(struct fuzz_in *in, int out[16])
{
	uint8_t n = fuzz_u8(in);

	n = n < 0xf0 ? n % 4 : n & 15;
	for (uint32_t i = 0; i < n; i++)
		out[i] = fe.fds[fuzz_u8(in) % N_FDS];
	return n;
}

static void op_raw(struct fuzz_in *in)
{
	uint8_t bytes[sizeof(struct vhost_msg_hdr) + 600];
	uint8_t id = fuzz_u8(in), flags = fuzz_u8(in);
	uint32_t n = fuzz_u8(in);
	struct vhost_msg_hdr hdr = {.id = id % (VHOST_MSG_N_IDS + 2), .flags = flags & 0x0f};
	int fds[16];
	uint32_t n_fds = take_fds(in, fds);

	if (flags & 0x80)
		n = min_u32(n * 4, 600);
	hdr.size = flags & 0x40 ? fuzz_u32(in) : n;
	if (flags & 0x20)
		hdr.flags = VHOST_HDR_VERSION | VHOST_HDR_NEED_REPLY;
	memcpy(bytes, &hdr, sizeof(hdr));
	fuzz_bytes(in, bytes + sizeof(hdr), n);
	/* A tail that never comes, or comes with the next message */
	n += sizeof(hdr);
	fe_send(bytes, flags & 0x10 ? n / 2 : n, fds, n_fds);
}

/* ---- guest and worker ---- */

/* Writes that a front end's own mapping allows: it may have truncated the file. */
static void guest_write(uint32_t at, const void *bytes, uint32_t n)
{
	mem_used[0] = true;
	(void)!pwrite(fe.fds[FD_MEM], bytes, n, at);
}

static void post_split(struct fuzz_in *in, uint32_t base, uint16_t i, struct vring_desc *d)
{
	uint16_t idx = fuzz_u16(in);

	good_spoil(in, d, sizeof(*d));
	guest_write(base + i * 16u, d, sizeof(*d));
	guest_write(base + AVAIL + 4 + 2u * (idx % 64), &i, sizeof(i));
	idx++;
	guest_write(base + AVAIL + 2, &idx, sizeof(idx));
}

static void post_packed(struct fuzz_in *in, uint32_t base, uint16_t i, const struct vring_desc *d)
{
	uint16_t lap = fuzz_u16(in) >> 15;
	uint16_t bits = 1u << (lap ? VRING_PACKED_DESC_F_USED : VRING_PACKED_DESC_F_AVAIL);
	struct vring_packed_desc p = {
		.addr = d->addr, .len = d->len, .id = d->next, .flags = d->flags | bits};

	good_spoil(in, &p, sizeof(p));
	guest_write(base + i * 16u, &p, sizeof(p));
}

/* One buffer in a ring: a descriptor and whatever makes it available */
static void op_post(struct fuzz_in *in)
{
	uint8_t ring = fuzz_u8(in) % N_RINGS, i = fuzz_u8(in) % 64, flags = fuzz_u8(in);
	uint64_t addr = GPA + BUFFERS + fuzz_u8(in) * 64u;
	uint32_t base = ring * RING_SPAN, len = fuzz_u16(in);
	struct vring_desc d = {
		.addr = addr, .len = len, .flags = flags & 7, .next = (uint16_t)(flags >> 3)};

	if (fe_is_packed())
		post_packed(in, base, i, &d);
	else
		post_split(in, base, i, &d);
}

/* Any bytes, in guest memory or in the area of buffers in flight */
static void op_poke(struct fuzz_in *in, bool area)
{
	uint32_t at = fuzz_u16(in);
	uint8_t bytes[64], n = fuzz_u8(in) % 64;

	fuzz_bytes(in, bytes, n);
	if (!area)
		guest_write(at, bytes, n);
	else if (fe.area_fd >= 0)
		(void)!pwrite(fe.area_fd, bytes, n, at);
}

static void op_frame(struct fuzz_in *in)
{
	uint8_t frame[12 + 64] = {0}, to = fuzz_u8(in);

	fp_frame(frame + 12, 64, to & 8 ? 0xffffffffffff : fp->ports[to % FP_PORTS].mac,
	         fp->ports[0].mac, to);
	guest_write(BUFFERS + fuzz_u8(in) * 64u, frame, sizeof(frame));
}

/* What workers do before they sleep */
static void ask_for_kicks(struct vhost_vq *vq)
{
	const struct vhost_vq_map *map = vhost_vq_get_map(vq);

	if (!map)
		return;
	vhost_vq_use_map(vq, map);
	if (vq->kicks != VHOST_KICKS_ON)
		vhost_ring_want_kicks(vq, map);
}

/* What workers do: a burst of each transmit ring that runs */
static void op_work(bool sleep)
{
	struct fp_port *p = &fp->ports[0];

	for (uint16_t i = 1; i < N_RINGS; i += 2) {
		struct fwd_guest_source src = {.port = &p->port,
		                               .vq = vhost_dev_vq(dev, i),
		                               .pq = &p->port.queues[i],
		                               .nic_counters = fp->counters};

		fuzz_promise(fwd_from_guest(fp->fwd, &src) <= FWD_BURST);
		fwd_flush_uplinks(fp->fwd);
		if (sleep)
			ask_for_kicks(src.vq);
	}
	fuzz_promise(fp->fwd->n_open == 0);
}

static void op_to_guest(struct fuzz_in *in)
{
	struct fp_port *from = &fp->ports[2];
	uint8_t frame[2048];
	uint32_t len = 60 + fuzz_u16(in) % 1455;
	uint16_t head;
	uint32_t used;

	fp_frame(frame, len, fp->ports[0].mac, from->mac, len);
	fp_send(from, frame, len);
	fuzz_promise(fp_run(fp, from) == 1);
	fuzz_promise(fp_used(&from->tx, &head, &used));
}

static void op_truncate(struct fuzz_in *in)
{
	uint8_t which = fuzz_u8(in) % N_MEMS;

	mem_used[which] = true;
	(void)!ftruncate(fe.fds[FD_MEM + which], (off_t)(fuzz_u8(in) * 1024));
}

/* A page is taken back: it reads as zeros, or is missing once more. */
static void op_punch(struct fuzz_in *in)
{
	(void)!fallocate(fe.fds[FD_MEM], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
	                 (off_t)(fuzz_u8(in) % (MEM_SIZE / PAGE) * PAGE), PAGE);
}

/* ---- the device's turn ---- */

/* An answer. @fd came with it, or -1. */
static void hear(const struct vhost_msg_hdr *hdr, const uint8_t *payload, int fd)
{
	struct vhost_vring_state state;

	fuzz_promise(hdr->flags == (VHOST_HDR_VERSION | VHOST_HDR_REPLY));
	switch (hdr->id) {
	case VHOST_MSG_GET_VRING_BASE:
		fuzz_promise(hdr->size == sizeof(state));
		memcpy(&state, payload, sizeof(state));
		fe.base = state.num;
		break;
	case VHOST_MSG_GET_INFLIGHT_FD:
		if (fd < 0)
			break;
		fe_keep_fd(&fe.area_fd, fd);
		memcpy(&fe.area, payload, sizeof(fe.area));
		return;
	case VHOST_MSG_POSTCOPY_ADVISE:
		fe_keep_fd(&fe.fault_fd, fd);
		return;
	default:
		break;
	}
	fuzz_promise(fd < 0);
}

static int take_fd(struct msghdr *mh)
{
	struct cmsghdr *c = CMSG_FIRSTHDR(mh);
	int fd;

	if (!c)
		return -1;
	fuzz_promise(c->cmsg_len == CMSG_LEN(sizeof(fd)) && !CMSG_NXTHDR(mh, c));
	memcpy(&fd, CMSG_DATA(c), sizeof(fd));
	return fd;
}

/* Answers come whole. The kernel ends a read behind one that brings a descriptor. */
static void drain(void)
{
	static uint8_t bytes[64 * sizeof(union vhost_msg_payload)];
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * 16)];
	} control;

	int fd;

	do {
		struct iovec iov = {bytes, sizeof(bytes)};
		struct msghdr mh = {.msg_iov = &iov,
		                    .msg_iovlen = 1,
		                    .msg_control = control.bytes,
		                    .msg_controllen = sizeof(control)};
		ssize_t n = recvmsg(fe.sock, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		uint32_t at = 0, left = n < 0 ? 0 : (uint32_t)n;

		fd = n < 0 ? -1 : take_fd(&mh);
		while (left) {
			struct vhost_msg_hdr hdr;

			fuzz_promise(left >= sizeof(hdr));
			memcpy(&hdr, bytes + at, sizeof(hdr));
			at += sizeof(hdr);
			left -= sizeof(hdr);
			fuzz_promise(hdr.size <= left);
			left -= hdr.size;
			hear(&hdr, bytes + at, left ? -1 : fd);
			at += hdr.size;
		}
	} while (fd >= 0);
}

/* Return: whether the connection goes on. */
static bool receive(void)
{
	int err = vhost_dev_receive(dev);

	drain();
	if (err < 0)
		return false;
	vhost_dev_report_faults(dev);
	return true;
}

static bool op_reconnect(void)
{
	receive();
	hang_up();
	connect_again();
	return true;
}

typedef void step_fn(struct fuzz_in *in);

/* Steps that say something. Those below do something, and the device is not asked. */
static step_fn *const messages[32] = {
	[0] = op_raw,
	[1] = op_raw,
	[2] = good_negotiate,
	[3] = good_memory,
	[4] = good_ring,
	[5] = good_ring,
	[6] = good_stop,
	[7] = good_bare,
	[16] = good_features,
	[17] = good_log,
	[18] = good_get_inflight,
	[19] = good_set_inflight,
	[21] = good_iotlb,
	[22] = good_channel,
	[23] = good_answers,
	[24] = good_net,
	[25] = good_config,
	[26] = good_ring_part,
	[27] = good_postcopy,
};

/* Return: whether the connection goes on. */
static bool step(struct fuzz_in *in)
{
	uint8_t op = fuzz_u8(in);

	if (messages[op % 32]) {
		messages[op % 32](in);
		/* Now, or together with what comes next */
		return op & 0x80 || receive();
	}
	switch (op % 32) {
	case 8:
	case 9:
		op_post(in);
		break;
	case 10:
		op_poke(in, false);
		break;
	case 11:
		op_frame(in);
		break;
	case 12:
		op_to_guest(in);
		break;
	case 13:
		op_truncate(in);
		break;
	case 20:
		op_poke(in, true);
		break;
	case 28:
		good_pages(in);
		return receive();
	case 29:
		op_punch(in);
		break;
	case 30:
		return op_reconnect();
	default:
		op_work(op & 1);
		break;
	}
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = {data, data + size};
	bool goes_on = true;

	if (!fp)
		rig_new();
	fuzz_fds_mark();
	rig_reset(fuzz_u8(&in));
	for (uint32_t i = 0; i < MAX_OPS && fuzz_left(&in) && goes_on; i++)
		goes_on = step(&in);
	if (goes_on && receive())
		op_work(false);
	hang_up();
	forget_fds();
	fuzz_fds_check();
	return 0;
}
