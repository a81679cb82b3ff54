// SPDX-License-Identifier: BSD-2-Clause
/* test_cpu_latency.c - the limit of a CPU's wake-up latency, with a made-up sysfs */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "cpu_latency.h"
#include "fake_sysfs.h"

#define CPU   3
#define LIMIT "devices/system/cpu/cpu3/power/pm_qos_resume_latency_us"

static void put(const char *text)
{
	fake_sysfs_put(LIMIT, text);
}

/* What the kernel would go by: the first line. */
static void expect(const char *text)
{
	char path[160], line[32];
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/%s", fake_sysfs, LIMIT);
	f = fopen(path, "re");
	assert_non_null(f);
	assert_non_null(fgets(line, sizeof(line), f));
	assert_int_equal(fclose(f), 0);
	line[strcspn(line, "\n")] = 0;
	assert_string_equal(line, text);
}

static void test_hold_and_release(void **state)
{
	static const struct {
		uint32_t us;
		const char *before, *held;
	} rows[] = {
		{10, "0\n", "10"},   {0, "0\n", "n/a"},
		{0, "250\n", "n/a"}, {CPU_LATENCY_MAX, "0\n", "1000000"},
		{20, "21\n", "20"},
	};
	struct cpu_latency cl;
	char before[16];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		snprintf(before, sizeof(before), "%.*s", (int)strcspn(rows[i].before, "\n"),
		         rows[i].before);
		put(rows[i].before);
		assert_int_equal(cpu_latency_open(&cl, fake_sysfs, CPU, rows[i].us), 0);
		assert_true(cpu_latency_is_open(&cl));
		assert_int_equal(cpu_latency_get_state(&cl), CPU_LATENCY_RELEASED);
		for (int again = 0; again < 2; again++) {
			cpu_latency_hold(&cl);
			cpu_latency_hold(&cl);
			expect(rows[i].held);
			assert_int_equal(cpu_latency_get_state(&cl), CPU_LATENCY_HELD);
			cpu_latency_release(&cl);
			expect(before);
			assert_int_equal(cpu_latency_get_state(&cl), CPU_LATENCY_RELEASED);
		}
		cpu_latency_hold(&cl);
		cpu_latency_close(&cl);
		expect(before);
	}
}

/* What it says already is the rest of a process that was killed: nobody's, and taken back. */
static void test_left_over(void **state)
{
	struct cpu_latency cl;

	(void)state;
	put("n/a\n");
	assert_int_equal(cpu_latency_open(&cl, fake_sysfs, CPU, 0), 0);
	assert_int_equal(cpu_latency_get_state(&cl), CPU_LATENCY_HELD);
	cpu_latency_release(&cl);
	expect("0");
	cpu_latency_close(&cl);
	put("10\n");
	assert_int_equal(cpu_latency_open(&cl, fake_sysfs, CPU, 10), 0);
	cpu_latency_close(&cl);
	expect("0");
}

static void test_stricter_one_is_left_alone(void **state)
{
	static const char *const rows[] = {"n/a\n", "9\n"};
	struct cpu_latency cl;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		put(rows[i]);
		assert_int_equal(cpu_latency_open(&cl, fake_sysfs, CPU, 10), 0);
		assert_false(cpu_latency_is_open(&cl));
		assert_int_equal(cpu_latency_get_state(&cl), CPU_LATENCY_STRICTER);
		cpu_latency_hold(&cl);
		expect(i ? "9" : "n/a");
		cpu_latency_close(&cl);
		expect(i ? "9" : "n/a");
	}
}

static void test_no_limit_wanted(void **state)
{
	struct cpu_latency cl;

	(void)state;
	put("0\n");
	assert_int_equal(cpu_latency_open(&cl, fake_sysfs, CPU, CPU_LATENCY_NONE), 0);
	assert_false(cpu_latency_is_open(&cl));
	cpu_latency_hold(&cl);
	expect("0");
	assert_int_equal(cpu_latency_get_state(&cl), CPU_LATENCY_OFF);
	cpu_latency_close(&cl);
}

/* Only changes are written: a sleep that changes nothing costs no system call. */
static void test_nothing_is_written_twice(void **state)
{
	struct cpu_latency cl;

	(void)state;
	put("0\n");
	assert_int_equal(cpu_latency_open(&cl, fake_sysfs, CPU, 10), 0);
	cpu_latency_hold(&cl);
	put("7\n");
	cpu_latency_hold(&cl);
	expect("7");
	cpu_latency_release(&cl);
	put("7\n");
	cpu_latency_release(&cl);
	cpu_latency_close(&cl);
	expect("7");
}

static void test_refused_write(void **state)
{
	struct rlimit limit, none;
	struct cpu_latency cl;

	(void)state;
	put("0\n");
	assert_int_equal(cpu_latency_open(&cl, fake_sysfs, CPU, 10), 0);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
	none = (struct rlimit){.rlim_max = limit.rlim_max};
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
	cpu_latency_hold(&cl);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	assert_int_equal(cpu_latency_get_state(&cl), CPU_LATENCY_FAILED);
	assert_false(cpu_latency_is_open(&cl));
	cpu_latency_hold(&cl);
	cpu_latency_close(&cl);
	expect("0");
}

static void test_no_file(void **state)
{
	struct cpu_latency cl;

	(void)state;
	assert_int_equal(cpu_latency_open(&cl, fake_sysfs, CPU, 10), -ENOENT);
	assert_int_equal(cpu_latency_get_state(&cl), CPU_LATENCY_FAILED);
	cpu_latency_hold(&cl);
	cpu_latency_release(&cl);
	cpu_latency_close(&cl);
	put("");
	assert_int_equal(cpu_latency_open(&cl, fake_sysfs, CPU, 10), -ENODATA);
	assert_int_equal(cpu_latency_get_state(&cl), CPU_LATENCY_FAILED);
	cpu_latency_close(&cl);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, fake_sysfs_make, fake_sysfs_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_hold_and_release),
		TEST(test_left_over),
		TEST(test_stricter_one_is_left_alone),
		TEST(test_no_limit_wanted),
		TEST(test_nothing_is_written_twice),
		TEST(test_refused_write),
		TEST(test_no_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
