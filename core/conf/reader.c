/* Lines, sections and entries of INI files. */
#include "conf/reader.h"

#include "base/check.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "conf/value.h"

#include <ctype.h>
#include <errno.h>
#include <ini.h>
#include <libgen.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define FILE_MAX_BYTES ((size_t)16 * 1024 * 1024)
#define LINE_MAX_BYTES 65536u

struct line {
	char *text; /* without its newline */
	uint32_t number;
};

/* One file on its way through inih. */
struct file {
	struct rfl_doc *doc;
	const char *name;
	char *dir;
	unsigned number;
	struct line *lines;
	size_t line_count, line_room;
	size_t next;       /* line to look at */
	size_t headers;    /* accepted ones, and keys, so far */
	size_t *header_at; /* section of the n-th header */
	size_t header_room;
	struct rfl_entry *keys;
	size_t key_count, key_room;
	int in_section; /* 0 = before the first, or behind a header that is none */
	int skipping;
};

static void __attribute__((format(printf, 8, 0)))
finding(struct rfl_doc *doc, enum rfl_severity severity, struct rfl_place place, uint32_t width,
	const char *source, const char *code, const char *hint, const char *fmt, va_list ap)
{
	char *text = rfl_vsprintf(fmt, ap);
	rfl_diag_add(doc->diags, severity, code, place, width, source, hint, "%s", text);
	free(text);
}

static void __attribute__((format(printf, 6, 7))) line_error(struct file *f, const struct line *l,
	uint32_t column, const char *code, const char *hint, const char *fmt, ...)
{
	va_list ap;
	const struct rfl_place place = {.file = f->name, .line = l->number, .column = column};
	va_start(ap, fmt);
	finding(f->doc, RFL_ERROR, place, 1, l->text, code, hint, fmt, ap);
	va_end(ap);
}

/* The line of a secret shows its key alone. */
static char *
shown(const struct rfl_entry *e)
{
	return e->secret ? rfl_sprintf("%s = ***", e->key) : rfl_strdup(e->source);
}

#define ENTRY_FINDING(name, severity, at, span)                                                    \
	void name(struct rfl_doc *doc, const struct rfl_entry *e, const char *code,                \
		const char *hint, const char *fmt, ...)                                            \
	{                                                                                          \
		va_list ap;                                                                        \
		char *source = shown(e);                                                           \
		va_start(ap, fmt);                                                                 \
		finding(doc, severity, at, e->secret ? 1 : (uint32_t)strlen(span), source, code,   \
			hint, fmt, ap);                                                            \
		va_end(ap);                                                                        \
		free(source);                                                                      \
	}

ENTRY_FINDING(rfl_entry_error, RFL_ERROR, e->place, e->value)
ENTRY_FINDING(rfl_entry_warning, RFL_WARNING, e->place, e->value)
ENTRY_FINDING(rfl_key_error, RFL_ERROR, e->key_place, e->key)

#define SECTION_FINDING(name, severity)                                                            \
	void name(struct rfl_doc *doc, const struct rfl_section *s, const char *code,              \
		const char *hint, const char *fmt, ...)                                            \
	{                                                                                          \
		va_list ap;                                                                        \
		va_start(ap, fmt);                                                                 \
		finding(doc, severity, s->place, (uint32_t)strlen(s->source ? s->source : ""),     \
			s->source, code, hint, fmt, ap);                                           \
		va_end(ap);                                                                        \
	}

SECTION_FINDING(rfl_section_error, RFL_ERROR)
SECTION_FINDING(rfl_section_warning, RFL_WARNING)

struct rfl_section *
rfl_doc_section(struct rfl_doc *doc, const char *kind, const char *name)
{
	for (size_t i = 0; i < doc->section_count; i++)
		if (strcmp(doc->sections[i].kind, kind) == 0 &&
			strcmp(doc->sections[i].name, name) == 0)
			return &doc->sections[i];
	return NULL;
}

struct rfl_entry *
rfl_section_entry(const struct rfl_section *s, const char *key)
{
	for (size_t i = 0; i < s->entry_count; i++)
		if (strcmp(s->entries[i].key, key) == 0)
			return &s->entries[i];
	return NULL;
}

