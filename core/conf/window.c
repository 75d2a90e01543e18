/* The grammars of `window` and `on-error`. */
#include "base/mem.h"
#include "base/zone.h"
#include "conf/resolve.h"
#include "conf/value.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char *const kinds[] = {
	"none", "count", "tumbling", "hopping", "session", "sliding", "unbounded"};
static const char shape[] =
	"none | count N [or D] | tumbling D | hopping D every D | session gap D max D";

#define DAY_MS INT64_C(86400000)

struct words {
	char **at;
	struct rfl_resolve *r;
	struct rfl_entry *e;
};

static void
destroy_zone(void *zone)
{
	rfl_zone_destroy(zone);
}

/* A finding at the value; returns -1. Defaults are right, so there is a value whenever this is called. */
static int __attribute__((format(printf, 4, 5)))
refuse(struct words *w, const char *code, const char *hint, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	char *text = rfl_vsprintf(fmt, ap);
	va_end(ap);
	rfl_entry_error(&w->r->doc, w->e, code, hint, "%s", text);
	free(text);
	return -1;
}

static int
take_duration(struct words *w, int64_t *ret_ms)
{
	const char *why;
	if (*w->at == NULL)
		return refuse(w, "C102", "a duration such as 10s",
			"a duration is missing behind '%s'", w->at[-1]);
	if (rfl_value_duration(*w->at, ret_ms, &why) < 0)
		return refuse(w, "C102", why, "'%s' is not a duration", *w->at);
	if (*ret_ms <= 0)
		return refuse(w, "C102", NULL, "'%s': a window has some length", *w->at);
	w->at++;
	return 0;
}

static int
take_count(struct words *w, struct rfl_window_conf *ret)
{
	int64_t n;
	const char *why;
	if (*w->at == NULL || rfl_value_int(*w->at, &n, &why) < 0 || n < 1)
		return refuse(w, "C102", "count 100, count 100 or 5s",
			"'%s' is not a number of records", *w->at ? *w->at : "");
	ret->count = (uint64_t)n;
	w->at++;
	if (*w->at == NULL || strcmp(*w->at, "or") != 0)
		return 0;
	w->at++;
	return take_duration(w, &ret->size_ms);
}

/* The word that has to stand here. */
static int
take_word(struct words *w, const char *word)
{
	if (*w->at != NULL && strcmp(*w->at, word) == 0) {
		w->at++;
		return 0;
	}
	return refuse(w, "C102", shape, "'%s' is missing%s%s%s", word, *w->at ? " before '" : "",
		*w->at ? *w->at : "", *w->at ? "'" : "");
}

static int
take_hopping(struct words *w, struct rfl_window_conf *ret)
{
	if (take_duration(w, &ret->size_ms) < 0 || take_word(w, "every") < 0 ||
		take_duration(w, &ret->slide_ms) < 0)
		return -1;
	if (ret->slide_ms > ret->size_ms)
		return refuse(w, "C102", NULL,
			"records between two windows would be in none: 'every' is longer than the "
			"window");
	if (ret->size_ms / ret->slide_ms > 10000)
		return refuse(w, "C102", NULL, "each record would be in more than 10000 windows");
	return 0;
}

static int
take_session(struct words *w, struct rfl_window_conf *ret)
{
	if (take_word(w, "gap") < 0 || take_duration(w, &ret->size_ms) < 0)
		return -1;
	if (*w->at == NULL || strcmp(*w->at, "max") != 0)
		return refuse(w, "C102", "session gap 30s max 1h",
			"a session needs a 'max': one without an end would never be committed");
	w->at++;
	if (take_duration(w, &ret->max_ms) < 0)
		return -1;
	if (ret->max_ms < ret->size_ms)
		return refuse(w, "C102", NULL, "'max' is shorter than the gap");
	return 0;
}

static int
is_grid(const struct rfl_window_conf *c)
{
	return c->kind == RFL_WINDOW_TUMBLING || c->kind == RFL_WINDOW_HOPPING;
}

