// SPDX-License-Identifier: BSD-2-Clause
/* ctl_rpc.c - JSON-RPC 2.0 requests and answers (https://www.jsonrpc.org/specification) */
#include <errno.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include "ctl_priv.h"

/* ---- answers as text ------------------------------------------------------------------------ */

void ctl_rpc_drop(struct ctl_answer *answer)
{
	free(answer->text);
	*answer = (struct ctl_answer){0};
}

/* A json_dump_callback_t. */
static int ctl_rpc_add(const char *data, size_t len, void *arg)
{
	struct ctl_answer *a = arg;

	if (len > a->room - a->len) {
		size_t room = 2 * a->room + len;
		char *text = realloc(a->text, room);

		if (!text)
			return -1;
		a->text = text;
		a->room = room;
	}
	memcpy(a->text + a->len, data, len);
	a->len += len;
	return 0;
}

static int ctl_rpc_add_text(struct ctl_answer *a, const char *text)
{
	return ctl_rpc_add(text, strlen(text), a);
}

/* Takes over @value; NULL fails. */
static int ctl_rpc_add_json(struct ctl_answer *a, json_t *value)
{
	int err = value ? json_dump_callback(value, ctl_rpc_add, a, JSON_COMPACT) : -1;

	json_decref(value);
	return err;
}

/* Makes @json an answer; takes it over. */
static void ctl_rpc_line(struct ctl_answer *a, json_t *json)
{
	if (ctl_rpc_add_json(a, json) || ctl_rpc_add_text(a, "\n"))
		ctl_rpc_drop(a);
}

static void ctl_rpc_fail(struct ctl_answer *a, json_t *id, enum ctl_code code, const char *message)
{
	ctl_rpc_line(a, json_pack("{s:s, s:O?, s:{s:i, s:s}}", "jsonrpc", "2.0", "id", id, "error",
	                          "code", (int)code, "message", message));
}

void ctl_rpc_error(enum ctl_code code, const char *message, struct ctl_answer *ret_answer)
{
	*ret_answer = (struct ctl_answer){0};
	ctl_rpc_fail(ret_answer, NULL, code, message);
}

/* ---- lists ---------------------------------------------------------------------------------- */

static int ctl_rpc_begin_list(struct ctl_answer *a)
{
	a->place = (struct ctl_place){0};
	a->begun = false;
	return ctl_rpc_add_text(a, "\"") || ctl_rpc_add_text(a, a->list->key) ||
	       ctl_rpc_add_text(a, "\":[");
}

/* Goes on to the next list, or ends the result and the answer. */
static int ctl_rpc_end_list(struct ctl_answer *a)
{
	a->list++;
	if (a->list->key)
		return ctl_rpc_add_text(a, "],") || ctl_rpc_begin_list(a);
	a->list = NULL;
	return ctl_rpc_add_text(a, "]}}\n");
}

static int ctl_rpc_add_entry(struct ctl_answer *a)
{
	json_t *entry = NULL;

	if (!a->list->next(a->owner, &a->place, &entry))
		return ctl_rpc_end_list(a);
	if (a->begun && ctl_rpc_add_text(a, ",")) {
		json_decref(entry);
		return -1;
	}
	a->begun = true;
	return ctl_rpc_add_json(a, entry);
}

static int ctl_rpc_fill(struct ctl_answer *a)
{
	while (a->list && a->len < CTL_PIECE)
		if (ctl_rpc_add_entry(a))
			return -ENOMEM;
	return 0;
}

int ctl_rpc_more(struct ctl_answer *a)
{
	if (!a->list) {
		ctl_rpc_drop(a);
		return 0;
	}
	a->len = 0;
	return ctl_rpc_fill(a) ? -ENOMEM : 1;
}

/* ---- requests ------------------------------------------------------------------------------- */

static json_t *ctl_rpc_methods(const struct ctl_table *table)
{
	json_t *list = json_array();

	for (size_t i = 0; i < table->n_methods; i++) {
		const struct ctl_method *m = &table->methods[i];

		json_array_append_new(list, json_pack("{s:s, s:s, s:b}", "name", m->name, "help",
		                                      m->help, "mutates", (int)m->mutates));
	}
	json_array_append_new(list, json_pack("{s:s, s:s, s:b}", "name", "rpc.methods", "help",
	                                      "this list", "mutates", 0));
	return json_pack("{s:o}", "methods", list);
}

static const struct ctl_method *ctl_rpc_find(const struct ctl_table *table, const char *name)
{
	for (size_t i = 0; i < table->n_methods; i++)
		if (!strcmp(table->methods[i].name, name))
			return &table->methods[i];
	return NULL;
}

