/*
 * The workers of the embedded log's model: processes with the log open, each of which does what it is asked through a
 * socket. A record is what its number makes it, so numbers are all that goes to and fro.
 */
#ifndef RFL_TESTS_MODEL_LOCAL_WORKER_H
#define RFL_TESTS_MODEL_LOCAL_WORKER_H

#include "../unit/local_bed.h"

#include <errno.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define WORKERS 3
#define STREAMS 3
#define PARTITIONS_MAX 3
#define SEND_MAX 20
#define READ_MAX 100
#define KEYS 40

enum { LOG, OUT, TABLE };

static const char *const names[STREAMS] = {"log", "out", "table"};
static const uint32_t partitions[STREAMS] = {3, 2, 1};
#define LOG_RETENTION (192 * 1024)

static uint32_t
mix(int64_t number)
{
	uint64_t x = (uint64_t)number * UINT64_C(0x9e3779b97f4a7c15);
	x ^= x >> 31;
	x *= UINT64_C(0xbf58476d1ce4e5b9);
	return (uint32_t)(x >> 33);
}

static int
partition_of(int stream, int64_t number)
{
	return (int)(mix(number) % partitions[stream]);
}

static int64_t
time_of(int64_t number)
{
	return number * 10 + mix(number) % 50;
}

static size_t
length_of(int64_t number)
{
	return 24 + mix(number) % 300;
}

static int
key_of(int64_t number)
{
	return (int)(mix(number) / 16 % KEYS);
}

static int
is_tombstone(int stream, int64_t number)
{
	return stream == TABLE && mix(number) % 7 == 0;
}

enum what {
	SEND,
	SEND_UNHEARD, /* no answer: the worker is killed meanwhile */
	COMMIT,       /* a transaction: records, and the position of the worker's group */
	ABORT,
	READ,
	ENDS,
	SET,
	POSITION,
	OFFSET_AT,
	REMAKE,
	STOP
};

struct request {
	enum what what;
	int stream, partition, count, group;
	int64_t number, offset;
};

struct answer {
	int32_t status;
	int count;
	int64_t start, end, position, offset;
	int64_t numbers[READ_MAX], offsets[READ_MAX];
};

struct worker {
	struct bed beds[STREAMS], txn;
	struct riffle_stream streams[STREAMS];
	struct riffle_config configs[STREAMS];
	struct riffle_value values[STREAMS][16];
	const struct riffle_positions *positions;
	void *self;
	int is_reading[STREAMS];
};

static void
make_stream(struct worker *w, int n)
{
	w->streams[n] = stream_of(names[n], partitions[n]);
	memcpy(w->values[n], stream_values, sizeof stream_values);
	w->configs[n] = stream_config;
	w->configs[n].values = w->values[n];
	w->streams[n].config = &w->configs[n];
}

static void
configure(struct worker *w)
{
	take_defaults(RIFFLE_SECTION_STREAM, &stream_config, stream_values);
	set_stream("segment", 64 << 10);
	set_stream("tombstones", 86400000);
	make_stream(w, OUT);
	set_stream("retention-size", LOG_RETENTION);
	make_stream(w, LOG);
	set_stream("retention-size", 0);
	set_stream("cleanup", 1);
	set_stream("segment-age", 100);
	set_stream("tombstones", 1);
	make_stream(w, TABLE);
}

static void
open_stream(struct worker *w, int n)
{
	w->beds[n].self = w->self;
	provision(w->self, &w->streams[n]);
	open_sink(&w->beds[n], &w->streams[n]);
	open_source(&w->beds[n], &w->streams[n], NULL, RIFFLE_START_EARLIEST, 0);
}

static void
open_worker(struct worker *w, int number)
{
	char group[8];
	struct riffle_error err = {0};
	configure(w);
	w->self = open_self();
	w->positions = ops->extension(w->self, RIFFLE_EXT_POSITIONS);
	for (int n = 0; n < STREAMS; n++)
		open_stream(w, n);
	snprintf(group, sizeof group, "g%d", number);
	w->txn.self = w->self;
	w->txn.transactions = ops->extension(w->self, RIFFLE_EXT_TRANSACTIONS);
	open_sink(&w->txn, &w->streams[OUT]);
	const struct riffle_txn_spec spec = {.size = sizeof spec, .sink = w->txn.sink, .id = group};
	must(w->txn.transactions->open(w->self, &spec, &w->txn.txn, &err), &err);
	await_sink(&w->txn, RIFFLE_EV_TXN_READY);
	open_source(&w->txn, &w->streams[OUT], group, RIFFLE_START_EARLIEST, 0);
}

