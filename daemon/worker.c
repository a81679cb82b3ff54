/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * worker.c - the loop of a worker: rounds, sleep, and how busy it is
 *
 * How busy a worker is, and with what, is estimated from samples, as looking at the clock around
 * each burst would cost a tenth of a short one. Every WORKER_SAMPLE-th round is timed, source by
 * source, and counts for all; it also sends what a source has for nics at once, so that each pays
 * its own system calls. The number is prime: traffic with a rhythm is not always caught at the same
 * beat. A round in which the worker lost its CPU is cut to WORKER_LONGEST_NS. The estimates only
 * tell how the time awake was divided; how long it was is known, since sleeps are measured.
 */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>
#include <urcu-qsbr.h>

#include "clock.h"
#include "group_tap.h"
#include "lines.h"
#include "log.h"
#include "placement.h"
#include "spin.h"
#include "vhost_sigbus.h"
#include "vhost_signal.h"
#include "vhost_ring.h"
#include "worker.h"

#define WORKER_CLOCK_ROUNDS 16   /* of an idle worker, between two looks at the clock */
#define WORKER_PUSH_ROUNDS  16   /* of a busy worker, between two looks at frames left behind */
#define WORKER_DEAF_ROUNDS  64   /* with work, since the last sleep: there will not be one soon */
#define WORKER_ANNOUNCES    64   /* that wait for the worker's next round */
#define WORKER_RETRY_MS     1    /* sleep of a worker with frames that a nic did not take yet */
#define WORKER_LIGHT_MS     1000 /* after the last frame the CPU sleeps lightly, if so configured */
#define WORKER_SAMPLE       61   /* rounds, of which one is timed */
#define WORKER_LONGEST_NS   500000ull    /* that the work for one source can have taken */
#define WORKER_WINDOW_NS    200000000ull /* over which the load is told */

/*
 * liburcu orders by fences and futexes that ThreadSanitizer does not see. It is told: what a worker
 * did before it was quiescent comes before what worker_quiesce() returns to.
 */
#ifdef __has_feature /* clang */
#if __has_feature(thread_sanitizer)
#define __SANITIZE_THREAD__ 1 /* as gcc says it */
#endif
#endif
#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
static char worker_quiescence;
#define worker_tsan_release() __tsan_release(&worker_quiescence)
#define worker_tsan_acquire() __tsan_acquire(&worker_quiescence)
#else
#define worker_tsan_release() ((void)0)
#define worker_tsan_acquire() ((void)0)
#endif

/* @port is only compared: it may be gone when the worker looks. */
struct worker_announcement {
	const struct port *port;
	uint64_t mac;
};

struct worker {
	/* The control thread writes, the worker reads in every round */
	alignas(CACHE_LINE) _Atomic(struct worker_plan *) plan;
	_Atomic bool stop;
	_Atomic uint32_t announce_in; /* it puts announcements in, the worker takes them out */

	/* Nobody writes, once it runs */
	alignas(CACHE_LINE) struct worker_params params;
	struct fwd *fwd;
	int epoll_fd, wake_fd;
	int tid;
	int start_err;
	sem_t started;
	pthread_t thread;

	/* The worker's own */
	alignas(CACHE_LINE) uint64_t sigbus_events; /* as last told to the control thread */
	uint32_t round;
	bool look_everywhere;              /* in the next round, also at rings that rest */
	const struct worker_plan *deaf_to; /* only compared: whose nics cannot end a sleep now */
	_Atomic uint32_t announce_out;
	struct worker_times window_start;
	_Atomic uint32_t window_load; /* of the last one that is over */
	_Atomic uint64_t window_end_ns;
	struct cpu_latency latency;
	uint64_t light_until_ns; /* CLOCK_MONOTONIC; the limit of latency is released then */

	alignas(CACHE_LINE) struct worker_stats stats;

	alignas(CACHE_LINE) struct worker_announcement announcements[WORKER_ANNOUNCES];
};
static_assert(offsetof(struct worker, params) == CACHE_LINE, "the control thread's line");
static_assert(offsetof(struct worker, announcements) - offsetof(struct worker, stats) == CACHE_LINE,
              "counters of a round are in one line");

