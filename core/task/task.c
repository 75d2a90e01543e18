/* The life of a task: made where its positions say, run, drained, begun again, ended. */
#include "task/task_private.h"

#include "base/error.h"
#include "base/log.h"
#include "base/mem.h"
#include "plugin/host.h"
#include "wire/tuple.h"

#include <inttypes.h>
#include <riffle/host.h>
#include <stdlib.h>
#include <string.h>

/* Rounds of reading in one run, so that the other tasks of a worker get their turn. */
#define ROUNDS 16

int
rfl_task_is_exactly_once(const struct rfl_task *t)
{
	return t->spec->conf->guarantee == RFL_EXACTLY_ONCE;
}

int
rfl_task_holds_outputs(const struct rfl_task *t)
{
	/* Only at least once may they come again with the next attempt. */
	return t->spec->conf->outputs_at_status || t->spec->conf->guarantee != RFL_AT_LEAST_ONCE;
}

int
rfl_task_is_at_most_once(const struct rfl_task *t)
{
	return t->spec->conf->guarantee == RFL_AT_MOST_ONCE;
}

int
rfl_task_has_frontier(const struct rfl_task *t)
{
	enum rfl_window_kind kind = t->spec->conf->window.kind;
	return rfl_task_has_event_time(t) && kind >= RFL_WINDOW_TUMBLING;
}

int
rfl_task_has_cut(const struct rfl_task *t)
{
	enum rfl_window_kind kind = t->spec->conf->window.kind;
	if (kind == RFL_WINDOW_NONE)
		return 1;
	if (kind == RFL_WINDOW_COUNT)
		return !rfl_task_is_keyed(t);
	return kind == RFL_WINDOW_TUMBLING && !rfl_task_has_event_time(t);
}

static int
restore_lane(struct rfl_task *t, struct rfl_lane *lane, struct riffle_bytes metadata,
	struct riffle_bytes checkpoint, struct riffle_error *reterr)
{
	struct rfl_tuple tuple;
	int rc = rfl_tuple_decode(metadata, &tuple, reterr);
	if (rc < 0)
		return rfl_err_prefix(
			reterr, "group %s, partition %d", t->spec->conf->group, t->partition);
	if (tuple.settings != t->spec->settings)
		return rfl_err(reterr, RIFFLE_E_CONFIG,
			"the window settings of group %s were others when its position was "
			"committed: put them back, or reset the group",
			t->spec->conf->group);
	if (tuple.seq > t->seq)
		t->seq = tuple.seq;
	if (rfl_task_lets_go(t))
		memcpy(lane->committed_text, metadata.ptr, RFL_TUPLE_TEXT);
	if (!rfl_task_has_frontier(t))
		return RIFFLE_OK;
	lane->replay_to = tuple.hw;
	lane->frontier_ms = tuple.frontier_ms;
	lane->time_ms = tuple.time_ms;
	lane->is_through = lane->next >= lane->replay_to;
	if ((tuple.flags & RFL_TUPLE_OPEN_SET) && rfl_task_has_open_set(t))
		return rfl_open_restore(t, lane, metadata, reterr);
	/* At least once these sessions are made anew, as where the set was left out. */
	if ((tuple.flags & RFL_TUPLE_CHECKPOINT) && rfl_task_is_exactly_once(t))
		return rfl_checkpoint_restore(t, lane, metadata, checkpoint, reterr);
	return RIFFLE_OK;
}

/* Takes up where the group left off. The tuples of all lanes of a task were committed together. */
static int
restore(struct rfl_task *t, const struct rfl_task_lane *lanes, const struct riffle_bytes *metadata,
	struct riffle_error *reterr)
{
	for (size_t i = 0; i < t->lane_count; i++) {
		if (metadata[i].ptr == NULL || metadata[i].len == 0)
			continue;
		int rc = restore_lane(t, &t->lanes[i], metadata[i], lanes[i].checkpoint, reterr);
		if (rc < 0)
			return rc;
	}
	return RIFFLE_OK;
}

/* What a pane of the engine's held of a chunk. */
static void
drop_items(void *ctx, const struct rfl_window_item *items, size_t count)
{
	struct rfl_task *t = ctx;
	for (size_t i = 0; i < count; i++)
		rfl_store_release(t->store, rfl_item_chunk(items[i]), rfl_item_count(items[i]));
}

