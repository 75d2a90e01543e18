/* The door of a task: which records may enter, with which time and which key. */
#include "task/task_private.h"

#include "base/error.h"
#include "base/json_path.h"
#include "base/mem.h"
#include "conf/value.h"
#include "plugin/host.h"
#include "wire/content_type.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define TYPES_ON_STACK 64
#define NUMBER_MAX 40
/* Nobody's clock: beyond lie only mistakes, and sums that overflow. */
#define TIME_LIMIT_MS (INT64_MAX / 8)

struct door {
	const struct rfl_task *t;
	const struct rfl_processor_conf *conf;
	const struct riffle_batch *b;
	const char *expected;
	const unsigned char *fits;
	uint32_t fit_count;
	int64_t now_ms;
	struct rfl_buf *keys;
};

/* Which entries of the batch's content types may enter: by the table, not by the record. */
static void
judge_types(const struct riffle_batch *b, const char *expected, unsigned char *fits, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		fits[i] = i == 0 || b->content_types[i] == NULL ||
			  rfl_content_type_matches(expected, b->content_types[i]);
}

static const struct riffle_header *
find_header(const struct door *d, const struct riffle_record *r, const char *name)
{
	size_t len = strlen(name);
	for (uint32_t i = r->header_count; i-- > 0;) {
		const struct riffle_header *h = &d->b->headers[r->header_first + i];
		if (h->name.len == len && memcmp(h->name.ptr, name, len) == 0)
			return h;
	}
	return NULL;
}

/* A number of units, or RFC 3339 text. */
static int
parse_time(struct riffle_bytes text, int64_t unit_ns, int64_t *ret_ms, struct riffle_error *reterr)
{
	char copy[NUMBER_MAX + 1];
	int64_t n;
	const char *why;
	if (text.ptr == NULL || text.len == 0 || text.len > NUMBER_MAX)
		return rfl_err(reterr, RIFFLE_E_DATA, "its time has %zu characters", text.len);
	if (memchr(text.ptr, '\0', text.len) != NULL)
		return rfl_err(reterr, RIFFLE_E_DATA, "its time holds a NUL");
	memcpy(copy, text.ptr, text.len);
	copy[text.len] = '\0';
	if (rfl_value_time(copy, ret_ms) == 0)
		return RIFFLE_OK;
	if (rfl_value_int(copy, &n, &why) == 0) {
		/* Floored, so that a moment before 1970 lies in its millisecond. */
		if (unit_ns >= 1000000) {
			if (n > TIME_LIMIT_MS / (unit_ns / 1000000) ||
				n < -TIME_LIMIT_MS / (unit_ns / 1000000))
				return rfl_err(
					reterr, RIFFLE_E_DATA, "its time '%s' cannot be", copy);
			*ret_ms = n * (unit_ns / 1000000);
			return RIFFLE_OK;
		}
		int64_t per_ms = 1000000 / unit_ns;
		*ret_ms = n / per_ms - (n % per_ms < 0);
		return RIFFLE_OK;
	}
	char *end;
	double x = strtod(copy, &end);
	if (*end != '\0' || !(x > -1e18 && x < 1e18))
		return rfl_err(reterr, RIFFLE_E_DATA,
			"its time '%s' is neither a number nor like 2026-01-02T03:04:05Z", copy);
	x *= (double)unit_ns / 1e6;
	if (!(x > -(double)TIME_LIMIT_MS && x < (double)TIME_LIMIT_MS))
		return rfl_err(reterr, RIFFLE_E_DATA, "its time '%s' cannot be", copy);
	*ret_ms = (int64_t)x - (x < (double)(int64_t)x);
	return RIFFLE_OK;
}

static int
header_text(const struct door *d, const struct riffle_record *r, const char *name,
	struct riffle_bytes *ret, struct riffle_error *reterr)
{
	const struct riffle_header *h = find_header(d, r, name);
	if (h == NULL || h->value.ptr == NULL)
		return rfl_err(reterr, RIFFLE_E_DATA, "it has no header '%s'", name);
	*ret = h->value;
	return RIFFLE_OK;
}

