/* What verbs print, and the admin socket with a status made up for it. */
#include "test.h"

#include "admin/admin.h"
#include "admin/render.h"
#include "base/base64.h"
#include "base/error.h"
#include "base/mem.h"
#include "cli/child.h"
#include "cli/cli.h"
#include "cli/difference.h"
#include "cli/option_text.h"
#include "cli/page.h"
#include "cli/payload.h"
#include "cli/roff.h"
#include "cli/verb.h"
#include "conf/keys.h"
#include "plugin/batch.h"
#include "plugin/host.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

struct two {
	const char *expected, *got;
};

static int
same_letter(const void *ctx, size_t expected, size_t got)
{
	const struct two *t = ctx;
	return t->expected[expected] == t->got[got];
}

/* "a-b+c": b is missing, c is not expected. */
static void
write_difference(const char *expected, const char *got, char *to)
{
	const struct two t = {expected, got};
	size_t count;
	struct rfl_difference *d =
		rfl_difference(strlen(expected), strlen(got), same_letter, &t, &count);
	for (size_t i = 0; i < count; i++) {
		if (d[i].edit == RFL_EDIT_MISSING) {
			*to++ = '-';
			*to++ = expected[d[i].expected];
			continue;
		}
		if (d[i].edit == RFL_EDIT_UNEXPECTED)
			*to++ = '+';
		else
			assert_int_equal(expected[d[i].expected], got[d[i].got]);
		*to++ = got[d[i].got];
	}
	*to = '\0';
	free(d);
}

static size_t
common(const char *a, const char *b)
{
	if (*a == '\0' || *b == '\0')
		return 0;
	if (*a == *b)
		return 1 + common(a + 1, b + 1);
	size_t left = common(a + 1, b), right = common(a, b + 1);
	return left > right ? left : right;
}

static void
test_differences_are_the_fewest(void **state)
{
	(void)state;
	static const char *const known[][3] = {
		{"", "", ""},
		{"abc", "abc", "abc"},
		{"abc", "", "-a-b-c"},
		{"", "ab", "+a+b"},
		{"abcd", "axcd", "a-b+xcd"},
		{"abcd", "bcde", "-abcd+e"},
	};
	char text[64], a[16], b[16];
	for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
		write_difference(known[i][0], known[i][1], text);
		assert_string_equal(text, known[i][2]);
	}
	srand(7);
	for (int round = 0; round < 2000; round++) {
		int n = rand() % 8, m = rand() % 8, same = 0, at_a = 0, at_b = 0;
		for (int i = 0; i < 8; i++) {
			a[i] = i < n ? (char)('a' + rand() % 3) : '\0';
			b[i] = i < m ? (char)('a' + rand() % 3) : '\0';
		}
		write_difference(a, b, text);
		for (const char *p = text; *p != '\0'; p++) {
			int only_a = *p == '-', only_b = *p == '+';
			p += only_a || only_b;
			if (!only_b)
				assert_int_equal(a[at_a++], *p);
			if (!only_a)
				assert_int_equal(b[at_b++], *p);
			same += !only_a && !only_b;
		}
		assert_true(at_a == n && at_b == m);
		assert_int_equal(same, common(a, b));
	}
}

static int
nothing_is_equal(const void *ctx, size_t expected, size_t got)
{
	(void)ctx, (void)expected, (void)got;
	return 0;
}

/* A table for these would not be worth its memory. */
static void
test_long_lists_are_compared_place_by_place(void **state)
{
	(void)state;
	size_t count;
	struct rfl_difference *d = rfl_difference(5000, 5001, nothing_is_equal, NULL, &count);
	assert_int_equal(count, 10001);
	for (size_t i = 0; i < 5000; i++) {
		assert_int_equal(d[2 * i].edit, RFL_EDIT_MISSING);
		assert_int_equal(d[2 * i].expected, i);
		assert_int_equal(d[2 * i + 1].edit, RFL_EDIT_UNEXPECTED);
		assert_int_equal(d[2 * i + 1].got, i);
	}
	assert_int_equal(d[10000].got, 5000);
	free(d);
}

