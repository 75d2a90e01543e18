/* Session windows: the open sessions of each key, and when each of them is over. */
#include "window/heap.h"
#include "window/window_private.h"

#include "base/list.h"
#include "base/mem.h"

#include <stdlib.h>

struct session {
	struct rfl_timer timer; /* due at last + gap + 1 */
	struct session *next;   /* of its key, by start */
	struct entry *entry;
	int64_t start_ms, last_ms;
	struct rfl_item_list items;
	uint64_t changed;
	int is_merged;
};

struct entry {
	struct rfl_entry_head head;
	struct session *first;
};

struct rfl_sessions {
	struct rfl_table table;
	struct rfl_heap heap;
	struct entry *gone; /* the entry of the session handed out last, whose key is still lent */
	struct rfl_entry_head *early_next;
	struct session *early_session;
	uint64_t made;
};

static void
forget_gone(struct rfl_sessions *s)
{
	if (s->gone != NULL && s->gone->first == NULL)
		rfl_table_remove(&s->table, &s->gone->head);
	s->gone = NULL;
}

static int64_t
distance(const struct session *s, int64_t t_ms)
{
	if (t_ms < s->start_ms)
		return s->start_ms - t_ms;
	return t_ms > s->last_ms ? t_ms - s->last_ms : 0;
}

static int
fits(const struct rfl_window *w, const struct session *s, int64_t start_ms, int64_t last_ms)
{
	int64_t from = s->start_ms < start_ms ? s->start_ms : start_ms;
	int64_t to = s->last_ms > last_ms ? s->last_ms : last_ms;
	return to - from <= w->spec.max_ms;
}

/* Takes all of more into s; more is gone. */
static void
absorb(struct rfl_window *w, struct session *s, struct session **link)
{
	struct rfl_sessions *p = w->u.sessions;
	struct session *more = *link;
	*link = more->next;
	s->last_ms = more->last_ms > s->last_ms ? more->last_ms : s->last_ms;
	rfl_item_join(&s->items, &more->items);
	s->is_merged = 1;
	rfl_heap_remove(&p->heap, &more->timer);
	rfl_pool_free(&p->table.pool, more, sizeof *more);
}

static struct session *
new_session(struct rfl_window *w, struct entry *e, int64_t t_ms)
{
	struct rfl_sessions *p = w->u.sessions;
	struct session *s = rfl_pool_alloc(&p->table.pool, sizeof *s);
	struct session **at = &e->first;
	*s = (struct session){.entry = e, .start_ms = t_ms, .last_ms = t_ms};
	while (*at != NULL && (*at)->start_ms <= t_ms)
		at = &(*at)->next;
	s->next = *at;
	*at = s;
	s->timer.due_ms = t_ms + w->spec.size_ms + 1;
	s->timer.order = p->made++;
	rfl_heap_add(&p->heap, &s->timer);
	return s;
}

/* Where its start moved before that of another, the list is put in order again. */
static void
reorder(struct entry *e, struct session *s)
{
	struct session **at = &e->first;
	while (*at != s)
		at = &(*at)->next;
	*at = s->next;
	at = &e->first;
	while (*at != NULL && (*at)->start_ms <= s->start_ms)
		at = &(*at)->next;
	s->next = *at;
	*at = s;
}

/* The session that takes a record: the open ones near it, made one as far as max allows; NULL = none. */
static struct session *
join(struct rfl_window *w, struct entry *e, int64_t t_ms, int64_t closed_ms)
{
	struct session *into = NULL, **at = &e->first;
	while (*at != NULL) {
		struct session *s = *at;
		int near = s->timer.due_ms > closed_ms && distance(s, t_ms) <= w->spec.size_ms;
		if (near && into == NULL && fits(w, s, t_ms, t_ms))
			into = s;
		else if (near && into != NULL &&
			 fits(w, s, into->start_ms < t_ms ? into->start_ms : t_ms,
				 into->last_ms > t_ms ? into->last_ms : t_ms)) {
			absorb(w, into, at);
			continue;
		}
		at = &s->next;
	}
	if (into == NULL)
		return NULL;
	into->last_ms = t_ms > into->last_ms ? t_ms : into->last_ms;
	if (t_ms < into->start_ms) {
		into->start_ms = t_ms;
		reorder(e, into);
	}
	into->timer.due_ms = into->last_ms + w->spec.size_ms + 1;
	rfl_heap_moved(&w->u.sessions->heap, &into->timer);
	return into;
}

