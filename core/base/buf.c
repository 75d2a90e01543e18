/* A growing run of bytes. */
#include "base/buf.h"

#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void
rfl_buf_add(struct rfl_buf *b, const void *data, size_t len)
{
	rfl_grow(&b->data, &b->room, b->len + len + 1, 1);
	if (len > 0)
		memcpy(b->data + b->len, data, len);
	b->len += len;
	b->data[b->len] = '\0';
}

void
rfl_buf_puts(struct rfl_buf *b, const char *s)
{
	rfl_buf_add(b, s, strlen(s));
}

void
rfl_buf_putc(struct rfl_buf *b, char c)
{
	rfl_buf_add(b, &c, 1);
}

void
rfl_buf_printf(struct rfl_buf *b, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	char *s = rfl_vsprintf(fmt, ap);
	va_end(ap);
	rfl_buf_puts(b, s);
	free(s);
}

const char *
rfl_buf_str(const struct rfl_buf *b)
{
	return b->data ? b->data : "";
}

char *
rfl_buf_take(struct rfl_buf *b)
{
	char *s = b->data ? b->data : rfl_strdup("");
	*b = (struct rfl_buf)RFL_BUF_INIT;
	return s;
}

void
rfl_buf_clear(struct rfl_buf *b)
{
	b->len = 0;
	if (b->data)
		b->data[0] = '\0';
}

void
rfl_buf_fini(struct rfl_buf *b)
{
	free(b->data);
	*b = (struct rfl_buf)RFL_BUF_INIT;
}
