/* A [test]: what is sent to a processor at which time, and what is expected of it. */
#include "base/mem.h"
#include "conf/expand.h"
#include "conf/resolve.h"
#include "conf/value.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define SECOND_MS INT64_C(1000)
#define DAY_MS (86400 * SECOND_MS)
#define DAYS_MAX 36500

static const char send_form[] = "STREAM [DAYSd ]HH:MM:SS[.mmm] [key=K] [header:NAME=V]... VALUE";
static const char expect_form[] = "STREAM [key=K] VALUE";

/* One line of send or expect on its way: what is left of it, and where a finding would stand. */
struct reading {
	struct rfl_resolve *r;
	struct rfl_entry line;
	const char *form;
	char *at;
	struct rfl_test_conf *test;
	struct rfl_test_record *record;
};

/* A finding at the word that begins at `at`; returns -1. */
static int __attribute__((format(printf, 5, 6)))
refuse(struct reading *l, const char *at, const char *code, const char *hint, const char *fmt, ...)
{
	va_list ap;
	struct rfl_entry word = l->line;
	size_t offset = (size_t)(at - l->line.value);
	va_start(ap, fmt);
	char *text = rfl_vsprintf(fmt, ap);
	va_end(ap);
	/* Where something was expanded, columns are those of another text. */
	if (word.place.line > 0 && offset <= strlen(word.source) &&
		strstr(word.source, l->line.value) != NULL) {
		word.place.column += (uint32_t)offset;
		word.value = rfl_arena_strndup(l->r->arena, at, strcspn(at, " \t"));
	}
	rfl_entry_error(&l->r->doc, &word, code, hint, "%s", text);
	free(text);
	return -1;
}

static void
skip_blanks(struct reading *l)
{
	l->at += strspn(l->at, " \t");
}

/* The next word without its blanks, copied; "" at the end of the line. */
static char *
take_word(struct reading *l)
{
	size_t len = strcspn(l->at, " \t");
	char *word = rfl_arena_strndup(l->r->arena, l->at, len);
	l->at += len;
	skip_blanks(l);
	return word;
}

/* '...' is what stands in it, anything else the word. NULL after a finding. */
static int
take_quoted(struct reading *l, struct riffle_bytes *ret)
{
	char *from = l->at;
	if (from[0] != '\'') {
		char *word = take_word(l);
		*ret = (struct riffle_bytes){word, strlen(word)};
		return 0;
	}
	char *end = strchr(from + 1, '\'');
	if (end == NULL)
		return refuse(l, from, "C010", NULL, "a quote is not closed");
	if (end[1] != '\0' && end[1] != ' ' && end[1] != '\t')
		return refuse(l, end, "C129", "a blank follows it",
			"there is something behind the quote that closes");
	*ret = (struct riffle_bytes){
		rfl_arena_strndup(l->r->arena, from + 1, (size_t)(end - from - 1)),
		(size_t)(end - from - 1)};
	l->at = end + 1;
	skip_blanks(l);
	return 0;
}

static int
digits(const char **s, int count, int most, int64_t *ret)
{
	int64_t n = 0;
	for (int i = 0; i < count; i++, (*s)++) {
		if (!isdigit((unsigned char)**s))
			return -1;
		n = n * 10 + (**s - '0');
	}
	*ret = n;
	return n <= most ? 0 : -1;
}

/* "7d" */
static int
take_days(struct reading *l, int64_t *ret_ms)
{
	size_t len = strspn(l->at, "0123456789");
	if (len == 0 || l->at[len] != 'd' || !isspace((unsigned char)l->at[len + 1]))
		return 0;
	char *from = l->at;
	char *word = take_word(l);
	if (len > 5 || atol(word) > DAYS_MAX)
		return refuse(l, from, "C129", NULL, "%s is more than %d days", word, DAYS_MAX);
	*ret_ms = atol(word) * DAY_MS;
	return 0;
}

