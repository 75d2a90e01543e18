/* Frames: each number doubled on output 0, their sum on output 1. "busy" fails a first attempt. */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
static char in[1 << 24], *at, out[256], *to;
static uint32_t number(void) { uint32_t n; memcpy(&n, at, 4); at += 4; return ntohl(n); }
static char *text(uint32_t *len) { *len = number(); if (*len == ~0u) *len = 0; at += *len; return at - *len; }
static void put(uint32_t n) { n = htonl(n); memcpy(to, &n, 4); to += 4; }
static void begin(char kind, uint32_t first) { to = out + 4; *to++ = kind; put(first); }
static void finish(void) { uint32_t n = to - out - 4; to = out; put(n); fwrite(out, 1, n + 4, stdout); }
static void answer(uint32_t output, long value) {
	begin('o', output); put(1u << 31); put(0); put(~0u); put(~0u); put(0); /* no time, key, content type, headers */
	put(snprintf(NULL, 0, "%ld", value)); to += sprintf(to, "%ld", value); finish();
}
int main(void) {
	uint32_t size, len, window = 0, attempt = 0, status = 0; long total = 0, n; int used;
	begin('h', 0x52464c46); put(1); finish(); fflush(stdout); /* "RFLF", version 1 */
	while (fread(&size, 4, 1, stdin) && ntohl(size) < sizeof in && fread(in, ntohl(size), 1, stdin)) {
		at = in + 1;
		if (*in == 'S') { window = number(); attempt = number(); total = status = 0; }
		if (*in == 'E') { if (status == 0) answer(1, total); begin('d', window); put(status); put(~0u); finish(); fflush(stdout); }
		if (*in != 'R') continue;
		at += 12; text(&len); text(&len); /* input and time; key; content type */
		for (uint32_t headers = 2 * number(); headers > 0; headers--) text(&len);
		char *value = text(&len); value[len] = '\0';
		if (sscanf(value, "%ld%n", &n, &used) == 1 && value[used] == '\0') { total += n; answer(0, 2 * n); }
		else if (strcmp(value, "busy") != 0) status = 1; else if (attempt == 1) status = 75;
	}
}
