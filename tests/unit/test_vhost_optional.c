/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_vhost_optional.c - what only some front ends take: CONFIG, GPA_ADDRESSES, RING_RESET,
 * NOTIFY_ON_EMPTY, more queues than there are
 */
#include "fake_fe.h"
#include "vhost_split.h"

static const struct vhost_vq_map *map_of(struct rig *rig, uint16_t ring)
{
	return vhost_vq_get_map(vhost_dev_vq(rig->dev, ring));
}

/* ---- CONFIG ---- */

/* Ask for @size bytes at @offset; the answer has to have @want bytes of them. */
static void get_config(struct rig *rig, uint32_t offset, uint32_t size, uint32_t want,
                       struct vhost_msg_config *ret)
{
	struct vhost_msg_config c = {.offset = offset, .size = size, .flags = 1};
	uint32_t len = want ? 12 + want : 0;

	fe_send(rig, VHOST_MSG_GET_CONFIG, 0, &c, 12 + min_u32(size, VHOST_MSG_MAX_CONFIG), NULL,
	        0);
	assert_int_equal(rig_receive(rig), 0);
	memset(ret, 0xff, sizeof(*ret));
	fe_expect_reply(rig, VHOST_MSG_GET_CONFIG, ret, len);
	if (!len)
		return;
	assert_int_equal(ret->offset, offset);
	assert_int_equal(ret->size, want);
	assert_int_equal(ret->flags, 1);
}

static void configuration(void **state)
{
	static const uint8_t mac[6] = {0x52, 0x54, 0, 0, 0, 0x0a};
	struct rig *rig = *state;
	struct virtio_net_config c;
	struct vhost_msg_config part;

	rig_fresh(rig);
	get_config(rig, 0, sizeof(c), sizeof(c), &part);
	memcpy(&c, part.bytes, sizeof(c));
	assert_memory_equal(c.mac, mac, 6);
	assert_int_equal(le16toh(c.status), VIRTIO_NET_S_LINK_UP);
	assert_int_equal(le16toh(c.max_virtqueue_pairs), 2);
	assert_int_equal(le16toh(c.mtu), 1500);
	assert_int_equal(c.rss_max_key_size, 0);

	get_config(rig, offsetof(struct virtio_net_config, mtu), 2, 2, &part);
	assert_int_equal(part.bytes[0] | part.bytes[1] << 8, 1500);
	assert_int_equal(part.bytes[2], 0xff);
	/* All that a message can ask for; behind the fields there is nothing. */
	get_config(rig, 0, 256, 256, &part);
	for (size_t i = sizeof(c); i < 256; i++)
		assert_int_equal(part.bytes[i], 0);
	get_config(rig, 255, 1, 1, &part);
	assert_int_equal(rig->n_warn, 0);
	/* "uses zero length of payload to indicate an error" */
	get_config(rig, 256, 1, 0, &part);
	get_config(rig, 1, 256, 0, &part);
	get_config(rig, UINT32_MAX, 1, 0, &part);
	get_config(rig, UINT32_MAX - 1, 8, 0, &part);
	assert_int_equal(rig->n_warn, 4);
	assert_warned(rig, "not inside 256");
	fe_honest(rig);
}

static void configuration_of_another_size(void **state)
{
	struct rig *rig = *state;
	static const uint32_t ids[] = {VHOST_MSG_GET_CONFIG, VHOST_MSG_SET_CONFIG};
	static const uint32_t sizes[] = {0, 7, 9, 256, 257, UINT32_MAX, UINT32_MAX - 11};

	for (size_t k = 0; k < ARRAY_SIZE(ids); k++) {
		for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
			struct vhost_msg_config c = {.size = sizes[i]};

			rig_fresh(rig);
			fe_send(rig, ids[k], 0, &c, 12 + 8, NULL, 0);
			rig_expect_end(rig, "in a payload of 20");
		}
	}
	fe_honest(rig);
}

static void configuration_cannot_be_written(void **state)
{
	struct rig *rig = *state;
	struct vhost_msg_config c;

	rig_fresh(rig);
	get_config(rig, 0, 12, 12, &c);
	/* What was read may be written back; QEMU's migration would. */
	assert_int_equal(fe_ask(rig, VHOST_MSG_SET_CONFIG, &c, 24, NULL, 0), 0);
	assert_int_equal(rig->n_warn, 0);
	c.bytes[5]++;
	for (c.flags = 0; c.flags < 2; c.flags++) {
		assert_int_equal(fe_ask(rig, VHOST_MSG_SET_CONFIG, &c, 24, NULL, 0), 1);
		assert_warned(rig, "cannot be written");
		fe_set(rig, VHOST_MSG_SET_CONFIG, &c, 24, NULL, 0);
	}
	c.offset = UINT32_MAX;
	assert_int_equal(fe_ask(rig, VHOST_MSG_SET_CONFIG, &c, 24, NULL, 0), 1);
	get_config(rig, 5, 1, 1, &c);
	assert_int_equal(c.bytes[0], 0x0a);
	fe_honest(rig);
}

