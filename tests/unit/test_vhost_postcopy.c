/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_vhost_postcopy.c - post-copy migration: the test plays the front end's part with real faults
 *
 * The guest's memory is empty at first. What the guest left at the source is in `image`; a page
 * arrives when the test writes it to the file and wakes whoever waits, as QEMU does. Nothing else
 * of the test may touch the guest's memory: that would make pages of zeros.
 */
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include "fake_fe.h"
#include "vhost_postcopy.h"
#include "vhost_ring.h"

#define PAGE    4096u
#define PATIENT 10000 /* ms */
#define RING    256
#define BUFFERS 0x100000u /* where they are in guest memory */

struct late {
	struct rig *rig;
	int ufd;
	uint64_t base; /* where the device said it would fault */
	uint8_t *image;
	struct ring_fds fds[2];
	bool stingy; /* until() keeps buffers' pages back */
	uint32_t n_held;
	uint64_t held[64];
};

/* ---- the front end's part ---- */

/* A reply that may bring a descriptor: returns it, or -1. */
static int expect_reply_fd(struct rig *rig, uint32_t id, void *payload, uint32_t size)
{
	struct vhost_msg_hdr hdr;
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = {&hdr, sizeof(hdr)};
	struct msghdr mh = {.msg_iov = &iov,
	                    .msg_iovlen = 1,
	                    .msg_control = control.bytes,
	                    .msg_controllen = sizeof(control.bytes)};
	int fd = -1;

	assert_int_equal(recvmsg(rig->fe, &mh, MSG_CMSG_CLOEXEC), sizeof(hdr));
	assert_int_equal(hdr.id, id);
	assert_int_equal(hdr.flags, 5);
	assert_int_equal(hdr.size, size);
	if (size)
		assert_int_equal(recv(rig->fe, payload, size, 0), size);
	if (CMSG_FIRSTHDR(&mh))
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&mh)), sizeof(fd));
	return fd;
}

static int advise(struct rig *rig)
{
	fe_send(rig, VHOST_MSG_POSTCOPY_ADVISE, 0, NULL, 0, NULL, 0);
	assert_int_equal(rig_receive(rig), 0);
	return expect_reply_fd(rig, VHOST_MSG_POSTCOPY_ADVISE, NULL, 0);
}

static uint64_t listen_for_pages(struct rig *rig)
{
	return fe_ask(rig, VHOST_MSG_POSTCOPY_LISTEN, NULL, 0, NULL, 0);
}

static uint64_t end(struct rig *rig)
{
	return fe_ask(rig, VHOST_MSG_POSTCOPY_END, NULL, 0, NULL, 0);
}

/* SET_MEM_TABLE in the listening state, without the acknowledgement */
static void share(struct late *l)
{
	struct vhost_msg_mem_table t = {.n_regions = 1}, reply;

	rig_region(&t.regions[0]);
	fe_send(l->rig, VHOST_MSG_SET_MEM_TABLE, 0, &t, 8 + 32, &l->rig->guest_fd, 1);
	assert_int_equal(rig_receive(l->rig), 0);
	fe_expect_reply(l->rig, VHOST_MSG_SET_MEM_TABLE, &reply, 8 + 32);
	assert_int_equal(reply.n_regions, 1);
	assert_int_equal(reply.regions[0].gpa, RIG_GPA);
	assert_int_equal(reply.regions[0].size, RIG_GUEST_SIZE);
	assert_int_equal(reply.regions[0].mmap_offset, 0);
	assert_int_not_equal(reply.regions[0].uva, RIG_UVA);
	l->base = reply.regions[0].uva;
}

static void acknowledge(struct late *l)
{
	fe_set_u64(l->rig, VHOST_MSG_SET_MEM_TABLE, 0);
}

