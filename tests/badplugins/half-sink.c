/* A sink whose operations are missing. R11. */
#define BAD_KIND RIFFLE_KIND_PROVIDER
#define BAD_OPS &provider_ops
#define BAD_CAPABILITIES RIFFLE_CAN_SINK
#define BAD_PROVIDER .sink_open = NEVER(sink_open)
#include "bad.h"
