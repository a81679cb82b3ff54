// SPDX-License-Identifier: BSD-2-Clause
/*
 * test_ctl.c - the control socket: JSON-RPC as it should be, clients that misbehave, the socket's
 * file, and who may use it. Long answers: test_ctl_answers.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <grp.h>
#include <unistd.h>

#include "fake_client.h"
#include "skip.h"

/* --- methods --- */

static json_t *method_no(struct ctl_call *call)
{
	call->error = strdup("there is no such \"thing\"");
	return NULL;
}

/* A sentence with bytes that are no UTF-8, and none at all. */
static json_t *method_bad_text(struct ctl_call *call)
{
	if (!json_object_get(call->params, "none"))
		call->error = strdup("\xff\xfe");
	return NULL;
}

static const struct ctl_method methods[] = {
	{"echo", false, "parameters, back", fc_echo, NULL},
	{"no", false, "fails", method_no, NULL},
	{"bad-text", false, "fails in bytes", method_bad_text, NULL},
	{"change", true, "changes something", fc_echo, NULL},
};

static int set_up(void **state)
{
	(void)state;
	fc_open(methods, ARRAY_SIZE(methods));
	return 0;
}

/* --- requests --- */

static const struct fc_row rows[] = {
	{"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"echo\",\"params\":{\"a\":[1,2]}}\n",
         ANSWER("1", "\"result\":{\"params\":{\"a\":[1,2]}}")},
	{"{\"jsonrpc\":\"2.0\",\"id\":\"x\",\"method\":\"echo\"}\r\n",
         ANSWER("\"x\"", "\"result\":{\"params\":null}")},
	{"{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"echo\"}\n",
         ANSWER("null", "\"result\":{\"params\":null}")},
	{"\n\r\n", ""},
	/* notifications */
	{"{\"jsonrpc\":\"2.0\",\"method\":\"echo\"}\n", ""},
	{"{\"jsonrpc\":\"2.0\",\"method\":\"nothing\"}\n", ""},
	/* errors of each kind */
	{"{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"no\"}\n",
         ERROR("2", "-32000", "there is no such \\\"thing\\\"")},
	{"{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"bad-text\"}\n",
         ERROR("2", "-32000", "the method failed")},
	{"{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"bad-text\",\"params\":{\"none\":1}}\n",
         ERROR("2", "-32603", "out of memory")},
	{"{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"nothing\"}\n",
         ERROR("3", "-32601", "there is no such method, see rpc.methods")},
	{"{\"jsonrpc\":\"2.0\",\"id\":4,\"method\":\"echo\",\"params\":[1]}\n",
         ERROR("4", "-32602", "params is not an object")},
	{"{\"jsonrpc\":\"1.0\",\"id\":5,\"method\":\"echo\"}\n",
         ERROR("5", "-32600", "jsonrpc is not \\\"2.0\\\"")},
	{"{\"id\":5,\"method\":\"echo\"}\n", ERROR("5", "-32600", "jsonrpc is not \\\"2.0\\\"")},
	{"{\"jsonrpc\":\"2.0\",\"id\":6}\n",
         ERROR("6", "-32600", "method is missing or not a string")},
	{"{\"jsonrpc\":\"2.0\",\"id\":6,\"method\":7}\n",
         ERROR("6", "-32600", "method is missing or not a string")},
	{"{\"jsonrpc\":\"2.0\",\"id\":[],\"method\":\"echo\"}\n",
         ERROR("null", "-32600", "id is neither a string nor a number")},
	{"[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"echo\"}]\n",
         ERROR("null", "-32600", "batches are not supported, send one request a line")},
	{"[]\n", ERROR("null", "-32600", "batches are not supported, send one request a line")},
	{"17\n", ERROR("null", "-32600", "a request is an object")},
	{"hello\n", ERROR("null", "-32700", "not JSON: column 5: invalid token near 'hello'")},
	{"{\"jsonrpc\":\"2.0\",\"id\":1,\"id\":2,\"method\":\"echo\"}\n",
         ERROR("null", "-32700", "not JSON: column 28: duplicate object key near '\\\"id\\\"'")},
	{"{} {}\n", ERROR("null", "-32700", "not JSON: column 4: end of file expected near '{'")},
};

static void test_requests(void **state)
{
	int fd = fc_dial();

	(void)state;
	assert_int_equal(fc_check_rows(fd, rows, ARRAY_SIZE(rows)), 0);
	/* One of them a notification, and what follows the three rows without an answer. */
	assert_int_equal(fc.n_calls, 4 + 3);
	close(fd);
	fc_wait_clients(0);
}

