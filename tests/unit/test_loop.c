// SPDX-License-Identifier: BSD-2-Clause
/* test_loop.c - the event loop: who is called, who is never called again; and the log's lines */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "log.h"
#include "loop.h"

#define N_FDS 80 /* more than one batch of events */

struct probe {
	struct loop *loop;
	struct loop_source *source;
	struct probe *all; /* of N_FDS */
	int fd;
	int calls;
};

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static struct loop *new_loop(void)
{
	struct loop *loop = NULL;

	assert_int_equal(loop_new(&loop), 0);
	assert_non_null(loop);
	return loop;
}

/* Stops a loop that misses what it waits for, instead of the whole test run. */
static void on_late(void *arg)
{
	loop_quit(arg, 99);
}

static void add_deadline(struct loop *loop)
{
	struct loop_source *timer;

	assert_int_equal(loop_add_timer(loop, on_late, loop, &timer), 0);
	loop_set_timer(timer, 5000, 0);
}

static void on_count(void *arg, uint32_t events)
{
	struct probe *p = arg;

	assert_true(events & EPOLLIN);
	p->calls++;
	loop_quit(p->loop, 7);
}

static void test_fd(void **state)
{
	struct probe p = {.loop = new_loop(), .fd = eventfd(1, EFD_CLOEXEC)};

	(void)state;
	add_deadline(p.loop);
	assert_int_equal(loop_add_fd(p.loop, p.fd, EPOLLIN, on_count, &p, &p.source), 0);
	assert_int_equal(loop_run(p.loop), 7);
	assert_int_equal(p.calls, 1);
	/* level triggered: still readable, called again; and loop_run() works twice */
	assert_int_equal(loop_run(p.loop), 7);
	assert_int_equal(p.calls, 2);
	assert_int_equal(loop_modify_fd(p.source, 0), 0);
	loop_remove(p.source);
	close(p.fd);
	loop_free(p.loop);
	loop_free(NULL);
	loop_remove(NULL);
}

static void test_bad_fd(void **state)
{
	struct loop *loop = new_loop();
	struct loop_source *source = NULL;

	(void)state;
	assert_int_equal(loop_add_fd(loop, -1, EPOLLIN, on_count, NULL, &source), -EBADF);
	assert_null(source);
	loop_free(loop);
}

/* The first that is called removes all the others, whose events are in the same batch. */
static void on_remove_all(void *arg, uint32_t events)
{
	struct probe *p = arg;

	(void)events;
	p->calls++;
	for (int i = 0; i < N_FDS; i++) {
		loop_remove(p->all[i].source);
		p->all[i].source = NULL;
		close(p->all[i].fd);
	}
}

/* The same, and new sources that have nothing to say, which might get the old ones' memory. */
static void on_remove_and_add(void *arg, uint32_t events)
{
	struct probe *p = arg;

	on_remove_all(arg, events);
	for (int i = 0; i < N_FDS; i++) {
		p->all[i].fd = eventfd(0, EFD_CLOEXEC);
		assert_int_equal(loop_add_fd(p->loop, p->all[i].fd, EPOLLIN, on_remove_and_add,
		                             &p->all[i], &p->all[i].source),
		                 0);
	}
}

static void on_tick_quit(void *arg)
{
	loop_quit(arg, 1);
}

static void run_removal(loop_fd_fn fn)
{
	struct loop *loop = new_loop();
	struct probe all[N_FDS];
	struct loop_source *timer;
	int calls = 0;

	for (int i = 0; i < N_FDS; i++) {
		all[i] = (struct probe){.loop = loop, .all = all, .fd = eventfd(1, EFD_CLOEXEC)};
		assert_int_equal(loop_add_fd(loop, all[i].fd, EPOLLIN, fn, &all[i], &all[i].source),
		                 0);
	}
	assert_int_equal(loop_add_timer(loop, on_tick_quit, loop, &timer), 0);
	loop_set_timer(timer, 20, 0);
	assert_int_equal(loop_run(loop), 1);
	for (int i = 0; i < N_FDS; i++) {
		calls += all[i].calls;
		loop_remove(all[i].source);
		if (all[i].source)
			close(all[i].fd);
	}
	assert_int_equal(calls, 1);
	loop_free(loop);
}

static void test_remove_inside(void **state)
{
	(void)state;
	run_removal(on_remove_all);
	run_removal(on_remove_and_add);
}

/* Each callback removes itself; none is called twice, none is left out. */
static void on_remove_self(void *arg, uint32_t events)
{
	struct probe *p = arg;

	(void)events;
	p->calls++;
	loop_remove(p->source);
	loop_remove(p->source); /* once more does nothing while the callback runs */
	close(p->fd);
}

