/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest that takes less than is sent to it: those who send little get through all the same, those
 * who send much get the rest.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "fake_clock.h"
#include "fake_path.h"
#include "forward_priv.h"

#define POSTED 100 /* buffers of the guest that gets too much */
#define FLOOD  120 /* frames of a burst: more than that */
#define CREDIT 32  /* frames for those who send little */

static uint8_t frame[2048];

/* Port 0 sends much, port 1 gets it, port 2 sends little. */
struct scene {
	struct fake_path *fp;
	struct fp_port *much, *to, *little;
	uint32_t size; /* of a buffer */
};

static void post(const struct scene *s, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		fp_post(s->to, s->size);
}

/* Takes what arrived: frames of that length in buffers of s->size. Returns how many. */
static uint32_t take(const struct scene *s, uint32_t len)
{
	uint32_t per_frame = (len + 12 + s->size - 1) / s->size, n = 0, got;
	uint16_t head;

	while (fp_used(&s->to->rx, &head, &got))
		n++;
	assert_int_equal(n % per_frame, 0);
	return n / per_frame;
}

static uint32_t send_to(const struct scene *s, struct fp_port *from, uint64_t dst, uint32_t n,
                        uint32_t len)
{
	uint64_t lost = fp_to_drops(s->to, PORT_TO_NO_BUFFER);
	uint32_t arrived;

	fp_frame(frame, len, dst, from->mac, n);
	for (uint32_t i = 0; i < n; i++)
		fp_send(from, frame, len);
	assert_int_equal(fp_run(s->fp, from), n);
	fp_expect_returned(from, n);
	arrived = take(s, len);
	assert_int_equal(fp_to_drops(s->to, PORT_TO_NO_BUFFER) - lost, n - arrived);
	return arrived;
}

/* A burst of @n frames. Returns how many arrived; the others were counted as lost. */
static uint32_t send_burst(const struct scene *s, struct fp_port *from, uint32_t n)
{
	return send_to(s, from, s->to->mac, n, 100);
}

/* What those who send much must leave of a ring that quiet_scene() made. */
static uint32_t keep(void)
{
	return (fp_packed ? fp_packed : POSTED + 4) / FWD_CROWD_PART;
}

static struct scene quiet_scene(enum conf_nic_mode mode, uint32_t size)
{
	struct scene s = {.fp = fp_new(mode, NULL), .size = size};

	s.much = &s.fp->ports[0];
	s.to = &s.fp->ports[1];
	s.little = &s.fp->ports[2];
	/* Two bursts, so that somebody sees how many buffers there are. */
	post(&s, POSTED + 4);
	assert_int_equal(send_burst(&s, s.much, 2), 2);
	assert_int_equal(send_burst(&s, s.much, 2), 2);
	return s;
}

/* The ring is empty and crowded; everybody has all the credit that there may be. */
static struct scene crowded_scene(enum conf_nic_mode mode, uint32_t size)
{
	struct scene s = quiet_scene(mode, size);

	assert_int_equal(send_burst(&s, s.much, FLOOD), POSTED);
	assert_int_equal(send_burst(&s, s.little, 1), 0);
	fake_clock_pass_ms(2);
	return s;
}

static void test_first_flood_fills_the_ring(void **state)
{
	struct scene s = quiet_scene(CONF_NIC_INTERNAL, 1600);

	(void)state;
	assert_int_equal(send_burst(&s, s.much, FLOOD), POSTED);
	fp_free(s.fp);
}

