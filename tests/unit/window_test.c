/* The window room: which windows a record is in, and when each is over. */
#include "test.h"

#include "window/window.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What came out of an engine, as text: "start-end key:items;" */
static char out[8192];
static struct rfl_window_items items;
static uint64_t dropped;

static void
count_drops(void *ctx, const struct rfl_window_item *list, size_t count)
{
	(void)ctx, (void)list;
	dropped += count;
}

static struct rfl_window *
create(struct rfl_window_spec spec)
{
	out[0] = '\0';
	dropped = 0;
	return rfl_window_create(&spec, count_drops, NULL);
}

static void
destroy(struct rfl_window *w)
{
	rfl_window_destroy(w);
	free(items.list);
	items = (struct rfl_window_items){NULL, 0, 0};
}

/* One record, whose item is its number; returns how many windows took it. */
static uint32_t
add_late(struct rfl_window *w, const char *key, int64_t time_ms, uint64_t number, int64_t closed_ms,
	uint32_t *ret_missed)
{
	uint32_t len = (uint32_t)strlen(key);
	struct rfl_window_record r = {.time_ms = time_ms,
		.closed_ms = closed_ms,
		.key = key,
		.key_len = len,
		.hash = rfl_window_hash(key, len),
		.item = {number, 0}};
	rfl_window_add(w, &r, 1);
	*ret_missed = r.missed;
	return r.accepted;
}

static void
add(struct rfl_window *w, const char *key, int64_t time_ms, uint64_t number)
{
	uint32_t missed;
	assert_true(add_late(w, key, time_ms, number, RFL_BEFORE_MS, &missed) > 0);
	assert_int_equal(missed, 0);
}

static void
note(const struct rfl_window_fired *f)
{
	size_t len = strlen(out);
	len += (size_t)snprintf(out + len, sizeof out - len,
		"%lld-%lld %.*s:", (long long)f->start_ms, (long long)f->end_ms, (int)f->key_len,
		f->key ? (const char *)f->key : "");
	for (size_t i = 0; i < items.count; i++)
		len += (size_t)snprintf(out + len, sizeof out - len, "%s%llu", i ? "," : "",
			(unsigned long long)items.list[i].a);
	snprintf(out + len, sizeof out - len, ";");
}

static const char *
fire(struct rfl_window *w, int64_t closed_ms)
{
	struct rfl_window_fired f;
	out[0] = '\0';
	for (items.count = 0; rfl_window_fire(w, closed_ms, &f, &items); items.count = 0)
		note(&f);
	return out;
}

static const char *
early(struct rfl_window *w)
{
	struct rfl_window_fired f;
	out[0] = '\0';
	for (items.count = 0; rfl_window_early(w, &f, &items); items.count = 0) {
		assert_false(f.is_moved);
		note(&f);
	}
	return out;
}

static void
test_tumbling(void **state)
{
	(void)state;
	struct rfl_window *w =
		create((struct rfl_window_spec){.shape = RFL_SHAPE_TUMBLING, .size_ms = 10000});
	uint32_t missed;
	assert_int_equal(rfl_window_next_ms(w), RFL_NEVER_MS);
	assert_int_equal(rfl_window_frontier(w), RFL_BEFORE_MS);
	add(w, "", 12345, 1);
	add(w, "", 19999, 2);
	add(w, "", 20000, 3);
	assert_int_equal(rfl_window_next_ms(w), 20000);
	assert_int_equal(rfl_window_last_ms(w), 30000);
	assert_string_equal(fire(w, 19999), "");
	assert_int_equal(rfl_window_frontier(w), 19999);
	assert_string_equal(fire(w, 20000), "10000-20000 :1,2;");
	assert_int_equal(rfl_window_frontier(w), 20000);
	assert_int_equal(add_late(w, "", 19999, 4, 20000, &missed), 0);
	assert_int_equal(missed, 1);
	assert_string_equal(fire(w, 90000), "20000-30000 :3;");
	assert_int_equal(rfl_window_open_count(w), 0);
	/* Before 1970 windows floor away from it. */
	destroy(w);
	w = create((struct rfl_window_spec){
		.shape = RFL_SHAPE_TUMBLING, .size_ms = 1000, .offset_ms = 300});
	add(w, "", -1, 1);
	add(w, "", 299, 2);
	add(w, "", 300, 3);
	add(w, "", -701, 4);
	assert_string_equal(fire(w, 2000), "-1700--700 :4;-700-300 :1,2;300-1300 :3;");
	destroy(w);
	assert_int_equal(dropped, 0);
}

