/* A processor and its worker, turned by hand, on a provider that fails where the test wants it to. */
#include "test.h"

#include "base/error.h"
#include "base/mem.h"
#include "plugin/batch.h"
#include "plugin/host.h"
#include "runtime/processor_private.h"
#include "runtime/sink.h"
#include "runtime/worker.h"
#include "wire/tuple.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LANES 2

/* What the broker holds: records 0, 1, 2 ... of each partition up to end; what was written; positions. */
static int64_t log_end[LANES], committed[LANES], reading[LANES];
static char written[1024];

static struct riffle_event events[2][16]; /* of the source, of the sink */
static int event_count[2], opened, sources_open, sinks_open, txns_open, lane_started[LANES];
static int is_staging;
static char staged[1024];
static struct riffle_lane lanes[LANES];
static char metadata[LANES][65]; /* as it was committed */
static int object[2];

/* The script: outcomes of the next commits, 0 = well. */
static int commit_fails, txn_result, txn_applies;
static uint32_t fail_flags;

static void
queue(int side, struct riffle_event ev)
{
	events[side][event_count[side]++] = ev;
}

static int
poll_events(int side, struct riffle_event *ev)
{
	if (event_count[side] == 0)
		return 0;
	*ev = events[side][0];
	event_count[side]--;
	memmove(events[side], events[side] + 1, (size_t)event_count[side] * sizeof *ev);
	return 1;
}

static int
create(const struct riffle_host *host, const struct riffle_config *cfg, void **ret_self,
	struct riffle_error *reterr)
{
	(void)host, (void)cfg, (void)reterr;
	*ret_self = object;
	return RIFFLE_OK;
}

static void
destroy(void *self)
{
	(void)self;
}

static uint64_t
capabilities(void *self)
{
	(void)self;
	return UINT64_MAX;
}

static int
source_open(void *self, const struct riffle_source_spec *spec, void **ret_source,
	struct riffle_error *reterr)
{
	(void)self, (void)reterr;
	assert_string_equal(spec->group, "default.x");
	opened++;
	sources_open++;
	for (uint32_t i = 0; i < LANES; i++)
		lanes[i] = (struct riffle_lane){.size = sizeof lanes[i],
			.lane = i,
			.committed = {.partition = (int32_t)i, .offset = committed[i]},
			.log_end = log_end[i]};
	queue(0, (struct riffle_event){.type = RIFFLE_EV_ASSIGNED,
			 .lanes = lanes,
			 .lane_count = LANES,
			 .lane_size = sizeof lanes[0]});
	*ret_source = &object[0];
	return RIFFLE_OK;
}

static int
some_fd(void *any)
{
	(void)any;
	return 0;
}

static int
source_poll(void *source, struct riffle_event *ev)
{
	(void)source;
	return poll_events(0, ev);
}

static int
source_start(void *source, const uint32_t *which, const struct riffle_position *from,
	uint32_t count, struct riffle_error *reterr)
{
	(void)source, (void)reterr;
	for (uint32_t i = 0; i < count; i++) {
		reading[which[i]] = from[i].offset;
		lane_started[which[i]] = 1;
	}
	return RIFFLE_OK;
}

static int
source_release(void *source, const uint32_t *which, uint32_t count, struct riffle_error *reterr)
{
	(void)source, (void)reterr;
	for (uint32_t i = 0; i < count; i++) {
		lane_started[which[i]] = 0;
		queue(0, (struct riffle_event){.type = RIFFLE_EV_RELEASED,
				 .lanes = &lanes[which[i]],
				 .lane_count = 1,
				 .lane_size = sizeof lanes[0]});
	}
	return RIFFLE_OK;
}

static void
apply_positions(const struct riffle_position *positions, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		assert_int_equal(positions[i].metadata.len, 64);
		committed[positions[i].partition] = positions[i].offset;
		memcpy(metadata[positions[i].partition], positions[i].metadata.ptr, 64);
	}
}

static struct riffle_error
failure(int code)
{
	return (struct riffle_error){
		.code = code, .flags = fail_flags, .text = "the broker says no"};
}

