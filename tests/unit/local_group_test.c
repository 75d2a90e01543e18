/* Groups of the embedded provider, and several processes on one log: positions, removal, holders, dead readers. */
#include "local_log_bed.h"

#include <lmdb.h>

static void
test_an_offset_is_found_by_time(void **state)
{
	(void)state;
	set_stream("segment", 64 * KIB);
	struct bed b = {.self = open_self()};
	const struct riffle_stream s = kept_stream("a", 1);
	const struct riffle_positions *p = positions_of(&b);
	struct riffle_error err = {0};
	int64_t offset;
	provision(b.self, &s);
	open_sink(&b, &s);
	fill(&b, 0, 1000);
	send_text(&b, "late", 50000000);
	send_text(&b, "early", 3);
	static const struct {
		int64_t time, offset;
	} cases[] = {{-5, 0}, {0, 0}, {1, 1}, {640, 640}, {999, 999}, {1000, 1000},
		{50000000, 1000}, {50000001, 1002}};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		must(p->offset_at(b.self, &s, 0, cases[i].time, &offset, &err), &err);
		assert_int_equal(offset, cases[i].offset);
	}
	assert_int_equal(p->offset_at(b.self, &s, 1, 0, &offset, &err), RIFFLE_E_NOTFOUND);
	open_source(&b, &s, "g", RIFFLE_START_TIME, 640);
	assert_int_equal(b.ev.lanes[0].committed.offset, 640);
	close_source(&b);
	open_source(&b, &s, NULL, RIFFLE_START_TIME, 641);
	assert_int_equal(b.ev.lanes[0].committed.offset, 641);
	close_source(&b);
	close_sink(&b);
	ops->destroy(b.self);
}

static void
test_positions_are_looked_at_and_set(void **state)
{
	(void)state;
	struct bed b = {.self = open_self()};
	const struct riffle_stream s = stream_of("a", 2), other = stream_of("ab", 1);
	const struct riffle_stream *both[] = {&s, &other};
	const struct riffle_positions *p = positions_of(&b);
	struct riffle_group_list *list;
	struct riffle_error err = {0};
	provision(b.self, &s);
	provision(b.self, &other);
	open_sink(&b, &s);
	for (int i = 0; i < 4; i++)
		send_text(&b, "x", i);
	close_sink(&b);
	open_source(&b, &s, "g1", RIFFLE_START_EARLIEST, 0);
	close_source(&b);
	open_source(&b, &other, "g2", RIFFLE_START_EARLIEST, 0);
	close_source(&b);
	open_source(&b, &s, "g0", RIFFLE_START_LATEST, 0);
	must(p->groups(b.self, &s, &list, &err), &err);
	assert_int_equal(list->group_count, 2);
	assert_string_equal(list->groups[0].name, "g0");
	assert_int_equal(list->groups[0].flags, RIFFLE_GROUP_ACTIVE);
	assert_non_null(strstr(list->groups[0].member, "process "));
	assert_string_equal(list->groups[1].name, "g1");
	assert_int_equal(list->groups[1].flags, 0);
	list->release(list);
	must(p->groups(b.self, NULL, &list, &err), &err);
	assert_int_equal(list->group_count, 3);
	list->release(list);

	struct riffle_position at[] = {
		{.partition = 1, .offset = 1, .metadata = bytes("m")}, {.stream = 1, .offset = 0}};
	assert_int_equal(p->set(b.self, "g0", both, 2, at, 2, &err), RIFFLE_E_UNAVAILABLE);
	assert_non_null(strstr(err.text, "group \"g0\" is in use by "));
	close_source(&b);
	must(p->set(b.self, "g0", both, 2, at, 2, &err), &err);
	struct riffle_partition_info info = look_at(&b, &s, "g0", 1);
	assert_int_equal(info.committed.offset, 1);
	assert_int_equal(info.log_end, 2);
	assert_int_equal(look_at(&b, &s, "g0", 0).committed.offset, 2);
	assert_int_equal(look_at(&b, &other, "g0", 0).committed.offset, 0);
	/* All or none. */
	at[0].offset = 0;
	at[1].offset = 1;
	assert_int_equal(p->set(b.self, "g0", both, 2, at, 2, &err), RIFFLE_E_INVAL);
	assert_string_equal(err.text, "topic \"ab\", partition 0 has offsets 0 to 0, not 1");
	assert_int_equal(look_at(&b, &s, "g0", 1).committed.offset, 1);
	at[0].offset = RIFFLE_OFFSET_NONE;
	must(p->set(b.self, "g0", both, 1, at, 1, &err), &err);
	assert_int_equal(look_at(&b, &s, "g0", 1).committed.offset, RIFFLE_OFFSET_NONE);
	ops->destroy(b.self);
}

