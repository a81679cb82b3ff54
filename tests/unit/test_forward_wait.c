/* SPDX-License-Identifier: BSD-2-Clause */
/* The data path with memory that is usable in part: rings wait, workers and other guests do not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "fake_path.h"

static uint8_t frame[2000];

/* The port's memory behind FP_GAP is elsewhere for now. */
static void hide(struct fp_port *p)
{
	p->mem->n_regions = 1;
	p->rx.map.partial = p->tx.map.partial = true;
	p->rx.map.serial++;
	p->tx.map.serial++;
}

/* The control thread has made it usable. */
static void show(struct fp_port *p)
{
	p->mem->n_regions = 2;
	p->rx.map.serial++;
	p->tx.map.serial++;
	vhost_vq_answer(&p->rx.vq);
	vhost_vq_answer(&p->tx.vq);
}

static void send_hidden(struct fp_port *p, uint32_t at, uint32_t len)
{
	memset(fp_host(p, FP_GAP + at), 0, 12);
	memcpy(fp_host(p, FP_GAP + at) + 12, frame, len);
	fp_avail(&p->tx, fp_desc(&p->tx, FP_GAP + at, len + 12, 0, 0));
}

static void expect_asked(struct fake_path *fp, struct fp_ring *r, uint64_t addr, uint32_t len,
                         bool write)
{
	assert_true(fp->fwd->fault);
	fp->fwd->fault = false;
	assert_in_range(vhost_vq_asked(&r->vq), 1, VHOST_VQ_MAX_WANTS); /* others may follow */
	assert_int_equal(r->vq.wants[0].addr, addr);
	assert_int_equal(r->vq.wants[0].len, len);
	assert_int_equal(r->vq.wants[0].write, write);
}

/* What precedes the hidden buffer is forwarded, the rest stays, in order; nobody is told twice. */
static void test_transmit_ring_waits(void **state)
{
	struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
	struct fp_port *a = &fp->ports[0], *b = &fp->ports[1], *c = &fp->ports[2];

	(void)state;
	hide(a);
	for (uint32_t i = 0; i < 4; i++) {
		fp_post(b, 1600);
		fp_frame(frame, 100 + i, b->mac, a->mac, i);
		if (i % 2)
			send_hidden(a, 4096 * i, 100 + i);
		else
			fp_send(a, frame, 100 + i);
	}
	assert_int_equal(fp_run(fp, a), 1);
	expect_asked(fp, &a->tx, FP_GAP + 4096, 113, false);
	fp_expect_returned(a, 1);
	for (uint32_t i = 0; i < 3; i++) {
		assert_int_equal(fp_run(fp, a), 0);
		assert_false(fp->fwd->fault);
		assert_false(fp->fwd->blocked); /* its worker may sleep */
		assert_true(a->src.waiting);
	}
	/* Others go on meanwhile. */
	fp_frame(frame, 200, b->mac, c->mac, 9);
	fp_send(c, frame, 200);
	fp_post(b, 1600);
	assert_int_equal(fp_run(fp, c), 1);

	show(a);
	assert_int_equal(fp_run(fp, a), 3);
	assert_false(a->src.waiting);
	fp_expect_returned(a, 3);
	fp_frame(frame, 100, b->mac, a->mac, 0);
	fp_expect_frame(b, frame, 100);
	fp_frame(frame, 200, b->mac, c->mac, 9);
	fp_expect_frame(b, frame, 200);
	for (uint32_t i = 1; i < 4; i++) {
		fp_frame(frame, 100 + i, b->mac, a->mac, i);
		fp_expect_frame(b, frame, 100 + i);
	}
	assert_int_equal(atomic_load(&a->tx.vq.fault), VHOST_VQ_OK);
	fp_free(fp);
}

