/* Topics: made, described, removed. These wait for the broker, as long as request-timeout. */
#include "kafka.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What broke a connection, in librdkafka's words: the answer to a request only says that it broke. */
static void
on_error(rd_kafka_t *rk, int code, const char *words, void *opaque)
{
	struct kafka *k = ((struct kafka_client *)opaque)->user;
	(void)rk;
	if (code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN)
		return;
	uint32_t flags;
	k->admin_trouble.code = kafka_code_of((rd_kafka_resp_err_t)code, &flags);
	snprintf(k->admin_trouble.text, sizeof k->admin_trouble.text, "%s", words);
}

int
kafka_admin_explain(struct kafka *k, int rc, struct riffle_error *err)
{
	if (rc != RIFFLE_E_UNAVAILABLE)
		return rc;
	char text[RIFFLE_ERROR_TEXT];
	uint32_t flags = err->flags;
	rd_kafka_poll(k->admin, 0);
	snprintf(text, sizeof text, "%.100s", err->text);
	if (k->admin_trouble.code != RIFFLE_OK)
		kafka_err(err, rc, "%s: %.140s", text, k->admin_trouble.text);
	else
		kafka_err(err, rc, "%s (bootstrap-servers %.100s)", text, k->servers);
	k->admin_trouble.code = RIFFLE_OK;
	err->flags = flags;
	return rc;
}

int
kafka_admin_open(struct kafka *k, struct riffle_error *reterr)
{
	rd_kafka_conf_t *conf;
	if (k->admin != NULL)
		return RIFFLE_OK;
	/* A consumer, because a producer that asks for a missing topic makes it. */
	int rc = kafka_conf_create(&k->client, KAFKA_CONSUMER, &conf, reterr);
	if (rc < 0)
		return rc;
	rc = kafka_conf_set(conf, "statistics.interval.ms", "0", reterr);
	if (rc < 0) {
		rd_kafka_conf_destroy(conf);
		return rc;
	}
	rd_kafka_conf_set_error_cb(conf, on_error);
	return kafka_client_create(KAFKA_CONSUMER, conf, &k->admin, reterr);
}

int
kafka_partitions(rd_kafka_t *rk, const char *topic, int timeout_ms, uint32_t *ret_count,
	struct riffle_error *reterr)
{
	const struct rd_kafka_metadata *md;
	rd_kafka_topic_t *rkt = rd_kafka_topic_new(rk, topic, NULL);
	if (rkt == NULL)
		return kafka_rk_err(
			reterr, rd_kafka_last_error(), "cannot ask for topic \"%s\"", topic);
	rd_kafka_resp_err_t e = rd_kafka_metadata(rk, 0, rkt, &md, timeout_ms);
	if (e == RD_KAFKA_RESP_ERR_NO_ERROR) {
		if (md->topic_cnt == 1) {
			e = md->topics[0].err;
			*ret_count = (uint32_t)md->topics[0].partition_cnt;
		} else {
			e = RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
		}
		rd_kafka_metadata_destroy(md);
	}
	rd_kafka_topic_destroy(rkt);
	return e ? kafka_rk_err(reterr, e, "cannot ask for topic \"%s\"", topic) : RIFFLE_OK;
}

int
kafka_offsets(rd_kafka_t *rk, rd_kafka_topic_partition_list_t *list, int64_t which, int timeout_ms,
	struct riffle_error *reterr)
{
	rd_kafka_resp_err_t e;
	for (int i = 0; i < list->cnt; i++)
		list->elems[i].offset = which;
	e = list->cnt == 0 ? RD_KAFKA_RESP_ERR_NO_ERROR
			   : rd_kafka_offsets_for_times(rk, list, timeout_ms);
	for (int i = 0; i < list->cnt && e == RD_KAFKA_RESP_ERR_NO_ERROR; i++)
		e = list->elems[i].err;
	if (e != RD_KAFKA_RESP_ERR_NO_ERROR)
		return kafka_rk_err(reterr, e, "cannot ask for the offsets of topic \"%s\"",
			list->elems[0].topic);
	return RIFFLE_OK;
}

void
kafka_request_begin(struct kafka_request *r, const struct kafka *k, rd_kafka_admin_op_t op)
{
	char words[128];
	*r = (struct kafka_request){.owner = k,
		.queue = rd_kafka_queue_new(k->admin),
		.options = rd_kafka_AdminOptions_new(k->admin, op)};
	rd_kafka_AdminOptions_set_request_timeout(
		r->options, k->request_timeout_ms, words, sizeof words);
}

