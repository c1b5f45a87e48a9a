// SPDX-License-Identifier: Apache-2.0
//
// Events in memory of the host's, and what it may do to that memory: a reader of captures puts each event where the one
// before was, and a new capture begins to number anew.

#include "host.h"

// An audit event of at least a given size whose verb stands at one of three places.
enum { FIRST, MIDDLE, LAST };

static plugin_event *with_verb(const char *verb, int place, size_t padding) {
	char *text = malloc(3 * padding + 1000), *pad = malloc(padding + 1);
	memset(pad, 'x', padding);
	pad[padding] = 0;
	static const char *const forms[] = {
		"%s\"verb\":\"%s\",\"requestURI\":\"%s\"}",
		"%s\"requestURI\":\"%s\",\"verb\":\"%s\",\"userAgent\":\"%s\"}",
		"%s\"requestURI\":\"%s\",\"verb\":\"%s\"}",
	};
	snprintf(text, 3 * padding + 1000, forms[place], AUDIT, place == FIRST ? verb : pad, place == FIRST ? pad : verb, pad);
	plugin_event *e = event_of(text);
	free(text);
	free(pad);
	return e;
}

static extract_field get(state s, const void *e, uint64_t num, const ask *a, const char *want) {
	extract_field f = ask_one(s, e, num, a);
	CHECK(f.res_len == 1 && !strcmp(*(char **)f.res, want), "%s: got %s, want %s", a->text, f.res_len ? *(char **)f.res : "nothing", want);
	return f;
}

void check_foreign(state s, const char *field) {
	const ask a = ask_of(field);
	static const size_t paddings[] = {0, 100, 300, 3000, 1 << 20};
	for (size_t i = 0; i < sizeof paddings / sizeof *paddings; i++) {
		for (int place = FIRST; place <= LAST; place++) {
			plugin_event *one = with_verb("get", place, paddings[i]), *two = with_verb("put", place, paddings[i]);
			const size_t size = one->header.len;
			CHECK(size == two->header.len, "events of two sizes");
			char *memory = malloc(size), *elsewhere = malloc(size);
			uint64_t num = 1;

			// A reader of captures: everything is new but the address.
			memcpy(memory, one, size);
			get(s, memory, num, &a, "get");
			get(s, memory, num, &a, "get");
			memcpy(memory, two, size);
			get(s, memory, ++num, &a, "put");
			memcpy(memory, one, size);
			extract_field kept = get(s, memory, ++num, &a, "get");

			// The same event is elsewhere, with another number; what was answered before is still there.
			memcpy(elsewhere, one, size);
			memset(memory, 0xAA, size);
			get(s, elsewhere, num, &a, "get");
			get(s, elsewhere, num + 1, &a, "get");
			CHECK(!strcmp(*(char **)kept.res, "get"), "a value did not stay");

			// Another event elsewhere with the same number, and back.
			memcpy(memory, two, size);
			get(s, memory, num + 1, &a, "put");
			get(s, elsewhere, num + 1, &a, "get");

			// A new capture: number and address are the same, the time is another.
			((event_header *)elsewhere)->ts++;
			memcpy(elsewhere + sizeof(event_header), (char *)two + sizeof(event_header), size - sizeof(event_header));
			get(s, elsewhere, num + 1, &a, "put");

			// Even the time is the same; what an event begins and ends with is not.
			if (place != MIDDLE || size <= 512) {
				memcpy(elsewhere + sizeof(event_header), (char *)one + sizeof(event_header), size - sizeof(event_header));
				get(s, elsewhere, num + 1, &a, "get");
			}

			// A host that numbers none, and reuses everything.
			memcpy(elsewhere, one, size);
			get(s, elsewhere, 0, &a, "get");
			memcpy(elsewhere, two, size);
			get(s, elsewhere, 0, &a, "put");

			// It is shorter, and begins as the one before did.
			plugin_event *other = with_verb("put", place, paddings[i] / 2);
			memcpy(elsewhere, other, other->header.len);
			get(s, elsewhere, num + 1, &a, "put");
			// It is broken.
			((event_header *)elsewhere)->nparams = 7;
			CHECK(ask_one(s, (event_header *)elsewhere, num + 1, &a).res_len == 0, "a value of a broken event");
			((event_header *)elsewhere)->nparams = 2;
			get(s, elsewhere, num + 1, &a, "put");
			free(memory);
			free(elsewhere);
			free(one);
			free(two);
			free(other);
		}
	}
}
