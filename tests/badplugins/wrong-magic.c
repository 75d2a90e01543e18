/* Not our magic. R06. */
#define BAD_MAGIC 0x12345678u
#include "bad.h"
