/* A bed for the command invoker: one instance, calls on it, and all that they say. Used by its two programs. */
#ifndef RFL_TESTS_UNIT_COMMAND_BED_H
#define RFL_TESTS_UNIT_COMMAND_BED_H

#include "test.h"

#include "plugin_host.h"

#include <pthread.h>

static const struct riffle_invoker_ops *ops;

enum {
	OPT_COMMAND,
	OPT_SHELL,
	OPT_MODE,
	OPT_FORMAT,
	OPT_PROCESSES,
	OPT_ENV,
	OPT_DIR,
	OPT_MAX_LINE,
	OPT_MAX_RECORD,
	OPT_MAX_OUTPUT,
	OPT_GRACE,
	OPT_RESTART,
	OPT_RESTART_MAX,
	OPT_USER,
	OPT_LIMIT_CPU,
	OPT_LIMIT_MEMORY,
	OPT_LIMIT_FILE_SIZE,
	OPT_LIMIT_FILES,
	OPT_LIMIT_PROCESSES,
	OPTIONS
};

/* One instance, with what its [function] section would say. */
struct bed {
	struct riffle_value values[OPTIONS];
	struct riffle_config config;
	const char *words[8];
	void *self;
};

/* One call, and all that it said. */
struct call {
	void *call;
	pthread_mutex_t lock;
	char *out; /* records, each with a '|' behind it */
	size_t len, room, records;
	char full[4096]; /* the last records with all that they have */
	size_t full_len;
	uint64_t replied;
	char type[64];
	int is_done, status, writable;
	struct riffle_error error;
};

static void
script(struct bed *b, const char *text)
{
	memset(b, 0, sizeof *b);
	b->words[0] = text;
	b->values[OPT_COMMAND].u.list = b->words;
	b->values[OPT_SHELL].u.i = 1;
	b->values[OPT_MAX_LINE].u.i = 1 << 20;
	b->values[OPT_MAX_OUTPUT].u.i = 64 << 20;
	b->values[OPT_GRACE].u.i = 200;
	b->values[OPT_PROCESSES].u.i = 1;
	b->values[OPT_MAX_RECORD].u.i = 16 << 20;
	b->values[OPT_RESTART].u.i = 20;
	b->values[OPT_RESTART_MAX].u.i = 100;
	b->config = (struct riffle_config){.size = sizeof b->config,
		.section = RIFFLE_SECTION_FUNCTION,
		.value_size = sizeof b->values[0],
		.value_count = OPTIONS,
		.name = "f",
		.dir = "/tmp",
		.values = b->values};
}

static void
start(struct bed *b)
{
	struct riffle_error err = {0};
	if (ops->create(&host, &b->config, &b->self, &err) < 0)
		fail_msg("%s", err.text);
}

static void
describe_bytes(struct call *c, const char *name, struct riffle_bytes b)
{
	char *to = c->full + c->full_len;
	size_t left = sizeof c->full - c->full_len;
	int n = b.ptr == NULL ? snprintf(to, left, " %s absent", name)
			      : snprintf(to, left, " %s %zu'", name, b.len);
	for (size_t i = 0; b.ptr != NULL && i < b.len && (size_t)n + 8 < left; i++) {
		unsigned char x = ((const unsigned char *)b.ptr)[i];
		n += snprintf(to + n, left - (size_t)n, x < 0x20 || x > 0x7e ? "\\%02x" : "%c", x);
	}
	c->full_len += (size_t)n;
}

static void
describe(struct call *c, const struct riffle_batch *b, const struct riffle_record *r)
{
	char *to = c->full + c->full_len;
	if (c->full_len > sizeof c->full / 2)
		return;
	c->full_len += (size_t)(r->time_ms == RIFFLE_TIME_NONE
					? snprintf(to, 64, "%u no time", r->stream)
					: snprintf(to, 64, "%u time %lld", r->stream,
						  (long long)r->time_ms));
	describe_bytes(c, "key", r->key);
	describe_bytes(
		c, "type", bytes(r->content_type ? b->content_types[r->content_type] : NULL));
	for (uint32_t i = 0; i < r->header_count; i++) {
		describe_bytes(c, "header", b->headers[r->header_first + i].name);
		describe_bytes(c, "=", b->headers[r->header_first + i].value);
	}
	describe_bytes(c, "value", r->value);
	c->full_len += (size_t)sprintf(c->full + c->full_len, "\n");
}