static int
take_time(struct reading *l, int64_t *ret_ms)
{
	int64_t days_ms = 0, hour, minute, second, ms = 0;
	if (take_days(l, &days_ms) < 0)
		return -1;
	char *from = l->at;
	const char *s = take_word(l);
	const char *p = s;
	int bad = digits(&p, 2, 23, &hour) < 0 || *p++ != ':' || digits(&p, 2, 59, &minute) < 0 ||
		  *p++ != ':' || digits(&p, 2, 59, &second) < 0;
	if (!bad && *p == '.') {
		p++;
		bad = digits(&p, 3, 999, &ms) < 0;
	}
	if (s[0] == '\0')
		return refuse(l, l->line.value, "C129", l->form, "the time is missing");
	if (bad || *p != '\0')
		return refuse(l, from, "C129",
			"HH:MM:SS or HH:MM:SS.mmm, after a day 1d HH:MM:SS: how long after start",
			"'%s' is no time", s);
	*ret_ms = days_ms + ((hour * 60 + minute) * 60 + second) * SECOND_MS + ms;
	return 0;
}

static int
take_header(struct reading *l)
{
	struct rfl_test_record *rec = l->record;
	char *from = l->at;
	size_t len = strcspn(from + 7, "= \t");
	if (len == 0 || from[7 + len] != '=')
		return refuse(l, from, "C129", "header:NAME=V", "a header has a name and a value");
	struct riffle_header h = {
		.name = {rfl_arena_strndup(l->r->arena, from + 7, len), len},
	};
	l->at += 7 + len + 1;
	if (take_quoted(l, &h.value) < 0)
		return -1;
	struct riffle_header *all =
		rfl_arena_alloc(l->r->arena, (rec->header_count + 1) * sizeof *all);
	if (rec->header_count > 0)
		memcpy(all, rec->headers, rec->header_count * sizeof *all);
	all[rec->header_count++] = h;
	rec->headers = all;
	return 0;
}

/* What stands before the value, in any order. */
static int
take_options(struct reading *l, int with_headers)
{
	for (;;) {
		char *from = l->at;
		int rc = 0;
		if (strncmp(from, "key=", 4) == 0 && l->record->key.ptr == NULL) {
			l->at += 4;
			rc = take_quoted(l, &l->record->key);
		} else if (strncmp(from, "key=", 4) == 0) {
			rc = refuse(l, from, "C129", "a value that begins so stands in '...'",
				"the key is there twice");
		} else if (with_headers && strncmp(from, "header:", 7) == 0) {
			rc = take_header(l);
		} else {
			return 0;
		}
		if (rc < 0)
			return rc;
	}
}

/* The rest of the line; '...' for what is empty, or has blanks at its ends. */
static int
take_value(struct reading *l)
{
	size_t len = strlen(l->at);
	while (len > 0 && isspace((unsigned char)l->at[len - 1]))
		len--;
	if (len == 0)
		return refuse(l, l->line.value, "C129", l->form,
			"the value is missing; '' is an empty one");
	const char *from = l->at;
	int quoted = from[0] == '\'';
	if (quoted && (len < 2 || from[len - 1] != '\''))
		return refuse(l, from, "C010", NULL, "a quote is not closed");
	from += quoted;
	len -= 2 * (size_t)quoted;
	l->record->value = (struct riffle_bytes){rfl_arena_strndup(l->r->arena, from, len), len};
	return 0;
}

/* 1 = a stream that is not among those known may be one that is written wrongly in the processor. */
static int
side_is_broken(struct rfl_resolve *r, const struct rfl_processor_conf *p, int outputs)
{
	const struct rfl_section *s = rfl_doc_section(&r->doc, "processor", p->name);
	if (!outputs)
		return p->input_count == 0 || rfl_is_broken(s, "input");
	return rfl_is_broken(s, "output") || rfl_is_broken(s, "late") ||
	       rfl_is_broken(s, "on-error");
}

struct names {
	const char *list[2];
	const struct rfl_stream_conf *stream;
};

