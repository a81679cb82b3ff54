/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vhost_io.h - whole vhost-user messages from and to a non-blocking stream socket
 */
#ifndef VHOST_IO_H
#define VHOST_IO_H

#include "vhost_wire.h"

struct vhost_request {
	struct vhost_msg_hdr hdr;
	union vhost_msg_payload payload;
	int fds[VHOST_MSG_MAX_FDS]; /* owned by the message; -1 where claimed */
	uint32_t n_fds;
	int reply_fd; /* a handler's, to go with the answer; owned by the message, -1: none */
	bool reply;   /* a handler's: what is answered otherwise, or not at all, is the answer */
};

/* A connection: the socket, and the message that is on its way in. */
struct vhost_io {
	int fd;          /* owned; -1: closed */
	uint32_t have;   /* bytes of msg that have come, header included */
	const char *why; /* sentence for the last -EPROTO */
	struct vhost_request msg;
};

/** vhost_io_init() - a closed connection */
void vhost_io_init(struct vhost_io *io);

/**
 * vhost_io_open() - begin with a connected socket
 * @fd: taken over, also on failure; made non-blocking and close-on-exec
 * Return: 0 or the error of fcntl().
 */
int vhost_io_open(struct vhost_io *io, int fd);

/** vhost_io_close() - close the socket and what came with half a message. Idempotent. */
void vhost_io_close(struct vhost_io *io);

/**
 * vhost_io_receive() - read on until a message is complete
 *
 * Never blocks, and never reads past the message, so that descriptors stay with the message they
 * came with.
 * Return: 1 a message is in io->msg until vhost_io_done(); 0 nothing more for now; -ECONNRESET
 * closed by the peer; -EPROTO with the reason in io->why; or the error of recvmsg().
 */
int vhost_io_receive(struct vhost_io *io);

/** vhost_io_done() - the message was handled: close the descriptors that nobody claimed */
void vhost_io_done(struct vhost_io *io);

/**
 * vhost_io_reply() - answer a message
 * @id: of the request
 * @payload: @size bytes, at most sizeof(union vhost_msg_payload)
 * @fd: descriptor to pass along, borrowed, or -1
 *
 * A reply is far smaller than a socket buffer. If it does not fit, the front end has left hundreds
 * of answers unread; it is cut off rather than waited for.
 * Return: 0, -EPROTO with the reason in io->why, -ECONNRESET, or the error of sendmsg().
 */
int vhost_io_reply(struct vhost_io *io, uint32_t id, const void *payload, uint32_t size, int fd);

/** vhost_request_claim_fd() - take descriptor @i out of the message; the caller owns it */
int vhost_request_claim_fd(struct vhost_request *msg, uint32_t i);

#endif
