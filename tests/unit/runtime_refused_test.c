/*
 * Outputs that the sink refuses for their data: their windows go to the error policy, and nothing else does. What comes
 * of it is the same at least once and exactly once.
 */
#include "runtime_bed.h"

static const enum rfl_guarantee guarantees[] = {RFL_AT_LEAST_ONCE, RFL_EXACTLY_ONCE};

/* Windows of one record each: four of the first partition and two of the second. */
static void
start_six(struct bed *b, enum rfl_guarantee guarantee)
{
	start(b, guarantee);
	b->processor.max_records = 1;
	b->processor.commit_interval_ms = 1000;
	log_end[0] = 4;
	log_end[1] = 2;
}

/* Until nothing comes any more, whatever waits for its next commit or attempt. */
static void
run_on(struct bed *b)
{
	for (int i = 0; i < 60; i++)
		advance(b, 100);
}

static int
times(const char *what)
{
	int n = 0;
	for (const char *at = written; (at = strstr(at, what)) != NULL; at++)
		n++;
	return n;
}

static void
expect_once(const char *const *values, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (times(values[i]) != 1)
			fail_msg("%s is %d times in \"%s\"", values[i], times(values[i]), written);
}

static const char *
why(struct bed *b, enum rfl_state expected)
{
	static char text[300];
	assert_int_equal(state_of(b, text, sizeof text), expected);
	return text;
}

static const struct rfl_task_view *
task_of(const struct bed *b)
{
	static struct rfl_task_view view;
	rfl_task_view(b->p->tasks[0], &view);
	return &view;
}

static void
test_a_refused_window_is_skipped(void **state)
{
	static const char *const others[] = {"0.0 ", "0.2 ", "0.3 ", "1.0 ", "1.1 "};
	(void)state;
	on_error = (struct rfl_on_error_conf){.then = RFL_ON_ERROR_SKIP};
	for (size_t i = 0; i < RFL_COUNT(guarantees); i++) {
		struct bed b;
		start_six(&b, guarantees[i]);
		refused[0] = "0.1";
		run_on(&b);
		expect_once(others, RFL_COUNT(others));
		assert_int_equal(times("0.1"), 0);
		assert_true(committed[0] == 4 && committed[1] == 2);
		assert_string_equal(why(&b, RFL_RUNNING), "");
		assert_int_equal(opened, 1);
		finish(&b);
	}
}

static void
test_refused_windows_are_dead_letters(void **state)
{
	static const char *const all[] = {"0.0 ", "!0.1 ", "0.2 ", "0.3 ", "!1.0 ", "1.1 "};
	(void)state;
	on_error = (struct rfl_on_error_conf){.then = RFL_ON_ERROR_DEAD_LETTER};
	for (size_t i = 0; i < RFL_COUNT(guarantees); i++) {
		struct bed b;
		start_six(&b, guarantees[i]);
		refused[0] = "0.1";
		refused[1] = "1.0";
		run_on(&b);
		expect_once(all, RFL_COUNT(all));
		assert_true(times("0.1") == 1 && times("1.0") == 1);
		assert_true(committed[0] == 4 && committed[1] == 2);
		finish(&b);
	}
}

/* The task alone, before that window; what the other one has is not held up. */
static void
test_a_refused_window_stops_its_task(void **state)
{
	(void)state;
	on_error = (struct rfl_on_error_conf){.then = RFL_ON_ERROR_STOP};
	for (size_t i = 0; i < RFL_COUNT(guarantees); i++) {
		static const char *const others[] = {"0.0 ", "1.0 ", "1.1 "};
		struct bed b;
		start_six(&b, guarantees[i]);
		refused[0] = "0.1";
		run_on(&b);
		expect_once(others, RFL_COUNT(others));
		assert_int_equal(times("0.1"), 0);
		assert_true(committed[0] == 1 && committed[1] == 2);
		assert_non_null(strstr(why(&b, RFL_STOPPED), "cannot publish: too large"));
		finish(&b);
	}
}

/* There is no further place for them, and no transaction that would end with them. */
static void
test_refused_dead_letters_stop_their_task(void **state)
{
	(void)state;
	on_error = (struct rfl_on_error_conf){.then = RFL_ON_ERROR_DEAD_LETTER};
	for (size_t i = 0; i < RFL_COUNT(guarantees); i++) {
		static const char *const others[] = {"0.0 ", "1.0 ", "1.1 "};
		struct bed b;
		start_six(&b, guarantees[i]);
		refused[0] = refused_aside = "0.1";
		run_on(&b);
		expect_once(others, RFL_COUNT(others));
		assert_int_equal(times("0.1"), 0);
		assert_true(committed[0] == 1 && committed[1] == 2);
		assert_non_null(strstr(why(&b, RFL_STOPPED),
			"its dead letters are refused: cannot publish: too large"));
		finish(&b);
	}
}

