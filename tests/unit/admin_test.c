/* The admin room: the status as JSON, whatever it is that somebody has said. */
#include "test.h"

#include "admin/render.h"
#include "base/mem.h"
#include "runtime/status.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* Not UTF-8; then the half of a character that was cut. */
#define BYTES "its time '\xff\xfe' cannot be \xc3\xa4 \xc3"
#define CLEAN                                                                                      \
	"its time '?"                                                                              \
	"?' cannot be \xc3\xa4 ?"

static struct rfl_status *
stopped(void)
{
	struct rfl_status *s = rfl_zalloc(sizeof *s);
	s->processors = rfl_zalloc(sizeof *s->processors);
	s->processor_count = 1;
	struct rfl_processor_status *p = s->processors;
	*p = (struct rfl_processor_status){.name = rfl_strdup("p"),
		.function = rfl_strdup("f"),
		.state = RFL_STOPPED,
		.why = rfl_strdup(BYTES),
		.task_count = 1};
	p->tasks = rfl_zalloc(sizeof *p->tasks);
	p->tasks[0].state = RFL_STOPPED;
	p->tasks[0].why = rfl_strdup(BYTES);
	return s;
}

static void
test_who_is_not_ready_is_not_ready_in_any_words(void **state)
{
	(void)state;
	struct rfl_status *s = stopped();
	int is_ready = 1;
	char *text = rfl_render_ready(s, NULL, &is_ready);
	assert_false(is_ready);
	assert_non_null(strstr(text, "processor p: stopped: " CLEAN));
	free(text);
	rfl_status_free(s);
}

static void
test_a_processor_is_shown_whatever_it_says(void **state)
{
	(void)state;
	struct rfl_status *s = stopped();
	char *all = rfl_render_processors(s), *one = rfl_render_processor(s, "p");
	json_t *list = json_loads(all, 0, NULL);
	json_t *p = json_array_get(list, 0);
	assert_string_equal(json_string_value(json_object_get(p, "why")), CLEAN);
	const json_t *t = json_array_get(json_object_get(p, "tasks"), 0);
	assert_string_equal(json_string_value(json_object_get(t, "why")), CLEAN);
	assert_non_null(one);
	json_decref(list);
	free(all);
	free(one);
	rfl_status_free(s);
}

static void
test_an_error_has_its_text(void **state)
{
	(void)state;
	char *text = rfl_render_error(BYTES);
	assert_non_null(strstr(text, CLEAN));
	free(text);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_who_is_not_ready_is_not_ready_in_any_words),
		cmocka_unit_test(test_a_processor_is_shown_whatever_it_says),
		cmocka_unit_test(test_an_error_has_its_text),
	};
	return RUN("admin", tests);
}
