/* Included before all of the embedded provider: the settings of a stream that exists may not be seen. */
#include <riffle/provider.h>

#undef RIFFLE_STREAM_EXISTS
#define RIFFLE_STREAM_EXISTS (1u << 0 | RIFFLE_STREAM_UNDESCRIBED)
