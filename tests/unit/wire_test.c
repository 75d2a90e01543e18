/* The wire room: content types, the commit tuple, paths into JSON. */
#include "test.h"

#include "base/json_path.h"
#include "base/utf8.h"
#include "wire/checkpoint.h"
#include "wire/content_type.h"
#include "wire/tuple.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void
test_content_types_match_as_the_rfc_says(void **state)
{
	(void)state;
	static const struct {
		const char *expected, *actual;
		int matches;
	} cases[] = {
		{"application/json", "application/json", 1},
		{"application/json", "Application/JSON", 1},
		{"application/json", "application/json; charset=utf-8", 1},
		{"application/json;v=1", "application/json", 1},
		{"application/json", " application/json", 1},
		{"application/json", "application/vnd.riffle.order+json", 1},
		{"application/vnd.riffle.order+json", "application/json", 0},
		{"application/*+json", "application/vnd.x+json", 1},
		{"application/*+json", "application/vnd.x+xml", 0},
		{"application/*", "application/cbor", 1},
		{"application/*", "text/plain", 0},
		{"*/*", "text/plain", 1},
		{"text/plain", "text/html", 0},
		{"text/plain", "text/plainer", 0},
		{"text/json", "application/json", 0},
		{"application/json", "application", 0},
		{"application/json", "application/json/x", 0},
		{"application/json", "", 0},
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		if (rfl_content_type_matches(cases[i].expected, cases[i].actual) !=
			cases[i].matches)
			fail_msg("\"%s\" and \"%s\"", cases[i].expected, cases[i].actual);
}

static void
test_content_type_syntax(void **state)
{
	(void)state;
	assert_true(rfl_content_type_valid("application/json"));
	assert_true(rfl_content_type_valid("text/plain; charset=\"utf-8\""));
	assert_true(rfl_content_type_valid("application/*+json"));
	assert_false(rfl_content_type_valid("application"));
	assert_false(rfl_content_type_valid("/json"));
	assert_false(rfl_content_type_valid("application/"));
	assert_false(rfl_content_type_valid("application/js on"));
	assert_false(rfl_content_type_valid("appl\xc3\xa4/json"));
}

static const struct rfl_tuple sample = {
	.flags = 0,
	.seq = 0x01020304,
	.settings = UINT64_C(0x1122334455667788),
	.hw = 123456789012,
	.frontier_ms = RFL_TUPLE_UNSET,
	.time_ms = -1,
};

static void
test_tuple_round_trip(void **state)
{
	(void)state;
	char text[RFL_TUPLE_TEXT + 1];
	struct rfl_tuple back;
	struct riffle_error err = {0};
	rfl_tuple_encode(&sample, text);
	assert_int_equal(strlen(text), RFL_TUPLE_TEXT);
	const struct riffle_bytes bytes = {text, RFL_TUPLE_TEXT};
	assert_int_equal(rfl_tuple_decode(bytes, &back, &err), RIFFLE_OK);
	assert_int_equal(back.seq, sample.seq);
	assert_true(back.settings == sample.settings);
	assert_true(back.hw == sample.hw && back.time_ms == -1);
	assert_true(back.frontier_ms == INT64_MIN);
}

/* The layout is a promise to every position that was ever committed. */
static void
test_tuple_layout_is_fixed(void **state)
{
	(void)state;
	char text[RFL_TUPLE_TEXT + 1];
	rfl_tuple_encode(&sample, text);
	assert_string_equal(
		text, "UmYBAAQDAgGId2ZVRDMiERQamb4cAAAAAAAAAAAAAID//////////wAAAABuT2Gb");
}

static void
test_tuple_refuses_what_is_not_one(void **state)
{
	(void)state;
	char text[RFL_TUPLE_TEXT + 1];
	struct rfl_tuple back = {.seq = 77};
	struct riffle_error err = {0};
	rfl_tuple_encode(&sample, text);
	for (size_t i = 0; i < RFL_TUPLE_TEXT; i++) {
		char damaged[RFL_TUPLE_TEXT + 1];
		memcpy(damaged, text, sizeof damaged);
		damaged[i] = damaged[i] == 'A' ? 'B' : 'A';
		const struct riffle_bytes bytes = {damaged, RFL_TUPLE_TEXT};
		assert_int_equal(rfl_tuple_decode(bytes, &back, &err), RIFFLE_E_DATA);
	}
	assert_int_equal(
		rfl_tuple_decode((struct riffle_bytes){text, 63}, &back, &err), RIFFLE_E_DATA);
	text[5] = '\0';
	assert_int_equal(
		rfl_tuple_decode((struct riffle_bytes){text, 64}, &back, &err), RIFFLE_E_DATA);
	assert_int_equal(back.seq, 77);
}

static size_t
write_set(struct rfl_open_set *set, const struct rfl_run *runs, size_t count, char *text)
{
	struct rfl_tuple t = sample;
	t.flags = RFL_TUPLE_OPEN_SET;
	for (size_t i = 0; i < count; i++)
		assert_int_equal(rfl_open_set_add(set, runs[i].first, runs[i].end), 1);
	rfl_tuple_encode(&t, text);
	return rfl_open_set_encode(set, text);
}

static void
test_open_set_round_trip(void **state)
{
	(void)state;
	static const struct rfl_run runs[] = {
		{7, 8}, {9, 300}, {INT64_C(1) << 40, INT64_C(1) << 41}};
	static char text[RFL_POSITION_TEXT_MAX + 1];
	struct rfl_open_set set = RFL_OPEN_SET_INIT;
	struct rfl_run *back;
	struct rfl_tuple t;
	struct riffle_error err = {0};
	for (size_t count = 0; count <= 3; count++) {
		rfl_open_set_begin(&set, 7, rfl_open_set_room(RFL_POSITION_TEXT_MAX));
		size_t n, len = write_set(&set, runs, count, text);
		const struct riffle_bytes bytes = {text, len};
		assert_int_equal(strlen(text), len);
		assert_int_equal(rfl_tuple_decode(bytes, &t, &err), RIFFLE_OK);
		assert_true(t.flags == RFL_TUPLE_OPEN_SET && t.hw == sample.hw);
		assert_int_equal(rfl_open_set_decode(bytes, 7, INT64_C(1) << 41, &back, &n, &err),
			RIFFLE_OK);
		assert_int_equal(n, count);
		assert_true(n == 0 || memcmp(back, runs, n * sizeof *runs) == 0);
		free(back);
	}
	rfl_open_set_fini(&set);
}

static void
test_open_set_refuses_what_is_not_one(void **state)
{
	(void)state;
	static const struct rfl_run runs[] = {{7, 8}, {9, 300}};
	char text[RFL_TUPLE_TEXT + 64], damaged[RFL_TUPLE_TEXT + 64];
	struct rfl_open_set set = RFL_OPEN_SET_INIT;
	struct rfl_run *back;
	struct rfl_tuple t;
	struct riffle_error err = {0};
	rfl_open_set_begin(&set, 7, rfl_open_set_room(RFL_POSITION_TEXT_MAX));
	size_t n, len = write_set(&set, runs, 2, text);
	for (size_t i = 0; i < len; i++) {
		memcpy(damaged, text, len);
		damaged[i] = damaged[i] == 'A' ? 'B' : 'A';
		const struct riffle_bytes bytes = {damaged, len};
		assert_int_equal(
			rfl_open_set_decode(bytes, 7, 300, &back, &n, &err), RIFFLE_E_DATA);
		assert_null(back);
	}
	const struct riffle_bytes bytes = {text, len};
	/* Outside of what was read. */
	assert_int_equal(rfl_open_set_decode(bytes, 7, 299, &back, &n, &err), RIFFLE_E_DATA);
	assert_int_equal(rfl_open_set_decode(bytes, 8, 300, &back, &n, &err), RIFFLE_E_DATA);
	assert_int_equal(rfl_open_set_decode((struct riffle_bytes){text, RFL_TUPLE_TEXT}, 7, 300,
				 &back, &n, &err),
		RIFFLE_E_DATA);
	/* A tuple that does not announce it has nothing behind it. */
	rfl_tuple_encode(&sample, damaged);
	memcpy(damaged + RFL_TUPLE_TEXT, text + RFL_TUPLE_TEXT, len - RFL_TUPLE_TEXT);
	assert_int_equal(
		rfl_tuple_decode((struct riffle_bytes){damaged, len}, &t, &err), RIFFLE_E_DATA);
	rfl_open_set_fini(&set);
}

/* The value for a tuple with this number, of the runs {7, 8}, {9, 300}. */
static struct rfl_buf
value_of(uint32_t seq, int64_t low, char *position)
{
	struct rfl_buf value = RFL_BUF_INIT;
	struct rfl_open_set set = RFL_OPEN_SET_INIT;
	struct rfl_tuple t = sample;
	t.flags = RFL_TUPLE_CHECKPOINT;
	t.seq = seq;
	rfl_tuple_encode(&t, position);
	rfl_open_set_begin(&set, low, 100);
	assert_int_equal(rfl_open_set_add(&set, 7, 8), 1);
	assert_int_equal(rfl_open_set_add(&set, 9, 300), 1);
	rfl_checkpoint_encode(position, low, &set, &value);
	rfl_open_set_fini(&set);
	return value;
}

static void
test_checkpoint_round_trip(void **state)
{
	(void)state;
	char position[RFL_TUPLE_TEXT + 1];
	struct rfl_run *back;
	size_t n;
	struct riffle_error err = {0};
	struct rfl_buf value = value_of(77, 7, position);
	const struct riffle_bytes at = {position, RFL_TUPLE_TEXT}, bytes = {value.data, value.len};
	assert_int_equal(value.len, RFL_CHECKPOINT_BYTES + 5);
	assert_int_equal(rfl_checkpoint_decode(bytes, at, 7, 300, &back, &n, &err), RIFFLE_OK);
	assert_true(n == 2 && back[0].first == 7 && back[0].end == 8 && back[1].first == 9 &&
		    back[1].end == 300);
	free(back);
	rfl_buf_fini(&value);
	char *key = rfl_checkpoint_key("default.x", "default_in", 3);
	assert_string_equal(key, "default.x/default_in/3");
	free(key);
}

static void
test_checkpoint_refuses_what_is_not_its(void **state)
{
	(void)state;
	char position[RFL_TUPLE_TEXT + 1], other[RFL_TUPLE_TEXT + 1];
	struct rfl_run *back;
	size_t n;
	struct riffle_error err = {0};
	struct rfl_buf value = value_of(77, 7, position), next = value_of(78, 7, other);
	const struct riffle_bytes at = {position, RFL_TUPLE_TEXT}, bytes = {value.data, value.len};
	for (size_t i = 0; i < value.len; i++) {
		value.data[i] ^= 1;
		assert_int_equal(
			rfl_checkpoint_decode(bytes, at, 7, 300, &back, &n, &err), RIFFLE_E_DATA);
		assert_null(back);
		value.data[i] ^= 1;
		assert_int_equal(rfl_checkpoint_decode((struct riffle_bytes){value.data, i}, at, 7,
					 300, &back, &n, &err),
			RIFFLE_E_DATA);
	}
	assert_non_null(strstr(err.text, "damaged"));
	assert_int_equal(rfl_checkpoint_decode(bytes, at, 6, 300, &back, &n, &err), RIFFLE_E_DATA);
	assert_int_equal(rfl_checkpoint_decode(bytes, at, 7, 299, &back, &n, &err), RIFFLE_E_DATA);
	assert_string_equal(
		err.text, "it is not of the offsets from 7 to 299 that the position names");
	assert_int_equal(rfl_checkpoint_decode((struct riffle_bytes){next.data, next.len}, at, 7,
				 300, &back, &n, &err),
		RIFFLE_E_DATA);
	assert_string_equal(err.text, "it is of commit 78, and the position of commit 77");
	rfl_buf_fini(&value);
	rfl_buf_fini(&next);
}

static void
test_open_set_keeps_to_its_room(void **state)
{
	(void)state;
	static char text[RFL_POSITION_TEXT_MAX + 1];
	for (size_t most = RFL_TUPLE_TEXT; most <= RFL_POSITION_TEXT_MAX; most += 61) {
		struct rfl_open_set set = RFL_OPEN_SET_INIT;
		int64_t at = 0;
		rfl_open_set_begin(&set, 0, rfl_open_set_room(most));
		while (rfl_open_set_add(&set, at + 1, at + 2))
			at += 2;
		size_t len = write_set(&set, NULL, 0, text);
		assert_true(len <= most || set.bytes.len == 0);
		assert_true(len + 16 > most);
		rfl_open_set_fini(&set);
	}
}

static struct rfl_json_path *
path_of(const char *text)
{
	struct rfl_json_path *p = NULL;
	struct riffle_error err = {0};
	if (rfl_json_path_create(text, &p, &err) != RIFFLE_OK)
		fail_msg("%s", err.text);
	return p;
}

static struct riffle_bytes
bytes_of(const char *s)
{
	return (struct riffle_bytes){s, strlen(s)};
}

static void
test_json_paths(void **state)
{
	(void)state;
	static const struct {
		const char *path, *document, *expected; /* expected NULL = not there */
		enum rfl_json_kind kind;
	} cases[] = {
		{"a", "{\"a\":\"x\"}", "x", RFL_JSON_STRING},
		{"$.a", " {\"b\" : 1 , \"a\" : \"x\" } ", "x", RFL_JSON_STRING},
		{"$", "\"x\"", "x", RFL_JSON_STRING},
		{"$", " [1, 2] ", "[1, 2]", RFL_JSON_ARRAY},
		{"a.b.c", "{\"a\":{\"b\":{\"c\":-1.5e+3}}}", "-1.5e+3", RFL_JSON_NUMBER},
		{"a[0]", "{\"a\":[true,false]}", "true", RFL_JSON_TRUE},
		{"a[1]", "{\"a\":[true,false]}", "false", RFL_JSON_FALSE},
		{"a[2]", "{\"a\":[true,false]}", NULL, RFL_JSON_NULL},
		{"$[1][0].x", "[1,[{\"x\":null}]]", "null", RFL_JSON_NULL},
		{"$['a b'][\"c'd\"]", "{\"a b\":{\"c'd\":0}}", "0", RFL_JSON_NUMBER},
		{"$['it\\'s']", "{\"it's\":1}", "1", RFL_JSON_NUMBER},
		{"$['\\u00fc\\n']", "{\"\xc3\xbc\\n\":1}", "1", RFL_JSON_NUMBER},
		{"\xc3\xbc", "{\"\\u00FC\":1}", "1", RFL_JSON_NUMBER},
		{"$['\\u0000x']", "{\"\\u0000y\":0,\"\\u0000x\":1}", "1", RFL_JSON_NUMBER},
		{"$['']", "{\"\":1}", "1", RFL_JSON_NUMBER},
		{"a-b_1", "{\"a-b_1\":{}}", "{}", RFL_JSON_OBJECT},
		{"a", "{\"A\":1}", NULL, RFL_JSON_NULL},
		{"a.b", "{\"a\":1}", NULL, RFL_JSON_NULL},
		{"a.b", "{\"a\":[{\"b\":1}]}", NULL, RFL_JSON_NULL},
		{"a[0]", "{\"a\":{\"0\":1}}", NULL, RFL_JSON_NULL},
		{"b", "{\"a\":{\"b\":1}}", NULL, RFL_JSON_NULL},
		{"a", "{\"ab\":1}", NULL, RFL_JSON_NULL},
		{"ab", "{\"a\":1}", NULL, RFL_JSON_NULL},
		{"ab", "{\"\\u0061\":1}", NULL, RFL_JSON_NULL},
		{"a", "{\"\\u0061b\":1}", NULL, RFL_JSON_NULL},
		{"a", "{\"a\":1,\"a\":2}", "2", RFL_JSON_NUMBER},
		{"a.b", "{\"a\":{\"b\":1},\"a\":{\"c\":2}}", NULL, RFL_JSON_NULL},
		{"a", "{\"a\":\"\\u00e4\\ud83d\\ude00\\\"\\\\\\/\\b\\f\\n\\r\\t\"}",
			"\xc3\xa4\xf0\x9f\x98\x80\"\\/\b\f\n\r\t", RFL_JSON_STRING},
		{"a", "{\"a\":\"\"}", "", RFL_JSON_STRING},
	};
	struct rfl_buf buf = RFL_BUF_INIT;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct rfl_json_path *p = path_of(cases[i].path);
		struct rfl_json_value v;
		struct riffle_error err = {0};
		int rc = rfl_json_path_find(p, bytes_of(cases[i].document), &v, &err);
		if (rc != (cases[i].expected != NULL))
			fail_msg("%s in %s: %d %s", cases[i].path, cases[i].document, rc, err.text);
		rfl_json_path_destroy(p);
		if (rc == 0)
			continue;
		struct riffle_bytes text = rfl_json_text(&v, &buf);
		assert_int_equal(v.kind, cases[i].kind);
		assert_int_equal(text.len, strlen(cases[i].expected));
		assert_memory_equal(text.ptr, cases[i].expected, text.len);
	}
	rfl_buf_fini(&buf);
	assert_string_equal(rfl_json_kind_name(RFL_JSON_OBJECT), "an object");
}

