// SPDX-License-Identifier: BSD-2-Clause
/*
 * vfe.c - the device of the test front end: negotiation, start, stop, reconnect
 *
 * The order of messages is QEMU 10's as seen on the wire, for each queue pair as if it were a
 * device of its own: features are asked and set per pair, but owner, memory and status go with the
 * first or the last pair only. Two other orders are there because back ends meet them: DPDK's
 * virtio-user sets the memory table before the rings and enables them last; Cloud Hypervisor sends
 * one kind of message for all rings before the next kind.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vfe_layout.h"

uint64_t vfe_all_features(void)
{
	return VFE_BIT(VFE_NET_F_CSUM) | VFE_BIT(VFE_NET_F_GUEST_CSUM) | VFE_BIT(VFE_NET_F_MTU) |
	       VFE_BIT(VFE_NET_F_MRG_RXBUF) | VFE_BIT(VFE_NET_F_MQ) | VFE_BIT(VFE_F_ANY_LAYOUT) |
	       VFE_BIT(VFE_F_INDIRECT_DESC) | VFE_BIT(VFE_F_EVENT_IDX) |
	       VFE_BIT(VFE_F_PROTOCOL_FEATURES) | VFE_BIT(VFE_F_VERSION_1) |
	       VFE_BIT(VFE_F_RING_PACKED) | VFE_BIT(VFE_F_IN_ORDER);
}

uint64_t vfe_default_features(void)
{
	return vfe_all_features() & ~(VFE_BIT(VFE_NET_F_CSUM) | VFE_BIT(VFE_NET_F_GUEST_CSUM) |
	                              VFE_BIT(VFE_F_RING_PACKED) | VFE_BIT(VFE_F_IN_ORDER));
}

uint64_t vfe_all_protocol_features(void)
{
	return VFE_BIT(VFE_PF_MQ) | VFE_BIT(VFE_PF_REPLY_ACK) | VFE_BIT(VFE_PF_NET_MTU) |
	       VFE_BIT(VFE_PF_CONFIGURE_MEM_SLOTS) | VFE_BIT(VFE_PF_STATUS);
}

int vfe_fail(struct vfe *v, int err, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(v->error, sizeof(v->error), fmt, args);
	va_end(args);
	return err;
}

const char *vfe_error(const struct vfe *v)
{
	return v && v->error[0] ? v->error : "no error noted";
}

/* Words for the ways in which a message can fail. */
static int message_failed(struct vfe *v, const char *name, int err)
{
	if (err == -ETIMEDOUT)
		return vfe_fail(v, err, "%s: no answer in time", name);
	if (err == -ECONNRESET || err == -EPIPE)
		return vfe_fail(v, err, "%s: the back end hung up", name);
	if (err == -EPROTO)
		return vfe_fail(v, err, "%s: the answer breaks the protocol", name);
	return vfe_fail(v, err, "%s: %s", name, strerror(-err));
}

int vfe_ask(struct vfe *v, const char *name, uint32_t request, uint64_t *ret)
{
	uint32_t len;
	int err = vfe_send_msg(v->fd, request, VFE_FLAG_VERSION, NULL, 0, NULL, 0);

	if (!err)
		err = vfe_recv_reply(v->fd, request, ret, sizeof(*ret), &len);
	if (!err && len != sizeof(*ret))
		err = -EPROTO;
	return err ? message_failed(v, name, err) : 0;
}

int vfe_tell(struct vfe *v, const char *name, uint32_t request, const void *payload, uint32_t len,
             const int *fds, uint32_t n_fds, bool need_reply)
{
	bool ack = need_reply && vfe_has_protocol(v, VFE_PF_REPLY_ACK);
	uint32_t flags = VFE_FLAG_VERSION | (ack ? VFE_FLAG_NEED_REPLY : 0);
	int err = vfe_send_msg(v->fd, request, flags, payload, len, fds, n_fds);
	uint64_t answer = 0;
	uint32_t answer_len;

	if (err)
		return message_failed(v, name, err);
	if (!need_reply)
		return 0;
	if (!ack) /* QEMU's barrier for back ends without REPLY_ACK */
		return vfe_get_features(v, &answer);
	err = vfe_recv_reply(v->fd, request, &answer, sizeof(answer), &answer_len);
	if (!err && answer_len != sizeof(answer))
		err = -EPROTO;
	if (err)
		return message_failed(v, name, err);
	if (answer)
		return vfe_fail(v, -EREMOTEIO, "%s: the back end refuses", name);
	return 0;
}

static int tell_u64(struct vfe *v, const char *name, uint32_t request, uint64_t value,
                    bool need_reply)
{
	return vfe_tell(v, name, request, &value, sizeof(value), NULL, 0, need_reply);
}

