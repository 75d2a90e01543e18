/* Envelopes: CloudEvents in headers and in JSON, riff's message, and records that are none of them. */
#include "test.h"

#include "plugin/batch.h"
#include "plugin/host.h"
#include "wire/cloudevents.h"
#include "wire/envelope.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static struct riffle_bytes
bytes(const char *s)
{
	return (struct riffle_bytes){s, s ? strlen(s) : 0};
}

static struct rfl_stream_conf
stream_as(enum rfl_stream_encoding encoding)
{
	return (struct rfl_stream_conf){
		.encoding = encoding, .stream = {.content_type = "application/json"}};
}

/* A batch of one record; headers are "name", "value", ..., NULL. */
static struct riffle_batch *
one(const char *value, const char *const *headers)
{
	struct riffle_header list[16];
	uint32_t n = 0;
	for (; headers[2 * n] != NULL; n++)
		list[n] = (struct riffle_header){bytes(headers[2 * n]), bytes(headers[2 * n + 1])};
	const struct riffle_record r = {.value = bytes(value), .offset = 7, .key = bytes("k")};
	struct rfl_builder *b = rfl_builder_create();
	rfl_builder_add(b, &r, list, n, NULL);
	struct riffle_batch *batch = rfl_builder_finish(b);
	rfl_builder_destroy(b);
	return batch;
}

/* "type|value|name=value|..." of the only record; - stands for absent. */
static char shown[2048];

static const char *
show(const struct riffle_batch *b)
{
	const struct riffle_record *r = riffle_batch_at(b, 0);
	const char *type = r->content_type ? b->content_types[r->content_type] : "-";
	int n = snprintf(shown, sizeof shown, "%s|%.*s", type, r->value.ptr ? (int)r->value.len : 1,
		r->value.ptr ? (const char *)r->value.ptr : "-");
	for (uint32_t i = 0; i < r->header_count; i++) {
		const struct riffle_header *h = &b->headers[r->header_first + i];
		n += snprintf(shown + n, sizeof shown - (size_t)n, "|%.*s=%.*s", (int)h->name.len,
			(const char *)h->name.ptr, h->value.ptr ? (int)h->value.len : 1,
			h->value.ptr ? (const char *)h->value.ptr : "-");
	}
	return shown;
}

static const char *
open_as(enum rfl_stream_encoding encoding, int compat, const char *value,
	const char *const *headers)
{
	struct rfl_stream_conf stream = stream_as(encoding);
	stream.compat_riff = compat;
	struct riffle_batch *b = one(value, headers);
	struct riffle_batch *opened = rfl_envelope_open(&stream, b);
	rfl_batch_unref(b);
	show(opened);
	assert_int_equal(riffle_batch_at(opened, 0)->offset, 7);
	assert_int_equal(riffle_batch_at(opened, 0)->key.len, 1);
	rfl_batch_unref(opened);
	return shown;
}
#define OPEN(value, ...)                                                                           \
	open_as(RFL_ENCODING_CLOUDEVENTS, 0, value, (const char *const[]){__VA_ARGS__, NULL, NULL})

static void
test_envelopes_are_recognized_and_taken_off(void **state)
{
	(void)state;
	/* Binary: what only carries a record leaves nothing behind, foreign headers stay. */
	assert_string_equal(OPEN("1", "ce_specversion", "1.0", "ce_id", "x", "ce_source", "s",
				    "ce_type", "riff-event", "ce_time", "2026-01-02 03:04:05 +0000",
				    "ce_datacontenttype", "text/plain", "mine", "m"),
		"text/plain|1|mine=m");
	/* An event with a meaning keeps its attributes. */
	assert_string_equal(
		OPEN("1", "content-type", "application/json", "ce_specversion", "1.0", "ce_id", "x",
			"ce_source", "/s", "ce_type", "com.example.sold", "ce_subject", "q"),
		"application/json|1|ce_specversion=1.0|ce_id=x|ce_source=/s|ce_type=com.example."
		"sold|ce_subject=q");
	/* content-type counts more than riff's name for it; no event is no reason to lose anything. */
	assert_string_equal(
		OPEN("v", "ce_datacontenttype", "a/b", "content-type", "c/d", "h", NULL),
		"c/d|v|h=-");
	assert_string_equal(OPEN("v", "h", "1"), "-|v|h=1");
	assert_string_equal(OPEN(NULL, "content-type", "text/plain"), "text/plain|-");
	/* A format that is not JSON goes on as it is. */
	assert_string_equal(OPEN("bin", "content-type", "application/cloudevents+avro"),
		"application/cloudevents+avro|bin");
	/* Raw: nothing is looked at. */
	assert_string_equal(open_as(RFL_ENCODING_NONE, 0, "v",
				    (const char *const[]){"content-type", "a/b", NULL}),
		"-|v|content-type=a/b");
	/* riff's names for headers of the function. */
	assert_string_equal(open_as(RFL_ENCODING_CLOUDEVENTS, 1, "v",
				    (const char *const[]){"ce_type", "riff-event", "ce_id", "1",
					    "ce_mine", "m", NULL}),
		"-|v|mine=m");
}