static void
add_one(struct rfl_window *w, struct rfl_window_record *r)
{
	struct rfl_sessions *p = w->u.sessions;
	rfl_assert(r->time_ms < RFL_WINDOW_TIME_LIMIT && r->time_ms > -RFL_WINDOW_TIME_LIMIT);
	struct entry *e =
		(struct entry *)(void *)rfl_table_find(&p->table, r->key, r->key_len, r->hash);
	struct session *s = e ? join(w, e, r->time_ms, r->closed_ms) : NULL;
	r->accepted = s != NULL || r->time_ms + w->spec.size_ms + 1 > r->closed_ms;
	r->missed = !r->accepted;
	if (!r->accepted)
		return;
	if (s == NULL) {
		e = (struct entry *)(void *)rfl_table_get(&p->table, r->key, r->key_len, r->hash);
		s = new_session(w, e, r->time_ms);
	}
	r->start_ms = s->start_ms;
	rfl_item_append(&p->table.pool, &s->items, r->item);
	s->changed = ++w->adds;
}

static void
add(struct rfl_window *w, struct rfl_window_record *records, size_t count)
{
	forget_gone(w->u.sessions);
	for (size_t i = 0; i < count; i++)
		rfl_table_prefetch_slot(&w->u.sessions->table, records[i].hash);
	for (size_t i = 0; i < count; i++)
		add_one(w, &records[i]);
}

static void
describe(const struct session *s, int is_moved, struct rfl_window_fired *ret)
{
	*ret = (struct rfl_window_fired){
		.start_ms = s->start_ms,
		.end_ms = s->timer.due_ms,
		.key = s->entry->head.key,
		.key_len = s->entry->head.key_len,
		.is_merged = s->is_merged,
		.is_moved = is_moved,
	};
}

static int
fire(struct rfl_window *w, int64_t closed_ms, struct rfl_window_fired *ret_fired,
	struct rfl_window_items *items)
{
	struct rfl_sessions *p = w->u.sessions;
	struct rfl_timer *first = rfl_heap_first(&p->heap);
	forget_gone(p);
	if (first == NULL || first->due_ms > closed_ms)
		return 0;
	struct session *s = rfl_container(first, struct session, timer);
	struct session **at = &s->entry->first;
	while (*at != s)
		at = &(*at)->next;
	*at = s->next;
	rfl_heap_remove(&p->heap, first);
	describe(s, 1, ret_fired);
	rfl_item_copy(&s->items, items);
	rfl_item_free(&p->table.pool, &s->items);
	p->gone = s->entry;
	rfl_pool_free(&p->table.pool, s, sizeof *s);
	return 1;
}

static int
early(struct rfl_window *w, struct rfl_window_fired *ret_fired, struct rfl_window_items *items)
{
	struct rfl_sessions *p = w->u.sessions;
	if (w->early_now == 0) {
		forget_gone(p);
		rfl_window_early_begin(w);
		p->early_next = p->table.first;
		p->early_session = NULL;
	}
	for (;;) {
		struct session *s = p->early_session;
		if (s == NULL) {
			if (p->early_next == NULL)
				return rfl_window_early_end(w);
			p->early_session = ((struct entry *)(void *)p->early_next)->first;
			p->early_next = p->early_next->next;
			continue;
		}
		p->early_session = s->next;
		if (s->changed > w->early_from) {
			describe(s, 0, ret_fired);
			rfl_item_copy(&s->items, items);
			return 1;
		}
	}
}

static int64_t
next_ms(const struct rfl_window *w)
{
	const struct rfl_timer *first = rfl_heap_first(&w->u.sessions->heap);
	return first ? first->due_ms : RFL_NEVER_MS;
}

static int64_t
last_ms(const struct rfl_window *w)
{
	const struct rfl_heap *h = &w->u.sessions->heap;
	return h->count > 0 ? rfl_heap_last_ms(h) : RFL_BEFORE_MS;
}

static uint64_t
open_count(const struct rfl_window *w)
{
	return w->u.sessions->heap.count;
}

static size_t
bytes(const struct rfl_window *w)
{
	const struct rfl_sessions *p = w->u.sessions;
	return rfl_table_bytes(&p->table) + p->heap.room * sizeof *p->heap.list;
}

static void
fini(struct rfl_window *w)
{
	struct rfl_sessions *p = w->u.sessions;
	for (size_t i = 1; i <= p->heap.count; i++) {
		struct session *s = rfl_container(p->heap.list[i], struct session, timer);
		rfl_item_each(&s->items, w->drop, w->ctx);
	}
	rfl_heap_fini(&p->heap);
	rfl_table_fini(&p->table);
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
rfl_sessions_init(struct rfl_window *w)
{
	rfl_assert(w->spec.size_ms > 0 && w->spec.max_ms >= 0);
	w->u.sessions = rfl_zalloc(sizeof *w->u.sessions);
	rfl_table_init(&w->u.sessions->table, sizeof(struct entry));
	w->ops = &ops;
}
