/* Two content types, a line each: what is expected and what came. */
#include "fuzz.h"

#include "base/mem.h"
#include "wire/content_type.h"

#include <string.h>

const char fuzz_name[] = "types";

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *expected = rfl_strndup((const char *)data, size);
	char *actual = strchr(expected, '\n');
	if (actual != NULL)
		*actual++ = '\0';
	else
		actual = expected;
	int matches = rfl_content_type_matches(expected, actual);
	fuzz_assert(matches == 0 || matches == 1);
	if (rfl_content_type_valid(expected)) {
		fuzz_assert(rfl_content_type_matches(expected, expected));
		fuzz_assert(rfl_content_type_matches("*/*", expected));
	}
	free(expected);
	return 0;
}
