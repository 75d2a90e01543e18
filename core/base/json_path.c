/* A path to one value of a JSON document: its grammar, and a scanner that checks all and keeps one. */
#include "base/json_path.h"

#include "base/check.h"
#include "base/error.h"
#include "base/mem.h"
#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>

#define PATH_MAGIC 0x4a504154u
#define INDEX_MAX 0x7fffffffu

struct step {
	char *name; /* NULL = an index */
	size_t len;
	uint32_t index;
};

struct rfl_json_path {
	uint32_t magic;
	uint32_t count;
	struct step steps[RFL_JSON_PATH_STEPS];
};

/* Characters of a quoted text */

/* 0 to 15, or -1. */
static int
hex_digit(unsigned char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int32_t
hex4(const unsigned char *p, const unsigned char *end)
{
	int32_t value = 0;
	if (end - p < 4)
		return -1;
	for (int i = 0; i < 4; i++) {
		int digit = hex_digit(p[i]);
		if (digit < 0)
			return -1;
		value = value << 4 | digit;
	}
	return value;
}

/* What follows \u at p: its bytes, and the character; 0 when it is none. */
static size_t
unicode_escape(const unsigned char *p, const unsigned char *end, uint32_t *ret_character)
{
	int32_t high = hex4(p, end);
	if (high < 0 || (high >= 0xdc00 && high <= 0xdfff))
		return 0;
	*ret_character = (uint32_t)high;
	if (high < 0xd800 || high > 0xdfff)
		return 4;
	if (end - p < 10 || p[4] != '\\' || p[5] != 'u')
		return 0;
	int32_t low = hex4(p + 6, end);
	if (low < 0xdc00 || low > 0xdfff)
		return 0;
	*ret_character = 0x10000u + ((uint32_t)(high - 0xd800) << 10) + (uint32_t)(low - 0xdc00);
	return 10;
}

/*
 * The escape whose backslash is at p: its bytes, and the character; 0 when it is none. quote may be
 * escaped beside what JSON has.
 */
static size_t
escape(const unsigned char *p, const unsigned char *end, char quote, uint32_t *ret_character)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	if (end - p < 2)
		return 0;
	if (p[1] == 'u') {
		size_t n = unicode_escape(p + 2, end, ret_character);
		return n > 0 ? n + 2 : 0;
	}
	const char *at = p[1] != '\0' ? strchr(from, p[1]) : NULL;
	if (at == NULL && p[1] != (unsigned char)quote)
		return 0;
	*ret_character = at != NULL ? (unsigned char)to[at - from] : (unsigned char)quote;
	return 2;
}

/*
 * The character at p of a text between quotes: its bytes as written, with *ret_character set for an
 * escape and UINT32_MAX otherwise; 0 when it is none.
 */
static size_t
quoted_character(
	const unsigned char *p, const unsigned char *end, char quote, uint32_t *ret_character)
{
	*ret_character = UINT32_MAX;
	if (*p == '\\')
		return escape(p, end, quote, ret_character);
	return *p < 0x20 ? 0 : rfl_utf8_len(p, end);
}

/* The path */

struct path_reader {
	const char *text;
	const unsigned char *at, *end;
	struct rfl_json_path *path;
	struct riffle_error *err;
};

static int
refuse(const struct path_reader *r, const char *why)
{
	return rfl_err(r->err, RIFFLE_E_CONFIG, "json path \"%s\", character %d: %s", r->text,
		(int)(r->at - (const unsigned char *)r->text) + 1, why);
}

static int
is_name_byte(unsigned char c, int is_first)
{
	if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c >= 0x80)
		return 1;
	return !is_first && ((c >= '0' && c <= '9') || c == '-');
}

static int
add_step(struct path_reader *r, const char *name, size_t len, uint32_t index)
{
	struct rfl_json_path *p = r->path;
	if (p->count == RFL_JSON_PATH_STEPS)
		return refuse(r, "a path has at most 32 steps");
	struct step *s = &p->steps[p->count++];
	*s = (struct step){.len = len, .index = index};
	if (name == NULL)
		return RIFFLE_OK;
	s->name = rfl_alloc(len + 1);
	memcpy(s->name, name, len);
	return RIFFLE_OK;
}

