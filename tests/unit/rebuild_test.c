/* keep = no: windows larger than memory, and tasks that begin again because a call failed that took records. */
#include "rebuild_bed.h"

#define LARGE 65536 /* records of 1 KiB: 64 times what the task may hold */

static void
test_window_larger_than_memory_passes(void **state)
{
	(void)state;
	struct bed b;
	size_t most = 0, before = 0, resident = 0;
	bed_set(&b, LARGE, RFL_AT_LEAST_ONCE);
	value_bytes = 1024;
	bed_start(&b);
	for (int64_t end = 1024; end <= LARGE + 1024; end += 1024) {
		feed(&b, end);
		size_t now = rfl_task_bytes(b.task);
		most = now > most ? now : most;
		/* What is used at all is there by then. */
		if (end == 4096)
			before = resident_bytes();
	}
	resident = resident_bytes();
	assert_string_equal(b.v.stopped ? b.v.why : "", "");
	print_message("# 64 MiB through 1 MiB: at most %zu bytes held, %zd more resident\n", most,
		(ssize_t)(resident - before));
	assert_true(most < MIB / 8);
	if (!is_instrumented())
		assert_true(resident < before + 2 * MIB);
	assert_string_equal(sink_log, "0-65535x65536 attempt 1;");
	assert_int_equal(calls_begun, 2);
	assert_int_equal(commit(&b), LARGE);
	bed_end(&b);
}

static void
test_the_same_kept_stops_and_names_it(void **state)
{
	(void)state;
	struct bed b;
	bed_set(&b, LARGE, RFL_AT_LEAST_ONCE);
	b.conf.keep = 1;
	value_bytes = 1024;
	bed_start(&b);
	feed(&b, LARGE);
	assert_true(b.v.stopped);
	assert_non_null(strstr(b.v.why, "its windows need more than memory = 1048576 bytes"));
	assert_non_null(strstr(b.v.why, "keep = no would not keep what its calls have taken"));
	bed_end(&b);
	/* Nothing is named that the configuration would refuse. */
	bed_set(&b, LARGE, RFL_AT_LEAST_ONCE);
	b.conf.keep = 1;
	b.conf.on_error.then = RFL_ON_ERROR_DEAD_LETTER;
	value_bytes = 1024;
	bed_start(&b);
	feed(&b, LARGE);
	assert_true(b.v.stopped);
	assert_null(strstr(b.v.why, "keep = no"));
	bed_end(&b);
}

static void
test_position_is_held_by_what_is_not_kept(void **state)
{
	(void)state;
	struct bed b;
	bed_set(&b, 100, RFL_AT_LEAST_ONCE);
	bed_start(&b);
	feed(&b, 150);
	assert_string_equal(sink_log, "0-99x100 attempt 1;");
	assert_int_equal(commit(&b), 100);
	feed(&b, 190);
	/* W moves on, the position does not. */
	assert_true(commit(&b) == 100 || commit(&b) == -1);
	bed_end(&b);
}

static void
test_failed_call_rebuilds_the_task(void **state)
{
	(void)state;
	static const enum rfl_guarantee all[] = {RFL_AT_LEAST_ONCE, RFL_EXACTLY_ONCE};
	for (size_t i = 0; i < 2; i++) {
		struct bed b;
		bed_set(&b, 100, all[i]);
		bed_start(&b);
		failure.at_offset = 150;
		feed(&b, 120);
		if (all[i] == RFL_EXACTLY_ONCE)
			stage(&b);
		assert_int_equal(commit(&b), 100);
		feed(&b, 160);
		assert_true(b.v.awaits_rebuild && !b.v.stopped && !b.v.drained);
		char *why = rfl_task_explain(b.task);
		assert_string_equal(why,
			"a call failed, and its records are not kept (keep = no): it went wrong. "
			"It is rebuilt from its position in 100 ms.");
		free(why);
		assert_int_equal(rewinds, 0);
		advance(&b, 100);
		assert_true(!b.v.awaits_rebuild && b.v.rebuilds == 1);
		assert_int_equal(rewound_to, 100);
		assert_string_equal(sink_log, "0-99x100 attempt 1;");
		feed(&b, 210);
		if (all[i] == RFL_EXACTLY_ONCE)
			stage(&b);
		assert_string_equal(sink_log, "0-99x100 attempt 1;100-199x100 attempt 2;");
		assert_int_equal(commit(&b), 200);
		bed_end(&b);
	}
}

