/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One method per vhost-xdpctl verb. Everything here is done on the control thread: counters are
 * single-writer atomics, ring indices come from guest memory through the published map. What may be
 * long is a list whose entries are made one by one, while the client takes them.
 */
#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "ctl_methods.h"
#include "daemon.h"
#include "group_tap.h"
#include "seating.h"

static void set_u64(json_t *obj, const char *key, uint64_t value)
{
	json_object_set_new(obj, key, json_integer((json_int_t)value));
}

static void set_str(json_t *obj, const char *key, const char *value)
{
	json_object_set_new(obj, key, value ? json_string(value) : json_null());
}

static void set_bool(json_t *obj, const char *key, bool value)
{
	json_object_set_new(obj, key, json_boolean(value));
}

static json_t *format_mac(const uint8_t mac[6])
{
	return json_sprintf("%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4],
	                    mac[5]);
}

static json_t *frames_bytes(uint64_t frames, uint64_t bytes)
{
	json_t *obj = json_object();

	set_u64(obj, "frames", frames);
	set_u64(obj, "bytes", bytes);
	return obj;
}

/* ---- ports ---------------------------------------------------------------------------------- */

static uint64_t sum_ring_counter(struct port *port, uint16_t first, size_t offset)
{
	uint64_t sum = 0;

	for (uint16_t i = first; i < vhost_dev_n_vqs(port->dev); i += 2) {
		const char *vq = (const char *)vhost_dev_vq(port->dev, i);

		sum += counter_get((const _Atomic uint64_t *)(const void *)(vq + offset));
	}
	return sum;
}

static json_t *port_to_guest(struct port *port)
{
	json_t *obj = frames_bytes(sum_ring_counter(port, 0, offsetof(struct vhost_vq, frames)),
	                           sum_ring_counter(port, 0, offsetof(struct vhost_vq, bytes)));
	json_t *drops = json_object();

	for (uint32_t r = 0; r < PORT_TO_N; r++) {
		uint64_t n = 0;

		for (uint16_t i = 0; i < vhost_dev_n_vqs(port->dev); i += 2)
			n += counter_get(&port->queues[i].to_drops[r]);
		set_u64(drops, port_to_drop_name(r), n);
	}
	set_u64(drops, "no-guest", counter_get(&port->to_no_guest));
	json_object_set_new(obj, "drops", drops);
	return obj;
}

static json_t *port_from_guest(struct port *port)
{
	json_t *obj = frames_bytes(sum_ring_counter(port, 1, offsetof(struct vhost_vq, frames)),
	                           sum_ring_counter(port, 1, offsetof(struct vhost_vq, bytes)));
	json_t *drops = json_object();

	for (uint32_t r = 0; r < PORT_FROM_N; r++) {
		uint64_t n = 0;

		for (uint16_t i = 1; i < vhost_dev_n_vqs(port->dev); i += 2)
			n += counter_get(&port->queues[i].from_drops[r]);
		set_u64(drops, port_from_drop_name(r), n);
	}
	json_object_set_new(obj, "drops", drops);
	return obj;
}

static json_t *feature_list(uint64_t bits, const char *(*name)(unsigned int bit))
{
	json_t *list = json_array();

	for (unsigned int i = 0; i < 64; i++) {
		if (!(bits >> i & 1))
			continue;
		json_array_append_new(list,
		                      name(i) ? json_string(name(i)) : json_sprintf("bit %u", i));
	}
	return list;
}

/* How far both sides are: a split ring's indices, a packed ring's slots with wrap counters */
static void set_positions(json_t *obj, const struct vhost_vq *vq, const struct vhost_vq_map *map)
{
	uint32_t at = vq->base;

	if (!map || map->packed) {
		if (map)
			at = atomic_load_explicit(&vq->position, memory_order_relaxed);
		set_u64(obj, "avail", at & 0xffff);
		set_u64(obj, "used", vq->packed ? at >> 16 : at & 0xffff);
		return;
	}
	set_u64(obj, "avail", ring_load_relaxed16(&map->avail->idx));
	set_u64(obj, "used", ring_load_relaxed16(&map->used->idx));
}

