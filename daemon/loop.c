// SPDX-License-Identifier: BSD-2-Clause
/*
 * loop.c - the control thread's event loop
 *
 * Each source is one descriptor in one epoll set: the caller's own, a timerfd, a signalfd, or the
 * loop's eventfd. epoll hands back the source's address, several at a time; a callback may remove
 * any source, also one whose event is still in the batch in hand. So loop_remove() takes the
 * source out of epoll and marks it dead, the rest of the batch skips the dead, and they are freed
 * when no batch is being worked on. A source added by a callback is not in the batch, and the
 * address of a dead one cannot be used again before it is freed.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "loop.h"

#define LOOP_BATCH 64

enum loop_kind { LOOP_FD, LOOP_TIMER, LOOP_SIGNAL, LOOP_WAKE };

struct loop_source {
	struct loop *loop;
	struct loop_source *prev, *next; /* in loop->sources, or next alone in loop->dead */
	enum loop_kind kind;
	bool dead;
	int fd; /* LOOP_FD: borrowed; otherwise the source's own */
	union {
		loop_fd_fn fd;
		loop_fn fn; /* timer, wake */
		loop_signal_fn signal;
	} call;
	void *arg;
};

struct loop {
	int epoll_fd;
	int reserve_fd; /* see loop_accept() */
	bool quit;
	int status;
	unsigned int depth; /* batches being worked on; above 0 the dead are kept */
	struct loop_source *sources;
	struct loop_source *dead;
	struct loop_source *wake;
};

static struct loop_source *loop_source_new(struct loop *loop, enum loop_kind kind, int fd,
                                           void *arg)
{
	struct loop_source *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	*s = (struct loop_source){.loop = loop, .kind = kind, .fd = fd, .arg = arg};
	return s;
}

/* Puts @s into the epoll set and the list. On failure the caller still owns it. */
static int loop_source_add(struct loop_source *s, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = s};
	struct loop *loop = s->loop;

	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, s->fd, &ev) < 0)
		return -errno;
	s->next = loop->sources;
	if (s->next)
		s->next->prev = s;
	loop->sources = s;
	return 0;
}

static void loop_free_dead(struct loop *loop)
{
	while (loop->dead) {
		struct loop_source *s = loop->dead;

		loop->dead = s->next;
		free(s);
	}
}

static int loop_open_reserve(void)
{
	return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

int loop_new(struct loop **ret_loop)
{
	struct loop *loop = calloc(1, sizeof(*loop));
	int fd = -1, err;

	if (!loop)
		return -ENOMEM;
	loop->reserve_fd = -1;
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll_fd < 0)
		goto fail_errno;
	loop->reserve_fd = loop_open_reserve();
	if (loop->reserve_fd < 0)
		goto fail_errno;
	fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fd < 0)
		goto fail_errno;
	errno = ENOMEM;
	loop->wake = loop_source_new(loop, LOOP_WAKE, fd, NULL);
	if (!loop->wake)
		goto fail_errno;
	fd = -1;
	err = loop_source_add(loop->wake, EPOLLIN);
	if (err < 0)
		goto fail;
	*ret_loop = loop;
	return 0;
fail_errno:
	err = -errno;
fail:
	if (fd >= 0)
		close(fd);
	loop_free(loop);
	return err;
}

void loop_free(struct loop *loop)
{
	if (!loop)
		return;
	/* Half built: the wake source may exist outside the list. */
	if (loop->wake && !loop->sources) {
		close(loop->wake->fd);
		free(loop->wake);
	}
	while (loop->sources)
		loop_remove(loop->sources);
	loop_free_dead(loop);
	if (loop->epoll_fd >= 0)
		close(loop->epoll_fd);
	if (loop->reserve_fd >= 0)
		close(loop->reserve_fd);
	free(loop);
}

int loop_accept(struct loop *loop, int listen_fd)
{
	int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	int err;

	if (fd >= 0)
		return fd;
	err = -errno;
	if (err != -EMFILE && err != -ENFILE)
		return err;
	if (loop->reserve_fd >= 0)
		close(loop->reserve_fd);
	fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd >= 0)
		close(fd);
	loop->reserve_fd = loop_open_reserve();
	return err;
}

int loop_add_fd(struct loop *loop, int fd, uint32_t events, loop_fd_fn fn, void *arg,
                struct loop_source **ret_source)
{
	struct loop_source *s = loop_source_new(loop, LOOP_FD, fd, arg);
	int err;

	if (!s)
		return -ENOMEM;
	s->call.fd = fn;
	err = loop_source_add(s, events);
	if (err < 0) {
		free(s);
		return err;
	}
	*ret_source = s;
	return 0;
}

