/* An option that is there twice. R12. */
#define BAD_OPTIONS                                                                                \
	{.name = "a", .type = RIFFLE_OPT_INT, .doc = "A."},                                        \
	{                                                                                          \
		.name = "a", .type = RIFFLE_OPT_INT, .doc = "A."                                   \
	}
#include "bad.h"
