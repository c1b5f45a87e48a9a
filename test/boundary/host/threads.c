// SPDX-License-Identifier: Apache-2.0
//
// Several objects at once, in threads of their own, and calls that cross.

#include "host.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

static const char *file;
static atomic_int over;

typedef struct batch {
	state s;
	event_header **events;
	uint32_t n;
} batch;

static void *check_elsewhere(void *b) {
	check_batch(((batch *)b)->s, ((batch *)b)->events, ((batch *)b)->n);
	return NULL;
}

// read_all opens, checks every event in another thread, closes and destroys, again and again.
static void *read_all(void *unused) {
	for (int i = 0; i < 3; i++) {
		state s = must_init("{}"), h = must_open(s, file);
		uint64_t events = 0;
		int32_t rc;
		do {
			uint32_t n;
			event_header **e;
			rc = lib.next_batch(s, h, &n, &e);
			CHECK(rc != RC_FAILURE, "next_batch: %s", lib.get_last_error(s));
			if (rc == RC_SUCCESS) {
				pthread_t other;
				pthread_create(&other, NULL, check_elsewhere, &(batch){s, e, n});
				pthread_join(other, NULL);
				events += n;
			}
		} while (rc != RC_EOF);
		CHECK(metric_of(s, "events") == events && events > 0, "%lu events", events);
		if (i) {
			lib.close(s, h);
		}
		lib.destroy(s);
	}
	return unused;
}

static void *look(void *s) {
	while (!over) {
		metric_of(s, "queue_bytes");
		usleep(200);
	}
	return NULL;
}

// One thread waits for events of an instance while another closes it.
static struct {
	state s, h;
	atomic_int calls;
} waiting;

static void *wait_for_events(void *unused) {
	int32_t rc;
	do {
		uint32_t n;
		event_header **e;
		rc = lib.next_batch(waiting.s, waiting.h, &n, &e);
		CHECK(rc == RC_SUCCESS || n == 0, "%u events with %d", n, rc);
		waiting.calls++;
	} while (rc != RC_FAILURE);
	return unused;
}

void threads(const char *params, const char *address) {
	new_host();
	file = params;
	pthread_t reader[2], looker, waiter;
	for (int i = 0; i < 2; i++) {
		pthread_create(&reader[i], NULL, read_all, NULL);
	}
	// Somebody posts while the instance comes and goes, in the middle of deliveries.
	state s = must_init("{}");
	pthread_create(&looker, NULL, look, s);
	uint64_t events = 0;
	for (int i = 0; i < 8; i++) {
		state h = must_open(s, address);
		for (int k = 0; k < 20 + i; k++) {
			uint32_t n;
			event_header **e;
			int32_t rc = lib.next_batch(s, h, &n, &e);
			CHECK(rc == RC_SUCCESS || rc == RC_TIMEOUT, "next_batch: %d: %s", rc, lib.get_last_error(s));
			events += n;
			if (rc == RC_SUCCESS && k % 4 == 0) {
				check_batch(s, e, n < 2 ? n : 2);
			}
		}
		lib.close(s, h);
	}
	CHECK(events > 0, "nobody posted");
	waiting.s = s;
	for (int i = 0; i < 6; i++) {
		waiting.calls = 0;
		waiting.h = must_open(s, i % 2 ? address : file);
		pthread_create(&waiter, NULL, wait_for_events, NULL);
		while (!waiting.calls) {
			usleep(100);
		}
		usleep(1000 * i);
		lib.close(s, waiting.h);
		pthread_join(waiter, NULL);
	}
	for (int i = 0; i < 2; i++) {
		pthread_join(reader[i], NULL);
	}
	over = 1;
	pthread_join(looker, NULL);
	lib.destroy(s);
	printf("{\"posted\":%lu}\n", events);
}
