/* The conf room: every field of the model from a good file, every finding of the bad ones. */
#include "test.h"

#include "base/buf.h"
#include "base/mem.h"
#include "conf/load.h"
#include "conf/value.h"

#include <glob.h>
#include <libgen.h>
#include <riffle/invoker.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *const colours[] = {"red", "green", NULL};
static const struct riffle_option provider_options[] = {
	{.name = "servers",
		.type = RIFFLE_OPT_LIST,
		.flags = RIFFLE_OPT_REQUIRED,
		.doc = "Where it is."},
	{.name = "password",
		.type = RIFFLE_OPT_STRING,
		.flags = RIFFLE_OPT_SECRET,
		.doc = "Its password."},
	{.name = "linger",
		.type = RIFFLE_OPT_DURATION,
		.def = "5ms",
		.min = 1,
		.max = 1000,
		.doc = "How long it waits."},
	{.name = "colour",
		.type = RIFFLE_OPT_ENUM,
		.def = "red",
		.choices = colours,
		.doc = "Its colour."},
	{.name = "raw.", .type = RIFFLE_OPT_PASS, .doc = "Passed on."},
};
static const struct riffle_option function_options[] = {
	{.name = "command", .type = RIFFLE_OPT_ARGV, .doc = "The program."},
	{.name = "max", .type = RIFFLE_OPT_SIZE, .def = "1KiB", .doc = "The most."},
	{.name = "dir", .type = RIFFLE_OPT_PATH, .doc = "Where."},
};
static const struct riffle_option_table provider_tables[] = {{.size = sizeof provider_tables[0],
	.section = RIFFLE_SECTION_PROVIDER,
	.option_size = sizeof provider_options[0],
	.option_count = 5,
	.options = provider_options}};
static const struct riffle_option_table function_tables[] = {{.size = sizeof function_tables[0],
	.section = RIFFLE_SECTION_FUNCTION,
	.option_size = sizeof function_options[0],
	.option_count = 3,
	.options = function_options}};

static int
check_provider(const struct riffle_config *cfg, const struct riffle_report *report)
{
	const char *password =
		cfg->section == RIFFLE_SECTION_PROVIDER ? riffle_config_at(cfg, 1)->u.s : NULL;
	if (password != NULL && strcmp(password, "hunter2") == 0)
		report->add(
			report, RIFFLE_REPORT_ERROR, cfg, "password", "everybody knows that one");
	return RIFFLE_OK;
}

#define ALL                                                                                        \
	(RIFFLE_CAN_SOURCE | RIFFLE_CAN_SINK | RIFFLE_CAN_REPLAY | RIFFLE_CAN_METADATA |           \
		RIFFLE_CAN_TRANSACTIONS | RIFFLE_CAN_HEADERS | RIFFLE_CAN_KEYS |                   \
		RIFFLE_CAN_SEEK_TIME)

/* Less than its descriptor says. */
static int
check_narrow(const struct riffle_config *cfg, const struct riffle_report *report)
{
	riffle_report_can(report, cfg, RIFFLE_CAN_STREAM);
	return RIFFLE_OK;
}

/*
 * Providers: "fake" can do all, "plain" has no transactions and no times, "bare" no headers and keys, "deaf" only writes, "mute" only
 * reads. Invokers: "fake", "brook" can stream, "narrow" can name its sides, but not as it is set.
 */
