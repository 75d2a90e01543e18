/* The life of a task: windows fire, calls begin and end, failures meet the error policy. */
#include "task/task_private.h"

#include "base/error.h"
#include "base/log.h"
#include "base/mem.h"
#include "plugin/host.h"
#include "wire/tuple.h"

#include <inttypes.h>
#include <riffle/backoff.h>
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
		&t->waiting, &t->calling, &t->sides};
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

/* It failed, and is not called again by a task that drains, or is rebuilt. */
static int
is_given_up(const struct rfl_task *t, const struct rfl_pane *p)
{
	return rfl_task_begins_no_more(t) && p->state == RFL_PANE_WAITING &&
	       (p->attempt > 0 || p->group == NULL);
}

/* Windows behind one that will not be done hold what can never be committed: they count no more. */
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
		if (p->state != RFL_PANE_SETTLED)
			return (is_given_up(t, p) || rfl_task_waits_for_room(t)) &&
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
rfl_task_fault(struct rfl_pane *p, const struct riffle_error *err)
{
	if (p->fault.code == 0)
		p->fault = *err;
	if (p->call != NULL)
		rfl_call_cancel(p->call, RIFFLE_E_CANCELLED);
}

static int64_t
function_now_ns(const struct rfl_task *t)
{
	return rfl_clock_mono_ns(
		t->spec->function_clock ? t->spec->function_clock : t->spec->clock);
}

void
rfl_task_feed(struct rfl_task *t, struct rfl_pane *p)
{
	struct riffle_error err = {0};
	int was_ended = rfl_call_is_ended(p->call);
	size_t held = p->items.count;
	int rc = rfl_call_push(p->call, &err);
	if (p->lets_go && p->items.count < held)
		t->taken_ns = rfl_clock_mono_ns(t->spec->clock);
	if (rc < 0) {
		rfl_task_fault(p, &err);
		return;
	}
	int64_t limit_ms = t->spec->conf->function->timeout_ms;
	if (!was_ended && rfl_call_is_ended(p->call) && limit_ms > 0)
		rfl_call_set_deadline(p->call, function_now_ns(t) + limit_ms * 1000000);
}

void
rfl_task_pane_waits(struct rfl_task *t, struct rfl_pane *p)
{
	p->state = RFL_PANE_WAITING;
	rfl_list_remove(&p->work);
	rfl_list_append(&t->waiting, &p->work);
}

static void
begin_call(struct rfl_task *t, struct rfl_pane *p)
{
	struct riffle_error err = {0};
	p->attempt++;
	t->taken_ns = rfl_clock_mono_ns(t->spec->clock);
	p->fault.code = 0;
#ifndef RFL_SABOTAGE_NO_STATUS
	rfl_pane_drop_outputs(p);
#endif
	rfl_list_remove(&p->work);
	int rc = rfl_call_begin(&t->spec->callee, t, p, t->store, &p->call, &err);
	if (rc < 0) {
		rfl_task_pane_failed(t, p, &err);
		return;
	}
	p->state = RFL_PANE_CALLING;
	rfl_list_append(&t->calling, &p->work);
	t->calls_open++;
	rfl_call_read(p->call, RFL_TASK_CREDIT_BYTES);
	rfl_task_feed(t, p);
}

static void
check_deadline(struct rfl_task *t, struct rfl_pane *p)
{
	struct riffle_error err = {0};
	if (function_now_ns(t) < rfl_call_deadline_ns(p->call))
		return;
	rfl_err_retriable(&err, RIFFLE_E_TIMEOUT,
		"the function did not end within timeout = %" PRId64 "ms of its input",
		t->spec->conf->function->timeout_ms);
	p->fault = err;
	rfl_call_cancel(p->call, RIFFLE_E_TIMEOUT);
}

void
rfl_task_note_next(int64_t *next_ns, int64_t at_ns)
{
	if (at_ns < *next_ns)
		*next_ns = at_ns;
}

