// SPDX-License-Identifier: Apache-2.0
//
// The part of the plugin API this library speaks, and the memory it shares with the host.
//
// The declarations state facts of falcosecurity/libs (userspace/plugin/plugin_types.h, plugin_api.h) as they stand
// since plugin API 3.0.0; later versions only append members, and nothing appended later is read without knowing that
// the host has it.
#pragma once

#include <stddef.h>
#include <stdint.h>

enum { RC_SUCCESS = 0, RC_FAILURE = 1, RC_TIMEOUT = -1, RC_EOF = 2 };

// An event as the host knows it: this header, the length of each parameter in four bytes, then the parameters. A
// plugin's event (type 322) has two: the plugin's id in four bytes, and its payload.
typedef struct __attribute__((packed)) event_header {
	uint64_t ts;  // nanoseconds since 1970
	uint64_t tid; // all ones: none
	uint32_t len; // of the whole event
	uint16_t type;
	uint32_t nparams;
} event_header;

typedef struct __attribute__((packed)) plugin_event {
	event_header header;
	uint32_t id_len;
	uint32_t data_len;
	uint32_t id;
	char data[];
} plugin_event;

// An asynchronous event (type 402) has three: the plugin's id, which the host writes, a name with a zero byte behind it,
// and data.
typedef struct __attribute__((packed)) async_event {
	event_header header;
	uint32_t id_len;
	uint32_t name_len;
	uint32_t data_len;
	uint32_t id;
	char name[];
} async_event;

_Static_assert(sizeof(event_header) == 26, "event header");
_Static_assert(offsetof(plugin_event, data) == 38, "payload");
_Static_assert(offsetof(async_event, name) == 42, "name");

enum { PLUGIN_EVENT_TYPE = 322, ASYNC_EVENT_TYPE = 402, PLUGIN_ID = 1 };

// What plugin_init gets. log came with plugin API 3.3, and may be read only when host_has_log says so.
typedef struct init_input {
	const char *config;
	void *owner;
	const char *(*get_owner_last_error)(void *);
	const void *tables;
	void (*log)(void *owner, const char *component, const char *text, int32_t severity);
} init_input;

enum { LOG_ERROR = 3, LOG_WARNING = 4, LOG_INFO = 6, LOG_DEBUG = 7 };

// A handler takes asynchronous events, from any thread. It copies the event. What is wrong with it is written to error.
typedef int32_t (*async_handler)(void *owner, const event_header *e, char *error);

enum { HANDLER_ERROR_SIZE = 1024 };

typedef struct event_input {
	const event_header *evt;
	uint64_t evtnum;
	const char *evtsrc;
} event_input;

typedef struct byte_buffer {
	uint32_t len;
	const void *ptr;
} byte_buffer;

typedef struct extract_field {
	void *res; // an array of res_len values: char *, uint64_t, uint32_t for booleans, byte_buffer for addresses
	uint64_t res_len;
	uint32_t field_id;
	const char *field;
	const char *arg_key;
	uint64_t arg_index;
	uint32_t arg_present;
	uint32_t ftype;
	uint32_t flist;
} extract_field;

typedef struct extract_input {
	void *owner;
	const char *(*get_owner_last_error)(void *);
	uint32_t num_fields;
	extract_field *fields;
} extract_input;

typedef struct metric {
	const char *name;
	uint32_t type; // 0: only grows, METRIC_GAUGE
	union {
		uint64_t u64;
	} value;
	uint32_t value_type; // METRIC_U64
} metric;

enum { METRIC_GAUGE = 1, METRIC_U64 = 2 };

_Static_assert(sizeof(metric) == 32, "metric");

// A slot is the answer to one question for one event, as extract_field wants it.
typedef struct slot {
	void *values;
	uint64_t len;
} slot;

// A table holds the answers to the first n questions for one event, and has room for cap. In this library's own memory
// the eight bytes before an event point to its table. Those of a foreign event may be LATER: answered when asked for.
typedef struct table {
	uint32_t n, cap;
	slot slots[];
} table;

// A piece is memory for answers made late, filled from its beginning on; pieces form a list. Nothing in one moves: the
// host holds pointers to what is there.
typedef struct piece {
	struct piece *next;
	uint64_t size, used;
	char data[];
} piece;

// A view is the memory of the batch an instance handed to the host last, and of tables made late for its events.
typedef struct view {
	const char *from, *to;
	piece *late;
} view;

#define LATER UINT64_MAX // a slot's len

enum { VIEWS = 4, HINT_BITS = 12 };

// A question the rules have asked: a field with its argument.
typedef struct question {
	uint32_t field;
	uint32_t present;
	uint64_t index;
	char *key;
	uint32_t key_len;
	uint32_t asked; // the number of the foreign event it was asked of last, its lower half
	uint64_t hash;
} question;

// A foreign event is one in memory that is not ours: in a capture, of another plugin, every asynchronous one. This is the
// last of them, as it was, and where the host had it (extract.c: same_foreign).
typedef struct foreign {
	const event_header *at;
	uint64_t evtnum;
	char *copy; // of the whole event
	uint64_t len, cap;
	uint64_t number; // how many there have been
	table *table;
	piece *late;
} foreign;

// The state of one plugin object on this side of the boundary. Only the host's thread for that object touches it: the
// API lets several threads in at once with distinct objects only.
typedef struct plugin {
	view views[VIEWS];
	view *used[VIEWS]; // which views belong to open instances, packed

	// The questions in the order they were asked; a table answers a first part of them.
	question *questions;
	uint32_t num_questions, cap_questions;
	uint32_t *buckets; // open addressing by hash, question number + 1, 0: free
	uint32_t num_buckets; // a power of two
	int32_t *plain; // by field: the question without argument, or -1
	uint32_t hints[1 << HINT_BITS]; // by address of an argument: the question it was part of last, its number + 1
	uint32_t num_fields;

	foreign foreign;

	char *text; // what event_to_string returned last
	uint64_t text_cap;
	uint64_t misses; // how often Go was asked
} plugin;

// For this library alone: the host sees only the symbols of the plugin API.
#pragma GCC visibility push(hidden)

plugin *plugin_new(uint32_t num_fields);
void plugin_free(plugin *p);
void plugin_attach(uintptr_t handle, plugin *p);
plugin *plugin_of(uintptr_t handle);

// payload_of finds the payload of a plugin's event, or the data of an asynchronous one, and returns the event's type; it
// returns 0 for any other event.
uint32_t payload_of(const event_header *e, const char **data, uint64_t *len);

view *view_new(plugin *p);
void view_free(plugin *p, view *v);
void view_set(view *v, const char *from, const char *to);

uint32_t question_add(plugin *p, uint32_t field, uint32_t present, uint64_t index, const char *key);

piece *piece_new(uint64_t size, piece **list);
void piece_drop(piece **list);

extern uint32_t event_types; // how many types of events fields are asked of: plugins', and asynchronous ones
extern int metrics_known; // the host has looked for metrics: it is of plugin API 3.5 or later
int host_has_log(void);
void host_log(const init_input *from, const char *text, int32_t severity);
int32_t host_handle(async_handler handler, void *owner, const event_header *e, char *error);

#pragma GCC visibility pop
