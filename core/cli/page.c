/* Filling manual pages from the tables. */
#include "cli/page.h"

#include "base/check.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/common.h"
#include "cli/describe.h"
#include "cli/option_text.h"
#include "cli/roff.h"
#include "conf/keys.h"
#include "plugin/descriptor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void
put_usage(const struct rfl_verb *v, const char *word, const char *args, struct rfl_buf *out)
{
	rfl_buf_printf(out, "\\fBriffle %s%s%s\\fR [\\fIOPTION\\fR...]", v->name, word ? " " : "",
		word ? word : "");
	if (args != NULL) {
		rfl_buf_puts(out, " \\fI");
		rfl_roff_text(out, args);
		rfl_buf_puts(out, "\\fR");
	}
	rfl_buf_putc(out, '\n');
}

static void
put_verb(const struct rfl_verb *v, struct rfl_buf *out)
{
	const char *rest = strchr(v->doc, '\v');
	size_t first = rest ? (size_t)(rest - v->doc) : strlen(v->doc);
	rfl_buf_printf(out, ".SS riffle %s\n", v->name);
	if (v->words == NULL)
		put_usage(v, NULL, v->args, out);
	for (const struct rfl_word *w = v->words; w != NULL && w->name != NULL; w++) {
		rfl_buf_puts(out, ".TP\n");
		put_usage(v, w->name, w->args, out);
		rfl_roff_text(out, w->summary);
		rfl_buf_puts(out, "\n");
	}
	rfl_buf_puts(out, ".PP\n");
	rfl_roff_doc(out, v->doc, first);
	if (rest != NULL)
		rfl_roff_doc(out, rest + 1, strlen(rest + 1));
	rfl_roff_options(out, v->options);
}

static void
put_keys(const char *kind, struct rfl_buf *out)
{
	const struct rfl_keys *k = rfl_keys_of(kind);
	rfl_assert(k != NULL);
	for (size_t i = 0; i < k->count; i++)
		rfl_roff_key(out, &k->keys[i]);
}

static void
put_place(char *place, struct rfl_buf *out)
{
	char *save = NULL;
	const char *what = strtok_r(place, " ", &save);
	const char *name = strtok_r(NULL, " ", &save);
	size_t count;
	const struct rfl_verb *const *verbs = rfl_verbs(&count);
	if (strcmp(what, "TITLE") == 0)
		rfl_roff_title(out, name, atoi(save));
	else if (strcmp(what, "KEYS") == 0)
		put_keys(name, out);
	else if (strcmp(what, "COMMON") == 0)
		rfl_roff_options(out, rfl_common_argp.options);
	else if (strcmp(what, "VERBS") == 0)
		for (size_t i = 0; i < count; i++)
			put_verb(verbs[i], out);
	else
		RFL_WRONG("a page has a place that nothing fills");
}

void
rfl_page_fill(const char *text, struct rfl_buf *out)
{
	while (*text != '\0') {
		size_t len = strcspn(text, "\n");
		if (len > 2 && text[0] == '@' && text[len - 1] == '@') {
			char *place = rfl_strndup(text + 1, len - 2);
			put_place(place, out);
			free(place);
		} else {
			rfl_buf_add(out, text, len);
			rfl_buf_putc(out, '\n');
		}
		text += len + (text[len] == '\n');
	}
}

static void
put_options_of(const struct rfl_plugin *p, uint32_t section, struct rfl_buf *out)
{
	const struct riffle_option_table *t = rfl_plugin_table(p, section);
	if (t == NULL || t->option_count == 0)
		return;
	rfl_buf_printf(out, ".SH KEYS IN [%s NAME]\n", rfl_section_word(section));
	for (uint32_t i = 0; i < t->option_count; i++)
		rfl_roff_key(out, rfl_table_option(t, i));
}

static void
put_description(const struct rfl_plugin *p, struct rfl_buf *out)
{
	struct rfl_buf can = RFL_BUF_INIT;
	const char *section = rfl_section_word(rfl_plugin_section(p));
	rfl_describe_capabilities(p, &can);
	rfl_buf_puts(out, ".SH DESCRIPTION\nThe ");
	rfl_buf_printf(out, "%s \\fB", rfl_kind_name(p->kind));
	rfl_roff_text(out, p->name);
	rfl_buf_printf(out, "\\fR, a plugin of\n.BR riffle (1).\nIt can at most: ");
	rfl_roff_text(out, rfl_buf_str(&can));
	rfl_buf_puts(out, ".\nThe keys below stand in the instance's file, beside those that\n"
			  ".BR riffle.ini (5)\n");
	rfl_buf_printf(out, "explains for every [%s] section.\n", section);
	rfl_buf_fini(&can);
}

void
rfl_page_plugin(const struct rfl_plugin *p, struct rfl_buf *out)
{
	char *page = rfl_sprintf("riffle-plugin-%s", p->name);
	const char *section = rfl_section_word(rfl_plugin_section(p));
	rfl_roff_title(out, page, 5);
	rfl_buf_puts(out, ".SH NAME\n");
	rfl_roff_text(out, page);
	rfl_buf_puts(out, " \\- ");
	rfl_roff_text(out, p->summary);
	rfl_buf_printf(out, "\n.SH SYNOPSIS\n.EX\n[%s NAME]\n%s = ", section, rfl_plugin_key(p));
	rfl_roff_text(out, p->name);
	rfl_buf_puts(out, "\n.EE\n");
	put_description(p, out);
	for (uint32_t s = RIFFLE_SECTION_PROVIDER; s <= RIFFLE_SECTION_FUNCTION; s++)
		put_options_of(p, s, out);
	rfl_buf_puts(out, ".SH EXAMPLES\nA commented section to begin with:\n.PP\n.RS 4\n.EX\n");
	rfl_buf_printf(out, "riffle plugin show %s \\-\\-ini\n.EE\n.RE\n", p->name);
	rfl_buf_puts(out, ".SH SEE ALSO\n.BR riffle (1),\n.BR riffle.ini (5)\n");
	free(page);
}