/* What may change is tried again, as often as the policy says, and dead letters in a transaction like the rest. */
static void
test_what_may_change_is_tried_again(void **state)
{
	static const char *const all[] = {"0.0 ", "!0.1 ", "0.2 ", "0.3 ", "1.0 ", "1.1 "};
	(void)state;
	on_error = (struct rfl_on_error_conf){.retries = 3,
		.backoff_min_ms = 100,
		.backoff_max_ms = 150,
		.then = RFL_ON_ERROR_DEAD_LETTER};
	for (size_t i = 0; i < RFL_COUNT(guarantees); i++) {
		for (int mends = 0; mends < 2; mends++) {
			struct bed b;
			start_six(&b, guarantees[i]);
			refused[0] = refused_aside = "0.1";
			refused_flags = RIFFLE_ERR_RETRIABLE;
			settle(&b);
			for (int k = 0; k < 200 && task_of(&b)->dead_letters == 0; k++)
				advance(&b, 10);
			assert_true(task_of(&b)->retries >= 3);
			if (mends)
				refused_aside = NULL;
			run_on(&b);
			if (mends)
				expect_once(all, RFL_COUNT(all));
			else
				assert_non_null(strstr(why(&b, RFL_STOPPED), "its dead letters"));
			assert_int_equal(times("0.1"), mends);
			assert_int_equal(committed[0], mends ? 4 : 1);
			finish(&b);
		}
	}
}

/* Record 2 comes when its window, which record 1 ended, is over. */
static void
test_a_refused_late_record_stops_its_task(void **state)
{
	static const int64_t late_times[] = {1000, 5000, 1001, 9000};
	static const struct rfl_window_conf tumbling = {.kind = RFL_WINDOW_TUMBLING,
		.size_ms = 1000,
		.slide_ms = 1000,
		.canonical = canonical};
	(void)state;
	on_error = (struct rfl_on_error_conf){.then = RFL_ON_ERROR_STOP};
	late = RFL_LATE_STREAM;
	for (size_t i = 0; i < RFL_COUNT(guarantees); i++) {
		struct bed b;
		start_with(&b, guarantees[i], &tumbling);
		b.processor.time.source = RFL_TIME_RECORD;
		b.processor.max_future_ms = INT64_C(1) << 40;
		b.processor.idle_after_ms = b.processor.close_after_idle_ms = INT64_C(1) << 40;
		b.processor.commit_interval_ms = 1000;
		record_times = late_times;
		refused_aside = "0.2";
		log_end[0] = 4;
		log_end[1] = 1;
		run_on(&b);
		assert_int_equal(times("0.2"), 0);
		assert_true(committed[0] <= 2);
		assert_non_null(strstr(why(&b, RFL_STOPPED),
			"cannot write a late record or dead letter: too large"));
		/* The other partition goes on. */
		log_end[1] = 2;
		run_on(&b);
		assert_int_equal(times("1.0 "), 1);
		finish(&b);
	}
	late = RFL_LATE_DROP;
}

/* Windows that share the transaction with one that is refused may be read again by another life, and come once. */
static void
test_a_life_after_a_refusal_writes_the_rest_once(void **state)
{
	static const char *const all[] = {"0.0 ", "!0.1 ", "0.2 ", "0.3 ", "1.0 ", "1.1 "};
	(void)state;
	on_error = (struct rfl_on_error_conf){.then = RFL_ON_ERROR_DEAD_LETTER};
	int met_refusals = 0;
	for (int turns = 0; turns < 40; turns++) {
		struct bed b;
		int64_t next_ns;
		start_six(&b, RFL_EXACTLY_ONCE);
		refused[0] = "0.1";
		for (int i = 0; opened == 0 || i < turns; i++) {
			rfl_worker_turn(&b.worker, &next_ns);
			rfl_clock_advance(&b.clock, INT64_C(300) * 1000000);
		}
		met_refusals += b.p->own_sink->outlet.refusal_count > 0;
		queue(1, (struct riffle_event){.type = RIFFLE_EV_ERROR,
				 .status = RIFFLE_E_FATAL,
				 .error = {.code = RIFFLE_E_FATAL, .text = "it broke"}});
		run_on(&b);
		assert_int_equal(opened, 2);
		expect_once(all, RFL_COUNT(all));
		assert_true(committed[0] == 4 && committed[1] == 2);
		finish(&b);
	}
	assert_true(met_refusals > 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_refused_window_is_skipped),
		cmocka_unit_test(test_refused_windows_are_dead_letters),
		cmocka_unit_test(test_a_refused_window_stops_its_task),
		cmocka_unit_test(test_refused_dead_letters_stop_their_task),
		cmocka_unit_test(test_what_may_change_is_tried_again),
		cmocka_unit_test(test_a_refused_late_record_stops_its_task),
		cmocka_unit_test(test_a_life_after_a_refusal_writes_the_rest_once),
	};
	return RUN("runtime_refused", tests);
}
