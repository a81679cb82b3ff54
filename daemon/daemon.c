/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "balance.h"
#include "clock.h"
#include "group_tap.h"
#include "lines.h"
#include "log.h"
#include "numa.h"
#include "seating.h"

struct daemon_watch {
	uint32_t worker;
	int fd;
	bool owned; /* closed with the watch */
};

static struct nic_view *daemon_view(const struct daemon *d, uint32_t nic)
{
	return nic_view_get(d->nics[nic].nic);
}

uint32_t daemon_worker_of_queue(const struct daemon *d, uint32_t nic, uint32_t queue)
{
	return d->nics[nic].seats[queue].worker;
}

uint32_t daemon_worker_of_ring(const struct daemon *d, uint32_t port, uint32_t ring)
{
	return d->ports[port].seats[ring / 2].worker;
}

/* ---- what wakes a worker -------------------------------------------------------------------- */

static void watches_clear(struct daemon *d, struct daemon_watches *w)
{
	for (uint32_t i = 0; i < w->n; i++) {
		worker_unwatch(d->workers[w->watch[i].worker], w->watch[i].fd);
		if (w->watch[i].owned)
			close(w->watch[i].fd);
	}
	free(w->watch);
	*w = (struct daemon_watches){0};
}

/*
 * Takes @fd if @owned; -1 is one that could not be had. What cannot be watched is told, and makes
 * the workers poll without sleep.
 */
static void watches_add(struct daemon *d, struct daemon_watches *w, uint32_t worker, int fd,
                        bool owned)
{
	struct daemon_watch *more = realloc(w->watch, (w->n + 1) * sizeof(*more));
	int err = -ENOMEM;

	if (more) {
		w->watch = more;
		err = fd < 0 ? -EMFILE : worker_watch(d->workers[worker], fd);
	}
	if (err < 0) {
		log_error("worker %u: cannot watch a descriptor and polls instead: %s", worker,
		          strerror(-err));
		w->incomplete = true;
		if (owned && fd >= 0)
			close(fd);
		return;
	}
	w->watch[w->n++] = (struct daemon_watch){.worker = worker, .fd = fd, .owned = owned};
}

/*
 * Watch the kick descriptors of a port's transmit rings. Duplicates are watched: the device may
 * close its own at any time, and a closed descriptor cannot be taken out of an epoll set.
 */
static void daemon_watch_port(struct daemon *d, uint32_t index)
{
	struct daemon_port *p = &d->ports[index];

	watches_clear(d, &p->watches);
	for (uint16_t i = 1; i < vhost_dev_n_vqs(p->port->dev); i += 2) {
		const struct vhost_vq *vq = vhost_dev_vq(p->port->dev, i);
		int fd;

		if (!vq->started || vq->kick_fd < 0)
			continue;
		fd = fcntl(vq->kick_fd, F_DUPFD_CLOEXEC, 0);
		watches_add(d, &p->watches, daemon_worker_of_ring(d, index, i), fd, true);
	}
}

static void daemon_watch_nic(struct daemon *d, uint32_t index)
{
	const struct nic_view *view = daemon_view(d, index);
	struct daemon_nic *n = &d->nics[index];

	watches_clear(d, &n->watches);
	for (uint32_t k = 0; k < view->n_queues; k++)
		watches_add(d, &n->watches, daemon_worker_of_queue(d, index, k),
		            view->queues[k]->rx_fd, false);
	if (view->tap)
		watches_add(d, &n->watches, index % d->n_workers, group_tap_fd(view->tap), false);
}

/* ---- plans ---------------------------------------------------------------------------------- */

static void plan_add_nic(const struct daemon *d, struct worker_plan *plan, uint32_t worker,
                         uint32_t index)
{
	const struct nic_view *view = daemon_view(d, index);
	const struct daemon_nic *n = &d->nics[index];

	for (uint32_t k = 0; k < view->n_queues; k++) {
		if (daemon_worker_of_queue(d, index, k) != worker)
			continue;
		plan->nics[plan->n_nics++] = (struct fwd_nic_source){
			.nic = n->nic,
			.q = view->queues[k],
			.counters = &n->counters[k],
		};
	}
	plan->must_poll |= n->watches.incomplete;
	if (view->n_queues)
		plan->uplinks[plan->n_uplinks++] = (struct worker_uplink){
			.nic = n->nic,
			.q = view->queues[worker % view->n_queues],
		};
	if (view->tap && index % d->n_workers == worker)
		plan->taps[plan->n_taps++] = (struct worker_tap){
			.nic = n->nic,
			.tap = view->tap,
			.counters = &n->counters[DAEMON_TAP_COUNTERS],
		};
}

