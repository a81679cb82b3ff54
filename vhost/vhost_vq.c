/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vhost_vq.c - rings as the control thread sees them: maps, start, stop
 *
 * A ring starts when its size, addresses and kick descriptor (or "none") are known and memory is
 * shared. The specification says "on the first kick"; but a driver that polls never kicks, so the
 * arrival of the descriptor is taken for it. Messages come in any order: each one that adds a
 * piece calls vhost_vq_try_start().
 *
 * Changes to a running ring publish a successor map; vhost_vq.h tells how workers move over.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>
#include "vhost_dev_priv.h"
#include "vhost_ring.h"

static const char *const fault_names[] = {
	[VHOST_VQ_OK] = "none",
	[VHOST_VQ_BAD_AVAIL_IDX] = "available index ran ahead of the ring",
	[VHOST_VQ_BAD_HEAD] = "descriptor index out of range",
	[VHOST_VQ_BAD_CHAIN] = "malformed descriptor chain",
	[VHOST_VQ_BAD_DIRECTION] = "buffer with the wrong direction",
	[VHOST_VQ_BAD_ADDRESS] = "buffer outside guest memory",
	[VHOST_VQ_BAD_LENGTH] = "buffer too short",
	[VHOST_VQ_BAD_CALL] = "call descriptor cannot be written",
};
static_assert(ARRAY_SIZE(fault_names) == VHOST_VQ_N_FAULTS, "a fault without a name");

const char *vhost_vq_fault_name(enum vhost_vq_fault fault)
{
	return (unsigned int)fault < VHOST_VQ_N_FAULTS ? fault_names[fault] : "unknown";
}

