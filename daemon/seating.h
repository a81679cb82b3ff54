/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * seating.h - which workers are near the memory of a source
 *
 * A copy between nodes costs twice and more of one within a node. So what a guest sends is served
 * by a worker on the node of the guest's memory, and a nic queue by one on the node of its device,
 * if there are such; else by those on the nearest node. Made once, from what the kernel says of
 * nodes; nothing is known of hosts with one node, where all workers are alike. Control thread.
 */
#ifndef SEATING_H
#define SEATING_H

#include "base.h"
#include "conf.h"
#include "mem_node.h"

struct seating;

/** seating_new() - @sysfs: NUMA_SYSFS, but in tests. Return: 0 or -ENOMEM. */
int seating_new(const char *sysfs, const struct conf *conf, struct seating **ret_seating);
void seating_free(struct seating *seating); /* takes NULL */

/** seating_matters() - false: all workers are alike, whatever the node is */
bool seating_matters(const struct seating *seating);

/** seating_node() - node of worker @worker, or MEM_NODE_ANY */
int seating_node(const struct seating *seating, uint32_t worker);

/**
 * seating_near() - the workers that no other one is nearer than to @node
 * Return: for each worker, by number, whether it is; NULL: all are alike.
 */
const bool *seating_near(const struct seating *seating, int node);

/**
 * seating_pick() - a worker for a source that begins
 * @node: of its memory
 * @now: the worker that it has, by number or from before
 * @n_sources: of each worker, how much it serves besides
 *
 * Return: the near worker with the fewest; of several @now, or the next one after it.
 */
uint32_t seating_pick(const struct seating *seating, int node, uint32_t now,
                      const uint32_t *n_sources);

#endif
