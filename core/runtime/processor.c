/* The phases of a processor: opening, running, failing, draining, closed. */
#include "base/error.h"
#include "base/log.h"
#include "base/mem.h"
#include "runtime/processor_private.h"

#include <poll.h>
#include <riffle/backoff.h>
#include <riffle/host.h>
#include <stdlib.h>

#define BACKOFF_MIN_MS 200
#define BACKOFF_MAX_MS 30000

static void
begin_close(struct rfl_processor *p)
{
	for (size_t i = 0; i < p->task_count; i++)
		rfl_task_abandon(p->tasks[i]);
	rfl_processor_drop_warm(p);
	rfl_processor_forget_streams(p);
	p->phase = RFL_PHASE_TASKS;
}

/* The instance of it that broke the contract, if there is one; the processor cannot run without. */
static int
is_quarantined(const struct rfl_processor *p, struct riffle_error *ret_fault)
{
	const struct rfl_processor_conf *c = p->setup.processor;
	if (rfl_instance_is_quarantined(p->setup.function, ret_fault))
		return 1;
	for (size_t i = 0; i < c->input_count; i++)
		if (rfl_instance_is_quarantined(p->setup.input_providers[i], ret_fault))
			return 1;
	for (size_t i = 0; i < p->destination_count; i++)
		if (rfl_instance_is_quarantined(p->setup.destination_providers[i], ret_fault))
			return 1;
	return 0;
}

void
rfl_processor_stop(struct rfl_processor *p, const struct riffle_error *why)
{
	if (p->phase >= RFL_PHASE_TASKS)
		return;
	p->is_over = 1;
	free(p->why);
	p->why = rfl_strdup(why->text);
	rfl_log(RIFFLE_LOG_ERROR, "S006", p->what, "stopped: %s", why->text);
	begin_close(p);
}

void
rfl_processor_lose(struct rfl_processor *p)
{
	struct riffle_error fault = {0};
	is_quarantined(p, &fault);
	free(p->why);
	p->why = rfl_strdup(fault.text);
	p->phase = RFL_PHASE_LOST;
	rfl_log(RIFFLE_LOG_ERROR, "S006", p->what, "stopped: %s", fault.text);
	if (p->own_sink != NULL)
		rfl_list_remove(&p->own_sink->link);
	for (size_t k = 0; k < p->destination_count; k++) {
		struct rfl_sink *s = p->sinks[k];
		for (size_t i = k; s != NULL && i < p->destination_count; i++)
			if (p->sinks[i] == s)
				p->sinks[i] = NULL;
		if (s != NULL && s != p->own_sink && --s->users == 0)
			rfl_sink_close(s);
	}
}

void
rfl_processor_fail(struct rfl_processor *p, const struct riffle_error *err)
{
	struct riffle_error fault;
	if (p->phase >= RFL_PHASE_TASKS)
		return;
	if (is_quarantined(p, &fault)) {
		rfl_processor_stop(p, &fault);
		return;
	}
	int64_t now_ns = rfl_clock_mono_ns(p->setup.clock);
	/* What broke sooner than it was waited for did not go well: else it would be opened several times a second. */
	if (p->runs_since_ns != 0 && now_ns - p->runs_since_ns >= p->backoff_ms * 1000000)
		p->backoff_ms = 0;
	p->runs_since_ns = 0;
	int64_t wait_ms =
		riffle_backoff_next(&p->backoff_ms, BACKOFF_MIN_MS, BACKOFF_MAX_MS, now_ns);
	p->retry_at_ns = now_ns + wait_ms * 1000000;
	free(p->why);
	p->why = rfl_strdup(err->text);
	p->source_error.code = 0;
	rfl_log(RIFFLE_LOG_ERROR, "S005", p->what, "%s; opened again in %lldms", err->text,
		(long long)wait_ms);
	begin_close(p);
}

static void
run_idle(struct rfl_processor *p, int64_t now_ns, struct rfl_task_progress *progress)
{
	struct riffle_error err = {0};
	if (p->draining) {
		p->phase = RFL_PHASE_CLOSED;
		return;
	}
	if (p->is_over)
		return;
	if (now_ns < p->retry_at_ns) {
		progress->next_ns = p->retry_at_ns;
		return;
	}
	progress->moved = 1;
	p->phase = RFL_PHASE_STREAMS;
	p->stream_error.code = 0;
	if (!p->has_streams && rfl_processor_ask_for_streams(p, &err) < 0)
		rfl_processor_fail(p, &err);
}