/* Has a helper faulted within that time? */
static bool fault(struct late *l, int timeout_ms, uint64_t *ret_page)
{
	struct pollfd p = {.fd = l->ufd, .events = POLLIN};
	struct uffd_msg m;

	if (poll(&p, 1, timeout_ms) <= 0)
		return false;
	assert_int_equal(read(l->ufd, &m, sizeof(m)), sizeof(m));
	assert_int_equal(m.event, UFFD_EVENT_PAGEFAULT);
	assert_true(m.arg.pagefault.address - l->base < RIG_GUEST_SIZE);
	*ret_page = (m.arg.pagefault.address - l->base) / PAGE;
	return true;
}

static uint64_t expect_fault(struct late *l)
{
	uint64_t page;

	assert_true(fault(l, PATIENT, &page));
	return page;
}

static void wake(struct late *l, uint64_t page)
{
	struct uffdio_range r = {.start = l->base + page * PAGE, .len = PAGE};

	assert_int_equal(ioctl(l->ufd, UFFDIO_WAKE, &r), 0);
}

static void put(struct late *l, uint64_t page)
{
	assert_int_equal(
		pwrite(l->rig->guest_fd, l->image + page * PAGE, PAGE, (off_t)(page * PAGE)), PAGE);
}

static void deliver(struct late *l, uint64_t page)
{
	put(l, page);
	wake(l, page);
}

static bool is_hole(struct late *l, uint64_t page)
{
	off_t at = (off_t)(page * PAGE);

	return lseek(l->rig->guest_fd, at, SEEK_DATA) != at;
}

/* Let the device do what helpers asked the control thread for, serving faults, until it is so. */
static void until(struct late *l, bool (*is_so)(struct late *l))
{
	uint64_t page;

	for (int i = 0; i < PATIENT / 10; i++) {
		vhost_dev_report_faults(l->rig->dev);
		if (is_so(l))
			return;
		if (!fault(l, 10, &page))
			continue;
		if (l->stingy && page >= BUFFERS / PAGE && l->n_held < 64)
			l->held[l->n_held++] = page;
		else
			deliver(l, page);
	}
	fail_msg("waited in vain; last warning \"%s\"", l->rig->warn);
}

static bool both_run(struct late *l)
{
	return vhost_dev_vq(l->rig->dev, 0)->started && vhost_dev_vq(l->rig->dev, 1)->started;
}

static bool is_broken(struct late *l)
{
	return vhost_dev_broken(l->rig->dev);
}

static bool tx_goes_on(struct late *l)
{
	return !vhost_vq_asked(vhost_dev_vq(l->rig->dev, 1));
}

/* ---- set-up ---- */

static int late_setup(void **state)
{
	struct late *l = calloc(1, sizeof(*l));
	void *rig;

	assert_non_null(l);
	rig_setup(&rig);
	l->rig = rig;
	l->ufd = -1;
	l->image = calloc(1, RIG_GUEST_SIZE);
	assert_non_null(l->image);
	*state = l;
	fe_negotiate(l->rig, fe_features());
	return 0;
}

static int late_teardown(void **state)
{
	struct late *l = *state;
	void *rig = l->rig;

	if (l->ufd >= 0)
		close(l->ufd);
	for (int i = 0; i < 2; i++)
		if (l->fds[i].kick > 0)
			close_ring_fds(l->fds[i]);
	free(l->image);
	free(l);
	return rig_teardown(&rig);
}

/* Two rings with one buffer each, of several pages; nothing is here. */
static void begin(struct late *l)
{
	for (uint64_t ring = 0; ring < 2; ring++) {
		uint8_t *at = l->image + ring * RIG_RING_SPAN;
		struct vring_desc *desc = (void *)(at + RIG_DESC);
		struct vring_avail *avail = (void *)(at + RIG_AVAIL);

		for (uint16_t i = 0; i < 4; i++) {
			uint64_t off = BUFFERS + ring * 0x80000 + i * 2 * PAGE;

			desc[i] = (struct vring_desc){.addr = RIG_GPA + off,
			                              .len = PAGE + 100,
			                              .flags = ring == 0 ? VRING_DESC_F_WRITE : 0};
			memset(l->image + off, 'a' + i, PAGE + 100);
			avail->ring[i] = i;
		}
		avail->idx = 4;
	}
	l->ufd = advise(l->rig);
	assert_true(l->ufd >= 0);
	assert_int_equal(listen_for_pages(l->rig), 0);
	share(l);
	for (uint32_t ring = 0; ring < 2; ring++)
		l->fds[ring] = fe_start_ring(l->rig, ring, RING, 0);
}

