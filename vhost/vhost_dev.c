/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vhost_dev.c - the device object: its life, and the one place where it waits for the workers
 *
 * Theory of operation
 * -------------------
 * A message changes things at once for those who look from now on: it publishes maps, stores a new
 * memory table. What was replaced is put aside in the device. When the message has been carried
 * out, vhost_dev_settle() tells the owner, waits a single time until no worker can hold anything
 * old, and frees it. Only then is the front end answered; so an answer to GET_VRING_BASE, a new
 * memory table or a call descriptor means that the old state is out of use.
 *
 * What a front end gets wrong is answered in one of three ways. A message that cannot be a message
 * (sizes, descriptors, a ring that does not exist) ends the connection. A request that is well
 * formed and cannot be served is refused: the answer says so if one was asked for, and a line in
 * the log in any case. Guest memory that disappears ends the connection from our side.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "clock.h"
#include "lines.h"
#include "vhost_ops.h"
#include "vhost_signal.h"
#include "vhost_sigbus.h"

#define MSGS_PER_RECEIVE 64
#define LIMIT_BURST      16 /* lines at once, for each of the two kinds */
#define LIMIT_REFILL_MS  1000
#define TEXT_MAX         448 /* longer ones are cut */

/* ---- lines for the log ---- */

typedef void say_fn(void *owner, const char *text);

/* @each, if any, gets every text; @out, if any, as many lines as the limit allows. */
printf_like(5, 0) static void say(struct vhost_dev *dev, say_fn *each, say_fn *out,
                                  struct vhost_limit *l, const char *format, va_list args)
{
	char text[TEXT_MAX], line[TEXT_MAX + 64];

	vsnprintf(text, sizeof(text), format, args);
	if (each)
		each(dev->owner, text);
	if (!out)
		return;
	if (!rate_take(&l->rate, clock_now_ms(), LIMIT_BURST, LIMIT_REFILL_MS)) {
		l->suppressed++;
		return;
	}
	if (l->suppressed)
		snprintf(line, sizeof(line), "%s (%u lines suppressed before)", text,
		         l->suppressed);
	out(dev->owner, l->suppressed ? line : text);
	l->suppressed = 0;
}

void vhost_dev_warn(struct vhost_dev *dev, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(dev, dev->ops->refused, dev->ops->warn, &dev->warn_limit, format, args);
	va_end(args);
}

void vhost_dev_info(struct vhost_dev *dev, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(dev, NULL, dev->ops->info, &dev->info_limit, format, args);
	va_end(args);
}

/* ---- what is offered ---- */

uint64_t vhost_dev_default_features(void)
{
	return VHOST_BIT(VIRTIO_F_VERSION_1) | VHOST_BIT(VIRTIO_F_RING_PACKED) |
	       VHOST_BIT(VIRTIO_NET_F_MRG_RXBUF) | VHOST_BIT(VIRTIO_RING_F_INDIRECT_DESC) |
	       VHOST_BIT(VIRTIO_RING_F_EVENT_IDX) | VHOST_BIT(VIRTIO_F_IN_ORDER) |
	       VHOST_BIT(VIRTIO_NET_F_MQ) | VHOST_BIT(VIRTIO_F_ANY_LAYOUT) |
	       VHOST_BIT(VIRTIO_F_ACCESS_PLATFORM) | VHOST_BIT(VIRTIO_NET_F_MTU) |
	       VHOST_BIT(VIRTIO_NET_F_GUEST_ANNOUNCE) | VHOST_BIT(VHOST_F_LOG_ALL) |
	       VHOST_BIT(VIRTIO_NET_F_MAC) | VHOST_BIT(VIRTIO_F_NOTIFY_ON_EMPTY) |
	       VHOST_BIT(VHOST_F_RING_RESET) | VHOST_BIT(VHOST_F_PROTOCOL_FEATURES);
}

uint64_t vhost_dev_default_protocol_features(void)
{
	return VHOST_BIT(VHOST_PROTO_MQ) | VHOST_BIT(VHOST_PROTO_LOG_SHMFD) |
	       VHOST_BIT(VHOST_PROTO_RARP) | VHOST_BIT(VHOST_PROTO_REPLY_ACK) |
	       VHOST_BIT(VHOST_PROTO_BACKEND_REQ) | VHOST_BIT(VHOST_PROTO_BACKEND_SEND_FD) |
	       VHOST_BIT(VHOST_PROTO_NET_MTU) | VHOST_BIT(VHOST_PROTO_INFLIGHT_SHMFD) |
	       VHOST_BIT(VHOST_PROTO_CONFIGURE_MEM_SLOTS) | VHOST_BIT(VHOST_PROTO_STATUS) |
	       VHOST_BIT(VHOST_PROTO_CONFIG) | VHOST_BIT(VHOST_PROTO_GPA_ADDRESSES) |
	       (vhost_postcopy_missing() ? 0 : VHOST_BIT(VHOST_PROTO_PAGEFAULT));
}