static void
close_worker(struct worker *w)
{
	close_source(&w->txn);
	close_sink(&w->txn);
	for (int n = 0; n < STREAMS; n++) {
		close_source(&w->beds[n]);
		close_sink(&w->beds[n]);
	}
	ops->destroy(w->self);
}

static char texts[SEND_MAX][512], keys[SEND_MAX][16], digits[SEND_MAX][24];
static struct riffle_header headers[SEND_MAX];

static void
make_records(struct riffle_record *r, const struct request *q)
{
	for (int i = 0; i < q->count; i++) {
		int64_t n = q->number + i;
		memset(texts[i], 'x', sizeof texts[i]);
		snprintf(digits[i], sizeof digits[i], "%lld", (long long)n);
		headers[i] = (struct riffle_header){bytes("n"), bytes(digits[i])};
		snprintf(keys[i], sizeof keys[i], "%d", key_of(n));
		r[i] = (struct riffle_record){.key = bytes(keys[i]),
			.time_ms = time_of(n),
			.header_first = (uint32_t)i,
			.header_count = 1,
			.partition = partition_of(q->stream, n)};
		if (!is_tombstone(q->stream, n))
			r[i].value = (struct riffle_bytes){texts[i], length_of(n)};
	}
}

static void
do_send(struct worker *w, const struct request *q, struct answer *a)
{
	struct bed *b = &w->beds[q->stream];
	struct riffle_error err = {0};
	struct riffle_record r[SEND_MAX];
	make_records(r, q);
	struct riffle_batch batch = batch_of(r, (uint32_t)q->count, headers, (uint32_t)q->count);
	if (ops->sink_send(b->sink, &batch, 0, (uint32_t)q->count, 7, &err) != q->count)
		fail_msg("not taken: %s", err.text);
	await_sink(b, RIFFLE_EV_SENT);
	a->status = b->ev.sent[0].status;
	a->count = q->count;
	for (int i = 0; i < q->count; i++)
		a->offsets[i] = b->ev.sent[i].offset;
	take_back(b);
}

static void
do_txn(struct worker *w, const struct request *q, struct answer *a)
{
	struct bed *b = &w->txn;
	struct riffle_error err = {0};
	struct riffle_record r[SEND_MAX];
	const struct riffle_position at = {.offset = q->offset, .metadata = bytes("m")};
	make_records(r, q);
	struct riffle_batch batch = batch_of(r, (uint32_t)q->count, headers, (uint32_t)q->count);
	must(b->transactions->begin(b->txn, &err), &err);
	if (ops->sink_send(b->sink, &batch, 0, (uint32_t)q->count, 1, &err) != q->count)
		fail_msg("not taken: %s", err.text);
	if (q->what == COMMIT)
		must(b->transactions->commit(b->txn, &at, 1, 1, &err), &err);
	else
		must(b->transactions->abort(b->txn, 1, &err), &err);
	await_sink(b, RIFFLE_EV_TXN);
	a->status = b->ev.status;
	take_back(b);
}

static int
key_in(const struct riffle_record *r)
{
	char text[8] = "";
	memcpy(text, r->key.ptr, r->key.len < 7 ? r->key.len : 7);
	return atoi(text);
}

/* The number of a record that is what its number makes it, else -1. */
static int64_t
number_in(const struct riffle_batch *b, const struct riffle_record *r, int stream)
{
	char text[24] = "";
	if (r->header_count != 1)
		return -1;
	struct riffle_bytes value = b->headers[r->header_first].value;
	memcpy(text, value.ptr, value.len < sizeof text ? value.len : sizeof text - 1);
	int64_t n = atoll(text);
	size_t length = r->value.ptr ? r->value.len : 0;
	return length == (is_tombstone(stream, n) ? 0 : length_of(n)) &&
			       (r->value.ptr == NULL) == is_tombstone(stream, n) &&
			       r->time_ms == time_of(n) && key_in(r) == key_of(n)
		       ? n
		       : -1;
}

