/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base.h"
#include "fake_sysfs.h"

char fake_sysfs[64];

static void run(const char *fmt, ...) printf_like(1, 2);

static void run(const char *fmt, ...)
{
	char cmd[512];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(cmd, sizeof(cmd), fmt, ap);
	va_end(ap);
	assert_int_equal(system(cmd), 0);
}

void fake_sysfs_put(const char *path, const char *text)
{
	run("cd %s && mkdir -p $(dirname %s) && printf %%s '%s' > %s", fake_sysfs, path, text,
	    path);
}

int fake_sysfs_make(void **state)
{
	(void)state;
	strcpy(fake_sysfs, "/tmp/vx-sysfs-XXXXXX");
	return mkdtemp(fake_sysfs) ? 0 : -1;
}

int fake_sysfs_remove(void **state)
{
	(void)state;
	run("rm -r %s", fake_sysfs);
	return 0;
}
