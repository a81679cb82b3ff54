/* SPDX-License-Identifier: BSD-2-Clause */
#include "vhost_kept.h"
#include "vhost_packed.h"

/* A slot of one lap. */
struct place {
	uint32_t slot;
	bool wrap;
};

static struct place place_of(uint16_t position)
{
	return (struct place){.slot = position & (VHOST_PACKED_WRAP - 1),
	                      .wrap = position & VHOST_PACKED_WRAP};
}

static uint16_t position_of(struct place p)
{
	return (uint16_t)(p.slot | (p.wrap ? VHOST_PACKED_WRAP : 0));
}

static struct place step(const struct vhost_vq_map *map, struct place p, uint32_t n)
{
	p.slot += n;
	if (p.slot >= map->size) {
		p.slot -= map->size;
		p.wrap = !p.wrap;
	}
	return p;
}

static bool is_avail(struct place p, uint64_t word)
{
	return (vhost_packed_flags(word) & VHOST_PACKED_BITS) ==
	       (p.wrap ? VHOST_PACKED_AVAIL : VHOST_PACKED_USED);
}

static bool is_used(struct place p, uint64_t word)
{
	return (vhost_packed_flags(word) & VHOST_PACKED_BITS) == (p.wrap ? VHOST_PACKED_BITS : 0);
}

static uint64_t word_at(const struct vhost_vq_map *map, struct place p)
{
	return vhost_packed_word(map, (uint16_t)p.slot);
}

/* Slots of the available buffer at @p, at most the ring's. @ret_id: its id, of its last slot */
static uint32_t buffer_slots(const struct vhost_vq_map *map, struct place p, uint16_t *ret_id)
{
	uint32_t n = 1;
	uint64_t word;

	for (word = word_at(map, p); n < map->size; n++) {
		if (!(vhost_packed_flags(word) & VRING_DESC_F_NEXT))
			break;
		p = step(map, p, 1);
		word = word_at(map, p);
	}
	*ret_id = (uint16_t)(word >> 32);
	return n;
}

/*
 * Slots of a buffer whose used descriptor at @p the driver has not seen. The slots behind the first
 * are as the driver wrote them, and the last has the buffer's id; another buffer cannot have that.
 */
static uint32_t used_slots(const struct vhost_vq_map *map, struct place p, uint16_t *ret_id)
{
	uint16_t id = (uint16_t)(word_at(map, p) >> 32), last;
	struct place rest = step(map, p, 1);
	uint32_t n;

	*ret_id = id;
	if (!is_avail(rest, word_at(map, rest)))
		return 1;
	n = buffer_slots(map, rest, &last);
	return last == id && n < map->size ? 1 + n : 1;
}

/* With release semantics, so that what was written before is seen with it */
static void give_back(const struct vhost_vq_map *map, struct place p, uint16_t id)
{
	uint64_t flags = p.wrap ? VHOST_PACKED_BITS : 0;
	uint64_t *at = (uint64_t *)(void *)&map->packed_desc[p.slot];

	__atomic_store_n(at + 1, htole64(flags << 48 | (uint64_t)id << 32), __ATOMIC_RELEASE);
	if (map->log)
		vhost_log_wrote(map->log, vhost_vq_table(map), at, sizeof(map->packed_desc[0]));
}

/* The front end completed the first buffer of an interrupted burst, and so all of it. */
static struct place skip_used(const struct vhost_vq_map *map, struct place p)
{
	uint32_t slots = 0;
	uint16_t id;

	while (slots < map->size && is_used(p, word_at(map, p))) {
		uint32_t n = used_slots(map, p, &id);

		slots += n;
		p = step(map, p, n);
	}
	return p;
}

/* See vhost_kept.h: used descriptors behind an available one are a burst that was interrupted. */
static struct place finish_burst(const struct vhost_vq_map *map, struct place p)
{
	struct place at = p;
	uint16_t first_id, id;
	uint32_t slots;

	if (!is_avail(p, word_at(map, p)))
		return skip_used(map, p);
	slots = buffer_slots(map, p, &first_id);
	at = step(map, p, slots);
	if (slots >= map->size || !is_used(at, word_at(map, at)))
		return p;
	while (slots < map->size && is_used(at, word_at(map, at))) {
		uint32_t n = used_slots(map, at, &id);

		give_back(map, at, id); /* the length is not to be believed: its frame has gone */
		slots += n;
		at = step(map, at, n);
	}
	give_back(map, p, first_id);
	return at;
}

uint16_t vhost_kept_give_back(const struct vhost_vq_map *map, uint16_t position, uint16_t id,
                              uint32_t slots)
{
	struct place p = place_of(position);

	give_back(map, p, id);
	return position_of(step(map, p, slots));
}

