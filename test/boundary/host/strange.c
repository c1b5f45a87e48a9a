// SPDX-License-Identifier: Apache-2.0
//
// What no host should ask, and events no plugin made. The library answers that it has no value; it does not crash.

#include "host.h"

#include <signal.h>

static void check_values(state s) {
	plugin_event *e = event_of(AUDIT "\"verb\":\"g\\u0000et\",\"userAgent\":\"\",\"requestURI\":\"/x?a=\\u0000&b=&a=%00%ff\","
					 "\"user\":{\"username\":\"\xff\xfe\",\"groups\":[]},\"annotations\":{\"\":\"none\"}}");
	expect(s, &e->header, "ka.verb", "g\xef\xbf\xbd" "et|");
	expect(s, &e->header, "ka.useragent", "|");   // empty is a value,
	expect(s, &e->header, "ka.user.groups", ""); // an empty list is none,
	expect(s, &e->header, "ka.target.name", ""); // and what is absent is none.
	expect(s, &e->header, "ka.user.name", "\xef\xbf\xbd\xef\xbf\xbd|");
	expect(s, &e->header, "ka.uri.param[b]", "|");
	expect(s, &e->header, "ka.uri.param[nowhere]", "");
	expect(s, &e->header, "ka.uri.param[]", "");
	expect(s, &e->header, "ka.sourceips[18446744073709551615]", "");
	free(e);
}

static void check_events(state s) {
	ask verb = ask_of("ka.verb");
	plugin_event *good = event_of(AUDIT "\"verb\":\"get\"}");
	expect(s, &good->header, "ka.verb", "get|");
	for (int i = 0; i < 8; i++) {
		plugin_event *e = event(good->data, good->data_len);
		switch (i) {
		case 0: e->header.type = 402; break;
		case 1: e->header.nparams = 3; break;
		case 2: e->header.len = 37; break;
		case 3: e->header.len = 0; break;
		case 4: e->id_len = 8; break;
		case 5: e->data_len++; break;
		case 6: e->data_len = ~0u; break;
		case 7: e->header.type = 0; break;
		}
		extract_field f = ask_one(s, &e->header, 1, &verb);
		CHECK(f.res_len == 0, "a value of broken event %d", i);
		event_input in = {.evt = &e->header};
		CHECK(!*lib.event_to_string(s, &in), "a text of broken event %d", i);
		free(e);
	}
	CHECK(ask_one(s, NULL, 1, &verb).res_len == 0, "a value of no event");
	static const char *const payloads[] = {
		"", "{", "null", "[]", "{}", "\"verb\"", "{\"verb\":\"get\"}", AUDIT "\"verb\":\"get\"", AUDIT "\"verb\":\"get\"}}",
	};
	for (size_t i = 0; i < sizeof payloads / sizeof *payloads; i++) {
		plugin_event *e = event_of(payloads[i]);
		expect(s, &e->header, "ka.verb", "");
		event_input in = {.evt = &e->header};
		CHECK(!strcmp(lib.event_to_string(s, &in), payloads[i]), "event_to_string: not %s", payloads[i]);
		free(e);
	}
	plugin_event *e = event("a\0b\0", 4);
	event_input in = {.evt = &e->header};
	const char *text = lib.event_to_string(s, &in);
	CHECK(!strcmp(text, "a\xef\xbf\xbd" "b\xef\xbf\xbd"), "event_to_string cuts at a NUL: %s", text);
	free(e);
	free(good);
}

static void check_questions(state s) {
	plugin_event *e = event_of(AUDIT "\"verb\":\"get\",\"requestURI\":\"/x?p7=seven&p7999=last\"}");
	event_input in = {.evt = &e->header, .evtnum = 1, .evtsrc = "k8s_audit"};
	extract_input none = {.num_fields = 0}, lost = {.num_fields = 3};
	CHECK(lib.extract_fields(s, &in, &none) == RC_SUCCESS && lib.extract_fields(s, &in, &lost) == RC_SUCCESS, "no fields");

	static char long_key[100000];
	memset(long_key, 'k', sizeof long_key - 1);
	const uint32_t param = ask_of("ka.uri.param").f.field_id;
	extract_field odd[] = {
		{.field_id = ~0u},
		{.field_id = 1u << 31, .arg_present = 1, .arg_index = ~0ull},
		{.field_id = ~0u, .arg_present = 1, .arg_key = "x"},
		{.field_id = param},                                       // lacks its key
		{.field_id = param, .arg_present = 1},                     // has none
		{.field_id = param, .arg_present = 1, .arg_index = 7},
		{.field_id = param, .arg_present = 1, .arg_key = "\xff\xfe%00"},
		{.field_id = param, .arg_present = 1, .arg_key = long_key},
		{.field_id = param, .arg_key = "p7"}, // not present
	};
	const uint32_t n = sizeof odd / sizeof *odd;
	for (int round = 0; round < 2; round++) {
		for (uint32_t i = 0; i < n; i++) {
			odd[i].res = NULL;
			odd[i].res_len = 99;
		}
		extract_input all = {.num_fields = n, .fields = odd};
		CHECK(lib.extract_fields(s, &in, &all) == RC_SUCCESS, "odd fields");
		for (uint32_t i = 0; i < n; i++) {
			CHECK(odd[i].res_len == 0, "odd field %u has a value", i);
		}
	}

	// Thousands of questions nobody foresaw: all answers stay, and take memory in proportion.
	enum { MANY = 8000, MEGABYTES = 100 };
	static extract_field kept[MANY];
	ask a = ask_of("ka.uri.param[p]");
	char key[16];
	uint64_t before = metric_of(s, "questions");
	long resident = max_rss();
	for (int i = 0; i < MANY; i++) {
		snprintf(key, sizeof key, "p%d", i);
		a.f.arg_key = key;
		kept[i] = ask_one(s, &e->header, 1, &a);
	}
	CHECK(metric_of(s, "questions") >= before + MANY - 1, "questions are forgotten");
	CHECK(max_rss() - resident < MEGABYTES, "%d questions about one event took %ld MB", MANY, max_rss() - resident);
	for (int i = 0; i < MANY; i++) {
		const char *want = i == 7 ? "seven\x1f" : i == 7999 ? "last\x1f" : "";
		char *got = render(&a, &kept[i]);
		CHECK(!strcmp(got, want), "question %d: got %s, want %s", i, got, want);
		free(got);
	}
	free(e);
}

