/*
 * What the tests ask of a Kafka broker, with nothing of riffle between: `selftest` first, so that a broken
 * broker is not reported as a broken provider.
 */
#include <librdkafka/rdkafka.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define WAIT_MS 20000

_Noreturn static void
fail(const char *what, const char *why)
{
	fprintf(stderr, "kafka-tool: %s: %s\n", what, why);
	exit(1);
}

static void
must(const char *what, rd_kafka_resp_err_t e)
{
	if (e != RD_KAFKA_RESP_ERR_NO_ERROR)
		fail(what, rd_kafka_err2str(e));
}

static rd_kafka_t *
client(rd_kafka_type_t type, const char *servers, const char *const *pairs)
{
	char words[256];
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	if (rd_kafka_conf_set(conf, "bootstrap.servers", servers, words, sizeof words) !=
		RD_KAFKA_CONF_OK)
		fail("bootstrap.servers", words);
	for (; pairs != NULL && pairs[0] != NULL; pairs += 2)
		if (rd_kafka_conf_set(conf, pairs[0], pairs[1], words, sizeof words) !=
			RD_KAFKA_CONF_OK)
			fail(pairs[0], words);
	rd_kafka_t *rk = rd_kafka_new(type, conf, words, sizeof words);
	if (rk == NULL)
		fail("rd_kafka_new", words);
	return rk;
}

static rd_kafka_event_t *
answer(rd_kafka_queue_t *q, const char *what)
{
	rd_kafka_event_t *ev = rd_kafka_queue_poll(q, WAIT_MS);
	if (ev == NULL)
		fail(what, "no answer");
	if (rd_kafka_event_error(ev) != RD_KAFKA_RESP_ERR_NO_ERROR)
		fail(what, rd_kafka_event_error_string(ev));
	return ev;
}

static void
judge(const rd_kafka_topic_result_t **results, size_t count, const char *what)
{
	for (size_t i = 0; i < count; i++)
		if (rd_kafka_topic_result_error(results[i]) != RD_KAFKA_RESP_ERR_NO_ERROR)
			fail(what, rd_kafka_topic_result_error_string(results[i]));
}

/* create SERVERS TOPIC PARTITIONS [name=value ...] */
static void
create(rd_kafka_t *rk, char **args)
{
	char words[256];
	size_t n;
	rd_kafka_queue_t *q = rd_kafka_queue_new(rk);
	rd_kafka_NewTopic_t *t =
		rd_kafka_NewTopic_new(args[0], atoi(args[1]), 1, words, sizeof words);
	for (char **a = args + 2; *a != NULL; a++) {
		char *eq = strchr(*a, '=');
		*eq = '\0';
		rd_kafka_NewTopic_set_config(t, *a, eq + 1);
	}
	rd_kafka_CreateTopics(rk, &t, 1, NULL, q);
	rd_kafka_event_t *ev = answer(q, "create");
	const rd_kafka_topic_result_t **r =
		rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(ev), &n);
	judge(r, n, "create");
	rd_kafka_event_destroy(ev);
	rd_kafka_NewTopic_destroy(t);
	rd_kafka_queue_destroy(q);
}

/* remove SERVERS TOPIC */
static void
remove_topic(rd_kafka_t *rk, char **args)
{
	size_t n;
	rd_kafka_queue_t *q = rd_kafka_queue_new(rk);
	rd_kafka_DeleteTopic_t *t = rd_kafka_DeleteTopic_new(args[0]);
	rd_kafka_DeleteTopics(rk, &t, 1, NULL, q);
	rd_kafka_event_t *ev = answer(q, "remove");
	const rd_kafka_topic_result_t **r =
		rd_kafka_DeleteTopics_result_topics(rd_kafka_event_DeleteTopics_result(ev), &n);
	judge(r, n, "remove");
	rd_kafka_event_destroy(ev);
	rd_kafka_DeleteTopic_destroy(t);
	rd_kafka_queue_destroy(q);
}