static void
init_lane(struct rfl_task *t, struct rfl_lane *l, const struct rfl_task_lane *at)
{
	*l = (struct rfl_lane){.at = *at,
		.next = at->low,
		.settled = at->low,
		.asked = at->low,
		.committed = at->low,
		.replay_to = at->low,
		.frontier_ms = RFL_BEFORE_MS,
		.is_through = 1,
		.time_ms = RFL_BEFORE_MS,
		.last_record_ns = rfl_clock_mono_ns(t->spec->clock)};
	l->at.checkpoint = (struct riffle_bytes){NULL, 0};
}

/* With nothing read yet; the lanes are where their positions say. */
static int
begin(struct rfl_task *t, const struct rfl_task_lane *lanes, const struct riffle_bytes *metadata,
	struct riffle_error *reterr)
{
	const struct rfl_task_spec *spec = t->spec;
	t->store = rfl_store_create(
		t->lane_count, spec->state_dir, spec->memory_bytes, spec->spill_bytes);
	if (spec->window.shape != RFL_SHAPE_NONE)
		t->window = rfl_window_create(&spec->window, drop_items, t);
	t->reading = 1;
	int rc = restore(t, lanes, metadata, reterr);
	rfl_watermark_init(t);
	return rc;
}

struct rfl_task *
rfl_task_create(const struct rfl_task_spec *spec, int32_t partition,
	const struct rfl_task_lane *lanes, const struct riffle_bytes *metadata, size_t lane_count)
{
	struct riffle_error err = {0};
	rfl_assert(lane_count > 0);
	struct rfl_task *t = rfl_zalloc(sizeof *t);
	t->magic = RFL_TASK_MAGIC;
	t->partition = partition;
	t->spec = spec;
	t->lane_count = lane_count;
	t->lanes = rfl_zalloc(lane_count * sizeof *t->lanes);
	if (spec->window.shape != RFL_SHAPE_NONE) {
		t->adds = rfl_alloc(RFL_TASK_ADDS_MAX * sizeof *t->adds);
		t->add_records = rfl_alloc(RFL_TASK_ADDS_MAX * sizeof *t->add_records);
	}
	struct rfl_list *const lists[] = {&t->groups, &t->panes, &t->streams, &t->earlies,
		&t->waiting, &t->calling, &t->publishing, &t->sides};
	for (size_t i = 0; i < RFL_COUNT(lists); i++)
		rfl_list_init(lists[i]);
	for (size_t i = 0; i < lane_count; i++)
		init_lane(t, &t->lanes[i], &lanes[i]);
	if (begin(t, lanes, metadata, &err) < 0)
		rfl_task_stop(t, err.text);
	return t;
}

static void
drop_pane(struct rfl_task *t, struct rfl_pane *p)
{
	rfl_pane_release(p, t->store);
	rfl_pane_destroy(p);
}

static void
drop_panes(struct rfl_task *t, struct rfl_list *l)
{
	struct rfl_pane *p;
	while ((p = rfl_list_first(l, struct rfl_pane, link)) != NULL)
		drop_pane(t, p);
}

/* All that it has read, and what came of it. */
static void
forget(struct rfl_task *t)
{
	struct rfl_group *g;
	for (size_t i = 0; i < t->spec->conf->output_count; i++)
		rfl_outlet_disown(t->spec->routes[i].outlet, t);
	if (t->spec->late.outlet != NULL)
		rfl_outlet_disown(t->spec->late.outlet, t);
	if (t->spec->dead_letter.outlet != NULL)
		rfl_outlet_disown(t->spec->dead_letter.outlet, t);
	while ((g = rfl_list_first(&t->groups, struct rfl_group, link)) != NULL)
		rfl_task_free_group(t, g);
	drop_panes(t, &t->streams);
	drop_panes(t, &t->earlies);
	rfl_side_let_go(t, RFL_SIDE_ALL);
	rfl_window_destroy(t->window);
	for (size_t i = 0; i < t->lane_count; i++) {
		free(t->lanes[i].admissions);
		free(t->lanes[i].open_runs);
		rfl_buf_fini(&t->lanes[i].keys);
	}
	rfl_store_destroy(t->store);
	t->window = NULL;
	t->store = NULL;
}

void
rfl_task_destroy(struct rfl_task *t)
{
	if (t == NULL)
		return;
	RFL_CHECK(t, RFL_TASK_MAGIC);
	rfl_assert(rfl_task_is_idle(t));
	forget(t);
	RFL_RETIRE(t);
	free(t->adds);
	free(t->add_records);
	free(t->lanes);
	free(t->rebuild.attempted);
	free(t->rebuild.why);
	free(t->why);
	free(t);
}

