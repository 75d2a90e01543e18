/*
 * The window engine against Kafka Streams: random streams of records, kept with what Kafka Streams'
 * test driver made of them (kstreams/README.md).
 */
#include "../unit/test.h"

#include "window/window.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SCENARIOS_MIN 200
#define DIFFERING_MIN 5
#define COVERED_MIN 50
#define WINDOWS_MAX 4096
#define BATCH_MAX 16
#define LONG_MS (INT64_C(1) << 40)

struct result {
	char key;
	int64_t start_ms, end_ms;
	json_t *values; /* numbers of records, in their order */
};

/* One life of the engine under a scenario. */
struct run {
	const json_t *scenario;
	const char *text; /* which one, for messages */
	struct rfl_window *w;
	struct rfl_window_items items;
	struct result results[WINDOWS_MAX];
	size_t result_count;
	json_int_t missed;
	struct rfl_window_record batch[BATCH_MAX];
	size_t batch_count;
};

static json_t *root;

static int
load(void **state)
{
	(void)state;
	const char *src = getenv("RIFFLE_SRC");
	char path[4096];
	json_error_t err;
	snprintf(path, sizeof path, "%s/tests/model/kstreams/scenarios.json", src ? src : ".");
	root = json_load_file(path, 0, &err);
	if (root == NULL)
		fprintf(stderr, "%s:%d: %s\n", path, err.line, err.text);
	return root == NULL;
}

static int
unload(void **state)
{
	(void)state;
	json_decref(root);
	return 0;
}

static int64_t
number(const json_t *object, const char *name)
{
	const json_t *n = json_object_get(object, name);
	assert_true(json_is_integer(n));
	return json_integer_value(n);
}

static int
is_kind(const json_t *scenario, const char *kind)
{
	const char *is = json_string_value(json_object_get(scenario, "kind"));
	assert_non_null(is);
	return strcmp(is, kind) == 0;
}

static struct rfl_window_spec
spec_of(const json_t *scenario)
{
	struct rfl_window_spec spec = {.shape = RFL_SHAPE_SESSION, .max_ms = LONG_MS};
	if (is_kind(scenario, "session")) {
		spec.size_ms = number(scenario, "gap");
		return spec;
	}
	spec.shape = is_kind(scenario, "hopping") ? RFL_SHAPE_HOPPING : RFL_SHAPE_TUMBLING;
	spec.size_ms = number(scenario, "size");
	spec.slide_ms = number(scenario, "advance");
	return spec;
}

static int
by_number(const void *a, const void *b)
{
	const struct rfl_window_item *x = a, *y = b;
	return (x->a > y->a) - (x->a < y->a);
}

static void
fire_until(struct run *r, int64_t closed_ms)
{
	struct rfl_window_fired fired;
	r->items.count = 0;
	while (rfl_window_fire(r->w, closed_ms, &fired, &r->items)) {
		assert_true(r->result_count < WINDOWS_MAX);
		struct result *got = &r->results[r->result_count++];
		assert_true(fired.end_ms <= closed_ms);
		if (got > r->results && got[-1].end_ms > fired.end_ms)
			fail_msg("%s: a window until %lld after one until %lld", r->text,
				(long long)fired.end_ms, (long long)got[-1].end_ms);
		assert_int_equal(fired.key_len, 1);
		*got = (struct result){
			*(const char *)fired.key, fired.start_ms, fired.end_ms, json_array()};
		if (fired.is_merged)
			qsort(r->items.list, r->items.count, sizeof r->items.list[0], by_number);
		for (size_t i = 0; i < r->items.count; i++)
			json_array_append_new(
				got->values, json_integer((json_int_t)r->items.list[i].a));
		r->items.count = 0;
	}
	assert_true(rfl_window_next_ms(r->w) > closed_ms);
}

static void
flush_batch(struct run *r)
{
	if (r->batch_count == 0)
		return;
	rfl_window_add(r->w, r->batch, r->batch_count);
	for (size_t i = 0; i < r->batch_count; i++)
		r->missed += r->batch[i].missed;
	r->batch_count = 0;
}

/* What is over is fetched before the batch where the engine asks for it, else after it. */
static void
replay(struct run *r, const json_t *scenario, size_t batch_size)
{
	static char text[64];
	struct rfl_window_spec spec = spec_of(scenario);
	const json_t *records = json_object_get(scenario, "records");
	int64_t grace_ms = number(scenario, "grace"), seen_ms = INT64_MIN / 2,
		fired_ms = RFL_BEFORE_MS;
	int early = spec.shape == RFL_SHAPE_HOPPING;
	snprintf(text, sizeof text, "seed %lld in batches of %zu",
		(long long)number(scenario, "seed"), batch_size);
	*r = (struct run){
		.scenario = scenario, .text = text, .w = rfl_window_create(&spec, NULL, NULL)};
	for (size_t i = 0; i < json_array_size(records); i++) {
		const json_t *record = json_array_get(records, i);
		const char *key = json_string_value(json_array_get(record, 0));
		int64_t t = json_integer_value(json_array_get(record, 1));
		seen_ms = t > seen_ms ? t : seen_ms;
		if (early && seen_ms - grace_ms > fired_ms) {
			flush_batch(r);
			fired_ms = seen_ms - grace_ms;
			fire_until(r, fired_ms);
		}
		r->batch[r->batch_count++] = (struct rfl_window_record){.time_ms = t,
			.closed_ms = seen_ms - grace_ms,
			.key = key,
			.key_len = 1,
			.hash = rfl_window_hash(key, 1),
			.item = {i, ~i}};
		if (r->batch_count < batch_size)
			continue;
		flush_batch(r);
		fire_until(r, seen_ms - grace_ms);
	}
	flush_batch(r);
	fire_until(r, seen_ms + LONG_MS);
	assert_int_equal(rfl_window_open_count(r->w), 0);
}

