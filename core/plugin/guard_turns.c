/* The guard of an invoker whose work the host's worker does. */
#include "plugin/guard_private.h"

static int
g_join(void *self, struct riffle_error *reterr)
{
	struct rfl_guard *g = rfl_guard_of(self);
	if (!rfl_guard_is_open(g))
		return rfl_guard_refuse(g, reterr);
	rfl_guard_enter(g, "turns.join", NULL);
	int rc = g->plugin_turns->join(g->self, reterr);
	rfl_guard_leave();
	return rfl_guard_status(g, "turns.join", rc, 0, reterr);
}

/* What was quarantined is not waited for: its fd may be readable for ever. */
static int
g_fd(void *self)
{
	struct rfl_guard *g = rfl_guard_of(self);
	if (!rfl_guard_is_open(g))
		return -1;
	rfl_guard_enter(g, "turns.fd", NULL);
	int fd = g->plugin_turns->fd(g->self);
	rfl_guard_leave();
	if (fd < 0)
		rfl_guard_breach(g, "G02", "turns.fd", "returned %d", fd);
	return fd < 0 ? -1 : fd;
}

static int64_t
g_turn(void *self)
{
	struct rfl_guard *g = rfl_guard_of(self);
	if (!rfl_guard_is_open(g))
		return INT64_MAX;
	rfl_guard_enter(g, "turns.turn", NULL);
	int64_t next_ns = g->plugin_turns->turn(g->self);
	rfl_guard_leave();
	return next_ns;
}

/* Also of one that is called no more: its own thread may then end what it has begun, and let go of what it holds. */
static void
g_leave(void *self)
{
	struct rfl_guard *g = rfl_guard_of(self);
	rfl_guard_enter(g, "turns.leave", NULL);
	g->plugin_turns->leave(g->self);
	rfl_guard_leave();
}

void
rfl_guard_wrap_turns(struct rfl_guard *g)
{
	const struct riffle_invoker_ops *ops = &g->plugin->ops.invoker;
	if (ops->extension == NULL)
		return;
	rfl_guard_enter(g, "extension", NULL);
	const struct riffle_turns *bare = ops->extension(g->self, RIFFLE_EXT_TURNS);
	rfl_guard_leave();
	if (bare == NULL || bare->size < sizeof *bare)
		return;
	g->plugin_turns = bare;
	g->turns = (struct riffle_turns){
		.size = sizeof g->turns,
		.join = g_join,
		.fd = g_fd,
		.turn = g_turn,
		.leave = g_leave,
	};
}

const struct riffle_turns *
rfl_guard_turns(struct rfl_guard *g)
{
	RFL_CHECK(g, RFL_GUARD_MAGIC);
	return g->plugin_turns != NULL ? &g->turns : NULL;
}