static void
run_streams(struct rfl_processor *p, struct rfl_task_progress *progress)
{
	struct riffle_error err = {0};
	if (p->draining) {
		begin_close(p);
		progress->moved = 1;
		return;
	}
	if (p->stream_error.code != 0) {
		/* A broker that is away was waited for already. */
		if (p->stream_error.flags & RIFFLE_ERR_RETRIABLE)
			p->backoff_ms = 0;
		progress->moved = 1;
		rfl_processor_fail(p, &p->stream_error);
		return;
	}
	if (p->streams_open > 0)
		return;
	progress->moved = 1;
	p->has_streams = 1;
	p->phase = RFL_PHASE_SINKS;
	if (rfl_processor_open_sinks(p, &err) < 0)
		rfl_processor_fail(p, &err);
}

static void
run_sinks(struct rfl_processor *p, struct rfl_task_progress *progress)
{
	struct riffle_error err = {0};
	if (p->own_sink != NULL && !p->own_sink->txn_ready)
		return;
	progress->moved = 1;
	p->phase = RFL_PHASE_RUNNING;
	p->follows_old = 0;
	rfl_processor_set_side_routes(p);
	p->last_commit_ns = rfl_clock_mono_ns(p->setup.clock);
	if (rfl_processor_open_source(p, &p->sources[0], &err) < 0)
		rfl_processor_fail(p, &err);
}

static int
is_drained(const struct rfl_processor *p)
{
	for (size_t i = 0; i < p->task_count; i++)
		if (!rfl_task_is_drained(p->tasks[i]) || rfl_task_can_commit(p->tasks[i]))
			return 0;
	return !rfl_processor_is_committing(p);
}

static void
run_tasks(struct rfl_processor *p, struct rfl_task_progress *progress)
{
	for (size_t i = 0; i < p->task_count; i++) {
		struct rfl_task_progress one;
		rfl_task_run(p->tasks[i], &one);
		progress->moved |= one.moved;
		if (one.next_ns < progress->next_ns)
			progress->next_ns = one.next_ns;
	}
}

static void
run_running(struct rfl_processor *p, int64_t now_ns, struct rfl_task_progress *progress)
{
	progress->moved |= rfl_processor_poll_sources(p);
	if (p->phase != RFL_PHASE_RUNNING)
		return;
	if (!p->draining)
		rfl_processor_make_tasks(p);
	rfl_processor_release_lanes(p);
	if (p->phase == RFL_PHASE_RUNNING)
		progress->moved |= rfl_processor_run_checkpoint(p, now_ns, &progress->next_ns);
	if (p->phase == RFL_PHASE_RUNNING && !p->draining)
		progress->moved |= rfl_processor_follow(p);
	if (p->phase != RFL_PHASE_RUNNING)
		return;
	run_tasks(p, progress);
	progress->moved |= rfl_processor_commit(p, now_ns, &progress->next_ns);
	if (p->phase != RFL_PHASE_RUNNING)
		return;
	if (p->task_count > 0 && p->runs_since_ns == 0)
		p->runs_since_ns = now_ns;
	if (p->task_count > 0 && p->why != NULL && !p->draining) {
		free(p->why);
		p->why = NULL;
		rfl_log(RIFFLE_LOG_INFO, "", p->what, "running again");
	}
	if (p->draining && is_drained(p)) {
		begin_close(p);
		progress->moved = 1;
	}
}

static void
run_close_tasks(struct rfl_processor *p, struct rfl_task_progress *progress)
{
	for (size_t i = 0; i < p->task_count; i++)
		if (!rfl_task_is_idle(p->tasks[i]))
			return;
	progress->moved = 1;
	while (p->task_count > 0)
		rfl_task_destroy(p->tasks[--p->task_count]);
	for (uint32_t i = 0; i < p->source_count; i++)
		rfl_source_close(&p->sources[i]);
	rfl_processor_close_checkpoint(p);
	p->phase = RFL_PHASE_HANDLES;
}

static int
are_sources_closed(const struct rfl_processor *p)
{
	for (uint32_t i = 0; i < p->source_count; i++)
		if (!p->sources[i].is_closed)
			return 0;
	return !rfl_processor_is_reading_checkpoint(p);
}

/*
 * A function that broke the contract may hold for good what a source lent, which is not closed then. Their groups
 * were left; a stop leaves them, and all that they hang on, as they are.
 */