static int
source_commit(void *source, const struct riffle_position *positions, uint32_t count, uint64_t tag,
	struct riffle_error *reterr)
{
	(void)source, (void)reterr;
	int status = commit_fails;
	commit_fails = 0;
	if (status == 0)
		apply_positions(positions, count);
	queue(0, (struct riffle_event){.type = RIFFLE_EV_COMMITTED,
			 .tag = tag,
			 .status = status,
			 .error = failure(status)});
	return RIFFLE_OK;
}

static int
lane_poll(void *source, uint32_t lane, uint32_t max_records, size_t max_bytes,
	struct riffle_batch **ret_batch, struct riffle_error *reterr)
{
	(void)source, (void)max_bytes, (void)reterr;
	struct rfl_builder *b = rfl_builder_create();
	assert_true(lane_started[lane]);
	while (rfl_builder_count(b) < max_records && reading[lane] < log_end[lane]) {
		char text[24];
		int len = snprintf(text, sizeof text, "%u.%d", lane, (int)reading[lane]);
		const struct riffle_record r = {.value = {text, (size_t)len},
			.offset = reading[lane]++,
			.partition = (int32_t)lane};
		rfl_builder_add(b, &r, NULL, 0, NULL);
	}
	*ret_batch = rfl_builder_finish(b);
	rfl_builder_destroy(b);
	return *ret_batch != NULL;
}

static int
lane_state(void *source, uint32_t lane, struct riffle_lane_state *ret)
{
	(void)source;
	ret->log_end = log_end[lane];
	return RIFFLE_OK;
}

static void
source_close(void *source)
{
	(void)source;
	event_count[0] = 0;
	memset(lane_started, 0, sizeof lane_started);
	queue(0, (struct riffle_event){.type = RIFFLE_EV_CLOSED});
}

static void
source_destroy(void *source)
{
	(void)source;
	sources_open--;
}

static int
sink_open(void *self, const struct riffle_sink_spec *spec, void **ret_sink,
	struct riffle_error *reterr)
{
	(void)self, (void)reterr;
	assert_int_equal(spec->stream_count, 1);
	sinks_open++;
	*ret_sink = &object[1];
	return RIFFLE_OK;
}

static int
sink_poll(void *sink, struct riffle_event *ev)
{
	(void)sink;
	return poll_events(1, ev);
}

static int
sink_send(void *sink, struct riffle_batch *b, uint32_t first, uint32_t count, uint64_t tag,
	struct riffle_error *reterr)
{
	(void)sink, (void)reterr;
	char *to = is_staging ? staged : written;
	for (uint32_t i = first; i < first + count; i++) {
		const struct riffle_record *r = riffle_batch_at(b, i);
		snprintf(to + strlen(to), sizeof written - strlen(to), "%.*s ", (int)r->value.len,
			(const char *)r->value.ptr);
	}
	if (!is_staging)
		queue(1, (struct riffle_event){.type = RIFFLE_EV_SENT, .tag = tag, .count = count});
	return (int)count;
}

static void
sink_close(void *sink)
{
	(void)sink;
	event_count[1] = 0;
	queue(1, (struct riffle_event){.type = RIFFLE_EV_CLOSED});
}

static void
sink_destroy(void *sink)
{
	(void)sink;
	sinks_open--;
}

static int
txn_open(
	void *self, const struct riffle_txn_spec *spec, void **ret_txn, struct riffle_error *reterr)
{
	(void)self, (void)reterr;
	assert_string_equal(spec->id, "default/x/me/0");
	txns_open++;
	queue(1, (struct riffle_event){.type = RIFFLE_EV_TXN_READY});
	*ret_txn = object;
	return RIFFLE_OK;
}

static int
txn_begin(void *txn, struct riffle_error *reterr)
{
	(void)txn, (void)reterr;
	assert_false(is_staging);
	is_staging = 1;
	staged[0] = '\0';
	return RIFFLE_OK;
}

