/* SPDX-License-Identifier: BSD-2-Clause */
/* fuzz_message_good.c - what an honest front end says, with a byte of the input behind each field
 */
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include "fuzz_message.h"
#include "vhost_dev.h"
#include "vhost_inflight.h"

#define MAX_FAULTS  8 /* served at a time */
#define MAX_ANSWERS 8

static void send_message(uint32_t id, uint32_t flags, const void *payload, uint32_t size,
                         const int *fds, uint32_t n_fds)
{
	uint8_t bytes[sizeof(struct vhost_msg_hdr) + sizeof(union vhost_msg_payload)];
	struct vhost_msg_hdr hdr = {.id = id, .flags = VHOST_HDR_VERSION | flags, .size = size};

	memcpy(bytes, &hdr, sizeof(hdr));
	if (size)
		memcpy(bytes + sizeof(hdr), payload, size);
	fe_send(bytes, (uint32_t)sizeof(hdr) + size, fds, n_fds);
}

/* A count, then place and value of each. Mostly none. */
void good_spoil(struct fuzz_in *in, void *bytes, uint32_t size)
{
	uint8_t n = fuzz_u8(in);

	if ((n & 0xf0) || !size)
		return;
	for (n &= 3; n > 0; n--) {
		uint32_t at = fuzz_u8(in) % size;
		uint64_t v = fuzz_u64(in);

		memcpy((uint8_t *)bytes + at, &v, min_u32(sizeof(v), size - at));
	}
}

static void good(struct fuzz_in *in, uint32_t id, void *payload, uint32_t size, int fd)
{
	uint8_t how = fuzz_u8(in);

	good_spoil(in, payload, size);
	if (how == 0xff)
		fd = fe.fds[fuzz_u8(in) % N_FDS];
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

void good_bare(struct fuzz_in *in)
{
	good(in, fuzz_u8(in) % VHOST_MSG_N_IDS, NULL, 0, -1);
}

/* ---- negotiation ---- */

static uint64_t features(void)
{
	uint64_t bits = vhost_dev_default_features();

	if (!fe_is_packed())
		bits &= ~VHOST_BIT(VIRTIO_F_RING_PACKED);
	if (!fe_is_behind_iommu())
		bits &= ~VHOST_BIT(VIRTIO_F_ACCESS_PLATFORM);
	if (!(fe.setup & SETUP_LOG))
		bits &= ~VHOST_BIT(VHOST_F_LOG_ALL);
	if (fe.setup & SETUP_LEGACY)
		bits &= ~VHOST_BIT(VIRTIO_F_VERSION_1);
	if (fe.setup & SETUP_PLAIN)
		bits &= ~(VHOST_BIT(VIRTIO_RING_F_EVENT_IDX) |
		          VHOST_BIT(VIRTIO_RING_F_INDIRECT_DESC) |
		          VHOST_BIT(VIRTIO_NET_F_MRG_RXBUF) | VHOST_BIT(VHOST_F_RING_RESET));
	return bits;
}

static uint64_t protocol_features(void)
{
	uint64_t bits = vhost_dev_default_protocol_features();

	if ((fe.setup & SETUP_KIND) != SETUP_POSTCOPY)
		bits &= ~VHOST_BIT(VHOST_PROTO_PAGEFAULT);
	if (!(fe.setup & SETUP_GPA))
		bits &= ~VHOST_BIT(VHOST_PROTO_GPA_ADDRESSES);
	return bits;
}

void good_negotiate(struct fuzz_in *in)
{
	uint64_t without = fuzz_u8(in) ? 0 : fuzz_u64(in);

	good(in, VHOST_MSG_SET_OWNER, NULL, 0, -1);
	good_u64(in, VHOST_MSG_SET_PROTOCOL_FEATURES, protocol_features() & ~(without >> 32), -1);
	good_u64(in, VHOST_MSG_SET_FEATURES, features() & ~without, -1);
}

/* Again, with some the other way round: a migration switches its log so, on running rings. */
void good_features(struct fuzz_in *in)
{
	static const uint8_t bits[] = {
		VHOST_F_LOG_ALL,          VIRTIO_RING_F_EVENT_IDX,   VIRTIO_RING_F_INDIRECT_DESC,
		VIRTIO_F_ACCESS_PLATFORM, VHOST_F_PROTOCOL_FEATURES, VIRTIO_F_RING_PACKED,
		VIRTIO_F_VERSION_1,       VHOST_F_RING_RESET};
	uint8_t flip = fuzz_u8(in);
	uint64_t v = features();

	for (uint32_t i = 0; i < ARRAY_SIZE(bits); i++)
		if (flip >> i & 1)
			v ^= VHOST_BIT(bits[i]);
	good_u64(in, VHOST_MSG_SET_FEATURES, v, -1);
}

/* ---- memory ---- */

void good_memory(struct fuzz_in *in)
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
		good(in, VHOST_MSG_SET_MEM_TABLE, &table, sizeof(table), fe.fds[FD_MEM]);
	else
		good(in, how & 2 ? VHOST_MSG_REM_MEM_REG : VHOST_MSG_ADD_MEM_REG, &region,
		     sizeof(region), how & 2 ? -1 : fe.fds[how & 1 ? FD_MEM_ODD : FD_MEM]);
}