static void
on_output(void *data, struct riffle_batch *batch)
{
	struct call *c = data;
	pthread_mutex_lock(&c->lock);
	for (uint32_t i = 0; i < batch->record_count; i++) {
		const struct riffle_record *r = riffle_batch_at(batch, i);
		while (c->room < c->len + r->value.len + 2)
			c->out = realloc(c->out, c->room = 2 * c->room + 64);
		if (r->value.len > 0)
			memcpy(c->out + c->len, r->value.ptr, r->value.len);
		c->len += r->value.len;
		c->out[c->len++] = '|';
		c->out[c->len] = '\0';
		snprintf(c->type, sizeof c->type, "%s",
			r->content_type ? batch->content_types[r->content_type] : "");
		describe(c, batch, r);
		c->records++;
	}
	pthread_mutex_unlock(&c->lock);
	batch->release(batch);
}

static void
on_writable(void *data)
{
	struct call *c = data;
	__atomic_store_n(&c->writable, 1, __ATOMIC_RELEASE);
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

static void
on_replied(void *data, uint64_t count)
{
	struct call *c = data;
	__atomic_store_n(&c->replied, count, __ATOMIC_RELEASE);
}

static const struct riffle_call_events events = {.size = sizeof events,
	.output = on_output,
	.writable = on_writable,
	.replied = on_replied,
	.done = on_done};

static void
begin_window(struct bed *b, struct call *c, uint32_t outputs, const char *start, uint32_t attempt)
{
	static const char *const names[] = {"x", "y"};
	static const char *const types[] = {"text/plain", "application/json"};
	char text[16];
	snprintf(text, sizeof text, "%u", attempt);
	const struct riffle_header headers[] = {{bytes("riffle-window-start"), bytes(start)},
		{bytes("riffle-attempt"), bytes(text)}};
	const struct riffle_call_spec spec = {.size = sizeof spec,
		.input_count = outputs > 0 ? outputs : 1,
		.output_count = outputs,
		.header_count = 2,
		.input_names = names,
		.input_types = types,
		.output_names = names,
		.output_types = types,
		.headers = headers,
		.attempt = attempt};
	struct riffle_error err = {0};
	memset(c, 0, sizeof *c);
	pthread_mutex_init(&c->lock, NULL);
	assert_int_equal(ops->call_begin(b->self, &spec, &events, c, &c->call, &err), RIFFLE_OK);
}

static inline void
begin(struct bed *b, struct call *c, uint32_t outputs)
{
	begin_window(b, c, outputs, "1000", 2);
}

static void
no_release(struct riffle_batch *b)
{
	(void)b;
}

static inline int
push(struct call *c, struct riffle_batch *batch, const struct riffle_record *r, uint32_t count,
	struct riffle_error *err)
{
	*batch = (struct riffle_batch){.size = sizeof *batch,
		.record_size = sizeof *r,
		.record_count = count,
		.records = r,
		.release = no_release,
		.host = {1, 0}};
	return ops->call_push(c->call, batch, 0, count, err);
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

static void
end(struct call *c)
{
	assert_true(eventually(is_done, c));
	ops->call_destroy(c->call);
	free(c->out);
	pthread_mutex_destroy(&c->lock);
}

static inline int
has_room(void *ctx)
{
	return __atomic_exchange_n(&((struct call *)ctx)->writable, 0, __ATOMIC_ACQ_REL);
}

static void
finish(struct bed *b, struct call *c)
{
	end(c);
	ops->destroy(b->self);
}

#endif
