// SPDX-License-Identifier: BSD-2-Clause
/*
 * test_group_tap.c - group frames of vx0, sent from vx1 by a packet socket or by a network stack
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cmocka.h>

#include "group_tap.h"
#include "netenv.h"

#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

static const uint8_t mac_unicast[6] = {0x52, 0x54, 0, 0, 0, 0x0a};
static const uint8_t mac_mcast[6] = {0x33, 0x33, 0, 0, 0, 1};
static const uint8_t mac_bcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

#define FRAME_MAX 1522

static struct group_tap *tap;
static int wire;

static void send_raw(const uint8_t *frame, uint32_t len)
{
	assert_int_equal(send(wire, frame, len, 0), len);
}

static void send_to(const uint8_t dst[6], uint32_t len, uint8_t seed)
{
	uint8_t frame[4096];

	netenv_frame(frame, len, dst, seed);
	send_raw(frame, len);
}

static bool wait_frame(struct group_frame *g)
{
	struct pollfd pfd = {.fd = group_tap_fd(tap), .events = POLLIN};

	(void)poll(&pfd, 1, 1000);
	return group_tap_peek(tap, g);
}

static void expect_frame(const uint8_t dst[6], uint32_t len, uint8_t seed)
{
	struct group_frame g;
	uint8_t want[4096];

	assert_true(wait_frame(&g));
	netenv_frame(want, len, dst, seed);
	assert_int_equal(g.len, len);
	assert_memory_equal(g.data, want, len);
	assert_int_equal(g.vlan, 0);
	assert_false(g.partial_csum);
	group_tap_release(tap);
}

static void expect_nothing(void)
{
	struct group_frame g;

	assert_false(group_tap_peek(tap, &g));
}

static int setup(void **state)
{
	(void)state;
	netenv_veth("vx0", "vx1", 1, 3000);
	wire = netenv_packet_socket("vx1");
	return group_tap_open(if_nametoindex("vx0"), FRAME_MAX, &tap);
}

static int teardown(void **state)
{
	(void)state;
	group_tap_close(tap);
	close(wire);
	netenv_run("ip link del vx0 2>/dev/null || true");
	return 0;
}

static void test_only_group(void **state)
{
	(void)state;
	expect_nothing();
	send_to(mac_unicast, 60, 1);
	send_to(mac_bcast, 60, 2);
	send_to(mac_unicast, 60, 3);
	send_to(mac_mcast, 1514, 4);
	expect_frame(mac_bcast, 60, 2);
	expect_frame(mac_mcast, 1514, 4);
	expect_nothing();
	assert_int_equal(group_tap_dropped(tap), 0);
}

/* What this host sends out of the device is not seen. */
static void test_not_outgoing(void **state)
{
	uint8_t frame[60], got[2048];
	int fd = netenv_packet_socket("vx0");

	(void)state;
	netenv_frame(frame, sizeof(frame), mac_bcast, 1);
	assert_int_equal(send(fd, frame, sizeof(frame), 0), sizeof(frame));
	assert_int_equal(netenv_packet_recv(wire, got, sizeof(got), 1000), sizeof(frame));
	expect_nothing();
	close(fd);
}

static void test_lengths(void **state)
{
	(void)state;
	send_to(mac_bcast, FRAME_MAX, 1);
	expect_frame(mac_bcast, FRAME_MAX, 1);
	send_to(mac_bcast, FRAME_MAX + 1, 2);
	send_to(mac_bcast, 3000, 3);
	send_to(mac_bcast, 14, 4);
	expect_frame(mac_bcast, 14, 4);
	expect_nothing();
	assert_int_equal(group_tap_dropped(tap), 2);
}

/* Put a tag behind the addresses of a frame that has room for it. */
static uint32_t add_tag(uint8_t *frame, uint32_t len, uint16_t tpid, uint16_t tci)
{
	memmove(frame + 16, frame + 12, len - 12);
	frame[12] = (uint8_t)(tpid >> 8);
	frame[13] = (uint8_t)tpid;
	frame[14] = (uint8_t)(tci >> 8);
	frame[15] = (uint8_t)tci;
	return len + 4;
}