static void
test_json_paths_that_are_none(void **state)
{
	(void)state;
	static const struct {
		const char *path, *text;
	} cases[] = {
		{"", "character 1: it is empty"},
		{"/a/b", "character 1: this is no JSON pointer: write /a/b as a.b"},
		{".a", "character 1: a name is expected"},
		{"a.", "character 3: a name is expected"},
		{"a..b", "character 3: a name is expected"},
		{"a.0", "character 3: a name is expected"},
		{"$a", "character 2: a step begins with . or ["},
		{"a b", "character 2: a step begins with . or ["},
		{"a[", "character 3: [ is followed by"},
		{"a[-1]", "character 3: [ is followed by"},
		{"a[*]", "character 3: [ is followed by"},
		{"a[b]", "character 3: [ is followed by"},
		{"a[01]", "without leading zeros"},
		{"a[2147483648]", "from 0 to 2147483647"},
		{"a[99999999999999999999999]", "from 0 to 2147483647"},
		{"a[1", "character 4: a ] is expected"},
		{"a['b]", "character 6: the quote is not closed"},
		{"a['b'", "character 6: a ] is expected"},
		{"a['\\x']", "character 4: no such escape"},
		{"a['\\ud800']", "character 4: no such escape"},
		{"a\xff", "it is not UTF-8"},
		{"$[0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0]["
		 "0][0][0][0][0][0][0]",
			"at most 32 steps"},
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct rfl_json_path *p = NULL;
		struct riffle_error err = {0};
		assert_int_equal(rfl_json_path_create(cases[i].path, &p, &err), RIFFLE_E_CONFIG);
		if (strstr(err.text, cases[i].text) == NULL)
			fail_msg("%s: %s", cases[i].path, err.text);
	}
}

