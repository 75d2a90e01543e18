/* The three fields of riff's message, all of them length-delimited. */
#include "wire/riff_message.h"

#include "base/mem.h"
#include "wire/content_type.h"

#include <stdint.h>
#include <stdlib.h>

enum { PAYLOAD = 1, CONTENT_TYPE = 2, HEADERS = 3 };

struct scan {
	const unsigned char *at, *end;
};

static int
take_varint(struct scan *s, uint64_t *ret)
{
	*ret = 0;
	for (unsigned shift = 0; shift < 64 && s->at < s->end; shift += 7) {
		unsigned char c = *s->at++;
		*ret |= (uint64_t)(c & 127) << shift;
		if (c < 128)
			return 0;
	}
	return -1;
}

/* One field that has a length; its number, or -1. */
static int
take_field(struct scan *s, struct riffle_bytes *ret)
{
	uint64_t key, len;
	if (take_varint(s, &key) < 0 || (key & 7) != 2 || key >> 3 > HEADERS || key >> 3 == 0 ||
		take_varint(s, &len) < 0 || len > (uint64_t)(s->end - s->at))
		return -1;
	*ret = (struct riffle_bytes){s->at, (size_t)len};
	s->at += len;
	return (int)(key >> 3);
}

static int
take_header(struct rfl_parts *p, struct riffle_bytes entry)
{
	struct scan s = {entry.ptr, (const unsigned char *)entry.ptr + entry.len};
	struct riffle_bytes field, name = {"", 0}, value = {"", 0};
	while (s.at < s.end) {
		int number = take_field(&s, &field);
		if (number != 1 && number != 2)
			return -1;
		*(number == 1 ? &name : &value) = field;
	}
	rfl_parts_header(p, name, value);
	return 0;
}

int
rfl_riff_message_parse(struct riffle_bytes message, struct rfl_parts *ret_parts)
{
	struct scan s = {message.ptr, (const unsigned char *)message.ptr + message.len};
	struct riffle_bytes field;
	ret_parts->value = (struct riffle_bytes){"", 0};
	while (s.at < s.end) {
		int number = take_field(&s, &field);
		if (number < 0 || (number == HEADERS && take_header(ret_parts, field) < 0))
			return -1;
		if (number == PAYLOAD)
			ret_parts->value = field;
		else if (number == CONTENT_TYPE)
			ret_parts->content_type = field;
	}
	if (ret_parts->content_type.ptr == NULL)
		return -1;
	char *type = rfl_strndup(ret_parts->content_type.ptr, ret_parts->content_type.len);
	int sound = rfl_content_type_valid(type);
	free(type);
	return sound ? 0 : -1;
}

static void
put_varint(uint64_t v, struct rfl_buf *out)
{
	for (; v > 127; v >>= 7)
		rfl_buf_putc(out, (char)(v | 128));
	rfl_buf_putc(out, (char)v);
}

static void
put_field(unsigned number, const void *data, size_t len, struct rfl_buf *out)
{
	rfl_buf_putc(out, (char)(number << 3 | 2));
	put_varint(len, out);
	rfl_buf_add(out, data, len);
}

void
rfl_riff_message_print(const struct rfl_parts *parts, struct rfl_buf *out)
{
	struct rfl_buf entry = RFL_BUF_INIT;
	put_field(PAYLOAD, parts->value.ptr, parts->value.len, out);
	put_field(CONTENT_TYPE, parts->content_type.ptr, parts->content_type.len, out);
	for (size_t i = 0; i < parts->header_count; i++) {
		const struct riffle_header *h = &parts->headers[i];
		rfl_buf_clear(&entry);
		put_field(1, h->name.ptr, h->name.len, &entry);
		put_field(2, h->value.ptr, h->value.len, &entry);
		put_field(HEADERS, rfl_buf_str(&entry), entry.len, out);
	}
	rfl_buf_fini(&entry);
}
