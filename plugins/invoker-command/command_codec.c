/* What the formats share: which is which, faults, the status of a window. */
#include "command.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const struct command_codec *
command_codec(const struct command *c)
{
	static const struct command_codec *const codecs[] = {[COMMAND_LINES] = &command_lines,
		[COMMAND_JSON_LINES] = &command_json_lines,
		[COMMAND_FRAMES] = &command_frames};
	return codecs[c->format];
}

int
command_is_framed(const struct command *c)
{
	return c->mode == COMMAND_COPROCESS || c->format == COMMAND_FRAMES;
}

const char *
command_quote(char *to, size_t size, const char *from, size_t len)
{
	size_t n = 0;
	for (size_t i = 0; i < len && n + 5 < size; i++) {
		unsigned char c = (unsigned char)from[i];
		if (c >= 0x20 && c < 0x7f && c != '"' && c != '\\')
			to[n++] = (char)c;
		else
			n += (size_t)snprintf(to + n, size - n, "\\x%02x", c);
	}
	to[n] = '\0';
	return to;
}

void
command_fault(struct command_child *ch, const char *fmt, ...)
{
	char text[RIFFLE_ERROR_TEXT];
	va_list ap;
	if (ch->fault.code != RIFFLE_OK)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	command_fail(&ch->fault, RIFFLE_E_DATA, 0, "'%s' %s", command_name(ch->owner), text);
}

int
command_line_is_too_long(struct command_child *ch, size_t len)
{
	if (len <= ch->owner->max_line)
		return 0;
	command_fault(ch, "answers a line of more than max-line = %zu bytes", ch->owner->max_line);
	return 1;
}

void
command_take_status(struct command_child *ch, struct command_call *c, int64_t number,
	int64_t status, const char *text, size_t len)
{
	char quote[160] = "";
	if (number != (int64_t)c->number) {
		command_fault(ch, "ends window %lld, which is not the %u that it was given",
			(long long)number, c->number);
		return;
	}
	c->has_status = 1;
	if (status == 0)
		return;
	if (text != NULL)
		command_quote(quote, sizeof quote, text, len);
	command_fail(&c->error, RIFFLE_E_DATA,
		status == COMMAND_STATUS_RETRY ? RIFFLE_ERR_RETRIABLE : 0,
		"'%s' ended the window with status %lld%s%s", command_name(ch->owner),
		(long long)status, quote[0] ? ": " : "", quote);
}
