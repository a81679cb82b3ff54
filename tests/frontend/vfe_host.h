/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vfe_host.h - a tiny IPv4 host: answers ARP and ICMP echo, and pings
 *
 * Enough for a network namespace's ping to reach the emulated guest, and the other way round. Knows
 * no routes and no fragments: everything is on the link.
 */
#ifndef VFE_HOST_H
#define VFE_HOST_H

#include <stdbool.h>
#include <stdint.h>
#include "vfe_frame.h"

#define VFE_HOST_MTU_MAX 65535

struct vfe_host {
	struct vfe_mac mac;
	uint8_t ip[4];

	bool peer_known; /* ARP for the ping's target was answered */
	uint8_t peer_ip[4];
	struct vfe_mac peer_mac;

	uint64_t arp_answered; /* requests of others that we answered */
	uint64_t echo_answered;
	uint64_t echo_replies; /* answers to our own pings, each number once */
	uint64_t bad_checksums;
	uint64_t other; /* frames that are none of our business */

	uint16_t echo_id;
	uint16_t last_seq; /* number of the ping that waits for its answer */
	bool answered;     /* it came */
};

/** vfe_ip_parse() - "198.18.0.5" or "198.18.0.5/24" (the length is ignored) */
bool vfe_ip_parse(const char *text, uint8_t ret[4]);

/**
 * vfe_host_input() - handle a received frame
 * @csum_ok: the device says that checksums need no check (NEEDS_CSUM, DATA_VALID)
 * @reply: room for a frame as long as this one, at least 60 bytes
 * Return: bytes of the answer in @reply, 0 if there is none.
 */
uint32_t vfe_host_input(struct vfe_host *h, const void *frame, uint32_t len, bool csum_ok,
                        void *reply);

/** vfe_host_arp() - an ARP request for peer_ip. Return: bytes. */
uint32_t vfe_host_arp(const struct vfe_host *h, void *frame);

/**
 * vfe_host_ping() - an ICMP echo request to peer_ip, number last_seq
 * @len: bytes of the whole frame, at least 42
 */
void vfe_host_ping(struct vfe_host *h, void *frame, uint32_t len);

#endif
