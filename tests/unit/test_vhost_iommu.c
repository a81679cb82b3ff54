/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A device behind an IOMMU. The test is the front end: it answers questions on the back-end channel
 * from a mapping of its own. Guest memory begins at the I/O virtual address IOVA, page by page with
 * the permissions in `perm`.
 */
#include <fcntl.h>
#include <sys/socket.h>
#include "fake_fe.h"
#include "vhost_ring.h"

#define IOVA    0xfffff0000000ull
#define PAGE    4096ull
#define N_PAGES (RIG_GUEST_SIZE / PAGE)
#define SIZE    256
#define BUFS    (2 * RIG_RING_SPAN) /* offset of buffers, behind both rings */
#define RO      VHOST_ACCESS_RO
#define WO      VHOST_ACCESS_WO
#define RW      VHOST_ACCESS_RW

static uint8_t perm[N_PAGES];
static int channel; /* our end */

static uint64_t features(void)
{
	return fe_features() | VHOST_BIT(VIRTIO_F_ACCESS_PLATFORM);
}

static void give_channel(struct rig *rig)
{
	int sv[2];

	/* Their end blocks: nobody else sees to it that they do not wait. */
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	assert_int_equal(fcntl(sv[0], F_SETFL, O_NONBLOCK), 0);
	if (channel >= 0)
		close(channel);
	channel = sv[0];
	fe_set(rig, VHOST_MSG_SET_BACKEND_REQ_FD, NULL, 0, &sv[1], 1);
	close(sv[1]);
}

/* As with `iommu: true` */
static void meet(struct rig *rig)
{
	struct vhost_dev_config c;

	rig_config(&c, 2);
	c.features |= VHOST_BIT(VIRTIO_F_ACCESS_PLATFORM);
	rig_renew(rig, &c);
	fe_set_u64(rig, VHOST_MSG_SET_PROTOCOL_FEATURES,
	           fe_protocol_features() & ~VHOST_BIT(VHOST_PROTO_PAGEFAULT));
	fe_set_u64(rig, VHOST_MSG_SET_FEATURES, features());
}

static int setup(void **state)
{
	struct rig *rig;
	int err;

	channel = -1;
	memset(perm, RW, sizeof(perm));
	err = rig_setup(state);
	rig = *state;
	if (!err)
		meet(rig);
	return err;
}

static int teardown(void **state)
{
	if (channel >= 0)
		close(channel);
	return rig_teardown(state);
}

/* IOTLB_MSG; returns the answer, which comes whether it is asked for or not */
static uint64_t iotlb(struct rig *rig, uint8_t type, uint64_t iova, uint64_t size, uint64_t uaddr,
                      uint8_t access)
{
	const struct vhost_iotlb_msg m = {
		.iova = iova, .size = size, .uaddr = uaddr, .perm = access, .type = type};
	uint64_t answer = UINT64_MAX;

	fe_send(rig, VHOST_MSG_IOTLB_MSG, iova & PAGE ? VHOST_HDR_NEED_REPLY : 0, &m, sizeof(m),
	        NULL, 0);
	assert_int_equal(rig_receive(rig), 0);
	fe_expect_reply(rig, VHOST_MSG_IOTLB_MSG, &answer, sizeof(answer));
	return answer;
}

static void map_page(struct rig *rig, uint64_t page)
{
	assert_int_equal(iotlb(rig, VHOST_IOTLB_UPDATE, IOVA + page * PAGE, PAGE,
	                       RIG_UVA + page * PAGE, perm[page]),
	                 0);
}

static void unmap(struct rig *rig, uint64_t offset, uint64_t len)
{
	assert_int_equal(iotlb(rig, VHOST_IOTLB_INVALIDATE, IOVA + offset, len, 0, 0), 0);
}

/* The next request on the channel. False: there is none. */
static bool next_request(struct vhost_iotlb_msg *ret_msg)
{
	struct {
		struct vhost_msg_hdr hdr;
		struct vhost_iotlb_msg msg;
	} __attribute__((packed)) m;
	ssize_t n = read(channel, &m, sizeof(m));

	if (n < 0)
		return false;
	assert_int_equal(n, sizeof(m));
	assert_int_equal(m.hdr.id, VHOST_BACKEND_IOTLB_MSG);
	assert_int_equal(m.hdr.flags, VHOST_HDR_VERSION); /* nobody would read an answer */
	assert_int_equal(m.hdr.size, sizeof(m.msg));
	*ret_msg = m.msg;
	return true;
}

