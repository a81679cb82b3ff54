/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * netlink.h - what the kernel says about network devices, and when it changes
 *
 * Everything is asked in the network namespace of the calling process; sysfs is not used, because
 * what is mounted there may show another namespace. Control thread only.
 */
#ifndef NETLINK_H
#define NETLINK_H

#include <net/if.h>
#include "base.h"

struct loop;
struct netlink_watch;

struct netlink_link {
	uint32_t ifindex;
	char name[IF_NAMESIZE];
	uint32_t mtu;
	uint8_t mac[6];
	bool admin_up; /* IFF_UP */
	bool carrier;  /* IFF_LOWER_UP */
	char driver[32];
	char bus[32];         /* its address there, for PCI devices "0000:3b:00.0"; or empty */
	uint32_t n_rx_queues; /* in use, as `ethtool -l` shows them */
	uint32_t n_tx_queues;
	bool strips_vlan; /* rx-vlan-offload: tags are taken off before XDP sees the frame */
};

/** netlink_get_link() - Return: 0, -ENODEV if no device has that name, or another error */
int netlink_get_link(const char *name, struct netlink_link *ret_link);

/**
 * netlink_changed_fn - a device changed, appeared or went
 * @ifindex: 0 with @name NULL: messages were lost, anything may have changed
 */
typedef void (*netlink_changed_fn)(void *arg, uint32_t ifindex, const char *name);

/** netlink_watch_new() - call @fn from @loop for each link message. Return: 0 or -errno. */
int netlink_watch_new(struct loop *loop, netlink_changed_fn fn, void *arg,
                      struct netlink_watch **ret_watch);
void netlink_watch_free(struct netlink_watch *watch); /* takes NULL */

#endif
