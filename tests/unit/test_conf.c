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

/* Building blocks of the rows: a good head of four lines, and one with a nic before the port. */
#define W    "workers:\n  - cpu: 0\n"
#define N    "nics:\n  - name: n0\n    mode: internal\n"
#define S    "nics:\n  - name: n0\n    mode: steered\n"
#define WN   W N
#define WS   W S
#define PORT "ports:\n  - name: a\n    socket: /run/a\n    nic: n0\n"
#define MAC  "    macs: [\"02:00:00:00:00:01\"]\n"
#define WNP  WN PORT MAC

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
	assert_null(c->ports[0].socket_owner);
	assert_null(c->ports[0].socket_group);
	assert_int_equal(c->ports[0].socket_mode, 0660);
	assert_true(c->ports[0].features_mask == UINT64_MAX);
	assert_int_equal(c->ports[0].line, 9);
	assert_int_equal(c->ports[0].column, 11);
	conf_free(c);
}

static void test_every_key(void **state)
{
	struct conf *c = load("control-socket: /run/other.sock\n"
	                      "pin-dir: /sys/fs/bpf/other\n"
	                      "busy-poll-us: 0\n"
	                      "workers: [{cpu: 1}, {cpu: 0x2}]\n"
	                      "nics:\n"
	                      "  - name: enp2s0\n"
	                      "    mode: steered\n"
	                      "    miss: redirect\n"
	                      "    redirect-to: ovs0\n"
	                      "    no-daemon: pass\n"
	                      "    xdp-mode: generic\n"
	                      "    zero-copy: off\n"
	                      "    first-queue: 2\n"
	                      "    queues: 4\n"
	                      "    ring-size: 512\n"
	                      "  - {name: veth0, mode: dedicated, zero-copy: on}\n"
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
	                      "    socket-owner: root\n"
	                      "    socket-group: root\n"
	                      "    socket-mode: 0600\n"
	                      "    features-mask: 0xfffffffffffeffff\n"
	                      "  - {name: b, socket: /run/b, listen: false, nic: veth0}\n");
	const struct conf_port *p = &c->ports[0];

	(void)state;
	assert_string_equal(c->control_socket, "/run/other.sock");
	assert_string_equal(c->pin_dir, "/sys/fs/bpf/other");
	assert_int_equal(c->busy_poll_us, 0);
	assert_int_equal(c->n_workers, 2);
	assert_int_equal(c->workers[1].cpu, 2);
	assert_int_equal(c->nics[0].miss, CONF_MISS_REDIRECT);
	assert_string_equal(c->nics[0].redirect_to, "ovs0");
	assert_int_equal(c->nics[0].no_daemon, CONF_MISS_PASS);
	assert_int_equal(c->nics[0].xdp_mode, CONF_XDP_GENERIC);
	assert_int_equal(c->nics[0].zero_copy, CONF_ZC_OFF);
	assert_int_equal(c->nics[0].first_queue, 2);
	assert_int_equal(c->nics[0].queues, 4);
	assert_int_equal(c->nics[0].ring_size, 512);
	assert_int_equal(c->nics[1].mode, CONF_NIC_DEDICATED);
	assert_int_equal(c->nics[1].zero_copy, CONF_ZC_ON);
	assert_int_equal(p->n_macs, 2);
	assert_memory_equal(p->macs[0].addr, "\x52\x54\0\xaa\xbb\x0a", 6);
	assert_int_equal(p->vlan, 4094);
	assert_int_equal(p->queues, 128);
	assert_int_equal(p->mtu, 9000);
	assert_true(p->own_macs_only);
	assert_string_equal(p->socket_owner, "root");
	assert_string_equal(p->socket_group, "root");
	assert_int_equal(p->socket_mode, 0600);
	assert_true(p->features_mask == 0xfffffffffffeffff);
	assert_false(c->ports[1].listen);
	assert_int_equal(c->ports[1].nic_index, 1);
	assert_int_equal(c->ports[1].n_macs, 0);
	conf_free(c);
}

/* 92 bytes with its slash; with 16 more one byte too many for sun_path. */
#define LONG90                                                                                     \
	"/sockets-of-guests-in-a-folder-with-a-long-name/and-another-folder-with-a-name-as-"       \
	"long-as-it"

