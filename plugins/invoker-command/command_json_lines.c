/*
 * The format `json-lines`: what doc/function.md specifies. One JSON object a line, there and back. Bytes
 * that are UTF-8 are text, others base64 under the name with "Base64" behind it; a value of a JSON type is
 * the document itself. What is absent has no member.
 */
#include "command.h"
#include "command_json.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static const char *
refuses(const struct riffle_batch *b, const struct riffle_record *r)
{
	(void)b, (void)r;
	return NULL;
}

/*
 * A line while it is written, behind the end of the feed: what a part needs at worst is looked for
 * before, and what was not needed is given back at the line's end.
 */
struct out {
	struct command_feed *f;
	char *begin, *p, *end;
};

static void
more_room(struct out *o, size_t want)
{
	size_t len = (size_t)(o->p - o->begin), room = len + want + 256;
	o->begin = command_text_room(&o->f->text, room);
	o->p = o->begin + len;
	o->end = o->begin + room;
}

static inline void
ensure(struct out *o, size_t want)
{
	if ((size_t)(o->end - o->p) < want)
		more_room(o, want);
}

/* Inline: most of what is put is a literal of a few bytes. */
static inline void
put(struct out *o, const char *s, size_t n)
{
	ensure(o, n);
	memcpy(o->p, s, n);
	o->p += n;
}

#define PUT(o, literal) put(o, literal, sizeof literal - 1)

static struct out
begin_line(struct command_feed *f)
{
	struct out o = {.f = f};
	more_room(&o, 0);
	return o;
}

static void
end_line(struct out *o)
{
	PUT(o, "}\n");
	command_feed_room(o->f, (size_t)(o->p - o->begin));
}

static void
put_string(struct out *o, const char *s, size_t len)
{
	ensure(o, 6 * len + 2);
	*o->p++ = '"';
	o->p = json_escape(o->p, s, len);
	*o->p++ = '"';
}

static void
put_base64(struct out *o, struct riffle_bytes b)
{
	ensure(o, json_base64_bytes(b.len) + 2);
	*o->p++ = '"';
	o->p = json_base64_encode(o->p, b.ptr, b.len);
	*o->p++ = '"';
}

/* ,"name":"text" or ,"nameBase64":"..." */
static inline void
put_member(struct out *o, const char *name, struct riffle_bytes b)
{
	if (b.ptr == NULL)
		return;
	PUT(o, ",\"");
	put(o, name, strlen(name));
	/* Mostly it is text without escapes. */
	ensure(o, b.len + 4);
	if (json_copy_plain(o->p + 3, b.ptr, b.len)) {
		memcpy(o->p, "\":\"", 3);
		o->p[3 + b.len] = '"';
		o->p += b.len + 4;
	} else if (json_is_utf8(b.ptr, b.len)) {
		PUT(o, "\":");
		put_string(o, b.ptr, b.len);
	} else {
		PUT(o, "Base64\":");
		put_base64(o, b);
	}
}

static inline void
put_number(struct out *o, const char *name, int64_t n)
{
	char digits[24], *p = digits + sizeof digits;
	uint64_t rest = n < 0 ? 0 - (uint64_t)n : (uint64_t)n;
	do
		*--p = (char)('0' + rest % 10);
	while ((rest /= 10) > 0);
	if (n < 0)
		*--p = '-';
	PUT(o, ",\"");
	put(o, name, strlen(name));
	PUT(o, "\":");
	put(o, p, (size_t)(digits + sizeof digits - p));
}

static void
put_headers(struct out *o, const struct riffle_header *h, uint32_t count)
{
	PUT(o, ",\"headers\":[");
	for (uint32_t i = 0; i < count; i++) {
		if (i > 0)
			PUT(o, ",");
		PUT(o, "{\"name\":");
		/* A name that is no text cannot be written otherwise. */
		if (json_is_utf8(h[i].name.ptr, h[i].name.len))
			put_string(o, h[i].name.ptr, h[i].name.len);
		else {
			PUT(o, "\"\"");
			put_member(o, "name", h[i].name);
		}
		put_member(o, "value", h[i].value);
		PUT(o, "}");
	}
	PUT(o, "]");
}

