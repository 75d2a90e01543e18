/*
 * Transactions of the Kafka provider, through its own object file: how each thing that can go wrong with one ends.
 *
 * Fencing:
 *   old generation, still a member       what_a_broker_holds_against_a_member_aborts (the broker's answer),
 *                                        nothing_is_committed_between_two_assignments (before it is asked)
 *   member that left, group alive        same two, and a_member_that_left_commits_nothing
 *   member that left, group empty        a_member_that_left_commits_nothing
 *   partition owned by the other member  nothing_is_committed_of_a_partition_that_another_has
 *   metadata with the group's id only    without_a_generation_nothing_is_committed
 *   static member replaced               a_member_that_is_replaced_commits_nothing_and_says_so
 *   transactional.id taken               an_id_that_another_took_leaves_nothing, in each phase;
 *                                        a_fence_at_the_end_is_not_known (offsets sent)
 *   pending transaction of predecessor   what_a_predecessor_left_open_is_aborted
 *
 * Trouble in the middle of one (with a broker that is stopped and killed: tests/e2e/kafka_txn_test.py):
 *   retriable                            what_passes_is_waited_for, a_coordinator_that_moves_is_followed
 *   expired by its time-out              a_transaction_that_expired_is_finished_by_a_new_producer
 *   metadata over 4096                   metadata_that_is_too_long_is_refused_before_it_is_sent
 */
#include "kafka_bed.h"

#include <riffle/ext/transactions.h>

enum api {
	PRODUCE = 0,
	INIT_ID = 22,
	ADD_PARTITIONS = 24,
	ADD_OFFSETS = 25,
	END = 26,
	OFFSETS = 28
};

static const struct riffle_transactions *transactions;

/* A sink with transactions of that id, then a source of the bed's group bound to them, started. */
static void
open_txn(struct bed *b, const char *id)
{
	struct riffle_error err = {0};
	transactions = ops->extension(b->self, RIFFLE_EXT_TRANSACTIONS);
	open_sink(b);
	const struct riffle_txn_spec spec = {.size = sizeof spec, .sink = b->sink, .id = id};
	must(transactions->open(b->self, &spec, &b->txn, &err), &err);
	await_sink(b, RIFFLE_EV_TXN_READY);
	open_source(b, b->group, RIFFLE_START_EARLIEST, 0);
	start_all(b);
}

static void
close_txn(struct bed *b)
{
	if (b->source != NULL)
		close_source(b);
	transactions->destroy(b->txn);
	ops->sink_close(b->sink);
	await_sink(b, RIFFLE_EV_CLOSED);
	ops->sink_destroy(b->sink);
	b->sink = b->txn = NULL;
}

/* One record in partition 0. */
static void
put(struct bed *b, uint32_t number)
{
	struct riffle_error err = {0};
	struct riffle_batch *batch = numbers(number, 1, 0);
	assert_int_equal(ops->sink_send(b->sink, batch, 0, 1, 1, &err), 1);
	batch_unref(&host, batch);
}

static void
begin(struct bed *b)
{
	struct riffle_error err = {0};
	must(transactions->begin(b->txn, &err), &err);
}

/* What it came to; b->ev says why. */
static int
commit(struct bed *b, int32_t partition, int64_t offset, const char *metadata)
{
	struct riffle_error err = {0};
	const struct riffle_position at = {.partition = partition,
		.offset = offset,
		.leader_epoch = -1,
		.metadata = bytes(metadata)};
	must(transactions->commit(b->txn, &at, 1, 5, &err), &err);
	await_sink(b, RIFFLE_EV_TXN);
	assert_int_equal(b->ev.tag, 5);
	return b->ev.status;
}

static int
put_and_commit(struct bed *b, uint32_t number, int64_t offset)
{
	begin(b);
	put(b, number);
	return commit(b, 0, offset, NULL);
}

/* Of partition 0, whether what lies before it is decided or not. */
static int64_t
end_of_log(const struct bed *b)
{
	static const char *const settings[] = {
		"group.id", "looker", "isolation.level", "read_uncommitted", NULL};
	int64_t low, high;
	rd_kafka_t *rk = other(RD_KAFKA_CONSUMER, settings);
	assert_int_equal(rd_kafka_query_watermark_offsets(rk, b->topic, 0, &low, &high, 10000),
		RD_KAFKA_RESP_ERR_NO_ERROR);
	rd_kafka_destroy(rk);
	return high;
}

