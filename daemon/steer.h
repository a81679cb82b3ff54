/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * steer.h - the steering program of one nic: load, attach, pin, fill its maps
 *
 * The program and its maps live in the kernel, pinned under <pin-dir>/<nic>/, and survive the
 * daemon. steer_open() adopts what an earlier daemon left (same device, same STEER_ABI_VERSION,
 * same map shapes), replaces the program in the pinned link in one step, and creates what is
 * missing. Control thread only. Needs CAP_BPF and CAP_NET_ADMIN.
 */
#ifndef STEER_H
#define STEER_H

#include "steer_abi.h"
#include "base.h"

struct steer;

struct steer_params {
	const char *pin_dir; /* the daemon's; the nic's own folder is made below it */
	const char *nic;     /* name of the nic, also the folder's */
	uint32_t ifindex;
	bool generic;      /* attach in generic (skb) mode instead of native */
	uint32_t max_port; /* ids of ports will not be above this */
	struct steer_config config;
};

/* One address of a port. */
struct steer_entry {
	struct steer_fdb_key key;
	uint32_t port;
};

struct steer_port_entry {
	uint32_t id;
	struct steer_port port;
};

/**
 * steer_open() - adopt or create program, maps and link
 * @ret_why: on failure a sentence for the user (who holds the hook, what to do); caller frees it
 * Return: 0, -EBUSY if another XDP program is attached, or another error.
 */
int steer_open(const struct steer_params *params, struct steer **ret_steer, char **ret_why);

/** steer_close() - forget it; program, maps and pins stay as they are. Takes NULL. */
void steer_close(struct steer *steer);

/** steer_unload() - detach the program of @nic and remove its pins. Return: 0, -ENOENT or -errno.
 */
int steer_unload(const char *pin_dir, const char *nic);

/**
 * steer_set_table() - make fdb and ports hold exactly this
 *
 * Entries that are there already are left untouched, so that frames of unchanged ports are never
 * missed; new and changed ones are written before old ones are removed.
 */
int steer_set_table(struct steer *steer, const struct steer_entry *entries, uint32_t n_entries,
                    const struct steer_port_entry *ports, uint32_t n_ports);

/** steer_set_config() - change the actions or the dedicated port; abi and ifindex are filled in */
int steer_set_config(struct steer *steer, const struct steer_config *config);

/** steer_get_config() - what the kernel's map holds */
int steer_get_config(const struct steer *steer, struct steer_config *ret_config);

int steer_set_port_state(struct steer *steer, uint32_t port, enum steer_port_state state);

/** steer_bind_queue() - put an AF_XDP socket into xsks and its mirror; fd -1 takes it out */
int steer_bind_queue(struct steer *steer, uint32_t queue, int xsk_fd, enum steer_queue_mode mode);

/** steer_read_verdicts() - sums over CPUs, @ret has STEER_N_VERDICTS elements */
int steer_read_verdicts(const struct steer *steer, struct steer_counter *ret);
/**
 * steer_read_port() - what was steered to a port; of a dedicated nic, all that its maps remember
 * Return: 0, -ENOENT if it is not in the table, or -errno.
 */
int steer_read_port(const struct steer *steer, uint32_t port, struct steer_counter *ret);

const char *steer_verdict_name(enum steer_verdict verdict);
/** steer_is_attached() - false after the device was deleted */
bool steer_is_attached(const struct steer *steer);
uint32_t steer_prog_id(const struct steer *steer);
bool steer_is_adopted(const struct steer *steer); /* pins of an earlier daemon were taken over */

#endif
