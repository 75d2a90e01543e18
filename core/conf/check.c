/* Rules that span sections: what a processor asks for and what its plugins declare; cycles. */
#include "base/error.h"
#include "conf/resolve.h"

#include <inttypes.h>
#include <riffle/invoker.h>
#include <stdlib.h>
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

/* Only riff's message has room for headers in the record's value. */
static int
keeps_headers(const struct rfl_stream_conf *stream)
{
	return (stream->provider->capabilities & RIFFLE_CAN_HEADERS) ||
	       stream->encoding == RFL_ENCODING_RIFF_MESSAGE;
}

int
rfl_conf_judge_inputs(
	const struct rfl_processor_conf *p, uint64_t capabilities, struct riffle_error *reterr)
{
	if (p->input_count <= 1 || (capabilities & RIFFLE_CAN_MANY_INPUTS))
		return RIFFLE_OK;
	return rfl_err(reterr, RIFFLE_E_CONFIG,
		"function '%s', as it is set, cannot tell several inputs apart: invoker '%s' takes "
		"one",
		p->function->name, p->function->invoker);
}

int
rfl_conf_judge_outputs(
	const struct rfl_processor_conf *p, uint64_t capabilities, struct riffle_error *reterr)
{
	if (p->output_count <= 1 || (capabilities & RIFFLE_CAN_MANY_OUTPUTS))
		return RIFFLE_OK;
	return rfl_err(reterr, RIFFLE_E_CONFIG,
		"function '%s', as it is set, cannot name an output: invoker '%s' has one",
		p->function->name, p->function->invoker);
}

static void
check_side(struct rfl_resolve *r, struct rfl_entry *e, const struct rfl_stream_conf *side)
{
	if (side == NULL)
		return;
	if (!(side->provider->capabilities & RIFFLE_CAN_SINK))
		rfl_entry_error(&r->doc, e, "C122", NULL,
			"stream '%s' cannot be written: its provider '%s' only reads", side->name,
			side->provider->name);
	else if (!keeps_headers(side))
		rfl_entry_error(&r->doc, e, "C122", "encoding = riff-message has them in its value",
			"stream '%s' cannot say why a record is there: its provider '%s' keeps no "
			"headers",
			side->name, side->provider->name);
}

/* What each record of an output will have, and its stream would refuse. */
static void
check_output(struct rfl_resolve *r, struct rfl_section *s, const struct rfl_processor_conf *p,
	const struct rfl_stream_conf *out)
{
	uint64_t can = out->provider->capabilities;
	int is_event = out->encoding == RFL_ENCODING_CLOUDEVENTS ||
		       out->encoding == RFL_ENCODING_STRUCTURED;
	if (!(can & RIFFLE_CAN_SINK)) {
		rfl_entry_error(&r->doc, rfl_section_entry(s, "output"), "C122", NULL,
			"stream '%s' cannot be written: its provider '%s' only reads", out->name,
			out->provider->name);
		return;
	}
	if (p->pane_headers && !keeps_headers(out))
		rfl_entry_error(&r->doc, rfl_section_entry(s, "pane-headers"), "C122", NULL,
			"stream '%s' cannot have them: its provider '%s' keeps no headers",
			out->name, out->provider->name);
	else if (is_event && !(can & RIFFLE_CAN_HEADERS))
		rfl_entry_error(&r->doc, rfl_section_entry(s, "output"), "C122",
			"encoding = raw or riff-message",
			"stream '%s' is encoded with headers: its provider '%s' keeps none",
			out->name, out->provider->name);
	if (p->by.source != RFL_BY_NOTHING && !p->output_key_none && !(can & RIFFLE_CAN_KEYS))
		rfl_entry_error(&r->doc, rfl_section_entry(s, "by"), "C122", "output-key = none",
			"stream '%s' cannot have the windows' keys: its provider '%s' keeps no "
			"keys",
			out->name, out->provider->name);
}

