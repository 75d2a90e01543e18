/*
 * Which records are in sessions that are not done: a bit each in their chunks, from when a record enters
 * its session until the group of that is settled, or in the open transaction. Written with the position
 * (wire/open_set.h), or where that has no room into the checkpoint stream, it lets a successor rebuild
 * these sessions and no others.
 *
 * Whether it fits is asked at every turn: it is counted out only when the number of records does not say
 * so at once, and again only after a change.
 */
#include "task/task_private.h"

#include "base/error.h"
#include "base/mem.h"
#include "plugin/host.h"
#include "wire/checkpoint.h"

#include <stdlib.h>

#define WORD_BITS 64u

int
rfl_task_has_open_set(const struct rfl_task *t)
{
	return rfl_task_has_frontier(t) && t->spec->conf->window.kind == RFL_WINDOW_SESSION &&
	       !rfl_task_is_at_most_once(t);
}

static void
make_bits(struct rfl_chunk *c)
{
	const struct riffle_batch *b = c->batch;
	c->open = rfl_zalloc((c->count + WORD_BITS - 1) / WORD_BITS * sizeof *c->open);
	if (riffle_batch_at(b, c->count - 1)->offset - c->first_offset == (int64_t)c->count - 1)
		return;
	c->offsets = rfl_alloc(c->count * sizeof *c->offsets);
	for (uint32_t i = 0; i < c->count; i++)
		c->offsets[i] = riffle_batch_at(b, i)->offset;
}

void
rfl_open_enter(struct rfl_task *t, struct rfl_lane *lane, uint32_t index)
{
	struct rfl_chunk *c = lane->chunk;
	if (c->open == NULL)
		make_bits(c);
	c->open[index / WORD_BITS] |= UINT64_C(1) << index % WORD_BITS;
	lane->open_count++;
	t->open_change++;
}

static void
set_group(const struct rfl_task *t, const struct rfl_group *g, int is_open)
{
	const struct rfl_pane *p;
	rfl_list_foreach (p, &t->panes, struct rfl_pane, link) {
		for (size_t i = 0; p->group == g && i < p->items.count; i++) {
			struct rfl_window_item item = p->items.list[i];
			struct rfl_chunk *c = rfl_item_chunk(item);
			uint32_t first = rfl_item_index(item), count = rfl_item_count(item);
			uint64_t *open_count = &t->lanes[c->lane].open_count;
			for (uint32_t k = first; k < first + count; k++) {
				uint64_t bit = UINT64_C(1) << k % WORD_BITS;
				int was_open = (c->open[k / WORD_BITS] & bit) != 0;
				if (is_open == was_open)
					continue;
				c->open[k / WORD_BITS] ^= bit;
				if (is_open)
					(*open_count)++;
				else
					(*open_count)--;
			}
		}
	}
}

void
rfl_open_leave(struct rfl_task *t, const struct rfl_group *g)
{
	if (!rfl_task_has_open_set(t))
		return;
	set_group(t, g, 0);
	t->open_change++;
}

void
rfl_open_return(struct rfl_task *t, const struct rfl_group *g)
{
	if (!rfl_task_has_open_set(t))
		return;
	set_group(t, g, 1);
	t->open_change++;
}

static int64_t
offset_of(const struct rfl_chunk *c, uint32_t i)
{
	return c->offsets != NULL ? c->offsets[i] : c->first_offset + i;
}

/* Records of a chunk that follow each other are one run, whatever offsets the log leaves out. */
static int
write_chunk(const struct rfl_chunk *c, int64_t hw, struct rfl_run *run, struct rfl_open_set *out)
{
	int follows = 0;
	for (uint32_t i = 0; i < c->count; i++) {
		if (i % WORD_BITS == 0 && c->open[i / WORD_BITS] == 0) {
			i += WORD_BITS - 1;
			follows = 0;
			continue;
		}
		if (!(c->open[i / WORD_BITS] >> i % WORD_BITS & 1)) {
			follows = 0;
			continue;
		}
		int64_t at = offset_of(c, i);
		if (at >= hw)
			return 1;
		if (!follows && at != run->end) {
			if (run->end > run->first && !rfl_open_set_add(out, run->first, run->end))
				return 0;
			run->first = at;
		}
		run->end = at + 1;
		follows = 1;
	}
	return 1;
}

/* 0 = there is no room for all of it. */
static int
write_set(
	const struct rfl_task *t, uint32_t lane, int64_t low, int64_t hw, struct rfl_open_set *out)
{
	const struct rfl_chunk *c;
	struct rfl_run run = {low, low};
	rfl_list_foreach (c, rfl_store_chunks(t->store, lane), struct rfl_chunk, link) {
		if (c->first_offset >= hw)
			break;
		if (c->open != NULL && !write_chunk(c, hw, &run, out))
			return 0;
	}
	return run.end == run.first || rfl_open_set_add(out, run.first, run.end);
}

static size_t
position_room(const struct rfl_task *t)
{
	return rfl_open_set_room(t->spec->position_chars);
}

/* The most that there is room for, wherever it goes. */
static size_t
room(const struct rfl_task *t)
{
	size_t position = position_room(t);
	if (t->spec->checkpoint.outlet == NULL ||
		t->spec->checkpoint_bytes < position + RFL_CHECKPOINT_BYTES)
		return position;
	return t->spec->checkpoint_bytes - RFL_CHECKPOINT_BYTES;
}

