// SPDX-License-Identifier: BSD-2-Clause
/*
 * conf_check.c - from what stands in the files to a configuration in which every rule holds
 *
 * Values arrive with the right types (conf_yaml.c). What is left are ranges, forms of text and the
 * rules between keys and between entries, in the order of the files, so that the first mistake a
 * reader meets is the one that is told.
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <net/if.h>
#include <search.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "conf_priv.h"
#include "cpu_latency.h"
#include "steer_abi.h"

static_assert(CONF_MAX_NAME < STEER_NAME_LEN, "names go into the steering maps");
static_assert(CONF_MAX_PORTS < STEER_MAX_PORTS, "port ids start at 1");
/* Old and new may not fit side by side; steer_set_table() then takes the old out first. */
static_assert(CONF_MAX_MACS <= STEER_MAX_MACS, "every table fits");

#define CONF_MAX_SOCKET (sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1)

/* A name or address that may be there once, in a tsearch() tree. */
struct conf_seen {
	const void *key;
	size_t len;
	struct conf_pos pos;
};

struct conf_mac_key {
	uint32_t nic;
	uint16_t vlan;
	uint8_t addr[6];
};
static_assert(sizeof(struct conf_mac_key) == 12, "compared as bytes");

struct conf_build {
	struct conf_full *full;
	char **ret_error;
	void *workers, *nics, *ports, *sockets, *macs; /* trees of struct conf_seen */
	uint32_t *nic_port;                            /* of each nic: its first port + 1, or 0 */
	uint32_t n_macs;
};

/* The entry in hand. */
struct conf_entry {
	const struct conf_doc *doc;
	const yaml_node_t *map;
	uint32_t number; /* in its list, from 1 */
};

static struct conf_pos entry_pos(const struct conf_entry *e, const char *key)
{
	return conf_pos_at(e->doc, e->map, key);
}

static bool entry_has(const struct conf_entry *e, const char *key)
{
	return conf_child(e->doc, e->map, key);
}

static int conf_nomem(struct conf_build *b)
{
	*b->ret_error = strdup("out of memory while reading the configuration");
	return -ENOMEM;
}

static int conf_copy(struct conf_build *b, const char *from, char **ret)
{
	*ret = NULL;
	if (!from)
		return 0;
	*ret = strdup(from);
	return *ret ? 0 : conf_nomem(b);
}

/* --- seen before? --- */

static int conf_compare_seen(const void *pa, const void *pb)
{
	const struct conf_seen *a = pa, *b = pb;

	if (a->len != b->len)
		return a->len < b->len ? -1 : 1;
	return memcmp(a->key, b->key, a->len);
}

/*
 * Remembers @key at @pos; @key stays where it is, or is the caller's malloc()ed block.
 * Return: 0; 1 when it was there already, at *@ret_first; -ENOMEM.
 */
static int conf_remember(void **tree, const void *key, size_t len, struct conf_pos pos,
                         struct conf_pos *ret_first)
{
	struct conf_seen *s = malloc(sizeof(*s)), **found;

	if (!s)
		return -ENOMEM;
	*s = (struct conf_seen){key, len, pos};
	found = tsearch(s, tree, conf_compare_seen);
	if (!found) {
		free(s);
		return -ENOMEM;
	}
	if (*found == s)
		return 0;
	*ret_first = (*found)->pos;
	free(s);
	return 1;
}

static int conf_once(struct conf_build *b, void **tree, const char *what, const char *text,
                     struct conf_pos pos)
{
	struct conf_pos first;
	int ret = conf_remember(tree, text, strlen(text), pos, &first);

	if (ret < 0)
		return conf_nomem(b);
	if (!ret)
		return 0;
	return conf_fail(b->ret_error, pos, "%s '%s' is there already, in %s line %u", what, text,
	                 first.file, first.line);
}

/* --- forms of values --- */

static int conf_range(struct conf_build *b, const struct conf_entry *e, const char *key,
                      uint32_t value, uint32_t min, uint32_t max)
{
	if (value >= min && value <= max)
		return 0;
	return conf_fail(b->ret_error, entry_pos(e, key), "%s: %u is not between %u and %u", key,
	                 value, min, max);
}

