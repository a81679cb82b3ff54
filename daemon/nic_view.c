// SPDX-License-Identifier: BSD-2-Clause
/*
 * nic_view.c - sockets, taps and the views that workers have of them
 *
 * A view is immutable. To change anything, a new one is published, the owner rebuilds what its
 * workers poll (view_changed), waits until no worker can hold the old one (quiesce), and only
 * then is the old one, or what it referred to, let go.
 */
#include <errno.h>
#include <linux/if_ether.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "group_tap.h"
#include "log.h"
#include "nic_priv.h"
#include "numa.h"
#include "xsk_compat.h"

#define NIC_VLAN_LEN        4u
#define NIC_BIND_TIMEOUT_MS 200u /* a socket that was closed keeps its queue for some 20 ms */
/*
 * Frames that a veth queues for its other end; it drops what comes then. The queue has 256 places,
 * of which up to 16 are set free late (ptr_ring.h).
 */
#define NIC_VETH_WINDOW 224u

uint32_t nic_frame_need(uint32_t mtu)
{
	return mtu + ETH_HLEN + 2 * NIC_VLAN_LEN;
}

uint32_t nic_max_mtu(void)
{
	return 4096 - XSK_PACKET_HEADROOM - nic_frame_need(0);
}

uint32_t nic_one_part_mtu(void)
{
	const uint32_t behind = 320; /* struct skb_shared_info */

	return nic_max_mtu() - behind;
}

uint32_t nic_frame_size(uint32_t mtu)
{
	if (mtu > nic_max_mtu())
		return 0;
	return nic_frame_need(mtu) <= 2048 - XSK_PACKET_HEADROOM ? 2048 : 4096;
}

struct nic_view *nic_view_new(uint32_t n_queues)
{
	struct nic_view *view = calloc(1, sizeof(*view) + n_queues * sizeof(view->queues[0]));

	if (view)
		view->n_queues = n_queues;
	return view;
}

void nic_view_close(struct nic_view *view)
{
	if (!view)
		return;
	for (uint32_t i = 0; i < view->n_queues; i++)
		xsk_queue_close(view->queues[i]);
	group_tap_close(view->tap);
	group_tap_close(view->redirect);
	free(view);
}

/* ------------------------------------------------------------------ opening */

/* How many queues to bind. Return: 0 with @ret_why if the device has not what is asked for. */
static uint32_t nic_count_queues(const struct nic *nic, char **ret_why)
{
	const struct netlink_link *link = &nic->priv->link;
	uint32_t first = nic->conf->first_queue, n = nic->conf->queues;

	if (first >= link->n_rx_queues || n > link->n_rx_queues - first) {
		(void)why_set(ret_why, 0,
		              "queues %u to %u are configured, but the device has %u: change "
		              "first-queue and queues, or ethtool -L",
		              first, n ? first + n - 1 : first, link->n_rx_queues);
		return 0;
	}
	if (!n)
		n = link->n_rx_queues - first;
	if (first + n > STEER_MAX_QUEUES) {
		(void)why_set(ret_why, 0,
		              "the device has %u queues, %u can be used: set queues, or fewer with "
		              "ethtool -L",
		              link->n_rx_queues, STEER_MAX_QUEUES);
		return 0;
	}
	if (first + n > link->n_tx_queues) {
		(void)why_set(ret_why, 0,
		              "the device has %u receive but only %u transmit queues: make them "
		              "equal with ethtool -L",
		              link->n_rx_queues, link->n_tx_queues);
		return 0;
	}
	return n;
}

static enum xsk_mode nic_xsk_mode(const struct conf_nic *conf)
{
	if (conf->zero_copy == CONF_ZC_ON)
		return XSK_MODE_ZEROCOPY;
	if (conf->zero_copy == CONF_ZC_OFF || conf->xdp_mode == CONF_XDP_GENERIC)
		return XSK_MODE_COPY;
	return XSK_MODE_AUTO;
}

static bool nic_is_veth(const struct nic *nic)
{
	return !strcmp(nic->priv->link.driver, "veth");
}

static bool nic_yields(const struct nic *nic)
{
	if (nic->conf->yield == CONF_YIELD_AUTO)
		return nic_is_veth(nic);
	return nic->conf->yield == CONF_YIELD_ON;
}

/* For the worker that a queue has at first; it may get another one later. */
static int nic_node(const struct nic_priv *priv, uint32_t queue)
{
	if (!priv->n_workers)
		return MEM_NODE_ANY;
	return numa_choose(NUMA_SYSFS, priv->link.bus, priv->workers[queue % priv->n_workers].cpu);
}

static int nic_open_queue(const struct nic *nic, uint32_t i, struct xsk_queue **ret_q,
                          char **ret_why)
{
	const struct nic_priv *priv = nic->priv;
	const struct xsk_queue_params params = {
		.ifname = priv->name,
		.ifindex = priv->link.ifindex,
		.queue = nic->conf->first_queue + i,
		.mode = nic_xsk_mode(nic->conf),
		.ring_size = nic->conf->ring_size,
		.frame_size = priv->frame_size,
		.tx_window = nic_is_veth(nic) ? NIC_VETH_WINDOW : 0,
		.yield = nic_yields(nic),
		.busy_budget = nic->conf->napi_busy_poll,
		.node = nic_node(priv, i),
		.bind_timeout_ms = NIC_BIND_TIMEOUT_MS,
	};
	const char *why = "";
	int err = xsk_queue_open(&params, ret_q, &why);

	if (err < 0)
		/* -EBUSY is for a device that another daemon or program has. */
		return why_set(ret_why, err == -EBUSY ? -EAGAIN : err, "queue %u: %s (%s)",
		               params.queue, why, strerror(-err));
	return 0;
}

