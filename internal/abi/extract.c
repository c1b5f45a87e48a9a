// SPDX-License-Identifier: Apache-2.0
//
// plugin_extract_fields and what it needs, in C: the host asks for one field a call, some hundred calls an event, and
// nearly all of them are answered here from a table made beforehand, without entering Go.

#include "abi.h"

#include <stdlib.h>
#include <string.h>

// The state of each plugin object by its handle, a small number the Go SDK gives out (pkg/cgo: MaxHandle).
enum { HANDLES = 256 };
static plugin *plugins[HANDLES];

// Objects of other threads come and go at any time.
static plugin *at_handle(uintptr_t handle) {
	return __atomic_load_n(&plugins[handle % HANDLES], __ATOMIC_ACQUIRE);
}

void plugin_attach(uintptr_t handle, plugin *p) {
	__atomic_store_n(&plugins[handle % HANDLES], p, __ATOMIC_RELEASE);
}

// Implemented in Go. kauditBind attaches the state of a handle. kauditAnswer returns a table for an event that answers
// all questions asked so far and the one given, or null. It begins with the answers of the table before, and is in late
// memory, as are the answers that are new.
extern void kauditBind(uintptr_t handle);
extern table *kauditAnswer(uintptr_t handle, uint32_t type, char *payload, uint64_t len, uint32_t field, uint32_t present,
			   uint64_t index, char *key, int32_t known, table *before, piece **late);

plugin *plugin_new(uint32_t num_fields) {
	plugin *p = calloc(1, sizeof *p);
	if (!p) {
		abort();
	}
	p->num_fields = num_fields;
	p->plain = malloc(num_fields * sizeof *p->plain);
	p->num_buckets = 64;
	p->buckets = calloc(p->num_buckets, sizeof *p->buckets);
	if (!p->plain || !p->buckets) {
		abort();
	}
	for (uint32_t i = 0; i < num_fields; i++) {
		p->plain[i] = -1;
	}
	return p;
}

static void pieces_free(piece **list) {
	while (*list) {
		piece_drop(list);
	}
}

void plugin_free(plugin *p) {
	for (int i = 0; i < HANDLES; i++) {
		if (at_handle(i) == p) {
			plugin_attach(i, NULL);
		}
	}
	for (uint32_t i = 0; i < p->num_questions; i++) {
		free(p->questions[i].key);
	}
	for (int i = 0; i < VIEWS; i++) {
		pieces_free(&p->views[i].late);
	}
	pieces_free(&p->foreign_late);
	free(p->questions);
	free(p->buckets);
	free(p->plain);
	free(p->foreign);
	free(p->text);
	free(p);
}

plugin *plugin_of(uintptr_t handle) {
	plugin *p = at_handle(handle);
	if (__builtin_expect(!p, 0)) {
		kauditBind(handle);
		p = at_handle(handle);
	}
	return p;
}

view *view_new(plugin *p) {
	for (int i = 0; i < VIEWS; i++) {
		int k = 0;
		while (k < VIEWS && p->used[k] && p->used[k] != &p->views[i]) {
			k++;
		}
		if (k < VIEWS && !p->used[k]) {
			p->views[i] = (view){0};
			p->used[k] = &p->views[i];
			return p->used[k];
		}
	}
	return NULL; // the events of further instances are answered as if they came from elsewhere
}

void view_free(plugin *p, view *v) {
	view_set(v, NULL, NULL);
	for (int k = 0; k < VIEWS; k++) {
		if (p->used[k] == v) {
			memmove(&p->used[k], &p->used[k + 1], (VIEWS - 1 - k) * sizeof p->used[0]);
			p->used[VIEWS - 1] = NULL;
			return;
		}
	}
}

void view_set(view *v, const char *from, const char *to) {
	pieces_free(&v->late);
	v->from = from;
	v->to = to;
}

piece *piece_new(uint64_t size, piece **list) {
	piece *p = malloc(sizeof *p + size);
	if (p) {
		*p = (piece){.next = *list, .size = size};
		*list = p;
	}
	return p;
}

// piece_drop gives the newest piece back.
void piece_drop(piece **list) {
	piece *next = (*list)->next;
	free(*list);
	*list = next;
}

