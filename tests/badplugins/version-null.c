/* No version. R10. */
#define BAD_VERSION NULL
#include "bad.h"