/* The streams of one side by alias and name; the caller's from the arena. */
static struct names *
sides(struct rfl_resolve *r, const struct rfl_processor_conf *p, int outputs, size_t *ret_count)
{
	size_t n = 0;
	struct names *all =
		rfl_arena_alloc(r->arena, (p->input_count + p->output_count + 2) * sizeof *all);
	for (size_t i = 0; !outputs && i < p->input_count; i++)
		all[n++] = (struct names){
			{p->inputs[i].alias, p->inputs[i].stream->name}, p->inputs[i].stream};
	for (size_t i = 0; outputs && i < p->output_count; i++)
		all[n++] = (struct names){
			{p->outputs[i].alias, p->outputs[i].stream->name}, p->outputs[i].stream};
	if (outputs && p->late_stream != NULL)
		all[n++] = (struct names){
			{p->late_stream->name, p->late_stream->name}, p->late_stream};
	if (outputs && p->on_error.dead_letter != NULL)
		all[n++] = (struct names){
			{p->on_error.dead_letter->name, p->on_error.dead_letter->name},
			p->on_error.dead_letter};
	*ret_count = n;
	return all;
}

static int
take_stream(struct reading *l, int outputs)
{
	size_t count;
	const char *words[1024];
	size_t n = 0;
	char *from = l->at;
	char *name = take_word(l);
	const struct rfl_processor_conf *p = l->test->processor;
	if (p == NULL)
		return 0;
	struct names *all = sides(l->r, p, outputs, &count);
	/* An alias goes before a stream that happens to have its name. */
	for (int which = 0; which < 2; which++)
		for (size_t i = 0; i < count; i++) {
			if (strcmp(all[i].list[which], name) == 0) {
				l->record->stream = all[i].stream;
				return 0;
			}
			if (n < sizeof words / sizeof words[0])
				words[n++] = all[i].list[which];
		}
	if (side_is_broken(l->r, p, outputs))
		return 0;
	const char *near = rfl_value_nearest(name, words, n);
	char *hint = near ? rfl_arena_sprintf(l->r->arena, "did you mean '%s'?", near) : NULL;
	return refuse(l, from, "C105", hint, "'%s' is no %s of processor '%s'", name,
		outputs ? "output, late or dead-letter stream" : "input", p->name);
}

static int
is_processing_time(struct rfl_resolve *r, const struct rfl_test_conf *t)
{
	const struct rfl_processor_conf *p = t->processor;
	return p != NULL && p->time.source == RFL_TIME_PROCESSING &&
	       !rfl_is_broken(rfl_doc_section(&r->doc, "processor", p->name), "time");
}

static int
read_send(struct reading *l)
{
	struct rfl_test_conf *t = l->test;
	int64_t after_ms = 0;
	char *at_time;
	if (take_stream(l, 0) < 0)
		return -1;
	at_time = l->at;
	if (take_time(l, &after_ms) < 0)
		return -1;
	l->record->time_ms = t->start_ms + after_ms;
	if (t->send_count > 0 && is_processing_time(l->r, t) &&
		l->record->time_ms < t->sends[t->send_count - 1].time_ms)
		return refuse(l, at_time, "C129", "only on event time may records be out of order",
			"the time is before that of the line above");
	if (take_options(l, 1) < 0 || take_value(l) < 0)
		return -1;
	t->send_count++;
	return 0;
}

static int
read_expect(struct reading *l)
{
	if (take_stream(l, 1) < 0 || take_options(l, 0) < 0 || take_value(l) < 0)
		return -1;
	l->test->expect_count++;
	return 0;
}

/* The lines of a value as entries of their own, each in its place. */
static struct rfl_entry *
lines_of(struct rfl_resolve *r, const struct rfl_entry *e, size_t *ret_count)
{
	size_t n = e->line_count > 0 ? e->line_count : e->value[0] != '\0';
	struct rfl_entry *all = rfl_arena_alloc(r->arena, (n + 1) * sizeof *all);
	for (size_t i = 0; i < n; i++) {
		all[i] = *e;
		if (e->line_count == 0)
			continue;
		all[i].value = e->lines[i].text;
		all[i].source = e->lines[i].source;
		all[i].place = e->lines[i].place;
	}
	*ret_count = n;
	return all;
}

