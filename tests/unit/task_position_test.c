/* The task room: which position a task commits, and how it goes on from one. */
#include "task_bed.h"

static void
test_position_waits_for_the_acknowledgement(void **state)
{
	(void)state;
	struct bed b;
	struct rfl_tuple t;
	struct rfl_task_progress p;
	bed_set(&b, RFL_SHAPE_NONE, 0, 0);
	bed_start(&b, 0, NULL);
	lane_end = 2;
	rfl_task_run(b.task, &p);
	deliver(&b);
	rfl_task_run(b.task, &p);
	struct riffle_error err = {0};
	assert_int_equal(rfl_outlet_push(&b.outlet, &err), 1);
	rfl_task_run(b.task, &p);
	assert_string_equal(sink_log, "0,1;");
	assert_int_equal(commit(&b, &t), -1);
	settle_down(&b);
	assert_int_equal(commit(&b, &t), 2);
	bed_end(&b);
}

static void
test_delivered_twice_enters_once(void **state)
{
	(void)state;
	struct bed b;
	bed_set(&b, RFL_SHAPE_NONE, 0, 0);
	bed_start(&b, 0, NULL);
	lane_end = 3;
	settle_down(&b);
	lane_next = 1;
	lane_end = 5;
	settle_down(&b);
	assert_string_equal(sink_log, "0,1,2;3,4;");
	bed_end(&b);
}

static void
test_failing_window_holds_the_frontier(void **state)
{
	(void)state;
	struct bed b;
	struct rfl_tuple t;
	bed_set(&b, RFL_SHAPE_COUNT, 0, 1);
	bed_start(&b, 0, NULL);
	lane_end = 1;
	fail_times = 1;
	settle_down(&b);
	lane_end = 3;
	settle_down(&b);
	/* Outputs of later windows are out, and not one position. */
	assert_non_null(strstr(sink_log, "1;2;"));
	assert_int_equal(commit(&b, &t), -1);
	advance(&b, 150);
	assert_int_equal(commit(&b, &t), 3);
	bed_end(&b);
}

static void
test_restart_goes_on_from_the_tuple(void **state)
{
	(void)state;
	struct bed b;
	struct rfl_tuple t = {.seq = 9, .settings = 42, .hw = 4};
	char text[RFL_TUPLE_TEXT + 1];
	rfl_tuple_encode(&t, text);
	bed_set(&b, RFL_SHAPE_NONE, 0, 0);
	bed_start(&b, 4, text);
	lane_end = 5;
	settle_down(&b);
	assert_string_equal(sink_log, "4;");
	assert_int_equal(commit(&b, &t), 5);
	assert_int_equal(t.seq, 10);
	bed_end(&b);
}

/* Offset 1 was ahead of the clock when it was read first. */
static const int64_t ahead_times[] = {1000, 2000, 1200, 2050, 3000};

static void
test_what_was_ahead_of_the_clock_stays_refused(void **state)
{
	(void)state;
	struct bed b;
	const struct rfl_tuple t = {
		.seq = 9, .settings = 42, .hw = 3, .frontier_ms = 1000, .time_ms = 1200};
	char text[RFL_TUPLE_TEXT + 1];
	rfl_tuple_encode(&t, text);
	bed_set(&b, RFL_SHAPE_TUMBLING, 100, 0);
	lane_times = ahead_times;
	b.conf.window = (struct rfl_window_conf){.kind = RFL_WINDOW_TUMBLING, .size_ms = 100};
	b.conf.time.source = RFL_TIME_RECORD;
	b.conf.max_future_ms = INT64_C(1) << 40;
	b.conf.idle_after_ms = b.conf.close_after_idle_ms = 1000000;
	bed_start(&b, 0, text);
	lane_end = 5;
	settle_down(&b);
	assert_string_equal(sink_log, "0;2;3;");
	bed_end(&b);
}

static void
test_changed_settings_and_foreign_metadata_are_refused(void **state)
{
	(void)state;
	struct bed b;
	const struct rfl_tuple t = {.seq = 9, .settings = 43, .hw = 4};
	char text[RFL_TUPLE_TEXT + 1];
	rfl_tuple_encode(&t, text);
	bed_set(&b, RFL_SHAPE_NONE, 0, 0);
	bed_start(&b, 4, text);
	assert_non_null(strstr(why(&b), "window settings of group default.x were others"));
	lane_end = 9;
	settle_down(&b);
	assert_int_equal(calls_begun, 0);
	bed_end(&b);
	bed_set(&b, RFL_SHAPE_NONE, 0, 0);
	bed_start(&b, 4, "somebody else's");
	assert_non_null(strstr(why(&b), "is not riffle's"));
	bed_end(&b);
}

