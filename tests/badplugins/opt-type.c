/* A type that there is not. R12. */
#define BAD_OPTIONS                                                                                \
	{                                                                                          \
		.name = "a", .type = 99, .doc = "A."                                               \
	}
#include "bad.h"
