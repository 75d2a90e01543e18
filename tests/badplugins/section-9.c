/* A kind of section that there is not. R12. */
#define BAD_SECTION 9
#include "bad.h"
