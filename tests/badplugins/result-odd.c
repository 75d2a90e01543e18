/* The entry function gives an address that no module can have. R05. */
#define BAD_RESULT (const struct riffle_module *)(const void *)((const char *)&module + 1)
#include "bad.h"