static void
test_keys_have_windows_of_their_own(void **state)
{
	(void)state;
	struct rfl_window *w =
		create((struct rfl_window_spec){.shape = RFL_SHAPE_TUMBLING, .size_ms = 10});
	add(w, "a", 1, 1);
	add(w, "b", 2, 2);
	add(w, "a", 3, 3);
	add(w, "b", 13, 4);
	assert_int_equal(rfl_window_open_count(w), 3);
	/* Handed out one by one, and what the frontier says is only what all of them have passed. */
	struct rfl_window_fired f;
	items.count = 0;
	assert_int_equal(rfl_window_fire(w, 10, &f, &items), 1);
	assert_int_equal(rfl_window_frontier(w), 9);
	assert_int_equal(items.count, 2);
	assert_string_equal(fire(w, 10), "0-10 b:2;");
	assert_int_equal(rfl_window_frontier(w), 10);
	destroy(w);
	assert_int_equal(dropped, 1);
}

static void
test_hopping(void **state)
{
	(void)state;
	struct rfl_window *w = create(
		(struct rfl_window_spec){.shape = RFL_SHAPE_HOPPING, .size_ms = 10, .slide_ms = 5});
	uint32_t missed;
	add(w, "a", 7, 1);
	add(w, "b", 3, 2);
	add(w, "a", 12, 3);
	assert_string_equal(fire(w, 9), "-5-5 b:2;");
	assert_string_equal(fire(w, 10), "0-10 b:2;0-10 a:1;");
	assert_int_equal(dropped, 1);
	/* Missed the first of its two windows. */
	assert_int_equal(add_late(w, "a", 8, 4, 10, &missed), 1);
	assert_int_equal(missed, 1);
	assert_string_equal(fire(w, 100), "5-15 a:1,4,3;10-20 a:3;");
	assert_int_equal(dropped, 4);
	destroy(w);
	/* A slide that does not divide the length. */
	w = create(
		(struct rfl_window_spec){.shape = RFL_SHAPE_HOPPING, .size_ms = 10, .slide_ms = 4});
	add(w, "", 9, 1);
	assert_string_equal(fire(w, 100), "0-10 :1;4-14 :1;8-18 :1;");
	destroy(w);
}

static void
test_sessions(void **state)
{
	(void)state;
	struct rfl_window *w = create((struct rfl_window_spec){
		.shape = RFL_SHAPE_SESSION, .size_ms = 10, .max_ms = 1000});
	uint32_t missed;
	add(w, "k", 0, 1);
	add(w, "k", 10, 2); /* exactly the gap: joins */
	add(w, "k", 31, 3); /* one more: does not */
	add(w, "m", 5, 4);
	assert_int_equal(rfl_window_open_count(w), 3);
	add(w, "k", 21,
		5); /* within the gap of the one behind, one beyond that of the one before */
	assert_int_equal(rfl_window_open_count(w), 3);
	add(w, "k", 20, 6); /* connects them */
	assert_int_equal(rfl_window_open_count(w), 2);
	assert_int_equal(rfl_window_next_ms(w), 16);
	assert_string_equal(fire(w, 16), "5-16 m:4;");
	assert_string_equal(fire(w, 41), "");
	assert_string_equal(fire(w, 42), "0-42 k:1,2,3,5,6;");
	/* Near one that is over: its own session, late only if that one is over too. */
	assert_int_equal(add_late(w, "k", 32, 7, 42, &missed), 1);
	assert_int_equal(add_late(w, "k", 31, 8, 42, &missed), 1);
	assert_int_equal(add_late(w, "k", 20, 9, 42, &missed), 0);
	assert_int_equal(missed, 1);
	assert_string_equal(fire(w, 43), "31-43 k:7,8;");
	assert_int_equal(rfl_window_bytes(w) > 0, 1);
	destroy(w);
	/* No session spans more than max. */
	w = create(
		(struct rfl_window_spec){.shape = RFL_SHAPE_SESSION, .size_ms = 10, .max_ms = 15});
	add(w, "", 0, 1);
	add(w, "", 8, 2);
	add(w, "", 15, 3);
	add(w, "", 16, 4);
	assert_string_equal(fire(w, 1000), "0-26 :1,2,3;16-27 :4;");
	destroy(w);
}

