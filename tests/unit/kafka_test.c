/*
 * The Kafka provider, through its own object file, against librdkafka's mock cluster, or with
 * $KAFKA_SERVERS against a real one: what both can do is asked of both.
 */
#include "kafka_bed.h"

static void
set_rtt(int ms)
{
	for (int32_t i = 1; i <= 3; i++)
		rd_kafka_mock_broker_set_rtt(mock, i, ms);
}

static void
records_are_written_and_read_in_order(void **state)
{
	struct bed b;
	(void)state;
	open_bed(&b, 2);
	open_sink(&b);
	assert_int_equal(send_all(&b, numbers(0, 3000, 1), NULL), 0);
	open_source(&b, NULL, RIFFLE_START_EARLIEST, 0);
	start_all(&b);
	assert_int_equal(b.lane_count, 2);
	read_numbers(&b, 1, 0, 3000);
	close_bed(&b);
}

static void
a_full_producer_takes_a_part(void **state)
{
	struct bed b;
	uint32_t rounds;
	(void)state;
	property("queue.buffering.max.messages", "50");
	open_bed(&b, 1);
	open_sink(&b);
	assert_int_equal(send_all(&b, numbers(0, 500, 0), &rounds), 0);
	assert_true(rounds >= 10);
	open_source(&b, NULL, RIFFLE_START_EARLIEST, 0);
	start_all(&b);
	read_numbers(&b, 0, 0, 500);
	close_bed(&b);
}

static void
one_record_that_is_too_large_does_not_harm_the_others(void **state)
{
	struct bed b;
	(void)state;
	property("message.max.bytes", "1000");
	open_bed(&b, 1);
	open_sink(&b);
	struct riffle_batch *batch = numbers(0, 3, 0);
	struct riffle_record *r = (struct riffle_record *)(uintptr_t)batch->records;
	free((void *)(uintptr_t)r[1].value.ptr);
	r[1].value = (struct riffle_bytes){calloc(1, 2000), 2000};
	assert_int_equal(send_all(&b, batch, NULL), 1);
	batch = numbers(0, 1, 17);
	assert_int_equal(send_all(&b, batch, NULL), 1);
	close_bed(&b);
}

static void
a_batch_is_no_larger_than_asked(void **state)
{
	struct bed b;
	struct reading r = {.b = &b, .max_records = 1000, .wanted = 100, .max_bytes = 30};
	(void)state;
	open_bed(&b, 1);
	open_sink(&b);
	assert_int_equal(send_all(&b, numbers(0, 100, 0), NULL), 0);
	open_source(&b, NULL, RIFFLE_START_EARLIEST, 0);
	start_all(&b);
	r.lane = b.lanes[0];
	assert_true(eventually(read_some, &r));
	/* Each record is a number of at most two digits and a header of one letter. */
	assert_in_range(r.largest, 10, 15);
	close_bed(&b);
}

static void
a_lane_says_when_it_has_read_all(void **state)
{
	struct bed b;
	struct riffle_lane_state at = {.size = sizeof at};
	(void)state;
	open_bed(&b, 1);
	open_sink(&b);
	assert_int_equal(send_all(&b, numbers(0, 10, 0), NULL), 0);
	open_source(&b, NULL, RIFFLE_START_EARLIEST, 0);
	start_all(&b);
	read_numbers(&b, 0, 0, 10);
	int64_t end = now_ns(NULL) + SOON_NS;
	do {
		b.ev = (struct riffle_event){.size = sizeof b.ev};
		ops->source_poll(b.source, &b.ev);
		assert_int_equal(ops->lane_state(b.source, b.lanes[0], &at), RIFFLE_OK);
		poll(NULL, 0, 5);
	} while (at.as_of_ns == 0 && now_ns(NULL) < end);
	assert_true(at.as_of_ns != 0 && now_ns(NULL) - at.as_of_ns < SOON_NS);
	assert_int_equal(at.position, 10);
	assert_int_equal(at.log_end, 10);
	assert_int_equal(at.flags, 0);
	close_bed(&b);
}

