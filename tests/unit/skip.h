/* SPDX-License-Identifier: BSD-2-Clause */
/* skip.h - cmocka's skip() with a reason, in the words that the summary of a run looks for */
#ifndef SKIP_H
#define SKIP_H

#include <cmocka.h>

#ifndef __has_feature /* clang's */
#define __has_feature(name) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) ||                               \
	__has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED true /* address space and time are scarce */
#else
#define SANITIZED false
#endif

#define skip_because(why)                                                                          \
	do {                                                                                       \
		print_message("SKIPPED [1] %s: %s\n", __func__, why);                              \
		skip();                                                                            \
	} while (0)

#endif
