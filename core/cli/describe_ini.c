/* A plugin's sections as a commented INI file. */
#include "base/check.h"
#include "cli/describe.h"
#include "cli/option_text.h"
#include "conf/keys.h"
#include "conf/value.h"
#include "plugin/descriptor.h"

#include <string.h>

#define COMMENT_COLUMNS 78

/* A sentence as comment lines, broken between words. */
static void
put_comment(const char *text, struct rfl_buf *out)
{
	size_t column = 0;
	while (*text != '\0') {
		size_t len = strcspn(text, " \n");
		if (column > 0 && column + 1 + len > COMMENT_COLUMNS) {
			rfl_buf_putc(out, '\n');
			column = 0;
		}
		rfl_buf_puts(out, column == 0 ? "; " : " ");
		column += column == 0 ? 2 + len : 1 + len;
		rfl_buf_add(out, text, len);
		text += len;
		text += strspn(text, " \n");
	}
	rfl_buf_putc(out, '\n');
}

/* Quotes keep what would begin a comment. */
static void
put_value(const char *value, struct rfl_buf *out)
{
	int is_quoted = strstr(value, " ;") != NULL || strstr(value, " #") != NULL;
	rfl_buf_printf(out, "%s%s%s", is_quoted ? "\"" : "", value, is_quoted ? "\"" : "");
}

static void
put_option(const struct riffle_option *o, struct rfl_buf *out)
{
	struct rfl_buf facts = RFL_BUF_INIT;
	if (!rfl_option_is_offered(o) || (o->flags & RIFFLE_OPT_DEPRECATED))
		return;
	rfl_option_facts(o, &facts);
	rfl_buf_putc(out, '\n');
	put_comment(o->doc, out);
	put_comment(rfl_buf_str(&facts), out);
	rfl_buf_fini(&facts);
	if (!(o->flags & RIFFLE_OPT_REQUIRED))
		rfl_buf_putc(out, '#');
	rfl_buf_printf(out, "%s%s =", o->name, o->type == RIFFLE_OPT_PASS ? "NAME" : "");
	if (o->def != NULL) {
		rfl_buf_putc(out, ' ');
		put_value(o->def, out);
	}
	rfl_buf_putc(out, '\n');
}

/* Both words at once are an error, so a sample offers one. */
static int
is_synonym(const struct riffle_option *o)
{
	return strcmp(o->name, "gateway") == 0;
}

static void
put_section(const struct rfl_plugin *p, uint32_t section, const char *name, const char *key,
	const char *value, struct rfl_buf *out)
{
	const struct rfl_keys *k = rfl_keys_of(rfl_section_word(section));
	const struct riffle_option_table *t = rfl_plugin_table(p, section);
	rfl_buf_printf(out, "[%s %s]\n%s = %s\n", rfl_section_word(section), name, key, value);
	for (size_t i = 0; i < k->count; i++)
		if (!(k->keys[i].flags & RIFFLE_OPT_REQUIRED) && !is_synonym(&k->keys[i]))
			put_option(&k->keys[i], out);
	for (uint32_t i = 0; t != NULL && i < t->option_count; i++)
		put_option(rfl_table_option(t, i), out);
}

void
rfl_describe_ini(const struct rfl_plugin *p, struct rfl_buf *out)
{
	const char *name = rfl_value_is_label(p->name) ? p->name : "example";
	rfl_buf_printf(
		out, "; %s %s: %s (%s)\n", p->name, p->version, p->summary, rfl_kind_name(p->kind));
	put_comment(
		"Keys that begin with # may be left out; behind = stands what then holds.", out);
	put_section(p, rfl_plugin_section(p), name, rfl_plugin_key(p), p->name, out);
	if (p->kind != RIFFLE_KIND_PROVIDER)
		return;
	rfl_buf_putc(out, '\n');
	put_section(p, RIFFLE_SECTION_STREAM, "example", "provider", name, out);
}
