/* SPDX-License-Identifier: BSD-2-Clause */
/* vhost_ops_dev.c - requests about the device as a whole: features, status, queues, MTU */
#include <errno.h>
#include <inttypes.h>
#include "vhost_ops.h"

int vhost_op_get_features(struct vhost_dev *dev, struct vhost_request *msg)
{
	return vhost_ops_reply_u64(msg, dev->config.features);
}

int vhost_op_set_features(struct vhost_dev *dev, struct vhost_request *msg)
{
	uint64_t bits = msg->payload.u64;
	uint64_t excess = bits & ~dev->config.features;
	bool changed = bits != dev->features;
	char text[256];
	int err;

	if (excess) {
		vhost_bits_names(excess, vhost_feature_name, text, sizeof(text));
		vhost_dev_warn(dev, "SET_FEATURES: not offered: %s", text);
		return -EINVAL;
	}
	/* Sent once per queue pair, and again on running rings around migration. */
	if (!changed)
		return 0;
	err = vhost_ops_check_log(dev, "SET_FEATURES", bits, dev->log, dev->mem);
	if (err < 0)
		return err;
	if (bits & VHOST_BIT(VIRTIO_F_ACCESS_PLATFORM) && vhost_iommu_prepare(dev) < 0)
		return vhost_ops_refuse_nomem(dev);
	dev->features = bits;
	vhost_ops_republish_running(dev);
	vhost_bits_names(bits, vhost_feature_name, text, sizeof(text));
	vhost_dev_info(dev, "features %s", text);
	return 0;
}

int vhost_op_get_protocol_features(struct vhost_dev *dev, struct vhost_request *msg)
{
	return vhost_ops_reply_u64(msg, dev->config.protocol_features);
}

int vhost_op_set_protocol_features(struct vhost_dev *dev, struct vhost_request *msg)
{
	uint64_t bits = msg->payload.u64;
	uint64_t excess = bits & ~dev->config.protocol_features;
	char text[256];

	if (excess) {
		vhost_bits_names(excess, vhost_protocol_feature_name, text, sizeof(text));
		vhost_dev_warn(dev, "SET_PROTOCOL_FEATURES: not offered: %s", text);
		return -EINVAL;
	}
	if (bits == dev->protocol_features)
		return 0;
	dev->protocol_features = bits;
	vhost_bits_names(bits, vhost_protocol_feature_name, text, sizeof(text));
	vhost_dev_info(dev, "protocol features %s", text);
	return 0;
}

/* ---- owner, status, queues, MTU ---- */

int vhost_op_set_owner(struct vhost_dev *dev, struct vhost_request *msg)
{
	(void)dev;
	(void)msg;
	return 0; /* there is one owner: who is connected */
}

/* vhost-user: deprecated; "either ignore this message, or use it to disable all rings" */
int vhost_op_reset_owner(struct vhost_dev *dev, struct vhost_request *msg)
{
	int err = 0;

	(void)msg;
	for (uint16_t i = 0; i < dev->n_vqs && err == 0; i++)
		err = vhost_ops_enable_ring(dev, &dev->vqs[i], false);
	return err;
}

int vhost_op_get_queue_num(struct vhost_dev *dev, struct vhost_request *msg)
{
	/*
	 * QEMU and DPDK take this for the number of queue pairs, rust-vmm for that of rings. The
	 * larger one lets both have all pairs. Who takes it for pairs and asks for more than there
	 * are names a ring that does not exist, see check_ring().
	 */
	return vhost_ops_reply_u64(msg, dev->n_vqs);
}

int vhost_op_net_set_mtu(struct vhost_dev *dev, struct vhost_request *msg)
{
	uint64_t mtu = msg->payload.u64;

	/* Virtio 1.3, 5.1.4.1: "The device MUST set mtu to between 68 and 65535 inclusive" */
	if (mtu < 68 || mtu > dev->config.max_mtu) {
		vhost_dev_warn(dev, "NET_SET_MTU: %" PRIu64 " is not within 68 and %u", mtu,
		               dev->config.max_mtu);
		return -EINVAL;
	}
	dev->mtu = (uint16_t)mtu;
	return 0;
}

int vhost_op_set_status(struct vhost_dev *dev, struct vhost_request *msg)
{
	uint64_t status = msg->payload.u64;

	if (status > UINT8_MAX) {
		vhost_dev_warn(dev, "SET_STATUS: 0x%" PRIx64 " is no device status", status);
		return -EINVAL;
	}
	dev->status = (uint8_t)status;
	/*
	 * 0 is a reset: virtio 1.3, 2.1.2, "the device MUST NOT consume buffers". Front ends stop
	 * their rings with GET_VRING_BASE before; whatever still runs then is stopped here, and
	 * GET_VRING_BASE can still be asked. Descriptors stay: DPDK sends its call descriptors
	 * first.
	 */
	if (status == 0)
		for (uint16_t i = 0; i < dev->n_vqs; i++)
			vhost_vq_stop(dev, &dev->vqs[i]);
	return 0;
}

int vhost_op_get_status(struct vhost_dev *dev, struct vhost_request *msg)
{
	return vhost_ops_reply_u64(msg, dev->status);
}
