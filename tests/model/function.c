/*
 * The function: it answers with its window and the ids of its records. It may fail at a record, at the
 * end, before it begins; answer late, in parts, or before its input has ended; take less than it is given.
 */
#include "model.h"

#include "base/error.h"
#include "base/mem.h"
#include "plugin/batch.h"
#include "wire/content_type.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct m_call {
	struct m_call *next;
	const struct riffle_call_events *events;
	void *data;
	struct world *w;
	struct m_instance *at;
	int64_t start_ms, end_ms;
	int key;
	int lanes[M_CALL_RECORDS], records[M_CALL_RECORDS];
	int count, answered, partition;
	int fails_at; /* this record, INT32_MAX = none */
	int fails_with;
	int waits_for_room, is_ended, is_done, is_early;
};

static int64_t
number_of(const struct riffle_header *h)
{
	char text[32] = "";
	memcpy(text, h->value.ptr, h->value.len < 31 ? h->value.len : 31);
	return strtoll(text, NULL, 10);
}

static int
call_begin(void *self, const struct riffle_call_spec *spec, const struct riffle_call_events *events,
	void *data, void **ret_call, struct riffle_error *reterr)
{
	struct m_instance *at = self;
	struct world *w = at->w;
	if (w->fails && !w->is_healed && m_chance(w, 16))
		return rfl_err(reterr, RIFFLE_E_UNAVAILABLE, "nobody at home");
	struct m_call *c = rfl_zalloc(sizeof *c);
	c->w = w;
	c->at = at;
	c->events = events;
	c->data = data;
	c->key = -1;
	c->partition = -1;
	c->start_ms = number_of(&spec->headers[0]);
	c->end_ms = number_of(&spec->headers[1]);
	for (uint32_t i = 2; i < spec->header_count; i++) {
		if (spec->headers[i].name.len == strlen("riffle-pane"))
			c->is_early = *(const char *)spec->headers[i].value.ptr == 'e';
		if (spec->headers[i].name.len == strlen("riffle-window-key"))
			c->key = *(const char *)spec->headers[i].value.ptr - 'a';
	}
	int may_fail = w->fails && !w->is_healed && spec->attempt <= w->conf.on_error.retries;
	c->fails_at = may_fail && m_chance(w, 3) ? m_below(w, 6) : INT32_MAX;
	/*
	 * Once records are gone a failure that counts is borne once; what is skipped then was no poison. Who is away is
	 * always waited for.
	 */
	int is_away =
		!w->conf.keep && (w->conf.on_error.then == RFL_ON_ERROR_SKIP || m_chance(w, 2));
	c->fails_with = is_away ? RIFFLE_E_UNAVAILABLE : RIFFLE_E_DATA;
	c->next = w->calls;
	w->calls = c;
	m_trace(w, "    call %" PRId64 "..%" PRId64 " key %d attempt %u", c->start_ms, c->end_ms,
		c->key, spec->attempt);
	*ret_call = c;
	return RIFFLE_OK;
}

static void
end_call(struct m_call *c, int status, uint32_t flags, const char *text)
{
	struct riffle_error err = {.code = status, .flags = flags};
	memcpy(err.text, text, strlen(text) + 1);
	c->is_done = 1;
	m_trace(c->w, "    call %" PRId64 "..%" PRId64 " key %d ends: %s", c->start_ms, c->end_ms,
		c->key, status == RIFFLE_OK ? "well" : text);
	c->events->done(c->data, status, &err);
}

/* The next `count` of its records that were not answered yet, in one output. */
static void
output(struct m_call *c, int count)
{
	char value[16 + M_CALL_RECORDS * sizeof(struct m_id)];
	size_t len = 16;
	if (c->is_early) {
		c->answered += count;
		return;
	}
	memcpy(value, &c->start_ms, 8);
	memcpy(value + 8, &c->end_ms, 8);
	for (int i = 0; i < count; i++, len += sizeof(struct m_id)) {
		const struct m_id id = {
			(uint32_t)(c->lanes[c->answered] * M_PARTITIONS + c->partition),
			(uint32_t)c->records[c->answered]};
		memcpy(value + len, &id, sizeof id);
		c->answered++;
	}
	const struct riffle_record r = {.value = {value, len},
		.time_ms = RIFFLE_TIME_NONE,
		.partition = RIFFLE_PARTITION_NONE};
	struct rfl_builder *b = rfl_builder_create();
	rfl_builder_add(b, &r, NULL, 0, NULL);
	c->events->output(c->data, rfl_builder_finish(b));
	rfl_builder_destroy(b);
}

static void
take(struct m_call *c, const struct riffle_record *r)
{
	const struct m_id id = m_id_of(r);
	struct world *w = c->w;
	if (c->count == M_CALL_RECORDS)
		m_fail(w, "a call gets more records than there are");
	if (r->value.len != sizeof id || (int)id.lane / M_PARTITIONS != (int)r->stream)
		m_fail(w, "a call gets record %d/%d/%d as of input %u", (int)id.lane / M_PARTITIONS,
			(int)id.lane % M_PARTITIONS, (int)id.record, r->stream);
	if (c->partition >= 0 && c->partition != (int)id.lane % M_PARTITIONS)
		m_fail(w, "a call gets records of two tasks");
	c->partition = (int)id.lane % M_PARTITIONS;
	c->lanes[c->count] = (int)id.lane / M_PARTITIONS;
	c->records[c->count++] = (int)id.record;
}

