/*
 * Cleaning: what retention has done with, what is left of removed topics, what compaction can have. Each
 * step is a small transaction, found and done by whichever process comes first.
 */
#include "local.h"

#include <string.h>

/* What one look over the partitions of a topic needs. */
struct look {
	struct local_env *env;
	MDB_txn *txn;
	int64_t now_ms;
	struct local_job *job;
};

static int
is_too_old(const struct local_topic_row *row, const struct local_segment *s, int64_t now_ms)
{
	return row->retention_ms > 0 && s->row.sealed_ms <= now_ms - row->retention_ms;
}

/* The oldest segment goes when the sealed ones behind it are enough; the head comes on top. */
static int
sealed_bytes(struct look *l, const struct local_topic_row *row, uint32_t partition,
	const struct local_segment *first, uint64_t *ret)
{
	struct local_segment s = *first;
	int rc = 0;
	*ret = 0;
	while (rc == 0 && s.end != LOCAL_HEAD) {
		rc = local_segment_find(l->env, l->txn, row->number, partition, s.end, &s);
		if (rc == 0 && s.end != LOCAL_HEAD)
			*ret += s.row.bytes;
	}
	return rc;
}

static int
look_at_head(struct look *l, const struct local_topic_row *row, uint32_t partition)
{
	struct local_segment head;
	int due = 0;
	int rc = local_segment_find(l->env, l->txn, row->number, partition, LOCAL_HEAD, &head);
	int is_wanted = row->retention_ms > 0 || (row->flags & LOCAL_COMPACTED);
	if (rc == 0 && is_wanted && row->segment_ms > 0 && head.row.newest_ms != INT64_MIN &&
		head.row.created_ms <= l->now_ms - row->segment_ms) {
		l->job->kind = LOCAL_JOB_ROLL;
		l->job->segment = head;
		return 0;
	}
	if (rc == 0 && (row->flags & LOCAL_COMPACTED))
		rc = local_compact_is_due(l->env, l->txn, row, partition, &due);
	if (due)
		l->job->kind = LOCAL_JOB_COMPACT;
	return rc;
}

/* Segments of which compaction left nothing, or so little that it fits into the one before. */
static int
look_for_small(struct look *l, const struct local_topic_row *row, uint32_t partition)
{
	struct local_segment s = {.end = 0}, before;
	int rc = 0, has_before = 0, mergeable = 0;
	while (rc == 0 && s.end != LOCAL_HEAD) {
		before = s;
		rc = local_segment_find(l->env, l->txn, row->number, partition, s.end, &s);
		if (rc != 0 || s.end == LOCAL_HEAD)
			break;
		if (has_before)
			rc = local_compact_is_mergeable(
				l->env, l->txn, row, partition, &before, &s, &mergeable);
		has_before = 1;
		l->job->kind = s.row.records == 0 ? LOCAL_JOB_DROP
			       : mergeable        ? LOCAL_JOB_MERGE
						  : LOCAL_JOB_NONE;
		l->job->segment = mergeable && s.row.records > 0 ? before : s;
		if (rc != 0 || l->job->kind != LOCAL_JOB_NONE)
			return rc;
	}
	return rc;
}

static int
look_at_partition(struct look *l, const struct local_topic_row *row, uint32_t partition)
{
	struct local_segment first;
	uint64_t behind = 0;
	int rc = local_segment_find(l->env, l->txn, row->number, partition, 0, &first);
	if (rc != 0)
		return rc;
	l->job->row = *row;
	l->job->partition = partition;
	l->job->segment = first;
	if (first.end != LOCAL_HEAD) {
		if (row->retention_bytes > 0)
			rc = sealed_bytes(l, row, partition, &first, &behind);
		if (rc != 0)
			return rc;
		if (is_too_old(row, &first, l->now_ms) ||
			(row->retention_bytes > 0 && behind >= (uint64_t)row->retention_bytes)) {
			l->job->kind = LOCAL_JOB_DROP;
			return 0;
		}
	}
	if (row->flags & LOCAL_COMPACTED)
		rc = look_for_small(l, row, partition);
	return rc != 0 || l->job->kind != LOCAL_JOB_NONE ? rc : look_at_head(l, row, partition);
}

static int
look_at_topics(struct look *l)
{
	MDB_cursor *c;
	MDB_val key, value;
	int rc = mdb_cursor_open(l->txn, l->env->streams, &c);
	if (rc != 0)
		return rc;
	while (l->job->kind == LOCAL_JOB_NONE &&
		(rc = mdb_cursor_get(c, &key, &value, MDB_NEXT)) == 0) {
		struct local_topic_row row;
		if (value.mv_size != sizeof row)
			rc = MDB_CORRUPTED;
		else
			memcpy(&row, value.mv_data, sizeof row);
		for (uint32_t p = 0;
			rc == 0 && l->job->kind == LOCAL_JOB_NONE && p < row.partitions; p++)
			rc = look_at_partition(l, &row, p);
		if (rc != 0)
			break;
	}
	mdb_cursor_close(c);
	return rc == MDB_NOTFOUND ? 0 : rc;
}

