/* A task on a lane, a sink and a function made of memory, and a clock turned by hand. */
#ifndef RFL_TESTS_UNIT_TASK_BED_H
#define RFL_TESTS_UNIT_TASK_BED_H

#include "test.h"

#include "base/error.h"
#include "base/mem.h"
#include "plugin/batch.h"
#include "plugin/host.h"
#include "task/task.h"
#include "wire/tuple.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOG_MAX 4096

/* A lane whose records are the numbers 0, 1, 2 ... as text, up to end. */
static int64_t lane_next, lane_end;
static const char *lane_type, *lane_key;
static int lane_is_keyed;         /* each record's key is its value */
static const int64_t *lane_times; /* by offset; NULL = one later each time */

static int
fake_lane_poll(void *source, uint32_t lane, uint32_t max_records, size_t max_bytes,
	struct riffle_batch **ret_batch, struct riffle_error *reterr)
{
	(void)source, (void)max_bytes, (void)reterr;
	struct rfl_builder *b = rfl_builder_create();
	while (rfl_builder_count(b) < max_records && lane_next < lane_end) {
		char text[24];
		int len = snprintf(text, sizeof text, "%lld", (long long)lane_next);
		struct riffle_record r = {
			.key = {lane_key, lane_key ? strlen(lane_key) : 0},
			.value = {text, (size_t)len},
			.offset = lane_next,
			.time_ms = lane_times ? lane_times[lane_next] : 1001 + lane_next,
			.partition = (int32_t)lane,
		};
		if (lane_is_keyed)
			r.key = r.value;
		rfl_builder_add(b, &r, NULL, 0, lane_type);
		lane_next++;
	}
	*ret_batch = rfl_builder_finish(b);
	rfl_builder_destroy(b);
	return *ret_batch != NULL;
}

/* A sink that takes room records and writes down what it took. */
static char sink_log[LOG_MAX];
static uint32_t sink_room;
static size_t credit; /* that calls were given */
static int64_t sink_time_ms;
static char sink_key[64]; /* of the last one */

static int
fake_sink_send(void *sink, struct riffle_batch *b, uint32_t first, uint32_t count, uint64_t tag,
	struct riffle_error *reterr)
{
	(void)sink, (void)tag, (void)reterr;
	uint32_t n = count < sink_room ? count : sink_room;
	for (uint32_t i = first; i < first + n; i++) {
		const struct riffle_record *r = riffle_batch_at(b, i);
		size_t len = strlen(sink_log);
		snprintf(sink_log + len, sizeof sink_log - len, "%.*s;", (int)r->value.len,
			(const char *)r->value.ptr);
		sink_time_ms = r->time_ms;
		snprintf(sink_key, sizeof sink_key, "%.*s", (int)r->key.len,
			r->key.ptr ? (const char *)r->key.ptr : "");
	}
	sink_room -= n;
	return (int)n;
}

static const struct riffle_provider_ops provider_ops = {
	.size = sizeof provider_ops, .lane_poll = fake_lane_poll, .sink_send = fake_sink_send};

/* A function that joins its records with commas; how it ends is set by the test. */
struct fake_call {
	const struct riffle_call_events *events;
	void *data;
	char text[1024];
	int is_done;
};

static int answers; /* how often it says all of it */
static int fail_times, fail_code, stay_open, cancel_waits, begin_fails, calls_begun;
static uint32_t fail_flags, answer_output, last_attempt;
static const char *answer_type;
static struct fake_call *open_call;
static char window_header[64];

static int
fake_call_begin(void *self, const struct riffle_call_spec *spec,
	const struct riffle_call_events *events, void *data, void **ret_call,
	struct riffle_error *reterr)
{
	(void)self;
	if (begin_fails > 0) {
		begin_fails--;
		return rfl_err(reterr, RIFFLE_E_UNAVAILABLE, "nobody at home");
	}
	struct fake_call *c = rfl_zalloc(sizeof *c);
	c->events = events;
	c->data = data;
	calls_begun++;
	last_attempt = spec->attempt;
	snprintf(window_header, sizeof window_header, "%.*s..%.*s", (int)spec->headers[0].value.len,
		(const char *)spec->headers[0].value.ptr, (int)spec->headers[1].value.len,
		(const char *)spec->headers[1].value.ptr);
	*ret_call = c;
	return RIFFLE_OK;
}

