/*
 * The embedded log against a list in memory: random sends, transactions, reads, positions, look-ups, removals,
 * restarts and kills in several processes, while retention and compaction go on in all of them.
 *
 * RIFFLE_SEED repeats a run, RIFFLE_OPERATIONS says how long it is.
 */
#include "local_worker.h"

struct list {
	int64_t *numbers; /* by offset */
	int64_t count, room, start;
};

struct other {
	pid_t pid;
	int fd;
	int64_t position; /* of its group, in partition 0 of "out" */
};

static struct list lists[STREAMS][PARTITIONS_MAX];
static struct other others[WORKERS];
static int64_t next_number;
static long counts[STOP + 3];
static uint64_t random_state;

static uint32_t
draw(uint32_t below)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (uint32_t)(random_state >> 32) % below;
}

static struct list *
list_of(int stream, int partition)
{
	return &lists[stream][partition];
}

static void
add(int stream, int64_t number)
{
	struct list *l = list_of(stream, partition_of(stream, number));
	if (l->count == l->room) {
		l->room = l->room ? 2 * l->room : 1024;
		l->numbers = realloc(l->numbers, (size_t)l->room * sizeof *l->numbers);
		assert_non_null(l->numbers);
	}
	l->numbers[l->count++] = number;
}

static void
start_worker(int n)
{
	int pair[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	others[n].pid = fork();
	if (others[n].pid == 0) {
		for (int i = 0; i < WORKERS; i++)
			if (i != n && others[i].fd > 0)
				close(others[i].fd);
		close(pair[0]);
		work(pair[1], n);
		_exit(0);
	}
	close(pair[1]);
	others[n].fd = pair[0];
	/* The others may look at its group as soon as it has it. */
	char ready;
	assert_int_equal(recv(others[n].fd, &ready, 1, 0), 1);
}

static void
end_worker(int n, int expected)
{
	int status;
	assert_int_equal(waitpid(others[n].pid, &status, 0), others[n].pid);
	assert_int_equal(status, expected);
	close(others[n].fd);
	others[n].fd = -1;
}

static void
ask(int n, const struct request *q, struct answer *a)
{
	assert_int_equal(send(others[n].fd, q, sizeof *q, MSG_NOSIGNAL), sizeof *q);
	if (recv(others[n].fd, a, sizeof *a, 0) < (ssize_t)offsetof(struct answer, numbers))
		fail_msg("worker %d gave no answer to %d", n, q->what);
	counts[q->what]++;
}

static struct request
random_send(void)
{
	struct request q = {.what = SEND,
		.stream = (int)draw(STREAMS),
		.count = 1 + (int)draw(draw(4) ? 4 : SEND_MAX),
		.number = next_number};
	next_number += q.count;
	return q;
}

static void
op_send(int n)
{
	struct answer a;
	struct request q = random_send();
	ask(n, &q, &a);
	assert_int_equal(a.status, RIFFLE_OK);
	for (int i = 0; i < q.count; i++) {
		int64_t number = q.number + i;
		assert_int_equal(
			a.offsets[i], list_of(q.stream, partition_of(q.stream, number))->count);
		add(q.stream, number);
	}
}

static void
op_txn(int n)
{
	struct answer a;
	struct request q = random_send();
	q.stream = OUT;
	q.what = draw(4) ? COMMIT : ABORT;
	q.offset = draw((uint32_t)list_of(OUT, 0)->count + 1);
	ask(n, &q, &a);
	assert_int_equal(a.status, q.what == COMMIT ? RIFFLE_TXN_COMMITTED : RIFFLE_TXN_ABORTED);
	if (q.what == ABORT)
		return;
	for (int i = 0; i < q.count; i++)
		add(OUT, q.number + i);
	others[n].position = q.offset;
}

/* Where a partition starts can only go up, and no more than retention says. */
static void
take_start(int stream, int partition, int64_t start)
{
	struct list *l = list_of(stream, partition);
	int64_t bytes = 0;
	assert_true(start >= l->start && start <= l->count);
	if (start == l->start)
		return;
	assert_true(stream != OUT);
	l->start = start;
	for (int64_t i = start; i < l->count && stream == LOG; i++)
		bytes += (int64_t)length_of(l->numbers[i]) + 60;
	/* Pages are not full to the last byte. */
	if (stream == LOG)
		assert_true(bytes >= LOG_RETENTION * 7 / 10);
}

static void
look(int n, int stream, int partition)
{
	struct answer a;
	const struct request q = {.what = ENDS, .stream = stream, .partition = partition};
	ask(n, &q, &a);
	assert_int_equal(a.end, list_of(stream, partition)->count);
	take_start(stream, partition, a.start);
}

static void
op_ends(int n)
{
	int stream = (int)draw(STREAMS);
	look(n, stream, (int)draw(partitions[stream]));
}

static void
check_log_read(int n, const struct request *q, const struct answer *a)
{
	struct list *l = list_of(q->stream, q->partition);
	if (a->status != RIFFLE_OK) {
		/* It went behind retention since it was looked at. */
		assert_int_equal(a->status, RIFFLE_E_NOTFOUND);
		look(n, q->stream, q->partition);
		assert_true(q->offset + a->count < l->start);
		return;
	}
	int64_t expected = l->count - q->offset < q->count ? l->count - q->offset : q->count;
	assert_int_equal(a->count, expected);
	for (int i = 0; i < a->count; i++) {
		assert_int_equal(a->offsets[i], q->offset + i);
		assert_int_equal(a->numbers[i], l->numbers[q->offset + i]);
	}
}

static void
op_read(int n)
{
	struct answer a;
	struct request q = {.what = READ, .stream = (int)draw(2), .count = 1 + (int)draw(READ_MAX)};
	q.partition = (int)draw(partitions[q.stream]);
	struct list *l = list_of(q.stream, q.partition);
	/* Near the end more often than not. */
	uint32_t span = (uint32_t)(l->count - l->start);
	q.offset = l->count - draw(1 + (draw(3) && span > 300 ? 300 : span));
	ask(n, &q, &a);
	check_log_read(n, &q, &a);
}

/* Of a compacted stream: what is there is as it was sent, and the newest of each key is there. */
static void
op_read_table(int n)
{
	static struct answer a;
	struct list *l = list_of(TABLE, 0);
	int64_t newest[KEYS], seen[KEYS], last = -1;
	struct request q = {.what = READ, .stream = TABLE, .count = READ_MAX, .offset = 0};
	for (int k = 0; k < KEYS; k++)
		newest[k] = seen[k] = -1;
	for (int64_t i = 0; i < l->count; i++)
		newest[key_of(l->numbers[i])] = i;
	do {
		ask(n, &q, &a);
		assert_int_equal(a.status, RIFFLE_OK);
		for (int i = 0; i < a.count; i++) {
			assert_true(a.offsets[i] > last && a.offsets[i] < l->count);
			last = a.offsets[i];
			assert_int_equal(a.numbers[i], l->numbers[last]);
			seen[key_of(a.numbers[i])] = last;
		}
		q.offset = last + 1;
	} while (a.count == READ_MAX);
	for (int k = 0; k < KEYS; k++)
		if (newest[k] >= 0 && !is_tombstone(TABLE, l->numbers[newest[k]]))
			assert_int_equal(seen[k], newest[k]);
}

static void
op_position(int n)
{
	struct answer a;
	const struct request q = {.what = POSITION, .stream = OUT, .group = (int)draw(WORKERS)};
	ask(n, &q, &a);
	assert_int_equal(a.position, others[q.group].position);
}

/* Each worker holds its own group; another's cannot be set. Group 9 is nobody's. */
static void
op_set(int n)
{
	static int64_t free_position = RIFFLE_OFFSET_NONE;
	struct answer a;
	struct request q = {.what = SET,
		.stream = OUT,
		.group = draw(3) ? 9 : (int)draw(WORKERS),
		.offset = draw((uint32_t)list_of(OUT, 0)->count + 1)};
	ask(n, &q, &a);
	assert_int_equal(a.status, q.group == 9 ? RIFFLE_OK : RIFFLE_E_UNAVAILABLE);
	if (q.group == 9)
		free_position = q.offset;
	q = (struct request){.what = POSITION, .stream = OUT, .group = 9};
	ask((int)draw(WORKERS), &q, &a);
	assert_int_equal(a.position, free_position);
}

static void
op_offset_at(int n)
{
	struct answer a;
	struct request q = {.what = OFFSET_AT, .stream = (int)draw(2)};
	q.partition = (int)draw(partitions[q.stream]);
	struct list *l = list_of(q.stream, q.partition);
	int64_t recent = next_number > 3000 ? next_number - 3000 : 0;
	q.offset = draw(2) ? recent * 10 + draw(30000) : draw((uint32_t)next_number * 10 + 100);
	ask(n, &q, &a);
	assert_int_equal(a.status, RIFFLE_OK);
	look(n, q.stream, q.partition);
	/* Of what is still there, the first that is new enough; retention may have come between. */
	/* Numbers grow, and a record's time is its number's within 50: no earlier one can be it. */
	int64_t expected = l->start, below = l->count;
	while (expected < below) {
		int64_t middle = (expected + below) / 2;
		if (l->numbers[middle] * 10 + 50 < q.offset)
			expected = middle + 1;
		else
			below = middle;
	}
	while (expected < l->count && time_of(l->numbers[expected]) < q.offset)
		expected++;
	assert_true(a.offset == expected || (a.offset < l->start && expected == l->start));
}

static void
op_remake(int n)
{
	struct answer a;
	const struct request q = {.what = REMAKE, .count = (int)draw(4)};
	ask(n, &q, &a);
	assert_int_equal(a.status, RIFFLE_OK);
	assert_int_equal(a.end, q.count);
}

static void
op_restart(int n)
{
	struct answer a;
	const struct request q = {.what = STOP};
	ask(n, &q, &a);
	end_worker(n, 0);
	start_worker(n);
}

/* It dies with a send under way: all of its records of a send are there, or none. */
static void
op_kill(int n)
{
	struct answer a;
	struct request q = random_send();
	q.what = SEND_UNHEARD;
	if (draw(2)) {
		assert_int_equal(send(others[n].fd, &q, sizeof q, MSG_NOSIGNAL), sizeof q);
		for (uint32_t i = draw(3000); i > 0; i--)
			__asm__ volatile("");
		counts[SEND_UNHEARD]++;
	}
	kill(others[n].pid, SIGKILL);
	end_worker(n, SIGKILL);
	counts[STOP + 1]++;
	start_worker(n);
	/* One look tells for all, which the checks that follow confirm. */
	int p = partition_of(q.stream, q.number);
	const struct request ends = {.what = ENDS, .stream = q.stream, .partition = p};
	ask(n, &ends, &a);
	if (a.end == list_of(q.stream, p)->count)
		return;
	for (int i = 0; i < q.count; i++)
		add(q.stream, q.number + i);
	for (uint32_t i = 0; i < partitions[q.stream]; i++)
		look(n, q.stream, (int)i);
}

static void
operate(void)
{
	static const struct {
		uint32_t weight;
		void (*run)(int worker);
	} kinds[] = {{400, op_send}, {120, op_txn}, {300, op_read}, {60, op_ends},
		{30, op_position}, {10, op_set}, {30, op_offset_at}, {4, op_read_table},
		{1, op_remake}};
	uint32_t sum = 0;
	for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
		sum += kinds[i].weight;
	uint32_t at = draw(sum * 1000);
	if (at < 300) {
		(at < 150 ? op_restart : op_kill)((int)draw(WORKERS));
		return;
	}
	at = draw(sum);
	for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
		if (at < kinds[i].weight) {
			kinds[i].run((int)draw(WORKERS));
			return;
		}
		at -= kinds[i].weight;
	}
}

