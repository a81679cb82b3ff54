// SPDX-License-Identifier: BSD-2-Clause
/*
 * test_steer_pin.c - what outlives a daemon: programs, maps and links under their pins, how the
 * next one takes them over, and what it leaves alone
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <cap-ng.h>
#include <errno.h>
#include <net/if.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "log.h"
#include "netenv.h"
#include "steer_priv.h"

#define DIR NETENV_PIN_DIR "/vx0"

static const struct steer_entry entry = {.key = {.mac = {2, 0, 0, 0, 0, 1}, .vlan = 7}, .port = 3};
static const struct steer_port_entry port = {.id = 3, .port = {.name = "vm", .n_macs = 1}};

static struct steer_params params_of(const char *nic)
{
	return (struct steer_params){
		.pin_dir = NETENV_PIN_DIR,
		.nic = nic,
		.ifindex = if_nametoindex(nic),
		.config = {.miss = STEER_PASS, .no_daemon = STEER_DROP},
	};
}

static struct steer *must_open(const struct steer_params *params)
{
	struct steer *steer = NULL;
	char *why = NULL;
	int err = steer_open(params, &steer, &why);

	if (err < 0)
		fail_msg("steer_open: %d, %s", err, why);
	return steer;
}

/* Opening fails with @err, and the sentence contains @text. */
static void must_fail(const struct steer_params *params, int err, const char *text)
{
	struct steer *steer = NULL;
	char *why = NULL;

	assert_int_equal(steer_open(params, &steer, &why), err);
	assert_null(steer);
	assert_non_null(why);
	if (!strstr(why, text))
		fail_msg("`%s` is not in: %s", text, why);
	free(why);
}

/* Number of what is pinned there, which the kernel writes to @id within @info; 0: there is none */
static uint32_t pinned_id(const char *path, void *info, uint32_t len, const uint32_t *id)
{
	int fd = bpf_obj_get(path);

	if (fd < 0)
		return 0;
	assert_int_equal(bpf_obj_get_info_by_fd(fd, info, &len), 0);
	close(fd);
	return *id;
}

static uint32_t link_id(const char *path)
{
	struct bpf_link_info info = {0};

	return pinned_id(path, &info, sizeof(info), &info.id);
}

static uint32_t map_id(const char *path)
{
	struct bpf_map_info info = {0};

	return pinned_id(path, &info, sizeof(info), &info.id);
}

static uint32_t count_entries(const struct steer *steer)
{
	struct steer_fdb_key key;
	uint32_t n = 0;

	for (void *prev = NULL; !bpf_map_get_next_key(steer->maps[STEER_MAP_FDB], prev, &key);
	     prev = &key)
		n++;
	return n;
}

static int setup(void **state)
{
	(void)state;
	netenv_veth("vx0", "vx1", 1, 1500);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	(void)steer_unload(NETENV_PIN_DIR, "vx0");
	return system("for d in vx0 vx1 vx2; do ip link del $d; done 2>/dev/null; true");
}

static void test_new(void **state)
{
	static const char *const names[] = {"fdb",    "ports",    "queues",     "xsks",
	                                    "config", "verdicts", "port_stats", "link"};
	struct steer_params params = params_of("vx0");
	struct steer *steer = must_open(&params);
	struct steer_config config;
	struct stat st;
	bool generic;

	(void)state;
	assert_false(steer_is_adopted(steer));
	assert_true(steer_is_attached(steer));
	assert_int_not_equal(steer_prog_id(steer), 0);
	assert_int_equal(netenv_attached("vx0", &generic), steer_prog_id(steer));
	assert_false(generic);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		char path[128];

		snprintf(path, sizeof(path), DIR "/%s", names[i]);
		assert_int_equal(access(path, F_OK), 0);
	}
	assert_int_equal(access(DIR "/link_back", F_OK), -1);
	assert_int_equal(stat(DIR, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0755);
	assert_int_equal(steer_get_config(steer, &config), 0);
	assert_int_equal(config.abi, STEER_ABI_VERSION);
	assert_int_equal(config.ifindex, params.ifindex);
	assert_int_equal(config.no_daemon, STEER_DROP);
	/* The program stays when the daemon goes. */
	steer_close(steer);
	assert_int_not_equal(netenv_attached("vx0", NULL), 0);
	steer_close(NULL);
}

