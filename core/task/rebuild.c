/*
 * keep = no: a window's records go once its call took them, and the pane holds nothing but their position.
 * When such a call fails the task is like one that crashed: it finishes what was over before, then
 * forgets what it has read and reads again from its committed positions, behind the barrier.
 */
#include "task/task_private.h"

#include "base/error.h"
#include "base/log.h"
#include "base/mem.h"

#include <inttypes.h>
#include <riffle/backoff.h>
#include <riffle/host.h>
#include <stdlib.h>

/* Since it was rebuilt last some position has come past a record that was needed then. */
static int
has_come_on(const struct rfl_task *t)
{
	for (size_t i = 0; i < t->lane_count; i++)
		if (t->lanes[i].committed > t->lanes[i].rebuilt_from)
			return 1;
	return 0;
}

static void
cut_short(struct rfl_pane *p)
{
	if (p->call != NULL)
		rfl_call_cancel(p->call, RIFFLE_E_CANCELLED);
	else if (p->state == RFL_PANE_WAITING)
		rfl_list_remove(&p->work);
}

/* Windows before the one that failed are finished; what comes behind it could not be committed. */
static void
cut_short_behind(struct rfl_task *t, const struct rfl_pane *failed)
{
	struct rfl_pane *p;
	int is_behind = 0;
	rfl_list_foreach (p, &t->streams, struct rfl_pane, link)
		cut_short(p);
	rfl_list_foreach (p, &t->panes, struct rfl_pane, link) {
		is_behind |= p == failed;
		if (is_behind)
			cut_short(p);
	}
}

/* How long until then. */
static int64_t
set_backoff(struct rfl_task *t)
{
	const struct rfl_on_error_conf *policy = &t->spec->conf->on_error;
	struct rfl_rebuild *r = &t->rebuild;
	int64_t now_ns = rfl_clock_mono_ns(t->spec->clock);
	int64_t wait_ms = riffle_backoff_next(
		&r->backoff_ms, policy->backoff_min_ms, policy->backoff_max_ms, now_ns);
	r->at_ns = now_ns + wait_ms * 1000000;
	return wait_ms;
}

int
rfl_rebuild_want(struct rfl_task *t, struct rfl_pane *p, const struct riffle_error *err)
{
	struct rfl_rebuild *r = &t->rebuild;
	int counts = err->code != RIFFLE_E_UNAVAILABLE;
	if (has_come_on(t)) {
		r->failures = 0;
		r->backoff_ms = 0;
	}
	if (counts && r->failures > 0)
		return 0;
	r->failures += counts ? 1 : 0;
	int64_t wait_ms = set_backoff(t);
	free(r->why);
	r->why = rfl_sprintf("%s", err->text);
	r->is_wanted = 1;
	t->reading = 0;
	t->retries++;
	p->state = RFL_PANE_WAITING;
	rfl_log(RIFFLE_LOG_WARNING, "T009", t->spec->what,
		"partition %d, window %" PRId64 ": attempt %u failed: %s; its records are not "
		"kept, so the task is rebuilt from its position in %" PRId64 "ms",
		t->partition, p->start_ms, p->attempt, err->text, wait_ms);
	cut_short_behind(t, p);
	return 1;
}

static void
note_attempts(struct rfl_rebuild *r, const struct rfl_list *panes)
{
	const struct rfl_pane *p;
	rfl_list_foreach (p, panes, struct rfl_pane, link) {
		if (p->attempt == 0)
			continue;
		rfl_grow(&r->attempted, &r->attempted_room, r->attempted_count + 1,
			sizeof *r->attempted);
		r->attempted[r->attempted_count++] =
			(struct rfl_attempted){p->start_ms, p->attempt};
	}
}

uint32_t
rfl_rebuild_attempt(struct rfl_task *t, int64_t start_ms)
{
	struct rfl_rebuild *r = &t->rebuild;
	for (size_t i = 0; i < r->attempted_count; i++) {
		if (r->attempted[i].start_ms != start_ms)
			continue;
		uint32_t attempt = r->attempted[i].attempt;
		r->attempted[i] = r->attempted[--r->attempted_count];
		return attempt;
	}
	return 0;
}

static int
rewind_lanes(struct rfl_task *t, struct riffle_error *reterr)
{
	for (size_t i = 0; i < t->lane_count; i++) {
		const struct rfl_task_lane *at = &t->lanes[i].at;
		const struct riffle_position from = {.stream = at->stream,
			.partition = at->partition,
			.offset = at->low,
			.leader_epoch = at->leader_epoch};
		int rc = at->ops->source_rewind(at->source, &at->id, &from, 1, reterr);
		if (rc < 0)
			return rfl_err_prefix(reterr, "cannot go back to offset %" PRId64, at->low);
	}
	return RIFFLE_OK;
}

/* What can be committed is; what is on its way to the sinks, or in the open transaction, is there. */
static int
is_quiet(const struct rfl_task *t)
{
	if (rfl_task_is_exactly_once(t) && rfl_side_has_begun(t))
		return 0;
	return rfl_task_is_drained(t) && !t->committing && !rfl_task_can_commit(t) &&
	       !rfl_task_has_staged(t);
}

int
rfl_rebuild_run(struct rfl_task *t, int64_t now_ns, int64_t *next_ns)
{
	struct riffle_error err = {0};
	struct rfl_rebuild *r = &t->rebuild;
	if (!r->is_wanted || t->draining || t->stopped || !is_quiet(t))
		return 0;
	if (now_ns < r->at_ns) {
		rfl_task_note_next(next_ns, r->at_ns);
		return 0;
	}
	r->is_wanted = 0;
	r->attempted_count = 0;
	note_attempts(r, &t->streams);
	note_attempts(r, &t->panes);
	t->rebuilds++;
	if (rfl_task_begin_again(t, &err) < 0 || rewind_lanes(t, &err) < 0)
		rfl_task_stop(t, err.text);
	return 1;
}

static int64_t
low_of(const struct rfl_list *panes, uint32_t lane, int64_t next)
{
	const struct rfl_pane *p;
	rfl_list_foreach (p, panes, struct rfl_pane, link) {
		if (p->gone == NULL || (p->group != NULL && p->group->is_staged))
			continue;
		if (p->gone[lane].count > 0 && p->gone[lane].first < next)
			next = p->gone[lane].first;
	}
	return next;
}

int64_t
rfl_rebuild_low(const struct rfl_task *t, uint32_t lane, int64_t next)
{
	if (!rfl_task_lets_go(t))
		return next;
	return low_of(&t->panes, lane, low_of(&t->streams, lane, next));
}

static int
any_gone(const struct rfl_list *panes)
{
	const struct rfl_pane *p;
	rfl_list_foreach (p, panes, struct rfl_pane, link) {
		if (p->gone != NULL)
			return 1;
	}
	return 0;
}

int
rfl_rebuild_holds(const struct rfl_task *t)
{
	return any_gone(&t->streams) || any_gone(&t->panes);
}
