// SPDX-License-Identifier: BSD-2-Clause
/*
 * test_ctl.c - the control socket: JSON-RPC as it should be, and clients that misbehave
 *
 * The server runs in this thread, with its loop; steps of a client alternate with short turns of
 * the loop. What must happen is waited for, however busy the machine is; where patience ends is
 * tested with a clock that stands still until the test moves it.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <grp.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "clock.h"
#include "ctl_priv.h"
#include "log.h"
#include "skip.h"

#define PATIENCE_MS  40    /* by the clock that the test moves */
#define ENOUGH_TURNS 10000 /* of 2 ms at least: for what must happen */

static char dir[] = "/tmp/vx-test-ctl-XXXXXX";
static char path[64];
static struct loop *loop;
static struct loop_source *turn_timer;
static struct ctl *ctl;
static int n_calls;

/* --- methods --- */

static uint32_t n_made;    /* entries of lists */
static uint32_t made_then; /* how many when echo was called last */
static uint32_t n_entries; /* of the list, and memory is short after n_possible */
static uint32_t n_possible;

static json_t *method_echo(struct ctl_call *call)
{
	n_calls++;
	made_then = n_made;
	assert_ptr_equal(call->owner, &n_calls);
	return json_pack("{s:O?}", "params", call->params);
}

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

static json_t *method_big(struct ctl_call *call)
{
	size_t size = (size_t)json_integer_value(json_object_get(call->params, "bytes"));
	char *text = malloc(size + 1);
	json_t *result;

	assert_non_null(text);
	memset(text, 'x', size);
	text[size] = '\0';
	result = json_pack("{s:s}", "text", text);
	free(text);
	return result;
}

/* Counts places, in both of its numbers. */
static bool next_entry(void *owner, struct ctl_place *place, json_t **ret_entry)
{
	assert_ptr_equal(owner, &n_calls);
	assert_int_equal(place->k, 2 * place->i);
	if (place->i == n_entries)
		return false;
	if (place->i < n_possible)
		*ret_entry = json_pack("{s:i}", "n", (int)place->i);
	n_made++;
	place->i++;
	place->k += 2;
	return true;
}

static void set_list(const struct ctl_call *call)
{
	const json_t *possible = json_object_get(call->params, "possible");

	n_entries = (uint32_t)json_integer_value(json_object_get(call->params, "n"));
	n_possible = possible ? (uint32_t)json_integer_value(possible) : n_entries;
}

static json_t *method_list(struct ctl_call *call)
{
	static const struct ctl_list lists[] = {{"list", next_entry}, {0}};

	set_list(call);
	call->lists = lists;
	return json_object();
}

static json_t *method_lists(struct ctl_call *call)
{
	static const struct ctl_list lists[] = {{"a", next_entry}, {"b", next_entry}, {0}};

	set_list(call);
	call->lists = lists;
	return json_pack("{s:i,s:[]}", "x", 1, "y");
}

static const struct ctl_method methods[] = {
	{"echo", false, "parameters, back", method_echo},
	{"no", false, "fails", method_no},
	{"bad-text", false, "fails in bytes", method_bad_text},
	{"big", false, "answers at length", method_big},
	{"list", false, "answers in pieces", method_list},
	{"lists", false, "answers in pieces", method_lists},
	{"change", true, "changes something", method_echo},
};

/* --- the clock --- */

static uint64_t still_ns; /* what the clock shows; 0: it runs */

int __real_clock_gettime(clockid_t id, struct timespec *ret);
int __wrap_clock_gettime(clockid_t id, struct timespec *ret);

/* The linker puts this in the place of the C library's. */
int __wrap_clock_gettime(clockid_t id, struct timespec *ret)
{
	if (!still_ns)
		return __real_clock_gettime(id, ret);
	ret->tv_sec = (time_t)(still_ns / 1000000000);
	ret->tv_nsec = (long)(still_ns % 1000000000);
	return 0;
}

static void stop_clock(void)
{
	still_ns = clock_now_ns();
}

static void pass_ms(uint32_t ms)
{
	still_ns += ms * 1000000ull;
}

/* --- steps --- */

static void on_turn_end(void *arg)
{
	loop_quit(arg, 0);
}