static void
check_start(struct rfl_resolve *r, struct rfl_entry *e, const struct rfl_input_conf *in)
{
	const struct rfl_provider_conf *p = in->stream->provider;
	if (in->start == RIFFLE_START_TIME && !(p->capabilities & RIFFLE_CAN_SEEK_TIME))
		rfl_entry_error(&r->doc, e, "C122", "earliest, latest, or an offset",
			"input '%s' cannot start at a time: its provider '%s' (type '%s') finds no "
			"record by its time",
			in->alias, p->name, p->type);
}

static void
check_sides(struct rfl_resolve *r, struct rfl_section *s, const struct rfl_processor_conf *p)
{
	const struct rfl_function_conf *f = p->function;
	struct riffle_error err;
	for (size_t i = 0; i < p->input_count; i++)
		if (!(p->inputs[i].stream->provider->capabilities & RIFFLE_CAN_SOURCE))
			rfl_entry_error(&r->doc, rfl_section_entry(s, "input"), "C122", NULL,
				"stream '%s' cannot be read: its provider '%s' only writes",
				p->inputs[i].stream->name, p->inputs[i].stream->provider->name);
	for (size_t i = 0; i < p->output_count; i++)
		check_output(r, s, p, p->outputs[i].stream);
	for (size_t i = 0; i < p->input_count; i++)
		check_start(r, rfl_section_entry(s, "input"), &p->inputs[i]);
	check_side(r, rfl_section_entry(s, "late"), p->late_stream);
	check_side(r, rfl_section_entry(s, "on-error"), p->on_error.dead_letter);
	if (f == NULL)
		return;
	if (rfl_conf_judge_inputs(p, f->capabilities, &err) < 0)
		rfl_entry_error(
			&r->doc, rfl_section_entry(s, "input"), "C122", NULL, "%s", err.text);
	if (rfl_conf_judge_outputs(p, f->capabilities, &err) < 0)
		rfl_entry_error(
			&r->doc, rfl_section_entry(s, "output"), "C122", NULL, "%s", err.text);
}

static void
refuse_exactly_once(struct rfl_resolve *r, struct rfl_entry *e, int is_refused, const char *why)
{
	if (is_refused)
		rfl_entry_error(
			&r->doc, e, "C121", NULL, "exactly-once is not offered for %s", why);
}

/*
 * What a position with a few numbers cannot restore: after a crash the windows would be put together
 * otherwise than before.
 */
static void
check_restorable(struct rfl_resolve *r, struct rfl_section *s, struct rfl_entry *e,
	const struct rfl_processor_conf *p)
{
	enum rfl_window_kind kind = p->window.kind;
	int event = p->time.source != RFL_TIME_PROCESSING || rfl_is_broken(s, "time");
	int keyed = p->by.source != RFL_BY_NOTHING;
	refuse_exactly_once(
		r, e, p->early_ms > 0, "early panes: what they said cannot be taken back");
	refuse_exactly_once(r, e, kind == RFL_WINDOW_SESSION && !event,
		"session windows on processing time: read again, records have another time");
	refuse_exactly_once(r, e, kind == RFL_WINDOW_COUNT && keyed,
		"count windows with `by`: which records were counted is not in the position");
	refuse_exactly_once(r, e, kind == RFL_WINDOW_HOPPING && !event,
		"hopping windows on processing time: read again, records have another time");
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
	const struct rfl_stream_conf *const sides[] = {p->late_stream, p->on_error.dead_letter};
	for (size_t i = 0; i < 2; i++)
		if (sides[i] != NULL && sides[i]->provider != one)
			rfl_entry_error(&r->doc, e, "C121", NULL,
				"exactly-once needs late records and dead letters on the provider "
				"of "
				"the inputs, '%s': '%s' is on '%s'",
				one->name, sides[i]->name, sides[i]->provider->name);
	check_restorable(r, s, e, p);
	if (!(one->capabilities & RIFFLE_CAN_TRANSACTIONS))
		rfl_entry_error(&r->doc, e, "C121", NULL,
			"exactly-once needs transactions, which provider '%s' (type '%s') does not "
			"have",
			one->name, one->type);
}

static int
reads(const struct rfl_processor_conf *p, const struct rfl_stream_conf *s)
{
	for (size_t i = 0; i < p->input_count; i++)
		if (p->inputs[i].stream == s)
			return 1;
	return 0;
}

