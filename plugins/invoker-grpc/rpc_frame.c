/* The codec of data frames: protobuf by hand for the two messages that come once a record. */
#include "rpc_frame.h"

#include "rpc_util.h"

#include <stdlib.h>
#include <string.h>

enum wire { WIRE_VARINT, WIRE_FIXED64, WIRE_BYTES, WIRE_FIXED32 = 5 };

/* Field numbers: InputFrame and OutputFrame differ in the name of the last alone. */
enum field { FIELD_PAYLOAD = 1, FIELD_TYPE, FIELD_HEADERS, FIELD_INDEX };
enum { SIGNAL_INPUT_DATA = 2, SIGNAL_OUTPUT_DATA = 1 };
enum { ENTRY_NAME = 1, ENTRY_VALUE };

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

/* A length-delimited field whose tag is one byte. */
static size_t
field_size(size_t len)
{
	return 1 + varint_size(len) + len;
}

static size_t
entry_size(const struct riffle_header *h)
{
	return field_size(h->name.len) + field_size(h->value.len);
}

static size_t
body_size(const struct rpc_frame *f)
{
	size_t n = 0;
	if (f->payload.len > 0)
		n += field_size(f->payload.len);
	if (f->type.len > 0)
		n += field_size(f->type.len);
	for (uint32_t i = 0; i < f->header_count; i++)
		n += field_size(entry_size(&f->headers[i]));
	if (f->index != 0)
		n += 1 + varint_size((uint64_t)(int64_t)f->index);
	return n;
}

