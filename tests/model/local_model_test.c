/*
 * The embedded log against a list in memory: random sends, transactions, reads, positions, look-ups, removals,
 * restarts and kills in several processes, while retention and compaction go on in all of them.
 *
 * RIFFLE_SEED repeats a run, RIFFLE_OPERATIONS says how long it is.
 */
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

/* A record is what its number makes it. */
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

/* The side of the workers. */

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

/* The side of the list in memory. */

struct list {
	int64_t *numbers; /* by offset */
	int64_t count, room, start;
};

struct other {
	pid_t pid;
	int fd;
	int64_t position; /* of its group, in partition 0 of "out" */
};

static struct list lists[STREAMS][PARTITIONS_MAX];
static struct other others[WORKERS];
static int64_t next_number;
static long counts[STOP + 3];
static uint64_t random_state;

static uint32_t
draw(uint32_t below)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (uint32_t)(random_state >> 32) % below;
}

static struct list *
list_of(int stream, int partition)
{
	return &lists[stream][partition];
}

static void
add(int stream, int64_t number)
{
	struct list *l = list_of(stream, partition_of(stream, number));
	if (l->count == l->room) {
		l->room = l->room ? 2 * l->room : 1024;
		l->numbers = realloc(l->numbers, (size_t)l->room * sizeof *l->numbers);
		assert_non_null(l->numbers);
	}
	l->numbers[l->count++] = number;
}

