/* Reading: from the lanes, in the order of time where several have something, into windows. */
#include "task/task_private.h"

#include "base/error.h"
#include "base/floor.h"
#include "base/log.h"
#include "base/mem.h"
#include "plugin/host.h"
#include "wire/envelope.h"

#include <inttypes.h>
#include <riffle/host.h>
#include <stdlib.h>

#define POLL_BYTES ((size_t)4 * 1024 * 1024)
#define POLL_BYTES_LEAST ((size_t)16 * 1024)
/* Records on their way into the engine at a time. */
#define ADDS_MAX RFL_TASK_ADDS_MAX
/* Of one round over several lanes, so that the other tasks of a worker get their turn. */
#define ROUND_RECORDS 16384u

/* Calls that took nothing for so long wait for something else. */
#define TAKEN_NS (INT64_C(30) * 1000000000)

size_t
rfl_task_bytes(const struct rfl_task *t)
{
	const struct rfl_pane *p;
	size_t sum = rfl_store_bytes(t->store);
	if (t->window != NULL)
		sum += rfl_window_bytes(t->window);
	rfl_list_foreach (p, &t->panes, struct rfl_pane, link)
		sum += p->output_bytes;
	return sum;
}

/* Windows that are over wait for a call, and all of those that may be open are of windows that are not. */
static int
waits_for_open_windows(const struct rfl_task *t)
{
	const struct rfl_pane *p = rfl_list_first(&t->panes, struct rfl_pane, link);
	if (p->state != RFL_PANE_WAITING || t->calls_open < t->spec->conf->calls)
		return 0;
	rfl_list_foreach (p, &t->calling, struct rfl_pane, work) {
		if (!p->is_open)
			return 0;
	}
	return 1;
}

/* keep = no: its call takes what it holds still, or will. */
static int
will_be_taken(const struct rfl_task *t, const struct rfl_pane *p)
{
	if (p->items.count == 0 || p->gives_up)
		return 0;
	if (p->call != NULL)
		return !rfl_call_is_cancelled(p->call);
	return p->state == RFL_PANE_WAITING && t->calls_open < t->spec->conf->calls;
}

/*
 * What the first open window holds its call will take without another record. That of a later one may, to a
 * function which works on one window at a time, come only once the first is over: it is waited for as long
 * as something is taken at all.
 */
static int
will_take_more(const struct rfl_task *t, int64_t now_ns)
{
	const struct rfl_pane *p, *first = NULL;
	int any = 0;
	rfl_list_foreach (p, &t->streams, struct rfl_pane, link) {
		any |= will_be_taken(t, p);
		if (first == NULL || p->start_ms < first->start_ms)
			first = p;
	}
	return (first != NULL && will_be_taken(t, first)) ||
	       (any && now_ns - t->taken_ns < TAKEN_NS);
}

/* Something that is under way will give memory back without another record. */
static int
will_be_less(const struct rfl_task *t, int64_t now_ns)
{
	if (rfl_task_lets_go(t) && will_take_more(t, now_ns))
		return 1;
	if (rfl_side_is_moving(t) || t->committing)
		return 1;
	if (rfl_list_empty(&t->panes))
		return t->fires_more;
	return !waits_for_open_windows(t);
}

/* What it could be given, or do, so as not to need so much. */
static const char *
way_out(const struct rfl_task *t)
{
	const struct rfl_processor_conf *c = t->spec->conf;
	if (rfl_task_waits_for_room(t) && c->checkpoint == NULL)
		return "too many of its open sessions lie among others to be written with a "
		       "position: `checkpoint` would give them room";
	if (rfl_task_waits_for_room(t))
		return "too many of its open sessions lie among others to be written to the "
		       "checkpoint stream";
	if (rfl_task_lets_go(t))
		return "its calls take nothing more before the first window is over: spill or "
		       "more calls would do";
	if (rfl_conf_may_let_go(c))
		return "its windows are not over: keep = no would not keep what its calls have "
		       "taken";
	return "its windows are not over";
}

static void
stop_for_memory(struct rfl_task *t, const struct riffle_error *err)
{
	char *why =
		rfl_sprintf("%s; it holds %zu bytes in memory and %" PRId64 " in the file, and %s",
			err->text, rfl_task_bytes(t), rfl_store_spilled(t->store), way_out(t));
	rfl_task_stop(t, why);
	free(why);
}

