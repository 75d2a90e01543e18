/* A process: its tasks, what it commits and how, and how it ends. Does what core/runtime does. */
#include "model.h"

#include "base/error.h"
#include "base/mem.h"
#include "task/pane.h"

#include <inttypes.h>
#include <string.h>

#ifdef RFL_SABOTAGE_ONE_W
#include "task/task_private.h"
#endif

/* The model follows what enters windows, and in which order. */
static struct world *world;
void __real_rfl_window_add(struct rfl_window *w, struct rfl_window_record *records, size_t count);
void __wrap_rfl_window_add(struct rfl_window *w, struct rfl_window_record *records, size_t count);

/* A record counts for the watermark before it enters: the windows that it ends go out first. */
static void
look_ahead(struct m_task *t, int input)
{
	const struct m_lane *l = m_lane(t->at->w, input, t->partition);
	struct rfl_lane_view v = rfl_task_lane_view(t->task, (size_t)input);
	for (int i = m_place(l, v.next); i < t->next[input]; i++) {
		const struct m_record *m = &l->list[i];
		if (m->kind == M_FOREIGN || m->kind == M_FUTURE)
			continue;
		if (m->time_ms == v.time_ms && m->time_ms > t->ref.lanes[input].time_ms)
			t->ref.lanes[input].time_ms = m->time_ms;
		return;
	}
}

static void
look(struct m_task *t, const struct rfl_task_view *v)
{
	int is_idle[M_INPUTS] = {0};
	for (int i = 0; i < t->ref.lane_count; i++)
		is_idle[i] = rfl_task_lane_view(t->task, (size_t)i).is_idle;
	int64_t before = t->ref.watermark_ms, now_ms = rfl_clock_wall_ms(&t->at->w->clock);
	ref_look(&t->ref, is_idle, v->is_replaying, now_ms);
	if (t->ref.is->has_event_time)
		ref_follow(&t->ref, v->watermark_ms);
	/* Which of a key's records is the first of its window is the task's to say. */
	if (t->ref.is->shape == REF_COUNT && v->watermark_ms >= before &&
		v->watermark_ms < t->ref.watermark_ms && t->ref.all_idle_since_ms != REF_NEVER)
		t->ref.watermark_ms = v->watermark_ms;
}

/* Only while it runs: between, it has not looked itself. */
void
m_look(struct m_task *t)
{
	struct rfl_task_view v;
	if (t->at->w->running != t)
		return;
	for (int i = 0; i < t->ref.lane_count && t->ref.is->has_event_time; i++)
		look_ahead(t, i);
	rfl_task_view(t->task, &v);
	look(t, &v);
}

static void
follow(struct m_task *t, const struct rfl_window_record *r)
{
	struct world *w = t->at->w;
	const struct rfl_chunk *c = rfl_item_chunk(r->item);
	const struct riffle_record *at = riffle_batch_at(c->batch, rfl_item_index(r->item));
	const struct m_id id = m_id_of(at);
	const struct m_record *m = &w->lanes[id.lane].list[id.record];
	int input = (int)id.lane / M_PARTITIONS;
	if (t->ref.count == REF_ENTRIES_MAX)
		m_fail(w, "a task admits more than there is");
	if (m->kind == M_FOREIGN || m->kind == M_FUTURE)
		m_fail(w, "record %d/%d/%d enters, and should be refused", input, t->partition,
			(int)id.record);
	int64_t time_ms = w->settings.has_event_time ? m->time_ms : rfl_clock_wall_ms(&w->clock);
	const struct ref_entry *e =
		ref_admit(&t->ref, input, (int)id.record, at->offset, time_ms, m->key);
	m_trace(w, "    %d/%d/%d enters, time %" PRId64 ", W %" PRId64 "%s", input, t->partition,
		(int)id.record, time_ms, e->closed_ms, e->is_late ? ", late" : "");
	if (r->time_ms != time_ms ||
		r->closed_ms != (e->closed_ms == REF_NEVER ? RFL_BEFORE_MS : e->closed_ms))
		m_object(w,
			"record %d/%d/%d is judged by time %" PRId64 " and watermark %" PRId64
			", should be %" PRId64 " and %" PRId64,
			input, t->partition, (int)id.record, r->time_ms, r->closed_ms, time_ms,
			e->closed_ms);
}

