/* Topics: found, made, described, removed. */
#include "local.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* MDB_val has no const; LMDB does not write through what it is given as a key. */
MDB_val
local_text_val(const char *s)
{
	return (MDB_val){strlen(s), (void *)(uintptr_t)s};
}

int
local_topic_row(struct local_env *env, MDB_txn *txn, const char *name, struct local_topic_row *ret)
{
	MDB_val key = local_text_val(name), value;
	int rc = mdb_get(txn, env->streams, &key, &value);
	if (rc != 0)
		return rc;
	if (value.mv_size != sizeof *ret)
		return MDB_CORRUPTED;
	memcpy(ret, value.mv_data, sizeof *ret);
	return ret->partitions == 0 ? MDB_CORRUPTED : 0;
}

static struct local_topic *
find(struct local_env *env, const char *name)
{
	struct local_topic *t = env->topics;
	while (t != NULL && (t->is_gone || strcmp(t->name, name) != 0))
		t = t->next;
	return t;
}

static void
topic_free(struct local_topic *t)
{
	t->magic = 0;
	free(t->partitions);
	free(t->name);
	free(t);
}

static void
unlink_topic(struct local_env *env, struct local_topic *t)
{
	struct local_topic **at = &env->topics;
	while (*at != t)
		at = &(*at)->next;
	*at = t->next;
	topic_free(t);
}

static struct local_topic *
topic_create(struct local_env *env, const char *name, const struct local_topic_row *row)
{
	struct local_topic *t = local_alloc(sizeof *t);
	*t = (struct local_topic){.magic = LOCAL_TOPIC_MAGIC,
		.name = local_strdup(name),
		.row = *row,
		.partitions = local_alloc(row->partitions * sizeof *t->partitions),
		.next = env->topics};
	for (uint32_t i = 0; i < row->partitions; i++)
		t->partitions[i].topic = t;
	env->topics = t;
	return t;
}

static int
read_row(struct local_env *env, const char *name, struct local_topic_row *ret,
	struct riffle_error *reterr)
{
	MDB_txn *txn;
	int rc = local_read_begin(env, &txn, reterr);
	if (rc < 0)
		return rc;
	rc = local_topic_row(env, txn, name, ret);
	mdb_txn_abort(txn);
	if (rc == MDB_NOTFOUND)
		return local_err(reterr, RIFFLE_E_NOTFOUND, "there is no topic \"%s\" in %s", name,
			env->dir);
	return rc != 0 ? local_mdb_err(reterr, rc, "cannot open topic \"%s\"", name) : RIFFLE_OK;
}

int
local_topic_open(struct local_env *env, const char *name, struct local_topic **ret_topic,
	struct riffle_error *reterr)
{
	struct local_topic_row row;
	pthread_mutex_lock(&env->lock);
	int rc = read_row(env, name, &row, reterr);
	struct local_topic *t = rc == RIFFLE_OK ? find(env, name) : NULL;
	if (t != NULL && t->row.number != row.number) {
		/* Removed by somebody, and made anew. */
		t->is_gone = 1;
		if (t->refs == 0)
			unlink_topic(env, t);
		t = NULL;
	}
	if (rc == RIFFLE_OK) {
		*ret_topic = t ? t : topic_create(env, name, &row);
		(*ret_topic)->refs++;
	}
	pthread_mutex_unlock(&env->lock);
	return rc;
}

void
local_topic_close(struct local_env *env, struct local_topic *t)
{
	if (t == NULL)
		return;
	LOCAL_CHECK(t, LOCAL_TOPIC_MAGIC);
	pthread_mutex_lock(&env->lock);
	local_assert(t->refs > 0);
	if (--t->refs == 0)
		unlink_topic(env, t);
	pthread_mutex_unlock(&env->lock);
}

void
local_topics_free(struct local_env *env)
{
	while (env->topics != NULL)
		unlink_topic(env, env->topics);
}

struct change {
	struct local_change base;
	const char *name;
	struct local_topic_row row;
	uint32_t number;
};

static int
put_row(struct local_env *env, MDB_txn *txn, const char *name, struct local_topic_row row)
{
	MDB_val key = local_text_val(name), value = {sizeof row, &row};
	return mdb_put(txn, env->streams, &key, &value, 0);
}

/* The next number; they are never given again. */
static int
take_number(struct local_env *env, MDB_txn *txn, uint32_t *ret)
{
	uint32_t last = 0;
	MDB_val key = local_text_val("topics"), value;
	int rc = mdb_get(txn, env->meta, &key, &value);
	if (rc == 0 && value.mv_size == sizeof last)
		memcpy(&last, value.mv_data, sizeof last);
	if (rc != 0 && rc != MDB_NOTFOUND)
		return rc;
	*ret = ++last;
	value = (MDB_val){sizeof last, &last};
	return mdb_put(txn, env->meta, &key, &value, 0);
}