static void
check_bytes(struct file *f, const struct line *l, size_t len)
{
	const unsigned char *p = (const unsigned char *)l->text, *end = p + len;
	if (memchr(p, '\0', len) != NULL) {
		line_error(f, l, (uint32_t)strlen(l->text) + 1, "C002", NULL, "a NUL byte");
		return;
	}
	while (p < end) {
		size_t n = rfl_utf8_len(p, end);
		if (n == 0) {
			const struct line bare = {.text = NULL, .number = l->number};
			line_error(f, &bare, (uint32_t)(p - (const unsigned char *)l->text) + 1,
				"C003", NULL, "byte 0x%02x is not UTF-8", *p);
			return;
		}
		p += n;
	}
}

static int
split_lines(struct file *f, char *text, size_t len)
{
	char *p = text, *end = text + len;
	if (len >= 2 && (memcmp(p, "\xff\xfe", 2) == 0 || memcmp(p, "\xfe\xff", 2) == 0)) {
		const struct line first = {.text = NULL, .number = 1};
		line_error(f, &first, 1, "C003", "save it as UTF-8", "the file is UTF-16");
		return -1;
	}
	if (len >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0)
		p += 3;
	for (uint32_t number = 1; p < end; number++) {
		char *stop = memchr(p, '\n', (size_t)(end - p));
		size_t n = (size_t)((stop ? stop : end) - p);
		size_t kept = n > 0 && p[n - 1] == '\r' ? n - 1 : n;
		p[kept] = '\0';
		rfl_grow(&f->lines, &f->line_room, f->line_count + 1, sizeof *f->lines);
		struct line *l = &f->lines[f->line_count++];
		*l = (struct line){.text = p, .number = number};
		check_bytes(f, l, kept);
		if (kept > LINE_MAX_BYTES) {
			const struct line bare = {.text = NULL, .number = number};
			line_error(f, &bare, 1, "C011", NULL,
				"the line has %zu bytes, at most %u are read", kept,
				LINE_MAX_BYTES);
			l->text[0] = '\0';
		}
		p += n + 1;
	}
	return 0;
}

static const char *
skip_blanks(const char *s)
{
	return s + strspn(s, " \t");
}

/* Cuts a comment and the blanks before it; quotes keep what is between them. -1: an open quote. */
static int
cut_comment(char *s)
{
	char quote = '\0';
	for (char *p = s; *p != '\0'; p++) {
		if (quote != '\0') {
			if (*p == '\\' && quote == '"' && p[1] != '\0')
				p++;
			else if (*p == quote)
				quote = '\0';
		} else if (*p == '"' || (*p == '\'' && (p == s || isspace((unsigned char)p[-1])))) {
			quote = *p;
		} else if ((*p == ';' || *p == '#') && p > s && isspace((unsigned char)p[-1])) {
			*p = '\0';
			break;
		}
	}
	size_t len = strlen(s);
	while (len > 0 && isspace((unsigned char)s[len - 1]))
		s[--len] = '\0';
	return quote != '\0' ? -1 : 0;
}

/* A value that is one quoted text is what stands between the quotes. */
static void
unquote(char *s)
{
	size_t len = strlen(s);
	if (len < 2 || (s[0] != '"' && s[0] != '\'') || s[len - 1] != s[0])
		return;
	if (memchr(s + 1, s[0], len - 2) != NULL)
		return;
	memmove(s, s + 1, len - 2);
	s[len - 2] = '\0';
}

static int
open_section(struct file *f, const struct line *l, const char *kind, const char *name)
{
	struct rfl_doc *doc = f->doc;
	const struct rfl_place place = {.file = f->name, .line = l->number, .column = 1};
	struct rfl_section *s = rfl_doc_section(doc, kind, name);
	if (s != NULL && s->file_number == f->number) {
		line_error(f, l, 1, "C009", NULL,
			"section [%s%s%s] is there twice, first in line %u", kind,
			name[0] ? " " : "", name, s->place.line);
		return -1;
	}
	if (s == NULL) {
		rfl_grow(&doc->sections, &doc->section_room, doc->section_count + 1,
			sizeof *doc->sections);
		s = &doc->sections[doc->section_count++];
		*s = (struct rfl_section){.kind = rfl_arena_strdup(doc->arena, kind),
			.name = rfl_arena_strdup(doc->arena, name)};
	}
	s->place = place;
	s->source = rfl_arena_strdup(doc->arena, l->text);
	s->file_number = f->number;
	rfl_grow(&f->header_at, &f->header_room, f->headers + 1, sizeof *f->header_at);
	f->header_at[f->headers++] = (size_t)(s - doc->sections);
	return 0;
}

