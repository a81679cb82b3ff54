/* SPDX-License-Identifier: BSD-2-Clause */
/* Whose turn it is: rings that rest, and the share of each in a nic that is full. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "fake_path.h"
#include "rota.h"

#define MAX_RINGS 200

/* Rings and what happens to them in a round. */
struct rings {
	struct rota rota;
	uint32_t waiting[MAX_RINGS]; /* frames */
	uint32_t took[MAX_RINGS];
	uint32_t looks[MAX_RINGS];
	uint32_t nic_of[MAX_RINGS];
	uint32_t room[2]; /* of nics, in this round */
};

static struct rings *rings_new(uint32_t n)
{
	struct rings *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	assert_int_equal(rota_init(&s->rota, n), 0);
	for (uint32_t i = 0; i < n; i++)
		rota_add(&s->rota);
	return s;
}

static void rings_free(struct rings *s)
{
	rota_free(&s->rota);
	free(s);
}

static void look(struct rings *s, uint32_t i)
{
	uint32_t *room = &s->room[s->nic_of[i]];
	uint32_t n = min_u32(min_u32(s->waiting[i], FWD_BURST), *room);

	s->looks[i]++;
	s->waiting[i] -= n;
	s->took[i] += n;
	*room -= n;
	rota_note(&s->rota, i, n, !n && s->waiting[i]);
}

/* As a worker does it. @room: frames that each nic takes */
static void turn(struct rings *s, uint32_t room, bool all)
{
	uint32_t n_listed = s->rota.n_listed, step;

	s->room[0] = s->room[1] = room;
	for (uint32_t i = 0; i < n_listed; i++)
		look(s, s->rota.list[i]);
	for (uint32_t i = rota_resting(&s->rota, all, &step); i < s->rota.n; i += step) {
		if (!s->rota.seats[i].listed)
			look(s, i);
	}
	rota_end(&s->rota);
}

static void test_idle_rings_rest(void **state)
{
	struct rings *s = rings_new(128);
	uint32_t looks = 0;

	(void)state;
	for (int i = 0; i < ROTA_PATIENCE; i++) {
		s->waiting[7] = 1;
		turn(s, 1000, false);
	}
	assert_int_equal(s->rota.n_listed, 1);
	memset(s->looks, 0, sizeof(s->looks));
	for (int i = 0; i < ROTA_REST; i++) {
		s->waiting[7] = 1;
		turn(s, 1000, false);
	}
	/* The busy one each time, each of the others once. */
	for (uint32_t i = 0; i < 128; i++)
		looks += s->looks[i];
	assert_int_equal(looks, ROTA_REST + 127);
	assert_int_equal(s->looks[7], ROTA_REST);
	for (uint32_t i = 0; i < 128; i++)
		assert_int_equal(s->looks[i], i == 7 ? ROTA_REST : 1);
	/* One that rests is found within so many rounds, and is listed then. */
	s->waiting[100] = 1;
	for (int i = 0; i < ROTA_REST; i++) {
		s->waiting[7] = 1;
		turn(s, 1000, false);
	}
	assert_int_equal(s->took[100], 1);
	assert_int_equal(s->rota.n_listed, 2);
	assert_true(s->rota.seats[100].listed);
	rings_free(s);
}

static void test_nobody_rests_when_nobody_works(void **state)
{
	struct rings *s = rings_new(40);

	(void)state;
	for (int i = 0; i < ROTA_PATIENCE; i++)
		turn(s, 1000, false);
	assert_int_equal(s->rota.n_listed, 0);
	memset(s->looks, 0, sizeof(s->looks));
	turn(s, 1000, false);
	for (uint32_t i = 0; i < 40; i++)
		assert_int_equal(s->looks[i], 1);
	/* The first frame is found in the next round, wherever it is, and only looked for once. */
	s->waiting[39] = s->waiting[0] = 1;
	turn(s, 1000, false);
	assert_int_equal(s->took[39] + s->took[0], 2);
	assert_int_equal(s->looks[39], 2);
	rings_free(s);
}

static void test_all_are_looked_at_on_demand(void **state)
{
	struct rings *s = rings_new(40);

	(void)state;
	for (int i = 0; i < ROTA_PATIENCE; i++) {
		s->waiting[3] = 1;
		turn(s, 1000, false);
	}
	memset(s->looks, 0, sizeof(s->looks));
	turn(s, 1000, true);
	for (uint32_t i = 0; i < 40; i++)
		assert_int_equal(s->looks[i], 1);
	rings_free(s);
}

