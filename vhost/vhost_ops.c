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
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "vhost_dev_priv.h"
#include "vhost_signal.h"

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

static int refuse_nomem(struct vhost_dev *dev)
{
	vhost_dev_warn(dev, "out of memory");
	return -ENOMEM;
}

static int reply_u64(struct vhost_request *msg, uint64_t v)
{
	msg->payload.u64 = v;
	msg->hdr.size = sizeof(v);
	return 0;
}

/* ---- features ---- */

static int get_features(struct vhost_dev *dev, struct vhost_request *msg)
{
	return reply_u64(msg, dev->config.features);
}

static void describe_bits(uint64_t bits, const char *(*name_of)(unsigned int bit), char *text,
                          size_t size)
{
	size_t at = 0;

	text[0] = '\0';
	for (unsigned int bit = 0; bit < 64; bit++) {
		const char *name = name_of(bit);
		int n;

		if (!(bits & VHOST_BIT(bit)) || at >= size)
			continue;
		if (name)
			n = snprintf(text + at, size - at, "%s%s", at ? " " : "", name);
		else
			n = snprintf(text + at, size - at, "%sbit-%u", at ? " " : "", bit);
		at += (size_t)n;
	}
}

/*
 * A new map for each running ring, or none if that fails. The owner is told, since a worker that
 * sleeps has asked for kicks in the terms of the old map, and may wait in vain.
 */
static void republish_running(struct vhost_dev *dev)
{
	for (uint16_t i = 0; i < dev->n_vqs; i++) {
		struct vhost_vq *vq = &dev->vqs[i];

		dev->rings_changed |= vq->started;
		if (vq->started && vhost_vq_republish(dev, vq) < 0) {
			vhost_dev_warn(dev, "ring %u: stopped", i);
			vhost_vq_stop(dev, vq);
		}
	}
}

static int set_features(struct vhost_dev *dev, struct vhost_request *msg)
{
	uint64_t bits = msg->payload.u64;
	uint64_t excess = bits & ~dev->config.features;
	bool changed = bits != dev->features;
	char text[256];

	if (excess) {
		describe_bits(excess, vhost_feature_name, text, sizeof(text));
		vhost_dev_warn(dev, "SET_FEATURES: not offered: %s", text);
		return -EINVAL;
	}
	/* Sent once per queue pair, and again on running rings around migration. */
	if (!changed)
		return 0;
	dev->features = bits;
	republish_running(dev);
	describe_bits(bits, vhost_feature_name, text, sizeof(text));
	vhost_dev_info(dev, "features %s", text);
	return 0;
}

static int get_protocol_features(struct vhost_dev *dev, struct vhost_request *msg)
{
	return reply_u64(msg, dev->config.protocol_features);
}

static int set_protocol_features(struct vhost_dev *dev, struct vhost_request *msg)
{
	uint64_t bits = msg->payload.u64;
	uint64_t excess = bits & ~dev->config.protocol_features;
	char text[256];

	if (excess) {
		describe_bits(excess, vhost_protocol_feature_name, text, sizeof(text));
		vhost_dev_warn(dev, "SET_PROTOCOL_FEATURES: not offered: %s", text);
		return -EINVAL;
	}
	if (bits == dev->protocol_features)
		return 0;
	dev->protocol_features = bits;
	describe_bits(bits, vhost_protocol_feature_name, text, sizeof(text));
	vhost_dev_info(dev, "protocol features %s", text);
	return 0;
}

/* ---- owner, status, queues, MTU ---- */

static int set_owner(struct vhost_dev *dev, struct vhost_request *msg)
{
	(void)dev;
	(void)msg;
	return 0; /* there is one owner: who is connected */
}

static int set_ring_enabled(struct vhost_dev *dev, struct vhost_vq *vq, bool on)
{
	bool was = vq->enable_wanted;
	int err;

	if (on == was)
		return 0;
	vq->enable_wanted = on;
	if (!vq->started || !(dev->features & VHOST_BIT(VHOST_F_PROTOCOL_FEATURES)))
		return 0;
	err = vhost_vq_republish(dev, vq);
	if (err < 0)
		vq->enable_wanted = was;
	else
		dev->rings_changed = true;
	return err;
}

