// SPDX-License-Identifier: Apache-2.0
//
// The way to the host's logger, and whether it has one.

#include "abi.h"

// The structure that plugin_init gets has no size and no version, so nothing in it says whether log is there. A part of
// the library that learns how new the host is says so here (sourcing/host.c).
int metrics_known;

int host_has_log(void) { return __atomic_load_n(&metrics_known, __ATOMIC_ACQUIRE); }

void host_log(const init_input *from, const char *text, int32_t severity) { from->log(from->owner, NULL, text, severity); }