static void
test_base64(void **state)
{
	(void)state;
	static const char *const pairs[][2] = {
		{"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foob", "Zm9vYg=="}};
	for (size_t i = 0; i < 5; i++) {
		struct rfl_buf to = RFL_BUF_INIT, back = RFL_BUF_INIT;
		rfl_base64_encode(pairs[i][0], strlen(pairs[i][0]), &to);
		assert_string_equal(rfl_buf_str(&to), pairs[i][1]);
		assert_int_equal(rfl_base64_decode(pairs[i][1], strlen(pairs[i][1]), &back), 0);
		assert_string_equal(rfl_buf_str(&back), pairs[i][0]);
		rfl_buf_fini(&to);
		rfl_buf_fini(&back);
	}
	struct rfl_buf bad = RFL_BUF_INIT;
	assert_int_equal(rfl_base64_decode("Zg=", 3, &bad), -1);
	assert_int_equal(rfl_base64_decode("Z*==", 4, &bad), -1);
	rfl_buf_fini(&bad);
}

static char *
line(const void *value, size_t len, enum rfl_encoding encoding, int *ret_rc)
{
	static const struct riffle_header headers[] = {{{"a", 1}, {"1", 1}}, {{"b", 1}, {NULL, 0}},
		{{"a", 1}, {"\xff", 1}}, {{"x\xff", 2}, {"2", 1}}};
	const struct riffle_record r = {.value = {value, len}, .partition = 3, .offset = 9};
	struct rfl_builder *b = rfl_builder_create();
	struct rfl_buf text = RFL_BUF_INIT;
	struct riffle_error err = {0};
	rfl_builder_add(b, &r, headers, len == 3 ? 4 : 0, NULL);
	struct riffle_batch *batch = rfl_builder_finish(b);
	*ret_rc = rfl_payload_line(
		batch, riffle_batch_at(batch, 0), "text/plain", encoding, &text, &err);
	if (*ret_rc < 0)
		rfl_buf_puts(&text, err.text);
	rfl_batch_unref(batch);
	rfl_builder_destroy(b);
	return rfl_buf_take(&text);
}

static void
test_a_record_as_a_line(void **state)
{
	(void)state;
	static const struct {
		const char *value;
		size_t len;
		enum rfl_encoding encoding;
		int rc;
		const char *text;
	} cases[] = {
		{"55.0", 4, RFL_ENCODING_RAW, 0,
			"{\"payload\":\"55.0\",\"contentType\":\"text/plain\",\"headers\":{}}"},
		{"", 0, RFL_ENCODING_AUTO, 0,
			"{\"payload\":\"\",\"contentType\":\"text/plain\",\"headers\":{}}"},
		{NULL, 0, RFL_ENCODING_RAW, 0,
			"{\"payload\":null,\"contentType\":\"text/plain\",\"headers\":{}}"},
		{"55.0", 4, RFL_ENCODING_BASE64, 0,
			"{\"payload\":\"NTUuMA==\",\"contentType\":\"text/plain\",\"headers\":{}}"},
		{"\xff\xfe", 2, RFL_ENCODING_AUTO, 0,
			"{\"payload\":\"//"
			"4=\",\"payloadEncoding\":\"base64\",\"contentType\":\"text/"
			"plain\",\"headers\":{}}"},
		{"\xff\xfe", 2, RFL_ENCODING_RAW, RIFFLE_E_DATA,
			"the payload of partition 3, offset 9 is not UTF-8; --payload-encoding "
			"auto shows it"},
		{"abc", 3, RFL_ENCODING_AUTO, 0,
			"{\"payload\":\"abc\",\"contentType\":\"text/"
			"plain\",\"headers\":{\"a\":[\"1\",{\"base64\":\"/"
			"w==\"}],\"b\":null,\"x?\":\"2\"}}"},
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		int rc;
		char *text = line(cases[i].value, cases[i].len, cases[i].encoding, &rc);
		assert_string_equal(text, cases[i].text);
		assert_int_equal(rc, cases[i].rc);
		free(text);
	}
}

static int fails;

