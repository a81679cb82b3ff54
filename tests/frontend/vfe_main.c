// SPDX-License-Identifier: BSD-2-Clause
/*
 * vfe_main.c - an emulated guest on the command line: the modes of the tool vfe
 *
 * Each mode prints one JSON line when its devices run ("ready"), so that a script can start the
 * other side, and one at the end ("result") with every counter. The exit status tells whether what
 * was expected has happened.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vfe_station.h"

static volatile sig_atomic_t stopped;

static void on_signal(int sig)
{
	(void)sig;
	stopped = 1;
}

static uint64_t in_ms(int ms)
{
	return vfe_now_us() + (uint64_t)ms * 1000;
}

/* JSON text: what may stand in it comes from strerror() and our own words, but be safe. */
static void print_text(const char *s)
{
	putchar('"');
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			putchar('\\');
		putchar((unsigned char)*s < ' ' ? ' ' : *s);
	}
	putchar('"');
}

static void print_negotiated(const struct vfe *v)
{
	printf("\"offered\": \"0x%" PRIx64 "\", \"acked\": \"0x%" PRIx64
	       "\", \"protocol_offered\": \"0x%" PRIx64 "\", \"protocol_acked\": \"0x%" PRIx64
	       "\", \"queue_num\": %" PRIu64 ", \"mem_slots\": %" PRIu64,
	       v->offered, v->acked, v->protocol_offered, v->protocol_acked, v->queue_num,
	       v->mem_slots);
}

static void print_ready(const struct vfe_opts *o, const struct vfe *v)
{
	printf("{\"event\": \"ready\", \"mode\": \"%s\", ", o->mode);
	print_negotiated(v);
	printf("}\n");
	fflush(stdout);
}

/* Prints the result line and gives the exit status. */
static int finish(const struct vfe_opts *o, const struct vfe_station *s, const char *more, int err,
                  bool ok)
{
	ok = ok && err >= 0 && (!s->v || !s->v->faults);
	printf("{\"event\": \"result\", \"mode\": \"%s\", \"ok\": %s, \"ms\": %" PRIu64 ", ",
	       o->mode, ok ? "true" : "false",
	       s->started_us ? (vfe_now_us() - s->started_us) / 1000 : 0);
	vfe_station_json(s, stdout);
	printf("%s", more);
	if (!ok && s->v && (err < 0 || s->v->faults)) {
		printf(", \"error\": ");
		print_text(vfe_error(s->v));
	}
	printf("}\n");
	return ok ? 0 : 1;
}

static int open_station(struct vfe_station *s, const struct vfe_opts *o)
{
	int err = vfe_station_open(s, o, o->config.socket_path, &o->mac, &o->dst, o->id);

	if (!err)
		print_ready(o, s->v);
	return err;
}

static int do_probe(const struct vfe_opts *o, struct vfe_station *s)
{
	int err = open_station(s, o);

	if (!err)
		err = vfe_stop(s->v);
	return finish(o, s, "", err, true);
}

static int do_tx(const struct vfe_opts *o, struct vfe_station *s)
{
	uint64_t deadline = in_ms(o->run_timeout_ms);
	int err = open_station(s, o);

	s->quota = o->count;
	while (err >= 0 && !stopped && s->completed < s->quota && vfe_now_us() < deadline) {
		int sent, done = vfe_station_reap(s);

		err = done < 0 ? done : vfe_station_receive(s);
		if (err < 0)
			break;
		sent = vfe_station_send(s, UINT64_MAX);
		if (sent == 0 && done == 0 && err == 0)
			err = vfe_station_idle(&s, 1);
		else if (sent < 0)
			err = sent;
	}
	return finish(o, s, "", err, s->completed == s->quota);
}

static bool clean(const struct vfe_tracker *t)
{
	return !t->bad && !t->duplicates && !t->reordered && !t->misdirected;
}

static int do_rx(const struct vfe_opts *o, struct vfe_station *s)
{
	uint64_t deadline = in_ms(o->run_timeout_ms), settled = 0;
	int err = open_station(s, o);

	/* After the last one expected, listen a little longer: what still comes is too much. */
	while (err >= 0 && !stopped && vfe_now_us() < deadline) {
		if (s->seen.good >= o->expect && !settled)
			settled = in_ms(o->settle_ms);
		if (settled && vfe_now_us() >= settled)
			break;
		err = vfe_station_receive(s);
		if (err == 0)
			err = vfe_station_idle(&s, 1);
	}
	if (err >= 0)
		err = vfe_station_drain(s);
	return finish(o, s, "", err, s->seen.good == o->expect && clean(&s->seen));
}