/* ---- life of the object ---- */

/* What bits need of each other */
static void drop_dependent(struct vhost_dev_config *c)
{
	const uint64_t channel =
		VHOST_BIT(VHOST_PROTO_REPLY_ACK) | VHOST_BIT(VHOST_PROTO_BACKEND_REQ);

	/* They cannot be negotiated without the bit that announces them. */
	if (!(c->features & VHOST_BIT(VHOST_F_PROTOCOL_FEATURES)))
		c->protocol_features = 0;
	/* Translations are asked for there, and have to be answered; QEMU insists on both. */
	if (channel & ~c->protocol_features)
		c->features &= ~VHOST_BIT(VIRTIO_F_ACCESS_PLATFORM);
	/* An address without a meaning and a page that is elsewhere: rings wait for either only. */
	if (c->features & VHOST_BIT(VIRTIO_F_ACCESS_PLATFORM))
		c->protocol_features &= ~VHOST_BIT(VHOST_PROTO_PAGEFAULT);
}

static int check_config(const struct vhost_dev_config *c)
{
	if (c->max_queue_pairs < 1 || c->max_queue_pairs > VHOST_MAX_QUEUE_PAIRS)
		return -EINVAL;
	if (c->features & ~vhost_dev_default_features())
		return -EINVAL;
	if (c->protocol_features & ~vhost_dev_default_protocol_features())
		return -EINVAL;
	return 0;
}

int vhost_dev_new(const struct vhost_dev_config *config, const struct vhost_dev_ops *ops,
                  void *owner, struct vhost_dev **ret_dev)
{
	struct vhost_dev *dev;
	int err;

	err = check_config(config);
	if (err < 0)
		return err;
	dev = calloc(1, sizeof(*dev));
	if (!dev)
		return -ENOMEM;
	dev->config = *config;
	drop_dependent(&dev->config);
	dev->channel_fd = -1;
	dev->ops = ops;
	dev->owner = owner;
	dev->n_vqs = (uint16_t)(2 * config->max_queue_pairs);
	vhost_io_init(&dev->io);
	dev->old_fds = calloc(2u * dev->n_vqs, sizeof(*dev->old_fds));
	dev->vqs = aligned_alloc(CACHE_LINE, dev->n_vqs * sizeof(*dev->vqs));
	dev->kept = config->kept;
	if (!dev->kept)
		dev->kept = dev->own_kept = lines_alloc(dev->n_vqs, sizeof(*dev->own_kept));
	if (!dev->old_fds || !dev->vqs || !dev->kept) {
		vhost_dev_free(dev);
		return -ENOMEM;
	}
	for (uint16_t i = 0; i < dev->n_vqs; i++)
		vhost_vq_init(&dev->vqs[i], i);
	*ret_dev = dev;
	return 0;
}

void vhost_dev_free(struct vhost_dev *dev)
{
	if (!dev)
		return;
	vhost_dev_detach(dev);
	free(dev->vqs);
	free(dev->old_fds);
	free(dev->own_kept);
	free(dev);
}

/* ---- what waits for the workers ---- */

void vhost_dev_retire_fd(struct vhost_dev *dev, int fd)
{
	if (fd < 0)
		return;
	assert(dev->n_old_fds < 2u * dev->n_vqs);
	dev->old_fds[dev->n_old_fds++] = fd;
	dev->must_wait = true;
}

void vhost_dev_set_inflight(struct vhost_dev *dev, struct vhost_inflight *area)
{
	assert(!dev->old_inflight);
	dev->old_inflight = dev->inflight;
	dev->inflight = area;
	dev->must_wait |= dev->old_inflight != NULL;
}

static void free_replaced(struct vhost_dev *dev)
{
	while (dev->old_maps) {
		struct vhost_map_node *node = dev->old_maps;

		dev->old_maps = node->next;
		free(node);
	}
	vhost_mem_free(dev->old_mem);
	dev->old_mem = NULL;
	vhost_inflight_free(dev->old_inflight);
	dev->old_inflight = NULL;
	vhost_log_free(dev->old_log);
	dev->old_log = NULL;
	vhost_iommu_free_replaced(dev);
	while (dev->n_old_fds > 0)
		close(dev->old_fds[--dev->n_old_fds]);
}

