/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fake_path.h - guests, rings and a nic that live in this process, for tests of the data path
 *
 * The guest's side of a ring is played by the test: it writes descriptors and reads used entries
 * itself, so nothing here shares code with what is tested but the layouts.
 *
 * Rings may be packed: tests build chains in the table of a split ring all the same; fp_avail()
 * then lays the chain out in the slots of the packed one, indirect tables included, with the head
 * as its id.
 */
#ifndef FAKE_PATH_H
#define FAKE_PATH_H

#include "forward.h"

#define FP_PORTS     4
#define FP_RING      256
#define FP_MEM       (4u << 20) /* guest memory of a port, in two regions */
#define FP_GAP       0x10000000ull
#define FP_XSK_RING  64
#define FP_XSK_FRAME 2048u

/* A guest's view of one ring. */
struct fp_ring {
	struct vhost_vq vq;
	struct vhost_vq_map map;
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	uint16_t next_desc, avail_idx, used_seen;
	int call_fd;
	struct fp_port *owner;
	/* Packed: the ring itself, where both sides are, and how many slots each chain takes */
	struct vring_packed_desc *slots;
	struct vring_packed_desc_event *driver_event, *device_event;
	uint16_t avail_slot, used_slot;
	bool avail_wrap, used_wrap;
	uint16_t n_slots[FP_RING];
	_Atomic uint32_t kept;
};

struct fp_port {
	struct port port;
	struct conf_port conf;
	struct vhost_mem *mem;
	uint8_t *bytes; /* region 0 at gpa 0, region 1 at FP_GAP, each half of FP_MEM */
	uint32_t next_byte;
	uint64_t mac;
	struct fp_ring rx, tx;
	struct fwd_guest_source src;
};

struct fp_xsk {
	struct xsk_queue q;
	uint32_t words[8]; /* producer and consumer of rx, fill, tx, comp */
	uint32_t flags;
	struct xdp_desc rx[FP_XSK_RING], tx[FP_XSK_RING];
	uint64_t fill[FP_XSK_RING], comp[FP_XSK_RING];
	uint64_t free[FP_XSK_RING];
	uint8_t *area;
};

struct fake_path {
	struct conf_nic nic_conf;
	struct nic nic;
	struct nic_view *view;
	struct nic_counters *counters;
	struct fp_xsk *xsk;
	struct fdb *fdb;
	struct fwd *fwd;
	struct fp_port *ports;
};

/** fp_packed - size of the packed rings that fp_new() makes; 0: they are split */
extern uint16_t fp_packed;

/** fp_run_tests() - run a group of cmocka tests with split rings, then with packed ones */
#define fp_run_tests(tests)                                                                        \
	({                                                                                         \
		int failed;                                                                        \
		fp_packed = 0;                                                                     \
		failed = cmocka_run_group_tests_name("split", tests, NULL, NULL);                  \
		fp_packed = FP_RING;                                                               \
		failed += cmocka_run_group_tests_name("packed", tests, NULL, NULL);                \
		fp_packed = 243;                                                                   \
		failed += cmocka_run_group_tests_name("packed, odd size", tests, NULL, NULL);      \
		failed;                                                                            \
	})

/** fp_new() - @mode: internal has no wire; others get one fake AF_XDP queue. VLAN of each port. */
struct fake_path *fp_new(enum conf_nic_mode mode, const uint16_t vlans[FP_PORTS]);
void fp_free(struct fake_path *fp);
/** fp_rebuild() - after a test changed ports' fields that the table is built from */
void fp_rebuild(struct fake_path *fp);

/** fp_alloc() - guest memory: returns its gpa; fp_host() is where the test sees it */
uint64_t fp_alloc(struct fp_port *p, uint32_t len);
uint8_t *fp_host(struct fp_port *p, uint64_t gpa);

