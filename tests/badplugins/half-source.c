/* A source whose last operation is missing. R11. */
#define BAD_KIND RIFFLE_KIND_PROVIDER
#define BAD_OPS &provider_ops
#define BAD_CAPABILITIES RIFFLE_CAN_SOURCE
#define BAD_PROVIDER                                                                               \
	.source_open = NEVER(source_open), .source_fd = NEVER(source_fd),                          \
	.source_poll = NEVER(source_poll), .source_start = NEVER(source_start),                    \
	.source_rewind = NEVER(source_rewind), .source_release = NEVER(source_release),            \
	.source_commit = NEVER(source_commit), .lane_poll = NEVER(lane_poll),                      \
	.lane_state = NEVER(lane_state), .source_close = NEVER(source_close)
#include "bad.h"
