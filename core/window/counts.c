/* Count windows: the open window of each key, those that are full, and those whose `or` has passed. */
#include "window/heap.h"
#include "window/window_private.h"

#include "base/list.h"
#include "base/mem.h"

#include <stdlib.h>

struct window {
	struct rfl_timer timer; /* first + size, where there is an `or` */
	struct window *next;    /* of the full ones */
	struct entry *entry;
	int64_t first_ms, max_ms;
	struct rfl_item_list items;
	uint64_t changed;
};

struct entry {
	struct rfl_entry_head head;
	struct window *open;
	uint32_t full; /* of its windows, not yet fetched */
};

struct rfl_counts {
	struct rfl_table table;
	struct rfl_heap heap;
	struct window *full, **full_end;
	uint64_t full_count, made;
	struct entry *gone;
	struct rfl_entry_head *early_next;
};

static void
forget_gone(struct rfl_counts *c)
{
	if (c->gone != NULL && c->gone->open == NULL && c->gone->full == 0)
		rfl_table_remove(&c->table, &c->gone->head);
	c->gone = NULL;
}

static struct window *
open_window(struct rfl_window *w, struct entry *e, int64_t t_ms)
{
	struct rfl_counts *c = w->u.counts;
	struct window *one = rfl_pool_alloc(&c->table.pool, sizeof *one);
	*one = (struct window){.entry = e, .first_ms = t_ms, .max_ms = t_ms};
	one->timer.order = c->made++;
	one->timer.due_ms = t_ms + w->spec.size_ms;
	if (w->spec.size_ms > 0)
		rfl_heap_add(&c->heap, &one->timer);
	return e->open = one;
}

static void
fill(struct rfl_window *w, struct window *one)
{
	struct rfl_counts *c = w->u.counts;
	one->entry->open = NULL;
	one->entry->full++;
	if (w->spec.size_ms > 0)
		rfl_heap_remove(&c->heap, &one->timer);
	one->next = NULL;
	*c->full_end = one;
	c->full_end = &one->next;
	c->full_count++;
}

static void
add(struct rfl_window *w, struct rfl_window_record *records, size_t count)
{
	struct rfl_counts *c = w->u.counts;
	forget_gone(c);
	for (size_t i = 0; i < count; i++) {
		struct rfl_window_record *r = &records[i];
		rfl_assert(
			r->time_ms < RFL_WINDOW_TIME_LIMIT && r->time_ms > -RFL_WINDOW_TIME_LIMIT);
		struct entry *e = (struct entry *)(void *)rfl_table_get(
			&c->table, r->key, r->key_len, r->hash);
		struct window *one = e->open ? e->open : open_window(w, e, r->time_ms);
		if (w->spec.forgets_items)
			one->items.count++;
		else
			rfl_item_append(&c->table.pool, &one->items, r->item);
		one->max_ms = r->time_ms > one->max_ms ? r->time_ms : one->max_ms;
		one->changed = ++w->adds;
		r->accepted = 1;
		r->missed = 0;
		r->start_ms = one->first_ms;
		if (one->items.count == w->spec.count)
			fill(w, one);
	}
}

static void
describe(const struct rfl_window *w, const struct window *one, int is_moved,
	struct rfl_window_fired *ret)
{
	*ret = (struct rfl_window_fired){
		.start_ms = one->first_ms,
		.end_ms = w->spec.size_ms > 0 ? one->timer.due_ms : one->max_ms + 1,
		.key = one->entry->head.key,
		.key_len = one->entry->head.key_len,
		.is_moved = is_moved,
	};
}

static struct window *
take_over(struct rfl_window *w, int64_t closed_ms)
{
	struct rfl_counts *c = w->u.counts;
	struct window *one = c->full;
	if (one != NULL) {
		c->full = one->next;
		if (c->full == NULL)
			c->full_end = &c->full;
		c->full_count--;
		one->entry->full--;
		return one;
	}
	struct rfl_timer *first = rfl_heap_first(&c->heap);
	if (first == NULL || first->due_ms > closed_ms)
		return NULL;
	one = rfl_container(first, struct window, timer);
	rfl_heap_remove(&c->heap, first);
	one->entry->open = NULL;
	return one;
}