static int tell_fd(struct vfe *v, const char *name, uint32_t request, uint32_t index, int fd,
                   bool need_reply)
{
	uint64_t value = index | (fd < 0 ? VFE_VRING_NO_FD : 0);

	return vfe_tell(v, name, request, &value, sizeof(value), &fd, fd < 0 ? 0 : 1, need_reply);
}

static int tell_state(struct vfe *v, const char *name, uint32_t request, uint32_t index,
                      uint32_t num, bool need_reply)
{
	struct vfe_msg_vring_state s = {.index = index, .num = num};

	return vfe_tell(v, name, request, &s, sizeof(s), NULL, 0, need_reply);
}

int vfe_get_features(struct vfe *v, uint64_t *ret_features)
{
	return vfe_ask(v, "GET_FEATURES", VFE_GET_FEATURES, ret_features);
}

int vfe_get_status(struct vfe *v, uint64_t *ret_status)
{
	return vfe_ask(v, "GET_STATUS", VFE_GET_STATUS, ret_status);
}

/* ---- negotiation ---------------------------------------------------------------------------- */

static int take_features(struct vfe *v)
{
	int err = vfe_get_features(v, &v->offered);

	if (err)
		return err;
	v->acked = v->config.features & v->offered;
	if (v->config.packed && !(v->offered & VFE_BIT(VFE_F_RING_PACKED)))
		return vfe_fail(v, -ENOTSUP, "the back end has no packed rings");
	if (v->config.iommu && !(v->offered & VFE_BIT(VFE_F_ACCESS_PLATFORM)))
		return vfe_fail(v, -ENOTSUP, "the back end does not know of IOMMUs");
	if (v->config.iommu)
		v->acked |= VFE_BIT(VFE_F_ACCESS_PLATFORM);
	if (v->config.packed)
		v->acked |= VFE_BIT(VFE_F_RING_PACKED);
	if (v->config.n_pairs == 1)
		v->acked &= ~VFE_BIT(VFE_NET_F_MQ);
	return 0;
}

static int take_protocol_features(struct vfe *v)
{
	int err;

	v->protocol_acked = 0;
	if (!(v->acked & VFE_BIT(VFE_F_PROTOCOL_FEATURES)))
		return 0;
	err = vfe_ask(v, "GET_PROTOCOL_FEATURES", VFE_GET_PROTOCOL_FEATURES, &v->protocol_offered);
	if (err)
		return err;
	v->protocol_acked = v->config.protocol_features & v->protocol_offered;
	if (v->config.iommu)
		v->protocol_acked |= VFE_BIT(VFE_PF_BACKEND_REQ);
	return tell_u64(v, "SET_PROTOCOL_FEATURES", VFE_SET_PROTOCOL_FEATURES, v->protocol_acked,
	                false);
}

static int ask_limits(struct vfe *v)
{
	int err = 0;

	if (vfe_has_protocol(v, VFE_PF_MQ))
		err = vfe_ask(v, "GET_QUEUE_NUM", VFE_GET_QUEUE_NUM, &v->queue_num);
	if (!err && vfe_has_protocol(v, VFE_PF_CONFIGURE_MEM_SLOTS))
		err = vfe_ask(v, "GET_MAX_MEM_SLOTS", VFE_GET_MAX_MEM_SLOTS, &v->mem_slots);
	if (err)
		return err;
	if (v->config.n_pairs > 1 && v->queue_num < v->config.n_pairs)
		return vfe_fail(v, -ENOTSUP, "%u queue pairs wanted, the back end has %llu",
		                v->config.n_pairs, (unsigned long long)v->queue_num);
	return 0;
}

static int send_call_and_err(struct vfe *v, uint16_t pair)
{
	for (uint32_t i = 2U * pair; i < 2U * pair + 2; i++) {
		struct vfe_ring *r = &v->rings[i];
		int err = tell_fd(v, "SET_VRING_CALL", VFE_SET_VRING_CALL, i, r->call_fd, false);

		if (!err)
			err = tell_fd(v, "SET_VRING_ERR", VFE_SET_VRING_ERR, i, r->err_fd, false);
		if (err)
			return err;
	}
	return 0;
}

