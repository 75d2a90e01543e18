/* riffle.positions/1: groups and their positions, for tools. */
#include "local.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A list that is being made; what it points to lies behind it, freed with it. */
struct groups {
	struct riffle_group_list abi;
	struct riffle_group_info *list;
	uint32_t room;
};

static void
release_groups(struct riffle_group_list *abi)
{
	struct groups *g = (struct groups *)(void *)abi;
	for (uint32_t i = 0; i < abi->group_count; i++) {
		free((char *)(uintptr_t)g->list[i].name);
		free((char *)(uintptr_t)g->list[i].member);
	}
	free(g->list);
	free(g);
}

/* Keys are in order, so the same name comes one after the other. */
static void
add_group(struct groups *g, const char *name)
{
	uint32_t n = g->abi.group_count;
	if (n > 0 && strcmp(g->list[n - 1].name, name) == 0)
		return;
	if (n == g->room) {
		g->room = n ? 2 * n : 16;
		struct riffle_group_info *more = local_alloc(g->room * sizeof *more);
		if (n > 0)
			memcpy(more, g->list, n * sizeof *more);
		free(g->list);
		g->list = more;
	}
	g->list[n] =
		(struct riffle_group_info){.size = sizeof *g->list, .name = local_strdup(name)};
	g->abi.group_count++;
}

static int
collect_groups(struct local_env *env, MDB_txn *txn, const char *topic, struct groups *g)
{
	MDB_cursor *c;
	MDB_val key, value;
	int rc = mdb_cursor_open(txn, env->groups, &c);
	if (rc != 0)
		return rc;
	while ((rc = mdb_cursor_get(c, &key, &value, MDB_NEXT)) == 0) {
		const char *name = key.mv_data;
		const char *of = memchr(name, '\0', key.mv_size);
		size_t left = of ? key.mv_size - (size_t)(of + 1 - name) : 0;
		if (left <= 5 || of[left - 4] != '\0')
			continue;
		if (topic == NULL || strcmp(of + 1, topic) == 0)
			add_group(g, name);
	}
	mdb_cursor_close(c);
	return rc == MDB_NOTFOUND ? 0 : rc;
}

static int
groups(void *self, const struct riffle_stream *stream, struct riffle_group_list **ret_list,
	struct riffle_error *reterr)
{
	struct local *l = self;
	MDB_txn *txn;
	char who[160];
	LOCAL_CHECK(l, LOCAL_MAGIC);
	int rc = local_read_begin(l->env, &txn, reterr);
	if (rc < 0)
		return rc;
	struct groups *g = local_alloc(sizeof *g);
	rc = collect_groups(l->env, txn, stream ? stream->topic : NULL, g);
	mdb_txn_abort(txn);
	for (uint32_t i = 0; i < g->abi.group_count; i++)
		if (local_group_holder(l->env, g->list[i].name, who, sizeof who)) {
			g->list[i].flags |= RIFFLE_GROUP_ACTIVE;
			g->list[i].member = local_strdup(who);
		}
	if (rc != 0) {
		release_groups(&g->abi);
		return local_mdb_err(reterr, rc, "cannot read the groups in %s", l->env->dir);
	}
	g->abi.size = sizeof g->abi;
	g->abi.group_size = sizeof *g->list;
	g->abi.groups = g->list;
	g->abi.owner = g;
	g->abi.release = release_groups;
	*ret_list = &g->abi;
	return RIFFLE_OK;
}

struct partitions {
	struct riffle_partition_list abi;
	struct riffle_partition_info *list;
	struct riffle_position *copies; /* by partition, with the metadata */
};

static void
release_partitions(struct riffle_partition_list *abi)
{
	struct partitions *p = (struct partitions *)(void *)abi;
	free(p->copies);
	free(p->list);
	free(p);
}

/* Records and bytes of all segments of a partition. */
static int
measure(struct local_reader *r, const struct local_topic *t, struct riffle_partition_info *info)
{
	uint64_t at = 0;
	while (at != LOCAL_HEAD) {
		struct local_view v;
		int rc = local_view_open(r, t, (uint32_t)info->partition, at, 1, &v);
		if (rc != 0)
			return rc;
		uint64_t records = v.segment.row.records, bytes = v.segment.row.bytes;
		if (v.segment.end == LOCAL_HEAD && v.handle != NULL)
			rc = local_segment_stat(r->txn, v.handle->dbi, &records, &bytes);
		info->records += (int64_t)records;
		info->bytes += (int64_t)bytes;
		at = v.segment.end;
		local_view_close(r, &v);
		local_reader_end(r);
		if (rc != 0)
			return rc;
	}
	return 0;
}

