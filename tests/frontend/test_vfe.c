// SPDX-License-Identifier: BSD-2-Clause
/*
 * test_vfe.c - does the test front end notice what it is there to notice?
 *
 * A device that lies is played by writing to the used ring by hand; frames are changed, doubled,
 * swapped and lost by hand. A front end that lets these pass would make every other test blind.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "vfe_layout.h"
#include "vfe_frame.h"
#include "vfe_host.h"

enum { LEN = 100, SIZE = 8, PACKED_SIZE = 7 };

static const struct vfe_stream stream = {
	.dst = {{2, 0, 0, 0, 0, 2}}, .src = {{2, 0, 0, 0, 0, 1}}, .id = 7};

static void arrive(struct vfe_tracker *t, uint64_t seq)
{
	char frame[LEN];

	vfe_frame_build(&stream, seq, frame, LEN);
	assert_int_equal(vfe_track(t, frame, LEN), VFE_FRAME_GOOD);
}

static void test_tracker_counts(void **state)
{
	static const uint64_t order[] = {0, 1, 3, 2, 2, 5};
	struct vfe_tracker t = {.mac = stream.dst};

	(void)state;
	for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++)
		arrive(&t, order[i]);
	assert_int_equal(t.good, 5);
	assert_int_equal(t.duplicates, 1);
	assert_int_equal(t.reordered, 1);
	assert_int_equal(vfe_tracker_lost(&t), 1);
	assert_int_equal(t.misdirected, 0);
	t.mac = stream.src;
	arrive(&t, 6);
	assert_int_equal(t.misdirected, 1);
	vfe_tracker_free(&t);
}

static void test_any_changed_byte_is_bad(void **state)
{
	struct vfe_tracker t = {.mac = stream.dst};
	char frame[LEN];

	(void)state;
	vfe_frame_build(&stream, 9, frame, LEN);
	for (int i = 18; i < LEN; i++) { /* behind the Ethernet header and the magic number */
		frame[i] ^= 0x20;
		assert_int_equal(vfe_track(&t, frame, LEN), VFE_FRAME_BAD);
		frame[i] ^= 0x20;
	}
	for (int len = 42; len < LEN; len++)
		assert_int_equal(vfe_track(&t, frame, (uint32_t)len), VFE_FRAME_BAD);
	assert_int_equal(vfe_track(&t, frame, LEN), VFE_FRAME_GOOD);
	assert_int_equal(vfe_track(&t, frame, 14), VFE_FRAME_FOREIGN);
	vfe_tracker_free(&t);
}

static void test_vlan_tag_may_come_and_go(void **state)
{
	struct vfe_stream tagged = stream;
	char frame[LEN];
	uint64_t seq;
	uint32_t id;

	(void)state;
	tagged.vlan = 5;
	vfe_frame_build(&tagged, 3, frame, LEN);
	assert_int_equal(vfe_frame_check(frame, LEN, &id, &seq), VFE_FRAME_GOOD);
	memmove(frame + 12, frame + 16, LEN - 16);
	assert_int_equal(vfe_frame_check(frame, LEN - 4, &id, &seq), VFE_FRAME_GOOD);
	assert_int_equal(seq, 3);
}

/* ---- rings: a device without connection ---------------------------------------------------------
 */

static int setup(void **state)
{
	struct vfe *v = calloc(1, sizeof(*v));

	v->fd = v->listen_fd = -1;
	v->config = (struct vfe_config){.n_pairs = 1,
	                                .ring_size = SIZE,
	                                .bufs = {.rx_size = 512, .rx_pieces = 1, .tx_size = 2048}};
	v->acked = VFE_BIT(VFE_F_VERSION_1) | VFE_BIT(VFE_F_INDIRECT_DESC);
	v->rings = calloc(2, sizeof(*v->rings));
	v->n_rings = 2;
	if (vfe_mem_init(v) || vfe_ring_init(v, 0) || vfe_ring_init(v, 1))
		return -1;
	vfe_ring_negotiated(vfe_rxq(v, 0));
	vfe_ring_negotiated(vfe_txq(v, 0));
	*state = v;
	return 0;
}