static void plan_add_port(const struct daemon *d, struct worker_plan *plan, uint32_t worker,
                          uint32_t index)
{
	struct port *port = d->ports[index].port;

	for (uint16_t i = 1; i < vhost_dev_n_vqs(port->dev); i += 2) {
		struct vhost_vq *vq = vhost_dev_vq(port->dev, i);

		if (daemon_worker_of_ring(d, index, i) != worker || !vq->started)
			continue;
		plan->must_poll |= vq->kick_fd < 0 || d->ports[index].watches.incomplete;
		worker_plan_add_guest(
			plan, &(struct fwd_guest_source){
				      .port = port,
				      .vq = vq,
				      .pq = &port->queues[i],
				      .nic_counters = d->nics[port->conf->nic_index].counters,
			      });
	}
}

static void daemon_free_plan(struct daemon_plan *p)
{
	if (p->old != p->spare)
		worker_plan_free(p->old);
	p->old = NULL;
}

static struct worker_plan *daemon_build_plan(const struct daemon *d, uint32_t worker)
{
	uint32_t n_queues = 0, n_rings = 0;
	struct worker_plan *plan;

	for (uint32_t i = 0; i < d->n_nics; i++)
		n_queues += daemon_view(d, i)->n_queues;
	for (uint32_t i = 0; i < d->n_ports; i++) {
		if (d->ports[i].port)
			n_rings += vhost_dev_n_vqs(d->ports[i].port->dev) / 2;
	}
	plan = worker_plan_new(n_queues, d->n_nics, d->n_nics, n_rings);
	if (!plan)
		return NULL;
	for (uint32_t i = 0; i < d->n_nics; i++)
		plan_add_nic(d, plan, worker, i);
	for (uint32_t i = 0; i < d->n_ports; i++) {
		if (d->ports[i].port)
			plan_add_port(d, plan, worker, i);
	}
	return plan;
}

/* Wait until no worker uses what was replaced, and free the plans among it. */
static void daemon_settle(struct daemon *d)
{
	worker_quiesce();
	for (uint32_t i = 0; i < d->n_workers; i++)
		daemon_free_plan(&d->plans[i]);
}

/*
 * Publish new plans. The old ones go with the next daemon_settle(), which every cause of a change
 * calls. Without memory for a new plan a worker gets its spare, empty one: what it polled may be
 * about to go.
 */
static void daemon_replan(struct daemon *d)
{
	if (!d->ready)
		return;
	for (uint32_t i = 0; i < d->n_workers; i++) {
		struct worker_plan *plan = daemon_build_plan(d, i);

		if (!plan)
			log_error("worker %u: out of memory; it stops until the next change", i);
		if (d->plans[i].old)
			daemon_settle(d);
		d->plans[i].old = worker_swap_plan(d->workers[i], plan ? plan : d->plans[i].spare);
	}
}

/* ---- moving sources ------------------------------------------------------------------------- */

/* Frames that @from has sent for a port of this nic leave before those that @to will send. */
static void daemon_drain_uplink(const struct daemon *d, uint32_t nic, uint32_t from, uint32_t to)
{
	const struct timespec pause = {.tv_nsec = 100000};
	const struct nic_view *view = daemon_view(d, nic);
	const struct xsk_queue *q;
	uint64_t end = clock_now_ms() + DAEMON_DRAIN_MS;
	uint32_t mark;

	if (!view->n_queues || from % view->n_queues == to % view->n_queues)
		return;
	q = view->queues[from % view->n_queues];
	mark = xsk_tx_mark(q);
	while (!xsk_tx_passed(q, mark) && clock_now_ms() < end)
		nanosleep(&pause, NULL);
}

/* From here on no worker has it. Return: who had. */
static uint32_t daemon_unseat(struct daemon *d, struct daemon_seat *seat)
{
	uint32_t from = seat->worker;

	seat->worker = DAEMON_NOBODY;
	daemon_replan(d);
	daemon_settle(d);
	return from;
}

static void daemon_seat(struct daemon_seat *seat, uint32_t to)
{
	seat->worker = to;
	seat->moved_ms = clock_now_ms();
}