static void expect_miss(uint64_t offset, uint8_t access)
{
	struct vhost_iotlb_msg m;

	assert_true(next_request(&m));
	assert_int_equal(m.type, VHOST_IOTLB_MISS);
	assert_int_equal(m.iova / PAGE, (IOVA + offset) / PAGE);
	assert_int_equal(m.perm, access);
}

static void expect_no_request(void)
{
	struct vhost_iotlb_msg m;

	assert_false(next_request(&m));
}

/* Answer questions until there are none. Returns their number. */
static uint32_t answer(struct rig *rig)
{
	struct vhost_iotlb_msg m;
	uint32_t n = 0;

	while (next_request(&m)) {
		assert_int_equal(m.type, VHOST_IOTLB_MISS);
		assert_in_range(m.iova, IOVA, IOVA + RIG_GUEST_SIZE - 1);
		map_page(rig, (m.iova - IOVA) / PAGE);
		assert_true(n++ < 1000);
	}
	return n;
}

static struct ring_fds start(struct rig *rig, uint32_t ring)
{
	struct ring_fds fds = {.kick = make_eventfd(), .call = make_eventfd()};
	struct vhost_vring_addr a;

	rig_ring_addr(ring, &a);
	a.desc_user_addr += IOVA - RIG_UVA;
	a.avail_user_addr += IOVA - RIG_UVA;
	a.used_user_addr += IOVA - RIG_UVA;
	fe_ring_state(rig, VHOST_MSG_SET_VRING_NUM, ring, SIZE);
	fe_ring_state(rig, VHOST_MSG_SET_VRING_BASE, ring, 0);
	fe_set(rig, VHOST_MSG_SET_VRING_ADDR, &a, sizeof(a), NULL, 0);
	fe_ring_fd(rig, VHOST_MSG_SET_VRING_KICK, ring, fds.kick);
	fe_ring_fd(rig, VHOST_MSG_SET_VRING_CALL, ring, fds.call);
	fe_ring_state(rig, VHOST_MSG_SET_VRING_ENABLE, ring, 1);
	return fds;
}

static const struct vhost_vq_map *map_of(struct rig *rig, uint16_t ring)
{
	return vhost_vq_get_map(vhost_dev_vq(rig->dev, ring));
}

/* Connected, with one running ring */
static struct ring_fds run(struct rig *rig, uint32_t ring)
{
	struct ring_fds fds;

	give_channel(rig);
	fe_mem_table(rig);
	fds = start(rig, ring);
	answer(rig);
	assert_non_null(map_of(rig, (uint16_t)ring));
	return fds;
}

/* The guest makes a buffer of one descriptor available. */
static void post(struct rig *rig, uint32_t ring, uint64_t addr, uint32_t len)
{
	struct vring_desc *desc = (void *)(rig->guest + ring * RIG_RING_SPAN + RIG_DESC);
	struct vring_avail *avail = guest_avail(rig, ring);
	uint16_t i = avail->idx % SIZE;

	desc[i] = (struct vring_desc){
		.addr = addr, .len = len, .flags = ring & 1 ? 0 : VRING_DESC_F_WRITE};
	avail->ring[i] = i;
	avail->idx++;
}

/* What a worker sees of the first buffer; it asks for what is missing. */
static enum vhost_vq_fault look(struct rig *rig, uint16_t ring, uint8_t **ret_host)
{
	struct vhost_vq *vq = vhost_dev_vq(rig->dev, ring);
	const struct vhost_vq_map *map = map_of(rig, ring);
	struct vhost_seg seg[8];
	struct vhost_segs segs = {.seg = seg, .max = ARRAY_SIZE(seg)};
	struct vhost_cursor cursor;
	enum vhost_vq_fault fault;
	struct vhost_buf buf;

