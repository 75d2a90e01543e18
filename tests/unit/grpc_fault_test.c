/* The grpc invoker against servers that misbehave, each by its row of the catalogue of failures. */
#include "grpc_bed.h"

#include <sys/resource.h>

static void
test_rows_of_frames_and_statuses(void **state)
{
	(void)state;
	static const struct row rows[] = {
		{"E11", "stop-1", "a|", RIFFLE_OK, 0, ""},
		{"E12", "early", "early|3|", RIFFLE_OK, 0, ""},
		{"E12", "echo", "a|b|c|", RIFFLE_OK, 0, ""},
		{"E12", "late", "a|b|c|", RIFFLE_OK, 0, ""},
		{"E12", "none", "", RIFFLE_OK, 0, ""},
		{"E6", "status-1", "", RIFFLE_E_DATA, AGAIN, "CANCELLED (1)"},
		{"E6", "status-2", "", RIFFLE_E_DATA, AGAIN, "UNKNOWN (2): because\\x0a\\x01 of x"},
		{"E6", "status-3", "", RIFFLE_E_DATA, 0, "INVALID_ARGUMENT (3)"},
		{"E6", "prefix-media", "", RIFFLE_E_UNSUPPORTED, 0, "Unsupported Media Type"},
		{"E6", "prefix-accept", "", RIFFLE_E_UNSUPPORTED, 0, "Not Acceptable"},
		{"E6", "status-4", "", RIFFLE_E_TIMEOUT, AGAIN, "DEADLINE_EXCEEDED (4)"},
		{"E6", "status-5", "", RIFFLE_E_DATA, 0, "NOT_FOUND (5)"},
		{"E6", "status-6", "", RIFFLE_E_DATA, 0, "ALREADY_EXISTS (6)"},
		{"E6", "status-7", "", RIFFLE_E_AUTH, 0, "PERMISSION_DENIED (7)"},
		{"E6", "status-8", "", RIFFLE_E_DATA, AGAIN, "RESOURCE_EXHAUSTED (8)"},
		{"E6", "status-9", "", RIFFLE_E_DATA, 0, "FAILED_PRECONDITION (9)"},
		{"E6", "status-10", "", RIFFLE_E_DATA, AGAIN, "ABORTED (10)"},
		{"E6", "status-11", "", RIFFLE_E_DATA, 0, "OUT_OF_RANGE (11)"},
		{"E6", "status-12", "", RIFFLE_E_FATAL, 0, "UNIMPLEMENTED (12)"},
		{"E6", "status-13", "", RIFFLE_E_DATA, AGAIN, "INTERNAL (13)"},
		{"E6", "status-14", "", RIFFLE_E_DATA, AGAIN, "UNAVAILABLE (14)"},
		{"E6", "status-15", "", RIFFLE_E_DATA, AGAIN, "DATA_LOSS (15)"},
		{"E6", "status-16", "", RIFFLE_E_AUTH, 0, "UNAUTHENTICATED (16)"},
		{"E7", "index-minus", "", RIFFLE_E_DATA, 0, "on output -1, the call has 1"},
		{"E7", "index-count", "", RIFFLE_E_DATA, 0, "on output 1, the call has 1"},
		{"E7", "index-max", "", RIFFLE_E_DATA, 0, "on output 2147483647, the call has 1"},
		{"E8", "type-missing", "", RIFFLE_E_DATA, 0, "without a content type"},
		{"E8", "type-wildcard", "", RIFFLE_E_DATA, 0, "with \"text/*\" for a content type"},
		{"E8", "type-long", "", RIFFLE_E_DATA, 0, "for a content type (10005 bytes)"},
		{"E8", "type-line", "", RIFFLE_E_DATA, 0, "with \"text/\\x0aplain\""},
		{"E8", "type-parameters", "x|", RIFFLE_OK, 0, ""},
		{"E8", "type-other", "x|", RIFFLE_OK, 0, ""}, /* the host compares types */
		{"E9", "bytes-empty", "", RIFFLE_E_DATA, 0, "(0 bytes): it has no data frame"},
		{"E9", "bytes-nodata", "", RIFFLE_E_DATA, 0, "it has no data frame"},
		{"E9", "bytes-garbage", "", RIFFLE_E_DATA, 0, "a message that is no frame"},
		{"E9", "bytes-truncated", "", RIFFLE_E_DATA, 0, "it ends in the middle of a field"},
		{"E9", "bytes-inner", "", RIFFLE_E_DATA, 0, "it ends in the middle of a field"},
		{"E9", "bytes-group", "", RIFFLE_E_DATA, 0, "wire type that is not used"},
		{"E9", "bytes-unknown", "fine|", RIFFLE_OK, 0, ""},
		{"E9", "bytes-twice", "fine|", RIFFLE_OK, 0, ""},
		{"E9", "bytes-last", "fine|", RIFFLE_OK, 0, ""},
		{"E10", "large-2000000", "", RIFFLE_E_DATA, 0, "vs. 1048576"},
	};
	struct bed b;
	start(&b, shared.port);
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
		expect(&b, &rows[i]);
	ops->destroy(b.self);
}

