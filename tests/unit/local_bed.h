/*
 * The embedded provider's object with a directory of its own, and what a test does with it again and again:
 * open, provision, send, read, commit.
 */
#ifndef RFL_TESTS_UNIT_LOCAL_BED_H
#define RFL_TESTS_UNIT_LOCAL_BED_H

#include "plugin_bed.h"
#include "test.h"

#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct riffle_provider_ops *ops;
static char dir[64];
static struct riffle_value values[32], stream_values[16];
static struct riffle_config config = {.size = sizeof config,
	.section = RIFFLE_SECTION_PROVIDER,
	.value_size = sizeof values[0],
	.name = "local",
	.dir = dir,
	.values = values};
static struct riffle_config stream_config = {.size = sizeof stream_config,
	.section = RIFFLE_SECTION_STREAM,
	.value_size = sizeof stream_values[0],
	.name = "a",
	.dir = dir,
	.values = stream_values};

/* What is not set reads as its default, as far as these tests go: numbers, sizes and times in ms. */
static inline void
take_defaults(uint32_t section, struct riffle_config *c, struct riffle_value *list)
{
	const struct riffle_option_table *t = options_of(section);
	c->value_count = t->option_count;
	for (uint32_t i = 0; i < t->option_count; i++) {
		const struct riffle_option *o = &t->options[i];
		list[i] = (struct riffle_value){.is_set = 0};
		for (int k = 0; o->type == RIFFLE_OPT_ENUM && o->choices[k] != NULL; k++)
			if (strcmp(o->choices[k], o->def) == 0)
				list[i].u.i = k;
		if (o->type == RIFFLE_OPT_INT && o->def != NULL)
			list[i].u.i = atoll(o->def);
	}
}

static inline void
set_provider(const char *name, int64_t value)
{
	values[option_at(RIFFLE_SECTION_PROVIDER, name)] =
		(struct riffle_value){.is_set = 1, .u.i = value};
}

static inline void
set_stream(const char *name, int64_t value)
{
	stream_values[option_at(RIFFLE_SECTION_STREAM, name)] =
		(struct riffle_value){.is_set = 1, .u.i = value};
}

static inline int
remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
	(void)st, (void)kind, (void)at;
	return remove(path);
}

static inline int
fresh_dir(void **state)
{
	(void)state;
	strcpy(dir, "/tmp/riffle-local-XXXXXX");
	take_defaults(RIFFLE_SECTION_PROVIDER, &config, values);
	take_defaults(RIFFLE_SECTION_STREAM, &stream_config, stream_values);
	set_provider("durability", 2); /* none: these tests kill processes, not machines */
	set_provider("map-size", INT64_C(1) << 30);
	set_provider("max-partitions", 64);
	set_provider("commit-size", 8 << 20);
	set_provider("clean-interval", 5000);
	set_stream("tombstones", 86400000);
	return mkdtemp(dir) ? 0 : -1;
}