static int
fake_call_push(void *call, struct riffle_batch *b, uint32_t first, uint32_t count,
	struct riffle_error *reterr)
{
	(void)reterr;
	struct fake_call *c = call;
	for (uint32_t i = first; i < first + count; i++) {
		const struct riffle_record *r = riffle_batch_at(b, i);
		size_t len = strlen(c->text);
		snprintf(c->text + len, sizeof c->text - len, "%s%.*s", len ? "," : "",
			(int)r->value.len, (const char *)r->value.ptr);
	}
	return (int)count;
}

static void
end_call(struct fake_call *c, int status, uint32_t flags, const char *text)
{
	struct riffle_error err = {.code = status, .flags = flags};
	snprintf(err.text, sizeof err.text, "%s", text);
	c->is_done = 1;
	c->events->done(c->data, status, &err);
}

static void
answer(struct fake_call *c)
{
	struct rfl_builder *b = rfl_builder_create();
	const struct riffle_record r = {
		.value = {c->text, strlen(c->text)},
		.time_ms = RIFFLE_TIME_NONE,
		.partition = RIFFLE_PARTITION_NONE,
		.stream = answer_output,
	};
	rfl_builder_add(b, &r, NULL, 0, answer_type);
	c->events->output(c->data, rfl_builder_finish(b));
	rfl_builder_destroy(b);
}

static int
fake_call_end(void *call, struct riffle_error *reterr)
{
	(void)reterr;
	struct fake_call *c = call;
	for (int i = 0; i < answers; i++)
		answer(c);
	open_call = c;
	if (stay_open)
		return RIFFLE_OK;
	if (fail_times > 0) {
		fail_times--;
		end_call(c, fail_code, fail_flags, "it went wrong");
	} else {
		end_call(c, RIFFLE_OK, 0, "");
	}
	return RIFFLE_OK;
}

static void
fake_call_read(void *call, size_t bytes)
{
	(void)call;
	credit += bytes;
}

static void
fake_call_cancel(void *call, int reason)
{
	struct fake_call *c = call;
	if (!c->is_done && !cancel_waits)
		end_call(c, reason, 0, "cancelled");
}

static void
fake_call_destroy(void *call)
{
	free(call);
}

static const struct riffle_invoker_ops invoker_ops = {
	.size = sizeof invoker_ops,
	.call_begin = fake_call_begin,
	.call_push = fake_call_push,
	.call_end = fake_call_end,
	.call_read = fake_call_read,
	.call_cancel = fake_call_cancel,
	.call_destroy = fake_call_destroy,
};

/* One processor around them. */
struct bed {
	struct rfl_clock clock;
	struct rfl_mailbox mailbox;
	struct rfl_stream_conf stream;
	struct rfl_function_conf function;
	struct rfl_input_conf input;
	struct rfl_output_conf output;
	struct rfl_processor_conf conf;
	struct rfl_outlet outlet;
	struct rfl_route route;
	struct riffle_call_spec call_spec;
	struct rfl_task_spec spec;
	struct rfl_task *task;
};

static char name_x[] = "x", group_x[] = "default.x";

static void
bed_set(struct bed *b, enum rfl_window_shape shape, int64_t size_ms, uint64_t count)
{
	memset(b, 0, sizeof *b);
	lane_next = lane_end = 0;
	lane_type = lane_key = NULL;
	lane_is_keyed = 0;
	lane_times = NULL;
	sink_log[0] = '\0';
	sink_room = UINT32_MAX;
	credit = 0;
	answers = 1;
	fail_times = stay_open = cancel_waits = begin_fails = calls_begun = 0;
	fail_flags = RIFFLE_ERR_RETRIABLE;
	fail_code = RIFFLE_E_DATA;
	answer_output = 0;
	answer_type = NULL;
	rfl_clock_init_manual(&b->clock, 1000000);
	assert_int_equal(rfl_mailbox_init(&b->mailbox), 0);
	b->stream.name = name_x;
	b->stream.stream.content_type = "text/plain";
	b->function.timeout_ms = 1000;
	b->input = (struct rfl_input_conf){.alias = name_x, .stream = &b->stream};
	b->output = (struct rfl_output_conf){.alias = name_x, .stream = &b->stream};
	b->conf = (struct rfl_processor_conf){
		.name = name_x,
		.group = group_x,
		.function = &b->function,
		.inputs = &b->input,
		.input_count = 1,
		.outputs = &b->output,
		.output_count = 1,
		.guarantee = RFL_AT_LEAST_ONCE,
		.on_error = {.retries = 2, .backoff_min_ms = 100, .backoff_max_ms = 150},
		.max_outputs_bytes = 1 << 20,
		.calls = 4,
		.max_records = 10,
		.keep = 1,
	};
	rfl_outlet_init(&b->outlet, &provider_ops, NULL, 0);
	b->route = (struct rfl_route){.outlet = &b->outlet, .content_type = "text/plain"};
	b->call_spec = (struct riffle_call_spec){.size = sizeof b->call_spec};
	b->spec = (struct rfl_task_spec){
		.conf = &b->conf,
		.clock = &b->clock,
		.what = "processor x",
		.callee = {.ops = &invoker_ops, .mailbox = &b->mailbox, .spec = &b->call_spec},
		.window = {.shape = shape, .size_ms = size_ms, .count = count},
		.settings = 42,
		.routes = &b->route,
		.memory_bytes = 1 << 24,
		.position_chars = RFL_POSITION_TEXT_MAX,
	};
}

