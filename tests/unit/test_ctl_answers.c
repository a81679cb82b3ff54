// SPDX-License-Identifier: BSD-2-Clause
/*
 * test_ctl_answers.c - the control socket: long answers, lists that are made in pieces, and clients
 * that do not take what they asked for
 *
 * Where patience ends is tested with a clock that stands still until the test moves it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ctl_priv.h"
#include "fake_client.h"
#include "fake_clock.h"

#define PATIENCE_MS 40 /* by the clock that the test moves */

/* --- methods --- */

static uint32_t n_made;    /* entries of lists */
static uint32_t made_then; /* how many when echo was called last */
static uint32_t n_entries; /* of the list, and memory is short after n_possible */
static uint32_t n_possible;

static json_t *method_echo(struct ctl_call *call)
{
	made_then = n_made;
	return fc_echo(call);
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
	assert_ptr_equal(owner, &fc.n_calls);
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
	set_list(call);
	return json_object();
}

static json_t *method_lists(struct ctl_call *call)
{
	set_list(call);
	return json_pack("{s:i,s:[]}", "x", 1, "y");
}

static const struct ctl_list one_list[] = {{"list", next_entry}, {0}};
static const struct ctl_list two_lists[] = {{"a", next_entry}, {"b", next_entry}, {0}};

static const struct ctl_method methods[] = {
	{"echo", false, "parameters, back", method_echo, NULL},
	{"big", false, "answers at length", method_big, NULL},
	{"list", false, "answers in pieces", method_list, one_list},
	{"list-alone", false, "a list and nothing else", NULL, one_list},
	{"lists", false, "answers in pieces", method_lists, two_lists},
};

static int set_up(void **state)
{
	(void)state;
	n_made = 0;
	fake_clock_run();
	fc_open(methods, ARRAY_SIZE(methods));
	return 0;
}

/* --- one long text --- */

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
	int fd = fc_dial();

	(void)state;
	fake_clock_stop();
	ctl_set_patience(fc.ctl, PATIENCE_MS);
	fc_say(fd, BIG, strlen(BIG));
	for (int i = 0; i < FC_ENOUGH_TURNS && len < want; i++) {
		size_t n;

		fc_turn();
		n = take(fd);
		len += n;
		if (n)
			fake_clock_pass_ms(PATIENCE_MS - 1);
	}
	assert_int_equal(len, want);
	assert_string_equal(fc_ask(fd, ECHO), ECHO_ANSWER);
	close(fd);
}

/* One that does not read is dropped, others are served meanwhile, and memory stays bounded. */
static void test_no_reader(void **state)
{
	struct rusage before, after;
	int fd = fc_dial(), other = fc_dial();

	(void)state;
	getrusage(RUSAGE_SELF, &before);
	fake_clock_stop();
	ctl_set_patience(fc.ctl, PATIENCE_MS);
	for (int i = 0; i < 400; i++) { /* would be 1.2 GB of answers */
		ssize_t n = send(fd, BIG, sizeof(BIG) - 1, MSG_NOSIGNAL);

		if (n < 0)
			break;
		if (i < 20)
			fc_turn();
	}
	/* Not before its time, however often the server looks ... */
	fake_clock_pass_ms(PATIENCE_MS - 1);
	for (int i = 0; i < 10; i++) {
		assert_string_equal(fc_ask(other, ECHO), ECHO_ANSWER);
		fc_turn_for(PATIENCE_MS / 4 + 1);
	}
	assert_int_equal(ctl_n_clients(fc.ctl), 2);
	/* ... but then, though an answer waits for the other one all the time. */
	fake_clock_pass_ms(PATIENCE_MS);
	for (int i = 0; i < FC_ENOUGH_TURNS && ctl_n_clients(fc.ctl) == 2; i++) {
		if (!take(other))
			fc_say(other, BIG, strlen(BIG));
		fc_turn();
	}
	assert_int_equal(ctl_n_clients(fc.ctl), 1);
	getrusage(RUSAGE_SELF, &after);
	assert_true(after.ru_maxrss - before.ru_maxrss < 200 * 1024); /* KiB */
	close(fd);
	close(other);
}

/* --- lists --- */

#define LIST(method, n)                                                                            \
	"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"" method "\",\"params\":{\"n\":" n "}}\n"

