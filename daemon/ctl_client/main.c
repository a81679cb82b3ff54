// SPDX-License-Identifier: BSD-2-Clause
/* main.c - command line of vhost-xdpctl */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "xdpctl.h"

#define DEFAULT_SOCKET "/run/vhost-xdp/control.sock"

enum { EXIT_DAEMON = 1, EXIT_USAGE = 2 };

struct options {
	const char *socket;
	bool json, pretty;
};

/* What the argument after a verb narrows. */
enum verb_arg {
	ARG_NONE,
	ARG_PARAM, /* optional; a parameter of the method */
	ARG_PICK,  /* required; the entry of the result's list with that name, or that id */
	ARG_MOVE,  /* three: name, queue and worker, parameters of the method */
};

struct verb {
	const char *noun, *verb; /* verb NULL: the noun is the verb */
	const char *method;
	enum verb_arg arg;
	const char *arg_name; /* JSON key: of the parameter, or of the list to pick from */
	void (*print)(const json_t *result, FILE *out);
	const char *help;
};

/* For each noun the first verb is the default. */
static const struct verb verbs[] = {
	{"show", NULL, "show", ARG_NONE, NULL, print_show, "everything"},
	{"stats", NULL, "stats", ARG_PARAM, "port", print_stats, "counters and drops by reason"},
	{"port", "list", "port.list", ARG_NONE, NULL, print_ports, "ports, one a line"},
	{"port", "show", "port.list", ARG_PICK, "ports", print_port, "one port in full"},
	{"port", "move", "port.move", ARG_MOVE, NULL, print_moved, "serve it by another worker"},
	{"mac", "list", "mac.list", ARG_NONE, NULL, print_macs, "addresses and their ports"},
	{"nic", "list", "nic.list", ARG_NONE, NULL, print_nics, "nics, one a line"},
	{"nic", "show", "nic.list", ARG_PICK, "nics", print_nic, "one nic in full"},
	{"nic", "move", "nic.move", ARG_MOVE, NULL, print_moved, "serve it by another worker"},
	{"worker", "list", "worker.list", ARG_NONE, NULL, print_workers, "workers, one a line"},
	{"worker", "show", "worker.list", ARG_PICK, "workers", print_worker, "one worker in full"},
	{"version", NULL, "version", ARG_NONE, NULL, print_version, "the daemon's version"},
	{"methods", NULL, "rpc.methods", ARG_NONE, NULL, print_methods, "what the socket answers"},
};

static const char *verb_arg_text(const struct verb *v)
{
	static const char *const texts[] = {
		[ARG_NONE] = "",
		[ARG_PARAM] = " [PORT]",
		[ARG_PICK] = " NAME",
		[ARG_MOVE] = " NAME QUEUE WORKER",
	};

	return texts[v->arg];
}

static void usage(FILE *out)
{
	fputs("Usage: vhost-xdpctl [-j | -p] [-s SOCKET] VERB [ARGUMENT]\n"
	      "\n"
	      "Asks a running vhost-xdpd; see vhost-xdpctl(1). Words may be shortened.\n"
	      "\n",
	      out);
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
		const struct verb *v = &verbs[i];
		char text[48];

		snprintf(text, sizeof(text), "%s%s%s%s", v->noun, v->verb ? " " : "",
		         v->verb ? v->verb : "", verb_arg_text(v));
		fprintf(out, "  %-27s  %s\n", text, v->help);
	}
	fputs("  help                         this text\n"
	      "\n"
	      "  -j, --json          print the answer as JSON\n"
	      "  -p, --pretty        as JSON with indentation\n"
	      "  -s, --socket PATH   control socket (default " DEFAULT_SOCKET ")\n"
	      "      --version       version of this program\n"
	      "\n"
	      "Exit status: 0 done, 1 the daemon does not answer or refuses, 2 wrong usage.\n",
	      out);
}

static bool begins(const char *word, const char *prefix)
{
	return !strncmp(word, prefix, strlen(prefix));
}

/*
 * Finds the one noun that @text shortens. Return: its name, NULL after saying why there is none.
 * An exact match wins over words that go on.
 */
static const char *find_noun(const char *text)
{
	const char *found = NULL;
	bool ambiguous = false;

	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
		if (!strcmp(verbs[i].noun, text))
			return verbs[i].noun;
		if (!begins(verbs[i].noun, text))
			continue;
		ambiguous |= found && strcmp(found, verbs[i].noun) != 0;
		found = verbs[i].noun;
	}
	if (found && !ambiguous)
		return found;
	fprintf(stderr, "vhost-xdpctl: %s '%s'", ambiguous ? "ambiguous" : "unknown verb", text);
	if (ambiguous) {
		const char *sep = ": ", *last = "";

		for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
			if (!begins(verbs[i].noun, text) || !strcmp(last, verbs[i].noun))
				continue;
			last = verbs[i].noun;
			fprintf(stderr, "%s%s", sep, last);
			sep = ", ";
		}
	}
	fputs(ambiguous ? "\n" : ", see vhost-xdpctl help\n", stderr);
	return NULL;
}

/* The verb of @noun that @text shortens; NULL: the first. No two verbs of a noun begin alike. */
static const struct verb *find_verb(const char *noun, const char *text)
{
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
		if (strcmp(verbs[i].noun, noun) != 0)
			continue;
		if (!text || !verbs[i].verb || begins(verbs[i].verb, text))
			return &verbs[i];
	}
	fprintf(stderr, "vhost-xdpctl: unknown verb '%s' for %s, see vhost-xdpctl help\n", text,
	        noun);
	return NULL;
}

