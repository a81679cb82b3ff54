// SPDX-License-Identifier: BSD-2-Clause
/*
 * nic.c - a network device that the daemon owns: states, and what it takes to change them
 *
 * Theory of operation
 * -------------------
 * There is one function that changes anything, nic_sync(): it asks the kernel for the device of
 * the configured name and makes the nic match what it finds. Link messages and retries only arm a
 * timer that calls it. So it does not matter in which order the kernel reports a deletion, a
 * rename and a new device of the same name, or whether a message was lost: the state is compared,
 * not the story.
 *
 *               device there              bind fails
 *      ABSENT ----------------> (bind) -----------------> FAILED --retry, 0.25 to 5 s--> (bind)
 *        ^                        |
 *        | gone, renamed          v     carrier and up
 *        +--------------------- DOWN <-----------------> UP
 *
 * Binding takes, in this order: the lock (one daemon per device), program and maps, sockets, taps,
 * promiscuous mode, the view for the workers, the table, and at last the sockets' places in xsks;
 * from then on guests' frames come in. Leaving goes backwards. A change of MTU that needs other
 * chunks, of the number of queues, or of the redirect device is leaving and binding again.
 *
 * A device that was renamed is not ours any more: the configuration names it. Its program is
 * detached. A device that was deleted took program and sockets with it; maps and pins stay, for
 * when it returns and for the operator to look at.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "group_tap.h"
#include "log.h"
#include "loop.h"
#include "nic_priv.h"

#define NIC_SETTLE_MS      2 /* link messages come in groups */
#define NIC_BACKOFF_MIN_MS 250
#define NIC_BACKOFF_MAX_MS 5000
#define NIC_INTERNAL_MTU   65535

static const enum steer_action nic_actions[] = {
	[CONF_MISS_PASS] = STEER_PASS,
	[CONF_MISS_DROP] = STEER_DROP,
	[CONF_MISS_REDIRECT] = STEER_REDIRECT,
};

const char *nic_state_name(enum nic_state state)
{
	static const char *const names[] = {
		[NIC_ABSENT] = "absent",
		[NIC_FAILED] = "failed",
		[NIC_DOWN] = "down",
		[NIC_UP] = "up",
	};
	static_assert(ARRAY_SIZE(names) == NIC_N_STATES, "a state has no name");

	return state < NIC_N_STATES ? names[state] : "unknown";
}

/* ------------------------------------------------------------------ telling */

/* Remember why the nic does not work; log it unless that was the last thing logged. Takes @why. */
static void nic_set_error(struct nic *nic, enum nic_state state, char *why)
{
	struct nic_priv *priv = nic->priv;
	const char *text = why ? why : "not enough memory";

	nic->state = state;
	free(nic->last_error);
	nic->last_error = why;
	if (priv->told && !strcmp(priv->told, text))
		return;
	free(priv->told);
	priv->told = strdup(text);
	if (state == NIC_ABSENT)
		log_warn("nic %s: %s", priv->name, text);
	else
		log_error("nic %s: %s", priv->name, text);
}

static void nic_set_state(struct nic *nic, enum nic_state state)
{
	struct nic_priv *priv = nic->priv;

	free(nic->last_error);
	nic->last_error = NULL;
	free(priv->told);
	priv->told = NULL;
	if (nic->state == state)
		return;
	nic->state = state;
	log_info("nic %s: %s", priv->name, state == NIC_UP ? "link is up" : "link is down");
}

static void nic_log_bound(const struct nic *nic)
{
	const struct nic_view *view = nic_view_get((struct nic *)(uintptr_t)nic);
	const struct nic_priv *priv = nic->priv;

	log_info("nic %s: serving (driver %s, %s XDP, %u queue%s, %s, MTU %u%s)", priv->name,
	         nic->driver[0] ? nic->driver : "unknown",
	         nic->conf->xdp_mode == CONF_XDP_GENERIC ? "generic" : "native", view->n_queues,
	         view->n_queues == 1 ? "" : "s", nic->zerocopy ? "zero copy" : "copy", nic->mtu,
	         steer_is_adopted(nic->steer) ? ", maps of an earlier daemon" : "");
}

