/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_vhost_session.c - whole conversations, in the order in which front ends hold them
 *
 * The orders were recorded from QEMU 10.0 and DPDK 22.11's virtio-user, and read from Cloud
 * Hypervisor's source.
 */
#include <fcntl.h>
#include "fake_fe.h"
#include "vhost_split.h"

/* QEMU takes all that is offered, less CONFIG, and knows GPA_ADDRESSES from 11.1 on. */
#define QEMU_PROTO (fe_protocol_features() & ~VHOST_BIT(VHOST_PROTO_CONFIG))

/* What a port offers unless it is told otherwise */
#define OFFERED (vhost_dev_default_features() & ~VHOST_BIT(VIRTIO_F_ACCESS_PLATFORM))

static uint64_t all_features(void)
{
	return fe_features();
}

static bool running(struct rig *rig, uint16_t ring)
{
	return vhost_vq_get_map(vhost_dev_vq(rig->dev, ring)) != NULL;
}

/* The owner's view when a ring stops: map gone, kick descriptor still good, no reply sent yet */
static void check_stop_order(struct rig *rig)
{
	struct vhost_vq *vq = vhost_dev_vq(rig->dev, *(uint16_t *)rig->hook_data);

	assert_null(vhost_vq_get_map(vq));
	assert_true(vq->kick_fd >= 0);
	assert_int_equal(write(vq->kick_fd, &(uint64_t){1}, 8), 8);
	fe_expect_nothing(rig);
}

/* What QEMU sends for one queue pair when it connects */
static void qemu_connect(struct rig *rig, uint32_t pair, const int *calls, const int *errs)
{
	assert_int_equal(fe_get_u64(rig, VHOST_MSG_GET_FEATURES), OFFERED);
	assert_int_equal(fe_get_u64(rig, VHOST_MSG_GET_PROTOCOL_FEATURES),
	                 vhost_dev_default_protocol_features());
	fe_set_u64(rig, VHOST_MSG_SET_PROTOCOL_FEATURES, QEMU_PROTO);
	if (pair == 0) {
		assert_int_equal(fe_get_u64(rig, VHOST_MSG_GET_QUEUE_NUM), 4);
		assert_int_equal(fe_get_u64(rig, VHOST_MSG_GET_MAX_MEM_SLOTS), 509);
		fe_set(rig, VHOST_MSG_SET_OWNER, NULL, 0, NULL, 0);
	}
	assert_int_equal(fe_get_u64(rig, VHOST_MSG_GET_FEATURES), OFFERED);
	for (uint32_t i = 0; i < 2; i++) {
		fe_ring_fd(rig, VHOST_MSG_SET_VRING_CALL, 2 * pair + i, calls[i]);
		fe_ring_fd(rig, VHOST_MSG_SET_VRING_ERR, 2 * pair + i, errs[i]);
	}
}

static void ask_ok(struct rig *rig, uint32_t id, const void *payload, uint32_t size, const int *fd)
{
	assert_int_equal(fe_ask(rig, id, payload, size, fd, fd ? 1 : 0), 0);
}

static void qemu_enable(struct rig *rig, uint32_t ring, uint32_t on)
{
	struct vhost_vring_state s = {.index = ring, .num = on};

	ask_ok(rig, VHOST_MSG_SET_VRING_ENABLE, &s, sizeof(s), NULL);
}

static void qemu_status(struct rig *rig, uint64_t add)
{
	uint64_t s = fe_get_u64(rig, VHOST_MSG_GET_STATUS);

	fe_set_u64(rig, VHOST_MSG_SET_STATUS, s | add);
	assert_int_equal(fe_get_u64(rig, VHOST_MSG_GET_STATUS), s | add);
}

static void qemu_start_ring(struct rig *rig, uint32_t ring, uint16_t base, int kick, int call)
{
	uint64_t v = ring;

	fe_ring_state(rig, VHOST_MSG_SET_VRING_NUM, ring, 1024);
	fe_ring_state(rig, VHOST_MSG_SET_VRING_BASE, ring, base);
	fe_ring_addr(rig, ring);
	assert_false(running(rig, (uint16_t)ring));
	ask_ok(rig, VHOST_MSG_SET_VRING_KICK, &v, sizeof(v), &kick);
	assert_true(running(rig, (uint16_t)ring));
	ask_ok(rig, VHOST_MSG_SET_VRING_CALL, &v, sizeof(v), &call);
}