/* The same, packed, with an odd number of descriptors */
static int setup_packed(void **state)
{
	struct vfe *v;
	int err = setup(state);

	if (err)
		return err;
	v = *state;
	v->acked |= VFE_BIT(VFE_F_RING_PACKED);
	for (uint32_t i = 0; i < v->n_rings; i++) {
		v->rings[i].size = PACKED_SIZE;
		if (vfe_ring_negotiated(&v->rings[i]))
			return -1;
	}
	return 0;
}

static int teardown(void **state)
{
	vfe_close(*state);
	return 0;
}

/* The ring with one feature more */
static struct vfe_ring *with(struct vfe_ring *r, uint32_t feature)
{
	r->v->acked |= VFE_BIT(feature);
	assert_int_equal(vfe_ring_negotiated(r), 0);
	return r;
}

/* Receive buffers, of which the first holds a header that counts so many */
static void fill_and_count(struct vfe_ring *r, char num_buffers)
{
	assert_int_equal(vfe_rx_fill(r), r->size);
	memset(r->bufs[0], 0, VFE_HDR_LEN);
	r->bufs[0][10] = num_buffers;
}

static void device_uses(struct vfe_ring *r, uint32_t id, uint32_t len)
{
	r->used->ring[r->used->idx % r->size] = (struct vfe_used_elem){.id = id, .len = len};
	r->used->idx++;
}

static void expect_fault(struct vfe_ring *r)
{
	char buf[4096];

	assert_int_equal(r->rx ? vfe_rx(r, buf, sizeof(buf), NULL) : vfe_tx_reap(r), -EPROTO);
	assert_int_equal(r->v->faults, 1);
}

static void test_good_frame_is_received(void **state)
{
	struct vfe_ring *r = vfe_rxq(*state, 0);
	char buf[512];

	fill_and_count(r, 1);
	memset(r->bufs[0] + VFE_HDR_LEN, 0x5a, 60);
	device_uses(r, 0, VFE_HDR_LEN + 60);
	assert_int_equal(vfe_rx(r, buf, sizeof(buf), NULL), 60);
	assert_int_equal(buf[0], 0x5a);
	assert_int_equal(vfe_rx(r, buf, sizeof(buf), NULL), 0);
	assert_int_equal(vfe_room(r), 1);
}

static void test_head_never_posted(void **state)
{
	struct vfe_ring *r = vfe_txq(*state, 0);

	assert_int_equal(vfe_tx(r, "frame", 5, NULL), 0);
	vfe_flush(r);
	device_uses(r, 3, 0);
	expect_fault(r);
}

static void test_head_used_twice(void **state)
{
	struct vfe_ring *r = vfe_txq(*state, 0);

	vfe_tx(r, "frame", 5, NULL);
	vfe_tx(r, "frame", 5, NULL);
	vfe_flush(r);
	device_uses(r, 0, 0);
	device_uses(r, 0, 0);
	expect_fault(r);
}

static void test_used_index_jumps(void **state)
{
	struct vfe_ring *r = vfe_txq(*state, 0);

	vfe_tx(r, "frame", 5, NULL);
	vfe_flush(r);
	r->used->idx = 2;
	expect_fault(r);
}

static void test_length_beyond_buffer(void **state)
{
	struct vfe_ring *r = vfe_rxq(*state, 0);

	vfe_rx_fill(r);
	device_uses(r, 0, 513);
	expect_fault(r);
}

static void test_length_below_header(void **state)
{
	struct vfe_ring *r = vfe_rxq(*state, 0);

	vfe_rx_fill(r);
	device_uses(r, 0, 11);
	expect_fault(r);
}

static void test_header_not_written(void **state)
{
	struct vfe_ring *r = vfe_rxq(*state, 0);

	vfe_rx_fill(r);
	device_uses(r, 0, VFE_HDR_LEN + 60);
	expect_fault(r); /* num_buffers is what vfe_rx_fill() left there */
}

static void test_num_buffers_beyond_used(void **state)
{
	struct vfe_ring *r = with(vfe_rxq(*state, 0), VFE_NET_F_MRG_RXBUF);

	fill_and_count(r, 2);
	device_uses(r, 0, 512);
	expect_fault(r);
}

