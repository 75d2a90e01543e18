/* What a processor is made of: copied from its configuration before anything of it is open, freed after. */
#include "base/mem.h"
#include "runtime/processor_private.h"
#include "wire/tuple.h"

#include <stdlib.h>
#include <string.h>

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
		.forgets_items = !c->keep,
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
		.function_clock = p->setup.function_clock,
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
		.position_chars = RFL_POSITION_TEXT_MAX,
		.checkpoint_bytes = RFL_CHECKPOINT_MAX,
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
	if (c->checkpoint != NULL)
		p->checkpoint.instance = setup->input_providers[0];
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
	rfl_processor_forget_commit(p);
	free(p->tasks);
	free(p->warm);
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
