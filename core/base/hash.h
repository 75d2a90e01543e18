/* The two checksums of the wire: CRC-32C (Castagnoli, reflected) and 64-bit FNV-1a. */
#ifndef RFL_BASE_HASH_H
#define RFL_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

uint32_t rfl_crc32c(const void *data, size_t len);
uint64_t rfl_fnv1a64(const void *data, size_t len);

#endif