/* ------------------------------------------------------------------ leaving */

/* Undo binding, whole or half. The program and its maps stay. */
static void nic_leave(struct nic *nic)
{
	struct nic_priv *priv = nic->priv;

	nic_unbind_sockets(nic);
	if (priv->bound) {
		priv->bound = false;
		nic_view_close(nic_view_publish(nic, priv->none));
	}
	steer_close(nic->steer);
	nic->steer = NULL;
	if (priv->promisc_fd >= 0)
		close(priv->promisc_fd);
	if (priv->lock_fd >= 0)
		close(priv->lock_fd);
	priv->promisc_fd = priv->lock_fd = -1;
	nic->ifindex = 0;
}

/* ------------------------------------------------------------------ binding */

static int nic_find_redirect(const struct nic *nic, uint32_t *ret_ifindex, char **ret_why)
{
	struct netlink_link link;
	int err;

	*ret_ifindex = 0;
	if (nic->conf->mode != CONF_NIC_STEERED || nic->conf->miss != CONF_MISS_REDIRECT)
		return 0;
	err = netlink_get_link(nic->conf->redirect_to, &link);
	if (err < 0)
		return why_set(ret_why, err, "redirect-to device %s: %s", nic->conf->redirect_to,
		               err == -ENODEV ? "there is no such device" : strerror(-err));
	*ret_ifindex = link.ifindex;
	return 0;
}

static int nic_open_steer(struct nic *nic, char **ret_why)
{
	struct nic_priv *priv = nic->priv;
	bool steered = nic->conf->mode == CONF_NIC_STEERED;
	const struct steer_params params = {
		.pin_dir = priv->pin_dir,
		.nic = priv->name,
		.ifindex = priv->link.ifindex,
		.generic = nic->conf->xdp_mode == CONF_XDP_GENERIC,
		.max_port = steered ? priv->max_port : 0,
		.config =
			{
				.mode = steered ? STEER_MODE_STEERED : STEER_MODE_DEDICATED,
				.miss = steered ? nic_actions[nic->conf->miss] : STEER_DROP,
				.no_daemon = nic_actions[nic->conf->no_daemon],
				.redirect_ifindex = priv->redirect_ifindex,
				.dedicated_port = priv->dedicated_port,
			},
	};

	return steer_open(&params, &nic->steer, ret_why);
}

/* Everything that belongs to a bound device but the view. */
static int nic_take_device(struct nic *nic, char **ret_why)
{
	struct nic_priv *priv = nic->priv;
	const struct netlink_link *link = &priv->link;
	int err;

	priv->frame_size = nic_frame_size(link->mtu);
	if (!priv->frame_size)
		return why_set(ret_why, -EMSGSIZE,
		               "MTU %u is too large, AF_XDP frames carry up to %u: ip link set dev "
		               "%s mtu %u",
		               link->mtu, nic_max_mtu(), priv->name, nic_max_mtu());
	err = nic_hold(link->ifindex, priv->name, &priv->lock_fd, ret_why);
	if (!err)
		err = nic_find_redirect(nic, &priv->redirect_ifindex, ret_why);
	if (!err)
		err = nic_open_steer(nic, ret_why);
	if (err < 0)
		return err;
	err = nic_promisc(link->ifindex, &priv->promisc_fd);
	if (err < 0)
		return why_set(ret_why, err, "cannot set promiscuous mode: %s", strerror(-err));
	return 0;
}

static void nic_copy_link(struct nic *nic)
{
	const struct netlink_link *link = &nic->priv->link;

	nic->ifindex = link->ifindex;
	nic->mtu = link->mtu;
	memcpy(nic->mac, link->mac, sizeof(nic->mac));
	memcpy(nic->driver, link->driver, sizeof(nic->driver));
}