static int
fake_status(void *ctx, struct rfl_status **ret_status, struct riffle_error *reterr)
{
	(void)ctx;
	if (fails)
		return rfl_err(reterr, RIFFLE_E_TIMEOUT, "a worker sleeps");
	struct rfl_status *s = rfl_zalloc(sizeof *s);
	s->processors = rfl_zalloc(sizeof *s->processors);
	s->processor_count = 1;
	struct rfl_processor_status *p = s->processors;
	p->name = rfl_strdup("p");
	p->function = rfl_strdup("f");
	p->state = RFL_STOPPED;
	p->why = rfl_strdup("it broke");
	p->tasks = rfl_zalloc(sizeof *p->tasks);
	p->task_count = 1;
	p->tasks->next_close_ms = -1500;
	p->tasks->lanes = rfl_zalloc(sizeof *p->tasks->lanes);
	p->tasks->lane_count = 1;
	*p->tasks->lanes = (struct rfl_lane_status){.alias = rfl_strdup("in"),
		.stream = rfl_strdup("s"),
		.position = 7,
		.committed = 5,
		.log_end = INT64_MIN,
		.lag = -1};
	*ret_status = s;
	return RIFFLE_OK;
}

static size_t
collect(char *data, size_t size, size_t n, void *into)
{
	rfl_buf_add(into, data, size * n);
	return size * n;
}

static long
get(const char *socket, const char *path, struct rfl_buf *body)
{
	long status = 0;
	CURL *curl = curl_easy_init();
	char *url = rfl_sprintf("http://x%s", path);
	rfl_buf_clear(body);
	curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, socket);
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_PROXY, "");
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, collect);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, body);
	assert_int_equal(curl_easy_perform(curl), CURLE_OK);
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_cleanup(curl);
	free(url);
	return status;
}

static void
test_admin_answers_and_takes_over_a_stale_socket(void **state)
{
	(void)state;
	char dir[] = "/tmp/riffle-admin-XXXXXX";
	struct rfl_admin *admin, *second;
	struct riffle_error err = {0};
	struct rfl_buf body = RFL_BUF_INIT;
	const struct rfl_admin_source source = {.status = fake_status};
	assert_non_null(mkdtemp(dir));
	char *path = rfl_sprintf("%s/s", dir);
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	strcpy(addr.sun_path, path);
	int stale = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(stale, (struct sockaddr *)&addr, sizeof addr), 0);
	close(stale);

	assert_int_equal(rfl_admin_start(path, &source, &admin, &err), RIFFLE_OK);
	assert_int_equal(get(path, "/healthz", &body), 200);
	assert_int_equal(get(path, "/readyz", &body), 503);
	assert_string_equal(rfl_buf_str(&body),
		"{\"ready\":false,\"reasons\":[\"processor p: stopped: it broke\"]}");
	assert_int_equal(get(path, "/v1/processors/p", &body), 200);
	assert_non_null(strstr(rfl_buf_str(&body), "\"nextClose\":\"1969-12-31T23:59:58.500Z\""));
	assert_non_null(strstr(
		rfl_buf_str(&body), "\"position\":7,\"committed\":5,\"logEnd\":null,\"lag\":null"));
	assert_int_equal(get(path, "/v1/processors/q", &body), 404);
	assert_int_equal(get(path, "/v1/processorsq", &body), 404);
	fails = 1;
	assert_int_equal(get(path, "/v1/processors", &body), 503);
	assert_string_equal(rfl_buf_str(&body), "{\"error\":\"a worker sleeps\"}");
	fails = 0;
	assert_int_equal(rfl_admin_start(path, &source, &second, &err), RIFFLE_E_UNAVAILABLE);
	assert_non_null(strstr(err.text, "another riffle answers"));
	rfl_admin_stop(admin);
	assert_int_equal(access(path, F_OK), -1);
	rmdir(dir);
	rfl_buf_fini(&body);
	free(path);
}

