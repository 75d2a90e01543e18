/* Operations that end before the last. R08. */
#define BAD_OPS_SIZE 40
#include "bad.h"
