/* The embedded provider, through its own object file. */
#include "local_bed.h"

#include <fcntl.h>
#include <lmdb.h>
#include <signal.h>
#include <sys/wait.h>

static void
test_records_come_back_as_they_went(void **state)
{
	(void)state;
	struct bed b = {.self = open_self()};
	const struct riffle_stream s = stream_of("a", 1);
	const struct riffle_header headers[] = {
		{bytes("h"), bytes("")}, {bytes("h"), bytes(NULL)}, {bytes("i"), bytes("v")}};
	const struct riffle_record in[] = {
		{.key = bytes(NULL), .value = bytes(""), .time_ms = 5, .partition = -1},
		{.key = bytes(""), .value = bytes(NULL), .time_ms = -5, .partition = -1},
		{.key = bytes("k"),
			.value = bytes("v"),
			.time_ms = RIFFLE_TIME_NONE,
			.partition = -1,
			.content_type = 2,
			.header_count = 3},
	};
	struct riffle_error err = {0};
	struct riffle_batch batch = batch_of(in, 3, headers, 3);
	provision(b.self, &s);
	open_sink(&b, &s);
	assert_int_equal(ops->sink_send(b.sink, &batch, 0, 3, 1, &err), 3);
	await_sink(&b, RIFFLE_EV_SENT);
	assert_int_equal(b.ev.sent[2].offset, 2);
	open_source(&b, &s, NULL, RIFFLE_START_EARLIEST, 0);
	struct riffle_batch *out = poll_lane(&b, 0, 10);
	assert_int_equal(out->record_count, 3);
	const struct riffle_record *r = riffle_batch_at(out, 0);
	assert_null(r->key.ptr);
	assert_non_null(r->value.ptr);
	assert_int_equal(r->value.len, 0);
	assert_int_equal(r->time_ms, 5);
	assert_int_equal(r->content_type, 0);
	r = riffle_batch_at(out, 1);
	assert_non_null(r->key.ptr);
	assert_null(r->value.ptr);
	assert_int_equal(r->time_ms, -5);
	r = riffle_batch_at(out, 2);
	assert_string_equal(out->content_types[r->content_type], "image/png");
	assert_true(r->time_ms > INT64_C(1700000000000));
	assert_int_equal(r->header_count, 3);
	const struct riffle_header *h = out->headers + r->header_first;
	assert_true(h[0].value.ptr != NULL && h[0].value.len == 0 && h[1].value.ptr == NULL);
	assert_memory_equal(h[2].value.ptr, "v", 1);
	assert_int_equal(r->offset, 2);
	batch_unref(&host, out);
	assert_null(poll_lane(&b, 0, 10));
	close_sink(&b);
	close_source(&b);
	ops->destroy(b.self);
}

/* Placements that Kafka's Java client computes: (murmur2 & 0x7fffffff) % 10 of its own test keys. */
static void
test_keys_go_where_kafka_puts_them(void **state)
{
	(void)state;
	static const struct {
		const char *key;
		uint32_t hash;
	} cases[] = {{"21", (uint32_t)-973932308}, {"foobar", (uint32_t)-790332482},
		{"a-little-bit-long-string", (uint32_t)-985981536},
		{"a-little-bit-longer-string", (uint32_t)-1486304829},
		{"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", (uint32_t)-58897971},
		{"abc", 479470107}};
	struct bed b = {.self = open_self()};
	const struct riffle_stream s = stream_of("keys", 10);
	struct riffle_error err = {0};
	provision(b.self, &s);
	open_sink(&b, &s);
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		const struct riffle_record r = {
			.key = bytes(cases[i].key), .value = bytes("x"), .partition = -1};
		struct riffle_batch batch = batch_of(&r, 1, NULL, 0);
		assert_int_equal(ops->sink_send(b.sink, &batch, 0, 1, 1, &err), 1);
		await_sink(&b, RIFFLE_EV_SENT);
		assert_int_equal(b.ev.sent[0].partition, (cases[i].hash & 0x7fffffffu) % 10);
		take_back(&b);
	}
	const struct riffle_record wrong = {.value = bytes("x"), .partition = 10};
	struct riffle_batch batch = batch_of(&wrong, 1, NULL, 0);
	assert_int_equal(ops->sink_send(b.sink, &batch, 0, 1, 1, &err), 1);
	await_sink(&b, RIFFLE_EV_SENT);
	assert_int_equal(b.ev.sent[0].status, RIFFLE_E_DATA);
	assert_non_null(strstr(b.ev.error.text, "has no partition 10, only 10"));
	close_sink(&b);
	ops->destroy(b.self);
}

