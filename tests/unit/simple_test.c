/* The blocking adaptor's sources: records, groups, rewinds, failures of the author's reader. */
#include "simple_bed.h"

struct pull {
	struct bed *b;
	uint32_t lane, max_records;
	size_t max_bytes;
	struct riffle_batch *batch;
	struct riffle_error err;
	int rc;
};

static int
pulled(void *ctx)
{
	struct pull *p = ctx;
	p->rc = ops->lane_poll(
		p->b->source, p->lane, p->max_records, p->max_bytes, &p->batch, &p->err);
	return p->rc != 0;
}

static struct riffle_batch *
pull(struct bed *b, uint32_t max_records, size_t max_bytes)
{
	struct pull p = {b, 0, max_records, max_bytes, NULL, {0}, 0};
	assert_true(eventually(pulled, &p));
	assert_int_equal(p.rc, 1);
	p.batch->host[0] = 1;
	return p.batch;
}

/* Reads until the offset is reached, all in order and none twice. */
static void
read_up_to(struct bed *b, int64_t from, int64_t end)
{
	while (from < end) {
		struct riffle_batch *batch =
			pull(b, end - from < 14 ? (uint32_t)(end - from) / 2 : 7, 1000);
		assert_in_range(batch->record_count, 1, 7);
		for (uint32_t i = 0; i < batch->record_count; i++, from += 2)
			assert_int_equal(riffle_batch_at(batch, i)->offset, from);
		drop(batch);
	}
	assert_int_equal(from, end);
}

static void
test_records_arrive_in_order_as_they_are(void **state)
{
	struct bed b;
	(void)state;
	world.end = 200;
	make_bed(&b, "t");
	assert_int_equal(open_source(&b, "g", RIFFLE_START_EARLIEST, 0), 0);
	for (int64_t at = 0; at < 200;) {
		struct riffle_batch *batch = pull(&b, 16, 40);
		for (uint32_t i = 0; i < batch->record_count; i++, at += 2) {
			const struct riffle_record *r = riffle_batch_at(batch, i);
			char text[32];
			snprintf(text, sizeof text, "%lld", (long long)at);
			assert_int_equal(r->offset, at);
			assert_int_equal(r->time_ms, 1000 + at);
			assert_int_equal(r->key.len, strlen(text));
			assert_memory_equal(r->key.ptr, text, r->key.len);
			assert_int_equal(r->value.ptr == NULL, at % 3 == 0);
			if (at % 3 != 0)
				assert_int_equal(r->value.len, at % 5 == 0 ? 0 : strlen(text));
			assert_int_equal(r->header_count, at % 8 == 0);
			if (at % 8 != 0) {
				assert_int_equal(r->content_type, 0);
				continue;
			}
			const struct riffle_header *h = &batch->headers[r->header_first];
			assert_memory_equal(h->name.ptr, "h", 1);
			assert_memory_equal(h->value.ptr, text, h->value.len);
			assert_string_equal(batch->content_types[r->content_type], "text/plain");
		}
		drop(batch);
	}
	end_bed(&b);
}

static void
test_max_records_and_bytes(void **state)
{
	struct bed b;
	(void)state;
	world.end = 20000;
	make_bed(&b, "t");
	open_source(&b, NULL, RIFFLE_START_OFFSET, 10001);
	struct riffle_batch *batch = pull(&b, 1, 1 << 20);
	assert_int_equal(batch->record_count, 1);
	assert_int_equal(batch->records[0].offset, 10002);
	drop(batch);
	batch = pull(&b, 100, 1); /* the first alone is larger */
	assert_int_equal(batch->record_count, 1);
	drop(batch);
	end_bed(&b);
}

static int
is_caught_up(void *ctx)
{
	struct bed *b = ctx;
	struct riffle_lane_state state = {.size = sizeof state};
	assert_int_equal(ops->lane_state(b->source, 0, &state), RIFFLE_OK);
	return state.as_of_ns != 0 && state.position >= state.log_end;
}

