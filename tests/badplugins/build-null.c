/* No build. R10. */
#define BAD_BUILD NULL
#include "bad.h"