/* grow SERVERS TOPIC PARTITIONS */
static void
grow(rd_kafka_t *rk, char **args)
{
	char words[256];
	size_t n;
	rd_kafka_queue_t *q = rd_kafka_queue_new(rk);
	rd_kafka_NewPartitions_t *p =
		rd_kafka_NewPartitions_new(args[0], (size_t)atoi(args[1]), words, sizeof words);
	rd_kafka_CreatePartitions(rk, &p, 1, NULL, q);
	rd_kafka_event_t *ev = answer(q, "grow");
	const rd_kafka_topic_result_t **r = rd_kafka_CreatePartitions_result_topics(
		rd_kafka_event_CreatePartitions_result(ev), &n);
	judge(r, n, "grow");
	rd_kafka_event_destroy(ev);
	rd_kafka_NewPartitions_destroy(p);
	rd_kafka_queue_destroy(q);
}

/* cut SERVERS TOPIC PARTITION OFFSET: records before it are deleted */
static void
cut(rd_kafka_t *rk, char **args)
{
	rd_kafka_queue_t *q = rd_kafka_queue_new(rk);
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
	rd_kafka_topic_partition_list_add(list, args[0], atoi(args[1]))->offset = atoll(args[2]);
	rd_kafka_DeleteRecords_t *d = rd_kafka_DeleteRecords_new(list);
	rd_kafka_DeleteRecords(rk, &d, 1, NULL, q);
	rd_kafka_event_t *ev = answer(q, "cut");
	const rd_kafka_topic_partition_list_t *r =
		rd_kafka_DeleteRecords_result_offsets(rd_kafka_event_DeleteRecords_result(ev));
	must("cut", r->elems[0].err);
	rd_kafka_event_destroy(ev);
	rd_kafka_DeleteRecords_destroy(d);
	rd_kafka_topic_partition_list_destroy(list);
	rd_kafka_queue_destroy(q);
}

/* forget SERVERS GROUP: its positions */
static void
forget(rd_kafka_t *rk, char **args)
{
	size_t n;
	rd_kafka_queue_t *q = rd_kafka_queue_new(rk);
	rd_kafka_DeleteGroup_t *g = rd_kafka_DeleteGroup_new(args[0]);
	rd_kafka_DeleteGroups(rk, &g, 1, NULL, q);
	rd_kafka_event_t *ev = answer(q, "forget");
	const rd_kafka_group_result_t **r =
		rd_kafka_DeleteGroups_result_groups(rd_kafka_event_DeleteGroups_result(ev), &n);
	if (n > 0 && rd_kafka_group_result_error(r[0]) != NULL)
		fail("forget", rd_kafka_error_string(rd_kafka_group_result_error(r[0])));
	rd_kafka_event_destroy(ev);
	rd_kafka_DeleteGroup_destroy(g);
	rd_kafka_queue_destroy(q);
}

