/*
 * The limits for `bench/run local` and `bench/run log`: a bare LMDB loop that does the same work. Each batch reads records
 * from an input log, appends them to an output log and stores the position, in one synced transaction.
 *
 *   raw_local load DIR RECORDS     fills the input log with values of 100 bytes
 *   raw_local run DIR BATCH        copies it; prints records, seconds, CPU seconds, peak RSS in KiB
 *   raw_local append DIR RECORDS   appends values of 100 bytes in synced transactions of 4000
 *   raw_local follow DIR RECORDS   reads until it has so many; both print as run does
 */
#include <lmdb.h>

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

#define VALUE_BYTES 100
#define MAP_BYTES ((size_t)64 << 30)

static void
must(int rc, const char *what)
{
	if (rc == 0)
		return;
	fprintf(stderr, "raw_local: %s: %s\n", what, mdb_strerror(rc));
	exit(1);
}

static MDB_env *
open_env(const char *dir)
{
	MDB_env *env;
	mkdir(dir, 0700);
	must(mdb_env_create(&env), "create");
	must(mdb_env_set_mapsize(env, MAP_BYTES), "map size");
	must(mdb_env_set_maxdbs(env, 4), "databases");
	must(mdb_env_open(env, dir, MDB_NOTLS, 0600), "open");
	return env;
}

static MDB_dbi
open_db(MDB_txn *txn, const char *name)
{
	MDB_dbi dbi;
	must(mdb_dbi_open(txn, name, MDB_CREATE, &dbi), name);
	return dbi;
}

static void
put_key(unsigned char *key, uint64_t n)
{
	for (int i = 7; i >= 0; i--, n >>= 8)
		key[i] = (unsigned char)n;
}

static void
append(MDB_cursor *cursor, uint64_t offset, MDB_val value)
{
	unsigned char raw[8];
	MDB_val key = {sizeof raw, raw};
	put_key(raw, offset);
	must(mdb_cursor_put(cursor, &key, &value, MDB_APPEND), "append");
}

static void
load(MDB_env *env, uint64_t count)
{
	char text[VALUE_BYTES + 1];
	memset(text, 'x', sizeof text);
	for (uint64_t n = 0; n < count;) {
		MDB_txn *txn;
		MDB_cursor *cursor;
		must(mdb_txn_begin(env, NULL, 0, &txn), "begin");
		must(mdb_cursor_open(txn, open_db(txn, "in"), &cursor), "cursor");
		for (int i = 0; i < 100000 && n < count; i++, n++) {
			snprintf(text, sizeof text, "%019llu", (unsigned long long)n);
			text[19] = 'x';
			append(cursor, n, (MDB_val){VALUE_BYTES, text});
		}
		mdb_cursor_close(cursor);
		must(mdb_txn_commit(txn), "commit");
	}
}

/* One batch; returns how many records it had. The input is read by a read transaction, as a lane is. */
static uint64_t
copy_batch(MDB_env *env, MDB_dbi in, MDB_dbi out, MDB_dbi positions, uint64_t from, uint64_t batch)
{
	static char bytes[1 << 20];
	MDB_val values[10000];
	MDB_txn *txn;
	MDB_cursor *cursor;
	unsigned char raw[8];
	MDB_val key = {sizeof raw, raw}, value;
	size_t used = 0;
	uint64_t n = 0;
	put_key(raw, from);
	must(mdb_txn_begin(env, NULL, MDB_RDONLY, &txn), "read");
	must(mdb_cursor_open(txn, in, &cursor), "cursor");
	int rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
	for (; rc == 0 && n < batch; n++) {
		memcpy(bytes + used, value.mv_data, value.mv_size);
		values[n] = (MDB_val){value.mv_size, bytes + used};
		used += value.mv_size;
		rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
	}
	mdb_cursor_close(cursor);
	mdb_txn_abort(txn);
	if (n == 0)
		return 0;
	must(mdb_txn_begin(env, NULL, 0, &txn), "begin");
	must(mdb_cursor_open(txn, out, &cursor), "cursor");
	for (uint64_t i = 0; i < n; i++)
		append(cursor, from + i, values[i]);
	mdb_cursor_close(cursor);
	put_key(raw, from + n);
	static char group[] = "group";
	MDB_val name = {sizeof group - 1, group}, position = {sizeof raw, raw};
	must(mdb_put(txn, positions, &name, &position, 0), "position");
	must(mdb_txn_commit(txn), "commit");
	return n;
}

