/* One task whose calls keep no records, on a lane, a sink and a function that the test turns. */
#ifndef RFL_TESTS_UNIT_REBUILD_BED_H
#define RFL_TESTS_UNIT_REBUILD_BED_H

#include "test.h"

#include "base/error.h"
#include "base/mem.h"
#include "plugin/batch.h"
#include "plugin/host.h"
#include "task/pane.h"
#include "task/task.h"
#include "wire/tuple.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MIB ((size_t)1024 * 1024)

/* A lane of equal records, one every millisecond from 1000000 on. */
static int64_t lane_next, lane_end, rewound_to;
static int64_t late_at; /* but for this one, which has the time of the first; -1 = there is none */
static size_t value_bytes;
static int rewinds;

static int
lane_poll(void *source, uint32_t lane, uint32_t max_records, size_t max_bytes,
	struct riffle_batch **ret_batch, struct riffle_error *reterr)
{
	(void)source, (void)reterr;
	struct rfl_builder *b = rfl_builder_create();
	char *value = rfl_zalloc(value_bytes);
	for (size_t sum = 0; rfl_builder_count(b) < max_records && lane_next < lane_end &&
			     sum + value_bytes <= max_bytes;
		sum += value_bytes) {
		const struct riffle_record r = {
			.value = {value, value_bytes},
			.offset = lane_next,
			.time_ms = 1000000 + (lane_next == late_at ? 0 : lane_next),
			.partition = (int32_t)lane,
		};
		rfl_builder_add(b, &r, NULL, 0, NULL);
		lane_next++;
	}
	free(value);
	*ret_batch = rfl_builder_finish(b);
	rfl_builder_destroy(b);
	return *ret_batch != NULL;
}

static int
source_rewind(void *source, const uint32_t *lanes, const struct riffle_position *from,
	uint32_t count, struct riffle_error *reterr)
{
	(void)source, (void)lanes, (void)reterr;
	assert_int_equal(count, 1);
	rewinds++;
	lane_next = rewound_to = from->offset;
	return RIFFLE_OK;
}

static char sink_log[4096];
static int sink_is_full;

static int
sink_send(void *sink, struct riffle_batch *b, uint32_t first, uint32_t count, uint64_t tag,
	struct riffle_error *reterr)
{
	(void)sink, (void)tag, (void)reterr;
	if (sink_is_full)
		return 0;
	for (uint32_t i = first; i < first + count; i++) {
		const struct riffle_record *r = riffle_batch_at(b, i);
		size_t len = strlen(sink_log);
		snprintf(sink_log + len, sizeof sink_log - len, "%.*s;", (int)r->value.len,
			(const char *)r->value.ptr);
	}
	return (int)count;
}

static const struct riffle_provider_ops provider_ops = {.size = sizeof provider_ops,
	.lane_poll = lane_poll,
	.source_rewind = source_rewind,
	.sink_send = sink_send};

/* A function that says from where to where its records go, and how it was called. */
struct call {
	const struct riffle_call_events *events;
	void *data;
	long long first, last, count;
	uint32_t attempt;
	int is_done;
};

static struct {
	int64_t at_offset; /* the call that takes this record fails, -1 = none does */
	int times, code;
	uint32_t flags;
} failure;
static int takes, stays_open, calls_begun;
static struct call *newest, *ended;

static void
end_call(struct call *c, int status, uint32_t flags, const char *text)
{
	struct riffle_error err = {.code = status, .flags = flags};
	snprintf(err.text, sizeof err.text, "%s", text);
	c->is_done = 1;
	c->events->done(c->data, status, &err);
}

static int
call_begin(void *self, const struct riffle_call_spec *spec, const struct riffle_call_events *events,
	void *data, void **ret_call, struct riffle_error *reterr)
{
	(void)self, (void)reterr;
	struct call *c = rfl_zalloc(sizeof *c);
	c->events = events;
	c->data = data;
	c->attempt = spec->attempt;
	calls_begun++;
	*ret_call = newest = c;
	return RIFFLE_OK;
}

