/* A default beyond its own bounds. R12. */
#define BAD_OPTIONS                                                                                \
	{                                                                                          \
		.name = "a", .type = RIFFLE_OPT_INT, .def = "9", .min = 1, .max = 8, .doc = "A."   \
	}
#include "bad.h"
