/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "clock.h"
#include "vhost_channel.h"
#include "vhost_dev_priv.h"
#include "vhost_iommu.h"

#define MAX_MISSES     256
#define MAX_REPLACED   16    /* tables that wait to be freed: then the workers are waited for */
#define MISS_PAGE      4096u /* front ends answer for a page of the IOMMU at least */
#define MAX_WANT_PAGES 16    /* of one wanted range asked for at a time */

/* A question under way. */
struct miss {
	uint64_t iova;
	uint64_t asked_ms;
	uint8_t access;
	bool sent;
};

struct vhost_iommu {
	struct vhost_iotlb *tlb;
	struct vhost_iotlb_tables tables;
	uint32_t n_replaced;
	struct vhost_iotlb_tables replaced[MAX_REPLACED + 2]; /* a message makes two at most */
	uint32_t n_misses;
	struct miss misses[MAX_MISSES];
};

bool vhost_iommu_on(const struct vhost_dev *dev)
{
	return dev->iommu && dev->features & VHOST_BIT(VIRTIO_F_ACCESS_PLATFORM);
}

struct vhost_iotlb_tables vhost_iommu_tables(const struct vhost_dev *dev)
{
	return dev->iommu->tables;
}

/* ---- questions ---- */

static void lose_channel(struct vhost_dev *dev, int err)
{
	vhost_dev_warn(dev, "back-end channel: %s; addresses cannot be asked for any more",
	               strerror(-err));
	close(dev->channel_fd);
	dev->channel_fd = -1;
}

/* Return: false if it has to be tried again */
static bool tell(struct vhost_dev *dev, uint8_t type, uint64_t iova, uint8_t access)
{
	struct vhost_iotlb_msg msg = {.iova = iova, .perm = access, .type = type};
	int err;

	if (dev->channel_fd < 0)
		return false;
	err = vhost_channel_send(dev->channel_fd, VHOST_BACKEND_IOTLB_MSG, &msg, sizeof(msg));
	if (err && err != -EAGAIN)
		lose_channel(dev, err);
	return err == 0;
}

static void send_misses(struct vhost_dev *dev)
{
	struct vhost_iommu *m = dev->iommu;

	for (uint32_t i = 0; i < m->n_misses; i++) {
		struct miss *miss = &m->misses[i];

		if (miss->sent)
			continue;
		miss->sent = tell(dev, VHOST_IOTLB_MISS, miss->iova, miss->access);
		miss->asked_ms = clock_now_ms();
		if (!miss->sent)
			return; /* nor would the others be */
	}
}

static void ask(struct vhost_dev *dev, uint64_t iova, uint8_t access)
{
	struct vhost_iommu *m = dev->iommu;

	for (uint32_t i = 0; i < m->n_misses; i++) {
		struct miss *miss = &m->misses[i];

		if (miss->iova / MISS_PAGE != iova / MISS_PAGE || access & ~miss->access)
			continue;
		if (clock_now_ms() - miss->asked_ms >= VHOST_MISS_RETRY_MS)
			miss->sent = false;
		return;
	}
	if (m->n_misses < MAX_MISSES)
		m->misses[m->n_misses++] = (struct miss){.iova = iova, .access = access};
}

/*
 * Is all of a range usable? If not, ask for what is missing of it. The caller sends the questions.
 * @iova + @len does not wrap.
 */
static bool ask_range(struct vhost_dev *dev, uint64_t iova, uint64_t len, uint8_t access)
{
	const struct vhost_mem *mem =
		access & VHOST_ACCESS_WO ? dev->iommu->tables.write : dev->iommu->tables.read;
	uint32_t asked = 0;

	while (len && asked < MAX_WANT_PAGES) {
		const struct vhost_region *r = vhost_mem_find(mem, iova, 1);
		uint64_t n = r ? r->size - (iova - r->gpa) : MISS_PAGE - iova % MISS_PAGE;

		if (!r) {
			ask(dev, iova, access);
			asked++;
		}
		if (n > len)
			n = len;
		iova += n;
		len -= n;
	}
	return !asked;
}

int vhost_iommu_set_channel(struct vhost_dev *dev, int fd)
{
	if (!vhost_channel_check(fd)) {
		vhost_dev_warn(dev, "SET_BACKEND_REQ_FD: descriptor is not a Unix stream socket");
		close(fd);
		return -EINVAL;
	}
	if (dev->channel_fd >= 0)
		close(dev->channel_fd);
	dev->channel_fd = fd;
	if (!dev->iommu)
		return 0;
	/* Whoever reads the new one has not heard of these. */
	for (uint32_t i = 0; i < dev->iommu->n_misses; i++)
		dev->iommu->misses[i].sent = false;
	send_misses(dev);
	return 0;
}

/* ---- rings ---- */

