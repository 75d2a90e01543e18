/* Completion for fish, whose scripts are rows as our table is. */
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/common.h"
#include "cli/completion.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static void
put_quoted(const char *text, struct rfl_buf *out)
{
	rfl_buf_putc(out, '\'');
	for (; *text != '\0'; text++) {
		if (*text == '\'' || *text == '\\')
			rfl_buf_putc(out, '\\');
		rfl_buf_putc(out, *text);
	}
	rfl_buf_putc(out, '\'');
}

/* " -x -a '...'", or " -r -F" for files: what may stand where "auto|raw" or STREAM is called for. */
static void
put_values(const char *args, struct rfl_buf *out)
{
	struct rfl_buf words = RFL_BUF_INIT;
	int is_path = 0;
	args += args[0] == '[';
	while (*args != '\0' && *args != ']') {
		size_t len = strcspn(args, "|]");
		const char *names = rfl_completion_names(args, len);
		is_path |= strncmp(args, "FILE", len) == 0 || strncmp(args, "DIR", len) == 0;
		if (names != NULL)
			rfl_buf_printf(&words, "(__riffle_names %s) ", names);
		else if (islower((unsigned char)args[0]))
			rfl_buf_printf(&words, "%.*s ", (int)len, args);
		args += len;
		args += *args == '|';
	}
	rfl_buf_puts(out, is_path ? " -r -F" : " -x");
	if (words.len > 0) {
		rfl_buf_puts(out, " -a ");
		put_quoted(rfl_buf_str(&words), out);
	}
	rfl_buf_fini(&words);
}

static void
put_options(const struct rfl_verb *v, const struct argp_option *o, struct rfl_buf *out)
{
	for (; o != NULL && (o->name != NULL || o->key != 0); o++) {
		rfl_buf_printf(out, "complete -c riffle -n '__riffle_verb %s'", v->name);
		if (isascii(o->key) && isgraph(o->key))
			rfl_buf_printf(out, " -s %c", o->key);
		rfl_buf_printf(out, " -l %s", o->name);
		if (o->arg != NULL)
			put_values(o->arg, out);
		rfl_buf_puts(out, " -d ");
		put_quoted(o->doc, out);
		rfl_buf_putc(out, '\n');
	}
}

static void
put_words(const struct rfl_verb *v, struct rfl_buf *out)
{
	struct rfl_buf all = RFL_BUF_INIT;
	for (const struct rfl_word *w = v->words; w->name != NULL; w++)
		rfl_buf_printf(&all, " %s", w->name);
	for (const struct rfl_word *w = v->words; w->name != NULL; w++) {
		rfl_buf_printf(out,
			"complete -c riffle -n '__riffle_verb %s; and not "
			"__fish_seen_subcommand_from%s' -a %s -d ",
			v->name, rfl_buf_str(&all), w->name);
		put_quoted(w->summary, out);
		rfl_buf_putc(out, '\n');
		if (w->args == NULL)
			continue;
		rfl_buf_printf(out,
			"complete -c riffle -n '__riffle_verb %s; and "
			"__fish_seen_subcommand_from %s'",
			v->name, w->name);
		put_values(w->args, out);
		rfl_buf_putc(out, '\n');
	}
	rfl_buf_fini(&all);
}

static const char functions[] =
	"function __riffle_verb\n"
	"\tset -l words (commandline -opc)\n"
	"\ttest (count $words) -gt 1; and test $words[2] = $argv[1]\n"
	"end\n"
	"function __riffle_names\n"
	"\tset -l words (commandline -opc)\n"
	"\tset -l config\n"
	"\tfor i in (seq 2 (math (count $words) - 1))\n"
	"\t\tcontains -- $words[$i] -c --config; and set config -c $words[(math $i + 1)]\n"
	"\tend\n"
	"\t$words[1] completion $argv[1] $config 2>/dev/null\n"
	"end\n";

void
rfl_completion_fish(struct rfl_buf *out)
{
	size_t count;
	const struct rfl_verb *const *verbs = rfl_verbs(&count);
	rfl_buf_puts(out, "# fish completion for riffle, printed by riffle completion fish\n"
			  "complete -c riffle -f\n");
	rfl_buf_puts(out, functions);
	for (size_t i = 0; i < count; i++) {
		const struct rfl_verb *v = verbs[i];
		rfl_buf_printf(
			out, "complete -c riffle -n __fish_use_subcommand -a %s -d ", v->name);
		put_quoted(v->summary, out);
		rfl_buf_putc(out, '\n');
		if (v->words != NULL) {
			put_words(v, out);
		} else if (v->args != NULL) {
			rfl_buf_printf(out, "complete -c riffle -n '__riffle_verb %s'", v->name);
			put_values(v->args, out);
			rfl_buf_putc(out, '\n');
		}
		put_options(v, v->options, out);
		put_options(v, rfl_common_argp.options, out);
	}
}
