// SPDX-License-Identifier: BSD-2-Clause
/*
 * conf_yaml.c - one configuration file: text, tree, schema, raw structures
 *
 * Three passes over the text, each of which refuses what the next could not bear:
 *
 *  1. events: one document, bounded depth, no aliases. Aliases are refused because libcyaml
 *     expands them, and a few lines of aliases of aliases expand to gigabytes.
 *  2. tree: libyaml's document with a position for each node. conf_walk() holds it against the
 *     libcyaml tables: unknown, repeated and missing keys, types, numbers, words.
 *  3. libcyaml itself, which can then only fail for lack of memory.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conf_priv.h"

struct conf_quoted conf_quote(const char *text)
{
	struct conf_quoted q;
	size_t n = 0, room = sizeof(q.s) - sizeof("...''");

	q.s[n++] = '\'';
	for (; *text && n < room; text++)
		q.s[n++] = isprint((unsigned char)*text) ? *text : '?';
	snprintf(q.s + n, sizeof(q.s) - n, "%s'", *text ? "..." : "");
	return q;
}

int conf_fail(char **ret_error, struct conf_pos pos, const char *fmt, ...)
{
	char *text = NULL;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n >= 0 && !pos.line)
		n = asprintf(ret_error, "%s: %s", pos.file, text);
	else if (n >= 0)
		n = asprintf(ret_error, "%s:%u:%u: %s", pos.file, pos.line, pos.column, text);
	if (n < 0)
		*ret_error = NULL;
	free(text);
	return -EINVAL;
}

/* A message about a file as a whole. */
static int conf_fail_file(char **ret_error, const char *path, int err, const char *what)
{
	if (asprintf(ret_error, "%s: %s: %s", path, what, strerror(-err)) < 0)
		*ret_error = NULL;
	return err;
}

static struct conf_pos conf_pos_of_mark(const struct conf_doc *doc, yaml_mark_t mark)
{
	if (doc->no_lines)
		return (struct conf_pos){.file = doc->path};
	return (struct conf_pos){doc->path, (uint32_t)mark.line + 1, (uint32_t)mark.column + 1};
}

struct conf_pos conf_pos_of(const struct conf_doc *doc, const yaml_node_t *node)
{
	return conf_pos_of_mark(doc, node->start_mark);
}

/* libyaml's accessor takes a writable document, but only reads it. */
static const yaml_node_t *conf_node(const struct conf_doc *doc, int index)
{
	return &doc->tree.nodes.start[index - 1];
}

static const char *conf_text(const yaml_node_t *node)
{
	return (const char *)node->data.scalar.value;
}

const yaml_node_t *conf_child(const struct conf_doc *doc, const yaml_node_t *map, const char *key)
{
	for (const yaml_node_pair_t *p = map->data.mapping.pairs.start;
	     p < map->data.mapping.pairs.top; p++)
		if (!strcmp(conf_text(conf_node(doc, p->key)), key))
			return conf_node(doc, p->value);
	return NULL;
}

const yaml_node_t *conf_item(const struct conf_doc *doc, const yaml_node_t *list, uint32_t i)
{
	return conf_node(doc, list->data.sequence.items.start[i]);
}

struct conf_pos conf_pos_at(const struct conf_doc *doc, const yaml_node_t *map, const char *key)
{
	const yaml_node_t *value = conf_child(doc, map, key);

	return conf_pos_of(doc, value ? value : map);
}

/* --- which word was meant --- */

/* Edits that turn one word into the other, swaps counting one; words of up to 31 characters. */
static unsigned int conf_distance(const char *a, const char *b)
{
	unsigned int d[32][32];
	size_t la = strlen(a), lb = strlen(b);

	if (la > 31 || lb > 31)
		return 99;
	for (size_t i = 0; i <= la; i++) {
		for (size_t j = 0; j <= lb; j++) {
			if (!i || !j) {
				d[i][j] = (unsigned int)(i + j);
				continue;
			}
			d[i][j] = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
			d[i][j] = min_u32(d[i][j], min_u32(d[i - 1][j], d[i][j - 1]) + 1);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				d[i][j] = min_u32(d[i][j], d[i - 2][j - 2] + 1);
		}
	}
	return d[la][lb];
}

