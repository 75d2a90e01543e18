/*
 * The window engine alone against the limit for `bench/run window`: a bare open-addressing table whose
 * entries hold their keys and a list that grows. Both get the same keys of 12 random bytes, hash them, and
 * append 16 bytes to the list of each; all entries exist before the clock starts.
 *
 *   window SIDE ENTRIES RECORDS     prints CPU nanoseconds a record and the peak RSS in KiB
 *
 *   bare                the table, lists that double
 *   bare-roomy          the table, lists that have all the room they need and their memory touched
 *   tumbling            the engine, one window
 *   hopping             the engine, a window of 6 panes, times in order over them
 *   tumbling-spread, hopping-spread     the same with times at random over the window
 */
#include "window/window.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define KEY_BYTES 12
#define BATCH 256
#define PANES 6
#define PANE_MS 10000
#define WINDOW_MS (PANES * PANE_MS)
#define BASE_MS (INT64_C(1000000) * WINDOW_MS)
#define FIRST_ROOM 4

struct slot {
	unsigned char key[KEY_BYTES];
	uint32_t hash;
	struct rfl_window_item *list; /* NULL: the slot is free */
	uint32_t count, room;
};

struct table {
	struct slot *slots;
	uint32_t mask;
};

/* What a run works on: keys one after the other, as they lie in a batch that came over the wire. */
struct load {
	unsigned char *keys;
	int64_t *times_ms;
	size_t count;
};

static uint64_t seed = 88172645463325252u;

