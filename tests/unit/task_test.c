/* The task room: which calls a task makes, what it does when they fail, and what it leaves unread. */
#include "task_bed.h"

static void
test_tumbling_calls_once_per_window(void **state)
{
	(void)state;
	struct bed b;
	struct rfl_tuple t;
	bed_set(&b, RFL_SHAPE_TUMBLING, 10000, 0);
	bed_start(&b, 0, NULL);
	lane_end = 2;
	settle_down(&b);
	lane_end = 3;
	advance(&b, 9999);
	assert_string_equal(sink_log, "");
	assert_int_equal(commit(&b, &t), -1);
	advance(&b, 1);
	assert_string_equal(sink_log, "0,1,2;");
	assert_string_equal(window_header, "1000000..1010000");
	assert_int_equal(sink_time_ms, 1009999);
	assert_int_equal(commit(&b, &t), 3);
	assert_int_equal(t.seq, 1);
	assert_int_equal(t.hw, 3);
	assert_true(t.settings == 42 && t.frontier_ms == RFL_TUPLE_UNSET);
	/* An empty window is not called. */
	advance(&b, 30000);
	assert_int_equal(calls_begun, 1);
	bed_end(&b);
}

static void
test_count_cuts_exactly(void **state)
{
	(void)state;
	struct bed b;
	struct rfl_tuple t;
	bed_set(&b, RFL_SHAPE_COUNT, 0, 4);
	bed_start(&b, 0, NULL);
	lane_end = 10;
	settle_down(&b);
	assert_string_equal(sink_log, "0,1,2,3;4,5,6,7;");
	assert_int_equal(commit(&b, &t), 8);
	bed_end(&b);
}

static void
test_none_takes_what_a_poll_brings(void **state)
{
	(void)state;
	struct bed b;
	struct rfl_tuple t;
	bed_set(&b, RFL_SHAPE_NONE, 0, 0);
	b.conf.max_records = 3;
	bed_start(&b, 5, NULL);
	lane_end = 9;
	settle_down(&b);
	assert_string_equal(sink_log, "5,6,7;8;");
	assert_int_equal(sink_time_ms, 1009);
	assert_int_equal(commit(&b, &t), 9);
	bed_end(&b);
}

/* Some of what it answered may be written: at most once it is not called again for the rest. */
static void
test_at_most_once_refused_outputs_are_not_made_again(void **state)
{
	(void)state;
	static const enum rfl_final_action all[] = {RFL_ON_ERROR_SKIP, RFL_ON_ERROR_STOP};
	for (size_t i = 0; i < 2; i++) {
		struct bed b;
		struct rfl_tuple t;
		struct rfl_task_progress p;
		struct rfl_task_view v;
		bed_set(&b, RFL_SHAPE_NONE, 0, 0);
		b.conf.guarantee = RFL_AT_MOST_ONCE;
		b.conf.on_error.then = all[i];
		bed_start(&b, 0, NULL);
		lane_end = 2;
		settle_down(&b);
		assert_int_equal(commit(&b, &t), 2);
		rfl_task_run(b.task, &p);
		deliver(&b);
		acknowledge(&b, RIFFLE_E_UNAVAILABLE, RIFFLE_ERR_RETRIABLE);
		for (int k = 0; k < 10; k++)
			advance(&b, 150);
		assert_int_equal(calls_begun, 1);
		rfl_task_view(b.task, &v);
		assert_int_equal(v.skipped, all[i] == RFL_ON_ERROR_SKIP);
		assert_int_equal(v.stopped, all[i] == RFL_ON_ERROR_STOP);
		bed_end(&b);
	}
}

static void
test_failed_call_is_tried_again_then_stops(void **state)
{
	(void)state;
	struct bed b;
	struct rfl_tuple t;
	bed_set(&b, RFL_SHAPE_NONE, 0, 0);
	b.conf.outputs_at_status = 1;
	bed_start(&b, 0, NULL);
	lane_end = 1;
	fail_times = 1;
	settle_down(&b);
	assert_int_equal(calls_begun, 1);
	advance(&b, 99);
	assert_int_equal(calls_begun, 1);
	advance(&b, 51);
	assert_int_equal(calls_begun, 2);
	assert_int_equal(last_attempt, 2);
	assert_string_equal(sink_log, "0;");
	assert_int_equal(commit(&b, &t), 1);

	lane_end = 2;
	fail_times = 100;
	settle_down(&b);
	for (int i = 0; i < 20; i++)
		advance(&b, 150);
	assert_int_equal(calls_begun, 5);
	assert_non_null(strstr(why(&b), "attempt 3: it went wrong"));
	assert_int_equal(commit(&b, &t), -1);
	lane_end = 3;
	advance(&b, 1000);
	assert_int_equal(calls_begun, 5);
	assert_true(rfl_task_is_drained(b.task));
	bed_end(&b);
}

