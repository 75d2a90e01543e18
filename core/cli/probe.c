/* One plugin file, loaded in a process of its own. */
#include "cli/probe.h"

#include "base/error.h"
#include "cli/child.h"
#include "plugin/plugin.h"

struct probe {
	const struct rfl_plugin_places *places;
	const char *path;
};

static int
load(void *ctx, struct rfl_buf *answer)
{
	const struct probe *p = ctx;
	struct riffle_error err = {0};
	struct rfl_plugins *plugins = rfl_plugins_create();
	int rc = rfl_plugins_load(plugins, p->places, p->path, &err);
	if (rc < 0)
		rfl_buf_puts(answer, err.text);
	return rc < 0;
}

int
rfl_probe_plugin(
	const struct rfl_plugin_places *places, const char *path, struct riffle_error *reterr)
{
	struct rfl_child child;
	struct probe probe = {.places = places, .path = path};
	int rc = RIFFLE_OK;
	rfl_child_start(&child, load, &probe);
	rfl_children_wait(&child, 1, RFL_PROBE_TIMEOUT_MS);
	if (child.end != RFL_CHILD_ANSWERED) {
		struct riffle_error why;
		rfl_err(&why, RIFFLE_E_UNSUPPORTED, "while it was loaded: %s [R03]",
			rfl_buf_str(&child.text));
		rc = rfl_plugin_refused(reterr, why.code, path, why.text);
	} else if (child.status != 0)
		rc = rfl_err(reterr, RIFFLE_E_UNSUPPORTED, "%s", rfl_buf_str(&child.text));
	rfl_child_fini(&child);
	return rc;
}
