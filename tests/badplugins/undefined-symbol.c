/* Calls a function that nobody has: bound at once, so refused, and not at its first call. R03. */
#include <riffle/abi.h>

int nobody_has_this_function(void);
RIFFLE_EXPORT int calls_it(void);

int
calls_it(void)
{
	return nobody_has_this_function();
}
