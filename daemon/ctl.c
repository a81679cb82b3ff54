// SPDX-License-Identifier: BSD-2-Clause
/*
 * ctl.c - clients of the control socket
 *
 * A client is read, answered and written in turn, never two at a time: as long as an answer waits
 * to be taken, nothing more is read from its client. So a client holds one line and one answer at
 * most, however much it sends, and of a long answer one piece. A timer drops those that leave an
 * answer for too long.
 *
 * A turn of a client ends with a piece of an answer, or when it has cost as much text: then the
 * event loop looks after everything else first.
 *
 * When all places are taken, a new client gets the place of the one that has been silent longest:
 * forgotten connections cannot lock the operator out.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"
#include "ctl_priv.h"
#include "log.h"

#define CTL_PATIENCE_MS 5000
#define CTL_MAX_LINES   64 /* of a client's turn */

struct ctl_client {
	struct ctl *ctl;
	struct ctl_client *next;
	int fd;
	int pid;
	bool may_mutate;
	bool eof;  /* it will send no more */
	bool last; /* close once the answer is written */
	struct loop_source *source;
	uint64_t active_ms; /* last time that it sent or took something */
	struct ctl_answer out;
	size_t out_done; /* bytes of the piece in hand that it has taken */
	size_t in_len;
	char in[CTL_MAX_LINE + 1]; /* a line and its newline */
};

struct ctl {
	struct loop *loop;
	struct ctl_table table;
	char *path;
	int fd;
	struct stat file; /* of the socket, to remove no other one's */
	uint32_t patience_ms;
	uint32_t n_clients;
	struct ctl_client *clients;
	struct loop_source *source, *timer;
	bool timing; /* the timer is armed */
	bool paused; /* no descriptor was free: accepts nothing until the timer fires */
};

static void ctl_drop(struct ctl_client *c)
{
	struct ctl_client **p = &c->ctl->clients;

	while (*p != c)
		p = &(*p)->next;
	*p = c->next;
	c->ctl->n_clients--;
	loop_remove(c->source);
	close(c->fd);
	ctl_rpc_drop(&c->out);
	free(c);
}

/* --- out --- */

/*
 * Return: 1 when nothing is left to write, 0 when the client must take some first or has another
 * piece to take in its next turn, or -errno.
 */
static int ctl_flush(struct ctl_client *c)
{
	while (c->out.text) {
		ssize_t n = send(c->fd, c->out.text + c->out_done, c->out.len - c->out_done,
		                 MSG_NOSIGNAL | MSG_DONTWAIT);
		int ret;

		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -errno;
		c->active_ms = clock_now_ms();
		c->out_done += (size_t)n;
		if (c->out_done < c->out.len)
			continue;
		c->out_done = 0;
		ret = ctl_rpc_more(&c->out);
		if (ret)
			return ret < 0 ? ret : 0;
	}
	return 1;
}

/* --- in --- */

/* Takes a line of @len bytes and its end (@skip bytes in all) out of the buffer and answers it. */
static void ctl_take_line(struct ctl_client *c, size_t len, size_t skip)
{
	size_t text = len;

	if (text && c->in[text - 1] == '\r')
		text--;
	if (text)
		ctl_rpc_answer(&c->ctl->table, c->in, text, c->may_mutate, &c->out);
	c->in_len -= skip;
	memmove(c->in, c->in + skip, c->in_len);
}

/* Answers the next line. Return: whether there was one. */
static bool ctl_next_line(struct ctl_client *c)
{
	const char *end = memchr(c->in, '\n', c->in_len);

	if (end) {
		size_t len = (size_t)(end - c->in);

		ctl_take_line(c, len, len + 1);
		return true;
	}
	if (c->in_len == sizeof(c->in)) {
		ctl_rpc_error(CTL_E_PARSE, "the line is longer than 65536 bytes", &c->out);
		c->in_len = 0;
		c->last = true;
		return true;
	}
	if (c->eof && c->in_len) { /* the last line needs no newline */
		ctl_take_line(c, c->in_len, c->in_len);
		return true;
	}
	return false;
}

