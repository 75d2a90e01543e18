/* The pool. */
#include "base/pool.h"

#include "base/mem.h"

#include <stdlib.h>

#define STEP ((size_t)16)
#define LARGEST ((RFL_POOL_CLASSES - 1) * STEP)
#define FIRST_BLOCK ((size_t)1024)
#define LAST_BLOCK ((size_t)1024 * 1024)

struct rfl_pool_block {
	struct rfl_pool_block *next;
	void *align;
};

struct rfl_pool_large {
	struct rfl_pool_large *next, **back;
	size_t size;
	void *align;
};

void
rfl_pool_init(struct rfl_pool *p)
{
	*p = (struct rfl_pool){.next_block = FIRST_BLOCK};
}

static void *
large_alloc(struct rfl_pool *p, size_t size)
{
	struct rfl_pool_large *l = rfl_alloc(sizeof *l + size);
	l->next = p->large;
	l->back = &p->large;
	l->size = size;
	if (l->next != NULL)
		l->next->back = &l->next;
	p->large = l;
	p->bytes += sizeof *l + size;
	return l + 1;
}

static void
large_free(struct rfl_pool *p, void *piece)
{
	struct rfl_pool_large *l = (struct rfl_pool_large *)piece - 1;
	*l->back = l->next;
	if (l->next != NULL)
		l->next->back = l->back;
	p->bytes -= sizeof *l + l->size;
	free(l);
}

/* The rest of the old block, less than one piece, stays unused. */
static void
grow(struct rfl_pool *p)
{
	struct rfl_pool_block *b = rfl_alloc(p->next_block);
	b->next = p->blocks;
	p->blocks = b;
	p->at = (char *)(b + 1);
	p->end = (char *)b + p->next_block;
	p->bytes += p->next_block;
	if (p->next_block < LAST_BLOCK)
		p->next_block *= 2;
}

void *
rfl_pool_alloc(struct rfl_pool *p, size_t size)
{
	if (size > LARGEST)
		return large_alloc(p, size);
	size_t class = (size + STEP - 1) / STEP;
	void *piece = p->free[class];
	if (piece != NULL) {
		p->free[class] = *(void **)piece;
		return piece;
	}
	while ((size_t)(p->end - p->at) < class * STEP)
		grow(p);
	piece = p->at;
	p->at += class * STEP;
	return piece;
}

void
rfl_pool_free(struct rfl_pool *p, void *piece, size_t size)
{
	if (size > LARGEST) {
		large_free(p, piece);
		return;
	}
	size_t class = (size + STEP - 1) / STEP;
	*(void **)piece = p->free[class];
	p->free[class] = piece;
}

void
rfl_pool_fini(struct rfl_pool *p)
{
	while (p->blocks != NULL) {
		struct rfl_pool_block *next = p->blocks->next;
		free(p->blocks);
		p->blocks = next;
	}
	while (p->large != NULL)
		large_free(p, p->large + 1);
	rfl_pool_init(p);
}