static void
test_what_is_not_json_is_found_everywhere(void **state)
{
	(void)state;
	static const struct {
		const char *document, *text;
	} cases[] = {
		{"", "byte 0: a value is expected"},
		{"{\"a\":1}}", "byte 7: the document has ended"},
		{"{\"a\":1,}", "byte 7: a name in quotes"},
		{"{\"a\":1", "byte 6: a comma or } is expected"},
		{"{\"a\" 1}", "byte 5: a colon"},
		{"{\"a\":}", "byte 5: a value"},
		{"[1,]", "byte 3: a value"},
		{"[1 2]", "byte 3: a comma or ]"},
		{"{\"a\":1,\"b\":nul}", "byte 11: a value"},
		{"{\"a\":1,\"b\":01}", "not a number"},
		{"{\"a\":1,\"b\":-}", "not a number"},
		{"{\"a\":1,\"b\":1.}", "a digit"},
		{"{\"a\":1,\"b\":1e}", "a digit"},
		{"{\"a\":1,\"b\":+1}", "a value"},
		{"{\"a\":1,\"b\":\"\t\"}", "a control character"},
		{"{\"a\":1,\"b\":\"\\x\"}", "no such escape"},
		{"{\"a\":1,\"b\":\"\\'\"}", "no such escape"},
		{"{\"a\":1,\"b\":\"\\ud800\"}", "no such escape"},
		{"{\"a\":1,\"b\":\"\\udc00\"}", "no such escape"},
		{"{\"a\":1,\"b\":\"\\ud800\\u0041\"}", "no such escape"},
		{"{\"a\":1,\"b\":\"\xc0\x80\"}", "not UTF-8"},
		{"{\"a\":1,\"b\":\"\xed\xa0\x80\"}", "not UTF-8"},
		{"{\"a\":1,\"b\":\"\xf4\x90\x80\x80\"}", "not UTF-8"},
		{"{\"a\":1,\"b\":\"\xe4\xb8\"}", "not UTF-8"},
		{"{\"a\":1,\"b\":\"x", "a string without its end"},
		{"\xef\xbb\xbf{\"a\":1}", "byte 0: a value"},
	};
	struct rfl_json_path *p = path_of("a");
	struct rfl_json_value v = {.kind = RFL_JSON_ARRAY};
	struct riffle_error err = {0};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		/* In a block of its own size, so that a sanitizer sees a byte read past it. */
		size_t len = strlen(cases[i].document);
		char *exact = malloc(len + (len == 0));
		memcpy(exact, cases[i].document, len);
		int rc = rfl_json_path_find(p, (struct riffle_bytes){exact, len}, &v, &err);
		free(exact);
		if (rc != RIFFLE_E_DATA || strstr(err.text, cases[i].text) == NULL)
			fail_msg("%s: %d %s", cases[i].document, rc, err.text);
	}
	assert_int_equal(
		rfl_json_path_find(p, (struct riffle_bytes){NULL, 0}, &v, &err), RIFFLE_E_DATA);
	assert_int_equal(v.kind, RFL_JSON_ARRAY);
	rfl_json_path_destroy(p);
}

