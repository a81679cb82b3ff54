/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vhost_channel.h - requests from us to the front end, over the socket of SET_BACKEND_REQ_FD
 *
 * The front end brings this socket and need not read it; so nothing here ever waits. What does not
 * fit into it now is the sender's to repeat. No request asks for an answer, and nothing is read.
 *
 * Spec: vhost-user, "Back-end communication". Context: control thread.
 */
#ifndef VHOST_CHANNEL_H
#define VHOST_CHANNEL_H

#include "vhost_wire.h"

/** vhost_channel_check() - is this a descriptor that requests can be sent to? */
bool vhost_channel_check(int fd);

/**
 * vhost_channel_send() - one request
 * @payload: @size bytes, at most sizeof(union vhost_msg_payload)
 * Return: 0; -EAGAIN if the front end has left too many unread; another error if it is gone.
 */
int vhost_channel_send(int fd, enum vhost_backend_msg_id id, const void *payload, uint32_t size);

#endif
