/*
 * Reading a lane: records are copied out of the store's pages into one block, which is the batch, so that no
 * read transaction outlives the call.
 */
#include "local.h"

#include <stdlib.h>
#include <string.h>

/* Different content types in one batch; one more ends the batch early. Entry 0 is "not stated". */
#define TYPES_MAX 16

struct block {
	struct riffle_batch abi;
	struct local_lane *lane;
	const char *types[TYPES_MAX];
	struct riffle_record *records;
	struct riffle_header *headers;
	unsigned char *bytes;
};

static void
block_release(struct riffle_batch *batch)
{
	struct local_lane *lane = ((struct block *)(void *)batch)->lane;
	free(batch);
	local_source_returned(lane);
}

/* What the cursor shows from here on, as far as the limits go. */
struct extent {
	uint32_t records, headers;
	size_t bytes;
};

static int
measure(MDB_cursor *cursor, uint64_t from, uint32_t max_records, size_t max_bytes,
	struct extent *ret)
{
	unsigned char raw[8];
	MDB_val key = {sizeof raw, raw}, value;
	local_put_u64(raw, from);
	*ret = (struct extent){0, 0, 0};
	int rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
	while (rc == 0 && ret->records < max_records) {
		if (ret->records > 0 && ret->bytes + value.mv_size > max_bytes)
			break;
		ret->records++;
		ret->bytes += value.mv_size;
		ret->headers += local_record_header_count(value.mv_data, value.mv_size);
		rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
	}
	return rc == MDB_NOTFOUND ? 0 : rc;
}

static struct block *
block_create(struct local_lane *lane, const struct extent *e)
{
	size_t size = sizeof(struct block) + e->records * sizeof(struct riffle_record) +
		      e->headers * sizeof(struct riffle_header) + e->bytes;
	struct block *b = malloc(size);
	if (b == NULL)
		return NULL;
	b->lane = lane;
	b->records = (struct riffle_record *)(void *)(b + 1);
	b->headers = (struct riffle_header *)(void *)(b->records + e->records);
	b->bytes = (unsigned char *)(void *)(b->headers + e->headers);
	b->types[0] = NULL;
	b->abi = (struct riffle_batch){
		.size = sizeof b->abi,
		.record_size = sizeof(struct riffle_record),
		.content_type_count = 1,
		.records = b->records,
		.headers = b->headers,
		.content_types = b->types,
		.pinned_bytes = size,
		.owner = b,
		.release = block_release,
	};
	return b;
}

/* The type's index, or TYPES_MAX when there is no more room. */
static uint32_t
type_index(struct block *b, const char *type)
{
	if (type == NULL)
		return 0;
	for (uint32_t i = 1; i < b->abi.content_type_count; i++)
		if (strcmp(b->types[i], type) == 0)
			return i;
	if (b->abi.content_type_count == TYPES_MAX)
		return TYPES_MAX;
	b->types[b->abi.content_type_count] = type;
	return b->abi.content_type_count++;
}

/* No code of LMDB's. */
#define DAMAGED (-1)

/* 1 = taken, 0 = the batch ends before it, or DAMAGED. */
static int
take(struct block *b, const struct extent *e, const MDB_val *key, const MDB_val *value)
{
	struct local_decoded d;
	uint32_t used = b->abi.header_count;
	memcpy(b->bytes, value->mv_data, value->mv_size);
	if (key->mv_size != 8 ||
		local_record_decode(b->bytes, value->mv_size, local_get_u64(key->mv_data),
			b->headers + used, e->headers - used, &d) < 0)
		return DAMAGED;
	uint32_t type = type_index(b, d.content_type);
	if (type == TYPES_MAX)
		return 0;
	b->bytes += value->mv_size;
	b->records[b->abi.record_count++] = (struct riffle_record){
		.key = d.key,
		.value = d.value,
		.offset = (int64_t)local_get_u64(key->mv_data),
		.time_ms = d.time_ms,
		.partition = b->lane->partition,
		.stream = b->lane->stream,
		.header_first = used,
		.header_count = d.header_count,
		.content_type = type,
	};
	b->abi.header_count += d.header_count;
	return 1;
}