/* vhost-user: deprecated; "either ignore this message, or use it to disable all rings" */
static int reset_owner(struct vhost_dev *dev, struct vhost_request *msg)
{
	int err = 0;

	(void)msg;
	for (uint16_t i = 0; i < dev->n_vqs && err == 0; i++)
		err = set_ring_enabled(dev, &dev->vqs[i], false);
	return err;
}

static int get_queue_num(struct vhost_dev *dev, struct vhost_request *msg)
{
	/* Pairs, as QEMU and DPDK count them. */
	return reply_u64(msg, dev->config.max_queue_pairs);
}

static int net_set_mtu(struct vhost_dev *dev, struct vhost_request *msg)
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

static int set_status(struct vhost_dev *dev, struct vhost_request *msg)
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

static int get_status(struct vhost_dev *dev, struct vhost_request *msg)
{
	return reply_u64(msg, dev->status);
}

/* ---- guest memory ---- */

/*
 * Put a new table in place of the current one: every running ring moves to a map that is
 * translated by it; a ring that does not lie in it any more is stopped. The old table goes when the
 * workers have moved.
 */
static void replace_mem(struct vhost_dev *dev, struct vhost_mem *mem)
{
	assert(!dev->old_mem);
	dev->old_mem = dev->mem;
	dev->mem = mem;
	dev->must_wait |= dev->old_mem != NULL;
	republish_running(dev);
	for (uint16_t i = 0; i < dev->n_vqs; i++)
		vhost_vq_try_start(dev, &dev->vqs[i]); /* warns; the table itself is good */
}

static int set_mem_table(struct vhost_dev *dev, struct vhost_request *msg)
{
	const struct vhost_msg_mem_table *t = &msg->payload.table;
	struct vhost_mem *mem;
	const char *why;
	int err;

	if (t->n_regions < 1 || t->n_regions > VHOST_MSG_MAX_REGIONS ||
	    t->n_regions != msg->n_fds ||
	    msg->hdr.size != offsetof(struct vhost_msg_mem_table, regions) +
	                             t->n_regions * sizeof(t->regions[0])) {
		vhost_dev_warn(dev,
		               "SET_MEM_TABLE: %u regions in %u bytes with %u file descriptors",
		               t->n_regions, msg->hdr.size, msg->n_fds);
		return -EPROTO;
	}
	err = vhost_mem_new(t->regions, msg->fds, t->n_regions, &mem, &why);
	if (err < 0) {
		vhost_dev_warn(dev, "SET_MEM_TABLE: %s: %s", why, strerror(-err));
		return err;
	}
	replace_mem(dev, mem);
	return 0;
}

static int get_max_mem_slots(struct vhost_dev *dev, struct vhost_request *msg)
{
	(void)dev;
	return reply_u64(msg, VHOST_MEM_MAX_REGIONS);
}

static int add_mem_reg(struct vhost_dev *dev, struct vhost_request *msg)
{
	struct vhost_mem *mem;
	const char *why;
	int err = vhost_mem_add(dev->mem, &msg->payload.region.region, msg->fds[0], &mem, &why);

	if (err < 0) {
		vhost_dev_warn(dev, "ADD_MEM_REG: %s: %s", why, strerror(-err));
		return err;
	}
	replace_mem(dev, mem);
	return 0;
}

static int rem_mem_reg(struct vhost_dev *dev, struct vhost_request *msg)
{
	const struct vhost_region_desc *d = &msg->payload.region.region;
	struct vhost_mem *mem;
	int err = vhost_mem_remove(dev->mem, d, &mem);

	if (err == -ENOENT)
		vhost_dev_warn(dev,
		               "REM_MEM_REG: no region of 0x%" PRIx64
		               " bytes at guest address 0x%" PRIx64 ", front end's 0x%" PRIx64,
		               d->size, d->gpa, d->uva);
	if (err == -ENOMEM)
		refuse_nomem(dev);
	if (err < 0)
		return err;
	replace_mem(dev, mem);
	return 0;
}

/* ---- rings ---- */

/* The dispatcher has checked the index. */
static struct vhost_vq *named_ring(struct vhost_dev *dev, const struct vhost_request *msg)
{
	return &dev->vqs[msg->payload.state.index];
}