static void
test_choices(void **state)
{
	(void)state;
	assert_int_equal(rfl_choice("table|json|jsonl", "table"), 0);
	assert_int_equal(rfl_choice("table|json|jsonl", "json"), 1);
	assert_int_equal(rfl_choice("table|json|jsonl", "jsonl"), 2);
	assert_int_equal(rfl_choice("table|json|jsonl", "js"), -1);
	assert_int_equal(rfl_choice("table|json|jsonl", "json|jsonl"), -1);
	assert_int_equal(rfl_choice("table|json|jsonl", ""), -1);
	assert_int_equal(rfl_choice("table|json|jsonl", "jsonlx"), -1);
}

static void
test_the_verbs_are_complete(void **state)
{
	(void)state;
	size_t count;
	const struct rfl_verb *const *verbs = rfl_verbs(&count);
	assert_true(count > 0);
	for (size_t i = 0; i < count; i++) {
		const struct rfl_verb *v = verbs[i];
		assert_non_null(v->run);
		assert_true(strlen(v->summary) > 0);
		assert_non_null(strstr(v->doc, "\v"));
		/* An example, as every verb's help promises. */
		assert_non_null(strstr(v->doc, "\n  riffle "));
		assert_true(v->words == NULL || v->args == NULL);
		for (const struct rfl_word *w = v->words; w != NULL && w->name != NULL; w++)
			assert_true(strlen(w->summary) > 0);
		for (const struct argp_option *o = v->options; o != NULL && o->key != 0; o++)
			assert_true(o->name != NULL && strlen(o->doc) > 0);
	}
}

static void
test_an_option_in_words(void **state)
{
	(void)state;
	static const char *const choices[] = {"a", "b", NULL};
	static const struct {
		struct riffle_option option;
		const char *facts;
	} cases[] = {
		{{.name = "x", .type = RIFFLE_OPT_STRING}, "text"},
		{{.name = "x", .type = RIFFLE_OPT_BOOL, .def = "no"}, "yes or no; default no"},
		{{.name = "x", .type = RIFFLE_OPT_INT, .min = 1, .max = 9}, "number; 1 to 9"},
		{{.name = "x", .type = RIFFLE_OPT_INT, .min = -1, .max = 1024},
			"number; -1 to 1024"},
		{{.name = "x", .type = RIFFLE_OPT_SIZE, .min = 65536, .max = INT64_MAX},
			"size; at least 64KiB"},
		{{.name = "x", .type = RIFFLE_OPT_SIZE, .max = INT64_MAX}, "size"},
		{{.name = "x", .type = RIFFLE_OPT_SIZE, .min = 1, .max = INT64_C(1) << 41},
			"size; 1B to 2TiB"},
		{{.name = "x", .type = RIFFLE_OPT_SIZE, .min = 0, .max = 1025}, "size; 0 to 1025B"},
		{{.name = "x", .type = RIFFLE_OPT_SIZE, .min = 3 << 20, .max = INT64_C(3) << 30},
			"size; 3MiB to 3GiB"},
		{{.name = "x", .type = RIFFLE_OPT_DURATION, .min = 120000, .max = 7200000},
			"duration; 2m to 2h"},
		{{.name = "x", .type = RIFFLE_OPT_DURATION, .min = 1, .max = 90000},
			"duration; 1ms to 90s"},
		{{.name = "x", .type = RIFFLE_OPT_DURATION, .max = 86400000}, "duration; 0 to 1d"},
		{{.name = "x", .type = RIFFLE_OPT_ENUM, .choices = choices, .def = "b"},
			"one of a, b; default b"},
		{{.name = "x.", .type = RIFFLE_OPT_PASS}, "any key that begins with x."},
		{{.name = "x",
			 .type = RIFFLE_OPT_ARGV,
			 .flags = RIFFLE_OPT_REQUIRED | RIFFLE_OPT_SECRET},
			"command line; required; secret, so write ${cred:NAME} or ${file:PATH}"},
		{{.name = "x",
			 .type = RIFFLE_OPT_LIST,
			 .flags = RIFFLE_OPT_DEPRECATED | RFL_KEY_NOT_YET},
			"list; deprecated; not offered by this version"},
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct rfl_buf text = RFL_BUF_INIT;
		rfl_option_facts(&cases[i].option, &text);
		assert_string_equal(rfl_buf_str(&text), cases[i].facts);
		rfl_buf_fini(&text);
	}
}