/* DRIVER_OK for one pair; memory comes with the first one */
static void qemu_start(struct rig *rig, uint32_t pair, bool with_memory, const uint16_t *bases,
                       const int *kicks, const int *calls)
{
	struct vhost_msg_mem_region r = {0};
	uint64_t mtu = 1500;

	if (pair == 0)
		ask_ok(rig, VHOST_MSG_NET_SET_MTU, &mtu, sizeof(mtu), NULL);
	qemu_enable(rig, 2 * pair, 1);
	qemu_enable(rig, 2 * pair + 1, 1);
	fe_set_u64(rig, VHOST_MSG_SET_FEATURES, all_features());
	qemu_status(rig, 8); /* FEATURES_OK */
	if (with_memory) {
		rig_region(&r.region);
		ask_ok(rig, VHOST_MSG_ADD_MEM_REG, &r, sizeof(r), &rig->guest_fd);
	}
	for (uint32_t i = 0; i < 2; i++)
		qemu_start_ring(rig, 2 * pair + i, bases[i], kicks[i], calls[i]);
}

struct qemu_fds {
	int calls[4], errs[4], kicks[4], calls2[4];
};

static void qemu_fds_open(struct qemu_fds *f)
{
	for (int i = 0; i < 4; i++) {
		f->calls[i] = make_eventfd();
		f->errs[i] = make_eventfd();
		f->kicks[i] = make_eventfd();
		f->calls2[i] = make_eventfd();
	}
}

static void qemu_fds_close(struct qemu_fds *f)
{
	for (int i = 0; i < 4; i++) {
		close(f->calls[i]);
		close(f->errs[i]);
		close(f->kicks[i]);
		close(f->calls2[i]);
	}
}

/* Connect, resets during boot, start, stop, start again, two pairs, with a slot per region */
static void qemu_two_pairs(void **state)
{
	struct rig *rig = *state;
	const uint16_t zero[2] = {0, 0}, again[2] = {7, 9};
	struct qemu_fds f;
	uint16_t hook_ring;

	qemu_fds_open(&f);
	qemu_connect(rig, 0, &f.calls[0], &f.errs[0]);
	qemu_connect(rig, 1, &f.calls[2], &f.errs[2]);
	for (int reset = 0; reset < 4; reset++)
		for (uint32_t ring = 0; ring < 4; ring++)
			qemu_enable(rig, ring, ring < 2);
	assert_int_equal(vhost_dev_get_state(rig->dev), VHOST_DEV_NEGOTIATING);
	assert_int_equal(rig->n_changed, 0);
	assert_int_equal(rig->n_warn, 0);

	qemu_start(rig, 0, true, zero, &f.kicks[0], &f.calls2[0]);
	qemu_start(rig, 1, false, zero, &f.kicks[2], &f.calls2[2]);
	qemu_enable(rig, 2, 0);
	qemu_enable(rig, 3, 0);
	qemu_status(rig, 4); /* DRIVER_OK */
	assert_int_equal(vhost_dev_get_state(rig->dev), VHOST_DEV_RUNNING);
	assert_int_equal(vhost_dev_mtu(rig->dev), 1500);
	assert_int_equal(vhost_dev_status(rig->dev), 12);
	assert_int_equal(vhost_dev_features(rig->dev), all_features());
	for (uint16_t i = 0; i < 4; i++) {
		const struct vhost_vq_map *map = vhost_vq_get_map(vhost_dev_vq(rig->dev, i));

		assert_non_null(map);
		assert_int_equal(map->size, 1024);
		assert_int_equal(map->hdr_len, 12);
		assert_int_equal(map->enabled, i < 2);
		assert_true(map->event_idx && map->mergeable && map->indirect);
		/* Signalled when the ring started, and when the descriptor was replaced */
		assert_int_equal(read_eventfd(f.calls[i]), 1);
		assert_int_equal(read_eventfd(f.calls2[i]), 1);
		assert_int_equal(read_eventfd(f.errs[i]), 0);
	}
	/* ethtool -L in the guest */
	qemu_enable(rig, 2, 1);
	assert_true(vhost_vq_get_map(vhost_dev_vq(rig->dev, 2))->enabled);

	/* Stop: no disable before, base is exact, and the descriptors are let go */
	vhost_dev_vq(rig->dev, 0)->last_avail = 7;
	vhost_dev_vq(rig->dev, 1)->last_avail = 9;
	guest_used(rig, 0)->idx = 7;
	guest_used(rig, 1)->idx = 9;
	rig->on_changed = check_stop_order;
	rig->hook_data = &hook_ring;
	for (hook_ring = 0; hook_ring < 4; hook_ring++) {
		uint32_t want = hook_ring == 0 ? 7 : hook_ring == 1 ? 9 : 0;

		assert_int_equal(fe_get_base(rig, hook_ring), want);
		assert_false(running(rig, hook_ring));
		assert_int_equal(vhost_dev_vq(rig->dev, hook_ring)->kick_fd, -1);
		/* Kept for a reset of that ring alone */
		assert_true(vhost_dev_vq(rig->dev, hook_ring)->call_fd >= 0);
	}
	rig->on_changed = NULL;
	fe_set_u64(rig, VHOST_MSG_SET_STATUS, 0);
	assert_int_equal(vhost_dev_get_state(rig->dev), VHOST_DEV_NEGOTIATING);
	/* A late enable does not wake a ring whose addresses are gone. */
	qemu_enable(rig, 0, 0);
	qemu_enable(rig, 0, 1);
	assert_false(running(rig, 0));

	/* The same again; memory is not sent a second time. */
	qemu_start(rig, 0, false, again, &f.kicks[0], &f.calls2[0]);
	assert_int_equal(vhost_dev_vq(rig->dev, 0)->last_avail, 7);
	assert_int_equal(vhost_dev_vq(rig->dev, 1)->used_idx, 9);
	assert_int_equal(rig->n_warn, 0);
	qemu_fds_close(&f);
}

