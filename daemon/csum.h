/* SPDX-License-Identifier: BSD-2-Clause */
/* csum.h - finish an Internet checksum that a network stack left to the hardware */
#ifndef CSUM_H
#define CSUM_H

#include "base.h"

/**
 * csum_finish() - compute the checksum over [start, len) and store it
 * @frame: whole frame, writable; @len bytes
 * @start: first byte that is summed (of the TCP or UDP header)
 * @offset: of the checksum field, from @start; it holds the pseudo header's sum
 *
 * Does nothing if the field does not lie in the frame. A UDP sum of zero becomes 0xffff, which is
 * the same number in one's complement and means "present". Spec: virtio 1.3, 5.1.6.2 (csum_start
 * and csum_offset).
 */
void csum_finish(uint8_t *frame, uint32_t len, uint32_t start, uint32_t offset);

#endif