static void
put_sides(struct out *o, const char *name, const char *const *names, const char *const *types,
	uint32_t count)
{
	PUT(o, ",\"");
	put(o, name, strlen(name));
	PUT(o, "\":[");
	for (uint32_t i = 0; i < count; i++) {
		if (i > 0)
			PUT(o, ",");
		PUT(o, "{\"name\":");
		put_string(o, names[i], strlen(names[i]));
		PUT(o, ",\"contentType\":");
		put_string(o, types[i], strlen(types[i]));
		PUT(o, "}");
	}
	PUT(o, "]");
}

static void
start(struct command_feed *f, const struct command_call *c)
{
	const struct command_spec *s = &c->spec;
	struct out o = begin_line(f);
	PUT(&o, "{\"type\":\"start\",\"version\":1");
	put_number(&o, "window", c->number);
	put_number(&o, "attempt", s->attempt);
	put_sides(&o, "inputs", s->input_names, s->input_types, s->input_count);
	put_sides(&o, "outputs", s->output_names, s->output_types, s->output_count);
	put_headers(&o, s->headers, s->header_count);
	end_line(&o);
}

static void
end(struct command_feed *f, const struct command_call *c)
{
	struct out o = begin_line(f);
	PUT(&o, "{\"type\":\"end\"");
	put_number(&o, "window", c->number);
	end_line(&o);
}

/* The document as it is: between its tokens a newline is but a space. */
static void
put_document(struct out *o, struct riffle_bytes b)
{
	PUT(o, ",\"value\":");
	put(o, b.ptr, b.len);
	for (char *p = o->p - b.len; (p = memchr(p, '\n', (size_t)(o->p - p))) != NULL;)
		*p = ' ';
}

static void
put_value(struct out *o, struct riffle_bytes b, int is_json)
{
	if (b.ptr == NULL || !is_json) {
		put_member(o, "value", b);
	} else if (json_is_document(b.ptr, b.len)) {
		put_document(o, b);
	} else {
		PUT(o, ",\"valueBase64\":");
		put_base64(o, b);
	}
}

/* What the record states itself is written; else what was written once for all records of its input. */
static int
put_type(struct out *o, const struct command_spec *s, const struct riffle_batch *b,
	const struct riffle_record *r)
{
	if (r->content_type == 0) {
		put(o, s->input_json_types[r->stream].ptr, s->input_json_types[r->stream].len);
		return s->input_is_json[r->stream];
	}
	const char *type = b->content_types[r->content_type];
	PUT(o, ",\"contentType\":");
	put_string(o, type, strlen(type));
	return command_is_json_type(type);
}

static void
record(struct command_feed *f, const struct command_call *c, const struct riffle_batch *b,
	const struct riffle_record *r)
{
	const struct command_spec *s = &c->spec;
	struct out o = begin_line(f);
	put(&o, s->input_heads[r->stream].ptr, s->input_heads[r->stream].len);
	if (r->time_ms != RIFFLE_TIME_NONE)
		put_number(&o, "time", r->time_ms);
	put_member(&o, "key", r->key);
	int is_json = put_type(&o, s, b, r);
	if (r->header_count > 0)
		put_headers(&o, b->headers + r->header_first, r->header_count);
	put_value(&o, r->value, is_json);
	end_line(&o);
}

/* A text of an answer: where it stands, and whether it is base64. */
struct text {
	struct json_slice s;
	int is_there, is_base64;
};

