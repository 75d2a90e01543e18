/* A list of blocks that are freed together. */
#include "conf/arena.h"

#include "base/mem.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

struct block {
	struct block *next;
	_Alignas(max_align_t) unsigned char bytes[];
};

struct owned {
	struct owned *next;
	void *thing;
	void (*destroy)(void *);
};

struct rfl_conf_memory {
	struct block *blocks;
	struct owned *owned; /* in the blocks */
};

struct rfl_conf_memory *
rfl_arena_create(void)
{
	return rfl_zalloc(sizeof(struct rfl_conf_memory));
}

void
rfl_arena_destroy(struct rfl_conf_memory *a)
{
	if (a == NULL)
		return;
	for (struct owned *o = a->owned; o != NULL; o = o->next)
		o->destroy(o->thing);
	while (a->blocks != NULL) {
		struct block *next = a->blocks->next;
		free(a->blocks);
		a->blocks = next;
	}
	free(a);
}

void *
rfl_arena_alloc(struct rfl_conf_memory *a, size_t size)
{
	struct block *b = rfl_zalloc(sizeof *b + size);
	b->next = a->blocks;
	a->blocks = b;
	return b->bytes;
}

void
rfl_arena_own(struct rfl_conf_memory *a, void *thing, void (*destroy)(void *))
{
	struct owned *o = rfl_arena_alloc(a, sizeof *o);
	*o = (struct owned){.next = a->owned, .thing = thing, .destroy = destroy};
	a->owned = o;
}

char *
rfl_arena_strndup(struct rfl_conf_memory *a, const char *s, size_t len)
{
	char *copy = rfl_arena_alloc(a, len + 1);
	memcpy(copy, s, len);
	return copy;
}

char *
rfl_arena_strdup(struct rfl_conf_memory *a, const char *s)
{
	return s ? rfl_arena_strndup(a, s, strlen(s)) : NULL;
}

char *
rfl_arena_sprintf(struct rfl_conf_memory *a, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	char *s = rfl_vsprintf(fmt, ap);
	va_end(ap);
	char *copy = rfl_arena_strdup(a, s);
	free(s);
	return copy;
}