/* At most once: what is called has been committed before, so that no crash brings it again. */
static int
may_be_called(const struct rfl_task *t, const struct rfl_pane *p)
{
	if (!rfl_task_is_at_most_once(t) || p->is_early)
		return p->sends_open == 0;
	/* While its window is open more may come that is not committed yet. */
	if (p->group == NULL)
		return 0;
	for (size_t i = 0; i < t->lane_count; i++)
		if (t->lanes[i].committed < p->group->cut[i].next)
			return 0;
	return 1;
}

/* Windows that are over and wait, be it for their next attempt: these calls are theirs. */
static uint32_t
calls_wanted(const struct rfl_task *t)
{
	const struct rfl_pane *p;
	uint32_t n = 0;
	if (t->spec->conf->delivery != RFL_STREAMING)
		return 0;
	rfl_list_foreach (p, &t->waiting, struct rfl_pane, work)
		n += p->group != NULL && !is_given_up(t, p);
	return n;
}

/*
 * In the order in which they became due, as many as may be open. An open window, whose call may last as
 * long as nothing comes, takes none that one needs which is over.
 */
static int
begin_calls(struct rfl_task *t, int64_t now_ns, int64_t *next_ns)
{
	struct rfl_pane *p, *after;
	int moved = 0;
	if (t->stopped)
		return 0;
	rfl_list_foreach_safe (p, after, &t->waiting, struct rfl_pane, work) {
		if (t->calls_open >= t->spec->conf->calls)
			break;
		if (is_given_up(t, p) || !may_be_called(t, p))
			continue;
		if (now_ns < p->retry_at_ns) {
			rfl_task_note_next(next_ns, p->retry_at_ns);
			continue;
		}
		if (p->is_open && t->calls_open + calls_wanted(t) >= t->spec->conf->calls)
			continue;
		begin_call(t, p);
		moved = 1;
	}
	return moved;
}

/* By the task's clock. */
static int64_t
deadline_ns(const struct rfl_task *t, const struct rfl_pane *p)
{
	int64_t at_ns = rfl_call_deadline_ns(p->call);
	if (at_ns == INT64_MAX || t->spec->function_clock == NULL)
		return at_ns;
	return at_ns - function_now_ns(t) + rfl_clock_mono_ns(t->spec->clock);
}

static int
run_panes(struct rfl_task *t, int64_t now_ns, int64_t *next_ns)
{
	struct rfl_pane *p;
	int moved = begin_calls(t, now_ns, next_ns);
	rfl_list_foreach (p, &t->calling, struct rfl_pane, work) {
		check_deadline(t, p);
		rfl_task_note_next(next_ns, deadline_ns(t, p));
	}
	return moved;
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
		progress->moved |= run_panes(t, now_ns, &progress->next_ns);
		if (rfl_task_admit(t, now_ns, now_ms) == 0)
			break;
		progress->moved = 1;
	} while (++rounds < ROUNDS);
	if (t->reading) {
		rfl_watermark_tick(t, now_ns, now_ms, &progress->next_ns);
		progress->moved |= rfl_task_fire(t);
		progress->moved |= rfl_task_fire_early(t, now_ns, &progress->next_ns);
	}
	progress->moved |= run_panes(t, now_ns, &progress->next_ns);
	rfl_side_run(t, now_ns, &progress->next_ns);
	uint64_t done = t->windows_done;
	if (!rfl_task_is_exactly_once(t))
		rfl_task_settle(t);
	rfl_task_settle_rest(t);
	/* There may be room again for what was left with the provider. */
	progress->moved |= t->windows_done != done;
	progress->moved |= rfl_rebuild_run(t, now_ns, &progress->next_ns);
	note_next_close(t, now_ns, now_ms, &progress->next_ns);
}

static void
wait_for_retry(struct rfl_task *t, struct rfl_pane *p, const struct riffle_error *err)
{
	const struct rfl_on_error_conf *policy = &t->spec->conf->on_error;
	int64_t now_ns = rfl_clock_mono_ns(t->spec->clock);
	int64_t wait_ms = riffle_backoff_next(
		&p->backoff_ms, policy->backoff_min_ms, policy->backoff_max_ms, now_ns);
	p->retry_at_ns = now_ns + wait_ms * 1000000;
	rfl_task_pane_waits(t, p);
	t->retries++;
	rfl_log(RIFFLE_LOG_WARNING, "T002", t->spec->what,
		"partition %d, window %" PRId64 ": attempt %u failed: %s; again in %" PRId64 "ms",
		t->partition, p->start_ms, p->attempt, err->text, wait_ms);
}