static int conf_check_name(struct conf_build *b, const struct conf_entry *e, const char *key,
                           const char *name, size_t max)
{
	static const char ok[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";

	if (strlen(name) > max)
		return conf_fail(b->ret_error, entry_pos(e, key),
		                 "%s: %s has %zu characters, at most %zu are possible", key,
		                 conf_quote(name).s, strlen(name), max);
	if (name[strspn(name, ok)] || *name == '.' || *name == '-')
		return conf_fail(b->ret_error, entry_pos(e, key),
		                 "%s: %s must be of letters, digits, '_', '-' and '.', and begin "
		                 "with a letter, digit or '_'",
		                 key, conf_quote(name).s);
	return 0;
}

static int conf_check_path(struct conf_build *b, const struct conf_entry *e, const char *key,
                           const char *path, size_t max)
{
	if (path[0] != '/')
		return conf_fail(b->ret_error, entry_pos(e, key),
		                 "%s: %s is not an absolute path (it must begin with '/')", key,
		                 conf_quote(path).s);
	if (strlen(path) > max)
		return conf_fail(b->ret_error, entry_pos(e, key),
		                 "%s: the path has %zu bytes, at most %zu are possible", key,
		                 strlen(path), max);
	return 0;
}

/* A path of a socket: sun_path is short, and the last part is a file's name. */
static int conf_check_socket(struct conf_build *b, const struct conf_entry *e, const char *key,
                             const char *path)
{
	int err = conf_check_path(b, e, key, path, CONF_MAX_SOCKET);

	if (err < 0)
		return err;
	if (path[strlen(path) - 1] == '/')
		return conf_fail(b->ret_error, entry_pos(e, key),
		                 "%s: %s names a folder, not a socket", key, conf_quote(path).s);
	return conf_once(b, &b->sockets, "socket: the path", path, entry_pos(e, key));
}

static int conf_hex_digit(char c)
{
	static const char digits[] = "0123456789abcdef";
	const char *p = c ? strchr(digits, tolower((unsigned char)c)) : NULL;

	return p ? (int)(p - digits) : -1;
}

/* "52:54:00:00:00:0a", two digits each. */
static bool conf_parse_mac(const char *text, uint8_t mac[6])
{
	if (strlen(text) != 17)
		return false;
	for (int i = 0; i < 6; i++, text += 3) {
		int hi = conf_hex_digit(text[0]), lo = conf_hex_digit(text[1]);

		if (hi < 0 || lo < 0 || text[2] != (i < 5 ? ':' : '\0'))
			return false;
		mac[i] = (uint8_t)(hi << 4 | lo);
	}
	return true;
}

static bool conf_parse_octal(const char *text, uint32_t max, uint32_t *ret)
{
	char *end;
	unsigned long v;

	if (strspn(text, "01234567") != strlen(text) || strlen(text) < 3 || strlen(text) > 5)
		return false;
	v = strtoul(text, &end, 8);
	if (*end || v > max)
		return false;
	*ret = (uint32_t)v;
	return true;
}

/* --- workers --- */

static int conf_add_worker(struct conf_build *b, const struct conf_entry *e,
                           const struct conf_raw_worker *raw)
{
	struct conf *c = &b->full->pub;
	struct conf_pos pos = entry_pos(e, "cpu"), first;
	int ret;

	if (raw->cpu >= CPU_SETSIZE)
		return conf_range(b, e, "cpu", raw->cpu, 0, CPU_SETSIZE - 1);
	c->workers[c->n_workers].cpu = (int)raw->cpu;
	b->full->workers[c->n_workers] = pos;
	ret = conf_remember(&b->workers, &c->workers[c->n_workers].cpu, sizeof(int), pos, &first);
	c->n_workers++;
	if (ret < 0)
		return conf_nomem(b);
	if (ret > 0)
		return conf_fail(b->ret_error, pos,
		                 "cpu: another worker has CPU %u already, in %s line %u", raw->cpu,
		                 first.file, first.line);
	return 0;
}

/* --- nics --- */

/* Keys that only mean something where there is a device, and only where frames are steered. */
static int conf_check_nic_keys(struct conf_build *b, const struct conf_entry *e,
                               const struct conf_raw_nic *raw)
{
	static const struct {
		const char *key;
		bool dedicated; /* makes sense in this mode too */
	} keys[] = {
		{"miss", false},          {"redirect-to", false}, {"no-daemon", true},
		{"xdp-mode", true},       {"zero-copy", true},    {"first-queue", true},
		{"queues", true},         {"ring-size", true},    {"yield", true},
		{"napi-busy-poll", true},
	};

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		const yaml_node_t *node = conf_child(e->doc, e->map, keys[i].key);

		if (!node || raw->mode == CONF_NIC_STEERED ||
		    (raw->mode == CONF_NIC_DEDICATED && keys[i].dedicated))
			continue;
		return conf_fail(b->ret_error, conf_pos_of(e->doc, node),
		                 "%s: this key has no meaning for a nic of mode %s", keys[i].key,
		                 raw->mode == CONF_NIC_DEDICATED ? "dedicated" : "internal");
	}
	return 0;
}

