/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vhost_dev.h - one vhost-user net device: the protocol's state machine
 *
 * A device outlives its connections. The owner (a port) creates it once, attaches a connected
 * socket when a front end appears, calls vhost_dev_receive() whenever the socket is readable, and
 * detaches when that fails. All calls come from the control thread; workers see only the queues.
 *
 * What front ends send and in which order: docs/architecture.md, "The life of a connection".
 */
#ifndef VHOST_DEV_H
#define VHOST_DEV_H

#include "vhost_kept.h"
#include "vhost_vq.h"

struct vhost_dev;

#define VHOST_MAX_QUEUE_PAIRS 128

/* What the device asks of its owner. Called from inside vhost_dev_*() on the control thread. */
struct vhost_dev_ops {
	/*
	 * Return only when no worker can still use a map or memory table that was unpublished
	 * before the call.
	 */
	void (*quiesce)(void *owner);

	/*
	 * Rings were started, stopped, enabled or disabled, or got a new kick descriptor, or go on
	 * with another layout or address: a worker that sleeps has to look once and ask for kicks
	 * anew. The owner looks at the queues (started, map, kick_fd) and tells its workers. Called
	 * after the maps are published and before the front end gets its reply. When a ring stops,
	 * its map is NULL already and kick_fd is still open during the call, so that it can be
	 * taken out of an epoll set.
	 */
	void (*rings_changed)(void *owner);

	/*
	 * Rings that waited for memory can go on: wake the workers that serve them. Called after
	 * maps with that memory are published.
	 */
	void (*wake)(void *owner);

	/* Have vhost_dev_report_faults() called soon. Any thread. */
	void (*attend)(void *owner);

	/*
	 * Negotiation reached a state worth telling: features acked, device ready. @text is one
	 * line for the log, without the port's name.
	 */
	void (*info)(void *owner, const char *text);

	/*
	 * SEND_RARP: tell the network that the guest with this address is here now. May be NULL.
	 * Returns NULL, or why not in words.
	 */
	const char *(*announce)(void *owner, const uint8_t mac[6]);

	/* Something the front end did was refused or is odd; one line, already rate limited. */
	void (*warn)(void *owner, const char *text);

	/* The same, each time: to remember the last one, not to log it. May be NULL. */
	void (*refused)(void *owner, const char *text);
};

struct vhost_dev_config {
	uint64_t features;          /* virtio bits offered, with VHOST_USER_F_PROTOCOL_FEATURES */
	uint64_t protocol_features; /* vhost-user protocol bits offered; none without that bit */
	uint16_t max_queue_pairs;   /* 1..VHOST_MAX_QUEUE_PAIRS */
	uint16_t max_mtu;           /* largest NET_SET_MTU that is accepted, bytes of payload */
	/* What GET_CONFIG tells besides the number of queue pairs, to those that negotiate it */
	uint8_t mac[6];      /* with VIRTIO_NET_F_MAC */
	uint16_t config_mtu; /* bytes of payload */
	/*
	 * One per ring, for positions of packed rings: memory that outlives the process, so that
	 * another one can go on with them. NULL: they survive connections, but not the process.
	 */
	struct vhost_kept *kept;
};

/* Where a connection stands, for operators. Keep vhost_dev_state_name() in step. */
enum vhost_dev_state {
	VHOST_DEV_DISCONNECTED,
	VHOST_DEV_NEGOTIATING, /* connected, no ring started */
	VHOST_DEV_RUNNING,     /* at least one ring started */
	VHOST_DEV_N_STATES
};

/** vhost_dev_default_features() - every virtio bit this back end can serve */
uint64_t vhost_dev_default_features(void);

/** vhost_dev_default_protocol_features() - every vhost-user protocol bit this back end can serve */
uint64_t vhost_dev_default_protocol_features(void);

/**
 * vhost_dev_new() - create a disconnected device
 * @config: copied; bits beyond the defaults below are refused
 * @ops: borrowed, must outlive the device
 * @owner: passed to each operation
 * Return: 0, -EINVAL, -ENOMEM.
 */
int vhost_dev_new(const struct vhost_dev_config *config, const struct vhost_dev_ops *ops,
                  void *owner, struct vhost_dev **ret_dev);