static int
show_partition(struct local_reader *r, const struct local_topic *t, uint32_t n,
	struct riffle_partition_info *info)
{
	uint64_t start, end;
	*info = (struct riffle_partition_info){
		.size = sizeof *info,
		.partition = (int32_t)n,
		.committed = {.partition = (int32_t)n,
			.offset = RIFFLE_OFFSET_NONE,
			.leader_epoch = -1},
	};
	int rc = local_reader_range(r, t, n, &start, &end);
	if (rc != 0)
		return rc;
	info->log_start = (int64_t)start;
	info->log_end = (int64_t)end;
	return measure(r, t, info);
}

static int
show_committed(struct local_env *env, MDB_txn *txn, const struct local_topic *t, const char *group,
	struct partitions *p)
{
	uint32_t n = t->row.partitions;
	struct riffle_position *at = local_alloc(n * sizeof *at);
	int rc = 0;
	for (uint32_t i = 0; i < n && rc == 0; i++) {
		at[i] = p->list[i].committed;
		rc = local_group_get(env, txn, group, t, &at[i]);
		if (rc == MDB_NOTFOUND)
			rc = 0;
	}
	if (rc == 0) {
		p->copies = local_positions_copy(at, n);
		for (uint32_t i = 0; i < n; i++)
			p->list[i].committed = p->copies[i];
	}
	free(at);
	return rc;
}

static int
fill_partitions(
	struct local_env *env, const struct local_topic *t, const char *group, struct partitions *p)
{
	struct local_reader r = {.env = env};
	struct riffle_error ignored;
	int rc = 0;
	for (uint32_t i = 0; i < t->row.partitions && rc == 0; i++)
		rc = show_partition(&r, t, i, &p->list[i]);
	if (rc == 0 && group != NULL) {
		if (local_reader_begin(&r, &ignored) < 0)
			rc = MDB_READERS_FULL;
		else
			rc = show_committed(env, r.txn, t, group, p);
	}
	local_reader_end(&r);
	local_reader_fini(&r);
	return rc;
}

static int
partitions(void *self, const struct riffle_stream *stream, const char *group,
	struct riffle_partition_list **ret_list, struct riffle_error *reterr)
{
	struct local *l = self;
	struct local_topic *t;
	LOCAL_CHECK(l, LOCAL_MAGIC);
	int rc = local_topic_open(l->env, stream->topic, &t, reterr);
	if (rc < 0)
		return rc;
	struct partitions *p = local_alloc(sizeof *p);
	p->list = local_alloc(t->row.partitions * sizeof *p->list);
	rc = fill_partitions(l->env, t, group, p);
	if (rc != 0) {
		release_partitions(&p->abi);
		rc = local_mdb_err(reterr, rc, "cannot read topic \"%s\"", stream->topic);
	} else {
		p->abi = (struct riffle_partition_list){.size = sizeof p->abi,
			.partition_size = sizeof *p->list,
			.partition_count = t->row.partitions,
			.partitions = p->list,
			.owner = p,
			.release = release_partitions};
		*ret_list = &p->abi;
	}
	local_topic_close(l->env, t);
	return rc;
}

struct setting {
	struct local_change base;
	const char *group;
	struct local_topic **topics;
	const struct riffle_position *positions;
	uint32_t count;
};

static int
apply_set(struct local_op *op, struct local_env *env, MDB_txn *txn, int *refused)
{
	struct setting *s = (struct setting *)(void *)op;
	int rc = 0;
	(void)refused;
	for (uint32_t i = 0; i < s->count && rc == 0; i++) {
		const struct riffle_position *at = &s->positions[i];
		const struct local_topic *t = s->topics[at->stream];
		rc = at->offset == RIFFLE_OFFSET_NONE
			     ? local_group_forget(env, txn, s->group, t, at->partition)
			     : local_group_put(env, txn, s->group, t, at);
	}
	return rc;
}

