/* SPDX-License-Identifier: BSD-2-Clause */
/* test_vhost_stream.c - messages in pieces, in heaps, and front ends that do not listen */
#include <sys/socket.h>
#include "fake_fe.h"

/* One byte at a time; the descriptor with the first */
static void byte_by_byte(void **state)
{
	struct rig *rig = *state;
	struct {
		struct vhost_msg_hdr hdr;
		uint64_t payload;
	} __attribute__((packed)) m = {{VHOST_MSG_SET_VRING_CALL, 1, 8}, 1};
	int event = make_eventfd();
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct iovec iov = {&m, 1};
	struct msghdr mh = {.msg_iov = &iov,
	                    .msg_iovlen = 1,
	                    .msg_control = &control,
	                    .msg_controllen = sizeof(control)};

	control.align.cmsg_level = SOL_SOCKET;
	control.align.cmsg_type = SCM_RIGHTS;
	control.align.cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(&control.align), &event, sizeof(event));
	for (size_t cut = 1; cut <= sizeof(m); cut++) {
		rig_fresh(rig);
		assert_int_equal(sendmsg(rig->fe, &mh, 0), 1);
		for (size_t i = 1; i < sizeof(m); i++) {
			if (i >= cut) {
				assert_int_equal(rig_receive(rig), 0);
				assert_int_equal(vhost_dev_vq(rig->dev, 1)->call_fd, -1);
			}
			assert_int_equal(write(rig->fe, (char *)&m + i, 1), 1);
		}
		assert_int_equal(rig_receive(rig), 0);
		assert_true(vhost_dev_vq(rig->dev, 1)->call_fd >= 0);
		fe_honest(rig);
	}
	/* With a later byte: nobody knows what it belongs to. */
	for (size_t at = 1; at < sizeof(m); at++) {
		rig_fresh(rig);
		assert_int_equal(write(rig->fe, &m, at), at);
		assert_int_equal(rig_receive(rig), 0);
		iov.iov_base = (char *)&m + at;
		assert_int_equal(sendmsg(rig->fe, &mh, 0), 1);
		rig_expect_end(rig, "in the middle of a message");
	}
	/* Hung up at each point, with a descriptor on board */
	for (size_t at = 1; at < sizeof(m); at++) {
		rig_fresh(rig);
		iov.iov_base = &m;
		assert_int_equal(sendmsg(rig->fe, &mh, 0), 1);
		assert_int_equal(write(rig->fe, (char *)&m + 1, at - 1), at - 1);
		assert_int_equal(rig_receive(rig), 0);
		close(rig->fe);
		rig->fe = -1;
		assert_int_equal(rig_receive(rig), -ECONNRESET);
		vhost_dev_detach(rig->dev);
		rig_attach(rig);
	}
	assert_int_equal(rig->n_warn, 0);
	close(event);
	fe_honest(rig);
}

/* Many messages in one write are all handled, a bounded number per call. */
static void many_at_once(void **state)
{
	struct rig *rig = *state;
	struct vhost_msg_hdr h[200];
	uint64_t v;

	rig_fresh(rig);
	for (size_t i = 0; i < ARRAY_SIZE(h); i++)
		h[i] = (struct vhost_msg_hdr){VHOST_MSG_GET_FEATURES, 1, 0};
	assert_int_equal(write(rig->fe, h, sizeof(h)), sizeof(h));
	assert_int_equal(rig_receive(rig), 0);
	for (size_t i = 0; i < 64; i++)
		fe_expect_reply(rig, VHOST_MSG_GET_FEATURES, &v, 8);
	fe_expect_nothing(rig);
	for (int i = 0; i < 3; i++)
		assert_int_equal(rig_receive(rig), 0);
	for (size_t i = 64; i < 200; i++)
		fe_expect_reply(rig, VHOST_MSG_GET_FEATURES, &v, 8);
	fe_expect_nothing(rig);
	fe_honest(rig);
}

/* A front end that asks and does not listen is cut off; nobody waits for it. */
static void unread_replies(void **state)
{
	struct rig *rig = *state;
	uint32_t n = 0;
	int ret;

	rig_fresh(rig);
	do {
		fe_send(rig, VHOST_MSG_GET_FEATURES, 0, NULL, 0, NULL, 0);
		ret = rig_receive(rig);
	} while (ret == 0 && ++n < 100000);
	assert_int_equal(ret, -EPROTO);
	assert_warned(rig, "does not read its replies");
	vhost_dev_detach(rig->dev);
	rig_attach(rig);
	fe_honest(rig);
}

/* Gone before the answer: an error of the connection, not a signal. */
static void hang_up_before_the_answer(void **state)
{
	struct rig *rig = *state;

	rig_fresh(rig);
	fe_send(rig, VHOST_MSG_GET_FEATURES, 0, NULL, 0, NULL, 0);
	close(rig->fe);
	rig->fe = -1;
	assert_int_equal(rig_receive(rig), -ECONNRESET);
	vhost_dev_detach(rig->dev);
	rig_attach(rig);
	fe_honest(rig);
}

/* The log does not grow with the number of offences. */
static void warnings_are_limited(void **state)
{
	struct rig *rig = *state;
	struct vhost_vring_state s = {.index = 1, .num = 3};

	rig_fresh(rig);
	for (int i = 0; i < 5000; i++)
		fe_set(rig, VHOST_MSG_SET_VRING_NUM, &s, sizeof(s), NULL, 0);
	assert_in_range(rig->n_warn, 16, 40); /* 16 at once, one more per second of a slow run */
	/* Reconnecting does not refill it. */
	for (int i = 0; i < 200; i++) {
		vhost_dev_detach(rig->dev);
		rig_attach(rig);
		assert_int_equal(write(rig->fe, &(struct vhost_msg_hdr){0}, 12), 12);
		assert_int_equal(rig_receive(rig), -EPROTO);
	}
	assert_in_range(rig->n_warn, 16, 40);
	/* The next line that gets through says how many did not. */
	sleep(2);
	vhost_dev_detach(rig->dev);
	rig_attach(rig);
	assert_int_equal(write(rig->fe, &(struct vhost_msg_hdr){0}, 12), 12);
	assert_int_equal(rig_receive(rig), -EPROTO);
	assert_warned(rig, "lines suppressed before)");
	/* Nor do changes of features fill it. */
	vhost_dev_detach(rig->dev);
	rig_attach(rig);
	rig->n_info = 0;
	for (uint64_t i = 0; i < 2000; i++)
		fe_set_u64(rig, VHOST_MSG_SET_FEATURES, i % 2 ? 0 : VHOST_BIT(32));
	assert_in_range(rig->n_info, 1, 40);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)
	const struct CMUnitTest tests[] = {
		T(byte_by_byte),         T(many_at_once),
		T(unread_replies),       T(hang_up_before_the_answer),
		T(warnings_are_limited),
	};
	return cmocka_run_group_tests_name("vhost_stream", tests, NULL, NULL);
}
