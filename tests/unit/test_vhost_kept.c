/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_vhost_kept.c - packed rings whose device dies at any point
 *
 * A model driver and a device that is killed again and again: in the middle of a burst, between the
 * note and the publication, after it. Whatever happens, each buffer comes back to the driver once,
 * in order, and the driver and the next device agree where the ring goes on. Rings are small, so
 * that laps, chains across the end and full rings come all the time.
 */
#include "fake_fe.h"
#include "vhost_kept.h"
#include "vhost_packed.h"

#define MAX_SIZE 24

struct model {
	struct vhost_vq vq;
	struct vhost_vq_map map;
	struct vring_packed_desc *slots;
	struct vhost_kept kept;
	/* Driver */
	uint32_t avail, used; /* slots since the start */
	uint32_t n_free;
	struct {
		bool busy;
		uint16_t slots;
	} bufs[MAX_SIZE]; /* by id */
	uint16_t order[MAX_SIZE];
	uint32_t n_order; /* ids in flight, oldest first */
	uint32_t seed;
	bool lifo; /* the driver gives the id that came back last to the next buffer */
	uint16_t free_ids[MAX_SIZE];
};

/* All rings lie here, at the same place. */
static struct vhost_mem *mem;

static uint32_t dice(struct model *m, uint32_t n)
{
	m->seed = m->seed * 1664525 + 1013904223;
	return (m->seed >> 8) % n;
}

static uint16_t avail_flags(const struct model *m, uint32_t at)
{
	return (at / m->map.size) % 2 ? VHOST_PACKED_USED : VHOST_PACKED_AVAIL;
}

static uint16_t used_flags(const struct model *m, uint32_t at)
{
	return (at / m->map.size) % 2 ? 0 : VHOST_PACKED_BITS;
}

static void ring_reset(struct model *m)
{
	memset(m->slots, 0, MAX_SIZE * sizeof(*m->slots));
	m->avail = m->used = m->n_order = 0;
	m->n_free = m->map.size;
	for (uint16_t i = 0; i < m->map.size; i++) {
		m->bufs[i].busy = false;
		m->free_ids[i] = i;
	}
}

static void model_new(struct model *m, uint32_t seed, uint32_t size)
{
	*m = (struct model){.seed = seed, .lifo = seed % 2, .slots = (void *)mem->regions[0].host};
	m->map = (struct vhost_vq_map){.packed = true,
	                               .size = size,
	                               .mem = mem,
	                               .packed_desc = m->slots,
	                               .driver_event = (void *)(m->slots + MAX_SIZE),
	                               .device_event = (void *)(m->slots + MAX_SIZE + 1),
	                               .call_fd = -1,
	                               .kept = &m->kept.last};
	ring_reset(m);
}

/* ---- the driver ---- */

static uint16_t take_id(struct model *m)
{
	/* free_ids: a stack, or a queue */
	uint32_t n = m->map.size - m->n_order;
	uint16_t id = m->lifo ? m->free_ids[n - 1] : m->free_ids[0];

	if (!m->lifo)
		memmove(m->free_ids, m->free_ids + 1, (n - 1) * sizeof(m->free_ids[0]));
	return id;
}

static void offer(struct model *m, uint32_t n)
{
	uint32_t head = m->avail;
	uint16_t id = take_id(m);

	assert_false(m->bufs[id].busy);
	m->bufs[id].busy = true;
	m->bufs[id].slots = (uint16_t)n;
	m->order[m->n_order++] = id;
	m->n_free -= n;
	for (uint32_t i = 0; i < n; i++) {
		bool last = i + 1 == n;

		/* An id elsewhere than in the last slot means nothing. */
		m->slots[(head + i) % m->map.size] = (struct vring_packed_desc){
			.addr = 0x1000 + head + i,
			.len = 100,
			.id = last ? id : (uint16_t)dice(m, m->map.size),
			.flags = (uint16_t)(avail_flags(m, head + i) |
		                            (last ? 0 : VRING_DESC_F_NEXT))};
	}
	m->avail += n;
}

/* Chains that end in a first lap again are left out: see vhost_kept.h, "Limits". */
static bool ends_in_first_lap(const struct model *m, uint32_t n)
{
	return m->avail % m->map.size + n > m->map.size && (m->avail / m->map.size) % 2;
}

static void offer_some(struct model *m)
{
	for (uint32_t k = dice(m, m->map.size + 1); k && m->n_free; k--) {
		uint32_t n = 1 + (dice(m, 3) ? 0 : dice(m, 4));

		if (n <= m->n_free && !ends_in_first_lap(m, n))
			offer(m, n);
	}
}