/* Takes over @result. Return: a new reference to its entry named @name, or numbered so, or NULL. */
static json_t *pick(json_t *result, const struct verb *v, const char *name)
{
	json_t *item, *found = NULL;
	size_t i;

	json_array_foreach(json_object_get(result, v->arg_name), i, item)
	{
		const char *its = json_string_value(json_object_get(item, "name"));

		if (its ? !strcmp(its, name) : !strcmp(field_count(item, "id"), name))
			found = json_incref(item);
	}
	json_decref(result);
	if (!found)
		fprintf(stderr, "vhost-xdpctl: there is no %s '%s'\n", v->noun, name);
	return found;
}

static bool parse_number(const char *text, json_int_t *ret)
{
	char *end;

	errno = 0;
	*ret = strtol(text, &end, 10);
	if (*text && !*end && !errno && *ret >= 0)
		return true;
	fprintf(stderr, "vhost-xdpctl: '%s' is no number\n", text);
	return false;
}

/* What the method gets from the arguments. Return: 0, or the exit status after saying why. */
static int make_params(const struct verb *v, char **args, json_t **ret_params)
{
	json_int_t queue, worker;

	if (v->arg == ARG_MOVE) {
		if (!parse_number(args[1], &queue) || !parse_number(args[2], &worker))
			return EXIT_USAGE;
		*ret_params = json_pack("{s:s,s:I,s:I}", "name", args[0], "queue", queue, "worker",
		                        worker);
	} else if (v->arg == ARG_PARAM && args[0]) {
		*ret_params = json_pack("{s:s}", v->arg_name, args[0]);
	} else {
		return 0;
	}
	if (*ret_params)
		return 0;
	fprintf(stderr, "vhost-xdpctl: '%s' is not UTF-8\n", args[0]);
	return EXIT_USAGE;
}

static int run(const struct verb *v, char **args, const struct options *o)
{
	json_t *params = NULL, *result;
	int status = make_params(v, args, &params);

	if (status)
		return status;
	result = xdpctl_call(o->socket, v->method, params);
	if (result && v->arg == ARG_PICK)
		result = pick(result, v, args[0]);
	if (!result)
		return EXIT_DAEMON;
	if (o->json) {
		json_dumpf(result, stdout, o->pretty ? JSON_INDENT(2) : JSON_COMPACT);
		putchar('\n');
	} else {
		v->print(result, stdout);
	}
	json_decref(result);
	if (fflush(stdout) != 0 || ferror(stdout)) {
		perror("vhost-xdpctl: standard output");
		return EXIT_DAEMON;
	}
	return 0;
}

/* Return: -1 to go on, or the exit status. */
static int parse_options(int argc, char **argv, struct options *o)
{
	enum { OPT_VERSION = 256 };
	static const struct option options[] = {
		{"json", no_argument, NULL, 'j'},
		{"pretty", no_argument, NULL, 'p'},
		{"socket", required_argument, NULL, 's'},
		{"version", no_argument, NULL, OPT_VERSION},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	int c;

	*o = (struct options){.socket = DEFAULT_SOCKET};
	while ((c = getopt_long(argc, argv, "jps:h", options, NULL)) != -1) {
		switch (c) {
		case 'p':
			o->pretty = true;
			/* fall through */
		case 'j':
			o->json = true;
			break;
		case 's':
			o->socket = optarg;
			break;
		case OPT_VERSION:
			puts("vhost-xdpctl " VX_VERSION);
			return 0;
		case 'h':
			usage(stdout);
			return 0;
		default:
			fputs("See vhost-xdpctl help.\n", stderr);
			return EXIT_USAGE;
		}
	}
	return -1;
}

/* Are there as many arguments as the verb takes? */
static bool check_args(const struct verb *v, char **args)
{
	static const struct {
		size_t min, max;
	} counts[] = {[ARG_NONE] = {0, 0},
	              [ARG_PARAM] = {0, 1},
	              [ARG_PICK] = {1, 1},
	              [ARG_MOVE] = {3, 3}};
	size_t n = 0;

	while (args[n] && n < counts[v->arg].max)
		n++;
	if (args[n]) {
		fprintf(stderr, "vhost-xdpctl: unexpected argument '%s'\n", args[n]);
		return false;
	}
	if (n >= counts[v->arg].min)
		return true;
	if (v->arg == ARG_MOVE)
		fprintf(stderr, "vhost-xdpctl: %s %s needs%s\n", v->noun, v->verb,
		        verb_arg_text(v));
	else
		fprintf(stderr, "vhost-xdpctl: %s %s needs a name\n", v->noun, v->verb);
	return false;
}

int main(int argc, char **argv)
{
	struct options o;
	const struct verb *v;
	const char *noun;
	int status = parse_options(argc, argv, &o);

	if (status >= 0)
		return status;
	argv += optind;
	if (!*argv) {
		usage(stderr);
		return EXIT_USAGE;
	}
	if (!strcmp(*argv, "help")) {
		usage(stdout);
		return 0;
	}
	noun = find_noun(*argv++);
	v = noun ? find_verb(noun, *argv) : NULL;
	if (!v)
		return EXIT_USAGE;
	if (*argv && v->verb)
		argv++;
	return check_args(v, argv) ? run(v, argv, &o) : EXIT_USAGE;
}
