/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fuzz_message.h - a hostile front end: what fuzz_message.c and fuzz_message_good.c share
 *
 * The first byte of the input is the set-up: the device, and what good_negotiate() acknowledges.
 * All that an input leaves behind is in `fe`, and gone when it ends.
 */
#ifndef FUZZ_MESSAGE_H
#define FUZZ_MESSAGE_H

#include "fuzz.h"
#include "vhost_wire.h"

#define PAIRS     2
#define N_RINGS   (2 * PAIRS)
#define MEM_SIZE  (64u << 10) /* of the file that good messages share */
#define PAGE      4096u
#define RING_SPAN 0x1000u /* of guest memory per ring; buffers come after the rings */
#define AVAIL     0x400u  /* in it; packed: the driver's event structure */
#define USED      0x800u
#define BUFFERS   (N_RINGS * RING_SPAN)
#define GPA       0x100000ull
#define UVA       0x7f1200000000ull

enum setup {
	SETUP_KIND = 0x07, /* of device: the last is for post-copy, some are behind an IOMMU */
	SETUP_PACKED = 0x08,
	SETUP_LOG = 0x10, /* LOG_ALL from the beginning */
	SETUP_GPA = 0x20, /* GPA_ADDRESSES */
	SETUP_LEGACY = 0x40,
	SETUP_PLAIN = 0x80, /* without EVENT_IDX, INDIRECT_DESC, MRG_RXBUF, RING_RESET */
};
#define SETUP_FIRST_IOMMU 4
#define SETUP_POSTCOPY    7

enum fd_kind {
	FD_EVENT,
	FD_EVENT_FULL, /* a write would block */
	FD_MEM,
	FD_MEM_PAGE = FD_MEM + 1, /* the dirty log, too */
	FD_MEM_ODD = FD_MEM + 2,
	FD_PIPE,
	FD_SOCKET,
	FD_NULL,
	FD_FOLDER,
	N_FDS
};

struct front_end {
	int fds[N_FDS]; /* to send; they live as long as the process */
	uint8_t setup;
	int sock;                       /* -1: hung up */
	int channel;                    /* where the device asks what addresses mean, or -1 */
	int area_fd;                    /* GET_INFLIGHT_FD brought it, or -1 */
	struct vhost_msg_inflight area; /* said so of it */
	int fault_fd;                   /* POSTCOPY_ADVISE brought it, or -1 */
	uint32_t base;                  /* last answer to GET_VRING_BASE */
};
extern struct front_end fe;

static inline bool fe_is_packed(void)
{
	return fe.setup & SETUP_PACKED;
}

static inline bool fe_is_behind_iommu(void)
{
	uint8_t kind = fe.setup & SETUP_KIND;

	return kind >= SETUP_FIRST_IOMMU && kind != SETUP_POSTCOPY;
}

/** fe_keep_fd() - take @fd, or -1, in place of the one before */
void fe_keep_fd(int *kept, int fd);

/** fe_send() - bytes and descriptors, which stay the caller's; what has no room is lost */
void fe_send(const void *bytes, uint32_t n, const int *fds, uint32_t n_fds);

/* Good messages, as far as the input leaves them so: any field may be wrong, and any descriptor. */
void good_negotiate(struct fuzz_in *in);
void good_features(struct fuzz_in *in);
void good_memory(struct fuzz_in *in);
void good_ring(struct fuzz_in *in);
void good_ring_part(struct fuzz_in *in);
void good_stop(struct fuzz_in *in);
void good_bare(struct fuzz_in *in);
void good_log(struct fuzz_in *in);
void good_get_inflight(struct fuzz_in *in);
void good_set_inflight(struct fuzz_in *in);
void good_iotlb(struct fuzz_in *in);
void good_channel(struct fuzz_in *in);
void good_answers(struct fuzz_in *in);
void good_net(struct fuzz_in *in);
void good_config(struct fuzz_in *in);
void good_postcopy(struct fuzz_in *in);

/** good_pages() - give the device the pages that it waits for */
void good_pages(struct fuzz_in *in);

/** good_spoil() - words of something good that the input wants otherwise */
void good_spoil(struct fuzz_in *in, void *bytes, uint32_t size);

#endif
