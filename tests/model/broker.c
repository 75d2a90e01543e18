/* The provider in memory: lanes to read, positions of the group, what was written. */
#include "model.h"

#include "base/error.h"
#include "base/mem.h"
#include "wire/checkpoint.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct m_lane *
m_lane(struct world *w, int input, int partition)
{
	return &w->lanes[input * M_PARTITIONS + partition];
}

/* A gap behind the last record there is counts as read with it. */
int64_t
m_log_end(const struct m_lane *l)
{
	return l->available < l->count ? l->list[l->available].offset : l->end_offset;
}

int
m_place(const struct m_lane *l, int64_t offset)
{
	int i = 0;
	while (i < l->count && l->list[i].offset < offset)
		i++;
	return i;
}

static void
free_batch(struct riffle_batch *b)
{
	free(b);
}

static int
lane_poll(void *source, uint32_t number, uint32_t max_records, size_t max_bytes,
	struct riffle_batch **ret_batch, struct riffle_error *reterr)
{
	static const char *const types[] = {NULL, "text/plain", "image/png"};
	(void)max_bytes;
	struct m_task *t = source;
	struct world *w = t->at->w;
	struct m_lane *l = &w->lanes[number];
	int *next = &t->next[number / M_PARTITIONS];
	if (l->flags & RIFFLE_LANE_FAILING)
		return rfl_err(reterr, RIFFLE_E_UNAVAILABLE, "there is nobody");
	int n = l->available - *next;
	uint32_t most = max_records < w->poll_most ? max_records : w->poll_most;
	if (l->flags & RIFFLE_LANE_HANGING || n <= 0)
		return 0;
	/* A client may deliver twice. */
	if (*next > 0 && l->list[*next - 1].offset >= l->committed && m_chance(w, 64)) {
		(*next)--;
		n++;
	}
	n = (uint32_t)n < most ? n : 1 + m_below(w, (int)most);
	struct riffle_batch *b = rfl_zalloc(sizeof *b);
	*b = (struct riffle_batch){.size = sizeof *b,
		.record_size = sizeof(struct riffle_record),
		.record_count = (uint32_t)n,
		.content_type_count = 3,
		.records = &l->records[*next],
		.content_types = types,
		.pinned_bytes = (size_t)n * sizeof(struct riffle_record),
		.release = free_batch};
	m_trace(w, "    reads lane %d/%d: %d..%d",
		t->partition >= 0 ? (int)number / M_PARTITIONS : 0, t->partition, *next,
		*next + n - 1);
	*next += n;
	*ret_batch = b;
	return 1;
}

static int
source_rewind(void *source, const uint32_t *lanes, const struct riffle_position *from,
	uint32_t count, struct riffle_error *reterr)
{
	struct m_task *t = source;
	struct world *w = t->at->w;
	(void)reterr;
	for (uint32_t i = 0; i < count; i++) {
		const struct m_lane *l = &w->lanes[lanes[i]];
		if (from[i].offset != l->committed)
			m_object(w, "lane %u goes back to %" PRId64 ", its position is %" PRId64,
				lanes[i], from[i].offset, l->committed);
		t->next[lanes[i] / M_PARTITIONS] = m_place(l, from[i].offset);
	}
	return RIFFLE_OK;
}

static int
lane_state(void *source, uint32_t number, struct riffle_lane_state *ret)
{
	struct m_task *t = source;
	struct world *w = t->at->w;
	const struct m_lane *l = &w->lanes[number];
	int next = t->next[number / M_PARTITIONS];
	ret->flags = l->flags;
	ret->position = next < l->available ? l->list[next].offset : m_log_end(l);
	ret->log_end = m_log_end(l);
	ret->as_of_ns = rfl_clock_mono_ns(&w->clock);
	return RIFFLE_OK;
}

struct m_id
m_id_of(const struct riffle_record *r)
{
	struct m_id id;
	memcpy(&id, r->value.ptr, sizeof id);
	return id;
}

static const char *const topics[M_INPUTS] = {"in-0", "in-1", "in-2"};

const char *
m_topic(int input)
{
	return topics[input];
}

static struct m_lane *
lane_of_key(struct world *w, struct riffle_bytes key)
{
	for (int i = 0; i < w->input_count; i++)
		for (int p = 0; p < w->partition_count; p++) {
			char *one = rfl_checkpoint_key(w->conf.group, topics[i], p);
			int is_it = key.len == strlen(one) && memcmp(key.ptr, one, key.len) == 0;
			free(one);
			if (is_it)
				return m_lane(w, i, p);
		}
	m_fail(w, "a checkpoint has the key \"%.*s\", which is no lane's", (int)key.len,
		(const char *)key.ptr);
}