	assert_non_null(map);
	vhost_vq_use_map(vq, map);
	cursor = vhost_ring_cursor(vq);
	fault = vhost_ring_next(vq, map, &cursor, !(ring & 1), &segs, &buf);
	*ret_host = fault == VHOST_VQ_OK ? segs.seg[0].base : NULL;
	if (vhost_vq_ask(vq))
		vhost_dev_report_faults(rig->dev);
	return fault;
}

/* Guest memory has another address for us; the front end's view of the same page tells it. */
static void expect_same_byte(struct rig *rig, uint8_t *host, uint64_t offset)
{
	static uint8_t stamp;

	rig->guest[offset] = ++stamp;
	assert_int_equal(*host, stamp);
}

/* ---- starting ---- */

static void ring_starts_when_its_addresses_are_known(void **state)
{
	struct rig *rig = *state;
	struct ring_fds fds;

	give_channel(rig);
	fe_mem_table(rig);
	fds = start(rig, 1);
	assert_null(map_of(rig, 1));
	assert_false(vhost_dev_vq(rig->dev, 1)->started);
	/* One part after the other, each with what the device does to it */
	expect_miss(RIG_RING_SPAN + RIG_DESC, RO);
	expect_no_request();
	map_page(rig, (RIG_RING_SPAN + RIG_DESC) / PAGE);
	expect_miss(RIG_RING_SPAN + RIG_AVAIL, RO);
	map_page(rig, (RIG_RING_SPAN + RIG_AVAIL) / PAGE);
	expect_miss(RIG_RING_SPAN + RIG_USED, WO);
	assert_null(map_of(rig, 1));
	map_page(rig, (RIG_RING_SPAN + RIG_USED) / PAGE);
	expect_no_request();
	assert_non_null(map_of(rig, 1));
	assert_int_equal(rig->n_warn, 0);
	expect_same_byte(rig, (uint8_t *)map_of(rig, 1)->desc, RIG_RING_SPAN + RIG_DESC);
	assert_int_equal(fe_get_base(rig, 1), 0);
	close_ring_fds(fds);
}

/* The channel may come last; what was to be asked is asked then, and again on a second one. */
static void channel_comes_late(void **state)
{
	struct rig *rig = *state;
	uint32_t fds_before = count_fds();
	struct ring_fds fds;

	fe_mem_table(rig);
	fds = start(rig, 1);
	assert_null(map_of(rig, 1));
	for (int i = 0; i < 3; i++) {
		give_channel(rig);
		expect_miss(RIG_RING_SPAN + RIG_DESC, RO);
		expect_no_request();
	}
	/* The ring's two and their kick and call for us; one channel, with both its ends here */
	assert_int_equal(count_fds(), fds_before + 4 + 2);
	map_page(rig, (RIG_RING_SPAN + RIG_DESC) / PAGE);
	answer(rig);
	assert_non_null(map_of(rig, 1));
	close_ring_fds(fds);
}

/* Buffers that were posted before the ring starts are asked for before the first frame comes. */
static void posted_buffers_are_asked_for(void **state)
{
	struct rig *rig = *state;
	struct ring_fds fds;
	uint8_t *host;

	for (uint32_t i = 0; i < 20; i++)
		post(rig, 0, IOVA + BUFS + 2 * i * PAGE, 1600);
	fds = run(rig, 0);
	expect_no_request(); /* run() has answered them */
	assert_int_equal(look(rig, 0, &host), VHOST_VQ_OK);
	vhost_dev_vq(rig->dev, 0)->last_avail = 19;
	assert_int_equal(look(rig, 0, &host), VHOST_VQ_OK);
	expect_same_byte(rig, host, BUFS + 38 * PAGE);
	vhost_dev_vq(rig->dev, 0)->last_avail = 0;
	close_ring_fds(fds);
}