/* Take what came back; it has to be the oldest each time. */
static void collect(struct model *m)
{
	while (m->n_order) {
		const struct vring_packed_desc *d = &m->slots[m->used % m->map.size];
		uint16_t id = d->id;

		if ((d->flags & VHOST_PACKED_BITS) != used_flags(m, m->used))
			return;
		assert_true(id < m->map.size && m->bufs[id].busy);
		assert_int_equal(id, m->order[0]);
		m->bufs[id].busy = false;
		m->used += m->bufs[id].slots;
		m->n_free += m->bufs[id].slots;
		m->n_order--;
		memmove(m->order, m->order + 1, m->n_order * sizeof(m->order[0]));
		m->free_ids[m->map.size - m->n_order - 1] = id;
	}
}

/* ---- the device ---- */

static void device_at(struct model *m, uint16_t at, uint32_t base)
{
	struct vhost_vq *vq = &m->vq;

	*vq = (struct vhost_vq){.last_avail = at & 0x7fff, .used_idx = at & 0x7fff};
	vq->avail_bits = at & VHOST_PACKED_WRAP ? VHOST_PACKED_AVAIL : VHOST_PACKED_USED;
	vq->used_bits = at & VHOST_PACKED_WRAP ? VHOST_PACKED_BITS : 0;
	vhost_kept_note(&m->kept, &m->map, base, at);
}

/* One buffer. Return: false if there is none */
static bool device_take(struct model *m)
{
	struct vhost_vq *vq = &m->vq;
	uint16_t n = 1, slot = vq->last_avail;
	uint64_t word = vhost_packed_word(&m->map, slot);

	if (!vhost_packed_is_avail(vq, word))
		return false;
	while (vhost_packed_flags(word) & VRING_DESC_F_NEXT) {
		slot = (uint16_t)((slot + 1) % m->map.size);
		word = vhost_packed_word(&m->map, slot);
		n++;
		assert_true(n <= m->map.size);
	}
	vhost_packed_put_used(vq, &m->map, (uint16_t)(word >> 32), dice(m, 2) ? 60 : 0, n);
	vhost_packed_step(&m->map, &vq->last_avail, &vq->avail_bits, n);
	return true;
}

static void device_publish(struct model *m)
{
	if (!m->vq.used_slots)
		return;
	vhost_packed_publish(&m->vq, &m->map);
	m->vq.used_slots = 0;
}

static void burst(struct model *m)
{
	for (uint32_t k = dice(m, m->map.size + 1); k && device_take(m); k--)
		;
}

/* Dies with a burst in hand: nothing of it noted, noted and not published, or all done */
static void die(struct model *m)
{
	burst(m);
	if (!m->vq.used_slots)
		return;
	if (dice(m, 3) == 0) {
		struct vring_packed_desc *first = &m->slots[m->vq.first_slot];
		struct vring_packed_desc before = *first;

		device_publish(m);
		*first = before;
	} else if (dice(m, 2)) {
		device_publish(m);
	}
}

static uint32_t next_base(struct model *m, uint32_t base)
{
	uint16_t at;

	if (!vhost_kept_recover(&m->kept, &m->map, base, &at)) {
		assert_int_equal(base, VHOST_KEPT_FRESH);
		at = (uint16_t)base;
	}
	device_at(m, at, base);
	return base;
}

/* Everything comes back, and the ring goes on. */
static void settle(struct model *m)
{
	for (int i = 0; i < 3; i++) {
		while (device_take(m))
			;
		device_publish(m);
		collect(m);
		assert_int_equal(m->n_order, 0);
		assert_int_equal(m->vq.used_idx, m->used % m->map.size);
		offer_some(m);
	}
}

/* ---- tests ---- */

static void killed_again_and_again(void **state)
{
	(void)state;
	for (uint32_t seed = 0; seed < 3000; seed++) {
		struct model m;
		uint32_t base = VHOST_KEPT_FRESH;

		model_new(&m, seed, 1 + seed % MAX_SIZE);
		device_at(&m, (uint16_t)base, base);
		for (int life = 0; life < 20; life++) {
			for (uint32_t k = dice(&m, 5); k; k--) {
				offer_some(&m);
				burst(&m);
				device_publish(&m);
				collect(&m);
			}
			offer_some(&m);
			die(&m);
			if (dice(&m, 2))
				collect(&m);
			offer_some(&m);
			next_base(&m, base);
		}
		settle(&m);
	}
}

