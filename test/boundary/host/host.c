// SPDX-License-Identifier: Apache-2.0
//
// A host in plain C that plays Falco's part at the boundary, more harshly than Falco does.
//
//   host LIBRARY check OPEN     asserts what the library promises, on every event of a source
//   host LIBRARY bench OPEN     reads to the end, asking for the fields named on standard input; prints figures
//
// Fields are named one a line: name, or name[argument].

#define _GNU_SOURCE
#include "../../../internal/abi/abi.h"

#include <dirent.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define FAIL(...) (fprintf(stderr, "host: " __VA_ARGS__), fputc('\n', stderr), exit(1))
#define CHECK(cond, ...) \
	do { \
		if (!(cond)) \
			FAIL(__VA_ARGS__); \
	} while (0)

typedef void *state;

static struct {
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
	metric *(*get_metrics)(state, uint32_t *);
} lib;

static void load(const char *path) {
	void *so = dlopen(path, RTLD_NOW);
	CHECK(so, "%s", dlerror());
#define SYMBOL(name) CHECK(*(void **)&lib.name = dlsym(so, "plugin_" #name), "no symbol plugin_" #name)
	SYMBOL(get_name);
	SYMBOL(get_version);
	SYMBOL(get_id);
	SYMBOL(get_event_source);
	SYMBOL(get_required_api_version);
	SYMBOL(get_fields);
	SYMBOL(get_init_schema);
	SYMBOL(get_last_error);
	SYMBOL(init);
	SYMBOL(destroy);
	SYMBOL(open);
	SYMBOL(close);
	SYMBOL(next_batch);
	SYMBOL(extract_fields);
	SYMBOL(event_to_string);
	SYMBOL(list_open_params);
	SYMBOL(get_progress);
	SYMBOL(get_metrics);
}

// What init gets, as of plugin API 3.0.
static state init(const char *config, int32_t *rc) {
	struct {
		const char *config;
		void *owner;
		const char *(*get_owner_last_error)(void *);
		const void *tables;
	} in = {.config = config};
	return lib.init(&in, rc);
}

static state must_init(const char *config) {
	int32_t rc = -7;
	state s = init(config, &rc);
	CHECK(s && rc == RC_SUCCESS, "init(%s): rc %d: %s", config, rc, s ? lib.get_last_error(s) : "no state");
	return s;
}

static state must_open(state s, const char *params) {
	int32_t rc = -7;
	state h = lib.open(s, params, &rc);
	CHECK(h && rc == RC_SUCCESS, "open(%s): rc %d: %s", params, rc, lib.get_last_error(s));
	return h;
}

// A field the host asks for.
typedef struct ask {
	extract_field f;
	char type; // s, u, b, n
	char text[1024];
} ask;

enum { ASKS = 1024 };
static ask asks[ASKS];
static int num_asks;

// add_ask looks a field up in the library's JSON: an array of objects that begin with "name".
static void add_ask(char *line) {
	ask *a = &asks[num_asks];
	line[strcspn(line, "\r\n")] = 0;
	if (!*line) {
		return;
	}
	CHECK(num_asks < ASKS, "too many fields");
	snprintf(a->text, sizeof a->text, "%s", line);
	char name[1100], *arg = strchr(line, '[');
	if (arg) {
		*arg++ = 0;
		*strrchr(arg, ']') = 0;
	}
	snprintf(name, sizeof name, "{\"name\":\"%s\",\"type\":\"", line);
	const char *json = lib.get_fields(), *found = strstr(json, name);
	CHECK(found, "no field %s", line);
	uint32_t id = 0;
	for (const char *p = json; (p = strstr(p, "{\"name\":\"")) && p < found; p++) {
		id++;
	}
	const char *type = found + strlen(name), *end = strstr(found + 1, "{\"name\":\"");
	char *row = strndup(found, end ? (size_t)(end - found) : strlen(found));
	a->type = type[0] == 's' ? 's' : type[0] == 'b' ? 'b' : type[0] == 'i' ? 'n' : 'u';
	a->f = (extract_field){.field_id = id, .field = strdup(line), .flist = strstr(row, "\"isList\":true") != NULL};
	if (arg) {
		a->f.arg_present = 1;
		if (strstr(row, "\"isIndex\":true")) {
			a->f.arg_index = strtoull(arg, NULL, 10);
		} else {
			a->f.arg_key = strdup(arg);
		}
	}
	free(row);
	num_asks++;
}

static void read_asks(void) {
	char line[1024];
	while (fgets(line, sizeof line, stdin)) {
		add_ask(line);
	}
}