void
__wrap_rfl_window_add(struct rfl_window *w, struct rfl_window_record *records, size_t count)
{
	struct m_task *t = world->running;
	struct rfl_task_view v;
	rfl_task_view(t->task, &v);
	look(t, &v);
	int first = t->ref.count;
	for (size_t i = 0; i < count; i++)
		follow(t, &records[i]);
	__real_rfl_window_add(w, records, count);
	for (size_t i = 0; i < count; i++) {
		const struct ref_entry *e = &t->ref.list[first + (int)i];
		if ((records[i].accepted == 0) != e->is_late)
			m_object(world, "record %d/%d/%d is %s", e->lane, t->partition, e->record,
				e->is_late ? "late, and no one says so"
					   : "called late, and is not");
	}
}

void
m_instance_open(struct world *w, int which)
{
	struct m_instance *at = &w->instances[which];
	const struct ref_settings *s = &w->settings;
	world = w;
	at->w = w;
	rfl_outlet_init(&at->outlet, &m_provider_ops, at, w->conf.guarantee == RFL_EXACTLY_ONCE);
	at->route = (struct rfl_route){.outlet = &at->outlet, .content_type = "text/plain"};
	at->spec = (struct rfl_task_spec){
		.conf = &w->conf,
		.clock = &w->clock,
		.what = "processor x",
		.callee = {.ops = &m_invoker_ops,
			.self = at,
			.mailbox = w->mailbox,
			.spec = &w->call_spec},
		.window = {.shape = (enum rfl_window_shape)s->shape,
			.size_ms = w->conf.window.size_ms,
			.slide_ms = s->slide_ms,
			.max_ms = s->max_ms,
			.count = s->count,
			.offset_ms = s->offset_ms,
			.forgets_items = !w->conf.keep},
		.settings = 42,
		.routes = &at->route,
		.late = {.outlet = &at->outlet, .sink_stream = 1, .content_type = "text/plain"},
		.dead_letter = {.outlet = &at->outlet,
			.sink_stream = 2,
			.content_type = "text/plain"},
		.memory_bytes = w->memory_bytes,
		.spill_bytes = w->spill_bytes,
		.state_dir = "/tmp",
		.position_chars = w->position_chars,
		.checkpoint = {.outlet = w->has_checkpoint ? &at->outlet : NULL,
			.sink_stream = M_CHECKPOINT},
		.checkpoint_bytes = w->checkpoint_bytes,
	};
	for (int p = 0; p < M_PARTITIONS; p++)
		at->tasks[p] = (struct m_task){.at = at, .partition = p};
}

/*
 * Windows behind W were not committed: what missed one of them, and was read before all the same, is in it
 * this time. Of sessions W says nothing, but the open set does, if there is one.
 */
static void
judge_again(struct world *w, struct m_lane *l)
{
	const struct ref_settings *s = &w->settings;
	int64_t starts[REF_WINDOWS_MAX];
	for (int i = m_place(l, l->committed); i < l->count; i++) {
		struct m_record *m = &l->list[i];
		if (m->offset >= l->committed_hw || !m->is_final || l->has_open_set)
			continue;
		if (l->committed_frontier < m->closed_ms)
			m->closed_ms = l->committed_frontier;
		if (s->shape == REF_SESSION)
			m->is_late = 0;
		else
			m->is_late = m->is_late &&
				     starts[ref_windows(s, m->time_ms, starts) - 1] + s->size_ms <=
					     m->closed_ms;
	}
}

static void
drop_warm(struct m_task *t)
{
	if (t->warm == NULL)
		return;
	rfl_task_abandon(t->warm);
	rfl_task_destroy(t->warm);
	t->warm = NULL;
}