static void test_flood_leaves_some(void **state)
{
	struct scene s = crowded_scene(CONF_NIC_INTERNAL, 1600);

	(void)state;
	post(&s, POSTED);
	assert_int_equal(send_burst(&s, s.much, FLOOD), POSTED - keep());
	assert_int_equal(send_burst(&s, s.much, FLOOD), 0);
	/* One at a time, and some at a time */
	assert_int_equal(send_burst(&s, s.little, 1), 1);
	assert_int_equal(send_burst(&s, s.little, 5), 5);
	/* What was taken is left again before the flood gets any. */
	post(&s, 6);
	assert_int_equal(send_burst(&s, s.much, FLOOD), 0);
	post(&s, 2);
	assert_int_equal(send_burst(&s, s.much, FLOOD), 2);
	assert_int_equal(send_burst(&s, s.little, 5), 5);
	assert_int_equal(send_burst(&s, s.much, FWD_FEW + 1), 0);
	fp_free(s.fp);
}

/* Nobody else sends anything, or only long ago: there is nobody to leave buffers for. */
static void test_flood_alone(void **state)
{
	struct scene s = quiet_scene(CONF_NIC_INTERNAL, 1600);

	(void)state;
	for (uint32_t i = 0; i < 5; i++) {
		assert_int_equal(send_burst(&s, s.much, FLOOD), POSTED);
		assert_int_equal(send_burst(&s, s.much, 1), 0); /* its own short bursts are none */
		fake_clock_pass_ms(5);
		post(&s, POSTED);
	}
	assert_int_equal(send_burst(&s, s.little, 1), 1);
	assert_int_equal(send_burst(&s, s.much, FLOOD), POSTED - 1 - keep());
	fake_clock_pass_ms(3990);
	assert_int_equal(send_burst(&s, s.much, FLOOD), 0);
	fake_clock_pass_ms(11);
	assert_int_equal(send_burst(&s, s.much, FLOOD), keep());
	fp_free(s.fp);
}

/* A loss now and then costs nobody anything. */
static void test_one_loss_is_forgotten(void **state)
{
	struct scene s = quiet_scene(CONF_NIC_INTERNAL, 1600);

	(void)state;
	for (uint32_t i = 0; i < 10; i++) {
		assert_int_equal(send_burst(&s, s.much, FLOOD), POSTED);
		post(&s, POSTED);
		assert_int_equal(send_burst(&s, s.much, 20), 20);
		fake_clock_pass_ms(2);
		post(&s, 20);
	}
	fp_free(s.fp);
}

/* A burst whose buffers are posted again. */
static uint32_t send_and_post(const struct scene *s, struct fp_port *from, uint32_t n)
{
	uint32_t arrived = send_burst(s, from, n);

	post(s, arrived);
	return arrived;
}

/* Short bursts, one after the other, are a flood, too. */
static void test_credit(void **state)
{
	static const uint32_t lengths[] = {1, 4, FWD_FEW};

	(void)state;
	for (size_t k = 0; k < ARRAY_SIZE(lengths); k++) {
		struct scene s = crowded_scene(CONF_NIC_INTERNAL, 1600);
		uint32_t n = 0;

		send_burst(&s, &s.fp->ports[3], 1);
		post(&s, keep() - 2); /* always: without credit, nobody gets anything */
		for (uint32_t i = 0; i < 20; i++)
			n += send_and_post(&s, s.little, lengths[k]);
		assert_int_equal(n, lengths[k] == 1 ? 20 : CREDIT);
		fake_clock_pass_ms(1); /* the time of 30 frames */
		for (uint32_t i = 0; i < 20; i++)
			n += send_and_post(&s, s.little, lengths[k]);
		assert_in_range(n, lengths[k] == 1 ? 40 : CREDIT + 24, 60);
		fp_free(s.fp);
	}
}

