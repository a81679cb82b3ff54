// SPDX-License-Identifier: BSD-2-Clause
/* privs.c - capabilities, with libcap-ng */
#include <cap-ng.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

#include "base.h"
#include "privs.h"

#ifndef CAP_BPF
#define CAP_BPF 39 /* since Linux 5.8 */
#endif

static const unsigned int privs_kept[] = {
	CAP_NET_RAW, CAP_NET_ADMIN, CAP_BPF, CAP_IPC_LOCK, CAP_DAC_OVERRIDE, CAP_CHOWN, CAP_FOWNER,
};

static int privs_fail(char **ret_why, int err, const char *what)
{
	if (asprintf(ret_why, "privileges: %s: %s", what, strerror(-err)) < 0)
		*ret_why = NULL;
	return err;
}

int privs_drop(char **ret_why)
{
	bool have[ARRAY_SIZE(privs_kept)];
	bool bounds;

	*ret_why = NULL;
	if (capng_get_caps_process() < 0)
		return privs_fail(ret_why, -EPERM, "cannot read the capabilities");
	for (size_t i = 0; i < ARRAY_SIZE(privs_kept); i++)
		have[i] = capng_have_capability(CAPNG_PERMITTED, privs_kept[i]);
	/* The bounding set can only be lowered by who may set capabilities at all. */
	bounds = capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP);
	capng_clear(CAPNG_SELECT_ALL);
	for (size_t i = 0; i < ARRAY_SIZE(privs_kept); i++)
		if (have[i])
			capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, privs_kept[i]);
	/* Inheritable and ambient sets stay empty: a program that we execute gets nothing. */
	if (bounds && capng_apply(CAPNG_SELECT_BOUNDS) < 0)
		return privs_fail(ret_why, -EPERM, "cannot lower the bounding set");
	if (capng_apply(CAPNG_SELECT_CAPS) < 0)
		return privs_fail(ret_why, -EPERM, "cannot drop capabilities");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return privs_fail(ret_why, -errno, "cannot set no_new_privs");
	return 0;
}