/* QEMU drops what it finds available where it believes to be, and says so. */
static uint32_t qemu_drains(struct model *m, uint32_t base)
{
	uint32_t at = base & 0x7fff;
	bool wrap = base & VHOST_PACKED_WRAP, any = true;

	for (uint32_t dropped = 0; any && dropped < m->map.size; dropped++) {
		struct vring_packed_desc *head = &m->slots[at];
		uint32_t n = 1;
		uint32_t last = at;

		any = (head->flags & VHOST_PACKED_BITS) ==
		      (wrap ? VHOST_PACKED_AVAIL : VHOST_PACKED_USED);
		if (!any)
			break;
		for (; m->slots[last].flags & VRING_DESC_F_NEXT; n++)
			last = (last + 1) % m->map.size;
		head->id = m->slots[last].id;
		head->len = 0;
		head->flags = wrap ? VHOST_PACKED_BITS : 0;
		at += n;
		if (at >= m->map.size) {
			at -= m->map.size;
			wrap = !wrap;
		}
	}
	at |= wrap ? VHOST_PACKED_WRAP : 0;
	return at << 16 | at;
}

/*
 * Chains take part in the model above; here not, as QEMU may take the rest of one for a buffer when
 * it is a lap away, and no back end can mend that.
 */
static void front_end_drops_meanwhile(void **state)
{
	uint32_t drained = 0;

	(void)state;
	for (uint32_t seed = 0; seed < 3000; seed++) {
		struct model m;
		uint32_t base = VHOST_KEPT_FRESH;

		model_new(&m, seed, 2 + seed % (MAX_SIZE - 1));
		device_at(&m, (uint16_t)base, base);
		for (int life = 0; life < 20; life++) {
			uint32_t now;

			for (uint32_t k = dice(&m, 3 * m.map.size); k; k--) {
				if (m.n_free)
					offer(&m, 1);
				if (dice(&m, 3) == 0)
					burst(&m);
				device_publish(&m);
				collect(&m);
			}
			die(&m);
			collect(&m);
			while (m.n_free && dice(&m, 4))
				offer(&m, 1);
			now = qemu_drains(&m, base);
			drained += now != base;
			base = next_base(&m, now);
			collect(&m);
		}
		while (device_take(&m))
			;
		device_publish(&m);
		collect(&m);
		assert_int_equal(m.n_order, 0);
	}
	assert_true(drained > 1000);
}

/* The guest was reset while nobody was there: the same place, another ring. */
static void ring_is_new(void **state)
{
	(void)state;
	for (uint32_t seed = 0; seed < 3000; seed++) {
		struct model m;

		model_new(&m, seed, 1 + seed % MAX_SIZE);
		device_at(&m, (uint16_t)VHOST_KEPT_FRESH, VHOST_KEPT_FRESH);
		for (uint32_t k = dice(&m, 40); k; k--) {
			offer_some(&m);
			burst(&m);
			device_publish(&m);
			collect(&m);
		}
		die(&m);
		ring_reset(&m);
		if (dice(&m, 3))
			offer_some(&m);
		if (dice(&m, 3) == 0)
			while (m.n_free)
				offer(&m, 1);
		next_base(&m, VHOST_KEPT_FRESH);
		assert_int_equal(m.vq.last_avail, 0);
		assert_int_equal(m.vq.avail_bits, VHOST_PACKED_AVAIL);
		settle(&m);
	}
}

/* Another file, place or size, or a stop that the front end knows of: no recovery */
static void another_ring(void **state)
{
	struct model m;
	struct vhost_kept kept;
	uint16_t at = 0;

	(void)state;
	model_new(&m, 1, 8);
	device_at(&m, 0x8003, VHOST_KEPT_FRESH);
	m.slots[0] = (struct vring_packed_desc){.addr = 1, .flags = VHOST_PACKED_BITS};
	kept = m.kept;
	assert_true(vhost_kept_recover(&kept, &m.map, VHOST_KEPT_FRESH, &at));
	assert_int_equal(at, 0x8003);
#define REFUSED(change)                                                                            \
	do {                                                                                       \
		kept = m.kept;                                                                     \
		change;                                                                            \
		assert_false(vhost_kept_recover(&kept, &m.map, VHOST_KEPT_FRESH, &at));            \
	} while (0)
	REFUSED(kept.dev++);
	REFUSED(kept.ino++);
	REFUSED(kept.at[0]++);
	REFUSED(kept.at[1]++);
	REFUSED(kept.at[2]++);
	REFUSED(kept.size++);
	REFUSED(vhost_kept_forget(&kept));
	REFUSED(kept.valid = 77);
	REFUSED(atomic_store(&kept.last, 0x80088000));
	REFUSED(atomic_store(&kept.last, 0x7fff));
#undef REFUSED
}