int
kafka_request_await(
	struct kafka_request *r, const char *what, const char *name, struct riffle_error *reterr)
{
	r->event = rd_kafka_queue_poll(r->queue, r->owner->request_timeout_ms + 1000);
	rd_kafka_resp_err_t e =
		r->event ? rd_kafka_event_error(r->event) : RD_KAFKA_RESP_ERR__TIMED_OUT;
	if (e == RD_KAFKA_RESP_ERR_NO_ERROR)
		return RIFFLE_OK;
	return kafka_rk_err(reterr, e, "cannot %s \"%s\"", what, name);
}

void
kafka_request_end(struct kafka_request *r)
{
	if (r->event != NULL)
		rd_kafka_event_destroy(r->event);
	rd_kafka_AdminOptions_destroy(r->options);
	rd_kafka_queue_destroy(r->queue);
}

/* Each result of an admin request is that of one topic. */
static int
judge(const rd_kafka_topic_result_t *const *results, size_t count, const char *what,
	struct riffle_error *reterr)
{
	if (count != 1)
		return kafka_err(reterr, RIFFLE_E_UNAVAILABLE, "the broker did not answer");
	rd_kafka_resp_err_t e = rd_kafka_topic_result_error(results[0]);
	const char *words = rd_kafka_topic_result_error_string(results[0]);
	if (e == RD_KAFKA_RESP_ERR_NO_ERROR || e == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS)
		return RIFFLE_OK;
	kafka_rk_err(
		reterr, e, "cannot %s topic \"%s\"", what, rd_kafka_topic_result_name(results[0]));
	if (words != NULL)
		kafka_err(reterr, reterr->code, "cannot %s topic \"%s\": %s", what,
			rd_kafka_topic_result_name(results[0]), words);
	return reterr->code;
}

static void
set_config(const struct riffle_stream *s, rd_kafka_NewTopic_t *topic)
{
	char text[32];
	const struct riffle_config *c = s->config;
	if (c == NULL)
		return;
	const struct riffle_value *retention = riffle_config_at(c, KAFKA_OPT_RETENTION);
	if (retention->is_set) {
		snprintf(text, sizeof text, "%lld", (long long)retention->u.i);
		rd_kafka_NewTopic_set_config(topic, "retention.ms", text);
	}
	for (uint32_t i = 0; i < c->pair_count; i++)
		rd_kafka_NewTopic_set_config(topic, c->pairs[2 * i], c->pairs[2 * i + 1]);
}

static int
create(struct kafka *k, const struct riffle_stream *s, struct riffle_error *reterr)
{
	char words[256];
	struct kafka_request ask;
	int replication = -1;
	if (s->config != NULL && riffle_config_at(s->config, KAFKA_OPT_REPLICATION)->is_set)
		replication = (int)riffle_config_at(s->config, KAFKA_OPT_REPLICATION)->u.i;
	rd_kafka_NewTopic_t *topic = rd_kafka_NewTopic_new(s->topic,
		s->partitions ? (int)s->partitions : -1, replication, words, sizeof words);
	if (topic == NULL)
		return kafka_err(
			reterr, RIFFLE_E_CONFIG, "cannot make topic \"%s\": %s", s->topic, words);
	set_config(s, topic);
	kafka_request_begin(&ask, k, RD_KAFKA_ADMIN_OP_CREATETOPICS);
	rd_kafka_CreateTopics(k->admin, &topic, 1, ask.options, ask.queue);
	int rc = kafka_request_await(&ask, "make topic", s->topic, reterr);
	if (rc == RIFFLE_OK) {
		size_t n;
		const rd_kafka_topic_result_t **results = rd_kafka_CreateTopics_result_topics(
			rd_kafka_event_CreateTopics_result(ask.event), &n);
		rc = judge(results, n, "make", reterr);
	}
	kafka_request_end(&ask);
	rd_kafka_NewTopic_destroy(topic);
	return rc;
}

/* A topic that was just made is not known to every broker at once. */
static int
await_topic(struct kafka *k, const char *topic, uint32_t *ret_count, struct riffle_error *reterr)
{
	int64_t end_ns = kafka_now_ns(k) + (int64_t)k->request_timeout_ms * 1000000;
	for (;;) {
		int rc =
			kafka_partitions(k->admin, topic, k->request_timeout_ms, ret_count, reterr);
		if (rc != RIFFLE_E_NOTFOUND && !(rc == RIFFLE_OK && *ret_count == 0))
			return rc;
		if (kafka_now_ns(k) > end_ns)
			return kafka_err(reterr, RIFFLE_E_UNAVAILABLE,
				"topic \"%s\" was made and is not there yet", topic);
	}
}