/* The text of a JSON value lies in the record, or, where it had to be put together, in the buffer. */
static int
json_text(const struct door *d, const struct riffle_record *r, const struct rfl_json_path *path,
	const char *name, struct rfl_buf *buf, struct riffle_bytes *ret,
	struct riffle_error *reterr)
{
	struct rfl_json_value v;
	(void)d;
	int rc = rfl_json_path_find(path, r->value, &v, reterr);
	if (rc < 0)
		return rc;
	if (rc == 0 || v.kind == RFL_JSON_NULL)
		return rfl_err(reterr, RIFFLE_E_DATA, "it has no value at json:%s", name);
	if (v.kind == RFL_JSON_ARRAY || v.kind == RFL_JSON_OBJECT)
		return rfl_err(reterr, RIFFLE_E_DATA, "json:%s is not a single value", name);
	*ret = rfl_json_text(&v, buf);
	return RIFFLE_OK;
}

static int
time_of(const struct door *d, const struct riffle_record *r, int64_t *ret_ms,
	struct riffle_error *reterr)
{
	const struct rfl_time_conf *c = &d->conf->time;
	struct riffle_bytes text;
	struct rfl_buf buf = RFL_BUF_INIT;
	int rc = RIFFLE_OK;
	if (c->source == RFL_TIME_PROCESSING) {
		*ret_ms = d->now_ms;
		return RIFFLE_OK;
	}
	if (c->source == RFL_TIME_RECORD) {
		if (r->time_ms == RIFFLE_TIME_NONE)
			return rfl_err(reterr, RIFFLE_E_DATA, "it has no time");
		*ret_ms = r->time_ms;
	} else {
		rc = c->source == RFL_TIME_HEADER
			     ? header_text(d, r, c->name, &text, reterr)
			     : json_text(d, r, c->path, c->name, &buf, &text, reterr);
		if (rc == RIFFLE_OK)
			rc = parse_time(text, c->unit_ns, ret_ms, reterr);
		rfl_buf_fini(&buf);
	}
	if (rc == RIFFLE_OK && (*ret_ms > TIME_LIMIT_MS || *ret_ms < -TIME_LIMIT_MS))
		rc = rfl_err(reterr, RIFFLE_E_DATA, "its time, %" PRId64 " ms, cannot be", *ret_ms);
	if (rc == RIFFLE_OK && *ret_ms - d->now_ms > d->conf->max_future_ms)
		rc = rfl_err(reterr, RIFFLE_E_DATA,
			"its time is %" PRId64
			" ms ahead of the clock, more than max-future = %" PRId64 " ms",
			*ret_ms - d->now_ms, d->conf->max_future_ms);
	return rc;
}

static int
key_of(const struct door *d, const struct riffle_record *r, struct rfl_admission *a,
	struct riffle_error *reterr)
{
	const struct rfl_by_conf *c = &d->conf->by;
	struct riffle_bytes text = {"", 0};
	struct rfl_buf buf = RFL_BUF_INIT;
	int rc = RIFFLE_OK;
	if (c->source == RFL_BY_KEY)
		text = r->key;
	else if (c->source == RFL_BY_HEADER)
		rc = header_text(d, r, c->name, &text, reterr);
	else if (c->source == RFL_BY_JSON)
		rc = json_text(d, r, c->path, c->name, &buf, &text, reterr);
	if (rc == RIFFLE_OK && (text.ptr == NULL || (text.len == 0 && c->source != RFL_BY_NOTHING)))
		rc = rfl_err(reterr, RIFFLE_E_DATA, "it has no key");
	if (rc == RIFFLE_OK && text.len > UINT32_MAX)
		rc = rfl_err(reterr, RIFFLE_E_DATA, "its key has %zu bytes", text.len);
	a->key = text.ptr;
	a->key_len = (uint32_t)text.len;
	/* The buffer may move until all keys are in it: until then it is an offset, marked by NULL. */
	if (rc == RIFFLE_OK && buf.len > 0) {
		a->key = NULL;
		a->hash = (uint32_t)d->keys->len;
		rfl_buf_add(d->keys, text.ptr, text.len);
	}
	rfl_buf_fini(&buf);
	return rc;
}

/*
 * Later than all that entered before: a predecessor refused it for being ahead of the clock, and has dealt
 * with it, though the clock has come near it since.
 */