/* A line as it stands. Nothing is copied before all of it is known to be good. */
struct line {
	int has_type, has_output, has_content_type, has_time, has_window, has_status, has_value,
		has_headers;
	int is_string;
	uint32_t header_count;
	struct text key, value_text, message; /* is_there of each */
	/* What the above says is there; else it is not set. */
	struct json_slice type, output, content_type, headers, value;
	struct json_slice string; /* the value, if it is one */
	int64_t time, window, status;
};

/* Lines are short and many: what is not looked at need not be cleared. */
static void
clear(struct line *l)
{
	memset(l, 0, offsetof(struct line, key));
	l->key.is_there = l->value_text.is_there = l->message.is_there = 0;
}

static int
once(struct json_reader *r, int *has)
{
	if (*has)
		return json_fail(r, "a member twice");
	return *has = 1;
}

static int
take_string(struct json_reader *r, int *has, struct json_slice *s)
{
	return once(r, has) && json_take_string(r, s);
}

static int
take_integer(struct json_reader *r, int *has, int64_t *n)
{
	return once(r, has) && json_take_integer(r, n);
}

/* null is a text that is absent, as if the member were not there. */
static int
take_text(struct json_reader *r, struct text *t, int is_base64)
{
	if (t->is_there)
		return json_fail(r, "a member twice");
	if (json_take_null(r))
		return 1;
	t->is_there = 1;
	t->is_base64 = is_base64;
	return json_take_string(r, &t->s);
}

static int
take_header_member(struct json_reader *r, struct text *name, struct text *value)
{
	struct json_slice key;
	if (!json_take_string(r, &key))
		return 0;
	if (!json_take(r, ':'))
		return json_fail(r, "no ':' behind a name");
	if (json_is(&key, "name"))
		return take_text(r, name, 0);
	if (json_is(&key, "nameBase64")) {
		name->is_there = 0;
		return take_text(r, name, 1);
	}
	if (json_is(&key, "value") || json_is(&key, "valueBase64"))
		return take_text(r, value, key.len > 5);
	return json_fail(r, "a header has a name and a value, nothing else");
}

static int
take_header(struct json_reader *r, struct text *name, struct text *value)
{
	*name = *value = (struct text){.is_there = 0};
	if (!json_take(r, '{'))
		return json_fail(r, "headers are objects with a name and a value");
	do {
		if (!take_header_member(r, name, value))
			return 0;
	} while (json_take(r, ','));
	if (!json_take(r, '}'))
		return json_fail(r, "a header without an end");
	return name->is_there ? 1 : json_fail(r, "a header without a name");
}

static int
take_headers(struct json_reader *r, struct line *l)
{
	struct text name, value;
	if (json_take_null(r))
		return 1;
	if (!once(r, &l->has_headers))
		return 0;
	json_skip_space(r);
	l->headers.p = r->p;
	if (!json_take(r, '['))
		return json_fail(r, "headers are an array");
	if (!json_take(r, ']')) {
		do {
			if (!take_header(r, &name, &value))
				return 0;
			l->header_count++;
		} while (json_take(r, ','));
		if (!json_take(r, ']'))
			return json_fail(r, "headers without an end");
	}
	l->headers.len = (size_t)(r->p - l->headers.p);
	return 1;
}

/* Mostly a string, which is then known already when it is to be one. */
static int
take_value(struct json_reader *r, struct line *l)
{
	json_skip_space(r);
	l->is_string = r->p < r->end && *r->p == '"';
	if (!l->is_string)
		return json_take_value(r, &l->value);
	if (!json_take_string(r, &l->string))
		return 0;
	l->value = (struct json_slice){.p = l->string.p - 1, .len = l->string.len + 2};
	return 1;
}

