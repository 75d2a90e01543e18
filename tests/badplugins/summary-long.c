/* A summary that does not end. R10. */
static char long_text[5000] = {[0 ... 4999] = 'x'};
#define BAD_SUMMARY long_text
#include "bad.h"
