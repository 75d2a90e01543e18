/*
 * The embedded log under fire: killed at each of many system calls, or failed by them, a process that appends,
 * commits and cleans leaves what it acknowledged, and transactions whole or absent, to the next one.
 *
 * RIFFLE_SEED picks which points are taken where not all are; RIFFLE_POINTS says how many.
 */
#include "../unit/local_bed.h"

#include "fault.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define KIB INT64_C(1024)
#define ROUNDS 14
#define SEND_RECORDS 8
#define KEYS 4
#define BEGINNING 120

static unsigned seed;

static long
number_of(const char *name, long fallback)
{
	const char *given = getenv(name);
	return given ? atol(given) : fallback;
}

/*
 * What the streams hold. "log": two partitions, record n lies in n % 2 at offset n / 2, sent eight at a
 * time. "out": three records a transaction, whose position is how many there are. "table": compacted,
 * record n has key n % 4.
 */
struct streams {
	struct riffle_value log_values[16], out_values[16], table_values[16];
	struct riffle_config log_config, out_config, table_config;
	struct riffle_stream log, out, table;
};

static void
make_stream(struct riffle_stream *s, struct riffle_config *c, struct riffle_value *list,
	const char *name, uint32_t partitions)
{
	*s = stream_of(name, partitions);
	memcpy(list, stream_values, sizeof stream_values);
	*c = stream_config;
	c->values = list;
	s->config = c;
}

static void
make_streams(struct streams *all)
{
	take_defaults(RIFFLE_SECTION_STREAM, &stream_config, stream_values);
	set_stream("tombstones", 86400000);
	make_stream(&all->out, &all->out_config, all->out_values, "out", 1);
	set_stream("segment", 64 * KIB);
	set_stream("retention-size", 64 * KIB);
	make_stream(&all->log, &all->log_config, all->log_values, "log", 2);
	set_stream("retention-size", 0);
	set_stream("cleanup", 1);
	make_stream(&all->table, &all->table_config, all->table_values, "table", 1);
}

/* What the one under fire tells before it dies. The pipe is not counted among its writes. */
struct told {
	int64_t log, out, table; /* how many are acknowledged */
	int64_t retried, fatal, refused;
};

static int told_fd;
static struct told told;

static void
tell(void)
{
	if (syscall(SYS_write, told_fd, &told, sizeof told) != (ssize_t)sizeof told)
		_exit(3);
}

/* The last whole message; what came before it is in it. */
static struct told
hear(int fd)
{
	struct told last = {0}, next;
	while (read(fd, &next, sizeof next) == (ssize_t)sizeof next)
		last = next;
	return last;
}

/* The end of a process whose log cannot be used any more. */
static _Noreturn void
give_up(void)
{
	told.fatal = 1;
	tell();
	_exit(0);
}

/* A log that cannot be opened because its disk is read only waits for a person, who may have seen to it by now. */
static int
wants_a_person(int code, const struct riffle_error *err)
{
	return code == RIFFLE_E_CONFIG && strstr(err->text, "cannot open the log in ") != NULL &&
	       strstr(err->text, ": Read-only file system") != NULL;
}

static void
judge(int code, const struct riffle_error *err)
{
	if (code == RIFFLE_E_FATAL)
		give_up();
	if (!wants_a_person(code, err) &&
		(code != RIFFLE_E_UNAVAILABLE || !(err->flags & RIFFLE_ERR_RETRIABLE) ||
			err->text[0] == '\0')) {
		fprintf(stderr, "# an outcome that is not stated: %d %s\n", code, err->text);
		_exit(4);
	}
	if (++told.retried > 2000)
		_exit(5);
}

/* Sends until it is acknowledged. A failure that may pass means that nothing of it is there. */
static void
send_surely(struct bed *b, const struct riffle_record *r, uint32_t count)
{
	struct riffle_error err = {0};
	struct riffle_batch batch = batch_of(r, count, NULL, 0);
	for (;;) {
		if (ops->sink_send(b->sink, &batch, 0, count, 7, &err) != (int)count)
			_exit(6);
		await_sink(b, RIFFLE_EV_SENT);
		int32_t status = b->ev.sent[0].status;
		err = b->ev.error;
		for (uint32_t i = 0; i < count; i++)
			if (b->ev.sent[i].status != status)
				_exit(7);
		take_back(b);
		if (status == RIFFLE_OK)
			return;
		judge(status, &err);
	}
}

