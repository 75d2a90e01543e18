/* The command invoker with real programs, through its own object file. */
#include "command_bed.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

/* Runs the script on the lines, to its end. The caller looks at c, then calls end. */
static void
run(struct bed *b, struct call *c, const char *const *lines)
{
	struct riffle_error err = {0};
	struct riffle_record r[8];
	static struct riffle_batch batch;
	uint32_t n = 0;
	for (; lines[n] != NULL; n++)
		r[n] = (struct riffle_record){.value = bytes(lines[n])};
	start(b);
	begin(b, c, 1);
	ops->call_read(c->call, 1 << 30);
	if (n > 0)
		assert_int_equal(push(c, &batch, r, n, &err), n);
	ops->call_end(c->call, &err);
	assert_true(eventually(is_done, c));
	assert_true(n == 0 || batch.host[0] == 1);
}

static const char *const none[] = {NULL};
static const char *const abc[] = {"a", "b", "c", NULL};

/* What the script says to a, b, c, and how it ends. */
static void
expect(const char *text, const char *out, int status, uint32_t flags, const char *why)
{
	struct bed b;
	struct call c;
	script(&b, text);
	run(&b, &c, abc);
	if (c.status != status || strcmp(c.out ? c.out : "", out) != 0 ||
		(status < 0 && (strstr(c.error.text, why) == NULL || c.error.flags != flags)))
		fail_msg("%s: %d, \"%s\", %x \"%s\"", text, c.status, c.out ? c.out : "",
			c.error.flags, c.error.text);
	finish(&b, &c);
}

static void
test_lines_go_in_and_out(void **state)
{
	(void)state;
	expect("cat", "a|b|c|", RIFFLE_OK, 0, "");
	expect("awk '{ n++ } END { printf \"%d\", n }'", "3|", RIFFLE_OK, 0, "");
	expect("true", "", RIFFLE_OK, 0, "");
}

static void
test_nul_and_empty_lines_are_kept(void **state)
{
	(void)state;
	struct bed b;
	struct call c;
	script(&b, "printf 'x\\000y\\n\\nz'");
	run(&b, &c, none);
	assert_int_equal(c.records, 3);
	assert_int_equal(c.len, 7);
	assert_memory_equal(c.out, "x\0y||z|", 7);
	assert_string_equal(c.type, "");
	finish(&b, &c);
}

static void
test_exit_status_decides(void **state)
{
	(void)state;
	expect("cat; echo no >&2; exit 3", "", RIFFLE_E_DATA, 0, "ended with exit status 3: no");
	expect("exit 75", "", RIFFLE_E_DATA, RIFFLE_ERR_RETRIABLE, "exit status 75");
	expect("kill -KILL $$", "", RIFFLE_E_DATA, RIFFLE_ERR_RETRIABLE, "was killed by SIGKILL");
	expect("kill -SEGV $$", "", RIFFLE_E_DATA, RIFFLE_ERR_RETRIABLE, "was killed by SIGSEGV");
}

static void
test_program_that_is_not_there(void **state)
{
	(void)state;
	struct bed b;
	struct call c;
	struct riffle_error err = {0};
	script(&b, "/no/such/program");
	option(b.values, "shell")->u.i = 0;
	run(&b, &c, none);
	assert_int_equal(c.status, RIFFLE_E_UNAVAILABLE);
	assert_non_null(strstr(c.error.text, "/no/such/program"));
	assert_int_equal(ops->ready(b.self, &err), RIFFLE_E_UNAVAILABLE);
	finish(&b, &c);
}

static void
test_what_cannot_be_a_line_fails_the_call(void **state)
{
	(void)state;
	const struct riffle_record bad[] = {{.value = {"a\nb", 3}, .offset = 5, .partition = 2},
		{.value = {NULL, 0}, .offset = 6}};
	static const char *const says[] = {"offset 5 of partition 2 of input 0 has a newline",
		"offset 6 of partition 0 of input 0 has no value"};
	for (int i = 0; i < 2; i++) {
		struct bed b;
		struct call c;
		struct riffle_error err = {0};
		struct riffle_batch batch;
		script(&b, "cat");
		start(&b);
		begin(&b, &c, 1);
		assert_int_equal(push(&c, &batch, &bad[i], 1, &err), RIFFLE_E_DATA);
		assert_non_null(strstr(err.text, says[i]));
		assert_true(eventually(is_done, &c));
		assert_int_equal(c.status, RIFFLE_E_DATA);
		assert_non_null(strstr(c.error.text, says[i]));
		finish(&b, &c);
	}
}

