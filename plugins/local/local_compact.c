/*
 * Compaction: of sealed segments only the newest record of each key stays. An index of keys, kept on the
 * disk, says where that is; a step takes the next records, puts them into the index and deletes those
 * they replace. A record without a value stays for a while, so that readers learn that its key is gone.
 */
#include "local.h"

#include <stdlib.h>
#include <string.h>

#define STEP_RECORDS 1000u
/* What is replaced may lie in as many segments; this many are opened before the step ends. */
#define STEP_SEGMENTS 8u
/* What one step moves of a segment into the one before. */
#define MERGE_BYTES (UINT64_C(1) << 20)
#define MERGE_RECORDS 4096u

/* Keys of the index are the records' own, as far as LMDB takes them, else their start and two hashes. */
#define INDEX_KEY_MAX 496u
#define PLAIN_MAX 480u

struct index_key {
	unsigned char bytes[INDEX_KEY_MAX];
	size_t len;
};

static void
make_index_key(struct riffle_bytes key, struct index_key *ret)
{
	ret->bytes[0] = key.len <= PLAIN_MAX ? 'k' : 'h';
	size_t n = key.len <= PLAIN_MAX ? key.len : PLAIN_MAX;
	if (n > 0)
		memcpy(ret->bytes + 1, key.ptr, n);
	ret->len = n + 1;
	if (key.len <= PLAIN_MAX)
		return;
	local_put_u32(ret->bytes + ret->len, local_crc32c(0, key.ptr, key.len));
	local_put_u32(ret->bytes + ret->len + 4, local_murmur2(key.ptr, key.len));
	ret->len += 8;
}

static void
partition_key(unsigned char *raw, uint32_t topic, uint32_t partition)
{
	local_put_u32(raw, topic);
	local_put_u32(raw + 4, partition);
}

static int
get_progress(struct local_env *env, MDB_txn *txn, uint32_t topic, uint32_t partition, uint64_t *ret)
{
	unsigned char raw[8];
	partition_key(raw, topic, partition);
	MDB_val key = {sizeof raw, raw}, value;
	*ret = 0;
	int rc = mdb_get(txn, env->compaction, &key, &value);
	if (rc == 0 && value.mv_size == sizeof *ret)
		memcpy(ret, value.mv_data, sizeof *ret);
	return rc == MDB_NOTFOUND ? 0 : rc;
}

static int
put_progress(
	struct local_env *env, MDB_txn *txn, uint32_t topic, uint32_t partition, uint64_t offset)
{
	unsigned char raw[8];
	partition_key(raw, topic, partition);
	MDB_val key = {sizeof raw, raw}, value = {sizeof offset, &offset};
	return mdb_put(txn, env->compaction, &key, &value, 0);
}

/* One record, as far as compaction looks at it. The key points into the transaction. */
struct entry {
	uint64_t offset;
	struct riffle_bytes key;
	int is_tombstone;
};

static int
decode(const MDB_val *value, uint64_t offset, struct entry *ret)
{
	struct local_decoded d;
	uint32_t count = local_record_header_count(value->mv_data, value->mv_size);
	struct riffle_header *headers = local_alloc((count + 1) * sizeof *headers);
	int rc = local_record_decode(value->mv_data, value->mv_size, offset, headers, count, &d);
	free(headers);
	if (rc < 0)
		return -1;
	*ret = (struct entry){.offset = offset, .key = d.key, .is_tombstone = d.value.ptr == NULL};
	return d.key.ptr != NULL ? 0 : -1;
}

struct partition {
	struct local_env *env;
	MDB_txn *txn;
	const struct local_topic_row *row;
	uint32_t number;
	MDB_dbi index;
};

static MDB_val
offset_key(unsigned char *raw, uint64_t offset)
{
	local_put_u64(raw, offset);
	return (MDB_val){8, raw};
}

/* The database of the sealed segment that holds offset. MDB_NOTFOUND when it is gone, or still a head. */
static int
open_segment(struct partition *p, uint64_t offset, struct local_segment *ret, MDB_dbi *ret_dbi)
{
	int rc = local_segment_find(p->env, p->txn, p->row->number, p->number, offset, ret);
	if (rc != 0 || ret->base > offset || ret->end == LOCAL_HEAD)
		return rc ? rc : MDB_NOTFOUND;
	const struct local_name name = local_segment_name(p->row->number, p->number, ret->base);
	return local_handle_open(p->env, p->txn, &name, 0, ret_dbi);
}

