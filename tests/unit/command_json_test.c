/* The text of the command invoker's json-lines: strings of every length, with every byte at every place. */
#include "test.h"

#include "command_json.h"

#include <stdlib.h>

#define LENGTH_MAX 70

/* A string that ends where its memory does, so that whoever reads past it is found. */
static char *
text_of(size_t len, size_t at, char c)
{
	char *s = malloc(len > 0 ? len : 1);
	assert_non_null(s);
	memset(s, 'a', len);
	if (at < len)
		s[at] = c;
	return s;
}

static void
there_and_back(const char *text, size_t len)
{
	char *line = malloc(6 * len + 2), *back = malloc(6 * len + 1);
	line[0] = '"';
	char *end = json_escape(line + 1, text, len);
	*end++ = '"';
	struct json_reader r = {line, end, NULL};
	struct json_slice s;
	assert_int_equal(json_take_string(&r, &s), 1);
	assert_ptr_equal(r.p, end);
	assert_int_equal(json_unescape(&s, back), len);
	assert_memory_equal(back, text, len);
	free(line);
	free(back);
}

static void
test_any_byte_at_any_place(void **state)
{
	(void)state;
	for (size_t len = 0; len <= LENGTH_MAX; len++)
		for (size_t at = 0; at < len || at == 0; at++)
			for (int c = 0; c < 0x80; c++) {
				char *s = text_of(len, at, (char)c);
				assert_int_equal(json_is_utf8(s, len), 1);
				there_and_back(s, len);
				free(s);
			}
}

static void
test_what_is_no_text_at_any_place(void **state)
{
	(void)state;
	for (size_t len = 1; len <= LENGTH_MAX; len++)
		for (size_t at = 0; at < len; at++) {
			char *s = text_of(len, at, (char)0xff);
			assert_int_equal(json_is_utf8(s, len), 0);
			free(s);
			s = text_of(len, at, (char)0xc3);
			if (at + 1 < len)
				s[at + 1] = (char)0xa9;
			assert_int_equal(json_is_utf8(s, len), at + 1 < len);
			if (at + 1 < len)
				there_and_back(s, len);
			free(s);
		}
}

/* In a line: the string ends at its own quote, and a control character is found wherever it is. */
static void
test_strings_end_where_they_do(void **state)
{
	(void)state;
	for (size_t len = 0; len <= LENGTH_MAX; len++) {
		char *line = text_of(len + 30, len + 1, '"');
		line[0] = '"';
		struct json_reader r = {line, line + len + 30, NULL};
		struct json_slice s;
		assert_int_equal(json_take_string(&r, &s), 1);
		assert_int_equal(s.len, len);
		for (size_t at = 1; at <= len; at++) {
			line[at] = '\n';
			r = (struct json_reader){line, line + len + 30, NULL};
			assert_int_equal(json_take_string(&r, &s), 0);
			assert_string_equal(r.fault, "a control character in a string");
			line[at] = 'a';
		}
		r = (struct json_reader){line, line + len + 1, NULL};
		assert_int_equal(json_take_string(&r, &s), 0);
		assert_string_equal(r.fault, "a string without an end");
		free(line);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_any_byte_at_any_place),
		cmocka_unit_test(test_what_is_no_text_at_any_place),
		cmocka_unit_test(test_strings_end_where_they_do),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