uint16_t vhost_kept_position(const struct vhost_vq_map *map, uint32_t last)
{
	struct place first = place_of((uint16_t)(last >> 16)), next = place_of((uint16_t)last);
	struct place p = next;

	if (first.slot >= map->size || next.slot >= map->size)
		return VHOST_KEPT_NOWHERE;
	if (is_avail(first, word_at(map, first)))
		p = first; /* not published */
	return position_of(p);
}

uint16_t vhost_kept_resume(const struct vhost_vq_map *map, uint32_t last)
{
	uint16_t position = vhost_kept_position(map, last);

	return position == VHOST_KEPT_NOWHERE ? position
	                                      : position_of(finish_burst(map, place_of(position)));
}

/* Slots from @from to @to, more than the ring's if @to lies before @from. */
static uint32_t distance(const struct vhost_vq_map *map, struct place from, struct place to)
{
	if (from.wrap == to.wrap)
		return to.slot >= from.slot ? to.slot - from.slot : UINT32_MAX;
	return map->size - from.slot + to.slot;
}

/* The front end has used buffers itself, up to @end: so must be all before. */
static struct place give_back_until(const struct vhost_vq_map *map, struct place p,
                                    struct place end)
{
	uint32_t left = distance(map, p, end);

	if (left > map->size)
		return p;
	while (left) {
		uint64_t word = word_at(map, p);
		uint32_t n;
		uint16_t id;

		if (is_avail(p, word))
			n = buffer_slots(map, p, &id);
		else if (is_used(p, word))
			n = used_slots(map, p, &id);
		else
			break;
		if (n > left)
			break;
		if (is_avail(p, word))
			give_back(map, p, id);
		p = step(map, p, n);
		left -= n;
	}
	return p;
}

/* Nothing was ever used in it, and it is in its first lap. */
static bool is_new(const struct vhost_vq_map *map)
{
	const struct place first_lap = {.wrap = true};

	for (uint32_t i = 0; i < map->size; i++) {
		uint64_t word = vhost_packed_word(map, (uint16_t)i);

		if (!is_avail(first_lap, word) && (word || vhost_packed_gpa(map, (uint16_t)i)))
			return false;
	}
	return true;
}

/* Which ring it is. Return: false if that cannot be told. */
static bool identify(const struct vhost_vq_map *map, struct vhost_kept *ret)
{
	const void *const parts[] = {map->packed_desc, map->driver_event, map->device_event};

	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		struct vhost_origin o;

		if (!vhost_mem_origin(vhost_vq_table(map), parts[i], &o))
			return false;
		ret->dev = o.dev;
		ret->ino = o.ino;
		ret->at[i] = o.offset;
	}
	ret->size = map->size;
	return true;
}

static bool same_ring(const struct vhost_kept *kept, const struct vhost_vq_map *map)
{
	struct vhost_kept now;

	return identify(map, &now) && kept->dev == now.dev && kept->ino == now.ino &&
	       kept->at[0] == now.at[0] && kept->at[1] == now.at[1] && kept->at[2] == now.at[2] &&
	       kept->size == now.size;
}

bool vhost_kept_recover(const struct vhost_kept *kept, const struct vhost_vq_map *map,
                        uint32_t base, uint16_t *ret_position)
{
	uint16_t position;
	struct place p;

	if (kept->valid != 1 || !same_ring(kept, map))
		return false;
	if (base == VHOST_KEPT_FRESH && is_new(map))
		return false;
	position = vhost_kept_resume(map, atomic_load_explicit(&kept->last, memory_order_relaxed));
	if (position == VHOST_KEPT_NOWHERE)
		return false;
	p = place_of(position);
	if (base != kept->base)
		p = skip_used(map, give_back_until(map, p, place_of((uint16_t)base)));
	*ret_position = position_of(p);
	return true;
}

void vhost_kept_move(struct vhost_kept *kept, const struct vhost_vq_map *map)
{
	kept->valid = 0;
	atomic_signal_fence(memory_order_seq_cst); /* all of it or nothing, should we die here */
	if (!identify(map, kept))
		return;
	atomic_signal_fence(memory_order_seq_cst);
	kept->valid = 1;
}

void vhost_kept_note(struct vhost_kept *kept, const struct vhost_vq_map *map, uint32_t base,
                     uint16_t position)
{
	kept->valid = 0;
	atomic_signal_fence(memory_order_seq_cst);
	kept->base = base;
	atomic_store_explicit(&kept->last, (uint32_t)position << 16 | position,
	                      memory_order_relaxed);
	vhost_kept_move(kept, map);
}

void vhost_kept_forget(struct vhost_kept *kept)
{
	kept->valid = 0;
}
