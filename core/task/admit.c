/* The door of a task: reads lanes, refuses what may not enter, puts the rest into windows. */
#include "task/task_private.h"

#include "base/error.h"
#include "base/log.h"
#include "base/mem.h"
#include "plugin/host.h"
#include "wire/content_type.h"
#include "wire/envelope.h"

#include <inttypes.h>
#include <riffle/host.h>
#include <stdlib.h>

#define POLL_BYTES ((size_t)4 * 1024 * 1024)
#define TYPES_ON_STACK 64

size_t
rfl_task_bytes(const struct rfl_task *t)
{
	const struct rfl_pane *p;
	size_t sum = t->open ? rfl_pane_bytes(t->open) : 0;
	rfl_list_foreach (p, &t->panes, struct rfl_pane, link)
		sum += rfl_pane_bytes(p);
	return sum;
}

/* A window that cannot close before more records come would wait for ever under a full memory. */
static int
memory_allows(struct rfl_task *t)
{
	if (rfl_task_bytes(t) < t->spec->memory_bytes)
		return 1;
	if (t->open == NULL || t->spec->window.shape != RFL_SHAPE_COUNT ||
		t->spec->window.size_ms > 0)
		return 0;
	if (rfl_pane_bytes(t->open) < t->spec->memory_bytes)
		return 0;
	char *why =
		rfl_sprintf("a window of %" PRIu64 " records needs more than memory = %zu bytes: "
			    "it holds %zu bytes and is not complete",
			t->spec->window.count, t->spec->memory_bytes, rfl_pane_bytes(t->open));
	rfl_task_stop(t, why);
	free(why);
	return 0;
}

static uint32_t
poll_limit(const struct rfl_task *t)
{
	uint64_t room = rfl_window_room(t->window);
	uint32_t most = t->spec->conf->max_records;
	return room < most ? (uint32_t)room : most;
}

/* Which entries of the batch's content types may enter: by the table, not by the record. */
static void
judge_types(const struct riffle_batch *b, const char *expected, unsigned char *fits, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		fits[i] = i == 0 || b->content_types[i] == NULL ||
			  rfl_content_type_matches(expected, b->content_types[i]);
}

struct door {
	struct rfl_task *t;
	struct rfl_lane *lane;
	const struct rfl_stream_conf *stream;
	const unsigned char *fits;
	uint32_t fit_count;
};

/* 1 = enters, 0 = is left out (again, or by policy), -1 = the task was stopped at this record. */
static int
judge(const struct door *d, const struct riffle_batch *b, const struct riffle_record *r)
{
	/* A broker's client may deliver twice; offsets only ever grow within a lane. */
	if (r->offset < d->lane->next)
		return 0;
	if (r->content_type < d->fit_count && d->fits[r->content_type])
		return 1;
	const char *type = r->content_type < d->fit_count ? b->content_types[r->content_type] : "?";
	d->t->refused++;
	char *why =
		rfl_sprintf("record %s[%d]@%" PRId64 ": content type \"%s\" not compatible with "
			    "expected content type \"%s\"",
			d->stream->name, d->lane->at.partition, r->offset, type,
			d->stream->stream.content_type);
	if (d->t->spec->conf->on_error.then == RFL_ON_ERROR_SKIP)
		rfl_log(RIFFLE_LOG_WARNING, "T003", d->t->spec->what, "%s: skipped", why);
	else
		rfl_task_stop(d->t, why);
	int stopped = d->t->stopped;
	free(why);
	return stopped ? -1 : 0;
}

static void
note_time(struct rfl_pane *p, const struct riffle_record *r)
{
	if (r->time_ms > p->max_time_ms)
		p->max_time_ms = r->time_ms;
}

/*
 * How many records from the first on enter one after the other; *ret_next is the offset after them.
 * A whole batch almost always does, and then nothing needs to be copied to leave something out.
 */
static uint32_t
run_length(const struct door *d, const struct riffle_batch *b, uint32_t first, int *ret_verdict)
{
	uint32_t i;
	*ret_verdict = 1;
	for (i = first; i < b->record_count; i++) {
		const struct riffle_record *r = riffle_batch_at(b, i);
		*ret_verdict = judge(d, b, r);
		if (*ret_verdict != 1)
			break;
		d->lane->next = r->offset + 1;
	}
	return i - first;
}

