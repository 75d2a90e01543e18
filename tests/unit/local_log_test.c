/* The embedded provider's log over time: segments, retention, compaction, damage, formats. */
#include "local_log_bed.h"

#include <lmdb.h>

static void
send_keyed(struct bed *b, const char *key, const char *value, int64_t time_ms)
{
	const struct riffle_record r = {.key = bytes(key),
		.value = bytes(value),
		.time_ms = time_ms,
		.partition = RIFFLE_PARTITION_NONE};
	send_all(b, &r, 1);
}

/* Reads lane 0 to its end: how many records, which must be those numbered from on without a gap. */
static int
read_on(struct bed *b, int from)
{
	int n = from;
	struct riffle_batch *batch;
	while ((batch = poll_lane(b, 0, 1000)) != NULL) {
		for (uint32_t i = 0; i < batch->record_count; i++, n++) {
			assert_int_equal(riffle_batch_at(batch, i)->offset, n);
			assert_int_equal(atoi(riffle_batch_at(batch, i)->value.ptr), n);
		}
		batch_unref(&host, batch);
	}
	return n - from;
}

struct start {
	struct bed *bed;
	const struct riffle_stream *stream;
	int64_t above, found, records, bytes;
};

static int
start_moved(void *ctx)
{
	struct start *w = ctx;
	struct riffle_partition_info info = look_at(w->bed, w->stream, NULL, 0);
	w->found = info.log_start;
	w->records = info.records;
	w->bytes = info.bytes;
	return info.log_start > w->above;
}

static void
test_reading_goes_over_segments(void **state)
{
	(void)state;
	set_stream("segment", 64 * KIB);
	struct bed b = {.self = open_self()};
	const struct riffle_stream s = kept_stream("a", 1);
	provision(b.self, &s);
	open_sink(&b, &s);
	fill(&b, 0, 1000);
	close_sink(&b);
	ops->destroy(b.self);
	b.self = open_self();
	open_source(&b, &s, NULL, RIFFLE_START_EARLIEST, 0);
	assert_int_equal(b.ev.lanes[0].log_end, 1000);
	assert_int_equal(read_on(&b, 0), 1000);
	open_sink(&b, &s);
	fill(&b, 1000, 300);
	assert_int_equal(read_on(&b, 1000), 300);
	const struct riffle_position back = {.offset = 333};
	const uint32_t lane = 0;
	struct riffle_error err = {0};
	must(ops->source_rewind(b.source, &lane, &back, 1, &err), &err);
	assert_int_equal(read_on(&b, 333), 967);
	close_source(&b);
	close_sink(&b);
	ops->destroy(b.self);
}

static void
test_more_partitions_than_open_segments(void **state)
{
	(void)state;
	enum { N = 60 };
	set_provider("open-segments", 4);
	set_stream("segment", 64 * KIB);
	struct bed b = {.self = open_self()};
	const struct riffle_stream s = kept_stream("a", N);
	struct riffle_record r[N];
	static char text[2048];
	memset(text, 'x', sizeof text);
	provision(b.self, &s);
	open_sink(&b, &s);
	for (int p = 0; p < N; p++)
		r[p] = (struct riffle_record){.value = {text, sizeof text}, .partition = p};
	for (int i = 0; i < 100; i++)
		send_all(&b, r, N);
	open_source(&b, &s, NULL, RIFFLE_START_EARLIEST, 0);
	for (uint32_t p = 0; p < N; p++) {
		struct riffle_batch *batch;
		uint32_t n = 0;
		while ((batch = poll_lane(&b, p, 7)) != NULL) {
			n += batch->record_count;
			batch_unref(&host, batch);
		}
		assert_int_equal(n, 100);
	}
	close_source(&b);
	close_sink(&b);
	ops->destroy(b.self);
}

