/* A call of the grpc invoker as the host sees it: frames, order, replies, back-pressure. */
#include "grpc_bed.h"

static void
test_start_frame_and_metadata(void **state)
{
	(void)state;
	struct bed b;
	struct call c;
	struct riffle_error err;
	start(&b, shared.port);
	begin_shaped(&b, &c, "start", 2, 2);
	ops->call_read(c.call, 1 << 30);
	ops->call_end(c.call, &err);
	assert_true(eventually(is_done, &c));
	assert_string_equal(c.out, "text/plain,application/json|start,second|x,y|"
				   "riffle-window-start=1000|riffle-attempt=2|"
				   "riffle-window-key-bin=ff00|");
	end(&c);
	begin_shaped(&b, &c, "count", 1, 0);
	ops->call_read(c.call, 1 << 30);
	ops->call_end(c.call, &err);
	assert_true(eventually(is_done, &c));
	/* A name and a type that nobody reads stood in for the outputs; an answer there is refused. */
	assert_non_null(strstr(c.error.text, "on output 0, the call has 0"));
	end(&c);
	ops->destroy(b.self);
}

static void
test_frames_carry_input_type_and_headers(void **state)
{
	(void)state;
	struct bed b;
	struct call c;
	struct riffle_error err = {0};
	static const char *const types[] = {NULL, "text/csv"};
	static const struct riffle_header headers[] = {{{"n", 1}, {"v", 1}}, {{"e", 1}, {"", 0}}};
	static const struct riffle_record r[] = {
		{.value = {"one", 3}, .stream = 1, .header_first = 0, .header_count = 2},
		{.value = {"", 0}, .stream = 0, .content_type = 1}};
	struct riffle_batch batch;
	start(&b, shared.port);
	begin_shaped(&b, &c, "input", 2, 1);
	ops->call_read(c.call, 1 << 30);
	make_batch(&batch, r, 2);
	batch.headers = headers;
	batch.header_count = 2;
	batch.content_types = types;
	batch.content_type_count = 2;
	assert_int_equal(ops->call_push(c.call, &batch, 0, 2, &err), 2);
	ops->call_end(c.call, &err);
	assert_true(eventually(is_done, &c));
	assert_string_equal(
		c.out, "1 application/json one [('n', 'v'), ('e', '')]|0 text/csv  []|");
	end(&c);
	ops->destroy(b.self);
}

static void
test_what_no_frame_can_carry_fails_the_call(void **state)
{
	(void)state;
	static const struct riffle_header header = {{"h\xff", 2}, {"v", 1}};
	static const struct riffle_record bad[] = {
		{.value = {NULL, 0}, .offset = 5, .partition = 2},
		{.value = {"x", 1}, .offset = 6, .header_count = 1}};
	static const char *const says[] = {"offset 5 of partition 2 of input 0 has no value",
		"header \"h\\xff\" of the record at offset 6 is not UTF-8"};
	struct bed b;
	start(&b, shared.port);
	for (int i = 0; i < 2; i++) {
		struct call c;
		struct riffle_error err = {0};
		struct riffle_batch batch;
		begin(&b, &c, "echo");
		make_batch(&batch, &bad[i], 1);
		batch.headers = &header;
		batch.header_count = 1;
		assert_int_equal(ops->call_push(c.call, &batch, 0, 1, &err), RIFFLE_E_DATA);
		assert_non_null(strstr(err.text, says[i]));
		assert_true(eventually(is_done, &c));
		assert_int_equal(c.status, RIFFLE_E_DATA);
		assert_non_null(strstr(c.error.text, says[i]));
		end(&c);
	}
	ops->destroy(b.self);
}

/* Pushes count numbers, in batches of at most at_a_time, waiting for room, and ends. */
static void
push_numbers(struct call *c, uint32_t count, uint32_t at_a_time)
{
	struct riffle_error err = {0};
	char(*text)[12] = calloc(count, sizeof *text);
	struct riffle_record *r = calloc(count, sizeof *r);
	struct riffle_batch *batches = calloc(count / at_a_time + 1, sizeof *batches);
	for (uint32_t i = 0; i < count; i++) {
		snprintf(text[i], sizeof text[i], "%u", i);
		r[i] = (struct riffle_record){.value = bytes(text[i]), .offset = i};
	}
	uint32_t n = 0;
	for (uint32_t first = 0; first < count; first += at_a_time, n++) {
		uint32_t size = count - first < at_a_time ? count - first : at_a_time;
		make_batch(&batches[n], r + first, size);
		for (uint32_t at = 0; at < size;) {
			int took = ops->call_push(c->call, &batches[n], at, size - at, &err);
			assert_in_range(took, 0, size - at);
			at += (uint32_t)took;
			if (at < size)
				poll(NULL, 0, 1);
		}
	}
	ops->call_end(c->call, &err);
	assert_true(eventually(is_done, c));
	for (uint32_t i = 0; i < n; i++)
		assert_int_equal(batches[i].host[0], 1);
	free(text);
	free(r);
	free(batches);
}