static void
test_what_cannot_change_is_not_tried_again(void **state)
{
	(void)state;
	struct bed b;
	bed_set(&b, RFL_SHAPE_NONE, 0, 0);
	bed_start(&b, 0, NULL);
	lane_end = 1;
	answer_type = "application/json";
	settle_down(&b);
	advance(&b, 1000);
	assert_int_equal(calls_begun, 1);
	assert_non_null(strstr(why(&b), "content type \"application/json\" not compatible"));
	assert_string_equal(sink_log, "");
	bed_end(&b);
}

static void
test_output_out_of_range_fails_the_call(void **state)
{
	(void)state;
	struct bed b;
	bed_set(&b, RFL_SHAPE_NONE, 0, 0);
	bed_start(&b, 0, NULL);
	lane_end = 1;
	answer_output = 7;
	settle_down(&b);
	assert_non_null(strstr(why(&b), "output 7, the processor has 1"));
	bed_end(&b);
}

static void
test_absent_function_is_waited_for_without_counting(void **state)
{
	(void)state;
	struct bed b;
	bed_set(&b, RFL_SHAPE_NONE, 0, 0);
	bed_start(&b, 0, NULL);
	lane_end = 1;
	begin_fails = 50;
	settle_down(&b);
	for (int i = 0; i < 60; i++)
		advance(&b, 150);
	assert_string_equal(sink_log, "0;");
	assert_string_equal(why(&b), "");
	bed_end(&b);
}

static void
test_timeout_counts_from_the_end_of_input(void **state)
{
	(void)state;
	struct bed b;
	bed_set(&b, RFL_SHAPE_NONE, 0, 0);
	b.conf.on_error.retries = 0;
	b.conf.outputs_at_status = 1;
	bed_start(&b, 0, NULL);
	lane_end = 1;
	stay_open = 1;
	settle_down(&b);
	advance(&b, 999);
	assert_string_equal(why(&b), "");
	advance(&b, 1);
	assert_non_null(strstr(why(&b), "timeout = 1000ms"));
	assert_string_equal(sink_log, "");
	bed_end(&b);
}

static void
test_refused_content_type_stops_or_is_skipped(void **state)
{
	(void)state;
	struct bed b;
	struct rfl_tuple t;
	bed_set(&b, RFL_SHAPE_NONE, 0, 0);
	bed_start(&b, 0, NULL);
	lane_end = 2;
	lane_type = "image/png";
	settle_down(&b);
	assert_string_equal(why(&b), "record x[0]@0: content type \"image/png\" not compatible "
				     "with expected content type "
				     "\"text/plain\"");
	assert_int_equal(calls_begun, 0);
	assert_int_equal(commit(&b, &t), -1);
	bed_end(&b);

	bed_set(&b, RFL_SHAPE_NONE, 0, 0);
	b.conf.on_error.then = RFL_ON_ERROR_SKIP;
	bed_start(&b, 0, NULL);
	lane_end = 2;
	lane_type = "image/png";
	settle_down(&b);
	lane_type = "text/plain";
	lane_end = 3;
	settle_down(&b);
	assert_string_equal(sink_log, "2;");
	assert_int_equal(commit(&b, &t), 3);
	struct rfl_task_view v;
	rfl_task_view(b.task, &v);
	assert_int_equal(v.refused, 2);
	bed_end(&b);
}

static void
test_refused_publish_is_tried_again(void **state)
{
	(void)state;
	struct bed b;
	struct rfl_tuple t;
	struct rfl_task_progress p;
	bed_set(&b, RFL_SHAPE_NONE, 0, 0);
	bed_start(&b, 0, NULL);
	lane_end = 1;
	rfl_task_run(b.task, &p);
	deliver(&b);
	acknowledge(&b, RIFFLE_E_UNAVAILABLE, RIFFLE_ERR_RETRIABLE);
	settle_down(&b);
	assert_int_equal(commit(&b, &t), -1);
	advance(&b, 150);
	assert_string_equal(sink_log, "0;0;");
	assert_int_equal(commit(&b, &t), 1);
	bed_end(&b);
}

