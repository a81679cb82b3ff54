/* SPDX-License-Identifier: BSD-2-Clause */
/* vhost_ops_ring.c - requests about one ring: size, addresses, position, descriptors */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "vhost_ops.h"
#include "vhost_signal.h"

void vhost_ops_republish_running(struct vhost_dev *dev)
{
	for (uint16_t i = 0; i < dev->n_vqs; i++) {
		struct vhost_vq *vq = &dev->vqs[i];

		dev->rings_changed |= vq->started;
		if (vq->started && vhost_vq_republish(dev, vq) < 0) {
			vhost_dev_warn(dev, "ring %u: stopped", i);
			vhost_vq_stop(dev, vq);
		}
	}
}

/* The dispatcher has checked the index. */
static struct vhost_vq *named_ring(struct vhost_dev *dev, const struct vhost_request *msg)
{
	return &dev->vqs[msg->payload.state.index];
}

int vhost_op_set_vring_num(struct vhost_dev *dev, struct vhost_request *msg)
{
	struct vhost_vq *vq = named_ring(dev, msg);
	uint32_t num = msg->payload.state.num;
	int err;

	if (vq->started) {
		vhost_dev_warn(dev, "SET_VRING_NUM: ring %u is running", vq->index);
		return -EBUSY;
	}
	/* Checked again at start: features may come later. */
	err = vhost_vq_check_size(dev, vq->index, num);
	if (err < 0)
		return err;
	vq->size = num;
	return vhost_vq_try_start(dev, vq);
}

static void take_addr(struct vhost_vq *vq, const struct vhost_vring_addr *a)
{
	vq->desc_uva = a->desc_user_addr;
	vq->avail_uva = a->avail_user_addr;
	vq->used_uva = a->used_user_addr;
	vq->log_gpa = a->log_guest_addr;
	vq->addr_flags = a->flags;
}

int vhost_op_set_vring_addr(struct vhost_dev *dev, struct vhost_request *msg)
{
	const struct vhost_vring_addr *a = &msg->payload.addr;
	struct vhost_vq *vq = named_ring(dev, msg);
	struct vhost_vring_addr old = {.desc_user_addr = vq->desc_uva,
	                               .avail_user_addr = vq->avail_uva,
	                               .used_user_addr = vq->used_uva,
	                               .log_guest_addr = vq->log_gpa,
	                               .flags = vq->addr_flags};
	bool moved = a->desc_user_addr != vq->desc_uva || a->avail_user_addr != vq->avail_uva ||
	             a->used_user_addr != vq->used_uva;
	bool log_moved = a->flags != vq->addr_flags || a->log_guest_addr != vq->log_gpa;
	int err;

	/* Virtio 1.3, 2.7 */
	if (a->desc_user_addr % 16 || a->avail_user_addr % 2 || a->used_user_addr % 4) {
		vhost_dev_warn(dev,
		               "SET_VRING_ADDR: ring %u: 0x%llx, 0x%llx, 0x%llx are not aligned",
		               vq->index, a->desc_user_addr, a->avail_user_addr, a->used_user_addr);
		return -EINVAL;
	}
	take_addr(vq, a);
	vq->addr_set = true;
	if (!vq->started)
		return vhost_vq_try_start(dev, vq);
	/* On a running ring QEMU sends the same again, for the log flag. */
	if (!moved && !(log_moved && dev->log))
		return 0;
	err = vhost_vq_republish(dev, vq);
	if (err < 0)
		take_addr(vq, &old);
	else
		dev->rings_changed = true; /* as in republish_running() */
	return err;
}

int vhost_op_set_vring_base(struct vhost_dev *dev, struct vhost_request *msg)
{
	struct vhost_vq *vq = named_ring(dev, msg);
	uint32_t base = msg->payload.state.num;

	if (vq->started) {
		vhost_dev_warn(dev, "SET_VRING_BASE: ring %u is running", vq->index);
		return -EBUSY;
	}
	if (base > UINT16_MAX && dev->features &&
	    !(dev->features & VHOST_BIT(VIRTIO_F_RING_PACKED))) {
		vhost_dev_warn(dev, "SET_VRING_BASE: ring %u: %u is no index of a split ring",
		               vq->index, base);
		return -EINVAL;
	}
	vq->base = base; /* checked again at start: its format depends on size and features */
	return vhost_vq_try_start(dev, vq);
}

/* This is how a front end stops a ring. */
int vhost_op_get_vring_base(struct vhost_dev *dev, struct vhost_request *msg)
{
	struct vhost_vq *vq = named_ring(dev, msg);

	vhost_vq_stop(dev, vq);
	vhost_vq_forget_kick(dev, vq);
	/* A ring that is reset alone (RING_RESET) goes on with it: QEMU sends it only once. */
	if (!(dev->features & VHOST_BIT(VHOST_F_RING_RESET)))
		vhost_vq_forget_call(dev, vq);
	vhost_dev_settle(dev); /* the position is exact only now */
	vhost_kept_forget(&dev->kept[vq->index]);
	msg->payload.state.num = vq->base;
	msg->hdr.size = sizeof(msg->payload.state);
	return 0;
}

