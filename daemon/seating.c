/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdlib.h>

#include "numa.h"
#include "seating.h"

struct seating {
	uint32_t n_workers;
	int *nodes;       /* of the workers */
	uint32_t n_nodes; /* the last node's number and one; 0: nothing is to be known */
	bool *near;       /* [node][worker] */
	bool *some;       /* [node]: some workers are nearer than others */
	bool matters;     /* to some node */
};

static uint32_t distance_to(const uint32_t *distances, int node)
{
	return node == MEM_NODE_ANY ? NUMA_FAR : distances[node];
}

/* @distances: from @node, by number of the other one */
static void seating_fill(struct seating *s, uint16_t node, const uint32_t *distances)
{
	bool *near = &s->near[(size_t)node * s->n_workers];
	uint32_t best = NUMA_FAR;

	for (uint32_t i = 0; i < s->n_workers; i++)
		best = min_u32(best, distance_to(distances, s->nodes[i]));
	for (uint32_t i = 0; i < s->n_workers; i++) {
		near[i] = distance_to(distances, s->nodes[i]) == best;
		s->some[node] |= !near[i];
	}
	s->matters |= s->some[node];
}

static int seating_look(struct seating *s, const char *sysfs, const struct conf *conf)
{
	uint32_t distances[NUMA_MAX], n;
	uint16_t nodes[NUMA_MAX];

	n = numa_online(sysfs, nodes);
	for (uint32_t i = 0; i < s->n_workers; i++)
		s->nodes[i] = numa_node_of_cpu(sysfs, conf->workers[i].cpu);
	if (n < 2)
		return 0;
	s->n_nodes = nodes[n - 1] + 1u;
	s->near = calloc((size_t)s->n_nodes * s->n_workers, sizeof(*s->near));
	s->some = calloc(s->n_nodes, sizeof(*s->some));
	if (!s->near || !s->some)
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++) {
		numa_distances(sysfs, nodes[i], nodes, n, distances);
		seating_fill(s, nodes[i], distances);
	}
	return 0;
}

int seating_new(const char *sysfs, const struct conf *conf, struct seating **ret_seating)
{
	struct seating *s = calloc(1, sizeof(*s));
	int err = -ENOMEM;

	if (!s)
		return -ENOMEM;
	s->n_workers = conf->n_workers;
	s->nodes = calloc(s->n_workers, sizeof(*s->nodes));
	if (s->nodes)
		err = seating_look(s, sysfs, conf);
	if (err < 0) {
		seating_free(s);
		return err;
	}
	*ret_seating = s;
	return 0;
}

void seating_free(struct seating *s)
{
	if (!s)
		return;
	free(s->nodes);
	free(s->near);
	free(s->some);
	free(s);
}

bool seating_matters(const struct seating *s)
{
	return s->matters;
}

int seating_node(const struct seating *s, uint32_t worker)
{
	return s->nodes[worker];
}

const bool *seating_near(const struct seating *s, int node)
{
	if (node < 0 || (uint32_t)node >= s->n_nodes || !s->some[node])
		return NULL;
	return &s->near[(size_t)node * s->n_workers];
}

uint32_t seating_pick(const struct seating *s, int node, uint32_t now, const uint32_t *n_sources)
{
	const bool *near = seating_near(s, node);
	uint32_t fewest = UINT32_MAX, best = now;

	for (uint32_t i = 0; near && i < s->n_workers; i++) {
		uint32_t w = (now + i) % s->n_workers;

		if (!near[w] || n_sources[w] >= fewest)
			continue;
		fewest = n_sources[w];
		best = w;
	}
	return best;
}
