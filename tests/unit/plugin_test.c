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
	return rfl_sprintf("%s/tests/badplugins/%s.so", build ? build : ".", name);
}

static int
begins(const char *text, const char *with)
{
	return strncmp(text, with, strlen(with)) == 0;
}

static int
ends(const char *text, const char *with)
{
	size_t end = strlen(text), len = strlen(with);
	return end >= len && strcmp(text + end - len, with) == 0;
}

static const struct {
	const char *name, *says;
} faults[] = {
	{"build-null", "build is NULL [R10]"},
	{"count-0", "plugin list of 0 entries is not one of 1 to 64 [R09]"},
	{"count-65", "plugin list of 65 entries is not one of 1 to 64 [R09]"},
	{"entry-outside", "plugin list entry 1 is outside the plugin [R09]"},
	{"half-sink", "provider \"bad\": sink_fd is missing [R11]"},
	{"half-source", "provider \"bad\": source_destroy is missing [R11]"},
	{"kind-77", "plugin \"bad\": kind 77 is not known [R10]"},
	{"license-null", "license is NULL [R10]"},
	{"list-outside", "plugin list is outside the plugin [R09]"},
	{"major-9", "needs plugin ABI 9.1, this program provides 0.1: rebuild it against "
		    "this version's headers [R07]"},
	{"minor-9", "needs plugin ABI 0.9, this program provides 0.1: rebuild it against "
		    "this version's headers [R07]"},
	{"module-huge", "module too large: 70000 bytes, at most 65536 [R08]"},
	{"module-small", "module too small: 8 bytes, at least 32 [R08]"},
	{"name-bad", "plugin name \"Kafka!\" is not allowed [R10]"},
	{"name-long", "plugin name \"abcdefghijklmnopqrstuvwxyzabcdef\" is not allowed [R10]"},
	{"name-null", "plugin name is NULL [R10]"},
	{"name-twice", "invoker \"bad\" is there already [R10]"},
	{"neither-half", "provider \"bad\": offers neither a source nor a sink [R11]"},
	{"no-extension", "provider \"bad\": extension is missing [R11]"},
	{"no-symbol", "not a riffle plugin [R04]"},
	{"null-entry", "plugin list entry 1 is NULL [R09]"},
	{"null-module", "entry function returned a pointer outside the plugin [R05]"},
	{"op-missing", "invoker \"bad\": call_push is missing [R11]"},
	{"ops-null", "invoker \"bad\": ops is outside the plugin [R11]"},
	{"ops-outside", "invoker \"bad\": ops is outside the plugin [R11]"},
	{"ops-short", "ops too small: 40 bytes, at least 104 [R08]"},
	{"opt-default-bool", "invoker \"bad\": option \"a\": default \"maybe\" is not a "
			     "yes or no [R12]"},
	{"opt-default-bounds",
		"invoker \"bad\": option \"a\": default \"9\" is out of its bounds [R12]"},
	{"opt-default-duration",
		"invoker \"bad\": option \"a\": default \"5q\" is not a duration [R12]"},
	{"opt-default-enum", "invoker \"bad\": option \"a\": default \"three\" is not one "
			     "of its choices [R12]"},
	{"opt-default-int",
		"invoker \"bad\": option \"a\": default \"many\" is not a number [R12]"},
	{"opt-default-outside",
		"invoker \"bad\": option \"a\": its default is outside the plugin [R12]"},
	{"opt-default-size", "invoker \"bad\": option \"a\": default \"12\" is not a size [R12]"},
	{"opt-min-gt-max", "invoker \"bad\": option \"a\": min is above max [R12]"},
	{"opt-name", "invoker \"bad\": the name of option 1 is not allowed [R12]"},
	{"opt-no-choices", "invoker \"bad\": option \"a\": it has no choices [R12]"},
	{"opt-no-doc", "invoker \"bad\": option \"linger\": it has no doc [R12]"},
	{"opt-twice", "invoker \"bad\": option \"a\": it is there twice [R12]"},
	{"opt-type", "invoker \"bad\": option \"a\": its type is not known [R12]"},
	{"option-stride", "option too small: 8 bytes, at least 56 [R08]"},
	{"options-many", "invoker \"bad\": an option table holds 1025 options, at most 1024 [R12]"},
	{"options-outside", "invoker \"bad\": its options are outside the plugin [R12]"},
	{"plugin-huge", "descriptor too large: 1000000 bytes, at most 65536 [R08]"},
	{"plugin-small", "descriptor too small: 24 bytes, at least 72 [R08]"},
	{"result-odd", "entry function returned a pointer outside the plugin [R05]"},
	{"result-outside", "entry function returned a pointer outside the plugin [R05]"},
	{"section-9", "invoker \"bad\": an option table is for section 9, which there is "
		      "not [R12]"},
	{"summary-long", "summary is not a text of the plugin below 4096 bytes [R10]"},
	{"summary-null", "summary is NULL [R10]"},
	{"summary-outside", "summary is not a text of the plugin below 4096 bytes [R10]"},
	{"table-small", "option table too small: 8 bytes, at least 24 [R08]"},
	{"table-stride", "option table too small: 8 bytes, at least 24 [R08]"},
	{"tables-many", "invoker \"bad\": 4 option tables, at most 3 [R12]"},
	{"tables-outside", "invoker \"bad\": its option tables are outside the plugin [R12]"},
	{"undefined-symbol", "undefined symbol: nobody_has_this_function (see ldd) [R03]"},
	{"v7-symbol", "built for plugin ABI 7, this program speaks 0.1 [R04]"},
	{"version-null", "version is NULL [R10]"},
	{"wrong-magic", "bad magic 0x12345678; damaged, or byte order [R06]"},
};