/* ---- GPA_ADDRESSES ---- */

static void set_gpa_addr(struct rig *rig, uint32_t ring)
{
	struct vhost_vring_addr a;

	rig_ring_addr(ring, &a);
	a.desc_user_addr += RIG_GPA - RIG_UVA;
	a.avail_user_addr += RIG_GPA - RIG_UVA;
	a.used_user_addr += RIG_GPA - RIG_UVA;
	fe_set(rig, VHOST_MSG_SET_VRING_ADDR, &a, sizeof(a), NULL, 0);
}

/* Ring addresses are the guest's, whatever stands in the region's user address. */
static void guest_physical_ring_addresses(void **state)
{
	struct rig *rig = *state;
	static const uint64_t uvas[] = {RIG_GPA, 0, RIG_UVA};

	for (size_t i = 0; i < ARRAY_SIZE(uvas); i++) {
		struct vhost_msg_mem_region r = {0};
		uint8_t *host;

		rig_fresh(rig);
		fe_set_u64(rig, VHOST_MSG_SET_PROTOCOL_FEATURES,
		           vhost_dev_default_protocol_features());
		rig_region(&r.region);
		r.region.uva = uvas[i];
		assert_int_equal(
			fe_ask(rig, VHOST_MSG_ADD_MEM_REG, &r, sizeof(r), &rig->guest_fd, 1), 0);
		host = vhost_dev_mem(rig->dev)->regions[0].host;
		fe_ring_state(rig, VHOST_MSG_SET_VRING_NUM, 1, 256);
		set_gpa_addr(rig, 1);
		fe_ring_fd(rig, VHOST_MSG_SET_VRING_KICK, 1, -1);
		assert_non_null(map_of(rig, 1));
		assert_ptr_equal(map_of(rig, 1)->desc, host + RIG_RING_SPAN + RIG_DESC);
		assert_ptr_equal(map_of(rig, 1)->used, host + RIG_RING_SPAN + RIG_USED);
		assert_int_equal(rig->n_warn, 0);
		fe_get_base(rig, 1);
		assert_int_equal(fe_ask(rig, VHOST_MSG_REM_MEM_REG, &r, sizeof(r), NULL, 0), 0);
		fe_mem_table(rig); /* the same in a table */
		set_gpa_addr(rig, 1);
		fe_ring_fd(rig, VHOST_MSG_SET_VRING_KICK, 1, -1);
		assert_non_null(map_of(rig, 1));
		/* A front end's address is no address now. */
		fe_get_base(rig, 1);
		fe_ring_addr(rig, 1);
		fe_ring_fd(rig, VHOST_MSG_SET_VRING_KICK, 1, -1);
		assert_null(map_of(rig, 1));
		assert_warned(rig, "is not inside one region");
	}
}

/* ---- RING_RESET ---- */

/* As QEMU does it: no new call descriptor, another size, position zero; the others do not notice.
 */
static void one_ring_is_reset(void **state)
{
	struct rig *rig = *state;
	const struct vhost_vq_map *other;
	struct ring_fds a, b;

	fe_negotiate(rig, fe_features());
	fe_mem_table(rig);
	a = fe_start_ring(rig, 0, 256, 0);
	b = fe_start_ring(rig, 1, 256, 0);
	other = map_of(rig, 0);
	vhost_dev_vq(rig->dev, 1)->last_avail = 77;
	guest_used(rig, 1)->idx = 77;
	assert_int_equal(fe_get_base(rig, 1), 77);
	assert_null(map_of(rig, 1));
	assert_ptr_equal(map_of(rig, 0), other);

	guest_used(rig, 1)->idx = 0;
	(void)read_eventfd(b.call);
	fe_ring_state(rig, VHOST_MSG_SET_VRING_NUM, 1, 64);
	fe_ring_state(rig, VHOST_MSG_SET_VRING_BASE, 1, 0);
	fe_ring_addr(rig, 1);
	fe_ring_fd(rig, VHOST_MSG_SET_VRING_KICK, 1, b.kick);
	assert_non_null(map_of(rig, 1));
	assert_int_equal(map_of(rig, 1)->size, 64);
	assert_true(map_of(rig, 1)->enabled);
	assert_int_equal(vhost_dev_vq(rig->dev, 1)->last_avail, 0);
	assert_true(map_of(rig, 1)->call_fd >= 0);
	assert_int_equal(read_eventfd(b.call), 1);
	assert_ptr_equal(map_of(rig, 0), other);
	assert_int_equal(rig->n_warn, 0);
	close_ring_fds(a);
	close_ring_fds(b);
}

