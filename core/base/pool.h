/*
 * Small pieces of memory that live together: taken from large blocks, given back to lists by size, and
 * all let go at once. One thread.
 */
#ifndef RFL_BASE_POOL_H
#define RFL_BASE_POOL_H

#include <stddef.h>

#define RFL_POOL_CLASSES 65 /* sizes up to 1 KiB in steps of 16; larger ones are malloc's */

struct rfl_pool {
	struct rfl_pool_block *blocks;
	struct rfl_pool_large *large;
	char *at, *end; /* what is left of the newest block */
	void *free[RFL_POOL_CLASSES];
	size_t bytes;      /* held of the system */
	size_t next_block; /* size of the next block: they double */
};

void rfl_pool_init(struct rfl_pool *p);
void *rfl_pool_alloc(struct rfl_pool *p, size_t size);            /* aligned to 16; not cleared */
void rfl_pool_free(struct rfl_pool *p, void *piece, size_t size); /* the size it was taken with */
void rfl_pool_fini(struct rfl_pool *p);

#endif