const char *conf_nearest(const char *text, const char *(*word)(const void *table, size_t i),
                         const void *table)
{
	char plain[32] = "";
	const char *best = NULL, *w;
	unsigned int best_distance = 1 + min_u32((uint32_t)strlen(text), 12) / 3;

	if (strlen(text) >= sizeof(plain))
		return NULL;
	for (size_t i = 0; text[i]; i++)
		plain[i] = text[i] == '_' ? '-' : (char)tolower((unsigned char)text[i]);
	for (size_t i = 0; (w = word(table, i)); i++) {
		unsigned int d = conf_distance(plain, w);

		if (d < best_distance || (d == best_distance && !best)) {
			best = w;
			best_distance = d;
		}
	}
	return best;
}

static const char *conf_field_word(const void *table, size_t i)
{
	return ((const cyaml_schema_field_t *)table)[i].key;
}

static const char *conf_enum_word(const void *table, size_t i)
{
	const cyaml_schema_value_t *v = table;

	return i < v->enumeration.count ? v->enumeration.strings[i].str : NULL;
}

/* --- the walk along the schema --- */

static int conf_walk(const struct conf_doc *doc, const yaml_node_t *node,
                     const cyaml_schema_value_t *schema, const char *what, char **ret_error);

static int conf_expect(const struct conf_doc *doc, const yaml_node_t *node, const char *what,
                       const char *expected, char **ret_error)
{
	struct conf_pos pos = conf_pos_of(doc, node);
	const char *found = node->type == YAML_SEQUENCE_NODE ? "a list" : "a mapping";

	if (node->type != YAML_SCALAR_NODE)
		return conf_fail(ret_error, pos, "%s: expected %s, found %s", what, expected,
		                 found);
	if (!node->data.scalar.length)
		return conf_fail(ret_error, pos, "%s: expected %s, found nothing", what, expected);
	return conf_fail(ret_error, pos, "%s: expected %s, found %s", what, expected,
	                 conf_quote(conf_text(node)).s);
}

/* Decimal without leading zeros or hexadecimal with 0x, as libcyaml will read it, no sign. */
static bool conf_is_uint(const char *text, uint64_t max)
{
	bool hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
	const char *digits = text + (hex ? 2 : 0);
	unsigned long long v;
	char *end;

	if (!isxdigit((unsigned char)digits[0]) || (!hex && digits[0] == '0' && digits[1]))
		return false;
	errno = 0;
	v = strtoull(digits, &end, hex ? 16 : 10);
	return !errno && !*end && v <= max;
}

static int conf_walk_uint(const struct conf_doc *doc, const yaml_node_t *node,
                          const cyaml_schema_value_t *schema, const char *what, char **ret_error)
{
	uint64_t max = schema->data_size == 8 ? UINT64_MAX : UINT32_MAX;

	if (conf_is_uint(conf_text(node), max))
		return 0;
	if (conf_is_uint(conf_text(node), UINT64_MAX))
		return conf_fail(ret_error, conf_pos_of(doc, node), "%s: %s is too large", what,
		                 conf_text(node));
	return conf_expect(doc, node, what, "a whole number", ret_error);
}

static int conf_walk_enum(const struct conf_doc *doc, const yaml_node_t *node,
                          const cyaml_schema_value_t *schema, const char *what, char **ret_error)
{
	const char *text = conf_text(node), *word;
	char list[128] = "";
	size_t len = 0;

	for (size_t i = 0; (word = conf_enum_word(schema, i)); i++) {
		const char *sep = !i ? "" : i + 1 < schema->enumeration.count ? ", " : " or ";

		if (!strcmp(text, word))
			return 0;
		len += (size_t)snprintf(list + len, sizeof(list) - len, "%s%s", sep, word);
		assert(len < sizeof(list));
	}
	return conf_expect(doc, node, what, list, ret_error);
}

static int conf_walk_scalar(const struct conf_doc *doc, const yaml_node_t *node,
                            const cyaml_schema_value_t *schema, const char *what, char **ret_error)
{
	const char *text;

	if (node->type != YAML_SCALAR_NODE)
		return conf_expect(doc, node, what, "a single value", ret_error);
	text = conf_text(node);
	for (size_t i = 0; i < node->data.scalar.length; i++)
		if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
			return conf_fail(ret_error, conf_pos_of(doc, node),
			                 "%s: control characters are not allowed", what);
	switch (schema->type) {
	case CYAML_UINT:
		return conf_walk_uint(doc, node, schema, what, ret_error);
	case CYAML_ENUM:
		return conf_walk_enum(doc, node, schema, what, ret_error);
	case CYAML_BOOL:
		if (strcmp(text, "true") && strcmp(text, "false"))
			return conf_expect(doc, node, what, "true or false", ret_error);
		return 0;
	default:
		if (!*text)
			return conf_fail(ret_error, conf_pos_of(doc, node),
			                 "%s: the value is empty", what);
		return 0;
	}
}