/* Behind the buffer that is waited for, all that will be missed next is listed as well. */
static void test_looks_ahead(void **state)
{
	struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
	struct fp_port *a = &fp->ports[0], *b = &fp->ports[1];

	(void)state;
	hide(b);
	for (uint32_t i = 0; i < 2 * VHOST_VQ_MAX_WANTS; i++) {
		fp_post(b, 1600);
		fp_avail(&b->rx, fp_desc(&b->rx, FP_GAP + i * 4096, 1600, VRING_DESC_F_WRITE, 0));
	}
	/* The first buffer can be had: nothing is lost, and there is time to see to the others. */
	fp_frame(frame, 300, b->mac, a->mac, 1);
	fp_send(a, frame, 300);
	fp_run(fp, a);
	fp_expect_frame(b, frame, 300);
	assert_int_equal(fp_to_drops(b, PORT_TO_GUEST_MEMORY), 0);
	expect_asked(fp, &b->rx, FP_GAP, 1600, true);
	assert_int_equal(vhost_vq_asked(&b->rx.vq), VHOST_VQ_MAX_WANTS);
	for (uint32_t i = 0; i < VHOST_VQ_MAX_WANTS; i++)
		assert_int_equal(b->rx.vq.wants[i].addr, FP_GAP + i * 4096);
	fp_free(fp);
}

/* An answer that changed nothing: the ring asks again. */
static void test_asks_again(void **state)
{
	struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
	struct fp_port *a = &fp->ports[0];

	(void)state;
	hide(a);
	send_hidden(a, 64, 100);
	fp_run(fp, a);
	expect_asked(fp, &a->tx, FP_GAP + 64, 112, false);
	vhost_vq_answer(&a->tx.vq);
	fp_run(fp, a);
	expect_asked(fp, &a->tx, FP_GAP + 64, 112, false);
	fp_free(fp);
}

/* Frames for a ring that waits are dropped with their own reason, and no buffer is lost. */
static void test_receive_ring_waits(void **state)
{
	struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
	struct fp_port *a = &fp->ports[0], *b = &fp->ports[1], *c = &fp->ports[2];

	(void)state;
	hide(b);
	fp_avail(&b->rx, fp_desc(&b->rx, FP_GAP + 128, 1600, VRING_DESC_F_WRITE, 0));
	fp_post(c, 1600);
	fp_post(&fp->ports[3], 1600);
	fp_frame(frame, 300, b->mac, a->mac, 1);
	fp_send(a, frame, 300);
	fp_send(a, frame, 300);
	fp_frame(frame, 300, 0xffffffffffffull, a->mac, 2);
	fp_send(a, frame, 300);
	assert_int_equal(fp_run(fp, a), 3);
	fp_expect_returned(a, 3);
	expect_asked(fp, &b->rx, FP_GAP + 128, 1600, true);
	assert_int_equal(fp_to_drops(b, PORT_TO_GUEST_MEMORY), 3);
	assert_int_equal(fp_to_drops(b, PORT_TO_NO_BUFFER), 0);
	fp_expect_nothing(b);
	fp_expect_frame(c, frame, 300);

	show(b);
	fp_frame(frame, 300, b->mac, a->mac, 3);
	fp_send(a, frame, 300);
	fp_run(fp, a);
	fp_expect_frame(b, frame, 300);
	assert_int_equal(atomic_load(&b->rx.vq.fault), VHOST_VQ_OK);
	fp_free(fp);
}

/* The second buffer of a frame is hidden: the first one is not used up. */
static void test_mergeable_buffers_wait(void **state)
{
	struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
	struct fp_port *a = &fp->ports[0], *b = &fp->ports[1];

	(void)state;
	hide(b);
	fp_post(b, 512);
	fp_avail(&b->rx, fp_desc(&b->rx, FP_GAP + 64, 1024, VRING_DESC_F_WRITE, 0));
	fp_frame(frame, 1200, b->mac, a->mac, 1);
	fp_send(a, frame, 1200);
	fp_run(fp, a);
	expect_asked(fp, &b->rx, FP_GAP + 64, 1024, true);
	fp_expect_nothing(b);
	show(b);
	fp_send(a, frame, 1200);
	fp_run(fp, a);
	fp_expect_frame(b, frame, 1200);
	fp_free(fp);
}

