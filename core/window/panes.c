/*
 * Tumbling and hopping windows: panes of equal length, each with a table of its own, so that closing
 * one is a walk over it and letting go of it is one step. A window is `span` panes from a start that is a
 * multiple of `step`.
 */
#include "window/window_private.h"

#include "base/floor.h"
#include "base/mem.h"

#include <stdlib.h>

struct entry {
	struct rfl_entry_head head;
	struct rfl_item_list items;
	uint64_t changed; /* adds, when the last record came */
	uint64_t taken;   /* the window it was last gathered for: mark_of its start; 0 = none */
};

struct pane {
	int64_t index, start_ms, to_ms;
	int64_t last_ms;       /* start of the last of its windows */
	int64_t open_until_ms; /* end of the first: closed up to less than that, it has them all */
	uint32_t windows;
	struct rfl_table table;
};

/* Where the gathering of one window stands, pane by pane, entry by entry. */
struct cursor {
	int is_open;
	int64_t start;
	size_t at; /* in the panes */
	struct rfl_entry_head *next;
};

struct rfl_panes {
	int64_t pane_ms;   /* 0 with a zone */
	int64_t pane_days; /* with a zone */
	int64_t span, step;
	struct pane **list; /* live ones, by index */
	size_t first, count, room;
	int has_fired;
	int64_t fire_next; /* windows that start before it were handed out */
	int has_begun;     /* emit_empty: from fire_next on every window counts */
	struct cursor fire, early;
	int64_t early_at; /* start of the window whose early look comes next */
};

#define DAY_MS INT64_C(86400000)

static int64_t
gcd(int64_t a, int64_t b)
{
	while (b != 0) {
		int64_t r = a % b;
		a = b;
		b = r;
	}
	return a;
}

static int64_t
floor_to(int64_t a, int64_t step)
{
	return rfl_floor_div(a, step) * step;
}

static int64_t
index_of(const struct rfl_window *w, int64_t t_ms)
{
	const struct rfl_panes *p = w->u.panes;
	rfl_assert(t_ms < RFL_WINDOW_TIME_LIMIT && t_ms > -RFL_WINDOW_TIME_LIMIT);
	if (w->spec.zone != NULL)
		return rfl_zone_period_of(w->spec.zone, t_ms, p->pane_days, w->spec.offset_ms);
	return rfl_floor_div(t_ms - w->spec.offset_ms, p->pane_ms);
}

static int64_t
start_of(const struct rfl_window *w, int64_t index)
{
	const struct rfl_panes *p = w->u.panes;
	if (w->spec.zone != NULL)
		return rfl_zone_period_start(w->spec.zone, index, p->pane_days, w->spec.offset_ms);
	return index * p->pane_ms + w->spec.offset_ms;
}

static int64_t
end_of(const struct rfl_window *w, int64_t start_index)
{
	return start_of(w, start_index + w->u.panes->span);
}

int64_t
rfl_panes_end_ms(const struct rfl_window *w, int64_t start_ms)
{
	return end_of(w, index_of(w, start_ms));
}

/* The start of the first window that holds that pane. */
static int64_t
first_window(const struct rfl_panes *p, int64_t index)
{
	return floor_to(index - p->span, p->step) + p->step;
}

/* No start's mark is 0. */
static uint64_t
mark_of(int64_t start)
{
	return (uint64_t)start * 2 + 1;
}

static struct pane *
pane_at(const struct rfl_panes *p, size_t i)
{
	return p->list[p->first + i];
}

