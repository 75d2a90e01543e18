/*
 * JSON as `json-lines` needs it: a reader that checks every byte and gives slices, because a document
 * must come out as it went in (a library would turn 0.1 into 0.10000000000000001); text and base64.
 */
#ifndef RIFFLE_COMMAND_JSON_H
#define RIFFLE_COMMAND_JSON_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct json_reader {
	const char *p, *end;
	const char *fault; /* NULL = none so far; the first stays */
};

/* A string as it stands between its quotes: UTF-8, escapes valid, not yet replaced. */
struct json_slice {
	const char *p;
	size_t len;
	int has_escapes;
};

static inline void
json_skip_space(struct json_reader *r)
{
	while (r->p < r->end && (*r->p == ' ' || *r->p == '\t' || *r->p == '\r' || *r->p == '\n'))
		r->p++;
}

/* Takes the character after spaces if it is the next one. */
static inline int
json_take(struct json_reader *r, char c)
{
	json_skip_space(r);
	if (r->p == r->end || *r->p != c)
		return 0;
	r->p++;
	return 1;
}

int json_fail(struct json_reader *r, const char *fault); /* 0 */
int json_take_string(struct json_reader *r, struct json_slice *ret_slice);
/* Any value, as it stands. */
int json_take_value(struct json_reader *r, struct json_slice *ret_slice);
int json_take_integer(struct json_reader *r, int64_t *ret_n);
int json_take_null(struct json_reader *r); /* 1 if it was one; otherwise nothing is taken */
/* Here, so that the length of a literal is known where it is compared. */
static inline int
json_is(const struct json_slice *s, const char *text)
{
	size_t len = strlen(text);
	return s->len == len && !s->has_escapes && memcmp(s->p, text, len) == 0;
}
/* Replaces the escapes; to has room for s->len. Returns the length. */
size_t json_unescape(const struct json_slice *s, char *to);

/* One whole value and nothing but space around it. */
int json_is_document(const char *p, size_t len);
int json_is_utf8(const char *p, size_t len);
/* Plain is ASCII that stands between quotes as it is. Where it ends. */
const char *json_plain_end(const char *p, const char *end);
/* Copied and looked at in one go; 0 = not all of it is plain, and what was copied is of no use. */
int json_copy_plain(char *to, const char *p, size_t len);
/* At most 6 bytes for each of text, which is UTF-8. Returns the end. */
char *json_escape(char *to, const char *text, size_t len);

size_t json_base64_bytes(size_t len); /* encoded */
char *json_base64_encode(char *to, const unsigned char *from, size_t len);
/* to has room for 3/4 of len. -1 = malformed. */
int64_t json_base64_decode(char *to, const char *from, size_t len);

#endif
