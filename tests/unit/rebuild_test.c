/* keep = no: windows larger than memory, and tasks that begin again because a call failed that took records. */
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

#define LARGE 65536 /* records of 1 KiB: 64 times what the task may hold */

static void
test_window_larger_than_memory_passes(void **state)
{
	(void)state;
	struct bed b;
	size_t most = 0, before = 0, resident = 0;
	bed_set(&b, LARGE, RFL_AT_LEAST_ONCE);
	value_bytes = 1024;
	bed_start(&b);
	for (int64_t end = 1024; end <= LARGE + 1024; end += 1024) {
		feed(&b, end);
		size_t now = rfl_task_bytes(b.task);
		most = now > most ? now : most;
		/* What is used at all is there by then. */
		if (end == 4096)
			before = resident_bytes();
	}
	resident = resident_bytes();
	assert_string_equal(b.v.stopped ? b.v.why : "", "");
	print_message("# 64 MiB through 1 MiB: at most %zu bytes held, %zd more resident\n", most,
		(ssize_t)(resident - before));
	assert_true(most < MIB / 8);
	if (!is_instrumented())
		assert_true(resident < before + 2 * MIB);
	assert_string_equal(sink_log, "0-65535x65536 attempt 1;");
	assert_int_equal(calls_begun, 2);
	assert_int_equal(commit(&b), LARGE);
	bed_end(&b);
}

static void
test_the_same_kept_stops_and_names_it(void **state)
{
	(void)state;
	struct bed b;
	bed_set(&b, LARGE, RFL_AT_LEAST_ONCE);
	b.conf.keep = 1;
	value_bytes = 1024;
	bed_start(&b);
	feed(&b, LARGE);
	assert_true(b.v.stopped);
	assert_non_null(strstr(b.v.why, "its windows need more than memory = 1048576 bytes"));
	assert_non_null(strstr(b.v.why, "keep = no would not keep what its calls have taken"));
	bed_end(&b);
	/* Nothing is named that the configuration would refuse. */
	bed_set(&b, LARGE, RFL_AT_LEAST_ONCE);
	b.conf.keep = 1;
	b.conf.on_error.then = RFL_ON_ERROR_DEAD_LETTER;
	value_bytes = 1024;
	bed_start(&b);
	feed(&b, LARGE);
	assert_true(b.v.stopped);
	assert_null(strstr(b.v.why, "keep = no"));
	bed_end(&b);
}

static void
test_position_is_held_by_what_is_not_kept(void **state)
{
	(void)state;
	struct bed b;
	bed_set(&b, 100, RFL_AT_LEAST_ONCE);
	bed_start(&b);
	feed(&b, 150);
	assert_string_equal(sink_log, "0-99x100 attempt 1;");
	assert_int_equal(commit(&b), 100);
	feed(&b, 190);
	/* W moves on, the position does not. */
	assert_true(commit(&b) == 100 || commit(&b) == -1);
	bed_end(&b);
}

static void
test_failed_call_rebuilds_the_task(void **state)
{
	(void)state;
	static const enum rfl_guarantee all[] = {RFL_AT_LEAST_ONCE, RFL_EXACTLY_ONCE};
	for (size_t i = 0; i < 2; i++) {
		struct bed b;
		bed_set(&b, 100, all[i]);
		bed_start(&b);
		failure.at_offset = 150;
		feed(&b, 120);
		if (all[i] == RFL_EXACTLY_ONCE)
			stage(&b);
		assert_int_equal(commit(&b), 100);
		feed(&b, 160);
		assert_true(b.v.awaits_rebuild && !b.v.stopped && !b.v.drained);
		char *why = rfl_task_explain(b.task);
		assert_string_equal(why,
			"a call failed, and its records are not kept (keep = no): it went wrong. "
			"It is rebuilt from its position in 100 ms.");
		free(why);
		assert_int_equal(rewinds, 0);
		advance(&b, 100);
		assert_true(!b.v.awaits_rebuild && b.v.rebuilds == 1);
		assert_int_equal(rewound_to, 100);
		assert_string_equal(sink_log, "0-99x100 attempt 1;");
		feed(&b, 210);
		if (all[i] == RFL_EXACTLY_ONCE)
			stage(&b);
		assert_string_equal(sink_log, "0-99x100 attempt 1;100-199x100 attempt 2;");
		assert_int_equal(commit(&b), 200);
		bed_end(&b);
	}
}

