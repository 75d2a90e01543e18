/* The grpc invoker through its own object file: its codec against protobuf-c, its calls against servers that misbehave. */
#include "test.h"

#include "plugin_host.h"

#include "../../plugins/invoker-grpc/rpc_frame.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <riff.pb-c.h>
#include <signal.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct riffle_invoker_ops *ops;

enum {
	OPT_ADDRESS,
	OPT_COMMAND,
	OPT_ENV,
	OPT_DIR,
	OPT_GRACE,
	OPT_REPLIES,
	OPT_MIN_REPLIES,
	OPT_IN_FLIGHT,
	OPT_MAX_MESSAGE,
	OPT_MAX_OUTPUT,
	OPT_KEEPALIVE,
	OPT_KEEPALIVE_TIMEOUT,
	OPT_CONNECT_TIMEOUT,
	OPT_TLS,
	OPT_CA,
	OPT_CERT,
	OPT_KEY,
	OPT_SERVER_NAME,
	OPTIONS
};

/* A server of tests/grpc. */
struct server {
	pid_t pid;
	int port;
};

static void
start_server(struct server *s, const char *program, const char *const *arguments)
{
	extern char **environ;
	char path[4096], line[32] = "";
	char python[] = "/usr/bin/python3", zero[] = "0";
	char *argv[8] = {python, path, zero};
	int ends[2];
	const char *src = getenv("RIFFLE_SRC");
	snprintf(path, sizeof path, "%s/tests/grpc/%s", src ? src : ".", program);
	if (s->port != 0)
		snprintf(argv[2] = line, sizeof line, "%d", s->port);
	for (int i = 0; arguments != NULL && arguments[i] != NULL; i++)
		argv[3 + i] = (char *)(uintptr_t)arguments[i];
	assert_int_equal(pipe(ends), 0);
	posix_spawn_file_actions_t actions;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
	posix_spawn_file_actions_addclosefrom_np(&actions, 3);
	assert_int_equal(posix_spawn(&s->pid, python, &actions, NULL, argv, environ), 0);
	posix_spawn_file_actions_destroy(&actions);
	close(ends[1]);
	char port[16] = "";
	FILE *in = fdopen(ends[0], "r");
	if (fgets(port, sizeof port, in) == NULL)
		fail_msg("%s did not start", path);
	fclose(in);
	s->port = atoi(port);
}

static void
stop_server(struct server *s)
{
	kill(s->pid, SIGKILL);
	kill(s->pid, SIGCONT);
	waitpid(s->pid, NULL, 0);
}

/* One that most tests share. */
static struct server shared;

/* One instance, with what its [function] section would say. */
struct bed {
	struct riffle_value values[OPTIONS];
	struct riffle_config config;
	char address[64];
	const char *words[8];
	void *self;
};

static void
make_bed(struct bed *b, int port)
{
	memset(b, 0, sizeof *b);
	snprintf(b->address, sizeof b->address, "127.0.0.1:%d", port);
	b->values[OPT_ADDRESS].u.s = b->address;
	b->values[OPT_GRACE].u.i = 2000;
	b->values[OPT_IN_FLIGHT].u.i = 512;
	b->values[OPT_MAX_MESSAGE].u.i = 1 << 20;
	b->values[OPT_MAX_OUTPUT].u.i = 64 << 20;
	b->values[OPT_KEEPALIVE].u.i = 300000;
	b->values[OPT_KEEPALIVE_TIMEOUT].u.i = 20000;
	b->values[OPT_CONNECT_TIMEOUT].u.i = 5000;
	b->config = (struct riffle_config){.size = sizeof b->config,
		.section = RIFFLE_SECTION_FUNCTION,
		.value_size = sizeof b->values[0],
		.value_count = OPTIONS,
		.name = "f",
		.dir = "/tmp",
		.values = b->values};
}

static void
open_bed(struct bed *b)
{
	struct riffle_error err = {0};
	if (ops->create(&host, &b->config, &b->self, &err) < 0)
		fail_msg("%s", err.text);
}

static void
start(struct bed *b, int port)
{
	make_bed(b, port);
	open_bed(b);
}

/* One call, and all that it said. */
struct call {
	void *call;
	pthread_mutex_t lock;
	char *out; /* records, each with a '|' behind it */
	size_t len, room;
	uint64_t records, batches, bytes, replied;
	char type[64];
	int64_t wrong; /* the first record that was not its own number; -1 = none */
	int is_done, status, writable, quick; /* quick: answers are given credit at once */
	struct riffle_error error;
};

static void
note(struct call *c, const struct riffle_batch *batch, const struct riffle_record *r)
{
	char number[24];
	snprintf(number, sizeof number, "%llu", (unsigned long long)c->records);
	if (c->wrong < 0 &&
		(r->value.len != strlen(number) || memcmp(r->value.ptr, number, r->value.len) != 0))
		c->wrong = (int64_t)c->records;
	c->records++;
	c->bytes += r->value.len;
	snprintf(c->type, sizeof c->type, "%s", batch->content_types[r->content_type]);
	if (c->len + r->value.len > 4096)
		return;
	while (c->room < c->len + r->value.len + 2)
		c->out = realloc(c->out, c->room = 2 * c->room + 64);
	memcpy(c->out + c->len, r->value.ptr, r->value.len);
	c->len += r->value.len;
	c->out[c->len++] = '|';
	c->out[c->len] = '\0';
}

static void
on_output(void *data, struct riffle_batch *batch)
{
	struct call *c = data;
	size_t bytes = 0;
	pthread_mutex_lock(&c->lock);
	assert_false(c->is_done);
	assert_true(batch->record_count > 0 && batch->pinned_bytes > 0);
	for (uint32_t i = 0; i < batch->record_count; i++) {
		const struct riffle_record *r = riffle_batch_at(batch, i);
		note(c, batch, r);
		bytes += sizeof *r + r->value.len;
		for (uint32_t k = 0; k < r->header_count; k++)
			bytes += batch->headers[r->header_first + k].name.len +
				 batch->headers[r->header_first + k].value.len;
	}
	c->batches++;
	pthread_mutex_unlock(&c->lock);
	batch->release(batch);
	if (c->quick)
		ops->call_read(c->call, bytes);
}

static void
on_writable(void *data)
{
	struct call *c = data;
	__atomic_store_n(&c->writable, 1, __ATOMIC_RELEASE);
}

static void
on_replied(void *data, uint64_t count)
{
	struct call *c = data;
	pthread_mutex_lock(&c->lock);
	assert_true(count > c->replied);
	c->replied = count;
	pthread_mutex_unlock(&c->lock);
}

static void
on_done(void *data, int status, const struct riffle_error *err)
{
	struct call *c = data;
	pthread_mutex_lock(&c->lock);
	assert_false(c->is_done);
	c->status = status;
	if (status < 0)
		c->error = *err;
	c->is_done = 1;
	pthread_mutex_unlock(&c->lock);
}

static const struct riffle_call_events events = {.size = sizeof events,
	.output = on_output,
	.writable = on_writable,
	.replied = on_replied,
	.done = on_done};

/* The name of the first input is the script that the server plays. */
static void
begin_shaped(struct bed *b, struct call *c, const char *script, uint32_t inputs, uint32_t outputs)
{
	const char *names[] = {script, "second"}, *const outs[] = {"x", "y"};
	static const char *const types[] = {"text/plain", "application/json"};
	static const unsigned char key[] = {0xff, 0x00};
	const struct riffle_header headers[] = {{bytes("riffle-window-start"), bytes("1000")},
		{bytes("riffle-attempt"), bytes("2")}, {bytes("riffle-window-key"), {key, 2}}};
	const struct riffle_call_spec spec = {.size = sizeof spec,
		.input_count = inputs,
		.output_count = outputs,
		.header_count = 3,
		.input_names = names,
		.input_types = types,
		.output_names = outs,
		.output_types = types,
		.headers = headers,
		.attempt = 2};
	struct riffle_error err = {0};
	memset(c, 0, sizeof *c);
	c->wrong = -1;
	pthread_mutex_init(&c->lock, NULL);
	assert_int_equal(ops->call_begin(b->self, &spec, &events, c, &c->call, &err), RIFFLE_OK);
}