/*
 * Over its memory a task first waits for what is under way. Then it reads only the lane that holds the
 * watermark back, for without that one no window can end; and past a quarter more it spills, or stops.
 * 1 = lanes may be read, which is then in their is_withheld.
 */
static int
memory_allows(struct rfl_task *t, int64_t now_ns)
{
	size_t bytes = rfl_task_bytes(t), limit = t->spec->memory_bytes;
	struct riffle_error err = {0};
	int over = bytes >= limit;
	/* Of a lane that is read to its end there is nothing to hold back: it may be idle. */
	for (size_t i = 0; i < t->lane_count; i++)
		t->lanes[i].is_withheld = over && !t->is_replaying && t->lane_count > 1 &&
					  rfl_task_has_event_time(t) && t->held_by >= 0 &&
					  (int32_t)i != t->held_by &&
					  !rfl_watermark_is_at_end(&t->lanes[i], now_ns);
	if (!over)
		return 1;
	if (t->window == NULL || (will_be_less(t, now_ns) && !rfl_task_waits_for_room(t)))
		return 0;
	if (!rfl_task_has_event_time(t) && t->spec->conf->window.kind != RFL_WINDOW_COUNT &&
		t->spec->spill_bytes == 0 && rfl_window_next_ms(t->window) != RFL_NEVER_MS)
		return 0; /* the clock will end what is open */
	if (t->lane_count > 1 && bytes < limit + limit / 4)
		return 1;
	if (t->spec->spill_bytes > 0 && rfl_store_spill(t->store, limit - limit / 4, &err) == 0)
		return 1;
	if (t->spec->spill_bytes == 0)
		rfl_err(&err, RIFFLE_E_FULL, "its windows need more than memory = %zu bytes",
			limit);
	stop_for_memory(t, &err);
	return 0;
}

/* One read takes a part of the memory, however small that is: what it brings cannot be put back. */
static size_t
poll_bytes(const struct rfl_task *t)
{
	size_t part = t->spec->memory_bytes / 32;
	if (part < POLL_BYTES_LEAST)
		return POLL_BYTES_LEAST;
	return part < POLL_BYTES ? part : POLL_BYTES;
}

static uint32_t
poll_limit(const struct rfl_task *t)
{
	uint32_t most = t->spec->conf->max_records;
	if (t->window == NULL || rfl_task_is_keyed(t))
		return most;
	uint64_t room = rfl_window_room(t->window);
	return room < most ? (uint32_t)room : most;
}

/* A damaged record: the provider gives the same again until it is passed. */
static void
lane_failed(struct rfl_task *t, const struct rfl_lane *lane, const struct riffle_error *err)
{
	const struct rfl_stream_conf *stream = t->spec->conf->inputs[lane->at.input].stream;
	char *why = rfl_sprintf("cannot read %s[%d] at %" PRId64 ": %s", stream->name,
		lane->at.partition, lane->next, err->text);
	rfl_task_stop(t, why);
	free(why);
}

static void
skip_damaged(struct rfl_task *t, struct rfl_lane *lane, const struct riffle_error *err)
{
	struct riffle_lane_state state = {.size = sizeof state};
	struct riffle_error why;
	const struct rfl_stream_conf *stream = t->spec->conf->inputs[lane->at.input].stream;
	if (t->spec->conf->on_error.then == RFL_ON_ERROR_STOP || lane->at.ops->lane_state == NULL ||
		lane->at.ops->lane_state(lane->at.source, lane->at.id, &state) != RIFFLE_OK ||
		state.position < lane->next) {
		lane_failed(t, lane, err);
		return;
	}
	const struct riffle_position past = {.stream = lane->at.stream,
		.partition = lane->at.partition,
		.offset = state.position + 1,
		.leader_epoch = lane->at.leader_epoch};
	if (lane->at.ops->source_rewind(lane->at.source, &lane->at.id, &past, 1, &why) < 0) {
		lane_failed(t, lane, &why);
		return;
	}
	/* There is nothing left of it that could go to a stream of dead letters. */
	rfl_log(RIFFLE_LOG_WARNING, "T005", t->spec->what,
		"record %s[%d]@%" PRId64 " is damaged and left out: %s", stream->name,
		lane->at.partition, state.position, err->text);
	t->skipped++;
	lane->next = state.position + 1;
}