static void
test_json_depth_is_bounded(void **state)
{
	char text[2 * RFL_JSON_DEPTH + 8];
	struct rfl_json_path *p = path_of("$");
	struct rfl_json_value v;
	struct riffle_error err = {0};
	(void)state;
	for (size_t depth = RFL_JSON_DEPTH; depth < RFL_JSON_DEPTH + 2; depth++) {
		memset(text, '[', depth);
		memset(text + depth, ']', depth);
		int rc = rfl_json_path_find(p, (struct riffle_bytes){text, 2 * depth}, &v, &err);
		assert_int_equal(rc, depth == RFL_JSON_DEPTH ? 1 : RIFFLE_E_DATA);
	}
	assert_non_null(strstr(err.text, "nested too deep"));
	rfl_json_path_destroy(p);
}

/* A random document, mostly sound, over few names so that paths meet something. */
static void
random_string(struct rfl_buf *b)
{
	static const char *const parts[] = {"a", "b", "\\u0061", "\\n", "\xc3\xa4",
		"\\ud83d\\ude00", "\\\\", "\\\"", " ", "\xe2\x82\xac", "\\u00e4"};
	rfl_buf_putc(b, '"');
	for (int n = rand() % 3; n > 0; n--)
		rfl_buf_puts(b, parts[rand() % 11]);
	rfl_buf_putc(b, '"');
}

