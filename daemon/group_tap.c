// SPDX-License-Identifier: BSD-2-Clause
/*
 * group_tap.c - multicast and broadcast frames of a device, through a packet socket's shared ring
 *
 * Theory of operation
 * -------------------
 * One PACKET_RX_RING (TPACKET_V2): slots of one size in memory that we share with the kernel. A
 * slot's tp_status says whose it is: TP_STATUS_KERNEL, or TP_STATUS_USER and then we read it. The
 * acquire of tp_status in group_tap_peek() pairs with the kernel's write barrier before it sets it;
 * the release in group_tap_release() with the kernel's read before it fills the slot again.
 *
 * Order of setup: the socket is made with protocol 0 and receives nothing; filter, ring and options
 * come next; bind() with ETH_P_ALL is last. So no frame arrives that the filter has not seen.
 *
 * PACKET_VNET_HDR puts a struct virtio_net_hdr in front of each frame. It tells where a checksum is
 * unfinished, which happens when the sender is a stack of this host (veth). The kernel takes VLAN
 * tags out of the frame before a packet socket sees it; the tag is in the slot's header.
 *
 * The filter looks at one bit, the group bit of the destination address. Frames that this host
 * sends out of the device are not delivered (PACKET_IGNORE_OUTGOING): guests get the frames of the
 * daemon from the daemon, and what the host's stack sends goes to the wire alone, as on a NIC.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "group_tap.h"

#ifndef PACKET_IGNORE_OUTGOING
#define PACKET_IGNORE_OUTGOING 23
#endif

#define TAP_SLOTS      256u
#define TAP_BLOCK_SIZE 65536u
#define TAP_VLAN_ID    0x0fffu
#define TAP_FRAME_MAX  (TAP_BLOCK_SIZE / 2)

struct group_tap {
	int fd;
	uint32_t frame_max; /* 0: the tap only sends */
	uint8_t *ring;
	size_t ring_size;
	uint32_t slot_size;
	uint32_t n_slots;
	uint32_t next; /* worker: slot to look at */
	_Atomic uint64_t
		too_long;      /* worker: frames that did not fit or cannot be told to a guest */
	_Atomic uint64_t lost; /* kernel: ring full; added up by group_tap_dropped() */
};

/* Where a frame starts in its slot, see tpacket_rcv(): header, address, link header, vnet header.
 */
#define TAP_FRAME_OFFSET (TPACKET_ALIGN(TPACKET2_HDRLEN + 16) + sizeof(struct virtio_net_hdr) + 16)

static struct tpacket2_hdr *tap_slot(const struct group_tap *tap, uint32_t i)
{
	return (struct tpacket2_hdr *)(void *)(tap->ring + (size_t)i * tap->slot_size);
}

static uint32_t tap_status(const struct tpacket2_hdr *slot)
{
	return __atomic_load_n(&slot->tp_status, __ATOMIC_ACQUIRE);
}

static int tap_set(int fd, int option, int value)
{
	return setsockopt(fd, SOL_PACKET, option, &value, sizeof(value)) < 0 ? -errno : 0;
}

/* Accept whole frames whose destination has the group bit. */
static int tap_set_filter(int fd)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 1, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, 0x40000),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	const struct sock_fprog prog = {.len = ARRAY_SIZE(code), .filter = code};

	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog)) < 0 ? -errno : 0;
}

static int tap_map_ring(struct group_tap *tap)
{
	struct tpacket_req req = {.tp_block_size = TAP_BLOCK_SIZE};

	tap->slot_size = 2048;
	while (tap->slot_size < tap->frame_max + TAP_FRAME_OFFSET)
		tap->slot_size *= 2;
	req.tp_frame_size = tap->slot_size;
	req.tp_block_nr = TAP_SLOTS / (TAP_BLOCK_SIZE / tap->slot_size);
	req.tp_frame_nr = TAP_SLOTS;
	if (setsockopt(tap->fd, SOL_PACKET, PACKET_RX_RING, &req, sizeof(req)) < 0)
		return -errno;
	tap->n_slots = req.tp_frame_nr;
	tap->ring_size = (size_t)req.tp_block_nr * TAP_BLOCK_SIZE;
	tap->ring = mmap(NULL, tap->ring_size, PROT_READ | PROT_WRITE, MAP_SHARED, tap->fd, 0);
	return tap->ring == MAP_FAILED ? -errno : 0;
}

static int tap_setup_receive(struct group_tap *tap)
{
	int err = tap_set_filter(tap->fd);

	if (!err)
		err = tap_set(tap->fd, PACKET_VERSION, TPACKET_V2);
	if (!err)
		err = tap_set(tap->fd, PACKET_VNET_HDR, 1);
	if (!err)
		err = tap_set(tap->fd, PACKET_IGNORE_OUTGOING, 1);
	if (!err)
		err = tap_map_ring(tap);
	return err;
}