static void
test_a_new_group_starts_where_it_is_told(void **state)
{
	(void)state;
	static const struct {
		const char *group;
		uint32_t start;
		int64_t value, offset;
	} cases[] = {{"g1", RIFFLE_START_EARLIEST, 0, 0}, {"g2", RIFFLE_START_LATEST, 0, 3},
		{"g3", RIFFLE_START_OFFSET, 2, 2}, {"g4", RIFFLE_START_OFFSET, 99, 3},
		{"g5", RIFFLE_START_TIME, 150, 1}, {"g6", RIFFLE_START_TIME, 999, 3}};
	struct bed b = {.self = open_self()};
	const struct riffle_stream s = stream_of("a", 1);
	provision(b.self, &s);
	open_sink(&b, &s);
	for (int64_t t = 100; t <= 300; t += 100)
		send_text(&b, "x", t);
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		open_source(&b, &s, cases[i].group, cases[i].start, cases[i].value);
		assert_int_equal(b.ev.lanes[0].committed.offset, cases[i].offset);
		close_source(&b);
	}
	/* It was committed: whatever is asked for now, and whatever has come since. */
	send_text(&b, "x", 400);
	open_source(&b, &s, "g2", RIFFLE_START_EARLIEST, 0);
	assert_int_equal(b.ev.lanes[0].committed.offset, 3);
	assert_int_equal(b.ev.lanes[0].log_end, 4);
	close_source(&b);
	close_sink(&b);
	ops->destroy(b.self);
}

static void
test_positions_keep_their_metadata(void **state)
{
	(void)state;
	struct bed b = {.self = open_self()};
	const struct riffle_stream s = stream_of("a", 2);
	struct riffle_error err = {0};
	provision(b.self, &s);
	open_source(&b, &s, "g", RIFFLE_START_EARLIEST, 0);
	const struct riffle_position at = {
		.partition = 1, .offset = 42, .leader_epoch = 3, .metadata = bytes("text")};
	must(ops->source_commit(b.source, &at, 1, 77, &err), &err);
	await_source(&b, RIFFLE_EV_COMMITTED);
	assert_int_equal(b.ev.tag, 77);
	assert_int_equal(b.ev.status, RIFFLE_OK);
	close_source(&b);
	ops->destroy(b.self);
	b.self = open_self();
	open_source(&b, &s, "g", RIFFLE_START_EARLIEST, 0);
	const struct riffle_position *back = &b.ev.lanes[1].committed;
	assert_int_equal(back->offset, 42);
	assert_int_equal(back->leader_epoch, 3);
	assert_int_equal(back->metadata.len, 4);
	assert_memory_equal(back->metadata.ptr, "text", 4);
	assert_null(b.ev.lanes[0].committed.metadata.ptr);
	close_source(&b);
	ops->destroy(b.self);
}

static void
begin_txn(struct bed *b, const struct riffle_stream *s)
{
	struct riffle_error err = {0};
	b->transactions = ops->extension(b->self, RIFFLE_EXT_TRANSACTIONS);
	open_sink(b, s);
	const struct riffle_txn_spec spec = {.size = sizeof spec, .sink = b->sink, .id = "id"};
	must(b->transactions->open(b->self, &spec, &b->txn, &err), &err);
	await_sink(b, RIFFLE_EV_TXN_READY);
	open_source(b, s, "g", RIFFLE_START_EARLIEST, 0);
}

