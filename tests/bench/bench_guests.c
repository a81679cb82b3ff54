// SPDX-License-Identifier: BSD-2-Clause
/* bench_guests.c - the guests of a measurement, see bench_guests.h */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

#include "bench_guests.h"

#define ANNOUNCE_NS UINT64_C(5000000000)
#define AWAKE_US    500u

volatile sig_atomic_t bench_stopped;

uint64_t bench_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

void bench_sleep_us(uint32_t us)
{
	static bool exact;

	if (!exact)
		exact = prctl(PR_SET_TIMERSLACK, 1) == 0;
	nanosleep(&(struct timespec){.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000L},
	          NULL);
}

uint64_t bench_pause(uint32_t mean_us, unsigned int *seed)
{
	uint32_t us = mean_us / 2 + (uint32_t)rand_r(seed) % (mean_us + 1);
	uint64_t now = bench_now_ns(), until = now + (uint64_t)us * 1000;

	if (us > AWAKE_US)
		bench_sleep_us(us - AWAKE_US);
	while (now < until && !bench_stopped)
		now = bench_now_ns();
	return now;
}

/* The two first numbers of a schedstat file: time on a CPU, and waiting for one */
static bool schedstat(const char *path, uint64_t *ret_ran, uint64_t *ret_waited)
{
	FILE *f = fopen(path, "re");
	bool ok;

	if (!f)
		return false;
	ok = fscanf(f, "%" SCNu64 " %" SCNu64, ret_ran, ret_waited) == 2;
	fclose(f);
	return ok;
}

uint64_t bench_waited_ns(void)
{
	uint64_t ran, waited;

	return schedstat("/proc/thread-self/schedstat", &ran, &waited) ? waited : 0;
}

uint64_t bench_cpu_ns(int pid)
{
	uint64_t total = 0, ran, waited;
	char path[320];
	struct dirent *e;
	DIR *tasks;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	tasks = opendir(path);
	if (!tasks)
		return 0;
	while ((e = readdir(tasks))) {
		snprintf(path, sizeof(path), "/proc/%d/task/%s/schedstat", pid, e->d_name);
		if (e->d_name[0] != '.' && schedstat(path, &ran, &waited))
			total += ran;
	}
	closedir(tasks);
	return total;
}

/* ---- guests -----------------------------------------------------------------------------------
 */

static struct vfe_mac mac_of(const struct bench_options *o, int guest)
{
	struct vfe_mac mac = o->mac;
	int low = mac.b[4] << 8 | mac.b[5];

	low += guest;
	mac.b[4] = (uint8_t)(low >> 8);
	mac.b[5] = (uint8_t)low;
	return mac;
}

static uint64_t features(const struct bench_options *o)
{
	return VFE_BIT(VFE_F_VERSION_1) | VFE_BIT(VFE_F_PROTOCOL_FEATURES) |
	       (o->mergeable ? VFE_BIT(VFE_NET_F_MRG_RXBUF) : 0) |
	       (o->event_idx ? VFE_BIT(VFE_F_EVENT_IDX) : 0) |
	       (o->indirect ? VFE_BIT(VFE_F_INDIRECT_DESC) : 0) |
	       (o->in_order ? VFE_BIT(VFE_F_IN_ORDER) : 0);
}

static int open_one(struct bench_guests *g, int i)
{
	const struct bench_options *o = g->o;
	struct vfe_mac dst[BENCH_MAX_GUESTS];
	struct bench_port_config c = {
		.socket_path = o->sockets[i],
		.mac = mac_of(o, i),
		.dst = dst,
		.n_dst = 1,
		.features = features(o),
		.ring_size = o->ring,
		.size = o->size,
		.stride = o->stride,
		.rx_stride = o->rx_stride,
		.touch = o->touch,
		.hugepages = o->hugepages,
		.packed = o->packed,
		.indirect = o->indirect,
	};

	dst[0] = o->has_dst ? o->dst : mac_of(o, i ^ 1);
	if (strcmp(o->mode, "fan") == 0) {
		dst[0] = mac_of(o, 0);
		c.n_dst = i ? 1 : (uint32_t)o->n_sockets - 1;
		for (int k = 1; !i && k < o->n_sockets; k++)
			dst[k - 1] = mac_of(o, k);
	}
	return bench_port_open(&g->ports[i], &c);
}

/* One frame from a guest: where it is. Waits until the back end has taken it. */
static int announce(struct bench_port *p)
{
	uint64_t end = bench_now_ns() + ANNOUNCE_NS;

	bench_queue_publish(&p->tx, 1);
	while (!bench_queue_take(&p->tx)) {
		if (bench_now_ns() > end)
			return vfe_fail(p->v, -ETIMEDOUT, "the first frame is not taken");
	}
	return 0;
}

int bench_guests_open(struct bench_guests *g, const struct bench_options *o)
{
	int err = 0;

	*g = (struct bench_guests){.o = o, .failed = -1};
	g->ports = calloc((size_t)o->n_sockets, sizeof(*g->ports));
	if (!g->ports)
		return -ENOMEM;
	for (int i = 0; !err && !bench_stopped && i < o->n_sockets; i++) {
		err = open_one(g, i);
		g->n = i + 1;
		g->failed = err ? i : -1;
	}
	for (int i = 1; !err && !bench_stopped && i < g->n; i++) {
		err = announce(&g->ports[i]);
		g->failed = err ? i : -1;
	}
	return bench_stopped ? -EINTR : err;
}

int bench_guests_stop(struct bench_guests *g, uint32_t *ret_disorder)
{
	uint32_t disorder = 0;

	for (int i = 0; i < g->n; i++) {
		int err = bench_port_stop(&g->ports[i]);

		if (err) {
			g->failed = i;
			return err;
		}
	}
	for (int i = 0; i < g->n; i++) {
		struct bench_queue *queues[] = {&g->ports[i].rx, &g->ports[i].tx};

		for (int k = 0; k < 2; k++) {
			queues[k]->count += bench_queue_used(queues[k]);
			disorder += bench_queue_check(queues[k]);
		}
	}
	*ret_disorder = disorder;
	return 0;
}

void bench_guests_close(struct bench_guests *g)
{
	for (int i = 0; i < g->n; i++)
		bench_port_close(&g->ports[i]);
	free(g->ports);
	g->ports = NULL;
	g->n = 0;
}

/* ---- the result -------------------------------------------------------------------------------
 */

static const char *truth(bool b)
{
	return b ? "true" : "false";
}

int bench_print_failure(const struct bench_guests *g, int err)
{
	const struct vfe *v = g && g->failed >= 0 ? g->ports[g->failed].v : NULL;

	printf("{\"ok\": false, \"error\": \"%s\"}\n",
	       v && v->error[0] ? vfe_error(v) : strerror(-err));
	return 1;
}

void bench_print_setting(const struct bench_options *o)
{
	printf("{\"mode\": \"%s\", \"guests\": %d, \"size\": %u, \"ring\": %u, \"touch\": %s, "
	       "\"both\": %s, \"packed\": %s, \"mergeable\": %s, \"event_idx\": %s, "
	       "\"indirect\": %s, \"rx_buffer\": %u, \"cpu\": %d, ",
	       o->mode, o->n_sockets, o->size, o->ring, truth(o->touch), truth(o->both),
	       truth(o->packed), truth(o->mergeable), truth(o->event_idx), truth(o->indirect),
	       o->rx_stride, o->cpu);
}

int bench_print_end(bool ok)
{
	printf("\"ok\": %s}\n", truth(ok));
	return ok ? 0 : 1;
}
