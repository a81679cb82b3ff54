/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include "vhost_channel.h"

static int socket_option(int fd, int option)
{
	socklen_t len = sizeof(int);
	int value = -1;

	return getsockopt(fd, SOL_SOCKET, option, &value, &len) < 0 ? -1 : value;
}

/* A stream between processes of this host: what takes all of a short message, or nothing. */
bool vhost_channel_check(int fd)
{
	return socket_option(fd, SO_DOMAIN) == AF_UNIX &&
	       socket_option(fd, SO_TYPE) == SOCK_STREAM && socket_option(fd, SO_ACCEPTCONN) == 0;
}

int vhost_channel_send(int fd, enum vhost_backend_msg_id id, const void *payload, uint32_t size)
{
	struct vhost_msg_hdr hdr = {.id = id, .flags = VHOST_HDR_VERSION, .size = size};
	union vhost_msg_payload copy;
	struct iovec iov[] = {{&hdr, sizeof(hdr)}, {&copy, size}};
	struct msghdr mh = {.msg_iov = iov, .msg_iovlen = ARRAY_SIZE(iov)};
	ssize_t n;

	assert(size <= sizeof(copy));
	memcpy(&copy, payload, size);
	do
		n = sendmsg(fd, &mh, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n == (ssize_t)(sizeof(hdr) + size))
		return 0;
	if (n >= 0)
		return -EPROTO; /* half a message: the rest of the stream would be nonsense */
	return errno == EWOULDBLOCK ? -EAGAIN : -errno;
}