static void turn_for(uint32_t ms)
{
	loop_set_timer(turn_timer, ms, 0);
	assert_int_equal(loop_run(loop), 0);
}

static void turn(void)
{
	turn_for(2);
}

static int dial(void)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_true(fd >= 0);
	strcpy(addr.sun_path, path);
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

static void say(int fd, const void *data, size_t len)
{
	assert_int_equal(send(fd, data, len, MSG_NOSIGNAL), (ssize_t)len);
}

/* Turns until the server has @n clients. */
static void wait_clients(uint32_t n)
{
	for (int i = 0; i < ENOUGH_TURNS && ctl_n_clients(ctl) != n; i++)
		turn();
	assert_int_equal(ctl_n_clients(ctl), n);
}

/* What the server has said so far; "" if nothing, "(closed)" at the end of the connection. */
static const char *hear_now(int fd)
{
	static char text[65536];
	ssize_t n;

	turn();
	n = recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT);
	if (n < 0)
		return errno == EAGAIN ? "" : "(reset)";
	if (!n)
		return "(closed)";
	text[n] = '\0';
	return text;
}

/* What the server says next; "" if it says nothing. */
static const char *hear(int fd)
{
	const char *text = "";

	for (int i = 0; i < ENOUGH_TURNS && !*text; i++)
		text = hear_now(fd);
	return text;
}

static const char *ask(int fd, const char *line)
{
	say(fd, line, strlen(line));
	return hear(fd);
}

static int set_up(void **state)
{
	char *why = NULL;

	(void)state;
	n_calls = 0;
	n_made = 0;
	still_ns = 0;
	assert_int_equal(loop_new(&loop), 0);
	assert_int_equal(loop_add_timer(loop, on_turn_end, loop, &turn_timer), 0);
	assert_int_equal(ctl_open(loop, path, methods, ARRAY_SIZE(methods), &n_calls, &ctl, &why),
	                 0);
	assert_null(why);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	ctl_close(ctl);
	ctl = NULL;
	loop_free(loop);
	/* nothing stays behind */
	assert_int_equal(access(path, F_OK), -1);
	return 0;
}

/* --- requests --- */

#define ANSWER(id, rest) "{\"jsonrpc\":\"2.0\",\"id\":" id "," rest "}\n"
#define ERROR(id, code, message)                                                                   \
	ANSWER(id, "\"error\":{\"code\":" code ",\"message\":\"" message "\"}")

#define ECHO        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"echo\"}\n"
#define ECHO_ANSWER ANSWER("1", "\"result\":{\"params\":null}")
#define LIST(method, n)                                                                            \
	"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"" method "\",\"params\":{\"n\":" n "}}\n"

static const struct row {
	const char *request, *answer;
} rows[] = {
	{"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"echo\",\"params\":{\"a\":[1,2]}}\n",
         ANSWER("1", "\"result\":{\"params\":{\"a\":[1,2]}}")},
	{"{\"jsonrpc\":\"2.0\",\"id\":\"x\",\"method\":\"echo\"}\r\n",
         ANSWER("\"x\"", "\"result\":{\"params\":null}")},
	{"{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"echo\"}\n",
         ANSWER("null", "\"result\":{\"params\":null}")},
	{"\n\r\n", ""},
	/* lists */
	{LIST("list", "0"), ANSWER("1", "\"result\":{\"list\":[]}")},
	{LIST("list", "1"), ANSWER("1", "\"result\":{\"list\":[{\"n\":0}]}")},
	{LIST("list", "3"), ANSWER("1", "\"result\":{\"list\":[{\"n\":0},{\"n\":1},{\"n\":2}]}")},
	{LIST("lists", "0"), ANSWER("1", "\"result\":{\"x\":1,\"y\":[],\"a\":[],\"b\":[]}")},
	{LIST("lists", "2"), ANSWER("1", "\"result\":{\"x\":1,\"y\":[],\"a\":[{\"n\":0},{\"n\":1}],"
                                         "\"b\":[{\"n\":0},{\"n\":1}]}")},
	{LIST("list", "3,\"possible\":2"), ERROR("1", "-32603", "out of memory")},
	/* notifications */
	{"{\"jsonrpc\":\"2.0\",\"method\":\"list\",\"params\":{\"n\":9,\"possible\":0}}\n", ""},
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

/* Where no answer is wanted, that of one more request must be the next thing that comes. */
static void test_requests(void **state)
{
	int fd = dial(), bad = 0, more = 0;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const char *want = *rows[i].answer ? rows[i].answer : ECHO_ANSWER;
		const char *answer;

		say(fd, rows[i].request, strlen(rows[i].request));
		if (!*rows[i].answer) {
			say(fd, ECHO, strlen(ECHO));
			more++;
		}
		answer = hear(fd);
		if (strcmp(answer, want) == 0)
			continue;
		print_error("request %s wanted  %s found   %s", rows[i].request, want, answer);
		bad++;
	}
	assert_int_equal(bad, 0);
	assert_int_equal(n_calls, 4 + more); /* one of them a notification */
	close(fd);
	wait_clients(0);
}

