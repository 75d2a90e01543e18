/* riffle.positions/1: what groups have committed in a topic, as the cluster tells it, and moving it. */
#include "kafka.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef rd_kafka_topic_partition_list_t tpl;

static int
is_active(rd_kafka_consumer_group_state_t state)
{
	return state == RD_KAFKA_CONSUMER_GROUP_STATE_STABLE ||
	       state == RD_KAFKA_CONSUMER_GROUP_STATE_PREPARING_REBALANCE ||
	       state == RD_KAFKA_CONSUMER_GROUP_STATE_COMPLETING_REBALANCE;
}

/* All partitions of a topic. */
static int
list_partitions(struct kafka *k, const char *topic, tpl **ret, struct riffle_error *reterr)
{
	uint32_t count;
	int rc = kafka_partitions(k->admin, topic, k->request_timeout_ms, &count, reterr);
	if (rc < 0)
		return rc;
	*ret = rd_kafka_topic_partition_list_new((int)count);
	for (uint32_t i = 0; i < count; i++)
		rd_kafka_topic_partition_list_add(*ret, topic, (int32_t)i);
	return RIFFLE_OK;
}

/* The result of a request about one group: what it says of each partition, the caller's. */
static int
take_group(const rd_kafka_group_result_t *const *results, size_t count, const char *what,
	const char *group, tpl **ret, struct riffle_error *reterr)
{
	const rd_kafka_error_t *error = count == 1 ? rd_kafka_group_result_error(results[0]) : NULL;
	if (error != NULL)
		return kafka_rk_err(
			reterr, rd_kafka_error_code(error), "cannot %s \"%s\"", what, group);
	const tpl *list = count == 1 ? rd_kafka_group_result_partitions(results[0]) : NULL;
	for (int i = 0; list != NULL && i < list->cnt; i++)
		if (list->elems[i].err != RD_KAFKA_RESP_ERR_NO_ERROR)
			return kafka_rk_err(
				reterr, list->elems[i].err, "cannot %s \"%s\"", what, group);
	if (ret != NULL)
		*ret = list ? rd_kafka_topic_partition_list_copy(list)
			    : rd_kafka_topic_partition_list_new(0);
	return RIFFLE_OK;
}

/* What the group has for the partitions of a list; an offset below 0 is none. */
static int
ask_committed(
	struct kafka *k, const char *group, const tpl *of, tpl **ret, struct riffle_error *reterr)
{
	static const char what[] = "read the positions of group";
	struct kafka_request ask;
	size_t n;
	rd_kafka_ListConsumerGroupOffsets_t *r = rd_kafka_ListConsumerGroupOffsets_new(group, of);
	kafka_request_begin(&ask, k, RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS);
	rd_kafka_ListConsumerGroupOffsets(k->admin, &r, 1, ask.options, ask.queue);
	int rc = kafka_request_await(&ask, what, group, reterr);
	if (rc == RIFFLE_OK) {
		const rd_kafka_group_result_t **all =
			rd_kafka_ListConsumerGroupOffsets_result_groups(
				rd_kafka_event_ListConsumerGroupOffsets_result(ask.event), &n);
		rc = take_group(all, n, what, group, ret, reterr);
	}
	kafka_request_end(&ask);
	rd_kafka_ListConsumerGroupOffsets_destroy(r);
	return rc;
}

/* The first member of a group in words, "" where it has none. */
static int
ask_member(struct kafka *k, const char *group, char *ret, size_t room, struct riffle_error *reterr)
{
	struct kafka_request ask;
	size_t n;
	const char *groups[] = {group};
	kafka_request_begin(&ask, k, RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS);
	ret[0] = '\0';
	rd_kafka_DescribeConsumerGroups(k->admin, groups, 1, ask.options, ask.queue);
	int rc = kafka_request_await(&ask, "describe group", group, reterr);
	if (rc == RIFFLE_OK) {
		const rd_kafka_ConsumerGroupDescription_t **all =
			rd_kafka_DescribeConsumerGroups_result_groups(
				rd_kafka_event_DescribeConsumerGroups_result(ask.event), &n);
		const rd_kafka_error_t *error =
			n == 1 ? rd_kafka_ConsumerGroupDescription_error(all[0]) : NULL;
		if (error != NULL)
			rc = kafka_rk_err(reterr, rd_kafka_error_code(error),
				"cannot describe group \"%s\"", group);
		else if (n == 1 && rd_kafka_ConsumerGroupDescription_member_count(all[0]) > 0) {
			const rd_kafka_MemberDescription_t *m =
				rd_kafka_ConsumerGroupDescription_member(all[0], 0);
			const char *instance = rd_kafka_MemberDescription_group_instance_id(m);
			snprintf(ret, room, "client %.60s on %.60s%s",
				rd_kafka_MemberDescription_client_id(m),
				rd_kafka_MemberDescription_host(m),
				instance ? ", whose place is kept for session.timeout.ms when it "
					   "has ended"
					 : "");
		}
	}
	kafka_request_end(&ask);
	return rc;
}