struct worker_plan *worker_plan_new(uint32_t n_nics, uint32_t n_taps, uint32_t n_uplinks,
                                    uint32_t n_guests)
{
	struct worker_plan *plan = lines_alloc(1, sizeof(*plan));

	if (!plan)
		return NULL;
	plan->nics = lines_alloc(n_nics, sizeof(*plan->nics));
	plan->taps = lines_alloc(n_taps, sizeof(*plan->taps));
	plan->guests = lines_alloc(n_guests, sizeof(*plan->guests));
	plan->uplinks = lines_alloc(n_uplinks, sizeof(*plan->uplinks));
	if (!plan->nics || !plan->taps || !plan->guests || !plan->uplinks ||
	    rota_init(&plan->rota, n_guests) < 0) {
		worker_plan_free(plan);
		return NULL;
	}
	return plan;
}

void worker_plan_free(struct worker_plan *plan)
{
	if (!plan)
		return;
	free(plan->nics);
	free(plan->taps);
	free(plan->guests);
	free(plan->uplinks);
	rota_free(&plan->rota);
	free(plan);
}

void worker_plan_add_guest(struct worker_plan *plan, const struct fwd_guest_source *src)
{
	plan->guests[plan->n_guests++] = *src;
	rota_add(&plan->rota);
}

static bool worker_has_announcements(const struct worker *w)
{
	return atomic_load_explicit(&w->announce_in, memory_order_relaxed) !=
	       atomic_load_explicit(&w->announce_out, memory_order_relaxed);
}

static cold_noinline void worker_send_announcements(struct worker *w, struct worker_plan *plan)
{
	/* R: the control thread's store behind the announcement */
	uint32_t in = atomic_load_explicit(&w->announce_in, memory_order_acquire);
	uint32_t out = atomic_load_explicit(&w->announce_out, memory_order_relaxed);

	for (; out != in; out++) {
		const struct worker_announcement *a = &w->announcements[out % WORKER_ANNOUNCES];

		for (uint32_t i = 0; i < plan->n_guests; i++) {
			if (plan->guests[i].port == a->port) {
				fwd_announce(w->fwd, &plan->guests[i], a->mac);
				break;
			}
		}
	}
	atomic_store_explicit(&w->announce_out, out, memory_order_release);
}

/* ---- rounds --------------------------------------------------------------------------------- */

/* A round that may be timed. */
struct worker_watch {
	uint64_t then_ns; /* when the last source was done; 0: it is not timed */
};

static uint64_t worker_estimate(uint64_t took_ns)
{
	return WORKER_SAMPLE * (took_ns < WORKER_LONGEST_NS ? took_ns : WORKER_LONGEST_NS);
}

/* What was done since the last source counts for @busy_ns, a counter of this worker's. */
static cold_noinline void worker_charge(struct worker *w, struct worker_watch *watch,
                                        _Atomic uint64_t *busy_ns)
{
	uint64_t now, took;

	fwd_flush_uplinks(w->fwd);
	now = clock_now_ns();
	took = worker_estimate(now - watch->then_ns);
	counter_add(busy_ns, took);
	counter_add(&w->stats.busy_ns, took);
	watch->then_ns = now;
}

static always_inline void worker_looked(struct worker *w, struct worker_watch *watch, uint32_t n,
                                        _Atomic uint64_t *busy_ns)
{
	if (unlikely(watch->then_ns && n))
		worker_charge(w, watch, busy_ns);
}

static always_inline uint32_t worker_look(struct worker *w, struct worker_plan *plan, uint32_t i,
                                          struct worker_watch *watch)
{
	struct fwd_guest_source *src = &plan->guests[i];
	uint32_t n = fwd_from_guest(w->fwd, src);

	rota_note(&plan->rota, i, n, !n && src->blocked_since_ns);
	worker_looked(w, watch, n, &src->pq->busy_ns);
	return n;
}

/* One burst from each guest whose turn it is. */
static always_inline uint32_t worker_serve_guests(struct worker *w, struct worker_plan *plan,
                                                  struct worker_watch *watch)
{
	struct rota *r = &plan->rota;
	uint32_t n_listed = r->n_listed;
	uint32_t n = 0, step;

