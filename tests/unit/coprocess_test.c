/* Programs that live on, per-record, and what a program may do: with real programs. */
#include "coprocess_bed.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static int
one_is_out(void *ctx)
{
	struct call *c = ctx;
	pthread_mutex_lock(&c->lock);
	size_t n = c->records;
	pthread_mutex_unlock(&c->lock);
	return n >= 1;
}

static void
test_an_answer_comes_while_the_window_is_open(void **state)
{
	(void)state;
	struct bed b;
	struct call c, next;
	struct riffle_error err = {0};
	struct riffle_batch batch, other;
	struct riffle_record r, two[2] = {{.value = {"b", 1}}, {.value = {"c", 1}}};
	program(&b, COPROCESS, FRAMES, ECHO);
	start(&b);
	assert_true(ops->capabilities(b.self) & RIFFLE_CAN_STREAM);
	begin_window(&b, &c, 1, "1", 1);
	ops->call_read(c.call, 1 << 30);
	give_text(&c, &batch, &r, "a");
	assert_true(eventually(one_is_out, &c));
	assert_false(is_done(&c));
	/* Behind an open window another one waits, and its end with it. */
	begin_window(&b, &next, 1, "2", 1);
	ops->call_read(next.call, 1 << 30);
	other = (struct riffle_batch){.size = sizeof other,
		.record_size = sizeof two[0],
		.record_count = 2,
		.records = two,
		.release = no_release,
		.host = {1, 0}};
	assert_int_equal(ops->call_push(next.call, &other, 0, 2, &err), 1);
	ops->call_end(c.call, &err);
	assert_true(eventually(is_done, &c));
	assert_int_equal(c.status, RIFFLE_OK);
	assert_true(eventually(has_room, &next));
	assert_int_equal(ops->call_push(next.call, &other, 1, 1, &err), 1);
	ops->call_end(next.call, &err);
	assert_true(eventually(is_done, &next));
	assert_string_equal(next.out, "b|c|");
	end(&c);
	finish(&b, &next);
}

static int
is_ready(void *ctx)
{
	struct riffle_error err;
	return ops->ready(((struct bed *)ctx)->self, &err) == RIFFLE_OK;
}

static void
test_ready_waits_for_hello(void **state)
{
	(void)state;
	struct bed b;
	struct riffle_error err = {0};
	program(&b, COPROCESS, FRAMES, ECHO);
	start(&b);
	assert_true(eventually(is_ready, &b));
	stop(&b);
	static const char *const mute[] = {"MUTE=1", NULL};
	program(&b, COPROCESS, FRAMES, ECHO);
	option(b.values, "env")->u.list = mute;
	start(&b);
	assert_int_equal(ops->ready(b.self, &err), RIFFLE_E_UNAVAILABLE);
	assert_non_null(strstr(err.text, "has not said hello yet"));
	stop(&b);
	program(&b, COPROCESS, FRAMES, ECHO);
	b.words[0] = "/no/such/program";
	start(&b);
	struct call c;
	begin_window(&b, &c, 1, "1", 1);
	assert_true(eventually(is_done, &c));
	assert_int_equal(c.status, RIFFLE_E_UNAVAILABLE);
	finish(&b, &c);
}

#define MANY 40

/* All at once; each answers the pid of its program. Returns how many programs there were. */
static int
pids_of(uint32_t processes)
{
	static struct call calls[MANY];
	static struct riffle_batch batches[MANY];
	struct riffle_record r = {.value = {"x", 1}};
	struct riffle_error err = {0};
	struct bed b;
	int pids = 0;
	program(&b, COPROCESS, FRAMES,
		FRAMES_PROGRAM
		"  if f[:1] == b'E': time.sleep(0.01); say(b'%d' % os.getpid()); done()\n");
	option(b.values, "processes")->u.i = processes;
	start(&b);
	for (int i = 0; i < MANY; i++) {
		char at[16];
		snprintf(at, sizeof at, "%d", i);
		begin_window(&b, &calls[i], 1, at, 1);
		ops->call_read(calls[i].call, 1 << 30);
	}
	int ended[MANY] = {0}, left = MANY;
	int64_t limit = now_ns(NULL) + EVENTUALLY_S * INT64_C(1000000000);
	while (left > 0 && now_ns(NULL) < limit) {
		if (meanwhile != NULL)
			meanwhile();
		for (int i = 0; i < MANY; i++) {
			if (ended[i])
				continue;
			batches[i].host[0] = batches[i].host[0] ? batches[i].host[0] : 1;
			batches[i].size = sizeof batches[i];
			batches[i].record_size = sizeof r;
			batches[i].record_count = 1;
			batches[i].records = &r;
			batches[i].release = no_release;
			if (ops->call_push(calls[i].call, &batches[i], 0, 1, &err) < 1)
				continue;
			ops->call_end(calls[i].call, &err);
			ended[i] = 1;
			left--;
		}
	}
	assert_int_equal(left, 0);
	for (int i = 0; i < MANY; i++) {
		int is_new = 1;
		assert_true(eventually(is_done, &calls[i]));
		assert_int_equal(calls[i].status, RIFFLE_OK);
		for (int k = 0; k < i; k++)
			is_new &= strcmp(calls[k].full, calls[i].full) != 0;
		pids += is_new;
	}
	for (int i = 0; i < MANY; i++)
		end(&calls[i]);
	stop(&b);
	return pids;
}

