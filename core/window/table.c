/* The table: open addressing with linear probing; lists of items in blocks that double. */
#include "window/table.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_SLOTS 8u
#define POINTER_BITS 48
#define POINTER_MASK ((UINT64_C(1) << POINTER_BITS) - 1)
#define FIRST_ROOM 2u
#define LAST_ROOM 62u

struct rfl_item_block {
	struct rfl_item_block *next;
	uint32_t used, room;
	struct rfl_window_item items[];
};

void
rfl_table_init(struct rfl_table *t, size_t entry_size)
{
	*t = (struct rfl_table){.entry_size = entry_size};
	rfl_pool_init(&t->pool);
}

void
rfl_table_fini(struct rfl_table *t)
{
	free(t->slots);
	rfl_pool_fini(&t->pool);
	t->slots = NULL;
	t->first = t->last = NULL;
	t->count = t->mask = 0;
}

size_t
rfl_table_bytes(const struct rfl_table *t)
{
	return t->pool.bytes + (t->slots ? ((size_t)t->mask + 1) * sizeof *t->slots : 0);
}

static uint64_t
slot_of(const struct rfl_entry_head *e)
{
	return (uint64_t)(uintptr_t)e | (uint64_t)(e->hash >> 16) << POINTER_BITS;
}

static struct rfl_entry_head *
entry_of(uint64_t slot)
{
	return (struct rfl_entry_head *)(uintptr_t)(slot & POINTER_MASK);
}

void
rfl_table_prefetch_slot(const struct rfl_table *t, uint32_t hash)
{
	if (t->slots != NULL)
		__builtin_prefetch(&t->slots[hash & t->mask]);
}

void
rfl_table_prefetch_entry(const struct rfl_table *t, uint32_t hash)
{
	if (t->slots != NULL)
		__builtin_prefetch(entry_of(t->slots[hash & t->mask]));
}

static int
is_key(const struct rfl_entry_head *e, const void *key, uint32_t len, uint32_t hash)
{
	return e->hash == hash && e->key_len == len && (len == 0 || memcmp(e->key, key, len) == 0);
}

struct rfl_entry_head *
rfl_table_find(const struct rfl_table *t, const void *key, uint32_t len, uint32_t hash)
{
	if (t->slots == NULL)
		return NULL;
	uint64_t tag = (uint64_t)(hash >> 16) << POINTER_BITS;
	for (uint32_t at = hash & t->mask;; at = (at + 1) & t->mask) {
		uint64_t slot = t->slots[at];
		if (slot == 0)
			return NULL;
		if ((slot & ~POINTER_MASK) == tag && is_key(entry_of(slot), key, len, hash))
			return entry_of(slot);
	}
}

static void
place(struct rfl_table *t, const struct rfl_entry_head *e)
{
	uint32_t at = e->hash & t->mask;
	while (t->slots[at] != 0)
		at = (at + 1) & t->mask;
	t->slots[at] = slot_of(e);
}

static void
make_room(struct rfl_table *t)
{
	if (t->slots != NULL && t->count * 2 <= t->mask)
		return;
	free(t->slots);
	t->mask = t->slots ? t->mask * 2 + 1 : FIRST_SLOTS - 1;
	t->slots = rfl_zalloc(((size_t)t->mask + 1) * sizeof *t->slots);
	for (struct rfl_entry_head *e = t->first; e != NULL; e = e->next)
		place(t, e);
}

struct rfl_entry_head *
rfl_table_get(struct rfl_table *t, const void *key, uint32_t len, uint32_t hash)
{
	struct rfl_entry_head *e = rfl_table_find(t, key, len, hash);
	if (e != NULL)
		return e;
	make_room(t);
	e = rfl_pool_alloc(&t->pool, t->entry_size + len);
	memset(e, 0, t->entry_size);
	e->hash = hash;
	e->key_len = len;
	e->key = (uint8_t *)e + t->entry_size;
	if (len > 0)
		memcpy(e->key, key, len);
	e->prev = t->last;
	*(t->last ? &t->last->next : &t->first) = e;
	t->last = e;
	t->count++;
	place(t, e);
	return e;
}

/* What stood behind moves up, so that no probe ends too early. */
static void
close_gap(struct rfl_table *t, uint32_t hole)
{
	for (uint32_t at = (hole + 1) & t->mask; t->slots[at] != 0; at = (at + 1) & t->mask) {
		uint32_t home = entry_of(t->slots[at])->hash & t->mask;
		if (((at - home) & t->mask) < ((at - hole) & t->mask))
			continue;
		t->slots[hole] = t->slots[at];
		hole = at;
	}
	t->slots[hole] = 0;
}

void
rfl_table_remove(struct rfl_table *t, struct rfl_entry_head *e)
{
	uint32_t at = e->hash & t->mask;
	while (entry_of(t->slots[at]) != e)
		at = (at + 1) & t->mask;
	close_gap(t, at);
	*(e->prev ? &e->prev->next : &t->first) = e->next;
	*(e->next ? &e->next->prev : &t->last) = e->prev;
	t->count--;
	rfl_pool_free(&t->pool, e, t->entry_size + e->key_len);
}

static size_t
block_size(uint32_t room)
{
	return sizeof(struct rfl_item_block) + room * sizeof(struct rfl_window_item);
}

static struct rfl_item_block *
add_block(struct rfl_pool *p, struct rfl_item_list *l)
{
	uint32_t room = l->last == NULL ? FIRST_ROOM : l->last->room * 2 + 2;
	room = room > LAST_ROOM ? LAST_ROOM : room;
	struct rfl_item_block *b = rfl_pool_alloc(p, block_size(room));
	b->next = NULL;
	b->used = 0;
	b->room = room;
	*(l->last ? &l->last->next : &l->first) = b;
	l->last = b;
	return b;
}

void
rfl_item_prefetch(const struct rfl_item_list *l)
{
	if (l->last != NULL)
		__builtin_prefetch(l->last, 1);
}

void
rfl_item_append(struct rfl_pool *p, struct rfl_item_list *l, struct rfl_window_item item)
{
	struct rfl_item_block *b = l->last;
	if (b == NULL || b->used == b->room)
		b = add_block(p, l);
	b->items[b->used++] = item;
	l->count++;
}

void
rfl_item_join(struct rfl_item_list *a, struct rfl_item_list *b)
{
	if (b->first != NULL) {
		*(a->last ? &a->last->next : &a->first) = b->first;
		a->last = b->last;
		a->count += b->count;
	}
	*b = (struct rfl_item_list){NULL, NULL, 0};
}

void
rfl_item_copy(const struct rfl_item_list *l, struct rfl_window_items *out)
{
	rfl_grow(&out->list, &out->room, out->count + l->count, sizeof *out->list);
	for (const struct rfl_item_block *b = l->first; b != NULL; b = b->next) {
		memcpy(out->list + out->count, b->items, b->used * sizeof *b->items);
		out->count += b->used;
	}
}

void
rfl_item_each(const struct rfl_item_list *l, rfl_window_drop_fn *fn, void *ctx)
{
	for (const struct rfl_item_block *b = l->first; fn != NULL && b != NULL; b = b->next)
		fn(ctx, b->items, b->used);
}

void
rfl_item_free(struct rfl_pool *p, struct rfl_item_list *l)
{
	while (l->first != NULL) {
		struct rfl_item_block *next = l->first->next;
		rfl_pool_free(p, l->first, block_size(l->first->room));
		l->first = next;
	}
	l->last = NULL;
	l->count = 0;
}
