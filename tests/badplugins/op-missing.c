/* A mandatory operation is missing. R11. */
#define BAD_PUSH NULL
#include "bad.h"
