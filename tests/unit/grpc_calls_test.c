/* Many calls of the grpc invoker at once. */
#include "grpc_bed.h"

/* Many calls on one channel, with every end there is, and the server killed now and then. */
static void
test_a_thousand_calls(void **state)
{
	(void)state;
	static const char *const scripts[] = {"echo", "echo", "late", "silent", "status-13-after",
		"stop-1", "count", "bytes-garbage", "endless", "flood"};
	enum { AT_ONCE = 20 };
	const char *rounds = getenv("GRPC_TEST_CALLS");
	struct bed b;
	struct server s = {0};
	uint32_t seed = 1;
	static struct call calls[AT_ONCE];
	static struct riffle_batch batches[AT_ONCE];
	start_server(&s, "server.py", NULL);
	start(&b, s.port);
	for (int n = (rounds ? atoi(rounds) : 1000) / AT_ONCE; n > 0; n--) {
		for (uint32_t i = 0; i < AT_ONCE; i++) {
			struct call *c = &calls[i];
			struct riffle_error err = {0};
			begin(&b, c, scripts[next_random(&seed) % 10]);
			c->quick = 1;
			if (next_random(&seed) % 8 != 0)
				ops->call_read(c->call, 1 << 20);
			assert_int_equal(push(c, &batches[i], abc, 3, &err), 3);
			if (next_random(&seed) % 4 != 0)
				ops->call_end(c->call, &err);
			if (next_random(&seed) % 8 == 0)
				ops->call_cancel(c->call, RIFFLE_E_CANCELLED);
		}
		if (n % 16 == 0) {
			stop_server(&s);
			start_server(&s, "server.py", NULL);
		}
		poll(NULL, 0, (int)(next_random(&seed) % 20));
		for (uint32_t i = 0; i < AT_ONCE; i++)
			ops->call_cancel(calls[i].call, RIFFLE_E_CANCELLED);
		for (uint32_t i = 0; i < AT_ONCE; i++) {
			assert_true(eventually(is_done, &calls[i]));
			assert_int_equal(batches[i].host[0], 1);
			end(&calls[i]);
		}
		if (n % 10 == 0) {
			ops->destroy(b.self);
			start(&b, s.port);
		}
	}
	ops->destroy(b.self);
	stop_server(&s);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_thousand_calls),
	};
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	ops = load_plugin("plugins/invoker-grpc/.libs/invoker-grpc.so")->ops;
	return cmocka_run_group_tests_name("grpc calls", tests, NULL, NULL);
}