/* An old QEMU: no acknowledgements, no slots; GET_FEATURES serves as a barrier */
static void qemu_plain(void **state)
{
	struct rig *rig = *state;
	struct vhost_dev_config config;
	struct ring_fds fds[2];

	rig_config(&config, 1);
	config.protocol_features = VHOST_BIT(VHOST_PROTO_MQ);
	rig_renew(rig, &config);
	fe_get_u64(rig, VHOST_MSG_GET_FEATURES);
	assert_int_equal(fe_get_u64(rig, VHOST_MSG_GET_PROTOCOL_FEATURES), 1);
	fe_set_u64(rig, VHOST_MSG_SET_PROTOCOL_FEATURES, 1);
	assert_int_equal(fe_get_u64(rig, VHOST_MSG_GET_QUEUE_NUM), 2);
	fe_set(rig, VHOST_MSG_SET_OWNER, NULL, 0, NULL, 0);
	for (int reset = 0; reset < 3; reset++)
		for (uint32_t ring = 0; ring < 2; ring++) {
			fe_ring_state(rig, VHOST_MSG_SET_VRING_ENABLE, ring, 1);
			fe_get_u64(rig, VHOST_MSG_GET_FEATURES);
		}
	fe_set_u64(rig, VHOST_MSG_SET_FEATURES, all_features());
	fe_mem_table(rig);
	fds[0] = fe_start_ring(rig, 0, 256, 0);
	fds[1] = fe_start_ring(rig, 1, 256, 0);
	assert_true(running(rig, 0) && running(rig, 1));
	/* Hotplug without slots: the whole table again, on running rings */
	fe_mem_table(rig);
	assert_true(running(rig, 0) && running(rig, 1));
	assert_int_equal(fe_get_base(rig, 0), 0);
	assert_int_equal(fe_get_base(rig, 1), 0);
	assert_int_equal(rig->n_warn, 0);
	close_ring_fds(fds[0]);
	close_ring_fds(fds[1]);
}