static int
take_member(struct json_reader *r, struct line *l)
{
	struct json_slice name;
	if (!json_take_string(r, &name))
		return 0;
	if (!json_take(r, ':'))
		return json_fail(r, "no ':' behind a name");
	if (json_is(&name, "value"))
		return once(r, &l->has_value) && take_value(r, l);
	if (json_is(&name, "type"))
		return take_string(r, &l->has_type, &l->type);
	if (json_is(&name, "output"))
		return take_string(r, &l->has_output, &l->output);
	if (json_is(&name, "contentType"))
		return json_take_null(r) || take_string(r, &l->has_content_type, &l->content_type);
	if (json_is(&name, "time"))
		return json_take_null(r) || take_integer(r, &l->has_time, &l->time);
	if (json_is(&name, "window"))
		return take_integer(r, &l->has_window, &l->window);
	if (json_is(&name, "status"))
		return take_integer(r, &l->has_status, &l->status);
	if (json_is(&name, "headers"))
		return take_headers(r, l);
	if (json_is(&name, "key") || json_is(&name, "keyBase64"))
		return take_text(r, &l->key, name.len > 3);
	if (json_is(&name, "message"))
		return take_text(r, &l->message, 0);
	if (json_is(&name, "valueBase64"))
		return take_text(r, &l->value_text, 1);
	return json_fail(r, "a member that answers do not have");
}

static int
take_line(struct json_reader *r, struct line *l)
{
	if (!json_take(r, '{'))
		return json_fail(r, "a line that is no JSON object");
	if (!json_take(r, '}')) {
		do {
			if (!take_member(r, l))
				return 0;
		} while (json_take(r, ','));
		if (!json_take(r, '}'))
			return json_fail(r, "an object without an end");
	}
	json_skip_space(r);
	return r->p == r->end ? 1 : json_fail(r, "something behind the object");
}

/* Unescaped or decoded into the answer; what cannot be decoded leaves a fault. */
static struct riffle_bytes
copy_text(struct json_reader *r, struct command_answer *a, const struct text *t)
{
	char *to = a->bytes + a->used;
	int64_t n;
	if (!t->is_there)
		return (struct riffle_bytes){NULL, 0};
	if (!t->is_base64)
		n = (int64_t)json_unescape(&t->s, to);
	else if (t->s.has_escapes || (n = json_base64_decode(to, t->s.p, t->s.len)) < 0)
		return (struct riffle_bytes){NULL, (size_t)json_fail(r, "malformed base64")};
	a->used += (size_t)n;
	return (struct riffle_bytes){to, (size_t)n};
}

/* It was read once already, so that it is well formed is known. */
static void
copy_headers(struct json_reader *r, struct command_answer *a, const struct line *l)
{
	if (l->header_count == 0)
		return;
	struct json_reader in = {l->headers.p, l->headers.p + l->headers.len, NULL};
	struct text name, value;
	for (uint32_t i = 0; i < l->header_count; i++) {
		json_take(&in, i == 0 ? '[' : ',');
		take_header(&in, &name, &value);
		struct riffle_header h = {copy_text(r, a, &name), copy_text(r, a, &value)};
		a->headers[a->header_count++] = h;
	}
}

/* The output it names; where there is one, it need not be named. */
static int
find_output(struct json_reader *r, const struct command_spec *s, const struct line *l,
	uint32_t *ret_output)
{
	*ret_output = 0;
	if (!l->has_output && s->output_count == 1)
		return 1;
	if (!l->has_output)
		return json_fail(
			r, "a line without \"output\", and the processor has not just one");
	for (uint32_t i = 0; i < s->output_count; i++)
		if (json_is(&l->output, s->output_names[i])) {
			*ret_output = i;
			return 1;
		}
	return json_fail(r, "an output that the processor does not have");
}

static int
settle_value(struct json_reader *r, struct line *l, int is_json)
{
	if (!l->has_value)
		return 1;
	struct json_reader in = {l->value.p, l->value.p + l->value.len, NULL};
	if (l->value_text.is_there)
		return json_fail(r, "a \"value\" and a \"valueBase64\"");
	if (is_json || (!l->is_string && json_take_null(&in)))
		return 1;
	if (!l->is_string)
		return json_fail(
			r, "a \"value\" that is no string, and its content type is not JSON");
	l->value_text = (struct text){l->string, 1, 0};
	return 1;
}