static void
begin(struct bed *b, struct call *c, const char *script)
{
	begin_shaped(b, c, script, 1, 1);
}

static void
no_release(struct riffle_batch *b)
{
	(void)b;
}

static void
make_batch(struct riffle_batch *batch, const struct riffle_record *r, uint32_t count)
{
	*batch = (struct riffle_batch){.size = sizeof *batch,
		.record_size = sizeof *r,
		.record_count = count,
		.records = r,
		.release = no_release,
		.host = {1, 0}};
}

static int
is_done(void *ctx)
{
	struct call *c = ctx;
	pthread_mutex_lock(&c->lock);
	int done = c->is_done;
	pthread_mutex_unlock(&c->lock);
	return done;
}

static int
has_record(void *ctx)
{
	struct call *c = ctx;
	pthread_mutex_lock(&c->lock);
	int has = c->records > 0;
	pthread_mutex_unlock(&c->lock);
	return has;
}

static int
has_two_records(void *ctx)
{
	struct call *c = ctx;
	pthread_mutex_lock(&c->lock);
	int has = c->records >= 2;
	pthread_mutex_unlock(&c->lock);
	return has;
}

static void
end(struct call *c)
{
	assert_true(eventually(is_done, c));
	ops->call_destroy(c->call);
	free(c->out);
	pthread_mutex_destroy(&c->lock);
}

static const struct riffle_record abc[] = {{.value = {"a", 1}, .offset = 1},
	{.value = {"b", 1}, .offset = 2}, {.value = {"c", 1}, .offset = 3}};

/* a, b, c and the end go to the script; c is done, the caller looks at it and calls end. */
static void
play(struct bed *b, struct call *c, const char *script)
{
	struct riffle_batch batch;
	struct riffle_error err = {0};
	begin(b, c, script);
	ops->call_read(c->call, 1 << 30);
	make_batch(&batch, abc, 3);
	assert_int_equal(ops->call_push(c->call, &batch, 0, 3, &err), 3);
	ops->call_end(c->call, &err);
	assert_true(eventually(is_done, c));
	assert_int_equal(batch.host[0], 1);
}

struct row {
	const char *id, *script, *out;
	int status;
	uint32_t flags;
	const char *why;
};

static void
expect(struct bed *b, const struct row *row)
{
	struct call c;
	play(b, &c, row->script);
	if (c.status != row->status || strcmp(c.out ? c.out : "", row->out) != 0 ||
		(c.status < 0 && (c.error.code != c.status || c.error.flags != row->flags ||
					 strstr(c.error.text, row->why) == NULL)))
		fail_msg("%s %s: %d, \"%s\", %x \"%s\"", row->id, row->script, c.status,
			c.out ? c.out : "", c.error.flags, c.error.text);
	end(&c);
}

#define AGAIN RIFFLE_ERR_RETRIABLE

static void
test_rows_of_frames_and_statuses(void **state)
{
	(void)state;
	static const struct row rows[] = {
		{"E11", "stop-1", "a|", RIFFLE_OK, 0, ""},
		{"E12", "early", "early|3|", RIFFLE_OK, 0, ""},
		{"E12", "echo", "a|b|c|", RIFFLE_OK, 0, ""},
		{"E12", "late", "a|b|c|", RIFFLE_OK, 0, ""},
		{"E12", "none", "", RIFFLE_OK, 0, ""},
		{"E6", "status-1", "", RIFFLE_E_DATA, AGAIN, "CANCELLED (1)"},
		{"E6", "status-2", "", RIFFLE_E_DATA, AGAIN, "UNKNOWN (2): because\\x0a\\x01 of x"},
		{"E6", "status-3", "", RIFFLE_E_DATA, 0, "INVALID_ARGUMENT (3)"},
		{"E6", "prefix-media", "", RIFFLE_E_UNSUPPORTED, 0, "Unsupported Media Type"},
		{"E6", "prefix-accept", "", RIFFLE_E_UNSUPPORTED, 0, "Not Acceptable"},
		{"E6", "status-4", "", RIFFLE_E_TIMEOUT, AGAIN, "DEADLINE_EXCEEDED (4)"},
		{"E6", "status-5", "", RIFFLE_E_DATA, 0, "NOT_FOUND (5)"},
		{"E6", "status-6", "", RIFFLE_E_DATA, 0, "ALREADY_EXISTS (6)"},
		{"E6", "status-7", "", RIFFLE_E_AUTH, 0, "PERMISSION_DENIED (7)"},
		{"E6", "status-8", "", RIFFLE_E_DATA, AGAIN, "RESOURCE_EXHAUSTED (8)"},
		{"E6", "status-9", "", RIFFLE_E_DATA, 0, "FAILED_PRECONDITION (9)"},
		{"E6", "status-10", "", RIFFLE_E_DATA, AGAIN, "ABORTED (10)"},
		{"E6", "status-11", "", RIFFLE_E_DATA, 0, "OUT_OF_RANGE (11)"},
		{"E6", "status-12", "", RIFFLE_E_FATAL, 0, "UNIMPLEMENTED (12)"},
		{"E6", "status-13", "", RIFFLE_E_DATA, AGAIN, "INTERNAL (13)"},
		{"E6", "status-14", "", RIFFLE_E_DATA, AGAIN, "UNAVAILABLE (14)"},
		{"E6", "status-15", "", RIFFLE_E_DATA, AGAIN, "DATA_LOSS (15)"},
		{"E6", "status-16", "", RIFFLE_E_AUTH, 0, "UNAUTHENTICATED (16)"},
		{"E6", "status-2-after", "partial|", RIFFLE_E_DATA, AGAIN, "UNKNOWN (2)"},
		{"E6", "status-13-after", "partial|", RIFFLE_E_DATA, AGAIN, "INTERNAL (13)"},
		{"E7", "index-minus", "", RIFFLE_E_DATA, 0, "on output -1, the call has 1"},
		{"E7", "index-count", "", RIFFLE_E_DATA, 0, "on output 1, the call has 1"},
		{"E7", "index-max", "", RIFFLE_E_DATA, 0, "on output 2147483647, the call has 1"},
		{"E8", "type-missing", "", RIFFLE_E_DATA, 0, "without a content type"},
		{"E8", "type-wildcard", "", RIFFLE_E_DATA, 0, "with \"text/*\" for a content type"},
		{"E8", "type-long", "", RIFFLE_E_DATA, 0, "for a content type (10005 bytes)"},
		{"E8", "type-line", "", RIFFLE_E_DATA, 0, "with \"text/\\x0aplain\""},
		{"E8", "type-parameters", "x|", RIFFLE_OK, 0, ""},
		{"E8", "type-other", "x|", RIFFLE_OK, 0, ""}, /* the host compares types */
		{"E9", "bytes-empty", "", RIFFLE_E_DATA, 0, "(0 bytes): it has no data frame"},
		{"E9", "bytes-nodata", "", RIFFLE_E_DATA, 0, "it has no data frame"},
		{"E9", "bytes-garbage", "", RIFFLE_E_DATA, 0, "a message that is no frame"},
		{"E9", "bytes-truncated", "", RIFFLE_E_DATA, 0, "it ends in the middle of a field"},
		{"E9", "bytes-inner", "", RIFFLE_E_DATA, 0, "it ends in the middle of a field"},
		{"E9", "bytes-group", "", RIFFLE_E_DATA, 0, "wire type that is not used"},
		{"E9", "bytes-unknown", "fine|", RIFFLE_OK, 0, ""},
		{"E9", "bytes-twice", "fine|", RIFFLE_OK, 0, ""},
		{"E9", "bytes-last", "fine|", RIFFLE_OK, 0, ""},
		{"E10", "large-2000000", "", RIFFLE_E_DATA, 0, "vs. 1048576"},
	};
	struct bed b;
	start(&b, shared.port);
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
		expect(&b, &rows[i]);
	ops->destroy(b.self);
}

