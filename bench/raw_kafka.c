/*
 * The loop that a program written for nothing else would run over librdkafka: what riffle is measured against.
 *
 *   load SERVERS TOPIC RECORDS value|full|events   JSON strings of 100 bytes; full has a 16-byte key and two
 *                                              headers beside that, events an envelope's headers as well
 *   run SERVERS IN OUT RECORDS value|full|events MESSAGES   copies them, at least once; events writes an
 *                                              envelope's headers beside the record's; at most so many
 *                                              messages wait to be written
 *   relay SERVERS IN OUT SECONDS               copies what comes, with a thread for the commits
 *   probe SERVERS IN OUT RATE SECONDS          writes at a rate, reads OUT: percentiles of the latency, which
 *                                              counts from when a record should have been sent
 */
#include "raw_kafka.h"

#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

static int copies_all, writes_events;

static void
set_mode(const char *mode)
{
	copies_all = strcmp(mode, "value") != 0;
	writes_events = strcmp(mode, "events") == 0;
}

static void
add_event(rd_kafka_headers_t *h, int32_t partition, int64_t offset)
{
	char id[64];
	snprintf(id, sizeof id, "%d/in:%lld", partition, (long long)offset);
	rd_kafka_header_add(h, "content-type", -1, "application/octet-stream", -1);
	rd_kafka_header_add(h, "ce_specversion", -1, "1.0", -1);
	rd_kafka_header_add(h, "ce_id", -1, id, -1);
	rd_kafka_header_add(h, "ce_source", -1, "raw", -1);
	rd_kafka_header_add(h, "ce_type", -1, "riffle-event", -1);
}

static rd_kafka_headers_t *
new_headers(long number)
{
	rd_kafka_headers_t *headers = rd_kafka_headers_new(8);
	rd_kafka_header_add(headers, "src", -1, "load", 4);
	rd_kafka_header_add(headers, "ver", -1, "1.0.0", 5);
	if (writes_events)
		add_event(headers, 0, number);
	return headers;
}

static void
load(char **a)
{
	rd_kafka_t *rk = producer(a[0]);
	long count = atol(a[2]);
	char key[17], value[100];
	memset(value, 'v', sizeof value);
	value[0] = value[sizeof value - 1] = '"';
	set_mode(a[3]);
	for (long i = 0; i < count; i++) {
		rd_kafka_vu_t vu[5] = {{.vtype = RD_KAFKA_VTYPE_TOPIC, .u.cstr = a[1]},
			{.vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = {value, sizeof value}},
			{.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = RD_KAFKA_MSG_F_COPY}};
		size_t n = 3;
		if (copies_all) {
			snprintf(key, sizeof key, "%016ld", i % 100000);
			vu[n++] = (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_KEY, .u.mem = {key, 16}};
			vu[n++] = (rd_kafka_vu_t){
				.vtype = RD_KAFKA_VTYPE_HEADERS, .u.headers = new_headers(i)};
		}
		produce(rk, vu, n);
		if (i % 1000 == 0)
			rd_kafka_poll(rk, 0);
	}
	if (rd_kafka_flush(rk, 120000) != RD_KAFKA_RESP_ERR_NO_ERROR)
		fail("flush", a[1]);
	rd_kafka_destroy(rk);
}

static void
copy(rd_kafka_t *out, rd_kafka_topic_t *to, rd_kafka_message_t *m)
{
	rd_kafka_vu_t vu[7];
	size_t n = 0;
	vu[n].vtype = RD_KAFKA_VTYPE_RKT;
	vu[n++].u.rkt = to;
	vu[n].vtype = RD_KAFKA_VTYPE_VALUE;
	vu[n].u.mem.ptr = m->payload;
	vu[n++].u.mem.size = m->len;
	vu[n].vtype = RD_KAFKA_VTYPE_MSGFLAGS;
	vu[n++].u.i = RD_KAFKA_MSG_F_COPY;
	if (copies_all) {
		rd_kafka_headers_t *from, *headers = NULL;
		rd_kafka_timestamp_type_t type;
		vu[n].vtype = RD_KAFKA_VTYPE_KEY;
		vu[n].u.mem.ptr = m->key;
		vu[n++].u.mem.size = m->key_len;
		vu[n].vtype = RD_KAFKA_VTYPE_TIMESTAMP;
		vu[n++].u.i64 = rd_kafka_message_timestamp(m, &type);
		if (rd_kafka_message_headers(m, &from) == RD_KAFKA_RESP_ERR_NO_ERROR)
			headers = rd_kafka_headers_copy(from);
		if (writes_events) {
			headers = headers ? headers : rd_kafka_headers_new(5);
			add_event(headers, m->partition, m->offset);
		}
		if (headers != NULL) {
			vu[n].vtype = RD_KAFKA_VTYPE_HEADERS;
			vu[n++].u.headers = headers;
		}
	}
	produce(out, vu, n);
}

static long
copy_some(rd_kafka_t *out, rd_kafka_topic_t *to, rd_kafka_queue_t *q, int wait_ms,
	rd_kafka_topic_partition_list_t *positions)
{
	static rd_kafka_message_t *batch[BATCH];
	long copied = 0;
	ssize_t n = rd_kafka_consume_batch_queue(q, wait_ms, batch, BATCH);
	for (ssize_t i = 0; i < n; i++) {
		if (batch[i]->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
			copy(out, to, batch[i]);
			positions->elems[batch[i]->partition].offset = batch[i]->offset + 1;
			copied++;
		}
		rd_kafka_message_destroy(batch[i]);
	}
	rd_kafka_poll(out, 0);
	return copied;
}

