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
 * Bounds contract, steered nics: read_head() takes what is wanted of a frame's head out of packet
 * memory, each field once; no other function reads packet memory. A head that is not in the first
 * buffer of the frame as a whole is copied by bpf_xdp_load_bytes().
 *
 * Speed: without CAP_PERFMON, which the daemon does not have, the verifier puts a barrier behind
 * each store to bytes of the stack that have not been written before, and behind each pointer that
 * is spilled. It costs as much as a dozen instructions. So there is one place for the keys of all
 * arrays, one for that of fdb, written at once, and no more lives through a call than there are
 * registers for it.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
#include <stdbool.h>

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

/* Not a hash, which would take as long again as the lookup in fdb. The daemon says how large. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, STEER_MAX_PORTS);
	__type(key, __u32);
	__type(value, struct steer_counter);
} port_stats SEC(".maps");

/* The head of a frame */
struct eth_hdr {
	__u16 dst[3];
	__u16 src[3];
	__be16 type;
	__be16 tci;        /* if type is 802.1Q */
	__be16 inner_type; /* the same */
};

struct eth_info {
	__u16 dst[3];
	__u16 vlan;   /* host order; 0: untagged, or a priority tag */
	bool foreign; /* 802.1ad: for no guest */
};

/* Where keys lie; see "Speed". An index in the upper half of eight bytes is not followed. */
struct keys {
	union {
		struct steer_fdb_key fdb;
		__u64 fdb_word;
	};
	__u32 unused;
	__u32 index;
};

/* The array's element @index, or NULL */
static __always_inline void *at(void *map, struct keys *keys, __u32 index)
{
	keys->index = index;
	return bpf_map_lookup_elem(map, &keys->index);
}

static __always_inline void count(struct steer_counter *c, __u64 len)
{
	if (c) {
		c->frames++;
		c->bytes += len;
	}
}

static __always_inline void take_head(const struct eth_hdr *h, struct eth_info *info)
{
	info->dst[0] = h->dst[0];
	info->dst[1] = h->dst[1];
	info->dst[2] = h->dst[2];
	info->foreign = h->type == bpf_htons(ETH_P_8021AD);
	info->vlan = h->type == bpf_htons(ETH_P_8021Q) ? bpf_ntohs(h->tci) & VLAN_ID_MASK : 0;
}

/* A head that is shorter than one with a tag, or not in one piece */
static __always_inline int copy_head(struct xdp_md *ctx, struct eth_info *info)
{
	struct eth_hdr h = {};

	if (bpf_xdp_load_bytes(ctx, 0, &h, ETH_LEN) < 0)
		return -1;
	if (h.type == bpf_htons(ETH_P_8021Q) &&
	    bpf_xdp_load_bytes(ctx, 0, &h, ETH_LEN + ETH_TAG_LEN) < 0)
		return -1;
	take_head(&h, info);
	return 0;
}

/* Return: 0, or negative if the frame is shorter than its head. */
static __always_inline int read_head(struct xdp_md *ctx, struct eth_info *info)
{
	const struct eth_hdr *h = (void *)(long)ctx->data;

	if ((void *)(h + 1) > (void *)(long)ctx->data_end)
		return copy_head(ctx, info);
	take_head(h, info);
	return 0;
}

static __always_inline bool is_group(const struct eth_info *info)
{
	return info->dst[0] & bpf_htons(0x0100);
}

/* All eight bytes in one store */
static __always_inline void put_fdb_key(struct keys *keys, const struct eth_info *info)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	keys->fdb_word = info->dst[0] | (__u64)info->dst[1] << 16 | (__u64)info->dst[2] << 32 |
	                 (__u64)info->vlan << 48;
#else
	keys->fdb_word = (__u64)info->dst[0] << 48 | (__u64)info->dst[1] << 32 |
	                 (__u64)info->dst[2] << 16 | info->vlan;
#endif
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

/* Return @action. */
static __always_inline int verdict_of(struct keys *keys, enum steer_verdict v, int action,
                                      __u64 len)
{
	count(at(&verdicts, keys, v), len);
	return action;
}

