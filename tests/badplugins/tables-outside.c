/* Option tables in another object. R12. */
#include <unistd.h>

#define BAD_TABLES (const struct riffle_option_table *)(const void *)&environ
#include "bad.h"
