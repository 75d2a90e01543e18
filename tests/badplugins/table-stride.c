/* Option tables too close to each other. R08. */
#define BAD_TABLE_STRIDE 8
#include "bad.h"
