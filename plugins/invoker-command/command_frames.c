/*
 * The format `frames`: what doc/function.md specifies. A frame is the length of what follows, a letter,
 * a body. Numbers are in network order; a text is its length and its bytes, the length 2^32 - 1 means
 * that it is absent.
 */
#include "command.h"

#include <endian.h>
#include <string.h>

#define MAGIC 0x52464c46u /* "RFLF" */
#define VERSION 1u
#define ABSENT 0xffffffffu
/* The letter, index, time, and the lengths of key, content type, headers and value. */
#define RECORD_BYTES (1 + 4 + 8 + 4 + 4 + 4 + 4)
/* A record up to here is copied as a whole. */
#define SMALL_BYTES 2048u
/* Lengths are 32 bits; nobody's record comes near. */
#define FRAME_MAX ((size_t)1 << 30)

static char *
put_u32(char *p, uint32_t v)
{
	v = htobe32(v);
	memcpy(p, &v, sizeof v);
	return p + sizeof v;
}

static void
feed_u32(struct command_feed *f, uint32_t v)
{
	put_u32(command_feed_room(f, 4), v);
}

static uint32_t
length_of(struct riffle_bytes b)
{
	return b.ptr ? (uint32_t)b.len : ABSENT;
}

static void
feed_bytes(struct command_feed *f, struct riffle_bytes b)
{
	feed_u32(f, length_of(b));
	command_feed_bytes(f, b.ptr, b.len);
}

static struct riffle_bytes
text(const char *s)
{
	return (struct riffle_bytes){s, s ? strlen(s) : 0};
}

static size_t
record_bytes(const struct riffle_batch *b, const struct riffle_record *r)
{
	const char *type = r->content_type ? b->content_types[r->content_type] : NULL;
	size_t sum = RECORD_BYTES + r->key.len + text(type).len + r->value.len;
	for (uint32_t i = 0; i < r->header_count; i++)
		sum += 8 + b->headers[r->header_first + i].name.len +
		       b->headers[r->header_first + i].value.len;
	return sum;
}

static const char *
refuses(const struct riffle_batch *b, const struct riffle_record *r)
{
	return record_bytes(b, r) > FRAME_MAX ? "is larger than a frame can be" : NULL;
}

static void
hello(struct command_feed *f)
{
	feed_u32(f, 9);
	*command_feed_room(f, 1) = 'H';
	feed_u32(f, MAGIC);
	feed_u32(f, VERSION);
}

static size_t
names_bytes(const char *const *names, const char *const *types, uint32_t count)
{
	size_t sum = 4;
	for (uint32_t i = 0; i < count; i++)
		sum += 8 + strlen(names[i]) + strlen(types[i]);
	return sum;
}

static void
feed_names(
	struct command_feed *f, const char *const *names, const char *const *types, uint32_t count)
{
	feed_u32(f, count);
	for (uint32_t i = 0; i < count; i++) {
		feed_bytes(f, text(names[i]));
		feed_bytes(f, text(types[i]));
	}
}

static void
start(struct command_feed *f, const struct command_call *c)
{
	const struct command_spec *s = &c->spec;
	size_t sum = 1 + 4 + 4 + 4 + names_bytes(s->input_names, s->input_types, s->input_count) +
		     names_bytes(s->output_names, s->output_types, s->output_count);
	for (uint32_t i = 0; i < s->header_count; i++)
		sum += 8 + s->headers[i].name.len + s->headers[i].value.len;
	feed_u32(f, (uint32_t)sum);
	*command_feed_room(f, 1) = 'S';
	feed_u32(f, c->number);
	feed_u32(f, s->attempt);
	feed_names(f, s->input_names, s->input_types, s->input_count);
	feed_names(f, s->output_names, s->output_types, s->output_count);
	feed_u32(f, s->header_count);
	for (uint32_t i = 0; i < s->header_count; i++) {
		feed_bytes(f, s->headers[i].name);
		feed_bytes(f, s->headers[i].value);
	}
}

static char *
put_bytes(char *p, struct riffle_bytes b)
{
	p = put_u32(p, length_of(b));
	if (b.len > 0)
		memcpy(p, b.ptr, b.len);
	return p + b.len;
}

/* All of it copied: one look for room, and the rest is stores. */
static void
small_record(struct command_feed *f, const struct riffle_batch *b, const struct riffle_record *r,
	size_t size)
{
	uint64_t time = htobe64((uint64_t)r->time_ms);
	char *p = command_feed_room(f, 4 + size);
	p = put_u32(p, (uint32_t)size);
	*p++ = 'R';
	p = put_u32(p, r->stream);
	memcpy(p, &time, sizeof time);
	p = put_bytes(p + sizeof time, r->key);
	p = put_bytes(p, text(r->content_type ? b->content_types[r->content_type] : NULL));
	p = put_u32(p, r->header_count);
	for (uint32_t i = 0; i < r->header_count; i++) {
		p = put_bytes(p, b->headers[r->header_first + i].name);
		p = put_bytes(p, b->headers[r->header_first + i].value);
	}
	put_bytes(p, r->value);
}