static void
test_caught_up_and_awakened(void **state)
{
	struct bed b;
	(void)state;
	world.end = 100;
	make_bed(&b, "t");
	open_source(&b, "g", RIFFLE_START_EARLIEST, 0);
	struct riffle_batch *batch = pull(&b, 3, 1000);
	assert_false(is_caught_up(&b));
	read_up_to(&b, 2 * (int64_t)batch->record_count, 100);
	drop(batch);
	assert_true(eventually(is_caught_up, &b));
	came(&(struct wanted){ops->source_poll, b.source, 0, &b.ev});
	struct pollfd fd = {.fd = ops->source_fd(b.source), .events = POLLIN};
	assert_int_equal(poll(&fd, 1, 0), 0);
	pthread_mutex_lock(&hand);
	world.end = 102;
	pthread_mutex_unlock(&hand);
	assert_int_equal(poll(&fd, 1, EVENTUALLY_S * 1000), 1);
	read_up_to(&b, 100, 102);
	end_bed(&b);
}

static void
commit(struct bed *b, int64_t offset, const char *metadata, uint64_t tag)
{
	struct riffle_error err = {0};
	const struct riffle_position at = {
		.offset = offset, .leader_epoch = 7, .metadata = bytes(metadata)};
	assert_int_equal(ops->source_commit(b->source, &at, 1, tag, &err), RIFFLE_OK);
}

static void
test_a_group_goes_on_where_it_committed(void **state)
{
	struct bed b;
	(void)state;
	world.end = 100;
	make_bed(&b, "odd name/of\ta topic");
	assert_int_equal(open_source(&b, "ns/p", RIFFLE_START_LATEST, 0), 100);
	close_source(&b);
	world.end = 200;
	/* The start of a new group does not move with the end. */
	assert_int_equal(open_source(&b, "ns/p", RIFFLE_START_LATEST, 0), 100);
	assert_null(b.ev.lanes[0].committed.metadata.ptr);
	commit(&b, 142, "two\nlines 1 2 3", 1);
	commit(&b, 150, "the last word", 2);
	await_source(&b, RIFFLE_EV_COMMITTED);
	assert_int_equal(b.ev.tag, 1);
	assert_int_equal(b.ev.status, RIFFLE_OK);
	await_source(&b, RIFFLE_EV_COMMITTED);
	assert_int_equal(b.ev.tag, 2);
	close_source(&b);
	assert_int_equal(open_source(&b, "ns/p", RIFFLE_START_EARLIEST, 0), 150);
	const struct riffle_position *at = &b.ev.lanes[0].committed;
	assert_int_equal(at->leader_epoch, 7);
	assert_int_equal(at->metadata.len, strlen("the last word"));
	assert_memory_equal(at->metadata.ptr, "the last word", at->metadata.len);
	assert_int_equal(b.ev.lanes[0].log_start, 0);
	assert_int_equal(b.ev.lanes[0].log_end, 200);
	read_up_to(&b, 150, 200);
	close_source(&b);
	assert_int_equal(open_source(&b, "other", RIFFLE_START_TIME, 1060), 60);
	end_bed(&b);
}

static void
test_a_commit_before_the_close_counts(void **state)
{
	struct bed b;
	(void)state;
	world.end = 10;
	make_bed(&b, "t");
	open_source(&b, "g", RIFFLE_START_EARLIEST, 0);
	commit(&b, 4, NULL, 9);
	ops->source_close(b.source);
	await_source(&b, RIFFLE_EV_COMMITTED);
	assert_int_equal(b.ev.tag, 9);
	close_source(&b);
	assert_int_equal(open_source(&b, "g", RIFFLE_START_EARLIEST, 0), 4);
	end_bed(&b);
}

