/* No license. R10. */
#define BAD_LICENSE NULL
#include "bad.h"