static int
read_name(struct path_reader *r)
{
	const unsigned char *from = r->at;
	while (r->at < r->end && is_name_byte(*r->at, r->at == from)) {
		size_t n = rfl_utf8_len(r->at, r->end);
		if (n == 0)
			return refuse(r, "it is not UTF-8");
		r->at += n;
	}
	if (r->at == from)
		return refuse(r, "a name is expected here: a letter or _ first, then also digits "
				 "and -; write other names as ['...']");
	return add_step(r, (const char *)from, (size_t)(r->at - from), 0);
}

static int
read_index(struct path_reader *r)
{
	uint64_t index = 0;
	const unsigned char *from = r->at;
	while (r->at < r->end && *r->at >= '0' && *r->at <= '9' && index <= INDEX_MAX)
		index = index * 10 + (uint64_t)(*r->at++ - '0');
	if (r->at == from)
		return refuse(r, "[ is followed by an index from 0, or by a name in quotes");
	if (index > INDEX_MAX || (*from == '0' && r->at - from > 1))
		return refuse(r, "an index is a number from 0 to 2147483647 without leading zeros");
	return add_step(r, NULL, 0, (uint32_t)index);
}

static int
read_quoted(struct path_reader *r)
{
	char name[RFL_JSON_PATH_TEXT];
	size_t len = 0;
	char quote = (char)*r->at++;
	while (r->at < r->end && *r->at != (unsigned char)quote) {
		uint32_t character;
		size_t n = quoted_character(r->at, r->end, quote, &character);
		if (n == 0)
			return refuse(r, "no such escape, or not UTF-8");
		if (character == UINT32_MAX) {
			memcpy(name + len, r->at, n);
			len += n;
		} else {
			len += rfl_utf8_put(character, name + len);
		}
		r->at += n;
	}
	if (r->at == r->end)
		return refuse(r, "the quote is not closed");
	r->at++;
	return add_step(r, name, len, 0);
}

static int
read_bracket(struct path_reader *r)
{
	r->at++;
	int rc = r->at < r->end && (*r->at == '\'' || *r->at == '"') ? read_quoted(r)
								     : read_index(r);
	if (rc < 0)
		return rc;
	if (r->at == r->end || *r->at != ']')
		return refuse(r, "a ] is expected here");
	r->at++;
	return RIFFLE_OK;
}

static int
read_path(struct path_reader *r)
{
	int rc = RIFFLE_OK;
	if (r->at == r->end)
		return refuse(r, "it is empty; $ is the whole document");
	if (r->end - r->at > RFL_JSON_PATH_TEXT)
		return rfl_err(r->err, RIFFLE_E_CONFIG, "a json path has at most %d bytes",
			RFL_JSON_PATH_TEXT);
	if (*r->at == '/')
		return refuse(r, "this is no JSON pointer: write /a/b as a.b");
	if (*r->at == '$')
		r->at++;
	else
		rc = read_name(r);
	while (rc == RIFFLE_OK && r->at < r->end) {
		if (*r->at == '[') {
			rc = read_bracket(r);
		} else if (*r->at == '.') {
			r->at++;
			rc = read_name(r);
		} else {
			rc = refuse(r, "a step begins with . or [");
		}
	}
	return rc;
}

int
rfl_json_path_create(const char *text, struct rfl_json_path **ret_path, struct riffle_error *reterr)
{
	struct rfl_json_path *p = rfl_zalloc(sizeof *p);
	const unsigned char *from = (const unsigned char *)text;
	struct path_reader r = {text, from, from + strlen(text), p, reterr};
	p->magic = PATH_MAGIC;
	int rc = read_path(&r);
	if (rc < 0) {
		rfl_json_path_destroy(p);
		return rc;
	}
	*ret_path = p;
	return RIFFLE_OK;
}

void
rfl_json_path_destroy(struct rfl_json_path *path)
{
	if (path == NULL)
		return;
	RFL_CHECK(path, PATH_MAGIC);
	for (uint32_t i = 0; i < path->count; i++)
		free(path->steps[i].name);
	path->magic = 0;
	free(path);
}

/* The document */

struct scanner {
	const unsigned char *from, *at, *end;
	const struct rfl_json_path *path;
	struct rfl_json_value value;
	uint32_t depth;
	int is_found;
	const char *why; /* the first fault */
};

/* The path's steps that lead to a value: so many, or NOWHERE for a value beside it. */
#define NOWHERE UINT32_MAX

static int scan_value(struct scanner *s, uint32_t steps);

