/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vfe_msg.h - vhost-user messages, one by one, well formed or not
 *
 * The lowest layer of the test front end. Nothing here checks what is sent, so a test can say
 * anything to a back end; everything has a deadline, so a back end that hangs fails the call and
 * never the test run.
 */
#ifndef VFE_MSG_H
#define VFE_MSG_H

#include <stddef.h>
#include "vfe_proto.h"

#define VFE_DEFAULT_TIMEOUT_MS 5000
#define VFE_MAX_FDS            253 /* the kernel's SCM_MAX_FD */
#define VFE_MAX_PAYLOAD        4096

/** vfe_now_us() - monotonic time, microseconds */
uint64_t vfe_now_us(void);

/**
 * vfe_set_timeout() - time limit of each send and receive of this process, milliseconds
 * @timeout_ms: VFE_DEFAULT_TIMEOUT_MS until set
 */
void vfe_set_timeout(int timeout_ms);

/**
 * vfe_connect() - connect to a back end that listens
 * @path: UNIX socket; may not exist yet
 * @timeout_ms: how long to keep trying while the path is missing or refuses
 * Return: a non-blocking socket that the caller owns, or -errno.
 */
int vfe_connect(const char *path, int timeout_ms);

/**
 * vfe_listen() - create a listening socket for a back end that connects
 *
 * A socket file that nobody listens on any more is replaced.
 * Return: the listening socket, or -errno.
 */
int vfe_listen(const char *path);

/**
 * vfe_accept() - wait for a back end
 * Return: a non-blocking socket that the caller owns, -ETIMEDOUT, or another -errno.
 */
int vfe_accept(int listen_fd, int timeout_ms);

/**
 * vfe_send_raw() - send bytes exactly as given
 * @fds: attached to the first byte; stay the caller's
 * Return: 0, -ETIMEDOUT, or -errno of the socket (-EPIPE: the back end hung up).
 */
int vfe_send_raw(int fd, const void *bytes, size_t len, const int *fds, uint32_t n_fds);

/**
 * vfe_send_msg() - send one message
 * @flags: the whole flags word, version included (VFE_FLAG_VERSION for a correct message)
 * @len: bytes of payload; the header's size field says the same
 * @fds: attached to the first byte; stay the caller's
 * Return: 0 or -errno as vfe_send_raw(); -EMSGSIZE when len is above VFE_MAX_PAYLOAD.
 */
int vfe_send_msg(int fd, uint32_t request, uint32_t flags, const void *payload, uint32_t len,
                 const int *fds, uint32_t n_fds);

/**
 * vfe_recv_reply() - read one reply
 * @request: the request it must answer
 * @payload: receives up to @cap bytes
 * @ret_len: bytes of payload
 *
 * Checks version, reply flag, request and size. Descriptors that come along are closed.
 * Return: 0; -ETIMEDOUT; -ECONNRESET when the back end hung up; -EPROTO for a reply that breaks the
 * protocol; or -errno of the socket.
 */
int vfe_recv_reply(int fd, uint32_t request, void *payload, uint32_t cap, uint32_t *ret_len);

/**
 * vfe_wait_hangup() - wait until the back end closes the connection
 *
 * For tests of messages after which it must: what it still sends is read and thrown away.
 * Return: 0, -ETIMEDOUT.
 */
int vfe_wait_hangup(int fd, int timeout_ms);

#endif