static const cyaml_schema_field_t *conf_find_field(const cyaml_schema_field_t *fields,
                                                   const char *key)
{
	for (; fields->key; fields++)
		if (!strcmp(fields->key, key))
			return fields;
	return NULL;
}

static int conf_unknown_key(const struct conf_doc *doc, const yaml_node_t *key,
                            const cyaml_schema_value_t *schema, const char *what, char **ret_error)
{
	const cyaml_schema_field_t *fields = schema->mapping.fields;
	const char *near = conf_nearest(conf_text(key), conf_field_word, fields);
	struct conf_quoted q = conf_quote(conf_text(key));
	struct conf_pos pos = conf_pos_of(doc, key);

	if (schema == &conf_schema_part &&
	    conf_find_field(conf_schema_main.mapping.fields, conf_text(key)))
		return conf_fail(ret_error, pos, "%s: key %s belongs in the main file", what, q.s);
	if (near)
		return conf_fail(ret_error, pos, "%s: unknown key %s, did you mean '%s'?", what,
		                 q.s, near);
	return conf_fail(ret_error, pos, "%s: unknown key %s", what, q.s);
}

/* Keys before @pair in the same mapping that read the same. */
static int conf_check_repeated(const struct conf_doc *doc, const yaml_node_t *map,
                               const yaml_node_pair_t *pair, const char *what, char **ret_error)
{
	const yaml_node_t *key = conf_node(doc, pair->key);

	for (const yaml_node_pair_t *p = map->data.mapping.pairs.start; p < pair; p++) {
		const yaml_node_t *first = conf_node(doc, p->key);

		if (!strcmp(conf_text(first), conf_text(key)))
			return conf_fail(ret_error, conf_pos_of(doc, key),
			                 "%s: key '%s' is there already, in line %u", what,
			                 conf_text(key), conf_pos_of(doc, first).line);
	}
	return 0;
}

static int conf_walk_mapping(const struct conf_doc *doc, const yaml_node_t *node,
                             const cyaml_schema_value_t *schema, const char *what, char **ret_error)
{
	int err;

	if (node->type != YAML_MAPPING_NODE)
		return conf_expect(doc, node, what, "a mapping (key: value)", ret_error);
	for (const yaml_node_pair_t *p = node->data.mapping.pairs.start;
	     p < node->data.mapping.pairs.top; p++) {
		const yaml_node_t *key = conf_node(doc, p->key);
		const cyaml_schema_field_t *field;

		if (key->type != YAML_SCALAR_NODE)
			return conf_expect(doc, key, what, "a key", ret_error);
		field = conf_find_field(schema->mapping.fields, conf_text(key));
		if (!field || strlen(conf_text(key)) != key->data.scalar.length)
			return conf_unknown_key(doc, key, schema, what, ret_error);
		err = conf_check_repeated(doc, node, p, what, ret_error);
		if (err < 0)
			return err;
		err = conf_walk(doc, conf_node(doc, p->value), &field->value, field->key,
		                ret_error);
		if (err < 0)
			return err;
	}
	for (const cyaml_schema_field_t *f = schema->mapping.fields; f->key; f++)
		if (!(f->value.flags & CYAML_FLAG_OPTIONAL) && !conf_child(doc, node, f->key))
			return conf_fail(ret_error, conf_pos_of(doc, node),
			                 "%s: the key '%s' is missing", what, f->key);
	return 0;
}

static int conf_walk_sequence(const struct conf_doc *doc, const yaml_node_t *node,
                              const cyaml_schema_value_t *schema, const char *what,
                              char **ret_error)
{
	size_t n;
	char entry[48];

	if (node->type != YAML_SEQUENCE_NODE)
		return conf_expect(doc, node, what, "a list", ret_error);
	n = (size_t)(node->data.sequence.items.top - node->data.sequence.items.start);
	if (n < schema->sequence.min)
		return conf_fail(ret_error, conf_pos_of(doc, node), "%s: the list is empty", what);
	if (n > schema->sequence.max)
		return conf_fail(ret_error, conf_pos_of(doc, node),
		                 "%s: the list has %zu entries, at most %u are possible", what, n,
		                 schema->sequence.max);
	for (uint32_t i = 0; i < n; i++) {
		int err;

		snprintf(entry, sizeof(entry), "%s entry %u", what, i + 1);
		err = conf_walk(doc, conf_item(doc, node, i), schema->sequence.entry, entry,
		                ret_error);
		if (err < 0)
			return err;
	}
	return 0;
}

