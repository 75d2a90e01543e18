/* Options too close to each other. R08. */
#define BAD_OPTION_SIZE 8
#include "bad.h"