/* Lanes come back to a task that was set aside: 1 = it goes on. */
static int
resume(struct m_task *t, const struct rfl_task_lane *lanes, const struct riffle_bytes *metadata)
{
	struct world *w = t->at->w;
	struct rfl_task_view v;
	if (t->warm == NULL)
		return 0;
	if (!rfl_task_resume(t->warm, lanes, metadata, (size_t)w->input_count)) {
		m_trace(w, "    somebody else went on");
		drop_warm(t);
		return 0;
	}
	m_trace(w, "    it goes on from memory");
	t->task = t->warm;
	t->warm = NULL;
	for (int i = 0; i < w->input_count; i++) {
		struct m_lane *l = m_lane(w, i, t->partition);
		t->next[i] = m_place(l, rfl_task_reads_from(t->task, (size_t)i));
		for (int k = 0; k < l->count; k++) {
			l->list[k].is_late = t->finals[i][k].is_late;
			l->list[k].closed_ms = t->finals[i][k].closed_ms;
		}
	}
	rfl_task_view(t->task, &v);
	look(t, &v);
	return 1;
}

/* As the positions say, and with nothing read yet. */
static void
begin_from_positions(struct m_task *t)
{
	struct world *w = t->at->w;
	int has_frontier = w->settings.has_event_time && w->settings.shape >= REF_TUMBLING;
	ref_start(&t->ref, &w->settings, w->input_count);
	t->watermark_ms = INT64_MIN;
	for (int i = 0; i < w->input_count; i++) {
		struct m_lane *l = m_lane(w, i, t->partition);
		t->next[i] = m_place(l, l->committed);
		if (has_frontier && l->metadata[0] != '\0')
			ref_restore(&t->ref, i, l->committed_hw, l->committed_frontier,
				l->committed_time);
		if (has_frontier)
			judge_again(w, l);
	}
}

void
m_task_open(struct m_instance *at, int partition)
{
	struct world *w = at->w;
	struct m_task *t = &at->tasks[partition];
	struct rfl_task_lane lanes[M_INPUTS];
	struct riffle_bytes metadata[M_INPUTS];
	struct rfl_task_view v;
	m_trace(w, "  instance %d takes task %d", (int)(at - w->instances), partition);
	for (int i = 0; i < w->input_count; i++) {
		struct m_lane *l = m_lane(w, i, partition);
		lanes[i] = (struct rfl_task_lane){.ops = &m_provider_ops,
			.source = t,
			.id = (uint32_t)(l - w->lanes),
			.input = (uint32_t)i,
			.stream = (uint32_t)i,
			.partition = partition,
			.low = l->committed,
			.topic = m_topic(i),
			.checkpoint = {l->checkpoint, l->checkpoint_len}};
		metadata[i] = (struct riffle_bytes){l->metadata, strlen(l->metadata)};
	}
	if (resume(t, lanes, metadata))
		return;
	begin_from_positions(t);
	t->rebuilds = 0;
	t->task = rfl_task_create(&at->spec, partition, lanes, metadata, (size_t)w->input_count);
	rfl_task_view(t->task, &v);
	if (v.stopped)
		m_fail(w, "the task does not begin: %s", v.why);
	look(t, &v);
}

int
m_is_quiet(const struct m_instance *at)
{
	const struct ref_settings *s = &at->w->settings;
	for (int p = 0; p < at->w->partition_count; p++) {
		struct rfl_task_view v;
		if (at->tasks[p].task == NULL)
			continue;
		rfl_task_view(at->tasks[p].task, &v);
		if (v.windows_waiting > 0 ||
			(v.windows_open > 0 && (s->shape != REF_COUNT || s->size_ms > 0)))
			return 0;
	}
	return 1;
}

void
m_explain(struct m_instance *at)
{
	for (int p = 0; p < at->w->partition_count; p++) {
		const struct rfl_task *t = at->tasks[p].task;
		struct rfl_task_view v;
		if (t == NULL)
			continue;
		rfl_task_view(t, &v);
		m_trace(at->w,
			"  task %d: %" PRIu64 " open, %" PRIu64 " waiting, %" PRIu64
			" calls, %zu bytes, %" PRId64 " in the file, W %" PRId64 "%s, held by %d",
			p, v.windows_open, v.windows_waiting, v.calls_open, v.memory_bytes,
			v.spilled_bytes, v.watermark_ms, v.is_replaying ? ", replaying" : "",
			v.held_by);
		for (size_t i = 0; i < v.lane_count; i++) {
			struct rfl_lane_view l = rfl_task_lane_view(t, i);
			m_trace(at->w, "    lane %zu: next %" PRId64 ", time %" PRId64 "%s%s", i,
				l.next, l.time_ms, l.is_idle ? ", idle" : "",
				l.is_withheld ? ", withheld" : "");
		}
	}
}