/* Who reads partition 0 later sees these numbers, and no others. */
static void
assert_visible(const struct bed *b, const char *wanted)
{
	static const char *const settings[] = {"group.id", "reader", "isolation.level",
		"read_committed", "enable.partition.eof", "true", "fetch.wait.max.ms", "10", NULL};
	char seen[256] = "";
	rd_kafka_t *rk = other(RD_KAFKA_CONSUMER, settings);
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
	rd_kafka_topic_partition_list_add(list, b->topic, 0)->offset = 0;
	rd_kafka_assign(rk, list);
	rd_kafka_topic_partition_list_destroy(list);
	int64_t last = end_of_log(b), end = now_ns(NULL) + SOON_NS;
	int is_through = 0;
	while (!is_through && now_ns(NULL) < end) {
		rd_kafka_message_t *m = rd_kafka_consumer_poll(rk, 1000);
		if (m == NULL)
			continue;
		if (m->err == RD_KAFKA_RESP_ERR__PARTITION_EOF)
			is_through = m->offset >= last;
		else if (m->err == RD_KAFKA_RESP_ERR_NO_ERROR)
			snprintf(seen + strlen(seen), sizeof seen - strlen(seen), "%.*s ",
				(int)m->len, (const char *)m->payload);
		rd_kafka_message_destroy(m);
	}
	rd_kafka_destroy(rk);
	assert_true(is_through);
	assert_string_equal(seen, wanted);
}

/* What the group has for partition 0, as a reader of stable positions sees it. */
static int64_t
committed(const struct bed *b)
{
	const char *const settings[] = {"group.id", b->group, NULL};
	rd_kafka_t *rk = other(RD_KAFKA_CONSUMER, settings);
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
	rd_kafka_topic_partition_list_add(list, b->topic, 0);
	assert_int_equal(rd_kafka_committed(rk, list, 10000), RD_KAFKA_RESP_ERR_NO_ERROR);
	int64_t offset = list->elems[0].offset;
	rd_kafka_topic_partition_list_destroy(list);
	rd_kafka_destroy(rk);
	return offset;
}

/* Members join a group of the mock cluster in seconds, so its tests share one. */
static struct bed shared;

static int
start_shared(void **state)
{
	start_mock(state);
	if (mock == NULL)
		return 0;
	open_bed(&shared, 1);
	open_txn(&shared, shared.topic);
	return 0;
}

static int
stop_shared(void **state)
{
	if (mock != NULL) {
		close_txn(&shared);
		close_bed(&shared);
	}
	return stop_mock(state);
}

static void
what_a_broker_holds_against_a_member_aborts(void **state)
{
	static const struct row {
		rd_kafka_resp_err_t said;
		int code;
	} rows[] = {
		{RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION, RIFFLE_E_UNAVAILABLE},
		{RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID, RIFFLE_E_UNAVAILABLE},
		{RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID, RIFFLE_E_FENCED},
	};
	struct bed *b = &shared;
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		rd_kafka_mock_push_request_errors(mock, OFFSETS, 1, rows[i].said);
		assert_int_equal(put_and_commit(b, 0, 1), RIFFLE_TXN_ABORTED);
		assert_int_equal(b->ev.error.code, rows[i].code);
		assert_true(b->ev.error.flags & RIFFLE_ERR_RETRIABLE);
		assert_int_equal(put_and_commit(b, 0, 1), RIFFLE_TXN_COMMITTED);
	}
}

static void
what_passes_is_waited_for(void **state)
{
	static const struct row {
		int16_t api;
		rd_kafka_resp_err_t said;
	} rows[] = {
		{ADD_PARTITIONS, RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS},
		{ADD_PARTITIONS, RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS},
		{ADD_OFFSETS, RD_KAFKA_RESP_ERR_NOT_COORDINATOR},
		{ADD_OFFSETS, RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE},
		{OFFSETS, RD_KAFKA_RESP_ERR_NOT_COORDINATOR},
		{OFFSETS, RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT},
		{END, RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE},
		{END, RD_KAFKA_RESP_ERR_NOT_COORDINATOR},
		{PRODUCE, RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS},
	};
	struct bed *b = &shared;
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		rd_kafka_mock_push_request_errors(mock, rows[i].api, 1, rows[i].said);
		if (put_and_commit(b, 0, 1) != RIFFLE_TXN_COMMITTED)
			fail_msg("%s: %d: %s", rd_kafka_err2name(rows[i].said), b->ev.status,
				b->ev.error.text);
	}
}