static int
find(void *ctx, uint32_t kind, const char *name, const struct rfl_plugin_places *places,
	struct rfl_conf_plugin *ret, struct riffle_error *reterr)
{
	(void)ctx, (void)places;
	int is_provider = kind == RIFFLE_KIND_PROVIDER;
	*ret = (struct rfl_conf_plugin){.name = name};
	if (strcmp(name, "refused") == 0) {
		strcpy(reterr->text, "plugin refused: refused.so: bad magic [R06]");
		return reterr->code = RIFFLE_E_UNSUPPORTED;
	}
	if (strcmp(name, "fake") == 0) {
		ret->capabilities = is_provider ? ALL : 0;
		ret->tables = is_provider ? provider_tables : function_tables;
		ret->table_size = sizeof provider_tables[0];
		ret->table_count = 1;
		ret->check = is_provider ? check_provider : NULL;
		return 0;
	}
	if (is_provider && strcmp(name, "plain") == 0)
		ret->capabilities = ALL & ~(RIFFLE_CAN_TRANSACTIONS | RIFFLE_CAN_SEEK_TIME);
	else if (is_provider && strcmp(name, "bare") == 0)
		ret->capabilities = ALL & ~(RIFFLE_CAN_HEADERS | RIFFLE_CAN_KEYS);
	else if (is_provider && strcmp(name, "deaf") == 0)
		ret->capabilities = RIFFLE_CAN_SINK;
	else if (is_provider && strcmp(name, "mute") == 0)
		ret->capabilities = ALL & ~RIFFLE_CAN_SINK;
	else if (!is_provider && strcmp(name, "brook") == 0)
		ret->capabilities = RIFFLE_CAN_STREAM;
	else if (!is_provider && strcmp(name, "narrow") == 0) {
		ret->capabilities = RIFFLE_CAN_MANY_INPUTS | RIFFLE_CAN_MANY_OUTPUTS;
		ret->check = check_narrow;
	} else {
		snprintf(reterr->text, sizeof reterr->text, "no %s \"%s\" in /plugins",
			is_provider ? "provider" : "invoker", name);
		return reterr->code = RIFFLE_E_NOTFOUND;
	}
	return 0;
}

static int
load_file(const char *file, const char *const *sets, struct rfl_conf **ret, struct rfl_diags *diags)
{
	const struct rfl_conf_finder finder = {.find = find};
	const struct rfl_conf_request request = {.file = file, .sets = sets, .finder = &finder};
	return rfl_conf_load(&request, diags, ret);
}