static void
test_damaged_positions_are_refused(void **state)
{
	static const char *const damage[] = {"", "riffle positions 2\nend\n",
		"riffle positions 1\n", "riffle positions 1\n5 0 1 -1\nt\n",
		"riffle positions 1\n-5 0 1 -1\nt\nend\n",
		"riffle positions 1\n5 0 1 4000\nt\nend\n", "riffle positions 1\n5 0 0 -1\n\nend\n",
		"riffle positions 1\n5 0 1 -1\ntt\nend\n"};
	struct bed b;
	char path[256];
	(void)state;
	make_bed(&b, "t");
	open_source(&b, "g", RIFFLE_START_EARLIEST, 0);
	close_source(&b);
	snprintf(path, sizeof path, "%s/simple/by%%20hand/g.positions", dir);
	for (size_t i = 0; i < sizeof damage / sizeof damage[0]; i++) {
		struct riffle_error err = {0};
		FILE *f = fopen(path, "r+e");
		assert_non_null(f);
		assert_int_equal(ftruncate(fileno(f), 0), 0);
		fputs(damage[i], f);
		fclose(f);
		assert_int_equal(try_source(&b, "g", RIFFLE_START_EARLIEST, 0, &err), RIFFLE_OK);
		await_source(&b, RIFFLE_EV_ERROR);
		assert_int_equal(b.ev.status, RIFFLE_E_FATAL);
		assert_non_null(strstr(b.ev.error.text, "g.positions is damaged"));
		close_source(&b);
	}
	end_bed(&b);
}

static void
test_a_group_has_one_member(void **state)
{
	struct bed a, b;
	struct riffle_error err = {0};
	(void)state;
	world.end = 10;
	make_bed(&a, "t");
	make_bed(&b, "t");
	open_source(&a, "g", RIFFLE_START_EARLIEST, 0);
	assert_int_equal(try_source(&b, "g", RIFFLE_START_EARLIEST, 0, &err), RIFFLE_OK);
	await_source(&b, RIFFLE_EV_ERROR);
	assert_int_equal(b.ev.status, RIFFLE_E_UNAVAILABLE);
	commit(&a, 6, "m", 1);
	await_source(&a, RIFFLE_EV_COMMITTED);
	close_source(&a);
	await_source(&b, RIFFLE_EV_ASSIGNED);
	assert_int_equal(b.ev.lanes[0].committed.offset, 6);
	close_source(&b);
	ops->destroy(a.self);
	end_bed(&b);
}

static void
test_rewind_yields_nothing_older(void **state)
{
	struct bed b;
	struct riffle_error err = {0};
	const uint32_t lane = 0;
	(void)state;
	world.end = 4000;
	make_bed(&b, "t");
	open_source(&b, "g", RIFFLE_START_EARLIEST, 0);
	for (int64_t to = 3800; to > 0; to -= 190) {
		struct riffle_position from = {.offset = to};
		drop(pull(&b, 5, 1000));
		assert_int_equal(ops->source_rewind(b.source, &lane, &from, 1, &err), RIFFLE_OK);
		read_up_to(&b, to, to + 10);
	}
	end_bed(&b);
}

static void
test_released_when_the_last_batch_is_back(void **state)
{
	struct bed b;
	struct riffle_error err = {0};
	const uint32_t lane = 0;
	(void)state;
	world.end = 100;
	make_bed(&b, "t");
	open_source(&b, "g", RIFFLE_START_EARLIEST, 0);
	struct riffle_batch *batch = pull(&b, 5, 1000), *none = NULL;
	assert_int_equal(ops->source_release(b.source, &lane, 1, &err), RIFFLE_OK);
	assert_int_equal(ops->lane_poll(b.source, 0, 5, 1000, &none, &err), 0);
	b.ev = (struct riffle_event){.size = sizeof b.ev};
	assert_int_equal(ops->source_poll(b.source, &b.ev), 0);
	drop(batch);
	await_source(&b, RIFFLE_EV_RELEASED);
	assert_int_equal(b.ev.lane_count, 1);
	end_bed(&b);
}

/* Batches go back on another thread than the host's. */
static void *
drop_there(void *batch)
{
	drop(batch);
	return NULL;
}

static void
test_closed_when_the_last_batch_is_back_from_another_thread(void **state)
{
	struct bed b;
	pthread_t other;
	(void)state;
	world.end = 100;
	make_bed(&b, "t");
	open_source(&b, "g", RIFFLE_START_EARLIEST, 0);
	struct riffle_batch *batch = pull(&b, 5, 1000);
	ops->source_close(b.source);
	b.ev = (struct riffle_event){.size = sizeof b.ev};
	assert_int_equal(ops->source_poll(b.source, &b.ev), 0);
	assert_int_equal(pthread_create(&other, NULL, drop_there, batch), 0);
	await_source(&b, RIFFLE_EV_CLOSED);
	ops->source_destroy(b.source);
	b.source = NULL;
	pthread_join(other, NULL);
	end_bed(&b);
}

