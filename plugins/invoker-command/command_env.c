/* What a program is told beside its input: environment and arguments, from lists alone. */
#include "command.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Longer than any sane key, and far from the system's limit for one entry. */
#define VALUE_MAX ((size_t)32 * 1024)

static const char *const passed_on[] = {"PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR"};

struct list {
	char **items;
	uint32_t count, room;
};

static void
add(struct list *l, char *item)
{
	l->items = command_grow(l->items, &l->room, l->count + 2, sizeof *l->items);
	l->items[l->count++] = item;
	l->items[l->count] = NULL;
}

void
command_list_free(char **list)
{
	for (char **e = list; e != NULL && *e != NULL; e++)
		free(*e);
	free(list);
}

static char *
pair(const char *name, const void *value, size_t value_len)
{
	size_t len = strlen(name);
	char *s = command_alloc(len + value_len + 2);
	memcpy(s, name, len);
	s[len] = '=';
	if (value_len > 0)
		memcpy(s + len + 1, value, value_len);
	return s;
}

static char *
copy(const char *s)
{
	return strcpy(command_alloc(strlen(s) + 1), s);
}

/* Text that can be neither an argument nor a variable is foreign and fails the window. */
static int
check_text(struct riffle_bytes name, struct riffle_bytes value, struct riffle_error *reterr)
{
	const char *fault = NULL;
	if (value.len > VALUE_MAX)
		fault = "it is too long";
	else if (value.len > 0 && memchr(value.ptr, '\0', value.len) != NULL)
		fault = "it has a NUL byte";
	else if (value.len > 0 && memchr(value.ptr, '\n', value.len) != NULL)
		fault = "it has a newline";
	if (fault == NULL)
		return RIFFLE_OK;
	return command_fail(reterr, RIFFLE_E_DATA, 0,
		"cannot hand %.*s to the program: %s (a coprocess gets it through its pipe)",
		(int)name.len, (const char *)name.ptr, fault);
}

/* riffle-window-start becomes RIFFLE_WINDOW_START. */
static int
add_header(struct list *l, const struct riffle_header *h, struct riffle_error *reterr)
{
	char name[64];
	size_t n = h->name.len < sizeof name - 1 ? h->name.len : sizeof name - 1;
	if (h->value.ptr == NULL)
		return RIFFLE_OK;
	if (check_text(h->name, h->value, reterr) < 0)
		return reterr->code;
	for (size_t i = 0; i < n; i++) {
		char c = ((const char *)h->name.ptr)[i];
		name[i] = isalnum((unsigned char)c) ? (char)toupper((unsigned char)c) : '_';
	}
	name[n] = '\0';
	add(l, pair(name, h->value.ptr, h->value.len));
	return RIFFLE_OK;
}

static void
add_listed(struct list *l, const struct command *c)
{
	for (size_t i = 0; i < sizeof passed_on / sizeof passed_on[0]; i++) {
		const char *value = getenv(passed_on[i]);
		if (value != NULL)
			add(l, pair(passed_on[i], value, strlen(value)));
	}
	for (const char *const *e = c->env; e != NULL && *e != NULL; e++) {
		const char *value = strchr(*e, '=') ? NULL : getenv(*e);
		if (strchr(*e, '=') != NULL)
			add(l, copy(*e));
		else if (value != NULL)
			add(l, pair(*e, value, strlen(value)));
	}
}

static int
add_record(struct list *l, const struct command_spec *spec, const struct riffle_batch *batch,
	const struct riffle_record *r, struct riffle_error *reterr)
{
	static const struct riffle_bytes key = {"the record's key", 16};
	char time[24];
	const char *input = r->stream < spec->input_count ? spec->input_names[r->stream] : "";
	const char *type = r->content_type                 ? batch->content_types[r->content_type]
			   : r->stream < spec->input_count ? spec->input_types[r->stream]
							   : "";
	add(l, pair("RIFFLE_INPUT", input, strlen(input)));
	add(l, pair("RIFFLE_CONTENT_TYPE", type, strlen(type)));
	if (r->time_ms != RIFFLE_TIME_NONE) {
		snprintf(time, sizeof time, "%lld", (long long)r->time_ms);
		add(l, pair("RIFFLE_TIME", time, strlen(time)));
	}
	if (r->key.ptr == NULL)
		return RIFFLE_OK;
	if (check_text(key, r->key, reterr) < 0)
		return reterr->code;
	add(l, pair("RIFFLE_KEY", r->key.ptr, r->key.len));
	return RIFFLE_OK;
}

