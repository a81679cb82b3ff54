// SPDX-License-Identifier: BSD-2-Clause
/*
 * test_nic.c - a nic through the life of its device: vx0 is the nic's, vx1 is the wire
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "group_tap.h"
#include "log.h"
#include "loop.h"
#include "netenv.h"
#include "nic.h"

#define PORT 5

static const uint8_t mac_guest[6] = {0x52, 0x54, 0, 0, 0, 0x0a};
static const uint8_t mac_other[6] = {0x52, 0x54, 0, 0, 0, 0x99};
static const uint8_t mac_bcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

/* What a test has: the configuration of one nic, a loop, and what its owner was told. */
struct fixture {
	struct conf conf;
	struct conf_nic nic_conf;
	struct loop *loop;
	struct nic *nic;
	unsigned int n_changed, n_quiesced;
	struct nic_view *seen; /* the view at the last view_changed */
};

static void on_view_changed(void *owner, struct nic *nic)
{
	struct fixture *f = owner;
	const struct nic_view *view = nic_view_get(nic);

	f->n_changed++;
	/* What was there before must still be open: workers may be using it. */
	for (uint32_t i = 0; f->seen && i < f->seen->n_queues; i++)
		assert_true(xsk_queue_check(f->seen->queues[i]));
	for (uint32_t i = 0; i < view->n_queues; i++)
		assert_true(xsk_queue_check(view->queues[i]));
	f->seen = nic_view_get(nic);
}

static void on_quiesce(void *owner)
{
	struct fixture *f = owner;

	f->n_quiesced++;
	assert_int_equal(f->n_quiesced, f->n_changed);
}

static const struct nic_ops ops = {.view_changed = on_view_changed, .quiesce = on_quiesce};

static int nic_start(struct fixture *f, char **ret_why)
{
	int err = nic_new(&f->conf, 0, f->loop, &ops, f, &f->nic, ret_why);

	if (!err)
		f->seen = nic_view_get(f->nic);
	return err;
}

static void set_table(struct fixture *f)
{
	struct steer_entry entry = {.port = PORT};
	const struct steer_port_entry port = {.id = PORT, .port = {.name = "vm", .n_macs = 1}};

	memcpy(entry.key.mac, mac_guest, 6);
	assert_int_equal(nic_set_table(f->nic, &entry, 1, &port, 1,
	                               f->nic_conf.mode == CONF_NIC_DEDICATED ? PORT : 0),
	                 0);
}

static void start(struct fixture *f)
{
	char *why = NULL;

	if (nic_start(f, &why) < 0)
		fail_msg("nic_new: %s", why);
	set_table(f);
}

struct waiting {
	struct fixture *f;
	enum nic_state state;
	uint32_t n_resets;
	uint64_t end;
};

static void look(void *arg)
{
	struct waiting *w = arg;

	if (w->f->nic->state == w->state && w->f->nic->n_resets >= w->n_resets)
		loop_quit(w->f->loop, 0);
	else if (netenv_now_ms() > w->end)
		loop_quit(w->f->loop, 1);
}

/* Run the loop until the nic is in @state and has been bound @n_resets times. */
static void wait_state(struct fixture *f, enum nic_state state, uint32_t n_resets)
{
	struct waiting w = {f, state, n_resets, netenv_now_ms() + 8000};
	struct loop_source *timer;

	assert_int_equal(loop_add_timer(f->loop, look, &w, &timer), 0);
	loop_set_timer(timer, 20, 5);
	if (loop_run(f->loop) != 0)
		fail_msg("nic is %s after %u resets (%s), not %s after %u",
		         nic_state_name(f->nic->state), f->nic->n_resets,
		         f->nic->last_error ? f->nic->last_error : "no error",
		         nic_state_name(state), n_resets);
	loop_remove(timer);
}

static void settle(struct fixture *f)
{
	struct waiting w = {f, NIC_N_STATES, 0, netenv_now_ms() + 60};
	struct loop_source *timer;

	assert_int_equal(loop_add_timer(f->loop, look, &w, &timer), 0);
	loop_set_timer(timer, 20, 5);
	(void)loop_run(f->loop);
	loop_remove(timer);
}