/* What is missing is named, be it a part of a chain, the end of a buffer, or an indirect table. */
static void test_parts_wait(void **state)
{
	struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
	struct fp_port *a = &fp->ports[0], *b = &fp->ports[1];
	const uint64_t edge = FP_MEM / 2;
	uint64_t gpa = fp_alloc(a, 12);
	struct vring_desc t[2];

	(void)state;
	for (uint32_t i = 0; i < 3; i++)
		fp_post(b, 1600);
	fp_frame(frame, 500, b->mac, a->mac, 1);
	memset(fp_host(a, gpa), 0, 12);
	memcpy(fp_host(a, FP_GAP + 64), frame, 500);

	hide(a);
	fp_avail(&a->tx, fp_desc(&a->tx, gpa, 12, VRING_DESC_F_NEXT, 1));
	fp_desc(&a->tx, FP_GAP + 64, 500, 0, 0);
	assert_int_equal(fp_run(fp, a), 0);
	expect_asked(fp, &a->tx, FP_GAP + 64, 500, false);
	show(a);
	assert_int_equal(fp_run(fp, a), 1);
	fp_expect_frame(b, frame, 500);

	hide(a);
	a->mem->regions[1].gpa = edge; /* adjacent: a buffer spans both */
	memset(a->bytes + edge - 100, 0, 12);
	memcpy(a->bytes + edge - 88, frame, 500);
	fp_avail(&a->tx, fp_desc(&a->tx, edge - 100, 512, 0, 0));
	assert_int_equal(fp_run(fp, a), 0);
	expect_asked(fp, &a->tx, edge, 412, false);
	show(a);
	assert_int_equal(fp_run(fp, a), 1);
	fp_expect_frame(b, frame, 500);

	hide(a);
	a->mem->regions[1].gpa = FP_GAP;
	t[0] = (struct vring_desc){.addr = gpa, .len = 12, .flags = VRING_DESC_F_NEXT, .next = 1};
	t[1] = (struct vring_desc){.addr = FP_GAP + 64, .len = 500};
	memcpy(fp_host(a, FP_GAP + 64), frame, 500);
	memcpy(fp_host(a, FP_GAP + 8192), t, sizeof(t));
	fp_avail_table(&a->tx, FP_GAP + 8192, sizeof(t));
	assert_int_equal(fp_run(fp, a), 0);
	expect_asked(fp, &a->tx, FP_GAP + 8192, sizeof(t), false);
	show(a);
	assert_int_equal(fp_run(fp, a), 1);
	fp_expect_frame(b, frame, 500);
	fp_expect_returned(a, 3);
	fp_free(fp);
}

/* Rules hold while waiting: a bad chain is a fault, whatever else is missing in it. */
static void test_faults_remain(void **state)
{
	struct fake_path *fp = fp_new(CONF_NIC_INTERNAL, NULL);
	struct fp_port *a = &fp->ports[0], *b = &fp->ports[1];

	(void)state;
	hide(a);
	hide(b);
	fp_avail(&a->tx, fp_desc(&a->tx, FP_GAP, 100, VRING_DESC_F_WRITE, 0));
	assert_int_equal(fp_run(fp, a), 0);
	assert_int_equal(atomic_load(&a->tx.vq.fault), VHOST_VQ_BAD_DIRECTION);
	assert_int_equal(vhost_vq_asked(&a->tx.vq), 0);
	fp_free(fp);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_transmit_ring_waits),
		cmocka_unit_test(test_looks_ahead),
		cmocka_unit_test(test_asks_again),
		cmocka_unit_test(test_receive_ring_waits),
		cmocka_unit_test(test_mergeable_buffers_wait),
		cmocka_unit_test(test_parts_wait),
		cmocka_unit_test(test_faults_remain),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