static_assert(sizeof(((struct nic *)0)->driver) == sizeof(((struct netlink_link *)0)->driver),
              "driver names are copied whole");

static bool kernel_is_before(unsigned major, unsigned minor)
{
	unsigned have_major = 0, have_minor = 0;
	struct utsname name;

	return uname(&name) == 0 && sscanf(name.release, "%u.%u", &have_major, &have_minor) == 2 &&
	       (have_major < major || (have_major == major && have_minor < minor));
}

/* Drivers take long frames in several parts; XDP could not hand such to AF_XDP for a while. */
static void nic_warn_parts(const struct nic *nic)
{
	/* In generic mode the program gets them put together. */
	if (nic->zerocopy || nic->conf->xdp_mode == CONF_XDP_GENERIC ||
	    nic->mtu <= nic_one_part_mtu() || !kernel_is_before(6, 6))
		return;
	log_warn("nic %s: MTU %u: before Linux 6.6 the kernel drops frames that a driver receives "
	         "in several parts, as most do with long ones: ip link set dev %s mtu %u",
	         nic->priv->name, nic->mtu, nic->priv->name, nic_one_part_mtu());
}

static int nic_bind(struct nic *nic, char **ret_why)
{
	struct nic_priv *priv = nic->priv;
	struct nic_view *view = NULL;
	int err;

	nic_copy_link(nic);
	err = nic_take_device(nic, ret_why);
	if (!err)
		err = nic_view_open(nic, &view, ret_why);
	if (err < 0) {
		nic_leave(nic);
		return err;
	}
	nic->zerocopy = view->queues[0]->zerocopy;
	priv->n_device_queues = priv->link.n_rx_queues;
	priv->bound = true;
	nic->n_resets++;
	(void)nic_view_publish(nic, view); /* in the place of priv->none */
	err = nic_bind_sockets(nic, ret_why);
	if (err < 0) {
		nic_leave(nic);
		return err;
	}
	nic_log_bound(nic);
	nic_warn_parts(nic);
	return 0;
}

/* ------------------------------------------------------------------ synchronising */

/* What makes binding again necessary, NULL: nothing. */
static const char *nic_must_rebind(struct nic *nic)
{
	const struct nic_priv *priv = nic->priv;
	char *why = NULL;
	uint32_t redirect;
	bool lost;

	if (nic_frame_size(priv->link.mtu) != priv->frame_size)
		return "its MTU has changed";
	if (priv->link.n_rx_queues != priv->n_device_queues)
		return "its number of queues has changed";
	if (!steer_is_attached(nic->steer))
		return "its program was detached";
	lost = nic_find_redirect(nic, &redirect, &why) < 0 || redirect != priv->redirect_ifindex;
	free(why);
	return lost ? "the redirect device has changed" : NULL;
}

/*
 * The device of our name is gone, or is another one than before. If the program is still attached,
 * then the device was renamed or has moved to another network namespace: let go of it.
 */
static void nic_lose(struct nic *nic)
{
	struct nic_priv *priv = nic->priv;
	bool attached;

	if (!nic->ifindex)
		return;
	attached = nic->steer && steer_is_attached(nic->steer);
	log_warn("nic %s: the device was %s", priv->name,
	         attached ? "renamed or moved" : "removed");
	nic_leave(nic);
	if (attached)
		(void)steer_unload(priv->pin_dir, priv->name);
}

static void nic_retry_later(struct nic *nic)
{
	struct nic_priv *priv = nic->priv;

	loop_set_timer(priv->timer, priv->backoff_ms, 0);
	priv->backoff_ms = min_u32(priv->backoff_ms * 2, NIC_BACKOFF_MAX_MS);
}