static void deliver_held(struct late *l)
{
	while (l->n_held > 0)
		deliver(l, l->held[--l->n_held]);
}

/* The rings run, and no page of a buffer is here. */
static void run(struct late *l)
{
	begin(l);
	acknowledge(l);
	l->stingy = true;
	until(l, both_run);
	l->stingy = false;
}

static enum vhost_vq_fault next(struct late *l, uint32_t ring, struct vhost_segs *segs)
{
	struct vhost_vq *vq = vhost_dev_vq(l->rig->dev, (uint16_t)ring);
	const struct vhost_vq_map *map = vhost_vq_get_map(vq);
	struct vhost_cursor cursor = vhost_ring_cursor(vq);
	enum vhost_vq_fault fault;
	struct vhost_buf buf;

	assert_non_null(map);
	vhost_vq_use_map(vq, map);
	segs->n = 0;
	segs->total = 0;
	fault = vhost_ring_next(vq, map, &cursor, ring == 0, segs, &buf);
	if (fault == VHOST_VQ_WAIT) {
		vhost_ring_look_ahead(vq, map, ring == 0);
		vhost_vq_ask(vq);
	}
	return fault;
}

/* ---- tests ---- */

static void order_of_messages(void **state)
{
	struct late *l = *state;
	struct rig *rig = l->rig;
	int first, second;

	assert_int_equal(listen_for_pages(rig), 1);
	assert_warned(rig, "without POSTCOPY_ADVISE");
	rig->warn[0] = '\0';
	assert_int_equal(end(rig), 1);
	assert_warned(rig, "without POSTCOPY_ADVISE");

	/* Another try: the last one counts. */
	first = advise(rig);
	second = advise(rig);
	assert_true(first >= 0 && second >= 0);
	close(first);
	l->ufd = second;
	rig->n_warn = 0;
	assert_int_equal(listen_for_pages(rig), 0);
	assert_int_equal(listen_for_pages(rig), 0);
	assert_int_equal(rig->n_warn, 0);
	assert_int_equal(advise(rig), -1); /* no descriptor: refused */
	assert_warned(rig, "after POSTCOPY_LISTEN");
	share(l);
	acknowledge(l);
	assert_int_equal(listen_for_pages(rig), 0);
	rig->n_warn = 0;
	assert_int_equal(end(rig), 0);
	assert_int_equal(end(rig), 0);
	assert_int_equal(rig->n_warn, 0);

	/* With memory shared before, its pages may have been touched already. */
	close(l->ufd);
	l->ufd = advise(rig);
	assert_int_equal(listen_for_pages(rig), 1);
	assert_warned(rig, "shared already");
	assert_int_equal(end(rig), 0);
	fe_honest(rig);
}

/* QEMU would hang with them: no descriptor. */
static void several_queue_pairs(void **state)
{
	struct late *l = *state;
	int call = make_eventfd();

	fe_ring_fd(l->rig, VHOST_MSG_SET_VRING_CALL, 2, call);
	close(call);
	assert_int_equal(advise(l->rig), -1);
	assert_warned(l->rig, "several queue pairs");
	fe_honest(l->rig);
}

/* Not negotiated, the requests are no requests. */
static void needs_the_protocol_feature(void **state)
{
	struct late *l = *state;
	struct rig *rig = l->rig;

	fe_set_u64(rig, VHOST_MSG_SET_PROTOCOL_FEATURES, VHOST_BIT(VHOST_PROTO_REPLY_ACK));
	assert_int_equal(listen_for_pages(rig), 1);
	assert_warned(rig, "not negotiated");
	fe_send(rig, VHOST_MSG_POSTCOPY_ADVISE, 0, NULL, 0, NULL, 0);
	assert_int_equal(rig_receive(rig), -EPROTO);
}

