/* Loading a plugin file where it can do no harm: a constructor that crashes or hangs is a refusal like others. */
#ifndef RFL_CLI_PROBE_H
#define RFL_CLI_PROBE_H

#include "conf/model.h"

#include <riffle/abi.h>

#define RFL_PROBE_TIMEOUT_MS 10000

/* In a child process. OK, or the refusal as rfl_plugins_load words it, with its code. */
int rfl_probe_plugin(
	const struct rfl_plugin_places *places, const char *path, struct riffle_error *reterr);

#endif
