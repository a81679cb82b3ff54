/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdlib.h>

#include "balance.h"
#include "clock.h"
#include "log.h"
#include "placement.h"
#include "seating.h"

/* A source that a worker serves now, and what it has cost since the last look. */
struct balance_source {
	struct daemon_seat *seat;
	uint32_t index; /* of its port or nic */
	uint32_t queue; /* transmit ring, or nic queue */
	int node;       /* of its memory, or MEM_NODE_ANY */
	bool is_port;
	bool fixed;
};

struct balance {
	struct daemon *daemon;
	struct loop_source *timer;
	bool running;
	uint32_t calm;
	struct log_limit limit;
	/* As found at this look; room for all that there can be */
	uint32_t n;
	struct balance_source *sources;
	struct placement_source *loads;
	/* Of each worker: this look, the one before, what is between them */
	struct worker_times *now, *before;
	uint32_t *worker_loads;
};

/* ---- what there is -------------------------------------------------------------------------- */

/* @busy_ns: its counter, as of now */
static void balance_add(struct balance *b, struct balance_source source, uint64_t busy_ns)
{
	uint32_t w = source.seat->worker;
	uint32_t load = worker_share(&b->before[w], &b->now[w], busy_ns - source.seat->busy_ns);

	b->loads[b->n] = (struct placement_source){
		.worker = w,
		.load = min_u32(load, 1000), /* more if it was elsewhere until now */
		.fixed = source.fixed || (source.seat->moved_ms &&
	                                  clock_now_ms() - source.seat->moved_ms < BALANCE_STAY_MS),
		.near = seating_near(b->daemon->seating, source.node),
	};
	source.seat->busy_ns = busy_ns;
	b->sources[b->n++] = source;
	b->worker_loads[w] += b->loads[b->n - 1].load;
}

static void balance_look_at_nics(struct balance *b)
{
	for (uint32_t i = 0; i < b->daemon->n_nics; i++) {
		struct daemon_nic *n = &b->daemon->nics[i];
		uint32_t n_queues = nic_view_get(n->nic)->n_queues;

		for (uint32_t k = 0; k < n_queues; k++)
			balance_add(b,
			            (struct balance_source){
					    .seat = &n->seats[k],
					    .index = i,
					    .queue = k,
					    .node = daemon_node_of_queue(b->daemon, i, k)},
			            counter_get(&n->counters[k].busy_ns));
	}
}

static void balance_look_at_ports(struct balance *b)
{
	for (uint32_t i = 0; i < b->daemon->n_ports; i++) {
		struct daemon_port *p = &b->daemon->ports[i];

		for (uint16_t r = 1; r < vhost_dev_n_vqs(p->port->dev); r += 2) {
			if (!vhost_dev_vq(p->port->dev, r)->started)
				continue;
			balance_add(b,
			            (struct balance_source){
					    .seat = &p->seats[r / 2],
					    .index = i,
					    .queue = r,
					    .node = daemon_node_of_ring(b->daemon, i, r),
					    .is_port = true,
					    .fixed = p->port->conf->worker_cpu >= 0},
			            counter_get(&p->port->queues[r].busy_ns));
		}
	}
}

/* Fills in sources and loads. */
static void balance_look(struct balance *b)
{
	struct worker_times *before = b->now;

	b->now = b->before;
	b->before = before;
	b->n = 0;
	for (uint32_t i = 0; i < b->daemon->n_workers; i++) {
		b->now[i] = worker_get_times(b->daemon->workers[i]);
		b->worker_loads[i] = 0;
	}
	balance_look_at_nics(b);
	balance_look_at_ports(b);
}

/* ---- what becomes of it --------------------------------------------------------------------- */

static void balance_move(struct balance *b, const struct placement_move *move)
{
	const struct balance_source *s = &b->sources[move->source];
	struct daemon *d = b->daemon;
	uint32_t from = s->seat->worker;
	const char *name = s->is_port ? d->ports[s->index].port->conf->name
	                              : d->nics[s->index].nic->conf->name;

	if (s->is_port)
		daemon_move_ring(d, s->index, s->queue, move->to, false);
	else
		daemon_move_queue(d, s->index, s->queue, move->to, false);
	log_limited(&b->limit, LOG_LEVEL_INFO,
	            "worker %u is busy for %u %% of the time: %s %s q%u (%u %%) moves to worker %u "
	            "(%u %%)",
	            from, b->worker_loads[from] / 10, s->is_port ? "port" : "nic", name,
	            s->is_port ? s->queue / 2 : s->queue, b->loads[move->source].load / 10,
	            move->to, b->worker_loads[move->to] / 10);
}

static bool balance_is_calm(const struct balance *b)
{
	for (uint32_t i = 0; i < b->daemon->n_workers; i++) {
		if (b->worker_loads[i] >= PLACEMENT_FULL)
			return false;
	}
	return true;
}

static void balance_on_timer(void *arg)
{
	struct balance *b = arg;
	struct placement_move move;

	balance_look(b);
	if (placement_decide(b->worker_loads, b->daemon->n_workers, b->loads, b->n, &move))
		balance_move(b, &move);
	b->calm = balance_is_calm(b) ? b->calm + 1 : 0;
	if (b->calm < BALANCE_CALM)
		return;
	b->running = false;
	loop_set_timer(b->timer, 0, 0);
}

void balance_start(struct balance *b)
{
	if (b->running)
		return;
	b->running = true;
	b->calm = 0;
	balance_look(b); /* to compare with */
	loop_set_timer(b->timer, BALANCE_MS, BALANCE_MS);
}

/* ---- life ----------------------------------------------------------------------------------- */

static uint32_t balance_max_sources(const struct conf *conf)
{
	uint32_t n = conf->n_nics * STEER_MAX_QUEUES;

	for (uint32_t i = 0; i < conf->n_ports; i++)
		n += conf->ports[i].queues;
	return n;
}

int balance_new(struct daemon *d, struct balance **ret_balance)
{
	struct balance *b = calloc(1, sizeof(*b));
	uint32_t max = balance_max_sources(d->conf);
	int err = -ENOMEM;

	if (!b)
		return -ENOMEM;
	b->daemon = d;
	b->sources = calloc(max + 1, sizeof(*b->sources));
	b->loads = calloc(max + 1, sizeof(*b->loads));
	b->now = calloc(d->conf->n_workers, sizeof(*b->now));
	b->before = calloc(d->conf->n_workers, sizeof(*b->before));
	b->worker_loads = calloc(d->conf->n_workers, sizeof(*b->worker_loads));
	if (b->sources && b->loads && b->now && b->before && b->worker_loads)
		err = loop_add_timer(d->loop, balance_on_timer, b, &b->timer);
	if (err < 0) {
		balance_free(b);
		return err;
	}
	*ret_balance = b;
	return 0;
}

void balance_free(struct balance *b)
{
	if (!b)
		return;
	loop_remove(b->timer);
	free(b->sources);
	free(b->loads);
	free(b->now);
	free(b->before);
	free(b->worker_loads);
	free(b);
}