static int set_vring_num(struct vhost_dev *dev, struct vhost_request *msg)
{
	struct vhost_vq *vq = named_ring(dev, msg);
	uint32_t num = msg->payload.state.num;

	if (vq->started) {
		vhost_dev_warn(dev, "SET_VRING_NUM: ring %u is running", vq->index);
		return -EBUSY;
	}
	/* Virtio 1.3, 2.7: "Queue Size value is always a power of 2. The maximum ... is 32768." */
	if (num == 0 || num > VHOST_VQ_MAX_SIZE || (num & (num - 1))) {
		vhost_dev_warn(dev,
		               "SET_VRING_NUM: ring %u: size %u is not a power of two up to %u",
		               vq->index, num, VHOST_VQ_MAX_SIZE);
		return -EINVAL;
	}
	vq->size = num;
	return vhost_vq_try_start(dev, vq);
}

static void take_addr(struct vhost_vq *vq, const struct vhost_vring_addr *a)
{
	vq->desc_uva = a->desc_user_addr;
	vq->avail_uva = a->avail_user_addr;
	vq->used_uva = a->used_user_addr;
	vq->log_gpa = a->log_guest_addr;
	vq->addr_flags = a->flags;
}

static int set_vring_addr(struct vhost_dev *dev, struct vhost_request *msg)
{
	const struct vhost_vring_addr *a = &msg->payload.addr;
	struct vhost_vq *vq = named_ring(dev, msg);
	struct vhost_vring_addr old = {.desc_user_addr = vq->desc_uva,
	                               .avail_user_addr = vq->avail_uva,
	                               .used_user_addr = vq->used_uva,
	                               .log_guest_addr = vq->log_gpa,
	                               .flags = vq->addr_flags};
	bool moved = a->desc_user_addr != vq->desc_uva || a->avail_user_addr != vq->avail_uva ||
	             a->used_user_addr != vq->used_uva;
	int err;

	/* Virtio 1.3, 2.7 */
	if (a->desc_user_addr % 16 || a->avail_user_addr % 2 || a->used_user_addr % 4) {
		vhost_dev_warn(dev,
		               "SET_VRING_ADDR: ring %u: 0x%llx, 0x%llx, 0x%llx are not aligned",
		               vq->index, a->desc_user_addr, a->avail_user_addr, a->used_user_addr);
		return -EINVAL;
	}
	take_addr(vq, a);
	vq->addr_set = true;
	if (!vq->started)
		return vhost_vq_try_start(dev, vq);
	/* On a running ring QEMU sends the same again, for the log flag. */
	if (!moved)
		return 0;
	err = vhost_vq_republish(dev, vq);
	if (err < 0)
		take_addr(vq, &old);
	else
		dev->rings_changed = true; /* as in republish_running() */
	return err;
}

static int set_vring_base(struct vhost_dev *dev, struct vhost_request *msg)
{
	struct vhost_vq *vq = named_ring(dev, msg);
	uint32_t base = msg->payload.state.num;

	if (vq->started) {
		vhost_dev_warn(dev, "SET_VRING_BASE: ring %u is running", vq->index);
		return -EBUSY;
	}
	if (base > UINT16_MAX) {
		vhost_dev_warn(dev, "SET_VRING_BASE: ring %u: %u is no index of a split ring",
		               vq->index, base);
		return -EINVAL;
	}
	vq->base = (uint16_t)base;
	return vhost_vq_try_start(dev, vq);
}

/* This is how a front end stops a ring. */
static int get_vring_base(struct vhost_dev *dev, struct vhost_request *msg)
{
	struct vhost_vq *vq = named_ring(dev, msg);

	vhost_vq_stop(dev, vq);
	vhost_vq_forget_notifiers(dev, vq);
	vhost_dev_settle(dev); /* the position is exact only now */
	msg->payload.state.num = vq->base;
	msg->hdr.size = sizeof(msg->payload.state);
	return 0;
}

static int set_vring_enable(struct vhost_dev *dev, struct vhost_request *msg)
{
	struct vhost_vq *vq = named_ring(dev, msg);
	uint32_t on = msg->payload.state.num;
	int err;

	if (on > 1) {
		vhost_dev_warn(dev, "SET_VRING_ENABLE: ring %u: %u is neither 0 nor 1", vq->index,
		               on);
		return -EINVAL;
	}
	/* QEMU sends this before SET_FEATURES, on every reset: it is remembered. */
	err = set_ring_enabled(dev, vq, on);
	if (err < 0)
		return err;
	vhost_vq_try_start(dev, vq); /* warns; the wish itself is granted */
	return 0;
}