/* Nothing is touched before the acknowledgement; rings start when their own pages are here. */
static void rings_start_late(void **state)
{
	struct late *l = *state;
	uint64_t page;

	begin(l);
	assert_false(fault(l, 50, &page));
	assert_false(both_run(l));
	acknowledge(l);
	until(l, both_run);
	assert_int_equal(fe_get_base(l->rig, 0), 0);
	assert_int_equal(fe_get_base(l->rig, 1), 0);
	assert_int_equal(end(l->rig), 0);
}

/* ADD_MEM_REG: an answer each, one acknowledgement for all. */
static void regions_one_by_one(void **state)
{
	struct late *l = *state;
	struct vhost_msg_mem_region m[2] = {0}, reply;

	l->ufd = advise(l->rig);
	assert_int_equal(listen_for_pages(l->rig), 0);
	for (int i = 0; i < 2; i++) {
		m[i].region = (struct vhost_region_desc){
			.gpa = RIG_GPA + (uint64_t)i * RIG_GUEST_SIZE / 2,
			.size = RIG_GUEST_SIZE / 2,
			.uva = RIG_UVA + (uint64_t)i * RIG_GUEST_SIZE / 2,
			.mmap_offset = (uint64_t)i * RIG_GUEST_SIZE / 2};
		fe_send(l->rig, VHOST_MSG_ADD_MEM_REG, 0, &m[i], sizeof(m[i]), &l->rig->guest_fd,
		        1);
		assert_int_equal(rig_receive(l->rig), 0);
		fe_expect_reply(l->rig, VHOST_MSG_ADD_MEM_REG, &reply, sizeof(reply));
		assert_int_equal(reply.region.gpa, m[i].region.gpa);
		assert_int_not_equal(reply.region.uva, m[i].region.uva);
		if (i == 0)
			l->base = reply.region.uva;
	}
	for (uint32_t ring = 0; ring < 2; ring++)
		l->fds[ring] = fe_start_ring(l->rig, ring, RING, 0);
	fe_set_u64(l->rig, VHOST_MSG_ADD_MEM_REG, 0);
	until(l, both_run);
	/* A region goes; QEMU sends its word after that, too. */
	fe_set(l->rig, VHOST_MSG_REM_MEM_REG, &m[1], sizeof(m[1]), NULL, 0);
	fe_set_u64(l->rig, VHOST_MSG_REM_MEM_REG, 0);
	fe_set_u64(l->rig, 0, 0);
	assert_true(both_run(l));
	assert_int_equal(end(l->rig), 0);
}

static void bad_acknowledgement(void **state)
{
	struct late *l = *state;
	uint64_t bad = 1;

	begin(l);
	fe_send(l->rig, VHOST_MSG_SET_MEM_TABLE, 0, &bad, sizeof(bad), NULL, 0);
	rig_expect_end(l->rig, "cannot serve our faults");
}

/* Memory that cannot be served: the front end waits for addresses and gets the end instead. */
static void bad_memory(void **state)
{
	struct late *l = *state;
	struct vhost_msg_mem_table t = {.n_regions = 1};
	char name[] = "/var/tmp/vx-postcopy-XXXXXX";
	int fd = mkstemp(name);

	assert_true(fd >= 0);
	unlink(name);
	assert_int_equal(ftruncate(fd, (off_t)RIG_GUEST_SIZE), 0);
	l->ufd = advise(l->rig);
	assert_int_equal(listen_for_pages(l->rig), 0);
	rig_region(&t.regions[0]);
	fe_send(l->rig, VHOST_MSG_SET_MEM_TABLE, 0, &t, 8 + 32, &fd, 1);
	rig_expect_end(l->rig, "memfd, shm or hugetlbfs");
	close(fd);
}

