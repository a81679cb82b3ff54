// SPDX-License-Identifier: BSD-2-Clause
/* show.c - everything about the daemon, one nic or one port, as indented text */
#include <string.h>

#include "xdpctl.h"

/* "a, b, c" */
static void print_list(const json_t *list, FILE *out)
{
	const json_t *item;
	size_t i;

	if (!json_array_size(list))
		fputs("none", out);
	json_array_foreach(list, i, item)
	{
		const char *text = json_string_value(item);

		fprintf(out, "%s%s", i ? ", " : "", text ? safe_text(text) : "?");
	}
	fputc('\n', out);
}

static void print_way(const json_t *port, const char *key, const char *name, FILE *out)
{
	const json_t *way = json_object_get(port, key);

	fprintf(out, "    %s: %s frames, %s bytes\n", name, field_count(way, "frames"),
	        field_count(way, "bytes"));
	print_drops(json_object_get(way, "drops"), "      dropped: ", out);
}

static const char *ring_state(const json_t *ring, const char *key)
{
	return !field_true(ring, key)        ? "stopped"
	       : field_true(ring, "enabled") ? "running"
	                                     : "disabled";
}

static void print_rings(const json_t *port, FILE *out)
{
	static const struct column columns[] = {
		{">RING", field_count, "index"},
		{"KIND", field_text, "kind"},
		{"STATE", ring_state, "started"},
		{">SIZE", field_count, "size"},
		{">AVAIL", field_count, "avail"},
		{">USED", field_count, "used"},
		{">WORKER", field_count, "worker"},
		{">NODE", field_count, "node"},
		{">FRAMES", field_count, "frames"},
		{">BYTES", field_count, "bytes"},
		{">CALLS", field_count, "calls"},
		{"FAULT", field_text, "fault"},
		{NULL, NULL, NULL},
	};
	const json_t *rings = json_object_get(port, "queues");

	if (json_array_size(rings))
		print_objects(rings, columns, out, 4);
}

void print_port(const json_t *port, FILE *out)
{
	const char *error = json_string_value(json_object_get(port, "last_error"));

	fprintf(out, "  port %s (id %s): %s for %s\n", field_text(port, "name"),
	        field_count(port, "id"), field_text(port, "state"), field_since(port, "since_s"));
	fprintf(out, "    socket %s (%s), %s connections so far", field_text(port, "socket"),
	        field_true(port, "listen") ? "listening" : "connecting",
	        field_count(port, "connects"));
	if (field_int(port, "peer_pid"))
		fprintf(out, ", front end's pid %s", field_count(port, "peer_pid"));
	fprintf(out, "\n    nic %s, vlan %s, macs ", field_text(port, "nic"),
	        field_count(port, "vlan"));
	print_list(json_object_get(port, "macs"), out);
	if (error && *error)
		fprintf(out, "    last error: %s\n", safe_text(error));
	if (json_array_size(json_object_get(port, "features"))) {
		fprintf(out, "    queue pairs %s of %s, guest memory %s in %s regions",
		        field_count(port, "queue_pairs"), field_count(port, "max_queue_pairs"),
		        field_bytes(port, "guest_memory_bytes"), field_count(port, "regions"));
		if (field_int(port, "mtu"))
			fprintf(out, ", mtu %s", field_count(port, "mtu"));
		fputs("\n    features: ", out);
		print_list(json_object_get(port, "features"), out);
		fputs("    protocol features: ", out);
		print_list(json_object_get(port, "protocol_features"), out);
	}
	print_way(port, "to_guest", "to guest", out);
	print_way(port, "from_guest", "from guest", out);
	print_rings(port, out);
}

static void print_nic_queues(const json_t *nic, FILE *out)
{
	static const struct column columns[] = {
		{">QUEUE", field_count, "queue"},
		{">WORKER", field_count, "worker"},
		{">NODE", field_count, "node"},
		{">FROM-WIRE", field_count, "rx_frames"},
		{">BYTES", field_count, "rx_bytes"},
		{">TO-WIRE", field_count, "tx_frames"},
		{">BYTES", field_count, "tx_bytes"},
		{">KICKS", field_count, "kicks"},
		{">AGAIN", field_count, "kick_again"},
		{">LOST", field_count, "kick_lost"},
		{">ERROR", field_count, "kick_error"},
		{">YIELDS", field_count, "yields"},
		{NULL, NULL, NULL},
	};
	const json_t *queues = json_object_get(nic, "queues"), *q;
	size_t i;

	if (!json_array_size(queues))
		return;
	print_objects(queues, columns, out, 4);
	json_array_foreach(queues, i, q)
	{
		char head[48];

		if (field_true(q, "busy_polls"))
			fprintf(out, "    queue %s: the worker polls the driver, NAPI id %s\n",
			        field_count(q, "queue"), field_count(q, "napi_id"));
		snprintf(head, sizeof(head), "    queue %.20s, kernel: ", field_count(q, "queue"));
		print_drops(json_object_get(q, "kernel"), head, out);
	}
}

