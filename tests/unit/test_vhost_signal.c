/* SPDX-License-Identifier: BSD-2-Clause */
/* Eventfds that a hostile front end prepares: signalling never blocks, and never lies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <cmocka.h>

#include "vhost_signal.h"

static void test_counts(void **state)
{
	int fd = eventfd(0, EFD_NONBLOCK);
	uint64_t n = 0;

	(void)state;
	for (int i = 0; i < 1000; i++)
		assert_int_equal(vhost_signal(fd), 0);
	assert_int_equal(read(fd, &n, sizeof(n)), sizeof(n));
	assert_int_equal(n, 1000);
	close(fd);
}

/* With write() this would hang for ever: the alarm ends the test then. */
static void test_full_and_blocking(void **state)
{
	int fd = eventfd(0, 0);
	uint64_t full = UINT64_MAX - 1;

	(void)state;
	assert_int_equal(write(fd, &full, sizeof(full)), sizeof(full));
	alarm(10);
	for (int i = 0; i < 100; i++)
		assert_int_equal(vhost_signal(fd), 0);
	alarm(0);
	close(fd);
}

static void test_not_an_eventfd(void **state)
{
	int fds[2];

	(void)state;
	assert_true(vhost_signal(-1) < 0);
	assert_int_equal(pipe(fds), 0);
	assert_true(vhost_signal(fds[1]) < 0);
	close(fds[0]);
	close(fds[1]);
}

/* A thread's context can be given back and made again. */
static void test_end_and_again(void **state)
{
	int fd = eventfd(0, EFD_NONBLOCK);
	uint64_t n = 0;

	(void)state;
	for (int i = 0; i < 5; i++) {
		vhost_signal_end();
		assert_int_equal(vhost_signal(fd), 0);
	}
	assert_int_equal(read(fd, &n, sizeof(n)), sizeof(n));
	assert_int_equal(n, 5);
	vhost_signal_end();
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_counts),
		cmocka_unit_test(test_full_and_blocking),
		cmocka_unit_test(test_not_an_eventfd),
		cmocka_unit_test(test_end_and_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