/* Frames of which every other one takes the slow path are paid for once all the same. */
static void test_credit_of_odd_shapes(void **state)
{
	struct scene s = crowded_scene(CONF_NIC_INTERNAL, 1600);

	(void)state;
	assert_int_equal(send_burst(&s, &s.fp->ports[3], 1), 0);
	post(&s, keep() - 2);
	for (uint32_t used = 0; used < CREDIT; used += FWD_FEW) {
		for (uint32_t i = 0; i < FWD_FEW; i++) {
			fp_frame(frame, 100, s.to->mac, s.little->mac, i);
			fp_send_as(s.little, i % 2 ? FP_TABLE_OF_FOUR : FP_PLAIN, frame, 100);
		}
		assert_int_equal(fp_run(s.fp, s.little), FWD_FEW);
		fp_expect_returned(s.little, FWD_FEW);
		assert_int_equal(take(&s, 100), FWD_FEW);
		post(&s, FWD_FEW);
	}
	assert_int_equal(send_burst(&s, s.little, 1), 0);
	fp_free(s.fp);
}

/* The end of a long burst is no short burst; with packed rings that is known when it is over. */
static void test_end_of_a_long_burst(void **state)
{
	struct scene s = crowded_scene(CONF_NIC_INTERNAL, 1600);
	uint32_t n = 0;

	(void)state;
	post(&s, keep() - 2);
	for (uint32_t round = 0; round < 4; round++) {
		for (uint32_t i = 0; i < 65; i++) {
			uint64_t dst = i < 60 ? 0x900000000012ull & ~FDB_GROUP_BIT : s.to->mac;

			fp_frame(frame, 100, dst, s.much->mac, i);
			fp_send(s.much, frame, 100);
		}
		assert_int_equal(fp_run(s.fp, s.much), 65);
		fp_expect_returned(s.much, 65);
		n += take(&s, 100);
	}
	assert_int_equal(n, fp_packed ? 5 : 0);
	assert_int_equal(send_burst(&s, s.little, 5), 5);
	fp_free(s.fp);
}

/* However many buffers a guest seems to have had: never more is left than an eighth of its ring. */
static void test_part_of_the_ring(void **state)
{
	struct scene s = crowded_scene(CONF_NIC_INTERNAL, 1600);

	(void)state;
	s.to->rx.vq.most = UINT16_MAX;
	post(&s, POSTED);
	assert_int_equal(send_burst(&s, s.much, FLOOD),
	                 POSTED - s.to->rx.map.size / FWD_CROWD_PART);
	fp_free(s.fp);
}

/* A ring that only the slow path writes to, as while a guest migrates */
static void test_slow_path(void **state)
{
	struct scene s = quiet_scene(CONF_NIC_INTERNAL, 1600);
	const uint64_t all = 0xffffffffffffull;

	(void)state;
	if (fp_packed)
		s.to->rx.vq.most = 0;
	assert_int_equal(send_to(&s, s.much, all, FLOOD, 100), POSTED);
	assert_int_equal(send_to(&s, s.little, all, 1, 100), 0);
	fake_clock_pass_ms(2);
	post(&s, POSTED);
	assert_int_equal(send_to(&s, s.much, all, FLOOD, 100), POSTED - keep());
	assert_int_equal(send_to(&s, s.little, all, 5, 100), 5);
	fp_free(s.fp);
}

static void test_ring_recovers(void **state)
{
	struct scene s = crowded_scene(CONF_NIC_INTERNAL, 1600);

	(void)state;
	post(&s, POSTED);
	assert_int_equal(send_burst(&s, s.much, 20), 20);
	fake_clock_pass_ms(12); /* one period had a loss in it, */
	assert_int_equal(send_burst(&s, s.much, 20), 20);
	fake_clock_pass_ms(12); /* the next one had none */
	assert_int_equal(send_burst(&s, s.much, 20), 20);
	assert_int_equal(send_burst(&s, s.much, FLOOD), POSTED - 60);
	fp_free(s.fp);
}

/* A guest that has fewer buffers now than it had: who sends much is not shut out for ever. */
static void test_fewer_buffers(void **state)
{
	struct scene s = crowded_scene(CONF_NIC_INTERNAL, 1600);
	uint32_t periods = 0;

	(void)state;
	post(&s, 4);
	while (!send_burst(&s, s.much, FLOOD)) {
		assert_int_equal(send_burst(&s, s.much, FLOOD), 0); /* no time has passed */
		fake_clock_pass_ms(11);
		assert_true(++periods < 10);
	}
	assert_true(periods > 0);
	fp_free(s.fp);
}

