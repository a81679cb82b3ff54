// SPDX-License-Identifier: BSD-2-Clause
/*
 * test_steer_table.c - steer_set_table(): from any table to any other, and what bpftool shows of it
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <jansson.h>
#include <net/if.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "netenv.h"
#include "steer_entry.h"
#include "steer_priv.h"

static struct steer *steer;

static struct steer_port_entry port(uint32_t id, const char *name)
{
	struct steer_port_entry p = {.id = id};

	snprintf(p.port.name, sizeof(p.port.name), "%s", name);
	return p;
}

static uint32_t count_keys(enum steer_map_id map)
{
	uint8_t key[16];
	uint32_t n = 0;

	for (void *prev = NULL; !bpf_map_get_next_key(steer->maps[map], prev, key); prev = key)
		n++;
	return n;
}

static bool is_among(const struct steer_port_entry *ports, uint32_t n_ports, uint32_t id)
{
	for (uint32_t i = 0; i < n_ports; i++) {
		if (ports[i].id == id)
			return true;
	}
	return false;
}

/* Places of ids that no port has hold zero. */
static void expect_no_other_counters(const struct steer_port_entry *ports, uint32_t n_ports)
{
	struct steer_counter *values = calloc(steer->n_cpus, sizeof(*values));

	for (uint32_t id = 0; id < 64; id++) {
		assert_int_equal(
			bpf_map_lookup_elem(steer->maps[STEER_MAP_PORT_STATS], &id, values), 0);
		for (uint32_t cpu = 0; cpu < steer->n_cpus; cpu++)
			assert_true(values[cpu].frames == 0 || is_among(ports, n_ports, id));
	}
	free(values);
}

/* The kernel's maps hold exactly this. */
static void expect_table(const struct steer_entry *entries, uint32_t n_entries,
                         const struct steer_port_entry *ports, uint32_t n_ports)
{
	assert_int_equal(count_keys(STEER_MAP_FDB), n_entries);
	assert_int_equal(count_keys(STEER_MAP_PORTS), n_ports);
	expect_no_other_counters(ports, n_ports);
	for (uint32_t i = 0; i < n_entries; i++) {
		struct steer_fdb_value value;

		assert_int_equal(
			bpf_map_lookup_elem(steer->maps[STEER_MAP_FDB], &entries[i].key, &value),
			0);
		assert_int_equal(value.port, entries[i].port);
	}
	for (uint32_t i = 0; i < n_ports; i++) {
		struct steer_port value;
		struct steer_counter c;

		assert_int_equal(
			bpf_map_lookup_elem(steer->maps[STEER_MAP_PORTS], &ports[i].id, &value), 0);
		assert_memory_equal(&value, &ports[i].port, sizeof(value));
		assert_int_equal(steer_read_port(steer, ports[i].id, &c), 0);
	}
}

static void set_and_expect(const struct steer_entry *entries, uint32_t n_entries,
                           const struct steer_port_entry *ports, uint32_t n_ports)
{
	assert_int_equal(steer_set_table(steer, entries, n_entries, ports, n_ports), 0);
	expect_table(entries, n_entries, ports, n_ports);
}

static void test_changes(void **state)
{
	struct steer_entry e[] = {entry(1, 0, 1), entry(1, 5, 2), entry(2, 0, 1), entry(3, 9, 3)};
	struct steer_port_entry p[] = {port(1, "one"), port(2, "two"), port(3, "three")};

	(void)state;
	set_and_expect(e, 4, p, 3);
	set_and_expect(e, 4, p, 3); /* the same again */
	set_and_expect(e, 2, p, 2); /* shrinks */
	e[0].port = 2;              /* an address changes hands */
	set_and_expect(e, 3, p, 2);
	snprintf(p[1].port.name, sizeof(p[1].port.name), "other"); /* a port changes */
	p[1].port.state = STEER_PORT_UP;
	set_and_expect(e + 1, 3, p, 3);
	set_and_expect(NULL, 0, p, 1);
	set_and_expect(NULL, 0, NULL, 0);
	set_and_expect(e, 4, p, 3);
}