static void
enter(const struct door *d, struct riffle_batch *b, uint32_t first, uint32_t count, int64_t now_ms)
{
	struct rfl_task *t = d->t;
	int copies = t->spec->window.shape != RFL_SHAPE_NONE;
	rfl_window_add(t->window, now_ms, count);
	if (t->open == NULL)
		t->open = rfl_pane_create(t->lane_count, copies);
	for (uint32_t i = first; i < first + count; i++)
		note_time(t->open, riffle_batch_at(b, i));
	t->records_in += count;
	if (!copies && count == b->record_count && d->lane->at.stream == d->lane->at.input) {
		rfl_batch_ref(b);
		rfl_pane_borrow(t->open, b);
		return;
	}
	/* Where the source numbers its streams otherwise than the function its inputs, say it anew. */
	struct riffle_batch *view = rfl_batch_view(b, first, count);
	struct riffle_record *records = rfl_batch_records(view);
	for (uint32_t i = 0; i < count; i++)
		records[i].stream = d->lane->at.input;
	if (copies) {
		for (uint32_t i = 0; i < count; i++)
			rfl_pane_copy(t->open, view, i);
		rfl_batch_unref(view);
	} else {
		rfl_pane_borrow(t->open, view);
	}
}

static void
admit_batch(struct rfl_task *t, struct rfl_lane *lane, struct riffle_batch *b, int64_t now_ms)
{
	unsigned char on_stack[TYPES_ON_STACK];
	uint32_t types = b->content_type_count > 0 ? b->content_type_count : 1;
	unsigned char *fits = types <= TYPES_ON_STACK ? on_stack : rfl_alloc(types);
	const struct rfl_stream_conf *stream = t->spec->conf->inputs[lane->at.input].stream;
	const struct door d = {t, lane, stream, fits, types};
	judge_types(b, stream->stream.content_type, fits, types);
	for (uint32_t i = 0; i < b->record_count;) {
		int verdict;
		uint32_t n = run_length(&d, b, i, &verdict);
		if (n > 0)
			enter(&d, b, i, n, now_ms);
		i += n;
		if (verdict < 0)
			break;
		if (verdict == 0) {
			int64_t offset = riffle_batch_at(b, i)->offset;
			lane->next = offset >= lane->next ? offset + 1 : lane->next;
			i++;
		}
	}
	if (fits != on_stack)
		free(fits);
}

static void
lane_failed(struct rfl_task *t, const struct rfl_lane *lane, const struct riffle_error *err)
{
	const struct rfl_stream_conf *stream = t->spec->conf->inputs[lane->at.input].stream;
	char *why = rfl_sprintf("cannot read %s[%d] at %" PRId64 ": %s", stream->name,
		lane->at.partition, lane->next, err->text);
	rfl_task_stop(t, why);
	free(why);
}

static uint32_t
admit_lane(struct rfl_task *t, struct rfl_lane *lane, int64_t now_ms)
{
	struct riffle_batch *b;
	struct riffle_error err = {0};
	uint32_t limit = poll_limit(t);
	if (limit == 0)
		return 0;
	int rc = lane->at.ops->lane_poll(lane->at.source, lane->at.id, limit, POLL_BYTES, &b, &err);
	if (rc < 0) {
		/* E_UNAVAILABLE passes by itself; the provider keeps trying. */
		if (rc != RIFFLE_E_UNAVAILABLE)
			lane_failed(t, lane, &err);
		return 0;
	}
	if (rc == 0)
		return 0;
	rfl_batch_take(b);
	uint32_t count = b->record_count;
	struct riffle_batch *opened =
		rfl_envelope_open(t->spec->conf->inputs[lane->at.input].stream, b);
	admit_batch(t, lane, opened, now_ms);
	rfl_batch_unref(opened);
	rfl_batch_unref(b);
	return count;
}

uint32_t
rfl_task_admit(struct rfl_task *t, int64_t now_ms)
{
	uint32_t sum = 0;
	if (!t->reading || !memory_allows(t))
		return 0;
	/* With `none` each round is a window of its own, and no more may wait than can be called. */
	if (t->spec->window.shape == RFL_SHAPE_NONE && t->calls_open >= t->spec->conf->calls)
		return 0;
	for (size_t i = 0; i < t->lane_count && t->reading; i++) {
		struct rfl_lane *lane = &t->lanes[(t->next_lane + i) % t->lane_count];
		sum += admit_lane(t, lane, now_ms);
	}
	t->next_lane = (t->next_lane + 1) % t->lane_count;
	return sum;
}