static int
fault(struct scanner *s, const char *why)
{
	if (s->why == NULL)
		s->why = why;
	return -1;
}

static void
skip_space(struct scanner *s)
{
	while (s->at < s->end &&
		(*s->at == ' ' || *s->at == '\t' || *s->at == '\n' || *s->at == '\r'))
		s->at++;
}

/* Is the next byte c? Then it is passed. */
static int
take(struct scanner *s, char c)
{
	skip_space(s);
	if (s->at == s->end || *s->at != (unsigned char)c)
		return 0;
	s->at++;
	return 1;
}

/* A string, its first quote passed. */
static int
scan_string(struct scanner *s, struct rfl_json_value *ret)
{
	const unsigned char *from = s->at;
	*ret = (struct rfl_json_value){.kind = RFL_JSON_STRING};
	while (s->at < s->end && *s->at != '"') {
		uint32_t character;
		size_t n = quoted_character(s->at, s->end, '"', &character);
		if (n == 0)
			return fault(s, *s->at == '\\'  ? "no such escape"
					: *s->at < 0x20 ? "a control character in a string"
							: "not UTF-8");
		ret->has_escapes |= character != UINT32_MAX;
		s->at += n;
	}
	if (s->at == s->end)
		return fault(s, "a string without its end");
	ret->raw = (struct riffle_bytes){from, (size_t)(s->at++ - from)};
	return 0;
}

static size_t
scan_digits(struct scanner *s)
{
	const unsigned char *from = s->at;
	while (s->at < s->end && *s->at >= '0' && *s->at <= '9')
		s->at++;
	return (size_t)(s->at - from);
}

static int
scan_number(struct scanner *s, struct rfl_json_value *ret)
{
	const unsigned char *from = s->at;
	s->at += *s->at == '-';
	const unsigned char *digits = s->at;
	size_t n = scan_digits(s);
	if (n == 0 || (n > 1 && *digits == '0'))
		return fault(s, "not a number");
	if (s->at < s->end && *s->at == '.') {
		s->at++;
		if (scan_digits(s) == 0)
			return fault(s, "a digit is expected");
	}
	if (s->at < s->end && (*s->at | 0x20) == 'e') {
		s->at++;
		if (s->at < s->end && (*s->at == '+' || *s->at == '-'))
			s->at++;
		if (scan_digits(s) == 0)
			return fault(s, "a digit is expected");
	}
	*ret = (struct rfl_json_value){
		.kind = RFL_JSON_NUMBER, .raw = {from, (size_t)(s->at - from)}};
	return 0;
}

static int
scan_word(struct scanner *s, const char *word, enum rfl_json_kind kind, struct rfl_json_value *ret)
{
	size_t len = strlen(word);
	if ((size_t)(s->end - s->at) < len || memcmp(s->at, word, len) != 0)
		return fault(s, "a value is expected");
	*ret = (struct rfl_json_value){.kind = kind, .raw = {s->at, len}};
	s->at += len;
	return 0;
}

/* Compared as it is unescaped, without a copy. */
static int
is_name(const struct rfl_json_value *key, const struct step *step)
{
	const unsigned char *at = key->raw.ptr, *end = at + key->raw.len;
	size_t done = 0;
	if (step->name == NULL)
		return 0;
	if (!key->has_escapes)
		return key->raw.len == step->len && memcmp(at, step->name, step->len) == 0;
	while (at < end) {
		uint32_t character;
		char put[RFL_UTF8_MAX];
		size_t n = quoted_character(at, end, '"', &character), m = n;
		if (character != UINT32_MAX)
			m = rfl_utf8_put(character, put);
		else
			memcpy(put, at, n);
		if (step->len - done < m || memcmp(step->name + done, put, m) != 0)
			return 0;
		done += m;
		at += n;
	}
	return done == step->len;
}

/* The last of equal names counts: what was found under an earlier one is forgotten. */
static int
scan_member(struct scanner *s, uint32_t steps)
{
	struct rfl_json_value key;
	uint32_t next = NOWHERE;
	if (!take(s, '"'))
		return fault(s, "a name in quotes is expected");
	if (scan_string(s, &key) < 0)
		return -1;
	if (steps < s->path->count && is_name(&key, &s->path->steps[steps])) {
		next = steps + 1;
		s->is_found = 0;
	}
	if (!take(s, ':'))
		return fault(s, "a colon is expected");
	return scan_value(s, next);
}

