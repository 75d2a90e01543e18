/*
 * Many calls of the grpc invoker at once, with every end there is, while their server is killed and stopped and
 * instances come and go. $RIFFLE_GRPC_CALLS says how many, $RIFFLE_SEED which.
 */
#include "grpc_bed.h"

#include <dirent.h>

#define AT_ONCE 20u

/*
 * What a script's call that is let alone ends with; a call of the others ends only when it is cancelled. Of one that fails,
 * gRPC may have forgotten answers.
 */
static const struct script {
	const char *name;
	int ends, status;
	const char *out;
} scripts[] = {{"echo", 1, RIFFLE_OK, "a|b|c|"}, {"late", 1, RIFFLE_OK, "a|b|c|"},
	{"count", 1, RIFFLE_OK, "3|"}, {"none", 1, RIFFLE_OK, ""}, {"stop-1", 1, RIFFLE_OK, "a|"},
	{"status-13-after", 1, RIFFLE_E_DATA, "partial|"}, {"bytes-garbage", 1, RIFFLE_E_DATA, ""},
	{"index-max", 1, RIFFLE_E_DATA, ""}, {"silent", 0, 0, NULL}, {"endless", 0, 0, NULL},
	{"deaf", 0, 0, NULL}, {"flood", 0, 0, NULL}};

struct one {
	struct call c;
	struct riffle_batch batch;
	const struct script *script;
	int is_whole, is_cancelled; /* it has credit and its end, so that it may be let alone */
};

static struct tally {
	unsigned calls, ok, failed, cancelled, deaths, stops, instances;
} tally;

static uint32_t seed;

static int
chance(uint32_t one_in)
{
	return next_random(&seed) % one_in == 0;
}

static void
begin_one(struct bed *b, struct one *one)
{
	struct riffle_error err = {0};
	one->script = &scripts[next_random(&seed) % (sizeof scripts / sizeof scripts[0])];
	one->is_cancelled = 0;
	begin(b, &one->c, one->script->name);
	one->c.quick = 1;
	int reads = !chance(8), ends = !chance(4);
	if (reads)
		ops->call_read(one->c.call, 1 << 20);
	assert_int_equal(push(&one->c, &one->batch, abc, 3, &err), 3);
	if (ends)
		ops->call_end(one->c.call, &err);
	one->is_whole = reads && ends;
}

static void
cancel(struct one *one)
{
	ops->call_cancel(one->c.call, RIFFLE_E_CANCELLED);
	one->is_cancelled = 1;
}

/* Cancelled calls may have been over before that; those that were let alone on a server that lived may not fail. */
static void
finish_one(struct one *one, int server_died)
{
	const struct call *c = &one->c;
	assert_true(eventually(is_done, &one->c));
	assert_int_equal(one->batch.host[0], 1);
	const char *out = c->out ? c->out : "";
	int may_lack = one->script->status < 0 && out[0] == '\0';
	if (!one->is_cancelled && !server_died &&
		(c->status != one->script->status ||
			(!may_lack && strcmp(out, one->script->out) != 0)))
		fail_msg("%s: %d \"%s\" %s", one->script->name, c->status, out, c->error.text);
	tally.calls++;
	tally.ok += c->status == RIFFLE_OK;
	tally.cancelled += c->status == RIFFLE_E_CANCELLED;
	tally.failed += c->status < 0 && c->status != RIFFLE_E_CANCELLED;
	end(&one->c);
}

/* What happens to the server while the calls are open; 1 = it died, and another is there. */
static int
disturb(struct server *s)
{
	switch (next_random(&seed) % 6) {
	case 0:
		stop_server(s);
		start_server(s, "server.py", NULL);
		tally.deaths++;
		return 1;
	case 1:
		kill(s->pid, SIGSTOP);
		poll(NULL, 0, (int)(next_random(&seed) % 50));
		kill(s->pid, SIGCONT);
		tally.stops++;
		return 0;
	default:
		return 0;
	}
}

static void
play_round(struct bed *b, struct server *s)
{
	static struct one calls[AT_ONCE];
	for (uint32_t i = 0; i < AT_ONCE; i++) {
		begin_one(b, &calls[i]);
		if (chance(8))
			cancel(&calls[i]);
	}
	poll(NULL, 0, (int)(next_random(&seed) % 10));
	int died = disturb(s);
	for (uint32_t i = 0; i < AT_ONCE; i++)
		if (!calls[i].is_whole || !calls[i].script->ends || chance(4))
			cancel(&calls[i]);
	for (uint32_t i = 0; i < AT_ONCE; i++)
		finish_one(&calls[i], died);
	if (died)
		assert_true(eventually(is_ready, b));
}

static unsigned
open_files(void)
{
	unsigned count = 0;
	DIR *d = opendir("/proc/self/fd");
	assert_non_null(d);
	while (readdir(d) != NULL)
		count++;
	closedir(d);
	return count;
}

static void
test_calls_that_end_in_every_way(void **state)
{
	(void)state;
	const char *count = getenv("RIFFLE_GRPC_CALLS"), *given = getenv("RIFFLE_SEED");
	unsigned files = 0,
		 rounds = ((count ? (unsigned)atoi(count) : 1000) + AT_ONCE - 1) / AT_ONCE;
	struct bed b;
	struct server s = {.port = free_port()};
	seed = given ? (uint32_t)atoi(given) : (uint32_t)time(NULL);
	print_message("# seed %u\n", seed);
	start_server(&s, "server.py", NULL);
	for (unsigned n = 0; n < rounds; n++) {
		if (n % 5 == 0) {
			start(&b, s.port);
			assert_true(eventually(is_ready, &b));
		}
		play_round(&b, &s);
		if (n % 5 == 4 || n + 1 == rounds) {
			ops->destroy(b.self);
			files = files ? files : open_files();
			tally.instances++;
		}
	}
	stop_server(&s);
	assert_int_equal(open_files(), files);
	print_message(
		"# %u calls: %u ok, %u failed, %u cancelled; %u deaths and %u stops of the server, "
		"%u instances\n",
		tally.calls, tally.ok, tally.failed, tally.cancelled, tally.deaths, tally.stops,
		tally.instances);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_calls_that_end_in_every_way),
	};
	ops = load_plugin("plugins/invoker-grpc/.libs/invoker-grpc.so")->ops;
	return RUN("grpc calls", tests);
}