static void
start_worker(int n)
{
	int pair[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	others[n].pid = fork();
	if (others[n].pid == 0) {
		for (int i = 0; i < WORKERS; i++)
			if (i != n && others[i].fd > 0)
				close(others[i].fd);
		close(pair[0]);
		work(pair[1], n);
		_exit(0);
	}
	close(pair[1]);
	others[n].fd = pair[0];
	/* The others may look at its group as soon as it has it. */
	char ready;
	assert_int_equal(recv(others[n].fd, &ready, 1, 0), 1);
}

static void
end_worker(int n, int expected)
{
	int status;
	assert_int_equal(waitpid(others[n].pid, &status, 0), others[n].pid);
	assert_int_equal(status, expected);
	close(others[n].fd);
	others[n].fd = -1;
}

static void
ask(int n, const struct request *q, struct answer *a)
{
	assert_int_equal(send(others[n].fd, q, sizeof *q, MSG_NOSIGNAL), sizeof *q);
	if (recv(others[n].fd, a, sizeof *a, 0) < (ssize_t)offsetof(struct answer, numbers))
		fail_msg("worker %d gave no answer to %d", n, q->what);
	counts[q->what]++;
}

static struct request
random_send(void)
{
	struct request q = {.what = SEND,
		.stream = (int)draw(STREAMS),
		.count = 1 + (int)draw(draw(4) ? 4 : SEND_MAX),
		.number = next_number};
	next_number += q.count;
	return q;
}

static void
op_send(int n)
{
	struct answer a;
	struct request q = random_send();
	ask(n, &q, &a);
	assert_int_equal(a.status, RIFFLE_OK);
	for (int i = 0; i < q.count; i++) {
		int64_t number = q.number + i;
		assert_int_equal(
			a.offsets[i], list_of(q.stream, partition_of(q.stream, number))->count);
		add(q.stream, number);
	}
}

static void
op_txn(int n)
{
	struct answer a;
	struct request q = random_send();
	q.stream = OUT;
	q.what = draw(4) ? COMMIT : ABORT;
	q.offset = draw((uint32_t)list_of(OUT, 0)->count + 1);
	ask(n, &q, &a);
	assert_int_equal(a.status, q.what == COMMIT ? RIFFLE_TXN_COMMITTED : RIFFLE_TXN_ABORTED);
	if (q.what == ABORT)
		return;
	for (int i = 0; i < q.count; i++)
		add(OUT, q.number + i);
	others[n].position = q.offset;
}

/* Where a partition starts can only go up, and no more than retention says. */
static void
take_start(int stream, int partition, int64_t start)
{
	struct list *l = list_of(stream, partition);
	int64_t bytes = 0;
	assert_true(start >= l->start && start <= l->count);
	if (start == l->start)
		return;
	assert_true(stream != OUT);
	l->start = start;
	for (int64_t i = start; i < l->count && stream == LOG; i++)
		bytes += (int64_t)length_of(l->numbers[i]) + 60;
	/* Pages are not full to the last byte. */
	if (stream == LOG)
		assert_true(bytes >= LOG_RETENTION * 7 / 10);
}

static void
look(int n, int stream, int partition)
{
	struct answer a;
	const struct request q = {.what = ENDS, .stream = stream, .partition = partition};
	ask(n, &q, &a);
	assert_int_equal(a.end, list_of(stream, partition)->count);
	take_start(stream, partition, a.start);
}

static void
op_ends(int n)
{
	int stream = (int)draw(STREAMS);
	look(n, stream, (int)draw(partitions[stream]));
}

static void
check_log_read(int n, const struct request *q, const struct answer *a)
{
	struct list *l = list_of(q->stream, q->partition);
	if (a->status != RIFFLE_OK) {
		/* It went behind retention since it was looked at. */
		assert_int_equal(a->status, RIFFLE_E_NOTFOUND);
		look(n, q->stream, q->partition);
		assert_true(q->offset + a->count < l->start);
		return;
	}
	int64_t expected = l->count - q->offset < q->count ? l->count - q->offset : q->count;
	assert_int_equal(a->count, expected);
	for (int i = 0; i < a->count; i++) {
		assert_int_equal(a->offsets[i], q->offset + i);
		assert_int_equal(a->numbers[i], l->numbers[q->offset + i]);
	}
}

static void
op_read(int n)
{
	struct answer a;
	struct request q = {.what = READ, .stream = (int)draw(2), .count = 1 + (int)draw(READ_MAX)};
	q.partition = (int)draw(partitions[q.stream]);
	struct list *l = list_of(q.stream, q.partition);
	/* Near the end more often than not. */
	uint32_t span = (uint32_t)(l->count - l->start);
	q.offset = l->count - draw(1 + (draw(3) && span > 300 ? 300 : span));
	ask(n, &q, &a);
	check_log_read(n, &q, &a);
}

/* Of a compacted stream: what is there is as it was sent, and the newest of each key is there. */
static void
op_read_table(int n)
{
	static struct answer a;
	struct list *l = list_of(TABLE, 0);
	int64_t newest[KEYS], seen[KEYS], last = -1;
	struct request q = {.what = READ, .stream = TABLE, .count = READ_MAX, .offset = 0};
	for (int k = 0; k < KEYS; k++)
		newest[k] = seen[k] = -1;
	for (int64_t i = 0; i < l->count; i++)
		newest[key_of(l->numbers[i])] = i;
	do {
		ask(n, &q, &a);
		assert_int_equal(a.status, RIFFLE_OK);
		for (int i = 0; i < a.count; i++) {
			assert_true(a.offsets[i] > last && a.offsets[i] < l->count);
			last = a.offsets[i];
			assert_int_equal(a.numbers[i], l->numbers[last]);
			seen[key_of(a.numbers[i])] = last;
		}
		q.offset = last + 1;
	} while (a.count == READ_MAX);
	for (int k = 0; k < KEYS; k++)
		if (newest[k] >= 0 && !is_tombstone(TABLE, l->numbers[newest[k]]))
			assert_int_equal(seen[k], newest[k]);
}

static void
op_position(int n)
{
	struct answer a;
	const struct request q = {.what = POSITION, .stream = OUT, .group = (int)draw(WORKERS)};
	ask(n, &q, &a);
	assert_int_equal(a.position, others[q.group].position);
}

/* Each worker holds its own group; another's cannot be set. Group 9 is nobody's. */
static void
op_set(int n)
{
	static int64_t free_position = RIFFLE_OFFSET_NONE;
	struct answer a;
	struct request q = {.what = SET,
		.stream = OUT,
		.group = draw(3) ? 9 : (int)draw(WORKERS),
		.offset = draw((uint32_t)list_of(OUT, 0)->count + 1)};
	ask(n, &q, &a);
	assert_int_equal(a.status, q.group == 9 ? RIFFLE_OK : RIFFLE_E_UNAVAILABLE);
	if (q.group == 9)
		free_position = q.offset;
	q = (struct request){.what = POSITION, .stream = OUT, .group = 9};
	ask((int)draw(WORKERS), &q, &a);
	assert_int_equal(a.position, free_position);
}

static void
op_offset_at(int n)
{
	struct answer a;
	struct request q = {.what = OFFSET_AT, .stream = (int)draw(2)};
	q.partition = (int)draw(partitions[q.stream]);
	struct list *l = list_of(q.stream, q.partition);
	int64_t recent = next_number > 3000 ? next_number - 3000 : 0;
	q.offset = draw(2) ? recent * 10 + draw(30000) : draw((uint32_t)next_number * 10 + 100);
	ask(n, &q, &a);
	assert_int_equal(a.status, RIFFLE_OK);
	look(n, q.stream, q.partition);
	/* Of what is still there, the first that is new enough; retention may have come between. */
	/* Numbers grow, and a record's time is its number's within 50: no earlier one can be it. */
	int64_t expected = l->start, below = l->count;
	while (expected < below) {
		int64_t middle = (expected + below) / 2;
		if (l->numbers[middle] * 10 + 50 < q.offset)
			expected = middle + 1;
		else
			below = middle;
	}
	while (expected < l->count && time_of(l->numbers[expected]) < q.offset)
		expected++;
	assert_true(a.offset == expected || (a.offset < l->start && expected == l->start));
}

static void
op_remake(int n)
{
	struct answer a;
	const struct request q = {.what = REMAKE, .count = (int)draw(4)};
	ask(n, &q, &a);
	assert_int_equal(a.status, RIFFLE_OK);
	assert_int_equal(a.end, q.count);
}

static void
op_restart(int n)
{
	struct answer a;
	const struct request q = {.what = STOP};
	ask(n, &q, &a);
	end_worker(n, 0);
	start_worker(n);
}

/* It dies with a send under way: all of its records of a send are there, or none. */
static void
op_kill(int n)
{
	struct answer a;
	struct request q = random_send();
	q.what = SEND_UNHEARD;
	if (draw(2)) {
		assert_int_equal(send(others[n].fd, &q, sizeof q, MSG_NOSIGNAL), sizeof q);
		for (uint32_t i = draw(3000); i > 0; i--)
			__asm__ volatile("");
		counts[SEND_UNHEARD]++;
	}
	kill(others[n].pid, SIGKILL);
	end_worker(n, SIGKILL);
	counts[STOP + 1]++;
	start_worker(n);
	/* One look tells for all, which the checks that follow confirm. */
	int p = partition_of(q.stream, q.number);
	const struct request ends = {.what = ENDS, .stream = q.stream, .partition = p};
	ask(n, &ends, &a);
	if (a.end == list_of(q.stream, p)->count)
		return;
	for (int i = 0; i < q.count; i++)
		add(q.stream, q.number + i);
	for (uint32_t i = 0; i < partitions[q.stream]; i++)
		look(n, q.stream, (int)i);
}

static void
operate(void)
{
	static const struct {
		uint32_t weight;
		void (*run)(int worker);
	} kinds[] = {{400, op_send}, {120, op_txn}, {300, op_read}, {60, op_ends},
		{30, op_position}, {10, op_set}, {30, op_offset_at}, {4, op_read_table},
		{1, op_remake}};
	uint32_t sum = 0;
	for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
		sum += kinds[i].weight;
	uint32_t at = draw(sum * 1000);
	if (at < 300) {
		(at < 150 ? op_restart : op_kill)((int)draw(WORKERS));
		return;
	}
	at = draw(sum);
	for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
		if (at < kinds[i].weight) {
			kinds[i].run((int)draw(WORKERS));
			return;
		}
		at -= kinds[i].weight;
	}
}

