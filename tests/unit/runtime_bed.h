/* A processor and its worker, turned by hand, on a provider that fails where the test wants it to. */
#ifndef RFL_TESTS_UNIT_RUNTIME_BED_H
#define RFL_TESTS_UNIT_RUNTIME_BED_H

#include "runtime_plugins.h"

#define LANES 2
/* Numbers of lanes: the last is that of partition 1 again, assigned before lane 1 was given back. */
#define LANE_IDS 3

/* What the broker holds: records 0, 1, 2 ... of each partition up to end; what was written; positions. */
static int64_t log_end[LANE_IDS], committed[LANES], reading[LANE_IDS];
static char written[1024];

/* Of the source, of the sink, of the checkpoint stream's source. */
static struct riffle_event events[3][16];
static int event_count[3], opened, sources_open, sinks_open, txns_open, lane_started[LANE_IDS];
static int is_staging;
static char staged[1024];
static struct riffle_lane lanes[LANE_IDS];
static char metadata[LANES][65]; /* as it was committed */
static int object[3];

/* The checkpoint stream, where there is one: its records, of which only so many can be read so far. */
static struct {
	struct riffle_bytes key, value;
} log_of_checkpoints[8];
static int64_t checkpoint_end, checkpoint_readable, checkpoint_at;
static const struct rfl_clock *now;
static int has_checkpoint, gives_metadata, sink_is_full;
static const int64_t *record_times; /* by offset; NULL = none have one */

/* Values that the sink refuses for their data, as outputs and as late records or dead letters. */
static const char *refused[2], *refused_aside;
static uint32_t refused_flags;
static int has_sides; /* these have a stream, the second one */

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

static uint64_t
capabilities(void *self)
{
	(void)self;
	return UINT64_MAX;
}

static int
open_checkpoint(const struct riffle_source_spec *spec, void **ret_source)
{
	static struct riffle_lane lane = {.size = sizeof lane, .lane = 7};
	assert_int_equal(spec->streams[0].start, RIFFLE_START_EARLIEST);
	assert_null(spec->txn);
	lane.log_end = checkpoint_end;
	checkpoint_at = 0;
	event_count[2] = 0;
	queue(2, (struct riffle_event){.type = RIFFLE_EV_ASSIGNED,
			 .lanes = &lane,
			 .lane_count = 1,
			 .lane_size = sizeof lane});
	*ret_source = &object[2];
	return RIFFLE_OK;
}

static int
source_open(void *self, const struct riffle_source_spec *spec, void **ret_source,
	struct riffle_error *reterr)
{
	(void)self, (void)reterr;
	sources_open++;
	if (spec->group == NULL)
		return open_checkpoint(spec, ret_source);
	assert_string_equal(spec->group, "default.x");
	opened++;
	for (uint32_t i = 0; i < LANES; i++)
		lanes[i] = (struct riffle_lane){.size = sizeof lanes[i],
			.lane = i,
			.committed = {.partition = (int32_t)i,
				.offset = committed[i],
				.metadata = {metadata[i], gives_metadata ? 64 : 0}},
			.log_end = log_end[i]};
	queue(0, (struct riffle_event){.type = RIFFLE_EV_ASSIGNED,
			 .lanes = lanes,
			 .lane_count = LANES,
			 .lane_size = sizeof lanes[0]});
	*ret_source = &object[0];
	return RIFFLE_OK;
}

static int
source_poll(void *source, struct riffle_event *ev)
{
	return poll_events(source == &object[2] ? 2 : 0, ev);
}

