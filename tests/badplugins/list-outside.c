/* The list of plugins lies in another object. R09. */
#include <unistd.h>

#define BAD_PLUGINS (const struct riffle_plugin *const *)(const void *)&environ
#include "bad.h"
