/* Base64, with padding, as RFC 4648 has it. */
#ifndef RFL_BASE_BASE64_H
#define RFL_BASE_BASE64_H

#include "base/buf.h"

void rfl_base64_encode(const void *data, size_t len, struct rfl_buf *out);
int rfl_base64_decode(const char *text, size_t len, struct rfl_buf *out); /* -1: not Base64 */

#endif