static void
test_retention_by_size_drops_the_oldest(void **state)
{
	(void)state;
	set_provider("clean-interval", 1);
	set_stream("retention-size", 256 * KIB);
	struct bed b = {.self = open_self()};
	const struct riffle_stream s = kept_stream("a", 1);
	struct start w = {.bed = &b, .stream = &s, .above = 600};
	provision(b.self, &s);
	open_sink(&b, &s);
	fill(&b, 0, 1000);
	assert_true(eventually(start_moved, &w));
	/* What was asked for stays, and not much more. */
	assert_true(w.bytes >= 256 * KIB && w.bytes <= 256 * KIB + 3 * 64 * KIB + 200 * KIB);
	assert_int_equal(w.records, 1000 - w.found);
	open_source(&b, &s, NULL, RIFFLE_START_EARLIEST, 0);
	assert_int_equal(b.ev.lanes[0].committed.offset, b.ev.lanes[0].log_start);
	int start = (int)b.ev.lanes[0].log_start;
	assert_true(start > 600);
	assert_int_equal(read_on(&b, start), 1000 - start);
	struct riffle_stream_info info = {.size = sizeof info};
	struct riffle_error err = {0};
	must(ops->describe(b.self, &s, &info, &err), &err);
	assert_int_equal(info.retention_bytes, 256 * KIB);
	assert_int_equal(info.retention_ms, -1);
	assert_true(info.records >= 1000 - w.found - 200);
	close_source(&b);
	close_sink(&b);
	ops->destroy(b.self);
}

static void
test_retention_by_time_reaches_a_quiet_stream(void **state)
{
	(void)state;
	set_provider("clean-interval", 1);
	set_stream("retention", 100);
	struct bed b = {.self = open_self()};
	const struct riffle_stream s = kept_stream("a", 1);
	struct start w = {.bed = &b, .stream = &s, .above = 9};
	provision(b.self, &s);
	open_sink(&b, &s);
	int64_t begin = now_ns(NULL);
	fill(&b, 0, 10);
	assert_true(eventually(start_moved, &w));
	assert_true(now_ns(NULL) - begin >= 100 * 1000000);
	assert_int_equal(w.found, 10);
	assert_int_equal(w.records, 0);
	/* Offsets go on where they were. */
	fill(&b, 10, 1);
	open_source(&b, &s, NULL, RIFFLE_START_EARLIEST, 0);
	assert_int_equal(b.ev.lanes[0].log_end, 11);
	close_source(&b);
	close_sink(&b);
	ops->destroy(b.self);
}

static void
test_behind_retention_is_told_or_passed(void **state)
{
	(void)state;
	set_provider("clean-interval", 1);
	set_stream("retention-size", 128 * KIB);
	struct bed b = {.self = open_self()};
	const struct riffle_stream s = kept_stream("a", 1);
	struct start w = {.bed = &b, .stream = &s, .above = 0};
	struct riffle_error err = {0};
	struct riffle_batch *batch;
	char expected[256];
	provision(b.self, &s);
	open_sink(&b, &s);
	open_source(&b, &s, "g", RIFFLE_START_EARLIEST, 0);
	fill(&b, 0, 500);
	assert_true(eventually(start_moved, &w));
	int rc = RIFFLE_OK;
	while (rc >= 0) {
		rc = ops->lane_poll(b.source, 0, 10, 1 << 20, &batch, &err);
		if (rc > 0) {
			batch->host[0] = 1;
			batch_unref(&host, batch);
			fail_msg("what is behind retention was read");
		}
	}
	assert_int_equal(rc, RIFFLE_E_NOTFOUND);
	w.above = -1;
	start_moved(&w);
	snprintf(expected, sizeof expected,
		"offset 0 of topic \"a\", partition 0 is behind retention, what is left starts at "
		"%d: set the group to earliest, or behind-retention = earliest",
		(int)w.found);
	assert_int_equal(strncmp(err.text, expected, 70), 0);
	close_source(&b);
	set_stream("behind-retention", 1);
	open_source(&b, &s, "g", RIFFLE_START_EARLIEST, 0);
	unsigned lines = log_lines;
	batch = poll_lane(&b, 0, 1);
	assert_non_null(batch);
	assert_true(riffle_batch_at(batch, 0)->offset >= w.found);
	batch_unref(&host, batch);
	assert_int_equal(log_lines, lines + 1);
	assert_non_null(strstr(last_log, "are behind retention, reading goes on after them"));
	close_source(&b);
	close_sink(&b);
	ops->destroy(b.self);
}

/* What a reader from the beginning gets: "key=value" with spaces between. */
static void
read_pairs(struct bed *b, const struct riffle_stream *s, char *to, size_t size)
{
	struct riffle_batch *batch;
	size_t at = 0;
	open_source(b, s, NULL, RIFFLE_START_EARLIEST, 0);
	to[0] = '\0';
	while ((batch = poll_lane(b, 0, 100)) != NULL) {
		for (uint32_t i = 0; i < batch->record_count; i++) {
			const struct riffle_record *r = riffle_batch_at(batch, i);
			at += (size_t)snprintf(to + at, size - at, "%.*s=%.*s ", (int)r->key.len,
				(const char *)r->key.ptr, r->value.ptr ? (int)r->value.len : 4,
				r->value.ptr ? (const char *)r->value.ptr : "none");
		}
		batch_unref(&host, batch);
	}
	close_source(b);
}

