/* No name. R10. */
#define BAD_NAME NULL
#include "bad.h"