static int
queue_is_full(void *ctx)
{
	struct bed *b = ctx;
	struct riffle_lane_state state = {.size = sizeof state};
	assert_int_equal(ops->lane_state(b->source, 0, &state), RIFFLE_OK);
	struct rfs_source *s = b->source;
	pthread_mutex_lock(&s->base.lock);
	uint32_t queued = s->lanes[0].queued;
	pthread_mutex_unlock(&s->base.lock);
	assert_in_range(queued, 0, RFS_QUEUE_RECORDS);
	return queued == RFS_QUEUE_RECORDS;
}

static void
test_a_slow_host_is_waited_for(void **state)
{
	struct bed b;
	(void)state;
	world.end = 10000;
	make_bed(&b, "t");
	open_source(&b, "g", RIFFLE_START_EARLIEST, 0);
	assert_true(eventually(queue_is_full, &b));
	read_up_to(&b, 0, 10000);
	end_bed(&b);
}

static int
is_failing(void *ctx)
{
	struct bed *b = ctx;
	struct riffle_lane_state state = {.size = sizeof state};
	assert_int_equal(ops->lane_state(b->source, 0, &state), RIFFLE_OK);
	return (state.flags & RIFFLE_LANE_FAILING) != 0;
}

static void
test_a_failure_that_passes_loses_nothing(void **state)
{
	struct bed b;
	(void)state;
	world.end = 20;
	make_bed(&b, "t");
	open_source(&b, "g", RIFFLE_START_EARLIEST, 0);
	read_up_to(&b, 0, 20);
	set(&world.fail_next, RIFFLE_E_UNAVAILABLE);
	await_source(&b, RIFFLE_EV_ERROR);
	assert_int_equal(b.ev.status, RIFFLE_E_UNAVAILABLE);
	assert_string_equal(b.ev.error.text, "next failed on purpose");
	assert_true(is_failing(&b));
	pthread_mutex_lock(&hand);
	world.fail_next = 0;
	world.end = 40;
	pthread_mutex_unlock(&hand);
	read_up_to(&b, 20, 40);
	assert_false(is_failing(&b));
	end_bed(&b);
}

static void
test_what_does_not_pass_ends_the_source(void **state)
{
	struct bed b;
	(void)state;
	world.end = 20;
	world.goes_back = 1;
	make_bed(&b, "t");
	open_source(&b, "g", RIFFLE_START_EARLIEST, 0);
	await_source(&b, RIFFLE_EV_ERROR);
	assert_int_equal(b.ev.status, RIFFLE_E_FATAL);
	assert_non_null(strstr(b.ev.error.text, "gave offset 0 of t where 5 or more"));
	close_source(&b);
	world.goes_back = 0;
	world.fail_next = RIFFLE_E_AUTH;
	open_source(&b, "g", RIFFLE_START_EARLIEST, 0);
	await_source(&b, RIFFLE_EV_ERROR);
	assert_int_equal(b.ev.status, RIFFLE_E_FATAL);
	assert_int_equal(b.ev.error.code, RIFFLE_E_AUTH);
	end_bed(&b);
}

static void
test_a_bad_record_is_passed_by_a_rewind(void **state)
{
	struct bed b;
	struct riffle_lane_state at = {.size = sizeof at};
	const uint32_t lane = 0;
	const struct riffle_position behind = {.offset = 11};
	(void)state;
	world.end = 20;
	world.bad_at = 10;
	make_bed(&b, "t");
	open_source(&b, "g", RIFFLE_START_EARLIEST, 0);
	read_up_to(&b, 0, 10);
	struct pull p = {&b, 0, 7, 1000, NULL, {0}, 0};
	for (int i = 0; i < 3; i++) {
		assert_true(eventually(pulled, &p));
		assert_int_equal(p.rc, RIFFLE_E_DATA);
		assert_string_equal(p.err.text, "bad on purpose");
	}
	assert_int_equal(ops->lane_state(b.source, 0, &at), RIFFLE_OK);
	assert_int_equal(at.position, 10);
	assert_int_equal(ops->source_rewind(b.source, &lane, &behind, 1, &p.err), RIFFLE_OK);
	read_up_to(&b, 12, 20);
	end_bed(&b);
}

