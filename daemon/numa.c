// SPDX-License-Identifier: BSD-2-Clause
#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "numa.h"

#define NUMA_MAX 1024

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

/* "0-1,4": how many are these? */
static uint32_t numa_count(const char *list)
{
	uint32_t n = 0;
	char *end;

	for (;;) {
		unsigned long first = strtoul(list, &end, 10), last = first;

		if (end == list)
			return n;
		if (*end == '-')
			last = strtoul(end + 1, &end, 10);
		if (first > last || last >= NUMA_MAX)
			return n;
		n += (uint32_t)(last - first) + 1;
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
		n = numa_count(list);
	return n ? n : 1;
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