static void set_node(json_t *obj, int node)
{
	json_object_set_new(obj, "node", node == MEM_NODE_ANY ? json_null() : json_integer(node));
}

static json_t *port_ring(const struct daemon *d, const struct port *port, uint16_t index)
{
	struct vhost_vq *vq = vhost_dev_vq(port->dev, index);
	const struct vhost_vq_map *map = atomic_load_explicit(&vq->map, memory_order_relaxed);
	json_t *obj = json_object();

	set_u64(obj, "index", index);
	set_str(obj, "kind", index & 1 ? "tx" : "rx");
	set_bool(obj, "started", vq->started);
	set_bool(obj, "enabled", map && map->enabled);
	set_u64(obj, "size", vq->size);
	set_str(obj, "layout", vq->packed ? "packed" : "split");
	/* A receive ring is written by whoever has frames for it. */
	json_object_set_new(obj, "worker",
	                    index & 1 ? json_integer(daemon_worker_of_ring(d, port->index, index))
	                              : json_null());
	set_node(obj, vhost_vq_node(vq));
	set_u64(obj, "frames", counter_get(&vq->frames));
	set_u64(obj, "bytes", counter_get(&vq->bytes));
	set_u64(obj, "bursts", counter_get(&vq->bursts));
	set_u64(obj, "calls", counter_get(&vq->calls));
	if (index & 1)
		set_u64(obj, "busy_us", counter_get(&port->queues[index].busy_ns) / 1000);
	set_str(obj, "fault",
	        vhost_vq_fault_name(atomic_load_explicit(&vq->fault, memory_order_relaxed)));
	set_positions(obj, vq, map);
	return obj;
}

static json_t *port_rings(const struct daemon *d, const struct port *port)
{
	json_t *list = json_array();

	for (uint16_t i = 0; i < vhost_dev_n_vqs(port->dev); i++) {
		const struct vhost_vq *vq = vhost_dev_vq(port->dev, i);

		if (vq->size || vq->started)
			json_array_append_new(list, port_ring(d, port, i));
	}
	return list;
}

static uint64_t port_active_pairs(const struct port *port)
{
	uint64_t n = 0;

	for (uint16_t i = 0; i < vhost_dev_n_vqs(port->dev); i += 2) {
		const struct vhost_vq *vq = vhost_dev_vq(port->dev, i);

		n += vq->started && vq->enable_wanted;
	}
	return n;
}

static json_t *port_json(const struct daemon *d, uint32_t index)
{
	struct port *port = d->ports[index].port;
	const struct conf_port *conf = port->conf;
	const struct vhost_mem *mem = vhost_dev_mem(port->dev);
	json_t *obj = json_object(), *macs = json_array();
	struct steer_counter steered = {0};
	struct port_info info;

	port_get_info(port, &info);
	for (uint32_t i = 0; i < conf->n_macs; i++)
		json_array_append_new(macs, format_mac(conf->macs[i].addr));
	if (port->nic->steer)
		steer_read_port(port->nic->steer, port->id, &steered);
	set_str(obj, "name", conf->name);
	set_u64(obj, "id", port->id);
	set_str(obj, "socket", conf->socket);
	set_bool(obj, "listen", conf->listen);
	set_str(obj, "state", info.state);
	set_bool(obj, "up", port_is_up(port));
	set_u64(obj, "since_s", (clock_now_ms() - info.since_ms) / 1000);
	set_str(obj, "nic", conf->nic);
	set_u64(obj, "vlan", conf->vlan);
	json_object_set_new(obj, "macs", macs);
	set_bool(obj, "own_macs_only", conf->own_macs_only);
	json_object_set_new(obj, "peer_pid",
	                    info.peer_pid ? json_integer(info.peer_pid) : json_null());
	json_object_set_new(obj, "features",
	                    feature_list(vhost_dev_features(port->dev), vhost_feature_name));
	json_object_set_new(
		obj, "protocol_features",
		feature_list(vhost_dev_protocol_features(port->dev), vhost_protocol_feature_name));
	set_u64(obj, "queue_pairs", port_active_pairs(port));
	set_u64(obj, "max_queue_pairs", conf->queues);
	set_u64(obj, "mtu", vhost_dev_mtu(port->dev));
	set_u64(obj, "guest_memory_bytes", vhost_mem_bytes(mem));
	set_u64(obj, "regions", mem ? mem->n_regions : 0);
	set_str(obj, "last_error", info.last_error[0] ? info.last_error : NULL);
	set_u64(obj, "connects", info.n_connects);
	json_object_set_new(obj, "queues", port_rings(d, port));
	json_object_set_new(obj, "steered", frames_bytes(steered.frames, steered.bytes));
	json_object_set_new(obj, "to_guest", port_to_guest(port));
	json_object_set_new(obj, "from_guest", port_from_guest(port));
	return obj;
}