static void
test_transactions_are_all_or_nothing(void **state)
{
	(void)state;
	struct bed b = {.self = open_self()};
	const struct riffle_stream s = stream_of("a", 1);
	struct riffle_error err = {0};
	const struct riffle_record r = {.value = bytes("x"), .partition = -1};
	struct riffle_batch batch = batch_of(&r, 1, NULL, 0);
	provision(b.self, &s);
	begin_txn(&b, &s);
	assert_int_equal(ops->sink_send(b.sink, &batch, 0, 1, 1, &err), RIFFLE_E_INVAL);
	must(b.transactions->begin(b.txn, &err), &err);
	assert_int_equal(b.transactions->begin(b.txn, &err), RIFFLE_E_INVAL);
	assert_int_equal(ops->sink_send(b.sink, &batch, 0, 1, 1, &err), 1);
	must(b.transactions->abort(b.txn, 5, &err), &err);
	await_sink(&b, RIFFLE_EV_TXN);
	assert_int_equal(b.ev.status, RIFFLE_TXN_ABORTED);
	assert_null(poll_lane(&b, 0, 1));

	const struct riffle_position at = {.offset = 9, .metadata = bytes("m")};
	must(b.transactions->begin(b.txn, &err), &err);
	assert_int_equal(ops->sink_send(b.sink, &batch, 0, 1, 1, &err), 1);
	must(b.transactions->commit(b.txn, &at, 1, 6, &err), &err);
	await_sink(&b, RIFFLE_EV_TXN);
	assert_int_equal(b.ev.status, RIFFLE_TXN_COMMITTED);
	assert_int_equal(b.ev.tag, 6);
	check_next(&b, 0, "x");

	/* A record that cannot be written spoils it. */
	const struct riffle_record wrong = {.value = bytes("x"), .partition = 5};
	struct riffle_batch bad = batch_of(&wrong, 1, NULL, 0);
	must(b.transactions->begin(b.txn, &err), &err);
	assert_int_equal(ops->sink_send(b.sink, &batch, 0, 1, 1, &err), 1);
	assert_int_equal(ops->sink_send(b.sink, &bad, 0, 1, 2, &err), 1);
	await_sink(&b, RIFFLE_EV_SENT);
	assert_int_equal(b.ev.sent[0].status, RIFFLE_E_DATA);
	assert_int_equal(b.transactions->commit(b.txn, &at, 1, 7, &err), RIFFLE_E_INVAL);
	must(b.transactions->abort(b.txn, 8, &err), &err);
	await_sink(&b, RIFFLE_EV_TXN);
	assert_null(poll_lane(&b, 0, 1));
	close_source(&b);
	open_source(&b, &s, "g", RIFFLE_START_EARLIEST, 0);
	assert_int_equal(b.ev.lanes[0].committed.offset, 9);
	close_source(&b);
	close_sink(&b);
	assert_int_equal(batch.host[0], 1);
	ops->destroy(b.self);
}

static int
has_left(void *ctx)
{
	struct bed *b = ctx;
	const struct riffle_position at = {.offset = 1};
	struct riffle_error err = {0};
	b->ev = (struct riffle_event){.size = sizeof b->ev};
	(void)ops->source_poll(b->source, &b->ev);
	return ops->source_commit(b->source, &at, 1, 9, &err) == RIFFLE_E_INVAL;
}

/* It is not closed yet, for a batch of it is lent still. */
static void
test_a_source_that_left_its_group_commits_nothing(void **state)
{
	(void)state;
	struct bed b = {.self = open_self()};
	const struct riffle_stream s = stream_of("a", 1);
	struct riffle_error err = {0};
	const struct riffle_record r = {.value = bytes("x"), .partition = -1};
	struct riffle_batch batch = batch_of(&r, 1, NULL, 0);
	const struct riffle_position at = {.offset = 1};
	provision(b.self, &s);
	begin_txn(&b, &s);
	must(b.transactions->begin(b.txn, &err), &err);
	assert_int_equal(ops->sink_send(b.sink, &batch, 0, 1, 1, &err), 1);
	must(b.transactions->commit(b.txn, &at, 1, 6, &err), &err);
	await_sink(&b, RIFFLE_EV_TXN);
	struct riffle_batch *lent = NULL;
	while (lent == NULL)
		lent = poll_lane(&b, 0, 1);
	must(b.transactions->begin(b.txn, &err), &err);
	ops->source_close(b.source);
	assert_true(eventually(has_left, &b));
	assert_int_equal(b.transactions->commit(b.txn, &at, 1, 7, &err), RIFFLE_E_FENCED);
	must(b.transactions->abort(b.txn, 8, &err), &err);
	await_sink(&b, RIFFLE_EV_TXN);
	assert_int_equal(b.ev.status, RIFFLE_TXN_ABORTED);
	batch_unref(&host, lent);
	close_source(&b);
	close_sink(&b);
	ops->destroy(b.self);
}