static int conf_check_redirect(struct conf_build *b, const struct conf_entry *e,
                               const struct conf_raw_nic *raw)
{
	if (raw->miss == CONF_MISS_REDIRECT && !raw->redirect_to)
		return conf_fail(b->ret_error, entry_pos(e, "miss"),
		                 "miss: redirect needs the key 'redirect-to' with a device's name");
	if (raw->miss != CONF_MISS_REDIRECT && raw->redirect_to)
		return conf_fail(b->ret_error, entry_pos(e, "redirect-to"),
		                 "redirect-to: this key needs 'miss: redirect'");
	if (!raw->redirect_to)
		return 0;
	if (!strcmp(raw->redirect_to, raw->name))
		return conf_fail(b->ret_error, entry_pos(e, "redirect-to"),
		                 "redirect-to: the nic cannot redirect to itself");
	return conf_check_name(b, e, "redirect-to", raw->redirect_to, IFNAMSIZ - 1);
}

static int conf_check_nic_queues(struct conf_build *b, const struct conf_entry *e,
                                 const struct conf_raw_nic *raw)
{
	int err = conf_range(b, e, "first-queue", raw->first_queue, 0, STEER_MAX_QUEUES - 1);

	if (err == 0 && raw->queues)
		err = conf_range(b, e, "queues", *raw->queues, 1,
		                 STEER_MAX_QUEUES - raw->first_queue);
	if (err == 0 && raw->ring_size)
		err = conf_range(b, e, "ring-size", *raw->ring_size, 64, 16384);
	if (err == 0 && raw->ring_size && (*raw->ring_size & (*raw->ring_size - 1)))
		err = conf_fail(b->ret_error, entry_pos(e, "ring-size"),
		                "ring-size: %u is not a power of two", *raw->ring_size);
	return err;
}

static int conf_check_nic(struct conf_build *b, const struct conf_entry *e,
                          const struct conf_raw_nic *raw)
{
	size_t max_name = raw->mode == CONF_NIC_INTERNAL ? CONF_MAX_NAME : IFNAMSIZ - 1;
	int err = conf_check_name(b, e, "name", raw->name, max_name);

	if (err == 0)
		err = conf_check_nic_keys(b, e, raw);
	if (err == 0)
		err = conf_check_redirect(b, e, raw);
	if (err == 0)
		err = conf_check_nic_queues(b, e, raw);
	if (err == 0)
		err = conf_range(b, e, "napi-busy-poll", raw->napi_busy_poll, 0, 1024);
	return err;
}

static int conf_add_nic(struct conf_build *b, const struct conf_entry *e,
                        const struct conf_raw_nic *raw)
{
	struct conf *c = &b->full->pub;
	struct conf_nic *nic = &c->nics[c->n_nics];
	struct conf_nic_pos *pos = &b->full->nics[c->n_nics];
	int err = conf_check_nic(b, e, raw);

	if (err < 0)
		return err;
	*pos = (struct conf_nic_pos){entry_pos(e, "name"), entry_pos(e, "redirect-to")};
	*nic = (struct conf_nic){
		.mode = raw->mode,
		.miss = raw->miss,
		.no_daemon = raw->no_daemon ? *raw->no_daemon : CONF_MISS_DROP,
		.xdp_mode = raw->xdp_mode,
		.zero_copy = raw->zero_copy,
		.yield = raw->yield,
		.napi_busy_poll = raw->napi_busy_poll,
		.first_queue = raw->first_queue,
		.queues = raw->queues ? *raw->queues : 0,
		.ring_size = raw->ring_size ? *raw->ring_size : 2048,
		.line = pos->name.line,
		.column = pos->name.column,
	};
	c->n_nics++;
	err = conf_copy(b, raw->name, &nic->name);
	if (err == 0)
		err = conf_copy(b, raw->redirect_to, &nic->redirect_to);
	if (err == 0)
		err = conf_once(b, &b->nics, "name: a nic", nic->name, pos->name);
	return err;
}