static void echo_frame(struct vfe_station *s, uint16_t pair, const void *frame, uint32_t len,
                       const struct vfe_rx_info *info)
{
	uint8_t *f = (uint8_t *)s->frame;
	uint8_t from[6];

	(void)info;
	if (len < 14 || memcmp(frame, s->seen.mac.b, 6) != 0)
		return;
	memcpy(from, f + 6, 6);
	memcpy(f + 6, s->seen.mac.b, 6);
	memcpy(f, from, 6);
	vfe_station_emit(s, pair, f, len);
}

static int do_echo(const struct vfe_opts *o, struct vfe_station *s)
{
	uint64_t deadline = o->duration_ms ? in_ms(o->duration_ms) : UINT64_MAX;
	int err = open_station(s, o);

	s->on_frame = echo_frame;
	while (err >= 0 && !stopped && vfe_now_us() < deadline) {
		int done = vfe_station_reap(s);

		err = done < 0 ? done : vfe_station_receive(s);
		if (err == 0 && done == 0)
			err = vfe_station_idle(&s, 1);
	}
	return finish(o, s, "", err, !o->expect_given || s->seen.good == o->expect);
}

/* ---- host: ARP, echo, ping
 * ------------------------------------------------------------------------ */

struct host_run {
	struct vfe_host host;
	char reply[VFE_HOST_MTU_MAX + 64];
	uint64_t sent_us; /* of the ping that waits */
	uint64_t arp_us;  /* of the last request */
	uint64_t pings;
	uint64_t rtt_sum;
	uint64_t rtt_min;
	uint64_t rtt_max;
};

static void host_frame(struct vfe_station *s, uint16_t pair, const void *frame, uint32_t len,
                       const struct vfe_rx_info *info)
{
	struct host_run *run = s->context;
	bool csum_ok = info->hdr.flags & (VFE_HDR_NEEDS_CSUM | VFE_HDR_DATA_VALID);
	uint64_t before = run->host.echo_replies;
	uint32_t n = vfe_host_input(&run->host, frame, len, csum_ok, run->reply);

	if (n)
		vfe_station_emit(s, pair, run->reply, n);
	if (run->host.echo_replies != before) {
		uint64_t rtt = vfe_now_us() - run->sent_us;

		run->rtt_sum += rtt;
		if (rtt > run->rtt_max)
			run->rtt_max = rtt;
		if (rtt < run->rtt_min || before == 0)
			run->rtt_min = rtt;
	}
}

/* One step of pinging: ask for the address, send the next ping, or wait. */
static void ping_step(struct vfe_station *s, struct host_run *run)
{
	const struct vfe_opts *o = s->opts;
	struct vfe_host *h = &run->host;
	uint64_t now = vfe_now_us();
	uint64_t gap = (uint64_t)(h->answered ? o->interval_ms : 1000) * 1000;

	if (!h->peer_known) {
		if (now - run->arp_us >= 200000) {
			run->arp_us = now;
			vfe_station_emit(s, 0, run->reply, vfe_host_arp(h, run->reply));
		}
		return;
	}
	if (run->pings >= o->count || (run->pings && now - run->sent_us < gap))
		return;
	h->last_seq = (uint16_t)++run->pings;
	vfe_host_ping(h, run->reply, o->size_min);
	run->sent_us = vfe_now_us();
	vfe_station_emit(s, 0, run->reply, o->size_min);
}

static bool host_done(const struct vfe_opts *o, const struct host_run *run)
{
	return o->has_ping && run->host.echo_replies >= o->count;
}

static int host_finish(const struct vfe_opts *o, struct vfe_station *s, const struct host_run *run,
                       int err)
{
	const struct vfe_host *h = &run->host;
	char more[512];

	snprintf(more, sizeof(more),
	         ", \"arp_answered\": %" PRIu64 ", \"echo_answered\": %" PRIu64
	         ", \"pings\": %" PRIu64 ", \"replies\": %" PRIu64 ", \"rtt_min_us\": %" PRIu64
	         ", \"rtt_avg_us\": %" PRIu64 ", \"rtt_max_us\": %" PRIu64
	         ", \"bad_checksums\": %" PRIu64,
	         h->arp_answered, h->echo_answered, run->pings, h->echo_replies, run->rtt_min,
	         h->echo_replies ? run->rtt_sum / h->echo_replies : 0, run->rtt_max,
	         h->bad_checksums);
	return finish(o, s, more, err,
	              !h->bad_checksums && (!o->has_ping || h->echo_replies == o->count) &&
	                      (!o->expect_given || h->echo_answered >= o->expect));
}

