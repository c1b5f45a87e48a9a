// SPDX-License-Identifier: Apache-2.0
//
// What a library without events of its own promises: all it is asked about is in memory of the host's.

#include "host.h"

#include <pthread.h>

static const char *file;

// answers renders all answers about an event.
static char *answers(state s, const event_header *e, uint64_t num) {
	char *all;
	size_t n;
	FILE *w = open_memstream(&all, &n);
	for (int k = 0; k < num_asks; k++) {
		extract_field f = ask_one(s, e, num, &asks[k]);
		char *one = render(&asks[k], &f);
		fprintf(w, "%s=%s\n", asks[k].text, one);
		free(one);
	}
	fclose(w);
	return all;
}

// read_all asks about every line of the file as a reader of captures would have it, at one address with numbers that grow,
// and asks another object about a copy, with one number for all. It returns how many lines there were.
static uint64_t read_all(void) {
	state s = must_init(""), other = must_init("{\"useAsync\":true,\"unknown\":1}");
	FILE *f = fopen(file, "r");
	CHECK(f, "no file %s", file);
	char *line = NULL, *memory = NULL;
	size_t cap = 0, room = 0;
	uint64_t n = 0;
	for (ssize_t len; (len = getline(&line, &cap, f)) > 0;) {
		plugin_event *e = event(line, len - 1);
		e->header.ts = 1700000000000000000 + n++ / 2; // some have the same
		if (e->header.len > room) {
			room = 2 * e->header.len;
			memory = realloc(memory, room);
		}
		memcpy(memory, e, e->header.len);
		extract_field kept[ASKS];
		char *first[ASKS];
		for (int k = 0; k < num_asks; k++) {
			kept[k] = ask_one(s, (event_header *)memory, n, &asks[k]);
			first[k] = render(&asks[k], &kept[k]);
		}
		char *all = answers(s, (event_header *)memory, n), *again = answers(other, &e->header, 7);
		CHECK(!strcmp(all, again), "line %lu: two answers:\n%s%s", n, all, again);
		for (int k = num_asks - 1; k >= 0; k--) {
			char *still = render(&asks[k], &kept[k]);
			CHECK(!strcmp(first[k], still), "line %lu: %s did not stay: %s, %s", n, asks[k].text, first[k], still);
			free(still);
			free(first[k]);
		}
		memset(memory, 0xAA, e->header.len);
		free(all);
		free(again);
		free(e);
	}
	fclose(f);
	free(line);
	free(memory);
	lib.destroy(s);
	lib.destroy(other);
	return n;
}

static void *read_in_thread(void *n) {
	*(uint64_t *)n = read_all();
	return NULL;
}

static void check_identity(void) {
	CHECK(!strcmp(lib.get_name(), "json") && !strncmp(lib.get_version(), "0.", 2), "it is %s %s", lib.get_name(), lib.get_version());
	CHECK(!strncmp(lib.get_required_api_version(), "3.0.", 4), "asks for plugin API %s", lib.get_required_api_version());
	int32_t kind;
	CHECK(strstr(lib.get_init_schema(&kind), "useAsync") && kind == 1, "init schema");
	uint32_t n = 0;
	const uint16_t *types = lib.get_extract_event_types(&n);
	CHECK(n == 1 && types[0] == PLUGIN_EVENT_TYPE, "fields of %u types of events, the first %u", n, types[0]);
}