size_t
rpc_frame_size(const struct rpc_frame *f)
{
	return field_size(body_size(f));
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
put_tag(unsigned char *p, unsigned field, enum wire wire)
{
	*p++ = (unsigned char)(field << 3 | wire);
	return p;
}

static unsigned char *
put_length(unsigned char *p, unsigned field, size_t len)
{
	return put_varint(put_tag(p, field, WIRE_BYTES), len);
}

static unsigned char *
put_bytes(unsigned char *p, unsigned field, struct riffle_bytes b)
{
	p = put_length(p, field, b.len);
	if (b.len > 0)
		memcpy(p, b.ptr, b.len);
	return p + b.len;
}

void
rpc_frame_write(const struct rpc_frame *f, unsigned char *out)
{
	unsigned char *p = put_length(out, SIGNAL_INPUT_DATA, body_size(f));
	if (f->payload.len > 0)
		p = put_bytes(p, FIELD_PAYLOAD, f->payload);
	if (f->type.len > 0)
		p = put_bytes(p, FIELD_TYPE, f->type);
	for (uint32_t i = 0; i < f->header_count; i++) {
		p = put_length(p, FIELD_HEADERS, entry_size(&f->headers[i]));
		p = put_bytes(p, ENTRY_NAME, f->headers[i].name);
		p = put_bytes(p, ENTRY_VALUE, f->headers[i].value);
	}
	if (f->index != 0)
		put_varint(put_tag(p, FIELD_INDEX, WIRE_VARINT), (uint64_t)(int64_t)f->index);
}

/* What is left to read. */
struct input {
	const unsigned char *p, *end;
};

static const char truncated[] = "it ends in the middle of a field";

static const char *
get_varint(struct input *in, uint64_t *ret_v)
{
	uint64_t v = 0;
	for (unsigned shift = 0; shift < 64; shift += 7) {
		if (in->p == in->end)
			return truncated;
		unsigned char b = *in->p++;
		v |= (uint64_t)(b & 0x7f) << shift;
		if (b < 0x80) {
			*ret_v = v;
			return NULL;
		}
	}
	return "a number in it is longer than ten bytes";
}

static const char *
get_bytes(struct input *in, struct riffle_bytes *ret_b)
{
	uint64_t len;
	const char *why = get_varint(in, &len);
	if (why != NULL)
		return why;
	if (len > (uint64_t)(in->end - in->p))
		return truncated;
	*ret_b = (struct riffle_bytes){in->p, (size_t)len};
	in->p += len;
	return NULL;
}

static const char *
skip(struct input *in, unsigned wire)
{
	uint64_t v;
	struct riffle_bytes b;
	size_t fixed = wire == WIRE_FIXED64 ? 8 : 4;
	switch (wire) {
	case WIRE_VARINT:
		return get_varint(in, &v);
	case WIRE_BYTES:
		return get_bytes(in, &b);
	case WIRE_FIXED64:
	case WIRE_FIXED32:
		if ((size_t)(in->end - in->p) < fixed)
			return truncated;
		in->p += fixed;
		return NULL;
	default:
		return "a field in it has a wire type that is not used any more";
	}
}

/* The number and the wire type of the next field. */
static const char *
get_tag(struct input *in, uint64_t *ret_field, unsigned *ret_wire)
{
	uint64_t tag;
	const char *why = get_varint(in, &tag);
	if (why != NULL)
		return why;
	*ret_field = tag >> 3;
	*ret_wire = tag & 7;
	if (*ret_field == 0 || tag > UINT32_MAX)
		return "a field in it has an impossible number";
	return NULL;
}

static struct input
inside(struct riffle_bytes b)
{
	return (struct input){b.ptr, (const unsigned char *)b.ptr + b.len};
}

static const char *
read_entry(struct riffle_bytes bytes, struct riffle_header *ret_header)
{
	struct input in = inside(bytes);
	*ret_header = (struct riffle_header){{"", 0}, {"", 0}};
	while (in.p < in.end) {
		uint64_t field;
		unsigned wire;
		const char *why = get_tag(&in, &field, &wire);
		if (why == NULL && wire == WIRE_BYTES && field == ENTRY_NAME)
			why = get_bytes(&in, &ret_header->name);
		else if (why == NULL && wire == WIRE_BYTES && field == ENTRY_VALUE)
			why = get_bytes(&in, &ret_header->value);
		else if (why == NULL)
			why = skip(&in, wire);
		if (why != NULL)
			return why;
	}
	return NULL;
}

static const char *
read_header(struct input *in, struct rpc_frame *f, struct rpc_headers *headers)
{
	struct riffle_bytes entry;
	const char *why = get_bytes(in, &entry);
	if (why != NULL)
		return why;
	if (headers->count == headers->room) {
		headers->room = 2 * headers->room + 16;
		headers->list = rpc_realloc(headers->list, headers->room * sizeof *headers->list);
	}
	why = read_entry(entry, &headers->list[headers->count]);
	if (why != NULL)
		return why;
	headers->count++;
	f->header_count++;
	return NULL;
}

static const char *
read_field(struct input *in, struct rpc_frame *f, struct rpc_headers *headers)
{
	uint64_t field, index;
	unsigned wire;
	const char *why = get_tag(in, &field, &wire);
	if (why != NULL)
		return why;
	if (wire == WIRE_BYTES && field == FIELD_PAYLOAD)
		return get_bytes(in, &f->payload);
	if (wire == WIRE_BYTES && field == FIELD_TYPE)
		return get_bytes(in, &f->type);
	if (wire == WIRE_BYTES && field == FIELD_HEADERS)
		return read_header(in, f, headers);
	if (wire != WIRE_VARINT || field != FIELD_INDEX)
		return skip(in, wire);
	why = get_varint(in, &index);
	if (why == NULL)
		f->index = (int32_t)(uint32_t)index;
	return why;
}

const char *
rpc_frame_read(
	const void *data, size_t len, struct rpc_frame *ret_frame, struct rpc_headers *headers)
{
	struct input in = inside((struct riffle_bytes){data, len});
	int has_data = 0;
	*ret_frame = (struct rpc_frame){.payload = {"", 0}, .type = {"", 0}};
	while (in.p < in.end) {
		uint64_t field;
		unsigned wire;
		struct riffle_bytes body;
		const char *why = get_tag(&in, &field, &wire);
		if (why == NULL && (wire != WIRE_BYTES || field != SIGNAL_OUTPUT_DATA)) {
			why = skip(&in, wire);
			if (why == NULL)
				continue;
		}
		if (why == NULL)
			why = get_bytes(&in, &body);
		if (why != NULL)
			return why;
		has_data = 1;
		struct input frame = inside(body);
		while (why == NULL && frame.p < frame.end)
			why = read_field(&frame, ret_frame, headers);
		if (why != NULL)
			return why;
	}
	return has_data ? NULL : "it has no data frame";
}

size_t
rpc_utf8_at(const void *bytes, size_t len)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	const unsigned char *p = bytes;
	if (len == 0)
		return 0;
	if (p[0] < 0x80)
		return 1;
	size_t n = p[0] >= 0xf0 && p[0] < 0xf8 ? 4 : p[0] >= 0xe0 ? 3 : p[0] >= 0xc0 ? 2 : 0;
	if (n == 0 || p[0] >= 0xf8 || n > len)
		return 0;
	uint32_t code = p[0] & (0x7fu >> n);
	for (size_t i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (p[i] & 0x3f);
	}
	return code < least[n] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000) ? 0 : n;
}

int
rpc_is_utf8(struct riffle_bytes b)
{
	for (size_t i = 0; i < b.len;) {
		size_t n = rpc_utf8_at((const char *)b.ptr + i, b.len - i);
		if (n == 0)
			return 0;
		i += n;
	}
	return 1;
}