static int
txn_commit(void *txn, const struct riffle_position *positions, uint32_t count, uint64_t tag,
	struct riffle_error *reterr)
{
	(void)txn, (void)reterr;
	int result = txn_result ? txn_result : RIFFLE_TXN_COMMITTED;
	if (result == RIFFLE_TXN_COMMITTED || (result == RIFFLE_TXN_UNKNOWN && txn_applies)) {
		strcat(written, staged);
		apply_positions(positions, count);
	}
	txn_result = 0;
	is_staging = 0;
	queue(1, (struct riffle_event){.type = RIFFLE_EV_TXN,
			 .tag = tag,
			 .status = result,
			 .error = failure(RIFFLE_E_UNAVAILABLE)});
	return RIFFLE_OK;
}

static int
txn_abort(void *txn, uint64_t tag, struct riffle_error *reterr)
{
	(void)txn, (void)reterr;
	is_staging = 0;
	queue(1, (struct riffle_event){.type = RIFFLE_EV_TXN,
			 .tag = tag,
			 .status = RIFFLE_TXN_ABORTED,
			 .error = failure(RIFFLE_E_CANCELLED)});
	return RIFFLE_OK;
}

static void
txn_destroy(void *txn)
{
	(void)txn;
	is_staging = 0;
	txns_open--;
}

static const struct riffle_transactions transactions = {.size = sizeof transactions,
	.open = txn_open,
	.begin = txn_begin,
	.commit = txn_commit,
	.abort = txn_abort,
	.destroy = txn_destroy};

static const void *
extension(void *self, const char *id)
{
	(void)self, (void)id;
	return &transactions;
}

/* The function answers each record with itself; or never ends, when it is to be cancelled. */
struct call {
	const struct riffle_call_events *events;
	void *data;
	int is_done;
};

static int hang, calls_cancelled;

static int
call_begin(void *self, const struct riffle_call_spec *spec, const struct riffle_call_events *ev,
	void *data, void **ret_call, struct riffle_error *reterr)
{
	(void)self, (void)spec, (void)reterr;
	struct call *c = rfl_zalloc(sizeof *c);
	c->events = ev;
	c->data = data;
	*ret_call = c;
	return RIFFLE_OK;
}

static int push_returns; /* what call_push says in place of the truth */

static int
call_push(void *call, struct riffle_batch *b, uint32_t first, uint32_t count,
	struct riffle_error *reterr)
{
	(void)reterr;
	struct call *c = call;
	struct rfl_builder *out = rfl_builder_create();
	for (uint32_t i = first; i < first + count; i++)
		rfl_builder_copy(out, b, i);
	c->events->output(c->data, rfl_builder_finish(out));
	rfl_builder_destroy(out);
	return push_returns ? push_returns : (int)count;
}

static int
call_end(void *call, struct riffle_error *reterr)
{
	struct call *c = call;
	(void)reterr;
	if (hang)
		return RIFFLE_OK;
	c->is_done = 1;
	c->events->done(c->data, RIFFLE_OK, NULL);
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
	const struct riffle_error err = {.code = reason};
	if (c->is_done)
		return;
	calls_cancelled++;
	c->is_done = 1;
	c->events->done(c->data, reason, &err);
}

static void
call_destroy(void *call)
{
	free(call);
}

static char word_x[] = "x", word_default[] = "default", group_x[] = "default.x",
	    canonical[] = "none", version[] = "1";

static struct rfl_plugin provider = {.kind = RIFFLE_KIND_PROVIDER,
	.name = word_x,
	.version = version,
	.capabilities = UINT64_MAX,
	.ops.provider = {.create = create,
		.destroy = destroy,
		.capabilities = capabilities,
		.extension = extension,
		.source_open = source_open,
		.source_fd = some_fd,
		.source_poll = source_poll,
		.source_start = source_start,
		.source_release = source_release,
		.source_commit = source_commit,
		.lane_poll = lane_poll,
		.lane_state = lane_state,
		.source_close = source_close,
		.source_destroy = source_destroy,
		.sink_open = sink_open,
		.sink_fd = some_fd,
		.sink_poll = sink_poll,
		.sink_send = sink_send,
		.sink_close = sink_close,
		.sink_destroy = sink_destroy}};