static void
a_rewound_lane_yields_nothing_else_and_leaves_nothing_out(void **state)
{
	struct bed b;
	struct riffle_error err = {0};
	unsigned seed = (unsigned)time(NULL);
	(void)state;
	print_message("# seed %u\n", seed);
	srand(seed);
	open_bed(&b, 1);
	open_sink(&b);
	assert_int_equal(send_all(&b, numbers(0, 20000, 0), NULL), 0);
	open_source(&b, b.group, RIFFLE_START_EARLIEST, 0);
	start_all(&b);
	for (int i = 0; i < (real ? 150 : 30); i++) {
		const struct riffle_position from = {
			.partition = 0, .offset = rand() % 19000, .leader_epoch = -1};
		must(ops->source_rewind(b.source, b.lanes, &from, 1, &err), &err);
		read_numbers(&b, 0, from.offset, 1 + (uint32_t)rand() % 1000);
	}
	close_bed(&b);
}

static void
what_is_committed_is_there_for_the_next(void **state)
{
	struct bed b;
	struct riffle_error err = {0};
	(void)state;
	open_bed(&b, 2);
	open_sink(&b);
	assert_int_equal(send_all(&b, numbers(0, 10, 0), NULL), 0);
	open_source(&b, b.group, RIFFLE_START_EARLIEST, 0);
	start_all(&b);
	const struct riffle_position at[2] = {
		{.partition = 0, .offset = 4, .leader_epoch = -1, .metadata = bytes("some text")},
		{.partition = 1, .offset = 0, .leader_epoch = -1}};
	must(ops->source_commit(b.source, at, 2, 99, &err), &err);
	await_source(&b, RIFFLE_EV_COMMITTED);
	assert_int_equal(b.ev.tag, 99);
	must(b.ev.status, &b.ev.error);
	close_source(&b);
	open_source(&b, b.group, RIFFLE_START_LATEST, 0);
	await_source(&b, RIFFLE_EV_ASSIGNED);
	for (uint32_t i = 0; i < 2; i++) {
		const struct riffle_lane *l = &b.ev.lanes[i];
		if (l->committed.partition != 0)
			continue;
		assert_int_equal(l->committed.offset, 4);
		assert_int_equal(l->committed.metadata.len, 9);
		assert_memory_equal(l->committed.metadata.ptr, "some text", 9);
		assert_int_equal(l->log_end, 10);
	}
	close_bed(&b);
}

static void
nothing_is_committed_of_a_lane_that_was_given_back(void **state)
{
	struct bed b;
	struct riffle_error err = {0};
	(void)state;
	open_bed(&b, 1);
	open_source(&b, b.group, RIFFLE_START_EARLIEST, 0);
	start_all(&b);
	must(ops->source_release(b.source, b.lanes, 1, &err), &err);
	await_source(&b, RIFFLE_EV_RELEASED);
	const struct riffle_position at = {.offset = 0, .leader_epoch = -1};
	must(ops->source_commit(b.source, &at, 1, 5, &err), &err);
	await_source(&b, RIFFLE_EV_COMMITTED);
	assert_int_equal(b.ev.status, RIFFLE_E_FENCED);
	close_bed(&b);
}

static void
closing_waits_for_the_last_batch(void **state)
{
	struct bed b;
	struct reading r = {
		.b = &b, .max_records = 10, .wanted = 10, .max_bytes = 1 << 20, .keep = 1};
	(void)state;
	open_bed(&b, 1);
	open_sink(&b);
	assert_int_equal(send_all(&b, numbers(0, 10, 0), NULL), 0);
	open_source(&b, NULL, RIFFLE_START_EARLIEST, 0);
	start_all(&b);
	r.lane = b.lanes[0];
	assert_true(eventually(read_some, &r));
	ops->source_close(b.source);
	for (int i = 0; i < 100; i++) {
		b.ev = (struct riffle_event){.size = sizeof b.ev};
		assert_int_equal(ops->source_poll(b.source, &b.ev), 0);
		poll(NULL, 0, 1);
	}
	assert_memory_equal(riffle_batch_at(r.kept, 0)->value.ptr, "0", 1);
	batch_unref(&host, r.kept);
	await_source(&b, RIFFLE_EV_CLOSED);
	ops->source_destroy(b.source);
	b.source = NULL;
	close_bed(&b);
}

struct handover {
	struct bed *b;
	void *closing;
};

/* 1 = what the closing one left is assigned to the other, which has not said that it is closed. */
static int
is_handed_over(void *data)
{
	struct handover *h = data;
	struct riffle_event ev = {.size = sizeof ev};
	assert_int_equal(ops->source_poll(h->closing, &ev), 0);
	return ops->source_poll(h->b->source, &ev) == 1 && ev.type == RIFFLE_EV_ASSIGNED &&
	       ev.lane_count == 1;
}

