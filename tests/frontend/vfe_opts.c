// SPDX-License-Identifier: BSD-2-Clause
/* vfe_opts.c - command line of the test front end */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vfe_args.h"
#include "vfe_opts.h"

struct bit_name {
	const char *name;
	unsigned int bit;
};

static const struct bit_name feature_names[] = {
	{"csum", VFE_NET_F_CSUM},
	{"guest_csum", VFE_NET_F_GUEST_CSUM},
	{"mtu", VFE_NET_F_MTU},
	{"mrg_rxbuf", VFE_NET_F_MRG_RXBUF},
	{"mq", VFE_NET_F_MQ},
	{"any_layout", VFE_F_ANY_LAYOUT},
	{"indirect_desc", VFE_F_INDIRECT_DESC},
	{"event_idx", VFE_F_EVENT_IDX},
	{"protocol_features", VFE_F_PROTOCOL_FEATURES},
	{"version_1", VFE_F_VERSION_1},
	{"ring_packed", VFE_F_RING_PACKED},
	{"in_order", VFE_F_IN_ORDER},
	{NULL, 0},
};

static const struct bit_name protocol_names[] = {
	{"mq", VFE_PF_MQ},           {"reply_ack", VFE_PF_REPLY_ACK},
	{"net_mtu", VFE_PF_NET_MTU}, {"mem_slots", VFE_PF_CONFIGURE_MEM_SLOTS},
	{"status", VFE_PF_STATUS},   {NULL, 0},
};

static const char *const order_names[VFE_N_ORDERS] = {"qemu", "virtio-user", "cloud-hypervisor"};
static const char *const resume_names[VFE_N_RESUMES] = {"used", "old", "zero", "avail"};
static const char *const churn_names[VFE_N_CHURNS] = {"none", "restart", "reset", "reconnect",
                                                      "disable"};

static void usage(FILE *out)
{
	fputs("usage: vfe [options] MODE [options]\n"
	      "\n"
	      "An emulated guest: a vhost-user front end with a virtio-net driver, for tests.\n"
	      "Prints JSON lines: {\"event\": \"ready\"} once the device runs, {\"event\": "
	      "\"result\"} at the\n"
	      "end. Exit status 0: expectations hold; 1: they do not; 2: usage.\n"
	      "\n"
	      "Modes\n"
	      "  probe   negotiate, start, stop, show what was negotiated\n"
	      "  tx      send --count frames to --dst\n"
	      "  rx      receive until --expect good frames came\n"
	      "  echo    send each frame back to its sender, for --duration-ms\n"
	      "  host    answer ARP and ICMP echo as --ip; --ping IP pings\n"
	      "  pair    a second device on --peer-socket; send from the first to the second\n"
	      "          (SIGTERM: stop sending; what was sent has to arrive, and --least frames)\n"
	      "\n"
	      "Device\n"
	      "  --socket PATH            vhost-user socket\n"
	      "  --listen                 wait for the back end to connect\n"
	      "  --connect-timeout-ms N   how long to wait for the connection (5000)\n"
	      "  --reply-timeout-ms N     limit of each message (5000)\n"
	      "  --order qemu|virtio-user|cloud-hypervisor\n"
	      "  --features LIST          from the default: name, -name, all, none, 0x...: csum "
	      "guest_csum\n"
	      "                           mtu mrg_rxbuf mq any_layout indirect_desc event_idx\n"
	      "                           protocol_features version_1 ring_packed in_order\n"
	      "  --protocol-features LIST likewise: mq reply_ack net_mtu mem_slots status\n"
	      "  --queues N               queue pairs (1)      --enabled N   of these enabled "
	      "(all)\n"
	      "  --ring N                 descriptors (256)    --mtu N       NET_SET_MTU\n"
	      "  --packed                 packed rings, or fail: of any size, too\n"
	      "  --iommu                  I/O virtual addresses, or fail\n"
	      "  --iommu-flush-ms N       ... all of them invalidated so often\n"
	      "  --regions N              memory regions (1)   --mem MIB     guest memory\n"
	      "  --mmap-offset N          of each region in its file   --gpa N   of the first "
	      "region\n"
	      "  --gpa-gap N              hole between regions         --hugepages\n"
	      "  --rx-size N              bytes of a receive buffer (2048)\n"
	      "  --rx-pieces N            descriptors of one  --rx-hdr-first  --rx-indirect\n"
	      "  --tx-pieces N            data descriptors of a frame (1)\n"
	      "  --tx-hdr-apart           header in its own descriptor\n"
	      "  --tx-indirect            through an indirect table\n"
	      "  --tx-mix                 all of these in turn\n"
	      "  --lenient                accept num_buffers != 1 without mrg_rxbuf\n"
	      "  --interrupts             sleep until called, instead of polling\n"
	      "\n"
	      "Frames\n"
	      "  --mac MAC  --dst MAC  --vlan ID  --ethertype N  --id N (stream number)\n"
	      "  --size N | N-M           bytes without FCS (64); a range: all sizes in turn\n"
	      "  --count N (1000)  --rate PPS  --expect N  --timeout-ms N (10000)  --settle-ms N "
	      "(50)\n"
	      "  --duration-ms N          echo, host: how long (0: until SIGTERM)\n"
	      "\n"
	      "Host\n"
	      "  --ip A.B.C.D[/N]  --ping A.B.C.D  --interval-ms N (10)   with --count and --size\n"
	      "\n"
	      "Pair\n"
	      "  --peer-socket PATH  --peer-mac MAC  --both  --window N (128)\n"
	      "  --least N                frames that each sender sends in any case (0)\n"
	      "  --churn restart|reset|reconnect|disable  --churn-every N frames  --churn-hot\n"
	      "  --survive                connect again when the back end is lost; implies "
	      "--allow-loss\n"
	      "  --resume used|old|zero|avail  base of a ring that goes on then (used)\n"
	      "  --allow-loss             loss alone is no failure\n",
	      out);
}

