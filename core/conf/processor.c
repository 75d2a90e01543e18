/* A [processor]: its inputs, outputs, window, policies. */
#include "base/mem.h"
#include "conf/resolve.h"
#include "conf/value.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct reference {
	char *alias, *stream, *at;
};

/* [alias:]stream[@start]; riff's grammar and texts. */
static int
split_reference(struct rfl_resolve *r, struct rfl_entry *e, const char *text, int is_input,
	struct reference *ret)
{
	char *copy = rfl_arena_strdup(r->arena, text);
	char *at = strchr(copy, '@');
	/* A time has colons of its own, so the alias is looked for before the '@'. */
	if (at != NULL)
		*at++ = '\0';
	char *colon = strchr(copy, ':');
	if (colon != NULL)
		*colon++ = '\0';
	*ret = (struct reference){
		.alias = colon ? copy : NULL, .stream = colon ? colon : copy, .at = at};
	int bad = ret->stream[0] == '\0' || strchr(ret->stream, ':') != NULL ||
		  (ret->alias && ret->alias[0] == '\0') || (at && (at[0] == '\0' || !is_input));
	if (!bad)
		return 0;
	ret->at = NULL;
	if (is_input)
		rfl_entry_error(&r->doc, e, "C109", NULL,
			"malformed input stream reference \"%s\", should be of the form "
			"[<alias>:]<stream>[@<offset>]",
			text);
	else
		rfl_entry_error(&r->doc, e, "C109", NULL,
			"malformed output stream reference \"%s\", should be of the form "
			"[<alias>:]<stream>",
			text);
	return -1;
}

const struct rfl_stream_conf *
rfl_resolve_stream(struct rfl_resolve *r, struct rfl_entry *e, const char *name)
{
	const struct rfl_stream_conf *s = rfl_conf_stream(r->conf, name);
	if (s != NULL)
		return s;
	struct rfl_section *broken = rfl_doc_section(&r->doc, "stream", name);
	if (broken != NULL)
		return NULL; /* its own findings say why it is not there */
	const char **words = rfl_arena_alloc(r->arena, (r->conf->stream_count + 1) * sizeof *words);
	for (size_t i = 0; i < r->conf->stream_count; i++)
		words[i] = r->conf->streams[i]->name;
	const char *near = rfl_value_nearest(name, words, r->conf->stream_count);
	s = near ? rfl_conf_stream(r->conf, near) : NULL;
	if (strchr(name, ' ') != NULL) {
		rfl_entry_error(&r->doc, e, "C105", "several are separated by commas",
			"stream '%s' is not defined", name);
		return NULL;
	}
	char *hint = s ? rfl_arena_sprintf(r->arena, "did you mean '%s' (%s:%u)?", near,
				 s->place.file, s->place.line)
		       : NULL;
	rfl_entry_error(&r->doc, e, "C105", hint, "stream '%s' is not defined", name);
	return NULL;
}

static void
set_start(struct rfl_resolve *r, struct rfl_entry *e, const char *at, struct rfl_input_conf *in)
{
	const char *why;
	in->start = RIFFLE_START_LATEST;
	if (at == NULL || strcmp(at, "latest") == 0)
		return;
	if (strcmp(at, "earliest") == 0)
		in->start = RIFFLE_START_EARLIEST;
	else if (rfl_value_int(at, &in->start_value, &why) == 0 && in->start_value >= 0)
		in->start = RIFFLE_START_OFFSET;
	else if (rfl_value_time(at, &in->start_value) == 0)
		in->start = RIFFLE_START_TIME;
	else
		rfl_entry_error(&r->doc, e, "C102",
			"earliest, latest, an offset, or a time like 2026-01-02T03:04:05Z",
			"'%s' is not a place to start at", at);
}

static void
check_alias(struct rfl_resolve *r, struct rfl_entry *e, const char *alias)
{
	if (!rfl_value_is_label(alias))
		rfl_entry_error(&r->doc, e, "C106", NULL,
			"alias '%s' is not a name: a-z, 0-9 and '-', at most 63", alias);
}

/* The stream that a reference names, its alias checked too; NULL after a finding, and the list is broken. */
static const struct rfl_stream_conf *
resolve_reference(struct rfl_resolve *r, struct rfl_entry *e, const char *text, int is_input,
	struct reference *ret)
{
	const struct rfl_stream_conf *stream = NULL;
	if (split_reference(r, e, text, is_input, ret) == 0) {
		stream = rfl_resolve_stream(r, e, ret->stream);
		if (ret->alias == NULL)
			ret->alias = ret->stream;
		else
			check_alias(r, e, ret->alias);
	}
	if (stream == NULL)
		rfl_mark_broken(e);
	return stream;
}

static void
set_inputs(struct rfl_resolve *r, struct rfl_section *s, struct rfl_processor_conf *p)
{
	struct rfl_entry *e = rfl_entry_of(s, "input");
	struct riffle_value v = rfl_resolve_key(r, s, "input");
	size_t n = 0;
	for (; v.u.list != NULL && v.u.list[n] != NULL; n++)
		;
	p->inputs = rfl_arena_alloc(r->arena, (n + 1) * sizeof *p->inputs);
	for (size_t i = 0; i < n; i++) {
		struct reference ref;
		struct rfl_input_conf *in = &p->inputs[p->input_count];
		in->stream = resolve_reference(r, e, v.u.list[i], 1, &ref);
		in->alias = ref.alias;
		set_start(r, e, ref.at, in);
		if (in->stream == NULL)
			continue;
		for (size_t k = 0; k < p->input_count; k++) {
			if (strcmp(p->inputs[k].alias, in->alias) == 0)
				rfl_entry_error(&r->doc, e, "C123",
					"[alias:]stream gives it another name",
					"input alias '%s' is used twice", in->alias);
			else if (p->inputs[k].stream == in->stream)
				rfl_entry_error(&r->doc, e, "C123", NULL,
					"stream '%s' is an input twice: a group reads it once",
					ref.stream);
		}
		p->input_count++;
	}
}