static void test_empty_rota(void **state)
{
	struct rings *s = rings_new(0);

	(void)state;
	turn(s, 1, false);
	turn(s, 1, true);
	rings_free(s);
}

/* Eight rings flood two nics that take little; two more send now and then. Others are idle. */
static void fair(uint32_t room)
{
	struct rings *s = rings_new(MAX_RINGS);
	uint32_t sent = 0;

	for (uint32_t i = 0; i < 8; i++)
		s->nic_of[i * 9] = i % 2;
	for (int k = 0; k < 4000; k++) {
		for (uint32_t i = 0; i < 8; i++)
			s->waiting[i * 9] = 1000;
		if (k % 50 == 0) {
			s->waiting[150]++;
			sent++;
		}
		turn(s, room, false);
	}
	for (uint32_t i = 0; i < 8; i++) {
		uint32_t share = (4000 * room - (i % 2 ? 0 : sent)) / 4;

		assert_in_range(s->took[i * 9], share - share / 50 - 256, share + share / 50 + 256);
	}
	assert_in_range(s->took[150], sent - 1, sent);
	rings_free(s);
}

static void test_full_nic_is_shared(void **state)
{
	(void)state;
	fair(1);
	fair(7);
	fair(100);
	fair(128);
	fair(300);
}

/*
 * The same through forwarding itself: it must tell "no room" as the rota understands it. Two guests
 * flood a nic that takes ten frames in a round; the other two send one frame now and then.
 */
static void test_guests_share_a_full_nic(void **state)
{
	struct fake_path *fp = fp_new(CONF_NIC_STEERED, NULL);
	uint32_t took[FP_PORTS] = {0}, want[FP_PORTS] = {0}, len, step;
	uint8_t frame[60];
	struct rota r;

	(void)state;
	assert_int_equal(rota_init(&r, FP_PORTS), 0);
	for (uint32_t i = 0; i < FP_PORTS; i++)
		rota_add(&r);
	for (int k = 0; k < 600; k++) {
		uint32_t n_listed = r.n_listed;

		for (uint32_t i = 0; i < FP_PORTS; i++) {
			uint32_t n = i < 2 ? 20 : k % 30 == 0;

			fp_frame(frame, sizeof(frame), 0x123400000002ull, fp->ports[i].mac, i);
			for (; want[i] - took[i] < n; want[i]++)
				fp_send(&fp->ports[i], frame, sizeof(frame));
		}
		for (uint32_t i = 0; i < n_listed; i++) {
			struct fp_port *p = &fp->ports[r.list[i]];
			uint32_t n = fwd_from_guest(fp->fwd, &p->src);

			rota_note(&r, r.list[i], n, !n && p->src.blocked_since_ns);
			took[r.list[i]] += n;
		}
		for (uint32_t i = rota_resting(&r, false, &step); i < FP_PORTS; i += step) {
			if (r.seats[i].listed)
				continue;
			uint32_t n = fwd_from_guest(fp->fwd, &fp->ports[i].src);

			rota_note(&r, i, n, !n && fp->ports[i].src.blocked_since_ns);
			took[i] += n;
		}
		rota_end(&r);
		fwd_flush_uplinks(fp->fwd);
		for (int i = 0; i < 10; i++)
			(void)fp_xsk_sent(fp, &len);
		for (uint32_t i = 0; i < FP_PORTS; i++) {
			uint16_t head;

			while (fp_used(&fp->ports[i].tx, &head, &len))
				;
		}
	}
	for (uint32_t i = 0; i < FP_PORTS; i++)
		assert_int_equal(fp_from_drops(&fp->ports[i], PORT_FROM_NIC_FULL), 0);
	assert_in_range(took[2], want[2] - 1, want[2]);
	assert_in_range(took[3], want[3] - 1, want[3]);
	assert_in_range(took[0], took[1] - took[1] / 10, took[1] + took[1] / 10);
	assert_in_range(took[0] + took[1], 5900, 6100);
	rota_free(&r);
	fp_free(fp);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_idle_rings_rest),
		cmocka_unit_test(test_nobody_rests_when_nobody_works),
		cmocka_unit_test(test_all_are_looked_at_on_demand),
		cmocka_unit_test(test_empty_rota),
		cmocka_unit_test(test_full_nic_is_shared),
		cmocka_unit_test(test_guests_share_a_full_nic),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
