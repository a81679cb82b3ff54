/* SPDX-License-Identifier: BSD-2-Clause */
/* vhost_ops_mem.c - requests about guest memory, and about the area that outlives us */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include "vhost_ops.h"

int vhost_ops_replace_mem(struct vhost_dev *dev, const char *what, struct vhost_mem *mem)
{
	int err = vhost_ops_check_log(dev, what, dev->features, dev->log, mem);

	if (err < 0) {
		vhost_mem_free(mem);
		return err;
	}
	assert(!dev->old_mem);
	dev->old_mem = dev->mem;
	dev->mem = mem;
	dev->must_wait |= dev->old_mem != NULL;
	vhost_iommu_mem_replaced(dev);
	vhost_ops_republish_running(dev);
	for (uint16_t i = 0; i < dev->n_vqs; i++)
		vhost_vq_try_start(dev, &dev->vqs[i]); /* warns; the table itself is good */
	return 0;
}

/*
 * With GPA_ADDRESSES ring addresses are guest-physical, and the region's user address "must
 * duplicate" the guest address. It is made so: then what says user address everywhere else means
 * the guest's.
 */
static void take_user_address(const struct vhost_dev *dev, struct vhost_region_desc *d)
{
	if (dev->protocol_features & VHOST_BIT(VHOST_PROTO_GPA_ADDRESSES))
		d->uva = d->gpa;
}

/* Listening for post-copy, the front end waits for addresses: there is no way to say "no". */
static int refusal(const struct vhost_dev *dev, int err)
{
	return vhost_postcopy_is_listening(dev->postcopy) ? -EPROTO : err;
}

int vhost_op_set_mem_table(struct vhost_dev *dev, struct vhost_request *msg)
{
	struct vhost_msg_mem_table *t = &msg->payload.table;
	struct vhost_mem *mem;
	const char *why;
	int err;

	if (t->n_regions < 1 || t->n_regions > VHOST_MSG_MAX_REGIONS ||
	    t->n_regions != msg->n_fds ||
	    msg->hdr.size != offsetof(struct vhost_msg_mem_table, regions) +
	                             t->n_regions * sizeof(t->regions[0])) {
		vhost_dev_warn(dev,
		               "SET_MEM_TABLE: %u regions in %u bytes with %u file descriptors",
		               t->n_regions, msg->hdr.size, msg->n_fds);
		return -EPROTO;
	}
	for (uint32_t i = 0; i < t->n_regions; i++)
		take_user_address(dev, &t->regions[i]);
	err = vhost_mem_new(t->regions, msg->fds, t->n_regions, &mem, &why);
	if (err < 0) {
		vhost_dev_warn(dev, "SET_MEM_TABLE: %s: %s", why, strerror(-err));
		return refusal(dev, err);
	}
	err = vhost_ops_postcopy_mem(dev, msg, mem, t->regions, t->n_regions);
	return err < 0 ? err : vhost_ops_replace_mem(dev, "SET_MEM_TABLE", mem);
}

int vhost_op_get_max_mem_slots(struct vhost_dev *dev, struct vhost_request *msg)
{
	(void)dev;
	return vhost_ops_reply_u64(msg, VHOST_MEM_MAX_REGIONS);
}

int vhost_op_add_mem_reg(struct vhost_dev *dev, struct vhost_request *msg)
{
	struct vhost_region_desc *d = &msg->payload.region.region;
	struct vhost_mem *mem;
	const char *why;
	int err;

	take_user_address(dev, d);
	err = vhost_mem_add(dev->mem, d, msg->fds[0], &mem, &why);
	if (err < 0) {
		vhost_dev_warn(dev, "ADD_MEM_REG: %s: %s", why, strerror(-err));
		return refusal(dev, err);
	}
	err = vhost_ops_postcopy_mem(dev, msg, mem, d, 1);
	return err < 0 ? err : vhost_ops_replace_mem(dev, "ADD_MEM_REG", mem);
}

int vhost_op_rem_mem_reg(struct vhost_dev *dev, struct vhost_request *msg)
{
	struct vhost_region_desc *d = &msg->payload.region.region;
	struct vhost_mem *mem;
	int err;

	take_user_address(dev, d);
	err = vhost_mem_remove(dev->mem, d, &mem);
	if (err == -ENOENT)
		vhost_dev_warn(dev,
		               "REM_MEM_REG: no region of 0x%" PRIx64
		               " bytes at guest address 0x%" PRIx64 ", front end's 0x%" PRIx64,
		               d->size, d->gpa, d->uva);
	if (err == -ENOMEM)
		vhost_ops_refuse_nomem(dev);
	if (err < 0)
		return err;
	return vhost_ops_replace_mem(dev, "REM_MEM_REG", mem);
}

/*
 * The answer without a size and a descriptor means "none", which front ends take in their stride.
 * What is made here belongs to the front end alone until it comes back with SET_INFLIGHT_FD.
 */
int vhost_op_get_inflight_fd(struct vhost_dev *dev, struct vhost_request *msg)
{
	struct vhost_msg_inflight *m = &msg->payload.inflight;
	bool packed = dev->features & VHOST_BIT(VIRTIO_F_RING_PACKED);
	int err = -EINVAL;

	if (m->n_queues <= dev->n_vqs)
		err = vhost_inflight_create(m->n_queues, m->queue_size, packed, &msg->reply_fd,
		                            &m->size);
	m->offset = 0;
	if (err == 0)
		return 0;
	m->size = 0;
	vhost_dev_warn(dev, "GET_INFLIGHT_FD: no area for %u rings of %u: %s", m->n_queues,
	               m->queue_size, strerror(-err));
	return 0;
}

int vhost_op_set_inflight_fd(struct vhost_dev *dev, struct vhost_request *msg)
{
	const struct vhost_msg_inflight *m = &msg->payload.inflight;
	bool packed = dev->features & VHOST_BIT(VIRTIO_F_RING_PACKED);
	struct vhost_inflight *area;
	const char *why;
	int err;

	if (vhost_dev_get_state(dev) == VHOST_DEV_RUNNING) {
		vhost_dev_warn(dev, "SET_INFLIGHT_FD: rings are running");
		return -EBUSY;
	}
	if (m->n_queues > dev->n_vqs) {
		vhost_dev_warn(dev, "SET_INFLIGHT_FD: %u rings, the device has %u", m->n_queues,
		               dev->n_vqs);
		return -EINVAL;
	}
	err = vhost_inflight_open(m, msg->fds[0], packed, &area, &why);
	if (err < 0) {
		vhost_dev_warn(dev, "SET_INFLIGHT_FD: %s: %s", why, strerror(-err));
		return err;
	}
	vhost_dev_set_inflight(dev, area);
	return 0;
}