/* A6 */
static void
a_coordinator_that_moves_is_followed(void **state)
{
	struct bed *b = &shared;
	(void)state;
	for (int32_t i = 0; i < 3; i++) {
		begin(b);
		rd_kafka_mock_coordinator_set(mock, "transaction", b->topic, 1 + i);
		put(b, 0);
		rd_kafka_mock_coordinator_set(mock, "transaction", b->topic, 1 + (i + 1) % 3);
		assert_int_equal(commit(b, 0, 1, NULL), RIFFLE_TXN_COMMITTED);
	}
}

static void
a_fence_at_the_end_is_not_known(void **state)
{
	struct bed b;
	struct riffle_error err = {0};
	(void)state;
	open_bed(&b, 1);
	open_txn(&b, b.topic);
	rd_kafka_mock_push_request_errors(mock, END, 1, RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH);
	assert_int_equal(put_and_commit(&b, 0, 1), RIFFLE_TXN_UNKNOWN);
	assert_int_equal(b.ev.error.code, RIFFLE_E_FENCED);
	assert_true(transactions->begin(b.txn, &err) < 0);
	close_txn(&b);
	/* A new one with the same id settles it. Members do not come back to a group of the mock cluster. */
	snprintf(b.group, sizeof b.group, "%s.again", b.topic);
	open_txn(&b, b.topic);
	assert_int_equal(put_and_commit(&b, 0, 1), RIFFLE_TXN_COMMITTED);
	close_txn(&b);
	close_bed(&b);
}

static void
metadata_that_is_too_long_is_refused_before_it_is_sent(void **state)
{
	struct bed own, *b = real ? &own : &shared;
	struct riffle_error err = {0};
	char text[4098];
	(void)state;
	memset(text, 'm', sizeof text);
	text[4097] = '\0';
	if (real != NULL) {
		open_bed(b, 1);
		open_txn(b, b->topic);
	}
	begin(b);
	put(b, 1);
	const struct riffle_position at = {
		.offset = 1, .leader_epoch = -1, .metadata = bytes(text)};
	assert_int_equal(transactions->commit(b->txn, &at, 1, 4, &err), RIFFLE_E_INVAL);
	assert_non_null(strstr(err.text, "4097 bytes of metadata"));
	assert_int_equal(ops->source_commit(b->source, &at, 1, 4, &err), RIFFLE_E_INVAL);
	assert_non_null(strstr(err.text, "4097 bytes of metadata"));
	/* It is open as before. */
	text[4096] = '\0';
	assert_int_equal(commit(b, 0, 1, text), RIFFLE_TXN_COMMITTED);
	if (real == NULL)
		return;
	assert_visible(b, "1 ");
	close_txn(b);
	close_bed(b);
}

static void
nothing_is_committed_between_two_assignments(void **state)
{
	struct bed b;
	(void)state;
	property("heartbeat.interval.ms", "100");
	open_bed(&b, 2);
	open_txn(&b, b.topic);
	begin(&b);
	put(&b, 1);
	rd_kafka_t *second = join(&b, NULL);
	await_source(&b, RIFFLE_EV_REVOKED);
	assert_int_equal(commit(&b, 0, 1, NULL), RIFFLE_TXN_ABORTED);
	assert_int_equal(b.ev.error.code, RIFFLE_E_FENCED);
	assert_true(b.ev.error.flags & RIFFLE_ERR_RETRIABLE);
	/* First ours, for the other one is not in before. */
	close_txn(&b);
	rd_kafka_destroy(second);
	assert_visible(&b, "");
	assert_int_equal(committed(&b), 0);
	close_bed(&b);
}

/* Serves both members until each has its partition. */
struct both {
	struct bed *b;
	rd_kafka_t *second;
	int is_ours, is_theirs;
};

static int
both_have_some(void *ctx)
{
	struct both *w = ctx;
	struct riffle_event ev = {.size = sizeof ev};
	w->is_theirs |= has_partitions(w->second);
	if (ops->source_poll(w->b->source, &ev) > 0 && ev.type == RIFFLE_EV_ASSIGNED) {
		w->b->lane_count = ev.lane_count;
		w->b->lanes[0] = ev.lanes[0].lane;
		w->b->committed[0] = ev.lanes[0].committed.partition;
		w->is_ours = 1;
	}
	return w->is_ours && w->is_theirs;
}