static void test_adopt(void **state)
{
	struct steer_params params = params_of("vx0");
	struct steer *steer = must_open(&params);
	uint32_t prog = steer_prog_id(steer), link = link_id(DIR "/link"), fdb = map_id(DIR "/fdb");
	struct steer_config config;

	(void)state;
	assert_int_equal(steer_set_table(steer, &entry, 1, &port, 1), 0);
	steer_close(steer);
	params.config.miss = STEER_DROP;
	for (int i = 0; i < 3; i++) {
		steer = must_open(&params);
		assert_true(steer_is_adopted(steer));
		/* The same link and maps, so no frame met a device without a program. */
		assert_int_equal(link_id(DIR "/link"), link);
		assert_int_equal(map_id(DIR "/fdb"), fdb);
		assert_int_equal(count_entries(steer), 1);
		/* But the program is this daemon's, and so is the configuration. */
		assert_int_not_equal(steer_prog_id(steer), prog);
		prog = steer_prog_id(steer);
		assert_int_equal(netenv_attached("vx0", NULL), prog);
		assert_int_equal(steer_get_config(steer, &config), 0);
		assert_int_equal(config.miss, STEER_DROP);
		steer_close(steer);
	}
}

/* Read the verdicts until the program has dropped more than @n frames; how many it has. */
static uint64_t wait_dropped(const struct steer *steer, uint64_t n)
{
	uint64_t end = netenv_now_ms() + 20000;
	struct steer_counter v[STEER_N_VERDICTS];

	do {
		assert_true(netenv_now_ms() < end);
		assert_int_equal(steer_read_verdicts(steer, v), 0);
	} while (v[STEER_V_DROP].frames <= n);
	return v[STEER_V_DROP].frames;
}

/* While one daemon after the other takes over, no frame gets past the program to the host. */
static void test_adopt_under_traffic(void **state)
{
	struct steer_params params = params_of("vx0");
	struct steer_counter v[STEER_N_VERDICTS];
	uint8_t frame[60], got[2048];
	uint64_t first, sent = 0;
	struct steer *steer;
	int host, wire;
	pid_t pid;

	(void)state;
	params.config.miss = STEER_DROP;
	steer = must_open(&params);
	host = netenv_packet_socket("vx0");
	wire = netenv_packet_socket("vx1");
	netenv_frame(frame, sizeof(frame), entry.key.mac, 1);
	pid = fork();
	if (!pid) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			(void)!send(wire, frame, sizeof(frame), 0);
	}
	first = wait_dropped(steer, 0);
	for (int i = 0; i < 20; i++) {
		steer_close(steer);
		steer = must_open(&params);
		assert_true(steer_is_adopted(steer));
		first = wait_dropped(steer, first + 50);
	}
	(void)wait_dropped(steer, first); /* the last one counts, too */
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(steer_read_verdicts(steer, v), 0);
	for (uint32_t i = 0; i < STEER_N_VERDICTS; i++)
		sent += v[i].frames;
	assert_int_equal(sent, v[STEER_V_DROP].frames);
	assert_int_equal(netenv_packet_recv(host, got, sizeof(got), 0), 0);
	steer_close(steer);
	close(host);
	close(wire);
}

/* Each of these makes the pins unusable; everything is replaced, and works. */
static void break_abi(void)
{
	struct steer_config config = {.abi = STEER_ABI_VERSION + 1};
	int fd = bpf_obj_get(DIR "/config");
	uint32_t zero = 0;

	assert_int_equal(bpf_map_update_elem(fd, &zero, &config, BPF_ANY), 0);
	close(fd);
}

static void break_missing(void)
{
	assert_int_equal(unlink(DIR "/ports"), 0);
}

static void break_shape(void)
{
	int fd = bpf_map_create(BPF_MAP_TYPE_HASH, "queues", 4, 16, STEER_MAX_QUEUES, NULL);

	assert_int_equal(unlink(DIR "/queues"), 0);
	assert_int_equal(bpf_obj_pin(fd, DIR "/queues"), 0);
	close(fd);
}

static void break_size(void)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_NO_PREALLOC);
	int fd = bpf_map_create(BPF_MAP_TYPE_HASH, "fdb", sizeof(struct steer_fdb_key),
	                        sizeof(struct steer_fdb_value), STEER_MAX_MACS / 2, &opts);

	assert_int_equal(unlink(DIR "/fdb"), 0);
	assert_int_equal(bpf_obj_pin(fd, DIR "/fdb"), 0);
	close(fd);
}

