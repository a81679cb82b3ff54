/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "fdb.h"
#include "nic.h"
#include "port.h"

#define FDB_MIN_BITS  4
#define FDB_HUGE_PAGE (2u << 20)

static void fdb_insert(struct fdb *fdb, uint64_t key, struct port *port)
{
	fdb->slots[fdb_slot_of(fdb, key)] = (struct fdb_slot){.key = key, .port = port};
}

static bool fdb_is_member(const struct nic *nic, const struct port *port)
{
	return port && port->nic == nic;
}

static int fdb_add_to_group(struct fdb *fdb, struct port *port, uint32_t max_ports)
{
	struct fdb_group *g = NULL;

	for (uint32_t i = 0; i < fdb->n_groups && !g; i++) {
		if (fdb->groups[i].vlan == port->vlan)
			g = &fdb->groups[i];
	}
	if (!g) {
		g = &fdb->groups[fdb->n_groups];
		g->ports = calloc(max_ports, sizeof(struct port *));
		if (!g->ports)
			return -ENOMEM;
		g->vlan = port->vlan;
		fdb->n_groups++;
	}
	g->ports[g->n++] = port;
	return 0;
}

/*
 * Zeroed. A table of a hundred thousand addresses takes a thousand usual pages, more than a CPU
 * remembers; so those of its pages that can be are huge ones, if the kernel has some.
 */
static void *fdb_pages(size_t size)
{
	void *p;

	if (size < FDB_HUGE_PAGE)
		return calloc(1, size);
	if (posix_memalign(&p, FDB_HUGE_PAGE, size))
		return NULL;
	(void)madvise(p, size & ~(size_t)(FDB_HUGE_PAGE - 1), MADV_HUGEPAGE);
	return memset(p, 0, size);
}

static struct fdb *fdb_alloc(uint32_t n_keys)
{
	uint32_t bits = FDB_MIN_BITS;
	struct fdb *fdb;

	while ((1u << bits) < 2 * n_keys)
		bits++;
	fdb = fdb_pages(sizeof(*fdb) + ((size_t)1 << bits) * sizeof(fdb->slots[0]));
	if (!fdb)
		return NULL;
	fdb->shift = 64 - bits;
	fdb->mask = (1u << bits) - 1;
	return fdb;
}

static int fdb_add_port(struct fdb *fdb, struct port *port, uint32_t n_members)
{
	for (uint32_t i = 0; i < port->n_macs; i++)
		fdb_insert(fdb, fdb_key(port->mac_keys[i], port->vlan), port);
	fdb->by_id[port->id] = port;
	if (port->nic->conf->mode == CONF_NIC_DEDICATED)
		fdb->dedicated = port;
	return fdb_add_to_group(fdb, port, n_members);
}

int fdb_build(const struct nic *nic, struct port *const *ports, uint32_t n, struct fdb **ret_fdb)
{
	uint32_t n_keys = 0, n_members = 0, n_ids = 1;
	struct fdb *fdb;
	int err = -ENOMEM;

	for (uint32_t i = 0; i < n; i++) {
		if (!fdb_is_member(nic, ports[i]))
			continue;
		n_members++;
		n_keys += ports[i]->n_macs;
		if (ports[i]->id >= n_ids)
			n_ids = ports[i]->id + 1;
	}
	fdb = fdb_alloc(n_keys);
	if (!fdb)
		return -ENOMEM;
	fdb->by_id = calloc(n_ids, sizeof(struct port *));
	fdb->groups = calloc(n_members + 1, sizeof(*fdb->groups));
	if (!fdb->by_id || !fdb->groups)
		goto fail;
	fdb->n_ids = n_ids;
	for (uint32_t i = 0; i < n; i++) {
		if (!fdb_is_member(nic, ports[i]))
			continue;
		err = fdb_add_port(fdb, ports[i], n_members);
		if (err < 0)
			goto fail;
	}
	*ret_fdb = fdb;
	return 0;
fail:
	fdb_free(fdb);
	return err;
}

void fdb_free(struct fdb *fdb)
{
	if (!fdb)
		return;
	for (uint32_t i = 0; i < fdb->n_groups; i++)
		free(fdb->groups[i].ports);
	free(fdb->groups);
	free(fdb->by_id);
	free(fdb);
}
