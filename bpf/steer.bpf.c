// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * steer.bpf.c - who gets a frame that arrives at a nic
 *
 * Theory of operation
 * -------------------
 * Two programs share one set of maps (include/steer_abi.h):
 *
 *   steer       on the nic. A guest's unicast goes to the AF_XDP socket of the rx queue it came in
 *               on, with the port's id in front of it. Everything else meets the miss action:
 *
 *                              miss: pass     miss: drop          miss: redirect
 *       unicast, no guest      host           dropped             other device
 *       multicast, broadcast   host (*)       AF_XDP, else drop   AF_XDP, else other device
 *
 *               (*) the daemon takes its copy from a packet socket, so host and guests both see it.
 *               With the other two the daemon floods the frame and hands it on itself.
 *
 *   steer_back  on the other device of miss: redirect. What comes out of it leaves by the nic.
 *
 * A frame for a guest while no socket is bound to its queue meets config.no_daemon: dropped, or
 * passed to the host. On a dedicated nic every frame is its port's; neither metadata nor counters
 * of the port are written, since the daemon knows the port from the nic.
 *
 * Frames of another kind are never changed. A frame shorter than its Ethernet header is dropped.
 * Each frame increments exactly one verdict.
 *
 * VLAN: one 802.1Q tag counts. A priority tag (id 0) means untagged. A frame with an 802.1ad tag
 * (0x88a8) belongs to no guest. Tags that the device strips before XDP are invisible here: rx VLAN
 * offload must be off for ports with a VLAN.
 *
 * Bounds contract, steered nics: parse_eth() copies the Ethernet header and at most one tag to the
 * stack and reports the frame's address, VLAN id and whether it was long enough; no other function
 * reads packet memory. The copy goes through bpf_xdp_load_bytes() when the first buffer of a frame
 * in several buffers is shorter than the header.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#include "steer_abi.h"

#define ETH_P_8021Q  0x8100
#define ETH_P_8021AD 0x88a8
#define ETH_LEN      14
#define ETH_TAG_LEN  4
#define VLAN_ID_MASK 0x0fff

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, STEER_MAX_MACS);
	__type(key, struct steer_fdb_key);
	__type(value, struct steer_fdb_value);
} fdb SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, STEER_MAX_PORTS);
	__type(key, __u32);
	__type(value, struct steer_port);
} ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, STEER_MAX_QUEUES);
	__type(key, __u32);
	__type(value, struct steer_queue);
} queues SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, STEER_MAX_QUEUES);
	__type(key, __u32);
	__type(value, __u32);
} xsks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct steer_config);
} config SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, STEER_N_VERDICTS);
	__type(key, __u32);
	__type(value, struct steer_counter);
} verdicts SEC(".maps");

/* A hash, so that memory follows the number of ports and not of CPUs times STEER_MAX_PORTS. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, STEER_MAX_PORTS);
	__type(key, __u32);
	__type(value, struct steer_counter);
} port_stats SEC(".maps");

/* What parse_eth() found. */
struct eth_info {
	struct steer_fdb_key key;
	__u8 group;   /* multicast or broadcast */
	__u8 foreign; /* 802.1ad: for no guest */
	__u8 tagged;  /* with an id other than 0 */
};

struct eth_hdr {
	__u8 dst[6];
	__u8 src[6];
	__be16 type;
	__be16 tci;        /* if type is 802.1Q */
	__be16 inner_type; /* the same */
};

static __always_inline void count(void *map, __u32 key, __u64 len)
{
	struct steer_counter *c = bpf_map_lookup_elem(map, &key);

	if (c) {
		c->frames++;
		c->bytes += len;
	}
}

/* Read @len (constant) bytes of the frame's head. Return: 0, or negative if it has fewer. */
static __always_inline int head_read(struct xdp_md *ctx, void *head, __u32 len)
{
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;

	if (data + len > data_end)
		return bpf_xdp_load_bytes(ctx, 0, head, len);
	__builtin_memcpy(head, data, len);
	return 0;
}

static __always_inline int parse_eth(struct xdp_md *ctx, struct eth_info *info)
{
	struct eth_hdr h = {};

	if (head_read(ctx, &h, ETH_LEN) < 0)
		return -1;
	if (h.type == bpf_htons(ETH_P_8021Q)) {
		if (head_read(ctx, &h, ETH_LEN + ETH_TAG_LEN) < 0)
			return -1;
		info->key.vlan = bpf_ntohs(h.tci) & VLAN_ID_MASK;
		info->tagged = info->key.vlan != 0;
	}
	info->foreign = h.type == bpf_htons(ETH_P_8021AD);
	info->group = h.dst[0] & 1;
	__builtin_memcpy(info->key.mac, h.dst, sizeof(info->key.mac));
	return 0;
}

/* Discard @len bytes of metadata if there are so many. Return: 0, or negative without success. */
static __always_inline int drop_meta_part(struct xdp_md *ctx, int len)
{
	if ((void *)(long)ctx->data_meta + len > (void *)(long)ctx->data)
		return 0;
	return (int)bpf_xdp_adjust_meta(ctx, len);
}