/* The reader begins a little early, and the bad record lies there: nothing that is wanted is passed for it. */
static void
test_a_bad_record_before_the_start_is_no_matter(void **state)
{
	struct bed b;
	(void)state;
	world.end = 20;
	world.bad_at = 10;
	world.is_bad_nowhere = 1;
	make_bed(&b, "t");
	open_source(&b, "g", RIFFLE_START_OFFSET, 12);
	read_up_to(&b, 12, 20);
	end_bed(&b);
}

static void
test_a_bad_record_without_an_offset_is_told_and_passed(void **state)
{
	struct bed b;
	struct riffle_lane_state at = {.size = sizeof at};
	const uint32_t lane = 0;
	(void)state;
	world.end = 20;
	world.bad_at = 10;
	world.is_bad_nowhere = 1;
	make_bed(&b, "t");
	open_source(&b, "g", RIFFLE_START_OFFSET, 10);
	/* There is a gap behind it, in which each offset could have been its. */
	for (int64_t i = 10; i < 12; i++) {
		struct pull p = {&b, 0, 7, 1000, NULL, {0}, 0};
		const struct riffle_position behind = {.offset = i + 1};
		assert_true(eventually(pulled, &p));
		assert_int_equal(p.rc, RIFFLE_E_DATA);
		assert_string_equal(p.err.text, "bad on purpose");
		assert_int_equal(ops->lane_state(b.source, 0, &at), RIFFLE_OK);
		assert_int_equal(at.position, i);
		assert_int_equal(
			ops->source_rewind(b.source, &lane, &behind, 1, &p.err), RIFFLE_OK);
	}
	read_up_to(&b, 12, 20);
	end_bed(&b);
}

static int
is_blocked(void *ctx)
{
	(void)ctx;
	return get(&world.is_blocked);
}

static void
test_close_does_not_wait_for_a_blocked_reader(void **state)
{
	struct bed b;
	(void)state;
	world.end = 20;
	world.blocks = 1;
	make_bed(&b, "t");
	open_source(&b, "g", RIFFLE_START_EARLIEST, 0);
	assert_true(eventually(is_blocked, NULL));
	ops->source_close(b.source); /* or the test would never get to the next line */
	b.ev = (struct riffle_event){.size = sizeof b.ev};
	assert_int_equal(ops->source_poll(b.source, &b.ev), 0);
	set(&world.blocks, 0);
	end_bed(&b);
}

/* What was being read while the host went elsewhere belongs nowhere. */
static void
test_rewind_while_the_reader_is_blocked(void **state)
{
	struct bed b;
	struct riffle_error err = {0};
	const uint32_t lane = 0;
	const struct riffle_position from = {.offset = 100};
	(void)state;
	world.end = 200;
	world.blocks = 1;
	make_bed(&b, "t");
	open_source(&b, "g", RIFFLE_START_EARLIEST, 0);
	assert_true(eventually(is_blocked, NULL));
	assert_int_equal(ops->source_rewind(b.source, &lane, &from, 1, &err), RIFFLE_OK);
	set(&world.blocks, 0);
	read_up_to(&b, 100, 200);
	end_bed(&b);
}

