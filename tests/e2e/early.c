/* A plugin whose constructor ends the process that loads it, as $RIFFLE_TEST_EARLY says. */
#include <riffle/riffle.h>

#include <stdlib.h>
#include <string.h>

static void __attribute__((constructor)) begin(void)
{
	const char *how = getenv("RIFFLE_TEST_EARLY");
	if (how != NULL && strcmp(how, "exit") == 0)
		_Exit(0);
	abort();
}

RIFFLE_EXPORT const struct riffle_module *
riffle_module_v0(void)
{
	return NULL;
}
