/* The life of a task: windows fire, calls begin and end, failures meet the error policy. */
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
	return t->spec->conf->outputs_at_status || rfl_task_is_exactly_once(t);
}

/* Takes up where the group left off. The tuples of all lanes of a task were committed together. */
static int
restore(struct rfl_task *t, const struct riffle_bytes *metadata, struct riffle_error *reterr)
{
	for (size_t i = 0; i < t->lane_count; i++) {
		struct rfl_tuple tuple;
		if (metadata[i].ptr == NULL || metadata[i].len == 0)
			continue;
		int rc = rfl_tuple_decode(metadata[i], &tuple, reterr);
		if (rc < 0)
			return rfl_err_prefix(reterr, "group %s, partition %d",
				t->spec->conf->group, t->partition);
		if (tuple.settings != t->spec->settings)
			return rfl_err(reterr, RIFFLE_E_CONFIG,
				"the window settings of group %s were others when its position was "
				"committed: put them back, or reset the group",
				t->spec->conf->group);
		if (tuple.seq > t->seq)
			t->seq = tuple.seq;
	}
	return RIFFLE_OK;
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
	t->reading = 1;
	t->window = rfl_window_create(&spec->window);
	rfl_list_init(&t->panes);
	for (size_t i = 0; i < lane_count; i++) {
		int64_t low = lanes[i].low;
		t->lanes[i] = (struct rfl_lane){.at = lanes[i],
			.next = low,
			.settled = low,
			.asked = low,
			.committed = low};
	}
	if (restore(t, metadata, &err) < 0)
		rfl_task_stop(t, err.text);
	return t;
}

