/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vhost_ops.h - the handlers of a front end's requests, and what they share
 *
 *   vhost_ops.c           the table of requests, and the dispatcher that enforces it
 *   vhost_ops_dev.c       the device as a whole: features, status, queues, MTU
 *   vhost_ops_config.c    its configuration space
 *   vhost_ops_mem.c       guest memory, and what rings are tracked in
 *   vhost_ops_log.c       migration: the dirty log, and saying where the guest is now
 *   vhost_ops_iommu.c     what addresses mean behind an IOMMU, and where to ask
 *   vhost_ops_postcopy.c  post-copy migration
 *   vhost_ops_ring.c      one ring
 *
 * A handler sees a message that fits its row of the table, and only judges what it means. It
 * returns 0, or -errno to refuse (warned already); -EPROTO ends the connection. A request that is
 * answered finds its answer in the message itself. Context: control thread.
 */
#ifndef VHOST_OPS_H
#define VHOST_OPS_H

#include "vhost_dev_priv.h"

int vhost_op_get_features(struct vhost_dev *dev, struct vhost_request *msg);
int vhost_op_set_features(struct vhost_dev *dev, struct vhost_request *msg);
int vhost_op_get_protocol_features(struct vhost_dev *dev, struct vhost_request *msg);
int vhost_op_set_protocol_features(struct vhost_dev *dev, struct vhost_request *msg);
int vhost_op_set_owner(struct vhost_dev *dev, struct vhost_request *msg);
int vhost_op_reset_owner(struct vhost_dev *dev, struct vhost_request *msg);
int vhost_op_get_queue_num(struct vhost_dev *dev, struct vhost_request *msg);
int vhost_op_net_set_mtu(struct vhost_dev *dev, struct vhost_request *msg);
int vhost_op_set_status(struct vhost_dev *dev, struct vhost_request *msg);
int vhost_op_get_status(struct vhost_dev *dev, struct vhost_request *msg);
int vhost_op_get_config(struct vhost_dev *dev, struct vhost_request *msg);
int vhost_op_set_config(struct vhost_dev *dev, struct vhost_request *msg);
int vhost_op_set_mem_table(struct vhost_dev *dev, struct vhost_request *msg);
int vhost_op_get_max_mem_slots(struct vhost_dev *dev, struct vhost_request *msg);
int vhost_op_add_mem_reg(struct vhost_dev *dev, struct vhost_request *msg);
int vhost_op_rem_mem_reg(struct vhost_dev *dev, struct vhost_request *msg);
int vhost_op_get_inflight_fd(struct vhost_dev *dev, struct vhost_request *msg);
int vhost_op_set_inflight_fd(struct vhost_dev *dev, struct vhost_request *msg);
int vhost_op_set_log_base(struct vhost_dev *dev, struct vhost_request *msg);
int vhost_op_set_log_fd(struct vhost_dev *dev, struct vhost_request *msg);
int vhost_op_send_rarp(struct vhost_dev *dev, struct vhost_request *msg);
int vhost_op_postcopy_advise(struct vhost_dev *dev, struct vhost_request *msg);
int vhost_op_postcopy_listen(struct vhost_dev *dev, struct vhost_request *msg);
int vhost_op_postcopy_end(struct vhost_dev *dev, struct vhost_request *msg);
int vhost_op_set_backend_req_fd(struct vhost_dev *dev, struct vhost_request *msg);
int vhost_op_iotlb_msg(struct vhost_dev *dev, struct vhost_request *msg);
int vhost_op_set_vring_num(struct vhost_dev *dev, struct vhost_request *msg);
int vhost_op_set_vring_addr(struct vhost_dev *dev, struct vhost_request *msg);
int vhost_op_set_vring_base(struct vhost_dev *dev, struct vhost_request *msg);
int vhost_op_get_vring_base(struct vhost_dev *dev, struct vhost_request *msg);
int vhost_op_set_vring_enable(struct vhost_dev *dev, struct vhost_request *msg);
int vhost_op_set_vring_kick(struct vhost_dev *dev, struct vhost_request *msg);
int vhost_op_set_vring_call(struct vhost_dev *dev, struct vhost_request *msg);
int vhost_op_set_vring_err(struct vhost_dev *dev, struct vhost_request *msg);

/** vhost_ops_reply_u64() - make the message an answer of one word. Return: 0 */
int vhost_ops_reply_u64(struct vhost_request *msg, uint64_t v);

/** vhost_ops_refuse_nomem() - warn. Return: -ENOMEM */
int vhost_ops_refuse_nomem(struct vhost_dev *dev);

/**
 * vhost_ops_republish_running() - a new map for each running ring, or none if that fails
 *
 * The owner is told, since a worker that sleeps has asked for kicks in the terms of the old map,
 * and may wait in vain.
 */
void vhost_ops_republish_running(struct vhost_dev *dev);

/**
 * vhost_ops_check_log() - would every write to guest memory have its bit?
 * @what: name of the message that asks for this combination, for the warning
 * @log, @mem: may be NULL
 *
 * Without VHOST_F_LOG_ALL in @features, or without a log, nothing is logged.
 * Return: 0, or -EINVAL (warned) when the log is too small for the memory.
 */
int vhost_ops_check_log(struct vhost_dev *dev, const char *what, uint64_t features,
                        const struct vhost_log *log, const struct vhost_mem *mem);

/**
 * vhost_ops_replace_mem() - a table in place of the current one
 *
 * Running rings move to maps that are translated by it; one that does not lie in it any more is
 * stopped. The old table goes when the workers have moved. Takes @mem. @what: name of the message.
 * Return: 0, or -EINVAL (warned) if the dirty log in use is too small for it.
 */
int vhost_ops_replace_mem(struct vhost_dev *dev, const char *what, struct vhost_mem *mem);

/**
 * vhost_ops_postcopy_mem() - in the listening state: new regions' pages may come late
 * @mem: table that is not in force yet
 * @descs, @n: of the message, one for each of its descriptors; their uva becomes the address at
 * which we will fault
 *
 * Makes the message its own answer. Return: 0 (also outside that state), -EPROTO (warned): the
 * front end waits for an answer that cannot be given.
 */
int vhost_ops_postcopy_mem(struct vhost_dev *dev, struct vhost_request *msg, struct vhost_mem *mem,
                           struct vhost_region_desc *descs, uint32_t n);

/**
 * vhost_ops_is_postcopy_ack() - is this the word of the front end that it can serve our faults?
 *
 * One u64 with the number of the request whose answer told it the addresses. Front ends send it
 * after removals, too, or (QEMU, if there was no change) with the number 0.
 */
bool vhost_ops_is_postcopy_ack(const struct vhost_dev *dev, const struct vhost_request *msg);
int vhost_ops_postcopy_ack(struct vhost_dev *dev, const struct vhost_request *msg);

/**
 * vhost_ops_postcopy_serve() - look after rings that wait for pages, or to be started
 *
 * To be called when helpers are done, and when workers have asked.
 * Return: false if a page cannot be had.
 */
bool vhost_ops_postcopy_serve(struct vhost_dev *dev);

/** vhost_ops_enable_ring() - remember SET_VRING_ENABLE, and carry it out if the ring runs */
int vhost_ops_enable_ring(struct vhost_dev *dev, struct vhost_vq *vq, bool on);

#endif
