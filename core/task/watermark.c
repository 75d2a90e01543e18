/*
 * How far the windows' clock has come. On processing time it is the clock of the host. On event time it is
 * the least, over the lanes that are not idle, of their largest time less the disorder that is allowed;
 * it never goes back, restarts included. While a task reads again what its predecessor had read, it
 * stands still: a window fires only when all of its old records are back.
 */
#include "task/task_private.h"

#include <riffle/abi.h>

#define NS_PER_MS INT64_C(1000000)
/* What a provider says of a lane's end counts for so long. */
#define FRESH_NS (INT64_C(3000) * NS_PER_MS)

static int64_t
lane_mark(const struct rfl_task *t, const struct rfl_lane *l)
{
	return l->time_ms == RFL_BEFORE_MS ? RFL_BEFORE_MS
					   : l->time_ms - t->spec->conf->max_disorder_ms;
}

/* The lane that holds it back: the least of those that are not idle; -1 = all of them are. */
static int32_t
holder(const struct rfl_task *t)
{
	int32_t least = -1;
	for (size_t i = 0; i < t->lane_count; i++)
		if (!t->lanes[i].is_idle &&
			(least < 0 || lane_mark(t, &t->lanes[i]) < lane_mark(t, &t->lanes[least])))
			least = (int32_t)i;
	return least;
}

static void
advance(struct rfl_task *t)
{
	int32_t by = holder(t);
	if (t->is_replaying || by < 0)
		return;
	int64_t mark = lane_mark(t, &t->lanes[by]);
	if (by != t->held_by || mark > t->watermark_ms) {
		t->held_by = by;
		t->held_since_ns = rfl_clock_mono_ns(t->spec->clock);
	}
	if (mark > t->watermark_ms)
		t->watermark_ms = mark;
}

/* What was committed of all lanes was committed together, so the frontier is the newest of theirs. */
void
rfl_watermark_init(struct rfl_task *t)
{
	t->watermark_ms = RFL_BEFORE_MS;
	t->held_by = -1;
	for (size_t i = 0; i < t->lane_count; i++) {
		struct rfl_lane *l = &t->lanes[i];
#ifndef RFL_SABOTAGE_NO_BARRIER
		t->is_replaying |= !l->is_through;
#endif
		if (l->frontier_ms > t->watermark_ms)
			t->watermark_ms = l->frontier_ms;
	}
	t->asked_frontier_ms = t->committed_frontier_ms = t->watermark_ms;
	if (rfl_task_has_frontier(t))
		rfl_window_restore(t->window, t->watermark_ms);
	if (rfl_task_has_event_time(t))
		advance(t);
}

void
rfl_watermark_record(struct rfl_task *t, struct rfl_lane *lane, int64_t time_ms)
{
	if (time_ms <= lane->time_ms)
		return;
	lane->time_ms = time_ms;
	/* Only the lane that held it back lets it go on; alone, that is always the one. */
	if (t->lane_count == 1 || t->held_by < 0 || lane == &t->lanes[t->held_by])
		advance(t);
}

#ifdef RFL_SABOTAGE_ONE_W
int64_t rfl_sabotage_w_ms = RFL_BEFORE_MS;
#endif

int64_t
rfl_watermark_closed(const struct rfl_task *t, const struct rfl_lane *lane, int64_t offset)
{
	if (!rfl_task_has_event_time(t))
		return RFL_BEFORE_MS;
#ifdef RFL_SABOTAGE_ONE_W
	if (t->watermark_ms > rfl_sabotage_w_ms)
		rfl_sabotage_w_ms = t->watermark_ms;
	return rfl_sabotage_w_ms;
#endif
	if (offset >= lane->replay_to)
		return t->watermark_ms;
	/* The first record of an open session may lie further back than W less the gap. */
	return t->spec->conf->window.kind == RFL_WINDOW_SESSION ? RFL_BEFORE_MS : lane->frontier_ms;
}