static int
call_push(void *call, struct riffle_batch *b, uint32_t first, uint32_t count,
	struct riffle_error *reterr)
{
	(void)reterr;
	struct call *c = call;
	for (uint32_t i = first; i < first + count && takes && !c->is_done; i++) {
		const struct riffle_record *r = riffle_batch_at(b, i);
		c->first = c->count++ == 0 ? r->offset : c->first;
		c->last = r->offset;
		if (r->offset != failure.at_offset || failure.times == 0)
			continue;
		failure.times--;
		end_call(c, failure.code, failure.flags, "it went wrong");
	}
	return takes ? (int)count : 0;
}

static void
answer(struct call *c)
{
	char text[96];
	snprintf(text, sizeof text, "%lld-%lldx%lld attempt %u", c->first, c->last, c->count,
		c->attempt);
	struct rfl_builder *b = rfl_builder_create();
	const struct riffle_record r = {.value = {text, strlen(text)},
		.time_ms = RIFFLE_TIME_NONE,
		.partition = RIFFLE_PARTITION_NONE};
	rfl_builder_add(b, &r, NULL, 0, NULL);
	c->events->output(c->data, rfl_builder_finish(b));
	rfl_builder_destroy(b);
	end_call(c, RIFFLE_OK, 0, "");
}

static int
call_end(void *call, struct riffle_error *reterr)
{
	(void)reterr;
	struct call *c = ended = call;
	if (!c->is_done && !stays_open)
		answer(c);
	return RIFFLE_OK;
}

static void
call_read(void *call, size_t bytes)
{
	(void)call, (void)bytes;
}

static void
call_cancel(void *call, int reason)
{
	struct call *c = call;
	if (!c->is_done)
		end_call(c, reason, 0, "cancelled");
}

static void
call_destroy(void *call)
{
	free(call);
}

static const struct riffle_invoker_ops invoker_ops = {.size = sizeof invoker_ops,
	.call_begin = call_begin,
	.call_push = call_push,
	.call_end = call_end,
	.call_read = call_read,
	.call_cancel = call_cancel,
	.call_destroy = call_destroy};

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
	struct rfl_task_view v;
};

static char name_x[] = "x", group_x[] = "default.x";

/* Event time in windows of size_ms, which are as many records. */
static void
bed_set(struct bed *b, int64_t size_ms, enum rfl_guarantee guarantee)
{
	memset(b, 0, sizeof *b);
	lane_next = lane_end = 0;
	rewound_to = late_at = -1;
	sink_is_full = 0;
	rewinds = calls_begun = stays_open = 0;
	takes = 1;
	value_bytes = 8;
	sink_log[0] = '\0';
	failure.at_offset = -1;
	failure.times = 1;
	failure.code = RIFFLE_E_DATA;
	failure.flags = RIFFLE_ERR_RETRIABLE;
	rfl_clock_init_manual(&b->clock, 1000000);
	rfl_clock_advance(&b->clock, 1000000000);
	assert_int_equal(rfl_mailbox_init(&b->mailbox), 0);
	b->stream.name = name_x;
	b->stream.stream.content_type = "text/plain";
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
		.guarantee = guarantee,
		.outputs_at_status = guarantee == RFL_EXACTLY_ONCE,
		.window = {.kind = RFL_WINDOW_TUMBLING, .size_ms = size_ms},
		.time = {.source = RFL_TIME_RECORD},
		.on_error = {.retries = 5, .backoff_min_ms = 100, .backoff_max_ms = 100},
		.max_outputs_bytes = 1 << 20,
		.max_future_ms = INT64_MAX / 4,
		.idle_after_ms = 1 << 30,
		.close_after_idle_ms = -1,
		.calls = 4,
		.max_records = 1000,
		.delivery = RFL_STREAMING,
	};
	rfl_outlet_init(&b->outlet, &provider_ops, NULL, guarantee == RFL_EXACTLY_ONCE);
	b->route = (struct rfl_route){.outlet = &b->outlet, .content_type = "text/plain"};
	b->call_spec = (struct riffle_call_spec){.size = sizeof b->call_spec};
	b->spec = (struct rfl_task_spec){
		.conf = &b->conf,
		.clock = &b->clock,
		.what = "processor x",
		.callee = {.ops = &invoker_ops, .mailbox = &b->mailbox, .spec = &b->call_spec},
		.window = {.shape = RFL_SHAPE_TUMBLING,
			.size_ms = size_ms,
			.offset_ms = 1000000 % size_ms},
		.settings = 42,
		.routes = &b->route,
		.memory_bytes = MIB,
		.state_dir = "/tmp",
		.position_chars = RFL_POSITION_TEXT_MAX,
	};
}