static inline int
remove_dir(void **state)
{
	(void)state;
	return nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

struct bed {
	void *self, *sink, *source, *txn;
	const struct riffle_transactions *transactions;
	struct riffle_event ev;
};

static inline struct riffle_stream
stream_of(const char *name, uint32_t partitions)
{
	return (struct riffle_stream){.size = sizeof(struct riffle_stream),
		.partitions = partitions,
		.name = name,
		.topic = name,
		.content_type = "text/plain"};
}

static inline void *
open_self(void)
{
	struct riffle_error err = {0};
	void *self = NULL;
	must(ops->create(&host, &config, &self, &err), &err);
	return self;
}

static inline void
provision(void *self, const struct riffle_stream *s)
{
	struct riffle_error err = {0};
	must(ops->provision(self, s, &err), &err);
}

/* Waits as the host does, on the object's fd. */
static inline void
await(struct wanted *w, int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	int64_t end = now_ns(NULL) + EVENTUALLY_S * INT64_C(1000000000);
	while (!came(w)) {
		if (now_ns(NULL) > end)
			fail_msg("event %u does not come", w->type);
		if (w->ev->type == 0)
			poll(&p, 1, 100);
	}
}

static inline void
await_sink(struct bed *b, uint32_t type)
{
	struct wanted w = {ops->sink_poll, b->sink, type, &b->ev};
	await(&w, ops->sink_fd(b->sink));
}

static inline void
await_source(struct bed *b, uint32_t type)
{
	struct wanted w = {ops->source_poll, b->source, type, &b->ev};
	await(&w, ops->source_fd(b->source));
}

static inline void
open_sink(struct bed *b, const struct riffle_stream *s)
{
	struct riffle_error err = {0};
	const struct riffle_sink_spec spec = {
		.size = sizeof spec, .stream_size = sizeof s, .stream_count = 1, .streams = &s};
	must(ops->sink_open(b->self, &spec, &b->sink, &err), &err);
}

static inline int
try_source(struct bed *b, const struct riffle_stream *s, const char *group, uint32_t start,
	int64_t start_value, struct riffle_error *reterr)
{
	const struct riffle_source_stream in = {
		.size = sizeof in, .stream = s, .start = start, .start_value = start_value};
	const struct riffle_source_spec spec = {.size = sizeof spec,
		.stream_size = sizeof in,
		.stream_count = 1,
		.streams = &in,
		.group = group,
		.txn = b->txn};
	return ops->source_open(b->self, &spec, &b->source, reterr);
}

/* Opens, and starts every lane where the group stands; the event stays in b->ev. */
static inline void
open_source(struct bed *b, const struct riffle_stream *s, const char *group, uint32_t start,
	int64_t start_value)
{
	struct riffle_error err = {0};
	must(try_source(b, s, group, start, start_value, &err), &err);
	await_source(b, RIFFLE_EV_ASSIGNED);
	for (uint32_t i = 0; i < b->ev.lane_count; i++)
		must(ops->source_start(
			     b->source, &b->ev.lanes[i].lane, &b->ev.lanes[i].committed, 1, &err),
			&err);
}

static inline void
close_sink(struct bed *b)
{
	if (b->txn != NULL)
		b->transactions->destroy(b->txn);
	b->txn = NULL;
	ops->sink_close(b->sink);
	await_sink(b, RIFFLE_EV_CLOSED);
	ops->sink_destroy(b->sink);
	b->sink = NULL;
}

static inline void
close_source(struct bed *b)
{
	ops->source_close(b->source);
	await_source(b, RIFFLE_EV_CLOSED);
	ops->source_destroy(b->source);
	b->source = NULL;
}

static inline void
static_release(struct riffle_batch *b)
{
	(void)b;
}

static const char *const types[] = {NULL, "text/plain", "image/png"};

static inline struct riffle_batch
batch_of(const struct riffle_record *records, uint32_t count, const struct riffle_header *headers,
	uint32_t header_count)
{
	return (struct riffle_batch){.size = sizeof(struct riffle_batch),
		.record_size = sizeof *records,
		.record_count = count,
		.header_count = header_count,
		.content_type_count = 3,
		.records = records,
		.headers = headers,
		.content_types = types,
		.release = static_release,
		.host = {1, 0}};
}

/* The poll after an answer gives the batch back, which lies on our stack. */
static inline void
take_back(struct bed *b)
{
	struct riffle_event ev = {.size = sizeof ev};
	ops->sink_poll(b->sink, &ev);
}

static inline void
send_all(struct bed *b, const struct riffle_record *records, uint32_t count)
{
	struct riffle_error err = {0};
	struct riffle_batch batch = batch_of(records, count, NULL, 0);
	assert_int_equal(ops->sink_send(b->sink, &batch, 0, count, 7, &err), count);
	await_sink(b, RIFFLE_EV_SENT);
	assert_int_equal(b->ev.tag, 7);
	assert_int_equal(b->ev.count, count);
	struct riffle_event ev = b->ev;
	for (uint32_t i = 0; i < count; i++)
		assert_int_equal(ev.sent[i].status, RIFFLE_OK);
	take_back(b);
	assert_int_equal(batch.host[0], 1);
}

static inline void
send_text(struct bed *b, const char *value, int64_t time_ms)
{
	const struct riffle_record r = {.value = bytes(value),
		.time_ms = time_ms,
		.partition = RIFFLE_PARTITION_NONE,
		.content_type = 1};
	send_all(b, &r, 1);
}

/* Nothing came, and it is not the end: then the wait is told to be over. */
static inline int
is_waiting(struct bed *b, uint32_t lane)
{
	struct riffle_lane_state state = {.size = sizeof state};
	struct riffle_event ev = {.size = sizeof ev};
	struct pollfd p = {.fd = ops->source_fd(b->source), .events = POLLIN};
	if (ops->lane_state(b->source, lane, &state) != 0 || state.position >= state.log_end)
		return 0;
	if (poll(&p, 1, EVENTUALLY_S * 1000) != 1)
		fail_msg("a reader that had to wait was not woken");
	ops->source_poll(b->source, &ev);
	return 1;
}

static inline struct riffle_batch *
poll_lane(struct bed *b, uint32_t lane, uint32_t max)
{
	struct riffle_error err = {0};
	struct riffle_batch *batch = NULL;
	int rc;
	do
		rc = ops->lane_poll(b->source, lane, max, 1 << 20, &batch, &err);
	while (rc == 0 && is_waiting(b, lane));
	must(rc, &err);
	if (rc > 0)
		batch->host[0] = 1;
	return rc > 0 ? batch : NULL;
}

static inline void
check_next(struct bed *b, uint32_t lane, const char *value)
{
	struct riffle_batch *batch = poll_lane(b, lane, 1);
	assert_non_null(batch);
	const struct riffle_record *r = riffle_batch_at(batch, 0);
	assert_int_equal(r->value.len, strlen(value));
	assert_memory_equal(r->value.ptr, value, r->value.len);
	batch_unref(&host, batch);
}

/* The program's own object, once. */
static inline void
load_local(void)
{
	ops = load_plugin("plugins/local/.libs/local.so")->ops;
}

/* A directory that somebody else made and removes. */
static inline void
use_dir(const char *given)
{
	fresh_dir(NULL);
	rmdir(dir);
	snprintf(dir, sizeof dir, "%s", given);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, fresh_dir, remove_dir)

#endif