/* ---- rings ---- */

static uint32_t ring_size(struct fuzz_in *in)
{
	uint8_t n = fuzz_u8(in);

	return fe_is_packed() ? 1u + n % 64 : 1u << n % 7;
}

/* Where a ring goes on: where it stopped, or a place of the input's. */
static uint32_t ring_base(struct fuzz_in *in)
{
	static const uint32_t packed[] = {VHOST_KEPT_FRESH, 0, 0x80018001, 0x00018001};
	uint8_t which = fuzz_u8(in);

	if (which & 4)
		return fe.base;
	return fe_is_packed() ? packed[which & 3] : (which & 3) * 0x5555u;
}

/* As QEMU sends it, with logging on again and again */
static void good_addr(struct fuzz_in *in, uint32_t ring, bool log)
{
	uint64_t off = (uint64_t)ring * RING_SPAN;
	uint64_t at = (fe.setup & SETUP_GPA ? GPA : UVA) + off;
	struct vhost_vring_addr a = {
		.index = ring,
		.flags = log ? 1u << VHOST_VRING_F_LOG : 0,
		.desc_user_addr = at,
		.avail_user_addr = at + AVAIL,
		.used_user_addr = at + USED,
		.log_guest_addr = log ? GPA + off + USED : 0,
	};

	good(in, VHOST_MSG_SET_VRING_ADDR, &a, sizeof(a), -1);
}

/* Everything that makes a ring run */
void good_ring(struct fuzz_in *in)
{
	uint8_t ring = fuzz_u8(in) % N_RINGS, parts = fuzz_u8(in);

	if (!(parts & 1))
		good_state(in, VHOST_MSG_SET_VRING_NUM, ring, ring_size(in));
	if (!(parts & 2))
		good_state(in, VHOST_MSG_SET_VRING_BASE, ring, ring_base(in));
	if (!(parts & 4))
		good_addr(in, ring, fe.setup & SETUP_LOG);
	if (!(parts & 8))
		good_u64(in, VHOST_MSG_SET_VRING_CALL, ring,
		         fe.fds[parts & 0x80 ? FD_EVENT_FULL : FD_EVENT]);
	if (!(parts & 16))
		good_u64(in, VHOST_MSG_SET_VRING_ERR, ring, fe.fds[FD_EVENT]);
	if (!(parts & 32))
		good_u64(in, VHOST_MSG_SET_VRING_KICK, ring, fe.fds[FD_EVENT]);
	if (!(parts & 64))
		good_state(in, VHOST_MSG_SET_VRING_ENABLE, ring, 1);
}

