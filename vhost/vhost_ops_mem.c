/* SPDX-License-Identifier: BSD-2-Clause */
/* vhost_ops_mem.c - requests about guest memory */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include "vhost_ops.h"

/*
 * Put a new table in place of the current one: every running ring moves to a map that is
 * translated by it; a ring that does not lie in it any more is stopped. The old table goes when the
 * workers have moved.
 */
static void replace_mem(struct vhost_dev *dev, struct vhost_mem *mem)
{
	assert(!dev->old_mem);
	dev->old_mem = dev->mem;
	dev->mem = mem;
	dev->must_wait |= dev->old_mem != NULL;
	vhost_ops_republish_running(dev);
	for (uint16_t i = 0; i < dev->n_vqs; i++)
		vhost_vq_try_start(dev, &dev->vqs[i]); /* warns; the table itself is good */
}

int vhost_op_set_mem_table(struct vhost_dev *dev, struct vhost_request *msg)
{
	const struct vhost_msg_mem_table *t = &msg->payload.table;
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
	err = vhost_mem_new(t->regions, msg->fds, t->n_regions, &mem, &why);
	if (err < 0) {
		vhost_dev_warn(dev, "SET_MEM_TABLE: %s: %s", why, strerror(-err));
		return err;
	}
	replace_mem(dev, mem);
	return 0;
}

int vhost_op_get_max_mem_slots(struct vhost_dev *dev, struct vhost_request *msg)
{
	(void)dev;
	return vhost_ops_reply_u64(msg, VHOST_MEM_MAX_REGIONS);
}

int vhost_op_add_mem_reg(struct vhost_dev *dev, struct vhost_request *msg)
{
	struct vhost_mem *mem;
	const char *why;
	int err = vhost_mem_add(dev->mem, &msg->payload.region.region, msg->fds[0], &mem, &why);

	if (err < 0) {
		vhost_dev_warn(dev, "ADD_MEM_REG: %s: %s", why, strerror(-err));
		return err;
	}
	replace_mem(dev, mem);
	return 0;
}

int vhost_op_rem_mem_reg(struct vhost_dev *dev, struct vhost_request *msg)
{
	const struct vhost_region_desc *d = &msg->payload.region.region;
	struct vhost_mem *mem;
	int err = vhost_mem_remove(dev->mem, d, &mem);

	if (err == -ENOENT)
		vhost_dev_warn(dev,
		               "REM_MEM_REG: no region of 0x%" PRIx64
		               " bytes at guest address 0x%" PRIx64 ", front end's 0x%" PRIx64,
		               d->size, d->gpa, d->uva);
	if (err == -ENOMEM)
		vhost_ops_refuse_nomem(dev);
	if (err < 0)
		return err;
	replace_mem(dev, mem);
	return 0;
}