static void test_methods(void **state)
{
	int fd = dial();
	const char *answer = ask(fd, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"rpc.methods\"}\n");

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
	int fd = dial();
	char many[200 * sizeof(ECHO)];
	size_t len = 0, answers = 0;

	(void)state;
	for (size_t i = 0; i + 1 < sizeof(ECHO) - 1; i++) {
		say(fd, &ECHO[i], 1);
		assert_string_equal(hear_now(fd), "");
	}
	assert_string_equal(ask(fd, "\n"), ECHO_ANSWER);
	for (int i = 0; i < 200; i++)
		len += (size_t)sprintf(many + len, "%s", ECHO);
	say(fd, many, len);
	for (int i = 0; i < 50 && answers < 200 * strlen(ECHO_ANSWER); i++)
		answers += strlen(hear(fd));
	assert_int_equal(answers, 200 * strlen(ECHO_ANSWER));
	assert_int_equal(n_calls, 201);
	close(fd);
}

/* The last line may lack its newline, and the answer still comes to who only closed one way. */
static void test_half_closed(void **state)
{
	int fd = dial();

	(void)state;
	say(fd, ECHO ECHO, 2 * (sizeof(ECHO) - 1) - 1);
	shutdown(fd, SHUT_WR);
	assert_string_equal(hear(fd), ECHO_ANSWER ECHO_ANSWER);
	assert_string_equal(hear(fd), "(closed)");
	close(fd);
	fd = dial(); /* half a line, then gone */
	say(fd, ECHO, 10);
	wait_clients(1);
	close(fd);
	wait_clients(0);
	assert_int_equal(n_calls, 2);
}

static void test_long_lines(void **state)
{
	static char line[CTL_MAX_LINE + 16];
	int fd = dial(), n;

	(void)state;
	/* exactly the longest */
	n = sprintf(line, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"echo\",\"x\":\"");
	memset(line + n, 'y', sizeof(line) - (size_t)n);
	memcpy(line + CTL_MAX_LINE - 2, "\"}\n", 4);
	assert_string_equal(ask(fd, line), ECHO_ANSWER);
	/* one more */
	memset(line, 'y', sizeof(line));
	say(fd, line, CTL_MAX_LINE);
	assert_string_equal(hear_now(fd), "");
	say(fd, line, 1);
	assert_string_equal(hear(fd),
	                    ERROR("null", "-32700", "the line is longer than 65536 bytes"));
	assert_string_equal(hear(fd), "(closed)");
	close(fd);
	assert_int_equal(ctl_n_clients(ctl), 0);
}

/* Bytes of all kinds, and nesting that would end in a deep recursion. */
static void test_junk(void **state)
{
	static char junk[CTL_MAX_LINE];
	uint32_t seed = 7;
	const char *text;
	int fd = dial();

	(void)state;
	memset(junk, '[', sizeof(junk));
	junk[sizeof(junk) - 1] = '\n';
	say(fd, junk, sizeof(junk));
	assert_non_null(strstr(hear(fd), "-32700"));
	say(fd, "\0\0\n", 3);
	assert_non_null(strstr(hear(fd), "-32700"));
	for (int round = 0; round < 100; round++) {
		for (size_t i = 0; i < 1000; i++) {
			seed = seed * 1664525 + 1013904223;
			junk[i] = (char)(seed >> 24);
		}
		say(fd, junk, 1000);
		assert_string_not_equal(hear_now(fd), "(closed)");
	}
	say(fd, "\n", 1);
	/* Behind the answers to those lines. */
	for (text = ask(fd, ECHO); !strstr(text, ECHO_ANSWER); text = hear(fd))
		assert_non_null(strstr(text, "-32700"));
	close(fd);
}