static void test_methods(void **state)
{
	int fd = fc_dial();
	const char *answer =
		fc_ask(fd, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"rpc.methods\"}\n");

	(void)state;
	assert_non_null(strstr(
		answer, "{\"name\":\"echo\",\"help\":\"parameters, back\",\"mutates\":false}"));
	assert_non_null(strstr(answer, "{\"name\":\"change\",\"help\":\"changes something\","
	                               "\"mutates\":true}"));
	assert_non_null(strstr(answer, "{\"name\":\"rpc.methods\",\"help\":\"this list\","
	                               "\"mutates\":false}"));
	close(fd);
}

/* A request that comes byte by byte, and many in one piece. */
static void test_pieces(void **state)
{
	int fd = fc_dial();
	char many[200 * sizeof(ECHO)];
	size_t len = 0, answers = 0;

	(void)state;
	for (size_t i = 0; i + 1 < sizeof(ECHO) - 1; i++) {
		fc_say(fd, &ECHO[i], 1);
		assert_string_equal(fc_hear_now(fd), "");
	}
	assert_string_equal(fc_ask(fd, "\n"), ECHO_ANSWER);
	for (int i = 0; i < 200; i++)
		len += (size_t)sprintf(many + len, "%s", ECHO);
	fc_say(fd, many, len);
	for (int i = 0; i < 50 && answers < 200 * strlen(ECHO_ANSWER); i++)
		answers += strlen(fc_hear(fd));
	assert_int_equal(answers, 200 * strlen(ECHO_ANSWER));
	assert_int_equal(fc.n_calls, 201);
	close(fd);
}

/* The last line may lack its newline, and the answer still comes to who only closed one way. */
static void test_half_closed(void **state)
{
	int fd = fc_dial();

	(void)state;
	fc_say(fd, ECHO ECHO, 2 * (sizeof(ECHO) - 1) - 1);
	shutdown(fd, SHUT_WR);
	assert_string_equal(fc_hear(fd), ECHO_ANSWER ECHO_ANSWER);
	assert_string_equal(fc_hear(fd), "(closed)");
	close(fd);
	fd = fc_dial(); /* half a line, then gone */
	fc_say(fd, ECHO, 10);
	fc_wait_clients(1);
	close(fd);
	fc_wait_clients(0);
	assert_int_equal(fc.n_calls, 2);
}

static void test_long_lines(void **state)
{
	static char line[CTL_MAX_LINE + 16];
	int fd = fc_dial(), n;

	(void)state;
	/* exactly the longest */
	n = sprintf(line, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"echo\",\"x\":\"");
	memset(line + n, 'y', sizeof(line) - (size_t)n);
	memcpy(line + CTL_MAX_LINE - 2, "\"}\n", 4);
	assert_string_equal(fc_ask(fd, line), ECHO_ANSWER);
	/* one more */
	memset(line, 'y', sizeof(line));
	fc_say(fd, line, CTL_MAX_LINE);
	assert_string_equal(fc_hear_now(fd), "");
	fc_say(fd, line, 1);
	assert_string_equal(fc_hear(fd),
	                    ERROR("null", "-32700", "the line is longer than 65536 bytes"));
	assert_string_equal(fc_hear(fd), "(closed)");
	close(fd);
	assert_int_equal(ctl_n_clients(fc.ctl), 0);
}

/* Bytes of all kinds, and nesting that would end in a deep recursion. */
static void test_junk(void **state)
{
	static char junk[CTL_MAX_LINE];
	uint32_t seed = 7;
	const char *text;
	int fd = fc_dial();

	(void)state;
	memset(junk, '[', sizeof(junk));
	junk[sizeof(junk) - 1] = '\n';
	fc_say(fd, junk, sizeof(junk));
	assert_non_null(strstr(fc_hear(fd), "-32700"));
	fc_say(fd, "\0\0\n", 3);
	assert_non_null(strstr(fc_hear(fd), "-32700"));
	for (int round = 0; round < 100; round++) {
		for (size_t i = 0; i < 1000; i++) {
			seed = seed * 1664525 + 1013904223;
			junk[i] = (char)(seed >> 24);
		}
		fc_say(fd, junk, 1000);
		assert_string_not_equal(fc_hear_now(fd), "(closed)");
	}
	fc_say(fd, "\n", 1);
	/* Behind the answers to those lines. */
	for (text = fc_ask(fd, ECHO); !strstr(text, ECHO_ANSWER); text = fc_hear(fd))
		assert_non_null(strstr(text, "-32700"));
	close(fd);
}

