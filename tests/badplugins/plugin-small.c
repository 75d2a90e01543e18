/* A descriptor that ends before its last field. R08. */
#define BAD_PLUGIN_SIZE 24
#include "bad.h"