static void
record(struct command_feed *f, const struct command_call *c, const struct riffle_batch *b,
	const struct riffle_record *r)
{
	(void)c;
	size_t size = record_bytes(b, r);
	if (size <= SMALL_BYTES) {
		small_record(f, b, r, size);
		return;
	}
	const struct riffle_bytes type =
		text(r->content_type ? b->content_types[r->content_type] : NULL);
	char *p = command_feed_room(f, 4 + 1 + 4 + 8 + 4);
	uint64_t time = htobe64((uint64_t)r->time_ms);
	p = put_u32(p, (uint32_t)size);
	*p++ = 'R';
	p = put_u32(p, r->stream);
	memcpy(p, &time, sizeof time);
	put_u32(p + sizeof time, length_of(r->key));
	command_feed_bytes(f, r->key.ptr, r->key.len);
	feed_bytes(f, type);
	feed_u32(f, r->header_count);
	for (uint32_t i = 0; i < r->header_count; i++) {
		feed_bytes(f, b->headers[r->header_first + i].name);
		feed_bytes(f, b->headers[r->header_first + i].value);
	}
	feed_bytes(f, r->value);
}

static void
end(struct command_feed *f, const struct command_call *c)
{
	feed_u32(f, 5);
	*command_feed_room(f, 1) = 'E';
	feed_u32(f, c->number);
}

/* A frame's body while it is read. Once it was too short, everything is absent. */
struct cursor {
	const char *p, *end;
	int is_short;
};

static inline const char *
take(struct cursor *in, size_t len)
{
	const char *p = in->p;
	if (in->is_short || (size_t)(in->end - p) < len) {
		in->is_short = 1;
		return NULL;
	}
	in->p += len;
	return p;
}

static inline uint32_t
get_u32(const char *p)
{
	uint32_t v;
	memcpy(&v, p, sizeof v);
	return be32toh(v);
}

static inline int64_t
get_i64(const char *p)
{
	uint64_t v;
	memcpy(&v, p, sizeof v);
	return (int64_t)be64toh(v);
}

static inline uint32_t
take_u32(struct cursor *in)
{
	const char *p = take(in, sizeof(uint32_t));
	return p ? get_u32(p) : 0;
}

static inline int64_t
take_i64(struct cursor *in)
{
	const char *p = take(in, sizeof(int64_t));
	return p ? get_i64(p) : 0;
}

static inline struct riffle_bytes
take_bytes(struct cursor *in)
{
	uint32_t len = take_u32(in);
	if (in->is_short || len == ABSENT)
		return (struct riffle_bytes){NULL, 0};
	const char *p = take(in, len);
	return (struct riffle_bytes){p, p ? len : 0};
}

static int
is_consumed(struct command_child *ch, const struct cursor *in, const char *what)
{
	if (!in->is_short && in->p == in->end)
		return 1;
	command_fault(ch, "answers %s frame that is too %s for what it says it holds", what,
		in->is_short ? "short" : "long");
	return 0;
}

static void
take_hello(struct command_child *ch, struct cursor *in)
{
	uint32_t magic = take_u32(in), version = take_u32(in);
	if (!is_consumed(ch, in, "a hello"))
		return;
	if (magic != MAGIC || version != VERSION)
		command_fault(ch, "says hello with magic %08x and version %u, expected %08x and %u",
			magic, version, MAGIC, VERSION);
	else if (ch->has_hello)
		command_fault(ch, "says hello twice");
	ch->has_hello = 1;
}

/* The headers are read twice: to see that they are there, and once there is room for them. */
static void
skip_headers(struct cursor *in, uint32_t count)
{
	for (uint32_t i = 0; i < count && !in->is_short; i++) {
		if (take_bytes(in).ptr == NULL)
			in->is_short = 1;
		take_bytes(in);
	}
}

static void
take_headers(struct command_answer *a, struct cursor in, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		struct riffle_bytes name = take_bytes(&in), value = take_bytes(&in);
		a->headers[a->header_count++] = (struct riffle_header){
			command_answer_copy(a, name), command_answer_copy(a, value)};
	}
}

/*
 * Most answers are a value and nothing else. Where everything stands is known then, so the frame is taken without a
 * walk. 0 = it is another one, or not in order: nothing is taken.
 */
