/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * nic.h - a network device that the daemon owns through XDP and AF_XDP
 *
 * States: ABSENT (no such netdev; waiting for it), DOWN (attached and bound, but the link has no
 * carrier or is administratively down: guests' frames for it are dropped and counted), UP. A device
 * that disappears takes its sockets with it; when one of that name returns the nic attaches and
 * binds again by itself. A bind or attach that fails is retried with back-off and told once.
 *
 * Workers see a nic only through `view`, which is replaced whole: they load it once per burst.
 * A nic of mode internal has no device: its view has no queues and it is always UP.
 */
#ifndef NIC_H
#define NIC_H

#include "base.h"
#include "conf.h"
#include "steer.h"
#include "xsk_queue.h"

struct loop;
struct group_tap;
struct nic;

enum nic_state {
	NIC_ABSENT,
	NIC_FAILED, /* the device is there, but attaching or binding fails; retried */
	NIC_DOWN,
	NIC_UP,
	NIC_N_STATES
};

/* What workers see; immutable. */
struct nic_view {
	bool up; /* frames may be sent */
	uint32_t n_queues;
	uint32_t max_frame; /* longest frame that can be sent, bytes from the Ethernet header on */
	int node;           /* NUMA node of the device, or MEM_NODE_ANY */
	struct group_tap *tap;      /* copies of group frames from the wire; NULL if none */
	struct group_tap *redirect; /* hands group frames on (miss: redirect); NULL otherwise */
	struct xsk_queue *queues[];
};

struct nic_ops {
	/* The view has changed: rebuild what workers poll. The old queues stay open until it
	 * returns. */
	void (*view_changed)(void *owner, struct nic *nic);
	/* Return when no worker can hold a view unpublished before the call. */
	void (*quiesce)(void *owner);
};

struct nic {
	_Atomic(struct nic_view *) view; /* never NULL after nic_new() */
	_Atomic(void *) fdb; /* struct fdb *, see fdb.h; owned by the forwarding table */

	uint32_t index; /* position in the configuration */
	const struct conf_nic *conf;
	enum nic_state state;
	uint32_t ifindex; /* 0: absent */
	uint32_t mtu;
	uint8_t mac[6]; /* of the device */
	char driver[32];
	bool zerocopy;
	uint32_t n_resets;   /* how often the device was bound */
	char *last_error;    /* why state is ABSENT or FAILED, for `show`; NULL otherwise */
	struct steer *steer; /* NULL while absent or internal */
	struct nic_priv *priv;
};

/**
 * nic_new() - create a nic and bring it up if its device is there
 *
 * A device that is missing is not an error here (conf_check_system() told the user at start); one
 * that another daemon owns, or whose XDP hook is taken, is: the sentence names the holder.
 * Return: 0 or -errno with @ret_why (caller frees it).
 */
int nic_new(const struct conf *conf, uint32_t index, struct loop *loop, const struct nic_ops *ops,
            void *owner, struct nic **ret_nic, char **ret_why);

/** nic_free() - unbind and close; the steering program and its maps stay. Takes NULL. */
void nic_free(struct nic *nic);

/**
 * nic_set_table() - what the steering maps shall hold, now and after the device returns
 *
 * Copies the arrays. For a dedicated nic @dedicated_port is the id of its port (0: none yet).
 */
int nic_set_table(struct nic *nic, const struct steer_entry *entries, uint32_t n_entries,
                  const struct steer_port_entry *ports, uint32_t n_ports, uint32_t dedicated_port);
void nic_set_port_state(struct nic *nic, uint32_t port, enum steer_port_state state);

/**
 * nic_unload() - detach the steering program that a daemon left, and remove its pins
 * @name: the device, which need not exist any more
 *
 * Return: 0, -ENOENT if nothing is loaded, -EBUSY while a daemon serves the device, or another
 * -errno; on failure with @ret_why (caller frees it).
 */
int nic_unload(const char *pin_dir, const char *name, char **ret_why);

const char *nic_state_name(enum nic_state state);

/** nic_view_get() - the view to use for this burst. Worker. */
static always_inline struct nic_view *nic_view_get(struct nic *nic)
{
	return atomic_load_explicit(&nic->view, memory_order_acquire);
}

#endif
