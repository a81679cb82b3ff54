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
 * arrays, no more lives through a call than there are registers for it, and what is rare is in
 * functions of its own. A lookup in a hash is as dear as several barriers: answers of fdb are
 * noted.
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

#define ANSWER_BITS 8
#define N_ANSWERS   (1 << ANSWER_BITS) /* for each CPU */
#define MIX         0x9e3779b97f4a7c15ull

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

/*
 * Answers of fdb, for those who ask again; see find_port(). Of this program only: nobody pins it,
 * and the next daemon's program starts without any.
 */
struct answer {
	__u64 key;
	__u64 seal;
	__u32 port; /* 0: nobody's */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, N_ANSWERS);
	__type(key, __u32);
	__type(value, struct answer);
} answers SEC(".maps");

/* The daemon raises it whenever it has changed fdb. */
volatile __u32 fdb_epoch;

/* The head of a frame */
struct eth_hdr {
	__u16 dst[3];
	__u16 src[3];
	__be16 type;
	__be16 tci;        /* if type is 802.1Q */
	__be16 inner_type; /* the same */
};

struct eth_info {
	__u64 key;    /* a struct steer_fdb_key, in one register */
	bool foreign; /* 802.1ad: for no guest */
};

/*
 * Where the key of each lookup in an array lies; see "Speed". It is the upper half of eight bytes,
 * whose value the verifier does not follow; so it may be stored to again.
 */
struct __attribute__((aligned(8))) slot {
	__u32 unused;
	__u32 index;
};

/* The array's element @index, or NULL */
static __always_inline void *at(void *map, struct slot *slot, __u32 index)
{
	slot->index = index;
	return bpf_map_lookup_elem(map, &slot->index);
}

static __always_inline void count(struct steer_counter *c, __u64 len)
{
	if (c) {
		c->frames++;
		c->bytes += len;
	}
}

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define KEY(w0, w1, w2, vlan) ((w0) | (__u64)(w1) << 16 | (__u64)(w2) << 32 | (__u64)(vlan) << 48)
#define KEY_VLAN(key)         ((key) >> 48)
#define KEY_GROUP_BIT         (1ull)
#else
#define KEY(w0, w1, w2, vlan) ((__u64)(w0) << 48 | (__u64)(w1) << 32 | (__u64)(w2) << 16 | (vlan))
#define KEY_VLAN(key)         ((__u16)(key))
#define KEY_GROUP_BIT         (1ull << 56)
#endif