static void
test_rows_below_http2(void **state)
{
	(void)state;
	static const struct row rows[] = {
		{"E13", "trailers-then-data", "hello|", RIFFLE_OK, 0, ""},
		{"E13", "reset", "hello|", RIFFLE_E_DATA, AGAIN, ""},
		{"E13", "goaway", "hello|", RIFFLE_E_DATA, AGAIN, ""},
		{"E13", "settings-flood", "", RIFFLE_E_DATA, AGAIN, ""},
		{"E13", "continuation-flood", "", RIFFLE_E_DATA, AGAIN, ""},
		{"E13", "bad-hpack", "", RIFFLE_E_DATA, AGAIN, ""},
		{"E13", "bad-frame", "", RIFFLE_E_DATA, AGAIN, ""},
		/* The C core passes over half a message before the end: min-replies is for that. */
		{"E9", "cut", "", RIFFLE_OK, 0, ""},
		{"E10", "bomb", "", RIFFLE_E_DATA, 0, "a compressed message"},
		{"E14", "http1", "", RIFFLE_E_UNAVAILABLE, AGAIN, ""},
		{"E1", "close", "", RIFFLE_E_UNAVAILABLE, AGAIN, ""},
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct bed b;
		struct server s = {0};
		const char *const arguments[] = {rows[i].script, NULL};
		start_server(&s, "raw.py", arguments);
		start(&b, s.port);
		expect(&b, &rows[i]);
		ops->destroy(b.self);
		stop_server(&s);
	}
}

static void
test_start_frame_and_metadata(void **state)
{
	(void)state;
	struct bed b;
	struct call c;
	struct riffle_error err;
	start(&b, shared.port);
	begin_shaped(&b, &c, "start", 2, 2);
	ops->call_read(c.call, 1 << 30);
	ops->call_end(c.call, &err);
	assert_true(eventually(is_done, &c));
	assert_string_equal(c.out, "text/plain,application/json|start,second|x,y|"
				   "riffle-window-start=1000|riffle-attempt=2|"
				   "riffle-window-key-bin=ff00|");
	end(&c);
	begin_shaped(&b, &c, "count", 1, 0);
	ops->call_read(c.call, 1 << 30);
	ops->call_end(c.call, &err);
	assert_true(eventually(is_done, &c));
	/* A name and a type that nobody reads stood in for the outputs; an answer there is refused. */
	assert_non_null(strstr(c.error.text, "on output 0, the call has 0"));
	end(&c);
	ops->destroy(b.self);
}

static void
test_frames_carry_input_type_and_headers(void **state)
{
	(void)state;
	struct bed b;
	struct call c;
	struct riffle_error err = {0};
	static const char *const types[] = {NULL, "text/csv"};
	static const struct riffle_header headers[] = {{{"n", 1}, {"v", 1}}, {{"e", 1}, {"", 0}}};
	static const struct riffle_record r[] = {
		{.value = {"one", 3}, .stream = 1, .header_first = 0, .header_count = 2},
		{.value = {"", 0}, .stream = 0, .content_type = 1}};
	struct riffle_batch batch;
	start(&b, shared.port);
	begin_shaped(&b, &c, "input", 2, 1);
	ops->call_read(c.call, 1 << 30);
	make_batch(&batch, r, 2);
	batch.headers = headers;
	batch.header_count = 2;
	batch.content_types = types;
	batch.content_type_count = 2;
	assert_int_equal(ops->call_push(c.call, &batch, 0, 2, &err), 2);
	ops->call_end(c.call, &err);
	assert_true(eventually(is_done, &c));
	assert_string_equal(
		c.out, "1 application/json one [('n', 'v'), ('e', '')]|0 text/csv  []|");
	end(&c);
	ops->destroy(b.self);
}

static void
test_what_no_frame_can_carry_fails_the_call(void **state)
{
	(void)state;
	static const struct riffle_header header = {{"h\xff", 2}, {"v", 1}};
	static const struct riffle_record bad[] = {
		{.value = {NULL, 0}, .offset = 5, .partition = 2},
		{.value = {"x", 1}, .offset = 6, .header_count = 1}};
	static const char *const says[] = {"offset 5 of partition 2 of input 0 has no value",
		"header \"h\\xff\" of the record at offset 6 is not UTF-8"};
	struct bed b;
	start(&b, shared.port);
	for (int i = 0; i < 2; i++) {
		struct call c;
		struct riffle_error err = {0};
		struct riffle_batch batch;
		begin(&b, &c, "echo");
		make_batch(&batch, &bad[i], 1);
		batch.headers = &header;
		batch.header_count = 1;
		assert_int_equal(ops->call_push(c.call, &batch, 0, 1, &err), RIFFLE_E_DATA);
		assert_non_null(strstr(err.text, says[i]));
		assert_true(eventually(is_done, &c));
		assert_int_equal(c.status, RIFFLE_E_DATA);
		assert_non_null(strstr(c.error.text, says[i]));
		end(&c);
	}
	ops->destroy(b.self);
}

/* Pushes count numbers, in batches of at most at_a_time, waiting for room, and ends. */
static void
push_numbers(struct call *c, uint32_t count, uint32_t at_a_time)
{
	struct riffle_error err = {0};
	char(*text)[12] = calloc(count, sizeof *text);
	struct riffle_record *r = calloc(count, sizeof *r);
	struct riffle_batch *batches = calloc(count / at_a_time + 1, sizeof *batches);
	for (uint32_t i = 0; i < count; i++) {
		snprintf(text[i], sizeof text[i], "%u", i);
		r[i] = (struct riffle_record){.value = bytes(text[i]), .offset = i};
	}
	uint32_t n = 0;
	for (uint32_t first = 0; first < count; first += at_a_time, n++) {
		uint32_t size = count - first < at_a_time ? count - first : at_a_time;
		make_batch(&batches[n], r + first, size);
		for (uint32_t at = 0; at < size;) {
			int took = ops->call_push(c->call, &batches[n], at, size - at, &err);
			assert_in_range(took, 0, size - at);
			at += (uint32_t)took;
			if (at < size)
				poll(NULL, 0, 1);
		}
	}
	ops->call_end(c->call, &err);
	assert_true(eventually(is_done, c));
	for (uint32_t i = 0; i < n; i++)
		assert_int_equal(batches[i].host[0], 1);
	free(text);
	free(r);
	free(batches);
}

static void
test_records_come_back_in_order(void **state)
{
	(void)state;
	static const uint32_t sizes[] = {1, 7, 1000, 4000};
	for (int one_per_record = 0; one_per_record < 2; one_per_record++) {
		for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
			struct bed b;
			struct call c;
			uint32_t count = i == 0 ? 300 : 4000;
			make_bed(&b, shared.port);
			b.values[OPT_REPLIES].u.i = one_per_record;
			b.values[OPT_IN_FLIGHT].u.i = 1 + 100 * (i > 0);
			open_bed(&b);
			begin(&b, &c, "echo");
			c.quick = 1;
			ops->call_read(c.call, 1 << 16);
			push_numbers(&c, count, sizes[i]);
			if (c.status != RIFFLE_OK)
				fail_msg("%s", c.error.text);
			assert_int_equal(c.records, count);
			assert_int_equal(c.wrong, -1);
			assert_int_equal(c.replied, one_per_record ? count : 0);
			end(&c);
			ops->destroy(b.self);
		}
	}
}

