/* An option without its sentence. R12. */
#define BAD_OPTIONS                                                                                \
	{                                                                                          \
		.name = "linger", .type = RIFFLE_OPT_INT                                           \
	}
#include "bad.h"