/* The window fails once, whatever the number of its outputs that were refused. */
static void
test_what_was_refused_with_others_says_nothing_more(void **state)
{
	(void)state;
	struct bed b;
	struct rfl_tuple t;
	struct rfl_task_view v;
	struct rfl_task_progress p;
	bed_set(&b, RFL_SHAPE_NONE, 0, 0);
	b.conf.outputs_at_status = 1;
	b.conf.on_error.then = RFL_ON_ERROR_DEAD_LETTER;
	b.conf.on_error.dead_letter = &b.stream;
	b.spec.dead_letter = b.route;
	answers = 3;
	bed_start(&b, 0, NULL);
	lane_end = 1;
	rfl_task_run(b.task, &p);
	deliver(&b);
	acknowledge(&b, RIFFLE_E_DATA, 0);
	settle_down(&b);
	rfl_task_view(b.task, &v);
	assert_string_equal(sink_log, "0;0;0;0;");
	assert_string_equal(why(&b), "");
	assert_int_equal(v.dead_letters, 1);
	assert_int_equal(commit(&b, &t), 1);
	bed_end(&b);
}

/* As settle_down, but nothing comes of what is written. */
static void
run_until_written(struct bed *b)
{
	struct rfl_task_progress progress;
	struct riffle_error err = {0};
	do {
		rfl_task_run(b->task, &progress);
		progress.moved |= deliver(b);
		rfl_outlet_push(&b->outlet, &err);
	} while (progress.moved);
}

/* Of a window of two records, which the function will not have; none of them has a status yet. */
static void
bed_of_dead_letters(struct bed *b)
{
	bed_set(b, RFL_SHAPE_NONE, 0, 0);
	b->conf.outputs_at_status = 1;
	b->conf.on_error.then = RFL_ON_ERROR_DEAD_LETTER;
	b->conf.on_error.dead_letter = &b->stream;
	b->spec.dead_letter = b->route;
	bed_start(b, 0, NULL);
	lane_end = 2;
	fail_times = 1;
	fail_flags = 0;
	run_until_written(b);
	assert_string_equal(sink_log, "0;1;");
}

static void
test_dead_letters_that_are_refused_stop_the_task(void **state)
{
	(void)state;
	struct bed b;
	bed_of_dead_letters(&b);
	acknowledge(&b, RIFFLE_E_DATA, 0);
	run_until_written(&b);
	assert_string_equal(sink_log, "0;1;");
	assert_string_equal(why(&b),
		"window 1000000, attempt 1: its dead letters are refused: cannot publish: refused");
	assert_int_equal(calls_begun, 1);
	bed_end(&b);
}

/* The function is not asked again for that: it has failed for good. */
static void
test_dead_letters_are_written_again(void **state)
{
	(void)state;
	struct bed b;
	struct rfl_tuple t;
	bed_of_dead_letters(&b);
	acknowledge(&b, RIFFLE_E_TIMEOUT, RIFFLE_ERR_RETRIABLE);
	run_until_written(&b);
	assert_string_equal(sink_log, "0;1;");
	assert_int_equal(commit(&b, &t), -1);
	advance(&b, 1000);
	assert_string_equal(sink_log, "0;1;0;1;");
	assert_int_equal(calls_begun, 1);
	assert_string_equal(why(&b), "");
	assert_int_equal(commit(&b, &t), 2);
	bed_end(&b);
}

static void
test_dead_letters_are_not_written_again_for_ever(void **state)
{
	(void)state;
	struct bed b;
	bed_of_dead_letters(&b);
	for (int i = 0; i < 10; i++) {
		acknowledge(&b, RIFFLE_E_TIMEOUT, RIFFLE_ERR_RETRIABLE);
		rfl_clock_advance(&b.clock, INT64_C(1000) * 1000000);
		run_until_written(&b);
	}
	assert_string_equal(sink_log, "0;1;0;1;0;1;");
	assert_non_null(strstr(why(&b), "its dead letters are refused: cannot publish: refused"));
	bed_end(&b);
}

