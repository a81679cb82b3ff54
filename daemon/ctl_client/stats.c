// SPDX-License-Identifier: BSD-2-Clause
/* stats.c - counters: what was moved, and what was dropped for which reason */
#include <string.h>

#include "xdpctl.h"

/* Values of an object of integers, added up. */
static json_int_t sum_of(const json_t *obj)
{
	json_int_t sum = 0;

	for (void *it = json_object_iter((json_t *)(uintptr_t)obj); it;
	     it = json_object_iter_next((json_t *)(uintptr_t)obj, it))
		sum += json_integer_value(json_object_iter_value(it));
	return sum;
}

bool print_drops(const json_t *drops, const char *head, FILE *out)
{
	const char *sep = head;

	for (void *it = json_object_iter((json_t *)(uintptr_t)drops); it;
	     it = json_object_iter_next((json_t *)(uintptr_t)drops, it)) {
		const json_t *value = json_object_iter_value(it);

		if (!json_integer_value(value))
			continue;
		fprintf(out, "%s%s %" JSON_INTEGER_FORMAT, sep, safe_text(json_object_iter_key(it)),
		        json_integer_value(value));
		sep = ", ";
	}
	if (sep == head)
		return false;
	fputc('\n', out);
	return true;
}

static void add_way(struct table *t, const json_t *way)
{
	table_add(t, "%s", field_count(way, "frames"));
	table_add(t, "%s", field_count(way, "bytes"));
	table_add(t, "%" JSON_INTEGER_FORMAT, sum_of(json_object_get(way, "drops")));
}

static void print_port_stats(const json_t *ports, FILE *out)
{
	static const char *const heads[] = {"PORT",        ">TO-GUEST", ">BYTES", ">DROPS",
	                                    ">FROM-GUEST", ">BYTES",    ">DROPS", NULL};
	struct table *t = table_new(heads);
	const json_t *port;
	size_t i;

	json_array_foreach(ports, i, port)
	{
		table_add(t, "%s", field_text(port, "name"));
		add_way(t, json_object_get(port, "to_guest"));
		add_way(t, json_object_get(port, "from_guest"));
	}
	table_print(t, out, 0);
}

static void print_queue_stats(const json_t *nics, FILE *out)
{
	static const char *const heads[] = {"NIC",    ">QUEUE", ">FROM-WIRE", ">BYTES", ">TO-WIRE",
	                                    ">BYTES", ">KICKS", ">LOST",      NULL};
	struct table *t = table_new(heads);
	const json_t *nic, *q;
	size_t i, k;

	json_array_foreach(nics, i, nic)
	{
		json_array_foreach(json_object_get(nic, "queues"), k, q)
		{
			const json_t *kernel = json_object_get(q, "kernel");

			table_add(t, "%s", field_text(nic, "name"));
			table_add(t, "%s", field_count(q, "queue"));
			table_add(t, "%s", field_count(q, "rx_frames"));
			table_add(t, "%s", field_count(q, "rx_bytes"));
			table_add(t, "%s", field_count(q, "tx_frames"));
			table_add(t, "%s", field_count(q, "tx_bytes"));
			table_add(t, "%s", field_count(q, "kicks"));
			table_add(t, "%" JSON_INTEGER_FORMAT,
			          field_int(kernel, "rx_dropped") +
			                  field_int(kernel, "rx_ring_full") +
			                  field_int(q, "kick_lost"));
		}
	}
	table_print(t, out, 0);
}

static void print_verdicts(const json_t *nic, FILE *out)
{
	static const char *const heads[] = {"VERDICT", ">FRAMES", ">BYTES", NULL};
	json_t *verdicts = json_object_get(nic, "verdicts");
	struct table *t;

	if (!json_object_size(verdicts))
		return;
	fprintf(out, "\nnic %s: what the steering program did\n", field_text(nic, "name"));
	t = table_new(heads);
	for (void *it = json_object_iter(verdicts); it; it = json_object_iter_next(verdicts, it)) {
		const json_t *v = json_object_iter_value(it);

		table_add(t, "%s", safe_text(json_object_iter_key(it)));
		table_add(t, "%s", field_count(v, "frames"));
		table_add(t, "%s", field_count(v, "bytes"));
	}
	table_print(t, out, 2);
}

/* The reasons behind the column DROPS. */
static void print_reasons(const json_t *ports, const json_t *nics, FILE *out)
{
	const json_t *obj;
	char head[96];
	size_t i;

	json_array_foreach(ports, i, obj)
	{
		const char *name = field_text(obj, "name");

		snprintf(head, sizeof(head), "drops: port %.40s, to guest: ", name);
		print_drops(json_object_get(json_object_get(obj, "to_guest"), "drops"), head, out);
		snprintf(head, sizeof(head), "drops: port %.40s, from guest: ", name);
		print_drops(json_object_get(json_object_get(obj, "from_guest"), "drops"), head,
		            out);
	}
	json_array_foreach(nics, i, obj)
	{
		snprintf(head, sizeof(head), "drops: nic %.40s: ", field_text(obj, "name"));
		print_drops(json_object_get(obj, "drops"), head, out);
	}
}

void print_stats(const json_t *result, FILE *out)
{
	const json_t *ports = json_object_get(result, "ports");
	const json_t *nics = json_object_get(result, "nics");
	const json_t *nic;
	size_t i;

	print_port_stats(ports, out);
	if (nics) {
		fputc('\n', out);
		print_queue_stats(nics, out);
	}
	print_reasons(ports, nics, out);
	json_array_foreach(nics, i, nic) print_verdicts(nic, out);
}
