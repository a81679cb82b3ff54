/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vhost_io.c - whole vhost-user messages from and to a non-blocking stream socket
 *
 * A front end may send a message in pieces, stop in the middle, or attach more descriptors than
 * fit. What has come so far waits in the accumulator; the header is read first and alone, then
 * exactly the payload that it announces. Descriptors belong to the first byte of a message
 * (vhost-user, "Communication"); ones that come later are refused. Every descriptor the kernel
 * hands out is either in the message or closed before the error is returned, also when the
 * control buffer was too small for all of them.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "vhost_io.h"

union control_buf {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(sizeof(int) * VHOST_MSG_MAX_FDS)];
};

static void msg_reset(struct vhost_io *io)
{
	io->have = 0;
	io->msg.n_fds = 0;
	io->msg.reply_fd = -1;
	io->msg.reply = false;
}

void vhost_io_init(struct vhost_io *io)
{
	io->fd = -1;
	io->why = NULL;
	msg_reset(io);
}

int vhost_io_open(struct vhost_io *io, int fd)
{
	int flags = fcntl(fd, F_GETFL);
	int err = 0;

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
	    fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		err = -errno;
	if (err < 0) {
		close(fd);
		return err;
	}
	vhost_io_init(io);
	io->fd = fd;
	return 0;
}

void vhost_io_close(struct vhost_io *io)
{
	vhost_io_done(io);
	if (io->fd >= 0)
		close(io->fd);
	io->fd = -1;
}

void vhost_io_done(struct vhost_io *io)
{
	for (uint32_t i = 0; i < io->msg.n_fds; i++)
		if (io->msg.fds[i] >= 0)
			close(io->msg.fds[i]);
	if (io->msg.reply_fd >= 0)
		close(io->msg.reply_fd);
	msg_reset(io);
}

int vhost_request_claim_fd(struct vhost_request *msg, uint32_t i)
{
	int fd = msg->fds[i];

	msg->fds[i] = -1;
	return fd;
}

static int refuse(struct vhost_io *io, const char *why)
{
	io->why = why;
	return -EPROTO;
}

/* Take what the kernel has put into the control buffer; close what does not fit. */
static void take_fds(struct vhost_request *msg, struct msghdr *mh, uint32_t *ret_n)
{
	uint32_t n = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c; c = CMSG_NXTHDR(mh, c)) {
		size_t len = c->cmsg_len - CMSG_LEN(0);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t at = 0; at + sizeof(int) <= len; at += sizeof(int), n++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + at, sizeof(fd));
			if (msg->n_fds < VHOST_MSG_MAX_FDS)
				msg->fds[msg->n_fds++] = fd;
			else
				close(fd);
		}
	}
	*ret_n = n;
}

/* Read at most @want bytes to the end of what has come. Return: bytes, 0: none now, or an error. */
static int read_some(struct vhost_io *io, void *to, uint32_t want)
{
	union control_buf control;
	struct iovec iov = {.iov_base = to, .iov_len = want};
	struct msghdr mh = {.msg_iov = &iov,
	                    .msg_iovlen = 1,
	                    .msg_control = control.bytes,
	                    .msg_controllen = sizeof(control.bytes)};
	bool first = io->have == 0;
	uint32_t n_fds;
	ssize_t n;

	do
		n = recvmsg(io->fd, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -errno;
	take_fds(&io->msg, &mh, &n_fds);
	if (mh.msg_flags & MSG_CTRUNC)
		return refuse(io, "message with more file descriptors than allowed, or than this "
		                  "process may have");
	if (n == 0)
		return -ECONNRESET;
	if (n_fds > 0 && !first)
		return refuse(io, "file descriptors in the middle of a message");
	io->have += (uint32_t)n;
	return (int)n;
}

static int check_header(struct vhost_io *io)
{
	const struct vhost_msg_hdr *hdr = &io->msg.hdr;

	if ((hdr->flags & VHOST_HDR_VERSION_MASK) != VHOST_HDR_VERSION)
		return refuse(io, "message header with an unknown protocol version");
	if (hdr->flags & VHOST_HDR_REPLY)
		return refuse(io, "reply to a request that was never sent");
	if (hdr->size > sizeof(io->msg.payload))
		return refuse(io, "message with a payload larger than any request's");
	return 0;
}

int vhost_io_receive(struct vhost_io *io)
{
	const uint32_t hdr_size = sizeof(io->msg.hdr);
	int n;

	while (io->have < hdr_size) {
		n = read_some(io, (char *)&io->msg.hdr + io->have, hdr_size - io->have);
		if (n <= 0)
			return n;
		if (io->have < hdr_size)
			continue;
		n = check_header(io);
		if (n < 0)
			return n;
	}
	while (io->have < hdr_size + io->msg.hdr.size) {
		uint32_t at = io->have - hdr_size;

		n = read_some(io, io->msg.payload.bytes + at, io->msg.hdr.size - at);
		if (n <= 0)
			return n;
	}
	return 1;
}

int vhost_io_reply(struct vhost_io *io, uint32_t id, const void *payload, uint32_t size, int fd)
{
	struct vhost_msg_hdr hdr = {
		.id = id, .flags = VHOST_HDR_VERSION | VHOST_HDR_REPLY, .size = size};
	union vhost_msg_payload copy;
	struct iovec iov[] = {{&hdr, sizeof(hdr)}, {&copy, size}};
	struct msghdr mh = {.msg_iov = iov, .msg_iovlen = ARRAY_SIZE(iov)};
	union control_buf control = {0};
	ssize_t n;

	assert(size <= sizeof(copy));
	memcpy(&copy, payload, size);
	if (fd >= 0) {
		mh.msg_control = control.bytes;
		mh.msg_controllen = CMSG_SPACE(sizeof(fd));
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(sizeof(fd));
		memcpy(CMSG_DATA(&control.align), &fd, sizeof(fd));
	}
	do
		n = sendmsg(io->fd, &mh, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n == (ssize_t)(sizeof(hdr) + size))
		return 0;
	if (n >= 0 || errno == EAGAIN || errno == EWOULDBLOCK)
		return refuse(io, "front end does not read its replies");
	return errno == EPIPE ? -ECONNRESET : -errno;
}