#define BIG_BYTES  3000000
#define BIG        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"big\",\"params\":{\"bytes\":3000000}}\n"
#define BIG_ANSWER ANSWER("1", "\"result\":{\"text\":\"\"}") /* and so many bytes of text */

/* Takes all that has arrived. Return: bytes. */
static size_t take(int fd)
{
	static char text[65536];
	size_t len = 0;
	ssize_t n;

	while ((n = recv(fd, text, sizeof(text), MSG_DONTWAIT)) > 0)
		len += (size_t)n;
	assert_true(n < 0 && errno == EAGAIN);
	return len;
}

/* A long answer arrives whole at a client that needs nearly all the patience for each part. */
static void test_slow_reader(void **state)
{
	const size_t want = BIG_BYTES + strlen(BIG_ANSWER);
	size_t len = 0;
	int fd = dial();

	(void)state;
	stop_clock();
	ctl_set_patience(ctl, PATIENCE_MS);
	say(fd, BIG, strlen(BIG));
	for (int i = 0; i < ENOUGH_TURNS && len < want; i++) {
		size_t n;

		turn();
		n = take(fd);
		len += n;
		if (n)
			pass_ms(PATIENCE_MS - 1);
	}
	assert_int_equal(len, want);
	assert_string_equal(ask(fd, ECHO), ECHO_ANSWER);
	close(fd);
}

/* One that does not read is dropped, others are served meanwhile, and memory stays bounded. */
static void test_no_reader(void **state)
{
	struct rusage before, after;
	int fd = dial(), other = dial();

	(void)state;
	getrusage(RUSAGE_SELF, &before);
	stop_clock();
	ctl_set_patience(ctl, PATIENCE_MS);
	for (int i = 0; i < 400; i++) { /* would be 1.2 GB of answers */
		ssize_t n = send(fd, BIG, sizeof(BIG) - 1, MSG_NOSIGNAL);

		if (n < 0)
			break;
		if (i < 20)
			turn();
	}
	/* Not before its time, however often the server looks ... */
	pass_ms(PATIENCE_MS - 1);
	for (int i = 0; i < 10; i++) {
		assert_string_equal(ask(other, ECHO), ECHO_ANSWER);
		turn_for(PATIENCE_MS / 4 + 1);
	}
	assert_int_equal(ctl_n_clients(ctl), 2);
	/* ... but then, though an answer waits for the other one all the time. */
	pass_ms(PATIENCE_MS);
	for (int i = 0; i < ENOUGH_TURNS && ctl_n_clients(ctl) == 2; i++) {
		if (!take(other))
			say(other, BIG, strlen(BIG));
		turn();
	}
	assert_int_equal(ctl_n_clients(ctl), 1);
	getrusage(RUSAGE_SELF, &after);
	assert_true(after.ru_maxrss - before.ru_maxrss < 200 * 1024); /* KiB */
	close(fd);
	close(other);
}

/* --- lists that take many pieces --- */

#define LONG 200000 /* entries, of 12 bytes or so; so a piece has some thousand */

/* The text that the answer to LIST("lists", LONG) should be. */
static char *long_answer(size_t *ret_len)
{
	char *text = NULL;
	FILE *f = open_memstream(&text, ret_len);

	assert_non_null(f);
	fputs("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"x\":1,\"y\":[]", f);
	for (int k = 0; k < 2; k++) {
		fprintf(f, ",\"%c\":[", "ab"[k]);
		for (int i = 0; i < LONG; i++)
			fprintf(f, "%s{\"n\":%d}", i ? "," : "", i);
		fputc(']', f);
	}
	fputs("}}\n", f);
	assert_int_equal(fclose(f), 0);
	return text;
}

