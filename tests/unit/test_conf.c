// SPDX-License-Identifier: BSD-2-Clause
/*
 * test_conf.c - configuration files: what is accepted, and the exact line for each mistake
 *
 * Each mistake is a row: the text of a file, and the line that the user sees, from its position on.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "conf_priv.h"
#include "cpu_latency.h"
#include "skip.h"
#include "test_conf_rows.h"

/* design: exactly this must work */
static const char minimal[] =
	"control-socket: /run/vhost-xdp/control.sock\n"
	"pin-dir: /sys/fs/bpf/vhost-xdp   # default\n"
	"workers:\n"
	"  - cpu: 0\n"
	"nics:\n"
	"  - name: nic0            # the network device's name; for mode internal, any name\n"
	"    mode: steered         # steered | dedicated | internal\n"
	"ports:\n"
	"  - name: vm1\n"
	"    socket: /run/vhost-xdp/vm1\n"
	"    listen: true          # true: the daemon listens; false: it connects\n"
	"    nic: nic0\n"
	"    macs: [\"52:54:00:00:00:0a\"]\n"
	"    vlan: 0               # 0: untagged\n";

static char dir[] = "/tmp/vx-test-conf-XXXXXX";
static char main_path[64], part_dir[64];

static void write_bytes(const char *path, const void *data, size_t len)
{
	FILE *f = fopen(path, "we");

	assert_non_null(f);
	assert_int_equal(fwrite(data, 1, len, f), len);
	assert_int_equal(fclose(f), 0);
}

static void write_part(const char *name, const char *text)
{
	char path[128];

	assert_true(mkdir(part_dir, 0755) == 0 || errno == EEXIST);
	snprintf(path, sizeof(path), "%s/%s", part_dir, name);
	write_bytes(path, text, strlen(text));
}

static void remove_part(const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", part_dir, name);
	assert_int_equal(unlink(path), 0);
}

static struct conf *load(const char *text)
{
	struct conf *conf = NULL;
	char *error = NULL;
	int err;

	write_bytes(main_path, text, strlen(text));
	err = conf_load(main_path, &conf, &error);
	if (error)
		print_error("%s\n", error);
	assert_null(error);
	assert_int_equal(err, 0);
	assert_non_null(conf);
	return conf;
}

/* Loads bytes that must be refused with -EINVAL in one line. Caller frees it. */
static char *load_bad(const void *text, size_t len)
{
	struct conf *conf = NULL;
	char *error = NULL;
	int err;

	write_bytes(main_path, text, len);
	err = conf_load(main_path, &conf, &error);
	if (!err)
		print_error("accepted: %s\n", (const char *)text);
	assert_int_equal(err, -EINVAL);
	assert_null(conf);
	assert_non_null(error);
	assert_null(strchr(error, '\n'));
	return error;
}

/* The line without the folder that only this run knows: "main.yaml:1:2: ..." */
static char *strip_dir(char *line)
{
	size_t len = strlen(dir) + 1;

	for (char *p = line; (p = strstr(p, dir));)
		memmove(p, p + len, strlen(p + len) + 1);
	return line;
}

/* Return: whether the line is the one wanted. */
static bool check_line(const char *text, size_t len, const char *want)
{
	char *error = load_bad(text, len);
	bool same = !strcmp(strip_dir(error), want);

	if (!same)
		print_error("for:\n%.300s\nwanted: %s\nfound:  %s\n", text, want, error);
	free(error);
	return same;
}

static void expect_line(const char *text, size_t len, const char *want)
{
	assert_true(check_line(text, len, want));
}

