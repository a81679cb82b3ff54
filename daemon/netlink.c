// SPDX-License-Identifier: BSD-2-Clause
/*
 * netlink.c - devices through rtnetlink, and what rtnetlink does not tell through ethtool ioctls
 */
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/ethtool.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "loop.h"
#include "netlink.h"

#define NETLINK_BUF_SIZE 32768

#ifndef IFF_LOWER_UP
#define IFF_LOWER_UP 0x10000
#endif

struct netlink_watch {
	struct mnl_socket *socket;
	struct loop_source *source;
	netlink_changed_fn fn;
	void *arg;
};

static void netlink_copy_name(char *dst, size_t size, const char *src)
{
	(void)snprintf(dst, size, "%s", src);
}

/* ------------------------------------------------------------------ one link message */

static int netlink_link_attr(const struct nlattr *attr, void *data)
{
	struct netlink_link *link = data;

	switch (mnl_attr_get_type(attr)) {
	case IFLA_IFNAME:
		if (mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) == 0)
			netlink_copy_name(link->name, sizeof(link->name), mnl_attr_get_str(attr));
		break;
	case IFLA_MTU:
		if (mnl_attr_validate(attr, MNL_TYPE_U32) == 0)
			link->mtu = mnl_attr_get_u32(attr);
		break;
	case IFLA_ADDRESS:
		if (mnl_attr_get_payload_len(attr) == sizeof(link->mac))
			memcpy(link->mac, mnl_attr_get_payload(attr), sizeof(link->mac));
		break;
	case IFLA_NUM_RX_QUEUES:
		if (mnl_attr_validate(attr, MNL_TYPE_U32) == 0)
			link->n_rx_queues = mnl_attr_get_u32(attr);
		break;
	case IFLA_NUM_TX_QUEUES:
		if (mnl_attr_validate(attr, MNL_TYPE_U32) == 0)
			link->n_tx_queues = mnl_attr_get_u32(attr);
		break;
	default:
		break;
	}
	return MNL_CB_OK;
}

static int netlink_parse_link(const struct nlmsghdr *nlh, void *data)
{
	const struct ifinfomsg *ifi = mnl_nlmsg_get_payload(nlh);
	struct netlink_link *link = data;

	if (nlh->nlmsg_type != RTM_NEWLINK && nlh->nlmsg_type != RTM_DELLINK)
		return MNL_CB_OK;
	link->ifindex = (uint32_t)ifi->ifi_index;
	link->admin_up = ifi->ifi_flags & IFF_UP;
	link->carrier = ifi->ifi_flags & IFF_LOWER_UP;
	return mnl_attr_parse(nlh, sizeof(*ifi), netlink_link_attr, link);
}

/* ------------------------------------------------------------------ asking */

static int netlink_transact(struct mnl_socket *socket, struct nlmsghdr *nlh, uint8_t *buf,
                            struct netlink_link *link)
{
	uint32_t seq = nlh->nlmsg_seq;
	ssize_t len;

	if (mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) < 0 ||
	    mnl_socket_sendto(socket, nlh, nlh->nlmsg_len) < 0)
		return -errno;
	len = mnl_socket_recvfrom(socket, buf, NETLINK_BUF_SIZE);
	if (len < 0)
		return -errno;
	if (mnl_cb_run(buf, (size_t)len, seq, mnl_socket_get_portid(socket), netlink_parse_link,
	               link) < 0)
		return -errno;
	return 0;
}