/* ---- nics ----------------------------------------------------------------------------------- */

static json_t *nic_queue_json(const struct daemon *d, const struct daemon_nic *n, uint32_t queue)
{
	const struct xsk_queue *q = nic_view_get(n->nic)->queues[queue];
	const struct nic_counters *c = &n->counters[queue];
	json_t *obj = json_object(), *kernel = json_object();
	struct xsk_kernel_stats ks = {0};

	set_u64(obj, "queue", q->queue);
	set_u64(obj, "worker", daemon_worker_of_queue(d, n->nic->index, queue));
	set_str(obj, "copy_mode", q->zerocopy ? "zerocopy" : "copy");
	set_bool(obj, "busy_polls", xsk_busy_polls(q));
	set_u64(obj, "napi_id", xsk_queue_napi_id(q));
	set_node(obj, q->node);
	set_u64(obj, "rx_frames", counter_get(&c->rx_frames));
	set_u64(obj, "rx_bytes", counter_get(&c->rx_bytes));
	set_u64(obj, "tx_frames", counter_get(&c->tx_frames));
	set_u64(obj, "tx_bytes", counter_get(&c->tx_bytes));
	set_u64(obj, "busy_us", counter_get(&c->busy_ns) / 1000);
	set_u64(obj, "kicks", counter_get(&q->kicks));
	set_u64(obj, "kick_again", counter_get(&q->kick_again));
	set_u64(obj, "kick_lost", counter_get(&q->kick_lost));
	set_u64(obj, "kick_error", counter_get(&q->kick_error));
	set_u64(obj, "yields", counter_get(&q->yields));
	xsk_queue_kernel_stats(q, &ks);
	set_u64(kernel, "rx_dropped", ks.rx_dropped);
	set_u64(kernel, "rx_ring_full", ks.rx_ring_full);
	set_u64(kernel, "fill_ring_empty", ks.fill_ring_empty);
	set_u64(kernel, "rx_invalid_descs", ks.rx_invalid_descs);
	set_u64(kernel, "tx_invalid_descs", ks.tx_invalid_descs);
	set_u64(kernel, "tx_ring_empty", ks.tx_ring_empty);
	json_object_set_new(obj, "kernel", kernel);
	return obj;
}

static json_t *nic_drops(const struct daemon_nic *n)
{
	struct group_tap *tap = nic_view_get(n->nic)->tap;
	json_t *obj = json_object();

	for (uint32_t r = 0; r < NIC_DROP_N; r++) {
		uint64_t sum = 0;

		for (uint32_t k = 0; k <= STEER_MAX_QUEUES; k++)
			sum += counter_get(&n->counters[k].drops[r]);
		set_u64(obj, nic_drop_name(r), sum);
	}
	if (tap)
		set_u64(obj, "group-copy-lost", group_tap_dropped(tap));
	return obj;
}

