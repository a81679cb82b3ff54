/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fuzz_message.c - a hostile front end, its descriptors, its guest and its memory
 *
 * The input says which messages go over a socket pair to a real device: raw ones, with any header,
 * payload and descriptors, and shorthand for the good ones, of which any field may be wrong, so
 * that rings do start. In between it writes guest memory, lets a worker take bursts, sends the
 * guest frames, and truncates the files behind its memory. When it hangs up, every descriptor and
 * every mapping has to be gone.
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
#include "fuzz.h"
#include "vhost_dev.h"
#include "vhost_signal.h"
#include "vhost_wire.h"

#define MAX_OPS   64
#define PAIRS     2
#define N_RINGS   (2 * PAIRS)
#define N_MEMS    3
#define MEM_SIZE  (64u << 10) /* of the file that good messages share */
#define RING_SPAN 0x1000u     /* of guest memory per ring; buffers come after the rings */
#define BUFFERS   (N_RINGS * RING_SPAN)
#define GPA       0x40000000ull
#define UVA       0x7f1200000000ull

enum fd_kind {
	FD_EVENT,
	FD_EVENT_FULL, /* a write would block */
	FD_MEM,
	FD_MEM_PAGE = FD_MEM + 1,
	FD_MEM_ODD = FD_MEM + 2,
	FD_PIPE,
	FD_SOCKET,
	FD_NULL,
	FD_FOLDER,
	N_FDS
};

static int fds[N_FDS];
static const uint32_t mem_sizes[N_MEMS] = {MEM_SIZE, 4096, 10000};
static struct fake_path *fp;
static struct vhost_dev *dev;
static struct port_rxset *own_rxset; /* port 0's, as fake_path made it */
static struct port_rxset *rxset;     /* of the rings that run now */
static int fe = -1;

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

static void owner_text(void *owner, const char *text)
{
	(void)owner;
	fuzz_promise(!strchr(text, '\n') && strlen(text) < 512);
}

static const struct vhost_dev_ops owner_ops = {
	.quiesce = owner_quiesce,
	.rings_changed = owner_changed,
	.info = owner_text,
	.warn = owner_text,
	.refused = owner_text,
};

/* ---- set-up ---- */

static void rig_new(void)
{
	struct vhost_dev_config config = {
		.features = vhost_dev_default_features(),
		.protocol_features = vhost_dev_default_protocol_features(),
		.max_queue_pairs = PAIRS,
		.max_mtu = 9000,
	};
	uint64_t full = UINT64_MAX - 1;
	int pair[2];

	fds[FD_EVENT] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	fds[FD_EVENT_FULL] = eventfd(0, EFD_CLOEXEC);
	fuzz_promise(write(fds[FD_EVENT_FULL], &full, sizeof(full)) == sizeof(full));
	for (int i = 0; i < N_MEMS; i++)
		fds[FD_MEM + i] = memfd_create("guest", MFD_CLOEXEC);
	fuzz_promise(pipe2(pair, O_CLOEXEC) == 0);
	fds[FD_PIPE] = pair[0];
	fds[FD_SOCKET] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	fds[FD_NULL] = open("/dev/null", O_RDWR | O_CLOEXEC);
	fds[FD_FOLDER] = open("/", O_RDONLY | O_CLOEXEC);
	for (int i = 0; i < N_FDS; i++)
		fuzz_promise(fds[i] >= 0);
	fp = fp_new(CONF_NIC_INTERNAL, NULL);
	own_rxset = atomic_load(&fp->ports[0].port.rxset);
	rxset = calloc(1, sizeof(*rxset) + PAIRS * sizeof(rxset->vq[0]));
	fuzz_promise(rxset);
	atomic_store(&fp->ports[0].port.rxset, rxset);
	free(fp->ports[0].port.queues);
	fp->ports[0].port.queues =
		aligned_alloc(CACHE_LINE, N_RINGS * sizeof(*fp->ports[0].port.queues));
	fuzz_promise(fp->ports[0].port.queues);
	fp->ports[0].port.flows = calloc(1, sizeof(*fp->ports[0].port.flows));
	fuzz_promise(fp->ports[0].port.flows);
	memset(fp->ports[0].port.queues, 0, N_RINGS * sizeof(*fp->ports[0].port.queues));
	fuzz_promise(vhost_dev_new(&config, &owner_ops, NULL, &dev) == 0);
	(void)vhost_signal(-1); /* its descriptor is the process's, for good */
}