/* "[kind name]"; `gateway` is riff's later word for provider. */
static int
take_header(struct file *f, const struct line *l)
{
	char kind[64], name[300];
	int n = 0;
	char *text = rfl_strdup(l->text);
	cut_comment(text);
	size_t len = strlen(text);
	int ok = len > 2 && text[len - 1] == ']' && len < 256;
	if (ok) {
		text[len - 1] = '\0';
		int got = sscanf(text + 1, " %63[^ \t\"] %299[^\n]%n", kind, name, &n);
		ok = got >= 1;
		if (got < 2)
			name[0] = '\0';
		cut_comment(name);
		unquote(name);
	}
	free(text);
	if (!ok) {
		line_error(f, l, 1, "C004", "a header is [kind] or [kind name]",
			"malformed section header");
		return -1;
	}
	return open_section(f, l, strcmp(kind, "gateway") == 0 ? "provider" : kind, name);
}

static void
keep_lines(struct file *f, size_t from, struct rfl_entry *e)
{
	struct rfl_conf_memory *a = f->doc->arena;
	e->line_count = f->next - from;
	e->lines = rfl_arena_alloc(a, (e->line_count + 1) * sizeof *e->lines);
	for (size_t i = 0; i < e->line_count; i++) {
		const struct line *l = &f->lines[from + i];
		const char *text = skip_blanks(l->text);
		e->lines[i] = (struct rfl_entry_line){
			.text = rfl_arena_strdup(a, text),
			.source = rfl_arena_strdup(a, l->text),
			.place = {.file = f->name,
				.line = l->number,
				.column = (uint32_t)(text - l->text) + 1},
		};
	}
}

/* The indented lines that follow a key with nothing behind its '='. */
static char *
take_continuation(struct file *f, const char *first, struct rfl_entry *e)
{
	struct rfl_buf all = RFL_BUF_INIT;
	size_t from = f->next;
	rfl_buf_puts(&all, first);
	while (first[0] == '\0' && f->next < f->line_count) {
		const char *text = f->lines[f->next].text;
		if (!isspace((unsigned char)text[0]) || skip_blanks(text)[0] == '\0')
			break;
		if (all.len > 0)
			rfl_buf_putc(&all, '\n');
		rfl_buf_puts(&all, skip_blanks(text));
		f->next++;
	}
	char *value = rfl_arena_strdup(f->doc->arena, rfl_buf_str(&all));
	rfl_buf_fini(&all);
	keep_lines(f, from, e);
	return value;
}

/* Where a word begins with a quote that a word processor made of a plain one; else the end. */
static size_t
typographic_quote(const char *s)
{
	static const char *const quotes[] = {
		"\xe2\x80\x98", "\xe2\x80\x99", "\xe2\x80\x9c", "\xe2\x80\x9d"};
	size_t i;
	if (s[0] == '"' || s[0] == '\'')
		return strlen(s);
	for (i = 0; s[i] != '\0'; i++)
		for (size_t q = 0; q < RFL_COUNT(quotes); q++)
			if ((i == 0 || isspace((unsigned char)s[i - 1])) &&
				strncmp(s + i, quotes[q], 3) == 0)
				return i;
	return i;
}