static int
source_start(void *source, const uint32_t *which, const struct riffle_position *from,
	uint32_t count, struct riffle_error *reterr)
{
	(void)reterr;
	if (source == &object[2])
		return RIFFLE_OK;
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
		assert_true(positions[i].metadata.len >= 64);
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
poll_checkpoints(struct riffle_batch **ret_batch)
{
	struct rfl_builder *b = rfl_builder_create();
	for (; checkpoint_at < checkpoint_readable; checkpoint_at++) {
		const struct riffle_record r = {.key = log_of_checkpoints[checkpoint_at].key,
			.value = log_of_checkpoints[checkpoint_at].value,
			.offset = checkpoint_at};
		rfl_builder_add(b, &r, NULL, 0, NULL);
	}
	*ret_batch = rfl_builder_finish(b);
	rfl_builder_destroy(b);
	return *ret_batch != NULL;
}

static int
lane_poll(void *source, uint32_t lane, uint32_t max_records, size_t max_bytes,
	struct riffle_batch **ret_batch, struct riffle_error *reterr)
{
	(void)max_bytes, (void)reterr;
	if (source == &object[2])
		return poll_checkpoints(ret_batch);
	struct rfl_builder *b = rfl_builder_create();
	assert_true(lane_started[lane]);
	while (rfl_builder_count(b) < max_records && reading[lane] < log_end[lane]) {
		char text[24];
		int len = snprintf(text, sizeof text, "%u.%d", lane, (int)reading[lane]);
		const struct riffle_record r = {.value = {text, (size_t)len},
			.offset = reading[lane],
			.time_ms = record_times ? record_times[reading[lane]] : 0,
			.partition = lane < LANES ? (int32_t)lane : LANES - 1};
		reading[lane]++;
		rfl_builder_add(b, &r, NULL, 0, NULL);
	}
	*ret_batch = rfl_builder_finish(b);
	rfl_builder_destroy(b);
	return *ret_batch != NULL;
}

static int
lane_state(void *source, uint32_t lane, struct riffle_lane_state *ret)
{
	if (source == &object[2]) {
		ret->position = checkpoint_at;
		ret->log_end = checkpoint_end;
		ret->as_of_ns = rfl_clock_mono_ns(now);
		return RIFFLE_OK;
	}
	ret->log_end = log_end[lane];
	return RIFFLE_OK;
}

static void
source_close(void *source)
{
	if (source == &object[2]) {
		event_count[2] = 0;
		queue(2, (struct riffle_event){.type = RIFFLE_EV_CLOSED});
		return;
	}
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
	assert_int_equal(spec->stream_count, 1 + has_checkpoint + has_sides);
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
is_value(const struct riffle_record *r, const char *text)
{
	return text != NULL && r->value.len == strlen(text) &&
	       memcmp(r->value.ptr, text, r->value.len) == 0;
}

static int
is_refused(const struct riffle_record *r)
{
	if (r->stream == 1)
		return has_sides && is_value(r, refused_aside);
	return is_value(r, refused[0]) || is_value(r, refused[1]);
}

/* In a transaction it is the only status that there is; otherwise one of those of its batch. */
static void
refuse(uint64_t tag)
{
	static const struct riffle_sent sent = {.status = RIFFLE_E_DATA, .partition = -1};
	queue(1, (struct riffle_event){.type = RIFFLE_EV_SENT,
			 .tag = tag,
			 .count = 1,
			 .sent = &sent,
			 .sent_size = sizeof sent,
			 .error = {.code = RIFFLE_E_DATA,
				 .flags = refused_flags,
				 .text = "too large"}});
}

static int
sink_send(void *sink, struct riffle_batch *b, uint32_t first, uint32_t count, uint64_t tag,
	struct riffle_error *reterr)
{
	(void)sink, (void)reterr;
	char *to = is_staging ? staged : written;
	uint32_t good = count;
	for (uint32_t i = first; i < first + count; i++) {
		const struct riffle_record *r = riffle_batch_at(b, i);
		if (is_refused(r)) {
			refuse(tag);
			good--;
			continue;
		}
		if (has_sides && r->stream == 1) {
			strcat(to, "!");
		} else if (r->stream == 1 && sink_is_full) {
			return (int)(i - first);
		} else if (r->stream == 1) {
			snprintf(to + strlen(to), sizeof written - strlen(to), "[%.*s: %zu] ",
				(int)r->key.len, (const char *)r->key.ptr, r->value.len);
			continue;
		}
		snprintf(to + strlen(to), sizeof written - strlen(to), "%.*s ", (int)r->value.len,
			(const char *)r->value.ptr);
	}
	if (!is_staging && good > 0)
		queue(1, (struct riffle_event){.type = RIFFLE_EV_SENT, .tag = tag, .count = good});
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

struct bed {
	struct rfl_clock clock;
	struct rfl_conf conf;
	struct rfl_stream_conf stream, checkpoint, sides;
	struct rfl_function_conf function;
	struct rfl_input_conf input;
	struct rfl_output_conf output;
	struct rfl_processor_conf processor;
	struct rfl_instance *broker, *callee, *destinations[3];
	struct rfl_worker worker;
	struct rfl_processor *p;
};

/* What a window that fails, and a late record, come to: of the processors that start from here on. */
static struct rfl_on_error_conf on_error;
static enum rfl_late_action late;

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
	has_checkpoint = gives_metadata = sink_is_full = 0;
	checkpoint_end = checkpoint_readable = 0;
	memset(refused, 0, sizeof refused);
	refused_aside = NULL;
	refused_flags = 0;
	has_sides = on_error.then == RFL_ON_ERROR_DEAD_LETTER || late == RFL_LATE_STREAM;
	record_times = NULL;
	now = &b->clock;
	rfl_clock_init_manual(&b->clock, 1000000);
	b->conf.runtime.namespace = word_default;
	b->conf.runtime.memory_bytes = 1 << 24;
	b->stream = (struct rfl_stream_conf){
		.name = word_x, .stream = {.topic = "x", .content_type = "text/plain"}};
	b->checkpoint = (struct rfl_stream_conf){
		.name = word_default, .stream = {.topic = "c", .content_type = "text/plain"}};
	b->sides = (struct rfl_stream_conf){
		.name = word_default, .stream = {.topic = "s", .content_type = "text/plain"}};
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
		.max_records = 10,
		.on_error = on_error,
		.late = late,
		.late_stream = late == RFL_LATE_STREAM ? &b->sides : NULL};
	if (on_error.then == RFL_ON_ERROR_DEAD_LETTER)
		b->processor.on_error.dead_letter = &b->sides;
	assert_int_equal(rfl_instance_create(
				 &provider, &config, &b->clock, RFL_GUARD_NORMAL, &b->broker, &err),
		0);
	assert_int_equal(rfl_instance_create(
				 &invoker, &config, &b->clock, RFL_GUARD_NORMAL, &b->callee, &err),
		0);
	assert_int_equal(rfl_worker_init(&b->worker, 0, "me", &b->clock, -1), 0);
	for (size_t i = 0; i < RFL_COUNT(b->destinations); i++)
		b->destinations[i] = b->broker;
	const struct rfl_processor_setup setup = {.conf = &b->conf,
		.processor = &b->processor,
		.clock = &b->clock,
		.instance = "me",
		.function = b->callee,
		.input_providers = &b->broker,
		.destination_providers = b->destinations};
	b->p = rfl_processor_create(&setup, &b->worker);
	rfl_worker_add(&b->worker, b->p);
}

static inline void
start(struct bed *b, enum rfl_guarantee guarantee)
{
	const struct rfl_window_conf none = {.kind = RFL_WINDOW_NONE, .canonical = canonical};
	start_with(b, guarantee, &none);
}

static void
settle(struct bed *b)
{
	turn_until_still(&b->worker);
}

static inline void
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

#endif