static void
read_lines(struct rfl_resolve *r, struct rfl_section *s, struct rfl_test_conf *t, const char *key)
{
	int outputs = strcmp(key, "expect") == 0;
	struct rfl_entry *e = rfl_entry_of(s, key);
	size_t count;
	if (e == NULL || e->broken)
		return;
	struct rfl_entry *lines = lines_of(r, e, &count);
	if (count == 0 && !outputs)
		rfl_key_error(&r->doc, e, "C102", send_form, "key 'send' has no value");
	struct rfl_test_record *records = rfl_arena_alloc(r->arena, (count + 1) * sizeof *records);
	*(outputs ? &t->expects : &t->sends) = records;
	for (size_t i = 0; i < count; i++) {
		struct reading l = {.r = r,
			.line = lines[i],
			.form = outputs ? expect_form : send_form,
			.test = t,
			.record = &records[outputs ? t->expect_count : t->send_count]};
		char *text = rfl_expand(&r->doc, &lines[i], lines[i].value);
		if (text == NULL)
			continue;
		*l.record = (struct rfl_test_record){.place = lines[i].place};
		l.line.value = l.at = text;
		skip_blanks(&l);
		if (outputs)
			read_expect(&l);
		else
			read_send(&l);
	}
}

static const struct rfl_processor_conf *
find_processor(struct rfl_resolve *r, struct rfl_section *s)
{
	struct rfl_entry *e = rfl_entry_of(s, "processor");
	struct riffle_value v = rfl_resolve_key(r, s, "processor");
	size_t n = r->conf->processor_count;
	if (v.u.s == NULL)
		return NULL;
	const char **words = rfl_arena_alloc(r->arena, (n + 1) * sizeof *words);
	for (size_t i = 0; i < n; i++) {
		words[i] = r->conf->processors[i]->name;
		if (strcmp(words[i], v.u.s) == 0)
			return r->conf->processors[i];
	}
	if (rfl_doc_section(&r->doc, "processor", v.u.s) != NULL)
		return NULL; /* its own findings say why it is not there */
	const char *near = rfl_value_nearest(v.u.s, words, n);
	char *hint = near ? rfl_arena_sprintf(r->arena, "did you mean '%s'?", near) : NULL;
	rfl_entry_error(&r->doc, e, "C105", hint, "processor '%s' is not defined", v.u.s);
	return NULL;
}

static int64_t
start_of(struct rfl_resolve *r, struct rfl_section *s)
{
	struct riffle_value v = rfl_resolve_key(r, s, "start");
	int64_t start_ms = 0;
	if (v.u.s != NULL && rfl_value_time(v.u.s, &start_ms) < 0)
		rfl_entry_error(&r->doc, rfl_entry_of(s, "start"), "C102", "2026-01-02T03:04:05Z",
			"'%s' is no time to start at", v.u.s);
	return start_ms;
}

void
rfl_resolve_test(struct rfl_resolve *r, struct rfl_section *s)
{
	size_t errors = r->doc.diags->errors;
	struct rfl_test_conf *t = rfl_arena_alloc(r->arena, sizeof *t);
	t->name = s->name;
	t->place = s->place;
	t->processor = find_processor(r, s);
	t->start_ms = start_of(r, s);
	t->timeout_ms = rfl_resolve_key(r, s, "timeout").u.i;
	t->has_expect = rfl_entry_of(s, "expect") != NULL;
	if (rfl_entry_of(s, "send") == NULL)
		rfl_resolve_key(r, s, "send");
	read_lines(r, s, t, "send");
	read_lines(r, s, t, "expect");
	if (r->doc.diags->errors == errors)
		r->conf->tests[r->conf->test_count++] = t;
}