static uint64_t
next_random(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static void *
must_alloc(size_t size)
{
	void *p = calloc(1, size);
	if (p == NULL) {
		fprintf(stderr, "window: no memory for %zu bytes\n", size);
		exit(1);
	}
	return p;
}

static double
cpu_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static struct load
make_load(size_t count)
{
	return (struct load){
		must_alloc(count * KEY_BYTES), must_alloc(count * sizeof(int64_t)), count};
}

static void
free_load(struct load *l)
{
	free(l->keys);
	free(l->times_ms);
}

/* Each entry once in each pane. */
static struct load
make_entries(const unsigned char *keys, size_t entries, size_t panes)
{
	struct load l = make_load(entries * panes);
	for (size_t i = 0; i < l.count; i++) {
		memcpy(l.keys + i * KEY_BYTES, keys + i % entries * KEY_BYTES, KEY_BYTES);
		l.times_ms[i] = BASE_MS + (int64_t)(i / entries) * PANE_MS;
	}
	return l;
}

static struct load
make_records(const unsigned char *keys, size_t entries, size_t records, int spread)
{
	struct load l = make_load(records);
	for (size_t i = 0; i < records; i++) {
		memcpy(l.keys + i * KEY_BYTES, keys + next_random() % entries * KEY_BYTES,
			KEY_BYTES);
		uint64_t t = spread ? next_random() % WINDOW_MS : i * WINDOW_MS / records;
		l.times_ms[i] = BASE_MS + (int64_t)t;
	}
	return l;
}

static struct slot *
find(struct table *t, const unsigned char *key, uint32_t hash)
{
	for (uint32_t at = hash & t->mask;; at = (at + 1) & t->mask) {
		struct slot *s = &t->slots[at];
		if (s->list == NULL || (s->hash == hash && memcmp(s->key, key, KEY_BYTES) == 0))
			return s;
	}
}

static void
append(struct slot *s, struct rfl_window_item item)
{
	if (s->count == s->room) {
		s->room = s->room > 0 ? s->room * 2 : FIRST_ROOM;
		s->list = realloc(s->list, s->room * sizeof item);
		if (s->list == NULL)
			abort();
	}
	s->list[s->count++] = item;
}

static double
run_bare(struct table *t, const struct load *l)
{
	double begin = cpu_ns();
	for (size_t i = 0; i < l->count; i++) {
		const unsigned char *key = l->keys + i * KEY_BYTES;
		uint32_t hash = rfl_window_hash(key, KEY_BYTES);
		struct slot *s = find(t, key, hash);
		if (s->list == NULL) {
			memcpy(s->key, key, KEY_BYTES);
			s->hash = hash;
		}
		append(s, (struct rfl_window_item){i, hash});
	}
	return cpu_ns() - begin;
}

static double
run_engine(struct rfl_window *w, const struct load *l)
{
	static struct rfl_window_record batch[BATCH];
	double begin = cpu_ns();
	for (size_t i = 0; i < l->count; i += BATCH) {
		size_t count = l->count - i < BATCH ? l->count - i : BATCH;
		for (size_t k = 0; k < count; k++) {
			const unsigned char *key = l->keys + (i + k) * KEY_BYTES;
			uint32_t hash = rfl_window_hash(key, KEY_BYTES);
			batch[k] = (struct rfl_window_record){.time_ms = l->times_ms[i + k],
				.closed_ms = BASE_MS - WINDOW_MS,
				.key = key,
				.key_len = KEY_BYTES,
				.hash = hash,
				.item = {i + k, hash}};
		}
		rfl_window_add(w, batch, count);
	}
	return cpu_ns() - begin;
}

/* Room for what comes, with some for chance. */
static void
make_room(struct table *t, size_t average)
{
	for (size_t i = 0; i <= t->mask; i++) {
		struct slot *s = &t->slots[i];
		if (s->list == NULL)
			continue;
		s->room = (uint32_t)(average * 2 + 16);
		s->list = realloc(s->list, s->room * sizeof *s->list);
		if (s->list == NULL)
			abort();
		memset(s->list + s->count, 0, (s->room - s->count) * sizeof *s->list);
	}
}

static double
bare(const struct load *entries, const struct load *records, int roomy)
{
	struct table t = {NULL, 1};
	while (t.mask < entries->count * 2)
		t.mask = t.mask * 2 + 1;
	t.slots = must_alloc(((size_t)t.mask + 1) * sizeof *t.slots);
	run_bare(&t, entries);
	if (roomy)
		make_room(&t, records->count / entries->count);
	double ns = run_bare(&t, records);
	for (size_t i = 0; i <= t.mask; i++)
		free(t.slots[i].list);
	free(t.slots);
	return ns;
}

static double
engine(const struct load *entries, const struct load *records, int hopping)
{
	struct rfl_window_spec spec = {.shape = hopping ? RFL_SHAPE_HOPPING : RFL_SHAPE_TUMBLING,
		.size_ms = WINDOW_MS,
		.slide_ms = hopping ? PANE_MS : WINDOW_MS};
	struct rfl_window *w = rfl_window_create(&spec, NULL, NULL);
	run_engine(w, entries);
	double ns = run_engine(w, records);
	if (rfl_window_open_count(w) < entries->count) {
		fprintf(stderr, "window: %llu of %zu entries\n",
			(unsigned long long)rfl_window_open_count(w), entries->count);
		exit(1);
	}
	rfl_window_destroy(w);
	return ns;
}

int
main(int argc, char **argv)
{
	if (argc != 4) {
		fprintf(stderr, "usage: window SIDE ENTRIES RECORDS\n");
		return 2;
	}
	int hopping = strncmp(argv[1], "hopping", 7) == 0;
	size_t keys = strtoul(argv[2], NULL, 10), count = strtoul(argv[3], NULL, 10);
	unsigned char *key_bytes = must_alloc(keys * KEY_BYTES + 8);
	for (size_t i = 0; i < keys * KEY_BYTES; i += 8) {
		uint64_t r = next_random();
		memcpy(key_bytes + i, &r, 8);
	}
	struct load entries = make_entries(key_bytes, keys, hopping ? PANES : 1);
	struct load records =
		make_records(key_bytes, keys, count, strstr(argv[1], "-spread") != NULL);
	double ns = strncmp(argv[1], "bare", 4) == 0
			    ? bare(&entries, &records, strcmp(argv[1], "bare-roomy") == 0)
			    : engine(&entries, &records, hopping);
	struct rusage usage;
	getrusage(RUSAGE_SELF, &usage);
	printf("%.2f %ld\n", ns / (double)count, usage.ru_maxrss);
	free(key_bytes);
	free_load(&entries);
	free_load(&records);
	return 0;
}