static int do_host(const struct vfe_opts *o, struct vfe_station *s)
{
	struct host_run *run = calloc(1, sizeof(*run));
	int limit = o->duration_ms ? o->duration_ms : o->has_ping ? o->run_timeout_ms : 0;
	uint64_t deadline = limit ? in_ms(limit) : UINT64_MAX;
	int err = run ? open_station(s, o) : -ENOMEM;

	if (!run)
		return 1;
	run->host.mac = o->mac;
	run->host.echo_id = (uint16_t)getpid();
	memcpy(run->host.ip, o->ip, 4);
	memcpy(run->host.peer_ip, o->ping_ip, 4);
	s->context = run;
	s->on_frame = host_frame;
	while (err >= 0 && !stopped && vfe_now_us() < deadline) {
		int done = vfe_station_reap(s);

		err = done < 0 ? done : vfe_station_receive(s);
		if (o->has_ping && err >= 0)
			ping_step(s, run);
		if (host_done(o, run) && !o->duration_ms)
			break;
		if (o->expect_given && !o->has_ping && run->host.echo_answered >= o->expect)
			break;
		if (err == 0 && done == 0)
			err = vfe_station_idle(&s, 1);
	}
	err = host_finish(o, s, run, err);
	free(run);
	return err;
}

/* ---- pair: two devices, one thread
 * ---------------------------------------------------------------- */

/* Good frames that are no group's: those may come from elsewhere. */
static uint64_t good_of_peer(const struct vfe_station *to)
{
	return to->seen.good - to->seen.group;
}

/* Frames of @from that @to has not seen yet, without those given up. */
static uint64_t on_the_way(const struct vfe_station *from, const struct vfe_station *to)
{
	uint64_t settled = good_of_peer(to) + from->given_up;

	return from->sent > settled ? from->sent - settled : 0;
}

/* Lost frames would keep the window closed for ever: after 100 ms of silence they are given up. */
static void give_up(struct vfe_station *from, const struct vfe_station *to, int progress)
{
	uint64_t now = vfe_now_us();

	if (progress || !from->progress_us)
		from->progress_us = now;
	if (!from->opts->allow_loss || now - from->progress_us < 100000)
		return;
	from->given_up += on_the_way(from, to);
	from->progress_us = now;
}

static int pair_direction(struct vfe_station *from, struct vfe_station *to)
{
	uint32_t window = from->opts->window;
	uint64_t out = on_the_way(from, to);
	int err = vfe_station_receive(to);
	int done = err < 0 ? err : vfe_station_reap(from);
	int sent = done;

	if (done >= 0)
		sent = out < window ? vfe_station_send(from, window - out) : 0;
	if (err < 0 || sent < 0)
		return err < 0 ? err : sent;
	give_up(from, to, err + sent);
	return err + done + sent;
}

/* All that was sent has arrived, or never will. */
static int pair_drain(struct vfe_station *a, struct vfe_station *b)
{
	/* Where nothing may be lost, everything comes: the back end only waits for its CPU. */
	uint64_t deadline = in_ms(a->opts->allow_loss ? 500 : 10000);
	int err = 0;

	while (err >= 0 && vfe_now_us() < deadline &&
	       (on_the_way(a, b) || on_the_way(b, a) || a->completed < a->sent ||
	        b->completed < b->sent)) {
		err = vfe_station_receive(a);
		if (err >= 0)
			err = vfe_station_receive(b);
		if (err >= 0)
			err = vfe_station_reap(a);
		if (err >= 0)
			err = vfe_station_reap(b);
	}
	return err < 0 ? err : 0;
}

static int pair_churn(struct vfe_station *a, struct vfe_station *b, uint64_t *n_churns)
{
	struct vfe_station *victim = (*n_churns)++ % 2 ? b : a;
	int err = a->opts->churn_hot ? 0 : pair_drain(a, b);

	return err < 0 ? err : vfe_station_churn(victim);
}

static int pair_rejoin(struct vfe_station *const both[2], uint64_t *n_lost)
{
	int err = 0;

	for (int i = 0; err >= 0 && i < 2; i++) {
		if (!vfe_is_lost(both[i]->v))
			continue;
		++*n_lost;
		err = vfe_station_rejoin(both[i]);
	}
	return err;
}

/* Told to end, and what is sent in any case was sent: a signal may come before the first frame. */
static bool pair_is_over(const struct vfe_station *a, const struct vfe_station *b)
{
	uint64_t least = a->opts->least;

	return stopped && a->sent >= (least < a->quota ? least : a->quota) &&
	       b->sent >= (least < b->quota ? least : b->quota);
}

