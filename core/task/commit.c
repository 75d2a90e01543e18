/* Which position a task may commit, with the tuple that lets a successor go on. */
#include "task/task_private.h"

#include "wire/tuple.h"

#include <string.h>

/* The first group that needs something still; NULL = none does. */
static const struct rfl_group *
first_open(const struct rfl_task *t)
{
	const struct rfl_group *g;
	rfl_list_foreach (g, &t->groups, struct rfl_group, link) {
#ifdef RFL_SABOTAGE_NO_ORDER
		break;
#endif
		if (!g->is_staged)
			return g;
	}
	return NULL;
}

/*
 * W: all windows that end at or before it were handed out and need nothing any more. The first group that
 * is not done holds it. Sessions that were put together again may end before the W that was committed,
 * which they do not move back.
 */
static int64_t
frontier_of(const struct rfl_task *t)
{
	const struct rfl_group *g = first_open(t);
	int64_t w = rfl_window_frontier(t->window);
	/* Never behind what was committed before, by us or by whoever had the lanes then. */
	if (g != NULL && g->end_ms - 1 < w)
		w = g->end_ms - 1;
	return w > t->committed_frontier_ms ? w : t->committed_frontier_ms;
}

/*
 * hw: up to where records were handed to windows, as of W: of what was read since the first open group was
 * over some may have been late for it, and would not be when it is read again as if it had been in time.
 */
int64_t
rfl_task_hw(const struct rfl_task *t, uint32_t lane)
{
	const struct rfl_group *g = rfl_task_has_frontier(t) ? first_open(t) : NULL;
	if (rfl_task_is_at_most_once(t) || g == NULL)
		return t->lanes[lane].next;
	return g->cut[lane].next;
}

static int64_t
time_of(const struct rfl_task *t, uint32_t lane)
{
	const struct rfl_group *g = first_open(t);
	return g == NULL || rfl_task_is_at_most_once(t) ? t->lanes[lane].time_ms
							: g->cut[lane].time_ms;
}

/* The smallest offset that is still needed. Under at-most-once nothing is, once it was read. */
int64_t
rfl_task_low(const struct rfl_task *t, uint32_t lane)
{
	const struct rfl_lane *l = &t->lanes[lane];
	if (rfl_task_is_at_most_once(t))
		return l->next;
	if (rfl_task_has_cut(t))
		return rfl_side_low(t, lane, l->settled);
	int64_t hw = rfl_task_hw(t, lane), low = rfl_store_low(t->store, lane, l->next);
	low = rfl_rebuild_low(t, lane, low);
	if (low > hw)
		low = hw;
	/* A batch may begin with records that were delivered before. */
	return low > l->committed ? low : l->committed;
}

static int64_t
hw_of(const struct rfl_task *t, uint32_t lane)
{
	return rfl_task_has_cut(t) ? rfl_task_low(t, lane) : rfl_task_hw(t, lane);
}

int
rfl_task_has_staged(const struct rfl_task *t)
{
	const struct rfl_group *g = rfl_list_first(&t->groups, struct rfl_group, link);
	return (g != NULL && g->is_staged) || rfl_side_has_staged(t);
}

static int
has_moved(const struct rfl_task *t)
{
	if (rfl_task_has_staged(t))
		return 1;
	for (uint32_t i = 0; i < t->lane_count; i++)
		if (rfl_task_low(t, i) > t->lanes[i].committed)
			return 1;
	return rfl_task_has_frontier(t) && frontier_of(t) > t->asked_frontier_ms;
}

int
rfl_task_can_commit(const struct rfl_task *t)
{
	if (t->committing || t->sealed || t->suspended || t->is_replaying ||
		rfl_side_holds_commit(t))
		return 0;
	return has_moved(t) && rfl_open_fits(t);
}

size_t
rfl_task_lane_count(const struct rfl_task *t)
{
	return t->lane_count;
}

static void
write_tuple(const struct rfl_task *t, uint32_t lane, enum rfl_open_place place, char *text)
{
	static const uint8_t flags[] = {[RFL_OPEN_NOWHERE] = 0,
		[RFL_OPEN_IN_POSITION] = RFL_TUPLE_OPEN_SET,
		[RFL_OPEN_IN_CHECKPOINT] = RFL_TUPLE_CHECKPOINT};
	int frontier = rfl_task_has_frontier(t);
	const struct rfl_tuple tuple = {
		.flags = flags[place],
		.seq = t->seq + 1,
		.settings = t->spec->settings,
		.hw = hw_of(t, lane),
		.frontier_ms = frontier ? frontier_of(t) : RFL_TUPLE_UNSET,
		.time_ms = frontier ? time_of(t, lane) : RFL_TUPLE_UNSET,
	};
	rfl_tuple_encode(&tuple, text);
}