static int
fill(struct block *b, const struct extent *e, MDB_cursor *cursor, uint64_t from,
	uint64_t *ret_damaged)
{
	unsigned char raw[8];
	MDB_val key = {sizeof raw, raw}, value;
	local_put_u64(raw, from);
	int rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
	for (uint32_t i = 0; rc == 0 && i < e->records; i++) {
		int taken = take(b, e, &key, &value);
		if (taken < 0)
			*ret_damaged = key.mv_size == 8 ? local_get_u64(key.mv_data) : from;
		if (taken <= 0)
			return taken;
		rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
	}
	return rc == MDB_NOTFOUND ? 0 : rc;
}

static int
damaged_err(const struct local_lane *lane, uint64_t offset, struct riffle_error *reterr)
{
	return local_err(reterr, RIFFLE_E_DATA,
		"the record of topic \"%s\", partition %d, offset %llu is damaged",
		lane->topic->name, lane->partition, (unsigned long long)offset);
}

static int
read_err(const struct local_lane *lane, int rc, struct riffle_error *reterr)
{
	return local_mdb_err(reterr, rc, "cannot read topic \"%s\", partition %d",
		lane->topic->name, lane->partition);
}

/* 1 = a batch, 0 = the segment has no more, or an error. */
static int
read_segment(struct local_lane *lane, MDB_cursor *cursor, uint32_t max_records, size_t max_bytes,
	struct riffle_batch **ret_batch, struct riffle_error *reterr)
{
	struct extent e;
	uint64_t damaged = 0;
	int rc = measure(cursor, lane->next, max_records, max_bytes, &e);
	if (rc != 0)
		return read_err(lane, rc, reterr);
	if (e.records == 0)
		return 0;
	struct block *b = block_create(lane, &e);
	if (b == NULL)
		return local_err(reterr, RIFFLE_E_UNAVAILABLE, "no memory for a batch of %zu bytes",
			e.bytes);
	rc = fill(b, &e, cursor, lane->next, &damaged);
	if (b->abi.record_count == 0) {
		free(b);
		if (rc != DAMAGED)
			return read_err(lane, rc, reterr);
		/* What lies before it was compacted away. */
		lane->next = damaged;
		return damaged_err(lane, damaged, reterr);
	}
	/* A damaged record further on is met by the next call. */
	lane->next = (uint64_t)b->records[b->abi.record_count - 1].offset + 1;
	local_source_lent(lane);
	*ret_batch = &b->abi;
	return 1;
}

/* The offset lies behind what is left. */
static int
behind(struct local_lane *lane, uint64_t start, struct riffle_error *reterr)
{
	if (__atomic_load_n(&lane->topic->row.flags, __ATOMIC_RELAXED) & LOCAL_COMPACTED) {
		/* What was there has been replaced by what is still to come. */
		lane->next = start;
		return RIFFLE_OK;
	}
	if (lane->goes_on) {
		local_source_warn(lane->source,
			"topic \"%s\", partition %d: offsets %llu to %llu are behind retention, "
			"reading goes on after them",
			lane->topic->name, lane->partition, (unsigned long long)lane->next,
			(unsigned long long)start - 1);
		lane->next = start;
		return RIFFLE_OK;
	}
	return local_err(reterr, RIFFLE_E_NOTFOUND,
		"offset %llu of topic \"%s\", partition %d is behind retention, what is left "
		"starts at %llu: set the group to earliest, or behind-retention = earliest",
		(unsigned long long)lane->next, lane->topic->name, lane->partition,
		(unsigned long long)start);
}

int
local_batch_read(struct local_lane *lane, struct local_reader *reader, uint32_t max_records,
	size_t max_bytes, struct riffle_batch **ret_batch, struct riffle_error *reterr)
{
	for (;;) {
		struct local_view v;
		int rc = local_view_open(
			reader, lane->topic, (uint32_t)lane->partition, lane->next, 0, &v);
		if (rc == LOCAL_BUSY)
			return 0;
		if (rc != 0)
			return read_err(lane, rc, reterr);
		if (v.segment.base > lane->next)
			rc = behind(lane, v.segment.base, reterr);
		if (rc == RIFFLE_OK && v.handle != NULL)
			rc = read_segment(
				lane, v.cursor, max_records, max_bytes, ret_batch, reterr);
		local_view_close(reader, &v);
		local_reader_end(reader);
		if (rc != 0 || v.segment.end == LOCAL_HEAD)
			return rc;
		lane->next = v.segment.end;
	}
}