static void
test_full_memory_withholds_the_lane(void **state)
{
	(void)state;
	struct bed b;
	struct rfl_task_view v;
	bed_set(&b, RFL_SHAPE_TUMBLING, 10000, 0);
	b.spec.memory_bytes = 256 * 1024;
	bed_start(&b, 0, NULL);
	lane_end = 1000000;
	settle_down(&b);
	rfl_task_view(b.task, &v);
	assert_true(lane_next < 20000);
	assert_true(v.memory_bytes < 512 * 1024);
	bed_end(&b);

	bed_set(&b, RFL_SHAPE_COUNT, 0, 1000000);
	b.spec.memory_bytes = 256 * 1024;
	bed_start(&b, 0, NULL);
	lane_end = 1000000;
	settle_down(&b);
	assert_non_null(strstr(why(&b), "more than memory = 262144 bytes"));
	bed_end(&b);
}

static void
test_sink_with_little_room_gets_all_of_it(void **state)
{
	(void)state;
	struct bed b;
	struct riffle_error err = {0};
	struct rfl_task_progress p;
	bed_set(&b, RFL_SHAPE_COUNT, 0, 1);
	bed_start(&b, 0, NULL);
	lane_end = 3;
	sink_room = 0;
	for (int i = 0; i < 5; i++) {
		rfl_task_run(b.task, &p);
		deliver(&b);
	}
	assert_int_equal(rfl_outlet_push(&b.outlet, &err), 0);
	sink_room = 2;
	assert_int_equal(rfl_outlet_push(&b.outlet, &err), 0);
	sink_room = 2;
	assert_int_equal(rfl_outlet_push(&b.outlet, &err), 1);
	assert_string_equal(sink_log, "0;1;2;");
	/* A status for what was never sent is the plugin's mistake, not a crash. */
	struct riffle_event ev = {.size = sizeof ev, .tag = 99, .count = 1};
	assert_int_equal(rfl_outlet_sent(&b.outlet, &ev, &err), RIFFLE_E_FATAL);
	bed_end(&b);
}

static void
run_a_few_times(struct bed *b)
{
	struct riffle_error err = {0};
	struct rfl_task_progress p;
	for (int i = 0; i < 5; i++) {
		rfl_task_run(b->task, &p);
		deliver(b);
		rfl_outlet_push(&b->outlet, &err);
	}
}

static void
test_invoker_that_does_not_end_a_cancelled_call_is_named(void **state)
{
	(void)state;
	struct bed b;
	bed_set(&b, RFL_SHAPE_NONE, 0, 0);
	bed_start(&b, 0, NULL);
	lane_end = 1;
	stay_open = cancel_waits = 1;
	settle_down(&b);
	advance(&b, 1000);
	char *says = rfl_task_explain(b.task);
	assert_non_null(strstr(says, "was cancelled, and the invoker has not ended it yet"));
	free(says);
	end_call(open_call, RIFFLE_E_CANCELLED, 0, "");
	settle_down(&b);
	bed_end(&b);
}

static void
test_slow_sink_stops_a_talkative_function(void **state)
{
	(void)state;
	struct bed b;
	struct rfl_task_progress p;
	bed_set(&b, RFL_SHAPE_NONE, 0, 0);
	bed_start(&b, 0, NULL);
	lane_end = 1;
	sink_room = 0;
	stay_open = 1;
	rfl_task_run(b.task, &p);
	size_t given = credit;
	deliver(&b);
	acknowledge(&b, RIFFLE_OK, 0);
	assert_int_equal(credit, given);
	sink_room = 1;
	settle_down(&b);
	assert_string_equal(sink_log, "0;");
	assert_true(credit > given);
	end_call(open_call, RIFFLE_OK, 0, "");
	settle_down(&b);
	bed_end(&b);
}

static void
test_full_sink_leaves_records_with_the_provider(void **state)
{
	(void)state;
	struct bed b;
	bed_set(&b, RFL_SHAPE_NONE, 0, 0);
	b.conf.max_records = 2;
	bed_start(&b, 0, NULL);
	lane_end = 20;
	sink_room = 0;
	run_a_few_times(&b);
	int64_t read = lane_next;
	assert_true(read > 0 && read < 20);
	run_a_few_times(&b);
	assert_int_equal(lane_next, read);
	sink_room = UINT32_MAX;
	settle_down(&b);
	assert_int_equal(lane_next, 20);
	assert_string_equal(sink_log, "0,1;2,3;4,5;6,7;8,9;10,11;12,13;14,15;16,17;18,19;");
	bed_end(&b);
}

