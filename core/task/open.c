/*
 * Which records are in sessions that are not done: a bit each in their chunks, from when a record enters
 * its session until the group of that is settled, or in the open transaction. Written with the position
 * (wire/open_set.h), it lets a successor rebuild these sessions and no others.
 */
#include "task/task_private.h"

#include "base/error.h"
#include "base/mem.h"
#include "plugin/host.h"
#include "wire/open_set.h"

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
rfl_open_enter(struct rfl_chunk *c, uint32_t index)
{
	if (c->open == NULL)
		make_bits(c);
	c->open[index / WORD_BITS] |= UINT64_C(1) << index % WORD_BITS;
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
			for (uint32_t k = first; k < first + count; k++) {
				uint64_t bit = UINT64_C(1) << k % WORD_BITS;
				if (is_open)
					c->open[k / WORD_BITS] |= bit;
				else
					c->open[k / WORD_BITS] &= ~bit;
			}
		}
	}
}

void
rfl_open_leave(struct rfl_task *t, const struct rfl_group *g)
{
	if (rfl_task_has_open_set(t))
		set_group(t, g, 0);
}

void
rfl_open_return(struct rfl_task *t, const struct rfl_group *g)
{
	if (rfl_task_has_open_set(t))
		set_group(t, g, 1);
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

int
rfl_open_write(const struct rfl_task *t, uint32_t lane, int64_t low, int64_t hw, size_t text_max,
	struct rfl_open_set *out)
{
	const struct rfl_chunk *c;
	struct rfl_run run = {low, low};
	rfl_open_set_begin(out, low, text_max);
	rfl_list_foreach (c, rfl_store_chunks(t->store, lane), struct rfl_chunk, link) {
		if (c->first_offset >= hw)
			break;
		if (c->open != NULL && !write_chunk(c, hw, &run, out))
			return 0;
	}
	return run.end == run.first || rfl_open_set_add(out, run.first, run.end);
}

static int
fits(const struct rfl_task *t, size_t text_max)
{
	struct rfl_open_set set;
	for (uint32_t i = 0; i < t->lane_count; i++)
		if (!rfl_open_write(t, i, rfl_task_low(t, i), rfl_task_hw(t, i), text_max, &set))
			return 0;
	return 1;
}

int
rfl_open_fits(const struct rfl_task *t)
{
	return !rfl_task_has_open_set(t) || !rfl_task_is_exactly_once(t) ||
	       fits(t, t->spec->position_chars);
}

/* Records that are read until the transaction ends may make the set larger. */
static size_t
chars_to_begin(const struct rfl_task *t)
{
	return RFL_TUPLE_TEXT + (t->spec->position_chars - RFL_TUPLE_TEXT) / 4 * 3;
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
			found = fits(t, chars_to_begin(t));
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
