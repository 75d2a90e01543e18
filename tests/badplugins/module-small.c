/* A module that ends before its fields do. R08. */
#define BAD_MODULE_SIZE 8
#include "bad.h"
