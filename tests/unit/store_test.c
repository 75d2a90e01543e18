/* The store of a task's records: what is spilled comes back, and the file is used again. */
#include "test.h"

#include "base/error.h"
#include "plugin/batch.h"
#include "plugin/host.h"
#include "task/store.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SPILL_BYTES (INT64_C(1) << 20)

static char dir[] = "/tmp/riffle-store-XXXXXX";

/* Its one record is size times the letter. */
static struct rfl_chunk *
add(struct rfl_store *s, int64_t offset, char letter, size_t size)
{
	char *text = malloc(size);
	memset(text, letter, size);
	struct rfl_builder *build = rfl_builder_create();
	const struct riffle_record r = {.value = {text, size}, .offset = offset};
	rfl_builder_add(build, &r, NULL, 0, NULL);
	struct riffle_batch *b = rfl_builder_finish(build);
	rfl_builder_destroy(build);
	struct rfl_chunk *c = rfl_store_copy(s, 0, b, 0, 1, 0);
	rfl_store_need(c, 1);
	rfl_batch_unref(b);
	free(text);
	return c;
}

static void
spill_all(struct rfl_store *s)
{
	struct riffle_error err = {0};
	assert_int_equal(rfl_store_spill(s, 0, &err), 0);
	assert_int_equal(rfl_store_bytes(s), 0);
}

static void
assert_holds(struct rfl_store *s, struct rfl_chunk *c, char letter, size_t size)
{
	struct riffle_batch *b;
	struct riffle_error err = {0};
	assert_null(c->batch);
	assert_int_equal(rfl_store_batch(s, c, &b, &err), RIFFLE_OK);
	const struct riffle_record *r = riffle_batch_at(b, 0);
	assert_int_equal(r->value.len, size);
	for (size_t i = 0; i < size; i++)
		assert_int_equal(((const char *)r->value.ptr)[i], letter);
	rfl_batch_unref(b);
}

/* Of the one open file that has no name. */
static int64_t
file_bytes(void)
{
	DIR *d = opendir("/proc/self/fd");
	const struct dirent *e;
	int64_t found = -1;
	while ((e = readdir(d)) != NULL) {
		struct stat st;
		if (fstat(atoi(e->d_name), &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 0)
			found = st.st_size;
	}
	closedir(d);
	return found;
}

/* There is always something in the file, so that it is never empty. */
static void
test_the_file_does_not_grow_with_what_was_spilled_before(void **state)
{
	(void)state;
	struct rfl_store *s = rfl_store_create(1, dir, 1, SPILL_BYTES);
	struct rfl_chunk *last = add(s, 0, 'a', 1000);
	spill_all(s);
	int64_t first_bytes = file_bytes();
	assert_in_range(first_bytes, 1000, 2000);
	for (int i = 1; i < 1000; i++) {
		char letter = (char)('a' + i % 26), before = (char)('a' + (i - 1) % 26);
		struct rfl_chunk *c = add(s, i, letter, 1000);
		spill_all(s);
		assert_holds(s, last, before, 1000);
		assert_holds(s, c, letter, 1000);
		rfl_store_release(s, last, 1);
		last = c;
	}
	assert_in_range(file_bytes(), 1, 2 * first_bytes);
	rfl_store_destroy(s);
}

/* Chunks of many sizes that come and go in no order: none lies where another does. */
static void
test_what_lies_in_it_is_left_alone(void **state)
{
	(void)state;
	struct rfl_store *s = rfl_store_create(1, dir, 1, SPILL_BYTES);
	struct {
		struct rfl_chunk *chunk;
		size_t size;
		char letter;
	} held[16] = {{NULL, 0, 0}};
	uint32_t random = 7;
	for (int i = 0; i < 4000; i++) {
		random = random * 1664525u + 1013904223u;
		size_t at = random >> 28;
		if (held[at].chunk != NULL) {
			assert_holds(s, held[at].chunk, held[at].letter, held[at].size);
			rfl_store_release(s, held[at].chunk, 1);
		}
		held[at].size = (random >> 8 & 0xfff) + 1;
		held[at].letter = (char)('a' + i % 26);
		held[at].chunk = add(s, i, held[at].letter, held[at].size);
		spill_all(s);
	}
	/* Sixteen of at most four thousand, and what lies between them. */
	assert_in_range(file_bytes(), 1, INT64_C(3) * 16 * 4096);
	rfl_store_destroy(s);
}

static void
test_more_than_spill_is_refused(void **state)
{
	(void)state;
	struct riffle_error err = {0};
	struct rfl_store *s = rfl_store_create(1, dir, 1, 2000);
	struct rfl_chunk *c = add(s, 0, 'a', 1000);
	spill_all(s);
	add(s, 1, 'b', 1000);
	assert_int_equal(rfl_store_spill(s, 0, &err), RIFFLE_E_FULL);
	assert_non_null(strstr(err.text, "spill = 2000 bytes"));
	rfl_store_release(s, c, 1);
	spill_all(s);
	rfl_store_destroy(s);
}

static int
make_dir(void **state)
{
	(void)state;
	return mkdtemp(dir) == NULL;
}

static int
remove_dir(void **state)
{
	(void)state;
	return rmdir(dir);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_file_does_not_grow_with_what_was_spilled_before),
		cmocka_unit_test(test_what_lies_in_it_is_left_alone),
		cmocka_unit_test(test_more_than_spill_is_refused),
	};
	return cmocka_run_group_tests_name("store", tests, make_dir, remove_dir);
}
