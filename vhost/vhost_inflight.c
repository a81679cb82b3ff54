/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include "vhost_inflight.h"
#include "vhost_kept.h"
#include "vhost_packed.h"
#include "vhost_split.h"

#define REGION_ALIGN   64 /* not in the specification, but what every back end does */
#define REGION_VERSION 1

struct vhost_inflight {
	struct vhost_mem *mem; /* one region at address 0 */
	uint16_t n_queues;
	uint16_t queue_size;
};

/* In front of the entries there is as much as one of them takes. */
static uint64_t region_size(uint32_t queue_size, bool packed)
{
	uint64_t entry = packed ? sizeof(struct vhost_inflight_packed_desc)
	                        : sizeof(struct vhost_inflight_desc);

	return ((1 + (uint64_t)queue_size) * entry + REGION_ALIGN - 1) & ~(REGION_ALIGN - 1ull);
}

static bool bad_queue_size(uint16_t size, bool packed)
{
	return size == 0 || size > VHOST_VQ_MAX_SIZE || (!packed && (size & (size - 1)));
}

int vhost_inflight_create(uint16_t n_queues, uint16_t queue_size, bool packed, int *ret_fd,
                          uint64_t *ret_size)
{
	uint64_t size = n_queues * region_size(queue_size, packed);
	int fd, err;

	if (n_queues == 0 || bad_queue_size(queue_size, packed))
		return -EINVAL;
	fd = memfd_create("vhost-inflight", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)size) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
		err = -errno;
		close(fd);
		return err;
	}
	*ret_fd = fd;
	*ret_size = size;
	return 0;
}

int vhost_inflight_open(const struct vhost_msg_inflight *msg, int fd, bool packed,
                        struct vhost_inflight **ret_area, const char **ret_why)
{
	const struct vhost_region_desc desc = {.size = msg->size, .mmap_offset = msg->offset};
	struct vhost_inflight *area;
	int err;

	if (msg->n_queues == 0 || bad_queue_size(msg->queue_size, packed)) {
		*ret_why = "number or size of its queues is none that a device has";
		return -EINVAL;
	}
	if (msg->size < msg->n_queues * region_size(msg->queue_size, packed)) {
		*ret_why = "smaller than its queues need";
		return -EINVAL;
	}
	area = calloc(1, sizeof(*area));
	if (!area) {
		*ret_why = "out of memory";
		return -ENOMEM;
	}
	area->n_queues = msg->n_queues;
	area->queue_size = msg->queue_size;
	err = vhost_mem_new(&desc, &fd, 1, &area->mem, ret_why);
	if (err < 0) {
		free(area);
		return err;
	}
	*ret_area = area;
	return 0;
}

void vhost_inflight_free(struct vhost_inflight *area)
{
	if (!area)
		return;
	vhost_mem_free(area->mem);
	free(area);
}

bool vhost_inflight_lost(const struct vhost_inflight *area)
{
	return area && vhost_mem_lost(area->mem);
}

uint16_t vhost_inflight_queue_size(const struct vhost_inflight *area)
{
	return area->queue_size;
}

void *vhost_inflight_region(const struct vhost_inflight *area, uint32_t index, uint32_t size,
                            bool packed)
{
	uint64_t len = region_size(size, packed);

	/* The layout may have been negotiated after the area was checked: vhost_mem_uva() does. */
	if (!area || index >= area->n_queues || size != area->queue_size)
		return NULL;
	return vhost_mem_uva(area->mem, index * len, len);
}

/* ---- what was held ---- */

/* A buffer in flight: its head (split) or entry (packed) */
struct held {
	uint64_t counter;
	uint16_t head;
};

static int compare_held(const void *pa, const void *pb)
{
	const struct held *a = pa, *b = pb;

	return a->counter < b->counter ? -1 : a->counter > b->counter;
}

/*
 * List what is in flight, in the order in which it was taken, of a region whose entries are @stride
 * bytes apart; @inflight and @counter belong to the first. @held has room for @size. Return: how
 * many there are.
 */
static uint32_t find_held(const uint8_t *inflight, const uint64_t *counter, size_t stride,
                          uint32_t size, struct held *held)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < size; i++) {
		const uint64_t *c = (const void *)((const uint8_t *)counter + i * stride);

		if (__atomic_load_n(inflight + i * stride, __ATOMIC_RELAXED) != 1)
			continue;
		held[n++] = (struct held){.counter = __atomic_load_n(c, __ATOMIC_RELAXED),
		                          .head = (uint16_t)i};
	}
	qsort(held, n, sizeof(*held), compare_held);
	return n;
}

/* ---- split rings ---- */

/* The predecessor published the last batch, and did not come to note that. */
static void finish_last_batch(struct vhost_inflight_split *region, uint32_t size, uint16_t used)
{
	uint16_t n = (uint16_t)(used - ring_load_relaxed16(&region->used_idx));
	uint16_t i = ring_load_relaxed16(&region->last_batch_head);

	for (uint16_t k = 0; k < n && k < size && i < size; k++) {
		__atomic_store_n(&region->desc[i].inflight, 0, __ATOMIC_RELAXED);
		i = ring_load_relaxed16(&region->desc[i].next);
	}
}