static struct rfl_plugin invoker = {.kind = RIFFLE_KIND_INVOKER,
	.name = word_x,
	.version = version,
	.ops.invoker = {.create = create,
		.destroy = destroy,
		.capabilities = capabilities,
		.call_begin = call_begin,
		.call_push = call_push,
		.call_end = call_end,
		.call_read = call_read,
		.call_cancel = call_cancel,
		.call_destroy = call_destroy}};

struct bed {
	struct rfl_clock clock;
	struct rfl_conf conf;
	struct rfl_stream_conf stream;
	struct rfl_function_conf function;
	struct rfl_input_conf input;
	struct rfl_output_conf output;
	struct rfl_processor_conf processor;
	struct rfl_instance *broker, *callee;
	struct rfl_worker worker;
	struct rfl_processor *p;
};

static void
start_with(struct bed *b, enum rfl_guarantee guarantee, const struct rfl_window_conf *window)
{
	const struct riffle_config config = {.size = sizeof config, .name = word_x};
	struct riffle_error err;
	memset(b, 0, sizeof *b);
	memset(log_end, 0, sizeof log_end);
	memset(committed, 0, sizeof committed);
	memset(metadata, 0, sizeof metadata);
	memset(event_count, 0, sizeof event_count);
	written[0] = '\0';
	commit_fails = txn_result = txn_applies = hang = opened = calls_cancelled = is_staging = 0;
	fail_flags = RIFFLE_ERR_RETRIABLE;
	rfl_clock_init_manual(&b->clock, 1000000);
	b->conf.runtime.namespace = word_default;
	b->conf.runtime.memory_bytes = 1 << 24;
	b->stream =
		(struct rfl_stream_conf){.name = word_x, .stream = {.content_type = "text/plain"}};
	b->function.name = word_x;
	b->input = (struct rfl_input_conf){.alias = word_x, .stream = &b->stream};
	b->output = (struct rfl_output_conf){.alias = word_x, .stream = &b->stream};
	b->processor = (struct rfl_processor_conf){.name = word_x,
		.group = group_x,
		.function = &b->function,
		.inputs = &b->input,
		.input_count = 1,
		.outputs = &b->output,
		.output_count = 1,
		.window = *window,
		.keep = 1,
		.guarantee = guarantee,
		.max_outputs_bytes = 1 << 20,
		.calls = 4,
		.max_records = 10};
	assert_int_equal(rfl_instance_create(
				 &provider, &config, &b->clock, RFL_GUARD_NORMAL, &b->broker, &err),
		0);
	assert_int_equal(rfl_instance_create(
				 &invoker, &config, &b->clock, RFL_GUARD_NORMAL, &b->callee, &err),
		0);
	assert_int_equal(rfl_worker_init(&b->worker, 0, "me", &b->clock, -1), 0);
	const struct rfl_processor_setup setup = {.conf = &b->conf,
		.processor = &b->processor,
		.clock = &b->clock,
		.instance = "me",
		.function = b->callee,
		.input_providers = &b->broker,
		.destination_providers = &b->broker};
	b->p = rfl_processor_create(&setup, &b->worker);
	rfl_worker_add(&b->worker, b->p);
}

static void
start(struct bed *b, enum rfl_guarantee guarantee)
{
	const struct rfl_window_conf none = {.kind = RFL_WINDOW_NONE, .canonical = canonical};
	start_with(b, guarantee, &none);
}

static void
settle(struct bed *b)
{
	int64_t next_ns;
	int turns = 0;
	while (rfl_worker_turn(&b->worker, &next_ns))
		assert_true(++turns < 10000);
}

static void
advance(struct bed *b, int64_t ms)
{
	rfl_clock_advance(&b->clock, ms * 1000000);
	settle(b);
}

