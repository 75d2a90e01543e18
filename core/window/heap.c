/* The heap. */
#include "window/heap.h"

#include "base/mem.h"

#include <stdlib.h>

static int
is_before(const struct rfl_timer *a, const struct rfl_timer *b)
{
	return a->due_ms != b->due_ms ? a->due_ms < b->due_ms : a->order < b->order;
}

static void
put(struct rfl_heap *h, size_t at, struct rfl_timer *t)
{
	h->list[at] = t;
	t->at = at;
}

static void
sift_up(struct rfl_heap *h, struct rfl_timer *t)
{
	size_t at = t->at;
	while (at > 1 && is_before(t, h->list[at / 2])) {
		put(h, at, h->list[at / 2]);
		at /= 2;
	}
	put(h, at, t);
}

static void
sift_down(struct rfl_heap *h, struct rfl_timer *t)
{
	size_t at = t->at;
	for (;;) {
		size_t child = at * 2;
		if (child > h->count)
			break;
		if (child < h->count && is_before(h->list[child + 1], h->list[child]))
			child++;
		if (!is_before(h->list[child], t))
			break;
		put(h, at, h->list[child]);
		at = child;
	}
	put(h, at, t);
}

void
rfl_heap_add(struct rfl_heap *h, struct rfl_timer *t)
{
	rfl_grow(&h->list, &h->room, h->count + 2, sizeof(struct rfl_timer *));
	put(h, ++h->count, t);
	sift_up(h, t);
}

void
rfl_heap_moved(struct rfl_heap *h, struct rfl_timer *t)
{
	sift_up(h, t);
	sift_down(h, t);
}

void
rfl_heap_remove(struct rfl_heap *h, struct rfl_timer *t)
{
	struct rfl_timer *last = h->list[h->count--];
	if (last != t) {
		put(h, t->at, last);
		rfl_heap_moved(h, last);
	}
	t->at = 0;
}

struct rfl_timer *
rfl_heap_first(const struct rfl_heap *h)
{
	return h->count > 0 ? h->list[1] : NULL;
}

/* Rarely asked, when nothing else goes on. */
int64_t
rfl_heap_last_ms(const struct rfl_heap *h)
{
	int64_t last = h->list[1]->due_ms;
	for (size_t i = h->count / 2 + 1; i <= h->count; i++)
		last = h->list[i]->due_ms > last ? h->list[i]->due_ms : last;
	return last;
}

void
rfl_heap_fini(struct rfl_heap *h)
{
	free(h->list);
	*h = (struct rfl_heap){NULL, 0, 0};
}