static void test_one_key_twice(void **state)
{
	struct steer_entry e[] = {entry(1, 0, 1), entry(2, 0, 1), entry(1, 0, 2)};
	struct steer_port_entry p[] = {port(1, "one"), port(2, "two")};

	(void)state;
	set_and_expect(e, 2, p, 1);
	assert_int_equal(steer_set_table(steer, e, 3, p, 2), -EINVAL);
	expect_table(e, 2, p, 1);
}

/* What somebody did with bpftool is repaired. */
static void test_repairs(void **state)
{
	struct steer_entry e[] = {entry(1, 0, 1), entry(2, 0, 1)}, alien = entry(77, 7, 7);
	struct steer_port_entry p[] = {port(1, "one")};
	struct steer_fdb_value value = {.port = 99};
	struct steer_port junk = {.name = "junk"};
	uint32_t id = 1234;

	(void)state;
	set_and_expect(e, 2, p, 1);
	assert_int_equal(
		bpf_map_update_elem(steer->maps[STEER_MAP_FDB], &alien.key, &value, BPF_ANY), 0);
	assert_int_equal(
		bpf_map_update_elem(steer->maps[STEER_MAP_FDB], &e[0].key, &value, BPF_ANY), 0);
	assert_int_equal(bpf_map_delete_elem(steer->maps[STEER_MAP_FDB], &e[1].key), 0);
	assert_int_equal(bpf_map_update_elem(steer->maps[STEER_MAP_PORTS], &id, &junk, BPF_ANY), 0);
	set_and_expect(e, 2, p, 1);
}

/* Counters of a port that stays go on, those of a new port start from zero. */
static void test_counters(void **state)
{
	struct steer_port_entry p[] = {port(1, "one"), port(2, "two")};
	struct steer_counter *values = calloc(steer->n_cpus, sizeof(*values)), c;
	uint32_t id = 1;

	(void)state;
	set_and_expect(NULL, 0, p, 2);
	for (uint32_t cpu = 0; cpu < steer->n_cpus; cpu++)
		values[cpu] = (struct steer_counter){.frames = 10, .bytes = 1000};
	assert_int_equal(
		bpf_map_update_elem(steer->maps[STEER_MAP_PORT_STATS], &id, values, BPF_ANY), 0);
	set_and_expect(NULL, 0, p, 1);
	assert_int_equal(steer_read_port(steer, 1, &c), 0);
	assert_int_equal(c.frames, 10 * steer->n_cpus);
	assert_int_equal(c.bytes, 1000 * steer->n_cpus);
	assert_int_equal(steer_read_port(steer, 2, &c), -ENOENT);
	set_and_expect(NULL, 0, p + 1, 1);
	assert_int_equal(steer_read_port(steer, 1, &c), -ENOENT);
	set_and_expect(NULL, 0, p, 2);
	assert_int_equal(steer_read_port(steer, 1, &c), 0);
	assert_int_equal(c.frames, 0);
	/* Neither does another port take over what its id has counted. */
	assert_int_equal(
		bpf_map_update_elem(steer->maps[STEER_MAP_PORT_STATS], &id, values, BPF_ANY), 0);
	p[0].port.vlan = 5;
	set_and_expect(NULL, 0, p, 2);
	assert_int_equal(steer_read_port(steer, 1, &c), 0);
	assert_int_equal(c.frames, 10 * steer->n_cpus);
	p[0] = port(1, "three");
	set_and_expect(NULL, 0, p, 2);
	assert_int_equal(steer_read_port(steer, 1, &c), 0);
	assert_int_equal(c.frames, 0);
	free(values);
}