static enum rfl_state
state_of(struct bed *b, char *why, size_t room)
{
	struct rfl_status *s = rfl_zalloc(sizeof *s);
	s->processors = rfl_zalloc(sizeof *s->processors);
	s->processor_count = 1;
	rfl_processor_status(b->p, s->processors);
	enum rfl_state state = s->processors->state;
	snprintf(why, room, "%s", s->processors->why ? s->processors->why : "");
	rfl_status_free(s);
	return state;
}

static void
finish(struct bed *b)
{
	rfl_processor_drain(b->p);
	settle(b);
	assert_true(rfl_worker_is_closed(&b->worker));
	if (!rfl_instance_is_quarantined(b->broker, NULL)) {
		assert_int_equal(sources_open, 0);
		assert_int_equal(sinks_open, 0);
		assert_int_equal(txns_open, 0);
	}
	rfl_worker_fini(&b->worker);
	rfl_instance_destroy(b->broker);
	rfl_instance_destroy(b->callee);
}

static void
test_at_least_once_commits_what_is_written(void **state)
{
	(void)state;
	struct bed b;
	start(&b, RFL_AT_LEAST_ONCE);
	log_end[0] = 2;
	log_end[1] = 1;
	settle(&b);
	assert_string_equal(written, "0.0 0.1 1.0 ");
	assert_true(committed[0] == 2 && committed[1] == 1);
	finish(&b);
}

static void
test_a_commit_that_fails_is_tried_again(void **state)
{
	(void)state;
	struct bed b;
	start(&b, RFL_AT_LEAST_ONCE);
	b.processor.commit_interval_ms = 100;
	log_end[0] = 2;
	commit_fails = RIFFLE_E_UNAVAILABLE;
	settle(&b);
	advance(&b, 100);
	assert_int_equal(committed[0], 0);
	advance(&b, 100);
	assert_int_equal(committed[0], 2);
	assert_string_equal(written, "0.0 0.1 ");
	assert_int_equal(opened, 1);
	finish(&b);
}

static void
test_fenced_opens_again(void **state)
{
	(void)state;
	struct bed b;
	start(&b, RFL_AT_LEAST_ONCE);
	log_end[0] = 1;
	commit_fails = RIFFLE_E_FENCED;
	settle(&b);
	advance(&b, 400);
	assert_int_equal(opened, 2);
	assert_string_equal(written, "0.0 0.0 ");
	assert_int_equal(committed[0], 1);
	finish(&b);
}

static void
test_an_aborted_transaction_is_sent_again(void **state)
{
	(void)state;
	struct bed b;
	start(&b, RFL_EXACTLY_ONCE);
	log_end[0] = 2;
	txn_result = RIFFLE_TXN_ABORTED;
	settle(&b);
	assert_string_equal(written, "");
	log_end[1] = 1;
	advance(&b, 1000);
	assert_string_equal(written, "0.0 0.1 1.0 ");
	assert_true(committed[0] == 2 && committed[1] == 1);
	assert_int_equal(opened, 1);
	finish(&b);
}

static void
test_what_can_never_be_committed_stops(void **state)
{
	(void)state;
	struct bed b;
	char why[300];
	start(&b, RFL_EXACTLY_ONCE);
	log_end[0] = 1;
	txn_result = RIFFLE_TXN_ABORTED;
	fail_flags = 0;
	settle(&b);
	assert_int_equal(state_of(&b, why, sizeof why), RFL_STOPPED);
	assert_non_null(strstr(why, "the broker says no"));
	advance(&b, 10000);
	assert_string_equal(written, "");
	finish(&b);
}

static void
test_an_unknown_transaction_is_settled_by_reading_back(void **state)
{
	(void)state;
	for (int applies = 0; applies < 2; applies++) {
		struct bed b;
		char why[300];
		start(&b, RFL_EXACTLY_ONCE);
		log_end[0] = 2;
		txn_result = RIFFLE_TXN_UNKNOWN;
		txn_applies = applies;
		settle(&b);
		assert_int_equal(state_of(&b, why, sizeof why), RFL_FAILED);
		assert_non_null(strstr(why, "it is not known"));
		advance(&b, 400);
		assert_int_equal(opened, 2);
		assert_string_equal(written, "0.0 0.1 ");
		assert_int_equal(committed[0], 2);
		assert_int_equal(state_of(&b, why, sizeof why), RFL_RUNNING);
		finish(&b);
	}
}

