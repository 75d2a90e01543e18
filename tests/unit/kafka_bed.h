/*
 * The Kafka provider's object over librdkafka's mock cluster, or over the broker of $KAFKA_SERVERS, and what
 * a test does with it again and again: open, send, read, close.
 */
#ifndef RFL_TESTS_UNIT_KAFKA_BED_H
#define RFL_TESTS_UNIT_KAFKA_BED_H

#include "test.h"

/* A group of the mock cluster takes its time: members join in seconds. */
#include "plugin_bed.h"

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <unistd.h>

static const struct riffle_provider_ops *ops;
static const char *real;
static rd_kafka_t *mock_owner;
static rd_kafka_mock_cluster_t *mock;
static const char *servers[2];
static struct riffle_value values[5];
static const char *pairs[8];
static struct riffle_config config = {.size = sizeof config,
	.section = RIFFLE_SECTION_PROVIDER,
	.value_size = sizeof values[0],
	.value_count = 5,
	.name = "franz",
	.dir = "/tmp",
	.values = values,
	.pairs = pairs};
static unsigned topics_made;

struct bed {
	void *self, *sink, *source;
	/* Of the next source: */
	void *txn;
	const char *member; /* NULL = none */
	int is_alone;       /* its partition is 0, without membership */
	struct riffle_event ev;
	struct riffle_stream stream;
	char topic[64], group[80];
	uint32_t lanes[8], lane_count;
	int64_t committed[8];
};

static inline int
start_mock(void **state)
{
	char words[256];
	(void)state;
	values[0].u.list = servers;
	values[1].u.i = 10000;
	values[2].u.i = 64 << 20;
	values[3].u.i = 64 << 20;
	if ((servers[0] = real) != NULL)
		return 0;
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	mock_owner = rd_kafka_new(RD_KAFKA_PRODUCER, conf, words, sizeof words);
	mock = rd_kafka_mock_cluster_new(mock_owner, 3);
	servers[0] = rd_kafka_mock_cluster_bootstraps(mock);
	return 0;
}

static inline int
stop_mock(void **state)
{
	(void)state;
	if (mock != NULL)
		rd_kafka_mock_cluster_destroy(mock);
	if (mock_owner != NULL)
		rd_kafka_destroy(mock_owner);
	return 0;
}

static inline void
property(const char *name, const char *value)
{
	pairs[2 * config.pair_count] = name;
	pairs[2 * config.pair_count++ + 1] = value;
}

static inline void
open_bed(struct bed *b, uint32_t partitions)
{
	struct riffle_error err = {0};
	*b = (struct bed){.self = NULL};
	snprintf(b->topic, sizeof b->topic, "unit-%d-%u", (int)getpid(), topics_made++);
	snprintf(b->group, sizeof b->group, "%s.group", b->topic);
	b->stream = (struct riffle_stream){.size = sizeof b->stream,
		.partitions = partitions,
		.name = "in",
		.topic = b->topic,
		.content_type = "text/plain"};
	must(ops->create(&host, &config, &b->self, &err), &err);
	if (mock != NULL)
		assert_int_equal(rd_kafka_mock_topic_create(mock, b->topic, (int)partitions, 1), 0);
	must(ops->provision(b->self, &b->stream, &err), &err);
}

static inline void
await_sink(struct bed *b, uint32_t type)
{
	struct wanted w = {ops->sink_poll, b->sink, type, &b->ev};
	assert_true(eventually(came, &w));
}

static inline void
await_source(struct bed *b, uint32_t type)
{
	struct wanted w = {ops->source_poll, b->source, type, &b->ev};
	assert_true(eventually(came, &w));
}

static inline void
open_sink(struct bed *b)
{
	struct riffle_error err = {0};
	const struct riffle_stream *s = &b->stream;
	const struct riffle_sink_spec spec = {
		.size = sizeof spec, .stream_size = sizeof s, .stream_count = 1, .streams = &s};
	must(ops->sink_open(b->self, &spec, &b->sink, &err), &err);
}

static inline void
open_source(struct bed *b, const char *group, uint32_t start, int64_t start_value)
{
	struct riffle_error err = {0};
	const int32_t first = 0;
	const struct riffle_source_stream in = {.size = sizeof in,
		.flags = RIFFLE_SOURCE_HEADERS,
		.stream = &b->stream,
		.start = start,
		.start_value = start_value,
		.partitions = &first,
		.partition_count = b->is_alone};
	const struct riffle_source_spec spec = {.size = sizeof spec,
		.stream_size = sizeof in,
		.stream_count = 1,
		.streams = &in,
		.group = group,
		.member = b->member,
		.txn = b->txn};
	must(ops->source_open(b->self, &spec, &b->source, &err), &err);
}

