/* SPDX-License-Identifier: BSD-2-Clause */
/* vfe_opts.h - the command line of the test front end */
#ifndef VFE_OPTS_H
#define VFE_OPTS_H

#include "vfe.h"
#include "vfe_frame.h"
#include "vfe_host.h"

enum vfe_churn {
	VFE_CHURN_NONE,
	VFE_CHURN_RESTART,   /* stop, start where it stopped */
	VFE_CHURN_RESET,     /* stop, empty rings, start: a reboot of the guest */
	VFE_CHURN_RECONNECT, /* hang up, connect, start */
	VFE_CHURN_DISABLE,   /* SET_VRING_ENABLE 0, then 1 */
	VFE_N_CHURNS
};

struct vfe_opts {
	const char *mode;
	struct vfe_config config;
	const char *peer_socket;
	struct vfe_mac mac;
	struct vfe_mac peer_mac;
	struct vfe_mac dst;
	uint16_t vlan;
	uint16_t ethertype;
	uint32_t id;
	uint32_t size_min; /* bytes, without frame check sequence */
	uint32_t size_max;
	struct vfe_tx_layout layout;
	bool mix;       /* every layout in turn */
	uint64_t count; /* frames to send */
	bool count_given;
	uint64_t expect;
	bool expect_given;
	uint32_t rate;   /* frames a second, 0: as fast as it goes */
	uint32_t window; /* pair: frames on the way at most */
	uint64_t least;  /* pair: frames of each sender before it ends when told to */
	bool both;       /* pair: in both directions */
	bool interrupts; /* sleep for calls instead of polling */
	int run_timeout_ms;
	int settle_ms;
	int duration_ms;
	bool has_ip;
	uint8_t ip[4];
	bool has_ping;
	uint8_t ping_ip[4];
	int interval_ms;
	enum vfe_churn churn;
	uint64_t churn_every; /* frames */
	bool churn_hot;       /* with frames on the way */
	bool allow_loss;
	bool survive; /* the loss of the back end */
};

/** vfe_opts_parse() - fill @o from the command line; explains and exits on mistakes */
void vfe_opts_parse(int argc, char **argv, struct vfe_opts *o);

#endif
