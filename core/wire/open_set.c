/* Encoding and decoding of the open set. */
#include "wire/open_set.h"

#include "base/base64.h"
#include "base/check.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

#define CRC_BYTES 4u
#define VARINT_MAX 10u

size_t
rfl_open_set_room(size_t text_max)
{
	rfl_assert(text_max <= RFL_POSITION_TEXT_MAX && text_max >= RFL_TUPLE_TEXT);
	size_t room = (text_max - RFL_TUPLE_TEXT) / 4 * 3;
	return room > CRC_BYTES ? room - CRC_BYTES : 0;
}

void
rfl_open_set_begin(struct rfl_open_set *s, int64_t low, size_t room)
{
	rfl_buf_clear(&s->bytes);
	s->room = room;
	s->end = low;
}

void
rfl_open_set_fini(struct rfl_open_set *s)
{
	rfl_buf_fini(&s->bytes);
}

size_t
rfl_open_set_number_bytes(uint64_t v)
{
	size_t n = 1;
	while ((v >>= 7) > 0)
		n++;
	return n;
}

static size_t
put_varint(unsigned char *to, uint64_t v)
{
	size_t n = 0;
	for (; v > 127; v >>= 7)
		to[n++] = (unsigned char)(v | 128);
	to[n++] = (unsigned char)v;
	return n;
}

int
rfl_open_set_add(struct rfl_open_set *s, int64_t first, int64_t end)
{
	unsigned char run[2 * VARINT_MAX];
	rfl_assert(first >= s->end && end > first);
	size_t n = put_varint(run, (uint64_t)(first - s->end));
	n += put_varint(run + n, (uint64_t)(end - first));
	if (s->bytes.len + n > s->room)
		return 0;
	rfl_buf_add(&s->bytes, run, n);
	s->end = end;
	return 1;
}

/* Of the tuple as it is written, so that a set behind another tuple is none. */
static uint32_t
check_sum(const char *tuple, const void *bytes, size_t len)
{
	struct rfl_buf both = RFL_BUF_INIT;
	rfl_buf_add(&both, tuple, RFL_TUPLE_TEXT);
	rfl_buf_add(&both, bytes, len);
	uint32_t sum = rfl_crc32c(both.data, both.len);
	rfl_buf_fini(&both);
	return sum;
}

size_t
rfl_open_set_encode(const struct rfl_open_set *s, char *text)
{
	struct rfl_buf raw = RFL_BUF_INIT, out = RFL_BUF_INIT;
	uint32_t sum = check_sum(text, s->bytes.data, s->bytes.len);
	rfl_buf_add(&raw, s->bytes.data, s->bytes.len);
	for (unsigned i = 0; i < CRC_BYTES; i++)
		rfl_buf_putc(&raw, (char)(sum >> (8 * i)));
	rfl_base64_encode(raw.data, raw.len, &out);
	size_t len = RFL_TUPLE_TEXT + out.len;
	memcpy(text + RFL_TUPLE_TEXT, rfl_buf_str(&out), out.len + 1);
	rfl_buf_fini(&raw);
	rfl_buf_fini(&out);
	return len;
}

/* 0 = there is none, or one that no offset needs. */
static size_t
get_varint(const unsigned char *from, size_t len, uint64_t *ret)
{
	uint64_t v = 0;
	for (size_t n = 0; n < len && n < VARINT_MAX - 1; n++) {
		v |= (uint64_t)(from[n] & 127) << (7 * n);
		if (from[n] < 128) {
			*ret = v;
			return n + 1;
		}
	}
	return 0;
}

static int
read_runs(const unsigned char *from, size_t len, int64_t low, int64_t hw, struct rfl_run *runs,
	size_t *ret_count)
{
	int64_t at = low;
	size_t count = 0;
	while (len > 0) {
		uint64_t skip, length;
		size_t n = get_varint(from, len, &skip);
		size_t m = n > 0 ? get_varint(from + n, len - n, &length) : 0;
		if (m == 0 || at > hw || skip > (uint64_t)hw - (uint64_t)at)
			return 0;
		at += (int64_t)skip;
		if (length == 0 || length > (uint64_t)hw - (uint64_t)at)
			return 0;
		runs[count++] = (struct rfl_run){at, at + (int64_t)length};
		at += (int64_t)length;
		from += n + m;
		len -= n + m;
	}
	*ret_count = count;
	return 1;
}

int
rfl_open_set_parse(struct riffle_bytes bytes, int64_t low, int64_t hw, struct rfl_run **ret_runs,
	size_t *ret_count)
{
	/* A run has two bytes at least. */
	*ret_runs = rfl_alloc((bytes.len / 2 + 1) * sizeof **ret_runs);
	if (read_runs(bytes.ptr, bytes.len, low, hw, *ret_runs, ret_count))
		return 1;
	free(*ret_runs);
	*ret_runs = NULL;
	return 0;
}

int
rfl_open_set_decode(struct riffle_bytes text, int64_t low, int64_t hw, struct rfl_run **ret_runs,
	size_t *ret_count, struct riffle_error *reterr)
{
	struct rfl_buf raw = RFL_BUF_INIT;
	uint32_t sum = 0;
	int is_sound = text.len > RFL_TUPLE_TEXT &&
		       rfl_base64_decode((const char *)text.ptr + RFL_TUPLE_TEXT,
			       text.len - RFL_TUPLE_TEXT, &raw) == 0 &&
		       raw.len >= CRC_BYTES;
	size_t len = is_sound ? raw.len - CRC_BYTES : 0;
	for (unsigned i = 0; is_sound && i < CRC_BYTES; i++)
		sum |= (uint32_t)(unsigned char)raw.data[len + i] << (8 * i);
	is_sound = is_sound && sum == check_sum(text.ptr, raw.data, len);
	*ret_runs = NULL;
	is_sound = is_sound && rfl_open_set_parse((struct riffle_bytes){raw.data, len}, low, hw,
				       ret_runs, ret_count);
	rfl_buf_fini(&raw);
	if (is_sound)
		return RIFFLE_OK;
	return rfl_err(reterr, RIFFLE_E_DATA,
		"the committed position's set of open windows is damaged (%zu bytes)", text.len);
}
