// SPDX-License-Identifier: BSD-2-Clause
/* call.c - one request to the daemon, one answer */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "xdpctl.h"

#define CALL_TIMEOUT_S 10

static int call_connect(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	const struct timeval tv = {.tv_sec = CALL_TIMEOUT_S};
	const char *hint = "";
	int fd;

	if (strlen(path) >= sizeof(addr.sun_path)) {
		fprintf(stderr, "vhost-xdpctl: %s: the path is longer than %zu bytes\n", path,
		        sizeof(addr.sun_path) - 1);
		return -1;
	}
	memcpy(addr.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		fprintf(stderr, "vhost-xdpctl: cannot make a socket: %s\n", strerror(errno));
		return -1;
	}
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
	if (connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) == 0)
		return fd;
	if (errno == ENOENT || errno == ECONNREFUSED)
		hint = " (is vhost-xdpd running?)";
	else if (errno == EACCES)
		hint = " (be root or a member of the socket's group)";
	fprintf(stderr, "vhost-xdpctl: cannot connect to %s: %s%s\n", path, strerror(errno), hint);
	close(fd);
	return -1;
}

/* Takes over @params. Return: the line to send, or NULL. */
static char *call_request(const char *method, json_t *params)
{
	json_t *req = json_pack("{s:s, s:i, s:s}", "jsonrpc", "2.0", "id", 1, "method", method);
	char *line = NULL, *text;

	if (params)
		json_object_set_new(req, "params", params);
	text = json_dumps(req, JSON_COMPACT);
	json_decref(req);
	if (!text || asprintf(&line, "%s\n", text) < 0)
		line = NULL;
	free(text);
	return line;
}

static int call_send(int fd, const char *line)
{
	size_t len = strlen(line);

	while (len) {
		ssize_t n = send(fd, line, len, MSG_NOSIGNAL);

		if (n < 0)
			return -errno;
		line += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Reads up to the newline. Return: text without it, malloc()ed, or NULL with errno (0: closed). */
static char *call_receive(int fd, size_t *ret_len)
{
	size_t len = 0, room = 0;
	char *text = NULL;

	for (;;) {
		char *end;
		ssize_t n;

		if (room - len < 4096) {
			char *more = realloc(text, room * 2 + 16384);

			if (!more)
				break;
			text = more;
			room = room * 2 + 16384;
		}
		n = recv(fd, text + len, room - len, 0);
		if (n <= 0) {
			if (!n)
				errno = 0;
			break;
		}
		end = memchr(text + len, '\n', (size_t)n);
		len += (size_t)n;
		if (end) {
			*ret_len = (size_t)(end - text);
			return text;
		}
	}
	free(text);
	return NULL;
}

/* Takes over @answer. */
static json_t *call_result(json_t *answer)
{
	const json_t *error = json_object_get(answer, "error");
	json_t *result = json_object_get(answer, "result");

	if (json_is_object(error)) {
		fprintf(stderr, "vhost-xdpctl: %s\n", field_text(error, "message"));
		result = NULL;
	} else if (!json_is_object(result)) {
		fputs("vhost-xdpctl: the daemon's answer makes no sense\n", stderr);
		result = NULL;
	}
	json_incref(result);
	json_decref(answer);
	return result;
}

json_t *xdpctl_call(const char *socket_path, const char *method, json_t *params)
{
	char *request = call_request(method, params), *text = NULL;
	int fd = request ? call_connect(socket_path) : -1;
	json_t *answer = NULL;
	json_error_t e;
	size_t len;

	if (fd < 0) {
		free(request);
		return NULL;
	}
	/* A daemon that refuses may close before it has read; its reason is still there to read. */
	if (call_send(fd, request) == 0 || errno == EPIPE)
		text = call_receive(fd, &len);
	if (!text && (errno == EAGAIN || errno == EWOULDBLOCK))
		fprintf(stderr, "vhost-xdpctl: no answer from %s in %d s\n", socket_path,
		        CALL_TIMEOUT_S);
	else if (!text)
		fprintf(stderr, "vhost-xdpctl: %s: %s\n", socket_path,
		        errno ? strerror(errno) : "the daemon closed the connection");
	else
		answer = json_loadb(text, len, 0, &e);
	if (text && !answer)
		fprintf(stderr, "vhost-xdpctl: the daemon's answer is not JSON: %s\n", e.text);
	free(text);
	free(request);
	close(fd);
	return answer ? call_result(answer) : NULL;
}