/* The windows that were over before are committed first, and not made again. */
static void
test_what_was_over_before_is_finished(void **state)
{
	(void)state;
	struct bed b;
	bed_set(&b, 100, RFL_EXACTLY_ONCE);
	bed_start(&b);
	failure.at_offset = 150;
	feed(&b, 160);
	advance(&b, 100);
	assert_true(b.v.awaits_rebuild);
	assert_int_equal(rewinds, 0);
	stage(&b);
	/* It is in a transaction that is not over. */
	assert_true(b.v.awaits_rebuild);
	assert_int_equal(commit(&b), 100);
	settle_down(&b);
	assert_int_equal(rewound_to, 100);
	assert_string_equal(sink_log, "0-99x100 attempt 1;");
	bed_end(&b);
}

static void
test_second_failure_without_progress_stops(void **state)
{
	(void)state;
	struct bed b;
	bed_set(&b, 100, RFL_AT_LEAST_ONCE);
	bed_start(&b);
	failure.at_offset = 50;
	failure.times = 2;
	feed(&b, 60);
	advance(&b, 100);
	assert_true(b.v.stopped);
	assert_string_equal(b.v.why,
		"window 1000000, attempt 2: it failed again before any position moved, and its "
		"records are not kept (keep = no): it went wrong");
	assert_int_equal(rewinds, 1);
	bed_end(&b);
}

static void
test_progress_makes_the_next_failure_the_first(void **state)
{
	(void)state;
	struct bed b;
	bed_set(&b, 100, RFL_AT_LEAST_ONCE);
	bed_start(&b);
	failure.at_offset = 50;
	feed(&b, 60);
	advance(&b, 100);
	feed(&b, 110);
	assert_int_equal(commit(&b), 100);
	failure.at_offset = 150;
	failure.times = 1;
	feed(&b, 160);
	advance(&b, 100);
	assert_int_equal(b.v.rebuilds, 2);
	feed(&b, 210);
	assert_string_equal(sink_log, "0-99x100 attempt 2;100-199x100 attempt 2;");
	bed_end(&b);
}

static void
test_second_failure_is_skipped_by_policy(void **state)
{
	(void)state;
	struct bed b;
	bed_set(&b, LARGE / 8, RFL_AT_LEAST_ONCE);
	b.conf.on_error.then = RFL_ON_ERROR_SKIP;
	value_bytes = 1024;
	bed_start(&b);
	failure.at_offset = 50;
	failure.times = 2;
	feed(&b, 60);
	advance(&b, 100);
	/* The rest of its window goes by, and needs no memory either. */
	feed(&b, LARGE / 8);
	assert_string_equal(b.v.stopped ? b.v.why : "", "");
	assert_true(rfl_task_bytes(b.task) < MIB / 4);
	feed(&b, LARGE / 8 + 1);
	assert_int_equal(b.v.skipped, 1);
	assert_string_equal(sink_log, "");
	assert_int_equal(commit(&b), LARGE / 8);
	bed_end(&b);
}

static void
test_who_is_away_is_waited_for(void **state)
{
	(void)state;
	struct bed b;
	bed_set(&b, 100, RFL_AT_LEAST_ONCE);
	bed_start(&b);
	failure.at_offset = 50;
	failure.times = 6;
	failure.code = RIFFLE_E_UNAVAILABLE;
	feed(&b, 60);
	for (int i = 0; i < 6; i++)
		advance(&b, 100);
	assert_int_equal(b.v.rebuilds, 6);
	feed(&b, 101);
	assert_string_equal(sink_log, "0-99x100 attempt 7;");
	bed_end(&b);
}

static void
test_what_cannot_change_is_not_tried_again(void **state)
{
	(void)state;
	struct bed b;
	bed_set(&b, 100, RFL_AT_LEAST_ONCE);
	bed_start(&b);
	failure.at_offset = 50;
	failure.flags = 0;
	feed(&b, 60);
	assert_string_equal(b.v.why, "window 1000000, attempt 1: it went wrong");
	assert_int_equal(rewinds, 0);
	bed_end(&b);
}

static void
test_what_no_call_took_is_kept_and_called_again(void **state)
{
	(void)state;
	struct bed b;
	bed_set(&b, 100, RFL_AT_LEAST_ONCE);
	bed_start(&b);
	takes = 0;
	feed(&b, 60);
	end_call(newest, RIFFLE_E_DATA, RIFFLE_ERR_RETRIABLE, "it went wrong");
	settle_down(&b);
	assert_false(b.v.awaits_rebuild);
	takes = 1;
	advance(&b, 100);
	feed(&b, 101);
	assert_int_equal(rewinds, 0);
	assert_string_equal(sink_log, "0-99x100 attempt 2;");
	bed_end(&b);
}

