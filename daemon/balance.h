/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * balance.h - measures what workers have to do, and moves sources to those with room
 *
 * Nothing happens while no worker is full. One that is says so (worker_params.overloaded); from
 * then on the loads are looked at every BALANCE_MS, until all is well for a while. A source that
 * was moved stays for BALANCE_STAY_MS. Control thread only.
 */
#ifndef BALANCE_H
#define BALANCE_H

#include "daemon.h"

#define BALANCE_MS      500
#define BALANCE_CALM    4     /* looks at which nobody was full, before it ends */
#define BALANCE_STAY_MS 10000 /* a source that was moved is not moved again */

/** balance_new() - Return: 0 or -errno. @daemon outlives it. */
int balance_new(struct daemon *daemon, struct balance **ret_balance);
void balance_free(struct balance *balance); /* takes NULL */

/** balance_start() - a worker is full: look at the loads, unless that goes on already */
void balance_start(struct balance *balance);

#endif