static void
test_a_pool_has_so_many_programs(void **state)
{
	(void)state;
	assert_int_equal(pids_of(1), 1);
	assert_int_equal(pids_of(3), 3);
}

static void
test_a_window_that_kills_is_found(void **state)
{
	(void)state;
	struct bed b;
	struct call c, behind;
	struct riffle_batch batch, other;
	struct riffle_record r, two[2] = {{.value = {"b", 1}}, {.value = {"c", 1}}};
	struct riffle_error err = {0};
	program(&b, COPROCESS, FRAMES,
		FRAMES_PROGRAM
		"  if f[:1] == b'R' and f.endswith(b'die'): os.kill(os.getpid(), 9)\n"
		"  if f[:1] == b'R': send(b'o' + f[1:])\n"
		"  if f[:1] == b'E': done()\n");
	start(&b);
	window(&b, &c, "die", "1", 1);
	assert_int_equal(c.error.flags, RIFFLE_ERR_RETRIABLE);
	assert_non_null(strstr(c.error.text, "was killed by SIGKILL"));
	end(&c);
	window(&b, &c, "fine", "2", 1);
	assert_string_equal(c.out, "fine|");
	end(&c);
	/* The second time is the last; a window that waits behind it hears nothing of it. */
	begin_window(&b, &c, 1, "1", 2);
	begin_window(&b, &behind, 1, "3", 1);
	ops->call_read(behind.call, 1 << 30);
	other = (struct riffle_batch){.size = sizeof other,
		.record_size = sizeof two[0],
		.record_count = 2,
		.records = two,
		.release = no_release,
		.host = {1, 0}};
	assert_int_equal(ops->call_push(behind.call, &other, 0, 2, &err), 1);
	give_text(&c, &batch, &r, "die");
	ops->call_end(c.call, &err);
	assert_true(eventually(is_done, &c));
	assert_non_null(strstr(c.error.text, "on this window twice"));
	assert_int_equal(c.error.flags, 0);
	assert_true(eventually(has_room, &behind));
	assert_int_equal(ops->call_push(behind.call, &other, 1, 1, &err), 1);
	ops->call_end(behind.call, &err);
	assert_true(eventually(is_done, &behind));
	assert_int_equal(behind.status, RIFFLE_OK);
	assert_string_equal(behind.out, "b|c|");
	end(&c);
	finish(&b, &behind);
}

