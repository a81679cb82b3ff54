// SPDX-License-Identifier: BSD-2-Clause
/*
 * steer_map.c - contents of a nic's steering maps
 *
 * steer_set_table() compares with what the kernel holds and not with what was set last, so it also
 * repairs a table that an earlier daemon left or that somebody edited with bpftool. Entries come
 * before they are needed and go after: ports, then addresses in; addresses, then ports out.
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "steer_priv.h"

static int steer_entry_cmp(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct steer_fdb_key));
}

static_assert(offsetof(struct steer_entry, key) == 0, "entries are compared by their first bytes");

/* Sorted copy without duplicates: -EINVAL if one key is given to two ports. */
static int steer_sort_entries(const struct steer_entry *entries, uint32_t n,
                              struct steer_entry **ret_sorted)
{
	struct steer_entry *sorted = malloc((n ? n : 1) * sizeof(*sorted));

	if (!sorted)
		return -ENOMEM;
	if (n)
		memcpy(sorted, entries, n * sizeof(*sorted));
	qsort(sorted, n, sizeof(*sorted), steer_entry_cmp);
	for (uint32_t i = 1; i < n; i++) {
		if (!steer_entry_cmp(&sorted[i - 1], &sorted[i])) {
			free(sorted);
			return -EINVAL;
		}
	}
	*ret_sorted = sorted;
	return 0;
}

/* Every address in the kernel's table, sorted. */
static int steer_read_fdb(int fd, struct steer_entry **ret_have, uint32_t *ret_n)
{
	struct steer_fdb_key key, *prev = NULL;
	struct steer_entry *have = NULL;
	uint32_t n = 0, room = 0;

	for (; !bpf_map_get_next_key(fd, prev, &key); prev = &key) {
		struct steer_fdb_value value;

		if (n == room) {
			struct steer_entry *more;

			room = room ? room * 2 : 64;
			more = realloc(have, room * sizeof(*have));
			if (!more) {
				free(have);
				return -ENOMEM;
			}
			have = more;
		}
		if (bpf_map_lookup_elem(fd, &key, &value) < 0)
			continue;
		have[n++] = (struct steer_entry){.key = key, .port = value.port};
	}
	if (n)
		qsort(have, n, sizeof(*have), steer_entry_cmp);
	*ret_have = have;
	*ret_n = n;
	return 0;
}

static const struct steer_entry *steer_find(const struct steer_entry *entries, uint32_t n,
                                            const struct steer_entry *e)
{
	return n ? bsearch(e, entries, n, sizeof(*e), steer_entry_cmp) : NULL;
}

/* Write what is new or has another port. */
static int steer_fdb_add(int fd, const struct steer_entry *want, uint32_t n_want,
                         const struct steer_entry *have, uint32_t n_have)
{
	for (uint32_t i = 0; i < n_want; i++) {
		const struct steer_entry *old = steer_find(have, n_have, &want[i]);
		struct steer_fdb_value value = {.port = want[i].port};

		if (old && old->port == want[i].port)
			continue;
		if (bpf_map_update_elem(fd, &want[i].key, &value, BPF_ANY) < 0)
			return -errno;
	}
	return 0;
}

static int steer_fdb_sweep(int fd, const struct steer_entry *want, uint32_t n_want,
                           const struct steer_entry *have, uint32_t n_have)
{
	for (uint32_t i = 0; i < n_have; i++) {
		if (steer_find(want, n_want, &have[i]))
			continue;
		if (bpf_map_delete_elem(fd, &have[i].key) < 0 && errno != ENOENT)
			return -errno;
	}
	return 0;
}

static int steer_set_fdb(struct steer *steer, const struct steer_entry *want, uint32_t n_want)
{
	int fd = steer->maps[STEER_MAP_FDB];
	struct steer_entry *have;
	uint32_t n_have;
	int err, sweep_err;

	err = steer_read_fdb(fd, &have, &n_have);
	if (err < 0)
		return err;
	err = steer_fdb_add(fd, want, n_want, have, n_have);
	sweep_err = steer_fdb_sweep(fd, want, n_want, have, n_have);
	/* Old and new together may not fit: then the new ones follow when the old ones are out. */
	if (err == -E2BIG)
		err = steer_fdb_add(fd, want, n_want, have, n_have);
	free(have);
	return err < 0 ? err : sweep_err;
}