static void
run(char **a)
{
	most_messages = a[5];
	rd_kafka_t *in = consumer(a[0]), *out = producer(a[0]);
	rd_kafka_topic_t *to = rd_kafka_topic_new(out, a[2], NULL);
	rd_kafka_topic_partition_list_t *positions = assign(in, a[1], RD_KAFKA_OFFSET_BEGINNING);
	rd_kafka_queue_t *q = rd_kafka_queue_get_consumer(in);
	long count = atol(a[3]), done = 0;
	int64_t committed = now_us(CLOCK_MONOTONIC);
	set_mode(a[4]);
	while (done < count) {
		done += copy_some(out, to, q, 20, positions);
		if (now_us(CLOCK_MONOTONIC) - committed < 1000000)
			continue;
		safe(in, out, positions);
		committed = now_us(CLOCK_MONOTONIC);
	}
	safe(in, out, positions);
	struct rusage u;
	getrusage(RUSAGE_SELF, &u);
	printf("%ld %.6f %ld\n", done,
		(double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
			(double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6,
		u.ru_maxrss);
	fflush(stdout);
	_exit(0);
}

struct commits {
	rd_kafka_t *in;
	rd_kafka_topic_partition_list_t *positions;
};

/* What is committed may lag behind: it is the cost that counts here. */
static void *
commit_each_second(void *arg)
{
	struct commits *c = arg;
	for (;;) {
		sleep(1);
		rd_kafka_commit(c->in, c->positions, 0);
	}
	return NULL;
}

static void
relay(char **a)
{
	pthread_t thread;
	linger = "2";
	rd_kafka_t *in = consumer(a[0]), *out = producer(a[0]);
	rd_kafka_topic_t *to = rd_kafka_topic_new(out, a[2], NULL);
	rd_kafka_topic_partition_list_t *positions = assign(in, a[1], RD_KAFKA_OFFSET_END);
	struct commits c = {in, positions};
	rd_kafka_queue_t *q = rd_kafka_queue_get_consumer(in);
	int64_t end = now_us(CLOCK_MONOTONIC) + atol(a[3]) * 1000000;
	copies_all = 1;
	pthread_create(&thread, NULL, commit_each_second, &c);
	while (now_us(CLOCK_MONOTONIC) < end)
		copy_some(out, to, q, 1, positions);
	_exit(0);
}

struct probe {
	const char *servers, *topic;
	long rate;
	int seconds;
};

static void *
write_at_rate(void *arg)
{
	const struct probe *p = arg;
	linger = "0";
	rd_kafka_t *rk = producer(p->servers);
	int64_t begin = now_us(CLOCK_MONOTONIC);
	for (long i = 0; i < p->rate * p->seconds; i++) {
		int64_t due = begin + i * 1000000 / p->rate, left;
		char value[100] = {0}, key[17];
		while ((left = due - now_us(CLOCK_MONOTONIC)) > 0) {
			rd_kafka_poll(rk, 0);
			usleep(left > 1000 ? 1000 : (useconds_t)left);
		}
		memcpy(value, &due, sizeof due);
		snprintf(key, sizeof key, "%016ld", i % 1000);
		rd_kafka_vu_t vu[5] = {{.vtype = RD_KAFKA_VTYPE_TOPIC, .u.cstr = p->topic},
			{.vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = {value, sizeof value}},
			{.vtype = RD_KAFKA_VTYPE_KEY, .u.mem = {key, 16}},
			{.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = RD_KAFKA_MSG_F_COPY},
			{.vtype = RD_KAFKA_VTYPE_HEADERS, .u.headers = new_headers(i)}};
		produce(rk, vu, 5);
	}
	rd_kafka_flush(rk, 10000);
	rd_kafka_destroy(rk);
	return NULL;
}

static int
by_size(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
	return (x > y) - (x < y);
}

/* The first three seconds do not count. */
static void
probe(char **a)
{
	struct probe p = {a[0], a[1], atol(a[3]), atoi(a[4])};
	rd_kafka_t *rk = consumer(a[0]);
	pthread_t thread;
	assign(rk, a[2], RD_KAFKA_OFFSET_END);
	long expected = p.rate * p.seconds, skipped = p.rate * 3, got = 0;
	int64_t *took = malloc((size_t)expected * sizeof *took);
	rd_kafka_consumer_poll(rk, 500);
	pthread_create(&thread, NULL, write_at_rate, &p);
	int64_t end = now_us(CLOCK_MONOTONIC) + (p.seconds + 20) * (int64_t)1000000;
	while (got < expected && now_us(CLOCK_MONOTONIC) < end) {
		rd_kafka_message_t *m = rd_kafka_consumer_poll(rk, 100);
		if (m == NULL)
			continue;
		if (m->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
			int64_t due;
			memcpy(&due, m->payload, sizeof due);
			took[got++] = now_us(CLOCK_MONOTONIC) - due;
		}
		rd_kafka_message_destroy(m);
	}
	if (got < expected)
		fail("probe", "records are missing");
	qsort(took + skipped, (size_t)(got - skipped), sizeof *took, by_size);
	got -= skipped;
	printf("%.3f %.3f %.3f\n", (double)took[skipped + got / 2] / 1000,
		(double)took[skipped + got * 99 / 100] / 1000,
		(double)took[skipped + got * 999 / 1000] / 1000);
	fflush(stdout);
	_exit(0);
}

int
main(int argc, char **argv)
{
	if (argc == 6 && strcmp(argv[1], "load") == 0)
		load(argv + 2);
	else if (argc == 8 && strcmp(argv[1], "run") == 0)
		run(argv + 2);
	else if (argc == 6 && strcmp(argv[1], "relay") == 0)
		relay(argv + 2);
	else if (argc == 7 && strcmp(argv[1], "probe") == 0)
		probe(argv + 2);
	else
		fail("usage", "load | run | relay | probe");
	return 0;
}