static int nic_open_taps(const struct nic *nic, struct nic_view *view, char **ret_why)
{
	const struct nic_priv *priv = nic->priv;
	int err = 0;

	if (nic->conf->mode != CONF_NIC_STEERED)
		return 0;
	if (nic->conf->miss == CONF_MISS_PASS)
		err = group_tap_open(priv->link.ifindex, nic_frame_need(priv->link.mtu),
		                     &view->tap);
	else if (nic->conf->miss == CONF_MISS_REDIRECT)
		err = group_tap_open(priv->redirect_ifindex, 0, &view->redirect);
	if (err < 0)
		return why_set(ret_why, err, "cannot open a packet socket: %s", strerror(-err));
	return 0;
}

static void nic_view_set_link(const struct nic *nic, struct nic_view *view)
{
	const struct netlink_link *link = &nic->priv->link;

	view->up = link->admin_up && link->carrier;
	/* With one VLAN tag. The chunks are longer than that, see nic_frame_size(). */
	view->max_frame = link->mtu + ETH_HLEN + NIC_VLAN_LEN;
}

static void nic_warn_busy_poll(const struct nic *nic, const struct nic_view *view)
{
	if (nic->conf->napi_busy_poll && !xsk_busy_polls(view->queues[0]))
		log_warn("nic %s: this kernel does not let us poll the driver (napi-busy-poll; "
		         "Linux 5.11 does): interrupts are used",
		         nic->priv->name);
}

int nic_view_open(struct nic *nic, struct nic_view **ret_view, char **ret_why)
{
	uint32_t n = nic_count_queues(nic, ret_why);
	struct nic_view *view;
	int err = 0;

	if (!n)
		return -EINVAL;
	view = nic_view_new(n);
	if (!view)
		return why_set(ret_why, -ENOMEM, "not enough memory");
	nic_view_set_link(nic, view);
	view->node = numa_node_of_pci(NUMA_SYSFS, nic->priv->link.bus);
	for (uint32_t i = 0; i < n && !err; i++)
		err = nic_open_queue(nic, i, &view->queues[i], ret_why);
	if (!err)
		err = nic_open_taps(nic, view, ret_why);
	if (err < 0) {
		nic_view_close(view);
		return err;
	}
	nic_warn_busy_poll(nic, view);
	*ret_view = view;
	return 0;
}

/* ------------------------------------------------------------------ publishing */

struct nic_view *nic_view_publish(struct nic *nic, struct nic_view *view)
{
	struct nic_priv *priv = nic->priv;
	struct nic_view *old = atomic_exchange_explicit(&nic->view, view, memory_order_acq_rel);

	if (priv->live) {
		priv->ops->view_changed(priv->owner, nic);
		priv->ops->quiesce(priv->owner);
	}
	return old;
}

int nic_view_refresh(struct nic *nic)
{
	struct nic_view *old = nic_view_get(nic);
	struct nic_view now = {0}, *view;

	nic_view_set_link(nic, &now);
	if (now.up == old->up && now.max_frame == old->max_frame)
		return 0;
	view = nic_view_new(old->n_queues);
	if (!view)
		return -ENOMEM;
	memcpy(view, old, sizeof(*old) + old->n_queues * sizeof(old->queues[0]));
	nic_view_set_link(nic, view);
	/* Queues and taps have moved to the new view. */
	free(nic_view_publish(nic, view));
	return 0;
}

/* ------------------------------------------------------------------ sockets and maps */

static int nic_bind_socket(struct nic *nic, const struct xsk_queue *q)
{
	return steer_bind_queue(nic->steer, q->queue, q->rx_fd,
	                        q->zerocopy ? STEER_QUEUE_ZEROCOPY : STEER_QUEUE_COPY);
}

static void nic_warn_vlan(const struct nic *nic)
{
	const struct nic_priv *priv = nic->priv;

	if (!priv->link.strips_vlan || nic_is_veth(nic))
		return;
	for (uint32_t i = 0; i < priv->n_entries; i++) {
		if (!priv->entries[i].key.vlan)
			continue;
		log_warn(
			"nic %s: the device takes VLAN tags off before XDP sees them, ports with a "
			"vlan get nothing: ethtool -K %s rxvlan off",
			priv->name, priv->name);
		return;
	}
}

/* The table comes first: a socket in xsks means that guests' frames go to it. */
int nic_bind_sockets(struct nic *nic, char **ret_why)
{
	const struct nic_view *view = nic_view_get(nic);
	struct nic_priv *priv = nic->priv;
	struct steer_config config;
	int err;

	if (!nic->steer || !priv->bound || !priv->table_set)
		return 0;
	err = steer_get_config(nic->steer, &config);
	if (!err && config.dedicated_port != priv->dedicated_port) {
		config.dedicated_port = priv->dedicated_port;
		err = steer_set_config(nic->steer, &config);
	}
	if (!err)
		err = steer_set_table(nic->steer, priv->entries, priv->n_entries, priv->ports,
		                      priv->n_ports);
	for (uint32_t i = 0; i < view->n_queues && !err; i++)
		err = nic_bind_socket(nic, view->queues[i]);
	if (err < 0)
		return why_set(ret_why, err, "cannot fill the steering maps: %s", strerror(-err));
	nic_warn_vlan(nic);
	return 0;
}

void nic_unbind_sockets(struct nic *nic)
{
	const struct nic_view *view = nic_view_get(nic);

	if (!nic->steer)
		return;
	for (uint32_t i = 0; i < view->n_queues; i++)
		(void)steer_bind_queue(nic->steer, view->queues[i]->queue, -1, STEER_QUEUE_NONE);
}