static int
judge(struct local_env *env, struct local_topic **topics, uint32_t topic_count,
	const struct riffle_position *at, struct riffle_error *reterr)
{
	struct local_reader r = {.env = env};
	uint64_t start, end;
	if (at->stream >= topic_count || at->partition < 0 ||
		(uint32_t)at->partition >= topics[at->stream]->row.partitions ||
		at->metadata.len > 4096)
		return local_err(reterr, RIFFLE_E_INVAL,
			"there is no partition %d in stream %u, or its metadata is too long",
			at->partition, at->stream);
	if (at->offset == RIFFLE_OFFSET_NONE)
		return RIFFLE_OK;
	const struct local_topic *t = topics[at->stream];
	int rc = local_reader_range(&r, t, (uint32_t)at->partition, &start, &end);
	local_reader_fini(&r);
	if (rc != 0)
		return local_mdb_err(reterr, rc, "cannot read topic \"%s\"", t->name);
	if (at->offset < (int64_t)start || at->offset > (int64_t)end)
		return local_err(reterr, RIFFLE_E_INVAL,
			"topic \"%s\", partition %d has offsets %llu to %llu, not %lld", t->name,
			at->partition, (unsigned long long)start, (unsigned long long)end,
			(long long)at->offset);
	return RIFFLE_OK;
}

/* The group's lock is held while they are set, so nobody begins to read as it meanwhile. */
static int
set_locked(
	struct local_env *env, struct setting *s, uint32_t topic_count, struct riffle_error *reterr)
{
	struct local_group *lock;
	int rc = local_group_open(env, s->group, "positions being set", &lock, reterr);
	if (rc < 0)
		return rc;
	for (uint32_t i = 0; i < s->count && rc == RIFFLE_OK; i++)
		rc = judge(env, s->topics, topic_count, &s->positions[i], reterr);
	if (rc == RIFFLE_OK)
		rc = local_change_run(env, &s->base, reterr);
	local_group_close(lock);
	return rc;
}

static int
set(void *self, const char *group, const struct riffle_stream *const *streams,
	uint32_t stream_count, const struct riffle_position *positions, uint32_t count,
	struct riffle_error *reterr)
{
	struct local *l = self;
	LOCAL_CHECK(l, LOCAL_MAGIC);
	struct setting s = {.base.op.apply = apply_set,
		.group = group,
		.topics = local_alloc((stream_count + 1) * sizeof *s.topics),
		.positions = positions,
		.count = count};
	int rc = RIFFLE_OK;
	for (uint32_t i = 0; i < stream_count && rc == RIFFLE_OK; i++)
		rc = local_topic_open(l->env, streams[i]->topic, &s.topics[i], reterr);
	if (rc == RIFFLE_OK)
		rc = set_locked(l->env, &s, stream_count, reterr);
	for (uint32_t i = 0; i < stream_count; i++)
		local_topic_close(l->env, s.topics[i]);
	free(s.topics);
	return rc;
}

static int
offset_at(void *self, const struct riffle_stream *stream, int32_t partition, int64_t time_ms,
	int64_t *ret_offset, struct riffle_error *reterr)
{
	struct local *l = self;
	struct local_topic *t;
	uint64_t offset;
	LOCAL_CHECK(l, LOCAL_MAGIC);
	struct local_reader r = {.env = l->env};
	int rc = local_topic_open(l->env, stream->topic, &t, reterr);
	if (rc < 0)
		return rc;
	if (partition < 0 || (uint32_t)partition >= t->row.partitions) {
		rc = local_err(reterr, RIFFLE_E_NOTFOUND,
			"topic \"%s\" has no partition %d, only %u", t->name, partition,
			t->row.partitions);
	} else {
		rc = local_reader_offset_at(&r, t, (uint32_t)partition, time_ms, &offset);
		if (rc != 0)
			rc = local_mdb_err(reterr, rc, "cannot read topic \"%s\"", t->name);
	}
	local_reader_fini(&r);
	local_topic_close(l->env, t);
	if (rc == RIFFLE_OK)
		*ret_offset = (int64_t)offset;
	return rc;
}

const struct riffle_positions local_positions = {
	.size = sizeof local_positions,
	.groups = groups,
	.partitions = partitions,
	.set = set,
	.offset_at = offset_at,
};