static void
a_closing_source_leaves_its_group_whatever_is_lent(void **state)
{
	struct bed b;
	struct handover h = {.b = &b};
	struct reading r = {
		.b = &b, .max_records = 10, .wanted = 10, .max_bytes = 1 << 20, .keep = 1};
	(void)state;
	open_bed(&b, 1);
	open_sink(&b);
	assert_int_equal(send_all(&b, numbers(0, 10, 0), NULL), 0);
	open_source(&b, b.group, RIFFLE_START_EARLIEST, 0);
	start_all(&b);
	r.lane = b.lanes[0];
	assert_true(eventually(read_some, &r));
	h.closing = b.source;
	ops->source_close(h.closing);
	open_source(&b, b.group, RIFFLE_START_EARLIEST, 0);
	assert_true(eventually(is_handed_over, &h));
	assert_memory_equal(riffle_batch_at(r.kept, 0)->value.ptr, "0", 1);
	batch_unref(&host, r.kept);
	close_source(&b);
	b.source = h.closing;
	await_source(&b, RIFFLE_EV_CLOSED);
	ops->source_destroy(b.source);
	b.source = NULL;
	close_bed(&b);
}

static void
an_offset_that_is_gone_is_told_with_what_is_missing(void **state)
{
	struct bed b;
	struct riffle_error err = {0};
	(void)state;
	open_bed(&b, 1);
	open_sink(&b);
	assert_int_equal(send_all(&b, numbers(0, 10, 0), NULL), 0);
	open_source(&b, NULL, RIFFLE_START_EARLIEST, 0);
	start_all(&b);
	const struct riffle_position beyond = {.offset = 1000000, .leader_epoch = -1};
	must(ops->source_rewind(b.source, b.lanes, &beyond, 1, &err), &err);
	struct reading r = {
		.b = &b, .lane = b.lanes[0], .max_records = 10, .wanted = 1, .max_bytes = 1 << 20};
	assert_true(eventually(read_some, &r));
	assert_int_equal(r.rc, RIFFLE_E_NOTFOUND);
	assert_non_null(strstr(r.err.text, "offset 1000000 is outside of the log"));
	/* And the same again, until the lane is moved. */
	assert_true(read_some(&r) && r.rc == RIFFLE_E_NOTFOUND);
	const struct riffle_position back = {.offset = 3, .leader_epoch = -1};
	must(ops->source_rewind(b.source, b.lanes, &back, 1, &err), &err);
	read_numbers(&b, 0, 3, 7);
	close_bed(&b);
}

/* A9: what the broker refuses for a while is written all the same, once and in order. */
static void
errors_that_pass_do_not_lose_or_reorder(void **state)
{
	struct bed b;
	(void)state;
	open_bed(&b, 1);
	open_sink(&b);
	rd_kafka_mock_push_request_errors(mock, 0 /* Produce */, 4,
		RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR,
		RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION);
	assert_int_equal(send_all(&b, numbers(0, 2000, 0), NULL), 0);
	open_source(&b, NULL, RIFFLE_START_EARLIEST, 0);
	start_all(&b);
	read_numbers(&b, 0, 0, 2000);
	close_bed(&b);
}

/* A5: the leader moves while records are written and read. */
static void
a_leader_that_moves_does_not_lose_or_reorder(void **state)
{
	struct bed b;
	(void)state;
	open_bed(&b, 1);
	open_sink(&b);
	open_source(&b, NULL, RIFFLE_START_EARLIEST, 0);
	start_all(&b);
	for (int32_t i = 0; i < 6; i++) {
		rd_kafka_mock_partition_set_leader(mock, b.topic, 0, 1 + i % 3);
		assert_int_equal(send_all(&b, numbers((uint32_t)i * 300, 300, 0), NULL), 0);
		rd_kafka_mock_partition_set_leader(mock, b.topic, 0, 1 + (i + 1) % 3);
		read_numbers(&b, 0, i * 300, 300);
	}
	close_bed(&b);
}

