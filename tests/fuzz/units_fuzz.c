/* Durations, sizes, numbers, times, lists and words of the INI. */
#include "fuzz.h"

#include "base/mem.h"
#include "conf/value.h"

#include <string.h>

const char fuzz_name[] = "units";

static void
try_numbers(const char *s)
{
	int64_t value = 77;
	const char *why = NULL;
	int (*const parsers[])(const char *, int64_t *, const char **) = {
		rfl_value_duration, rfl_value_size, rfl_value_int, rfl_value_bool};
	for (size_t i = 0; i < sizeof parsers / sizeof parsers[0]; i++) {
		why = NULL;
		int rc = parsers[i](s, &value, &why);
		fuzz_assert(rc == 0 || why != NULL);
		/* Neither a duration nor a size is below zero. */
		fuzz_assert(rc < 0 || i > 1 || value >= 0);
	}
	rfl_value_time(s, &value);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const known[] = {"tumbling", "hopping", "count", "none"};
	char *s = rfl_strndup((const char *)data, size);
	struct rfl_conf_memory *memory = rfl_arena_create();
	size_t count = 0;
	try_numbers(s);
	char **list = rfl_value_list(memory, s, &count);
	for (size_t i = 0; list != NULL && i <= count; i++)
		fuzz_assert((list[i] == NULL) == (i == count));
	char **words = rfl_value_words(memory, s);
	for (size_t i = 0; words != NULL && words[i] != NULL; i++)
		fuzz_assert(strlen(words[i]) <= size);
	rfl_value_nearest(s, known, sizeof known / sizeof known[0]);
	fuzz_assert(!rfl_value_is_label(s) || (strlen(s) > 0 && strlen(s) < 64));
	rfl_arena_destroy(memory);
	free(s);
	return 0;
}