/* The wait is over: positions of stopped rings are ours, and their kick descriptors unused. */
static bool finish_rings(struct vhost_dev *dev)
{
	bool any = false;

	for (uint16_t i = 0; i < dev->n_vqs; i++) {
		struct vhost_vq *vq = &dev->vqs[i];

		any |= vq->started;
		if (vq->stopping)
			vhost_vq_save_base(vq);
		vq->stopping = false;
		if (!vq->kick_set && vq->kick_fd >= 0) {
			close(vq->kick_fd);
			vq->kick_fd = -1;
		}
	}
	return any;
}

static void tell_state(struct vhost_dev *dev, bool running)
{
	if (running == dev->running)
		return;
	dev->running = running;
	if (running)
		vhost_dev_info(dev, "running, %" PRIu64 " MiB of guest memory in %u region%s",
		               vhost_mem_bytes(dev->mem) >> 20, dev->mem->n_regions,
		               dev->mem->n_regions == 1 ? "" : "s");
	else
		vhost_dev_info(dev, "all rings stopped");
}

void vhost_dev_settle(struct vhost_dev *dev)
{
	bool changed = dev->rings_changed;

	if (!changed && !dev->must_wait)
		return;
	dev->rings_changed = dev->must_wait = false;
	if (changed)
		dev->ops->rings_changed(dev->owner);
	dev->ops->quiesce(dev->owner);
	tell_state(dev, finish_rings(dev));
	free_replaced(dev);
	if (!vhost_dev_has_rings(dev))
		vhost_iommu_flush(dev);
}

/* ---- life of a connection ---- */

void vhost_dev_offer(struct vhost_dev *dev, uint64_t features)
{
	dev->config.features = features & vhost_dev_default_features();
}

int vhost_dev_attach(struct vhost_dev *dev, int fd)
{
	if (dev->io.fd >= 0) {
		close(fd);
		return -EBUSY;
	}
	return vhost_io_open(&dev->io, fd);
}

void vhost_dev_detach(struct vhost_dev *dev)
{
	if (dev->io.fd < 0)
		return;
	for (uint16_t i = 0; i < dev->n_vqs; i++) {
		vhost_vq_stop(dev, &dev->vqs[i]);
		vhost_vq_forget_kick(dev, &dev->vqs[i]);
		vhost_vq_forget_call(dev, &dev->vqs[i]);
	}
	if (dev->mem) {
		dev->old_mem = dev->mem;
		dev->mem = NULL;
		dev->must_wait = true;
	}
	vhost_dev_set_inflight(dev, NULL);
	if (dev->log) {
		dev->old_log = dev->log;
		dev->log = NULL;
		dev->must_wait = true;
	}
	vhost_dev_settle(dev);
	vhost_postcopy_close(dev->postcopy);
	dev->postcopy = NULL;
	dev->postcopy_over = false;
	for (uint16_t i = 0; i < dev->n_vqs; i++)
		vhost_vq_reset(&dev->vqs[i]);
	vhost_iommu_end(dev);
	vhost_io_close(&dev->io);
	dev->features = dev->protocol_features = dev->warned_ids = 0;
	dev->log_gap = false;
	dev->mtu = 0;
	dev->status = 0;
	dev->broken = false;
}

int vhost_dev_receive(struct vhost_dev *dev)
{
	if (dev->io.fd < 0)
		return -ENOTCONN;
	vhost_dev_report_faults(dev);
	for (int i = 0; i < MSGS_PER_RECEIVE && !dev->broken; i++) {
		int ret = vhost_io_receive(&dev->io);

		if (ret == -EPROTO)
			vhost_dev_warn(dev, "%s", dev->io.why);
		if (ret <= 0)
			return ret;
		ret = vhost_dispatch(dev);
		vhost_io_done(&dev->io);
		if (ret < 0)
			return ret;
	}
	return dev->broken ? -EPROTO : 0;
}

/* ---- faults ---- */

static uint32_t stop_given_up(struct vhost_dev *dev)
{
	uint32_t n = 0;

	for (uint16_t i = 0; i < dev->n_vqs; i++) {
		struct vhost_vq *vq = &dev->vqs[i];

		if (!vq->started ||
		    atomic_load_explicit(&vq->fault, memory_order_relaxed) == VHOST_VQ_OK)
			continue;
		vhost_vq_stop(dev, vq);
		if (vq->err_fd >= 0)
			(void)vhost_signal(vq->err_fd);
		n++;
	}
	return n;
}