int
kafka_provision(void *self, const struct riffle_stream *stream, struct riffle_error *reterr)
{
	struct kafka *k = self;
	uint32_t count = 0;
	KAFKA_CHECK(k, KAFKA_MAGIC);
	int rc = kafka_admin_open(k, reterr);
	if (rc == RIFFLE_OK)
		rc = kafka_partitions(
			k->admin, stream->topic, k->request_timeout_ms, &count, reterr);
	if (rc == RIFFLE_E_NOTFOUND) {
		rc = create(k, stream, reterr);
		if (rc == RIFFLE_OK)
			rc = await_topic(k, stream->topic, &count, reterr);
	}
	if (rc == RIFFLE_OK && stream->partitions != 0 && stream->partitions != count)
		rc = kafka_err(reterr, RIFFLE_E_CONFIG,
			"topic \"%s\" has %u partitions, not %u as the stream says", stream->topic,
			count, stream->partitions);
	return kafka_admin_explain(k, rc, reterr);
}

struct kafka_limit {
	struct kafka_limit *next;
	int64_t bytes;
	int is_compacted;
	char topic[];
};

/* The newest stands first; NULL = nothing is known. They stay until the end. */
static const struct kafka_limit *
limit_of(struct kafka *k, const char *topic)
{
	pthread_mutex_lock(&k->lock);
	const struct kafka_limit *l = k->limits;
	while (l != NULL && strcmp(l->topic, topic) != 0)
		l = l->next;
	pthread_mutex_unlock(&k->lock);
	return l;
}

int64_t
kafka_limit_bytes(struct kafka *k, const char *topic)
{
	const struct kafka_limit *l = limit_of(k, topic);
	return l != NULL ? l->bytes : INT64_MAX;
}

int
kafka_is_compacted(struct kafka *k, const char *topic)
{
	const struct kafka_limit *l = limit_of(k, topic);
	return l != NULL && l->is_compacted;
}

static void
set_limit(struct kafka *k, const char *topic, int64_t bytes, int is_compacted)
{
	const struct kafka_limit *before = limit_of(k, topic);
	if (before != NULL && before->bytes == bytes && before->is_compacted == is_compacted)
		return;
	struct kafka_limit *l = kafka_alloc(sizeof *l + strlen(topic) + 1);
	memcpy(l->topic, topic, strlen(topic));
	l->bytes = bytes;
	l->is_compacted = is_compacted;
	pthread_mutex_lock(&k->lock);
	l->next = k->limits;
	k->limits = l;
	pthread_mutex_unlock(&k->lock);
}

void
kafka_limits_free(struct kafka *k)
{
	while (k->limits != NULL) {
		struct kafka_limit *next = k->limits->next;
		free(k->limits);
		k->limits = next;
	}
}

static void
take_configs(
	struct kafka *k, const char *topic, rd_kafka_event_t *ev, struct riffle_stream_info *info)
{
	size_t n, count;
	const char *policy = NULL;
	const rd_kafka_ConfigResource_t **r = rd_kafka_DescribeConfigs_result_resources(
		rd_kafka_event_DescribeConfigs_result(ev), &n);
	if (n != 1 || rd_kafka_ConfigResource_error(r[0]) != RD_KAFKA_RESP_ERR_NO_ERROR)
		return;
	const rd_kafka_ConfigEntry_t **entries = rd_kafka_ConfigResource_configs(r[0], &count);
	for (size_t i = 0; i < count; i++) {
		const char *name = rd_kafka_ConfigEntry_name(entries[i]);
		const char *value = rd_kafka_ConfigEntry_value(entries[i]);
		if (value == NULL)
			continue;
		if (strcmp(name, "retention.ms") == 0)
			info->retention_ms = strtoll(value, NULL, 10);
		else if (strcmp(name, "retention.bytes") == 0)
			info->retention_bytes = strtoll(value, NULL, 10);
		else if (strcmp(name, "max.message.bytes") == 0)
			info->record_bytes = strtoll(value, NULL, 10);
		else if (strcmp(name, "cleanup.policy") == 0)
			policy = value;
	}
	int is_compacted = policy != NULL && strstr(policy, "compact") != NULL;
	if (is_compacted)
		info->flags |= RIFFLE_STREAM_COMPACTED;
	set_limit(k, topic, info->record_bytes >= 0 ? info->record_bytes : INT64_MAX, is_compacted);
	info->flags &= ~RIFFLE_STREAM_UNDESCRIBED;
	/* What is written there counts only where something is deleted. */
	if (policy == NULL || strstr(policy, "delete") != NULL)
		return;
	info->retention_ms = -1;
	info->retention_bytes = -1;
}

