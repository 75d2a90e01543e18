/* The wire room: content types and the commit tuple. */
#include "test.h"

#include "wire/content_type.h"
#include "wire/tuple.h"

#include <string.h>

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

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_content_types_match_as_the_rfc_says),
		cmocka_unit_test(test_content_type_syntax),
		cmocka_unit_test(test_tuple_round_trip),
		cmocka_unit_test(test_tuple_layout_is_fixed),
		cmocka_unit_test(test_tuple_refuses_what_is_not_one),
	};
	return RUN("wire", tests);
}