static void test_out_of_order(void **state)
{
	struct vfe_ring *r = with(vfe_rxq(*state, 0), VFE_F_IN_ORDER);

	vfe_rx_fill(r);
	device_uses(r, 1, VFE_HDR_LEN + 60);
	expect_fault(r);
}

static void test_in_order_batch(void **state)
{
	struct vfe_ring *r = with(vfe_txq(*state, 0), VFE_F_IN_ORDER);

	for (int i = 0; i < 3; i++)
		vfe_tx(r, "frame", 5, NULL);
	vfe_flush(r);
	r->used->ring[0].id = 2; /* one entry for all three */
	r->used->idx = 3;
	assert_int_equal(vfe_tx_reap(r), 3);
	assert_int_equal(vfe_room(r), SIZE);
}

static void test_use_without_call(void **state)
{
	struct vfe_ring *r = vfe_rxq(*state, 0);

	vfe_rx_fill(r);
	assert_int_equal(vfe_wait(&r, 1, 10), 0);
	device_uses(r, 0, VFE_HDR_LEN + 60);
	assert_int_equal(vfe_wait(&r, 1, 10), 1);
}

/* ---- packed rings -------------------------------------------------------------------------------
 */

/* What the device writes where a buffer started: its wrap counter is the driver's on the first lap.
 */
static void packed_uses(struct vfe_ring *r, uint16_t slot, uint16_t id, uint32_t len, bool wrap)
{
	struct vfe_packed_desc *d = &r->packed_desc[slot];

	d->id = id;
	d->len = len;
	d->flags = (len ? VFE_DESC_WRITE : 0) | (wrap ? VFE_DESC_AVAIL | VFE_DESC_USED : 0);
}

static void send_packed(struct vfe_ring *r, int n)
{
	for (int i = 0; i < n; i++)
		assert_int_equal(vfe_tx(r, "frame", 5, NULL), 0);
	vfe_flush(r);
}

static bool is_avail(const struct vfe_ring *r, uint16_t slot, bool wrap)
{
	uint16_t both = VFE_DESC_AVAIL | VFE_DESC_USED;

	return (r->packed_desc[slot].flags & both) == (wrap ? VFE_DESC_AVAIL : VFE_DESC_USED);
}

static void test_packed_laps(void **state)
{
	struct vfe_ring *r = vfe_txq(*state, 0);
	uint16_t slot = 0;
	bool wrap = true;

	for (int k = 0; k < 5 * PACKED_SIZE; k++) {
		assert_false(is_avail(r, slot, wrap));
		send_packed(r, 1);
		assert_true(is_avail(r, slot, wrap));
		packed_uses(r, slot, r->packed_desc[slot].id, 0, wrap);
		assert_int_equal(vfe_tx_reap(r), 1);
		assert_int_equal(vfe_tx_reap(r), 0);
		assert_int_equal(vfe_room(r), PACKED_SIZE);
		if (++slot == PACKED_SIZE) {
			slot = 0;
			wrap = !wrap;
		}
	}
	assert_int_equal((*(struct vfe **)state)->faults, 0);
}

static void test_packed_batch_is_published_at_once(void **state)
{
	struct vfe_ring *r = vfe_txq(*state, 0);

	vfe_tx(r, "frame", 5, &(struct vfe_tx_layout){.pieces = 3});
	vfe_tx(r, "frame", 5, NULL);
	assert_false(is_avail(r, 0, true));
	vfe_flush(r);
	for (uint16_t i = 0; i < 4; i++)
		assert_true(is_avail(r, i, true));
	assert_false(is_avail(r, 4, true));
	assert_int_equal(vfe_room(r), PACKED_SIZE - 4);
	/* The second first: its used descriptor stands where the device is, and takes one slot. */
	packed_uses(r, 0, r->packed_desc[3].id, 0, true);
	assert_int_equal(vfe_tx_reap(r), 1);
	packed_uses(r, 1, r->packed_desc[2].id, 0, true);
	assert_int_equal(vfe_tx_reap(r), 1);
	assert_int_equal(vfe_room(r), PACKED_SIZE);
	assert_false(vfe_pending(r));
}

