/* A summary that lies in another object. R10. */
#include <unistd.h>

#define BAD_SUMMARY (const char *)&environ
#include "bad.h"
