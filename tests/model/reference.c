/* The naive reference: lists, and loops over all of them. */
#include "reference.h"

#include <stddef.h>

void
ref_start(struct ref *r, const struct ref_settings *is, int lane_count)
{
	r->is = is;
	r->lane_count = lane_count;
	r->watermark_ms = REF_NEVER;
	r->is_replaying = r->is_shifted = 0;
	r->all_idle_since_ms = REF_NEVER;
	r->count = r->sessions = 0;
	for (int i = 0; i < lane_count; i++)
		r->lanes[i] = (struct ref_lane){
			.hw = INT64_MIN, .frontier_ms = REF_NEVER, .time_ms = REF_NEVER};
}

void
ref_restore(struct ref *r, int lane, int64_t hw, int64_t frontier_ms, int64_t time_ms)
{
	r->lanes[lane].hw = hw;
	r->lanes[lane].frontier_ms = frontier_ms;
	r->lanes[lane].time_ms = time_ms;
	if (frontier_ms > r->watermark_ms)
		r->watermark_ms = frontier_ms;
}

static void
move(struct ref *r)
{
	int64_t least = INT64_MAX;
	int active = 0;
	for (int i = 0; i < r->lane_count; i++) {
		const struct ref_lane *l = &r->lanes[i];
		if (l->is_idle)
			continue;
		int64_t mark =
			l->time_ms == REF_NEVER ? REF_NEVER : l->time_ms - r->is->disorder_ms;
		active++;
		least = mark < least ? mark : least;
	}
	if (active > 0 && !r->is_replaying && least > r->watermark_ms)
		r->watermark_ms = least;
}

void
ref_look(struct ref *r, const int *is_idle, int is_replaying, int64_t now_ms)
{
	int all = 1;
	r->is_replaying = is_replaying;
	if (!r->is->has_event_time) {
		r->watermark_ms = now_ms;
		return;
	}
	for (int i = 0; i < r->lane_count; i++) {
		r->lanes[i].is_idle = is_idle[i];
		all &= is_idle[i];
	}
	move(r);
	if (!all || is_replaying)
		r->all_idle_since_ms = REF_NEVER;
	else if (r->all_idle_since_ms == REF_NEVER)
		r->all_idle_since_ms = now_ms;
	int64_t last = ref_last_end_ms(r);
	if (r->all_idle_since_ms != REF_NEVER && last > r->watermark_ms &&
		now_ms >= r->all_idle_since_ms + r->is->close_after_idle_ms) {
		r->watermark_ms = last;
		r->is_shifted = 1;
	}
}

void
ref_follow(struct ref *r, int64_t watermark_ms)
{
	int is_reached = 0;
	if (watermark_ms <= r->watermark_ms || r->is_replaying)
		return;
	for (int i = 0; i < r->lane_count; i++) {
		const struct ref_lane *l = &r->lanes[i];
		int is_behind =
			l->time_ms == REF_NEVER || l->time_ms - r->is->disorder_ms < watermark_ms;
		if (is_behind && !l->is_idle)
			return;
		is_reached |= !is_behind;
	}
	if (is_reached)
		r->watermark_ms = watermark_ms;
}

static int64_t
floor_to(int64_t a, int64_t step)
{
	int64_t rest = a % step;
	return rest < 0 ? a - rest - step : a - rest;
}

int
ref_windows(const struct ref_settings *is, int64_t time_ms, int64_t *starts)
{
	int64_t slide = is->shape == REF_HOPPING ? is->slide_ms : is->size_ms;
	int64_t last = floor_to(time_ms - is->offset_ms, slide) + is->offset_ms;
	int n = 0;
	for (int64_t s = last - (is->size_ms / slide + 1) * slide; s <= last; s += slide)
		if (s <= time_ms && time_ms < s + is->size_ms)
			starts[n++] = s;
	return n;
}

static int64_t
session_start(const struct ref *r, int session)
{
	int64_t start = INT64_MAX;
	for (int i = 0; i < r->count; i++)
		if (r->list[i].session == session && r->list[i].time_ms < start)
			start = r->list[i].time_ms;
	return start;
}

static int64_t
session_last(const struct ref *r, int session)
{
	int64_t last = INT64_MIN;
	for (int i = 0; i < r->count; i++)
		if (r->list[i].session == session && r->list[i].time_ms > last)
			last = r->list[i].time_ms;
	return last;
}

static int
session_key(const struct ref *r, int session)
{
	for (int i = 0; i < r->count; i++)
		if (r->list[i].session == session)
			return r->list[i].key;
	return -1;
}

/* The open session of that key, not before `from`, with the least start behind that of `after`. */
static int
next_session(const struct ref *r, const struct ref_entry *e, int64_t *from_ms, int *from)
{
	int found = 0;
	int64_t least = 0;
	for (int s = 1; s <= r->sessions; s++) {
		if (session_key(r, s) != e->key || session_last(r, s) == INT64_MIN)
			continue;
		int64_t start = session_start(r, s);
		if (start < *from_ms || (start == *from_ms && s <= *from))
			continue;
		if (found == 0 || start < least) {
			found = s;
			least = start;
		}
	}
	*from_ms = least;
	*from = found;
	return found;
}