static char *
write_temp(const char *text)
{
	char *path = rfl_strdup("/tmp/riffle-conf-XXXXXX.ini");
	int fd = mkstemps(path, 4);
	assert_true(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
	return path;
}

static const char good[] = "\xef\xbb\xbf[runtime]\r\n"
			   "namespace = prod\r\n"
			   "workers = 4\n"
			   "memory = 2MiB ; a comment\n"
			   "shutdown-timeout = 1m30s\n"
			   "admin = none\n"
			   "[gateway franz]\n"
			   "type = fake\n"
			   "servers = a:1, b:2\n"
			   "password = \"se;cret # 1\"\n"
			   "raw.security.protocol = SSL\n"
			   "colour = green\n"
			   "[stream in]\n"
			   "gateway = franz\n"
			   "content-type = application/json\n"
			   "partitions = 3\n"
			   "[stream out]\n"
			   "provider = franz\n"
			   "topic = elsewhere\n"
			   "provision = verify\n"
			   "[function f]\n"
			   "invoker = fake\n"
			   "command = prog 'a b' \"c\\\"d\" e\n"
			   "timeout = 0\n"
			   "dir = here\n"
			   "[processor p]\n"
			   "function = f\n"
			   "input = first:in@earliest\n"
			   "output = out\n"
			   "window = count 5 or 2s\n"
			   "guarantee = exactly-once\n"
			   "on-error = retry 3 backoff 1s..4s then skip\n";

static void
test_every_field_of_a_good_file(void **state)
{
	(void)state;
	struct rfl_conf *c;
	struct rfl_diags diags = RFL_DIAGS_INIT;
	char *path = write_temp(good);
	const char *const sets[] = {"processor.p.calls=3", "runtime.workers=2", NULL};
	struct rfl_buf text = RFL_BUF_INIT;
	int rc = load_file(path, sets, &c, &diags);
	rfl_diags_text(&diags, &text);
	if (rc < 0)
		fail_msg("%s", rfl_buf_str(&text));
	assert_int_equal(c->runtime.workers, 2);
	assert_string_equal(c->runtime.namespace, "prod");
	assert_int_equal(c->runtime.memory_bytes, 2 << 20);
	assert_int_equal(c->runtime.shutdown_timeout_ms, 90000);
	assert_null(c->runtime.admin);
	const struct rfl_provider_conf *p = rfl_conf_provider(c, "franz");
	assert_string_equal(riffle_config_at(&p->config, 0)->u.list[1], "b:2");
	assert_string_equal(riffle_config_at(&p->config, 1)->u.s, "se;cret # 1");
	assert_int_equal(riffle_config_at(&p->config, 2)->u.i, 5);
	assert_int_equal(riffle_config_at(&p->config, 2)->is_set, 0);
	assert_int_equal(riffle_config_at(&p->config, 3)->u.i, 1);
	assert_int_equal(p->config.pair_count, 1);
	assert_string_equal(p->config.pairs[0], "security.protocol");
	assert_string_equal(p->config.pairs[1], "SSL");
	const struct rfl_stream_conf *in = rfl_conf_stream(c, "in"),
				     *out = rfl_conf_stream(c, "out");
	assert_ptr_equal(in->provider, p);
	assert_string_equal(in->stream.topic, "prod_in");
	assert_int_equal(in->stream.partitions, 3);
	assert_string_equal(out->stream.topic, "elsewhere");
	assert_string_equal(out->stream.content_type, "application/octet-stream");
	assert_int_equal(out->provision, RFL_PROVISION_VERIFY);
	const struct rfl_function_conf *f = c->functions[0];
	assert_string_equal(riffle_config_at(&f->config, 0)->u.list[1], "a b");
	assert_string_equal(riffle_config_at(&f->config, 0)->u.list[2], "c\"d");
	assert_null(riffle_config_at(&f->config, 0)->u.list[4]);
	assert_int_equal(riffle_config_at(&f->config, 1)->u.i, 1024);
	assert_string_equal(riffle_config_at(&f->config, 2)->u.s, "/tmp/here");
	assert_int_equal(f->timeout_ms, 0);
	const struct rfl_processor_conf *proc = c->processors[0];
	assert_string_equal(proc->group, "prod.p");
	assert_string_equal(proc->inputs[0].alias, "first");
	assert_int_equal(proc->inputs[0].start, RIFFLE_START_EARLIEST);
	assert_int_equal(proc->window.kind, RFL_WINDOW_COUNT);
	assert_int_equal(proc->window.count, 5);
	assert_int_equal(proc->window.size_ms, 2000);
	assert_string_equal(proc->window.canonical,
		"count count 5 size 2000 slide 0 max 0 offset 0 zone utc time "
		"processing - 1000000 by nothing -");
	assert_int_equal(proc->guarantee, RFL_EXACTLY_ONCE);
	assert_int_equal(proc->commit_interval_ms, 100);
	assert_int_equal(proc->outputs_at_status, 1);
	assert_int_equal(proc->on_error.retries, 3);
	assert_int_equal(proc->on_error.backoff_max_ms, 4000);
	assert_int_equal(proc->on_error.then, RFL_ON_ERROR_SKIP);
	assert_int_equal(proc->calls, 3);
	rfl_conf_free(c);
	rfl_diags_fini(&diags);
	rfl_buf_fini(&text);
	unlink(path);
	free(path);
}

static const char tested[] =
	"[provider p]\ntype = fake\nservers = a\n"
	"[stream in]\nprovider = p\n"
	"[stream out]\nprovider = p\n"
	"[stream late]\nprovider = p\n"
	"[function f]\ninvoker = fake\n"
	"[processor x]\nfunction = f\ninput = late:in\noutput = a:out\n"
	"time = record\nmax-disorder = 0\nlate = stream late\n"
	"[test t]\n"
	"processor = x\n"
	"start = 2026-01-02T00:00:00+01:00\n"
	"timeout = 2s\n"
	"send =\n"
	"\tin 00:00:01 first ; of all \r\n"
	"    late  2d  23:59:59.999  key='a b'\theader:x= header:y=1=2  'it's '\n"
	"    in 00:00:00 header:z='' key= ${RIFFLE_TEST_SET}=\n"
	"expect =\n"
	"    a key=k ''\n"
	"    late header:x=1\n"
	"[test u]\n"
	"processor = x\n"
	"send = in 00:00:00 only ; one\n";

static void
assert_bytes(struct riffle_bytes b, const char *text)
{
	assert_non_null(b.ptr);
	assert_int_equal(b.len, strlen(text));
	assert_memory_equal(b.ptr, text, b.len);
}

static void
test_tests_have_their_lines(void **state)
{
	(void)state;
	struct rfl_conf *c;
	struct rfl_diags diags = RFL_DIAGS_INIT;
	char *path = write_temp(tested);
	struct rfl_buf text = RFL_BUF_INIT;
	setenv("RIFFLE_TEST_SET", "x", 1);
	int rc = load_file(path, NULL, &c, &diags);
	rfl_diags_text(&diags, &text);
	if (rc < 0)
		fail_msg("%s", rfl_buf_str(&text));
	assert_int_equal(c->test_count, 2);
	const struct rfl_test_conf *t = c->tests[0];
	assert_string_equal(t->name, "t");
	assert_ptr_equal(t->processor, c->processors[0]);
	assert_int_equal(t->start_ms, INT64_C(1767308400000));
	assert_int_equal(t->timeout_ms, 2000);
	assert_int_equal(t->send_count, 3);
	const struct rfl_test_record *r = t->sends;
	assert_ptr_equal(r[0].stream, rfl_conf_stream(c, "in"));
	assert_int_equal(r[0].time_ms, t->start_ms + 1000);
	assert_null(r[0].key.ptr);
	assert_bytes(r[0].value, "first ; of all");
	assert_int_equal(r[0].place.line, 24);
	assert_int_equal(r[0].place.column, 2);
	assert_ptr_equal(r[1].stream, rfl_conf_stream(c, "in"));
	assert_int_equal(r[1].time_ms, t->start_ms + INT64_C(259199999));
	assert_bytes(r[1].key, "a b");
	assert_bytes(r[1].value, "it's ");
	assert_int_equal(r[1].header_count, 2);
	assert_bytes(r[1].headers[0].name, "x");
	assert_bytes(r[1].headers[0].value, "");
	assert_bytes(r[1].headers[1].value, "1=2");
	assert_bytes(r[2].key, "");
	assert_bytes(r[2].value, "x=");
	assert_int_equal(t->has_expect, 1);
	assert_int_equal(t->expect_count, 2);
	assert_ptr_equal(t->expects[0].stream, rfl_conf_stream(c, "out"));
	assert_bytes(t->expects[0].key, "k");
	assert_bytes(t->expects[0].value, "");
	assert_ptr_equal(t->expects[1].stream, rfl_conf_stream(c, "late"));
	assert_bytes(t->expects[1].value, "header:x=1");
	t = c->tests[1];
	assert_int_equal(t->start_ms, 0);
	assert_int_equal(t->timeout_ms, 30000);
	assert_int_equal(t->has_expect, 0);
	assert_int_equal(t->send_count, 1);
	assert_bytes(t->sends[0].value, "only");
	rfl_conf_free(c);
	rfl_diags_fini(&diags);
	rfl_buf_fini(&text);
	unlink(path);
	free(path);
}

static char *
slurp(const char *path)
{
	struct rfl_buf text = RFL_BUF_INIT;
	char buf[4096];
	size_t n;
	FILE *in = fopen(path, "r");
	while (in != NULL && (n = fread(buf, 1, sizeof buf, in)) > 0)
		rfl_buf_add(&text, buf, n);
	if (in != NULL)
		fclose(in);
	return rfl_buf_take(&text);
}

/* Each NAME.ini says exactly what stands in NAME.expected. RIFFLE_BLESS=1 writes those anew. */
static void
test_bad_files_say_exactly_this(void **state)
{
	(void)state;
	glob_t found;
	const char *src = getenv("RIFFLE_SRC");
	char *dir = rfl_sprintf("%s/tests/badconf", src ? src : ".");
	assert_int_equal(chdir(dir), 0);
	assert_int_equal(glob("*.ini", 0, NULL, &found), 0);
	assert_true(found.gl_pathc >= 45);
	setenv("RIFFLE_TEST_SET", "x", 1);
	unsetenv("RIFFLE_TEST_UNSET");
	unsetenv("CREDENTIALS_DIRECTORY");
	/* Beside the file a deep source directory would make too long a path for the socket. */
	setenv("STATE_DIRECTORY", "/var/lib/riffle", 1);
	unsetenv("RUNTIME_DIRECTORY");
	size_t wrong = 0;
	for (size_t i = 0; i < found.gl_pathc; i++) {
		struct rfl_conf *c = NULL;
		struct rfl_diags diags = RFL_DIAGS_INIT;
		struct rfl_buf text = RFL_BUF_INIT;
		char *name = rfl_strndup(found.gl_pathv[i], strlen(found.gl_pathv[i]) - 4);
		char *path = rfl_sprintf("%s.expected", name);
		int rc = load_file(found.gl_pathv[i], NULL, &c, &diags);
		rfl_diags_text(&diags, &text);
		rfl_buf_printf(&text, "-> %d\n", rc);
		if (getenv("RIFFLE_BLESS") != NULL) {
			FILE *out = fopen(path, "w");
			fputs(rfl_buf_str(&text), out);
			fclose(out);
		}
		char *expected = slurp(path);
		if (strcmp(expected, rfl_buf_str(&text)) != 0) {
			wrong++;
			printf("# %s is\n%s# and not\n%s", path, rfl_buf_str(&text), expected);
		}
		free(expected);
		free(path);
		free(name);
		rfl_buf_fini(&text);
		rfl_diags_fini(&diags);
		rfl_conf_free(c);
	}
	globfree(&found);
	free(dir);
	assert_int_equal(wrong, 0);
}

static void
test_what_is_wrong_on_the_command_line_is_named(void **state)
{
	(void)state;
	char *path = write_temp("[provider p]\ntype = fake\nservers = a\n[processor x]\n");
	struct rfl_conf *c;
	struct rfl_diags diags = RFL_DIAGS_INIT;
	struct rfl_buf text = RFL_BUF_INIT;
	static const char *const sets[] = {"runtime.workers=no", "provider.p.password=hunter2",
		"provider.q.password=hunter3", "processor.x.window=count", "x=1", "p.servers=b",
		"provider.p.no.such=1", "provider.p.raw.a.b=1", "provider.p.=1", NULL};
	assert_int_equal(load_file(path, sets, &c, &diags), RIFFLE_E_CONFIG);
	rfl_diags_text(&diags, &text);
	static const char *const said[] = {
		"--set runtime.workers: error: 'no' is no value for workers [C102]\n",
		"--set provider.p.password: error: everybody knows that one [C112]\n",
		"--set provider.q.password: error: there is no section [provider q]; did you mean "
		"'provider.p.password'? [C014]\n",
		"--set p.servers: error: there is no section [p]; did you mean "
		"'provider.p.servers'? [C014]\n",
		"--set provider.p.no.such: error: unknown key 'no.such' ",
		"--set: error: 'provider.p.=1' is not SECTION.KEY=VALUE [C014]\n",
		"--set processor.x.window: error: '' is not a number of records [C102]\n",
		"--set: error: 'x=1' is not SECTION.KEY=VALUE [C014]\n"};
	for (size_t i = 0; i < sizeof said / sizeof said[0]; i++)
		if (strstr(rfl_buf_str(&text), said[i]) == NULL)
			fail_msg("%s is not in\n%s", said[i], rfl_buf_str(&text));
	assert_null(strstr(rfl_buf_str(&text), "hunter"));
	/* A key with dots that its section takes. */
	assert_null(strstr(rfl_buf_str(&text), "raw.a.b"));
	rfl_buf_fini(&text);
	rfl_diags_fini(&diags);
	unlink(path);
	free(path);
}

static void
test_a_finding_that_is_no_text_stays_one(void **state)
{
	(void)state;
	struct rfl_diags diags = RFL_DIAGS_INIT;
	struct rfl_buf text = RFL_BUF_INIT;
	const struct rfl_place place = {.file = "caf\xe9.ini", .line = 1, .column = 1};
	rfl_diag_add(&diags, RFL_ERROR, "C102", place, 1, NULL, "as in \xff", "'\xe9' is no value");
	rfl_diags_json(&diags, &text);
	assert_non_null(strstr(rfl_buf_str(&text), "\"caf?.ini\""));
	assert_non_null(strstr(rfl_buf_str(&text), "\"'?' is no value\""));
	assert_non_null(strstr(rfl_buf_str(&text), "\"as in ?\""));
	rfl_buf_fini(&text);
	rfl_diags_fini(&diags);
}

static void
test_includes_and_drop_ins_in_their_order(void **state)
{
	(void)state;
	char dir[] = "/tmp/riffle-conf-XXXXXX";
	struct rfl_conf *c;
	struct rfl_diags diags = RFL_DIAGS_INIT;
	assert_non_null(mkdtemp(dir));
	char *make = rfl_sprintf("cd %s && mkdir -p conf.d state/conf.d && "
				 "printf '[runtime]\\ninclude = conf.d/*.ini\\nworkers = "
				 "2\\nnamespace = a\\n' >main.ini && "
				 "printf '[runtime]\\nnamespace = b\\n' >conf.d/10.ini && "
				 "printf '[runtime]\\nnamespace = c\\n' >conf.d/20.ini && "
				 "printf '[runtime]\\nnamespace = x\\n' >conf.d/30.conf && "
				 "printf '[provider made]\\ntype = plain\\n' >state/conf.d/p.ini",
		dir);
	assert_int_equal(system(make), 0);
	char *file = rfl_sprintf("%s/main.ini", dir);
	unsetenv("STATE_DIRECTORY");
	assert_int_equal(load_file(file, NULL, &c, &diags), 0);
	assert_string_equal(c->runtime.namespace, "c");
	assert_int_equal(c->runtime.workers, 2);
	assert_non_null(rfl_conf_provider(c, "made"));
	assert_int_equal(diags.files, 4);
	rfl_conf_free(c);
	rfl_diags_fini(&diags);
	free(make);
	make = rfl_sprintf(
		"cd %s && printf '[runtime]\\ninclude = main.ini\\n' >>conf.d/20.ini", dir);
	assert_int_equal(system(make), 0);
	free(make);
	make = rfl_sprintf("rm -r %s", dir);
	assert_int_equal(load_file(file, NULL, &c, &diags), RIFFLE_E_CONFIG);
	assert_true(diags.errors >= 1);
	rfl_diags_fini(&diags);
	assert_int_equal(system(make), 0);
	free(make);
	free(file);
}

static void
test_values(void **state)
{
	(void)state;
	int64_t n;
	const char *why;
	static const struct {
		const char *text;
		int64_t ms;
	} durations[] = {{"0", 0}, {"250ms", 250}, {"1m30s", 90000}, {"7d", 604800000},
		{"36525d", 3155760000000}, {"36525d1ms", -1}, {"1000us", 1}, {"2h", 7200000},
		{"10", -1}, {"10 s", -1}, {"s", -1}, {"1e3ms", -1}, {"-5s", -1}, {"1us", -1},
		{"99999999999999999999s", -1}, {"9999999999999d", -1}, {"", -1}, {"1ss", -1}};
	for (size_t i = 0; i < sizeof durations / sizeof durations[0]; i++) {
		int rc = rfl_value_duration(durations[i].text, &n, &why);
		if (durations[i].ms < 0 ? rc == 0 : rc != 0 || n != durations[i].ms)
			fail_msg("\"%s\"", durations[i].text);
	}
	assert_true(rfl_value_size("64KiB", &n, &why) == 0 && n == 65536);
	assert_true(rfl_value_size("1GB", &n, &why) == 0 && n == 1000000000);
	assert_true(rfl_value_size("10k", &n, &why) < 0 && rfl_value_size("10", &n, &why) < 0);
	assert_true(rfl_value_time("1970-01-01T00:00:01.5Z", &n) == 0 && n == 1500);
	assert_true(rfl_value_time("1970-01-01T01:00:00+01:00", &n) == 0 && n == 0);
	assert_true(rfl_value_time("1969-12-31T23:59:59Z", &n) == 0 && n == -1000);
	assert_true(rfl_value_time("2026-02-29T00:00:00Z", &n) < 0);
	assert_true(rfl_value_time("2026-02-30T23:59:60Z", &n) < 0);
	assert_true(rfl_value_time("2016-12-31T23:59:60Z", &n) == 0);
	assert_true(rfl_value_time("2028-02-29T00:00:00Z", &n) == 0);
	assert_true(rfl_value_time("2026-01-02T-3:04:05Z", &n) < 0);
	assert_true(rfl_value_time("2026-01-02T 3:04:05Z", &n) < 0);
	assert_true(rfl_value_time("2026-1-2T03:04:05Z", &n) < 0);
	assert_true(rfl_value_time("2026-01-02T03:04:05+1:00", &n) < 0);
	assert_true(rfl_value_time("2026-01-02T03:04:05+01:-9", &n) < 0);
	assert_true(rfl_value_time("2026-01-02T03:04:05+99:00", &n) < 0);
	assert_true(rfl_value_time("2026-01-02", &n) < 0 && rfl_value_time("", &n) < 0);
	assert_true(rfl_value_time("yesterday", &n) < 0 &&
		    rfl_value_time("2026-13-01T00:00:00Z", &n) < 0);
}

/* What could have keep = no, and what has it; refusals are in tests/badconf. */
static void
test_windows_that_may_be_let_go(void **state)
{
	(void)state;
	static const struct {
		const char *keys;
		int keeps, may_let_go;
	} all[] = {
		{"window = tumbling 1m\nkeep = no\n", 0, 0},
		{"window = count 10\nkeep = no\non-error = retry 3 then skip\n", 0, 0},
		{"window = tumbling 1m\n", 1, 1},
		{"window = tumbling 1m\nguarantee = at-most-once\n", 1, 0},
		{"window = tumbling 1m\nearly = every 1s\n", 1, 0},
		{"window = tumbling 1m\non-error = dead-letter s\n", 1, 0},
		{"window = tumbling 1m\ndelivery = at-close\n", 1, 0},
	};
	for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
		struct rfl_conf *c;
		struct rfl_diags diags = RFL_DIAGS_INIT;
		struct rfl_buf text = RFL_BUF_INIT;
		rfl_buf_printf(&text,
			"[provider p]\ntype = plain\n[stream in]\nprovider = p\n[stream s]\n"
			"provider = p\n[function f]\ninvoker = brook\n[processor x]\n"
			"function = f\ninput = in\n%s",
			all[i].keys);
		char *path = write_temp(rfl_buf_str(&text));
		assert_int_equal(load_file(path, NULL, &c, &diags), 0);
		assert_int_equal(c->processors[0]->keep, all[i].keeps);
		assert_int_equal(rfl_conf_may_let_go(c->processors[0]), all[i].may_let_go);
		rfl_conf_free(c);
		rfl_diags_fini(&diags);
		rfl_buf_fini(&text);
		unlink(path);
		free(path);
	}
}

