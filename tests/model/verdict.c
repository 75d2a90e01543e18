/* The verdict: what came out in all against what the guarantee promises of each record. */
#include "model.h"

#include <inttypes.h>

static int
is_bad(const struct m_record *m)
{
	return m->kind == M_POISON || m->kind == M_UNWRITABLE;
}

/* Does the window that counts hold a record which the function, or the sink, does not stand? */
static int
is_poisoned(struct world *w, const struct m_record *m, int64_t start_ms, int64_t end_ms)
{
	int partition = (int)m->id.lane % M_PARTITIONS;
	for (int i = 0; i < w->input_count; i++) {
		const struct m_lane *l = m_lane(w, i, partition);
		for (int k = 0; k < l->count; k++) {
			const struct m_record *o = &l->list[k];
			if (is_bad(o) && (!w->settings.is_keyed || o->key == m->key) &&
				o->time_ms >= start_ms && o->time_ms < end_ms)
				return 1;
		}
	}
	return 0;
}

static int
has_poison(const struct world *w)
{
	for (int n = 0; n < M_LANES; n++)
		for (int k = 0; k < w->lanes[n].count; k++)
			if (is_bad(&w->lanes[n].list[k]))
				return 1;
	return 0;
}

static int
has_unwritable(const struct world *w)
{
	for (int n = 0; n < M_LANES; n++)
		for (int k = 0; k < w->lanes[n].count; k++)
			if (w->lanes[n].list[k].kind == M_UNWRITABLE)
				return 1;
	return 0;
}

static void
check(struct world *w, const struct m_record *m, const char *what, int count, int expected,
	int is_loose)
{
	enum rfl_guarantee g = w->conf.guarantee;
	int quiet =
		w->crashes == 0 && !w->refuses && !has_unwritable(w) && w->conf.outputs_at_status;
	int least = g == RFL_AT_MOST_ONCE && !quiet ? 0 : expected;
	int most = g == RFL_AT_LEAST_ONCE && !quiet ? INT32_MAX : expected;
	if (is_loose)
		least = 0;
	if (count >= least && count <= most)
		return;
	m_fail(w,
		"record %d/%d/%d (offset %" PRId64 ", time %" PRId64
		") is %d times %s, should be %d",
		(int)m->id.lane / M_PARTITIONS, (int)m->id.lane % M_PARTITIONS, (int)m->id.record,
		m->offset, m->time_ms, count, what, expected);
}

/* Windows that follow from the record's time: each of them by itself. */
static void
judge_windows(struct world *w, const struct m_record *m)
{
	int64_t starts[REF_WINDOWS_MAX];
	int n = ref_windows(&w->settings, m->time_ms, starts);
	int poisoned = 0, in_poisoned = 0;
	for (int i = 0; i < n; i++) {
		int64_t end = starts[i] + w->settings.size_ms;
		int expected = end > m->closed_ms;
		if (expected && is_poisoned(w, m, starts[i], end)) {
			poisoned++;
			in_poisoned += m->sent[i];
			continue;
		}
		check(w, m, "in the output of one of its windows", m->sent[i], expected, 0);
	}
	/* Windows with poison are given up, or were called again when it was cured. */
	check(w, m, "in an output of, or dead with, its poisoned windows", in_poisoned + m->dead,
		poisoned, w->conf.on_error.then == RFL_ON_ERROR_SKIP);
}

/* Others: in some window, or in as many as there can be. */
static void
judge_any(struct world *w, const struct m_record *m, int expected)
{
	const struct ref_settings *s = &w->settings;
	int sum = m->dead;
	int poisoned = has_poison(w);
	for (int i = 0; i < REF_WINDOWS_MAX; i++)
		sum += m->sent[i];
	if (s->shape == REF_HOPPING && expected) {
		int most = (int)((s->size_ms + s->slide_ms - 1) / s->slide_ms);
		if (sum > most && w->conf.guarantee == RFL_AT_MOST_ONCE)
			check(w, m, "in an output", sum, most, 1);
		else
			check(w, m, "in an output", sum > 0, 1,
				poisoned && w->conf.on_error.then == RFL_ON_ERROR_SKIP);
		return;
	}
	/* At most once the last ones are committed before there are enough of them. */
	int is_open =
		s->shape == REF_COUNT && s->size_ms == 0 && w->conf.guarantee == RFL_AT_MOST_ONCE;
	check(w, m, "in an output or dead", sum, expected,
		is_open || (poisoned && w->conf.on_error.then == RFL_ON_ERROR_SKIP));
}

static void
judge(struct world *w, const struct m_lane *l, const struct m_record *m)
{
	const struct ref_settings *s = &w->settings;
	int pure = s->has_event_time && (s->shape == REF_TUMBLING || s->shape == REF_HOPPING);
	int is_tail = m->offset >= l->committed;
	if (m->kind == M_FOREIGN || m->kind == M_FUTURE) {
		int sum = m->late;
		for (int i = 0; i < REF_WINDOWS_MAX; i++)
			sum += m->sent[i];
		if (sum > 0)
			m_fail(w, "record %d/%d/%d should be refused, and is written",
				(int)m->id.lane / M_PARTITIONS, (int)m->id.lane % M_PARTITIONS,
				(int)m->id.record);
		/* Behind records that wait for more of them it waits too. */
		check(w, m, "a dead letter", m->dead,
			w->conf.on_error.then == RFL_ON_ERROR_DEAD_LETTER,
			is_tail && s->shape == REF_COUNT && s->size_ms == 0);
		return;
	}
	if (is_tail && (s->shape != REF_COUNT || s->size_ms > 0))
		m_fail(w, "record %d/%d/%d is not committed at the end",
			(int)m->id.lane / M_PARTITIONS, (int)m->id.lane % M_PARTITIONS,
			(int)m->id.record);
	check(w, m, "late", m->late, m->is_late && w->conf.late == RFL_LATE_STREAM, 0);
	if (pure)
		judge_windows(w, m);
	else
		judge_any(w, m, !is_tail && !m->is_late);
}

void
m_judge(struct world *w)
{
	for (int i = 0; i < w->input_count; i++)
		for (int p = 0; p < w->partition_count; p++) {
			const struct m_lane *l = m_lane(w, i, p);
			for (int k = 0; k < l->count; k++)
				judge(w, l, &l->list[k]);
		}
}
