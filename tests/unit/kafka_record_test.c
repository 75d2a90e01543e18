/* Records that the Kafka provider cannot hand on as they are: damaged, with very many headers, with a time Kafka has not. */
#include "kafka_bed.h"

#include <arpa/inet.h>
#include <malloc.h>
#include <sys/socket.h>

/* One with very many headers, and as many without any as a poll takes. */
static struct riffle_batch *
few_with_headers(uint32_t count, uint32_t fat, uint32_t header_count)
{
	struct riffle_batch *batch = numbers(0, count, 0);
	struct riffle_record *r = (struct riffle_record *)(uintptr_t)batch->records;
	struct riffle_header *headers = calloc(header_count, sizeof *headers);
	for (uint32_t i = 0; i < header_count; i++)
		headers[i].name = bytes("h");
	for (uint32_t i = 0; i < count; i++)
		r[i].header_count = i == fat ? header_count : 0;
	batch->headers = headers;
	batch->header_count = header_count;
	return batch;
}

static int
knows_where_it_stands(void *ctx)
{
	struct bed *b = ctx;
	struct riffle_event ev = {.size = sizeof ev};
	struct riffle_lane_state state = {.size = sizeof state};
	while (ops->source_poll(b->source, &ev) > 0)
		ev = (struct riffle_event){.size = sizeof ev};
	assert_int_equal(ops->lane_state(b->source, b->lanes[0], &state), RIFFLE_OK);
	return state.as_of_ns != 0;
}

static void
send_few_with_headers(struct bed *b, uint32_t count, uint32_t fat, uint32_t header_count)
{
	struct riffle_batch *batch = few_with_headers(count, fat, header_count);
	struct riffle_header *mine = (struct riffle_header *)(uintptr_t)batch->headers;
	open_sink(b);
	assert_int_equal(send_all(b, batch, NULL), 0);
	free(mine);
}

/* What is fetched lies in the lane's queue by the time that the statistics come. */
static void
a_record_with_very_many_headers_is_one_of_many(void **state)
{
	struct bed b;
	struct riffle_batch *batch;
	struct riffle_error err = {0};
	const uint32_t count = 4000, header_count = 100000;
	uint32_t came = 0, headers = 0;
	(void)state;
	open_bed(&b, 1);
	send_few_with_headers(&b, count, 1, header_count);
	open_source(&b, NULL, RIFFLE_START_EARLIEST, 0);
	start_all(&b);
	while (came < count) {
		assert_true(eventually(knows_where_it_stands, &b));
		int rc = ops->lane_poll(b.source, b.lanes[0], 4096, SIZE_MAX, &batch, &err);
		must(rc, &err);
		if (rc == 0)
			continue;
		batch->host[0] = 1;
		came += batch->record_count;
		headers += batch->header_count;
		/* Room for as many in each of the others would be gigabytes. */
		assert_true(malloc_usable_size((void *)(uintptr_t)batch->headers) <=
			    (size_t)4 * header_count * sizeof *batch->headers);
		batch_unref(&host, batch);
	}
	assert_int_equal(headers, header_count);
	close_bed(&b);
}

/* Reads numbers [from, to), then meets the damaged record at `at`, once more, and goes on behind it. */
static void
read_to_damage(struct bed *b, int64_t from, int64_t at, const char *what)
{
	struct riffle_lane_state state = {.size = sizeof state};
	struct riffle_position past = {.offset = at + 1, .leader_epoch = -1};
	struct reading r = {.b = b,
		.lane = b->lanes[0],
		.max_records = 100,
		.max_bytes = 1 << 20,
		.wanted = 1000000,
		.next = from};
	char text[32];
	for (int i = 0; i < 2; i++) {
		assert_true(eventually(read_some, &r));
		assert_int_equal(r.rc, RIFFLE_E_DATA);
		assert_int_equal(r.next, at);
		snprintf(text, sizeof text, "offset %lld is", (long long)at);
		assert_non_null(strstr(r.err.text, text));
		assert_non_null(strstr(r.err.text, b->topic));
		assert_non_null(strstr(r.err.text, what));
		assert_int_equal(ops->lane_state(b->source, b->lanes[0], &state), RIFFLE_OK);
		assert_int_equal(state.position, at);
	}
	must(ops->source_rewind(b->source, &b->lanes[0], &past, 1, &r.err), &r.err);
}

