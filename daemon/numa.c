// SPDX-License-Identifier: BSD-2-Clause
#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "numa.h"

/* First line of a file of sysfs. Return: false if there is none. */
static bool numa_read(const char *sysfs, const char *dir, const char *name, const char *leaf,
                      char *buf, int size)
{
	char path[PATH_MAX];
	FILE *f;
	bool ok;

	if (snprintf(path, sizeof(path), "%s/%s/%s/%s", sysfs, dir, name, leaf) >=
	    (int)sizeof(path))
		return false;
	f = fopen(path, "re");
	if (!f)
		return false;
	ok = fgets(buf, size, f) != NULL;
	(void)fclose(f);
	return ok;
}

/* Numbers of a list such as "0-1,4". @ids: NULL, or room for NUMA_MAX. Return: how many. */
static uint32_t numa_parse(const char *list, uint16_t *ids)
{
	uint32_t n = 0;
	char *end;

	for (;;) {
		unsigned long first = strtoul(list, &end, 10), last = first;

		if (end == list)
			return n;
		if (*end == '-')
			last = strtoul(end + 1, &end, 10);
		if (first > last || last >= NUMA_MAX || n + last - first >= NUMA_MAX)
			return n;
		for (; first <= last; first++, n++) {
			if (ids)
				ids[n] = (uint16_t)first;
		}
		if (*end != ',')
			return n;
		list = end + 1;
	}
}

uint32_t numa_n_nodes(const char *sysfs)
{
	char list[256];
	uint32_t n = 0;

	if (numa_read(sysfs, "devices/system", "node", "has_memory", list, sizeof(list)))
		n = numa_parse(list, NULL);
	return n ? n : 1;
}

uint32_t numa_online(const char *sysfs, uint16_t *ret_nodes)
{
	char list[256];

	if (!numa_read(sysfs, "devices/system", "node", "online", list, sizeof(list)))
		return 0;
	return numa_parse(list, ret_nodes);
}

/* A line with a number for each node that is online, in their order. */
void numa_distances(const char *sysfs, uint16_t from, const uint16_t *nodes, uint32_t n,
                    uint32_t *ret_distances)
{
	char name[16], line[4 * NUMA_MAX + 2] = "", *end;
	const char *at = line;

	snprintf(name, sizeof(name), "node%u", from);
	(void)numa_read(sysfs, "devices/system/node", name, "distance", line, sizeof(line));
	for (uint32_t i = 0; i < NUMA_MAX; i++)
		ret_distances[i] = NUMA_FAR;
	for (uint32_t i = 0; i < n; i++, at = end) {
		unsigned long distance = strtoul(at, &end, 10);

		if (end == at)
			return;
		if (distance < NUMA_FAR)
			ret_distances[nodes[i]] = (uint32_t)distance;
	}
}

/* The folder of a CPU has a link to its node: nodeN. */
int numa_node_of_cpu(const char *sysfs, int cpu)
{
	int node = MEM_NODE_ANY, end = 0;
	const struct dirent *e;
	char path[PATH_MAX];
	DIR *dir;

	if (snprintf(path, sizeof(path), "%s/devices/system/cpu/cpu%d", sysfs, cpu) >=
	    (int)sizeof(path))
		return MEM_NODE_ANY;
	dir = opendir(path);
	if (!dir)
		return MEM_NODE_ANY;
	while (node == MEM_NODE_ANY && (e = readdir(dir))) {
		int found;

		if (sscanf(e->d_name, "node%4d%n", &found, &end) == 1 && !e->d_name[end] &&
		    found >= 0 && found < NUMA_MAX)
			node = found;
	}
	(void)closedir(dir);
	return node;
}

int numa_node_of_pci(const char *sysfs, const char *address)
{
	char line[32];
	int node;

	/* What a driver says, and never a way out of the folder. */
	if (!address[0] || strchr(address, '/') || address[0] == '.')
		return MEM_NODE_ANY;
	if (!numa_read(sysfs, "bus/pci/devices", address, "numa_node", line, sizeof(line)))
		return MEM_NODE_ANY;
	node = atoi(line); /* -1: the firmware does not say */
	return node >= 0 && node < NUMA_MAX ? node : MEM_NODE_ANY;
}

int numa_choose(const char *sysfs, const char *address, int cpu)
{
	int node;

	if (numa_n_nodes(sysfs) < 2)
		return MEM_NODE_ANY;
	node = numa_node_of_pci(sysfs, address);
	return node != MEM_NODE_ANY ? node : numa_node_of_cpu(sysfs, cpu);
}