	for (uint32_t i = 0; i < n_listed; i++)
		n += worker_look(w, plan, r->list[i], watch);
	for (uint32_t i = rota_resting(r, w->look_everywhere, &step); i < r->n; i += step) {
		if (!r->seats[i].listed)
			n += worker_look(w, plan, i, watch);
	}
	rota_end(r);
	w->look_everywhere = false;
	return n;
}

/* The end of a round that was timed. */
static cold_noinline void worker_end_watch(struct worker *w, const struct worker_watch *watch,
                                           uint32_t n)
{
	struct worker_times now;
	uint32_t load;

	if (!n)
		counter_add(&w->stats.idle_ns, worker_estimate(clock_now_ns() - watch->then_ns));
	if (watch->then_ns - w->window_start.now_ns < WORKER_WINDOW_NS)
		return;
	now = worker_get_times(w);
	load = worker_share(&w->window_start, &now, now.busy_ns - w->window_start.busy_ns);
	w->window_start = now;
	atomic_store_explicit(&w->window_load, load, memory_order_relaxed);
	atomic_store_explicit(&w->window_end_ns, now.now_ns, memory_order_relaxed);
	if (load >= PLACEMENT_FULL && w->params.overloaded)
		w->params.overloaded(w->params.owner);
}

/* One burst from each source. */
static uint32_t worker_round(struct worker *w, struct worker_plan *plan)
{
	struct worker_watch watch = {0};
	struct fwd *f = w->fwd;
	uint32_t n = 0;

	f->blocked = false;
	if (unlikely(++w->round == WORKER_SAMPLE)) {
		w->round = 0;
		watch.then_ns = clock_now_ns();
	}
	if (unlikely(worker_has_announcements(w)))
		worker_send_announcements(w, plan);
	for (uint32_t i = 0; i < plan->n_nics; i++) {
		uint32_t got = fwd_from_nic(f, &plan->nics[i]);

		worker_looked(w, &watch, got, &plan->nics[i].counters->busy_ns);
		n += got;
	}
	for (uint32_t i = 0; i < plan->n_taps; i++) {
		uint32_t got = fwd_from_tap(f, plan->taps[i].nic, plan->taps[i].tap,
		                            plan->taps[i].counters);

		worker_looked(w, &watch, got, &plan->taps[i].counters->busy_ns);
		n += got;
	}
	n += worker_serve_guests(w, plan, &watch);
	fwd_flush_uplinks(f);
	if (unlikely(watch.then_ns))
		worker_end_watch(w, &watch, n);
	if (unlikely(f->fault || vhost_sigbus_events() != w->sigbus_events)) {
		f->fault = false;
		w->sigbus_events = vhost_sigbus_events();
		w->params.ring_failed(w->params.owner);
	}
	return n;
}

/*
 * Frames that the kernel has not taken from our transmit rings: it wants another kick. Returns true
 * if some are left. A nic without a link takes none and is not waited for: its view changes when
 * the link returns, and that wakes the worker.
 */
static bool worker_push_uplinks(const struct worker *w, const struct worker_plan *plan)
{
	bool behind = false;

	for (uint32_t i = 0; i < plan->n_uplinks; i++) {
		struct xsk_queue *q = plan->uplinks[i].q;

		if (!nic_view_get(plan->uplinks[i].nic)->up)
			continue;
		if (!spin_try(&q->tx_lock, w->fwd->tag)) {
			behind = true; /* another worker sends on it just now; look again */
			continue;
		}
		if (unlikely(xsk_tx_waiting(q))) {
			xsk_tx_kick(q);
			xsk_tx_complete(q);
			behind |= xsk_tx_waiting(q);
		}
		spin_unlock(&q->tx_lock);
	}
	return behind;
}

/*
 * Ask for kicks everywhere and look once more. Rings that were asked before have not been touched
 * since: their guests will kick. Returns true if there is something to do after all.
 */
