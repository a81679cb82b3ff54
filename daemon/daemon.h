/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * daemon.h - the whole: nics, ports, workers, and who serves what
 *
 * Control thread only. The daemon owns every object; the others know only what they were given.
 * Whenever a ring or a nic comes or goes it works out each worker's plan anew, publishes all plans,
 * waits until no worker uses the old ones, and frees them.
 *
 * Who serves what begins by number: queue k of every nic belongs to worker k modulo the number of
 * workers; queue pair i of port p to worker p + i, likewise, or to the worker that the port names.
 * On a host with several NUMA nodes it is a worker near the memory of the ring or the device
 * instead, unless the port names its worker or the configuration says `placement: static`
 * (seating.h). A worker that has too much to do gives sources to
 * others (balance.h). A source that moves is in nobody's plan for a moment: the old worker is out
 * of it before the new one begins, so its frames stay in order and none is lost.
 */
#ifndef DAEMON_H
#define DAEMON_H

#include "conf.h"
#include "forward.h"
#include "log.h"
#include "loop.h"
#include "worker.h"

#define DAEMON_TAP_COUNTERS STEER_MAX_QUEUES /* where the group tap counts, after the queues */
#define DAEMON_NOBODY       UINT32_MAX       /* worker of a source that is on its way */

struct balance;
struct seating;
struct daemon_watch; /* a descriptor that may wake a worker */

struct daemon_watches {
	uint32_t n;
	bool incomplete; /* something could not be watched */
	struct daemon_watch *watch;
};

/* Where a source is served. */
struct daemon_seat {
	uint32_t worker;
	uint64_t moved_ms; /* CLOCK_MONOTONIC of its last move, 0: never */
	uint64_t busy_ns;  /* balance.c: what it had cost at the last look */
	bool by_hand;      /* moved by somebody: not placed by memory any more */
	bool runs;         /* a ring: at the last look */
};

struct daemon_nic {
	struct nic *nic;
	struct nic_counters *counters; /* STEER_MAX_QUEUES + 1 */
	struct daemon_seat seats[STEER_MAX_QUEUES];
	uint32_t n_placed; /* queues that there were at the last look */
	struct daemon_watches watches;
};

/* A worker's plans besides the one in use. */
struct daemon_plan {
	struct worker_plan *spare; /* empty: from the start, and when memory is short */
	struct worker_plan *old;   /* out of use soon */
};

struct daemon_port {
	struct port *port;
	struct daemon_seat *seats; /* of its queue pairs */
	struct log_limit limit;
	struct daemon_watches watches;
};

struct daemon {
	const struct conf *conf;
	struct loop *loop;
	uint64_t start_ms; /* CLOCK_MONOTONIC */
	uint32_t n_workers, n_nics, n_ports;
	struct worker **workers;
	struct daemon_plan *plans; /* one per worker */
	struct daemon_nic *nics;
	struct daemon_port *ports;
	struct balance *balance; /* NULL: sources stay where they are */
	struct seating *seating;
	uint32_t *n_sources;     /* of each worker, while a source is placed */
	_Atomic bool overloaded; /* a worker is; told by itself */
	bool ready;              /* everything is made; before that, changes only collect */
};

/**
 * daemon_new() - start workers, bring nics up, open ports
 * @conf: borrowed; must outlive the daemon
 * @ret_why: on failure a sentence for the user; caller frees it
 * Return: 0 or -errno.
 */
int daemon_new(const struct conf *conf, struct loop *loop, struct daemon **ret_daemon,
               char **ret_why);

/** daemon_free() - close ports, nics and workers; steering stays in the kernel. Takes NULL. */
void daemon_free(struct daemon *daemon);

/** daemon_worker_of_queue() - worker that serves queue @queue of nic @nic */
uint32_t daemon_worker_of_queue(const struct daemon *daemon, uint32_t nic, uint32_t queue);

/** daemon_worker_of_ring() - worker that serves transmit ring @ring of port @port */
uint32_t daemon_worker_of_ring(const struct daemon *daemon, uint32_t port, uint32_t ring);

/**
 * daemon_node_of_ring() - NUMA node of a transmit ring; as far as we know that of its frames, too
 *
 * Return: MEM_NODE_ANY if it is not known, the ring does not run, or all workers are alike.
 */
int daemon_node_of_ring(const struct daemon *daemon, uint32_t port, uint32_t ring);

/** daemon_node_of_queue() - NUMA node of a nic queue's packet memory, or MEM_NODE_ANY */
int daemon_node_of_queue(const struct daemon *daemon, uint32_t nic, uint32_t queue);

/**
 * daemon_move_ring() - let worker @to serve transmit ring @ring of port @port from now on
 * daemon_move_queue() - the same with queue @queue of nic @nic
 * @by_hand: it begins there from now on, also when it stops and starts on another NUMA node
 *
 * Frames stay in order, on the wire too: before a port's frames take another queue of its nic,
 * those on the old one have left, or DAEMON_DRAIN_MS are over.
 */
#define DAEMON_DRAIN_MS 20
void daemon_move_ring(struct daemon *daemon, uint32_t port, uint32_t ring, uint32_t to,
                      bool by_hand);
void daemon_move_queue(struct daemon *daemon, uint32_t nic, uint32_t queue, uint32_t to,
                       bool by_hand);

#endif
