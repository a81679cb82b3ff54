// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "bench_guests.h"
#include "bench_times.h"
#include "bench_wake.h"
#include "c2c.h"

enum { PATIENCE_MS = 1000 };

struct sleeper {
	const struct bench_options *o;
	int event_fd, epoll_fd;
	_Atomic int ready; /* 1, or -errno */
	_Atomic uint64_t woken_ns;
	_Atomic bool over;
};

/* Inherits the priority of who made it. */
static void *sleeper(void *arg)
{
	struct sleeper *s = arg;
	struct epoll_event event = {.events = EPOLLIN};
	uint64_t count;
	int err = bench_pin(s->o->cpu_b);

	atomic_store(&s->ready, err ? err : 1);
	while (!err && !atomic_load(&s->over)) {
		epoll_wait(s->epoll_fd, &event, 1, -1);
		atomic_store_explicit(&s->woken_ns, bench_now_ns(), memory_order_release);
		if (read(s->event_fd, &count, sizeof(count)) < 0)
			break;
	}
	return NULL;
}

static int sleeper_open(struct sleeper *s, const struct bench_options *o, pthread_t *ret_thread)
{
	struct epoll_event event = {.events = EPOLLIN};
	int err;

	*s = (struct sleeper){.o = o,
	                      .event_fd = eventfd(0, EFD_CLOEXEC),
	                      .epoll_fd = epoll_create1(EPOLL_CLOEXEC)};
	if (s->event_fd < 0 || s->epoll_fd < 0 ||
	    epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, s->event_fd, &event) < 0)
		return -errno;
	err = pthread_create(ret_thread, NULL, sleeper, s);
	if (err)
		return -err;
	while (!atomic_load(&s->ready))
		sched_yield();
	return atomic_load(&s->ready) < 0 ? atomic_load(&s->ready) : 0;
}

static void wake(const struct sleeper *s)
{
	uint64_t one = 1;

	if (write(s->event_fd, &one, sizeof(one)) < 0)
		perror("vbench: eventfd");
}

static int measure(struct sleeper *s, struct bench_times *t)
{
	uint64_t end = bench_now_ns() + (uint64_t)s->o->ms * 1000000;
	unsigned int seed = 1;

	while (bench_now_ns() < end && !bench_times_full(t) && !bench_stopped) {
		uint64_t before, after, late;

		atomic_store(&s->woken_ns, 0);
		before = bench_pause(s->o->gap_us, &seed);
		late = before + (uint64_t)PATIENCE_MS * 1000000;
		wake(s);
		do
			after = atomic_load_explicit(&s->woken_ns, memory_order_acquire);
		while (!after && bench_now_ns() < late);
		if (!after)
			return -ETIMEDOUT;
		bench_times_add(t, after - before);
	}
	return t->n ? 0 : -ETIMEDOUT;
}

int bench_wake(const struct bench_options *o)
{
	struct bench_times t = {0};
	struct sleeper s;
	pthread_t thread = 0;
	int err = sleeper_open(&s, o, &thread);

	if (!err)
		err = bench_times_init(&t);
	if (!err)
		err = measure(&s, &t);
	if (thread) {
		atomic_store(&s.over, true);
		wake(&s);
		pthread_join(thread, NULL);
	}
	close(s.event_fd);
	close(s.epoll_fd);
	if (err) {
		bench_times_free(&t);
		return bench_print_failure(NULL, err);
	}
	printf("{\"mode\": \"wake\", \"cpus\": [%d, %d], ", o->cpu, o->cpu_b);
	bench_times_print(&t);
	bench_times_free(&t);
	return bench_print_end(!bench_stopped);
}
