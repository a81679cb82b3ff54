/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vhost_wire.h - what goes over a vhost-user socket: identifiers, flags and payloads
 *
 * vhost-user, "Message specification". Numbers are in host byte order. Messages that this back end
 * does not serve are named as well, so that a log line can say which one came.
 */
#ifndef VHOST_WIRE_H
#define VHOST_WIRE_H

#include <linux/vhost_types.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include "base.h"
#include "vhost_mem.h"

enum vhost_msg_id {
	VHOST_MSG_GET_FEATURES = 1,
	VHOST_MSG_SET_FEATURES = 2,
	VHOST_MSG_SET_OWNER = 3,
	VHOST_MSG_RESET_OWNER = 4,
	VHOST_MSG_SET_MEM_TABLE = 5,
	VHOST_MSG_SET_LOG_BASE = 6,
	VHOST_MSG_SET_LOG_FD = 7,
	VHOST_MSG_SET_VRING_NUM = 8,
	VHOST_MSG_SET_VRING_ADDR = 9,
	VHOST_MSG_SET_VRING_BASE = 10,
	VHOST_MSG_GET_VRING_BASE = 11,
	VHOST_MSG_SET_VRING_KICK = 12,
	VHOST_MSG_SET_VRING_CALL = 13,
	VHOST_MSG_SET_VRING_ERR = 14,
	VHOST_MSG_GET_PROTOCOL_FEATURES = 15,
	VHOST_MSG_SET_PROTOCOL_FEATURES = 16,
	VHOST_MSG_GET_QUEUE_NUM = 17,
	VHOST_MSG_SET_VRING_ENABLE = 18,
	VHOST_MSG_SEND_RARP = 19,
	VHOST_MSG_NET_SET_MTU = 20,
	VHOST_MSG_SET_BACKEND_REQ_FD = 21,
	VHOST_MSG_IOTLB_MSG = 22,
	VHOST_MSG_SET_VRING_ENDIAN = 23,
	VHOST_MSG_GET_CONFIG = 24,
	VHOST_MSG_SET_CONFIG = 25,
	VHOST_MSG_CREATE_CRYPTO_SESSION = 26,
	VHOST_MSG_CLOSE_CRYPTO_SESSION = 27,
	VHOST_MSG_POSTCOPY_ADVISE = 28,
	VHOST_MSG_POSTCOPY_LISTEN = 29,
	VHOST_MSG_POSTCOPY_END = 30,
	VHOST_MSG_GET_INFLIGHT_FD = 31,
	VHOST_MSG_SET_INFLIGHT_FD = 32,
	VHOST_MSG_GPU_SET_SOCKET = 33,
	VHOST_MSG_RESET_DEVICE = 34,
	VHOST_MSG_VRING_KICK = 35,
	VHOST_MSG_GET_MAX_MEM_SLOTS = 36,
	VHOST_MSG_ADD_MEM_REG = 37,
	VHOST_MSG_REM_MEM_REG = 38,
	VHOST_MSG_SET_STATUS = 39,
	VHOST_MSG_GET_STATUS = 40,
	VHOST_MSG_GET_SHARED_OBJECT = 41,
	VHOST_MSG_SET_DEVICE_STATE_FD = 42,
	VHOST_MSG_CHECK_DEVICE_STATE = 43,
	VHOST_MSG_GET_SHMEM_CONFIG = 44,
	VHOST_MSG_N_IDS
};

/* Requests from us to the front end */
enum vhost_backend_msg_id {
	VHOST_BACKEND_IOTLB_MSG = 1,
};

/* Header flags */
#define VHOST_HDR_VERSION_MASK 0x3u
#define VHOST_HDR_VERSION      0x1u
#define VHOST_HDR_REPLY        (1u << 2)
#define VHOST_HDR_NEED_REPLY   (1u << 3)

/* SET_VRING_KICK, CALL and ERR: one u64 */
#define VHOST_RING_FD_INDEX_MASK 0xffu
#define VHOST_RING_FD_NONE       (1u << 8) /* no descriptor comes with the message */

#define VHOST_MSG_MAX_FDS     8 /* vhost-user: VHOST_MEMORY_BASELINE_NREGIONS */
#define VHOST_MSG_MAX_REGIONS 8 /* in one SET_MEM_TABLE */

struct vhost_msg_hdr {
	uint32_t id;
	uint32_t flags;
	uint32_t size; /* bytes of payload that follow */
};
static_assert(sizeof(struct vhost_msg_hdr) == 12, "header has no padding");