static void
test_each_fault_is_refused_by_its_text(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
		struct rfl_plugins *p = rfl_plugins_create();
		struct riffle_error err = {0};
		char *path = bad_plugin(faults[i].name);
		int rc = rfl_plugins_load(p, NULL, path, &err);
		if (rc >= 0 || !begins(err.text, "plugin refused: ") ||
			!ends(err.text, faults[i].says))
			fail_msg("%s: %d, %s", faults[i].name, rc, err.text);
		assert_non_null(strstr(err.text, strrchr(path, '/')));
		assert_null(rfl_plugins_first(p));
		free(path);
		rfl_plugins_destroy(p);
	}
}

static void
refused_file(char *path, const char *says)
{
	struct rfl_plugins *p = rfl_plugins_create();
	struct riffle_error err = {0};
	if (rfl_plugins_load(p, NULL, path, &err) >= 0 || strstr(err.text, says) == NULL)
		fail_msg("%s: %s", says, err.text);
	rfl_plugins_destroy(p);
}

static void
test_a_long_path_leaves_room_for_the_cause(void **state)
{
	(void)state;
	char path[1000], said[RIFFLE_ERROR_TEXT];
	for (size_t len = 100; len < sizeof path; len += 7) {
		struct riffle_error err = {0};
		memset(path, 'p', len);
		path[len] = '\0';
		strcpy(path + len - 4, "e.so");
		assert_int_equal(rfl_plugin_refused(&err, RIFFLE_E_DATA, path, "bad magic [R06]"),
			RIFFLE_E_DATA);
		assert_true(ends(err.text, "e.so: bad magic [R06]"));
		assert_true(begins(
			err.text, len > 220 ? "plugin refused: ...pp" : "plugin refused: pp"));
		/* A cause as long as it can be is cut itself before all of the path is. */
		memset(said, 'c', sizeof said - 1);
		said[sizeof said - 1] = '\0';
		rfl_plugin_refused(&err, RIFFLE_E_DATA, path, said);
		assert_non_null(strstr(err.text, "ppe.so: cccc"));
	}
	char *good = bad_plugin("undefined-symbol");
	char *dir = rfl_strdup("/tmp/riffle-place-test-XXXXXX");
	assert_non_null(mkdtemp(dir));
	char *command = rfl_sprintf("d=%s/%0150d && mkdir $d && cp %s $d/u.so", dir, 0, good);
	assert_int_equal(system(command), 0);
	char *deep = rfl_sprintf("%s/%0150d/u.so", dir, 0);
	refused_file(deep, "/u.so: undefined symbol: nobody_has_this_function (see ldd) [R03]");
	free(command);
	command = rfl_sprintf("rm -r %s", dir);
	assert_int_equal(system(command), 0);
	free(command);
	free(deep);
	free(dir);
	free(good);
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
test_files_that_are_no_plugin(void **state)
{
	(void)state;
	/* An ELF header of a machine that is none of ours. */
	unsetenv("RIFFLE_INSECURE_PLUGINS");
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

/* A directory of our own with a copy of the good plugin, as good.so and as invoker-good.so. */
static char *
scratch_place(void)
{
	char *dir = rfl_strdup("/tmp/riffle-place-test-XXXXXX");
	assert_non_null(mkdtemp(dir));
	char *good = bad_plugin("good");
	char *command = rfl_sprintf("cp %s %s/good.so && chmod 644 %s/good.so", good, dir, dir);
	assert_int_equal(system(command), 0);
	free(command);
	free(good);
	return dir;
}

static void
load_from(const struct rfl_plugin_places *places, const char *path, const char *says)
{
	struct rfl_plugins *p = rfl_plugins_create();
	struct riffle_error err = {0};
	int rc = rfl_plugins_load(p, places, path, &err);
	if (says == NULL ? rc != RIFFLE_OK : rc >= 0 || strstr(err.text, says) == NULL)
		fail_msg("%s: %d, %s", says ? says : "loads", rc, err.text);
	rfl_plugins_destroy(p);
}

static void
test_who_may_write_a_plugin(void **state)
{
	(void)state;
	char *dir = scratch_place(), *path = rfl_sprintf("%s/good.so", dir), text[400];
	char *dirs[] = {dir, NULL};
	struct rfl_plugin_places places = {.dirs = dirs};
	unsetenv("RIFFLE_INSECURE_PLUGINS");
	load_from(&places, path, NULL);
	chmod(path, 0664);
	load_from(&places, path, "not a safe file to load: writable by others [R01]");
	chmod(path, 0644);
	chmod(dir, 0777);
	snprintf(text, sizeof text,
		"not a safe file to load: its folder %s is writable by others [R01]", dir);
	load_from(&places, path, text);
	places.insecure = 1;
	load_from(&places, path, NULL);
	places.insecure = 0;
	setenv("RIFFLE_INSECURE_PLUGINS", "yes", 1);
	load_from(&places, path, NULL);
	unsetenv("RIFFLE_INSECURE_PLUGINS");
	chmod(dir, 01777);
	load_from(&places, path, NULL);
	chmod(dir, 0755);
	if (geteuid() == 0) {
		assert_int_equal(chown(path, 12345, 0), 0);
		load_from(&places, path, "not a safe file to load: owned by user 12345 [R01]");
		assert_int_equal(chown(path, 0, 0), 0);
		assert_int_equal(chown(dir, 12345, 0), 0);
		load_from(&places, path, "is owned by user 12345 [R01]");
		assert_int_equal(chown(dir, 0, 0), 0);
	}
	unlink(path);
	rmdir(dir);
	free(path);
	free(dir);
}

static void
test_links_stay_in_their_directory(void **state)
{
	(void)state;
	char *dir = scratch_place(), *other = scratch_place();
	char *path = rfl_sprintf("%s/good.so", dir), *inside = rfl_sprintf("%s/a.so", dir);
	char *out = rfl_sprintf("%s/b.so", dir), *target = rfl_sprintf("%s/good.so", other);
	char *dirs[] = {dir, NULL};
	const struct rfl_plugin_places places = {.dirs = dirs};
	char text[400];
	assert_int_equal(symlink("good.so", inside), 0);
	assert_int_equal(symlink(target, out), 0);
	load_from(&places, inside, NULL);
	snprintf(text, sizeof text,
		"not a safe file to load: it is a link out of its directory, to %s [R01]", target);
	load_from(&places, out, text);
	const char *const files[] = {path, inside, out, target};
	for (int i = 0; i < 4; i++)
		unlink(files[i]);
	rmdir(dir);
	rmdir(other);
	free(path);
	free(inside);
	free(out);
	free(target);
	free(dir);
	free(other);
}

static void
test_pinned_content(void **state)
{
	(void)state;
	char *dir = scratch_place(), *path = rfl_sprintf("%s/good.so", dir), sum[65], pin[80];
	char *dirs[] = {dir, NULL}, *pins[] = {pin, NULL};
	const struct rfl_plugin_places places = {.dirs = dirs, .pins = pins};
	/* The figure of another program, so that ours is not compared with itself. */
	char *command = rfl_sprintf("sha256sum %s", path);
	FILE *in = popen(command, "re");
	assert_non_null(in);
	assert_non_null(fgets(sum, sizeof sum, in));
	pclose(in);
	snprintf(pin, sizeof pin, "good:%s", sum);
	load_from(&places, path, NULL);
	pin[5] = pin[5] == '0' ? '1' : '0';
	load_from(&places, path, ", plugin-sha256 says ");
	snprintf(pin, sizeof pin, "other:%s", sum);
	load_from(&places, path, NULL);
	unlink(path);
	rmdir(dir);
	free(command);
	free(path);
	free(dir);
}

static void
test_names_are_no_paths(void **state)
{
	(void)state;
	struct rfl_plugins *p = rfl_plugins_create();
	struct riffle_error err = {0};
	const struct rfl_plugin *found;
	char *dir = scratch_place();
	char *sub = rfl_sprintf("%s/sub", dir);
	char *dirs[] = {sub, NULL};
	const struct rfl_plugin_places places = {.dirs = dirs};
	assert_int_equal(mkdir(sub, 0755), 0);
	assert_int_equal(
		rfl_plugins_find(p, RIFFLE_KIND_PROVIDER, "../good", &places, &found, &err),
		RIFFLE_E_NOTFOUND);
	rfl_plugins_destroy(p);
	rmdir(sub);
	char *path = rfl_sprintf("%s/good.so", dir);
	unlink(path);
	rmdir(dir);
	free(path);
	free(sub);
	free(dir);
}

static void
test_good_plugin_loads_once_and_is_found(void **state)
{
	(void)state;
	struct rfl_plugins *p = rfl_plugins_create();
	struct riffle_error err = {0};
	char *path = bad_plugin("good");
	assert_int_equal(rfl_plugins_load(p, NULL, path, &err), RIFFLE_OK);
	const struct rfl_plugin *first = rfl_plugins_first(p);
	assert_string_equal(first->name, "bad");
	assert_string_equal(first->build, "test");
	assert_int_equal(rfl_plugins_load(p, NULL, path, &err), RIFFLE_E_UNSUPPORTED);
	assert_non_null(strstr(err.text, "already loaded as"));

	const struct rfl_plugin *found;
	char dir[] = "/nowhere";
	char *dirs[] = {dir, NULL};
	const struct rfl_plugin_places places = {.dirs = dirs};
	assert_int_equal(
		rfl_plugins_find(p, RIFFLE_KIND_INVOKER, "bad", &places, &found, &err), RIFFLE_OK);
	assert_ptr_equal(found, first);
	assert_int_equal(rfl_plugins_find(p, RIFFLE_KIND_PROVIDER, "bad", &places, &found, &err),
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
		cmocka_unit_test(test_a_long_path_leaves_room_for_the_cause),
		cmocka_unit_test(test_files_that_are_no_plugin),
		cmocka_unit_test(test_good_plugin_loads_once_and_is_found),
		cmocka_unit_test(test_who_may_write_a_plugin),
		cmocka_unit_test(test_links_stay_in_their_directory),
		cmocka_unit_test(test_pinned_content),
		cmocka_unit_test(test_names_are_no_paths),
	};
	return RUN("plugin", tests);
}
