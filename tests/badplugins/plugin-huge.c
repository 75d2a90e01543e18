/* A descriptor of a size that cannot be. R08. */
#define BAD_PLUGIN_SIZE 1000000
#include "bad.h"