/* An eventfd and nothing else: a worker reads or writes 8 bytes, and must not block doing it. */
static int check_eventfd(struct vhost_dev *dev, const char *what, uint32_t index, int fd)
{
	static const char wanted[] = "anon_inode:[eventfd]";
	char path[32], target[sizeof(wanted) + 1];
	ssize_t n;
	int flags;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, target, sizeof(target));
	if (n != (ssize_t)sizeof(wanted) - 1 || memcmp(target, wanted, (size_t)n) != 0) {
		vhost_dev_warn(dev, "%s: ring %u: descriptor is not an eventfd", what, index);
		return -EINVAL;
	}
	flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) {
		vhost_dev_warn(dev, "%s: ring %u: descriptor cannot be made non-blocking", what,
		               index);
		return -EINVAL;
	}
	return 0;
}

/*
 * claim_ring_fd() - the descriptor of a KICK, CALL or ERR message
 * @ret_fd: owned by the caller, or -1 if the front end has none
 *
 * The number of descriptors was checked against bit 8 by the dispatcher.
 */
static int claim_ring_fd(struct vhost_dev *dev, struct vhost_request *msg, const char *what,
                         int *ret_fd)
{
	uint32_t index = msg->payload.u64 & VHOST_RING_FD_INDEX_MASK;
	int err;

	if (msg->payload.u64 & VHOST_RING_FD_NONE) {
		*ret_fd = -1;
		return 0;
	}
	err = check_eventfd(dev, what, index, msg->fds[0]);
	if (err < 0)
		return err;
	*ret_fd = vhost_request_claim_fd(msg, 0);
	return 0;
}

static struct vhost_vq *fd_ring(struct vhost_dev *dev, const struct vhost_request *msg)
{
	return &dev->vqs[msg->payload.u64 & VHOST_RING_FD_INDEX_MASK];
}

static int set_vring_kick(struct vhost_dev *dev, struct vhost_request *msg)
{
	struct vhost_vq *vq = fd_ring(dev, msg);
	int fd, err;

	err = claim_ring_fd(dev, msg, "SET_VRING_KICK", &fd);
	if (err < 0)
		return err;
	vhost_dev_retire_fd(dev, vq->kick_fd);
	vq->kick_fd = fd;
	vq->kick_set = true;
	if (vq->started) {
		dev->rings_changed = true;
		return 0;
	}
	return vhost_vq_try_start(dev, vq);
}

static int set_vring_call(struct vhost_dev *dev, struct vhost_request *msg)
{
	struct vhost_vq *vq = fd_ring(dev, msg);
	int old = vq->call_fd;
	int fd, err;

	err = claim_ring_fd(dev, msg, "SET_VRING_CALL", &fd);
	if (err < 0)
		return err;
	vq->call_fd = fd;
	if (vq->started) {
		err = vhost_vq_republish(dev, vq);
		if (err < 0) {
			vq->call_fd = old;
			if (fd >= 0)
				close(fd);
			return err;
		}
		/* What was signalled on the old one meanwhile, nobody hears. */
		(void)vhost_signal(fd);
	}
	vhost_dev_retire_fd(dev, old);
	return 0;
}

static int set_vring_err(struct vhost_dev *dev, struct vhost_request *msg)
{
	struct vhost_vq *vq = fd_ring(dev, msg);
	int fd, err;

	err = claim_ring_fd(dev, msg, "SET_VRING_ERR", &fd);
	if (err < 0)
		return err;
	if (vq->err_fd >= 0)
		close(vq->err_fd); /* only this thread uses it */
	vq->err_fd = fd;
	return 0;
}

/* ---- table and dispatcher ---- */

#define PROTO(name) VHOST_BIT(VHOST_PROTO_##name)
#define TABLE_HDR   offsetof(struct vhost_msg_mem_table, regions)
#define TABLE_REG   sizeof(struct vhost_region_desc)

