/* Content types: their syntax and when one takes another. */
#include "wire/content_type.h"

#include <stddef.h>
#include <string.h>
#include <strings.h>

/* The parts of "type/subtype", as runs of the text they were found in. */
struct parts {
	const char *type, *sub, *suffix; /* suffix begins at '+', NULL when there is none */
	size_t type_len, sub_len;        /* sub_len includes the suffix */
	size_t suffix_len;
};

static int
is_token_char(char c)
{
	if (c <= 0x20 || c >= 0x7f)
		return 0;
	return strchr("()<>@,;:\\\"/[]?=", c) == NULL;
}

static size_t
token_len(const char *s)
{
	size_t n = 0;
	while (s[n] != '\0' && is_token_char(s[n]))
		n++;
	return n;
}

static const char *
skip_blanks(const char *s)
{
	return s + strspn(s, " \t");
}

static int
split(const char *s, struct parts *p)
{
	p->type = skip_blanks(s);
	p->type_len = token_len(p->type);
	if (p->type_len == 0 || p->type[p->type_len] != '/')
		return 0;
	p->sub = p->type + p->type_len + 1;
	p->sub_len = token_len(p->sub);
	if (p->sub_len == 0)
		return 0;
	const char *rest = skip_blanks(p->sub + p->sub_len);
	if (*rest != '\0' && *rest != ';')
		return 0;
	p->suffix = NULL;
	p->suffix_len = 0;
	for (size_t i = p->sub_len; i-- > 0;)
		if (p->sub[i] == '+') {
			p->suffix = p->sub + i;
			p->suffix_len = p->sub_len - i;
			break;
		}
	return 1;
}

int
rfl_content_type_valid(const char *s)
{
	struct parts p;
	return split(s, &p);
}

static int
same(const char *a, size_t a_len, const char *b, size_t b_len)
{
	return a_len == b_len && strncasecmp(a, b, a_len) == 0;
}

static int
subtype_matches(const struct parts *e, const struct parts *a)
{
	if (same(e->sub, e->sub_len, a->sub, a->sub_len) || same(e->sub, e->sub_len, "*", 1))
		return 1;
	if (a->suffix == NULL)
		return 0;
	if (e->suffix != NULL && e->suffix == e->sub + 1 && e->sub[0] == '*')
		return same(e->suffix, e->suffix_len, a->suffix, a->suffix_len);
	return same(e->sub, e->sub_len, a->suffix + 1, a->suffix_len - 1);
}

int
rfl_content_type_matches(const char *expected, const char *actual)
{
	struct parts e, a;
	if (strcmp(expected, actual) == 0)
		return 1;
	if (!split(expected, &e) || !split(actual, &a))
		return 0;
	if (!same(e.type, e.type_len, a.type, a.type_len) && !same(e.type, e.type_len, "*", 1))
		return 0;
	return subtype_matches(&e, &a);
}