/*
 * Discard metadata that someone before us left. Its length would be the difference of two packet
 * pointers, which the verifier refuses to a daemon without CAP_PERFMON; comparing them is allowed,
 * and the length is a multiple of 4 and below 256. Where a driver has no room for metadata
 * data_meta is above data, so there is nothing to discard.
 */
static __always_inline int drop_meta(struct xdp_md *ctx)
{
	if ((void *)(long)ctx->data_meta + 1 > (void *)(long)ctx->data)
		return 0;
	if (drop_meta_part(ctx, 128) || drop_meta_part(ctx, 64) || drop_meta_part(ctx, 32) ||
	    drop_meta_part(ctx, 16) || drop_meta_part(ctx, 8) || drop_meta_part(ctx, 4))
		return -1;
	return 0;
}

/*
 * Write the metadata directly in front of the frame. Where there is no room the frame goes without,
 * and the daemon looks the address up.
 */
static __always_inline void put_meta(struct xdp_md *ctx, __u32 port, __u16 flags)
{
	struct steer_meta *meta;

	if (drop_meta(ctx) < 0)
		return;
	if (bpf_xdp_adjust_meta(ctx, -(int)sizeof(*meta)))
		return;
	meta = (void *)(long)ctx->data_meta;
	if ((void *)(meta + 1) > (void *)(long)ctx->data)
		return;
	meta->magic = STEER_META_MAGIC;
	meta->flags = flags;
	meta->port = port;
}

/*
 * Choose the AF_XDP socket of the frame's queue as where it goes when the program returns what this
 * returns: XDP_REDIRECT, or XDP_DROP if there is none. The frame may still be changed.
 */
static __always_inline int to_socket(struct xdp_md *ctx)
{
	return (int)bpf_redirect_map(&xsks, ctx->rx_queue_index, XDP_DROP);
}

static __always_inline int verdict(enum steer_verdict v, int action, __u64 len)
{
	count(&verdicts, v, len);
	return action;
}

static __always_inline int no_daemon(const struct steer_config *c, __u64 len)
{
	return verdict(STEER_V_GUEST_NO_DAEMON, c->no_daemon == STEER_PASS ? XDP_PASS : XDP_DROP,
	               len);
}

static __always_inline int miss(const struct steer_config *c, __u64 len)
{
	if (c->miss == STEER_PASS)
		return verdict(STEER_V_PASS, XDP_PASS, len);
	if (c->miss == STEER_REDIRECT)
		return verdict(STEER_V_REDIRECT, (int)bpf_redirect(c->redirect_ifindex, 0), len);
	return verdict(STEER_V_DROP, XDP_DROP, len);
}

static __always_inline int steer_dedicated(struct xdp_md *ctx, const struct steer_config *c,
                                           __u64 len)
{
	int action;

	/* Its bytes are left alone: their first line may be in no cache of this CPU. */
	if (len < ETH_LEN)
		return verdict(STEER_V_MALFORMED, XDP_DROP, len);
	action = to_socket(ctx);
	if (action != XDP_REDIRECT)
		return no_daemon(c, len);
	return verdict(STEER_V_GUEST, action, len);
}

static __always_inline int steer_group(struct xdp_md *ctx, const struct steer_config *c,
                                       const struct eth_info *info, __u64 len)
{
	int action;

	if (c->miss == STEER_PASS)
		return miss(c, len);
	action = to_socket(ctx);
	if (action != XDP_REDIRECT)
		return miss(c, len);
	put_meta(ctx, 0, STEER_META_GROUP | (info->tagged ? STEER_META_TAGGED : 0));
	return verdict(STEER_V_GROUP, action, len);
}

static __always_inline int steer_frame(struct xdp_md *ctx, const struct steer_config *c, __u64 len)
{
	const struct steer_fdb_value *owner;
	struct eth_info info = {};
	int action;

	if (c->mode == STEER_MODE_DEDICATED)
		return steer_dedicated(ctx, c, len);
	if (parse_eth(ctx, &info) < 0)
		return verdict(STEER_V_MALFORMED, XDP_DROP, len);
	if (info.foreign)
		return miss(c, len);
	if (info.group)
		return steer_group(ctx, c, &info, len);
	owner = bpf_map_lookup_elem(&fdb, &info.key);
	if (!owner)
		return miss(c, len);
	action = to_socket(ctx);
	if (action != XDP_REDIRECT)
		return no_daemon(c, len);
	count(&port_stats, owner->port, len);
	put_meta(ctx, owner->port, info.tagged ? STEER_META_TAGGED : 0);
	return verdict(STEER_V_GUEST, action, len);
}

SEC("xdp.frags")
int steer(struct xdp_md *ctx)
{
	__u32 zero = 0;
	const struct steer_config *c = bpf_map_lookup_elem(&config, &zero);

	if (!c)
		return XDP_ABORTED;
	return steer_frame(ctx, c, bpf_xdp_get_buff_len(ctx));
}

SEC("xdp.frags")
int steer_back(struct xdp_md *ctx)
{
	__u32 zero = 0;
	const struct steer_config *c = bpf_map_lookup_elem(&config, &zero);

	if (!c)
		return XDP_ABORTED;
	return verdict(STEER_V_BACK, (int)bpf_redirect(c->ifindex, 0), bpf_xdp_get_buff_len(ctx));
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