void
rfl_task_destroy(struct rfl_task *t)
{
	struct rfl_pane *p;
	if (t == NULL)
		return;
	RFL_CHECK(t, RFL_TASK_MAGIC);
	rfl_assert(rfl_task_is_idle(t));
	RFL_RETIRE(t);
	for (size_t i = 0; i < t->spec->conf->output_count; i++)
		rfl_outlet_disown(t->spec->routes[i].outlet, t);
	while ((p = rfl_list_first(&t->panes, struct rfl_pane, link)) != NULL)
		rfl_pane_destroy(p);
	rfl_pane_destroy(t->open);
	rfl_window_destroy(t->window);
	free(t->lanes);
	free(t->why);
	free(t);
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
drop_open(struct rfl_task *t)
{
	rfl_pane_destroy(t->open);
	t->open = NULL;
}

void
rfl_task_drain(struct rfl_task *t)
{
	RFL_CHECK(t, RFL_TASK_MAGIC);
	t->reading = 0;
	t->draining = 1;
	drop_open(t);
}

/* It failed, and is not called again by a task that drains. */
static int
is_given_up(const struct rfl_task *t, const struct rfl_pane *p)
{
	return t->draining && p->state == RFL_PANE_WAITING && p->attempt > 0;
}

/* Windows behind one that will not be done hold what can never be committed: they count no more. */
int
rfl_task_is_drained(const struct rfl_task *t)
{
	const struct rfl_pane *p;
	if (t->open != NULL || t->calls_open > 0)
		return 0;
	if (t->stopped)
		return !rfl_task_is_staging(t);
	rfl_list_foreach (p, &t->panes, struct rfl_pane, link) {
		if (p->state != RFL_PANE_SETTLED)
			return is_given_up(t, p) && !rfl_task_is_staging(t);
	}
	return rfl_list_empty(&t->panes);
}

void
rfl_task_abandon(struct rfl_task *t)
{
	struct rfl_pane *p;
	rfl_task_drain(t);
	t->abandoned = 1;
	t->sealed = 1;
	rfl_list_foreach (p, &t->panes, struct rfl_pane, link) {
		if (p->call != NULL)
			rfl_call_cancel(p->call, RIFFLE_E_CANCELLED);
	}
}

int
rfl_task_is_idle(const struct rfl_task *t)
{
	return t->calls_open == 0;
}

/* The open window, which is over, takes its place behind those that were over before. */
static void
close_pane(struct rfl_task *t, const struct rfl_window_pane *window)
{
	struct rfl_pane *p = t->open;
	t->open = NULL;
	if (p == NULL)
		return;
	rfl_pane_close(p, window);
	for (size_t i = 0; i < t->lane_count; i++)
		p->cut[i] = t->lanes[i].next;
	rfl_list_append(&t->panes, &p->link);
#ifdef RFL_SABOTAGE_COMMIT_FIRST
	for (size_t i = 0; i < t->lane_count; i++)
		t->lanes[i].settled = p->cut[i];
#endif
}

static void
fire(struct rfl_task *t, int64_t now_ms)
{
	struct rfl_window_pane window;
	while (rfl_window_fire(t->window, now_ms, &window))
		close_pane(t, &window);
}

void
rfl_task_fault(struct rfl_pane *p, const struct riffle_error *err)
{
	if (p->fault.code == 0)
		p->fault = *err;
	if (p->call != NULL)
		rfl_call_cancel(p->call, RIFFLE_E_CANCELLED);
}

static void
feed(struct rfl_task *t, struct rfl_pane *p, int64_t now_ns)
{
	struct riffle_error err = {0};
	int was_ended = rfl_call_is_ended(p->call);
	int rc = rfl_call_push(p->call, &err);
	if (rc < 0) {
		rfl_task_fault(p, &err);
		return;
	}
	int64_t limit_ms = t->spec->conf->function->timeout_ms;
	if (!was_ended && rfl_call_is_ended(p->call) && limit_ms > 0)
		rfl_call_set_deadline(p->call, now_ns + limit_ms * 1000000);
}

static void
begin_call(struct rfl_task *t, struct rfl_pane *p, int64_t now_ns)
{
	struct riffle_error err = {0};
	p->attempt++;
	p->fault.code = 0;
	rfl_pane_drop_outputs(p);
	int rc = rfl_call_begin(&t->spec->callee, t, p, &p->call, &err);
	if (rc < 0) {
		rfl_task_pane_failed(t, p, &err);
		return;
	}
	p->state = RFL_PANE_CALLING;
	t->calls_open++;
	rfl_call_read(p->call, RFL_TASK_CREDIT_BYTES);
	feed(t, p, now_ns);
}

static void
check_deadline(struct rfl_task *t, struct rfl_pane *p, int64_t now_ns)
{
	struct riffle_error err = {0};
	if (now_ns < rfl_call_deadline_ns(p->call))
		return;
	rfl_err_retriable(&err, RIFFLE_E_TIMEOUT,
		"the function did not end within timeout = %" PRId64 "ms of its input",
		t->spec->conf->function->timeout_ms);
	p->fault = err;
	rfl_call_cancel(p->call, RIFFLE_E_TIMEOUT);
}

static void
earliest(int64_t *next_ns, int64_t at_ns)
{
	if (at_ns < *next_ns)
		*next_ns = at_ns;
}

/* Calls in frontier order, as many as may be open. */
static int
run_panes(struct rfl_task *t, int64_t now_ns, int64_t *next_ns)
{
	struct rfl_pane *p;
	int moved = 0;
	rfl_list_foreach (p, &t->panes, struct rfl_pane, link) {
		if (p->state == RFL_PANE_WAITING && p->sends_open == 0 && !t->stopped &&
			!is_given_up(t, p) && t->calls_open < t->spec->conf->calls) {
			if (now_ns >= p->retry_at_ns) {
				begin_call(t, p, now_ns);
				moved = 1;
			} else {
				earliest(next_ns, p->retry_at_ns);
			}
		}
		if (p->state == RFL_PANE_CALLING) {
			check_deadline(t, p, now_ns);
			earliest(next_ns, rfl_call_deadline_ns(p->call));
		}
	}
	return moved;
}

static void
note_next_close(struct rfl_task *t, int64_t now_ns, int64_t now_ms, int64_t *next_ns)
{
	int64_t close_ms = rfl_window_next_ms(t->window);
	if (close_ms == RFL_NEVER_MS || t->open == NULL)
		return;
	int64_t wait_ms = close_ms > now_ms ? close_ms - now_ms : 0;
	earliest(next_ns, wait_ms > INT64_MAX / 2000000 ? INT64_MAX : now_ns + wait_ms * 1000000);
}

void
rfl_task_run(struct rfl_task *t, struct rfl_task_progress *progress)
{
	RFL_CHECK(t, RFL_TASK_MAGIC);
	int64_t now_ns = rfl_clock_mono_ns(t->spec->clock);
	int64_t now_ms = rfl_clock_wall_ms(t->spec->clock);
	progress->moved = 0;
	progress->next_ns = INT64_MAX;
	if (t->abandoned)
		return;
	int rounds = 0;
	do {
		fire(t, now_ms);
		progress->moved |= run_panes(t, now_ns, &progress->next_ns);
		if (rfl_task_admit(t, now_ms) == 0)
			break;
		progress->moved = 1;
	} while (++rounds < ROUNDS);
	fire(t, now_ms);
	progress->moved |= run_panes(t, now_ns, &progress->next_ns);
	if (!rfl_task_is_exactly_once(t))
		rfl_task_settle(t);
	note_next_close(t, now_ns, now_ms, &progress->next_ns);
}

static int64_t
next_backoff_ms(const struct rfl_on_error_conf *policy, int64_t last_ms)
{
	int64_t next = last_ms == 0 ? policy->backoff_min_ms : last_ms * 2;
	return next > policy->backoff_max_ms ? policy->backoff_max_ms : next;
}

static void
wait_for_retry(struct rfl_task *t, struct rfl_pane *p, const struct riffle_error *err)
{
	p->backoff_ms = next_backoff_ms(&t->spec->conf->on_error, p->backoff_ms);
	p->retry_at_ns = rfl_clock_mono_ns(t->spec->clock) + p->backoff_ms * 1000000;
	p->state = RFL_PANE_WAITING;
	t->retries++;
	rfl_log(RIFFLE_LOG_WARNING, "T002", t->spec->what,
		"partition %d, window %" PRId64 ": attempt %u failed: %s; again in %" PRId64 "ms",
		t->partition, p->window.start_ms, p->attempt, err->text, p->backoff_ms);
}

void
rfl_task_pane_failed(struct rfl_task *t, struct rfl_pane *p, const struct riffle_error *err)
{
	const struct rfl_on_error_conf *policy = &t->spec->conf->on_error;
	int away = err->code == RIFFLE_E_UNAVAILABLE;
	/* The invoker is finished, which says nothing about the window: no policy may skip it. */
	int finished = err->code == RIFFLE_E_FATAL;
	if (away || ((err->flags & RIFFLE_ERR_RETRIABLE) && p->failures < policy->retries)) {
		p->failures += away ? 0 : 1;
		wait_for_retry(t, p, err);
		return;
	}
	if (policy->then == RFL_ON_ERROR_SKIP && !finished) {
		rfl_log(RIFFLE_LOG_WARNING, "T004", t->spec->what,
			"partition %d, window %" PRId64 ": skipped after attempt %u: %s",
			t->partition, p->window.start_ms, p->attempt, err->text);
		rfl_pane_drop_outputs(p);
		p->state = RFL_PANE_DONE;
		return;
	}
	struct riffle_error why = *err;
	rfl_err_prefix(&why, "window %" PRId64 ", attempt %u", p->window.start_ms, p->attempt);
	p->state = RFL_PANE_WAITING;
	rfl_task_stop(t, why.text);
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
		feed(t, p, rfl_clock_mono_ns(t->spec->clock));
}

void
rfl_task_call_done(
	struct rfl_task *t, struct rfl_pane *p, int status, const struct riffle_error *err)
{
	RFL_CHECK(t, RFL_TASK_MAGIC);
	rfl_call_destroy(p->call);
	p->call = NULL;
	t->calls_open--;
	if (t->abandoned)
		return;
	if (p->fault.code != 0) {
		rfl_task_pane_failed(t, p, &p->fault);
		return;
	}
	if (status != RIFFLE_OK) {
		struct riffle_error why = *err;
		why.code = status;
		if (why.text[0] == '\0')
			rfl_err(&why, status, "the function failed: %s", rfl_status_name(status));
		why.flags = err->flags;
		rfl_task_pane_failed(t, p, &why);
		return;
	}
	p->state = RFL_PANE_DONE;
	if (!rfl_task_is_exactly_once(t))
		rfl_task_publish(t, p);
}

void
rfl_task_view(const struct rfl_task *t, struct rfl_task_view *ret_view)
{
	const struct rfl_pane *p;
	*ret_view = (struct rfl_task_view){
		.partition = t->partition,
		.stopped = t->stopped,
		.drained = !t->reading && !t->stopped && rfl_list_empty(&t->panes),
		.why = t->why,
		.windows_open = t->open != NULL,
		.calls_open = t->calls_open,
		.records_in = t->records_in,
		.records_out = t->records_out,
		.windows_done = t->windows_done,
		.retries = t->retries,
		.refused = t->refused,
		.commits = t->commits,
		.memory_bytes = rfl_task_bytes(t),
		.next_close_ms = t->open ? rfl_window_next_ms(t->window) : RFL_NEVER_MS,
		.lane_count = t->lane_count,
	};
	rfl_list_foreach (p, &t->panes, struct rfl_pane, link)
		ret_view->windows_open++;
}

const struct rfl_task_lane *
rfl_task_lane(const struct rfl_task *t, size_t lane)
{
	return &t->lanes[lane].at;
}

struct rfl_lane_view
rfl_task_lane_view(const struct rfl_task *t, size_t lane)
{
	return (struct rfl_lane_view){
		.next = t->lanes[lane].next, .committed = t->lanes[lane].committed};
}