static void test_replace(void **state)
{
	void (*const breakage[])(void) = {break_abi, break_missing, break_shape, break_size};
	struct steer_params params = params_of("vx0");

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(breakage); i++) {
		struct steer *steer = must_open(&params);
		uint32_t fdb = map_id(DIR "/fdb");

		assert_int_equal(steer_set_table(steer, &entry, 1, &port, 1), 0);
		steer_close(steer);
		breakage[i]();
		steer = must_open(&params);
		assert_false(steer_is_adopted(steer));
		assert_int_not_equal(map_id(DIR "/fdb"), fdb);
		assert_int_equal(count_entries(steer), 0);
		assert_int_equal(netenv_attached("vx0", NULL), steer_prog_id(steer));
		assert_int_equal(steer_set_table(steer, &entry, 1, &port, 1), 0);
		steer_close(steer);
		steer = must_open(&params);
		assert_true(steer_is_adopted(steer));
		steer_close(steer);
	}
}

/*
 * Counters of ports have room for those that there are; more ports, or counters of another version,
 * are no reason to begin anew.
 */
static void test_more_ports(void **state)
{
	struct steer_params params = params_of("vx0");
	struct steer *steer = must_open(&params);
	uint32_t link = link_id(DIR "/link"), stats = map_id(DIR "/port_stats"), id = 300;
	struct steer_counter *values = calloc(steer->n_cpus, sizeof(*values)), c;
	int fd;

	(void)state;
	assert_int_equal(steer_set_table(steer, &entry, 1, &port, 1), 0);
	assert_true(bpf_map_lookup_elem(steer->maps[STEER_MAP_PORT_STATS], &id, values) < 0);
	steer_close(steer);
	params.max_port = id;
	steer = must_open(&params);
	assert_true(steer_is_adopted(steer));
	assert_int_equal(link_id(DIR "/link"), link);
	assert_int_equal(count_entries(steer), 1);
	assert_int_not_equal(map_id(DIR "/port_stats"), stats);
	stats = map_id(DIR "/port_stats");
	values[0].frames = 7;
	for (int i = 0; i < 2; i++) {
		assert_int_equal(bpf_map_update_elem(steer->maps[STEER_MAP_PORT_STATS],
		                                     i ? &port.id : &id, values, BPF_ANY),
		                 0);
	}
	steer_close(steer);

	/* Fewer ports: what is there is large enough, and goes on. */
	params.max_port = port.id;
	steer = must_open(&params);
	assert_int_equal(map_id(DIR "/port_stats"), stats);
	assert_int_equal(steer_set_table(steer, &entry, 1, &port, 1), 0);
	assert_int_equal(steer_read_port(steer, port.id, &c), 0);
	assert_int_equal(c.frames, 7);
	steer_close(steer);

	params.max_port = id = STEER_MAX_PORTS - 1;
	steer = must_open(&params);
	assert_int_equal(
		bpf_map_update_elem(steer->maps[STEER_MAP_PORT_STATS], &id, values, BPF_ANY), 0);
	steer_close(steer);

	/* An earlier version's */
	fd = bpf_map_create(BPF_MAP_TYPE_PERCPU_HASH, "port_stats", sizeof(id), sizeof(c),
	                    STEER_MAX_PORTS, NULL);
	assert_int_equal(unlink(DIR "/port_stats"), 0);
	assert_int_equal(bpf_obj_pin(fd, DIR "/port_stats"), 0);
	close(fd);
	steer = must_open(&params);
	assert_true(steer_is_adopted(steer));
	assert_int_equal(link_id(DIR "/link"), link);
	assert_int_equal(steer_set_table(steer, &entry, 1, &port, 1), 0);
	assert_int_equal(steer_read_port(steer, port.id, &c), 0);
	assert_int_equal(c.frames, 0);
	steer_close(steer);
	free(values);
}

