/* A [processor]'s time and keys: which clock its windows have, what is late, and what that costs. */
#include "base/error.h"
#include "base/json_path.h"
#include "conf/resolve.h"
#include "conf/value.h"

#include <inttypes.h>
#include <riffle/invoker.h>
#include <stdlib.h>
#include <string.h>

static const char times[] = "processing | record | header:NAME [unit] | json:PATH [unit]";
static const char keys[] = "key | header:NAME | json:PATH";

static void
destroy_path(void *path)
{
	rfl_json_path_destroy(path);
}

static struct rfl_json_path *
take_path(struct rfl_resolve *r, struct rfl_entry *e, const char *text)
{
	struct rfl_json_path *path;
	struct riffle_error err;
	if (rfl_json_path_create(text, &path, &err) < 0) {
		rfl_entry_error(
			&r->doc, e, "C102", "json:$.user.id, json:items[0].sku", "%s", err.text);
		return NULL;
	}
	rfl_arena_own(r->arena, path, destroy_path);
	return path;
}

/* "header:x" and "json:p": which, and what is behind the colon. 0 = neither. */
static int
take_place(struct rfl_resolve *r, struct rfl_entry *e, char *word, char **ret_name,
	struct rfl_json_path **ret_path)
{
	if (strncmp(word, "header:", 7) == 0 && word[7] != '\0') {
		*ret_name = word + 7;
		return RFL_TIME_HEADER;
	}
	if (strncmp(word, "json:", 5) == 0 && word[5] != '\0') {
		*ret_path = take_path(r, e, word + 5);
		*ret_name = word + 5;
		return *ret_path ? RFL_TIME_JSON : -1;
	}
	return 0;
}

static int
take_unit(struct rfl_resolve *r, struct rfl_entry *e, const char *word, int64_t *ret_ns)
{
	static const struct {
		const char *name;
		int64_t ns;
	} units[] = {{"s", 1000000000}, {"ms", 1000000}, {"us", 1000}, {"ns", 1}};
	for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
		if (strcmp(word, units[i].name) == 0) {
			*ret_ns = units[i].ns;
			return 0;
		}
	rfl_entry_error(&r->doc, e, "C102", "s, ms, us or ns", "'%s' is no unit of a time", word);
	return -1;
}

static void
resolve_source(struct rfl_resolve *r, struct rfl_section *s, struct rfl_time_conf *ret)
{
	struct riffle_value v = rfl_resolve_key(r, s, "time");
	struct rfl_entry *e = rfl_entry_of(s, "time");
	char **words = v.u.s ? rfl_value_words(r->arena, v.u.s) : NULL;
	*ret = (struct rfl_time_conf){.source = RFL_TIME_PROCESSING, .unit_ns = 1000000};
	if (words == NULL || words[0] == NULL || strcmp(words[0], "processing") == 0)
		return;
	if (strcmp(words[0], "record") == 0) {
		ret->source = RFL_TIME_RECORD;
		if (words[1] != NULL)
			rfl_entry_error(&r->doc, e, "C102", times,
				"'%s' is more than time = record has", words[1]);
		return;
	}
	int place = take_place(r, e, words[0], &ret->name, &ret->path);
	if (place <= 0)
		rfl_mark_broken(e);
	if (place < 0)
		return;
	if (place == 0) {
		static const char *const all[] = {"processing", "record"};
		const char *near = rfl_value_nearest(words[0], all, 2);
		char *hint = near ? rfl_arena_sprintf(r->arena, "did you mean '%s'?", near) : NULL;
		rfl_entry_error(
			&r->doc, e, "C102", hint ? hint : times, "unknown time '%s'", words[0]);
		return;
	}
	ret->source = (enum rfl_time_source)place;
	if (words[1] != NULL && take_unit(r, e, words[1], &ret->unit_ns) == 0 && words[2] != NULL)
		rfl_entry_error(
			&r->doc, e, "C102", times, "'%s' is more than a time has", words[2]);
}