/* A fresh batch in hand, copied but with `none`, and judged. 1 = there is one. */
static int
fill_hand(struct rfl_task *t, struct rfl_lane *lane, int64_t now_ns, int64_t now_ms)
{
	struct riffle_batch *b;
	struct riffle_error err = {0};
	uint32_t limit = poll_limit(t);
	if (limit == 0 || lane->is_withheld)
		return 0;
	int rc = lane->at.ops->lane_poll(
		lane->at.source, lane->at.id, limit, poll_bytes(t), &b, &err);
	lane->is_dry = rc == 0;
	if (rc == RIFFLE_E_DATA)
		skip_damaged(t, lane, &err);
	else if (rc < 0 && rc != RIFFLE_E_UNAVAILABLE)
		lane_failed(t, lane, &err);
	if (rc <= 0)
		return 0;
	rfl_batch_take(b);
	struct riffle_batch *opened =
		rfl_envelope_open(t->spec->conf->inputs[lane->at.input].stream, b);
	rfl_batch_unref(b);
	b = opened;
	lane->last_record_ns = now_ns;
	lane->is_idle = 0;
	uint32_t id = (uint32_t)(lane - t->lanes);
	if (t->window == NULL && lane->at.stream == lane->at.input) {
		lane->chunk = rfl_store_borrow(t->store, id, b);
	} else {
		lane->chunk = rfl_store_copy(t->store, id, b, 0, b->record_count, lane->at.input);
		rfl_batch_unref(b);
	}
	/* In hand it holds the position, and its keys are pointed to. */
	rfl_store_need(lane->chunk, 1);
	lane->chunk->is_pinned = 1;
	lane->at_record = 0;
	rfl_door_judge(t, lane, lane->chunk->batch, now_ms);
	return 1;
}

static void
put_down(struct rfl_task *t, struct rfl_lane *lane)
{
	struct rfl_chunk *c = lane->chunk;
	lane->chunk = NULL;
	c->is_pinned = 0;
	rfl_store_release(t->store, c, 1);
}

/* Records whose windows are all over, and those whose are in part. */
static void
note_missed(struct rfl_task *t, struct rfl_lane *lane, const struct rfl_window_record *r,
	uint32_t record)
{
	if (r->missed == 0)
		return;
	int replays = riffle_batch_at(lane->chunk->batch, record)->offset < lane->replay_to;
#ifdef RFL_SABOTAGE_NO_HW
	replays = 0;
#endif
	if (r->accepted > 0) {
		t->late_in_part += !replays;
		return;
	}
	/* What a predecessor had read was in its windows, or late, and both are done. */
	if (replays)
		return;
	t->late++;
	rfl_side_late(t, lane, record, r->closed_ms);
}

static void
flush(struct rfl_task *t, struct rfl_lane *lane, size_t *count)
{
	if (*count == 0)
		return;
	rfl_window_add(t->window, t->adds, *count);
	for (size_t i = 0; i < *count; i++) {
		const struct rfl_window_record *r = &t->adds[i];
		if (r->accepted > 0)
			rfl_store_need(lane->chunk, 1);
		if (r->accepted > 0 && rfl_task_has_open_set(t))
			rfl_open_enter(t, lane, t->add_records[i]);
		if (r->accepted > 0 && t->spec->conf->delivery == RFL_STREAMING)
			rfl_task_stream(t, r->item, r->start_ms);
		note_missed(t, lane, r, t->add_records[i]);
	}
	if (t->spec->conf->delivery == RFL_STREAMING)
		rfl_task_feed_streams(t);
	t->records_in += *count;
	*count = 0;
}

/* May a window end between these times? On a grid ends lie a slide apart; with a zone, or sessions, anywhere. */
static int
ends_between(const struct rfl_task *t, int64_t from_ms, int64_t to_ms)
{
	const struct rfl_window_spec *s = &t->spec->window;
	if (from_ms == to_ms)
		return 0;
	if (from_ms == RFL_BEFORE_MS || s->zone != NULL || s->shape == RFL_SHAPE_SESSION)
		return 1;
	int64_t slide_ms = s->shape == RFL_SHAPE_HOPPING ? s->slide_ms : s->size_ms;
	int64_t phase_ms = s->offset_ms + s->size_ms;
	return rfl_floor_div(to_ms - phase_ms, slide_ms) !=
	       rfl_floor_div(from_ms - phase_ms, slide_ms);
}

/*
 * A window is out before the next record once it is over, or full: what is committed of it then says where
 * the lanes were at that moment. 0 = it is not all out: the rest waits.
 */