static void ring_in_pieces(void **state)
{
	struct rig *rig = *state;
	uint64_t used = RIG_RING_SPAN + RIG_USED;
	struct vhost_vring_addr a;
	struct ring_fds fds;

	give_channel(rig);
	fe_mem_table(rig);
	fds = start(rig, 1);
	/* A used ring across two pages that are not neighbours in memory */
	rig_ring_addr(1, &a);
	a.desc_user_addr += IOVA - RIG_UVA;
	a.avail_user_addr += IOVA - RIG_UVA;
	a.used_user_addr += IOVA - RIG_UVA + PAGE / 2;
	map_page(rig, (RIG_RING_SPAN + RIG_DESC) / PAGE);
	map_page(rig, (RIG_RING_SPAN + RIG_AVAIL) / PAGE);
	iotlb(rig, VHOST_IOTLB_UPDATE, IOVA + used + PAGE, PAGE, RIG_UVA + used + 5 * PAGE, RW);
	iotlb(rig, VHOST_IOTLB_INVALIDATE, IOVA + used, PAGE, 0, 0);
	fe_send(rig, VHOST_MSG_SET_VRING_ADDR, 0, &a, sizeof(a), NULL, 0);
	assert_int_equal(rig_receive(rig), 0);
	rig->n_warn = 0;
	iotlb(rig, VHOST_IOTLB_UPDATE, IOVA + used, PAGE, RIG_UVA + used, RW);
	assert_null(map_of(rig, 1));
	assert_warned(rig, "is not in one piece");
	close_ring_fds(fds);
}

/* ---- buffers ---- */

static void miss_update_goes_on(void **state)
{
	struct rig *rig = *state;
	struct ring_fds fds = run(rig, 1);
	struct vhost_vq *vq = vhost_dev_vq(rig->dev, 1);
	uint8_t *host;

	post(rig, 1, IOVA + BUFS + 100, 200);
	assert_int_equal(look(rig, 1, &host), VHOST_VQ_WAIT);
	expect_miss(BUFS, RO);
	/* Asked once, and the worker is not woken before there is something to do */
	assert_int_equal(look(rig, 1, &host), VHOST_VQ_WAIT);
	vhost_dev_report_faults(rig->dev);
	expect_no_request();
	map_page(rig, BUFS / PAGE + 1);
	assert_int_equal(rig->n_wake, 0);
	assert_int_equal(vhost_vq_asked(vq), 1);
	map_page(rig, BUFS / PAGE);
	assert_int_equal(rig->n_wake, 1);
	assert_int_equal(vhost_vq_asked(vq), 0);
	assert_int_equal(look(rig, 1, &host), VHOST_VQ_OK);
	expect_same_byte(rig, host, BUFS + 100);
	assert_int_equal(rig->n_warn, 0);
	close_ring_fds(fds);
}

/* A buffer in several pages, known one after the other; and one that never was a buffer */
static void long_buffers(void **state)
{
	struct rig *rig = *state;
	struct ring_fds fds = run(rig, 1);
	uint8_t *host;

	post(rig, 1, IOVA + BUFS + PAGE - 1, 3 * PAGE);
	assert_int_equal(look(rig, 1, &host), VHOST_VQ_WAIT);
	assert_int_equal(answer(rig), 4);
	assert_int_equal(look(rig, 1, &host), VHOST_VQ_OK);
	vhost_dev_vq(rig->dev, 1)->last_avail++;
	/* 4 GiB less one byte: questions are few at a time */
	post(rig, 1, IOVA + BUFS + 64 * PAGE, UINT32_MAX);
	assert_int_equal(look(rig, 1, &host), VHOST_VQ_WAIT);
	for (int i = 0; i < 16; i++)
		expect_miss(BUFS + (64 + (uint64_t)i) * PAGE, RO);
	expect_no_request();
	vhost_dev_vq(rig->dev, 1)->last_avail++;
	fe_get_base(rig, 1);
	close_ring_fds(fds);
}

static void wraps_around(void **state)
{
	struct rig *rig = *state;
	struct ring_fds fds = run(rig, 1);
	uint8_t *host;

	post(rig, 1, UINT64_MAX - 10, 200);
	assert_int_equal(look(rig, 1, &host), VHOST_VQ_WAIT);
	vhost_dev_report_faults(rig->dev);
	assert_null(map_of(rig, 1));
	assert_warned(rig, "ring 1 was given up: buffer outside guest memory");
	expect_no_request();
	close_ring_fds(fds);
}