/* Return: 1 after reading something, 0 when there is nothing, or -errno. */
static int ctl_read(struct ctl_client *c)
{
	ssize_t n;

	if (c->eof)
		return 0;
	n = recv(c->fd, c->in + c->in_len, sizeof(c->in) - c->in_len, MSG_DONTWAIT);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	c->active_ms = clock_now_ms();
	if (!n)
		c->eof = true;
	c->in_len += (size_t)n;
	return 1;
}

/*
 * Goes on with a client until it has to wait for it, or others have their turn (epoll is level
 * triggered). Return: 0, or an error after which the client is dropped.
 */
static int ctl_serve(struct ctl_client *c)
{
	size_t cost = 0; /* bytes of requests and answers */

	for (int lines = 0; lines < CTL_MAX_LINES && cost < CTL_PIECE;) {
		size_t in_len = c->in_len;
		int ret = ctl_flush(c);

		if (ret <= 0)
			return ret;
		if (c->last)
			return -ESHUTDOWN;
		if (ctl_next_line(c)) {
			lines++;
			cost += in_len - c->in_len + c->out.len;
			continue;
		}
		if (c->eof)
			return -ESHUTDOWN;
		ret = ctl_read(c);
		if (ret <= 0)
			return ret;
	}
	return 0;
}

/*
 * What the client can do next: take an answer, or send. With lines left over after a long run of
 * them nothing may arrive that would wake us, but the socket is writable: wait for that.
 */
static uint32_t ctl_events(const struct ctl_client *c)
{
	if (c->out.text || memchr(c->in, '\n', c->in_len) || c->eof)
		return EPOLLOUT;
	return EPOLLIN;
}

static void ctl_arm_timer(struct ctl *ctl)
{
	if (ctl->timing)
		return; /* never put off: others' traffic must not save one that does not read */
	ctl->timing = true;
	loop_set_timer(ctl->timer, ctl->patience_ms / 4 + 1, 0);
}

static void ctl_on_client(void *arg, uint32_t events)
{
	struct ctl_client *c = arg;
	struct ctl *ctl = c->ctl;
	int err = ctl_serve(c);

	if ((events & EPOLLERR) && err == 0)
		err = -EPIPE;
	/* Hung up both ways: nobody takes the answer. */
	if ((events & EPOLLHUP) && err == 0)
		err = -EPIPE;
	if (err == 0)
		err = loop_modify_fd(c->source, ctl_events(c));
	if (err < 0)
		ctl_drop(c);
	else if (c->out.text)
		ctl_arm_timer(ctl);
}

/* Drops those that have not taken a byte of their answer for too long. */
static void ctl_on_timer(void *arg)
{
	struct ctl *ctl = arg;
	uint64_t now = clock_now_ms();
	struct ctl_client *next;

	ctl->timing = false;
	if (ctl->paused && loop_modify_fd(ctl->source, EPOLLIN) == 0)
		ctl->paused = false;
	for (struct ctl_client *c = ctl->clients; c; c = next) {
		next = c->next;
		if (!c->out.text)
			continue;
		if (now - c->active_ms < ctl->patience_ms) {
			ctl_arm_timer(ctl);
			continue;
		}
		log_warn("control socket: client with pid %d does not take its answer, dropped",
		         c->pid);
		ctl_drop(c);
	}
	if (ctl->paused)
		ctl_arm_timer(ctl);
}

/* --- clients come --- */

static void ctl_make_place(struct ctl *ctl)
{
	struct ctl_client *oldest = ctl->clients;

	if (ctl->n_clients < CTL_MAX_CLIENTS)
		return;
	for (struct ctl_client *c = ctl->clients; c; c = c->next)
		if (c->active_ms <= oldest->active_ms)
			oldest = c;
	log_debug("control socket: pid %d dropped for a new client", oldest->pid);
	ctl_drop(oldest);
}