static void print_nic_verdicts(const json_t *nic, FILE *out)
{
	json_t *verdicts = json_object_get(nic, "verdicts");
	const char *sep = "    steered: ";

	for (void *it = json_object_iter(verdicts); it; it = json_object_iter_next(verdicts, it)) {
		fprintf(out, "%s%s %s", sep, safe_text(json_object_iter_key(it)),
		        field_count(json_object_iter_value(it), "frames"));
		sep = ", ";
	}
	if (json_object_size(verdicts))
		fputc('\n', out);
}

void print_nic(const json_t *nic, FILE *out)
{
	const char *error = json_string_value(json_object_get(nic, "error"));

	fprintf(out, "  nic %s: %s, %s\n", field_text(nic, "name"), field_text(nic, "mode"),
	        field_text(nic, "state"));
	if (error && *error)
		fprintf(out, "    error: %s\n", safe_text(error));
	if (field_int(nic, "ifindex")) {
		fprintf(out, "    driver %s, mac %s, ifindex %s, mtu %s, bound %s times\n",
		        field_text(nic, "driver"), field_text(nic, "mac"),
		        field_count(nic, "ifindex"), field_count(nic, "mtu"),
		        field_count(nic, "resets"));
		fprintf(out, "    XDP %s, program id %s%s, frames move by %s\n",
		        field_text(nic, "xdp_mode"), field_count(nic, "prog_id"),
		        field_true(nic, "adopted") ? " (taken over)" : "",
		        field_text(nic, "copy_mode"));
		fprintf(out, "    yield %s, napi-busy-poll %s\n", field_text(nic, "yield"),
		        field_count(nic, "napi_busy_poll"));
		fprintf(out, "    frames for no guest: %s", field_text(nic, "miss"));
		if (json_is_string(json_object_get(nic, "redirect_to")))
			fprintf(out, " to %s", field_text(nic, "redirect_to"));
		fprintf(out, "; guests' frames without a daemon: %s\n",
		        field_text(nic, "no_daemon"));
	}
	print_nic_verdicts(nic, out);
	print_drops(json_object_get(nic, "drops"), "    dropped: ", out);
	print_nic_queues(nic, out);
}

void print_worker(const json_t *w, FILE *out)
{
	fprintf(out,
	        "  worker %s on CPU %s (tid %s): %s, busy %s %%, %.3f s of CPU, %s frames, %s "
	        "sleeps\n",
	        field_count(w, "id"), field_count(w, "cpu"), field_count(w, "tid"),
	        field_text(w, "state"), field_count(w, "load"),
	        (double)field_int(w, "cpu_time_us") / 1e6, field_count(w, "frames"),
	        field_count(w, "sleeps"));
	if (json_is_string(json_object_get(w, "wakeup_latency")) &&
	    strcmp(field_text(w, "wakeup_latency"), "off") != 0)
		fprintf(out, "    limit of the CPU's wake-up latency: %s\n",
		        field_text(w, "wakeup_latency"));
	fputs("    serves ", out);
	print_list(json_object_get(w, "queues"), out);
}

void print_show(const json_t *result, FILE *out)
{
	static const struct {
		const char *key;
		void (*print)(const json_t *obj, FILE *out);
	} parts[] = {{"workers", print_worker}, {"nics", print_nic}, {"ports", print_port}};

	fprintf(out, "vhost-xdpd %s, pid %s, up %s\n", field_text(result, "version"),
	        field_count(result, "pid"), field_since(result, "uptime_s"));
	fprintf(out, "  configuration %s\n", field_text(result, "config"));
	fprintf(out, "  control socket %s, pins in %s, busy poll %s us\n",
	        field_text(result, "control_socket"), field_text(result, "pin_dir"),
	        field_count(result, "busy_poll_us"));
	if (json_is_integer(json_object_get(result, "wakeup_latency_us")))
		fprintf(out, "  CPUs of workers with traffic wake up within %s us\n",
		        field_count(result, "wakeup_latency_us"));
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		const json_t *obj;
		size_t k;

		json_array_foreach(json_object_get(result, parts[i].key), k, obj) parts[i].print(
			obj, out);
	}
}
