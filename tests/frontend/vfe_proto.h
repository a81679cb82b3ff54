/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vfe_proto.h - the words of vhost-user and virtio-net, as the test front end understands them
 *
 * Written from the specifications, on purpose without any header of the daemon: when both sides of
 * a test read the protocol from one file, a mistake in that file can never be seen.
 *
 * Spec: vhost-user ("Message specification"), virtio 1.3 chapters 2.7 (split rings) and 5.1 (net).
 */
#ifndef VFE_PROTO_H
#define VFE_PROTO_H

#include <assert.h>
#include <stdint.h>

/* Requests, front end to back end */
enum {
	VFE_GET_FEATURES = 1,
	VFE_SET_FEATURES = 2,
	VFE_SET_OWNER = 3,
	VFE_RESET_OWNER = 4,
	VFE_SET_MEM_TABLE = 5,
	VFE_SET_LOG_BASE = 6,
	VFE_SET_LOG_FD = 7,
	VFE_SET_VRING_NUM = 8,
	VFE_SET_VRING_ADDR = 9,
	VFE_SET_VRING_BASE = 10,
	VFE_GET_VRING_BASE = 11,
	VFE_SET_VRING_KICK = 12,
	VFE_SET_VRING_CALL = 13,
	VFE_SET_VRING_ERR = 14,
	VFE_GET_PROTOCOL_FEATURES = 15,
	VFE_SET_PROTOCOL_FEATURES = 16,
	VFE_GET_QUEUE_NUM = 17,
	VFE_SET_VRING_ENABLE = 18,
	VFE_SEND_RARP = 19,
	VFE_NET_SET_MTU = 20,
	VFE_SET_BACKEND_REQ_FD = 21,
	VFE_IOTLB_MSG = 22,
	VFE_RESET_DEVICE = 34,
	VFE_GET_MAX_MEM_SLOTS = 36,
	VFE_ADD_MEM_REG = 37,
	VFE_REM_MEM_REG = 38,
	VFE_SET_STATUS = 39,
	VFE_GET_STATUS = 40,
};

/* Header flags: bits 0-1 version, 2 reply, 3 reply wanted */
enum {
	VFE_FLAG_VERSION = 0x1,
	VFE_FLAG_REPLY = 0x4,
	VFE_FLAG_NEED_REPLY = 0x8,
};

#define VFE_BIT(n)      (UINT64_C(1) << (n))
#define VFE_VRING_NO_FD VFE_BIT(8) /* in the payload of KICK, CALL and ERR */

/* Virtio feature bits */
enum {
	VFE_NET_F_CSUM = 0,
	VFE_NET_F_GUEST_CSUM = 1,
	VFE_NET_F_MTU = 3,
	VFE_NET_F_MRG_RXBUF = 15,
	VFE_NET_F_MQ = 22,
	VFE_F_LOG_ALL = 26,
	VFE_F_ANY_LAYOUT = 27,
	VFE_F_INDIRECT_DESC = 28,
	VFE_F_EVENT_IDX = 29,
	VFE_F_PROTOCOL_FEATURES = 30,
	VFE_F_VERSION_1 = 32,
	VFE_F_ACCESS_PLATFORM = 33,
	VFE_F_RING_PACKED = 34,
	VFE_F_IN_ORDER = 35,
};

/* Protocol feature bits */
enum {
	VFE_PF_MQ = 0,
	VFE_PF_REPLY_ACK = 3,
	VFE_PF_NET_MTU = 4,
	VFE_PF_BACKEND_REQ = 5,
	VFE_PF_CONFIGURE_MEM_SLOTS = 15,
	VFE_PF_STATUS = 16,
};

/* Device status bits, virtio 1.3, 2.1 */
enum {
	VFE_S_ACKNOWLEDGE = 1,
	VFE_S_DRIVER = 2,
	VFE_S_DRIVER_OK = 4,
	VFE_S_FEATURES_OK = 8,
};

struct vfe_msg_hdr {
	uint32_t request;
	uint32_t flags;
	uint32_t size; /* bytes of payload that follow */
};
static_assert(sizeof(struct vfe_msg_hdr) == 12, "vhost-user header");