static char filler[1024];

static void
send_log(struct bed *b)
{
	static char text[SEND_RECORDS][sizeof filler];
	struct riffle_record r[SEND_RECORDS];
	for (int i = 0; i < SEND_RECORDS; i++) {
		int64_t n = told.log + i;
		memcpy(text[i], filler, sizeof filler);
		snprintf(text[i], 32, "%lld", (long long)n);
		r[i] = (struct riffle_record){.value = {text[i], sizeof filler},
			.time_ms = n,
			.partition = (int32_t)(n % 2)};
	}
	send_surely(b, r, SEND_RECORDS);
	told.log += SEND_RECORDS;
	tell();
}

static void
send_table(struct bed *b)
{
	static char text[SEND_RECORDS][sizeof filler], keys[SEND_RECORDS][8];
	struct riffle_record r[SEND_RECORDS];
	for (int i = 0; i < SEND_RECORDS; i++) {
		int64_t n = told.table + i;
		memcpy(text[i], filler, sizeof filler);
		snprintf(text[i], 32, "%lld", (long long)n);
		snprintf(keys[i], sizeof keys[i], "%d", (int)(n % KEYS));
		r[i] = (struct riffle_record){
			.key = bytes(keys[i]), .value = {text[i], sizeof filler}, .partition = -1};
	}
	send_surely(b, r, SEND_RECORDS);
	told.table += SEND_RECORDS;
	tell();
}

static void
commit_surely(struct bed *b)
{
	struct riffle_error err = {0};
	const struct riffle_record r[3] = {{.value = bytes("x"), .partition = -1},
		{.value = bytes("y"), .partition = -1}, {.value = bytes("z"), .partition = -1}};
	for (;;) {
		struct riffle_batch batch = batch_of(r, 3, NULL, 0);
		const struct riffle_position at = {.offset = told.out + 3};
		if (b->transactions->begin(b->txn, &err) < 0 ||
			ops->sink_send(b->sink, &batch, 0, 3, 1, &err) != 3 ||
			b->transactions->commit(b->txn, &at, 1, 1, &err) < 0)
			_exit(8);
		await_sink(b, RIFFLE_EV_TXN);
		int32_t status = b->ev.status;
		err = b->ev.error;
		take_back(b);
		if (status == RIFFLE_TXN_COMMITTED)
			break;
		if (status == RIFFLE_TXN_UNKNOWN)
			give_up();
		judge(err.code, &err);
	}
	told.out += 3;
	tell();
}

/* Until it opens: what fails on the way is stated, and passes. */
static void *
open_surely(void)
{
	struct riffle_error err = {0};
	void *self = NULL;
	int rc;
	while ((rc = ops->create(&host, &config, &self, &err)) < 0)
		judge(rc, &err);
	return self;
}

static void
provision_surely(void *self, const struct riffle_stream *s)
{
	struct riffle_error err = {0};
	int rc;
	while ((rc = ops->provision(self, s, &err)) < 0)
		judge(rc, &err);
}

static void
open_sink_surely(struct bed *b, const struct riffle_stream *s)
{
	struct riffle_error err = {0};
	const struct riffle_sink_spec spec = {
		.size = sizeof spec, .stream_size = sizeof s, .stream_count = 1, .streams = &s};
	int rc;
	while ((rc = ops->sink_open(b->self, &spec, &b->sink, &err)) < 0)
		judge(rc, &err);
}

/* 1 when it is assigned; 0: it failed, as stated, and is closed again. */
static int
join_once(struct bed *b)
{
	struct riffle_error err = {0};
	do {
		b->ev = (struct riffle_event){.size = sizeof b->ev};
		struct pollfd p = {.fd = ops->source_fd(b->source), .events = POLLIN};
		if (ops->source_poll(b->source, &b->ev) == 0)
			poll(&p, 1, 100);
	} while (b->ev.type != RIFFLE_EV_ASSIGNED && b->ev.type != RIFFLE_EV_ERROR);
	if (b->ev.type == RIFFLE_EV_ASSIGNED)
		return 1;
	err = b->ev.error;
	close_source(b);
	judge(err.code, &err);
	return 0;
}

