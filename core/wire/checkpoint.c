/* Encoding and decoding of the records of a checkpoint stream. */
#include "wire/checkpoint.h"

#include "base/error.h"
#include "base/hash.h"
#include "base/mem.h"

#include <string.h>

#define LOW_AT RFL_TUPLE_TEXT
#define RUNS_AT (RFL_TUPLE_TEXT + 8)
#define CRC_BYTES 4

char *
rfl_checkpoint_key(const char *group, const char *topic, int32_t partition)
{
	return rfl_sprintf("%s/%s/%d", group, topic, partition);
}

static void
put(struct rfl_buf *b, uint64_t v, int bytes)
{
	for (int i = 0; i < bytes; i++)
		rfl_buf_putc(b, (char)(v >> (8 * i)));
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
rfl_checkpoint_encode(
	const char *tuple, int64_t low, const struct rfl_open_set *set, struct rfl_buf *out)
{
	size_t begin = out->len;
	rfl_buf_add(out, tuple, RFL_TUPLE_TEXT);
	put(out, (uint64_t)low, 8);
	rfl_buf_add(out, set->bytes.data, set->bytes.len);
	put(out, rfl_crc32c(out->data + begin, out->len - begin), CRC_BYTES);
}

int
rfl_checkpoint_is_of(struct riffle_bytes value, struct riffle_bytes position)
{
	return value.len >= RFL_TUPLE_TEXT && position.len >= RFL_TUPLE_TEXT &&
	       memcmp(value.ptr, position.ptr, RFL_TUPLE_TEXT) == 0;
}

static int
other_commit(struct riffle_bytes value, struct riffle_bytes position, struct riffle_error *reterr)
{
	struct rfl_tuple its, ours;
	struct riffle_error err;
	if (rfl_tuple_decode((struct riffle_bytes){value.ptr, RFL_TUPLE_TEXT}, &its, &err) < 0 ||
		rfl_tuple_decode(position, &ours, &err) < 0)
		return rfl_err(reterr, RIFFLE_E_DATA, "it is damaged (%zu bytes)", value.len);
	return rfl_err(reterr, RIFFLE_E_DATA, "it is of commit %u, and the position of commit %u",
		its.seq, ours.seq);
}

int
rfl_checkpoint_decode(struct riffle_bytes value, struct riffle_bytes position, int64_t low,
	int64_t hw, struct rfl_run **ret_runs, size_t *ret_count, struct riffle_error *reterr)
{
	const unsigned char *p = value.ptr;
	*ret_runs = NULL;
	if (value.len < RFL_CHECKPOINT_BYTES ||
		get(p + value.len - CRC_BYTES, CRC_BYTES) != rfl_crc32c(p, value.len - CRC_BYTES))
		return rfl_err(reterr, RIFFLE_E_DATA, "it is damaged (%zu bytes)", value.len);
	if (!rfl_checkpoint_is_of(value, position))
		return other_commit(value, position, reterr);
	const struct riffle_bytes runs = {p + RUNS_AT, value.len - RFL_CHECKPOINT_BYTES};
	if ((int64_t)get(p + LOW_AT, 8) != low ||
		!rfl_open_set_parse(runs, low, hw, ret_runs, ret_count))
		return rfl_err(reterr, RIFFLE_E_DATA,
			"it is not of the offsets from %lld to %lld that the position names",
			(long long)low, (long long)hw);
	return RIFFLE_OK;
}