int loop_modify_fd(struct loop_source *source, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = source};

	return epoll_ctl(source->loop->epoll_fd, EPOLL_CTL_MOD, source->fd, &ev) < 0 ? -errno : 0;
}

/* Adds a source around a descriptor of its own, which is closed on failure too. */
static int loop_add_own(struct loop *loop, enum loop_kind kind, int fd, void *arg,
                        struct loop_source **ret_source)
{
	struct loop_source *s = loop_source_new(loop, kind, fd, arg);
	int err;

	err = s ? loop_source_add(s, EPOLLIN) : -ENOMEM;
	if (err < 0) {
		free(s);
		close(fd);
		return err;
	}
	*ret_source = s;
	return 0;
}

int loop_add_timer(struct loop *loop, loop_fn fn, void *arg, struct loop_source **ret_source)
{
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	struct loop_source *s;
	int err;

	if (fd < 0)
		return -errno;
	err = loop_add_own(loop, LOOP_TIMER, fd, arg, &s);
	if (err < 0)
		return err;
	s->call.fn = fn;
	*ret_source = s;
	return 0;
}

static struct timespec loop_timespec(uint32_t ms)
{
	return (struct timespec){.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
}

void loop_set_timer(struct loop_source *source, uint32_t first_ms, uint32_t every_ms)
{
	/* A first expiry of 0 would disarm the timerfd, also a periodic one. */
	struct itimerspec it = {
		.it_value = loop_timespec(first_ms ? first_ms : every_ms),
		.it_interval = loop_timespec(every_ms),
	};

	timerfd_settime(source->fd, 0, &it, NULL);
}

int loop_add_signal(struct loop *loop, int signo, loop_signal_fn fn, void *arg,
                    struct loop_source **ret_source)
{
	struct loop_source *s;
	sigset_t set;
	int fd, err;

	sigemptyset(&set);
	if (sigaddset(&set, signo) < 0)
		return -errno;
	err = -pthread_sigmask(SIG_BLOCK, &set, NULL);
	if (err < 0)
		return err;
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		return -errno;
	err = loop_add_own(loop, LOOP_SIGNAL, fd, arg, &s);
	if (err < 0)
		return err;
	s->call.signal = fn;
	*ret_source = s;
	return 0;
}

/* The signal stays blocked: one that is pending would otherwise take its default action. */
void loop_remove(struct loop_source *source)
{
	struct loop *loop;

	if (!source || source->dead)
		return;
	loop = source->loop;
	epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, source->fd, NULL);
	if (source->kind != LOOP_FD)
		close(source->fd);
	if (source->prev)
		source->prev->next = source->next;
	else
		loop->sources = source->next;
	if (source->next)
		source->next->prev = source->prev;
	source->dead = true;
	source->next = loop->dead;
	loop->dead = source;
	if (!loop->depth)
		loop_free_dead(loop);
}

void loop_set_wake(struct loop *loop, loop_fn fn, void *arg)
{
	loop->wake->call.fn = fn;
	loop->wake->arg = arg;
}

void loop_wake(struct loop *loop)
{
	/* Can only fail when the count is at its limit, and then the loop is woken anyway. */
	(void)!write(loop->wake->fd, &(uint64_t){1}, sizeof(uint64_t));
}

static void loop_call_counted(struct loop_source *s)
{
	uint64_t n;

	/* Nothing to read: a timer was set anew between epoll and here. */
	if (read(s->fd, &n, sizeof(n)) == sizeof(n) && s->call.fn)
		s->call.fn(s->arg);
}

static void loop_call_signal(struct loop_source *s)
{
	struct signalfd_siginfo si;

	if (read(s->fd, &si, sizeof(si)) == sizeof(si))
		s->call.signal(s->arg, (int)si.ssi_signo);
}

static void loop_call(struct loop_source *s, uint32_t events)
{
	switch (s->kind) {
	case LOOP_FD:
		s->call.fd(s->arg, events);
		break;
	case LOOP_TIMER:
	case LOOP_WAKE:
		loop_call_counted(s);
		break;
	case LOOP_SIGNAL:
		loop_call_signal(s);
		break;
	}
}

int loop_run(struct loop *loop)
{
	struct epoll_event events[LOOP_BATCH];

	while (!loop->quit) {
		int n = epoll_wait(loop->epoll_fd, events, LOOP_BATCH, -1);

		if (n < 0 && errno != EINTR)
			return -errno;
		loop->depth++;
		for (int i = 0; i < n && !loop->quit; i++) {
			struct loop_source *s = events[i].data.ptr;

			if (!s->dead)
				loop_call(s, events[i].events);
		}
		if (!--loop->depth)
			loop_free_dead(loop);
	}
	loop->quit = false;
	return loop->status;
}

void loop_quit(struct loop *loop, int status)
{
	loop->quit = true;
	loop->status = status;
}