int
m_deliver(struct world *w)
{
	int moved = rfl_mailbox_deliver(w->mailbox);
	return moved;
}

void
m_task_close(struct m_task *t)
{
	struct world *w = t->at->w;
	rfl_task_abandon(t->task);
	while (!rfl_task_is_idle(t->task))
		if (!m_deliver(w))
			m_fail(w, "a call that was cancelled does not end");
	rfl_task_destroy(t->task);
	t->task = NULL;
}

/* Its lanes are revoked: it is set aside, or goes. */
static void
revoke(struct m_task *t)
{
	struct world *w = t->at->w;
	if (!rfl_task_suspend(t->task)) {
		m_task_close(t);
		return;
	}
	while (!rfl_task_is_idle(t->task))
		if (!m_deliver(w))
			m_fail(w, "a call that was cancelled does not end");
	t->warm = t->task;
	t->task = NULL;
	for (int i = 0; i < w->input_count; i++) {
		const struct m_lane *l = m_lane(w, i, t->partition);
		for (int k = 0; k < l->count; k++)
			t->finals[i][k] =
				(struct m_final){l->list[k].is_late, l->list[k].closed_ms};
	}
}

static void
forget_process(void)
{
#ifdef RFL_SABOTAGE_ONE_W
	rfl_sabotage_w_ms = INT64_MIN;
#endif
}

void
m_instance_close(struct m_instance *at)
{
	for (int p = 0; p < at->w->partition_count; p++) {
		drop_warm(&at->tasks[p]);
		if (at->tasks[p].task != NULL)
			m_task_close(&at->tasks[p]);
	}
	rfl_outlet_fini(&at->outlet);
	m_drop_all(&at->pending);
	forget_process();
}

/* Idle is who has no more, as the provider says. */
static void
check_idle(struct m_task *t)
{
	struct world *w = t->at->w;
	for (int i = 0; i < w->input_count; i++) {
		const struct m_lane *l = m_lane(w, i, t->partition);
		if (rfl_task_lane_view(t->task, (size_t)i).is_idle &&
			(t->next[i] < l->available || l->flags != 0))
			m_object(w, "lane %d/%d counts as idle, and is not read to its end", i,
				t->partition);
	}
}

/* While it reads again nothing moves; that ends when each lane has come past what was read before. */
static void
check_barrier(struct m_task *t, const struct rfl_task_view *v)
{
	struct world *w = t->at->w;
	for (int i = 0; i < w->input_count && !v->is_replaying; i++) {
		const struct m_lane *l = m_lane(w, i, t->partition);
		int64_t position =
			t->next[i] < l->available ? l->list[t->next[i]].offset : m_log_end(l);
		if (t->ref.lanes[i].hw > position)
			m_object(w,
				"the task goes on, and lane %d/%d has not come past what was read "
				"before",
				i, t->partition);
	}
}

/* 1 = it did something. */
static int
run_task(struct m_task *t)
{
	struct world *w = t->at->w;
	struct rfl_task_progress progress;
	struct rfl_task_view v;
	w->running = t;
	rfl_task_run(t->task, &progress);
	w->running = NULL;
	rfl_task_view(t->task, &v);
	if (v.rebuilds > t->rebuilds) {
		m_trace(w, "    task %d is rebuilt", t->partition);
		w->crashes++;
		t->rebuilds = v.rebuilds;
		begin_from_positions(t);
	}
	if (v.stopped) {
		if (w->conf.on_error.then != RFL_ON_ERROR_STOP &&
			w->conf.delivery != RFL_STREAMING && !w->refuses_aside)
			m_fail(w, "the task stopped: %s", v.why);
		return progress.moved;
	}
	/* One that stops, or will be rebuilt, does not look at its lanes any more. */
	if (t->at->is_stopping || v.awaits_rebuild)
		return progress.moved;
	if (w->settings.shape == REF_NONE || !w->settings.has_event_time) {
		look(t, &v);
		return progress.moved;
	}
	check_idle(t);
	check_barrier(t, &v);
	look(t, &v);
	if (v.watermark_ms != t->ref.watermark_ms)
		m_object(w, "the watermark of task %d is %" PRId64 ", should be %" PRId64,
			t->partition, v.watermark_ms, t->ref.watermark_ms);
	if (v.watermark_ms < t->watermark_ms)
		m_object(w, "the watermark goes back");
	t->watermark_ms = v.watermark_ms;
	return progress.moved;
}

