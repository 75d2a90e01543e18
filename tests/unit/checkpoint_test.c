/* The checkpoint stream: who waits for it and for how long, what stops a task, when a transaction may end. */
#include "runtime_bed.h"

#include "wire/checkpoint.h"

/* Sessions on event time, with a checkpoint stream; a is set up and not yet turned. */
static void
start_sessions(struct bed *b)
{
	static const struct rfl_window_conf sessions = {.kind = RFL_WINDOW_SESSION,
		.size_ms = 100,
		.max_ms = 10000,
		.canonical = canonical};
	start_with(b, RFL_EXACTLY_ONCE, &sessions);
	rfl_processor_destroy(b->p);
	b->worker.processor_count = 0;
	struct rfl_processor_conf *c = &b->processor;
	c->time.source = RFL_TIME_RECORD;
	c->max_disorder_ms = 1000;
	c->max_future_ms = INT64_C(1) << 40;
	c->idle_after_ms = c->close_after_idle_ms = 1000000;
	c->checkpoint = &b->checkpoint;
	has_checkpoint = 1;
	const struct rfl_processor_setup setup = {.conf = &b->conf,
		.processor = c,
		.clock = &b->clock,
		.instance = "me",
		.function = b->callee,
		.input_providers = &b->broker,
		.destination_providers = &b->broker};
	b->p = rfl_processor_create(&setup, &b->worker);
	rfl_worker_add(&b->worker, b->p);
	fail_flags = RIFFLE_ERR_RETRIABLE;
}

/* The value of that commit of lane 0, of records 2 to 9, and the position that points to it. */
static struct rfl_buf
value_of(uint32_t seq, char *position)
{
	struct rfl_buf value = RFL_BUF_INIT;
	struct rfl_open_set set = RFL_OPEN_SET_INIT;
	const struct rfl_tuple t = {.flags = RFL_TUPLE_CHECKPOINT,
		.seq = seq,
		.settings = rfl_tuple_settings(canonical),
		.hw = 10,
		.frontier_ms = 1000,
		.time_ms = 2000};
	char text[RFL_TUPLE_TEXT + 1];
	rfl_tuple_encode(&t, text);
	rfl_open_set_begin(&set, 2, 100);
	rfl_open_set_add(&set, 2, 10);
	rfl_checkpoint_encode(text, 2, &set, &value);
	rfl_open_set_fini(&set);
	if (position != NULL)
		memcpy(position, text, sizeof text);
	return value;
}

/* Positions of both lanes that point to commit 5; lane 1 is done and needs none. */
static void
start_from_checkpoint(struct bed *b)
{
	const struct rfl_tuple plain = {.seq = 5,
		.settings = rfl_tuple_settings(canonical),
		.hw = 0,
		.frontier_ms = 1000,
		.time_ms = 2000};
	start_sessions(b);
	struct rfl_buf value = value_of(5, metadata[0]);
	rfl_buf_fini(&value);
	rfl_tuple_encode(&plain, metadata[1]);
	gives_metadata = 1;
	committed[0] = 2;
	log_end[0] = 2;
	/* A clock that stands at 0 is not known. */
	rfl_clock_advance(&b->clock, 1000000);
}

static void
add_checkpoint(const char *key, struct riffle_bytes value)
{
	log_of_checkpoints[checkpoint_end].key = (struct riffle_bytes){key, strlen(key)};
	log_of_checkpoints[checkpoint_end++].value = value;
}

static struct riffle_bytes
bytes_of(const struct rfl_buf *b)
{
	return (struct riffle_bytes){b->data, b->len};
}

static const char its_key[] = "default.x/x/0";

static void
test_a_task_waits_for_its_checkpoint(void **state)
{
	(void)state;
	struct bed b;
	char why[300];
	struct rfl_buf old = value_of(4, NULL), its = value_of(5, NULL);
	start_from_checkpoint(&b);
	add_checkpoint("default.y/x/0", bytes_of(&its));
	add_checkpoint(its_key, bytes_of(&old));
	add_checkpoint(its_key, bytes_of(&its));
	add_checkpoint("default.x/x/00", (struct riffle_bytes){NULL, 0});
	checkpoint_readable = 3;
	settle(&b);
	/* The other partition points to nothing, and does not wait. */
	assert_true(!lane_started[0] && lane_started[1]);
	assert_int_equal(sources_open, 2);
	/* It is there, and a newer one may come still. */
	advance(&b, 60000);
	assert_false(lane_started[0]);
	checkpoint_readable = 4;
	settle(&b);
	assert_true(lane_started[0] && reading[0] == 2);
	assert_int_equal(sources_open, 1);
	assert_int_equal(state_of(&b, why, sizeof why), RFL_RUNNING);
	rfl_buf_fini(&old);
	rfl_buf_fini(&its);
	finish(&b);
}