static void
nothing_is_committed_of_a_partition_that_another_has(void **state)
{
	struct bed b;
	struct riffle_error err = {0};
	(void)state;
	property("heartbeat.interval.ms", "100");
	open_bed(&b, 2);
	open_txn(&b, b.topic);
	struct both w = {.b = &b, .second = join(&b, NULL)};
	await_source(&b, RIFFLE_EV_REVOKED);
	must(ops->source_release(b.source, b.lanes, 2, &err), &err);
	assert_true(eventually(both_have_some, &w));
	assert_int_equal(b.lane_count, 1);
	int32_t mine = (int32_t)b.committed[0];
	begin(&b);
	put(&b, 1);
	assert_int_equal(commit(&b, !mine, 1, NULL), RIFFLE_TXN_ABORTED);
	assert_int_equal(b.ev.error.code, RIFFLE_E_FENCED);
	begin(&b);
	put(&b, 2);
	assert_int_equal(commit(&b, mine, 1, NULL), RIFFLE_TXN_COMMITTED);
	assert_visible(&b, "2 ");
	rd_kafka_destroy(w.second);
	close_txn(&b);
	close_bed(&b);
}

struct lent {
	struct bed *b;
	struct riffle_batch *batch;
};

static int
some_is_lent(void *ctx)
{
	struct lent *l = ctx;
	struct riffle_event ev = {.size = sizeof ev};
	struct riffle_error err;
	ops->source_poll(l->b->source, &ev);
	return ops->lane_poll(l->b->source, l->b->lanes[0], 10, 1000, &l->batch, &err) > 0;
}

/* A transaction may hold it for long. */
static void
a_batch_that_is_out_holds_up_no_rebalance(void **state)
{
	struct bed b;
	struct riffle_error err = {0};
	struct lent lent = {.b = &b};
	(void)state;
	property("heartbeat.interval.ms", "100");
	open_bed(&b, 2);
	open_txn(&b, b.topic);
	uint32_t lane = b.lanes[0];
	assert_int_equal(put_and_commit(&b, 5, 0), RIFFLE_TXN_COMMITTED);
	assert_true(eventually(some_is_lent, &lent));
	lent.batch->host[0] = 1;
	struct both w = {.b = &b, .second = join(&b, NULL)};
	await_source(&b, RIFFLE_EV_REVOKED);
	must(ops->source_release(b.source, b.lanes, 2, &err), &err);
	assert_true(eventually(both_have_some, &w));
	assert_int_equal(lent.batch->record_count, 1);
	assert_memory_equal(riffle_batch_at(lent.batch, 0)->value.ptr, "5", 1);
	batch_unref(&host, lent.batch);
	await_source(&b, RIFFLE_EV_RELEASED);
	assert_int_equal(b.ev.lane_count, 1);
	assert_int_equal(b.ev.lanes[0].lane, lane);
	rd_kafka_destroy(w.second);
	close_txn(&b);
	close_bed(&b);
}

/* Also for one of an assignment before, which the group has had back for long. */
static void
closing_waits_for_a_batch_of_an_older_assignment(void **state)
{
	struct bed b;
	struct riffle_error err = {0};
	struct lent lent = {.b = &b};
	(void)state;
	property("heartbeat.interval.ms", "100");
	open_bed(&b, 2);
	open_txn(&b, b.topic);
	assert_int_equal(put_and_commit(&b, 5, 0), RIFFLE_TXN_COMMITTED);
	assert_true(eventually(some_is_lent, &lent));
	lent.batch->host[0] = 1;
	struct both w = {.b = &b, .second = join(&b, NULL)};
	await_source(&b, RIFFLE_EV_REVOKED);
	must(ops->source_release(b.source, b.lanes, 2, &err), &err);
	assert_true(eventually(both_have_some, &w));
	ops->source_close(b.source);
	for (int i = 0; i < 100; i++) {
		b.ev = (struct riffle_event){.size = sizeof b.ev};
		assert_int_equal(ops->source_poll(b.source, &b.ev), 0);
		poll(NULL, 0, 1);
	}
	assert_memory_equal(riffle_batch_at(lent.batch, 0)->value.ptr, "5", 1);
	batch_unref(&host, lent.batch);
	await_source(&b, RIFFLE_EV_CLOSED);
	ops->source_destroy(b.source);
	b.source = NULL;
	rd_kafka_destroy(w.second);
	close_txn(&b);
	close_bed(&b);
}

