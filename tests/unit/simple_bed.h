/* The blocking adaptor under test: an author's functions that a test turns by hand, through the border alone. */
#ifndef RFL_TESTS_UNIT_SIMPLE_BED_H
#define RFL_TESTS_UNIT_SIMPLE_BED_H

#include <riffle/simple.h>

#include "test.h"

#include "plugin_bed.h"

#include <ftw.h>

/* What the author's side is told by the tests. One lock for all of it. */
static pthread_mutex_t hand = PTHREAD_MUTEX_INITIALIZER;
static struct {
	int64_t end;              /* records 0, 2, 4 ... below it exist */
	int64_t bad_at;           /* -1 = none */
	int is_bad_nowhere;       /* and its offset is not known */
	int fail_next, fail_open; /* a code, until it is taken away */
	int goes_back;            /* gives an old offset once */
	int blocks;               /* next does not come back while it is set */
	int is_blocked;
	int opened, closed;
	/* writing */
	char written[4096];
	size_t written_len, flushed_len;
	int fail_send_at, fail_flush;
	int sends, flushes;
} world;

static int
get(const int *what)
{
	pthread_mutex_lock(&hand);
	int value = *what;
	pthread_mutex_unlock(&hand);
	return value;
}

static void
set(int *what, int value)
{
	pthread_mutex_lock(&hand);
	*what = value;
	pthread_mutex_unlock(&hand);
}

struct reader {
	int64_t at;
	char text[32];
	struct riffle_header header;
};

static int
open_reader(const struct riffle_simple *self, const struct riffle_stream *stream, int64_t from,
	void *reader, struct riffle_error *err)
{
	struct reader *r = reader;
	(void)self;
	pthread_mutex_lock(&hand);
	int code = strcmp(stream->topic, "missing") == 0 ? RIFFLE_E_NOTFOUND : world.fail_open;
	world.opened += code == 0;
	pthread_mutex_unlock(&hand);
	if (code != 0)
		return riffle_simple_fail(err, code, "cannot open %s", stream->topic);
	/* A little early, as an author may. */
	r->at = from > 2 ? (from - 2) & ~INT64_C(1) : 0;
	return RIFFLE_OK;
}

static void
close_reader(void *reader)
{
	(void)reader;
	pthread_mutex_lock(&hand);
	world.closed++;
	pthread_mutex_unlock(&hand);
}

static void
wait_while_blocked(void)
{
	set(&world.is_blocked, 1);
	while (get(&world.blocks))
		poll(NULL, 0, 1);
	set(&world.is_blocked, 0);
}

/* Every third value is null, every fifth empty; a header and a type on what is divisible by eight. */
static void
make(struct reader *r, struct riffle_simple_message *m)
{
	int n = snprintf(r->text, sizeof r->text, "%lld", (long long)r->at);
	m->value = (struct riffle_bytes){r->text, (size_t)n};
	m->key = m->value;
	if (r->at % 3 == 0)
		m->value = (struct riffle_bytes){NULL, 0};
	else if (r->at % 5 == 0)
		m->value.len = 0;
	m->offset = r->at;
	m->time_ms = 1000 + r->at;
	if (r->at % 8 == 0) {
		r->header = (struct riffle_header){bytes("h"), {r->text, (size_t)n}};
		m->headers = &r->header;
		m->header_count = 1;
		m->content_type = "text/plain";
	}
}

static int
next_record(void *reader, int timeout_ms, struct riffle_simple_message *m, struct riffle_error *err)
{
	struct reader *r = reader;
	(void)timeout_ms;
	if (get(&world.blocks))
		wait_while_blocked();
	pthread_mutex_lock(&hand);
	int has = r->at < world.end, code = world.fail_next;
	int is_bad = r->at == world.bad_at, back = world.goes_back && r->at > 4;
	pthread_mutex_unlock(&hand);
	if (code != 0)
		return riffle_simple_fail(err, code, "next failed on purpose");
	if (!has)
		return 0;
	make(r, m);
	if (is_bad) {
		if (get(&world.is_bad_nowhere))
			m->offset = RIFFLE_OFFSET_NONE;
		r->at += 2;
		return riffle_simple_fail(err, RIFFLE_E_DATA, "bad on purpose");
	}
	if (back)
		m->offset = 0;
	r->at += 2;
	return 1;
}

static int
range(void *reader, int64_t *ret_start, int64_t *ret_end, struct riffle_error *err)
{
	(void)reader, (void)ret_start, (void)err;
	pthread_mutex_lock(&hand);
	*ret_end = world.end;
	pthread_mutex_unlock(&hand);
	return RIFFLE_OK;
}

static int
find_time(void *reader, int64_t time_ms, int64_t *ret_offset, struct riffle_error *err)
{
	(void)reader, (void)err;
	*ret_offset = time_ms - 1000;
	return RIFFLE_OK;
}

static int
open_writer(const struct riffle_simple *self, const struct riffle_stream *stream, void *writer,
	struct riffle_error *err)
{
	(void)self, (void)stream, (void)writer;
	int code = get(&world.fail_open);
	return code ? riffle_simple_fail(err, code, "cannot open for writing") : RIFFLE_OK;
}

