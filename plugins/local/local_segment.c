/* Segments of a partition: found, sealed, begun, counted. */
#include "local.h"

#include <string.h>

#define KEY_BYTES 16

void
local_put_u32(unsigned char *to, uint32_t v)
{
	for (int i = 3; i >= 0; i--, v >>= 8)
		to[i] = (unsigned char)v;
}

uint32_t
local_get_u32(const unsigned char *from)
{
	uint32_t v = 0;
	for (int i = 0; i < 4; i++)
		v = v << 8 | from[i];
	return v;
}

void
local_put_u64(unsigned char *to, uint64_t v)
{
	local_put_u32(to, (uint32_t)(v >> 32));
	local_put_u32(to + 4, (uint32_t)v);
}

uint64_t
local_get_u64(const unsigned char *from)
{
	return (uint64_t)local_get_u32(from) << 32 | local_get_u32(from + 4);
}

struct local_name
local_segment_name(uint32_t topic, uint32_t partition, uint64_t base)
{
	return (struct local_name){
		.kind = 's', .topic = topic, .partition = partition, .base = base};
}

static MDB_val
key_of(unsigned char *raw, uint32_t topic, uint32_t partition, uint64_t base)
{
	local_put_u32(raw, topic);
	local_put_u32(raw + 4, partition);
	local_put_u64(raw + 8, base);
	return (MDB_val){KEY_BYTES, raw};
}

/* Is what the cursor showed a segment of the partition? */
static int
is_of(const MDB_val *key, const unsigned char *raw)
{
	return key->mv_size == KEY_BYTES && memcmp(key->mv_data, raw, 8) == 0;
}

static int
take(const MDB_val *key, const MDB_val *value, struct local_segment *ret)
{
	if (value->mv_size != sizeof ret->row)
		return MDB_CORRUPTED;
	ret->base = local_get_u64((const unsigned char *)key->mv_data + 8);
	memcpy(&ret->row, value->mv_data, sizeof ret->row);
	return 0;
}

/* The cursor stands on the segment after the one that is wanted, or nowhere: that one, or itself. */
static int
step_back(MDB_cursor *c, const unsigned char *raw, MDB_val *key, MDB_val *value, int is_after,
	struct local_segment *ret)
{
	uint64_t end =
		is_after ? local_get_u64((const unsigned char *)key->mv_data + 8) : LOCAL_HEAD;
	int rc = mdb_cursor_get(c, key, value, is_after ? MDB_PREV : MDB_LAST);
	if (rc == 0 && is_of(key, raw)) {
		ret->end = end;
		return take(key, value, ret);
	}
	return rc == 0 ? MDB_NOTFOUND : rc;
}

static int
find_end(MDB_cursor *c, const unsigned char *raw, struct local_segment *ret)
{
	MDB_val key, value;
	int rc = mdb_cursor_get(c, &key, &value, MDB_NEXT);
	ret->end = LOCAL_HEAD;
	if (rc == 0 && is_of(&key, raw))
		ret->end = local_get_u64((const unsigned char *)key.mv_data + 8);
	return rc == MDB_NOTFOUND ? 0 : rc;
}

