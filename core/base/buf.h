/* A growing run of bytes, always followed by a NUL that is not counted. */
#ifndef RFL_BASE_BUF_H
#define RFL_BASE_BUF_H

#include <stddef.h>

struct rfl_buf {
	char *data; /* NULL until something was added */
	size_t len, room;
};

#define RFL_BUF_INIT                                                                               \
	{                                                                                          \
		NULL, 0, 0                                                                         \
	}

void rfl_buf_add(struct rfl_buf *b, const void *data, size_t len);
void rfl_buf_puts(struct rfl_buf *b, const char *s);
void rfl_buf_putc(struct rfl_buf *b, char c);
void rfl_buf_printf(struct rfl_buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
const char *rfl_buf_str(const struct rfl_buf *b); /* never NULL; valid until the next change */
char *rfl_buf_take(struct rfl_buf *b);            /* the caller frees; the buffer is empty again */
void rfl_buf_clear(struct rfl_buf *b);            /* keeps the memory */
void rfl_buf_fini(struct rfl_buf *b);

#endif