/* A front end that takes guest memory away cannot be served, and may never say another word. */
static uint32_t give_up(struct vhost_dev *dev, const char *why)
{
	uint32_t n = 0;

	for (uint16_t i = 0; i < dev->n_vqs; i++) {
		n += dev->vqs[i].started;
		vhost_vq_stop(dev, &dev->vqs[i]);
	}
	vhost_dev_warn(dev, "%s", why);
	dev->broken = true;
	shutdown(dev->io.fd, SHUT_RDWR);
	return n;
}

static uint32_t stop_lost_memory(struct vhost_dev *dev)
{
	uint64_t events = vhost_sigbus_events();
	const char *what = NULL;
	char why[128];

	if (events == dev->sigbus_seen)
		return 0;
	dev->sigbus_seen = events;
	if (vhost_mem_lost(dev->mem))
		what = "guest memory";
	else if (vhost_inflight_lost(dev->inflight))
		what = "the area of SET_INFLIGHT_FD";
	else if (vhost_log_lost(dev->log))
		what = "the dirty log";
	if (!what)
		return 0;
	snprintf(why, sizeof(why), "%s disappeared: %s", what,
	         vhost_dev_is_late(dev) ? "the file behind it was truncated, or a page taken back"
	                                : "the file behind it was truncated, or its file "
	                                  "system is full");
	return give_up(dev, why);
}

/* Pages that came, and those that never will. */
static uint32_t serve_postcopy(struct vhost_dev *dev)
{
	if (!dev->postcopy || vhost_ops_postcopy_serve(dev))
		return 0;
	return give_up(dev, "guest memory disappeared: a page that the post-copy migration owes "
	                    "us cannot be had");
}

uint32_t vhost_dev_report_faults(struct vhost_dev *dev)
{
	uint32_t n;

	if (dev->io.fd < 0 || dev->broken)
		return 0;
	n = stop_lost_memory(dev);
	vhost_iommu_serve(dev);
	n += stop_given_up(dev);
	if (!dev->broken)
		n += serve_postcopy(dev);
	vhost_dev_settle(dev);
	return n;
}

bool vhost_dev_broken(const struct vhost_dev *dev)
{
	return dev->broken;
}

/* ---- views ---- */

bool vhost_dev_has_rings(const struct vhost_dev *dev)
{
	for (uint16_t i = 0; i < dev->n_vqs; i++)
		if (dev->vqs[i].started || vhost_vq_is_complete(&dev->vqs[i]))
			return true;
	return false;
}

int vhost_dev_fd(const struct vhost_dev *dev)
{
	return dev->io.fd;
}

struct vhost_vq *vhost_dev_vq(struct vhost_dev *dev, uint16_t index)
{
	return index < dev->n_vqs ? &dev->vqs[index] : NULL;
}

uint16_t vhost_dev_n_vqs(const struct vhost_dev *dev)
{
	return dev->n_vqs;
}

enum vhost_dev_state vhost_dev_get_state(const struct vhost_dev *dev)
{
	if (dev->io.fd < 0)
		return VHOST_DEV_DISCONNECTED;
	for (uint16_t i = 0; i < dev->n_vqs; i++)
		if (dev->vqs[i].started)
			return VHOST_DEV_RUNNING;
	return VHOST_DEV_NEGOTIATING;
}

const char *vhost_dev_state_name(enum vhost_dev_state state)
{
	static const char *const names[] = {
		[VHOST_DEV_DISCONNECTED] = "disconnected",
		[VHOST_DEV_NEGOTIATING] = "negotiating",
		[VHOST_DEV_RUNNING] = "running",
	};
	static_assert(ARRAY_SIZE(names) == VHOST_DEV_N_STATES, "a state without a name");

	return (unsigned int)state < VHOST_DEV_N_STATES ? names[state] : "unknown";
}

uint64_t vhost_dev_features(const struct vhost_dev *dev)
{
	return dev->features;
}

uint64_t vhost_dev_protocol_features(const struct vhost_dev *dev)
{
	return dev->protocol_features;
}

const struct vhost_mem *vhost_dev_mem(const struct vhost_dev *dev)
{
	return dev->mem;
}

uint16_t vhost_dev_mtu(const struct vhost_dev *dev)
{
	return dev->mtu;
}

uint8_t vhost_dev_status(const struct vhost_dev *dev)
{
	return dev->status;
}