static void
skip_window(struct rfl_task *t, struct rfl_pane *p, const struct riffle_error *err)
{
	rfl_log(RIFFLE_LOG_WARNING, "T004", t->spec->what,
		"partition %d, window %" PRId64 ": skipped after attempt %u: %s", t->partition,
		p->start_ms, p->attempt, err->text);
	t->skipped++;
	rfl_pane_drop_outputs(p);
	p->state = RFL_PANE_DONE;
	p->group->done++;
}

static void
dead_letter(struct rfl_task *t, struct rfl_pane *p, const struct riffle_error *err)
{
	struct riffle_error why = {0};
	rfl_log(RIFFLE_LOG_WARNING, "T006", t->spec->what,
		"partition %d, window %" PRId64 ": its %" PRIu64
		" records are dead letters after attempt %u: %s",
		t->partition, p->start_ms, p->record_count, p->attempt, err->text);
	rfl_pane_drop_outputs(p);
	if (rfl_side_dead_letters(t, p, err, &why) < 0) {
		rfl_task_pane_waits(t, p);
		rfl_task_stop(t, why.text);
		return;
	}
	p->state = RFL_PANE_DONE;
	p->group->done++;
	if (!rfl_task_is_exactly_once(t))
		rfl_task_publish(t, p);
}

static void
give_up(struct rfl_task *t, struct rfl_pane *p, const struct riffle_error *err)
{
	if (t->spec->conf->on_error.then == RFL_ON_ERROR_SKIP)
		skip_window(t, p, err);
	else
		dead_letter(t, p, err);
}

static void
stop_at(struct rfl_task *t, struct rfl_pane *p, const struct riffle_error *err)
{
	struct riffle_error why = *err;
	rfl_err_prefix(&why, "window %" PRId64 ", attempt %u", p->start_ms, p->attempt);
	rfl_task_pane_waits(t, p);
	rfl_task_stop(t, why.text);
}

void
rfl_task_pane_failed(struct rfl_task *t, struct rfl_pane *p, const struct riffle_error *err)
{
	const struct rfl_on_error_conf *policy = &t->spec->conf->on_error;
	int away = err->code == RIFFLE_E_UNAVAILABLE;
	/* The invoker is finished, which says nothing about the window: no policy may skip it. */
	int finished = err->code == RIFFLE_E_FATAL;
	struct riffle_error once_more;
	rfl_list_remove(&p->work);
	if ((t->draining && p->group == NULL) || t->rebuild.is_wanted) {
		p->state = p->is_early ? RFL_PANE_DONE : RFL_PANE_WAITING;
		return;
	}
	if (p->is_early) {
		rfl_log(RIFFLE_LOG_WARNING, "T007", t->spec->what,
			"partition %d, window %" PRId64 ": an early pane failed: %s", t->partition,
			p->start_ms, err->text);
		p->state = RFL_PANE_DONE;
		return;
	}
	int again = away || ((err->flags & RIFFLE_ERR_RETRIABLE) && p->failures < policy->retries);
	if (again && p->gone != NULL && !t->draining) {
		if (rfl_rebuild_want(t, p, err))
			return;
		again = 0;
		once_more = *err;
		rfl_err_prefix(&once_more,
			"it failed again before any position moved, and its records are not kept "
			"(keep = no)");
		err = &once_more;
	}
	if (again) {
		p->failures += away ? 0 : 1;
		wait_for_retry(t, p, err);
	} else if (finished || policy->then == RFL_ON_ERROR_STOP) {
		stop_at(t, p, err);
	} else if (p->is_open) {
		/* Not all of it is known yet. */
		p->gives_up = 1;
		p->fault = *err;
		p->state = RFL_PANE_WAITING;
	} else {
		give_up(t, p, err);
	}
}