static void
test_limits_on_what_it_answers(void **state)
{
	(void)state;
	struct bed b;
	struct call c;
	script(&b, "head -c 5000 /dev/zero | tr '\\0' x");
	option(b.values, "max-line")->u.i = 1000;
	run(&b, &c, none);
	assert_non_null(strstr(c.error.text, "a line of more than max-line = 1000 bytes"));
	finish(&b, &c);
	script(&b, "yes");
	option(b.values, "max-output")->u.i = 100000;
	run(&b, &c, none);
	assert_int_equal(c.status, RIFFLE_E_DATA);
	assert_non_null(strstr(c.error.text, "more than max-output = 100000 bytes"));
	assert_int_equal(c.records, 0);
	finish(&b, &c);
	script(&b, "echo x");
	start(&b);
	begin(&b, &c, 0);
	assert_true(eventually(is_done, &c));
	assert_non_null(strstr(c.error.text, "the processor has no output"));
	finish(&b, &c);
}

static int
is_there(void *path)
{
	return access(path, F_OK) == 0;
}

/* The program says by a file that it is ready for the signal. */
static int64_t
cancel_takes_ms(const char *text, int64_t grace_ms)
{
	char path[64] = "/tmp/riffle-command-XXXXXX", whole[256];
	assert_non_null(mkdtemp(path));
	snprintf(whole, sizeof whole, "cd %s; %s", path, text);
	strcat(path, "/r");
	struct bed b;
	struct call c;
	script(&b, whole);
	option(b.values, "grace")->u.i = grace_ms;
	start(&b);
	begin(&b, &c, 1);
	assert_true(eventually(is_there, path));
	int64_t from = now_ns(NULL);
	ops->call_cancel(c.call, RIFFLE_E_TIMEOUT);
	assert_true(eventually(is_done, &c));
	assert_int_equal(c.status, RIFFLE_E_TIMEOUT);
	finish(&b, &c);
	unlink(path);
	*strrchr(path, '/') = '\0';
	rmdir(path);
	return (now_ns(NULL) - from) / 1000000;
}

static void
test_cancel_ends_it_and_kills_what_will_not(void **state)
{
	(void)state;
	assert_true(cancel_takes_ms(">r; exec sleep 1000", 90000) < 60000);
	int64_t stubborn = cancel_takes_ms("trap '' TERM; >r; while :; do sleep 1000; done", 200);
	assert_true(stubborn >= 190);
}

static int
is_gone(void *pid)
{
	return kill(*(pid_t *)pid, 0) < 0 && errno == ESRCH;
}

/* What it left behind was in its group; how often that is said. */
static unsigned
left_behind(struct bed *b, unsigned mode, unsigned calls)
{
	unsigned before = log_lines;
	script(b, "sleep 1000 & echo $!");
	option(b->values, "mode")->u.i = mode;
	start(b);
	for (unsigned i = 0; i < calls; i++) {
		struct call c;
		struct riffle_error err = {0};
		struct riffle_batch batch;
		const struct riffle_record r = {.value = bytes("a")};
		begin(b, &c, 1);
		ops->call_read(c.call, 1 << 30);
		assert_int_equal(push(&c, &batch, &r, 1, &err), 1);
		ops->call_end(c.call, &err);
		assert_true(eventually(is_done, &c));
		assert_int_equal(c.status, RIFFLE_OK);
		assert_int_equal(c.records, 1);
		pid_t pid = (pid_t)atoi(c.out);
		assert_true(pid > 1 && eventually(is_gone, &pid));
		end(&c);
	}
	ops->destroy(b->self);
	return log_lines - before;
}

static void
test_what_is_left_behind_does_not_hold_the_call(void **state)
{
	(void)state;
	struct bed b;
	assert_int_equal(left_behind(&b, 0, 2), 1);
	assert_non_null(strstr(last_log, "ended and left a process behind"));
	assert_int_equal(left_behind(&b, 1, 2), 1);
	/* It may finish what it is about. */
	expect("(sleep 0.05; echo late) & cat", "a|b|c|late|", RIFFLE_OK, 0, "");
	expect("sleep 1000 & exit 3", "", RIFFLE_E_DATA, 0, "exit status 3");
}