static void wire_send(const char *ifname, const uint8_t dst[6], uint32_t len, uint8_t seed)
{
	int fd = netenv_packet_socket(ifname);
	uint8_t frame[4096];

	netenv_frame(frame, len, dst, seed);
	assert_int_equal(send(fd, frame, len, 0), len);
	close(fd);
}

/* One frame from queue @k, its contents and its metadata. */
static void expect_rx(struct fixture *f, uint32_t k, const uint8_t dst[6], uint32_t len,
                      uint8_t seed, uint16_t meta_flags, bool has_meta)
{
	struct xsk_queue *q = nic_view_get(f->nic)->queues[k];
	struct pollfd pfd = {.fd = q->rx_fd, .events = POLLIN};
	struct steer_meta meta;
	struct xsk_frame frame;
	uint8_t want[4096];
	uint32_t pos = 0;

	assert_int_equal(poll(&pfd, 1, 1000), 1);
	assert_int_equal(xsk_rx_peek(q, 16, &pos), 1);
	frame = xsk_rx_frame(q, pos);
	netenv_frame(want, len, dst, seed);
	assert_int_equal(frame.len, len);
	assert_memory_equal(frame.data, want, len);
	memcpy(&meta, frame.data - sizeof(meta), sizeof(meta));
	assert_int_equal(meta.magic, has_meta ? STEER_META_MAGIC : 0);
	if (has_meta) {
		assert_int_equal(meta.port, meta_flags & STEER_META_GROUP ? 0 : PORT);
		assert_int_equal(meta.flags, meta_flags);
	}
	memset(frame.data - sizeof(meta), 0, sizeof(meta));
	xsk_rx_release(q, pos, 1);
}

static void expect_guest_traffic(struct fixture *f)
{
	static uint8_t seed;
	struct nic_view *view = nic_view_get(f->nic);
	int fd = netenv_packet_socket("vx1");
	uint8_t want[1514], got[2048], *data;

	assert_true(view->up);
	wire_send("vx1", mac_guest, 100, ++seed);
	expect_rx(f, 0, mac_guest, 100, seed, 0, f->nic_conf.mode == CONF_NIC_STEERED);

	data = xsk_tx_reserve(view->queues[0]);
	assert_non_null(data);
	netenv_frame(data, sizeof(want), mac_other, seed);
	netenv_frame(want, sizeof(want), mac_other, seed);
	xsk_tx_submit(view->queues[0], sizeof(want));
	xsk_tx_flush(view->queues[0]);
	while (netenv_packet_recv(fd, got, sizeof(got), 1000) != sizeof(want))
		; /* its own frame to the guest is not one of them: outgoing */
	assert_memory_equal(got, want, sizeof(want));
	close(fd);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->nic_conf = (struct conf_nic){
		.name = strdup("vx0"),
		.mode = CONF_NIC_STEERED,
		.miss = CONF_MISS_PASS,
		.no_daemon = CONF_MISS_DROP,
		.ring_size = 256,
	};
	f->conf.nics = &f->nic_conf;
	f->conf.n_nics = 1;
	f->conf.pin_dir = strdup(NETENV_PIN_DIR);
	assert_int_equal(loop_new(&f->loop), 0);
	netenv_veth("vx0", "vx1", 1, 1500);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	nic_free(f->nic);
	loop_free(f->loop);
	(void)steer_unload(NETENV_PIN_DIR, "vx0");
	free(f->nic_conf.name);
	free(f->nic_conf.redirect_to);
	free(f->conf.pin_dir);
	free(f);
	(void)system("for d in vx0 vx1 vx2 vx3 vx9; do ip link del $d; done 2>/dev/null");
	return 0;
}

/* ------------------------------------------------------------------ tests */

static void test_serves(void **state)
{
	struct fixture *f = *state;
	const struct nic_view *view;

	start(f);
	assert_int_equal(f->nic->state, NIC_UP);
	assert_int_equal(f->nic->ifindex, if_nametoindex("vx0"));
	assert_int_equal(f->nic->mtu, 1500);
	assert_string_equal(f->nic->driver, "veth");
	assert_false(f->nic->zerocopy);
	assert_null(f->nic->last_error);
	view = nic_view_get(f->nic);
	assert_int_equal(view->n_queues, 1);
	assert_int_equal(view->max_frame, 1518);
	assert_int_equal(view->queues[0]->frame_size, 2048);
	assert_non_null(view->tap);
	assert_null(view->redirect);
	expect_guest_traffic(f);
	/* Unicast for addresses that are not the device's must reach XDP on a real NIC, too. */
	netenv_run("ip -d link show vx0 | grep -q 'promiscuity 1'");
}

