/* SPDX-License-Identifier: BSD-2-Clause */
/* bench_pace.h - frames at a pace that the guest sets: round trips, after idle time, fixed rates */
#ifndef BENCH_PACE_H
#define BENCH_PACE_H

#include "bench_opts.h"

/** bench_round_trip() - mode lat: one frame at a time, there and back. Prints; returns exit status.
 */
int bench_round_trip(const struct bench_options *o);

/** bench_after_idle() - mode idle: one frame after a pause, one way. Likewise. */
int bench_after_idle(const struct bench_options *o);

/** bench_fixed_rate() - mode rate: so many frames a second, and the CPU time they cost. Likewise.
 */
int bench_fixed_rate(const struct bench_options *o);

#endif