static void permissions(void **state)
{
	struct rig *rig = *state;
	struct ring_fds fds;
	struct vhost_iotlb_msg m;
	uint8_t *host;

	fds = run(rig, 0);
	/* What may only be read is not written to, though its address is known. */
	perm[BUFS / PAGE] = RO;
	map_page(rig, BUFS / PAGE);
	post(rig, 0, IOVA + BUFS, 1600);
	assert_int_equal(look(rig, 0, &host), VHOST_VQ_WAIT);
	expect_miss(BUFS, WO);
	/* The guest has changed its mind meanwhile. */
	perm[BUFS / PAGE] = WO;
	map_page(rig, BUFS / PAGE);
	assert_int_equal(look(rig, 0, &host), VHOST_VQ_OK);
	vhost_dev_vq(rig->dev, 0)->last_avail++;
	/* It has not: the ring has named what is not the device's, and the front end is told. */
	perm[BUFS / PAGE + 1] = RO;
	post(rig, 0, IOVA + BUFS + PAGE, 1600);
	assert_int_equal(look(rig, 0, &host), VHOST_VQ_WAIT);
	expect_miss(BUFS + PAGE, WO);
	map_page(rig, BUFS / PAGE + 1);
	assert_true(next_request(&m));
	assert_int_equal(m.type, VHOST_IOTLB_ACCESS_FAIL);
	assert_int_equal(m.perm, WO);
	assert_null(map_of(rig, 0));
	assert_warned(rig, "ring 0 was given up: buffer outside guest memory");
	close_ring_fds(fds);
}

/* ---- invalidation ---- */

static void map_is_gone(struct rig *rig)
{
	assert_null(map_of(rig, 1));
	fe_expect_nothing(rig); /* not acked yet */
}

/*
 * "Ring pointers kept after IOTLB invalidate": no worker may have the ring when that is acked, and
 * it goes on where it was when it has a meaning again.
 */
static void ring_pointers_after_invalidate(void **state)
{
	struct rig *rig = *state;
	struct ring_fds fds = run(rig, 1);
	struct vhost_vq *vq = vhost_dev_vq(rig->dev, 1);
	uint32_t waits, changes = rig->n_changed;
	uint64_t used = RIG_RING_SPAN + RIG_USED;

	guest_avail(rig, 1)->idx = 7;
	vq->last_avail = vq->avail_seen = vq->used_idx = vq->used_pub = 7;
	rig->on_quiesce = map_is_gone;
	waits = rig->n_quiesce;
	unmap(rig, used, PAGE);
	rig->on_quiesce = NULL;
	assert_int_equal(rig->n_quiesce, waits + 1);
	assert_null(map_of(rig, 1));
	assert_true(vq->started);
	expect_miss(used, WO);
	/* The guest has put it elsewhere. */
	assert_int_equal(
		iotlb(rig, VHOST_IOTLB_UPDATE, IOVA + used, PAGE, RIG_UVA + used + 4 * PAGE, RW),
		0);
	assert_non_null(map_of(rig, 1));
	expect_same_byte(rig, (uint8_t *)map_of(rig, 1)->used, used + 4 * PAGE);
	assert_int_equal(vq->last_avail, 7);
	assert_int_equal(vq->used_idx, 7);
	assert_int_equal(rig->n_changed, changes); /* no plans, no link went down */
	/* Stopped while it is suspended: the position is as exact as ever. */
	unmap(rig, 0, 0);
	assert_null(map_of(rig, 1));
	assert_int_equal(fe_get_base(rig, 1), 7);
	assert_int_equal(rig->n_warn, 0);
	close_ring_fds(fds);
}

static void invalidate_in_flight(void **state)
{
	struct rig *rig = *state;
	struct ring_fds fds = run(rig, 1);
	uint32_t waits;
	uint8_t *host;

	map_page(rig, BUFS / PAGE);
	post(rig, 1, IOVA + BUFS, 200);
	assert_int_equal(look(rig, 1, &host), VHOST_VQ_OK);
	waits = rig->n_quiesce;
	unmap(rig, BUFS, PAGE);
	assert_int_equal(rig->n_quiesce, waits + 1);
	assert_non_null(map_of(rig, 1)); /* the ring itself stays */
	assert_int_equal(look(rig, 1, &host), VHOST_VQ_WAIT);
	answer(rig);
	assert_int_equal(look(rig, 1, &host), VHOST_VQ_OK);
	/* While it waits, too */
	unmap(rig, BUFS, PAGE);
	assert_int_equal(look(rig, 1, &host), VHOST_VQ_WAIT);
	unmap(rig, 0, 0);
	answer(rig);
	assert_int_equal(look(rig, 1, &host), VHOST_VQ_OK);
	expect_same_byte(rig, host, BUFS);
	close_ring_fds(fds);
}

