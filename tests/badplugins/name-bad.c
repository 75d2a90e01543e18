/* A name with characters that a name may not have. R10. */
#define BAD_NAME "Kafka!"
#include "bad.h"