/* DPDK's virtio-user: addresses are guest-physical and front end's at once, guests never kick */
static void dpdk_virtio_user(void **state)
{
	struct rig *rig = *state;
	struct vhost_msg_mem_table t = {.n_regions = 1};
	uint64_t features = 0x950008000; /* as recorded, and all of it offered */
	int calls[2] = {make_eventfd(), make_eventfd()},
	    kicks[2] = {make_eventfd(), make_eventfd()};

	assert_int_equal(features & ~all_features(), 0);
	fe_set(rig, VHOST_MSG_SET_OWNER, NULL, 0, NULL, 0);
	fe_get_u64(rig, VHOST_MSG_GET_FEATURES);
	fe_get_u64(rig, VHOST_MSG_GET_PROTOCOL_FEATURES);
	fe_set_u64(rig, VHOST_MSG_SET_PROTOCOL_FEATURES,
	           VHOST_BIT(VHOST_PROTO_MQ) | VHOST_BIT(VHOST_PROTO_REPLY_ACK) |
	                   VHOST_BIT(VHOST_PROTO_STATUS));
	for (int round = 0; round < 2; round++) {
		for (uint32_t i = 0; i < 2; i++)
			fe_ring_fd(rig, VHOST_MSG_SET_VRING_CALL, i, calls[i]);
		fe_set_u64(rig, VHOST_MSG_SET_STATUS, 0);
		fe_set_u64(rig, VHOST_MSG_SET_FEATURES, features);
		fe_set_u64(rig, VHOST_MSG_SET_STATUS, 0xb);
		assert_int_equal(fe_get_u64(rig, VHOST_MSG_GET_STATUS), 0xb);
		rig_region(&t.regions[0]);
		ask_ok(rig, VHOST_MSG_SET_MEM_TABLE, &t, 8 + 32, &rig->guest_fd);
		for (uint32_t i = 0; i < 2; i++) {
			fe_ring_state(rig, VHOST_MSG_SET_VRING_NUM, i, 256);
			fe_ring_state(rig, VHOST_MSG_SET_VRING_BASE, i, 0);
			fe_ring_addr(rig, i);
			fe_ring_fd(rig, VHOST_MSG_SET_VRING_KICK, i, kicks[i]);
			assert_true(running(rig, (uint16_t)i));
			assert_false(
				vhost_vq_get_map(vhost_dev_vq(rig->dev, (uint16_t)i))->enabled);
			/* The call descriptor from before the status survived the reset. */
			assert_int_equal(read_eventfd(calls[i]), 1);
		}
		qemu_enable(rig, 0, 1);
		qemu_enable(rig, 1, 1);
		fe_set_u64(rig, VHOST_MSG_SET_STATUS, 0xf);
		assert_true(vhost_vq_get_map(vhost_dev_vq(rig->dev, 0))->enabled);
		assert_int_equal(vhost_vq_get_map(vhost_dev_vq(rig->dev, 0))->hdr_len, 12);
		assert_false(vhost_vq_get_map(vhost_dev_vq(rig->dev, 0))->event_idx);
		qemu_enable(rig, 0, 0);
		qemu_enable(rig, 1, 0);
		assert_int_equal(fe_get_base(rig, 0), 0);
		assert_int_equal(fe_get_base(rig, 1), 0);
	}
	assert_int_equal(rig->n_warn, 0);
	for (int i = 0; i < 2; i++) {
		close(calls[i]);
		close(kicks[i]);
	}
}