/* The end comes after the last reply, so a server that stops at the end has lost nothing. */
static void
test_one_reply_per_record_is_held_to(void **state)
{
	(void)state;
	struct bed b;
	static const struct row rows[] = {
		{"echo", "echo", "a|b|c|", RIFFLE_OK, 0, ""},
		{"short", "stop-2", "a|b|", RIFFLE_E_DATA, AGAIN,
			"ended with OK after 2 replies to 3 records"},
		{"long", "twice", "", RIFFLE_E_DATA, 0, "more than one reply per record"},
	};
	make_bed(&b, shared.port);
	b.values[OPT_REPLIES].u.i = 1;
	open_bed(&b);
	for (size_t i = 0; i < 2; i++)
		expect(&b, &rows[i]);
	struct call c;
	play(&b, &c, "twice");
	assert_int_equal(c.status, RIFFLE_E_DATA);
	assert_non_null(strstr(c.error.text, "more than one reply per record"));
	end(&c);
	ops->destroy(b.self);
	/* It ends when it has replied to all it was sent, and there was more to send. */
	b.values[OPT_IN_FLIGHT].u.i = 1;
	open_bed(&b);
	play(&b, &c, "stop-1");
	assert_int_equal(c.status, RIFFLE_E_DATA);
	assert_int_equal(c.error.flags, AGAIN);
	assert_non_null(strstr(c.error.text, "before the last record"));
	end(&c);
	/* It ends while the window is open. */
	begin(&b, &c, "stop-1");
	ops->call_read(c.call, 1 << 20);
	struct riffle_batch only;
	struct riffle_error none = {0};
	make_batch(&only, abc, 1);
	assert_int_equal(ops->call_push(c.call, &only, 0, 1, &none), 1);
	assert_true(eventually(is_done, &c));
	assert_int_equal(c.status, RIFFLE_E_DATA);
	assert_non_null(
		strstr(c.error.text, "after 1 replies to 1 records, before the last record"));
	end(&c);
	/* What waits for replies does not wait for the end: a function that replies at the end never ends. */
	begin(&b, &c, "late");
	ops->call_read(c.call, 1 << 20);
	struct riffle_batch batch;
	struct riffle_error err = {0};
	make_batch(&batch, abc, 3);
	assert_int_equal(ops->call_push(c.call, &batch, 0, 3, &err), 3);
	ops->call_end(c.call, &err);
	poll(NULL, 0, 50);
	assert_false(is_done(&c));
	ops->call_cancel(c.call, RIFFLE_E_TIMEOUT);
	end(&c);
	ops->destroy(b.self);
}

static void
test_min_replies(void **state)
{
	(void)state;
	struct bed b;
	struct call c;
	make_bed(&b, shared.port);
	b.values[OPT_MIN_REPLIES].u.i = 3;
	open_bed(&b);
	play(&b, &c, "stop-2");
	assert_int_equal(c.status, RIFFLE_E_DATA);
	assert_int_equal(c.error.flags, AGAIN);
	assert_non_null(strstr(c.error.text, "after 2 answers, min-replies = 3"));
	end(&c);
	play(&b, &c, "echo");
	assert_int_equal(c.status, RIFFLE_OK);
	end(&c);
	ops->destroy(b.self);
}

/* delivery = stream: answers come while the input is open, a record at a time. */
static void
test_records_flow_while_the_window_is_open(void **state)
{
	(void)state;
	struct bed b;
	struct call c;
	struct riffle_error err = {0};
	start(&b, shared.port);
	begin(&b, &c, "echo");
	ops->call_read(c.call, 1 << 20);
	for (uint32_t i = 0; i < 3; i++) {
		struct riffle_batch batch;
		make_batch(&batch, &abc[i], 1);
		assert_int_equal(ops->call_push(c.call, &batch, 0, 1, &err), 1);
		for (int64_t end_ns = now_ns(NULL) + 5000000000; now_ns(NULL) < end_ns;) {
			pthread_mutex_lock(&c.lock);
			uint64_t records = c.records;
			pthread_mutex_unlock(&c.lock);
			if (records == i + 1)
				break;
			poll(NULL, 0, 1);
		}
		assert_int_equal(c.records, i + 1);
		assert_int_equal(batch.host[0], 1);
	}
	assert_false(is_done(&c));
	ops->call_end(c.call, &err);
	end(&c);
	ops->destroy(b.self);
}

/* What is there in one go is told in one go. */
static void
test_answers_are_handed_out_in_batches(void **state)
{
	(void)state;
	struct bed b;
	struct call c, after;
	start(&b, shared.port);
	begin(&b, &c, "many-1000");
	play(&b, &after, "after");
	assert_int_equal(after.status, RIFFLE_OK);
	end(&after);
	ops->call_read(c.call, 1 << 30);
	assert_true(eventually(is_done, &c));
	assert_int_equal(c.records, 1000);
	assert_int_equal(c.wrong, -1);
	assert_in_range(c.batches, 1, 20);
	end(&c);
	ops->destroy(b.self);
}

static int
is_writable(void *ctx)
{
	struct call *c = ctx;
	return __atomic_load_n(&c->writable, __ATOMIC_ACQUIRE);
}

/* E5: it reads nothing: what is taken is bounded, and a cancel gives all of it back. */
static void
test_a_deaf_function_is_back_pressure(void **state)
{
	(void)state;
	struct bed b;
	struct call c;
	struct riffle_error err = {0};
	static char block[65536];
	static struct riffle_record r[400];
	struct riffle_batch batch;
	for (size_t i = 0; i < 400; i++)
		r[i] = (struct riffle_record){.value = {block, sizeof block}};
	start(&b, shared.port);
	begin(&b, &c, "deaf");
	ops->call_read(c.call, 1 << 20);
	make_batch(&batch, r, 400);
	uint32_t taken = 0;
	for (int idle = 0; idle < 20; idle++) {
		int took = ops->call_push(c.call, &batch, taken, 400 - taken, &err);
		assert_true(took >= 0);
		taken += (uint32_t)took;
		idle = took > 0 ? 0 : idle;
		poll(NULL, 0, 5);
	}
	assert_in_range(taken, 64, 200);
	assert_false(is_done(&c));
	int64_t begin_ns = now_ns(NULL);
	ops->call_cancel(c.call, RIFFLE_E_CANCELLED);
	assert_true(eventually(is_done, &c));
	assert_in_range(now_ns(NULL) - begin_ns, 0, 2000000000);
	assert_int_equal(c.status, RIFFLE_E_CANCELLED);
	assert_int_equal(batch.host[0], 1);
	assert_int_equal(ops->call_push(c.call, &batch, 0, 400, &err), 400);
	assert_int_equal(batch.host[0], 1);
	end(&c);
	/* One that reads: everything goes through, and the host hears when there is room. */
	begin(&b, &c, "count");
	ops->call_read(c.call, 1 << 20);
	for (taken = 0; taken < 400;) {
		int took = ops->call_push(c.call, &batch, taken, 400 - taken, &err);
		taken += (uint32_t)took;
		if (taken < 400)
			assert_true(eventually(is_writable, &c));
		__atomic_store_n(&c.writable, 0, __ATOMIC_RELEASE);
	}
	ops->call_end(c.call, &err);
	assert_true(eventually(is_done, &c));
	assert_string_equal(c.out, "400|");
	end(&c);
	ops->destroy(b.self);
}

