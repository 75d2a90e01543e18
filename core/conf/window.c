/* The grammars of `window` and `on-error`. */
#include "base/mem.h"
#include "conf/resolve.h"
#include "conf/value.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static const char *const kinds[] = {
	"none", "count", "tumbling", "hopping", "session", "sliding", "unbounded"};
static const char shape[] = "none | count N [or D] | tumbling D";

struct words {
	char **at;
	struct rfl_resolve *r;
	struct rfl_entry *e;
};

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
	if (strcmp(kind, "hopping") == 0 || strcmp(kind, "session") == 0)
		return refuse(
			w, "C107", shape, "window kind '%s' is not offered by this version", kind);
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
	if (*w.at != NULL && (strcmp(*w.at, "align") == 0 || strcmp(*w.at, "offset") == 0))
		return refuse(&w, "C107", NULL, "'%s' is not offered by this version", *w.at);
	if (*w.at != NULL)
		return refuse(&w, "C102", shape, "'%s' is more than a window has", *w.at);
	ret->canonical =
		rfl_arena_sprintf(r->arena, "%s count %" PRIu64 " size %" PRId64 " time processing",
			kinds[ret->kind], ret->count, ret->size_ms);
	return 0;
}

static const char policy[] = "stop | skip | retry N backoff D..D then stop";

static int
take_final(struct words *w, struct rfl_on_error_conf *ret)
{
	static const char *const finals[] = {"stop", "skip", "retry", "dead-letter"};
	const char *word = *w->at ? *w->at : "";
	if (strcmp(word, "dead-letter") == 0)
		return refuse(w, "C107", policy, "'%s' is not offered by this version", word);
	if (strcmp(word, "stop") != 0 && strcmp(word, "skip") != 0) {
		const char *near = rfl_value_nearest(word, finals, 3);
		char *hint =
			near ? rfl_arena_sprintf(w->r->arena, "did you mean '%s'?", near) : NULL;
		return refuse(w, "C102", hint ? hint : policy, "unknown error policy '%s'", word);
	}
	ret->then = strcmp(word, "skip") == 0 ? RFL_ON_ERROR_SKIP : RFL_ON_ERROR_STOP;
	w->at++;
	if (*w->at != NULL)
		return refuse(w, "C102", policy, "'%s' is more than an error policy has", *w->at);
	return 0;
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
