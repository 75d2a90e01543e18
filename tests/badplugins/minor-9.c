/* A minor that this host does not know. R07. */
#define BAD_MINOR 9
#include "bad.h"