static void
stops_with(const char *key, struct riffle_bytes value, const char *expected)
{
	struct bed b;
	char why[300];
	start_from_checkpoint(&b);
	if (key != NULL)
		add_checkpoint(key, value);
	checkpoint_readable = checkpoint_end;
	settle(&b);
	/* What a broker has confirmed may be seen a moment later. */
	advance(&b, 4999);
	assert_false(lane_started[0]);
	advance(&b, 1);
	assert_int_equal(state_of(&b, why, sizeof why), RFL_STOPPED);
	assert_non_null(strstr(why, "the checkpoint \"default.x/x/0\" in stream default: "));
	assert_non_null(strstr(why, expected));
	assert_int_equal(sources_open, 1);
	finish(&b);
}

static void
test_a_checkpoint_that_is_not_its_stops_the_task(void **state)
{
	(void)state;
	struct rfl_buf other = value_of(6, NULL), its = value_of(5, NULL);
	const struct riffle_bytes none = {NULL, 0};
	stops_with(NULL, none, "it is not there");
	stops_with("default.x/x/1", bytes_of(&its), "it is not there");
	stops_with(its_key, none, "it is not there");
	stops_with(its_key, bytes_of(&other), "it is of commit 6, and the position of commit 5");
	/* What begins like its own is looked at at once. */
	its.data[its.len - 1] ^= 1;
	struct bed b;
	char why[300];
	start_from_checkpoint(&b);
	add_checkpoint(its_key, bytes_of(&its));
	checkpoint_readable = checkpoint_end;
	settle(&b);
	assert_int_equal(state_of(&b, why, sizeof why), RFL_STOPPED);
	assert_non_null(strstr(why, "it is damaged"));
	finish(&b);
	rfl_buf_fini(&other);
	rfl_buf_fini(&its);
}

static void
test_a_lane_that_goes_does_not_wait_for_its_checkpoint(void **state)
{
	(void)state;
	struct bed b;
	struct rfl_buf its = value_of(5, NULL);
	start_from_checkpoint(&b);
	add_checkpoint(its_key, bytes_of(&its));
	settle(&b);
	assert_false(lane_started[0]);
	queue(0, (struct riffle_event){.type = RIFFLE_EV_REVOKED,
			 .lanes = &lanes[0],
			 .lane_count = 1,
			 .lane_size = sizeof lanes[0]});
	settle(&b);
	assert_int_equal(b.p->sources[0].lane_count, 1);
	/* It comes back while the reading goes on, which began without it: another follows. */
	queue(0, (struct riffle_event){.type = RIFFLE_EV_ASSIGNED,
			 .lanes = &lanes[0],
			 .lane_count = 1,
			 .lane_size = sizeof lanes[0]});
	settle(&b);
	assert_false(lane_started[0]);
	checkpoint_readable = 1;
	settle(&b);
	assert_true(lane_started[0]);
	assert_int_equal(sources_open, 1);
	rfl_buf_fini(&its);
	finish(&b);
}

static void
test_a_broken_checkpoint_stream_is_opened_again(void **state)
{
	(void)state;
	struct bed b;
	char why[300];
	struct rfl_buf its = value_of(5, NULL);
	start_from_checkpoint(&b);
	add_checkpoint(its_key, bytes_of(&its));
	settle(&b);
	queue(2, (struct riffle_event){.type = RIFFLE_EV_ERROR,
			 .status = RIFFLE_E_FATAL,
			 .error = {.code = RIFFLE_E_FATAL, .text = "gone"}});
	settle(&b);
	assert_int_equal(state_of(&b, why, sizeof why), RFL_FAILED);
	assert_string_equal(why, "cannot read the checkpoint stream default: gone");
	assert_int_equal(sources_open, 0);
	checkpoint_readable = 1;
	advance(&b, 400);
	assert_true(lane_started[0] && lane_started[1]);
	assert_int_equal(state_of(&b, why, sizeof why), RFL_RUNNING);
	rfl_buf_fini(&its);
	finish(&b);
}

