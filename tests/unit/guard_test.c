/* The guard before a provider: each way in which one breaks the contract, by the words in which it is told. */
#include "guard_bed.h"

/* A provider that does as it is told here. */
static int fd;
static struct riffle_event rude_event;

static void
start_plugin(void)
{
	fd = 0;
	rude_event = (struct riffle_event){.size = sizeof rude_event};
}

static int
r_source_open(
	void *self, const struct riffle_source_spec *spec, void **ret, struct riffle_error *err)
{
	(void)self, (void)spec, (void)err;
	*ret = made ? &made : NULL;
	return rc;
}

static int
r_fd(void *any)
{
	(void)any;
	return fd;
}

static int
r_poll(void *any, struct riffle_event *ev)
{
	(void)any;
	if (rc == 1)
		*ev = rude_event;
	return rc;
}

static int
r_lanes(void *any, const uint32_t *lanes, const struct riffle_position *from, uint32_t count,
	struct riffle_error *err)
{
	(void)any, (void)lanes, (void)from, (void)count, (void)err;
	return rc;
}

static int
r_release(void *any, const uint32_t *lanes, uint32_t count, struct riffle_error *err)
{
	(void)any, (void)lanes, (void)count, (void)err;
	return rc;
}

static int
r_commit(void *any, const struct riffle_position *at, uint32_t count, uint64_t tag,
	struct riffle_error *err)
{
	(void)any, (void)at, (void)count, (void)tag, (void)err;
	return rc;
}

static int
r_lane_poll(void *any, uint32_t lane, uint32_t most, size_t bytes, struct riffle_batch **ret,
	struct riffle_error *err)
{
	(void)any, (void)lane, (void)most, (void)bytes, (void)err;
	*ret = rude_batch;
	return rc;
}

static int
r_lane_state(void *any, uint32_t lane, struct riffle_lane_state *ret)
{
	(void)any, (void)lane, (void)ret;
	return rc;
}

static int
r_sink_open(void *self, const struct riffle_sink_spec *spec, void **ret, struct riffle_error *err)
{
	(void)self, (void)spec, (void)err;
	*ret = made ? &made : NULL;
	return rc;
}

static int
r_send(void *any, struct riffle_batch *b, uint32_t first, uint32_t count, uint64_t tag,
	struct riffle_error *err)
{
	(void)any, (void)first, (void)count, (void)tag, (void)err;
	pushed = b;
	return rc;
}

static int
r_txn_open(void *self, const struct riffle_txn_spec *spec, void **ret, struct riffle_error *err)
{
	(void)self, (void)spec, (void)err;
	*ret = &made;
	return 0;
}

static int
r_txn_begin(void *txn, struct riffle_error *err)
{
	(void)txn, (void)err;
	return rc;
}

static int
r_txn_abort(void *txn, uint64_t tag, struct riffle_error *err)
{
	(void)txn, (void)tag, (void)err;
	return rc;
}

static const struct riffle_transactions transactions = {.size = sizeof transactions,
	.open = r_txn_open,
	.begin = r_txn_begin,
	.commit = r_commit,
	.abort = r_txn_abort,
	.destroy = r_destroy};

static const void *
r_extension(void *self, const char *id)
{
	(void)self;
	return strcmp(id, RIFFLE_EXT_TRANSACTIONS) == 0 ? &transactions : NULL;
}

static struct rfl_plugin provider = {.kind = RIFFLE_KIND_PROVIDER,
	.name = rude_name,
	.version = rude_version,
	.capabilities = UINT64_MAX,
	.ops.provider = {.destroy = r_destroy,
		.capabilities = r_capabilities,
		.extension = r_extension,
		.source_open = r_source_open,
		.source_fd = r_fd,
		.source_poll = r_poll,
		.source_start = r_lanes,
		.source_rewind = r_lanes,
		.source_release = r_release,
		.source_commit = r_commit,
		.lane_poll = r_lane_poll,
		.lane_state = r_lane_state,
		.source_close = r_destroy,
		.source_destroy = r_destroy,
		.sink_open = r_sink_open,
		.sink_fd = r_fd,
		.sink_poll = r_poll,
		.sink_send = r_send,
		.sink_close = r_destroy,
		.sink_destroy = r_destroy}};

static void
open_source(struct bed *b)
{
	const struct riffle_source_spec spec = {
		.size = sizeof spec, .stream_count = 1, .group = "g"};
	assert_int_equal(b->ops->source_open(b->guard, &spec, &b->source, &b->err), 0);
}

static void
open_sink(struct bed *b)
{
	const struct riffle_sink_spec spec = {.size = sizeof spec};
	assert_int_equal(b->ops->sink_open(b->guard, &spec, &b->sink, &b->err), 0);
}