/* What comes on running rings */
void good_ring_part(struct fuzz_in *in)
{
	uint8_t ring = fuzz_u8(in) % N_RINGS, what = fuzz_u8(in);

	if (what & 1)
		good_addr(in, ring, what & 2);
	else
		good_state(in, VHOST_MSG_SET_VRING_ENABLE, ring, what >> 1 & 1);
}

void good_stop(struct fuzz_in *in)
{
	good_state(in, VHOST_MSG_GET_VRING_BASE, fuzz_u8(in) % N_RINGS, 0);
}

/* ---- migration ---- */

void good_log(struct fuzz_in *in)
{
	struct vhost_msg_log log = {.mmap_size = 64u << fuzz_u8(in) % 4,
	                            .mmap_offset = fuzz_u8(in) * 8u};

	good(in, VHOST_MSG_SET_LOG_BASE, &log, sizeof(log), fe.fds[FD_MEM_PAGE]);
}

/* SEND_RARP, NET_SET_MTU, SET_STATUS */
void good_net(struct fuzz_in *in)
{
	uint8_t what = fuzz_u8(in);

	switch (what & 3) {
	case 0:
		good_u64(in, VHOST_MSG_SEND_RARP, 0x0000563412005452, -1);
		break;
	case 1:
		good_u64(in, VHOST_MSG_NET_SET_MTU, 1500, -1);
		break;
	default:
		good_u64(in, VHOST_MSG_SET_STATUS, what & 1 ? 15 : 0, -1);
		break;
	}
}

void good_config(struct fuzz_in *in)
{
	struct vhost_msg_config c = {0};
	uint8_t what = fuzz_u8(in);

	c.offset = fuzz_u8(in);
	c.size = fuzz_u8(in) % 32;
	good(in, what & 1 ? VHOST_MSG_SET_CONFIG : VHOST_MSG_GET_CONFIG, &c,
	     (uint32_t)offsetof(struct vhost_msg_config, bytes) + c.size, -1);
}

/* ---- the area that outlives a back end ---- */

void good_get_inflight(struct fuzz_in *in)
{
	struct vhost_msg_inflight m = {.n_queues = fuzz_u8(in) % (N_RINGS + 2),
	                               .queue_size = (uint16_t)ring_size(in)};

	good(in, VHOST_MSG_GET_INFLIGHT_FD, &m, sizeof(m), -1);
}

/* As it came, or as if it were another's */
void good_set_inflight(struct fuzz_in *in)
{
	struct vhost_msg_inflight m = fe.area;

	if (fe.area_fd < 0)
		m = (struct vhost_msg_inflight){
			.size = MEM_SIZE, .n_queues = N_RINGS, .queue_size = 16};
	good(in, VHOST_MSG_SET_INFLIGHT_FD, &m, sizeof(m),
	     fe.area_fd < 0 ? fe.fds[FD_MEM] : fe.area_fd);
}

/* ---- what addresses mean ---- */

/* All of guest memory, at the addresses of rings or of buffers, or one page of it */
void good_iotlb(struct fuzz_in *in)
{
	uint8_t what = fuzz_u8(in), page = fuzz_u8(in) % 32;
	struct vhost_iotlb_msg m = {
		.iova = (what & 1 ? UVA : GPA) + (what & 2 ? page * PAGE : 0),
		.size = what & 2 ? PAGE : MEM_SIZE,
		.uaddr = (fe.setup & SETUP_GPA ? GPA : UVA) + (what & 4 ? page * PAGE : 0),
		.perm = what >> 4 & 3 ? what >> 4 & 3 : VHOST_ACCESS_RW,
		.type = what & 8 ? VHOST_IOTLB_INVALIDATE : VHOST_IOTLB_UPDATE,
	};

	good(in, VHOST_MSG_IOTLB_MSG, &m, sizeof(m), -1);
}

