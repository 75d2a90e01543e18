/* The entry function points into another object. R05. */
#include <unistd.h>

#define BAD_RESULT (const struct riffle_module *)(const void *)&environ
#include "bad.h"
