/* UTF-8, one character at a time, as RFC 3629 has it: no overlong form, no surrogate. */
#ifndef RFL_BASE_UTF8_H
#define RFL_BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

#define RFL_UTF8_MAX 4

/* Bytes of the character at p, which is before end; 0 when there is none. */
size_t rfl_utf8_len(const unsigned char *p, const unsigned char *end);
/* Writes the character, at most RFL_UTF8_MAX bytes, and returns how many. Not for surrogates. */
size_t rfl_utf8_put(uint32_t character, char *to);
int rfl_utf8_is_text(const void *data, size_t len);
/* Each byte that is no part of a character becomes '?'. */
void rfl_utf8_mend(char *text);
/* A mended copy, for JSON, which takes nothing else; the caller frees. NULL gives NULL. */
char *rfl_utf8_mended(const char *text);

#endif