struct pairs {
	struct bed *bed;
	const struct riffle_stream *stream;
	const char *expected;
	char seen[4096];
};

static int
pairs_are(void *ctx)
{
	struct pairs *p = ctx;
	struct bed b = {.self = p->bed->self};
	read_pairs(&b, p->stream, p->seen, sizeof p->seen);
	return strcmp(p->seen, p->expected) == 0;
}

static void
test_compaction_keeps_the_newest_of_each_key(void **state)
{
	(void)state;
	set_provider("clean-interval", 1);
	set_stream("cleanup", 1);
	set_stream("segment-age", 50);
	struct bed b = {.self = open_self()};
	const struct riffle_stream s = kept_stream("a", 1);
	struct pairs p = {.bed = &b, .stream = &s, .expected = "c=4 b=none a=6 "};
	char long_key[600];
	provision(b.self, &s);
	open_sink(&b, &s);
	send_keyed(&b, "a", "1", 1);
	send_keyed(&b, "b", "2", 2);
	send_keyed(&b, "a", "3", 3);
	send_keyed(&b, "c", "4", 4);
	send_keyed(&b, "b", NULL, 5);
	send_keyed(&b, "a", "6", 6);
	if (!eventually(pairs_are, &p))
		fail_msg("%s", p.seen);
	struct riffle_partition_info info = look_at(&b, &s, NULL, 0);
	assert_int_equal(info.records, 3);
	assert_int_equal(info.log_end, 6);
	/* A second round, on what the first has indexed, with keys that LMDB does not take. */
	memset(long_key, 'k', sizeof long_key - 1);
	long_key[sizeof long_key - 1] = '\0';
	send_keyed(&b, long_key, "7", 7);
	send_keyed(&b, long_key, "8", 8);
	long_key[sizeof long_key - 2] = 'l';
	send_keyed(&b, long_key, "9", 9);
	send_keyed(&b, "c", "10", 10);
	char expected[4096];
	memset(expected, 0, sizeof expected);
	long_key[sizeof long_key - 2] = 'k';
	int n = snprintf(expected, sizeof expected, "b=none a=6 %s=8 ", long_key);
	long_key[sizeof long_key - 2] = 'l';
	snprintf(expected + n, sizeof expected - (size_t)n, "%s=9 c=10 ", long_key);
	p.expected = expected;
	if (!eventually(pairs_are, &p))
		fail_msg("%s", p.seen);
	/* When tombstones have had their time they go too. */
	set_stream("tombstones", 1);
	provision(b.self, &s);
	p.expected = strstr(expected, "a=6");
	if (!eventually(pairs_are, &p))
		fail_msg("%s", p.seen);
	const struct riffle_record none = {.value = bytes("x"), .partition = -1};
	struct riffle_batch batch = batch_of(&none, 1, NULL, 0);
	struct riffle_error err = {0};
	assert_int_equal(ops->sink_send(b.sink, &batch, 0, 1, 1, &err), 1);
	await_sink(&b, RIFFLE_EV_SENT);
	assert_int_equal(b.ev.sent[0].status, RIFFLE_E_DATA);
	assert_string_equal(
		b.ev.error.text, "topic \"a\" is compacted by key, and the record has none");
	take_back(&b);
	close_sink(&b);
	ops->destroy(b.self);
}

static void
retention_is(struct bed *b, const char *name, int64_t ms, int64_t bytes_held)
{
	struct riffle_stream_info info = {.size = sizeof info};
	struct riffle_error err = {0};
	const struct riffle_stream s = kept_stream(name, 1);
	provision(b->self, &s);
	must(ops->describe(b->self, &s, &info, &err), &err);
	assert_int_equal(info.retention_ms, ms);
	assert_int_equal(info.retention_bytes, bytes_held);
}

/* The newest record of a key is kept for as long as there is no newer one, however old it is. */
static void
test_the_providers_retention_is_not_that_of_compacted_streams(void **state)
{
	(void)state;
	set_provider("retention", 60000);
	set_provider("retention-size", 256 * KIB);
	struct bed b = {.self = open_self()};
	retention_is(&b, "a", 60000, 256 * KIB);
	set_stream("cleanup", 1);
	retention_is(&b, "b", -1, -1);
	set_stream("retention", 30000);
	retention_is(&b, "c", 30000, -1);
	set_stream("retention-size", 128 * KIB);
	retention_is(&b, "d", 30000, 128 * KIB);
	ops->destroy(b.self);
}