/* More clients than places: the one silent longest goes, a new one is always served. */
static void test_many_clients(void **state)
{
	int fds[CTL_MAX_CLIENTS + 8];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		fds[i] = fc_dial();
		assert_string_equal(fc_ask(fds[i], ECHO), ECHO_ANSWER);
		assert_string_equal(fc_ask(fds[0], ECHO), ECHO_ANSWER); /* active all the time */
		assert_true(ctl_n_clients(fc.ctl) <= CTL_MAX_CLIENTS);
	}
	assert_string_equal(fc_hear(fds[1]), "(closed)");
	assert_string_equal(fc_hear(fds[8]), "(closed)");
	assert_string_equal(fc_hear_now(fds[9]), "");
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		close(fds[i]);
	fc_wait_clients(0);
}

/* Without free descriptors the loop does not spin, and goes on when there are some again. */
static void test_no_descriptors(void **state)
{
	struct rlimit old, low;
	struct rusage before, after;
	int fd;
	long us;

	(void)state;
	ctl_set_patience(fc.ctl, 400);
	fd = fc_dial();
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	low = old;
	low.rlim_cur = 0;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	getrusage(RUSAGE_SELF, &before);
	fc_turn_for(300);
	getrusage(RUSAGE_SELF, &after);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	us = (after.ru_utime.tv_sec - before.ru_utime.tv_sec) * 1000000 + after.ru_utime.tv_usec -
	     before.ru_utime.tv_usec + (after.ru_stime.tv_sec - before.ru_stime.tv_sec) * 1000000 +
	     after.ru_stime.tv_usec - before.ru_stime.tv_usec;
	assert_true(us < 100000);
	assert_string_equal(fc_ask(fd, ECHO), ECHO_ANSWER);
	close(fd);
}

/* --- the file --- */

static void test_mode(void **state)
{
	struct stat st;

	(void)state;
	assert_int_equal(stat(fc.path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0660);
}

static void test_second_daemon(void **state)
{
	struct ctl *second = NULL;
	char *why = NULL, want[256];
	int fd;

	(void)state;
	snprintf(want, sizeof(want), "control socket %s: another daemon listens on it, pid %d",
	         fc.path, (int)getpid());
	assert_int_equal(ctl_open(fc.loop, fc.path, methods, 1, NULL, &second, &why), -EADDRINUSE);
	assert_null(second);
	assert_string_equal(why, want);
	free(why);
	fd = fc_dial(); /* the first one is unharmed */
	assert_string_equal(fc_ask(fd, ECHO), ECHO_ANSWER);
	close(fd);
}

static void test_stale_socket(void **state)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	char other[80], *why = NULL;
	struct ctl *second = NULL;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)state;
	snprintf(other, sizeof(other), "%s/other", fc.dir);
	strcpy(addr.sun_path, other);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	close(fd); /* as after kill -9 */
	assert_int_equal(ctl_open(fc.loop, other, methods, 1, NULL, &second, &why), 0);
	/* A socket that took our place is not removed. */
	assert_int_equal(unlink(other), 0);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	ctl_close(second);
	assert_int_equal(access(other, F_OK), 0);
	close(fd);
	assert_int_equal(unlink(other), 0);
}

static void expect_open(const char *where, int want, const char *text)
{
	struct ctl *second = NULL;
	char *why = NULL;

	assert_int_equal(ctl_open(fc.loop, where, methods, 1, NULL, &second, &why), want);
	assert_null(second);
	assert_non_null(why);
	assert_non_null(strstr(why, text));
	free(why);
}