void good_channel(struct fuzz_in *in)
{
	int pair[2];

	fuzz_promise(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
	fe_keep_fd(&fe.channel, pair[0]);
	good(in, VHOST_MSG_SET_BACKEND_REQ_FD, NULL, 0, pair[1]);
	close(pair[1]);
}

/* Questions are well-formed, whatever the guest's addresses are. Each is answered for a page. */
void good_answers(struct fuzz_in *in)
{
	uint8_t how = fuzz_u8(in);
	struct vhost_msg_hdr hdr;
	struct vhost_iotlb_msg m;
	uint8_t bytes[sizeof(hdr) + sizeof(m)];

	for (int i = 0; i < MAX_ANSWERS && fe.channel >= 0; i++) {
		ssize_t n = recv(fe.channel, bytes, sizeof(bytes), 0);

		if (n <= 0)
			return;
		memcpy(&hdr, bytes, sizeof(hdr));
		memcpy(&m, bytes + sizeof(hdr), sizeof(m));
		fuzz_promise(n == sizeof(bytes) && hdr.size == sizeof(m));
		fuzz_promise(hdr.id == VHOST_BACKEND_IOTLB_MSG);
		if (m.type != VHOST_IOTLB_MISS)
			continue;
		m.iova &= ~(uint64_t)(PAGE - 1);
		m.size = PAGE;
		m.uaddr = (fe.setup & SETUP_GPA ? GPA : UVA) + m.iova % MEM_SIZE;
		m.perm = how & 3 ? how & 3 : VHOST_ACCESS_RW;
		m.type = VHOST_IOTLB_UPDATE;
		send_message(VHOST_MSG_IOTLB_MSG, how & 4 ? VHOST_HDR_NEED_REPLY : 0, &m, sizeof(m),
		             NULL, 0);
	}
}

/* ---- post-copy ---- */

void good_postcopy(struct fuzz_in *in)
{
	uint64_t ok = 0;

	switch (fuzz_u8(in) & 7) {
	case 0:
		good(in, VHOST_MSG_POSTCOPY_ADVISE, NULL, 0, -1);
		break;
	case 1:
		good(in, VHOST_MSG_POSTCOPY_LISTEN, NULL, 0, -1);
		break;
	case 2:
		good(in, VHOST_MSG_POSTCOPY_END, NULL, 0, -1);
		break;
	case 3:
		fe_keep_fd(&fe.fault_fd, -1);
		break;
	default: /* "our faults can be served" */
		good(in, VHOST_MSG_SET_MEM_TABLE, &ok, sizeof(ok), -1);
		break;
	}
}

/* Some page or other, none at all, or one that somebody else has provided already */
static void serve_fault(uint64_t addr, uint8_t how)
{
	static uint8_t bytes[PAGE];
	struct uffdio_range range = {.start = addr & ~(uint64_t)(PAGE - 1), .len = PAGE};
	struct uffdio_copy copy = {.dst = range.start, .src = (uintptr_t)bytes, .len = range.len};
	struct uffdio_zeropage zero = {.range = range};
	int err = -1;

	if (how & 1)
		err = ioctl(fe.fault_fd, UFFDIO_COPY, &copy);
	else if (how & 2)
		err = ioctl(fe.fault_fd, UFFDIO_ZEROPAGE, &zero);
	if (err < 0)
		(void)ioctl(fe.fault_fd, UFFDIO_WAKE, &range);
}

void good_pages(struct fuzz_in *in)
{
	uint8_t how = fuzz_u8(in);
	struct pollfd p = {.fd = fe.fault_fd, .events = POLLIN};
	struct uffd_msg m;

	for (int i = 0; i < MAX_FAULTS && fe.fault_fd >= 0; i++) {
		if (poll(&p, 1, 1) <= 0 || read(fe.fault_fd, &m, sizeof(m)) != sizeof(m))
			return;
		fuzz_promise(m.event == UFFD_EVENT_PAGEFAULT);
		serve_fault(m.arg.pagefault.address, how);
	}
}