/* One port has all: verdicts are its counters, and a second account would only cost. */
static void test_dedicated(void **state)
{
	struct steer_counter *values = calloc(steer->n_cpus, sizeof(*values)), c;
	struct steer_config config = {.mode = STEER_MODE_DEDICATED, .dedicated_port = 2};
	struct steer_port_entry p[] = {port(1, "one"), port(2, "two")};
	uint32_t v = STEER_V_GUEST;

	(void)state;
	set_and_expect(NULL, 0, p, 2);
	assert_int_equal(steer_set_config(steer, &config), 0);
	assert_int_equal(steer_set_table(steer, NULL, 0, p, 2), 0);
	for (uint32_t cpu = 0; cpu < steer->n_cpus; cpu++)
		values[cpu] = (struct steer_counter){.frames = 3, .bytes = 200};
	assert_int_equal(bpf_map_update_elem(steer->maps[STEER_MAP_VERDICTS], &v, values, BPF_ANY),
	                 0);
	assert_int_equal(steer_read_port(steer, 2, &c), 0);
	assert_int_equal(c.frames, 3 * steer->n_cpus);
	assert_int_equal(c.bytes, 200 * steer->n_cpus);
	assert_int_equal(steer_read_port(steer, 1, &c), 0);
	assert_int_equal(c.frames, 0);
	config.mode = STEER_MODE_STEERED;
	assert_int_equal(steer_set_config(steer, &config), 0);
	set_and_expect(NULL, 0, p, 2);
	assert_int_equal(steer_read_port(steer, 2, &c), 0);
	assert_int_equal(c.frames, 0);
	free(values);
}

static void test_port_state(void **state)
{
	struct steer_port_entry p[] = {port(1, "one")};

	(void)state;
	set_and_expect(NULL, 0, p, 1);
	assert_int_equal(steer_set_port_state(steer, 1, STEER_PORT_UP), 0);
	p[0].port.state = STEER_PORT_UP;
	expect_table(NULL, 0, p, 1);
	assert_int_equal(steer_set_port_state(steer, 2, STEER_PORT_UP), -ENOENT);
	expect_table(NULL, 0, p, 1);
}

/* The queues' mirror: an empty slot, a bad number. */
static void test_queue_numbers(void **state)
{
	struct steer_queue q;
	uint32_t i = 3;
	int fd;

	(void)state;
	assert_int_equal(steer_bind_queue(steer, STEER_MAX_QUEUES, -1, STEER_QUEUE_NONE), -E2BIG);
	assert_int_equal(steer_bind_queue(steer, i, -1, STEER_QUEUE_NONE), 0);
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	assert_int_equal(steer_bind_queue(steer, i, fd, STEER_QUEUE_COPY), -EOPNOTSUPP);
	close(fd);
	assert_int_equal(bpf_map_lookup_elem(steer->maps[STEER_MAP_QUEUES], &i, &q), 0);
	assert_int_equal(q.mode, STEER_QUEUE_NONE);
	assert_int_equal(q.pid, 0);
}

/* The largest table goes in, and a wholly different one takes its place. */
static void test_largest(void **state)
{
	struct steer_entry *e = calloc(STEER_MAX_MACS, sizeof(*e));
	struct steer_port_entry p[] = {port(1, "one")};
	uint64_t start = netenv_now_ms();

	(void)state;
	for (uint32_t i = 0; i < STEER_MAX_MACS; i++)
		e[i] = entry(i, 0, 1);
	assert_int_equal(steer_set_table(steer, e, STEER_MAX_MACS, p, 1), 0);
	assert_int_equal(count_keys(STEER_MAP_FDB), STEER_MAX_MACS);
	for (uint32_t i = 0; i < STEER_MAX_MACS; i++)
		e[i] = entry(i, 1, 1);
	assert_int_equal(steer_set_table(steer, e, STEER_MAX_MACS, p, 1), 0);
	expect_table(e, STEER_MAX_MACS, p, 1);
	print_message("two tables of %u in %u ms\n", STEER_MAX_MACS,
	              (unsigned int)(netenv_now_ms() - start));
	set_and_expect(e, 1, p, 1);
	free(e);
}

/* ------------------------------------------------------------------ bpftool */

