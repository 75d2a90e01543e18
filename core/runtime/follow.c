/*
 * Inputs on other providers than the first one's follow the partitions that this one, the leader, assigns.
 * Their sources are opened with these partitions, so when they change the sources are closed, once no task
 * reads them, and opened again: somebody else may have gone on with the positions meanwhile.
 */
#include "base/error.h"
#include "runtime/processor_private.h"

static int
leader_has(const struct rfl_processor *p, enum rfl_lane_state state)
{
	const struct rfl_source *leader = &p->sources[0];
	for (size_t i = 0; i < leader->lane_count; i++)
		if (leader->lanes[i].state == state)
			return 1;
	return 0;
}

static int
has_open_follower(const struct rfl_processor *p)
{
	for (uint32_t i = 1; i < p->source_count; i++)
		if (p->sources[i].source != NULL)
			return 1;
	return 0;
}

static void
open_followers(struct rfl_processor *p)
{
	struct riffle_error err;
	for (uint32_t i = 1; i < p->source_count; i++)
		if (rfl_processor_open_source(p, &p->sources[i], &err) < 0) {
			rfl_processor_fail(p, &err);
			return;
		}
}

void
rfl_processor_lanes_changed(struct rfl_processor *p, const struct rfl_source *s)
{
	struct riffle_error err;
	if (s != &p->sources[0]) {
		/* What it was opened with is its own for as long as it is open. */
		for (size_t i = 0; i < s->lane_count && !s->is_closing; i++)
			if (s->lanes[i].state == RFL_LANE_RELEASING) {
				rfl_err(&err, RIFFLE_E_UNAVAILABLE,
					"provider %s took back partitions of an input that follows "
					"another",
					s->instance->name);
				rfl_processor_fail(p, &err);
				return;
			}
	} else if (has_open_follower(p)) {
		p->follows_old = 1;
	} else if (leader_has(p, RFL_LANE_ASSIGNED)) {
		open_followers(p);
	}
}

/* 1 = only some partitions changed. The tasks of the others would lose their followers: all is opened again. */
static int
refuse_part(struct rfl_processor *p)
{
	struct riffle_error err;
	if (!leader_has(p, RFL_LANE_STARTED))
		return 0;
	rfl_err(&err, RIFFLE_E_UNAVAILABLE,
		"some partitions of the first input changed, and inputs on other providers follow "
		"all of "
		"them together");
	rfl_processor_fail(p, &err);
	return 1;
}

int
rfl_processor_follow(struct rfl_processor *p)
{
	if (!p->follows_old || refuse_part(p))
		return p->follows_old;
	if (p->task_count > 0 || rfl_processor_is_committing(p))
		return 0;
	for (uint32_t i = 1; i < p->source_count; i++)
		rfl_source_close(&p->sources[i]);
	for (uint32_t i = 1; i < p->source_count; i++)
		if (!p->sources[i].is_closed)
			return 0;
	for (uint32_t i = 1; i < p->source_count; i++)
		rfl_source_fini(&p->sources[i]);
	p->follows_old = 0;
	if (leader_has(p, RFL_LANE_ASSIGNED))
		open_followers(p);
	return 1;
}
