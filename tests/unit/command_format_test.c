/* The formats of the command invoker, frames and json-lines, with programs that speak them rightly and wrongly. */
#include "coprocess_bed.h"

static const struct riffle_header headers[] = {{{"h", 1}, {"v", 1}}, {{"h", 1}, {"", 0}},
	{{"bin", 3}, {"\xff\0", 2}}, {{"none", 4}, {NULL, 0}}};
static const char *const types[] = {NULL, "text/html"};
static const struct riffle_record rich[] = {
	{.value = {"a\nb\0c", 5},
		.key = {"k", 1},
		.time_ms = 1700000000123,
		.content_type = 1,
		.header_first = 0,
		.header_count = 4},
	{.value = {"", 0}, .key = {"", 0}, .time_ms = RIFFLE_TIME_NONE},
	{.value = {NULL, 0}, .key = {NULL, 0}, .time_ms = -5},
	{.value = {"\xc3\xa9\"\\\x01 \xf0\x9f\x98\x80", 10}, .key = {"\xfe", 1}, .time_ms = 0},
};

static const char rich_echo[] =
	"0 time 1700000000123 key 1'k type 9'text/html header 1'h = 1'v header 1'h = 0' "
	"header 3'bin = 2'\\ff\\00 header 4'none = absent value 5'a\\0ab\\00c\n"
	"0 no time key 0' type absent value 0'\n"
	"0 time -5 key absent type absent value absent\n"
	"0 time 0 key 1'\\fe type absent value 10'\\c3\\a9\"\\\\01 \\f0\\9f\\98\\80\n";

static void
run_rich(struct bed *b, struct call *c)
{
	static struct riffle_batch batch;
	struct riffle_error err = {0};
	begin(b, c, 1);
	ops->call_read(c->call, 1 << 30);
	give(c, &batch, rich, 4, headers, types);
	ops->call_end(c->call, &err);
	assert_true(eventually(is_done, c));
	if (c->status != RIFFLE_OK)
		fail_msg("%s", c->error.text);
}

/* As windows of one program, and as the one window of each; per-window is the same conversation, and an end. */
static void
check_rich_echo(int format, const char *text)
{
	for (int mode = PER_WINDOW; mode <= COPROCESS; mode += COPROCESS - PER_WINDOW) {
		struct bed b;
		program(&b, mode, format, text);
		start(&b);
		for (int i = 0; i < 2; i++) {
			struct call c;
			run_rich(&b, &c);
			assert_string_equal(c.full, rich_echo);
			end(&c);
		}
		stop(&b);
	}
}

static void
test_frames_keep_all_of_a_record(void **state)
{
	(void)state;
	check_rich_echo(FRAMES, ECHO);
}

static void
test_json_lines_keep_all_of_a_record(void **state)
{
	(void)state;
	check_rich_echo(JSON_LINES,
		JSON_PROGRAM "  if m['type'] == 'end':\n"
			     "    put(json.dumps({'type': 'status', 'window': w, 'status': 0}))\n"
			     "  elif m['type'] == 'start':\n"
			     "    w = m['window']\n"
			     "  elif m['type'] == 'record':\n"
			     "    del m['type'], m['input']\n"
			     "    if m['contentType'] == 'text/plain': m['contentType'] = None\n"
			     "    put(json.dumps(m))\n");
}