static struct m_sent *
read_checkpoint(struct world *w, const struct riffle_record *r)
{
	struct m_sent *s = rfl_zalloc(sizeof *s + r->value.len);
	s->where = M_CHECKPOINT;
	s->lane = lane_of_key(w, r->key);
	s->value_len = r->value.ptr ? r->value.len : 0;
	if (s->value_len > 0)
		memcpy(s->ids, r->value.ptr, r->value.len);
	if (s->value_len > w->checkpoint_bytes)
		m_fail(w, "a checkpoint has %zu bytes, more than %zu", s->value_len,
			w->checkpoint_bytes);
	return s;
}

static void
keep_checkpoint(struct world *w, const struct m_sent *s)
{
	struct m_lane *l = s->lane;
	free(l->checkpoint);
	l->checkpoint = s->value_len > 0 ? rfl_strndup((const char *)s->ids, s->value_len) : NULL;
	l->checkpoint_len = s->value_len;
	m_trace(w, "      written: a checkpoint of lane %d, %zu bytes", (int)(l - w->lanes),
		s->value_len);
}

/* Late records and dead letters are the record itself; an output is its window and its records. */
static struct m_sent *
read_sent(const struct riffle_record *r)
{
	size_t n = (r->value.len - (r->stream == 0 ? 16 : 0)) / sizeof(struct m_id);
	struct m_sent *s = rfl_alloc(sizeof *s + n * sizeof s->ids[0]);
	const char *from = r->value.ptr;
	s->where = r->stream == 0 ? M_OUTPUT : r->stream == 1 ? M_LATE : M_DEAD;
	s->start_ms = s->end_ms = 0;
	s->count = (uint32_t)n;
	if (r->stream == 0) {
		memcpy(&s->start_ms, from, 8);
		memcpy(&s->end_ms, from + 8, 8);
		from += 16;
	}
	if (n > 0)
		memcpy(s->ids, from, n * sizeof s->ids[0]);
	return s;
}

int
m_is_refused(struct world *w, const struct riffle_record *r)
{
	int is_refused = 0;
	if (w->is_healed || r->stream == M_CHECKPOINT || (r->stream != 0 && !w->refuses_aside))
		return 0;
	struct m_sent *s = read_sent(r);
	for (uint32_t i = 0; i < s->count; i++)
		is_refused |= w->lanes[s->ids[i].lane].list[s->ids[i].record].kind == M_UNWRITABLE;
	free(s);
	return is_refused;
}

/* Which of the windows that its time lies in. */
static int
window_of(struct world *w, const struct m_record *m, const struct m_sent *s)
{
	int64_t starts[REF_WINDOWS_MAX];
	const struct ref_settings *is = &w->settings;
	if (!is->has_event_time || (is->shape != REF_TUMBLING && is->shape != REF_HOPPING))
		return 0;
	int n = ref_windows(is, m->time_ms, starts);
	for (int i = 0; i < n; i++)
		if (starts[i] == s->start_ms)
			return i;
	m_fail(w,
		"record %u/%u/%u is in an output of the window %" PRId64 "..%" PRId64
		", in which its time does not lie",
		m->id.lane / M_PARTITIONS, m->id.lane % M_PARTITIONS, m->id.record, s->start_ms,
		s->end_ms);
}

void
m_count(struct world *w, const struct m_sent *s)
{
	static const char *const names[] = {"output", "late", "dead letter"};
	if (s->where == M_CHECKPOINT)
		keep_checkpoint(w, s);
	for (uint32_t i = 0; i < s->count; i++) {
		struct m_record *m = &w->lanes[s->ids[i].lane].list[s->ids[i].record];
		if (s->where == M_OUTPUT)
			m->sent[window_of(w, m, s)]++;
		else if (s->where == M_LATE)
			m->late++;
		else
			m->dead++;
		m_trace(w, "      written: %s %d/%d/%u, window %" PRId64 "..%" PRId64,
			names[s->where], (int)m->id.lane / M_PARTITIONS,
			(int)m->id.lane % M_PARTITIONS, m->id.record, s->start_ms, s->end_ms);
	}
}

void
m_drop_all(struct m_batch *b)
{
	for (int i = 0; i < b->count; i++)
		free(b->list[i]);
	b->count = 0;
}

void
m_count_all(struct world *w, struct m_batch *b)
{
	for (int i = 0; i < b->count; i++)
		m_count(w, b->list[i]);
	m_drop_all(b);
}