/* librdkafka refuses to read more than a hundred thousand. */
static void
a_record_whose_headers_cannot_be_read_is_not_handed_over_without_them(void **state)
{
	struct bed b;
	(void)state;
	open_bed(&b, 1);
	open_sink(&b);
	assert_int_equal(send_all(&b, numbers(0, 5, 0), NULL), 0);
	ops->sink_close(b.sink);
	await_sink(&b, RIFFLE_EV_CLOSED);
	ops->sink_destroy(b.sink);
	send_few_with_headers(&b, 1, 0, 100001);
	assert_int_equal(send_all(&b, numbers(6, 5, 0), NULL), 0);
	open_source(&b, NULL, RIFFLE_START_EARLIEST, 0);
	start_all(&b);
	assert_true(eventually(knows_where_it_stands, &b));
	read_to_damage(&b, 0, 5, "Bad message");
	read_numbers(&b, 0, 6, 5);
	close_bed(&b);
}

struct wire {
	unsigned char bytes[512];
	size_t len;
};

static void
put(struct wire *w, int64_t value, size_t size)
{
	while (size-- > 0)
		w->bytes[w->len++] = (unsigned char)((uint64_t)value >> (8 * size));
}

static void
put_text(struct wire *w, const char *text)
{
	put(w, (int64_t)strlen(text), 2);
	memcpy(w->bytes + w->len, text, strlen(text));
	w->len += strlen(text);
}

/* A batch of records (the format's version 2) whose checksum is that of others. */
static void
put_damaged(struct wire *w, int count)
{
	const size_t size = 61 + 40;
	put(w, (int64_t)size, 4);
	put(w, 0, 8);
	put(w, (int64_t)size - 12, 4);
	put(w, 0, 4);
	put(w, 2, 1);
	put(w, 0x12345678, 4);
	put(w, 0, 2);
	put(w, count - 1, 4);
	put(w, 0, 8);
	put(w, 0, 8);
	put(w, -1, 8);
	put(w, -1, 2);
	put(w, -1, 4);
	put(w, count, 4);
	memset(w->bytes + w->len, 'x', 40);
	w->len += 40;
}

/* Written by hand, for librdkafka writes nothing that is damaged: a Produce request, version 7, acks 1. */
static void
write_damaged(const struct bed *b, int count)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	struct wire w = {.len = 4};
	unsigned char answer[256];
	unsigned port = 0;
	assert_int_equal(rd_kafka_mock_partition_set_leader(mock, b->topic, 0, 1), 0);
	assert_int_equal(sscanf(servers[0], "127.0.0.1:%u", &port), 1);
	to.sin_port = htons((uint16_t)port);
	put(&w, 0, 2);
	put(&w, 7, 2);
	put(&w, 1, 4);
	put_text(&w, "by hand");
	put(&w, -1, 2);
	put(&w, 1, 2);
	put(&w, 5000, 4);
	put(&w, 1, 4);
	put_text(&w, b->topic);
	put(&w, 1, 4);
	put(&w, 0, 4);
	put_damaged(&w, count);
	size_t len = w.len;
	w.len = 0;
	put(&w, (int64_t)len - 4, 4);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
	assert_int_equal(write(fd, w.bytes, len), len);
	/* length, correlation, topics, name, partitions, partition, error */
	size_t error_at = 4 + 4 + 4 + 2 + strlen(b->topic) + 4 + 4;
	size_t got = 0;
	while (got < error_at + 2) {
		ssize_t n = read(fd, answer + got, sizeof answer - got);
		assert_true(n > 0);
		got += (size_t)n;
	}
	assert_int_equal(answer[error_at] << 8 | answer[error_at + 1], 0);
	close(fd);
}

