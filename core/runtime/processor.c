/* The phases of a processor: opening, running, failing, draining, closed. */
#include "base/error.h"
#include "base/log.h"
#include "base/mem.h"
#include "runtime/processor_private.h"
#include "runtime/provision.h"
#include "wire/tuple.h"

#include <poll.h>
#include <riffle/host.h>
#include <stdlib.h>
#include <string.h>

#define BACKOFF_MIN_MS 200
#define BACKOFF_MAX_MS 30000

static struct rfl_window_spec
window_spec(const struct rfl_processor_conf *c)
{
	static const enum rfl_window_shape shapes[] = {
		[RFL_WINDOW_NONE] = RFL_SHAPE_NONE,
		[RFL_WINDOW_COUNT] = RFL_SHAPE_COUNT,
		[RFL_WINDOW_TUMBLING] = RFL_SHAPE_TUMBLING,
		[RFL_WINDOW_HOPPING] = RFL_SHAPE_HOPPING,
		[RFL_WINDOW_SESSION] = RFL_SHAPE_SESSION,
	};
	const struct rfl_window_conf *w = &c->window;
	return (struct rfl_window_spec){
		.shape = shapes[w->kind],
		.size_ms = w->size_ms,
		.slide_ms = w->slide_ms,
		.max_ms = w->max_ms,
		.count = w->count,
		.offset_ms = w->offset_ms,
		.zone = w->zone,
		.emit_empty = c->emit_empty,
	};
}

static void
set_call_spec(struct rfl_processor *p)
{
	const struct rfl_processor_conf *c = p->setup.processor;
	const char **at = p->names =
		rfl_zalloc((2 * (c->input_count + c->output_count) + 1) * sizeof *p->names);
	p->call_spec = (struct riffle_call_spec){
		.size = sizeof p->call_spec,
		.input_count = (uint32_t)c->input_count,
		.output_count = (uint32_t)c->output_count,
		.input_names = at,
		.input_types = at + c->input_count,
		.output_names = at + 2 * c->input_count,
		.output_types = at + 2 * c->input_count + c->output_count,
	};
	for (size_t i = 0; i < c->input_count; i++) {
		at[i] = c->inputs[i].alias;
		at[c->input_count + i] = c->inputs[i].stream->stream.content_type;
	}
	at += 2 * c->input_count;
	for (size_t i = 0; i < c->output_count; i++) {
		at[i] = c->outputs[i].alias;
		at[c->output_count + i] = c->outputs[i].stream->stream.content_type;
	}
}

static void
set_task_spec(struct rfl_processor *p)
{
	const struct rfl_processor_conf *c = p->setup.processor;
	p->task_spec = (struct rfl_task_spec){
		.conf = c,
		.clock = p->setup.clock,
		.what = p->what,
		.callee = {.ops = p->setup.function->invoker,
			.self = p->setup.function->self,
			.mailbox = &p->worker->mailbox,
			.spec = &p->call_spec},
		.window = window_spec(c),
		.settings = rfl_tuple_settings(c->window.canonical),
		.routes = p->routes,
		.memory_bytes = (size_t)p->setup.conf->runtime.memory_bytes,
		.spill_bytes = p->setup.conf->runtime.spill_bytes,
		.state_dir = p->setup.conf->runtime.state_dir,
	};
}

/* One source per provider, in the order in which the inputs first name them. */
static void
set_sources(struct rfl_processor *p)
{
	size_t count = p->setup.processor->input_count;
	uint32_t used = 0;
	p->sources = rfl_zalloc(count * sizeof *p->sources);
	p->source_inputs = rfl_zalloc(count * sizeof *p->source_inputs);
	for (size_t i = 0; i < count; i++) {
		struct rfl_instance *provider = p->setup.input_providers[i];
		int seen = 0;
		for (size_t k = 0; k < i; k++)
			seen |= p->setup.input_providers[k] == provider;
		if (seen)
			continue;
		uint32_t *inputs = p->source_inputs + used;
		uint32_t n = 0;
		for (size_t k = i; k < count; k++)
			if (p->setup.input_providers[k] == provider)
				inputs[n++] = (uint32_t)k;
		rfl_source_init(&p->sources[p->source_count++], provider, inputs, n);
		used += n;
	}
}

static void *
copy(const void *from, size_t bytes)
{
	void *to = rfl_alloc(bytes + 1);
	if (bytes > 0)
		memcpy(to, from, bytes);
	return to;
}