static void
bed_start(struct bed *b)
{
	const struct rfl_task_lane lane = {.ops = &provider_ops};
	const struct riffle_bytes nothing = {NULL, 0};
	b->spec.window.forgets_items = !b->conf.keep;
	b->task = rfl_task_create(&b->spec, 0, &lane, &nothing, 1);
}

static void
bed_end(struct bed *b)
{
	rfl_task_abandon(b->task);
	rfl_mailbox_deliver(&b->mailbox);
	rfl_task_destroy(b->task);
	rfl_outlet_fini(&b->outlet);
	rfl_mailbox_fini(&b->mailbox);
}

static int
acknowledge(struct bed *b)
{
	struct rfl_send *s, *next;
	struct riffle_error err = {0};
	int moved = 0;
	assert_true(rfl_outlet_push(&b->outlet, &err) >= 0);
	rfl_list_foreach_safe (s, next, &b->outlet.sends, struct rfl_send, link) {
		const struct riffle_sent sent = {.status = RIFFLE_OK};
		const struct riffle_event ev = {.size = sizeof ev,
			.type = RIFFLE_EV_SENT,
			.tag = s->tag,
			.sent = &sent,
			.count = 1,
			.sent_size = sizeof sent};
		for (uint32_t left = s->taken - s->answered; left > 0; left--)
			assert_int_equal(rfl_outlet_sent(&b->outlet, &ev, &err), RIFFLE_OK);
	}
	while ((s = rfl_outlet_next(&b->outlet)) != NULL) {
		if (s->owner != NULL)
			rfl_task_sent(s->owner, s);
		rfl_send_free(s);
		moved = 1;
	}
	return moved;
}

static void
settle_down(struct bed *b)
{
	struct rfl_task_progress progress;
	do {
		rfl_task_run(b->task, &progress);
		progress.moved |= rfl_mailbox_deliver(&b->mailbox);
		progress.moved |= acknowledge(b);
	} while (progress.moved);
	rfl_task_view(b->task, &b->v);
}

/* All records up to there are in. */
static void
feed(struct bed *b, int64_t end)
{
	lane_end = end;
	settle_down(b);
}

/* Into the open transaction, as far as there is something. */
static void
stage(struct bed *b)
{
	for (int i = 0; i < 2; i++) {
		rfl_task_stage(b->task, 1);
		settle_down(b);
	}
}

static int64_t
commit(struct bed *b)
{
	struct riffle_position at;
	struct rfl_commit_text text;
	if (!rfl_task_can_commit(b->task))
		return -1;
	assert_int_equal(rfl_task_positions(b->task, 0, &at, &text), 1);
	rfl_task_commit_begin(b->task);
	rfl_task_commit_done(b->task);
	return at.offset;
}

static size_t
resident_bytes(void)
{
	size_t total, resident;
	FILE *f = fopen("/proc/self/statm", "re");
	assert_non_null(f);
	assert_int_equal(fscanf(f, "%zu %zu", &total, &resident), 2);
	fclose(f);
	return resident * (size_t)sysconf(_SC_PAGESIZE);
}

static void
advance(struct bed *b, int64_t ms)
{
	if (b->v.awaits_rebuild)
		commit(b);
	rfl_clock_advance(&b->clock, ms * 1000000);
	settle_down(b);
}

/* Those that keep what is freed for a while say nothing of memory. */
static int
is_instrumented(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	return 1;
#elif defined(__has_feature)
	return __has_feature(address_sanitizer) || __has_feature(thread_sanitizer);
#else
	return 0;
#endif
}

#endif