void vhost_vq_init(struct vhost_vq *vq, uint16_t index)
{
	*vq = (struct vhost_vq){.index = index, .kick_fd = -1, .call_fd = -1, .err_fd = -1};
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void vhost_vq_reset(struct vhost_vq *vq)
{
	assert(!vq->started && !vq->stopping);
	close_fd(&vq->kick_fd);
	close_fd(&vq->call_fd);
	close_fd(&vq->err_fd);
	vq->size = 0;
	vq->desc_uva = vq->avail_uva = vq->used_uva = vq->log_gpa = 0;
	vq->addr_flags = 0;
	vq->addr_set = vq->kick_set = vq->enable_wanted = false;
	vq->base = 0;
	atomic_store_explicit(&vq->fault, VHOST_VQ_OK, memory_order_relaxed);
}

static bool acked(const struct vhost_dev *dev, unsigned int bit)
{
	return dev->features & VHOST_BIT(bit);
}

/*
 * One part of a ring: alignment and that it lies wholly in one region. @access: VHOST_ACCESS_*,
 * what the device does to it. -EAGAIN: what the address means was asked for.
 */
static int ring_part(struct vhost_dev *dev, const struct vhost_vq *vq, const char *what,
                     uint64_t uva, uint64_t len, uint32_t align, uint8_t access, void **ret_host)
{
	void *host;

	if (vhost_iommu_on(dev)) {
		int err = vhost_iommu_ring_part(dev, vq->index, uva, len, access, &host);

		if (err < 0)
			return err;
	} else {
		host = vhost_mem_uva(dev->mem, uva, len);
	}
	if (!host) {
		vhost_dev_warn(dev,
		               "ring %u: %s at 0x%" PRIx64 ", %" PRIu64
		               " bytes, is not inside one region of guest memory",
		               vq->index, what, uva, len);
		return -EFAULT;
	}
	if ((uintptr_t)host % align) {
		vhost_dev_warn(dev, "ring %u: %s at 0x%" PRIx64 " is not aligned to %u bytes",
		               vq->index, what, uva, align);
		return -EINVAL;
	}
	*ret_host = host;
	return 0;
}

/* Spec: virtio 1.3, 2.8: alignments 16, 4, 4. The avail ring's address is the driver area's. */
static int ring_parts_packed(struct vhost_dev *dev, const struct vhost_vq *vq,
                             struct vhost_vq_map *map)
{
	void *desc, *driver, *device;
	int err;

	err = ring_part(dev, vq, "descriptor ring", vq->desc_uva, 16ull * vq->size, 16,
	                VHOST_ACCESS_RW, &desc);
	if (err == 0)
		err = ring_part(dev, vq, "driver event structure", vq->avail_uva, 4, 4,
		                VHOST_ACCESS_RO, &driver);
	if (err == 0)
		err = ring_part(dev, vq, "device event structure", vq->used_uva, 4, 4,
		                VHOST_ACCESS_WO, &device);
	if (err < 0)
		return err;
	map->packed_desc = desc;
	map->driver_event = driver;
	map->device_event = device;
	return 0;
}

/*
 * Spec: virtio 1.3, 2.7: alignments 16, 2, 4; sizes include used_event and avail_event, which are
 * there whether negotiated or not.
 */
static int ring_parts_split(struct vhost_dev *dev, const struct vhost_vq *vq,
                            struct vhost_vq_map *map)
{
	uint64_t n = vq->size;
	void *desc, *avail, *used;
	int err;

	err = ring_part(dev, vq, "descriptor table", vq->desc_uva, 16 * n, 16, VHOST_ACCESS_RO,
	                &desc);
	if (err == 0)
		err = ring_part(dev, vq, "available ring", vq->avail_uva, 6 + 2 * n, 2,
		                VHOST_ACCESS_RO, &avail);
	if (err == 0)
		err = ring_part(dev, vq, "used ring", vq->used_uva, 6 + 8 * n, 4, VHOST_ACCESS_WO,
		                &used);
	if (err < 0)
		return err;
	map->desc = desc;
	map->avail = avail;
	map->used = used;
	return 0;
}

int vhost_vq_check_size(struct vhost_dev *dev, uint16_t index, uint32_t size)
{
	bool packed = acked(dev, VIRTIO_F_RING_PACKED);

	/* Virtio 1.3, 2.7: "Queue Size value is always a power of 2. The maximum ... is 32768." */
	if (size >= 1 && size <= VHOST_VQ_MAX_SIZE && (packed || !(size & (size - 1))))
		return 0;
	vhost_dev_warn(dev, "SET_VRING_NUM: ring %u: size %u is not a %s up to %u", index, size,
	               packed ? "number of descriptors from 1" : "power of two", VHOST_VQ_MAX_SIZE);
	return -EINVAL;
}

/*
 * Logging, if the front end has asked for it and shared a log. vhost-user, "Migration": with
 * VHOST_VRING_F_LOG "log_guest_addr should be used to calculate the log offset", which may be
 * anything that the log has bits for. Behind a vIOMMU QEMU fills in an address of the guest's
 * device there, but looks for the bits of the memory; and front ends leave the flag out that log
 * the rest. Then it is the address that the used ring has in the memory table. The ring of
 * descriptors that a packed queue has always goes by the memory table.
 */
static int ring_log(struct vhost_dev *dev, const struct vhost_vq *vq, struct vhost_vq_map *map)
{
	uint64_t len = map->packed ? sizeof(*map->device_event) : 6 + 8ull * vq->size;
	uint64_t gpa = vq->log_gpa;

	if (!acked(dev, VHOST_F_LOG_ALL) || !dev->log)
		return 0;
	if (!(vq->addr_flags & VHOST_BIT(VHOST_VRING_F_LOG)) ||
	    acked(dev, VIRTIO_F_ACCESS_PLATFORM))
		if (!vhost_mem_gpa_of(dev->mem, map->used, &gpa))
			return -EFAULT;
	if (!vhost_log_covers(dev->log, gpa, len)) {
		vhost_dev_warn(dev,
		               "ring %u: log address 0x%" PRIx64
		               " is outside the dirty log of %" PRIu64 " bytes",
		               vq->index, gpa, dev->log->size);
		return -EINVAL;
	}
	map->log = dev->log;
	map->log_used_gpa = gpa;
	return 0;
}

/* Where the worker notes positions */
static void set_kept(struct vhost_dev *dev, const struct vhost_vq *vq, struct vhost_vq_map *map)
{
	void *region = vhost_inflight_region(dev->inflight, vq->index, vq->size, map->packed);

	if (map->packed) {
		struct vhost_inflight_packed *packed = region;

		map->inflight_pos = region ? (uint64_t *)(void *)&packed->used_idx : NULL;
	} else {
		struct vhost_inflight_split *split = region;

		map->inflight_idx = region ? &split->used_idx : NULL;
	}
	map->kept = &dev->kept[vq->index].last;
}

static const struct vhost_mem no_mem;

static int map_new(struct vhost_dev *dev, const struct vhost_vq *vq,
                   struct vhost_map_node **ret_node)
{
	static _Atomic uint64_t serials;
	struct vhost_map_node *node = calloc(1, sizeof(*node));
	struct vhost_vq_map *map;
	int err;

	if (!node) {
		vhost_dev_warn(dev, "ring %u: out of memory", vq->index);
		return -ENOMEM;
	}
	map = &node->map;
	map->packed = acked(dev, VIRTIO_F_RING_PACKED);
	err = vhost_vq_check_size(dev, vq->index, vq->size);
	if (err == 0)
		err = map->packed ? ring_parts_packed(dev, vq, map)
		                  : ring_parts_split(dev, vq, map);
	if (err == 0)
		err = ring_log(dev, vq, map);
	if (err < 0) {
		free(node);
		return err;
	}
	map->mem = dev->mem;
	if (vhost_dev_is_late(dev)) {
		map->late_mem = map->mem;
		map->mem = &no_mem;
	}
	if (vhost_iommu_on(dev)) {
		struct vhost_iotlb_tables t = vhost_iommu_tables(dev);

		map->mem = vq->index & 1 ? t.read : t.write;
		map->table_mem = t.read;
		map->guest_mem = dev->mem;
		map->partial = true;
	}
	map->size = vq->size;
	map->hdr_len = acked(dev, VIRTIO_F_VERSION_1) || acked(dev, VIRTIO_NET_F_MRG_RXBUF)
	                       ? sizeof(struct virtio_net_hdr_mrg_rxbuf)
	                       : sizeof(struct virtio_net_hdr);
	/* vhost-user, "Ring states": without the bit a ring is enabled when it starts. */
	map->enabled = vq->enable_wanted || !acked(dev, VHOST_F_PROTOCOL_FEATURES);
	map->event_idx = acked(dev, VIRTIO_RING_F_EVENT_IDX);
	map->mergeable = acked(dev, VIRTIO_NET_F_MRG_RXBUF);
	map->indirect = acked(dev, VIRTIO_RING_F_INDIRECT_DESC);
	map->notify_on_empty =
		acked(dev, VIRTIO_F_NOTIFY_ON_EMPTY) && !acked(dev, VIRTIO_F_VERSION_1);
	set_kept(dev, vq, map);
	map->call_fd = vq->call_fd;
	map->serial = 1 + atomic_fetch_add_explicit(&serials, 1, memory_order_relaxed);
	*ret_node = node;
	return 0;
}

static void publish(struct vhost_dev *dev, struct vhost_vq *vq, struct vhost_map_node *node)
{
	struct vhost_vq_map *old = atomic_load_explicit(&vq->map, memory_order_relaxed);

	/* W: acquire in vhost_vq_get_map() */
	atomic_store_explicit(&vq->map, node ? &node->map : NULL, memory_order_release);
	if (old) {
		struct vhost_map_node *old_node = container_of(old, struct vhost_map_node, map);

		old_node->next = dev->old_maps;
		dev->old_maps = old_node;
	}
}

/*
 * Where the ring goes on: behind the buffers that were used, which the ring itself tells. What the
 * front end says adds nothing. It is the same after a stop, as nobody may hold buffers back then;
 * and after the loss of a back end some say 0 (DPDK's virtio-user as server) or the available
 * index (Cloud Hypervisor, without IN_ORDER), which would leave what was posted with nobody.
 */
static void set_positions_split(struct vhost_dev *dev, struct vhost_vq *vq,
                                const struct vhost_vq_map *map)
{
	struct vhost_inflight_split *region =
		vhost_inflight_region(dev->inflight, vq->index, vq->size, false);

	vq->used_idx = region ? vhost_inflight_take_over(region, map)
	                      : ring_load_acquire16(&map->used->idx);
	vq->used_pub = vq->last_avail = vq->avail_seen = vq->used_idx;
	/*
	 * No kicks until the worker asks for them. Virtio 1.3, 2.7.10.2: with EVENT_IDX "the device
	 * MUST set flags to 0"; a predecessor may have left anything there.
	 */
	ring_store_relaxed16(&map->used->flags, map->event_idx ? 0 : VRING_USED_F_NO_NOTIFY);
	vhost_vq_wrote_used(map, &map->used->flags, sizeof(map->used->flags));
}

/* The ring goes on at @position, with nothing in flight. */
static void set_place(struct vhost_vq *vq, uint16_t position)
{
	vq->last_avail = vq->used_idx = position & (VHOST_PACKED_WRAP - 1);
	vq->avail_bits = position & VHOST_PACKED_WRAP ? VHOST_PACKED_AVAIL : VHOST_PACKED_USED;
	vq->used_bits = position & VHOST_PACKED_WRAP ? VHOST_PACKED_BITS : 0;
}

/*
 * The front end says both positions; vhost_packed_position() has the format. Some know of one only
 * and leave the upper half zero (DPDK's virtio-user; QEMU, when it passes on what DPDK's back end
 * said): then buffers are used up to where they are available from. The same if they cannot be used
 * up to there: that is ahead, or more than a lap behind. @vq->base was checked against the size.
 */
static void set_places(struct vhost_vq *vq)
{
	uint32_t avail = vq->base & 0xffff, used = vq->base >> 16;
	/* Of slots; below zero it becomes a large number. */
	uint32_t behind = (avail & (VHOST_PACKED_WRAP - 1)) - (used & (VHOST_PACKED_WRAP - 1));

	if ((avail ^ used) & VHOST_PACKED_WRAP)
		behind += vq->size;
	if (!used || behind > vq->size)
		used = avail;
	set_place(vq, (uint16_t)avail);
	vq->used_idx = (uint16_t)(used & (VHOST_PACKED_WRAP - 1));
	vq->used_bits = used & VHOST_PACKED_WRAP ? VHOST_PACKED_BITS : 0;
}

/* The front end's positions, unless a back end was lost since it learned them. */
static void set_positions_packed(struct vhost_dev *dev, struct vhost_vq *vq,
                                 const struct vhost_vq_map *map)
{
	struct vhost_inflight_packed *region =
		vhost_inflight_region(dev->inflight, vq->index, vq->size, true);
	struct vhost_kept *kept = &dev->kept[vq->index];
	uint16_t position;

	set_places(vq);
	if (vhost_kept_recover(kept, map, vq->base, &position)) {
		if (position != (uint16_t)vq->base)
			vhost_dev_info(dev,
			               "ring %u: goes on at its own position 0x%x, the front end "
			               "knows 0x%" PRIx32,
			               vq->index, position, vq->base);
		set_place(vq, position);
	}
	if (region)
		set_place(vq, vhost_inflight_take_over_packed(
				      region, map, (uint16_t)(vhost_packed_position(vq) >> 16)));
	vq->used_slots = 0;
	atomic_store_explicit(&vq->position, vhost_packed_position(vq), memory_order_relaxed);
	vhost_kept_note(kept, map, vq->base, (uint16_t)(vhost_packed_position(vq) >> 16));
	/* No kicks until the worker asks for them. */
	ring_store_relaxed16(&map->device_event->flags, VRING_PACKED_EVENT_FLAG_DISABLE);
	vhost_vq_wrote_used(map, map->device_event, sizeof(*map->device_event));
}

static int check_base(struct vhost_dev *dev, const struct vhost_vq *vq,
                      const struct vhost_vq_map *map)
{
	const uint32_t slot_mask = VHOST_PACKED_WRAP - 1;

	if (map->packed
	            ? (vq->base & slot_mask) < vq->size && (vq->base >> 16 & slot_mask) < vq->size
	            : vq->base <= UINT16_MAX)
		return 0;
	vhost_dev_warn(dev, "ring %u: base 0x%" PRIx32 " is no position in a %s ring of %u",
	               vq->index, vq->base, map->packed ? "packed" : "split", vq->size);
	return -EINVAL;
}

/*
 * Post-copy: are the pages of the ring itself here? They stay, so that whoever serves the ring need
 * not ask again. What is missing is left to the helpers, and vhost_ops_postcopy_serve() goes on.
 */
static bool ring_is_here(struct vhost_dev *dev, struct vhost_vq *vq, const struct vhost_vq_map *map)
{
	uint64_t n = vq->size;
	const struct {
		const void *at;
		uint64_t len;
	} parts[] = {{map->desc, 16 * n},
	             {map->avail, map->packed ? 4 : 6 + 2 * n},
	             {map->used, map->packed ? 4 : 6 + 8 * n}};
	struct vhost_late *late[ARRAY_SIZE(parts)];
	bool here, asked;

	do {
		here = true;
		for (size_t i = 0; i < ARRAY_SIZE(parts) && map->late_mem; i++) {
			late[i] = NULL;
			here &= vhost_mem_is_here(dev->mem, parts[i].at, parts[i].len, &late[i]);
		}
		if (here)
			return true;
		if (vq->awaited &&
		    vhost_postcopy_poll(dev->postcopy, vq->index) == VHOST_POSTCOPY_BUSY)
			return false;
		vhost_postcopy_drop(dev->postcopy, vq->index);
		asked = false;
		for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
			asked |= late[i] && vhost_postcopy_want(dev->postcopy, vq->index, late[i],
			                                        parts[i].at, parts[i].len, true);
		/* Nothing to ask for: helpers were done after we looked, and will not call again.
		 */
	} while (!asked);
	return false;
}

static void set_positions(struct vhost_dev *dev, struct vhost_vq *vq,
                          const struct vhost_vq_map *map)
{
	if (map->packed)
		set_positions_packed(dev, vq, map);
	else
		set_positions_split(dev, vq, map);
	vq->kicks = VHOST_KICKS_OFF;
	vq->crowd = 0;
	vq->most = 0;
	vq->little[0].who = vq->little[1].who = NULL;
	vq->hint = (struct vhost_mem_hint){0};
	vq->hint_serial = 0;
	vq->n_wants = 0;
	vhost_vq_answer(vq);
	atomic_store_explicit(&vq->fault, VHOST_VQ_OK, memory_order_relaxed);
}

int vhost_vq_node(const struct vhost_vq *vq)
{
	const struct vhost_vq_map *map = atomic_load_explicit(&vq->map, memory_order_relaxed);
	int node;

	if (!vq->started || !map)
		return MEM_NODE_ANY;
	/* We write to this one; the other may not have been looked at yet. */
	node = mem_node_of(map->used);
	return node != MEM_NODE_ANY ? node : mem_node_of(map->desc);
}

void vhost_vq_save_base(struct vhost_vq *vq)
{
	vq->base = vq->packed ? vhost_packed_position(vq) : vq->last_avail;
}

bool vhost_vq_is_complete(const struct vhost_vq *vq)
{
	return vq->size && vq->addr_set && vq->kick_set;
}

/*
 * No worker has the ring: list what it will need before the first frame comes. Later on workers do
 * so themselves.
 */
static void look_ahead(struct vhost_vq *vq, const struct vhost_vq_map *map)
{
	if (!map->partial && !map->late_mem)
		return;
	vhost_ring_look_ahead(vq, map, !(vq->index & 1));
	vhost_vq_ask(vq);
}

int vhost_vq_try_start(struct vhost_dev *dev, struct vhost_vq *vq)
{
	struct vhost_map_node *node;
	int err;

	if (vq->started || vq->stopping || !vhost_vq_is_complete(vq) || !dev->mem ||
	    dev->mem->n_regions == 0)
		return 0;
	err = map_new(dev, vq, &node);
	if (err == -EAGAIN)
		return 0;
	if (err < 0)
		return err;
	err = check_base(dev, vq, &node->map);
	if (err < 0) {
		free(node);
		return err;
	}
	vq->awaited = !ring_is_here(dev, vq, &node->map);
	if (vq->awaited) {
		free(node);
		return 0;
	}
	if (dev->inflight && vhost_inflight_queue_size(dev->inflight) != vq->size)
		vhost_dev_warn(dev, "ring %u: SET_INFLIGHT_FD was for rings of %u, not of %u",
		               vq->index, vhost_inflight_queue_size(dev->inflight), vq->size);
	set_positions(dev, vq, &node->map);
	vq->packed = node->map.packed;
	look_ahead(vq, &node->map);
	publish(dev, vq, node);
	vq->started = true;
	dev->rings_changed = true;
	dev->log_gap |= acked(dev, VHOST_F_LOG_ALL);
	/* An interrupt may have got lost when the ring changed hands. */
	if (vq->call_fd >= 0)
		(void)vhost_signal(vq->call_fd); /* a bad one shows at the first interrupt */
	return 0;
}

int vhost_vq_refresh(struct vhost_dev *dev, struct vhost_vq *vq)
{
	bool suspended = !atomic_load_explicit(&vq->map, memory_order_relaxed);
	struct vhost_map_node *node;
	int err = map_new(dev, vq, &node);

	if (err == -EAGAIN) {
		publish(dev, vq, NULL);
		dev->must_wait |= !suspended;
		return 0;
	}
	if (err < 0)
		return err;
	if (node->map.packed != vq->packed) {
		/* Its positions mean nothing in the other layout. */
		vhost_dev_warn(dev, "ring %u: RING_PACKED changed while it runs", vq->index);
		free(node);
		return -EBUSY;
	}
	if (!ring_is_here(dev, vq, &node->map)) {
		/* It has moved: stopped for now, it starts there when the pages are here. */
		free(node);
		publish(dev, vq, NULL);
		vq->started = false;
		vq->stopping = vq->awaited = dev->rings_changed = true;
		return 0;
	}
	if (vq->packed)
		vhost_kept_move(&dev->kept[vq->index], &node->map);
	/* It was suspended by an earlier message, and the wait for the workers is over. */
	if (suspended && !dev->must_wait)
		look_ahead(vq, &node->map);
	publish(dev, vq, node);
	return 0;
}

int vhost_vq_republish(struct vhost_dev *dev, struct vhost_vq *vq)
{
	int err = vhost_vq_refresh(dev, vq);

	dev->must_wait = true;
	return err;
}

void vhost_vq_stop(struct vhost_dev *dev, struct vhost_vq *vq)
{
	uint32_t fault = atomic_load_explicit(&vq->fault, memory_order_relaxed);

	vhost_postcopy_drop(dev->postcopy, vq->index);
	if (vq->awaited) {
		vq->awaited = vq->addr_set = vq->kick_set = false;
		dev->rings_changed = true;
	}
	if (!vq->started)
		return;
	publish(dev, vq, NULL);
	dev->must_wait = true;
	vq->started = false;
	vq->stopping = true;
	vq->addr_set = false;
	vq->kick_set = false; /* vhost_dev_settle() closes the descriptor */
	dev->rings_changed = true;
	if (fault != VHOST_VQ_OK)
		vhost_dev_warn(dev, "ring %u was given up: %s", vq->index,
		               vhost_vq_fault_name(fault));
}

void vhost_vq_forget_kick(struct vhost_dev *dev, struct vhost_vq *vq)
{
	vq->addr_set = false;
	vq->kick_set = false;
	if (vq->kick_fd >= 0)
		dev->rings_changed = true;
}

void vhost_vq_forget_call(struct vhost_dev *dev, struct vhost_vq *vq)
{
	vhost_dev_retire_fd(dev, vq->call_fd);
	vq->call_fd = -1;
}