static void
test_a_broken_source_is_opened_again(void **state)
{
	(void)state;
	struct bed b;
	char why[300];
	start(&b, RFL_AT_LEAST_ONCE);
	hang = 1;
	log_end[0] = 1;
	settle(&b);
	queue(0, (struct riffle_event){.type = RIFFLE_EV_ERROR,
			 .status = RIFFLE_E_FATAL,
			 .error = {.code = RIFFLE_E_FATAL, .text = "gone"}});
	settle(&b);
	assert_int_equal(calls_cancelled, 1);
	assert_int_equal(sources_open, 0);
	assert_int_equal(state_of(&b, why, sizeof why), RFL_FAILED);
	assert_string_equal(why, "gone");
	hang = 0;
	advance(&b, 199);
	assert_int_equal(opened, 1);
	advance(&b, 201);
	assert_int_equal(opened, 2);
	assert_int_equal(committed[0], 1);
	finish(&b);
}

static void
test_who_is_replaced_stays_closed(void **state)
{
	(void)state;
	struct bed b;
	char why[300];
	start(&b, RFL_AT_LEAST_ONCE);
	settle(&b);
	/* A commit that is fenced for the same reason does not open it again either. */
	log_end[0] = 1;
	commit_fails = RIFFLE_E_FENCED;
	queue(0, (struct riffle_event){.type = RIFFLE_EV_ERROR,
			 .status = RIFFLE_E_FENCED,
			 .error = {.code = RIFFLE_E_FENCED, .text = "replaced"}});
	settle(&b);
	advance(&b, 60000);
	assert_int_equal(opened, 1);
	assert_int_equal(sources_open, 0);
	assert_int_equal(state_of(&b, why, sizeof why), RFL_STOPPED);
	assert_string_equal(why, "replaced");
	finish(&b);
}

static void
test_a_broken_sink_is_opened_again(void **state)
{
	(void)state;
	struct bed b;
	start(&b, RFL_AT_LEAST_ONCE);
	settle(&b);
	queue(1, (struct riffle_event){.type = RIFFLE_EV_ERROR,
			 .status = RIFFLE_E_FATAL,
			 .error = {.code = RIFFLE_E_FATAL, .text = "gone"}});
	settle(&b);
	log_end[0] = 1;
	advance(&b, 400);
	assert_int_equal(opened, 2);
	assert_string_equal(written, "0.0 ");
	finish(&b);
}

/* The guard found it out; the processor is closed in order, and stays so. */
static void
test_a_confused_provider_stops_its_processor(void **state)
{
	(void)state;
	struct bed b;
	char why[300];
	start(&b, RFL_AT_LEAST_ONCE);
	settle(&b);
	queue(1, (struct riffle_event){.type = RIFFLE_EV_SENT, .tag = 999, .count = 1});
	settle(&b);
	advance(&b, 60000);
	assert_int_equal(opened, 1);
	assert_int_equal(state_of(&b, why, sizeof why), RFL_STOPPED);
	assert_non_null(strstr(why, "provider x: sink_poll gave a status for 1 records"));
	finish(&b);
	/* The plugin was not asked to close its source: what it holds is left to it. */
	assert_int_equal(sources_open, 1);
	sources_open = sinks_open = 0;
}

/* No policy may skip windows because the invoker is finished. */
static void
test_a_confused_invoker_loses_no_window(void **state)
{
	(void)state;
	struct bed b;
	char why[300];
	start(&b, RFL_AT_LEAST_ONCE);
	b.processor.on_error.then = RFL_ON_ERROR_SKIP;
	push_returns = 7;
	log_end[0] = 1;
	settle(&b);
	assert_int_equal(state_of(&b, why, sizeof why), RFL_STOPPED);
	assert_non_null(strstr(why, "function x: call_push took 7, 1 were offered"));
	assert_int_equal(committed[0], 0);
	assert_int_equal(sources_open, 0);
	finish(&b);
	push_returns = 0;
}