/* Nothing was known of it: nobody has to wait, and the answer is yes all the same. */
static void unmatched_invalidations(void **state)
{
	struct rig *rig = *state;
	struct ring_fds fds = run(rig, 1);
	uint32_t waits;

	unmap(rig, BUFS, PAGE); /* settles what was put off before */
	waits = rig->n_quiesce;
	for (uint64_t i = 1; i < 50; i++)
		unmap(rig, BUFS + i * PAGE, PAGE);
	assert_int_equal(iotlb(rig, VHOST_IOTLB_INVALIDATE, 0, PAGE, 0, 0), 0);
	assert_int_equal(rig->n_quiesce, waits);
	assert_non_null(map_of(rig, 1));
	close_ring_fds(fds);
}

static void updates_need_no_wait(void **state)
{
	struct rig *rig = *state;
	struct ring_fds fds = run(rig, 1);
	uint32_t waits = rig->n_quiesce;

	for (uint64_t i = 0; i < 160; i++)
		map_page(rig, BUFS / PAGE + 2 * i);
	assert_in_range(rig->n_quiesce, waits, waits + 160 / 8); /* now and then, to free */
	/* But one that contradicts what workers may be using does. */
	waits = rig->n_quiesce;
	assert_int_equal(iotlb(rig, VHOST_IOTLB_UPDATE, IOVA + BUFS, PAGE, RIG_UVA, RW), 0);
	assert_int_equal(rig->n_quiesce, waits + 1);
	close_ring_fds(fds);
}

/* ---- life ---- */

/* QEMU does not tell what is invalidated while no ring runs; and late answers are out of date. */
static void nothing_is_remembered_over_a_stop(void **state)
{
	struct rig *rig = *state;
	struct ring_fds fds = run(rig, 1);

	fe_get_base(rig, 1);
	map_page(rig, (RIG_RING_SPAN + RIG_DESC) / PAGE);
	close_ring_fds(fds);
	fds = start(rig, 1);
	assert_null(map_of(rig, 1));
	expect_miss(RIG_RING_SPAN + RIG_DESC, RO);
	map_page(rig, (RIG_RING_SPAN + RIG_DESC) / PAGE);
	answer(rig);
	assert_non_null(map_of(rig, 1));
	close_ring_fds(fds);
}

static void memory_goes_away(void **state)
{
	struct rig *rig = *state;
	struct vhost_msg_mem_region r = {0};
	struct ring_fds fds = run(rig, 1);
	uint8_t *host;

	map_page(rig, BUFS / PAGE);
	post(rig, 1, IOVA + BUFS, 200);
	assert_int_equal(look(rig, 1, &host), VHOST_VQ_OK);
	/* The same table again: another mapping, the same translations */
	fe_mem_table(rig);
	assert_non_null(map_of(rig, 1));
	assert_int_equal(look(rig, 1, &host), VHOST_VQ_OK);
	expect_same_byte(rig, host, BUFS);
	/* Without the region there is no translation, and no ring. */
	rig_region(&r.region);
	fe_set(rig, VHOST_MSG_REM_MEM_REG, &r, sizeof(r), NULL, 0);
	assert_null(map_of(rig, 1));
	assert_int_equal(iotlb(rig, VHOST_IOTLB_UPDATE, IOVA, PAGE, RIG_UVA, RW), 1);
	assert_warned(rig, "not in guest memory");
	fe_set(rig, VHOST_MSG_ADD_MEM_REG, &r, sizeof(r), &rig->guest_fd, 1);
	answer(rig);
	assert_non_null(map_of(rig, 1));
	close_ring_fds(fds);
}

