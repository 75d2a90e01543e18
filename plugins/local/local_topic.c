/*
 * Topics: found, made, described, removed. LMDB wants database handles opened by one transaction at a
 * time, so all of it happens under the environment's lock.
 */
#include "local.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_BYTES 320

void
local_put_u64(unsigned char *to, uint64_t v)
{
	for (int i = 7; i >= 0; i--, v >>= 8)
		to[i] = (unsigned char)v;
}

uint64_t
local_get_u64(const unsigned char *from)
{
	uint64_t v = 0;
	for (int i = 0; i < 8; i++)
		v = v << 8 | from[i];
	return v;
}

/* MDB_val has no const; LMDB does not write through what it is given as a key. */
static MDB_val
text_val(const char *s)
{
	return (MDB_val){strlen(s), (void *)(uintptr_t)s};
}

static int
read_count(struct local_env *env, MDB_txn *txn, const char *name, uint32_t *ret_count)
{
	MDB_val key = text_val(name), value;
	int rc = mdb_get(txn, env->streams, &key, &value);
	if (rc != 0)
		return rc;
	if (value.mv_size != sizeof *ret_count)
		return MDB_CORRUPTED;
	memcpy(ret_count, value.mv_data, sizeof *ret_count);
	return *ret_count == 0 ? MDB_CORRUPTED : 0;
}

static int
open_partitions(MDB_txn *txn, const char *name, struct local_partition *list, uint32_t count,
	unsigned flags)
{
	char db[NAME_BYTES];
	int rc = 0;
	for (uint32_t i = 0; i < count && rc == 0; i++) {
		snprintf(db, sizeof db, "t/%s/%u", name, i);
		rc = mdb_dbi_open(txn, db, flags, &list[i].dbi);
	}
	return rc;
}

static struct local_topic *
find(struct local_env *env, const char *name)
{
	struct local_topic *t = env->topics;
	while (t != NULL && strcmp(t->name, name) != 0)
		t = t->next;
	return t;
}

static int
load(struct local_env *env, const char *name, struct local_topic **ret_topic,
	struct riffle_error *reterr)
{
	MDB_txn *txn;
	uint32_t count = 0;
	pthread_mutex_lock(&env->opening);
	int rc = local_read_begin(env, &txn, reterr);
	if (rc < 0) {
		pthread_mutex_unlock(&env->opening);
		return rc;
	}
	rc = read_count(env, txn, name, &count);
	struct local_partition *list = rc == 0 ? local_alloc(count * sizeof *list) : NULL;
	if (rc == 0)
		rc = open_partitions(txn, name, list, count, 0);
	/* Handles opened here are the environment's only once the transaction ended well. */
	if (rc == 0)
		rc = mdb_txn_commit(txn);
	else
		mdb_txn_abort(txn);
	pthread_mutex_unlock(&env->opening);
	if (rc != 0) {
		free(list);
		return rc == MDB_NOTFOUND
			       ? local_err(reterr, RIFFLE_E_NOTFOUND,
					 "there is no topic \"%s\" in %s", name, env->dir)
			       : local_mdb_err(reterr, rc, "cannot open topic \"%s\"", name);
	}
	struct local_topic *t = local_alloc(sizeof *t);
	*t = (struct local_topic){.magic = LOCAL_TOPIC_MAGIC,
		.name = local_strdup(name),
		.partition_count = count,
		.partitions = list,
		.next = env->topics};
	env->topics = t;
	*ret_topic = t;
	return RIFFLE_OK;
}

int
local_topic_open(struct local_env *env, const char *name, struct local_topic **ret_topic,
	struct riffle_error *reterr)
{
	int rc = RIFFLE_OK;
	pthread_mutex_lock(&env->lock);
	struct local_topic *t = find(env, name);
	if (t == NULL)
		rc = load(env, name, &t, reterr);
	if (rc == RIFFLE_OK) {
		t->refs++;
		*ret_topic = t;
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
	t->refs--;
	pthread_mutex_unlock(&env->lock);
}

void
local_topics_free(struct local_env *env)
{
	while (env->topics != NULL) {
		struct local_topic *t = env->topics;
		env->topics = t->next;
		t->magic = 0;
		free(t->partitions);
		free(t->name);
		free(t);
	}
}

/* Control operations wait for the writer; the waiter owns the operation. */
struct change {
	struct local_op op;
	const char *name;
	uint32_t partitions;
	pthread_mutex_t lock;
	pthread_cond_t done;
	int is_done;
};

static void
change_done(struct local_op *op)
{
	struct change *c = (struct change *)(void *)op;
	pthread_mutex_lock(&c->lock);
	c->is_done = 1;
	pthread_cond_signal(&c->done);
	pthread_mutex_unlock(&c->lock);
}

static int
change_run(struct local_env *env, struct change *c, struct riffle_error *reterr)
{
	c->op.done = change_done;
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->done, NULL);
	local_writer_post(env, &c->op);
	pthread_mutex_lock(&c->lock);
	while (!c->is_done)
		pthread_cond_wait(&c->done, &c->lock);
	pthread_mutex_unlock(&c->lock);
	pthread_cond_destroy(&c->done);
	pthread_mutex_destroy(&c->lock);
	if (c->op.error.code == RIFFLE_OK)
		return RIFFLE_OK;
	*reterr = c->op.error;
	return reterr->code;
}