/* The windows that were over before are committed first, and not made again. */
static void
test_what_was_over_before_is_finished(void **state)
{
	(void)state;
	struct bed b;
	bed_set(&b, 100, RFL_EXACTLY_ONCE);
	bed_start(&b);
	failure.at_offset = 150;
	feed(&b, 160);
	advance(&b, 100);
	assert_true(b.v.awaits_rebuild);
	assert_int_equal(rewinds, 0);
	stage(&b);
	/* It is in a transaction that is not over. */
	assert_true(b.v.awaits_rebuild);
	assert_int_equal(commit(&b), 100);
	settle_down(&b);
	assert_int_equal(rewound_to, 100);
	assert_string_equal(sink_log, "0-99x100 attempt 1;");
	bed_end(&b);
}

static void
test_second_failure_without_progress_stops(void **state)
{
	(void)state;
	struct bed b;
	bed_set(&b, 100, RFL_AT_LEAST_ONCE);
	bed_start(&b);
	failure.at_offset = 50;
	failure.times = 2;
	feed(&b, 60);
	advance(&b, 100);
	assert_true(b.v.stopped);
	assert_string_equal(b.v.why,
		"window 1000000, attempt 2: it failed again before any position moved, and its "
		"records are not kept (keep = no): it went wrong");
	assert_int_equal(rewinds, 1);
	bed_end(&b);
}

static void
test_progress_makes_the_next_failure_the_first(void **state)
{
	(void)state;
	struct bed b;
	bed_set(&b, 100, RFL_AT_LEAST_ONCE);
	bed_start(&b);
	failure.at_offset = 50;
	feed(&b, 60);
	advance(&b, 100);
	feed(&b, 110);
	assert_int_equal(commit(&b), 100);
	failure.at_offset = 150;
	failure.times = 1;
	feed(&b, 160);
	advance(&b, 100);
	assert_int_equal(b.v.rebuilds, 2);
	feed(&b, 210);
	assert_string_equal(sink_log, "0-99x100 attempt 2;100-199x100 attempt 2;");
	bed_end(&b);
}

static void
test_second_failure_is_skipped_by_policy(void **state)
{
	(void)state;
	struct bed b;
	bed_set(&b, LARGE / 8, RFL_AT_LEAST_ONCE);
	b.conf.on_error.then = RFL_ON_ERROR_SKIP;
	value_bytes = 1024;
	bed_start(&b);
	failure.at_offset = 50;
	failure.times = 2;
	feed(&b, 60);
	advance(&b, 100);
	/* The rest of its window goes by, and needs no memory either. */
	feed(&b, LARGE / 8);
	assert_string_equal(b.v.stopped ? b.v.why : "", "");
	assert_true(rfl_task_bytes(b.task) < MIB / 4);
	feed(&b, LARGE / 8 + 1);
	assert_int_equal(b.v.skipped, 1);
	assert_string_equal(sink_log, "");
	assert_int_equal(commit(&b), LARGE / 8);
	bed_end(&b);
}

static void
test_who_is_away_is_waited_for(void **state)
{
	(void)state;
	struct bed b;
	bed_set(&b, 100, RFL_AT_LEAST_ONCE);
	bed_start(&b);
	failure.at_offset = 50;
	failure.times = 6;
	failure.code = RIFFLE_E_UNAVAILABLE;
	feed(&b, 60);
	for (int i = 0; i < 6; i++)
		advance(&b, 100);
	assert_int_equal(b.v.rebuilds, 6);
	feed(&b, 101);
	assert_string_equal(sink_log, "0-99x100 attempt 7;");
	bed_end(&b);
}

static void
test_what_cannot_change_is_not_tried_again(void **state)
{
	(void)state;
	struct bed b;
	bed_set(&b, 100, RFL_AT_LEAST_ONCE);
	bed_start(&b);
	failure.at_offset = 50;
	failure.flags = 0;
	feed(&b, 60);
	assert_string_equal(b.v.why, "window 1000000, attempt 1: it went wrong");
	assert_int_equal(rewinds, 0);
	bed_end(&b);
}

static void
test_what_no_call_took_is_kept_and_called_again(void **state)
{
	(void)state;
	struct bed b;
	bed_set(&b, 100, RFL_AT_LEAST_ONCE);
	bed_start(&b);
	takes = 0;
	feed(&b, 60);
	end_call(newest, RIFFLE_E_DATA, RIFFLE_ERR_RETRIABLE, "it went wrong");
	settle_down(&b);
	assert_false(b.v.awaits_rebuild);
	takes = 1;
	advance(&b, 100);
	feed(&b, 101);
	assert_int_equal(rewinds, 0);
	assert_string_equal(sink_log, "0-99x100 attempt 2;");
	bed_end(&b);
}