/* Starts every lane where the group has it. */
static inline void
start_all(struct bed *b)
{
	struct riffle_error err = {0};
	await_source(b, RIFFLE_EV_ASSIGNED);
	b->lane_count = b->ev.lane_count;
	for (uint32_t i = 0; i < b->ev.lane_count; i++) {
		const struct riffle_lane *l =
			(const void *)((const char *)b->ev.lanes + (size_t)i * b->ev.lane_size);
		b->lanes[l->committed.partition] = l->lane;
		b->committed[l->committed.partition] = l->committed.offset;
		must(ops->source_start(b->source, &l->lane, &l->committed, 1, &err), &err);
	}
}

static inline void
close_source(struct bed *b)
{
	ops->source_close(b->source);
	await_source(b, RIFFLE_EV_CLOSED);
	ops->source_destroy(b->source);
	b->source = NULL;
}

static inline void
close_bed(struct bed *b)
{
	struct riffle_error err = {0};
	if (b->source != NULL)
		close_source(b);
	if (b->sink != NULL) {
		ops->sink_close(b->sink);
		await_sink(b, RIFFLE_EV_CLOSED);
		ops->sink_destroy(b->sink);
	}
	if (real != NULL)
		must(ops->remove(b->self, &b->stream, &err), &err);
	ops->destroy(b->self);
	config.pair_count = 0;
}

/* A batch of numbered records, freed with its last reference. */
struct numbers {
	struct riffle_batch abi;
	struct riffle_header header;
	struct riffle_record records[];
};

static inline void
free_numbers(struct riffle_batch *b)
{
	for (uint32_t i = 0; i < b->record_count; i++)
		free((void *)(uintptr_t)b->records[i].value.ptr);
	free(b);
}

static inline struct riffle_batch *
numbers(uint32_t first, uint32_t count, int32_t partition)
{
	struct numbers *n = calloc(1, sizeof *n + count * sizeof n->records[0]);
	n->header = (struct riffle_header){bytes("h"), {NULL, 0}};
	for (uint32_t i = 0; i < count; i++) {
		char *text = malloc(16);
		snprintf(text, 16, "%u", first + i);
		n->records[i] = (struct riffle_record){.value = bytes(text),
			.offset = RIFFLE_OFFSET_NONE,
			.time_ms = RIFFLE_TIME_NONE,
			.partition = partition,
			.header_count = 1};
	}
	n->abi = (struct riffle_batch){.size = sizeof n->abi,
		.record_size = sizeof n->records[0],
		.record_count = count,
		.header_count = 1,
		.records = n->records,
		.headers = &n->header,
		.release = free_numbers,
		.host = {1, 0}};
	return &n->abi;
}

/* Sends and waits for every status; returns how many were refused. */
static inline uint32_t
send_all(struct bed *b, struct riffle_batch *batch, uint32_t *ret_rounds)
{
	struct riffle_error err = {0};
	uint32_t taken = 0, answered = 0, refused = 0, rounds = 0;
	while (answered < batch->record_count) {
		if (taken < batch->record_count) {
			int n = ops->sink_send(
				b->sink, batch, taken, batch->record_count - taken, 7, &err);
			must(n, &err);
			taken += (uint32_t)n;
			rounds += n > 0;
		}
		b->ev = (struct riffle_event){.size = sizeof b->ev};
		while (ops->sink_poll(b->sink, &b->ev) > 0) {
			assert_int_equal(b->ev.type, RIFFLE_EV_SENT);
			assert_int_equal(b->ev.tag, 7);
			for (uint32_t i = 0; i < b->ev.count; i++)
				refused += ((const struct riffle_sent *)(const void
							    *)((const char *)b->ev.sent +
							       (size_t)i * b->ev.sent_size))
						   ->status != RIFFLE_OK;
			answered += b->ev.count;
			b->ev = (struct riffle_event){.size = sizeof b->ev};
		}
		poll(NULL, 0, 1);
	}
	batch_unref(&host, batch);
	if (ret_rounds != NULL)
		*ret_rounds = rounds;
	return refused;
}

