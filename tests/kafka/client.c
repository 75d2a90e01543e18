/*
 * A writer and a reader that live on when their broker dies, which kcat does not.
 *
 *   write SERVERS TOPIC...    lines `topic partition key time value` on stdin, TOPICs counted from 0; prints
 *                             how many were acknowledged, and fails unless all of them were
 *   follow SERVERS TOPIC...   what is committed, from the beginning, until it is killed: a line
 *                             `topic partition offset time key headers value` for each record
 *   dump SERVERS TOPIC...     the same, to the end of what is committed now
 *
 * Columns are separated by tabs; headers are `name=value;...`.
 */
#include <librdkafka/rdkafka.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WAIT_MS 20000
/* A broker is away for seconds; one that stays away is a failure. */
#define FLUSH_MS 60000

_Noreturn static void
fail(const char *what, const char *why)
{
	fprintf(stderr, "kafka-client: %s: %s\n", what, why);
	exit(1);
}

static void
set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
	char words[256];
	if (rd_kafka_conf_set(conf, name, value, words, sizeof words) != RD_KAFKA_CONF_OK)
		fail(name, words);
}

static rd_kafka_t *
create(rd_kafka_type_t type, rd_kafka_conf_t *conf, const char *servers)
{
	char words[256];
	set(conf, "bootstrap.servers", servers);
	set(conf, "reconnect.backoff.max.ms", "500");
	set(conf, "log_level", "2");
	rd_kafka_t *rk = rd_kafka_new(type, conf, words, sizeof words);
	if (rk == NULL)
		fail("rd_kafka_new", words);
	return rk;
}

static long acknowledged, refused;

static void
on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *m, void *opaque)
{
	(void)rk, (void)opaque;
	if (m->err == RD_KAFKA_RESP_ERR_NO_ERROR)
		acknowledged++;
	else
		refused++;
}

static void
produce(rd_kafka_t *rk, char **topics, char *line)
{
	char *at[5];
	for (int i = 0; i < 5; i++)
		if ((at[i] = strsep(&line, i < 4 ? "\t" : "\n")) == NULL)
			fail("write", "a line without five columns");
	for (;;) {
		rd_kafka_resp_err_t e = rd_kafka_producev(rk, RD_KAFKA_V_TOPIC(topics[atoi(at[0])]),
			RD_KAFKA_V_PARTITION(atoi(at[1])), RD_KAFKA_V_KEY(at[2], strlen(at[2])),
			RD_KAFKA_V_TIMESTAMP(atoll(at[3])), RD_KAFKA_V_VALUE(at[4], strlen(at[4])),
			RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END);
		if (e == RD_KAFKA_RESP_ERR_NO_ERROR)
			break;
		if (e != RD_KAFKA_RESP_ERR__QUEUE_FULL)
			fail("write", rd_kafka_err2str(e));
		rd_kafka_poll(rk, 100);
	}
	rd_kafka_poll(rk, 0);
}

static void
write_lines(const char *servers, char **topics)
{
	char *line = NULL;
	size_t room = 0;
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	set(conf, "enable.idempotence", "true");
	set(conf, "message.timeout.ms", "0");
	rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
	rd_kafka_t *rk = create(RD_KAFKA_PRODUCER, conf, servers);
	while (getline(&line, &room, stdin) > 0)
		produce(rk, topics, line);
	free(line);
	rd_kafka_resp_err_t e = rd_kafka_flush(rk, FLUSH_MS);
	printf("%ld\n", acknowledged);
	if (e != RD_KAFKA_RESP_ERR_NO_ERROR || refused > 0)
		fail("write", "not all of it was acknowledged");
	rd_kafka_destroy(rk);
}

static void
print_bytes(const void *bytes, size_t len)
{
	fwrite(bytes, 1, len, stdout);
	putchar('\t');
}

static void
print_headers(const rd_kafka_message_t *m)
{
	rd_kafka_headers_t *list;
	const char *name;
	const void *value;
	size_t len;
	if (rd_kafka_message_headers(m, &list) == RD_KAFKA_RESP_ERR_NO_ERROR)
		for (size_t i = 0; rd_kafka_header_get_all(list, i, &name, &value, &len) ==
				   RD_KAFKA_RESP_ERR_NO_ERROR;
			i++)
			printf("%s=%.*s;", name, (int)len, (const char *)value);
	putchar('\t');
}

static void
print(const rd_kafka_message_t *m)
{
	rd_kafka_timestamp_type_t type;
	printf("%s\t%d\t%lld\t%lld\t", rd_kafka_topic_name(m->rkt), m->partition,
		(long long)m->offset, (long long)rd_kafka_message_timestamp(m, &type));
	print_bytes(m->key, m->key_len);
	print_headers(m);
	fwrite(m->payload, 1, m->len, stdout);
	putchar('\n');
}

static int
assign_all(rd_kafka_t *rk, char **topics)
{
	const struct rd_kafka_metadata *md;
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(16);
	for (; *topics != NULL; topics++) {
		rd_kafka_topic_t *t = rd_kafka_topic_new(rk, *topics, NULL);
		rd_kafka_resp_err_t e = rd_kafka_metadata(rk, 0, t, &md, WAIT_MS);
		if (e != RD_KAFKA_RESP_ERR_NO_ERROR)
			fail(*topics, rd_kafka_err2str(e));
		for (int i = 0; i < md->topics[0].partition_cnt; i++)
			rd_kafka_topic_partition_list_add(list, *topics, i)->offset =
				RD_KAFKA_OFFSET_BEGINNING;
		rd_kafka_metadata_destroy(md);
		rd_kafka_topic_destroy(t);
	}
	int count = list->cnt;
	rd_kafka_assign(rk, list);
	rd_kafka_topic_partition_list_destroy(list);
	return count;
}

static void
read_topics(const char *servers, char **topics, int is_dump)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	set(conf, "group.id", "kafka-client");
	set(conf, "enable.auto.commit", "false");
	set(conf, "isolation.level", "read_committed");
	set(conf, "enable.partition.eof", "true");
	set(conf, "auto.offset.reset", "error");
	rd_kafka_t *rk = create(RD_KAFKA_CONSUMER, conf, servers);
	int open = assign_all(rk, topics);
	while (!is_dump || open > 0) {
		rd_kafka_message_t *m = rd_kafka_consumer_poll(rk, 100);
		if (m == NULL || m->err != RD_KAFKA_RESP_ERR_NO_ERROR)
			fflush(stdout);
		if (m == NULL)
			continue;
		if (m->err == RD_KAFKA_RESP_ERR_NO_ERROR)
			print(m);
		else if (m->err == RD_KAFKA_RESP_ERR__PARTITION_EOF)
			open--;
		else if (m->err == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET)
			fail("read", rd_kafka_message_errstr(m));
		rd_kafka_message_destroy(m);
	}
	fflush(stdout);
	rd_kafka_destroy(rk);
}

int
main(int argc, char **argv)
{
	if (argc < 4)
		fail("usage", "write|follow|dump SERVERS TOPIC...");
	if (strcmp(argv[1], "write") == 0)
		write_lines(argv[2], argv + 3);
	else if (strcmp(argv[1], "follow") == 0 || strcmp(argv[1], "dump") == 0)
		read_topics(argv[2], argv + 3, argv[1][0] == 'd');
	else
		fail("usage", "write, follow or dump is meant");
	return 0;
}