struct rfl_processor *
rfl_processor_create(const struct rfl_processor_setup *setup, struct rfl_worker *worker)
{
	const struct rfl_processor_conf *c = setup->processor;
	struct rfl_processor *p = rfl_zalloc(sizeof *p);
	p->magic = RFL_PROCESSOR_MAGIC;
	p->setup = *setup;
	p->setup.input_providers = copy(setup->input_providers, c->input_count * sizeof(void *));
	p->destinations = rfl_zalloc((c->output_count + 2) * sizeof *p->destinations);
	p->destination_count = rfl_conf_destinations(c, p->destinations);
	p->setup.destination_providers =
		copy(setup->destination_providers, p->destination_count * sizeof(void *));
	p->worker = worker;
	p->what = rfl_sprintf("processor %s", c->name);
	if (c->guarantee == RFL_EXACTLY_ONCE)
		p->txn_id = rfl_sprintf("%s/%s/%s/%u", setup->conf->runtime.namespace, c->name,
			setup->instance, worker->index);
	p->routes = rfl_zalloc((p->destination_count + 1) * sizeof *p->routes);
	p->sinks = rfl_zalloc((p->destination_count + 1) * sizeof(struct rfl_sink *));
	set_call_spec(p);
	set_task_spec(p);
	set_sources(p);
	return p;
}

void
rfl_processor_destroy(struct rfl_processor *p)
{
	if (p == NULL)
		return;
	RFL_CHECK(p, RFL_PROCESSOR_MAGIC);
	rfl_assert(p->phase == RFL_PHASE_CLOSED || p->phase == RFL_PHASE_IDLE);
	RFL_RETIRE(p);
	free(p->tasks);
	free(p->sources);
	free(p->source_inputs);
	free(p->routes);
	free(p->destinations);
	free(p->sinks);
	free(p->names);
	free(p->what);
	free(p->txn_id);
	free(p->why);
	free((void *)(uintptr_t)p->setup.input_providers);
	free((void *)(uintptr_t)p->setup.destination_providers);
	free(p);
}

/* The streams of one provider that a set of processors writes to; the caller frees. */
static const struct riffle_stream **
streams_to(struct rfl_processor *const *list, size_t list_count,
	const struct rfl_instance *provider, int exactly_once, uint32_t *ret_count)
{
	size_t room = 1;
	uint32_t n = 0;
	for (size_t i = 0; i < list_count; i++)
		room += list[i]->destination_count;
	const struct riffle_stream **streams = rfl_zalloc(room * sizeof *streams);
	for (size_t i = 0; i < list_count; i++) {
		const struct rfl_processor *p = list[i];
		if ((p->txn_id != NULL) != exactly_once)
			continue;
		for (size_t k = 0; k < p->destination_count; k++) {
			const struct riffle_stream *s = &p->destinations[k]->stream;
			uint32_t at = 0;
			if (p->setup.destination_providers[k] != provider)
				continue;
			while (at < n && streams[at] != s)
				at++;
			if (at == n)
				streams[n++] = s;
		}
	}
	*ret_count = n;
	return streams;
}

static struct rfl_sink *
find_shared(const struct rfl_worker *w, const struct rfl_instance *provider)
{
	struct rfl_sink *s;
	rfl_list_foreach (s, &w->sinks, struct rfl_sink, link) {
		if (s->is_shared && s->instance == provider && !s->is_closing &&
			s->broken.code == 0)
			return s;
	}
	return NULL;
}

/* A sink's streams are in the order streams_to gives them, which is the same each time. */
static void
set_routes(struct rfl_processor *p, struct rfl_sink *sink, const struct rfl_instance *provider,
	const struct riffle_stream *const *streams)
{
	for (size_t k = 0; k < p->destination_count; k++) {
		const struct riffle_stream *s = &p->destinations[k]->stream;
		uint32_t at = 0;
		if (p->setup.destination_providers[k] != provider)
			continue;
		while (streams[at] != s)
			at++;
		p->sinks[k] = sink;
		p->routes[k] = (struct rfl_route){.outlet = &sink->outlet,
			.sink_stream = at,
			.content_type = s->content_type};
	}
}

/* The tasks find the last two by their names. */
static void
set_side_routes(struct rfl_processor *p)
{
	const struct rfl_processor_conf *c = p->setup.processor;
	size_t at = c->output_count;
	if (c->late_stream != NULL)
		p->task_spec.late = p->routes[at++];
	if (c->on_error.dead_letter != NULL)
		p->task_spec.dead_letter = p->routes[at];
}

static int
open_shared(struct rfl_processor *p, struct rfl_instance *provider, struct riffle_error *reterr)
{
	uint32_t count;
	struct rfl_worker *w = p->worker;
	const struct riffle_stream **streams =
		streams_to(w->processors, w->processor_count, provider, 0, &count);
	struct rfl_sink *sink = find_shared(w, provider);
	int rc = RIFFLE_OK;
	if (sink == NULL) {
		rc = rfl_sink_open(provider, streams, count, w->member, NULL, &sink, reterr);
		if (rc == RIFFLE_OK) {
			sink->is_shared = 1;
			rfl_list_append(&w->sinks, &sink->link);
		}
	}
	if (rc == RIFFLE_OK) {
		sink->users++;
		set_routes(p, sink, provider, streams);
	}
	free(streams);
	return rc;
}

