/* A hole in the list of plugins. R09. */
#define BAD_ENTRY NULL
#include "bad.h"