static void
test_neither_side_blocks_the_other(void **state)
{
	(void)state;
	struct bed b;
	struct call c;
	struct riffle_error err = {0};
	struct riffle_batch batch;
	static char big[100000];
	memset(big, 'x', sizeof big);
	struct riffle_record r[100];
	for (int i = 0; i < 100; i++)
		r[i] = (struct riffle_record){.value = {big, sizeof big}};
	/* More than a pipe holds comes out before ten megabytes are read. */
	script(&b, "head -c 300000 /dev/zero | tr '\\0' '\\n'; cat >/dev/null");
	start(&b);
	begin(&b, &c, 1);
	ops->call_read(c.call, 1 << 30);
	uint32_t pushed = 0;
	batch = (struct riffle_batch){.size = sizeof batch,
		.record_size = sizeof r[0],
		.record_count = 100,
		.records = r,
		.release = no_release,
		.host = {1, 0}};
	int waited = 0;
	while (pushed < 100) {
		int took = ops->call_push(c.call, &batch, pushed, 100 - pushed, &err);
		assert_true(took >= 0);
		pushed += (uint32_t)took;
		if (pushed == 100)
			break;
		waited++;
		assert_true(eventually(has_room, &c));
	}
	assert_true(waited > 0);
	ops->call_end(c.call, &err);
	assert_true(eventually(is_done, &c));
	assert_int_equal(c.status, RIFFLE_OK);
	assert_int_equal(c.records, 300000);
	assert_int_equal(batch.host[0], 1);
	finish(&b, &c);
}

static void
test_it_need_not_read_its_input(void **state)
{
	(void)state;
	struct bed b;
	struct call c;
	struct riffle_error err = {0};
	struct riffle_batch batch;
	static char big[3000000];
	memset(big, 'x', sizeof big);
	const struct riffle_record r = {.value = {big, sizeof big}};
	script(&b, "echo done");
	start(&b);
	begin(&b, &c, 1);
	ops->call_read(c.call, 100);
	push(&c, &batch, &r, 1, &err);
	ops->call_end(c.call, &err);
	assert_true(eventually(is_done, &c));
	assert_string_equal(c.out, "done|");
	assert_int_equal(batch.host[0], 1);
	finish(&b, &c);
}

/* The host hears of the end later than it happens, and may push until it does. */
static void
test_a_push_after_the_end_goes_nowhere(void **state)
{
	(void)state;
	struct bed b;
	struct call c;
	struct riffle_error err = {0};
	struct riffle_batch batch;
	const struct riffle_record r = {.value = bytes("x")};
	script(&b, "true");
	start(&b);
	begin(&b, &c, 1);
	assert_true(eventually(is_done, &c));
	assert_int_equal(push(&c, &batch, &r, 1, &err), 1);
	assert_int_equal(ops->call_end(c.call, &err), RIFFLE_OK);
	assert_int_equal(batch.host[0], 1);
	finish(&b, &c);
}

static void
test_stderr_is_drained_and_limited(void **state)
{
	(void)state;
	log_lines = 0;
	expect("echo note >&2; cat", "a|b|c|", RIFFLE_OK, 0, "");
	assert_string_equal(last_log, "stderr: note");
	log_lines = 0;
	expect("yes | head -c 3000000 >&2; cat", "a|b|c|", RIFFLE_OK, 0, "");
	assert_in_range(log_lines, 20, 200);
	expect("head -c 100000 /dev/zero | tr '\\0' x >&2; cat", "a|b|c|", RIFFLE_OK, 0, "");
}

static void
test_environment_directory_and_descriptors(void **state)
{
	(void)state;
	struct bed b;
	struct call c;
	static const char *const env[] = {"MINE=1", "PASSED", "ABSENT", NULL};
	setenv("PASSED", "on", 1);
	setenv("SECRET", "x", 1);
	int fds[20];
	for (int i = 0; i < 20; i++)
		fds[i] = open("/dev/null", O_RDONLY);
	script(&b, "env | grep -vE '^(PWD|OLDPWD|SHLVL|_|PATH|HOME|LANG|LC_ALL|TZ|TMPDIR)=' | "
		   "sort; pwd; ls /proc/self/fd | tr '\\n' ' '");
	option(b.values, "env")->u.list = env;
	option(b.values, "dir")->u.s = "/usr";
	run(&b, &c, none);
	assert_string_equal(
		c.out, "MINE=1|PASSED=on|RIFFLE_ATTEMPT=2|RIFFLE_WINDOW_START=1000|/usr|0 1 2 3 |");
	finish(&b, &c);
	for (int i = 0; i < 20; i++)
		close(fds[i]);
}