static void test_packed_buffer_never_posted(void **state)
{
	struct vfe_ring *r = vfe_txq(*state, 0);

	send_packed(r, 1);
	packed_uses(r, 0, (uint16_t)(r->packed_desc[0].id + 1), 0, true);
	expect_fault(r);
}

static void test_packed_buffer_used_twice(void **state)
{
	struct vfe_ring *r = vfe_txq(*state, 0);

	send_packed(r, 2);
	packed_uses(r, 1, r->packed_desc[0].id, 0, true);
	packed_uses(r, 0, r->packed_desc[0].id, 0, true);
	expect_fault(r);
}

static void test_packed_length_of_what_is_only_read(void **state)
{
	struct vfe_ring *r = vfe_txq(*state, 0);

	send_packed(r, 1);
	packed_uses(r, 0, r->packed_desc[0].id, 5, true);
	expect_fault(r);
}

static void test_packed_receive_without_write(void **state)
{
	struct vfe_ring *r = vfe_rxq(*state, 0);

	vfe_rx_fill(r);
	packed_uses(r, 0, 0, VFE_HDR_LEN + 60, true);
	r->packed_desc[0].flags &= (uint16_t)~VFE_DESC_WRITE;
	expect_fault(r);
}

static void test_packed_num_buffers_beyond_used(void **state)
{
	struct vfe_ring *r = with(vfe_rxq(*state, 0), VFE_NET_F_MRG_RXBUF);

	fill_and_count(r, 3);
	packed_uses(r, 0, 0, 512, true);
	packed_uses(r, 1, 1, 512, true);
	expect_fault(r);
}

static void test_packed_in_order_batch(void **state)
{
	struct vfe_ring *r = with(vfe_txq(*state, 0), VFE_F_IN_ORDER);

	send_packed(r, 4);
	packed_uses(r, 0, r->packed_desc[2].id, 0, true); /* one for three */
	assert_int_equal(vfe_tx_reap(r), 3);
	packed_uses(r, 3, r->packed_desc[3].id, 0, true);
	assert_int_equal(vfe_tx_reap(r), 1);
	assert_int_equal(vfe_room(r), PACKED_SIZE);
}

static void test_packed_out_of_order(void **state)
{
	struct vfe_ring *r = with(vfe_rxq(*state, 0), VFE_F_IN_ORDER);

	vfe_rx_fill(r);
	packed_uses(r, 0, 1, VFE_HDR_LEN + 60, true);
	expect_fault(r);
}

static void expect_kick(struct vfe_ring *r, int n, uint16_t flags, uint16_t off_wrap, bool want)
{
	uint64_t kicks = r->kicks;

	*r->device_event = (struct vfe_event){.flags = flags, .off_wrap = off_wrap};
	send_packed(r, n);
	assert_int_equal(r->kicks - kicks, want);
}

static void test_packed_kicks(void **state)
{
	struct vfe_ring *r = with(vfe_txq(*state, 0), VFE_F_EVENT_IDX);
	const uint16_t wrap = 1 << 15;

	expect_kick(r, 1, VFE_EVENT_ENABLE, 0, true);
	expect_kick(r, 1, VFE_EVENT_DISABLE, 0, false);
	expect_kick(r, 1, VFE_EVENT_DESC, wrap | 2, true); /* exactly the one made available */
	expect_kick(r, 1, VFE_EVENT_DESC, wrap | 2, false);
	expect_kick(r, 1, VFE_EVENT_DESC, wrap | 5, false);
	for (uint16_t i = 0; i < 5; i++)
		packed_uses(r, i, r->packed_desc[i].id, 0, true);
	assert_int_equal(vfe_tx_reap(r), 5);
	expect_kick(r, 4, VFE_EVENT_DESC, 0, true);         /* slots 5, 6, 0, 1: over the end */
	expect_kick(r, 1, VFE_EVENT_DESC, wrap | 6, false); /* of the last lap */
	assert_int_equal(r->v->faults, 0);
	expect_kick(r, 1, VFE_EVENT_DESC, PACKED_SIZE, true);
	assert_int_equal(r->v->faults, 1);
}