static void
test_records_come_back_in_order(void **state)
{
	(void)state;
	static const uint32_t sizes[] = {1, 7, 1000, 4000};
	for (int one_per_record = 0; one_per_record < 2; one_per_record++) {
		for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
			struct bed b;
			struct call c;
			uint32_t count = i == 0 ? 300 : 4000;
			make_bed(&b, shared.port);
			option(b.values, "replies")->u.i = one_per_record;
			option(b.values, "in-flight")->u.i = 1 + 100 * (i > 0);
			open_bed(&b);
			begin(&b, &c, "echo");
			c.quick = 1;
			ops->call_read(c.call, 1 << 16);
			push_numbers(&c, count, sizes[i]);
			if (c.status != RIFFLE_OK)
				fail_msg("%s", c.error.text);
			assert_int_equal(c.records, count);
			assert_int_equal(c.wrong, -1);
			assert_int_equal(c.replied, one_per_record ? count : 0);
			end(&c);
			ops->destroy(b.self);
		}
	}
}

/* The end comes after the last reply, so a server that stops at the end has lost nothing. */
static void
test_one_reply_per_record_is_held_to(void **state)
{
	(void)state;
	struct bed b;
	static const struct row rows[] = {
		{"echo", "echo", "a|b|c|", RIFFLE_OK, 0, ""},
		{"short", "stop-2", "a|b|", RIFFLE_E_DATA, AGAIN,
			"ended with OK after 2 replies to 3 records"},
		{"long", "twice", "", RIFFLE_E_DATA, 0, "more than one reply per record"},
	};
	make_bed(&b, shared.port);
	option(b.values, "replies")->u.i = 1;
	open_bed(&b);
	for (size_t i = 0; i < 2; i++)
		expect(&b, &rows[i]);
	struct call c;
	play(&b, &c, "twice");
	assert_int_equal(c.status, RIFFLE_E_DATA);
	assert_non_null(strstr(c.error.text, "more than one reply per record"));
	end(&c);
	ops->destroy(b.self);
	/* It ends when it has replied to all it was sent, and there was more to send. */
	option(b.values, "in-flight")->u.i = 1;
	open_bed(&b);
	play(&b, &c, "stop-1");
	assert_int_equal(c.status, RIFFLE_E_DATA);
	assert_int_equal(c.error.flags, AGAIN);
	assert_non_null(strstr(c.error.text, "before the last record"));
	end(&c);
	/* It ends while the window is open. */
	begin(&b, &c, "stop-1");
	ops->call_read(c.call, 1 << 20);
	struct riffle_batch only;
	struct riffle_error none = {0};
	make_batch(&only, abc, 1);
	assert_int_equal(ops->call_push(c.call, &only, 0, 1, &none), 1);
	assert_true(eventually(is_done, &c));
	assert_int_equal(c.status, RIFFLE_E_DATA);
	assert_non_null(
		strstr(c.error.text, "after 1 replies to 1 records, before the last record"));
	end(&c);
	/* What waits for replies does not wait for the end: a function that replies at the end never ends. */
	begin(&b, &c, "late");
	ops->call_read(c.call, 1 << 20);
	struct riffle_batch batch;
	struct riffle_error err = {0};
	make_batch(&batch, abc, 3);
	assert_int_equal(ops->call_push(c.call, &batch, 0, 3, &err), 3);
	ops->call_end(c.call, &err);
	poll(NULL, 0, 50);
	assert_false(is_done(&c));
	ops->call_cancel(c.call, RIFFLE_E_TIMEOUT);
	end(&c);
	ops->destroy(b.self);
}

static void
test_min_replies(void **state)
{
	(void)state;
	struct bed b;
	struct call c;
	make_bed(&b, shared.port);
	option(b.values, "min-replies")->u.i = 3;
	open_bed(&b);
	play(&b, &c, "stop-2");
	assert_int_equal(c.status, RIFFLE_E_DATA);
	assert_int_equal(c.error.flags, AGAIN);
	assert_non_null(strstr(c.error.text, "after 2 answers, min-replies = 3"));
	end(&c);
	play(&b, &c, "echo");
	assert_int_equal(c.status, RIFFLE_OK);
	end(&c);
	ops->destroy(b.self);
}

/* delivery = stream: answers come while the input is open, a record at a time. */
static void
test_records_flow_while_the_window_is_open(void **state)
{
	(void)state;
	struct bed b;
	struct call c;
	struct riffle_error err = {0};
	start(&b, shared.port);
	begin(&b, &c, "echo");
	ops->call_read(c.call, 1 << 20);
	for (uint32_t i = 0; i < 3; i++) {
		struct riffle_batch batch;
		make_batch(&batch, &abc[i], 1);
		assert_int_equal(ops->call_push(c.call, &batch, 0, 1, &err), 1);
		await_records(&c, i + 1);
		assert_int_equal(c.records, i + 1);
		assert_int_equal(batch.host[0], 1);
	}
	assert_false(is_done(&c));
	ops->call_end(c.call, &err);
	end(&c);
	ops->destroy(b.self);
}

