/* A coprocess whose work the host's thread does: who works when, and how one thread hands it to the next. */
#define IN_TURNS 1
#include "coprocess_bed.h"

#include <pthread.h>
#include <unistd.h>

/* Says who it is. */
#define WHO                                                                                        \
	FRAMES_PROGRAM                                                                             \
	"  if f[:1] == b'R': say(b'%d' % os.getpid())\n"                                           \
	"  if f[:1] == b'E': done()\n"

static void
open_window(struct bed *b, struct call *c, const char *start)
{
	static struct riffle_batch batch;
	static struct riffle_record r;
	struct riffle_error err = {0};
	begin_window(b, c, 1, start, 1);
	ops->call_read(c->call, 1 << 30);
	give_text(c, &batch, &r, "a");
	ops->call_end(c->call, &err);
}

/* Until the fd has something or the next turn is due; nothing may come meanwhile. */
static void
wait_for_turn(struct bed *b, struct call *c, int64_t due_ns)
{
	struct pollfd p = {.fd = turns->fd(b->self), .events = POLLIN};
	int was_done = is_done(c);
	uint64_t records = c->records;
	int64_t left_ns = due_ns - now_ns(NULL);
	int ms = left_ns <= 0 ? 0 : left_ns > SOON_NS ? 30000 : (int)(left_ns / 1000000 + 1);
	assert_true(p.fd >= 0);
	/* With nothing to wait for but the fd, that tells. */
	assert_true(poll(&p, 1, ms) == 1 || left_ns <= SOON_NS);
	assert_int_equal(is_done(c), was_done);
	assert_int_equal(c->records, records);
}

static void
test_everything_comes_from_turns(void **state)
{
	(void)state;
	struct bed b;
	struct call c;
	program(&b, COPROCESS, FRAMES, ECHO);
	start(&b);
	for (int i = 0; i < 100; i++) {
		open_window(&b, &c, "1");
		for (;;) {
			int64_t due_ns = turns->turn(b.self);
			if (is_done(&c))
				break;
			wait_for_turn(&b, &c, due_ns);
		}
		assert_int_equal(c.status, RIFFLE_OK);
		assert_string_equal(c.out, "a|");
		end(&c);
	}
	stop(&b);
}

static void
test_after_the_guest_it_works_by_itself(void **state)
{
	(void)state;
	struct bed b;
	struct call c, other;
	struct riffle_error err = {0};
	program(&b, COPROCESS, FRAMES, ECHO);
	start(&b);
	open_window(&b, &c, "1");
	turns->turn(b.self);
	turns->leave(b.self);
	meanwhile = NULL;
	assert_true(eventually(is_done, &c));
	assert_int_equal(c.status, RIFFLE_OK);
	window(&b, &other, "b", "2", 1);
	assert_string_equal(other.out, "b|");
	end(&other);
	end(&c);
	/* And again in turns. */
	assert_int_equal(turns->join(b.self, &err), RIFFLE_OK);
	meanwhile = take_turn;
	window(&b, &c, "c", "3", 1);
	assert_string_equal(c.out, "c|");
	finish(&b, &c);
}

struct other {
	struct bed *b;
	struct call c;
	int leaves;
};

static void *
work_elsewhere(void *arg)
{
	struct other *o = arg;
	struct riffle_error err = {0};
	assert_int_equal(turns->join(o->b->self, &err), RIFFLE_OK);
	window(o->b, &o->c, "kill", "5", 1);
	end(&o->c);
	window(o->b, &o->c, "a", "6", 1);
	if (o->leaves)
		turns->leave(o->b->self);
	return NULL;
}

