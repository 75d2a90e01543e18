/* A default that lies in another object. R12. */
#include <unistd.h>

#define BAD_OPTIONS                                                                                \
	{                                                                                          \
		.name = "a", .type = RIFFLE_OPT_STRING, .def = (const char *)&environ, .doc = "A." \
	}
#include "bad.h"