static int
may_add(struct rfl_task *t, struct rfl_lane *lane, int64_t closed_ms, size_t *count)
{
	if (t->spec->conf->window.kind == RFL_WINDOW_COUNT && !rfl_task_is_keyed(t)) {
		int is_full = rfl_window_next_ms(t->window) == RFL_BEFORE_MS;
		if (!is_full && *count < rfl_window_room(t->window))
			return 1;
	} else if (rfl_task_has_frontier(t) && !t->is_replaying) {
		/* What is on its way in may be over by now, which the engine cannot know yet. */
		if (*count > 0 && ends_between(t, t->adds[*count - 1].closed_ms, closed_ms))
			flush(t, lane, count);
		if (rfl_window_next_ms(t->window) > closed_ms)
			return 1;
	} else {
		return 1;
	}
	flush(t, lane, count);
	rfl_task_fire(t);
	return !t->fires_more && t->reading;
}

static void
refuse(struct rfl_task *t, struct rfl_lane *lane, uint32_t i, int64_t now_ms)
{
	const struct riffle_record *r = riffle_batch_at(lane->chunk->batch, i);
	if (r->offset < lane->replay_to && rfl_task_has_frontier(t))
		return;
	char *why = rfl_door_reason(t, lane, lane->chunk->batch, i, now_ms);
	t->refused++;
	rfl_side_refused(t, lane, i, why);
	free(why);
}

/* The smallest time at the head of another lane in hand: beyond it that lane comes first. */
static int64_t
until_ms(const struct rfl_task *t, const struct rfl_lane *lane)
{
	int64_t until = INT64_MAX;
	for (size_t i = 0; i < t->lane_count; i++) {
		const struct rfl_lane *l = &t->lanes[i];
		if (l == lane || l->chunk == NULL || rfl_lane_waits(t, l))
			continue;
		const struct rfl_admission *a = &l->admissions[l->at_record];
		if (a->verdict == RFL_ENTERS && a->time_ms < until)
			until = a->time_ms;
	}
	return until;
}

/*
 * The first new record of a lane is judged when all lanes are through, by the watermark as it was: nobody
 * could tell then that the task was away.
 */
static int
must_wait(struct rfl_task *t, struct rfl_lane *lane, const struct riffle_record *r, size_t *count)
{
	if (!t->is_replaying || r->offset < lane->replay_to)
		return 0;
	flush(t, lane, count);
	rfl_watermark_through(t, lane);
	return t->is_replaying;
}

/* Takes records of the lane in hand as long as it is its turn. 0 = windows have to go out first. */
static int
consume(struct rfl_task *t, struct rfl_lane *lane, int64_t until, int64_t now_ms)
{
	struct riffle_batch *b = lane->chunk->batch;
	size_t count = 0;
	int free_to_go = 1;
	while (lane->at_record < b->record_count && t->reading) {
		uint32_t i = lane->at_record;
		const struct rfl_admission *a = &lane->admissions[i];
		const struct riffle_record *r = riffle_batch_at(b, i);
		if (must_wait(t, lane, r, &count))
			break;
		if (a->verdict == RFL_ENTERS) {
			if (a->time_ms > until)
				break;
			if (rfl_task_has_event_time(t))
				rfl_watermark_record(t, lane, a->time_ms);
			int64_t closed_ms = rfl_watermark_closed(t, lane, r->offset);
			if (!may_add(t, lane, closed_ms, &count)) {
				free_to_go = 0;
				break;
			}
			t->adds[count] = (struct rfl_window_record){
				.time_ms = a->time_ms,
				.closed_ms = closed_ms,
				.key = a->key,
				.key_len = a->key_len,
				.hash = a->hash,
				.item = rfl_item_of(lane->chunk, i, 1),
			};
			t->add_records[count++] = i;
			if (t->spec->conf->emit_empty)
				rfl_window_begin(t->window, a->time_ms);
		} else if (a->verdict == RFL_REFUSED) {
			/* A policy that stops here leaves the record to whoever comes next. */
			flush(t, lane, &count);
			refuse(t, lane, i, now_ms);
			if (!t->reading)
				break;
		}
		lane->at_record++;
		if (r->offset >= lane->next)
			lane->next = r->offset + 1;
		if (count == ADDS_MAX)
			flush(t, lane, &count);
	}
	flush(t, lane, &count);
	if (lane->at_record == b->record_count)
		put_down(t, lane);
	/* A window that is full now ends here, and not behind what another lane brings. */
	if (t->spec->conf->window.kind == RFL_WINDOW_COUNT && !rfl_task_is_keyed(t)) {
		rfl_task_fire(t);
		free_to_go &= !t->fires_more;
	}
	return free_to_go;
}

