/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * enumerate_walk.c - the walk over descriptors, for every answer that guest memory can give
 *
 * This is enumeration, not proof: small rings and tables, and of each field the values around which
 * the code decides. Within these bounds it is complete. The daemon's own vhost_chain.c is compiled
 * here with its reads of guest memory replaced: each read is a choice, and all sequences of
 * choices are tried, depth first. The same word read twice may be two choices, so memory that
 * changes while it is read is included.
 *
 * Checked for each sequence: what is read lies in the ring or in one region; what is listed lies in
 * one region, adds up, and fits the list; a refusal leaves the list as it was; and the number of
 * reads has a bound, so the walk ends.
 */
#include <stdio.h>
#include <stdlib.h>
#include "frame_copy.h"
#include "vhost_chain.h"

static uint64_t guest_load(const void *p, size_t size);
static void *guest_copy(void *to, const void *from, size_t n);

#define __atomic_load_n(p, order) ((__typeof__(*(p)))guest_load(p, sizeof(*(p))))
#define memcpy                    guest_copy
#include "vhost_chain.c"
#undef memcpy
#undef __atomic_load_n

#define MAX_RING  2
#define MAX_TABLE 3 /* entries of an indirect table that fit the largest region */
#define MAX_READS 64

#define insist(cond)                                                                               \
	do {                                                                                       \
		if (!(cond))                                                                       \
			broken(__LINE__, #cond);                                                   \
	} while (0)

/* ---- choices ---- */

static uint32_t choice[MAX_READS], limit[MAX_READS], n_choices, at_choice;

static _Noreturn void broken(int line, const char *what)
{
	fprintf(stderr, "line %d: %s, after the choices", line, what);
	for (uint32_t i = 0; i < at_choice; i++)
		fprintf(stderr, " %u", choice[i]);
	fprintf(stderr, "\n");
	abort();
}

static uint32_t choose(uint32_t n)
{
	insist(at_choice < MAX_READS);
	if (at_choice == n_choices) {
		choice[n_choices] = 0;
		limit[n_choices++] = n;
	}
	return choice[at_choice++];
}

/* Return: false when every sequence was tried. */
static bool next_sequence(void)
{
	while (n_choices && choice[n_choices - 1] + 1 == limit[n_choices - 1])
		n_choices--;
	at_choice = 0;
	if (n_choices)
		choice[n_choices - 1]++;
	return n_choices > 0;
}

/* ---- the world ---- */

/* Two neighbours of which the second is larger, a hole, and one at the very end. */
#define N_REGIONS 3
static const struct {
	uint64_t gpa, size;
} places[N_REGIONS] = {{0x1000, 40}, {0x1028, 48}, {UINT64_MAX - 32, 32}};

static uint8_t host[N_REGIONS][48], ring_memory[16 * MAX_RING];
static struct vhost_mem *mem;
static struct vhost_vq vq;
static struct vhost_vq_map map;
static uint32_t reads;

static bool inside_one_region(const uint8_t *p, uint64_t len)
{
	for (uint32_t i = 0; i < N_REGIONS; i++)
		if (p >= host[i] && p < host[i] + places[i].size &&
		    len <= places[i].size - (uint64_t)(p - host[i]))
			return true;
	return false;
}

/* Either half of a descriptor. */
static uint64_t any_word(bool second)
{
	/* First and last byte of the neighbours, the hole, and the region at the very end */
	static const uint64_t gpas[] = {0x1000, 0x1027, 0x1028, 0x1057, 0x1058, UINT64_MAX - 32};
	/* Nothing, one entry of a table, more than the first region, and no end */
	static const uint32_t lens[] = {0, 16, 48, UINT32_MAX};
	const uint16_t links[] = {0, 1, (uint16_t)map.size, UINT16_MAX};
	uint64_t flags, len, link = 0;

	if (!second)
		return gpas[choose(ARRAY_SIZE(gpas))];
	flags = choose(8); /* NEXT, WRITE, INDIRECT */
	len = lens[choose(ARRAY_SIZE(lens))];
	if (map.packed)
		return len | flags << 48;
	if (flags & VRING_DESC_F_NEXT) /* else nobody looks */
		link = links[choose(ARRAY_SIZE(links))];
	return len | flags << 32 | link << 48;
}

static uint64_t guest_load(const void *p, size_t size)
{
	const uint8_t *at = p;

	insist(size == 8);
	insist(at >= ring_memory && at + size <= ring_memory + 16ul * map.size);
	reads++;
	return any_word((at - ring_memory) % 16 == 8);
}

static void *guest_copy(void *to, const void *from, size_t n)
{
	uint64_t *word = to;

	insist(n == 16 && inside_one_region(from, n));
	reads += 2;
	word[0] = any_word(false);
	word[1] = any_word(true);
	return to;
}

static void world_new(void)
{
	mem = calloc(1, sizeof(*mem) + N_REGIONS * sizeof(mem->regions[0]));
	insist(mem);
	mem->n_regions = N_REGIONS;
	for (uint32_t i = 0; i < N_REGIONS; i++)
		mem->regions[i] = (struct vhost_region){
			.gpa = places[i].gpa, .size = places[i].size, .host = host[i]};
}

/* ---- one walk ---- */

static void walk(bool write, uint32_t max, uint16_t head)
{
	struct vhost_seg seg[8] = {0};
	struct vhost_segs segs = {.seg = seg, .max = max};
	enum vhost_vq_fault fault;
	uint16_t id, slots = 0;
	uint64_t total = 0;

	reads = 0;
	vq.hint = (struct vhost_mem_hint){0};
	fault = map.packed ? vhost_packed_chain(&vq, &map, head, write, &segs, &id, &slots)
	                   : vhost_split_chain(&vq, &map, head, write, &segs);
	insist(reads <= 2 * (map.size + MAX_TABLE));
	if (fault != VHOST_VQ_OK) {
		insist(segs.n == 0 && segs.total == 0);
		return;
	}
	insist(segs.n >= 1 && segs.n <= max);
	insist(!map.packed || (slots >= 1 && slots <= map.size));
	for (uint32_t i = 0; i < segs.n; i++) {
		insist(seg[i].len > 0 && inside_one_region(seg[i].base, seg[i].len));
		total += seg[i].len;
	}
	insist(total == segs.total);
}

int main(void)
{
	static const uint32_t maxes[] = {2, 8};
	uint64_t n = 0;

	world_new();
	for (uint32_t kind = 0; kind < 16 * ARRAY_SIZE(maxes); kind++) {
		bool packed = kind & 1, write = kind & 2;
		uint32_t size = 1 + (kind >> 2 & 1);

		map = (struct vhost_vq_map){
			.mem = mem, .size = size, .packed = packed, .indirect = !(kind & 8)};
		if (packed)
			map.packed_desc = (void *)ring_memory;
		else
			map.desc = (void *)ring_memory;
		for (uint16_t head = 0; head <= (packed ? size - 1 : size); head++) {
			n_choices = at_choice = 0;
			do {
				walk(write, maxes[kind / 16], head);
				n++;
			} while (next_sequence());
		}
	}
	free(mem);
	printf("%llu walks\n", (unsigned long long)n);
	return 0;
}
