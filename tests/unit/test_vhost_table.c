/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_vhost_table.c - docs/vhost-user.md tells the truth
 *
 * Every row is held against the code: names and numbers, what is offered, which requests are
 * refused; and each test that a row names must exist. So a feature cannot come or go without its
 * row, nor a test that shows it.
 */
#include <stdio.h>
#include "fake_fe.h"

#define TABLE VX_SOURCE_DIR "/docs/vhost-user.md"

enum section { NO_SECTION, REQUESTS, BACKEND_REQUESTS, PROTOCOL, VIRTIO, N_SECTIONS };

static const char *const headings[N_SECTIONS] = {
	[REQUESTS] = "## Requests of the front end\n",
	[BACKEND_REQUESTS] = "## Requests of the back end\n",
	[PROTOCOL] = "## Protocol features\n",
	[VIRTIO] = "## Virtio features\n",
};

struct row {
	enum section section;
	unsigned int number;
	char line[1024]; /* cut into the cells */
	char *name, *supported, *tests, *notes;
};

static struct row rows[256];
static size_t n_rows;

static char *trim(char *text)
{
	char *end = text + strlen(text);

	while (end > text && (end[-1] == ' ' || end[-1] == '\n'))
		*--end = '\0';
	return text + strspn(text, " ");
}

static void read_row(enum section section, const char *line)
{
	struct row *r = &rows[n_rows++];
	char *at = r->line, *number;

	assert_true(n_rows < ARRAY_SIZE(rows));
	assert_true(strlen(line) < sizeof(r->line));
	strcpy(r->line, line);
	r->section = section;
	(void)strsep(&at, "|"); /* what is in front of the first bar: nothing */
	number = trim(strsep(&at, "|"));
	r->number = (unsigned int)atoi(number);
	r->name = trim(strsep(&at, "|"));
	r->supported = trim(strsep(&at, "|"));
	r->tests = trim(strsep(&at, "|"));
	r->notes = at ? trim(strsep(&at, "|")) : NULL;
	if (!r->notes || !at)
		fail_msg("a row without its five cells: %s", line);
}

static int read_table(void **state)
{
	FILE *f = fopen(TABLE, "r");
	enum section section = NO_SECTION;
	char line[1024];

	(void)state;
	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		if (!strncmp(line, "## ", 3))
			section = NO_SECTION;
		for (int s = 1; s < N_SECTIONS; s++) {
			if (!strcmp(line, headings[s]))
				section = (enum section)s;
		}
		if (section && line[0] == '|' && strspn(line + 2, "0123456789"))
			read_row(section, line);
	}
	fclose(f);
	return 0;
}

static const struct row *find_row(enum section section, unsigned int number)
{
	const struct row *found = NULL;

	for (size_t i = 0; i < n_rows; i++) {
		if (rows[i].section != section || rows[i].number != number)
			continue;
		if (found)
			fail_msg("%s%u is there twice", headings[section], number);
		found = &rows[i];
	}
	return found;
}

static bool is_one_of(const char *text, const char *const words[], size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (!strcmp(text, words[i]))
			return true;
	}
	return false;
}

static bool is_offered(const struct row *r)
{
	static const char *const words[] = {"yes", "by configuration"};

	return is_one_of(r->supported, words, ARRAY_SIZE(words));
}

static void words_are_known(void **state)
{
	static const char *const words[] = {"yes", "by configuration", "front end", "no"};

	(void)state;
	for (size_t i = 0; i < n_rows; i++) {
		const struct row *r = &rows[i];

		if (!is_one_of(r->supported, words, ARRAY_SIZE(words)))
			fail_msg("%s: '%s' is no word of the legend", r->name, r->supported);
		if (is_offered(r) && !*r->tests)
			fail_msg("%s is supported, but nothing shows it", r->name);
		(void)find_row(r->section, r->number);
	}
}

