/* What the admin socket says, whatever bytes the reasons have. */
#include "test.h"

#include "admin/render.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* Reasons as others give them: Latin-1, and a text that was cut within a character. */
static char latin[] = "caf\xe9 is closed", cut[] = "no value \"k\xc3";
static char name[] = "averager", alias[] = "in";

static json_t *
parsed(char *text)
{
	assert_non_null(text);
	json_t *j = json_loads(text, 0, NULL);
	assert_non_null(j);
	free(text);
	return j;
}

static const char *
text_of(const json_t *object, const char *member)
{
	const char *text = json_string_value(json_object_get(object, member));
	assert_non_null(text);
	return text;
}

static void
test_a_reason_that_is_no_text_hides_nothing(void **state)
{
	(void)state;
	struct rfl_lane_status lane = {.alias = alias, .stream = alias, .time_ms = INT64_MIN};
	struct rfl_task_status task = {.state = RFL_STOPPED,
		.why = cut,
		.waits_for = latin,
		.held_by = -1,
		.lanes = &lane,
		.lane_count = 1};
	struct rfl_processor_status p = {.name = name,
		.function = name,
		.state = RFL_STOPPED,
		.why = latin,
		.tasks = &task,
		.task_count = 1};
	const struct rfl_status s = {&p, 1};
	int is_ready;
	json_t *j = parsed(rfl_render_ready(&s, NULL, &is_ready));
	assert_false(is_ready);
	assert_int_equal(json_array_size(json_object_get(j, "reasons")), 1);
	json_decref(j);
	j = parsed(rfl_render_ready(NULL, latin, &is_ready));
	assert_false(is_ready);
	json_decref(j);
	j = parsed(rfl_render_processors(&s));
	assert_int_equal(json_array_size(j), 1);
	json_decref(j);
	j = parsed(rfl_render_processor(&s, "averager"));
	assert_string_equal(text_of(j, "why"), "caf? is closed");
	const json_t *one = json_array_get(json_object_get(j, "tasks"), 0);
	assert_string_equal(text_of(one, "why"), "no value \"k?");
	assert_string_equal(text_of(one, "waitsFor"), "caf? is closed");
	assert_int_equal(json_array_size(json_object_get(one, "lanes")), 1);
	json_decref(j);
	j = parsed(rfl_render_error(latin));
	assert_string_equal(text_of(j, "error"), "caf? is closed");
	json_decref(j);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_reason_that_is_no_text_hides_nothing),
	};
	return RUN("admin", tests);
}
