/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * log.h - the daemon's log: one line per event on stderr
 *
 * Under systemd each line starts with its priority as "<N>", so that the journal sorts it; on a
 * terminal it starts with the time and the level. Object first: "port vm3 q1: ring size ...". A
 * full disk or a closed stderr never stops or slows the daemon: lines that cannot be written are
 * dropped and counted. Any thread may log, but workers never do.
 */
#ifndef LOG_H
#define LOG_H

#include "rate.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG, LOG_N_LEVELS };

/** log_init() - choose the format from the environment (JOURNAL_STREAM), make stderr
 * non-blocking-safe */
void log_init(enum log_level level);
void log_set_level(enum log_level level);
enum log_level log_get_level(void);
/** log_lost() - lines that could not be written */
uint64_t log_lost(void);

void log_write(enum log_level level, const char *fmt, ...) printf_like(2, 3);

/* How many lines a peer has caused lately; all zero is a limit that was never used. */
struct log_limit {
	struct rate rate;
	uint32_t suppressed;
};

/**
 * log_limited() - as log_write(), for what a peer can cause as often as it likes
 *
 * Sixteen lines at once, then one a second. What was left out is told with the next line. One
 * thread at a time per @limit.
 */
void log_limited(struct log_limit *limit, enum log_level level, const char *fmt, ...)
	printf_like(3, 4);

#define log_error(...) log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...)  log_write(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...)  log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_write(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
