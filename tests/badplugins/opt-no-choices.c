/* A choice without choices. R12. */
#define BAD_OPTIONS                                                                                \
	{                                                                                          \
		.name = "a", .type = RIFFLE_OPT_ENUM, .doc = "A."                                  \
	}
#include "bad.h"