static void rig_reset(void)
{
	int pair[2];

	/* Small again, so that what an earlier input wrote is gone. */
	for (int i = 0; i < N_MEMS; i++)
		fuzz_promise(ftruncate(fds[FD_MEM + i], 0) == 0 &&
		             ftruncate(fds[FD_MEM + i], mem_sizes[i]) == 0);
	fuzz_promise(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
	fe = pair[0];
	fuzz_promise(vhost_dev_attach(dev, pair[1]) == 0);
}

static void hang_up(void)
{
	if (fe >= 0)
		close(fe);
	fe = -1;
	vhost_dev_detach(dev);
}

/* ---- messages ---- */

static void send_bytes(const void *bytes, uint32_t n, const int *send_fds, uint32_t n_fds)
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
		memcpy(CMSG_DATA(&control.align), send_fds, sizeof(int) * n_fds);
	}
	(void)!sendmsg(fe, &mh, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static uint32_t take_fds(struct fuzz_in *in, int out[16])
{
	uint8_t n = fuzz_u8(in);

	n = n < 0xf0 ? n % 4 : n & 15;
	for (uint32_t i = 0; i < n; i++)
		out[i] = fds[fuzz_u8(in) % N_FDS];
	return n;
}

static void send_message(uint32_t id, uint32_t flags, const void *payload, uint32_t size,
                         const int *send_fds, uint32_t n_fds)
{
	uint8_t bytes[sizeof(struct vhost_msg_hdr) + 600];
	struct vhost_msg_hdr hdr = {.id = id, .flags = VHOST_HDR_VERSION | flags, .size = size};

	memcpy(bytes, &hdr, sizeof(hdr));
	if (size)
		memcpy(bytes + sizeof(hdr), payload, size);
	send_bytes(bytes, (uint32_t)sizeof(hdr) + size, send_fds, n_fds);
}

static void op_raw(struct fuzz_in *in)
{
	uint8_t bytes[sizeof(struct vhost_msg_hdr) + 600];
	uint8_t id = fuzz_u8(in), flags = fuzz_u8(in);
	uint32_t n = fuzz_u8(in);
	struct vhost_msg_hdr hdr = {.id = id % (VHOST_MSG_N_IDS + 2), .flags = flags & 0x0f};
	int send_fds[16];
	uint32_t n_fds = take_fds(in, send_fds);

	if (flags & 0x80)
		n = min_u32(n * 4, 600);
	hdr.size = flags & 0x40 ? fuzz_u32(in) : n;
	if (flags & 0x20)
		hdr.flags = VHOST_HDR_VERSION | VHOST_HDR_NEED_REPLY;
	memcpy(bytes, &hdr, sizeof(hdr));
	fuzz_bytes(in, bytes + sizeof(hdr), n);
	/* A tail that never comes, or comes with the next message */
	n += sizeof(hdr);
	send_bytes(bytes, flags & 0x10 ? n / 2 : n, send_fds, n_fds);
}

/* ---- good messages, as far as the input leaves them so ---- */

/* Words of a good payload that the input wants otherwise: a count, then place and value. */
static void spoil(struct fuzz_in *in, void *payload, uint32_t size)
{
	uint8_t n = fuzz_u8(in);

	if ((n & 0xf0) || !size) /* mostly none */
		return;
	for (n &= 3; n > 0; n--) {
		uint32_t at = fuzz_u8(in) % size;
		uint64_t v = fuzz_u64(in);

		memcpy((uint8_t *)payload + at, &v, min_u32(sizeof(v), size - at));
	}
}

static void good(struct fuzz_in *in, uint32_t id, void *payload, uint32_t size, int fd)
{
	uint8_t how = fuzz_u8(in);

	spoil(in, payload, size);
	if (how == 0xff)
		fd = fds[fuzz_u8(in) % N_FDS];
	send_message(id, how & 1 ? VHOST_HDR_NEED_REPLY : 0, payload, size, &fd, fd >= 0);
}

static void good_u64(struct fuzz_in *in, uint32_t id, uint64_t v, int fd)
{
	good(in, id, &v, sizeof(v), fd);
}

static void good_state(struct fuzz_in *in, uint32_t id, uint32_t ring, uint32_t num)
{
	struct vhost_vring_state s = {.index = ring, .num = num};

	good(in, id, &s, sizeof(s), -1);
}

static void good_memory(struct fuzz_in *in)
{
	uint8_t how = fuzz_u8(in);
	struct vhost_region_desc d = {.gpa = GPA, .size = MEM_SIZE, .uva = UVA};
	struct vhost_msg_mem_region region = {.region = d};
	struct {
		uint32_t n, padding;
		struct vhost_region_desc d;
	} table = {.n = 1, .d = d};

	if (how & 1) /* a second region besides */
		region.region = (struct vhost_region_desc){
			.gpa = GPA + MEM_SIZE, .size = 9999, .uva = UVA + MEM_SIZE};
	if (how & 4)
		good(in, VHOST_MSG_SET_MEM_TABLE, &table, sizeof(table), fds[FD_MEM]);
	else
		good(in, how & 2 ? VHOST_MSG_REM_MEM_REG : VHOST_MSG_ADD_MEM_REG, &region,
		     sizeof(region), how & 2 ? -1 : fds[how & 1 ? FD_MEM_ODD : FD_MEM]);
}

static void good_negotiate(struct fuzz_in *in)
{
	uint64_t without = fuzz_u8(in) ? 0 : fuzz_u64(in);

	good(in, VHOST_MSG_SET_OWNER, NULL, 0, -1);
	good_u64(in, VHOST_MSG_SET_PROTOCOL_FEATURES,
	         vhost_dev_default_protocol_features() & ~(without >> 32), -1);
	good_u64(in, VHOST_MSG_SET_FEATURES, vhost_dev_default_features() & ~without, -1);
}

static void good_addr(struct fuzz_in *in, uint32_t ring)
{
	uint64_t at = UVA + (uint64_t)ring * RING_SPAN;
	struct vhost_vring_addr a = {
		.index = ring,
		.desc_user_addr = at,
		.avail_user_addr = at + 0x400,
		.used_user_addr = at + 0x800,
	};

	good(in, VHOST_MSG_SET_VRING_ADDR, &a, sizeof(a), -1);
}

/* Everything that makes a ring run, with a byte of the input behind each field */
static void good_ring(struct fuzz_in *in)
{
	uint8_t ring = fuzz_u8(in) % N_RINGS, parts = fuzz_u8(in);

	if (!(parts & 1))
		good_state(in, VHOST_MSG_SET_VRING_NUM, ring, 1u << fuzz_u8(in) % 7);
	if (!(parts & 2))
		good_state(in, VHOST_MSG_SET_VRING_BASE, ring, fuzz_u8(in) % 4 * 0x5555);
	if (!(parts & 4))
		good_addr(in, ring);
	if (!(parts & 8))
		good_u64(in, VHOST_MSG_SET_VRING_CALL, ring,
		         fds[parts & 0x80 ? FD_EVENT_FULL : FD_EVENT]);
	if (!(parts & 16))
		good_u64(in, VHOST_MSG_SET_VRING_ERR, ring, fds[FD_EVENT]);
	if (!(parts & 32))
		good_u64(in, VHOST_MSG_SET_VRING_KICK, ring, fds[FD_EVENT]);
	if (!(parts & 64))
		good_state(in, VHOST_MSG_SET_VRING_ENABLE, ring, 1);
}

/* ---- guest and worker ---- */

/* Writes that a front end's own mapping allows: it may have truncated the file. */
static void guest_write(uint32_t at, const void *bytes, uint32_t n)
{
	(void)!pwrite(fds[FD_MEM], bytes, n, at);
}

/* One buffer in a ring: a descriptor, an avail entry, the index. */
static void op_post(struct fuzz_in *in)
{
	uint8_t ring = fuzz_u8(in) % N_RINGS, i = fuzz_u8(in) % 64, flags = fuzz_u8(in);
	uint64_t addr = GPA + BUFFERS + fuzz_u8(in) * 64u;
	uint32_t base = ring * RING_SPAN, len = fuzz_u16(in);
	struct vring_desc d = {
		.addr = addr, .len = len, .flags = flags & 7, .next = (uint16_t)(flags >> 3)};
	uint16_t idx = fuzz_u16(in), head = i;

	spoil(in, &d, sizeof(d));
	guest_write(base + i * 16u, &d, sizeof(d));
	guest_write(base + 0x400 + 4 + 2u * (idx % 64), &head, sizeof(head));
	idx++;
	guest_write(base + 0x400 + 2, &idx, sizeof(idx));
}

static void op_poke(struct fuzz_in *in)
{
	uint32_t at = fuzz_u16(in);
	uint8_t bytes[64], n = fuzz_u8(in) % 64;

	fuzz_bytes(in, bytes, n);
	guest_write(at, bytes, n);
}

static void op_frame(struct fuzz_in *in)
{
	uint8_t frame[12 + 64] = {0}, to = fuzz_u8(in);

	fp_frame(frame + 12, 64, to & 8 ? 0xffffffffffff : fp->ports[to % FP_PORTS].mac,
	         fp->ports[0].mac, to);
	guest_write(BUFFERS + fuzz_u8(in) * 64u, frame, sizeof(frame));
}

/* What workers do: each transmit ring that runs, then frames for the guest. */
static void op_work(void)
{
	struct fp_port *p = &fp->ports[0];

	for (uint16_t i = 1; i < N_RINGS; i += 2) {
		struct fwd_guest_source src = {.port = &p->port,
		                               .vq = vhost_dev_vq(dev, i),
		                               .pq = &p->port.queues[i],
		                               .nic_counters = fp->counters};

		fuzz_promise(fwd_from_guest(fp->fwd, &src) <= FWD_BURST);
		fwd_flush_uplinks(fp->fwd);
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
	uint8_t which = fuzz_u8(in);

	(void)!ftruncate(fds[FD_MEM + which % N_MEMS], (off_t)(fuzz_u8(in) * 1024));
}

/* ---- the device's turn ---- */

/* What it answers is well-formed; descriptors that come with an answer are given back. */
static void drain(void)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * 16)];
	} control;
	uint8_t bytes[2048];
	ssize_t n;

	do {
		struct iovec iov = {bytes, sizeof(bytes)};
		struct msghdr mh = {.msg_iov = &iov,
		                    .msg_iovlen = 1,
		                    .msg_control = control.bytes,
		                    .msg_controllen = sizeof(control)};

		n = recvmsg(fe, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		for (struct cmsghdr *c = n < 0 ? NULL : CMSG_FIRSTHDR(&mh); c;
		     c = CMSG_NXTHDR(&mh, c))
			for (size_t i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++) {
				int fd;

				memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
				close(fd);
			}
	} while (n > 0);
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

static bool step(struct fuzz_in *in)
{
	uint8_t op = fuzz_u8(in);

	switch (op % 16) {
	case 0:
	case 1:
		op_raw(in);
		break;
	case 2:
		good_negotiate(in);
		break;
	case 3:
		good_memory(in);
		break;
	case 4:
	case 5:
		good_ring(in);
		break;
	case 6:
		good_state(in, VHOST_MSG_GET_VRING_BASE, fuzz_u8(in) % N_RINGS, 0);
		break;
	case 7:
		good(in, fuzz_u8(in) % VHOST_MSG_N_IDS, NULL, 0, -1);
		break;
	case 8:
	case 9:
		op_post(in);
		return true;
	case 10:
		op_poke(in);
		return true;
	case 11:
		op_frame(in);
		return true;
	case 12:
		op_to_guest(in);
		return true;
	case 13:
		op_truncate(in);
		return true;
	default:
		op_work();
		return true;
	}
	/* Now, or together with what comes next */
	return op & 0x80 || receive();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = {data, data + size};
	bool goes_on = true;

	if (!fp)
		rig_new();
	fuzz_fds_mark();
	rig_reset();
	for (uint32_t i = 0; i < MAX_OPS && fuzz_left(&in) && goes_on; i++)
		goes_on = step(&in);
	if (goes_on && receive())
		op_work();
	hang_up();
	fuzz_promise(vhost_dev_get_state(dev) == VHOST_DEV_DISCONNECTED);
	fuzz_promise(rxset->n == 0);
	fuzz_promise(fuzz_mappings() == 0);
	fuzz_fds_check();
	return 0;
}
