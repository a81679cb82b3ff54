/* SPDX-License-Identifier: BSD-2-Clause */
/* steer_priv.h - shared by steer.c (programs, links, pins) and steer_map.c (contents of the maps)
 */
#ifndef STEER_PRIV_H
#define STEER_PRIV_H

#include "steer.h"

enum steer_map_id {
	STEER_MAP_FDB,
	STEER_MAP_PORTS,
	STEER_MAP_QUEUES,
	STEER_MAP_XSKS,
	STEER_MAP_CONFIG,
	STEER_MAP_VERDICTS,
	STEER_MAP_PORT_STATS,
	STEER_N_MAPS
};

enum steer_link_id {
	STEER_LINK_NIC,
	STEER_LINK_BACK, /* on the redirect device */
	STEER_N_LINKS
};

struct steer {
	char *dir; /* of the pins */
	char *nic;
	uint32_t ifindex;
	bool generic;
	bool adopted;
	uint32_t n_cpus; /* possible ones: values in a per-CPU map */
	uint32_t prog_id;
	int maps[STEER_N_MAPS];
	bool fresh[STEER_N_MAPS]; /* made by us, to be pinned */
	int vars;                 /* map with the program's variable, fdb_epoch */
	uint32_t fdb_epoch;
	int progs[STEER_N_LINKS];
	int links[STEER_N_LINKS];
};

/** steer_reset_queues() - take every socket out of xsks and its mirror */
int steer_reset_queues(struct steer *steer);

#endif
