/* A provider that neither reads nor writes. R11. */
#define BAD_KIND RIFFLE_KIND_PROVIDER
#define BAD_OPS &provider_ops
#define BAD_PROVIDER .source_destroy = destroy
#include "bad.h"