static uint64_t hash(uint32_t field, uint64_t index, const char *key, uint64_t len) {
	uint64_t h = field * 0x9e3779b97f4a7c15u + index;
	while (len >= 8) {
		uint64_t w;
		memcpy(&w, key, 8);
		h = (h ^ w) * 0x9fb21c651e98df25u;
		h ^= h >> 32;
		key += 8;
		len -= 8;
	}
	uint64_t w = len;
	memcpy(&w, key, len);
	h = (h ^ w ^ len << 56) * 0x9fb21c651e98df25u;
	return h ^ h >> 29;
}

// question_by_key looks a question with an argument up.
static __attribute__((noinline)) int64_t question_by_key(const plugin *p, const extract_field *f) {
	const char *key = f->arg_key ? f->arg_key : "";
	uint64_t len = strlen(key);
	uint64_t index = f->arg_key ? 0 : f->arg_index;
	uint64_t h = hash(f->field_id, index, key, len);
	for (uint64_t i = h;; i++) {
		uint32_t n = p->buckets[i & (p->num_buckets - 1)];
		if (!n) {
			return -1;
		}
		const question *q = &p->questions[n - 1];
		if (q->hash == h && q->field == f->field_id && q->index == index && q->key_len == len && !memcmp(q->key, key, len)) {
			return n - 1;
		}
	}
}

// question_with_argument tries first what the same address of an argument meant last: in rules an argument stays where
// it is, but nobody promises that, so the text is compared.
static inline int64_t question_with_argument(plugin *p, const extract_field *f) {
	uint32_t *hint = &p->hints[((uintptr_t)f->arg_key * 0x9e3779b97f4a7c15u) >> (64 - HINT_BITS)];
	if (*hint && f->arg_key) {
		const question *q = &p->questions[*hint - 1];
		if (q->field == f->field_id && q->index == 0 && !strcmp(q->key, f->arg_key)) {
			return *hint - 1;
		}
	}
	int64_t n = question_by_key(p, f);
	*hint = (uint32_t)(n + 1);
	return n;
}

// question_find returns the number of a question, or -1 if it was never asked.
static inline int64_t question_find(plugin *p, const extract_field *f) {
	if (f->arg_present) {
		return question_with_argument(p, f);
	}
	return f->field_id < p->num_fields ? p->plain[f->field_id] : -1;
}

static void bucket_put(plugin *p, uint32_t n) {
	uint64_t i = p->questions[n].hash;
	while (p->buckets[i & (p->num_buckets - 1)]) {
		i++;
	}
	p->buckets[i & (p->num_buckets - 1)] = n + 1;
}

uint32_t question_add(plugin *p, uint32_t field, uint32_t present, uint64_t index, const char *key) {
	if (p->num_questions == p->cap_questions) {
		p->cap_questions = p->cap_questions ? 2 * p->cap_questions : 64;
		p->questions = realloc(p->questions, p->cap_questions * sizeof *p->questions);
		if (!p->questions) {
			abort();
		}
	}
	uint32_t n = p->num_questions++;
	question *q = &p->questions[n];
	*q = (question){.field = field, .present = present};
	if (!present) {
		p->plain[field] = (int32_t)n;
		return n;
	}
	q->index = key ? 0 : index;
	q->key = strdup(key ? key : "");
	if (!q->key) {
		abort();
	}
	q->key_len = strlen(q->key);
	q->hash = hash(field, q->index, q->key, q->key_len);
	if (2 * p->num_questions > p->num_buckets) {
		p->num_buckets *= 2;
		free(p->buckets);
		p->buckets = calloc(p->num_buckets, sizeof *p->buckets);
		if (!p->buckets) {
			abort();
		}
		for (uint32_t i = 0; i < n; i++) {
			if (p->questions[i].present) {
				bucket_put(p, i);
			}
		}
	}
	bucket_put(p, n);
	return n;
}

uint32_t payload_of(const event_header *e, const char **data, uint64_t *len) {
	if (e && e->type == ASYNC_EVENT_TYPE) {
		const async_event *ae = (const async_event *)e;
		if (e->nparams != 3 || e->len < offsetof(async_event, name) || ae->id_len != 4 ||
		    (uint64_t)ae->name_len + ae->data_len > e->len - offsetof(async_event, name)) {
			return 0;
		}
		*data = ae->name + ae->name_len;
		*len = ae->data_len;
		return e->type;
	}
	const plugin_event *pe = (const plugin_event *)e;
	if (!e || e->type != PLUGIN_EVENT_TYPE || e->nparams != 2 || e->len < offsetof(plugin_event, data) || pe->id_len != 4 ||
	    pe->data_len > e->len - offsetof(plugin_event, data)) {
		return 0;
	}
	*data = pe->data;
	*len = pe->data_len;
	return e->type;
}