static void
a_member_that_left_commits_nothing(void **state)
{
	struct bed b;
	(void)state;
	for (int alive = 0; alive < 2; alive++) {
		open_bed(&b, 1);
		open_txn(&b, b.topic);
		begin(&b);
		put(&b, 1);
		close_source(&b);
		rd_kafka_t *second = alive ? join(&b, NULL) : NULL;
		if (alive)
			assert_true(eventually(has_partitions, second));
		assert_int_equal(commit(&b, 0, 1, NULL), RIFFLE_TXN_ABORTED);
		assert_int_equal(b.ev.error.code, RIFFLE_E_FENCED);
		close_txn(&b);
		assert_visible(&b, "");
		assert_int_equal(committed(&b), 0);
		if (alive)
			rd_kafka_destroy(second);
		close_bed(&b);
	}
}

static void
without_a_generation_nothing_is_committed(void **state)
{
	struct bed b;
	(void)state;
	open_bed(&b, 1);
	b.is_alone = 1;
	open_txn(&b, b.topic);
	assert_int_equal(put_and_commit(&b, 1, 1), RIFFLE_TXN_ABORTED);
	assert_int_equal(b.ev.error.code, RIFFLE_E_FENCED);
	assert_non_null(strstr(b.ev.error.text, "no generation"));
	if (real != NULL)
		assert_visible(&b, "");
	close_txn(&b);
	close_bed(&b);
}

static void
a_member_that_is_replaced_commits_nothing_and_says_so(void **state)
{
	struct bed b;
	(void)state;
	property("heartbeat.interval.ms", "100");
	open_bed(&b, 1);
	b.member = "one";
	open_txn(&b, b.topic);
	begin(&b);
	put(&b, 1);
	rd_kafka_t *second = join(&b, "one");
	assert_true(eventually(has_partitions, second));
	assert_int_equal(commit(&b, 0, 1, NULL), RIFFLE_TXN_ABORTED);
	assert_int_equal(b.ev.error.code, RIFFLE_E_FENCED);
	do
		await_source(&b, RIFFLE_EV_ERROR);
	while (b.ev.status != RIFFLE_E_FENCED);
	assert_non_null(strstr(b.ev.error.text, "another process has taken the place"));
	close_txn(&b);
	assert_visible(&b, "");
	assert_int_equal(committed(&b), 0);
	rd_kafka_destroy(second);
	close_bed(&b);
}

static rd_kafka_t *
take_id(const char *id)
{
	const char *const settings[] = {"transactional.id", id, NULL};
	rd_kafka_t *rk = other(RD_KAFKA_PRODUCER, settings);
	rd_kafka_error_t *error = rd_kafka_init_transactions(rk, 10000);
	assert_null(error);
	return rk;
}

static void
an_id_that_another_took_leaves_nothing(void **state)
{
	enum phase { NOT_BEGUN, NOTHING_SENT, PRODUCED, PHASES };
	struct bed b;
	struct riffle_error err = {0};
	(void)state;
	open_bed(&b, 1);
	for (enum phase at = NOT_BEGUN; at < PHASES; at++) {
		open_txn(&b, b.topic);
		if (at > NOT_BEGUN)
			begin(&b);
		if (at > NOTHING_SENT)
			put(&b, at);
		ops->sink_flush(b.sink);
		rd_kafka_t *second = take_id(b.topic);
		if (at == NOT_BEGUN)
			begin(&b);
		assert_int_equal(commit(&b, 0, 1, NULL), RIFFLE_TXN_UNKNOWN);
		assert_int_equal(b.ev.error.code, RIFFLE_E_FENCED);
		assert_true(transactions->begin(b.txn, &err) < 0);
		close_txn(&b);
		rd_kafka_destroy(second);
	}
	open_txn(&b, b.topic);
	assert_int_equal(b.committed[0], 0);
	assert_int_equal(put_and_commit(&b, 7, 1), RIFFLE_TXN_COMMITTED);
	assert_visible(&b, "7 ");
	assert_int_equal(committed(&b), 1);
	close_txn(&b);
	close_bed(&b);
}

