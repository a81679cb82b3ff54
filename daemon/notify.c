// SPDX-License-Identifier: BSD-2-Clause
/* notify.c - sd_notify with libsystemd, or without */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#ifdef VX_HAVE_SYSTEMD
#include <systemd/sd-daemon.h>
#endif

#include "notify.h"

struct notify {
	struct loop_source *timer; /* NULL: the manager wants no signs of life */
};

#ifdef VX_HAVE_SYSTEMD

static void notify_send(const char *text)
{
	sd_notify(0, text);
}

static uint64_t notify_watchdog_us(void)
{
	uint64_t us = 0;

	return sd_watchdog_enabled(0, &us) > 0 ? us : 0;
}

#else

/* One datagram to the socket in NOTIFY_SOCKET; "@" begins an abstract name. */
static void notify_send(const char *text)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	size_t len = path ? strlen(path) : 0;
	int fd;

	if (len < 2 || len >= sizeof(addr.sun_path) || (path[0] != '/' && path[0] != '@'))
		return;
	memcpy(addr.sun_path, path, len);
	if (path[0] == '@')
		addr.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return;
	(void)!sendto(fd, text, strlen(text), MSG_NOSIGNAL, (const struct sockaddr *)&addr,
	              (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
	close(fd);
}

static uint64_t notify_watchdog_us(void)
{
	const char *us = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");

	if (!us || (pid && strtol(pid, NULL, 10) != (long)getpid()))
		return 0;
	return strtoull(us, NULL, 10);
}

#endif

static void notify_on_timer(void *arg)
{
	(void)arg;
	notify_send("WATCHDOG=1");
}

int notify_open(struct loop *loop, struct notify **ret_notify)
{
	struct notify *n = calloc(1, sizeof(*n));
	uint64_t every_ms = notify_watchdog_us() / 1000 / 2;
	int err = 0;

	if (!n)
		return -ENOMEM;
	if (every_ms) {
		err = loop_add_timer(loop, notify_on_timer, n, &n->timer);
		if (err < 0) {
			free(n);
			return err;
		}
		every_ms = every_ms < UINT32_MAX ? every_ms : UINT32_MAX;
		loop_set_timer(n->timer, (uint32_t)every_ms, (uint32_t)every_ms);
		notify_send("WATCHDOG=1");
	}
	*ret_notify = n;
	return 0;
}

void notify_close(struct notify *notify)
{
	if (!notify)
		return;
	loop_remove(notify->timer);
	free(notify);
}

void notify_ready(struct notify *notify, uint32_t n_ports)
{
	char text[64];

	(void)notify;
	snprintf(text, sizeof(text), "READY=1\nSTATUS=Serving %u port%s", n_ports,
	         n_ports == 1 ? "" : "s");
	notify_send(text);
}

void notify_status(struct notify *notify, const char *fmt, ...)
{
	char text[256] = "STATUS=";
	const size_t head = strlen(text);
	va_list ap;

	(void)notify;
	va_start(ap, fmt);
	vsnprintf(text + head, sizeof(text) - head, fmt, ap);
	va_end(ap);
	text[head + strcspn(text + head, "\n")] = '\0';
	notify_send(text);
}

void notify_stopping(struct notify *notify)
{
	(void)notify;
	notify_send("STOPPING=1\nSTATUS=Stopping");
}