int vhost_ops_enable_ring(struct vhost_dev *dev, struct vhost_vq *vq, bool on)
{
	bool was = vq->enable_wanted;
	int err;

	if (on == was)
		return 0;
	vq->enable_wanted = on;
	if (!vq->started || !(dev->features & VHOST_BIT(VHOST_F_PROTOCOL_FEATURES)))
		return 0;
	err = vhost_vq_republish(dev, vq);
	if (err < 0)
		vq->enable_wanted = was;
	else
		dev->rings_changed = true;
	return err;
}

int vhost_op_set_vring_enable(struct vhost_dev *dev, struct vhost_request *msg)
{
	struct vhost_vq *vq = named_ring(dev, msg);
	uint32_t on = msg->payload.state.num;
	int err;

	if (on > 1) {
		vhost_dev_warn(dev, "SET_VRING_ENABLE: ring %u: %u is neither 0 nor 1", vq->index,
		               on);
		return -EINVAL;
	}
	/* QEMU sends this before SET_FEATURES, on every reset: it is remembered. */
	err = vhost_ops_enable_ring(dev, vq, on);
	if (err < 0)
		return err;
	vhost_vq_try_start(dev, vq); /* warns; the wish itself is granted */
	return 0;
}

/* An eventfd and nothing else: a worker reads or writes 8 bytes, and must not block doing it. */
static int check_eventfd(struct vhost_dev *dev, const char *what, uint32_t index, int fd)
{
	static const char wanted[] = "anon_inode:[eventfd]";
	char path[32], target[sizeof(wanted) + 1];
	ssize_t n;
	int flags;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, target, sizeof(target));
	if (n != (ssize_t)sizeof(wanted) - 1 || memcmp(target, wanted, (size_t)n) != 0) {
		vhost_dev_warn(dev, "%s: ring %u: descriptor is not an eventfd", what, index);
		return -EINVAL;
	}
	flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) {
		vhost_dev_warn(dev, "%s: ring %u: descriptor cannot be made non-blocking", what,
		               index);
		return -EINVAL;
	}
	return 0;
}

/*
 * claim_ring_fd() - the descriptor of a KICK, CALL or ERR message
 * @ret_fd: owned by the caller, or -1 if the front end has none
 *
 * The number of descriptors was checked against bit 8 by the dispatcher.
 */
static int claim_ring_fd(struct vhost_dev *dev, struct vhost_request *msg, const char *what,
                         int *ret_fd)
{
	uint32_t index = msg->payload.u64 & VHOST_RING_FD_INDEX_MASK;
	int err;

	if (msg->payload.u64 & VHOST_RING_FD_NONE) {
		*ret_fd = -1;
		return 0;
	}
	err = check_eventfd(dev, what, index, msg->fds[0]);
	if (err < 0)
		return err;
	*ret_fd = vhost_request_claim_fd(msg, 0);
	return 0;
}

static struct vhost_vq *fd_ring(struct vhost_dev *dev, const struct vhost_request *msg)
{
	return &dev->vqs[msg->payload.u64 & VHOST_RING_FD_INDEX_MASK];
}

int vhost_op_set_vring_kick(struct vhost_dev *dev, struct vhost_request *msg)
{
	struct vhost_vq *vq = fd_ring(dev, msg);
	int fd, err;

	err = claim_ring_fd(dev, msg, "SET_VRING_KICK", &fd);
	if (err < 0)
		return err;
	vhost_dev_retire_fd(dev, vq->kick_fd);
	vq->kick_fd = fd;
	vq->kick_set = true;
	if (vq->started) {
		dev->rings_changed = true;
		return 0;
	}
	return vhost_vq_try_start(dev, vq);
}

int vhost_op_set_vring_call(struct vhost_dev *dev, struct vhost_request *msg)
{
	struct vhost_vq *vq = fd_ring(dev, msg);
	int old = vq->call_fd;
	int fd, err;

	err = claim_ring_fd(dev, msg, "SET_VRING_CALL", &fd);
	if (err < 0)
		return err;
	vq->call_fd = fd;
	if (vq->started) {
		err = vhost_vq_republish(dev, vq);
		if (err < 0) {
			vq->call_fd = old;
			if (fd >= 0)
				close(fd);
			return err;
		}
		/* What was signalled on the old one meanwhile, nobody hears. */
		(void)vhost_signal(fd);
	}
	vhost_dev_retire_fd(dev, old);
	return 0;
}

int vhost_op_set_vring_err(struct vhost_dev *dev, struct vhost_request *msg)
{
	struct vhost_vq *vq = fd_ring(dev, msg);
	int fd, err;

	err = claim_ring_fd(dev, msg, "SET_VRING_ERR", &fd);
	if (err < 0)
		return err;
	if (vq->err_fd >= 0)
		close(vq->err_fd); /* only this thread uses it */
	vq->err_fd = fd;
	return 0;
}