static int
must_leave_sources(struct rfl_processor *p, int64_t now_ns, int64_t *next_ns)
{
	if (!p->draining || !rfl_instance_is_quarantined(p->setup.function, NULL))
		return 0;
	if (p->leaves_at_ns == 0)
		p->leaves_at_ns =
			now_ns + p->setup.conf->runtime.plugin_timeout_ms * INT64_C(1000000);
	if (p->leaves_at_ns < *next_ns)
		*next_ns = p->leaves_at_ns;
	return now_ns >= p->leaves_at_ns;
}

static void
leave_sources(struct rfl_processor *p)
{
	rfl_log(RIFFLE_LOG_WARNING, "S009", p->what,
		"its function has not let go of what it read; the process ends without");
	rfl_processor_leave_sinks(p);
	p->worker->has_lost = 1;
	p->phase = RFL_PHASE_LOST;
}

static void
run_close_handles(struct rfl_processor *p, int64_t now_ns, struct rfl_task_progress *progress)
{
	progress->moved |= rfl_processor_poll_sources(p);
	progress->moved |= rfl_processor_run_checkpoint(p, 0, &progress->next_ns);
	if (!are_sources_closed(p)) {
		if (must_leave_sources(p, now_ns, &progress->next_ns))
			leave_sources(p);
		return;
	}
	for (uint32_t i = 0; i < p->source_count; i++)
		rfl_source_fini(&p->sources[i]);
	rfl_processor_leave_sinks(p);
	rfl_processor_forget_commit(p);
	p->phase = p->draining ? RFL_PHASE_CLOSED : RFL_PHASE_IDLE;
	progress->moved = 1;
}

void
rfl_processor_run(struct rfl_processor *p, struct rfl_task_progress *progress)
{
	RFL_CHECK(p, RFL_PROCESSOR_MAGIC);
	int64_t now_ns = rfl_clock_mono_ns(p->setup.clock);
	progress->moved = 0;
	progress->next_ns = INT64_MAX;
	struct riffle_error fault;
	const struct riffle_error *broken =
		p->phase == RFL_PHASE_LOST ? NULL : rfl_processor_broken_sink(p);
	if (broken != NULL)
		rfl_processor_fail(p, broken);
	if (p->phase < RFL_PHASE_TASKS && !p->is_over && is_quarantined(p, &fault))
		rfl_processor_stop(p, &fault);
	switch (p->phase) {
	case RFL_PHASE_IDLE:
		run_idle(p, now_ns, progress);
		break;
	case RFL_PHASE_STREAMS:
		run_streams(p, progress);
		break;
	case RFL_PHASE_SINKS:
		if (p->draining)
			begin_close(p);
		else
			run_sinks(p, progress);
		break;
	case RFL_PHASE_RUNNING:
		run_running(p, now_ns, progress);
		break;
	case RFL_PHASE_TASKS:
		run_close_tasks(p, progress);
		break;
	case RFL_PHASE_HANDLES:
		run_close_handles(p, now_ns, progress);
		break;
	case RFL_PHASE_CLOSED:
	case RFL_PHASE_LOST:
		break;
	}
}

void
rfl_processor_drain(struct rfl_processor *p)
{
	RFL_CHECK(p, RFL_PROCESSOR_MAGIC);
	p->draining = 1;
	for (size_t i = 0; p->phase != RFL_PHASE_LOST && i < p->task_count; i++)
		rfl_task_drain(p->tasks[i]);
}

void
rfl_processor_abandon(struct rfl_processor *p)
{
	RFL_CHECK(p, RFL_PROCESSOR_MAGIC);
	p->draining = 1;
	if (p->phase < RFL_PHASE_TASKS)
		begin_close(p);
}

int
rfl_processor_is_closed(const struct rfl_processor *p)
{
	return p->phase == RFL_PHASE_CLOSED || p->phase == RFL_PHASE_LOST;
}

void
rfl_processor_fds(const struct rfl_processor *p, struct pollfd **fds, size_t *room, size_t *count)
{
	for (uint32_t i = 0; p->phase != RFL_PHASE_LOST && i <= p->source_count; i++) {
		const struct rfl_source *s =
			i < p->source_count ? &p->sources[i] : &p->checkpoint.source;
		if (s->source == NULL || s->is_closed)
			continue;
		rfl_grow(fds, room, *count + 1, sizeof **fds);
		(*fds)[(*count)++] =
			(struct pollfd){.fd = s->ops->source_fd(s->source), .events = POLLIN};
	}
}

const char *
rfl_processor_name(const struct rfl_processor *p)
{
	return p->setup.processor->name;
}
