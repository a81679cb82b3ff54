/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vhost_ops.c - requests of a front end: what each may look like, and what it does
 *
 * The table says for every request how large its payload is, how many descriptors it brings, where
 * it names a ring, whether it is always answered and which protocol feature it needs. The
 * dispatcher enforces the row before it calls the handler; so a handler sees a well-formed message,
 * and only judges what it means. It returns 0, or -errno to refuse; -EPROTO ends the connection.
 *
 * Descriptors that a handler does not claim are closed by vhost_io_done().
 */
#include <errno.h>
#include <inttypes.h>
#include "vhost_ops.h"

/* Where a request names a ring. */
enum names_ring {
	NO_RING,
	RING_U32, /* first word: vhost_vring_state, vhost_vring_addr */
	RING_U64, /* low bits of the only word; bit 8 says "no descriptor" */
};

struct vhost_op {
	const char *name;
	int (*fn)(struct vhost_dev *dev, struct vhost_request *msg); /* NULL: known, not served */
	uint16_t size_min, size_max;
	uint8_t fds_min, fds_max;
	enum names_ring ring;
	bool replies;   /* has an answer of its own; the handler leaves it in the message */
	bool vital;     /* to go on after a refusal that nobody hears would be wrong */
	uint64_t needs; /* protocol feature that must have been negotiated, as a mask */
};

int vhost_ops_refuse_nomem(struct vhost_dev *dev)
{
	vhost_dev_warn(dev, "out of memory");
	return -ENOMEM;
}

int vhost_ops_reply_u64(struct vhost_request *msg, uint64_t v)
{
	msg->payload.u64 = v;
	msg->hdr.size = sizeof(v);
	return 0;
}

#define PROTO(name) VHOST_BIT(VHOST_PROTO_##name)
#define TABLE_HDR   offsetof(struct vhost_msg_mem_table, regions)
#define TABLE_REG   sizeof(struct vhost_region_desc)
#define CONFIG_HDR  offsetof(struct vhost_msg_config, bytes)
#define CONFIG_MAX  sizeof(struct vhost_msg_config)
#define IOTLB_MIN   (offsetof(struct vhost_iotlb_msg, type) + 1) /* some send no padding */