void daemon_move_ring(struct daemon *d, uint32_t port, uint32_t ring, uint32_t to, bool by_hand)
{
	struct daemon_port *p = &d->ports[port];
	struct daemon_seat *seat = &p->seats[ring / 2];
	uint32_t from;

	seat->by_hand |= by_hand;
	if (seat->worker == to)
		return;
	from = daemon_unseat(d, seat);
	daemon_drain_uplink(d, p->port->conf->nic_index, from, to);
	daemon_seat(seat, to);
	daemon_watch_port(d, port);
	daemon_replan(d);
	daemon_settle(d);
}

void daemon_move_queue(struct daemon *d, uint32_t nic, uint32_t queue, uint32_t to, bool by_hand)
{
	struct daemon_seat *seat = &d->nics[nic].seats[queue];

	seat->by_hand |= by_hand;
	if (seat->worker == to)
		return;
	(void)daemon_unseat(d, seat);
	daemon_seat(seat, to);
	daemon_watch_nic(d, nic);
	daemon_replan(d);
	daemon_settle(d);
}

/* ---- sources near their memory -------------------------------------------------------------- */

int daemon_node_of_ring(const struct daemon *d, uint32_t port, uint32_t ring)
{
	if (!seating_matters(d->seating))
		return MEM_NODE_ANY;
	return vhost_vq_node(vhost_dev_vq(d->ports[port].port->dev, (uint16_t)ring));
}

int daemon_node_of_queue(const struct daemon *d, uint32_t nic, uint32_t queue)
{
	return daemon_view(d, nic)->queues[queue]->node;
}

/* How much each worker serves: transmit rings that run, and queues of nics. */
static void daemon_count_sources(const struct daemon *d)
{
	memset(d->n_sources, 0, d->n_workers * sizeof(*d->n_sources));
	for (uint32_t i = 0; i < d->n_nics; i++) {
		for (uint32_t k = 0; k < d->nics[i].n_placed; k++)
			d->n_sources[d->nics[i].seats[k].worker]++;
	}
	for (uint32_t i = 0; i < d->n_ports; i++) {
		for (uint32_t k = 0; k < d->ports[i].port->conf->queues; k++) {
			if (d->ports[i].seats[k].runs)
				d->n_sources[d->ports[i].seats[k].worker]++;
		}
	}
}

/*
 * A source that nobody serves yet gets a worker near its memory.
 * Return: whether that is another one than it had.
 */
static bool daemon_place(const struct daemon *d, struct daemon_seat *seat, int node)
{
	uint32_t before = seat->worker;

	if (!d->balance || seat->by_hand || !seating_near(d->seating, node))
		return false;
	daemon_count_sources(d);
	seat->worker = seating_pick(d->seating, node, before, d->n_sources);
	return seat->worker != before;
}

/* Rings that have started since the last look; they are in no plan yet. */
static void daemon_place_rings(struct daemon *d, uint32_t port)
{
	struct daemon_port *p = &d->ports[port];

	for (uint16_t r = 1; r < vhost_dev_n_vqs(p->port->dev); r += 2) {
		const struct vhost_vq *vq = vhost_dev_vq(p->port->dev, r);
		struct daemon_seat *seat = &p->seats[r / 2];
		int node;

		if (vq->started && !seat->runs && p->port->conf->worker_cpu < 0) {
			node = daemon_node_of_ring(d, port, r);
			if (daemon_place(d, seat, node))
				log_limited(&p->limit, LOG_LEVEL_INFO,
				            "port %s q%u: its memory is on node %d, worker %u "
				            "serves it",
				            p->port->conf->name, r / 2, node, seat->worker);
		}
		seat->runs = vq->started;
	}
}

/* Queues of a device that was just bound; they are in no plan yet. */
static void daemon_place_queues(struct daemon *d, uint32_t nic)
{
	const struct nic_view *view = daemon_view(d, nic);
	struct daemon_nic *n = &d->nics[nic];

	if (n->n_placed != view->n_queues)
		n->n_placed = 0;
	/* The memory of queues whose device is on no node is where their workers are. */
	for (; n->n_placed < view->n_queues; n->n_placed++) {
		struct daemon_seat *seat = &n->seats[n->n_placed];

		if (daemon_place(d, seat, view->node))
			log_info("nic %s q%u: the device is on node %d, worker %u serves it",
			         n->nic->conf->name, view->queues[n->n_placed]->queue, view->node,
			         seat->worker);
	}
}

