/* The format `lines`: a record is a line on stdin, a line on stdout is a record. */
#include "command.h"

#include <string.h>

static const char *
refuses(const struct riffle_batch *b, const struct riffle_record *r)
{
	(void)b;
	if (r->value.ptr == NULL)
		return "has no value: it cannot be a line";
	if (memchr(r->value.ptr, '\n', r->value.len) != NULL)
		return "has a newline in its value: it cannot be a line";
	return NULL;
}

static void
record(struct command_feed *f, const struct command_call *c, const struct riffle_batch *b,
	const struct riffle_record *r)
{
	(void)b;
	command_feed_bytes(f, r->value.ptr, r->value.len);
	/* A body of per-record is what it is. */
	if (c->owner->mode != COMMAND_PER_RECORD)
		command_feed_bytes(f, "\n", 1);
}

static void
add(struct command_call *c, const char *line, size_t len, size_t expected)
{
	struct command_answer *a = command_answer_room(c, len, 0, expected);
	const struct riffle_record r = {
		.value = command_answer_copy(a, (struct riffle_bytes){line, len}),
		.time_ms = RIFFLE_TIME_NONE};
	command_answer_add(c, a, &r, 0);
}

static void
parse(struct command_child *ch, struct command_call *c, int at_end)
{
	while (ch->out_read < ch->out.len && ch->fault.code == RIFFLE_OK) {
		const char *line = ch->out.data + ch->out_read;
		size_t left = ch->out.len - ch->out_read;
		const char *end = memchr(line, '\n', left);
		size_t len = end ? (size_t)(end - line) : left;
		if (command_line_is_too_long(ch, len) || (end == NULL && !at_end))
			return;
		add(c, line, len, left);
		ch->out_read += end ? len + 1 : len;
	}
}

/* The reply is all that it wrote, also when that is nothing. */
void
command_parse_body(struct command_child *ch, struct command_call *c)
{
	const char *body = ch->out.len > 0 ? ch->out.data : "";
	if (c->spec.output_count > 0)
		add(c, body, ch->out.len, ch->out.len);
	ch->out_read = ch->out.len;
}

const struct command_codec command_lines = {
	.refuses = refuses,
	.record = record,
	.parse = parse,
};
