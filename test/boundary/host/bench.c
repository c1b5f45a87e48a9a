// SPDX-License-Identifier: Apache-2.0
//
// How fast the library is, and what it costs to wait.

#include "host.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

static void read_all(state s, const char *params) {
	state h = must_open(s, params);
	uint64_t events = 0, bytes = 0, calls = 0;
	double start = now(), asking = 0;
	event_input in = {.evtsrc = "k8s_audit"};
	extract_field f;
	extract_input ex = {.num_fields = 1, .fields = &f};
	for (;;) {
		uint32_t n;
		event_header **e;
		int32_t rc = lib.next_batch(s, h, &n, &e);
		if (rc == RC_EOF) {
			break;
		}
		CHECK(rc != RC_FAILURE, "next_batch: %s", lib.get_last_error(s));
		if (rc == RC_TIMEOUT) {
			continue;
		}
		double t = now();
		for (uint32_t i = 0; i < n; i++) {
			in.evt = e[i];
			in.evtnum = ++events;
			bytes += ((plugin_event *)e[i])->data_len;
			for (int k = 0; k < num_asks; k++) {
				f = asks[k].f;
				lib.extract_fields(s, &in, &ex);
			}
		}
		calls += (uint64_t)n * num_asks;
		asking += now() - t;
	}
	double wall = now() - start;
	printf("{\"events\":%lu,\"bytes\":%lu,\"seconds\":%.4f,\"mb_per_s\":%.0f,\"events_per_s\":%.0f,\"ns_per_call\":%.2f,\"cpu_seconds\":%.3f,\"max_rss_mb\":%ld}\n",
	       events, bytes, wall, bytes / wall / 1e6, events / wall, calls ? asking / calls * 1e9 : 0,
	       cpu(), max_rss());
	lib.close(s, h);
}

void bench(const char *params, const char *first) {
	state s = must_init("{}");
	if (first) { // what was asked of these events is answered ahead for the others
		read_all(s, first);
	}
	read_all(s, params);
	lib.destroy(s);
}

// ask_lines asks about events in memory of the host's, round after round, and prints what the best one took.
void ask_lines(const char *path) {
	enum { EVENTS = 1 << 14, ROUNDS = 20, TYPE_STRING = 9 };
	static plugin_event *events[EVENTS];
	state s = must_init("{\"useAsync\":false}");
	FILE *file = fopen(path, "r");
	CHECK(file, "no file %s", path);
	char *line = NULL;
	size_t cap = 0, n = 0;
	for (ssize_t len; n < EVENTS && (len = getline(&line, &cap, file)) > 0; n++) {
		events[n] = event(line, len - 1);
		events[n]->header.ts += n;
	}
	fclose(file);
	event_input in = {.evtsrc = "k8s_audit"};
	extract_field f;
	extract_input ex = {.num_fields = 1, .fields = &f};
	double best = 1e9;
	for (int round = 0; round < ROUNDS; round++) {
		double start = cpu();
		for (size_t i = 0; i < n; i++) {
			in.evt = &events[i]->header;
			in.evtnum++;
			for (int k = 0; k < num_asks; k++) {
				f = asks[k].f;
				f.ftype = TYPE_STRING;
				lib.extract_fields(s, &in, &ex);
			}
		}
		double took = cpu() - start;
		best = took < best ? took : best;
	}
	lib.destroy(s);
	printf("{\"events\":%zu,\"calls\":%d,\"ns_per_event\":%.0f}\n", n, num_asks, best / n * 1e9);
}

// The thread that plays Falco's: it asks for batches and notes when it got one.
static struct {
	state s, h;
	_Atomic double sent, took; // took: how long the last event was on its way
	atomic_int events, calls, stop;
} falco;

static void *read_batches(void *unused) {
	while (!falco.stop) {
		uint32_t n;
		event_header **e;
		int32_t rc = lib.next_batch(falco.s, falco.h, &n, &e);
		falco.calls++;
		if (rc == RC_SUCCESS) {
			falco.took = now() - falco.sent;
			falco.events += n;
		}
		CHECK(rc == RC_SUCCESS || rc == RC_TIMEOUT, "next_batch: %d: %s", rc, lib.get_last_error(falco.s));
	}
	return unused;
}

static int by_size(const void *a, const void *b) {
	double d = *(const double *)a - *(const double *)b;
	return d < 0 ? -1 : d > 0;
}

// dial connects to the port of http://127.0.0.1:port/path.
static int dial(const char *address) {
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(strrchr(address, ':') + 1))};
	inet_aton("127.0.0.1", &to.sin_addr);
	int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	CHECK(!connect(fd, (struct sockaddr *)&to, sizeof to), "connect to %s", address);
	return fd;
}

void latency(const char *address) {
	enum { EVENTS = 2000, SECONDS = 5 };
	falco.s = must_init("{}");
	falco.h = must_open(falco.s, address);
	pthread_t reader;
	pthread_create(&reader, NULL, read_batches, NULL);
	int fd = dial(address);
	char body[1024], request[2048], answer[4096];
	int n = snprintf(body, sizeof body,
			 "{\"kind\":\"Event\",\"apiVersion\":\"audit.k8s.io/v1\",\"level\":\"Metadata\",\"auditID\":\"1\","
			 "\"stage\":\"ResponseComplete\",\"requestURI\":\"/%0450d\",\"verb\":\"get\"}",
			 0);
	n = snprintf(request, sizeof request,
		     "POST %s HTTP/1.1\r\nHost: host\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		     strrchr(address, '/'), n, body);
	static double took[EVENTS];
	for (int i = 0; i < EVENTS; i++) {
		int before = falco.events;
		falco.sent = now();
		CHECK(write(fd, request, n) == n, "write");
		CHECK(read(fd, answer, sizeof answer) > 12 && !memcmp(answer, "HTTP/1.1 200", 12), "answered %.40s", answer);
		while (falco.events == before) {
			usleep(20);
		}
		took[i] = falco.took;
		usleep(500 + i % 7 * 400);
	}
	double used = cpu();
	int calls = falco.calls;
	sleep(SECONDS);
	used = cpu() - used;
	calls = falco.calls - calls;
	falco.stop = 1;
	pthread_join(reader, NULL);
	qsort(took, EVENTS, sizeof *took, by_size);
	printf("{\"p50_us\":%.0f,\"p99_us\":%.0f,\"idle_cpu_percent\":%.3f,\"idle_calls_per_s\":%.1f}\n",
	       took[EVENTS / 2] * 1e6, took[EVENTS * 99 / 100] * 1e6, 100 * used / SECONDS, (double)calls / SECONDS);
	lib.close(falco.s, falco.h);
	lib.destroy(falco.s);
	close(fd);
}
