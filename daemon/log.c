// SPDX-License-Identifier: BSD-2-Clause
/*
 * log.c - one line per event on stderr, never waiting for its reader
 *
 * stderr is often shared: with the shell that started us, or with the journal. Setting O_NONBLOCK
 * on it would change it for those others too, because the flag lives in the open file description.
 * So the log opens the terminal or pipe behind it a second time (a description of its own), sends
 * to a socket with MSG_DONTWAIT, and writes to regular files as they are. Where a pipe cannot be
 * opened again it asks poll() first; lines are no longer than PIPE_BUF, so that a pipe which polls
 * writable takes a whole one.
 *
 * A line that does not get out is counted. The first line that gets out afterwards is followed by
 * one that tells how many are missing.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "log.h"

#define LOG_LINE_MAX  2048 /* longer messages are cut */
#define LOG_BURST     16   /* of log_limited() */
#define LOG_REFILL_MS 1000
static_assert(LOG_LINE_MAX <= PIPE_BUF, "a line must fit what a writable pipe takes at once");

enum log_sink { LOG_SINK_FILE, LOG_SINK_SOCKET, LOG_SINK_POLL };

static struct {
	pthread_mutex_t lock; /* one line at a time; held over calls that do not block */
	int fd;
	int own_fd; /* a second description of the same pipe or terminal, or -1 */
	enum log_sink sink;
	bool journal;
	_Atomic int level;
	_Atomic uint64_t lost;
	uint64_t told; /* lines lost that a line has told of; under lock */
} log_state = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.fd = STDERR_FILENO,
	.own_fd = -1,
	.sink = LOG_SINK_POLL,
	.level = LOG_LEVEL_INFO,
};

static const struct {
	const char *name;
	int priority; /* of syslog, as systemd wants it */
} log_levels[] = {
	[LOG_LEVEL_ERROR] = {"error", 3},
	[LOG_LEVEL_WARN] = {"warning", 4},
	[LOG_LEVEL_INFO] = {"info", 6},
	[LOG_LEVEL_DEBUG] = {"debug", 7},
};
static_assert(ARRAY_SIZE(log_levels) == LOG_N_LEVELS, "a level without a name");

/* Is stderr the stream that systemd connected to the journal? (JOURNAL_STREAM=dev:inode) */
static bool log_is_journal(const struct stat *st)
{
	const char *env = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;

	return env && sscanf(env, "%llu:%llu", &dev, &ino) == 2 && st->st_dev == dev &&
	       st->st_ino == ino;
}

static void log_choose_sink(const struct stat *st)
{
	log_state.fd = STDERR_FILENO;
	log_state.sink = LOG_SINK_POLL;
	if (S_ISSOCK(st->st_mode)) {
		log_state.sink = LOG_SINK_SOCKET;
		return;
	}
	if (S_ISREG(st->st_mode)) {
		log_state.sink = LOG_SINK_FILE;
		return;
	}
	log_state.own_fd = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (log_state.own_fd >= 0) {
		log_state.fd = log_state.own_fd;
		log_state.sink = LOG_SINK_FILE;
	}
}

void log_init(enum log_level level)
{
	struct sigaction old;
	struct stat st;

	pthread_mutex_lock(&log_state.lock);
	if (log_state.own_fd >= 0)
		close(log_state.own_fd);
	log_state.own_fd = -1;
	log_state.journal = false;
	if (fstat(STDERR_FILENO, &st) == 0) {
		log_state.journal = log_is_journal(&st);
		log_choose_sink(&st);
	}
	/* A reader that went away is a lost line, not the end of the daemon. */
	if (sigaction(SIGPIPE, NULL, &old) == 0 && old.sa_handler == SIG_DFL)
		signal(SIGPIPE, SIG_IGN);
	pthread_mutex_unlock(&log_state.lock);
	log_set_level(level);
}

void log_set_level(enum log_level level)
{
	atomic_store_explicit(&log_state.level, (int)level, memory_order_relaxed);
}