/* --- ports --- */

static const char *conf_nic_word(const void *table, size_t i)
{
	const struct conf *c = table;

	return i < c->n_nics ? c->nics[i].name : NULL;
}

static int conf_find_nic(struct conf_build *b, const struct conf_entry *e, const char *name,
                         uint32_t *ret_index)
{
	const struct conf *c = &b->full->pub;
	const char *near;

	for (uint32_t i = 0; i < c->n_nics; i++) {
		if (!strcmp(c->nics[i].name, name)) {
			*ret_index = i;
			return 0;
		}
	}
	near = conf_nearest(name, conf_nic_word, c);
	return conf_fail(b->ret_error, entry_pos(e, "nic"),
	                 near ? "nic: there is no nic %s, did you mean '%s'?"
	                      : "nic: there is no nic %s in the list of nics",
	                 conf_quote(name).s, near);
}

static int conf_check_mac(struct conf_build *b, struct conf_pos pos, const char *text,
                          uint8_t mac[6])
{
	static const uint8_t zero[6];

	if (!conf_parse_mac(text, mac))
		return conf_fail(b->ret_error, pos,
		                 "macs: %s is not a MAC address (like \"52:54:00:00:00:0a\")",
		                 conf_quote(text).s);
	if (mac[0] & 1)
		return conf_fail(b->ret_error, pos,
		                 "macs: %s is a multicast address, a guest's must be unicast",
		                 conf_quote(text).s);
	if (!memcmp(mac, zero, 6))
		return conf_fail(b->ret_error, pos, "macs: the address is all zero");
	return 0;
}

/* Within one (nic, vlan) an address has one owner. */
static int conf_claim_mac(struct conf_build *b, const struct conf_port *port, const char *text,
                          const uint8_t addr[6], struct conf_pos pos)
{
	struct conf_mac_key *key = malloc(sizeof(*key));
	struct conf_pos first;
	int ret;

	if (!key)
		return conf_nomem(b);
	*key = (struct conf_mac_key){.nic = port->nic_index, .vlan = port->vlan};
	memcpy(key->addr, addr, 6);
	ret = conf_remember(&b->macs, key, sizeof(*key), pos, &first);
	if (ret == 0)
		return 0;
	free(key);
	if (ret < 0)
		return conf_nomem(b);
	return conf_fail(b->ret_error, pos,
	                 "macs: '%s' is there already for nic '%s', vlan %u, in %s line %u", text,
	                 port->nic, port->vlan, first.file, first.line);
}

static int conf_add_macs(struct conf_build *b, const struct conf_entry *e,
                         const struct conf_raw_port *raw, struct conf_port *port)
{
	const yaml_node_t *list = conf_child(e->doc, e->map, "macs");

	if (!list) {
		if (b->full->pub.nics[port->nic_index].mode == CONF_NIC_DEDICATED)
			return 0;
		return conf_fail(b->ret_error, conf_pos_of(e->doc, e->map),
		                 "ports entry %u: the key 'macs' is missing (only a port on a "
		                 "dedicated nic can do without)",
		                 e->number);
	}
	port->macs = calloc(raw->macs_count, sizeof(*port->macs));
	if (!port->macs)
		return conf_nomem(b);
	for (uint32_t i = 0; i < raw->macs_count; i++) {
		struct conf_pos pos = conf_pos_of(e->doc, conf_item(e->doc, list, i));
		uint8_t *addr = port->macs[i].addr;
		int err = conf_check_mac(b, pos, raw->macs[i], addr);

		if (err == 0)
			err = conf_claim_mac(b, port, raw->macs[i], addr, pos);
		if (err < 0)
			return err;
		if (++b->n_macs > CONF_MAX_MACS)
			return conf_fail(b->ret_error, pos,
			                 "macs: more than %d addresses in all ports together",
			                 CONF_MAX_MACS);
		port->n_macs++;
	}
	return 0;
}

