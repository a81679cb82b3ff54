/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vhost_kept.h - the position of a packed ring, kept for after a crash
 *
 * Theory of operation
 * -------------------
 * A split ring tells where it goes on: behind its used index. A packed ring does not, and front
 * ends do not know it either: after the loss of a back end QEMU says the position that the ring had
 * when it was last started. So the device keeps a record of each packed ring in memory that
 * outlives it (its owner provides that, for instance from a file), and trusts it when the same ring
 * comes again with the same position.
 *
 * There is one store for each publication, made just before it: where the published buffers begin,
 * and where they end. The first slot then tells a successor whether the publication has happened.
 *
 * A crash in the middle of a burst leaves used descriptors that the driver does not see yet, as the
 * first of them was held back (vhost_packed.h). What they replaced is gone, so such a burst is
 * finished: its buffers are given back unused. Those frames are lost; none comes twice.
 *
 * While there is no back end QEMU itself may take frames from a transmit ring and drop them, from
 * the position that it knows, which may be a lap away from the true one. Then it says another
 * position afterwards than before; what lies between is given back as well.
 *
 * A guest that was reset meanwhile has a new ring, maybe at the same place. Front ends then say the
 * position of a new ring, which may well be what they have always said; so its slots decide: in a
 * new ring each is untouched or was made available in the first lap.
 *
 * Limits: a ring with wrap counter 1 whose slots are all available, but for the first few, which
 * belong to a chain that began at the end of the lap before, looks like a new one. Drivers with
 * INDIRECT_DESC make no such chains.
 *
 * The ring is guest memory: what is read may be anything, and loops are bounded by the ring's size.
 * A guest that forges slots confuses its own ring.
 *
 * Context: control thread, while the ring does not run; the store is the worker's.
 */
#ifndef VHOST_KEPT_H
#define VHOST_KEPT_H

#include "vhost_vq.h"

/* One ring. The layout is the same in all versions of this back end: new fields come last. */
struct vhost_kept {
	alignas(CACHE_LINE) uint64_t dev; /* file of guest memory that holds the ring */
	uint64_t ino;
	uint64_t at[3]; /* offsets in it: descriptors, driver's and device's event structure */
	uint32_t size;  /* descriptors */
	uint32_t base;  /* what the front end said when the ring was started */
	/* Worker. First slot of the last publication in the upper half, the next one in the lower;
	 * bit 15 of each is the wrap counter. */
	_Atomic uint32_t last;
	uint32_t valid; /* 1: the ring runs, or nobody has been told where it stopped */
};
static_assert(sizeof(struct vhost_kept) == CACHE_LINE, "laid out in files");

#define VHOST_KEPT_FRESH 0x80008000u /* position of a new packed ring, as in SET_VRING_BASE */

/**
 * vhost_kept_note() - write down which ring it is, and that it starts at @position
 * @base: what the front end said
 * @position: slot, with the wrap counter in bit 15
 */
void vhost_kept_note(struct vhost_kept *kept, const struct vhost_vq_map *map, uint32_t base,
                     uint16_t position);

/** vhost_kept_move() - the ring runs and lies elsewhere now */
void vhost_kept_move(struct vhost_kept *kept, const struct vhost_vq_map *map);

/** vhost_kept_forget() - the front end knows the position */
void vhost_kept_forget(struct vhost_kept *kept);

/**
 * vhost_kept_recover() - where a ring goes on whose back end was lost
 * @base: what the front end says
 * @ret_position: as above
 *
 * Gives back what has to be, see above.
 * Return: false if this is not the ring of the record, or a new one: the front end is right.
 */
bool vhost_kept_recover(const struct vhost_kept *kept, const struct vhost_vq_map *map,
                        uint32_t base, uint16_t *ret_position);

#define VHOST_KEPT_NOWHERE 0x7fffu /* no slot of any ring */

/**
 * vhost_kept_position() - the true position, from the record of the last publication
 * vhost_kept_resume() - the same, and finish a burst that was interrupted
 * @last: as in struct vhost_kept; untrusted
 *
 * Return: VHOST_KEPT_NOWHERE if the record cannot be true.
 */
uint16_t vhost_kept_position(const struct vhost_vq_map *map, uint32_t last);
uint16_t vhost_kept_resume(const struct vhost_vq_map *map, uint32_t last);

/** vhost_kept_give_back() - a buffer of @slots slots, unused. Return: the position behind it */
uint16_t vhost_kept_give_back(const struct vhost_vq_map *map, uint16_t position, uint16_t id,
                              uint32_t slots);

#endif
