// SPDX-License-Identifier: Apache-2.0
//
// What the parts of the host share.
#pragma once

#define _GNU_SOURCE
#include "../../../internal/abi/abi.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FAIL(...) (fprintf(stderr, "host: " __VA_ARGS__), fputc('\n', stderr), exit(1))
#define CHECK(cond, ...) \
	do { \
		if (!(cond)) \
			FAIL(__VA_ARGS__); \
	} while (0)

typedef void *state;

// The library.
extern struct library {
	const char *(*get_name)(void);
	const char *(*get_version)(void);
	uint32_t (*get_id)(void);
	const char *(*get_event_source)(void);
	const char *(*get_required_api_version)(void);
	const char *(*get_fields)(void);
	const char *(*get_init_schema)(int32_t *);
	const char *(*get_last_error)(state);
	state (*init)(const void *, int32_t *);
	void (*destroy)(state);
	state (*open)(state, const char *, int32_t *);
	void (*close)(state, state);
	int32_t (*next_batch)(state, state, uint32_t *, event_header ***);
	int32_t (*extract_fields)(state, const event_input *, const extract_input *);
	const char *(*event_to_string)(state, const event_input *);
	const char *(*list_open_params)(state, int32_t *);
	const char *(*get_progress)(state, state, uint32_t *);
	metric *(*get_metrics)(state, uint32_t *); // see new_host
	uint16_t *(*get_extract_event_types)(uint32_t *);
	const char *(*get_async_events)(void);
	const char *(*get_async_event_sources)(void);
	int32_t (*set_async_event_handler)(state, void *, async_handler);
} lib;

// new_host looks up plugin_get_metrics. Before, the host is one of plugin API 3.0: what it passes to init ends where it
// ended then. From then on it is a newer one, and passes a logger.
void new_host(void);

// What the library logged last, by way of the host's logger.
extern struct logged {
	char text[4096];
	int32_t severity;
	int lines;
} logged;

state init(const char *config, int32_t *rc);
state must_init(const char *config);
state must_open(state s, const char *params);
int descriptors(void);
uint64_t metric_of(state s, const char *name);
double now(void); // seconds
double cpu(void); // seconds of processor time this process has had
long max_rss(void); // MB this process had in memory at most

// A field the host asks for, by its name in the library's JSON.
typedef struct ask {
	extract_field f;
	char type; // s, u, b, n
	char text[1024];
} ask;

enum { ASKS = 1024 };
extern ask asks[ASKS]; // as named on standard input
extern int num_asks;

ask ask_of(const char *text);
extract_field ask_one(state s, const event_header *e, uint64_t num, const ask *a);
char *render(const ask *a, const extract_field *f);

// event makes an event in memory of the host's, as in a capture, and event_of one of a text.
plugin_event *event(const char *data, uint32_t len);
plugin_event *event_of(const char *json);

#define AUDIT "{\"kind\":\"Event\",\"apiVersion\":\"audit.k8s.io/v1\",\"auditID\":\"1\","

// expect asks one field and compares: values each followed by a bar.
void expect(state s, const event_header *e, const char *text, const char *want);

// check_foreign has a library asked about memory that changes under it. The field is one for the member verb.
void check_foreign(state s, const char *field);

// at_end_of_page returns memory behind which there is none: whoever reads a member that was appended to a structure later
// reads where nothing is.
void *at_end_of_page(size_t size);

// check_batch asserts what the library promises of a batch it has just handed out.
void check_batch(state s, event_header **events, uint32_t n);

// The commands.
void check(const char *params);
void strange(const char *params);
void threads(const char *params, const char *address);
void bench(const char *params, const char *first);
void latency(const char *address);
void notices(const char *params);
void json(const char *file);
void ask_lines(const char *file);
