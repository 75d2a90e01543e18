/*
 * The side way: late records, records that the door refused, and windows that were given up, to the
 * streams that the configuration names. A record on it holds its lane's position until it is written; in
 * a transaction it goes with the position that passes it, so that a crash neither loses it nor brings it
 * twice.
 */
#include "task/task_private.h"

#include "base/error.h"
#include "base/log.h"
#include "base/mem.h"
#include "plugin/host.h"
#include "wire/envelope.h"

#include <inttypes.h>
#include <riffle/backoff.h>
#include <riffle/host.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIDE_MAGIC 0x53494445u
#define REASONS 7
#define DEAD_LETTERS_IN_ONE 1000u
#define CANNOT_WRITE "cannot write a late record or dead letter: %s"

/* Why it is here and where it came from, as headers behind its own. */
struct reasons {
	struct riffle_header list[REASONS];
	char partition[16], offset[24], attempt[16];
	uint32_t count;
};

static void
add(struct reasons *h, const char *name, const char *value)
{
	h->list[h->count++] = (struct riffle_header){
		.name = {name, strlen(name)}, .value = {value, strlen(value)}};
}

static void
set_reasons(struct reasons *h, const struct rfl_task *t, const struct rfl_lane *lane,
	const struct riffle_record *r, const char *stage, uint32_t attempt, const char *why)
{
	h->count = 0;
	snprintf(h->partition, sizeof h->partition, "%d", lane->at.partition);
	snprintf(h->offset, sizeof h->offset, "%" PRId64, r->offset);
	snprintf(h->attempt, sizeof h->attempt, "%u", attempt);
	add(h, "riffle-processor", t->spec->conf->name);
	add(h, "riffle-error", why);
	add(h, "riffle-error-stage", stage);
	add(h, "riffle-error-attempt", h->attempt);
	add(h, "riffle-source-stream", t->spec->conf->inputs[lane->at.input].stream->name);
	add(h, "riffle-source-partition", h->partition);
	add(h, "riffle-source-offset", h->offset);
}

/* The record as it was, with the reasons, for the stream of that route. */
static void
put(struct rfl_builder *build, const struct riffle_batch *b, uint32_t i, const struct reasons *h,
	const struct rfl_route *route)
{
	struct riffle_record r = *riffle_batch_at(b, i);
	struct riffle_header *all = rfl_alloc((r.header_count + REASONS) * sizeof *all);
	const char *type = r.content_type ? b->content_types[r.content_type] : NULL;
	if (r.header_count > 0)
		memcpy(all, b->headers + r.header_first, r.header_count * sizeof *all);
	memcpy(all + r.header_count, h->list, h->count * sizeof *all);
	uint32_t count = r.header_count + h->count;
	r.stream = route->sink_stream;
	r.offset = RIFFLE_OFFSET_NONE;
	r.partition = RIFFLE_PARTITION_NONE;
	rfl_builder_add(build, &r, all, count, type);
	free(all);
}

/* Where it came from names it, however often it is written. */
static void
event_id(void *ctx, const struct riffle_batch *b, const struct riffle_record *r, uint64_t n,
	struct rfl_buf *out)
{
	static const char from[] = "riffle-source-";
	(void)n;
	rfl_buf_puts(out, ctx);
	for (uint32_t i = 0; i < r->header_count; i++) {
		const struct riffle_header *h = &b->headers[r->header_first + i];
		if (h->name.len < sizeof from || memcmp(h->name.ptr, from, sizeof from - 1) != 0)
			continue;
		rfl_buf_putc(out, '/');
		rfl_buf_add(out, h->value.ptr, h->value.len);
	}
}

/* In the envelope of its stream; takes over the reference. */
static struct riffle_batch *
sealed(const struct rfl_task *t, const struct rfl_stream_conf *stream, struct riffle_batch *b)
{
	const struct rfl_processor_conf *c = t->spec->conf;
	const struct rfl_origin origin = {.source = c->group, .id = event_id, .ctx = c->name};
	struct riffle_batch *with = rfl_envelope_seal_for(stream, b, &origin);
	rfl_batch_unref(b);
	return with;
}

static void
send_side(struct rfl_task *t, struct rfl_side *s)
{
	rfl_batch_ref(s->batch);
	s->tag = rfl_outlet_send(s->route->outlet, s->batch, 0, t, s);
	s->is_sent = 1;
}

/* At most once: what is sent has been committed before, so that no crash brings it again. */
static int
may_send(const struct rfl_task *t, const struct rfl_side *s)
{
	if (rfl_task_is_at_most_once(t))
		return t->lanes[s->lane].committed > s->offset;
	return !rfl_task_is_exactly_once(t);
}