/* The window in hand is stopped while the next is in the pipe already. */
static void
test_cancel_costs_the_program_and_no_other_window(void **state)
{
	(void)state;
	struct bed b;
	struct call c, behind;
	struct riffle_batch batch, other;
	struct riffle_record r, two[2] = {{.value = {"b", 1}}, {.value = {"c", 1}}};
	struct riffle_error err = {0};
	program(&b, COPROCESS, FRAMES,
		FRAMES_PROGRAM
		"  if f[:1] == b'R' and f.endswith(b'hang'): say(b'in'); time.sleep(1000)\n"
		"  if f[:1] == b'R': send(b'o' + f[1:])\n"
		"  if f[:1] == b'E': done()\n");
	start(&b);
	begin_window(&b, &c, 1, "1", 1);
	ops->call_read(c.call, 1 << 30);
	give_text(&c, &batch, &r, "hang");
	ops->call_end(c.call, &err);
	begin_window(&b, &behind, 1, "2", 1);
	ops->call_read(behind.call, 1 << 30);
	other = (struct riffle_batch){.size = sizeof other,
		.record_size = sizeof two[0],
		.record_count = 2,
		.records = two,
		.release = no_release,
		.host = {1, 0}};
	assert_int_equal(ops->call_push(behind.call, &other, 0, 2, &err), 1);
	assert_true(eventually(one_is_out, &c));
	ops->call_cancel(c.call, RIFFLE_E_TIMEOUT);
	assert_true(eventually(is_done, &c));
	assert_int_equal(c.status, RIFFLE_E_TIMEOUT);
	assert_int_equal(batch.host[0], 1);
	assert_true(eventually(has_room, &behind));
	assert_int_equal(ops->call_push(behind.call, &other, 1, 1, &err), 1);
	ops->call_end(behind.call, &err);
	assert_true(eventually(is_done, &behind));
	assert_string_equal(behind.out, "b|c|");
	end(&c);
	finish(&b, &behind);
}

static void
test_large_values_both_ways_at_once(void **state)
{
	(void)state;
	static char big[3000000];
	static struct riffle_record r[8];
	struct riffle_batch batch;
	struct riffle_error err = {0};
	struct bed b;
	struct call c;
	memset(big, 'x', sizeof big);
	for (int i = 0; i < 8; i++)
		r[i] = (struct riffle_record){.value = {big, sizeof big}};
	/* It writes eight megabytes before it reads the rest. */
	program(&b, COPROCESS, FRAMES,
		FRAMES_PROGRAM "  if f[:1] == b'S': [say(b'y' * 1000000) for _ in range(8)]\n"
			       "  if f[:1] == b'R': send(b'o' + f[1:])\n"
			       "  if f[:1] == b'E': done()\n");
	start(&b);
	begin(&b, &c, 1);
	ops->call_read(c.call, 1 << 30);
	give(&c, &batch, r, 8, NULL, NULL);
	ops->call_end(c.call, &err);
	assert_true(eventually(is_done, &c));
	assert_int_equal(c.status, RIFFLE_OK);
	assert_int_equal(c.records, 16);
	assert_int_equal(c.len, 16 + 8 * 1000000 + 8 * sizeof big);
	finish(&b, &c);
}

