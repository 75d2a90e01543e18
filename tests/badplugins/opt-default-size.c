/* A default that is not of its type. R12. */
#define BAD_OPTIONS                                                                                \
	{                                                                                          \
		.name = "a", .type = RIFFLE_OPT_SIZE, .def = "12", .doc = "A."                     \
	}
#include "bad.h"