/* Maps are there, the link is not: what a daemon leaves that was killed while it set up. */
static void test_link_missing(void **state)
{
	struct steer_params params = params_of("vx0");
	struct steer *steer = must_open(&params);

	(void)state;
	assert_int_equal(bpf_link_detach(steer->links[STEER_LINK_NIC]), 0);
	assert_int_equal(unlink(DIR "/link"), 0);
	steer_close(steer);
	assert_int_equal(netenv_attached("vx0", NULL), 0);
	steer = must_open(&params);
	assert_true(steer_is_adopted(steer));
	assert_int_equal(netenv_attached("vx0", NULL), steer_prog_id(steer));
	steer_close(steer);
}

static void test_device_made_again(void **state)
{
	struct steer_params params = params_of("vx0");
	struct steer *steer = must_open(&params);

	(void)state;
	assert_int_equal(steer_set_table(steer, &entry, 1, &port, 1), 0);
	steer_close(steer);
	netenv_run("ip link del vx0");
	netenv_veth("vx0", "vx1", 1, 1500);
	assert_int_equal(netenv_attached("vx0", NULL), 0);
	params = params_of("vx0");
	steer = must_open(&params);
	assert_true(steer_is_adopted(steer));
	assert_true(steer_is_attached(steer));
	assert_int_equal(count_entries(steer), 1);
	assert_int_equal(netenv_attached("vx0", NULL), steer_prog_id(steer));
	steer_close(steer);
}

/* The device was renamed, and the name is another device's now. */
static void test_device_renamed(void **state)
{
	struct steer_params params = params_of("vx0");
	struct steer *steer = must_open(&params);

	(void)state;
	steer_close(steer);
	netenv_run("ip link set vx0 down; ip link set vx0 name vx2; ip link add vx0 type veth");
	params = params_of("vx0");
	steer = must_open(&params);
	assert_int_equal(netenv_attached("vx2", NULL), 0);
	assert_int_equal(netenv_attached("vx0", NULL), steer_prog_id(steer));
	steer_close(steer);
}

static void test_foreign_program(void **state)
{
	struct steer_params params = params_of("vx0");
	int link = netenv_foreign_link("vx0");
	uint32_t id = netenv_attached("vx0", NULL);
	char text[64];

	(void)state;
	snprintf(text, sizeof(text), "(id %u, name foreigner) is attached to the device", id);
	must_fail(&params, -EBUSY, text);
	assert_int_equal(netenv_attached("vx0", NULL), id);
	assert_int_equal(bpf_link_detach(link), 0);
	close(link);
	steer_close(must_open(&params));
	/* And nobody takes the hook from us. */
	netenv_run("! ip link set dev vx0 xdp off 2>/dev/null");
	assert_int_not_equal(netenv_attached("vx0", NULL), 0);
}

/* Pins are visible in every network namespace, indices mean something in one. */
static void test_other_namespace(void **state)
{
	struct steer_params params = params_of("vx0");
	struct steer *steer = must_open(&params);
	uint32_t prog = steer_prog_id(steer), fdb = map_id(DIR "/fdb");
	int old;

	(void)state;
	steer_close(steer);
	old = netenv_new_netns();
	netenv_run("ip link add vx0 index %u type veth peer name vx1", params.ifindex);
	must_fail(&params, -EBUSY, "another network namespace");
	assert_int_equal(netenv_attached("vx0", NULL), 0);
	/* Also when the index differs. */
	netenv_run("ip link del vx0; ip link add vx0 index %u type veth peer name vx1",
	           params.ifindex + 100);
	params.ifindex += 100;
	must_fail(&params, -EBUSY, "another network namespace");
	netenv_back(old);
	assert_int_equal(netenv_attached("vx0", NULL), prog);
	assert_int_equal(map_id(DIR "/fdb"), fdb);
}

static void test_generic_and_back(void **state)
{
	struct steer_params params = params_of("vx0");
	bool generic;

	(void)state;
	params.generic = true;
	steer_close(must_open(&params));
	assert_int_not_equal(netenv_attached("vx0", &generic), 0);
	assert_true(generic);
	steer_close(must_open(&params));
	params.generic = false;
	steer_close(must_open(&params));
	assert_int_not_equal(netenv_attached("vx0", &generic), 0);
	assert_false(generic);
}

static void test_no_native_xdp(void **state)
{
	struct steer_params params = params_of("lo");

	(void)state;
	must_fail(&params, -EOPNOTSUPP, "xdp-mode: generic");
	params.generic = true;
	steer_close(must_open(&params));
	assert_int_equal(steer_unload(NETENV_PIN_DIR, "lo"), 0);
}