/* A8: a slow broker is no reason to think that all was read. */
static void
a_slow_broker_is_not_taken_for_idleness(void **state)
{
	struct bed b;
	struct riffle_lane_state at = {.size = sizeof at};
	(void)state;
	open_bed(&b, 1);
	open_sink(&b);
	assert_int_equal(send_all(&b, numbers(0, 10, 0), NULL), 0);
	open_source(&b, NULL, RIFFLE_START_EARLIEST, 0);
	start_all(&b);
	set_rtt(2000);
	read_numbers(&b, 0, 0, 10);
	for (int i = 0; i < 400; i++) {
		b.ev = (struct riffle_event){.size = sizeof b.ev};
		ops->source_poll(b.source, &b.ev);
		assert_int_equal(ops->lane_state(b.source, b.lanes[0], &at), RIFFLE_OK);
		/* What it knows is as old as the last answer, and says so. */
		assert_true(at.as_of_ns <= now_ns(NULL));
		poll(NULL, 0, 10);
	}
	assert_int_equal(at.log_end, 10);
	set_rtt(0);
	close_bed(&b);
}

/* Would the host take the lane for one that has no more? */
static int
is_at_end(const struct bed *b, uint32_t partition)
{
	struct riffle_lane_state at = {.size = sizeof at};
	assert_int_equal(ops->lane_state(b->source, b->lanes[partition], &at), RIFFLE_OK);
	return at.flags == 0 && at.position >= at.log_end && at.as_of_ns > 0 &&
	       now_ns(NULL) - at.as_of_ns <= INT64_C(3000000000);
}

static void
serve_for(struct bed *b, int ms)
{
	int64_t end = now_ns(NULL) + ms * INT64_C(1000000);
	while (now_ns(NULL) < end) {
		b->ev = (struct riffle_event){.size = sizeof b->ev};
		ops->source_poll(b->source, &b->ev);
		poll(NULL, 0, 5);
	}
}

static int
both_are_at_end(void *ctx)
{
	struct bed *b = ctx;
	serve_for(b, 5);
	return is_at_end(b, 0) && is_at_end(b, 1);
}

static int
only_the_second_is_at_end(void *ctx)
{
	struct bed *b = ctx;
	serve_for(b, 5);
	return !is_at_end(b, 0) && is_at_end(b, 1);
}

/* A8: a partition whose leader is away has not come to its end, however long nothing comes. */
static void
a_lane_without_a_leader_is_not_taken_for_idle(void **state)
{
	struct bed b;
	(void)state;
	property("topic.metadata.refresh.interval.ms", "300");
	open_bed(&b, 2);
	open_sink(&b);
	rd_kafka_mock_partition_set_leader(mock, b.topic, 0, 1);
	rd_kafka_mock_partition_set_leader(mock, b.topic, 1, 2);
	assert_int_equal(send_all(&b, numbers(0, 10, 0), NULL), 0);
	open_source(&b, NULL, RIFFLE_START_EARLIEST, 0);
	start_all(&b);
	read_numbers(&b, 0, 0, 10);
	assert_true(eventually(both_are_at_end, &b));
	rd_kafka_mock_partition_set_leader(mock, b.topic, 0, -1);
	assert_true(eventually(only_the_second_is_at_end, &b));
	for (int i = 0; i < 40; i++) {
		serve_for(&b, 100);
		assert_false(is_at_end(&b, 0));
	}
	rd_kafka_mock_partition_set_leader(mock, b.topic, 0, 3);
	assert_true(eventually(both_are_at_end, &b));
	close_bed(&b);
}

