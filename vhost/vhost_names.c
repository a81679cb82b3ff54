/* SPDX-License-Identifier: BSD-2-Clause */
/* vhost_names.c - feature bits in words */
#include <stdio.h>
#include "vhost_dev.h"
#include "vhost_wire.h"

static const char *const feature_names[64] = {
	[VIRTIO_NET_F_CSUM] = "CSUM",
	[VIRTIO_NET_F_GUEST_CSUM] = "GUEST_CSUM",
	[VIRTIO_NET_F_CTRL_GUEST_OFFLOADS] = "CTRL_GUEST_OFFLOADS",
	[VIRTIO_NET_F_MTU] = "MTU",
	[VIRTIO_NET_F_MAC] = "MAC",
	[VIRTIO_NET_F_GSO] = "GSO",
	[VIRTIO_NET_F_GUEST_TSO4] = "GUEST_TSO4",
	[VIRTIO_NET_F_GUEST_TSO6] = "GUEST_TSO6",
	[VIRTIO_NET_F_GUEST_ECN] = "GUEST_ECN",
	[VIRTIO_NET_F_GUEST_UFO] = "GUEST_UFO",
	[VIRTIO_NET_F_HOST_TSO4] = "HOST_TSO4",
	[VIRTIO_NET_F_HOST_TSO6] = "HOST_TSO6",
	[VIRTIO_NET_F_HOST_ECN] = "HOST_ECN",
	[VIRTIO_NET_F_HOST_UFO] = "HOST_UFO",
	[VIRTIO_NET_F_MRG_RXBUF] = "MRG_RXBUF",
	[VIRTIO_NET_F_STATUS] = "STATUS",
	[VIRTIO_NET_F_CTRL_VQ] = "CTRL_VQ",
	[VIRTIO_NET_F_CTRL_RX] = "CTRL_RX",
	[VIRTIO_NET_F_CTRL_VLAN] = "CTRL_VLAN",
	[VIRTIO_NET_F_CTRL_RX_EXTRA] = "CTRL_RX_EXTRA",
	[VIRTIO_NET_F_GUEST_ANNOUNCE] = "GUEST_ANNOUNCE",
	[VIRTIO_NET_F_MQ] = "MQ",
	[VIRTIO_NET_F_CTRL_MAC_ADDR] = "CTRL_MAC_ADDR",
	[VIRTIO_F_NOTIFY_ON_EMPTY] = "NOTIFY_ON_EMPTY",
	[26] = "LOG_ALL", /* VHOST_F_LOG_ALL */
	[VIRTIO_F_ANY_LAYOUT] = "ANY_LAYOUT",
	[VIRTIO_RING_F_INDIRECT_DESC] = "INDIRECT_DESC",
	[VIRTIO_RING_F_EVENT_IDX] = "EVENT_IDX",
	[VHOST_F_PROTOCOL_FEATURES] = "PROTOCOL_FEATURES",
	[VIRTIO_F_VERSION_1] = "VERSION_1",
	[VIRTIO_F_ACCESS_PLATFORM] = "ACCESS_PLATFORM",
	[VIRTIO_F_RING_PACKED] = "RING_PACKED",
	[VIRTIO_F_IN_ORDER] = "IN_ORDER",
	[VIRTIO_F_ORDER_PLATFORM] = "ORDER_PLATFORM",
	[VIRTIO_F_SR_IOV] = "SR_IOV",
	[38] = "NOTIFICATION_DATA",
	[VHOST_F_RING_RESET] = "RING_RESET",
	[54] = "GUEST_USO4",
	[55] = "GUEST_USO6",
	[56] = "HOST_USO",
	[VIRTIO_NET_F_HASH_REPORT] = "HASH_REPORT",
	[VIRTIO_NET_F_RSS] = "RSS",
	[VIRTIO_NET_F_RSC_EXT] = "RSC_EXT",
	[VIRTIO_NET_F_STANDBY] = "STANDBY",
	[VIRTIO_NET_F_SPEED_DUPLEX] = "SPEED_DUPLEX",
};
static_assert(ARRAY_SIZE(feature_names) == 64, "one word of features");

static const char *const protocol_names[] = {
	[VHOST_PROTO_MQ] = "MQ",
	[VHOST_PROTO_LOG_SHMFD] = "LOG_SHMFD",
	[VHOST_PROTO_RARP] = "RARP",
	[VHOST_PROTO_REPLY_ACK] = "REPLY_ACK",
	[VHOST_PROTO_NET_MTU] = "NET_MTU",
	[VHOST_PROTO_BACKEND_REQ] = "BACKEND_REQ",
	[VHOST_PROTO_CROSS_ENDIAN] = "CROSS_ENDIAN",
	[VHOST_PROTO_CRYPTO_SESSION] = "CRYPTO_SESSION",
	[VHOST_PROTO_PAGEFAULT] = "PAGEFAULT",
	[VHOST_PROTO_CONFIG] = "CONFIG",
	[VHOST_PROTO_BACKEND_SEND_FD] = "BACKEND_SEND_FD",
	[VHOST_PROTO_HOST_NOTIFIER] = "HOST_NOTIFIER",
	[VHOST_PROTO_INFLIGHT_SHMFD] = "INFLIGHT_SHMFD",
	[VHOST_PROTO_RESET_DEVICE] = "RESET_DEVICE",
	[VHOST_PROTO_INBAND_NOTIFICATIONS] = "INBAND_NOTIFICATIONS",
	[VHOST_PROTO_CONFIGURE_MEM_SLOTS] = "CONFIGURE_MEM_SLOTS",
	[VHOST_PROTO_STATUS] = "STATUS",
	[VHOST_PROTO_XEN_MMAP] = "XEN_MMAP",
	[VHOST_PROTO_SHARED_OBJECT] = "SHARED_OBJECT",
	[VHOST_PROTO_DEVICE_STATE] = "DEVICE_STATE",
	[VHOST_PROTO_GET_VRING_BASE_INFLIGHT] = "GET_VRING_BASE_INFLIGHT",
	[VHOST_PROTO_GPA_ADDRESSES] = "GPA_ADDRESSES",
	[VHOST_PROTO_SHMEM] = "SHMEM",
};
static_assert(ARRAY_SIZE(protocol_names) == VHOST_PROTO_N_BITS, "a protocol bit without a name");

const char *vhost_feature_name(unsigned int bit)
{
	return bit < ARRAY_SIZE(feature_names) ? feature_names[bit] : NULL;
}

const char *vhost_protocol_feature_name(unsigned int bit)
{
	return bit < ARRAY_SIZE(protocol_names) ? protocol_names[bit] : NULL;
}

void vhost_bits_names(uint64_t bits, const char *(*name_of)(unsigned int bit), char *text,
                      size_t size)
{
	size_t at = 0;

	text[0] = '\0';
	for (unsigned int bit = 0; bit < 64; bit++) {
		const char *name = name_of(bit);
		int n;

		if (!(bits & VHOST_BIT(bit)) || at >= size)
			continue;
		if (name)
			n = snprintf(text + at, size - at, "%s%s", at ? " " : "", name);
		else
			n = snprintf(text + at, size - at, "%sbit-%u", at ? " " : "", bit);
		at += (size_t)n;
	}
}