/* Whatever policy our own thread has: a program is as its host. */
static void
test_it_is_scheduled_as_its_host(void **state)
{
	(void)state;
	struct bed b;
	struct call c;
	char expected[16];
	snprintf(expected, sizeof expected, "%d|", sched_getscheduler(0));
	script(&b, "cut -d ' ' -f 41 /proc/self/stat");
	run(&b, &c, none);
	assert_string_equal(c.out, expected);
	finish(&b, &c);
}

static int
two_are_out(void *ctx)
{
	struct call *c = ctx;
	pthread_mutex_lock(&c->lock);
	size_t n = c->records;
	pthread_mutex_unlock(&c->lock);
	return n == 2;
}

static void
test_answers_wait_for_credit(void **state)
{
	(void)state;
	struct bed b;
	struct call c;
	struct riffle_error err = {0};
	script(&b, "printf '12345\\n12345\\n12345\\n'");
	start(&b);
	begin(&b, &c, 1);
	ops->call_end(c.call, &err);
	poll(NULL, 0, 100);
	assert_int_equal(c.records, 0);
	ops->call_read(c.call, sizeof(struct riffle_record) + 6);
	assert_true(eventually(two_are_out, &c));
	poll(NULL, 0, 50);
	assert_false(is_done(&c));
	ops->call_read(c.call, 1);
	assert_true(eventually(is_done, &c));
	assert_int_equal(c.records, 3);
	finish(&b, &c);
}

static void
test_many_at_once_do_not_mix(void **state)
{
	(void)state;
	struct bed b;
	static struct call calls[64];
	static struct riffle_batch batches[64];
	static struct riffle_record records[64];
	static char text[64][16];
	struct riffle_error err = {0};
	script(&b, "cat");
	start(&b);
	for (int i = 0; i < 64; i++) {
		begin(&b, &calls[i], 1);
		snprintf(text[i], sizeof text[i], "%d", i);
		records[i] = (struct riffle_record){.value = bytes(text[i])};
		ops->call_read(calls[i].call, 1000);
		push(&calls[i], &batches[i], &records[i], 1, &err);
	}
	for (int i = 0; i < 64; i++)
		ops->call_end(calls[i].call, &err);
	for (int i = 0; i < 64; i++) {
		char expected[20];
		assert_true(eventually(is_done, &calls[i]));
		snprintf(expected, sizeof expected, "%d|", i);
		assert_string_equal(calls[i].out, expected);
		end(&calls[i]);
	}
	ops->destroy(b.self);
}

static size_t
count_in(const char *path)
{
	size_t n = 0;
	DIR *d = opendir(path);
	while (readdir(d) != NULL)
		n++;
	closedir(d);
	return n;
}