static void
test_a_revoked_lane_is_given_back(void **state)
{
	(void)state;
	struct bed b;
	char why[300];
	start(&b, RFL_AT_LEAST_ONCE);
	settle(&b);
	queue(0, (struct riffle_event){.type = RIFFLE_EV_REVOKED,
			 .lanes = &lanes[1],
			 .lane_count = 1,
			 .lane_size = sizeof lanes[0]});
	settle(&b);
	assert_false(lane_started[1]);
	log_end[0] = log_end[1] = 1;
	settle(&b);
	assert_string_equal(written, "0.0 ");
	assert_int_equal(state_of(&b, why, sizeof why), RFL_RUNNING);
	/* And may be assigned anew. */
	queue(0, (struct riffle_event){.type = RIFFLE_EV_ASSIGNED,
			 .lanes = &lanes[1],
			 .lane_count = 1,
			 .lane_size = sizeof lanes[0]});
	settle(&b);
	assert_string_equal(written, "0.0 1.0 ");
	finish(&b);
}

static void
test_outputs_of_a_revoked_task_are_not_committed(void **state)
{
	(void)state;
	struct bed b;
	start(&b, RFL_EXACTLY_ONCE);
	b.processor.commit_interval_ms = 1000;
	log_end[0] = 1;
	settle(&b);
	for (int i = 0; i < 20 && written[0] == '\0'; i++)
		advance(&b, 100);
	assert_string_equal(written, "0.0 ");
	log_end[0] = 2;
	log_end[1] = 1;
	settle(&b);
	assert_non_null(strstr(staged, "1.0"));
	queue(0, (struct riffle_event){.type = RIFFLE_EV_REVOKED,
			 .lanes = &lanes[1],
			 .lane_count = 1,
			 .lane_size = sizeof lanes[0]});
	advance(&b, 1000);
	advance(&b, 1000);
	assert_string_equal(written, "0.0 0.1 ");
	assert_true(committed[0] == 2 && committed[1] == 0);
	queue(0, (struct riffle_event){.type = RIFFLE_EV_ASSIGNED,
			 .lanes = &lanes[1],
			 .lane_count = 1,
			 .lane_size = sizeof lanes[0]});
	settle(&b);
	advance(&b, 1000);
	assert_string_equal(written, "0.0 0.1 1.0 ");
	finish(&b);
}

static void
lane_event(uint32_t type, uint32_t lane)
{
	lanes[lane].committed = (struct riffle_position){.partition = (int32_t)lane,
		.offset = committed[lane],
		.metadata = {metadata[lane], strlen(metadata[lane])}};
	queue(0, (struct riffle_event){.type = type,
			 .lanes = &lanes[lane],
			 .lane_count = 1,
			 .lane_size = sizeof lanes[0]});
}

/* Lane 1 has one window that is committed and one with two records; then it is taken away. */
static void
start_and_lose_lane(struct bed *b, enum rfl_guarantee guarantee, uint32_t how)
{
	static const struct rfl_window_conf count = {
		.kind = RFL_WINDOW_COUNT, .count = 3, .canonical = canonical};
	start_with(b, guarantee, &count);
	log_end[1] = 5;
	settle(b);
	for (int i = 0; i < 30 && committed[1] == 0; i++)
		advance(b, 100);
	assert_string_equal(written, "1.0 1.1 1.2 ");
	assert_int_equal(committed[1], 3);
	assert_int_equal(reading[1], 5);
	lane_event(how, 1);
	settle(b);
	assert_false(lane_started[1]);
}

