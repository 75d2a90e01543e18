/* A module larger than any will be. R08. */
#define BAD_MODULE_SIZE 70000
#include "bad.h"