int
rfl_task_begin_again(struct rfl_task *t, struct riffle_error *reterr)
{
	RFL_CHECK(t, RFL_TASK_MAGIC);
	rfl_assert(rfl_task_is_idle(t) && !t->committing && rfl_task_lets_go(t));
	uint64_t done = t->windows_done, out = t->records_out;
	struct riffle_bytes *metadata = rfl_zalloc(t->lane_count * sizeof *metadata);
	char(*texts)[RFL_TUPLE_TEXT + 1] = rfl_zalloc(t->lane_count * sizeof *texts);
	struct rfl_task_lane *lanes = rfl_alloc(t->lane_count * sizeof *lanes);
	forget(t);
	/* Windows that it dropped are not done. */
	t->windows_done = done;
	t->records_out = out;
	for (size_t i = 0; i < t->lane_count; i++) {
		struct rfl_lane *l = &t->lanes[i];
		lanes[i] = l->at;
		lanes[i].low = l->committed;
#ifdef RFL_SABOTAGE_REBUILD_AHEAD
		lanes[i].low = l->next;
#endif
		memcpy(texts[i], l->committed_text, sizeof *texts);
		metadata[i] = (struct riffle_bytes){texts[i], strlen(texts[i])};
		init_lane(t, l, &lanes[i]);
		l->rebuilt_from = l->at.low;
	}
	t->seq = 0;
	t->is_replaying = 0;
	t->all_idle_since_ns = t->early_at_ns = 0;
	t->fires_more = 0;
	int rc = begin(t, lanes, metadata, reterr);
	free(lanes);
	free(metadata);
	free(texts);
	return rc;
}

void
rfl_task_stop(struct rfl_task *t, const char *why)
{
	RFL_CHECK(t, RFL_TASK_MAGIC);
	if (t->stopped)
		return;
	t->stopped = 1;
	t->reading = 0;
	t->why = rfl_strdup(why);
	rfl_log(RIFFLE_LOG_ERROR, "T001", t->spec->what, "partition %d stopped: %s", t->partition,
		why);
}

void
rfl_task_seal(struct rfl_task *t, const char *why)
{
	t->sealed = 1;
	rfl_task_stop(t, why);
}

static void
cancel_all(struct rfl_list *l)
{
	struct rfl_pane *p;
	rfl_list_foreach (p, l, struct rfl_pane, link) {
		if (p->call != NULL)
			rfl_call_cancel(p->call, RIFFLE_E_CANCELLED);
	}
}

/* What is open is not over, and will be read again: its calls are in vain. */
void
rfl_task_drain(struct rfl_task *t)
{
	RFL_CHECK(t, RFL_TASK_MAGIC);
	t->reading = 0;
	t->draining = 1;
	cancel_all(&t->streams);
	cancel_all(&t->earlies);
}

int
rfl_task_is_given_up(const struct rfl_task *t, const struct rfl_pane *p)
{
	return rfl_task_begins_no_more(t) && p->state == RFL_PANE_WAITING &&
	       (p->attempt > 0 || p->group == NULL);
}

/*
 * Windows behind one that will not be done hold what can never be committed: they count no more. Nor do those
 * of an end of which the engine has more, for it hands out nothing any more.
 */
int
rfl_task_is_drained(const struct rfl_task *t)
{
	const struct rfl_pane *p;
	if (t->calls_open > 0)
		return 0;
	if (t->suspended)
		return 1;
	if (t->stopped)
		return !rfl_task_is_staging(t);
	if (!rfl_list_empty(&t->sides) && !rfl_task_is_exactly_once(t))
		return 0;
	rfl_list_foreach (p, &t->panes, struct rfl_pane, link) {
		if (!p->group->is_complete || p->state != RFL_PANE_SETTLED)
			return (rfl_task_is_given_up(t, p) || !p->group->is_complete ||
				       rfl_task_waits_for_room(t)) &&
			       !rfl_task_is_staging(t);
	}
	return rfl_list_empty(&t->panes);
}

void
rfl_task_abandon(struct rfl_task *t)
{
	rfl_task_drain(t);
	t->abandoned = 1;
	t->sealed = 1;
	cancel_all(&t->panes);
}

int
rfl_task_is_idle(const struct rfl_task *t)
{
	return t->calls_open == 0;
}

void
rfl_task_note_next(int64_t *next_ns, int64_t at_ns)
{
	if (at_ns < *next_ns)
		*next_ns = at_ns;
}

