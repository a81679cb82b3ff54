/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * steer_abi.h - what the steering program and user space agree on
 *
 * One set of maps per nic, pinned under <pin-dir>/<nic>/. Every key and value is plain C without
 * padding, so that `bpftool map dump pinned ...` prints it by field name. MACs are byte arrays in
 * wire order; VLAN ids are in host order (bpftool would print a __be16 swapped); what may be done
 * with a frame is an enum, which bpftool prints by name.
 *
 *   fdb        hash    {mac, vlan} -> {port, flags}      who owns an address
 *   ports      hash    port id     -> {name, vlan, ...}  what the ids mean
 *   queues     array   nic queue   -> {state, pid, ...}  readable mirror of xsks
 *   xsks       xskmap  nic queue   -> AF_XDP socket      (cannot be dumped: see queues)
 *   config     array   0           -> steer_config       what happens to everything else
 *   verdicts   percpu  verdict     -> {frames, bytes}    what happened
 *   port_stats percpu  port id     -> {frames, bytes}    steered to each port, 0 where there is
 *                                                        none; of a dedicated nic verdicts has all
 *   link       bpf_link                                  keeps the program attached
 *   link_back  bpf_link                                  miss: redirect only; on the other device
 *
 * The folder has the nic's name, with ':' for '.', which a BPF file system does not allow.
 */
#ifndef STEER_ABI_H
#define STEER_ABI_H

#include <linux/types.h>

#define STEER_ABI_VERSION 1 /* pins of another version are replaced, not reused */
#define STEER_NAME_LEN    32
#define STEER_MAX_QUEUES  64
#define STEER_MAX_PORTS   4096
#define STEER_MAX_MACS    131072

struct steer_fdb_key {
	__u8 mac[6];
	__u16 vlan; /* host order; 0: untagged or priority tagged */
};

struct steer_fdb_value {
	__u32 port; /* key of ports */
};

enum steer_port_state {
	STEER_PORT_DOWN, /* no guest is attached; the daemon drops and counts */
	STEER_PORT_UP,
};

struct steer_port {
	char name[STEER_NAME_LEN];
	__u16 vlan;
	__u16 n_macs;
	enum steer_port_state state;
};

enum steer_queue_mode {
	STEER_QUEUE_NONE, /* no socket is bound */
	STEER_QUEUE_COPY,
	STEER_QUEUE_ZEROCOPY,
};

struct steer_queue {
	__u32 pid; /* of the daemon that bound it */
	enum steer_queue_mode mode;
};

/* What the program does with a frame that is for no guest, or that no daemon takes. */
enum steer_action {
	STEER_PASS,     /* to the host's network stack */
	STEER_DROP,     /* and count it */
	STEER_REDIRECT, /* out of another device: steer_config.redirect_ifindex */
};

enum steer_mode {
	STEER_MODE_STEERED,   /* by destination MAC and VLAN */
	STEER_MODE_DEDICATED, /* every frame belongs to one port */
};

struct steer_config {
	__u32 abi; /* STEER_ABI_VERSION */
	enum steer_mode mode;
	enum steer_action miss;      /* frames for no guest */
	enum steer_action no_daemon; /* frames for a guest while no socket is bound: PASS or DROP */
	__u32 redirect_ifindex;
	__u32 dedicated_port; /* STEER_MODE_DEDICATED: the port's id */
	__u32 ifindex;        /* of the nic; steer_open() fills it in */
};

enum steer_verdict {
	STEER_V_GUEST,           /* unicast of a guest, handed to the daemon */
	STEER_V_GUEST_NO_DAEMON, /* the same, but no socket is bound: config.no_daemon applied */
	STEER_V_GROUP,     /* multicast or broadcast handed to the daemon (miss is not PASS) */
	STEER_V_PASS,      /* for no guest: to the host */
	STEER_V_DROP,      /* for no guest: dropped */
	STEER_V_REDIRECT,  /* for no guest: out of the other device */
	STEER_V_MALFORMED, /* shorter than its Ethernet header: dropped */
	STEER_V_BACK,      /* came out of the other device: out of the nic */
	STEER_N_VERDICTS,
};

struct steer_counter {
	__u64 frames;
	__u64 bytes;
};

/*
 * Metadata in front of a frame in an AF_XDP socket. The daemon trusts it only with the magic
 * number in place, and clears that after reading: a driver without room for metadata leaves
 * the zero from last time, and the daemon looks the address up itself. Frames of a dedicated nic
 * never have metadata.
 */
#define STEER_META_MAGIC 0x5658u /* "XV" */

enum steer_meta_flags {
	STEER_META_GROUP = 1 << 0,  /* multicast or broadcast: flood, then hand on to the host */
	STEER_META_TAGGED = 1 << 1, /* the frame carries an 802.1Q tag with the port's VLAN id, or
	                             * with GROUP any id but 0 */
};

struct steer_meta {
	__u16 magic;
	__u16 flags; /* enum steer_meta_flags */
	__u32 port;  /* key of ports; 0 with STEER_META_GROUP */
};

#endif