// own_table returns where the table of an event in this library's memory stands, or null for any other event.
static inline table **own_table(plugin *p, const char *e, piece ***late) {
	for (int k = 0; k < VIEWS && p->used[k]; k++) {
		if (e >= p->used[k]->from && e < p->used[k]->to) {
			*late = &p->used[k]->late;
			return (table **)(e - sizeof(table *));
		}
	}
	return NULL;
}

// foreign_table returns where the table of an event in the host's memory stands. Events are told apart by their type and
// all their bytes: neither address nor number can be trusted in a capture.
static __attribute__((noinline)) table **foreign_table(plugin *p, uint32_t type, const char *data, uint64_t len) {
	if (p->foreign && type == p->foreign_type && len == p->foreign_len && !memcmp(p->foreign, data, len)) {
		return &p->foreign_table;
	}
	pieces_free(&p->foreign_late);
	p->foreign_table = NULL;
	if (len + 1 > p->foreign_cap || p->foreign_cap > 4 * len + (1 << 20)) {
		free(p->foreign);
		p->foreign_cap = len + len / 4 + 4096;
		p->foreign = malloc(p->foreign_cap);
		if (!p->foreign) {
			p->foreign_cap = p->foreign_len = 0;
			return &p->foreign_table;
		}
	}
	memcpy(p->foreign, data, len);
	p->foreign_len = len;
	p->foreign_type = type;
	return &p->foreign_table;
}

static __attribute__((noinline)) table *answer(uintptr_t s, plugin *p, const event_header *e, table **t, piece **late, const extract_field *f, int64_t q) {
	const char *data;
	uint64_t len;
	uint32_t type = payload_of(e, &data, &len);
	if (!type) {
		return NULL;
	}
	p->misses++;
	table *made = kauditAnswer(s, type, (char *)data, len, f->field_id, f->arg_present, f->arg_index, (char *)f->arg_key,
				   q >= 0, *t, late);
	if (made) {
		*t = made;
	}
	return made;
}

// extract_one answers a question from a table, or with the help of Go.
static void extract_one(uintptr_t s, plugin *p, const event_header *e, table **t, piece **late, extract_field *f) {
	int64_t q = question_find(p, f);
	const table *found = *t;
	if (__builtin_expect(q < 0 || !found || (uint64_t)q >= found->n, 0)) {
		found = answer(s, p, e, t, late, f, q);
		q = question_find(p, f);
		if (!found || q < 0 || (uint64_t)q >= found->n) {
			f->res_len = 0;
			return;
		}
	}
	f->res = found->slots[q].values;
	f->res_len = found->slots[q].len;
}

// extract_any is for what plugin_extract_fields does not answer at once.
static __attribute__((noinline)) int32_t extract_any(uintptr_t s, const event_input *evt, const extract_input *in) {
	plugin *p = plugin_of(s);
	const uint32_t num = in->fields ? in->num_fields : 0;
	piece **late;
	table **t = p ? own_table(p, (const char *)evt->evt, &late) : NULL;
	if (!t) {
		const char *data;
		uint64_t len;
		uint32_t type = payload_of(evt->evt, &data, &len);
		if (!p || !type) {
			for (uint32_t i = 0; i < num; i++) {
				in->fields[i].res_len = 0;
			}
			return RC_SUCCESS;
		}
		t = foreign_table(p, type, data, len);
		late = &p->foreign_late;
	}
	for (uint32_t i = 0; i < num; i++) {
		extract_one(s, p, evt->evt, t, late, &in->fields[i]);
	}
	return RC_SUCCESS;
}

// Nearly every call is for one field, of an event of the batch handed out last, and known: that way is short.
int32_t plugin_extract_fields(uintptr_t s, const event_input *evt, const extract_input *in) {
	plugin *p = at_handle(s);
	const char *e = (const char *)evt->evt;
	if (p && p->used[0] && e >= p->used[0]->from && e < p->used[0]->to && in->num_fields == 1 && in->fields) {
		extract_field *f = in->fields;
		const table *t = *(table **)(e - sizeof(table *));
		int64_t q = question_find(p, f);
		if (q >= 0 && t && (uint64_t)q < t->n) {
			f->res = t->slots[q].values;
			f->res_len = t->slots[q].len;
			return RC_SUCCESS;
		}
	}
	return extract_any(s, evt, in);
}
