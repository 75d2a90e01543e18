/* Memory of the checked configuration: everything is allocated from it and freed at once. */
#ifndef RFL_CONF_ARENA_H
#define RFL_CONF_ARENA_H

#include <stddef.h>

struct rfl_conf_memory;

struct rfl_conf_memory *rfl_arena_create(void);
void rfl_arena_destroy(struct rfl_conf_memory *a);                /* NULL is a no-op */
void *rfl_arena_alloc(struct rfl_conf_memory *a, size_t size);    /* cleared */
char *rfl_arena_strdup(struct rfl_conf_memory *a, const char *s); /* NULL gives NULL */
char *rfl_arena_strndup(struct rfl_conf_memory *a, const char *s, size_t len);
/* thing is destroyed with the arena, the latest first. */
void rfl_arena_own(struct rfl_conf_memory *a, void *thing, void (*destroy)(void *));
char *rfl_arena_sprintf(struct rfl_conf_memory *a, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

#endif
