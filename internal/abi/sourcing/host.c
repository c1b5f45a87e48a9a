// SPDX-License-Identifier: Apache-2.0
//
// The way to the host: what it is asked for, and how to know what it has.

#define _GNU_SOURCE // mempcpy
#include "../abi.h"

#include <stdlib.h>
#include <string.h>

extern metric *kauditMetrics(uintptr_t handle, uint32_t *count);

// A host looks up the symbols it knows before it calls any, and one that looks up plugin_get_metrics speaks plugin API 3.5
// or later, in which it passes a logger to init (3.3). The symbol is an indirect function: looking it up calls
// find_metrics. Nothing in this library refers to it, so nobody else does.
static metric *(*find_metrics(void))(uintptr_t, uint32_t *) {
	__atomic_store_n(&metrics_known, 1, __ATOMIC_RELEASE);
	return kauditMetrics;
}

metric *plugin_get_metrics(uintptr_t handle, uint32_t *count) __attribute__((ifunc("find_metrics")));

int32_t host_handle(async_handler handler, void *owner, const event_header *e, char *error) { return handler(owner, e, error); }

// No JSON has a NUL byte, but an event of the host's may be no JSON: as in values, U+FFFD stands for it.
const char *plugin_event_to_string(uintptr_t s, const event_input *evt) {
	static const char replacement[] = "\xef\xbf\xbd";
	plugin *p = plugin_of(s);
	const char *data;
	uint64_t len, size = 1;
	if (!p || !payload_of(evt->evt, &data, &len)) {
		return "";
	}
	for (uint64_t i = 0; i < len; i++) {
		size += data[i] ? 1 : sizeof replacement - 1;
	}
	if (size > p->text_cap) {
		char *text = realloc(p->text, size);
		if (!text) {
			return "";
		}
		p->text = text;
		p->text_cap = size;
	}
	char *to = p->text;
	for (uint64_t i = 0; i < len; i++) {
		if (data[i]) {
			*to++ = data[i];
		} else {
			to = mempcpy(to, replacement, sizeof replacement - 1);
		}
	}
	*to = 0;
	return p->text;
}