static int name_index(const char *what, const char *text, const char *const *names, int n)
{
	for (int i = 0; i < n; i++) {
		if (strcmp(text, names[i]) == 0)
			return i;
	}
	vfe_arg_die(what, text);
}

static uint64_t one_word(const char *item, const struct bit_name *names)
{
	for (; names->name; names++) {
		if (strcmp(item, names->name) == 0)
			return VFE_BIT(names->bit);
	}
	vfe_arg_die("unknown feature", item);
}

static uint64_t bits(char *list, const struct bit_name *names, uint64_t all, uint64_t word)
{
	char *save = NULL;

	for (char *item = strtok_r(list, ",", &save); item; item = strtok_r(NULL, ",", &save)) {
		if (strcmp(item, "all") == 0)
			word = all;
		else if (strcmp(item, "none") == 0)
			word = 0;
		else if (strncmp(item, "0x", 2) == 0)
			word = vfe_arg_number("features", item, 0, UINT64_MAX);
		else if (*item == '-')
			word &= ~one_word(item + 1, names);
		else
			word |= one_word(item + (*item == '+'), names);
	}
	return word;
}

static void sizes(const char *text, struct vfe_opts *o)
{
	unsigned int a, b;
	char end;

	if (sscanf(text, "%u-%u%c", &a, &b, &end) != 2) {
		a = (unsigned int)vfe_arg_number("--size", text, VFE_FRAME_MIN, VFE_HOST_MTU_MAX);
		b = a;
	}
	if (a < VFE_FRAME_MIN || b < a || b > VFE_HOST_MTU_MAX)
		vfe_arg_die("--size", text);
	o->size_min = a;
	o->size_max = b;
}

static void ip(const char *what, const char *text, uint8_t ret[4])
{
	if (!vfe_ip_parse(text, ret))
		vfe_arg_die(what, text);
}

enum opt {
	O_HELP = 'h',
	O_SOCKET = 256,
	O_LISTEN,
	O_CONNECT_TIMEOUT,
	O_REPLY_TIMEOUT,
	O_ORDER,
	O_FEATURES,
	O_PROTOCOL,
	O_QUEUES,
	O_ENABLED,
	O_RING,
	O_PACKED,
	O_IOMMU,
	O_IOMMU_FLUSH,
	O_MTU,
	O_REGIONS,
	O_MEM,
	O_MMAP_OFFSET,
	O_GPA,
	O_GPA_GAP,
	O_HUGE,
	O_RX_SIZE,
	O_RX_PIECES,
	O_RX_HDR_FIRST,
	O_RX_INDIRECT,
	O_TX_PIECES,
	O_TX_HDR_APART,
	O_TX_INDIRECT,
	O_TX_MIX,
	O_LENIENT,
	O_INTERRUPTS,
	O_MAC,
	O_DST,
	O_VLAN,
	O_ETHERTYPE,
	O_ID,
	O_SIZE,
	O_COUNT,
	O_RATE,
	O_EXPECT,
	O_TIMEOUT,
	O_SETTLE,
	O_DURATION,
	O_IP,
	O_PING,
	O_INTERVAL,
	O_PEER_SOCKET,
	O_PEER_MAC,
	O_BOTH,
	O_WINDOW,
	O_LEAST,
	O_CHURN,
	O_CHURN_EVERY,
	O_CHURN_HOT,
	O_ALLOW_LOSS,
	O_SURVIVE,
	O_RESUME,
};

