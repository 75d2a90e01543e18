/* What the seed of a life says: shapes, policies, and the logs that will be read. */
#include "model.h"

#include "base/mem.h"
#include "wire/checkpoint.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

uint64_t
m_random(uint64_t *state)
{
	uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static int
below(uint64_t *state, int n)
{
	return (int)(m_random(state) % (uint64_t)n);
}

int
m_below(struct world *w, int n)
{
	return below(&w->random, n);
}

int
m_chance(struct world *w, int n)
{
	return below(&w->random, n) == 0;
}

/* May exactly-once be asked for this? */
static int
has_exactly_once(const struct ref_settings *s)
{
	switch (s->shape) {
	case REF_NONE:
	case REF_TUMBLING:
		return 1;
	case REF_HOPPING:
		return s->has_event_time;
	case REF_COUNT:
		return !s->is_keyed;
	case REF_SESSION:
		return s->has_event_time;
	}
	return 0;
}

static void
set_shape(struct world *w, uint64_t *r)
{
	static const enum ref_shape shapes[] = {REF_TUMBLING, REF_TUMBLING, REF_TUMBLING,
		REF_HOPPING, REF_HOPPING, REF_HOPPING, REF_SESSION, REF_SESSION, REF_COUNT,
		REF_NONE};
	static const int64_t slides[] = {100, 200, 300, 400};
	struct ref_settings *s = &w->settings;
	s->shape = shapes[below(r, 10)];
	s->has_event_time = s->shape != REF_NONE && below(r, 4) != 0;
	s->is_keyed = s->shape != REF_NONE && below(r, 2);
	s->size_ms = 100 * (1 + below(r, 6));
	s->slide_ms = s->size_ms;
	if (s->shape == REF_HOPPING) {
		s->slide_ms = slides[below(r, 4)];
		if (s->slide_ms > s->size_ms)
			s->slide_ms = s->size_ms;
	}
	if (s->shape == REF_TUMBLING || s->shape == REF_HOPPING)
		s->offset_ms = below(r, 3) ? 0 : 37 * (below(r, 7) - 3);
	if (s->shape == REF_SESSION)
		s->max_ms = s->size_ms * (1 + below(r, 6));
	if (s->shape == REF_COUNT) {
		s->count = 1 + (uint32_t)below(r, 5);
		s->size_ms = s->is_keyed || below(r, 2) ? s->size_ms : 0;
	}
	s->disorder_ms = below(r, 3) ? 50 * below(r, 8) : 0;
	s->close_after_idle_ms = 1000 * (1 + below(r, 5));
}

static void
set_policy(struct world *w, uint64_t *r)
{
	static const enum rfl_guarantee guarantees[] = {RFL_EXACTLY_ONCE, RFL_EXACTLY_ONCE,
		RFL_AT_LEAST_ONCE, RFL_AT_LEAST_ONCE, RFL_AT_MOST_ONCE};
	struct rfl_processor_conf *c = &w->conf;
	const struct ref_settings *s = &w->settings;
	c->guarantee = guarantees[below(r, 5)];
	if (c->guarantee == RFL_EXACTLY_ONCE && !has_exactly_once(s))
		c->guarantee = RFL_AT_LEAST_ONCE;
	c->late = below(r, 2) ? RFL_LATE_STREAM : RFL_LATE_DROP;
	c->on_error = (struct rfl_on_error_conf){
		.retries = (uint32_t)below(r, 3), .backoff_min_ms = 10, .backoff_max_ms = 50};
	c->on_error.then = (enum rfl_final_action)below(r, 3);
	c->on_error.dead_letter = c->late_stream = &w->stream;
	c->outputs_at_status = c->guarantee == RFL_EXACTLY_ONCE || below(r, 2);
	c->keep = 1;
	c->max_outputs_bytes = 1 << 20;
	c->calls = 1 + (uint32_t)below(r, 4);
	c->max_records = 1 + (uint32_t)below(r, 12);
	c->delivery = RFL_AT_CLOSE;
	int may_stream = !s->is_keyed && (s->shape == REF_TUMBLING || s->shape == REF_COUNT);
	if (may_stream && below(r, 2) == 0)
		c->delivery = RFL_STREAMING;
	int may_let_go = c->delivery == RFL_STREAMING && c->guarantee != RFL_AT_MOST_ONCE;
	if (may_let_go && below(r, 3) != 0) {
		c->on_error.retries += (uint32_t)below(r, 2);
		c->keep = 0;
		c->on_error.then = below(r, 2) ? RFL_ON_ERROR_STOP : RFL_ON_ERROR_SKIP;
	}
	if (c->guarantee == RFL_AT_LEAST_ONCE && s->shape != REF_NONE && c->keep &&
		below(r, 8) == 0)
		c->early_ms = 200;
	int may_be_empty = !s->is_keyed && (s->shape == REF_TUMBLING || s->shape == REF_HOPPING);
	c->emit_empty = may_be_empty && s->has_event_time && below(r, 8) == 0;
	c->max_disorder_ms = s->disorder_ms;
	c->max_future_ms = 3600000;
	c->idle_after_ms = 1000 * (1 + below(r, 3));
	c->close_after_idle_ms = s->close_after_idle_ms;
	w->fails = below(r, 3) == 0 || (!c->keep && below(r, 2));
	w->answers_late = below(r, 3) == 0;
	w->answers_in_parts = below(r, 3) == 0;
	w->takes_little = below(r, 4) == 0;
	w->refuses = below(r, 4) == 0;
	w->is_picky = below(r, 4) == 0;
	w->refuses_aside = below(r, 3) == 0;
	w->poll_most = 1 + (uint32_t)below(r, 8);
	/* Small enough to be met, with a file behind it. */
	int is_small = below(r, 16) == 0;
	w->memory_bytes = is_small ? 2000 + (size_t)below(r, 8000) : 1 << 24;
	w->spill_bytes = is_small ? 1 << 24 : 0;
	/* Room for few runs of open records, or for as many as there can be. */
	int is_narrow = !is_small && s->shape == REF_SESSION && below(r, 3) != 0;
	/* And behind that a checkpoint stream, with room for some more or for all. */
	w->has_checkpoint = is_narrow && c->guarantee == RFL_EXACTLY_ONCE && below(r, 4) != 0;
	c->checkpoint = w->has_checkpoint ? &w->stream : NULL;
	w->checkpoint_bytes = RFL_CHECKPOINT_BYTES + (below(r, 3) ? 4096 : 4 * (size_t)below(r, 8));
	w->position_chars = is_narrow ? 64 + 8 * (1 + (size_t)below(r, 3)) : RFL_POSITION_TEXT_MAX;
}

static void
set_conf(struct world *w, uint64_t *r)
{
	static char name[] = "x", group[] = "default.x";
	const struct ref_settings *s = &w->settings;
	w->stream.name = name;
	w->stream.stream.content_type = "text/plain";
	for (int i = 0; i < w->input_count; i++)
		w->inputs[i] = (struct rfl_input_conf){.alias = name, .stream = &w->stream};
	w->output = (struct rfl_output_conf){.alias = name, .stream = &w->stream};
	w->call_spec = (struct riffle_call_spec){.size = sizeof w->call_spec};
	w->conf = (struct rfl_processor_conf){
		.name = name,
		.group = group,
		.function = &w->function,
		.inputs = w->inputs,
		.input_count = (size_t)w->input_count,
		.outputs = &w->output,
		.output_count = 1,
		.window = {.kind = (enum rfl_window_kind)s->shape,
			.size_ms = s->shape == REF_NONE ? 0 : s->size_ms,
			.slide_ms = s->slide_ms,
			.max_ms = s->max_ms,
			.count = s->count,
			.offset_ms = s->offset_ms},
		.time = {.source = s->has_event_time ? RFL_TIME_RECORD : RFL_TIME_PROCESSING},
		.by = {.source = s->is_keyed ? RFL_BY_KEY : RFL_BY_NOTHING},
	};
	set_policy(w, r);
}

static enum m_kind
kind_of(const struct world *w, uint64_t *r, int rare)
{
	if (w->is_picky && below(r, 6) == 0)
		return M_UNWRITABLE;
	if (rare == 0 || below(r, 16) != 0)
		return M_PLAIN;
	if (w->conf.on_error.then == RFL_ON_ERROR_STOP)
		return below(r, 2) ? M_POISON : M_UNWRITABLE;
	enum m_kind k = (enum m_kind)(1 + below(r, 4));
	return k == M_FUTURE && !w->settings.has_event_time ? M_FOREIGN : k;
}

static void
set_lane(struct world *w, int number, int64_t base_ms)
{
	static const char *const keys[M_KEYS] = {"a", "b", "c"};
	/* Of its own, so that a life with fewer records or steps has the same ones. */
	uint64_t r = w->seed * 31 + (uint64_t)number + 1000;
	struct m_lane *l = &w->lanes[number];
	int spread = 10 + below(&r, 200), back = below(&r, 2) ? 10 + below(&r, 600) : 0;
	int gaps = below(&r, 3) == 0, rare = below(&r, 2);
	int64_t now_ms = base_ms + below(&r, 500), offset = gaps ? below(&r, 5) : 0;
	int wanted = 1 + below(&r, M_RECORDS);
	l->count = 0;
	l->committed = l->committed_hw = offset;
	l->committed_frontier = l->committed_time = INT64_MIN;
	for (int i = 0; i < wanted; i++) {
		struct m_record *m = &l->list[i];
		now_ms += below(&r, 6) == 0 ? below(&r, 6 * spread) : below(&r, spread);
		int64_t late_ms = back && below(&r, 3) == 0 ? below(&r, back) : 0;
		*m = (struct m_record){.key = below(&r, M_KEYS),
			.offset = offset,
			.time_ms = now_ms - late_ms,
			.id = {(uint32_t)number, (uint32_t)i}};
		m->kind = kind_of(w, &r, rare);
		if (m->kind == M_FUTURE)
			m->time_ms += INT64_C(1) << 40;
		offset += 1 + (gaps ? below(&r, 3) : 0);
		l->records[i] = (struct riffle_record){
			.key = {keys[m->key], 1},
			.value = {&m->id, sizeof m->id},
			.offset = m->offset,
			.time_ms = m->time_ms,
			.partition = number % M_PARTITIONS,
			.content_type = m->kind == M_FOREIGN ? 2 : 1,
			.stream = (uint32_t)(number / M_PARTITIONS),
		};
	}
	l->count = wanted < w->record_limit ? wanted : w->record_limit;
	l->end_offset = offset;
}

void
m_set_up(struct world *w)
{
	static const int64_t bases[] = {1000000, 0, -1000000, INT64_C(1700000000000)};
	uint64_t r = w->seed;
	m_random(&r);
	int64_t base_ms = bases[below(&r, 4)];
	w->random = m_random(&r);
	w->input_count = below(&r, 2) ? 1 : 1 + below(&r, M_INPUTS);
	w->partition_count = 1 + below(&r, M_PARTITIONS);
	w->instance_count = 1 + below(&r, M_INSTANCES);
	set_shape(w, &r);
	set_conf(w, &r);
	rfl_clock_init_manual(&w->clock, base_ms);
	rfl_clock_advance(&w->clock, 1000000000);
	for (int i = 0; i < w->input_count; i++)
		for (int p = 0; p < w->partition_count; p++)
			set_lane(w, i * M_PARTITIONS + p, base_ms);
}

void
m_describe(struct world *w)
{
	static const char *const shapes[] = {"none", "count", "tumbling", "hopping", "session"};
	static const char *const guarantees[] = {"at-most-once", "at-least-once", "exactly-once"};
	static const char *const thens[] = {"stop", "skip", "dead-letter"};
	static const char *const kinds[] = {
		"", " poison", " unwritable", " of another type", " of the future"};
	const struct ref_settings *s = &w->settings;
	m_trace(w,
		"%s size %" PRId64 " slide %" PRId64 " max %" PRId64 " count %u offset %" PRId64
		", %s time, %s, max-disorder %" PRId64 ", idle-after %" PRId64
		", close-after-idle %" PRId64,
		shapes[s->shape], s->size_ms, s->slide_ms, s->max_ms, s->count, s->offset_ms,
		s->has_event_time ? "event" : "processing", s->is_keyed ? "keyed" : "unkeyed",
		s->disorder_ms, w->conf.idle_after_ms, s->close_after_idle_ms);
	m_trace(w,
		"%s, %s%s, retries %u then %s, late %s, outputs %s, calls %u, max-records %u, "
		"memory "
		"%zu, positions of %zu, checkpoints of %zu; %d inputs, %d partitions, %d instances",
		guarantees[w->conf.guarantee],
		w->conf.delivery == RFL_STREAMING ? "stream" : "at-close",
		w->conf.keep ? "" : " keep = no", w->conf.on_error.retries,
		thens[w->conf.on_error.then], w->conf.late == RFL_LATE_STREAM ? "stream" : "drop",
		w->conf.outputs_at_status ? "at-status" : "as they come", w->conf.calls,
		w->conf.max_records, w->memory_bytes, w->position_chars,
		w->has_checkpoint ? w->checkpoint_bytes : 0, w->input_count, w->partition_count,
		w->instance_count);
	for (int n = 0; n < M_LANES; n++)
		for (int i = 0; i < w->lanes[n].count; i++) {
			const struct m_record *m = &w->lanes[n].list[i];
			m_trace(w,
				"lane %d/%d: %d at offset %" PRId64 ", key %d, time %" PRId64 "%s",
				n / M_PARTITIONS, n % M_PARTITIONS, i, m->offset, m->key,
				m->time_ms, kinds[m->kind]);
		}
}