static void
resolve_by(struct rfl_resolve *r, struct rfl_section *s, struct rfl_by_conf *ret)
{
	struct riffle_value v = rfl_resolve_key(r, s, "by");
	struct rfl_entry *e = rfl_entry_of(s, "by");
	char *word = v.u.s ? rfl_arena_strdup(r->arena, v.u.s) : NULL;
	*ret = (struct rfl_by_conf){.source = RFL_BY_NOTHING};
	if (word == NULL)
		return;
	if (strcmp(word, "key") == 0) {
		ret->source = RFL_BY_KEY;
		return;
	}
	int place = take_place(r, e, word, &ret->name, &ret->path);
	if (place <= 0)
		rfl_mark_broken(e);
	if (place == 0)
		rfl_entry_error(
			&r->doc, e, "C102", keys, "'%s' is nothing to make windows by", word);
	if (place > 0)
		ret->source = place == RFL_TIME_HEADER ? RFL_BY_HEADER : RFL_BY_JSON;
}

static void
resolve_late(struct rfl_resolve *r, struct rfl_section *s, struct rfl_processor_conf *p)
{
	static const char *const all[] = {"drop", "stream", "stop"};
	struct riffle_value v = rfl_resolve_key(r, s, "late");
	struct rfl_entry *e = rfl_entry_of(s, "late");
	char **words = v.u.s ? rfl_value_words(r->arena, v.u.s) : NULL;
	p->late = RFL_LATE_DROP;
	if (e == NULL || words == NULL || words[0] == NULL)
		return;
	int streams = strcmp(words[0], "stream") == 0;
	if (streams && words[1] != NULL && words[2] == NULL) {
		p->late = RFL_LATE_STREAM;
		p->late_stream = rfl_resolve_stream(r, e, words[1]);
		if (p->late_stream == NULL)
			rfl_mark_broken(e);
	} else if (strcmp(words[0], "stop") == 0 && words[1] == NULL) {
		p->late = RFL_LATE_STOP;
	} else if (strcmp(words[0], "drop") != 0 || words[1] != NULL) {
		const char *near = rfl_value_nearest(words[0], all, 3);
		char *hint = near && strcmp(near, words[0]) != 0
				     ? rfl_arena_sprintf(r->arena, "did you mean '%s'?", near)
				     : NULL;
		rfl_entry_error(&r->doc, e, "C102", hint ? hint : "drop | stream NAME | stop",
			"'%s' is nothing to do with late records", v.u.s);
		rfl_mark_broken(e);
	}
}

static int
has_event_time(const struct rfl_processor_conf *p)
{
	return p->time.source != RFL_TIME_PROCESSING;
}

/* Of a window that could not be read the kind may be known. */
static int
has_kind(const struct rfl_section *s, const struct rfl_processor_conf *p)
{
	return p->window.kind != RFL_WINDOW_NONE || !rfl_is_broken(s, "window");
}

/* max-disorder and its synonym: what event time cannot do without. */
static void
resolve_disorder(struct rfl_resolve *r, struct rfl_section *s, struct rfl_processor_conf *p)
{
	struct rfl_entry *e = rfl_entry_of(s, "max-disorder"), *grace = rfl_entry_of(s, "grace");
	if (e != NULL && grace != NULL)
		rfl_key_error(&r->doc, grace, "C008", NULL,
			"'grace' and 'max-disorder' are the same, and both are there");
	p->max_disorder_ms =
		rfl_resolve_key(r, s, e == NULL && grace ? "grace" : "max-disorder").u.i;
	int needs = has_event_time(p) && p->window.kind != RFL_WINDOW_NONE;
	if (needs && e == NULL && grace == NULL)
		rfl_entry_error(&r->doc, rfl_entry_of(s, "time"), "C126", "max-disorder = 5s",
			"time = ... needs max-disorder: how much later than the newest one a "
			"record "
			"may come");
}

/* A key that says nothing here is a mistake of whoever wrote it. */
static void
refuse_without(
	struct rfl_resolve *r, struct rfl_section *s, const char *key, int fits, const char *needs)
{
	struct rfl_entry *e = rfl_section_entry(s, key);
	if (e != NULL && !fits)
		rfl_key_error(&r->doc, e, "C127", NULL, "'%s' is only for %s", key, needs);
}