static void
open_source_surely(struct bed *b, const struct riffle_stream *s)
{
	struct riffle_error err = {0};
	do {
		int rc;
		while ((rc = try_source(b, s, "g", RIFFLE_START_EARLIEST, 0, &err)) < 0)
			judge(rc, &err);
	} while (!join_once(b));
}

static void
open_txn_surely(struct bed *b, const struct riffle_stream *s)
{
	struct riffle_error err = {0};
	b->transactions = ops->extension(b->self, RIFFLE_EXT_TRANSACTIONS);
	open_sink_surely(b, s);
	const struct riffle_txn_spec spec = {.size = sizeof spec, .sink = b->sink, .id = "id"};
	if (b->transactions->open(b->self, &spec, &b->txn, &err) < 0)
		_exit(9);
	await_sink(b, RIFFLE_EV_TXN_READY);
	open_source_surely(b, s);
}

static const struct riffle_positions *positions;

static int
has_cleaned(void *ctx)
{
	struct bed *b = ctx;
	struct streams *all = (struct streams *)(uintptr_t)b->source;
	struct riffle_partition_list *list;
	struct riffle_error err = {0};
	int rc = positions->partitions(b->self, &all->log, NULL, &list, &err);
	if (rc < 0)
		judge(rc, &err);
	if (rc < 0)
		return 0;
	int moved = list->partitions[1].log_start > 0;
	list->release(list);
	if (!moved || positions->partitions(b->self, &all->table, NULL, &list, &err) < 0)
		return 0;
	int compacted = list->partitions[0].records < told.table;
	list->release(list);
	return compacted;
}

static void
work(const struct fault *fault)
{
	struct streams all;
	make_streams(&all);
	fault_set(fault);
	struct bed log = {.self = open_surely()}, table = log, out = log;
	positions = ops->extension(log.self, RIFFLE_EXT_POSITIONS);
	provision_surely(log.self, &all.log);
	provision_surely(log.self, &all.out);
	provision_surely(log.self, &all.table);
	open_sink_surely(&log, &all.log);
	open_sink_surely(&table, &all.table);
	open_txn_surely(&out, &all.out);
	for (int i = 0; i < ROUNDS; i++) {
		send_log(&log);
		send_log(&log);
		commit_surely(&out);
		send_table(&table);
	}
	struct bed look = {.self = log.self, .source = &all};
	if (!eventually(has_cleaned, &look))
		_exit(10);
	send_log(&log);
	commit_surely(&out);
	close_sink(&log);
	close_sink(&table);
	close_source(&out);
	close_sink(&out);
	ops->destroy(log.self);
}

/* Numbers of a lane from the oldest on, into numbers; how many. */
static int
read_numbers(struct bed *b, uint32_t lane, int64_t *numbers, int64_t *offsets, int room)
{
	struct riffle_batch *batch;
	int n = 0;
	while ((batch = poll_lane(b, lane, 1000)) != NULL) {
		for (uint32_t i = 0; i < batch->record_count; i++, n++) {
			assert_true(n < room);
			offsets[n] = riffle_batch_at(batch, i)->offset;
			numbers[n] = atoll(riffle_batch_at(batch, i)->value.ptr);
		}
		batch_unref(&host, batch);
	}
	return n;
}

#define ROOM 4096
static int64_t numbers[ROOM], offsets[ROOM];