static int steer_id_cmp(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

/* Set a port's counters to zero. */
static int steer_clear_port(struct steer *steer, uint32_t id)
{
	struct steer_counter *zero = calloc(steer->n_cpus, sizeof(*zero));
	int err = 0;

	if (!zero)
		return -ENOMEM;
	if (bpf_map_update_elem(steer->maps[STEER_MAP_PORT_STATS], &id, zero, BPF_EXIST) < 0 &&
	    errno != E2BIG) /* an id that is none of ours */
		err = -errno;
	free(zero);
	return err;
}

/* Write ports that are new or have changed; a new port's counters start from zero. */
static int steer_ports_add(struct steer *steer, const struct steer_port_entry *ports, uint32_t n)
{
	int err = 0;

	for (uint32_t i = 0; i < n && !err; i++) {
		const struct steer_port *port = &ports[i].port;
		struct steer_port old;
		bool known = !bpf_map_lookup_elem(steer->maps[STEER_MAP_PORTS], &ports[i].id, &old);

		if (known && !memcmp(&old, port, sizeof(old)))
			continue;
		if (!known || strncmp(old.name, port->name, sizeof(old.name)) != 0)
			err = steer_clear_port(steer, ports[i].id);
		if (!err && bpf_map_update_elem(steer->maps[STEER_MAP_PORTS], &ports[i].id, port,
		                                BPF_ANY) < 0)
			err = -errno;
	}
	return err;
}

/* Delete every port that is not among @ids (sorted). */
static int steer_ids_sweep(struct steer *steer, const uint32_t *ids, uint32_t n)
{
	uint32_t id, *prev = NULL, *gone = NULL, n_gone = 0;
	int fd = steer->maps[STEER_MAP_PORTS], err = 0;

	for (; !bpf_map_get_next_key(fd, prev, &id); prev = &id) {
		uint32_t *more;

		if (n && bsearch(&id, ids, n, sizeof(id), steer_id_cmp))
			continue;
		more = realloc(gone, (n_gone + 1) * sizeof(*gone));
		if (!more) {
			err = -ENOMEM;
			break;
		}
		gone = more;
		gone[n_gone++] = id;
	}
	for (uint32_t i = 0; i < n_gone; i++) {
		int clear_err = steer_clear_port(steer, gone[i]);

		if (bpf_map_delete_elem(fd, &gone[i]) < 0 && errno != ENOENT)
			err = -errno;
		else if (clear_err < 0)
			err = clear_err;
	}
	free(gone);
	return err;
}

static int steer_ports_sweep(struct steer *steer, const struct steer_port_entry *ports, uint32_t n)
{
	uint32_t *ids = malloc((n ? n : 1) * sizeof(*ids));
	int err;

	if (!ids)
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++)
		ids[i] = ports[i].id;
	qsort(ids, n, sizeof(*ids), steer_id_cmp);
	err = steer_ids_sweep(steer, ids, n);
	free(ids);
	return err;
}

/* Answers of fdb that the program has noted count no more. */
static int steer_raise_epoch(struct steer *steer)
{
	uint32_t zero = 0, epoch = ++steer->fdb_epoch;

	/* F: with that of ask_fdb(): who sees the epoch sees what fdb holds now. */
	atomic_thread_fence(memory_order_seq_cst);
	return bpf_map_update_elem(steer->vars, &zero, &epoch, BPF_EXIST) < 0 ? -errno : 0;
}

int steer_set_table(struct steer *steer, const struct steer_entry *entries, uint32_t n_entries,
                    const struct steer_port_entry *ports, uint32_t n_ports)
{
	struct steer_entry *want;
	int err, epoch_err = 0;

	err = steer_sort_entries(entries, n_entries, &want);
	if (err < 0)
		return err;
	err = steer_ports_add(steer, ports, n_ports);
	if (!err) {
		err = steer_set_fdb(steer, want, n_entries);
		epoch_err = steer_raise_epoch(steer);
	}
	if (!err)
		err = epoch_err;
	if (!err)
		err = steer_ports_sweep(steer, ports, n_ports);
	free(want);
	return err;
}

int steer_set_port_state(struct steer *steer, uint32_t port, enum steer_port_state state)
{
	struct steer_port value;

	if (bpf_map_lookup_elem(steer->maps[STEER_MAP_PORTS], &port, &value) < 0)
		return -errno;
	if (value.state == state)
		return 0;
	value.state = state;
	if (bpf_map_update_elem(steer->maps[STEER_MAP_PORTS], &port, &value, BPF_EXIST) < 0)
		return -errno;
	return 0;
}

int steer_set_config(struct steer *steer, const struct steer_config *config)
{
	struct steer_config value = *config;
	uint32_t zero = 0;

	value.abi = STEER_ABI_VERSION;
	value.ifindex = steer->ifindex;
	if (bpf_map_update_elem(steer->maps[STEER_MAP_CONFIG], &zero, &value, BPF_ANY) < 0)
		return -errno;
	return 0;
}

