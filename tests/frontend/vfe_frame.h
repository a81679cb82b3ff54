/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vfe_frame.h - test frames that tell what happened to them
 *
 * A frame carries its stream, its number and a checksummed pattern, so that a receiver counts
 * loss, duplicates, reordering, corruption and frames that were meant for someone else.
 */
#ifndef VFE_FRAME_H
#define VFE_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define VFE_ETHERTYPE 0x88b5 /* IEEE: local experimental */
#define VFE_FRAME_MIN 42     /* bytes: VLAN tag and all fields fit */

struct vfe_mac {
	uint8_t b[6];
};

/* What a sender puts in. */
struct vfe_stream {
	struct vfe_mac dst;
	struct vfe_mac src;
	uint16_t vlan;      /* 0: untagged */
	uint16_t ethertype; /* 0: VFE_ETHERTYPE */
	uint32_t id;        /* tells senders apart at the receiver */
};

/** vfe_mac_parse() - "02:00:00:00:00:01". False if it is none. */
bool vfe_mac_parse(const char *text, struct vfe_mac *ret);

/**
 * vfe_frame_build() - frame number @seq of a stream
 * @len: bytes without frame check sequence, at least VFE_FRAME_MIN
 */
void vfe_frame_build(const struct vfe_stream *s, uint64_t seq, void *frame, uint32_t len);

enum vfe_verdict {
	VFE_FRAME_FOREIGN, /* not a test frame */
	VFE_FRAME_BAD,     /* a test frame that was changed, cut or stretched */
	VFE_FRAME_GOOD,
};

/** vfe_frame_check() - verify; writes stream and number for a good frame */
enum vfe_verdict vfe_frame_check(const void *frame, uint32_t len, uint32_t *ret_id,
                                 uint64_t *ret_seq);

#define VFE_MAX_STREAMS 256

struct vfe_seen {
	uint32_t id;
	uint64_t unique;
	uint64_t next; /* one above the highest number seen */
	uint8_t *bitmap;
	uint64_t n_bits;
};

/* What a receiver counts, in frames unless named otherwise. */
struct vfe_tracker {
	struct vfe_mac mac; /* the receiver's own */
	uint64_t frames;    /* all that arrived */
	uint64_t bytes;
	uint64_t good; /* each number of each stream once */
	uint64_t bad;
	uint64_t duplicates;
	uint64_t reordered;
	uint64_t misdirected; /* unicast for another MAC */
	uint64_t foreign;
	uint64_t group;  /* of the good ones: multicast and broadcast */
	uint64_t merged; /* frames in more than one buffer */
	uint32_t n_streams;
	struct vfe_seen streams[VFE_MAX_STREAMS];
};

/** vfe_track() - count one received frame. Return: its verdict. */
enum vfe_verdict vfe_track(struct vfe_tracker *t, const void *frame, uint32_t len);

/** vfe_tracker_lost() - numbers below the highest seen that never came, all streams */
uint64_t vfe_tracker_lost(const struct vfe_tracker *t);

/** vfe_tracker_free() - release the bitmaps */
void vfe_tracker_free(struct vfe_tracker *t);

/** vfe_tracker_json() - the counters as members of a JSON object, without braces */
void vfe_tracker_json(const struct vfe_tracker *t, FILE *out);

#endif