static int
take_key(struct file *f, const struct line *l)
{
	struct rfl_conf_memory *a = f->doc->arena;
	const char *eq = strpbrk(l->text, "=:");
	size_t len = eq ? (size_t)(eq - l->text) : 0;
	while (len > 0 && isspace((unsigned char)l->text[len - 1]))
		len--;
	if (len == 0) {
		line_error(f, l, 1, "C005", "a line is `key = value`, [section], or a comment",
			eq ? "there is no key before the `=`" : "there is no `=`");
		return -1;
	}
	if (!f->in_section) {
		line_error(f, l, 1, "C006", "a section header such as [runtime] comes first",
			"a key before the first section");
		return -1;
	}
	const char *from = skip_blanks(eq + 1);
	char *value = rfl_arena_strdup(a, from);
	size_t curly = typographic_quote(value);
	int broken = 1;
	if (value[curly] != '\0')
		line_error(f, l, (uint32_t)(from + curly - l->text) + 1, "C010",
			"a plain \" or ' is meant", "a typographic quote, which quotes nothing");
	else if (cut_comment(value) < 0)
		line_error(f, l, (uint32_t)(from - l->text) + 1, "C010", NULL,
			"a quote is not closed");
	else
		broken = 0;
	char *quoted = rfl_arena_strdup(a, value);
	unquote(value);
	rfl_grow(&f->keys, &f->key_room, f->key_count + 1, sizeof *f->keys);
	struct rfl_entry lines = {0};
	value = take_continuation(f, value, &lines);
	f->keys[f->key_count++] = (struct rfl_entry){
		.broken = broken,
		.lines = lines.lines,
		.line_count = lines.line_count,
		.key = rfl_arena_strndup(a, l->text, len),
		.value = value,
		.quoted = quoted[0] != '\0' ? quoted : value,
		.key_place = {.file = f->name, .line = l->number, .column = 1},
		.place = {.file = f->name,
			.line = l->number,
			.column = (uint32_t)(from - l->text) + 1},
		.source = rfl_arena_strdup(a, l->text),
		.dir = f->dir,
		.file_number = f->number,
	};
	return 0;
}

/* inih's fgets: the next header or key, as its number. Lines with a finding are not handed on. */
static char *
next_for_inih(char *str, int num, void *stream)
{
	struct file *f = stream;
	while (f->next < f->line_count) {
		const struct line *l = &f->lines[f->next++];
		const char *text = skip_blanks(l->text);
		if (*text == '\0' || *text == ';' || *text == '#')
			continue;
		if (text != l->text) {
			if (!f->skipping)
				line_error(f, l, 1, "C007", "remove the blanks before it",
					"an indented line");
			continue;
		}
		if (*text == '[') {
			f->skipping = take_header(f, l) < 0;
			f->in_section |= !f->skipping;
			if (f->skipping)
				continue;
			snprintf(str, (size_t)num, "[%zu]\n", f->headers - 1);
			return str;
		}
		if (f->skipping || take_key(f, l) < 0)
			continue;
		snprintf(str, (size_t)num, "%zu=\n", f->key_count - 1);
		return str;
	}
	return NULL;
}

static void
put_entry(struct rfl_doc *doc, struct rfl_section *s, const struct rfl_entry *e)
{
	struct rfl_entry *old = rfl_section_entry(s, e->key);
	if (old != NULL && old->file_number == e->file_number) {
		rfl_key_error(doc, e, "C008", NULL, "key '%s' is there twice, first in line %u",
			e->key, old->key_place.line);
		return;
	}
	if (old != NULL) {
		*old = *e;
		return;
	}
	rfl_grow(&s->entries, &s->entry_room, s->entry_count + 1, sizeof *s->entries);
	s->entries[s->entry_count++] = *e;
}

static int
from_inih(void *user, const char *section, const char *name, const char *value)
{
	struct file *f = user;
	(void)value;
	struct rfl_section *s = &f->doc->sections[f->header_at[strtoul(section, NULL, 10)]];
	put_entry(f->doc, s, &f->keys[strtoul(name, NULL, 10)]);
	return 1;
}

static char *
slurp(const char *path, size_t *ret_len)
{
	struct stat st;
	FILE *in = fopen(path, "re");
	if (in == NULL)
		return NULL;
	if (fstat(fileno(in), &st) < 0 || S_ISDIR(st.st_mode)) {
		errno = EISDIR;
		fclose(in);
		return NULL;
	}
	size_t room = 0, len = 0, n;
	char *text = NULL;
	do {
		rfl_grow(&text, &room, len + 4096 + 1, 1);
		n = fread(text + len, 1, 4096, in);
		len += n;
	} while (n > 0 && len <= FILE_MAX_BYTES);
	fclose(in);
	text[len] = '\0';
	*ret_len = len;
	if (len <= FILE_MAX_BYTES)
		return text;
	free(text);
	errno = EFBIG;
	return NULL;
}

