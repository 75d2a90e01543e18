/* More plugins than a file may hold. R09. */
#define BAD_COUNT 65
#include "bad.h"
