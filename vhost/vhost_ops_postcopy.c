/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vhost_ops_postcopy.c - requests of a post-copy migration's destination
 *
 * ADVISE, before anything is copied: the front end gets a userfaultfd. LISTEN, when the guest is
 * about to run here: helper threads start; no memory is shared yet. SET_MEM_TABLE or ADD_MEM_REG
 * are then answered with addresses at which we will fault, and acknowledged by a word of their own;
 * no page is touched before. Rings start when their pages are here. END: all pages are.
 *
 * A second ADVISE before LISTEN is another try: it counts. A second LISTEN changes nothing, nor
 * does an END when it is over.
 *
 * QEMU (10.2 and before) cannot do it with several queue pairs: the second one waits for the answer
 * to a memory message that only the first one sends, and the guest is left without a network at its
 * target. Refused early, the guest lives on at its source.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include "vhost_ops.h"

/* Helper threads call it. */
static void attend(void *arg)
{
	struct vhost_dev *dev = arg;

	dev->ops->attend(dev->owner);
}

/* Call descriptors come at connection, for every ring that the front end has. */
static bool has_several_pairs(const struct vhost_dev *dev)
{
	for (uint16_t i = 2; i < dev->n_vqs; i++)
		if (dev->vqs[i].call_fd >= 0)
			return true;
	return false;
}

int vhost_op_postcopy_advise(struct vhost_dev *dev, struct vhost_request *msg)
{
	struct vhost_postcopy *pc;
	int err;

	/* An answer without a descriptor is a refusal. */
	msg->hdr.size = 0;
	if (vhost_postcopy_is_listening(dev->postcopy)) {
		vhost_dev_warn(dev, "POSTCOPY_ADVISE: after POSTCOPY_LISTEN");
		return 0;
	}
	if (has_several_pairs(dev)) {
		vhost_dev_warn(dev, "POSTCOPY_ADVISE: front ends that have several queue pairs "
		                    "hang in post-copy; migrate the guest without it");
		return 0;
	}
	err = vhost_postcopy_open(dev->n_vqs, attend, dev, &pc);
	if (err < 0) {
		vhost_dev_warn(dev, "POSTCOPY_ADVISE: no userfaultfd: %s", strerror(-err));
		return 0;
	}
	msg->reply_fd = fcntl(vhost_postcopy_fd(pc), F_DUPFD_CLOEXEC, 0);
	if (msg->reply_fd < 0) {
		vhost_dev_warn(dev, "POSTCOPY_ADVISE: %s", strerror(errno));
		vhost_postcopy_close(pc);
		return 0;
	}
	vhost_postcopy_close(dev->postcopy);
	dev->postcopy = pc;
	dev->postcopy_over = false;
	return 0;
}

static int listen_refused(struct vhost_dev *dev)
{
	int err;

	if (!dev->postcopy) {
		vhost_dev_warn(dev, "POSTCOPY_LISTEN: without POSTCOPY_ADVISE");
		return -EINVAL;
	}
	if (vhost_dev_is_late(dev))
		return 0;
	if (dev->mem && dev->mem->n_regions > 0) {
		vhost_dev_warn(dev, "POSTCOPY_LISTEN: guest memory is shared already");
		return -EBUSY;
	}
	err = vhost_postcopy_listen(dev->postcopy);
	if (err < 0)
		vhost_dev_warn(dev, "POSTCOPY_LISTEN: no thread for it: %s", strerror(-err));
	else
		vhost_dev_info(dev,
		               "post-copy migration: the guest's memory comes as it is needed");
	return err;
}

int vhost_op_postcopy_listen(struct vhost_dev *dev, struct vhost_request *msg)
{
	int err = listen_refused(dev);

	/* QEMU waits for the answer also where it has not negotiated REPLY_ACK. */
	if (msg->hdr.flags & VHOST_HDR_NEED_REPLY) {
		vhost_ops_reply_u64(msg, err < 0);
		msg->reply = true;
		return 0;
	}
	return err;
}