/* Cloud Hypervisor: all sizes first, address before base, enable last, a backend channel after */
static void cloud_hypervisor(void **state)
{
	struct rig *rig = *state;
	int calls[2] = {make_eventfd(), make_eventfd()},
	    kicks[2] = {make_eventfd(), make_eventfd()};
	uint64_t proto = VHOST_BIT(VHOST_PROTO_MQ) | VHOST_BIT(VHOST_PROTO_REPLY_ACK) |
	                 VHOST_BIT(VHOST_PROTO_CONFIGURE_MEM_SLOTS);
	struct vhost_msg_mem_table t = {.n_regions = 1};
	struct vhost_msg_mem_region r = {
		.region = {.gpa = 1ULL << 40, .size = 1 << 20, .uva = 4096}};
	int more = make_memfd(1 << 20);

	fe_set(rig, VHOST_MSG_SET_OWNER, NULL, 0, NULL, 0);
	fe_get_u64(rig, VHOST_MSG_GET_FEATURES);
	fe_get_u64(rig, VHOST_MSG_GET_PROTOCOL_FEATURES);
	fe_set_u64(rig, VHOST_MSG_SET_PROTOCOL_FEATURES, proto);
	/* It counts rings, and wants all four of the two pairs. */
	assert_true(fe_get_u64(rig, VHOST_MSG_GET_QUEUE_NUM) >= 4);
	fe_set_u64(rig, VHOST_MSG_SET_FEATURES,
	           all_features() & ~VHOST_BIT(VIRTIO_RING_F_EVENT_IDX));
	rig_region(&t.regions[0]);
	ask_ok(rig, VHOST_MSG_SET_MEM_TABLE, &t, 8 + 32, &rig->guest_fd);
	for (uint32_t i = 0; i < 2; i++)
		fe_ring_state(rig, VHOST_MSG_SET_VRING_NUM, i, 256);
	for (uint32_t i = 0; i < 2; i++) {
		guest_used(rig, i)->idx = 3;
		fe_ring_addr(rig, i);
		fe_ring_state(rig, VHOST_MSG_SET_VRING_BASE, i, 3);
		fe_ring_fd(rig, VHOST_MSG_SET_VRING_CALL, i, calls[i]);
		fe_ring_fd(rig, VHOST_MSG_SET_VRING_KICK, i, kicks[i]);
		assert_true(running(rig, (uint16_t)i));
	}
	qemu_enable(rig, 0, 1);
	qemu_enable(rig, 1, 1);
	/* Not negotiated; the descriptor is closed and the answer honest */
	assert_int_equal(fe_ask(rig, VHOST_MSG_SET_BACKEND_REQ_FD, NULL, 0, &calls[0], 1), 1);
	assert_warned(rig, "SET_BACKEND_REQ_FD: its protocol feature was not negotiated");
	/* Hotplug by slot although the start was by table */
	ask_ok(rig, VHOST_MSG_ADD_MEM_REG, &r, sizeof(r), &more);
	assert_int_equal(vhost_dev_mem(rig->dev)->n_regions, 2);
	assert_true(running(rig, 0) && running(rig, 1));
	assert_int_equal(vhost_dev_vq(rig->dev, 0)->last_avail, 3);
	ask_ok(rig, VHOST_MSG_REM_MEM_REG, &r, sizeof(r),
	       &more); /* with a descriptor, as some do */
	ask_ok(rig, VHOST_MSG_ADD_MEM_REG, &r, sizeof(r), &more);
	ask_ok(rig, VHOST_MSG_REM_MEM_REG, &r, sizeof(r), NULL);
	assert_int_equal(vhost_dev_mem(rig->dev)->n_regions, 1);
	close(more);
	for (int i = 0; i < 2; i++) {
		close(calls[i]);
		close(kicks[i]);
	}
}

/* Ring state without the protocol features bit: enabled as soon as it runs */
static void without_protocol_features(void **state)
{
	struct rig *rig = *state;
	struct ring_fds fds = {.kick = make_eventfd(), .call = make_eventfd()};

	fe_set(rig, VHOST_MSG_SET_OWNER, NULL, 0, NULL, 0);
	fe_set_u64(rig, VHOST_MSG_SET_FEATURES, 0);
	fe_mem_table(rig);
	fe_ring_state(rig, VHOST_MSG_SET_VRING_NUM, 1, 128);
	fe_ring_addr(rig, 1);
	fe_ring_fd(rig, VHOST_MSG_SET_VRING_KICK, 1, -1); /* the guest is polled */
	assert_true(running(rig, 1));
	assert_true(vhost_vq_get_map(vhost_dev_vq(rig->dev, 1))->enabled);
	assert_int_equal(vhost_vq_get_map(vhost_dev_vq(rig->dev, 1))->hdr_len, 10);
	assert_int_equal(vhost_vq_get_map(vhost_dev_vq(rig->dev, 1))->call_fd, -1);
	/* NEED_REPLY means nothing before REPLY_ACK was negotiated. */
	fe_send(rig, VHOST_MSG_SET_OWNER, VHOST_HDR_NEED_REPLY, NULL, 0, NULL, 0);
	assert_int_equal(rig_receive(rig), 0);
	fe_expect_nothing(rig);
	/* Taking the bit makes enabling explicit. */
	fe_set_u64(rig, VHOST_MSG_SET_FEATURES, VHOST_BIT(VHOST_F_PROTOCOL_FEATURES));
	assert_false(vhost_vq_get_map(vhost_dev_vq(rig->dev, 1))->enabled);
	fe_ring_state(rig, VHOST_MSG_SET_VRING_ENABLE, 1, 1);
	assert_true(vhost_vq_get_map(vhost_dev_vq(rig->dev, 1))->enabled);
	/* "either ignore this message, or use it to disable all rings" */
	fe_set(rig, VHOST_MSG_RESET_OWNER, NULL, 0, NULL, 0);
	assert_true(running(rig, 1));
	assert_false(vhost_vq_get_map(vhost_dev_vq(rig->dev, 1))->enabled);
	close_ring_fds(fds);
}

