// SPDX-License-Identifier: Apache-2.0
//
// The floor: a plugin that hands out the lines of a file as events and answers every question with the same value, of
// the type the field has. What a run with it costs is the host's own cost, and no plugin can be below it.
//
// NAME, VERSION and FIELDS, the JSON of its fields, are defined when it is compiled; with SOURCE and ID it hands out
// events, without it only answers. "every MS COUNT" in place of a file is so many events, one every so many milliseconds,
// each stamped with the moment it is handed out, and nothing from then on.

#define _GNU_SOURCE
#include "abi.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>

#pragma GCC visibility push(default)

// What the host says a field's type is (falcosecurity/libs: userspace/plugin/plugin_types.h).
enum { TYPE_STRING = 9, TYPE_BOOL = 25, TYPE_IPNET = 41 };

enum { BATCH = 512, MEMORY = 512 << 10 };

typedef struct floor_state {
	char error[256];
	FILE *file;
	char *line; // read and not handed out yet, if length is not 0
	size_t capacity;
	ssize_t length;
	char *memory; // of the events handed out last
	size_t size;
	event_header *events[BATCH];
	unsigned every, left; // lone events
} floor_state;

const char *plugin_get_required_api_version(void) { return "3.0.0"; }
const char *plugin_get_name(void) { return NAME; }
const char *plugin_get_version(void) { return VERSION; }
const char *plugin_get_description(void) { return "answers every question alike"; }
const char *plugin_get_contact(void) { return "none"; }
const char *plugin_get_fields(void) { return FIELDS; }
const char *plugin_get_last_error(void *s) { return ((floor_state *)s)->error; }

void *plugin_init(const void *in, int32_t *rc) {
	(void)in;
	*rc = RC_SUCCESS;
	return calloc(1, sizeof(floor_state));
}

void plugin_destroy(void *s) { free(s); }

int32_t plugin_extract_fields(void *s, const event_input *evt, const extract_input *in) {
	// A user of the system, or else the official rules fire on every event for a user they do not know.
	static const char *texts[] = {"system:-"};
	static uint64_t numbers[] = {0};
	static uint32_t bools[] = {0};
	static byte_buffer nets[] = {{4, "\x7f\0\0\x01"}};
	(void)s, (void)evt;
	for (uint32_t i = 0; i < in->num_fields; i++) {
		extract_field *f = &in->fields[i];
		f->res_len = 1;
		switch (f->ftype) {
		case TYPE_STRING:
			f->res = texts;
			break;
		case TYPE_BOOL:
			f->res = bools;
			break;
		case TYPE_IPNET:
			f->res = nets;
			break;
		default:
			f->res = numbers;
		}
	}
	return RC_SUCCESS;
}

#ifdef SOURCE
uint32_t plugin_get_id(void) { return ID; }
const char *plugin_get_event_source(void) { return SOURCE; }

const char *plugin_event_to_string(void *s, const event_input *evt) {
	(void)s, (void)evt;
	return "-";
}

void *plugin_open(void *state, const char *path, int32_t *rc) {
	floor_state *s = state;
	s->every = s->left = 0;
	s->file = sscanf(path, "every %u %u", &s->every, &s->left) == 2 ? NULL : fopen(path, "r");
	s->memory = malloc(s->size = MEMORY);
	if ((!s->file && !s->every) || !s->memory) {
		snprintf(s->error, sizeof s->error, "cannot open %s", path);
		*rc = RC_FAILURE;
		return NULL;
	}
	*rc = RC_SUCCESS;
	return s;
}

void plugin_close(void *state, void *instance) {
	floor_state *s = state;
	(void)instance;
	if (s->file) {
		fclose(s->file);
	}
	free(s->memory);
	free(s->line);
}

// next_lone waits for as long as libk8saudit.so does when there is nothing.
static int32_t next_lone(floor_state *s, uint32_t *n) {
	long ms = s->left > 0 ? s->every : 400;
	struct timespec t = {ms / 1000, ms % 1000 * 1000000};
	nanosleep(&t, NULL);
	if (s->left == 0) {
		return RC_TIMEOUT;
	}
	s->left--;
	clock_gettime(CLOCK_REALTIME, &t);
	plugin_event *e = (plugin_event *)s->memory;
	*e = (plugin_event){{t.tv_sec * 1000000000u + t.tv_nsec, UINT64_MAX, sizeof(plugin_event) + 2, PLUGIN_EVENT_TYPE, 2}, 4, 2, ID};
	memcpy(e->data, "{}", 2);
	s->events[(*n)++] = &e->header;
	return RC_SUCCESS;
}

int32_t plugin_next_batch(void *state, void *instance, uint32_t *n, event_header ***events) {
	floor_state *s = state;
	size_t used = 0;
	(void)instance;
	*n = 0;
	*events = s->events;
	if (s->every) {
		return next_lone(s, n);
	}
	while (*n < BATCH) {
		if (s->length <= 0 && (s->length = getline(&s->line, &s->capacity, s->file)) <= 0) {
			break;
		}
		size_t len = s->length - (s->line[s->length - 1] == '\n'), size = sizeof(plugin_event) + len;
		if (used + size > s->size) {
			if (*n > 0) {
				break;
			}
			free(s->memory);
			s->memory = malloc(s->size = size);
		}
		plugin_event *e = (plugin_event *)(s->memory + used);
		*e = (plugin_event){{1700000000000000000u, UINT64_MAX, size, PLUGIN_EVENT_TYPE, 2}, 4, len, ID};
		memcpy(e->data, s->line, len);
		s->events[(*n)++] = &e->header;
		used += (size + 7) & ~(size_t)7;
		s->length = 0;
	}
	return *n > 0 ? RC_SUCCESS : RC_EOF;
}
#endif
