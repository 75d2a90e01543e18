/* The grpc invoker's codec against protobuf-c: what is written is read there, what is written there is read. */
#include "test.h"

#include "../../plugins/invoker-grpc/rpc_frame.h"

#include <riff.pb-c.h>
#include <stdlib.h>
#include <string.h>

static uint32_t seed = 12345;

static uint32_t
next_random(void)
{
	seed = seed * 1664525u + 1013904223u;
	return seed >> 8;
}

static struct riffle_bytes
random_bytes(size_t max)
{
	static char pool[70000];
	size_t len = next_random() % 4 == 0 ? 0 : next_random() % (max + 1);
	if (pool[0] == 0)
		for (size_t i = 0; i < sizeof pool; i++)
			pool[i] = (char)('a' + next_random() % 26);
	return (struct riffle_bytes){pool + next_random() % 1000, len};
}

static int
equal(struct riffle_bytes b, const char *text)
{
	return strlen(text) == b.len && memcmp(b.ptr, text, b.len) == 0;
}

static void
test_frames_are_what_protobuf_reads(void **state)
{
	(void)state;
	static unsigned char out[200000];
	for (int n = 0; n < 20000; n++) {
		static const int32_t indexes[] = {0, 1, 127, 128, INT32_MAX, -1, INT32_MIN};
		struct riffle_header headers[8];
		struct rpc_frame f = {.payload = random_bytes(n % 100 == 0 ? 66000 : 300),
			.type = random_bytes(40),
			.headers = headers,
			.header_count = next_random() % 8,
			.index = indexes[next_random() % 7]};
		for (uint32_t i = 0; i < f.header_count; i++)
			headers[i] = (struct riffle_header){random_bytes(20), random_bytes(200)};
		size_t size = rpc_frame_size(&f);
		assert_true(size < sizeof out);
		out[size] = 0xa5;
		rpc_frame_write(&f, out);
		assert_int_equal(out[size], 0xa5);
		Streaming__InputSignal *s = streaming__input_signal__unpack(NULL, size, out);
		assert_non_null(s);
		assert_int_equal(s->frame_case, STREAMING__INPUT_SIGNAL__FRAME_DATA);
		assert_int_equal(s->data->payload.len, f.payload.len);
		assert_memory_equal(s->data->payload.data, f.payload.ptr, f.payload.len);
		assert_true(equal(f.type, s->data->contenttype));
		assert_int_equal(s->data->argindex, f.index);
		assert_int_equal(s->data->n_headers, f.header_count);
		for (uint32_t i = 0; i < f.header_count; i++) {
			assert_true(equal(headers[i].name, s->data->headers[i]->key));
			assert_true(equal(headers[i].value, s->data->headers[i]->value));
		}
		streaming__input_signal__free_unpacked(s, NULL);
	}
}

static char *
text_of(struct riffle_bytes b)
{
	return strndup(b.ptr, b.len);
}

/* The same read by both: equal where protobuf-c can, an error where it cannot. */
static void
compare(const unsigned char *data, size_t len)
{
	struct rpc_frame f;
	struct rpc_headers headers = {0};
	const char *why = rpc_frame_read(data, len, &f, &headers);
	Streaming__OutputSignal *s = streaming__output_signal__unpack(NULL, len, data);
	if (s != NULL && s->frame_case == STREAMING__OUTPUT_SIGNAL__FRAME_DATA && why == NULL) {
		assert_int_equal(s->data->payload.len, f.payload.len);
		assert_memory_equal(s->data->payload.data, f.payload.ptr, f.payload.len);
		assert_int_equal(s->data->resultindex, f.index);
		assert_int_equal(s->data->n_headers, f.header_count);
		assert_int_equal(strncmp(s->data->contenttype, f.type.ptr, f.type.len), 0);
	} else if (s != NULL && s->frame_case == STREAMING__OUTPUT_SIGNAL__FRAME_DATA) {
		/* protobuf-c lets some impossible things pass. */
		assert_true(strstr(why, "impossible") != NULL || strstr(why, "ten bytes") != NULL ||
			    strstr(why, "not used") != NULL ||
			    strstr(why, "in the middle") != NULL);
	}
	if (s != NULL)
		streaming__output_signal__free_unpacked(s, NULL);
	free(headers.list);
}