int steer_get_config(const struct steer *steer, struct steer_config *ret_config)
{
	uint32_t zero = 0;

	if (bpf_map_lookup_elem(steer->maps[STEER_MAP_CONFIG], &zero, ret_config) < 0)
		return -errno;
	return 0;
}

int steer_bind_queue(struct steer *steer, uint32_t queue, int xsk_fd, enum steer_queue_mode mode)
{
	struct steer_queue mirror = {.mode = STEER_QUEUE_NONE};
	int err = 0;

	if (queue >= STEER_MAX_QUEUES)
		return -E2BIG;
	if (xsk_fd >= 0) {
		if (bpf_map_update_elem(steer->maps[STEER_MAP_XSKS], &queue, &xsk_fd, BPF_ANY) < 0)
			return -errno;
		mirror = (struct steer_queue){.pid = (uint32_t)getpid(), .mode = mode};
	} else if (bpf_map_delete_elem(steer->maps[STEER_MAP_XSKS], &queue) < 0 &&
	           errno != ENOENT && errno != EINVAL) {
		err = -errno;
	}
	if (bpf_map_update_elem(steer->maps[STEER_MAP_QUEUES], &queue, &mirror, BPF_ANY) < 0)
		err = -errno;
	return err;
}

int steer_reset_queues(struct steer *steer)
{
	for (uint32_t queue = 0; queue < STEER_MAX_QUEUES; queue++) {
		int err = steer_bind_queue(steer, queue, -1, STEER_QUEUE_NONE);

		if (err < 0)
			return err;
	}
	return 0;
}

/* One key's counters of all CPUs in @values (n_cpus long), added up. */
static int steer_read_sum(const struct steer *steer, int fd, uint32_t key,
                          struct steer_counter *values, struct steer_counter *ret)
{
	struct steer_counter sum = {0};

	if (bpf_map_lookup_elem(fd, &key, values) < 0)
		return -errno;
	for (uint32_t cpu = 0; cpu < steer->n_cpus; cpu++) {
		sum.frames += values[cpu].frames;
		sum.bytes += values[cpu].bytes;
	}
	*ret = sum;
	return 0;
}

static_assert(sizeof(struct steer_counter) % 8 == 0, "per-CPU values are padded to 8 bytes");

int steer_read_verdicts(const struct steer *steer, struct steer_counter *ret)
{
	struct steer_counter *values = malloc(steer->n_cpus * sizeof(*values));
	int err = values ? 0 : -ENOMEM;

	for (uint32_t v = 0; v < STEER_N_VERDICTS && !err; v++)
		err = steer_read_sum(steer, steer->maps[STEER_MAP_VERDICTS], v, values, &ret[v]);
	free(values);
	return err;
}

int steer_read_port(const struct steer *steer, uint32_t port, struct steer_counter *ret)
{
	struct steer_counter *values = malloc(steer->n_cpus * sizeof(*values));
	struct steer_config config;
	struct steer_port known;
	int err = values ? steer_get_config(steer, &config) : -ENOMEM;

	if (err == 0 && bpf_map_lookup_elem(steer->maps[STEER_MAP_PORTS], &port, &known) < 0)
		err = -errno;
	else if (err == 0 && config.mode == STEER_MODE_STEERED)
		err = steer_read_sum(steer, steer->maps[STEER_MAP_PORT_STATS], port, values, ret);
	else if (err == 0 && port == config.dedicated_port)
		err = steer_read_sum(steer, steer->maps[STEER_MAP_VERDICTS], STEER_V_GUEST, values,
		                     ret);
	else if (err == 0)
		*ret = (struct steer_counter){0};
	free(values);
	return err;
}

const char *steer_verdict_name(enum steer_verdict verdict)
{
	static const char *const names[] = {
		[STEER_V_GUEST] = "guest",         [STEER_V_GUEST_NO_DAEMON] = "guest-no-daemon",
		[STEER_V_GROUP] = "group",         [STEER_V_PASS] = "pass",
		[STEER_V_DROP] = "drop",           [STEER_V_REDIRECT] = "redirect",
		[STEER_V_MALFORMED] = "malformed", [STEER_V_BACK] = "back",
	};
	static_assert(ARRAY_SIZE(names) == STEER_N_VERDICTS, "a verdict has no name");

	return verdict < STEER_N_VERDICTS ? names[verdict] : "unknown";
}
