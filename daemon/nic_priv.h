/* SPDX-License-Identifier: BSD-2-Clause */
/* nic_priv.h - shared by nic.c (states), nic_view.c (what workers see) and nic_hold.c (ownership)
 */
#ifndef NIC_PRIV_H
#define NIC_PRIV_H

#include "netlink.h"
#include "nic.h"
#include "why.h"

struct nic_priv {
	struct loop *loop;
	const struct nic_ops *ops;
	void *owner;
	const struct conf_worker *workers; /* of the configuration */
	uint32_t n_workers;
	uint32_t max_port; /* highest id of a port */
	char *pin_dir;
	char *name;            /* of the device, also the folder of the pins */
	struct nic_view *none; /* the view without queues, while the device is not ours */
	bool live;             /* nic_new() has returned: the owner wants to be called */

	struct netlink_watch *watch;
	struct loop_source *timer; /* look again: after a change, or to retry */
	uint32_t backoff_ms;
	char *told; /* the error that was logged last */

	/* While the device is ours */
	int lock_fd;    /* see nic_hold.c */
	int promisc_fd; /* keeps the device in promiscuous mode */
	bool bound;     /* program attached, sockets open, view published */
	uint32_t redirect_ifindex;
	uint32_t n_device_queues; /* that the device had when we bound */
	uint32_t frame_size;
	struct netlink_link link;

	/* What nic_set_table() was given last */
	bool table_set;
	struct steer_entry *entries;
	uint32_t n_entries;
	struct steer_port_entry *ports;
	uint32_t n_ports;
	uint32_t dedicated_port;
};

/* nic_hold.c */

/** nic_hold() - become the one daemon that serves a device. Return: 0, -EBUSY or -errno, with why
 */
int nic_hold(uint32_t ifindex, const char *name, int *ret_fd, char **ret_why);

/** nic_promisc() - receive unicast for any address while *ret_fd is open. Return: 0 or -errno */
int nic_promisc(uint32_t ifindex, int *ret_fd);

/* nic_view.c */

/** nic_frame_need() - longest frame on a device with that MTU: header, two VLAN tags */
uint32_t nic_frame_need(uint32_t mtu);

/** nic_frame_size() - chunk size for an MTU, 0 if none is large enough */
uint32_t nic_frame_size(uint32_t mtu);

/** nic_max_mtu() - the largest MTU that can be carried */
uint32_t nic_max_mtu(void);

/** nic_one_part_mtu() - the same of frames that a driver with a page for each receives in one part
 */
uint32_t nic_one_part_mtu(void);

/** nic_view_new() - a view without queues that is down */
struct nic_view *nic_view_new(uint32_t n_queues);

/** nic_view_open() - open sockets and taps as nic->priv->link and the configuration want them */
int nic_view_open(struct nic *nic, struct nic_view **ret_view, char **ret_why);

/** nic_view_close() - close what a view refers to, and free it. Takes NULL. */
void nic_view_close(struct nic_view *view);

/** nic_view_publish() - replace the view; when it returns no worker has the old one, which it
 * returns */
struct nic_view *nic_view_publish(struct nic *nic, struct nic_view *view);

/** nic_view_refresh() - publish link state and MTU, if they have changed. Return: 0 or -ENOMEM */
int nic_view_refresh(struct nic *nic);

/** nic_bind_sockets() - fill the steering maps, then let the program use the view's sockets */
int nic_bind_sockets(struct nic *nic, char **ret_why);

/** nic_unbind_sockets() - the program must not use the sockets any more */
void nic_unbind_sockets(struct nic *nic);

#endif