static int
look_at_removed(struct look *l)
{
	MDB_cursor *c;
	MDB_val key, value;
	int rc = mdb_cursor_open(l->txn, l->env->removed, &c);
	if (rc != 0)
		return rc;
	rc = mdb_cursor_get(c, &key, &value, MDB_FIRST);
	if (rc == 0) {
		l->job->kind = LOCAL_JOB_PURGE;
		l->job->row.number = local_get_u32(key.mv_data);
	}
	mdb_cursor_close(c);
	return rc == MDB_NOTFOUND ? 0 : rc;
}

int
local_clean_find(struct local_env *env, MDB_txn *txn, struct local_job *ret)
{
	struct look l = {.env = env, .txn = txn, .now_ms = local_wall_ms(), .job = ret};
	*ret = (struct local_job){.kind = LOCAL_JOB_NONE};
	int rc = look_at_removed(&l);
	return rc != 0 || ret->kind != LOCAL_JOB_NONE ? rc : look_at_topics(&l);
}

static int
drop_segment(struct local_env *env, MDB_txn *txn, uint32_t topic, uint32_t partition, uint64_t base)
{
	const struct local_name name = local_segment_name(topic, partition, base);
	int rc = local_handle_drop(env, txn, &name);
	return rc != 0 ? rc : local_segment_delete(env, txn, topic, partition, base);
}

static int
roll(struct local_env *env, MDB_txn *txn, struct local_job *job)
{
	uint32_t topic = job->row.number;
	const struct local_name name = local_segment_name(topic, job->partition, job->segment.base);
	MDB_dbi dbi;
	uint64_t end;
	int rc = local_handle_open(env, txn, &name, MDB_CREATE, &dbi);
	if (rc == 0)
		rc = local_segment_end(txn, dbi, job->segment.base, &end);
	if (rc == 0 && end == job->segment.base) {
		/* A row that promised more than was committed. */
		job->segment.row.newest_ms = INT64_MIN;
		return local_segment_put(env, txn, topic, job->partition, &job->segment);
	}
	return rc != 0 ? rc
		       : local_segment_roll(
				 env, txn, topic, job->partition, &job->segment, dbi, end);
}

/* Somebody else may have done it, or removed the topic. */
static int
is_still_there(struct local_env *env, MDB_txn *txn, const struct local_job *job, int *ret)
{
	struct local_segment s;
	int rc = local_segment_find(
		env, txn, job->row.number, job->partition, job->segment.base, &s);
	*ret = rc == 0 && s.base == job->segment.base &&
	       (s.end == LOCAL_HEAD) == (job->segment.end == LOCAL_HEAD);
	return rc == MDB_NOTFOUND ? 0 : rc;
}

int
local_clean_do(struct local_env *env, MDB_txn *txn, struct local_job *job)
{
	int is_there = 0, rc;
	if (job->kind == LOCAL_JOB_PURGE) {
		rc = local_clean_removed(env, txn, job->row.number);
		return rc == 1 ? 0 : rc;
	}
	rc = is_still_there(env, txn, job, &is_there);
	if (rc != 0 || !is_there)
		return rc;
	switch (job->kind) {
	case LOCAL_JOB_DROP:
		return drop_segment(env, txn, job->row.number, job->partition, job->segment.base);
	case LOCAL_JOB_ROLL:
		return roll(env, txn, job);
	case LOCAL_JOB_COMPACT:
		return local_compact_step(env, txn, &job->row, job->partition);
	case LOCAL_JOB_MERGE:
		return local_compact_merge(env, txn, &job->row, job->partition, job->segment.base);
	default:
		return 0;
	}
}

int
local_clean_removed(struct local_env *env, MDB_txn *txn, uint32_t topic)
{
	unsigned char raw[4];
	uint32_t partitions = 0;
	struct local_segment s;
	local_put_u32(raw, topic);
	MDB_val key = {sizeof raw, raw}, value;
	int rc = mdb_get(txn, env->removed, &key, &value);
	if (rc == 0 && value.mv_size == sizeof partitions)
		memcpy(&partitions, value.mv_data, sizeof partitions);
	for (uint32_t p = 0; p < partitions && rc == 0; p++) {
		rc = local_segment_find(env, txn, topic, p, 0, &s);
		if (rc == 0) {
			rc = drop_segment(env, txn, topic, p, s.base);
			return rc != 0 ? rc : 1;
		}
		if (rc == MDB_NOTFOUND)
			rc = local_compact_forget(env, txn, topic, p);
	}
	if (rc == 0)
		rc = mdb_del(txn, env->removed, &key, NULL);
	return rc == MDB_NOTFOUND ? 0 : rc;
}