/* The place of the first live pane at or behind index. */
static size_t
place_of(const struct rfl_panes *p, int64_t index)
{
	size_t low = 0, high = p->count;
	if (p->count > 0 && pane_at(p, p->count - 1)->index < index)
		return p->count;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		if (pane_at(p, mid)->index < index)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* The live pane that time lies in, found without a branch to mispredict; NULL = there is none. */
static struct pane *
pane_of(const struct rfl_panes *p, int64_t t_ms)
{
	size_t at = 0;
	if (p->count == 0)
		return NULL;
	for (size_t n = p->count; n > 1; n -= n / 2)
		at += pane_at(p, at + n / 2)->start_ms <= t_ms ? n / 2 : 0;
	struct pane *pane = pane_at(p, at);
	return t_ms >= pane->start_ms && t_ms < pane->to_ms ? pane : NULL;
}

/* Room comes first from what was freed at the front. */
static struct pane *
insert(struct rfl_window *w, size_t at, int64_t index)
{
	struct rfl_panes *p = w->u.panes;
	if (p->first > 0 && p->first + p->count == p->room) {
		for (size_t i = 0; i < p->count; i++)
			p->list[i] = p->list[p->first + i];
		p->first = 0;
	}
	rfl_grow(&p->list, &p->room, p->first + p->count + 1, sizeof *p->list);
	for (size_t i = p->count; i > at; i--)
		p->list[p->first + i] = p->list[p->first + i - 1];
	struct pane *one = rfl_zalloc(sizeof *one);
	one->index = index;
	one->start_ms = start_of(w, index);
	one->to_ms = start_of(w, index + 1);
	int64_t first = first_window(p, index), last = floor_to(index, p->step);
	one->last_ms = start_of(w, last);
	one->open_until_ms = end_of(w, first);
	one->windows = (uint32_t)((last - first) / p->step + 1);
	rfl_table_init(&one->table, sizeof(struct entry));
	p->list[p->first + at] = one;
	p->count++;
	/* A gathering that stands behind it goes on where it was. */
	if (p->fire.is_open && p->fire.at >= at)
		p->fire.at++;
	if (p->early.is_open && p->early.at >= at)
		p->early.at++;
	return one;
}

static struct pane *
get_pane(struct rfl_window *w, int64_t index)
{
	struct rfl_panes *p = w->u.panes;
	size_t at = place_of(p, index);
	if (at < p->count && pane_at(p, at)->index == index)
		return pane_at(p, at);
	return insert(w, at, index);
}

static int64_t next_ms(const struct rfl_window *w);

/* The start of the first window that ends behind t. */
static int64_t
first_behind(const struct rfl_window *w, int64_t t_ms)
{
	const struct rfl_panes *p = w->u.panes;
	return floor_to(index_of(w, t_ms) - p->span, p->step) + p->step;
}

/* How many windows a record of that pane has, and how many of them are over for it. */
static void
judge(struct rfl_window *w, int64_t index, struct rfl_window_record *r)
{
	struct rfl_panes *p = w->u.panes;
	int64_t last = floor_to(index, p->step);
	int64_t start = first_window(p, index);
	r->accepted = (uint32_t)((last - start) / p->step + 1);
	r->missed = 0;
	r->start_ms = start_of(w, last);
	while (start <= last && end_of(w, start) <= r->closed_ms) {
		r->missed++;
		r->accepted--;
		start += p->step;
	}
	if (r->missed == 0 || p->span == 1)
		return;
	/* What is over must not be gathered with this record in it, nor if it was empty until now. */
	rfl_assert(next_ms(w) > r->closed_ms);
	if (!p->has_fired || p->fire_next < start)
		p->fire_next = start;
	p->has_fired = 1;
}

/* The pane that takes a record; NULL when all its windows are over. */
static struct pane *
assign(struct rfl_window *w, struct pane *pane, struct rfl_window_record *r)
{
	if (pane == NULL || r->time_ms < pane->start_ms || r->time_ms >= pane->to_ms)
		pane = pane_of(w->u.panes, r->time_ms);
	if (pane == NULL || r->closed_ms >= pane->open_until_ms) {
		int64_t index = index_of(w, r->time_ms);
		judge(w, index, r);
		return r->accepted > 0 ? get_pane(w, index) : NULL;
	}
	r->accepted = pane->windows;
	r->missed = 0;
	r->start_ms = pane->last_ms;
	return pane;
}

/*
 * Records come nearly in order, so most of a group go to one pane, which is looked at first. Slots, then
 * entries, then the ends of their lists are fetched for the whole group before the first is needed.
 */
static void
add_group(struct rfl_window *w, struct rfl_window_record *records, size_t count)
{
	struct pane *panes[RFL_WINDOW_GROUP], *last = NULL;
	struct entry *entries[RFL_WINDOW_GROUP];
	for (size_t i = 0; i < count; i++) {
		panes[i] = last = assign(w, last, &records[i]);
		if (last != NULL)
			rfl_table_prefetch_slot(&last->table, records[i].hash);
	}
	for (size_t i = 0; i < count; i++)
		if (panes[i] != NULL)
			rfl_table_prefetch_entry(&panes[i]->table, records[i].hash);
	for (size_t i = 0; i < count; i++) {
		const struct rfl_window_record *r = &records[i];
		if (panes[i] == NULL)
			continue;
		entries[i] = (struct entry *)(void *)rfl_table_get(
			&panes[i]->table, r->key, r->key_len, r->hash);
		rfl_item_prefetch(&entries[i]->items);
	}
	for (size_t i = 0; i < count; i++) {
		if (panes[i] == NULL)
			continue;
		if (!w->spec.forgets_items)
			rfl_item_append(&panes[i]->table.pool, &entries[i]->items, records[i].item);
		entries[i]->changed = ++w->adds;
	}
}

static void
add(struct rfl_window *w, struct rfl_window_record *records, size_t count)
{
	while (count > 0) {
		size_t n = count < RFL_WINDOW_GROUP ? count : RFL_WINDOW_GROUP;
		add_group(w, records, n);
		records += n;
		count -= n;
	}
}

static void
free_pane(struct rfl_window *w, struct pane *pane)
{
	for (struct rfl_entry_head *e = pane->table.first; e != NULL; e = e->next)
		rfl_item_each(&((struct entry *)(void *)e)->items, w->drop, w->ctx);
	rfl_table_fini(&pane->table);
	free(pane);
}

/* Panes that no window to come needs go. */
static void
forget(struct rfl_window *w)
{
	struct rfl_panes *p = w->u.panes;
	while (p->count > 0 && p->has_fired &&
		floor_to(pane_at(p, 0)->index, p->step) < p->fire_next) {
		free_pane(w, pane_at(p, 0));
		p->first++;
		p->count--;
	}
	if (p->count == 0)
		p->first = 0;
}

/* The next pane may lie behind the end of this window: then the first that has something is meant. */
static int64_t
first_filled(const struct rfl_panes *p, int64_t start)
{
	size_t at = place_of(p, start);
	if (at < p->count && pane_at(p, at)->index >= start + p->span)
		return first_window(p, pane_at(p, at)->index);
	return start;
}

/* The start of the next window to be handed out; 0 = there is none. */
static int
next_start(const struct rfl_panes *p, int64_t *ret_start)
{
	if (p->has_begun) {
		*ret_start = p->fire_next;
		return 1;
	}
	if (p->count == 0)
		return 0;
	int64_t start = first_window(p, pane_at(p, 0)->index);
	*ret_start = p->has_fired && p->fire_next > start ? p->fire_next : start;
	*ret_start = first_filled(p, *ret_start);
	return 1;
}

static void
cursor_open(const struct rfl_panes *p, struct cursor *c, int64_t start)
{
	*c = (struct cursor){.is_open = 1, .start = start, .at = place_of(p, start)};
	if (c->at < p->count && pane_at(p, c->at)->index < start + p->span)
		c->next = pane_at(p, c->at)->table.first;
}

/* The next entry whose key this window was not gathered for yet. */
static struct entry *
cursor_next(const struct rfl_panes *p, struct cursor *c)
{
	for (;;) {
		while (c->next != NULL) {
			struct entry *e = (struct entry *)(void *)c->next;
			c->next = c->next->next;
			if (p->span == 1 || e->taken != mark_of(c->start))
				return e;
		}
		if (c->at >= p->count || c->at + 1 >= p->count ||
			pane_at(p, c->at + 1)->index >= c->start + p->span)
			return NULL;
		c->next = pane_at(p, ++c->at)->table.first;
	}
}

/*
 * All that the window at c holds of the key of e, which lies in the pane at c; its entries in later panes
 * are marked, so that they are passed over. Returns when the newest of it came.
 */
static uint64_t
gather(const struct rfl_panes *p, const struct cursor *c, struct entry *e,
	struct rfl_window_items *items)
{
	uint64_t changed = e->changed;
	rfl_item_copy(&e->items, items);
	for (size_t i = c->at + 1; i < p->count && pane_at(p, i)->index < c->start + p->span; i++) {
		struct entry *more = (struct entry *)(void *)rfl_table_find(
			&pane_at(p, i)->table, e->head.key, e->head.key_len, e->head.hash);
		if (more == NULL)
			continue;
		more->taken = mark_of(c->start);
		changed = more->changed > changed ? more->changed : changed;
		rfl_item_copy(&more->items, items);
	}
	return changed;
}

static void
describe(const struct rfl_window *w, int64_t start, const struct entry *e, int is_moved,
	struct rfl_window_fired *ret)
{
	*ret = (struct rfl_window_fired){
		.start_ms = start_of(w, start),
		.end_ms = end_of(w, start),
		.key = e ? e->head.key : NULL,
		.key_len = e ? e->head.key_len : 0,
		.is_merged = w->u.panes->span > 1,
		.is_moved = is_moved,
	};
}

static int
fire(struct rfl_window *w, int64_t closed_ms, struct rfl_window_fired *ret_fired,
	struct rfl_window_items *items)
{
	struct rfl_panes *p = w->u.panes;
	int64_t start;
	for (;;) {
		int is_new = !p->fire.is_open;
		if (is_new) {
			if (!next_start(p, &start) || end_of(w, start) > closed_ms)
				return 0;
			cursor_open(p, &p->fire, start);
		}
		struct entry *e = cursor_next(p, &p->fire);
		start = p->fire.start;
		if (e != NULL) {
			gather(p, &p->fire, e, items);
			/* Its memory goes with the pane. */
			if (p->span == 1)
				e->items = (struct rfl_item_list){NULL, NULL, 0};
			describe(w, start, e, p->span == 1, ret_fired);
			return 1;
		}
		p->fire.is_open = 0;
		p->has_fired = 1;
		p->fire_next = start + p->step;
		forget(w);
		if (is_new && w->spec.emit_empty && p->has_begun) {
			describe(w, start, NULL, 1, ret_fired);
			return 1;
		}
	}
}

/* Each open window, oldest first, and of each the keys that changed since the last pass. */
static int
early(struct rfl_window *w, struct rfl_window_fired *ret_fired, struct rfl_window_items *items)
{
	struct rfl_panes *p = w->u.panes;
	if (w->early_now == 0) {
		rfl_window_early_begin(w);
		p->early.is_open = 0;
		if (!next_start(p, &p->early_at))
			return rfl_window_early_end(w);
		if (p->fire.is_open)
			p->early_at = p->fire.start + p->step;
	}
	for (;;) {
		if (!p->early.is_open) {
			if (p->count == 0 ||
				p->early_at > floor_to(pane_at(p, p->count - 1)->index, p->step))
				return rfl_window_early_end(w);
			p->early_at = first_filled(p, p->early_at);
			cursor_open(p, &p->early, p->early_at);
		}
		struct entry *e = cursor_next(p, &p->early);
		if (e == NULL) {
			p->early.is_open = 0;
			p->early_at += p->step;
			continue;
		}
		size_t before = items->count;
		if (gather(p, &p->early, e, items) > w->early_from) {
			describe(w, p->early.start, e, 0, ret_fired);
			return 1;
		}
		items->count = before;
	}
}

void
rfl_panes_restore(struct rfl_window *w, int64_t closed_ms)
{
	w->u.panes->has_fired = 1;
	w->u.panes->fire_next = first_behind(w, closed_ms);
}

void
rfl_panes_begin(struct rfl_window *w, int64_t t_ms)
{
	struct rfl_panes *p = w->u.panes;
	if (!w->spec.emit_empty || p->has_begun)
		return;
	/* After a predecessor they go on behind its last one. */
	if (!p->has_fired)
		p->fire_next = first_behind(w, t_ms);
	p->has_begun = 1;
	p->has_fired = 1;
}

static int64_t
next_ms(const struct rfl_window *w)
{
	int64_t start;
	if (w->u.panes->fire.is_open)
		return end_of(w, w->u.panes->fire.start);
	return next_start(w->u.panes, &start) ? end_of(w, start) : RFL_NEVER_MS;
}

static int64_t
last_ms(const struct rfl_window *w)
{
	const struct rfl_panes *p = w->u.panes;
	if (p->count == 0)
		return RFL_BEFORE_MS;
	return end_of(w, floor_to(pane_at(p, p->count - 1)->index, p->step));
}

static uint64_t
open_count(const struct rfl_window *w)
{
	const struct rfl_panes *p = w->u.panes;
	uint64_t sum = 0;
	for (size_t i = 0; i < p->count; i++)
		sum += pane_at(p, i)->table.count;
	return sum;
}

static size_t
bytes(const struct rfl_window *w)
{
	const struct rfl_panes *p = w->u.panes;
	size_t sum = p->room * sizeof *p->list;
	for (size_t i = 0; i < p->count; i++)
		sum += sizeof(struct pane) + rfl_table_bytes(&pane_at(p, i)->table);
	return sum;
}

static void
fini(struct rfl_window *w)
{
	struct rfl_panes *p = w->u.panes;
	for (size_t i = 0; i < p->count; i++)
		free_pane(w, pane_at(p, i));
	free(p->list);
	free(p);
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
rfl_panes_init(struct rfl_window *w)
{
	struct rfl_panes *p = rfl_zalloc(sizeof *p);
	const struct rfl_window_spec *s = &w->spec;
	int64_t slide = s->shape == RFL_SHAPE_HOPPING ? s->slide_ms : s->size_ms;
	rfl_assert(s->size_ms > 0 && slide > 0 && slide <= s->size_ms);
	int64_t pane = gcd(s->size_ms, slide);
	p->span = s->size_ms / pane;
	p->step = slide / pane;
	p->pane_ms = s->zone ? 0 : pane;
	p->pane_days = pane / DAY_MS;
	rfl_assert(s->zone == NULL || pane % DAY_MS == 0);
	w->u.panes = p;
	w->ops = &ops;
}
