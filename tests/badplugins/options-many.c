/* More options than a table may hold. R12. */
#define BAD_OPTION_COUNT 1025
#include "bad.h"