/* An operator looks after what stopped: the function is mended, and the process started again. */
static void
look_after(struct m_instance *at)
{
	for (int p = 0; p < at->w->partition_count; p++) {
		struct rfl_task_view v;
		if (at->tasks[p].task == NULL)
			continue;
		rfl_task_view(at->tasks[p].task, &v);
		if (!v.stopped)
			continue;
		m_trace(at->w, "    stopped: %s", v.why);
		at->w->is_healed = 1;
		at->w->stops++;
		m_crash(at);
		return;
	}
}

int
m_run(struct m_instance *at)
{
	int moved = 0;
	for (int p = 0; p < at->w->partition_count; p++)
		if (at->tasks[p].task != NULL)
			moved |= run_task(&at->tasks[p]);
	look_after(at);
	return moved;
}

static int
deliver_finished(struct m_instance *at)
{
	struct rfl_send *s;
	int moved = 0;
	while ((s = rfl_outlet_next(&at->outlet)) != NULL) {
		if (s->owner != NULL)
			rfl_task_sent(s->owner, s);
		rfl_send_free(s);
		moved = 1;
	}
	return moved;
}

static void
push(struct m_instance *at)
{
	struct riffle_error err = {0};
	if (rfl_outlet_push(&at->outlet, &err) < 0)
		m_fail(at->w, "the outlet is broken: %s", err.text);
}

static void
tell(struct m_instance *at, uint64_t tag, int status)
{
	struct world *w = at->w;
	struct riffle_error err = {0};
	/* What is not kept is called again but once. */
	int is_retriable = status == RIFFLE_E_UNAVAILABLE ||
			   (status != RIFFLE_OK && w->conf.keep && m_chance(w, 2));
	const struct riffle_sent sent = {.status = status};
	const struct riffle_event ev = {.size = sizeof ev,
		.type = RIFFLE_EV_SENT,
		.tag = tag,
		.sent = &sent,
		.count = 1,
		.sent_size = sizeof sent,
		.error = {.code = status,
			.flags = is_retriable ? RIFFLE_ERR_RETRIABLE : 0,
			.text = "refused"}};
	if (rfl_outlet_sent(&at->outlet, &ev, &err) < 0)
		m_fail(w, "the outlet is broken: %s", err.text);
}

static void
answer_send(struct m_instance *at, struct rfl_send *s)
{
	struct world *w = at->w;
	for (uint32_t left = s->taken - s->answered; left > 0; left--) {
		const struct riffle_record *r = riffle_batch_at(s->batch, s->answered);
		int status = RIFFLE_OK;
		if (m_is_refused(w, r))
			status = RIFFLE_E_DATA;
		else if (w->refuses && !w->is_ending && m_chance(w, 8))
			status = RIFFLE_E_UNAVAILABLE;
		if (status == RIFFLE_OK)
			m_write(w, r);
		tell(at, s->tag, status);
	}
}

/* The sink says what it refused of the open transaction, sooner or later; before its end all of it. */
static void
tell_refusals(struct m_instance *at, int all)
{
	while (at->untold_count > 0 && (all || m_chance(at->w, 2))) {
		m_trace(at->w, "    a record is refused");
		tell(at, at->untold[--at->untold_count], RIFFLE_E_DATA);
	}
}

int
m_acknowledge(struct m_instance *at)
{
	struct rfl_send *s, *next;
	if (at->outlet.transactional)
		return 0;
	push(at);
	rfl_list_foreach_safe (s, next, &at->outlet.sends, struct rfl_send, link) {
		if (!at->w->is_ending && m_chance(at->w, 3))
			break;
		answer_send(at, s);
	}
	return deliver_finished(at);
}