static void test_remove_self(void **state)
{
	struct loop *loop = new_loop();
	struct probe all[N_FDS];
	struct loop_source *timer;

	(void)state;
	for (int i = 0; i < N_FDS; i++) {
		all[i] = (struct probe){.loop = loop, .fd = eventfd(1, EFD_CLOEXEC)};
		assert_int_equal(loop_add_fd(loop, all[i].fd, EPOLLIN, on_remove_self, &all[i],
		                             &all[i].source),
		                 0);
	}
	assert_int_equal(loop_add_timer(loop, on_tick_quit, loop, &timer), 0);
	loop_set_timer(timer, 50, 0);
	assert_int_equal(loop_run(loop), 1);
	for (int i = 0; i < N_FDS; i++)
		assert_int_equal(all[i].calls, 1);
	loop_free(loop);
}

struct ticks {
	struct loop *loop;
	struct loop_source *timer;
	struct loop_source *end;
	int n;
};

static void on_tick(void *arg)
{
	struct ticks *t = arg;

	t->n++;
	if (t->n == 3) {
		loop_set_timer(t->timer, 0, 0);
		loop_set_timer(t->end, 60, 0);
	}
	if (t->n == 6)
		loop_quit(t->loop, 1);
}

static void test_timer(void **state)
{
	struct ticks t = {.loop = new_loop()};
	uint64_t start = now_ms();

	(void)state;
	add_deadline(t.loop);
	assert_int_equal(loop_add_timer(t.loop, on_tick, &t, &t.timer), 0);
	assert_int_equal(loop_add_timer(t.loop, on_tick_quit, t.loop, &t.end), 0);
	loop_set_timer(t.timer, 5, 10);
	assert_int_equal(loop_run(t.loop), 1);
	assert_int_equal(t.n, 3); /* disarmed by its own callback */
	assert_true(now_ms() - start >= 5 + 10 + 10 + 60);
	loop_set_timer(t.timer, 0, 5); /* periodic without a first delay of its own */
	assert_int_equal(loop_run(t.loop), 1);
	assert_int_equal(t.n, 6);
	loop_free(t.loop);
}

static int last_signal;

static void on_signal(void *arg, int signo)
{
	last_signal = signo;
	loop_quit(arg, signo);
}

static void test_signal(void **state)
{
	struct loop *loop = new_loop();
	struct loop_source *a, *b;

	(void)state;
	add_deadline(loop);
	assert_int_equal(loop_add_signal(loop, SIGUSR1, on_signal, loop, &a), 0);
	assert_int_equal(loop_add_signal(loop, SIGUSR2, on_signal, loop, &b), 0);
	raise(SIGUSR2);
	assert_int_equal(loop_run(loop), SIGUSR2);
	raise(SIGUSR1);
	assert_int_equal(loop_run(loop), SIGUSR1);
	assert_int_equal(last_signal, SIGUSR1);
	loop_remove(a);
	raise(SIGUSR1); /* still blocked: must not kill the process */
	loop_free(loop);
	assert_int_equal(loop_add_signal(NULL, 1000, on_signal, NULL, &a), -EINVAL);
}

#define WAKES 10000

static void *waker(void *arg)
{
	for (int i = 0; i < WAKES; i++)
		loop_wake(arg);
	return NULL;
}

static int n_woken;

static void on_wake(void *arg)
{
	(void)arg;
	n_woken++;
}

static void test_wake(void **state)
{
	struct loop *loop = new_loop();
	struct loop_source *end;
	pthread_t threads[2];

	(void)state;
	loop_wake(loop); /* nothing set: nothing happens */
	loop_set_wake(loop, on_wake, NULL);
	assert_int_equal(loop_add_timer(loop, on_tick_quit, loop, &end), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, waker, loop), 0);
	loop_set_timer(end, 100, 0);
	assert_int_equal(loop_run(loop), 1);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	n_woken = 0;
	waker(loop); /* a batch of wake-ups is one call */
	loop_set_timer(end, 20, 0);
	assert_int_equal(loop_run(loop), 1);
	assert_int_equal(n_woken, 1);
	loop_free(loop);
}

/* A loop_quit() before loop_run() is not forgotten: a signal may come early. */
static void test_early_quit(void **state)
{
	struct loop *loop = new_loop();

	(void)state;
	loop_quit(loop, 3);
	assert_int_equal(loop_run(loop), 3);
	loop_free(loop);
}

/* --- log --- */

static int saved_stderr;

/* From here on stderr is @fd. */
static void redirect(int fd)
{
	saved_stderr = dup(STDERR_FILENO);
	assert_true(saved_stderr >= 0);
	assert_int_equal(dup2(fd, STDERR_FILENO), STDERR_FILENO);
	log_init(LOG_LEVEL_INFO);
}

static void restore(void)
{
	dup2(saved_stderr, STDERR_FILENO);
	close(saved_stderr);
	log_init(LOG_LEVEL_INFO);
}