static void
test_slow_call_is_waited_for_within_memory(void **state)
{
	(void)state;
	struct bed b;
	bed_set(&b, LARGE, RFL_AT_LEAST_ONCE);
	value_bytes = 1024;
	bed_start(&b);
	takes = 0;
	feed(&b, LARGE + 1);
	assert_string_equal(b.v.stopped ? b.v.why : "", "");
	assert_true(lane_next < 2048 && rfl_task_bytes(b.task) < MIB + MIB / 4);
	takes = 1;
	for (int i = 0; i < 200 && lane_next < lane_end; i++) {
		newest->events->writable(newest->data);
		settle_down(&b);
	}
	settle_down(&b);
	assert_string_equal(sink_log, "0-65535x65536 attempt 1;");
	bed_end(&b);
}

/* The one call is of a window that ends only with records that the next one has to hold. */
static void
test_window_beyond_calls_is_kept(void **state)
{
	(void)state;
	struct bed b;
	bed_set(&b, 1000, RFL_AT_LEAST_ONCE);
	b.conf.calls = 1;
	b.conf.max_disorder_ms = 100000;
	bed_start(&b);
	feed(&b, 1500);
	assert_int_equal(calls_begun, 1);
	assert_int_equal(newest->count, 1000);
	value_bytes = 4096;
	feed(&b, 4000);
	assert_true(b.v.stopped);
	assert_non_null(strstr(b.v.why, "its windows need more than memory"));
	assert_non_null(strstr(b.v.why, "spill or more calls would do"));
	bed_end(&b);
}

/* A function that works on one window at a time takes of the next one only what it has room for. */
static void
test_call_that_waits_for_another_is_not_waited_for(void **state)
{
	(void)state;
	struct bed b;
	bed_set(&b, 1000, RFL_AT_LEAST_ONCE);
	b.conf.max_disorder_ms = 100000;
	bed_start(&b);
	feed(&b, 1000);
	takes = 0;
	value_bytes = 4096;
	feed(&b, 4000);
	/* It may be slow. */
	assert_string_equal(b.v.stopped ? b.v.why : "", "");
	assert_true(calls_begun > 1 && lane_next < 4000);
	advance(&b, 29999);
	assert_false(b.v.stopped);
	advance(&b, 1);
	assert_true(b.v.stopped);
	assert_non_null(strstr(b.v.why, "before the first window is over"));
	bed_end(&b);
}

/* A window that is done gives memory back, to be used at once. */
static void
test_run_goes_on_once_a_window_is_settled(void **state)
{
	(void)state;
	struct bed b;
	struct rfl_task_progress progress;
	bed_set(&b, 100, RFL_AT_LEAST_ONCE);
	bed_start(&b);
	lane_end = 101;
	do {
		rfl_task_run(b.task, &progress);
	} while (progress.moved);
	rfl_mailbox_deliver(&b.mailbox);
	acknowledge(&b);
	rfl_task_run(b.task, &progress);
	rfl_task_view(b.task, &b.v);
	assert_int_equal(b.v.windows_done, 1);
	assert_true(progress.moved);
	rfl_task_run(b.task, &progress);
	assert_false(progress.moved);
	bed_end(&b);
}

static void
test_drain_begins_nothing_again(void **state)
{
	(void)state;
	struct bed b;
	bed_set(&b, 100, RFL_AT_LEAST_ONCE);
	bed_start(&b);
	failure.at_offset = 50;
	feed(&b, 60);
	assert_true(b.v.awaits_rebuild);
	rfl_task_drain(b.task);
	advance(&b, 1000);
	assert_int_equal(rewinds, 0);
	assert_true(rfl_task_is_drained(b.task));
	bed_end(&b);
	/* A call that fails while it drains is not rebuilt for. */
	bed_set(&b, 100, RFL_AT_LEAST_ONCE);
	bed_start(&b);
	stays_open = 1;
	feed(&b, 101);
	rfl_task_drain(b.task);
	settle_down(&b);
	assert_false(rfl_task_is_drained(b.task));
	end_call(ended, RIFFLE_E_DATA, RIFFLE_ERR_RETRIABLE, "it went wrong");
	advance(&b, 1000);
	assert_int_equal(rewinds, 0);
	assert_true(rfl_task_is_drained(b.task));
	bed_end(&b);
}

static void
test_only_what_is_kept_is_set_aside(void **state)
{
	(void)state;
	struct bed b;
	bed_set(&b, 100, RFL_AT_LEAST_ONCE);
	bed_start(&b);
	takes = 0;
	feed(&b, 60);
	assert_true(rfl_task_suspend(b.task));
	bed_end(&b);
	bed_set(&b, 100, RFL_AT_LEAST_ONCE);
	bed_start(&b);
	feed(&b, 60);
	assert_false(rfl_task_suspend(b.task));
	bed_end(&b);
}