static void check_bits(enum section section, uint64_t offered, const char *(*name_of)(unsigned int))
{
	for (unsigned int bit = 0; bit < 64; bit++) {
		const struct row *r = find_row(section, bit);
		const char *name = name_of(bit);
		bool on = offered & VHOST_BIT(bit);

		if (name && !r)
			fail_msg("%s, bit %u, has no row", name, bit);
		if (name && strcmp(r->name, name) != 0)
			fail_msg("bit %u is %s, not %s", bit, name, r->name);
		if (on != (r && is_offered(r)))
			fail_msg("bit %u, %s: %s, says the table, and it is%s offered", bit,
			         r ? r->name : "?", r ? r->supported : "nothing", on ? "" : " not");
	}
}

static void protocol_features(void **state)
{
	/* This host may lack userfaultfd; see vhost_postcopy_missing(). */
	uint64_t offered = vhost_dev_default_protocol_features() | VHOST_BIT(VHOST_PROTO_PAGEFAULT);

	(void)state;
	check_bits(PROTOCOL, offered, vhost_protocol_feature_name);
}

static void virtio_features(void **state)
{
	(void)state;
	check_bits(VIRTIO, vhost_dev_default_features(), vhost_feature_name);
}

/* Send each request with everything negotiated and look whether it is refused as unknown. */
static void requests(void **state)
{
	struct rig *rig = *state;

	for (uint32_t id = 1; id < VHOST_MSG_N_IDS || find_row(REQUESTS, id); id++) {
		const struct row *r = find_row(REQUESTS, id);
		char start[64];
		bool served;

		if (!r)
			fail_msg("request %u has no row", id);
		rig_fresh(rig);
		rig->warn[0] = '\0';
		fe_send(rig, id, 0, NULL, 0, NULL, 0);
		(void)rig_receive(rig);
		served = !strstr(rig->warn, "not supported; ignored") &&
		         !strstr(rig->warn, "this back end does not have") &&
		         !strstr(rig->warn, "unknown request");
		if (served != is_offered(r))
			fail_msg("%s: %s, says the table; the back end says: %s", r->name,
			         r->supported, rig->warn);
		snprintf(start, sizeof(start), "%s: ", r->name);
		if (*rig->warn && id < VHOST_MSG_N_IDS && strncmp(rig->warn, start, strlen(start)))
			fail_msg("%s is told as: %s", r->name, rig->warn);
	}
}

/* Is @name a test in the text of @f: "void name(" in C, "def name(" in Python? */
static bool has_test(FILE *f, const char *name)
{
	char line[1024], c[160], py[160];

	snprintf(c, sizeof(c), "static void %s(void **state)", name);
	snprintf(py, sizeof(py), "def %s(", name);
	while (fgets(line, sizeof(line), f)) {
		if (!strncmp(line, c, strlen(c)) || !strncmp(line, py, strlen(py)))
			return true;
	}
	return false;
}

static void check_test(const struct row *r, char *test)
{
	char *sep = strstr(test, "::");
	char path[512];
	FILE *f;

	if (!sep)
		fail_msg("%s: '%s' names no test of a file", r->name, test);
	*sep = '\0';
	snprintf(path, sizeof(path), "%s/tests/%s", VX_SOURCE_DIR, test);
	f = fopen(path, "r");
	if (!f)
		fail_msg("%s: there is no file tests/%s", r->name, test);
	if (!has_test(f, sep + 2))
		fail_msg("%s: there is no test %s in tests/%s", r->name, sep + 2, test);
	fclose(f);
}

static void tests_exist(void **state)
{
	(void)state;
	for (size_t i = 0; i < n_rows; i++) {
		char text[1024], *at = text, *test;

		strcpy(text, rows[i].tests);
		while ((test = strsep(&at, "`")) && (test = strsep(&at, "`")))
			check_test(&rows[i], test);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(words_are_known),
		cmocka_unit_test(protocol_features),
		cmocka_unit_test(virtio_features),
		cmocka_unit_test_setup_teardown(requests, rig_setup, rig_teardown),
		cmocka_unit_test(tests_exist),
	};
	return cmocka_run_group_tests_name("vhost_table", tests, read_table, NULL);
}