static void
verify_log(void *self, const struct riffle_stream *s, const struct told *t)
{
	struct bed b = {.self = self};
	int64_t ends[2], starts[2];
	open_source(&b, s, NULL, RIFFLE_START_EARLIEST, 0);
	for (uint32_t p = 0; p < 2; p++) {
		starts[p] = b.ev.lanes[p].log_start;
		ends[p] = b.ev.lanes[p].log_end;
	}
	for (uint32_t p = 0; p < 2; p++) {
		int n = read_numbers(&b, p, numbers, offsets, ROOM);
		/* Retention may have gone on since the lanes were assigned, from the start. */
		assert_int_equal(n, ends[p] - starts[p]);
		for (int i = 0; i < n; i++) {
			assert_int_equal(offsets[i], starts[p] + i);
			assert_int_equal(numbers[i], 2 * offsets[i] + p);
		}
		if (starts[p] > 0)
			assert_true(n * (int64_t)sizeof filler >= 40 * KIB);
	}
	assert_int_equal(ends[0], ends[1]);
	assert_int_equal(ends[0] * 2 % SEND_RECORDS, 0);
	assert_true(ends[0] * 2 >= t->log);
	assert_true(ends[0] * 2 <= t->log + SEND_RECORDS);
	close_source(&b);
	told.log = ends[0] * 2;
	open_sink(&b, s);
	send_log(&b);
	close_sink(&b);
}

static void
verify_out(void *self, const struct riffle_stream *s, const struct told *t)
{
	struct bed b = {.self = self};
	open_source(&b, s, "g", RIFFLE_START_EARLIEST, 0);
	int64_t end = b.ev.lanes[0].log_end;
	assert_int_equal(end, b.ev.lanes[0].committed.offset);
	assert_true(end >= t->out && end <= t->out + 3 && end % 3 == 0);
	close_source(&b);
}

static void
verify_table(void *self, const struct riffle_stream *s, const struct told *t)
{
	struct bed b = {.self = self};
	int64_t newest[KEYS] = {-1, -1, -1, -1};
	open_source(&b, s, NULL, RIFFLE_START_EARLIEST, 0);
	int64_t end = b.ev.lanes[0].log_end;
	int n = read_numbers(&b, 0, numbers, offsets, ROOM);
	for (int i = 0; i < n; i++) {
		assert_int_equal(offsets[i], numbers[i]);
		assert_true(i == 0 || offsets[i] > offsets[i - 1]);
		newest[numbers[i] % KEYS] = numbers[i];
	}
	for (int k = 0; k < KEYS && end > 0; k++)
		assert_int_equal(newest[k], (end - 1 - k) / KEYS * KEYS + k);
	assert_true(end >= t->table && end <= t->table + SEND_RECORDS && end % SEND_RECORDS == 0);
	close_source(&b);
	told.table = end;
	open_sink(&b, s);
	send_table(&b);
	close_sink(&b);
}

/* Opens, reads, appends, and agrees with what was told. */
static void
verify(const struct told *t)
{
	struct streams all;
	make_streams(&all);
	set_provider("clean-interval", 3600000);
	void *self = open_self();
	provision(self, &all.log);
	provision(self, &all.out);
	provision(self, &all.table);
	verify_log(self, &all.log, t);
	verify_out(self, &all.out, t);
	verify_table(self, &all.table, t);
	ops->destroy(self);
}

enum { SYNC, META, NONE, DURABILITIES };

static void
settle(int durability)
{
	fresh_dir(NULL);
	set_provider("durability", durability);
	set_provider("clean-interval", 1);
	memset(filler, 'x', sizeof filler);
	memset(&told, 0, sizeof told);
	told_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
}

/* One life in a child; its status, and what it told. Counts go to *ret_calls when it lived. */
static int
live(const struct fault *fault, struct told *ret_told, long *ret_calls)
{
	int pipe_fds[2], count_fds[2], status;
	assert_int_equal(pipe(pipe_fds), 0);
	assert_int_equal(pipe(count_fds), 0);
	pid_t child = fork();
	if (child == 0) {
		told_fd = pipe_fds[1];
		close(pipe_fds[0]);
		close(count_fds[0]);
		work(fault);
		long n = fault_counted();
		fault_set(NULL);
		_exit(syscall(SYS_write, count_fds[1], &n, sizeof n) == (long)sizeof n ? 0 : 11);
	}
	close(pipe_fds[1]);
	close(count_fds[1]);
	*ret_told = hear(pipe_fds[0]);
	*ret_calls = 0;
	if (read(count_fds[0], ret_calls, sizeof *ret_calls) < 0)
		*ret_calls = 0;
	close(pipe_fds[0]);
	close(count_fds[0]);
	assert_int_equal(waitpid(child, &status, 0), child);
	return status;
}

