/* A window's records and outputs. */
#include "task/pane.h"

#include "base/check.h"
#include "base/mem.h"
#include "plugin/host.h"

#include <stdlib.h>
#include <string.h>

#define PANE_MAGIC 0x50414e45u

struct rfl_pane *
rfl_pane_create(void)
{
	struct rfl_pane *p = rfl_zalloc(sizeof *p);
	p->magic = PANE_MAGIC;
	p->max_time_ms = RIFFLE_TIME_NONE;
	rfl_list_init(&p->link);
	rfl_list_init(&p->work);
	return p;
}

static void
drop(struct rfl_batches *l)
{
	for (size_t i = 0; i < l->count; i++)
		rfl_batch_unref(l->items[i]);
	l->count = 0;
}

void
rfl_pane_destroy(struct rfl_pane *p)
{
	if (p == NULL)
		return;
	RFL_CHECK(p, PANE_MAGIC);
	rfl_assert(p->call == NULL && !p->holds_items);
	RFL_RETIRE(p);
	rfl_list_remove(&p->link);
	rfl_list_remove(&p->work);
	drop(&p->outputs);
	free(p->items.list);
	free(p->outputs.items);
	free(p->ways);
	free(p->key);
	free(p->gone);
	free(p);
}

void
rfl_pane_set_window(struct rfl_pane *p, const struct rfl_window_fired *fired)
{
	p->start_ms = fired->start_ms;
	p->end_ms = fired->end_ms;
	if (fired->key_len == 0)
		return;
	p->key = rfl_alloc(fired->key_len);
	p->key_len = fired->key_len;
	memcpy(p->key, fired->key, fired->key_len);
}

/* What follows on what is there makes one run with it. */
void
rfl_pane_add(struct rfl_pane *p, struct rfl_window_item item)
{
	struct rfl_window_items *l = &p->items;
	struct rfl_window_item *last = l->count > 0 ? &l->list[l->count - 1] : NULL;
	p->record_count += rfl_item_count(item);
	if (last != NULL && last->a == item.a &&
		rfl_item_index(*last) + rfl_item_count(*last) == rfl_item_index(item)) {
		last->b += (uint64_t)rfl_item_count(item) << 32;
		return;
	}
	rfl_grow(&l->list, &l->room, l->count + 1, sizeof *l->list);
	l->list[l->count++] = item;
}

static int
by_arrival(const void *a, const void *b)
{
	const struct rfl_window_item *x = a, *y = b;
	uint64_t one = rfl_item_chunk(*x)->order, other = rfl_item_chunk(*y)->order;
	if (one != other)
		return one < other ? -1 : 1;
	return rfl_item_index(*x) < rfl_item_index(*y) ? -1 : 1;
}

void
rfl_pane_sort(struct rfl_pane *p)
{
	if (p->items.count > 1)
		qsort(p->items.list, p->items.count, sizeof *p->items.list, by_arrival);
}

void
rfl_pane_need(struct rfl_pane *p)
{
	for (size_t i = 0; i < p->items.count; i++)
		rfl_store_need(rfl_item_chunk(p->items.list[i]), rfl_item_count(p->items.list[i]));
	p->holds_items = 1;
}

void
rfl_pane_release(struct rfl_pane *p, struct rfl_store *s)
{
	for (size_t i = 0; p->holds_items && i < p->items.count; i++)
		rfl_store_release(
			s, rfl_item_chunk(p->items.list[i]), rfl_item_count(p->items.list[i]));
	p->holds_items = 0;
	p->items.count = 0;
}

void
rfl_pane_release_kept(struct rfl_pane *p, struct rfl_store *s)
{
	for (size_t i = 0; p->holds_items && i < p->items.count; i++)
		rfl_store_release_kept(
			s, rfl_item_chunk(p->items.list[i]), rfl_item_count(p->items.list[i]));
	p->holds_items = 0;
	p->items.count = 0;
}

static void
pass(struct rfl_gone *g, const struct riffle_batch *b, uint32_t index, uint32_t count)
{
	int64_t first = riffle_batch_at(b, index)->offset;
	int64_t last = riffle_batch_at(b, index + count - 1)->offset;
	if (g->count == 0 || first < g->first)
		g->first = first;
	if (g->count == 0 || last > g->last)
		g->last = last;
	g->count += count;
}

