/* Operations in another object. R11. */
#include <unistd.h>

#define BAD_OPS &environ
#include "bad.h"
