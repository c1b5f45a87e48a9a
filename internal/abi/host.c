// SPDX-License-Identifier: Apache-2.0
//
// The way to the host: what it is asked for, and how to know what it has.

#include "abi.h"

extern metric *kauditMetrics(uintptr_t handle, uint32_t *count);

// The structure that plugin_init gets has no size and no version, so nothing in it says whether log is there. But a host
// looks up the symbols it knows before it calls any, and one that looks up plugin_get_metrics speaks plugin API 3.5 or
// later, in which log is there (3.3). The symbol is an indirect function: looking it up calls find_metrics. Nothing in
// this library refers to it, so nobody else does.
static int metrics_known;

int host_has_log(void) { return __atomic_load_n(&metrics_known, __ATOMIC_ACQUIRE); }

static metric *(*find_metrics(void))(uintptr_t, uint32_t *) {
	__atomic_store_n(&metrics_known, 1, __ATOMIC_RELEASE);
	return kauditMetrics;
}

metric *plugin_get_metrics(uintptr_t handle, uint32_t *count) __attribute__((ifunc("find_metrics")));

void host_log(const init_input *from, const char *text, int32_t severity) { from->log(from->owner, NULL, text, severity); }

int32_t host_handle(async_handler handler, void *owner, const event_header *e, char *error) { return handler(owner, e, error); }

// Fields are asked of the plugin's events and of asynchronous ones. Before plugin API 3.1 the host gave no handle.
uint16_t *plugin_get_extract_event_types(uint32_t *count) {
	static uint16_t types[] = {PLUGIN_EVENT_TYPE, ASYNC_EVENT_TYPE};
	*count = sizeof types / sizeof *types;
	return types;
}