static void
add_side(struct rfl_task *t, struct rfl_lane *lane, uint32_t record, const struct rfl_route *route,
	const char *stage, const char *why)
{
	struct reasons h;
	struct riffle_batch *b = lane->chunk->batch;
	struct rfl_builder *build = rfl_builder_create();
	struct rfl_side *s = rfl_zalloc(sizeof *s);
	s->magic = SIDE_MAGIC;
	s->lane = (uint32_t)(lane - t->lanes);
	s->offset = riffle_batch_at(b, record)->offset;
	s->chunk = lane->chunk;
	s->route = route;
	set_reasons(&h, t, lane, riffle_batch_at(b, record), stage, 0, why);
	put(build, b, record, &h, route);
	const struct rfl_processor_conf *c = t->spec->conf;
	s->batch = sealed(t, route == &t->spec->late ? c->late_stream : c->on_error.dead_letter,
		rfl_builder_finish(build));
	rfl_builder_destroy(build);
	rfl_store_need(s->chunk, 1);
	rfl_list_append(&t->sides, &s->link);
	if (may_send(t, s))
		send_side(t, s);
}

void
rfl_side_late(struct rfl_task *t, struct rfl_lane *lane, uint32_t record, int64_t closed_ms)
{
	const struct rfl_processor_conf *c = t->spec->conf;
	char text[96];
	const struct riffle_record *r = riffle_batch_at(lane->chunk->batch, record);
	if (c->late == RFL_LATE_DROP)
		return;
	snprintf(text, sizeof text,
		"late: all windows of its time are over, the watermark is %" PRId64, closed_ms);
	if (c->late == RFL_LATE_STREAM) {
		add_side(t, lane, record, &t->spec->late, "late", text);
		return;
	}
	char *why = rfl_sprintf("record %s[%d]@%" PRId64 ": %s",
		c->inputs[lane->at.input].stream->name, lane->at.partition, r->offset, text);
	rfl_task_stop(t, why);
	free(why);
}

void
rfl_side_refused(struct rfl_task *t, struct rfl_lane *lane, uint32_t record, const char *why)
{
	switch (t->spec->conf->on_error.then) {
	case RFL_ON_ERROR_STOP:
		rfl_task_stop(t, why);
		break;
	case RFL_ON_ERROR_SKIP:
		t->skipped++;
		rfl_log(RIFFLE_LOG_WARNING, "T003", t->spec->what, "%s: skipped", why);
		break;
	case RFL_ON_ERROR_DEAD_LETTER:
		t->dead_letters++;
		add_side(t, lane, record, &t->spec->dead_letter, "door", why);
		break;
	}
}

static const char *
stage_of(const struct riffle_error *err)
{
	return strncmp(err->text, "cannot publish", 14) == 0 ? "publish" : "call";
}

static void
flush(const struct rfl_task *t, struct rfl_pane *p, struct rfl_builder *build)
{
	size_t bytes = rfl_builder_bytes(build);
	struct riffle_batch *b = rfl_builder_finish(build);
	if (b != NULL)
		rfl_pane_output(p, sealed(t, t->spec->conf->on_error.dead_letter, b),
			t->spec->dead_letter.outlet, bytes);
}

int
rfl_side_dead_letters(struct rfl_task *t, struct rfl_pane *p, const struct riffle_error *err,
	struct riffle_error *reterr)
{
	struct reasons h;
	struct rfl_builder *build = rfl_builder_create();
	int rc = RIFFLE_OK;
	for (size_t i = 0; i < p->items.count && rc == RIFFLE_OK; i++) {
		struct rfl_window_item item = p->items.list[i];
		struct rfl_chunk *c = rfl_item_chunk(item);
		struct riffle_batch *b;
		rc = rfl_store_batch(t->store, c, &b, reterr);
		for (uint32_t k = 0; rc == RIFFLE_OK && k < rfl_item_count(item); k++) {
			uint32_t at = rfl_item_index(item) + k;
			set_reasons(&h, t, &t->lanes[c->lane], riffle_batch_at(b, at),
				stage_of(err), p->attempt, err->text);
			put(build, b, at, &h, &t->spec->dead_letter);
			t->dead_letters++;
			if (rfl_builder_count(build) >= DEAD_LETTERS_IN_ONE)
				flush(t, p, build);
		}
		if (rc == RIFFLE_OK)
			rfl_batch_unref(b);
	}
	flush(t, p, build);
	rfl_builder_destroy(build);
	return rc;
}

int
rfl_side_is(const void *detail)
{
	uint32_t magic;
	memcpy(&magic, detail, sizeof magic);
	return magic == SIDE_MAGIC;
}

void
rfl_side_sent(struct rfl_task *t, struct rfl_side *s, const struct riffle_error *err)
{
	const struct rfl_on_error_conf *policy = &t->spec->conf->on_error;
	s->is_sent = 0;
	if (err->code == 0) {
		s->is_done = 1;
		return;
	}
	/* There is no further place for a record whose last place fails. */
	int again = (err->flags & RIFFLE_ERR_RETRIABLE) &&
		    (err->code == RIFFLE_E_UNAVAILABLE || s->failures < policy->retries);
	if (!again) {
		char *why = rfl_sprintf(CANNOT_WRITE, err->text);
		rfl_task_stop(t, why);
		free(why);
		return;
	}
	s->failures++;
	int64_t now_ns = rfl_clock_mono_ns(t->spec->clock);
	int64_t wait_ms = riffle_backoff_next(
		&s->backoff_ms, policy->backoff_min_ms, policy->backoff_max_ms, now_ns);
	s->retry_at_ns = now_ns + wait_ms * 1000000;
}

