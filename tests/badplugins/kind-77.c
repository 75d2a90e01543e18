/* A kind that is not known. R10. */
#define BAD_KIND 77
#include "bad.h"