static int
delete_record(struct partition *p, struct local_segment *s, MDB_dbi dbi, uint64_t offset)
{
	unsigned char raw[8];
	MDB_val key = offset_key(raw, offset);
	int rc = mdb_del(p->txn, dbi, &key, NULL);
	if (rc == 0)
		rc = local_segment_stat(p->txn, dbi, &s->row.records, &s->row.bytes);
	return rc != 0 ? rc : local_segment_put(p->env, p->txn, p->row->number, p->number, s);
}

/* Deletes the record at offset if it has that very key: hashes may be equal, and it may be damaged. */
static int
delete_replaced(struct partition *p, uint64_t offset, struct riffle_bytes is)
{
	struct local_segment s;
	struct entry old;
	unsigned char raw[8];
	MDB_dbi dbi;
	MDB_val key = offset_key(raw, offset), value;
	int rc = open_segment(p, offset, &s, &dbi);
	if (rc == 0)
		rc = mdb_get(p->txn, dbi, &key, &value);
	if (rc != 0)
		return rc == MDB_NOTFOUND ? 0 : rc;
	if (decode(&value, offset, &old) < 0 || old.key.len != is.len ||
		(is.len > 0 && memcmp(old.key.ptr, is.ptr, is.len) != 0))
		return 0;
	return delete_record(p, &s, dbi, offset);
}

static int
put_tombstone(struct partition *p, const struct index_key *k, uint64_t offset, int64_t written_ms)
{
	unsigned char raw[16];
	partition_key(raw, p->row->number, p->number);
	local_put_u64(raw + 8, offset);
	MDB_val key = {sizeof raw, raw}, value = {sizeof written_ms + k->len, NULL};
	int rc = mdb_put(p->txn, p->env->tombstones, &key, &value, MDB_RESERVE);
	if (rc != 0)
		return rc;
	memcpy(value.mv_data, &written_ms, sizeof written_ms);
	memcpy((char *)value.mv_data + sizeof written_ms, k->bytes, k->len);
	return 0;
}

/* What points into the transaction is read before anything is written. */
static int
take(struct partition *p, const struct entry *e, int64_t written_ms)
{
	struct index_key k;
	uint64_t before = 0;
	make_index_key(e->key, &k);
	MDB_val key = {k.len, k.bytes}, value;
	int rc = mdb_get(p->txn, p->index, &key, &value);
	int is_known = rc == 0 && value.mv_size == sizeof before;
	if (is_known)
		memcpy(&before, value.mv_data, sizeof before);
	if (rc != 0 && rc != MDB_NOTFOUND)
		return rc;
	uint64_t offset = e->offset;
	int is_tombstone = e->is_tombstone;
	rc = is_known && before < offset ? delete_replaced(p, before, e->key) : 0;
	value = (MDB_val){sizeof offset, &offset};
	if (rc == 0)
		rc = mdb_put(p->txn, p->index, &key, &value, 0);
	return rc == 0 && is_tombstone ? put_tombstone(p, &k, offset, written_ms) : rc;
}

/* Takes records of one sealed segment from *at on; *at ends behind the last one taken. */
static int
take_segment(struct partition *p, const struct local_segment *s, uint64_t *at, uint32_t *budget)
{
	const struct local_name name = local_segment_name(p->row->number, p->number, s->base);
	MDB_cursor *c;
	MDB_dbi dbi;
	int rc = local_handle_open(p->env, p->txn, &name, 0, &dbi);
	if (rc == 0)
		rc = mdb_cursor_open(p->txn, dbi, &c);
	if (rc != 0)
		return rc;
	for (; rc == 0 && *budget > 0; --*budget) {
		if (local_handles_opened(p->env) >= STEP_SEGMENTS) {
			*budget = 0;
			break;
		}
		unsigned char raw[8];
		struct entry e;
		MDB_val key = offset_key(raw, *at), value;
		rc = mdb_cursor_get(c, &key, &value, MDB_SET_RANGE);
		if (rc != 0)
			break;
		*at = local_get_u64(key.mv_data) + 1;
		/* A damaged one stays, for its reader to be told. */
		if (decode(&value, *at - 1, &e) == 0)
			rc = take(p, &e, s->row.sealed_ms);
	}
	mdb_cursor_close(c);
	if (rc == MDB_NOTFOUND)
		*at = s->end;
	return rc == MDB_NOTFOUND ? 0 : rc;
}