/* RTM_GETLINK for one device. */
static int netlink_ask(const char *name, struct netlink_link *link)
{
	uint8_t *buf = calloc(1, NETLINK_BUF_SIZE);
	struct mnl_socket *socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	struct ifinfomsg *ifi;
	struct nlmsghdr *nlh;
	int err = -ENOMEM;

	if (buf && socket) {
		nlh = mnl_nlmsg_put_header(buf);
		nlh->nlmsg_type = RTM_GETLINK;
		nlh->nlmsg_flags = NLM_F_REQUEST;
		nlh->nlmsg_seq = 1;
		ifi = mnl_nlmsg_put_extra_header(nlh, sizeof(*ifi));
		ifi->ifi_family = AF_UNSPEC;
		mnl_attr_put_strz(nlh, IFLA_IFNAME, name);
		mnl_attr_put_u32(nlh, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
		err = netlink_transact(socket, nlh, buf, link);
	}
	if (socket)
		(void)mnl_socket_close(socket);
	free(buf);
	return err;
}

static int netlink_ethtool(int fd, const char *name, void *cmd)
{
	struct ifreq ifr = {.ifr_data = cmd};

	netlink_copy_name(ifr.ifr_name, sizeof(ifr.ifr_name), name);
	return ioctl(fd, SIOCETHTOOL, &ifr) < 0 ? -errno : 0;
}

/* Drivers that know no channels keep the numbers of rtnetlink: the queues that were allocated. */
static void netlink_ask_ethtool(struct netlink_link *link)
{
	struct ethtool_drvinfo info = {.cmd = ETHTOOL_GDRVINFO};
	struct ethtool_channels ch = {.cmd = ETHTOOL_GCHANNELS};
	struct ethtool_value flags = {.cmd = ETHTOOL_GFLAGS};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return;
	if (!netlink_ethtool(fd, link->name, &info)) {
		netlink_copy_name(link->driver, sizeof(link->driver), info.driver);
		netlink_copy_name(link->bus, sizeof(link->bus), info.bus_info);
	}
	if (!netlink_ethtool(fd, link->name, &ch) && ch.combined_count + ch.rx_count) {
		link->n_rx_queues = ch.combined_count + ch.rx_count;
		link->n_tx_queues = ch.combined_count + ch.tx_count;
	}
	if (!netlink_ethtool(fd, link->name, &flags))
		link->strips_vlan = flags.data & ETH_FLAG_RXVLAN;
	close(fd);
}

int netlink_get_link(const char *name, struct netlink_link *ret_link)
{
	struct netlink_link link = {.n_rx_queues = 1, .n_tx_queues = 1};
	int err;

	if (!name[0] || strlen(name) >= IF_NAMESIZE)
		return -ENODEV;
	err = netlink_ask(name, &link);
	if (err < 0)
		return err;
	if (!link.ifindex)
		return -ENODEV;
	netlink_ask_ethtool(&link);
	*ret_link = link;
	return 0;
}

/* ------------------------------------------------------------------ being told */

static int netlink_watch_message(const struct nlmsghdr *nlh, void *data)
{
	const struct netlink_watch *watch = data;
	struct netlink_link link = {0};

	if (nlh->nlmsg_type == RTM_NEWLINK || nlh->nlmsg_type == RTM_DELLINK) {
		(void)netlink_parse_link(nlh, &link);
		watch->fn(watch->arg, link.ifindex, link.name);
	}
	return MNL_CB_OK;
}

static void netlink_watch_event(void *arg, uint32_t epoll_events)
{
	const struct netlink_watch *watch = arg;
	uint8_t *buf = malloc(NETLINK_BUF_SIZE);

	(void)epoll_events;
	for (int i = 0; buf && i < 64; i++) { /* the loop calls again if there is more */
		ssize_t len = mnl_socket_recvfrom(watch->socket, buf, NETLINK_BUF_SIZE);

		if (len > 0)
			(void)mnl_cb_run(buf, (size_t)len, 0, 0, netlink_watch_message, arg);
		else if (errno == ENOBUFS)
			watch->fn(watch->arg, 0, NULL);
		else if (errno != EINTR)
			break;
	}
	free(buf);
}

int netlink_watch_new(struct loop *loop, netlink_changed_fn fn, void *arg,
                      struct netlink_watch **ret_watch)
{
	struct netlink_watch *watch = calloc(1, sizeof(*watch));
	int err = 0;

	if (!watch)
		return -ENOMEM;
	*watch = (struct netlink_watch){.fn = fn, .arg = arg};
	watch->socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (!watch->socket || mnl_socket_bind(watch->socket, RTMGRP_LINK, MNL_SOCKET_AUTOPID) < 0)
		err = -errno;
	else
		err = loop_add_fd(loop, mnl_socket_get_fd(watch->socket), EPOLLIN,
		                  netlink_watch_event, watch, &watch->source);
	if (err < 0) {
		netlink_watch_free(watch);
		return err;
	}
	*ret_watch = watch;
	return 0;
}

void netlink_watch_free(struct netlink_watch *watch)
{
	if (!watch)
		return;
	loop_remove(watch->source);
	if (watch->socket)
		(void)mnl_socket_close(watch->socket);
	free(watch);
}