/* clang-format off */
static const struct vhost_op vhost_ops[] = {
#define OP(id, fn, min, max, fdmin, fdmax, ring, replies, vital, needs) \
	[VHOST_MSG_##id] = {#id, vhost_op_##fn, min, max, fdmin, fdmax, ring, replies, vital, needs}
	/* request                 handler            bytes  fds   ring      answers vital  needs */
	OP(GET_FEATURES,           get_features,           0,  0, 0, 0, NO_RING,  true,  false, 0),
	OP(SET_FEATURES,           set_features,           8,  8, 0, 0, NO_RING,  false, true,  0),
	OP(SET_OWNER,              set_owner,              0,  0, 0, 0, NO_RING,  false, false, 0),
	OP(RESET_OWNER,            reset_owner,            0,  0, 0, 0, NO_RING,  false, false, 0),
	OP(SET_MEM_TABLE,          set_mem_table, TABLE_HDR + TABLE_REG, TABLE_HDR + 8 * TABLE_REG,
								  1, 8, NO_RING,  false, false, 0),
	OP(SET_LOG_BASE,           set_log_base,          16, 16, 1, 1, NO_RING,  true,  false, PROTO(LOG_SHMFD)),
	OP(SET_LOG_FD,             set_log_fd,             0,  8, 1, 1, NO_RING,  false, false, 0),
	OP(SET_VRING_NUM,          set_vring_num,          8,  8, 0, 0, RING_U32, false, false, 0),
	OP(SET_VRING_ADDR,         set_vring_addr,        40, 40, 0, 0, RING_U32, false, false, 0),
	OP(SET_VRING_BASE,         set_vring_base,         8,  8, 0, 0, RING_U32, false, false, 0),
	OP(GET_VRING_BASE,         get_vring_base,         8,  8, 0, 0, RING_U32, true,  false, 0),
	OP(SET_VRING_KICK,         set_vring_kick,         8,  8, 0, 1, RING_U64, false, false, 0),
	OP(SET_VRING_CALL,         set_vring_call,         8,  8, 0, 1, RING_U64, false, false, 0),
	OP(SET_VRING_ERR,          set_vring_err,          8,  8, 0, 1, RING_U64, false, false, 0),
	OP(GET_PROTOCOL_FEATURES,  get_protocol_features,  0,  0, 0, 0, NO_RING,  true,  false, 0),
	OP(SET_PROTOCOL_FEATURES,  set_protocol_features,  8,  8, 0, 0, NO_RING,  false, true,  0),
	OP(GET_QUEUE_NUM,          get_queue_num,          0,  0, 0, 0, NO_RING,  true,  false, PROTO(MQ)),
	OP(SET_VRING_ENABLE,       set_vring_enable,       8,  8, 0, 0, RING_U32, false, false, 0),
	OP(SEND_RARP,              send_rarp,              8,  8, 0, 0, NO_RING,  false, false, PROTO(RARP)),
	OP(NET_SET_MTU,            net_set_mtu,            8,  8, 0, 0, NO_RING,  false, false, PROTO(NET_MTU)),
	OP(GET_INFLIGHT_FD,        get_inflight_fd,       20, 24, 0, 0, NO_RING,  true,  false, PROTO(INFLIGHT_SHMFD)),
	OP(SET_INFLIGHT_FD,        set_inflight_fd,       20, 24, 1, 1, NO_RING,  false, false, PROTO(INFLIGHT_SHMFD)),
	OP(POSTCOPY_ADVISE,        postcopy_advise,        0,  0, 0, 0, NO_RING,  true,  false, PROTO(PAGEFAULT)),
	OP(POSTCOPY_LISTEN,        postcopy_listen,        0,  0, 0, 0, NO_RING,  false, false, PROTO(PAGEFAULT)),
	OP(POSTCOPY_END,           postcopy_end,           0,  0, 0, 0, NO_RING,  true,  false, PROTO(PAGEFAULT)),
	OP(GET_MAX_MEM_SLOTS,      get_max_mem_slots,      0,  0, 0, 0, NO_RING,  true,  false, PROTO(CONFIGURE_MEM_SLOTS)),
	OP(ADD_MEM_REG,            add_mem_reg,           40, 40, 1, 1, NO_RING,  false, false, PROTO(CONFIGURE_MEM_SLOTS)),
	OP(REM_MEM_REG,            rem_mem_reg,           40, 40, 0, 1, NO_RING,  false, false, PROTO(CONFIGURE_MEM_SLOTS)),
	OP(GET_CONFIG,             get_config,  CONFIG_HDR, CONFIG_MAX, 0, 0, NO_RING,  true,  false, PROTO(CONFIG)),
	OP(SET_CONFIG,             set_config,  CONFIG_HDR, CONFIG_MAX, 0, 0, NO_RING,  false, false, PROTO(CONFIG)),
	OP(SET_BACKEND_REQ_FD,     set_backend_req_fd,     0,  8, 1, 1, NO_RING,  false, false, PROTO(BACKEND_REQ)),
	OP(IOTLB_MSG,              iotlb_msg,      IOTLB_MIN, 32, 0, 0, NO_RING,  true,  false, 0),
	OP(SET_STATUS,             set_status,             8,  8, 0, 0, NO_RING,  false, false, PROTO(STATUS)),
	OP(GET_STATUS,             get_status,             0,  0, 0, 0, NO_RING,  true,  false, PROTO(STATUS)),
#undef OP
	/* Known by name only. The front end waits for an answer of its own to those marked true. */
#define NOT_SERVED(id, answers) [VHOST_MSG_##id] = {.name = #id, .replies = answers}
	NOT_SERVED(SET_VRING_ENDIAN, false),
	NOT_SERVED(CREATE_CRYPTO_SESSION, true),
	NOT_SERVED(CLOSE_CRYPTO_SESSION, false),
	NOT_SERVED(GPU_SET_SOCKET, false),
	NOT_SERVED(RESET_DEVICE, false),
	NOT_SERVED(VRING_KICK, false),
	NOT_SERVED(GET_SHARED_OBJECT, true),
	NOT_SERVED(SET_DEVICE_STATE_FD, true),
	NOT_SERVED(CHECK_DEVICE_STATE, true),
	NOT_SERVED(GET_SHMEM_CONFIG, true),
#undef NOT_SERVED
};
/* clang-format on */
static_assert(ARRAY_SIZE(vhost_ops) == VHOST_MSG_N_IDS, "a request without a row");
static_assert(VHOST_MSG_N_IDS <= 64, "one bit per request in warned_ids");

static int fatal(struct vhost_dev *dev, const char *name, const char *why)
{
	vhost_dev_warn(dev, "%s: %s", name, why);
	return -EPROTO;
}

/* Does the ring that the message names exist? All bits of the number count. */
static int check_ring(struct vhost_dev *dev, const struct vhost_op *op,
                      const struct vhost_request *msg)
{
	uint64_t index = 0;

	if (op->ring == RING_U32)
		index = msg->payload.state.index;
	else if (op->ring == RING_U64)
		index = msg->payload.u64 & ~(uint64_t)VHOST_RING_FD_NONE;
	if (index < dev->n_vqs)
		return 0;
	vhost_dev_warn(dev,
	               "%s: there is no ring %" PRIu64 ", the device has %u: give the front end at "
	               "most %u queue pairs, or the port more",
	               op->name, index, dev->n_vqs, dev->n_vqs / 2u);
	return -EPROTO;
}

static int check_row(struct vhost_dev *dev, const struct vhost_op *op,
                     const struct vhost_request *msg)
{
	if (msg->hdr.size < op->size_min || msg->hdr.size > op->size_max) {
		vhost_dev_warn(dev, "%s: payload of %u bytes, expected %u to %u", op->name,
		               msg->hdr.size, op->size_min, op->size_max);
		return -EPROTO;
	}
	if (msg->n_fds < op->fds_min || msg->n_fds > op->fds_max) {
		vhost_dev_warn(dev, "%s: %u file descriptors, expected %u to %u", op->name,
		               msg->n_fds, op->fds_min, op->fds_max);
		return -EPROTO;
	}
	if (op->ring == RING_U64 && msg->n_fds != (msg->payload.u64 & VHOST_RING_FD_NONE ? 0 : 1)) {
		vhost_dev_warn(dev, "%s: %u file descriptors, which the payload contradicts",
		               op->name, msg->n_fds);
		return -EPROTO;
	}
	return check_ring(dev, op, msg);
}

/* @fd: borrowed, or -1 */
static int send_reply(struct vhost_dev *dev, uint32_t id, const void *payload, uint32_t size,
                      int fd)
{
	int err = vhost_io_reply(&dev->io, id, payload, size, fd);

	if (err == -EPROTO)
		vhost_dev_warn(dev, "%s", dev->io.why);
	return err;
}

/* REPLY_ACK: 0 is success, anything else a failure. */
static int send_ack(struct vhost_dev *dev, const struct vhost_request *msg, bool failed)
{
	uint64_t value = failed;

	return send_reply(dev, msg->hdr.id, &value, sizeof(value), -1);
}

static bool wants_ack(const struct vhost_dev *dev, const struct vhost_request *msg)
{
	return (msg->hdr.flags & VHOST_HDR_NEED_REPLY) &&
	       (dev->protocol_features & VHOST_BIT(VHOST_PROTO_REPLY_ACK));
}

/* A request without a handler, or whose protocol feature was not negotiated */
static int not_served(struct vhost_dev *dev, const struct vhost_op *op,
                      const struct vhost_request *msg)
{
	uint32_t id = msg->hdr.id;
	uint64_t bit = VHOST_BIT(id < VHOST_MSG_N_IDS ? id : 0);

	if (op && op->replies)
		return fatal(
			dev, op->name,
			op->fn ? "its protocol feature was not negotiated"
			       : "front end waits for an answer that this back end does not have");
	if (!(dev->warned_ids & bit)) {
		dev->warned_ids |= bit;
		if (op && op->fn)
			vhost_dev_warn(dev, "%s: its protocol feature was not negotiated; ignored",
			               op->name);
		else if (op)
			vhost_dev_warn(dev, "%s: not supported; ignored", op->name);
		else
			vhost_dev_warn(dev, "unknown request %u; ignored", id);
	}
	return wants_ack(dev, msg) ? send_ack(dev, msg, true) : 0;
}

int vhost_dispatch(struct vhost_dev *dev)
{
	struct vhost_request *msg = &dev->io.msg;
	uint32_t id = msg->hdr.id;
	const struct vhost_op *op =
		id < VHOST_MSG_N_IDS && vhost_ops[id].name ? &vhost_ops[id] : NULL;
	int err;

	if (vhost_ops_is_postcopy_ack(dev, msg))
		return vhost_ops_postcopy_ack(dev, msg);
	if (!op || !op->fn || (op->needs & ~dev->protocol_features))
		return not_served(dev, op, msg);
	err = check_row(dev, op, msg);
	if (err < 0)
		return err;
	err = op->fn(dev, msg);
	if (vhost_iommu_on(dev) || dev->postcopy)
		vhost_dev_report_faults(dev); /* rings may have questions, or a wrong answer */
	vhost_dev_settle(dev);
	if (err == -EPROTO)
		return err;
	if (op->replies || msg->reply)
		return err < 0 ? -EPROTO
		               : send_reply(dev, id, &msg->payload, msg->hdr.size, msg->reply_fd);
	if (wants_ack(dev, msg))
		return send_ack(dev, msg, err < 0);
	if (err < 0 && op->vital)
		return fatal(dev, op->name,
		             "refused, and the front end does not ask for an answer");
	return 0;
}