static void
test_a_program_waits_for_credit(void **state)
{
	(void)state;
	struct bed b;
	struct call c;
	struct riffle_error err = {0};
	program(&b, COPROCESS, FRAMES,
		FRAMES_PROGRAM
		"  if f[:1] == b'E': [say(b'x' * 100) for _ in range(100000)]; done()\n");
	start(&b);
	begin(&b, &c, 1);
	ops->call_end(c.call, &err);
	ops->call_read(c.call, 1);
	assert_true(eventually(one_is_out, &c));
	poll(NULL, 0, 100);
	assert_int_equal(c.records, 1);
	ops->call_read(c.call, 1 << 30);
	assert_true(eventually(is_done, &c));
	assert_int_equal(c.records, 100000);
	finish(&b, &c);
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
	struct call c;
	size_t fds = count_in("/proc/self/fd"), threads = count_in("/proc/self/task");
	program(&b, COPROCESS, FRAMES,
		FRAMES_PROGRAM "  if f[:1] == b'E' and attempt == 1: done()\n"
			       "  if f[:1] == b'E' and os.fork() == 0: time.sleep(1000)\n"
			       "  if f[:1] == b'E' and attempt == 2: sys.exit(1)\n");
	option(b.values, "restart")->u.i = option(b.values, "restart-max")->u.i = 1;
	start(&b);
	for (uint32_t i = 0; i < 30; i++) {
		char at[16];
		snprintf(at, sizeof at, "%u", i);
		window(&b, &c, "x", at, 1 + i % 2);
		end(&c);
	}
	stop(&b);
	assert_int_equal(count_in("/proc/self/fd"), fds);
	assert_int_equal(count_in("/proc/self/task"), threads);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

static void
per_record(struct bed *b, const char *text)
{
	script(b, text);
	*option(b->values, "mode") = (struct riffle_value){.is_set = 1, .u.i = PER_RECORD};
	option(b->values, "processes")->u.i = 4;
}

static void
run_records(struct bed *b, struct call *c, const char *const *values)
{
	static struct riffle_record r[8];
	static struct riffle_batch batch;
	struct riffle_error err = {0};
	uint32_t n = 0;
	for (; values[n] != NULL; n++)
		r[n] = (struct riffle_record){.value = bytes(values[n]),
			.offset = 10 + n,
			.key = bytes("k"),
			.time_ms = 5};
	start(b);
	begin(b, c, 1);
	ops->call_read(c->call, 1 << 30);
	give(c, &batch, r, n, NULL, NULL);
	ops->call_end(c->call, &err);
	assert_true(eventually(is_done, c));
	assert_int_equal(batch.host[0], 1);
}

static const char *const numbers[] = {"4", "3", "2\n", "1", "0", NULL};

static void
test_per_record_replies_in_the_order_of_the_records(void **state)
{
	(void)state;
	struct bed b;
	struct call c;
	per_record(&b, "x=$(cat; echo .); sleep 0.0${x%%[!0-9]*}; printf %s \"${x%.} $RIFFLE_KEY "
		       "$RIFFLE_INPUT $RIFFLE_TIME $RIFFLE_ATTEMPT\"");
	run_records(&b, &c, numbers);
	assert_string_equal(c.out, "4 k x 5 2|3 k x 5 2|2\n k x 5 2|1 k x 5 2|0 k x 5 2|");
	assert_int_equal(c.replied, 5);
	finish(&b, &c);
	per_record(&b, "true");
	run_records(&b, &c, numbers);
	assert_string_equal(c.out, "|||||");
	finish(&b, &c);
	per_record(&b, "cat; echo");
	*option(b.values, "format") = (struct riffle_value){.is_set = 1, .u.i = JSON_LINES};
	b.words[0] = "sed 's/\"type\":\"record\",\"input\":\"x\",//'; echo '{\"value\":\"and\"}'";
	run_records(&b, &c, numbers);
	assert_string_equal(c.out, "4|and|3|and|2\n|and|1|and|0|and|");
	assert_int_equal(c.status, RIFFLE_OK);
	finish(&b, &c);
}

/* What nobody takes is not made: the programs are there for another call meanwhile. */
static void
test_per_record_waits_for_credit(void **state)
{
	(void)state;
	enum { RECORDS = 40 };
	struct bed b;
	struct call c, other;
	struct riffle_batch batch, one;
	struct riffle_record r[RECORDS];
	struct riffle_error err = {0};
	char dir[] = "/tmp/riffle-per-record-XXXXXX", env[64], *count = env + sizeof "RUNS=" - 1;
	const char *const list[] = {env, NULL};
	struct stat st;
	assert_non_null(mkdtemp(dir));
	snprintf(env, sizeof env, "RUNS=%s/runs", dir);
	for (int i = 0; i < RECORDS; i++)
		r[i] = (struct riffle_record){.value = {"x", 1}};
	per_record(&b, "printf 1 >>$RUNS; cat");
	option(b.values, "processes")->u.i = 1;
	option(b.values, "env")->u.list = list;
	start(&b);
	begin(&b, &c, 1);
	give(&c, &batch, r, RECORDS, NULL, NULL);
	ops->call_end(c.call, &err);
	begin(&b, &other, 1);
	ops->call_read(other.call, 1 << 20);
	give(&other, &one, r, 1, NULL, NULL);
	ops->call_end(other.call, &err);
	assert_true(eventually(is_done, &other));
	assert_int_equal(stat(count, &st), 0);
	assert_in_range(st.st_size, 1, 3);
	ops->call_read(c.call, 1);
	assert_true(eventually(one_is_out, &c));
	ops->call_read(c.call, 1 << 20);
	assert_true(eventually(is_done, &c));
	assert_int_equal(c.status, RIFFLE_OK);
	assert_int_equal(c.records, RECORDS);
	assert_int_equal(stat(count, &st), 0);
	assert_int_equal(st.st_size, RECORDS + 1);
	unlink(count);
	rmdir(dir);
	end(&other);
	finish(&b, &c);
}

static void
test_per_record_names_the_record_that_failed(void **state)
{
	(void)state;
	struct bed b;
	struct call c;
	per_record(&b, "read x; [ $x != 1 ] || exit 75; printf $x");
	run_records(&b, &c, numbers);
	assert_int_equal(c.status, RIFFLE_E_DATA);
	assert_int_equal(c.error.flags, RIFFLE_ERR_RETRIABLE);
	assert_non_null(strstr(c.error.text, "record at offset 13 of partition 0 of input 0: "));
	assert_int_equal(c.replied, 3);
	finish(&b, &c);
}

static void
test_what_a_program_may_do(void **state)
{
	(void)state;
	struct bed b;
	struct call c;
	struct riffle_error err = {0};
	script(&b, "ulimit -c; ulimit -n; ulimit -f; ulimit -t; ulimit -v; grep NoNewPrivs "
		   "/proc/self/status "
		   "| tr -dc 0-9; echo; grep -E 'Sig(Blk|Ign)' /proc/self/status | tr -dc 1-9a-f; "
		   "echo; "
		   "set -- $(cat /proc/$$/stat); [ $5 = $$ ] && echo leads");
	option(b.values, "limit-files")->u.i = 17;
	option(b.values, "limit-file-size")->u.i = 512 * 1024;
	option(b.values, "limit-cpu")->u.i = 9500;
	option(b.values, "limit-memory")->u.i = 512 << 20;
	start(&b);
	begin(&b, &c, 1);
	ops->call_read(c.call, 1 << 30);
	ops->call_end(c.call, &err);
	assert_true(eventually(is_done, &c));
	assert_string_equal(c.out, "0|17|1024|10|524288|1||leads|");
	finish(&b, &c);
	if (geteuid() != 0)
		return;
	script(&b, "id -un; id -G; ls / >/dev/null && echo fine");
	option(b.values, "user")->u.s = "nobody";
	start(&b);
	begin(&b, &c, 1);
	ops->call_read(c.call, 1 << 30);
	ops->call_end(c.call, &err);
	assert_true(eventually(is_done, &c));
	assert_string_equal(c.out, "nobody|65534|fine|");
	finish(&b, &c);
	script(&b, "true");
	option(b.values, "user")->u.s = "nobody-of-this-name";
	assert_int_equal(ops->create(&host, &b.config, &b.self, &err), RIFFLE_E_CONFIG);
	assert_non_null(strstr(err.text, "user 'nobody-of-this-name': there is none"));
}

static void
test_templates_and_their_dangers(void **state)
{
	(void)state;
	struct bed b;
	struct call c;
	struct riffle_error err = {0};
	script(&b, "printf");
	option(b.values, "shell")->u.i = 0;
	b.words[1] = "%s\\n";
	b.words[2] = "<%{window-start}>";
	b.words[3] = "%{attempt}%{window-key}";
	start(&b);
	begin_window(&b, &c, 1, "-1; $(id) x", 3);
	ops->call_read(c.call, 1 << 30);
	ops->call_end(c.call, &err);
	assert_true(eventually(is_done, &c));
	assert_string_equal(c.out, "<-1; $(id) x>|3|");
	end(&c);
	begin_window(&b, &c, 1, "a\nb", 3);
	assert_true(eventually(is_done, &c));
	assert_non_null(strstr(
		c.error.text, "cannot hand riffle-window-start to the program: it has a newline"));
	finish(&b, &c);
}

/* Answers a record with its own number, and takes the next one when it is told to. */
#define SLOW                                                                                       \
	FRAMES_PROGRAM                                                                             \
	"  signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])\n"                           \
	"  if f[:1] == b'R': say(str(os.getpid()).encode()); signal.sigwait([signal.SIGUSR1])\n"   \
	"  if f[:1] == b'E': done()\n"

struct awaited {
	struct call *c;
	uint64_t records;
};

static int
so_many_are_out(void *ctx)
{
	struct awaited *w = ctx;
	pthread_mutex_lock(&w->c->lock);
	uint64_t n = w->c->records;
	pthread_mutex_unlock(&w->c->lock);
	return n >= w->records;
}

/* It has so much to read that it seems busy, and yet waits. */
static void
test_answers_do_not_wait_for_a_slow_program(void **state)
{
	(void)state;
	enum { RECORDS = 100, BYTES = 4096 };
	static const char value[BYTES];
	struct bed b;
	struct call c;
	struct riffle_batch batch;
	struct riffle_record r[RECORDS];
	for (int i = 0; i < RECORDS; i++)
		r[i] = (struct riffle_record){.value = {value, BYTES}};
	program(&b, COPROCESS, FRAMES, SLOW);
	start(&b);
	begin_window(&b, &c, 1, "1", 1);
	ops->call_read(c.call, 1 << 30);
	give(&c, &batch, r, RECORDS, NULL, NULL);
	struct awaited w = {&c, 1};
	for (; w.records <= 3; w.records++) {
		assert_true(eventually(so_many_are_out, &w));
		assert_int_equal(kill(atoi(c.out), SIGUSR1), 0);
	}
	ops->call_cancel(c.call, RIFFLE_E_CANCELLED);
	assert_true(eventually(is_done, &c));
	assert_int_equal(batch.host[0], 1);
	finish(&b, &c);
}

/* Done with the first window at its start, it reads what it was sent when the file is there, and says how that was. */
#define ANSWERS_EARLY                                                                              \
	FRAMES_PROGRAM "  if f[:1] == b'S' and attempt == 2:\n"                                    \
		       "    done(); bad = 0\n"                                                     \
		       "    while not os.path.exists(sys.argv[1]): time.sleep(0.01)\n"             \
		       "  if f[:1] == b'R' and attempt == 2: bad += f[-4096:] != b'x' * 4096\n"    \
		       "  if f[:1] == b'E' and attempt == 3: say(b'%d bad' % bad); done()\n"

enum { LENT_RECORDS = 2000, LENT_BYTES = 4096 };

static void
spoil(struct riffle_batch *b)
{
	for (uint32_t i = 0; i < b->record_count; i++)
		memset((void *)(uintptr_t)b->records[i].value.ptr, 'z', LENT_BYTES);
}

struct lent {
	struct call *call;
	struct riffle_batch batch;
	uint32_t took;
};

/* One more is taken, and goes nowhere. */
static int
is_taken_in_vain(void *ctx)
{
	struct lent *l = ctx;
	struct riffle_error err = {0};
	uint64_t refs = __atomic_load_n(&l->batch.host[0], __ATOMIC_ACQUIRE);
	assert_true(l->took < LENT_RECORDS);
	if (ops->call_push(l->call->call, &l->batch, l->took, 1, &err) <= 0)
		return 0;
	if (__atomic_load_n(&l->batch.host[0], __ATOMIC_ACQUIRE) <= refs)
		return 1;
	l->took++;
	return 0;
}

static void
test_what_is_in_the_pipe_is_kept_for_a_program_that_answers_early(void **state)
{
	(void)state;
	static struct riffle_record r[LENT_RECORDS];
	struct bed b;
	struct call c, after;
	struct lent lent = {.call = &c};
	struct riffle_error err = {0};
	char dir[] = "/tmp/riffle-coprocess-XXXXXX", flag[64];
	assert_non_null(mkdtemp(dir));
	snprintf(flag, sizeof flag, "%s/read", dir);
	for (int i = 0; i < LENT_RECORDS; i++) {
		char *value = malloc(LENT_BYTES);
		r[i] = (struct riffle_record){
			.value = {memset(value, 'x', LENT_BYTES), LENT_BYTES}};
	}
	program(&b, COPROCESS, FRAMES, ANSWERS_EARLY);
	b.words[3] = flag;
	start(&b);
	begin(&b, &c, 1);
	ops->call_read(c.call, 1 << 30);
	make_batch(&lent.batch, r, LENT_RECORDS);
	lent.batch.release = spoil;
	int n = ops->call_push(c.call, &lent.batch, 0, LENT_RECORDS, &err);
	must(n, &err);
	lent.took = (uint32_t)n;
	assert_true(eventually(is_taken_in_vain, &lent));
	host.batch_unref(&host, &lent.batch);
	int fd = open(flag, O_CREAT | O_WRONLY, 0600);
	assert_true(fd >= 0);
	close(fd);
	ops->call_end(c.call, &err);
	assert_true(eventually(is_done, &c));
	assert_int_equal(c.status, RIFFLE_OK);
	window(&b, &after, "x", "2000", 3);
	assert_int_equal(after.status, RIFFLE_OK);
	assert_string_equal(after.out, "0 bad|");
	assert_int_equal(lent.batch.host[0], 0);
	for (int i = 0; i < LENT_RECORDS; i++)
		free((void *)(uintptr_t)r[i].value.ptr);
	unlink(flag);
	rmdir(dir);
	end(&c);
	finish(&b, &after);
}

/* It has answered, and will not read the rest: there is no end of the window that could be written. */
static void
test_cancel_ends_a_window_whose_rest_nobody_reads(void **state)
{
	(void)state;
	static const char value[LENT_BYTES];
	static struct riffle_record r[LENT_RECORDS];
	struct bed b;
	struct call c;
	struct lent lent = {.call = &c};
	struct riffle_error err = {0};
	for (int i = 0; i < LENT_RECORDS; i++)
		r[i] = (struct riffle_record){.value = {value, LENT_BYTES}};
	program(&b, COPROCESS, FRAMES, ANSWERS_EARLY);
	b.words[3] = "/nowhere/to/be/seen";
	start(&b);
	begin(&b, &c, 1);
	make_batch(&lent.batch, r, LENT_RECORDS);
	int n = ops->call_push(c.call, &lent.batch, 0, LENT_RECORDS, &err);
	must(n, &err);
	lent.took = (uint32_t)n;
	assert_true(eventually(is_taken_in_vain, &lent));
	ops->call_end(c.call, &err);
	ops->call_cancel(c.call, RIFFLE_E_TIMEOUT);
	assert_true(eventually(is_done, &c));
	assert_int_equal(c.status, RIFFLE_E_TIMEOUT);
	assert_int_equal(lent.batch.host[0], 1);
	finish(&b, &c);
}

/* The window in hand did nothing wrong: its end with the other one's is no mark against it. */
static void
test_cancel_behind_a_window_is_no_fault_of_it(void **state)
{
	(void)state;
	struct bed b;
	struct call c, behind;
	struct riffle_batch batch, other;
	struct riffle_record r, two[2] = {{.value = {"b", 1}}, {.value = {"c", 1}}};
	struct riffle_error err = {0};
	program(&b, COPROCESS, FRAMES,
		FRAMES_PROGRAM "  if f[:1] == b'R':\n"
			       "    say(b'in')\n"
			       "    while frame()[:1] != b'S': pass\n"
			       "    say(b'the next one is here'); time.sleep(1000)\n");
	start(&b);
	for (uint32_t attempt = 1; attempt <= 2; attempt++) {
		begin_window(&b, &c, 1, "1", attempt);
		ops->call_read(c.call, 1 << 30);
		give_text(&c, &batch, &r, "x");
		ops->call_end(c.call, &err);
		struct awaited in = {&c, 1}, both = {&c, 2};
		assert_true(eventually(so_many_are_out, &in));
		begin_window(&b, &behind, 1, "2", 1);
		assert_int_equal(push(&behind, &other, two, 2, &err), 1);
		assert_true(eventually(so_many_are_out, &both));
		ops->call_cancel(behind.call, RIFFLE_E_CANCELLED);
		assert_true(eventually(is_done, &behind));
		assert_int_equal(behind.status, RIFFLE_E_CANCELLED);
		assert_true(eventually(is_done, &c));
		assert_int_equal(c.status, RIFFLE_E_UNAVAILABLE);
		assert_int_equal(c.error.flags, RIFFLE_ERR_RETRIABLE);
		end(&behind);
		end(&c);
	}
	stop(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_an_answer_comes_while_the_window_is_open),
		cmocka_unit_test(test_answers_do_not_wait_for_a_slow_program),
		cmocka_unit_test(test_what_is_in_the_pipe_is_kept_for_a_program_that_answers_early),
		cmocka_unit_test(test_ready_waits_for_hello),
		cmocka_unit_test(test_a_pool_has_so_many_programs),
		cmocka_unit_test(test_a_window_that_kills_is_found),
		cmocka_unit_test(test_cancel_costs_the_program_and_no_other_window),
		cmocka_unit_test(test_cancel_ends_a_window_whose_rest_nobody_reads),
		cmocka_unit_test(test_cancel_behind_a_window_is_no_fault_of_it),
		cmocka_unit_test(test_large_values_both_ways_at_once),
		cmocka_unit_test(test_a_program_waits_for_credit),
		cmocka_unit_test(test_nothing_is_left_behind),
		cmocka_unit_test(test_per_record_replies_in_the_order_of_the_records),
		cmocka_unit_test(test_per_record_waits_for_credit),
		cmocka_unit_test(test_per_record_names_the_record_that_failed),
		cmocka_unit_test(test_what_a_program_may_do),
		cmocka_unit_test(test_templates_and_their_dangers),
	};
	ops = load_plugin("plugins/invoker-command/.libs/invoker-command.so")->ops;
	return RUN("coprocess", tests);
}