static int
is_damaged_named(struct bed *b, int64_t offset)
{
	struct riffle_error err = {0};
	struct riffle_batch *batch;
	char expected[128];
	snprintf(expected, sizeof expected,
		"the record of topic \"a\", partition 0, offset %d is damaged", (int)offset);
	int rc = ops->lane_poll(b->source, 0, 10, 1 << 20, &batch, &err);
	return rc == RIFFLE_E_DATA && strcmp(err.text, expected) == 0;
}

/* In the middle of a page of the file, as a disk would. */
static void
test_a_flipped_bit_on_the_disk_is_found(void **state)
{
	(void)state;
	struct bed b = {.self = open_self()};
	const struct riffle_stream s = stream_of("a", 1);
	struct riffle_error err = {0};
	char path[128], *at = NULL;
	static char image[1 << 20];
	provision(b.self, &s);
	open_sink(&b, &s);
	send_text(&b, "one", 1);
	send_text(&b, "the-damaged-one", 2);
	send_text(&b, "three", 3);
	close_sink(&b);
	ops->destroy(b.self);
	snprintf(path, sizeof path, "%s/local/data.mdb", dir);
	FILE *f = fopen(path, "r+");
	size_t size = fread(image, 1, sizeof image, f);
	/* Every copy: pages that were rewritten hold it too. */
	for (size_t i = 0; i + 15 < size; i++)
		if (memcmp(image + i, "the-damaged-one", 15) == 0) {
			image[i + 4] ^= 0x10;
			at = image + i;
		}
	assert_non_null(at);
	rewind(f);
	assert_int_equal(fwrite(image, 1, size, f), size);
	fclose(f);
	b.self = open_self();
	open_source(&b, &s, NULL, RIFFLE_START_EARLIEST, 0);
	check_next(&b, 0, "one");
	assert_true(is_damaged_named(&b, 1));
	assert_true(is_damaged_named(&b, 1));
	struct riffle_lane_state lane_state = {.size = sizeof lane_state};
	assert_int_equal(ops->lane_state(b.source, 0, &lane_state), 0);
	assert_int_equal(lane_state.position, 1);
	const struct riffle_position past = {.offset = 2};
	const uint32_t lane = 0;
	must(ops->source_rewind(b.source, &lane, &past, 1, &err), &err);
	check_next(&b, 0, "three");
	close_source(&b);
	ops->destroy(b.self);
}

static void
put_format(uint32_t version)
{
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi;
	char path[128], name[] = "format";
	MDB_val key = {6, name}, value = {sizeof version, &version};
	snprintf(path, sizeof path, "%s/local", dir);
	mkdir(path, 0700);
	assert_int_equal(mdb_env_create(&env), 0);
	mdb_env_set_maxdbs(env, 64);
	assert_int_equal(mdb_env_open(env, path, 0, 0600), 0);
	assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
	assert_int_equal(mdb_dbi_open(txn, version ? "meta" : "other", MDB_CREATE, &dbi), 0);
	assert_int_equal(mdb_put(txn, dbi, &key, &value, 0), 0);
	assert_int_equal(mdb_txn_commit(txn), 0);
	mdb_env_close(env);
}

static void
check_refused(uint32_t version, const char *text)
{
	struct riffle_error err = {0};
	void *self;
	put_format(version);
	assert_int_equal(ops->create(&host, &config, &self, &err), RIFFLE_E_CONFIG);
	if (strstr(err.text, text) == NULL)
		fail_msg("%s", err.text);
}

static void
test_other_formats_are_refused(void **state)
{
	(void)state;
	check_refused(3, "is in format 3, this version of riffle reads format 2: a newer riffle "
			 "is needed");
	check_refused(1, "is in format 1, this version of riffle reads format 2: export it");
}

static void
test_what_is_no_log_is_left_alone(void **state)
{
	(void)state;
	check_refused(0, "is an LMDB environment, but not a log of riffle's");
}

/* How many segments there are, by the store itself. */
static int
count_segments(void)
{
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi;
	MDB_stat st;
	char path[128];
	snprintf(path, sizeof path, "%s/local", dir);
	if (mdb_env_create(&env) != 0 || mdb_env_set_maxdbs(env, 8) != 0 ||
		mdb_env_open(env, path, MDB_RDONLY, 0600) != 0 ||
		mdb_txn_begin(env, NULL, MDB_RDONLY, &txn) != 0 ||
		mdb_dbi_open(txn, "segments", 0, &dbi) != 0 || mdb_stat(txn, dbi, &st) != 0)
		return 255;
	mdb_txn_abort(txn);
	mdb_env_close(env);
	return st.ms_entries > 200 ? 200 : (int)st.ms_entries;
}

