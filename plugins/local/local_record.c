/*
 * A record as it is stored: CRC-32C u32 of its offset (u64) and all that follows, flags u8, then what the
 * flags say is there, in this order: time i64; content type with its NUL; headers (count; each: name, value length
 * plus one, 0 = absent, value); key; and the value, which takes the rest. Lengths are varints, the
 * other numbers little-endian.
 */
#include "local.h"

#include <string.h>

#define HAS_KEY 0x01u
#define HAS_VALUE 0x02u
#define HAS_TIME 0x04u
#define HAS_TYPE 0x08u
#define HAS_HEADERS 0x10u

#define FRONT_BYTES 5

static size_t
varint_size(uint64_t v)
{
	size_t n = 1;
	while (v >= 0x80) {
		v >>= 7;
		n++;
	}
	return n;
}

static unsigned char *
put_varint(unsigned char *p, uint64_t v)
{
	while (v >= 0x80) {
		*p++ = (unsigned char)(v | 0x80);
		v >>= 7;
	}
	*p++ = (unsigned char)v;
	return p;
}

static unsigned char *
put_bytes(unsigned char *p, const void *from, size_t len)
{
	if (len > 0)
		memcpy(p, from, len);
	return p + len;
}

/* With the offset, since a record in another's place is damage too. */
static uint32_t
crc_of(const unsigned char *front, size_t size, uint64_t offset)
{
	return local_crc32c(local_crc32c(0, &offset, sizeof offset), front + 4, size - 4);
}

static const char *
type_of(const struct riffle_batch *b, const struct riffle_record *r)
{
	return r->content_type != 0 && r->content_type < b->content_type_count
		       ? b->content_types[r->content_type]
		       : NULL;
}

size_t
local_record_size(const struct riffle_batch *b, const struct riffle_record *r)
{
	const char *type = type_of(b, r);
	size_t n = FRONT_BYTES + 8;
	if (type != NULL)
		n += varint_size(strlen(type) + 1) + strlen(type) + 1;
	if (r->header_count > 0)
		n += varint_size(r->header_count);
	for (uint32_t i = 0; i < r->header_count; i++) {
		const struct riffle_header *h = &b->headers[r->header_first + i];
		n += varint_size(h->name.len) + h->name.len;
		n += h->value.ptr ? varint_size(h->value.len + 1) + h->value.len : 1;
	}
	if (r->key.ptr != NULL)
		n += varint_size(r->key.len) + r->key.len;
	return n + (r->value.ptr ? r->value.len : 0);
}

static unsigned char *
put_headers(unsigned char *p, const struct riffle_batch *b, const struct riffle_record *r)
{
	p = put_varint(p, r->header_count);
	for (uint32_t i = 0; i < r->header_count; i++) {
		const struct riffle_header *h = &b->headers[r->header_first + i];
		p = put_varint(p, h->name.len);
		p = put_bytes(p, h->name.ptr, h->name.len);
		p = put_varint(p, h->value.ptr ? h->value.len + 1 : 0);
		if (h->value.ptr != NULL)
			p = put_bytes(p, h->value.ptr, h->value.len);
	}
	return p;
}

void
local_record_encode(const struct riffle_batch *b, const struct riffle_record *r, int64_t time_ms,
	uint64_t offset, void *to, size_t size)
{
	const char *type = type_of(b, r);
	unsigned char *front = to, *p = front + FRONT_BYTES;
	front[4] = (unsigned char)(HAS_TIME | (r->key.ptr ? HAS_KEY : 0) |
				   (r->value.ptr ? HAS_VALUE : 0) | (type ? HAS_TYPE : 0) |
				   (r->header_count ? HAS_HEADERS : 0));
	p = put_bytes(p, &time_ms, sizeof time_ms);
	if (type != NULL) {
		p = put_varint(p, strlen(type) + 1);
		p = put_bytes(p, type, strlen(type) + 1);
	}
	if (r->header_count > 0)
		p = put_headers(p, b, r);
	if (r->key.ptr != NULL) {
		p = put_varint(p, r->key.len);
		p = put_bytes(p, r->key.ptr, r->key.len);
	}
	if (r->value.ptr != NULL)
		p = put_bytes(p, r->value.ptr, r->value.len);
	local_assert((size_t)(p - front) == size);
	uint32_t crc = crc_of(front, size, offset);
	memcpy(front, &crc, sizeof crc);
}

