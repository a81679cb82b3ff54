// SPDX-License-Identifier: BSD-2-Clause
/* What a guest is told about kicks while its ring gets other maps */
#include "fake_fe.h"
#include "vhost_ring.h"

/* Is the guest told to kick? */
static bool asks_for_kicks(struct rig *rig, const struct vhost_vq_map *map)
{
	if (map->packed)
		return le16toh(map->device_event->flags) != VRING_PACKED_EVENT_FLAG_DISABLE;
	return !(guest_used(rig, 1)->flags & VRING_USED_F_NO_NOTIFY);
}

/*
 * A worker has asked for kicks and sleeps, the ring gets another map (as with SET_VRING_ENABLE,
 * which comes after the start), frames come: the guest is told to stop, though what it was told
 * belongs to the old map. And a worker that is about to sleep asks again.
 */
static void new_map(struct rig *rig, uint64_t features)
{
	struct vhost_vq *vq = vhost_dev_vq(rig->dev, 1);
	const struct vhost_vq_map *map;
	struct ring_fds fds;

	fe_negotiate(rig, features);
	fe_mem_table(rig);
	fds = fe_start_ring(rig, 1, 256, 0);
	map = vhost_vq_get_map(vq);
	for (int i = 0; i < 3; i++) {
		uint64_t serial = map->serial;

		vhost_vq_use_map(vq, map);
		assert_int_not_equal(vq->kicks, VHOST_KICKS_ON);
		assert_false(vhost_ring_want_kicks(vq, map));
		assert_int_equal(vq->kicks, VHOST_KICKS_ON);
		assert_true(asks_for_kicks(rig, map));
		fe_ring_state(rig, VHOST_MSG_SET_VRING_ENABLE, 1, i % 2);
		map = vhost_vq_get_map(vq);
		assert_int_not_equal(map->serial, serial);
		if (i == 1) /* it sleeps again before there is a frame */
			continue;
		vhost_vq_use_map(vq, map);
		if (map->packed)
			vhost_packed_no_kicks(vq, map);
		else
			vhost_split_no_kicks(vq, map);
		assert_false(asks_for_kicks(rig, map));
	}
	close_ring_fds(fds);
}

static void kicks_end_under_a_new_map(void **state)
{
	new_map(*state, fe_features() & ~(VHOST_BIT(VIRTIO_RING_F_EVENT_IDX) |
	                                  VHOST_BIT(VIRTIO_F_RING_PACKED)));
}

static void kicks_end_under_a_new_map_packed(void **state)
{
	new_map(*state, (fe_features() | VHOST_BIT(VIRTIO_F_RING_PACKED)) &
	                        ~VHOST_BIT(VIRTIO_RING_F_EVENT_IDX));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(kicks_end_under_a_new_map, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(kicks_end_under_a_new_map_packed, rig_setup,
	                                        rig_teardown),
	};

	return cmocka_run_group_tests_name("kicks", tests, NULL, NULL);
}