struct groups {
	struct riffle_group_list list;
	struct riffle_group_info *infos;
};

static void
release_groups(struct riffle_group_list *list)
{
	struct groups *g = list->owner;
	for (uint32_t i = 0; i < list->group_count; i++) {
		free((void *)(uintptr_t)g->infos[i].name);
		free((void *)(uintptr_t)g->infos[i].member);
	}
	free(g->infos);
	free(g);
}

static void *
copy_text(const char *text)
{
	return kafka_copy(text, strlen(text) + 1);
}

static int
by_name(const void *a, const void *b)
{
	const struct riffle_group_info *x = a, *y = b;
	return strcmp(x->name, y->name);
}

/* All that the brokers know of. One that does not answer would be missing without a word: that is a failure. */
static int
take_names(struct groups *g, rd_kafka_event_t *ev, struct riffle_error *reterr)
{
	size_t n, errors;
	const rd_kafka_ListConsumerGroups_result_t *all =
		rd_kafka_event_ListConsumerGroups_result(ev);
	const rd_kafka_error_t **why = rd_kafka_ListConsumerGroups_result_errors(all, &errors);
	const rd_kafka_ConsumerGroupListing_t **names =
		rd_kafka_ListConsumerGroups_result_valid(all, &n);
	if (errors > 0)
		return kafka_rk_err(reterr, rd_kafka_error_code(why[0]), "cannot list groups");
	g->infos = kafka_alloc((n + 1) * sizeof *g->infos);
	for (size_t i = 0; i < n; i++) {
		struct riffle_group_info *to = &g->infos[g->list.group_count++];
		to->size = sizeof *to;
		to->name = copy_text(rd_kafka_ConsumerGroupListing_group_id(names[i]));
		if (is_active(rd_kafka_ConsumerGroupListing_state(names[i])))
			to->flags |= RIFFLE_GROUP_ACTIVE;
	}
	qsort(g->infos, n, sizeof *g->infos, by_name);
	return RIFFLE_OK;
}

static int
list_groups(struct kafka *k, struct groups *g, struct riffle_error *reterr)
{
	struct kafka_request ask;
	kafka_request_begin(&ask, k, RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPS);
	rd_kafka_ListConsumerGroups(k->admin, ask.options, ask.queue);
	int rc = kafka_request_await(&ask, "list the groups of", k->servers, reterr);
	if (rc == RIFFLE_OK) {
		rc = take_names(g, ask.event, reterr);
	}
	kafka_request_end(&ask);
	return rc;
}

static int
has_position(
	struct kafka *k, const char *group, const tpl *of, int *ret, struct riffle_error *reterr)
{
	tpl *list;
	int rc = ask_committed(k, group, of, &list, reterr);
	*ret = 0;
	if (rc < 0)
		return rc;
	for (int i = 0; i < list->cnt; i++)
		*ret |= list->elems[i].offset >= 0;
	rd_kafka_topic_partition_list_destroy(list);
	return RIFFLE_OK;
}

/* Those without a position in the stream go. */
static int
keep_readers(struct kafka *k, struct groups *g, const char *topic, struct riffle_error *reterr)
{
	tpl *of;
	uint32_t count = g->list.group_count;
	int rc = list_partitions(k, topic, &of, reterr);
	if (rc < 0)
		return rc;
	g->list.group_count = 0;
	for (uint32_t i = 0; i < count; i++) {
		int reads = 0;
		if (rc == RIFFLE_OK)
			rc = has_position(k, g->infos[i].name, of, &reads, reterr);
		if (reads)
			g->infos[g->list.group_count++] = g->infos[i];
		else
			free((void *)(uintptr_t)g->infos[i].name);
	}
	rd_kafka_topic_partition_list_destroy(of);
	return rc;
}