static void
bed_start(struct bed *b, int64_t low, const char *metadata)
{
	const struct rfl_task_lane lane = {.ops = &provider_ops, .low = low};
	const struct riffle_bytes bytes = {metadata, metadata ? strlen(metadata) : 0};
	lane_next = low;
	b->task = rfl_task_create(&b->spec, 0, &lane, &bytes, 1);
}

static int
deliver(struct bed *b)
{
	return rfl_mailbox_deliver(&b->mailbox);
}

/* All records that the sink took are acknowledged with this status. */
static int
acknowledge_on(struct rfl_outlet *o, int status, uint32_t flags)
{
	struct rfl_send *s, *next;
	struct riffle_error err = {0};
	int moved = rfl_outlet_push(o, &err) < 0;
	rfl_list_foreach_safe (s, next, &o->sends, struct rfl_send, link) {
		const struct riffle_sent sent = {.status = status};
		struct riffle_event ev = {
			.size = sizeof ev, .type = RIFFLE_EV_SENT, .tag = s->tag, .sent = &sent};
		uint32_t left = s->taken - s->answered;
		ev.error = (struct riffle_error){.code = status, .flags = flags, .text = "refused"};
		for (uint32_t i = 0; i < left; i++) {
			ev.count = 1;
			ev.sent_size = sizeof sent;
			assert_int_equal(rfl_outlet_sent(o, &ev, &err), RIFFLE_OK);
		}
	}
	while ((s = rfl_outlet_next(o)) != NULL) {
		if (s->owner != NULL)
			rfl_task_sent(s->owner, s);
		rfl_send_free(s);
		moved = 1;
	}
	return moved;
}

static int
acknowledge(struct bed *b, int status, uint32_t flags)
{
	return acknowledge_on(&b->outlet, status, flags);
}

static void
settle_down(struct bed *b)
{
	struct rfl_task_progress progress;
	do {
		rfl_task_run(b->task, &progress);
		progress.moved |= deliver(b);
		progress.moved |= acknowledge(b, RIFFLE_OK, 0);
	} while (progress.moved);
}

static void
advance(struct bed *b, int64_t ms)
{
	rfl_clock_advance(&b->clock, ms * 1000000);
	settle_down(b);
}

static int64_t
commit(struct bed *b, struct rfl_tuple *ret_tuple)
{
	struct riffle_position at;
	struct rfl_commit_text text;
	struct riffle_error err = {0};
	if (!rfl_task_can_commit(b->task))
		return -1;
	assert_int_equal(rfl_task_positions(b->task, 0, &at, &text), 1);
	assert_int_equal(rfl_tuple_decode(at.metadata, ret_tuple, &err), RIFFLE_OK);
	rfl_task_commit_begin(b->task);
	rfl_task_commit_done(b->task);
	return at.offset;
}

static void
bed_end(struct bed *b)
{
	rfl_task_abandon(b->task);
	deliver(b);
	rfl_task_destroy(b->task);
	rfl_outlet_fini(&b->outlet);
	rfl_mailbox_fini(&b->mailbox);
}

static const char *
why(const struct bed *b)
{
	struct rfl_task_view v;
	rfl_task_view(b->task, &v);
	return v.why ? v.why : "";
}

#endif
