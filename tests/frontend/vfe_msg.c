// SPDX-License-Identifier: BSD-2-Clause
/* vfe_msg.c - sockets and single messages of the test front end */
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "vfe_msg.h"

static int io_timeout_ms = VFE_DEFAULT_TIMEOUT_MS;

uint64_t vfe_now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

void vfe_set_timeout(int timeout_ms)
{
	io_timeout_ms = timeout_ms;
}

/* Waits for @events until @deadline_us. 0, -ETIMEDOUT or -errno. */
static int wait_for(int fd, short events, uint64_t deadline_us)
{
	struct pollfd p = {.fd = fd, .events = events};

	for (;;) {
		uint64_t now = vfe_now_us();
		int left = now < deadline_us ? (int)((deadline_us - now + 999) / 1000) : 0;
		int n = poll(&p, 1, left);

		if (n > 0)
			return 0;
		if (n == 0)
			return -ETIMEDOUT;
		if (errno != EINTR)
			return -errno;
	}
}

static uint64_t deadline_after(int timeout_ms)
{
	return vfe_now_us() + (uint64_t)timeout_ms * 1000;
}

static int fill_address(const char *path, struct sockaddr_un *ret)
{
	*ret = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof(ret->sun_path))
		return -ENAMETOOLONG;
	strcpy(ret->sun_path, path);
	return 0;
}

static int connect_once(const struct sockaddr_un *addr)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int err;

	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0)
		return fd;
	err = -errno;
	close(fd);
	return err;
}

int vfe_connect(const char *path, int timeout_ms)
{
	uint64_t deadline = deadline_after(timeout_ms);
	struct sockaddr_un addr;
	int err = fill_address(path, &addr);

	if (err < 0)
		return err;
	for (;;) {
		int fd = connect_once(&addr);

		if (fd >= 0)
			return fd;
		/* EAGAIN: the listener's backlog is full */
		if (fd != -ENOENT && fd != -ECONNREFUSED && fd != -EAGAIN)
			return fd;
		if (vfe_now_us() >= deadline)
			return fd;
		usleep(10000);
	}
}

int vfe_listen(const char *path)
{
	struct sockaddr_un addr;
	int err = fill_address(path, &addr);
	int fd;

	if (err < 0)
		return err;
	fd = connect_once(&addr);
	if (fd >= 0) {
		close(fd);
		return -EADDRINUSE;
	}
	if (fd == -ECONNREFUSED)
		unlink(path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(fd, 1) < 0) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

int vfe_accept(int listen_fd, int timeout_ms)
{
	int err = wait_for(listen_fd, POLLIN, deadline_after(timeout_ms));
	int fd;

	if (err < 0)
		return err;
	fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

static ssize_t send_first(int fd, const void *bytes, size_t len, const int *fds, uint32_t n_fds)
{
	union {
		char room[CMSG_SPACE(sizeof(int) * VFE_MAX_FDS)];
		struct cmsghdr align;
	} control;
	struct iovec iov = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (n_fds) {
		struct cmsghdr *c;

		memset(&control, 0, sizeof(control));
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * n_fds);
	}
	return sendmsg(fd, &msg, MSG_NOSIGNAL);
}

int vfe_send_raw(int fd, const void *bytes, size_t len, const int *fds, uint32_t n_fds)
{
	uint64_t deadline = deadline_after(io_timeout_ms);
	size_t done = 0;

	if (n_fds > VFE_MAX_FDS)
		return -EINVAL;
	while (done < len) {
		/* vhost-user: descriptors travel with the first byte of the message only */
		ssize_t n = send_first(fd, (const char *)bytes + done, len - done, fds,
		                       done ? 0 : n_fds);

		if (n >= 0) {
			done += (size_t)n;
		} else if (errno == EAGAIN) {
			int err = wait_for(fd, POLLOUT, deadline);

			if (err < 0)
				return err;
		} else if (errno != EINTR) {
			return -errno;
		}
	}
	return 0;
}

int vfe_send_msg(int fd, uint32_t request, uint32_t flags, const void *payload, uint32_t len,
                 const int *fds, uint32_t n_fds)
{
	struct {
		struct vfe_msg_hdr hdr;
		char payload[VFE_MAX_PAYLOAD];
	} msg = {.hdr = {.request = request, .flags = flags, .size = len}};

	if (len > sizeof(msg.payload))
		return -EMSGSIZE;
	if (len)
		memcpy(msg.payload, payload, len);
	return vfe_send_raw(fd, &msg, sizeof(msg.hdr) + len, fds, n_fds);
}

static void close_received_fds(struct msghdr *msg)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			close(fd);
		}
	}
}

static ssize_t recv_once(int fd, void *buf, size_t len)
{
	union {
		char room[CMSG_SPACE(sizeof(int) * 8)];
		struct cmsghdr align;
	} control;
	struct iovec iov = {.iov_base = buf, .iov_len = len};
	struct msghdr msg = {.msg_iov = &iov,
	                     .msg_iovlen = 1,
	                     .msg_control = &control,
	                     .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);

	if (n >= 0)
		close_received_fds(&msg);
	return n;
}

/* Bytes that came by @deadline; 0: the other side hung up. */
static ssize_t recv_some(int fd, void *buf, size_t len, uint64_t deadline)
{
	for (;;) {
		ssize_t n = recv_once(fd, buf, len);
		int err;

		if (n >= 0)
			return n;
		if (errno == ECONNRESET)
			return 0;
		if (errno != EAGAIN && errno != EINTR)
			return -errno;
		err = wait_for(fd, POLLIN, deadline);
		if (err < 0)
			return err;
	}
}

static int recv_exact(int fd, void *buf, size_t len, uint64_t deadline)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = recv_some(fd, (char *)buf + done, len - done, deadline);

		if (n <= 0)
			return n ? (int)n : -ECONNRESET;
		done += (size_t)n;
	}
	return 0;
}

int vfe_recv_reply(int fd, uint32_t request, void *payload, uint32_t cap, uint32_t *ret_len)
{
	uint64_t deadline = deadline_after(io_timeout_ms);
	struct vfe_msg_hdr hdr;
	int err = recv_exact(fd, &hdr, sizeof(hdr), deadline);

	if (err < 0)
		return err;
	/* QEMU refuses a reply whose flags are not exactly "version 1, reply". */
	if (hdr.request != request || hdr.flags != (VFE_FLAG_VERSION | VFE_FLAG_REPLY) ||
	    hdr.size > cap)
		return -EPROTO;
	err = recv_exact(fd, payload, hdr.size, deadline);
	if (err < 0)
		return err;
	*ret_len = hdr.size;
	return 0;
}

int vfe_wait_hangup(int fd, int timeout_ms)
{
	uint64_t deadline = deadline_after(timeout_ms);
	char sink[256];
	ssize_t n;

	do
		n = recv_some(fd, sink, sizeof(sink), deadline);
	while (n > 0);
	return (int)n;
}
