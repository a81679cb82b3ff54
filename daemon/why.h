/* SPDX-License-Identifier: BSD-2-Clause */
/* why.h - a sentence for the user that goes with an error code */
#ifndef WHY_H
#define WHY_H

#include "base.h"

/**
 * why_set() - put a sentence into *ret_why, in place of what was there
 * @ret_why: NULL or a string of malloc(); NULL afterwards if memory is short. The caller's to free
 * @err: returned as it is, so that a function can say why and leave in one statement
 */
int why_set(char **ret_why, int err, const char *fmt, ...) printf_like(3, 4);

#endif