static void test_minimal(void **state)
{
	struct conf *c = load(minimal);

	(void)state;
	assert_string_equal(c->path, main_path);
	assert_string_equal(c->control_socket, "/run/vhost-xdp/control.sock");
	assert_string_equal(c->pin_dir, "/sys/fs/bpf/vhost-xdp");
	assert_int_equal(c->busy_poll_us, 50);
	assert_int_equal(c->wakeup_latency_us, CPU_LATENCY_NONE);
	assert_int_equal(c->placement, CONF_PLACEMENT_AUTO);
	assert_int_equal(c->n_workers, 1);
	assert_int_equal(c->workers[0].cpu, 0);
	assert_int_equal(c->n_nics, 1);
	assert_string_equal(c->nics[0].name, "nic0");
	assert_int_equal(c->nics[0].mode, CONF_NIC_STEERED);
	assert_int_equal(c->nics[0].miss, CONF_MISS_PASS);
	assert_null(c->nics[0].redirect_to);
	assert_int_equal(c->nics[0].no_daemon, CONF_MISS_DROP);
	assert_int_equal(c->nics[0].xdp_mode, CONF_XDP_NATIVE);
	assert_int_equal(c->nics[0].zero_copy, CONF_ZC_AUTO);
	assert_int_equal(c->nics[0].yield, CONF_YIELD_AUTO);
	assert_int_equal(c->nics[0].napi_busy_poll, 0);
	assert_int_equal(c->nics[0].first_queue, 0);
	assert_int_equal(c->nics[0].queues, 0);
	assert_int_equal(c->nics[0].ring_size, 2048);
	assert_int_equal(c->nics[0].line, 6);
	assert_int_equal(c->nics[0].column, 11);
	assert_int_equal(c->n_ports, 1);
	assert_string_equal(c->ports[0].name, "vm1");
	assert_string_equal(c->ports[0].socket, "/run/vhost-xdp/vm1");
	assert_true(c->ports[0].listen);
	assert_string_equal(c->ports[0].nic, "nic0");
	assert_int_equal(c->ports[0].nic_index, 0);
	assert_int_equal(c->ports[0].n_macs, 1);
	assert_memory_equal(c->ports[0].macs[0].addr, "\x52\x54\0\0\0\x0a", 6);
	assert_int_equal(c->ports[0].vlan, 0);
	assert_int_equal(c->ports[0].queues, 8);
	assert_int_equal(c->ports[0].mtu, 0);
	assert_false(c->ports[0].own_macs_only);
	assert_false(c->ports[0].device_config);
	assert_false(c->ports[0].ring_reset);
	assert_int_equal(c->ports[0].fd, -1);
	assert_false(c->ports[0].iommu);
	assert_null(c->ports[0].socket_owner);
	assert_null(c->ports[0].socket_group);
	assert_int_equal(c->ports[0].socket_mode, 0660);
	assert_true(c->ports[0].features_mask == UINT64_MAX);
	assert_int_equal(c->ports[0].worker_cpu, -1);
	assert_int_equal(c->ports[0].line, 9);
	assert_int_equal(c->ports[0].column, 11);
	conf_free(c);
}