/* The socket's owner and mode are the daemon's business only where it makes the socket. */
static int conf_check_socket_keys(struct conf_build *b, const struct conf_entry *e, bool listens)
{
	static const char *const keys[] = {"socket-owner", "socket-group", "socket-mode"};

	for (size_t i = 0; i < ARRAY_SIZE(keys) && !listens; i++)
		if (entry_has(e, keys[i]))
			return conf_fail(b->ret_error, entry_pos(e, keys[i]),
			                 "%s: this key needs 'listen: true', else the front end "
			                 "makes the socket",
			                 keys[i]);
	return 0;
}

static int conf_set_socket_mode(struct conf_build *b, const struct conf_entry *e, const char *text,
                                struct conf_port *port)
{
	if (!text || conf_parse_octal(text, 0777, &port->socket_mode))
		return 0;
	return conf_fail(b->ret_error, entry_pos(e, "socket-mode"),
	                 "socket-mode: expected octal permissions like \"0660\", found %s",
	                 conf_quote(text).s);
}

static int conf_check_port_numbers(struct conf_build *b, const struct conf_entry *e,
                                   const struct conf_raw_port *raw)
{
	int err = conf_range(b, e, "vlan", raw->vlan, 0, 4094);

	if (err == 0 && raw->queues)
		err = conf_range(b, e, "queues", *raw->queues, 1, 128);
	if (err == 0 && raw->mtu)
		err = conf_range(b, e, "mtu", raw->mtu, 68, 65535);
	return err;
}

static int conf_check_port(struct conf_build *b, const struct conf_entry *e,
                           const struct conf_raw_port *raw)
{
	int err = conf_check_name(b, e, "name", raw->name, CONF_MAX_NAME);

	if (err == 0)
		err = conf_check_port_numbers(b, e, raw);
	if (err == 0)
		err = conf_check_socket_keys(b, e, !raw->listen || *raw->listen);
	return err;
}

static int conf_copy_port(struct conf_build *b, const struct conf_raw_port *raw,
                          struct conf_port *port)
{
	int err = conf_copy(b, raw->name, &port->name);

	if (err == 0)
		err = conf_copy(b, raw->socket, &port->socket);
	if (err == 0)
		err = conf_copy(b, raw->nic, &port->nic);
	if (err == 0)
		err = conf_copy(b, raw->socket_owner, &port->socket_owner);
	if (err == 0)
		err = conf_copy(b, raw->socket_group, &port->socket_group);
	return err;
}

static int conf_attach_port(struct conf_build *b, const struct conf_entry *e,
                            struct conf_port *port)
{
	const struct conf *c = &b->full->pub;
	int err = conf_find_nic(b, e, port->nic, &port->nic_index);
	uint32_t first;

	if (err < 0)
		return err;
	first = b->nic_port[port->nic_index];
	if (first && c->nics[port->nic_index].mode == CONF_NIC_DEDICATED)
		return conf_fail(b->ret_error, entry_pos(e, "nic"),
		                 "nic: '%s' is dedicated and has a port already, '%s'", port->nic,
		                 c->ports[first - 1].name);
	if (!first)
		b->nic_port[port->nic_index] = c->n_ports;
	return 0;
}

static int conf_pin_port(struct conf_build *b, const struct conf_entry *e, const uint32_t *cpu,
                         struct conf_port *port)
{
	const struct conf *c = &b->full->pub;

	port->worker_cpu = -1;
	if (!cpu)
		return 0;
	for (uint32_t i = 0; i < c->n_workers; i++) {
		if ((uint32_t)c->workers[i].cpu == *cpu) {
			port->worker_cpu = (int)*cpu;
			return 0;
		}
	}
	return conf_fail(b->ret_error, entry_pos(e, "worker"),
	                 "worker: no worker is on CPU %u, see the list of workers", *cpu);
}