/* Recursion is as deep as the schema. */
static int conf_walk(const struct conf_doc *doc, const yaml_node_t *node,
                     const cyaml_schema_value_t *schema, const char *what, char **ret_error)
{
	switch (schema->type) {
	case CYAML_MAPPING:
		return conf_walk_mapping(doc, node, schema, what, ret_error);
	case CYAML_SEQUENCE:
		return conf_walk_sequence(doc, node, schema, what, ret_error);
	default:
		return conf_walk_scalar(doc, node, schema, what, ret_error);
	}
}

/* --- libyaml --- */

static struct conf_pos conf_pos_of_offset(const struct conf_doc *doc, size_t offset)
{
	struct conf_pos pos = {doc->path, 1, 1};

	for (size_t i = 0; i < offset && i < doc->len; i++) {
		pos.column++;
		if (doc->text[i] == '\n') {
			pos.line++;
			pos.column = 1;
		}
	}
	return pos;
}

static int conf_fail_parser(const struct conf_doc *doc, const yaml_parser_t *p, char **ret_error)
{
	const char *problem = p->problem ? p->problem : "not understood";

	if (p->error == YAML_MEMORY_ERROR)
		return conf_fail_file(ret_error, doc->path, -ENOMEM, "cannot parse");
	if (p->error == YAML_READER_ERROR)
		return conf_fail(ret_error, conf_pos_of_offset(doc, p->problem_offset),
		                 "not a text file in UTF-8: %s", problem);
	if (p->context)
		return conf_fail(ret_error, conf_pos_of_mark(doc, p->problem_mark),
		                 "not YAML: %s, %s that starts in line %zu", problem, p->context,
		                 p->context_mark.line + 1);
	return conf_fail(ret_error, conf_pos_of_mark(doc, p->problem_mark), "not YAML: %s",
	                 problem);
}

struct conf_scan {
	unsigned int depth, documents;
	bool end;
};

static int conf_scan_event(const struct conf_doc *doc, const yaml_event_t *ev, struct conf_scan *s,
                           char **ret_error)
{
	struct conf_pos pos = conf_pos_of_mark(doc, ev->start_mark);

	switch (ev->type) {
	case YAML_STREAM_END_EVENT:
		s->end = true;
		return 0;
	case YAML_DOCUMENT_START_EVENT:
		if (s->documents++)
			return conf_fail(ret_error, pos,
			                 "a second YAML document starts here, only "
			                 "one is possible");
		return 0;
	case YAML_ALIAS_EVENT:
		return conf_fail(ret_error, pos,
		                 "aliases (*%s) are not possible, write the value "
		                 "out",
		                 conf_quote((const char *)ev->data.alias.anchor).s);
	case YAML_SEQUENCE_START_EVENT:
	case YAML_MAPPING_START_EVENT:
		if (++s->depth > CONF_MAX_DEPTH)
			return conf_fail(ret_error, pos, "nested deeper than %d levels",
			                 CONF_MAX_DEPTH);
		return 0;
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT:
		s->depth--;
		return 0;
	default:
		return 0;
	}
}

static int conf_scan_text(const struct conf_doc *doc, char **ret_error)
{
	struct conf_scan scan = {0};
	yaml_parser_t parser;
	int err = 0;

	if (!yaml_parser_initialize(&parser))
		return conf_fail_file(ret_error, doc->path, -ENOMEM, "cannot parse");
	yaml_parser_set_input_string(&parser, (const unsigned char *)doc->text, doc->len);
	while (!scan.end && !err) {
		yaml_event_t ev;

		if (!yaml_parser_parse(&parser, &ev)) {
			err = conf_fail_parser(doc, &parser, ret_error);
			break;
		}
		err = conf_scan_event(doc, &ev, &scan, ret_error);
		yaml_event_delete(&ev);
	}
	yaml_parser_delete(&parser);
	return err;
}