static void test_every_key(void **state)
{
	struct conf *c = load("control-socket: /run/other.sock\n"
	                      "pin-dir: /sys/fs/bpf/other\n"
	                      "busy-poll-us: 0\n"
	                      "wakeup-latency-us: 0\n"
	                      "placement: static\n"
	                      "workers: [{cpu: 1}, {cpu: 0x2}]\n"
	                      "nics:\n"
	                      "  - name: enp2s0\n"
	                      "    mode: steered\n"
	                      "    miss: redirect\n"
	                      "    redirect-to: ovs0\n"
	                      "    no-daemon: pass\n"
	                      "    xdp-mode: generic\n"
	                      "    zero-copy: off\n"
	                      "    yield: on\n"
	                      "    napi-busy-poll: 64\n"
	                      "    first-queue: 2\n"
	                      "    queues: 4\n"
	                      "    ring-size: 512\n"
	                      "  - {name: veth0, mode: dedicated, zero-copy: on, yield: off}\n"
	                      "ports:\n"
	                      "  - name: a.b_c-1\n"
	                      "    socket: /run/a\n"
	                      "    listen: true\n"
	                      "    nic: enp2s0\n"
	                      "    macs:\n"
	                      "      - 52:54:00:AA:bb:0a\n"
	                      "      - 52:54:00:aa:bb:0b\n"
	                      "    vlan: 4094\n"
	                      "    queues: 128\n"
	                      "    mtu: 9000\n"
	                      "    own-macs-only: true\n"
	                      "    device-config: true\n"
	                      "    ring-reset: true\n"
	                      "    iommu: true\n"
	                      "    socket-owner: root\n"
	                      "    socket-group: root\n"
	                      "    socket-mode: 0600\n"
	                      "    features-mask: 0xfffffffffffeffff\n"
	                      "    worker: 2\n"
	                      "  - {name: b, socket: /run/b, listen: false, nic: veth0}\n");
	const struct conf_port *p = &c->ports[0];

	(void)state;
	assert_string_equal(c->control_socket, "/run/other.sock");
	assert_string_equal(c->pin_dir, "/sys/fs/bpf/other");
	assert_int_equal(c->busy_poll_us, 0);
	assert_int_equal(c->wakeup_latency_us, 0);
	assert_int_equal(c->n_workers, 2);
	assert_int_equal(c->workers[1].cpu, 2);
	assert_int_equal(c->placement, CONF_PLACEMENT_STATIC);
	assert_int_equal(p->worker_cpu, 2);
	assert_int_equal(c->nics[0].miss, CONF_MISS_REDIRECT);
	assert_string_equal(c->nics[0].redirect_to, "ovs0");
	assert_int_equal(c->nics[0].no_daemon, CONF_MISS_PASS);
	assert_int_equal(c->nics[0].xdp_mode, CONF_XDP_GENERIC);
	assert_int_equal(c->nics[0].zero_copy, CONF_ZC_OFF);
	assert_int_equal(c->nics[0].yield, CONF_YIELD_ON);
	assert_int_equal(c->nics[0].napi_busy_poll, 64);
	assert_int_equal(c->nics[0].first_queue, 2);
	assert_int_equal(c->nics[0].queues, 4);
	assert_int_equal(c->nics[0].ring_size, 512);
	assert_int_equal(c->nics[1].mode, CONF_NIC_DEDICATED);
	assert_int_equal(c->nics[1].zero_copy, CONF_ZC_ON);
	assert_int_equal(c->nics[1].yield, CONF_YIELD_OFF);
	assert_int_equal(p->n_macs, 2);
	assert_memory_equal(p->macs[0].addr, "\x52\x54\0\xaa\xbb\x0a", 6);
	assert_int_equal(p->vlan, 4094);
	assert_int_equal(p->queues, 128);
	assert_int_equal(p->mtu, 9000);
	assert_true(p->own_macs_only);
	assert_true(p->device_config);
	assert_true(p->ring_reset);
	assert_true(p->iommu);
	assert_string_equal(p->socket_owner, "root");
	assert_string_equal(p->socket_group, "root");
	assert_int_equal(p->socket_mode, 0600);
	assert_true(p->features_mask == 0xfffffffffffeffff);
	assert_false(c->ports[1].listen);
	assert_int_equal(c->ports[1].nic_index, 1);
	assert_int_equal(c->ports[1].n_macs, 0);
	conf_free(c);
}

static void test_mistakes(void **state)
{
	size_t bad = 0;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		bad += !check_line(rows[i].text, strlen(rows[i].text), rows[i].line);
	assert_int_equal(bad, 0);
}

/* The same address on another nic or VLAN is another address. */
static void test_mac_scope(void **state)
{
	struct conf *c =
		load(W "nics: [{name: n0, mode: internal}, {name: n1, mode: internal}]\n"
	               "ports:\n"
	               "  - {name: a, socket: /run/a, nic: n0, macs: [\"02:00:00:00:00:01\"]}\n"
	               "  - {name: b, socket: /run/b, nic: n1, macs: [\"02:00:00:00:00:01\"]}\n"
	               "  - {name: c, socket: /run/c, nic: n0, vlan: 5, macs: "
	               "[\"02:00:00:00:00:01\"]}\n");

	(void)state;
	assert_int_equal(c->n_ports, 3);
	conf_free(c);
}

/* Nics without ports are a configuration: the ports may come with conf.d later. */
static void test_no_ports(void **state)
{
	struct conf *c = load(WN);

	(void)state;
	assert_int_equal(c->n_ports, 0);
	conf_free(c);
}

