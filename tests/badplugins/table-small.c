/* An option table that ends before its last field. R08. */
#define BAD_TABLE_SIZE 8
#include "bad.h"
