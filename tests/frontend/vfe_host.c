// SPDX-License-Identifier: BSD-2-Clause
/* vfe_host.c - ARP and ICMP echo (RFC 826, RFC 791, RFC 792), both sides */
#include <stdio.h>
#include <string.h>

#include "vfe_host.h"

#define ETH_LEN  14
#define ARP_LEN  28
#define IP_LEN   20
#define ICMP_LEN 8

enum { ARP_REQUEST = 1, ARP_REPLY = 2, ICMP_ECHO_REPLY = 0, ICMP_ECHO = 8, PROTO_ICMP = 1 };

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static void put16(uint8_t *p, uint32_t value)
{
	p[0] = (uint8_t)(value >> 8);
	p[1] = (uint8_t)value;
}

/* Internet checksum (RFC 1071); 0 over a range that holds its own correct sum. */
static uint16_t inet_sum(const uint8_t *p, uint32_t len)
{
	uint32_t sum = 0;

	for (; len > 1; p += 2, len -= 2)
		sum += get16(p);
	if (len)
		sum += (uint32_t)*p << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

bool vfe_ip_parse(const char *text, uint8_t ret[4])
{
	unsigned int b[4];

	if (sscanf(text, "%3u.%3u.%3u.%3u", &b[0], &b[1], &b[2], &b[3]) != 4)
		return false;
	for (int i = 0; i < 4; i++) {
		if (b[i] > 255)
			return false;
		ret[i] = (uint8_t)b[i];
	}
	return true;
}

static void put_eth(uint8_t *f, const uint8_t *dst, const uint8_t *src, uint16_t type)
{
	memcpy(f, dst, 6);
	memcpy(f + 6, src, 6);
	put16(f + 12, type);
}

static void put_arp(uint8_t *a, uint16_t op, const struct vfe_host *h, const uint8_t *to_mac,
                    const uint8_t *to_ip)
{
	static const uint8_t head[6] = {0, 1, 8, 0, 6, 4};

	memcpy(a, head, 6);
	put16(a + 6, op);
	memcpy(a + 8, h->mac.b, 6);
	memcpy(a + 14, h->ip, 4);
	memcpy(a + 18, to_mac, 6);
	memcpy(a + 24, to_ip, 4);
}

uint32_t vfe_host_arp(const struct vfe_host *h, void *frame)
{
	static const uint8_t all[6] = {255, 255, 255, 255, 255, 255}, none[6];
	uint8_t *f = frame;

	memset(f, 0, 60);
	put_eth(f, all, h->mac.b, 0x0806);
	put_arp(f + ETH_LEN, ARP_REQUEST, h, none, h->peer_ip);
	return 60;
}

static uint32_t arp_input(struct vfe_host *h, const uint8_t *f, uint32_t len, uint8_t *reply)
{
	const uint8_t *a = f + ETH_LEN;

	if (len < ETH_LEN + ARP_LEN || memcmp(a + 24, h->ip, 4) != 0) {
		h->other++;
		return 0;
	}
	if (get16(a + 6) == ARP_REPLY && memcmp(a + 14, h->peer_ip, 4) == 0) {
		memcpy(h->peer_mac.b, a + 8, 6);
		h->peer_known = true;
		return 0;
	}
	if (get16(a + 6) != ARP_REQUEST)
		return 0;
	memset(reply, 0, 60);
	put_eth(reply, a + 8, h->mac.b, 0x0806);
	put_arp(reply + ETH_LEN, ARP_REPLY, h, a + 8, a + 14);
	h->arp_answered++;
	return 60;
}

static uint32_t echo_request(struct vfe_host *h, const uint8_t *f, uint32_t icmp_len,
                             uint8_t *reply)
{
	uint32_t len = ETH_LEN + IP_LEN + icmp_len;
	uint8_t *ip = reply + ETH_LEN, *icmp = ip + IP_LEN;

	memcpy(reply, f, len);
	put_eth(reply, f + 6, h->mac.b, 0x0800);
	memcpy(ip + 12, h->ip, 4);
	memcpy(ip + 16, f + ETH_LEN + 12, 4);
	ip[8] = 64;
	put16(ip + 10, 0);
	put16(ip + 10, inet_sum(ip, IP_LEN));
	icmp[0] = ICMP_ECHO_REPLY;
	put16(icmp + 2, 0);
	put16(icmp + 2, inet_sum(icmp, icmp_len));
	h->echo_answered++;
	return len;
}

static void echo_reply(struct vfe_host *h, const uint8_t *icmp)
{
	if (get16(icmp + 4) != h->echo_id || get16(icmp + 6) != h->last_seq || h->answered)
		return;
	h->answered = true;
	h->echo_replies++;
}

static uint32_t ip_input(struct vfe_host *h, const uint8_t *f, uint32_t len, bool csum_ok,
                         uint8_t *reply)
{
	const uint8_t *ip = f + ETH_LEN, *icmp = ip + IP_LEN;
	uint32_t ip_len = len >= ETH_LEN + IP_LEN ? get16(ip + 2) : 0;

	if (ip_len < IP_LEN + ICMP_LEN || ip_len > len - ETH_LEN || ip[0] != 0x45 ||
	    ip[9] != PROTO_ICMP || memcmp(ip + 16, h->ip, 4) != 0 || memcmp(f, h->mac.b, 6) != 0 ||
	    (get16(ip + 6) & 0x3fff)) {
		h->other++;
		return 0;
	}
	if (inet_sum(ip, IP_LEN) || (!csum_ok && inet_sum(icmp, ip_len - IP_LEN))) {
		h->bad_checksums++;
		return 0;
	}
	if (icmp[0] == ICMP_ECHO)
		return echo_request(h, f, ip_len - IP_LEN, reply);
	if (icmp[0] == ICMP_ECHO_REPLY)
		echo_reply(h, icmp);
	return 0;
}

uint32_t vfe_host_input(struct vfe_host *h, const void *frame, uint32_t len, bool csum_ok,
                        void *reply)
{
	const uint8_t *f = frame;

	if (len >= ETH_LEN && get16(f + 12) == 0x0806)
		return arp_input(h, f, len, reply);
	if (len >= ETH_LEN && get16(f + 12) == 0x0800)
		return ip_input(h, f, len, csum_ok, reply);
	h->other++;
	return 0;
}

void vfe_host_ping(struct vfe_host *h, void *frame, uint32_t len)
{
	uint8_t *f = frame, *ip = f + ETH_LEN, *icmp = ip + IP_LEN;

	memset(f, 0, ETH_LEN + IP_LEN + ICMP_LEN);
	put_eth(f, h->peer_mac.b, h->mac.b, 0x0800);
	ip[0] = 0x45;
	put16(ip + 2, len - ETH_LEN);
	put16(ip + 4, h->last_seq);
	ip[8] = 64;
	ip[9] = PROTO_ICMP;
	memcpy(ip + 12, h->ip, 4);
	memcpy(ip + 16, h->peer_ip, 4);
	put16(ip + 10, inet_sum(ip, IP_LEN));
	icmp[0] = ICMP_ECHO;
	put16(icmp + 4, h->echo_id);
	put16(icmp + 6, h->last_seq);
	for (uint32_t i = ETH_LEN + IP_LEN + ICMP_LEN; i < len; i++)
		f[i] = (uint8_t)i;
	put16(icmp + 2, inet_sum(icmp, len - ETH_LEN - IP_LEN));
	h->answered = false;
}
