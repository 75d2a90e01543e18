/* What a task waits for, in a sentence for people. */
#include "task/task_private.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#define NS_PER_S INT64_C(1000000000)

static void
put_time(struct rfl_buf *b, int64_t ms)
{
	char text[40];
	struct tm tm;
	if (ms <= -RFL_WINDOW_TIME_LIMIT || ms >= RFL_WINDOW_TIME_LIMIT) {
		rfl_buf_puts(b, "never");
		return;
	}
	int64_t rest = ((ms % 1000) + 1000) % 1000;
	time_t s = (time_t)((ms - rest) / 1000);
	gmtime_r(&s, &tm);
	strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &tm);
	rfl_buf_printf(b, "%s.%03" PRId64 " UTC", text, rest);
}

static void
put_lane(struct rfl_buf *b, const struct rfl_task *t, const struct rfl_lane *l)
{
	rfl_buf_printf(
		b, "%s[%d]", t->spec->conf->inputs[l->at.input].stream->name, l->at.partition);
}

/* As it would be written in the file. */
static void
put_duration(struct rfl_buf *b, int64_t ms)
{
	if (ms >= 1000 && ms % 1000 == 0)
		rfl_buf_printf(b, "%" PRId64 "s", ms / 1000);
	else
		rfl_buf_printf(b, "%" PRId64 "ms", ms);
}

static void
put_count(struct rfl_buf *b, uint64_t windows)
{
	rfl_buf_printf(b, "%" PRIu64 " %s", windows, windows == 1 ? "window is" : "windows are");
}

static void
explain_replay(struct rfl_buf *b, const struct rfl_task *t)
{
	rfl_buf_puts(b, "it rebuilds its windows:");
	for (size_t i = 0; i < t->lane_count; i++) {
		const struct rfl_lane *l = &t->lanes[i];
		rfl_buf_puts(b, i ? ", " : " ");
		put_lane(b, t, l);
		rfl_buf_printf(b, " is at %" PRId64 " of %" PRId64 "%s", l->next, l->replay_to,
			l->is_through ? " and through" : "");
	}
	rfl_buf_puts(b, ".");
}

static void
explain_rebuild(struct rfl_buf *b, const struct rfl_task *t, int64_t now_ns)
{
	int64_t wait_ns = t->rebuild.at_ns - now_ns;
	rfl_buf_printf(
		b, "a call failed, and its records are not kept (keep = no): %s. ", t->rebuild.why);
	if (!rfl_list_empty(&t->panes) || t->committing)
		rfl_buf_puts(b, "It finishes the windows before, and is then rebuilt from its "
				"position.");
	else
		rfl_buf_printf(b, "It is rebuilt from its position in %" PRId64 " ms.",
			wait_ns > 0 ? wait_ns / 1000000 : 0);
}

/* Why the window that has waited longest is not done. */
static void
explain_panes(struct rfl_buf *b, const struct rfl_task *t, int64_t now_ns)
{
	const struct rfl_pane *p = rfl_list_first(&t->panes, struct rfl_pane, link);
	put_count(b, t->pane_count);
	rfl_buf_puts(b, " over and not done, the first begins ");
	put_time(b, p->start_ms);
	if (p->call != NULL && rfl_call_is_cancelled(p->call))
		rfl_buf_printf(b,
			": its call (attempt %u) was cancelled, and the invoker has not ended it "
			"yet",
			p->attempt);
	else if (p->call != NULL)
		rfl_buf_printf(b, ": its call (attempt %u) is open", p->attempt);
	else if (p->state == RFL_PANE_WAITING && p->attempt > 0)
		rfl_buf_printf(b, ": attempt %u failed, the next one is in %" PRId64 " ms",
			p->attempt,
			p->retry_at_ns > now_ns ? (p->retry_at_ns - now_ns) / 1000000 : 0);
	else if (p->state == RFL_PANE_WAITING)
		rfl_buf_puts(b, ": it waits for its call");
	else if (p->sends_open > 0)
		rfl_buf_puts(b, ": its outputs are not acknowledged yet");
	else if (rfl_task_waits_for_room(t))
		rfl_buf_puts(b,
			t->spec->conf->checkpoint == NULL
				? ": it is done, and waits until its position has room for which "
				  "records are in sessions that are still open; `checkpoint` would "
				  "give them room"
				: ": it is done, and waits until the checkpoint stream has room "
				  "for which records are in sessions that are still open");
	else
		rfl_buf_puts(b, ": it waits for its commit");
	rfl_buf_puts(b, ".");
}