/* 1 = it reads or writes that stream as something else. */
static int
uses(const struct rfl_processor_conf *p, const struct rfl_stream_conf *s)
{
	if (reads(p, s))
		return 1;
	for (size_t k = 0; k < p->output_count; k++)
		if (p->outputs[k].stream == s)
			return 1;
	return p->late_stream == s || p->on_error.dead_letter == s;
}

static void
check_checkpoint(struct rfl_resolve *r, struct rfl_section *s, const struct rfl_processor_conf *p)
{
	struct rfl_entry *e = rfl_section_entry(s, "checkpoint");
	const struct rfl_stream_conf *c = p->checkpoint;
	const struct rfl_provider_conf *one = p->inputs[0].stream->provider;
	if (p->guarantee != RFL_EXACTLY_ONCE ||
		(p->window.kind != RFL_WINDOW_SESSION && !rfl_is_broken(s, "window")))
		rfl_entry_error(&r->doc, e, "C127", NULL,
			"'checkpoint' is only for session windows with guarantee = exactly-once");
	if (c->provider != one)
		rfl_entry_error(&r->doc, e, "C121", NULL,
			"exactly-once needs the checkpoint stream on the provider of the inputs, "
			"'%s': '%s' is on '%s'",
			one->name, c->name, c->provider->name);
	if (uses(p, c))
		rfl_entry_error(&r->doc, e, "C123",
			"a checkpoint stream has nothing but checkpoints",
			"stream '%s' is an input or an output of this processor too", c->name);
}

static void
check_at_least_once(
	struct rfl_resolve *r, struct rfl_section *s, const struct rfl_processor_conf *p)
{
	const uint64_t needed = RIFFLE_CAN_REPLAY | RIFFLE_CAN_METADATA;
	if (p->guarantee == RFL_AT_MOST_ONCE)
		return;
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
	if (count > 1 && p->by.source > RFL_BY_KEY)
		rfl_entry_warning(&r->doc, rfl_section_entry(s, "by"), "C131", NULL,
			"'%s' has %u partitions: equal keys meet in one window only where the "
			"records "
			"were published with them as their keys",
			p->inputs[0].stream->name, count);
	if (count > 1 && p->window.kind != RFL_WINDOW_NONE && p->by.source == RFL_BY_NOTHING &&
		!rfl_is_broken(s, "by"))
		rfl_entry_warning(&r->doc, rfl_section_entry(s, "input"), "C131", NULL,
			"'%s' has %u partitions, and each has windows of its own: %u results for "
			"each window",
			p->inputs[0].stream->name, count, count);
}

void
rfl_check_processor(
	struct rfl_resolve *r, struct rfl_section *s, const struct rfl_processor_conf *p)
{
	if (p->input_count == 0)
		return;
	check_partitions(r, s, p);
	check_sides(r, s, p);
	check_at_least_once(r, s, p);
	warn_of_partitions(r, s, p);
	if (p->guarantee == RFL_EXACTLY_ONCE)
		check_exactly_once(r, s, p);
	if (p->checkpoint != NULL)
		check_checkpoint(r, s, p);
}

/* The key by which the one writes what the other reads; NULL = by none. */
static const char *
feeds(const struct rfl_processor_conf *from, const struct rfl_processor_conf *to)
{
	for (size_t o = 0; o < from->output_count; o++)
		if (reads(to, from->outputs[o].stream))
			return "output";
	if (from->late_stream != NULL && reads(to, from->late_stream))
		return "late";
	if (from->on_error.dead_letter != NULL && reads(to, from->on_error.dead_letter))
		return "on-error";
	return NULL;
}

/* Depth first; state: 0 not seen, 1 on the path, 2 done. Each cycle is told at one of its processors. */
static void
walk(struct rfl_resolve *r, size_t at, unsigned char *state)
{
	const struct rfl_conf *c = r->conf;
	const struct rfl_processor_conf *p = c->processors[at];
	state[at] = 1;
	for (size_t i = 0; i < c->processor_count; i++) {
		const char *key = feeds(p, c->processors[i]);
		if (key == NULL)
			continue;
		if (state[i] == 0) {
			walk(r, i, state);
		} else if (state[i] == 1) {
			struct rfl_section *s = rfl_doc_section(&r->doc, "processor", p->name);
			rfl_entry_warning(&r->doc, rfl_section_entry(s, key), "C130", NULL,
				i == at ? "processor '%s' feeds itself: '%s'"
					: "processor '%s' closes a cycle with '%s'",
				p->name, c->processors[i]->name);
		}
	}
	state[at] = 2;
}

