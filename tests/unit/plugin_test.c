/* The plugin room: batches of our own, and each reason why a plugin is refused. */
#include "test.h"

#include "base/mem.h"
#include "plugin/batch.h"
#include "plugin/host.h"
#include "plugin/plugin.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct riffle_bytes
text(const char *s)
{
	return (struct riffle_bytes){s, s ? strlen(s) : 0};
}

static void
test_builder_copies_and_keeps_null_from_empty(void **state)
{
	(void)state;
	struct rfl_builder *b = rfl_builder_create();
	char key[] = "key";
	struct riffle_header headers[2] = {
		{.name = text("a"), .value = text("")}, {.name = text("b"), .value = text(NULL)}};
	struct riffle_record r = {.key = text(key), .value = text(""), .offset = 7};
	rfl_builder_add(b, &r, headers, 2, "text/plain");
	r.key = text(NULL);
	r.value = text(NULL);
	rfl_builder_add(b, &r, NULL, 0, "text/plain");
	key[0] = 'X';
	struct riffle_batch *batch = rfl_builder_finish(b);
	rfl_builder_destroy(b);

	const struct riffle_record *first = riffle_batch_at(batch, 0);
	assert_int_equal(batch->record_count, 2);
	assert_memory_equal(first->key.ptr, "key", 3);
	assert_non_null(first->value.ptr);
	assert_int_equal(first->value.len, 0);
	assert_int_equal(first->header_count, 2);
	assert_non_null(batch->headers[0].value.ptr);
	assert_null(batch->headers[1].value.ptr);
	assert_null(riffle_batch_at(batch, 1)->key.ptr);
	assert_null(riffle_batch_at(batch, 1)->value.ptr);
	/* One entry for the type of both, behind the one for "not stated". */
	assert_int_equal(batch->content_type_count, 2);
	assert_int_equal(riffle_batch_at(batch, 1)->content_type, 1);
	rfl_batch_unref(batch);
}

static void
test_builder_takes_more_than_a_chunk(void **state)
{
	(void)state;
	struct rfl_builder *b = rfl_builder_create();
	char *big = rfl_zalloc(300000);
	memset(big, 'x', 300000);
	for (int i = 0; i < 50; i++) {
		const struct riffle_record r = {.value = {big, (size_t)(i * 6000)}, .offset = i};
		rfl_builder_add(b, &r, NULL, 0, NULL);
	}
	struct riffle_batch *batch = rfl_builder_finish(b);
	assert_null(rfl_builder_finish(b));
	for (uint32_t i = 0; i < 50; i++) {
		const struct riffle_record *r = riffle_batch_at(batch, i);
		assert_int_equal(r->value.len, i * 6000);
		if (i > 0)
			assert_memory_equal(r->value.ptr, big, r->value.len);
	}
	rfl_batch_unref(batch);
	rfl_builder_destroy(b);
	free(big);
}

static int released;

static void
count_release(struct riffle_batch *b)
{
	(void)b;
	released++;
}

static void
test_view_keeps_what_it_looks_at(void **state)
{
	(void)state;
	const struct riffle_record records[3] = {{.offset = 0}, {.offset = 1}, {.offset = 2}};
	struct riffle_batch from = {.size = sizeof from,
		.record_size = sizeof records[0],
		.record_count = 3,
		.records = records,
		.release = count_release};
	released = 0;
	rfl_batch_take(&from);
	struct riffle_batch *view = rfl_batch_view(&from, 1, 2);
	rfl_batch_records(view)[0].stream = 5;
	rfl_batch_unref(&from);
	assert_int_equal(released, 0);
	assert_int_equal(riffle_batch_at(view, 0)->offset, 1);
	assert_int_equal(riffle_batch_at(view, 0)->stream, 5);
	assert_int_equal(records[1].stream, 0);
	rfl_batch_unref(view);
	assert_int_equal(released, 1);
}

static char *
bad_plugin(const char *name)
{
	const char *build = getenv("RIFFLE_BUILD");
	return rfl_sprintf("%s/tests/badplugins/.libs/%s.so", build ? build : ".", name);
}