/* What is there in one go is told in one go. */
static void
test_answers_are_handed_out_in_batches(void **state)
{
	(void)state;
	struct bed b;
	struct call c, after;
	start(&b, shared.port);
	begin(&b, &c, "many-1000");
	play(&b, &after, "after");
	assert_int_equal(after.status, RIFFLE_OK);
	end(&after);
	ops->call_read(c.call, 1 << 30);
	assert_true(eventually(is_done, &c));
	assert_int_equal(c.records, 1000);
	assert_int_equal(c.wrong, -1);
	assert_in_range(c.batches, 1, 20);
	end(&c);
	ops->destroy(b.self);
}

static int
is_writable(void *ctx)
{
	struct call *c = ctx;
	return __atomic_load_n(&c->writable, __ATOMIC_ACQUIRE);
}

/* E5: it reads nothing: what is taken is bounded, and a cancel gives all of it back. */
static void
test_a_deaf_function_is_back_pressure(void **state)
{
	(void)state;
	struct bed b;
	struct call c;
	struct riffle_error err = {0};
	static char block[65536];
	static struct riffle_record r[400];
	struct riffle_batch batch;
	for (size_t i = 0; i < 400; i++)
		r[i] = (struct riffle_record){.value = {block, sizeof block}};
	start(&b, shared.port);
	begin(&b, &c, "deaf");
	ops->call_read(c.call, 1 << 20);
	make_batch(&batch, r, 400);
	uint32_t taken = 0;
	int64_t end_ns = now_ns(NULL) + SOON_NS;
	for (int idle = 0; idle < 20 || (taken < 64 && now_ns(NULL) < end_ns); idle++) {
		int took = ops->call_push(c.call, &batch, taken, 400 - taken, &err);
		assert_true(took >= 0);
		taken += (uint32_t)took;
		idle = took > 0 ? 0 : idle;
		poll(NULL, 0, 5);
	}
	assert_in_range(taken, 64, 200);
	assert_false(is_done(&c));
	int64_t begin_ns = now_ns(NULL);
	ops->call_cancel(c.call, RIFFLE_E_CANCELLED);
	assert_true(eventually(is_done, &c));
	assert_in_range(now_ns(NULL) - begin_ns, 0, SOON_NS);
	assert_int_equal(c.status, RIFFLE_E_CANCELLED);
	assert_int_equal(batch.host[0], 1);
	assert_int_equal(ops->call_push(c.call, &batch, 0, 400, &err), 400);
	assert_int_equal(batch.host[0], 1);
	end(&c);
	/* One that reads: everything goes through, and the host hears when there is room. */
	begin(&b, &c, "count");
	ops->call_read(c.call, 1 << 20);
	for (taken = 0; taken < 400;) {
		int took = ops->call_push(c.call, &batch, taken, 400 - taken, &err);
		taken += (uint32_t)took;
		if (taken < 400)
			assert_true(eventually(is_writable, &c));
		__atomic_store_n(&c.writable, 0, __ATOMIC_RELEASE);
	}
	ops->call_end(c.call, &err);
	assert_true(eventually(is_done, &c));
	assert_string_equal(c.out, "400|");
	end(&c);
	ops->destroy(b.self);
}

/* E11, with the rest of the input stuck in flow control. */
static void
test_a_function_may_end_before_its_input(void **state)
{
	(void)state;
	static char block[65536];
	static struct riffle_record r[60];
	struct bed b;
	struct riffle_batch batch;
	for (size_t i = 0; i < 60; i++)
		r[i] = (struct riffle_record){.value = {block, sizeof block}};
	start(&b, shared.port);
	for (int ended = 0; ended < 2; ended++) {
		struct call c;
		struct riffle_error err = {0};
		begin(&b, &c, "stop-1");
		ops->call_read(c.call, 1 << 30);
		make_batch(&batch, r, 60);
		assert_int_equal(ops->call_push(c.call, &batch, 0, 60, &err), 60);
		if (ended)
			ops->call_end(c.call, &err);
		assert_true(eventually(is_done, &c));
		if (c.status != RIFFLE_OK)
			fail_msg("%s", c.error.text);
		assert_int_equal(c.records, 1);
		assert_int_equal(batch.host[0], 1);
		end(&c);
	}
	ops->destroy(b.self);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_start_frame_and_metadata),
		cmocka_unit_test(test_frames_carry_input_type_and_headers),
		cmocka_unit_test(test_what_no_frame_can_carry_fails_the_call),
		cmocka_unit_test(test_records_flow_while_the_window_is_open),
		cmocka_unit_test(test_records_come_back_in_order),
		cmocka_unit_test(test_answers_are_handed_out_in_batches),
		cmocka_unit_test(test_one_reply_per_record_is_held_to),
		cmocka_unit_test(test_min_replies),
		cmocka_unit_test(test_a_deaf_function_is_back_pressure),
		cmocka_unit_test(test_a_function_may_end_before_its_input),
	};
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	ops = load_plugin("plugins/invoker-grpc/.libs/invoker-grpc.so")->ops;
	return cmocka_run_group_tests_name("grpc", tests, start_shared, stop_shared);
}
