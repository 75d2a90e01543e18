/* Asking what a configuration names whether it answers: each provider for its streams, each function if it is ready. */
#ifndef RFL_CLI_ONLINE_H
#define RFL_CLI_ONLINE_H

#include "cli/common.h"

#include <jansson.h>

/*
 * All at once, each in a process of its own, for at most timeout_ms; a plugin that hangs or crashes costs its own
 * answer alone. An array of {"section", "stream" (or null), "ok", "says"}, which the caller frees; ok is null where
 * there was nothing to ask. c is loaded.
 */
json_t *rfl_online_ask(const struct rfl_common *c, int64_t timeout_ms);
/* How many of them are not ok. */
size_t rfl_online_failures(const json_t *answers);

#endif
