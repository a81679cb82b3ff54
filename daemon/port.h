/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * port.h - one guest NIC: a vhost-user device, its addresses and its uplink
 *
 * A port exists as long as the configuration names it. Front ends come and go: with `listen: true`
 * the port owns a listening socket and serves one front end at a time; with `listen: false` it
 * connects, and keeps trying with back-off for ever.
 *
 *   WAITING ──connected──> CONNECTED ──closed, broken, or lost memory──> WAITING
 *
 * What workers read is in the first part of the struct; rings reach them through `rxset` (where
 * frames for the guest go) and through the workers' plans (where frames of the guest come from).
 */
#ifndef PORT_H
#define PORT_H

#include "base.h"
#include "conf.h"
#include "fdb.h"
#include "nic.h"
#include "vhost_dev.h"

struct flow_table;
struct loop;
struct loop_source;
struct port;

/* Why a frame from a guest was not forwarded. Keep port_from_drop_name() in step. */
enum port_from_drop {
	PORT_FROM_MALFORMED, /* shorter than a virtio and an Ethernet header */
	PORT_FROM_OFFLOAD,   /* asks for an offload that was not negotiated */
	PORT_FROM_OVERSIZE,  /* longer than the nic can send, or than any frame */
	PORT_FROM_VLAN,      /* carries an 802.1Q tag that the port may not use */
	PORT_FROM_SPOOFED,   /* source address is not the port's own (own-macs-only) */
	PORT_FROM_NO_ROUTE,  /* unknown address, and the nic has no wire (mode internal) */
	PORT_FROM_HAIRPIN,   /* addressed to the port itself */
	PORT_FROM_DISABLED,  /* the front end has the ring disabled */
	PORT_FROM_NIC_DOWN,  /* no link */
	PORT_FROM_NIC_FULL,  /* the device did not take frames for too long */
	PORT_FROM_N
};

/* Why a frame for a guest was not delivered. Keep port_to_drop_name() in step. */
enum port_to_drop {
	PORT_TO_NO_BUFFER,    /* the guest posted too few receive buffers */
	PORT_TO_GUEST_MEMORY, /* the receive buffers' memory cannot be used yet */
	PORT_TO_TOO_BIG, /* longer than a receive buffer of a guest without mergeable buffers */
	PORT_TO_N
};

/* Counters that go with one ring; its serving worker, or the holder of its lock, writes them. */
struct port_queue {
	alignas(CACHE_LINE) union {
		_Atomic uint64_t from_drops[PORT_FROM_N];
		_Atomic uint64_t to_drops[PORT_TO_N];
	};
	_Atomic uint64_t busy_ns; /* transmit: the worker's time that went into it; see worker.c */
};

/* Receive rings that are running and enabled; immutable, replaced whole. */
struct port_rxset {
	uint32_t n;
	uint8_t slot[VHOST_MAX_QUEUE_PAIRS]; /* of each queue pair: where in vq, + 1; 0: not there
	                                      */
	struct vhost_vq *vq[];
};

struct port_ops {
	/* Rings came or went: rebuild the workers' plans. */
	void (*rings_changed)(void *owner, struct port *port);
	/* A front end is there and has set up its rings, or has gone: tell the steering table. */
	void (*state_changed)(void *owner, struct port *port);
	/* Send a RARP of that address (fdb key) in the port's name. Returns false if it cannot now.
	 */
	bool (*announce)(void *owner, struct port *port, uint64_t mac);
	/* See vhost_dev_ops. */
	void (*quiesce)(void *owner);
	void (*wake)(void *owner, struct port *port);
};

struct port {
	/* Workers read these; they never change while workers run */
	uint32_t id; /* in steering maps and metadata; from 1 */
	uint16_t vlan;
	bool own_macs_only;
	uint32_t n_macs;
	const uint64_t *mac_keys; /* fdb keys of its addresses, without VLAN */
	struct nic *nic;
	struct port_queue *queues; /* one per ring */
	_Atomic(struct port_rxset *) rxset;
	struct flow_table *flows; /* NULL: there is one queue pair only */

	/* Written by any worker */
	alignas(CACHE_LINE) _Atomic uint64_t to_no_guest; /* frames: no ring is running */

	/* Control thread */
	alignas(CACHE_LINE) const struct conf_port *conf;
	uint32_t index; /* position in the configuration */
	struct vhost_dev *dev;
	struct port_conn *conn; /* sockets, timers, history: port.c */
};
static_assert(offsetof(struct port, to_no_guest) == CACHE_LINE, "what workers read is in one line");

/* What `show` tells of a port's connection. */
struct port_info {
	const char *state;   /* waiting, listening, connecting, or the device's own state */
	uint64_t since_ms;   /* CLOCK_MONOTONIC of the last change */
	uint64_t n_connects; /* front ends served so far */
	int peer_pid;        /* 0: none */
	char last_error[192];
};

/**
 * port_new() - create a port and start to listen or connect
 * @index: position in @conf->ports; the id is one more
 * @nic: its uplink; must outlive the port
 * @mtu: largest MTU to accept
 * @ret_why: on failure a sentence for the user; caller frees it
 */
int port_new(const struct conf *conf, uint32_t index, struct nic *nic, uint16_t mtu,
             struct loop *loop, const struct port_ops *ops, void *owner, struct port **ret_port,
             char **ret_why);

/** port_free() - disconnect, close and remove the socket. Takes NULL. */
void port_free(struct port *port);

/** port_check() - look for rings that workers gave up; control thread, when a worker asks */
void port_check(struct port *port);

void port_get_info(const struct port *port, struct port_info *ret_info);
bool port_is_up(const struct port *port); /* at least one receive ring takes frames */

/**
 * port_owns() - is @mac (see fdb.h) one of the port's own addresses? It may have very many.
 *
 * Asks its nic's table. Workers and the control thread.
 */
static always_inline bool port_owns(const struct port *port, uint64_t mac)
{
	const struct fdb *fdb = atomic_load_explicit(&port->nic->fdb, memory_order_acquire);

	return fdb_lookup(fdb, fdb_key(mac, port->vlan)) == port;
}

const char *port_from_drop_name(enum port_from_drop reason);
const char *port_to_drop_name(enum port_to_drop reason);

#endif