/* E6, where answers came before. */
static void
test_a_status_behind_an_answer(void **state)
{
	(void)state;
	static const struct {
		const char *script, *why;
	} rows[] = {{"status-2-after", "UNKNOWN (2)"}, {"status-13-after", "INTERNAL (13)"}};
	struct bed b;
	struct call c;
	start(&b, shared.port);
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		play_until(&b, &c, rows[i].script, 1);
		assert_string_equal(c.out, "partial|");
		assert_int_equal(c.status, RIFFLE_E_DATA);
		assert_int_equal(c.error.flags, AGAIN);
		assert_non_null(strstr(c.error.text, rows[i].why));
		end(&c);
	}
	ops->destroy(b.self);
}

static void
test_rows_below_http2(void **state)
{
	(void)state;
	static const struct row rows[] = {
		{"E13", "trailers-then-data", "hello|", RIFFLE_OK, 0, ""},
		{"E13", "reset", "hello|", RIFFLE_E_DATA, AGAIN, ""},
		{"E13", "goaway", "hello|", RIFFLE_E_DATA, AGAIN, ""},
		{"E13", "settings-flood", "", RIFFLE_E_DATA, AGAIN, ""},
		{"E13", "continuation-flood", "", RIFFLE_E_DATA, AGAIN, ""},
		{"E13", "bad-hpack", "", RIFFLE_E_DATA, AGAIN, ""},
		{"E13", "bad-frame", "", RIFFLE_E_DATA, AGAIN, ""},
		/* The C core passes over half a message before the end: min-replies is for that. */
		{"E9", "cut", "", RIFFLE_OK, 0, ""},
		{"E10", "bomb", "", RIFFLE_E_DATA, 0, "a compressed message"},
		{"E14", "http1", "", RIFFLE_E_UNAVAILABLE, AGAIN, ""},
		{"E1", "close", "", RIFFLE_E_UNAVAILABLE, AGAIN, ""},
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct bed b;
		struct server s = {0};
		const char *const arguments[] = {rows[i].script, NULL};
		start_server(&s, "raw.py", arguments);
		start(&b, s.port);
		expect(&b, &rows[i]);
		ops->destroy(b.self);
		stop_server(&s);
	}
}

/* E15: output credit holds a talkative function, and max-output ends it. */
static void
test_a_flood_is_held_and_ended(void **state)
{
	(void)state;
	struct bed b;
	struct call c;
	make_bed(&b, shared.port);
	option(b.values, "max-output")->u.i = 8 << 20;
	open_bed(&b);
	begin(&b, &c, "flood");
	poll(NULL, 0, 100);
	assert_int_equal(c.records, 0);
	ops->call_read(c.call, 100000);
	await_records(&c, 2);
	poll(NULL, 0, 100);
	assert_int_equal(c.records, 2);
	ops->call_read(c.call, 1 << 30);
	assert_true(eventually(is_done, &c));
	assert_int_equal(c.status, RIFFLE_E_DATA);
	assert_non_null(strstr(c.error.text, "more than max-output = 8388608 bytes"));
	assert_in_range(c.bytes, 0, (8 << 20) + 65536);
	end(&c);
	ops->destroy(b.self);
}

