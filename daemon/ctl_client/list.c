// SPDX-License-Identifier: BSD-2-Clause
/* list.c - one line per object */
#include <string.h>

#include "xdpctl.h"

static const json_t *list_of(const json_t *result, const char *key)
{
	return json_object_get(result, key);
}

/* First entry of a list of texts, and how many more there are. */
static void add_first(struct table *t, const json_t *list)
{
	const char *first = json_string_value(json_array_get(list, 0));
	size_t n = json_array_size(list);

	if (!first)
		table_add(t, "-");
	else if (n == 1)
		table_add(t, "%s", safe_text(first));
	else
		table_add(t, "%s +%zu", safe_text(first), n - 1);
}

void print_ports(const json_t *result, FILE *out)
{
	static const char *const heads[] = {"NAME", "STATE", "NIC",  ">VLAN", ">QUEUES", ">MTU",
	                                    ">PID", "SINCE", "MACS", "ERROR", NULL};
	struct table *t = table_new(heads);
	const json_t *port;
	size_t i;

	json_array_foreach(list_of(result, "ports"), i, port)
	{
		table_add(t, "%s", field_text(port, "name"));
		table_add(t, "%s", field_text(port, "state"));
		table_add(t, "%s", field_text(port, "nic"));
		table_add(t, "%s", field_count(port, "vlan"));
		table_add(t, "%s/%s", field_count(port, "queue_pairs"),
		          field_count(port, "max_queue_pairs"));
		table_add(t, "%s", field_int(port, "mtu") ? field_count(port, "mtu") : "-");
		table_add(t, "%s", field_count(port, "peer_pid"));
		table_add(t, "%s", field_since(port, "since_s"));
		add_first(t, json_object_get(port, "macs"));
		table_add(t, "%s", field_text(port, "last_error"));
	}
	table_print(t, out, 0);
}

void print_nics(const json_t *result, FILE *out)
{
	static const char *const heads[] = {"NAME",   "MODE", "STATE", "XDP",   "COPY", ">QUEUES",
	                                    "DRIVER", "MAC",  ">MTU",  "ERROR", NULL};
	struct table *t = table_new(heads);
	const json_t *nic;
	size_t i;

	json_array_foreach(list_of(result, "nics"), i, nic)
	{
		table_add(t, "%s", field_text(nic, "name"));
		table_add(t, "%s", field_text(nic, "mode"));
		table_add(t, "%s", field_text(nic, "state"));
		table_add(t, "%s", field_text(nic, "xdp_mode"));
		table_add(t, "%s", field_text(nic, "copy_mode"));
		table_add(t, "%zu", json_array_size(json_object_get(nic, "queues")));
		table_add(t, "%s", field_text(nic, "driver"));
		table_add(t, "%s", field_text(nic, "mac"));
		table_add(t, "%s", field_count(nic, "mtu"));
		table_add(t, "%s", field_text(nic, "error"));
	}
	table_print(t, out, 0);
}

void print_workers(const json_t *result, FILE *out)
{
	static const char *const heads[] = {">ID",     ">CPU",      ">TID",    "STATE",
	                                    ">BUSY%",  ">CPU-TIME", ">SLEEPS", ">FRAMES",
	                                    ">BURSTS", "SERVES",    NULL};
	struct table *t = table_new(heads);
	const json_t *w;
	size_t i;

	json_array_foreach(list_of(result, "workers"), i, w)
	{
		table_add(t, "%s", field_count(w, "id"));
		table_add(t, "%s", field_count(w, "cpu"));
		table_add(t, "%s", field_count(w, "tid"));
		table_add(t, "%s", field_text(w, "state"));
		table_add(t, "%s", field_count(w, "load"));
		table_add(t, "%.3fs", (double)field_int(w, "cpu_time_us") / 1e6);
		table_add(t, "%s", field_count(w, "sleeps"));
		table_add(t, "%s", field_count(w, "frames"));
		table_add(t, "%s", field_count(w, "bursts"));
		add_first(t, json_object_get(w, "queues"));
	}
	table_print(t, out, 0);
}

void print_macs(const json_t *result, FILE *out)
{
	static const char *const heads[] = {"MAC", ">VLAN", "PORT", ">ID", "NIC", "STATE", NULL};
	struct table *t = table_new(heads);
	const json_t *mac;
	size_t i;

	json_array_foreach(list_of(result, "macs"), i, mac)
	{
		table_add(t, "%s", field_text(mac, "mac"));
		table_add(t, "%s", field_count(mac, "vlan"));
		table_add(t, "%s", field_text(mac, "port"));
		table_add(t, "%s", field_count(mac, "port_id"));
		table_add(t, "%s", field_text(mac, "nic"));
		table_add(t, "%s", field_text(mac, "state"));
	}
	table_print(t, out, 0);
}

void print_methods(const json_t *result, FILE *out)
{
	static const char *const heads[] = {"METHOD", "CHANGES", "WHAT", NULL};
	struct table *t = table_new(heads);
	const json_t *m;
	size_t i;

	json_array_foreach(list_of(result, "methods"), i, m)
	{
		table_add(t, "%s", field_text(m, "name"));
		table_add(t, "%s", field_true(m, "mutates") ? "yes" : "no");
		table_add(t, "%s", field_text(m, "help"));
	}
	table_print(t, out, 0);
}

void print_moved(const json_t *result, FILE *out)
{
	fprintf(out, "served by worker %s\n", field_count(result, "worker"));
}

void print_version(const json_t *result, FILE *out)
{
	fprintf(out, "vhost-xdpd %s, pid %s\n", field_text(result, "version"),
	        field_count(result, "pid"));
}