static void
set_outputs(struct rfl_resolve *r, struct rfl_section *s, struct rfl_processor_conf *p)
{
	struct rfl_entry *e = rfl_entry_of(s, "output");
	struct riffle_value v = rfl_resolve_key(r, s, "output");
	size_t n = 0;
	for (; v.u.list != NULL && v.u.list[n] != NULL; n++)
		;
	p->outputs = rfl_arena_alloc(r->arena, (n + 1) * sizeof *p->outputs);
	for (size_t i = 0; i < n; i++) {
		struct reference ref;
		struct rfl_output_conf *out = &p->outputs[p->output_count];
		out->stream = resolve_reference(r, e, v.u.list[i], 0, &ref);
		out->alias = ref.alias;
		if (out->stream == NULL)
			continue;
		for (size_t k = 0; k < p->output_count; k++)
			if (strcmp(p->outputs[k].alias, out->alias) == 0)
				rfl_entry_error(&r->doc, e, "C123",
					"[alias:]stream gives it another name",
					"output alias '%s' is used twice", out->alias);
		p->output_count++;
	}
}

static const struct rfl_function_conf *
find_function(struct rfl_resolve *r, struct rfl_section *s)
{
	struct rfl_entry *e = rfl_entry_of(s, "function");
	struct riffle_value v = rfl_resolve_key(r, s, "function");
	size_t n = r->conf->function_count;
	if (v.u.s == NULL)
		return NULL;
	const char **words = rfl_arena_alloc(r->arena, (n + 1) * sizeof *words);
	for (size_t i = 0; i < n; i++) {
		words[i] = r->conf->functions[i]->name;
		if (strcmp(words[i], v.u.s) == 0)
			return r->conf->functions[i];
	}
	if (rfl_doc_section(&r->doc, "function", v.u.s) != NULL)
		return NULL;
	const char *near = rfl_value_nearest(v.u.s, words, n);
	char *hint = near ? rfl_arena_sprintf(r->arena, "did you mean '%s'?", near) : NULL;
	rfl_entry_error(&r->doc, e, "C105", hint, "function '%s' is not defined", v.u.s);
	return NULL;
}

static int64_t
commit_interval(struct rfl_resolve *r, struct rfl_section *s, enum rfl_guarantee guarantee)
{
	struct riffle_value own = rfl_resolve_key(r, s, "commit-interval");
	if (own.is_set)
		return own.u.i;
	if (r->conf->runtime.commit_interval_ms >= 0)
		return r->conf->runtime.commit_interval_ms;
	/* At most once: what is read waits for its commit before it is called. */
	return guarantee == RFL_EXACTLY_ONCE ? 100 : guarantee == RFL_AT_MOST_ONCE ? 0 : 1000;
}

static const struct rfl_stream_conf *
find_checkpoint(struct rfl_resolve *r, struct rfl_section *s)
{
	struct rfl_entry *e = rfl_entry_of(s, "checkpoint");
	struct riffle_value v = rfl_resolve_key(r, s, "checkpoint");
	const struct rfl_stream_conf *found =
		v.u.s != NULL ? rfl_resolve_stream(r, e, v.u.s) : NULL;
	if (v.u.s != NULL && found == NULL)
		rfl_mark_broken(e);
	return found;
}

void
rfl_resolve_processor(struct rfl_resolve *r, struct rfl_section *s)
{
	struct rfl_conf *c = r->conf;
	struct rfl_processor_conf *p = rfl_arena_alloc(r->arena, sizeof *p);
	p->name = s->name;
	p->place = s->place;
	p->group = rfl_arena_sprintf(r->arena, "%s.%s", c->runtime.namespace, s->name);
	p->function = find_function(r, s);
	set_inputs(r, s, p);
	set_outputs(r, s, p);
	struct riffle_value window = rfl_resolve_key(r, s, "window");
	if (window.u.s != NULL &&
		rfl_resolve_window(r, rfl_entry_of(s, "window"), window.u.s, &p->window) < 0)
		rfl_mark_broken(rfl_entry_of(s, "window"));
	struct riffle_value on_error = rfl_resolve_key(r, s, "on-error");
	if (on_error.u.s != NULL && rfl_resolve_on_error(r, rfl_entry_of(s, "on-error"),
					    on_error.u.s, &p->on_error) < 0)
		rfl_mark_broken(rfl_entry_of(s, "on-error"));
	p->guarantee = (enum rfl_guarantee)rfl_resolve_key(r, s, "guarantee").u.i;
	p->outputs_at_status =
		rfl_resolve_key(r, s, "outputs").u.i == 1 || p->guarantee == RFL_EXACTLY_ONCE;
	p->max_outputs_bytes = rfl_resolve_key(r, s, "max-outputs").u.i;
	p->calls = (uint32_t)rfl_resolve_key(r, s, "calls").u.i;
	p->max_records = (uint32_t)rfl_resolve_key(r, s, "max-records").u.i;
	p->commit_interval_ms = commit_interval(r, s, p->guarantee);
	p->checkpoint = find_checkpoint(r, s);
	rfl_resolve_time(r, s, p);
	p->window.canonical = rfl_window_canonical(r->arena, p);
	rfl_check_processor(r, s, p);
	/* Also when something is wrong with it: its tests are read all the same. */
	c->processors[c->processor_count++] = p;
}