/* The zone's file; the tz database is where the C library looks for it. */
static int
take_zone(struct words *w, struct rfl_window_conf *ret)
{
	const char *name = *w->at, *dir = getenv("TZDIR");
	struct riffle_error err;
	struct rfl_zone *zone;
	if (name == NULL)
		return refuse(w, "C102", "align Europe/Paris, align utc",
			"a time zone is missing behind 'align'");
	w->at++;
	if (strcasecmp(name, "utc") == 0)
		return 0;
	if (rfl_zone_load(dir && dir[0] ? dir : "/usr/share/zoneinfo", name, &zone, &err) < 0)
		return refuse(
			w, "C102", "a name of the tz database, as Europe/Paris", "%s", err.text);
	rfl_arena_own(w->r->arena, zone, destroy_zone);
	ret->zone = zone;
	ret->zone_name = rfl_arena_strdup(w->r->arena, name);
	int64_t step = ret->kind == RFL_WINDOW_HOPPING ? ret->slide_ms : ret->size_ms;
	if (ret->size_ms % DAY_MS != 0 || step % DAY_MS != 0)
		return refuse(w, "C102", "tumbling 1d align Europe/Paris",
			"'align' with a time zone is for windows of whole days");
	return 0;
}

static int
take_offset(struct words *w, struct rfl_window_conf *ret)
{
	const char *why, *text = *w->at;
	if (text == NULL)
		return refuse(w, "C102", "offset 15m, offset -2h",
			"a duration is missing behind 'offset'");
	int negative = text[0] == '-';
	if (rfl_value_duration(text + negative, &ret->offset_ms, &why) < 0)
		return refuse(w, "C102", why, "'%s' is not a duration", text);
	ret->offset_ms = negative ? -ret->offset_ms : ret->offset_ms;
	w->at++;
	return 0;
}

/* [align ZONE] [offset D], in either order. */
static int
take_grid(struct words *w, struct rfl_window_conf *ret)
{
	while (*w->at != NULL) {
		int align = strcmp(*w->at, "align") == 0;
		if (!align && strcmp(*w->at, "offset") != 0)
			return refuse(w, "C102", shape, "'%s' is more than a window has", *w->at);
		if (!is_grid(ret))
			return refuse(w, "C102", NULL,
				"'%s' is for tumbling and hopping windows: others have no grid",
				*w->at);
		w->at++;
		if ((align ? take_zone(w, ret) : take_offset(w, ret)) < 0)
			return -1;
	}
	return 0;
}

static int
take_shape(struct words *w, struct rfl_window_conf *ret)
{
	const char *kind = *w->at++;
	if (strcmp(kind, "none") == 0) {
		ret->kind = RFL_WINDOW_NONE;
		return 0;
	}
	if (strcmp(kind, "count") == 0) {
		ret->kind = RFL_WINDOW_COUNT;
		return take_count(w, ret);
	}
	if (strcmp(kind, "tumbling") == 0) {
		ret->kind = RFL_WINDOW_TUMBLING;
		return take_duration(w, &ret->size_ms);
	}
	if (strcmp(kind, "hopping") == 0) {
		ret->kind = RFL_WINDOW_HOPPING;
		return take_hopping(w, ret);
	}
	if (strcmp(kind, "session") == 0) {
		ret->kind = RFL_WINDOW_SESSION;
		return take_session(w, ret);
	}
	if (strcmp(kind, "sliding") == 0 || strcmp(kind, "unbounded") == 0)
		return refuse(w, "C108", shape, "window kind '%s' is reserved and not built", kind);
	const char *near = rfl_value_nearest(kind, kinds, sizeof kinds / sizeof kinds[0]);
	char *hint = near ? rfl_arena_sprintf(w->r->arena, "did you mean '%s'?", near) : NULL;
	return refuse(w, "C102", hint ? hint : shape, "unknown window kind '%s'", kind);
}

int
rfl_resolve_window(
	struct rfl_resolve *r, struct rfl_entry *e, const char *text, struct rfl_window_conf *ret)
{
	struct words w = {.at = rfl_value_words(r->arena, text), .r = r, .e = e};
	*ret = (struct rfl_window_conf){.kind = RFL_WINDOW_NONE};
	if (w.at == NULL || *w.at == NULL)
		return refuse(&w, "C102", shape, "'%s' is not a window", text);
	if (take_shape(&w, ret) < 0)
		return -1;
	return take_grid(&w, ret);
}

