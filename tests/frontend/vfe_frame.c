// SPDX-License-Identifier: BSD-2-Clause
/* vfe_frame.c - numbered, checksummed test frames and the account of their arrival */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "vfe_frame.h"

#define MAGIC   0x76666531u /* "vfe1" */
#define MAX_SEQ (UINT64_C(1) << 32)

struct eth_hdr {
	uint8_t dst[6];
	uint8_t src[6];
	uint8_t type[2];
} __attribute__((packed));

/* After the Ethernet header and, if any, the VLAN tag. Host order: sender and receiver share it. */
struct test_hdr {
	uint32_t magic;
	uint32_t id;
	uint64_t seq;
	uint32_t len; /* of the frame without VLAN tag, which may be put on and taken off on the way
	               */
	uint32_t sum; /* of everything else in this header and of the pattern */
} __attribute__((packed));

bool vfe_mac_parse(const char *text, struct vfe_mac *ret)
{
	struct vfe_mac m;
	char end;

	if (sscanf(text, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx%c", &m.b[0], &m.b[1], &m.b[2],
	           &m.b[3], &m.b[4], &m.b[5], &end) != 6)
		return false;
	*ret = m;
	return true;
}

static uint64_t mix(uint64_t x)
{
	x ^= x >> 33;
	x *= UINT64_C(0xff51afd7ed558ccd);
	x ^= x >> 29;
	return x;
}

/* FNV-1a over 8 bytes at a time: any changed, moved or missing byte shows. */
static uint32_t checksum(uint64_t h, const uint8_t *p, size_t len)
{
	for (; len >= 8; p += 8, len -= 8) {
		uint64_t w;

		memcpy(&w, p, 8);
		h = (h ^ w) * UINT64_C(0x100000001b3);
		h ^= h >> 32;
	}
	for (; len; p++, len--)
		h = (h ^ *p) * UINT64_C(0x100000001b3);
	return (uint32_t)(h ^ h >> 32);
}

static uint32_t frame_sum(const struct test_hdr *t, const uint8_t *payload, size_t len)
{
	uint64_t h = mix(t->seq ^ (uint64_t)t->id << 32 ^ t->len);

	return checksum(h, payload, len);
}

static void fill_pattern(uint8_t *p, size_t len, uint64_t seed)
{
	for (; len >= 8; p += 8, len -= 8, seed = mix(seed + 1))
		memcpy(p, &seed, 8);
	memcpy(p, &seed, len);
}

static uint8_t *put_tag(uint8_t *p, uint16_t vlan)
{
	p[0] = 0x81;
	p[1] = 0;
	p[2] = (uint8_t)(vlan >> 8);
	p[3] = (uint8_t)vlan;
	return p + 4;
}

void vfe_frame_build(const struct vfe_stream *s, uint64_t seq, void *frame, uint32_t len)
{
	uint16_t type = s->ethertype ? s->ethertype : VFE_ETHERTYPE;
	struct test_hdr t = {
		.magic = MAGIC, .id = s->id, .seq = seq, .len = len - (s->vlan ? 4 : 0)};
	uint8_t *p = (uint8_t *)frame + 12;
	uint8_t *payload;
	size_t n;

	memcpy(frame, s->dst.b, 6);
	memcpy((uint8_t *)frame + 6, s->src.b, 6);
	if (s->vlan)
		p = put_tag(p, s->vlan);
	*p++ = (uint8_t)(type >> 8);
	*p++ = (uint8_t)type;
	payload = p + sizeof(t);
	n = (size_t)((uint8_t *)frame + len - payload);
	fill_pattern(payload, n, mix(seq + 1) ^ s->id);
	t.sum = frame_sum(&t, payload, n);
	memcpy(p, &t, sizeof(t));
}

/* Offset of what follows the Ethernet type, and bytes of VLAN tag before it. */
static uint32_t payload_offset(const uint8_t *f, uint32_t len, uint32_t *ret_tag)
{
	*ret_tag = len >= 18 && f[12] == 0x81 && f[13] == 0 ? 4 : 0;
	return 14 + *ret_tag;
}