int
rfl_doc_read(struct rfl_doc *doc, const char *path)
{
	size_t len;
	struct file f = {.doc = doc, .name = rfl_arena_strdup(doc->arena, path)};
	char *text = slurp(path, &len);
	if (text == NULL) {
		const struct rfl_place place = {.file = f.name};
		rfl_diag_add(doc->diags, RFL_ERROR, "C001", place, 0, NULL, NULL,
			"cannot read the file: %s", strerror(errno));
		return -1;
	}
	char *full = realpath(path, NULL);
	f.dir = rfl_arena_strdup(doc->arena, full ? dirname(full) : ".");
	free(full);
	f.number = ++doc->files;
	doc->diags->files++;
	if (split_lines(&f, text, len) == 0)
		ini_parse_stream(next_for_inih, &f, from_inih, &f);
	free(text);
	free(f.lines);
	free(f.header_at);
	free(f.keys);
	return 0;
}

/* "provider.local.": what was meant with a section that is not there, its name alone or misspelt; or NULL. */
static const char *
nearest_prefix(struct rfl_doc *doc, const char *kind, const char *name)
{
	const char *word = name ? rfl_arena_sprintf(doc->arena, "%s.%s.", kind, name) : kind;
	const char **words = rfl_zalloc((doc->section_count + 1) * sizeof *words);
	const char *found = NULL;
	for (size_t i = 0; i < doc->section_count; i++) {
		const struct rfl_section *s = &doc->sections[i];
		words[i] = rfl_arena_sprintf(
			doc->arena, "%s.%s%s", s->kind, s->name, s->name[0] ? "." : "");
		if (found == NULL && s->name[0] != '\0' && strcmp(s->name, kind) == 0)
			found = words[i];
	}
	if (found == NULL)
		found = rfl_value_nearest(word, words, doc->section_count);
	free(words);
	return found;
}

static void
no_such_section(struct rfl_doc *doc, struct rfl_place place, const char *kind, const char *name,
	const char *key)
{
	const char *prefix = nearest_prefix(doc, kind, name);
	rfl_diag_add(doc->diags, RFL_ERROR, "C014", place, 0, NULL, NULL,
		"there is no section [%s%s%s]%s%s%s%s", kind, name ? " " : "", name ? name : "",
		prefix ? "; did you mean '" : "", prefix ? prefix : "", prefix ? key : "",
		prefix ? "'?" : "");
}

/* A key may have dots, a kind and a name have none; [runtime] alone has no name. */
void
rfl_doc_set(struct rfl_doc *doc, const char *text, const char *dir)
{
	const char *eq = strchr(text, '=');
	size_t len = eq ? (size_t)(eq - text) : 0;
	char *kind = rfl_arena_strndup(doc->arena, text, len);
	char *key = strchr(kind, '.'), *name = NULL;
	if (key == NULL || key == kind || kind[len - 1] == '.') {
		const struct rfl_place place = {.file = "--set"};
		rfl_diag_add(doc->diags, RFL_ERROR, "C014", place, 0, NULL, NULL,
			"'%s' is not SECTION.KEY=VALUE", text);
		return;
	}
	*key++ = '\0';
	int is_runtime = strcmp(kind, "runtime") == 0;
	char *dot = is_runtime ? NULL : strchr(key, '.');
	if (dot != NULL) {
		*dot = '\0';
		name = key;
		key = dot + 1;
	}
	/* What stands before the '=' is the place; the value may be a secret. */
	const struct rfl_place place = {
		.file = rfl_arena_sprintf(doc->arena, "--set %.*s", (int)len, text)};
	struct rfl_section *s = rfl_doc_section(doc, kind, name ? name : "");
	if (s == NULL && !is_runtime) {
		no_such_section(doc, place, kind, name, key);
		return;
	}
	if (s == NULL) {
		rfl_grow(&doc->sections, &doc->section_room, doc->section_count + 1,
			sizeof *doc->sections);
		s = &doc->sections[doc->section_count++];
		*s = (struct rfl_section){.kind = kind, .name = rfl_arena_strdup(doc->arena, "")};
		s->place = place;
	}
	const struct rfl_entry e = {
		.key = key,
		.value = rfl_arena_strdup(doc->arena, eq + 1),
		.quoted = rfl_arena_strdup(doc->arena, eq + 1),
		.key_place = place,
		.place = place,
		.dir = rfl_arena_strdup(doc->arena, dir),
		.file_number = ++doc->files,
	};
	put_entry(doc, s, &e);
}

void
rfl_doc_fini(struct rfl_doc *doc)
{
	for (size_t i = 0; i < doc->section_count; i++)
		free(doc->sections[i].entries);
	free(doc->sections);
}
