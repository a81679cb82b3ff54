// SPDX-License-Identifier: BSD-2-Clause
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "netenv.h"

static void netenv_skip(const char *why)
{
	fprintf(stderr, "skipped: %s (%s)\n", why, strerror(errno));
	exit(77);
}

/* return XDP_PASS */
static int netenv_load_pass(void)
{
	const struct bpf_insn code[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = XDP_PASS},
		{.code = BPF_JMP | BPF_EXIT},
	};

	return bpf_prog_load(BPF_PROG_TYPE_XDP, "foreigner", "GPL", code, ARRAY_SIZE(code), NULL);
}

void netenv_enter(void)
{
	int fd;

	if (geteuid() != 0)
		netenv_skip("needs root");
	if (unshare(CLONE_NEWNET | CLONE_NEWNS) < 0)
		netenv_skip("needs network and mount namespaces");
	if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		netenv_skip("cannot make mounts private");
	if (mount("bpf", "/sys/fs/bpf", "bpf", 0, NULL) < 0)
		netenv_skip("needs a BPF file system");
	fd = netenv_load_pass();
	if (fd < 0)
		netenv_skip("cannot load XDP programs");
	close(fd);
	fd = socket(AF_XDP, SOCK_RAW, 0);
	if (fd < 0)
		netenv_skip("needs AF_XDP sockets");
	close(fd);
	if (system("ip link set lo up") != 0)
		netenv_skip("needs iproute2");
}

int netenv_new_netns(void)
{
	int fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	return fd;
}

void netenv_back(int fd)
{
	assert_int_equal(setns(fd, CLONE_NEWNET), 0);
	close(fd);
}

void netenv_run(const char *fmt, ...)
{
	char cmd[512];
	va_list ap;
	int status;

	va_start(ap, fmt);
	(void)vsnprintf(cmd, sizeof(cmd), fmt, ap);
	va_end(ap);
	status = system(cmd);
	if (status != 0)
		fail_msg("command failed with %d: %s", status, cmd);
}

void netenv_veth(const char *a, const char *b, unsigned int n_queues, unsigned int mtu)
{
	netenv_run("ip link add %s numrxqueues %u numtxqueues %u mtu %u type veth "
	           "peer name %s numrxqueues %u numtxqueues %u mtu %u",
	           a, n_queues, n_queues, mtu, b, n_queues, n_queues, mtu);
	netenv_run("ip link set dev %s addrgenmode none", a);
	netenv_run("ip link set dev %s addrgenmode none", b);
	netenv_run("ip link set dev %s up", a);
	netenv_run("ip link set dev %s up", b);
}

int netenv_packet_socket(const char *ifname)
{
	struct sockaddr_ll addr = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_ALL),
		.sll_ifindex = (int)if_nametoindex(ifname),
	};
	int one = 1, size = 8 << 20;
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_true(fd >= 0);
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	assert_int_equal(setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof(one)), 0);
	assert_int_equal(bind(fd, (const struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

uint32_t netenv_packet_recv(int fd, uint8_t *buf, uint32_t size, int timeout_ms)
{
	struct pollfd pfd = {.fd = fd, .events = POLLIN};
	ssize_t len;

	if (poll(&pfd, 1, timeout_ms) <= 0)
		return 0;
	len = recv(fd, buf, size, MSG_TRUNC);
	return len > 0 ? (uint32_t)len : 0;
}

void netenv_frame(uint8_t *buf, uint32_t len, const uint8_t dst[6], uint8_t seed)
{
	static const uint8_t src[6] = {0x02, 0, 0, 0, 0xee, 0x01};

	assert_true(len >= ETH_HLEN);
	memcpy(buf, dst, 6);
	memcpy(buf + 6, src, 6);
	buf[12] = 0x88; /* local experimental EtherType 1: no stack answers */
	buf[13] = 0xb5;
	for (uint32_t i = ETH_HLEN; i < len; i++)
		buf[i] = (uint8_t)(seed + i * 7 + (i >> 8));
}

uint32_t netenv_attached(const char *ifname, bool *ret_generic)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, opts);

	assert_int_equal(bpf_xdp_query((int)if_nametoindex(ifname), 0, &opts), 0);
	if (ret_generic)
		*ret_generic = opts.skb_prog_id != 0;
	return opts.prog_id;
}

void netenv_wait_detached(const char *ifname, const char *link)
{
	uint64_t end = netenv_now_ms() + 20000;

	while (netenv_attached(ifname, NULL) && (!link || access(link, F_OK) < 0)) {
		assert_true(netenv_now_ms() < end);
		usleep(1000);
	}
}

int netenv_foreign_link(const char *ifname)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = XDP_FLAGS_DRV_MODE);
	int prog = netenv_load_pass();
	int link = bpf_link_create(prog, (int)if_nametoindex(ifname), BPF_XDP, &opts);

	assert_true(link >= 0);
	close(prog);
	return link;
}

uint64_t netenv_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}
