/* The same plugin twice in one file. R10. */
#define BAD_COUNT 2
#include "bad.h"
