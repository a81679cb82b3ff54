/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * worker.h - a pinned thread that polls rings, and sleeps when there is nothing to do
 *
 * A worker goes round its plan: nic queues, group taps, guests' transmit rings; one burst each, in
 * the order of rota.h.
 * After `busy-poll-us` without a frame it asks the guests for kicks, looks once more, and sleeps in
 * epoll on kick descriptors, AF_XDP sockets and its own wake-up descriptor. All are edge
 * triggered and never read: an event only ends the sleep, what there is to do shows in the rings.
 * So a descriptor that is always readable cannot keep a worker awake. If so configured the worker's
 * CPU is kept from deep idle states until there was no frame for a second.
 *
 * Plans are immutable and replaced whole by the control thread. A worker is a reader in the sense
 * of liburcu's QSBR flavour: between two rounds it holds no pointer, and while it sleeps it counts
 * as offline, so that waiting for it costs nothing.
 */
#ifndef WORKER_H
#define WORKER_H

#include "base.h"
#include "cpu_latency.h"
#include "forward.h"
#include "rota.h"

struct worker;

struct worker_tap {
	struct nic *nic;
	struct group_tap *tap;
	struct nic_counters *counters;
};

struct worker_uplink {
	struct nic *nic;
	struct xsk_queue *q;
};

/* What a worker polls. The arrays belong to the plan; sources' own state is the worker's. */
struct worker_plan {
	uint32_t n_nics, n_taps, n_uplinks, n_guests;
	bool must_poll; /* a front end gave no kick descriptor: never sleep */
	struct fwd_nic_source *nics;
	struct worker_tap *taps;
	struct worker_uplink *uplinks; /* where this worker's guests send */
	struct fwd_guest_source *guests;
	struct rota rota; /* over guests */
};

/* The worker writes, anyone reads. */
struct worker_stats {
	_Atomic uint64_t rounds; /* with work */
	_Atomic uint64_t frames;
	_Atomic uint64_t sleeps;
	_Atomic uint64_t busy_ns, idle_ns; /* in rounds with work, without; estimates */
	_Atomic uint64_t slept_ns;         /* without the sleep that goes on */
	_Atomic uint64_t sleeps_since_ns;  /* CLOCK_MONOTONIC, 0: it does not */
};

/* What a worker did until then. */
struct worker_times {
	uint64_t now_ns, busy_ns, idle_ns, slept_ns;
};

struct worker_params {
	uint32_t id;
	uint32_t n_workers;
	int cpu;
	uint32_t busy_poll_us;
	uint32_t wakeup_latency_us; /* limit for its CPU, cpu_latency.h */
	/* Called on the worker: a ring was given up, or waits, or memory was lost */
	void (*ring_failed)(void *owner);
	/* There was work for PLACEMENT_FULL of the last 0.2 s; may be NULL */
	void (*overloaded)(void *owner);
	void *owner;
};

/** worker_plan_new() - room for so many sources. Return: NULL without memory. */
struct worker_plan *worker_plan_new(uint32_t n_nics, uint32_t n_taps, uint32_t n_uplinks,
                                    uint32_t n_guests);
void worker_plan_free(struct worker_plan *plan); /* takes NULL */

/** worker_plan_add_guest() - one transmit ring more; there is room */
void worker_plan_add_guest(struct worker_plan *plan, const struct fwd_guest_source *src);

/**
 * worker_start() - start with @plan, which stays the caller's as every plan does
 * Return: 0, or -errno of creating or pinning the thread
 */
int worker_start(const struct worker_params *params, struct worker_plan *plan,
                 struct worker **ret_worker);

/** worker_stop() - end the thread and free it; its plan is out of use then. Takes NULL. */
void worker_stop(struct worker *worker);

/**
 * worker_swap_plan() - publish a plan and wake the worker
 * Return: the plan before, to be freed after the next worker_quiesce(). Control thread.
 */
struct worker_plan *worker_swap_plan(struct worker *worker, struct worker_plan *plan);

/** worker_quiesce() - return when no worker holds a pointer from before the call. Control thread.
 */
void worker_quiesce(void);

/** worker_wake() - end the worker's sleep: it makes a round and asks for kicks anew. Any thread. */
void worker_wake(struct worker *worker);

/**
 * worker_announce() - let the network know where @mac is now: a RARP, as if the guest had sent it
 *
 * Sent by the worker's next round, if it serves a transmit ring of @port then. Control thread.
 * Return: false if too many wait already.
 */
bool worker_announce(struct worker *worker, struct port *port, uint64_t mac);

/** worker_watch() - let @fd end the worker's sleep. @fd is borrowed. Return: 0 or -errno. */
int worker_watch(struct worker *worker, int fd);
void worker_unwatch(struct worker *worker, int fd);

const struct worker_stats *worker_get_stats(const struct worker *worker);

/** worker_get_times() - as of now. Any thread. */
struct worker_times worker_get_times(const struct worker *worker);

/**
 * worker_share() - how much of a worker's time something takes, of 1000
 * @from, @to: two looks at the worker
 * @part_ns: what busy_ns counted for it in between
 *
 * Of the time that the worker has: one that always has work is full, however little of its CPU it
 * gets.
 */
uint32_t worker_share(const struct worker_times *from, const struct worker_times *to,
                      uint64_t part_ns);

/** worker_load() - share of its time, of 1000, that went into work lately: 0.2 s. Any thread. */
uint32_t worker_load(const struct worker *worker);

/** worker_is_asleep() - Any thread. */
bool worker_is_asleep(const struct worker *worker);
uint64_t worker_cpu_time_us(const struct worker *worker);
int worker_cpu(const struct worker *worker);
enum cpu_latency_state worker_cpu_latency(const struct worker *worker); /* Any thread. */
int worker_tid(const struct worker *worker);

#endif
