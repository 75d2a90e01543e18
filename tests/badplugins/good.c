/* Nothing is wrong with this one: it shows that the others fail by their one fault. */
#include "bad.h"
