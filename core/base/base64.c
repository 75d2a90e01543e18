/* Base64, with padding, as RFC 4648 has it. */
#include "base/base64.h"

#include <stdint.h>
#include <string.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void
rfl_base64_encode(const void *data, size_t len, struct rfl_buf *out)
{
	const unsigned char *p = data;
	for (size_t i = 0; i < len; i += 3) {
		uint32_t v = (uint32_t)p[i] << 16;
		v |= i + 1 < len ? (uint32_t)p[i + 1] << 8 : 0;
		v |= i + 2 < len ? p[i + 2] : 0;
		rfl_buf_putc(out, alphabet[v >> 18]);
		rfl_buf_putc(out, alphabet[v >> 12 & 63]);
		rfl_buf_putc(out, i + 1 < len ? alphabet[v >> 6 & 63] : '=');
		rfl_buf_putc(out, i + 2 < len ? alphabet[v & 63] : '=');
	}
}

int
rfl_base64_decode(const char *text, size_t len, struct rfl_buf *out)
{
	size_t pad = len > 0 && text[len - 1] == '=' ? 1 + (len > 1 && text[len - 2] == '=') : 0;
	if (len % 4 != 0)
		return -1;
	for (size_t i = 0; i < len; i += 4) {
		uint32_t v = 0;
		for (size_t k = 0; k < 4; k++) {
			int padding = i + k >= len - pad;
			const char *at = padding ? alphabet : memchr(alphabet, text[i + k], 64);
			if (at == NULL)
				return -1;
			v = v << 6 | (uint32_t)(at - alphabet);
		}
		const char bytes[3] = {(char)(v >> 16), (char)(v >> 8), (char)v};
		rfl_buf_add(out, bytes, i + 4 == len ? 3 - pad : 3);
	}
	return 0;
}