struct reading {
	struct bed *b;
	uint32_t lane, max_records, wanted;
	size_t max_bytes;
	int64_t next; /* the number and the offset that must come next */
	uint32_t largest;
	int rc;
	struct riffle_error err;
	struct riffle_batch *kept; /* when asked to keep the last one */
	int keep;
};

static inline int
read_some(void *ctx)
{
	struct reading *r = ctx;
	struct riffle_batch *batch;
	struct riffle_event ev = {.size = sizeof ev};
	while (ops->source_poll(r->b->source, &ev) > 0)
		ev = (struct riffle_event){.size = sizeof ev};
	while (r->wanted > 0 && (r->rc = ops->lane_poll(r->b->source, r->lane, r->max_records,
					 r->max_bytes, &batch, &r->err)) > 0) {
		batch->host[0] = 1;
		assert_true(batch->record_count <= r->max_records);
		if (batch->record_count > r->largest)
			r->largest = batch->record_count;
		for (uint32_t i = 0; i < batch->record_count; i++) {
			const struct riffle_record *m = riffle_batch_at(batch, i);
			char text[16];
			snprintf(text, sizeof text, "%lld", (long long)r->next);
			assert_int_equal(m->offset, r->next);
			assert_int_equal(m->value.len, strlen(text));
			assert_memory_equal(m->value.ptr, text, m->value.len);
			assert_null(m->key.ptr);
			assert_int_equal(m->header_count, 1);
			assert_null(batch->headers[m->header_first].value.ptr);
			r->next++;
		}
		r->wanted -= batch->record_count < r->wanted ? batch->record_count : r->wanted;
		if (r->keep && r->kept == NULL)
			r->kept = batch;
		else
			batch_unref(&host, batch);
	}
	return r->wanted == 0 || r->rc < 0;
}

static inline void
read_numbers(struct bed *b, uint32_t partition, int64_t from, uint32_t count)
{
	struct reading r = {.b = b,
		.lane = b->lanes[partition],
		.max_records = 100,
		.wanted = count,
		.max_bytes = 1 << 20,
		.next = from};
	assert_true(eventually(read_some, &r));
	must(r.rc, &r.err);
}

/* A client that is not ours. */
static inline rd_kafka_t *
other(rd_kafka_type_t type, const char *const *settings)
{
	char words[256];
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_conf_set(conf, "bootstrap.servers", servers[0], words, sizeof words);
	for (; settings[0] != NULL; settings += 2)
		assert_int_equal(
			rd_kafka_conf_set(conf, settings[0], settings[1], words, sizeof words),
			RD_KAFKA_CONF_OK);
	rd_kafka_t *rk = rd_kafka_new(type, conf, words, sizeof words);
	assert_non_null(rk);
	return rk;
}

/* Another member of the bed's group: the one that a source of that name would be, or NULL. */
static inline rd_kafka_t *
join(const struct bed *b, const char *name)
{
	char text[64], *instance = name ? text : NULL;
	uint32_t hash = 2166136261u;
	for (const char *at = b->topic; *at != '\0'; at++)
		hash = (hash ^ (unsigned char)*at) * 16777619u;
	snprintf(text, sizeof text, "%s.%08x", name ? name : "", (unsigned)hash);
	const char *const settings[] = {"group.id", b->group, "partition.assignment.strategy",
		"range", "session.timeout.ms", "6000", "heartbeat.interval.ms", "200",
		"enable.auto.commit", "false", instance ? "group.instance.id" : NULL, instance,
		NULL};
	rd_kafka_t *rk = other(RD_KAFKA_CONSUMER, settings);
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
	rd_kafka_topic_partition_list_add(list, b->topic, RD_KAFKA_PARTITION_UA);
	rd_kafka_poll_set_consumer(rk);
	assert_int_equal(rd_kafka_subscribe(rk, list), RD_KAFKA_RESP_ERR_NO_ERROR);
	rd_kafka_topic_partition_list_destroy(list);
	return rk;
}

static inline int
has_partitions(void *rk)
{
	rd_kafka_topic_partition_list_t *list;
	rd_kafka_message_t *m = rd_kafka_consumer_poll(rk, 10);
	if (m != NULL)
		rd_kafka_message_destroy(m);
	assert_int_equal(rd_kafka_assignment(rk, &list), RD_KAFKA_RESP_ERR_NO_ERROR);
	int some = list->cnt > 0;
	rd_kafka_topic_partition_list_destroy(list);
	return some;
}

#endif