/* E15: output credit holds a talkative function, and max-output ends it. */
static void
test_a_flood_is_held_and_ended(void **state)
{
	(void)state;
	struct bed b;
	struct call c;
	make_bed(&b, shared.port);
	b.values[OPT_MAX_OUTPUT].u.i = 8 << 20;
	open_bed(&b);
	begin(&b, &c, "flood");
	poll(NULL, 0, 100);
	assert_int_equal(c.records, 0);
	ops->call_read(c.call, 100000);
	assert_true(eventually(has_two_records, &c));
	poll(NULL, 0, 100);
	assert_int_equal(c.records, 2);
	ops->call_read(c.call, 1 << 30);
	assert_true(eventually(is_done, &c));
	assert_int_equal(c.status, RIFFLE_E_DATA);
	assert_non_null(strstr(c.error.text, "more than max-output = 8388608 bytes"));
	assert_in_range(c.bytes, 0, (8 << 20) + 65536);
	end(&c);
	ops->destroy(b.self);
}

/* E3: the host's deadline and a cancel end what never ends. */
static void
test_cancel_ends_what_never_ends(void **state)
{
	(void)state;
	static const char *const scripts[] = {"silent", "endless", "deaf"};
	struct bed b;
	struct riffle_batch batch;
	start(&b, shared.port);
	for (int i = 0; i < 6; i++) {
		struct call c;
		struct riffle_error err = {0};
		int reason = i < 3 ? RIFFLE_E_TIMEOUT : RIFFLE_E_CANCELLED;
		begin(&b, &c, scripts[i % 3]);
		ops->call_read(c.call, 1 << 20);
		make_batch(&batch, abc, 3);
		assert_int_equal(ops->call_push(c.call, &batch, 0, 3, &err), 3);
		ops->call_end(c.call, &err);
		if (i % 3 == 1)
			assert_true(eventually(has_record, &c));
		int64_t begin_ns = now_ns(NULL);
		ops->call_cancel(c.call, reason);
		assert_true(eventually(is_done, &c));
		assert_in_range(now_ns(NULL) - begin_ns, 0, 2000000000);
		assert_int_equal(c.status, reason);
		assert_int_equal(c.error.flags, i < 3 ? AGAIN : 0);
		assert_int_equal(batch.host[0], 1);
		end(&c);
	}
	ops->destroy(b.self);
}

/* E4, E5: never heard of after the connection, or a byte now and then. */
static void
test_what_is_silent_or_slow_below_http2(void **state)
{
	(void)state;
	struct bed b;
	struct call c;
	struct server s = {0};
	const char *const mute[] = {"mute", NULL}, *const slow[] = {"slow", NULL};
	start_server(&s, "raw.py", mute);
	make_bed(&b, s.port);
	b.values[OPT_CONNECT_TIMEOUT].u.i = 300;
	open_bed(&b);
	play(&b, &c, "echo");
	assert_int_equal(c.status, RIFFLE_E_UNAVAILABLE);
	end(&c);
	ops->destroy(b.self);
	stop_server(&s);
	s.port = 0;
	start_server(&s, "raw.py", slow);
	start(&b, s.port);
	begin(&b, &c, "echo");
	ops->call_read(c.call, 1 << 20);
	poll(NULL, 0, 200);
	assert_false(is_done(&c));
	ops->call_cancel(c.call, RIFFLE_E_TIMEOUT);
	assert_true(eventually(is_done, &c));
	assert_int_equal(c.status, RIFFLE_E_TIMEOUT);
	end(&c);
	ops->destroy(b.self);
	stop_server(&s);
}

/* ThreadSanitizer's shadow is several times what it shadows. */
#ifdef __SANITIZE_THREAD__
#define PEAK_MAX_KIB (1024 * 1024)
#else
#define PEAK_MAX_KIB (120 * 1024)
#endif

static long
peak_kib(void)
{
	struct rusage usage;
	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_maxrss;
}

/* E10: what is over the limit does not become memory of ours. */
static void
test_a_message_far_above_the_limit(void **state)
{
	(void)state;
	struct bed b;
	struct call c;
	start(&b, shared.port);
	play(&b, &c, "echo");
	end(&c);
	long before = peak_kib();
	play(&b, &c, "large-160000000");
	assert_int_equal(c.status, RIFFLE_E_DATA);
	assert_non_null(strstr(c.error.text, "RESOURCE_EXHAUSTED"));
	assert_in_range(peak_kib() - before, 0, PEAK_MAX_KIB);
	end(&c);
	ops->destroy(b.self);
}

/* E4: a server that stands still is found by the keepalive; another instance goes on meanwhile. */
static void
test_a_stopped_server_is_found(void **state)
{
	(void)state;
	struct bed b, other;
	struct call c, fine;
	struct server s = {0};
	start_server(&s, "server.py", NULL);
	make_bed(&b, s.port);
	b.values[OPT_KEEPALIVE].u.i = 1000;
	b.values[OPT_KEEPALIVE_TIMEOUT].u.i = 3000;
	open_bed(&b);
	start(&other, shared.port);
	begin(&b, &c, "endless");
	ops->call_read(c.call, 1 << 20);
	assert_true(eventually(has_record, &c));
	kill(s.pid, SIGSTOP);
	play(&other, &fine, "echo");
	assert_int_equal(fine.status, RIFFLE_OK);
	end(&fine);
	assert_true(eventually(is_done, &c));
	assert_int_equal(c.status, RIFFLE_E_DATA);
	assert_int_equal(c.error.flags, AGAIN);
	end(&c);
	ops->destroy(b.self);
	ops->destroy(other.self);
	stop_server(&s);
}

static int
is_ready(void *ctx)
{
	struct bed *b = ctx;
	struct riffle_error err;
	return ops->ready(b->self, &err) == RIFFLE_OK;
}

static int
is_not_ready(void *ctx)
{
	return !is_ready(ctx);
}

static int
free_port(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof a;
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
	getsockname(fd, (struct sockaddr *)&a, &len);
	close(fd);
	return ntohs(a.sin_port);
}

/* E1, E2: away at the start, there, gone in the middle of a call, there again. */
static void
test_a_server_that_comes_and_goes(void **state)
{
	(void)state;
	struct bed b;
	struct call c;
	struct riffle_error err = {0};
	struct server s = {.port = free_port()};
	start(&b, s.port);
	play(&b, &c, "echo");
	assert_int_equal(c.status, RIFFLE_E_UNAVAILABLE);
	assert_int_equal(c.error.flags, AGAIN);
	end(&c);
	assert_int_equal(ops->ready(b.self, &err), RIFFLE_E_UNAVAILABLE);
	assert_non_null(strstr(err.text, "no connection to the function at 127.0.0.1:"));
	start_server(&s, "server.py", NULL);
	int64_t begin_ns = now_ns(NULL);
	assert_true(eventually(is_ready, &b));
	assert_in_range(now_ns(NULL) - begin_ns, 0, INT64_C(5000000000));
	play(&b, &c, "echo");
	assert_int_equal(c.status, RIFFLE_OK);
	end(&c);
	/* It dies with answers out: counted as a failure, for the window may be what killed it. */
	play(&b, &c, "die");
	assert_string_equal(c.out, "a|b|");
	assert_int_equal(c.status, RIFFLE_E_DATA);
	assert_int_equal(c.error.flags, AGAIN);
	assert_non_null(strstr(c.error.text, "UNAVAILABLE"));
	end(&c);
	assert_true(eventually(is_not_ready, &b));
	stop_server(&s);
	start_server(&s, "server.py", NULL);
	assert_true(eventually(is_ready, &b));
	play(&b, &c, "echo");
	assert_int_equal(c.status, RIFFLE_OK);
	end(&c);
	ops->destroy(b.self);
	stop_server(&s);
}

