/* UTF-8, one character at a time. */
#include "base/utf8.h"

#include "base/mem.h"

#include <string.h>

/* The second byte's bounds are what keeps out overlong forms, surrogates and all past U+10FFFF. */
size_t
rfl_utf8_len(const unsigned char *p, const unsigned char *end)
{
	unsigned char low = 0x80, high = 0xbf;
	if (*p < 0x80)
		return 1;
	size_t n = *p < 0xc2 ? 0 : *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : *p < 0xf5 ? 4 : 0;
	if (n == 0 || (size_t)(end - p) < n)
		return 0;
	if (*p == 0xe0)
		low = 0xa0;
	else if (*p == 0xf0)
		low = 0x90;
	else if (*p == 0xed)
		high = 0x9f;
	else if (*p == 0xf4)
		high = 0x8f;
	if (p[1] < low || p[1] > high)
		return 0;
	for (size_t i = 2; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	return n;
}

size_t
rfl_utf8_put(uint32_t c, char *to)
{
	size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
	static const unsigned char first[] = {0, 0x00, 0xc0, 0xe0, 0xf0};
	for (size_t i = n - 1; i > 0; i--, c >>= 6)
		to[i] = (char)(0x80 | (c & 0x3f));
	to[0] = (char)(first[n] | c);
	return n;
}

int
rfl_utf8_is_text(const void *data, size_t len)
{
	const unsigned char *p = data;
	size_t n = 1;
	for (size_t at = 0; at < len && n > 0; at += n)
		n = rfl_utf8_len(p + at, p + len);
	return n > 0;
}

void
rfl_utf8_mend(char *text)
{
	unsigned char *p = (unsigned char *)text, *end = p + strlen(text);
	while (p < end) {
		size_t n = rfl_utf8_len(p, end);
		if (n == 0)
			*p = '?';
		p += n > 0 ? n : 1;
	}
}

char *
rfl_utf8_mended(const char *text)
{
	char *copy = rfl_strdup(text);
	if (copy != NULL)
		rfl_utf8_mend(copy);
	return copy;
}