static int
count_partitions(struct local_env *env, MDB_txn *txn, uint64_t *ret)
{
	MDB_cursor *c;
	MDB_val key, value;
	*ret = 0;
	int rc = mdb_cursor_open(txn, env->streams, &c);
	if (rc != 0)
		return rc;
	while ((rc = mdb_cursor_get(c, &key, &value, MDB_NEXT)) == 0) {
		struct local_topic_row row;
		if (value.mv_size != sizeof row)
			break;
		memcpy(&row, value.mv_data, sizeof row);
		*ret += row.partitions;
	}
	mdb_cursor_close(c);
	return rc == MDB_NOTFOUND ? 0 : rc ? rc : MDB_CORRUPTED;
}

static int
make(struct local_env *env, MDB_txn *txn, struct change *c, int *refused)
{
	uint64_t held;
	struct local_topic_row row = c->row;
	if (row.partitions == 0)
		row.partitions = 1;
	int rc = count_partitions(env, txn, &held);
	if (rc == 0 && local_partitions_judge(c->name, row.partitions, held,
			       env->settings.max_partitions, &c->base.op.error) < 0) {
		*refused = 1;
		return c->base.op.error.code;
	}
	if (rc == 0)
		rc = take_number(env, txn, &row.number);
	if (rc == 0)
		rc = put_row(env, txn, c->name, row);
	const struct local_segment first = {
		.row = {.created_ms = local_wall_ms(), .newest_ms = INT64_MIN}};
	for (uint32_t p = 0; p < row.partitions && rc == 0; p++)
		rc = local_segment_put(env, txn, row.number, p, &first);
	return rc;
}

static int
apply_provision(struct local_op *op, struct local_env *env, MDB_txn *txn, int *refused)
{
	struct change *c = (struct change *)(void *)op;
	struct local_topic_row held, wanted = c->row;
	int rc = local_topic_row(env, txn, c->name, &held);
	if (rc == MDB_NOTFOUND)
		return make(env, txn, c, refused);
	if (rc != 0)
		return rc;
	if (wanted.partitions != 0 && held.partitions != wanted.partitions) {
		*refused = 1;
		return local_err(&op->error, RIFFLE_E_CONFIG,
			"topic \"%s\" exists with %u partitions, %u are configured", c->name,
			held.partitions, wanted.partitions);
	}
	wanted.partitions = held.partitions;
	wanted.number = held.number;
	return memcmp(&held, &wanted, sizeof held) == 0 ? 0 : put_row(env, txn, c->name, wanted);
}

/* Those in use here take up what the configuration says now. */
static void
adopt(struct local_env *env, const char *name, const struct local_topic_row *wanted)
{
	pthread_mutex_lock(&env->lock);
	struct local_topic *t = find(env, name);
	if (t != NULL) {
		__atomic_store_n(&t->row.segment_bytes, wanted->segment_bytes, __ATOMIC_RELAXED);
		__atomic_store_n(&t->row.segment_ms, wanted->segment_ms, __ATOMIC_RELAXED);
		__atomic_store_n(&t->row.flags, wanted->flags, __ATOMIC_RELAXED);
	}
	pthread_mutex_unlock(&env->lock);
}

int
local_topic_provision(struct local_env *env, const char *name, const struct local_topic_row *wanted,
	struct riffle_error *reterr)
{
	struct change c = {.base.op.apply = apply_provision, .name = name, .row = *wanted};
	struct local_topic_row held;
	struct riffle_error ignored;
	if (local_topic_judge(name, reterr) < 0)
		return reterr->code;
	/* A look costs less than a turn of the writer, which may be waiting for another process. */
	if (read_row(env, name, &held, &ignored) == RIFFLE_OK) {
		struct local_topic_row same = *wanted;
		same.number = held.number;
		if (same.partitions == 0)
			same.partitions = held.partitions;
		if (memcmp(&same, &held, sizeof held) == 0)
			return RIFFLE_OK;
	}
	int rc = local_change_run(env, &c.base, reterr);
	if (rc == RIFFLE_OK)
		adopt(env, name, wanted);
	return rc;
}

/* The positions that groups have in a topic: between the group's name and the partition lies its. */
static int
forget_positions(struct local_env *env, MDB_txn *txn, const char *name)
{
	MDB_cursor *c;
	MDB_val key, value;
	size_t len = strlen(name);
	int rc = mdb_cursor_open(txn, env->groups, &c);
	if (rc != 0)
		return rc;
	while ((rc = mdb_cursor_get(c, &key, &value, MDB_NEXT)) == 0) {
		const char *at = memchr(key.mv_data, '\0', key.mv_size);
		size_t left = at ? key.mv_size - (size_t)(at + 1 - (const char *)key.mv_data) : 0;
		if (left != len + 5 || memcmp(at + 1, name, len + 1) != 0)
			continue;
		rc = mdb_cursor_del(c, 0);
		if (rc != 0)
			break;
	}
	mdb_cursor_close(c);
	return rc == MDB_NOTFOUND ? 0 : rc;
}