/* Joins what is within gap of it and not over, oldest first, as far as the whole spans at most max. */
static void
enter_session(struct ref *r, struct ref_entry *e)
{
	int64_t at_ms = INT64_MIN, gap = r->is->size_ms;
	int at = 0;
	int64_t low = e->time_ms, high = e->time_ms;
	e->session = 0;
	while (next_session(r, e, &at_ms, &at) != 0) {
		int64_t start = session_start(r, at), last = session_last(r, at);
		int64_t from = start < low ? start : low, to = last > high ? last : high;
		int is_near = e->time_ms >= start - gap && e->time_ms <= last + gap;
		if (last + gap + 1 <= e->closed_ms || !is_near || to - from > r->is->max_ms)
			continue;
		low = from;
		high = to;
		if (e->session == 0) {
			e->session = at;
			continue;
		}
		for (int i = 0; i < r->count; i++)
			if (r->list[i].session == at)
				r->list[i].session = e->session;
	}
	if (e->session != 0)
		return;
	e->is_late = e->time_ms + gap + 1 <= e->closed_ms;
	if (!e->is_late)
		e->session = ++r->sessions;
}

struct ref_entry *
ref_admit(struct ref *r, int lane, int record, int64_t offset, int64_t time_ms, int key)
{
	struct ref_lane *l = &r->lanes[lane];
	struct ref_entry *e = &r->list[r->count];
	int64_t starts[REF_WINDOWS_MAX];
	*e = (struct ref_entry){.lane = lane,
		.record = record,
		.time_ms = time_ms,
		.key = r->is->is_keyed ? key : -1,
		.pane = -1,
		.is_fresh = offset >= l->hw};
	if (time_ms > l->time_ms)
		l->time_ms = time_ms;
	if (r->is->has_event_time)
		move(r);
	if (e->is_fresh)
		e->closed_ms = r->watermark_ms;
	else
		e->closed_ms = r->is->shape == REF_SESSION ? REF_NEVER : l->frontier_ms;
	if (!r->is->has_event_time)
		e->closed_ms = REF_NEVER;
	if (r->is->shape == REF_SESSION) {
		enter_session(r, e);
	} else if (r->is->shape != REF_COUNT && r->is->shape != REF_NONE) {
		int n = ref_windows(r->is, time_ms, starts);
		e->is_late = starts[n - 1] + r->is->size_ms <= e->closed_ms;
	}
	r->count++;
	return e;
}

int64_t
ref_last_end_ms(const struct ref *r)
{
	int64_t last = REF_NEVER, starts[REF_WINDOWS_MAX];
	for (int i = 0; i < r->count; i++) {
		const struct ref_entry *e = &r->list[i];
		int64_t end = REF_NEVER;
		if (e->is_late)
			continue;
		if (r->is->shape == REF_SESSION)
			end = e->time_ms + r->is->size_ms + 1;
		else if (r->is->shape == REF_COUNT && r->is->size_ms > 0)
			end = e->time_ms + r->is->size_ms;
		else if (r->is->shape == REF_TUMBLING || r->is->shape == REF_HOPPING)
			end = starts[ref_windows(r->is, e->time_ms, starts) - 1] + r->is->size_ms;
		last = end > last ? end : last;
	}
	return last;
}

int
ref_holds(const struct ref *r, const struct ref_entry *e, int64_t start_ms, int64_t end_ms, int key)
{
	if (e->is_late || e->key != key)
		return 0;
	if (r->is->shape == REF_SESSION)
		return session_start(r, e->session) == start_ms &&
		       session_last(r, e->session) + r->is->size_ms + 1 == end_ms;
	return e->time_ms >= start_ms && e->time_ms < end_ms && end_ms > e->closed_ms;
}

static struct ref_entry *
find(struct ref *r, int lane, int record)
{
	for (int i = 0; i < r->count; i++)
		if (r->list[i].lane == lane && r->list[i].record == record)
			return &r->list[i];
	return NULL;
}

/* Those of a key one after the other, each once, as many as the window may hold. */
static const char *
check_count(struct ref *r, int64_t end_ms, const int *lanes, const int *records, int count)
{
	struct ref_entry *e = find(r, lanes[0], records[0]);
	int first = (int)(e - r->list), at = first;
	if ((uint32_t)count > r->is->count)
		return "it has more records than the window counts";
	if ((uint32_t)count < r->is->count && (r->is->size_ms == 0 || end_ms > r->watermark_ms))
		return "it was called before it had all of its records";
	for (int i = 0; i < count; i++, at++) {
		while (at < r->count && r->list[at].key != e->key)
			at++;
		if (at == r->count || r->list[at].lane != lanes[i] ||
			r->list[at].record != records[i])
			return "its records do not follow each other";
		if (r->list[at].pane != -1 && r->list[at].pane != first)
			return "one of its records is in another window already";
		r->list[at].pane = first;
	}
	return NULL;
}

const char *
ref_check_call(struct ref *r, int64_t start_ms, int64_t end_ms, int key, const int *lanes,
	const int *records, int count)
{
	int expected = 0, last[REF_LANES_MAX] = {-1, -1, -1};
	for (int i = 0; i < count; i++) {
		if (records[i] <= last[lanes[i]])
			return "the records of a lane are not in the order of the lane";
		last[lanes[i]] = records[i];
		if (find(r, lanes[i], records[i]) == NULL && r->is->shape != REF_NONE)
			return "it has a record that was never admitted";
	}
	if (r->is->shape == REF_NONE)
		return NULL;
	if (r->is->shape == REF_COUNT)
		return check_count(r, end_ms, lanes, records, count);
	if (r->watermark_ms < end_ms)
		return "it was called before the watermark reached its end";
	for (int i = 0; i < r->count; i++)
		expected += ref_holds(r, &r->list[i], start_ms, end_ms, key);
	for (int i = 0; i < count; i++)
		if (!ref_holds(r, find(r, lanes[i], records[i]), start_ms, end_ms, key))
			return "it has a record that is not of this window";
	return expected == count ? NULL : "it lacks records of this window";
}
