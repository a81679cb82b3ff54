/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * group_tap.h - the daemon's copy of multicast and broadcast frames that arrive at a shared nic
 *
 * With `miss: pass` the steering program gives group-addressed frames to the host's stack, which
 * must see them (ARP for the host's own address, IPv6 neighbour discovery, DHCP). The guests need
 * them too, so a packet socket with a filter for the group bit takes a copy. Its receive ring is
 * shared memory (TPACKET_V2): a polling worker looks at it without a system call, a sleeping one
 * has the socket in its epoll set. Frames that the host or the daemon sends are not seen
 * (PACKET_IGNORE_OUTGOING).
 *
 * With `miss: redirect` the daemon gets group frames through AF_XDP instead and hands them on with
 * group_tap_send() on the other device.
 */
#ifndef GROUP_TAP_H
#define GROUP_TAP_H

#include "base.h"

struct group_tap;

struct group_frame {
	uint8_t *data; /* Ethernet frame without 802.1Q tag; writable (our ring) */
	uint32_t len;
	uint16_t vlan;     /* id of the tag that was taken off, 0: none or priority tag */
	bool partial_csum; /* a local stack left the checksum unfinished; csum_* say where */
	uint16_t csum_start, csum_offset;
};

/**
 * group_tap_open() - @frame_max: longest frame to take, longer ones are counted and dropped; 0: the
 * tap receives nothing and is there for group_tap_send().
 * Needs CAP_NET_RAW. Control thread. Return: 0 or -errno.
 */
int group_tap_open(uint32_t ifindex, uint32_t frame_max, struct group_tap **ret_tap);
void group_tap_close(struct group_tap *tap);   /* takes NULL */
int group_tap_fd(const struct group_tap *tap); /* for epoll, EPOLLIN */

/** group_tap_peek() - Return: true and the oldest frame, which stays until group_tap_release().
 * Worker. */
bool group_tap_peek(struct group_tap *tap, struct group_frame *ret_frame);
void group_tap_release(struct group_tap *tap);

/** group_tap_send() - send one frame out of the device. Does not block. Worker. Return: 0 or
 * -errno. */
int group_tap_send(struct group_tap *tap, const uint8_t *frame, uint32_t len);

/** group_tap_dropped() - frames lost because the ring was full or they were too long. Any thread.
 */
uint64_t group_tap_dropped(struct group_tap *tap);

#endif