static void packed_ring(void **state)
{
	struct rig *rig = *state;
	struct ring_fds fds;

	fe_set_u64(rig, VHOST_MSG_SET_FEATURES, features() | VHOST_BIT(VIRTIO_F_RING_PACKED));
	/* It writes to the descriptors, so they must be for both. */
	give_channel(rig);
	fe_mem_table(rig);
	fds = start(rig, 1);
	expect_miss(RIG_RING_SPAN + RIG_DESC, RW);
	map_page(rig, (RIG_RING_SPAN + RIG_DESC) / PAGE);
	answer(rig);
	assert_non_null(map_of(rig, 1));
	assert_true(map_of(rig, 1)->packed);
	unmap(rig, 0, 0);
	assert_null(map_of(rig, 1));
	answer(rig);
	assert_non_null(map_of(rig, 1));
	close_ring_fds(fds);
}

/* ---- front ends that make trouble ---- */

static void channel_is_no_socket(void **state)
{
	struct rig *rig = *state;
	int sv[2];

	assert_int_equal(fe_ask(rig, VHOST_MSG_SET_BACKEND_REQ_FD, NULL, 0, &rig->guest_fd, 1), 1);
	assert_warned(rig, "not a Unix stream socket");
	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, sv), 0);
	assert_int_equal(fe_ask(rig, VHOST_MSG_SET_BACKEND_REQ_FD, NULL, 0, &sv[1], 1), 1);
	close(sv[0]);
	close(sv[1]);
	sv[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (sv[0] >= 0) {
		assert_int_equal(fe_ask(rig, VHOST_MSG_SET_BACKEND_REQ_FD, NULL, 0, &sv[0], 1), 1);
		close(sv[0]);
	}
	give_channel(rig);
}

/* A front end that never reads: sends fail, nobody waits, nothing grows. */
static void channel_is_never_read(void **state)
{
	struct rig *rig = *state;
	struct ring_fds fds = run(rig, 1);
	struct vhost_iotlb_msg m;
	uint32_t n = 0;
	uint8_t *host;

	for (uint64_t i = 0; i < 3000; i++) {
		/* Another address each time: the guest moves its buffer, the ring is started anew.
		 */
		fe_get_base(rig, 1);
		close_ring_fds(fds);
		guest_avail(rig, 1)->idx = 0;
		fds = start(rig, 1);
		for (uint64_t p = 0; p < 12; p++)
			map_page(rig, RIG_RING_SPAN / PAGE + p);
		guest_avail(rig, 1)->idx = 0;
		post(rig, 1, IOVA + BUFS + i * 16 * PAGE, 64 << 10);
		assert_int_equal(look(rig, 1, &host), VHOST_VQ_WAIT);
	}
	while (next_request(&m))
		n++;
	assert_in_range(n, 100, 20000); /* as much as the socket holds */
	assert_int_equal(rig->n_warn, 0);
	/* It reads again, and all is well. */
	fe_get_base(rig, 1);
	close_ring_fds(fds);
	guest_avail(rig, 1)->idx = 0;
	fds = start(rig, 1);
	while (!map_of(rig, 1) && next_request(&m))
		if (m.iova < IOVA + BUFS) /* else it was kept for us all the time */
			map_page(rig, (m.iova - IOVA) / PAGE);
	assert_non_null(map_of(rig, 1));
	close_ring_fds(fds);
}

static void channel_is_closed(void **state)
{
	struct rig *rig = *state;
	struct ring_fds fds = run(rig, 1);
	uint8_t *host;

	close(channel);
	channel = -1;
	post(rig, 1, IOVA + BUFS, 200);
	assert_int_equal(look(rig, 1, &host), VHOST_VQ_WAIT);
	assert_warned(rig, "back-end channel");
	assert_int_equal(rig->n_warn, 1);
	/* Its answer may come all the same. */
	map_page(rig, BUFS / PAGE);
	assert_int_equal(look(rig, 1, &host), VHOST_VQ_OK);
	/* And a new channel makes good for the old one. */
	vhost_dev_vq(rig->dev, 1)->last_avail++;
	post(rig, 1, IOVA + BUFS + PAGE, 200);
	assert_int_equal(look(rig, 1, &host), VHOST_VQ_WAIT);
	give_channel(rig);
	assert_int_equal(answer(rig), 1);
	assert_int_equal(look(rig, 1, &host), VHOST_VQ_OK);
	close_ring_fds(fds);
}