/* The windows are done, and hw would say that the late record is too. */
static void
test_late_record_that_is_not_written_holds_the_position(void **state)
{
	static const int64_t times[] = {1000, 1250, 1010, 1260};
	(void)state;
	struct bed b;
	struct rfl_tuple t;
	struct rfl_outlet late;
	bed_set(&b, RFL_SHAPE_TUMBLING, 100, 0);
	rfl_outlet_init(&late, &provider_ops, NULL, 0);
	lane_times = times;
	b.conf.window.kind = RFL_WINDOW_TUMBLING;
	b.conf.time.source = RFL_TIME_RECORD;
	b.conf.late = RFL_LATE_STREAM;
	b.conf.late_stream = &b.stream;
	b.spec.late = (struct rfl_route){.outlet = &late, .content_type = "text/plain"};
	bed_start(&b, 0, NULL);
	lane_end = 4;
	settle_down(&b);
	assert_string_equal(sink_log, "0;");
	assert_int_equal(commit(&b, &t), -1);
	acknowledge_on(&late, RIFFLE_OK, 0);
	assert_string_equal(sink_log, "0;2;");
	settle_down(&b);
	assert_int_equal(commit(&b, &t), 0);
	assert_int_equal(t.hw, 4);
	assert_true(t.frontier_ms >= 1100 && t.frontier_ms < 1300);
	bed_end(&b);
	rfl_outlet_fini(&late);
}

static void
stage_all(struct bed *b)
{
	struct rfl_send *s;
	struct riffle_error err = {0};
	for (int i = 0; i < 3; i++) {
		rfl_task_stage(b->task, 1);
		rfl_outlet_push(&b->outlet, &err);
		while ((s = rfl_outlet_next(&b->outlet)) != NULL) {
			if (s->owner != NULL)
				rfl_task_sent(s->owner, s);
			rfl_send_free(s);
		}
	}
}

static void
run_only(struct bed *b)
{
	struct rfl_task_progress p;
	do {
		rfl_task_run(b->task, &p);
		p.moved |= deliver(b);
	} while (p.moved);
}

static void
test_exactly_once_stages_in_order_and_undoes(void **state)
{
	(void)state;
	struct bed b;
	struct riffle_position at;
	struct rfl_commit_text text;
	bed_set(&b, RFL_SHAPE_COUNT, 0, 2);
	b.conf.guarantee = RFL_EXACTLY_ONCE;
	b.outlet.transactional = 1;
	bed_start(&b, 0, NULL);
	lane_end = 4;
	run_only(&b);
	assert_string_equal(sink_log, "");
	assert_true(rfl_task_can_stage(b.task));
	assert_false(rfl_task_can_commit(b.task));
	stage_all(&b);
	assert_string_equal(sink_log, "0,1;2,3;");
	assert_int_equal(rfl_task_positions(b.task, 0, &at, &text), 1);
	assert_int_equal(at.offset, 4);
	rfl_task_commit_begin(b.task);
	rfl_task_commit_undone(b.task);
	assert_false(rfl_task_can_commit(b.task));
	stage_all(&b);
	assert_string_equal(sink_log, "0,1;2,3;0,1;2,3;");
	rfl_task_commit_begin(b.task);
	rfl_task_commit_done(b.task);
	assert_false(rfl_task_can_stage(b.task));
	rfl_task_drain(b.task);
	assert_true(rfl_task_is_drained(b.task));
	bed_end(&b);
}

/* What of it could still be written never will be: nobody may wait for that. */
static void
test_who_can_commit_no_more_holds_up_nobody(void **state)
{
	static const int64_t times[] = {1000, 1250, 1010, 1260};
	(void)state;
	struct bed b;
	struct rfl_tuple t;
	bed_set(&b, RFL_SHAPE_TUMBLING, 100, 0);
	lane_times = times;
	b.conf.window.kind = RFL_WINDOW_TUMBLING;
	b.conf.time.source = RFL_TIME_RECORD;
	b.conf.late = RFL_LATE_STREAM;
	b.conf.late_stream = &b.stream;
	b.conf.guarantee = RFL_EXACTLY_ONCE;
	b.outlet.transactional = 1;
	b.spec.late = b.route;
	bed_start(&b, 0, NULL);
	lane_end = 2;
	run_only(&b);
	stage_all(&b);
	assert_int_equal(commit(&b, &t), 0);
	lane_end = 4;
	run_only(&b);
	stage_all(&b);
	assert_string_equal(sink_log, "0;2;");
	/* The broker takes neither, now or ever. */
	rfl_task_commit_undone(b.task);
	rfl_task_seal(b.task, "refused");
	assert_false(rfl_task_is_staging(b.task));
	rfl_task_drain(b.task);
	assert_true(rfl_task_is_drained(b.task));
	bed_end(&b);
}

/* Offsets 0, 2, 4, 6 are of a session around 1000, the odd ones of one around 1500; 8 ends the first, 10 both. */
static const int64_t scattered_times[] = {
	1000, 1500, 1001, 1501, 1002, 1502, 1003, 1503, 2400, 2401, 3900};

