/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vhost_inflight.h - what a back end notes of its rings for the one that comes after it
 *
 * Theory of operation
 * -------------------
 * With INFLIGHT_SHMFD a front end keeps a file for its back ends, in which each ring has a region:
 * which buffers were taken and not given back, and how far used ones were published. A successor
 * reads from it what the ring does not tell. The layout is the specification's, so that
 * predecessor and successor may be other programs.
 *
 * This back end gives buffers back in order and holds none across bursts, so nothing of a ring is
 * ever in flight between two publications, and what a burst took was not published yet: a crash
 * undoes it, and the successor takes the same buffers again (packed rings: vhost_kept.h). So no
 * buffer is ever noted as in flight. What remains is the position; one store for each publication
 * keeps it.
 *
 * A predecessor may have worked otherwise. Buffers that it held are given back unused when the ring
 * starts: for a net device that is a frame lost, which is the network's to repair, while a buffer
 * that is lost is lost for ever.
 *
 * The front end shares the file and may write anything to it at any time: each value is read once,
 * and loops are bounded by the size of the ring.
 *
 * Spec: vhost-user, "Inflight I/O tracking". Context: control thread, but for the stores that the
 * accessors of rings make.
 */
#ifndef VHOST_INFLIGHT_H
#define VHOST_INFLIGHT_H

#include "vhost_vq.h"
#include "vhost_wire.h"

/* Of a split ring */
struct vhost_inflight_desc {
	uint8_t inflight;
	uint8_t padding[5];
	uint16_t next;
	uint64_t counter;
};

struct vhost_inflight_split {
	uint64_t features; /* 0 */
	uint16_t version;  /* 1; 0: not initialised */
	uint16_t n_desc;
	uint16_t last_batch_head;
	uint16_t used_idx;
	struct vhost_inflight_desc desc[];
};
static_assert(sizeof(struct vhost_inflight_desc) == 16, "DescStateSplit");
static_assert(offsetof(struct vhost_inflight_split, desc) == 16, "QueueRegionSplit");

/* Of a packed ring */
struct vhost_inflight_packed_desc {
	uint8_t inflight;
	uint8_t padding;
	uint16_t next; /* of the list of free entries */
	uint16_t last;
	uint16_t num;
	uint64_t counter;
	uint16_t id;
	uint16_t flags;
	uint32_t len;
	uint64_t addr;
};

struct vhost_inflight_packed {
	uint64_t features;
	uint16_t version;
	uint16_t n_desc;
	uint16_t free_head;
	uint16_t old_free_head;
	uint16_t used_idx; /* from here on 6 bytes: vhost_inflight_pos() */
	uint16_t old_used_idx;
	uint8_t used_wrap_counter;
	uint8_t old_used_wrap_counter;
	uint8_t padding[7];
	alignas(8) struct vhost_inflight_packed_desc desc[];
};
static_assert(sizeof(struct vhost_inflight_packed_desc) == 32, "DescStatePacked");
static_assert(offsetof(struct vhost_inflight_packed, desc) == 32, "QueueRegionPacked");
static_assert(offsetof(struct vhost_inflight_packed, used_idx) == 16, "stored in one piece");

struct vhost_inflight;

/**
 * vhost_inflight_create() - a new file, for GET_INFLIGHT_FD
 * @n_queues: rings; @queue_size: descriptors of each, 1..VHOST_VQ_MAX_SIZE
 * @ret_fd: sealed memfd of zeros, caller owns it
 * @ret_size: bytes
 *
 * Return: 0, -EINVAL, or the error of making the file.
 */
int vhost_inflight_create(uint16_t n_queues, uint16_t queue_size, bool packed, int *ret_fd,
                          uint64_t *ret_size);

/**
 * vhost_inflight_open() - map the file of SET_INFLIGHT_FD
 * @msg: what the front end says of it; untrusted
 * @fd: borrowed
 * @ret_area: caller owns it, vhost_inflight_free()
 * @ret_why: on failure a static sentence for the log
 *
 * Return: 0, -EINVAL, -ENOMEM, or the error of fstat() or mmap().
 */
int vhost_inflight_open(const struct vhost_msg_inflight *msg, int fd, bool packed,
                        struct vhost_inflight **ret_area, const char **ret_why);

/** vhost_inflight_free() - unmap; no worker may use it any more. Takes NULL. */
void vhost_inflight_free(struct vhost_inflight *area);

/** vhost_inflight_lost() - has the file become shorter? Takes NULL. */
bool vhost_inflight_lost(const struct vhost_inflight *area);

/** vhost_inflight_queue_size() - descriptors of each ring, as the front end said */
uint16_t vhost_inflight_queue_size(const struct vhost_inflight *area);

/**
 * vhost_inflight_region() - where ring @index is kept
 * @size: descriptors of that ring
 *
 * Return: NULL without an area (@area may be NULL), and for a ring that it has no room for.
 */
void *vhost_inflight_region(const struct vhost_inflight *area, uint32_t index, uint32_t size,
                            bool packed);

/**
 * vhost_inflight_take_over() - give back what a predecessor held of a split ring
 * @region: of the ring, of a file with its size
 * @map: of the ring, which does not run
 *
 * Publishes used entries for the buffers it finds in flight, in the order in which they were taken,
 * and makes the region ours.
 * Return: the used index, which is where the ring goes on.
 */
uint16_t vhost_inflight_take_over(struct vhost_inflight_split *region,
                                  const struct vhost_vq_map *map);

/**
 * vhost_inflight_take_over_packed() - the same for a packed ring
 * @position: where the ring goes on if the region does not tell, with the wrap counter in bit 15
 * Return: where it goes on.
 */
uint16_t vhost_inflight_take_over_packed(struct vhost_inflight_packed *region,
                                         const struct vhost_vq_map *map, uint16_t position);

#endif