#define ARG required_argument
static const struct option options[] = {
	{"help", no_argument, NULL, O_HELP},
	{"socket", ARG, NULL, O_SOCKET},
	{"listen", no_argument, NULL, O_LISTEN},
	{"connect-timeout-ms", ARG, NULL, O_CONNECT_TIMEOUT},
	{"reply-timeout-ms", ARG, NULL, O_REPLY_TIMEOUT},
	{"order", ARG, NULL, O_ORDER},
	{"features", ARG, NULL, O_FEATURES},
	{"protocol-features", ARG, NULL, O_PROTOCOL},
	{"queues", ARG, NULL, O_QUEUES},
	{"enabled", ARG, NULL, O_ENABLED},
	{"ring", ARG, NULL, O_RING},
	{"packed", no_argument, NULL, O_PACKED},
	{"iommu", no_argument, NULL, O_IOMMU},
	{"iommu-flush-ms", ARG, NULL, O_IOMMU_FLUSH},
	{"mtu", ARG, NULL, O_MTU},
	{"regions", ARG, NULL, O_REGIONS},
	{"mem", ARG, NULL, O_MEM},
	{"mmap-offset", ARG, NULL, O_MMAP_OFFSET},
	{"gpa", ARG, NULL, O_GPA},
	{"gpa-gap", ARG, NULL, O_GPA_GAP},
	{"hugepages", no_argument, NULL, O_HUGE},
	{"rx-size", ARG, NULL, O_RX_SIZE},
	{"rx-pieces", ARG, NULL, O_RX_PIECES},
	{"rx-hdr-first", no_argument, NULL, O_RX_HDR_FIRST},
	{"rx-indirect", no_argument, NULL, O_RX_INDIRECT},
	{"tx-pieces", ARG, NULL, O_TX_PIECES},
	{"tx-hdr-apart", no_argument, NULL, O_TX_HDR_APART},
	{"tx-indirect", no_argument, NULL, O_TX_INDIRECT},
	{"tx-mix", no_argument, NULL, O_TX_MIX},
	{"lenient", no_argument, NULL, O_LENIENT},
	{"interrupts", no_argument, NULL, O_INTERRUPTS},
	{"mac", ARG, NULL, O_MAC},
	{"dst", ARG, NULL, O_DST},
	{"vlan", ARG, NULL, O_VLAN},
	{"ethertype", ARG, NULL, O_ETHERTYPE},
	{"id", ARG, NULL, O_ID},
	{"size", ARG, NULL, O_SIZE},
	{"count", ARG, NULL, O_COUNT},
	{"rate", ARG, NULL, O_RATE},
	{"expect", ARG, NULL, O_EXPECT},
	{"timeout-ms", ARG, NULL, O_TIMEOUT},
	{"settle-ms", ARG, NULL, O_SETTLE},
	{"duration-ms", ARG, NULL, O_DURATION},
	{"ip", ARG, NULL, O_IP},
	{"ping", ARG, NULL, O_PING},
	{"interval-ms", ARG, NULL, O_INTERVAL},
	{"peer-socket", ARG, NULL, O_PEER_SOCKET},
	{"peer-mac", ARG, NULL, O_PEER_MAC},
	{"both", no_argument, NULL, O_BOTH},
	{"window", ARG, NULL, O_WINDOW},
	{"least", ARG, NULL, O_LEAST},
	{"churn", ARG, NULL, O_CHURN},
	{"churn-every", ARG, NULL, O_CHURN_EVERY},
	{"churn-hot", no_argument, NULL, O_CHURN_HOT},
	{"allow-loss", no_argument, NULL, O_ALLOW_LOSS},
	{"survive", no_argument, NULL, O_SURVIVE},
	{"resume", ARG, NULL, O_RESUME},
	{NULL, 0, NULL, 0},
};