/* Takes over @fd. */
static void ctl_refuse(int fd)
{
	struct ctl_answer answer;

	ctl_rpc_error(CTL_E_DENIED, "permission denied", &answer);
	if (answer.text)
		(void)!send(fd, answer.text, answer.len, MSG_NOSIGNAL | MSG_DONTWAIT);
	ctl_rpc_drop(&answer);
	close(fd);
}

/* Takes over @fd. */
static void ctl_add_client(struct ctl *ctl, int fd)
{
	struct ctl_client *c;
	int pid;
	enum ctl_access access = ctl_socket_access(fd, ctl->file.st_gid, &pid);

	if (access == CTL_ACCESS_NONE) {
		ctl_refuse(fd);
		return;
	}
	ctl_make_place(ctl);
	c = malloc(sizeof(*c));
	if (!c) {
		close(fd);
		return;
	}
	c->ctl = ctl;
	c->fd = fd;
	c->pid = pid;
	c->may_mutate = access == CTL_ACCESS_ALL;
	c->eof = c->last = false;
	c->active_ms = clock_now_ms();
	c->out = (struct ctl_answer){0};
	c->out_done = 0;
	c->in_len = 0;
	if (loop_add_fd(ctl->loop, fd, EPOLLIN, ctl_on_client, c, &c->source) < 0) {
		close(fd);
		free(c);
		return;
	}
	c->next = ctl->clients;
	ctl->clients = c;
	ctl->n_clients++;
}

static void ctl_on_connect(void *arg, uint32_t events)
{
	struct ctl *ctl = arg;
	int fd;

	(void)events;
	fd = accept4(ctl->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd >= 0) {
		ctl_add_client(ctl, fd);
	} else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
		/* No descriptor or memory: the connection stays pending, do not spin on it. */
		if (loop_modify_fd(ctl->source, 0) == 0)
			ctl->paused = true;
		ctl_arm_timer(ctl);
	}
}

/* --- the whole --- */

int ctl_open(struct loop *loop, const char *path, const struct ctl_method *methods,
             size_t n_methods, void *owner, struct ctl **ret_ctl, char **ret_why)
{
	struct ctl *ctl = calloc(1, sizeof(*ctl));
	int err = -ENOMEM;

	*ret_why = NULL;
	if (!ctl)
		return -ENOMEM;
	*ctl = (struct ctl){
		.loop = loop,
		.table = {methods, n_methods, owner},
		.fd = -1,
		.patience_ms = CTL_PATIENCE_MS,
		.path = strdup(path),
	};
	if (!ctl->path)
		goto fail;
	err = ctl_socket_listen(path, &ctl->fd, &ctl->file, ret_why);
	if (err == 0)
		err = loop_add_fd(loop, ctl->fd, EPOLLIN, ctl_on_connect, ctl, &ctl->source);
	if (err == 0)
		err = loop_add_timer(loop, ctl_on_timer, ctl, &ctl->timer);
	if (err < 0)
		goto fail;
	*ret_ctl = ctl;
	return 0;
fail:
	ctl_close(ctl);
	return err;
}

void ctl_close(struct ctl *ctl)
{
	struct stat st;

	if (!ctl)
		return;
	while (ctl->clients)
		ctl_drop(ctl->clients);
	loop_remove(ctl->timer);
	loop_remove(ctl->source);
	if (ctl->fd >= 0) {
		if (lstat(ctl->path, &st) == 0 && st.st_dev == ctl->file.st_dev &&
		    st.st_ino == ctl->file.st_ino)
			unlink(ctl->path);
		close(ctl->fd);
	}
	free(ctl->path);
	free(ctl);
}

void ctl_set_patience(struct ctl *ctl, uint32_t ms)
{
	ctl->patience_ms = ms;
}

uint32_t ctl_n_clients(const struct ctl *ctl)
{
	return ctl->n_clients;
}