static void
test_what_is_not_offered_is_refused(void **state)
{
	struct bed b;
	struct riffle_error err = {0};
	(void)state;
	make_bed(&b, "missing");
	struct riffle_stream_info info = {.size = sizeof info};
	assert_int_equal(ops->describe(b.self, &b.stream, &info, &err), RIFFLE_OK);
	assert_int_equal(info.flags & RIFFLE_STREAM_EXISTS, 0);
	assert_int_equal(try_source(&b, NULL, RIFFLE_START_EARLIEST, 0, &err), RIFFLE_OK);
	await_source(&b, RIFFLE_EV_ERROR);
	assert_int_equal(b.ev.status, RIFFLE_E_FATAL);
	assert_string_equal(b.ev.error.text, "cannot open missing");
	const struct riffle_position at = {.offset = 1};
	assert_int_equal(ops->source_commit(b.source, &at, 1, 1, &err), RIFFLE_E_INVAL);
	close_source(&b);
	b.stream = stream_of("t");
	assert_int_equal(ops->describe(b.self, &b.stream, &info, &err), RIFFLE_OK);
	assert_int_equal(info.flags, RIFFLE_STREAM_EXISTS);
	b.stream.partitions = 2;
	assert_int_equal(try_source(&b, NULL, RIFFLE_START_EARLIEST, 0, &err), RIFFLE_E_CONFIG);
	assert_string_equal(err.text, "topic \"t\" has one partition, not 2");
	assert_int_equal(ops->capabilities(b.self) & RIFFLE_CAN_TRANSACTIONS, 0);
	end_bed(&b);
}

/* One source, one thread, two streams: neither starves, and each has a position of its own. */
static void
open_two(struct bed *b, const struct riffle_stream *other)
{
	struct riffle_error err = {0};
	const struct riffle_source_stream in[] = {
		{.size = sizeof in[0], .stream = &b->stream, .start = RIFFLE_START_EARLIEST},
		{.size = sizeof in[0], .stream = other, .start = RIFFLE_START_LATEST}};
	const struct riffle_source_spec spec = {.size = sizeof spec,
		.stream_size = sizeof in[0],
		.stream_count = 2,
		.streams = in,
		.group = "g"};
	assert_int_equal(ops->source_open(b->self, &spec, &b->source, &err), RIFFLE_OK);
	await_source(b, RIFFLE_EV_ASSIGNED);
	assert_int_equal(b->ev.lane_count, 2);
}

static void
test_two_streams_of_one_source(void **state)
{
	struct bed b;
	struct riffle_error err = {0};
	const struct riffle_stream other = stream_of("u");
	const uint32_t lanes[] = {0, 1};
	const struct riffle_position from[] = {{.offset = 0}, {.stream = 1, .offset = 40}};
	struct riffle_position at[] = {{.offset = 6}, {.stream = 1, .offset = 44}};
	(void)state;
	world.end = 100;
	make_bed(&b, "t");
	open_two(&b, &other);
	assert_int_equal(b.ev.lanes[0].committed.offset, 0);
	assert_int_equal(b.ev.lanes[1].committed.offset, 100);
	assert_int_equal(b.ev.lanes[1].committed.stream, 1);
	assert_int_equal(ops->source_start(b.source, lanes, from, 2, &err), RIFFLE_OK);
	for (uint32_t lane = 0; lane < 2; lane++) {
		struct pull p = {&b, lane, 1, 1000, NULL, {0}, 0};
		assert_true(eventually(pulled, &p));
		assert_int_equal(p.batch->records[0].offset, 40 * lane);
		assert_int_equal(p.batch->records[0].stream, lane);
		p.batch->host[0] = 1;
		drop(p.batch);
	}
	assert_int_equal(ops->source_commit(b.source, at, 2, 1, &err), RIFFLE_OK);
	await_source(&b, RIFFLE_EV_COMMITTED);
	assert_int_equal(ops->source_release(b.source, lanes, 2, &err), RIFFLE_OK);
	await_source(&b, RIFFLE_EV_RELEASED);
	assert_int_equal(b.ev.lane_count, 2);
	close_source(&b);
	open_two(&b, &other);
	assert_int_equal(b.ev.lanes[0].committed.offset, 6);
	assert_int_equal(b.ev.lanes[1].committed.offset, 44);
	end_bed(&b);
}

static int asked;

static int
next_at_once(
	void *reader, int timeout_ms, struct riffle_simple_message *ret, struct riffle_error *err)
{
	(void)reader, (void)timeout_ms, (void)ret, (void)err;
	pthread_mutex_lock(&hand);
	asked++;
	pthread_mutex_unlock(&hand);
	return 0;
}

#define MANY 120

