/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fdb.h - who owns an address: the forwarding table of one nic
 *
 * An immutable snapshot, built by the control thread and replaced whole. Workers load it once per
 * burst. Open addressing at a load of at most one half; the keys come from the configuration
 * only, so nobody can fill it with collisions.
 *
 * A key is the MAC's six bytes as a little-endian number (first byte lowest, so bit 0 is the group
 * bit) with the VLAN id above it.
 */
#ifndef FDB_H
#define FDB_H

#include "base.h"

struct port;
struct nic;

#define FDB_MAC_MASK  0xffffffffffffull
#define FDB_GROUP_BIT 1ull

/* Ports that share a broadcast domain. */
struct fdb_group {
	uint16_t vlan;
	uint32_t n;
	struct port **ports;
};

struct fdb_slot {
	uint64_t key; /* 0: empty (no port may have the address zero) */
	struct port *port;
};

struct fdb {
	uint32_t shift; /* 64 - log2(slots) */
	uint32_t mask;
	uint32_t n_ids;         /* ids are below this */
	struct port **by_id;    /* NULL where an id is not on this nic */
	struct port *dedicated; /* the only port of a dedicated nic, else NULL */
	uint32_t n_groups;
	struct fdb_group *groups;
	struct fdb_slot slots[];
};

static always_inline uint64_t fdb_mac(const uint8_t mac[6])
{
	uint64_t key = 0;

	for (int i = 5; i >= 0; i--)
		key = key << 8 | mac[i];
	return key;
}

static always_inline uint64_t fdb_key(uint64_t mac, uint16_t vlan)
{
	return mac | (uint64_t)vlan << 48;
}

/* The slot of @key, or the empty one where it would be */
static always_inline uint32_t fdb_slot_of(const struct fdb *fdb, uint64_t key)
{
	uint32_t i = (uint32_t)((key * 0x9e3779b97f4a7c15ull) >> fdb->shift) & fdb->mask;

	while (fdb->slots[i].key != key && fdb->slots[i].key)
		i = (i + 1) & fdb->mask;
	return i;
}

/** fdb_lookup() - the port that owns @key, or NULL. Worker. */
static always_inline struct port *fdb_lookup(const struct fdb *fdb, uint64_t key)
{
	return fdb->slots[fdb_slot_of(fdb, key)].port;
}

/**
 * fdb_lookup_again() - fdb_lookup() for who often asks for the same address
 * @place: where the last one was found; at first 0, or what belongs to another table
 *
 * A CPU guesses that it is the same again, and goes on with that port before it has the frame with
 * the address; what fdb_lookup() reads depends on the address.
 */
static always_inline struct port *fdb_lookup_again(const struct fdb *fdb, uint64_t key,
                                                   uint32_t *place)
{
	const struct fdb_slot *slot = &fdb->slots[*place & fdb->mask];

	if (unlikely(slot->key != key)) {
		*place = fdb_slot_of(fdb, key);
		slot = &fdb->slots[*place];
	}
	return slot->port;
}

/** fdb_by_id() - the port a steering id names, or NULL */
static always_inline struct port *fdb_by_id(const struct fdb *fdb, uint32_t id)
{
	return id < fdb->n_ids ? fdb->by_id[id] : NULL;
}

/** fdb_find_group() - the broadcast domain of @vlan, or NULL */
static inline const struct fdb_group *fdb_find_group(const struct fdb *fdb, uint16_t vlan)
{
	for (uint32_t i = 0; i < fdb->n_groups; i++) {
		if (fdb->groups[i].vlan == vlan)
			return &fdb->groups[i];
	}
	return NULL;
}

/**
 * fdb_build() - the table of @nic from all ports
 * @ports: @n pointers; those with another nic are skipped, NULL ones too
 * Return: 0 and a table to release with fdb_free(), or -ENOMEM. Control thread.
 */
int fdb_build(const struct nic *nic, struct port *const *ports, uint32_t n, struct fdb **ret_fdb);
void fdb_free(struct fdb *fdb); /* takes NULL */

#endif