/** fp_desc() - write one descriptor, returns its number */
uint16_t fp_desc(struct fp_ring *r, uint64_t gpa, uint32_t len, uint16_t flags, uint16_t next);
/** fp_avail() - make a chain available */
void fp_avail(struct fp_ring *r, uint16_t head);
/** fp_avail_table() - make a chain available that is an indirect table of @len bytes at @gpa */
void fp_avail_table(struct fp_ring *r, uint64_t gpa, uint32_t len);
/** fp_used() - take one used entry; false if there is none */
bool fp_used(struct fp_ring *r, uint16_t *ret_head, uint32_t *ret_len);
/** fp_expect_used() - the next used entry says @len bytes */
void fp_expect_used(struct fp_ring *r, uint32_t len);
/** fp_no_interrupts() - the guest wants none */
void fp_no_interrupts(struct fp_ring *r);
/** fp_interrupt_at() - EVENT_IDX: the guest wants one when buffer @index, counted from 0, is used
 */
void fp_interrupt_at(struct fp_ring *r, uint32_t index);
/** fp_post() - one receive buffer of one descriptor; returns its gpa */
uint64_t fp_post(struct fp_port *p, uint32_t len);

/** fp_frame() - fill @buf: addresses, ethertype 0x0800, and bytes that depend on @seed */
void fp_frame(uint8_t *buf, uint32_t len, uint64_t dst, uint64_t src, uint32_t seed);
/** fp_send() - put header and frame into one descriptor of the port's tx ring */
void fp_send(struct fp_port *p, const uint8_t *frame, uint32_t len);

/* Shapes in which drivers make a transmit buffer */
enum fp_shape {
	FP_PLAIN,         /* one descriptor */
	FP_CHAINED,       /* one for the header, one for the frame */
	FP_TABLE_OF_ONE,  /* an indirect table with one entry for both */
	FP_TABLE_OF_TWO,  /* ... with one for each */
	FP_TABLE_OF_FOUR, /* ... with three for the frame, which has at least three bytes */
	FP_N_SHAPES
};
/** fp_send_as() - fp_send() with a buffer of that shape; returns where its frame is */
uint64_t fp_send_as(struct fp_port *p, enum fp_shape shape, const uint8_t *frame, uint32_t len);
/** fp_run() - let the worker take one burst of the port's tx ring; returns frames taken */
uint32_t fp_run(struct fake_path *fp, struct fp_port *p);

/** fp_xsk_receive() - a frame arrives at the nic, with metadata for @port unless 0xffffffff */
void fp_xsk_receive(struct fake_path *fp, const uint8_t *frame, uint32_t len, uint32_t port,
                    uint16_t flags);
uint32_t fp_run_nic(struct fake_path *fp);
/** fp_xsk_sent() - the kernel takes one frame off the tx ring; NULL if there is none */
const uint8_t *fp_xsk_sent(struct fake_path *fp, uint32_t *ret_len);

/** fp_expect_frame() - take the next frame out of the port's rx ring: entries, header, bytes */
void fp_expect_frame(struct fp_port *p, const uint8_t *want, uint32_t len);
void fp_expect_nothing(struct fp_port *p);
/** fp_expect_returned() - the sender got exactly @n descriptors back */
void fp_expect_returned(struct fp_port *p, uint32_t n);
/** fp_expect_drop() - send a frame that is dropped for this reason, and for no other */
void fp_expect_drop(struct fake_path *fp, struct fp_port *p, const uint8_t *frame, uint32_t len,
                    enum port_from_drop why);
/** fp_expect_peace() - ports 2 and 3 do not notice what the others suffer */
void fp_expect_peace(struct fake_path *fp);
/** fp_expect_fault() - a burst of @p ends with ring @r given up, and peace for the others */
void fp_expect_fault(struct fake_path *fp, struct fp_port *p, struct fp_ring *r,
                     enum vhost_vq_fault fault);
/** fp_expect_rx_fault() - a frame from @from to @to ends @to's receive ring, and arrives nowhere */
void fp_expect_rx_fault(struct fake_path *fp, struct fp_port *from, struct fp_port *to,
                        enum vhost_vq_fault fault);
uint64_t fp_from_drops(const struct fp_port *p, enum port_from_drop why);
uint64_t fp_to_drops(const struct fp_port *p, enum port_to_drop why);

#endif
