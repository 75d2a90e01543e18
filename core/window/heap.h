/* A binary heap of things that are due at some time, each of which knows its place: the earliest first. */
#ifndef RFL_WINDOW_HEAP_H
#define RFL_WINDOW_HEAP_H

#include <stddef.h>
#include <stdint.h>

struct rfl_timer {
	int64_t due_ms;
	uint64_t order; /* between equal times */
	size_t at;      /* place in the heap, from 1; 0 = in none */
};

struct rfl_heap {
	struct rfl_timer **list; /* list[0] is unused */
	size_t count, room;
};

void rfl_heap_add(struct rfl_heap *h, struct rfl_timer *t);
void rfl_heap_remove(struct rfl_heap *h, struct rfl_timer *t);
void rfl_heap_moved(struct rfl_heap *h, struct rfl_timer *t); /* its due_ms changed */
struct rfl_timer *rfl_heap_first(const struct rfl_heap *h);   /* NULL when empty */
int64_t rfl_heap_last_ms(const struct rfl_heap *h); /* the largest due_ms; the heap is not empty */
void rfl_heap_fini(struct rfl_heap *h);

#endif
