/* Allocation for set-up and small things: never NULL, the process ends when memory does. */
#ifndef RFL_BASE_MEM_H
#define RFL_BASE_MEM_H

#include <stdarg.h>
#include <stddef.h>

void *rfl_alloc(size_t size);  /* not cleared; size > 0 */
void *rfl_zalloc(size_t size); /* cleared; size > 0 */
/* count elements, of which the array at *p now has room for *room; grows by doubling. */
void rfl_grow(void *p, size_t *room, size_t count, size_t element_size);
char *rfl_strdup(const char *s); /* NULL gives NULL */
char *rfl_strndup(const char *s, size_t len);
char *rfl_sprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
char *rfl_vsprintf(const char *fmt, va_list ap) __attribute__((format(printf, 1, 0)));

#endif