static void
what_stands_around_damaged_records_is_read_and_each_of_them_is_told(void **state)
{
	struct bed b;
	(void)state;
	property("check.crcs", "true");
	open_bed(&b, 1);
	open_sink(&b);
	assert_int_equal(rd_kafka_mock_partition_set_leader(mock, b.topic, 0, 1), 0);
	assert_int_equal(send_all(&b, numbers(0, 10, 0), NULL), 0);
	write_damaged(&b, 3);
	assert_int_equal(send_all(&b, numbers(13, 10, 0), NULL), 0);
	open_source(&b, NULL, RIFFLE_START_EARLIEST, 0);
	start_all(&b);
	assert_true(eventually(knows_where_it_stands, &b));
	read_to_damage(&b, 0, 10, "Bad message");
	read_to_damage(&b, 11, 11, "Bad message");
	read_to_damage(&b, 12, 12, "Bad message");
	read_numbers(&b, 0, 13, 10);
	close_bed(&b);
}

/* To librdkafka 0 is no time, to Kafka -1; of a time before 1970 nobody makes another one. */
static void
a_time_that_cannot_be_kept_is_refused(void **state)
{
	const int64_t times[] = {0, -1, 1, -1000, 1000};
	struct bed b;
	struct riffle_error err = {0};
	struct riffle_batch *batch = numbers(0, 5, 0);
	uint32_t answered = 0;
	int status[5];
	(void)state;
	for (uint32_t i = 0; i < 5; i++)
		((struct riffle_record *)(uintptr_t)batch->records)[i].time_ms = times[i];
	open_bed(&b, 1);
	open_sink(&b);
	assert_int_equal(ops->sink_send(b.sink, batch, 0, 5, 1, &err), 5);
	while (answered < 5) {
		await_sink(&b, RIFFLE_EV_SENT);
		for (uint32_t i = 0; i < b.ev.count; i++)
			status[b.ev.first + i] = ((const struct riffle_sent *)(const void
								  *)((const char *)b.ev.sent +
								     (size_t)i * b.ev.sent_size))
							 ->status;
		answered += b.ev.count;
	}
	assert_int_equal(status[0], RIFFLE_E_DATA);
	assert_int_equal(status[1], RIFFLE_E_DATA);
	assert_non_null(strstr(b.ev.error.text, "its time"));
	batch_unref(&host, batch);
	open_source(&b, NULL, RIFFLE_START_EARLIEST, 0);
	start_all(&b);
	for (uint32_t came = 2; came < 5;) {
		assert_true(eventually(knows_where_it_stands, &b));
		int rc = ops->lane_poll(b.source, b.lanes[0], 10, SIZE_MAX, &batch, &err);
		must(rc, &err);
		if (rc == 0)
			continue;
		batch->host[0] = 1;
		for (uint32_t i = 0; i < batch->record_count; i++, came++) {
			assert_int_equal(status[came], RIFFLE_OK);
			assert_int_equal(batch->records[i].time_ms, times[came]);
		}
		batch_unref(&host, batch);
	}
	close_bed(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_record_with_very_many_headers_is_one_of_many),
		cmocka_unit_test(
			a_record_whose_headers_cannot_be_read_is_not_handed_over_without_them),
		cmocka_unit_test(
			what_stands_around_damaged_records_is_read_and_each_of_them_is_told),
		cmocka_unit_test(a_time_that_cannot_be_kept_is_refused),
	};
	ops = load_plugin("plugins/kafka/.libs/kafka.so")->ops;
	return cmocka_run_group_tests_name("kafka, records", tests, start_mock, stop_mock);
}
