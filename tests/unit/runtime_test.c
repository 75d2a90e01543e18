/* What a processor commits, and how it goes on when its provider or its function breaks. */
#include "runtime_bed.h"

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
test_without_partitions_it_says_what_is_wrong(void **state)
{
	(void)state;
	struct bed b;
	char why[300];
	start(&b, RFL_AT_LEAST_ONCE);
	settle(&b);
	const struct riffle_event away = {.type = RIFFLE_EV_ERROR,
		.status = RIFFLE_E_UNAVAILABLE,
		.error = {.code = RIFFLE_E_UNAVAILABLE, .text = "brokers are down"}};
	/* What passed while it had some says nothing about later. */
	queue(0, away);
	queue(0, (struct riffle_event){.type = RIFFLE_EV_REVOKED,
			 .lanes = lanes,
			 .lane_count = LANES,
			 .lane_size = sizeof lanes[0]});
	settle(&b);
	assert_int_equal(state_of(&b, why, sizeof why), RFL_STARTING);
	assert_string_equal(why, "waits for partitions");
	queue(0, away);
	settle(&b);
	assert_int_equal(state_of(&b, why, sizeof why), RFL_STARTING);
	assert_string_equal(why, "waits for partitions: brokers are down");
	queue(0, (struct riffle_event){.type = RIFFLE_EV_ASSIGNED,
			 .lanes = lanes,
			 .lane_count = LANES,
			 .lane_size = sizeof lanes[0]});
	settle(&b);
	assert_int_equal(state_of(&b, why, sizeof why), RFL_RUNNING);
	finish(&b);
}

static void
break_source(struct bed *b)
{
	queue(0, (struct riffle_event){.type = RIFFLE_EV_ERROR,
			 .status = RIFFLE_E_FATAL,
			 .error = {.code = RIFFLE_E_FATAL, .text = "gone"}});
	settle(b);
}

static void
test_what_breaks_at_once_is_opened_less_and_less_often(void **state)
{
	(void)state;
	struct bed b;
	start(&b, RFL_AT_LEAST_ONCE);
	settle(&b);
	for (int i = 0, least = 200; i < 4; i++, least *= 2) {
		break_source(&b);
		advance(&b, least - 1);
		assert_int_equal(opened, 1 + i);
		advance(&b, least + 1);
		assert_int_equal(opened, 2 + i);
	}
	/* It held for longer than it was waited for. */
	advance(&b, 3200);
	break_source(&b);
	advance(&b, 400);
	assert_int_equal(opened, 6);
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
		cmocka_unit_test(test_without_partitions_it_says_what_is_wrong),
		cmocka_unit_test(test_what_breaks_at_once_is_opened_less_and_less_often),
		cmocka_unit_test(test_who_is_replaced_stays_closed),
		cmocka_unit_test(test_a_broken_sink_is_opened_again),
		cmocka_unit_test(test_a_confused_provider_stops_its_processor),
		cmocka_unit_test(test_a_confused_invoker_loses_no_window),
	};
	return RUN("runtime", tests);
}