static int64_t
now_ms(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* A broker that stood still for a moment was fenced, and leads nothing before it is back. */
static rd_kafka_resp_err_t
wait_ends(rd_kafka_t *rk, const char *topic, int partition, int64_t *low, int64_t *high)
{
	time_t end = time(NULL) + WAIT_MS / 1000;
	for (;;) {
		rd_kafka_resp_err_t err =
			rd_kafka_query_watermark_offsets(rk, topic, partition, low, high, WAIT_MS);
		int passes = err == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION ||
			     err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART ||
			     err == RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE ||
			     err == RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION;
		if (!passes || time(NULL) >= end)
			return err;
		poll(NULL, 0, 100);
	}
}

/* ends SERVERS TOPIC PARTITION: first offset held and one past the last */
static void
ends(rd_kafka_t *rk, char **args)
{
	int64_t low, high;
	must("ends", wait_ends(rk, args[0], atoi(args[1]), &low, &high));
	printf("%lld %lld\n", (long long)low, (long long)high);
}

/* A broker that has just come back first loads the positions of its groups. */
static rd_kafka_resp_err_t
wait_committed(rd_kafka_t *rk, rd_kafka_topic_partition_list_t *list)
{
	time_t end = time(NULL) + WAIT_MS / 1000;
	for (;;) {
		rd_kafka_resp_err_t err = rd_kafka_committed(rk, list, WAIT_MS);
		int passes = err == RD_KAFKA_RESP_ERR_NOT_COORDINATOR ||
			     err == RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS ||
			     err == RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE;
		if (!passes || time(NULL) >= end)
			return err;
		poll(NULL, 0, 100);
	}
}

/* committed SERVERS TOPIC PARTITION GROUP: offset and metadata, -1 = none */
static void
committed(const char *servers, char **args)
{
	const char *const pairs[] = {"group.id", args[2], NULL};
	rd_kafka_t *rk = client(RD_KAFKA_CONSUMER, servers, pairs);
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
	rd_kafka_topic_partition_t *at =
		rd_kafka_topic_partition_list_add(list, args[0], atoi(args[1]));
	must("committed", wait_committed(rk, list));
	printf("%lld %.*s\n", at->offset < 0 ? -1 : (long long)at->offset, (int)at->metadata_size,
		at->metadata ? (const char *)at->metadata : "");
	rd_kafka_topic_partition_list_destroy(list);
	rd_kafka_destroy(rk);
}

/* commit SERVERS TOPIC PARTITION GROUP OFFSET METADATA */
static void
commit(const char *servers, char **args)
{
	const char *const pairs[] = {"group.id", args[2], NULL};
	rd_kafka_t *rk = client(RD_KAFKA_CONSUMER, servers, pairs);
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
	rd_kafka_topic_partition_t *at =
		rd_kafka_topic_partition_list_add(list, args[0], atoi(args[1]));
	at->offset = atoll(args[3]);
	at->metadata = strdup(args[4]);
	at->metadata_size = strlen(args[4]);
	must("commit", rd_kafka_commit(rk, list, 0));
	rd_kafka_topic_partition_list_destroy(list);
	rd_kafka_destroy(rk);
}

/*
 * hang SERVERS TOPIC: a transaction that is opened and neither committed nor aborted until stdin ends, with
 * one record in partition 0; then it is aborted.
 */
static void
hang(const char *servers, char **args)
{
	const char *const pairs[] = {
		"transactional.id", "hanging", "transaction.timeout.ms", "600000", NULL};
	char text[] = "hanging";
	rd_kafka_t *rk = client(RD_KAFKA_PRODUCER, servers, pairs);
	if (rd_kafka_init_transactions(rk, WAIT_MS) != NULL ||
		rd_kafka_begin_transaction(rk) != NULL)
		fail("hang", "no transaction");
	must("hang", rd_kafka_producev(rk, RD_KAFKA_V_TOPIC(args[0]), RD_KAFKA_V_PARTITION(0),
			     RD_KAFKA_V_VALUE(text, sizeof text - 1), RD_KAFKA_V_END));
	must("hang", rd_kafka_flush(rk, WAIT_MS));
	puts("hanging");
	fflush(stdout);
	while (getchar() != EOF)
		continue;
	if (rd_kafka_abort_transaction(rk, WAIT_MS) != NULL)
		fail("hang", "not aborted");
	rd_kafka_destroy(rk);
}

/* take SERVERS ID: that transactional id, from whoever has it */
static void
take(const char *servers, char **args)
{
	const char *const pairs[] = {"transactional.id", args[0], NULL};
	rd_kafka_t *rk = client(RD_KAFKA_PRODUCER, servers, pairs);
	if (rd_kafka_init_transactions(rk, WAIT_MS) != NULL)
		fail("take", "it is not given");
	rd_kafka_destroy(rk);
}

/* ready SERVERS: waits until the broker answers. */
static void
ready(rd_kafka_t *rk)
{
	const struct rd_kafka_metadata *md;
	int64_t end = now_ms() + WAIT_MS;
	while (rd_kafka_metadata(rk, 0, NULL, &md, 500) != RD_KAFKA_RESP_ERR_NO_ERROR)
		if (now_ms() > end)
			fail("ready", "the broker does not answer");
	rd_kafka_metadata_destroy(md);
}

/* selftest SERVERS: a topic, an acknowledged record, the record read back, a position with metadata. */
static void
selftest(const char *servers)
{
	char topic[64], text[] = "v";
	const char *const writes[] = {"enable.idempotence", "true", NULL};
	const char *const reads[] = {"group.id", topic, "auto.offset.reset", "earliest", NULL};
	snprintf(topic, sizeof topic, "selftest-%d-%lld", (int)getpid(), (long long)now_ms());
	char *created[] = {topic, strdup("1"), NULL};
	rd_kafka_t *p = client(RD_KAFKA_PRODUCER, servers, writes);
	ready(p);
	create(p, created);
	must("produce", rd_kafka_producev(p, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_VALUE(text, 1),
				RD_KAFKA_V_END));
	must("flush", rd_kafka_flush(p, WAIT_MS));
	rd_kafka_t *c = client(RD_KAFKA_CONSUMER, servers, reads);
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
	rd_kafka_topic_partition_list_add(list, topic, 0)->offset = 0;
	must("assign", rd_kafka_assign(c, list));
	rd_kafka_message_t *m = rd_kafka_consumer_poll(c, WAIT_MS);
	if (m == NULL || m->err != RD_KAFKA_RESP_ERR_NO_ERROR || m->len != 1)
		fail("consume", m ? rd_kafka_message_errstr(m) : "nothing came");
	rd_kafka_message_destroy(m);
	list->elems[0].offset = 1;
	list->elems[0].metadata = strdup("text");
	list->elems[0].metadata_size = 4;
	must("commit", rd_kafka_commit(c, list, 0));
	must("committed", rd_kafka_committed(c, list, WAIT_MS));
	if (list->elems[0].offset != 1 || list->elems[0].metadata_size != 4)
		fail("committed", "not what was committed");
	rd_kafka_topic_partition_list_destroy(list);
	rd_kafka_destroy(c);
	remove_topic(p, created);
	rd_kafka_destroy(p);
	free(created[1]);
}

int
main(int argc, char **argv)
{
	static const struct verb {
		const char *name;
		int arguments;
		void (*run)(rd_kafka_t *rk, char **args);
		void (*run_alone)(const char *servers, char **args);
	} verbs[] = {
		{"create", 2, create, NULL},
		{"remove", 1, remove_topic, NULL},
		{"grow", 2, grow, NULL},
		{"cut", 3, cut, NULL},
		{"forget", 1, forget, NULL},
		{"ends", 2, ends, NULL},
		{"committed", 3, NULL, committed},
		{"commit", 5, NULL, commit},
		{"hang", 1, NULL, hang},
		{"take", 1, NULL, take},
	};
	if (argc >= 3 && strcmp(argv[1], "selftest") == 0) {
		selftest(argv[2]);
		return 0;
	}
	for (size_t i = 0; argc >= 3 && i < sizeof verbs / sizeof verbs[0]; i++) {
		if (strcmp(argv[1], verbs[i].name) != 0 || argc - 3 < verbs[i].arguments)
			continue;
		if (verbs[i].run_alone != NULL) {
			verbs[i].run_alone(argv[2], argv + 3);
			return 0;
		}
		rd_kafka_t *rk = client(RD_KAFKA_PRODUCER, argv[2], NULL);
		verbs[i].run(rk, argv + 3);
		rd_kafka_destroy(rk);
		return 0;
	}
	fprintf(stderr, "usage: kafka-tool "
			"selftest|create|remove|grow|cut|forget|ends|committed|commit|hang|"
			"take "
			"SERVERS ...\n");
	return 2;
}