static void
test_nothing_is_left_behind(void **state)
{
	(void)state;
	struct bed b;
	size_t fds = count_in("/proc/self/fd"), threads = count_in("/proc/self/task");
	script(&b, "cat");
	start(&b);
	for (int i = 0; i < 200; i++) {
		struct call c;
		struct riffle_error err = {0};
		begin(&b, &c, 1);
		if (i % 3 == 0)
			ops->call_cancel(c.call, RIFFLE_E_CANCELLED);
		else
			ops->call_end(c.call, &err);
		end(&c);
	}
	ops->destroy(b.self);
	assert_int_equal(count_in("/proc/self/fd"), fds);
	assert_int_equal(count_in("/proc/self/task"), threads);
	/* No zombie either: there is no child to wait for. */
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

static char findings[512];

static void
take_finding(const struct riffle_report *report, uint32_t severity, const struct riffle_config *cfg,
	const char *option, const char *text)
{
	size_t len = strlen(findings);
	(void)report, (void)severity, (void)cfg;
	snprintf(findings + len, sizeof findings - len, "%s: %s;", option, text);
}

static void
test_check_finds_mistakes(void **state)
{
	(void)state;
	struct bed b;
	static const char *const env[] = {"FINE=1", "2BAD", NULL};
	const struct riffle_report report = {.size = sizeof report, .add = take_finding};
	script(&b, "no-such-program-anywhere");
	option(b.values, "shell")->u.i = 0;
	option(b.values, "env")->u.list = env;
	ops->check(&b.config, &report);
	assert_string_equal(findings, "command: program 'no-such-program-anywhere' is not in PATH;"
				      "env: an entry is NAME=VALUE or NAME;");
	findings[0] = '\0';
	script(&b, "echo");
	b.words[1] = "two";
	ops->check(&b.config, &report);
	assert_string_equal(findings,
		"command: with shell = yes the whole script stands in one pair of quotes;");
	findings[0] = '\0';
	script(&b, "/tmp");
	option(b.values, "shell")->u.i = 0;
	ops->check(&b.config, &report);
	assert_string_equal(findings, "command: program '/tmp': Is a directory;");
	findings[0] = '\0';
	script(&b, "cat");
	option(b.values, "shell")->u.i = 0;
	b.words[1] = "|";
	ops->check(&b.config, &report);
	assert_string_equal(findings,
		"command: '|' is an argument here, for no shell is started: shell = yes starts "
		"one, with the whole script in one pair of quotes;");
	findings[0] = '\0';
	b.words[1] = NULL;
	option(b.values, "dir")->u.s = "/no/such/place";
	ops->check(&b.config, &report);
	assert_string_equal(
		findings, "dir: directory '/no/such/place': No such file or directory;");
	findings[0] = '\0';
	option(b.values, "dir")->u.s = "/dev/null";
	ops->check(&b.config, &report);
	assert_string_equal(findings, "dir: directory '/dev/null': Not a directory;");
	option(b.values, "dir")->u.s = NULL;
}

static uint64_t said;

static void
take_capabilities(
	const struct riffle_report *report, const struct riffle_config *cfg, uint64_t capabilities)
{
	(void)report, (void)cfg;
	said = capabilities;
}

static void
test_check_says_what_the_instance_will(void **state)
{
	(void)state;
	const struct riffle_report report = {
		.size = sizeof report, .add = take_finding, .can = take_capabilities};
	for (int64_t format = 0; format < 3; format++)
		for (int64_t mode = 0; mode < 3; mode++) {
			struct bed b;
			script(&b, "cat");
			*option(b.values, "format") =
				(struct riffle_value){.is_set = 1, .u.i = format};
			*option(b.values, "mode") = (struct riffle_value){.is_set = 1, .u.i = mode};
			said = UINT64_MAX;
			findings[0] = '\0';
			ops->check(&b.config, &report);
			if (findings[0] != '\0')
				continue;
			start(&b);
			assert_int_equal(said, ops->capabilities(b.self));
			ops->destroy(b.self);
		}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines_go_in_and_out),
		cmocka_unit_test(test_nul_and_empty_lines_are_kept),
		cmocka_unit_test(test_exit_status_decides),
		cmocka_unit_test(test_program_that_is_not_there),
		cmocka_unit_test(test_what_cannot_be_a_line_fails_the_call),
		cmocka_unit_test(test_limits_on_what_it_answers),
		cmocka_unit_test(test_cancel_ends_it_and_kills_what_will_not),
		cmocka_unit_test(test_what_is_left_behind_does_not_hold_the_call),
		cmocka_unit_test(test_neither_side_blocks_the_other),
		cmocka_unit_test(test_it_need_not_read_its_input),
		cmocka_unit_test(test_a_push_after_the_end_goes_nowhere),
		cmocka_unit_test(test_stderr_is_drained_and_limited),
		cmocka_unit_test(test_environment_directory_and_descriptors),
		cmocka_unit_test(test_it_is_scheduled_as_its_host),
		cmocka_unit_test(test_answers_wait_for_credit),
		cmocka_unit_test(test_many_at_once_do_not_mix),
		cmocka_unit_test(test_nothing_is_left_behind),
		cmocka_unit_test(test_check_finds_mistakes),
		cmocka_unit_test(test_check_says_what_the_instance_will),
	};
	ops = load_plugin("plugins/invoker-command/.libs/invoker-command.so")->ops;
	return RUN("command", tests);
}
