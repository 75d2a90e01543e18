/* The log's two formats. */
#include "base/log.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/utf8.h"

#include <riffle/host.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static int log_level = RIFFLE_LOG_INFO;
static enum rfl_log_format log_format = RFL_LOG_LOGFMT;

void
rfl_log_setup(int level, enum rfl_log_format format)
{
	log_level = level;
	if (format == RFL_LOG_AUTO)
		format = isatty(STDERR_FILENO) ? RFL_LOG_LOGFMT : RFL_LOG_JSON;
	log_format = format;
}

int
rfl_log_enabled(int level)
{
	return level <= log_level;
}

static const char *
level_name(int level)
{
	static const char *const names[] = {"error", "error", "warning", "info", "debug"};
	return level >= 0 && level <= RIFFLE_LOG_DEBUG ? names[level] : "debug";
}

/* Both formats take a JSON string as a quoted value. */
static void
put_quoted(struct rfl_buf *b, const char *s)
{
	rfl_buf_putc(b, '"');
	for (; *s != '\0'; s++) {
		unsigned char c = (unsigned char)*s;
		if (c == '"' || c == '\\')
			rfl_buf_putc(b, '\\');
		if (c < 0x20 || c == 0x7f)
			rfl_buf_printf(b, "\\u%04x", c);
		else
			rfl_buf_putc(b, (char)c);
	}
	rfl_buf_putc(b, '"');
}

static void
put_field(struct rfl_buf *b, const char *name, const char *value)
{
	if (log_format == RFL_LOG_JSON)
		rfl_buf_printf(b, "%s\"%s\":", b->len > 1 ? "," : "", name);
	else
		rfl_buf_printf(b, "%s%s=", b->len > 0 ? " " : "", name);
	put_quoted(b, value);
}

static void
put_bare(struct rfl_buf *b, const char *name, const char *value)
{
	if (log_format == RFL_LOG_JSON)
		put_field(b, name, value);
	else
		rfl_buf_printf(b, "%s%s=%s", b->len > 0 ? " " : "", name, value);
}

void
rfl_log(int level, const char *code, const char *what, const char *fmt, ...)
{
	if (!rfl_log_enabled(level))
		return;
	va_list ap;
	va_start(ap, fmt);
	char *text = rfl_vsprintf(fmt, ap);
	va_end(ap);
	rfl_utf8_mend(text);

	struct timespec now;
	struct tm tm;
	char stamp[40], when[64];
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(when, sizeof when, "%s.%03ldZ", stamp, now.tv_nsec / 1000000);

	struct rfl_buf line = RFL_BUF_INIT;
	if (log_format == RFL_LOG_JSON)
		rfl_buf_putc(&line, '{');
	put_bare(&line, "time", when);
	put_bare(&line, "level", level_name(level));
	if (code[0] != '\0')
		put_bare(&line, "code", code);
	if (what != NULL)
		put_field(&line, "what", what);
	put_field(&line, "msg", text);
	rfl_buf_puts(&line, log_format == RFL_LOG_JSON ? "}\n" : "\n");
	/* A log that cannot be written has nowhere to say so. */
	if (write(STDERR_FILENO, line.data, line.len) < 0)
		(void)0;
	rfl_buf_fini(&line);
	free(text);
}
