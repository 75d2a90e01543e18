/* Kafka's murmur2, and CRC-32C with the processor's instruction where it has one. */
#include "local.h"

#include <string.h>

uint32_t
local_murmur2(const void *data, size_t len)
{
	const uint32_t m = 0x5bd1e995u;
	const unsigned char *p = data;
	uint32_t h = 0x9747b28cu ^ (uint32_t)len;
	size_t left = len;
	for (; left >= 4; left -= 4, p += 4) {
		uint32_t k = (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
			     (uint32_t)p[3] << 24;
		k *= m;
		k ^= k >> 24;
		k *= m;
		h *= m;
		h ^= k;
	}
	if (left >= 3)
		h ^= (uint32_t)p[2] << 16;
	if (left >= 2)
		h ^= (uint32_t)p[1] << 8;
	if (left >= 1) {
		h ^= p[0];
		h *= m;
	}
	h ^= h >> 13;
	h *= m;
	h ^= h >> 15;
	return h;
}

uint32_t
local_partition_of(struct riffle_bytes key, uint32_t partitions)
{
	return (local_murmur2(key.ptr, key.len) & 0x7fffffffu) % partitions;
}

static uint32_t
crc_plain(uint32_t crc, const unsigned char *p, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		crc ^= p[i];
		for (int bit = 0; bit < 8; bit++)
			crc = (crc >> 1) ^ (0x82f63b78u & (0u - (crc & 1u)));
	}
	return crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t
crc_fast(uint32_t crc, const unsigned char *p, size_t len)
{
	uint64_t wide = crc;
	for (; len >= 8; len -= 8, p += 8) {
		uint64_t v;
		memcpy(&v, p, sizeof v);
		wide = __builtin_ia32_crc32di(wide, v);
	}
	crc = (uint32_t)wide;
	for (; len > 0; len--, p++)
		crc = __builtin_ia32_crc32qi(crc, *p);
	return crc;
}
#endif

uint32_t
local_crc32c(uint32_t crc, const void *data, size_t len)
{
	crc = ~crc;
#if defined(__x86_64__)
	if (__builtin_cpu_supports("sse4.2"))
		return ~crc_fast(crc, data, len);
#endif
	return ~crc_plain(crc, data, len);
}
