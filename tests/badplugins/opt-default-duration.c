/* A default that is not of its type. R12. */
#define BAD_OPTIONS                                                                                \
	{                                                                                          \
		.name = "a", .type = RIFFLE_OPT_DURATION, .def = "5q", .doc = "A."                 \
	}
#include "bad.h"
