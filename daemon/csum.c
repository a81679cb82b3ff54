/* SPDX-License-Identifier: BSD-2-Clause */
#include "csum.h"

static uint16_t csum_fold(uint64_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

void csum_finish(uint8_t *frame, uint32_t len, uint32_t start, uint32_t offset)
{
	uint64_t sum = 0;
	uint16_t csum;

	if (start > len || offset > len - start || len - start - offset < 2)
		return;
	for (uint32_t i = start; i < len; i++)
		sum += (i - start) & 1 ? frame[i] : (uint32_t)frame[i] << 8;
	csum = (uint16_t)~csum_fold(sum);
	if (!csum)
		csum = 0xffff;
	frame[start + offset] = (uint8_t)(csum >> 8);
	frame[start + offset + 1] = (uint8_t)csum;
}