static double
seconds(struct timeval t)
{
	return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

static void
print_since(const struct timespec *start, uint64_t done)
{
	struct timespec end;
	struct rusage usage;
	clock_gettime(CLOCK_MONOTONIC, &end);
	getrusage(RUSAGE_SELF, &usage);
	printf("%llu %.6f %.6f %ld\n", (unsigned long long)done,
		(double)(end.tv_sec - start->tv_sec) + (double)(end.tv_nsec - start->tv_nsec) / 1e9,
		seconds(usage.ru_utime) + seconds(usage.ru_stime), usage.ru_maxrss);
}

static void
run(MDB_env *env, uint64_t batch)
{
	MDB_txn *txn;
	must(mdb_txn_begin(env, NULL, 0, &txn), "begin");
	MDB_dbi in = open_db(txn, "in"), out = open_db(txn, "out"),
		positions = open_db(txn, "positions");
	must(mdb_txn_commit(txn), "commit");
	struct timespec start;
	uint64_t done = 0, n;
	clock_gettime(CLOCK_MONOTONIC, &start);
	while ((n = copy_batch(env, in, out, positions, done, batch)) > 0)
		done += n;
	print_since(&start, done);
}

static MDB_dbi
open_in(MDB_env *env)
{
	MDB_txn *txn;
	must(mdb_txn_begin(env, NULL, 0, &txn), "begin");
	MDB_dbi in = open_db(txn, "in");
	must(mdb_txn_commit(txn), "commit");
	return in;
}

#define APPEND_BATCH 4000

static void
append_all(MDB_env *env, uint64_t count)
{
	static char text[VALUE_BYTES];
	MDB_dbi in = open_in(env);
	struct timespec start;
	clock_gettime(CLOCK_MONOTONIC, &start);
	for (uint64_t n = 0; n < count;) {
		MDB_txn *txn;
		MDB_cursor *cursor;
		must(mdb_txn_begin(env, NULL, 0, &txn), "begin");
		must(mdb_cursor_open(txn, in, &cursor), "cursor");
		for (int i = 0; i < APPEND_BATCH && n < count; i++, n++)
			append(cursor, n, (MDB_val){VALUE_BYTES, text});
		mdb_cursor_close(cursor);
		must(mdb_txn_commit(txn), "commit");
	}
	print_since(&start, count);
}

/* As a lane does: a transaction for each thousand, and the bytes copied. */
static void
follow(MDB_env *env, uint64_t count)
{
	static char bytes[1000 * VALUE_BYTES];
	MDB_dbi in = open_in(env);
	struct timespec start, pause = {.tv_nsec = 200000};
	uint64_t done = 0;
	clock_gettime(CLOCK_MONOTONIC, &start);
	while (done < count) {
		MDB_txn *txn;
		MDB_cursor *cursor;
		unsigned char raw[8];
		MDB_val key = {sizeof raw, raw}, value;
		uint64_t before = done;
		put_key(raw, done);
		must(mdb_txn_begin(env, NULL, MDB_RDONLY, &txn), "read");
		must(mdb_cursor_open(txn, in, &cursor), "cursor");
		int rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
		for (; rc == 0 && done - before < 1000; done++) {
			memcpy(bytes + (done - before) * VALUE_BYTES, value.mv_data, VALUE_BYTES);
			rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
		}
		mdb_cursor_close(cursor);
		mdb_txn_abort(txn);
		if (done == before)
			nanosleep(&pause, NULL);
	}
	print_since(&start, done);
}

int
main(int argc, char **argv)
{
	if (argc != 4) {
		fprintf(stderr, "usage: raw_local load|append|follow DIR RECORDS | raw_local run "
				"DIR BATCH\n");
		return 2;
	}
	MDB_env *env = open_env(argv[2]);
	uint64_t n = strtoull(argv[3], NULL, 10);
	if (strcmp(argv[1], "load") == 0)
		load(env, n);
	else if (strcmp(argv[1], "append") == 0)
		append_all(env, n);
	else if (strcmp(argv[1], "follow") == 0)
		follow(env, n);
	else
		run(env, n == 0 || n > 10000 ? 1000 : n);
	mdb_env_close(env);
	return 0;
}
