/* SPDX-License-Identifier: BSD-2-Clause */
/* steer_entry.h - entries for steering tables of tests */
#ifndef STEER_ENTRY_H
#define STEER_ENTRY_H

#include "steer.h"

/* Address 52:54:00 and the lower three bytes of @mac */
static inline struct steer_entry entry(uint32_t mac, uint16_t vlan, uint32_t port)
{
	return (struct steer_entry){
		.key = {.mac = {0x52, 0x54, 0, (uint8_t)(mac >> 16), (uint8_t)(mac >> 8),
	                        (uint8_t)mac},
	                .vlan = vlan},
		.port = port,
	};
}

#endif
