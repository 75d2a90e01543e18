/* A name of more than 31 characters. R10. */
#define BAD_NAME "abcdefghijklmnopqrstuvwxyzabcdef"
#include "bad.h"