void
rfl_task_give_up(struct rfl_task *t, struct rfl_pane *p)
{
	const struct riffle_error err = p->fault;
	give_up(t, p, &err);
}

void
rfl_task_publish_failed(struct rfl_task *t, struct rfl_pane *p, const struct riffle_error *err)
{
	if (p->gives_up)
		return;
	p->gives_up = 1;
	if (t->spec->conf->on_error.then == RFL_ON_ERROR_STOP) {
		p->group->done--;
		stop_at(t, p, err);
		return;
	}
	rfl_log(RIFFLE_LOG_WARNING, "T008", t->spec->what,
		"partition %d, window %" PRId64 ": %s; at most once it is not tried again",
		t->partition, p->start_ms, err->text);
	t->skipped++;
}

void
rfl_task_call_output(struct rfl_task *t, struct rfl_pane *p, struct riffle_batch *b)
{
	RFL_CHECK(t, RFL_TASK_MAGIC);
	struct riffle_error err = {0};
	size_t bytes = 0;
	if (t->abandoned || rfl_call_is_cancelled(p->call)) {
		rfl_batch_unref(b);
		return;
	}
	int rc = rfl_task_keep_output(t, p, b, &bytes, &err);
	rfl_batch_unref(b);
	if (rc < 0) {
		rfl_task_fault(p, &err);
		return;
	}
	if (!rfl_task_holds_outputs(t))
		rfl_task_publish(t, p);
	else if (p->output_bytes > (size_t)t->spec->conf->max_outputs_bytes) {
		rfl_err(&err, RIFFLE_E_DATA,
			"the outputs of one window exceed max-outputs = %" PRId64 " bytes",
			t->spec->conf->max_outputs_bytes);
		rfl_task_fault(p, &err);
		return;
	}
	rfl_call_read(p->call, bytes);
}

void
rfl_task_call_writable(struct rfl_task *t, struct rfl_pane *p)
{
	RFL_CHECK(t, RFL_TASK_MAGIC);
	if (!t->abandoned && p->call != NULL)
		rfl_task_feed(t, p);
}

/* An early look is not missed; all others are called again from what is kept. */
static void
called_in_vain(struct rfl_task *t, struct rfl_pane *p)
{
	p->fault.code = 0;
	if (p->is_early) {
		rfl_pane_drop_outputs(p);
		p->state = RFL_PANE_DONE;
		return;
	}
	rfl_task_pane_waits(t, p);
}

void
rfl_task_call_done(
	struct rfl_task *t, struct rfl_pane *p, int status, const struct riffle_error *err)
{
	RFL_CHECK(t, RFL_TASK_MAGIC);
	int was_ended = rfl_call_is_ended(p->call);
	rfl_call_destroy(p->call);
	p->call = NULL;
	rfl_list_remove(&p->work);
	t->calls_open--;
	if (t->abandoned)
		return;
	/* However it ended: what it said from here on was not taken. */
	if (t->suspended) {
		called_in_vain(t, p);
		return;
	}
	struct riffle_error why = {0};
	if (p->fault.code != 0) {
		why = p->fault;
	} else if (status != RIFFLE_OK) {
		why = *err;
		why.code = status;
		if (why.text[0] == '\0')
			rfl_err_fill(&why, status, err->flags, "the function failed: %s",
				rfl_status_name(status));
	} else if (!was_ended && p->is_open) {
		rfl_err(&why, RIFFLE_E_DATA, "the function ended before its window");
	}
	if (why.code != 0) {
		rfl_task_pane_failed(t, p, &why);
		return;
	}
	p->state = RFL_PANE_DONE;
	if (p->group != NULL)
		p->group->done++;
	if (!rfl_task_is_exactly_once(t))
		rfl_task_publish(t, p);
}

uint32_t
rfl_task_calls_due(const struct rfl_task *t)
{
	const struct rfl_pane *p;
	uint32_t n = 0;
	rfl_list_foreach (p, &t->calling, struct rfl_pane, work)
		n += !p->is_open;
	return n;
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
