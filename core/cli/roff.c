/* Roff. */
#include "cli/roff.h"

#include "base/mem.h"
#include "cli/option_text.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* What groff would print as another character, or take for itself. */
static const char *
escape(char c)
{
	switch (c) {
	case '\\':
		return "\\e";
	case '-':
		return "\\-";
	case '\'':
		return "\\(aq";
	case '^':
		return "\\(ha";
	case '~':
		return "\\(ti";
	default:
		return NULL;
	}
}

static void
put_text(struct rfl_buf *out, const char *text, size_t len)
{
	int is_bold = 0;
	if (len > 0 && text[0] == '.')
		rfl_buf_puts(out, "\\&");
	for (size_t i = 0; i < len; i++) {
		const char *escaped = escape(text[i]);
		if (text[i] == '`')
			rfl_buf_puts(out, (is_bold = !is_bold) ? "\\fB" : "\\fR");
		else if (escaped != NULL)
			rfl_buf_puts(out, escaped);
		else
			rfl_buf_putc(out, text[i]);
	}
}

void
rfl_roff_text(struct rfl_buf *out, const char *text)
{
	put_text(out, text, strlen(text));
}

void
rfl_roff_doc(struct rfl_buf *out, const char *text, size_t len)
{
	const char *end = text + len;
	int in_example = 0, is_gap = 0;
	while (text < end) {
		const char *stop = memchr(text, '\n', (size_t)(end - text));
		size_t n = (size_t)((stop ? stop : end) - text);
		int is_example = n > 2 && strncmp(text, "  ", 2) == 0;
		if (is_example && !in_example)
			rfl_buf_puts(out, ".PP\n.RS 4\n.EX\n");
		if (!is_example && in_example)
			rfl_buf_puts(out, ".EE\n.RE\n");
		if (n > 0 && !is_example && (is_gap || in_example))
			rfl_buf_puts(out, ".PP\n");
		if (n > 0) {
			put_text(out, text + 2 * is_example, n - 2 * (size_t)is_example);
			rfl_buf_putc(out, '\n');
		}
		is_gap = n == 0;
		in_example = is_example;
		text += n + 1;
	}
	if (in_example)
		rfl_buf_puts(out, ".EE\n.RE\n");
}

void
rfl_roff_title(struct rfl_buf *out, const char *page, int section)
{
	char *upper = rfl_strdup(page);
	for (char *p = upper; *p != '\0'; p++)
		*p = (char)toupper((unsigned char)*p);
	rfl_buf_puts(out, ".TH ");
	rfl_roff_text(out, upper);
	rfl_buf_printf(out, " %d \"\" \"riffle " RFL_VERSION "\" \"riffle\"\n", section);
	free(upper);
}

void
rfl_roff_key(struct rfl_buf *out, const struct riffle_option *o)
{
	struct rfl_buf facts = RFL_BUF_INIT;
	rfl_option_facts(o, &facts);
	rfl_buf_puts(out, ".TP\n\\fB");
	rfl_roff_text(out, o->name);
	rfl_buf_printf(out, "\\fR%s\n", o->type == RIFFLE_OPT_PASS ? "\\fINAME\\fR" : "");
	rfl_roff_text(out, o->doc);
	rfl_buf_puts(out, "\n.br\n(");
	rfl_roff_text(out, rfl_buf_str(&facts));
	rfl_buf_puts(out, ")\n");
	rfl_buf_fini(&facts);
}

void
rfl_roff_options(struct rfl_buf *out, const struct argp_option *options)
{
	const struct argp_option *o = options;
	for (; o != NULL && (o->name != NULL || o->key != 0); o++) {
		rfl_buf_puts(out, ".TP\n");
		if (isascii(o->key) && isgraph(o->key))
			rfl_buf_printf(out, "\\fB\\-%c\\fR, ", o->key);
		rfl_buf_puts(out, "\\fB\\-\\-");
		rfl_roff_text(out, o->name);
		rfl_buf_puts(out, "\\fR");
		if (o->arg != NULL) {
			rfl_buf_puts(out, "=\\fI");
			rfl_roff_text(out, o->arg);
			rfl_buf_puts(out, "\\fR");
		}
		rfl_buf_putc(out, '\n');
		rfl_roff_text(out, o->doc);
		rfl_buf_putc(out, '\n');
	}
}