static int
take_sealed(struct partition *p)
{
	uint32_t budget = STEP_RECORDS;
	uint64_t at, from;
	struct local_segment s = {.end = 0};
	int rc = get_progress(p->env, p->txn, p->row->number, p->number, &at);
	from = at;
	while (rc == 0 && budget > 0) {
		rc = local_segment_find(p->env, p->txn, p->row->number, p->number, at, &s);
		if (rc != 0 || s.end == LOCAL_HEAD)
			break;
		if (at < s.base)
			at = s.base;
		rc = take_segment(p, &s, &at, &budget);
	}
	return rc != 0 || at == from ? rc
				     : put_progress(p->env, p->txn, p->row->number, p->number, at);
}

/* The oldest tombstone of the partition. MDB_NOTFOUND when there is none, or it is too young. */
static int
find_tombstone(struct local_env *env, MDB_txn *txn, const struct local_topic_row *row,
	uint32_t partition, uint64_t *ret_offset, struct index_key *ret_key)
{
	unsigned char raw[16];
	int64_t written_ms;
	MDB_cursor *c;
	partition_key(raw, row->number, partition);
	local_put_u64(raw + 8, 0);
	MDB_val key = {sizeof raw, raw}, value;
	int rc = mdb_cursor_open(txn, env->tombstones, &c);
	if (rc != 0)
		return rc;
	rc = mdb_cursor_get(c, &key, &value, MDB_SET_RANGE);
	if (rc == 0 && (key.mv_size != sizeof raw || memcmp(key.mv_data, raw, 8) != 0))
		rc = MDB_NOTFOUND;
	if (rc == 0) {
		*ret_offset = local_get_u64((const unsigned char *)key.mv_data + 8);
		memcpy(&written_ms, value.mv_data, sizeof written_ms);
		ret_key->len = value.mv_size - sizeof written_ms;
		local_assert(ret_key->len <= INDEX_KEY_MAX);
		memcpy(ret_key->bytes, (const char *)value.mv_data + sizeof written_ms,
			ret_key->len);
		if (written_ms > local_wall_ms() - row->tombstone_ms)
			rc = MDB_NOTFOUND;
	}
	mdb_cursor_close(c);
	return rc;
}

static int
forget_tombstone(struct partition *p, uint64_t offset, struct index_key *k)
{
	unsigned char raw[16];
	struct local_segment s;
	MDB_dbi dbi;
	uint64_t newest = 0;
	partition_key(raw, p->row->number, p->number);
	local_put_u64(raw + 8, offset);
	MDB_val key = {sizeof raw, raw}, index = {k->len, k->bytes}, value;
	int rc = mdb_del(p->txn, p->env->tombstones, &key, NULL);
	if (rc != 0)
		return rc;
	rc = mdb_get(p->txn, p->index, &index, &value);
	if (rc == 0 && value.mv_size == sizeof newest)
		memcpy(&newest, value.mv_data, sizeof newest);
	if (rc != 0 || newest != offset)
		return rc == MDB_NOTFOUND ? 0 : rc;
	rc = mdb_del(p->txn, p->index, &index, NULL);
	if (rc == 0)
		rc = open_segment(p, offset, &s, &dbi);
	if (rc == 0)
		rc = delete_record(p, &s, dbi, offset);
	return rc == MDB_NOTFOUND ? 0 : rc;
}

int
local_compact_is_due(struct local_env *env, MDB_txn *txn, const struct local_topic_row *row,
	uint32_t partition, int *ret_due)
{
	struct local_segment head;
	struct index_key ignored;
	uint64_t at, offset;
	int rc = get_progress(env, txn, row->number, partition, &at);
	if (rc == 0)
		rc = local_segment_find(env, txn, row->number, partition, LOCAL_HEAD, &head);
	*ret_due = rc == 0 && at < head.base;
	if (rc != 0 || *ret_due)
		return rc;
	rc = find_tombstone(env, txn, row, partition, &offset, &ignored);
	*ret_due = rc == 0;
	return rc == MDB_NOTFOUND ? 0 : rc;
}

static struct local_name
index_name(uint32_t topic, uint32_t partition)
{
	return (struct local_name){.kind = 'k', .topic = topic, .partition = partition};
}

int
local_compact_step(
	struct local_env *env, MDB_txn *txn, const struct local_topic_row *row, uint32_t partition)
{
	struct partition p = {.env = env, .txn = txn, .row = row, .number = partition};
	const struct local_name name = index_name(row->number, partition);
	struct index_key k;
	uint64_t offset;
	int rc = local_handle_open(env, txn, &name, MDB_CREATE, &p.index);
	if (rc == 0)
		rc = take_sealed(&p);
	for (uint32_t i = 0; i < STEP_RECORDS && rc == 0; i++) {
		if (local_handles_opened(env) >= 2 * STEP_SEGMENTS)
			break;
		rc = find_tombstone(env, txn, row, partition, &offset, &k);
		if (rc == 0)
			rc = forget_tombstone(&p, offset, &k);
	}
	return rc == MDB_NOTFOUND ? 0 : rc;
}

