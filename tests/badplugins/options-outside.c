/* Options in another object. R12. */
#include <unistd.h>

#define BAD_OPTION_LIST (const struct riffle_option *)(const void *)&environ
#include "bad.h"