static void
test_roff_is_not_mistaken_for_requests(void **state)
{
	(void)state;
	static const char doc[] = "One.\n.two\n\n  riffle x -y\n\n  'z'\nThree `-f`.";
	struct rfl_buf text = RFL_BUF_INIT;
	rfl_roff_text(&text, ".a \\ `b-c` 'd' ^~");
	assert_string_equal(rfl_buf_str(&text), "\\&.a \\e \\fBb\\-c\\fR \\(aqd\\(aq \\(ha\\(ti");
	rfl_buf_clear(&text);
	rfl_roff_doc(&text, doc, strlen(doc));
	assert_string_equal(rfl_buf_str(&text),
		"One.\n\\&.two\n.PP\n.RS 4\n.EX\nriffle x \\-y\n.EE\n.RE\n.PP\n.RS 4\n.EX\n"
		"\\(aqz\\(aq\n.EE\n.RE\n.PP\nThree \\fB\\-f\\fR.\n");
	rfl_buf_clear(&text);
	rfl_page_fill("@TITLE a-b 5@\nas @it@ is\n@KEYS provider@\n", &text);
	assert_non_null(strstr(rfl_buf_str(&text), ".TH A\\-B 5 \"\" \"riffle " RFL_VERSION "\""));
	assert_non_null(strstr(rfl_buf_str(&text), "\nas @it@ is\n.TP\n\\fBtype\\fR\n"));
	rfl_buf_fini(&text);
}

/* What each of a few children does, and what is heard of it. */
static int
behave(void *ctx, struct rfl_buf *answer)
{
	const char *how = ctx;
	if (strcmp(how, "hang") == 0)
		for (;;)
			pause();
	if (strcmp(how, "exit") == 0)
		_exit(7);
	if (strcmp(how, "abort") == 0)
		abort();
	for (int i = 0; i < 20000; i++)
		rfl_buf_puts(answer, how);
	return 200;
}

static void
test_children_answer_die_or_are_silent(void **state)
{
	(void)state;
	static const struct {
		const char *how;
		enum rfl_child_end end;
		const char *text;
	} cases[] = {
		{"hang", RFL_CHILD_SILENT, "no answer within 2.5 s"},
		{"exit", RFL_CHILD_DIED, "ended with status 7"},
		{"abort", RFL_CHILD_DIED, "killed by signal 6 (Aborted)"},
		{"answer", RFL_CHILD_ANSWERED, NULL},
		{"", RFL_CHILD_ANSWERED, ""},
	};
	struct rfl_child children[5];
	for (size_t i = 0; i < 5; i++) {
		char *how = rfl_strdup(cases[i].how);
		rfl_child_start(&children[i], behave, how);
		free(how);
	}
	rfl_children_wait(children, 5, 2500);
	for (size_t i = 0; i < 5; i++) {
		assert_int_equal(children[i].end, cases[i].end);
		if (cases[i].text != NULL)
			assert_string_equal(rfl_buf_str(&children[i].text), cases[i].text);
		if (cases[i].end == RFL_CHILD_ANSWERED)
			assert_int_equal(children[i].status, 200);
	}
	assert_int_equal(children[3].text.len, 6 * 20000);
	for (size_t i = 0; i < 5; i++)
		rfl_child_fini(&children[i]);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_choices),
		cmocka_unit_test(test_the_verbs_are_complete),
		cmocka_unit_test(test_an_option_in_words),
		cmocka_unit_test(test_roff_is_not_mistaken_for_requests),
		cmocka_unit_test(test_children_answer_die_or_are_silent),
		cmocka_unit_test(test_long_lists_are_compared_place_by_place),
		cmocka_unit_test(test_base64),
		cmocka_unit_test(test_differences_are_the_fewest),
		cmocka_unit_test(test_a_record_as_a_line),
		cmocka_unit_test(test_admin_answers_and_takes_over_a_stale_socket),
	};
	return RUN("cli", tests);
}
