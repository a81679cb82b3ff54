// SPDX-License-Identifier: BSD-2-Clause
/* xsk_check.c - proof that a queue lost no chunk: fill + rx + tx + completion + held + free */
#include <stdlib.h>

#include "xsk_queue.h"

struct xsk_census {
	const struct xsk_queue *q;
	uint8_t *seen; /* one byte per chunk */
	bool valid;
};

/* Count one chunk, one of @n from chunk @first on. */
static void xsk_census_add(struct xsk_census *c, uint64_t addr, uint32_t first, uint32_t n)
{
	uint64_t chunk = addr / c->q->frame_size;

	if (chunk < first || chunk >= first + n || c->seen[chunk])
		c->valid = false;
	else
		c->seen[chunk] = 1;
}

static uint32_t xsk_index(const uint32_t *index)
{
	return __atomic_load_n(index, __ATOMIC_ACQUIRE);
}

/* Receive half. The kernel may hold chunks of its own (a driver's ring), but none may be double. */
static uint32_t xsk_census_rx(struct xsk_census *c)
{
	const struct xsk_queue *q = c->q;
	const uint64_t *fill = q->fill.ring;
	uint32_t n = 0;

	/* The consumer first: what the kernel takes in between is counted in no ring, not twice. */
	for (uint32_t i = xsk_index(q->fill.consumer); i != *q->fill.producer; i++, n++)
		xsk_census_add(c, fill[i & q->fill.mask], 0, q->ring_size);
	for (uint32_t i = *q->rx.consumer; i != xsk_index(q->rx.producer); i++, n++)
		xsk_census_add(c, xsk_ring_cons__rx_desc(&q->rx, i)->addr, 0, q->ring_size);
	return n;
}

/* Transmit half: free and held chunks by address, the kernel's by number. */
static void xsk_census_tx(struct xsk_census *c)
{
	const struct xsk_queue *q = c->q;
	const struct xdp_desc *tx = q->tx.ring;

	for (uint32_t i = 0; i < q->n_tx_free; i++)
		xsk_census_add(c, q->tx_free[i], q->ring_size, q->n_tx);
	for (uint32_t i = *q->tx.producer; i != q->tx.cached_prod; i++)
		xsk_census_add(c, tx[i & q->tx.mask].addr, q->ring_size, q->n_tx);
	if (q->tx.cached_prod - *q->tx.producer != q->n_tx_held ||
	    q->n_tx_free + q->n_tx_held + q->n_tx_kernel != q->n_tx)
		c->valid = false;
}

bool xsk_queue_check(const struct xsk_queue *q)
{
	struct xsk_census c = {.q = q, .seen = calloc(q->n_chunks, 1), .valid = true};

	if (!c.seen)
		return false;
	if (xsk_census_rx(&c) > q->ring_size)
		c.valid = false;
	xsk_census_tx(&c);
	free(c.seen);
	return c.valid;
}