/* E3: the host's deadline and a cancel end what never ends. */
static void
test_cancel_ends_what_never_ends(void **state)
{
	(void)state;
	static const char *const scripts[] = {"silent", "endless", "deaf"};
	struct bed b;
	struct riffle_batch batch;
	start(&b, shared.port);
	for (int i = 0; i < 6; i++) {
		struct call c;
		struct riffle_error err = {0};
		int reason = i < 3 ? RIFFLE_E_TIMEOUT : RIFFLE_E_CANCELLED;
		begin(&b, &c, scripts[i % 3]);
		ops->call_read(c.call, 1 << 20);
		make_batch(&batch, abc, 3);
		assert_int_equal(ops->call_push(c.call, &batch, 0, 3, &err), 3);
		ops->call_end(c.call, &err);
		if (i % 3 == 1)
			await_records(&c, 1);
		int64_t begin_ns = now_ns(NULL);
		ops->call_cancel(c.call, reason);
		assert_true(eventually(is_done, &c));
		assert_in_range(now_ns(NULL) - begin_ns, 0, SOON_NS);
		assert_int_equal(c.status, reason);
		assert_int_equal(c.error.flags, i < 3 ? AGAIN : 0);
		assert_int_equal(batch.host[0], 1);
		end(&c);
	}
	ops->destroy(b.self);
}

/* E4, E5: never heard of after the connection, or a byte now and then. */
static void
test_what_is_silent_or_slow_below_http2(void **state)
{
	(void)state;
	struct bed b;
	struct call c;
	struct server s = {0};
	const char *const mute[] = {"mute", NULL}, *const slow[] = {"slow", NULL};
	start_server(&s, "raw.py", mute);
	make_bed(&b, s.port);
	option(b.values, "connect-timeout")->u.i = 300;
	open_bed(&b);
	play(&b, &c, "echo");
	assert_int_equal(c.status, RIFFLE_E_UNAVAILABLE);
	end(&c);
	ops->destroy(b.self);
	stop_server(&s);
	s.port = 0;
	start_server(&s, "raw.py", slow);
	start(&b, s.port);
	begin(&b, &c, "echo");
	ops->call_read(c.call, 1 << 20);
	poll(NULL, 0, 200);
	assert_false(is_done(&c));
	ops->call_cancel(c.call, RIFFLE_E_TIMEOUT);
	assert_true(eventually(is_done, &c));
	assert_int_equal(c.status, RIFFLE_E_TIMEOUT);
	end(&c);
	ops->destroy(b.self);
	stop_server(&s);
}

/* ThreadSanitizer's shadow is several times what it shadows. */
#ifdef __SANITIZE_THREAD__
#define PEAK_MAX_KIB (1024 * 1024)
#else
#define PEAK_MAX_KIB (120 * 1024)
#endif

static long
peak_kib(void)
{
	struct rusage usage;
	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_maxrss;
}

/* E10: what is over the limit does not become memory of ours. */
static void
test_a_message_far_above_the_limit(void **state)
{
	(void)state;
	struct bed b;
	struct call c;
	start(&b, shared.port);
	play(&b, &c, "echo");
	end(&c);
	long before = peak_kib();
	play(&b, &c, "large-160000000");
	assert_int_equal(c.status, RIFFLE_E_DATA);
	assert_non_null(strstr(c.error.text, "RESOURCE_EXHAUSTED"));
	assert_in_range(peak_kib() - before, 0, PEAK_MAX_KIB);
	end(&c);
	ops->destroy(b.self);
}