/* E11, with the rest of the input stuck in flow control. */
static void
test_a_function_may_end_before_its_input(void **state)
{
	(void)state;
	static char block[65536];
	static struct riffle_record r[60];
	struct bed b;
	struct riffle_batch batch;
	for (size_t i = 0; i < 60; i++)
		r[i] = (struct riffle_record){.value = {block, sizeof block}};
	start(&b, shared.port);
	for (int ended = 0; ended < 2; ended++) {
		struct call c;
		struct riffle_error err = {0};
		begin(&b, &c, "stop-1");
		ops->call_read(c.call, 1 << 30);
		make_batch(&batch, r, 60);
		assert_int_equal(ops->call_push(c.call, &batch, 0, 60, &err), 60);
		if (ended)
			ops->call_end(c.call, &err);
		assert_true(eventually(is_done, &c));
		if (c.status != RIFFLE_OK)
			fail_msg("%s", c.error.text);
		assert_int_equal(c.records, 1);
		assert_int_equal(batch.host[0], 1);
		end(&c);
	}
	ops->destroy(b.self);
}

static uint32_t
next_random(uint32_t *seed)
{
	*seed = *seed * 1664525u + 1013904223u;
	return *seed >> 8;
}

/* Many calls on one channel, with every end there is, and the server killed now and then. */
static void
test_a_thousand_calls(void **state)
{
	(void)state;
	static const char *const scripts[] = {"echo", "echo", "late", "silent", "status-13-after",
		"stop-1", "count", "bytes-garbage", "endless", "flood"};
	enum { AT_ONCE = 20 };
	const char *rounds = getenv("GRPC_TEST_CALLS");
	struct bed b;
	struct server s = {0};
	uint32_t seed = 1;
	static struct call calls[AT_ONCE];
	static struct riffle_batch batches[AT_ONCE];
	start_server(&s, "server.py", NULL);
	start(&b, s.port);
	for (int n = (rounds ? atoi(rounds) : 1000) / AT_ONCE; n > 0; n--) {
		for (uint32_t i = 0; i < AT_ONCE; i++) {
			struct call *c = &calls[i];
			struct riffle_error err = {0};
			begin(&b, c, scripts[next_random(&seed) % 10]);
			c->quick = 1;
			if (next_random(&seed) % 8 != 0)
				ops->call_read(c->call, 1 << 20);
			make_batch(&batches[i], abc, 3);
			assert_int_equal(ops->call_push(c->call, &batches[i], 0, 3, &err), 3);
			if (next_random(&seed) % 4 != 0)
				ops->call_end(c->call, &err);
			if (next_random(&seed) % 8 == 0)
				ops->call_cancel(c->call, RIFFLE_E_CANCELLED);
		}
		if (n % 16 == 0) {
			stop_server(&s);
			start_server(&s, "server.py", NULL);
		}
		poll(NULL, 0, (int)(next_random(&seed) % 20));
		for (uint32_t i = 0; i < AT_ONCE; i++)
			ops->call_cancel(calls[i].call, RIFFLE_E_CANCELLED);
		for (uint32_t i = 0; i < AT_ONCE; i++) {
			assert_true(eventually(is_done, &calls[i]));
			assert_int_equal(batches[i].host[0], 1);
			end(&calls[i]);
		}
		if (n % 10 == 0) {
			ops->destroy(b.self);
			start(&b, s.port);
		}
	}
	ops->destroy(b.self);
	stop_server(&s);
}

static void
sh(const char *command)
{
	if (system(command) != 0) /* NOLINT: fixed words and a directory of ours */
		fail_msg("%s", command);
}

/* TLS: the right certificates, a name that is not in them, another authority, no client certificate. */
static void
test_tls(void **state)
{
	(void)state;
	char dir[] = "/tmp/riffle-tls-XXXXXX", command[2048], f[6][64];
	static const char *const names[] = {"ca", "server", "client", "other"};
	assert_non_null(mkdtemp(dir));
	snprintf(command, sizeof command,
		"cd %s && exec 2>/dev/null; for ca in ca other; do openssl req -x509 -newkey "
		"ec:<(openssl ecparam -name prime256v1) -nodes -subj /CN=$ca -keyout $ca.key -out "
		"$ca.pem -days 2; done; for n in server client; do openssl req -newkey "
		"ec:<(openssl ecparam -name prime256v1) -nodes -subj /CN=$n -keyout $n.key -out "
		"$n.csr && openssl x509 -req -in $n.csr -CA ca.pem -CAkey ca.key -CAcreateserial "
		"-days 2 -extfile <(echo subjectAltName=DNS:function.test) -out $n.pem; done",
		dir);
	char whole[2400];
	snprintf(whole, sizeof whole, "bash -c '%s'", command);
	sh(whole);
	for (int i = 0; i < 4; i++)
		snprintf(f[i], sizeof f[i], "%s/%s.pem", dir, names[i]);
	snprintf(f[4], sizeof f[4], "%s/server.key", dir);
	snprintf(f[5], sizeof f[5], "%s/client.key", dir);
	struct server s = {0};
	const char *const arguments[] = {f[1], f[4], f[0], NULL};
	start_server(&s, "server.py", arguments);
	const struct {
		const char *ca, *cert, *key, *name;
		int tls, status;
	} rows[] = {{f[0], f[2], f[5], "function.test", 1, RIFFLE_OK},
		{f[0], f[2], f[5], "another.test", 1, RIFFLE_E_UNAVAILABLE},
		{f[0], f[2], f[5], NULL, 1, RIFFLE_E_UNAVAILABLE},
		{f[3], f[2], f[5], "function.test", 1, RIFFLE_E_UNAVAILABLE},
		{f[0], NULL, NULL, "function.test", 1, RIFFLE_E_UNAVAILABLE},
		{NULL, NULL, NULL, NULL, 0, RIFFLE_E_UNAVAILABLE}};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct bed b;
		struct call c;
		make_bed(&b, s.port);
		b.values[OPT_TLS] = (struct riffle_value){.is_set = 1, .u.i = rows[i].tls};
		b.values[OPT_CA].u.s = rows[i].ca;
		b.values[OPT_CERT].u.s = rows[i].cert;
		b.values[OPT_KEY].u.s = rows[i].key;
		b.values[OPT_SERVER_NAME].u.s = rows[i].name;
		open_bed(&b);
		int64_t begin_ns = now_ns(NULL);
		play(&b, &c, "echo");
		/* E14: an error, and soon. */
		assert_in_range(now_ns(NULL) - begin_ns, 0, INT64_C(5000000000));
		if (c.status != rows[i].status)
			fail_msg("row %zu: %d %s", i, c.status, c.error.text);
		end(&c);
		ops->destroy(b.self);
	}
	stop_server(&s);
	/* A TLS client at a plaintext server; files that are none. */
	struct bed b;
	struct call c;
	make_bed(&b, shared.port);
	b.values[OPT_TLS] = (struct riffle_value){.is_set = 1, .u.i = 1};
	b.values[OPT_CA].u.s = f[0];
	open_bed(&b);
	play(&b, &c, "echo");
	assert_int_equal(c.status, RIFFLE_E_UNAVAILABLE);
	end(&c);
	ops->destroy(b.self);
	struct riffle_error err = {0};
	b.values[OPT_CA].u.s = "/etc/hostname";
	assert_int_equal(ops->create(&host, &b.config, &b.self, &err), RIFFLE_E_CONFIG);
	assert_non_null(strstr(err.text, "/etc/hostname is not a PEM file"));
	b.values[OPT_CA].u.s = "/no/such/file";
	assert_int_equal(ops->create(&host, &b.config, &b.self, &err), RIFFLE_E_CONFIG);
	snprintf(command, sizeof command, "rm -r %s", dir);
	sh(command);
}