/* Frames that take several buffers, and frames to all: other ways through the same door */
static void test_merged(void **state)
{
	struct scene s = crowded_scene(CONF_NIC_INTERNAL, 400);
	uint32_t n;

	(void)state;
	s.to->rx.map.mergeable = true;
	post(&s, POSTED);
	n = send_to(&s, s.much, s.to->mac, 60, 700);
	assert_in_range(n, (POSTED - keep()) / 2, (POSTED - keep()) / 2 + 1);
	assert_int_equal(send_to(&s, s.little, s.to->mac, 3, 700), 3);
	fp_free(s.fp);
}

static void test_to_all(void **state)
{
	struct scene s = crowded_scene(CONF_NIC_INTERNAL, 1600);

	(void)state;
	post(&s, POSTED);
	assert_int_equal(send_to(&s, s.much, 0xffffffffffffull, FLOOD, 100), POSTED - keep());
	assert_int_equal(send_to(&s, s.little, 0xffffffffffffull, 5, 100), 5);
	assert_int_equal(send_burst(&s, s.little, 1), 1);
	fp_free(s.fp);
}

static void test_from_the_wire(void **state)
{
	struct scene s = crowded_scene(CONF_NIC_STEERED, 1600);
	uint64_t lost = fp_to_drops(s.to, PORT_TO_NO_BUFFER);

	(void)state;
	post(&s, keep() + 5);
	fp_frame(frame, 100, s.to->mac, 0x900000000012ull, 1);
	for (uint32_t round = 0; round < 2; round++) {
		for (uint32_t i = 0; i < 20; i++)
			fp_xsk_receive(s.fp, frame, 100, 0xffffffff, 0);
		assert_int_equal(fp_run_nic(s.fp), 20);
		assert_int_equal(take(&s, 100), round ? 0 : 5);
	}
	assert_int_equal(fp_to_drops(s.to, PORT_TO_NO_BUFFER) - lost, 35);
	assert_int_equal(send_burst(&s, s.little, 5), 5);
	fp_xsk_receive(s.fp, frame, 100, 0xffffffff, 0);
	assert_int_equal(fp_run_nic(s.fp), 1);
	assert_int_equal(take(&s, 100), 1);
	fp_free(s.fp);
}

/* Full, but nobody else is there: a flood gets what the guest takes. */
static void test_nothing_is_wasted(void **state)
{
	struct scene s = crowded_scene(CONF_NIC_INTERNAL, 1600);
	uint32_t n;

	(void)state;
	post(&s, POSTED);
	n = send_burst(&s, s.much, FLOOD);
	for (uint32_t i = 0; i < 50; i++) {
		post(&s, 10);
		n += send_burst(&s, s.much, FLOOD);
		fake_clock_pass_ms(3);
	}
	assert_int_equal(n, POSTED - keep() + 500);
	fp_free(s.fp);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_first_flood_fills_the_ring),
		cmocka_unit_test(test_flood_leaves_some),
		cmocka_unit_test(test_flood_alone),
		cmocka_unit_test(test_one_loss_is_forgotten),
		cmocka_unit_test(test_credit),
		cmocka_unit_test(test_credit_of_odd_shapes),
		cmocka_unit_test(test_end_of_a_long_burst),
		cmocka_unit_test(test_part_of_the_ring),
		cmocka_unit_test(test_slow_path),
		cmocka_unit_test(test_ring_recovers),
		cmocka_unit_test(test_fewer_buffers),
		cmocka_unit_test(test_merged),
		cmocka_unit_test(test_to_all),
		cmocka_unit_test(test_from_the_wire),
		cmocka_unit_test(test_nothing_is_wasted),
	};

	fake_clock_stop();
	return fp_run_tests(tests);
}