static int
any_task(const struct m_instance *at, int (*is)(const struct rfl_task *))
{
	for (int p = 0; p < at->w->partition_count; p++)
		if (at->tasks[p].task != NULL && is(at->tasks[p].task))
			return 1;
	return 0;
}

static void
begin_commit(struct m_instance *at)
{
	at->position_count = 0;
	for (int p = 0; p < at->w->partition_count; p++) {
		struct rfl_task *t = at->tasks[p].task;
		if (t == NULL || !rfl_task_can_commit(t))
			continue;
		at->position_count += rfl_task_positions(
			t, 0, &at->positions[at->position_count], &at->texts[at->position_count]);
		rfl_task_commit_begin(t);
	}
	at->committing = 1;
}

static void
end_commit(struct m_instance *at, int is_committed)
{
	at->committing = 0;
	for (int p = 0; p < at->w->partition_count; p++) {
		struct rfl_task *t = at->tasks[p].task;
		if (t == NULL || !rfl_task_is_committing(t))
			continue;
		if (is_committed)
			rfl_task_commit_done(t);
		else
			rfl_task_commit_undone(t);
	}
}

/* What was asked for is there, whether the instance learns of it or not. */
static void
commit_is_there(struct m_instance *at)
{
	m_trace(at->w, "    committed");
	m_count_all(at->w, &at->pending);
	m_apply_positions(at);
}

static void
abort_transaction(struct m_instance *at)
{
	m_trace(at->w, "    aborted");
	at->txn = M_TXN_NONE;
	at->untold_count = 0;
	m_drop_all(&at->pending);
	end_commit(at, 0);
	rfl_outlet_drop(&at->outlet);
	for (int p = 0; p < at->w->partition_count; p++)
		if (at->tasks[p].task != NULL)
			rfl_task_commit_undone(at->tasks[p].task);
	for (size_t i = 0; i < at->outlet.refusal_count; i++)
		for (int p = 0; p < at->w->partition_count; p++)
			if (at->tasks[p].task != NULL)
				at->w->handed_back += rfl_task_refused(
					at->tasks[p].task, &at->outlet.refusals[i]);
}

static int
stage(struct m_instance *at)
{
	int moved = 0;
	for (int round = 0; round < 4; round++) {
		int begin_more = at->w->is_ending || !m_chance(at->w, 8);
		for (int p = 0; p < at->w->partition_count; p++)
			if (at->tasks[p].task != NULL)
				rfl_task_stage(at->tasks[p].task, begin_more);
		push(at);
		moved |= deliver_finished(at);
	}
	return moved;
}

/* It can only be aborted. */
static int
is_spoiled(struct m_instance *at)
{
	return at->outlet.txn_error.code != 0 || (!at->w->is_ending && m_chance(at->w, 12));
}

static int
commit_transaction(struct m_instance *at)
{
	struct world *w = at->w;
	int moved = 1;
	switch (at->txn) {
	case M_TXN_NONE:
		if (!any_task(at, rfl_task_can_stage) && !any_task(at, rfl_task_can_commit))
			return 0;
		at->txn = M_TXN_OPEN;
		rfl_outlet_begin(&at->outlet);
		break;
	case M_TXN_OPEN:
		moved = stage(at);
		tell_refusals(at, w->is_ending);
		if (is_spoiled(at)) {
			abort_transaction(at);
			break;
		}
		if (any_task(at, rfl_task_is_staging) || !any_task(at, rfl_task_can_commit))
			return moved;
		begin_commit(at);
		at->txn = M_TXN_CLOSING;
		break;
	case M_TXN_CLOSING:
		push(at);
		deliver_finished(at);
		tell_refusals(at, w->is_ending);
		if (is_spoiled(at))
			abort_transaction(at);
		else if (rfl_list_empty(&at->outlet.sends))
			at->txn = M_TXN_ENDING;
		break;
	case M_TXN_ENDING:
		tell_refusals(at, 1);
		if (is_spoiled(at)) {
			abort_transaction(at);
			break;
		}
		commit_is_there(at);
		at->txn = M_TXN_NONE;
		end_commit(at, 1);
		break;
	}
	return moved;
}