static void test_bad_paths(void **state)
{
	char other[80];
	int fd;

	(void)state;
	snprintf(other, sizeof(other), "%s/file", fc.dir);
	fd = open(other, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	close(fd);
	expect_open(other, -EEXIST, "it is not a socket");
	assert_int_equal(access(other, F_OK), 0); /* and it is still there */
	unlink(other);
	expect_open("/absent/folder/c.sock", -ENOENT, "No such file or directory");
	expect_open("/tmp/"
	            "0123456789012345678901234567890123456789012345678901234567890123456789"
	            "0123456789012345678901234567890123456789",
	            -ENAMETOOLONG, "File name too long");
}

/* --- who may --- */

/* In a child with other ids: what the server says to @line. */
static void ask_as(uid_t uid, gid_t gid, gid_t more, const char *line, char *answer, size_t size)
{
	pid_t pid, ended = 0;
	int fds[2], status;
	ssize_t n;

	assert_int_equal(pipe(fds), 0);
	pid = fork();
	if (!pid) {
		struct sockaddr_un addr = {.sun_family = AF_UNIX};
		char text[1024];
		int fd = socket(AF_UNIX, SOCK_STREAM, 0);

		strcpy(addr.sun_path, fc.path);
		if (setgroups(more ? 1 : 0, &more) < 0 || setgid(gid) < 0 || setuid(uid) < 0 ||
		    connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
			_exit(1);
		(void)!send(fd, line, strlen(line), MSG_NOSIGNAL);
		n = recv(fd, text, sizeof(text), 0);
		if (n > 0)
			(void)!write(fds[1], text, (size_t)n);
		_exit(0);
	}
	for (int i = 0; i < FC_ENOUGH_TURNS && !ended; i++) {
		fc_turn();
		ended = waitpid(pid, &status, WNOHANG);
	}
	if (!ended) {
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
	}
	assert_int_equal(ended, pid);
	assert_int_equal(status, 0);
	close(fds[1]);
	n = read(fds[0], answer, size - 1);
	close(fds[0]);
	answer[n > 0 ? n : 0] = '\0';
}

#define CHANGE "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"change\"}\n"
#define DENIED ERROR("1", "-32001", "only root and the daemon's own user may do this")

static void test_access(void **state)
{
	char answer[1024];

	(void)state;
	if (geteuid() != 0)
		skip_because("needs root");
	/* Beyond file permissions: also a socket that anybody can reach looks who comes. */
	assert_int_equal(chmod(fc.path, 0666), 0);
	assert_int_equal(chmod(fc.dir, 0755), 0);
	ask_as(65534, 65534, 0, ECHO, answer, sizeof(answer));
	assert_string_equal(answer, ERROR("null", "-32001", "permission denied"));
	assert_int_equal(fc.n_calls, 0);
	ask_as(65534, 0, 0, ECHO, answer, sizeof(answer)); /* the socket's group */
	assert_string_equal(answer, ECHO_ANSWER);
	ask_as(65534, 0, 0, CHANGE, answer, sizeof(answer));
	assert_string_equal(answer, DENIED);
	assert_int_equal(fc.n_calls, 1);
	ask_as(0, 65534, 0, CHANGE, answer, sizeof(answer)); /* root */
	assert_string_equal(answer, ECHO_ANSWER);
	/* the group among the supplementary ones */
	assert_int_equal(chown(fc.path, 0, 0), 0);
	ask_as(65534, 65534, 12345, ECHO, answer, sizeof(answer));
	assert_string_equal(answer, ERROR("null", "-32001", "permission denied"));
}

/* A second socket whose group is 12345, for a client that has it as its supplementary group. */
static void test_supplementary_group(void **state)
{
	char answer[1024], *why = NULL;

	(void)state;
	if (geteuid() != 0)
		skip_because("needs root");
	ctl_close(fc.ctl);
	assert_int_equal(chmod(fc.dir, 02755), 0);
	assert_int_equal(chown(fc.dir, 0, 12345),
	                 0); /* set-group-id: files get the folder's group */
	assert_int_equal(chmod(fc.dir, 02755), 0);
	assert_int_equal(ctl_open(fc.loop, fc.path, methods, ARRAY_SIZE(methods), &fc.n_calls,
	                          &fc.ctl, &why),
	                 0);
	ask_as(65534, 65534, 12345, ECHO, answer, sizeof(answer));
	assert_string_equal(answer, ECHO_ANSWER);
	assert_int_equal(chmod(fc.path, 0666), 0);
	ask_as(65534, 65534, 12346, ECHO, answer, sizeof(answer));
	assert_string_equal(answer, ERROR("null", "-32001", "permission denied"));
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, fc_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_requests),     TEST(test_methods),
		TEST(test_pieces),       TEST(test_half_closed),
		TEST(test_long_lines),   TEST(test_junk),
		TEST(test_many_clients), TEST(test_no_descriptors),
		TEST(test_mode),         TEST(test_second_daemon),
		TEST(test_stale_socket), TEST(test_bad_paths),
		TEST(test_access),       TEST(test_supplementary_group),
	};

	return cmocka_run_group_tests(tests, fc_make_dir, fc_remove_dir);
}
