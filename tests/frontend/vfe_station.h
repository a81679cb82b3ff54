/* SPDX-License-Identifier: BSD-2-Clause */
/* vfe_station.h - a device together with what it sends and what it has received */
#ifndef VFE_STATION_H
#define VFE_STATION_H

#include "vfe_opts.h"

struct vfe_station;

/* Called for each frame a station receives, after it was counted. */
typedef void (*vfe_on_frame)(struct vfe_station *s, uint16_t pair, const void *frame, uint32_t len,
                             const struct vfe_rx_info *info);

struct vfe_station {
	const struct vfe_opts *opts;
	struct vfe *v;
	struct vfe_stream stream; /* stream.id + pair is the number on the wire */
	struct vfe_tracker seen;
	vfe_on_frame on_frame; /* NULL: only count */
	void *context;
	uint64_t quota; /* frames to send */
	uint64_t sent;
	uint64_t completed;
	uint64_t replies_dropped; /* the transmit ring was full */
	uint64_t given_up;        /* pair: sent, not arrived, no longer waited for */
	uint64_t progress_us;     /* pair: last time a frame went or came */
	uint64_t started_us;
	uint64_t pair_seq[128];
	char *frame; /* scratch, VFE_HOST_MTU_MAX + 64 bytes */
};

/**
 * vfe_station_open() - connect, negotiate, start, post receive buffers
 * @id: stream number of what it sends
 * Return: 0 or -errno; vfe_station_close() in any case.
 */
int vfe_station_open(struct vfe_station *s, const struct vfe_opts *o, const char *socket_path,
                     const struct vfe_mac *mac, const struct vfe_mac *dst, uint32_t id);

void vfe_station_close(struct vfe_station *s);

/** vfe_station_receive() - take and count what has arrived. Return: frames, or -errno. */
int vfe_station_receive(struct vfe_station *s);

/**
 * vfe_station_drain() - take what had arrived when the caller was told to stop
 *
 * One ring's worth of each pair: what a sender adds meanwhile need not end.
 * Return: 0 or -errno.
 */
int vfe_station_drain(struct vfe_station *s);

/** vfe_station_send() - send up to @max of the frames still due. Return: frames, or -errno. */
int vfe_station_send(struct vfe_station *s, uint64_t max);

/** vfe_station_reap() - take completions. Return: frames, or -errno. */
int vfe_station_reap(struct vfe_station *s);

/** vfe_station_emit() - send one frame of the caller's now, or count it in replies_dropped */
void vfe_station_emit(struct vfe_station *s, uint16_t pair, const void *frame, uint32_t len);

/** vfe_station_rejoin() - after the loss of the back end: find it, or the next one, and go on */
int vfe_station_rejoin(struct vfe_station *s);

/** vfe_station_churn() - disturb the device as told by the options */
int vfe_station_churn(struct vfe_station *s);

/** vfe_station_idle() - wait a little for the device, by call or by polling. 0 or -errno. */
int vfe_station_idle(struct vfe_station *const *stations, uint32_t n);

/** vfe_station_json() - counters as members of a JSON object */
void vfe_station_json(const struct vfe_station *s, FILE *out);

#endif