/* Stopped like this the back end tells what it holds. */
static int pair_stop(struct vfe_station *a, struct vfe_station *b)
{
	int err = vfe_stop(a->v);

	return err < 0 ? err : vfe_stop(b->v);
}

static int pair_loop(struct vfe_station *a, struct vfe_station *b, uint64_t *n_churns)
{
	const struct vfe_opts *o = a->opts;
	struct vfe_station *both[] = {a, b};
	uint64_t deadline = in_ms(o->run_timeout_ms);
	int err = 0;

	while (!pair_is_over(a, b) && vfe_now_us() < deadline) {
		int n = pair_direction(a, b), m = n < 0 ? 0 : pair_direction(b, a);

		if (n < 0 || m < 0)
			return n < 0 ? n : m;
		if (a->sent == a->quota && b->sent == b->quota && !on_the_way(a, b) &&
		    !on_the_way(b, a) && a->completed == a->sent && b->completed == b->sent)
			return 0;
		if (o->survive)
			err = pair_rejoin(both, n_churns);
		else if (o->churn && (a->sent + b->sent) / o->churn_every > *n_churns)
			err = pair_churn(a, b, n_churns);
		if (err >= 0 && n + m == 0)
			err = vfe_station_idle(both, 2);
		if (err < 0)
			return err;
	}
	if (!pair_is_over(a, b))
		return vfe_fail(a->v, -ETIMEDOUT, "not finished in time");
	/* Told to end: what was sent so far has to arrive. */
	a->quota = a->sent;
	b->quota = b->sent;
	return 0;
}

static bool pair_ok(const struct vfe_station *from, const struct vfe_station *to)
{
	bool arrived = good_of_peer(to) == from->quota;

	return (arrived || (from->opts->allow_loss && (to->seen.good || !from->quota))) &&
	       clean(&to->seen) && !from->v->faults;
}

static int do_pair(const struct vfe_opts *o, struct vfe_station *a)
{
	struct vfe_opts peer_opts = *o;
	struct vfe_station b = {0};
	char *peer = NULL, more[128];
	size_t peer_len;
	uint64_t n_churns = 0;
	FILE *mem;
	int err = vfe_station_open(a, o, o->config.socket_path, &o->mac, &o->peer_mac, o->id);

	if (!err)
		err = vfe_station_open(&b, &peer_opts, o->peer_socket, &o->peer_mac, &o->mac,
		                       o->id + 1000);
	a->quota = o->count;
	b.quota = o->both ? o->count : 0;
	if (!err) {
		print_ready(o, a->v);
		err = pair_loop(a, &b, &n_churns);
		if (!err) /* anything too much still comes in */
			usleep((useconds_t)o->settle_ms * 1000);
		if (!err)
			err = pair_drain(a, &b);
		if (!err && o->survive)
			err = pair_stop(a, &b);
	}
	mem = open_memstream(&peer, &peer_len);
	if (!mem)
		return 1;
	vfe_station_json(&b, mem);
	fclose(mem);
	snprintf(more, sizeof(more), ", \"churns\": %" PRIu64 ", \"peer\": {", n_churns);
	char *tail = malloc(sizeof(more) + peer_len + 2);
	if (!tail)
		return 1;
	sprintf(tail, "%s%s}", more, peer);
	if (err < 0 && b.v && b.v->error[0] && a->v && !a->v->error[0])
		vfe_fail(a->v, err, "peer: %s", vfe_error(b.v));
	err = finish(o, a, tail, err, a->v && b.v && pair_ok(a, &b) && pair_ok(&b, a));
	vfe_station_close(&b);
	free(peer);
	free(tail);
	return err;
}

/* ----------------------------------------------------------------------------------------------------
 */

static const struct {
	const char *name;
	int (*run)(const struct vfe_opts *o, struct vfe_station *s);
} modes[] = {{"probe", do_probe}, {"tx", do_tx},     {"rx", do_rx},
             {"echo", do_echo},   {"host", do_host}, {"pair", do_pair}};

int main(int argc, char **argv)
{
	struct sigaction act = {.sa_handler = on_signal};
	struct vfe_station station = {0};
	struct vfe_opts o;

	vfe_opts_parse(argc, argv, &o);
	sigaction(SIGINT, &act, NULL);
	sigaction(SIGTERM, &act, NULL);
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		if (strcmp(modes[i].name, o.mode) == 0) {
			int status = modes[i].run(&o, &station);

			vfe_station_close(&station);
			return status;
		}
	}
	fprintf(stderr, "vfe: unknown mode: %s\n", o.mode);
	return 2;
}
