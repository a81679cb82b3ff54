/* SPDX-License-Identifier: BSD-2-Clause */
/* vhost_ops_iommu.c - requests about what addresses mean, and where to ask */
#include "vhost_ops.h"

int vhost_op_set_backend_req_fd(struct vhost_dev *dev, struct vhost_request *msg)
{
	return vhost_iommu_set_channel(dev, vhost_request_claim_fd(msg, 0));
}

/*
 * vhost-user, VHOST_USER_IOTLB_MSG: "The back-end has to acknowledge the request with sending zero
 * as u64 payload for success, non-zero otherwise." So it has an answer of its own.
 */
int vhost_op_iotlb_msg(struct vhost_dev *dev, struct vhost_request *msg)
{
	struct vhost_iotlb_msg iotlb = msg->payload.iotlb;

	return vhost_ops_reply_u64(msg, vhost_iommu_message(dev, &iotlb) < 0);
}