/* Before the table is filled no guest's frame comes in. */
static void test_table_first(void **state)
{
	struct steer_counter v[STEER_N_VERDICTS];
	struct fixture *f = *state;
	char *why = NULL;

	f->nic_conf.miss = CONF_MISS_DROP;
	assert_int_equal(nic_start(f, &why), 0);
	wire_send("vx1", mac_bcast, 60, 1);
	assert_int_equal(steer_read_verdicts(f->nic->steer, v), 0);
	assert_int_equal(v[STEER_V_DROP].frames, 1);
	assert_int_equal(v[STEER_V_GROUP].frames, 0);
	set_table(f);
	wire_send("vx1", mac_bcast, 60, 2);
	expect_rx(f, 0, mac_bcast, 60, 2, STEER_META_GROUP, true);
}

static void test_group_tap(void **state)
{
	struct fixture *f = *state;
	struct group_frame g;
	uint8_t want[60];
	int fd;

	start(f);
	fd = netenv_packet_socket("vx0"); /* the host's stack */
	wire_send("vx1", mac_bcast, 60, 7);
	netenv_frame(want, 60, mac_bcast, 7);
	assert_int_equal(poll(&(struct pollfd){.fd = group_tap_fd(nic_view_get(f->nic)->tap),
	                                       .events = POLLIN},
	                      1, 1000),
	                 1);
	assert_true(group_tap_peek(nic_view_get(f->nic)->tap, &g));
	assert_int_equal(g.len, 60);
	assert_memory_equal(g.data, want, 60);
	group_tap_release(nic_view_get(f->nic)->tap);
	assert_false(group_tap_peek(nic_view_get(f->nic)->tap, &g));
	uint8_t host[128];

	assert_int_equal(netenv_packet_recv(fd, host, sizeof(host), 1000), 60);
	close(fd);
}

static void test_dedicated(void **state)
{
	struct fixture *f = *state;
	struct steer_counter c;

	f->nic_conf.mode = CONF_NIC_DEDICATED;
	start(f);
	assert_null(nic_view_get(f->nic)->tap);
	expect_guest_traffic(f);
	wire_send("vx1", mac_bcast, 60, 3);
	expect_rx(f, 0, mac_bcast, 60, 3, 0, false);
	assert_int_equal(steer_read_port(f->nic->steer, PORT, &c), 0);
	assert_int_equal(c.frames, 2);
	assert_int_equal(c.bytes, 160);
}

static void test_internal(void **state)
{
	struct fixture *f = *state;

	f->nic_conf.mode = CONF_NIC_INTERNAL;
	free(f->nic_conf.name);
	f->nic_conf.name = strdup("no-device");
	start(f);
	assert_int_equal(f->nic->state, NIC_UP);
	assert_true(nic_view_get(f->nic)->up);
	assert_int_equal(nic_view_get(f->nic)->n_queues, 0);
	assert_null(f->nic->steer);
	nic_set_port_state(f->nic, PORT, STEER_PORT_UP);
	assert_int_equal(f->n_changed, 0);
}

static void test_absent_then_there(void **state)
{
	struct fixture *f = *state;

	netenv_run("ip link del vx0");
	start(f);
	assert_int_equal(f->nic->state, NIC_ABSENT);
	assert_non_null(f->nic->last_error);
	assert_int_equal(nic_view_get(f->nic)->n_queues, 0);
	netenv_veth("vx0", "vx1", 1, 1500);
	wait_state(f, NIC_UP, 1);
	assert_null(f->nic->last_error);
	expect_guest_traffic(f);
}