/* A chunk in the spill file is read once for all neighbours in it. */
static int
pass_all(struct rfl_pane *p, struct rfl_store *s, size_t items, struct riffle_error *reterr)
{
	struct riffle_batch *b = NULL;
	const struct rfl_chunk *last = NULL;
	for (size_t i = 0; i < items; i++) {
		struct rfl_window_item item = p->items.list[i];
		struct rfl_chunk *c = rfl_item_chunk(item);
		if (c != last) {
			if (b != NULL)
				rfl_batch_unref(b);
			b = NULL;
			int rc = rfl_store_batch(s, c, &b, reterr);
			if (rc < 0)
				return rc;
			last = c;
		}
		pass(&p->gone[c->lane], b, rfl_item_index(item), rfl_item_count(item));
	}
	if (b != NULL)
		rfl_batch_unref(b);
	return RIFFLE_OK;
}

int
rfl_pane_let_go(struct rfl_pane *p, struct rfl_store *s, size_t items, uint32_t more,
	struct riffle_error *reterr)
{
	struct rfl_window_items *l = &p->items;
	struct rfl_window_item rest = {0, 0}, at = {0, 0};
	rfl_assert(p->lets_go && items + (more > 0) <= l->count);
	if (items == 0 && more == 0)
		return RIFFLE_OK;
	if (p->gone == NULL)
		p->gone = rfl_zalloc(rfl_store_lane_count(s) * sizeof *p->gone);
	if (more > 0) {
		at = l->list[items];
		struct rfl_chunk *c = rfl_item_chunk(at);
		uint32_t index = rfl_item_index(at);
		if (more < rfl_item_count(at))
			rest = rfl_item_of(c, index + more, rfl_item_count(at) - more);
		l->list[items++] = rfl_item_of(c, index, more);
	}
	int rc = pass_all(p, s, items, reterr);
	if (rc < 0) {
		/* Of what was not read nobody knows the position but its chunk. */
		if (more > 0)
			l->list[items - 1] = at;
		return rc;
	}
	for (size_t i = 0; i < items; i++)
		rfl_store_release(s, rfl_item_chunk(l->list[i]), rfl_item_count(l->list[i]));
	size_t from = items;
	if (rfl_item_count(rest) > 0)
		l->list[--from] = rest;
	l->count -= from;
	memmove(l->list, l->list + from, l->count * sizeof *l->list);
	return RIFFLE_OK;
}

int
rfl_pane_let_go_all(struct rfl_pane *p, struct rfl_store *s, struct riffle_error *reterr)
{
	return rfl_pane_let_go(p, s, p->items.count, 0, reterr);
}

void
rfl_pane_stage(struct rfl_pane *p)
{
	for (size_t i = 0; i < p->items.count; i++)
		rfl_store_stage(rfl_item_chunk(p->items.list[i]), rfl_item_count(p->items.list[i]));
}

void
rfl_pane_unstage(struct rfl_pane *p)
{
	for (size_t i = 0; i < p->items.count; i++)
		rfl_store_unstage(
			rfl_item_chunk(p->items.list[i]), rfl_item_count(p->items.list[i]));
}

void
rfl_pane_output(struct rfl_pane *p, struct riffle_batch *b, struct rfl_outlet *to, size_t bytes)
{
	RFL_CHECK(p, PANE_MAGIC);
	struct rfl_batches *l = &p->outputs;
	rfl_grow(&l->items, &l->room, l->count + 1, sizeof *l->items);
	l->items[l->count++] = b;
	rfl_grow(&p->ways, &p->way_room, l->count, sizeof *p->ways);
	p->ways[l->count - 1] = (struct rfl_way){to, bytes};
	p->output_bytes += bytes;
	p->output_records += b->record_count;
}

void
rfl_pane_drop_outputs(struct rfl_pane *p)
{
	RFL_CHECK(p, PANE_MAGIC);
	drop(&p->outputs);
	p->is_dead = 0;
	p->output_bytes = 0;
	p->outputs_sent = 0;
	p->output_records = 0;
}

static size_t
place_of(const struct rfl_batches *l, const struct riffle_batch *b)
{
	size_t at = 0;
	while (at < l->count && l->items[at] != b)
		at++;
	return at;
}

int
rfl_pane_holds_output(const struct rfl_pane *p, const struct riffle_batch *b)
{
	return place_of(&p->outputs, b) < p->outputs.count;
}

void
rfl_pane_forget_output(struct rfl_pane *p, const struct riffle_batch *b)
{
	RFL_CHECK(p, PANE_MAGIC);
	struct rfl_batches *l = &p->outputs;
	size_t at = place_of(l, b);
	if (at == l->count)
		return;
	rfl_batch_unref(l->items[at]);
	p->output_bytes -= p->ways[at].bytes;
	l->count--;
	p->outputs_sent--;
	memmove(l->items + at, l->items + at + 1, (l->count - at) * sizeof *l->items);
	memmove(p->ways + at, p->ways + at + 1, (l->count - at) * sizeof *p->ways);
}
