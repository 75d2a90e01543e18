/* riffle test: runs the [test] sections, and shows where what came is not what was expected. */
#include "base/base64.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "cli/cli.h"
#include "cli/difference.h"
#include "cli/rows.h"
#include "cli/verb.h"
#include "runtime/rehearsal.h"
#include "runtime/watch.h"

#include <ctype.h>
#include <inttypes.h>
#include <jansson.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char doc[] =
	"Runs the [test] sections, all or those that are named.\v"
	"Each runs its processor with its function, on streams made of memory and a clock of its "
	"own "
	"that does not wait: a window of a day takes milliseconds. No provider is asked, and no "
	"instance need be running. Where it answers otherwise than expected, - stands before what "
	"is "
	"missing and + before what came instead, with the window, as times of the test. Exit "
	"status "
	"0, or 1 when one of them failed.\n\n"
	"  riffle test -c riffle.ini\n"
	"  riffle test two-windows -o json";

/* Values longer than this are not waited for when columns are aligned. */
#define ALIGN_MAX 48

struct args {
	struct rfl_common common;
	const char **names;
	size_t name_count, name_room;
};

static error_t
parse(int key, char *arg, struct argp_state *state)
{
	struct args *a = state->input;
	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &a->common;
		return 0;
	case ARGP_KEY_ARG:
		rfl_grow(&a->names, &a->name_room, a->name_count + 1, sizeof *a->names);
		a->names[a->name_count++] = arg;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

/* As in the file: [DAYSd ]HH:MM:SS[.mmm] from the test's start. */
static void
put_time(int64_t ms, struct rfl_buf *out)
{
	uint64_t rest = ms < 0 ? (uint64_t)-ms : (uint64_t)ms;
	if (ms < 0)
		rfl_buf_putc(out, '-');
	if (rest >= 86400000)
		rfl_buf_printf(out, "%" PRIu64 "d ", rest / 86400000);
	rfl_buf_printf(out, "%02d:%02d:%02d", (int)(rest / 3600000 % 24), (int)(rest / 60000 % 60),
		(int)(rest / 1000 % 60));
	if (rest % 1000 != 0)
		rfl_buf_printf(out, ".%03d", (int)(rest % 1000));
}

/* Bytes for people: what is no text, or would move the cursor, as \xHH. */
static void
put_bytes(struct riffle_bytes b, struct rfl_buf *out)
{
	const unsigned char *p = b.ptr, *end = p + b.len;
	while (p < end) {
		size_t n = rfl_utf8_len(p, end);
		if (n == 0 || iscntrl(*p))
			rfl_buf_printf(out, "\\x%02x", *p);
		else
			rfl_buf_add(out, p, n);
		p += n ? n : 1;
	}
}

static int
needs_quotes(struct riffle_bytes b, int is_word)
{
	const char *s = b.ptr;
	return b.len == 0 || s[0] == '\'' || isspace((unsigned char)s[0]) ||
	       isspace((unsigned char)s[b.len - 1]) ||
	       (is_word && (memchr(s, ' ', b.len) || memchr(s, '\t', b.len))) ||
	       (!is_word && strncmp(s, "key=", 4) == 0);
}

static void
put_text(struct riffle_bytes b, int is_word, struct rfl_buf *out)
{
	const char *quote = needs_quotes(b, is_word) ? "'" : "";
	rfl_buf_puts(out, quote);
	put_bytes(b, out);
	rfl_buf_puts(out, quote);
}

/* [key=K] VALUE, as a line of expect has it. */
static void
put_record(struct riffle_bytes key, struct riffle_bytes value, struct rfl_buf *out)
{
	if (key.ptr != NULL) {
		rfl_buf_puts(out, "key=");
		put_text(key, 1, out);
		rfl_buf_putc(out, ' ');
	}
	if (value.ptr == NULL)
		rfl_buf_puts(out, "(no value)");
	else
		put_text(value, 0, out);
}

static void
put_window(const struct rfl_test_conf *t, const struct rfl_rehearsed *r, struct rfl_buf *out)
{
	if (r->has_window) {
		rfl_buf_puts(out, "window ");
		put_time(r->start_ms - t->start_ms, out);
		rfl_buf_puts(out, r->end_ms == INT64_MAX ? " on" : " to ");
		if (r->end_ms != INT64_MAX)
			put_time(r->end_ms - t->start_ms, out);
	} else if (r->time_ms != RIFFLE_TIME_NONE) {
		rfl_buf_puts(out, "time ");
		put_time(r->time_ms - t->start_ms, out);
	}
}

/* What of one stream is expected, and what came. */
struct side {
	const struct rfl_stream_conf *stream;
	const struct rfl_test_record **expected;
	const struct rfl_rehearsed **got;
	size_t expected_count, got_count;
	struct rfl_difference *lines;
	size_t line_count;
	int is_same;
};

/* A test that was run. */
struct trial {
	const struct rfl_test_conf *test;
	struct rfl_rehearsal result;
	struct side *sides;
	size_t side_count;
	int is_ok;
};

static int
bytes_are_equal(struct riffle_bytes a, struct riffle_bytes b)
{
	return (a.ptr == NULL) == (b.ptr == NULL) && a.len == b.len &&
	       (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static int
are_equal(const void *ctx, size_t expected, size_t got)
{
	const struct side *s = ctx;
	const struct rfl_test_record *e = s->expected[expected];
	const struct rfl_rehearsed *g = s->got[got];
	return bytes_are_equal(e->value, g->value) &&
	       (e->key.ptr == NULL || bytes_are_equal(e->key, g->key));
}

static void
fill_side(const struct trial *t, struct side *s)
{
	const struct rfl_test_conf *c = t->test;
	const struct rfl_rehearsal *r = &t->result;
	s->expected = rfl_zalloc((c->expect_count + 1) * sizeof *s->expected);
	s->got = rfl_zalloc((r->written_count + 1) * sizeof *s->got);
	for (size_t i = 0; i < c->expect_count; i++)
		if (c->expects[i].stream == s->stream)
			s->expected[s->expected_count++] = &c->expects[i];
	for (size_t i = 0; i < r->written_count; i++)
		if (r->written[i].stream == s->stream)
			s->got[s->got_count++] = &r->written[i];
	s->lines = rfl_difference(s->expected_count, s->got_count, are_equal, s, &s->line_count);
	s->is_same = 1;
	for (size_t i = 0; i < s->line_count; i++)
		s->is_same &= s->lines[i].edit == RFL_EDIT_SAME;
}

static void
compare(struct trial *t)
{
	const struct rfl_processor_conf *p = t->test->processor;
	const struct rfl_stream_conf **to = rfl_zalloc((p->output_count + 2) * sizeof *to);
	size_t count = rfl_conf_destinations(p, to);
	t->sides = rfl_zalloc((count + 1) * sizeof *t->sides);
	t->is_ok = t->result.failure == NULL;
	for (size_t i = 0; i < count; i++) {
		int is_seen = 0;
		for (size_t k = 0; k < t->side_count; k++)
			is_seen |= t->sides[k].stream == to[i];
		if (is_seen)
			continue;
		struct side *s = &t->sides[t->side_count++];
		s->stream = to[i];
		fill_side(t, s);
		t->is_ok &= s->is_same || !t->test->has_expect;
	}
	free(to);
}

static void
trial_fini(struct trial *t)
{
	for (size_t i = 0; i < t->side_count; i++) {
		free(t->sides[i].expected);
		free(t->sides[i].got);
		free(t->sides[i].lines);
	}
	free(t->sides);
	rfl_rehearsal_fini(&t->result);
}

static void
put_count(uint64_t n, const char *one, const char *several, struct rfl_buf *out)
{
	if (n > 0)
		rfl_buf_printf(out, ", %" PRIu64 " %s", n, n == 1 ? one : several);
}

/* "ok two-windows (2 windows, 12 ms)" */
static void
put_head(const struct trial *t, struct rfl_buf *out)
{
	const struct rfl_rehearsal *r = &t->result;
	rfl_buf_printf(out, "%s %s (%" PRIu64 " window%s", t->is_ok ? "ok" : "FAIL", t->test->name,
		r->windows, r->windows == 1 ? "" : "s");
	put_count(r->late, "late record", "late records", out);
	put_count(r->late_in_part, "record late in part", "records late in part", out);
	put_count(r->refused, "refused record", "refused records", out);
	put_count(r->skipped, "skipped", "skipped", out);
	put_count(r->dead_letters, "dead letter", "dead letters", out);
	put_count(r->retries, "retry", "retries", out);
	put_count(r->windows_open, "window still open", "windows still open", out);
	rfl_buf_printf(out, ", %" PRId64 " ms)\n", r->took_ms);
}

static size_t
width_of(const char *text)
{
	size_t n = 0;
	for (; *text != '\0'; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

/* One record with its window, aligned with the others. */
static void
put_line(const struct trial *t, const char *before, struct riffle_bytes key,
	struct riffle_bytes value, const struct rfl_rehearsed *got, size_t width,
	struct rfl_buf *out)
{
	struct rfl_buf text = RFL_BUF_INIT, window = RFL_BUF_INIT;
	put_record(key, value, &text);
	if (got != NULL)
		put_window(t->test, got, &window);
	size_t own = width_of(rfl_buf_str(&text));
	rfl_buf_printf(out, "    %s%s", before, rfl_buf_str(&text));
	if (window.len > 0)
		rfl_buf_printf(out, "%*s  %s", own < width ? (int)(width - own) : 0, "",
			rfl_buf_str(&window));
	rfl_buf_putc(out, '\n');
	rfl_buf_fini(&text);
	rfl_buf_fini(&window);
}

static size_t
widest(const struct side *s)
{
	size_t width = 0;
	for (size_t i = 0; i < s->got_count; i++) {
		struct rfl_buf text = RFL_BUF_INIT;
		put_record(s->got[i]->key, s->got[i]->value, &text);
		size_t own = width_of(rfl_buf_str(&text));
		width = own > width && own <= ALIGN_MAX ? own : width;
		rfl_buf_fini(&text);
	}
	return width;
}

static void
put_difference(const struct trial *t, const struct side *s, struct rfl_buf *out)
{
	size_t width = widest(s);
	if (s->is_same) {
		rfl_buf_printf(out, "  %s: %zu as expected\n", s->stream->name, s->got_count);
		return;
	}
	rfl_buf_printf(out, "  %s: - expected, + came\n", s->stream->name);
	for (size_t i = 0; i < s->line_count; i++) {
		const struct rfl_difference *d = &s->lines[i];
		if (d->edit == RFL_EDIT_MISSING)
			put_line(t, "- ", s->expected[d->expected]->key,
				s->expected[d->expected]->value, NULL, width, out);
		else
			put_line(t, d->edit == RFL_EDIT_SAME ? "  " : "+ ", s->got[d->got]->key,
				s->got[d->got]->value, s->got[d->got], width, out);
	}
}

/* Nothing was expected: what came, as it would be expected. */
static void
put_all(const struct trial *t, const struct side *s, struct rfl_buf *out)
{
	size_t width = widest(s);
	char *before = rfl_sprintf("%s ", s->stream->name);
	for (size_t i = 0; i < s->got_count; i++)
		put_line(t, before, s->got[i]->key, s->got[i]->value, s->got[i], width, out);
	free(before);
}

static void
print_text(const struct trial *t)
{
	struct rfl_buf out = RFL_BUF_INIT;
	put_head(t, &out);
	if (t->result.failure != NULL)
		rfl_buf_printf(&out, "  %s\n", t->result.failure);
	if (!t->test->has_expect)
		rfl_buf_puts(&out, "  there is no expect; this came:\n");
	for (size_t i = 0; i < t->side_count; i++) {
		if (!t->test->has_expect)
			put_all(t, &t->sides[i], &out);
		else if (!t->is_ok)
			put_difference(t, &t->sides[i], &out);
	}
	fputs(rfl_buf_str(&out), stdout);
	fflush(stdout);
	rfl_buf_fini(&out);
}

static void
set_bytes(json_t *to, const char *name, struct riffle_bytes b)
{
	json_t *text = b.ptr ? json_stringn(b.ptr, b.len) : json_null();
	if (text == NULL) {
		struct rfl_buf encoded = RFL_BUF_INIT;
		char *encoding = rfl_sprintf("%sEncoding", name);
		rfl_base64_encode(b.ptr, b.len, &encoded);
		text = json_string(rfl_buf_str(&encoded));
		json_object_set_new(to, encoding, json_string("base64"));
		rfl_buf_fini(&encoded);
		free(encoding);
	}
	json_object_set_new(to, name, text);
}

static void
set_time(json_t *to, const char *name, int64_t ms)
{
	json_object_set_new(to, name,
		ms == RIFFLE_TIME_NONE || ms == INT64_MAX ? json_null() : json_integer(ms));
}

static json_t *
json_of_side(const struct side *s)
{
	json_t *expected = json_array(), *got = json_array();
	for (size_t i = 0; i < s->expected_count; i++) {
		json_t *one = json_object();
		set_bytes(one, "key", s->expected[i]->key);
		set_bytes(one, "payload", s->expected[i]->value);
		json_array_append_new(expected, one);
	}
	for (size_t i = 0; i < s->got_count; i++) {
		const struct rfl_rehearsed *r = s->got[i];
		json_t *one = json_object();
		set_bytes(one, "key", r->key);
		set_bytes(one, "payload", r->value);
		set_time(one, "time", r->time_ms);
		set_time(one, "windowStart", r->has_window ? r->start_ms : RIFFLE_TIME_NONE);
		set_time(one, "windowEnd", r->has_window ? r->end_ms : RIFFLE_TIME_NONE);
		json_array_append_new(got, one);
	}
	return json_pack("{s:s,s:b,s:o,s:o}", "stream", s->stream->name, "same", s->is_same,
		"expected", expected, "got", got);
}

static json_t *
json_of(const struct trial *t)
{
	const struct rfl_rehearsal *r = &t->result;
	json_t *streams = json_array();
	char *failure = rfl_utf8_mended(r->failure);
	for (size_t i = 0; i < t->side_count; i++)
		json_array_append_new(streams, json_of_side(&t->sides[i]));
	json_t *j = json_pack("{s:s,s:s,s:b,s:b,s:s?,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:o}",
		"name", t->test->name, "processor", t->test->processor->name, "ok", t->is_ok,
		"compared", t->test->has_expect, "failure", failure, "windows",
		(json_int_t)r->windows, "windowsOpen", (json_int_t)r->windows_open, "late",
		(json_int_t)r->late, "lateInPart", (json_int_t)r->late_in_part, "refused",
		(json_int_t)r->refused, "skipped", (json_int_t)r->skipped, "deadLetters",
		(json_int_t)r->dead_letters, "retries", (json_int_t)r->retries, "milliseconds",
		(json_int_t)r->took_ms, "streams", streams);
	free(failure);
	return j;
}

static int
is_chosen(const struct args *a, const struct rfl_test_conf *t)
{
	for (size_t i = 0; i < a->name_count; i++)
		if (strcmp(a->names[i], t->name) == 0)
			return 1;
	return a->name_count == 0;
}

/* 1 = each name is one of a test, and there is one. */
static int
names_are_known(const struct args *a)
{
	const struct rfl_conf *c = a->common.conf;
	const char **words = rfl_zalloc((c->test_count + 1) * sizeof *words);
	int known = c->test_count > 0;
	for (size_t i = 0; i < c->test_count; i++)
		words[i] = c->tests[i]->name;
	if (!known)
		rfl_failed("test", "there is no [test] in %s", a->common.file);
	for (size_t i = 0; i < a->name_count && known; i++) {
		size_t k = 0;
		while (k < c->test_count && strcmp(words[k], a->names[i]) != 0)
			k++;
		if (k < c->test_count)
			continue;
		char *hint = rfl_did_you_mean(a->names[i], words, c->test_count);
		rfl_failed("test", "there is no test '%s'%s", a->names[i], hint);
		free(hint);
		known = 0;
	}
	free(words);
	return known;
}

static int
run_one(struct args *a, const struct rfl_test_conf *test, json_t *all)
{
	struct trial t = {.test = test};
	struct riffle_error err = {0};
	if (rfl_rehearse(a->common.conf, a->common.plugins, test, &t.result, &err) < 0)
		t.result = (struct rfl_rehearsal){.failure = rfl_strdup(err.text)};
	compare(&t);
	if (a->common.format == RFL_FORMAT_TABLE)
		print_text(&t);
	else
		json_array_append_new(all, json_of(&t));
	int is_ok = t.is_ok;
	trial_fini(&t);
	return is_ok;
}

/* The main thread is in the plugin and does not come back, so nothing can be put in order any more. */
static void
give_up(void *ctx, void *owner)
{
	(void)ctx, (void)owner;
	rfl_failed("test",
		"a call into a plugin does not return; the tests that are left are not run");
	_exit(RFL_EXIT_FAILED);
}

static int
run_all(struct args *a)
{
	const struct rfl_conf *c = a->common.conf;
	size_t count = 0, failed = 0;
	struct rfl_watch *watch;
	json_t *all = json_array();
	rfl_log_setup(c->runtime.log_level, (enum rfl_log_format)c->runtime.log_format);
	signal(SIGPIPE, SIG_IGN);
	if (rfl_watch_start(&c->runtime, give_up, NULL, &watch) != 0)
		rfl_failed("test", "cannot start a thread: calls into plugins are not watched");
	for (size_t i = 0; i < c->test_count; i++) {
		if (!is_chosen(a, c->tests[i]))
			continue;
		count++;
		failed += !run_one(a, c->tests[i], all);
	}
	rfl_watch_stop(watch);
	if (a->common.format != RFL_FORMAT_TABLE)
		rfl_print_json(&a->common, all);
	else if (count > 1)
		printf("%zu tests, %zu failed\n", count, failed);
	json_decref(all);
	return failed > 0 ? RFL_EXIT_FAILED : RFL_EXIT_DONE;
}

static int
run(int argc, char **argv)
{
	struct args a = {.names = NULL};
	rfl_verb_parse(&rfl_verb_test, argc, argv, &a);
	int status = rfl_common_load(&a.common, 0);
	if (status == RFL_EXIT_DONE)
		status = names_are_known(&a) ? run_all(&a) : RFL_EXIT_FAILED;
	rfl_common_fini(&a.common);
	free(a.names);
	return status;
}

const struct rfl_verb rfl_verb_test = {
	.name = "test",
	.summary = "run the tests of a configuration",
	.doc = doc,
	.args = "[TEST...]",
	.parse = parse,
	.run = run,
};
