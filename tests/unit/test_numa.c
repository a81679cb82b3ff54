// SPDX-License-Identifier: BSD-2-Clause
/* test_numa.c - where packet memory goes, with a made-up sysfs */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "fake_sysfs.h"
#include "numa.h"

/* Two nodes; CPU 0 on the first, CPU 5 on the second; a device on the second. */
static void two_nodes(void)
{
	fake_sysfs_put("devices/system/node/has_memory", "0-1\n");
	fake_sysfs_put("devices/system/cpu/cpu0/node0", "");
	fake_sysfs_put("devices/system/cpu/cpu0/cpufreq", "");
	fake_sysfs_put("devices/system/cpu/cpu5/topology", "");
	fake_sysfs_put("devices/system/cpu/cpu5/node1", "");
	fake_sysfs_put("bus/pci/devices/0000:3b:00.0/numa_node", "1\n");
	fake_sysfs_put("bus/pci/devices/0000:3c:00.0/numa_node", "-1\n");
}

static void test_nodes(void **state)
{
	static const struct {
		const char *list;
		uint32_t n;
	} rows[] = {
		{"0\n", 1}, {"0-1\n", 2}, {"0,2\n", 2},    {"0-3,8-9\n", 6}, {"\n", 1},
		{"x\n", 1}, {"3-1\n", 1}, {"0-9999\n", 1}, {"1\n", 1},       {"0-1,\n", 2},
	};

	(void)state;
	assert_int_equal(numa_n_nodes(fake_sysfs), 1); /* a kernel without NUMA */
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		fake_sysfs_put("devices/system/node/has_memory", rows[i].list);
		assert_int_equal(numa_n_nodes(fake_sysfs), rows[i].n);
	}
}

static void test_cpu(void **state)
{
	(void)state;
	two_nodes();
	fake_sysfs_put("devices/system/cpu/cpu7/nodes", "");
	fake_sysfs_put("devices/system/cpu/cpu7/node1x", "");
	fake_sysfs_put("devices/system/cpu/cpu7/node-1", "");
	fake_sysfs_put("devices/system/cpu/cpu7/node9999", "");
	assert_int_equal(numa_node_of_cpu(fake_sysfs, 0), 0);
	assert_int_equal(numa_node_of_cpu(fake_sysfs, 5), 1);
	assert_int_equal(numa_node_of_cpu(fake_sysfs, 6), MEM_NODE_ANY);
	assert_int_equal(numa_node_of_cpu(fake_sysfs, 7), MEM_NODE_ANY);
}

static void test_pci(void **state)
{
	(void)state;
	two_nodes();
	fake_sysfs_put("bus/pci/devices/0000:3d:00.0/numa_node", "");
	fake_sysfs_put("bus/pci/devices/0000:3e:00.0/numa_node", "4096\n");
	assert_int_equal(numa_node_of_pci(fake_sysfs, "0000:3b:00.0"), 1);
	assert_int_equal(numa_node_of_pci(fake_sysfs, "0000:3c:00.0"), MEM_NODE_ANY);
	assert_int_equal(numa_node_of_pci(fake_sysfs, "0000:3d:00.0"), MEM_NODE_ANY);
	assert_int_equal(numa_node_of_pci(fake_sysfs, "0000:3e:00.0"), MEM_NODE_ANY);
	assert_int_equal(numa_node_of_pci(fake_sysfs, "0000:3f:00.0"), MEM_NODE_ANY);
	assert_int_equal(numa_node_of_pci(fake_sysfs, ""), MEM_NODE_ANY);
	assert_int_equal(numa_node_of_pci(fake_sysfs, ".."), MEM_NODE_ANY);
	assert_int_equal(numa_node_of_pci(fake_sysfs, "../devices/0000:3b:00.0"), MEM_NODE_ANY);
}

static void test_choice(void **state)
{
	(void)state;
	two_nodes();
	/* The device's node, else the worker's, else none. */
	assert_int_equal(numa_choose(fake_sysfs, "0000:3b:00.0", 0), 1);
	assert_int_equal(numa_choose(fake_sysfs, "0000:3c:00.0", 0), 0);
	assert_int_equal(numa_choose(fake_sysfs, "", 5), 1);
	assert_int_equal(numa_choose(fake_sysfs, "", 99), MEM_NODE_ANY);
	/* One node: nothing to choose, whatever is said of devices. */
	fake_sysfs_put("devices/system/node/has_memory", "0\n");
	assert_int_equal(numa_choose(fake_sysfs, "0000:3b:00.0", 0), MEM_NODE_ANY);
	assert_int_equal(numa_choose(fake_sysfs, "", 5), MEM_NODE_ANY);
}

/* The real thing: node 0 is everywhere, the last one nowhere. */
static void test_prefer(void **state)
{
	size_t len = 1 << 20;
	void *map = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int err;

	(void)state;
	assert_ptr_not_equal(map, MAP_FAILED);
	assert_int_equal(mem_prefer_node(map, len, MEM_NODE_ANY), 0);
	assert_int_equal(mem_prefer_node(map, len, -2), -EINVAL);
	assert_int_equal(mem_prefer_node(map, len, 1024), -EINVAL);
	err = mem_prefer_node(map, len, 0);
	if (err == -ENOSYS || err == -EPERM)
		skip(); /* a kernel or a container without it */
	assert_int_equal(err, 0);
	assert_int_equal(mem_prefer_node(map, len, 1023), -EINVAL);
	memset(map, 1, len);
	munmap(map, len);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, fake_sysfs_make, fake_sysfs_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_nodes),  TEST(test_cpu),    TEST(test_pci),
		TEST(test_choice), TEST(test_prefer),
	};

	return cmocka_run_group_tests_name("numa", tests, NULL, NULL);
}