/* Nobody waits for more than a piece of somebody else's list, which arrives whole. */
static void test_long_list(void **state)
{
	const uint32_t most = 2 * CTL_PIECE / (uint32_t)strlen("{\"n\":0},");
	size_t len, done = 0;
	char *want = long_answer(&len);
	int fd = dial(), other = dial();

	(void)state;
	assert_string_equal(ask(fd, ECHO), ECHO_ANSWER);
	assert_string_equal(ask(other, ECHO), ECHO_ANSWER);
	say(fd, LIST("lists", "200000"), strlen(LIST("lists", "200000")));
	while (done < len) {
		static char text[65536];
		uint32_t before = n_made;
		ssize_t n;

		assert_string_equal(ask(other, ECHO), ECHO_ANSWER);
		assert_true(made_then - before <= most);
		n = recv(fd, text, sizeof(text), MSG_DONTWAIT);
		if (n < 0 && errno == EAGAIN)
			continue;
		assert_in_range(n, 1, len - done);
		assert_memory_equal(text, want + done, (size_t)n);
		done += (size_t)n;
	}
	assert_int_equal(n_made, 2 * LONG);
	assert_string_equal(ask(fd, ECHO), ECHO_ANSWER);
	free(want);
	close(fd);
	close(other);
}

/* What is not taken is not made; who takes nothing is dropped. */
static void test_long_list_unread(void **state)
{
	int fd = dial();

	(void)state;
	stop_clock();
	ctl_set_patience(ctl, PATIENCE_MS);
	say(fd, LIST("list", "100000000"), strlen(LIST("list", "100000000")));
	wait_clients(1);
	for (int i = 0; i < ENOUGH_TURNS && ctl_n_clients(ctl); i++) {
		turn();
		pass_ms(1);
	}
	assert_int_equal(ctl_n_clients(ctl), 0);
	assert_in_range(n_made, 1, 10000000);
	close(fd);
}

/* When memory runs out in the middle the connection ends, and with it the line. */
static void test_torn_list(void **state)
{
	const char *text = "";
	int fd = dial();

	(void)state;
	say(fd, LIST("list", "200000,\"possible\":20000"),
	    strlen(LIST("list", "200000,\"possible\":20000")));
	while (strcmp(text, "(closed)") != 0) {
		text = hear(fd);
		assert_string_not_equal(text, "");
		assert_null(strchr(text, '\n'));
	}
	assert_int_equal(n_made, 20001);
	close(fd);
	wait_clients(0);
}

/* More clients than places: the one silent longest goes, a new one is always served. */
static void test_many_clients(void **state)
{
	int fds[CTL_MAX_CLIENTS + 8];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		fds[i] = dial();
		assert_string_equal(ask(fds[i], ECHO), ECHO_ANSWER);
		assert_string_equal(ask(fds[0], ECHO), ECHO_ANSWER); /* active all the time */
		assert_true(ctl_n_clients(ctl) <= CTL_MAX_CLIENTS);
	}
	assert_string_equal(hear(fds[1]), "(closed)");
	assert_string_equal(hear(fds[8]), "(closed)");
	assert_string_equal(hear_now(fds[9]), "");
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		close(fds[i]);
	wait_clients(0);
}

/* Without free descriptors the loop does not spin, and goes on when there are some again. */
static void test_no_descriptors(void **state)
{
	struct rlimit old, low;
	struct rusage before, after;
	int fd;
	long us;

	(void)state;
	ctl_set_patience(ctl, 400);
	fd = dial();
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	low = old;
	low.rlim_cur = 0;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	getrusage(RUSAGE_SELF, &before);
	turn_for(300);
	getrusage(RUSAGE_SELF, &after);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	us = (after.ru_utime.tv_sec - before.ru_utime.tv_sec) * 1000000 + after.ru_utime.tv_usec -
	     before.ru_utime.tv_usec + (after.ru_stime.tv_sec - before.ru_stime.tv_sec) * 1000000 +
	     after.ru_stime.tv_usec - before.ru_stime.tv_usec;
	assert_true(us < 100000);
	assert_string_equal(ask(fd, ECHO), ECHO_ANSWER);
	close(fd);
}

/* --- the file --- */

static void test_mode(void **state)
{
	struct stat st;

	(void)state;
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0660);
}