/* A shared sink goes on with what it was given, whatever became of the task. */
static void
test_outputs_outlive_their_task(void **state)
{
	(void)state;
	struct bed b;
	struct riffle_error err = {0};
	bed_set(&b, RFL_SHAPE_TUMBLING, 10000, 0);
	b.conf.by.source = RFL_BY_KEY;
	lane_key = "the key of this window";
	bed_start(&b, 0, NULL);
	lane_end = 2;
	sink_room = 0;
	settle_down(&b);
	advance(&b, 10000);
	rfl_task_abandon(b.task);
	deliver(&b);
	rfl_task_destroy(b.task);
	sink_room = UINT32_MAX;
	assert_true(rfl_outlet_push(&b.outlet, &err) >= 0);
	assert_string_equal(sink_log, "0,1;");
	assert_string_equal(sink_key, lane_key);
	rfl_outlet_fini(&b.outlet);
	rfl_mailbox_fini(&b.mailbox);
}

/* A look that failed is over with what it had answered, and holds nothing any more. */
static void
test_early_look_that_fails_is_let_go(void **state)
{
	(void)state;
	static const int64_t times[] = {1000000, 1000001, 1010000};
	struct bed b;
	struct rfl_tuple t;
	bed_set(&b, RFL_SHAPE_TUMBLING, 10000, 0);
	b.conf.window.kind = RFL_WINDOW_TUMBLING;
	b.conf.time.source = RFL_TIME_RECORD;
	b.conf.max_future_ms = 3600000;
	b.conf.early_ms = 1000;
	b.conf.outputs_at_status = 1;
	lane_times = times;
	bed_start(&b, 0, NULL);
	lane_end = 2;
	settle_down(&b);
	fail_times = 1;
	fail_flags = 0;
	advance(&b, 1000);
	assert_int_equal(calls_begun, 1);
	lane_end = 3;
	settle_down(&b);
	assert_string_equal(sink_log, "0,1;");
	assert_int_equal(commit(&b, &t), 2);
	bed_end(&b);
}

/* To a slow function they do not pile up: while a look is out there is no other. */
static void
test_early_looks_wait_for_the_last_one(void **state)
{
	(void)state;
	struct bed b;
	bed_set(&b, RFL_SHAPE_TUMBLING, 10000, 0);
	b.conf.early_ms = 1000;
	b.conf.calls = 1;
	b.function.timeout_ms = 60000;
	bed_start(&b, 0, NULL);
	lane_end = 1;
	settle_down(&b);
	stay_open = 1;
	for (int i = 0; i < 5; i++) {
		advance(&b, 1000);
		lane_end++;
	}
	settle_down(&b);
	assert_int_equal(calls_begun, 1);
	stay_open = 0;
	end_call(open_call, RIFFLE_OK, 0, "");
	settle_down(&b);
	assert_string_equal(sink_log, "0;");
	advance(&b, 1000);
	assert_string_equal(sink_log, "0;0,1,2,3,4,5;");
	bed_end(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tumbling_calls_once_per_window),
		cmocka_unit_test(test_count_cuts_exactly),
		cmocka_unit_test(test_none_takes_what_a_poll_brings),
		cmocka_unit_test(test_at_most_once_refused_outputs_are_not_made_again),
		cmocka_unit_test(test_failed_call_is_tried_again_then_stops),
		cmocka_unit_test(test_what_cannot_change_is_not_tried_again),
		cmocka_unit_test(test_output_out_of_range_fails_the_call),
		cmocka_unit_test(test_absent_function_is_waited_for_without_counting),
		cmocka_unit_test(test_timeout_counts_from_the_end_of_input),
		cmocka_unit_test(test_refused_content_type_stops_or_is_skipped),
		cmocka_unit_test(test_refused_publish_is_tried_again),
		cmocka_unit_test(test_what_was_refused_with_others_says_nothing_more),
		cmocka_unit_test(test_dead_letters_that_are_refused_stop_the_task),
		cmocka_unit_test(test_dead_letters_are_written_again),
		cmocka_unit_test(test_dead_letters_are_not_written_again_for_ever),
		cmocka_unit_test(test_full_memory_withholds_the_lane),
		cmocka_unit_test(test_sink_with_little_room_gets_all_of_it),
		cmocka_unit_test(test_invoker_that_does_not_end_a_cancelled_call_is_named),
		cmocka_unit_test(test_slow_sink_stops_a_talkative_function),
		cmocka_unit_test(test_full_sink_leaves_records_with_the_provider),
		cmocka_unit_test(test_outputs_outlive_their_task),
		cmocka_unit_test(test_early_look_that_fails_is_let_go),
		cmocka_unit_test(test_early_looks_wait_for_the_last_one),
	};
	return RUN("task", tests);
}