/* A request that has passed the checks of its form. */
struct ctl_request {
	const char *method;
	json_t *id; /* NULL: a notification, nobody waits for an answer */
	json_t *params;
};

/* Return: NULL, or what is wrong with the form. */
static const char *ctl_rpc_parse(json_t *root, struct ctl_request *r)
{
	const char *version;

	if (json_is_array(root))
		return "batches are not supported, send one request a line";
	if (!json_is_object(root))
		return "a request is an object";
	r->id = json_object_get(root, "id");
	if (r->id && !json_is_string(r->id) && !json_is_number(r->id) && !json_is_null(r->id)) {
		r->id = NULL;
		return "id is neither a string nor a number";
	}
	version = json_string_value(json_object_get(root, "jsonrpc"));
	if (!version || strcmp(version, "2.0") != 0)
		return "jsonrpc is not \"2.0\"";
	r->method = json_string_value(json_object_get(root, "method"));
	if (!r->method)
		return "method is missing or not a string";
	r->params = json_object_get(root, "params");
	return NULL;
}

/*
 * Answers with @result, which it takes over, and the lists of @call behind what is in there.
 */
static void ctl_rpc_result(struct ctl_answer *a, json_t *id, const struct ctl_call *call,
                           json_t *result)
{
	bool empty = !json_object_size(result);

	if (!result) {
		ctl_rpc_fail(a, id, CTL_E_INTERNAL, "out of memory");
		return;
	}
	ctl_rpc_line(a, json_pack("{s:s, s:O, s:o}", "jsonrpc", "2.0", "id", id, "result", result));
	if (!call->lists || !a->text)
		return;
	a->len -= strlen("}}\n"); /* of the result and of the answer: the lists are to be in them */
	a->list = call->lists;
	a->owner = call->owner;
	if ((!empty && ctl_rpc_add_text(a, ",")) || ctl_rpc_begin_list(a))
		ctl_rpc_drop(a);
}

static void ctl_rpc_call(const struct ctl_table *table, const struct ctl_request *r,
                         bool may_mutate, struct ctl_answer *a)
{
	const struct ctl_method *m = ctl_rpc_find(table, r->method);
	struct ctl_call call = {.owner = table->owner, .params = r->params};
	json_t *result;

	if (r->params && !json_is_object(r->params)) {
		ctl_rpc_fail(a, r->id, CTL_E_PARAMS, "params is not an object");
	} else if (!m && !strcmp(r->method, "rpc.methods")) {
		ctl_rpc_result(a, r->id, &call, ctl_rpc_methods(table));
	} else if (!m) {
		ctl_rpc_fail(a, r->id, CTL_E_METHOD, "there is no such method, see rpc.methods");
	} else if (m->mutates && !may_mutate) {
		ctl_rpc_fail(a, r->id, CTL_E_DENIED,
		             "only root and the daemon's own user may do this");
	} else {
		call.lists = m->lists;
		result = m->fn ? m->fn(&call) : json_object();
		if (result || !call.error)
			ctl_rpc_result(a, r->id, &call, result);
		else
			ctl_rpc_fail(a, r->id, CTL_E_FAILED, call.error);
		/* The method's sentence may quote bytes that are no UTF-8. */
		if (!result && call.error && !a->text)
			ctl_rpc_fail(a, r->id, CTL_E_FAILED, "the method failed");
		free(call.error);
	}
}

void ctl_rpc_answer(const struct ctl_table *table, const char *line, size_t len, bool may_mutate,
                    struct ctl_answer *ret_answer)
{
	struct ctl_answer *a = ret_answer;
	struct ctl_request r = {0};
	const char *wrong;
	json_error_t e;
	char text[256];
	json_t *root = json_loadb(line, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &e);

	*a = (struct ctl_answer){0};
	if (!root) {
		snprintf(text, sizeof(text), "not JSON: column %d: %s", e.column, e.text);
		ctl_rpc_fail(a, NULL, CTL_E_PARSE, text);
		if (!a->text)
			ctl_rpc_fail(a, NULL, CTL_E_PARSE, "not JSON");
		return;
	}
	wrong = ctl_rpc_parse(root, &r);
	if (wrong) {
		ctl_rpc_fail(a, r.id, CTL_E_REQUEST, wrong);
	} else {
		json_t *nobody = r.id ? NULL : json_null();

		r.id = r.id ? r.id : nobody;
		ctl_rpc_call(table, &r, may_mutate, a);
		if (nobody) { /* a notification gets no answer, not even an error */
			ctl_rpc_drop(a);
		} else if (ctl_rpc_fill(a)) {
			ctl_rpc_drop(a);
			ctl_rpc_fail(a, r.id, CTL_E_INTERNAL, "out of memory");
		}
	}
	json_decref(root);
}
