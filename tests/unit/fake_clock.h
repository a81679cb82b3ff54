/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fake_clock.h - a clock that the test moves
 *
 * For programs that are linked with --wrap=clock_gettime. It runs until it is stopped.
 */
#ifndef FAKE_CLOCK_H
#define FAKE_CLOCK_H

#include <stdint.h>

void fake_clock_stop(void);
void fake_clock_run(void);

/** fake_clock_pass_ms() - only while it is stopped */
void fake_clock_pass_ms(uint32_t ms);

#endif