static int
apply_remove(struct local_op *op, struct local_env *env, MDB_txn *txn, int *refused)
{
	struct change *c = (struct change *)(void *)op;
	struct local_topic_row row;
	unsigned char raw[4];
	int rc = local_topic_row(env, txn, c->name, &row);
	if (rc == MDB_NOTFOUND) {
		*refused = 1;
		return local_err(
			&op->error, RIFFLE_E_NOTFOUND, "there is no topic \"%s\"", c->name);
	}
	MDB_val key = local_text_val(c->name);
	if (rc == 0)
		rc = mdb_del(txn, env->streams, &key, NULL);
	if (rc == 0)
		rc = forget_positions(env, txn, c->name);
	local_put_u32(raw, row.number);
	MDB_val number = {sizeof raw, raw}, partitions = {sizeof row.partitions, &row.partitions};
	if (rc == 0)
		rc = mdb_put(txn, env->removed, &number, &partitions, 0);
	c->number = row.number;
	return rc;
}

/* What is left of a removed topic, a segment at a time, so that nobody waits long for the log. */
static int
apply_purge(struct local_op *op, struct local_env *env, MDB_txn *txn, int *refused)
{
	struct change *c = (struct change *)(void *)op;
	int rc = local_clean_removed(env, txn, c->number);
	(void)refused;
	c->row.number = rc == 1;
	return rc < 0 || rc > 1 ? rc : 0;
}

int
local_topic_remove(struct local_env *env, const char *name, struct riffle_error *reterr)
{
	struct change c = {.base.op.apply = apply_remove, .name = name};
	pthread_mutex_lock(&env->lock);
	int busy = find(env, name) != NULL;
	pthread_mutex_unlock(&env->lock);
	if (busy)
		return local_err(reterr, RIFFLE_E_UNAVAILABLE,
			"topic \"%s\" is being read or written", name);
	int rc = local_change_run(env, &c.base, reterr);
	c.base.op = (struct local_op){.apply = apply_purge};
	c.row.number = 1;
	while (rc == RIFFLE_OK && c.row.number == 1)
		rc = local_change_run(env, &c.base, reterr);
	return rc;
}

static int
count_segment(struct local_reader *r, struct local_view *v, struct riffle_stream_info *ret_info)
{
	uint64_t records = v->segment.row.records, bytes;
	int rc = 0;
	if (v->segment.end == LOCAL_HEAD && v->handle != NULL)
		rc = local_segment_stat(r->txn, v->handle->dbi, &records, &bytes);
	ret_info->records += (int64_t)records;
	return rc;
}

static int
count_partition(struct local_env *env, const struct local_topic *t, uint32_t p,
	struct riffle_stream_info *ret_info)
{
	struct local_reader r = {.env = env};
	uint64_t at = 0;
	int rc = 0;
	while (rc == 0 && at != LOCAL_HEAD) {
		struct local_view v;
		rc = local_view_open(&r, t, p, at, 1, &v);
		if (rc != 0)
			break;
		rc = count_segment(&r, &v, ret_info);
		at = v.segment.end;
		local_view_close(&r, &v);
		local_reader_end(&r);
	}
	local_reader_fini(&r);
	return rc;
}

int
local_topic_describe(struct local_env *env, const char *name, struct riffle_stream_info *ret_info,
	struct riffle_error *reterr)
{
	struct local_topic *t;
	int rc = local_topic_open(env, name, &t, reterr);
	if (rc == RIFFLE_E_NOTFOUND)
		return RIFFLE_OK;
	if (rc < 0)
		return rc;
	ret_info->flags = RIFFLE_STREAM_EXISTS;
	if (t->row.flags & LOCAL_COMPACTED)
		ret_info->flags |= RIFFLE_STREAM_COMPACTED;
	ret_info->partitions = t->row.partitions;
	ret_info->retention_ms = t->row.retention_ms > 0 ? t->row.retention_ms : -1;
	ret_info->retention_bytes = t->row.retention_bytes > 0 ? t->row.retention_bytes : -1;
	ret_info->records = 0;
	for (uint32_t p = 0; p < t->row.partitions && rc == 0; p++)
		rc = count_partition(env, t, p, ret_info);
	if (rc != 0)
		rc = local_mdb_err(reterr, rc, "cannot read topic \"%s\"", name);
	local_topic_close(env, t);
	return rc;
}