static json_t *dump(const char *map)
{
	char cmd[160];
	json_error_t error;
	json_t *json;
	FILE *f;

	snprintf(cmd, sizeof(cmd), "PATH=$PATH:/usr/sbin bpftool -j map dump pinned %s/vx0/%s",
	         NETENV_PIN_DIR, map);
	f = popen(cmd, "r");
	assert_non_null(f);
	json = json_loadf(f, 0, &error);
	assert_int_equal(pclose(f), 0);
	if (!json)
		fail_msg("%s: %s", map, error.text);
	return json;
}

static json_int_t get_int(const json_t *obj, const char *field)
{
	const json_t *v = json_object_get(obj, field);

	assert_true(json_is_integer(v));
	return json_integer_value(v);
}

/* What an operator sees: names and numbers, not bytes. */
static void test_bpftool(void **state)
{
	struct steer_entry e[] = {entry(0x0a, 100, 5)};
	struct steer_port_entry p[] = {port(5, "vm5")};
	const struct steer_config config = {.miss = STEER_REDIRECT, .no_daemon = STEER_DROP};
	json_t *json, *formatted, *key, *value;

	(void)state;
	p[0].port.vlan = 100;
	p[0].port.state = STEER_PORT_UP;
	set_and_expect(e, 1, p, 1);
	assert_int_equal(steer_set_config(steer, &config), 0);

	json = dump("fdb");
	assert_int_equal(json_array_size(json), 1);
	formatted = json_object_get(json_array_get(json, 0), "formatted");
	key = json_object_get(formatted, "key");
	assert_int_equal(get_int(key, "vlan"), 100);
	assert_int_equal(json_array_size(json_object_get(key, "mac")), 6);
	assert_int_equal(json_integer_value(json_array_get(json_object_get(key, "mac"), 0)), 0x52);
	assert_int_equal(json_integer_value(json_array_get(json_object_get(key, "mac"), 5)), 0x0a);
	assert_int_equal(get_int(json_object_get(formatted, "value"), "port"), 5);
	json_decref(json);

	json = dump("ports");
	value = json_object_get(json_object_get(json_array_get(json, 0), "formatted"), "value");
	assert_string_equal(json_string_value(json_object_get(value, "name")), "vm5");
	assert_string_equal(json_string_value(json_object_get(value, "state")), "STEER_PORT_UP");
	json_decref(json);

	json = dump("config");
	value = json_object_get(json_object_get(json_array_get(json, 0), "formatted"), "value");
	assert_string_equal(json_string_value(json_object_get(value, "miss")), "STEER_REDIRECT");
	assert_string_equal(json_string_value(json_object_get(value, "no_daemon")), "STEER_DROP");
	assert_int_equal(get_int(value, "abi"), STEER_ABI_VERSION);
	json_decref(json);

	json = dump("queues");
	assert_int_equal(json_array_size(json), STEER_MAX_QUEUES);
	value = json_object_get(json_object_get(json_array_get(json, 0), "formatted"), "value");
	assert_string_equal(json_string_value(json_object_get(value, "mode")), "STEER_QUEUE_NONE");
	json_decref(json);

	json = dump("verdicts");
	assert_int_equal(json_array_size(json), STEER_N_VERDICTS);
	json_decref(json);
}

static int setup(void **state)
{
	struct steer_params params = {.pin_dir = NETENV_PIN_DIR, .nic = "vx0"};
	char *why = NULL;

	(void)state;
	netenv_veth("vx0", "vx1", 1, 1500);
	params.ifindex = if_nametoindex("vx0");
	if (steer_open(&params, &steer, &why) < 0) {
		fprintf(stderr, "steer_open: %s\n", why);
		return -1;
	}
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	steer_close(steer);
	return steer_unload(NETENV_PIN_DIR, "vx0");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_changes),    cmocka_unit_test(test_one_key_twice),
		cmocka_unit_test(test_repairs),    cmocka_unit_test(test_counters),
		cmocka_unit_test(test_port_state), cmocka_unit_test(test_queue_numbers),
		cmocka_unit_test(test_bpftool),    cmocka_unit_test(test_largest),
		cmocka_unit_test(test_dedicated),
	};

	netenv_enter();
	return cmocka_run_group_tests_name("tables", tests, setup, teardown);
}
