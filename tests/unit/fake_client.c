// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "fake_client.h"
#include "log.h"

struct fc fc;

int fc_make_dir(void **state)
{
	(void)state;
	log_init(LOG_LEVEL_ERROR);
	strcpy(fc.dir, "/tmp/vx-test-ctl-XXXXXX");
	if (!mkdtemp(fc.dir))
		return -1;
	snprintf(fc.path, sizeof(fc.path), "%s/c.sock", fc.dir);
	return 0;
}

int fc_remove_dir(void **state)
{
	(void)state;
	return rmdir(fc.dir);
}

static void fc_on_turn_end(void *arg)
{
	loop_quit(arg, 0);
}

void fc_open(const struct ctl_method *methods, size_t n_methods)
{
	char *why = NULL;

	fc.n_calls = 0;
	assert_int_equal(loop_new(&fc.loop), 0);
	assert_int_equal(loop_add_timer(fc.loop, fc_on_turn_end, fc.loop, &fc.turn_timer), 0);
	assert_int_equal(ctl_open(fc.loop, fc.path, methods, n_methods, &fc.n_calls, &fc.ctl, &why),
	                 0);
	assert_null(why);
}

int fc_close(void **state)
{
	(void)state;
	ctl_close(fc.ctl);
	fc.ctl = NULL;
	loop_free(fc.loop);
	/* nothing stays behind */
	assert_int_equal(access(fc.path, F_OK), -1);
	return 0;
}

json_t *fc_echo(struct ctl_call *call)
{
	fc.n_calls++;
	assert_ptr_equal(call->owner, &fc.n_calls);
	return json_pack("{s:O?}", "params", call->params);
}

void fc_turn_for(uint32_t ms)
{
	loop_set_timer(fc.turn_timer, ms, 0);
	assert_int_equal(loop_run(fc.loop), 0);
}

void fc_turn(void)
{
	fc_turn_for(2);
}

void fc_wait_clients(uint32_t n)
{
	for (int i = 0; i < FC_ENOUGH_TURNS && ctl_n_clients(fc.ctl) != n; i++)
		fc_turn();
	assert_int_equal(ctl_n_clients(fc.ctl), n);
}

int fc_dial(void)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_true(fd >= 0);
	strcpy(addr.sun_path, fc.path);
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

void fc_say(int fd, const void *data, size_t len)
{
	assert_int_equal(send(fd, data, len, MSG_NOSIGNAL), (ssize_t)len);
}

const char *fc_hear_now(int fd)
{
	static char text[65536];
	ssize_t n;

	fc_turn();
	n = recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT);
	if (n < 0)
		return errno == EAGAIN ? "" : "(reset)";
	if (!n)
		return "(closed)";
	text[n] = '\0';
	return text;
}

const char *fc_hear(int fd)
{
	const char *text = "";

	for (int i = 0; i < FC_ENOUGH_TURNS && !*text; i++)
		text = fc_hear_now(fd);
	return text;
}

const char *fc_ask(int fd, const char *line)
{
	fc_say(fd, line, strlen(line));
	return fc_hear(fd);
}

int fc_check_rows(int fd, const struct fc_row *rows, size_t n)
{
	int bad = 0;

	for (size_t i = 0; i < n; i++) {
		const char *want = *rows[i].answer ? rows[i].answer : ECHO_ANSWER;
		const char *answer;

		fc_say(fd, rows[i].request, strlen(rows[i].request));
		if (!*rows[i].answer)
			fc_say(fd, ECHO, strlen(ECHO));
		answer = fc_hear(fd);
		if (strcmp(answer, want) == 0)
			continue;
		print_error("request %s wanted  %s found   %s", rows[i].request, want, answer);
		bad++;
	}
	return bad;
}