int vhost_op_postcopy_end(struct vhost_dev *dev, struct vhost_request *msg)
{
	struct vhost_mem *mem;

	if (!dev->postcopy && !dev->postcopy_over) {
		vhost_dev_warn(dev, "POSTCOPY_END: without POSTCOPY_ADVISE");
		return vhost_ops_reply_u64(msg, 1);
	}
	dev->postcopy_over = true;
	if (dev->mem && vhost_postcopy_is_listening(dev->postcopy)) {
		if (vhost_mem_arrived(dev->mem, &mem) < 0) {
			vhost_ops_refuse_nomem(dev);
			return -EPROTO;
		}
		vhost_mem_unguard(dev->mem);
		if (vhost_ops_replace_mem(dev, "POSTCOPY_END", mem) < 0)
			return -EPROTO;
		vhost_dev_settle(dev); /* nobody looks at what is late any more */
		vhost_mem_end_late(dev->mem);
		vhost_dev_info(dev,
		               "post-copy migration: all of the guest's memory is here, %" PRIu64
		               " pages were waited for",
		               vhost_postcopy_slept(dev->postcopy));
	}
	vhost_postcopy_close(dev->postcopy);
	dev->postcopy = NULL;
	/* What rings waited for is here. */
	vhost_ops_postcopy_serve(dev);
	return vhost_ops_reply_u64(msg, 0);
}

/* ---- rings that wait for pages ---- */

static_assert(VHOST_POSTCOPY_MAX_RANGES >= VHOST_VQ_MAX_WANTS, "a list is one job");

/* Give the list of a waiting ring to the helpers. Return: true if all of it is here. */
static bool hand_over(struct vhost_dev *dev, struct vhost_vq *vq, uint32_t n)
{
	const struct vhost_vq_map *map = atomic_load_explicit(&vq->map, memory_order_relaxed);
	bool here = true;

	for (uint32_t i = 0; i < n && map->late_mem; i++) {
		const struct vhost_want *w = &vq->wants[i];
		const struct vhost_region *r = vhost_mem_find(map->late_mem, w->addr, w->len);

		if (r && r->late &&
		    vhost_postcopy_want(dev->postcopy, vq->index, r->late,
		                        r->host + (w->addr - r->gpa), w->len, false))
			here = false;
	}
	return here;
}

bool vhost_ops_postcopy_serve(struct vhost_dev *dev)
{
	bool wake = false, ok = true;

	for (uint16_t i = 0; i < dev->n_vqs; i++) {
		struct vhost_vq *vq = &dev->vqs[i];
		enum vhost_postcopy_job job = vhost_postcopy_poll(dev->postcopy, i);
		uint32_t n;

		ok &= job != VHOST_POSTCOPY_FAILED;
		if (job == VHOST_POSTCOPY_DONE && vq->awaited)
			vhost_vq_try_start(dev, vq); /* warns */
		n = vq->started ? vhost_vq_asked(vq) : 0;
		if (n && job != VHOST_POSTCOPY_BUSY && hand_over(dev, vq, n)) {
			vhost_vq_answer(vq);
			wake = true;
		}
	}
	if (wake)
		dev->ops->wake(dev->owner);
	return ok;
}

/* ---- memory, in the listening state ---- */

int vhost_ops_postcopy_mem(struct vhost_dev *dev, struct vhost_request *msg, struct vhost_mem *mem,
                           struct vhost_region_desc *descs, uint32_t n)
{
	if (!vhost_postcopy_is_listening(dev->postcopy))
		return 0;
	vhost_postcopy_hold(dev->postcopy);
	for (uint32_t i = 0; i < n; i++) {
		const char *why;
		int err = vhost_mem_make_late(mem, descs[i].gpa, msg->fds[i], dev->postcopy,
		                              &descs[i].uva, &why);

		if (err < 0) {
			vhost_dev_warn(dev, "%s: %s", why, strerror(-err));
			vhost_mem_free(mem);
			return -EPROTO;
		}
	}
	msg->reply = true;
	return 0;
}

bool vhost_ops_is_postcopy_ack(const struct vhost_dev *dev, const struct vhost_request *msg)
{
	if (!vhost_postcopy_is_listening(dev->postcopy) || msg->hdr.size != sizeof(uint64_t) ||
	    msg->n_fds > 0)
		return false;
	return msg->hdr.id == VHOST_MSG_SET_MEM_TABLE || msg->hdr.id == VHOST_MSG_ADD_MEM_REG ||
	       msg->hdr.id == VHOST_MSG_REM_MEM_REG || msg->hdr.id == 0;
}

int vhost_ops_postcopy_ack(struct vhost_dev *dev, const struct vhost_request *msg)
{
	if (msg->payload.u64 != 0) {
		vhost_dev_warn(dev, "post-copy: front end cannot serve our faults: %" PRIu64,
		               msg->payload.u64);
		return -EPROTO;
	}
	vhost_postcopy_go(dev->postcopy);
	return 0;
}