static void
test_a_removed_stream_is_gone_and_can_be_made_anew(void **state)
{
	(void)state;
	set_stream("segment", 64 * KIB);
	struct bed b = {.self = open_self()};
	const struct riffle_stream s = kept_stream("a", 1);
	struct riffle_error err = {0};
	provision(b.self, &s);
	open_sink(&b, &s);
	fill(&b, 0, 500);
	open_source(&b, &s, "g", RIFFLE_START_LATEST, 0);
	assert_int_equal(ops->remove(b.self, &s, &err), RIFFLE_E_UNAVAILABLE);
	close_source(&b);
	close_sink(&b);
	must(ops->remove(b.self, &s, &err), &err);
	assert_int_equal(ops->remove(b.self, &s, &err), RIFFLE_E_NOTFOUND);
	provision(b.self, &s);
	open_source(&b, &s, "g", RIFFLE_START_EARLIEST, 0);
	assert_int_equal(b.ev.lanes[0].committed.offset, 0);
	assert_int_equal(b.ev.lanes[0].log_end, 0);
	assert_int_equal(look_at(&b, &s, NULL, 0).records, 0);
	close_source(&b);
	ops->destroy(b.self);
}

static void
test_a_stream_removed_by_another_process_is_told(void **state)
{
	(void)state;
	struct bed b = {.self = open_self()};
	const struct riffle_stream s = stream_of("a", 1);
	const struct riffle_record r = {.value = bytes("x"), .partition = -1};
	struct riffle_batch batch = batch_of(&r, 1, NULL, 0), *read;
	struct riffle_error err = {0};
	provision(b.self, &s);
	open_sink(&b, &s);
	send_text(&b, "x", 1);
	open_source(&b, &s, NULL, RIFFLE_START_EARLIEST, 0);
	check_next(&b, 0, "x");
	assert_int_equal(run_self("remove"), 0);
	assert_int_equal(ops->lane_poll(b.source, 0, 1, 1 << 20, &read, &err), RIFFLE_E_NOTFOUND);
	assert_non_null(strstr(err.text, "the topic was removed"));
	assert_int_equal(ops->sink_send(b.sink, &batch, 0, 1, 1, &err), 1);
	await_sink(&b, RIFFLE_EV_SENT);
	assert_int_equal(b.ev.sent[0].status, RIFFLE_E_NOTFOUND);
	take_back(&b);
	/* Made anew, it is another one: what is open still has the old. */
	provision(b.self, &s);
	assert_int_equal(ops->lane_poll(b.source, 0, 1, 1 << 20, &read, &err), RIFFLE_E_NOTFOUND);
	struct bed second = {.self = b.self};
	open_sink(&second, &s);
	send_text(&second, "y", 1);
	open_source(&second, &s, NULL, RIFFLE_START_EARLIEST, 0);
	check_next(&second, 0, "y");
	close_source(&second);
	close_sink(&second);
	close_source(&b);
	close_sink(&b);
	ops->destroy(b.self);
}

static int
remove_it(void)
{
	struct riffle_error err = {0};
	const struct riffle_stream s = stream_of("a", 1);
	void *self = open_self();
	int rc = ops->remove(self, &s, &err);
	ops->destroy(self);
	return rc == RIFFLE_OK ? 0 : 1;
}