/* Slots and records without sense: bounded, and nothing outside of the ring is touched. */
static void garbage(void **state)
{
	(void)state;
	for (uint32_t seed = 0; seed < 20000; seed++) {
		struct model m;
		uint32_t base;
		uint16_t at;

		model_new(&m, seed, 1 + seed % MAX_SIZE);
		vhost_kept_note(&m.kept, &m.map, dice(&m, 1 << 20), 0);
		atomic_store(&m.kept.last, dice(&m, 1 << 24) << 8 | dice(&m, 256));
		if (seed % 2)
			atomic_store(&m.kept.last, (dice(&m, m.map.size) | dice(&m, 2) << 15)
			                                           << 16 |
			                                   dice(&m, m.map.size));
		for (uint32_t i = 0; i < m.map.size; i++)
			m.slots[i] = (struct vring_packed_desc){
				.id = (uint16_t)dice(&m, 3),
				.flags = (uint16_t)(dice(&m, 2) * VHOST_PACKED_AVAIL |
			                            dice(&m, 2) * VHOST_PACKED_USED | dice(&m, 8))};
		base = dice(&m, m.map.size) | dice(&m, 2) << 15;
		if (vhost_kept_recover(&m.kept, &m.map, base, &at))
			assert_true((at & 0x7fff) < m.map.size);
		for (uint32_t i = m.map.size; i < MAX_SIZE; i++)
			assert_int_equal(m.slots[i].flags, 0);
	}
}

/* ---- a device ---- */

static struct ring_fds start_packed(struct rig *rig)
{
	fe_negotiate(rig, fe_features() | VHOST_BIT(VIRTIO_F_RING_PACKED));
	fe_mem_table(rig);
	return fe_start_ring(rig, 1, 256, VHOST_KEPT_FRESH);
}

/*
 * The front end says each time what it said first. It is right after a stop that was answered, and
 * wrong after the loss of a connection or of the whole device.
 */
static void device_goes_on(void **state)
{
	struct rig *rig = *state;
	struct vhost_kept *kept = aligned_alloc(CACHE_LINE, 4 * sizeof(*kept));
	struct vring_packed_desc *slots = (void *)(rig->guest + RIG_RING_SPAN + RIG_DESC);
	struct vhost_dev_config config;

	assert_non_null(kept);
	memset(kept, 0, 4 * sizeof(*kept));
	rig_config(&config, 2);
	config.kept = kept;
	for (int i = 0; i < 256; i++)
		slots[i] = (struct vring_packed_desc){.addr = RIG_GPA, .flags = VHOST_PACKED_AVAIL};
	for (int life = 0; life < 3; life++) {
		struct ring_fds fds;
		struct vhost_vq *vq;

		if (life == 1) {
			vhost_dev_detach(rig->dev); /* the connection was lost */
			rig_attach(rig);
		} else {
			rig_renew(rig, &config); /* the process was */
		}
		fds = start_packed(rig);
		vq = vhost_dev_vq(rig->dev, 1);
		assert_int_equal(vq->last_avail, 10 * life);
		assert_int_equal(vq->used_idx, 10 * life);
		assert_int_equal(vq->avail_bits, VHOST_PACKED_AVAIL);
		for (int i = 0; i < 10; i++)
			vhost_packed_take(vq, vhost_vq_get_map(vq), 0, 0);
		vhost_packed_publish(vq, vhost_vq_get_map(vq));
		vq->used_slots = 0;
		close_ring_fds(fds);
	}
	assert_int_equal(fe_get_base(rig, 1), 0x801e801e);
	close_ring_fds(fe_start_ring(rig, 1, 256, VHOST_KEPT_FRESH));
	assert_int_equal(vhost_dev_vq(rig->dev, 1)->last_avail, 0);
	assert_int_equal(rig->n_warn, 0);
	vhost_dev_free(rig->dev);
	rig->dev = NULL;
	free(kept);
}

static int group_setup(void **state)
{
	const struct vhost_region_desc desc = {.gpa = 0x1000, .size = 8192, .uva = 0x1000};
	int fd = make_memfd(8192);
	int err = vhost_mem_new(&desc, &fd, 1, &mem, NULL);

	(void)state;
	close(fd);
	return err;
}

static int group_teardown(void **state)
{
	(void)state;
	vhost_mem_free(mem);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(killed_again_and_again),
		cmocka_unit_test(front_end_drops_meanwhile),
		cmocka_unit_test(ring_is_new),
		cmocka_unit_test(another_ring),
		cmocka_unit_test(garbage),
		cmocka_unit_test_setup_teardown(device_goes_on, rig_setup, rig_teardown),
	};
	return cmocka_run_group_tests_name("vhost_kept", tests, group_setup, group_teardown);
}
