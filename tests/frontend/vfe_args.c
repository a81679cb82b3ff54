// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "vfe_args.h"

void vfe_arg_die(const char *what, const char *value)
{
	fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, value);
	exit(2);
}

uint64_t vfe_arg_number(const char *what, const char *text, uint64_t min, uint64_t max)
{
	char *end;
	uint64_t n;

	errno = 0;
	n = strtoull(text, &end, 0);
	if (errno || end == text || *end || *text == '-' || n < min || n > max)
		vfe_arg_die(what, text);
	return n;
}

void vfe_arg_mac(const char *what, const char *text, struct vfe_mac *ret)
{
	if (!vfe_mac_parse(text, ret))
		vfe_arg_die(what, text);
}