static void
test_events_of_json_are_taken_apart(void **state)
{
	(void)state;
	static const char media[] = "Application/CloudEvents+json; charset=UTF-8";
#define EVENT "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"s\",\"type\":\"riffle-event\","
	/* Data byte for byte: numbers and blanks as they were written. */
	assert_string_equal(OPEN(EVENT "\"data\": {\"n\": 1.10, \"s\": \"}\"} ,\"x\":true}",
				    "content-type", media, "mine", "m"),
		"application/json|{\"n\": 1.10, \"s\": \"}\"}|ce_x=true|mine=m");
	assert_string_equal(OPEN(EVENT "\"data\":\"a \\\"text\\\"\"}", "content-type", media),
		"application/json|\"a \\\"text\\\"\"");
	assert_string_equal(
		OPEN(EVENT "\"datacontenttype\":\"text/plain\",\"data\":\"k\\u00e4se\"}",
			"content-type", media),
		"text/plain|käse");
	assert_string_equal(
		OPEN(EVENT "\"data_base64\":\"AQI=\"}", "content-type", media), "-|\x01\x02");
	assert_string_equal(
		OPEN(EVENT "\"data\":null}", "content-type", media), "application/json|null");
	assert_string_equal(OPEN(EVENT "\"datacontenttype\":null}", "content-type", media), "-|-");
	/* As CloudEvents' library for Python labels it; what only looks like it stays. */
	assert_string_equal(OPEN(EVENT "\"data\":1}", "content-type", "application/json"),
		"application/json|1");
	assert_string_equal(OPEN("{\"specversion\":1}", "content-type", "application/json"),
		"application/json|{\"specversion\":1}");
	/* The value counts more than what headers repeat. */
	assert_string_equal(
		OPEN(EVENT "\"subject\":\"q\"}", "content-type", media, "ce_subject", "z"),
		"-|-|ce_subject=q");
	/* Numbers that no integer of ours holds, in the data and beside it; names with escapes. */
	assert_string_equal(
		OPEN(EVENT "\"data\":{\"n\":18446744073709551615},\"x\":1}", "content-type", media),
		"application/json|{\"n\":18446744073709551615}|ce_x=1");
	assert_string_equal(OPEN(EVENT "\"d\\u0061ta\":[1.10]}", "content-type", media),
		"application/json|[1.10]");
	assert_string_equal(
		OPEN(EVENT "\"datacontenttype\":\"a/b\\u0000\",\"data\":1}", "content-type", media),
		"Application/CloudEvents+json; charset=UTF-8|" EVENT
		"\"datacontenttype\":\"a/b\\u0000\",\"data\":1}");
	/* What is no event is a record all the same. */
	assert_string_equal(OPEN("{\"specversion\":\"1.0\"}", "content-type", media),
		"Application/CloudEvents+json; charset=UTF-8|{\"specversion\":\"1.0\"}");
	assert_string_equal(
		OPEN(EVENT "\"data\":1,\"data_base64\":\"AQI=\"}", "content-type", media),
		"Application/CloudEvents+json; charset=UTF-8|" EVENT
		"\"data\":1,\"data_base64\":\"AQI=\"}");
}

