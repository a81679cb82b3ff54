/* SPDX-License-Identifier: BSD-2-Clause */
#include "clock.h"
#include "forward_crowd.h"

/* A frame each 32 us: what the slowest guests take, shared by some. */
#define FWD_CREDIT_NS  32768u
#define FWD_CREDIT_MAX 32

static bool fwd_credit_take(struct fwd_credit *c, uint64_t now, uint32_t n)
{
	uint64_t grown = (now - c->since_ns) / FWD_CREDIT_NS;
	int64_t frames = c->frames + (int64_t)grown;

	if (frames >= FWD_CREDIT_MAX) {
		c->frames = FWD_CREDIT_MAX;
		c->since_ns = now;
	} else {
		c->frames = (int32_t)frames;
		c->since_ns += grown * FWD_CREDIT_NS;
	}
	if (c->frames < (int32_t)n)
		return false;
	c->frames -= (int32_t)n;
	return true;
}

/* Is a ring that lost frames crowded? And is what it keeps too much? */
static bool fwd_crowd_look(struct vhost_vq *vq, uint64_t now)
{
	bool crowded = vq->crowd & VHOST_VQ_CROWDED, lost = vq->crowd & VHOST_VQ_LOST;

	if (!crowded && !(vq->crowd & VHOST_VQ_WATCHED)) {
		vq->crowd = VHOST_VQ_WATCHED;
		vq->crowd_ns = now;
	} else if (now - vq->crowd_ns >= (crowded ? FWD_CROWD_NS : FWD_WATCH_NS)) {
		if ((vq->crowd & (VHOST_VQ_KEPT | VHOST_VQ_SPARED)) == VHOST_VQ_KEPT)
			vq->most /= 2;
		vq->crowd = lost ? VHOST_VQ_CROWDED : 0;
		vq->crowd_ns = now;
	}
	return vq->crowd & VHOST_VQ_CROWDED;
}

/* Frames of the burst at hand, or any number above FWD_FEW. Once per burst. */
static uint32_t fwd_crowd_count(struct fwd *f)
{
	if (f->burst)
		return f->burst;
	f->burst = 1;
	while (f->burst <= FWD_FEW && f->burst < f->packed_map->size &&
	       vhost_ring_has(f->packed, f->packed_map, f->burst))
		f->burst++;
	return f->burst;
}

/* The source at hand sends little. */
static void fwd_crowd_remember(struct vhost_vq *vq, const struct fwd_credit *source, uint64_t now)
{
	if (vq->little[0].who != source) {
		vq->little[1] = vq->little[0];
		vq->little[0].who = source;
	}
	vq->little[0].ns = now;
}

/* Did anybody but the source at hand send little lately? */
static bool fwd_crowd_has_others(const struct vhost_vq *vq, const struct fwd_credit *source,
                                 uint64_t now)
{
	uint32_t i = vq->little[0].who == source;

	return vq->little[i].who && now - vq->little[i].ns < FWD_LITTLE_NS;
}

uint16_t fwd_crowd_keep_slow(struct fwd *f, struct vhost_vq *vq)
{
	uint64_t now = clock_now_ns();
	uint32_t n = fwd_crowd_count(f);
	bool crowded = fwd_crowd_look(vq, now);

	f->paid = f->paid || (n <= FWD_FEW && fwd_credit_take(f->credit, now, n));
	if (f->paid) {
		fwd_crowd_remember(vq, f->credit, now);
		return 0;
	}
	if (!crowded || !fwd_crowd_has_others(vq, f->credit, now))
		return 0;
	vq->crowd |= VHOST_VQ_KEPT;
	/* What a guest posts during a burst may have been counted twice. */
	return (uint16_t)(min_u32(vq->most, vq->open_map->size) / FWD_CROWD_PART);
}

uint32_t fwd_crowd_spares(struct vhost_vq *vq, const struct vhost_vq_map *map, uint32_t keep)
{
	if (!vhost_ring_has(vq, map, keep))
		return 0;
	vq->crowd |= VHOST_VQ_SPARED;
	return map->packed ? 1 : vhost_split_avail(vq, map, 1) - keep;
}