/* Options of the device itself. False: not one of these. */
static bool device_option(int c, struct vfe_opts *o)
{
	struct vfe_config *cfg = &o->config;

	switch (c) {
	case O_SOCKET:
		cfg->socket_path = optarg;
		break;
	case O_LISTEN:
		cfg->listen = true;
		break;
	case O_CONNECT_TIMEOUT:
		cfg->timeout_ms = (int)vfe_arg_number("--connect-timeout-ms", optarg, 1, 3600000);
		break;
	case O_REPLY_TIMEOUT:
		vfe_set_timeout((int)vfe_arg_number("--reply-timeout-ms", optarg, 1, 3600000));
		break;
	case O_ORDER:
		cfg->order =
			(enum vfe_order)name_index("--order", optarg, order_names, VFE_N_ORDERS);
		break;
	case O_FEATURES:
		cfg->features = bits(optarg, feature_names, vfe_all_features(), cfg->features);
		break;
	case O_PROTOCOL:
		cfg->protocol_features = bits(optarg, protocol_names, vfe_all_protocol_features(),
		                              cfg->protocol_features);
		break;
	case O_QUEUES:
		cfg->n_pairs = (uint16_t)vfe_arg_number("--queues", optarg, 1, 128);
		break;
	case O_ENABLED:
		cfg->n_enabled = (uint16_t)vfe_arg_number("--enabled", optarg, 1, 16);
		break;
	case O_RING:
		cfg->ring_size = (uint16_t)vfe_arg_number("--ring", optarg, 1, 32768);
		break;
	case O_PACKED:
		cfg->packed = true;
		break;
	case O_IOMMU:
		cfg->iommu = true;
		break;
	case O_IOMMU_FLUSH:
		cfg->iommu_flush_ms =
			(uint32_t)vfe_arg_number("--iommu-flush-ms", optarg, 1, 60000);
		break;
	case O_MTU:
		cfg->mtu = (uint16_t)vfe_arg_number("--mtu", optarg, 1, 65535);
		break;
	case O_LENIENT:
		cfg->bufs.lenient = true;
		break;
	default:
		return false;
	}
	return true;
}

/* Options of memory and of the layout of buffers. */
static bool memory_option(int c, struct vfe_opts *o)
{
	struct vfe_config *cfg = &o->config;

	switch (c) {
	case O_REGIONS:
		cfg->n_regions = (uint32_t)vfe_arg_number("--regions", optarg, 1, VFE_MAX_REGIONS);
		break;
	case O_MEM:
		cfg->mem_size = (size_t)vfe_arg_number("--mem", optarg, 1, 65536) << 20;
		break;
	case O_MMAP_OFFSET:
		cfg->mmap_offset = vfe_arg_number("--mmap-offset", optarg, 0, UINT32_MAX);
		break;
	case O_GPA:
		cfg->gpa_base = vfe_arg_number("--gpa", optarg, 0, UINT64_MAX);
		break;
	case O_GPA_GAP:
		cfg->gpa_gap = vfe_arg_number("--gpa-gap", optarg, 0, UINT64_MAX);
		break;
	case O_HUGE:
		cfg->hugepages = true;
		break;
	case O_RX_SIZE:
		cfg->bufs.rx_size =
			(uint32_t)vfe_arg_number("--rx-size", optarg, VFE_HDR_LEN + 1, 1 << 20);
		break;
	case O_RX_PIECES:
		cfg->bufs.rx_pieces =
			(uint16_t)vfe_arg_number("--rx-pieces", optarg, 1, VFE_MAX_PIECES);
		break;
	case O_RX_HDR_FIRST:
		cfg->bufs.rx_hdr_first = true;
		break;
	case O_RX_INDIRECT:
		cfg->bufs.rx_indirect = true;
		break;
	case O_TX_PIECES:
		o->layout.pieces =
			(uint16_t)vfe_arg_number("--tx-pieces", optarg, 1, VFE_MAX_PIECES - 1);
		break;
	case O_TX_HDR_APART:
		o->layout.hdr_apart = true;
		break;
	case O_TX_INDIRECT:
		o->layout.indirect = true;
		break;
	case O_TX_MIX:
		o->mix = true;
		break;
	default:
		return false;
	}
	return true;
}

static bool frame_option(int c, struct vfe_opts *o)
{
	switch (c) {
	case O_MAC:
		vfe_arg_mac("--mac", optarg, &o->mac);
		break;
	case O_DST:
		vfe_arg_mac("--dst", optarg, &o->dst);
		break;
	case O_PEER_MAC:
		vfe_arg_mac("--peer-mac", optarg, &o->peer_mac);
		break;
	case O_VLAN:
		o->vlan = (uint16_t)vfe_arg_number("--vlan", optarg, 0, 4094);
		break;
	case O_ETHERTYPE:
		o->ethertype = (uint16_t)vfe_arg_number("--ethertype", optarg, 0x600, 0xffff);
		break;
	case O_ID:
		o->id = (uint32_t)vfe_arg_number("--id", optarg, 0, UINT32_MAX);
		break;
	case O_SIZE:
		sizes(optarg, o);
		break;
	case O_COUNT:
		o->count = vfe_arg_number("--count", optarg, 0, UINT32_MAX);
		o->count_given = true;
		break;
	case O_RATE:
		o->rate = (uint32_t)vfe_arg_number("--rate", optarg, 1, 100000000);
		break;
	case O_EXPECT:
		o->expect = vfe_arg_number("--expect", optarg, 0, UINT32_MAX);
		o->expect_given = true;
		break;
	default:
		return false;
	}
	return true;
}