int
local_compact_is_mergeable(struct local_env *env, MDB_txn *txn, const struct local_topic_row *row,
	uint32_t partition, const struct local_segment *first, const struct local_segment *second,
	int *ret)
{
	uint64_t at;
	*ret = 0;
	if (second->row.bytes > MERGE_BYTES || second->row.records > MERGE_RECORDS ||
		first->row.bytes + second->row.bytes > (uint64_t)row->segment_bytes / 2)
		return 0;
	int rc = get_progress(env, txn, row->number, partition, &at);
	*ret = rc == 0 && at >= second->end;
	return rc;
}

static int
copy_records(MDB_txn *txn, MDB_dbi from, MDB_dbi to)
{
	MDB_cursor *source, *target;
	MDB_val key, value;
	int rc = mdb_cursor_open(txn, from, &source);
	if (rc != 0)
		return rc;
	rc = mdb_cursor_open(txn, to, &target);
	if (rc != 0) {
		mdb_cursor_close(source);
		return rc;
	}
	while ((rc = mdb_cursor_get(source, &key, &value, MDB_NEXT)) == 0) {
		rc = mdb_cursor_put(target, &key, &value, MDB_APPEND);
		if (rc != 0)
			break;
	}
	mdb_cursor_close(target);
	mdb_cursor_close(source);
	return rc == MDB_NOTFOUND ? 0 : rc;
}

/* The second segment's records become the first's, whose offsets all lie before them. */
int
local_compact_merge(struct local_env *env, MDB_txn *txn, const struct local_topic_row *row,
	uint32_t partition, uint64_t base)
{
	struct partition p = {.env = env, .txn = txn, .row = row, .number = partition};
	struct local_segment first, second;
	MDB_dbi to, from;
	int mergeable = 0;
	int rc = open_segment(&p, base, &first, &to);
	if (rc == 0)
		rc = open_segment(&p, first.end, &second, &from);
	if (rc == 0)
		rc = local_compact_is_mergeable(
			env, txn, row, partition, &first, &second, &mergeable);
	if (rc != 0 || !mergeable)
		return rc == MDB_NOTFOUND ? 0 : rc;
	rc = copy_records(txn, from, to);
	const struct local_name name = local_segment_name(row->number, partition, second.base);
	if (rc == 0)
		rc = local_handle_drop(env, txn, &name);
	if (rc == 0)
		rc = local_segment_delete(env, txn, row->number, partition, second.base);
	if (rc == 0)
		rc = local_segment_stat(txn, to, &first.row.records, &first.row.bytes);
	first.row.sealed_ms = second.row.sealed_ms;
	if (second.row.newest_ms > first.row.newest_ms)
		first.row.newest_ms = second.row.newest_ms;
	return rc != 0 ? rc : local_segment_put(env, txn, row->number, partition, &first);
}

static int
forget_tombstones(struct local_env *env, MDB_txn *txn, const unsigned char *prefix)
{
	MDB_cursor *c;
	unsigned char raw[16] = {0};
	memcpy(raw, prefix, 8);
	MDB_val key = {sizeof raw, raw}, value;
	int rc = mdb_cursor_open(txn, env->tombstones, &c);
	if (rc != 0)
		return rc;
	rc = mdb_cursor_get(c, &key, &value, MDB_SET_RANGE);
	while (rc == 0 && memcmp(key.mv_data, prefix, 8) == 0) {
		rc = mdb_cursor_del(c, 0);
		if (rc == 0)
			rc = mdb_cursor_get(c, &key, &value, MDB_NEXT);
	}
	mdb_cursor_close(c);
	return rc == MDB_NOTFOUND ? 0 : rc;
}

int
local_compact_forget(struct local_env *env, MDB_txn *txn, uint32_t topic, uint32_t partition)
{
	unsigned char raw[8];
	const struct local_name name = index_name(topic, partition);
	partition_key(raw, topic, partition);
	MDB_val key = {sizeof raw, raw};
	int rc = local_handle_drop(env, txn, &name);
	if (rc == 0)
		rc = mdb_del(txn, env->compaction, &key, NULL);
	if (rc == 0 || rc == MDB_NOTFOUND)
		rc = forget_tombstones(env, txn, raw);
	return rc;
}