static void
check_fits(struct rfl_resolve *r, struct rfl_section *s, const struct rfl_processor_conf *p)
{
	/* What could not be read is no reason to find fault with what goes with it. */
	enum rfl_window_kind kind = p->window.kind;
	int event = has_event_time(p) || rfl_is_broken(s, "time");
	int windows = kind != RFL_WINDOW_NONE || !has_kind(s, p);
	int grid = kind == RFL_WINDOW_TUMBLING || kind == RFL_WINDOW_HOPPING || !has_kind(s, p);
	int keyed = p->by.source != RFL_BY_NOTHING, is_by_known = !rfl_is_broken(s, "by");
	static const char *const event_keys[] = {
		"max-disorder", "grace", "max-future", "idle-after", "close-after-idle", "late"};
	for (size_t i = 0; i < sizeof event_keys / sizeof event_keys[0]; i++)
		refuse_without(r, s, event_keys[i], event, "time = record, header or json");
	refuse_without(r, s, "by", windows, "windows: `none` takes what comes together");
	refuse_without(r, s, "early", windows, "windows that are open for a while");
	refuse_without(
		r, s, "emit-empty", grid && !keyed, "tumbling and hopping windows without `by`");
	refuse_without(r, s, "output-key", keyed || !is_by_known, "windows with `by`");
	if (kind == RFL_WINDOW_COUNT && keyed && p->window.size_ms == 0 &&
		!rfl_is_broken(s, "window"))
		rfl_entry_error(&r->doc, rfl_entry_of(s, "window"), "C126", "count 100 or 1m",
			"with `by` a count window needs an `or`: a key that never comes again "
			"would "
			"hold it for ever");
}

static int64_t
close_after_idle(struct rfl_resolve *r, struct rfl_section *s, const struct rfl_processor_conf *p)
{
	struct riffle_value v = rfl_resolve_key(r, s, "close-after-idle");
	struct rfl_entry *e = rfl_entry_of(s, "close-after-idle");
	int64_t ms;
	const char *why;
	if (v.u.s == NULL)
		return p->window.size_ms > 60000 ? p->window.size_ms : 60000;
	if (strcmp(v.u.s, "never") == 0)
		return -1;
	if (rfl_value_duration(v.u.s, &ms, &why) == 0)
		return ms;
	rfl_entry_error(&r->doc, e, "C102", why, "'%s' is neither a duration nor never", v.u.s);
	return 0;
}

/* Its windows are known while they are open. */
static int
is_streamable(const struct rfl_section *s, const struct rfl_processor_conf *p)
{
	enum rfl_window_kind kind = p->window.kind;
	return (kind == RFL_WINDOW_TUMBLING || kind == RFL_WINDOW_COUNT || !has_kind(s, p)) &&
	       p->by.source == RFL_BY_NOTHING;
}

static int
is_able(const struct rfl_processor_conf *p)
{
	return p->function != NULL && (p->function->capabilities & RIFFLE_CAN_STREAM) != 0;
}

static void
refuse_function(struct rfl_resolve *r, struct rfl_entry *e, const struct rfl_function_conf *f)
{
	rfl_entry_error(&r->doc, e, "C122", NULL,
		"function '%s', as it is set, cannot answer before its input has ended: invoker "
		"'%s' is called at-close",
		f->name, f->invoker);
}

static void
resolve_delivery(struct rfl_resolve *r, struct rfl_section *s, struct rfl_processor_conf *p)
{
	struct riffle_value v = rfl_resolve_key(r, s, "delivery");
	struct rfl_entry *e = rfl_entry_of(s, "delivery");
	int shaped = is_streamable(s, p);
	int able = is_able(p);
	p->delivery = shaped && able ? RFL_STREAMING : RFL_AT_CLOSE;
	if (!v.is_set)
		return;
	p->delivery = v.u.i == 1 ? RFL_STREAMING : RFL_AT_CLOSE;
	if (p->delivery == RFL_AT_CLOSE)
		return;
	if (!shaped)
		rfl_entry_error(&r->doc, e, "C127", NULL,
			"delivery = stream is for `count` and `tumbling` without `by`: of others a "
			"window is known only when it is over");
	else if (!able && p->function != NULL)
		refuse_function(r, e, p->function);
}

int
rfl_conf_may_let_go(const struct rfl_processor_conf *p)
{
	return p->keep && p->delivery == RFL_STREAMING && p->guarantee != RFL_AT_MOST_ONCE &&
	       p->on_error.then != RFL_ON_ERROR_DEAD_LETTER && p->early_ms == 0;
}

