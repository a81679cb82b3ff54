/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vfe.h - a vhost-user front end for tests: the device, its memory and its life
 *
 * Plays the part of QEMU and its guest in one object: it owns the guest's memory (memfd), speaks
 * the protocol, and keeps the driver's end of the virtqueues (vfe_ring.h). It shares no code with
 * the daemon. One thread uses one object; any number of objects may live in a process.
 *
 * Life of a device:
 *
 *   vfe_open()        memory, rings, connection, negotiation (QEMU's "connect" phase)
 *   vfe_start()       features, memory table, rings (QEMU's "DRIVER_OK" phase)
 *   ... traffic, vfe_pair_enable() ...
 *   vfe_stop()        GET_VRING_BASE for each ring; vfe_start() goes on where it stopped
 *   vfe_reset_rings() as after a reboot of the guest: empty rings, base 0
 *   vfe_disconnect(), vfe_reconnect()   the connection is lost and made again
 *   vfe_close()
 *
 * All functions that return int give 0 or -errno; vfe_error() has the story in words.
 * -EREMOTEIO means that the back end answered a message with a failure.
 */
#ifndef VFE_H
#define VFE_H

#include <stdbool.h>
#include <stddef.h>
#include "vfe_msg.h"
#include "vfe_proto.h"
#include "vfe_ring.h"

#define VFE_MAX_REGIONS 64

/* In which order the start messages are sent */
enum vfe_order {
	VFE_ORDER_QEMU,
	VFE_ORDER_VIRTIO_USER, /* DPDK's: features and memory first, ENABLE last, ENABLE 0 at stop
	                        */
	VFE_ORDER_CLOUD_HYPERVISOR, /* owner first; all NUM, then ADDR, BASE, CALL, KICK; ENABLE
	                               last */
	VFE_N_ORDERS
};

/* Which base a ring is started with after the connection was lost */
enum vfe_resume {
	VFE_RESUME_USED,  /* behind what was used: QEMU, split rings */
	VFE_RESUME_OLD,   /* what it was started with before: QEMU, packed rings */
	VFE_RESUME_ZERO,  /* that of a new ring: virtio-user */
	VFE_RESUME_AVAIL, /* the available index: Cloud Hypervisor; split rings only */
	VFE_N_RESUMES
};

struct vfe_config {
	const char *socket_path;
	bool listen;    /* wait for a back end that connects, instead of connecting */
	int timeout_ms; /* to get a connection; 0: VFE_DEFAULT_TIMEOUT_MS */
	enum vfe_order order;
	enum vfe_resume resume;
	uint64_t features;          /* virtio bits wanted; those that are offered too get acked */
	bool packed;                /* RING_PACKED is wanted, too, and must be offered */
	bool iommu;                 /* ACCESS_PLATFORM is wanted and must be offered; vfe_iommu.c */
	uint32_t iommu_flush_ms;    /* then: invalidate everything so often; 0: never */
	uint64_t protocol_features; /* likewise, vhost-user protocol bits */
	uint16_t n_pairs;           /* queue pairs to set up; 0: 1 */
	uint16_t n_enabled;         /* of these, pairs enabled at start; 0: all */
	uint16_t ring_size;         /* descriptors; split: a power of two; 0: 256 */
	uint16_t mtu;               /* NET_SET_MTU when negotiated; 0: none */
	size_t mem_size;            /* bytes of guest memory; 0: as much as the buffers need */
	uint32_t n_regions;         /* the memory is cut into so many equal regions; 0: 1 */
	uint64_t mmap_offset;       /* where each region starts in its memfd; a multiple of 4096 */
	uint64_t gpa_base;          /* guest-physical address of the first region */
	uint64_t gpa_gap;           /* hole between regions, bytes */
	bool hugepages;             /* 2 MiB pages for the memfd */
	struct vfe_buf_config bufs; /* what the rings' buffers look like */
};

struct vfe_region {
	struct vfe_msg_region wire; /* as told to the back end */
	char *host;                 /* our mapping of its first byte; wire.uva says the same */
	char *map;                  /* what mmap() returned: mmap_offset bytes earlier */
	size_t map_len;
	size_t used; /* bytes handed out */
	int fd;
};

struct vfe {
	struct vfe_config config;
	int fd; /* -1: not connected */
	int listen_fd;
	int channel_fd;         /* the back end's questions; -1: none */
	uint64_t next_flush_us; /* of the IOMMU */
	uint64_t translations;  /* told to the back end */
	uint64_t offered;
	uint64_t acked;
	uint64_t protocol_offered;
	uint64_t protocol_acked;
	uint64_t queue_num; /* answer to GET_QUEUE_NUM, 0 if not asked */
	uint64_t mem_slots; /* answer to GET_MAX_MEM_SLOTS, 0 if not asked */
	bool mem_sent;      /* the back end knows the regions (memory slots only) */
	bool started;
	uint32_t n_regions;
	struct vfe_region regions[VFE_MAX_REGIONS];
	uint32_t n_rings; /* 2 * n_pairs */
	struct vfe_ring *rings;
	uint64_t faults;       /* breaches of the specification by the back end */
	uint64_t lost_at_stop; /* buffers (packed: descriptors) that it had not returned by then */
	char error[256];
};

/* A word with every virtio bit this front end can serve, and the one it takes by default */
uint64_t vfe_all_features(void);
uint64_t vfe_default_features(void);
uint64_t vfe_all_protocol_features(void);

/**
 * vfe_open() - memory, rings, connection and negotiation
 * @config: copied; the path must outlive the object
 * @ret: written also on failure when the object exists, so that vfe_error() can tell; vfe_close()
 * it
 */
int vfe_open(const struct vfe_config *config, struct vfe **ret);

/** vfe_close() - hang up and release everything. Takes NULL. */
void vfe_close(struct vfe *v);

/** vfe_error() - why the last call failed, one line */
const char *vfe_error(const struct vfe *v);

/**
 * vfe_start() - let the device run
 *
 * Rings go on from their base: the start after vfe_open() and vfe_reset_rings(), the back end's
 * answer after vfe_stop(), behind what was used after vfe_reconnect(). Buffers are not posted:
 * vfe_rx_fill().
 */
int vfe_start(struct vfe *v);

/**
 * vfe_stop() - stop all rings
 *
 * Checks what the back end answers: a base outside used..avail is a fault and -EPROTO, and so is a
 * packed ring's used position that is not where the ring says.
 */
int vfe_stop(struct vfe *v);

/** vfe_reset_rings() - forget everything in flight; all rings empty. Only while stopped. */
void vfe_reset_rings(struct vfe *v);

/** vfe_pair_enable() - SET_VRING_ENABLE for both rings of a queue pair */
int vfe_pair_enable(struct vfe *v, uint16_t pair, bool enable);

/** vfe_ring_stop() - GET_VRING_BASE of one ring, as for VIRTIO_F_RING_RESET */
int vfe_ring_stop(struct vfe *v, uint32_t index);

/** vfe_ring_start() - NUM, BASE, ADDR, KICK, CALL of one ring */
int vfe_ring_start(struct vfe *v, uint32_t index);

/** vfe_disconnect() - hang up without a word */
void vfe_disconnect(struct vfe *v);

/** vfe_reconnect() - connect and negotiate again; then vfe_start() */
int vfe_reconnect(struct vfe *v);

/**
 * vfe_is_lost() - has the back end hung up? Nothing is read.
 *
 * -ECONNRESET, -EPIPE of other calls mean the same.
 */
bool vfe_is_lost(const struct vfe *v);

/** vfe_mem_add() - hot-plug a region; rings may run. Return: its index or -errno. */
int vfe_mem_add(struct vfe *v, uint64_t gpa, size_t size);

/** vfe_mem_remove() - unplug a region that no ring uses */
int vfe_mem_remove(struct vfe *v, uint32_t index);

/** vfe_mem_alloc() - guest memory, from region @region % n_regions or the next with room; NULL:
 * full */
void *vfe_mem_alloc(struct vfe *v, uint32_t region, size_t size, size_t align);

#define VFE_IOVA (1ull << 40) /* with an IOMMU: address for the device of guest-physical 0 */

/** vfe_gpa() - what the device has to call a pointer into guest memory: guest-physical, or IOVA */
uint64_t vfe_gpa(const struct vfe *v, const void *ptr);

/**
 * vfe_iommu_serve() - answer what the back end asks about addresses
 * To be called often while the device runs. Does nothing without an IOMMU.
 */
int vfe_iommu_serve(struct vfe *v);

/** vfe_get_features() - ask again; a barrier for back ends without REPLY_ACK */
int vfe_get_features(struct vfe *v, uint64_t *ret_features);

/** vfe_get_status() - GET_STATUS */
int vfe_get_status(struct vfe *v, uint64_t *ret_status);

static inline struct vfe_ring *vfe_rxq(struct vfe *v, uint16_t pair)
{
	return &v->rings[2 * pair];
}

static inline struct vfe_ring *vfe_txq(struct vfe *v, uint16_t pair)
{
	return &v->rings[2 * pair + 1];
}

static inline bool vfe_has(const struct vfe *v, unsigned int feature)
{
	return v->acked & VFE_BIT(feature);
}

static inline bool vfe_has_protocol(const struct vfe *v, unsigned int feature)
{
	return v->protocol_acked & VFE_BIT(feature);
}

/* vfe_fail() - note why a call fails; returns @err */
int vfe_fail(struct vfe *v, int err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Between the files of the library */
int vfe_mem_init(struct vfe *v);
void vfe_mem_free(struct vfe *v);
int vfe_iommu_connect(struct vfe *v);
void vfe_iommu_disconnect(struct vfe *v);
int vfe_mem_send(struct vfe *v);
int vfe_ask(struct vfe *v, const char *name, uint32_t request, uint64_t *ret);
int vfe_tell(struct vfe *v, const char *name, uint32_t request, const void *payload, uint32_t len,
             const int *fds, uint32_t n_fds, bool need_reply);

#endif
