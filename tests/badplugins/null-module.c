/* The entry function gives nothing. R05. */
#define BAD_RESULT NULL
#include "bad.h"