static void
test_a_released_lane_waits_for_its_last_batch(void **state)
{
	(void)state;
	struct bed b = {.self = open_self()};
	const struct riffle_stream s = stream_of("a", 1);
	struct riffle_error err = {0};
	const uint32_t lane = 0;
	provision(b.self, &s);
	open_sink(&b, &s);
	send_text(&b, "x", 1);
	open_source(&b, &s, NULL, RIFFLE_START_EARLIEST, 0);
	struct riffle_batch *batch = poll_lane(&b, 0, 1);
	must(ops->source_release(b.source, &lane, 1, &err), &err);
	struct riffle_event ev = {.size = sizeof ev};
	assert_int_equal(ops->source_poll(b.source, &ev), 0);
	batch_unref(&host, batch);
	await_source(&b, RIFFLE_EV_RELEASED);
	assert_int_equal(b.ev.lane_count, 1);
	assert_null(poll_lane(&b, 0, 1));
	close_source(&b);
	close_sink(&b);
	ops->destroy(b.self);
}

static void
test_one_process_for_one_group(void **state)
{
	(void)state;
	struct bed b = {.self = open_self()}, second = b;
	const struct riffle_stream s = stream_of("a", 1);
	struct riffle_error err = {0};
	char expected[64];
	provision(b.self, &s);
	open_source(&b, &s, "../g", RIFFLE_START_EARLIEST, 0);
	assert_int_equal(try_source(&second, &s, "../g", RIFFLE_START_EARLIEST, 0, &err),
		RIFFLE_E_UNAVAILABLE);
	snprintf(expected, sizeof expected, "group \"../g\" is in use by process %ld",
		(long)getpid());
	assert_string_equal(err.text, expected);
	close_source(&b);
	open_source(&second, &s, "../g", RIFFLE_START_EARLIEST, 0);
	close_source(&second);
	ops->destroy(b.self);
}

static void
test_other_numbers_of_partitions_and_missing_topics_are_errors(void **state)
{
	(void)state;
	struct bed b = {.self = open_self()};
	struct riffle_stream s = stream_of("a", 2);
	struct riffle_error err = {0};
	assert_int_equal(
		try_source(&b, &s, NULL, RIFFLE_START_EARLIEST, 0, &err), RIFFLE_E_NOTFOUND);
	provision(b.self, &s);
	provision(b.self, &s);
	s.partitions = 3;
	assert_int_equal(ops->provision(b.self, &s, &err), RIFFLE_E_CONFIG);
	assert_string_equal(err.text, "topic \"a\" exists with 2 partitions, 3 are configured");
	struct riffle_stream_info info = {.size = sizeof info};
	must(ops->describe(b.self, &s, &info, &err), &err);
	assert_int_equal(info.partitions, 2);
	must(ops->remove(b.self, &s, &err), &err);
	info.flags = 0;
	must(ops->describe(b.self, &s, &info, &err), &err);
	assert_int_equal(info.flags, 0);
	ops->destroy(b.self);
}

static void
test_a_full_log_refuses_and_loses_nothing(void **state)
{
	(void)state;
	set_provider("map-size", 1 << 20);
	struct bed b = {.self = open_self()};
	const struct riffle_stream s = stream_of("a", 1);
	static char big[100000];
	memset(big, 'x', sizeof big);
	const struct riffle_record r = {.value = {big, sizeof big}, .partition = -1};
	struct riffle_error err = {0};
	int64_t acknowledged = 0;
	int status = RIFFLE_OK;
	provision(b.self, &s);
	open_sink(&b, &s);
	for (int i = 0; i < 100 && status == RIFFLE_OK; i++) {
		struct riffle_batch batch = batch_of(&r, 1, NULL, 0);
		assert_int_equal(ops->sink_send(b.sink, &batch, 0, 1, 1, &err), 1);
		await_sink(&b, RIFFLE_EV_SENT);
		status = b.ev.sent[0].status;
		acknowledged += status == RIFFLE_OK;
		err = b.ev.error;
		take_back(&b);
	}
	assert_int_equal(status, RIFFLE_E_UNAVAILABLE);
	assert_true(err.flags & RIFFLE_ERR_RETRIABLE);
	assert_non_null(strstr(err.text, "map-size of the provider is used up"));
	assert_true(acknowledged > 2);
	send_text(&b, "small", 1);
	open_source(&b, &s, NULL, RIFFLE_START_EARLIEST, 0);
	assert_int_equal(b.ev.lanes[0].log_end, acknowledged + 1);
	close_source(&b);
	close_sink(&b);
	ops->destroy(b.self);
}