/** vhost_dev_free() - detach and release. Takes NULL. */
void vhost_dev_free(struct vhost_dev *dev);

/**
 * vhost_dev_offer() - virtio bits to offer from the next connection on
 * @features: in place of those of the configuration; bits beyond the defaults are left out
 */
void vhost_dev_offer(struct vhost_dev *dev, uint64_t features);

/**
 * vhost_dev_attach() - a front end is connected
 * @fd: connected stream socket; the device owns it from now on, also on failure. Made non-blocking.
 * Return: 0, -EBUSY if one is attached already.
 */
int vhost_dev_attach(struct vhost_dev *dev, int fd);

/**
 * vhost_dev_detach() - stop all rings, forget the connection's state, unmap guest memory
 *
 * When it returns, no worker uses the guest's memory and every descriptor that came with the
 * connection is closed. Does nothing when no front end is attached.
 */
void vhost_dev_detach(struct vhost_dev *dev);

/**
 * vhost_dev_receive() - handle what the front end sent
 *
 * Reads what is there (never blocks on a front end that sends half a message), handles a bounded
 * number of messages and returns; a level-triggered poll brings the rest.
 * Return: 0; -ECONNRESET when the front end closed the connection; -EPROTO after a message that
 * leaves no way to go on (the reason went to ops->warn); or a socket error. After an error the
 * owner calls vhost_dev_detach().
 */
int vhost_dev_receive(struct vhost_dev *dev);

/** vhost_dev_fd() - the attached socket, or -1 */
int vhost_dev_fd(const struct vhost_dev *dev);

/**
 * vhost_dev_report_faults() - act on rings that workers gave up or that wait, and on guest memory
 * that is lost or has come
 *
 * Signals the ring's err descriptor (SET_VRING_ERR), unpublishes its map and warns once per fault.
 * The ring stays stopped until the front end starts it again. Cheap when there is none.
 * Rings that wait for an address have the front end asked for it (vhost_iommu.h).
 * When guest memory has disappeared (see vhost_sigbus.h) its rings are stopped and the device is
 * broken, see vhost_dev_broken().
 * Return: number of rings stopped by this call.
 */
uint32_t vhost_dev_report_faults(struct vhost_dev *dev);

/**
 * vhost_dev_broken() - guest memory disappeared: the connection has to end
 *
 * The rings are stopped already and the socket is shut down, so that a poll wakes up and
 * vhost_dev_receive() returns -EPROTO. An owner that does not wait for that may detach at once.
 */
bool vhost_dev_broken(const struct vhost_dev *dev);

/* Read-only views, for the owner and for `show`. Control thread. */
struct vhost_vq *vhost_dev_vq(struct vhost_dev *dev, uint16_t index); /* NULL past the last */
uint16_t vhost_dev_n_vqs(const struct vhost_dev *dev);                /* 2 * max_queue_pairs */
enum vhost_dev_state vhost_dev_get_state(const struct vhost_dev *dev);
const char *vhost_dev_state_name(enum vhost_dev_state state);
uint64_t vhost_dev_features(const struct vhost_dev *dev);          /* acked virtio bits */
uint64_t vhost_dev_protocol_features(const struct vhost_dev *dev); /* acked protocol bits */
const struct vhost_mem *vhost_dev_mem(const struct vhost_dev *dev);
uint16_t vhost_dev_mtu(const struct vhost_dev *dev);   /* NET_SET_MTU, 0: none */
uint8_t vhost_dev_status(const struct vhost_dev *dev); /* SET_STATUS */

/**
 * vhost_feature_name() - "MRG_RXBUF" for bit 15, NULL for a bit without a name
 * vhost_protocol_feature_name() - likewise for vhost-user protocol bits
 */
const char *vhost_feature_name(unsigned int bit);
const char *vhost_protocol_feature_name(unsigned int bit);

/** vhost_bits_names() - "MQ MRG_RXBUF", "bit-63": for a log line; cut at @size */
void vhost_bits_names(uint64_t bits, const char *(*name_of)(unsigned int bit), char *text,
                      size_t size);

#endif