static int
scan_object(struct scanner *s, uint32_t steps)
{
	if (take(s, '}'))
		return 0;
	do {
		if (scan_member(s, steps) < 0)
			return -1;
	} while (take(s, ','));
	return take(s, '}') ? 0 : fault(s, "a comma or } is expected");
}

static int
scan_array(struct scanner *s, uint32_t steps)
{
	const struct step *step = steps < s->path->count ? &s->path->steps[steps] : NULL;
	uint64_t index = 0;
	if (take(s, ']'))
		return 0;
	do {
		int is_it = step != NULL && step->name == NULL && step->index == index;
		if (scan_value(s, is_it ? steps + 1 : NOWHERE) < 0)
			return -1;
		index++;
	} while (take(s, ','));
	return take(s, ']') ? 0 : fault(s, "a comma or ] is expected");
}

static int
scan_nested(struct scanner *s, uint32_t steps, struct rfl_json_value *ret)
{
	const unsigned char *from = s->at++;
	if (++s->depth > RFL_JSON_DEPTH)
		return fault(s, "nested too deep");
	int rc = *from == '{' ? scan_object(s, steps) : scan_array(s, steps);
	s->depth--;
	*ret = (struct rfl_json_value){.kind = *from == '{' ? RFL_JSON_OBJECT : RFL_JSON_ARRAY,
		.raw = {from, (size_t)(s->at - from)}};
	return rc;
}

static int
scan_any(struct scanner *s, uint32_t steps, struct rfl_json_value *ret)
{
	switch (*s->at) {
	case '{':
	case '[':
		return scan_nested(s, steps, ret);
	case '"':
		s->at++;
		return scan_string(s, ret);
	case 'n':
		return scan_word(s, "null", RFL_JSON_NULL, ret);
	case 't':
		return scan_word(s, "true", RFL_JSON_TRUE, ret);
	case 'f':
		return scan_word(s, "false", RFL_JSON_FALSE, ret);
	default:
		if (*s->at != '-' && (*s->at < '0' || *s->at > '9'))
			return fault(s, "a value is expected");
		return scan_number(s, ret);
	}
}

static int
scan_value(struct scanner *s, uint32_t steps)
{
	struct rfl_json_value value;
	skip_space(s);
	if (s->at == s->end)
		return fault(s, "a value is expected");
	if (scan_any(s, steps, &value) < 0)
		return -1;
	if (steps == s->path->count) {
		s->value = value;
		s->is_found = 1;
	}
	return 0;
}

int
rfl_json_path_find(const struct rfl_json_path *path, struct riffle_bytes document,
	struct rfl_json_value *ret_value, struct riffle_error *reterr)
{
	RFL_CHECK(path, PATH_MAGIC);
	if (document.ptr == NULL)
		return rfl_err(reterr, RIFFLE_E_DATA, "a record without a value is not JSON");
	const unsigned char *from = document.ptr;
	struct scanner s = {.from = from, .at = from, .end = from + document.len, .path = path};
	int rc = scan_value(&s, 0);
	skip_space(&s);
	if (rc == 0 && s.at < s.end)
		rc = fault(&s, "the document has ended before");
	if (rc < 0)
		return rfl_err(reterr, RIFFLE_E_DATA, "not JSON, byte %zu: %s",
			(size_t)(s.at - s.from), s.why);
	if (s.is_found)
		*ret_value = s.value;
	return s.is_found;
}

struct riffle_bytes
rfl_json_text(const struct rfl_json_value *value, struct rfl_buf *buf)
{
	if (!value->has_escapes)
		return value->raw;
	const unsigned char *at = value->raw.ptr, *end = at + value->raw.len;
	rfl_buf_clear(buf);
	while (at < end) {
		uint32_t character;
		char put[RFL_UTF8_MAX];
		size_t n = quoted_character(at, end, '"', &character);
		if (character == UINT32_MAX)
			rfl_buf_add(buf, at, n);
		else
			rfl_buf_add(buf, put, rfl_utf8_put(character, put));
		at += n;
	}
	return (struct riffle_bytes){rfl_buf_str(buf), buf->len};
}

const char *
rfl_json_kind_name(enum rfl_json_kind kind)
{
	static const char *const names[] = {
		"null", "false", "true", "a number", "a string", "an array", "an object"};
	return names[kind];
}
