/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * numa.h - where memory of a thread or a device should be, on hosts where that matters
 *
 * What the kernel says in sysfs, which is the same in each network namespace; nothing is kept.
 * Control thread.
 */
#ifndef NUMA_H
#define NUMA_H

#include "base.h"
#include "mem_node.h"

#define NUMA_SYSFS "/sys" /* what @sysfs is, except in tests */
#define NUMA_MAX   1024   /* nodes of the largest kernels */
#define NUMA_FAR   255    /* what the kernel says of nodes that do not reach each other */

/** numa_n_nodes() - nodes that have memory; 1 where the kernel knows nothing of nodes */
uint32_t numa_n_nodes(const char *sysfs);

/**
 * numa_online() - the nodes that there are, with memory, CPUs or neither
 * @ret_nodes: room for NUMA_MAX
 *
 * Return: how many, in ascending order; 0 where the kernel knows nothing of nodes.
 */
uint32_t numa_online(const char *sysfs, uint16_t *ret_nodes);

/**
 * numa_distances() - from one node to each, as the firmware says: 10 within a node
 * @nodes: the @n that numa_online() found
 * @ret_distances: by number of the node, NUMA_MAX of them; NUMA_FAR where nothing is known
 */
void numa_distances(const char *sysfs, uint16_t from, const uint16_t *nodes, uint32_t n,
                    uint32_t *ret_distances);

/** numa_node_of_cpu() - Return: node of a CPU, or MEM_NODE_ANY */
int numa_node_of_cpu(const char *sysfs, int cpu);

/** numa_node_of_pci() - Return: node of a PCI device ("0000:3b:00.0"), or MEM_NODE_ANY */
int numa_node_of_pci(const char *sysfs, const char *address);

/**
 * numa_choose() - where packet memory of a device's queue goes
 * @address: of the device on the PCI bus, or something else if it is not on one
 * @cpu: of the worker that serves the queue
 *
 * To the device's node: it writes and reads all of it, and its cache is there. A device that is
 * nowhere (veth) leaves it to the worker. Return: MEM_NODE_ANY on a host with one node.
 */
int numa_choose(const char *sysfs, const char *address, int cpu);

#endif