enum log_level log_get_level(void)
{
	return (enum log_level)atomic_load_explicit(&log_state.level, memory_order_relaxed);
}

uint64_t log_lost(void)
{
	return counter_get(&log_state.lost);
}

/* Write all of @len bytes or none that a reader would take for a line. Under lock. */
static bool log_put(const char *line, size_t len)
{
	struct pollfd p = {.fd = log_state.fd, .events = POLLOUT};
	ssize_t n;

	switch (log_state.sink) {
	case LOG_SINK_SOCKET:
		n = send(log_state.fd, line, len, MSG_DONTWAIT | MSG_NOSIGNAL);
		break;
	case LOG_SINK_POLL:
		if (poll(&p, 1, 0) != 1 || !(p.revents & POLLOUT))
			return false;
		/* fall through */
	default:
		n = write(log_state.fd, line, len);
		break;
	}
	return n == (ssize_t)len;
}

/* The beginning of a line, for the journal or for people. */
static size_t log_prefix(char *buf, size_t size, enum log_level level)
{
	struct timespec now;
	struct tm tm;
	size_t len;

	if (log_state.journal)
		return (size_t)snprintf(buf, size, "<%d>", log_levels[level].priority);
	clock_gettime(CLOCK_REALTIME, &now);
	localtime_r(&now.tv_sec, &tm);
	len = strftime(buf, size, "%Y-%m-%d %H:%M:%S", &tm);
	len += (size_t)snprintf(buf + len, size - len, ".%03ld %s: ", now.tv_nsec / 1000000,
	                        log_levels[level].name);
	return len;
}

/* What a peer supplied must not start lines of its own or drive a terminal. */
static void log_clean(char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
			text[i] = '?';
}

static void log_vline(enum log_level level, const char *fmt, va_list ap) printf_like(2, 0);

/* Under lock. */
static void log_vline(enum log_level level, const char *fmt, va_list ap)
{
	char line[LOG_LINE_MAX];
	size_t head = log_prefix(line, sizeof(line), level);
	size_t room = sizeof(line) - head - 1; /* of the text and its zero; one byte for '\n' */
	int n = vsnprintf(line + head, room, fmt, ap);
	size_t len = n < 0 ? 0 : (size_t)n < room ? (size_t)n : room - 1;

	log_clean(line + head, len);
	line[head + len] = '\n';
	if (!log_put(line, head + len + 1))
		counter_add(&log_state.lost, 1);
}

static void log_line(enum log_level level, const char *fmt, ...) printf_like(2, 3);

static void log_line(enum log_level level, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_vline(level, fmt, ap);
	va_end(ap);
}

void log_write(enum log_level level, const char *fmt, ...)
{
	int saved = errno;
	uint64_t before;
	va_list ap;

	if (level > log_get_level())
		return;
	pthread_mutex_lock(&log_state.lock);
	before = log_lost();
	va_start(ap, fmt);
	log_vline(level, fmt, ap);
	va_end(ap);
	if (log_lost() == before && before != log_state.told) {
		uint64_t missing = before - log_state.told;

		log_state.told = before;
		log_line(LOG_LEVEL_WARN, "log: %llu lines before this one were lost",
		         (unsigned long long)missing);
	}
	pthread_mutex_unlock(&log_state.lock);
	errno = saved;
}

void log_limited(struct log_limit *limit, enum log_level level, const char *fmt, ...)
{
	char text[LOG_LINE_MAX];
	va_list ap;

	if (level > log_get_level())
		return;
	if (!rate_take(&limit->rate, clock_now_ms(), LOG_BURST, LOG_REFILL_MS)) {
		limit->suppressed++;
		return;
	}
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (limit->suppressed)
		log_write(level, "%s (%u lines like this suppressed before)", text,
		          limit->suppressed);
	else
		log_write(level, "%s", text);
	limit->suppressed = 0;
}