/* A path of exactly the longest length is taken. */
static void test_longest_socket(void **state)
{
	struct conf *c =
		load(WN "ports: [{name: a, nic: n0, macs: [\"02:00:00:00:00:01\"], socket: " LONG90
	                "/0123456789abcd}]\n");

	(void)state;
	assert_int_equal(strlen(c->ports[0].socket), 107);
	conf_free(c);
}

static void expect_unreadable(const char *path, int want, const char *line)
{
	struct conf *conf = NULL;
	char *error = NULL;

	assert_int_equal(conf_load(path, &conf, &error), want);
	assert_null(conf);
	assert_string_equal(strip_dir(error), line);
	free(error);
}

static void test_unreadable(void **state)
{
	char path[128];

	(void)state;
	snprintf(path, sizeof(path), "%s/absent.yaml", dir);
	expect_unreadable(path, -ENOENT, "absent.yaml: cannot open: No such file or directory");
	snprintf(path, sizeof(path), "%s/.", dir);
	expect_unreadable(path, -EISDIR, ".: cannot read: Is a directory");
}

static void test_too_large(void **state)
{
	static char text[9 << 20];
	struct conf *conf = NULL;
	char *error = NULL;

	(void)state;
	memset(text, '#', sizeof(text));
	write_bytes(main_path, text, sizeof(text));
	assert_int_equal(conf_load(main_path, &conf, &error), -EFBIG);
	assert_string_equal(strip_dir(error), "main.yaml: cannot read: File too large");
	free(error);
}

/* Files of conf.d: joined in the order of their names, mistakes name the right file. */
static void test_parts(void **state)
{
	struct conf *c;

	(void)state;
	write_part("20-b.yaml", "ports: [{name: b, socket: /run/b, nic: n1, macs: "
	                        "[\"02:00:00:00:00:02\"]}]\n");
	write_part("10-a.yaml", "ports: [{name: a, socket: /run/a, nic: n0, macs: "
	                        "[\"02:00:00:00:00:01\"]}]\n");
	write_part("30-nic.yaml", "nics: [{name: n1, mode: internal}]\nworkers: [{cpu: 1}]\n");
	write_part("40-empty.yaml", "# nothing yet\n");
	write_part(".hidden.yaml", "junk: [");
	write_part("50-other.txt", "junk: [");
	c = load(WN);
	assert_int_equal(c->n_workers, 2);
	assert_int_equal(c->n_nics, 2);
	assert_int_equal(c->n_ports, 2);
	assert_string_equal(c->ports[0].name, "a");
	assert_string_equal(c->ports[1].name, "b");
	assert_int_equal(c->ports[1].nic_index, 1);
	conf_free(c);

	write_part("20-b.yaml", "ports:\n  - {name: b, socket: /run/a, nic: n1, macs: "
	                        "[\"02:00:00:00:00:02\"]}\n");
	expect_line(WN, strlen(WN),
	            "conf.d/20-b.yaml:2:23: socket: the path '/run/a' is there already, in "
	            "conf.d/10-a.yaml line 1");
	write_part("20-b.yaml", "ports:\n  - {name: b, scoket: /run/b}\n");
	expect_line(WN, strlen(WN),
	            "conf.d/20-b.yaml:2:15: ports entry 1: unknown key 'scoket', "
	            "did you mean 'socket'?");
	write_part("20-b.yaml", "pin-dir: /sys/fs/bpf/x\n");
	expect_line(WN, strlen(WN),
	            "conf.d/20-b.yaml:1:1: part: key 'pin-dir' belongs in the main file");
	remove_part("20-b.yaml");
	remove_part("10-a.yaml");
	remove_part("30-nic.yaml");
	remove_part("40-empty.yaml");
	remove_part(".hidden.yaml");
	remove_part("50-other.txt");
	assert_int_equal(rmdir(part_dir), 0);
}