static void
test_riffs_message_is_recognized(void **state)
{
	(void)state;
	const char *const none[] = {NULL};
	assert_string_equal(open_as(RFL_ENCODING_CLOUDEVENTS, 0,
				    "\x0a\x02hi\x12\x0atext/plain\x1a\x06\x0a\x01h\x12\x01v", none),
		"text/plain|hi|h=v");
	/* Without a content type, with another field, cut short: a record as it stands. */
	assert_string_equal(
		open_as(RFL_ENCODING_CLOUDEVENTS, 0, "\x0a\x02hi", none), "-|\x0a\x02hi");
	assert_string_equal(open_as(RFL_ENCODING_CLOUDEVENTS, 0,
				    "\x12\x03"
				    "a/b"
				    "\x22\x01x",
				    none),
		"-|\x12\x03"
		"a/b"
		"\x22\x01x");
	assert_string_equal(open_as(RFL_ENCODING_CLOUDEVENTS, 0,
				    "\x12\x09"
				    "a/b",
				    none),
		"-|\x12\x09"
		"a/b");
	assert_string_equal(open_as(RFL_ENCODING_CLOUDEVENTS, 0, "\n", none), "-|\n");
}

static void
numbered(void *ctx, const struct riffle_batch *b, const struct riffle_record *r, uint64_t n,
	struct rfl_buf *out)
{
	(void)b, (void)r;
	rfl_buf_printf(out, "%s/%d", (const char *)ctx, (int)n);
}

static const char *
seal_as(enum rfl_stream_encoding encoding, int compat, const char *value,
	const char *const *headers)
{
	struct rfl_stream_conf stream = stream_as(encoding);
	stream.compat_riff = compat;
	const struct rfl_output_conf out = {.stream = &stream};
	char id[] = "0/in:1-2+2";
	const struct rfl_origin origin = {"default.p", numbered, id, 5};
	struct riffle_batch *b = one(value, headers);
	struct riffle_batch *sealed = rfl_envelope_seal(&out, b, &origin);
	rfl_batch_unref(b);
	show(sealed);
	/* Whatever it was wrapped in, it comes out as it went in. */
	struct riffle_batch *back = rfl_envelope_open(&stream, sealed);
	const struct riffle_record *r = riffle_batch_at(back, 0);
	if (encoding != RFL_ENCODING_NONE && value != NULL) {
		assert_int_equal(r->value.len, strlen(value));
		assert_memory_equal(r->value.ptr, value, strlen(value));
		assert_string_equal(back->content_types[r->content_type], "application/json");
	}
	rfl_batch_unref(back);
	rfl_batch_unref(sealed);
	return shown;
}
#define SEAL(encoding, value, ...)                                                                 \
	seal_as(encoding, 0, value, (const char *const[]){__VA_ARGS__, NULL, NULL})

static void
test_envelopes_are_put_on(void **state)
{
	const char *const none[] = {NULL};
	(void)state;
	assert_string_equal(SEAL(RFL_ENCODING_CLOUDEVENTS, "1", "mine", "m"),
		"-|1|content-type=application/json|ce_specversion=1.0|ce_id=0/"
		"in:1-2+2/5|ce_source=default.p|ce_type=riffle-event|mine=m");
	/* An event stays the event it is; a tombstone stays one. */
	assert_string_equal(SEAL(RFL_ENCODING_CLOUDEVENTS, NULL, "ce_specversion", "1.0", "ce_id",
				    "x", "ce_source", "/s", "ce_type", "t", "content-type", "a/b"),
		"-|-|content-type=application/json|ce_specversion=1.0|ce_id=x|ce_"
		"source=/s|ce_type=t");
	assert_string_equal(
		seal_as(RFL_ENCODING_CLOUDEVENTS, 1, "1", (const char *const[]){"mine", "m", NULL}),
		"-|1|content-type=application/json|ce_datacontenttype=application/"
		"json|ce_specversion=1.0|ce_id=0/in:1-2+2/5|ce_source=default.p|ce_type=riffle-"
		"event|ce_mine=m");
	assert_string_equal(
		SEAL(RFL_ENCODING_STRUCTURED, "{\"n\": 1.10}", "ce_subject", "q", "mine", "m"),
		"-|{\"specversion\":\"1.0\",\"id\":\"0/in:1-2+2/"
		"5\",\"source\":\"default.p\",\"type\":\"riffle-event\",\"subject\":\"q\","
		"\"datacontenttype\":\"application/json\",\"data\":{\"n\": 1.10}}|mine=m|content-"
		"type=application/cloudevents+json; charset=UTF-8");
	/* What says that it is JSON and is not goes as Base64. */
	assert_non_null(strstr(
		seal_as(RFL_ENCODING_STRUCTURED, 0, "{no", none), "\"data_base64\":\"e25v\"}"));
	seal_as(RFL_ENCODING_STRUCTURED, 0, NULL, none);
	assert_null(strstr(shown, "\"data\""));
	assert_null(strstr(shown, "\"data_base64\""));
	assert_string_equal(SEAL(RFL_ENCODING_RIFF_MESSAGE, "1", "h", "v"),
		"-|\x0a\x01"
		"1\x12\x10"
		"application/json\x1a\x06\x0a\x01h\x12\x01v");
	/* It has no word for a record without a value. */
	assert_string_equal(SEAL(RFL_ENCODING_RIFF_MESSAGE, NULL, "h", "v"), "-|-|h=v");
	assert_string_equal(SEAL(RFL_ENCODING_NONE, "1", "h", "v"), "-|1|h=v");
}