static void test_vlan(void **state)
{
	static const struct {
		uint16_t tci, vlan;
	} tags[] = {{100, 100}, {0xe064, 100}, {0x2000, 0}, {4094, 4094}};
	uint8_t plain[100], frame[128];
	struct group_frame g;

	(void)state;
	netenv_frame(plain, sizeof(plain), mac_bcast, 9);
	for (size_t i = 0; i < ARRAY_SIZE(tags); i++) {
		memcpy(frame, plain, sizeof(plain));
		send_raw(frame, add_tag(frame, sizeof(plain), 0x8100, tags[i].tci));
		assert_true(wait_frame(&g));
		assert_int_equal(g.vlan, tags[i].vlan);
		assert_int_equal(g.len, sizeof(plain));
		assert_memory_equal(g.data, plain, sizeof(plain));
		group_tap_release(tap);
	}
	/* Two tags: the outer one is taken off, the inner one is payload. */
	memcpy(frame, plain, sizeof(plain));
	add_tag(frame, sizeof(plain), 0x8100, 7);
	send_raw(frame, add_tag(frame, sizeof(plain) + 4, 0x8100, 100));
	assert_true(wait_frame(&g));
	assert_int_equal(g.vlan, 100);
	assert_int_equal(g.len, sizeof(plain) + 4);
	assert_int_equal(g.data[12] << 8 | g.data[13], 0x8100);
	assert_int_equal(g.data[15], 7);
	group_tap_release(tap);
	/* 802.1ad is for no guest, as in the steering program. */
	memcpy(frame, plain, sizeof(plain));
	send_raw(frame, add_tag(frame, sizeof(plain), 0x88a8, 100));
	send_to(mac_bcast, 60, 1);
	expect_frame(mac_bcast, 60, 1);
	assert_int_equal(group_tap_dropped(tap), 1);
}

/* A full-sized frame with a tag: the tag does not count, it is not in the ring. */
static void test_vlan_full_size(void **state)
{
	uint8_t frame[FRAME_MAX + 4];
	struct group_frame g;

	(void)state;
	netenv_frame(frame, FRAME_MAX, mac_bcast, 3);
	send_raw(frame, add_tag(frame, FRAME_MAX, 0x8100, 5));
	assert_true(wait_frame(&g));
	assert_int_equal(g.len, FRAME_MAX);
	group_tap_release(tap);
}

/* Fill the ring: what does not fit is counted, order is kept, the ring goes on. */
static void test_overrun(void **state)
{
	uint32_t got, total = 0;

	(void)state;
	for (int round = 1; round <= 3; round++) {
		struct group_frame g;
		uint64_t end = netenv_now_ms() + 2000;

		for (uint32_t i = 0; i < 400; i++)
			send_to(mac_bcast, 60 + i, (uint8_t)i);
		/* All have been delivered or dropped when the sum is right. */
		for (got = 0;
		     netenv_now_ms() < end && got + group_tap_dropped(tap) - total < 400;) {
			while (group_tap_peek(tap, &g)) {
				assert_true(g.len >= 60 + got);
				group_tap_release(tap);
				got++;
			}
		}
		assert_true(got >= 256);
		total += 400 - got;
		assert_int_equal(group_tap_dropped(tap), total);
		send_to(mac_mcast, 77, 1);
		expect_frame(mac_mcast, 77, 1);
		expect_nothing();
	}
	assert_true(total > 0);
}

/* A sender on this host that leaves the checksum to its device. */
static void send_vnet(const struct virtio_net_hdr *vnet, const uint8_t *frame, uint32_t len)
{
	const struct sockaddr_ll addr = {
		.sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex("vx1"), .sll_halen = 6};
	const struct iovec iov[2] = {
		{.iov_base = (void *)(uintptr_t)vnet, .iov_len = sizeof(*vnet)},
		{.iov_base = (void *)(uintptr_t)frame, .iov_len = len},
	};
	const struct msghdr msg = {.msg_name = (void *)(uintptr_t)&addr,
	                           .msg_namelen = sizeof(addr),
	                           .msg_iov = (struct iovec *)(uintptr_t)iov,
	                           .msg_iovlen = 2};
	int fd = socket(AF_PACKET, SOCK_RAW, 0), one = 1;

	assert_int_equal(setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof(one)), 0);
	assert_int_equal(sendmsg(fd, &msg, 0), sizeof(*vnet) + len);
	close(fd);
}

