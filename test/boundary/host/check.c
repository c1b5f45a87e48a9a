// SPDX-License-Identifier: Apache-2.0
//
// What the library promises to a host that behaves.

#include "host.h"

// check_batch asks for everything, about events where they lie and about copies, in both orders, and looks at the end
// whether all that was answered is still there.
void check_batch(state s, event_header **events, uint32_t n) {
	static _Thread_local uint64_t num;
	char *first[ASKS];
	extract_field kept[ASKS];
	event_header *scratch = NULL; // one address for all copies
	for (uint32_t i = 0; i < n; i++) {
		event_header *e = events[i];
		CHECK(e->type == 322 && e->nparams == 2 && e->tid == ~0ull && e->ts > 0, "bad event header");
		num++;
		for (int k = 0; k < num_asks; k++) {
			kept[k] = ask_one(s, e, num, &asks[k]);
			first[k] = render(&asks[k], &kept[k]);
		}
		for (int k = num_asks - 1; k >= 0; k--) {
			extract_field f = ask_one(s, e, num, &asks[k]);
			char *again = render(&asks[k], &f), *still = render(&asks[k], &kept[k]);
			CHECK(!strcmp(first[k], again), "event %u: %s is not what it was: %s, %s", i, asks[k].text, first[k], again);
			CHECK(!strcmp(first[k], still), "event %u: %s did not stay: %s, %s", i, asks[k].text, first[k], still);
			free(again);
			free(still);
		}
		// The same event elsewhere, at the same address and with the same number as another before it.
		scratch = realloc(scratch, e->len);
		memcpy(scratch, e, e->len);
		for (int k = 0; k < num_asks; k++) {
			kept[k] = ask_one(s, scratch, 7, &asks[k]);
		}
		for (int k = 0; k < num_asks; k++) {
			char *there = render(&asks[k], &kept[k]);
			CHECK(!strcmp(first[k], there), "event %u, copied: %s differs: %s, %s", i, asks[k].text, first[k], there);
			free(there);
		}
		event_input in = {.evt = e, .evtnum = num, .evtsrc = "k8s_audit"};
		const char *text = lib.event_to_string(s, &in);
		CHECK(text[0] == '{' && strlen(text) == ((plugin_event *)e)->data_len, "event_to_string: %.80s", text);
		memset(scratch, 0xAA, e->len);
		for (int k = 0; k < num_asks; k++) {
			free(first[k]);
		}
	}
	free(scratch);
}

void check(const char *params) {
	CHECK(!strcmp(lib.get_name(), "k8saudit") && lib.get_id() == 1 && !strcmp(lib.get_event_source(), "k8s_audit"), "identity");
	CHECK(!strncmp(lib.get_required_api_version(), "3.0.", 4), "asks for plugin API %s", lib.get_required_api_version());
	int32_t kind;
	CHECK(strstr(lib.get_init_schema(&kind), "maxEventSize") && kind == 1, "init schema");

	// Objects that never open anything.
	state empty = must_init(""), object = must_init("{}");
	lib.close(object, must_open(object, params)); // the Go runtime keeps two descriptors from its first use of files on
	int before = descriptors();
	int32_t rc;
	state broken = init("{\"maxEventSize\":\"large\"}", &rc);
	CHECK(rc == RC_FAILURE && strstr(lib.get_last_error(broken), "maxEventSize"), "a wrong setting is not named: %s", lib.get_last_error(broken));
	lib.destroy(broken);
	CHECK(!lib.open(empty, "gopher://x", &rc) && rc == RC_FAILURE && strstr(lib.get_last_error(empty), "gopher"), "a wrong open parameter is not named");
	const char *list = lib.list_open_params(object, &rc);
	CHECK(rc == RC_SUCCESS && list && strstr(list, "http://"), "list_open_params: %s", list);

	// Two objects side by side, one of them opened twice, read in turn to the end.
	state s[2] = {must_init("{\"useAsync\":true,\"max_event_size\":262144}"), must_init("{}")};
	state h[3] = {must_open(s[0], params), must_open(s[1], params), must_open(s[1], params)};
	uint64_t events[3] = {0};
	for (int open = 7; open;) {
		for (int i = 0; i < 3; i++) {
			if (!(open & 1 << i)) {
				continue;
			}
			uint32_t n;
			event_header **e;
			rc = lib.next_batch(s[!!i], h[i], &n, &e);
			if (rc == RC_EOF) {
				open &= ~(1 << i);
			} else if (rc == RC_SUCCESS) {
				CHECK(n > 0, "success without events");
				events[i] += n;
				check_batch(s[!!i], e, n);
			} else {
				CHECK(rc == RC_TIMEOUT, "next_batch: %d: %s", rc, lib.get_last_error(s[!!i]));
			}
		}
	}
	CHECK(events[0] > 0 && events[0] == events[1] && events[1] == events[2], "events: %lu, %lu, %lu", events[0], events[1], events[2]);
	CHECK(metric_of(s[0], "events") == events[0] && metric_of(s[1], "events") == 2 * events[0], "metrics do not count events");
	CHECK(metric_of(s[0], "queue_bytes") == 0, "queue_bytes is not zero at the end");
	uint32_t percent = 0;
	lib.get_progress(s[0], h[0], &percent);
	CHECK(percent == 10000, "progress at the end: %u", percent);
	for (int i = 0; i < 3; i++) {
		lib.close(s[!!i], h[i]);
	}

	// Closed in the middle, again and again; and destroyed while open.
	for (int i = 0; i < 20; i++) {
		state one = must_open(s[0], params);
		uint32_t n;
		event_header **e;
		for (int k = 0; k < i % 4; k++) {
			lib.next_batch(s[0], one, &n, &e);
		}
		lib.close(s[0], one);
	}
	must_open(s[1], params);
	lib.destroy(s[0]);
	lib.destroy(s[1]);
	lib.destroy(empty);
	lib.destroy(object);
	int after = descriptors();
	CHECK(after <= before, "%d descriptors before, %d after", before, after);
	printf("{\"ok\":true,\"events\":%lu,\"fields\":%d}\n", events[0], num_asks);
}