static int nic_sync_bound(struct nic *nic, char **ret_why)
{
	const char *reason = nic_must_rebind(nic);
	uint32_t mtu = nic->mtu;
	int err;

	if (reason) {
		log_info("nic %s: %s, binding again", nic->priv->name, reason);
		nic_leave(nic);
		return nic_bind(nic, ret_why);
	}
	nic_copy_link(nic);
	if (nic->mtu != mtu)
		nic_warn_parts(nic);
	err = nic_view_refresh(nic);
	return err < 0 ? why_set(ret_why, err, "not enough memory") : 0;
}

/* Make the nic match the device. Return: 0 (bound, or absent) or the error of binding, with why. */
static int nic_sync(struct nic *nic, char **ret_why)
{
	struct nic_priv *priv = nic->priv;
	struct netlink_link link;
	int err = netlink_get_link(priv->name, &link);

	if (err == -ENODEV) {
		nic_lose(nic);
		priv->backoff_ms = NIC_BACKOFF_MIN_MS;
		nic_set_error(nic, NIC_ABSENT, strdup("there is no such device, waiting for it"));
		return 0;
	}
	if (err < 0)
		return why_set(ret_why, err, "cannot ask for the device: %s", strerror(-err));
	if (nic->ifindex && nic->ifindex != link.ifindex)
		nic_lose(nic);
	priv->link = link;
	err = priv->bound ? nic_sync_bound(nic, ret_why) : nic_bind(nic, ret_why);
	if (err < 0)
		return err;
	priv->backoff_ms = NIC_BACKOFF_MIN_MS;
	nic_set_state(nic, nic_view_get(nic)->up ? NIC_UP : NIC_DOWN);
	return 0;
}

static void nic_timer(void *arg)
{
	struct nic *nic = arg;
	char *why = NULL;

	if (nic_sync(nic, &why) < 0) {
		nic_set_error(nic, NIC_FAILED, why);
		nic_retry_later(nic);
	}
}

static void nic_changed(void *arg, uint32_t ifindex, const char *name)
{
	struct nic *nic = arg;
	const struct nic_priv *priv = nic->priv;
	const char *redirect = nic->conf->redirect_to;

	if (name && (!nic->ifindex || ifindex != nic->ifindex) && strcmp(name, priv->name) != 0 &&
	    (!redirect || strcmp(name, redirect) != 0) && ifindex != priv->redirect_ifindex)
		return;
	loop_set_timer(priv->timer, NIC_SETTLE_MS, 0);
}

/* ------------------------------------------------------------------ public */

static int nic_alloc(const struct conf *conf, uint32_t index, struct nic **ret_nic)
{
	struct nic *nic = calloc(1, sizeof(*nic));
	struct nic_priv *priv = calloc(1, sizeof(*priv));

	if (!nic || !priv) {
		free(priv);
		free(nic);
		return -ENOMEM;
	}
	nic->priv = priv;
	nic->index = index;
	nic->conf = &conf->nics[index];
	nic->state = NIC_ABSENT;
	priv->lock_fd = priv->promisc_fd = -1;
	priv->backoff_ms = NIC_BACKOFF_MIN_MS;
	priv->workers = conf->workers;
	priv->max_port = conf->n_ports;
	priv->n_workers = conf->n_workers;
	priv->name = strdup(nic->conf->name);
	priv->pin_dir = conf->pin_dir ? strdup(conf->pin_dir) : NULL;
	priv->none = nic_view_new(0);
	atomic_init(&nic->view, priv->none);
	if (!priv->name || !priv->none || (conf->pin_dir && !priv->pin_dir)) {
		nic_free(nic);
		return -ENOMEM;
	}
	*ret_nic = nic;
	return 0;
}

static void nic_start_internal(struct nic *nic)
{
	struct nic_view *view = nic_view_get(nic);

	nic->state = NIC_UP;
	nic->mtu = NIC_INTERNAL_MTU;
	view->up = true;
	view->max_frame = nic_frame_need(NIC_INTERNAL_MTU);
}

/* No right, no BPF file system, somebody else has the device: for the user, before we start. */
static bool nic_is_fatal(int err)
{
	return err == -EPERM || err == -ENOTDIR || err == -EBUSY;
}