/* E4: a server that stands still is found by the keepalive; another instance goes on meanwhile. */
static void
test_a_stopped_server_is_found(void **state)
{
	(void)state;
	struct bed b, other;
	struct call c, fine;
	struct server s = {0};
	start_server(&s, "server.py", NULL);
	make_bed(&b, s.port);
	option(b.values, "keepalive")->u.i = 1000;
	/* Longer than a server that is only starved is silent. */
	option(b.values, "keepalive-timeout")->u.i = 10000;
	open_bed(&b);
	start(&other, shared.port);
	begin(&b, &c, "endless");
	ops->call_read(c.call, 1 << 20);
	await_records(&c, 1);
	kill(s.pid, SIGSTOP);
	play(&other, &fine, "echo");
	assert_int_equal(fine.status, RIFFLE_OK);
	end(&fine);
	assert_true(eventually(is_done, &c));
	assert_int_equal(c.status, RIFFLE_E_DATA);
	assert_int_equal(c.error.flags, AGAIN);
	end(&c);
	ops->destroy(b.self);
	ops->destroy(other.self);
	stop_server(&s);
}

/* E1, E2: away at the start, there, gone in the middle of a call, there again. */
static void
test_a_server_that_comes_and_goes(void **state)
{
	(void)state;
	struct bed b;
	struct call c;
	struct riffle_error err = {0};
	struct server s = {.port = free_port()};
	start(&b, s.port);
	play(&b, &c, "echo");
	assert_int_equal(c.status, RIFFLE_E_UNAVAILABLE);
	assert_int_equal(c.error.flags, AGAIN);
	end(&c);
	assert_int_equal(ops->ready(b.self, &err), RIFFLE_E_UNAVAILABLE);
	assert_non_null(strstr(err.text, "no connection to the function at 127.0.0.1:"));
	start_server(&s, "server.py", NULL);
	int64_t begin_ns = now_ns(NULL);
	assert_true(eventually(is_ready, &b));
	assert_in_range(now_ns(NULL) - begin_ns, 0, SOON_NS);
	play(&b, &c, "echo");
	assert_int_equal(c.status, RIFFLE_OK);
	end(&c);
	/* It dies with answers out: counted as a failure, for the window may be what killed it. */
	play_until(&b, &c, "die", 2);
	assert_string_equal(c.out, "a|b|");
	assert_int_equal(c.status, RIFFLE_E_DATA);
	assert_int_equal(c.error.flags, AGAIN);
	assert_non_null(strstr(c.error.text, "UNAVAILABLE"));
	end(&c);
	assert_true(eventually(is_not_ready, &b));
	stop_server(&s);
	start_server(&s, "server.py", NULL);
	assert_true(eventually(is_ready, &b));
	play(&b, &c, "echo");
	assert_int_equal(c.status, RIFFLE_OK);
	end(&c);
	ops->destroy(b.self);
	stop_server(&s);
}

/* E14: a grpc server that has no such function. */
static void
test_a_server_without_the_method(void **state)
{
	(void)state;
	struct bed b;
	struct call c;
	struct server s = {0};
	setenv("NO_RIFF", "1", 1);
	start_server(&s, "server.py", NULL);
	unsetenv("NO_RIFF");
	start(&b, s.port);
	play(&b, &c, "echo");
	assert_int_equal(c.status, RIFFLE_E_FATAL);
	assert_non_null(strstr(c.error.text, "UNIMPLEMENTED (12)"));
	end(&c);
	ops->destroy(b.self);
	stop_server(&s);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows_of_frames_and_statuses),
		cmocka_unit_test(test_a_status_behind_an_answer),
		cmocka_unit_test(test_rows_below_http2),
		cmocka_unit_test(test_a_flood_is_held_and_ended),
		cmocka_unit_test(test_cancel_ends_what_never_ends),
		cmocka_unit_test(test_what_is_silent_or_slow_below_http2),
		cmocka_unit_test(test_a_message_far_above_the_limit),
		cmocka_unit_test(test_a_stopped_server_is_found),
		cmocka_unit_test(test_a_server_that_comes_and_goes),
		cmocka_unit_test(test_a_server_without_the_method),
	};
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	ops = load_plugin("plugins/invoker-grpc/.libs/invoker-grpc.so")->ops;
	return cmocka_run_group_tests_name("grpc fault", tests, start_shared, stop_shared);
}