static struct riffle_bytes
content_type_of(struct json_reader *r, struct command_answer *a, const struct line *l)
{
	if (!l->has_content_type)
		return (struct riffle_bytes){NULL, 0};
	const struct text given = {l->content_type, 1, 0};
	if (l->content_type.has_escapes)
		return copy_text(r, a, &given);
	return (struct riffle_bytes){l->content_type.p, l->content_type.len};
}

static void
add_output(
	struct json_reader *r, struct command_call *c, struct line *l, size_t size, size_t expected)
{
	struct riffle_record to = {.time_ms = l->has_time ? l->time : RIFFLE_TIME_NONE};
	if (l->has_window || l->has_status || l->message.is_there) {
		json_fail(r, "an output with \"window\", \"status\" or \"message\"");
		return;
	}
	if (!find_output(r, &c->spec, l, &to.stream))
		return;
	/* Nothing that was unescaped or decoded is longer than it was; the type is there twice. */
	size_t type_len = l->has_content_type ? l->content_type.len : 0;
	struct command_answer *a =
		command_answer_room(c, size + type_len + 1, l->header_count, expected);
	struct riffle_bytes type = content_type_of(r, a, l);
	if (type.ptr != NULL && memchr(type.ptr, '\0', type.len) != NULL) {
		json_fail(r, "a content type with a NUL byte");
		return;
	}
	to.content_type = command_answer_type(a, type);
	int is_json = to.content_type ? a->type_is_json[to.content_type]
				      : c->spec.output_is_json[to.stream];
	if (!settle_value(r, l, is_json))
		return;
	to.key = copy_text(r, a, &l->key);
	copy_headers(r, a, l);
	if (is_json && l->has_value)
		to.value = command_answer_copy(a, (struct riffle_bytes){l->value.p, l->value.len});
	else
		to.value = copy_text(r, a, &l->value_text);
	if (r->fault == NULL)
		command_answer_add(c, a, &to, l->header_count);
}

static void
take_status(struct command_child *ch, struct json_reader *r, struct command_call *c,
	const struct line *l, size_t size)
{
	if (!command_is_framed(ch->owner)) {
		json_fail(r, "a status, which its exit status says");
		return;
	}
	if (!l->has_window || !l->has_status || l->status < 0) {
		json_fail(r, "a status without \"window\" and \"status\"");
		return;
	}
	char *text = command_alloc(size + 1);
	size_t len = l->message.is_there ? json_unescape(&l->message.s, text) : 0;
	command_take_status(ch, c, l->window, l->status, len > 0 ? text : NULL, len);
	free(text);
}

static void
parse_line(struct command_child *ch, struct command_call *c, const char *text, size_t len,
	size_t expected)
{
	struct json_reader r = {text, text + len, NULL};
	struct line l;
	char quote[64];
	clear(&l);
	if (take_line(&r, &l)) {
		if (!l.has_type || json_is(&l.type, "output"))
			add_output(&r, c, &l, len, expected);
		else if (json_is(&l.type, "status"))
			take_status(ch, &r, c, &l, len);
		else
			json_fail(&r, "a \"type\" that is neither output nor status");
	}
	if (r.fault != NULL)
		command_fault(ch, "answers %s: \"%s\"", r.fault,
			command_quote(quote, sizeof quote, text, len));
}

/* Takes the literal if it is next. */
static inline int
skip_literal(const char **p, const char *end, const char *literal)
{
	size_t n = strlen(literal);
	if ((size_t)(end - *p) < n || memcmp(*p, literal, n) != 0)
		return 0;
	*p += n;
	return 1;
}

/* One space may stand behind a comma or a colon, as Python writes it. */
static inline void
skip_one_space(const char **p, const char *end)
{
	*p += *p < end && **p == ' ';
}

