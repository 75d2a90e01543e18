/* No summary. R10. */
#define BAD_SUMMARY NULL
#include "bad.h"
