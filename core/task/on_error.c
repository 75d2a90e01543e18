/* What the error policy says to a window whose call failed, or whose outputs were refused. */
#include "task/task_private.h"

#include "base/error.h"
#include "base/log.h"

#include <inttypes.h>
#include <riffle/backoff.h>
#include <riffle/host.h>

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
	rfl_task_pane_done(t, p);
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
	p->is_dead = 1;
	rfl_task_pane_done(t, p);
	if (!rfl_task_is_exactly_once(t))
		rfl_task_publish(t, p);
}

static void
stop_at(struct rfl_task *t, struct rfl_pane *p, const struct riffle_error *err)
{
	struct riffle_error why = *err;
	rfl_err_prefix(&why, "window %" PRId64 ", attempt %u", p->start_ms, p->attempt);
	rfl_task_pane_waits(t, p);
	rfl_task_stop(t, why.text);
}

/* There is no further place for a window whose last place fails. */
void
rfl_task_dead_letters_failed(struct rfl_task *t, struct rfl_pane *p, const struct riffle_error *err)
{
	const struct rfl_on_error_conf *policy = &t->spec->conf->on_error;
	int away = err->code == RIFFLE_E_UNAVAILABLE;
	p->group->done--;
	if (!(err->flags & RIFFLE_ERR_RETRIABLE) ||
		(!away && p->dead_failures >= policy->retries)) {
		struct riffle_error why = *err;
		rfl_err_prefix(&why, "its dead letters are refused");
		stop_at(t, p, &why);
		return;
	}
	p->dead_failures += away ? 0 : 1;
	wait_for_retry(t, p, err);
}

void
rfl_task_write_again(struct rfl_task *t, struct rfl_pane *p)
{
	p->outputs_sent = 0;
	rfl_task_pane_done(t, p);
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

/* It is not missed. What of it waits for the status of its call would be sent by nobody. */
static void
early_failed(struct rfl_task *t, struct rfl_pane *p, const struct riffle_error *err)
{
	if (!t->draining && !t->rebuild.is_wanted)
		rfl_log(RIFFLE_LOG_WARNING, "T007", t->spec->what,
			"partition %d, window %" PRId64 ": an early pane failed: %s", t->partition,
			p->start_ms, err->text);
	rfl_pane_drop_outputs(p);
	rfl_task_pane_done(t, p);
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
	if (p->is_early) {
		early_failed(t, p, err);
		return;
	}
	if ((t->draining && p->group == NULL) || t->rebuild.is_wanted) {
		p->state = RFL_PANE_WAITING;
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