static int
name_members(struct kafka *k, struct groups *g, struct riffle_error *reterr)
{
	char member[300];
	int rc = RIFFLE_OK;
	for (uint32_t i = 0; i < g->list.group_count && rc == RIFFLE_OK; i++) {
		if (!(g->infos[i].flags & RIFFLE_GROUP_ACTIVE))
			continue;
		rc = ask_member(k, g->infos[i].name, member, sizeof member, reterr);
		if (rc == RIFFLE_OK && member[0] != '\0')
			g->infos[i].member = copy_text(member);
	}
	return rc;
}

static int
groups(void *self, const struct riffle_stream *stream, struct riffle_group_list **ret_list,
	struct riffle_error *reterr)
{
	struct kafka *k = self;
	KAFKA_CHECK(k, KAFKA_MAGIC);
	int rc = kafka_admin_open(k, reterr);
	if (rc < 0)
		return rc;
	struct groups *g = kafka_alloc(sizeof *g);
	g->list = (struct riffle_group_list){.size = sizeof g->list,
		.group_size = sizeof *g->infos,
		.owner = g,
		.release = release_groups};
	rc = list_groups(k, g, reterr);
	if (rc == RIFFLE_OK && stream != NULL)
		rc = keep_readers(k, g, stream->topic, reterr);
	if (rc == RIFFLE_OK)
		rc = name_members(k, g, reterr);
	if (rc < 0) {
		release_groups(&g->list);
		return kafka_admin_explain(k, rc, reterr);
	}
	g->list.groups = g->infos;
	*ret_list = &g->list;
	return RIFFLE_OK;
}

/* Where the logs of a topic begin and end, and what the group has, partition by partition. */
struct stand {
	tpl *low, *high, *committed; /* committed NULL = of no group */
};

static void
stand_free(struct stand *s)
{
	tpl *const all[] = {s->low, s->high, s->committed};
	for (size_t i = 0; i < 3; i++)
		if (all[i] != NULL)
			rd_kafka_topic_partition_list_destroy(all[i]);
}

static int
stand_of(struct kafka *k, const char *topic, const char *group, struct stand *ret,
	struct riffle_error *reterr)
{
	*ret = (struct stand){.low = NULL};
	int rc = list_partitions(k, topic, &ret->low, reterr);
	if (rc < 0)
		return rc;
	ret->high = rd_kafka_topic_partition_list_copy(ret->low);
	if (group != NULL)
		rc = ask_committed(k, group, ret->low, &ret->committed, reterr);
	if (rc == RIFFLE_OK)
		rc = kafka_offsets(k->admin, ret->low, RD_KAFKA_OFFSET_BEGINNING,
			k->request_timeout_ms, reterr);
	if (rc == RIFFLE_OK)
		rc = kafka_offsets(
			k->admin, ret->high, RD_KAFKA_OFFSET_END, k->request_timeout_ms, reterr);
	if (rc < 0)
		stand_free(ret);
	return rc;
}

struct partitions {
	struct riffle_partition_list list;
	struct stand stand; /* the metadata of positions lies here */
	struct riffle_partition_info infos[];
};

static void
release_partitions(struct riffle_partition_list *list)
{
	struct partitions *p = list->owner;
	stand_free(&p->stand);
	free(p);
}

static void
take_position(const tpl *committed, struct riffle_partition_info *to)
{
	to->committed = (struct riffle_position){
		.partition = to->partition, .offset = RIFFLE_OFFSET_NONE, .leader_epoch = -1};
	for (int i = 0; committed != NULL && i < committed->cnt; i++) {
		const rd_kafka_topic_partition_t *at = &committed->elems[i];
		if (at->partition != to->partition || at->offset < 0)
			continue;
		to->committed.offset = at->offset;
		to->committed.metadata =
			(struct riffle_bytes){at->metadata, at->metadata ? at->metadata_size : 0};
	}
}