enum vfe_verdict vfe_frame_check(const void *frame, uint32_t len, uint32_t *ret_id,
                                 uint64_t *ret_seq)
{
	struct test_hdr t;
	uint32_t tag, at = payload_offset(frame, len, &tag);
	const uint8_t *payload = (const uint8_t *)frame + at + sizeof(t);

	if (len < at + 4)
		return VFE_FRAME_FOREIGN;
	memset(&t, 0, sizeof(t));
	memcpy(&t, (const uint8_t *)frame + at, len - at < sizeof(t) ? len - at : sizeof(t));
	if (t.magic != MAGIC)
		return VFE_FRAME_FOREIGN;
	/* A short frame may have been padded to 60 bytes on the way; nothing else may change its
	 * length. */
	if (len < at + sizeof(t) || t.len < at - tag + sizeof(t) || t.len + tag > len ||
	    (t.len + tag != len && len > 64))
		return VFE_FRAME_BAD;
	if (t.sum != frame_sum(&t, payload, t.len + tag - at - sizeof(t)))
		return VFE_FRAME_BAD;
	*ret_id = t.id;
	*ret_seq = t.seq;
	return VFE_FRAME_GOOD;
}

static struct vfe_seen *find_stream(struct vfe_tracker *t, uint32_t id)
{
	for (uint32_t i = 0; i < t->n_streams; i++) {
		if (t->streams[i].id == id)
			return &t->streams[i];
	}
	if (t->n_streams == VFE_MAX_STREAMS)
		return NULL;
	t->streams[t->n_streams].id = id;
	return &t->streams[t->n_streams++];
}

static bool grow(struct vfe_seen *s, uint64_t seq)
{
	uint64_t n = s->n_bits ? s->n_bits : 1024;
	uint8_t *map;

	while (n <= seq)
		n *= 2;
	if (n == s->n_bits)
		return true;
	map = realloc(s->bitmap, n / 8);
	if (!map)
		return false;
	memset(map + s->n_bits / 8, 0, (n - s->n_bits) / 8);
	s->bitmap = map;
	s->n_bits = n;
	return true;
}

/* Returns false for a number that cannot be: the frame counts as bad. */
static bool see(struct vfe_tracker *t, uint32_t id, uint64_t seq)
{
	struct vfe_seen *s = find_stream(t, id);

	if (!s || seq >= MAX_SEQ || !grow(s, seq))
		return false;
	if (s->bitmap[seq / 8] & 1 << seq % 8) {
		t->duplicates++;
		return true;
	}
	s->bitmap[seq / 8] |= (uint8_t)(1 << seq % 8);
	s->unique++;
	t->good++;
	if (seq < s->next)
		t->reordered++;
	else
		s->next = seq + 1;
	return true;
}

enum vfe_verdict vfe_track(struct vfe_tracker *t, const void *frame, uint32_t len)
{
	const struct eth_hdr *eth = frame;
	bool group = len && eth->dst[0] & 1;
	enum vfe_verdict verdict;
	uint64_t seq = 0;
	uint32_t id = 0;

	t->frames++;
	t->bytes += len;
	verdict = vfe_frame_check(frame, len, &id, &seq);
	if (verdict == VFE_FRAME_GOOD && !see(t, id, seq))
		verdict = VFE_FRAME_BAD;
	if (verdict == VFE_FRAME_BAD)
		t->bad++;
	if (verdict == VFE_FRAME_FOREIGN)
		t->foreign++;
	if (group && verdict == VFE_FRAME_GOOD)
		t->group++;
	if (!group && len >= 6 && memcmp(eth->dst, t->mac.b, 6) != 0)
		t->misdirected++;
	return verdict;
}

uint64_t vfe_tracker_lost(const struct vfe_tracker *t)
{
	uint64_t lost = 0;

	for (uint32_t i = 0; i < t->n_streams; i++)
		lost += t->streams[i].next - t->streams[i].unique;
	return lost;
}

void vfe_tracker_free(struct vfe_tracker *t)
{
	for (uint32_t i = 0; i < t->n_streams; i++)
		free(t->streams[i].bitmap);
	t->n_streams = 0;
}

void vfe_tracker_json(const struct vfe_tracker *t, FILE *out)
{
	fprintf(out,
	        "\"frames\": %" PRIu64 ", \"bytes\": %" PRIu64 ", \"good\": %" PRIu64
	        ", \"bad\": %" PRIu64 ", \"lost\": %" PRIu64 ", \"duplicates\": %" PRIu64
	        ", \"reordered\": %" PRIu64 ", \"misdirected\": %" PRIu64 ", \"foreign\": %" PRIu64
	        ", \"group\": %" PRIu64 ", \"merged\": %" PRIu64 ", \"streams\": %" PRIu32,
	        t->frames, t->bytes, t->good, t->bad, vfe_tracker_lost(t), t->duplicates,
	        t->reordered, t->misdirected, t->foreign, t->group, t->merged, t->n_streams);
}
