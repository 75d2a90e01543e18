/* Attempts: which windows are called when, what their calls take and answer, how they end. */
#include "task/task_private.h"

#include "base/error.h"
#include "plugin/host.h"

#include <inttypes.h>
#include <riffle/host.h>

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

void
rfl_task_pane_done(struct rfl_task *t, struct rfl_pane *p)
{
	p->state = RFL_PANE_DONE;
	rfl_list_remove(&p->work);
	if (p->group == NULL)
		return;
	rfl_list_append(&t->publishing, &p->work);
	p->group->done++;
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
		n += p->group != NULL && !rfl_task_is_given_up(t, p);
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
		if (rfl_task_is_given_up(t, p) || !may_be_called(t, p))
			continue;
		if (now_ns < p->retry_at_ns) {
			rfl_task_note_next(next_ns, p->retry_at_ns);
			continue;
		}
		if (p->is_open && t->calls_open + calls_wanted(t) >= t->spec->conf->calls)
			continue;
		if (p->is_dead)
			rfl_task_write_again(t, p);
		else
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

int
rfl_attempt_run(struct rfl_task *t, int64_t now_ns, int64_t *next_ns)
{
	struct rfl_pane *p;
	int moved = begin_calls(t, now_ns, next_ns);
	rfl_list_foreach (p, &t->calling, struct rfl_pane, work) {
		check_deadline(t, p);
		rfl_task_note_next(next_ns, deadline_ns(t, p));
	}
	return moved;
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
	/* A slow sink stops a talkative function: it has more credit when this is written. */
	if (!rfl_task_holds_outputs(t)) {
		rfl_task_publish(t, p);
		return;
	}
	if (p->output_bytes > (size_t)t->spec->conf->max_outputs_bytes) {
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
		rfl_task_pane_done(t, p);
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
	/* An invoker that is given up counts for more than what was held against its call. */
	if (p->fault.code != 0 && status != RIFFLE_E_FATAL) {
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
	rfl_task_pane_done(t, p);
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