// The input of extract_fields as of plugin API 3.0, at the very end of a page: whoever reads what was appended later
// reads where nothing is.
typedef struct old_input {
	extract_input in;
	void *table_reader[6];
} old_input;

static old_input *guarded;

static void make_guarded(void) {
	long page = sysconf(_SC_PAGESIZE);
	char *m = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(m != MAP_FAILED, "mmap");
	CHECK(!mprotect(m + page, page, PROT_NONE), "mprotect");
	guarded = (old_input *)(m + page - sizeof(old_input));
	memset(guarded, 0, sizeof *guarded);
}

static extract_field ask_one(state s, const event_header *e, uint64_t num, const ask *a) {
	static extract_field f;
	f = a->f;
	f.res = (void *)1;
	f.res_len = 99;
	event_input in = {.evt = e, .evtnum = num, .evtsrc = "k8s_audit"};
	guarded->in.num_fields = 1;
	guarded->in.fields = &f;
	CHECK(lib.extract_fields(s, &in, &guarded->in) == RC_SUCCESS, "extract_fields failed");
	CHECK(f.flist || f.res_len <= 1, "%s: %lu values, but it is no list", a->text, f.res_len);
	return f;
}

// render writes a value as text, to compare and print.
static char *render(const ask *a, const extract_field *f) {
	char *out;
	size_t n;
	FILE *w = open_memstream(&out, &n);
	for (uint64_t i = 0; i < f->res_len; i++) {
		if (a->type == 's') {
			fprintf(w, "%s\x1f", ((char **)f->res)[i]);
		} else if (a->type == 'b') {
			fprintf(w, "%s\x1f", ((uint32_t *)f->res)[i] ? "true" : "false");
		} else if (a->type == 'n') {
			const byte_buffer *b = &((byte_buffer *)f->res)[i];
			CHECK(b->len == 4 || b->len == 16, "%s: an address of %u bytes", a->text, b->len);
			for (uint32_t k = 0; k < b->len; k++) {
				fprintf(w, "%02x", ((const uint8_t *)b->ptr)[k]);
			}
			fprintf(w, "\x1f");
		} else {
			fprintf(w, "%lu\x1f", ((uint64_t *)f->res)[i]);
		}
	}
	fclose(w);
	return out;
}

static int descriptors(void) {
	int n = 0;
	DIR *d = opendir("/proc/self/fd");
	while (readdir(d)) {
		n++;
	}
	closedir(d);
	return n;
}

static uint64_t metric_of(state s, const char *name) {
	uint32_t n;
	metric *m = lib.get_metrics(s, &n);
	for (uint32_t i = 0; i < n; i++) {
		if (!strcmp(m[i].name, name)) {
			CHECK(m[i].value_type == 2, "metric %s is no uint64", name);
			return m[i].value.u64;
		}
	}
	FAIL("no metric %s", name);
}

// check_batch asks for everything, about events where they lie and about copies, in both orders, and looks at the end
// whether all that was answered is still there.
static void check_batch(state s, event_header **events, uint32_t n) {
	static uint64_t num;
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

static void check(const char *params) {
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

static double now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void bench(const char *params) {
	state s = must_init("{}"), h = must_open(s, params);
	uint64_t events = 0, bytes = 0, calls = 0;
	double start = now(), asking = 0;
	event_input in = {.evtsrc = "k8s_audit"};
	extract_field f;
	guarded->in.num_fields = 1;
	guarded->in.fields = &f;
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
				lib.extract_fields(s, &in, &guarded->in);
			}
		}
		calls += (uint64_t)n * num_asks;
		asking += now() - t;
	}
	double wall = now() - start;
	struct rusage u;
	getrusage(RUSAGE_SELF, &u);
	printf("{\"events\":%lu,\"bytes\":%lu,\"seconds\":%.4f,\"mb_per_s\":%.0f,\"events_per_s\":%.0f,\"ns_per_call\":%.2f,\"cpu_seconds\":%.3f,\"max_rss_mb\":%ld}\n",
	       events, bytes, wall, bytes / wall / 1e6, events / wall, calls ? asking / calls * 1e9 : 0,
	       u.ru_utime.tv_sec + u.ru_stime.tv_sec + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6, u.ru_maxrss / 1024);
	lib.close(s, h);
	lib.destroy(s);
}

int main(int argc, char **argv) {
	if (argc != 4) {
		FAIL("usage: host LIBRARY check|bench OPEN < fields");
	}
	load(argv[1]);
	make_guarded();
	read_asks();
	if (!strcmp(argv[2], "check")) {
		check(argv[3]);
	} else if (!strcmp(argv[2], "bench")) {
		bench(argv[3]);
	} else {
		FAIL("no such command: %s", argv[2]);
	}
}