static void
end_settled(void)
{
	close(told_fd);
	remove_dir(NULL);
}

/* How many calls a life takes that nothing happens to. */
static long
count_calls(unsigned calls, int durability)
{
	const struct fault none = {.what = FAULT_NONE, .calls = calls};
	struct told t;
	long n;
	settle(durability);
	int status = live(&none, &t, &n);
	if (status != 0)
		fail_msg("the life without a fault ended with %x", status);
	verify(&t);
	end_settled();
	assert_true(n > 0);
	return n;
}

/* The i-th of so many points out of all: each while the log is being made, then evenly, from a seed on. */
static long
point_of(long i, long points, long all)
{
	long first = points < 2 * BEGINNING ? 0 : BEGINNING;
	if (i < first)
		return i;
	long rest = all - first, n = points - first;
	return first + (rest * (i - first) + (long)(seed % 997) * rest / 997) / n % rest;
}

static void
test_killed_at_every_call(void **state)
{
	(void)state;
	static const enum fault_what ways[] = {
		FAULT_KILL_BEFORE, FAULT_KILL_TORN, FAULT_KILL_AFTER};
	long calls[DURABILITIES], points = number_of("RIFFLE_POINTS", 330), killed = 0;
	for (int d = SYNC; d < DURABILITIES; d++) {
		calls[d] = count_calls(FAULT_ALL, d);
		if (points > 3 * calls[d])
			points = 3 * calls[d];
	}
	for (long i = 0; i < points; i++) {
		/* Whatever it is, a killed process loses nothing of what it acknowledged. */
		int durability = i < BEGINNING ? SYNC : (int)(i / 3 % DURABILITIES);
		long point = point_of(i, points, 3 * calls[durability]);
		const struct fault f = {.what = ways[point % 3],
			.calls = FAULT_ALL,
			.at = point / 3 + 1,
			.times = 1};
		struct told t;
		long ignored;
		settle(durability);
		int status = live(&f, &t, &ignored);
		/* Cleaning comes by the clock, so some lives take fewer calls. */
		if (status != 0 && !(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL))
			fail_msg("at call %ld, way %d, durability %d: status %x", f.at, f.what,
				durability, status);
		killed += status != 0;
		verify(&t);
		end_settled();
	}
	printf("# %ld, %ld, %ld calls in a life with sync, meta, none; %ld points, killed at %ld "
	       "(seed %u, RIFFLE_SEED)\n",
		calls[SYNC], calls[META], calls[NONE], points, killed, seed);
	assert_true(killed >= points * 9 / 10);
}

/* What each failing call must lead to. */
enum outcome {
	GOES_ON,         /* nobody notices */
	RETRIES,         /* a clear error that passes; done again, it is there once */
	RETRIES_OR_STOPS /* or the log is given up until a restart: not known what the disk has */
};

