// SPDX-License-Identifier: BSD-2-Clause
/* ctl_rpc.c - JSON-RPC 2.0 requests and answers (https://www.jsonrpc.org/specification) */
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include "ctl_priv.h"

/* Takes over @answer. */
static char *ctl_rpc_line(json_t *answer)
{
	size_t len = answer ? json_dumpb(answer, NULL, 0, JSON_COMPACT) : 0;
	char *line = len ? malloc(len + 2) : NULL;

	if (line) {
		json_dumpb(answer, line, len, JSON_COMPACT);
		memcpy(line + len, "\n", 2);
	}
	json_decref(answer);
	return line;
}

static char *ctl_rpc_fail(json_t *id, enum ctl_code code, const char *message)
{
	return ctl_rpc_line(json_pack("{s:s, s:O?, s:{s:i, s:s}}", "jsonrpc", "2.0", "id", id,
	                              "error", "code", (int)code, "message", message));
}

char *ctl_rpc_error(enum ctl_code code, const char *message)
{
	return ctl_rpc_line(json_pack("{s:s, s:n, s:{s:i, s:s}}", "jsonrpc", "2.0", "id", "error",
	                              "code", (int)code, "message", message));
}

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

/* Takes over @result. */
static char *ctl_rpc_result(json_t *id, json_t *result)
{
	if (!result)
		return ctl_rpc_fail(id, CTL_E_INTERNAL, "out of memory");
	return ctl_rpc_line(
		json_pack("{s:s, s:O, s:o}", "jsonrpc", "2.0", "id", id, "result", result));
}

static char *ctl_rpc_call(const struct ctl_table *table, const struct ctl_request *r,
                          bool may_mutate)
{
	const struct ctl_method *m = ctl_rpc_find(table, r->method);
	char *error = NULL, *answer;
	json_t *result;

	if (r->params && !json_is_object(r->params))
		return ctl_rpc_fail(r->id, CTL_E_PARAMS, "params is not an object");
	if (!m && !strcmp(r->method, "rpc.methods"))
		return ctl_rpc_result(r->id, ctl_rpc_methods(table));
	if (!m)
		return ctl_rpc_fail(r->id, CTL_E_METHOD,
		                    "there is no such method, see rpc.methods");
	if (m->mutates && !may_mutate)
		return ctl_rpc_fail(r->id, CTL_E_DENIED,
		                    "only root and the daemon's own user may do this");
	result = m->fn(table->owner, r->params, &error);
	if (result || !error) {
		free(error);
		return ctl_rpc_result(r->id, result);
	}
	answer = ctl_rpc_fail(r->id, CTL_E_FAILED, error);
	free(error);
	/* The method's sentence may quote bytes that are no UTF-8. */
	return answer ? answer : ctl_rpc_fail(r->id, CTL_E_FAILED, "the method failed");
}

char *ctl_rpc_answer(const struct ctl_table *table, const char *line, size_t len, bool may_mutate)
{
	struct ctl_request r = {0};
	const char *wrong;
	json_error_t e;
	char text[256];
	char *answer;
	json_t *root = json_loadb(line, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &e);

	if (!root) {
		snprintf(text, sizeof(text), "not JSON: column %d: %s", e.column, e.text);
		answer = ctl_rpc_error(CTL_E_PARSE, text);
		return answer ? answer : ctl_rpc_error(CTL_E_PARSE, "not JSON");
	}
	wrong = ctl_rpc_parse(root, &r);
	if (wrong) {
		answer = r.id ? ctl_rpc_fail(r.id, CTL_E_REQUEST, wrong)
		              : ctl_rpc_error(CTL_E_REQUEST, wrong);
	} else {
		json_t *nobody = r.id ? NULL : json_null();

		r.id = r.id ? r.id : nobody;
		answer = ctl_rpc_call(table, &r, may_mutate);
		if (nobody) { /* a notification gets no answer, not even an error */
			free(answer);
			answer = NULL;
		}
	}
	json_decref(root);
	return answer;
}