static const struct fc_row rows[] = {
	{LIST("list", "0"), ANSWER("1", "\"result\":{\"list\":[]}")},
	{LIST("list", "1"), ANSWER("1", "\"result\":{\"list\":[{\"n\":0}]}")},
	{LIST("list", "3"), ANSWER("1", "\"result\":{\"list\":[{\"n\":0},{\"n\":1},{\"n\":2}]}")},
	/* of as many entries as before */
	{LIST("list-alone", "9"),
         ANSWER("1", "\"result\":{\"list\":[{\"n\":0},{\"n\":1},{\"n\":2}]}")},
	{LIST("lists", "0"), ANSWER("1", "\"result\":{\"x\":1,\"y\":[],\"a\":[],\"b\":[]}")},
	{LIST("lists", "2"), ANSWER("1", "\"result\":{\"x\":1,\"y\":[],\"a\":[{\"n\":0},{\"n\":1}],"
                                         "\"b\":[{\"n\":0},{\"n\":1}]}")},
	{LIST("list", "3,\"possible\":2"), ERROR("1", "-32603", "out of memory")},
	{"{\"jsonrpc\":\"2.0\",\"method\":\"list\",\"params\":{\"n\":9,\"possible\":0}}\n", ""},
};

static void test_lists(void **state)
{
	int fd = fc_dial();

	(void)state;
	assert_int_equal(fc_check_rows(fd, rows, ARRAY_SIZE(rows)), 0);
	/* Entries of those rows, and one that failed; a notification makes none. */
	assert_int_equal(n_made, 0 + 1 + 3 + 3 + 0 + 4 + 3);
	close(fd);
}

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
	int fd = fc_dial(), other = fc_dial();

	(void)state;
	assert_string_equal(fc_ask(fd, ECHO), ECHO_ANSWER);
	assert_string_equal(fc_ask(other, ECHO), ECHO_ANSWER);
	fc_say(fd, LIST("lists", "200000"), strlen(LIST("lists", "200000")));
	while (done < len) {
		static char text[65536];
		uint32_t before = n_made;
		ssize_t n;

		assert_string_equal(fc_ask(other, ECHO), ECHO_ANSWER);
		assert_true(made_then - before <= most);
		n = recv(fd, text, sizeof(text), MSG_DONTWAIT);
		if (n < 0 && errno == EAGAIN)
			continue;
		assert_in_range(n, 1, len - done);
		assert_memory_equal(text, want + done, (size_t)n);
		done += (size_t)n;
	}
	assert_int_equal(n_made, 2 * LONG);
	assert_string_equal(fc_ask(fd, ECHO), ECHO_ANSWER);
	free(want);
	close(fd);
	close(other);
}

/* What is not taken is not made; who takes nothing is dropped. */
static void test_long_list_unread(void **state)
{
	int fd = fc_dial();

	(void)state;
	fake_clock_stop();
	ctl_set_patience(fc.ctl, PATIENCE_MS);
	fc_say(fd, LIST("list", "100000000"), strlen(LIST("list", "100000000")));
	fc_wait_clients(1);
	for (int i = 0; i < FC_ENOUGH_TURNS && ctl_n_clients(fc.ctl); i++) {
		fc_turn();
		fake_clock_pass_ms(1);
	}
	assert_int_equal(ctl_n_clients(fc.ctl), 0);
	assert_in_range(n_made, 1, 10000000);
	close(fd);
}

/* When memory runs out in the middle the connection ends, and with it the line. */
static void test_torn_list(void **state)
{
	const char *text = "";
	int fd = fc_dial();

	(void)state;
	fc_say(fd, LIST("list", "200000,\"possible\":20000"),
	       strlen(LIST("list", "200000,\"possible\":20000")));
	while (strcmp(text, "(closed)") != 0) {
		text = fc_hear(fd);
		assert_string_not_equal(text, "");
		assert_null(strchr(text, '\n'));
	}
	assert_int_equal(n_made, 20001);
	close(fd);
	fc_wait_clients(0);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, fc_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_slow_reader), TEST(test_no_reader),        TEST(test_lists),
		TEST(test_long_list),   TEST(test_long_list_unread), TEST(test_torn_list),
	};

	return cmocka_run_group_tests(tests, fc_make_dir, fc_remove_dir);
}