/* Sealed in JSON and opened again: the headers, as show has them. */
static const char *
through_json(struct riffle_bytes value, const char *type, const struct riffle_header *headers,
	uint32_t count)
{
	struct rfl_stream_conf stream = stream_as(RFL_ENCODING_STRUCTURED);
	char id[] = "id";
	const struct rfl_origin origin = {"default.p", numbered, id, 0};
	const struct riffle_record record = {.value = value, .offset = 7};
	struct rfl_builder *b = rfl_builder_create();
	stream.stream.content_type = type;
	rfl_builder_add(b, &record, headers, count, NULL);
	struct riffle_batch *batch = rfl_builder_finish(b);
	struct riffle_batch *sealed = rfl_envelope_seal_for(&stream, batch, &origin);
	struct riffle_batch *back = rfl_envelope_open(&stream, sealed);
	const struct riffle_record *r = riffle_batch_at(back, 0);
	assert_int_equal(r->value.len, value.len);
	assert_memory_equal(r->value.ptr, value.ptr, value.len);
	assert_string_equal(back->content_types[r->content_type], type);
	const char *text = strchr(show(back) + strlen(type) + 1, '|');
	rfl_batch_unref(back);
	rfl_batch_unref(sealed);
	rfl_batch_unref(batch);
	rfl_builder_destroy(b);
	return text ? text : "";
}
#define HEADER(name, value)                                                                        \
	{                                                                                          \
		{name, strlen(name)},                                                              \
		{                                                                                  \
			value, strlen(value)                                                       \
		}                                                                                  \
	}

static void
test_what_json_cannot_say_goes_beside_it(void **state)
{
	(void)state;
	const struct riffle_bytes value = bytes("{}");
	const struct riffle_header taken[] = {HEADER("ce_data", "d"),
		HEADER("ce_data_base64", "AQI="), HEADER("ce_x", "1"), HEADER("ce_x", "2")};
	assert_string_equal(through_json(value, "application/json", taken, 4),
		"|ce_data=d|ce_data_base64=AQI=|ce_x=1|ce_x=2");
	const struct riffle_header odd[] = {HEADER("ce_a\"b", "1"), HEADER("ce_y", "\xff"),
		{{"ce_n", 4}, {NULL, 0}}, HEADER("ce_\xff", "1"), HEADER("ce_id", ""),
		HEADER("ce_source", "\xff")};
	assert_string_equal(through_json(value, "application/json", odd, 6),
		"|ce_a\"b=1|ce_y=\xff|ce_n=-|ce_\xff=1");
	/* A NUL is a character too. */
	const struct riffle_header nul[] = {{{"ce_z", 4}, {"a\0b", 3}}};
	through_json((struct riffle_bytes){"a\0b", 3}, "text/plain", nul, 1);
	through_json((struct riffle_bytes){"\"a\0b\"", 5}, "application/json", nul, 1);
}

static void
test_a_nul_in_a_content_type_is_none_of_its_end(void **state)
{
	(void)state;
	static char with_nul[70000] = "a/b";
	const struct rfl_stream_conf stream = stream_as(RFL_ENCODING_CLOUDEVENTS);
	const struct riffle_header types[] = {
		HEADER("content-type", "a/b"), {{"content-type", 12}, {with_nul, sizeof with_nul}}};
	const struct riffle_record r = {.value = bytes("v")};
	struct rfl_builder *b = rfl_builder_create();
	for (size_t i = 0; i < 3; i++)
		rfl_builder_add(b, &r, &types[i % 2], 1, NULL);
	struct riffle_batch *batch = rfl_builder_finish(b);
	struct riffle_batch *opened = rfl_envelope_open(&stream, batch);
	const char *const *got = opened->content_types;
	assert_string_equal(got[riffle_batch_at(opened, 0)->content_type], "a/b");
	assert_string_not_equal(got[riffle_batch_at(opened, 1)->content_type], "a/b");
	assert_string_equal(got[riffle_batch_at(opened, 2)->content_type], "a/b");
	rfl_batch_unref(opened);
	rfl_batch_unref(batch);
	rfl_builder_destroy(b);
}