/* Bytes that are no YAML, or no text at all: one line each, never a crash. */
static void test_junk(void **state)
{
	static const char bomb[] = "a: &a [x,x,x,x,x,x,x,x,x]\n"
				   "b: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\n"
				   "c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n";
	char *deep = malloc(100000);
	uint32_t seed = 1;

	(void)state;
	expect_line("\x7f"
	            "ELF\x02\x01\x01",
	            7,
	            "main.yaml:1:1: not a text file in UTF-8: control characters are not "
	            "allowed");
	expect_line("a: \xff\xfe\n", 6,
	            "main.yaml:1:4: not a text file in UTF-8: invalid leading UTF-8 octet");
	expect_line("a: b\0c\n", 7,
	            "main.yaml:1:5: not a text file in UTF-8: control characters "
	            "are not allowed");
	free(load_bad(bomb, sizeof(bomb) - 1));
	assert_non_null(deep);
	memset(deep, '[', 100000);
	free(load_bad(deep, 100000));
	memset(deep, '{', 100000);
	free(load_bad(deep, 100000));
	for (int i = 0; i + 2 < 100000; i += 2)
		memcpy(deep + i, "- ", 2);
	free(load_bad(deep, 99998));
	/* The good file with bytes replaced: accepted or refused, in one line if refused. */
	for (int i = 0; i < 3000; i++) {
		char text[sizeof(minimal)];
		struct conf *conf = NULL;
		char *error = NULL;

		memcpy(text, minimal, sizeof(text));
		for (int j = 0; j <= i % 4; j++) {
			seed = seed * 1664525 + 1013904223;
			text[(seed >> 8) % (sizeof(text) - 1)] = (char)(seed >> 24);
		}
		write_bytes(main_path, text, (seed >> 4) % 8 ? sizeof(text) - 1 : seed % 300);
		if (conf_load(main_path, &conf, &error) == 0) {
			assert_null(error);
			conf_free(conf);
		} else {
			assert_non_null(error);
			assert_null(strchr(error, '\n'));
			assert_null(conf);
			free(error);
		}
	}
	free(deep);
}

/* As many ports as there may be load in reasonable time; one more is refused. */
static void test_many_ports(void **state)
{
	char *text = malloc(1 << 20);
	struct conf *c;
	size_t len;

	(void)state;
	assert_non_null(text);
	len = (size_t)sprintf(text, WN "ports:\n");
	for (unsigned int i = 0; i < 4096; i++) {
		if (i == 4095) {
			c = load(text);
			assert_int_equal(c->n_ports, 4095);
			assert_string_equal(c->ports[4094].name, "vm4094");
			conf_free(c);
		}
		len += (size_t)sprintf(text + len,
		                       "  - {name: vm%u, socket: /run/vm%u, nic: n0, macs: "
		                       "[\"02:00:00:00:%02x:%02x\"]}\n",
		                       i, i, i >> 8, i & 255);
	}
	expect_line(text, len,
	            "main.yaml:7:3: ports: the list has 4096 entries, at most 4095 are "
	            "possible");
	free(text);
}

static void expect_system(const char *text, const char *want)
{
	struct conf *c = load(text);
	char *error = NULL;

	assert_int_equal(conf_check_system(c, &error), -EINVAL);
	assert_non_null(error);
	assert_string_equal(strip_dir(error), want);
	free(error);
	conf_free(c);
}

static void test_system(void **state)
{
	struct conf *c;
	char *error = NULL, online[64], want[128];
	FILE *f = fopen("/sys/devices/system/cpu/online", "re");

	(void)state;
	if (!f || !fgets(online, sizeof(online), f))
		skip_because("this machine does not tell which CPUs are online");
	fclose(f);
	online[strcspn(online, "\n")] = '\0';
	snprintf(want, sizeof(want), "main.yaml:3:10: cpu: CPU 1023 is not online (online: %s)",
	         online);
	expect_system("workers:\n  - cpu: 0\n  - cpu: 1023\n" N, want);
	expect_system("control-socket: /tmp/c\n" W "nics: [{name: vx-absent, mode: steered}]\n",
	              "main.yaml:4:15: name: there is no network device 'vx-absent'");
	expect_system("control-socket: /tmp/c\n" W
	              "nics: [{name: lo, mode: steered, miss: redirect, redirect-to: vx-absent}]\n",
	              "main.yaml:4:63: redirect-to: there is no network device 'vx-absent'");
	expect_system("control-socket: /absent/c\n" WN,
	              "main.yaml:1:17: control-socket: folder '/absent': No such file or "
	              "directory");
	expect_system("control-socket: /tmp/c\n" WN
	              "ports: [{name: a, nic: n0, macs: [\"02:00:00:00:00:01\"], socket: "
	              "/dev/null/a}]\n",
	              "main.yaml:7:65: socket: '/dev/null' is not a folder");
	expect_system("control-socket: /tmp/c\n" WN
	              "ports: [{name: a, nic: n0, macs: [\"02:00:00:00:00:01\"], socket: /tmp/a, "
	              "socket-owner: vx-no-such-user}]\n",
	              "main.yaml:7:87: socket-owner: there is no user 'vx-no-such-user'");
	expect_system("control-socket: /tmp/c\n" WN
	              "ports: [{name: a, nic: n0, macs: [\"02:00:00:00:00:01\"], socket: /tmp/a, "
	              "socket-owner: root, socket-group: vx-no-such-group}]\n",
	              "main.yaml:7:107: socket-group: there is no group 'vx-no-such-group'");
	c = load("control-socket: /tmp/c\n" W "nics: [{name: lo, mode: steered}]\n");
	assert_int_equal(conf_check_system(c, &error), 0);
	assert_null(error);
	conf_free(c);
	conf_free(NULL);
}