static void test_not_a_bpf_file_system(void **state)
{
	struct steer_params params = params_of("vx0");

	(void)state;
	params.pin_dir = "/tmp/no-such-folder/vx";
	must_fail(&params, -ENOTDIR, "mount -t bpf");
	assert_int_equal(access("/tmp/no-such-folder", F_OK), -1);
	assert_int_equal(netenv_attached("vx0", NULL), 0);
}

/* Deep pin-dir, trailing slash; a device whose name has a dot. */
static void test_folders(void **state)
{
	struct steer_params params;
	struct steer *steer;

	(void)state;
	netenv_run("ip link add vx0.5 type veth peer name vx2");
	params = params_of("vx0.5");
	params.pin_dir = NETENV_PIN_DIR "/a/b/";
	steer_close(must_open(&params));
	assert_int_equal(access(NETENV_PIN_DIR "/a/b/vx0:5/link", F_OK), 0);
	steer = must_open(&params);
	assert_true(steer_is_adopted(steer));
	steer_close(steer);
	assert_int_equal(steer_unload(params.pin_dir, "vx0.5"), 0);
	assert_int_equal(access(NETENV_PIN_DIR "/a/b/vx0:5", F_OK), -1);
}

static void test_unload(void **state)
{
	struct steer_params params = params_of("vx0");

	(void)state;
	assert_int_equal(steer_unload(NETENV_PIN_DIR, "vx0"), -ENOENT);
	params.config.miss = STEER_REDIRECT;
	params.config.redirect_ifindex = if_nametoindex("vx1");
	steer_close(must_open(&params));
	assert_int_equal(steer_unload(NETENV_PIN_DIR, "vx0"), 0);
	assert_int_equal(netenv_attached("vx0", NULL), 0);
	assert_int_equal(netenv_attached("vx1", NULL), 0);
	assert_int_equal(access(DIR, F_OK), -1);
	assert_int_equal(steer_unload(NETENV_PIN_DIR, "vx0"), -ENOENT);
}

static void test_redirect_device(void **state)
{
	struct steer_params params = params_of("vx0");
	uint32_t link;
	int foreign;

	(void)state;
	netenv_run("ip link add vx2 type veth");
	params.config.miss = STEER_REDIRECT;
	params.config.redirect_ifindex = if_nametoindex("vx2");
	steer_close(must_open(&params));
	link = link_id(DIR "/link_back");
	assert_int_not_equal(link, 0);
	assert_int_not_equal(netenv_attached("vx2", NULL), 0);
	assert_int_not_equal(netenv_attached("vx2", NULL), netenv_attached("vx0", NULL));
	steer_close(must_open(&params));
	assert_int_equal(link_id(DIR "/link_back"), link);

	/* Another redirect device, then none. */
	params.config.redirect_ifindex = if_nametoindex("vx1");
	steer_close(must_open(&params));
	assert_int_equal(netenv_attached("vx2", NULL), 0);
	assert_int_not_equal(netenv_attached("vx1", NULL), 0);
	params.config.redirect_ifindex = 0;
	params.config.miss = STEER_PASS;
	steer_close(must_open(&params));
	assert_int_equal(netenv_attached("vx1", NULL), 0);
	assert_int_equal(access(DIR "/link_back", F_OK), -1);

	/* Somebody else's program on it is respected. */
	foreign = netenv_foreign_link("vx2");
	params.config.redirect_ifindex = if_nametoindex("vx2");
	must_fail(&params, -EBUSY, "attached to the redirect device");
	close(foreign);
}

enum { MAX_BARRIERS = 6 }; /* one for every frame, the others on rare ways */

/*
 * Barriers against speculation that the verifier has put into a program; 0 also where the kernel
 * does not show it. Each one that a frame meets costs a few percent of what a CPU can receive.
 */
static uint32_t count_barriers(int prog_fd)
{
	const uint8_t barrier = BPF_ST | 0xc0; /* BPF_NOSPEC, of the kernel's own */
	struct bpf_prog_info info = {0};
	uint32_t len = sizeof(info), n = 0;
	struct bpf_insn *insns;

	if (bpf_obj_get_info_by_fd(prog_fd, &info, &len) < 0)
		_exit(7);
	insns = calloc(1, info.xlated_prog_len);
	info = (struct bpf_prog_info){.xlated_prog_len = info.xlated_prog_len,
	                              .xlated_prog_insns = (uintptr_t)insns};
	len = sizeof(info);
	if (!insns || bpf_obj_get_info_by_fd(prog_fd, &info, &len) < 0)
		_exit(8);
	for (uint32_t i = 0; i < info.xlated_prog_len / sizeof(*insns); i++)
		n += insns[i].code == barrier;
	free(insns);
	return n;
}