static void
do_read(struct worker *w, const struct request *q, struct answer *a)
{
	struct bed *b = &w->beds[q->stream];
	struct riffle_error err = {0};
	struct riffle_batch *batch;
	const uint32_t lane = (uint32_t)q->partition;
	const struct riffle_position from = {.partition = q->partition, .offset = q->offset};
	must(ops->source_rewind(b->source, &lane, &from, 1, &err), &err);
	while (a->count < q->count) {
		int rc = ops->lane_poll(
			b->source, lane, (uint32_t)(q->count - a->count), 1 << 20, &batch, &err);
		if (rc < 0)
			a->status = rc;
		if (rc < 0 || (rc == 0 && !is_waiting(b, lane)))
			break;
		if (rc == 0)
			continue;
		batch->host[0] = 1;
		for (uint32_t i = 0; i < batch->record_count; i++, a->count++) {
			a->offsets[a->count] = riffle_batch_at(batch, i)->offset;
			a->numbers[a->count] =
				number_in(batch, riffle_batch_at(batch, i), q->stream);
		}
		batch_unref(&host, batch);
	}
}

static void
do_look(struct worker *w, const struct request *q, struct answer *a)
{
	char group[8];
	struct riffle_partition_list *list;
	struct riffle_error err = {0};
	snprintf(group, sizeof group, "g%d", q->group);
	must(w->positions->partitions(w->self, &w->streams[q->stream],
		     q->what == POSITION ? group : NULL, &list, &err),
		&err);
	a->start = list->partitions[q->partition].log_start;
	a->end = list->partitions[q->partition].log_end;
	a->position = list->partitions[q->partition].committed.offset;
	list->release(list);
}

static void
do_set(struct worker *w, const struct request *q, struct answer *a)
{
	char group[8];
	struct riffle_error err = {0};
	const struct riffle_stream *s = &w->streams[q->stream];
	const struct riffle_position at = {.partition = q->partition, .offset = q->offset};
	snprintf(group, sizeof group, "g%d", q->group);
	a->status = w->positions->set(w->self, group, &s, 1, &at, 1, &err);
}

/* The stream that only this worker has open at the moment. */
static void
do_remake(struct worker *w, const struct request *q, struct answer *a)
{
	struct riffle_error err = {0};
	const struct riffle_stream s = stream_of("other", 2);
	struct bed b = {.self = w->self};
	provision(w->self, &s);
	open_sink(&b, &s);
	for (int i = 0; i < q->count; i++)
		send_text(&b, "x", i);
	open_source(&b, &s, NULL, RIFFLE_START_EARLIEST, 0);
	a->end = b.ev.lanes[0].log_end + b.ev.lanes[1].log_end;
	close_source(&b);
	close_sink(&b);
	a->status = ops->remove(w->self, &s, &err);
}

static void
serve(struct worker *w, const struct request *q, struct answer *a)
{
	struct riffle_error err = {0};
	switch (q->what) {
	case SEND:
	case SEND_UNHEARD:
		do_send(w, q, a);
		break;
	case COMMIT:
	case ABORT:
		do_txn(w, q, a);
		break;
	case READ:
		do_read(w, q, a);
		break;
	case ENDS:
	case POSITION:
		do_look(w, q, a);
		break;
	case SET:
		do_set(w, q, a);
		break;
	case OFFSET_AT:
		a->status = w->positions->offset_at(
			w->self, &w->streams[q->stream], q->partition, q->offset, &a->offset, &err);
		break;
	case REMAKE:
		do_remake(w, q, a);
		break;
	case STOP:
		close_worker(w);
		break;
	}
}

static void
work(int fd, int number)
{
	static struct worker w;
	static struct request q;
	static struct answer a;
	open_worker(&w, number);
	if (send(fd, "", 1, 0) < 0)
		exit(3);
	do {
		memset(&a, 0, sizeof a);
		if (recv(fd, &q, sizeof q, 0) != (ssize_t)sizeof q)
			exit(2);
		serve(&w, &q, &a);
		size_t size = offsetof(struct answer, numbers);
		if (a.count > 0)
			size = sizeof a;
		if (send(fd, &a, size, 0) < 0)
			exit(3);
	} while (q.what != STOP);
}

#endif
