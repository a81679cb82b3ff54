// SPDX-License-Identifier: BSD-2-Clause
/* vfe_station.c - sending, receiving and disturbing one emulated guest */
#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vfe_station.h"

enum { BURST = 32 };

int vfe_station_open(struct vfe_station *s, const struct vfe_opts *o, const char *socket_path,
                     const struct vfe_mac *mac, const struct vfe_mac *dst, uint32_t id)
{
	struct vfe_config c = o->config;
	int err;

	*s = (struct vfe_station){
		.opts = o,
		.stream = {.dst = *dst,
	                   .src = *mac,
	                   .vlan = o->vlan,
	                   .ethertype = o->ethertype,
	                   .id = id},
		.seen = {.mac = *mac},
	};
	s->frame = malloc(VFE_HOST_MTU_MAX + 64);
	if (!s->frame)
		return -ENOMEM;
	c.socket_path = socket_path;
	err = vfe_open(&c, &s->v);
	if (!err)
		err = vfe_start(s->v);
	for (uint16_t p = 0; !err && p < s->v->config.n_pairs; p++)
		vfe_rx_fill(vfe_rxq(s->v, p));
	s->started_us = vfe_now_us();
	return err;
}

void vfe_station_close(struct vfe_station *s)
{
	vfe_close(s->v);
	vfe_tracker_free(&s->seen);
	free(s->frame);
	s->v = NULL;
	s->frame = NULL;
}

static int receive_pair(struct vfe_station *s, uint16_t pair)
{
	struct vfe_ring *r = vfe_rxq(s->v, pair);
	int n = 0;

	while (n < 4 * BURST) {
		struct vfe_rx_info info;
		int len = vfe_rx(r, s->frame, VFE_HOST_MTU_MAX, &info);

		if (len == 0)
			break;
		if (len < 0)
			return len;
		n++;
		vfe_track(&s->seen, s->frame, (uint32_t)len);
		s->seen.merged += info.n_buffers > 1;
		if (s->on_frame)
			s->on_frame(s, pair, s->frame, (uint32_t)len, &info);
	}
	if (n)
		vfe_rx_fill(r);
	return n;
}

int vfe_station_receive(struct vfe_station *s)
{
	int total = 0, err = vfe_iommu_serve(s->v);

	if (err)
		return err;
	for (uint16_t p = 0; p < s->v->config.n_pairs; p++) {
		int n = receive_pair(s, p);

		if (n < 0)
			return n;
		total += n;
	}
	return total;
}

int vfe_station_drain(struct vfe_station *s)
{
	uint64_t left = 0;
	int n;

	for (uint16_t p = 0; p < s->v->config.n_pairs; p++)
		left += vfe_rxq(s->v, p)->size;
	do {
		n = vfe_station_receive(s);
		if (n > 0)
			left -= (uint64_t)n < left ? (uint64_t)n : left;
	} while (n > 0 && left);
	return n < 0 ? n : 0;
}

int vfe_station_reap(struct vfe_station *s)
{
	int total = 0;

	for (uint16_t p = 0; p < s->v->config.n_pairs; p++) {
		int n = vfe_tx_reap(vfe_txq(s->v, p));

		if (n < 0)
			return n;
		total += n;
	}
	s->completed += (uint64_t)total;
	return total;
}

/* The layout of frame number @seq: as told, or each kind in turn. */
static struct vfe_tx_layout layout_of(const struct vfe_opts *o, uint64_t seq)
{
	static const struct vfe_tx_layout kinds[] = {
		{.pieces = 1},
		{.pieces = 1, .hdr_apart = true},
		{.pieces = 3},
		{.pieces = 1, .indirect = true},
		{.pieces = 2, .hdr_apart = true, .indirect = true},
		{.pieces = 7, .hdr_apart = true},
		{.pieces = 17, .indirect = true},
	};
	struct vfe_tx_layout layout = o->layout;

	if (o->mix) {
		layout = kinds[seq % (sizeof(kinds) / sizeof(kinds[0]))];
		layout.hdr = o->layout.hdr;
	}
	return layout;
}

static int send_one(struct vfe_station *s, uint16_t pair)
{
	const struct vfe_opts *o = s->opts;
	struct vfe_tx_layout layout = layout_of(o, s->pair_seq[pair]);
	uint32_t len = o->size_min + (uint32_t)(s->sent % (o->size_max - o->size_min + 1));
	struct vfe_stream stream = s->stream;
	int err;

	stream.id += pair;
	vfe_frame_build(&stream, s->pair_seq[pair], s->frame, len);
	err = vfe_tx(vfe_txq(s->v, pair), s->frame, len, &layout);
	if (err)
		return err;
	s->pair_seq[pair]++;
	s->sent++;
	return 0;
}

/* How many frames the rate allows by now. */
static uint64_t rate_quota(const struct vfe_station *s)
{
	uint64_t us = vfe_now_us() - s->started_us;

	return s->opts->rate ? us * s->opts->rate / 1000000 + 1 : UINT64_MAX;
}

