/* SPDX-License-Identifier: BSD-2-Clause */
/* bench_copy.h - the bare copies that any back end makes */
#ifndef BENCH_COPY_H
#define BENCH_COPY_H

#include "bench_opts.h"

/**
 * bench_copy() - copy frames of o->size bytes from o->ring buffers to as many others
 *
 * One thread copies and does nothing else, by the C library's memcpy() and by the daemon's own
 * copy; the faster one counts. Nobody else touches the buffers, so their lines stay in the caches,
 * as far as those reach. Prints the result. Return: exit status.
 */
int bench_copy(const struct bench_options *o);

#endif