static void
test_slow_call_is_waited_for_within_memory(void **state)
{
	(void)state;
	struct bed b;
	bed_set(&b, LARGE, RFL_AT_LEAST_ONCE);
	value_bytes = 1024;
	bed_start(&b);
	takes = 0;
	feed(&b, LARGE + 1);
	assert_string_equal(b.v.stopped ? b.v.why : "", "");
	assert_true(lane_next < 2048 && rfl_task_bytes(b.task) < MIB + MIB / 4);
	takes = 1;
	for (int i = 0; i < 200 && lane_next < lane_end; i++) {
		newest->events->writable(newest->data);
		settle_down(&b);
	}
	settle_down(&b);
	assert_string_equal(sink_log, "0-65535x65536 attempt 1;");
	bed_end(&b);
}

/* The one call is of a window that ends only with records that the next one has to hold. */
static void
test_window_beyond_calls_is_kept(void **state)
{
	(void)state;
	struct bed b;
	bed_set(&b, 1000, RFL_AT_LEAST_ONCE);
	b.conf.calls = 1;
	b.conf.max_disorder_ms = 100000;
	bed_start(&b);
	feed(&b, 1500);
	assert_int_equal(calls_begun, 1);
	assert_int_equal(newest->count, 1000);
	value_bytes = 4096;
	feed(&b, 4000);
	assert_true(b.v.stopped);
	assert_non_null(strstr(b.v.why, "its windows need more than memory"));
	assert_non_null(strstr(b.v.why, "spill or more calls would do"));
	bed_end(&b);
}

/* A function that works on one window at a time takes of the next one only what it has room for. */
static void
test_call_that_waits_for_another_is_not_waited_for(void **state)
{
	(void)state;
	struct bed b;
	bed_set(&b, 1000, RFL_AT_LEAST_ONCE);
	b.conf.max_disorder_ms = 100000;
	bed_start(&b);
	feed(&b, 1000);
	takes = 0;
	value_bytes = 4096;
	feed(&b, 4000);
	/* It may be slow. */
	assert_string_equal(b.v.stopped ? b.v.why : "", "");
	assert_true(calls_begun > 1 && lane_next < 4000);
	advance(&b, 29999);
	assert_false(b.v.stopped);
	advance(&b, 1);
	assert_true(b.v.stopped);
	assert_non_null(strstr(b.v.why, "before the first window is over"));
	bed_end(&b);
}

/* A window that is done gives memory back, to be used at once. */
static void
test_run_goes_on_once_a_window_is_settled(void **state)
{
	(void)state;
	struct bed b;
	struct rfl_task_progress progress;
	bed_set(&b, 100, RFL_AT_LEAST_ONCE);
	bed_start(&b);
	lane_end = 101;
	do {
		rfl_task_run(b.task, &progress);
	} while (progress.moved);
	rfl_mailbox_deliver(&b.mailbox);
	acknowledge(&b);
	rfl_task_run(b.task, &progress);
	rfl_task_view(b.task, &b.v);
	assert_int_equal(b.v.windows_done, 1);
	assert_true(progress.moved);
	rfl_task_run(b.task, &progress);
	assert_false(progress.moved);
	bed_end(&b);
}

static void
test_drain_begins_nothing_again(void **state)
{
	(void)state;
	struct bed b;
	bed_set(&b, 100, RFL_AT_LEAST_ONCE);
	bed_start(&b);
	failure.at_offset = 50;
	feed(&b, 60);
	assert_true(b.v.awaits_rebuild);
	rfl_task_drain(b.task);
	advance(&b, 1000);
	assert_int_equal(rewinds, 0);
	assert_true(rfl_task_is_drained(b.task));
	bed_end(&b);
	/* A call that fails while it drains is not rebuilt for. */
	bed_set(&b, 100, RFL_AT_LEAST_ONCE);
	bed_start(&b);
	stays_open = 1;
	feed(&b, 101);
	rfl_task_drain(b.task);
	settle_down(&b);
	assert_false(rfl_task_is_drained(b.task));
	end_call(ended, RIFFLE_E_DATA, RIFFLE_ERR_RETRIABLE, "it went wrong");
	advance(&b, 1000);
	assert_int_equal(rewinds, 0);
	assert_true(rfl_task_is_drained(b.task));
	bed_end(&b);
}

static void
test_only_what_is_kept_is_set_aside(void **state)
{
	(void)state;
	struct bed b;
	bed_set(&b, 100, RFL_AT_LEAST_ONCE);
	bed_start(&b);
	takes = 0;
	feed(&b, 60);
	assert_true(rfl_task_suspend(b.task));
	bed_end(&b);
	bed_set(&b, 100, RFL_AT_LEAST_ONCE);
	bed_start(&b);
	feed(&b, 60);
	assert_false(rfl_task_suspend(b.task));
	bed_end(&b);
}

