/* Errors, memory, asserts, and texts from outside made fit to print. */
#include "rpc_util.h"

#include "rpc_frame.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Noreturn void
rpc_assert_failed(const char *expr, const char *file, int line)
{
	fprintf(stderr, "riffle grpc invoker: a bug: %s:%d: %s\n", file, line, expr);
	abort();
}

int
rpc_fail(struct riffle_error *err, int code, uint32_t flags, const char *fmt, ...)
{
	va_list ap;
	err->code = code;
	err->flags = flags;
	va_start(ap, fmt);
	vsnprintf(err->text, sizeof err->text, fmt, ap);
	va_end(ap);
	return code;
}

static void *
must(void *p, size_t size)
{
	if (p == NULL) {
		fprintf(stderr, "riffle grpc invoker: out of memory (%zu bytes)\n", size);
		abort();
	}
	return p;
}

void *
rpc_alloc(size_t size)
{
	return must(calloc(1, size), size);
}

void *
rpc_realloc(void *p, size_t size)
{
	return must(realloc(p, size), size);
}

char *
rpc_strdup(const char *s)
{
	return s == NULL ? NULL : must(strdup(s), strlen(s));
}

void
rpc_quote(char *out, size_t room, const void *text, size_t len)
{
	const char *p = text;
	size_t at = 0;
	for (size_t i = 0; i < len;) {
		size_t n = rpc_utf8_at(p + i, len - i);
		int plain = n > 1 || (n == 1 && p[i] >= 0x20 && p[i] != 0x7f);
		if (at + (plain ? n : 4) >= room)
			break;
		if (plain)
			memcpy(out + at, p + i, n);
		else
			snprintf(out + at, room - at, "\\x%02x", (unsigned char)p[i]);
		at += plain ? n : 4;
		i += plain ? n : 1;
	}
	out[at] = '\0';
}