static long
number_given(const char *name, long fallback)
{
	const char *given = getenv(name);
	return given ? atol(given) : fallback;
}

static int64_t
records_of(int n, int stream)
{
	struct riffle_stream s = stream_of(names[stream], partitions[stream]);
	struct riffle_stream_info info = {.size = sizeof info};
	struct riffle_error err = {0};
	(void)n;
	void *self = open_self();
	must(ops->describe(self, &s, &info, &err), &err);
	ops->destroy(self);
	return info.records;
}

static void
test_agrees_with_a_list(void **state)
{
	(void)state;
	long operations = number_given("RIFFLE_OPERATIONS", 100000), done = 0;
	long seed = number_given("RIFFLE_SEED", (long)time(NULL));
	printf("# seed %ld (RIFFLE_SEED)\n", seed);
	fflush(stdout);
	random_state = (uint64_t)seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
	set_provider("clean-interval", 20);
	set_provider("open-segments", 8);
	set_provider("map-size", INT64_C(1) << 32);
	for (int n = 0; n < WORKERS; n++) {
		others[n].fd = -1;
		start_worker(n);
	}
	while (done < operations) {
		operate();
		done = 0;
		for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
			done += counts[i];
	}
	for (int s = 0; s < STREAMS; s++)
		for (uint32_t p = 0; p < partitions[s]; p++)
			look(0, s, (int)p);
	op_read_table(1);
	for (int n = 0; n < WORKERS; n++) {
		struct answer a;
		const struct request q = {.what = STOP};
		ask(n, &q, &a);
		end_worker(n, 0);
	}
	int64_t left = records_of(0, TABLE);
	printf("# %ld operations: %ld sends, %ld commits, %ld aborts, %ld reads, %ld look-ups by "
	       "time, %ld restarts, %ld kills; %lld records, retention took %lld, compaction "
	       "%lld\n",
		done, counts[SEND], counts[COMMIT], counts[ABORT], counts[READ], counts[OFFSET_AT],
		counts[STOP], counts[STOP + 1], (long long)next_number,
		(long long)(lists[LOG][0].start + lists[LOG][1].start + lists[LOG][2].start),
		(long long)(lists[TABLE][0].count - left));
	if (operations >= 100000) {
		assert_true(lists[LOG][0].start > 0);
		assert_true(left < lists[TABLE][0].count / 2);
	}
	for (int s = 0; s < STREAMS; s++)
		for (int p = 0; p < PARTITIONS_MAX; p++)
			free(lists[s][p].numbers);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_agrees_with_a_list, fresh_dir, remove_dir)};
	load_local();
	return RUN("local_model", tests);
}