static void
scatter_from(struct bed *b, size_t position_chars, int64_t low, const char *metadata)
{
	bed_set(b, RFL_SHAPE_SESSION, 100, 0);
	lane_times = scattered_times;
	b->spec.window.max_ms = 10000;
	b->spec.position_chars = position_chars;
	b->conf.window = (struct rfl_window_conf){.kind = RFL_WINDOW_SESSION, .size_ms = 100};
	b->conf.time.source = RFL_TIME_RECORD;
	b->conf.max_disorder_ms = 1000;
	b->conf.max_future_ms = INT64_C(1) << 40;
	b->conf.idle_after_ms = b->conf.close_after_idle_ms = 1000000;
	b->conf.guarantee = RFL_EXACTLY_ONCE;
	b->outlet.transactional = 1;
	bed_start(b, low, metadata);
}

static void
scatter(struct bed *b, size_t position_chars)
{
	scatter_from(b, position_chars, 0, NULL);
	lane_end = 10;
	run_only(b);
	assert_int_equal(calls_begun, 1);
}

static void
test_position_names_the_open_sessions(void **state)
{
	(void)state;
	struct bed b;
	struct riffle_position at;
	struct rfl_commit_text text;
	struct rfl_tuple t;
	struct rfl_run *runs;
	size_t count;
	struct riffle_error err = {0};
	scatter(&b, RFL_POSITION_TEXT_MAX);
	stage_all(&b);
	assert_string_equal(sink_log, "0,2,4,6;");
	assert_int_equal(rfl_task_positions(b.task, 0, &at, &text), 1);
	assert_int_equal(rfl_tuple_decode(at.metadata, &t, &err), RIFFLE_OK);
	assert_int_equal(t.hw, 10);
	assert_int_equal(
		rfl_open_set_decode(at.metadata, at.offset, t.hw, &runs, &count, &err), RIFFLE_OK);
	static const struct rfl_run expected[] = {{1, 2}, {3, 4}, {5, 6}, {7, 10}};
	assert_int_equal(count, 4);
	assert_memory_equal(runs, expected, sizeof expected);
	free(runs);
	rfl_task_commit_begin(b.task);
	rfl_task_commit_done(b.task);
	bed_end(&b);

	/* Who goes on from there has the second session, and the first one no more. */
	scatter_from(&b, RFL_POSITION_TEXT_MAX, at.offset, text.text);
	lane_end = 11;
	run_only(&b);
	stage_all(&b);
	assert_string_equal(sink_log, "1,3,5,7;8,9;");
	bed_end(&b);
}

static void
test_sessions_wait_until_the_position_has_room(void **state)
{
	(void)state;
	struct bed b;
	/* For two runs. */
	scatter(&b, RFL_TUPLE_TEXT + 12);
	assert_false(rfl_task_can_stage(b.task));
	assert_true(rfl_task_waits_for_room(b.task));
	char *says = rfl_task_explain(b.task);
	assert_non_null(strstr(says, "waits until its position has room"));
	free(says);
	lane_end = 11;
	run_only(&b);
	assert_true(rfl_task_can_stage(b.task));
	stage_all(&b);
	assert_string_equal(sink_log, "0,2,4,6;1,3,5,7;8,9;");
	assert_true(rfl_task_can_commit(b.task));
	bed_end(&b);
}

static void
test_sessions_that_wait_in_vain_stop_the_task(void **state)
{
	(void)state;
	struct bed b;
	scatter(&b, RFL_TUPLE_TEXT + 12);
	b.spec.memory_bytes = 1;
	lane_end = 11;
	run_only(&b);
	assert_non_null(strstr(why(&b), "too many of its open sessions lie among others"));
	assert_string_equal(sink_log, "");
	bed_end(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_position_waits_for_the_acknowledgement),
		cmocka_unit_test(test_delivered_twice_enters_once),
		cmocka_unit_test(test_failing_window_holds_the_frontier),
		cmocka_unit_test(test_restart_goes_on_from_the_tuple),
		cmocka_unit_test(test_what_was_ahead_of_the_clock_stays_refused),
		cmocka_unit_test(test_changed_settings_and_foreign_metadata_are_refused),
		cmocka_unit_test(test_late_record_that_is_not_written_holds_the_position),
		cmocka_unit_test(test_exactly_once_stages_in_order_and_undoes),
		cmocka_unit_test(test_who_can_commit_no_more_holds_up_nobody),
		cmocka_unit_test(test_position_names_the_open_sessions),
		cmocka_unit_test(test_sessions_wait_until_the_position_has_room),
		cmocka_unit_test(test_sessions_that_wait_in_vain_stop_the_task),
	};
	return RUN("task_position", tests);
}
