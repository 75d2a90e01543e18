/* Exports nothing of ours. R04. */
#define BAD_SYMBOL something_else
#include "bad.h"