/* Reads as group "g" until it is killed; says when by a file. */
static _Noreturn void
hold(void)
{
	struct bed b = {.self = open_self()};
	const struct riffle_stream s = stream_of("a", 1);
	char path[128];
	struct riffle_error err = {0};
	const struct riffle_source_stream in = {.size = sizeof in, .stream = &s};
	const struct riffle_source_spec spec = {.size = sizeof spec,
		.stream_size = sizeof in,
		.stream_count = 1,
		.streams = &in,
		.group = "g",
		.member = "first.0"};
	must(ops->source_open(b.self, &spec, &b.source, &err), &err);
	await_source(&b, RIFFLE_EV_ASSIGNED);
	snprintf(path, sizeof path, "%s/held", dir);
	if (mkdir(path, 0700) < 0)
		exit(1);
	for (;;)
		pause();
}

static int
is_held(void *ctx)
{
	char path[128];
	(void)ctx;
	snprintf(path, sizeof path, "%s/held", dir);
	return access(path, F_OK) == 0;
}

static void
test_the_holder_of_a_group_is_named_until_it_dies(void **state)
{
	(void)state;
	struct bed b = {.self = open_self()};
	const struct riffle_stream s = stream_of("a", 1);
	struct riffle_error err = {0};
	char expected[128];
	int status;
	provision(b.self, &s);
	pid_t child = spawn_self("hold");
	assert_true(eventually(is_held, NULL));
	assert_int_equal(
		try_source(&b, &s, "g", RIFFLE_START_EARLIEST, 0, &err), RIFFLE_E_UNAVAILABLE);
	snprintf(expected, sizeof expected, "group \"g\" is in use by first.0, process %ld",
		(long)child);
	assert_string_equal(err.text, expected);
	/* Another group reads the same. */
	open_source(&b, &s, "h", RIFFLE_START_EARLIEST, 0);
	close_source(&b);
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
	open_source(&b, &s, "g", RIFFLE_START_EARLIEST, 0);
	close_source(&b);
	ops->destroy(b.self);
}

/* One line of LMDB's list of readers: is it of neither us nor our parent? */
static int
count_strangers(const char *text, void *ctx)
{
	long pid = strtol(text, NULL, 10);
	*(int *)ctx += pid > 0 && pid != getpid() && pid != getppid();
	return 0;
}

/* How many readers' slots are taken by others than the parent. */
static int
count_slots(void)
{
	MDB_env *env;
	char path[128];
	int n = 0;
	snprintf(path, sizeof path, "%s/local", dir);
	if (mdb_env_create(&env) != 0 || mdb_env_set_maxdbs(env, 8) != 0 ||
		mdb_env_open(env, path, 0, 0600) != 0)
		return 255;
	mdb_reader_list(env, count_strangers, &n);
	mdb_env_close(env);
	return n;
}

static int
no_slots_left(void *ctx)
{
	(void)ctx;
	return WEXITSTATUS(run_self("slots")) == 0;
}

/* Killed while it reads, it holds pages that are not used again until somebody clears its slot. */
static void
test_slots_of_dead_readers_are_given_back(void **state)
{
	(void)state;
	set_provider("clean-interval", 100);
	struct bed b = {.self = open_self()};
	const struct riffle_stream s = stream_of("a", 1);
	int status;
	provision(b.self, &s);
	pid_t child = spawn_self("hold");
	assert_true(eventually(is_held, NULL));
	assert_int_equal(WEXITSTATUS(run_self("slots")), 1);
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
	assert_true(eventually(no_slots_left, NULL));
	ops->destroy(b.self);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		CASE(test_an_offset_is_found_by_time),
		CASE(test_positions_are_looked_at_and_set),
		CASE(test_a_removed_stream_is_gone_and_can_be_made_anew),
		CASE(test_a_stream_removed_by_another_process_is_told),
		CASE(test_the_holder_of_a_group_is_named_until_it_dies),
		CASE(test_slots_of_dead_readers_are_given_back),
	};
	load_local();
	if (argc == 3) {
		use_dir(argv[2]);
		if (strcmp(argv[1], "remove") == 0)
			return remove_it();
		if (strcmp(argv[1], "slots") == 0)
			return count_slots();
		hold();
	}
	return RUN("local_group", tests);
}