/* Who may read a topic need not be allowed to see its settings; they are then not known. */
static int
describe_configs(struct kafka *k, const char *topic, struct riffle_stream_info *info)
{
	struct kafka_request ask;
	struct riffle_error err;
	rd_kafka_ConfigResource_t *r = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topic);
	kafka_request_begin(&ask, k, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);
	rd_kafka_DescribeConfigs(k->admin, &r, 1, ask.options, ask.queue);
	int rc = kafka_request_await(&ask, "describe topic", topic, &err);
	if (rc == RIFFLE_OK) {
		take_configs(k, topic, ask.event, info);
	}
	kafka_request_end(&ask);
	rd_kafka_ConfigResource_destroy(r);
	return rc;
}

static int64_t
sum_of_offsets(struct kafka *k, const char *topic, uint32_t count, int64_t which)
{
	struct riffle_error err;
	int64_t sum = 0;
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)count);
	for (uint32_t i = 0; i < count; i++)
		rd_kafka_topic_partition_list_add(list, topic, (int32_t)i);
	int rc = kafka_offsets(k->admin, list, which, k->request_timeout_ms, &err);
	for (int i = 0; i < list->cnt; i++)
		sum += list->elems[i].offset;
	rd_kafka_topic_partition_list_destroy(list);
	return rc < 0 ? -1 : sum;
}

int
kafka_describe(void *self, const struct riffle_stream *stream, struct riffle_stream_info *ret_info,
	struct riffle_error *reterr)
{
	struct kafka *k = self;
	KAFKA_CHECK(k, KAFKA_MAGIC);
	*ret_info = (struct riffle_stream_info){.size = ret_info->size,
		.retention_ms = -1,
		.retention_bytes = -1,
		.records = -1,
		.record_bytes = -1};
	int rc = kafka_admin_open(k, reterr);
	if (rc == RIFFLE_OK)
		rc = kafka_partitions(k->admin, stream->topic, k->request_timeout_ms,
			&ret_info->partitions, reterr);
	if (rc == RIFFLE_E_NOTFOUND)
		return RIFFLE_OK;
	if (rc < 0)
		return kafka_admin_explain(k, rc, reterr);
	ret_info->flags = RIFFLE_STREAM_EXISTS | RIFFLE_STREAM_UNDESCRIBED;
	describe_configs(k, stream->topic, ret_info);
	int64_t end = sum_of_offsets(k, stream->topic, ret_info->partitions, RD_KAFKA_OFFSET_END);
	int64_t begin =
		sum_of_offsets(k, stream->topic, ret_info->partitions, RD_KAFKA_OFFSET_BEGINNING);
	if (end >= 0 && begin >= 0)
		ret_info->records = end - begin;
	return RIFFLE_OK;
}

int
kafka_remove(void *self, const struct riffle_stream *stream, struct riffle_error *reterr)
{
	struct kafka *k = self;
	struct kafka_request ask;
	KAFKA_CHECK(k, KAFKA_MAGIC);
	int rc = kafka_admin_open(k, reterr);
	if (rc < 0)
		return rc;
	rd_kafka_DeleteTopic_t *topic = rd_kafka_DeleteTopic_new(stream->topic);
	kafka_request_begin(&ask, k, RD_KAFKA_ADMIN_OP_DELETETOPICS);
	rd_kafka_DeleteTopics(k->admin, &topic, 1, ask.options, ask.queue);
	rc = kafka_request_await(&ask, "remove topic", stream->topic, reterr);
	if (rc == RIFFLE_OK) {
		size_t n;
		const rd_kafka_topic_result_t **results = rd_kafka_DeleteTopics_result_topics(
			rd_kafka_event_DeleteTopics_result(ask.event), &n);
		rc = judge(results, n, "remove", reterr);
	}
	kafka_request_end(&ask);
	rd_kafka_DeleteTopic_destroy(topic);
	return rc;
}