/* The daemon's own capabilities are enough: no CAP_SYS_ADMIN, no CAP_PERFMON. */
static void test_few_capabilities(void **state)
{
	struct steer_params params = params_of("vx0");
	int status;
	pid_t pid;

	(void)state;
	pid = fork();
	if (!pid) {
		struct steer *steer = NULL;
		char *why = NULL;

		capng_clear(CAPNG_SELECT_BOTH);
		capng_updatev(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, CAP_BPF, CAP_NET_ADMIN,
		              CAP_NET_RAW, -1);
		if (capng_apply(CAPNG_SELECT_BOTH) < 0)
			_exit(9);
		for (int i = 0; i < 2; i++) {
			if (steer_open(&params, &steer, &why) < 0) {
				fprintf(stderr, "%s\n", why);
				_exit(1);
			}
			if (steer_set_table(steer, &entry, 1, &port, 1) < 0)
				_exit(2);
			if (steer_is_adopted(steer) != (i == 1))
				_exit(3);
			if (count_barriers(steer->progs[STEER_LINK_NIC]) > MAX_BARRIERS)
				_exit(6);
			steer_close(steer);
		}
		/* The foreign program cannot be named then, but it is still told. */
		if (steer_unload(NETENV_PIN_DIR, "vx0") < 0)
			_exit(4);
		(void)netenv_foreign_link("vx0");
		if (steer_open(&params, &steer, &why) != -EBUSY || !strstr(why, "another XDP"))
			_exit(5);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_no_capabilities(void **state)
{
	struct steer_params params = params_of("vx0");
	int status;
	pid_t pid = fork();

	(void)state;
	if (!pid) {
		struct steer *steer = NULL;
		char *why = NULL;

		capng_clear(CAPNG_SELECT_BOTH);
		(void)capng_apply(CAPNG_SELECT_BOTH);
		_exit(steer_open(&params, &steer, &why) == -EPERM && strstr(why, "CAP_BPF") ? 0
		                                                                            : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* A daemon that is killed while it sets up leaves something that the next one copes with. */
static void test_killed_while_setting_up(void **state)
{
	struct steer_params params = params_of("vx0");

	(void)state;
	for (int i = 0; i < 30; i++) {
		struct steer *steer;
		pid_t pid = fork();

		if (!pid) {
			struct steer *child = NULL;

			(void)steer_open(&params, &child, NULL);
			for (;;)
				pause();
		}
		usleep((useconds_t)i * 1000);
		assert_int_equal(kill(pid, SIGKILL), 0);
		assert_int_equal(waitpid(pid, NULL, 0), pid);
		netenv_wait_detached("vx0", DIR "/link");
		steer = must_open(&params);
		assert_int_equal(netenv_attached("vx0", NULL), steer_prog_id(steer));
		assert_int_equal(steer_set_table(steer, &entry, 1, &port, 1), 0);
		steer_close(steer);
		if (i % 2)
			assert_int_equal(steer_unload(NETENV_PIN_DIR, "vx0"), 0);
	}
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_new),
		TEST(test_adopt),
		TEST(test_adopt_under_traffic),
		TEST(test_replace),
		TEST(test_more_ports),
		TEST(test_link_missing),
		TEST(test_device_made_again),
		TEST(test_device_renamed),
		TEST(test_foreign_program),
		TEST(test_other_namespace),
		TEST(test_generic_and_back),
		TEST(test_no_native_xdp),
		TEST(test_not_a_bpf_file_system),
		TEST(test_folders),
		TEST(test_unload),
		TEST(test_redirect_device),
		TEST(test_few_capabilities),
		TEST(test_no_capabilities),
		TEST(test_killed_while_setting_up),
	};

	netenv_enter();
	log_init(LOG_LEVEL_WARN);
	return cmocka_run_group_tests_name("pins", tests, NULL, NULL);
}
