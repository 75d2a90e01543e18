/* A function's invoker, run by the worker between its own work. */
#include "runtime/turns.h"

#include "base/log.h"

int
rfl_turns_init(struct rfl_turns *t, const struct rfl_instance *function)
{
	*t = (struct rfl_turns){.ops = rfl_instance_turns(function), .function = function};
	return t->ops != NULL;
}

/* Without it the function is no worse: its invoker has a thread. */
void
rfl_turns_join(struct rfl_turns *t)
{
	struct riffle_error err = {0};
	t->is_joined = t->ops->join(t->function->self, &err) == RIFFLE_OK;
	if (!t->is_joined)
		rfl_log(RIFFLE_LOG_DEBUG, NULL, NULL,
			"function %s: its invoker works by itself: %s", t->function->name,
			err.text);
}

void
rfl_turns_leave(struct rfl_turns *t)
{
	if (t->is_joined)
		t->ops->leave(t->function->self);
	t->is_joined = 0;
}

void
rfl_turns_run(struct rfl_turns *t, int64_t *next_ns)
{
	/* What it still holds is let go of by its own thread. */
	if (t->is_joined && rfl_instance_is_quarantined(t->function, NULL))
		rfl_turns_leave(t);
	if (!t->is_joined)
		return;
	int64_t due_ns = t->ops->turn(t->function->self);
	if (due_ns < *next_ns)
		*next_ns = due_ns;
}

int
rfl_turns_fd(const struct rfl_turns *t)
{
	return t->is_joined ? t->ops->fd(t->function->self) : -1;
}