static bool worker_arm(struct worker *w, struct worker_plan *plan)
{
	bool more = false;

	w->look_everywhere = true;
	for (uint32_t i = 0; i < plan->n_guests; i++) {
		struct fwd_guest_source *src = &plan->guests[i];
		const struct vhost_vq_map *map = vhost_vq_get_map(src->vq);

		if (!map || src->blocked_since_ns || src->waiting)
			continue;
		vhost_vq_use_map(src->vq, map);
		if (src->vq->kicks == VHOST_KICKS_ON)
			continue;
		more |= vhost_ring_want_kicks(src->vq, map);
	}
	for (uint32_t i = 0; i < plan->n_nics; i++)
		more |= xsk_cons_nb_avail(&plan->nics[i].q->rx, 1) > 0;
	for (uint32_t i = 0; i < plan->n_taps; i++) {
		struct group_frame g;

		more |= group_tap_peek(plan->taps[i].tap, &g);
	}
	return more;
}

/*
 * Whenever frames arrive at a nic queue that somebody waits for, the kernel asks our epoll set, on
 * the CPU of who sends them, and frame by frame on a veth. A worker that is busy does not wait: it
 * takes its queues out of the set, and puts them back before it sleeps.
 *
 * The control thread changes the set, too, when queues come, go or move. It takes a queue from a
 * set after its worker has left the plan with that queue, so what is put back here never stays.
 */
static cold_noinline void worker_go_deaf(struct worker *w, const struct worker_plan *plan)
{
	for (uint32_t i = 0; i < plan->n_nics; i++)
		worker_unwatch(w, plan->nics[i].q->rx_fd);
	w->deaf_to = plan;
}

/* Returns false if the worker must not sleep, as it would not hear. */
static bool worker_hear(struct worker *w, const struct worker_plan *plan)
{
	bool ok = true;

	if (!w->deaf_to)
		return true;
	for (uint32_t i = 0; i < plan->n_nics; i++)
		ok &= !worker_watch(w, plan->nics[i].q->rx_fd);
	if (ok)
		w->deaf_to = NULL;
	return ok;
}

/*
 * How long to sleep at most, in ms; -1: for ever. The CPU's idle state is limited for a while after
 * work, then no more: that the while is over ends a sleep.
 */
static int worker_sleep_lightly(struct worker *w, bool had_work)
{
	uint64_t now;

	if (!cpu_latency_is_open(&w->latency))
		return -1;
	now = clock_now_ns();
	if (had_work) {
		cpu_latency_hold(&w->latency);
		w->light_until_ns = now + WORKER_LIGHT_MS * 1000000ull;
	} else if (now >= w->light_until_ns) {
		cpu_latency_release(&w->latency);
		return -1;
	}
	return (int)((w->light_until_ns - now) / 1000000) + 1;
}

static void worker_sleep(struct worker *w, int timeout_ms)
{
	struct epoll_event events[16];
	uint64_t start = clock_now_ns();

	counter_add(&w->stats.sleeps, 1);
	atomic_store_explicit(&w->stats.sleeps_since_ns, start, memory_order_relaxed);
	worker_tsan_release();
	urcu_qsbr_thread_offline();
	epoll_wait(w->epoll_fd, events, ARRAY_SIZE(events), timeout_ms);
	urcu_qsbr_thread_online();
	atomic_store_explicit(&w->stats.sleeps_since_ns, 0, memory_order_relaxed);
	counter_add(&w->stats.slept_ns, clock_now_ns() - start);
}

