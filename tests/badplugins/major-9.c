/* Another major. R07. */
#define BAD_MAJOR 9
#include "bad.h"
