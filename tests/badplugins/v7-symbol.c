/* Made for an ABI that does not exist yet. R04. */
#define BAD_SYMBOL riffle_module_v7
#include "bad.h"