int group_tap_open(uint32_t ifindex, uint32_t frame_max, struct group_tap **ret_tap)
{
	struct sockaddr_ll addr = {
		.sll_family = AF_PACKET,
		.sll_protocol = frame_max ? htons(ETH_P_ALL) : 0,
		.sll_ifindex = (int)ifindex,
	};
	struct group_tap *tap;
	int err = 0;

	if (frame_max > TAP_FRAME_MAX - TAP_FRAME_OFFSET)
		return -EINVAL;
	tap = calloc(1, sizeof(*tap));
	if (!tap)
		return -ENOMEM;
	tap->ring = MAP_FAILED;
	tap->frame_max = frame_max;
	tap->fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (tap->fd < 0)
		err = -errno;
	if (!err && frame_max)
		err = tap_setup_receive(tap);
	if (!err && bind(tap->fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0)
		err = -errno;
	if (err < 0) {
		group_tap_close(tap);
		return err;
	}
	*ret_tap = tap;
	return 0;
}

void group_tap_close(struct group_tap *tap)
{
	if (!tap)
		return;
	if (tap->ring != MAP_FAILED)
		(void)munmap(tap->ring, tap->ring_size);
	if (tap->fd >= 0)
		close(tap->fd);
	free(tap);
}

int group_tap_fd(const struct group_tap *tap)
{
	return tap->fd;
}

/* Fill in @ret_frame from a slot that is ours. Return: false if no guest can be given the frame. */
static bool tap_read_slot(const struct group_tap *tap, struct tpacket2_hdr *slot, uint32_t status,
                          struct group_frame *ret_frame)
{
	uint8_t *data = (uint8_t *)slot + slot->tp_mac;
	struct virtio_net_hdr vnet;

	if (slot->tp_len != slot->tp_snaplen || slot->tp_len > tap->frame_max ||
	    slot->tp_len < ETH_HLEN)
		return false;
	memcpy(&vnet, data - sizeof(vnet), sizeof(vnet));
	/* A local sender's segmentation request: larger than the wire allows, with no one to cut
	 * it. */
	if (vnet.gso_type != VIRTIO_NET_HDR_GSO_NONE)
		return false;
	*ret_frame = (struct group_frame){.data = data, .len = slot->tp_len};
	if (status & TP_STATUS_VLAN_VALID) {
		/* 802.1ad is for no guest, as in the steering program. */
		if ((status & TP_STATUS_VLAN_TPID_VALID) && slot->tp_vlan_tpid != ETH_P_8021Q)
			return false;
		ret_frame->vlan = slot->tp_vlan_tci & TAP_VLAN_ID;
	}
	if (vnet.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) {
		ret_frame->partial_csum = true;
		ret_frame->csum_start = vnet.csum_start;
		ret_frame->csum_offset = vnet.csum_offset;
	}
	return true;
}

bool group_tap_peek(struct group_tap *tap, struct group_frame *ret_frame)
{
	/* A full turn over the ring, at most: slots that no guest can be given are handed back. */
	for (uint32_t i = 0; i < tap->n_slots; i++) {
		struct tpacket2_hdr *slot = tap_slot(tap, tap->next);
		uint32_t status = tap_status(slot);

		if (!(status & TP_STATUS_USER))
			return false;
		if (tap_read_slot(tap, slot, status, ret_frame))
			return true;
		counter_add(&tap->too_long, 1);
		group_tap_release(tap);
	}
	return false;
}

void group_tap_release(struct group_tap *tap)
{
	__atomic_store_n(&tap_slot(tap, tap->next)->tp_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
	tap->next = tap->next + 1 == tap->n_slots ? 0 : tap->next + 1;
}

int group_tap_send(struct group_tap *tap, const uint8_t *frame, uint32_t len)
{
	struct virtio_net_hdr none = {0};
	struct iovec iov[2] = {
		{.iov_base = &none, .iov_len = sizeof(none)},
		{.iov_base = (void *)(uintptr_t)frame, .iov_len = len},
	};
	/* A socket with PACKET_VNET_HDR expects that header from its sender, too. */
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};

	if (!tap->frame_max)
		msg = (struct msghdr){.msg_iov = &iov[1], .msg_iovlen = 1};
	return sendmsg(tap->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

uint64_t group_tap_dropped(struct group_tap *tap)
{
	struct tpacket_stats stats;
	socklen_t len = sizeof(stats);

	/* Reading resets the kernel's count, atomically. */
	if (tap->frame_max && !getsockopt(tap->fd, SOL_PACKET, PACKET_STATISTICS, &stats, &len))
		atomic_fetch_add_explicit(&tap->lost, stats.tp_drops, memory_order_relaxed);
	return counter_get(&tap->lost) + counter_get(&tap->too_long);
}
