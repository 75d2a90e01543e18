/* The guard of a provider: its own operations, and what its sources, sinks and transactions add. */
#include "plugin/guard_private.h"

#include <string.h>

static uint64_t
g_capabilities(void *self)
{
	struct rfl_guard *g = rfl_guard_of(self);
	if (!rfl_guard_is_open(g))
		return 0;
	rfl_guard_enter(g, "capabilities", NULL);
	uint64_t now = g->plugin->ops.provider.capabilities(g->self);
	rfl_guard_leave();
	return now & g->plugin->capabilities;
}

static const void *
g_extension(void *self, const char *id)
{
	struct rfl_guard *g = rfl_guard_of(self);
	if (!rfl_guard_is_open(g))
		return NULL;
	if (strcmp(id, RIFFLE_EXT_TRANSACTIONS) == 0)
		return rfl_guard_transactions(g);
	rfl_guard_enter(g, "extension", NULL);
	const void *found = g->plugin->ops.provider.extension(g->self, id);
	rfl_guard_leave();
	return found;
}

static int
g_provision(void *self, const struct riffle_stream *stream, struct riffle_error *reterr)
{
	struct rfl_guard *g = rfl_guard_of(self);
	if (!rfl_guard_is_open(g))
		return rfl_guard_refuse(g, reterr);
	rfl_guard_enter(g, "provision", NULL);
	int rc = g->plugin->ops.provider.provision(g->self, stream, reterr);
	rfl_guard_leave();
	return rfl_guard_status(g, "provision", rc, 0, reterr);
}

static int
g_describe(void *self, const struct riffle_stream *stream, struct riffle_stream_info *ret_info,
	struct riffle_error *reterr)
{
	struct rfl_guard *g = rfl_guard_of(self);
	if (!rfl_guard_is_open(g))
		return rfl_guard_refuse(g, reterr);
	rfl_guard_enter(g, "describe", NULL);
	int rc = g->plugin->ops.provider.describe(g->self, stream, ret_info, reterr);
	rfl_guard_leave();
	return rfl_guard_status(g, "describe", rc, 0, reterr);
}

static int
g_remove(void *self, const struct riffle_stream *stream, struct riffle_error *reterr)
{
	struct rfl_guard *g = rfl_guard_of(self);
	if (!rfl_guard_is_open(g))
		return rfl_guard_refuse(g, reterr);
	rfl_guard_enter(g, "remove", NULL);
	int rc = g->plugin->ops.provider.remove(g->self, stream, reterr);
	rfl_guard_leave();
	return rfl_guard_status(g, "remove", rc, 0, reterr);
}

static void
g_destroy(void *self)
{
	struct rfl_guard *g = rfl_guard_of(self);
	if (!rfl_guard_is_open(g))
		return;
	rfl_guard_enter(g, "destroy", NULL);
	g->plugin->ops.provider.destroy(g->self);
	rfl_guard_leave();
}

void
rfl_guard_wrap_provider(struct rfl_guard *g)
{
	const struct riffle_provider_ops *bare = &g->plugin->ops.provider;
	g->ops.provider = (struct riffle_provider_ops){
		.size = sizeof g->ops.provider,
		.destroy = g_destroy,
		.capabilities = g_capabilities,
		.extension = bare->extension ? g_extension : NULL,
		.provision = bare->provision ? g_provision : NULL,
		.describe = bare->describe ? g_describe : NULL,
		.remove = bare->remove ? g_remove : NULL,
	};
	if (bare->source_open != NULL)
		rfl_guard_wrap_source(&g->ops.provider);
	if (bare->sink_open != NULL)
		rfl_guard_wrap_sink(&g->ops.provider, bare->sink_flush != NULL);
}
