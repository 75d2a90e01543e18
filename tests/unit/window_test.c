/* The window room: which window a record is in, and when it is over. */
#include "test.h"

#include "window/window.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static void
test_tumbling_is_aligned_and_half_open(void **state)
{
	(void)state;
	const struct rfl_window_spec spec = {.shape = RFL_SHAPE_TUMBLING, .size_ms = 10000};
	struct rfl_window *w = rfl_window_create(&spec);
	struct rfl_window_pane pane;
	assert_int_equal(rfl_window_next_ms(w), RFL_NEVER_MS);
	assert_int_equal(rfl_window_add(w, 12345, 1), 1);
	assert_int_equal(rfl_window_add(w, 19999, 2), 0);
	assert_int_equal(rfl_window_next_ms(w), 20000);
	assert_int_equal(rfl_window_fire(w, 19999, &pane), 0);
	assert_int_equal(rfl_window_fire(w, 20000, &pane), 1);
	assert_int_equal(pane.start_ms, 10000);
	assert_int_equal(pane.end_ms, 20000);
	assert_int_equal(pane.records, 3);
	assert_int_equal(rfl_window_fire(w, 90000, &pane), 0);
	assert_int_equal(rfl_window_add(w, 20000, 1), 1);
	rfl_window_destroy(w);
}

static void
test_tumbling_floors_before_1970(void **state)
{
	(void)state;
	const struct rfl_window_spec spec = {.shape = RFL_SHAPE_TUMBLING, .size_ms = 1000};
	struct rfl_window *w = rfl_window_create(&spec);
	struct rfl_window_pane pane;
	rfl_window_add(w, -1, 1);
	assert_int_equal(rfl_window_next_ms(w), 0);
	assert_int_equal(rfl_window_fire(w, 0, &pane), 1);
	assert_int_equal(pane.start_ms, -1000);
	rfl_window_destroy(w);
}

static void
test_count_closes_when_full(void **state)
{
	(void)state;
	const struct rfl_window_spec spec = {.shape = RFL_SHAPE_COUNT, .count = 3};
	struct rfl_window *w = rfl_window_create(&spec);
	struct rfl_window_pane pane;
	assert_int_equal(rfl_window_room(w), 3);
	rfl_window_add(w, 5, 2);
	assert_int_equal(rfl_window_room(w), 1);
	assert_int_equal(rfl_window_next_ms(w), RFL_NEVER_MS);
	assert_int_equal(rfl_window_fire(w, INT64_MAX - 1, &pane), 0);
	rfl_window_add(w, 6, 1);
	assert_int_equal(rfl_window_room(w), 0);
	assert_int_equal(rfl_window_fire(w, 6, &pane), 1);
	assert_int_equal(pane.records, 3);
	assert_int_equal(pane.start_ms, 5);
	assert_int_equal(pane.end_ms, 6);
	assert_int_equal(rfl_window_room(w), 3);
	rfl_window_destroy(w);
}

static void
test_count_or_duration_closes_at_the_earlier(void **state)
{
	(void)state;
	const struct rfl_window_spec spec = {.shape = RFL_SHAPE_COUNT, .count = 3, .size_ms = 100};
	struct rfl_window *w = rfl_window_create(&spec);
	struct rfl_window_pane pane;
	rfl_window_add(w, 50, 2);
	assert_int_equal(rfl_window_fire(w, 149, &pane), 0);
	assert_int_equal(rfl_window_fire(w, 150, &pane), 1);
	assert_int_equal(pane.records, 2);
	rfl_window_add(w, 160, 3);
	assert_int_equal(rfl_window_fire(w, 160, &pane), 1);
	rfl_window_destroy(w);
}

static void
test_none_is_over_at_once(void **state)
{
	(void)state;
	const struct rfl_window_spec spec = {.shape = RFL_SHAPE_NONE};
	struct rfl_window *w = rfl_window_create(&spec);
	struct rfl_window_pane pane;
	rfl_window_add(w, 7, 1000);
	assert_int_equal(rfl_window_fire(w, 7, &pane), 1);
	assert_int_equal(pane.records, 1000);
	rfl_window_destroy(w);
}

/* Against a direct statement of the rule: every record in one window, the one its time says. */
static void
test_tumbling_agrees_with_the_rule(void **state)
{
	(void)state;
	const char *given = getenv("RIFFLE_SEED");
	unsigned seed = given ? (unsigned)atoi(given) : (unsigned)time(NULL);
	printf("# seed %u (RIFFLE_SEED)\n", seed);
	srand(seed);
	for (int life = 0; life < 300; life++) {
		int64_t size = 1 + rand() % 5000, now = rand() % 100000 - 50000;
		const struct rfl_window_spec spec = {.shape = RFL_SHAPE_TUMBLING, .size_ms = size};
		struct rfl_window *w = rfl_window_create(&spec);
		struct rfl_window_pane pane;
		uint64_t in = 0, out = 0;
		for (int i = 0; i < 200; i++) {
			now += rand() % (int)(size + 1);
			while (rfl_window_fire(w, now, &pane)) {
				assert_true(pane.end_ms <= now);
				out += pane.records;
			}
			uint64_t n = 1 + (uint64_t)(rand() % 3);
			rfl_window_add(w, now, n);
			in += n;
			int64_t end = rfl_window_next_ms(w);
			assert_true(now < end && end - size <= now);
			assert_int_equal(end % size, 0);
		}
		assert_int_equal(rfl_window_fire(w, now + size, &pane), 1);
		assert_int_equal(in, out + pane.records);
		rfl_window_destroy(w);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tumbling_is_aligned_and_half_open),
		cmocka_unit_test(test_tumbling_floors_before_1970),
		cmocka_unit_test(test_count_closes_when_full),
		cmocka_unit_test(test_count_or_duration_closes_at_the_earlier),
		cmocka_unit_test(test_none_is_over_at_once),
		cmocka_unit_test(test_tumbling_agrees_with_the_rule),
	};
	return RUN("window", tests);
}
