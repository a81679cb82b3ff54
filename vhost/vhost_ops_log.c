/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vhost_ops_log.c - requests of a migration: the dirty log, and saying where the guest is now
 *
 * A front end shares a log (SET_LOG_BASE), then switches logging on (SET_FEATURES with
 * VHOST_F_LOG_ALL) and off again, all on running rings. It may replace the log by a larger one when
 * the guest gets more memory. Either way rings move to maps that name the log, and when the front
 * end has its answer no worker writes without it, or to an old one.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include "vhost_ops.h"

int vhost_ops_check_log(struct vhost_dev *dev, const char *what, uint64_t features,
                        const struct vhost_log *log, const struct vhost_mem *mem)
{
	const struct vhost_region *last;

	if (!(features & VHOST_BIT(VHOST_F_LOG_ALL)) || !log || !mem || !mem->n_regions)
		return 0;
	last = &mem->regions[mem->n_regions - 1];
	if (vhost_log_covers(log, last->gpa, last->size))
		return 0;
	vhost_dev_warn(dev,
	               "%s: a dirty log of %" PRIu64 " bytes is too small for guest memory up to "
	               "0x%" PRIx64,
	               what, log->size, last->gpa + last->size - 1);
	return -EINVAL;
}

/*
 * Writes by rings that were started with logging on, but before this log was shared, are in no log
 * or in one that the front end has let go: QEMU starts a device that is reset during a migration in
 * that order. Nobody knows which pages they were, so it is all.
 */
static void close_gap(struct vhost_dev *dev)
{
	if (!dev->log_gap)
		return;
	dev->log_gap = false;
	vhost_dev_settle(dev); /* nobody writes unlogged from here on */
	if (dev->mem)
		vhost_log_mark_all(dev->log, dev->mem);
}

int vhost_op_set_log_base(struct vhost_dev *dev, struct vhost_request *msg)
{
	const struct vhost_msg_log *l = &msg->payload.log;
	struct vhost_log *log;
	const char *why;
	int err = vhost_log_new(msg->fds[0], l->mmap_size, l->mmap_offset, &log, &why);

	if (err < 0) {
		vhost_dev_warn(dev,
		               "SET_LOG_BASE: 0x%" PRIx64 " bytes from offset 0x%" PRIx64
		               " on: %s: %s",
		               l->mmap_size, l->mmap_offset, why, strerror(-err));
		return err;
	}
	err = vhost_ops_check_log(dev, "SET_LOG_BASE", dev->features, log, dev->mem);
	if (err < 0) {
		vhost_log_free(log);
		return err;
	}
	assert(!dev->old_log);
	dev->old_log = dev->log;
	dev->log = log;
	dev->must_wait |= dev->old_log != NULL;
	if (dev->features & VHOST_BIT(VHOST_F_LOG_ALL))
		vhost_ops_republish_running(dev);
	close_gap(dev);
	/* The answer is the request: QEMU takes anything, rust-vmm wants the 16 bytes back. */
	msg->hdr.size = sizeof(*l);
	return 0;
}

/* An eventfd for "there is something in the log": optional, and no front end waits for it. */
int vhost_op_set_log_fd(struct vhost_dev *dev, struct vhost_request *msg)
{
	(void)dev;
	(void)msg;
	return 0;
}

/*
 * The address is what QEMU found in the guest's device, so it is the guest's word. The owner
 * decides whether and how often it goes out.
 */
int vhost_op_send_rarp(struct vhost_dev *dev, struct vhost_request *msg)
{
	const uint8_t *mac = msg->payload.bytes;
	static const uint8_t none[6];
	const char *why = NULL;

	if (mac[0] & 1 || memcmp(mac, none, sizeof(none)) == 0)
		why = "not the address of one station";
	else if (dev->ops->announce)
		why = dev->ops->announce(dev->owner, mac);
	if (!why)
		return 0;
	vhost_dev_warn(dev, "SEND_RARP: %02x:%02x:%02x:%02x:%02x:%02x: %s", mac[0], mac[1], mac[2],
	               mac[3], mac[4], mac[5], why);
	return -EINVAL;
}