/*
 * Buffers wait for their pages, which are asked for as soon as the ring runs, all at once; contents
 * are the source's.
 */
static void buffers_wait(void **state)
{
	struct late *l = *state;
	struct vhost_seg seg[8];
	struct vhost_segs segs = {.seg = seg, .max = 8};
	struct vhost_vq *tx;

	run(l);
	tx = vhost_dev_vq(l->rig->dev, 1);
	assert_null(vhost_mem_find(vhost_vq_get_map(tx)->mem, RIG_GPA, 1)); /* no fast path */
	assert_int_equal(next(l, 1, &segs), VHOST_VQ_WAIT);
	assert_int_equal(vhost_vq_asked(tx), 4);
	assert_int_equal(next(l, 1, &segs), VHOST_VQ_WAIT);
	assert_int_equal(l->rig->n_wake, 0);
	deliver_held(l);
	until(l, tx_goes_on);
	assert_true(l->rig->n_wake > 0);
	assert_int_equal(next(l, 1, &segs), VHOST_VQ_OK);
	assert_int_equal(segs.total, PAGE + 100);
	assert_memory_equal(seg[0].base, l->image + 0x180000, PAGE + 100);
	assert_int_equal(atomic_load(&tx->fault), VHOST_VQ_OK);
	assert_int_equal(end(l->rig), 0);
}

/* Pages that arrived unasked are found without a fault, and their neighbours with them. */
static void pages_that_came_before(void **state)
{
	struct late *l = *state;
	struct vhost_seg seg[8];
	struct vhost_segs segs = {.seg = seg, .max = 8};

	begin(l);
	for (uint64_t i = 0x180000 / PAGE; i < 0x180000 / PAGE + 8; i++)
		put(l, i);
	acknowledge(l);
	l->stingy = true;
	until(l, both_run);
	until(l, tx_goes_on);
	for (uint32_t i = 0; i < l->n_held; i++)
		assert_true(l->held[i] < 0x180000 / PAGE);
	assert_int_equal(next(l, 1, &segs), VHOST_VQ_OK);
	assert_memory_equal(seg[0].base, l->image + 0x180000, PAGE + 100);
}

/* Pages come in any order, and one that is late holds up nothing but its own ring. */
static void out_of_order(void **state)
{
	struct late *l = *state;
	uint64_t held[2], n = 0, page;

	begin(l);
	acknowledge(l);
	/* The first two faults are left alone; whoever else asks is served. */
	held[n++] = expect_fault(l);
	held[n++] = expect_fault(l);
	for (int i = 0; i < 20; i++) {
		if (fault(l, 10, &page))
			deliver(l, page);
		vhost_dev_report_faults(l->rig->dev);
	}
	assert_false(both_run(l));
	assert_int_equal(fe_get_u64(l->rig, VHOST_MSG_GET_FEATURES),
	                 (vhost_dev_default_features() & ~VHOST_BIT(VIRTIO_F_ACCESS_PLATFORM)));
	while (n > 0)
		deliver(l, held[--n]);
	until(l, both_run);
}

/* A page that never comes: stopping, ending and starting anew go on all the same. */
static void never(void **state)
{
	struct late *l = *state;
	struct vhost_seg seg[8];
	struct vhost_segs segs = {.seg = seg, .max = 8};
	uint64_t page;

	run(l);
	assert_int_equal(next(l, 1, &segs), VHOST_VQ_WAIT);
	vhost_dev_report_faults(l->rig->dev);
	page = l->n_held ? l->held[0] : expect_fault(l);
	assert_int_equal(fe_get_base(l->rig, 1), 0);
	close_ring_fds(l->fds[1]);
	l->fds[1] = fe_start_ring(l->rig, 1, RING, 0);
	assert_true(both_run(l)); /* the ring's own pages are here */
	assert_int_equal(next(l, 1, &segs), VHOST_VQ_WAIT);
	assert_int_equal(end(l->rig), 0);
	/* Nobody filled it with zeros in the meantime. */
	assert_true(is_hole(l, page));
	assert_int_equal(next(l, 1, &segs), VHOST_VQ_OK);
}

