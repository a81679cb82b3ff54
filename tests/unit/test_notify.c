// SPDX-License-Identifier: BSD-2-Clause
/* test_notify.c - messages to the service manager, and privileges given up */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "clock.h"
#include "notify.h"
#include "privs.h"

static char dir[] = "/tmp/vx-test-notify-XXXXXX";
static struct loop *loop;

/* A socket as the manager has it; @name: path, or "@..." for an abstract one. */
static int manager(const char *name)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_true(fd >= 0);
	strcpy(addr.sun_path, name);
	if (*name == '@')
		addr.sun_path[0] = '\0';
	assert_int_equal(bind(fd, (struct sockaddr *)&addr,
	                      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name))),
	                 0);
	setenv("NOTIFY_SOCKET", name, 1);
	return fd;
}

/* Next message, or "". */
static const char *hear(int fd)
{
	static char text[512];
	ssize_t n = recv(fd, text, sizeof(text) - 1, 0);

	text[n > 0 ? n : 0] = '\0';
	return text;
}

static void on_end(void *arg)
{
	loop_quit(arg, 0);
}

static void run_for(uint32_t ms)
{
	struct loop_source *timer;

	assert_int_equal(loop_add_timer(loop, on_end, loop, &timer), 0);
	loop_set_timer(timer, ms, 0);
	assert_int_equal(loop_run(loop), 0);
	loop_remove(timer);
}

static void check_messages(const char *name)
{
	struct notify *n = NULL;
	int fd = manager(name);

	assert_int_equal(notify_open(loop, &n), 0);
	run_for(30);
	assert_string_equal(hear(fd), ""); /* no watchdog is wanted */
	notify_ready(n, 1);
	assert_string_equal(hear(fd), "READY=1\nSTATUS=Serving 1 port");
	notify_ready(n, 2);
	assert_string_equal(hear(fd), "READY=1\nSTATUS=Serving 2 ports");
	notify_status(n, "%s", "a\nREADY=1"); /* cannot smuggle a second assignment */
	assert_string_equal(hear(fd), "STATUS=a");
	notify_stopping(n);
	assert_string_equal(hear(fd), "STOPPING=1\nSTATUS=Stopping");
	notify_close(n);
	close(fd);
}

static void test_messages(void **state)
{
	char name[64];

	(void)state;
	unsetenv("WATCHDOG_USEC");
	snprintf(name, sizeof(name), "%s/n.sock", dir);
	check_messages(name);
	unlink(name);
	snprintf(name, sizeof(name), "@vx-test-notify-%d", (int)getpid());
	check_messages(name);
}

static void test_watchdog(void **state)
{
	struct notify *n = NULL;
	char name[64], pid[16];
	uint64_t start = clock_now_ms();
	uint32_t beats = 0;
	int fd;

	(void)state;
	snprintf(name, sizeof(name), "@vx-test-watchdog-%d", (int)getpid());
	fd = manager(name);
	setenv("WATCHDOG_USEC", "40000", 1);
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	setenv("WATCHDOG_PID", pid, 1);
	assert_int_equal(notify_open(loop, &n), 0);
	/* Every 20 ms, and one at once */
	for (uint32_t i = 0; i < 1000 && beats < 8; i++) {
		run_for(20);
		while (strcmp(hear(fd), "WATCHDOG=1") == 0)
			beats++;
	}
	assert_in_range(beats, 8, 2 + (clock_now_ms() - start) / 20);
	notify_close(n);
	run_for(50);
	assert_string_equal(hear(fd), "");
	setenv("WATCHDOG_PID", "1", 1); /* meant for another process */
	assert_int_equal(notify_open(loop, &n), 0);
	run_for(50);
	assert_string_equal(hear(fd), "");
	notify_close(n);
	unsetenv("WATCHDOG_PID");
	unsetenv("WATCHDOG_USEC");
	close(fd);
}

/* Without a manager nothing happens, and nothing fails. */
static void test_no_manager(void **state)
{
	struct notify *n = NULL;

	(void)state;
	unsetenv("NOTIFY_SOCKET");
	assert_int_equal(notify_open(loop, &n), 0);
	notify_ready(n, 0);
	setenv("NOTIFY_SOCKET", "/absent/n.sock", 1);
	notify_ready(n, 0);
	setenv("NOTIFY_SOCKET", "relative", 1);
	notify_stopping(n);
	notify_close(n);
	notify_close(NULL);
	unsetenv("NOTIFY_SOCKET");
}

/* Value of a field of /proc/self/status, as hexadecimal. */
static unsigned long long status_field(const char *name)
{
	unsigned long long value = ~0ull;
	FILE *f = fopen("/proc/self/status", "re");
	char line[256];

	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, name, strlen(name)))
			sscanf(line + strlen(name), ": %llx", &value);
	if (f)
		fclose(f);
	return value;
}

/* In a child, because it is for good. Return: 0, or which check failed. */
static int drop_and_look(void)
{
	/* CHOWN, DAC_OVERRIDE, FOWNER, NET_ADMIN, NET_RAW, IPC_LOCK, BPF */
	const unsigned long long kept = 1ull << 0 | 1ull << 1 | 1ull << 3 | 1ull << 12 |
	                                1ull << 13 | 1ull << 14 | 1ull << 39;
	unsigned long long before = status_field("CapPrm");
	char *why = NULL;

	if (privs_drop(&why) < 0) {
		print_error("%s\n", why);
		return 1;
	}
	if (status_field("CapPrm") != (before & kept) || status_field("CapEff") != (before & kept))
		return 2;
	if (status_field("CapInh") || status_field("CapAmb"))
		return 3;
	if (status_field("NoNewPrivs") != 1)
		return 4;
	/* A second time changes nothing and does not fail. */
	if (privs_drop(&why) < 0 || status_field("CapPrm") != (before & kept))
		return 5;
	/* A program that we start has none, even as root. */
	execl("/bin/sh", "sh", "-c", "grep -q '^CapEff:[[:space:]]*0*$' /proc/self/status",
	      (char *)NULL);
	return 6;
}

static void test_privs(void **state)
{
	pid_t pid = fork();
	int status;

	(void)state;
	if (!pid)
		_exit(drop_and_look());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static int set_up(void **state)
{
	(void)state;
	return !mkdtemp(dir) || loop_new(&loop) < 0;
}

static int tear_down(void **state)
{
	(void)state;
	loop_free(loop);
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_messages),
		cmocka_unit_test(test_watchdog),
		cmocka_unit_test(test_no_manager),
		cmocka_unit_test(test_privs),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