static int
find(MDB_cursor *c, const unsigned char *raw, uint64_t offset, struct local_segment *ret)
{
	MDB_val key = {KEY_BYTES, (void *)(uintptr_t)raw}, value;
	int rc = mdb_cursor_get(c, &key, &value, MDB_SET_RANGE);
	if (rc == 0 && is_of(&key, raw) &&
		local_get_u64((const unsigned char *)key.mv_data + 8) == offset) {
		rc = take(&key, &value, ret);
		return rc == 0 ? find_end(c, raw, ret) : rc;
	}
	if (rc != 0 && rc != MDB_NOTFOUND)
		return rc;
	int is_after = rc == 0 && is_of(&key, raw);
	if (rc == 0 && !is_after) {
		/* On another partition's: the last of ours lies before it. */
		rc = mdb_cursor_get(c, &key, &value, MDB_PREV);
		if (rc != 0 || !is_of(&key, raw))
			return rc ? rc : MDB_NOTFOUND;
		ret->end = LOCAL_HEAD;
		return take(&key, &value, ret);
	}
	rc = step_back(c, raw, &key, &value, is_after, ret);
	if (rc != MDB_NOTFOUND || !is_after)
		return rc;
	/* Behind all of them: the first. */
	key = (MDB_val){KEY_BYTES, (void *)(uintptr_t)raw};
	rc = mdb_cursor_get(c, &key, &value, MDB_SET_RANGE);
	if (rc == 0)
		rc = take(&key, &value, ret);
	return rc == 0 ? find_end(c, raw, ret) : rc;
}

int
local_segment_find(struct local_env *env, MDB_txn *txn, uint32_t topic, uint32_t partition,
	uint64_t offset, struct local_segment *ret)
{
	unsigned char raw[KEY_BYTES];
	MDB_cursor *c;
	key_of(raw, topic, partition, offset);
	int rc = mdb_cursor_open(txn, env->segments, &c);
	if (rc != 0)
		return rc;
	rc = find(c, raw, offset, ret);
	mdb_cursor_close(c);
	return rc;
}

int
local_segment_put(struct local_env *env, MDB_txn *txn, uint32_t topic, uint32_t partition,
	const struct local_segment *s)
{
	unsigned char raw[KEY_BYTES];
	MDB_val key = key_of(raw, topic, partition, s->base);
	struct local_segment_row row = s->row;
	MDB_val value = {sizeof row, &row};
	return mdb_put(txn, env->segments, &key, &value, 0);
}

int
local_segment_delete(
	struct local_env *env, MDB_txn *txn, uint32_t topic, uint32_t partition, uint64_t base)
{
	unsigned char raw[KEY_BYTES];
	MDB_val key = key_of(raw, topic, partition, base);
	return mdb_del(txn, env->segments, &key, NULL);
}

int
local_segment_stat(MDB_txn *txn, MDB_dbi dbi, uint64_t *ret_records, uint64_t *ret_bytes)
{
	MDB_stat st;
	int rc = mdb_stat(txn, dbi, &st);
	if (rc != 0)
		return rc;
	*ret_records = st.ms_entries;
	*ret_bytes = (uint64_t)st.ms_psize *
		     (st.ms_branch_pages + st.ms_leaf_pages + st.ms_overflow_pages);
	return 0;
}

int
local_segment_end(MDB_txn *txn, MDB_dbi dbi, uint64_t base, uint64_t *ret_end)
{
	MDB_cursor *c;
	MDB_val key, value;
	*ret_end = base;
	int rc = mdb_cursor_open(txn, dbi, &c);
	if (rc != 0)
		return rc;
	rc = mdb_cursor_get(c, &key, &value, MDB_LAST);
	if (rc == 0)
		*ret_end = local_get_u64(key.mv_data) + 1;
	mdb_cursor_close(c);
	return rc == MDB_NOTFOUND ? 0 : rc;
}

int
local_segment_roll(struct local_env *env, MDB_txn *txn, uint32_t topic, uint32_t partition,
	struct local_segment *head, MDB_dbi dbi, uint64_t end)
{
	int64_t now_ms = local_wall_ms();
	head->row.sealed_ms = now_ms > 0 ? now_ms : 1;
	int rc = local_segment_stat(txn, dbi, &head->row.records, &head->row.bytes);
	if (rc == 0)
		rc = local_segment_put(env, txn, topic, partition, head);
	*head = (struct local_segment){.base = end,
		.end = LOCAL_HEAD,
		.row = {.created_ms = now_ms, .newest_ms = INT64_MIN}};
	return rc != 0 ? rc : local_segment_put(env, txn, topic, partition, head);
}