/* Changes one byte of a record on the disk. */
static void
damage(const char *db, unsigned char offset)
{
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi;
	char path[128];
	unsigned char raw[8] = {0, 0, 0, 0, 0, 0, 0, offset}, copy[256];
	MDB_val key = {8, raw}, value;
	snprintf(path, sizeof path, "%s/local", dir);
	assert_int_equal(mdb_env_create(&env), 0);
	mdb_env_set_maxdbs(env, 64);
	assert_int_equal(mdb_env_open(env, path, 0, 0600), 0);
	assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
	assert_int_equal(mdb_dbi_open(txn, db, 0, &dbi), 0);
	assert_int_equal(mdb_get(txn, dbi, &key, &value), 0);
	memcpy(copy, value.mv_data, value.mv_size);
	copy[value.mv_size - 1] ^= 1;
	value.mv_data = copy;
	assert_int_equal(mdb_put(txn, dbi, &key, &value, 0), 0);
	assert_int_equal(mdb_txn_commit(txn), 0);
	mdb_env_close(env);
}

static void
test_a_damaged_record_is_named_and_can_be_passed(void **state)
{
	(void)state;
	struct bed b = {.self = open_self()};
	const struct riffle_stream s = stream_of("a", 1);
	struct riffle_error err = {0};
	struct riffle_batch *batch;
	provision(b.self, &s);
	open_sink(&b, &s);
	send_text(&b, "one", 1);
	send_text(&b, "two", 2);
	send_text(&b, "three", 3);
	close_sink(&b);
	ops->destroy(b.self);
	damage("s/1/0/0", 1);
	b.self = open_self();
	open_source(&b, &s, NULL, RIFFLE_START_EARLIEST, 0);
	batch = poll_lane(&b, 0, 10);
	assert_int_equal(batch->record_count, 1);
	batch_unref(&host, batch);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(
			ops->lane_poll(b.source, 0, 10, 1 << 20, &batch, &err), RIFFLE_E_DATA);
		assert_string_equal(
			err.text, "the record of topic \"a\", partition 0, offset 1 is damaged");
	}
	const struct riffle_position past = {.offset = 2};
	const uint32_t lane = 0;
	must(ops->source_rewind(b.source, &lane, &past, 1, &err), &err);
	check_next(&b, 0, "three");
	close_source(&b);
	ops->destroy(b.self);
}

/* A child process of its own: this program again, so that no environment crosses a fork. */
static pid_t
spawn_self(const char *role)
{
	pid_t pid = fork();
	if (pid != 0)
		return pid;
	execl("/proc/self/exe", "local_test", role, dir, (char *)NULL);
	_exit(127);
}

static int
readable(void *ctx)
{
	struct pollfd fd = {.fd = *(int *)ctx, .events = POLLIN};
	return poll(&fd, 1, 0) == 1;
}

static void
test_a_reader_is_woken_by_another_process(void **state)
{
	(void)state;
	struct bed b = {.self = open_self()};
	const struct riffle_stream s = stream_of("a", 1);
	int status;
	provision(b.self, &s);
	open_source(&b, &s, NULL, RIFFLE_START_EARLIEST, 0);
	assert_null(poll_lane(&b, 0, 1));
	struct riffle_event ev = {.size = sizeof ev};
	assert_int_equal(ops->source_poll(b.source, &ev), 0);
	int fd = ops->source_fd(b.source);
	assert_false(readable(&fd));
	pid_t child = spawn_self("write-one");
	assert_true(eventually(readable, &fd));
	ops->source_poll(b.source, &ev);
	check_next(&b, 0, "from afar");
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	close_source(&b);
	ops->destroy(b.self);
}

/* The writer under fire commits in each transaction the number it sends as its position. */
/* The file by which the child says that it has committed. */
static const char *
committed_mark(void)
{
	static char path[sizeof dir + 16];
	snprintf(path, sizeof path, "%s/committed", dir);
	return path;
}

static int
has_committed(void *ctx)
{
	(void)ctx;
	return access(committed_mark(), F_OK) == 0;
}