static void test_packed_asks_for_calls(void **state)
{
	struct vfe_ring *r = vfe_rxq(*state, 0);

	vfe_rx_fill(r);
	assert_int_equal(r->driver_event->flags, VFE_EVENT_DISABLE);
	assert_int_equal(vfe_wait(&r, 1, 10), 0);
	packed_uses(r, 0, 0, VFE_HDR_LEN + 60, true);
	assert_int_equal(vfe_wait(&r, 1, 10), 1);
	assert_int_equal(r->driver_event->flags, VFE_EVENT_DISABLE);
}

static void expect_base(struct vfe_ring *r, uint32_t base, int want)
{
	uint64_t faults = r->v->faults;

	assert_int_equal(r->ops->check_base(r, base), want);
	assert_int_equal(r->v->faults - faults, want < 0);
}

static void test_packed_base(void **state)
{
	struct vfe_ring *r = vfe_txq(*state, 0);

	assert_int_equal(r->base, 0x80008000);
	expect_base(r, 0x80008000, 0);
	expect_base(r, 0x80008001, -EPROTO); /* took what was not there */
	send_packed(r, 6);
	packed_uses(r, 0, r->packed_desc[0].id, 0, true);
	packed_uses(r, 1, r->packed_desc[1].id, 0, true);
	expect_base(r, 0x80028002, 0);
	expect_base(r, 0x80028006, 4); /* took four and did not return them */
	expect_base(r, 0x80018002, -EPROTO);
	expect_base(r, 0x80028001, -EPROTO);
	expect_base(r, 0x80020002, -EPROTO);
	expect_base(r, 0x8002, -EPROTO);
	assert_int_equal(vfe_tx_reap(r), 2);
	send_packed(r, 3); /* slots 6, 0, 1 */
	expect_base(r, 0x80020002, 7);
	r->resume = true;
	vfe_ring_resume(r);
	assert_int_equal(r->base, 0x80028002);
	for (uint16_t i = 2; i < PACKED_SIZE; i++)
		packed_uses(r, i, r->packed_desc[i].id, 0, true);
	expect_base(r, 0x00000000, 0);
}

/* ---- layouts, walked as a device would ----------------------------------------------------------
 */

struct seen {
	char bytes[VFE_HDR_LEN + LEN];
	size_t n;
};

static void see(struct seen *seen, const struct vfe_ring *r, uint64_t gpa, uint32_t len)
{
	assert_in_range(seen->n + len, 1, sizeof(seen->bytes));
	memcpy(seen->bytes + seen->n, r->v->regions[0].host + gpa, len);
	seen->n += len;
}

/* What was made available last; then it is used. */
static void walk_split(struct vfe_ring *r, struct seen *seen)
{
	uint16_t head = r->avail->ring[(r->avail->idx - 1) % SIZE], d = head;
	const struct vfe_desc *table = r->desc;

	if (table[d].flags & VFE_DESC_INDIRECT) {
		table = (const void *)(r->v->regions[0].host + table[d].addr);
		d = 0;
	}
	for (bool more = true; more; d = table[d].next) {
		see(seen, r, table[d].addr, table[d].len);
		more = table[d].flags & VFE_DESC_NEXT;
	}
	device_uses(r, head, 0);
}

static void walk_packed(struct vfe_ring *r, struct seen *seen)
{
	uint16_t start = r->used_slot, slot = start, id = 0;
	bool wrap = r->used_wrap;

	for (bool more = true; more; slot = (uint16_t)((slot + 1) % PACKED_SIZE)) {
		const struct vfe_packed_desc *part = &r->packed_desc[slot], *end = part + 1;

		assert_true(is_avail(r, slot, slot < start ? !wrap : wrap));
		more = part->flags & VFE_DESC_NEXT;
		id = part->id; /* a chain's is in its last slot */
		if (part->flags & VFE_DESC_INDIRECT) {
			part = (const void *)(r->v->regions[0].host + part->addr);
			end = part + r->packed_desc[slot].len / sizeof(*part);
		}
		for (; part < end; part++)
			see(seen, r, part->addr, part->len);
	}
	packed_uses(r, start, id, 0, wrap);
}

