/* A bare consumer and producer of librdkafka, set up as fast as they go: what the raw loops over Kafka share. */
#ifndef BENCH_RAW_KAFKA_H
#define BENCH_RAW_KAFKA_H

#include <librdkafka/rdkafka.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BATCH 1000

static inline int64_t
now_us(clockid_t clock)
{
	struct timespec ts;
	clock_gettime(clock, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

_Noreturn static inline void
fail(const char *what, const char *why)
{
	fprintf(stderr, "%s: %s\n", what, why);
	exit(1);
}

static inline rd_kafka_t *
client(rd_kafka_type_t type, const char *servers, const char *const *pairs)
{
	char words[256];
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_conf_set(conf, "bootstrap.servers", servers, words, sizeof words);
	for (; pairs[0] != NULL; pairs += 2)
		if (rd_kafka_conf_set(conf, pairs[0], pairs[1], words, sizeof words) !=
			RD_KAFKA_CONF_OK)
			fail(pairs[0], words);
	rd_kafka_t *rk = rd_kafka_new(type, conf, words, sizeof words);
	if (rk == NULL)
		fail("rd_kafka_new", words);
	return rk;
}

static const char *linger = "5", *most_messages = "1000000";

static inline rd_kafka_t *
producer(const char *servers)
{
	const char *const pairs[] = {"enable.idempotence", "true", "linger.ms", linger,
		"batch.num.messages", "10000", "batch.size", "1000000",
		"queue.buffering.max.messages", most_messages, "queue.buffering.max.kbytes",
		"65536", "partitioner", "murmur2_random", NULL};
	return client(RD_KAFKA_PRODUCER, servers, pairs);
}

static inline rd_kafka_t *
consumer(const char *servers)
{
	const char *const pairs[] = {"group.id", "raw", "enable.auto.commit", "false",
		"enable.auto.offset.store", "false", "queued.min.messages", "1000000",
		"queued.max.messages.kbytes", "65536", "fetch.message.max.bytes", "8388608",
		"fetch.max.bytes", "67108864", NULL};
	return client(RD_KAFKA_CONSUMER, servers, pairs);
}

static inline rd_kafka_topic_partition_list_t *
assign(rd_kafka_t *rk, const char *topic, int64_t from)
{
	const struct rd_kafka_metadata *md;
	rd_kafka_topic_t *rkt = rd_kafka_topic_new(rk, topic, NULL);
	if (rd_kafka_metadata(rk, 0, rkt, &md, 10000) != RD_KAFKA_RESP_ERR_NO_ERROR)
		fail("metadata", topic);
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(8);
	for (int i = 0; i < md->topics[0].partition_cnt; i++)
		rd_kafka_topic_partition_list_add(list, topic, i)->offset = from;
	rd_kafka_metadata_destroy(md);
	rd_kafka_topic_destroy(rkt);
	rd_kafka_assign(rk, list);
	for (int i = 0; i < list->cnt; i++)
		list->elems[i].offset = RD_KAFKA_OFFSET_INVALID;
	return list;
}

static inline void
produce(rd_kafka_t *rk, rd_kafka_vu_t *vu, size_t n)
{
	rd_kafka_error_t *error;
	while ((error = rd_kafka_produceva(rk, vu, n)) != NULL) {
		if (rd_kafka_error_code(error) != RD_KAFKA_RESP_ERR__QUEUE_FULL)
			fail("produce", rd_kafka_error_string(error));
		rd_kafka_error_destroy(error);
		rd_kafka_poll(rk, 10);
	}
}

/* All that was written is there, and it is committed how far was read. */
static inline void
safe(rd_kafka_t *in, rd_kafka_t *out, rd_kafka_topic_partition_list_t *positions)
{
	rd_kafka_flush(out, 60000);
	rd_kafka_resp_err_t e = rd_kafka_commit(in, positions, 0);
	if (e != RD_KAFKA_RESP_ERR_NO_ERROR && e != RD_KAFKA_RESP_ERR__NO_OFFSET)
		fail("commit", rd_kafka_err2str(e));
}

#endif
