/* Encoding and decoding of the commit tuple. */
#include "wire/tuple.h"

#include "base/error.h"
#include "base/hash.h"

#include <string.h>

#define TUPLE_BYTES 48
#define CRC_AT 44
#define VERSION 1

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static void
put(unsigned char *p, uint64_t v, int bytes)
{
	for (int i = 0; i < bytes; i++)
		p[i] = (unsigned char)(v >> (8 * i));
}

static uint64_t
get(const unsigned char *p, int bytes)
{
	uint64_t v = 0;
	for (int i = bytes; i-- > 0;)
		v = v << 8 | p[i];
	return v;
}

void
rfl_tuple_encode(const struct rfl_tuple *t, char *text)
{
	unsigned char raw[TUPLE_BYTES] = {'R', 'f', VERSION, t->flags};
	put(raw + 4, t->seq, 4);
	put(raw + 8, t->settings, 8);
	put(raw + 16, (uint64_t)t->hw, 8);
	put(raw + 24, (uint64_t)t->frontier_ms, 8);
	put(raw + 32, (uint64_t)t->time_ms, 8);
	put(raw + CRC_AT, rfl_crc32c(raw, CRC_AT), 4);
	for (int i = 0; i < TUPLE_BYTES; i += 3) {
		uint32_t v = (uint32_t)(raw[i] << 16 | raw[i + 1] << 8 | raw[i + 2]);
		*text++ = alphabet[v >> 18];
		*text++ = alphabet[v >> 12 & 63];
		*text++ = alphabet[v >> 6 & 63];
		*text++ = alphabet[v & 63];
	}
	*text = '\0';
}

/* 48 bytes are a whole number of groups, so there is never padding. */
static int
from_base64(const char *text, unsigned char *raw)
{
	for (int i = 0; i < RFL_TUPLE_TEXT; i += 4) {
		uint32_t v = 0;
		for (int k = 0; k < 4; k++) {
			const char *at = text[i + k] ? strchr(alphabet, text[i + k]) : NULL;
			if (at == NULL)
				return 0;
			v = v << 6 | (uint32_t)(at - alphabet);
		}
		*raw++ = (unsigned char)(v >> 16);
		*raw++ = (unsigned char)(v >> 8);
		*raw++ = (unsigned char)v;
	}
	return 1;
}

int
rfl_tuple_decode(struct riffle_bytes text, struct rfl_tuple *ret_tuple, struct riffle_error *reterr)
{
	unsigned char raw[TUPLE_BYTES];
	if (text.len < RFL_TUPLE_TEXT || !from_base64(text.ptr, raw) || raw[0] != 'R' ||
		raw[1] != 'f' || (text.len > RFL_TUPLE_TEXT && !(raw[3] & RFL_TUPLE_OPEN_SET)))
		return rfl_err(reterr, RIFFLE_E_DATA,
			"the committed position's metadata is not riffle's (%zu bytes)", text.len);
	if (get(raw + CRC_AT, 4) != rfl_crc32c(raw, CRC_AT))
		return rfl_err(
			reterr, RIFFLE_E_DATA, "the committed position's metadata is damaged");
	if (raw[2] != VERSION)
		return rfl_err(reterr, RIFFLE_E_DATA,
			"the committed position's metadata has version %u, this program reads %u",
			raw[2], VERSION);
	if (raw[3] > RFL_TUPLE_CHECKPOINT)
		return rfl_err(reterr, RIFFLE_E_DATA,
			"the committed position's metadata has flags %u, this program reads %u or "
			"%u",
			raw[3], RFL_TUPLE_OPEN_SET, RFL_TUPLE_CHECKPOINT);
	*ret_tuple = (struct rfl_tuple){
		.flags = raw[3],
		.seq = (uint32_t)get(raw + 4, 4),
		.settings = get(raw + 8, 8),
		.hw = (int64_t)get(raw + 16, 8),
		.frontier_ms = (int64_t)get(raw + 24, 8),
		.time_ms = (int64_t)get(raw + 32, 8),
	};
	return RIFFLE_OK;
}

uint64_t
rfl_tuple_settings(const char *canonical)
{
	return rfl_fnv1a64(canonical, strlen(canonical));
}
