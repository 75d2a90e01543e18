/*
 * The transactional loop that a program written for nothing else would run over librdkafka: what riffle under
 * exactly-once is measured against.
 *
 *   run SERVERS IN OUT NAME RECORDS   copies records with all they have, a transaction each 100 ms; NAME is its
 *                                     group, member and transactional.id; prints records, CPU seconds, peak KiB
 *   watch SERVERS TOPIC               reads what is committed; says `first MICROSECONDS` (CLOCK_MONOTONIC) of what
 *                                     comes after a silence, and `quiet` once nothing came for half a second
 */
#include <librdkafka/rdkafka.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define BATCH 1000
#define COMMIT_US 100000
#define QUIET_US 500000

static int64_t
now_us(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

_Noreturn static void
fail(const char *what, const char *why)
{
	fprintf(stderr, "raw_kafka_txn: %s: %s\n", what, why);
	exit(1);
}

static void
must(const char *what, rd_kafka_error_t *error)
{
	if (error != NULL)
		fail(what, rd_kafka_error_string(error));
}

static rd_kafka_t *
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

static rd_kafka_t *
producer(const char *servers, const char *name)
{
	const char *const pairs[] = {"transactional.id", name, "retry.backoff.ms", "10",
		"linger.ms", "5", "batch.num.messages", "10000", "batch.size", "1000000",
		"queue.buffering.max.messages", "1000000", "queue.buffering.max.kbytes", "65536",
		"partitioner", "murmur2_random", NULL};
	rd_kafka_t *rk = client(RD_KAFKA_PRODUCER, servers, pairs);
	must("init_transactions", rd_kafka_init_transactions(rk, 60000));
	return rk;
}

static rd_kafka_t *
consumer(const char *servers, const char *name, const char *topic)
{
	const char *const pairs[] = {"group.id", name, "group.instance.id", name,
		"enable.auto.commit", "false", "enable.auto.offset.store", "false",
		"auto.offset.reset", "earliest", "queued.min.messages", "1000000",
		"queued.max.messages.kbytes", "65536", "fetch.message.max.bytes", "8388608",
		"fetch.max.bytes", "67108864", NULL};
	rd_kafka_t *rk = client(RD_KAFKA_CONSUMER, servers, pairs);
	rd_kafka_poll_set_consumer(rk);
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
	rd_kafka_topic_partition_list_add(list, topic, RD_KAFKA_PARTITION_UA);
	if (rd_kafka_subscribe(rk, list) != RD_KAFKA_RESP_ERR_NO_ERROR)
		fail("subscribe", topic);
	rd_kafka_topic_partition_list_destroy(list);
	return rk;
}

static void
copy(rd_kafka_t *out, rd_kafka_topic_t *to, rd_kafka_message_t *m)
{
	rd_kafka_headers_t *from, *headers = NULL;
	rd_kafka_timestamp_type_t type;
	rd_kafka_error_t *error;
	if (rd_kafka_message_headers(m, &from) == RD_KAFKA_RESP_ERR_NO_ERROR)
		headers = rd_kafka_headers_copy(from);
	rd_kafka_vu_t vu[] = {{.vtype = RD_KAFKA_VTYPE_RKT, .u.rkt = to},
		{.vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = {m->payload, m->len}},
		{.vtype = RD_KAFKA_VTYPE_KEY, .u.mem = {m->key, m->key_len}},
		{.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = RD_KAFKA_MSG_F_COPY},
		{.vtype = RD_KAFKA_VTYPE_TIMESTAMP, .u.i64 = rd_kafka_message_timestamp(m, &type)},
		{.vtype = RD_KAFKA_VTYPE_HEADERS, .u.headers = headers}};
	while ((error = rd_kafka_produceva(out, vu, headers ? 6 : 5)) != NULL) {
		if (rd_kafka_error_code(error) != RD_KAFKA_RESP_ERR__QUEUE_FULL)
			fail("produce", rd_kafka_error_string(error));
		rd_kafka_error_destroy(error);
		rd_kafka_poll(out, 10);
	}
}

struct loop {
	rd_kafka_t *in, *out;
	rd_kafka_queue_t *queue;
	rd_kafka_topic_t *to;
	rd_kafka_topic_partition_list_t *positions;
};

static long
copy_some(struct loop *l)
{
	static rd_kafka_message_t *batch[BATCH];
	long copied = 0;
	ssize_t n = rd_kafka_consume_batch_queue(l->queue, 20, batch, BATCH);
	for (ssize_t i = 0; i < n; i++) {
		rd_kafka_message_t *m = batch[i];
		if (m->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
			const char *topic = rd_kafka_topic_name(m->rkt);
			rd_kafka_topic_partition_t *at = rd_kafka_topic_partition_list_find(
				l->positions, topic, m->partition);
			if (at == NULL)
				at = rd_kafka_topic_partition_list_add(
					l->positions, topic, m->partition);
			at->offset = m->offset + 1;
			copy(l->out, l->to, m);
			copied++;
		}
		rd_kafka_message_destroy(m);
	}
	rd_kafka_poll(l->out, 0);
	return copied;
}

static void
commit(struct loop *l)
{
	rd_kafka_consumer_group_metadata_t *member = rd_kafka_consumer_group_metadata(l->in);
	must("send_offsets",
		rd_kafka_send_offsets_to_transaction(l->out, l->positions, member, -1));
	must("commit", rd_kafka_commit_transaction(l->out, -1));
	rd_kafka_consumer_group_metadata_destroy(member);
}

static void
run(char **a)
{
	struct loop l = {.out = producer(a[0], a[3]), .in = consumer(a[0], a[3], a[1])};
	long count = atol(a[4]), done = 0, open = 0;
	int64_t begun = 0;
	l.to = rd_kafka_topic_new(l.out, a[2], NULL);
	l.queue = rd_kafka_queue_get_consumer(l.in);
	l.positions = rd_kafka_topic_partition_list_new(8);
	must("begin", rd_kafka_begin_transaction(l.out));
	while (done < count) {
		long copied = copy_some(&l);
		if (copied > 0 && open == 0)
			begun = now_us();
		open += copied;
		done += copied;
		if (open == 0 || (done < count && now_us() - begun < COMMIT_US))
			continue;
		commit(&l);
		open = 0;
		must("begin", rd_kafka_begin_transaction(l.out));
	}
	struct rusage u;
	getrusage(RUSAGE_SELF, &u);
	printf("%ld %.6f %ld\n", done,
		(double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
			(double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6,
		u.ru_maxrss);
	fflush(stdout);
	_exit(0);
}

static void
watch(char **a)
{
	const char *const pairs[] = {"group.id", "watch", "enable.auto.commit", "false",
		"isolation.level", "read_committed", "fetch.wait.max.ms", "20", NULL};
	rd_kafka_t *rk = client(RD_KAFKA_CONSUMER, a[0], pairs);
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(2);
	for (int p = 0; p < 2; p++)
		rd_kafka_topic_partition_list_add(list, a[1], p)->offset =
			RD_KAFKA_OFFSET_BEGINNING;
	rd_kafka_assign(rk, list);
	int64_t last = 0;
	int is_quiet = 1;
	for (;;) {
		rd_kafka_message_t *m = rd_kafka_consumer_poll(rk, 20);
		int64_t now = now_us();
		if (m == NULL && !is_quiet && now - last > QUIET_US) {
			is_quiet = 1;
			puts("quiet");
		}
		if (m != NULL && m->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
			last = now;
			if (is_quiet)
				printf("first %lld\n", (long long)now);
			is_quiet = 0;
		}
		if (m != NULL)
			rd_kafka_message_destroy(m);
		fflush(stdout);
	}
}

int
main(int argc, char **argv)
{
	if (argc == 7 && strcmp(argv[1], "run") == 0)
		run(argv + 2);
	else if (argc == 4 && strcmp(argv[1], "watch") == 0)
		watch(argv + 2);
	else
		fail("usage", "run | watch");
	return 0;
}