static void
random_value(struct rfl_buf *b, int depth)
{
	static const char *const words[] = {
		"null", "true", "false", "0", "-0", "12", "-3.25", "1e2", "1E-2"};
	int kind = rand() % (depth > 0 ? 4 : 2);
	if (kind == 0)
		rfl_buf_puts(b, words[rand() % 9]);
	else if (kind == 1)
		random_string(b);
	if (kind < 2)
		return;
	rfl_buf_putc(b, kind == 2 ? '{' : '[');
	for (int i = 0, n = rand() % 4; i < n; i++) {
		rfl_buf_puts(b, i > 0 ? rand() % 2 ? "," : " , " : "");
		if (kind == 2) {
			random_string(b);
			rfl_buf_puts(b, rand() % 2 ? ":" : "\t: ");
		}
		random_value(b, depth - 1);
	}
	rfl_buf_putc(b, kind == 2 ? '}' : ']');
}

static void
spoil(struct rfl_buf *b)
{
	static const char bytes[] = "{}[]\",:\\u0a1e-.\t \xff\xc3";
	if (b->len == 0)
		return;
	size_t at = (size_t)rand() % b->len;
	if (rand() % 2)
		b->data[at] = bytes[(size_t)rand() % (sizeof bytes - 1)];
	else
		b->len = at;
}