static const struct row {
	const char *text, *line;
} rows[] = {
	/* the file as a whole */
	{"", "main.yaml:1:1: the file is empty"},
	{"# nothing\n", "main.yaml:1:1: the file is empty"},
	{"---\n", "main.yaml:2:1: configuration: expected a mapping (key: value), found nothing"},
	{"hello\n", "main.yaml:1:1: configuration: expected a mapping (key: value), found 'hello'"},
	{"- a\n", "main.yaml:1:1: configuration: expected a mapping (key: value), found a list"},
	{W "---\n" W, "main.yaml:3:1: a second YAML document starts here, only one is possible"},
	{"workers: &w\n  - cpu: 0\nnics: *w\n",
         "main.yaml:3:7: aliases (*'w') are not possible, write the value out"},
	{"workers: [\n", "main.yaml:2:1: not YAML: did not find expected node content, while "
                         "parsing a flow node that starts in line 2"},
	{"workers:\n\t- cpu: 0\n",
         "main.yaml:2:1: not YAML: found character that cannot start any "
         "token, while scanning for the next token that starts in line 2"},
	{"a: 'b\n", "main.yaml:2:1: not YAML: found unexpected end of stream, while scanning a "
                    "quoted scalar that starts in line 1"},
	{"a: [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", "main.yaml:1:19: nested deeper than 16 levels"},

	/* keys */
	{"worker:\n  - cpu: 0\n",
         "main.yaml:1:1: configuration: unknown key 'worker', did you mean 'workers'?"},
	{"control_socket: /run/x\n", "main.yaml:1:1: configuration: unknown key 'control_socket', "
                                     "did you mean 'control-socket'?"},
	{"zebra: 1\n", "main.yaml:1:1: configuration: unknown key 'zebra'"},
	{W "nics:\n  - name: n0\n    mode: steered\n    queus: 2\n",
         "main.yaml:6:5: nics entry 1: unknown key 'queus', did you mean 'queues'?"},
	{WNP "    mac: x\n", "main.yaml:11:5: ports entry 1: unknown key 'mac', did you mean "
                             "'macs'?"},
	{WNP "    'socket\\\"': x\n", "main.yaml:11:5: ports entry 1: unknown key 'socket\\\"', "
                                      "did you mean 'socket'?"},
	{WNP "    \"nic\\0x\": x\n", "main.yaml:11:5: ports entry 1: unknown key 'nic', did you "
                                     "mean 'nic'?"},
	{"? [a, b]\n: c\n", "main.yaml:1:3: configuration: expected a key, found a list"},
	{W W, "main.yaml:3:1: configuration: key 'workers' is there already, in line 1"},
	{WNP "    nic: n0\n", "main.yaml:11:5: ports entry 1: key 'nic' is there already, in line "
                              "9"},
	{N, "main.yaml:1:1: configuration: the key 'workers' is missing"},
	{W, "main.yaml:1:1: configuration: the key 'nics' is missing"},
	{"workers:\n  - {}\n", "main.yaml:2:5: workers entry 1: the key 'cpu' is missing"},
	{W "nics:\n  - mode: internal\n", "main.yaml:4:5: nics entry 1: the key 'name' is missing"},
	{W "nics:\n  - name: n0\n", "main.yaml:4:5: nics entry 1: the key 'mode' is missing"},
	{WN "ports:\n  - socket: /run/a\n    nic: n0\n",
         "main.yaml:7:5: ports entry 1: the key 'name' is missing"},
	{WN "ports:\n  - name: a\n    nic: n0\n",
         "main.yaml:7:5: ports entry 1: the key 'socket' is missing"},
	{WN "ports:\n  - name: a\n    socket: /run/a\n",
         "main.yaml:7:5: ports entry 1: the key 'nic' is missing"},
	{WN PORT, "main.yaml:7:5: ports entry 1: the key 'macs' is missing (only a port on a "
                  "dedicated nic can do without)"},

	/* types */
	{"workers: 3\n", "main.yaml:1:10: workers: expected a list, found '3'"},
	{"workers:\n", "main.yaml:1:9: workers: expected a list, found nothing"},
	{"workers: {cpu: 0}\n", "main.yaml:1:10: workers: expected a list, found a mapping"},
	{"workers: []\n", "main.yaml:1:10: workers: the list is empty"},
	{W "nics: []\n", "main.yaml:3:7: nics: the list is empty"},
	{WN "ports: []\n", "main.yaml:6:8: ports: the list is empty"},
	{WN PORT "    macs: []\n", "main.yaml:10:11: macs: the list is empty"},
	{WN PORT "    macs: \"02:00:00:00:00:01\"\n",
         "main.yaml:10:11: macs: expected a list, found '02:00:00:00:00:01'"},
	{WN PORT "    macs: [[a]]\n",
         "main.yaml:10:12: macs entry 1: expected a single value, found a list"},
	{"workers: [0]\n",
         "main.yaml:1:11: workers entry 1: expected a mapping (key: value), found '0'"},
	{"workers: [{cpu: zero}]\n", "main.yaml:1:17: cpu: expected a whole number, found 'zero'"},
	{"workers: [{cpu: -1}]\n", "main.yaml:1:17: cpu: expected a whole number, found '-1'"},
	{"workers: [{cpu: 1.5}]\n", "main.yaml:1:17: cpu: expected a whole number, found '1.5'"},
	{"workers: [{cpu: 010}]\n", "main.yaml:1:17: cpu: expected a whole number, found '010'"},
	{"workers: [{cpu: 0x}]\n", "main.yaml:1:17: cpu: expected a whole number, found '0x'"},
	{"workers: [{cpu: }]\n", "main.yaml:1:17: cpu: expected a whole number, found nothing"},
	{"workers: [{cpu: [0]}]\n", "main.yaml:1:17: cpu: expected a single value, found a list"},
	{"workers: [{cpu: 4294967296}]\n", "main.yaml:1:17: cpu: 4294967296 is too large"},
	{WNP "    listen: yes\n", "main.yaml:11:13: listen: expected true or false, found 'yes'"},
	{WNP "    listen:\n", "main.yaml:11:12: listen: expected true or false, found nothing"},
	{WNP "    own-macs-only: flase\n",
         "main.yaml:11:20: own-macs-only: expected true or false, found 'flase'"},
	{W "nics:\n  - name: n0\n    mode: steerd\n",
         "main.yaml:5:11: mode: expected steered, dedicated or internal, found 'steerd'"},
	{W "nics:\n  - name: n0\n    mode: 0\n",
         "main.yaml:5:11: mode: expected steered, dedicated or internal, found '0'"},
	{WS "    miss: forward\n",
         "main.yaml:6:11: miss: expected pass, drop or redirect, found 'forward'"},
	{WS "    no-daemon: redirect\n",
         "main.yaml:6:16: no-daemon: expected drop or pass, found 'redirect'"},
	{WS "    xdp-mode: skb\n",
         "main.yaml:6:15: xdp-mode: expected native or generic, found 'skb'"},
	{WS "    zero-copy: true\n",
         "main.yaml:6:16: zero-copy: expected auto, on or off, found 'true'"},
	{"control-socket: \"\"\n", "main.yaml:1:17: control-socket: the value is empty"},
	{"control-socket: \"/run/a\\0b\"\n",
         "main.yaml:1:17: control-socket: control characters are not allowed"},
	{"control-socket: |\n  /run/a\n",
         "main.yaml:1:17: control-socket: control characters are not allowed"},

	/* the head */
	{"control-socket: run/x\n" WN, "main.yaml:1:17: control-socket: 'run/x' is not an absolute "
                                       "path (it must begin with '/')"},
	{"control-socket: /run/x/\n" WN,
         "main.yaml:1:17: control-socket: '/run/x/' names a folder, not a socket"},
	{"control-socket: " LONG90 "/0123456789abcdef\n" WN,
         "main.yaml:1:17: control-socket: the path has 109 bytes, at most 107 are possible"},
	{"pin-dir: vhost-xdp\n" WN, "main.yaml:1:10: pin-dir: 'vhost-xdp' is not an absolute path "
                                    "(it must begin with '/')"},
	{"busy-poll-us: 1000001\n" WN,
         "main.yaml:1:15: busy-poll-us: 1000001 is not between 0 and 1000000"},

	/* workers */
	{"workers: [{cpu: 2000}]\n" N, "main.yaml:1:17: cpu: 2000 is not between 0 and 1023"},
	{"workers:\n  - cpu: 0\n  - cpu: 1\n  - cpu: 0\n" N,
         "main.yaml:4:10: cpu: another worker has CPU 0 already, in main.yaml line 2"},

	/* nics */
	{W "nics: [{name: a, mode: internal}, {name: a, mode: steered}]\n",
         "main.yaml:3:42: name: a nic 'a' is there already, in main.yaml line 3"},
	{W "nics: [{name: enp0s31f6np0abcd, mode: steered}]\n",
         "main.yaml:3:15: name: 'enp0s31f6np0abcd' has 16 characters, at most 15 are possible"},
	{W "nics: [{name: a123456789b123456789c123456789d1, mode: internal}]\n",
         "main.yaml:3:15: name: 'a123456789b123456789c123456789d1' has 32 characters, at most 31 "
         "are possible"},
	{W "nics: [{name: a/b, mode: internal}]\n",
         "main.yaml:3:15: name: 'a/b' must be of letters, digits, '_', '-' and '.', and begin with "
         "a letter, digit or '_'"},
	{W "nics: [{name: .., mode: internal}]\n",
         "main.yaml:3:15: name: '..' must be of letters, digits, '_', '-' and '.', and begin with "
         "a letter, digit or '_'"},
	{WS "    miss: redirect\n",
         "main.yaml:6:11: miss: redirect needs the key 'redirect-to' with a device's name"},
	{WS "    redirect-to: x\n", "main.yaml:6:18: redirect-to: this key needs 'miss: redirect'"},
	{WS "    miss: redirect\n    redirect-to: n0\n",
         "main.yaml:7:18: redirect-to: the nic cannot redirect to itself"},
	{WS "    miss: redirect\n    redirect-to: a b\n",
         "main.yaml:7:18: redirect-to: 'a b' must be of letters, digits, '_', '-' and '.', and "
         "begin with a letter, digit or '_'"},
	{WN "    ring-size: 512\n", "main.yaml:6:16: ring-size: this key has no meaning for a nic "
                                    "of mode internal"},
	{W "nics: [{name: n0, mode: dedicated, miss: drop}]\n",
         "main.yaml:3:42: miss: this key has no meaning for a nic of mode dedicated"},
	{WS "    ring-size: 1000\n", "main.yaml:6:16: ring-size: 1000 is not a power of two"},
	{WS "    ring-size: 0\n", "main.yaml:6:16: ring-size: 0 is not between 64 and 16384"},
	{WS "    ring-size: 32768\n",
         "main.yaml:6:16: ring-size: 32768 is not between 64 and 16384"},
	{WS "    queues: 0\n", "main.yaml:6:13: queues: 0 is not between 1 and 64"},
	{WS "    first-queue: 64\n", "main.yaml:6:18: first-queue: 64 is not between 0 and 63"},
	{WS "    first-queue: 60\n    queues: 5\n",
         "main.yaml:7:13: queues: 5 is not between 1 and 4"},
	{W "nics: [{name: n0, mode: dedicated}]\n",
         "main.yaml:3:15: nics: 'n0' is dedicated, but no port has it as its nic"},

	/* ports */
	{WNP "  - name: a\n    socket: /run/b\n    nic: n0\n" MAC,
         "main.yaml:11:11: name: a port 'a' is there already, in main.yaml line 7"},
	{WNP "  - name: b\n    socket: /run/a\n    nic: n0\n" MAC,
         "main.yaml:12:13: socket: the path '/run/a' is there already, in main.yaml line 8"},
	{"control-socket: /run/a\n" WNP,
         "main.yaml:9:13: socket: the path '/run/a' is there already, in main.yaml line 1"},
	{WN "ports:\n  - name: a\n    socket: a\n    nic: n0\n" MAC,
         "main.yaml:8:13: socket: 'a' is not an absolute path (it must begin with '/')"},
	{WN "ports:\n  - name: a\n    socket: " LONG90 "/0123456789abcdef\n    nic: n0\n" MAC,
         "main.yaml:8:13: socket: the path has 109 bytes, at most 107 are possible"},
	{WN "ports:\n  - name: \"a\\e[1m\"\n    socket: /run/a\n    nic: n0\n" MAC,
         "main.yaml:7:11: name: control characters are not allowed"},
	{WN "ports:\n  - name: \xc3\xa4\n    socket: /run/a\n    nic: n0\n" MAC,
         "main.yaml:7:11: name: '?\?' must be of letters, digits, '_', '-' and '.', and begin with "
         "a letter, digit or '_'"},
	{WN "ports:\n  - name: a\n    socket: /run/a\n    nic: n1\n" MAC,
         "main.yaml:9:10: nic: there is no nic 'n1', did you mean 'n0'?"},
	{WN "ports:\n  - name: a\n    socket: /run/a\n    nic: uplink\n" MAC,
         "main.yaml:9:10: nic: there is no nic 'uplink' in the list of nics"},
	{W "nics: [{name: n0, mode: dedicated}]\n" PORT
           "  - name: b\n    socket: /run/b\n    nic: n0\n",
         "main.yaml:10:10: nic: 'n0' is dedicated and has a port already, 'a'"},
	{WNP "    vlan: 4095\n", "main.yaml:11:11: vlan: 4095 is not between 0 and 4094"},
	{WNP "    queues: 0\n", "main.yaml:11:13: queues: 0 is not between 1 and 128"},
	{WNP "    queues: 129\n", "main.yaml:11:13: queues: 129 is not between 1 and 128"},
	{WNP "    mtu: 67\n", "main.yaml:11:10: mtu: 67 is not between 68 and 65535"},
	{WNP "    mtu: 65536\n", "main.yaml:11:10: mtu: 65536 is not between 68 and 65535"},
	{WNP "    features-mask: 0x10000000000000000\n",
         "main.yaml:11:20: features-mask: expected a whole number, found '0x10000000000000000'"},
	{WNP "    socket-mode: 660\n    listen: false\n",
         "main.yaml:11:18: socket-mode: this key needs 'listen: true', else the front end makes "
         "the "
         "socket"},
	{WNP "    socket-mode: rw-\n", "main.yaml:11:18: socket-mode: expected octal permissions "
                                       "like \"0660\", found 'rw-'"},
	{WNP "    socket-mode: 01777\n", "main.yaml:11:18: socket-mode: expected octal permissions "
                                         "like \"0660\", found '01777'"},
	{WNP "    socket-mode: 0689\n", "main.yaml:11:18: socket-mode: expected octal permissions "
                                        "like \"0660\", found '0689'"},

	/* addresses */
	{WN PORT "    macs: [\"02:00:00:00:00:0g\"]\n",
         "main.yaml:10:12: macs: '02:00:00:00:00:0g' is not a MAC address (like "
         "\"52:54:00:00:00:0a\")"},
	{WN PORT "    macs: [\"2:0:0:0:0:1\"]\n",
         "main.yaml:10:12: macs: '2:0:0:0:0:1' is not a MAC address (like "
         "\"52:54:00:00:00:0a\")"},
	{WN PORT "    macs: [\"02:00:00:00:00:01:02\"]\n",
         "main.yaml:10:12: macs: '02:00:00:00:00:01:02' is not a MAC address (like "
         "\"52:54:00:00:00:0a\")"},
	{WN PORT "    macs: [\"03:00:00:00:00:01\"]\n",
         "main.yaml:10:12: macs: '03:00:00:00:00:01' is a multicast address, a guest's must be "
         "unicast"},
	{WN PORT "    macs: [\"ff:ff:ff:ff:ff:ff\"]\n",
         "main.yaml:10:12: macs: 'ff:ff:ff:ff:ff:ff' is a multicast address, a guest's must be "
         "unicast"},
	{WN PORT "    macs: [\"00:00:00:00:00:00\"]\n",
         "main.yaml:10:12: macs: the address is all zero"},
	{WN PORT "    macs: [\"02:00:00:00:00:0a\", \"02:00:00:00:00:0A\"]\n",
         "main.yaml:10:33: macs: '02:00:00:00:00:0A' is there already for nic 'n0', vlan 0, in "
         "main.yaml line 10"},
	{WNP "  - name: b\n    socket: /run/b\n    nic: n0\n" MAC,
         "main.yaml:14:12: macs: '02:00:00:00:00:01' is there already for nic 'n0', vlan 0, in "
         "main.yaml line 10"},
};

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
		skip();
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
