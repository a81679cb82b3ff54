/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * xsk_compat.h - AF_XDP constants that are newer than the oldest supported kernel headers
 *
 * The numbers are kernel ABI. Having one here says nothing about the running kernel: whoever uses
 * one asks the kernel (setsockopt, bind) and copes with a refusal, whatever its version claims.
 */
#ifndef XSK_COMPAT_H
#define XSK_COMPAT_H

#include <linux/if_xdp.h>
#include <sys/socket.h>

#ifndef AF_XDP
#define AF_XDP 44
#endif

#ifndef SOL_XDP
#define SOL_XDP 283
#endif

/* Linux 6.17: frames that one sendto() moves in copy mode, 32..size of the tx ring, default 32. */
#ifndef XDP_MAX_TX_SKB_BUDGET
#define XDP_MAX_TX_SKB_BUDGET 9
#endif

/* Bytes in front of a received frame that belong to the XDP program (metadata lies there). */
#define XSK_PACKET_HEADROOM 256u

#endif