/* What is left to decode. A short one leaves bad set, and everything after reads as nothing. */
struct rest {
	const unsigned char *p, *end;
	int bad;
};

static uint64_t
take_varint(struct rest *r)
{
	uint64_t v = 0;
	for (int shift = 0; shift < 64 && r->p < r->end; shift += 7) {
		unsigned char c = *r->p++;
		v |= (uint64_t)(c & 0x7f) << shift;
		if (c < 0x80)
			return v;
	}
	r->bad = 1;
	return 0;
}

static struct riffle_bytes
take_bytes(struct rest *r, uint64_t len)
{
	if (r->bad || len > (uint64_t)(r->end - r->p)) {
		r->bad = 1;
		return (struct riffle_bytes){NULL, 0};
	}
	const unsigned char *at = r->p;
	r->p += len;
	return (struct riffle_bytes){at, (size_t)len};
}

static int
begin(struct rest *r, const void *from, size_t size, unsigned *ret_flags)
{
	const unsigned char *p = from;
	if (size < FRONT_BYTES)
		return -1;
	*ret_flags = p[4];
	*r = (struct rest){.p = p + FRONT_BYTES, .end = p + size};
	return 0;
}

static const char *
take_front(struct rest *r, unsigned flags, int64_t *ret_time_ms)
{
	*ret_time_ms = RIFFLE_TIME_NONE;
	if (flags & HAS_TIME) {
		struct riffle_bytes t = take_bytes(r, sizeof *ret_time_ms);
		if (t.ptr != NULL)
			memcpy(ret_time_ms, t.ptr, sizeof *ret_time_ms);
	}
	if (!(flags & HAS_TYPE))
		return NULL;
	struct riffle_bytes type = take_bytes(r, take_varint(r));
	if (type.len == 0 || ((const char *)type.ptr)[type.len - 1] != '\0') {
		r->bad = 1;
		return NULL;
	}
	return type.ptr;
}

int64_t
local_record_time(const void *from, size_t size)
{
	struct rest r;
	unsigned flags;
	int64_t time_ms = RIFFLE_TIME_NONE;
	if (begin(&r, from, size, &flags) == 0)
		take_front(&r, flags & HAS_TIME, &time_ms);
	return time_ms;
}

uint32_t
local_record_header_count(const void *from, size_t size)
{
	struct rest r;
	unsigned flags;
	int64_t time_ms;
	if (begin(&r, from, size, &flags) < 0 || !(flags & HAS_HEADERS))
		return 0;
	take_front(&r, flags, &time_ms);
	uint64_t n = take_varint(&r);
	/* Each header takes two bytes at least, so a larger number is damage. */
	return r.bad || n > size ? 0 : (uint32_t)n;
}

static void
take_headers(struct rest *r, struct riffle_header *headers, uint32_t count)
{
	for (uint32_t i = 0; i < count && !r->bad; i++) {
		headers[i].name = take_bytes(r, take_varint(r));
		uint64_t len = take_varint(r);
		headers[i].value = (struct riffle_bytes){NULL, 0};
		if (len > 0)
			headers[i].value = take_bytes(r, len - 1);
	}
}

int
local_record_decode(const void *from, size_t size, uint64_t offset, struct riffle_header *headers,
	uint32_t header_room, struct local_decoded *ret)
{
	struct rest r;
	unsigned flags;
	uint32_t crc;
	if (begin(&r, from, size, &flags) < 0)
		return -1;
	memcpy(&crc, from, sizeof crc);
	if (crc != crc_of(from, size, offset))
		return -1;
	*ret = (struct local_decoded){.key = {NULL, 0}, .value = {NULL, 0}};
	ret->content_type = take_front(&r, flags, &ret->time_ms);
	if (flags & HAS_HEADERS) {
		uint64_t n = take_varint(&r);
		if (n > header_room)
			return -1;
		ret->header_count = (uint32_t)n;
		take_headers(&r, headers, ret->header_count);
	}
	if (flags & HAS_KEY)
		ret->key = take_bytes(&r, take_varint(&r));
	if (flags & HAS_VALUE)
		ret->value = take_bytes(&r, (uint64_t)(r.end - r.p));
	return r.bad || r.p != r.end ? -1 : 0;
}