struct vhost_msg_mem_table {
	uint32_t n_regions;
	uint32_t padding;
	struct vhost_region_desc regions[VHOST_MSG_MAX_REGIONS];
};
static_assert(sizeof(struct vhost_region_desc) == 32, "region as on the wire");
static_assert(sizeof(struct vhost_msg_mem_table) == 8 + 32 * 8, "table as on the wire");

struct vhost_msg_mem_region {
	uint64_t padding;
	struct vhost_region_desc region;
};
/* The same in question and answer. Four bytes of padding at the end: some send them, some do not.
 */
struct vhost_msg_inflight {
	uint64_t size;   /* bytes of the area */
	uint64_t offset; /* in its file */
	uint16_t n_queues;
	uint16_t queue_size;
};
static_assert(sizeof(struct vhost_msg_inflight) == 24, "QEMU and DPDK send the padding");
static_assert(sizeof(struct vhost_msg_mem_region) == 40, "single region as on the wire");

/* GET_CONFIG, SET_CONFIG: a part of the device's configuration space */
#define VHOST_MSG_MAX_CONFIG 256u /* bytes; as QEMU's VHOST_USER_MAX_CONFIG_SIZE */

struct vhost_msg_config {
	uint32_t offset, size;
	uint32_t flags; /* 0: the guest's driver writes, 1: migration restores */
	uint8_t bytes[VHOST_MSG_MAX_CONFIG];
};
static_assert(offsetof(struct vhost_msg_config, bytes) == 12, "configuration as on the wire");
static_assert(sizeof(struct vhost_iotlb_msg) == 32, "translation as on the wire, padded");
static_assert(sizeof(struct vhost_vring_state) == 8, "ring state as on the wire");
static_assert(sizeof(struct vhost_vring_addr) == 40, "ring addresses as on the wire");

struct vhost_msg_log {
	uint64_t mmap_size;
	uint64_t mmap_offset;
};
static_assert(sizeof(struct vhost_msg_log) == 16, "log description as on the wire");

union vhost_msg_payload {
	uint64_t u64;
	struct vhost_msg_log log;
	struct vhost_vring_state state;
	struct vhost_vring_addr addr;
	struct vhost_msg_mem_table table;
	struct vhost_msg_mem_region region;
	struct vhost_msg_inflight inflight;
	struct vhost_msg_config config;
	struct vhost_iotlb_msg iotlb;
	uint8_t bytes[512]; /* room for what we do not serve but pass over */
};
static_assert(sizeof(union vhost_msg_payload) == 512, "the largest message we read");

/*
 * Feature bits. Numbers in the names of the headers and of the protocol are bit numbers; masks
 * here end in _BIT() to tell them apart.
 */
#define VHOST_BIT(n) ((uint64_t)1 << (n))

#define VHOST_F_PROTOCOL_FEATURES 30 /* virtio bit that vhost-user takes for itself */
#define VHOST_F_RING_RESET        40 /* VIRTIO_F_RING_RESET, which older headers lack */

enum vhost_protocol_bit {
	VHOST_PROTO_MQ = 0,
	VHOST_PROTO_LOG_SHMFD = 1,
	VHOST_PROTO_RARP = 2,
	VHOST_PROTO_REPLY_ACK = 3,
	VHOST_PROTO_NET_MTU = 4,
	VHOST_PROTO_BACKEND_REQ = 5,
	VHOST_PROTO_CROSS_ENDIAN = 6,
	VHOST_PROTO_CRYPTO_SESSION = 7,
	VHOST_PROTO_PAGEFAULT = 8,
	VHOST_PROTO_CONFIG = 9,
	VHOST_PROTO_BACKEND_SEND_FD = 10,
	VHOST_PROTO_HOST_NOTIFIER = 11,
	VHOST_PROTO_INFLIGHT_SHMFD = 12,
	VHOST_PROTO_RESET_DEVICE = 13,
	VHOST_PROTO_INBAND_NOTIFICATIONS = 14,
	VHOST_PROTO_CONFIGURE_MEM_SLOTS = 15,
	VHOST_PROTO_STATUS = 16,
	VHOST_PROTO_XEN_MMAP = 17,
	VHOST_PROTO_SHARED_OBJECT = 18,
	VHOST_PROTO_DEVICE_STATE = 19,
	VHOST_PROTO_GET_VRING_BASE_INFLIGHT = 20,
	VHOST_PROTO_GPA_ADDRESSES = 21,
	VHOST_PROTO_SHMEM = 22,
	VHOST_PROTO_N_BITS
};

#endif