static void
test_each_fault_is_refused_by_its_text(void **state)
{
	(void)state;
	static const struct {
		const char *name, *says;
	} cases[] = {
		{"undefined-symbol", "undefined symbol: nobody_has_this_function (see ldd) [R03]"},
		{"no-symbol", "not a riffle plugin [R04]"},
		{"v7-symbol", "built for plugin ABI 7, this program speaks 0.1 [R04]"},
		{"null-module", "entry function returned a pointer outside the plugin [R05]"},
		{"wrong-magic", "bad magic 0x12345678; damaged, or byte order [R06]"},
		{"major-9", "needs plugin ABI 9.1, this program provides 0.1 [R07]"},
		{"minor-9", "needs plugin ABI 0.9, this program provides 0.1 [R07]"},
		{"module-small", "module too small: 8 bytes, at least 32 [R08]"},
		{"plugin-huge", "descriptor too large: 1000000 bytes, at most 65536 [R08]"},
		{"ops-short", "ops too small: 40 bytes, at least 104 [R08]"},
		{"count-0", "plugin list of 0 entries is not one of 1 to 64 [R09]"},
		{"null-entry", "plugin list entry 1 is NULL [R09]"},
		{"name-bad", "plugin name \"Kafka!\" is not allowed [R10]"},
		{"name-twice", "invoker \"bad\" is there already [R10]"},
		{"kind-77", "plugin \"bad\": kind 77 is not known [R10]"},
		{"op-missing", "invoker \"bad\": call_push is missing [R11]"},
		{"opt-no-doc", "invoker \"bad\": option \"linger\": it has no doc [R12]"},
		{"opt-twice", "invoker \"bad\": option \"a\": it is there twice [R12]"},
		{"opt-min-gt-max", "invoker \"bad\": option \"a\": min is above max [R12]"},
		{"opt-no-choices", "invoker \"bad\": option \"a\": it has no choices [R12]"},
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct rfl_plugins *p = rfl_plugins_create();
		struct riffle_error err = {0};
		char *path = bad_plugin(cases[i].name);
		int rc = rfl_plugins_load(p, path, &err);
		char *front = rfl_sprintf("plugin refused: %s: ", path);
		if (rc >= 0 || strncmp(err.text, front, strlen(front)) != 0 ||
			strstr(err.text, cases[i].says) == NULL)
			fail_msg("%s: %d, %s", cases[i].name, rc, err.text);
		assert_null(rfl_plugins_first(p));
		free(front);
		free(path);
		rfl_plugins_destroy(p);
	}
}

static char *
scratch_file(const char *content, size_t len, mode_t mode)
{
	char *path = rfl_strdup("/tmp/riffle-plugin-test-XXXXXX");
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, content, len), len);
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
	return path;
}

static void
refused_file(char *path, const char *says)
{
	struct rfl_plugins *p = rfl_plugins_create();
	struct riffle_error err = {0};
	if (rfl_plugins_load(p, path, &err) >= 0 || strstr(err.text, says) == NULL)
		fail_msg("%s: %s", says, err.text);
	rfl_plugins_destroy(p);
}

static void
test_files_that_are_no_plugin(void **state)
{
	(void)state;
	/* An ELF header of a machine that is none of ours. */
	char other[64] = "\x7f"
			 "ELF\x02\x01\x01";
	other[18] = 21;
	static const struct {
		const char *content;
		size_t len;
		mode_t mode;
		const char *says;
	} cases[] = {
		{"", 0, 0600, "file too short"},
		{"this is no object", 17, 0600, "[R03]"},
		{"", 0, 0622, "not a safe file to load: writable by others [R01]"},
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		char *path = scratch_file(cases[i].content, cases[i].len, cases[i].mode);
		refused_file(path, cases[i].says);
		unlink(path);
		free(path);
	}
	char *path = scratch_file(other, sizeof other, 0600);
	refused_file(path, "built for another kind of machine");
	unlink(path);
	free(path);
	char dir[] = "/tmp";
	refused_file(dir, "not a regular file [R01]");
	char none[] = "/tmp/riffle-there-is-no-such-file.so";
	refused_file(none, "No such file or directory [R01]");
}

static void
test_good_plugin_loads_once_and_is_found(void **state)
{
	(void)state;
	struct rfl_plugins *p = rfl_plugins_create();
	struct riffle_error err = {0};
	char *path = bad_plugin("good");
	assert_int_equal(rfl_plugins_load(p, path, &err), RIFFLE_OK);
	const struct rfl_plugin *first = rfl_plugins_first(p);
	assert_string_equal(first->name, "bad");
	assert_string_equal(first->build, "test");
	assert_int_equal(rfl_plugins_load(p, path, &err), RIFFLE_E_UNSUPPORTED);
	assert_non_null(strstr(err.text, "already loaded as"));

	const struct rfl_plugin *found;
	char dir[] = "/nowhere";
	char *const dirs[] = {dir, NULL};
	assert_int_equal(
		rfl_plugins_find(p, RIFFLE_KIND_INVOKER, "bad", dirs, &found, &err), RIFFLE_OK);
	assert_ptr_equal(found, first);
	assert_int_equal(rfl_plugins_find(p, RIFFLE_KIND_PROVIDER, "bad", dirs, &found, &err),
		RIFFLE_E_NOTFOUND);
	assert_string_equal(err.text, "no provider \"bad\" in /nowhere");
	free(path);
	rfl_plugins_destroy(p);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_builder_copies_and_keeps_null_from_empty),
		cmocka_unit_test(test_builder_takes_more_than_a_chunk),
		cmocka_unit_test(test_view_keeps_what_it_looks_at),
		cmocka_unit_test(test_each_fault_is_refused_by_its_text),
		cmocka_unit_test(test_files_that_are_no_plugin),
		cmocka_unit_test(test_good_plugin_loads_once_and_is_found),
	};
	return RUN("plugin", tests);
}