static int negotiate_pair(struct vfe *v, uint16_t pair)
{
	uint64_t again;
	int err = take_features(v);

	if (!err)
		err = take_protocol_features(v);
	if (!err && pair == 0)
		err = ask_limits(v);
	if (!err && pair == 0)
		err = vfe_iommu_connect(v);
	if (!err && pair == 0 && v->config.order != VFE_ORDER_CLOUD_HYPERVISOR)
		err = vfe_tell(v, "SET_OWNER", VFE_SET_OWNER, NULL, 0, NULL, 0, false);
	if (!err)
		err = vfe_get_features(v, &again);
	if (!err && again != v->offered)
		err = vfe_fail(v, -EPROTO, "GET_FEATURES: answers differ within one connection");
	return err ? err : send_call_and_err(v, pair);
}

/* What QEMU does at a reset of the virtio device: the first pair on, the others off. */
static int announce_reset(struct vfe *v)
{
	if (!vfe_has(v, VFE_F_PROTOCOL_FEATURES))
		return 0;
	for (uint16_t i = 0; i < v->config.n_pairs; i++) {
		int err = vfe_pair_enable(v, i, i == 0);

		if (err)
			return err;
	}
	return 0;
}

static int negotiate(struct vfe *v)
{
	int err = 0;

	if (v->config.order == VFE_ORDER_CLOUD_HYPERVISOR)
		err = vfe_tell(v, "SET_OWNER", VFE_SET_OWNER, NULL, 0, NULL, 0, false);
	for (uint16_t i = 0; !err && i < v->config.n_pairs; i++)
		err = negotiate_pair(v, i);
	if (!err && v->config.order == VFE_ORDER_QEMU)
		err = announce_reset(v);
	return err;
}

static int get_connection(struct vfe *v)
{
	const struct vfe_config *c = &v->config;

	if (!c->listen) {
		v->fd = vfe_connect(c->socket_path, c->timeout_ms);
	} else {
		if (v->listen_fd < 0)
			v->listen_fd = vfe_listen(c->socket_path);
		if (v->listen_fd < 0)
			return vfe_fail(v, v->listen_fd, "listen on %s: %s", c->socket_path,
			                strerror(-v->listen_fd));
		v->fd = vfe_accept(v->listen_fd, c->timeout_ms);
	}
	if (v->fd < 0) {
		int err = v->fd;

		v->fd = -1;
		return vfe_fail(v, err, "connection on %s: %s", c->socket_path, strerror(-err));
	}
	return negotiate(v);
}

/* ---- start ------------------------------------------------------------------------------------
 */

static int set_features(struct vfe *v)
{
	uint64_t status;
	int err = tell_u64(v, "SET_FEATURES", VFE_SET_FEATURES, v->acked, false);

	if (err || !vfe_has_protocol(v, VFE_PF_STATUS))
		return err;
	err = vfe_get_status(v, &status);
	if (!err)
		err = tell_u64(v, "SET_STATUS", VFE_SET_STATUS,
		               status | VFE_S_ACKNOWLEDGE | VFE_S_DRIVER | VFE_S_FEATURES_OK,
		               false);
	if (!err)
		err = vfe_get_status(v, &status);
	if (!err && !(status & VFE_S_FEATURES_OK))
		err = vfe_fail(v, -EPROTO, "status 0x%llx lacks FEATURES_OK",
		               (unsigned long long)status);
	return err;
}

static int set_driver_ok(struct vfe *v)
{
	uint64_t status;
	int err;

	if (!vfe_has_protocol(v, VFE_PF_STATUS))
		return 0;
	err = vfe_get_status(v, &status);
	return err ? err
	           : tell_u64(v, "SET_STATUS", VFE_SET_STATUS, status | VFE_S_DRIVER_OK, false);
}

static int set_mtu(struct vfe *v)
{
	if (!v->config.mtu || !vfe_has_protocol(v, VFE_PF_NET_MTU) || !vfe_has(v, VFE_NET_F_MTU))
		return 0;
	return tell_u64(v, "NET_SET_MTU", VFE_NET_SET_MTU, v->config.mtu, true);
}

static int ring_num(struct vfe *v, struct vfe_ring *r)
{
	return tell_state(v, "SET_VRING_NUM", VFE_SET_VRING_NUM, r->index, r->size, false);
}

static int ring_base(struct vfe *v, struct vfe_ring *r)
{
	vfe_ring_resume(r);
	return tell_state(v, "SET_VRING_BASE", VFE_SET_VRING_BASE, r->index, r->base, false);
}

static uint64_t ring_part(const struct vfe *v, const void *part)
{
	return v->config.iommu ? vfe_gpa(v, part) : (uintptr_t)part;
}

static int ring_addr(struct vfe *v, struct vfe_ring *r)
{
	struct vfe_msg_vring_addr a = {
		.index = r->index,
		.desc = ring_part(v, r->desc),
		.used = ring_part(v, r->used),
		.avail = ring_part(v, r->avail),
		.log = vfe_gpa(v, r->used), /* QEMU fills it also when nothing is logged */
	};

	return vfe_tell(v, "SET_VRING_ADDR", VFE_SET_VRING_ADDR, &a, sizeof(a), NULL, 0, false);
}

