// SPDX-License-Identifier: Apache-2.0
//
// A host in plain C that plays Falco's part at the boundary, more harshly than Falco does.
//
//   host LIBRARY check OPEN            asserts what the library promises, on every event of a source
//   host LIBRARY strange OPEN          asks and shows what no host should
//   host LIBRARY notices OPEN          asynchronous events and the host's logger; the source has what is no event
//   host LIBRARY threads OPEN ADDRESS  several objects at once; somebody posts to the address
//   host LIBRARY bench OPEN [FIRST]    reads to the end, asking for the fields named on standard input; prints figures.
//                                      FIRST is read before, so that the questions are known
//   host LIBRARY json FILE             asks a library without events of its own about the lines of a file
//   host LIBRARY ask FILE              asks it about them over and over, for the fields named on standard input; prints figures
//   host LIBRARY latency ADDRESS       posts single events to itself, then nothing; prints figures
//
// Fields are named one a line: name, or name[argument].

#include "host.h"

#include <dirent.h>
#include <dlfcn.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

struct library lib;
struct logged logged;
static void *so;

// load looks the library's symbols up; one that has no events of its own has fewer.
static void load(const char *path, int sourcing) {
	so = dlopen(path, RTLD_NOW);
	CHECK(so, "%s", dlerror());
#define SYMBOL(name) CHECK(*(void **)&lib.name = dlsym(so, "plugin_" #name), "no symbol plugin_" #name)
	SYMBOL(get_name);
	SYMBOL(get_version);
	SYMBOL(get_required_api_version);
	SYMBOL(get_fields);
	SYMBOL(get_init_schema);
	SYMBOL(get_last_error);
	SYMBOL(init);
	SYMBOL(destroy);
	SYMBOL(extract_fields);
	SYMBOL(get_extract_event_types);
	if (!sourcing) {
		return;
	}
	SYMBOL(get_id);
	SYMBOL(get_event_source);
	SYMBOL(open);
	SYMBOL(close);
	SYMBOL(next_batch);
	SYMBOL(event_to_string);
	SYMBOL(list_open_params);
	SYMBOL(get_progress);
	SYMBOL(get_async_events);
	SYMBOL(get_async_event_sources);
	SYMBOL(set_async_event_handler);
}

void new_host(void) {
	if (!lib.get_metrics) {
		SYMBOL(get_metrics);
	}
}

static void take_log(void *owner, const char *component, const char *text, int32_t severity) {
	CHECK(owner == &logged && !component, "the logger is called for another");
	__atomic_add_fetch(&logged.lines, 1, __ATOMIC_RELAXED);
	logged.severity = severity;
	snprintf(logged.text, sizeof logged.text, "%s", text);
}

state init(const char *config, int32_t *rc) {
	if (lib.get_metrics) {
		static _Thread_local init_input *in;
		if (!in) {
			in = at_end_of_page(sizeof *in);
		}
		*in = (init_input){.config = config, .owner = &logged, .log = take_log};
		return lib.init(in, rc);
	}
	// What init gets, as of plugin API 3.0.
	typedef struct old_input {
		const char *config;
		void *owner;
		const char *(*get_owner_last_error)(void *);
		const void *tables;
	} old_input;
	static _Thread_local old_input *in;
	if (!in) {
		in = at_end_of_page(sizeof *in);
	}
	*in = (old_input){.config = config};
	return lib.init(in, rc);
}

state must_init(const char *config) {
	int32_t rc = -7;
	state s = init(config, &rc);
	CHECK(s && rc == RC_SUCCESS, "init(%s): rc %d: %s", config, rc, s ? lib.get_last_error(s) : "no state");
	return s;
}

state must_open(state s, const char *params) {
	int32_t rc = -7;
	state h = lib.open(s, params, &rc);
	CHECK(h && rc == RC_SUCCESS, "open(%s): rc %d: %s", params, rc, lib.get_last_error(s));
	return h;
}

ask asks[ASKS];
int num_asks;

// ask_of looks a field up in the library's JSON: an array of objects that begin with "name".
ask ask_of(const char *text) {
	ask a = {.type = 'u'};
	snprintf(a.text, sizeof a.text, "%s", text);
	char *field = strdup(text), *arg = strchr(field, '[');
	if (arg) {
		*arg++ = 0;
		*strrchr(arg, ']') = 0;
	}
	char name[1100];
	snprintf(name, sizeof name, "{\"name\":\"%s\",\"type\":\"", field);
	const char *json = lib.get_fields(), *found = strstr(json, name);
	CHECK(found, "no field %s", field);
	uint32_t id = 0;
	for (const char *p = json; (p = strstr(p, "{\"name\":\"")) && p < found; p++) {
		id++;
	}
	const char *type = found + strlen(name), *end = strstr(found + 1, "{\"name\":\"");
	char *row = strndup(found, end ? (size_t)(end - found) : strlen(found));
	a.type = type[0] == 's' ? 's' : type[0] == 'b' ? 'b' : type[0] == 'i' ? 'n' : 'u';
	a.f = (extract_field){.field_id = id, .field = field, .flist = strstr(row, "\"isList\":true") != NULL};
	if (arg) {
		a.f.arg_present = 1;
		if (strstr(row, "\"isIndex\":true")) {
			a.f.arg_index = strtoull(arg, NULL, 10);
		} else {
			a.f.arg_key = strdup(arg);
		}
	}
	free(row);
	return a;
}

