/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * daemon.h - the whole: nics, ports, workers, and who serves what
 *
 * Control thread only. The daemon owns every object; the others know only what they were given.
 * Whenever a ring or a nic comes or goes it works out each worker's plan anew, publishes all plans,
 * waits until no worker uses the old ones, and frees them.
 *
 * Who serves what is fixed by number, so that frames of one flow stay in order and on one CPU:
 * queue k of every nic belongs to worker k modulo the number of workers; queue pair i of port p to
 * worker p + i, likewise.
 */
#ifndef DAEMON_H
#define DAEMON_H

#include "conf.h"
#include "forward.h"
#include "loop.h"
#include "worker.h"

#define DAEMON_TAP_COUNTERS STEER_MAX_QUEUES /* where the group tap counts, after the queues */

struct daemon_watch; /* a descriptor that may wake a worker */

struct daemon_watches {
	uint32_t n;
	bool incomplete; /* something could not be watched */
	struct daemon_watch *watch;
};

struct daemon_nic {
	struct nic *nic;
	struct nic_counters *counters; /* STEER_MAX_QUEUES + 1 */
	struct daemon_watches watches;
};

/* A worker's plans besides the one in use. */
struct daemon_plan {
	struct worker_plan *spare; /* empty: from the start, and when memory is short */
	struct worker_plan *old;   /* out of use soon */
};

struct daemon_port {
	struct port *port;
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
	bool ready; /* everything is made; before that, changes only collect */
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

/** daemon_worker_of_queue() - worker that serves queue @queue of any nic */
uint32_t daemon_worker_of_queue(const struct daemon *daemon, uint32_t queue);

/** daemon_worker_of_ring() - worker that serves transmit ring @ring of port @port */
uint32_t daemon_worker_of_ring(const struct daemon *daemon, uint32_t port, uint32_t ring);

#endif