/* A buffer that the driver has not made available cannot be held. */
static bool may_be_held(const struct vhost_vq_map *map, uint16_t used, uint32_t n)
{
	uint16_t there = (uint16_t)(ring_load_acquire16(&map->avail->idx) - used);

	return there <= map->size && n <= there;
}

uint16_t vhost_inflight_take_over(struct vhost_inflight_split *region,
                                  const struct vhost_vq_map *map)
{
	uint16_t used = ring_load_acquire16(&map->used->idx);
	struct held *held = malloc(map->size * sizeof(*held));
	uint32_t n = 0;

	if (held && ring_load_relaxed16(&region->version) == REGION_VERSION &&
	    ring_load_relaxed16(&region->n_desc) == map->size) {
		finish_last_batch(region, map->size, used);
		n = find_held(&region->desc[0].inflight, &region->desc[0].counter,
		              sizeof(region->desc[0]), map->size, held);
		if (!may_be_held(map, used, n))
			n = 0;
	}
	for (uint32_t i = 0; i < n; i++)
		vhost_split_put_used(map, used++, held[i].head, 0);
	ring_store_release16(&map->used->idx, used);
	vhost_vq_wrote_used(map, map->used, 4 + 8ull * map->size);
	free(held);

	for (uint32_t i = 0; i < map->size; i++)
		__atomic_store_n(&region->desc[i].inflight, 0, __ATOMIC_RELAXED);
	ring_store_relaxed16(&region->n_desc, (uint16_t)map->size);
	ring_store_relaxed16(&region->last_batch_head, 0);
	ring_store_relaxed16(&region->used_idx, used);
	ring_store_release16(&region->version, REGION_VERSION);
	return used;
}

/* ---- packed rings ---- */

/* As the last publication's record is kept elsewhere, see vhost_kept.h */
static uint32_t last_publication(const struct vhost_inflight_packed *region)
{
	uint64_t pos = le64toh(__atomic_load_n((const uint64_t *)(const void *)&region->used_idx,
	                                       __ATOMIC_RELAXED));
	uint32_t now = (pos & 0x7fff) | (pos >> 32 & 1) << 15;
	uint32_t old = (pos >> 16 & 0x7fff) | (pos >> 40 & 1) << 15;

	return old << 16 | now;
}

/* Entries on the list of free ones are not in flight, whatever they say. */
static void clear_free(struct vhost_inflight_packed *region, uint32_t size, bool published)
{
	uint16_t i = ring_load_relaxed16(published ? &region->free_head : &region->old_free_head);

	for (uint32_t k = 0; k < size && i < size; k++) {
		__atomic_store_n(&region->desc[i].inflight, 0, __ATOMIC_RELAXED);
		i = ring_load_relaxed16(&region->desc[i].next);
	}
}

/* Give back what was held; a predecessor that held anything has undone what it did not publish. */
static uint16_t give_back_packed(const struct vhost_inflight_packed *region,
                                 const struct vhost_vq_map *map, const struct held *held,
                                 uint32_t n, uint16_t position)
{
	uint32_t left = map->size;

	for (uint32_t i = 0; i < n; i++) {
		const struct vhost_inflight_packed_desc *e = &region->desc[held[i].head];
		uint16_t slots = ring_load_relaxed16(&e->num), last = ring_load_relaxed16(&e->last);

		if (slots == 0 || slots > left || last >= map->size)
			break;
		left -= slots;
		position = vhost_kept_give_back(map, position,
		                                ring_load_relaxed16(&region->desc[last].id), slots);
	}
	return position;
}

static void region_reset_packed(struct vhost_inflight_packed *region, uint32_t size,
                                uint16_t position)
{
	for (uint32_t i = 0; i < size; i++) {
		__atomic_store_n(&region->desc[i].inflight, 0, __ATOMIC_RELAXED);
		ring_store_relaxed16(&region->desc[i].next, (uint16_t)(i + 1));
	}
	ring_store_relaxed16(&region->n_desc, (uint16_t)size);
	ring_store_relaxed16(&region->free_head, 0);
	ring_store_relaxed16(&region->old_free_head, 0);
	__atomic_store_n((uint64_t *)(void *)&region->used_idx,
	                 vhost_inflight_pos(position, position), __ATOMIC_RELAXED);
	ring_store_release16(&region->version, REGION_VERSION);
}

uint16_t vhost_inflight_take_over_packed(struct vhost_inflight_packed *region,
                                         const struct vhost_vq_map *map, uint16_t position)
{
	struct held *held = malloc(map->size * sizeof(*held));
	uint32_t last = last_publication(region), n;
	uint16_t at = VHOST_KEPT_NOWHERE;

	if (held && ring_load_relaxed16(&region->version) == REGION_VERSION &&
	    ring_load_relaxed16(&region->n_desc) == map->size)
		at = vhost_kept_position(map, last);
	if (at != VHOST_KEPT_NOWHERE) {
		clear_free(region, map->size, at == (uint16_t)last);
		n = find_held(&region->desc[0].inflight, &region->desc[0].counter,
		              sizeof(region->desc[0]), map->size, held);
		position = n ? give_back_packed(region, map, held, n, at)
		             : vhost_kept_resume(map, last);
	}
	free(held);
	region_reset_packed(region, map->size, position);
	return position;
}