static void test_deleted_and_back(void **state)
{
	struct fixture *f = *state;

	start(f);
	for (uint32_t i = 0; i < 3; i++) {
		netenv_run("ip link del vx0");
		wait_state(f, NIC_ABSENT, i + 1);
		assert_int_equal(nic_view_get(f->nic)->n_queues, 0);
		assert_false(nic_view_get(f->nic)->up);
		assert_int_equal(f->nic->ifindex, 0);
		assert_null(f->nic->steer);
		netenv_veth("vx0", "vx1", 1, 1500);
		wait_state(f, NIC_UP, i + 2);
		assert_true(steer_is_adopted(f->nic->steer));
		expect_guest_traffic(f);
	}
	/* Deleted and made again before we look: the index tells. */
	netenv_run("ip link del vx0");
	netenv_veth("vx0", "vx1", 1, 1500);
	wait_state(f, NIC_UP, 5);
	expect_guest_traffic(f);
}

static void test_renamed(void **state)
{
	struct fixture *f = *state;

	start(f);
	netenv_run("ip link set dev vx0 down; ip link set dev vx0 name vx9");
	wait_state(f, NIC_ABSENT, 1);
	assert_int_equal(netenv_attached("vx9", NULL), 0);
	netenv_run("ip link set dev vx9 name vx0; ip link set dev vx0 up");
	wait_state(f, NIC_UP, 2);
	expect_guest_traffic(f);
	/* Another device takes the name. */
	netenv_run("ip link set dev vx0 down; ip link set dev vx0 name vx9; ip link del vx9");
	netenv_veth("vx0", "vx1", 1, 1500);
	wait_state(f, NIC_UP, 3);
	expect_guest_traffic(f);
}

static void test_link_states(void **state)
{
	struct fixture *f = *state;

	start(f);
	netenv_run("ip link set dev vx1 down");
	wait_state(f, NIC_DOWN, 1);
	assert_false(nic_view_get(f->nic)->up);
	assert_int_equal(nic_view_get(f->nic)->n_queues, 1);
	netenv_run("ip link set dev vx1 up");
	wait_state(f, NIC_UP, 1);
	netenv_run("ip link set dev vx0 down");
	wait_state(f, NIC_DOWN, 1);
	netenv_run("ip link set dev vx0 up");
	wait_state(f, NIC_UP, 1);
	assert_int_equal(f->nic->n_resets, 1);
	expect_guest_traffic(f);
}

static void set_mtu(unsigned int mtu)
{
	netenv_run("ip link set dev vx0 mtu %u; ip link set dev vx1 mtu %u", mtu, mtu);
}

static void test_mtu(void **state)
{
	struct fixture *f = *state;

	start(f);
	set_mtu(1770); /* the largest for small chunks */
	settle(f);
	assert_int_equal(f->nic->n_resets, 1);
	assert_int_equal(f->nic->mtu, 1770);
	assert_int_equal(nic_view_get(f->nic)->max_frame, 1788);
	set_mtu(1771);
	wait_state(f, NIC_UP, 2);
	assert_int_equal(nic_view_get(f->nic)->queues[0]->frame_size, 4096);
	set_mtu(3818);
	settle(f);
	assert_int_equal(f->nic->n_resets, 2);
	wire_send("vx1", mac_guest, 3818 + 14, 9);
	expect_rx(f, 0, mac_guest, 3818 + 14, 9, 0, true);
	set_mtu(3819);
	wait_state(f, NIC_FAILED, 2);
	assert_non_null(strstr(f->nic->last_error, "MTU 3819 is too large"));
	assert_non_null(strstr(f->nic->last_error, "3818"));
	assert_int_equal(nic_view_get(f->nic)->n_queues, 0);
	set_mtu(1500);
	wait_state(f, NIC_UP, 3);
	expect_guest_traffic(f);
}

static void test_queues(void **state)
{
	struct fixture *f = *state;
	char *why = NULL;

	netenv_run("ip link del vx0");
	netenv_veth("vx0", "vx1", 3, 1500);
	f->nic_conf.first_queue = 1;
	start(f);
	assert_int_equal(nic_view_get(f->nic)->n_queues, 2);
	assert_int_equal(nic_view_get(f->nic)->queues[0]->queue, 1);
	assert_int_equal(nic_view_get(f->nic)->queues[1]->queue, 2);
	/* Fewer queues than are configured is told, not survived by accident. */
	nic_free(f->nic);
	f->nic = NULL;
	f->nic_conf.queues = 3;
	assert_int_equal(nic_start(f, &why), 0);
	assert_int_equal(f->nic->state, NIC_FAILED);
	assert_non_null(strstr(f->nic->last_error, "queues 1 to 3"));
	assert_int_equal(nic_view_get(f->nic)->n_queues, 0);
}

