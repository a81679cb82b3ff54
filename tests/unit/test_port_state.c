/* SPDX-License-Identifier: BSD-2-Clause */
/* test_port_state.c - the file that a port finds again after a restart */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "port_state.h"

static char folder[64], near[128], path[128];

static int setup(void **state)
{
	(void)state;
	snprintf(folder, sizeof(folder), "/tmp/test_port_state.XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	snprintf(near, sizeof(near), "%s/control.sock", folder);
	snprintf(path, sizeof(path), "%s/vm1.state", folder);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	if (unlink(path) < 0 && errno == EISDIR)
		rmdir(path);
	return rmdir(folder);
}

static struct port_state *open_good(void)
{
	struct port_state *s;
	char *why = NULL;

	assert_int_equal(port_state_open(near, "vm1", &s, &why), 0);
	assert_null(why);
	return s;
}

static void open_bad(int err, const char *word)
{
	struct port_state *s = NULL;
	char *why = NULL;

	assert_int_equal(port_state_open(near, "vm1", &s, &why), err);
	assert_non_null(strstr(why, word));
	assert_non_null(strstr(why, path));
	assert_null(s);
	free(why);
}

static void found_again(void **state)
{
	struct port_state *s = open_good();
	struct stat st;

	(void)state;
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_true(st.st_blocks * 512 >= st.st_size); /* a full disk is no SIGBUS later */
	assert_int_equal(port_state_features(s, 7), 0);
	port_state_note(s, 7, 0x123456789ab);
	port_state_rings(s)[255].base = 99;
	port_state_close(s);
	s = open_good();
	assert_int_equal(port_state_features(s, 7), 0x123456789ab);
	assert_int_equal(port_state_features(s, 8), 0);
	assert_int_equal(port_state_features(s, 0), 0);
	assert_int_equal(port_state_rings(s)[255].base, 99);
	port_state_close(s);
	port_state_close(NULL);
}

static void one_owner(void **state)
{
	struct port_state *s = open_good();

	(void)state;
	open_bad(-EBUSY, "another daemon");
	port_state_close(s);
	port_state_close(open_good());
}

static void put(const void *bytes, size_t n)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, n), n);
	close(fd);
}

/* Something else, an older layout, half a file: emptied. */
static void of_another_kind(void **state)
{
	char junk[40000];

	(void)state;
	memset(junk, 0xa5, sizeof(junk));
	for (size_t n = 0; n <= sizeof(junk); n += 4000) {
		struct port_state *s;

		put(junk, n);
		s = open_good();
		assert_int_equal(port_state_features(s, (int)0xa5a5a5a5), 0);
		assert_int_equal(port_state_rings(s)[0].valid, 0);
		port_state_close(s);
	}
}

static void not_a_file(void **state)
{
	(void)state;
	assert_int_equal(symlink("/etc/passwd", path), 0);
	open_bad(-ELOOP, "packed rings");
	unlink(path);
	assert_int_equal(mkfifo(path, 0600), 0);
	open_bad(-EPERM, "packed rings");
	unlink(path);
	assert_int_equal(mkdir(path, 0700), 0);
	open_bad(-EISDIR, "packed rings");
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {T(found_again), T(one_owner), T(of_another_kind),
	                                   T(not_a_file)};

	return cmocka_run_group_tests_name("port_state", tests, NULL, NULL);
}