/* The connection breaks while rings run; the front end comes back and goes on from used->idx. */
static void reconnect(void **state)
{
	struct rig *rig = *state;
	uint32_t fds_idle = count_fds(), maps_idle = count_memfd_mappings();

	for (int round = 0; round < 3; round++) {
		struct ring_fds a, b;
		uint16_t at = (uint16_t)(65534 + round);

		fe_negotiate(rig, all_features());
		fe_set_u64(rig, VHOST_MSG_NET_SET_MTU, 1400);
		fe_set_u64(rig, VHOST_MSG_SET_STATUS, 15);
		fe_mem_table(rig);
		guest_used(rig, 0)->idx = at;
		a = fe_start_ring(rig, 0, 256, at);
		b = fe_start_ring(rig, 1, 256, (uint16_t)(at + 5));
		guest_used(rig, 1)->idx = 0;
		assert_int_equal(vhost_dev_vq(rig->dev, 0)->last_avail, at);
		assert_int_equal(vhost_dev_vq(rig->dev, 0)->used_idx, at);
		assert_int_equal(vhost_dev_get_state(rig->dev), VHOST_DEV_RUNNING);
		close_ring_fds(a);
		close_ring_fds(b);
		close(rig->fe);
		rig->fe = -1;
		assert_int_equal(rig_receive(rig), -ECONNRESET);
		assert_true(running(rig, 0)); /* until the owner detaches */
		vhost_dev_detach(rig->dev);
		assert_false(running(rig, 0));
		assert_int_equal(vhost_dev_get_state(rig->dev), VHOST_DEV_DISCONNECTED);
		assert_int_equal(vhost_dev_fd(rig->dev), -1);
		assert_null(vhost_dev_mem(rig->dev));
		assert_int_equal(vhost_dev_features(rig->dev), 0);
		assert_int_equal(vhost_dev_protocol_features(rig->dev), 0);
		assert_int_equal(vhost_dev_vq(rig->dev, 0)->size, 0);
		assert_int_equal(vhost_dev_mtu(rig->dev), 0);
		assert_int_equal(vhost_dev_status(rig->dev), 0);
		assert_int_equal(count_memfd_mappings(), maps_idle);
		assert_int_equal(count_fds(), fds_idle - 2); /* both ends of the socket */
		vhost_dev_detach(rig->dev);                  /* does nothing */
		assert_int_equal(rig_receive(rig), -ENOTCONN);
		rig_attach(rig);
	}
	assert_int_equal(rig->n_warn, 0);
}

/*
 * base and used->idx differ: Cloud Hypervisor says the available index after the loss of a back
 * end, virtio-user says 0. Nothing that was posted and not used is left out.
 */
