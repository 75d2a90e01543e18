/* JSON, read and written a line at a time. */
#include "command_json.h"

#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* Deeper than anybody means it, shallower than our stack. */
#define DEPTH_MAX 64

int
json_fail(struct json_reader *r, const char *fault)
{
	if (r->fault == NULL)
		r->fault = fault;
	return 0;
}

/* The length of the sequence at p, 0 if it is none: no overlong forms, no surrogates. */
static size_t
utf8_length(const unsigned char *p, size_t left)
{
	size_t n = p[0] < 0x80   ? 1
		   : p[0] < 0xc2 ? 0
		   : p[0] < 0xe0 ? 2
		   : p[0] < 0xf0 ? 3
		   : p[0] < 0xf5 ? 4
				 : 0;
	if (n > left)
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
		(p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
		return 0;
	return n;
}

/* Eight bytes of which none ends a run: no quote, backslash, control character, nothing beyond ASCII. */
static int
is_plain(const char *p)
{
	const uint64_t ones = UINT64_C(0x0101010101010101), high = ones << 7;
	uint64_t v;
	memcpy(&v, p, sizeof v);
	uint64_t quote = v ^ ones * '"', slash = v ^ ones * '\\';
	uint64_t found = ((quote - ones) & ~quote) | ((slash - ones) & ~slash) | (v - ones * 0x20);
	return ((found | v) & high) == 0;
}

#ifdef __SSE2__
static inline __m128i
load(const char *p)
{
	return _mm_loadu_si128((const __m128i *)(const void *)p);
}

/* Which of sixteen bytes are not plain. As signed numbers those beyond ASCII are below the space too. */
static inline __m128i
which_are_not(__m128i v)
{
	__m128i is = _mm_cmplt_epi8(v, _mm_set1_epi8(0x20));
	is = _mm_or_si128(is, _mm_cmpeq_epi8(v, _mm_set1_epi8('"')));
	return _mm_or_si128(is, _mm_cmpeq_epi8(v, _mm_set1_epi8('\\')));
}

/* The same, a bit each. */
static inline unsigned
not_plain(const char *p)
{
	return (unsigned)_mm_movemask_epi8(which_are_not(load(p)));
}
#endif

static inline int
is_plain_byte(unsigned char c)
{
	return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

/*
 * Behind the plain bytes at p: sixteen at once where the processor can, the last ones together with some
 * that were looked at before; else eight.
 */
static inline const char *
skip_plain(const char *p, const char *end)
{
#ifdef __SSE2__
	if (end - p >= 16) {
		unsigned found;
		for (; end - p > 16; p += 16)
			if ((found = not_plain(p)) != 0)
				return p + __builtin_ctz(found);
		found = not_plain(end - 16);
		return found != 0 ? end - 16 + __builtin_ctz(found) : end;
	}
#endif
	while (end - p >= 8 && is_plain(p))
		p += 8;
	while (p < end && is_plain_byte((unsigned char)*p))
		p++;
	return p;
}

const char *
json_plain_end(const char *p, const char *end)
{
	return skip_plain(p, end);
}

int
json_copy_plain(char *to, const char *p, size_t len)
{
#ifdef __SSE2__
	if (len >= 16) {
		__m128i last = load(p + len - 16), found = which_are_not(last);
		for (size_t i = 0; i < len - 16; i += 16) {
			__m128i v = load(p + i);
			found = _mm_or_si128(found, which_are_not(v));
			_mm_storeu_si128((__m128i *)(void *)(to + i), v);
		}
		_mm_storeu_si128((__m128i *)(void *)(to + len - 16), last);
		return _mm_movemask_epi8(found) == 0;
	}
#endif
	memcpy(to, p, len);
	return skip_plain(p, p + len) == p + len;
}

/* Eight bytes at once while they are ASCII. */
int
json_is_utf8(const char *p, size_t len)
{
	const char *rest = skip_plain(p, p + len);
	len -= (size_t)(rest - p);
	p = rest;
	while (len > 0) {
		uint64_t eight;
		if (len >= sizeof eight) {
			memcpy(&eight, p, sizeof eight);
			if ((eight & UINT64_C(0x8080808080808080)) == 0) {
				p += sizeof eight;
				len -= sizeof eight;
				continue;
			}
		}
		size_t n = utf8_length((const unsigned char *)p, len);
		if (n == 0)
			return 0;
		p += n;
		len -= n;
	}
	return 1;
}

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The four digits behind \u; -1 if they are none. */
static int
hex4(const char *p, const char *end)
{
	int v = 0;
	if (end - p < 4)
		return -1;
	for (int i = 0; i < 4; i++) {
		int d = hex_digit(p[i]);
		if (d < 0)
			return -1;
		v = v * 16 + d;
	}
	return v;
}

/* How long the escape at the backslash is: 2, 6, 12 for a pair of surrogates, 0 = malformed. */
static size_t
escape_length(const char *p, const char *end)
{
	if (end - p < 2)
		return 0;
	if (p[1] != 'u')
		return p[1] != '\0' && strchr("\"\\/bfnrt", p[1]) != NULL ? 2 : 0;
	int high = hex4(p + 2, end);
	if (high < 0xd800 || high > 0xdfff)
		return high < 0 ? 0 : 6;
	if (high > 0xdbff || end - p < 12 || p[6] != '\\' || p[7] != 'u')
		return 0;
	int low = hex4(p + 8, end);
	return low >= 0xdc00 && low <= 0xdfff ? 12 : 0;
}

int
json_take_string(struct json_reader *r, struct json_slice *ret_slice)
{
	int is_ascii = 1;
	if (!json_take(r, '"'))
		return json_fail(r, "a string is expected");
	*ret_slice = (struct json_slice){.p = r->p};
	for (;;) {
		r->p = skip_plain(r->p, r->end);
		if (r->p == r->end || *r->p == '"')
			break;
		unsigned char c = (unsigned char)*r->p;
		if (c < 0x20)
			return json_fail(r, "a control character in a string");
		is_ascii &= c < 0x80;
		if (c != '\\') {
			r->p++;
			continue;
		}
		size_t n = escape_length(r->p, r->end);
		if (n == 0)
			return json_fail(r, "a malformed escape in a string");
		ret_slice->has_escapes = 1;
		r->p += n;
	}
	ret_slice->len = (size_t)(r->p - ret_slice->p);
	if (r->p == r->end)
		return json_fail(r, "a string without an end");
	if (!is_ascii && !json_is_utf8(ret_slice->p, ret_slice->len))
		return json_fail(r, "a string that is not UTF-8");
	r->p++;
	return 1;
}

static size_t
digits(struct json_reader *r)
{
	size_t n = 0;
	while (r->p < r->end && *r->p >= '0' && *r->p <= '9') {
		r->p++;
		n++;
	}
	return n;
}

static int
skip_number(struct json_reader *r)
{
	if (r->p < r->end && *r->p == '-')
		r->p++;
	const char *first = r->p;
	size_t n = digits(r);
	if (n == 0 || (n > 1 && *first == '0'))
		return json_fail(r, "a malformed number");
	if (r->p < r->end && *r->p == '.') {
		r->p++;
		if (digits(r) == 0)
			return json_fail(r, "a malformed number");
	}
	if (r->p < r->end && (*r->p == 'e' || *r->p == 'E')) {
		r->p++;
		if (r->p < r->end && (*r->p == '+' || *r->p == '-'))
			r->p++;
		if (digits(r) == 0)
			return json_fail(r, "a malformed number");
	}
	return 1;
}

static int
skip_word(struct json_reader *r, const char *word)
{
	size_t n = strlen(word);
	if ((size_t)(r->end - r->p) < n || memcmp(r->p, word, n) != 0)
		return json_fail(r, "no JSON value");
	r->p += n;
	return 1;
}

static int skip_value(struct json_reader *r, int depth);

static int
skip_members(struct json_reader *r, int depth, char close)
{
	struct json_slice name;
	r->p++;
	if (depth == DEPTH_MAX)
		return json_fail(r, "nested too deeply");
	if (json_take(r, close))
		return 1;
	do {
		if (close == '}' && (!json_take_string(r, &name) ||
					    (!json_take(r, ':') && !json_fail(r, "no ':'"))))
			return 0;
		if (!skip_value(r, depth + 1))
			return 0;
	} while (json_take(r, ','));
	return json_take(r, close) ? 1 : json_fail(r, "an object or array without an end");
}

static int
skip_value(struct json_reader *r, int depth)
{
	struct json_slice s;
	json_skip_space(r);
	if (r->p == r->end)
		return json_fail(r, "a value is missing");
	switch (*r->p) {
	case '{':
		return skip_members(r, depth, '}');
	case '[':
		return skip_members(r, depth, ']');
	case '"':
		return json_take_string(r, &s);
	case 't':
		return skip_word(r, "true");
	case 'f':
		return skip_word(r, "false");
	case 'n':
		return skip_word(r, "null");
	default:
		return skip_number(r);
	}
}

int
json_take_value(struct json_reader *r, struct json_slice *ret_slice)
{
	json_skip_space(r);
	*ret_slice = (struct json_slice){.p = r->p};
	if (!skip_value(r, 0))
		return 0;
	ret_slice->len = (size_t)(r->p - ret_slice->p);
	return 1;
}

int
json_take_integer(struct json_reader *r, int64_t *ret_n)
{
	json_skip_space(r);
	int negative = r->p < r->end && *r->p == '-';
	int64_t n = 0;
	if (negative)
		r->p++;
	const char *first = r->p;
	size_t count = digits(r);
	if (count == 0 || count > 18 || (count > 1 && *first == '0'))
		return json_fail(r, "a whole number is expected");
	for (size_t i = 0; i < count; i++)
		n = n * 10 + (first[i] - '0');
	*ret_n = negative ? -n : n;
	return 1;
}

int
json_take_null(struct json_reader *r)
{
	json_skip_space(r);
	if (r->end - r->p < 4 || memcmp(r->p, "null", 4) != 0)
		return 0;
	r->p += 4;
	return 1;
}

static char *
put_utf8(char *to, unsigned v)
{
	if (v < 0x80) {
		*to++ = (char)v;
		return to;
	}
	int more = v < 0x800 ? 1 : v < 0x10000 ? 2 : 3;
	static const unsigned lead[] = {0, 0xc0, 0xe0, 0xf0};
	*to++ = (char)(lead[more] | (v >> (6 * more)));
	while (more-- > 0)
		*to++ = (char)(0x80 | ((v >> (6 * more)) & 0x3f));
	return to;
}

static char *
put_escape(char *to, const char *p, const char *end, size_t n)
{
	static const char from[] = "\"\\/bfnrt", is[] = "\"\\/\b\f\n\r\t";
	if (n == 2) {
		*to = is[strchr(from, p[1]) - from];
		return to + 1;
	}
	unsigned v = (unsigned)hex4(p + 2, end);
	if (n == 12)
		v = 0x10000 + ((v - 0xd800) << 10) + ((unsigned)hex4(p + 8, end) - 0xdc00);
	return put_utf8(to, v);
}

size_t
json_unescape(const struct json_slice *s, char *to)
{
	const char *p = s->p, *end = s->p + s->len;
	char *begin = to;
	if (!s->has_escapes) {
		memcpy(to, p, s->len);
		return s->len;
	}
	while (p < end) {
		if (*p != '\\') {
			*to++ = *p++;
			continue;
		}
		size_t n = escape_length(p, end);
		to = put_escape(to, p, end, n);
		p += n;
	}
	return (size_t)(to - begin);
}

int
json_is_document(const char *p, size_t len)
{
	struct json_reader r = {p, p + len, NULL};
	struct json_slice s;
	if (!json_take_value(&r, &s))
		return 0;
	json_skip_space(&r);
	return r.p == r.end;
}

/* What stands behind the backslash; 0 = nothing special, 'u' = by number. */
static const char escapes[256] = {['"'] = '"',
	['\\'] = '\\',
	['\b'] = 'b',
	['\f'] = 'f',
	['\n'] = 'n',
	['\r'] = 'r',
	['\t'] = 't',
	[0] = 'u',
	[1] = 'u',
	[2] = 'u',
	[3] = 'u',
	[4] = 'u',
	[5] = 'u',
	[6] = 'u',
	[7] = 'u',
	[11] = 'u',
	[14] = 'u',
	[15] = 'u',
	[16] = 'u',
	[17] = 'u',
	[18] = 'u',
	[19] = 'u',
	[20] = 'u',
	[21] = 'u',
	[22] = 'u',
	[23] = 'u',
	[24] = 'u',
	[25] = 'u',
	[26] = 'u',
	[27] = 'u',
	[28] = 'u',
	[29] = 'u',
	[30] = 'u',
	[31] = 'u'};

char *
json_escape(char *to, const char *text, size_t len)
{
	static const char hex[] = "0123456789abcdef";
	const char *end = text + len;
	for (;; text++) {
		size_t n = (size_t)(skip_plain(text, end) - text);
		memcpy(to, text, n);
		to += n;
		text += n;
		if (text == end)
			break;
		unsigned char c = (unsigned char)*text;
		char e = escapes[c];
		if (e == 0) {
			*to++ = (char)c;
			continue;
		}
		*to++ = '\\';
		*to++ = e;
		if (e != 'u')
			continue;
		*to++ = '0';
		*to++ = '0';
		*to++ = hex[c >> 4];
		*to++ = hex[c & 15];
	}
	return to;
}

size_t
json_base64_bytes(size_t len)
{
	return (len + 2) / 3 * 4;
}

char *
json_base64_encode(char *to, const unsigned char *from, size_t len)
{
	static const char set[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	for (size_t i = 0; i < len; i += 3) {
		size_t n = len - i < 3 ? len - i : 3;
		unsigned v = (unsigned)from[i] << 16;
		v |= n > 1 ? (unsigned)from[i + 1] << 8 : 0;
		v |= n > 2 ? from[i + 2] : 0;
		*to++ = set[v >> 18];
		*to++ = set[(v >> 12) & 63];
		*to++ = n > 1 ? set[(v >> 6) & 63] : '=';
		*to++ = n > 2 ? set[v & 63] : '=';
	}
	return to;
}

static int
base64_digit(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

int64_t
json_base64_decode(char *to, const char *from, size_t len)
{
	char *begin = to;
	if (len % 4 != 0)
		return -1;
	for (size_t i = 0; i < len; i += 4) {
		int last = i + 4 == len;
		size_t pads = last ? (size_t)(from[i + 3] == '=') + (from[i + 2] == '=') : 0;
		unsigned v = 0;
		for (size_t k = 0; k < 4; k++) {
			int d = k >= 4 - pads ? 0 : base64_digit(from[i + k]);
			if (d < 0)
				return -1;
			v = v << 6 | (unsigned)d;
		}
		if ((pads > 0 && (v & 0xff)) || (pads > 1 && (v & 0xffff)))
			return -1;
		*to++ = (char)(v >> 16);
		if (pads < 2)
			*to++ = (char)(v >> 8);
		if (pads < 1)
			*to++ = (char)v;
	}
	return to - begin;
}