static uint32_t udp_frame(uint8_t *frame, uint32_t payload)
{
	uint32_t ip_len = 20 + 8 + payload;

	netenv_frame(frame, 14 + ip_len, mac_bcast, 1);
	frame[12] = 0x08;
	frame[13] = 0x00;
	memset(frame + 14, 0, 28);
	frame[14] = 0x45;
	frame[16] = (uint8_t)(ip_len >> 8);
	frame[17] = (uint8_t)ip_len;
	frame[22] = 64;
	frame[23] = IPPROTO_UDP;
	memcpy(frame + 26, (uint8_t[]){198, 18, 0, 1, 198, 18, 255, 255}, 8);
	frame[36] = 0x12;
	frame[38] = (uint8_t)((8 + payload) >> 8);
	frame[39] = (uint8_t)(8 + payload);
	return 14 + ip_len;
}

static void test_partial_checksum(void **state)
{
	struct virtio_net_hdr vnet = {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
	                              .csum_start = 34,
	                              .csum_offset = 6,
	                              .hdr_len = 42};
	struct group_frame g;
	uint8_t frame[2048];
	uint32_t len = udp_frame(frame, 100);

	(void)state;
	send_vnet(&vnet, frame, len);
	assert_true(wait_frame(&g));
	assert_true(g.partial_csum);
	assert_int_equal(g.csum_start, 34);
	assert_int_equal(g.csum_offset, 6);
	assert_int_equal(g.len, len);
	assert_memory_equal(g.data, frame, 40);
	group_tap_release(tap);

	/* Segmentation that nobody has done: no guest can be given that. */
	vnet.gso_type = VIRTIO_NET_HDR_GSO_UDP_L4;
	vnet.gso_size = 100;
	len = udp_frame(frame, 1000);
	send_vnet(&vnet, frame, len);
	send_to(mac_bcast, 60, 5);
	expect_frame(mac_bcast, 60, 5);
	assert_int_equal(group_tap_dropped(tap), 1);
}

static void test_send(void **state)
{
	struct group_tap *sender = NULL;
	uint8_t frame[1514], got[2048];
	struct group_frame g;

	(void)state;
	netenv_frame(frame, sizeof(frame), mac_bcast, 8);
	/* Through the receiving tap, whose socket wants a header in front, and through one that
	 * only sends. */
	assert_int_equal(group_tap_send(tap, frame, sizeof(frame)), 0);
	assert_int_equal(netenv_packet_recv(wire, got, sizeof(got), 1000), sizeof(frame));
	assert_memory_equal(got, frame, sizeof(frame));
	expect_nothing();

	assert_int_equal(group_tap_open(if_nametoindex("vx0"), 0, &sender), 0);
	assert_int_equal(group_tap_send(sender, frame, 60), 0);
	assert_int_equal(netenv_packet_recv(wire, got, sizeof(got), 1000), 60);
	assert_memory_equal(got, frame, 60);
	send_to(mac_bcast, 60, 1);
	assert_false(group_tap_peek(sender, &g));
	assert_int_equal(group_tap_dropped(sender), 0);
	assert_true(group_tap_send(sender, got, 2) < 0);
	netenv_run("ip link set dev vx0 down");
	assert_int_equal(group_tap_send(sender, frame, 60), -ENETDOWN);
	group_tap_close(sender);
}

static void test_open_errors(void **state)
{
	struct group_tap *none = NULL;

	(void)state;
	assert_int_equal(group_tap_open(999999, 1500, &none), -ENODEV);
	assert_int_equal(group_tap_open(if_nametoindex("vx0"), 1 << 20, &none), -EINVAL);
	assert_null(none);
	group_tap_close(NULL);
}

static void test_device_deleted(void **state)
{
	struct group_frame g;
	uint8_t frame[60];

	(void)state;
	send_to(mac_bcast, 60, 1);
	netenv_run("ip link del vx0");
	expect_frame(mac_bcast, 60, 1);
	assert_false(group_tap_peek(tap, &g));
	netenv_frame(frame, sizeof(frame), mac_bcast, 1);
	assert_true(group_tap_send(tap, frame, sizeof(frame)) < 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_only_group),       TEST(test_not_outgoing),
		TEST(test_lengths),          TEST(test_vlan),
		TEST(test_vlan_full_size),   TEST(test_overrun),
		TEST(test_partial_checksum), TEST(test_send),
		TEST(test_open_errors),      TEST(test_device_deleted),
	};

	netenv_enter();
	return cmocka_run_group_tests_name("group_tap", tests, NULL, NULL);
}