static void
test_what_protobuf_writes_is_read(void **state)
{
	(void)state;
	static unsigned char out[200000];
	for (int n = 0; n < 20000; n++) {
		Streaming__OutputFrame__HeadersEntry entries[4], *list[4];
		Streaming__OutputFrame frame;
		Streaming__OutputSignal signal;
		streaming__output_frame__init(&frame);
		streaming__output_signal__init(&signal);
		struct riffle_bytes payload = random_bytes(n % 100 == 0 ? 66000 : 300);
		frame.payload =
			(ProtobufCBinaryData){payload.len, (uint8_t *)(uintptr_t)payload.ptr};
		frame.contenttype = text_of(random_bytes(40));
		frame.resultindex = (int32_t)(next_random() * 256u);
		frame.headers = list;
		frame.n_headers = next_random() % 5;
		for (size_t i = 0; i < frame.n_headers; i++) {
			list[i] = &entries[i];
			streaming__output_frame__headers_entry__init(&entries[i]);
			entries[i].key = text_of(random_bytes(20));
			entries[i].value = text_of(random_bytes(100));
		}
		signal.frame_case = STREAMING__OUTPUT_SIGNAL__FRAME_DATA;
		signal.data = &frame;
		size_t len = streaming__output_signal__pack(&signal, out);
		struct rpc_frame f;
		struct rpc_headers headers = {0};
		const char *why = rpc_frame_read(out, len, &f, &headers);
		if (why != NULL)
			fail_msg("%s", why);
		assert_int_equal(f.payload.len, payload.len);
		assert_memory_equal(f.payload.ptr, payload.ptr, payload.len);
		assert_true(equal(f.type, frame.contenttype));
		assert_int_equal(f.index, frame.resultindex);
		assert_int_equal(f.header_count, frame.n_headers);
		for (uint32_t i = 0; i < f.header_count; i++) {
			assert_true(equal(headers.list[i].name, entries[i].key));
			assert_true(equal(headers.list[i].value, entries[i].value));
		}
		free(headers.list);
		/* The same with a few bytes changed or cut: no harm, and the same answer as protobuf-c's. */
		for (int k = 0; k < 4 && len > 0 && len < 2000; k++) {
			unsigned char *bad = malloc(len);
			size_t cut = next_random() % 3 == 0 ? next_random() % len : len;
			memcpy(bad, out, len);
			for (uint32_t changes = next_random() % 3; changes > 0; changes--)
				bad[next_random() % len] = (unsigned char)next_random();
			bad = realloc(bad, cut ? cut : 1);
			compare(bad, cut);
			free(bad);
		}
		for (size_t i = 0; i < frame.n_headers; i++) {
			free(entries[i].key);
			free(entries[i].value);
		}
		free(frame.contenttype);
	}
}

static void
test_utf8(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		int is;
	} rows[] = {{"", 1}, {"plain", 1}, {"\xc3\xa4", 1}, {"\xe2\x82\xac", 1},
		{"\xf0\x9f\x98\x80", 1}, {"\xc3", 0}, {"\x80", 0}, {"\xc0\x80", 0},
		{"\xe0\x80\x80", 0}, {"\xed\xa0\x80", 0}, {"\xf4\x90\x80\x80", 0},
		{"\xf8\x88\x80\x80\x80", 0}, {"\xff", 0}, {"a\xe2\x82", 0}};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
		assert_int_equal(
			rpc_is_utf8((struct riffle_bytes){rows[i].text, strlen(rows[i].text)}),
			rows[i].is);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_utf8),
		cmocka_unit_test(test_frames_are_what_protobuf_reads),
		cmocka_unit_test(test_what_protobuf_writes_is_read),
	};
	return RUN("grpc frames", tests);
}