static void
test_a_task_whose_lane_comes_back_goes_on(void **state)
{
	(void)state;
	static const enum rfl_guarantee all[] = {RFL_AT_LEAST_ONCE, RFL_EXACTLY_ONCE};
	for (size_t i = 0; i < 2; i++) {
		struct bed b;
		start_and_lose_lane(&b, all[i], RIFFLE_EV_REVOKED);
		reading[1] = -1;
		lane_event(RIFFLE_EV_ASSIGNED, 1);
		settle(&b);
		/* What it had read is not read again. */
		assert_int_equal(reading[1], 5);
		log_end[1] = 6;
		for (int k = 0; k < 30 && committed[1] == 3; k++)
			advance(&b, 100);
		assert_string_equal(written, "1.0 1.1 1.2 1.3 1.4 1.5 ");
		assert_int_equal(committed[1], 6);
		finish(&b);
	}
}

static void
test_a_task_that_another_went_on_with_is_made_anew(void **state)
{
	(void)state;
	struct bed b;
	start_and_lose_lane(&b, RFL_AT_LEAST_ONCE, RIFFLE_EV_REVOKED);
	struct rfl_tuple t;
	struct riffle_error err;
	assert_int_equal(
		rfl_tuple_decode((struct riffle_bytes){metadata[1], 64}, &t, &err), RIFFLE_OK);
	t.seq++;
	t.hw = committed[1] = 4;
	rfl_tuple_encode(&t, metadata[1]);
	lane_event(RIFFLE_EV_ASSIGNED, 1);
	log_end[1] = 7;
	settle(&b);
	assert_string_equal(written, "1.0 1.1 1.2 1.4 1.5 1.6 ");
	finish(&b);
}

static void
test_a_task_whose_lane_was_lost_is_made_anew(void **state)
{
	(void)state;
	struct bed b;
	start_and_lose_lane(&b, RFL_AT_LEAST_ONCE, RIFFLE_EV_LOST);
	reading[1] = -1;
	log_end[1] = 3;
	lane_event(RIFFLE_EV_ASSIGNED, 1);
	settle(&b);
	assert_int_equal(reading[1], 3);
	log_end[1] = 6;
	settle(&b);
	assert_string_equal(written, "1.0 1.1 1.2 1.3 1.4 1.5 ");
	finish(&b);
}

static void
test_tasks_set_aside_keep_to_the_memory_of_one(void **state)
{
	(void)state;
	struct bed b;
	start_and_lose_lane(&b, RFL_AT_LEAST_ONCE, RIFFLE_EV_REVOKED);
	assert_int_equal(b.p->warm_count, 1);
	b.p->task_spec.memory_bytes = 1;
	lane_event(RIFFLE_EV_REVOKED, 0);
	settle(&b);
	/* What went last, and holds nothing. */
	assert_int_equal(b.p->warm_count, 1);
	assert_int_equal(rfl_task_lane(b.p->warm[0], 0)->partition, 0);
	finish(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_at_least_once_commits_what_is_written),
		cmocka_unit_test(test_a_commit_that_fails_is_tried_again),
		cmocka_unit_test(test_fenced_opens_again),
		cmocka_unit_test(test_an_aborted_transaction_is_sent_again),
		cmocka_unit_test(test_what_can_never_be_committed_stops),
		cmocka_unit_test(test_an_unknown_transaction_is_settled_by_reading_back),
		cmocka_unit_test(test_a_broken_source_is_opened_again),
		cmocka_unit_test(test_who_is_replaced_stays_closed),
		cmocka_unit_test(test_a_broken_sink_is_opened_again),
		cmocka_unit_test(test_a_confused_provider_stops_its_processor),
		cmocka_unit_test(test_a_confused_invoker_loses_no_window),
		cmocka_unit_test(test_a_revoked_lane_is_given_back),
		cmocka_unit_test(test_outputs_of_a_revoked_task_are_not_committed),
		cmocka_unit_test(test_a_task_whose_lane_comes_back_goes_on),
		cmocka_unit_test(test_a_task_that_another_went_on_with_is_made_anew),
		cmocka_unit_test(test_a_task_whose_lane_was_lost_is_made_anew),
		cmocka_unit_test(test_tasks_set_aside_keep_to_the_memory_of_one),
	};
	return RUN("runtime", tests);
}