static int
source_event(struct bed *b, struct riffle_event ev)
{
	struct riffle_event got = {.size = sizeof got};
	rude_event = ev;
	rude_event.size = sizeof ev;
	rc = 1;
	int n = b->ops->source_poll(b->source, &got);
	rc = 0;
	return n ? (int)got.type : -1;
}

static int
sink_event(struct bed *b, struct riffle_event ev)
{
	struct riffle_event got = {.size = sizeof got};
	rude_event = ev;
	rude_event.size = sizeof ev;
	rc = 1;
	int n = b->ops->sink_poll(b->sink, &got);
	rc = 0;
	return n ? (int)got.type : -1;
}

static struct riffle_lane lane3 = {.size = sizeof lane3, .lane = 3, .committed = {.partition = 1}};

static struct riffle_event
lane_event(uint32_t type, const struct riffle_lane *lane)
{
	return (struct riffle_event){
		.type = type, .lanes = lane, .lane_count = 1, .lane_size = sizeof *lane};
}

static void
assigned(struct bed *b)
{
	const uint32_t id = 3;
	const struct riffle_position from = {.partition = 1};
	setup(b, &provider, RFL_GUARD_NORMAL);
	open_source(b);
	assert_int_equal(
		source_event(b, lane_event(RIFFLE_EV_ASSIGNED, &lane3)), RIFFLE_EV_ASSIGNED);
	assert_int_equal(b->ops->source_start(b->source, &id, &from, 1, &b->err), 0);
}

/* What is still open of a sound or of a quarantined provider is closed in order. */
static void
finish(struct bed *b)
{
	struct riffle_event ev = {.size = sizeof ev};
	int quarantined = rfl_guard_is_quarantined(b->guard, NULL);
	uint64_t before = rude_called;
	rude_event = (struct riffle_event){.type = RIFFLE_EV_CLOSED};
	if (b->source != NULL) {
		b->ops->source_close(b->source);
		rc = 1;
		for (int i = 0; i < 3 && ev.type != RIFFLE_EV_CLOSED; i++)
			assert_int_equal(b->ops->source_poll(b->source, &ev), 1);
		assert_int_equal(ev.type, RIFFLE_EV_CLOSED);
		b->ops->source_destroy(b->source);
	}
	ev.type = 0;
	if (b->sink != NULL) {
		b->ops->sink_close(b->sink);
		rc = 1;
		for (int i = 0; i < 3 && ev.type != RIFFLE_EV_CLOSED; i++)
			assert_int_equal(b->ops->sink_poll(b->sink, &ev), 1);
		assert_int_equal(ev.type, RIFFLE_EV_CLOSED);
		b->ops->sink_destroy(b->sink);
	}
	if (quarantined)
		assert_int_equal(rude_called, before);
	rfl_guard_destroy(b->guard);
}

static void
test_statuses(void **state)
{
	(void)state;
	struct bed b;
	uint32_t id = 3;
	struct riffle_position at = {.partition = 1};
	assigned(&b);
	rc = -77;
	assert_int_equal(b.ops->source_rewind(b.source, &id, &at, 1, &b.err), RIFFLE_E_FATAL);
	assert_fault(&b, "source_rewind returned -77, which is not a status [G01]");
	assert_int_equal(b.err.code, RIFFLE_E_FATAL);
	finish(&b);

	/* A known code is an answer like any other, and gets words where the plugin had none. */
	assigned(&b);
	rc = RIFFLE_E_UNAVAILABLE;
	b.err.text[0] = '\0';
	assert_int_equal(b.ops->source_commit(b.source, &at, 1, 1, &b.err), RIFFLE_E_UNAVAILABLE);
	assert_string_equal(b.err.text, "source_commit failed and did not say why: unavailable");
	assert_false(rfl_guard_is_quarantined(b.guard, NULL));
	finish(&b);

	setup(&b, &provider, RFL_GUARD_NORMAL);
	made = 0;
	const struct riffle_source_spec spec = {.size = sizeof spec, .stream_count = 1};
	assert_int_equal(b.ops->source_open(b.guard, &spec, &b.source, &b.err), RIFFLE_E_FATAL);
	assert_fault(&b, "source_open said OK and made nothing [G02]");
	b.source = NULL;
	finish(&b);

	setup(&b, &provider, RFL_GUARD_NORMAL);
	fd = -1;
	assert_int_equal(b.ops->source_open(b.guard, &spec, &b.source, &b.err), RIFFLE_E_FATAL);
	assert_fault(&b, "source_fd returned -1 [G02]");
	b.source = NULL;
	finish(&b);
}