void
rfl_side_run(struct rfl_task *t, int64_t now_ns, int64_t *next_ns)
{
	struct rfl_side *s;
	if (rfl_task_is_exactly_once(t))
		return;
	rfl_list_foreach (s, &t->sides, struct rfl_side, link) {
		if (s->is_sent || s->is_done || t->stopped || !may_send(t, s))
			continue;
		if (now_ns >= s->retry_at_ns)
			send_side(t, s);
		else
			rfl_task_note_next(next_ns, s->retry_at_ns);
	}
}

/* The transaction says of all records before its hw, or before the cut, that they are done. */
static int
belongs(const struct rfl_task *t, const struct rfl_side *s)
{
	if (t->is_replaying)
		return 0;
	return s->offset <
	       (rfl_task_has_cut(t) ? t->lanes[s->lane].settled : rfl_task_hw(t, s->lane));
}

int
rfl_side_is_moving(const struct rfl_task *t)
{
	const struct rfl_side *s;
	rfl_list_foreach (s, &t->sides, struct rfl_side, link) {
		if (!rfl_task_is_exactly_once(t) || s->is_sent || s->is_staged || belongs(t, s))
			return 1;
	}
	return 0;
}

int
rfl_side_can_stage(const struct rfl_task *t)
{
	const struct rfl_side *s;
	rfl_list_foreach (s, &t->sides, struct rfl_side, link) {
		if (!s->is_staged && !s->is_sent && belongs(t, s))
			return 1;
	}
	return 0;
}

int
rfl_side_is_staging(const struct rfl_task *t)
{
	const struct rfl_side *s;
	rfl_list_foreach (s, &t->sides, struct rfl_side, link) {
		if (s->is_sent && !s->is_done)
			return 1;
		/* What belongs to the transaction may not be left out of it. */
		if (rfl_task_is_exactly_once(t) && !s->is_staged && belongs(t, s))
			return 1;
	}
	return 0;
}

size_t
rfl_side_stage(struct rfl_task *t)
{
	struct rfl_side *s;
	size_t bytes = 0;
	rfl_list_foreach (s, &t->sides, struct rfl_side, link) {
		if (!s->is_staged && !s->is_sent && !s->is_done && belongs(t, s)) {
			bytes += s->batch->pinned_bytes;
			send_side(t, s);
		}
		if (s->is_done && !s->is_staged) {
			s->is_staged = 1;
			rfl_store_stage(s->chunk, 1);
		}
	}
	return bytes;
}

int
rfl_side_has_begun(const struct rfl_task *t)
{
	const struct rfl_side *s;
	rfl_list_foreach (s, &t->sides, struct rfl_side, link) {
		if (s->is_sent || s->is_done)
			return 1;
	}
	return 0;
}

int
rfl_side_has_staged(const struct rfl_task *t)
{
	const struct rfl_side *s;
	rfl_list_foreach (s, &t->sides, struct rfl_side, link) {
		if (s->is_staged)
			return 1;
	}
	return 0;
}

void
rfl_side_unstage(struct rfl_task *t)
{
	struct rfl_side *s;
	rfl_list_foreach (s, &t->sides, struct rfl_side, link) {
		if (s->is_staged)
			rfl_store_unstage(s->chunk, 1);
		s->is_staged = s->is_done = s->is_sent = 0;
	}
}

int
rfl_side_refuse(struct rfl_task *t, const struct rfl_refusal *refusal)
{
	const struct rfl_side *s;
	rfl_list_foreach (s, &t->sides, struct rfl_side, link) {
		if (s->tag != refusal->tag)
			continue;
		char *why = rfl_sprintf(CANNOT_WRITE, refusal->error.text);
		rfl_task_seal(t, why);
		free(why);
		return 1;
	}
	return 0;
}

void
rfl_side_let_go(struct rfl_task *t, enum rfl_side_which which)
{
	struct rfl_side *s, *after;
	rfl_list_foreach_safe (s, after, &t->sides, struct rfl_side, link) {
		int goes = which == RFL_SIDE_ALL || (which == RFL_SIDE_STAGED && s->is_staged) ||
			   (which == RFL_SIDE_DONE && s->is_done);
		if (!goes)
			continue;
		if (s->is_staged)
			rfl_store_release_kept(t->store, s->chunk, 1);
		else
			rfl_store_release(t->store, s->chunk, 1);
		rfl_batch_unref(s->batch);
		rfl_list_remove(&s->link);
		RFL_RETIRE(s);
		free(s);
	}
}

int
rfl_side_holds_commit(const struct rfl_task *t)
{
	return t->spec->conf->guarantee == RFL_AT_LEAST_ONCE && rfl_task_has_frontier(t) &&
	       !rfl_list_empty(&t->sides);
}

int64_t
rfl_side_low(const struct rfl_task *t, uint32_t lane, int64_t next)
{
	const struct rfl_side *s;
	rfl_list_foreach (s, &t->sides, struct rfl_side, link) {
		if (s->lane == lane && !s->is_done && s->offset < next)
			return s->offset;
	}
	return next;
}