/* Also without outputs: the positions are committed by its transaction. */
static int
open_own(struct rfl_processor *p, struct riffle_error *reterr)
{
	uint32_t count;
	struct rfl_instance *provider = p->setup.input_providers[0];
	const struct riffle_stream **streams = streams_to(&p, 1, provider, 1, &count);
	struct rfl_sink *sink;
	int rc = rfl_sink_open(
		provider, streams, count, p->worker->member, p->txn_id, &sink, reterr);
	if (rc == RIFFLE_OK) {
		sink->users = 1;
		rfl_list_append(&p->worker->sinks, &sink->link);
		p->own_sink = sink;
		set_routes(p, sink, provider, streams);
	}
	free(streams);
	return rc;
}

static int
open_sinks(struct rfl_processor *p, struct riffle_error *reterr)
{
	int rc = RIFFLE_OK;
	if (p->txn_id != NULL)
		return open_own(p, reterr);
	for (size_t k = 0; k < p->destination_count && rc == RIFFLE_OK; k++)
		if (p->sinks[k] == NULL)
			rc = open_shared(p, p->setup.destination_providers[k], reterr);
	return rc;
}

/* Each sink is left once, whatever the number of outputs that go to it. */
static void
leave_sinks(struct rfl_processor *p)
{
	size_t count = p->destination_count;
	for (size_t k = 0; k < count; k++) {
		struct rfl_sink *s = p->sinks[k];
		if (s == NULL)
			continue;
		for (size_t i = k; i < count; i++)
			if (p->sinks[i] == s)
				p->sinks[i] = NULL;
		if (s != p->own_sink && --s->users == 0)
			rfl_sink_close(s);
	}
	if (p->own_sink != NULL) {
		p->own_sink->users = 0;
		rfl_sink_close(p->own_sink);
	}
	p->own_sink = NULL;
}

static const struct riffle_error *
broken_sink(const struct rfl_processor *p)
{
	if (p->own_sink != NULL && p->own_sink->broken.code != 0)
		return &p->own_sink->broken;
	for (size_t k = 0; k < p->destination_count; k++)
		if (p->sinks[k] != NULL && p->sinks[k]->broken.code != 0)
			return &p->sinks[k]->broken;
	return NULL;
}

static void
forget_streams(struct rfl_processor *p)
{
	for (size_t i = 0; i < p->setup.processor->input_count; i++)
		rfl_provision_forget(p->setup.input_providers[i], p);
	for (size_t i = 0; i < p->destination_count; i++)
		rfl_provision_forget(p->setup.destination_providers[i], p);
	p->streams_open = 0;
}

static void
begin_close(struct rfl_processor *p)
{
	for (size_t i = 0; i < p->task_count; i++)
		rfl_task_abandon(p->tasks[i]);
	forget_streams(p);
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
	p->backoff_ms = p->backoff_ms == 0 ? BACKOFF_MIN_MS : p->backoff_ms * 2;
	if (p->backoff_ms > BACKOFF_MAX_MS)
		p->backoff_ms = BACKOFF_MAX_MS;
	p->retry_at_ns = rfl_clock_mono_ns(p->setup.clock) + p->backoff_ms * 1000000;
	free(p->why);
	p->why = rfl_strdup(err->text);
	rfl_log(RIFFLE_LOG_ERROR, "S005", p->what, "%s; opened again in %lldms", err->text,
		(long long)p->backoff_ms);
	begin_close(p);
}

static int
is_input(const struct rfl_processor *p, const struct rfl_stream_conf *s)
{
	for (size_t i = 0; i < p->setup.processor->input_count; i++)
		if (p->setup.processor->inputs[i].stream == s)
			return 1;
	return 0;
}

static int
is_own(const struct rfl_processor *p, const struct rfl_stream_conf *s)
{
	for (size_t i = 0; i < p->destination_count; i++)
		if (p->destinations[i] == s)
			return 1;
	return is_input(p, s);
}

/* What the log of an input must offer so that windows can be rebuilt from it. */
static void
judge_input(
	const struct rfl_processor *p, const struct rfl_provisioned *r, struct riffle_error *reterr)
{
	const struct rfl_processor_conf *c = p->setup.processor;
	const char *name = r->stream->name;
	if (r->info.retention_ms >= 0 && (r->info.flags & RIFFLE_STREAM_EXISTS) &&
		r->info.retention_ms < c->window.size_ms)
		rfl_err(reterr, RIFFLE_E_CONFIG,
			"stream %s keeps records for %lldms, shorter than the window of %lldms: "
			"its records would be gone before it closes",
			name, (long long)r->info.retention_ms, (long long)c->window.size_ms);
	if (!(r->info.flags & RIFFLE_STREAM_COMPACTED))
		return;
	if (c->guarantee == RFL_EXACTLY_ONCE)
		rfl_err(reterr, RIFFLE_E_CONFIG,
			"stream %s is compacted: exactly-once needs every record to be there when "
			"it is read again",
			name);
	else
		rfl_log(RIFFLE_LOG_WARNING, "S008", p->what,
			"stream %s is compacted: reading again may lack records that newer ones "
			"replaced",
			name);
}