static void
explain_lane(struct rfl_buf *b, const struct rfl_task *t, int64_t now_ns)
{
	const struct rfl_lane *l = &t->lanes[t->held_by];
	rfl_buf_puts(b, " ");
	put_lane(b, t, l);
	if (l->time_ms == RFL_BEFORE_MS) {
		rfl_buf_puts(b, " holds it back: it has given no record yet");
	} else {
		rfl_buf_puts(b, " holds it back: its newest record is of ");
		put_time(b, l->time_ms);
		rfl_buf_printf(b, ", the last one came %" PRId64 " s ago",
			(now_ns - l->last_record_ns) / NS_PER_S);
	}
	rfl_buf_puts(b, "; read to its end and silent for idle-after = ");
	put_duration(b, t->spec->conf->idle_after_ms);
	rfl_buf_puts(b, " it would not count.");
}

static void
explain_clock(struct rfl_buf *b, const struct rfl_task *t, int64_t now_ns)
{
	int64_t next_ms = t->window ? rfl_window_next_ms(t->window) : RFL_NEVER_MS;
	if (t->window == NULL || rfl_window_open_count(t->window) == 0) {
		rfl_buf_puts(b, "it has read what there is, and waits for records.");
		return;
	}
	put_count(b, rfl_window_open_count(t->window));
	rfl_buf_puts(b, " open");
	if (next_ms == RFL_NEVER_MS) {
		rfl_buf_puts(b, " until they are full.");
		return;
	}
	rfl_buf_puts(b, ", the next one is over at ");
	put_time(b, next_ms);
	if (!rfl_task_has_event_time(t)) {
		rfl_buf_puts(b, ".");
		return;
	}
	rfl_buf_puts(b, "; the watermark is ");
	put_time(b, t->watermark_ms);
	rfl_buf_puts(b, ", max-disorder = ");
	put_duration(b, t->spec->conf->max_disorder_ms);
	rfl_buf_puts(b, " behind the newest record.");
	if (t->held_by >= 0)
		explain_lane(b, t, now_ns);
	else if (t->spec->conf->close_after_idle_ms < 0)
		rfl_buf_puts(b, " No lane has records, and close-after-idle = never.");
	else {
		rfl_buf_puts(b, " No lane has records; close-after-idle = ");
		put_duration(b, t->spec->conf->close_after_idle_ms);
		rfl_buf_puts(b, " closes what is open.");
	}
}

/* What the provider says of it, beside that it has nothing. */
static void
explain_state(struct rfl_buf *b, const struct rfl_task *t, const struct rfl_lane *l)
{
	struct riffle_lane_state state = {.size = sizeof state};
	if (l->at.ops->lane_state == NULL ||
		l->at.ops->lane_state(l->at.source, l->at.id, &state) != RIFFLE_OK ||
		state.flags == 0)
		return;
	rfl_buf_puts(b, " ");
	put_lane(b, t, l);
	if (state.flags & RIFFLE_LANE_HANGING)
		rfl_buf_printf(b,
			" cannot be read past offset %" PRId64
			": a transaction of somebody else is open there, and the log goes on to "
			"%" PRId64 "; it does not count as idle.",
			state.position, state.log_end);
	else
		rfl_buf_puts(b,
			" cannot be read for now: it is leaderless, denied or out of reach; "
			"it does not count as idle.");
}

static void
explain_checkpoint(struct rfl_buf *b, const struct rfl_task *t)
{
	size_t bytes = 0;
	for (size_t i = 0; i < t->lane_count; i++)
		bytes += t->lanes[i].checkpoint_bytes;
	if (bytes > 0)
		rfl_buf_printf(b,
			" Which records are in open sessions takes %zu bytes, in the checkpoint "
			"stream %s.",
			bytes, t->spec->conf->checkpoint->name);
}

char *
rfl_task_explain(const struct rfl_task *t)
{
	struct rfl_buf b = RFL_BUF_INIT;
	int64_t now_ns = rfl_clock_mono_ns(t->spec->clock);
	RFL_CHECK(t, RFL_TASK_MAGIC);
	if (t->stopped)
		rfl_buf_printf(&b, "it is stopped: %s.", t->why);
	else if (t->rebuild.is_wanted)
		explain_rebuild(&b, t, now_ns);
	else if (t->is_replaying)
		explain_replay(&b, t);
	else if (!rfl_list_empty(&t->panes))
		explain_panes(&b, t, now_ns);
	else
		explain_clock(&b, t, now_ns);
	explain_checkpoint(&b, t);
	for (size_t i = 0; i < t->lane_count && !t->stopped; i++) {
		explain_state(&b, t, &t->lanes[i]);
		if (t->lanes[i].is_withheld) {
			rfl_buf_puts(&b, " ");
			put_lane(&b, t, &t->lanes[i]);
			rfl_buf_printf(&b,
				" is not read further: the task's memory, %zu bytes, is full.",
				t->spec->memory_bytes);
		}
	}
	return rfl_buf_take(&b);
}