static int
was_ahead(const struct door *d, const struct rfl_lane *lane, int64_t offset, int64_t time_ms)
{
	return offset < lane->replay_to && rfl_task_has_frontier(d->t) && time_ms > lane->time_ms;
}

static int
judge(const struct door *d, const struct rfl_lane *lane, const struct riffle_record *r,
	struct rfl_admission *a, struct riffle_error *reterr)
{
	a->verdict = RFL_SEEN;
	/* A broker's client may deliver twice; offsets only ever grow within a lane. */
	if (r->offset < lane->next || rfl_open_passes(lane, r->offset))
		return RIFFLE_OK;
	a->verdict = RFL_REFUSED;
	if (r->content_type >= d->fit_count || !d->fits[r->content_type])
		return rfl_err(reterr, RIFFLE_E_UNSUPPORTED,
			"content type \"%s\" not compatible with expected content type \"%s\"",
			r->content_type < d->fit_count ? d->b->content_types[r->content_type] : "?",
			d->expected);
	int rc = time_of(d, r, &a->time_ms, reterr);
	if (rc == RIFFLE_OK && was_ahead(d, lane, r->offset, a->time_ms)) {
		a->verdict = RFL_SEEN;
		return RIFFLE_OK;
	}
	if (rc == RIFFLE_OK)
		rc = key_of(d, r, a, reterr);
	if (rc == RIFFLE_OK)
		a->verdict = RFL_ENTERS;
	return rc;
}

static struct door
open_door(const struct rfl_task *t, const struct rfl_lane *lane, const struct riffle_batch *b,
	int64_t now_ms, unsigned char *fits, struct rfl_buf *keys)
{
	const struct rfl_stream_conf *s = t->spec->conf->inputs[lane->at.input].stream;
	uint32_t types = b->content_type_count > 0 ? b->content_type_count : 1;
	judge_types(b, s->stream.content_type, fits, types);
	return (struct door){.t = t,
		.conf = t->spec->conf,
		.b = b,
		.expected = s->stream.content_type,
		.fits = fits,
		.fit_count = types,
		.now_ms = now_ms,
		.keys = keys};
}

void
rfl_door_judge(
	struct rfl_task *t, struct rfl_lane *lane, const struct riffle_batch *b, int64_t now_ms)
{
	unsigned char on_stack[TYPES_ON_STACK];
	unsigned char *fits = b->content_type_count <= TYPES_ON_STACK
				      ? on_stack
				      : rfl_alloc(b->content_type_count);
	struct riffle_error err;
	rfl_grow(&lane->admissions, &lane->admission_room, b->record_count,
		sizeof *lane->admissions);
	rfl_buf_clear(&lane->keys);
	const struct door d = open_door(t, lane, b, now_ms, fits, &lane->keys);
	for (uint32_t i = 0; i < b->record_count; i++)
		judge(&d, lane, riffle_batch_at(b, i), &lane->admissions[i], &err);
	for (uint32_t i = 0; i < b->record_count; i++) {
		struct rfl_admission *a = &lane->admissions[i];
		if (a->verdict != RFL_ENTERS)
			continue;
		if (a->key == NULL)
			a->key = lane->keys.data + a->hash;
		a->hash = rfl_window_hash(a->key, a->key_len);
	}
	if (fits != on_stack)
		free(fits);
}

char *
rfl_door_reason(const struct rfl_task *t, const struct rfl_lane *lane, const struct riffle_batch *b,
	uint32_t i, int64_t now_ms)
{
	unsigned char *fits = rfl_alloc(b->content_type_count + 1);
	struct rfl_buf keys = RFL_BUF_INIT;
	struct riffle_error err = {0};
	struct rfl_admission a = {0};
	const struct riffle_record *r = riffle_batch_at(b, i);
	const struct door d = open_door(t, lane, b, now_ms, fits, &keys);
	judge(&d, lane, r, &a, &err);
	free(fits);
	rfl_buf_fini(&keys);
	return rfl_sprintf("record %s[%d]@%" PRId64 ": %s",
		t->spec->conf->inputs[lane->at.input].stream->name, lane->at.partition, r->offset,
		err.text);
}
