/* A name that no key has. R12. */
#define BAD_OPTIONS                                                                                \
	{                                                                                          \
		.name = "Linger Ms", .type = RIFFLE_OPT_INT, .doc = "A."                           \
	}
#include "bad.h"