static void test_second_daemon(void **state)
{
	struct ctl *second = NULL;
	char *why = NULL, want[256];
	int fd;

	(void)state;
	snprintf(want, sizeof(want), "control socket %s: another daemon listens on it, pid %d",
	         path, (int)getpid());
	assert_int_equal(ctl_open(loop, path, methods, 1, NULL, &second, &why), -EADDRINUSE);
	assert_null(second);
	assert_string_equal(why, want);
	free(why);
	fd = dial(); /* the first one is unharmed */
	assert_string_equal(ask(fd, ECHO), ECHO_ANSWER);
	close(fd);
}

static void test_stale_socket(void **state)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	char other[80], *why = NULL;
	struct ctl *second = NULL;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)state;
	snprintf(other, sizeof(other), "%s/other", dir);
	strcpy(addr.sun_path, other);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	close(fd); /* as after kill -9 */
	assert_int_equal(ctl_open(loop, other, methods, 1, NULL, &second, &why), 0);
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

	assert_int_equal(ctl_open(loop, where, methods, 1, NULL, &second, &why), want);
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
	snprintf(other, sizeof(other), "%s/file", dir);
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

		strcpy(addr.sun_path, path);
		if (setgroups(more ? 1 : 0, &more) < 0 || setgid(gid) < 0 || setuid(uid) < 0 ||
		    connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
			_exit(1);
		(void)!send(fd, line, strlen(line), MSG_NOSIGNAL);
		n = recv(fd, text, sizeof(text), 0);
		if (n > 0)
			(void)!write(fds[1], text, (size_t)n);
		_exit(0);
	}
	for (int i = 0; i < ENOUGH_TURNS && !ended; i++) {
		turn();
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
	assert_int_equal(chmod(path, 0666), 0);
	assert_int_equal(chmod(dir, 0755), 0);
	ask_as(65534, 65534, 0, ECHO, answer, sizeof(answer));
	assert_string_equal(answer, ERROR("null", "-32001", "permission denied"));
	assert_int_equal(n_calls, 0);
	ask_as(65534, 0, 0, ECHO, answer, sizeof(answer)); /* the socket's group */
	assert_string_equal(answer, ECHO_ANSWER);
	ask_as(65534, 0, 0, CHANGE, answer, sizeof(answer));
	assert_string_equal(answer, DENIED);
	assert_int_equal(n_calls, 1);
	ask_as(0, 65534, 0, CHANGE, answer, sizeof(answer)); /* root */
	assert_string_equal(answer, ECHO_ANSWER);
	/* the group among the supplementary ones */
	assert_int_equal(chown(path, 0, 0), 0);
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
	ctl_close(ctl);
	assert_int_equal(chmod(dir, 02755), 0);
	assert_int_equal(chown(dir, 0, 12345), 0); /* set-group-id: files get the folder's group */
	assert_int_equal(chmod(dir, 02755), 0);
	assert_int_equal(ctl_open(loop, path, methods, ARRAY_SIZE(methods), &n_calls, &ctl, &why),
	                 0);
	ask_as(65534, 65534, 12345, ECHO, answer, sizeof(answer));
	assert_string_equal(answer, ECHO_ANSWER);
	assert_int_equal(chmod(path, 0666), 0);
	ask_as(65534, 65534, 12346, ECHO, answer, sizeof(answer));
	assert_string_equal(answer, ERROR("null", "-32001", "permission denied"));
}

static int make_dir(void **state)
{
	(void)state;
	log_init(LOG_LEVEL_ERROR);
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/c.sock", dir);
	return 0;
}

static int remove_dir(void **state)
{
	(void)state;
	return rmdir(dir);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_requests),
		TEST(test_methods),
		TEST(test_pieces),
		TEST(test_half_closed),
		TEST(test_long_lines),
		TEST(test_junk),
		TEST(test_long_list),
		TEST(test_long_list_unread),
		TEST(test_torn_list),
		TEST(test_slow_reader),
		TEST(test_no_reader),
		TEST(test_many_clients),
		TEST(test_no_descriptors),
		TEST(test_mode),
		TEST(test_second_daemon),
		TEST(test_stale_socket),
		TEST(test_bad_paths),
		TEST(test_access),
		TEST(test_supplementary_group),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