static int
fire(struct rfl_window *w, int64_t closed_ms, struct rfl_window_fired *ret_fired,
	struct rfl_window_items *items)
{
	struct rfl_counts *c = w->u.counts;
	forget_gone(c);
	struct window *one = take_over(w, closed_ms);
	if (one == NULL)
		return 0;
	describe(w, one, 1, ret_fired);
	if (!w->spec.forgets_items)
		rfl_item_copy(&one->items, items);
	rfl_item_free(&c->table.pool, &one->items);
	c->gone = one->entry;
	rfl_pool_free(&c->table.pool, one, sizeof *one);
	return 1;
}

static int
early(struct rfl_window *w, struct rfl_window_fired *ret_fired, struct rfl_window_items *items)
{
	struct rfl_counts *c = w->u.counts;
	if (w->early_now == 0) {
		forget_gone(c);
		rfl_window_early_begin(w);
		c->early_next = c->table.first;
	}
	while (c->early_next != NULL) {
		const struct window *one = ((struct entry *)(void *)c->early_next)->open;
		c->early_next = c->early_next->next;
		if (one == NULL || one->changed <= w->early_from)
			continue;
		describe(w, one, 0, ret_fired);
		rfl_item_copy(&one->items, items);
		return 1;
	}
	return rfl_window_early_end(w);
}

uint64_t
rfl_counts_room(const struct rfl_window *w)
{
	const struct rfl_counts *c = w->u.counts;
	const struct entry *e = (const struct entry *)(const void *)c->table.first;
	return w->spec.count - (e != NULL && e->open != NULL ? e->open->items.count : 0);
}

static int64_t
next_ms(const struct rfl_window *w)
{
	const struct rfl_timer *first = rfl_heap_first(&w->u.counts->heap);
	if (w->u.counts->full != NULL)
		return RFL_BEFORE_MS;
	return first ? first->due_ms : RFL_NEVER_MS;
}

/* Without an `or` no time ends them. */
static int64_t
last_ms(const struct rfl_window *w)
{
	const struct rfl_heap *h = &w->u.counts->heap;
	return h->count > 0 ? rfl_heap_last_ms(h) : RFL_BEFORE_MS;
}

static uint64_t
open_count(const struct rfl_window *w)
{
	return w->u.counts->table.count + w->u.counts->full_count;
}

static size_t
bytes(const struct rfl_window *w)
{
	const struct rfl_counts *c = w->u.counts;
	return rfl_table_bytes(&c->table) + c->heap.room * sizeof *c->heap.list;
}

static void
fini(struct rfl_window *w)
{
	struct rfl_counts *c = w->u.counts;
	for (struct window *one = c->full; one != NULL; one = one->next)
		rfl_item_each(&one->items, w->drop, w->ctx);
	for (struct rfl_entry_head *e = c->table.first; e != NULL; e = e->next) {
		const struct window *open = ((struct entry *)(void *)e)->open;
		if (open != NULL)
			rfl_item_each(&open->items, w->drop, w->ctx);
	}
	rfl_heap_fini(&c->heap);
	rfl_table_fini(&c->table);
	free(c);
}

static const struct rfl_window_ops ops = {
	.add = add,
	.fire = fire,
	.early = early,
	.next = next_ms,
	.last = last_ms,
	.open_count = open_count,
	.bytes = bytes,
	.fini = fini,
};

void
rfl_counts_init(struct rfl_window *w)
{
	rfl_assert(w->spec.count > 0);
	w->u.counts = rfl_zalloc(sizeof *w->u.counts);
	rfl_table_init(&w->u.counts->table, sizeof(struct entry));
	w->u.counts->full_end = &w->u.counts->full;
	w->ops = &ops;
}