static void
trace_push(const struct m_call *c, uint32_t n, uint32_t of)
{
	m_trace(c->w, "    call %" PRId64 "..%" PRId64 " takes %u of %u, has %d", c->start_ms,
		c->end_ms, n, of, c->count);
}

static int
call_push(void *call, struct riffle_batch *b, uint32_t first, uint32_t count,
	struct riffle_error *reterr)
{
	struct m_call *c = call;
	struct world *w = c->w;
	(void)reterr;
	uint32_t n = count;
	if (w->takes_little && !w->is_ending && m_chance(w, 2))
		n = (uint32_t)m_below(w, (int)count + 1);
	for (uint32_t i = first; i < first + n && !c->is_done; i++) {
		const struct riffle_record *r = riffle_batch_at(b, i);
		const struct m_id id = m_id_of(r);
		take(c, r);
		if (w->lanes[id.lane].list[id.record].kind == M_POISON && !w->is_healed)
			end_call(c, RIFFLE_E_DATA, 0, "it does not stand a record");
		else if (c->count > c->fails_at)
			end_call(c, c->fails_with, RIFFLE_ERR_RETRIABLE, "it failed at a record");
	}
	if (!c->is_done && w->answers_in_parts && c->count > c->answered && m_chance(w, 2))
		output(c, 1 + m_below(w, c->count - c->answered));
	c->waits_for_room = n < count;
	trace_push(c, n, count);
	return (int)n;
}

/*
 * With one input nothing but the records themselves says what is late, as long as the wall closed no window:
 * a window that comes again after a crash has the same ones.
 */
static void
check_repeat(struct m_call *c)
{
	struct world *w = c->w;
	enum ref_shape shape = w->settings.shape;
	struct m_answered one = {.partition = c->partition,
		.key = c->key,
		.count = c->count,
		.start_ms = c->start_ms};
	if (w->input_count > 1 || !w->settings.has_event_time || c->is_early || c->count == 0 ||
		(shape != REF_TUMBLING && shape != REF_HOPPING))
		return;
	w->is_shifted |= c->at->tasks[c->partition].ref.is_shifted;
	for (int i = 0; i < c->count; i++)
		one.sum = one.sum * 1000003 + (uint64_t)c->records[i];
	for (int i = 0; i < w->answered_count && !w->is_shifted; i++) {
		const struct m_answered *a = &w->answered[i];
		if (a->partition == one.partition && a->key == one.key &&
			a->start_ms == one.start_ms && (a->count != one.count || a->sum != one.sum))
			m_object(w, "window %" PRId64 " key %d comes again with other records",
				one.start_ms, one.key);
	}
	if (w->answered_count < M_ANSWERED_MAX)
		w->answered[w->answered_count++] = one;
}

static void
finish(struct m_call *c)
{
	if (c->fails_at != INT32_MAX) {
		end_call(c, c->fails_with, RIFFLE_ERR_RETRIABLE, "it failed at the end");
		return;
	}
	check_repeat(c);
	if (c->count > c->answered)
		output(c, c->count - c->answered);
	end_call(c, RIFFLE_OK, 0, "");
}

/* What is said of a window that is over is all of it. */
static void
check_call(struct m_call *c)
{
	struct m_task *t;
	const char *why;
	if (c->is_early || (c->partition < 0 && c->w->conf.emit_empty))
		return;
	if (c->partition < 0)
		m_fail(c->w, "a window without records is called");
	t = &c->at->tasks[c->partition];
	m_look(t);
	why = ref_check_call(
		&t->ref, c->start_ms, c->end_ms, c->key, c->lanes, c->records, c->count);
	if (why != NULL)
		m_object(c->w, "the call of window %" PRId64 "..%" PRId64 " key %d is wrong: %s",
			c->start_ms, c->end_ms, c->key, why);
}

static int
call_end(void *call, struct riffle_error *reterr)
{
	struct m_call *c = call;
	(void)reterr;
	if (c->is_done)
		return RIFFLE_OK;
	c->is_ended = 1;
	m_trace(c->w, "    call %" PRId64 "..%" PRId64 " has its end, %d records", c->start_ms,
		c->end_ms, c->count);
	check_call(c);
	if (!c->w->answers_late || c->w->is_ending)
		finish(c);
	return RIFFLE_OK;
}

static void
call_read(void *call, size_t bytes)
{
	(void)call, (void)bytes;
}

static void
call_cancel(void *call, int reason)
{
	struct m_call *c = call;
	if (!c->is_done)
		end_call(c, reason, 0, "cancelled");
}

static void
call_destroy(void *call)
{
	struct m_call *c = call, **at = &c->w->calls;
	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	free(c);
}

const struct riffle_invoker_ops m_invoker_ops = {
	.size = sizeof m_invoker_ops,
	.call_begin = call_begin,
	.call_push = call_push,
	.call_end = call_end,
	.call_read = call_read,
	.call_cancel = call_cancel,
	.call_destroy = call_destroy,
};

int
m_answer(struct world *w)
{
	int moved = 0;
	for (struct m_call *c = w->calls; c != NULL; c = c->next) {
		if (c->is_done || (!w->is_ending && m_chance(w, 2)))
			continue;
		if (c->is_ended) {
			finish(c);
			moved = 1;
		} else if (c->waits_for_room) {
			c->waits_for_room = 0;
			c->events->writable(c->data);
			moved = 1;
		} else if (w->answers_in_parts && c->count > c->answered) {
			output(c, 1);
			moved = 1;
		}
	}
	return moved;
}