static int conf_add_port(struct conf_build *b, const struct conf_entry *e,
                         const struct conf_raw_port *raw)
{
	struct conf *c = &b->full->pub;
	struct conf_port *port = &c->ports[c->n_ports];
	struct conf_port_pos *pos = &b->full->ports[c->n_ports];
	int err = conf_check_port(b, e, raw);

	if (err < 0)
		return err;
	*pos = (struct conf_port_pos){entry_pos(e, "name"), entry_pos(e, "nic"),
	                              entry_pos(e, "socket"), entry_pos(e, "socket-owner"),
	                              entry_pos(e, "socket-group")};
	*port = (struct conf_port){
		.fd = -1,
		.listen = !raw->listen || *raw->listen,
		.vlan = (uint16_t)raw->vlan,
		.queues = (uint16_t)(raw->queues ? *raw->queues : 8),
		.mtu = (uint16_t)raw->mtu,
		.own_macs_only = raw->own_macs_only,
		.device_config = raw->device_config,
		.ring_reset = raw->ring_reset,
		.iommu = raw->iommu,
		.socket_mode = 0660,
		.features_mask = raw->features_mask ? *raw->features_mask : UINT64_MAX,
		.line = pos->name.line,
		.column = pos->name.column,
	};
	c->n_ports++;
	err = conf_copy_port(b, raw, port);
	if (err == 0)
		err = conf_once(b, &b->ports, "name: a port", port->name, pos->name);
	if (err == 0)
		err = conf_check_socket(b, e, "socket", port->socket);
	if (err == 0)
		err = conf_set_socket_mode(b, e, raw->socket_mode, port);
	if (err == 0)
		err = conf_pin_port(b, e, raw->worker, port);
	if (err == 0)
		err = conf_attach_port(b, e, port);
	if (err == 0)
		err = conf_add_macs(b, e, raw, port);
	return err;
}

/* --- all of it --- */

static int conf_add_main(struct conf_build *b, const struct conf_doc *doc)
{
	struct conf *c = &b->full->pub;
	const struct conf_raw *raw = doc->raw;
	struct conf_entry e = {.doc = doc, .map = doc->root};
	int err;

	err = conf_copy(b,
	                raw->control_socket ? raw->control_socket : "/run/vhost-xdp/control.sock",
	                &c->control_socket);
	if (err == 0)
		err = conf_copy(b, raw->pin_dir ? raw->pin_dir : "/sys/fs/bpf/vhost-xdp",
		                &c->pin_dir);
	if (err < 0)
		return err;
	b->full->control_socket = entry_pos(&e, "control-socket");
	c->busy_poll_us = raw->busy_poll_us ? *raw->busy_poll_us : 50;
	c->wakeup_latency_us = raw->wakeup_latency_us ? *raw->wakeup_latency_us : CPU_LATENCY_NONE;
	c->placement = raw->placement;
	err = conf_check_socket(b, &e, "control-socket", c->control_socket);
	if (err == 0)
		err = conf_check_path(b, &e, "pin-dir", c->pin_dir, 255);
	if (err == 0)
		err = conf_range(b, &e, "busy-poll-us", c->busy_poll_us, 0, 1000000);
	if (err == 0 && raw->wakeup_latency_us)
		err = conf_range(b, &e, "wakeup-latency-us", c->wakeup_latency_us, 0,
		                 CPU_LATENCY_MAX);
	return err;
}

enum conf_list { CONF_WORKERS, CONF_NICS, CONF_PORTS, CONF_N_LISTS };

static const char *const conf_list_names[] = {
	[CONF_WORKERS] = "workers",
	[CONF_NICS] = "nics",
	[CONF_PORTS] = "ports",
};

static int conf_add_list(struct conf_build *b, const struct conf_doc *doc, enum conf_list list)
{
	const yaml_node_t *node = conf_child(doc, doc->root, conf_list_names[list]);
	const struct conf_raw *raw = doc->raw;
	uint32_t n = list == CONF_WORKERS ? raw->workers_count
	             : list == CONF_NICS  ? raw->nics_count
	                                  : raw->ports_count;
	int err = 0;

	for (uint32_t i = 0; i < n && err == 0; i++) {
		struct conf_entry e = {doc, conf_item(doc, node, i), i + 1};

		if (list == CONF_WORKERS)
			err = conf_add_worker(b, &e, &raw->workers[i]);
		else if (list == CONF_NICS)
			err = conf_add_nic(b, &e, &raw->nics[i]);
		else
			err = conf_add_port(b, &e, &raw->ports[i]);
	}
	return err;
}