static int
apply_provision(struct local_op *op, struct local_env *env, MDB_txn *txn, int *refused)
{
	struct change *c = (struct change *)(void *)op;
	uint32_t held;
	int rc = read_count(env, txn, c->name, &held);
	if (rc == 0 && c->partitions != 0 && held != c->partitions) {
		*refused = 1;
		return local_err(&op->error, RIFFLE_E_CONFIG,
			"topic \"%s\" exists with %u partitions, %u are configured", c->name, held,
			c->partitions);
	}
	if (rc != MDB_NOTFOUND)
		return rc;
	uint32_t count = c->partitions ? c->partitions : 1;
	MDB_val key = text_val(c->name), value = {sizeof count, &count};
	struct local_partition *list = local_alloc(count * sizeof *list);
	local_writer_opens(env);
	rc = open_partitions(txn, c->name, list, count, MDB_CREATE);
	free(list);
	if (rc == MDB_DBS_FULL) {
		*refused = 1;
		return local_err(&op->error, RIFFLE_E_CONFIG,
			"topic \"%s\" with %u partitions is more than max-streams allows", c->name,
			count);
	}
	return rc != 0 ? rc : mdb_put(txn, env->streams, &key, &value, 0);
}

int
local_topic_provision(
	struct local_env *env, const struct riffle_stream *stream, struct riffle_error *reterr)
{
	struct change c = {.op = {.apply = apply_provision},
		.name = stream->topic,
		.partitions = stream->partitions};
	if (strlen(stream->topic) > 255)
		return local_err(reterr, RIFFLE_E_CONFIG, "a topic's name has at most 255 bytes");
	return change_run(env, &c, reterr);
}

static int
apply_remove(struct local_op *op, struct local_env *env, MDB_txn *txn, int *refused)
{
	struct change *c = (struct change *)(void *)op;
	uint32_t count;
	int rc = read_count(env, txn, c->name, &count);
	if (rc == MDB_NOTFOUND) {
		*refused = 1;
		return local_err(
			&op->error, RIFFLE_E_NOTFOUND, "there is no topic \"%s\"", c->name);
	}
	if (rc != 0)
		return rc;
	struct local_partition *list = local_alloc(count * sizeof *list);
	MDB_val key = text_val(c->name);
	local_writer_opens(env);
	rc = open_partitions(txn, c->name, list, count, 0);
	for (uint32_t i = 0; i < count && rc == 0; i++)
		rc = mdb_drop(txn, list[i].dbi, 1);
	free(list);
	return rc != 0 ? rc : mdb_del(txn, env->streams, &key, NULL);
}

int
local_topic_remove(struct local_env *env, const char *name, struct riffle_error *reterr)
{
	struct change c = {.op = {.apply = apply_remove}, .name = name};
	pthread_mutex_lock(&env->lock);
	struct local_topic *t = find(env, name);
	int busy = t != NULL && t->refs > 0;
	if (t != NULL && !busy) {
		struct local_topic **at = &env->topics;
		while (*at != t)
			at = &(*at)->next;
		*at = t->next;
		t->magic = 0;
		free(t->partitions);
		free(t->name);
		free(t);
	}
	pthread_mutex_unlock(&env->lock);
	if (busy)
		return local_err(reterr, RIFFLE_E_UNAVAILABLE,
			"topic \"%s\" is being read or written", name);
	return change_run(env, &c, reterr);
}

int
local_partition_range(MDB_txn *txn, MDB_dbi dbi, uint64_t *ret_start, uint64_t *ret_end)
{
	MDB_cursor *cursor;
	MDB_val key, value;
	*ret_start = *ret_end = 0;
	int rc = mdb_cursor_open(txn, dbi, &cursor);
	if (rc != 0)
		return rc;
	rc = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);
	if (rc == 0)
		*ret_start = local_get_u64(key.mv_data);
	if (rc == 0)
		rc = mdb_cursor_get(cursor, &key, &value, MDB_LAST);
	if (rc == 0)
		*ret_end = local_get_u64(key.mv_data) + 1;
	mdb_cursor_close(cursor);
	return rc == MDB_NOTFOUND ? 0 : rc;
}

int
local_topic_describe(struct local_env *env, const char *name, struct riffle_stream_info *ret_info,
	struct riffle_error *reterr)
{
	struct local_topic *t;
	MDB_txn *txn;
	int rc = local_topic_open(env, name, &t, reterr);
	if (rc == RIFFLE_E_NOTFOUND)
		return RIFFLE_OK;
	if (rc == RIFFLE_OK)
		rc = local_read_begin(env, &txn, reterr);
	if (rc < 0)
		return rc;
	ret_info->flags = RIFFLE_STREAM_EXISTS;
	ret_info->partitions = t->partition_count;
	ret_info->retention_ms = ret_info->retention_bytes = -1;
	ret_info->records = 0;
	for (uint32_t i = 0; i < t->partition_count; i++) {
		uint64_t start, end;
		if (local_partition_range(txn, t->partitions[i].dbi, &start, &end) == 0)
			ret_info->records += (int64_t)(end - start);
	}
	mdb_txn_abort(txn);
	local_topic_close(env, t);
	return RIFFLE_OK;
}
