/* Allocation that cannot fail, for everything whose size we choose ourselves. */
#include "base/mem.h"

#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Noreturn void
out_of_memory(size_t size)
{
	fprintf(stderr, "riffle: out of memory (%zu bytes)\n", size);
	abort();
}

void *
rfl_alloc(size_t size)
{
	rfl_assert(size > 0);
	void *p = malloc(size);
	if (p == NULL)
		out_of_memory(size);
	return p;
}

void *
rfl_zalloc(size_t size)
{
	rfl_assert(size > 0);
	void *p = calloc(1, size);
	if (p == NULL)
		out_of_memory(size);
	return p;
}

void
rfl_grow(void *p, size_t *room, size_t count, size_t element_size)
{
	void *old;
	if (count <= *room)
		return;
	size_t want = *room ? *room : 8;
	while (want < count)
		want *= 2;
	memcpy(&old, p, sizeof old);
	void *bigger = realloc(old, want * element_size);
	if (bigger == NULL)
		out_of_memory(want * element_size);
	memcpy(p, &bigger, sizeof bigger);
	*room = want;
}

char *
rfl_strdup(const char *s)
{
	return s ? rfl_strndup(s, strlen(s)) : NULL;
}

char *
rfl_strndup(const char *s, size_t len)
{
	char *copy = rfl_alloc(len + 1);
	memcpy(copy, s, len);
	copy[len] = '\0';
	return copy;
}

char *
rfl_vsprintf(const char *fmt, va_list ap)
{
	char *s;
	if (vasprintf(&s, fmt, ap) < 0)
		out_of_memory(0);
	return s;
}

char *
rfl_sprintf(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	char *s = rfl_vsprintf(fmt, ap);
	va_end(ap);
	return s;
}