static void
test_many_idle_streams_do_not_keep_the_thread_busy(void **state)
{
	static const struct riffle_simple_source at_once = {
		sizeof(struct reader), open_reader, next_at_once, close_reader, range, NULL};
	struct bed b;
	struct riffle_error err = {0};
	struct riffle_source_stream in[MANY];
	uint32_t lanes[MANY];
	struct riffle_position from[MANY];
	const struct timespec while_idle = {0, 200000000};
	(void)state;
	make_bed(&b, "t");
	ops->destroy(b.self);
	rfs_create(&at_once, NULL, RFS_CAN_READ, &host, &config, &b.self);
	for (uint32_t i = 0; i < MANY; i++) {
		in[i] = (struct riffle_source_stream){
			.size = sizeof in[0], .stream = &b.stream, .start = RIFFLE_START_EARLIEST};
		lanes[i] = i;
		from[i] = (struct riffle_position){.stream = i};
	}
	const struct riffle_source_spec spec = {.size = sizeof spec,
		.stream_size = sizeof in[0],
		.stream_count = MANY,
		.streams = in};
	assert_int_equal(ops->source_open(b.self, &spec, &b.source, &err), RIFFLE_OK);
	await_source(&b, RIFFLE_EV_ASSIGNED);
	assert_int_equal(ops->source_start(b.source, lanes, from, MANY, &err), RIFFLE_OK);
	/* The longer it takes here the more often it may ask: 1 ms lies between two times. */
	int64_t began_ms = rfs_real_ms();
	nanosleep(&while_idle, NULL);
	close_source(&b);
	assert_true(asked <= MANY + 1 + (int)(rfs_real_ms() - began_ms));
	end_bed(&b);
}

static void
test_no_start_at_a_time_without_the_author(void **state)
{
	static const struct riffle_simple_source without = {
		sizeof(struct reader), open_reader, next_record, close_reader, range, NULL};
	struct bed b;
	struct riffle_error err = {0};
	(void)state;
	make_bed(&b, "t");
	assert_true(ops->capabilities(b.self) & RIFFLE_CAN_SEEK_TIME);
	ops->destroy(b.self);
	rfs_create(&without, NULL, RFS_CAN_READ | RIFFLE_CAN_SEEK_TIME, &host, &config, &b.self);
	assert_false(ops->capabilities(b.self) & RIFFLE_CAN_SEEK_TIME);
	assert_int_equal(try_source(&b, "g", RIFFLE_START_TIME, 5, &err), RIFFLE_E_UNSUPPORTED);
	assert_string_equal(err.text, "topic \"t\" cannot be read from a time on");
	const struct riffle_source_spec spec = {.size = sizeof spec, .txn = &b};
	assert_int_equal(ops->source_open(b.self, &spec, &b.source, &err), RIFFLE_E_UNSUPPORTED);
	end_bed(&b);
}

int
main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, fresh, clean)
	const struct CMUnitTest tests[] = {
		CASE(test_records_arrive_in_order_as_they_are),
		CASE(test_max_records_and_bytes),
		CASE(test_caught_up_and_awakened),
		CASE(test_a_group_goes_on_where_it_committed),
		CASE(test_a_commit_before_the_close_counts),
		CASE(test_damaged_positions_are_refused),
		CASE(test_a_group_has_one_member),
		CASE(test_rewind_yields_nothing_older),
		CASE(test_released_when_the_last_batch_is_back),
		CASE(test_closed_when_the_last_batch_is_back_from_another_thread),
		CASE(test_a_slow_host_is_waited_for),
		CASE(test_a_failure_that_passes_loses_nothing),
		CASE(test_what_does_not_pass_ends_the_source),
		CASE(test_a_bad_record_is_passed_by_a_rewind),
		CASE(test_a_bad_record_before_the_start_is_no_matter),
		CASE(test_a_bad_record_without_an_offset_is_told_and_passed),
		CASE(test_close_does_not_wait_for_a_blocked_reader),
		CASE(test_rewind_while_the_reader_is_blocked),
		CASE(test_what_is_not_offered_is_refused),
		CASE(test_two_streams_of_one_source),
		CASE(test_many_idle_streams_do_not_keep_the_thread_busy),
		CASE(test_no_start_at_a_time_without_the_author),
	};
	return RUN("simple", tests);
}
