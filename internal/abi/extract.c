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
// the question given, whose number is known if it is not negative, or null. It begins with the answers of the table before,
// and is in late memory, as are the answers that are new. Of an event in our memory it answers all questions asked so far,
// of a foreign one, which has a number, those that others have asked lately.
extern void kauditBind(uintptr_t handle);
extern table *kauditAnswer(uintptr_t handle, uint64_t foreign, uint32_t type, uint64_t ts, char *payload, uint64_t len, uint32_t field,
			   uint32_t present, uint64_t index, char *key, int64_t known, table *before, piece **late);

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
	pieces_free(&p->foreign.late);
	free(p->questions);
	free(p->buckets);
	free(p->plain);
	free(p->foreign.copy);
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
	*q = (question){.field = field, .present = present, .asked = (uint32_t)p->foreign.number};
	if (!present) {
		p->plain[field] = (int32_t)n;
		return n;
	}
	q->index = key ? 0 : index;
	q->key = strdup(key ? key : "");
	if (!q->key) {
		abort();
	}
	q->key_len = (uint32_t)strlen(q->key);
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

// EDGE is how much of a foreign event is compared at each of its ends when the rest is trusted. An audit event has its ID
// and stage in the first 256 bytes, nearly always, and its times in the last.
enum { EDGE = 256 };

static inline int equal_edges(const char *a, const char *b, uint64_t len) {
	if (len <= 2 * EDGE) {
		return !memcmp(a, b, len);
	}
	return !memcmp(a, b, EDGE) && !memcmp(a + len - EDGE, b + len - EDGE, EDGE);
}

// same_foreign reports whether the host still asks about the foreign event it asked about last.
//
// A host built on libsinsp numbers the events of an inspector (sinsp.cpp: sinsp::next) and evaluates one to its end before
// it takes the next; a plugin object belongs to one inspector, as in Falco, which makes one for each source
// (init_inspectors.cpp). So an event of the same number at the same address is the same as long as a capture lasts. But
// numbers begin anew with each, whose reader may use the same memory again: therefore the header, which has the time and
// the length, and both ends must be the same, too. Of a host that numbers none all bytes count. What differs from the
// event before in none of these is taken for it. All bytes, as of an event elsewhere, are compared once an event only:
// an object of 1.5 MB takes 0.1 ms, and some hundred calls.
static inline int same_foreign(const foreign *f, const event_input *evt) {
	return evt->evtnum && evt->evt == f->at && f->at && evt->evtnum == f->evtnum && evt->evt->len == f->len &&
	       equal_edges((const char *)evt->evt, f->copy, f->len);
}

// foreign_event makes an event the last foreign one, unless it is that already. It returns 0 if it is no event that fields
// are asked of, or there is no memory.
static __attribute__((noinline)) int foreign_event(plugin *p, const event_input *evt) {
	foreign *f = &p->foreign;
	if (same_foreign(f, evt)) {
		return 1;
	}
	const char *data;
	uint64_t len;
	if (!payload_of(evt->evt, &data, &len)) {
		return 0;
	}
	len = evt->evt->len;
	f->at = evt->evt;
	f->evtnum = evt->evtnum;
	if (len == f->len && !memcmp(f->copy, evt->evt, len)) {
		return 1; // the host has it elsewhere now, and may hold values
	}
	pieces_free(&f->late);
	f->table = NULL;
	f->number++;
	if (len > f->cap || f->cap > 4 * len + (1 << 20)) {
		free(f->copy);
		f->cap = len + len / 4 + 4096;
		f->copy = malloc(f->cap);
		if (!f->copy) {
			f->at = NULL;
			f->cap = f->len = 0;
			return 0;
		}
	}
	memcpy(f->copy, evt->evt, len);
	f->len = len;
	return 1;
}

static __attribute__((noinline)) table *answer(uintptr_t s, plugin *p, const event_header *e, uint64_t foreign, table **t, piece **late,
					       const extract_field *f, int64_t q) {
	const char *data;
	uint64_t len;
	uint32_t type = payload_of(e, &data, &len);
	if (!type) {
		return NULL;
	}
	p->misses++;
	table *made = kauditAnswer(s, foreign, type, e->ts, (char *)data, len, f->field_id, f->arg_present, f->arg_index, (char *)f->arg_key,
				   q, *t, late);
	if (made) {
		*t = made;
	}
	return made;
}

// extract_own answers a question from the table of an event in our memory, or with the help of Go.
static void extract_own(uintptr_t s, plugin *p, const event_header *e, table **t, piece **late, extract_field *f) {
	int64_t q = question_find(p, f);
	const table *found = *t;
	if (__builtin_expect(q < 0 || !found || (uint64_t)q >= found->n, 0)) {
		found = answer(s, p, e, 0, t, late, f, q);
		q = question_find(p, f);
		if (!found || q < 0 || (uint64_t)q >= found->n) {
			f->res_len = 0;
			return;
		}
	}
	f->res = found->slots[q].values;
	f->res_len = found->slots[q].len;
}

// answered gives the answer to a question about the foreign event if it is there.
static inline int answered(plugin *p, int64_t q, extract_field *f) {
	const table *t = p->foreign.table;
	if (q < 0 || !t || (uint64_t)q >= t->n || t->slots[q].len == LATER) {
		return 0;
	}
	p->questions[q].asked = (uint32_t)p->foreign.number;
	f->res = t->slots[q].values;
	f->res_len = t->slots[q].len;
	return 1;
}

static void extract_foreign(uintptr_t s, plugin *p, extract_field *f) {
	int64_t q = question_find(p, f);
	if (answered(p, q, f)) {
		return;
	}
	// The copy is what Go reads: it is there as long as the values are.
	answer(s, p, (const event_header *)p->foreign.copy, p->foreign.number, &p->foreign.table, &p->foreign.late, f, q);
	if (!answered(p, question_find(p, f), f)) {
		f->res_len = 0;
	}
}

// extract_any is for what is not answered at once.
static __attribute__((noinline)) int32_t extract_any(uintptr_t s, const event_input *evt, const extract_input *in) {
	plugin *p = plugin_of(s);
	const uint32_t num = in->fields ? in->num_fields : 0;
	piece **late;
	table **t = p ? own_table(p, (const char *)evt->evt, &late) : NULL;
	int known = t || (p && foreign_event(p, evt));
	for (uint32_t i = 0; i < num; i++) {
		extract_field *f = &in->fields[i];
		if (t) {
			extract_own(s, p, evt->evt, t, late, f);
		} else if (known) {
			extract_foreign(s, p, f);
		} else {
			f->res_len = 0;
		}
	}
	return RC_SUCCESS;
}

// To a library without events of its own, nearly every call is for one known field of the foreign event that the call
// before was about.
static __attribute__((noinline)) int32_t extract_other(uintptr_t s, const event_input *evt, const extract_input *in) {
	plugin *p = at_handle(s);
	if (p && same_foreign(&p->foreign, evt) && in->num_fields == 1 && in->fields) {
		if (answered(p, question_find(p, in->fields), in->fields)) {
			return RC_SUCCESS;
		}
	}
	return extract_any(s, evt, in);
}

// To one that has, nearly every call is for one known field of an event of the batch handed out last: that way is short.
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
	return extract_other(s, evt, in);
}

uint32_t event_types = 1; // of whose events fields are asked

// Before plugin API 3.1 the host gave no handle.
uint16_t *plugin_get_extract_event_types(uint32_t *count) {
	static uint16_t types[] = {PLUGIN_EVENT_TYPE, ASYNC_EVENT_TYPE};
	*count = event_types;
	return types;
}
