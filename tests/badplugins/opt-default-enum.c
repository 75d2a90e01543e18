/* A default that is none of the choices. R12. */
#include <stddef.h>

static const char *const choices[] = {"one", "two", NULL};
#define BAD_OPTIONS                                                                                \
	{                                                                                          \
		.name = "a", .type = RIFFLE_OPT_ENUM, .def = "three", .choices = choices,          \
		.doc = "A."                                                                        \
	}
#include "bad.h"