static bool run_option(int c, struct vfe_opts *o)
{
	switch (c) {
	case O_INTERRUPTS:
		o->interrupts = true;
		break;
	case O_TIMEOUT:
		o->run_timeout_ms = (int)vfe_arg_number("--timeout-ms", optarg, 1, 86400000);
		break;
	case O_SETTLE:
		o->settle_ms = (int)vfe_arg_number("--settle-ms", optarg, 0, 60000);
		break;
	case O_DURATION:
		o->duration_ms = (int)vfe_arg_number("--duration-ms", optarg, 0, 86400000);
		break;
	case O_IP:
		ip("--ip", optarg, o->ip);
		o->has_ip = true;
		break;
	case O_PING:
		ip("--ping", optarg, o->ping_ip);
		o->has_ping = true;
		break;
	case O_INTERVAL:
		o->interval_ms = (int)vfe_arg_number("--interval-ms", optarg, 0, 60000);
		break;
	case O_PEER_SOCKET:
		o->peer_socket = optarg;
		break;
	case O_BOTH:
		o->both = true;
		break;
	case O_WINDOW:
		o->window = (uint32_t)vfe_arg_number("--window", optarg, 1, 32768);
		break;
	case O_LEAST:
		o->least = vfe_arg_number("--least", optarg, 0, UINT32_MAX);
		break;
	case O_CHURN:
		o->churn = (enum vfe_churn)name_index("--churn", optarg, churn_names, VFE_N_CHURNS);
		break;
	case O_CHURN_EVERY:
		o->churn_every = vfe_arg_number("--churn-every", optarg, 1, UINT32_MAX);
		break;
	case O_CHURN_HOT:
		o->churn_hot = true;
		break;
	case O_SURVIVE:
		o->survive = o->allow_loss = o->config.bufs.unused_ok = true;
		break;
	case O_RESUME:
		o->config.resume = (enum vfe_resume)name_index("--resume", optarg, resume_names,
		                                               VFE_N_RESUMES);
		break;
	case O_ALLOW_LOSS:
		o->allow_loss = true;
		break;
	default:
		return false;
	}
	return true;
}

static void check_needs(struct vfe_opts *o)
{
	if (!o->config.socket_path)
		vfe_arg_die("missing option", "--socket");
	if (strcmp(o->mode, "pair") == 0 && !o->peer_socket)
		vfe_arg_die("missing option", "--peer-socket");
	if (strcmp(o->mode, "host") == 0 && !o->has_ip)
		vfe_arg_die("missing option", "--ip");
	if (strcmp(o->mode, "rx") == 0 && !o->expect_given)
		vfe_arg_die("missing option", "--expect");
	if (o->churn && !o->churn_every)
		vfe_arg_die("missing option", "--churn-every");
	/* Room for the largest frame to send; received ones may be spread over several buffers. */
	if (!o->config.bufs.tx_size && o->size_max + VFE_HDR_LEN > 2048)
		o->config.bufs.tx_size = o->size_max + VFE_HDR_LEN;
}

void vfe_opts_parse(int argc, char **argv, struct vfe_opts *o)
{
	int c;

	*o = (struct vfe_opts){
		.config = {.features = vfe_default_features(),
	                   .protocol_features = vfe_all_protocol_features(),
	                   .timeout_ms = VFE_DEFAULT_TIMEOUT_MS},
		.mac = {{0x02, 0, 0, 0, 0, 0x01}},
		.peer_mac = {{0x02, 0, 0, 0, 0, 0x02}},
		.dst = {{0x02, 0, 0, 0, 0, 0x02}},
		.id = 1,
		.size_min = 64,
		.size_max = 64,
		.count = 1000,
		.window = 128,
		.run_timeout_ms = 10000,
		.settle_ms = 50,
		.interval_ms = 10,
	};
	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (c == O_HELP) {
			usage(stdout);
			exit(0);
		}
		if (!device_option(c, o) && !memory_option(c, o) && !frame_option(c, o) &&
		    !run_option(c, o)) {
			usage(stderr);
			exit(2);
		}
	}
	if (optind != argc - 1) {
		usage(stderr);
		exit(2);
	}
	o->mode = argv[optind];
	check_needs(o);
}
