/* A default that is not of its type. R12. */
#define BAD_OPTIONS                                                                                \
	{                                                                                          \
		.name = "a", .type = RIFFLE_OPT_INT, .def = "many", .doc = "A."                    \
	}
#include "bad.h"