/* Without the feature a stopped ring lets go of its call descriptor. */
static void stopped_ring_lets_go(void **state)
{
	struct rig *rig = *state;
	struct ring_fds fds;

	fe_negotiate(rig, fe_features() & ~VHOST_BIT(VHOST_F_RING_RESET));
	fe_mem_table(rig);
	fds = fe_start_ring(rig, 1, 256, 0);
	assert_true(vhost_dev_vq(rig->dev, 1)->call_fd >= 0);
	fe_get_base(rig, 1);
	assert_int_equal(vhost_dev_vq(rig->dev, 1)->call_fd, -1);
	close_ring_fds(fds);
}

/* ---- NOTIFY_ON_EMPTY ---- */

/* Use the buffers up to @idx of ring 1 and publish them, as a worker does. */
static void use_up_to(struct rig *rig, uint16_t idx)
{
	struct vhost_vq *vq = vhost_dev_vq(rig->dev, 1);
	const struct vhost_vq_map *map = map_of(rig, 1);

	vq->last_avail = vq->used_idx = idx;
	vhost_split_publish(vq, map);
	ring_fence_full();
	vhost_split_notify(vq, map);
}

static void interrupt_when_empty(void **state)
{
	static const struct {
		uint64_t features;
		bool some, all; /* interrupted when some, when all buffers are used? */
	} rows[] = {
		{0, false, false},
		{VHOST_BIT(VIRTIO_F_NOTIFY_ON_EMPTY), false, true},
		{VHOST_BIT(VIRTIO_F_NOTIFY_ON_EMPTY) | VHOST_BIT(VIRTIO_RING_F_EVENT_IDX), false,
	         true},
		/* "a driver that has negotiated VERSION_1" does not mean it */
		{VHOST_BIT(VIRTIO_F_NOTIFY_ON_EMPTY) | VHOST_BIT(VIRTIO_F_VERSION_1), false, false},
	};
	struct rig *rig = *state;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct ring_fds fds;

		memset(rig->guest, 0, RIG_GUEST_SIZE);
		rig_fresh(rig);
		fe_set_u64(rig, VHOST_MSG_SET_FEATURES,
		           rows[i].features | VHOST_BIT(VHOST_F_PROTOCOL_FEATURES));
		fe_mem_table(rig);
		fds = fe_start_ring(rig, 1, 256, 0);
		guest_avail(rig, 1)->flags = VRING_AVAIL_F_NO_INTERRUPT;
		guest_avail(rig, 1)->ring[256] = 200; /* used_event */
		guest_avail(rig, 1)->idx = 10;
		(void)read_eventfd(fds.call);
		use_up_to(rig, 9);
		assert_int_equal(read_eventfd(fds.call), rows[i].some);
		use_up_to(rig, 10);
		assert_int_equal(read_eventfd(fds.call), rows[i].all);
		close_ring_fds(fds);
	}
}

/* ---- more queues than there are ---- */

static void too_many_queues_are_named(void **state)
{
	struct rig *rig = *state;
	uint64_t n;
	uint64_t ring = 4 | VHOST_RING_FD_NONE;

	rig_fresh(rig);
	n = fe_get_u64(rig, VHOST_MSG_GET_QUEUE_NUM);
	assert_int_equal(n, 4); /* two pairs, four rings */
	fe_send(rig, VHOST_MSG_SET_VRING_CALL, 0, &ring, sizeof(ring), NULL, 0);
	rig_expect_end(rig, "there is no ring 4, the device has 4: give the front end at most 2");
	fe_honest(rig);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)
	const struct CMUnitTest tests[] = {
		T(configuration),
		T(configuration_of_another_size),
		T(configuration_cannot_be_written),
		T(guest_physical_ring_addresses),
		T(one_ring_is_reset),
		T(stopped_ring_lets_go),
		T(interrupt_when_empty),
		T(too_many_queues_are_named),
	};
	return cmocka_run_group_tests_name("vhost_optional", tests, NULL, NULL);
}