static const struct {
	const char *name;
	unsigned calls;
	enum fault_what what;
	int error;
	long times;
	enum outcome outcome;
} faults[] = {
	{"write EINTR", FAULT_WRITE, FAULT_ERRNO, EINTR, 1, GOES_ON},
	{"write ENOSPC", FAULT_WRITE, FAULT_ERRNO, ENOSPC, 1, RETRIES},
	{"write ENOSPC for long", FAULT_WRITE, FAULT_ERRNO, ENOSPC, 40, RETRIES},
	{"write EDQUOT", FAULT_WRITE, FAULT_ERRNO, EDQUOT, 3, RETRIES},
	{"write EIO", FAULT_WRITE, FAULT_ERRNO, EIO, 1, RETRIES},
	{"write EROFS", FAULT_WRITE, FAULT_ERRNO, EROFS, 3, RETRIES},
	{"write EFBIG", FAULT_WRITE, FAULT_ERRNO, EFBIG, 1, RETRIES},
	{"write short", FAULT_WRITE, FAULT_SHORT, 0, 1, RETRIES},
	{"write short for long", FAULT_WRITE, FAULT_SHORT, 0, 20, RETRIES},
	{"last write EINTR", FAULT_META, FAULT_ERRNO, EINTR, 1, GOES_ON},
	{"last write ENOSPC", FAULT_META, FAULT_ERRNO, ENOSPC, 1, RETRIES_OR_STOPS},
	{"last write EIO", FAULT_META, FAULT_ERRNO, EIO, 1, RETRIES_OR_STOPS},
	{"last write short", FAULT_META, FAULT_SHORT, 0, 1, RETRIES_OR_STOPS},
	{"sync EIO", FAULT_SYNC, FAULT_ERRNO, EIO, 1, RETRIES_OR_STOPS},
	{"sync ENOSPC", FAULT_SYNC, FAULT_ERRNO, ENOSPC, 2, RETRIES_OR_STOPS},
	{"sync EINTR", FAULT_SYNC, FAULT_ERRNO, EINTR, 1, RETRIES_OR_STOPS},
	{"open EMFILE", FAULT_OPEN, FAULT_ERRNO, EMFILE, 1, RETRIES},
	{"open EINTR", FAULT_OPEN, FAULT_ERRNO, EINTR, 1, RETRIES},
	{"open ENFILE for long", FAULT_OPEN, FAULT_ERRNO, ENFILE, 10, RETRIES},
	{"open ENOSPC", FAULT_OPEN, FAULT_ERRNO, ENOSPC, 1, RETRIES},
	{"eventfd, inotify EMFILE", FAULT_FD, FAULT_ERRNO, EMFILE, 1, RETRIES},
	{"eventfd, inotify EMFILE for long", FAULT_FD, FAULT_ERRNO, EMFILE, 5, RETRIES},
	{"mmap ENOMEM", FAULT_MMAP, FAULT_ERRNO, ENOMEM, 1, RETRIES},
	{"ftruncate ENOSPC", FAULT_SIZE, FAULT_ERRNO, ENOSPC, 1, RETRIES},
	{"mkdir ENOSPC", FAULT_MAKE, FAULT_ERRNO, ENOSPC, 1, RETRIES},
	{"lock EINTR", FAULT_LOCK, FAULT_ERRNO, EINTR, 1, RETRIES},
	{"read EIO", FAULT_READ, FAULT_ERRNO, EIO, 1, RETRIES},
	{"read EINTR", FAULT_READ, FAULT_ERRNO, EINTR, 1, RETRIES},
};

static void
try_fault(size_t n, long at, long *ret_retried, long *ret_stopped)
{
	const struct fault f = {.what = faults[n].what,
		.calls = faults[n].calls,
		.at = at,
		.times = faults[n].times,
		.error = faults[n].error};
	struct told t;
	long ignored;
	settle(SYNC);
	int status = live(&f, &t, &ignored);
	if (status != 0)
		fail_msg("%s at %ld: status %x", faults[n].name, at, status);
	if (faults[n].outcome == GOES_ON && (t.retried > 0 || t.fatal))
		fail_msg("%s at %ld was noticed", faults[n].name, at);
	if (faults[n].outcome == RETRIES && t.fatal)
		fail_msg("%s at %ld stopped the log", faults[n].name, at);
	*ret_retried += t.retried > 0;
	*ret_stopped += t.fatal;
	verify(&t);
	end_settled();
}

static void
test_failing_calls_have_the_stated_outcome(void **state)
{
	(void)state;
	long most = number_of("RIFFLE_FAULT_POINTS", 5);
	for (size_t n = 0; n < sizeof faults / sizeof faults[0]; n++) {
		long calls = count_calls(faults[n].calls, SYNC), retried = 0, stopped = 0;
		long points = calls < most ? calls : most;
		for (long i = 0; i < points; i++)
			try_fault(n,
				1 + (calls * i + (long)(seed % 97) * calls / 97) / points % calls,
				&retried, &stopped);
		printf("# %s: %ld calls, %ld points, %ld with a retry, %ld stopped\n",
			faults[n].name, calls, points, retried, stopped);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_killed_at_every_call),
		cmocka_unit_test(test_failing_calls_have_the_stated_outcome),
	};
	seed = (unsigned)number_of("RIFFLE_SEED", (long)time(NULL));
	load_local();
	return RUN("local_crash", tests);
}
