// SPDX-License-Identifier: BSD-2-Clause
/* list.c - one line per object */
#include "xdpctl.h"

static const char *queue_pairs(const json_t *port, const char *key)
{
	return text_of("%s/%s", field_count(port, key), field_count(port, "max_queue_pairs"));
}

/* 0 and a missing number are the same to people */
static const char *count_if_any(const json_t *obj, const char *key)
{
	return field_int(obj, key) ? field_count(obj, key) : "-";
}

static const char *yes_or_no(const json_t *obj, const char *key)
{
	return field_true(obj, key) ? "yes" : "no";
}

void print_ports(const json_t *result, FILE *out)
{
	static const struct column columns[] = {
		{"NAME", field_text, "name"},
		{"STATE", field_text, "state"},
		{"NIC", field_text, "nic"},
		{">VLAN", field_count, "vlan"},
		{">QUEUES", queue_pairs, "queue_pairs"},
		{">MTU", count_if_any, "mtu"},
		{">PID", field_count, "peer_pid"},
		{"SINCE", field_since, "since_s"},
		{"MACS", field_first, "macs"},
		{"ERROR", field_text, "last_error"},
		{NULL, NULL, NULL},
	};

	print_objects(json_object_get(result, "ports"), columns, out, 0);
}

void print_nics(const json_t *result, FILE *out)
{
	static const struct column columns[] = {
		{"NAME", field_text, "name"},
		{"MODE", field_text, "mode"},
		{"STATE", field_text, "state"},
		{"XDP", field_text, "xdp_mode"},
		{"COPY", field_text, "copy_mode"},
		{">QUEUES", field_size, "queues"},
		{"DRIVER", field_text, "driver"},
		{"MAC", field_text, "mac"},
		{">MTU", field_count, "mtu"},
		{"ERROR", field_text, "error"},
		{NULL, NULL, NULL},
	};

	print_objects(json_object_get(result, "nics"), columns, out, 0);
}

void print_workers(const json_t *result, FILE *out)
{
	static const struct column columns[] = {
		{">ID", field_count, "id"},
		{">CPU", field_count, "cpu"},
		{">NODE", field_count, "node"},
		{">TID", field_count, "tid"},
		{"STATE", field_text, "state"},
		{">BUSY%", field_count, "load"},
		{">CPU-TIME", field_cpu, "cpu_time_us"},
		{">SLEEPS", field_count, "sleeps"},
		{">FRAMES", field_count, "frames"},
		{">BURSTS", field_count, "bursts"},
		{"SERVES", field_first, "queues"},
		{NULL, NULL, NULL},
	};

	print_objects(json_object_get(result, "workers"), columns, out, 0);
}

void print_macs(const json_t *result, FILE *out)
{
	static const struct column columns[] = {
		{"MAC", field_text, "mac"},   {">VLAN", field_count, "vlan"},
		{"PORT", field_text, "port"}, {">ID", field_count, "port_id"},
		{"NIC", field_text, "nic"},   {"STATE", field_text, "state"},
		{NULL, NULL, NULL},
	};

	print_objects(json_object_get(result, "macs"), columns, out, 0);
}

void print_methods(const json_t *result, FILE *out)
{
	static const struct column columns[] = {
		{"METHOD", field_text, "name"},
		{"CHANGES", yes_or_no, "mutates"},
		{"WHAT", field_text, "help"},
		{NULL, NULL, NULL},
	};

	print_objects(json_object_get(result, "methods"), columns, out, 0);
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