static int ring_kick(struct vfe *v, struct vfe_ring *r)
{
	return tell_fd(v, "SET_VRING_KICK", VFE_SET_VRING_KICK, r->index, r->kick_fd, true);
}

static int ring_call(struct vfe *v, struct vfe_ring *r)
{
	return tell_fd(v, "SET_VRING_CALL", VFE_SET_VRING_CALL, r->index, r->call_fd, true);
}

typedef int (*ring_step)(struct vfe *v, struct vfe_ring *r);

static int ring_steps(struct vfe *v, struct vfe_ring *r, const ring_step *steps)
{
	int err = 0;

	for (; !err && *steps; steps++)
		err = (*steps)(v, r);
	return err;
}

int vfe_ring_start(struct vfe *v, uint32_t index)
{
	static const ring_step steps[] = {ring_num,  ring_base, ring_addr,
	                                  ring_kick, ring_call, NULL};

	return ring_steps(v, &v->rings[index], steps);
}

int vfe_pair_enable(struct vfe *v, uint16_t pair, bool enable)
{
	if (!vfe_has(v, VFE_F_PROTOCOL_FEATURES))
		return 0; /* rings start enabled; there is no such message */
	for (uint32_t i = 2U * pair; i < 2U * pair + 2; i++) {
		int err = tell_state(v, "SET_VRING_ENABLE", VFE_SET_VRING_ENABLE, i, enable, true);

		if (err)
			return err;
		v->rings[i].enabled = enable;
	}
	return 0;
}

static int enable_all(struct vfe *v)
{
	int err = 0;

	for (uint16_t i = 0; !err && i < v->config.n_pairs; i++)
		err = vfe_pair_enable(v, i, i < v->config.n_enabled);
	return err;
}

static int start_like_qemu(struct vfe *v)
{
	for (uint16_t i = 0; i < v->config.n_pairs; i++) {
		int err = vfe_pair_enable(v, i, i < v->config.n_enabled);

		if (!err)
			err = set_features(v);
		if (!err && i == 0)
			err = vfe_mem_send(v);
		if (!err)
			err = vfe_ring_start(v, 2U * i);
		if (!err)
			err = vfe_ring_start(v, 2U * i + 1);
		if (err)
			return err;
	}
	return set_driver_ok(v);
}

static int start_like_virtio_user(struct vfe *v)
{
	static const ring_step steps[] = {ring_num, ring_base, ring_addr, ring_kick, NULL};
	int err = set_features(v);

	if (!err)
		err = vfe_mem_send(v);
	for (uint32_t i = 0; !err && i < v->n_rings; i++)
		err = ring_steps(v, &v->rings[i], steps);
	if (!err)
		err = enable_all(v);
	return err ? err : set_driver_ok(v);
}

static int start_like_cloud_hypervisor(struct vfe *v)
{
	static const ring_step rounds[][2] = {{ring_num, NULL},
	                                      {ring_addr, NULL},
	                                      {ring_base, NULL},
	                                      {ring_call, NULL},
	                                      {ring_kick, NULL}};
	int err = set_features(v);

	if (!err)
		err = vfe_mem_send(v);
	for (size_t k = 0; k < sizeof(rounds) / sizeof(rounds[0]); k++) {
		for (uint32_t i = 0; !err && i < v->n_rings; i++)
			err = ring_steps(v, &v->rings[i], rounds[k]);
	}
	if (!err)
		err = enable_all(v);
	return err ? err : set_driver_ok(v);
}

int vfe_start(struct vfe *v)
{
	int err = 0;

	for (uint32_t i = 0; !err && i < v->n_rings; i++)
		err = vfe_ring_negotiated(&v->rings[i]);
	if (!err)
		err = set_mtu(v);
	if (err)
		return err;
	switch (v->config.order) {
	case VFE_ORDER_VIRTIO_USER:
		err = start_like_virtio_user(v);
		break;
	case VFE_ORDER_CLOUD_HYPERVISOR:
		err = start_like_cloud_hypervisor(v);
		break;
	default:
		err = start_like_qemu(v);
		break;
	}
	/* A barrier: when it is answered, the back end has seen it all. */
	if (!err)
		err = vfe_get_features(v, &v->offered);
	v->started = !err;
	return err;
}

/* ---- stop --------------------------------------------------------------------------------------
 */