/* Counts keys of a mapping, and of those below it, that @page does not explain. */
static int count_unexplained(const char *page, const cyaml_schema_field_t *fields)
{
	int n = 0;

	for (; fields->key; fields++) {
		const cyaml_schema_value_t *value = &fields->value;
		char tag[64], list[64];

		snprintf(tag, sizeof(tag), "\n.It Cm %s", fields->key);
		snprintf(list, sizeof(list), " , %s", fields->key);
		if (!strstr(page, tag) && !strstr(page, list)) {
			print_error("vhost-xdpd.yaml.5 does not explain '%s'\n", fields->key);
			n++;
		}
		if (value->type == CYAML_SEQUENCE && value->sequence.entry->type == CYAML_MAPPING)
			n += count_unexplained(page, value->sequence.entry->mapping.fields);
	}
	return n;
}

static char *read_doc(const char *name)
{
	char file[512], *text = calloc(1, 65536);
	FILE *f;

	snprintf(file, sizeof(file), "%s/%s", VX_SOURCE_DIR, name);
	f = fopen(file, "re");
	assert_non_null(f);
	assert_non_null(text);
	assert_true(fread(text, 1, 65535, f) > 100);
	fclose(f);
	return text;
}

/* The man page explains each key, and the sample file is a configuration. */
static void test_documents(void **state)
{
	char *page = read_doc("docs/vhost-xdpd.yaml.5");
	char *sample = read_doc("packaging/vhost-xdpd.yaml.example");

	(void)state;
	assert_int_equal(count_unexplained(page, conf_schema_main.mapping.fields), 0);
	conf_free(load(sample));
	/* also with the keys in it that are comments, but for one that needs another */
	for (char *p = sample; (p = strchr(p, '#')); p++)
		if (p[1] >= 'a' && p[1] <= 'z' && strncmp(p, "#redirect-to", 12) != 0)
			memmove(p, p + 1, strlen(p));
	assert_non_null(strstr(sample, "\n    ring-size: "));
	assert_non_null(strstr(sample, "\npin-dir: "));
	conf_free(load(sample));
	free(page);
	free(sample);
}

static int set_up(void **state)
{
	(void)state;
	if (!mkdtemp(dir))
		return -1;
	snprintf(main_path, sizeof(main_path), "%s/main.yaml", dir);
	snprintf(part_dir, sizeof(part_dir), "%s/conf.d", dir);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	unlink(main_path);
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_minimal),    cmocka_unit_test(test_every_key),
		cmocka_unit_test(test_mistakes),   cmocka_unit_test(test_mac_scope),
		cmocka_unit_test(test_no_ports),   cmocka_unit_test(test_longest_socket),
		cmocka_unit_test(test_unreadable), cmocka_unit_test(test_too_large),
		cmocka_unit_test(test_parts),      cmocka_unit_test(test_junk),
		cmocka_unit_test(test_many_ports), cmocka_unit_test(test_system),
		cmocka_unit_test(test_documents),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
