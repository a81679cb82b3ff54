/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdlib.h>

#include "lines.h"
#include "rota.h"

static_assert(ROTA_PATIENCE <= UINT8_MAX, "rota_seat.empty counts as far");

int rota_init(struct rota *r, uint32_t max)
{
	*r = (struct rota){
		.list = lines_alloc(max, sizeof(*r->list)),
		.spare = lines_alloc(max, sizeof(*r->spare)),
		.seats = lines_alloc(max, sizeof(*r->seats)),
	};
	if (!r->list || !r->spare || !r->seats) {
		rota_free(r);
		return -ENOMEM;
	}
	return 0;
}

void rota_add(struct rota *r)
{
	r->seats[r->n].listed = true;
	r->list[r->n_listed++] = r->n++;
}

void rota_free(struct rota *r)
{
	free(r->list);
	free(r->spare);
	free(r->seats);
	*r = (struct rota){0};
}

/* Those that were starved come first, who is to rest goes; else the order stays. */
void rota_reorder(struct rota *r)
{
	uint32_t *list = r->spare;
	uint32_t n = 0;

	for (uint32_t i = 0; i < r->n_listed; i++) {
		if (r->seats[r->list[i]].starved)
			list[n++] = r->list[i];
	}
	for (uint32_t i = 0; i < r->n_listed; i++) {
		struct rota_seat *seat = &r->seats[r->list[i]];

		if (seat->starved)
			seat->starved = false;
		else if (seat->empty == ROTA_PATIENCE)
			seat->listed = false;
		else
			list[n++] = r->list[i];
	}
	r->spare = r->list;
	r->list = list;
	r->n_listed = n;
	r->disorder = false;
}