char **
command_environment(const struct command *c, const struct command_spec *spec,
	const struct riffle_batch *batch, const struct riffle_record *record,
	struct riffle_error *reterr)
{
	struct list l = {0};
	int rc = RIFFLE_OK;
	l.items = command_grow(NULL, &l.room, 1, sizeof *l.items);
	l.items[0] = NULL;
	add_listed(&l, c);
	for (uint32_t i = 0; spec != NULL && i < spec->header_count && rc == RIFFLE_OK; i++)
		rc = add_header(&l, &spec->headers[i], reterr);
	if (record != NULL && rc == RIFFLE_OK && c->format == COMMAND_LINES)
		rc = add_record(&l, spec, batch, record, reterr);
	if (rc == RIFFLE_OK)
		return l.items;
	command_list_free(l.items);
	return NULL;
}

int
command_env_is_fine(const char *entry)
{
	size_t n = strspn(entry, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_");
	return n > 0 && (entry[n] == '\0' || entry[n] == '=') && (entry[0] < '0' || entry[0] > '9');
}

/* The header a template stands for is riffle-<name>. */
static const char *const templates[] = {
	"window-start", "window-end", "window-key", "pane", "attempt", NULL};

/* The template at %{, its length with the braces in *ret_len, or NULL. */
static const char *
template_at(const char *text, size_t *ret_len)
{
	for (const char *const *t = templates; *t != NULL; t++) {
		size_t n = strlen(*t);
		if (strncmp(text + 2, *t, n) == 0 && text[n + 2] == '}') {
			*ret_len = n + 3;
			return *t;
		}
	}
	return NULL;
}

int
command_has_template(const char *const *words, const char **ret_fault)
{
	int found = 0;
	size_t len;
	*ret_fault = NULL;
	for (; *words != NULL; words++)
		for (const char *p = *words; (p = strstr(p, "%{")) != NULL; p += 2) {
			found = 1;
			if (template_at(p, &len) == NULL)
				*ret_fault = "%{ begins one of %{window-start}, %{window-end}, "
					     "%{window-key}, %{pane}, %{attempt}";
		}
	return found;
}

static const struct riffle_header *
header_of(const struct command_spec *s, const char *name)
{
	size_t n = strlen(name);
	for (uint32_t i = 0; i < s->header_count; i++) {
		const struct riffle_header *h = &s->headers[i];
		if (h->name.len == n + 7 && memcmp(h->name.ptr, "riffle-", 7) == 0 &&
			memcmp((const char *)h->name.ptr + 7, name, n) == 0)
			return h;
	}
	return NULL;
}

static void
append(struct command_text *t, const void *from, size_t len)
{
	char *to = command_text_room(t, len + 1);
	if (len > 0)
		memcpy(to, from, len);
	t->len += len;
	t->data[t->len] = '\0';
}

/* One argument stays one argument, whatever the value. */
static char *
fill_in(const char *word, const struct command_spec *spec, struct riffle_error *reterr)
{
	struct command_text t = {0};
	const char *p;
	size_t len;
	for (; (p = strstr(word, "%{")) != NULL; word = p + len) {
		const char *name = template_at(p, &len);
		const struct riffle_header *h = name ? header_of(spec, name) : NULL;
		append(&t, word, (size_t)(p - word));
		if (name == NULL)
			append(&t, p, len = 2);
		if (h == NULL || h->value.ptr == NULL)
			continue;
		if (check_text(h->name, h->value, reterr) < 0) {
			free(t.data);
			return NULL;
		}
		append(&t, h->value.ptr, h->value.len);
	}
	append(&t, word, strlen(word));
	return t.data;
}

char **
command_arguments(
	const struct command *c, const struct command_spec *spec, struct riffle_error *reterr)
{
	struct list l = {0};
	if (c->shell) {
		add(&l, copy("/bin/sh"));
		add(&l, copy("-c"));
		add(&l, copy(c->words[0]));
		return l.items;
	}
	for (const char *const *w = c->words; *w != NULL; w++) {
		char *word = spec ? fill_in(*w, spec, reterr) : copy(*w);
		if (word == NULL) {
			command_list_free(l.items);
			return NULL;
		}
		add(&l, word);
	}
	return l.items;
}