/* SIZE_MAX = more than there is room for anywhere. */
static size_t
count_bytes(const struct rfl_task *t, uint32_t lane, int64_t low, int64_t hw)
{
	struct rfl_open_set set = RFL_OPEN_SET_INIT;
	rfl_open_set_begin(&set, low, room(t));
	size_t bytes = write_set(t, lane, low, hw, &set) ? set.bytes.len : SIZE_MAX;
	rfl_open_set_fini(&set);
	return bytes;
}

static size_t
size_of(const struct rfl_task *t, uint32_t lane)
{
	struct rfl_open_size *last = &t->lanes[lane].open_size;
	int64_t low = rfl_task_low(t, lane), hw = rfl_task_hw(t, lane);
	if (last->change != t->open_change || last->low != low || last->hw != hw)
		*last = (struct rfl_open_size){
			t->open_change, low, hw, count_bytes(t, lane, low, hw)};
	return last->bytes;
}

/* Even with a run for each record, as far apart as they can be. */
static int
surely_fits(const struct rfl_lane *l, size_t most)
{
	size_t number = rfl_open_set_number_bytes((uint64_t)l->next - (uint64_t)l->committed);
	return l->open_count <= most / (2 * number);
}

static int
fits(const struct rfl_task *t, size_t most)
{
	for (uint32_t i = 0; i < t->lane_count; i++)
		if (!surely_fits(&t->lanes[i], most) && size_of(t, i) > most)
			return 0;
	return 1;
}

enum rfl_open_place
rfl_open_place(const struct rfl_task *t, uint32_t lane)
{
	if (!rfl_task_has_open_set(t))
		return RFL_OPEN_NOWHERE;
	if (size_of(t, lane) <= position_room(t))
		return RFL_OPEN_IN_POSITION;
	return rfl_task_is_exactly_once(t) ? RFL_OPEN_IN_CHECKPOINT : RFL_OPEN_NOWHERE;
}

struct rfl_open_set
rfl_open_write(const struct rfl_task *t, uint32_t lane)
{
	struct rfl_open_set set = RFL_OPEN_SET_INIT;
	int64_t low = rfl_task_low(t, lane);
	rfl_open_set_begin(&set, low, room(t));
	rfl_assert(write_set(t, lane, low, rfl_task_hw(t, lane), &set));
	return set;
}

int
rfl_open_fits(const struct rfl_task *t)
{
	return !rfl_task_has_open_set(t) || !rfl_task_is_exactly_once(t) || fits(t, room(t));
}

/* Records that are read until the transaction ends may make the set larger. */
static size_t
room_to_begin(const struct rfl_task *t)
{
	return room(t) / 4 * 3;
}

/* As fits, of a state that is tried and not to be remembered. */
static int
would_fit(const struct rfl_task *t, size_t most)
{
	for (uint32_t i = 0; i < t->lane_count; i++)
		if (!surely_fits(&t->lanes[i], most) &&
			count_bytes(t, i, rfl_task_low(t, i), rfl_task_hw(t, i)) > most)
			return 0;
	return 1;
}

/* Looks at the positions as they would be behind groups, from the first that is not staged. */
int
rfl_open_may_stage(const struct rfl_task *t, const struct rfl_group *first)
{
	int found = 0;
	struct rfl_list *const begin = first->link.next->prev;
	struct rfl_list *end = begin, *at;
	if (!rfl_task_has_open_set(t))
		return 1;
	int is_sure = 1;
	for (size_t i = 0; i < t->lane_count; i++)
		is_sure &= surely_fits(&t->lanes[i], room_to_begin(t));
	if (is_sure)
		return 1;
	/* Behind the first alone, or else behind all that are done: of few that are open the set is small. */
	for (at = end; at != &t->groups && !found; at = at->next) {
		struct rfl_group *g = rfl_container(at, struct rfl_group, link);
		if (!g->is_complete || g->done != g->panes)
			break;
		set_group(t, g, 0);
		g->is_staged = 1;
		int is_last = at->next == &t->groups;
		const struct rfl_group *next =
			is_last ? NULL : rfl_container(at->next, struct rfl_group, link);
		is_last |= next != NULL && (!next->is_complete || next->done != next->panes);
		if (g == first || is_last)
			found = would_fit(t, room_to_begin(t));
		end = at->next;
	}
	for (at = begin; at != end; at = at->next) {
		struct rfl_group *g = rfl_container(at, struct rfl_group, link);
		set_group(t, g, 1);
		g->is_staged = 0;
	}
	return found;
}

int
rfl_open_restore(const struct rfl_task *t, struct rfl_lane *lane, struct riffle_bytes metadata,
	struct riffle_error *reterr)
{
	int rc = rfl_open_set_decode(metadata, lane->at.low, lane->replay_to, &lane->open_runs,
		&lane->open_run_count, reterr);
	if (rc < 0)
		return rfl_err_prefix(
			reterr, "group %s, partition %d", t->spec->conf->group, t->partition);
	lane->has_open_set = 1;
	return RIFFLE_OK;
}

int
rfl_open_passes(const struct rfl_lane *lane, int64_t offset)
{
	size_t from = 0, to = lane->open_run_count;
	if (!lane->has_open_set || offset >= lane->replay_to)
		return 0;
	while (from < to) {
		size_t mid = (from + to) / 2;
		if (lane->open_runs[mid].end <= offset)
			from = mid + 1;
		else
			to = mid;
	}
	return from == lane->open_run_count || lane->open_runs[from].first > offset;
}