int
m_commit(struct m_instance *at)
{
	struct world *w = at->w;
	if (at->outlet.transactional)
		return commit_transaction(at);
	if (!at->committing) {
		if (!any_task(at, rfl_task_can_commit))
			return 0;
		begin_commit(at);
		return 1;
	}
	int is_refused = !w->is_ending && m_chance(w, 12);
	if (!is_refused)
		commit_is_there(at);
	else
		m_trace(w, "    the commit is refused");
	end_commit(at, !is_refused);
	return 1;
}

/* Of what is under way nobody will learn how it ended. */
static void
leave_commit(struct m_instance *at)
{
	int is_asked = at->committing;
	if (at->outlet.transactional)
		is_asked = at->txn == M_TXN_ENDING && at->untold_count == 0;
	if (is_asked && m_chance(at->w, 2))
		commit_is_there(at);
	at->txn = M_TXN_NONE;
	at->committing = 0;
	at->untold_count = 0;
	m_drop_all(&at->pending);
}

static void
leave_sends(struct m_instance *at)
{
	struct rfl_send *s;
	if (at->outlet.transactional)
		return;
	rfl_list_foreach (s, &at->outlet.sends, struct rfl_send, link)
		for (uint32_t i = s->answered; i < s->taken; i++)
			if (m_chance(at->w, 2))
				m_write(at->w, riffle_batch_at(s->batch, i));
}

void
m_crash(struct m_instance *at)
{
	struct world *w = at->w;
	int had[M_PARTITIONS] = {0};
	m_trace(w, "  instance %d crashes", (int)(at - w->instances));
	w->crashes++;
	leave_commit(at);
	leave_sends(at);
	forget_process();
	for (int p = 0; p < w->partition_count; p++) {
		had[p] = at->tasks[p].task != NULL;
		drop_warm(&at->tasks[p]);
		if (had[p])
			m_task_close(&at->tasks[p]);
	}
	rfl_outlet_drop(&at->outlet);
	for (int p = 0; p < w->partition_count; p++)
		if (had[p])
			m_task_open(at, p);
}

static int
is_drained(const struct m_instance *at)
{
	for (int p = 0; p < at->w->partition_count; p++) {
		const struct rfl_task *t = at->tasks[p].task;
		if (t != NULL && (!rfl_task_is_drained(t) || rfl_task_can_commit(t)))
			return 0;
	}
	return !at->committing && at->txn == M_TXN_NONE;
}

/* What is closing is finished and committed, as far as that goes within a while. */
void
m_stop(struct m_instance *at)
{
	struct world *w = at->w;
	m_trace(w, "  instance %d stops", (int)(at - w->instances));
	for (int p = 0; p < w->partition_count; p++)
		if (at->tasks[p].task != NULL)
			rfl_task_drain(at->tasks[p].task);
	at->is_stopping = 1;
	for (int i = 0; i < 40 && !is_drained(at); i++) {
		for (int p = 0; p < w->partition_count; p++)
			if (at->tasks[p].task != NULL)
				run_task(&at->tasks[p]);
		m_deliver(w);
		m_answer(w);
		m_deliver(w);
		m_acknowledge(at);
		m_commit(at);
	}
	at->is_stopping = 0;
	m_crash(at);
}

/*
 * A revoked task is set aside as it is; a transaction that holds something of it is aborted before. Its lanes may
 * come back to where they were.
 */
void
m_move(struct world *w, int partition, struct m_instance *to)
{
	struct m_instance *from = to == &w->instances[0] ? &w->instances[1] : &w->instances[0];
	if (from->tasks[partition].task == NULL)
		from = to;
	if (from->tasks[partition].task == NULL)
		return;
	m_trace(w, "  task %d is revoked", partition);
	w->crashes++;
	if (from->txn == M_TXN_OPEN || from->txn == M_TXN_CLOSING) {
		abort_transaction(from);
	} else if (from->committing) {
		int is_committed = from->untold_count == 0 && m_chance(w, 2);
		if (is_committed)
			commit_is_there(from);
		if (from->txn == M_TXN_ENDING && !is_committed)
			abort_transaction(from);
		from->txn = M_TXN_NONE;
		end_commit(from, is_committed);
	}
	revoke(&from->tasks[partition]);
	m_task_open(to, partition);
}
