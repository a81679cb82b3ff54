/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * flow.h - which queue pair of a guest a flow belongs to
 *
 * A guest with several queue pairs has each of them served by another of its CPUs, and sends a flow
 * on the pair of the CPU where the application runs. What comes back should arrive there, too
 * (virtio 1.3, "Automatic receive steering in multiqueue mode": "After the driver transmitted a
 * packet of a flow on transmitqX, the device SHOULD cause incoming packets for that flow to be
 * steered to receiveqX"). So a port with several pairs remembers for each hash of a flow the pair
 * on which its guest sent last; both directions of a flow have the same hash. Flows that the guest
 * has not sent on go by their hash, so that they, too, stay on one ring, in order.
 *
 * The table is a hint: entries of flows that collide overwrite each other, entries that name a pair
 * that takes no frames are not followed, and nothing grows old. A guest writes only its own table.
 * Relaxed bytes: any worker that serves a transmit ring of the port writes, any other reads.
 *
 * The bytes of a frame are the guest's and may change under the hash; all they decide is the ring.
 */
#ifndef FLOW_H
#define FLOW_H

#include "base.h"
#include "frame_copy.h"

#define FLOW_ENTRIES 16384u /* a power of two; one byte each, touched as flows come */
#define FLOW_HEAD    64u    /* bytes of a frame that count; as much as FWD_HEAD holds */
#define FLOW_NET     46u /* of these, from the IP header on: a tag more or less changes nothing */

#define FLOW_IS_IP 1u /* in a hash: worth remembering. Other frames have no flows. */

struct flow_table {
	_Atomic uint8_t pair[FLOW_ENTRIES]; /* queue pair + 1; 0: unknown */
};

static inline uint64_t flow_mix(uint64_t v)
{
	v *= 0x9e3779b97f4a7c15ull;
	return v ^ v >> 32;
}

/* The same for (a, b) and (b, a) */
static inline uint64_t flow_both(uint64_t a, uint64_t b)
{
	return flow_mix(a ^ b) + flow_mix(a + b);
}

/* Protocols whose header begins with two ports: TCP, UDP, DCCP, SCTP, UDP-Lite */
static inline bool flow_has_ports(uint8_t proto)
{
	return proto == 6 || proto == 17 || proto == 33 || proto == 132 || proto == 136;
}

static inline uint64_t flow_ports(const uint8_t *frame, uint32_t at, uint32_t len)
{
	const uint8_t *p = frame + at;

	if (at + 4 > len)
		return 0;
	return flow_both((uint64_t)p[0] << 8 | p[1], (uint64_t)p[2] << 8 | p[3]);
}

static inline uint64_t flow_ipv4(const uint8_t *frame, uint32_t at, uint32_t len)
{
	const uint8_t *ip = frame + at;
	uint64_t h = flow_both(frame_load4(ip + 12), frame_load4(ip + 16)) + ip[9];
	bool fragment = (ip[6] & 0x3f) | ip[7];

	/* All fragments of a datagram alike: only the first one has the ports. */
	if (fragment || !flow_has_ports(ip[9]))
		return h;
	return h + flow_mix(flow_ports(frame, at + 4u * (ip[0] & 0x0f), len));
}

static inline uint64_t flow_ipv6(const uint8_t *frame, uint32_t at, uint32_t len)
{
	const uint8_t *ip = frame + at;
	uint64_t src = flow_mix(frame_load8(ip + 8)) + frame_load8(ip + 16);
	uint64_t dst = flow_mix(frame_load8(ip + 24)) + frame_load8(ip + 32);
	uint64_t h = flow_both(src, dst);

	/* Extension headers are not walked: such flows go by their addresses. */
	if (!flow_has_ports(ip[6]))
		return h;
	return h + ip[6] + flow_mix(flow_ports(frame, at + 40, len));
}

static inline uint64_t flow_macs(const uint8_t *frame, uint32_t *is_ip)
{
	uint64_t dst = frame_load8(frame) & 0xffffffffffffull;
	uint64_t src = frame_load8(frame + 6) & 0xffffffffffffull;

	*is_ip = 0;
	return flow_both(dst, src);
}

/**
 * flow_hash() - one number for both directions of a flow
 * @frame: Ethernet frame without virtio header, at least 14 bytes
 * @len: bytes of it that are there; those past FLOW_HEAD do not count
 *
 * VLAN tags are skipped: they may come off or on between the directions. Frames that are no IP go
 * by their MAC addresses; all that a guest sends to another one would be one flow then, on whatever
 * pair, so that is not remembered.
 */
static inline uint32_t flow_hash(const uint8_t *frame, uint32_t len)
{
	uint32_t at = 12;
	uint32_t is_ip = FLOW_IS_IP;
	uint64_t h;
	uint16_t type;

	len = min_u32(len, FLOW_HEAD);
	type = (uint16_t)(frame[at] << 8 | frame[at + 1]);
	for (int tags = 0; tags < 2 && at + 6 <= len; tags++) {
		if (type != 0x8100 && type != 0x88a8 && type != 0x9100)
			break;
		at += 4;
		type = (uint16_t)(frame[at] << 8 | frame[at + 1]);
	}
	at += 2;
	len = min_u32(len, at + FLOW_NET);
	if (type == 0x0800 && at + 20 <= len)
		h = flow_ipv4(frame, at, len);
	else if (type == 0x86dd && at + 40 <= len)
		h = flow_ipv6(frame, at, len);
	else
		h = flow_macs(frame, &is_ip);
	return ((uint32_t)(flow_mix(h) >> 16) & ~FLOW_IS_IP) | is_ip;
}

/** flow_learn() - the guest sent this flow on queue pair @pair */
static inline void flow_learn(struct flow_table *t, uint32_t hash, uint32_t pair)
{
	_Atomic uint8_t *e = &t->pair[(hash >> 1) % FLOW_ENTRIES];

	/* Most frames say what is known: do not dirty the line for them. */
	if ((hash & FLOW_IS_IP) && atomic_load_explicit(e, memory_order_relaxed) != pair + 1)
		atomic_store_explicit(e, (uint8_t)(pair + 1), memory_order_relaxed);
}

/** flow_pair() - queue pair + 1 on which the guest sends this flow, 0: unknown */
static inline uint32_t flow_pair(const struct flow_table *t, uint32_t hash)
{
	if (!(hash & FLOW_IS_IP))
		return 0;
	return atomic_load_explicit(&t->pair[(hash >> 1) % FLOW_ENTRIES], memory_order_relaxed);
}

#endif
