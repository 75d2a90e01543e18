/* The blocking adaptor's sinks: what sent means, refusals, failures, and a sink that is full. */
#include "simple_bed.h"

struct block {
	struct riffle_batch batch;
	struct riffle_record records[4];
};

static unsigned released;

static void
block_release(struct riffle_batch *batch)
{
	__atomic_add_fetch(&released, 1, __ATOMIC_RELAXED);
	free(batch->owner);
}

static struct riffle_batch *
block(const char *const *texts, uint32_t count)
{
	struct block *k = calloc(1, sizeof *k);
	for (uint32_t i = 0; i < count; i++)
		k->records[i] = (struct riffle_record){.value = bytes(texts[i]),
			.partition = RIFFLE_PARTITION_NONE,
			.time_ms = RIFFLE_TIME_NONE};
	k->batch = (struct riffle_batch){.size = sizeof k->batch,
		.record_size = sizeof k->records[0],
		.record_count = count,
		.records = k->records,
		.pinned_bytes = sizeof *k,
		.owner = k,
		.release = block_release,
		.host = {1, 0}};
	return &k->batch;
}

static void
open_sink(struct bed *b)
{
	struct riffle_error err = {0};
	const struct riffle_stream *streams[] = {&b->stream};
	const struct riffle_sink_spec spec = {.size = sizeof spec,
		.stream_size = sizeof streams[0],
		.stream_count = 1,
		.streams = streams};
	assert_int_equal(ops->sink_open(b->self, &spec, &b->sink, &err), RIFFLE_OK);
}

static int
send_texts(struct bed *b, const char *const *texts, uint32_t count, uint64_t tag)
{
	struct riffle_error err = {0};
	struct riffle_batch *batch = block(texts, count);
	int n = ops->sink_send(b->sink, batch, 0, count, tag, &err);
	drop(batch);
	return n;
}

static void
test_sent_means_flushed(void **state)
{
	static const char *const one[] = {"a", "b", "c"}, *const two[] = {"d"};
	struct bed b;
	(void)state;
	make_bed(&b, "t");
	open_sink(&b);
	released = 0;
	assert_int_equal(send_texts(&b, one, 3, 5), 3);
	assert_int_equal(send_texts(&b, two, 1, 6), 1);
	await_sink(&b, RIFFLE_EV_SENT);
	assert_int_equal(b.ev.tag, 5);
	assert_int_equal(b.ev.first, 0);
	assert_int_equal(b.ev.count, 3);
	for (int i = 0; i < 3; i++)
		assert_int_equal(b.ev.sent[i].status, RIFFLE_OK);
	pthread_mutex_lock(&hand);
	assert_true(world.flushed_len >= 3);
	pthread_mutex_unlock(&hand);
	await_sink(&b, RIFFLE_EV_SENT);
	assert_int_equal(b.ev.tag, 6);
	assert_int_equal(world.flushed_len, 4);
	assert_memory_equal(world.written, "abcd", 4);
	assert_int_equal(released, 2);
	end_bed(&b);
}

static void
test_a_refused_record_is_alone(void **state)
{
	static const char *const texts[] = {"a", "no!", "c"};
	struct bed b;
	(void)state;
	make_bed(&b, "t");
	open_sink(&b);
	assert_int_equal(send_texts(&b, texts, 3, 1), 3);
	await_sink(&b, RIFFLE_EV_SENT);
	assert_int_equal(b.ev.sent[0].status, RIFFLE_OK);
	assert_int_equal(b.ev.sent[1].status, RIFFLE_E_DATA);
	assert_int_equal(b.ev.sent[2].status, RIFFLE_OK);
	assert_string_equal(b.ev.error.text, "not this one");
	assert_memory_equal(world.written, "ac", 2);
	end_bed(&b);
}

static void
test_after_a_failure_nothing_overtakes(void **state)
{
	static const char *const texts[] = {"a", "b", "c"};
	struct bed b;
	(void)state;
	world.fail_send_at = 2;
	make_bed(&b, "t");
	open_sink(&b);
	assert_int_equal(send_texts(&b, texts, 3, 1), 3);
	await_sink(&b, RIFFLE_EV_SENT);
	for (int i = 0; i < 3; i++)
		assert_int_equal(b.ev.sent[i].status, RIFFLE_E_UNAVAILABLE);
	assert_string_equal(b.ev.error.text, "away");
	assert_int_equal(world.sends, 2);
	assert_int_equal(send_texts(&b, texts + 1, 2, 2), 2);
	await_sink(&b, RIFFLE_EV_SENT);
	assert_int_equal(b.ev.sent[1].status, RIFFLE_OK);
	set(&world.fail_flush, RIFFLE_E_FATAL);
	assert_int_equal(send_texts(&b, texts, 1, 3), 1);
	await_sink(&b, RIFFLE_EV_SENT);
	assert_int_equal(b.ev.sent[0].status, RIFFLE_E_FATAL);
	assert_string_equal(b.ev.error.text, "disk full");
	end_bed(&b);
}

static void
test_a_sink_is_full_and_is_closed_when_all_is_written(void **state)
{
	static const char *const texts[] = {"a", "b", "c", "d"};
	struct bed b;
	uint32_t taken = 0, answered = 0;
	(void)state;
	world.blocks = 1;
	make_bed(&b, "t");
	open_sink(&b);
	for (int n = 4; n == 4; taken += (uint32_t)n)
		n = send_texts(&b, texts, 4, 1);
	assert_int_equal(taken, RFS_STAGED_RECORDS);
	ops->sink_close(b.sink);
	b.ev = (struct riffle_event){.size = sizeof b.ev};
	assert_int_equal(ops->sink_poll(b.sink, &b.ev), 0);
	set(&world.blocks, 0);
	for (; answered < taken; answered += b.ev.count)
		await_sink(&b, RIFFLE_EV_SENT);
	end_bed(&b);
	assert_int_equal(world.sends, taken);
}

static void
test_a_sink_that_cannot_open_says_so(void **state)
{
	static const char *const texts[] = {"a"};
	struct bed b;
	(void)state;
	world.fail_open = RIFFLE_E_UNAVAILABLE;
	make_bed(&b, "t");
	open_sink(&b);
	await_sink(&b, RIFFLE_EV_ERROR);
	assert_int_equal(b.ev.status, RIFFLE_E_UNAVAILABLE);
	assert_string_equal(b.ev.error.text, "cannot open for writing");
	set(&world.fail_open, 0);
	assert_int_equal(send_texts(&b, texts, 1, 1), 1);
	await_sink(&b, RIFFLE_EV_SENT);
	assert_int_equal(b.ev.sent[0].status, RIFFLE_OK);
	end_bed(&b);
}

int
main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, fresh, clean)
	const struct CMUnitTest tests[] = {
		CASE(test_sent_means_flushed),
		CASE(test_a_refused_record_is_alone),
		CASE(test_after_a_failure_nothing_overtakes),
		CASE(test_a_sink_is_full_and_is_closed_when_all_is_written),
		CASE(test_a_sink_that_cannot_open_says_so),
	};
	return RUN("simple_sink", tests);
}