/* At least once a set that is too large is left out: what is read again makes the sessions anew. */
static size_t
write_text(const struct rfl_task *t, uint32_t lane, char *text)
{
	enum rfl_open_place place = rfl_open_place(t, lane);
	write_tuple(t, lane, place, text);
	if (place != RFL_OPEN_IN_POSITION)
		return RFL_TUPLE_TEXT;
	struct rfl_open_set set = rfl_open_write(t, lane);
	size_t len = rfl_open_set_encode(&set, text);
	rfl_open_set_fini(&set);
	return len;
}

size_t
rfl_task_positions(const struct rfl_task *t, uint32_t source_index,
	struct riffle_position *positions, struct rfl_commit_text *texts)
{
	size_t n = 0;
	for (uint32_t i = 0; i < t->lane_count; i++) {
		const struct rfl_lane *lane = &t->lanes[i];
		if (lane->at.source_index != source_index)
			continue;
		size_t len = write_text(t, i, texts[n].text);
		positions[n] = (struct riffle_position){
			.stream = lane->at.stream,
			.partition = lane->at.partition,
			.offset = rfl_task_low(t, i),
			.leader_epoch = lane->at.leader_epoch,
			.metadata = {texts[n].text, len},
		};
		n++;
	}
	return n;
}

int
rfl_task_is_committing(const struct rfl_task *t)
{
	return t->committing;
}

void
rfl_task_commit_begin(struct rfl_task *t)
{
	char tuple[RFL_TUPLE_TEXT + 1];
	int has_checkpoints = rfl_task_has_open_set(t) && rfl_task_is_exactly_once(t);
	rfl_assert(!t->committing);
	for (uint32_t i = 0; rfl_task_lets_go(t) && i < t->lane_count; i++)
		write_text(t, i, t->lanes[i].asked_text);
	for (uint32_t i = 0; i < t->lane_count && has_checkpoints; i++) {
		write_tuple(t, i, rfl_open_place(t, i), tuple);
		rfl_checkpoint_send(t, i, tuple);
	}
	t->committing = 1;
	t->seq++;
	t->commit_begun_ns = rfl_clock_mono_ns(t->spec->clock);
	for (uint32_t i = 0; i < t->lane_count; i++)
		t->lanes[i].asked = rfl_task_low(t, i);
	if (rfl_task_has_frontier(t))
		t->asked_frontier_ms = frontier_of(t);
}

/* Under exactly-once the windows of the transaction were kept until now. */
static void
let_go(struct rfl_task *t)
{
	struct rfl_group *g;
	while ((g = rfl_list_first(&t->groups, struct rfl_group, link)) != NULL && g->is_staged)
		rfl_task_free_group(t, g);
	rfl_side_let_go(t, RFL_SIDE_STAGED);
}

void
rfl_task_commit_done(struct rfl_task *t)
{
	rfl_assert(t->committing);
	t->committing = 0;
	t->commits++;
	for (size_t i = 0; i < t->lane_count; i++) {
		struct rfl_lane *l = &t->lanes[i];
		l->committed = l->asked;
		l->checkpoint_bytes = l->asked_checkpoint_bytes;
		memcpy(l->committed_text, l->asked_text, sizeof l->committed_text);
	}
	t->committed_frontier_ms = t->asked_frontier_ms;
	if (rfl_task_is_exactly_once(t))
		let_go(t);
}

static void
unstage_group(struct rfl_task *t, struct rfl_group *g)
{
	struct rfl_pane *p;
	if (g->is_staged)
		rfl_open_return(t, g);
	rfl_list_foreach (p, &t->panes, struct rfl_pane, link) {
		if (p->group != g)
			continue;
		if (g->is_staged) {
			rfl_pane_unstage(p);
			p->state = RFL_PANE_DONE;
		}
		p->outputs_sent = 0;
		p->sends_open = 0;
	}
	g->is_staged = 0;
}

/* Not committed: what was sent in it is to be sent again. */
void
rfl_task_commit_undone(struct rfl_task *t)
{
	struct rfl_group *g;
	/* The number is used by the next one: those that are committed have no gaps. */
	if (t->committing)
		t->seq--;
	t->committing = 0;
	t->asked_frontier_ms = t->committed_frontier_ms;
	if (!rfl_task_is_exactly_once(t))
		return;
#ifdef RFL_SABOTAGE_NO_REWIND
	return;
#endif
	rfl_list_foreach (g, &t->groups, struct rfl_group, link)
		unstage_group(t, g);
	rfl_side_unstage(t);
	for (size_t i = 0; i < t->lane_count; i++)
		t->lanes[i].settled = t->lanes[i].committed;
}
