/* Bounds that nothing can meet. R12. */
#define BAD_OPTIONS                                                                                \
	{                                                                                          \
		.name = "a", .type = RIFFLE_OPT_INT, .min = 2, .max = 1, .doc = "A."               \
	}
#include "bad.h"