static void test_two_daemons(void **state)
{
	struct fixture *f = *state;
	struct nic *second = NULL;
	char *why = NULL, pid[32];

	start(f);
	assert_int_equal(nic_new(&f->conf, 0, f->loop, &ops, f, &second, &why), -EBUSY);
	snprintf(pid, sizeof(pid), "pid %d", (int)getpid());
	assert_non_null(strstr(why, "nic vx0"));
	assert_non_null(strstr(why, pid));
	assert_null(second);
	free(why);
	expect_guest_traffic(f);
	/* And the lock goes with its holder. */
	nic_free(f->nic);
	f->nic = NULL;
	start(f);
	assert_true(steer_is_adopted(f->nic->steer));
	expect_guest_traffic(f);
}

static void test_hook_taken(void **state)
{
	struct fixture *f = *state;
	int link = netenv_foreign_link("vx0");
	char *why = NULL, id[32];

	snprintf(id, sizeof(id), "id %u", netenv_attached("vx0", NULL));
	assert_int_equal(nic_start(f, &why), -EBUSY);
	assert_non_null(strstr(why, "another XDP program"));
	assert_non_null(strstr(why, id));
	assert_non_null(strstr(why, "foreigner"));
	free(why);
	assert_null(f->nic);
	close(link);
	netenv_wait_detached("vx0", NULL);
	start(f);
	expect_guest_traffic(f);
}

/* Somebody detached it by force: found at the next change of the device. */
static void test_program_detached(void **state)
{
	struct fixture *f = *state;
	int link;

	start(f);
	link = bpf_obj_get(NETENV_PIN_DIR "/vx0/link");
	assert_true(link >= 0);
	assert_int_equal(bpf_link_detach(link), 0);
	close(link);
	assert_int_equal(netenv_attached("vx0", NULL), 0);
	netenv_run("ip link set dev vx1 down; ip link set dev vx1 up");
	wait_state(f, NIC_UP, 2);
	expect_guest_traffic(f);
}

/* A socket of somebody else on our queue: told, retried, and served when it is gone. */
static void test_queue_taken(void **state)
{
	const struct xsk_queue_params params = {.ifindex = if_nametoindex("vx0"),
	                                        .ring_size = 64,
	                                        .frame_size = 2048,
	                                        .node = MEM_NODE_ANY};
	struct fixture *f = *state;
	struct xsk_queue *other;

	assert_int_equal(xsk_queue_open(&params, &other, NULL), 0);
	start(f);
	assert_int_equal(f->nic->state, NIC_FAILED);
	assert_non_null(strstr(f->nic->last_error, "another AF_XDP socket"));
	xsk_queue_close(other);
	wait_state(f, NIC_UP, 1);
	expect_guest_traffic(f);
}