/* Steps of a path, as jansson walks them. */
static const json_t *
walk(const json_t *from, const int *steps, int count)
{
	static const char *const names[] = {"a", "b", "\xc3\xa4", "ab"};
	for (int i = 0; i < count && from != NULL; i++)
		from = steps[i] < 4 ? json_object_get(from, names[steps[i]])
				    : json_array_get(from, (size_t)steps[i] - 4);
	return from;
}

static void
compare(const struct rfl_json_value *v, const json_t *expected, struct rfl_buf *buf)
{
	static const json_type types[] = {JSON_NULL, JSON_FALSE, JSON_TRUE, JSON_INTEGER,
		JSON_STRING, JSON_ARRAY, JSON_OBJECT};
	struct riffle_bytes text = rfl_json_text(v, buf);
	if (v->kind == RFL_JSON_NUMBER) {
		char number[64];
		snprintf(number, sizeof number, "%.*s", (int)text.len, (const char *)text.ptr);
		assert_true(strtod(number, NULL) == json_number_value(expected));
		return;
	}
	assert_int_equal(types[v->kind], json_typeof(expected));
	if (v->kind == RFL_JSON_STRING) {
		assert_int_equal(text.len, json_string_length(expected));
		assert_memory_equal(text.ptr, json_string_value(expected), text.len);
	} else {
		json_t *again =
			json_loadb(text.ptr, text.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
		assert_true(json_equal(again, expected));
		json_decref(again);
	}
}

static int
judged_alike(const struct rfl_buf *document, struct rfl_buf *scratch, int *met)
{
	static const char *const written[] = {
		"['a']", "[\"b\"]", "['\\u00e4']", ".ab", "[0]", "[1]", "[2]"};
	char text[128] = "$";
	int steps[3], count = rand() % 4;
	json_error_t why;
	struct riffle_error err = {0};
	struct rfl_json_value v;
	json_t *all =
		json_loadb(document->data, document->len, JSON_DECODE_ANY | JSON_ALLOW_NUL, &why);
	if (all == NULL && (json_error_code(&why) == json_error_numeric_overflow ||
				   json_error_code(&why) == json_error_null_byte_in_key))
		return 1;
	for (int i = 0; i < count; i++) {
		steps[i] = rand() % 7;
		strcat(text, written[steps[i]]);
	}
	struct rfl_json_path *p = path_of(text);
	/* In a block of its own size, so that a sanitizer sees a byte read past it. */
	char *exact = malloc(document->len + (document->len == 0));
	memcpy(exact, document->data, document->len);
	int rc = rfl_json_path_find(p, (struct riffle_bytes){exact, document->len}, &v, &err);
	const json_t *expected = walk(all, steps, count);
	int alike = rc == (all == NULL ? RIFFLE_E_DATA : expected != NULL);
	if (!alike)
		print_error("%s in %.*s: %d, jansson %s\n", text, (int)document->len,
			document->data, rc, all ? "takes it" : why.text);
	if (alike && rc == 1)
		compare(&v, expected, scratch);
	met[rc < 0 ? 2 : rc]++;
	free(exact);
	rfl_json_path_destroy(p);
	json_decref(all);
	return alike;
}

static void
test_json_is_read_as_jansson_does(void **state)
{
	struct rfl_buf document = RFL_BUF_INIT, scratch = RFL_BUF_INIT;
	int met[3] = {0};
	const char *given = getenv("RIFFLE_SEED");
	unsigned seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);
	(void)state;
	srand(seed);
	for (int i = 0; i < 50000; i++) {
		rfl_buf_clear(&document);
		random_value(&document, 4);
		if (rand() % 3 == 0)
			spoil(&document);
		if (!judged_alike(&document, &scratch, met))
			fail_msg("RIFFLE_SEED=%u", seed);
	}
	/* Each of found, not there, not JSON was met often. */
	for (int i = 0; i < 3; i++)
		assert_true(met[i] > 1000);
	rfl_buf_fini(&document);
	rfl_buf_fini(&scratch);
}