// check_own asks thousands of questions of events where they lie.
static void check_own(const char *params) {
	state s = must_init("{}"), h = must_open(s, params), other = must_init("{}");
	uint32_t n = 0;
	event_header **e;
	int32_t rc;
	while ((rc = lib.next_batch(s, h, &n, &e)) == RC_TIMEOUT) {
	}
	CHECK(rc == RC_SUCCESS && n > 1, "no events: %d", rc);
	enum { MANY = 2000 };
	static extract_field kept[2][MANY];
	ask a = ask_of("ka.value[/]");
	static const char *const keys[] = {"/auditID", "/verb", "/stage", "/nowhere"};
	char key[32], *want[2][4];
	for (int i = 0; i < MANY; i++) {
		snprintf(key, sizeof key, "%s%s%d", keys[i % 4], i < 4 ? "" : "/", i);
		a.f.arg_key = i < 4 ? keys[i] : key;
		for (int k = 0; k < 2; k++) {
			kept[k][i] = ask_one(s, e[k * (n - 1)], k, &a);
			if (i < 4) {
				want[k][i] = render(&a, &kept[k][i]);
			}
		}
	}
	for (int i = 0; i < MANY; i++) {
		for (int k = 0; k < 2; k++) {
			char *got = render(&a, &kept[k][i]);
			CHECK(!strcmp(got, i < 4 ? want[k][i] : ""), "event %d, question %d: %s", k, i, got);
			free(got);
		}
	}
	CHECK(*want[0][0] && strcmp(want[0][0], want[1][0]), "two events have the audit ID %s", want[0][0]);
	// An object is asked of an event that another one handed out.
	a.f.arg_key = keys[0];
	for (int k = 0; k < 2; k++) {
		extract_field f = ask_one(other, e[k * (n - 1)], 1, &a);
		char *got = render(&a, &f);
		CHECK(!strcmp(got, want[k][0]), "event %d, of another object: got %s, want %s", k, got, want[k][0]);
		free(got);
	}
	lib.destroy(other);
	lib.close(s, h);
	lib.destroy(s);
}

// check_order does things in an order in which libs does not.
static void check_order(const char *params) {
	int32_t rc;
	uint32_t n;
	event_header **e;
	state broken = init("{\"maxEventSize\":\"large\"}", &rc);
	plugin_event *good = event_of(AUDIT "\"verb\":\"get\"}");
	ask verb = ask_of("ka.verb");
	CHECK(rc == RC_FAILURE, "init takes a wrong setting");
	CHECK(ask_one(broken, &good->header, 1, &verb).res_len == 0, "a value from a broken object");
	CHECK(!lib.open(broken, params, &rc) && rc == RC_FAILURE, "open of a broken object");
	CHECK(!lib.get_metrics(broken, &n) && n == 0, "metrics of a broken object");
	CHECK(!lib.get_metrics(NULL, &n) && n == 0, "metrics of no object");
	event_input in = {.evt = &good->header};
	CHECK(!*lib.event_to_string(broken, &in), "a text from a broken object");
	lib.destroy(broken);
	lib.destroy(NULL);

	// Handles are few, and none is lost. A close that comes after destroy finds nothing.
	for (int i = 0; i < 300; i++) {
		state s = must_init("{}");
		state h = must_open(s, params);
		if (i % 3) {
			lib.next_batch(s, h, &n, &e);
		}
		lib.destroy(s);
		lib.close(s, h);
		CHECK(lib.next_batch(s, h, &n, &e) == RC_FAILURE && n == 0, "next_batch after destroy");
	}

	// Too many at once is an error, and goes away.
	state s = must_init("{}"), h[300];
	int opened = 0;
	while (opened < 300 && (h[opened] = lib.open(s, params, &rc))) {
		opened++;
	}
	const char *why = lib.get_last_error(s);
	CHECK(opened < 300 && rc == RC_FAILURE && strstr(why, "handle"), "%d instances: %s", opened, why);
	for (int i = 0; i < opened; i++) {
		lib.close(s, h[i]);
		lib.close(s, h[i]);
	}
	state again = must_open(s, params);
	while ((rc = lib.next_batch(s, again, &n, &e)) == RC_TIMEOUT) {
	}
	CHECK(rc == RC_SUCCESS && n > 0, "no events after opening again: %d", rc);
	check_batch(s, e, n);
	lib.destroy(s);
	free(good);
}

// Falco ends and reloads by signals.
static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGCHLD, SIGALRM, SIGQUIT};

static void mine(int sig) { (void)sig; }

void strange(const char *params) {
	for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
		signal(signals[i], mine);
	}
	state s = must_init("{}"); // is never opened: extraction alone
	check_values(s);
	check_events(s);
	check_foreign(s, "ka.verb");
	check_questions(s);
	check_values(s);
	lib.destroy(s);
	new_host();
	check_own(params);
	check_order(params);
	for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
		struct sigaction now;
		sigaction(signals[i], NULL, &now);
		CHECK(now.sa_handler == mine, "the library took signal %d", signals[i]);
	}
}
