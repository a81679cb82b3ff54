/* SPDX-License-Identifier: BSD-2-Clause */
/* vfe_args.h - arguments of command-line options; what is wrong ends the program with status 2 */
#ifndef VFE_ARGS_H
#define VFE_ARGS_H

#include <stdint.h>

#include "vfe_frame.h"

/** vfe_arg_die() - say which option has which wrong value, and exit */
_Noreturn void vfe_arg_die(const char *what, const char *value);

/** vfe_arg_number() - decimal, octal or hexadecimal, from @min to @max */
uint64_t vfe_arg_number(const char *what, const char *text, uint64_t min, uint64_t max);

void vfe_arg_mac(const char *what, const char *text, struct vfe_mac *ret);

#endif
