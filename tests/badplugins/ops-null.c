/* No operations. R11. */
#define BAD_OPS NULL
#include "bad.h"
