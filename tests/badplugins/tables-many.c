/* More option tables than there are kinds of section. R12. */
#define BAD_TABLE_COUNT 4
#include "bad.h"