/* clang-format off */
static const struct vhost_op vhost_ops[] = {
#define OP(id, fn, min, max, fdmin, fdmax, ring, replies, vital, needs) \
	[VHOST_MSG_##id] = {#id, fn, min, max, fdmin, fdmax, ring, replies, vital, needs}
	/* request                 handler            bytes  fds   ring      answers vital  needs */
	OP(GET_FEATURES,           get_features,           0,  0, 0, 0, NO_RING,  true,  false, 0),
	OP(SET_FEATURES,           set_features,           8,  8, 0, 0, NO_RING,  false, true,  0),
	OP(SET_OWNER,              set_owner,              0,  0, 0, 0, NO_RING,  false, false, 0),
	OP(RESET_OWNER,            reset_owner,            0,  0, 0, 0, NO_RING,  false, false, 0),
	OP(SET_MEM_TABLE,          set_mem_table, TABLE_HDR + TABLE_REG, TABLE_HDR + 8 * TABLE_REG,
								  1, 8, NO_RING,  false, false, 0),
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
	OP(NET_SET_MTU,            net_set_mtu,            8,  8, 0, 0, NO_RING,  false, false, PROTO(NET_MTU)),
	OP(GET_MAX_MEM_SLOTS,      get_max_mem_slots,      0,  0, 0, 0, NO_RING,  true,  false, PROTO(CONFIGURE_MEM_SLOTS)),
	OP(ADD_MEM_REG,            add_mem_reg,           40, 40, 1, 1, NO_RING,  false, false, PROTO(CONFIGURE_MEM_SLOTS)),
	OP(REM_MEM_REG,            rem_mem_reg,           40, 40, 0, 1, NO_RING,  false, false, PROTO(CONFIGURE_MEM_SLOTS)),
	OP(SET_STATUS,             set_status,             8,  8, 0, 0, NO_RING,  false, false, PROTO(STATUS)),
	OP(GET_STATUS,             get_status,             0,  0, 0, 0, NO_RING,  true,  false, PROTO(STATUS)),
#undef OP
	/* Known by name only. The front end waits for an answer of its own to those marked true. */
#define NOT_SERVED(id, answers) [VHOST_MSG_##id] = {.name = #id, .replies = answers}
	NOT_SERVED(SET_LOG_BASE, true),
	NOT_SERVED(SET_LOG_FD, false),
	NOT_SERVED(SEND_RARP, false),
	NOT_SERVED(SET_BACKEND_REQ_FD, false),
	NOT_SERVED(IOTLB_MSG, false),
	NOT_SERVED(SET_VRING_ENDIAN, false),
	NOT_SERVED(GET_CONFIG, true),
	NOT_SERVED(SET_CONFIG, false),
	NOT_SERVED(CREATE_CRYPTO_SESSION, true),
	NOT_SERVED(CLOSE_CRYPTO_SESSION, false),
	NOT_SERVED(POSTCOPY_ADVISE, true),
	NOT_SERVED(POSTCOPY_LISTEN, false),
	NOT_SERVED(POSTCOPY_END, true),
	NOT_SERVED(GET_INFLIGHT_FD, true),
	NOT_SERVED(SET_INFLIGHT_FD, false),
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
	vhost_dev_warn(dev, "%s: there is no ring %" PRIu64 ", the device has %u", op->name, index,
	               dev->n_vqs);
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

static int send_reply(struct vhost_dev *dev, uint32_t id, const void *payload, uint32_t size)
{
	int err = vhost_io_reply(&dev->io, id, payload, size, -1);

	if (err == -EPROTO)
		vhost_dev_warn(dev, "%s", dev->io.why);
	return err;
}

/* REPLY_ACK: 0 is success, anything else a failure. */
static int send_ack(struct vhost_dev *dev, const struct vhost_request *msg, bool failed)
{
	uint64_t value = failed;

	return send_reply(dev, msg->hdr.id, &value, sizeof(value));
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

	if (!op || !op->fn || (op->needs & ~dev->protocol_features))
		return not_served(dev, op, msg);
	err = check_row(dev, op, msg);
	if (err < 0)
		return err;
	err = op->fn(dev, msg);
	vhost_dev_settle(dev);
	if (err == -EPROTO)
		return err;
	if (op->replies)
		return err < 0 ? -EPROTO : send_reply(dev, id, &msg->payload, msg->hdr.size);
	if (wants_ack(dev, msg))
		return send_ack(dev, msg, err < 0);
	if (err < 0 && op->vital)
		return fatal(dev, op->name,
		             "refused, and the front end does not ask for an answer");
	return 0;
}