/* ---- what ports and nics tell --------------------------------------------------------------- */

static void daemon_quiesce(void *owner)
{
	daemon_settle(owner);
}

static void daemon_rings_changed(void *owner, struct port *port)
{
	struct daemon *d = owner;

	if (!d->ready)
		return;
	daemon_place_rings(d, port->index);
	daemon_watch_port(d, port->index);
	daemon_replan(d);
}

/* Rings that waited can go on. Those that frames are sent to have no worker to wake. */
static void daemon_wake_port(void *owner, struct port *port)
{
	struct daemon *d = owner;

	if (!d->ready)
		return;
	for (uint16_t i = 1; i < vhost_dev_n_vqs(port->dev); i += 2) {
		if (vhost_dev_vq(port->dev, i)->started)
			worker_wake(d->workers[daemon_worker_of_ring(d, port->index, i)]);
	}
}

static void daemon_port_state(void *owner, struct port *port)
{
	(void)owner;
	nic_set_port_state(port->nic, port->id, port_is_up(port) ? STEER_PORT_UP : STEER_PORT_DOWN);
}

/* By the worker that sends what the guest sends. */
static bool daemon_announce(void *owner, struct port *port, uint64_t mac)
{
	const struct daemon *d = owner;

	return d->ready &&
	       worker_announce(d->workers[daemon_worker_of_ring(d, port->index, 1)], port, mac);
}

static void daemon_view_changed(void *owner, struct nic *nic)
{
	struct daemon *d = owner;

	if (!d->ready)
		return;
	daemon_place_queues(d, nic->index);
	daemon_watch_nic(d, nic->index);
	daemon_replan(d);
}

static const struct port_ops daemon_port_ops = {
	.rings_changed = daemon_rings_changed,
	.state_changed = daemon_port_state,
	.announce = daemon_announce,
	.quiesce = daemon_quiesce,
	.wake = daemon_wake_port,
};

static const struct nic_ops daemon_nic_ops = {
	.view_changed = daemon_view_changed,
	.quiesce = daemon_quiesce,
};

/* A worker gave a ring up, or has one wait for memory, or guest memory disappeared, or is full. */
static void daemon_check_ports(void *arg)
{
	struct daemon *d = arg;

	if (atomic_exchange_explicit(&d->overloaded, false, memory_order_relaxed))
		balance_start(d->balance);
	for (uint32_t i = 0; i < d->n_ports; i++) {
		if (d->ports[i].port)
			port_check(d->ports[i].port);
	}
}

static void daemon_ring_failed(void *owner)
{
	const struct daemon *d = owner;

	loop_wake(d->loop);
}

/* On a worker, five times a second at most. */
static void daemon_overloaded(void *owner)
{
	struct daemon *d = owner;

	atomic_store_explicit(&d->overloaded, true, memory_order_relaxed);
	loop_wake(d->loop);
}

/* ---- start and end -------------------------------------------------------------------------- */

static bool daemon_balances(const struct conf *conf)
{
	return conf->placement == CONF_PLACEMENT_AUTO && conf->n_workers > 1;
}

static int daemon_start_workers(struct daemon *d, char **ret_why)
{
	for (uint32_t i = 0; i < d->conf->n_workers; i++) {
		const struct worker_params params = {
			.id = i,
			.n_workers = d->conf->n_workers,
			.cpu = d->conf->workers[i].cpu,
			.busy_poll_us = d->conf->busy_poll_us,
			.wakeup_latency_us = d->conf->wakeup_latency_us,
			.ring_failed = daemon_ring_failed,
			.overloaded = daemon_balances(d->conf) ? daemon_overloaded : NULL,
			.owner = d,
		};
		int err = -ENOMEM;

		d->plans[i].spare = worker_plan_new(0, 0, 0, 0);
		if (d->plans[i].spare)
			err = worker_start(&params, d->plans[i].spare, &d->workers[i]);
		if (err < 0) {
			if (asprintf(ret_why, "cannot start a worker on CPU %d: %s", params.cpu,
			             strerror(-err)) < 0)
				*ret_why = NULL;
			return err;
		}
		d->n_workers++;
	}
	return 0;
}

