/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vhost_dev_priv.h - the device object, for the files that make it up
 *
 *   vhost_dev.c   life of the object and of a connection; what waits for the workers; reports
 *   vhost_ops*.c  requests: what each may look like, and what it does; see vhost_ops.h
 *   vhost_vq.c    rings: maps, start, stop
 *   vhost_iommu.c what addresses mean behind an IOMMU
 */
#ifndef VHOST_DEV_PRIV_H
#define VHOST_DEV_PRIV_H

#include "rate.h"
#include "vhost_dev.h"
#include "vhost_inflight.h"
#include "vhost_io.h"
#include "vhost_iommu.h"
#include "vhost_kept.h"
#include "vhost_postcopy.h"

/* Lines for the log that a peer can cause: some at once, then one a second. */
struct vhost_limit {
	struct rate rate;
	uint32_t suppressed;
};

/* A map together with its place on the list of those that wait to be freed. */
struct vhost_map_node {
	struct vhost_vq_map map; /* first: what workers see is this address */
	struct vhost_map_node *next;
};

struct vhost_dev {
	struct vhost_dev_config config;
	const struct vhost_dev_ops *ops;
	void *owner;
	struct vhost_limit warn_limit;
	struct vhost_limit info_limit;
	uint16_t n_vqs;
	struct vhost_vq *vqs;
	struct vhost_kept *kept; /* one per ring; the owner's, or own_kept */
	struct vhost_kept *own_kept;
	uint64_t sigbus_seen; /* vhost_sigbus_events() when guest memory was last found whole */

	/* Of the connection; cleared by detach */
	struct vhost_io io;
	uint64_t features;
	uint64_t protocol_features;
	uint64_t warned_ids; /* bit per request that was warned about as unsupported */
	struct vhost_mem *mem;
	struct vhost_iommu *iommu;       /* NULL unless ACCESS_PLATFORM was ever acked */
	int channel_fd;                  /* SET_BACKEND_REQ_FD; owned; -1: none */
	struct vhost_inflight *inflight; /* SET_INFLIGHT_FD, or NULL */
	struct vhost_log *log;           /* last SET_LOG_BASE; in use while LOG_ALL is acked */
	bool log_gap; /* a ring was started with LOG_ALL, and no SET_LOG_BASE came since */
	struct vhost_postcopy *postcopy; /* from POSTCOPY_ADVISE to POSTCOPY_END */
	bool postcopy_over;              /* POSTCOPY_END came */
	uint16_t mtu;
	uint8_t status;
	bool broken;
	bool running; /* as last told through ops->info */

	/*
	 * What the current message replaced. Workers may use it until ops->quiesce() has returned;
	 * vhost_dev_settle() waits once for all of it and then lets go.
	 */
	bool rings_changed;
	bool must_wait;
	struct vhost_map_node *old_maps;
	struct vhost_mem *old_mem;
	struct vhost_inflight *old_inflight;
	struct vhost_log *old_log;
	uint32_t n_old_fds;
	int *old_fds; /* room for two per ring */
};

/* vhost_dev.c */

/** vhost_dev_settle() - tell the owner, wait for the workers, free what was replaced */
void vhost_dev_settle(struct vhost_dev *dev);

/** vhost_dev_retire_fd() - close a kick or call descriptor once no worker uses it. Takes -1. */
void vhost_dev_retire_fd(struct vhost_dev *dev, int fd);

/** vhost_dev_set_inflight() - take @area, or NULL; the one before goes when no worker uses it */
void vhost_dev_set_inflight(struct vhost_dev *dev, struct vhost_inflight *area);

/** vhost_dev_warn() - one line for the log, unless there were many lately */
void vhost_dev_warn(struct vhost_dev *dev, const char *format, ...) printf_like(2, 3);

/** vhost_dev_info() - likewise */
void vhost_dev_info(struct vhost_dev *dev, const char *format, ...) printf_like(2, 3);

/** vhost_dev_is_late() - may pages of guest memory come late now (post-copy)? */
static inline bool vhost_dev_is_late(const struct vhost_dev *dev)
{
	return vhost_postcopy_is_listening(dev->postcopy) && !dev->postcopy_over;
}

/* vhost_ops.c */

/**
 * vhost_dispatch() - check and carry out the message in dev->io.msg, and answer it
 *
 * Return: 0, -EPROTO when the connection has to end (already warned), or an error of the socket.
 */
int vhost_dispatch(struct vhost_dev *dev);

/** vhost_dev_has_rings() - is there a ring that runs, or has all it needs to? */
bool vhost_dev_has_rings(const struct vhost_dev *dev);

/* vhost_vq.c. All leave the waiting to vhost_dev_settle(). */

/** vhost_vq_init() - a stopped ring of a new device */
void vhost_vq_init(struct vhost_vq *vq, uint16_t index);

/** vhost_vq_reset() - forget what the front end said of a stopped ring; closes descriptors */
void vhost_vq_reset(struct vhost_vq *vq);

/**
 * vhost_vq_check_size() - may a ring have @size descriptors, with the features acked so far?
 * Return: 0, -EINVAL (warned).
 */
int vhost_vq_check_size(struct vhost_dev *dev, uint16_t index, uint32_t size);

/** vhost_vq_save_base() - vq->base becomes where the ring is; nobody uses it any more */
void vhost_vq_save_base(struct vhost_vq *vq);

/** vhost_vq_is_complete() - is all known that a ring needs to start, but for memory? */
bool vhost_vq_is_complete(const struct vhost_vq *vq);

/**
 * vhost_vq_try_start() - start the ring if everything needed for it is known
 *
 * Return: 0 started, running already, or something is still missing, be it the meaning of its
 * addresses (vhost_iommu.h); -EINVAL, -EFAULT, -ENOMEM when what the front end said cannot be
 * served (warned).
 */
int vhost_vq_try_start(struct vhost_dev *dev, struct vhost_vq *vq);

/**
 * vhost_vq_republish() - a new map for a running ring, from what is known now
 *
 * Positions carry over, as the worker keeps them. On failure the old map stays (warned). A ring
 * whose addresses mean nothing at present is suspended, without a map, until the next call.
 * Return: 0, -EINVAL, -EFAULT, -ENOMEM, -EBUSY (RING_PACKED changed).
 */
int vhost_vq_republish(struct vhost_dev *dev, struct vhost_vq *vq);

/**
 * vhost_vq_refresh() - likewise, when what the old map says is still right: unless the ring is
 * suspended by it, nobody has to wait until the workers have left the old map
 */
int vhost_vq_refresh(struct vhost_dev *dev, struct vhost_vq *vq);

/**
 * vhost_vq_stop() - unpublish the map of a running ring
 *
 * Forgets addresses and kick descriptor: the front end has to say them anew. The position can be
 * read from vq->base after vhost_dev_settle().
 */
void vhost_vq_stop(struct vhost_dev *dev, struct vhost_vq *vq);

/** vhost_vq_forget_kick() - drop addresses and kick descriptor (after GET_VRING_BASE) */
void vhost_vq_forget_kick(struct vhost_dev *dev, struct vhost_vq *vq);

/** vhost_vq_forget_call() - drop the call descriptor */
void vhost_vq_forget_call(struct vhost_dev *dev, struct vhost_vq *vq);

#endif
