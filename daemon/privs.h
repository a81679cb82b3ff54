/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * privs.h - give up the privileges that the daemon does not need
 *
 * Kept where the process has them: NET_RAW (AF_XDP and packet sockets), NET_ADMIN and BPF (program,
 * maps, link), IPC_LOCK (memory of the rings). A daemon started by root also keeps what root needs
 * to reach files and sockets of other users: DAC_OVERRIDE, CHOWN, FOWNER; under the packaged unit
 * it never has those.
 */
#ifndef PRIVS_H
#define PRIVS_H

/**
 * privs_drop() - keep only those, for this process and what it may execute, for good
 *
 * Capabilities belong to threads, and new threads get their creator's: call it before the first
 * thread is started. Return: 0, or -errno with a sentence in @ret_why, which the caller frees.
 */
int privs_drop(char **ret_why);

#endif