static void
what_a_predecessor_left_open_is_aborted(void **state)
{
	struct bed b;
	(void)state;
	open_bed(&b, 1);
	char text[] = "1";
	rd_kafka_t *first = take_id(b.topic);
	assert_null(rd_kafka_begin_transaction(first));
	assert_int_equal(
		rd_kafka_producev(first, RD_KAFKA_V_TOPIC(b.topic), RD_KAFKA_V_PARTITION(0),
			RD_KAFKA_V_VALUE(text, 1), RD_KAFKA_V_END),
		RD_KAFKA_RESP_ERR_NO_ERROR);
	assert_int_equal(rd_kafka_flush(first, 10000), RD_KAFKA_RESP_ERR_NO_ERROR);
	int64_t begun_ns = now_ns(NULL);
	open_txn(&b, b.topic);
	/* Not when it expires, after a minute. */
	assert_true(now_ns(NULL) - begun_ns < SOON_NS);
	assert_int_equal(put_and_commit(&b, 2, 1), RIFFLE_TXN_COMMITTED);
	assert_visible(&b, "2 ");
	close_txn(&b);
	rd_kafka_destroy(first);
	close_bed(&b);
}

/* The end that is read is that of the log: nothing in it is undecided. */
static int
is_decided(void *ctx)
{
	struct bed *b = ctx;
	struct riffle_lane_state at = {.size = sizeof at};
	struct riffle_event ev = {.size = sizeof ev};
	struct riffle_batch *batch;
	struct riffle_error err;
	while (ops->source_poll(b->source, &ev) > 0)
		ev = (struct riffle_event){.size = sizeof ev};
	if (ops->lane_poll(b->source, b->lanes[0], 10, 1000, &batch, &err) > 0)
		fail_msg("what was not committed was read");
	assert_int_equal(ops->lane_state(b->source, b->lanes[0], &at), RIFFLE_OK);
	return at.position > 1;
}

static void
a_transaction_that_expired_is_finished_by_a_new_producer(void **state)
{
	struct bed b;
	struct riffle_error err = {0};
	(void)state;
	property("transaction.timeout.ms", "5000");
	open_bed(&b, 1);
	open_txn(&b, b.topic);
	begin(&b);
	put(&b, 1);
	assert_true(eventually(is_decided, &b));
	assert_int_equal(commit(&b, 0, 1, NULL), RIFFLE_TXN_UNKNOWN);
	assert_int_equal(b.ev.error.code, RIFFLE_E_FENCED);
	assert_true(transactions->begin(b.txn, &err) < 0);
	close_txn(&b);
	open_txn(&b, b.topic);
	assert_int_equal(b.committed[0], 0);
	assert_int_equal(put_and_commit(&b, 1, 1), RIFFLE_TXN_COMMITTED);
	assert_visible(&b, "1 ");
	close_txn(&b);
	close_bed(&b);
}

int
main(void)
{
	const struct CMUnitTest on_mock[] = {
		cmocka_unit_test(what_a_broker_holds_against_a_member_aborts),
		cmocka_unit_test(what_passes_is_waited_for),
		cmocka_unit_test(a_coordinator_that_moves_is_followed),
		cmocka_unit_test(a_fence_at_the_end_is_not_known),
		cmocka_unit_test(metadata_that_is_too_long_is_refused_before_it_is_sent),
		cmocka_unit_test(without_a_generation_nothing_is_committed),
	};
	const struct CMUnitTest on_real[] = {
		cmocka_unit_test(metadata_that_is_too_long_is_refused_before_it_is_sent),
		cmocka_unit_test(without_a_generation_nothing_is_committed),
		cmocka_unit_test(nothing_is_committed_between_two_assignments),
		cmocka_unit_test(nothing_is_committed_of_a_partition_that_another_has),
		cmocka_unit_test(a_batch_that_is_out_holds_up_no_rebalance),
		cmocka_unit_test(closing_waits_for_a_batch_of_an_older_assignment),
		cmocka_unit_test(a_member_that_left_commits_nothing),
		cmocka_unit_test(a_member_that_is_replaced_commits_nothing_and_says_so),
		cmocka_unit_test(an_id_that_another_took_leaves_nothing),
		cmocka_unit_test(what_a_predecessor_left_open_is_aborted),
		cmocka_unit_test(a_transaction_that_expired_is_finished_by_a_new_producer),
	};
	real = getenv("KAFKA_SERVERS");
	if (getenv("RIFFLE_ONLY") != NULL)
		cmocka_set_test_filter(getenv("RIFFLE_ONLY"));
	ops = load_plugin("plugins/kafka/.libs/kafka.so")->ops;
	return real ? cmocka_run_group_tests_name(
			      "transactions, real", on_real, start_shared, stop_shared)
		    : cmocka_run_group_tests_name(
			      "transactions, mock", on_mock, start_shared, stop_shared);
}
