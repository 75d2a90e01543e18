/* A module without plugins. R09. */
#define BAD_COUNT 0
#include "bad.h"