/* Room for the entries of all files. */
static int conf_make_room(struct conf_build *b, const struct conf_doc *docs, uint32_t n_docs)
{
	struct conf_full *f = b->full;
	size_t n[CONF_N_LISTS] = {0};

	for (uint32_t i = 0; i < n_docs; i++) {
		if (!docs[i].raw)
			continue;
		n[CONF_WORKERS] += docs[i].raw->workers_count;
		n[CONF_NICS] += docs[i].raw->nics_count;
		n[CONF_PORTS] += docs[i].raw->ports_count;
	}
	if (n[CONF_WORKERS] > CONF_MAX_WORKERS || n[CONF_NICS] > CONF_MAX_NICS ||
	    n[CONF_PORTS] > CONF_MAX_PORTS)
		return conf_fail(b->ret_error, conf_pos_of(&docs[0], docs[0].root),
		                 "all files together have %zu workers, %zu nics and %zu ports; at "
		                 "most %d, %d and %d are possible",
		                 n[CONF_WORKERS], n[CONF_NICS], n[CONF_PORTS], CONF_MAX_WORKERS,
		                 CONF_MAX_NICS, CONF_MAX_PORTS);
	/* One more each: calloc(0) may give NULL. */
	f->pub.workers = calloc(n[CONF_WORKERS] + 1, sizeof(*f->pub.workers));
	f->pub.nics = calloc(n[CONF_NICS] + 1, sizeof(*f->pub.nics));
	f->pub.ports = calloc(n[CONF_PORTS] + 1, sizeof(*f->pub.ports));
	f->workers = calloc(n[CONF_WORKERS] + 1, sizeof(*f->workers));
	f->nics = calloc(n[CONF_NICS] + 1, sizeof(*f->nics));
	f->ports = calloc(n[CONF_PORTS] + 1, sizeof(*f->ports));
	b->nic_port = calloc(n[CONF_NICS] + 1, sizeof(*b->nic_port));
	if (!f->pub.workers || !f->pub.nics || !f->pub.ports || !f->workers || !f->nics ||
	    !f->ports || !b->nic_port)
		return conf_nomem(b);
	return 0;
}

/* What only the whole shows. */
static int conf_check_whole(struct conf_build *b, const struct conf_doc *doc)
{
	const struct conf *c = &b->full->pub;

	if (!c->n_workers)
		return conf_fail(b->ret_error, conf_pos_of(doc, doc->root),
		                 "configuration: the key 'workers' is missing");
	if (!c->n_nics)
		return conf_fail(b->ret_error, conf_pos_of(doc, doc->root),
		                 "configuration: the key 'nics' is missing");
	for (uint32_t i = 0; i < c->n_nics; i++)
		if (c->nics[i].mode == CONF_NIC_DEDICATED && !b->nic_port[i])
			return conf_fail(b->ret_error, b->full->nics[i].name,
			                 "nics: '%s' is dedicated, but no port has it as its nic",
			                 c->nics[i].name);
	return 0;
}

static void conf_free_seen(void *seen)
{
	free(seen);
}

static void conf_free_seen_mac(void *seen)
{
	struct conf_seen *s = seen;

	free((void *)(uintptr_t)s->key);
	free(s);
}

int conf_build(struct conf_full *full, const struct conf_doc *docs, uint32_t n_docs,
               char **ret_error)
{
	struct conf_build b = {.full = full, .ret_error = ret_error};
	int err = conf_make_room(&b, docs, n_docs);

	if (err == 0)
		err = conf_add_main(&b, &docs[0]);
	/* List by list, so that a port may come before its nic's file. */
	for (int list = 0; list < CONF_N_LISTS && err == 0; list++)
		for (uint32_t i = 0; i < n_docs && err == 0; i++)
			if (docs[i].raw)
				err = conf_add_list(&b, &docs[i], (enum conf_list)list);
	if (err == 0)
		err = conf_check_whole(&b, &docs[0]);
	tdestroy(b.workers, conf_free_seen);
	tdestroy(b.nics, conf_free_seen);
	tdestroy(b.ports, conf_free_seen);
	tdestroy(b.sockets, conf_free_seen);
	tdestroy(b.macs, conf_free_seen_mac);
	free(b.nic_port);
	return err;
}