/* miss: redirect works in both directions and group frames can be handed on. */
static void test_redirect(void **state)
{
	struct steer_counter v[STEER_N_VERDICTS];
	struct fixture *f = *state;
	const struct nic_view *view;
	uint8_t want[80], got[2048];
	int wire, other;

	netenv_veth("vx2", "vx3", 1, 1500);
	netenv_run("ethtool -K vx1 gro on; ethtool -K vx3 gro on");
	f->nic_conf.miss = CONF_MISS_REDIRECT;
	f->nic_conf.redirect_to = strdup("vx2");
	start(f);
	view = nic_view_get(f->nic);
	assert_null(view->tap);
	assert_non_null(view->redirect);
	assert_int_not_equal(netenv_attached("vx2", NULL), 0);
	wire = netenv_packet_socket("vx1");
	other = netenv_packet_socket("vx3");

	wire_send("vx1", mac_other, 80, 1);
	netenv_frame(want, 80, mac_other, 1);
	assert_int_equal(netenv_packet_recv(other, got, sizeof(got), 1000), 80);
	assert_memory_equal(got, want, 80);

	wire_send("vx3", mac_other, 80, 2);
	netenv_frame(want, 80, mac_other, 2);
	assert_int_equal(netenv_packet_recv(wire, got, sizeof(got), 1000), 80);
	assert_memory_equal(got, want, 80);

	wire_send("vx1", mac_bcast, 80, 3);
	expect_rx(f, 0, mac_bcast, 80, 3, STEER_META_GROUP, true);
	netenv_frame(want, 80, mac_bcast, 3);
	assert_int_equal(group_tap_send(view->redirect, want, 80), 0);
	assert_int_equal(netenv_packet_recv(other, got, sizeof(got), 1000), 80);
	assert_memory_equal(got, want, 80);

	expect_guest_traffic(f);
	assert_int_equal(steer_read_verdicts(f->nic->steer, v), 0);
	assert_int_equal(v[STEER_V_REDIRECT].frames, 1);
	assert_int_equal(v[STEER_V_BACK].frames, 1);
	assert_int_equal(v[STEER_V_GROUP].frames, 1);
	close(wire);
	close(other);

	/* The other device goes and comes back. */
	netenv_run("ip link del vx2");
	wait_state(f, NIC_FAILED, 1);
	assert_non_null(strstr(f->nic->last_error, "redirect-to device vx2"));
	netenv_veth("vx2", "vx3", 1, 1500);
	wait_state(f, NIC_UP, 2);
	assert_int_not_equal(netenv_attached("vx2", NULL), 0);
	expect_guest_traffic(f);
}

static void test_generic(void **state)
{
	struct fixture *f = *state;
	bool generic;

	f->nic_conf.xdp_mode = CONF_XDP_GENERIC;
	start(f);
	assert_int_not_equal(netenv_attached("vx0", &generic), 0);
	assert_true(generic);
	expect_guest_traffic(f);
}

static void test_zero_copy_demanded(void **state)
{
	struct fixture *f = *state;
	char *why = NULL;

	f->nic_conf.zero_copy = CONF_ZC_ON;
	assert_int_equal(nic_start(f, &why), 0);
	assert_int_equal(f->nic->state, NIC_FAILED);
	assert_non_null(strstr(f->nic->last_error, "zero copy"));
}

/* A device in another namespace is not ours: the program goes, and returns with the device. */
static void test_moved_to_other_namespace(void **state)
{
	struct fixture *f = *state;
	int ready[2];
	char c = 0;
	pid_t pid;

	start(f);
	assert_int_equal(pipe(ready), 0);
	pid = fork();
	if (!pid) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)unshare(CLONE_NEWNET);
		/* Copies of the nic's descriptors would keep its lock and its sockets alive. */
		(void)dup2(ready[1], 3);
		(void)close_range(4, ~0u, 0);
		(void)!write(3, &c, 1);
		for (;;)
			pause();
	}
	assert_int_equal(read(ready[0], &c, 1), 1);
	netenv_run("ip link set dev vx0 netns %d", (int)pid);
	wait_state(f, NIC_ABSENT, 1);
	/* It is there, and without the program: whatever grep would not find. */
	netenv_run("link=$(nsenter -n -t %d ip link show dev vx0) && "
	           "case $link in *prog/xdp*) false;; esac",
	           (int)pid);
	netenv_run("nsenter -n -t %d ip link set dev vx0 netns %d", (int)pid, (int)getpid());
	netenv_run("ip link set dev vx0 up");
	wait_state(f, NIC_UP, 2);
	expect_guest_traffic(f);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	close(ready[0]);
	close(ready[1]);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_serves),
		TEST(test_table_first),
		TEST(test_group_tap),
		TEST(test_dedicated),
		TEST(test_internal),
		TEST(test_absent_then_there),
		TEST(test_deleted_and_back),
		TEST(test_renamed),
		TEST(test_link_states),
		TEST(test_mtu),
		TEST(test_queues),
		TEST(test_two_daemons),
		TEST(test_hook_taken),
		TEST(test_program_detached),
		TEST(test_queue_taken),
		TEST(test_redirect),
		TEST(test_generic),
		TEST(test_zero_copy_demanded),
		TEST(test_moved_to_other_namespace),
	};

	netenv_enter();
	log_init(LOG_LEVEL_WARN);
	return cmocka_run_group_tests_name("nic", tests, NULL, NULL);
}