struct vfe_msg_region {
	uint64_t gpa;
	uint64_t size;
	uint64_t uva; /* the front end's own address of the first byte */
	uint64_t mmap_offset;
};

#define VFE_TABLE_MAX 8 /* regions that fit SET_MEM_TABLE */

struct vfe_msg_mem_table {
	uint32_t n_regions;
	uint32_t padding;
	struct vfe_msg_region regions[VFE_TABLE_MAX];
};

struct vfe_msg_mem_reg {
	uint64_t padding;
	struct vfe_msg_region region;
};
static_assert(sizeof(struct vfe_msg_mem_reg) == 40, "single memory region description");

/* Requests of the back end */
enum {
	VFE_BACKEND_IOTLB_MSG = 1,
};

enum {
	VFE_IOTLB_MISS = 1,
	VFE_IOTLB_UPDATE = 2,
	VFE_IOTLB_INVALIDATE = 3,
	VFE_IOTLB_READ = 1,
	VFE_IOTLB_WRITE = 2,
};

struct vfe_msg_iotlb {
	uint64_t iova;
	uint64_t size;
	uint64_t uaddr;
	uint8_t perm;
	uint8_t type;
	uint8_t padding[6];
};
static_assert(sizeof(struct vfe_msg_iotlb) == 32, "IOTLB message, as QEMU sends it");

struct vfe_msg_vring_state {
	uint32_t index;
	uint32_t num;
};

struct vfe_msg_vring_addr {
	uint32_t index;
	uint32_t flags;
	uint64_t desc;
	uint64_t used;
	uint64_t avail;
	uint64_t log;
};
static_assert(sizeof(struct vfe_msg_vring_addr) == 40, "vring address description");

/* Split ring, virtio 1.3, 2.7; little endian in memory */
enum {
	VFE_DESC_NEXT = 1,
	VFE_DESC_WRITE = 2,
	VFE_DESC_INDIRECT = 4,
	VFE_AVAIL_NO_INTERRUPT = 1,
	VFE_USED_NO_NOTIFY = 1,
};

struct vfe_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags;
	uint16_t next;
};
static_assert(sizeof(struct vfe_desc) == 16, "split ring descriptor");

struct vfe_avail {
	uint16_t flags;
	uint16_t idx;
	uint16_t ring[]; /* ring_size entries, then used_event */
};

struct vfe_used_elem {
	uint32_t id;
	uint32_t len;
};

struct vfe_used {
	uint16_t flags;
	uint16_t idx;
	struct vfe_used_elem ring[]; /* ring_size entries, then avail_event */
};

/* Packed ring, virtio 1.3, 2.8; NEXT, WRITE and INDIRECT as above */
enum {
	VFE_DESC_AVAIL = 1 << 7,
	VFE_DESC_USED = 1 << 15,
	VFE_EVENT_ENABLE = 0,
	VFE_EVENT_DISABLE = 1,
	VFE_EVENT_DESC = 2,
};

struct vfe_packed_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t id;
	uint16_t flags;
};
static_assert(sizeof(struct vfe_packed_desc) == sizeof(struct vfe_desc), "packed ring descriptor");

/* What one side wants to be told of */
struct vfe_event {
	uint16_t off_wrap;
	uint16_t flags;
};
static_assert(sizeof(struct vfe_event) == 4, "event suppression structure");

/* virtio_net_hdr, virtio 1.3, 5.1.6 */
enum {
	VFE_HDR_NEEDS_CSUM = 1,
	VFE_HDR_DATA_VALID = 2,
	VFE_HDR_LEGACY_LEN = 10, /* no num_buffers: legacy without MRG_RXBUF */
	VFE_HDR_LEN = 12,
};

struct vfe_net_hdr {
	uint8_t flags;
	uint8_t gso_type;
	uint16_t hdr_len;
	uint16_t gso_size;
	uint16_t csum_start;
	uint16_t csum_offset;
	uint16_t num_buffers;
};
static_assert(sizeof(struct vfe_net_hdr) == VFE_HDR_LEN, "virtio-net header");

#endif