/* Streams that only share a sink with ours are waited for; what is wrong with them is not ours. */
static void
stream_done(void *owner, const struct rfl_provisioned *r)
{
	struct rfl_processor *p = owner;
	RFL_CHECK(p, RFL_PROCESSOR_MAGIC);
	/* Of a round that was given up meanwhile. */
	if (p->phase != RFL_PHASE_STREAMS || p->streams_open == 0)
		return;
	p->streams_open--;
	if (!is_own(p, r->stream) || p->stream_error.code != 0)
		return;
	p->stream_error = r->error;
	if (r->error.code == 0 && is_input(p, r->stream))
		judge_input(p, r, &p->stream_error);
}

static int
ask_for(struct rfl_processor *p, struct rfl_instance *provider,
	const struct rfl_stream_conf *stream, struct riffle_error *reterr)
{
	if (provider->provider->provision == NULL && provider->provider->describe == NULL)
		return RIFFLE_OK;
	int rc = rfl_provision_ask(provider, stream, &p->worker->mailbox, p, stream_done, reterr);
	p->streams_open += rc == RIFFLE_OK;
	return rc;
}

static int
writes_to(const struct rfl_processor *p, const struct rfl_instance *provider)
{
	for (size_t i = 0; i < p->destination_count; i++)
		if (p->setup.destination_providers[i] == provider)
			return 1;
	return 0;
}

/* Those that lie where p writes too: they are streams of the same sink. */
static int
ask_for_outputs(
	struct rfl_processor *p, const struct rfl_processor *of, struct riffle_error *reterr)
{
	int rc = RIFFLE_OK;
	for (size_t i = 0; i < of->destination_count && rc == RIFFLE_OK; i++)
		if (writes_to(p, of->setup.destination_providers[i]))
			rc = ask_for(
				p, of->setup.destination_providers[i], of->destinations[i], reterr);
	return rc;
}

static int
ask_for_streams(struct rfl_processor *p, struct riffle_error *reterr)
{
	const struct rfl_worker *w = p->worker;
	int rc = RIFFLE_OK;
	for (size_t i = 0; i < p->setup.processor->input_count && rc == RIFFLE_OK; i++)
		rc = ask_for(p, p->setup.input_providers[i], p->setup.processor->inputs[i].stream,
			reterr);
	if (p->txn_id != NULL)
		return rc < 0 ? rc : ask_for_outputs(p, p, reterr);
	for (size_t i = 0; i < w->processor_count && rc == RIFFLE_OK; i++)
		if (w->processors[i]->txn_id == NULL)
			rc = ask_for_outputs(p, w->processors[i], reterr);
	return rc;
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
	if (!p->has_streams && ask_for_streams(p, &err) < 0)
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
	if (open_sinks(p, &err) < 0)
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
	set_side_routes(p);
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
	if (p->phase != RFL_PHASE_RUNNING)
		return;
	run_tasks(p, progress);
	progress->moved |= rfl_processor_commit(p, now_ns, &progress->next_ns);
	if (p->phase != RFL_PHASE_RUNNING)
		return;
	if (p->task_count > 0 && p->why != NULL && !p->draining) {
		free(p->why);
		p->why = NULL;
		p->backoff_ms = 0;
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
	p->phase = RFL_PHASE_HANDLES;
}

static void
run_close_handles(struct rfl_processor *p, struct rfl_task_progress *progress)
{
	progress->moved |= rfl_processor_poll_sources(p);
	for (uint32_t i = 0; i < p->source_count; i++)
		if (!p->sources[i].is_closed)
			return;
	for (uint32_t i = 0; i < p->source_count; i++)
		rfl_source_fini(&p->sources[i]);
	leave_sinks(p);
	p->commits_open = 0;
	p->txn_phase = RFL_TXN_NONE;
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
	const struct riffle_error *broken = p->phase == RFL_PHASE_LOST ? NULL : broken_sink(p);
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
		run_close_handles(p, progress);
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
	for (uint32_t i = 0; p->phase != RFL_PHASE_LOST && i < p->source_count; i++) {
		const struct rfl_source *s = &p->sources[i];
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
		.refused = v.refused,
		.commits = v.commits,
		.memory_bytes = v.memory_bytes,
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