static __always_inline void take_head(const struct eth_hdr *h, struct eth_info *info)
{
	__u16 vlan = h->type == bpf_htons(ETH_P_8021Q) ? bpf_ntohs(h->tci) & VLAN_ID_MASK : 0;

	info->key = KEY(h->dst[0], h->dst[1], h->dst[2], vlan);
	info->foreign = h->type == bpf_htons(ETH_P_8021AD);
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
static __always_inline int verdict_of(struct slot *slot, enum steer_verdict v, int action,
                                      __u64 len)
{
	count(at(&verdicts, slot, v), len);
	return action;
}

/* The same where the length was not needed before. It does not include metadata. */
static __always_inline int verdict(struct xdp_md *ctx, struct slot *slot, enum steer_verdict v,
                                   int action)
{
	return verdict_of(slot, v, action, bpf_xdp_get_buff_len(ctx));
}

static __attribute__((noinline)) int no_daemon(struct xdp_md *ctx, struct slot *slot)
{
	const struct steer_config *c = at(&config, slot, 0);

	return verdict(ctx, slot, STEER_V_GUEST_NO_DAEMON,
	               c && c->no_daemon == STEER_PASS ? XDP_PASS : XDP_DROP);
}

static __attribute__((noinline)) int miss(struct xdp_md *ctx, struct slot *slot)
{
	const struct steer_config *c = at(&config, slot, 0);

	if (c && c->miss == STEER_PASS)
		return verdict(ctx, slot, STEER_V_PASS, XDP_PASS);
	if (c && c->miss == STEER_REDIRECT)
		return verdict(ctx, slot, STEER_V_REDIRECT,
		               (int)bpf_redirect(c->redirect_ifindex, 0));
	return verdict(ctx, slot, STEER_V_DROP, XDP_DROP);
}

static __always_inline int steer_dedicated(struct xdp_md *ctx, struct slot *slot)
{
	__u64 len = bpf_xdp_get_buff_len(ctx);

	/* Its bytes are left alone: their first line may be in no cache of this CPU. */
	if (len < ETH_LEN)
		return verdict_of(slot, STEER_V_MALFORMED, XDP_DROP, len);
	if (to_socket(ctx) != XDP_REDIRECT)
		return no_daemon(ctx, slot);
	return verdict_of(slot, STEER_V_GUEST, XDP_REDIRECT, len);
}

static __always_inline __u16 tagged(__u64 key)
{
	return KEY_VLAN(key) ? STEER_META_TAGGED : 0;
}

static __attribute__((noinline)) int steer_group(struct xdp_md *ctx, struct slot *slot,
                                                 const struct steer_config *c, __u64 key)
{
	if (c->miss == STEER_PASS || to_socket(ctx) != XDP_REDIRECT)
		return miss(ctx, slot);
	put_meta(ctx, 0, STEER_META_GROUP | tagged(key));
	return verdict(ctx, slot, STEER_V_GROUP, XDP_REDIRECT);
}

/* Different for two answers that differ in one of the three only */
static __always_inline __u64 seal_of(__u64 key, __u32 port, __u32 epoch)
{
	return (key ^ ((__u64)port << 32 | epoch)) * MIX;
}

/* Ask fdb, and note the answer. No part of the caller, which has no registers to spare. */
static __attribute__((noinline)) __u32 ask_fdb(__u64 key, struct answer *a)
{
	const struct steer_fdb_value *owner;
	__u32 port, epoch = fdb_epoch;

	/* F, a full barrier: fdb is looked at after fdb_epoch, so no answer is older than its
	 * epoch. */
	(void)__sync_lock_test_and_set(&a->seal, 0);
	owner = bpf_map_lookup_elem(&fdb, &key);
	port = owner ? owner->port : 0;
	a->key = key;
	a->port = port;
	a->seal = seal_of(key, port, epoch);
	return port;
}

/*
 * The port that has the address, 0: none.
 *
 * A lookup in fdb takes as long as half of the rest, so each CPU notes some answers. The seal tells
 * those of an earlier epoch, and a mixture of two: where softirqs can be preempted (PREEMPT_RT), so
 * can one that notes an answer, by another one for the same place.
 */
static __always_inline __u32 find_port(struct slot *slot, __u64 key)
{
	struct answer *a = at(&answers, slot, key * MIX >> (64 - ANSWER_BITS));
	__u32 port;

	if (!a)
		return 0; /* never */
	port = *(volatile __u32 *)&a->port;
	if (a->key == key && a->seal == seal_of(key, port, fdb_epoch))
		return port;
	return ask_fdb(key, a);
}

static __always_inline int steer_unicast(struct xdp_md *ctx, struct slot *slot, __u64 key)
{
	__u32 port = find_port(slot, key);
	__u64 len;

	if (!port)
		return miss(ctx, slot);
	if (to_socket(ctx) != XDP_REDIRECT)
		return no_daemon(ctx, slot);
	put_meta(ctx, port, tagged(key));
	len = bpf_xdp_get_buff_len(ctx);
	count(at(&port_stats, slot, port), len);
	return verdict_of(slot, STEER_V_GUEST, XDP_REDIRECT, len);
}

SEC("xdp.frags")
int steer(struct xdp_md *ctx)
{
	struct slot slot;
	const struct steer_config *c = at(&config, &slot, 0);
	struct eth_info info;

	if (!c)
		return XDP_ABORTED;
	if (c->mode == STEER_MODE_DEDICATED)
		return steer_dedicated(ctx, &slot);
	if (read_head(ctx, &info) < 0)
		return verdict(ctx, &slot, STEER_V_MALFORMED, XDP_DROP);
	if (info.foreign)
		return miss(ctx, &slot);
	if (info.key & KEY_GROUP_BIT)
		return steer_group(ctx, &slot, c, info.key);
	return steer_unicast(ctx, &slot, info.key);
}

SEC("xdp.frags")
int steer_back(struct xdp_md *ctx)
{
	struct slot slot;
	const struct steer_config *c = at(&config, &slot, 0);

	if (!c)
		return XDP_ABORTED;
	return verdict(ctx, &slot, STEER_V_BACK, (int)bpf_redirect(c->ifindex, 0));
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