static int
sink_send(void *sink, struct riffle_batch *b, uint32_t first, uint32_t count, uint64_t tag,
	struct riffle_error *reterr)
{
	(void)reterr;
	struct m_instance *at = sink;
	uint32_t n = at->w->takes_little && !at->w->is_ending ? (uint32_t)m_below(at->w, 3) : count;
	n = n < count ? n : count;
	if (!at->outlet.transactional)
		return (int)n;
	for (uint32_t i = first; i < first + n; i++) {
		if (at->txn != M_TXN_OPEN && at->txn != M_TXN_CLOSING)
			m_fail(at->w, "something was sent outside a transaction");
		if (at->pending.count == M_SENT_MAX)
			m_fail(at->w, "a transaction grows without end");
		const struct riffle_record *r = riffle_batch_at(b, i);
		if (m_is_refused(at->w, r) && at->untold_count < M_UNTOLD_MAX)
			at->untold[at->untold_count++] = tag;
		at->pending.list[at->pending.count++] =
			r->stream == M_CHECKPOINT ? read_checkpoint(at->w, r) : read_sent(r);
	}
	return (int)n;
}

void
m_write(struct world *w, const struct riffle_record *r)
{
	struct m_sent *s = read_sent(r);
	m_count(w, s);
	free(s);
}

const struct riffle_provider_ops m_provider_ops = {
	.size = sizeof m_provider_ops,
	.lane_poll = lane_poll,
	.source_rewind = source_rewind,
	.lane_state = lane_state,
	.sink_send = sink_send,
};

static const struct ref_entry *
admitted(const struct ref *r, int input, int record)
{
	for (int i = r->count; i-- > 0;)
		if (r->list[i].lane == input && r->list[i].record == record)
			return &r->list[i];
	return NULL;
}

/* What lies between the old position and the new one stays as this life has judged it. */
static void
make_final(struct world *w, const struct m_task *t, int input, int64_t from, int64_t to)
{
	struct m_lane *l = m_lane(w, input, t->partition);
	for (int i = m_place(l, from); i < l->count && l->list[i].offset < to; i++) {
		struct m_record *m = &l->list[i];
		const struct ref_entry *e = admitted(&t->ref, input, i);
		if (m->is_final)
			continue;
		if (e == NULL &&
			(m->kind == M_PLAIN || m->kind == M_POISON || m->kind == M_UNWRITABLE) &&
			w->settings.shape != REF_NONE)
			m_fail(w, "a position passes record %d/%d/%d, which was not admitted",
				input, t->partition, i);
		m->is_final = 1;
		if (e != NULL) {
			m->is_late = e->is_late;
			m->closed_ms = e->closed_ms;
		}
	}
}

static void
apply(struct m_instance *at, const struct riffle_position *p)
{
	struct world *w = at->w;
	struct rfl_tuple tuple;
	struct riffle_error err;
	int input = (int)p->stream;
	struct m_lane *l = m_lane(w, input, p->partition);
	if (rfl_tuple_decode(p->metadata, &tuple, &err) < 0)
		m_fail(w, "a position's metadata cannot be read: %s", err.text);
	m_trace(w,
		"      position %d/%d: low %" PRId64 " hw %" PRId64 " W %" PRId64 " T %" PRId64
		" seq %u",
		input, p->partition, p->offset, tuple.hw, tuple.frontier_ms, tuple.time_ms,
		tuple.seq);
	/* Without W, nor a cut, what lies between is read again as if for the first time. */
	int is_new = at->w->settings.shape == REF_COUNT || !at->w->settings.has_event_time;
	if (p->offset < l->committed || (tuple.hw < l->committed_hw && !is_new) ||
		tuple.hw < p->offset || tuple.frontier_ms < l->committed_frontier ||
		tuple.time_ms < l->committed_time)
		m_object(w,
			"a position of lane %d/%d goes back: low %" PRId64 " after %" PRId64
			", hw %" PRId64 " after %" PRId64 ", W %" PRId64 " after %" PRId64,
			input, p->partition, p->offset, l->committed, tuple.hw, l->committed_hw,
			tuple.frontier_ms, l->committed_frontier);
	if (tuple.seq != l->committed_seq + 1)
		m_object(w, "commit %u of lane %d/%d follows on %u", tuple.seq, input, p->partition,
			l->committed_seq);
	make_final(w, &at->tasks[p->partition], input, l->committed_hw, tuple.hw);
	l->committed = p->offset;
	l->committed_hw = tuple.hw;
	l->committed_frontier = tuple.frontier_ms;
	l->committed_time = tuple.time_ms;
	l->committed_seq = tuple.seq;
	l->has_open_set = tuple.flags != 0;
	w->checkpoints += tuple.flags == RFL_TUPLE_CHECKPOINT;
	if (p->metadata.len > w->position_chars)
		m_fail(w, "a position has %zu characters, more than %zu", p->metadata.len,
			w->position_chars);
	memcpy(l->metadata, p->metadata.ptr, p->metadata.len);
	l->metadata[p->metadata.len] = '\0';
}

void
m_apply_positions(struct m_instance *at)
{
	for (size_t i = 0; i < at->position_count; i++)
		apply(at, &at->positions[i]);
}
