/* Transactions without a way to ask for them. R11. */
#define BAD_KIND RIFFLE_KIND_PROVIDER
#define BAD_OPS &provider_ops
#define BAD_CAPABILITIES (RIFFLE_CAN_SINK | RIFFLE_CAN_TRANSACTIONS)
#define BAD_PROVIDER                                                                               \
	.sink_open = NEVER(sink_open), .sink_fd = NEVER(sink_fd), .sink_poll = NEVER(sink_poll),   \
	.sink_send = NEVER(sink_send), .sink_close = NEVER(sink_close),                            \
	.sink_destroy = NEVER(sink_destroy)
#include "bad.h"
