/* Rules that span sections: what a processor asks for and what its plugins declare; cycles. */
#include "conf/resolve.h"

#include <inttypes.h>
#include <riffle/invoker.h>
#include <string.h>

static struct rfl_entry *
entry_or(struct rfl_section *s, const char *key, const char *other)
{
	struct rfl_entry *e = rfl_section_entry(s, key);
	return e ? e : rfl_section_entry(s, other);
}

static void
check_partitions(struct rfl_resolve *r, struct rfl_section *s, const struct rfl_processor_conf *p)
{
	const struct rfl_stream_conf *first = p->inputs[0].stream;
	for (size_t i = 1; i < p->input_count; i++) {
		const struct rfl_stream_conf *other = p->inputs[i].stream;
		if (other->stream.partitions == first->stream.partitions)
			continue;
		rfl_entry_error(&r->doc, rfl_section_entry(s, "input"), "C120",
			"inputs of one processor have the same number of partitions",
			"input '%s' has %u partitions, input '%s' has %u", first->name,
			first->stream.partitions, other->name, other->stream.partitions);
	}
}

static void
check_sides(struct rfl_resolve *r, struct rfl_section *s, const struct rfl_processor_conf *p)
{
	const struct rfl_function_conf *f = p->function;
	for (size_t i = 0; i < p->input_count; i++)
		if (!(p->inputs[i].stream->provider->capabilities & RIFFLE_CAN_SOURCE))
			rfl_entry_error(&r->doc, rfl_section_entry(s, "input"), "C122", NULL,
				"stream '%s' cannot be read: its provider '%s' only writes",
				p->inputs[i].stream->name, p->inputs[i].stream->provider->name);
	for (size_t i = 0; i < p->output_count; i++)
		if (!(p->outputs[i].stream->provider->capabilities & RIFFLE_CAN_SINK))
			rfl_entry_error(&r->doc, rfl_section_entry(s, "output"), "C122", NULL,
				"stream '%s' cannot be written: its provider '%s' only reads",
				p->outputs[i].stream->name, p->outputs[i].stream->provider->name);
	if (p->input_count > 1 && !(f->capabilities & RIFFLE_CAN_MANY_INPUTS))
		rfl_entry_error(&r->doc, rfl_section_entry(s, "input"), "C122", NULL,
			"function '%s' cannot tell several inputs apart: invoker '%s' takes one",
			f->name, f->invoker);
	if (p->output_count > 1 && !(f->capabilities & RIFFLE_CAN_MANY_OUTPUTS))
		rfl_entry_error(&r->doc, rfl_section_entry(s, "output"), "C122", NULL,
			"function '%s' cannot name an output: invoker '%s' has one", f->name,
			f->invoker);
}

static void
check_exactly_once(struct rfl_resolve *r, struct rfl_section *s, const struct rfl_processor_conf *p)
{
	struct rfl_entry *e = entry_or(s, "guarantee", "function");
	const struct rfl_provider_conf *one = p->inputs[0].stream->provider;
	for (size_t i = 1; i < p->input_count; i++)
		if (p->inputs[i].stream->provider != one)
			rfl_entry_error(&r->doc, e, "C121", NULL,
				"exactly-once needs all inputs and outputs on one provider: '%s' "
				"is on '%s', '%s' on '%s'",
				p->inputs[0].stream->name, one->name, p->inputs[i].stream->name,
				p->inputs[i].stream->provider->name);
	for (size_t i = 0; i < p->output_count; i++)
		if (p->outputs[i].stream->provider != one)
			rfl_entry_error(&r->doc, e, "C121", NULL,
				"exactly-once needs all inputs and outputs on one provider: '%s' "
				"is on '%s', '%s' on '%s'",
				p->inputs[0].stream->name, one->name, p->outputs[i].stream->name,
				p->outputs[i].stream->provider->name);
	if (!(one->capabilities & RIFFLE_CAN_TRANSACTIONS))
		rfl_entry_error(&r->doc, e, "C121", NULL,
			"exactly-once needs transactions, which provider '%s' (type '%s') does not "
			"have",
			one->name, one->type);
}

static void
check_at_least_once(
	struct rfl_resolve *r, struct rfl_section *s, const struct rfl_processor_conf *p)
{
	const uint64_t needed = RIFFLE_CAN_REPLAY | RIFFLE_CAN_METADATA;
	for (size_t i = 0; i < p->input_count; i++) {
		const struct rfl_provider_conf *provider = p->inputs[i].stream->provider;
		if ((provider->capabilities & needed) == needed)
			continue;
		rfl_entry_error(&r->doc, entry_or(s, "guarantee", "input"), "C121", NULL,
			"%s needs records that can be read again, which provider '%s' (type '%s') "
			"does not offer",
			p->guarantee == RFL_EXACTLY_ONCE ? "exactly-once" : "at-least-once",
			provider->name, provider->type);
	}
}

/* Each partition has windows of its own, which surprises whoever expects one sum over all of them. */
static void
warn_of_partitions(struct rfl_resolve *r, struct rfl_section *s, const struct rfl_processor_conf *p)
{
	uint32_t count = p->inputs[0].stream->stream.partitions;
	if (count > 1 && p->window.kind != RFL_WINDOW_NONE)
		rfl_entry_warning(&r->doc, rfl_section_entry(s, "input"), "C131", NULL,
			"'%s' has %u partitions, and each has windows of its own: %u results for "
			"each window",
			p->inputs[0].stream->name, count, count);
}

void
rfl_check_processor(
	struct rfl_resolve *r, struct rfl_section *s, const struct rfl_processor_conf *p)
{
	check_partitions(r, s, p);
	check_sides(r, s, p);
	check_at_least_once(r, s, p);
	warn_of_partitions(r, s, p);
	if (p->guarantee == RFL_EXACTLY_ONCE)
		check_exactly_once(r, s, p);
}

static int
feeds(const struct rfl_processor_conf *from, const struct rfl_processor_conf *to)
{
	for (size_t o = 0; o < from->output_count; o++)
		for (size_t i = 0; i < to->input_count; i++)
			if (from->outputs[o].stream == to->inputs[i].stream)
				return 1;
	return 0;
}

/* Depth first; state: 0 not seen, 1 on the path, 2 done. Each cycle is told at one of its processors. */
static void
walk(struct rfl_resolve *r, size_t at, unsigned char *state)
{
	const struct rfl_conf *c = r->conf;
	const struct rfl_processor_conf *p = c->processors[at];
	state[at] = 1;
	for (size_t i = 0; i < c->processor_count; i++) {
		if (!feeds(p, c->processors[i]))
			continue;
		if (state[i] == 0) {
			walk(r, i, state);
		} else if (state[i] == 1) {
			struct rfl_section *s = rfl_doc_section(&r->doc, "processor", p->name);
			rfl_entry_warning(&r->doc, rfl_section_entry(s, "output"), "C130", NULL,
				i == at ? "processor '%s' feeds itself: '%s'"
					: "processor '%s' closes a cycle with '%s'",
				p->name, c->processors[i]->name);
		}
	}
	state[at] = 2;
}

void
rfl_resolve_check(struct rfl_resolve *r)
{
	unsigned char *state = rfl_arena_alloc(r->arena, r->conf->processor_count + 1);
	for (size_t i = 0; i < r->conf->processor_count; i++)
		if (state[i] == 0)
			walk(r, i, state);
}
