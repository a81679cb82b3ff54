/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vhost_ops_config.c - the device's configuration space, for front ends that ask the back end
 *
 * QEMU keeps the configuration of network devices itself and complains about a back end that
 * offers one; so a port offers it only when told to. What stands in it comes from the port's
 * configuration; nothing in it can be written.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include "vhost_ops.h"

/* Virtio 1.3, 5.1.4: fields of features that are not offered are zero. */
static void fill_config(const struct vhost_dev *dev, uint8_t space[VHOST_MSG_MAX_CONFIG])
{
	struct virtio_net_config c = {
		.status = htole16(VIRTIO_NET_S_LINK_UP),
		.max_virtqueue_pairs = htole16(dev->config.max_queue_pairs),
		.mtu = htole16(dev->config.config_mtu),
	};

	static_assert(sizeof(c) <= VHOST_MSG_MAX_CONFIG, "the space holds all fields");
	memcpy(c.mac, dev->config.mac, sizeof(c.mac));
	memset(space, 0, VHOST_MSG_MAX_CONFIG);
	memcpy(space, &c, sizeof(c));
}

/* The row of the table has bounded the message; its own size has to agree with that. */
static int check_size(struct vhost_dev *dev, const char *name, const struct vhost_request *msg)
{
	const struct vhost_msg_config *c = &msg->payload.config;

	if (msg->hdr.size - offsetof(struct vhost_msg_config, bytes) == c->size)
		return 0;
	vhost_dev_warn(dev, "%s: %u bytes of configuration in a payload of %u", name, c->size,
	               msg->hdr.size);
	return -EPROTO;
}

static bool is_inside(const struct vhost_msg_config *c)
{
	return c->offset <= VHOST_MSG_MAX_CONFIG && c->size <= VHOST_MSG_MAX_CONFIG - c->offset;
}

int vhost_op_get_config(struct vhost_dev *dev, struct vhost_request *msg)
{
	struct vhost_msg_config *c = &msg->payload.config;
	uint8_t space[VHOST_MSG_MAX_CONFIG];
	int err = check_size(dev, "GET_CONFIG", msg);

	if (err < 0)
		return err;
	if (!is_inside(c)) {
		vhost_dev_warn(dev, "GET_CONFIG: %u bytes at %u are not inside %u", c->size,
		               c->offset, VHOST_MSG_MAX_CONFIG);
		/* "uses zero length of payload to indicate an error" */
		msg->hdr.size = 0;
		return 0;
	}
	fill_config(dev, space);
	memcpy(c->bytes, space + c->offset, c->size);
	return 0;
}

int vhost_op_set_config(struct vhost_dev *dev, struct vhost_request *msg)
{
	const struct vhost_msg_config *c = &msg->payload.config;
	uint8_t space[VHOST_MSG_MAX_CONFIG];
	int err = check_size(dev, "SET_CONFIG", msg);

	if (err < 0)
		return err;
	fill_config(dev, space);
	/* A front end that restores what it once got here changes nothing. */
	if (is_inside(c) && !memcmp(c->bytes, space + c->offset, c->size))
		return 0;
	vhost_dev_warn(dev,
	               "SET_CONFIG: %u bytes at %u: addresses and MTU come from the port's "
	               "configuration and cannot be written",
	               c->size, c->offset);
	return -EPERM;
}
