/* Filling and naming errors. */
#include "base/error.h"

#include "base/mem.h"
#include "base/utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void
one_line(char *s)
{
	for (; *s != '\0'; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			*s = '?';
}

/* Cut to its room a text may end within a character. */
static void
clean(char *text)
{
	one_line(text);
	rfl_utf8_mend(text);
}

void
rfl_err_fill(struct riffle_error *err, int code, uint32_t flags, const char *fmt, ...)
{
	va_list ap;
	if (err == NULL)
		return;
	err->code = code;
	err->flags = flags;
	va_start(ap, fmt);
	vsnprintf(err->text, sizeof err->text, fmt, ap);
	va_end(ap);
	clean(err->text);
}

int
rfl_err_prefix(struct riffle_error *err, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	char *front = rfl_vsprintf(fmt, ap);
	va_end(ap);
	char *whole = rfl_sprintf("%s: %s", front, err->text);
	snprintf(err->text, sizeof err->text, "%s", whole);
	clean(err->text);
	free(front);
	free(whole);
	return err->code;
}

const char *
rfl_status_name(int code)
{
	static const char *const names[] = {"ok", "invalid argument", "out of memory",
		"bad configuration", "unsupported", "timed out", "cancelled", "unavailable",
		"not authorized", "bad data", "fenced", "full", "fatal", "not found"};
	if (code > 0 || code < RIFFLE_E_LAST)
		return "unknown status";
	return names[-code];
}
