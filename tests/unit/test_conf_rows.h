/* SPDX-License-Identifier: BSD-2-Clause */
/* test_conf_rows.h - mistakes in a configuration, and the line that each must give */
#ifndef TEST_CONF_ROWS_H
#define TEST_CONF_ROWS_H

/* Building blocks of the rows: a good head of four lines, and one with a nic before the port. */
#define W    "workers:\n  - cpu: 0\n"
#define N    "nics:\n  - name: n0\n    mode: internal\n"
#define S    "nics:\n  - name: n0\n    mode: steered\n"
#define WN   W N
#define WS   W S
#define PORT "ports:\n  - name: a\n    socket: /run/a\n    nic: n0\n"
#define MAC  "    macs: [\"02:00:00:00:00:01\"]\n"
#define WNP  WN PORT MAC

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
	{WS "    yield: true\n", "main.yaml:6:12: yield: expected auto, on or off, found 'true'"},
	{WS "    napi-busy-poll: on\n",
         "main.yaml:6:21: napi-busy-poll: expected a whole number, found 'on'"},
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
	{"wakeup-latency-us: 1000001\n" WN,
         "main.yaml:1:20: wakeup-latency-us: 1000001 is not between 0 and 1000000"},
	{"placement: everywhere\n" WN,
         "main.yaml:1:12: placement: expected auto or static, found 'everywhere'"},

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
	{WS "    napi-busy-poll: 1025\n",
         "main.yaml:6:21: napi-busy-poll: 1025 is not between 0 and 1024"},
	{WN "    yield: on\n",
         "main.yaml:6:12: yield: this key has no meaning for a nic of mode internal"},
	{WN "    napi-busy-poll: 64\n",
         "main.yaml:6:21: napi-busy-poll: this key has no meaning for a nic of mode internal"},
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
	{WNP "    worker: 7\n",
         "main.yaml:11:13: worker: no worker is on CPU 7, see the list of workers"},
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

#endif