int vfe_ring_stop(struct vfe *v, uint32_t index)
{
	struct vfe_ring *r = &v->rings[index];
	struct vfe_msg_vring_state s = {.index = index};
	uint32_t len;
	int taken, err = vfe_send_msg(v->fd, VFE_GET_VRING_BASE, VFE_FLAG_VERSION, &s, sizeof(s),
	                              NULL, 0);

	if (!err)
		err = vfe_recv_reply(v->fd, VFE_GET_VRING_BASE, &s, sizeof(s), &len);
	if (!err && (len != sizeof(s) || s.index != index))
		err = -EPROTO;
	if (err)
		return message_failed(v, "GET_VRING_BASE", err);
	taken = r->ops->check_base(r, s.num);
	if (taken < 0)
		return taken;
	v->lost_at_stop += (uint32_t)taken;
	r->base = s.num;
	r->resume = false;
	return 0;
}

int vfe_stop(struct vfe *v)
{
	int err = 0;

	for (uint16_t i = 0;
	     !err && v->config.order == VFE_ORDER_VIRTIO_USER && i < v->config.n_pairs; i++)
		err = vfe_pair_enable(v, i, false);
	for (uint32_t i = 0; !err && i < v->n_rings; i++)
		err = vfe_ring_stop(v, i);
	if (!err && vfe_has_protocol(v, VFE_PF_STATUS))
		err = tell_u64(v, "SET_STATUS", VFE_SET_STATUS, 0, false);
	v->started = false;
	return err;
}

void vfe_reset_rings(struct vfe *v)
{
	for (uint32_t i = 0; i < v->n_rings; i++)
		vfe_ring_empty(&v->rings[i]);
}

void vfe_disconnect(struct vfe *v)
{
	if (v->fd >= 0)
		close(v->fd);
	v->fd = -1;
	vfe_iommu_disconnect(v);
	v->started = false;
	v->mem_sent = false;
}

bool vfe_is_lost(const struct vfe *v)
{
	char byte;

	return v->fd < 0 || recv(v->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

int vfe_reconnect(struct vfe *v)
{
	vfe_disconnect(v);
	for (uint32_t i = 0; i < v->n_rings; i++)
		v->rings[i].resume = true;
	return get_connection(v);
}

/* ---- birth and death ----------------------------------------------------------------------------
 */

static void fill_defaults(struct vfe_config *c)
{
	if (!c->timeout_ms)
		c->timeout_ms = VFE_DEFAULT_TIMEOUT_MS;
	if (!c->n_pairs)
		c->n_pairs = 1;
	if (!c->n_enabled || c->n_enabled > c->n_pairs)
		c->n_enabled = c->n_pairs;
	if (!c->ring_size)
		c->ring_size = 256;
	if (!c->bufs.rx_size)
		c->bufs.rx_size = 2048;
	if (!c->bufs.tx_size)
		c->bufs.tx_size = 2048;
	if (c->bufs.rx_pieces < (c->bufs.rx_hdr_first ? 2 : 1))
		c->bufs.rx_pieces = c->bufs.rx_hdr_first ? 2 : 1;
	if (c->bufs.rx_pieces > VFE_MAX_PIECES)
		c->bufs.rx_pieces = VFE_MAX_PIECES;
}

static int init_rings(struct vfe *v)
{
	uint32_t n = 2U * v->config.n_pairs;

	v->rings = calloc(n, sizeof(*v->rings));
	if (!v->rings)
		return vfe_fail(v, -ENOMEM, "out of memory");
	for (uint32_t i = 0; i < n; i++) {
		int err;

		v->n_rings = i + 1;
		err = vfe_ring_init(v, i);
		if (err)
			return vfe_fail(v, err, "ring %u: %s", i, strerror(-err));
	}
	return 0;
}

int vfe_open(const struct vfe_config *config, struct vfe **ret)
{
	struct vfe *v = calloc(1, sizeof(*v));
	int err;

	*ret = v;
	if (!v)
		return -ENOMEM;
	v->fd = -1;
	v->listen_fd = -1;
	v->channel_fd = -1;
	v->config = *config;
	fill_defaults(&v->config);
	err = vfe_mem_init(v);
	if (!err)
		err = init_rings(v);
	return err ? err : get_connection(v);
}

void vfe_close(struct vfe *v)
{
	if (!v)
		return;
	vfe_disconnect(v);
	if (v->listen_fd >= 0) {
		close(v->listen_fd);
		unlink(v->config.socket_path);
	}
	for (uint32_t i = 0; i < v->n_rings; i++)
		vfe_ring_release(&v->rings[i]);
	free(v->rings);
	vfe_mem_free(v);
	free(v);
}