/* What the steering maps of one nic shall hold: every address of its ports. */
static int daemon_steer_table(const struct daemon *d, uint32_t index, struct nic *nic)
{
	const struct conf *conf = d->conf;
	struct steer_port_entry *ports = calloc(conf->n_ports + 1, sizeof(*ports));
	uint32_t n_ports = 0, n_entries = 0, n_macs = 0, dedicated = 0;
	struct steer_entry *entries;
	int err = -ENOMEM;

	for (uint32_t i = 0; i < conf->n_ports; i++)
		n_macs += conf->ports[i].n_macs;
	entries = calloc(n_macs + 1, sizeof(*entries));
	if (!ports || !entries)
		goto out;
	for (uint32_t i = 0; i < conf->n_ports; i++) {
		const struct conf_port *p = &conf->ports[i];
		struct steer_port_entry *sp = &ports[n_ports];

		if (p->nic_index != index)
			continue;
		sp->id = i + 1;
		sp->port.vlan = p->vlan;
		sp->port.n_macs = (uint16_t)p->n_macs;
		snprintf(sp->port.name, sizeof(sp->port.name), "%s", p->name);
		n_ports++;
		for (uint32_t k = 0; k < p->n_macs; k++) {
			struct steer_entry *e = &entries[n_entries++];

			memcpy(e->key.mac, p->macs[k].addr, sizeof(e->key.mac));
			e->key.vlan = p->vlan;
			e->port = sp->id;
		}
		if (nic->conf->mode == CONF_NIC_DEDICATED)
			dedicated = sp->id;
	}
	err = nic_set_table(nic, entries, n_entries, ports, n_ports, dedicated);
out:
	free(ports);
	free(entries);
	return err;
}

static int daemon_set_fdb(struct daemon *d, struct nic *nic)
{
	struct port **ports = calloc(d->n_ports + 1, sizeof(struct port *));
	struct fdb *fdb, *old;
	int err;

	if (!ports)
		return -ENOMEM;
	for (uint32_t i = 0; i < d->n_ports; i++)
		ports[i] = d->ports[i].port;
	err = fdb_build(nic, ports, d->n_ports, &fdb);
	free(ports);
	if (err < 0)
		return err;
	old = atomic_exchange_explicit(&nic->fdb, fdb, memory_order_acq_rel);
	worker_quiesce();
	fdb_free(old);
	return 0;
}

static int daemon_open_nics(struct daemon *d, char **ret_why)
{
	for (uint32_t i = 0; i < d->conf->n_nics; i++) {
		struct daemon_nic *n = &d->nics[i];
		int err;

		n->counters = lines_alloc(STEER_MAX_QUEUES + 1, sizeof(*n->counters));
		if (!n->counters)
			return -ENOMEM;
		for (uint32_t k = 0; k < STEER_MAX_QUEUES; k++)
			n->seats[k].worker = k % d->n_workers;
		err = nic_new(d->conf, i, d->loop, &daemon_nic_ops, d, &n->nic, ret_why);
		if (err < 0)
			return err;
		d->n_nics++;
		err = daemon_steer_table(d, i, n->nic);
		if (err < 0)
			return err;
	}
	return 0;
}

/* Payload that a guest may send: what any nic can carry, less the Ethernet header and a tag. */
static uint16_t daemon_port_mtu(const struct daemon *d, const struct conf_port *conf)
{
	const struct nic *nic = d->nics[conf->nic_index].nic;

	if (conf->mtu)
		return conf->mtu;
	return nic->mtu && nic->mtu < UINT16_MAX ? (uint16_t)nic->mtu : UINT16_MAX;
}

/* Number of the worker on @cpu. */
static uint32_t daemon_worker_on(const struct daemon *d, int cpu)
{
	uint32_t i = 0;

	while (i + 1 < d->n_workers && d->conf->workers[i].cpu != cpu)
		i++;
	return i;
}

static int daemon_seat_port(struct daemon *d, uint32_t index)
{
	const struct conf_port *conf = &d->conf->ports[index];
	struct daemon_seat *seats = calloc(conf->queues, sizeof(*seats));

	if (!seats)
		return -ENOMEM;
	for (uint32_t i = 0; i < conf->queues; i++)
		seats[i].worker = conf->worker_cpu >= 0 ? daemon_worker_on(d, conf->worker_cpu)
		                                        : (index + i) % d->n_workers;
	d->ports[index].seats = seats;
	return 0;
}