static long
number_given(const char *name, long fallback)
{
	const char *given = getenv(name);
	return given ? atol(given) : fallback;
}

static int64_t
records_of(int n, int stream)
{
	struct riffle_stream s = stream_of(names[stream], partitions[stream]);
	struct riffle_stream_info info = {.size = sizeof info};
	struct riffle_error err = {0};
	(void)n;
	void *self = open_self();
	must(ops->describe(self, &s, &info, &err), &err);
	ops->destroy(self);
	return info.records;
}

static void
test_agrees_with_a_list(void **state)
{
	(void)state;
	long operations = number_given("RIFFLE_OPERATIONS", 100000), done = 0;
	long seed = number_given("RIFFLE_SEED", (long)time(NULL));
	printf("# seed %ld (RIFFLE_SEED)\n", seed);
	fflush(stdout);
	random_state = (uint64_t)seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
	set_provider("clean-interval", 20);
	set_provider("open-segments", 8);
	set_provider("map-size", INT64_C(1) << 32);
	for (int n = 0; n < WORKERS; n++) {
		others[n].fd = -1;
		start_worker(n);
	}
	while (done < operations) {
		operate();
		done = 0;
		for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
			done += counts[i];
	}
	for (int s = 0; s < STREAMS; s++)
		for (uint32_t p = 0; p < partitions[s]; p++)
			look(0, s, (int)p);
	op_read_table(1);
	for (int n = 0; n < WORKERS; n++) {
		struct answer a;
		const struct request q = {.what = STOP};
		ask(n, &q, &a);
		end_worker(n, 0);
	}
	int64_t left = records_of(0, TABLE);
	printf("# %ld operations: %ld sends, %ld commits, %ld aborts, %ld reads, %ld look-ups by "
	       "time, %ld restarts, %ld kills; %lld records, retention took %lld, compaction "
	       "%lld\n",
		done, counts[SEND], counts[COMMIT], counts[ABORT], counts[READ], counts[OFFSET_AT],
		counts[STOP], counts[STOP + 1], (long long)next_number,
		(long long)(lists[LOG][0].start + lists[LOG][1].start + lists[LOG][2].start),
		(long long)(lists[TABLE][0].count - left));
	if (operations >= 100000) {
		assert_true(lists[LOG][0].start > 0);
		assert_true(left < lists[TABLE][0].count / 2);
	}
	for (int s = 0; s < STREAMS; s++)
		for (int p = 0; p < PARTITIONS_MAX; p++)
			free(lists[s][p].numbers);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_agrees_with_a_list, fresh_dir, remove_dir)};
	load_local();
	return RUN("local_model", tests);
}