/* What is called again, looked at early or written as dead letters has to be there still. */
static void
resolve_keep(struct rfl_resolve *r, struct rfl_section *s, struct rfl_processor_conf *p)
{
	struct rfl_entry *e = rfl_entry_of(s, "keep");
	p->keep = (int)rfl_resolve_key(r, s, "keep").u.i;
	if (p->keep || rfl_is_broken(s, "delivery") || rfl_is_broken(s, "window"))
		return;
	if (!is_streamable(s, p))
		rfl_entry_error(&r->doc, e, "C134", NULL,
			"keep = no is for `count` and `tumbling` without `by`: of others a window "
			"is "
			"known only when it is over, and kept until then");
	else if (p->function != NULL && !is_able(p))
		refuse_function(r, e, p->function);
	else if (p->function != NULL && p->delivery == RFL_AT_CLOSE)
		rfl_entry_error(&r->doc, e, "C134", NULL,
			"keep = no is for delivery = stream: at-close the records are kept until "
			"the window is over");
	if (p->guarantee == RFL_AT_MOST_ONCE)
		rfl_entry_error(&r->doc, e, "C134", "guarantee = at-least-once or exactly-once",
			"keep = no is not for at-most-once: a call begins there when its window "
			"is over and committed, and nothing of it can be read again");
	if (p->on_error.then == RFL_ON_ERROR_DEAD_LETTER)
		rfl_entry_error(&r->doc, e, "C134", "on-error = ... then stop, or then skip",
			"keep = no leaves nothing to write as dead letters");
	if (p->early_ms > 0)
		rfl_entry_error(
			&r->doc, e, "C134", NULL, "keep = no leaves nothing to look at early");
}

void
rfl_resolve_time(struct rfl_resolve *r, struct rfl_section *s, struct rfl_processor_conf *p)
{
	resolve_source(r, s, &p->time);
	resolve_by(r, s, &p->by);
	resolve_late(r, s, p);
	resolve_disorder(r, s, p);
	p->max_future_ms = rfl_resolve_key(r, s, "max-future").u.i;
	p->idle_after_ms = rfl_resolve_key(r, s, "idle-after").u.i;
	p->close_after_idle_ms = close_after_idle(r, s, p);
	p->emit_empty = (int)rfl_resolve_key(r, s, "emit-empty").u.i;
	p->pane_headers = (int)rfl_resolve_key(r, s, "pane-headers").u.i;
	p->output_key_none = rfl_resolve_key(r, s, "output-key").u.i == 1;
	struct riffle_value early = rfl_resolve_key(r, s, "early");
	struct rfl_entry *e = rfl_entry_of(s, "early");
	const char *why;
	if (early.u.s != NULL &&
		(strncmp(early.u.s, "every ", 6) != 0 ||
			rfl_value_duration(early.u.s + 6, &p->early_ms, &why) < 0 ||
			p->early_ms <= 0))
		rfl_entry_error(&r->doc, e, "C102", "early = every 10s",
			"'%s' does not say when early panes come", early.u.s);
	resolve_delivery(r, s, p);
	resolve_keep(r, s, p);
	check_fits(r, s, p);
}

char *
rfl_window_canonical(struct rfl_conf_memory *a, const struct rfl_processor_conf *p)
{
	static const char *const kinds[] = {"none", "count", "tumbling", "hopping", "session"};
	static const char *const sources[] = {"processing", "record", "header", "json"};
	static const char *const bys[] = {"nothing", "key", "header", "json"};
	const struct rfl_window_conf *w = &p->window;
	return rfl_arena_sprintf(a,
		"%s count %" PRIu64 " size %" PRId64 " slide %" PRId64 " max %" PRId64
		" offset %" PRId64 " zone %s time %s %s %" PRId64 " by %s %s",
		kinds[w->kind], w->count, w->size_ms, w->slide_ms, w->max_ms, w->offset_ms,
		w->zone_name ? w->zone_name : "utc", sources[p->time.source],
		p->time.name ? p->time.name : "-", p->time.unit_ns, bys[p->by.source],
		p->by.name ? p->by.name : "-");
}
