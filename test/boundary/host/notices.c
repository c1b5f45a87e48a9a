// SPDX-License-Identifier: Apache-2.0
//
// Asynchronous events, from the handler to the fields asked of them, and the host's logger.

#include "host.h"

#include <pthread.h>
#include <unistd.h>

// What the handler was given, as the host would copy it.
static struct {
	pthread_mutex_t lock;
	async_event *event; // the last
	int count;
	int refuse, gone;
} got = {.lock = PTHREAD_MUTEX_INITIALIZER};

static int32_t take(void *owner, const event_header *e, char *error) {
	CHECK(owner == &got, "the handler is called for another");
	pthread_mutex_lock(&got.lock);
	CHECK(!got.gone, "the handler is called after it was taken back");
	int32_t rc = RC_SUCCESS;
	if (got.refuse) {
		memset(error, 'x', HANDLER_ERROR_SIZE - 1);
		error[HANDLER_ERROR_SIZE - 1] = 0;
		rc = RC_FAILURE;
	} else {
		free(got.event);
		got.event = malloc(e->len);
		memcpy(got.event, e, e->len);
		got.event->id = PLUGIN_ID; // as the host writes it
	}
	got.count++;
	pthread_mutex_unlock(&got.lock);
	usleep(1000); // calls last, so that what must not cross them has the time to
	return rc;
}

static int count(void) {
	pthread_mutex_lock(&got.lock);
	int n = got.count;
	pthread_mutex_unlock(&got.lock);
	return n;
}

// read_all reads to the end, and returns how often the host was told of a time-out after the last event.
static int read_all(state s, state h) {
	int timeouts = 0;
	for (;;) {
		uint32_t n;
		event_header **e;
		int32_t rc = lib.next_batch(s, h, &n, &e);
		CHECK(rc != RC_FAILURE, "next_batch: %s", lib.get_last_error(s));
		if (rc == RC_EOF) {
			return timeouts;
		}
		timeouts = rc == RC_TIMEOUT ? timeouts + 1 : 0;
	}
}

// check_event asks everything of the event that the handler was given, and of events made of it that are none.
static void check_event(state s, const char *params) {
	const async_event *a = got.event;
	const event_header *e = &a->header;
	CHECK(e->ts == ~0ull && e->tid == ~0ull && e->nparams == 3 && a->id_len == 4, "header of a notice");
	CHECK(e->len == sizeof *a + a->name_len + a->data_len, "lengths of a notice");
	CHECK(!strcmp(a->name, "events_lost") && a->name_len == sizeof "events_lost", "name: %s", a->name);
	expect(s, e, "ka.notice", "events_lost|");
	char want[1024];
	snprintf(want, sizeof want, "%s|", params);
	expect(s, e, "ka.notice.source", want);
	expect(s, e, "ka.notice.count", "2|");
	expect(s, e, "ka.notice.cluster", "");
	for (int k = 0; k < num_asks; k++) {
		if (strncmp(asks[k].text, "ka.notice", 9)) {
			expect(s, e, asks[k].text, "");
		}
	}
	expect(s, e, "ka.verb", "");
	expect(s, e, "ka.value[/name]", "");
	expect(s, e, "ka.dryrun", "");

	// An audit event of the same bytes is no notice, whichever is asked first.
	const char *data = a->name + a->name_len;
	plugin_event *p = malloc(sizeof *p + a->data_len);
	*p = (plugin_event){
		.header = {.ts = 1, .tid = ~0ull, .len = sizeof *p + a->data_len, .type = PLUGIN_EVENT_TYPE, .nparams = 2},
		.id_len = 4, .data_len = a->data_len, .id = PLUGIN_ID,
	};
	memcpy(p->data, data, a->data_len);
	expect(s, &p->header, "ka.notice", "");
	expect(s, e, "ka.notice", "events_lost|");
	expect(s, &p->header, "ka.notice.message", "");
	free(p);

	async_event *b = malloc(e->len);
	for (int i = 0; i < 9; i++) {
		memcpy(b, a, e->len);
		switch (i) {
		case 0: b->header.nparams = 2; break;
		case 1: b->header.len = sizeof *b - 1; break;
		case 2: b->header.len--; break;
		case 3: b->id_len = 8; break;
		case 4: b->name_len = ~0u; break;
		case 5: b->data_len = ~0u; break;
		case 6: b->name_len = b->data_len = ~0u; break;
		case 7: b->data_len--; break; // no whole object
		case 8: b->header.type = PLUGIN_EVENT_TYPE; break;
		}
		expect(s, &b->header, "ka.notice", "");
	}
	free(b);
}