static int
is_used(const struct rfl_conf *c, const struct rfl_stream_conf *s)
{
	for (size_t i = 0; i < c->processor_count; i++) {
		if (uses(c->processors[i], s) || c->processors[i]->checkpoint == s)
			return 1;
	}
	return 0;
}

/* 1 = a word was not understood that may be the use of something. */
static int
may_hide_a_use(const struct rfl_diags *d)
{
	static const char first_rule[] = "C112"; /* from there on all words were understood */
	for (size_t i = 0; i < d->count; i++)
		if (d->items[i].severity == RFL_ERROR && strcmp(d->items[i].code, first_rule) < 0)
			return 1;
	return 0;
}

/* What stands there for nothing is often a name that was meant to be used. */
static void
warn_of_unused(struct rfl_resolve *r)
{
	const struct rfl_conf *c = r->conf;
	if (c->processor_count == 0 || may_hide_a_use(r->doc.diags))
		return;
	for (size_t i = 0; i < c->stream_count; i++)
		if (!is_used(c, c->streams[i]))
			rfl_section_warning(&r->doc,
				rfl_doc_section(&r->doc, "stream", c->streams[i]->name), "C132",
				NULL, "no processor reads or writes stream '%s'",
				c->streams[i]->name);
	for (size_t i = 0; i < c->function_count; i++) {
		size_t k = 0;
		while (k < c->processor_count && c->processors[k]->function != c->functions[i])
			k++;
		if (k == c->processor_count)
			rfl_section_warning(&r->doc,
				rfl_doc_section(&r->doc, "function", c->functions[i]->name), "C132",
				NULL, "no processor calls function '%s'", c->functions[i]->name);
	}
	for (size_t i = 0; i < c->provider_count; i++) {
		size_t k = 0;
		while (k < c->stream_count && c->streams[k]->provider != c->providers[i])
			k++;
		if (k == c->stream_count)
			rfl_section_warning(&r->doc,
				rfl_doc_section(&r->doc, "provider", c->providers[i]->name), "C132",
				NULL, "no stream lies on provider '%s'", c->providers[i]->name);
	}
}

/* By topic within a provider, so that equal ones stand next to each other. */
static int
by_topic(const void *a, const void *b)
{
	const struct rfl_stream_conf *x = *(const struct rfl_stream_conf *const *)a;
	const struct rfl_stream_conf *y = *(const struct rfl_stream_conf *const *)b;
	int order = strcmp(x->provider->name, y->provider->name);
	return order ? order : strcmp(x->stream.topic, y->stream.topic);
}

static void
warn_of_shared_topics(struct rfl_resolve *r)
{
	const struct rfl_conf *c = r->conf;
	const struct rfl_stream_conf **list =
		rfl_arena_alloc(r->arena, (c->stream_count + 1) * sizeof *list);
	for (size_t i = 0; i < c->stream_count; i++)
		list[i] = c->streams[i];
	qsort(list, c->stream_count, sizeof *list, by_topic);
	for (size_t i = 1; i < c->stream_count; i++)
		if (by_topic(&list[i - 1], &list[i]) == 0)
			rfl_section_warning(&r->doc,
				rfl_doc_section(&r->doc, "stream", list[i]->name), "C133", NULL,
				"streams '%s' and '%s' are the same topic, '%s'", list[i - 1]->name,
				list[i]->name, list[i]->stream.topic);
}

void
rfl_resolve_check(struct rfl_resolve *r)
{
	warn_of_unused(r);
	warn_of_shared_topics(r);
	unsigned char *state = rfl_arena_alloc(r->arena, r->conf->processor_count + 1);
	for (size_t i = 0; i < r->conf->processor_count; i++)
		if (state[i] == 0)
			walk(r, i, state);
}