/* A19: a topic that nobody knows for a while. */
static void
a_topic_that_is_unknown_for_a_while_loses_nothing(void **state)
{
	struct bed b;
	struct riffle_error err = {0};
	uint32_t answered = 0;
	(void)state;
	property("topic.metadata.refresh.interval.ms", "500");
	open_bed(&b, 1);
	open_sink(&b);
	assert_int_equal(send_all(&b, numbers(0, 100, 0), NULL), 0);
	rd_kafka_mock_topic_set_error(mock, b.topic, RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
	struct riffle_batch *batch = numbers(100, 100, 0);
	assert_int_equal(ops->sink_send(b.sink, batch, 0, 100, 1, &err), 100);
	int64_t end = now_ns(NULL) + INT64_C(2000000000);
	while (now_ns(NULL) < end) {
		b.ev = (struct riffle_event){.size = sizeof b.ev};
		if (ops->sink_poll(b.sink, &b.ev) > 0 && b.ev.type == RIFFLE_EV_SENT)
			answered += b.ev.count;
		poll(NULL, 0, 10);
	}
	rd_kafka_mock_topic_set_error(mock, b.topic, RD_KAFKA_RESP_ERR_NO_ERROR);
	while (answered < 100) {
		await_sink(&b, RIFFLE_EV_SENT);
		for (uint32_t i = 0; i < b.ev.count; i++)
			assert_int_equal(((const struct riffle_sent *)(const void
							  *)((const char *)b.ev.sent +
							     (size_t)i * b.ev.sent_size))
						 ->status,
				RIFFLE_OK);
		answered += b.ev.count;
	}
	batch_unref(&host, batch);
	open_source(&b, NULL, RIFFLE_START_EARLIEST, 0);
	start_all(&b);
	read_numbers(&b, 0, 0, 200);
	close_bed(&b);
}

/* A16 */
static void
a_write_that_is_denied_is_told_and_not_tried_again(void **state)
{
	struct bed b;
	(void)state;
	open_bed(&b, 1);
	open_sink(&b);
	rd_kafka_mock_push_request_errors(
		mock, 0 /* Produce */, 1, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
	struct riffle_error err = {0};
	struct riffle_batch *batch = numbers(0, 1, 0);
	assert_int_equal(ops->sink_send(b.sink, batch, 0, 1, 1, &err), 1);
	await_sink(&b, RIFFLE_EV_SENT);
	assert_int_equal(b.ev.sent[0].status, RIFFLE_E_AUTH);
	assert_false(b.ev.error.flags & RIFFLE_ERR_RETRIABLE);
	assert_non_null(strstr(b.ev.error.text, b.topic));
	batch_unref(&host, batch);
	close_bed(&b);
}

/* A6: the group's coordinator moves; B5: the member is not known any more. */
static void
a_commit_survives_another_coordinator_and_a_lost_member(void **state)
{
	struct bed b;
	struct riffle_error err = {0};
	(void)state;
	open_bed(&b, 1);
	open_source(&b, b.group, RIFFLE_START_EARLIEST, 0);
	start_all(&b);
	const struct riffle_position at = {.offset = 0, .leader_epoch = -1};
	rd_kafka_mock_push_request_errors(mock, 8 /* OffsetCommit */, 2,
		RD_KAFKA_RESP_ERR_NOT_COORDINATOR_FOR_GROUP,
		RD_KAFKA_RESP_ERR_GROUP_COORDINATOR_NOT_AVAILABLE);
	do {
		must(ops->source_commit(b.source, &at, 1, 1, &err), &err);
		await_source(&b, RIFFLE_EV_COMMITTED);
		assert_true(b.ev.status == RIFFLE_OK || b.ev.status == RIFFLE_E_UNAVAILABLE);
	} while (b.ev.status != RIFFLE_OK);
	rd_kafka_mock_push_request_errors(
		mock, 12 /* Heartbeat */, 1, RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID);
	await_source(&b, RIFFLE_EV_LOST);
	must(ops->source_commit(b.source, &at, 1, 2, &err), &err);
	await_source(&b, RIFFLE_EV_COMMITTED);
	assert_int_equal(b.ev.status, RIFFLE_E_FENCED);
	must(ops->source_release(b.source, b.lanes, 1, &err), &err);
	await_source(&b, RIFFLE_EV_RELEASED);
	close_bed(&b);
}

/* The host hears first that it is replaced, and then of the commit that failed for it. */
static void
a_member_that_is_replaced_says_so_before_its_commit_fails(void **state)
{
	struct bed b;
	struct riffle_error err = {0};
	const struct riffle_position at = {.offset = 0, .leader_epoch = -1};
	(void)state;
	open_bed(&b, 1);
	b.member = "one";
	open_source(&b, b.group, RIFFLE_START_EARLIEST, 0);
	start_all(&b);
	rd_kafka_t *second = join(&b, "one");
	assert_true(eventually(has_partitions, second));
	must(ops->source_commit(b.source, &at, 1, 1, &err), &err);
	do
		await_source(&b, RIFFLE_EV_ERROR);
	while (b.ev.status != RIFFLE_E_FENCED);
	assert_non_null(strstr(b.ev.error.text, "another process has taken the place"));
	await_source(&b, RIFFLE_EV_COMMITTED);
	assert_int_equal(b.ev.status, RIFFLE_E_FENCED);
	rd_kafka_destroy(second);
	close_bed(&b);
}

struct finding {
	char option[64], text[256];
	unsigned count;
};

static void
find(const struct riffle_report *report, uint32_t severity, const struct riffle_config *cfg,
	const char *option, const char *text)
{
	struct finding *f = report->ctx;
	(void)severity, (void)cfg;
	snprintf(f->option, sizeof f->option, "%s", option);
	snprintf(f->text, sizeof f->text, "%s", text);
	f->count++;
}

static void
properties_that_carry_promises_are_refused_by_name(void **state)
{
	static const char *const names[] = {"enable.auto.commit", "isolation.level", "acks",
		"transactional.id", "ssl.engine.location", "partition.assignment.strategy"};
	(void)state;
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		struct finding f = {.count = 0};
		const struct riffle_report report = {.size = sizeof report, .ctx = &f, .add = find};
		property(names[i], "1");
		ops->check(&config, &report);
		config.pair_count = 0;
		assert_int_equal(f.count, 1);
		assert_string_equal(f.option + strlen("rdkafka."), names[i]);
		assert_non_null(strstr(f.text, "is riffle's own"));
	}
}

/* One that is answered at once waits for those that are with the broker. */
static void
commits_complete_in_the_order_they_were_asked(void **state)
{
	struct bed b;
	struct riffle_error err = {0};
	const struct riffle_position at = {.offset = 0, .leader_epoch = -1};
	(void)state;
	open_bed(&b, 1);
	b.is_alone = 1;
	open_source(&b, b.group, RIFFLE_START_EARLIEST, 0);
	start_all(&b);
	set_rtt(1000);
	must(ops->source_commit(b.source, &at, 1, 4, &err), &err);
	must(ops->source_release(b.source, b.lanes, 1, &err), &err);
	await_source(&b, RIFFLE_EV_RELEASED);
	must(ops->source_commit(b.source, &at, 1, 5, &err), &err);
	await_source(&b, RIFFLE_EV_COMMITTED);
	assert_int_equal(b.ev.tag, 4);
	assert_int_equal(b.ev.status, RIFFLE_OK);
	await_source(&b, RIFFLE_EV_COMMITTED);
	assert_int_equal(b.ev.tag, 5);
	assert_int_equal(b.ev.status, RIFFLE_E_FENCED);
	set_rtt(0);
	close_bed(&b);
}

/* The first was known already when it was asked for the second in vain. */
static void
all_partitions_are_those_of_all_topics(void **state)
{
	struct bed b, other;
	struct riffle_error err = {0};
	(void)state;
	open_bed(&b, 2);
	open_bed(&other, 3);
	const struct riffle_source_stream in[] = {
		{.size = sizeof in[0], .stream = &b.stream, .start = RIFFLE_START_EARLIEST},
		{.size = sizeof in[0], .stream = &other.stream, .start = RIFFLE_START_EARLIEST}};
	const struct riffle_source_spec spec = {
		.size = sizeof spec, .stream_size = sizeof in[0], .stream_count = 2, .streams = in};
	rd_kafka_mock_topic_set_error(mock, other.topic, RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
	must(ops->source_open(b.self, &spec, &b.source, &err), &err);
	await_source(&b, RIFFLE_EV_ERROR);
	assert_non_null(strstr(b.ev.error.text, other.topic));
	rd_kafka_mock_topic_set_error(mock, other.topic, RD_KAFKA_RESP_ERR_NO_ERROR);
	await_source(&b, RIFFLE_EV_ASSIGNED);
	assert_int_equal(b.ev.lane_count, 5);
	close_bed(&b);
	close_bed(&other);
}

static void
servers_that_cannot_be_are_found(void **state)
{
	static const struct {
		const char *server, *fault;
	} all[] = {{"broker", NULL}, {"broker:9092", NULL}, {"SASL_SSL://broker:1", NULL},
		{"::1", NULL}, {"[::1]:65535", NULL}, {":9092", "has no host"},
		{"SSL://", "has no host"}, {"broker:0", "has no port"},
		{"broker:99999", "has no port"}, {"broker:", "has no port"},
		{"broker:9092x", "has no port"}, {"a:1 b:2", "has a space in it"}};
	(void)state;
	for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
		struct finding f = {.count = 0};
		const struct riffle_report report = {.size = sizeof report, .ctx = &f, .add = find};
		const char *list[] = {all[i].server, NULL};
		values[0].u.list = list;
		ops->check(&config, &report);
		values[0].u.list = servers;
		assert_int_equal(f.count, all[i].fault != NULL);
		if (all[i].fault == NULL)
			continue;
		assert_string_equal(f.option, "bootstrap-servers");
		assert_non_null(strstr(f.text, all[i].server));
		assert_non_null(strstr(f.text, all[i].fault));
	}
}

static void
topics_that_brokers_refuse_are_found(void **state)
{
	char longest[251];
	memset(longest, 'x', 249);
	longest[249] = '\0';
	const char *const fine[] = {"in", "A.b_c-0", longest};
	const char *const wrong[] = {"", ".", "..", "a b", "a/b", "\xc3\xa4", longest};
	struct riffle_stream s = {.size = sizeof s};
	const struct riffle_config of_stream = {.size = sizeof of_stream,
		.section = RIFFLE_SECTION_STREAM,
		.stream = &s,
		.provider = &config};
	(void)state;
	for (size_t i = 0; i < 10; i++) {
		struct finding f = {.count = 0};
		const struct riffle_report report = {.size = sizeof report, .ctx = &f, .add = find};
		if (i == 3)
			strcat(longest, "y");
		s.topic = i < 3 ? fine[i] : wrong[i - 3];
		ops->check(&of_stream, &report);
		assert_int_equal(f.count, i >= 3);
		if (i >= 3)
			assert_string_equal(f.option, "topic");
	}
}

#define OF_BOTH                                                                                    \
	cmocka_unit_test(records_are_written_and_read_in_order),                                   \
		cmocka_unit_test(a_full_producer_takes_a_part),                                    \
		cmocka_unit_test(one_record_that_is_too_large_does_not_harm_the_others),           \
		cmocka_unit_test(a_batch_is_no_larger_than_asked),                                 \
		cmocka_unit_test(a_lane_says_when_it_has_read_all),                                \
		cmocka_unit_test(a_rewound_lane_yields_nothing_else_and_leaves_nothing_out),       \
		cmocka_unit_test(nothing_is_committed_of_a_lane_that_was_given_back),              \
		cmocka_unit_test(closing_waits_for_the_last_batch),                                \
		cmocka_unit_test(an_offset_that_is_gone_is_told_with_what_is_missing),             \
		cmocka_unit_test(properties_that_carry_promises_are_refused_by_name)

int
main(void)
{
	const struct CMUnitTest on_mock[] = {
		OF_BOTH,
		cmocka_unit_test(commits_complete_in_the_order_they_were_asked),
		cmocka_unit_test(all_partitions_are_those_of_all_topics),
		cmocka_unit_test(servers_that_cannot_be_are_found),
		cmocka_unit_test(topics_that_brokers_refuse_are_found),
		cmocka_unit_test(errors_that_pass_do_not_lose_or_reorder),
		cmocka_unit_test(a_leader_that_moves_does_not_lose_or_reorder),
		cmocka_unit_test(a_slow_broker_is_not_taken_for_idleness),
		cmocka_unit_test(a_lane_without_a_leader_is_not_taken_for_idle),
		cmocka_unit_test(a_topic_that_is_unknown_for_a_while_loses_nothing),
		cmocka_unit_test(a_write_that_is_denied_is_told_and_not_tried_again),
		cmocka_unit_test(a_commit_survives_another_coordinator_and_a_lost_member),
	};
	/* A member of a group of the mock cluster does not come back. */
	const struct CMUnitTest on_real[] = {
		OF_BOTH,
		cmocka_unit_test(what_is_committed_is_there_for_the_next),
		cmocka_unit_test(a_closing_source_leaves_its_group_whatever_is_lent),
		cmocka_unit_test(a_member_that_is_replaced_says_so_before_its_commit_fails),
	};
	real = getenv("KAFKA_SERVERS");
	if (getenv("RIFFLE_ONLY") != NULL)
		cmocka_set_test_filter(getenv("RIFFLE_ONLY"));
	ops = load_plugin("plugins/kafka/.libs/kafka.so")->ops;
	return real ? cmocka_run_group_tests_name("kafka, real", on_real, start_mock, stop_mock)
		    : cmocka_run_group_tests_name("kafka, mock", on_mock, start_mock, stop_mock);
}