static void
test_counts(void **state)
{
	(void)state;
	struct rfl_window *w =
		create((struct rfl_window_spec){.shape = RFL_SHAPE_COUNT, .count = 3});
	assert_int_equal(rfl_window_room(w), 3);
	add(w, "", 5, 1);
	add(w, "", 4, 2);
	assert_int_equal(rfl_window_room(w), 1);
	assert_string_equal(fire(w, RFL_NEVER_MS - 1), "");
	add(w, "", 6, 3);
	assert_string_equal(fire(w, RFL_BEFORE_MS), "5-7 :1,2,3;");
	destroy(w);
	w = create((struct rfl_window_spec){.shape = RFL_SHAPE_COUNT, .count = 3, .size_ms = 100});
	add(w, "a", 50, 1);
	add(w, "b", 60, 2);
	add(w, "b", 60, 3);
	add(w, "b", 60, 4);
	add(w, "b", 60, 5);
	assert_string_equal(fire(w, 149), "60-160 b:2,3,4;");
	assert_string_equal(fire(w, 150), "50-150 a:1;");
	assert_int_equal(rfl_window_last_ms(w), 160);
	destroy(w);
	assert_int_equal(dropped, 1);
}

static void
test_early_looks_show_what_changed(void **state)
{
	(void)state;
	struct rfl_window *w = create(
		(struct rfl_window_spec){.shape = RFL_SHAPE_HOPPING, .size_ms = 10, .slide_ms = 5});
	add(w, "a", 7, 1);
	add(w, "b", 7, 2);
	assert_string_equal(early(w), "0-10 a:1;0-10 b:2;5-15 a:1;5-15 b:2;");
	assert_string_equal(early(w), "");
	add(w, "a", 11, 3);
	assert_string_equal(early(w), "5-15 a:1,3;10-20 a:3;");
	assert_string_equal(fire(w, 10), "0-10 a:1;0-10 b:2;");
	destroy(w);
	w = create(
		(struct rfl_window_spec){.shape = RFL_SHAPE_SESSION, .size_ms = 10, .max_ms = 100});
	add(w, "a", 7, 1);
	assert_string_equal(early(w), "7-18 a:1;");
	add(w, "a", 9, 2);
	assert_string_equal(early(w), "7-20 a:1,2;");
	assert_string_equal(early(w), "");
	destroy(w);
}

/* Between two windows there may be years: as many as fit in there are not looked at. */
static void
test_early_looks_pass_over_what_is_empty(void **state)
{
	(void)state;
	const int64_t far_ms = INT64_C(1000000000000000);
	struct rfl_window *w =
		create((struct rfl_window_spec){.shape = RFL_SHAPE_TUMBLING, .size_ms = 10});
	add(w, "a", 7, 1);
	add(w, "a", far_ms, 2);
	assert_string_equal(early(w), "0-10 a:1;1000000000000000-1000000000000010 a:2;");
	destroy(w);
	w = create(
		(struct rfl_window_spec){.shape = RFL_SHAPE_HOPPING, .size_ms = 10, .slide_ms = 5});
	add(w, "a", 3, 1);
	add(w, "a", far_ms, 2);
	assert_string_equal(early(w), "-5-5 a:1;0-10 a:1;999999999999995-1000000000000005 a:2;"
				      "1000000000000000-1000000000000010 a:2;");
	destroy(w);
}