/* Of the processor, so that a busy machine is none of it. */
static int64_t
cpu_ms(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return ts.tv_sec * INT64_C(1000) + ts.tv_nsec / 1000000;
}

/* With each compared with each, it would be two minutes. */
#define MANY 50000

static struct riffle_batch *
with_headers(const char *value, const struct riffle_header *headers, uint32_t count)
{
	const struct riffle_record r = {.value = bytes(value), .offset = 7};
	struct rfl_builder *b = rfl_builder_create();
	rfl_builder_add(b, &r, headers, count, NULL);
	struct riffle_batch *batch = rfl_builder_finish(b);
	rfl_builder_destroy(b);
	return batch;
}

static void
test_many_attributes_take_no_longer_than_their_number(void **state)
{
	static struct riffle_header headers[MANY + 1];
	static char names[MANY][16];
	struct rfl_stream_conf stream = stream_as(RFL_ENCODING_STRUCTURED);
	char id[] = "id";
	const struct rfl_origin origin = {"default.p", numbered, id, 0};
	struct rfl_buf json = RFL_BUF_INIT;
	(void)state;
	int64_t begin_ms = cpu_ms();
	for (uint32_t i = 0; i < MANY; i++) {
		snprintf(names[i], sizeof names[i], "ce_n%u", i);
		headers[i] = (struct riffle_header){bytes(names[i]), bytes("v")};
	}
	/* Sealed: all of them become attributes. */
	struct riffle_batch *plain = with_headers("1", headers, MANY);
	struct riffle_batch *sealed = rfl_envelope_seal_for(&stream, plain, &origin);
	assert_int_equal(riffle_batch_at(sealed, 0)->header_count, 1);
	/* Opened: a header that says the same as an attribute gives way to it. */
	const struct riffle_record *r = riffle_batch_at(sealed, 0);
	rfl_buf_add(&json, r->value.ptr, r->value.len);
	headers[MANY] =
		(struct riffle_header)HEADER("content-type", "application/cloudevents+json");
	struct riffle_batch *repeated = with_headers(rfl_buf_str(&json), headers, MANY + 1);
	struct riffle_batch *opened = rfl_envelope_open(&stream, repeated);
	assert_int_equal(riffle_batch_at(opened, 0)->header_count, MANY);
	rfl_batch_unref(opened);
	rfl_batch_unref(repeated);
	/* Attributes that are no text are as they are written. */
	rfl_buf_clear(&json);
	rfl_buf_puts(
		&json, "{\"specversion\":\"1.0\",\"id\":\"x\",\"source\":\"s\",\"type\":\"t\"");
	for (uint32_t i = 0; i < MANY; i++)
		rfl_buf_printf(&json, ", \"n%u\" : %u.0", i, i);
	rfl_buf_putc(&json, '}');
	repeated = with_headers(rfl_buf_str(&json), &headers[MANY], 1);
	opened = rfl_envelope_open(&stream, repeated);
	assert_int_equal(riffle_batch_at(opened, 0)->header_count, MANY + 4);
	assert_memory_equal(opened->headers[MANY + 3].value.ptr, "49999.0", 7);
	rfl_batch_unref(opened);
	rfl_batch_unref(repeated);
	rfl_batch_unref(sealed);
	rfl_batch_unref(plain);
	rfl_buf_fini(&json);
	assert_in_range(cpu_ms() - begin_ms, 0, 20000);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_envelopes_are_recognized_and_taken_off),
		cmocka_unit_test(test_events_of_json_are_taken_apart),
		cmocka_unit_test(test_riffs_message_is_recognized),
		cmocka_unit_test(test_envelopes_are_put_on),
		cmocka_unit_test(test_what_json_cannot_say_goes_beside_it),
		cmocka_unit_test(test_a_nul_in_a_content_type_is_none_of_its_end),
		cmocka_unit_test(test_many_attributes_take_no_longer_than_their_number),
	};
	return RUN("envelope", tests);
}