static void
test_lanes(void **state)
{
	(void)state;
	struct bed b;
	struct riffle_lane far = lane3, early = lane3, fat = lane3;
	far.lane = early.lane = fat.lane = 4;
	far.committed.stream = 1;
	early.committed.offset = RIFFLE_OFFSET_NONE;
	fat.committed.metadata = (struct riffle_bytes){"x", 4097};
	const struct {
		struct riffle_event ev;
		const char *fault;
	} cases[] = {
		{lane_event(RIFFLE_EV_ASSIGNED, &lane3),
			"source_poll gave event 1 for lane 3: it is assigned already [G03]"},
		{lane_event(RIFFLE_EV_ASSIGNED, &far), "source_poll gave event 1 for lane 4: its "
						       "stream or partition is out of range [G03]"},
		{lane_event(RIFFLE_EV_ASSIGNED, &early),
			"source_poll gave event 1 for lane 4: its position is not resolved [G03]"},
		{lane_event(RIFFLE_EV_ASSIGNED, &fat),
			"source_poll gave event 1 for lane 4: its metadata cannot be [G03]"},
		{lane_event(RIFFLE_EV_REVOKED, &far),
			"source_poll gave event 2 for lane 4: it was never assigned [G03]"},
		{lane_event(RIFFLE_EV_RELEASED, &lane3),
			"source_poll gave event 4 for lane 3: its release was not asked for [G03]"},
		{{.type = RIFFLE_EV_LOST, .lane_count = 1, .lanes = &lane3, .lane_size = 8},
			"source_poll gave event 3 with 1 lanes of 8 bytes [G03]"},
		{{.type = 99}, "source_poll gave an event of type 99 [G03]"},
		{{.type = RIFFLE_EV_COMMITTED, .tag = 5},
			"source_poll said COMMITTED for tag 5, which is not the next commit [G06]"},
		{{.type = RIFFLE_EV_CLOSED},
			"source_poll said CLOSED before it was asked to close [G06]"},
		{{.type = RIFFLE_EV_ERROR, .status = 4},
			"source_poll gave an ERROR with status 4 [G01]"},
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		assigned(&b);
		/* In its place the core sees an error that ends the source. */
		assert_int_equal(source_event(&b, cases[i].ev), RIFFLE_EV_ERROR);
		assert_fault(&b, cases[i].fault);
		assert_int_equal(source_event(&b, cases[i].ev), -1);
		finish(&b);
	}
}

static void
test_commits_are_answered_once_and_in_order(void **state)
{
	(void)state;
	struct bed b;
	const struct riffle_position at = {.partition = 1};
	assigned(&b);
	assert_int_equal(b.ops->source_commit(b.source, &at, 1, 7, &b.err), 0);
	assert_int_equal(b.ops->source_commit(b.source, &at, 1, 8, &b.err), 0);
	struct riffle_event ev = {.type = RIFFLE_EV_COMMITTED, .tag = 7};
	assert_int_equal(source_event(&b, ev), RIFFLE_EV_COMMITTED);
	assert_int_equal(source_event(&b, ev), RIFFLE_EV_ERROR);
	assert_fault(
		&b, "source_poll said COMMITTED for tag 7, which is not the next commit [G06]");
	finish(&b);
}

static void
poll_spoiled(struct bed *b, const char *fault)
{
	struct riffle_batch *got = NULL;
	rc = 1;
	assert_int_equal(b->ops->lane_poll(b->source, 3, 2, 100, &got, &b->err), RIFFLE_E_FATAL);
	assert_null(got);
	assert_fault(b, fault);
	finish(b);
	assigned(b);
	sound_batch();
}