static int
partitions(void *self, const struct riffle_stream *stream, const char *group,
	struct riffle_partition_list **ret_list, struct riffle_error *reterr)
{
	struct kafka *k = self;
	struct stand s;
	KAFKA_CHECK(k, KAFKA_MAGIC);
	int rc = kafka_admin_open(k, reterr);
	if (rc == RIFFLE_OK)
		rc = stand_of(k, stream->topic, group, &s, reterr);
	if (rc < 0)
		return kafka_admin_explain(k, rc, reterr);
	uint32_t count = (uint32_t)s.low->cnt;
	struct partitions *p = kafka_alloc(sizeof *p + count * sizeof p->infos[0]);
	p->stand = s;
	p->list = (struct riffle_partition_list){.size = sizeof p->list,
		.partition_size = sizeof p->infos[0],
		.partition_count = count,
		.partitions = p->infos,
		.owner = p,
		.release = release_partitions};
	for (uint32_t i = 0; i < count; i++) {
		/* Offsets have gaps, after compaction and by transactions: how many records lie between is not known. */
		p->infos[i] = (struct riffle_partition_info){.size = sizeof p->infos[i],
			.partition = s.low->elems[i].partition,
			.log_start = s.low->elems[i].offset,
			.log_end = s.high->elems[i].offset,
			.records = -1,
			.bytes = -1};
		take_position(s.committed, &p->infos[i]);
	}
	*ret_list = &p->list;
	return RIFFLE_OK;
}

/* The offsets that are asked for lie within the log. */
static int
check_offsets(struct kafka *k, const struct riffle_stream *stream, uint32_t index,
	const struct riffle_position *positions, uint32_t count, struct riffle_error *reterr)
{
	struct stand s;
	int rc = stand_of(k, stream->topic, NULL, &s, reterr);
	if (rc < 0)
		return rc;
	for (uint32_t i = 0; i < count && rc == RIFFLE_OK; i++) {
		const struct riffle_position *at = &positions[i];
		if (at->stream != index)
			continue;
		if (at->partition < 0 || at->partition >= s.low->cnt) {
			rc = kafka_err(reterr, RIFFLE_E_INVAL, "topic \"%s\" has no partition %d",
				stream->topic, at->partition);
			break;
		}
		int64_t first = s.low->elems[at->partition].offset;
		int64_t end = s.high->elems[at->partition].offset;
		if (at->offset != RIFFLE_OFFSET_NONE && (at->offset < first || at->offset > end))
			rc = kafka_err(reterr, RIFFLE_E_INVAL,
				"topic \"%s\", partition %d has offsets %lld to %lld, not %lld",
				stream->topic, at->partition, (long long)first, (long long)end,
				(long long)at->offset);
	}
	stand_free(&s);
	return rc;
}

static const char moving[] = "move the positions of group";

static int
alter(struct kafka *k, const char *group, const tpl *list, struct riffle_error *reterr)
{
	struct kafka_request ask;
	size_t n;
	rd_kafka_AlterConsumerGroupOffsets_t *r =
		rd_kafka_AlterConsumerGroupOffsets_new(group, list);
	kafka_request_begin(&ask, k, RD_KAFKA_ADMIN_OP_ALTERCONSUMERGROUPOFFSETS);
	rd_kafka_AlterConsumerGroupOffsets(k->admin, &r, 1, ask.options, ask.queue);
	int rc = kafka_request_await(&ask, moving, group, reterr);
	if (rc == RIFFLE_OK) {
		const rd_kafka_group_result_t **all =
			rd_kafka_AlterConsumerGroupOffsets_result_groups(
				rd_kafka_event_AlterConsumerGroupOffsets_result(ask.event), &n);
		rc = take_group(all, n, moving, group, NULL, reterr);
	}
	kafka_request_end(&ask);
	rd_kafka_AlterConsumerGroupOffsets_destroy(r);
	return rc;
}

static int
forget(struct kafka *k, const char *group, const tpl *list, struct riffle_error *reterr)
{
	struct kafka_request ask;
	size_t n;
	rd_kafka_DeleteConsumerGroupOffsets_t *r =
		rd_kafka_DeleteConsumerGroupOffsets_new(group, list);
	kafka_request_begin(&ask, k, RD_KAFKA_ADMIN_OP_DELETECONSUMERGROUPOFFSETS);
	rd_kafka_DeleteConsumerGroupOffsets(k->admin, &r, 1, ask.options, ask.queue);
	int rc = kafka_request_await(&ask, moving, group, reterr);
	if (rc == RIFFLE_OK) {
		const rd_kafka_group_result_t **all =
			rd_kafka_DeleteConsumerGroupOffsets_result_groups(
				rd_kafka_event_DeleteConsumerGroupOffsets_result(ask.event), &n);
		rc = take_group(all, n, moving, group, NULL, reterr);
	}
	kafka_request_end(&ask);
	rd_kafka_DeleteConsumerGroupOffsets_destroy(r);
	return rc;
}

