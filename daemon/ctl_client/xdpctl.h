/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * xdpctl.h - vhost-xdpctl, the operator's tool: call a method of the daemon, show the answer
 *
 *   main.c    command line, verbs
 *   call.c    the control socket
 *   table.c   aligned columns
 *   list.c    one line per object: port, nic, worker, mac
 *   stats.c   counters
 *   show.c    everything, as a tree
 *
 * Text is for people and may change; scripts use --json, whose shapes docs/control-protocol.md
 * promises. A field that an older daemon does not send is shown as "-".
 */
#ifndef XDPCTL_H
#define XDPCTL_H

#include <jansson.h>
#include <stdio.h>

#include "base.h"

/**
 * xdpctl_call() - call one method
 * @params: reference taken over; NULL for none
 * Return: the result, owned by the caller; NULL after printing why not to stderr.
 */
json_t *xdpctl_call(const char *socket_path, const char *method, json_t *params);

/* A table is built row by row, then printed with columns as wide as their longest text. */
struct table;

/** table_new() - @heads: ends with NULL; ">NAME" aligns to the right. Never NULL: exits without
 * memory. */
struct table *table_new(const char *const *heads);
/** table_add() - next cell of the row in hand; a row begins after the last cell of the one before
 */
void table_add(struct table *t, const char *fmt, ...) printf_like(2, 3);
/** table_print() - prints with @indent blanks in front, and frees */
void table_print(struct table *t, FILE *out, int indent);

/* A column of a table of objects: its head, as above, and how a field of them is shown in it */
struct column {
	const char *head; /* NULL: there are no more */
	const char *(*cell)(const json_t *obj, const char *key);
	const char *key;
};

/** print_objects() - a table with a row for each object of @list */
void print_objects(const json_t *list, const struct column *columns, FILE *out, int indent);

/* Fields of an object, as text for people; all take NULL objects. Valid until 8 calls later. */
const char *field_text(const json_t *obj, const char *key);  /* string, else "-" */
const char *field_count(const json_t *obj, const char *key); /* integer, else "-" */
const char *field_since(const json_t *obj, const char *key); /* seconds as "3d4h", "5m06s" */
const char *field_bytes(const json_t *obj, const char *key); /* "512.0M" */
const char *field_cpu(const json_t *obj, const char *key);   /* microseconds as "1.235s" */
const char *field_first(const json_t *obj, const char *key); /* list of texts: "a +2" */
const char *field_size(const json_t *obj, const char *key);  /* how long a list is */
json_int_t field_int(const json_t *obj, const char *key);    /* 0 if missing */
bool field_true(const json_t *obj, const char *key);

/** text_of() - a text made as printf() does, of up to 255 bytes; valid as above */
const char *text_of(const char *fmt, ...) printf_like(1, 2);

/** safe_text() - a peer's text without control characters; valid as above */
const char *safe_text(const char *text);

/* Printers of results. */
void print_ports(const json_t *result, FILE *out);
void print_nics(const json_t *result, FILE *out);
void print_workers(const json_t *result, FILE *out);
void print_macs(const json_t *result, FILE *out);
void print_methods(const json_t *result, FILE *out);
void print_version(const json_t *result, FILE *out);
void print_stats(const json_t *result, FILE *out);
void print_show(const json_t *result, FILE *out);
void print_port(const json_t *port, FILE *out); /* one port in full */
void print_nic(const json_t *nic, FILE *out);   /* one nic in full */
void print_worker(const json_t *worker, FILE *out);
void print_moved(const json_t *result, FILE *out);

/** print_drops() - "no-buffer 12, no-guest 3", the reasons that are not 0; Return: whether any */
bool print_drops(const json_t *drops, const char *head, FILE *out);

#endif
