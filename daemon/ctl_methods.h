/* SPDX-License-Identifier: BSD-2-Clause */
/* ctl_methods.h - what the control socket answers; shapes in docs/control-protocol.md */
#ifndef CTL_METHODS_H
#define CTL_METHODS_H

#include "ctl.h"

/* The owner that ctl_open() gets with these is a struct daemon. */
extern const struct ctl_method ctl_methods[];
extern const size_t ctl_n_methods;

#endif