// cross takes the handler back while notices come.
static void *open_and_close(void *params) {
	for (int i = 0; i < 10; i++) {
		state s = must_init("{}"), h = must_open(s, params);
		uint32_t n;
		event_header **e;
		lib.next_batch(s, h, &n, &e);
		lib.close(s, h);
		lib.destroy(s);
	}
	return NULL;
}

void notices(const char *params) {
	CHECK(strstr(lib.get_async_events(), "\"events_lost\"") && !strcmp(lib.get_async_event_sources(), "[\"k8s_audit\"]"), "what may be sent: %s of %s",
	      lib.get_async_events(), lib.get_async_event_sources());
	uint32_t n = 0;
	uint16_t *types = lib.get_extract_event_types(&n);
	CHECK(n == 2 && types[0] == 322 && types[1] == 402, "types of events");

	// A host that takes none, as for a dry run: the source is read to its end, and nothing waits.
	state s = must_init("{}"), h = must_open(s, params);
	CHECK(read_all(s, h) == 0, "a time-out for an event nobody was sent");
	lib.close(s, h);
	CHECK(!logged.lines, "the logger of a host that has none");
	lib.destroy(s);

	// As libs does it: the handler comes after open, and is taken back after close.
	new_host();
	s = must_init("{}");
	h = must_open(s, params);
	CHECK(lib.set_async_event_handler(s, &got, take) == RC_SUCCESS, "set_async_event_handler");
	CHECK(read_all(s, h) == 1 && count() == 1, "%d events before the end", count());
	check_event(s, params);
	CHECK(metric_of(s, "notices") == 2, "notices: %lu", metric_of(s, "notices"));
	CHECK(strstr(logged.text, "notice=events_lost") && strstr(logged.text, params) && logged.severity == LOG_WARNING, "logged: %s", logged.text);
	lib.close(s, h);
	CHECK(lib.set_async_event_handler(s, &got, NULL) == RC_SUCCESS, "set_async_event_handler: none");
	got.gone = 1;
	for (int i = 0; i < 3; i++) { // what comes now waits for the next handler, as one
		h = must_open(s, params);
		read_all(s, h);
		lib.close(s, h);
	}
	got.gone = 0;
	h = must_open(s, params);
	CHECK(lib.set_async_event_handler(s, &got, take) == RC_SUCCESS, "set_async_event_handler: again");
	read_all(s, h);
	CHECK(count() == 2, "%d events", count());
	expect(s, &got.event->header, "ka.notice.count", "8|");

	// A host that refuses is asked again with the next, and told of it in the log.
	got.refuse = 1;
	state other = must_open(s, params);
	read_all(s, other);
	CHECK(count() == 3 && metric_of(s, "notices_failed") == 1, "%d events, %lu failed", count(), metric_of(s, "notices_failed"));
	CHECK(strstr(logged.text, "xxxx") && logged.severity == LOG_ERROR, "logged: %s", logged.text);
	got.refuse = 0;
	lib.close(s, other);
	lib.close(s, h);
	lib.destroy(s); // without taking the handler back
	got.gone = 1;
	int lines = logged.lines;

	// Objects with a handler come and go while others do.
	got.gone = 0;
	pthread_t reader;
	pthread_create(&reader, NULL, open_and_close, (void *)params);
	for (int i = 0; i < 20; i++) {
		s = must_init("{}");
		h = must_open(s, params);
		CHECK(lib.set_async_event_handler(s, &got, take) == RC_SUCCESS, "set_async_event_handler");
		if (i % 2) {
			event_header **e;
			lib.next_batch(s, h, &n, &e);
		}
		usleep(100 * i);
		if (i % 3) {
			lib.close(s, h);
			lib.set_async_event_handler(s, &got, NULL);
		}
		lib.destroy(s);
	}
	pthread_join(reader, NULL);
	got.gone = 1;
	CHECK(logged.lines > lines, "the logger is not used");

	// What init logs and says of a mistake.
	int32_t rc;
	logged.text[0] = 0;
	s = init("{\"maxEventSise\":1}", &rc);
	CHECK(rc == RC_SUCCESS && strstr(logged.text, "maxEventSise") && !strstr(logged.text, "level="), "logged: %s", logged.text);
	lib.destroy(s);
	s = init("{\"maxEventSize\":\"large\"}", &rc);
	CHECK(rc == RC_FAILURE && strstr(lib.get_last_error(s), "maxEventSize"), "init takes a wrong setting");
	CHECK(lib.set_async_event_handler(s, &got, NULL) == RC_SUCCESS, "set_async_event_handler of a broken object");
	lib.destroy(s);
	printf("{\"events\":%d,\"lines\":%d}\n", count(), logged.lines);
}