static void positions_at_start(void **state)
{
	struct rig *rig = *state;
	static const uint16_t bases[] = {130, 100, 0, 99, 356, 65535};
	struct vhost_vq *vq = vhost_dev_vq(rig->dev, 1);

	fe_negotiate(rig, all_features() & ~VHOST_BIT(VIRTIO_RING_F_EVENT_IDX));
	fe_mem_table(rig);
	guest_used(rig, 1)->idx = 100;
	guest_avail(rig, 1)->idx = 130;
	for (size_t i = 0; i < ARRAY_SIZE(bases); i++) {
		struct ring_fds fds;

		guest_used(rig, 1)->flags = 0xffff;
		vq->hint = (struct vhost_mem_hint){.gpa = 1, .size = 1};
		fds = fe_start_ring(rig, 1, 256, bases[i]);
		assert_int_equal(vq->last_avail, 100);
		assert_int_equal(vq->used_idx, 100);
		assert_int_equal(vq->used_pub, 100);
		assert_int_equal(vhost_split_avail(vq, vhost_vq_get_map(vq), 1), 30);
		assert_int_equal(vq->kicks, VHOST_KICKS_OFF);
		assert_int_equal(vq->hint.size, 0);
		assert_int_equal(guest_used(rig, 1)->flags, VRING_USED_F_NO_NOTIFY);
		assert_int_equal(guest_used(rig, 1)->idx, 100);
		assert_int_equal(fe_get_base(rig, 1), 100);
		close_ring_fds(fds);
	}
}

/* With EVENT_IDX: virtio 1.3, 2.7.10.2, "the device MUST set flags to 0" */
static void event_idx_clears_flags(void **state)
{
	struct rig *rig = *state;

	fe_negotiate(rig, all_features());
	fe_mem_table(rig);
	guest_used(rig, 1)->flags = 0xffff;
	close_ring_fds(fe_start_ring(rig, 1, 256, 0));
	assert_int_equal(guest_used(rig, 1)->flags, 0);
}

/* 128 pairs, the last ring, and what follows it */
static void many_pairs(void **state)
{
	struct rig *rig = *state;
	struct vhost_dev_config config;
	struct vhost_vring_state s = {.index = 255};
	int fd = make_eventfd();

	rig_config(&config, VHOST_MAX_QUEUE_PAIRS);
	rig_renew(rig, &config);
	assert_int_equal(vhost_dev_n_vqs(rig->dev), 256);
	assert_null(vhost_dev_vq(rig->dev, 256));
	fe_negotiate(rig, all_features());
	assert_int_equal(fe_get_u64(rig, VHOST_MSG_GET_QUEUE_NUM), 256);
	fe_mem_table(rig);
	for (uint32_t i = 0; i < 256; i++) {
		struct vhost_vring_addr a;

		rig_ring_addr(i % 8, &a);
		a.index = i;
		fe_ring_state(rig, VHOST_MSG_SET_VRING_NUM, i, 256);
		fe_set(rig, VHOST_MSG_SET_VRING_ADDR, &a, sizeof(a), NULL, 0);
		fe_ring_fd(rig, VHOST_MSG_SET_VRING_CALL, i, fd);
		fe_ring_fd(rig, VHOST_MSG_SET_VRING_ERR, i, fd);
		fe_ring_fd(rig, VHOST_MSG_SET_VRING_KICK, i, fd);
	}
	for (uint16_t i = 0; i < 256; i++)
		assert_true(running(rig, i));
	fe_send(rig, VHOST_MSG_GET_VRING_BASE, 0, &s, sizeof(s), NULL, 0);
	assert_int_equal(rig_receive(rig), 0);
	fe_expect_reply(rig, VHOST_MSG_GET_VRING_BASE, &s, sizeof(s));
	/* All others at once, each with two descriptors to give back */
	vhost_dev_detach(rig->dev);
	assert_int_equal(vhost_dev_get_state(rig->dev), VHOST_DEV_DISCONNECTED);
	close(fd);
}