/* It would go into the transaction without its position, and again with the next. */
static void
test_late_record_in_the_transaction_is_not_forgotten(void **state)
{
	(void)state;
	struct bed b;
	bed_set(&b, 100, RFL_EXACTLY_ONCE);
	b.conf.late = RFL_LATE_STREAM;
	b.conf.late_stream = &b.stream;
	b.spec.late = b.route;
	bed_start(&b);
	feed(&b, 150);
	stage(&b);
	assert_int_equal(commit(&b), 100);
	late_at = 150;
	failure.at_offset = 151;
	sink_is_full = 1;
	feed(&b, 151);
	stage(&b);
	feed(&b, 160);
	assert_true(b.v.awaits_rebuild);
	advance(&b, 100);
	assert_int_equal(b.v.rebuilds, 0);
	sink_is_full = 0;
	stage(&b);
	advance(&b, 100);
	assert_int_equal(b.v.rebuilds, 1);
	feed(&b, 201);
	stage(&b);
	assert_int_equal(commit(&b), 200);
	assert_string_equal(sink_log, "0-99x100 attempt 1;;100-199x99 attempt 2;");
	bed_end(&b);
}

/* The one file of this process that has no name. */
static void
empty_spill_file(void)
{
	char path[64], name[256];
	for (int fd = 3; fd < 64; fd++) {
		snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
		ssize_t len = readlink(path, name, sizeof name - 1);
		name[len > 0 ? len : 0] = '\0';
		if (strncmp(name, "/tmp/", 5) == 0 && strstr(name, "(deleted)") != NULL)
			assert_int_equal(ftruncate(fd, 0), 0);
	}
}

static void
test_what_cannot_be_read_holds_the_position(void **state)
{
	(void)state;
	struct riffle_error err = {0};
	struct riffle_batch *b;
	struct rfl_store *s = rfl_store_create(2, "/tmp", MIB, MIB);
	struct rfl_pane *p = rfl_pane_create();
	p->lets_go = 1;
	for (uint32_t lane = 0; lane < 2; lane++) {
		lane_next = 10;
		lane_end = 12;
		late_at = -1;
		value_bytes = 8;
		assert_int_equal(lane_poll(NULL, lane, 2, MIB, &b, &err), 1);
		struct rfl_chunk *c = rfl_store_copy(s, lane, b, 0, 2, 0);
		rfl_batch_unref(b);
		rfl_store_need(c, 2);
		rfl_pane_add(p, rfl_item_of(c, 0, 2));
		if (lane == 1)
			continue;
		/* The other one stays in memory. */
		assert_int_equal(rfl_store_spill(s, 0, &err), 0);
		empty_spill_file();
	}
	assert_int_equal(rfl_pane_let_go(p, s, 1, 1, &err), RIFFLE_E_FATAL);
	assert_int_equal(rfl_store_low(s, 0, 12), 10);
	assert_int_equal(rfl_store_low(s, 1, 12), 10);
	assert_int_equal(p->items.count, 2);
	assert_int_equal(rfl_item_count(p->items.list[1]), 2);
	p->holds_items = 1;
	rfl_pane_release(p, s);
	rfl_pane_destroy(p);
	rfl_store_destroy(s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_window_larger_than_memory_passes),
		cmocka_unit_test(test_the_same_kept_stops_and_names_it),
		cmocka_unit_test(test_position_is_held_by_what_is_not_kept),
		cmocka_unit_test(test_failed_call_rebuilds_the_task),
		cmocka_unit_test(test_what_was_over_before_is_finished),
		cmocka_unit_test(test_second_failure_without_progress_stops),
		cmocka_unit_test(test_progress_makes_the_next_failure_the_first),
		cmocka_unit_test(test_second_failure_is_skipped_by_policy),
		cmocka_unit_test(test_who_is_away_is_waited_for),
		cmocka_unit_test(test_what_cannot_change_is_not_tried_again),
		cmocka_unit_test(test_what_no_call_took_is_kept_and_called_again),
		cmocka_unit_test(test_slow_call_is_waited_for_within_memory),
		cmocka_unit_test(test_window_beyond_calls_is_kept),
		cmocka_unit_test(test_call_that_waits_for_another_is_not_waited_for),
		cmocka_unit_test(test_run_goes_on_once_a_window_is_settled),
		cmocka_unit_test(test_late_record_in_the_transaction_is_not_forgotten),
		cmocka_unit_test(test_what_cannot_be_read_holds_the_position),
		cmocka_unit_test(test_drain_begins_nothing_again),
		cmocka_unit_test(test_only_what_is_kept_is_set_aside),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