/* The broker refuses it as well, without a name. */
static int
check_idle(struct kafka *k, const char *group, struct riffle_error *reterr)
{
	char member[300];
	int rc = ask_member(k, group, member, sizeof member, reterr);
	if (rc == RIFFLE_OK && member[0] != '\0')
		rc = kafka_err(reterr, RIFFLE_E_UNAVAILABLE, "group \"%.80s\" is in use by %.140s",
			group, member);
	return rc;
}

static void
add_position(tpl *list, const char *topic, const struct riffle_position *at)
{
	rd_kafka_topic_partition_t *to =
		rd_kafka_topic_partition_list_add(list, topic, at->partition);
	to->offset = at->offset;
	if (at->metadata.ptr == NULL || at->metadata.len == 0)
		return;
	to->metadata = kafka_copy(at->metadata.ptr, at->metadata.len);
	to->metadata_size = at->metadata.len;
}

/* One request each: the broker takes all of its positions or none. */
static int
move(struct kafka *k, const char *group, const tpl *set, const tpl *gone,
	struct riffle_error *reterr)
{
	if (set->cnt > 0 && gone->cnt > 0)
		return kafka_err(reterr, RIFFLE_E_UNSUPPORTED,
			"positions of group \"%s\" cannot be set and forgotten in one go", group);
	if (gone->cnt > 0)
		return forget(k, group, gone, reterr);
	return set->cnt > 0 ? alter(k, group, set, reterr) : RIFFLE_OK;
}

static int
set(void *self, const char *group, const struct riffle_stream *const *streams,
	uint32_t stream_count, const struct riffle_position *positions, uint32_t count,
	struct riffle_error *reterr)
{
	struct kafka *k = self;
	KAFKA_CHECK(k, KAFKA_MAGIC);
	for (uint32_t i = 0; i < count; i++)
		if (positions[i].stream >= stream_count)
			return kafka_err(reterr, RIFFLE_E_INVAL, "there is no stream %u",
				positions[i].stream);
	int rc = kafka_admin_open(k, reterr);
	for (uint32_t i = 0; i < stream_count && rc == RIFFLE_OK; i++)
		rc = check_offsets(k, streams[i], i, positions, count, reterr);
	if (rc == RIFFLE_OK)
		rc = check_idle(k, group, reterr);
	/* That somebody reads is no trouble of the connection. */
	if (rc < 0)
		return rc;
	tpl *there = rd_kafka_topic_partition_list_new((int)count);
	tpl *gone = rd_kafka_topic_partition_list_new((int)count);
	for (uint32_t i = 0; i < count; i++)
		add_position(positions[i].offset == RIFFLE_OFFSET_NONE ? gone : there,
			streams[positions[i].stream]->topic, &positions[i]);
	rc = move(k, group, there, gone, reterr);
	rd_kafka_topic_partition_list_destroy(there);
	rd_kafka_topic_partition_list_destroy(gone);
	return rc;
}

static int
offset_at(void *self, const struct riffle_stream *stream, int32_t partition, int64_t time_ms,
	int64_t *ret_offset, struct riffle_error *reterr)
{
	struct kafka *k = self;
	KAFKA_CHECK(k, KAFKA_MAGIC);
	tpl *all;
	int rc = kafka_admin_open(k, reterr);
	if (rc == RIFFLE_OK)
		rc = list_partitions(k, stream->topic, &all, reterr);
	if (rc < 0)
		return kafka_admin_explain(k, rc, reterr);
	tpl *one = rd_kafka_topic_partition_list_new(1);
	rd_kafka_topic_partition_list_add(one, stream->topic, partition);
	if (partition < 0 || partition >= all->cnt)
		rc = kafka_err(reterr, RIFFLE_E_NOTFOUND, "topic \"%s\" has no partition %d",
			stream->topic, partition);
	/* Below 0 it would be a word of librdkafka's. */
	if (rc == RIFFLE_OK)
		rc = kafka_offsets(
			k->admin, one, time_ms < 0 ? 0 : time_ms, k->request_timeout_ms, reterr);
	if (rc == RIFFLE_OK && one->elems[0].offset < 0)
		rc = kafka_offsets(
			k->admin, one, RD_KAFKA_OFFSET_END, k->request_timeout_ms, reterr);
	*ret_offset = one->elems[0].offset;
	rd_kafka_topic_partition_list_destroy(one);
	rd_kafka_topic_partition_list_destroy(all);
	return kafka_admin_explain(k, rc, reterr);
}

const struct riffle_positions kafka_positions = {
	.size = sizeof kafka_positions,
	.groups = groups,
	.partitions = partitions,
	.set = set,
	.offset_at = offset_at,
};