static void config_is_checked(void **state)
{
	struct rig *rig = *state;
	struct vhost_dev_config c;
	static const struct vhost_dev_ops no_ops;
	struct vhost_dev *dev = NULL;
	int sv = make_eventfd();

	rig_config(&c, 0);
	assert_int_equal(vhost_dev_new(&c, &no_ops, NULL, &dev), -EINVAL);
	rig_config(&c, 129);
	assert_int_equal(vhost_dev_new(&c, &no_ops, NULL, &dev), -EINVAL);
	rig_config(&c, 1);
	c.features |= VHOST_BIT(43);
	assert_int_equal(vhost_dev_new(&c, &no_ops, NULL, &dev), -EINVAL);
	rig_config(&c, 1);
	c.protocol_features |= VHOST_BIT(VHOST_PROTO_SHMEM);
	assert_int_equal(vhost_dev_new(&c, &no_ops, NULL, &dev), -EINVAL);
	assert_null(dev);
	vhost_dev_free(NULL);
	/* A second connection is turned away, and its descriptor closed. */
	assert_int_equal(vhost_dev_attach(rig->dev, sv), -EBUSY);
	assert_int_equal(fcntl(sv, F_GETFD), -1);
}

/* An operator masks the bit that announces protocol features: none are offered then. */
static void protocol_features_masked(void **state)
{
	struct rig *rig = *state;
	struct vhost_dev_config c;

	rig_config(&c, 1);
	c.features &= ~VHOST_BIT(VHOST_F_PROTOCOL_FEATURES);
	rig_renew(rig, &c);
	assert_int_equal(fe_get_u64(rig, VHOST_MSG_GET_PROTOCOL_FEATURES), 0);
	fe_set_u64(rig, VHOST_MSG_SET_FEATURES, c.features & fe_features());
	fe_mem_table(rig);
	close_ring_fds(fe_start_ring(rig, 1, 256, 0));
	assert_true(vhost_vq_get_map(vhost_dev_vq(rig->dev, 1))->enabled);
}

static void names(void **state)
{
	(void)state;
	assert_string_equal(vhost_feature_name(15), "MRG_RXBUF");
	assert_string_equal(vhost_feature_name(32), "VERSION_1");
	assert_string_equal(vhost_feature_name(30), "PROTOCOL_FEATURES");
	assert_null(vhost_feature_name(64));
	assert_null(vhost_feature_name(UINT32_MAX));
	assert_string_equal(vhost_protocol_feature_name(15), "CONFIGURE_MEM_SLOTS");
	assert_null(vhost_protocol_feature_name(23));
	for (unsigned int i = 0; i < 64; i++) {
		if (vhost_dev_default_features() >> i & 1)
			assert_non_null(vhost_feature_name(i));
		if (vhost_dev_default_protocol_features() >> i & 1)
			assert_non_null(vhost_protocol_feature_name(i));
	}
	for (int i = 0; i < VHOST_VQ_N_FAULTS; i++)
		assert_non_null(vhost_vq_fault_name((enum vhost_vq_fault)i));
	assert_string_equal(vhost_vq_fault_name(VHOST_VQ_OK), "none");
	assert_string_equal(vhost_dev_state_name(VHOST_DEV_RUNNING), "running");
	assert_non_null(vhost_dev_state_name(VHOST_DEV_N_STATES));
}

/* What an operator reads, in order */
static void information(void **state)
{
	struct rig *rig = *state;
	struct ring_fds fds;

	fe_negotiate(rig, VHOST_BIT(32) | VHOST_BIT(30));
	assert_string_equal(rig->info, "features PROTOCOL_FEATURES VERSION_1");
	fe_set_u64(rig, VHOST_MSG_SET_FEATURES, VHOST_BIT(32) | VHOST_BIT(30));
	assert_int_equal(rig->n_info, 2); /* protocol features were the first; no repetition */
	fe_mem_table(rig);
	fds = fe_start_ring(rig, 0, 256, 0);
	assert_string_equal(rig->info, "running, 4 MiB of guest memory in 1 region");
	fe_get_base(rig, 0);
	assert_string_equal(rig->info, "all rings stopped");
	assert_int_equal(rig->n_info, 4);
	close_ring_fds(fds);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)
	const struct CMUnitTest tests[] = {
		T(qemu_two_pairs),
		T(qemu_plain),
		T(dpdk_virtio_user),
		T(cloud_hypervisor),
		T(without_protocol_features),
		T(reconnect),
		T(positions_at_start),
		T(event_idx_clears_flags),
		T(many_pairs),
		T(config_is_checked),
		T(protocol_features_masked),
		T(names),
		T(information),
	};
	return cmocka_run_group_tests_name("vhost_session", tests, NULL, NULL);
}