/* Where the provider stands with a lane of which we have everything it gave. 1 = it said so just now. */
static int
lane_state(const struct rfl_lane *l, int64_t now_ns, struct riffle_lane_state *ret)
{
	*ret = (struct riffle_lane_state){.size = sizeof *ret};
	if (l->at.ops->lane_state == NULL ||
		l->at.ops->lane_state(l->at.source, l->at.id, ret) != RIFFLE_OK)
		return 0;
	return ret->as_of_ns > 0 && now_ns - ret->as_of_ns <= FRESH_NS;
}

void
rfl_watermark_through(struct rfl_task *t, struct rfl_lane *lane)
{
	lane->is_through = 1;
	for (size_t i = 0; i < t->lane_count; i++)
		if (!t->lanes[i].is_through)
			return;
	t->is_replaying = 0;
	advance(t);
}

int
rfl_watermark_is_at_end(const struct rfl_lane *l, int64_t now_ns)
{
	struct riffle_lane_state state;
	return l->is_dry && l->chunk == NULL && lane_state(l, now_ns, &state) && state.flags == 0 &&
	       state.position >= state.log_end;
}

/* Offsets have gaps: the last ones before replay_to may not be records, so none comes that shows it. */
static void
look_through(struct rfl_task *t, int64_t now_ns)
{
	for (size_t i = 0; i < t->lane_count; i++) {
		struct rfl_lane *l = &t->lanes[i];
		struct riffle_lane_state state;
		int ends = l->next >= l->replay_to ||
			   (l->is_dry && l->chunk == NULL && lane_state(l, now_ns, &state) &&
				   state.position >= l->replay_to);
		if (!l->is_through && ends)
			rfl_watermark_through(t, l);
	}
}

/*
 * Idle is who has no more, as the provider itself says, and was read as fast as we could: not who is
 * slow, held back by us, failing, or behind somebody's open transaction.
 */
static void
look_idle(struct rfl_task *t, struct rfl_lane *l, int64_t now_ns, int64_t *next_ns)
{
	int64_t due_ns = l->last_record_ns + t->spec->conf->idle_after_ms * NS_PER_MS;
	if (!l->is_dry || l->is_withheld || l->chunk != NULL) {
		l->is_idle = 0;
		return;
	}
	if (now_ns < due_ns) {
		rfl_task_note_next(next_ns, due_ns);
		return;
	}
	/* Also of one that was idle: it may have begun to fail, or have something that it does not give. */
	l->is_idle = rfl_watermark_is_at_end(l, now_ns);
	if (!l->is_idle)
		rfl_task_note_next(next_ns, now_ns + 1000 * NS_PER_MS);
}

/* Nothing comes any more: what is open is closed by the wall, after a while. */
static void
look_all_idle(struct rfl_task *t, int64_t now_ns, int64_t *next_ns)
{
	int64_t wait_ms = t->spec->conf->close_after_idle_ms;
	int64_t last_ms = t->window ? rfl_window_last_ms(t->window) : RFL_BEFORE_MS;
	for (size_t i = 0; i < t->lane_count; i++)
		if (!t->lanes[i].is_idle) {
			t->all_idle_since_ns = 0;
			return;
		}
	if (t->all_idle_since_ns == 0)
		t->all_idle_since_ns = now_ns;
	t->held_by = -1;
	if (wait_ms < 0 || last_ms == RFL_BEFORE_MS || last_ms <= t->watermark_ms)
		return;
	int64_t due_ns = t->all_idle_since_ns + wait_ms * NS_PER_MS;
	if (now_ns >= due_ns)
		t->watermark_ms = last_ms;
	else
		rfl_task_note_next(next_ns, due_ns);
}

void
rfl_watermark_tick(struct rfl_task *t, int64_t now_ns, int64_t now_ms, int64_t *next_ns)
{
	if (t->is_replaying)
		look_through(t, now_ns);
	if (!rfl_task_has_event_time(t)) {
		if (!t->is_replaying && now_ms > t->watermark_ms)
			t->watermark_ms = now_ms;
		return;
	}
	for (size_t i = 0; i < t->lane_count; i++)
		look_idle(t, &t->lanes[i], now_ns, next_ns);
	if (t->is_replaying)
		return;
	advance(t);
	look_all_idle(t, now_ns, next_ns);
}