/* The lane whose record at the head is the oldest; NULL = none has any in hand. */
static struct rfl_lane *
oldest(struct rfl_task *t)
{
	struct rfl_lane *found = NULL;
	int64_t least = INT64_MAX;
	for (size_t i = 0; i < t->lane_count; i++) {
		struct rfl_lane *l = &t->lanes[(t->next_lane + i) % t->lane_count];
		if (l->chunk == NULL || rfl_lane_waits(t, l))
			continue;
		const struct rfl_admission *a = &l->admissions[l->at_record];
		int64_t time_ms = a->verdict == RFL_ENTERS ? a->time_ms : INT64_MIN;
		if (found == NULL || time_ms < least) {
			found = l;
			least = time_ms;
		}
	}
	return found;
}

/* One batch of each lane as it is: what came together is a window. */
static uint32_t
admit_batches(struct rfl_task *t, int64_t now_ns, int64_t now_ms)
{
	uint32_t sum = 0;
	for (size_t k = 0; k < t->lane_count && t->reading; k++) {
		struct rfl_lane *lane = &t->lanes[(t->next_lane + k) % t->lane_count];
		if (!fill_hand(t, lane, now_ns, now_ms))
			continue;
		struct riffle_batch *b = lane->chunk->batch;
		uint32_t i = 0;
		sum += b->record_count;
		while (i < b->record_count && t->reading) {
			uint32_t n = 0;
			int64_t max_time_ms = RIFFLE_TIME_NONE;
			for (; i + n < b->record_count &&
				lane->admissions[i + n].verdict == RFL_ENTERS;
				n++) {
				const struct riffle_record *r = riffle_batch_at(b, i + n);
				max_time_ms = r->time_ms > max_time_ms ? r->time_ms : max_time_ms;
				lane->next = r->offset + 1;
			}
			if (n > 0)
				rfl_task_fire_batch(t, lane->chunk, i, n, now_ms, max_time_ms);
			t->records_in += n;
			i += n;
			if (i == b->record_count)
				break;
			lane->at_record = i;
			if (lane->admissions[i].verdict == RFL_REFUSED)
				refuse(t, lane, i, now_ms);
			const struct riffle_record *r = riffle_batch_at(b, i);
			if (t->reading && r->offset >= lane->next)
				lane->next = r->offset + 1;
			i++;
		}
		put_down(t, lane);
	}
	return sum;
}

/* With ever more records on the side way the moment for a commit would never come. */
static int
waits_to_commit(const struct rfl_task *t, int64_t now_ns)
{
	int64_t interval_ns = t->spec->conf->commit_interval_ms * 1000000;
	return rfl_side_holds_commit(t) && now_ns - t->commit_begun_ns >= interval_ns;
}

uint32_t
rfl_task_admit(struct rfl_task *t, int64_t now_ns, int64_t now_ms)
{
	uint32_t sum = 0;
	struct rfl_lane *lane;
	if (!t->reading || !rfl_task_has_room(t) || waits_to_commit(t, now_ns) ||
		!memory_allows(t, now_ns))
		return 0;
	t->next_lane = (t->next_lane + 1) % t->lane_count;
	if (t->window == NULL)
		return admit_batches(t, now_ns, now_ms);
	int merges = rfl_task_has_event_time(t) && t->lane_count > 1;
	for (size_t i = 0; i < t->lane_count && t->reading; i++) {
		lane = &t->lanes[(t->next_lane + i) % t->lane_count];
		if (lane->chunk == NULL && fill_hand(t, lane, now_ns, now_ms))
			sum += lane->chunk->count;
		/* On the clock each batch goes in at once, so that a window that it fills is cut behind it. */
		if (!merges && lane->chunk != NULL && !rfl_lane_waits(t, lane) &&
			!consume(t, lane, INT64_MAX, now_ms))
			return sum;
	}
	/* As long as all lanes that had something still have: then the order of time is known. */
	while (merges && t->reading && (lane = oldest(t)) != NULL) {
		if (!consume(t, lane, until_ms(t, lane), now_ms))
			break;
		if (lane->chunk == NULL) {
			if (!fill_hand(t, lane, now_ns, now_ms))
				continue;
			sum += lane->chunk->count;
			if (sum >= ROUND_RECORDS || rfl_task_bytes(t) >= t->spec->memory_bytes)
				break;
		}
	}
	return sum;
}
