/* What a processor says of itself: its status, and what it is busy with. */
#include "base/mem.h"
#include "runtime/processor_private.h"

#include <stdlib.h>

struct rfl_processor_activity
rfl_processor_activity(const struct rfl_processor *p)
{
	RFL_CHECK(p, RFL_PROCESSOR_MAGIC);
	struct rfl_processor_activity sum = {.is_to_commit = rfl_processor_is_committing(p)};
	for (size_t i = 0; i < p->task_count; i++) {
		const struct rfl_task *t = p->tasks[i];
		struct rfl_task_view v;
		rfl_task_view(t, &v);
		sum.windows_open += v.windows_open;
		sum.windows_waiting += v.windows_waiting;
		sum.calls_due += rfl_task_calls_due(t);
		sum.is_to_commit |=
			rfl_task_can_commit(t) || rfl_task_is_staging(t) || rfl_task_can_stage(t);
	}
	return sum;
}

static enum rfl_state
task_state(const struct rfl_processor *p, const struct rfl_task_view *v)
{
	if (v->stopped)
		return RFL_STOPPED;
	if (p->draining)
		return v->drained ? RFL_DRAINED : RFL_DRAINING;
	return RFL_RUNNING;
}

static void
lane_status(const struct rfl_processor *p, const struct rfl_task *t, size_t i,
	struct rfl_lane_status *out)
{
	const struct rfl_task_lane *at = rfl_task_lane(t, i);
	const struct rfl_lane_view v = rfl_task_lane_view(t, i);
	const struct rfl_input_conf *in = &p->setup.processor->inputs[at->input];
	struct riffle_lane_state state = {.size = sizeof state};
	int known = at->ops->lane_state(at->source, at->id, &state) == RIFFLE_OK;
	*out = (struct rfl_lane_status){
		.alias = rfl_strdup(in->alias),
		.stream = rfl_strdup(in->stream->name),
		.partition = at->partition,
		.position = v.next,
		.committed = v.committed,
		.log_end = known ? state.log_end : INT64_MIN,
		.lag = known ? state.log_end - v.committed : -1,
		.time_ms = v.time_ms,
		.is_idle = v.is_idle,
		.is_withheld = v.is_withheld,
	};
}

static void
task_status(const struct rfl_processor *p, const struct rfl_task *t, struct rfl_task_status *out)
{
	struct rfl_task_view v;
	rfl_task_view(t, &v);
	*out = (struct rfl_task_status){
		.partition = v.partition,
		.state = task_state(p, &v),
		.why = rfl_strdup(v.why),
		.waits_for = rfl_task_explain(t),
		.windows_open = v.windows_open,
		.windows_waiting = v.windows_waiting,
		.late = v.late,
		.late_in_part = v.late_in_part,
		.dead_letters = v.dead_letters,
		.skipped = v.skipped,
		.empty = v.empty,
		.spilled_bytes = (uint64_t)v.spilled_bytes,
		.watermark_ms = p->setup.processor->time.source == RFL_TIME_PROCESSING
					? INT64_MIN
					: v.watermark_ms,
		.is_replaying = v.is_replaying,
		.held_by = v.held_by,
		.held_ms = v.held_by < 0 ? 0
					 : (rfl_clock_mono_ns(p->setup.clock) - v.held_since_ns) /
						   1000000,
		.calls_open = v.calls_open,
		.records_in = v.records_in,
		.records_out = v.records_out,
		.windows_done = v.windows_done,
		.retries = v.retries,
		.rebuilds = v.rebuilds,
		.refused = v.refused,
		.commits = v.commits,
		.memory_bytes = v.memory_bytes,
		.checkpoint_bytes = v.checkpoint_bytes,
		.next_close_ms = v.next_close_ms == RFL_NEVER_MS ? INT64_MIN : v.next_close_ms,
		.lane_count = v.lane_count,
		.lanes = rfl_zalloc(v.lane_count * sizeof *out->lanes),
	};
	for (size_t i = 0; i < v.lane_count; i++)
		lane_status(p, t, i, &out->lanes[i]);
}

static enum rfl_state
own_state(const struct rfl_processor *p)
{
	if (p->phase == RFL_PHASE_LOST || p->is_over)
		return RFL_STOPPED;
	if (p->phase == RFL_PHASE_CLOSED)
		return RFL_DRAINED;
	if (p->draining)
		return RFL_DRAINING;
	if (p->why != NULL)
		return RFL_FAILED;
	return p->phase == RFL_PHASE_RUNNING && p->task_count > 0 ? RFL_RUNNING : RFL_STARTING;
}

static const char *
starting_why(const struct rfl_processor *p)
{
	if (p->phase == RFL_PHASE_STREAMS)
		return "waits for its provider to make or find its streams";
	if (p->phase == RFL_PHASE_SINKS)
		return "waits for the transactions of its provider";
	if (rfl_processor_is_reading_checkpoint(p))
		return "reads from its checkpoint stream which records are in open sessions";
	return p->phase == RFL_PHASE_RUNNING ? "waits for partitions" : "not opened yet";
}

/* A function that is not ready makes a running processor one that still starts. */
static void
judge_function(const struct rfl_processor *p, struct rfl_processor_status *out)
{
	const struct riffle_invoker_ops *ops = p->setup.function->invoker;
	struct riffle_error err = {0};
	if (out->state != RFL_RUNNING || ops->ready == NULL ||
		ops->ready(p->setup.function->self, &err) >= 0)
		return;
	out->state = RFL_STARTING;
	out->why = rfl_sprintf("function %s is not ready: %s", out->function, err.text);
}

void
rfl_processor_status(const struct rfl_processor *p, struct rfl_processor_status *ret_status)
{
	RFL_CHECK(p, RFL_PROCESSOR_MAGIC);
	*ret_status = (struct rfl_processor_status){
		.name = rfl_strdup(p->setup.processor->name),
		.function = rfl_strdup(p->setup.processor->function->name),
		.state = own_state(p),
	};
	/* In a lost one a thread may still read what would have to be asked here. */
	if (p->phase != RFL_PHASE_LOST)
		ret_status->task_count = p->task_count;
	ret_status->tasks = rfl_zalloc((ret_status->task_count + 1) * sizeof *ret_status->tasks);
	if (p->why != NULL)
		ret_status->why = rfl_strdup(p->why);
	else if (ret_status->state == RFL_STARTING && p->source_error.code != 0)
		ret_status->why = rfl_sprintf("%s: %s", starting_why(p), p->source_error.text);
	else if (ret_status->state == RFL_STARTING)
		ret_status->why = rfl_strdup(starting_why(p));
	for (size_t i = 0; i < ret_status->task_count; i++) {
		struct rfl_task_status *t = &ret_status->tasks[i];
		task_status(p, p->tasks[i], t);
		if (t->state != RFL_STOPPED || ret_status->state == RFL_STOPPED)
			continue;
		ret_status->state = RFL_STOPPED;
		free(ret_status->why);
		ret_status->why = rfl_sprintf("partition %d: %s", t->partition, t->why);
	}
	judge_function(p, ret_status);
}