static void
test_a_thousand_processors_load_in_half_a_second(void **state)
{
	(void)state;
	struct rfl_buf text = RFL_BUF_INIT;
	struct rfl_conf *c;
	struct rfl_diags diags = RFL_DIAGS_INIT;
	rfl_buf_puts(&text, "[provider p]\ntype = plain\n[stream s]\nprovider = p\n[function "
			    "f]\ninvoker = fake\n");
	for (int i = 0; i < 1000; i++)
		rfl_buf_printf(&text, "[processor p%d]\nfunction = f\ninput = s\n", i);
	char *path = write_temp(rfl_buf_str(&text));
	clock_t before = clock();
	assert_int_equal(load_file(path, NULL, &c, &diags), 0);
	double spent = (double)(clock() - before) / CLOCKS_PER_SEC;
	printf("# 1,000 processors: %.3f s\n", spent);
	assert_true(spent < 0.5);
	assert_int_equal(c->processor_count, 1000);
	rfl_conf_free(c);
	rfl_diags_fini(&diags);
	rfl_buf_fini(&text);
	unlink(path);
	free(path);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_field_of_a_good_file),
		cmocka_unit_test(test_tests_have_their_lines),
		cmocka_unit_test(test_bad_files_say_exactly_this),
		cmocka_unit_test(test_what_is_wrong_on_the_command_line_is_named),
		cmocka_unit_test(test_a_finding_that_is_no_text_stays_one),
		cmocka_unit_test(test_includes_and_drop_ins_in_their_order),
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_windows_that_may_be_let_go),
		cmocka_unit_test(test_a_thousand_processors_load_in_half_a_second),
	};
	return RUN("conf", tests);
}