/* The connection ends with faults under way, before and after the rings run. */
static void front_end_dies(void **state)
{
	struct late *l = *state;
	uint64_t page;

	begin(l);
	acknowledge(l);
	page = expect_fault(l);
	close(l->rig->fe);
	l->rig->fe = -1;
	assert_int_equal(rig_receive(l->rig), -ECONNRESET);
	vhost_dev_detach(l->rig->dev);
	assert_true(is_hole(l, page));
	rig_attach(l->rig);
	fe_honest(l->rig);
}

/* Memory is replaced under a fault: nothing hangs, and the ring moves to the new table. */
static void memory_goes(void **state)
{
	struct late *l = *state;
	uint64_t page;

	begin(l);
	acknowledge(l);
	page = expect_fault(l);
	share(l);
	assert_true(is_hole(l, page));
	acknowledge(l);
	until(l, both_run);
	/* Of a running ring, too: the new mapping's pages have to be found anew. */
	share(l);
	assert_false(both_run(l));
	acknowledge(l);
	until(l, both_run);
	assert_int_equal(fe_get_base(l->rig, 0), 0);
}

/* Wakes without a page do no harm. */
static void woken_for_nothing(void **state)
{
	struct late *l = *state;
	uint64_t page;

	begin(l);
	acknowledge(l);
	for (int i = 0; i < 8; i++) {
		page = expect_fault(l);
		wake(l, page);
	}
	assert_false(both_run(l));
	for (uint64_t ring = 0; ring < 2; ring++)
		for (uint64_t i = 0; i < RIG_RING_SPAN / PAGE; i++)
			deliver(l, ring * RIG_RING_SPAN / PAGE + i);
	until(l, both_run);
}

/* The file gets too short for a page that a helper waits for: the connection ends. */
static void truncated(void **state)
{
	struct late *l = *state;
	uint64_t page;

	begin(l);
	acknowledge(l);
	page = expect_fault(l);
	assert_int_equal(ftruncate(l->rig->guest_fd, 0), 0);
	wake(l, page);
	for (int i = 0; i < PATIENT / 10 && !is_broken(l); i++) {
		if (fault(l, 10, &page))
			wake(l, page);
		vhost_dev_report_faults(l->rig->dev);
	}
	assert_true(is_broken(l));
	assert_warned(l->rig, "disappeared");
	assert_int_equal(rig_receive(l->rig), -EPROTO);
	vhost_dev_detach(l->rig->dev);
}

/* A page that was here is taken back: who touches it does not sleep, the connection ends. */
static void taken_back(void **state)
{
	struct late *l = *state;
	struct vhost_vq *vq;

	run(l);
	vq = vhost_dev_vq(l->rig->dev, 0);
	assert_int_equal(fallocate(l->rig->guest_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
	                           RIG_AVAIL, PAGE),
	                 0);
	assert_int_equal(ring_load_acquire16(&vhost_vq_get_map(vq)->avail->idx), 0);
	until(l, is_broken);
	assert_warned(l->rig, "taken back");
	vhost_dev_detach(l->rig->dev);
}

int main(void)
{
#define LATE(name) cmocka_unit_test_setup_teardown(name, late_setup, late_teardown)
	const struct CMUnitTest tests[] = {
		LATE(order_of_messages),
		LATE(several_queue_pairs),
		LATE(needs_the_protocol_feature),
		LATE(rings_start_late),
		LATE(regions_one_by_one),
		LATE(bad_acknowledgement),
		LATE(bad_memory),
		LATE(buffers_wait),
		LATE(pages_that_came_before),
		LATE(out_of_order),
		LATE(never),
		LATE(front_end_dies),
		LATE(memory_goes),
		LATE(woken_for_nothing),
		LATE(truncated),
		LATE(taken_back),
	};
	const char *missing = vhost_postcopy_missing();

	if (missing) {
		printf("skipped: %s\n", missing);
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
