/* Completion for bash and zsh: the table as three shell functions, and an engine for each shell that asks them. */
#include "cli/cli.h"
#include "cli/common.h"
#include "cli/completion.h"

#include <ctype.h>
#include <string.h>

typedef void option_fn(const struct rfl_verb *v, const struct argp_option *o, struct rfl_buf *out);

static void
each_option(const struct rfl_verb *v, option_fn *fn, struct rfl_buf *out)
{
	const struct argp_option *const tables[] = {v->options, rfl_common_argp.options};
	for (size_t i = 0; i < 2; i++)
		for (const struct argp_option *o = tables[i];
			o != NULL && (o->name != NULL || o->key != 0); o++)
			fn(v, o, out);
}

static int
has_letter(const struct argp_option *o)
{
	return isascii(o->key) && isgraph(o->key);
}

static void
put_names(const struct rfl_verb *v, const struct argp_option *o, struct rfl_buf *out)
{
	(void)v;
	if (has_letter(o))
		rfl_buf_printf(out, "-%c ", o->key);
	rfl_buf_printf(out, "--%s ", o->name);
}

static void
put_taken(const struct rfl_verb *v, const struct argp_option *o, struct rfl_buf *out)
{
	if (o->arg == NULL)
		return;
	rfl_buf_printf(out, "\t'%s --%s'", v->name, o->name);
	if (has_letter(o))
		rfl_buf_printf(out, " | '%s -%c'", v->name, o->key);
	rfl_buf_printf(out, ") echo '%s' ;;\n", o->arg);
}

/* Without the brackets of what may be left out. */
static void
put_argument(const char *key, const char *word, const char *args, struct rfl_buf *out)
{
	size_t len = strlen(args);
	int optional = args[0] == '[';
	rfl_buf_printf(out, "\t'%s%s%s') echo '%.*s' ;;\n", key, word ? " " : "", word ? word : "",
		(int)len - 2 * optional, args + optional);
}

static void
put_arguments(const struct rfl_verb *v, struct rfl_buf *out)
{
	if (v->words == NULL && v->args != NULL)
		put_argument(v->name, NULL, v->args, out);
	if (v->words == NULL)
		return;
	rfl_buf_printf(out, "\t'%s') echo '", v->name);
	for (const struct rfl_word *w = v->words; w->name != NULL; w++)
		rfl_buf_printf(out, "%s%s", w == v->words ? "" : "|", w->name);
	rfl_buf_puts(out, "' ;;\n");
	for (const struct rfl_word *w = v->words; w->name != NULL; w++)
		if (w->args != NULL)
			put_argument(v->name, w->name, w->args, out);
}

static void
put_table(struct rfl_buf *out)
{
	size_t count;
	const struct rfl_verb *const *verbs = rfl_verbs(&count);
	rfl_buf_puts(out, "_riffle_verbs='");
	for (size_t i = 0; i < count; i++)
		rfl_buf_printf(out, "%s%s", i ? " " : "", verbs[i]->name);
	rfl_buf_puts(out, "'\n\n# Its options.\n_riffle_options() {\n\tcase $1 in\n");
	for (size_t i = 0; i < count; i++) {
		rfl_buf_printf(out, "\t%s) echo '", verbs[i]->name);
		each_option(verbs[i], put_names, out);
		rfl_buf_puts(out, "--help' ;;\n");
	}
	rfl_buf_puts(out, "\tesac\n}\n\n# What an option takes; nothing where it takes nothing.\n"
			  "_riffle_takes() {\n\tcase $1 in\n");
	for (size_t i = 0; i < count; i++)
		each_option(verbs[i], put_taken, out);
	rfl_buf_puts(out, "\tesac\n}\n\n# What follows a verb, or a verb and its word.\n"
			  "_riffle_follows() {\n\tcase $1 in\n");
	for (size_t i = 0; i < count; i++)
		put_arguments(verbs[i], out);
	rfl_buf_puts(out, "\tesac\n}\n\n# The names of a kind, by the configuration.\n"
			  "_riffle_names() {\n\tcase $2 in\n");
	static const char *const kinds[] = {
		"STREAM", "PROCESSOR", "PROVIDER", "FUNCTION", "PLUGIN"};
	for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
		rfl_buf_printf(out,
			"\t%s) \"$1\" completion %s ${3:+-c} ${3:+\"$3\"} 2>/dev/null ;;\n",
			kinds[i], rfl_completion_names(kinds[i], strlen(kinds[i])));
	rfl_buf_puts(out, "\t[[:lower:]]*) echo \"$2\" ;;\n\tesac\n}\n\n");
}

