/* SPDX-License-Identifier: BSD-2-Clause */
/* bench_flow.h - frames in a second, as many as the back end takes */
#ifndef BENCH_FLOW_H
#define BENCH_FLOW_H

#include "bench_opts.h"

/** bench_flow() - modes pair, fan, ports, tx and rx. Prints the result. Return: exit status. */
int bench_flow(const struct bench_options *o);

#endif