static void worker_loop(struct worker *w)
{
	const uint64_t patience_ns = (uint64_t)w->params.busy_poll_us * 1000;
	uint64_t idle_since = 0;
	uint32_t busy = 0, idle = 0;

	while (!atomic_load_explicit(&w->stop, memory_order_relaxed)) {
		struct worker_plan *plan;
		uint32_t n;
		int timeout_ms;
		bool behind;

		worker_tsan_release();
		urcu_qsbr_quiescent_state();
		plan = atomic_load_explicit(&w->plan, memory_order_acquire);
		n = worker_round(w, plan);
		if (n) {
			counter_add(&w->stats.rounds, 1);
			counter_add(&w->stats.frames, n);
			idle = 0;
			idle_since = 0;
			/* A guest that fell silent may have left frames that nobody flushes. */
			if (!(++busy % WORKER_PUSH_ROUNDS))
				worker_push_uplinks(w, plan);
			if (!(busy % WORKER_DEAF_ROUNDS) && w->deaf_to != plan)
				worker_go_deaf(w, plan);
			continue;
		}
		if (plan->must_poll) {
			worker_push_uplinks(w, plan);
			continue;
		}
		/*
		 * Reading the clock costs as much as a round: look at it now and then, and not at
		 * once, as the answer to what was just forwarded may be on its way.
		 */
		if (++idle % WORKER_CLOCK_ROUNDS)
			continue;
		if (!idle_since)
			idle_since = clock_now_ns();
		if (clock_now_ns() - idle_since < patience_ns)
			continue;
		behind = worker_push_uplinks(w, plan) || w->fwd->blocked;
		if (!worker_hear(w, plan) || worker_arm(w, plan))
			continue;
		timeout_ms = worker_sleep_lightly(w, busy);
		worker_sleep(w, behind ? WORKER_RETRY_MS : timeout_ms);
		busy = 0;
	}
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;

	w->tid = gettid();
	/* Here, pinned, and not by who starts it: memory comes from the node of this CPU. */
	w->start_err = fwd_new(w->params.id, w->params.n_workers, &w->fwd);
	sem_post(&w->started);
	if (w->start_err < 0)
		return NULL;
	urcu_qsbr_register_thread();
	(void)vhost_signal(-1); /* makes this thread's context, before there is traffic */
	worker_loop(w);
	vhost_signal_end();
	urcu_qsbr_unregister_thread();
	return NULL;
}

static int worker_spawn(struct worker *w)
{
	pthread_attr_t attr;
	sigset_t all, old;
	cpu_set_t cpus;
	char name[16];
	int err;

	CPU_ZERO(&cpus);
	CPU_SET((size_t)w->params.cpu, &cpus);
	pthread_attr_init(&attr);
	err = pthread_attr_setaffinity_np(&attr, sizeof(cpus), &cpus);
	if (!err) {
		/* Signals belong to the control thread; SIGBUS cannot be blocked away from us. */
		sigfillset(&all);
		sigdelset(&all, SIGBUS);
		sigdelset(&all, SIGSEGV);
		pthread_sigmask(SIG_SETMASK, &all, &old);
		err = pthread_create(&w->thread, &attr, worker_main, w);
		pthread_sigmask(SIG_SETMASK, &old, NULL);
	}
	pthread_attr_destroy(&attr);
	if (err)
		return -err;
	snprintf(name, sizeof(name), "worker%u", w->params.id);
	pthread_setname_np(w->thread, name);
	while (sem_wait(&w->started) < 0) /* a debugger's signal */
		;
	if (w->start_err < 0)
		pthread_join(w->thread, NULL);
	return w->start_err;
}

static void worker_free(struct worker *w)
{
	if (w->epoll_fd >= 0)
		close(w->epoll_fd);
	if (w->wake_fd >= 0)
		close(w->wake_fd);
	cpu_latency_close(&w->latency);
	fwd_free(w->fwd);
	sem_destroy(&w->started);
	free(w);
}

static void worker_open_latency(struct worker *w)
{
	int err = cpu_latency_open(&w->latency, CPU_LATENCY_SYSFS, w->params.cpu,
	                           w->params.wakeup_latency_us);

	if (err < 0)
		log_warn("worker %u: the wake-up latency of CPU %d cannot be limited: its "
		         "power/pm_qos_resume_latency_us in " CPU_LATENCY_SYSFS
		         "/devices/system/cpu: %s",
		         w->params.id, w->params.cpu, strerror(-err));
}

int worker_start(const struct worker_params *params, struct worker_plan *plan,
                 struct worker **ret_worker)
{
	struct worker *w = lines_alloc(1, sizeof(*w));
	int err;

	if (!w)
		return -ENOMEM;
	w->params = *params;
	worker_open_latency(w);
	sem_init(&w->started, 0, 0);
	w->window_start.now_ns = clock_now_ns();
	w->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	w->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	atomic_store_explicit(&w->plan, plan, memory_order_relaxed);
	err = -errno;
	if (w->epoll_fd < 0 || w->wake_fd < 0)
		goto fail;
	err = worker_watch(w, w->wake_fd);
	if (err < 0)
		goto fail;
	err = worker_spawn(w);
	if (err < 0)
		goto fail;
	*ret_worker = w;
	return 0;
fail:
	worker_free(w);
	return err;
}