static void
test_batches(void **state)
{
	(void)state;
	struct bed b;
	struct riffle_batch *got = NULL;
	assigned(&b);
	sound_batch();
	rc = 1;
	assert_int_equal(b.ops->lane_poll(b.source, 3, 2, 100, &got, &b.err), 1);
	assert_ptr_equal(got, &batch);

	rude_batch = NULL;
	poll_spoiled(&b, "lane_poll gave no batch [G05]");
	batch.size = 8;
	poll_spoiled(&b, "lane_poll gave a batch whose size is too small [G05]");
	batch.release = NULL;
	poll_spoiled(&b, "lane_poll gave a batch without release [G05]");
	batch.record_count = 0;
	poll_spoiled(&b, "lane_poll gave a batch without records [G05]");
	batch.record_size = 24;
	poll_spoiled(&b, "lane_poll gave a batch whose record_size cannot be [G05]");
	batch.headers = NULL;
	poll_spoiled(&b, "lane_poll gave a batch whose headers are NULL [G05]");
	batch.content_types = NULL;
	poll_spoiled(&b, "lane_poll gave a batch whose content_types are NULL [G05]");
	header.name.ptr = NULL;
	poll_spoiled(&b, "lane_poll gave a batch with a header that cannot be [G05]");
	header.name.ptr = "n";
	batch.record_count = 3;
	poll_spoiled(&b, "lane_poll gave 3 records, at most 2 were asked [G05]");
	records[1].stream = 1;
	poll_spoiled(
		&b, "lane_poll gave record 1 of 2 (offset 1) with a stream out of range [G05]");
	records[1].partition = 0;
	poll_spoiled(&b, "lane_poll gave record 1 of 2 (offset 1) of another partition than its "
			 "lane's [G05]");
	records[0].header_first = 1;
	poll_spoiled(&b, "lane_poll gave record 0 of 2 (offset 0) with headers out of range [G05]");
	records[0].header_count = UINT32_MAX;
	poll_spoiled(&b, "lane_poll gave record 0 of 2 (offset 0) with headers out of range [G05]");
	records[0].content_type = 2;
	poll_spoiled(&b,
		"lane_poll gave record 0 of 2 (offset 0) with a content type out of range [G05]");
	types[1] = NULL;
	poll_spoiled(&b,
		"lane_poll gave record 0 of 2 (offset 0) with a content type out of range [G05]");
	types[1] = "text/plain";
	records[0].value.len = (size_t)-1;
	poll_spoiled(
		&b, "lane_poll gave record 0 of 2 (offset 0) with a length that cannot be [G05]");
	records[0].key.ptr = NULL;
	poll_spoiled(
		&b, "lane_poll gave record 0 of 2 (offset 0) with a length that cannot be [G05]");
	records[1].offset = 0;
	poll_spoiled(&b, "lane_poll gave record 1 of 2 (offset 0) whose offset is not above the "
			 "one before [G05]");
	rc = 2;
	assert_int_equal(b.ops->lane_poll(b.source, 3, 2, 100, &got, &b.err), RIFFLE_E_FATAL);
	assert_fault(&b, "lane_poll took 2, 1 were offered [G04]");
	finish(&b);
}

static void
test_sinks(void **state)
{
	(void)state;
	struct bed b;
	sound_batch();
	setup(&b, &provider, RFL_GUARD_NORMAL);
	open_sink(&b);
	rc = 2;
	assert_int_equal(b.ops->sink_send(b.sink, &batch, 0, 2, 1, &b.err), 2);
	assert_int_equal(
		sink_event(&b, (struct riffle_event){.type = RIFFLE_EV_SENT, .tag = 1, .count = 1}),
		RIFFLE_EV_SENT);
	assert_int_equal(
		sink_event(&b, (struct riffle_event){.type = RIFFLE_EV_SENT, .tag = 1, .count = 2}),
		RIFFLE_EV_ERROR);
	assert_fault(&b, "sink_poll gave a status for 2 records with tag 1, which answers nothing "
			 "that was sent [G06]");
	finish(&b);

	setup(&b, &provider, RFL_GUARD_NORMAL);
	open_sink(&b);
	rc = 3;
	assert_int_equal(b.ops->sink_send(b.sink, &batch, 0, 2, 1, &b.err), RIFFLE_E_FATAL);
	assert_fault(&b, "sink_send took 3, 2 were offered [G04]");
	finish(&b);
}

static void
test_transactions(void **state)
{
	(void)state;
	struct bed b;
	const struct {
		struct riffle_event ev;
		const char *fault;
	} cases[] = {
		{{.type = RIFFLE_EV_TXN, .tag = 1, .status = 1},
			"sink_poll gave the result of a transaction (tag 1) that does not end "
			"[G06]"},
		{{.type = RIFFLE_EV_TXN, .tag = 9, .status = 0},
			"sink_poll gave the result 0 of a transaction [G01]"},
		{{.type = RIFFLE_EV_TXN_READY},
			"sink_poll said TXN_READY, which nothing asked [G06]"},
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		setup(&b, &provider, RFL_GUARD_NORMAL);
		open_sink(&b);
		const struct riffle_transactions *t = rfl_guard_transactions(b.guard);
		const struct riffle_txn_spec spec = {
			.size = sizeof spec, .sink = b.sink, .id = "x"};
		assert_int_equal(t->open(b.guard, &spec, &b.txn, &b.err), 0);
		assert_int_equal(sink_event(&b, (struct riffle_event){.type = RIFFLE_EV_TXN_READY}),
			RIFFLE_EV_TXN_READY);
		assert_int_equal(t->begin(b.txn, &b.err), 0);
		assert_int_equal(t->commit(b.txn, NULL, 0, 9, &b.err), 0);
		assert_int_equal(sink_event(&b, cases[i].ev), RIFFLE_EV_ERROR);
		assert_fault(&b, cases[i].fault);
		assert_int_equal(t->begin(b.txn, &b.err), RIFFLE_E_FATAL);
		t->destroy(b.txn);
		finish(&b);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_statuses),
		cmocka_unit_test(test_lanes),
		cmocka_unit_test(test_commits_are_answered_once_and_in_order),
		cmocka_unit_test(test_batches),
		cmocka_unit_test(test_sinks),
		cmocka_unit_test(test_transactions),
	};
	return RUN("guard", tests);
}