static int nic_start_device(struct nic *nic, char **ret_why)
{
	struct nic_priv *priv = nic->priv;
	char *why = NULL;
	int err;

	err = loop_add_timer(priv->loop, nic_timer, nic, &priv->timer);
	if (!err)
		err = netlink_watch_new(priv->loop, nic_changed, nic, &priv->watch);
	if (err < 0)
		return why_set(ret_why, err, "nic %s: cannot watch devices: %s", priv->name,
		               strerror(-err));
	err = nic_sync(nic, &why);
	if (err < 0 && nic_is_fatal(err)) {
		(void)why_set(ret_why, err, "nic %s: %s", priv->name, why ? why : strerror(-err));
		free(why);
		return err;
	}
	if (err < 0) {
		nic_set_error(nic, NIC_FAILED, why);
		nic_retry_later(nic);
	}
	return 0;
}

int nic_new(const struct conf *conf, uint32_t index, struct loop *loop, const struct nic_ops *ops,
            void *owner, struct nic **ret_nic, char **ret_why)
{
	struct nic *nic;
	char *why = NULL;
	int err = nic_alloc(conf, index, &nic);

	if (err < 0) {
		*ret_why = strdup("not enough memory");
		return err;
	}
	nic->priv->loop = loop;
	nic->priv->ops = ops;
	nic->priv->owner = owner;
	if (nic->conf->mode == CONF_NIC_INTERNAL)
		nic_start_internal(nic);
	else
		err = nic_start_device(nic, &why);
	if (err < 0) {
		nic_free(nic);
		*ret_why = why;
		return err;
	}
	nic->priv->live = true;
	*ret_nic = nic;
	return 0;
}

void nic_free(struct nic *nic)
{
	struct nic_priv *priv;

	if (!nic)
		return;
	priv = nic->priv;
	priv->live = false; /* the owner has taken the nic from its workers and is not called */
	netlink_watch_free(priv->watch);
	loop_remove(priv->timer);
	nic_leave(nic);
	free(priv->none);
	free(priv->entries);
	free(priv->ports);
	free(priv->told);
	free(priv->name);
	free(priv->pin_dir);
	free(priv);
	free(nic->last_error);
	free(nic);
}

/* Copy an array, of any length. Return: NULL without memory. */
static void *nic_copy(const void *src, size_t n, size_t size)
{
	void *copy = calloc(n ? n : 1, size);

	if (copy && n)
		memcpy(copy, src, n * size);
	return copy;
}

int nic_set_table(struct nic *nic, const struct steer_entry *entries, uint32_t n_entries,
                  const struct steer_port_entry *ports, uint32_t n_ports, uint32_t dedicated_port)
{
	struct nic_priv *priv = nic->priv;
	struct steer_port_entry *new_ports = nic_copy(ports, n_ports, sizeof(*ports));
	struct steer_entry *new_entries = nic_copy(entries, n_entries, sizeof(*entries));
	char *why = NULL;
	int err;

	if (!new_ports || !new_entries) {
		free(new_ports);
		free(new_entries);
		return -ENOMEM;
	}
	free(priv->entries);
	free(priv->ports);
	priv->entries = new_entries;
	priv->n_entries = n_entries;
	priv->ports = new_ports;
	priv->n_ports = n_ports;
	priv->dedicated_port = dedicated_port;
	priv->table_set = true;
	err = nic_bind_sockets(nic, &why);
	if (err < 0)
		log_error("nic %s: %s", priv->name, why ? why : strerror(-err));
	free(why);
	return err;
}

void nic_set_port_state(struct nic *nic, uint32_t port, enum steer_port_state state)
{
	struct nic_priv *priv = nic->priv;

	for (uint32_t i = 0; i < priv->n_ports; i++) {
		if (priv->ports[i].id == port)
			priv->ports[i].port.state = state;
	}
	if (nic->steer && priv->table_set)
		(void)steer_set_port_state(nic->steer, port, state);
}