static const char policy[] =
	"stop | skip | dead-letter STREAM | retry N backoff D..D then one of these";

static int
take_end(struct words *w, int rc)
{
	if (rc == 0 && *w->at != NULL)
		return refuse(w, "C102", policy, "'%s' is more than an error policy has", *w->at);
	return rc;
}

static int
take_final(struct words *w, struct rfl_on_error_conf *ret)
{
	static const char *const finals[] = {"stop", "skip", "retry", "dead-letter"};
	const char *word = *w->at ? *w->at : "";
	if (strcmp(word, "dead-letter") == 0) {
		w->at++;
		if (*w->at == NULL)
			return refuse(w, "C102", "dead-letter STREAM",
				"the stream is missing behind 'dead-letter'");
		ret->then = RFL_ON_ERROR_DEAD_LETTER;
		ret->dead_letter = rfl_resolve_stream(w->r, w->e, *w->at);
		w->at++;
		return take_end(w, ret->dead_letter ? 0 : -1);
	}
	if (strcmp(word, "retry") == 0)
		return refuse(w, "C102", policy, "'retry' is there twice");
	if (strcmp(word, "stop") != 0 && strcmp(word, "skip") != 0) {
		const char *near = rfl_value_nearest(word, finals, 4);
		char *hint =
			near ? rfl_arena_sprintf(w->r->arena, "did you mean '%s'?", near) : NULL;
		return refuse(w, "C102", hint ? hint : policy, "unknown error policy '%s'", word);
	}
	ret->then = strcmp(word, "skip") == 0 ? RFL_ON_ERROR_SKIP : RFL_ON_ERROR_STOP;
	w->at++;
	return take_end(w, 0);
}

static int
take_backoff(struct words *w, struct rfl_on_error_conf *ret)
{
	const char *why;
	char *range = *w->at ? rfl_arena_strdup(w->r->arena, *w->at) : NULL;
	char *dots = range ? strstr(range, "..") : NULL;
	if (dots == NULL)
		return refuse(w, "C102", "backoff 200ms..10s", "'%s' is not a range of durations",
			range ? range : "");
	*dots = '\0';
	if (rfl_value_duration(range, &ret->backoff_min_ms, &why) < 0 ||
		rfl_value_duration(dots + 2, &ret->backoff_max_ms, &why) < 0)
		return refuse(w, "C102", why, "'%s' is not a range of durations", *w->at);
	if (ret->backoff_min_ms > ret->backoff_max_ms || ret->backoff_min_ms == 0)
		return refuse(w, "C102", "backoff 200ms..10s",
			"'%s' does not go from a short wait to a long one", *w->at);
	w->at++;
	return 0;
}

int
rfl_resolve_on_error(
	struct rfl_resolve *r, struct rfl_entry *e, const char *text, struct rfl_on_error_conf *ret)
{
	int64_t n;
	const char *why;
	struct words w = {.at = rfl_value_words(r->arena, text), .r = r, .e = e};
	*ret = (struct rfl_on_error_conf){.backoff_min_ms = 200, .backoff_max_ms = 10000};
	if (w.at == NULL || *w.at == NULL)
		return refuse(&w, "C102", policy, "'%s' is not an error policy", text);
	if (strcmp(*w.at, "retry") != 0)
		return take_final(&w, ret);
	w.at++;
	if (*w.at == NULL || rfl_value_int(*w.at, &n, &why) < 0 || n < 1 || n > UINT32_MAX)
		return refuse(
			&w, "C102", policy, "'%s' is not a number of attempts", *w.at ? *w.at : "");
	ret->retries = (uint32_t)n;
	w.at++;
	if (*w.at != NULL && strcmp(*w.at, "backoff") == 0) {
		w.at++;
		if (take_backoff(&w, ret) < 0)
			return -1;
	}
	if (*w.at == NULL || strcmp(*w.at, "then") != 0)
		return refuse(
			&w, "C102", policy, "'then' and what follows is missing in '%s'", text);
	w.at++;
	return take_final(&w, ret);
}