static json_t *nic_verdicts(const struct nic *nic)
{
	struct steer_counter v[STEER_N_VERDICTS] = {0};
	json_t *obj = json_object();

	if (!nic->steer || steer_read_verdicts(nic->steer, v) < 0)
		return obj;
	for (uint32_t i = 0; i < STEER_N_VERDICTS; i++)
		json_object_set_new(obj, steer_verdict_name(i),
		                    frames_bytes(v[i].frames, v[i].bytes));
	return obj;
}

static const char *action_name(enum conf_miss action)
{
	static const char *const names[] = {
		[CONF_MISS_PASS] = "pass",
		[CONF_MISS_DROP] = "drop",
		[CONF_MISS_REDIRECT] = "redirect",
	};

	return names[action];
}

static const char *mode_name(enum conf_nic_mode mode)
{
	static const char *const names[] = {
		[CONF_NIC_STEERED] = "steered",
		[CONF_NIC_DEDICATED] = "dedicated",
		[CONF_NIC_INTERNAL] = "internal",
	};

	return names[mode];
}

static json_t *nic_counts(const struct daemon *d, const struct daemon_nic *n)
{
	const struct nic_view *view = nic_view_get(n->nic);
	json_t *obj = json_object(), *queues = json_array();
	const struct nic_counters *tap = &n->counters[DAEMON_TAP_COUNTERS];

	set_str(obj, "name", n->nic->conf->name);
	for (uint32_t k = 0; k < view->n_queues; k++)
		json_array_append_new(queues, nic_queue_json(d, n, k));
	json_object_set_new(obj, "queues", queues);
	json_object_set_new(
		obj, "group_copies",
		frames_bytes(counter_get(&tap->rx_frames), counter_get(&tap->rx_bytes)));
	json_object_set_new(obj, "verdicts", nic_verdicts(n->nic));
	json_object_set_new(obj, "drops", nic_drops(n));
	return obj;
}

static const char *yield_name(enum conf_yield yield)
{
	static const char *const names[] = {
		[CONF_YIELD_AUTO] = "auto",
		[CONF_YIELD_ON] = "on",
		[CONF_YIELD_OFF] = "off",
	};

	return names[yield];
}

static json_t *nic_json(const struct daemon *d, uint32_t index)
{
	const struct daemon_nic *n = &d->nics[index];
	const struct nic *nic = n->nic;
	const struct conf_nic *conf = nic->conf;
	json_t *obj = nic_counts(d, n);
	bool bound = nic_view_get(n->nic)->n_queues > 0;

	set_str(obj, "mode", mode_name(conf->mode));
	set_str(obj, "state", nic_state_name(nic->state));
	set_str(obj, "error", nic->last_error);
	if (conf->mode == CONF_NIC_INTERNAL)
		return obj;
	set_str(obj, "driver", nic->driver);
	json_object_set_new(obj, "mac", format_mac(nic->mac));
	set_u64(obj, "ifindex", nic->ifindex);
	set_u64(obj, "mtu", nic->mtu);
	set_str(obj, "xdp_mode", conf->xdp_mode == CONF_XDP_GENERIC ? "generic" : "native");
	set_str(obj, "copy_mode", !bound ? "none" : nic->zerocopy ? "zerocopy" : "copy");
	set_str(obj, "yield", yield_name(conf->yield));
	set_u64(obj, "napi_busy_poll", conf->napi_busy_poll);
	set_u64(obj, "prog_id", nic->steer ? steer_prog_id(nic->steer) : 0);
	set_bool(obj, "adopted", nic->steer && steer_is_adopted(nic->steer));
	set_str(obj, "miss", action_name(conf->miss));
	set_str(obj, "redirect_to", conf->redirect_to);
	set_str(obj, "no_daemon", action_name(conf->no_daemon));
	set_u64(obj, "resets", nic->n_resets);
	return obj;
}