static int daemon_open_ports(struct daemon *d, char **ret_why)
{
	for (uint32_t i = 0; i < d->conf->n_ports; i++) {
		const struct conf_port *conf = &d->conf->ports[i];
		int err = daemon_seat_port(d, i);

		if (err < 0)
			return err;
		err = port_new(d->conf, i, d->nics[conf->nic_index].nic, daemon_port_mtu(d, conf),
		               d->loop, &daemon_port_ops, d, &d->ports[i].port, ret_why);

		if (err < 0)
			return err;
		d->n_ports++;
	}
	for (uint32_t i = 0; i < d->n_nics; i++) {
		int err = daemon_set_fdb(d, d->nics[i].nic);

		if (err < 0)
			return err;
	}
	return 0;
}

static int daemon_init(struct daemon *d, char **ret_why)
{
	const struct conf *conf = d->conf;
	int err;

	d->workers = calloc(conf->n_workers, sizeof(struct worker *));
	d->plans = calloc(conf->n_workers, sizeof(*d->plans));
	d->n_sources = calloc(conf->n_workers, sizeof(*d->n_sources));
	d->nics = calloc(conf->n_nics + 1, sizeof(*d->nics));
	d->ports = calloc(conf->n_ports + 1, sizeof(*d->ports));
	if (!d->workers || !d->plans || !d->n_sources || !d->nics || !d->ports)
		return -ENOMEM;
	err = seating_new(NUMA_SYSFS, conf, &d->seating);
	if (!err && daemon_balances(conf))
		err = balance_new(d, &d->balance);
	if (!err)
		err = daemon_start_workers(d, ret_why);
	if (!err)
		err = daemon_open_nics(d, ret_why);
	if (!err)
		err = daemon_open_ports(d, ret_why);
	if (err < 0)
		return err;
	d->ready = true;
	for (uint32_t i = 0; i < d->n_nics; i++) {
		daemon_place_queues(d, i);
		daemon_watch_nic(d, i);
	}
	daemon_replan(d);
	loop_set_wake(d->loop, daemon_check_ports, d);
	return 0;
}

int daemon_new(const struct conf *conf, struct loop *loop, struct daemon **ret_daemon,
               char **ret_why)
{
	struct daemon *d = calloc(1, sizeof(*d));
	int err;

	*ret_why = NULL;
	if (!d)
		return -ENOMEM;
	d->start_ms = clock_now_ms();
	d->conf = conf;
	d->loop = loop;
	err = daemon_init(d, ret_why);
	if (err < 0) {
		if (!*ret_why)
			*ret_why = strdup(strerror(-err));
		daemon_free(d);
		return err;
	}
	*ret_daemon = d;
	return 0;
}

/* The workers are gone, and their epoll sets with them. */
static void watches_drop(struct daemon_watches *w)
{
	for (uint32_t i = 0; i < w->n; i++) {
		if (w->watch[i].owned)
			close(w->watch[i].fd);
	}
	free(w->watch);
	*w = (struct daemon_watches){0};
}

static void daemon_close_nic(struct daemon_nic *n)
{
	struct fdb *fdb;

	watches_drop(&n->watches);
	free(n->counters);
	if (!n->nic)
		return;
	fdb = atomic_load_explicit(&n->nic->fdb, memory_order_relaxed);
	nic_free(n->nic);
	fdb_free(fdb);
}

void daemon_free(struct daemon *d)
{
	if (!d)
		return;
	/* Workers first: from here on nobody but us looks at ports and nics. */
	d->ready = false;
	loop_set_wake(d->loop, NULL, NULL);
	balance_free(d->balance);
	seating_free(d->seating);
	for (uint32_t i = 0; i < d->n_workers; i++) {
		d->plans[i].old = worker_swap_plan(d->workers[i], d->plans[i].spare);
		worker_stop(d->workers[i]);
		daemon_free_plan(&d->plans[i]);
	}
	for (uint32_t i = 0; d->plans && i < d->conf->n_workers; i++)
		worker_plan_free(d->plans[i].spare);
	for (uint32_t i = 0; d->ports && i < d->conf->n_ports; i++) {
		watches_drop(&d->ports[i].watches);
		port_free(d->ports[i].port);
		free(d->ports[i].seats);
	}
	for (uint32_t i = 0; d->nics && i < d->conf->n_nics; i++)
		daemon_close_nic(&d->nics[i]);
	free(d->workers);
	free(d->plans);
	free(d->n_sources);
	free(d->nics);
	free(d->ports);
	free(d);
}