/* A program's parent-death signal comes from the thread that started it: that is never a guest. */
static void
test_a_program_outlives_the_guest_it_was_started_for(void **state)
{
	(void)state;
	for (int leaves = 0; leaves < 2; leaves++) {
		struct bed b;
		struct call c;
		struct other o = {.b = &b, .leaves = leaves};
		pthread_t thread;
		struct riffle_error err = {0};
		program(&b, COPROCESS, FRAMES,
			FRAMES_PROGRAM "  if f[-4:] == b'kill': os.kill(os.getpid(), 9)\n"
				       "  if f[:1] == b'R': say(b'%d' % os.getpid())\n"
				       "  if f[:1] == b'E': done()\n");
		start(&b);
		turns->leave(b.self);
		assert_int_equal(pthread_create(&thread, NULL, work_elsewhere, &o), 0);
		pthread_join(thread, NULL);
		/* Where it did not leave, this says that it does not come back. */
		assert_int_equal(turns->join(b.self, &err), RIFFLE_OK);
		window(&b, &c, "a", "7", 1);
		assert_int_equal(o.c.status, RIFFLE_OK);
		assert_string_equal(c.out, o.c.out);
		end(&o.c);
		finish(&b, &c);
	}
}

static int
one_is_out(void *ctx)
{
	struct call *c = ctx;
	pthread_mutex_lock(&c->lock);
	uint64_t n = c->records;
	pthread_mutex_unlock(&c->lock);
	return n >= 1;
}

/* Behind the first it would wait for as long as that one likes. */
static void
test_a_second_window_has_a_second_program(void **state)
{
	(void)state;
	struct bed b;
	struct call c, other;
	char dir[] = "/tmp/riffle-turns-XXXXXX", file[40], env[48];
	const char *const list[] = {env, NULL};
	assert_non_null(mkdtemp(dir));
	snprintf(file, sizeof file, "%s/go", dir);
	snprintf(env, sizeof env, "GO=%s", file);
	program(&b, COPROCESS, FRAMES,
		FRAMES_PROGRAM
		"  if f[:1] == b'R': say(b'%d' % os.getpid()); waits = f[-4:] == b'wait'\n"
		"  if f[:1] == b'E':\n"
		"    while waits and not os.path.exists(os.environ['GO']): time.sleep(0.01)\n"
		"    done()\n");
	option(b.values, "processes")->u.i = 2;
	*option(b.values, "env") = (struct riffle_value){.is_set = 1, .u.list = list};
	start(&b);
	static struct riffle_batch batch;
	static struct riffle_record r;
	struct riffle_error err = {0};
	begin_window(&b, &c, 1, "1", 1);
	ops->call_read(c.call, 1 << 30);
	give_text(&c, &batch, &r, "wait");
	ops->call_end(c.call, &err);
	assert_true(eventually(one_is_out, &c));
	window(&b, &other, "a", "2", 1);
	assert_false(is_done(&c));
	assert_string_not_equal(c.out, other.out);
	fclose(fopen(file, "w"));
	assert_true(eventually(is_done, &c));
	assert_int_equal(c.status, RIFFLE_OK);
	end(&c);
	finish(&b, &other);
	unlink(file);
	rmdir(dir);
}

/* A worker that was given up never leaves. */
static void
test_it_ends_with_a_guest_that_never_left(void **state)
{
	(void)state;
	struct bed b;
	struct call c;
	program(&b, COPROCESS, FRAMES, WHO);
	start(&b);
	window(&b, &c, "a", "1", 1);
	end(&c);
	meanwhile = NULL;
	ops->destroy(b.self);
}

static void
test_programs_of_one_window_are_not_for_guests(void **state)
{
	(void)state;
	static const int modes[] = {PER_WINDOW, PER_RECORD};
	for (int i = 0; i < 2; i++) {
		struct bed b;
		program(&b, modes[i], LINES, "");
		start(&b);
		assert_null(turns);
		stop(&b);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_everything_comes_from_turns),
		cmocka_unit_test(test_after_the_guest_it_works_by_itself),
		cmocka_unit_test(test_a_program_outlives_the_guest_it_was_started_for),
		cmocka_unit_test(test_a_second_window_has_a_second_program),
		cmocka_unit_test(test_it_ends_with_a_guest_that_never_left),
		cmocka_unit_test(test_programs_of_one_window_are_not_for_guests),
	};
	ops = load_plugin("plugins/invoker-command/.libs/invoker-command.so")->ops;
	return RUN("turns", tests);
}