/* On the clock windows end by themselves; on event time only records move it. */
static void
note_next_close(struct rfl_task *t, int64_t now_ns, int64_t now_ms, int64_t *next_ns)
{
	if (t->window == NULL || rfl_task_has_event_time(t) || !t->reading)
		return;
	int64_t close_ms = rfl_window_next_ms(t->window);
	if (close_ms == RFL_NEVER_MS)
		return;
	int64_t wait_ms = close_ms > now_ms ? close_ms - now_ms : 0;
	if (wait_ms <= INT64_MAX / 2000000)
		rfl_task_note_next(next_ns, now_ns + wait_ms * 1000000);
}

void
rfl_task_run(struct rfl_task *t, struct rfl_task_progress *progress)
{
	RFL_CHECK(t, RFL_TASK_MAGIC);
	int64_t now_ns = rfl_clock_mono_ns(t->spec->clock);
	int64_t now_ms = rfl_clock_wall_ms(t->spec->clock);
	progress->moved = 0;
	progress->next_ns = INT64_MAX;
	if (t->abandoned || t->suspended)
		return;
	if (t->spec->conf->emit_empty && !rfl_task_has_event_time(t) && t->reading)
		rfl_window_begin(t->window, now_ms);
	int rounds = 0;
	do {
		if (t->reading)
			rfl_watermark_tick(t, now_ns, now_ms, &progress->next_ns);
		if (t->reading)
			progress->moved |= rfl_task_fire(t);
		progress->moved |= rfl_attempt_run(t, now_ns, &progress->next_ns);
		if (rfl_task_admit(t, now_ns, now_ms) == 0)
			break;
		progress->moved = 1;
	} while (++rounds < ROUNDS);
	if (t->reading) {
		rfl_watermark_tick(t, now_ns, now_ms, &progress->next_ns);
		progress->moved |= rfl_task_fire(t);
		progress->moved |= rfl_task_fire_early(t, now_ns, &progress->next_ns);
	}
	progress->moved |= rfl_attempt_run(t, now_ns, &progress->next_ns);
	rfl_side_run(t, now_ns, &progress->next_ns);
	uint64_t done = t->windows_done;
	if (!rfl_task_is_exactly_once(t))
		rfl_task_settle(t);
	rfl_task_settle_rest(t);
	/* There may be room again for what was left with the provider. */
	progress->moved |= t->windows_done != done || rfl_task_can_fire(t);
	progress->moved |= rfl_rebuild_run(t, now_ns, &progress->next_ns);
	note_next_close(t, now_ns, now_ms, &progress->next_ns);
}

void
rfl_task_view(const struct rfl_task *t, struct rfl_task_view *ret_view)
{
	*ret_view = (struct rfl_task_view){
		.partition = t->partition,
		.stopped = t->stopped,
		.drained = !t->reading && !t->stopped && !t->rebuild.is_wanted &&
			   rfl_list_empty(&t->panes),
		.why = t->why,
		.windows_open = t->window ? rfl_window_open_count(t->window) : 0,
		.windows_waiting = t->pane_count,
		.calls_open = t->calls_open,
		.records_in = t->records_in,
		.records_out = t->records_out,
		.windows_done = t->windows_done,
		.retries = t->retries,
		.refused = t->refused,
		.late = t->late,
		.late_in_part = t->late_in_part,
		.dead_letters = t->dead_letters,
		.skipped = t->skipped,
		.empty = t->empty,
		.commits = t->commits,
		.rebuilds = t->rebuilds,
		.memory_bytes = rfl_task_bytes(t),
		.spilled_bytes = rfl_store_spilled(t->store),
		.next_close_ms = t->window ? rfl_window_next_ms(t->window) : RFL_NEVER_MS,
		.watermark_ms = t->watermark_ms,
		.is_replaying = t->is_replaying,
		.awaits_rebuild = t->rebuild.is_wanted,
		.held_by = t->held_by,
		.held_since_ns = t->held_since_ns,
		.lane_count = t->lane_count,
	};
	for (size_t i = 0; i < t->lane_count; i++)
		ret_view->checkpoint_bytes += t->lanes[i].checkpoint_bytes;
}

const struct rfl_task_lane *
rfl_task_lane(const struct rfl_task *t, size_t lane)
{
	return &t->lanes[lane].at;
}

struct rfl_lane_view
rfl_task_lane_view(const struct rfl_task *t, size_t lane)
{
	const struct rfl_lane *l = &t->lanes[lane];
	return (struct rfl_lane_view){.next = l->next,
		.committed = l->committed,
		.time_ms = l->time_ms,
		.is_idle = l->is_idle,
		.is_withheld = l->is_withheld};
}
