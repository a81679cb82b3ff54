/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * port_state.h - what a port remembers when the daemon is restarted or killed
 *
 * One small file for each port, mapped for as long as the port exists, so that what was stored last
 * is there after a crash (not after a crash of the host, which no guest survives either). It holds
 * the positions of packed rings, see vhost_kept.h, and the features that the guest was given: a
 * front end whose back end was lost comes back with those, and leaves again if one is missing.
 *
 * The file is the daemon's alone: mode 0600, locked, its pages allocated beforehand. One that is of
 * another kind is emptied. Nothing depends on it but what is said above.
 */
#ifndef PORT_STATE_H
#define PORT_STATE_H

#include "vhost_dev.h"

struct port_state;

/**
 * port_state_open() - the file of a port, made or found
 * @near: path of a file in the folder that is to hold it
 * @name: of the port
 * @ret_why: on failure a sentence for the user; caller frees it
 *
 * Return: 0, or -errno; -EBUSY when another daemon has it.
 */
int port_state_open(const char *near, const char *name, struct port_state **ret_state,
                    char **ret_why);

/** port_state_close() - let go; the file stays. Takes NULL. */
void port_state_close(struct port_state *state);

/** port_state_rings() - records of all rings that a device can have */
struct vhost_kept *port_state_rings(struct port_state *state);

/** port_state_note() - the guest of the front end with this process id was given these features */
void port_state_note(struct port_state *state, int front_end, uint64_t features);

/** port_state_features() - what that front end's guest was given; 0: it is another one */
uint64_t port_state_features(const struct port_state *state, int front_end);

#endif