static void senseless_messages(void **state)
{
	struct rig *rig = *state;
	struct ring_fds fds = run(rig, 1);

	assert_int_equal(iotlb(rig, 0, IOVA, PAGE, RIG_UVA, RW), 1);
	assert_int_equal(iotlb(rig, VHOST_IOTLB_MISS, IOVA, PAGE, RIG_UVA, RW), 1);
	assert_int_equal(iotlb(rig, VHOST_IOTLB_ACCESS_FAIL, IOVA, PAGE, RIG_UVA, RW), 1);
	assert_int_equal(iotlb(rig, 255, IOVA, PAGE, RIG_UVA, RW), 1);
	assert_warned(rig, "type 255");
	assert_int_equal(iotlb(rig, VHOST_IOTLB_UPDATE, IOVA, 0, RIG_UVA, RW), 1);
	assert_int_equal(iotlb(rig, VHOST_IOTLB_UPDATE, IOVA, UINT64_MAX, RIG_UVA, RW), 1);
	assert_int_equal(iotlb(rig, VHOST_IOTLB_UPDATE, IOVA, PAGE, RIG_UVA, 0), 1);
	assert_int_equal(iotlb(rig, VHOST_IOTLB_UPDATE, IOVA, PAGE, 0, RW), 1);
	assert_non_null(map_of(rig, 1));
	close_ring_fds(fds);
}

/* A front end that has not acked the feature has no IOTLB, and plain addresses. */
static void without_the_feature(void **state)
{
	struct rig *rig = *state;

	rig_fresh(rig);
	assert_int_equal(iotlb(rig, VHOST_IOTLB_UPDATE, IOVA, PAGE, RIG_UVA, RW), 1);
	assert_warned(rig, "ACCESS_PLATFORM was not negotiated");
	fe_honest(rig);
}

/* Offered only with what it needs: QEMU refuses the whole device otherwise. */
static void offered_with_what_it_needs(void **state)
{
	struct rig *rig = *state;
	struct vhost_dev_config c;

	rig_config(&c, 1);
	c.features |= VHOST_BIT(VIRTIO_F_ACCESS_PLATFORM);
	rig_renew(rig, &c);
	assert_true(fe_get_u64(rig, VHOST_MSG_GET_FEATURES) & VHOST_BIT(VIRTIO_F_ACCESS_PLATFORM));
	/* Rings wait for one or the other. */
	assert_false(fe_get_u64(rig, VHOST_MSG_GET_PROTOCOL_FEATURES) &
	             VHOST_BIT(VHOST_PROTO_PAGEFAULT));
	c.protocol_features &= ~VHOST_BIT(VHOST_PROTO_REPLY_ACK);
	rig_renew(rig, &c);
	assert_false(fe_get_u64(rig, VHOST_MSG_GET_FEATURES) & VHOST_BIT(VIRTIO_F_ACCESS_PLATFORM));
	c.protocol_features |= VHOST_BIT(VHOST_PROTO_REPLY_ACK);
	c.protocol_features &= ~VHOST_BIT(VHOST_PROTO_BACKEND_REQ);
	rig_renew(rig, &c);
	assert_false(fe_get_u64(rig, VHOST_MSG_GET_FEATURES) & VHOST_BIT(VIRTIO_F_ACCESS_PLATFORM));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(ring_starts_when_its_addresses_are_known),
		T(channel_comes_late),
		T(posted_buffers_are_asked_for),
		T(ring_in_pieces),
		T(miss_update_goes_on),
		T(long_buffers),
		T(wraps_around),
		T(permissions),
		T(ring_pointers_after_invalidate),
		T(invalidate_in_flight),
		T(unmatched_invalidations),
		T(updates_need_no_wait),
		T(nothing_is_remembered_over_a_stop),
		T(memory_goes_away),
		T(packed_ring),
		T(channel_is_no_socket),
		T(channel_is_never_read),
		T(channel_is_closed),
		T(senseless_messages),
		T(without_the_feature),
		T(offered_with_what_it_needs),
	};
	return cmocka_run_group_tests_name("vhost_iommu", tests, NULL, NULL);
}