/* What the program got, line by line: it says each back as the value of an answer. */
static void
test_json_lines_are_as_the_manual_says(void **state)
{
	(void)state;
	static const char text[] = JSON_PROGRAM
		"  put(json.dumps({'output': 'x', 'value': line[:-1]}))\n"
		"  if m['type'] == 'end': put('{\"type\":\"status\",\"window\":1,\"status\":0}')\n";
	static const struct riffle_record r[] = {
		{.value = {"{\n \"n\": 0.10 }", 14}, .stream = 1, .time_ms = 7},
		{.value = {"{not}", 5}, .stream = 1, .time_ms = RIFFLE_TIME_NONE},
		{.value = {"null", 4}, .stream = 1, .time_ms = RIFFLE_TIME_NONE},
		{.value = {"10", 2}, .key = {"\xff", 1}, .time_ms = RIFFLE_TIME_NONE},
	};
	struct riffle_batch batch;
	struct riffle_error err = {0};
	struct bed b;
	struct call c;
	program(&b, COPROCESS, JSON_LINES, text);
	start(&b);
	begin(&b, &c, 2);
	ops->call_read(c.call, 1 << 30);
	give(&c, &batch, r, 4, NULL, NULL);
	ops->call_end(c.call, &err);
	assert_true(eventually(is_done, &c));
	assert_string_equal(c.out,
		"{\"type\":\"start\",\"version\":1,\"window\":1,\"attempt\":2,"
		"\"inputs\":[{\"name\":\"x\",\"contentType\":\"text/plain\"},"
		"{\"name\":\"y\",\"contentType\":\"application/json\"}],"
		"\"outputs\":[{\"name\":\"x\",\"contentType\":\"text/plain\"},"
		"{\"name\":\"y\",\"contentType\":\"application/json\"}],"
		"\"headers\":[{\"name\":\"riffle-window-start\",\"value\":\"1000\"},"
		"{\"name\":\"riffle-attempt\",\"value\":\"2\"}]}|"
		"{\"type\":\"record\",\"input\":\"y\",\"time\":7,\"contentType\":\"application/"
		"json\","
		"\"value\":{  \"n\": 0.10 }}|"
		"{\"type\":\"record\",\"input\":\"y\",\"contentType\":\"application/json\","
		"\"valueBase64\":\"e25vdH0=\"}|"
		"{\"type\":\"record\",\"input\":\"y\",\"contentType\":\"application/"
		"json\",\"value\":null}|"
		"{\"type\":\"record\",\"input\":\"x\",\"keyBase64\":\"/"
		"w==\",\"contentType\":\"text/plain\","
		"\"value\":\"10\"}|"
		"{\"type\":\"end\",\"window\":1}|");
	finish(&b, &c);
}

/* A window whose program says this at its end. */
static void
expect_end(int format, const char *answer, const char *out, int status, uint32_t flags,
	const char *why)
{
	static const char frames[] = FRAMES_PROGRAM "  if f[:1] == b'E': ";
	static const char json[] =
		JSON_PROGRAM "  if m['type'] == 'end':\n    ok = "
			     "'{\"type\":\"status\",\"window\":1,\"status\":0}'\n    ";
	char text[4096];
	struct bed b;
	struct call c;
	snprintf(text, sizeof text, "%s%s\n", format == FRAMES ? frames : json, answer);
	program(&b, COPROCESS, format, text);
	option(b.values, "max-record")->u.i = 1000;
	option(b.values, "max-line")->u.i = 1000;
	start(&b);
	window(&b, &c, "a", "1", 1);
	if (c.status != status || (status < 0 && c.error.flags != flags) ||
		strcmp(c.out ? c.out : "", out) != 0 || strstr(c.error.text, why) == NULL)
		fail_msg("%s: %d, \"%s\", %x \"%s\"", answer, c.status, c.out ? c.out : "",
			c.error.flags, c.error.text);
	finish(&b, &c);
}

/*
 * A line of plain text is taken in one walk. The same line with two spaces at its front is not, and means the same.
 * Lines by chance, each in both ways.
 */
static void
test_plain_json_lines_are_as_others(void **state)
{
	(void)state;
	for (int seed = 0; seed < 40; seed++) {
		struct bed b;
		struct call c;
		char text[2000];
		snprintf(text, sizeof text,
			"import json, random, sys\n"
			"random.seed(%d)\n"
			"def value(): return ''.join(random.choice('abcdef /{}:,' * 9 + "
			"'\\\"\\\\\\n\\u00e9') "
			"for _ in range(random.choice([0, 1, 7, 8, 15, 16, 17, 31, 32, 33, 40])))\n"
			"def line():\n"
			"  m = {'value': value()}\n"
			"  if random.random() < .5: m['contentType'] = "
			"random.choice(['text/plain', 'application/json', 'text/plai', 'a/b+json', "
			"'text/\\u00e9'])\n"
			"  for name, to in ('type', 'output'), ('key', 'k'), ('time', 5), "
			"('output', 'x'):\n"
			"    if random.random() < .1: m[name] = to\n"
			"  if random.random() < .1: del m['value']\n"
			"  m = list(m.items()); random.shuffle(m)\n"
			"  return json.dumps(dict(m), ensure_ascii=random.random() < .5, "
			"separators=random.choice([(',', ':'), (', ', ': '), (' , ', ' : ')]))\n"
			"for l in sys.stdin:\n"
			"  m = json.loads(l)\n"
			"  if m['type'] != 'end': continue\n"
			"  for _ in range(6):\n"
			"    l = line(); print(l); print('{  ' + l[1:])\n"
			"  print('{\"type\":\"status\",\"window\":1,\"status\":0}', flush=True)\n",
			seed);
		program(&b, COPROCESS, JSON_LINES, text);
		b.words[3] = NULL;
		start(&b);
		begin(&b, &c, 1);
		ops->call_read(c.call, 1 << 30);
		struct riffle_error err = {0};
		ops->call_end(c.call, &err);
		assert_true(eventually(is_done, &c));
		if (c.status != RIFFLE_OK)
			fail_msg("seed %d: %s", seed, c.error.text);
		assert_int_equal(c.records, 12);
		for (char *plain = c.full, *other, *next; *plain != '\0'; plain = next) {
			other = strchr(plain, '\n') + 1;
			next = strchr(other, '\n') + 1;
			if (next - other != other - plain ||
				memcmp(plain, other, (size_t)(other - plain)) != 0)
				fail_msg("seed %d: %.*s is not %.*s", seed, (int)(other - plain),
					plain, (int)(next - other), other);
		}
		finish(&b, &c);
	}
}

