/* The metadata of a committed position, which a broker may have mangled. */
#include "fuzz.h"

#include "wire/tuple.h"

#include <string.h>

const char fuzz_name[] = "tuple";

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rfl_tuple t;
	struct riffle_error err = {0};
	char text[RFL_TUPLE_TEXT + 1];
	int rc = rfl_tuple_decode((struct riffle_bytes){data, size}, &t, &err);
	fuzz_assert(rc == RIFFLE_OK || (rc == RIFFLE_E_DATA && err.text[0] != '\0'));
	if (rc != RIFFLE_OK)
		return 0;
	/* There is one text for one tuple; behind it may be an open set. */
	rfl_tuple_encode(&t, text);
	fuzz_assert(size == RFL_TUPLE_TEXT || t.flags == RFL_TUPLE_OPEN_SET);
	fuzz_assert(memcmp(text, data, RFL_TUPLE_TEXT) == 0);
	return 0;
}