void worker_wake(struct worker *w)
{
	uint64_t one = 1;
	ssize_t n = write(w->wake_fd, &one, sizeof(one));

	/* EAGAIN: it was never read and is full after 2^64 wakes; the edge comes all the same. */
	(void)n;
}

void worker_stop(struct worker *w)
{
	if (!w)
		return;
	atomic_store_explicit(&w->stop, true, memory_order_relaxed);
	worker_wake(w);
	pthread_join(w->thread, NULL);
	worker_free(w);
}

struct worker_plan *worker_swap_plan(struct worker *w, struct worker_plan *plan)
{
	struct worker_plan *old = atomic_exchange_explicit(&w->plan, plan, memory_order_acq_rel);

	worker_wake(w);
	return old;
}

bool worker_announce(struct worker *w, struct port *port, uint64_t mac)
{
	uint32_t in = atomic_load_explicit(&w->announce_in, memory_order_relaxed);

	if (in - atomic_load_explicit(&w->announce_out, memory_order_acquire) == WORKER_ANNOUNCES)
		return false;
	w->announcements[in % WORKER_ANNOUNCES] =
		(struct worker_announcement){.port = port, .mac = mac};
	atomic_store_explicit(&w->announce_in, in + 1, memory_order_release);
	worker_wake(w);
	return true;
}

void worker_quiesce(void)
{
	urcu_qsbr_synchronize_rcu();
	worker_tsan_acquire();
}

int worker_watch(struct worker *w, int fd)
{
	struct epoll_event ev = {.events = EPOLLIN | EPOLLET};

	/* EEXIST: the worker has just put it back itself. */
	if (epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0 && errno != EEXIST)
		return -errno;
	return 0;
}

void worker_unwatch(struct worker *w, int fd)
{
	epoll_ctl(w->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
}

const struct worker_stats *worker_get_stats(const struct worker *w)
{
	return &w->stats;
}

bool worker_is_asleep(const struct worker *w)
{
	return counter_get(&w->stats.sleeps_since_ns);
}

struct worker_times worker_get_times(const struct worker *w)
{
	/* First, as one that wakes up adds to the second: then a sleep is missed, not counted
	 * twice. */
	uint64_t slept = counter_get(&w->stats.slept_ns);
	uint64_t since = counter_get(&w->stats.sleeps_since_ns), now = clock_now_ns();

	return (struct worker_times){
		.now_ns = now,
		.busy_ns = counter_get(&w->stats.busy_ns),
		.idle_ns = counter_get(&w->stats.idle_ns),
		.slept_ns = slept + (since && now > since ? now - since : 0),
	};
}

uint32_t worker_share(const struct worker_times *from, const struct worker_times *to,
                      uint64_t part_ns)
{
	uint64_t took = to->now_ns - from->now_ns, slept = to->slept_ns - from->slept_ns;
	uint64_t counted = to->busy_ns - from->busy_ns + to->idle_ns - from->idle_ns;

	if (!took || !counted || slept >= took)
		return 0;
	return (uint32_t)(1000 * ((double)part_ns / (double)counted) *
	                  ((double)(took - slept) / (double)took));
}

uint32_t worker_load(const struct worker *w)
{
	uint64_t now = clock_now_ns();
	uint64_t end = atomic_load_explicit((_Atomic uint64_t *)(uintptr_t)&w->window_end_ns,
	                                    memory_order_relaxed);

	/* A worker that sleeps ends no window. */
	if (now - end > 3 * WORKER_WINDOW_NS && worker_is_asleep(w))
		return 0;
	return atomic_load_explicit((_Atomic uint32_t *)(uintptr_t)&w->window_load,
	                            memory_order_relaxed);
}

uint64_t worker_cpu_time_us(const struct worker *w)
{
	struct timespec ts;
	clockid_t clock;

	if (pthread_getcpuclockid(w->thread, &clock) || clock_gettime(clock, &ts) < 0)
		return 0;
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

int worker_cpu(const struct worker *w)
{
	return w->params.cpu;
}

enum cpu_latency_state worker_cpu_latency(const struct worker *w)
{
	return cpu_latency_get_state(&w->latency);
}

int worker_tid(const struct worker *w)
{
	return w->tid;
}
