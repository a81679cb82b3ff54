/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <pthread.h>
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
#include "spin.h"
#include "vhost_sigbus.h"
#include "vhost_signal.h"
#include "vhost_ring.h"
#include "worker.h"

#define WORKER_CLOCK_ROUNDS 16 /* of an idle worker, between two looks at the clock */
#define WORKER_PUSH_ROUNDS  16 /* of a busy worker, between two looks at frames left behind */
#define WORKER_ANNOUNCES    64 /* that wait for the worker's next round */
#define WORKER_RETRY_MS     1  /* sleep of a worker with frames that a nic did not take yet */

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
	_Atomic(struct worker_plan *) plan;
	_Atomic bool stop;
	/* Announcements: the control thread puts in, the worker takes out */
	_Atomic uint32_t announce_in, announce_out;
	struct worker_announcement announcements[WORKER_ANNOUNCES];
	struct worker_params params;
	struct fwd *fwd;
	int epoll_fd, wake_fd;
	int tid;
	uint64_t sigbus_events; /* as last told to the control thread */
	pthread_t thread;
	struct worker_stats stats;
};

struct worker_plan *worker_plan_new(uint32_t n_nics, uint32_t n_taps, uint32_t n_uplinks,
                                    uint32_t n_guests)
{
	struct worker_plan *plan = calloc(1, sizeof(*plan));

	if (!plan)
		return NULL;
	/* One more of each: calloc(0) may return NULL. */
	plan->nics = calloc(n_nics + 1, sizeof(*plan->nics));
	plan->taps = calloc(n_taps + 1, sizeof(*plan->taps));
	plan->guests = calloc(n_guests + 1, sizeof(*plan->guests));
	plan->uplinks = calloc(n_uplinks + 1, sizeof(*plan->uplinks));
	if (!plan->nics || !plan->taps || !plan->guests || !plan->uplinks) {
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
	free(plan);
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

/* One burst from each source. */
static uint32_t worker_round(struct worker *w, struct worker_plan *plan)
{
	struct fwd *f = w->fwd;
	uint32_t n = 0;

	f->blocked = false;
	if (unlikely(worker_has_announcements(w)))
		worker_send_announcements(w, plan);
	for (uint32_t i = 0; i < plan->n_nics; i++)
		n += fwd_from_nic(f, &plan->nics[i]);
	for (uint32_t i = 0; i < plan->n_taps; i++)
		n += fwd_from_tap(f, plan->taps[i].nic, plan->taps[i].tap, plan->taps[i].counters);
	for (uint32_t i = 0; i < plan->n_guests; i++)
		n += fwd_from_guest(f, &plan->guests[i]);
	fwd_flush_uplinks(f);
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
static bool worker_arm(struct worker_plan *plan)
{
	bool more = false;

	for (uint32_t i = 0; i < plan->n_guests; i++) {
		struct fwd_guest_source *src = &plan->guests[i];
		const struct vhost_vq_map *map = vhost_vq_get_map(src->vq);

		if (!map || src->blocked_since_ns || src->waiting)
			continue;
		vhost_vq_use_map(src->vq, map);
		if (src->vq->notify_on)
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

static void worker_sleep(struct worker *w, int timeout_ms)
{
	struct epoll_event events[16];

	counter_add(&w->stats.sleeps, 1);
	atomic_store_explicit(&w->stats.sleeping, true, memory_order_relaxed);
	worker_tsan_release();
	urcu_qsbr_thread_offline();
	epoll_wait(w->epoll_fd, events, ARRAY_SIZE(events), timeout_ms);
	urcu_qsbr_thread_online();
	atomic_store_explicit(&w->stats.sleeping, false, memory_order_relaxed);
}

static void worker_loop(struct worker *w)
{
	const uint64_t patience_ns = (uint64_t)w->params.busy_poll_us * 1000;
	uint64_t idle_since = 0;
	uint32_t busy = 0, idle = 0;

	while (!atomic_load_explicit(&w->stop, memory_order_relaxed)) {
		struct worker_plan *plan;
		uint32_t n;
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
		if (!worker_arm(plan))
			worker_sleep(w, behind ? WORKER_RETRY_MS : -1);
	}
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;

	w->tid = gettid();
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
	return 0;
}

static void worker_free(struct worker *w)
{
	if (w->epoll_fd >= 0)
		close(w->epoll_fd);
	if (w->wake_fd >= 0)
		close(w->wake_fd);
	fwd_free(w->fwd);
	free(w);
}

int worker_start(const struct worker_params *params, struct worker_plan *plan,
                 struct worker **ret_worker)
{
	struct worker *w = calloc(1, sizeof(*w));
	int err;

	if (!w)
		return -ENOMEM;
	w->params = *params;
	w->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	w->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	atomic_store_explicit(&w->plan, plan, memory_order_relaxed);
	err = -errno;
	if (w->epoll_fd < 0 || w->wake_fd < 0)
		goto fail;
	err = fwd_new(params->id, params->n_workers, &w->fwd);
	if (err < 0)
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

	return epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

void worker_unwatch(struct worker *w, int fd)
{
	epoll_ctl(w->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
}

const struct worker_stats *worker_get_stats(const struct worker *w)
{
	return &w->stats;
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

int worker_tid(const struct worker *w)
{
	return w->tid;
}
