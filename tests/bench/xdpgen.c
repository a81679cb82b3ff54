// SPDX-License-Identifier: BSD-2-Clause
/*
 * xdpgen.c - fill a veth device with frames, as fast as a CPU can
 *
 *   xdpgen DEVICE DESTINATION-MAC BYTES
 *
 * The frames come out of the other end of DEVICE, which must have NAPI (an XDP program, or GRO),
 * until a signal ends it. They never become socket buffers: the kernel's test facility for XDP
 * programs makes them in "live" mode and the program, which is just "XDP_TX", sends them out of
 * DEVICE. One call runs for ever, since tearing one down takes some 20 ms. Nothing is attached to
 * DEVICE.
 *
 * It keeps one CPU busy, so it has to share that of the guest, which then must sleep between its
 * turns; frames that find no room are dropped by whoever has none.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/bpf.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/bpf.h>

#include "vfe_frame.h"

enum { MAX_BYTES = 3000, BATCH = 64 };

static void on_signal(int sig)
{
	(void)sig; /* ends the system call */
}

static int load_program(void)
{
	/* r0 = XDP_TX; exit */
	const struct bpf_insn insns[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = XDP_TX},
		{.code = BPF_JMP | BPF_EXIT},
	};

	return bpf_prog_load(BPF_PROG_TYPE_XDP, "bench_gen", "Dual BSD/GPL", insns,
	                     sizeof(insns) / sizeof(insns[0]), NULL);
}

static int generate(int prog, uint32_t ifindex, const char *frame, uint32_t len)
{
	struct xdp_md ctx = {.data_end = len, .ingress_ifindex = ifindex};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = len, .ctx_in = &ctx,
	            .ctx_size_in = sizeof(ctx), .repeat = 1 << 30, .batch_size = BATCH,
	            .flags = BPF_F_TEST_XDP_LIVE_FRAMES);
	int err;

	do {
		err = bpf_prog_test_run_opts(prog, &opts);
	} while (!err);
	return err == -EINTR ? 0 : err;
}

int main(int argc, char **argv)
{
	struct sigaction act = {.sa_handler = on_signal};
	struct vfe_mac mac;
	char frame[MAX_BYTES] = {0};
	uint32_t ifindex;
	long len;
	int prog, err;

	if (argc != 4 || !vfe_mac_parse(argv[2], &mac)) {
		fputs("usage: xdpgen DEVICE DESTINATION-MAC BYTES\n", stderr);
		return 2;
	}
	len = strtol(argv[3], NULL, 10);
	ifindex = if_nametoindex(argv[1]);
	if (!ifindex || len < VFE_FRAME_MIN || len > MAX_BYTES) {
		fprintf(stderr, "xdpgen: %s\n", ifindex ? "bad length" : "no such device");
		return 2;
	}
	vfe_frame_build(&(struct vfe_stream){.dst = mac, .src = {{2, 0, 0, 0, 0, 0xee}}}, 0, frame,
	                (uint32_t)len);
	sigaction(SIGINT, &act, NULL);
	sigaction(SIGTERM, &act, NULL);
	prog = load_program();
	err = prog < 0 ? prog : generate(prog, ifindex, frame, (uint32_t)len);
	if (err) {
		fprintf(stderr, "xdpgen: %s: %s\n", prog < 0 ? "program" : argv[1], strerror(-err));
		return 1;
	}
	return 0;
}