static void
test_killed_in_a_transaction_leaves_all_or_nothing(void **state)
{
	(void)state;
	const struct riffle_stream s = stream_of("a", 1);
	const char *given = getenv("RIFFLE_SEED");
	unsigned seed = given ? (unsigned)atoi(given) : (unsigned)time(NULL);
	printf("# seed %u (RIFFLE_SEED)\n", seed);
	srand(seed);
	int64_t last = 0;
	for (int round = 0; round < 20; round++) {
		int status;
		pid_t child = spawn_self("commit-for-ever");
		/* While it opens the log, or when it has committed something. */
		if (round % 2 == 1)
			assert_true(eventually(has_committed, NULL));
		poll(NULL, 0, 20 + rand() % 60);
		kill(child, SIGKILL);
		waitpid(child, &status, 0);
		unlink(committed_mark());
		struct bed b = {.self = open_self()};
		provision(b.self, &s);
		open_source(&b, &s, "g", RIFFLE_START_EARLIEST, 0);
		assert_int_equal(b.ev.lanes[0].committed.offset, b.ev.lanes[0].log_end);
		assert_true(b.ev.lanes[0].log_end >= last);
		last = b.ev.lanes[0].log_end;
		close_source(&b);
		ops->destroy(b.self);
	}
	assert_true(last > 0);
}

static void
test_no_descriptor_is_inherited(void **state)
{
	(void)state;
	struct bed b = {.self = open_self()};
	const struct riffle_stream s = stream_of("a", 1);
	int status;
	provision(b.self, &s);
	open_source(&b, &s, "g", RIFFLE_START_EARLIEST, 0);
	pid_t child = fork();
	if (child == 0) {
		execl("/bin/sh", "sh", "-c", "! ls -l /proc/self/fd | grep -q riffle-local",
			(char *)NULL);
		_exit(127);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	close_source(&b);
	ops->destroy(b.self);
}

static int
write_one(void)
{
	struct bed b = {.self = open_self()};
	const struct riffle_stream s = stream_of("a", 1);
	open_sink(&b, &s);
	send_text(&b, "from afar", 1);
	close_sink(&b);
	ops->destroy(b.self);
	return 0;
}

static _Noreturn void
commit_for_ever(void)
{
	struct bed b = {.self = open_self()};
	const struct riffle_stream s = stream_of("a", 1);
	const struct riffle_record r[3] = {{.value = bytes("x"), .partition = -1},
		{.value = bytes("y"), .partition = -1}, {.value = bytes("z"), .partition = -1}};
	struct riffle_error err = {0};
	provision(b.self, &s);
	begin_txn(&b, &s);
	int64_t n = b.ev.lanes[0].log_end;
	for (;;) {
		struct riffle_batch batch = batch_of(r, 3, NULL, 0);
		const struct riffle_position at = {.offset = n += 3};
		must(b.transactions->begin(b.txn, &err), &err);
		ops->sink_send(b.sink, &batch, 0, 3, 1, &err);
		must(b.transactions->commit(b.txn, &at, 1, 1, &err), &err);
		await_sink(&b, RIFFLE_EV_TXN);
		close(open(committed_mark(), O_CREAT | O_WRONLY, 0600));
	}
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		CASE(test_records_come_back_as_they_went),
		CASE(test_keys_go_where_kafka_puts_them),
		CASE(test_a_new_group_starts_where_it_is_told),
		CASE(test_positions_keep_their_metadata),
		CASE(test_transactions_are_all_or_nothing),
		CASE(test_a_source_that_left_its_group_commits_nothing),
		CASE(test_a_released_lane_waits_for_its_last_batch),
		CASE(test_one_process_for_one_group),
		CASE(test_other_numbers_of_partitions_and_missing_topics_are_errors),
		CASE(test_a_full_log_refuses_and_loses_nothing),
		CASE(test_a_damaged_record_is_named_and_can_be_passed),
		CASE(test_a_reader_is_woken_by_another_process),
		CASE(test_killed_in_a_transaction_leaves_all_or_nothing),
		CASE(test_no_descriptor_is_inherited),
	};
	load_local();
	if (argc == 3) {
		use_dir(argv[2]);
		if (strcmp(argv[1], "write-one") == 0)
			return write_one();
		commit_for_ever();
	}
	return RUN("local", tests);
}