/* A string that stands there as it is. */
static inline int
take_plain_string(const char **p, const char *end, struct riffle_bytes *ret)
{
	skip_one_space(p, end);
	if (!skip_literal(p, end, "\""))
		return 0;
	const char *from = *p;
	*p = json_plain_end(from, end);
	*ret = (struct riffle_bytes){from, (size_t)(*p - from)};
	return skip_literal(p, end, "\"");
}

struct plain_line {
	struct riffle_bytes value, content_type, type;
};

static inline int
take_plain_member(const char **p, const char *end, struct plain_line *l)
{
	struct riffle_bytes *to;
	skip_one_space(p, end);
	if (skip_literal(p, end, "\"value\":"))
		to = &l->value;
	else if (skip_literal(p, end, "\"contentType\":"))
		to = &l->content_type;
	else if (skip_literal(p, end, "\"type\":"))
		to = &l->type;
	else
		return 0;
	return to->ptr == NULL && take_plain_string(p, end, to);
}

/*
 * Most answers are a text, perhaps with its content type, written as programs write by themselves: taken in one
 * walk, up to the line's end. 0 = it is another one, or not all here, or not in order: nothing is taken, and
 * parse_line says what it is.
 */
static size_t
take_plain_output(struct command_call *c, const char *line, size_t left, size_t expected)
{
	const char *p = line, *end = line + left;
	struct plain_line l = {{NULL, 0}, {NULL, 0}, {NULL, 0}};
	struct riffle_record to = {.time_ms = RIFFLE_TIME_NONE};
	if (!skip_literal(&p, end, "{"))
		return 0;
	do
		if (!take_plain_member(&p, end, &l))
			return 0;
	while (skip_literal(&p, end, ","));
	if (!skip_literal(&p, end, "}\n") || l.value.ptr == NULL || c->spec.output_count != 1)
		return 0;
	if (l.type.ptr != NULL && (l.type.len != 6 || memcmp(l.type.ptr, "output", 6) != 0))
		return 0;
	struct command_answer *a =
		command_answer_room(c, l.value.len + l.content_type.len + 1, 0, expected);
	to.content_type = command_answer_type(a, l.content_type);
	if (to.content_type ? a->type_is_json[to.content_type] : c->spec.output_is_json[0])
		return 0;
	to.value = command_answer_copy(a, l.value);
	command_answer_add(c, a, &to, 0);
	return (size_t)(p - line);
}

/* One whole line of which nothing was looked at before. */
static int
take_at_once(struct command_child *ch, struct command_call *c, size_t left)
{
	size_t max = ch->owner->max_line + 1;
	if (ch->out_scanned > ch->out_read)
		return 0;
	size_t n = take_plain_output(c, ch->out.data + ch->out_read, left < max ? left : max, left);
	ch->out_read += n;
	return n > 0;
}

static void
parse(struct command_child *ch, struct command_call *c, int at_end)
{
	while (ch->out_read < ch->out.len && ch->fault.code == RIFFLE_OK && !c->has_status) {
		const char *line = ch->out.data + ch->out_read;
		size_t left = ch->out.len - ch->out_read;
		if (take_at_once(ch, c, left))
			continue;
		size_t seen = ch->out_scanned > ch->out_read ? ch->out_scanned - ch->out_read : 0;
		const char *newline = memchr(line + seen, '\n', left - seen);
		ch->out_scanned = ch->out.len;
		size_t len = newline ? (size_t)(newline - line) : left;
		if (command_line_is_too_long(ch, len) || (newline == NULL && !at_end))
			return;
		ch->out_scanned = ch->out_read += newline ? len + 1 : len;
		parse_line(ch, c, line, len, left);
	}
}

const struct command_codec command_json_lines = {
	.refuses = refuses,
	.start = start,
	.record = record,
	.end = end,
	.parse = parse,
};
