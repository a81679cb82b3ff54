/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * conf_priv.h - what the parts of the configuration reader share
 *
 *   conf_yaml.c    one file: text -> checked YAML tree -> raw structures (libcyaml)
 *   conf_schema.c  the tables that both of these steps follow
 *   conf_check.c   raw structures of all files -> struct conf, with every rule between keys
 *   conf_system.c  struct conf against the host
 *   conf.c         which files, in which order; release
 *   conf_single.c  options of the command line -> the text of a configuration
 *
 * libcyaml fills structures from a schema, but tells mistakes in many lines and cannot say where a
 * value stood once it is loaded. So the same text is parsed into a tree of nodes with positions
 * first; the tree is held against libcyaml's own schema tables for everything a schema can say,
 * and gives the rules between keys the line and column to complain about.
 */
#ifndef CONF_PRIV_H
#define CONF_PRIV_H

#include <cyaml/cyaml.h>
#include <yaml.h>

#include "conf.h"

#define CONF_MAX_FILE_SIZE (8u << 20) /* bytes; 4095 ports take well below one MiB */
#define CONF_MAX_DEPTH     16
#define CONF_MAX_FILES     4096
#define CONF_MAX_WORKERS   256
#define CONF_MAX_NICS      256
#define CONF_MAX_PORTS     4095   /* ids from 1; STEER_MAX_PORTS - 1 */
#define CONF_MAX_PORT_MACS 4096   /* of one port */
#define CONF_MAX_MACS      131072 /* of all ports */

/* The file as libcyaml loads it. A pointer is NULL where the key is missing. */
struct conf_raw_worker {
	uint32_t cpu;
};

struct conf_raw_nic {
	char *name;
	enum conf_nic_mode mode;
	enum conf_miss miss;
	char *redirect_to;
	enum conf_miss *no_daemon;
	enum conf_xdp_mode xdp_mode;
	enum conf_zero_copy zero_copy;
	enum conf_yield yield;
	uint32_t napi_busy_poll;
	uint32_t first_queue;
	uint32_t *queues;
	uint32_t *ring_size;
};

struct conf_raw_port {
	char *name;
	char *socket;
	bool *listen;
	char *nic;
	char **macs;
	uint32_t macs_count;
	uint32_t vlan;
	uint32_t *queues;
	uint32_t mtu;
	bool own_macs_only;
	bool device_config;
	bool ring_reset;
	bool iommu;
	char *socket_owner;
	char *socket_group;
	char *socket_mode; /* octal digits; read by us, not as libcyaml reads numbers */
	uint64_t *features_mask;
	uint32_t *worker;
};

struct conf_raw {
	char *control_socket;
	char *pin_dir;
	uint32_t *busy_poll_us;
	uint32_t *wakeup_latency_us;
	enum conf_placement placement;
	struct conf_raw_worker *workers;
	uint32_t workers_count;
	struct conf_raw_nic *nics;
	uint32_t nics_count;
	struct conf_raw_port *ports;
	uint32_t ports_count;
};

/* Of the main file, and of a file in conf.d (the lists only). */
extern const cyaml_schema_value_t conf_schema_main, conf_schema_part;

/* One file. */
struct conf_doc {
	const char *path; /* borrowed: struct conf_full's */
	char *text;
	size_t len;
	bool no_lines; /* positions in it say nothing to the user */
	const cyaml_schema_value_t *schema;
	yaml_document_t tree;
	bool have_tree;
	const yaml_node_t *root; /* NULL: nothing but comments */
	struct conf_raw *raw;    /* NULL likewise */
};

struct conf_pos {
	const char *file;
	uint32_t line, column; /* from 1; 0: of a text without lines to speak of */
};

/* Text from the file, short and printable, in quotes. */
struct conf_quoted {
	char s[72];
};
struct conf_quoted conf_quote(const char *text);

/** conf_fail() - set *@ret_error to "file:line:column: message". Return: -EINVAL. */
int conf_fail(char **ret_error, struct conf_pos pos, const char *fmt, ...) printf_like(3, 4);

/** conf_nearest() - the word that @text was probably meant to be, or NULL */
const char *conf_nearest(const char *text, const char *(*word)(const void *table, size_t i),
                         const void *table);

/**
 * conf_doc_load() - read, parse, check against @schema, load
 * @doc: zeroed; conf_doc_free() afterwards, also on failure
 * @path: borrowed, positions point to it
 * Return: 0, -EINVAL or another -errno, with one line in @ret_error.
 */
int conf_doc_load(struct conf_doc *doc, const char *path, const cyaml_schema_value_t *schema,
                  char **ret_error);
/** conf_doc_parse() - the same for what stands in @doc->text already */
int conf_doc_parse(struct conf_doc *doc, const char *path, const cyaml_schema_value_t *schema,
                   char **ret_error);
void conf_doc_free(struct conf_doc *doc);

/**
 * conf_load_text() - a configuration that is no file
 * @name: what messages call it; they have no line numbers
 * @text: malloc()ed, taken over, also on failure
 */
int conf_load_text(const char *name, char *text, size_t len, struct conf **ret_conf,
                   char **ret_error);

/* Where things stand in the tree. */
struct conf_pos conf_pos_of(const struct conf_doc *doc, const yaml_node_t *node);
/** conf_child() - value of @key in a mapping, NULL if it is missing */
const yaml_node_t *conf_child(const struct conf_doc *doc, const yaml_node_t *map, const char *key);
/** conf_item() - entry @i of a list */
const yaml_node_t *conf_item(const struct conf_doc *doc, const yaml_node_t *list, uint32_t i);
/** conf_pos_at() - position of the value of @key in @map, of @map itself if it is missing */
struct conf_pos conf_pos_at(const struct conf_doc *doc, const yaml_node_t *map, const char *key);

/* A configuration with what messages about it need later. */
struct conf_nic_pos {
	struct conf_pos name, redirect_to;
};

struct conf_port_pos {
	struct conf_pos name, nic, socket, owner, group;
};

struct conf_full {
	struct conf pub; /* what the rest of the daemon sees */
	char **files;    /* the names that positions point to */
	uint32_t n_files;
	struct conf_pos control_socket;
	struct conf_pos *workers; /* of the cpu */
	struct conf_nic_pos *nics;
	struct conf_port_pos *ports;
};

static inline const struct conf_full *conf_full_of(const struct conf *conf)
{
	return (const struct conf_full *)((const char *)conf - offsetof(struct conf_full, pub));
}

/**
 * conf_build() - join the files, check every rule between keys, fill in defaults
 * @full: zeroed but for files; the caller frees it, also on failure
 */
int conf_build(struct conf_full *full, const struct conf_doc *docs, uint32_t n_docs,
               char **ret_error);

#endif
