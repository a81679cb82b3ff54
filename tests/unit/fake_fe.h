/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fake_fe.h - a front end and an owner for tests of the vhost-user server
 *
 * Everything happens on one thread: fe_send() writes to one end of a socket pair, rig_receive()
 * lets the device read the other. The owner records what the device asks of it. Each test gets
 * a rig from its set-up, and the tear-down fails the test if a descriptor or a mapping is left.
 */
#ifndef FAKE_FE_H
#define FAKE_FE_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "vhost_dev.h"
#include "vhost_wire.h"

#define RIG_GUEST_SIZE ((uint64_t)4 << 20)
#define RIG_UVA        0x7f1200000000ULL
#define RIG_GPA        0x40000000ULL
#define RIG_RING_SPAN  0x10000ULL /* of guest memory per ring */
#define RIG_MAX_MTU    9000

/* Offsets of a ring's parts in its span; good up to 1024 descriptors */
#define RIG_DESC  0x0000ULL
#define RIG_AVAIL 0x4000ULL
#define RIG_USED  0x8000ULL

struct rig {
	struct vhost_dev *dev;
	_Atomic uint32_t n_attend; /* from any thread */
	int fe;                    /* front end's socket, -1: closed */

	int guest_fd;
	uint8_t *guest; /* front end's view of the guest's memory */

	/* What the owner saw */
	uint32_t n_quiesce, n_changed, n_wake, n_info, n_warn, n_announced;
	uint8_t announced[6];
	const char *announce_why; /* what the owner answers */
	char warn[512];           /* the last one */
	char info[512];
	void (*on_quiesce)(struct rig *rig);
	void (*on_changed)(struct rig *rig);
	void *hook_data;

	uint32_t fds_before, maps_before;
};

uint32_t count_fds(void);
uint32_t count_memfd_mappings(void);

/* cmocka set-up and tear-down: two queue pairs, attached; and the check for leaks */
int rig_setup(void **state);
int rig_teardown(void **state);

/* Replace the device by one with other settings; attached again. */
void rig_renew(struct rig *rig, const struct vhost_dev_config *config);
void rig_config(struct vhost_dev_config *ret_config, uint16_t pairs);
void rig_attach(struct rig *rig);

/* vhost_dev_receive(), once */
int rig_receive(struct rig *rig);

int make_memfd(uint64_t size);
int make_eventfd(void);
uint64_t read_eventfd(int fd); /* 0 if nothing was signalled */

/* Write a message in one piece. Descriptors stay the caller's. */
void fe_send(struct rig *rig, uint32_t id, uint32_t flags, const void *payload, uint32_t size,
             const int *fds, uint32_t n_fds);
/* Read exactly one reply with flags 5; fails the test if it is another one. */
void fe_expect_reply(struct rig *rig, uint32_t id, void *payload, uint32_t size);
void fe_expect_nothing(struct rig *rig);
bool fe_closed(struct rig *rig);

/* Send, let the device handle it, expect success and no reply. */
void fe_set(struct rig *rig, uint32_t id, const void *payload, uint32_t size, const int *fds,
            uint32_t n_fds);
void fe_set_u64(struct rig *rig, uint32_t id, uint64_t value);
uint64_t fe_get_u64(struct rig *rig, uint32_t id);
void fe_ring_state(struct rig *rig, uint32_t id, uint32_t index, uint32_t num);
uint32_t fe_get_base(struct rig *rig, uint32_t index);
/* KICK, CALL, ERR; @fd -1 sends bit 8 */
void fe_ring_fd(struct rig *rig, uint32_t id, uint32_t index, int fd);

/* With NEED_REPLY: returns the value of the acknowledgement. */
uint64_t fe_ask(struct rig *rig, uint32_t id, const void *payload, uint32_t size, const int *fds,
                uint32_t n_fds);

/* Shorthand for the usual set-up */
void rig_ring_addr(uint32_t ring, struct vhost_vring_addr *ret_addr);
void fe_ring_addr(struct rig *rig, uint32_t ring);
void rig_region(struct vhost_region_desc *ret_desc);
void fe_mem_table(struct rig *rig);
/** fe_features() - what a front end with split rings and without IOMMU acks: all else on offer */
uint64_t fe_features(void);

/** fe_protocol_features() - likewise, but for GPA_ADDRESSES: RIG_UVA is what addresses are */
uint64_t fe_protocol_features(void);
void fe_negotiate(struct rig *rig, uint64_t features); /* with all protocol features */
/* NUM, BASE, ADDR, KICK, CALL, ENABLE. Returned descriptors are the caller's to close. */
struct ring_fds {
	int kick, call;
};
struct ring_fds fe_start_ring(struct rig *rig, uint32_t ring, uint32_t size, uint32_t base);
void close_ring_fds(struct ring_fds fds);

/* For tests of bad input. A new device, negotiated, so that the limit on warnings hides nothing */
void rig_fresh(struct rig *rig);
/* The connection is over, with one warning that holds @word; the front end then comes back. */
void rig_expect_end(struct rig *rig, const char *word);
/* A whole conversation that must work */
void fe_honest(struct rig *rig);

/* Guest's view of a ring */
struct vring_avail *guest_avail(struct rig *rig, uint32_t ring);
struct vring_used *guest_used(struct rig *rig, uint32_t ring);

#define assert_warned(rig, text)                                                                   \
	do {                                                                                       \
		if (!strstr((rig)->warn, text))                                                    \
			fail_msg("last warning \"%s\" lacks \"%s\"", (rig)->warn, text);           \
	} while (0)

#endif