static void
test_a_checkpoint_stream_in_trouble_is_read_on(void **state)
{
	(void)state;
	struct bed b;
	char why[300];
	struct rfl_buf its = value_of(5, NULL);
	start_from_checkpoint(&b);
	add_checkpoint(its_key, bytes_of(&its));
	settle(&b);
	queue(2, (struct riffle_event){.type = RIFFLE_EV_ERROR,
			 .status = RIFFLE_E_DATA,
			 .error = {.code = RIFFLE_E_DATA, .text = "a hiccup"}});
	settle(&b);
	assert_int_equal(state_of(&b, why, sizeof why), RFL_RUNNING);
	checkpoint_readable = 1;
	settle(&b);
	assert_true(lane_started[0]);
	rfl_buf_fini(&its);
	finish(&b);
}

/* Nobody waits for its end any more: a stop does not either. */
static void
test_a_stop_does_not_wait_for_the_end_of_the_checkpoint_stream(void **state)
{
	(void)state;
	struct bed b;
	struct rfl_buf its = value_of(5, NULL);
	start_from_checkpoint(&b);
	add_checkpoint(its_key, bytes_of(&its));
	settle(&b);
	assert_int_equal(sources_open, 2);
	rfl_processor_drain(b.p);
	settle(&b);
	assert_true(rfl_processor_is_closed(b.p));
	assert_int_equal(sources_open, 0);
	rfl_buf_fini(&its);
	finish(&b);
}

/* Two sessions whose records lie among each other; the first is over with the last record but one. */
static const int64_t two_sessions[] = {
	1000, 1500, 1001, 1501, 1002, 1502, 1003, 1503, 2400, 2401, 3900};

static void
start_overflow(struct bed *b)
{
	start_sessions(b);
	/* The empty set, or one run. */
	b->p->task_spec.position_chars = RFL_TUPLE_TEXT + 8;
	record_times = two_sessions;
	sink_is_full = 1;
	settle(b);
	log_end[0] = 10;
	settle(b);
}

static void
test_a_transaction_ends_when_its_checkpoint_is_in_it(void **state)
{
	(void)state;
	struct bed b;
	start_overflow(&b);
	advance(&b, 1000);
	assert_int_equal(b.p->txn_phase, RFL_TXN_CLOSING);
	assert_string_equal(written, "");
	sink_is_full = 0;
	settle(&b);
	assert_string_equal(written, "0.0 0.2 0.4 0.6 [default.x/x/0: 84] ");
	assert_int_equal(committed[0], 0);
	/* Then all are over but the last: one run, which the position has room for. */
	log_end[0] = 11;
	settle(&b);
	assert_non_null(strstr(written, "0.1 0.3 0.5 0.7 0.8 0.9 [default.x/x/0: 0] "));
	finish(&b);
}

static void
test_a_checkpoint_of_a_revoked_task_is_not_committed(void **state)
{
	(void)state;
	struct bed b;
	start_overflow(&b);
	advance(&b, 1000);
	assert_int_equal(b.p->txn_phase, RFL_TXN_CLOSING);
	char before[sizeof metadata[0]];
	memcpy(before, metadata[0], sizeof before);
	queue(0, (struct riffle_event){.type = RIFFLE_EV_REVOKED,
			 .lanes = &lanes[0],
			 .lane_count = 1,
			 .lane_size = sizeof lanes[0]});
	settle(&b);
	sink_is_full = 0;
	advance(&b, 1000);
	assert_string_equal(written, "");
	assert_memory_equal(metadata[0], before, sizeof before);
	finish(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_task_waits_for_its_checkpoint),
		cmocka_unit_test(test_a_checkpoint_that_is_not_its_stops_the_task),
		cmocka_unit_test(test_a_lane_that_goes_does_not_wait_for_its_checkpoint),
		cmocka_unit_test(test_a_broken_checkpoint_stream_is_opened_again),
		cmocka_unit_test(test_a_checkpoint_stream_in_trouble_is_read_on),
		cmocka_unit_test(test_a_stop_does_not_wait_for_the_end_of_the_checkpoint_stream),
		cmocka_unit_test(test_a_transaction_ends_when_its_checkpoint_is_in_it),
		cmocka_unit_test(test_a_checkpoint_of_a_revoked_task_is_not_committed),
	};
	return RUN("checkpoint", tests);
}
