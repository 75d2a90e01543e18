/* What happens when one of our own promises is broken: say which, and stop. */
#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void
rfl_assert_failed(const char *expr, const char *file, int line, const char *func)
{
	fprintf(stderr, "riffle: a bug: %s:%d: %s: %s\n", file, line, func, expr);
	abort();
}
