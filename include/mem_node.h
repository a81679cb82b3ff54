/* SPDX-License-Identifier: BSD-2-Clause */
/* mem_node.h - which NUMA node memory comes from */
#ifndef MEM_NODE_H
#define MEM_NODE_H

#include <errno.h>
#include <linux/mempolicy.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base.h"

#define MEM_NODE_ANY (-1)

/**
 * mem_prefer_node() - pages of a mapping shall come from @node while it has some
 * @addr: of a page; @len: bytes
 * @node: 0..1023, or MEM_NODE_ANY: leave it to the kernel
 *
 * Before the pages are touched. There is no need to look at the result: without it the memory is
 * somewhere else. Return: 0 or -errno (-ENOSYS: a kernel without NUMA).
 */
static inline int mem_prefer_node(void *addr, size_t len, int node)
{
	enum { N_NODES = 1024, LONG_BITS = 8 * sizeof(unsigned long) };
	unsigned long mask[N_NODES / LONG_BITS] = {0};

	if (node == MEM_NODE_ANY)
		return 0;
	if (node < 0 || node >= N_NODES)
		return -EINVAL;
	mask[node / LONG_BITS] = 1ul << node % LONG_BITS;
	/* One more than there are bits: the kernel takes one off. */
	return syscall(SYS_mbind, addr, len, MPOL_PREFERRED, mask, N_NODES + 1, 0) < 0 ? -errno : 0;
}

/**
 * mem_node_of() - the node that a page of our own mappings is on
 *
 * Looks and does not touch: of a page that we have not used yet nothing is known.
 * Return: 0..1023, or MEM_NODE_ANY.
 */
static inline int mem_node_of(const void *addr)
{
	const void *page = addr;
	int node = MEM_NODE_ANY;

	if (!addr || syscall(SYS_move_pages, 0, 1ul, &page, NULL, &node, 0) < 0 || node < 0)
		return MEM_NODE_ANY;
	return node;
}

#endif
