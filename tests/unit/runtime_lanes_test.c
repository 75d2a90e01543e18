/* Lanes that are taken away: what becomes of their tasks, and of those that come back. */
#include "runtime_bed.h"

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

/* Its function does not let go of the first lane of partition 1, and the second is there already. */
static void
test_a_partition_that_comes_back_early_keeps_its_task(void **state)
{
	(void)state;
	struct bed b;
	const struct riffle_error err = {.code = RIFFLE_E_CANCELLED};
	start(&b, RFL_AT_LEAST_ONCE);
	hang = 2;
	log_end[1] = 1;
	settle(&b);
	lane_event(RIFFLE_EV_LOST, 1);
	settle(&b);
	assert_true(lane_started[1]);
	lanes[2] = (struct riffle_lane){
		.size = sizeof lanes[2], .lane = 2, .committed = {.partition = 1}};
	queue(0, (struct riffle_event){.type = RIFFLE_EV_ASSIGNED,
			 .lanes = &lanes[2],
			 .lane_count = 1,
			 .lane_size = sizeof lanes[0]});
	settle(&b);
	assert_true(lane_started[2]);
	/* The tasks are in another order then. */
	lane_event(RIFFLE_EV_LOST, 0);
	settle(&b);
	assert_true(lane_started[1] && lane_started[2] && !lane_started[0]);
	hang = 0;
	deaf->events->done(deaf->data, RIFFLE_E_CANCELLED, &err);
	settle(&b);
	assert_true(lane_started[2] && !lane_started[1]);
	log_end[2] = 1;
	settle(&b);
	assert_int_equal(committed[1], 1);
	finish(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_revoked_lane_is_given_back),
		cmocka_unit_test(test_outputs_of_a_revoked_task_are_not_committed),
		cmocka_unit_test(test_a_task_whose_lane_comes_back_goes_on),
		cmocka_unit_test(test_a_task_that_another_went_on_with_is_made_anew),
		cmocka_unit_test(test_a_task_whose_lane_was_lost_is_made_anew),
		cmocka_unit_test(test_tasks_set_aside_keep_to_the_memory_of_one),
		cmocka_unit_test(test_a_partition_that_comes_back_early_keeps_its_task),
	};
	return RUN("runtime_lanes", tests);
}