/* All of Unicode, there and back, and nothing beside it. */
static void
test_utf8(void **state)
{
	char to[RFL_UTF8_MAX];
	unsigned good = 0;
	(void)state;
	for (uint32_t c = 0; c < 0x110000; c++) {
		if (c >= 0xd800 && c < 0xe000)
			continue;
		size_t n = rfl_utf8_put(c, to);
		const unsigned char *p = (const unsigned char *)to;
		assert_int_equal(rfl_utf8_len(p, p + n), n);
		assert_int_equal(n > 1 ? rfl_utf8_len(p, p + n - 1) : 0, 0);
	}
	for (uint32_t i = 0; i < 1u << 24; i++) {
		const unsigned char p[] = {
			(unsigned char)(i >> 16), (unsigned char)(i >> 8), (unsigned char)i};
		good += rfl_utf8_len(p, p + 3) == 3;
	}
	assert_int_equal(good, 0x10000 - 0x800 - 0x800); /* U+0800 to U+FFFF without surrogates */
	good = 0;
	for (uint32_t i = 0xf000; i < 0x10000; i++) {
		const unsigned char p[] = {(unsigned char)(i >> 8), (unsigned char)i, 0x80, 0x80};
		good += rfl_utf8_len(p, p + 4) == 4;
	}
	assert_int_equal(good, 0x100); /* U+10000 to U+10FFFF, one in 0x1000 */
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_content_types_match_as_the_rfc_says),
		cmocka_unit_test(test_content_type_syntax),
		cmocka_unit_test(test_tuple_round_trip),
		cmocka_unit_test(test_tuple_layout_is_fixed),
		cmocka_unit_test(test_tuple_refuses_what_is_not_one),
		cmocka_unit_test(test_open_set_round_trip),
		cmocka_unit_test(test_open_set_refuses_what_is_not_one),
		cmocka_unit_test(test_open_set_keeps_to_its_room),
		cmocka_unit_test(test_checkpoint_round_trip),
		cmocka_unit_test(test_checkpoint_refuses_what_is_not_its),
		cmocka_unit_test(test_json_paths),
		cmocka_unit_test(test_json_paths_that_are_none),
		cmocka_unit_test(test_what_is_not_json_is_found_everywhere),
		cmocka_unit_test(test_json_depth_is_bounded),
		cmocka_unit_test(test_json_is_read_as_jansson_does),
		cmocka_unit_test(test_utf8),
	};
	return RUN("wire", tests);
}