static void
test_empty_windows_are_told_when_asked_for(void **state)
{
	(void)state;
	struct rfl_window *w = create((struct rfl_window_spec){
		.shape = RFL_SHAPE_TUMBLING, .size_ms = 10, .emit_empty = 1});
	assert_string_equal(fire(w, 100), "");
	rfl_window_begin(w, 101);
	add(w, "", 125, 1);
	assert_string_equal(fire(w, 140), "100-110 :;110-120 :;120-130 :1;130-140 :;");
	destroy(w);
}

static void
test_a_hundred_thousand_keys(void **state)
{
	(void)state;
	struct rfl_window *w = create(
		(struct rfl_window_spec){.shape = RFL_SHAPE_SESSION, .size_ms = 10, .max_ms = 100});
	struct rfl_window_fired f;
	char key[16];
	for (uint64_t i = 0; i < 100000; i++) {
		snprintf(key, sizeof key, "%llu", (unsigned long long)(i * 7919 % 100000));
		add(w, key, (int64_t)(i % 50), i);
	}
	assert_int_equal(rfl_window_open_count(w), 100000);
	uint64_t fired = 0;
	int64_t last = 0;
	while (rfl_window_fire(w, 1000, &f, &items)) {
		assert_true(f.end_ms >= last);
		last = f.end_ms;
		fired++;
	}
	assert_int_equal(fired, 100000);
	assert_int_equal(items.count, 100000);
	assert_int_equal(rfl_window_open_count(w), 0);
	destroy(w);
}

/* What is called before it is over is told its end all the same. On 29 March 2026 Berlin has 23 hours. */
static void
test_the_end_of_a_window_is_known_from_its_start(void **state)
{
	(void)state;
	const int64_t hour = 3600000, spring = INT64_C(1774738800000);
	struct riffle_error err;
	struct rfl_zone *berlin;
	assert_int_equal(rfl_zone_load("/usr/share/zoneinfo", "Europe/Berlin", &berlin, &err), 0);
	struct rfl_window *w = create((struct rfl_window_spec){
		.shape = RFL_SHAPE_TUMBLING, .size_ms = 24 * hour, .zone = berlin});
	assert_int_equal(rfl_window_end_ms(w, spring - 24 * hour), spring);
	assert_int_equal(rfl_window_end_ms(w, spring), spring + 23 * hour);
	assert_int_equal(rfl_window_end_ms(w, spring + 23 * hour), spring + 47 * hour);
	destroy(w);
	rfl_zone_destroy(berlin);
	w = create((struct rfl_window_spec){
		.shape = RFL_SHAPE_TUMBLING, .size_ms = 10, .offset_ms = 3});
	assert_int_equal(rfl_window_end_ms(w, -7), 3);
	destroy(w);
	w = create((struct rfl_window_spec){.shape = RFL_SHAPE_COUNT, .count = 3, .size_ms = 10});
	assert_int_equal(rfl_window_end_ms(w, 5), 15);
	destroy(w);
	w = create((struct rfl_window_spec){.shape = RFL_SHAPE_COUNT, .count = 3});
	assert_int_equal(rfl_window_end_ms(w, 5), RFL_NEVER_MS);
	destroy(w);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tumbling),
		cmocka_unit_test(test_keys_have_windows_of_their_own),
		cmocka_unit_test(test_hopping),
		cmocka_unit_test(test_sessions),
		cmocka_unit_test(test_counts),
		cmocka_unit_test(test_early_looks_show_what_changed),
		cmocka_unit_test(test_early_looks_pass_over_what_is_empty),
		cmocka_unit_test(test_empty_windows_are_told_when_asked_for),
		cmocka_unit_test(test_the_end_of_a_window_is_known_from_its_start),
		cmocka_unit_test(test_a_hundred_thousand_keys),
	};
	return RUN("window", tests);
}
