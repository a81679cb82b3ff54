// SPDX-License-Identifier: BSD-2-Clause
/* table.c - aligned columns, and fields of JSON objects as text */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "xdpctl.h"

#define TABLE_MAX_COLUMNS 16

struct table {
	size_t n_columns;
	bool right[TABLE_MAX_COLUMNS];
	size_t width[TABLE_MAX_COLUMNS];
	size_t n_cells, room;
	char **cells;
};

static void *must(void *p)
{
	if (!p) {
		fputs("vhost-xdpctl: out of memory\n", stderr);
		exit(1);
	}
	return p;
}

/* Takes over @text. */
static void table_add_cell(struct table *t, char *text)
{
	size_t column = t->n_cells % t->n_columns;

	if (t->n_cells == t->room) {
		t->room = t->room * 2 + 64;
		t->cells = must(realloc(t->cells, t->room * sizeof(*t->cells)));
	}
	t->cells[t->n_cells++] = text;
	if (strlen(text) > t->width[column])
		t->width[column] = strlen(text);
}

struct table *table_new(const char *const *heads)
{
	struct table *t = must(calloc(1, sizeof(*t)));

	while (heads[t->n_columns])
		t->n_columns++;
	assert(t->n_columns <= TABLE_MAX_COLUMNS);
	for (size_t i = 0; i < t->n_columns; i++) {
		t->right[i] = heads[i][0] == '>';
		table_add_cell(t, must(strdup(heads[i] + t->right[i])));
	}
	return t;
}

void print_objects(const json_t *list, const struct column *columns, FILE *out, int indent)
{
	const char *heads[TABLE_MAX_COLUMNS + 1] = {NULL};
	const json_t *obj;
	struct table *t;
	size_t i;

	for (i = 0; columns[i].head; i++) {
		assert(i < TABLE_MAX_COLUMNS);
		heads[i] = columns[i].head;
	}
	t = table_new(heads);
	json_array_foreach(list, i, obj)
	{
		for (const struct column *c = columns; c->head; c++)
			table_add(t, "%s", c->cell(obj, c->key));
	}
	table_print(t, out, indent);
}

void table_add(struct table *t, const char *fmt, ...)
{
	char *text;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	table_add_cell(t, must(n < 0 ? NULL : text));
}

void table_print(struct table *t, FILE *out, int indent)
{
	for (size_t i = 0; i < t->n_cells; i++) {
		size_t column = i % t->n_columns;
		bool last = column + 1 == t->n_columns;
		int width = (int)t->width[column];

		fprintf(out, "%*s", column ? 2 : indent, "");
		if (t->right[column])
			fprintf(out, "%*s", width, t->cells[i]);
		else
			fprintf(out, "%-*s", last ? 0 : width, t->cells[i]);
		if (last)
			fputc('\n', out);
		free(t->cells[i]);
	}
	free(t->cells);
	free(t);
}

/* Buffers for texts that live for a printf() or two. */
static char *scratch(size_t *ret_size)
{
	static char bufs[8][256];
	static unsigned int next;

	*ret_size = sizeof(bufs[0]);
	return bufs[next++ % ARRAY_SIZE(bufs)];
}

const char *text_of(const char *fmt, ...)
{
	size_t size;
	char *buf = scratch(&size);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(buf, size, fmt, ap);
	va_end(ap);
	return buf;
}

const char *safe_text(const char *text)
{
	size_t size;
	char *buf = scratch(&size);

	snprintf(buf, size, "%s", text);
	for (char *p = buf; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = '?';
	return buf;
}

const char *field_text(const json_t *obj, const char *key)
{
	const char *text = json_string_value(json_object_get(obj, key));

	return text && *text ? safe_text(text) : "-";
}

json_int_t field_int(const json_t *obj, const char *key)
{
	return json_integer_value(json_object_get(obj, key));
}

bool field_true(const json_t *obj, const char *key)
{
	return json_is_true(json_object_get(obj, key));
}

const char *field_count(const json_t *obj, const char *key)
{
	const json_t *value = json_object_get(obj, key);

	if (!json_is_integer(value))
		return "-";
	return text_of("%" JSON_INTEGER_FORMAT, json_integer_value(value));
}

const char *field_since(const json_t *obj, const char *key)
{
	const json_t *value = json_object_get(obj, key);
	unsigned long long s = (unsigned long long)json_integer_value(value);

	if (!json_is_integer(value))
		return "-";
	if (s < 60)
		return text_of("%llus", s);
	if (s < 3600)
		return text_of("%llum%02llus", s / 60, s % 60);
	if (s < 86400)
		return text_of("%lluh%02llum", s / 3600, s / 60 % 60);
	return text_of("%llud%02lluh", s / 86400, s / 3600 % 24);
}

const char *field_bytes(const json_t *obj, const char *key)
{
	static const char units[] = " KMGTPE";
	const json_t *value = json_object_get(obj, key);
	double v = (double)json_integer_value(value);
	size_t unit = 0;

	if (!json_is_integer(value))
		return "-";
	for (; v >= 1024 && unit + 2 < sizeof(units); unit++)
		v /= 1024;
	return unit ? text_of("%.1f%c", v, units[unit]) : text_of("%.0f", v);
}

const char *field_cpu(const json_t *obj, const char *key)
{
	return text_of("%.3fs", (double)field_int(obj, key) / 1e6);
}

const char *field_size(const json_t *obj, const char *key)
{
	return text_of("%zu", json_array_size(json_object_get(obj, key)));
}

const char *field_first(const json_t *obj, const char *key)
{
	const json_t *list = json_object_get(obj, key);
	const char *first = json_string_value(json_array_get(list, 0));
	size_t n = json_array_size(list);

	if (!first)
		return "-";
	return n == 1 ? safe_text(first) : text_of("%s +%zu", safe_text(first), n - 1);
}