static int
send_one(void *writer, const struct riffle_simple_message *m, struct riffle_error *err)
{
	(void)writer;
	if (get(&world.blocks))
		wait_while_blocked();
	if (m->value.len > 0 && memchr(m->value.ptr, '!', m->value.len) != NULL)
		return riffle_simple_fail(err, RIFFLE_E_DATA, "not this one");
	pthread_mutex_lock(&hand);
	int fails = ++world.sends == world.fail_send_at;
	if (!fails && world.written_len + m->value.len < sizeof world.written) {
		memcpy(world.written + world.written_len, m->value.ptr, m->value.len);
		world.written_len += m->value.len;
	}
	pthread_mutex_unlock(&hand);
	return fails ? riffle_simple_fail(err, RIFFLE_E_UNAVAILABLE, "away") : RIFFLE_OK;
}

static int
flush_all(void *writer, struct riffle_error *err)
{
	(void)writer;
	pthread_mutex_lock(&hand);
	int fails = world.fail_flush;
	world.flushes++;
	if (!fails)
		world.flushed_len = world.written_len;
	pthread_mutex_unlock(&hand);
	return fails ? riffle_simple_fail(err, fails, "disk full") : RIFFLE_OK;
}

static void
close_writer(void *writer)
{
	(void)writer;
}

static const struct riffle_option options[] = {
	{.name = "unused", .type = RIFFLE_OPT_STRING, .doc = "Nothing."}};
static const struct riffle_simple_source source = {
	sizeof(struct reader), open_reader, next_record, close_reader, range, find_time};
static const struct riffle_simple_sink sink = {1, open_writer, send_one, flush_all, close_writer};
RIFFLE_SIMPLE_PROVIDER("tested", "turned by hand", "1", "none",
	RIFFLE_CAN_KEYS | RIFFLE_CAN_HEADERS | RIFFLE_CAN_SEEK_TIME, options, source, sink);

static const struct riffle_provider_ops *const ops = &rfs_ops;
static char dir[64];
static struct riffle_value values[1];
static const struct riffle_config config = {.size = sizeof config,
	.section = RIFFLE_SECTION_PROVIDER,
	.value_size = sizeof values[0],
	.value_count = 1,
	.name = "by hand",
	.dir = dir,
	.values = values};

static int
remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
	(void)st, (void)kind, (void)at;
	return remove(path);
}

static int
fresh(void **state)
{
	(void)state;
	memset(&world, 0, sizeof world);
	world.bad_at = -1;
	strcpy(dir, "/tmp/riffle-simple-XXXXXX");
	return mkdtemp(dir) ? 0 : -1;
}

static int
clean(void **state)
{
	(void)state;
	return nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static struct riffle_stream
stream_of(const char *topic)
{
	return (struct riffle_stream){.size = sizeof(struct riffle_stream),
		.partitions = 1,
		.name = topic,
		.topic = topic,
		.content_type = "text/plain"};
}

struct bed {
	struct riffle_stream stream;
	void *self, *source, *sink;
	struct riffle_event ev;
};

static void
make_bed(struct bed *b, const char *topic)
{
	struct riffle_error err = {0};
	*b = (struct bed){.stream = stream_of(topic)};
	assert_int_equal(ops->create(&host, &config, &b->self, &err), RIFFLE_OK);
}

static void
await_source(struct bed *b, uint32_t type)
{
	struct wanted w = {ops->source_poll, b->source, type, &b->ev};
	assert_true(eventually(came, &w));
}

static void
await_sink(struct bed *b, uint32_t type)
{
	struct wanted w = {ops->sink_poll, b->sink, type, &b->ev};
	assert_true(eventually(came, &w));
}

static inline int
try_source(
	struct bed *b, const char *group, uint32_t start, int64_t value, struct riffle_error *err)
{
	const struct riffle_source_stream in = {
		.size = sizeof in, .stream = &b->stream, .start = start, .start_value = value};
	const struct riffle_source_spec spec = {.size = sizeof spec,
		.stream_size = sizeof in,
		.stream_count = 1,
		.streams = &in,
		.group = group};
	return ops->source_open(b->self, &spec, &b->source, err);
}

static inline void
start_at(struct bed *b, int64_t offset)
{
	struct riffle_error err = {0};
	const uint32_t lane = 0;
	const struct riffle_position from = {.offset = offset};
	assert_int_equal(ops->source_start(b->source, &lane, &from, 1, &err), RIFFLE_OK);
}

/* Opens, and starts where the group stands, which it returns. */
static inline int64_t
open_source(struct bed *b, const char *group, uint32_t start, int64_t value)
{
	struct riffle_error err = {0};
	assert_int_equal(try_source(b, group, start, value, &err), RIFFLE_OK);
	await_source(b, RIFFLE_EV_ASSIGNED);
	assert_int_equal(b->ev.lane_count, 1);
	int64_t offset = b->ev.lanes[0].committed.offset;
	start_at(b, offset);
	return offset;
}

static void
close_source(struct bed *b)
{
	ops->source_close(b->source);
	await_source(b, RIFFLE_EV_CLOSED);
	ops->source_destroy(b->source);
	b->source = NULL;
}

static void
end_bed(struct bed *b)
{
	if (b->source != NULL)
		close_source(b);
	if (b->sink != NULL) {
		ops->sink_close(b->sink);
		await_sink(b, RIFFLE_EV_CLOSED);
		ops->sink_destroy(b->sink);
	}
	ops->destroy(b->self);
	assert_int_equal(world.opened, world.closed);
}

static void
drop(struct riffle_batch *batch)
{
	batch_unref(&host, batch);
}

#endif