static void test_log_lines(void **state)
{
	int fds[2];
	char text[4096], value[64], *p;
	struct stat st;
	ssize_t n;

	(void)state;
	assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
	redirect(fds[1]);
	log_debug("below the level");
	log_error("port %s: bad\nline\x1b[1m", "vm1");
	log_set_level(LOG_LEVEL_DEBUG);
	assert_int_equal(log_get_level(), LOG_LEVEL_DEBUG);
	log_debug("shown");
	n = read(fds[0], text, sizeof(text) - 1);
	assert_true(n > 0);
	text[n] = '\0';
	/* 2026-11-20 19:00:00.123 error: port vm1 ... */
	p = strchr(text, '\n');
	assert_non_null(p);
	*p++ = '\0';
	assert_int_equal(strlen("2026-11-20 19:00:00.123"), 23);
	assert_string_equal(text + 23, " error: port vm1: bad?line?[1m");
	assert_string_equal(p + 23, " debug: shown\n");

	/* for the journal: the priority, no time */
	assert_int_equal(fstat(STDERR_FILENO, &st), 0);
	snprintf(value, sizeof(value), "%llu:%llu", (unsigned long long)st.st_dev,
	         (unsigned long long)st.st_ino);
	setenv("JOURNAL_STREAM", value, 1);
	log_init(LOG_LEVEL_INFO);
	log_warn("w");
	log_info("i");
	n = read(fds[0], text, sizeof(text) - 1);
	assert_true(n > 0);
	text[n] = '\0';
	assert_string_equal(text, "<4>w\n<6>i\n");
	unsetenv("JOURNAL_STREAM");
	restore();
	close(fds[0]);
	close(fds[1]);
}

/* A reader that does not read, or is gone, costs lines but never time. */
static void check_stuck(int write_fd, int read_fd)
{
	char *text = calloc(1, 4 << 20), *p;
	uint64_t before, start;
	ssize_t n;
	size_t len = 0;

	assert_non_null(text);
	redirect(write_fd);
	before = log_lost();
	start = now_ms();
	for (int i = 0; i < 20000; i++)
		log_info("line %d of many, long enough to fill the buffer before the end", i);
	assert_true(now_ms() - start < 5000);
	assert_true(log_lost() > before);
	while ((n = recv(read_fd, text + len, 65536, MSG_DONTWAIT)) > 0 ||
	       (n < 0 && errno == ENOTSOCK && (n = read(read_fd, text + len, 65536)) > 0))
		len += (size_t)n;
	len = 0;
	log_info("after");
	log_info("and one more");
	while ((n = recv(read_fd, text + len, 65536, MSG_DONTWAIT)) > 0 ||
	       (n < 0 && errno == ENOTSOCK && (n = read(read_fd, text + len, 65536)) > 0))
		len += (size_t)n;
	restore();
	text[len] = '\0';
	assert_non_null(strstr(text, "after\n"));
	p = strstr(text, "lines before this one were lost\n");
	assert_non_null(p);
	assert_null(strstr(strchr(p, '\n'), "were lost")); /* told once */
	assert_non_null(strstr(p, "and one more\n"));
	free(text);
}

static void test_log_stuck(void **state)
{
	int fds[2], flags;

	(void)state;
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	fcntl(fds[0], F_SETFL, O_NONBLOCK);
	check_stuck(fds[1], fds[0]);
	/* The description that others share has not become non-blocking. */
	flags = fcntl(fds[1], F_GETFL);
	assert_false(flags & O_NONBLOCK);
	close(fds[0]);
	redirect(fds[1]);
	log_info("to nobody"); /* no SIGPIPE */
	restore();
	close(fds[1]);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	check_stuck(fds[1], fds[0]);
	close(fds[0]);
	close(fds[1]);
}

static void test_log_full_disk(void **state)
{
	int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
	uint64_t before;

	(void)state;
	assert_true(fd >= 0);
	redirect(fd);
	before = log_lost();
	log_info("one");
	log_info("two");
	restore();
	assert_int_equal(log_lost() - before, 2);
	close(fd);
}

/* A message of any length is one line. */
static void test_log_long(void **state)
{
	char text[8192], big[6000];
	int fds[2];
	ssize_t n;

	(void)state;
	memset(big, 'x', sizeof(big));
	big[sizeof(big) - 1] = '\0';
	assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
	redirect(fds[1]);
	log_info("%s", big);
	n = read(fds[0], text, sizeof(text));
	restore();
	assert_true(n >= 2047);
	assert_ptr_equal(memchr(text, '\n', (size_t)n), text + 2046);
	close(fds[0]);
	close(fds[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fd),
		cmocka_unit_test(test_bad_fd),
		cmocka_unit_test(test_remove_inside),
		cmocka_unit_test(test_remove_self),
		cmocka_unit_test(test_timer),
		cmocka_unit_test(test_signal),
		cmocka_unit_test(test_wake),
		cmocka_unit_test(test_early_quit),
		cmocka_unit_test(test_log_lines),
		cmocka_unit_test(test_log_stuck),
		cmocka_unit_test(test_log_full_disk),
		cmocka_unit_test(test_log_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