static const char bash_engine[] =
	"_riffle() {\n"
	"\tlocal cur=${COMP_WORDS[COMP_CWORD]} verb=${COMP_WORDS[1]} option= takes= config= key i "
	"w\n"
	"\tlocal kinds kind\n"
	"\tCOMPREPLY=()\n"
	"\tif [ \"$COMP_CWORD\" -eq 1 ]; then\n"
	"\t\tCOMPREPLY=($(compgen -W \"$_riffle_verbs --help --version\" -- \"$cur\"))\n"
	"\t\treturn\n"
	"\tfi\n"
	"\tkey=$verb\n"
	"\tfor ((i = 2; i < COMP_CWORD; i++)); do\n"
	"\t\tw=${COMP_WORDS[i]}\n"
	"\t\tif [ \"$w\" = = ]; then\n"
	"\t\t\tcontinue\n"
	"\t\telif [ -n \"$takes\" ]; then\n"
	"\t\t\tcase $option in -c | --config) config=$w ;; esac\n"
	"\t\t\ttakes=\n"
	"\t\telif [[ $w == -* ]]; then\n"
	"\t\t\toption=$w\n"
	"\t\t\ttakes=$(_riffle_takes \"$verb $w\")\n"
	"\t\telse\n"
	"\t\t\tkey=\"$key $w\"\n"
	"\t\tfi\n"
	"\tdone\n"
	"\t[ \"$cur\" != = ] || cur=\n"
	"\tif [ -z \"$takes\" ] && [[ $cur == -* ]]; then\n"
	"\t\tCOMPREPLY=($(compgen -W \"$(_riffle_options \"$verb\")\" -- \"$cur\"))\n"
	"\t\treturn\n"
	"\tfi\n"
	"\tIFS='|' read -ra kinds <<<\"${takes:-$(_riffle_follows \"$key\")}\"\n"
	"\tfor kind in \"${kinds[@]}\"; do\n"
	"\t\tcase $kind in\n"
	"\t\tFILE) compopt -o filenames 2>/dev/null; COMPREPLY+=($(compgen -f -- \"$cur\")) ;;\n"
	"\t\tDIR) compopt -o filenames 2>/dev/null; COMPREPLY+=($(compgen -d -- \"$cur\")) ;;\n"
	"\t\t*) COMPREPLY+=($(compgen -W \"$(_riffle_names \"${COMP_WORDS[0]}\" \"$kind\" "
	"\"$config\")\" -- \"$cur\")) ;;\n"
	"\t\tesac\n"
	"\tdone\n"
	"}\n"
	"complete -F _riffle riffle\n";

static const char zsh_engine[] =
	"_riffle() {\n"
	"\tlocal cur=$words[CURRENT] verb=$words[2] option= takes= config= key w i kind\n"
	"\tif (( CURRENT == 2 )); then\n"
	"\t\tcompadd -- ${=_riffle_verbs} --help --version\n"
	"\t\treturn\n"
	"\tfi\n"
	"\tkey=$verb\n"
	"\tfor (( i = 3; i < CURRENT; i++ )); do\n"
	"\t\tw=$words[i]\n"
	"\t\tif [[ -n $takes ]]; then\n"
	"\t\t\t[[ $option != (-c|--config) ]] || config=$w\n"
	"\t\t\ttakes=\n"
	"\t\telif [[ $w == -* ]]; then\n"
	"\t\t\toption=$w\n"
	"\t\t\ttakes=$(_riffle_takes \"$verb $w\")\n"
	"\t\telse\n"
	"\t\t\tkey=\"$key $w\"\n"
	"\t\tfi\n"
	"\tdone\n"
	"\tif [[ -z $takes && $cur == --*=* ]]; then\n"
	"\t\ttakes=$(_riffle_takes \"$verb ${cur%%=*}\")\n"
	"\t\tcompset -P '*='\n"
	"\telif [[ -z $takes && $cur == -* ]]; then\n"
	"\t\tcompadd -- $(_riffle_options \"$verb\")\n"
	"\t\treturn\n"
	"\tfi\n"
	"\tfor kind in ${(s:|:)${takes:-$(_riffle_follows \"$key\")}}; do\n"
	"\t\tcase $kind in\n"
	"\t\tFILE) _files ;;\n"
	"\t\tDIR) _files -/ ;;\n"
	"\t\t*) compadd -- $(_riffle_names \"$words[1]\" \"$kind\" \"$config\") ;;\n"
	"\t\tesac\n"
	"\tdone\n"
	"}\n"
	"if [[ $funcstack[1] == _riffle ]]; then\n"
	"\t_riffle \"$@\"\n"
	"else\n"
	"\tcompdef _riffle riffle\n"
	"fi\n";

void
rfl_completion_bash(struct rfl_buf *out)
{
	rfl_buf_puts(out, "# bash completion for riffle, printed by riffle completion bash\n");
	put_table(out);
	rfl_buf_puts(out, bash_engine);
}

void
rfl_completion_zsh(struct rfl_buf *out)
{
	rfl_buf_puts(out,
		"#compdef riffle\n# zsh completion for riffle, printed by riffle completion zsh\n");
	put_table(out);
	rfl_buf_puts(out, zsh_engine);
}