/* The host address of a range, if it is in one piece and all of @access is allowed. */
static void *lookup(const struct vhost_iotlb_tables *t, uint64_t iova, uint64_t len, uint8_t access)
{
	const struct vhost_mem *mem = access & VHOST_ACCESS_WO ? t->write : t->read;
	const struct vhost_region *r = vhost_mem_find(mem, iova, len);

	if (!r || (access == VHOST_ACCESS_RW && !vhost_mem_find(t->read, iova, len)))
		return NULL;
	return r->host + (iova - r->gpa);
}

int vhost_iommu_ring_part(struct vhost_dev *dev, uint16_t ring, uint64_t iova, uint64_t len,
                          uint8_t access, void **ret_host)
{
	bool known = true;
	void *host;

	if (len - 1 > UINT64_MAX - iova) {
		vhost_dev_warn(dev, "ring %u: at 0x%" PRIx64 " it would wrap around", ring, iova);
		return -EFAULT;
	}
	host = lookup(&dev->iommu->tables, iova, len, access);
	if (host) {
		*ret_host = host;
		return 0;
	}
	if (access & VHOST_ACCESS_WO)
		known = ask_range(dev, iova, len, access);
	if (known && access & VHOST_ACCESS_RO)
		known = ask_range(dev, iova, len, VHOST_ACCESS_RO);
	send_misses(dev);
	if (!known)
		return -EAGAIN;
	vhost_dev_warn(dev,
	               "ring %u: part at 0x%" PRIx64 ", %" PRIu64
	               " bytes, is not in one piece in guest memory",
	               ring, iova, len);
	return -EFAULT;
}

/* Is there a ring that waits for this address in vain? */
static void deny(struct vhost_dev *dev, uint64_t iova, uint8_t access)
{
	vhost_dev_warn(dev, "address 0x%" PRIx64 ": the guest's IOMMU does not allow to %s", iova,
	               access & VHOST_ACCESS_WO ? "write" : "read");
	(void)tell(dev, VHOST_IOTLB_ACCESS_FAIL, iova, access);
	for (uint16_t i = 0; i < dev->n_vqs; i++) {
		struct vhost_vq *vq = &dev->vqs[i];
		uint32_t n = vhost_vq_asked(vq);

		for (uint32_t k = 0; k < n; k++) {
			const struct vhost_want *w = &vq->wants[k];

			if (iova - w->addr < w->len && w->write == !!(access & VHOST_ACCESS_WO))
				vhost_vq_fail(vq, VHOST_VQ_BAD_ADDRESS);
		}
	}
}

/* Can the ring go on from where it waits? */
static bool serve_ring(struct vhost_dev *dev, struct vhost_vq *vq, uint32_t n)
{
	bool ready = true;

	for (uint32_t i = 0; i < n; i++) {
		const struct vhost_want *w = &vq->wants[i];
		uint8_t access = w->write ? VHOST_ACCESS_WO : VHOST_ACCESS_RO;

		if (w->len - 1 > UINT64_MAX - w->addr) {
			vhost_vq_fail(vq, VHOST_VQ_BAD_ADDRESS);
			return false;
		}
		/* The first is what it waits for, the others are what it will need. */
		if (!ask_range(dev, w->addr, w->len, access) && i == 0)
			ready = false;
	}
	return ready;
}

void vhost_iommu_serve(struct vhost_dev *dev)
{
	bool wake = false;

	if (!vhost_iommu_on(dev))
		return;
	for (uint16_t i = 0; i < dev->n_vqs; i++) {
		struct vhost_vq *vq = &dev->vqs[i];
		uint32_t n = vq->started ? vhost_vq_asked(vq) : 0;

		if (!n || !serve_ring(dev, vq, n))
			continue;
		vhost_vq_answer(vq);
		wake = true;
	}
	send_misses(dev);
	if (wake)
		dev->ops->wake(dev->owner);
}

/* ---- answers ---- */

/* What is known when there is no memory to say it with: that is never wrong. */
static struct vhost_mem nothing;

static void tables_free(struct vhost_iotlb_tables *t)
{
	if (t->read != &nothing) {
		vhost_mem_free(t->read);
		vhost_mem_free(t->write);
	}
	*t = (struct vhost_iotlb_tables){0};
}

void vhost_iommu_free_replaced(struct vhost_dev *dev)
{
	struct vhost_iommu *m = dev->iommu;

	while (m && m->n_replaced > 0)
		tables_free(&m->replaced[--m->n_replaced]);
}

/* Make tables of what is known now. Rings need new maps after this. */
static void rebuild(struct vhost_dev *dev)
{
	struct vhost_iommu *m = dev->iommu;
	struct vhost_iotlb_tables t = {.read = &nothing, .write = &nothing};

	if (vhost_iotlb_build(m->tlb, &t) < 0) {
		vhost_dev_warn(dev, "out of memory for translations; all are forgotten");
		vhost_iotlb_invalidate(m->tlb, 0, 0);
	}
	assert(m->n_replaced < ARRAY_SIZE(m->replaced));
	m->replaced[m->n_replaced++] = m->tables;
	m->tables = t;
	dev->must_wait |= m->n_replaced >= MAX_REPLACED;
}

