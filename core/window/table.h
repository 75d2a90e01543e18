/*
 * Entries by key, each with a list of items: what one pane holds, or all that is open of one engine.
 * A slot is a pointer with part of the hash in its upper bits, so that looking for a key touches one
 * slot and one entry. Entries keep the order in which they came.
 */
#ifndef RFL_WINDOW_TABLE_H
#define RFL_WINDOW_TABLE_H

#include "base/pool.h"
#include "window/window.h"

struct rfl_item_block;

struct rfl_item_list {
	struct rfl_item_block *first, *last;
	uint64_t count;
};

struct rfl_entry_head {
	struct rfl_entry_head *next, *prev; /* in the table's order */
	uint32_t hash, key_len;
	uint8_t *key; /* in the entry's own memory */
};

/* Entries begin with a head; what follows it is cleared when one is made. */
struct rfl_table {
	struct rfl_pool pool;
	size_t entry_size;
	uint64_t *slots;
	uint32_t mask, count;
	struct rfl_entry_head *first, *last;
};

void rfl_table_init(struct rfl_table *t, size_t entry_size);
void rfl_table_fini(struct rfl_table *t);
size_t rfl_table_bytes(const struct rfl_table *t);
struct rfl_entry_head *rfl_table_find(
	const struct rfl_table *t, const void *key, uint32_t len, uint32_t hash);
struct rfl_entry_head *rfl_table_get(struct rfl_table *t, const void *key, uint32_t len,
	uint32_t hash); /* makes it if need be */
void rfl_table_remove(struct rfl_table *t, struct rfl_entry_head *e);
/* Fetches what a look-up will touch: the slot now, the entry once the slot is there. */
void rfl_table_prefetch_slot(const struct rfl_table *t, uint32_t hash);
void rfl_table_prefetch_entry(const struct rfl_table *t, uint32_t hash);

void rfl_item_prefetch(const struct rfl_item_list *l); /* fetches what append will touch */
void rfl_item_append(struct rfl_pool *p, struct rfl_item_list *l, struct rfl_window_item item);
/* Puts all of b behind those of a; b is empty then. */
void rfl_item_join(struct rfl_item_list *a, struct rfl_item_list *b);
void rfl_item_copy(const struct rfl_item_list *l, struct rfl_window_items *out);
void rfl_item_free(struct rfl_pool *p, struct rfl_item_list *l);
void rfl_item_each(const struct rfl_item_list *l, rfl_window_drop_fn *fn, void *ctx);

#endif