/* ---- workers -------------------------------------------------------------------------------- */

static const char *const latency_names[] = {
	[CPU_LATENCY_OFF] = "off",       [CPU_LATENCY_RELEASED] = "released",
	[CPU_LATENCY_HELD] = "held",     [CPU_LATENCY_STRICTER] = "stricter",
	[CPU_LATENCY_FAILED] = "failed",
};

static json_t *worker_json(const struct daemon *d, uint32_t index)
{
	const struct worker *w = d->workers[index];
	const struct worker_stats *st = worker_get_stats(w);
	const struct worker_times times = worker_get_times(w);
	json_t *obj = json_object(), *queues = json_array();

	set_u64(obj, "id", index);
	set_u64(obj, "cpu", (uint64_t)worker_cpu(w));
	set_node(obj, seating_node(d->seating, index));
	set_u64(obj, "tid", (uint64_t)worker_tid(w));
	set_str(obj, "state", worker_is_asleep(w) ? "sleeping" : "polling");
	set_str(obj, "wakeup_latency", latency_names[worker_cpu_latency(w)]);
	set_u64(obj, "load", worker_load(w) / 10);
	set_u64(obj, "busy_us", times.busy_ns / 1000);
	set_u64(obj, "idle_us", times.idle_ns / 1000);
	set_u64(obj, "slept_us", times.slept_ns / 1000);
	set_u64(obj, "cpu_time_us", worker_cpu_time_us(w));
	set_u64(obj, "sleeps", counter_get(&st->sleeps));
	set_u64(obj, "bursts", counter_get(&st->rounds));
	set_u64(obj, "frames", counter_get(&st->frames));
	for (uint32_t i = 0; i < d->n_nics; i++) {
		const struct nic_view *view = nic_view_get(d->nics[i].nic);

		for (uint32_t k = 0; k < view->n_queues; k++) {
			if (daemon_worker_of_queue(d, i, k) == index)
				json_array_append_new(queues,
				                      json_sprintf("nic %s q%u",
				                                   d->nics[i].nic->conf->name,
				                                   view->queues[k]->queue));
		}
	}
	for (uint32_t i = 0; i < d->n_ports; i++) {
		struct port *port = d->ports[i].port;

		for (uint16_t r = 1; r < vhost_dev_n_vqs(port->dev); r += 2) {
			if (vhost_dev_vq(port->dev, r)->started &&
			    daemon_worker_of_ring(d, i, r) == index)
				json_array_append_new(
					queues,
					json_sprintf("port %s q%u", port->conf->name, r / 2));
		}
	}
	json_object_set_new(obj, "queues", queues);
	return obj;
}

/* ---- methods -------------------------------------------------------------------------------- */

static json_t *wrap(const char *key, json_t *value)
{
	json_t *obj = json_object();

	json_object_set_new(obj, key, value);
	return obj;
}

/* The entry of a list of @n that @place is at. */
static bool next_of(const struct daemon *d, uint32_t n, struct ctl_place *place,
                    json_t *(*entry)(const struct daemon *d, uint32_t index), json_t **ret_entry)
{
	if (place->i >= n)
		return false;
	*ret_entry = entry(d, place->i++);
	return true;
}

static bool next_port(void *owner, struct ctl_place *place, json_t **ret_entry)
{
	const struct daemon *d = owner;

	return next_of(d, d->n_ports, place, port_json, ret_entry);
}

static bool next_nic(void *owner, struct ctl_place *place, json_t **ret_entry)
{
	const struct daemon *d = owner;

	return next_of(d, d->n_nics, place, nic_json, ret_entry);
}

static bool next_worker(void *owner, struct ctl_place *place, json_t **ret_entry)
{
	const struct daemon *d = owner;

	return next_of(d, d->n_workers, place, worker_json, ret_entry);
}

