/* SPDX-License-Identifier: BSD-2-Clause */
/* fake_sysfs.h - a folder with the files of sysfs that a test makes up */
#ifndef FAKE_SYSFS_H
#define FAKE_SYSFS_H

extern char fake_sysfs[64]; /* its path */

/* cmocka set-up and tear-down */
int fake_sysfs_make(void **state);
int fake_sysfs_remove(void **state);

/** fake_sysfs_put() - write a file, and make the folders above it; no quotes in either */
void fake_sysfs_put(const char *path, const char *text);

#endif
