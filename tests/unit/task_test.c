/* The task room, on a lane, a sink and a function made of memory, and a clock turned by hand. */
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
static const char *lane_type;
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
		const struct riffle_record r = {
			.value = {text, (size_t)len},
			.offset = lane_next,
			.time_ms = lane_times ? lane_times[lane_next] : 1001 + lane_next,
			.partition = (int32_t)lane,
		};
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
static int64_t sink_time_ms;

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

static int fail_times, fail_code, stay_open, begin_fails, calls_begun;
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
	(void)call, (void)bytes;
}

static void
fake_call_cancel(void *call, int reason)
{
	struct fake_call *c = call;
	if (!c->is_done)
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
	lane_type = NULL;
	lane_times = NULL;
	sink_log[0] = '\0';
	sink_room = UINT32_MAX;
	fail_times = stay_open = begin_fails = calls_begun = 0;
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

static void
test_tumbling_calls_once_per_window(void **state)
{
	(void)state;
	struct bed b;
	struct rfl_tuple t;
	bed_set(&b, RFL_SHAPE_TUMBLING, 10000, 0);
	bed_start(&b, 0, NULL);
	lane_end = 2;
	settle_down(&b);
	lane_end = 3;
	advance(&b, 9999);
	assert_string_equal(sink_log, "");
	assert_int_equal(commit(&b, &t), -1);
	advance(&b, 1);
	assert_string_equal(sink_log, "0,1,2;");
	assert_string_equal(window_header, "1000000..1010000");
	assert_int_equal(sink_time_ms, 1009999);
	assert_int_equal(commit(&b, &t), 3);
	assert_int_equal(t.seq, 1);
	assert_int_equal(t.hw, 3);
	assert_true(t.settings == 42 && t.frontier_ms == RFL_TUPLE_UNSET);
	/* An empty window is not called. */
	advance(&b, 30000);
	assert_int_equal(calls_begun, 1);
	bed_end(&b);
}

static void
test_count_cuts_exactly(void **state)
{
	(void)state;
	struct bed b;
	struct rfl_tuple t;
	bed_set(&b, RFL_SHAPE_COUNT, 0, 4);
	bed_start(&b, 0, NULL);
	lane_end = 10;
	settle_down(&b);
	assert_string_equal(sink_log, "0,1,2,3;4,5,6,7;");
	assert_int_equal(commit(&b, &t), 8);
	bed_end(&b);
}

static void
test_none_takes_what_a_poll_brings(void **state)
{
	(void)state;
	struct bed b;
	struct rfl_tuple t;
	bed_set(&b, RFL_SHAPE_NONE, 0, 0);
	b.conf.max_records = 3;
	bed_start(&b, 5, NULL);
	lane_end = 9;
	settle_down(&b);
	assert_string_equal(sink_log, "5,6,7;8;");
	assert_int_equal(sink_time_ms, 1009);
	assert_int_equal(commit(&b, &t), 9);
	bed_end(&b);
}

static void
test_position_waits_for_the_acknowledgement(void **state)
{
	(void)state;
	struct bed b;
	struct rfl_tuple t;
	struct rfl_task_progress p;
	bed_set(&b, RFL_SHAPE_NONE, 0, 0);
	bed_start(&b, 0, NULL);
	lane_end = 2;
	rfl_task_run(b.task, &p);
	deliver(&b);
	rfl_task_run(b.task, &p);
	struct riffle_error err = {0};
	assert_int_equal(rfl_outlet_push(&b.outlet, &err), 1);
	rfl_task_run(b.task, &p);
	assert_string_equal(sink_log, "0,1;");
	assert_int_equal(commit(&b, &t), -1);
	settle_down(&b);
	assert_int_equal(commit(&b, &t), 2);
	bed_end(&b);
}

/* Some of what it answered may be written: at most once it is not called again for the rest. */
static void
test_at_most_once_refused_outputs_are_not_made_again(void **state)
{
	(void)state;
	static const enum rfl_final_action all[] = {RFL_ON_ERROR_SKIP, RFL_ON_ERROR_STOP};
	for (size_t i = 0; i < 2; i++) {
		struct bed b;
		struct rfl_tuple t;
		struct rfl_task_progress p;
		struct rfl_task_view v;
		bed_set(&b, RFL_SHAPE_NONE, 0, 0);
		b.conf.guarantee = RFL_AT_MOST_ONCE;
		b.conf.on_error.then = all[i];
		bed_start(&b, 0, NULL);
		lane_end = 2;
		settle_down(&b);
		assert_int_equal(commit(&b, &t), 2);
		rfl_task_run(b.task, &p);
		deliver(&b);
		acknowledge(&b, RIFFLE_E_UNAVAILABLE, RIFFLE_ERR_RETRIABLE);
		for (int k = 0; k < 10; k++)
			advance(&b, 150);
		assert_int_equal(calls_begun, 1);
		rfl_task_view(b.task, &v);
		assert_int_equal(v.skipped, all[i] == RFL_ON_ERROR_SKIP);
		assert_int_equal(v.stopped, all[i] == RFL_ON_ERROR_STOP);
		bed_end(&b);
	}
}

static void
test_failed_call_is_tried_again_then_stops(void **state)
{
	(void)state;
	struct bed b;
	struct rfl_tuple t;
	bed_set(&b, RFL_SHAPE_NONE, 0, 0);
	b.conf.outputs_at_status = 1;
	bed_start(&b, 0, NULL);
	lane_end = 1;
	fail_times = 1;
	settle_down(&b);
	assert_int_equal(calls_begun, 1);
	advance(&b, 99);
	assert_int_equal(calls_begun, 1);
	advance(&b, 51);
	assert_int_equal(calls_begun, 2);
	assert_int_equal(last_attempt, 2);
	assert_string_equal(sink_log, "0;");
	assert_int_equal(commit(&b, &t), 1);

	lane_end = 2;
	fail_times = 100;
	settle_down(&b);
	for (int i = 0; i < 20; i++)
		advance(&b, 150);
	assert_int_equal(calls_begun, 5);
	assert_non_null(strstr(why(&b), "attempt 3: it went wrong"));
	assert_int_equal(commit(&b, &t), -1);
	lane_end = 3;
	advance(&b, 1000);
	assert_int_equal(calls_begun, 5);
	assert_true(rfl_task_is_drained(b.task));
	bed_end(&b);
}

static void
test_what_cannot_change_is_not_tried_again(void **state)
{
	(void)state;
	struct bed b;
	bed_set(&b, RFL_SHAPE_NONE, 0, 0);
	bed_start(&b, 0, NULL);
	lane_end = 1;
	answer_type = "application/json";
	settle_down(&b);
	advance(&b, 1000);
	assert_int_equal(calls_begun, 1);
	assert_non_null(strstr(why(&b), "content type \"application/json\" not compatible"));
	assert_string_equal(sink_log, "");
	bed_end(&b);
}

static void
test_output_out_of_range_fails_the_call(void **state)
{
	(void)state;
	struct bed b;
	bed_set(&b, RFL_SHAPE_NONE, 0, 0);
	bed_start(&b, 0, NULL);
	lane_end = 1;
	answer_output = 7;
	settle_down(&b);
	assert_non_null(strstr(why(&b), "output 7, the processor has 1"));
	bed_end(&b);
}

static void
test_absent_function_is_waited_for_without_counting(void **state)
{
	(void)state;
	struct bed b;
	bed_set(&b, RFL_SHAPE_NONE, 0, 0);
	bed_start(&b, 0, NULL);
	lane_end = 1;
	begin_fails = 50;
	settle_down(&b);
	for (int i = 0; i < 60; i++)
		advance(&b, 150);
	assert_string_equal(sink_log, "0;");
	assert_string_equal(why(&b), "");
	bed_end(&b);
}

static void
test_timeout_counts_from_the_end_of_input(void **state)
{
	(void)state;
	struct bed b;
	bed_set(&b, RFL_SHAPE_NONE, 0, 0);
	b.conf.on_error.retries = 0;
	b.conf.outputs_at_status = 1;
	bed_start(&b, 0, NULL);
	lane_end = 1;
	stay_open = 1;
	settle_down(&b);
	advance(&b, 999);
	assert_string_equal(why(&b), "");
	advance(&b, 1);
	assert_non_null(strstr(why(&b), "timeout = 1000ms"));
	assert_string_equal(sink_log, "");
	bed_end(&b);
}

static void
test_refused_content_type_stops_or_is_skipped(void **state)
{
	(void)state;
	struct bed b;
	struct rfl_tuple t;
	bed_set(&b, RFL_SHAPE_NONE, 0, 0);
	bed_start(&b, 0, NULL);
	lane_end = 2;
	lane_type = "image/png";
	settle_down(&b);
	assert_string_equal(why(&b), "record x[0]@0: content type \"image/png\" not compatible "
				     "with expected content type "
				     "\"text/plain\"");
	assert_int_equal(calls_begun, 0);
	assert_int_equal(commit(&b, &t), -1);
	bed_end(&b);

	bed_set(&b, RFL_SHAPE_NONE, 0, 0);
	b.conf.on_error.then = RFL_ON_ERROR_SKIP;
	bed_start(&b, 0, NULL);
	lane_end = 2;
	lane_type = "image/png";
	settle_down(&b);
	lane_type = "text/plain";
	lane_end = 3;
	settle_down(&b);
	assert_string_equal(sink_log, "2;");
	assert_int_equal(commit(&b, &t), 3);
	struct rfl_task_view v;
	rfl_task_view(b.task, &v);
	assert_int_equal(v.refused, 2);
	bed_end(&b);
}

static void
test_delivered_twice_enters_once(void **state)
{
	(void)state;
	struct bed b;
	bed_set(&b, RFL_SHAPE_NONE, 0, 0);
	bed_start(&b, 0, NULL);
	lane_end = 3;
	settle_down(&b);
	lane_next = 1;
	lane_end = 5;
	settle_down(&b);
	assert_string_equal(sink_log, "0,1,2;3,4;");
	bed_end(&b);
}

static void
test_failing_window_holds_the_frontier(void **state)
{
	(void)state;
	struct bed b;
	struct rfl_tuple t;
	bed_set(&b, RFL_SHAPE_COUNT, 0, 1);
	bed_start(&b, 0, NULL);
	lane_end = 1;
	fail_times = 1;
	settle_down(&b);
	lane_end = 3;
	settle_down(&b);
	/* Outputs of later windows are out, and not one position. */
	assert_non_null(strstr(sink_log, "1;2;"));
	assert_int_equal(commit(&b, &t), -1);
	advance(&b, 150);
	assert_int_equal(commit(&b, &t), 3);
	bed_end(&b);
}

static void
test_refused_publish_is_tried_again(void **state)
{
	(void)state;
	struct bed b;
	struct rfl_tuple t;
	struct rfl_task_progress p;
	bed_set(&b, RFL_SHAPE_NONE, 0, 0);
	bed_start(&b, 0, NULL);
	lane_end = 1;
	rfl_task_run(b.task, &p);
	deliver(&b);
	acknowledge(&b, RIFFLE_E_UNAVAILABLE, RIFFLE_ERR_RETRIABLE);
	settle_down(&b);
	assert_int_equal(commit(&b, &t), -1);
	advance(&b, 150);
	assert_string_equal(sink_log, "0;0;");
	assert_int_equal(commit(&b, &t), 1);
	bed_end(&b);
}

static void
test_restart_goes_on_from_the_tuple(void **state)
{
	(void)state;
	struct bed b;
	struct rfl_tuple t = {.seq = 9, .settings = 42, .hw = 4};
	char text[RFL_TUPLE_TEXT + 1];
	rfl_tuple_encode(&t, text);
	bed_set(&b, RFL_SHAPE_NONE, 0, 0);
	bed_start(&b, 4, text);
	lane_end = 5;
	settle_down(&b);
	assert_string_equal(sink_log, "4;");
	assert_int_equal(commit(&b, &t), 5);
	assert_int_equal(t.seq, 10);
	bed_end(&b);
}

/* Offset 1 was ahead of the clock when it was read first. */
static const int64_t ahead_times[] = {1000, 2000, 1200, 2050, 3000};

static void
test_what_was_ahead_of_the_clock_stays_refused(void **state)
{
	(void)state;
	struct bed b;
	const struct rfl_tuple t = {
		.seq = 9, .settings = 42, .hw = 3, .frontier_ms = 1000, .time_ms = 1200};
	char text[RFL_TUPLE_TEXT + 1];
	rfl_tuple_encode(&t, text);
	bed_set(&b, RFL_SHAPE_TUMBLING, 100, 0);
	lane_times = ahead_times;
	b.conf.window = (struct rfl_window_conf){.kind = RFL_WINDOW_TUMBLING, .size_ms = 100};
	b.conf.time.source = RFL_TIME_RECORD;
	b.conf.max_future_ms = INT64_C(1) << 40;
	b.conf.idle_after_ms = b.conf.close_after_idle_ms = 1000000;
	bed_start(&b, 0, text);
	lane_end = 5;
	settle_down(&b);
	assert_string_equal(sink_log, "0;2;3;");
	bed_end(&b);
}

static void
test_changed_settings_and_foreign_metadata_are_refused(void **state)
{
	(void)state;
	struct bed b;
	const struct rfl_tuple t = {.seq = 9, .settings = 43, .hw = 4};
	char text[RFL_TUPLE_TEXT + 1];
	rfl_tuple_encode(&t, text);
	bed_set(&b, RFL_SHAPE_NONE, 0, 0);
	bed_start(&b, 4, text);
	assert_non_null(strstr(why(&b), "window settings of group default.x were others"));
	lane_end = 9;
	settle_down(&b);
	assert_int_equal(calls_begun, 0);
	bed_end(&b);
	bed_set(&b, RFL_SHAPE_NONE, 0, 0);
	bed_start(&b, 4, "somebody else's");
	assert_non_null(strstr(why(&b), "is not riffle's"));
	bed_end(&b);
}

static void
test_full_memory_withholds_the_lane(void **state)
{
	(void)state;
	struct bed b;
	struct rfl_task_view v;
	bed_set(&b, RFL_SHAPE_TUMBLING, 10000, 0);
	b.spec.memory_bytes = 256 * 1024;
	bed_start(&b, 0, NULL);
	lane_end = 1000000;
	settle_down(&b);
	rfl_task_view(b.task, &v);
	assert_true(lane_next < 20000);
	assert_true(v.memory_bytes < 512 * 1024);
	bed_end(&b);

	bed_set(&b, RFL_SHAPE_COUNT, 0, 1000000);
	b.spec.memory_bytes = 256 * 1024;
	bed_start(&b, 0, NULL);
	lane_end = 1000000;
	settle_down(&b);
	assert_non_null(strstr(why(&b), "more than memory = 262144 bytes"));
	bed_end(&b);
}

/* The windows are done, and hw would say that the late record is too. */
static void
test_late_record_that_is_not_written_holds_the_position(void **state)
{
	static const int64_t times[] = {1000, 1250, 1010, 1260};
	(void)state;
	struct bed b;
	struct rfl_tuple t;
	struct rfl_outlet late;
	bed_set(&b, RFL_SHAPE_TUMBLING, 100, 0);
	rfl_outlet_init(&late, &provider_ops, NULL, 0);
	lane_times = times;
	b.conf.window.kind = RFL_WINDOW_TUMBLING;
	b.conf.time.source = RFL_TIME_RECORD;
	b.conf.late = RFL_LATE_STREAM;
	b.conf.late_stream = &b.stream;
	b.spec.late = (struct rfl_route){.outlet = &late, .content_type = "text/plain"};
	bed_start(&b, 0, NULL);
	lane_end = 4;
	settle_down(&b);
	assert_string_equal(sink_log, "0;");
	assert_int_equal(commit(&b, &t), -1);
	acknowledge_on(&late, RIFFLE_OK, 0);
	assert_string_equal(sink_log, "0;2;");
	settle_down(&b);
	assert_int_equal(commit(&b, &t), 0);
	assert_int_equal(t.hw, 4);
	assert_true(t.frontier_ms >= 1100 && t.frontier_ms < 1300);
	bed_end(&b);
	rfl_outlet_fini(&late);
}

static void
stage_all(struct bed *b)
{
	struct rfl_send *s;
	struct riffle_error err = {0};
	for (int i = 0; i < 3; i++) {
		rfl_task_stage(b->task, 1);
		rfl_outlet_push(&b->outlet, &err);
		while ((s = rfl_outlet_next(&b->outlet)) != NULL) {
			if (s->owner != NULL)
				rfl_task_sent(s->owner, s);
			rfl_send_free(s);
		}
	}
}

static void
run_only(struct bed *b)
{
	struct rfl_task_progress p;
	do {
		rfl_task_run(b->task, &p);
		p.moved |= deliver(b);
	} while (p.moved);
}

static void
test_exactly_once_stages_in_order_and_undoes(void **state)
{
	(void)state;
	struct bed b;
	struct riffle_position at;
	struct rfl_commit_text text;
	bed_set(&b, RFL_SHAPE_COUNT, 0, 2);
	b.conf.guarantee = RFL_EXACTLY_ONCE;
	b.outlet.transactional = 1;
	bed_start(&b, 0, NULL);
	lane_end = 4;
	run_only(&b);
	assert_string_equal(sink_log, "");
	assert_true(rfl_task_can_stage(b.task));
	assert_false(rfl_task_can_commit(b.task));
	stage_all(&b);
	assert_string_equal(sink_log, "0,1;2,3;");
	assert_int_equal(rfl_task_positions(b.task, 0, &at, &text), 1);
	assert_int_equal(at.offset, 4);
	rfl_task_commit_begin(b.task);
	rfl_task_commit_undone(b.task);
	assert_false(rfl_task_can_commit(b.task));
	stage_all(&b);
	assert_string_equal(sink_log, "0,1;2,3;0,1;2,3;");
	rfl_task_commit_begin(b.task);
	rfl_task_commit_done(b.task);
	assert_false(rfl_task_can_stage(b.task));
	rfl_task_drain(b.task);
	assert_true(rfl_task_is_drained(b.task));
	bed_end(&b);
}

/* Offsets 0, 2, 4, 6 are of a session around 1000, the odd ones of one around 1500; 8 ends the first, 10 both. */
static const int64_t scattered_times[] = {
	1000, 1500, 1001, 1501, 1002, 1502, 1003, 1503, 2400, 2401, 3900};

static void
scatter_from(struct bed *b, size_t position_chars, int64_t low, const char *metadata)
{
	bed_set(b, RFL_SHAPE_SESSION, 100, 0);
	lane_times = scattered_times;
	b->spec.window.max_ms = 10000;
	b->spec.position_chars = position_chars;
	b->conf.window = (struct rfl_window_conf){.kind = RFL_WINDOW_SESSION, .size_ms = 100};
	b->conf.time.source = RFL_TIME_RECORD;
	b->conf.max_disorder_ms = 1000;
	b->conf.max_future_ms = INT64_C(1) << 40;
	b->conf.idle_after_ms = b->conf.close_after_idle_ms = 1000000;
	b->conf.guarantee = RFL_EXACTLY_ONCE;
	b->outlet.transactional = 1;
	bed_start(b, low, metadata);
}

static void
scatter(struct bed *b, size_t position_chars)
{
	scatter_from(b, position_chars, 0, NULL);
	lane_end = 10;
	run_only(b);
	assert_int_equal(calls_begun, 1);
}

static void
test_position_names_the_open_sessions(void **state)
{
	(void)state;
	struct bed b;
	struct riffle_position at;
	struct rfl_commit_text text;
	struct rfl_tuple t;
	struct rfl_run *runs;
	size_t count;
	struct riffle_error err = {0};
	scatter(&b, RFL_POSITION_TEXT_MAX);
	stage_all(&b);
	assert_string_equal(sink_log, "0,2,4,6;");
	assert_int_equal(rfl_task_positions(b.task, 0, &at, &text), 1);
	assert_int_equal(rfl_tuple_decode(at.metadata, &t, &err), RIFFLE_OK);
	assert_int_equal(t.hw, 10);
	assert_int_equal(
		rfl_open_set_decode(at.metadata, at.offset, t.hw, &runs, &count, &err), RIFFLE_OK);
	static const struct rfl_run expected[] = {{1, 2}, {3, 4}, {5, 6}, {7, 10}};
	assert_int_equal(count, 4);
	assert_memory_equal(runs, expected, sizeof expected);
	free(runs);
	rfl_task_commit_begin(b.task);
	rfl_task_commit_done(b.task);
	bed_end(&b);

	/* Who goes on from there has the second session, and the first one no more. */
	scatter_from(&b, RFL_POSITION_TEXT_MAX, at.offset, text.text);
	lane_end = 11;
	run_only(&b);
	stage_all(&b);
	assert_string_equal(sink_log, "1,3,5,7;8,9;");
	bed_end(&b);
}

static void
test_sessions_wait_until_the_position_has_room(void **state)
{
	(void)state;
	struct bed b;
	/* For two runs. */
	scatter(&b, RFL_TUPLE_TEXT + 12);
	assert_false(rfl_task_can_stage(b.task));
	assert_true(rfl_task_waits_for_room(b.task));
	char *says = rfl_task_explain(b.task);
	assert_non_null(strstr(says, "waits until its position has room"));
	free(says);
	lane_end = 11;
	run_only(&b);
	assert_true(rfl_task_can_stage(b.task));
	stage_all(&b);
	assert_string_equal(sink_log, "0,2,4,6;1,3,5,7;8,9;");
	assert_true(rfl_task_can_commit(b.task));
	bed_end(&b);
}

static void
test_sessions_that_wait_in_vain_stop_the_task(void **state)
{
	(void)state;
	struct bed b;
	scatter(&b, RFL_TUPLE_TEXT + 12);
	b.spec.memory_bytes = 1;
	lane_end = 11;
	run_only(&b);
	assert_non_null(strstr(why(&b), "too many of its open sessions lie among others"));
	assert_string_equal(sink_log, "");
	bed_end(&b);
}

static void
test_sink_with_little_room_gets_all_of_it(void **state)
{
	(void)state;
	struct bed b;
	struct riffle_error err = {0};
	struct rfl_task_progress p;
	bed_set(&b, RFL_SHAPE_COUNT, 0, 1);
	bed_start(&b, 0, NULL);
	lane_end = 3;
	sink_room = 0;
	for (int i = 0; i < 5; i++) {
		rfl_task_run(b.task, &p);
		deliver(&b);
	}
	assert_int_equal(rfl_outlet_push(&b.outlet, &err), 0);
	sink_room = 2;
	assert_int_equal(rfl_outlet_push(&b.outlet, &err), 0);
	sink_room = 2;
	assert_int_equal(rfl_outlet_push(&b.outlet, &err), 1);
	assert_string_equal(sink_log, "0;1;2;");
	/* A status for what was never sent is the plugin's mistake, not a crash. */
	struct riffle_event ev = {.size = sizeof ev, .tag = 99, .count = 1};
	assert_int_equal(rfl_outlet_sent(&b.outlet, &ev, &err), RIFFLE_E_FATAL);
	bed_end(&b);
}

static void
run_a_few_times(struct bed *b)
{
	struct riffle_error err = {0};
	struct rfl_task_progress p;
	for (int i = 0; i < 5; i++) {
		rfl_task_run(b->task, &p);
		deliver(b);
		rfl_outlet_push(&b->outlet, &err);
	}
}

static void
test_full_sink_leaves_records_with_the_provider(void **state)
{
	(void)state;
	struct bed b;
	bed_set(&b, RFL_SHAPE_NONE, 0, 0);
	b.conf.max_records = 2;
	bed_start(&b, 0, NULL);
	lane_end = 20;
	sink_room = 0;
	run_a_few_times(&b);
	int64_t read = lane_next;
	assert_true(read > 0 && read < 20);
	run_a_few_times(&b);
	assert_int_equal(lane_next, read);
	sink_room = UINT32_MAX;
	settle_down(&b);
	assert_int_equal(lane_next, 20);
	assert_string_equal(sink_log, "0,1;2,3;4,5;6,7;8,9;10,11;12,13;14,15;16,17;18,19;");
	bed_end(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tumbling_calls_once_per_window),
		cmocka_unit_test(test_count_cuts_exactly),
		cmocka_unit_test(test_none_takes_what_a_poll_brings),
		cmocka_unit_test(test_position_waits_for_the_acknowledgement),
		cmocka_unit_test(test_at_most_once_refused_outputs_are_not_made_again),
		cmocka_unit_test(test_failed_call_is_tried_again_then_stops),
		cmocka_unit_test(test_what_cannot_change_is_not_tried_again),
		cmocka_unit_test(test_output_out_of_range_fails_the_call),
		cmocka_unit_test(test_absent_function_is_waited_for_without_counting),
		cmocka_unit_test(test_timeout_counts_from_the_end_of_input),
		cmocka_unit_test(test_refused_content_type_stops_or_is_skipped),
		cmocka_unit_test(test_delivered_twice_enters_once),
		cmocka_unit_test(test_failing_window_holds_the_frontier),
		cmocka_unit_test(test_refused_publish_is_tried_again),
		cmocka_unit_test(test_restart_goes_on_from_the_tuple),
		cmocka_unit_test(test_what_was_ahead_of_the_clock_stays_refused),
		cmocka_unit_test(test_changed_settings_and_foreign_metadata_are_refused),
		cmocka_unit_test(test_full_memory_withholds_the_lane),
		cmocka_unit_test(test_late_record_that_is_not_written_holds_the_position),
		cmocka_unit_test(test_exactly_once_stages_in_order_and_undoes),
		cmocka_unit_test(test_position_names_the_open_sessions),
		cmocka_unit_test(test_sessions_wait_until_the_position_has_room),
		cmocka_unit_test(test_sessions_that_wait_in_vain_stop_the_task),
		cmocka_unit_test(test_sink_with_little_room_gets_all_of_it),
		cmocka_unit_test(test_full_sink_leaves_records_with_the_provider),
	};
	return RUN("task", tests);
}