/* The same where the length was not needed before. It does not include metadata. */
static __always_inline int verdict(struct xdp_md *ctx, struct keys *keys, enum steer_verdict v,
                                   int action)
{
	return verdict_of(keys, v, action, bpf_xdp_get_buff_len(ctx));
}

static __always_inline int no_daemon(struct xdp_md *ctx, struct keys *keys,
                                     const struct steer_config *c)
{
	return verdict(ctx, keys, STEER_V_GUEST_NO_DAEMON,
	               c->no_daemon == STEER_PASS ? XDP_PASS : XDP_DROP);
}

static __always_inline int miss(struct xdp_md *ctx, struct keys *keys, const struct steer_config *c)
{
	if (c->miss == STEER_PASS)
		return verdict(ctx, keys, STEER_V_PASS, XDP_PASS);
	if (c->miss == STEER_REDIRECT)
		return verdict(ctx, keys, STEER_V_REDIRECT,
		               (int)bpf_redirect(c->redirect_ifindex, 0));
	return verdict(ctx, keys, STEER_V_DROP, XDP_DROP);
}

static __always_inline int steer_dedicated(struct xdp_md *ctx, struct keys *keys,
                                           const struct steer_config *c)
{
	__u64 len = bpf_xdp_get_buff_len(ctx);

	/* Its bytes are left alone: their first line may be in no cache of this CPU. */
	if (len < ETH_LEN)
		return verdict_of(keys, STEER_V_MALFORMED, XDP_DROP, len);
	if (to_socket(ctx) != XDP_REDIRECT)
		return no_daemon(ctx, keys, c);
	return verdict_of(keys, STEER_V_GUEST, XDP_REDIRECT, len);
}

static __always_inline __u16 tagged(const struct keys *keys)
{
	return keys->fdb.vlan ? STEER_META_TAGGED : 0;
}

static __always_inline int steer_group(struct xdp_md *ctx, struct keys *keys,
                                       const struct steer_config *c)
{
	if (c->miss == STEER_PASS || to_socket(ctx) != XDP_REDIRECT)
		return miss(ctx, keys, c);
	put_meta(ctx, 0, STEER_META_GROUP | tagged(keys));
	return verdict(ctx, keys, STEER_V_GROUP, XDP_REDIRECT);
}

static __always_inline int steer_unicast(struct xdp_md *ctx, struct keys *keys,
                                         const struct steer_config *c)
{
	const struct steer_fdb_value *owner = bpf_map_lookup_elem(&fdb, &keys->fdb);
	__u32 port;
	__u64 len;

	if (!owner)
		return miss(ctx, keys, c);
	port = owner->port;
	if (to_socket(ctx) != XDP_REDIRECT)
		return no_daemon(ctx, keys, c);
	put_meta(ctx, port, tagged(keys));
	len = bpf_xdp_get_buff_len(ctx);
	count(at(&port_stats, keys, port), len);
	return verdict_of(keys, STEER_V_GUEST, XDP_REDIRECT, len);
}

static __always_inline int steer_frame(struct xdp_md *ctx, struct keys *keys,
                                       const struct steer_config *c)
{
	struct eth_info info;

	if (c->mode == STEER_MODE_DEDICATED)
		return steer_dedicated(ctx, keys, c);
	if (read_head(ctx, &info) < 0)
		return verdict(ctx, keys, STEER_V_MALFORMED, XDP_DROP);
	if (info.foreign)
		return miss(ctx, keys, c);
	put_fdb_key(keys, &info);
	if (is_group(&info))
		return steer_group(ctx, keys, c);
	return steer_unicast(ctx, keys, c);
}

SEC("xdp.frags")
int steer(struct xdp_md *ctx)
{
	struct keys keys;
	const struct steer_config *c = at(&config, &keys, 0);

	if (!c)
		return XDP_ABORTED;
	return steer_frame(ctx, &keys, c);
}

SEC("xdp.frags")
int steer_back(struct xdp_md *ctx)
{
	struct keys keys;
	const struct steer_config *c = at(&config, &keys, 0);

	if (!c)
		return XDP_ABORTED;
	return verdict(ctx, &keys, STEER_V_BACK, (int)bpf_redirect(c->ifindex, 0));
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