static int conf_parse_text(struct conf_doc *doc, char **ret_error)
{
	yaml_parser_t parser;
	int err = 0;

	if (!yaml_parser_initialize(&parser))
		return conf_fail_file(ret_error, doc->path, -ENOMEM, "cannot parse");
	yaml_parser_set_input_string(&parser, (const unsigned char *)doc->text, doc->len);
	if (yaml_parser_load(&parser, &doc->tree)) {
		doc->have_tree = true;
		doc->root = yaml_document_get_root_node(&doc->tree);
	} else {
		err = conf_fail_parser(doc, &parser, ret_error);
	}
	yaml_parser_delete(&parser);
	return err;
}

/* --- libcyaml --- */

/* Keeps the first complaint. */
static void conf_cyaml_log(cyaml_log_t level, void *ctx, const char *fmt, va_list args)
	__attribute__((format(printf, 3, 0)));

static void conf_cyaml_log(cyaml_log_t level, void *ctx, const char *fmt, va_list args)
{
	char **first = ctx;

	if (level < CYAML_LOG_ERROR || *first)
		return;
	if (vasprintf(first, fmt, args) < 0)
		*first = NULL;
	else
		(*first)[strcspn(*first, "\n")] = '\0';
}

static cyaml_config_t conf_cyaml_config(char **log)
{
	return (cyaml_config_t){
		.log_fn = conf_cyaml_log,
		.log_ctx = log,
		.mem_fn = cyaml_mem,
		.log_level = CYAML_LOG_ERROR,
		.flags = CYAML_CFG_NO_ALIAS,
	};
}

static int conf_load_raw(struct conf_doc *doc, char **ret_error)
{
	char *log = NULL;
	cyaml_config_t config = conf_cyaml_config(&log);
	cyaml_data_t *data = NULL;
	cyaml_err_t ret;

	ret = cyaml_load_data((const uint8_t *)doc->text, doc->len, &config, doc->schema, &data,
	                      NULL);
	if (ret == CYAML_OK) {
		doc->raw = data;
		free(log);
		return 0;
	}
	conf_fail(ret_error, conf_pos_of(doc, doc->root), "%s", log ? log : cyaml_strerror(ret));
	free(log);
	return ret == CYAML_ERR_OOM ? -ENOMEM : -EINVAL;
}

/* --- a file --- */

/* Reads until the end, so that a pipe works too. */
static int conf_read_text(struct conf_doc *doc, int fd)
{
	size_t size = 0;

	for (;;) {
		ssize_t n;

		if (size - doc->len < 4096) {
			char *text = realloc(doc->text, size + 65536);

			if (!text)
				return -ENOMEM;
			doc->text = text;
			size += 65536;
		}
		n = read(fd, doc->text + doc->len, size - doc->len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : 0;
		doc->len += (size_t)n;
		if (doc->len > CONF_MAX_FILE_SIZE)
			return -EFBIG;
	}
}

static int conf_read_file(struct conf_doc *doc, char **ret_error)
{
	int fd = open(doc->path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	int err;

	if (fd < 0)
		return conf_fail_file(ret_error, doc->path, -errno, "cannot open");
	err = conf_read_text(doc, fd);
	close(fd);
	return err < 0 ? conf_fail_file(ret_error, doc->path, err, "cannot read") : 0;
}

int conf_doc_load(struct conf_doc *doc, const char *path, const cyaml_schema_value_t *schema,
                  char **ret_error)
{
	int err;

	doc->path = path;
	err = conf_read_file(doc, ret_error);
	if (err < 0)
		return err;
	return conf_doc_parse(doc, path, schema, ret_error);
}

int conf_doc_parse(struct conf_doc *doc, const char *path, const cyaml_schema_value_t *schema,
                   char **ret_error)
{
	const char *what = schema == &conf_schema_main ? "configuration" : "part";
	int err;

	doc->schema = schema;
	doc->path = path;
	err = conf_scan_text(doc, ret_error);
	if (err < 0)
		return err;
	err = conf_parse_text(doc, ret_error);
	if (err < 0 || !doc->root)
		return err;
	err = conf_walk(doc, doc->root, schema, what, ret_error);
	if (err < 0)
		return err;
	return conf_load_raw(doc, ret_error);
}

void conf_doc_free(struct conf_doc *doc)
{
	char *log = NULL;
	cyaml_config_t config = conf_cyaml_config(&log);

	if (doc->raw)
		cyaml_free(&config, doc->schema, doc->raw, 0);
	free(log);
	if (doc->have_tree)
		yaml_document_delete(&doc->tree);
	free(doc->text);
}