int vfe_station_send(struct vfe_station *s, uint64_t max)
{
	uint64_t allowed = rate_quota(s);
	int n = 0;

	if (max > BURST)
		max = BURST;
	while (s->sent < s->quota && s->sent < allowed && (uint64_t)n < max) {
		int err = send_one(s, (uint16_t)(s->sent % s->v->config.n_enabled));

		if (err == -ENOSPC)
			break;
		if (err)
			return vfe_fail(s->v, err, "frame of up to %u bytes: %s", s->opts->size_max,
			                strerror(-err));
		n++;
	}
	for (uint16_t p = 0; n && p < s->v->config.n_enabled; p++)
		vfe_flush(vfe_txq(s->v, p));
	return n;
}

void vfe_station_emit(struct vfe_station *s, uint16_t pair, const void *frame, uint32_t len)
{
	struct vfe_ring *r = vfe_txq(s->v, pair);
	struct vfe_tx_layout layout = layout_of(s->opts, s->sent);

	if (vfe_tx(r, frame, len, &layout) < 0) {
		s->replies_dropped++;
		return;
	}
	s->sent++;
	vfe_flush(r);
}

static int start_again(struct vfe_station *s, bool empty)
{
	int err;

	if (empty) { /* what the device did not send is gone with the rings */
		s->completed = s->sent;
		vfe_reset_rings(s->v);
	}
	err = vfe_start(s->v);
	for (uint16_t p = 0; !err && p < s->v->config.n_pairs; p++) {
		vfe_rx_fill(vfe_rxq(s->v, p));
		/* What was queued before goes on without a new frame: tell the device. */
		vfe_kick(vfe_txq(s->v, p));
		vfe_kick(vfe_rxq(s->v, p));
	}
	return err;
}

static int toggle_pairs(struct vfe_station *s)
{
	int err = 0;

	for (uint16_t p = 0; !err && p < s->v->config.n_enabled; p++) {
		err = vfe_pair_enable(s->v, p, false);
		if (!err)
			err = vfe_pair_enable(s->v, p, true);
		vfe_kick(vfe_txq(s->v, p));
		vfe_kick(vfe_rxq(s->v, p));
	}
	return err;
}

/* What the device did before the end counts; called while nobody uses the rings. */
static int take_all(struct vfe_station *s)
{
	int err;

	do {
		err = vfe_station_receive(s);
	} while (err > 0);
	return err < 0 ? err : vfe_station_reap(s);
}

int vfe_station_rejoin(struct vfe_station *s)
{
	int err;

	do {
		err = vfe_reconnect(s->v);
		if (err >= 0)
			err = take_all(s);
		if (err >= 0)
			err = start_again(s, false);
	} while (err == -ECONNRESET || err == -EPIPE);
	return err;
}

int vfe_station_churn(struct vfe_station *s)
{
	int err;

	if (s->opts->churn == VFE_CHURN_DISABLE)
		return toggle_pairs(s);
	err = s->opts->churn == VFE_CHURN_RECONNECT ? vfe_reconnect(s->v) : vfe_stop(s->v);
	/* Frames that arrived before the stop count, also when the rings are emptied next. */
	if (err >= 0)
		err = take_all(s);
	return err < 0 ? err : start_again(s, s->opts->churn == VFE_CHURN_RESET);
}

int vfe_station_idle(struct vfe_station *const *stations, uint32_t n)
{
	struct vfe_ring *rings[2 * 2 * 128];
	uint32_t n_rings = 0;
	int ret;

	if (!stations[0]->opts->interrupts) {
		static unsigned int spins;

		if (++spins % 64)
			sched_yield();
		else
			usleep(50);
		return 0;
	}
	for (uint32_t i = 0; i < n; i++) {
		struct vfe *v = stations[i]->v;

		for (uint32_t k = 0; k < v->n_rings && n_rings < 2 * 2 * 128; k++)
			rings[n_rings++] = &v->rings[k];
	}
	ret = vfe_wait(rings, n_rings, 10);
	return ret < 0 ? ret : 0;
}

void vfe_station_json(const struct vfe_station *s, FILE *out)
{
	uint64_t kicks = 0, calls = 0;

	for (uint32_t i = 0; s->v && i < s->v->n_rings; i++) {
		kicks += s->v->rings[i].kicks;
		calls += s->v->rings[i].calls;
	}
	fprintf(out, "\"sent\": %" PRIu64 ", \"completed\": %" PRIu64 ", ", s->sent, s->completed);
	vfe_tracker_json(&s->seen, out);
	fprintf(out,
	        ", \"replies_dropped\": %" PRIu64 ", \"kicks\": %" PRIu64 ", \"calls\": %" PRIu64
	        ", \"faults\": %" PRIu64 ", \"lost_at_stop\": %" PRIu64
	        ", \"translations\": %" PRIu64,
	        s->replies_dropped, kicks, calls, s->v ? s->v->faults : 0,
	        s->v ? s->v->lost_at_stop : 0, s->v ? s->v->translations : 0);
}