static void refresh_rings(struct vhost_dev *dev)
{
	for (uint16_t i = 0; i < dev->n_vqs; i++) {
		struct vhost_vq *vq = &dev->vqs[i];

		if (!vq->started) {
			vhost_vq_try_start(dev, vq); /* warns */
		} else if (vhost_vq_refresh(dev, vq) < 0) {
			vhost_dev_warn(dev, "ring %u: stopped", i);
			vhost_vq_stop(dev, vq);
		}
	}
}

/* The front end has said something of [first, last]: questions about it are answered. */
static void settle_misses(struct vhost_dev *dev, uint64_t first, uint64_t last, uint8_t access)
{
	struct vhost_iommu *m = dev->iommu;

	for (uint32_t i = 0; i < m->n_misses;) {
		struct miss miss = m->misses[i];

		if (miss.iova < first || miss.iova > last) {
			i++;
			continue;
		}
		m->misses[i] = m->misses[--m->n_misses];
		if (miss.access & ~access)
			deny(dev, miss.iova, miss.access);
	}
}

static int update(struct vhost_dev *dev, const struct vhost_iotlb_msg *msg)
{
	struct vhost_iommu *m = dev->iommu;
	bool changed;
	int err;

	/* Late: an answer to a ring that is gone. It would be out of date when the next one comes.
	 */
	if (!vhost_dev_has_rings(dev))
		return 0;
	err = vhost_iotlb_update(m->tlb, dev->mem, msg, &changed);
	if (err < 0) {
		vhost_dev_warn(dev,
		               "IOTLB_MSG: update of 0x%llx, 0x%llx bytes at front end's 0x%llx, "
		               "access %u: %s",
		               msg->iova, msg->size, msg->uaddr, msg->perm,
		               err == -EFAULT ? "not in guest memory" : strerror(-err));
		return err;
	}
	settle_misses(dev, msg->iova, msg->iova + (msg->size - 1), msg->perm);
	rebuild(dev);
	refresh_rings(dev);
	/* Who still uses the old tables does nothing wrong, unless they said something else. */
	dev->must_wait |= changed;
	return 0;
}

static void invalidate(struct vhost_dev *dev, uint64_t iova, uint64_t size)
{
	if (vhost_iotlb_invalidate(dev->iommu->tlb, iova, size)) {
		rebuild(dev);
		refresh_rings(dev);
	}
	/* Replaced tables may say more than the current ones, and be in use still. */
	dev->must_wait |= dev->iommu->n_replaced > 0;
}

int vhost_iommu_message(struct vhost_dev *dev, const struct vhost_iotlb_msg *msg)
{
	if (!vhost_iommu_on(dev)) {
		vhost_dev_warn(dev, "IOTLB_MSG: ACCESS_PLATFORM was not negotiated");
		return -EINVAL;
	}
	switch (msg->type) {
	case VHOST_IOTLB_UPDATE:
		return update(dev, msg);
	case VHOST_IOTLB_INVALIDATE:
		invalidate(dev, msg->iova, msg->size);
		return 0;
	default:
		vhost_dev_warn(dev, "IOTLB_MSG: type %u is none that a front end sends", msg->type);
		return -EINVAL;
	}
}

void vhost_iommu_mem_replaced(struct vhost_dev *dev)
{
	if (!dev->iommu)
		return;
	vhost_iotlb_remap(dev->iommu->tlb, dev->mem);
	rebuild(dev);
}

void vhost_iommu_flush(struct vhost_dev *dev)
{
	struct vhost_iommu *m = dev->iommu;

	if (!m)
		return;
	m->n_misses = 0;
	if (!vhost_iotlb_invalidate(m->tlb, 0, 0))
		return;
	rebuild(dev);
	vhost_iommu_free_replaced(dev); /* no map is left that could hold them */
}

/* ---- begin and end ---- */

int vhost_iommu_prepare(struct vhost_dev *dev)
{
	struct vhost_iommu *m;

	if (dev->iommu)
		return 0;
	m = calloc(1, sizeof(*m));
	if (!m || vhost_iotlb_new(&m->tlb) < 0 || vhost_iotlb_build(m->tlb, &m->tables) < 0) {
		vhost_iotlb_free(m ? m->tlb : NULL);
		free(m);
		return -ENOMEM;
	}
	dev->iommu = m;
	return 0;
}

void vhost_iommu_end(struct vhost_dev *dev)
{
	struct vhost_iommu *m = dev->iommu;

	if (dev->channel_fd >= 0)
		close(dev->channel_fd);
	dev->channel_fd = -1;
	if (!m)
		return;
	vhost_iommu_free_replaced(dev);
	tables_free(&m->tables);
	vhost_iotlb_free(m->tlb);
	free(m);
	dev->iommu = NULL;
}