/* E14: a grpc server that has no such function. */
static void
test_a_server_without_the_method(void **state)
{
	(void)state;
	struct bed b;
	struct call c;
	struct server s = {0};
	setenv("NO_RIFF", "1", 1);
	start_server(&s, "server.py", NULL);
	unsetenv("NO_RIFF");
	start(&b, s.port);
	play(&b, &c, "echo");
	assert_int_equal(c.status, RIFFLE_E_FATAL);
	assert_non_null(strstr(c.error.text, "UNIMPLEMENTED (12)"));
	end(&c);
	ops->destroy(b.self);
	stop_server(&s);
}

static void
use_command(struct bed *b, const char *script)
{
	static char text[4200];
	const char *src = getenv("RIFFLE_SRC");
	snprintf(text, sizeof text, "SRC='%s'; %s", src ? src : ".", script);
	b->words[0] = "/bin/sh";
	b->words[1] = "-c";
	b->words[2] = text;
	b->values[OPT_COMMAND].u.list = b->words;
	b->values[OPT_ADDRESS].u.s = NULL;
}

/* `command`: started, started again when it dies, gone with the instance. */
static void
test_a_local_function(void **state)
{
	(void)state;
	struct bed b;
	struct call c;
	make_bed(&b, 0);
	use_command(&b, "exec /usr/bin/python3 \"$SRC\"/tests/grpc/server.py $GRPC_PORT");
	open_bed(&b);
	assert_true(eventually(is_ready, &b));
	play(&b, &c, "echo");
	assert_int_equal(c.status, RIFFLE_OK);
	end(&c);
	play(&b, &c, "die");
	assert_int_equal(c.error.flags, AGAIN);
	end(&c);
	assert_true(eventually(is_not_ready, &b));
	assert_true(eventually(is_ready, &b));
	play(&b, &c, "echo");
	assert_int_equal(c.status, RIFFLE_OK);
	end(&c);
	ops->destroy(b.self);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), 0); /* the shared server alone */
}

static int
is_there(void *path)
{
	return access(path, F_OK) == 0;
}

static void
test_a_local_function_that_will_not_end(void **state)
{
	(void)state;
	struct bed b;
	char dir[64] = "/tmp/riffle-grpc-XXXXXX", script[256];
	assert_non_null(mkdtemp(dir));
	snprintf(script, sizeof script, "trap '' TERM; : > %s/up; while :; do sleep 0.05; done",
		dir);
	make_bed(&b, 0);
	use_command(&b, script);
	b.values[OPT_GRACE].u.i = 100;
	open_bed(&b);
	strcat(dir, "/up");
	assert_true(eventually(is_there, dir));
	unlink(dir);
	*strrchr(dir, '/') = '\0';
	rmdir(dir);
	int64_t begin_ns = now_ns(NULL);
	ops->destroy(b.self);
	assert_in_range(now_ns(NULL) - begin_ns, 100000000, 5000000000);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), 0);
}

static char findings[4096];

static void
take_finding(const struct riffle_report *report, uint32_t severity, const struct riffle_config *cfg,
	const char *option, const char *text)
{
	(void)report, (void)severity, (void)cfg;
	size_t n = strlen(findings);
	snprintf(findings + n, sizeof findings - n, "%s: %s;", option ? option : "-", text);
}

static void
expect_findings(struct bed *b, const char *expected)
{
	const struct riffle_report report = {.size = sizeof report, .add = take_finding};
	findings[0] = '\0';
	ops->check(&b->config, &report);
	assert_string_equal(findings, expected);
}

static void
test_check_finds_mistakes(void **state)
{
	(void)state;
	static const struct {
		const char *address, *finding;
	} addresses[] = {{"127.0.0.1:8081", ""}, {"localhost:1", ""}, {"[::1]:8081", ""},
		{"unix:/tmp/s", ""},
		{"8081", "address: it is host:port, [address]:port or unix:path;"},
		{"localhost:0", "address: a port is 1 to 65535;"},
		{"localhost:80x", "address: a port is 1 to 65535;"},
		{"::1:8081", "address: an IPv6 address stands in brackets: [::1]:8081;"},
		{"http://localhost:80", "address: it is host:port, without a scheme or a path;"},
		{"unix:", "address: a path is missing behind unix:;"},
		{"example.com:8081",
			"address: it is on another machine: write tls = yes, or tls = no "
			"to send records there in plaintext;"}};
	struct bed b;
	for (size_t i = 0; i < sizeof addresses / sizeof addresses[0]; i++) {
		make_bed(&b, 1);
		b.values[OPT_ADDRESS].u.s = addresses[i].address;
		expect_findings(&b, addresses[i].finding);
	}
	make_bed(&b, 1);
	b.values[OPT_ADDRESS].u.s = NULL;
	expect_findings(&b, "-: `address` is missing, or `command` that starts the server;");
	make_bed(&b, 1);
	b.values[OPT_CERT].u.s = "/no/file";
	b.values[OPT_DIR].is_set = 1;
	expect_findings(&b, "cert: it goes with tls = yes;cert: cert and key go together;"
			    "cert: the file cannot be read;dir: it goes with `command`;");
	make_bed(&b, 1);
	b.words[0] = "no-such-program";
	b.values[OPT_COMMAND].u.list = b.words;
	b.values[OPT_ADDRESS].u.s = "unix:/tmp/s";
	expect_findings(&b,
		"command: there is no program 'no-such-program' in PATH;"
		"address: with `command` it is a port of this machine: 127.0.0.1:8081;");
}

/* The codec against protobuf-c: what is written is read there, what is written there is read. */

static uint32_t seed = 12345;

static struct riffle_bytes
random_bytes(size_t max)
{
	static char pool[70000];
	size_t len = next_random(&seed) % 4 == 0 ? 0 : next_random(&seed) % (max + 1);
	if (pool[0] == 0)
		for (size_t i = 0; i < sizeof pool; i++)
			pool[i] = (char)('a' + next_random(&seed) % 26);
	return (struct riffle_bytes){pool + next_random(&seed) % 1000, len};
}

static int
equal(struct riffle_bytes b, const char *text)
{
	return strlen(text) == b.len && memcmp(b.ptr, text, b.len) == 0;
}

static void
test_frames_are_what_protobuf_reads(void **state)
{
	(void)state;
	static unsigned char out[200000];
	for (int n = 0; n < 20000; n++) {
		static const int32_t indexes[] = {0, 1, 127, 128, INT32_MAX, -1, INT32_MIN};
		struct riffle_header headers[8];
		struct rpc_frame f = {.payload = random_bytes(n % 100 == 0 ? 66000 : 300),
			.type = random_bytes(40),
			.headers = headers,
			.header_count = next_random(&seed) % 8,
			.index = indexes[next_random(&seed) % 7]};
		for (uint32_t i = 0; i < f.header_count; i++)
			headers[i] = (struct riffle_header){random_bytes(20), random_bytes(200)};
		size_t size = rpc_frame_size(&f);
		assert_true(size < sizeof out);
		out[size] = 0xa5;
		rpc_frame_write(&f, out);
		assert_int_equal(out[size], 0xa5);
		Streaming__InputSignal *s = streaming__input_signal__unpack(NULL, size, out);
		assert_non_null(s);
		assert_int_equal(s->frame_case, STREAMING__INPUT_SIGNAL__FRAME_DATA);
		assert_int_equal(s->data->payload.len, f.payload.len);
		assert_memory_equal(s->data->payload.data, f.payload.ptr, f.payload.len);
		assert_true(equal(f.type, s->data->contenttype));
		assert_int_equal(s->data->argindex, f.index);
		assert_int_equal(s->data->n_headers, f.header_count);
		for (uint32_t i = 0; i < f.header_count; i++) {
			assert_true(equal(headers[i].name, s->data->headers[i]->key));
			assert_true(equal(headers[i].value, s->data->headers[i]->value));
		}
		streaming__input_signal__free_unpacked(s, NULL);
	}
}