/* @place: the port and which of its addresses */
static bool next_mac(void *owner, struct ctl_place *place, json_t **ret_entry)
{
	const struct daemon *d = owner;
	const struct conf_port *conf;
	const struct port *port;
	json_t *obj;

	while (place->i < d->n_ports && place->k >= d->ports[place->i].port->conf->n_macs)
		*place = (struct ctl_place){.i = place->i + 1};
	if (place->i >= d->n_ports)
		return false;
	port = d->ports[place->i].port;
	conf = port->conf;
	obj = wrap("mac", format_mac(conf->macs[place->k++].addr));
	set_u64(obj, "vlan", conf->vlan);
	set_str(obj, "port", conf->name);
	set_u64(obj, "port_id", port->id);
	set_str(obj, "nic", conf->nic);
	set_str(obj, "state", port_is_up(port) ? "up" : "down");
	*ret_entry = obj;
	return true;
}

static json_t *port_stats(const struct daemon *d, uint32_t index)
{
	struct port *port = d->ports[index].port;
	json_t *obj = wrap("name", json_string(port->conf->name));

	json_object_set_new(obj, "to_guest", port_to_guest(port));
	json_object_set_new(obj, "from_guest", port_from_guest(port));
	return obj;
}

static bool next_port_stats(void *owner, struct ctl_place *place, json_t **ret_entry)
{
	const struct daemon *d = owner;

	return next_of(d, d->n_ports, place, port_stats, ret_entry);
}

static json_t *nic_stats(const struct daemon *d, uint32_t index)
{
	return nic_counts(d, &d->nics[index]);
}

static bool next_nic_stats(void *owner, struct ctl_place *place, json_t **ret_entry)
{
	const struct daemon *d = owner;

	return next_of(d, d->n_nics, place, nic_stats, ret_entry);
}

static json_t *version_json(void)
{
	json_t *obj = wrap("version", json_string(VX_VERSION));

	set_u64(obj, "pid", (uint64_t)getpid());
	return obj;
}

static json_t *method_version(struct ctl_call *call)
{
	(void)call;
	return version_json();
}

static json_t *method_show(struct ctl_call *call)
{
	const struct daemon *d = call->owner;
	json_t *obj = version_json();

	set_u64(obj, "uptime_s", (clock_now_ms() - d->start_ms) / 1000);
	set_str(obj, "config", d->conf->path);
	set_str(obj, "control_socket", d->conf->control_socket);
	set_str(obj, "pin_dir", d->conf->pin_dir);
	set_u64(obj, "busy_poll_us", d->conf->busy_poll_us);
	json_object_set_new(obj, "wakeup_latency_us",
	                    d->conf->wakeup_latency_us == CPU_LATENCY_NONE
	                            ? json_null()
	                            : json_integer(d->conf->wakeup_latency_us));
	set_str(obj, "placement", d->conf->placement == CONF_PLACEMENT_AUTO ? "auto" : "static");
	return obj;
}

static json_t *fail(struct ctl_call *call, const char *fmt, ...) printf_like(2, 3);
static json_t *fail(struct ctl_call *call, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&call->error, fmt, ap) < 0)
		call->error = NULL;
	va_end(ap);
	return NULL;
}

/* Return: the port's position, or d->n_ports if there is none. */
static uint32_t find_port(const struct daemon *d, const char *name)
{
	uint32_t i = 0;

	while (i < d->n_ports && strcmp(d->ports[i].port->conf->name, name) != 0)
		i++;
	return i;
}

/* params {"port": NAME} narrows to one port. */
static json_t *method_stats(struct ctl_call *call)
{
	const struct daemon *d = call->owner;
	const char *name = json_string_value(json_object_get(call->params, "port"));
	json_t *list;
	uint32_t i;

	if (!name)
		return json_object();
	call->lists = NULL;
	i = find_port(d, name);
	if (i == d->n_ports)
		return fail(call, "there is no port '%s'", name);
	list = json_array();
	json_array_append_new(list, port_stats(d, i));
	return wrap("ports", list);
}

