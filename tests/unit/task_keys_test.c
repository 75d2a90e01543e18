/* The task room: windows of so many keys end at one moment that they cannot all be called at once. */
#include "task_bed.h"

#define KEYS 1000
#define READ_AT_ONCE 100 /* what is read together holds the position together */
#define MANY_MS 100000

/* The last record ends the windows of all others. */
static int64_t times[KEYS + 1];

static void
bed_of_keys(struct bed *b, enum rfl_guarantee guarantee, int64_t keys)
{
	bed_set(b, RFL_SHAPE_TUMBLING, MANY_MS, 0);
	for (int64_t i = 0; i < keys; i++)
		times[i] = i;
	times[keys] = MANY_MS;
	lane_times = times;
	lane_is_keyed = 1;
	lane_end = keys + 1;
	b->conf.window = (struct rfl_window_conf){.kind = RFL_WINDOW_TUMBLING, .size_ms = MANY_MS};
	b->conf.time.source = RFL_TIME_RECORD;
	b->conf.by.source = RFL_BY_KEY;
	b->conf.max_future_ms = INT64_C(1) << 40;
	b->conf.idle_after_ms = b->conf.close_after_idle_ms = 1000000;
	b->conf.max_records = READ_AT_ONCE;
	b->conf.guarantee = guarantee;
	b->outlet.transactional = guarantee == RFL_EXACTLY_ONCE;
	bed_start(b, 0, NULL);
}

static uint64_t
windows_done(const struct bed *b)
{
	struct rfl_task_view v;
	rfl_task_view(b->task, &v);
	return v.windows_done;
}

static void
test_all_are_done_and_committed(void **state)
{
	(void)state;
	struct bed b;
	struct rfl_tuple t;
	/* As many as may wait, one more, and many. */
	static const int64_t counts[] = {256, 257, KEYS};
	for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
		int64_t keys = counts[i];
		bed_of_keys(&b, RFL_AT_LEAST_ONCE, keys);
		settle_down(&b);
		assert_string_equal(why(&b), "");
		assert_int_equal(windows_done(&b), keys);
		assert_int_equal(commit(&b, &t), keys / READ_AT_ONCE * READ_AT_ONCE);
		assert_int_equal(t.hw, keys + 1);
		assert_true(t.frontier_ms == MANY_MS);
		bed_end(&b);
	}
}

static void
test_all_go_into_one_transaction(void **state)
{
	(void)state;
	struct bed b;
	struct rfl_tuple t;
	struct rfl_task_progress progress;
	bed_of_keys(&b, RFL_EXACTLY_ONCE, KEYS);
	do {
		rfl_task_run(b.task, &progress);
		progress.moved |= deliver(&b);
	} while (progress.moved);
	assert_int_equal(calls_begun, KEYS);
	assert_true(rfl_task_can_stage(b.task));
	do
		rfl_task_stage(b.task, 1);
	while (acknowledge(&b, RIFFLE_OK, 0));
	assert_false(rfl_task_is_staging(b.task));
	assert_int_equal(commit(&b, &t), KEYS);
	assert_int_equal(t.hw, KEYS);
	assert_int_equal(windows_done(&b), KEYS);
	bed_end(&b);
}

/* What the engine has still is read again: it may not be waited for. */
static void
test_a_drain_waits_for_none_that_was_not_handed_out(void **state)
{
	(void)state;
	struct bed b;
	struct rfl_tuple t;
	struct rfl_task_progress progress;
	bed_of_keys(&b, RFL_AT_LEAST_ONCE, KEYS);
	rfl_task_run(b.task, &progress);
	rfl_task_drain(b.task);
	assert_false(rfl_task_is_drained(b.task));
	advance(&b, 1000);
	assert_in_range(calls_begun, 1, KEYS - 1);
	assert_true(rfl_task_is_drained(b.task));
	assert_int_equal(commit(&b, &t), 0);
	assert_false(rfl_task_can_commit(b.task));
	bed_end(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_are_done_and_committed),
		cmocka_unit_test(test_all_go_into_one_transaction),
		cmocka_unit_test(test_a_drain_waits_for_none_that_was_not_handed_out),
	};
	return RUN("task keys", tests);
}