static void
test_a_status_decides(void **state)
{
	(void)state;
	expect_end(FRAMES, "say(b'x'); done()", "x|", RIFFLE_OK, 0, "");
	expect_end(FRAMES, "done(75, b'busy')", "", RIFFLE_E_DATA, RIFFLE_ERR_RETRIABLE,
		"ended the window with status 75: busy");
	expect_end(FRAMES, "done(3, b'no\\n')", "", RIFFLE_E_DATA, 0, "with status 3: no\\x0a");
	expect_end(JSON_LINES, "put('{\"value\":\"x\"}'); put(ok)", "x|", RIFFLE_OK, 0, "");
	expect_end(JSON_LINES,
		"put('{\"type\":\"status\",\"window\":1,\"status\":75,\"message\":\"b\"}')", "",
		RIFFLE_E_DATA, RIFFLE_ERR_RETRIABLE, "with status 75: b");
	expect_end(FRAMES, "sys.exit(3)", "", RIFFLE_E_DATA, RIFFLE_ERR_RETRIABLE,
		"ended with exit status 3");
}

static void
test_frames_that_are_none(void **state)
{
	(void)state;
	static const struct {
		const char *answer, *why;
	} cases[] = {
		{"put(b'\\0\\0\\0\\0')", "a frame of 0 bytes"},
		{"put(b'Hello, world')", "a frame of 1214606444 bytes, max-record is 1000"},
		{"put(b'\\0\\0\\3\\xe9')", "a frame of 1001 bytes"},
		{"send(b'x')", "a frame of an unknown kind: \"x\""},
		{"send(b'h')", "a hello frame that is too short"},
		{"send(b'hRFLF\\0\\0\\0\\1')", "says hello twice"},
		{"send(b'hRFLF\\0\\0\\0\\2')", "version 2, expected 52464c46 and 1"},
		{"send(b'o')", "an output frame that is too short"},
		{"say(b'x', 1)", "answers on output 1, the processor has 1"},
		{"send(b'o' + bytes(12) + b'\\xff' * 8 + b'\\x7f\\xff\\xff\\xff' + text(b''))",
			"an output frame that is too short"},
		{"send(b'o' + bytes(12) + b'\\xff' * 8 + b'\\0\\0\\0\\1' + b'\\xff' * 8 + "
		 "text(b''))",
			"an output frame that is too short"},
		{"send(b'o' + bytes(12) + b'\\xff' * 8 + bytes(4) + text(b'a') + b'b')",
			"an output frame that is too long"},
		{"send(b'o' + bytes(12) + b'\\xff\\xff\\xff\\xf0' + bytes(12))",
			"an output frame that is too short"},
		{"send(b'o' + bytes(12) + b'\\xff' * 4 + text(b'a\\0b') + bytes(4) + text(b''))",
			"a content type with a NUL byte"},
		{"w = b'\\0\\0\\0\\7'; done()", "ends window 7, which is not the 1"},
		{"send(b'd' + w + bytes(4))", "a status frame that is too short"},
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		expect_end(FRAMES, cases[i].answer, "", RIFFLE_E_DATA, 0, cases[i].why);
	expect_end(FRAMES, "put(b'\\0\\0\\0\\x40o'); sys.exit(0)", "", RIFFLE_E_DATA,
		RIFFLE_ERR_RETRIABLE, "'python3' ended");
}

static void
test_json_lines_that_are_none(void **state)
{
	(void)state;
	static const struct {
		const char *line, *why;
	} cases[] = {
		{"x", "a line that is no JSON object"},
		{"[]", "a line that is no JSON object"},
		{"{}{}", "something behind the object"},
		{"{\"value\":\"a\"", "an object without an end"},
		{"{\"value\" \"a\"}", "no ':' behind a name"},
		{"{\"valu\":\"a\"}", "a member that answers do not have"},
		{"{\"value\":\"a\"}x", "something behind the object"},
		{"{\"value\":\"a\",}", "a string is expected"},
		{"{\"type\":\"outpux\",\"value\":\"a\"}", "neither output nor status"},
		{"{\"contentType\":\"a\",\"value\":\"b\",\"contentType\":\"a\"}", "a member twice"},
		{"{\"value\":\"a\",\"value\":\"b\"}", "a member twice"},
		{"{\"value\":\"a\",\"valueBase64\":\"YQ==\"}", "a \\\"value\\\" and a"},
		{"{\"value\":10}", "a \\\"value\\\" that is no string"},
		{"{\"value\":01,\"contentType\":\"a/json\"}", "a malformed number"},
		{"{\"value\":\"a\\tb\"}", "a control character in a string"},
		{"{\"value\":\"\\\\x\"}", "a malformed escape"},
		{"{\"value\":\"\\\\ud800\"}", "a malformed escape"},
		{"{\"value\":\"\\\\udc00\\\\ud800\"}", "a malformed escape"},
		{"{\"valueBase64\":\"a\"}", "malformed base64"},
		{"{\"valueBase64\":\"YR==\"}", "malformed base64"},
		{"{\"value\":\"a\",\"time\":1.5}", "an object without an end"},
		{"{\"value\":\"a\",\"time\":99999999999999999999}", "a whole number is expected"},
		{"{\"value\":\"a\",\"output\":\"z\"}",
			"an output that the processor does not have"},
		{"{\"value\":\"a\",\"headers\":{}}", "headers are an array"},
		{"{\"value\":\"a\",\"headers\":[{\"value\":\"v\"}]}", "a header without a name"},
		{"{\"value\":\"a\",\"contentType\":\"a\\\\u0000b\"}",
			"a content type with a NUL byte"},
		{"{\"value\":\"a\",\"status\":0}", "an output with"},
		{"{\"type\":\"status\",\"status\":0}", "a status without"},
		{"{\"type\":\"status\",\"window\":2,\"status\":0}",
			"ends window 2, which is not the 1"},
		{"{\"type\":\"record\",\"value\":\"a\"}", "neither output nor status"},
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		char answer[400];
		const char *why = cases[i].why;
		char plain[200];
		size_t n = 0;
		for (; *why != '\0'; why++)
			if (*why != '\\')
				plain[n++] = *why;
		plain[n] = '\0';
		snprintf(answer, sizeof answer, "put('%s'); put(ok)", cases[i].line);
		expect_end(JSON_LINES, answer, "", RIFFLE_E_DATA, 0, plain);
	}
	expect_end(JSON_LINES, "put('{\"value\":' + '[' * 100)", "", RIFFLE_E_DATA, 0,
		"nested too deeply");
	expect_end(
		JSON_LINES, "put('x' * 1001)", "", RIFFLE_E_DATA, 0, "more than max-line = 1000");
	expect_end(JSON_LINES, "sys.stdout.write('x' * 5000); sys.stdout.flush(); sys.stdin.read()",
		"", RIFFLE_E_DATA, 0, "more than max-line = 1000");
	expect_end(JSON_LINES, "sys.stdout.buffer.write(b'{\"value\":\"\\xff\"}\\n'); put(ok)", "",
		RIFFLE_E_DATA, 0, "a string that is not UTF-8");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_frames_keep_all_of_a_record),
		cmocka_unit_test(test_json_lines_keep_all_of_a_record),
		cmocka_unit_test(test_json_lines_are_as_the_manual_says),
		cmocka_unit_test(test_plain_json_lines_are_as_others),
		cmocka_unit_test(test_a_status_decides),
		cmocka_unit_test(test_frames_that_are_none),
		cmocka_unit_test(test_json_lines_that_are_none),
	};
	ops = load_plugin("plugins/invoker-command/.libs/invoker-command.so")->ops;
	return RUN("command_format", tests);
}