/* ---- moving sources ------------------------------------------------------------------------- */

/* What port.move and nic.move are told. */
struct move_params {
	const char *name;
	uint32_t queue, worker;
};

static bool move_param(const json_t *params, const char *key, uint32_t *ret)
{
	const json_t *value = json_object_get(params, key);
	json_int_t n = json_integer_value(value);

	*ret = (uint32_t)n;
	return json_is_integer(value) && n >= 0 && n <= UINT32_MAX;
}

static bool move_read(struct ctl_call *call, struct move_params *ret)
{
	const struct daemon *d = call->owner;
	const json_t *params = call->params;

	ret->name = json_string_value(json_object_get(params, "name"));
	if (!ret->name || !move_param(params, "queue", &ret->queue) ||
	    !move_param(params, "worker", &ret->worker))
		return fail(call, "params are name, queue and worker: a text, two numbers");
	if (ret->worker >= d->n_workers)
		return fail(call, "there is no worker %u", ret->worker);
	return true;
}

static json_t *method_port_move(struct ctl_call *call)
{
	struct daemon *d = call->owner;
	struct move_params move;
	uint32_t i;

	if (!move_read(call, &move))
		return NULL;
	i = find_port(d, move.name);
	if (i == d->n_ports)
		return fail(call, "there is no port '%s'", move.name);
	if (move.queue >= d->ports[i].port->conf->queues)
		return fail(call, "port '%s' has no queue pair %u", move.name, move.queue);
	daemon_move_ring(d, i, 2 * move.queue + 1, move.worker, true);
	return wrap("worker", json_integer(move.worker));
}

static json_t *method_nic_move(struct ctl_call *call)
{
	struct daemon *d = call->owner;
	const struct nic_view *view;
	struct move_params move;
	uint32_t i = 0, k = 0;

	if (!move_read(call, &move))
		return NULL;
	while (i < d->n_nics && strcmp(d->nics[i].nic->conf->name, move.name) != 0)
		i++;
	if (i == d->n_nics)
		return fail(call, "there is no nic '%s'", move.name);
	view = nic_view_get(d->nics[i].nic);
	while (k < view->n_queues && view->queues[k]->queue != move.queue)
		k++;
	if (k == view->n_queues)
		return fail(call, "nic '%s' has no queue %u now", move.name, move.queue);
	daemon_move_queue(d, i, k, move.worker, true);
	return wrap("worker", json_integer(move.worker));
}

static const struct ctl_list list_workers[] = {{"workers", next_worker}, {0}};
static const struct ctl_list list_nics[] = {{"nics", next_nic}, {0}};
static const struct ctl_list list_ports[] = {{"ports", next_port}, {0}};
static const struct ctl_list list_macs[] = {{"macs", next_mac}, {0}};
static const struct ctl_list list_everything[] = {
	{"workers", next_worker}, {"nics", next_nic}, {"ports", next_port}, {0}};
static const struct ctl_list list_stats[] = {
	{"ports", next_port_stats}, {"nics", next_nic_stats}, {0}};

const struct ctl_method ctl_methods[] = {
	{"version", false, "version and process id of the daemon", method_version, NULL},
	{"show", false, "everything: workers, nics, ports", method_show, list_everything},
	{"stats", false, "counters and drops; params: port", method_stats, list_stats},
	{"port.list", false, "ports with their rings, features and counters", NULL, list_ports},
	{"nic.list", false, "nics with their queues and verdicts", NULL, list_nics},
	{"worker.list", false, "workers, what they serve, how busy they are", NULL, list_workers},
	{"port.move", true, "serve a queue pair by another worker; params: name, queue, worker",
         method_port_move, NULL},
	{"nic.move", true, "the same for a queue of a nic", method_nic_move, NULL},
	{"mac.list", false, "addresses and the ports that own them", NULL, list_macs},
};
const size_t ctl_n_methods = ARRAY_SIZE(ctl_methods);