static void
end_run(struct run *r)
{
	for (size_t i = 0; i < r->result_count; i++)
		json_decref(r->results[i].values);
	free(r->items.list);
	rfl_window_destroy(r->w);
}

/* Kafka Streams says of a session when its last record was; ours ends when it takes no more. */
static int64_t
end_of(const json_t *scenario, const json_t *window)
{
	int64_t end = json_integer_value(json_array_get(window, 2));
	return is_kind(scenario, "session") ? end + number(scenario, "gap") + 1 : end;
}

static int
has_window(const struct run *r, const json_t *window)
{
	const char *key = json_string_value(json_array_get(window, 0));
	int64_t start = json_integer_value(json_array_get(window, 1));
	int64_t end = end_of(r->scenario, window);
	for (size_t i = 0; i < r->result_count; i++) {
		const struct result *got = &r->results[i];
		if (got->key == *key && got->start_ms == start && got->end_ms == end)
			return json_equal(got->values, json_array_get(window, 3));
	}
	return 0;
}

/* How many windows of the scenario the engine did not make. */
static size_t
missing(const struct run *r, int loud)
{
	const json_t *windows = json_object_get(r->scenario, "windows");
	size_t count = 0;
	for (size_t i = 0; i < json_array_size(windows); i++) {
		if (has_window(r, json_array_get(windows, i)))
			continue;
		count++;
		if (!loud)
			continue;
		char *text = json_dumps(json_array_get(windows, i), JSON_COMPACT);
		print_error("%s: Kafka Streams has %s\n", r->text, text);
		free(text);
	}
	return count;
}

static void
compare(const json_t *scenario, size_t batch_size)
{
	static struct run r;
	replay(&r, scenario, batch_size);
	size_t want = json_array_size(json_object_get(scenario, "windows"));
	if (missing(&r, 1) > 0 || r.result_count != want)
		fail_msg("%s: %zu windows, Kafka Streams has %zu", r.text, r.result_count, want);
	if (r.missed != number(scenario, "dropped"))
		fail_msg("%s: %lld missed, Kafka Streams dropped %lld", r.text, (long long)r.missed,
			(long long)number(scenario, "dropped"));
	end_run(&r);
}

static void
compare_all(const char *kind)
{
	size_t i, count = 0;
	const json_t *scenario;
	json_array_foreach (json_object_get(root, "scenarios"), i, scenario) {
		if (!is_kind(scenario, kind) || json_is_true(json_object_get(scenario, "differs")))
			continue;
		compare(scenario, 1);
		compare(scenario, 3);
		compare(scenario, BATCH_MAX);
		count++;
	}
	assert_true(count >= SCENARIOS_MIN / 3 + 1);
}

static void
test_tumbling(void **state)
{
	(void)state;
	compare_all("tumbling");
}

static void
test_hopping(void **state)
{
	(void)state;
	compare_all("hopping");
}

static void
test_session(void **state)
{
	(void)state;
	compare_all("session");
}

static json_int_t
values_in(const json_t *windows)
{
	size_t i, sum = 0;
	const json_t *window;
	json_array_foreach (windows, i, window)
		sum += json_array_size(json_array_get(window, 3));
	return (json_int_t)sum;
}

/*
 * The difference by choice: Kafka Streams takes a record in time that is near a session it has given
 * out already into that session, and gives it out again with all its records. Here it starts its own,
 * so that each record counts once.
 */
static void
test_a_session_that_was_given_out_is_not_revived(void **state)
{
	(void)state;
	static struct run r;
	size_t i, count = 0;
	const json_t *scenario;
	json_array_foreach (json_object_get(root, "scenarios"), i, scenario) {
		if (!json_is_true(json_object_get(scenario, "differs")))
			continue;
		json_int_t records =
			(json_int_t)json_array_size(json_object_get(scenario, "records"));
		json_int_t taken = 0;
		replay(&r, scenario, 1);
		for (size_t k = 0; k < r.result_count; k++)
			taken += (json_int_t)json_array_size(r.results[k].values);
		assert_int_equal(taken + r.missed, records);
		assert_true(missing(&r, 0) > 0);
		assert_true(values_in(json_object_get(scenario, "windows")) +
				    number(scenario, "dropped") >
			    records);
		end_run(&r);
		count++;
	}
	assert_true(count >= DIFFERING_MIN);
}

static void
test_the_boundaries_are_among_them(void **state)
{
	(void)state;
	json_t *covers = json_object_get(root, "covers"), *count;
	const char *what;
	assert_true(json_object_size(covers) > 0);
	json_object_foreach(covers, what, count) if (json_integer_value(count) < COVERED_MIN)
		fail_msg("%s: only %lld", what, (long long)json_integer_value(count));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tumbling),
		cmocka_unit_test(test_hopping),
		cmocka_unit_test(test_session),
		cmocka_unit_test(test_a_session_that_was_given_out_is_not_revived),
		cmocka_unit_test(test_the_boundaries_are_among_them),
	};
	return cmocka_run_group_tests_name("kstreams", tests, load, unload);
}