static void check_values(state s) {
	static const char text[] = "{\"a\":{\"b\":[1,null,\"x\\u0000y\"]},\"n\":-0.50e1,\"s\":\"\xff\",\"twice\":1,\"twice\":[ 2 ],\"\":0}";
	plugin_event *e = event_of(text);
	e->header.ts = 1700000000123456789;
	expect(s, &e->header, "json.value[/a/b/0]", "1|");
	expect(s, &e->header, "jevt.value[a/b/1]", "null|");
	expect(s, &e->header, "jevt.value[/a/b/2]", "x\xef\xbf\xbdy|");
	expect(s, &e->header, "json.value[/a]", "{\"b\":[1,null,\"x\\u0000y\"]}|");
	expect(s, &e->header, "json.value[/n]", "-0.50e1|");
	expect(s, &e->header, "json.value[/s]", "\xef\xbf\xbd|");
	expect(s, &e->header, "json.value[/twice]", "[2]|");
	expect(s, &e->header, "json.value[/]", "0|");
	expect(s, &e->header, "json.value[/nowhere]", "");
	expect(s, &e->header, "json.rawtime", "1700000000123456789|");
	expect(s, &e->header, "jevt.rawtime", "1700000000123456789|");
	e->header.ts++;
	expect(s, &e->header, "jevt.rawtime", "1700000000123456790|");
	expect(s, &e->header, "json.value[/a/b/0]", "1|");
	// Fields may be asked for together, and of anything.
	extract_field f[] = {ask_of("json.value[/n]").f, {.field_id = 6}, ask_of("jevt.obj").f, {.field_id = 0}, {.field_id = ~0u, .arg_present = 1}};
	enum { N = sizeof f / sizeof *f };
	event_input in = {.evt = &e->header, .evtnum = 1, .evtsrc = "other"};
	for (int round = 0; round < 2; round++) {
		extract_input all = {.num_fields = N, .fields = f}, none = {.num_fields = 0}, lost = {.num_fields = 3};
		CHECK(lib.extract_fields(s, &in, &all) == RC_SUCCESS && lib.extract_fields(s, &in, &none) == RC_SUCCESS &&
		      lib.extract_fields(s, &in, &lost) == RC_SUCCESS, "extract_fields");
		CHECK(f[0].res_len == 1 && !f[1].res_len && f[2].res_len == 1 && !f[3].res_len && !f[4].res_len, "values of what is no field");
		CHECK(!strncmp(*(char **)f[2].res, "{\n  \"a\": {\n", 11), "not indented: %s", *(char **)f[2].res);
	}
	free(e);

	static const char *const none[] = {"", " {}", "no JSON", "{", "{\"a\":1}x", "{\"a\":1,}", "\"a\"", "1", "{\"a\":NaN}", "[1"};
	static const char *const fields[] = {"json.value[]", "json.value[/a]", "json.obj", "json.rawtime", "jevt.value[/a]", "jevt.obj", "jevt.rawtime"};
	for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
		e = event_of(none[i]);
		for (size_t k = 0; k < sizeof fields / sizeof *fields; k++) {
			expect(s, &e->header, fields[k], "");
		}
		free(e);
	}
	e = event_of("[]");
	expect(s, &e->header, "json.value[]", "[]|");
	expect(s, &e->header, "json.rawtime", "1|");
	e->header.type = ASYNC_EVENT_TYPE;
	expect(s, &e->header, "json.rawtime", "");
	free(e);
}

// check_rare asks one question of every event, and another of few: it is answered all the same, whenever it is asked.
static void check_rare(state s) {
	const ask often = ask_of("jevt.value[/often]"), rare = ask_of("jevt.value[/rare]");
	for (int i = 0; i < 300; i++) {
		char text[100], want[20];
		snprintf(text, sizeof text, "{\"often\":%d,\"rare\":{\"i\":%d}}", i, i);
		plugin_event *e = event_of(text);
		extract_field f = ask_one(s, &e->header, i, &often);
		snprintf(want, sizeof want, "%d", i);
		CHECK(f.res_len == 1 && !strcmp(*(char **)f.res, want), "event %d: often is %s", i, f.res_len ? *(char **)f.res : "nothing");
		const char *kept = *(char **)f.res;
		if (i % 29 == 0 || i > 290) {
			f = ask_one(s, &e->header, i, &rare);
			char object[30];
			snprintf(object, sizeof object, "{\"i\":%d}", i);
			CHECK(f.res_len == 1 && !strcmp(*(char **)f.res, object), "event %d: rare is %s", i, f.res_len ? *(char **)f.res : "nothing");
			CHECK(!strcmp(kept, want), "event %d: a value did not stay", i);
		}
		free(e);
	}
}

void json(const char *path) {
	file = path;
	check_identity();
	for (int round = 0; round < 2; round++) {
		state s = must_init("anything at all");
		check_values(s);
		check_rare(s);
		check_foreign(s, "jevt.value[/verb]");
		lib.destroy(s);
	}
	uint64_t n[3];
	pthread_t threads[3];
	for (int i = 0; i < 3; i++) {
		pthread_create(&threads[i], NULL, read_in_thread, &n[i]);
	}
	for (int i = 0; i < 3; i++) {
		pthread_join(threads[i], NULL);
	}
	CHECK(n[0] > 0 && n[0] == n[1] && n[1] == n[2], "lines: %lu, %lu, %lu", n[0], n[1], n[2]);
	printf("{\"ok\":true,\"events\":%lu,\"fields\":%d}\n", n[0], num_asks);
}