static char *
text_of(struct riffle_bytes b)
{
	return strndup(b.ptr, b.len);
}

/* The same read by both: equal where protobuf-c can, an error where it cannot. */
static void
compare(const unsigned char *data, size_t len)
{
	struct rpc_frame f;
	struct rpc_headers headers = {0};
	const char *why = rpc_frame_read(data, len, &f, &headers);
	Streaming__OutputSignal *s = streaming__output_signal__unpack(NULL, len, data);
	if (s != NULL && s->frame_case == STREAMING__OUTPUT_SIGNAL__FRAME_DATA && why == NULL) {
		assert_int_equal(s->data->payload.len, f.payload.len);
		assert_memory_equal(s->data->payload.data, f.payload.ptr, f.payload.len);
		assert_int_equal(s->data->resultindex, f.index);
		assert_int_equal(s->data->n_headers, f.header_count);
		assert_int_equal(strncmp(s->data->contenttype, f.type.ptr, f.type.len), 0);
	} else if (s != NULL && s->frame_case == STREAMING__OUTPUT_SIGNAL__FRAME_DATA) {
		/* protobuf-c lets some impossible things pass. */
		assert_true(strstr(why, "impossible") != NULL || strstr(why, "ten bytes") != NULL ||
			    strstr(why, "not used") != NULL ||
			    strstr(why, "in the middle") != NULL);
	}
	if (s != NULL)
		streaming__output_signal__free_unpacked(s, NULL);
	free(headers.list);
}

static void
test_what_protobuf_writes_is_read(void **state)
{
	(void)state;
	static unsigned char out[200000];
	for (int n = 0; n < 20000; n++) {
		Streaming__OutputFrame__HeadersEntry entries[4], *list[4];
		Streaming__OutputFrame frame;
		Streaming__OutputSignal signal;
		streaming__output_frame__init(&frame);
		streaming__output_signal__init(&signal);
		struct riffle_bytes payload = random_bytes(n % 100 == 0 ? 66000 : 300);
		frame.payload =
			(ProtobufCBinaryData){payload.len, (uint8_t *)(uintptr_t)payload.ptr};
		frame.contenttype = text_of(random_bytes(40));
		frame.resultindex = (int32_t)(next_random(&seed) * 256u);
		frame.headers = list;
		frame.n_headers = next_random(&seed) % 5;
		for (size_t i = 0; i < frame.n_headers; i++) {
			list[i] = &entries[i];
			streaming__output_frame__headers_entry__init(&entries[i]);
			entries[i].key = text_of(random_bytes(20));
			entries[i].value = text_of(random_bytes(100));
		}
		signal.frame_case = STREAMING__OUTPUT_SIGNAL__FRAME_DATA;
		signal.data = &frame;
		size_t len = streaming__output_signal__pack(&signal, out);
		struct rpc_frame f;
		struct rpc_headers headers = {0};
		const char *why = rpc_frame_read(out, len, &f, &headers);
		if (why != NULL)
			fail_msg("%s", why);
		assert_int_equal(f.payload.len, payload.len);
		assert_memory_equal(f.payload.ptr, payload.ptr, payload.len);
		assert_true(equal(f.type, frame.contenttype));
		assert_int_equal(f.index, frame.resultindex);
		assert_int_equal(f.header_count, frame.n_headers);
		for (uint32_t i = 0; i < f.header_count; i++) {
			assert_true(equal(headers.list[i].name, entries[i].key));
			assert_true(equal(headers.list[i].value, entries[i].value));
		}
		free(headers.list);
		/* The same with a few bytes changed or cut: no harm, and the same answer as protobuf-c's. */
		for (int k = 0; k < 4 && len > 0 && len < 2000; k++) {
			unsigned char *bad = malloc(len);
			size_t cut = next_random(&seed) % 3 == 0 ? next_random(&seed) % len : len;
			memcpy(bad, out, len);
			for (uint32_t changes = next_random(&seed) % 3; changes > 0; changes--)
				bad[next_random(&seed) % len] = (unsigned char)next_random(&seed);
			bad = realloc(bad, cut ? cut : 1);
			compare(bad, cut);
			free(bad);
		}
		for (size_t i = 0; i < frame.n_headers; i++) {
			free(entries[i].key);
			free(entries[i].value);
		}
		free(frame.contenttype);
	}
}

static void
test_utf8(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		int is;
	} rows[] = {{"", 1}, {"plain", 1}, {"\xc3\xa4", 1}, {"\xe2\x82\xac", 1},
		{"\xf0\x9f\x98\x80", 1}, {"\xc3", 0}, {"\x80", 0}, {"\xc0\x80", 0},
		{"\xe0\x80\x80", 0}, {"\xed\xa0\x80", 0}, {"\xf4\x90\x80\x80", 0},
		{"\xf8\x88\x80\x80\x80", 0}, {"\xff", 0}, {"a\xe2\x82", 0}};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
		assert_int_equal(rpc_is_utf8(bytes(rows[i].text)), rows[i].is);
}

static int
stop_shared(void **state)
{
	(void)state;
	stop_server(&shared);
	return 0;
}

static int
start_shared(void **state)
{
	(void)state;
	start_server(&shared, "server.py", NULL);
	return 0;
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_utf8),
		cmocka_unit_test(test_frames_are_what_protobuf_reads),
		cmocka_unit_test(test_what_protobuf_writes_is_read),
		cmocka_unit_test(test_check_finds_mistakes),
		cmocka_unit_test(test_start_frame_and_metadata),
		cmocka_unit_test(test_frames_carry_input_type_and_headers),
		cmocka_unit_test(test_what_no_frame_can_carry_fails_the_call),
		cmocka_unit_test(test_rows_of_frames_and_statuses),
		cmocka_unit_test(test_rows_below_http2),
		cmocka_unit_test(test_records_flow_while_the_window_is_open),
		cmocka_unit_test(test_records_come_back_in_order),
		cmocka_unit_test(test_answers_are_handed_out_in_batches),
		cmocka_unit_test(test_one_reply_per_record_is_held_to),
		cmocka_unit_test(test_min_replies),
		cmocka_unit_test(test_a_deaf_function_is_back_pressure),
		cmocka_unit_test(test_a_flood_is_held_and_ended),
		cmocka_unit_test(test_cancel_ends_what_never_ends),
		cmocka_unit_test(test_what_is_silent_or_slow_below_http2),
		cmocka_unit_test(test_a_message_far_above_the_limit),
		cmocka_unit_test(test_a_stopped_server_is_found),
		cmocka_unit_test(test_a_server_that_comes_and_goes),
		cmocka_unit_test(test_a_function_may_end_before_its_input),
		cmocka_unit_test(test_a_thousand_calls),
		cmocka_unit_test(test_tls),
		cmocka_unit_test(test_a_server_without_the_method),
		cmocka_unit_test(test_a_local_function),
		cmocka_unit_test(test_a_local_function_that_will_not_end),
	};
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	ops = load_plugin("plugins/invoker-grpc/.libs/invoker-grpc.so")->ops;
	return cmocka_run_group_tests_name("grpc", tests, start_shared, stop_shared);
}