/* It would go into the transaction without its position, and again with the next. */
static void
test_late_record_in_the_transaction_is_not_forgotten(void **state)
{
	(void)state;
	struct bed b;
	bed_set(&b, 100, RFL_EXACTLY_ONCE);
	b.conf.late = RFL_LATE_STREAM;
	b.conf.late_stream = &b.stream;
	b.spec.late = b.route;
	bed_start(&b);
	feed(&b, 150);
	stage(&b);
	assert_int_equal(commit(&b), 100);
	late_at = 150;
	failure.at_offset = 151;
	sink_is_full = 1;
	feed(&b, 151);
	stage(&b);
	feed(&b, 160);
	assert_true(b.v.awaits_rebuild);
	advance(&b, 100);
	assert_int_equal(b.v.rebuilds, 0);
	sink_is_full = 0;
	stage(&b);
	advance(&b, 100);
	assert_int_equal(b.v.rebuilds, 1);
	feed(&b, 201);
	stage(&b);
	assert_int_equal(commit(&b), 200);
	assert_string_equal(sink_log, "0-99x100 attempt 1;;100-199x99 attempt 2;");
	bed_end(&b);
}

/* The one file of this process that has no name. */
static void
empty_spill_file(void)
{
	char path[64], name[256];
	for (int fd = 3; fd < 64; fd++) {
		snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
		ssize_t len = readlink(path, name, sizeof name - 1);
		name[len > 0 ? len : 0] = '\0';
		if (strncmp(name, "/tmp/", 5) == 0 && strstr(name, "(deleted)") != NULL)
			assert_int_equal(ftruncate(fd, 0), 0);
	}
}

static void
test_what_cannot_be_read_holds_the_position(void **state)
{
	(void)state;
	struct riffle_error err = {0};
	struct riffle_batch *b;
	struct rfl_store *s = rfl_store_create(2, "/tmp", MIB, MIB);
	struct rfl_pane *p = rfl_pane_create();
	p->lets_go = 1;
	for (uint32_t lane = 0; lane < 2; lane++) {
		lane_next = 10;
		lane_end = 12;
		late_at = -1;
		value_bytes = 8;
		assert_int_equal(lane_poll(NULL, lane, 2, MIB, &b, &err), 1);
		struct rfl_chunk *c = rfl_store_copy(s, lane, b, 0, 2, 0);
		rfl_batch_unref(b);
		rfl_store_need(c, 2);
		rfl_pane_add(p, rfl_item_of(c, 0, 2));
		if (lane == 1)
			continue;
		/* The other one stays in memory. */
		assert_int_equal(rfl_store_spill(s, 0, &err), 0);
		empty_spill_file();
	}
	assert_int_equal(rfl_pane_let_go(p, s, 1, 1, &err), RIFFLE_E_FATAL);
	assert_int_equal(rfl_store_low(s, 0, 12), 10);
	assert_int_equal(rfl_store_low(s, 1, 12), 10);
	assert_int_equal(p->items.count, 2);
	assert_int_equal(rfl_item_count(p->items.list[1]), 2);
	p->holds_items = 1;
	rfl_pane_release(p, s);
	rfl_pane_destroy(p);
	rfl_store_destroy(s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_window_larger_than_memory_passes),
		cmocka_unit_test(test_the_same_kept_stops_and_names_it),
		cmocka_unit_test(test_position_is_held_by_what_is_not_kept),
		cmocka_unit_test(test_failed_call_rebuilds_the_task),
		cmocka_unit_test(test_what_was_over_before_is_finished),
		cmocka_unit_test(test_second_failure_without_progress_stops),
		cmocka_unit_test(test_progress_makes_the_next_failure_the_first),
		cmocka_unit_test(test_second_failure_is_skipped_by_policy),
		cmocka_unit_test(test_who_is_away_is_waited_for),
		cmocka_unit_test(test_what_cannot_change_is_not_tried_again),
		cmocka_unit_test(test_what_no_call_took_is_kept_and_called_again),
		cmocka_unit_test(test_slow_call_is_waited_for_within_memory),
		cmocka_unit_test(test_window_beyond_calls_is_kept),
		cmocka_unit_test(test_call_that_waits_for_another_is_not_waited_for),
		cmocka_unit_test(test_run_goes_on_once_a_window_is_settled),
		cmocka_unit_test(test_late_record_in_the_transaction_is_not_forgotten),
		cmocka_unit_test(test_what_cannot_be_read_holds_the_position),
		cmocka_unit_test(test_drain_begins_nothing_again),
		cmocka_unit_test(test_only_what_is_kept_is_set_aside),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
