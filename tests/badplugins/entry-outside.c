/* An entry of the list points into another object. R09. */
#include <unistd.h>

#define BAD_ENTRY (const struct riffle_plugin *)(const void *)&environ
#include "bad.h"