static void read_asks(void) {
	char line[1024];
	while (fgets(line, sizeof line, stdin)) {
		line[strcspn(line, "\r\n")] = 0;
		if (*line) {
			CHECK(num_asks < ASKS, "too many fields");
			asks[num_asks++] = ask_of(line);
		}
	}
}

void *at_end_of_page(size_t size) {
	long page = sysconf(_SC_PAGESIZE);
	char *m = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(m != MAP_FAILED, "mmap");
	CHECK(!mprotect(m + page, page, PROT_NONE), "mprotect");
	return m + page - size;
}

extract_field ask_one(state s, const event_header *e, uint64_t num, const ask *a) {
	// The input of extract_fields as of plugin API 3.0, which ended with four functions that read tables.
	typedef struct old_input {
		extract_input in;
		void *table_reader[4];
	} old_input;
	static _Thread_local old_input *in;
	static _Thread_local event_input *evt;
	static _Thread_local extract_field *f;
	if (!in) {
		in = at_end_of_page(sizeof *in);
		evt = at_end_of_page(sizeof *evt);
		f = at_end_of_page(sizeof *f);
	}
	*f = a->f;
	f->res = (void *)1;
	f->res_len = 99;
	*evt = (event_input){.evt = e, .evtnum = num, .evtsrc = "k8s_audit"};
	in->in.num_fields = 1;
	in->in.fields = f;
	CHECK(lib.extract_fields(s, evt, &in->in) == RC_SUCCESS, "extract_fields failed");
	CHECK(f->flist || f->res_len <= 1, "%s: %lu values, but it is no list", a->text, f->res_len);
	return *f;
}

// render writes a value as text, to compare and print.
char *render(const ask *a, const extract_field *f) {
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

plugin_event *event(const char *data, uint32_t len) {
	plugin_event *e = malloc(sizeof *e + len);
	*e = (plugin_event){
		.header = {.ts = 1, .tid = ~0ull, .len = sizeof *e + len, .type = PLUGIN_EVENT_TYPE, .nparams = 2},
		.id_len = 4,
		.data_len = len,
		.id = PLUGIN_ID,
	};
	memcpy(e->data, data, len);
	return e;
}

plugin_event *event_of(const char *json) { return event(json, strlen(json)); }

void expect(state s, const event_header *e, const char *text, const char *want) {
	ask a = ask_of(text);
	extract_field f = ask_one(s, e, 1, &a);
	char *got = render(&a, &f);
	for (char *p = got; (p = strchr(p, '\x1f'));) {
		*p = '|';
	}
	CHECK(!strcmp(got, want), "%s: got %s, want %s", text, got, want);
	free(got);
}

int descriptors(void) {
	int n = 0;
	DIR *d = opendir("/proc/self/fd");
	while (readdir(d)) {
		n++;
	}
	closedir(d);
	return n;
}

uint64_t metric_of(state s, const char *name) {
	uint32_t n;
	new_host();
	metric *m = lib.get_metrics(s, &n);
	for (uint32_t i = 0; i < n; i++) {
		if (!strcmp(m[i].name, name)) {
			CHECK(m[i].value_type == 2, "metric %s is no uint64", name);
			return m[i].value.u64;
		}
	}
	FAIL("no metric %s", name);
}

double now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

double cpu(void) {
	struct rusage u;
	getrusage(RUSAGE_SELF, &u);
	return u.ru_utime.tv_sec + u.ru_stime.tv_sec + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

long max_rss(void) {
	struct rusage u;
	getrusage(RUSAGE_SELF, &u);
	return u.ru_maxrss / 1024;
}

int main(int argc, char **argv) {
	if (argc < 4 || argc > 5) {
		FAIL("usage: host LIBRARY check|strange|notices|threads|bench|latency|json|ask OPEN [ADDRESS|FIRST] < fields");
	}
	const char *what = argv[2], *params = argv[3];
	load(argv[1], strcmp(what, "json") && strcmp(what, "ask"));
	read_asks();
	if (!strcmp(what, "check")) {
		check(params);
	} else if (!strcmp(what, "strange")) {
		strange(params);
	} else if (!strcmp(what, "notices")) {
		notices(params);
	} else if (!strcmp(what, "threads") && argc == 5) {
		threads(params, argv[4]);
	} else if (!strcmp(what, "bench")) {
		bench(params, argc == 5 ? argv[4] : NULL);
	} else if (!strcmp(what, "json")) {
		json(params);
	} else if (!strcmp(what, "ask")) {
		ask_lines(params);
	} else if (!strcmp(what, "latency")) {
		latency(params);
	} else {
		FAIL("no such command: %s", what);
	}
}