static void test_layouts_carry_the_frame(void **state)
{
	static const struct vfe_tx_layout layouts[] = {{.pieces = 1},
	                                               {.pieces = 1, .hdr_apart = true},
	                                               {.pieces = 5},
	                                               {.pieces = 4, .hdr_apart = true},
	                                               {.pieces = 17, .indirect = true}};
	struct vfe_ring *r = vfe_txq(*state, 0);
	char frame[LEN];

	vfe_frame_build(&stream, 1, frame, LEN);
	for (size_t i = 0; i < sizeof(layouts) / sizeof(layouts[0]); i++) {
		struct seen seen = {.n = 0};

		assert_int_equal(vfe_tx(r, frame, LEN, &layouts[i]), 0);
		vfe_flush(r);
		if (r->packed)
			walk_packed(r, &seen);
		else
			walk_split(r, &seen);
		assert_int_equal(seen.n, VFE_HDR_LEN + LEN);
		assert_memory_equal(seen.bytes + VFE_HDR_LEN, frame, LEN);
		assert_int_equal(vfe_tx_reap(r), 1);
		assert_int_equal(vfe_room(r), r->size);
	}
}

static void test_host_answers_and_checks(void **state)
{
	struct vfe_host a = {.mac = stream.src, .ip = {198, 18, 0, 1}, .peer_ip = {198, 18, 0, 2}};
	struct vfe_host b = {.mac = stream.dst, .ip = {198, 18, 0, 2}};
	uint8_t ask[512], answer[512];
	uint32_t n = vfe_host_arp(&a, ask);

	(void)state;
	n = vfe_host_input(&b, ask, n, false, answer);
	assert_int_equal(n, 60);
	assert_int_equal(vfe_host_input(&a, answer, n, false, ask), 0);
	assert_true(a.peer_known);
	a.last_seq = 4;
	vfe_host_ping(&a, ask, 131);
	n = vfe_host_input(&b, ask, 131, false, answer);
	assert_int_equal(n, 131);
	answer[100] ^= 1;
	vfe_host_input(&a, answer, n, false, ask);
	assert_int_equal(a.bad_checksums, 1);
	assert_int_equal(a.echo_replies, 0);
	answer[100] ^= 1;
	vfe_host_input(&a, answer, n, false, ask);
	assert_int_equal(a.echo_replies, 1);
}

#define PACKED_TEST(f) cmocka_unit_test_setup_teardown(f, setup_packed, teardown)
#define RING_TEST(f)   cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tracker_counts),
		cmocka_unit_test(test_any_changed_byte_is_bad),
		cmocka_unit_test(test_vlan_tag_may_come_and_go),
		cmocka_unit_test(test_host_answers_and_checks),
		RING_TEST(test_good_frame_is_received),
		RING_TEST(test_head_never_posted),
		RING_TEST(test_head_used_twice),
		RING_TEST(test_used_index_jumps),
		RING_TEST(test_length_beyond_buffer),
		RING_TEST(test_length_below_header),
		RING_TEST(test_header_not_written),
		RING_TEST(test_num_buffers_beyond_used),
		RING_TEST(test_out_of_order),
		RING_TEST(test_in_order_batch),
		RING_TEST(test_use_without_call),
		RING_TEST(test_layouts_carry_the_frame),
		PACKED_TEST(test_packed_laps),
		PACKED_TEST(test_packed_batch_is_published_at_once),
		PACKED_TEST(test_packed_buffer_never_posted),
		PACKED_TEST(test_packed_buffer_used_twice),
		PACKED_TEST(test_packed_length_of_what_is_only_read),
		PACKED_TEST(test_packed_receive_without_write),
		PACKED_TEST(test_packed_num_buffers_beyond_used),
		PACKED_TEST(test_packed_in_order_batch),
		PACKED_TEST(test_packed_out_of_order),
		PACKED_TEST(test_packed_kicks),
		PACKED_TEST(test_packed_asks_for_calls),
		PACKED_TEST(test_packed_base),
		PACKED_TEST(test_layouts_carry_the_frame),
	};

	return cmocka_run_group_tests_name("vfe", tests, NULL, NULL);
}