static int
take_plain_output(struct command_call *c, const struct cursor *frame, size_t expected)
{
	static const char nothing_else[12] = "\377\377\377\377\377\377\377\377\0\0\0";
	const char *p = frame->p;
	size_t size = (size_t)(frame->end - p);
	if (size < RECORD_BYTES - 1 || memcmp(p + 12, nothing_else, sizeof nothing_else) != 0)
		return 0;
	struct riffle_record r = {.stream = get_u32(p), .time_ms = get_i64(p + 4)};
	size_t len = get_u32(p + RECORD_BYTES - 5);
	if (len != size - (RECORD_BYTES - 1) || r.stream >= c->spec.output_count)
		return 0;
	struct command_answer *a = command_answer_room(c, len + 1, 0, expected);
	r.value = command_answer_copy(a, (struct riffle_bytes){p + RECORD_BYTES - 1, len});
	command_answer_add(c, a, &r, 0);
	return 1;
}

static void
take_output(struct command_child *ch, struct command_call *c, struct cursor *in, size_t expected)
{
	if (take_plain_output(c, in, expected))
		return;
	size_t len = (size_t)(in->end - in->p);
	struct riffle_record r = {.stream = take_u32(in)};
	r.time_ms = take_i64(in);
	r.key = take_bytes(in);
	struct riffle_bytes type = take_bytes(in);
	uint32_t headers = take_u32(in);
	struct cursor at_headers = *in;
	skip_headers(in, headers);
	r.value = take_bytes(in);
	if (!is_consumed(ch, in, "an output"))
		return;
	if (r.stream >= c->spec.output_count) {
		command_fault(ch, "answers on output %u, the processor has %u, counted from 0",
			r.stream, c->spec.output_count);
		return;
	}
	if (type.ptr != NULL && memchr(type.ptr, '\0', type.len) != NULL) {
		command_fault(ch, "answers a content type with a NUL byte");
		return;
	}
	struct command_answer *a = command_answer_room(c, len + 1, headers, expected);
	r.key = command_answer_copy(a, r.key);
	r.content_type = command_answer_type(a, type);
	take_headers(a, at_headers, headers);
	r.value = command_answer_copy(a, r.value);
	command_answer_add(c, a, &r, headers);
}

static void
take_done(struct command_child *ch, struct command_call *c, struct cursor *in)
{
	uint32_t number = take_u32(in), status = take_u32(in);
	struct riffle_bytes why = take_bytes(in);
	if (is_consumed(ch, in, "a status"))
		command_take_status(ch, c, number, status, why.ptr, why.len);
}

static void
take_frame(struct command_child *ch, struct command_call *c, char type, struct cursor *in,
	size_t expected)
{
	char quote[64];
	if (type == 'h')
		take_hello(ch, in);
	else if (!ch->has_hello)
		command_fault(ch, "does not say hello as a program for frames does, but \"%s\"",
			command_quote(
				quote, sizeof quote, in->p - 5, (size_t)(in->end - in->p) + 5));
	else if (type == 'o')
		take_output(ch, c, in, expected);
	else if (type == 'd')
		take_done(ch, c, in);
	else
		command_fault(ch, "answers a frame of an unknown kind: \"%s\"",
			command_quote(quote, sizeof quote, &type, 1));
}

static void
refuse_length(struct command_child *ch, const char *at, size_t left, uint32_t len)
{
	char quote[64];
	command_quote(quote, sizeof quote, at, left);
	if (!ch->has_hello)
		command_fault(
			ch, "does not say hello as a program for frames does, but \"%s\"", quote);
	else
		command_fault(ch, "answers a frame of %u bytes, max-record is %zu", len,
			ch->owner->max_record);
}

static void
parse(struct command_child *ch, struct command_call *c, int at_end)
{
	while (ch->fault.code == RIFFLE_OK && !c->has_status && ch->out_read < ch->out.len) {
		const char *at = ch->out.data + ch->out_read;
		size_t left = ch->out.len - ch->out_read;
		struct cursor in = {at, at + left, 0};
		uint32_t len = take_u32(&in);
		/* Before hello nothing long can come, and a text read as a length is very long. */
		if (!in.is_short && (len == 0 || len > ch->owner->max_record ||
					    (!ch->has_hello && len > RECORD_BYTES))) {
			refuse_length(ch, at, left, len);
			return;
		}
		const char *body = take(&in, len);
		if (in.is_short) {
			if (at_end)
				command_fault(ch, "ended in the middle of a frame");
			return;
		}
		ch->out_read += 4 + len;
		struct cursor frame = {body + 1, body + len, 0};
		take_frame(ch, c, *body, &frame, left);
	}
}

const struct command_codec command_frames = {
	.refuses = refuses,
	.hello = hello,
	.start = start,
	.record = record,
	.end = end,
	.parse = parse,
};