struct segments {
	int least, most;
};

static int
has_segments(void *ctx)
{
	const struct segments *s = ctx;
	int n = WEXITSTATUS(run_self("segments"));
	return n >= s->least && n <= s->most;
}

static void
test_small_segments_are_joined(void **state)
{
	(void)state;
	static const char *const keys[] = {"a", "b", "c", "d", "e", "f"};
	struct segments many = {6, 6}, few = {1, 2};
	set_provider("clean-interval", 3600000);
	set_stream("cleanup", 1);
	set_stream("segment", 1 << 20);
	set_stream("segment-age", 1);
	struct bed b = {.self = open_self()};
	const struct riffle_stream s = kept_stream("a", 1);
	provision(b.self, &s);
	open_sink(&b, &s);
	for (int i = 0; i < 6; i++) {
		/* Each finds the segment of the one before too old. */
		poll(NULL, 0, 3);
		send_keyed(&b, keys[i], "v", i);
	}
	close_sink(&b);
	ops->destroy(b.self);
	assert_true(has_segments(&many));
	set_provider("clean-interval", 1);
	b.self = open_self();
	assert_true(eventually(has_segments, &few));
	struct pairs p = {.bed = &b, .stream = &s, .expected = "a=v b=v c=v d=v e=v f=v "};
	if (!eventually(pairs_are, &p))
		fail_msg("%s", p.seen);
	struct riffle_partition_info info = look_at(&b, &s, NULL, 0);
	assert_int_equal(info.records, 6);
	ops->destroy(b.self);
}

static void
test_a_commit_waits_for_more(void **state)
{
	(void)state;
	set_provider("commit-delay", 1000);
	struct bed b = {.self = open_self()};
	const struct riffle_stream s = stream_of("a", 1);
	struct riffle_error err = {0};
	const struct riffle_record r = {.value = bytes("x"), .partition = -1};
	struct riffle_batch batch = batch_of(&r, 1, NULL, 0);
	provision(b.self, &s);
	open_sink(&b, &s);
	int64_t begin = now_ns(NULL);
	for (int i = 0; i < 10; i++)
		assert_int_equal(ops->sink_send(b.sink, &batch, 0, 1, 1, &err), 1);
	await_sink(&b, RIFFLE_EV_SENT);
	int64_t took_ms = (now_ns(NULL) - begin) / 1000000;
	assert_true(took_ms >= 999);
	/* The other nine come with it: each in its turn, they would take ten times as long. */
	for (int i = 0; i < 9; i++)
		await_sink(&b, RIFFLE_EV_SENT);
	assert_true(now_ns(NULL) - begin < INT64_C(10) * 1000 * 1000000);
	take_back(&b);
	close_sink(&b);
	ops->destroy(b.self);
}

static void
test_two_providers_on_one_log_agree_on_its_settings(void **state)
{
	(void)state;
	void *first = open_self(), *second = open_self(), *third = NULL;
	struct riffle_error err = {0};
	set_provider("durability", 0);
	assert_int_equal(ops->create(&host, &config, &third, &err), RIFFLE_E_CONFIG);
	assert_non_null(strstr(err.text, "open with other settings"));
	ops->destroy(first);
	ops->destroy(second);
	third = open_self();
	ops->destroy(third);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		CASE(test_reading_goes_over_segments),
		CASE(test_more_partitions_than_open_segments),
		CASE(test_retention_by_size_drops_the_oldest),
		CASE(test_retention_by_time_reaches_a_quiet_stream),
		CASE(test_behind_retention_is_told_or_passed),
		CASE(test_compaction_keeps_the_newest_of_each_key),
		CASE(test_the_providers_retention_is_not_that_of_compacted_streams),
		CASE(test_a_flipped_bit_on_the_disk_is_found),
		CASE(test_other_formats_are_refused),
		CASE(test_what_is_no_log_is_left_alone),
		CASE(test_small_segments_are_joined),
		CASE(test_a_commit_waits_for_more),
		CASE(test_two_providers_on_one_log_agree_on_its_settings),
	};
	load_local();
	if (argc == 3) {
		use_dir(argv[2]);
		return count_segments();
	}
	return RUN("local_log", tests);
}
